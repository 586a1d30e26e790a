/* yaml_test.c - YAML read and written: the schema, refused features, quoting that reads back,
 * hostile documents, and all of it in heaps that run out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "core/mem.h"
#include "core/tables.h"
#include "stdlib/filters/codec.h"

typedef struct Case {
    const char *yaml, *json; /* json NULL: bad_yaml */
} Case;

static const Case decoded[] = {
    {"", "null"},
    {"# nothing\n", "null"},
    {"---\n...\n", "null"},
    {"~", "null"},
    {"[null, Null, NULL, ~, , nULL]", NULL}, /* no empty items in flow sequences */
    {"[null, Null, NULL, ~, nULL]", "[null,null,null,null,\"nULL\"]"},
    {"[true, True, TRUE, tRUE, yes, off, y]", "[true,true,true,\"tRUE\",\"yes\",\"off\",\"y\"]"},
    {"[false, False, FALSE]", "[false,false,false]"},
    {"[0, -7, +12, 007, 9223372036854775807]", "[0,-7,12,7,9223372036854775807]"},
    {"[9223372036854775808, -9223372036854775809]",
     "[9.223372036854776e+18,-9.223372036854776e+18]"},
    {"[0x1F, 0o17, 0x7fffffffffffffff, 0x8000000000000000]",
     "[31,15,9223372036854775807,9.223372036854776e+18]"},
    {"[0x, 0o8, 0xg, -0x1, 0b1, 1_000]", "[\"0x\",\"0o8\",\"0xg\",\"-0x1\",\"0b1\",\"1_000\"]"},
    {"[.5, -.5, 5., 1.25, 1e3, 1.5E-7, +0.1]", "[0.5,-0.5,5,1.25,1000,1.5e-7,0.1]"},
    {"[., +, e5, 1e, 1e+, 1.2.3, -.]", "[\".\",\"+\",\"e5\",\"1e\",\"1e+\",\"1.2.3\",\"-.\"]"},
    {"[2024-02-29, 12:30]", "[\"2024-02-29\",\"12:30\"]"},
    {".inf", NULL},
    {"-.INF", NULL},
    {"a: .nan", NULL},
    {"1e999", NULL},
    {"['1', \"true\", '~', '']", "[\"1\",\"true\",\"~\",\"\"]"},
    {"\"a\\tb\\u00e9\\0\"", "\"a\\tbé\\u0000\""},
    {"a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}"},
    {"a:\nb: c\n", "{\"a\":null,\"b\":\"c\"}"},
    {"1: a\ntrue: b\n~: c\n", "{\"1\":\"a\",\"true\":\"b\",\"~\":\"c\"}"},
    {"a: 1\na: 2\n", "{\"a\":2}"},
    {"- - 1\n  - {x: [y]}\n-\n", "[[1,{\"x\":[\"y\"]}],null]"},
    {"? a\n: b\n", "{\"a\":\"b\"}"},
    {"{\"a\":[1,\"b\",null,{\"c\":1.5}]}", "{\"a\":[1,\"b\",null,{\"c\":1.5}]}"},
    {"<<: {a: 1}\n", "{\"<<\":{\"a\":1}}"},
    {"\xEF\xBB\xBF"
     "a: 1\n",
     "{\"a\":1}"},
    {"%YAML 1.2\n---\na: 1\n", "{\"a\":1}"},
    {"a: &x 1\n", NULL},
    {"- &x [1]\n- *x\n", NULL},
    {"*x", NULL},
    {"!!str 1", NULL},
    {"! a", NULL},
    {"!!map {a: 1}", NULL},
    {"[!!python/object:os.system x]", NULL},
    {"a\n---\nb\n", NULL},
    {"? [a]\n: b\n", NULL},
    {"{a: 1", NULL},
    {"a: b: c", NULL},
    {"a:\n\tb: 1\n", NULL},
    {"\"\\ud800\"", NULL},
    {"\xFF", NULL},
    {"a: \x01", NULL},
    {"]", NULL},
    {"a: 1\n b: 2\n", NULL},
};

static const Case encoded[] = {
    {"null\n", "null"},
    {"5\n", "5"},
    {"[]\n", "[]"},
    {"{}\n", "{}"},
    {"n: 1\nlist:\n  - a\n  - true\n", "{\"n\":1,\"list\":[\"a\",true]}"},
    {"- 1\n- - 2\n  - 3\n- a: 4\n  b:\n    - 5\n", "[1,[2,3],{\"a\":4,\"b\":[5]}]"},
    {"a:\n  b:\n    c: []\n    d: {}\n", "{\"a\":{\"b\":{\"c\":[],\"d\":{}}}}"},
    {"- 1.5\n- 1.5e-7\n- -3\n- null\n", "[1.5,1.5e-7,-3,null]"},
    {"- Hello, big world\n- a:b\n- é!\n- _x\n- /usr/bin\n",
     "[\"Hello, big world\",\"a:b\",\"é!\",\"_x\",\"/usr/bin\"]"},
    {"- \"\"\n- \"1\"\n- \"true\"\n- \"No\"\n- \"~\"\n- \"2024-01-01\"\n- \".5\"\n",
     "[\"\",\"1\",\"true\",\"No\",\"~\",\"2024-01-01\",\".5\"]"},
    {"- \"- a\"\n- \"a: b\"\n- \"a:\"\n- \"a #b\"\n- \"a \"\n- \" a\"\n- \"*x\"\n- \"&x\"\n- "
     "\"!x\"\n",
     "[\"- a\",\"a: b\",\"a:\",\"a #b\",\"a \",\" a\",\"*x\",\"&x\",\"!x\"]"},
    {"- \"a\\nb\\tc\\r\"\n- \"\\\"q\\\\\"\n- \"\\x00\\x1b\\x85\"\n- \"x\\u2028\\ufeff\"\n",
     "[\"a\\nb\\tc\\r\",\"\\\"q\\\\\",\"\\u0000\\u001b\xC2\x85\",\"x\u2028\xEF\xBB\xBF\"]"},
    {"\"\": 1\n\"1\": 2\n\"a: b\": 3\n\"yes\": 4\n", "{\"\":1,\"1\":2,\"a: b\":3,\"yes\":4}"},
};

static Value call_filter(Heap *h, FilterFn fn, const char *name, Value in, xs_error *err)
{
    Call call = {.heap = h, .name = name, .in = in, .in_slot = &in, .ret = val_null(), .err = err};
    bool ok = fn(&call);
    call_end(&call);
    assert_true(ok || err->code != XS_OK);
    return ok ? call.ret : val_unset();
}

static Value decode(Heap *h, Text yaml, xs_error *err)
{
    Value in = text_new(h, yaml);
    Value out = in.kind == V_UNSET ? in : call_filter(h, flt_yaml_decode, "yaml_decode", in, err);
    val_unref(h, in);
    return out;
}

static bool same_json(const char *label, Value v, const char *want, const xs_error *err)
{
    Buf got = BUF_INIT;
    if (v.kind == V_UNSET)
        buf_cstr(&got, xs_code_get(err->code)->symbol);
    else
        assert_true(val_write_json(v, &got));
    bool ok = text_eq(buf_view(&got), text_from(want ? want : "bad_yaml"));
    if (!ok)
        fprintf(stderr, "%s\n  want %s\n  got  " TEXT_FMT " (%s)\n", label,
                want ? want : "bad_yaml", TEXT_ARG(buf_view(&got)), err->message);
    buf_deinit(&got);
    return ok;
}

static void test_decode(void **state)
{
    (void)state;
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(decoded); i++) {
        Heap *h = heap_new(0);
        xs_error err = {0};
        Value v = decode(h, text_from(decoded[i].yaml), &err);
        ok &= same_json(decoded[i].yaml, v, decoded[i].json, &err);
        val_unref(h, v);
        assert_int_equal(heap_bytes(h), 0);
        heap_free(h);
    }
    assert_true(ok);
}

/* Also that what is written reads back as it was. */
static void test_encode(void **state)
{
    (void)state;
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(encoded); i++) {
        Heap *h = heap_new(0);
        xs_error err = {0};
        Value in = val_parse_json(h, text_from(encoded[i].json), &err);
        Value out = call_filter(h, flt_yaml_encode, "yaml_encode", in, &err);
        assert_int_equal(out.kind, V_TEXT);
        if (!text_eq(val_text_view(out), text_from(encoded[i].yaml))) {
            fprintf(stderr, "%s\n  want %s\n  got  " TEXT_FMT "\n", encoded[i].json,
                    encoded[i].yaml, TEXT_ARG(val_text_view(out)));
            ok = false;
        }
        Value back = decode(h, val_text_view(out), &err);
        ok &= same_json(encoded[i].yaml, back, encoded[i].json, &err);
        val_unref(h, in);
        val_unref(h, out);
        val_unref(h, back);
        assert_int_equal(heap_bytes(h), 0);
        heap_free(h);
    }
    assert_true(ok);
}

/* Every text of up to three pieces of this list, as item, key and value. */
static void test_round_trip(void **state)
{
    static const char *const parts[] = {"",  "a", " ", ":",  "#",    "-",  "?", "'",           "\"",
                                        "0", ".", "~", "\n", "\x7f", "\\", "{", "\xC2\x85",    "é",
                                        ",", "%", "|", "n",  "\t",   "<",  "@", "\xEF\xBB\xBF"};
    (void)state;
    Heap *h = heap_new(0);
    xs_error err = {0};
    for (size_t i = 0; i < COUNT_OF(parts) * COUNT_OF(parts) * COUNT_OF(parts); i++) {
        Buf b = BUF_INIT;
        buf_cstr(&b, parts[i % COUNT_OF(parts)]);
        buf_cstr(&b, parts[i / COUNT_OF(parts) % COUNT_OF(parts)]);
        buf_cstr(&b, parts[i / COUNT_OF(parts) / COUNT_OF(parts)]);
        Text t = buf_view(&b);
        Value map = map_new(h, 1), list = list_new(h, 2);
        assert_true(map_set_text(h, &map, t, text_new(h, t)));
        assert_true(list_push(h, &list, text_new(h, t)) && list_push(h, &list, map));
        Value out = call_filter(h, flt_yaml_encode, "yaml_encode", list, &err);
        Value back = decode(h, val_text_view(out), &err);
        if (back.kind == V_UNSET || !val_same(back, list))
            fail_msg("does not read back: " TEXT_FMT "(%s)", TEXT_ARG(val_text_view(out)),
                     err.message);
        val_unref(h, list);
        val_unref(h, out);
        val_unref(h, back);
        buf_deinit(&b);
    }
    heap_free(h);
}

static void test_long_keys(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    xs_error err = {0};
    for (size_t len = 150; len < 2000; len += 170) {
        Buf b = BUF_INIT;
        for (size_t i = 0; i < len; i++)
            buf_char(&b, i % 2 ? '\n' : '\x01');
        Value inner = map_new(h, 1), outer = map_new(h, 1);
        assert_true(map_set_text(h, &inner, buf_view(&b), val_int(1)));
        assert_true(map_set_text(h, &outer, buf_view(&b), inner));
        Value out = call_filter(h, flt_yaml_encode, "yaml_encode", outer, &err);
        Value back = decode(h, val_text_view(out), &err);
        assert_true(back.kind == V_MAP && val_same(back, outer));
        val_unref(h, outer);
        val_unref(h, out);
        val_unref(h, back);
        buf_deinit(&b);
    }
    heap_free(h);
}

static Value nested(Heap *h, uint32_t depth)
{
    Value v = list_new(h, 0);
    while (--depth) {
        Value outer = list_new(h, 1);
        assert_true(list_push(h, &outer, v));
        v = outer;
    }
    return v;
}

static void test_depth(void **state)
{
    static const char *const opening[] = {"[", "{a: ", "- ", "[{a: "};
    (void)state;
    Heap *h = heap_new(0);
    xs_error err = {0};
    Value ok = nested(h, 512), deep = nested(h, 514);
    Value out = call_filter(h, flt_yaml_encode, "yaml_encode", ok, &err);
    assert_int_equal(out.kind, V_TEXT);
    Value back = decode(h, val_text_view(out), &err);
    assert_true(val_same(back, ok));
    assert_int_equal(call_filter(h, flt_yaml_encode, "yaml_encode", deep, &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_LIMIT);
    for (size_t i = 0; i < COUNT_OF(opening); i++) {
        Buf b = BUF_INIT;
        for (int n = 0; n < 20000; n++)
            buf_cstr(&b, opening[i]);
        assert_int_equal(decode(h, buf_view(&b), &err).kind, V_UNSET);
        assert_int_equal(err.code, XS_E_BAD_YAML);
        buf_deinit(&b);
    }
    heap_free(h);
}

static void test_too_many(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    xs_error err = {0};
    Buf b = BUF_INIT;
    for (int i = 0; i <= 1000 * 1000; i++)
        buf_cstr(&b, "-\n");
    assert_int_equal(decode(h, buf_view(&b), &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_BAD_YAML);
    b.len = 0;
    for (int i = 0; i < 17; i++) /* many of them take the library minutes */
        buf_printf(&b, "%%TAG !a%d! b\n", i);
    buf_cstr(&b, "---\n");
    assert_int_equal(decode(h, buf_view(&b), &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_BAD_YAML);
    b.len = 0;
    for (int i = 0; i < 300 * 1000; i++) /* many values on a deep level, too */
        buf_cstr(&b, i < 500 ? "[" : "a,");
    assert_int_equal(decode(h, buf_view(&b), &err).kind, V_UNSET);
    assert_non_null(strstr(err.message, "too many values"));
    b.len = 0;
    while (b.len <= 16 << 20)
        buf_cstr(&b, "# a comment as long as the line that it stands on is allowed to be today\n");
    assert_int_equal(decode(h, buf_view(&b), &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_BAD_YAML);
    buf_deinit(&b);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
}

/* A value as large as one shared part suggests is cut off by the limit of texts, not by the
 * machine. */
static void test_shared_value(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    xs_error err = {0};
    Value v = text_new(h, TEXT("laugh"));
    for (int i = 0; i < 40; i++) {
        Value outer = list_new(h, 2);
        assert_true(list_push(h, &outer, val_ref(v)) && list_push(h, &outer, v));
        v = outer;
    }
    assert_int_equal(call_filter(h, flt_yaml_encode, "yaml_encode", v, &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_LIMIT);
    heap_free(h);
}

static void test_operands(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    xs_error err = {0};
    Value list = list_new(h, 0);
    assert_int_equal(call_filter(h, flt_yaml_decode, "yaml_decode", list, &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_NOT_TEXT);
    assert_int_equal(call_filter(h, flt_yaml_decode, "yaml_decode", val_null(), &err).kind, V_NULL);
    heap_free(h);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(decoded) + COUNT_OF(encoded); i++) {
        const char *yaml =
            i < COUNT_OF(decoded) ? decoded[i].yaml : encoded[i - COUNT_OF(decoded)].yaml;
        for (uint64_t n = 1; n < 30; n++) {
            Heap *h = heap_new(n % 2 ? 0 : n * 64);
            xs_error err = {0};
            mem_fail_after(n % 2 ? n / 2 : 0);
            Value v = h ? decode(h, text_from(yaml), &err) : val_unset();
            if (v.kind != V_UNSET) {
                xs_error other = {0};
                val_unref(h, call_filter(h, flt_yaml_encode, "yaml_encode", v, &other));
            }
            mem_fail_after(0);
            heap_free(h);
        }
    }
}

int main(void)
{
    tables_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_long_keys),
        cmocka_unit_test(test_depth),         cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_shared_value),  cmocka_unit_test(test_operands),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
