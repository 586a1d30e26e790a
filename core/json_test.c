/* json_test.c - what the reader accepts, refuses and how the writer prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/mem.h"

static char *reprint(Text input, xs_error *err)
{
    Arena a;
    Buf out = BUF_INIT;
    size_t len;
    arena_init(&a, 0);
    const Const *c = json_parse(&a, input, err);
    char *text = NULL;
    if (c) {
        json_write_const(&out, c);
        text = buf_take(&out, &len);
    }
    arena_deinit(&a);
    return text;
}

static void accepts(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"null", "null"},
        {" [ ] ", "[]"},
        {"{}", "{}"},
        {"[1,-0,2.50,1e2,1.0]", "[1,0,2.5,100,1]"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775808", "9.223372036854776e+18"},
        {"{\"a\":1,\"b\":[true,false,null],\"a\":2}", "{\"a\":2,\"b\":[true,false,null]}"},
        {"\"\\u0041\\n\\t\\\"\\\\\\/\\b\\f\\r\"", "\"A\\n\\t\\\"\\\\/\\b\\f\\r\""},
        {"\"\\uD83D\\uDE00 \xC3\xA9\"", "\"\xF0\x9F\x98\x80 \xC3\xA9\""},
        {"\"\\u0001\\u001f\\u007f\"", "\"\\u0001\\u001f\x7F\""},
        {"\t\r\n{\"k\" : \"long text without any escape at all\"}\n",
         "{\"k\":\"long text without any escape at all\"}"},
        {"{\"1\":1,\"2\":2,\"3\":3,\"4\":4,\"5\":5,\"6\":6,\"7\":7,\"8\":8,\"9\":9,\"1\":0}",
         "{\"1\":0,\"2\":2,\"3\":3,\"4\":4,\"5\":5,\"6\":6,\"7\":7,\"8\":8,\"9\":9}"},
        {"{\"\":{\"\":[]}}", "{\"\":{\"\":[]}}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        xs_error err = {0};
        char *text = reprint(text_from(cases[i][0]), &err);
        if (!text)
            fail_msg("%s: %s", cases[i][0], err.message);
        assert_string_equal(text, cases[i][1]);
        mem_free(text);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t line, col;
    } cases[] = {
        {"", 1, 1},
        {"  ", 1, 3},
        {"[1,]", 1, 4},
        {"[1 2]", 1, 4},
        {"[", 1, 2},
        {"]", 1, 1},
        {"[1}", 1, 3},
        {"{\"a\"}", 1, 5},
        {"{\"a\":1,}", 1, 8},
        {"{a:1}", 1, 2},
        {"{\"a\":}", 1, 6},
        {"01", 1, 1},
        {"-", 1, 2},
        {"1.", 1, 3},
        {".5", 1, 1},
        {"+1", 1, 1},
        {"1e", 1, 3},
        {"1e400", 1, 1},
        {"NaN", 1, 1},
        {"nul", 1, 1},
        {"truefalse", 1, 5},
        {"\"abc", 1, 5},
        {"\"a\\x\"", 1, 3},
        {"\"\\ud800\"", 1, 4},
        {"\"\\udc00\"", 1, 4},
        {"\"\\ud800\\u0041\"", 1, 4},
        {"\"\\u12\"", 1, 4},
        {"\"\\", 1, 2},
        {"\"\xC3\xA9\xFF\"", 1, 3},
        {"\"\xED\xA0\x80\"", 1, 2},
        {"\"a\nb\"", 1, 3},
        {"[1,\n  x]", 2, 3},
        {"1 2", 1, 3},
        {"'a'", 1, 1},
        {"\xEF\xBB\xBF[]", 1, 1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        xs_error err = {0};
        char *text = reprint(text_from(cases[i].text), &err);
        if (text || err.code != XS_E_BAD_JSON || err.pos.line != cases[i].line ||
            err.pos.col != cases[i].col)
            fail_msg("%s: %s", cases[i].text, text ? text : err.message);
    }
}

static void limits_depth(void **state)
{
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 2];
    for (size_t depth = JSON_MAX_DEPTH; depth <= JSON_MAX_DEPTH + 1; depth++) {
        xs_error err = {0};
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        char *out = reprint((Text){text, depth * 2}, &err);
        assert_int_equal(out != NULL, depth <= JSON_MAX_DEPTH);
        mem_free(out);
    }
}

/* Every cut of a document is an error and touches no byte behind the cut (asan watches). */
static void survives_cuts(void **state)
{
    (void)state;
    static const char doc[] = "{\"a\":[1,-2.5e3,true,null],\"b\\u00e9\\uD83D\\uDE00\":\"x\\n\"}";
    for (size_t n = 0; n < sizeof doc - 1; n++) {
        char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, doc, n);
        xs_error err = {0};
        assert_null(reprint((Text){copy, n}, &err));
        free(copy);
    }
}

static void survives_no_memory(void **state)
{
    (void)state;
    static const char doc[] = "{\"a\":[1,2,3,4,5,6,{\"b\":\"\\n\"}],\"1\":1,\"2\":1,\"3\":1,\"4\":"
                              "1,\"5\":1,\"6\":1,\"7\":1,\"8\":1}";
    for (uint64_t n = 1; n < 6; n++) {
        xs_error err = {0};
        mem_fail_after(n);
        char *text = reprint(text_from(doc), &err);
        mem_fail_after(0);
        if (!text && err.code)
            assert_int_equal(err.code, XS_E_NOMEM);
        mem_free(text);
    }
    assert_int_equal(mem_in_use(), 0);
}

static void writes_texts(void **state)
{
    (void)state;
    static const struct {
        Text in;
        const char *out;
    } cases[] = {
        {{"", 0}, "\"\""},
        {{"a\"b\\c/", 6}, "\"a\\\"b\\\\c/\""},
        {{"\0\x1F", 2}, "\"\\u0000\\u001f\""},
        {{"01234567\n9012345678901234567890\"", 32}, "\"01234567\\n9012345678901234567890\\\"\""},
        {{"\xC3\xA9", 2}, "\"\xC3\xA9\""},
        {{"a\xFFz", 3}, "\"a\xEF\xBF\xBDz\""},
        {{"\xC3", 1}, "\"\xEF\xBF\xBD\""},
        {{"\xE2\x82", 2}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {{"\xEF\xBF\xBD", 3}, "\"\xEF\xBF\xBD\""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Buf out = BUF_INIT;
        json_write_text(&out, cases[i].in);
        buf_char(&out, '\0');
        assert_string_equal(out.ptr, cases[i].out);
        buf_deinit(&out);
    }
}

static void writes_pretty(void **state)
{
    (void)state;
    Arena a;
    Buf out = BUF_INIT;
    xs_error err = {0};
    arena_init(&a, 0);
    const Const *c = json_parse(&a, TEXT("{\"a\":[1,{}],\"b\":[]}"), &err);
    assert_non_null(c);
    json_write_const_pretty(&out, c, 2);
    buf_char(&out, '\0');
    assert_string_equal(out.ptr, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
    buf_deinit(&out);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(limits_depth),
        cmocka_unit_test(survives_cuts),
        cmocka_unit_test(writes_texts),
        cmocka_unit_test(writes_pretty),
        cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
