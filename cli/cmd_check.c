/* cmd_check.c - xs check: every mistake of a program, a fragment or the samples of a document. */
#include "cli/cli.h"

#include "core/diag.h"
#include "core/text.h"
#include "frontend/compile.h"

typedef enum Format { FMT_TEXT, FMT_JSON, FMT_GITHUB, FMT_SARIF, FORMAT_COUNT } Format;

static const char *const format_names[FORMAT_COUNT] = {"text", "json", "github", "sarif"};

typedef struct CheckOptions {
    bool json, strict, fragment, coverage;
    const char *markdown, *format_name;
    Format format;
} CheckOptions;

static void print_json(const DiagList *diags, size_t nfiles, const Buf *coverage, Buf *out)
{
    buf_printf(out, "{\"ok\":%s,\"files\":%zu,\"errors\":%zu,\"warnings\":%zu,\"diagnostics\":",
               diags->errors ? "false" : "true", nfiles, diags->errors, diags->warnings);
    diag_json(diags, out);
    if (coverage) {
        buf_cstr(out, ",\"unsupported\":");
        buf_text(out, buf_view(coverage));
    }
    buf_cstr(out, "}\n");
}

/* Text for people goes to stderr, everything for tools to stdout. */
static void print_result(const DiagList *diags, const SourceFile *files, const CheckOptions *o,
                         size_t nfiles, const Buf *coverage)
{
    Buf out = BUF_INIT;
    switch (o->format) {
    case FMT_JSON: print_json(diags, nfiles, coverage, &out); break;
    case FMT_GITHUB: diag_github(diags, &out); break;
    case FMT_SARIF: diag_sarif(diags, &out); break;
    default: diag_print(diags, cli_source_text, &files, cli_colour(stderr), &out); break;
    }
    fwrite(buf_view(&out).ptr, 1, out.len, o->format == FMT_TEXT ? stderr : stdout);
    buf_deinit(&out);
    if (coverage && o->format == FMT_TEXT)
        fwrite(coverage->ptr, 1, coverage->len, stdout);
    if (o->format == FMT_TEXT || o->format == FMT_GITHUB)
        fprintf(stderr, "%zu file%s checked: %zu error%s, %zu warning%s\n", nfiles,
                nfiles == 1 ? "" : "s", diags->errors, diags->errors == 1 ? "" : "s",
                diags->warnings, diags->warnings == 1 ? "" : "s");
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
        if (o->format == FMT_TEXT)
            fprintf(stderr, "%zu block%s compiled\n", blocks, blocks == 1 ? "" : "s");
        code = ok && !diags.errors ? EXIT_OK : EXIT_PROBLEM;
    }
    arena_deinit(&arena);
    return code;
}

/* All paths are one program. */
static int check_program(char *const *paths, int count, const CheckOptions *o)
{
    Arena arena;
    arena_init(&arena, 0);
    xs_error err;
    SourceFile *files = NULL;
    size_t nfiles = 0;
    int code = EXIT_PROBLEM;
    if (!cli_load_sources(&arena, paths, count, &files, &nfiles, &err)) {
        cli_error(&err);
    } else if (nfiles == 0) {
        fprintf(stderr, "xs: %s: no .xs files here\n", paths[0]);
    } else {
        DiagList diags;
        diag_init(&diags, &arena);
        CompileOptions options = {.strict = o->strict,
                                  .allow_bare_statements = o->fragment,
                                  .program_name = text_from(paths[0])};
        BundleImage image;
        bool ok = compile_program(&arena, files, nfiles, &options, &diags, &image);
        diag_sort(&diags);
        Buf coverage = BUF_INIT;
        if (o->coverage)
            compile_coverage(&arena, files, nfiles, o->format == FMT_JSON, &coverage);
        print_result(&diags, files, o, nfiles, o->coverage ? &coverage : NULL);
        buf_deinit(&coverage);
        code = ok ? EXIT_OK : EXIT_PROBLEM;
    }
    arena_deinit(&arena);
    return code;
}

static int print_coverage(const CheckOptions *o)
{
    Buf out = BUF_INIT;
    language_coverage(o->format == FMT_JSON, &out);
    fwrite(out.ptr, 1, out.len, stdout);
    buf_deinit(&out);
    return EXIT_OK;
}

static bool pick_format(CheckOptions *o)
{
    o->format = o->json ? FMT_JSON : FMT_TEXT;
    if (!o->format_name)
        return true;
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(o->format_name, format_names[i]) == 0) {
            o->format = (Format)i;
            return !o->json || i == FMT_JSON;
        }
    return false;
}

int cmd_check(int argc, char **argv)
{
    CheckOptions o = {0};
    const CliOption options[] = {
        {"--format", "NAME",
         "text (on stderr), json, github (annotations of a workflow) or sarif (2.1.0), on stdout",
         NULL, &o.format_name},
        {"--json", NULL, "the same as --format json", &o.json, NULL},
        {"--strict", NULL, "report every extension of the language as an error", &o.strict, NULL},
        {"--fragment", NULL, "a file may hold bare statements", &o.fragment, NULL},
        {"--coverage", NULL,
         "list what the program uses that this engine does not support; without PATH, what of the "
         "language it does not",
         &o.coverage, NULL},
        {"--markdown", "FILE", "check every xs block of a markdown file", NULL, &o.markdown},
        {0},
    };
    int done = cli_options(&argc, argv, "check [OPTIONS] PATH...",
                           "Compiles folders and files as one program without running it and "
                           "reports every mistake with its\nplace.",
                           options);
    if (done >= 0)
        return done;
    if (!pick_format(&o))
        return cli_usage("check", "--format is one of text, json, github, sarif");
    if (o.markdown)
        return argc > 1 ? cli_usage("check", "--markdown takes no PATH") : check_markdown(&o);
    if (argc < 2 && o.coverage)
        return print_coverage(&o);
    if (argc < 2)
        return cli_usage("check", "name a folder or file to check");
    return check_program(argv + 1, argc - 1, &o);
}
