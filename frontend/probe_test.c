/* probe_test.c - the rows of tests/lang/probes.tsv: what is accepted, accepted as an extension,
 * warned about, refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "frontend/front.h"

enum { ROW_BYTES = 1 << 14 };

typedef struct Row {
    Text answer, kind, source;
} Row;

static Text unescape(Arena *a, Text t)
{
    Buf b = BUF_INIT;
    for (size_t i = 0; i < t.len; i++) {
        char ch = t.ptr[i];
        if (ch == '\\' && i + 1 < t.len) {
            ch = t.ptr[++i];
            ch = ch == 'n' ? '\n' : ch == 't' ? '\t' : ch;
        }
        buf_char(&b, ch);
    }
    Text out = arena_text(a, buf_view(&b));
    buf_deinit(&b);
    return out;
}

static Row parse_row(Arena *a, Text line)
{
    size_t first = text_find(line, TEXT("\t"), 0), second = text_find(line, TEXT("\t"), first + 1);
    assert_true(second != SIZE_MAX);
    return (Row){text_slice(line, 0, first), text_slice(line, first + 1, second),
                 unescape(a, text_slice(line, second + 1, line.len))};
}

/* Errors, those of unknown names left out; *found = whether one has the id. */
static size_t errors_of(Arena *a, const Row *row, bool strict, Severity severity, Text id,
                        bool *found)
{
    CompileOptions options = {.strict = strict,
                              .allow_bare_statements = text_eq(row->kind, TEXT("fragment"))};
    SourceFile file = {TEXT("probe.xs"), row->source};
    DiagList diags;
    BundleImage image;
    diag_init(&diags, a);
    bool ok = compile_program(a, &file, 1, &options, &diags, &image);
    assert_int_equal(ok, diags.errors == 0);
    size_t errors = 0;
    *found = false;
    for (size_t i = 0; i < diags.count; i++) {
        const Diag *d = &diags.items[i];
        errors += d->severity == SEV_ERROR && strcmp(d->id, "unknown-reference") != 0;
        *found |= d->severity == severity && text_eq(id, text_from(d->id));
    }
    return errors;
}

static bool holds(const Row *row)
{
    Arena a;
    arena_init(&a, 0);
    bool found, ignored, ok;
    bool warned = text_starts(row->answer, TEXT("W:"));
    bool plain = text_eq(row->answer, TEXT("ok")), ext = text_eq(row->answer, TEXT("ext"));
    Text id = warned ? text_slice(row->answer, 2, row->answer.len) : row->answer;
    size_t errors = errors_of(&a, row, false, warned ? SEV_WARNING : SEV_ERROR, id, &found);
    if (plain || ext)
        ok = errors == 0 && (errors_of(&a, row, true, SEV_ERROR, id, &ignored) > 0) == ext;
    else
        ok = found && (!warned || errors == 0);
    arena_deinit(&a);
    return ok;
}

static void test_probes(void **state)
{
    (void)state;
    static char line[ROW_BYTES];
    FILE *f = fopen("tests/lang/probes.tsv", "rb");
    assert_non_null(f);
    size_t rows = 0, failed = 0;
    while (fgets(line, sizeof line, f)) {
        Arena a;
        Text t = text_trim(text_from(line), TEXT("\r\n"));
        if (t.len == 0 || t.ptr[0] == '#')
            continue;
        arena_init(&a, 0);
        Row row = parse_row(&a, t);
        if (!holds(&row)) {
            print_error("expected " TEXT_FMT " for\n" TEXT_FMT "\n", TEXT_ARG(row.answer),
                        TEXT_ARG(row.source));
            failed++;
        }
        rows++;
        arena_deinit(&a);
    }
    fclose(f);
    assert_true(rows > 500);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_probes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
