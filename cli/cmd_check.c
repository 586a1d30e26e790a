/* cmd_check.c - xs check: every mistake of a program, a fragment or the samples of a document. */
#include "cli/cli.h"

#include "core/diag.h"
#include "frontend/compile.h"

typedef struct CheckOptions {
    bool json, strict, fragment, coverage;
    const char *markdown;
} CheckOptions;

static void print_result(const DiagList *diags, const SourceFile *files, const CheckOptions *o,
                         size_t nfiles, Buf *coverage)
{
    Buf out = BUF_INIT;
    if (o->json) {
        buf_cstr(&out, "{\"ok\":");
        buf_cstr(&out, diags->errors ? "false" : "true");
        buf_printf(&out, ",\"files\":%zu,\"errors\":%zu,\"warnings\":%zu,\"diagnostics\":", nfiles,
                   diags->errors, diags->warnings);
        diag_json(diags, &out);
        if (o->coverage) {
            buf_cstr(&out, ",\"unsupported\":");
            buf_text(&out, buf_view(coverage));
        }
        buf_cstr(&out, "}\n");
        fwrite(out.ptr, 1, out.len, stdout);
    } else {
        diag_print(diags, cli_source_text, &files, cli_colour(stderr), &out);
        fwrite(out.ptr, 1, out.len, stderr);
        if (o->coverage)
            fwrite(coverage->ptr, 1, coverage->len, stdout);
        fprintf(stderr, "%zu file%s checked: %zu error%s, %zu warning%s\n", nfiles,
                nfiles == 1 ? "" : "s", diags->errors, diags->errors == 1 ? "" : "s",
                diags->warnings, diags->warnings == 1 ? "" : "s");
    }
    buf_deinit(&out);
}

static int check_markdown(const CheckOptions *o)
{
    Arena arena;
    arena_init(&arena, 0);
    xs_error err;
    Text text;
    int code = EXIT_PROBLEM;
    if (!cli_read_file(&arena, o->markdown, &text, &err)) {
        cli_error(&err);
    } else {
        DiagList diags;
        diag_init(&diags, &arena);
        CompileOptions options = {.strict = o->strict, .allow_bare_statements = true};
        size_t blocks = 0;
        bool ok = compile_markdown(&arena, text_from(o->markdown), text, &options, &diags, &blocks);
        diag_sort(&diags);
        SourceFile files[2] = {{text_from(o->markdown), text}, {{0}, {0}}};
        print_result(&diags, files, o, 1, NULL);
        if (!o->json)
            fprintf(stderr, "%zu block%s compiled\n", blocks, blocks == 1 ? "" : "s");
        code = ok && !diags.errors ? EXIT_OK : EXIT_PROBLEM;
    }
    arena_deinit(&arena);
    return code;
}

static int check_program(const char *path, const CheckOptions *o)
{
    Arena arena;
    arena_init(&arena, 0);
    xs_error err;
    SourceFile *files = NULL;
    size_t nfiles = 0;
    int code = EXIT_PROBLEM;
    if (!source_load(&arena, path, &files, &nfiles, &err)) {
        cli_error(&err);
    } else if (nfiles == 0) {
        fprintf(stderr, "xs: %s: no .xs files here\n", path);
    } else {
        DiagList diags;
        diag_init(&diags, &arena);
        CompileOptions options = {.strict = o->strict,
                                  .allow_bare_statements = o->fragment,
                                  .program_name = text_from(path)};
        BundleImage image;
        bool ok = compile_program(&arena, files, nfiles, &options, &diags, &image);
        diag_sort(&diags);
        Buf coverage = BUF_INIT;
        if (o->coverage)
            compile_coverage(&arena, files, nfiles, o->json, &coverage);
        print_result(&diags, files, o, nfiles, &coverage);
        buf_deinit(&coverage);
        code = ok ? EXIT_OK : EXIT_PROBLEM;
    }
    arena_deinit(&arena);
    return code;
}

int cmd_check(int argc, char **argv)
{
    CheckOptions o = {0};
    const CliOption options[] = {
        {"--json", NULL, "print one JSON object on stdout instead of text on stderr", &o.json,
         NULL},
        {"--strict", NULL, "report every extension of the language as an error", &o.strict, NULL},
        {"--fragment", NULL, "a file may hold bare statements", &o.fragment, NULL},
        {"--coverage", NULL, "list statements and filters that this engine does not support yet",
         &o.coverage, NULL},
        {"--markdown", "FILE", "check every xs block of a markdown file", NULL, &o.markdown},
        {0},
    };
    int done = cli_options(
        &argc, argv, "check [OPTIONS] PATH...",
        "Compiles folders or files without running them and reports every mistake with its place.",
        options);
    if (done >= 0)
        return done;
    if (o.markdown)
        return argc > 1 ? cli_usage("check", "--markdown takes no PATH") : check_markdown(&o);
    if (argc < 2)
        return cli_usage("check", "name a folder or file to check");
    int code = EXIT_OK;
    for (int i = 1; i < argc; i++)
        if (check_program(argv[i], &o) != EXIT_OK)
            code = EXIT_PROBLEM;
    return code;
}
