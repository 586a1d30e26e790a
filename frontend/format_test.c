/* format_test.c - the formatter: layouts, and for every source of the repository the same code and
 * the same text when formatted again. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "frontend/test_source.h"

typedef struct Case {
    const char *in, *out;
} Case;

/* Bare statements and constructs; the expected text, NULL = the same. */
static const Case cases[] = {
    {"var $a { value = 1 } var $b{value=[1,2 , 3]}",
     "var $a {\n  value = 1\n}\n\nvar $b {\n  value = [1, 2, 3]\n}\n"},
    {"var $a {\n  value = (($x == 1)) && (($y|count) > 2)\n}\n",
     "var $a {\n  value = $x == 1 && ($y|count) > 2\n}\n"},
    {"var $a { value = ($a + $b) * ($c * $d) - ($e - 1) }",
     "var $a {\n  value = ($a + $b) * ($c * $d) - ($e - 1)\n}\n"},
    {"var $a { value = $c ? ($x|first) : ($d ? 1 : 2) }",
     "var $a {\n  value = $c ? ($x|first) : $d ? 1 : 2\n}\n"},
    {"var $a { value = (7 % 2) + 1 }", "var $a {\n  value = (7 % 2) + 1\n}\n"},
    {"var $a { value = !($x|is_empty) }", "var $a {\n  value = !$x|is_empty\n}\n"},
    {"var $a { value = (!$x|is_empty) == true }",
     "var $a {\n  value = (!$x|is_empty) == true\n}\n"},
    {"var $a { value = `$x|count == 0` }", "var $a {\n  value = `($x|count) == 0`\n}\n"},
    {"var $a { value = -(5) }", "var $a {\n  value = -(5)\n}\n"},
    {"var $a { value = ($x.y)|first_notnull:($z|first) }",
     "var $a {\n  value = ($x.y)|first_notnull:($z|first)\n}\n"},
    {"var $a { value = $x|trim|to_lower|split:\",\" }",
     "var $a {\n  value = $x\n    |trim\n    |to_lower\n    |split:\",\"\n}\n"},
    {"var $a { value = {\"b\": 1, \"c d\": 'it''s'} }", NULL},
    {"var $a { value = {long_key_of_this_object: \"some text here\", k: [1, 2, 3], other: 5} }",
     "var $a {\n  value = {\n    long_key_of_this_object: \"some text here\"\n    k                "
     "      : "
     "[1, 2, 3]\n    other                  : 5\n  }\n}\n"},
    {"var $a { value = 'a\"b' }", "var $a {\n  value = \"a\\\"b\"\n}\n"},
    {"var $a {\n  value = \"\"\"\n    one\n    \"\"\"\n}\n", "var $a {\n  value = \"one\"\n}\n"},
    {"var $a { value = \"first line of a longer text\\nand a second one of it\" }",
     "var $a {\n  value = \"\"\"\n    first line of a longer text\n    and a second one of it\n    "
     "\"\"\"\n}\n"},
    {"conditional { if ($a) { break } elseif ($b) { continue } else { } }",
     "conditional {\n  if ($a) {\n    break\n  }\n\n  elseif ($b) {\n    continue\n  }\n\n  else "
     "{\n  }\n}\n"},
    {"switch ($a) { case (1) { } break default { } }",
     "switch ($a) {\n  case (1) {\n  } break\n\n  default {\n  }\n}\n"},
    {"array.find ($a) if ($this==1) as $f", "array.find ($a) if ($this == 1) as $f\n"},
    {"db.get 'user' { field_value = 1 } as $u|get:\"name\"",
     "db.get \"user\" {\n  field_value = 1\n} as $u|get:\"name\"\n"},
    {"cache.get { key = 1|gt:2 } as $r", "redis.get {\n  key = 1|greater_than:2\n} as $r\n"},
    {"security.create_uuid { mock \"a\" { value = 1 } mock \"b\" { value = 2 } } as $i",
     "security.create_uuid {\n  mock = {a: 1, b: 2}\n} as $i\n"},
    {"!debug.log { value = 1 }", "!debug.log {\n  value = 1\n}\n"},
    {"var $a { value = !int \"5\" }", "var $a {\n  value = !int \"5\"\n}\n"},
    {"var $a { value = $x|map:($$ > 1 ? 1 : 2)|sum }",
     "var $a {\n  value = $x|map:($$ > 1 ? 1 : 2)|sum\n}\n"},
    /* comments */
    {"// first\n\n// doc\nvar $a { // head\n  // inner\n  value = 1 // behind\n} // end\n// last\n",
     "// first\n\n// doc\n// head\n// end\nvar $a {\n  // inner\n  // behind\n  value = 1\n}\n// "
     "last\n"},
    {"var $a {\n  value = {\n    a: 1 // one\n    // two\n    b: 2\n    // tail\n  }\n}\n",
     "var $a {\n  value = {\n    // one\n    a: 1\n    // two\n    b: 2\n    // tail\n  }\n}\n"},
    {"var $a {\n  value = $x\n    // why\n    |trim\n}\n",
     "var $a {\n  // why\n  value = $x|trim\n}\n"},
    {"conditional {\n  if ($a) { // yes\n  }\n  // else what\n  else {\n    //no\n  }\n}\n",
     "conditional {\n  if ($a) {\n    // yes\n  }\n\n  // else what\n  else {\n    // no\n  "
     "}\n}\n"},
    /* constructs */
    {"query x { verb = POST input { int a?=1 filters=min : 1 | max:2 { sensitive=true } text b } "
     "stack response = $input.a }",
     "query x verb=POST {\n  input {\n    int a?=1 filters=min:1|max:2 {\n      sensitive = true\n "
     "  "
     " }\n\n    text b\n  }\n\n  stack {\n  }\n\n  response = $input.a\n}\n"},
    {"table \"t\" { auth=true schema { int id object[1:] o? { schema { text[]? a } } } }",
     "table \"t\" {\n  auth = true\n\n  schema {\n    int id\n    object[1:] o? {\n      schema "
     "{\n     "
     "   text[]? a\n      }\n    }\n  }\n}\n"},
    {"function f { stack response { value = 1 } test a { input = {} expect.to_equal ($response) { "
     "value = 1 } } }",
     "function f {\n  stack {\n  }\n\n  response = 1\n\n  test a {\n    input = {}\n\n    "
     "expect.to_equal ($response) {\n      value = 1\n    }\n  }\n}\n"},
};

static bool format(Arena *a, Text source, Buf *out)
{
    DiagList diags;
    diag_init(&diags, a);
    bool ok = format_source(a, TEXT("t.xs"), source, &diags, out);
    if (!ok)
        for (size_t i = 0; i < diags.count; i++)
            print_error("%u:%u: " TEXT_FMT "\n", diags.items[i].pos.line, diags.items[i].pos.col,
                        TEXT_ARG(diags.items[i].message));
    return ok;
}

static void test_layouts(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Arena a;
        Buf once = BUF_INIT, twice = BUF_INIT;
        arena_init(&a, 0);
        if (!cases[i].out) { /* an error: refused */
            DiagList diags;
            diag_init(&diags, &a);
            assert_false(format_source(&a, TEXT("t.xs"), text_from(cases[i].in), &diags, &once));
            assert_true(diags.errors > 0 && once.len == 0);
        } else if (!format(&a, text_from(cases[i].in), &once) ||
                   !text_eq(buf_view(&once), text_from(cases[i].out)) ||
                   !format(&a, buf_view(&once), &twice) ||
                   !text_eq(buf_view(&once), buf_view(&twice))) {
            print_error("%s\nexpected\n%s\nfound\n" TEXT_FMT "\nthen\n" TEXT_FMT "\n", cases[i].in,
                        cases[i].out, TEXT_ARG(buf_view(&once)), TEXT_ARG(buf_view(&twice)));
            failed++;
        }
        buf_deinit(&once);
        buf_deinit(&twice);
        arena_deinit(&a);
    }
    assert_int_equal(failed, 0);
}

/* ---- every source of the repository ---- */

static size_t sources, formatted;

static bool compiles(Arena *a, Text source, BundleImage *image)
{
    CompileOptions options = {.allow_bare_statements = true, .program_name = TEXT("t")};
    SourceFile file = {TEXT("t.xs"), source};
    DiagList diags;
    diag_init(&diags, a);
    return compile_program(a, &file, 1, &options, &diags, image);
}

static void check_source(const char *path, Text source)
{
    Arena a;
    Buf once = BUF_INIT, twice = BUF_INIT;
    BundleImage before, after;
    DiagList diags;
    arena_init(&a, 0);
    diag_init(&diags, &a);
    sources++;
    if (format_source(&a, TEXT("t.xs"), source, &diags, &once)) {
        formatted++;
        bool ok = format(&a, buf_view(&once), &twice) && text_eq(buf_view(&once), buf_view(&twice));
        bool compiled = compiles(&a, source, &before);
        if (!ok || compiled != compiles(&a, buf_view(&once), &after) ||
            (compiled && !same_code(&before, &after)))
            fail_msg("%s: %s after formatting:\n" TEXT_FMT "\n", path,
                     ok ? "other code" : "another text", TEXT_ARG(buf_view(&once)));
    }
    buf_deinit(&once);
    buf_deinit(&twice);
    arena_deinit(&a);
}

/* ```xs blocks of a document. */
static void check_document(const char *path, Text text)
{
    for (size_t at = 0; (at = text_find(text, TEXT("```xs\n"), at)) != SIZE_MAX;) {
        at += 6;
        size_t end = text_find(text, TEXT("\n```"), at);
        if (end == SIZE_MAX)
            return;
        check_source(path, text_slice(text, at, end + 1));
        at = end + 4;
    }
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type != FTW_F)
        return 0;
    Arena a;
    arena_init(&a, 0);
    bool program = text_ends(text_from(path), TEXT(".xs"));
    if (program || text_ends(text_from(path), TEXT(".md"))) {
        Text text = file_text(&a, path);
        assert_non_null(text.ptr);
        (program ? check_source : check_document)(path, text);
    }
    arena_deinit(&a);
    return 0;
}

static void test_repository(void **state)
{
    (void)state;
    static const char *const folders[] = {"tests", "examples", "docs"};
    for (size_t i = 0; i < COUNT_OF(folders); i++)
        assert_int_equal(nftw(folders[i], visit, 16, FTW_PHYS), 0);
    assert_true(formatted > 50 && formatted * 10 > sources * 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_repository),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
