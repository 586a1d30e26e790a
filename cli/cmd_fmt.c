/* cmd_fmt.c - xs fmt: sources in canonical layout, in place or as a difference. */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/diag.h"
#include "core/text.h"
#include "frontend/compile.h"

typedef struct FmtOptions {
    bool check, diff;
} FmtOptions;

typedef struct FmtCount {
    size_t files, changed, failed;
} FmtCount;

/* ---- difference ---- */

enum {
    CONTEXT_LINES = 3,
    MAX_TABLE = 4 << 20 /* cells; a larger difference is shown as one block */
};

typedef struct Lines {
    Text *ptr;
    size_t len;
} Lines;

static bool split_lines(Arena *a, Text t, Lines *out)
{
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += t.ptr[i] == '\n';
    *out = (Lines){ARENA_ARRAY(a, Text, n + 2), 0};
    if (!out->ptr)
        return false;
    for (size_t at = 0; at < t.len;) {
        size_t end = text_find(t, TEXT("\n"), at);
        end = end == SIZE_MAX ? t.len : end;
        out->ptr[out->len++] = text_slice(t, at, end);
        at = end + 1;
    }
    return true;
}

/* The longest common lines of the middles: '=' both, '-' old, '+' new. Returns NULL when out of
 * memory. */
static char *edit_script(Arena *a, Lines x, Lines y, size_t *len)
{
    char *script = arena_alloc(a, x.len + y.len + 1);
    size_t head = 0, tail = 0;
    if (!script)
        return NULL;
    while (head < x.len && head < y.len && text_eq(x.ptr[head], y.ptr[head]))
        head++;
    while (tail < x.len - head && tail < y.len - head &&
           text_eq(x.ptr[x.len - 1 - tail], y.ptr[y.len - 1 - tail]))
        tail++;
    size_t n = x.len - head - tail, m = y.len - head - tail, at = 0;
    memset(script, '=', head);
    at = head;
    uint32_t *table =
        (n + 1) * (m + 1) <= MAX_TABLE ? ARENA_ARRAY(a, uint32_t, (n + 1) * (m + 1)) : NULL;
    for (size_t i = n; table && i-- > 0;)
        for (size_t k = m; k-- > 0;) {
            uint32_t *cell = &table[i * (m + 1) + k];
            uint32_t down = table[(i + 1) * (m + 1) + k], right = cell[1];
            if (text_eq(x.ptr[head + i], y.ptr[head + k]))
                *cell = table[(i + 1) * (m + 1) + k + 1] + 1;
            else
                *cell = down > right ? down : right;
        }
    size_t i = 0, k = 0;
    while (i < n || k < m) {
        if (table && i < n && k < m && text_eq(x.ptr[head + i], y.ptr[head + k])) {
            script[at++] = '=';
            i++;
            k++;
        } else if (i < n && (k == m || !table ||
                             table[(i + 1) * (m + 1) + k] >= table[i * (m + 1) + k + 1])) {
            script[at++] = '-';
            i++;
        } else {
            script[at++] = '+';
            k++;
        }
    }
    memset(script + at, '=', tail);
    *len = at + tail;
    return script;
}

static void put_line(char mark, Text line)
{
    fprintf(stdout, "%c" TEXT_FMT "\n", mark, TEXT_ARG(line));
}

static void print_diff(Arena *a, const char *path, Text before, Text after)
{
    Lines x, y;
    size_t len = 0;
    char *script =
        split_lines(a, before, &x) && split_lines(a, after, &y) ? edit_script(a, x, y, &len) : NULL;
    if (!script)
        return;
    printf("--- %s\n+++ %s (formatted)\n", path, path);
    size_t i = 0, k = 0; /* lines of x and y passed */
    for (size_t at = 0; at < len;) {
        size_t change = at;
        while (change < len && script[change] == '=')
            change++;
        if (change == len)
            break;
        size_t from = change - at > CONTEXT_LINES ? change - CONTEXT_LINES : at;
        i += from - at;
        k += from - at;
        size_t end = change, same = 0;
        while (end < len && same <= 2 * CONTEXT_LINES)
            same = script[end++] == '=' ? same + 1 : 0;
        if (same > CONTEXT_LINES)
            end -= same - CONTEXT_LINES;
        size_t olds = 0, news = 0;
        for (size_t s = from; s < end; s++) {
            olds += script[s] != '+';
            news += script[s] != '-';
        }
        printf("@@ -%zu,%zu +%zu,%zu @@\n", i + (olds > 0), olds, k + (news > 0), news);
        for (size_t s = from; s < end; s++) {
            if (script[s] == '+')
                put_line('+', y.ptr[k++]);
            else
                put_line(script[s] == '=' ? ' ' : '-', x.ptr[i++]);
            k += script[s] == '=';
        }
        at = end;
    }
}

/* ---- files ---- */

/* Through a file beside it, so that a full disk loses nothing. */
static bool write_back(Arena *a, const char *path, Text text, xs_error *err)
{
    Text temp = arena_printf(a, "%s.xsfmt.%ld", path, (long)getpid());
    struct stat st;
    FILE *f = temp.ptr && stat(path, &st) == 0 ? fopen(temp.ptr, "wb") : NULL;
    if (!f)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(errno));
    bool ok = fwrite(text.ptr, 1, text.len, f) == text.len;
    ok = fchmod(fileno(f), st.st_mode & 07777) == 0 && ok;
    ok = fclose(f) == 0 && ok;
    if (ok && rename(temp.ptr, path) == 0)
        return true;
    int why = errno;
    unlink(temp.ptr);
    return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(why));
}

static void print_errors(const DiagList *diags, SourceFile file)
{
    SourceFile files[2] = {file, {{0}, {0}}};
    SourceFile *list = files;
    Buf out = BUF_INIT;
    diag_print(diags, cli_source_text, &list, cli_colour(stderr), &out);
    fwrite(out.ptr, 1, out.len, stderr);
    buf_deinit(&out);
}

static void format_one(SourceFile file, bool to_stdout, const FmtOptions *o, FmtCount *count)
{
    Arena arena;
    DiagList diags;
    Buf out = BUF_INIT;
    xs_error err;
    arena_init(&arena, 0);
    diag_init(&diags, &arena);
    count->files++;
    if (!format_source(&arena, file.path, file.text, &diags, &out)) {
        diag_sort(&diags);
        print_errors(&diags, file);
        count->failed++;
    } else {
        bool changed = !text_eq(buf_view(&out), file.text);
        count->changed += changed;
        if (o->diff && changed)
            print_diff(&arena, file.path.ptr, file.text, buf_view(&out));
        else if (o->check && changed)
            printf("%s\n", file.path.ptr);
        else if (to_stdout && !o->check && !o->diff)
            fwrite(out.ptr, 1, out.len, stdout);
        if (!to_stdout && changed && !o->check && !o->diff) {
            if (write_back(&arena, file.path.ptr, buf_view(&out), &err)) {
                printf("%s\n", file.path.ptr);
            } else {
                cli_error(&err);
                count->failed++;
            }
        }
    }
    buf_deinit(&out);
    arena_deinit(&arena);
}

static bool format_path(const char *path, const FmtOptions *o, FmtCount *count)
{
    Arena arena;
    xs_error err;
    SourceFile *files = NULL;
    size_t n = 0;
    bool ok = true, stdin_text = strcmp(path, "-") == 0;
    arena_init(&arena, 0);
    if (stdin_text) {
        SourceFile one = {TEXT("<stdin>"), {0}};
        ok = cli_read_file(&arena, path, &one.text, &err);
        if (ok)
            format_one(one, true, o, count);
    } else {
        ok = source_load(&arena, path, &files, &n, &err);
        for (size_t i = 0; ok && i < n; i++)
            format_one(files[i], false, o, count);
        if (ok && n == 0)
            ok = xs_fail(&err, XS_E_IO, XS_NO_POS, "%s: no .xs files here", path);
    }
    if (!ok)
        cli_error(&err);
    arena_deinit(&arena);
    return ok;
}

int cmd_fmt(int argc, char **argv)
{
    FmtOptions o = {0};
    const CliOption options[] = {
        {"--check", NULL, "write nothing, list the files that would change; exit 1 if any",
         &o.check, NULL},
        {"--diff", NULL, "write nothing, print what would change; exit 1 if anything", &o.diff,
         NULL},
        {0},
    };
    int done = cli_options(
        &argc, argv, "fmt [OPTIONS] PATH...",
        "Writes sources in canonical layout: indentation, blank lines, line breaks, quotes,\n"
        "parentheses. Meaning and comments stay. PATH is a folder, a file, or - for stdin to\n"
        "stdout. Files with syntax errors are reported and not touched.",
        options);
    if (done >= 0)
        return done;
    if (argc < 2)
        return cli_usage("fmt", "name a folder or file to format, or - for stdin");
    FmtCount count = {0};
    bool ok = true;
    for (int i = 1; i < argc; i++)
        ok = format_path(argv[i], &o, &count) && ok;
    if (count.files > 1 || count.failed)
        fprintf(stderr, "%zu file%s, %zu %s, %zu with errors\n", count.files,
                count.files == 1 ? "" : "s", count.changed,
                o.check || o.diff ? "would change" : "changed", count.failed);
    return ok && !count.failed && !((o.check || o.diff) && count.changed) ? EXIT_OK : EXIT_PROBLEM;
}
