/* cmd_disasm.c - xs disasm: the instructions of a bundle or of sources. */
#include "cli/cli.h"

int cmd_disasm(int argc, char **argv)
{
    bool no_opt = false;
    const CliOption options[] = {CLI_NO_OPT(&no_opt), {0}};
    int done = cli_options(&argc, argv, "disasm [OPTIONS] PATH...",
                           "Prints constants and instructions of a bundle or of sources.", options);
    if (done >= 0)
        return done;
    if (argc < 2)
        return cli_usage("disasm", "name a bundle, folder or file");
    Arena arena;
    arena_init(&arena, 0);
    Program *p = cli_load_program(&arena, argv + 1, argc - 1, no_opt);
    if (p) {
        Buf out = BUF_INIT;
        program_disasm(p, &out);
        fwrite(out.ptr, 1, out.len, stdout);
        buf_deinit(&out);
        program_unref(p);
    }
    arena_deinit(&arena);
    return p ? EXIT_OK : EXIT_PROBLEM;
}
