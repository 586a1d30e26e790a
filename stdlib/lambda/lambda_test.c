/* lambda_test.c - JavaScript of programs: what it sees, what it may not, how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <unistd.h>

#include "core/tables.h"
#include "core/text.h"
#include "stdlib/outside.h"
#include "stdlib/registry.h"

static Text find_env(void *ctx, Text name)
{
    (void)ctx;
    return text_eq(name, TEXT("KEY")) ? TEXT("k\"1") : (Text){0};
}

typedef struct World {
    Outside *o;
    Services services;
} World;

static World world;

static int world_open(void **state)
{
    (void)state;
    xs_error err = {0};
    OutsideOptions opt = {.cache_bytes = 1 << 16,
                          .lambda_node = TEXT("node"),
                          .lambda_processes = 2,
                          .lambda_memory_mb = 32};
    world.o = outside_new(&opt, &err);
    world.services = (Services){.outside = world.o, .env = find_env};
    return world.o ? 0 : -1;
}

static int world_close(void **state)
{
    (void)state;
    outside_free(world.o);
    return 0;
}

static void need_node(void)
{
    if (access("/usr/bin/node", X_OK) != 0 && access("/usr/local/bin/node", X_OK) != 0)
        skip();
}

/* The JSON of a result, or "error:symbol message". */
static Buf run(const Services *s, const char *name, const char *operand, const char *args)
{
    Heap *h = heap_new(0);
    xs_error err = {0};
    void *site = NULL;
    const void *row = NULL;
    bool ok;
    Buf out = BUF_INIT;
    Value list = val_parse_json(h, text_from(args), &err);
    Value in = operand ? val_parse_json(h, text_from(operand), &err) : val_unset();
    assert_int_equal(list.kind, V_LIST);
    Call c = {.heap = h,
              .services = s,
              .name = name,
              .in = in,
              .args = list.list->items + list.list->start,
              .nargs = list.list->len,
              .site = &const_null,
              .ret = val_null(),
              .err = &err};
    if (operand) {
        FilterFn fn = stdlib_natives.filter(text_from(name), &row);
        c.row = row;
        ok = fn(&c);
    } else {
        StatementFn fn = stdlib_natives.statement(text_from(name), &row);
        c.row = row;
        c.site_data = &site;
        ok = fn(&c) == NATIVE_OK;
    }
    if (ok)
        assert_true(val_write_json(c.ret, &out));
    else
        buf_printf(&out, "error:%s %s", xs_code_get(err.code)->symbol, err.message);
    call_end(&c);
    val_unref(h, c.ret);
    val_unref(h, in);
    val_unref(h, list);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
    return out;
}

typedef struct Case {
    const char *name, *operand, *args, *want; /* want: the beginning */
} Case;

#define SCOPE ",10,{\"a\":[1,\"\u00e4\"]},{\"q\":7},{\"id\":3}]"

static const Case cases[] = {
    {"api.lambda", NULL, "[\"return 1 + 1\"]", "2"},
    {"api.lambda", NULL, "[\"return {v: $var.a, q: $input.q, u: $auth.id}\"" SCOPE,
     "{\"v\":[1,\"\u00e4\"],\"q\":7,\"u\":3}"},
    {"api.lambda", NULL, "[\"return [$env.KEY, $env['NONE'] === undefined]\"]",
     "[\"k\\\"1\",true]"},
    {"api.lambda", NULL, "[\"\"]", "null"},
    {"api.lambda", NULL, "[\"return [undefined, NaN, 1.5, 'x\\\\n']\"]",
     "[null,null,1.5,\"x\\n\"]"},
    {"api.lambda", NULL, "[\"const x = await Promise.resolve(5); return x * 2\"]", "10"},
    {"api.lambda", NULL,
     "[\"console.log('x'); let s = 0; for (let i = 0; i < 1e6; i++) s += i; "
     "return s // end\"]",
     "499999500000"},
    {"api.lambda", NULL, "[\"throw new Error('no luck')\"]", "error:standard no luck"},
    {"api.lambda", NULL, "[\"throw 'plain'\"]", "error:standard plain"},
    {"api.lambda", NULL, "[\"return (\"]", "error:standard "},
    {"api.lambda", NULL, "[\"return nope\"]", "error:standard nope is not defined"},
    {"api.lambda", NULL, "[\"for (;;);\",0.1]", "error:timeout"},
    {"api.lambda", NULL, "[\"await (async () => { for (;;) await 1 })()\",0.1]", "error:timeout"},
    {"api.lambda", NULL, "[\"await new Promise(() => {})\",0.2]", "error:standard"},
    {"api.lambda", NULL, "[\"return 'still here'\"]", "\"still here\""},
    /* nothing of Node.js is in reach */
    {"api.lambda", NULL,
     "[\"return [typeof process, typeof require, typeof fetch, typeof Buffer, typeof "
     "setTimeout]\"]",
     "[\"undefined\",\"undefined\",\"undefined\",\"undefined\",\"undefined\"]"},
    {"api.lambda", NULL, "[\"return this.constructor.constructor('return typeof process')()\"]",
     "\"undefined\""},
    {"api.lambda", NULL, "[\"return (() => {}).constructor('return typeof process')()\"]",
     "\"undefined\""},
    {"api.lambda", NULL, "[\"return await import('fs')\"]", "error:standard"},
    {"api.lambda", NULL,
     "[\"Promise.prototype.then = function (a, b) { return a.constructor('return process')() }; "
     "return Promise.resolve(1)\"]",
     "error:"},
    {"api.lambda", NULL, "[\"globalThis.left = 1; return 1\"]", "1"},
    {"api.lambda", NULL, "[\"return typeof left\"]", "\"undefined\""},
    {"api.lambda", NULL, "[\"const l = []; for (;;) l.push(new Array(1e6).fill(l.length))\",20]",
     "error:"},
    {"api.lambda", NULL, "[\"return 'back again'\"]", "\"back again\""},
    {"lambda", "\"x\"", "[\"return $this + $this\"]", "\"xx\""},
    {"lambda_map", "[1,2]", "[\"return $this * 2 + $index\"]", "[2,5]"},
    {"lambda_map", "[]", "[\"throw 1\"]", "[]"},
    {"lambda_map", "null", "[\"return 1\"]", "[]"},
    {"lambda_filter", "[1,2,3]", "[\"return $this > 1 && $parent.length == 3\"]", "[2,3]"},
    {"lambda_some", "[1,2]", "[\"return $this == 2\"]", "true"},
    {"lambda_every", "[1,2]", "[\"return $this == 2\"]", "false"},
    {"lambda_every", "[]", "[\"return false\"]", "true"},
    {"lambda_find", "[{\"a\":1},{\"a\":2}]", "[\"return $this.a == 2\"]", "{\"a\":2}"},
    {"lambda_find", "[1]", "[\"return false\"]", "null"},
    {"lambda_findIndex", "[5,6]", "[\"return $this == 6\"]", "1"},
    {"lambda_findIndex", "[5]", "[\"return false\"]", "-1"},
    {"lambda_reduce", "[1,2,3]", "[10,\"return $result + $this\"]", "16"},
    {"lambda_reduce", "[]", "[null,\"return 1\"]", "null"},
    {"lambda_map", "5", "[\"return 1\"]", "error:not_array"},
};

static void programs(void **state)
{
    (void)state;
    need_node();
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const Case *k = &cases[i];
        Buf out = run(&world.services, k->name, k->operand, k->args);
        if (!text_starts(buf_view(&out), text_from(k->want))) {
            print_error("%s %s: want %s, got " TEXT_FMT "\n", k->name, k->args, k->want,
                        TEXT_ARG(buf_view(&out)));
            ok = false;
        }
        buf_deinit(&out);
    }
    assert_true(ok);
}

static void *one(void *arg)
{
    Buf out = run(&world.services, "api.lambda", NULL,
                  "[\"let s = 0; for (let i = 0; i < 1e5; i++) s += i; return s\"]");
    bool ok = text_eq(buf_view(&out), TEXT("4999950000"));
    buf_deinit(&out);
    return ok ? NULL : arg;
}

/* More at once than there are processes. */
static void many(void **state)
{
    (void)state;
    need_node();
    pthread_t t[8];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, one, &world), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        void *failed = &world;
        pthread_join(t[i], &failed);
        assert_null(failed);
    }
}

static void without_node(void **state)
{
    (void)state;
    static const char *const names[] = {"", "/nowhere/node", "surely-not-a-program"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        xs_error err = {0};
        OutsideOptions opt = {.cache_bytes = 1 << 16, .lambda_node = text_from(names[i])};
        Services s = {.outside = outside_new(&opt, &err)};
        Buf out = run(&s, "api.lambda", NULL, "[\"return 1\"]");
        assert_true(text_starts(buf_view(&out), TEXT("error:unsupported")) &&
                    text_find(buf_view(&out), TEXT("lambda.node"), 0) != SIZE_MAX &&
                    text_find(buf_view(&out), TEXT("nodejs"), 0) != SIZE_MAX);
        buf_deinit(&out);
        outside_free(s.outside);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(programs), cmocka_unit_test(many),
                                       cmocka_unit_test(without_node)};
    tables_init();
    return cmocka_run_group_tests(tests, world_open, world_close);
}
