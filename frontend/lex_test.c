/* lex_test.c - tokens, strings, numbers, positions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frontend/lex.h"

typedef struct Fixture {
    Arena a;
    DiagList diags;
    Comp c;
} Fixture;

static const CompileOptions no_options = {0};

static void open(Fixture *f)
{
    arena_init(&f->a, 0);
    diag_init(&f->diags, &f->a);
    assert_true(comp_init(&f->c, &f->a, &f->diags, &no_options));
    comp_file(&f->c, "t.xs");
}

static Token first(Fixture *f, const char *source)
{
    Lexer lx;
    lex_init(&lx, &f->c, text_from(source));
    return lex_next(&lx);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *source, *value;
    } cases[] = {
        {"\"a\\n\\t\\\"b\\\\\"", "a\n\t\"b\\"},
        {"\"\\x41\\u00e9\\101\"", "A\xc3\xa9"
                                  "A"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\\d\\/\"", "\\d\\/"}, /* unknown pairs stay */
        {"'a\\n\\'b'", "a\\n'b"},
        {"\"\"", ""},
        {"\"a\nb\"", "a\nb"},
        {"\"\"\"\n    one\n      two\n    \"\"\"", "one\n  two"},
        {"'''\n'''", ""},
        {"\"\"\"\nx \"\"\" y\n\"\"\"", "x \"\"\" y"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Fixture f;
        open(&f);
        Token t = first(&f, cases[i].source);
        assert_int_equal(t.kind, TOK_TEXT);
        assert_true(text_eq(t.text, text_from(cases[i].value)));
        assert_int_equal(f.diags.count, 0);
        arena_deinit(&f.a);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        TokKind kind;
        int64_t i;
        double d;
    } cases[] = {
        {"42", TOK_INT, 42, 0},
        {"007", TOK_INT, 7, 0},
        {"2.5", TOK_DEC, 0, 2.5},
        {"1e3", TOK_DEC, 0, 1000},
        {"1..5", TOK_INT, 1, 0},
        {"1970-01-01 00:00:01+0000", TOK_TIME, 1000, 0},
        {"1970-01-01 01:00:00+0100", TOK_TIME, 0, 0},
        {"2024-02-29 12:00:00-0030", TOK_TIME, 1709209800000, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Fixture f;
        open(&f);
        Token t = first(&f, cases[i].source);
        assert_int_equal(t.kind, cases[i].kind);
        if (t.kind == TOK_DEC)
            assert_true(t.d == cases[i].d);
        else
            assert_int_equal(t.i, cases[i].i);
        assert_int_equal(f.diags.count, 0);
        arena_deinit(&f.a);
    }
}

static void test_positions_and_flags(void **state)
{
    (void)state;
    Fixture f;
    open(&f);
    Lexer lx;
    lex_init(
        &lx, &f.c,
        TEXT("\xEF\xBB\xBF// doc of a\na \"\xc3\xa9\xc3\xa9\" b // tail\r\n\n$c.0.1 $$ $12 `x`"));
    Token a = lex_next(&lx);
    assert_int_equal(a.kind, TOK_IDENT);
    assert_int_equal(a.pos.line, 2);
    assert_int_equal(a.pos.col, 1);
    assert_true(a.nl);
    assert_true(text_eq(a.doc, TEXT("// doc of a")));
    Token text = lex_next(&lx);
    assert_int_equal(text.pos.col, 3);
    assert_int_equal(text.pos.len, 4); /* code points, with quotes */
    assert_int_equal(lex_next(&lx).pos.col, 8);
    Token c = lex_next(&lx);
    assert_int_equal(c.kind, TOK_VAR);
    assert_int_equal(c.pos.line, 4);
    assert_int_equal(c.doc.len, 0);
    static const TokKind rest[] = {TOK_DOT, TOK_INT,  TOK_DOT, TOK_INT, TOK_VAR,
                                   TOK_VAR, TOK_EXPR, TOK_EOF, TOK_EOF};
    for (size_t i = 0; i < COUNT_OF(rest); i++)
        assert_int_equal(lex_next(&lx).kind, rest[i]);
    arena_deinit(&f.a);
}

static void test_operators_are_longest(void **state)
{
    (void)state;
    Fixture f;
    open(&f);
    Lexer lx;
    lex_init(&lx, &f.c, TEXT("=== == = !== != ! !~ >= <= @> ... .. . || | ?\? ? &&"));
    static const TokKind kinds[] = {TOK_SEQ,     TOK_EQ,       TOK_ASSIGN, TOK_SNE, TOK_NE,
                                    TOK_BANG,    TOK_NMATCH,   TOK_GE,     TOK_LE,  TOK_HAS,
                                    TOK_SPREAD,  TOK_RANGE,    TOK_DOT,    TOK_OR,  TOK_PIPE,
                                    TOK_NULLISH, TOK_QUESTION, TOK_AND,    TOK_EOF};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        assert_int_equal(lex_next(&lx).kind, kinds[i]);
    arena_deinit(&f.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_positions_and_flags),
        cmocka_unit_test(test_operators_are_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
