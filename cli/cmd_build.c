/* cmd_build.c - xs build: a folder becomes one bundle file, written whole or not at all. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/fd.h"
#include "stdlib/registry.h"

static bool write_file(const char *path, Text bytes, xs_error *err)
{
    char temporary[4096];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: name too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(errno));
    int why = fd_write_all(fd, bytes.ptr, bytes.len) && fsync(fd) == 0 ? 0 : errno;
    if (close(fd) != 0 && !why)
        why = errno;
    if (!why && rename(temporary, path) != 0)
        why = errno;
    if (!why)
        return true;
    unlink(temporary);
    return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(why));
}

static bool build(char *const *paths, int count, bool no_opt, const char *output)
{
    Arena arena;
    arena_init(&arena, 0);
    BundleImage image;
    Buf bytes = BUF_INIT;
    xs_error err;
    bool ok = cli_load_image(&arena, paths, count, no_opt, &image);
    if (ok) {
        /* What is written must load: the verifier sees the image before it reaches a file. */
        Program *p = program_load(&image, &stdlib_natives, &err);
        ok = p && bundle_encode(&image, &bytes, &err) && write_file(output, buf_view(&bytes), &err);
        program_unref(p);
        if (ok)
            fprintf(stderr, "%s: %zu bytes, %u procedures\n", output, bytes.len, image.nprocs);
        else
            cli_error(&err);
    }
    buf_deinit(&bytes);
    arena_deinit(&arena);
    return ok;
}

int cmd_build(int argc, char **argv)
{
    const char *output = NULL;
    bool no_opt = false;
    const CliOption options[] = {
        {"-o", "FILE", "the bundle to write", NULL, &output},
        CLI_NO_OPT(&no_opt),
        {0},
    };
    int done = cli_options(&argc, argv, "build DIR... -o FILE.xsb",
                           "Compiles a program to a bundle. The same sources give the same bytes.",
                           options);
    if (done >= 0)
        return done;
    if (argc < 2)
        return cli_usage("build", "name the folder to compile");
    if (!output)
        return cli_usage("build", "name the output with -o FILE.xsb");
    return build(argv + 1, argc - 1, no_opt, output) ? EXIT_OK : EXIT_PROBLEM;
}
