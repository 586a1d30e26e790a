/* router_test.c - which query answers which path; inputs of seed-form triggers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/lang/opcodes.h"
#include "core/text.h"
#include "host/router.h"
#include "host/trigger.h"
#include "stdlib/registry.h"

static const uint32_t code[] = {INS_ABC(OP_RETNULL, 0, 0, 0)};

static const char meta_json[] =
    "{\"name\":\"t\",\"groups\":[{\"name\":\"Shop\",\"canonical\":\"shop\",\"cors\":{\"mode\":"
    "\"custom\","
    "\"origins\":[\"https://a\"]}},{\"name\":\"off\",\"canonical\":\"off\",\"active\":false}],"
    "\"queries\":["
    "{\"name\":\"orders\",\"group\":\"Shop\",\"verb\":\"GET\",\"proc\":0},"
    "{\"name\":\"orders\",\"group\":\"Shop\",\"verb\":\"POST\",\"proc\":0,\"auth\":\"user\"},"
    "{\"name\":\"orders/{id}\",\"group\":\"Shop\",\"verb\":\"GET\",\"proc\":1},"
    "{\"name\":\"orders/{slug}\",\"group\":\"Shop\",\"verb\":\"GET\",\"proc\":2},"
    "{\"name\":\"orders/export\",\"group\":\"Shop\",\"verb\":\"GET\",\"proc\":0},"
    "{\"name\":\"orders/{id}/lines/{line}\",\"group\":\"Shop\",\"verb\":\"GET\",\"proc\":1},"
    "{\"name\":\"orders/export/now\",\"group\":\"Shop\",\"verb\":\"GET\",\"proc\":0},"
    "{\"name\":\"gone\",\"group\":\"Shop\",\"verb\":\"GET\",\"proc\":0,\"active\":false},"
    "{\"name\":\"\",\"group\":\"Shop\",\"verb\":\"GET\",\"proc\":0},"
    "{\"name\":\"x\",\"group\":\"off\",\"verb\":\"GET\",\"proc\":0},"
    "{\"name\":\"y\",\"group\":\"\",\"verb\":\"GET\",\"proc\":0}]}";

static Program *load(Arena *a, const char *meta)
{
    static const char inputs[] = "[{\"name\":\"id\",\"type\":\"int\"}]";
    xs_error err = {0};
    ProcImage *procs = ARENA_ARRAY(a, ProcImage, 3);
    for (int i = 0; i < 3; i++)
        procs[i] = (ProcImage){.kind = PROC_QUERY,
                               .name = TEXT("q"),
                               .file = TEXT("t.xs"),
                               .nregs = 1,
                               .inputs = &const_null,
                               .code = code,
                               .ncode = 1};
    procs[1].ninputs = 1;
    procs[1].inputs = json_parse(a, text_from(inputs), &err);
    BundleImage *image = ARENA_NEW(a, BundleImage);
    *image =
        (BundleImage){.procs = procs, .nprocs = 3, .meta = json_parse(a, text_from(meta), &err)};
    assert_non_null(image->meta);
    Program *p = program_load(image, &stdlib_natives, &err);
    if (!p)
        fail_msg("%s", err.message);
    return p;
}

static void test_routes(void **state)
{
    (void)state;
    static const struct {
        const char *verb, *path, *route, *first, *second;
    } cases[] = {
        {"GET", "/api:shop/orders", "orders", NULL, NULL},
        {"GET", "/api:shop/orders/", "orders", NULL, NULL},
        {"HEAD", "/api:shop/orders", "orders", NULL, NULL},
        {"GET", "/api:shop:v1/orders", "orders", NULL, NULL},
        {"GET", "/api:shop:v2/orders", NULL, NULL, NULL},
        {"DELETE", "/api:shop/orders", NULL, NULL, NULL},
        {"GET", "/api:shop/orders/12", "orders/{id}", "12", NULL},
        {"GET", "/api:shop/orders/-12", "orders/{slug}", "-12", NULL},
        {"GET", "/api:shop/orders/a%20b", "orders/{slug}", "a b", NULL},
        {"GET", "/api:shop/orders/a%2Fb", "orders/{slug}", "a/b", NULL},
        {"GET", "/api:shop/orders/%zz", NULL, NULL, NULL},
        {"GET", "/api:shop/orders/%ff", NULL, NULL, NULL},
        {"GET", "/api:shop/orders/export", "orders/export", NULL, NULL},
        {"GET", "/api:shop/orders/export/now", "orders/export/now", NULL, NULL},
        {"GET", "/api:shop/orders/export/later", NULL, NULL, NULL},
        {"GET", "/api:shop/orders/7/lines/a", "orders/{id}/lines/{line}", "7", "a"},
        {"GET", "/api:shop/orders/x/lines/a", NULL, NULL, NULL},
        {"GET", "/api:shop/orders/7/lines", NULL, NULL, NULL},
        {"GET", "/api:shop/gone", NULL, NULL, NULL},
        {"GET", "/api:shop", "", NULL, NULL},
        {"GET", "/api:off/x", NULL, NULL, NULL},
        {"GET", "/api:default/y", "y", NULL, NULL},
        {"GET", "/api:none/x", NULL, NULL, NULL},
        {"GET", "/other", NULL, NULL, NULL},
    };
    Arena a;
    arena_init(&a, 0);
    xs_error err = {0};
    Program *p = load(&a, meta_json);
    Router *r = router_new(p, TEXT("v1"), &err);
    assert_non_null(r);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ApiPath path;
        RouteMatch m = {0};
        bool ok = router_split(r, text_from(cases[i].path), &path) &&
                  router_find(r, &a, text_from(cases[i].verb), &path, &m);
        if (ok != (cases[i].route != NULL))
            fail_msg("%s %s: %s", cases[i].verb, cases[i].path, ok ? "found" : "not found");
        if (!ok)
            continue;
        assert_true(text_eq(m.route->name, text_from(cases[i].route)));
        if (cases[i].first)
            assert_true(text_eq(m.values[0], text_from(cases[i].first)));
        if (cases[i].second)
            assert_true(text_eq(m.values[1], text_from(cases[i].second)));
    }
    const GroupCors *cors = router_group(r, TEXT("shop"));
    assert_true(cors && cors->custom && cors->origins->count == 1);
    assert_null(router_group(r, TEXT("off")));
    router_free(r);
    program_unref(p);
    arena_deinit(&a);
}

static void test_refused_bundles(void **state)
{
    (void)state;
    static const char *const metas[] = {
        "{\"queries\":[{\"name\":\"a\",\"group\":\"g\",\"verb\":\"GET\",\"proc\":9}]}",
        "{\"queries\":[{\"name\":\"a\",\"group\":\"g\",\"verb\":\"GET\",\"proc\":0,"
        "\"middleware\":{\"pre\":[{\"name\":\"none\"}]}}]}",
        "{\"queries\":[{\"name\":\"a/{x}\",\"group\":\"g\",\"verb\":\"GET\",\"proc\":0},"
        "{\"name\":\"a/{y}\",\"group\":\"g\",\"verb\":\"GET\",\"proc\":0}]}",
        "{\"queries\":[{\"name\":\"{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/"
        "{q}\","
        "\"group\":\"g\",\"verb\":\"GET\",\"proc\":0}]}",
    };
    for (size_t i = 0; i < COUNT_OF(metas); i++) {
        Arena a;
        xs_error err = {0};
        arena_init(&a, 0);
        Program *p = load(&a, metas[i]);
        assert_null(router_new(p, TEXT("v1"), &err));
        assert_int_equal(err.code, XS_E_BAD_BUNDLE);
        program_unref(p);
        arena_deinit(&a);
    }
}

static void test_seed_inputs(void **state)
{
    (void)state;
    static const struct {
        HubAction action;
        const char *pattern, *channel, *data, *input;
    } cases[] = {
        {HUB_JOIN, "room:*", "room:12", "{\"history\":true,\"presence\":true,\"nick\":\"a\"}",
         "{\"nick\":\"a\",\"room_id\":12}"},
        {HUB_JOIN, "room:*", "room:12", "null", "{\"room_id\":12}"},
        {HUB_LEAVE, "room/*", "room/a/b", NULL, "{\"room_id\":\"a/b\"}"},
        {HUB_MESSAGE, "room:*", "room:12", "{\"x\":1,\"room_id\":99}", "{\"x\":1,\"room_id\":12}"},
        {HUB_MESSAGE, "room:*", "room:x", "[1]", "{\"data\":[1],\"room_id\":\"x\"}"},
        {HUB_MESSAGE, "lobby", "lobby", "null", "{\"data\":null}"},
        {HUB_MESSAGE, "*", "lobby", "{\"history\":1}", "{\"history\":1}"},
        {HUB_MESSAGE, "a-b:*", "a-b:1", "{}", "{}"},
        {HUB_MESSAGE, "n:*", "n:1234567890123456789", "{}", "{\"n_id\":\"1234567890123456789\"}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Arena a;
        xs_error err = {0};
        Buf b = BUF_INIT;
        arena_init(&a, 0);
        const Const *data = cases[i].data ? json_parse(&a, text_from(cases[i].data), &err) : NULL;
        json_write_const(&b, trigger_seed_input(&a, cases[i].action, text_from(cases[i].pattern),
                                                text_from(cases[i].channel), data));
        buf_char(&b, '\0');
        assert_string_equal(b.ptr, cases[i].input);
        buf_deinit(&b);
        arena_deinit(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_refused_bundles),
        cmocka_unit_test(test_seed_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
