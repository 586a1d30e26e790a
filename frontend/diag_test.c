/* diag_test.c - diagnostics. Each file of tests/golden/diags is a case: sources behind lines
 * "== NAME.xs", options ("== strict", "== fragment"), and behind "== report" what is printed. With
 * XS_BLESS=1 in the environment the reports are rewritten; review the difference. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "frontend/test_source.h"

static const char folder[] = "tests/golden/diags";

enum { MAX_FILES = 8 };

typedef struct Case {
    SourceFile files[MAX_FILES + 1];
    size_t count;
    bool strict, fragment;
    Text input, report; /* the part before the report, the recorded report */
} Case;

/* What the cases have shown: rows of diags.def by id and severity. */
typedef enum RowSeverity { DS_ERROR, DS_WARNING, DS_STRICT } RowSeverity;
static const struct {
    const char *id;
    RowSeverity severity;
} rows[] = {
#define DIAG(id, text, severity, doc) {text, DS_##severity},
#include "core/lang/diags.def"
#undef DIAG
};
static bool shown[COUNT_OF(rows)];

static size_t line_end(Text t, size_t at)
{
    size_t end = text_find(t, TEXT("\n"), at);
    return end == SIZE_MAX ? t.len : end + 1;
}

static void parse_case(Arena *a, Text text, Case *k)
{
    *k = (Case){0};
    for (size_t at = 0, from = 0; at <= text.len;) {
        size_t next = line_end(text, at);
        Text line = text_trim(text_slice(text, at, next), TEXT("\n"));
        bool mark = text_starts(line, TEXT("== ")), end = at >= text.len;
        if ((mark || end) && k->count && !k->files[k->count - 1].text.ptr)
            k->files[k->count - 1].text = arena_text(a, text_slice(text, from, at));
        if (end)
            break;
        Text word = mark ? text_slice(line, 3, line.len) : (Text){0};
        if (text_eq(word, TEXT("report"))) {
            k->input = text_slice(text, 0, next);
            k->report = text_slice(text, next, text.len);
            break;
        }
        if (text_eq(word, TEXT("strict")))
            k->strict = true;
        else if (text_eq(word, TEXT("fragment")))
            k->fragment = true;
        else if (mark && k->count < MAX_FILES)
            k->files[k->count++].path = arena_text(a, word);
        at = next;
        if (mark)
            from = next;
    }
    assert_true(k->count > 0);
    assert_non_null(k->report.ptr);
}

static void compile(Arena *a, const Case *k, bool strict, DiagList *diags)
{
    CompileOptions options = {.strict = strict, .allow_bare_statements = k->fragment};
    BundleImage image;
    diag_init(diags, a);
    bool ok = compile_program(a, k->files, k->count, &options, diags, &image);
    assert_int_equal(ok, diags->errors == 0);
    diag_sort(diags);
}

static bool has(const DiagList *diags, Severity severity, const char *id)
{
    for (size_t i = 0; i < diags->count; i++)
        if (diags->items[i].severity == severity && strcmp(diags->items[i].id, id) == 0)
            return true;
    return false;
}

static void note_rows(Arena *a, const Case *k, const DiagList *diags)
{
    DiagList loose;
    diag_init(&loose, a);
    if (k->strict)
        compile(a, k, false, &loose);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (rows[i].severity == DS_STRICT)
            shown[i] |= k->strict && has(diags, SEV_ERROR, rows[i].id) &&
                        !has(&loose, SEV_ERROR, rows[i].id);
        else
            shown[i] |=
                has(diags, rows[i].severity == DS_ERROR ? SEV_ERROR : SEV_WARNING, rows[i].id);
    }
}

static Text source_of(void *ctx, const char *file)
{
    const Case *k = ctx;
    for (size_t i = 0; i < k->count; i++)
        if (text_eq(k->files[i].path, text_from(file)))
            return k->files[i].text;
    return (Text){0};
}

static bool run_case(const char *path, bool bless)
{
    Arena a;
    Case k;
    DiagList diags;
    Buf out = BUF_INIT;
    arena_init(&a, 0);
    Text text = file_text(&a, path);
    assert_non_null(text.ptr);
    parse_case(&a, text, &k);
    compile(&a, &k, k.strict, &diags);
    note_rows(&a, &k, &diags);
    diag_print(&diags, source_of, &k, false, &out);
    bool same = text_eq(buf_view(&out), k.report);
    if (!same && bless) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(k.input.ptr, 1, k.input.len, f);
        fwrite(out.ptr, 1, out.len, f);
        fclose(f);
        same = true;
    }
    if (!same)
        print_error("%s: recorded\n" TEXT_FMT "found\n" TEXT_FMT, path, TEXT_ARG(k.report),
                    TEXT_ARG(buf_view(&out)));
    buf_deinit(&out);
    arena_deinit(&a);
    return same;
}

static void test_every_case(void **state)
{
    (void)state;
    bool bless = getenv("XS_BLESS") != NULL;
    size_t failed = 0, count = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char path[512];
        if (!text_ends(text_from(e->d_name), TEXT(".case")))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        failed += !run_case(path, bless);
        count++;
    }
    closedir(d);
    assert_true(count > 0);
    assert_int_equal(failed, 0);
}

/* Not reachable by a short source: tested below and elsewhere. */
static bool exempt(const char *id)
{
    static const char *const ids[] = {"nesting-limit", "too-complex", "out-of-memory"};
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        if (strcmp(id, ids[i]) == 0)
            return true;
    return false;
}

static void test_every_row_has_a_case(void **state)
{
    (void)state;
    size_t missing = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (!shown[i] && !exempt(rows[i].id)) {
            print_error("no case shows %s (%s)\n", rows[i].id,
                        rows[i].severity == DS_ERROR     ? "error"
                        : rows[i].severity == DS_WARNING ? "warning"
                                                         : "strict");
            missing++;
        }
    assert_int_equal(missing, 0);
}

static void repeat(Buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_cstr(b, s);
}

static void expect_id(const Buf *b, const char *id)
{
    Arena a;
    DiagList diags;
    arena_init(&a, 0);
    SourceFile file = {TEXT("deep.xs"), buf_view(b)};
    CompileOptions options = {0};
    BundleImage image;
    diag_init(&diags, &a);
    assert_false(compile_program(&a, &file, 1, &options, &diags, &image));
    bool found = false;
    for (size_t i = 0; i < diags.count; i++)
        found = found || strcmp(diags.items[i].id, id) == 0;
    assert_true(found);
    arena_deinit(&a);
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *open, *middle, *close;
        size_t count;
        const char *id;
    } deep[] = {
        {"(", "1", ")", 5000, "nesting-limit"},     {"[", "1", "]", 5000, "nesting-limit"},
        {"{a: ", "1", "}", 5000, "nesting-limit"},  {"!", "1", "", 5000, "nesting-limit"},
        {"- ", "$x", "", 5000, "nesting-limit"},    {"", "1", " + 1", 5000, "nesting-limit"},
        {"", "$x", ".a", 5000, "nesting-limit"},    {"", "$x", "[0]", 5000, "nesting-limit"},
        {"", "$x", "|trim", 5000, "nesting-limit"}, {"true ? 1 : ", "2", "", 5000, "nesting-limit"},
    };
    for (size_t i = 0; i < COUNT_OF(deep); i++) {
        Buf b = BUF_INIT;
        buf_cstr(&b, "function f {\n  stack {\n    var $y { value = ");
        repeat(&b, deep[i].open, deep[i].count);
        buf_cstr(&b, deep[i].middle);
        repeat(&b, deep[i].close, deep[i].count);
        buf_cstr(&b, " }\n  }\n}\n");
        expect_id(&b, deep[i].id);
        buf_deinit(&b);
    }
    Buf b = BUF_INIT;
    buf_cstr(&b, "function f {\n  stack {\n");
    repeat(&b, "group { stack {\n", 3000);
    expect_id(&b, "nesting-limit");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_case),
        cmocka_unit_test(test_every_row_has_a_case),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
