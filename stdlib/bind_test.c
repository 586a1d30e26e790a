/* bind_test.c - every rule of binding as a row: field, sent value, bound value or message and
 * param. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/bind.h"
#include "stdlib/thread_cache.h"
#include "vm/heap.h"

typedef struct Case {
    const char *field, *sent; /* sent NULL = omitted */
    const char *want;         /* JSON, or "!message" */
    const char *param;        /* of the error */
} Case;

#define Q(...) #__VA_ARGS__ /* JSON without escaped quotes */

/* clang-format off */
static const Case cases[] = {
    /* ---- absent, null, empty ---- */
    {Q({"name":"n","type":"text"}), NULL, "!Missing param: n", "n"},
    {Q({"name":"n","type":"text"}), "null", "!Missing param: n", "n"},
    {Q({"name":"n","type":"text"}), "\"\"", "!Missing param: n", "n"},
    {Q({"name":"n","type":"text","nullable":true}), NULL, "!Missing param: n", "n"},
    {Q({"name":"n","type":"text","nullable":true}), "null", "null", NULL},
    {Q({"name":"n","type":"text","nullable":true}), "\"\"", "!Missing param: n", "n"},
    {Q({"name":"n","type":"text","optional":true}), NULL, "null", NULL},
    {Q({"name":"n","type":"text","optional":true}), "null", "!Missing param: n", "n"},
    {Q({"name":"n","type":"text","optional":true}), "\"\"", "\"\"", NULL},
    {Q({"name":"n","type":"text","nullable":true,"optional":true}), NULL, "null", NULL},
    {Q({"name":"n","type":"int","optional":true,"default":7}), NULL, "7", NULL},
    {Q({"name":"n","type":"text","optional":true,"default":" A ","filters":[["trim"],["lower"]]}), NULL, "\"a\"", NULL},
    {Q({"name":"n","type":"timestamp","default":{"now":true}}), NULL, "1709296200000", NULL},
    {Q({"name":"n","type":"date","default":{"now":true}}), NULL, "\"2024-03-01\"", NULL},
    {Q({"name":"n","type":"json"}), "null", "null", NULL},

    /* ---- types ---- */
    {Q({"name":"n","type":"int"}), "\" 12 \"", "12", NULL},
    {Q({"name":"n","type":"int"}), "3.0", "3", NULL},
    {Q({"name":"n","type":"int"}), "3.5", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"int"}), "true", "1", NULL},
    {Q({"name":"n","type":"int"}), "1e300", "9223372036854775807", NULL},
    {Q({"name":"n","type":"int"}), "\"x\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"int"}), "[1]", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"decimal"}), "\"2.5\"", "2.5", NULL},
    {Q({"name":"n","type":"decimal"}), "true", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"bool"}), "\"false\"", "false", NULL},
    {Q({"name":"n","type":"bool"}), "1", "true", NULL},
    {Q({"name":"n","type":"bool"}), "\"yes\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"text"}), "1.50", "\"1.5\"", NULL},
    {Q({"name":"n","type":"text"}), "{}", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"email"}), "\" Joe@Ex.org \"", "\"Joe@Ex.org\"", NULL},
    {Q({"name":"n","type":"email"}), "\"joe@ex\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"email"}), "\"@ex.org\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"email"}), "\"a@b@ex.org\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"email"}), "\"a@ex..org\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"uuid"}), "\"F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6\"", "\"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\"", NULL},
    {Q({"name":"n","type":"uuid"}), "\"f81d4fae\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"timestamp"}), "\"2024-03-01T12:30:00.250+02:00\"", "1709289000250", NULL},
    {Q({"name":"n","type":"timestamp"}), "\"1709296200\"", "1709296200", NULL},
    {Q({"name":"n","type":"timestamp"}), "\"tomorrow\"", "1709337600000", NULL},
    {Q({"name":"n","type":"timestamp"}), "\"someday\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"date"}), "\"2024-02-29T10:00:00Z\"", "\"2024-02-29\"", NULL},
    {Q({"name":"n","type":"date"}), "\"2023-02-29\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"date"}), "\"2023-02-2\"", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"enum","values":["red","blue"]}), "\"blue\"", "\"blue\"", NULL},
    {Q({"name":"n","type":"enum","values":["red","blue"]}), "\"purple\"", "!Input 'purple' is not one of the allowable values.", "n"},
    {Q({"name":"n","type":"enum","values":["1","2"]}), "2", "\"2\"", NULL},
    {Q({"name":"n","type":"json"}), "\"{\\\"a\\\":[1]}\"", "\"{\\\"a\\\":[1]}\"", NULL},
    {Q({"name":"n","type":"json"}), "\"[draft]\"", "\"[draft]\"", NULL},
    {Q({"name":"n","type":"vector"}), "[1,2.5]", "[1,2.5]", NULL},
    {Q({"name":"n","type":"vector"}), "[1,\"x\"]", "!Invalid value for param", "n.1"},
    {Q({"name":"n","type":"image"}), "{\"path\":\"/a\"}", "{\"path\":\"/a\"}", NULL},
    {Q({"name":"n","type":"image"}), "{\"name\":\"a\"}", "!Invalid value for param", "n.path"},
    {Q({"name":"n","type":"file"}), "\"x\"", "!Invalid value for param", "n"},

    /* ---- objects and lists ---- */
    {Q({"name":"n","type":"object"}), "\"{\\\"a\\\":1}\"", "{\"a\":1}", NULL},
    {Q({"name":"n","type":"object"}), "[]", "{}", NULL},
    {Q({"name":"n","type":"object"}), "[1]", "!Invalid value for param", "n"},
    {Q({"name":"n","type":"object","fields":[{"name":"a","type":"int"},{"name":"b","type":"text","optional":true}]}), "{\"z\":1,\"a\":\"2\"}", "{\"a\":2,\"b\":null}", NULL},
    {Q({"name":"lines","type":"object","list":true,"fields":[{"name":"qty","type":"int","filters":[["min",1]]}]}), "[{\"qty\":2},{}]", "!Missing param: qty", "lines.1.qty"},
    {Q({"name":"lines","type":"object","list":true,"fields":[{"name":"qty","type":"int","filters":[["min",1]]}]}), "[{\"qty\":0}]", "!Value is less than the minimum value of 1", "lines.0.qty"},
    {Q({"name":"n","type":"int","list":true}), "\"[1,\\\"2\\\"]\"", "[1,2]", NULL},
    {Q({"name":"n","type":"int","list":true}), "5", "[5]", NULL},
    {Q({"name":"n","type":"int","list":true}), "[1,null]", "!Invalid value for param", "n.1"},
    {Q({"name":"n","type":"int","list":true,"min":1,"max":2}), "[]", "!Input does not meet minimum length requirement of 1 items", "n"},
    {Q({"name":"n","type":"int","list":true,"min":1,"max":2}), "[1,2,3]", "!Input exceeds maximum length requirement of 2 items", "n"},
    {Q({"name":"tags","type":"text","list":true,"filters":[["trim"],["max",2]]}), "[\" a\",\"b\",\"c\"]", "!Input exceeds maximum length requirement of 2 items", "tags"},
    {Q({"name":"tags","type":"text","list":true,"filters":[["trim"],["ok","ab"]]}), "[\" a \",\"b\",\"ab\",\"c\"]", "!Input contains characters that are not allowed", "tags.3"},

    /* ---- input filters ---- */
    {Q({"name":"q","type":"text","filters":[["trim"],["min",3]]}), "\"  ab \"", "!Input does not meet minimum length requirement of 3 characters", "q"},
    {Q({"name":"q","type":"text","filters":[["trim"],["min",3]]}), "\" né! \"", "\"né!\"", NULL},
    {Q({"name":"q","type":"text","filters":[["trim"],["lower"]]}), "\" ÄB\"", "\"äb\"", NULL},
    {Q({"name":"q","type":"text","filters":[["to_upper"]]}), "\"äb\"", "\"ÄB\"", NULL},
    {Q({"name":"n","type":"int","filters":[["min",1],["max",9]]}), "\"12\"", "!Value is greater than the maximum value of 9", "n"},
    {Q({"name":"n","type":"decimal","filters":[["min",0.5]]}), "0.25", "!Value is less than the minimum value of 0.5", "n"},
    {Q({"name":"u","type":"text","filters":[["alphaOk"],["digitOk"],["ok","_"]]}), "\"joe_7\"", "\"joe_7\"", NULL},
    {Q({"name":"u","type":"text","filters":[["alphaOk"],["digitOk"],["ok","_"]]}), "\"joe-7\"", "!Input contains characters that are not allowed", "u"},
    {Q({"name":"z","type":"text","filters":[["pattern","^\\d{5}$","Five digits please"]]}), "\"12\"", "!Five digits please", "z"},
    {Q({"name":"z","type":"text","filters":[["pattern","/^x/i"]]}), "\"Xy\"", "\"Xy\"", NULL},
    {Q({"name":"z","type":"text","filters":[["pattern","^x"]]}), "\"yx\"", "!Input does not match the required pattern", "z"},
    {Q({"name":"z","type":"text","filters":[["startsWith","room:"]]}), "\"hall:1\"", "!Input must start with 'room:'", "z"},
    {Q({"name":"z","type":"text","filters":[["prevent","<",">"]]}), "\"a>b\"", "!Input contains a value that is not allowed", "z"},
    {Q({"name":"p","type":"password","filters":[["min",8],["minDigit",1]]}), "\"abcdefgh\"", "!Weak password detected. Please use at least 1 digits", "p"},
    {Q({"name":"p","type":"password","filters":[["minAlpha",2],["minUpperAlpha",1]]}), "\"ab1\"", "!Weak password detected. Please use at least 1 uppercase letters", "p"},
    {Q({"name":"p","type":"password","filters":[["minLowerAlpha",2],["minSymbol",1]]}), "\"ab 1\"", "!Weak password detected. Please use at least 1 symbols", "p"},
    {Q({"name":"t","type":"text","nullable":true,"filters":[["min",3]]}), "null", "null", NULL},
    {Q({"name":"f","type":"file","filters":[["max_size",10]]}), "{\"size\":11}", "!File exceeds the maximum size of 10 bytes", "f"},

    /* ---- geo ---- */
    {Q({"name":"g","type":"geo_point"}), "{\"type\":\"point\",\"data\":{\"lng\":12.5,\"lat\":41.9}}", "{\"type\":\"point\",\"data\":{\"lng\":12.5,\"lat\":41.9}}", NULL},
    {Q({"name":"g","type":"geo_point"}), "\"POINT(12.5 41.9)\"", "{\"type\":\"point\",\"data\":{\"lng\":12.5,\"lat\":41.9}}", NULL},
    {Q({"name":"g","type":"geo_point"}), "\"POINT(12.5 141.9)\"", "!Invalid value for param", "g"},
    {Q({"name":"g","type":"geo_point"}), "{\"type\":\"Point\",\"coordinates\":[1,2]}", "!Invalid value for param", "g"},
    {Q({"name":"g","type":"geo_linestring"}), "\"linestring (1 2, 3 4)\"", "{\"type\":\"path\",\"data\":[{\"lng\":1,\"lat\":2},{\"lng\":3,\"lat\":4}]}", NULL},
    {Q({"name":"g","type":"geo_polygon"}), "\"POLYGON((0 0,0 1,1 1))\"", "{\"type\":\"poly\",\"data\":[[{\"lng\":0,\"lat\":0},{\"lng\":0,\"lat\":1},{\"lng\":1,\"lat\":1},{\"lng\":0,\"lat\":0}]]}", NULL},
    {Q({"name":"g","type":"geo_polygon"}), "\"POLYGON((0 0,0 1,1 1)\"", "!Invalid value for param", "g"},
};
/* clang-format on */

static int64_t fixed_now(void *ctx)
{
    (void)ctx;
    return 1709296200000;
}

static const Services services = {.now_ms = fixed_now};

typedef struct Bound {
    bool ok;
    xs_error err;
    Value v, payload;
} Bound;

static bool prepare(Arena *a, Heap *h, const Case *c, Const **inputs, Value *v)
{
    xs_error err;
    *inputs = const_list(a, 1);
    const Const *field = json_parse(a, text_from(c->field), &err);
    if (!*inputs || !field || !const_push(a, *inputs, field))
        return false;
    *v = c->sent ? val_parse_json(h, text_from(c->sent), &err) : val_unset();
    return !c->sent || v->kind != V_UNSET;
}

static bool run(const Case *c)
{
    Arena arena;
    arena_init(&arena, 0);
    Heap *h = heap_new(0);
    Const *inputs;
    Bound b = {.payload = val_unset()};
    Buf got = BUF_INIT, param = BUF_INIT;
    assert_true(prepare(&arena, h, c, &inputs, &b.v));
    b.ok = bind_inputs(h, &services, inputs, &b.v, 1, &b.err, &b.payload);
    if (b.ok) {
        assert_true(val_write_json(b.v, &got));
    } else {
        buf_printf(&got, "!%s", b.err.message);
        assert_int_equal(b.err.code, XS_E_INPUTERROR);
        Value p = map_get_cstr(b.payload, "param");
        assert_int_equal(p.kind, V_TEXT);
        buf_text(&param, val_text_view(p));
    }
    bool same = text_eq(buf_view(&got), text_from(c->want)) &&
                text_eq(buf_view(&param), c->param ? text_from(c->param) : TEXT(""));
    if (!same)
        fprintf(stderr, "%s %s\n  want %s %s\n  got  " TEXT_FMT " " TEXT_FMT "\n", c->field,
                c->sent ? c->sent : "-", c->want, c->param ? c->param : "",
                TEXT_ARG(buf_view(&got)), TEXT_ARG(buf_view(&param)));
    val_unref(h, b.v);
    val_unref(h, b.payload);
    if (heap_bytes(h) != 0) {
        fprintf(stderr, "%s leaves %zu bytes\n", c->field, heap_bytes(h));
        same = false;
    }
    buf_deinit(&got);
    buf_deinit(&param);
    heap_free(h);
    arena_deinit(&arena);
    return same;
}

static void test_cases(void **state)
{
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        failed += !run(&cases[i]);
    assert_int_equal(failed, 0);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        for (uint64_t n = 1; n < 24; n++) {
            Arena arena;
            arena_init(&arena, 0);
            Heap *h = heap_new(0);
            Const *inputs;
            Bound b = {.payload = val_unset()};
            assert_true(prepare(&arena, h, &cases[i], &inputs, &b.v));
            mem_fail_after(n);
            b.ok = bind_inputs(h, &services, inputs, &b.v, 1, &b.err, &b.payload);
            mem_fail_after(0);
            assert_true(b.ok || b.err.code != XS_OK);
            heap_free(h);
            arena_deinit(&arena);
        }
}

/* Columns: null and empty are decided by the caller, the shape here. */
static void test_columns(void **state)
{
    (void)state;
    static const struct {
        const char *field, *sent, *want;
    } rows[] = {
        {Q({"name" : "n", "type" : "text"}), "\"\"", "\"\""},
        {Q({"name" : "n", "type" : "enum", "values" : ["a"]}), "\"\"", "\"\""},
        {Q({"name" : "n", "type" : "int", "nullable" : true}), "null", "null"},
        {Q({"name" : "n", "type" : "int"}), "\"5\"", "5"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Arena arena;
        arena_init(&arena, 0);
        Heap *h = heap_new(0);
        xs_error err = {0};
        Value payload = val_unset();
        Buf got = BUF_INIT;
        const Const *field = json_parse(&arena, text_from(rows[i].field), &err);
        Value v = val_parse_json(h, text_from(rows[i].sent), &err);
        assert_true(bind_field(h, &services, field, &v, TEXT("n"), &err, &payload));
        assert_true(val_write_json(v, &got));
        assert_true(text_eq(buf_view(&got), text_from(rows[i].want)));
        buf_deinit(&got);
        heap_free(h);
        arena_deinit(&arena);
    }
}

static int teardown(void **state)
{
    (void)state;
    thread_cache_clear();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_columns),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
