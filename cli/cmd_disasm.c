/* cmd_disasm.c - xs disasm: the instructions of a bundle or of sources. */
#include "cli/cli.h"

#include "core/text.h"

/* *sources stays NULL for a bundle. */
static Program *load(Arena *arena, char *const *paths, int count, const CompileOptions *how,
                     SourceFile **sources)
{
    BundleImage image;
    if (count == 1 && text_ends(text_from(paths[0]), TEXT(".xsb")))
        return cli_load_program(arena, paths, count, how->no_opt);
    return cli_compile(arena, paths, count, how, sources, &image) ? cli_bind(&image) : NULL;
}

int cmd_disasm(int argc, char **argv)
{
    CompileOptions how = {0};
    bool bare = false;
    const CliOption options[] = {
        CLI_NO_OPT(&how.no_opt),
        {"--no-source", NULL, "leave the lines of the sources out", &bare, NULL},
        {"--tests", NULL, "also tests and mocks", &how.tests, NULL},
        {0},
    };
    int done = cli_options(&argc, argv, "disasm [OPTIONS] PATH...",
                           "Prints constants and instructions of a bundle or of sources, below the "
                           "source lines that they came from.",
                           options);
    if (done >= 0)
        return done;
    if (argc < 2)
        return cli_usage("disasm", "name a bundle, folder or file");
    Arena arena;
    arena_init(&arena, 0);
    SourceFile *sources = NULL;
    Program *p = load(&arena, argv + 1, argc - 1, &how, &sources);
    if (p) {
        Buf out = BUF_INIT;
        program_disasm(p, sources && !bare ? cli_source_text : NULL, &sources, &out);
        fwrite(out.ptr, 1, out.len, stdout);
        buf_deinit(&out);
        program_unref(p);
    }
    arena_deinit(&arena);
    return p ? EXIT_OK : EXIT_PROBLEM;
}
