/* convert_test.c - the tables of filters.md §1.3 to §1.5, row by row. */
#include "vm/test_util.h"

#include "core/num.h"

typedef struct Pair {
    const char *a, *b;
    bool loose, same, strict;
    int order;
} Pair;

static int sign(int n)
{
    return n < 0 ? -1 : n > 0;
}

static void equality_and_order(void **state)
{
    (void)state;
    static const Pair cases[] = {
        {"null", "null", true, true, true, 0},
        {"null", "0", false, false, false, -1},
        {"null", "false", false, false, false, -1},
        {"null", "\"\"", false, false, false, -1},
        {"null", "[]", false, false, false, -1},
        {"true", "1", true, false, false, 0},
        {"true", "\"x\"", true, false, false, 0},
        {"false", "\"0\"", true, false, false, 0},
        {"false", "[]", true, false, false, 0},
        {"false", "true", false, false, false, -1},
        {"true", "true", true, true, true, 0},
        {"2", "2.0", true, true, false, 0},
        {"2", "\"2.0\"", true, true, false, 0},
        {"2", "\" 2\"", true, true, false, 0},
        {"2", "\"x\"", false, false, false, -1},
        {"5", "\"five\"", false, false, false, -1},
        {"10", "\"9\"", false, false, false, 1},
        {"\"10\"", "\"1e1\"", false, false, false, -1},
        {"\"2\"", "\"10\"", false, false, false, 1},
        {"\"Zoo\"", "\"apple\"", false, false, false, -1},
        {"\"a\"", "\"ab\"", false, false, false, -1},
        {"9007199254740993", "9007199254740992.0", false, false, false, 1},
        {"9223372036854775807", "9223372036854775808.0", false, false, false, -1},
        {"-9223372036854775808", "-9223372036854775808.0", true, true, false, 0},
        {"1.5", "2", false, false, false, -1},
        {"-2", "-1.5", false, false, false, -1},
        {"[1,2]", "[1,\"2\"]", true, true, false, 0},
        {"[1,true]", "[1,1]", false, false, false, 0},
        {"[9]", "[1,1]", false, false, false, -1},
        {"[1,3]", "[1,2]", false, false, false, 1},
        {"[]", "{}", true, true, false, 0},
        {"[1]", "{\"0\":1}", false, false, false, 0},
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true, true, true, -1},
        {"{\"a\":1}", "{\"a\":1.0}", true, true, false, 0},
        {"{\"a\":1}", "{\"b\":1}", false, false, false, 0},
        {"\"zzz\"", "[]", false, false, false, -1},
        {"0", "[]", false, false, false, -1},
        {"[]", "[]", true, true, true, 0},
    };
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const Pair *c = &cases[i];
        Value a = from_json(h, c->a), b = from_json(h, c->b);
        if (val_loose_eq(a, b) != c->loose || val_loose_eq(b, a) != c->loose)
            fail_msg("%s == %s", c->a, c->b);
        if (val_same(a, b) != c->same || val_same(b, a) != c->same)
            fail_msg("%s same %s", c->a, c->b);
        if (val_strict_eq(a, b) != c->strict || val_strict_eq(b, a) != c->strict)
            fail_msg("%s === %s", c->a, c->b);
        if (sign(val_compare(a, b)) != c->order || sign(val_compare(b, a)) != -c->order)
            fail_msg("order of %s and %s: %d, %d", c->a, c->b, val_compare(a, b),
                     val_compare(b, a));
        val_unref(h, a);
        val_unref(h, b);
    }
    heap_free(h);
}

static void truth(void **state)
{
    (void)state;
    static const char *const falsy[] = {"null", "false", "0",  "0.0", "-0.0",
                                        "\"\"", "\"0\"", "[]", "{}"};
    static const char *const truthy[] = {"true",    "1",         "-1",     "0.1", "\" \"",
                                         "\"0.0\"", "\"false\"", "\"00\"", "[0]", "{\"a\":null}"};
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(falsy); i++)
        if (val_truthy(from_json(h, falsy[i])))
            fail_msg("%s is truthy", falsy[i]);
    for (size_t i = 0; i < COUNT_OF(truthy); i++)
        if (!val_truthy(from_json(h, truthy[i])))
            fail_msg("%s is falsy", truthy[i]);
    heap_free(h);
}

static void numeric_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *json; /* NULL: not numeric */
    } cases[] = {
        {"8", "8"},       {" 8 ", "8"},
        {"\t-8\n", "-8"}, {"+8", "8"},
        {"1e2", "100"},   {"1.", "1"},
        {".5", "0.5"},    {"-.5", "-0.5"},
        {"1E-2", "0.01"}, {"9223372036854775807", "9223372036854775807"},
        {"", NULL},       {" ", NULL},
        {".", NULL},      {"-", NULL},
        {"e1", NULL},     {"1e", NULL},
        {"0x1f", NULL},   {"5kg", NULL},
        {"1 2", NULL},    {"inf", NULL},
        {"nan", NULL},    {"1e999", NULL},
        {"--1", NULL},    {"1.2.3", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Value n;
        bool ok = text_number(text_from(cases[i].text), &n);
        if (ok != (cases[i].json != NULL))
            fail_msg("'%s'", cases[i].text);
        if (ok)
            check_json(cases[i].text, n, cases[i].json);
    }
}

static void arithmetic(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        Arith op;
        const char *b;
        const char *result; /* JSON, or "error:symbol" */
        Kind kind;
    } cases[] = {
        {"1", AR_ADD, "2", "3", V_INT},
        {"1", AR_ADD, "2.0", "3", V_DEC},
        {"\"12\"", AR_ADD, "3", "15", V_INT},
        {"\"1.5\"", AR_MUL, "\"4\"", "6", V_DEC},
        {"6", AR_DIV, "2", "3", V_INT},
        {"7", AR_DIV, "2", "3.5", V_DEC},
        {"-17", AR_MOD, "5", "-2", V_INT},
        {"17.9", AR_MOD, "5", "2", V_INT},
        {"5", AR_MOD, "-1", "0", V_INT},
        {"-9223372036854775808", AR_MOD, "-1", "0", V_INT},
        {"9223372036854775807", AR_MUL, "1", "9223372036854775807", V_INT},
        {"4611686018427387904", AR_MUL, "2", "9.223372036854775e+18", V_DEC},
        {"1", AR_DIV, "0", "error:div_zero", V_NULL},
        {"1", AR_DIV, "0.0", "error:div_zero", V_NULL},
        {"1", AR_MOD, "\"0\"", "error:div_zero", V_NULL},
        {"1", AR_MOD, "0.5", "error:div_zero", V_NULL},
        {"1e308", AR_MUL, "10", "error:not_finite", V_NULL},
        {"null", AR_ADD, "1", "error:not_numeric", V_NULL},
        {"true", AR_ADD, "1", "error:not_numeric", V_NULL},
        {"\"a\"", AR_SUB, "1", "error:not_numeric", V_NULL},
        {"[]", AR_SUB, "1", "error:not_numeric", V_NULL},
    };
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        xs_error err = {0};
        Value out;
        char what[80];
        snprintf(what, sizeof what, "%s op%d %s", cases[i].a, (int)cases[i].op, cases[i].b);
        if (val_arith(cases[i].op, from_json(h, cases[i].a), from_json(h, cases[i].b), &out,
                      &err)) {
            if (cases[i].op != AR_MUL || cases[i].kind != V_DEC || out.kind != V_DEC)
                check_json(what, out, cases[i].result);
            if (out.kind != cases[i].kind)
                fail_msg("%s: kind %d", what, (int)out.kind);
        } else if (strcmp(cases[i].result + (cases[i].kind == V_NULL ? 6 : 0),
                          xs_code_get(err.code)->symbol) != 0) {
            fail_msg("%s: error %s", what, err.message);
        }
    }
    Value out;
    xs_error err;
    assert_true(val_arith(AR_DIV, val_int(INT64_MIN), val_int(-1), &out, &err));
    assert_int_equal(out.kind, V_DEC);
    assert_true(val_arith(AR_ADD, val_int(INT64_MAX), val_int(1), &out, &err));
    assert_int_equal(out.kind, V_DEC);
    assert_true(val_arith(AR_SUB, val_int(INT64_MIN), val_int(1), &out, &err));
    assert_int_equal(out.kind, V_DEC);
    heap_free(h);
}

static void conversions(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text; /* NULL: not_text */
    } texts[] = {
        {"null", ""}, {"true", "true"}, {"false", "false"}, {"-7", "-7"}, {"2.50", "2.5"},
        {"3.0", "3"}, {"\"a\"", "a"},   {"[]", NULL},       {"{}", NULL},
    };
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        xs_error err = {0};
        Value v = val_to_text(h, from_json(h, texts[i].json), &err);
        if (texts[i].text)
            assert_string_equal(v.text->data, texts[i].text);
        else
            assert_int_equal(err.code, XS_E_NOT_TEXT);
    }
    static const struct {
        const char *json;
        int64_t value;
    } ints[] = {
        {"1.9", 1},       {"-1.9", -1}, {"1e300", INT64_MAX}, {"-1e300", INT64_MIN},
        {"\"12.7\"", 12}, {"7", 7},
    };
    for (size_t i = 0; i < COUNT_OF(ints); i++) {
        int64_t n = 0;
        xs_error err;
        assert_true(val_integer(from_json(h, ints[i].json), &n, &err));
        assert_true(n == ints[i].value);
    }
    heap_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality_and_order), cmocka_unit_test(truth),
        cmocka_unit_test(numeric_text),       cmocka_unit_test(arithmetic),
        cmocka_unit_test(conversions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
