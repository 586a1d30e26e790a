/* cli.c - option tables, error output and program loading for all commands. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/diag.h"
#include "core/text.h"
#include "frontend/compile.h"
#include "stdlib/registry.h"

enum { MAX_INPUT_BYTES = 256 << 20 };

static void print_options(const char *usage, const char *about, const CliOption *options)
{
    printf("usage: xs %s\n\n%s\n", usage, about);
    if (options->name)
        fputs("\noptions:\n", stdout);
    for (const CliOption *o = options; o->name; o++) {
        char head[64];
        snprintf(head, sizeof head, "%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-24s %s\n", head, o->doc);
    }
    printf("  %-24s %s\n", "--help", "print this text");
}

static const CliOption *find_option(const CliOption *options, Text name)
{
    for (const CliOption *o = options; o->name; o++)
        if (text_eq(text_from(o->name), name))
            return o;
    return NULL;
}

static int unknown_option(const char *command, Text name, const CliOption *options)
{
    Text names[64];
    size_t count = 0;
    for (const CliOption *o = options; o->name && count < COUNT_OF(names); o++)
        names[count++] = text_from(o->name);
    Text near = text_nearest(name, names, count);
    if (near.ptr)
        return cli_usage(command, "unknown option '" TEXT_FMT "'; did you mean '" TEXT_FMT "'?",
                         TEXT_ARG(name), TEXT_ARG(near));
    return cli_usage(command, "unknown option '" TEXT_FMT "'", TEXT_ARG(name));
}

int cli_options(int *argc, char **argv, const char *usage, const char *about,
                const CliOption *options)
{
    int kept = 1;
    int n = *argc;
    for (int i = 1; i < n; i++) {
        char *arg = argv[i];
        if (strcmp(arg, "--") == 0) {
            while (++i < n)
                argv[kept++] = argv[i];
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0') {
            argv[kept++] = arg;
            continue;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            print_options(usage, about, options);
            return EXIT_OK;
        }
        char *equals = strchr(arg, '=');
        Text name = {arg, equals ? (size_t)(equals - arg) : strlen(arg)};
        const CliOption *o = find_option(options, name);
        if (!o)
            return unknown_option(argv[0], name, options);
        if (!o->value) {
            if (equals)
                return cli_usage(argv[0], "%s takes no value", o->name);
            *o->flag = true;
        } else if (equals) {
            *o->text = equals + 1;
        } else if (++i < n) {
            *o->text = argv[i];
        } else {
            return cli_usage(argv[0], "%s needs a value: %s %s", o->name, o->name, o->value);
        }
    }
    *argc = kept;
    return -1;
}

int cli_usage(const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "xs %s: ", command);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nRun xs %s --help for its usage.\n", command);
    return EXIT_USAGE;
}

int cli_unknown(const char *what, Text name, const Text *names, size_t count)
{
    Text near = text_nearest(name, names, count);
    if (!near.ptr && count == 1)
        near = names[0];
    fprintf(stderr, "xs: there is no %s '" TEXT_FMT "'", what, TEXT_ARG(name));
    if (near.ptr)
        fprintf(stderr, "; did you mean '" TEXT_FMT "'?", TEXT_ARG(near));
    fputc('\n', stderr);
    return EXIT_USAGE;
}

int cli_unknown_proc(const Program *p, ProcKind kind, const char *what, Text name)
{
    Text names[512];
    size_t count = 0;
    for (uint32_t i = 0; i < program_proc_count(p) && count < COUNT_OF(names); i++)
        if (program_proc(p, i)->kind == kind)
            names[count++] = program_proc(p, i)->name;
    return cli_unknown(what, name, names, count);
}

int cli_error(const xs_error *err)
{
    if (err->pos.file && err->pos.line)
        fprintf(stderr, "%s:%u:%u: ", err->pos.file, err->pos.line, err->pos.col);
    else
        fputs("xs: ", stderr);
    fprintf(stderr, "%s\n", err->message);
    return EXIT_PROBLEM;
}

bool cli_colour(FILE *to)
{
    const char *off = getenv("NO_COLOR");
    return isatty(fileno(to)) && (!off || !*off);
}

bool cli_read_file(Arena *arena, const char *path, Text *out, xs_error *err)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!f)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(errno));
    Buf b = {.max = MAX_INPUT_BYTES};
    char chunk[1 << 16];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && !b.failed)
        buf_append(&b, chunk, n);
    bool broken = ferror(f) != 0;
    int why = errno;
    if (f != stdin)
        fclose(f);
    bool ok = true;
    if (broken)
        ok = xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(why));
    else if (b.failed)
        ok = xs_fail(err, XS_E_TOO_LARGE, XS_NO_POS, "%s: larger than 256 MiB", path);
    if (ok) {
        *out = arena_text(arena, buf_view(&b));
        if (!out->ptr)
            ok = xs_fail(err, XS_E_NOMEM, XS_NO_POS, "%s: out of memory", path);
    }
    buf_deinit(&b);
    return ok;
}

static bool is_bundle(const char *path)
{
    return text_ends(text_from(path), TEXT(".xsb"));
}

static bool load_bundle(Arena *arena, const char *path, BundleImage *out, xs_error *err)
{
    Text bytes;
    return cli_read_file(arena, path, &bytes, err) && bundle_decode(arena, bytes, out, err);
}

static bool is_listed(const SourceFile *all, size_t total, Text path)
{
    for (size_t i = 0; i < total; i++)
        if (text_eq(all[i].path, path))
            return true;
    return false;
}

bool cli_load_sources(Arena *arena, char *const *paths, int count, SourceFile **files,
                      size_t *nfiles, xs_error *err)
{
    SourceFile *all = NULL;
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        SourceFile *some;
        size_t n;
        if (!source_load(arena, paths[i], &some, &n, err))
            return false;
        SourceFile *joined = ARENA_ARRAY(arena, SourceFile, total + n + 1);
        if (!joined)
            return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        if (total)
            memcpy(joined, all, total * sizeof *all);
        size_t before = total;
        for (size_t k = 0; k < n; k++) /* a file inside a folder given before */
            if (i == 0 || !is_listed(all, before, some[k].path))
                joined[total++] = some[k];
        all = joined;
    }
    *files = all;
    *nfiles = total;
    return true;
}

Text cli_source_text(void *ctx, const char *file)
{
    const SourceFile *files = *(const SourceFile **)ctx;
    for (; files->path.ptr; files++)
        if (text_eq(files->path, text_from(file)))
            return files->text;
    return (Text){0};
}

/* "." and ".." are the folders they stand for, "greet.xs" is called greet. */
static Text program_name(Arena *arena, const char *path)
{
    Text t = text_from(path);
    char *real = t.len && t.ptr[t.len - 1] == '.' ? realpath(path, NULL) : NULL;
    if (real)
        t = arena_text(arena, text_from(real));
    free(real);
    while (t.len > 1 && t.ptr[t.len - 1] == '/')
        t.len--;
    if (text_ends(t, TEXT(".xs")))
        t.len -= 3;
    for (size_t i = t.len; i > 0; i--)
        if (t.ptr[i - 1] == '/')
            return text_slice(t, i, t.len);
    return t;
}

bool cli_compile(Arena *arena, char *const *paths, int count, const CompileOptions *how,
                 SourceFile **sources, BundleImage *out)
{
    xs_error err;
    for (int i = 0; i < count; i++)
        if (is_bundle(paths[i])) {
            fprintf(stderr, "xs: %s: %s\n", paths[i],
                    how->tests ? "a bundle holds no tests; give its sources"
                               : "a bundle is a whole program; give it alone");
            return false;
        }
    SourceFile *files = NULL;
    size_t nfiles = 0;
    if (!cli_load_sources(arena, paths, count, &files, &nfiles, &err)) {
        cli_error(&err);
        return false;
    }
    if (nfiles == 0) {
        fprintf(stderr, "xs: %s: no .xs files here\n", paths[0]);
        return false;
    }
    DiagList diags;
    diag_init(&diags, arena);
    CompileOptions options = *how;
    options.program_name = program_name(arena, paths[0]);
    bool ok = compile_program(arena, files, nfiles, &options, &diags, out);
    diag_sort(&diags);
    Buf text = BUF_INIT;
    diag_print(&diags, cli_source_text, &files, cli_colour(stderr), &text);
    if (text.len)
        fwrite(text.ptr, 1, text.len, stderr);
    buf_deinit(&text);
    if (!ok)
        fprintf(stderr, "xs: %zu error%s\n", diags.errors, diags.errors == 1 ? "" : "s");
    *sources = files;
    return ok;
}

bool cli_load_image(Arena *arena, char *const *paths, int count, bool no_opt, BundleImage *out)
{
    xs_error err;
    SourceFile *sources;
    CompileOptions how = {.no_opt = no_opt};
    if (count != 1 || !is_bundle(paths[0]))
        return cli_compile(arena, paths, count, &how, &sources, out);
    if (load_bundle(arena, paths[0], out, &err))
        return true;
    cli_error(&err);
    return false;
}

Program *cli_load_program(Arena *arena, char *const *paths, int count, bool no_opt)
{
    BundleImage image;
    return cli_load_image(arena, paths, count, no_opt, &image) ? cli_bind(&image) : NULL;
}

Program *cli_bind(const BundleImage *image)
{
    xs_error err;
    Program *p = program_load(image, &stdlib_natives, &err);
    if (!p)
        cli_error(&err);
    return p;
}

static bool compile_expr_with(const CompileOptions *options, Arena *arena, Text source,
                              BundleImage *out, xs_error *err)
{
    DiagList diags;
    diag_init(&diags, arena);
    if (compile_expr(arena, source, options, &diags, out))
        return true;
    for (size_t i = 0; i < diags.count; i++)
        if (diags.items[i].severity == SEV_ERROR) {
            const Diag *d = &diags.items[i];
            xs_code code = strcmp(d->id, "unknown-filter") == 0 ? XS_E_UNKNOWN_FILTER
                           : strcmp(d->id, "filter-arity") == 0 ? XS_E_MISSING_ARG
                                                                : XS_E_PARSE;
            return xs_fail(err, code, d->pos, TEXT_FMT, TEXT_ARG(d->message));
        }
    return xs_fail(err, XS_E_PARSE, XS_NO_POS, "Invalid syntax.");
}

bool cli_compile_expr(void *ctx, Arena *arena, Text source, bool scoped, void *bundle_image_out,
                      xs_error *err)
{
    (void)ctx;
    return compile_expr_with(&(CompileOptions){.scoped = scoped}, arena, source,
                             (BundleImage *)bundle_image_out, err);
}

bool cli_compile_expr_no_opt(void *ctx, Arena *arena, Text source, bool scoped,
                             void *bundle_image_out, xs_error *err)
{
    (void)ctx;
    return compile_expr_with(&(CompileOptions){.no_opt = true, .scoped = scoped}, arena, source,
                             (BundleImage *)bundle_image_out, err);
}
