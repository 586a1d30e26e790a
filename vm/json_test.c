/* json_test.c - JSON in and out of values. */
#include "vm/test_util.h"

#include "core/mem.h"

static void round_trips(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* out NULL: the same */
    } cases[] = {
        {"null", NULL},
        {"[1,-2,2.5,true,false,null,\"x\"]", NULL},
        {"{\"b\":1,\"a\":{\"c\":[]},\"d\":{}}", NULL},
        {" [ 1 , { \"a\" : 2 } ] ", "[1,{\"a\":2}]"},
        {"1.0", "1"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}"},
        {"\"\\u00e9\\n\\/\"", "\"\xc3\xa9\\n/\""},
        {"[{\"id\":1,\"n\":\"a\"},{\"id\":2,\"n\":\"b\"}]", NULL},
    };
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Value v = from_json(h, cases[i].in);
        check_json(cases[i].in, v, cases[i].out ? cases[i].out : cases[i].in);
        val_unref(h, v);
        check_empty(cases[i].in, h);
    }
    heap_free(h);
}

static void bad_json_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const cases[] = {"",       "{",     "[1,",         "{\"a\":1",
                                        "{\"a\"", "[1] x", "{'a':1}",     "[[[{\"a\":[1,",
                                        "nul",    "01",    "\"\\ud800\"", "{\"a\":1,}"};
    Heap *h = heap_new(0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        xs_error err = {0};
        if (val_parse_json(h, text_from(cases[i]), &err).kind != V_UNSET)
            fail_msg("%s parsed", cases[i]);
        assert_int_equal(err.code, XS_E_BAD_JSON);
        assert_string_equal(err.message, "Error parsing JSON: Syntax error");
        check_empty(cases[i], h);
    }
    heap_free(h);
}

static void memory_is_an_error_of_its_own(void **state)
{
    (void)state;
    Heap *h = heap_new(10000);
    Buf big = BUF_INIT;
    buf_cstr(&big, "[\"x\"");
    for (int i = 0; i < 5000; i++)
        buf_cstr(&big, ",{\"a\":[1]}");
    buf_char(&big, ']');
    xs_error err = {0};
    assert_int_equal(val_parse_json(h, buf_view(&big), &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_MEMORY);
    check_empty("memory", h);
    buf_deinit(&big);
    heap_free(h);
}

static void deep_values_do_not_print(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    Value v = list_new(h, 0);
    for (int i = 0; i < 5000; i++) {
        Value outer = list_new(h, 1);
        assert_true(list_push(h, &outer, v));
        v = outer;
    }
    Buf out = BUF_INIT;
    assert_false(val_write_json(v, &out));
    buf_deinit(&out);
    Arena a;
    arena_init(&a, 0);
    assert_null(val_to_const(&a, v));
    arena_deinit(&a);
    heap_free(h);
}

static void pretty(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    Buf out = BUF_INIT;
    assert_true(val_write_json_pretty(from_json(h, "{\"a\":[1,{}],\"b\":[]}"), &out, 2));
    buf_char(&out, '\0');
    assert_string_equal(out.ptr, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
    buf_deinit(&out);
    heap_free(h);
}

static void const_trees(void **state)
{
    (void)state;
    const char *json = "{\"a\":[1,2.5,null,true],\"b\":{\"c\":\"x\"}}";
    Heap *h = heap_new(0);
    Arena a;
    arena_init(&a, 0);
    Value v = from_json(h, json);
    const Const *c = val_to_const(&a, v);
    Value back = val_from_const(h, c);
    check_json("const", back, json);
    val_unref(h, v);
    val_unref(h, back);
    check_empty("const", h);
    arena_deinit(&a);
    heap_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(bad_json_is_an_error_and_leaks_nothing),
        cmocka_unit_test(memory_is_an_error_of_its_own),
        cmocka_unit_test(deep_values_do_not_print),
        cmocka_unit_test(pretty),
        cmocka_unit_test(const_trees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
