/* parts_test.c - the small parts: expiring keys, plugin checks, env files, reply headers, metrics;
 * and every reader of client data with memory running out at each allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/expiring.h"
#include "host/http.h"
#include "host/metrics.h"
#include "host/plugin.h"
#include "host/request.h"
#include "host/service.h"
#include "host/upgrade.h"

static void test_expiring(void **state)
{
    (void)state;
    Expiring *e = expiring_new(100, 3, mem_free);
    for (int i = 0; i < 4; i++) {
        char key = (char)('a' + i);
        assert_true(expiring_put(e, (Text){&key, 1}, mem_strndup(&key, 1), 10 * i));
    }
    assert_null(expiring_get(e, TEXT("a"), 30)); /* pushed out by the fourth */
    assert_string_equal(expiring_get(e, TEXT("b"), 30), "b");
    assert_false(expiring_put(e, TEXT("b"), mem_strndup("x", 1), 30));
    char *c = expiring_take(e, TEXT("c"), 30);
    assert_string_equal(c, "c");
    mem_free(c);
    assert_null(expiring_take(e, TEXT("c"), 30));
    assert_null(expiring_get(e, TEXT("b"), 110));
    assert_string_equal(expiring_get(e, TEXT("d"), 129), "d");
    assert_null(expiring_get(e, TEXT("d"), 130));
    assert_true(expiring_put(e, TEXT("z"), NULL, 131));
    expiring_free(e);
    expiring_free(NULL);
}

static void *create(const xs_host *host, xs_error *err)
{
    (void)host;
    (void)err;
    return NULL;
}
static void state_fn(void *state)
{
    (void)state;
}
static xs_deliver_result deliver(void *state, void *peer, xs_frame *frame)
{
    (void)state;
    (void)peer;
    (void)frame;
    return XS_SENT;
}
static void close_fn(void *state, void *peer, int code, const char *reason)
{
    (void)state;
    (void)peer;
    (void)code;
    (void)reason;
}

static const xs_transport_ops good_ops = {.size = sizeof good_ops,
                                          .info_name = "x",
                                          .create = create,
                                          .run = state_fn,
                                          .deliver = deliver,
                                          .flush = state_fn,
                                          .close = close_fn,
                                          .stop = state_fn,
                                          .destroy = state_fn};

static void test_plugins(void **state)
{
    (void)state;
    xs_transport_ops short_ops = good_ops, deaf_ops = good_ops;
    short_ops.size = offsetof(xs_transport_ops, destroy);
    deaf_ops.run = NULL;
    const struct {
        xs_plugin plugin;
        bool ok;
    } cases[] = {
        {{sizeof(xs_plugin), 1, 0, XS_PLUGIN_TRANSPORT, "x", "X", "1", &good_ops}, true},
        {{sizeof(xs_plugin), 2, 0, XS_PLUGIN_TRANSPORT, "x", "X", "1", &good_ops}, false},
        {{sizeof(xs_plugin), 0, 0, XS_PLUGIN_TRANSPORT, "x", "X", "1", &good_ops}, false},
        {{sizeof(xs_plugin), 1, 9, XS_PLUGIN_TRANSPORT, "x", "X", "1", &good_ops}, false},
        {{sizeof(xs_plugin), 1, 0, XS_PLUGIN_DBDRIVER, "x", "X", "1", &good_ops}, false},
        {{sizeof(xs_plugin), 1, 0, XS_PLUGIN_TRANSPORT, "x", "X", "1", NULL}, false},
        {{sizeof(xs_plugin), 1, 0, XS_PLUGIN_TRANSPORT, "x", "X", "1", &short_ops}, false},
        {{sizeof(xs_plugin), 1, 0, XS_PLUGIN_TRANSPORT, "x", "X", "1", &deaf_ops}, false},
        {{8, 1, 0, XS_PLUGIN_TRANSPORT, "x", "X", "1", &good_ops}, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        xs_error err = {0};
        assert_int_equal(plugin_check(XS_PLUGIN_TRANSPORT, &cases[i].plugin, &err), cases[i].ok);
        assert_int_equal(err.code, cases[i].ok ? XS_OK : XS_E_PLUGIN);
    }
    const xs_plugin *statics[] = {&cases[0].plugin, NULL};
    Plugin p;
    xs_error err = {0};
    assert_true(plugin_open(XS_PLUGIN_TRANSPORT, TEXT("x"), statics, TEXT(""), &p, &err));
    plugin_close(&p);
    assert_false(plugin_open(XS_PLUGIN_TRANSPORT, TEXT("wss"), statics, TEXT(""), &p, &err));
    assert_string_equal(err.message, "unknown transport 'wss'; did you mean 'ws'?");
    assert_false(plugin_open(XS_PLUGIN_TRANSPORT, TEXT("../x"), statics, TEXT(""), &p, &err));
    assert_false(plugin_open(XS_PLUGIN_BACKPLANE, TEXT("x"), statics, TEXT(""), &p, &err));
    assert_false(plugin_open(XS_PLUGIN_BACKPLANE, TEXT("rediss"), NULL, TEXT(""), &p, &err));
    assert_string_equal(err.message, "unknown backplane 'rediss'; did you mean 'redis'?");
    assert_false(
        plugin_open(XS_PLUGIN_TRANSPORT, TEXT("ws"), NULL, TEXT("/nonexistent"), &p, &err));
}

static void test_env(void **state)
{
    (void)state;
    char path[] = "/tmp/xs-env-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char content[] = "# c\n A = 1 # one\nexport B=\"x # y\"\nC='z'\nD=\nE=file\n";
    assert_int_equal(write(fd, content, sizeof content - 1), sizeof content - 1);
    char e0[] = "E=process", e1[] = "odd", *env[] = {e0, e1, NULL};
    xs_error err = {0};
    EnvVars *e = env_new(path, true, env, &err);
    assert_non_null(e);
    static const struct {
        const char *name, *value;
    } vars[] = {{"A", "1"}, {"B", "x # y"}, {"C", "z"}, {"D", ""}, {"E", "process"}};
    for (size_t i = 0; i < COUNT_OF(vars); i++)
        assert_true(text_eq(env_find(e, text_from(vars[i].name)), text_from(vars[i].value)));
    assert_null(env_find(e, TEXT("F")).ptr);
    env_free(e);
    assert_int_equal(write(fd, "1X=2\n", 5), 5);
    assert_null(env_new(path, true, NULL, &err));
    assert_int_equal(err.code, XS_E_CONFIG);
    close(fd);
    unlink(path);
    assert_null(env_new(path, true, NULL, &err));
    e = env_new(path, false, NULL, &err);
    assert_non_null(e);
    env_free(e);
}

static void test_reply_headers(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool append, ok;
    } cases[] = {
        {"HTTP/1.1 201 Created", false, true},
        {"HTTP/1.1 99 Odd", false, false},
        {"HTTP/1.1", false, false},
        {"x-a: 1", false, true},
        {"X-A: 2", true, true},
        {"Location: /x", false, true},
        {"location: /y", false, true},
        {"Content-Length: 3", false, true},
        {"no colon", false, false},
        {"Bad Name: x", false, false},
        {"X: a\r\nY: b", false, false},
        {": x", false, false},
    };
    Arena a;
    arena_init(&a, 0);
    ReplyHeaders r = {.arena = &a};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        xs_error err = {0};
        assert_int_equal(reply_set_header(&r, text_from(cases[i].line), cases[i].append, &err),
                         cases[i].ok);
    }
    Buf b = BUF_INIT;
    json_write_const(&b, r.headers);
    assert_true(text_eq(buf_view(&b), TEXT("{\"X-A\":[\"1\",\"2\"],\"Location\":[\"/y\"]}")));
    assert_int_equal(r.status, 201);
    buf_deinit(&b);
    arena_deinit(&a);
}

static void test_metrics(void **state)
{
    (void)state;
    static Metrics m;
    metric_add(&m.upgrades);
    TransportStats t = {.name = "ws", .stats = {.connections = 3, .queued_bytes = 9}};
    static Buckets times;
    buckets_add(&times, 100, 3); /* bounds are inclusive */
    buckets_add(&times, 101, 1);
    buckets_add(&m.trigger_us, UINT32_MAX, 2);
    MetricsInput in = {.host = &m, .transports = &t, .ntransports = 1, .hub = {.published = 5}};
    in.hub.deliver_us = &times;
    in.hub.closed[HUB_CLOSED_1013] = 6;
    Buf b = BUF_INIT;
    metrics_write(&in, &b);
    static const char *const lines[] = {"\nxs_upgrades_total 1\n",
                                        "\n# TYPE xs_upgrades_total counter\n",
                                        "\nxs_transport_connections{transport=\"ws\"} 3\n",
                                        "\nxs_transport_queued_bytes{transport=\"ws\"} 9\n",
                                        "\nxs_hub_published_total 5\n",
                                        "\n# TYPE xs_publish_deliver_seconds histogram\n",
                                        "\nxs_publish_deliver_seconds_bucket{le=\"5e-05\"} 0\n",
                                        "\nxs_publish_deliver_seconds_bucket{le=\"0.0001\"} 3\n",
                                        "\nxs_publish_deliver_seconds_bucket{le=\"0.0002\"} 4\n",
                                        "\nxs_publish_deliver_seconds_bucket{le=\"+Inf\"} 4\n",
                                        "\nxs_publish_deliver_seconds_sum 0.000401\n",
                                        "\nxs_publish_deliver_seconds_count 4\n",
                                        "\nxs_trigger_seconds_bucket{le=\"10\"} 0\n",
                                        "\nxs_trigger_seconds_bucket{le=\"+Inf\"} 2\n",
                                        "\nxs_hub_closed_total{code=\"1013\"} 6\n",
                                        "\nxs_hub_closed_total{code=\"other\"} 0\n"};
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        assert_true(text_find(buf_view(&b), text_from(lines[i]), 0) != SIZE_MAX);
    buf_deinit(&b);
}

/* Everything a client's bytes go through, with the n-th allocation failing. */
static void read_all(void)
{
    static const char head[] =
        "GET /rt/c?a=1 HTTP/1.1\r\nHost: h\r\nX: 1\r\nX: 2\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    static const char parts[] =
        "--X\r\nContent-Disposition: form-data; name=\"a[]\"\r\n\r\n1\r\n--X--";
    Arena a;
    Upgrade up;
    const Const *body = NULL;
    xs_error err;
    Route route = {.nparams = 1, .params = {TEXT("id")}};
    RouteMatch match = {.route = &route, .values = {TEXT("7")}};
    arena_init(&a, 0);
    ReplyHeaders r = {.arena = &a};
    upgrade_parse(&a, text_from(head), &up);
    RawInputs raw = {TEXT("a[b]=1&c[]=2&c[]=3&j=[1]"), NULL, true};
    if (request_decode_body(&a, TEXT("multipart/form-data; boundary=X"), text_from(parts), &body,
                            &err) &&
        request_decode_body(&a, TEXT("application/json"), TEXT("{\"a\":[1,\"\\u00e4\"]}"), &body,
                            &err)) {
        raw.body = body;
        request_inputs(&a, &raw, &match,
                       json_parse(&a, TEXT("[{\"name\":\"j\",\"type\":\"json\"}]"), &err));
    }
    http_parse_query(&a, TEXT("a=1&a=2&b=%20"));
    if (reply_set_header(&r, TEXT("X-A: 1"), false, &err) &&
        reply_set_header(&r, TEXT("X-A: 2"), true, &err))
        assert_int_equal(r.headers->count, 1);
    arena_deinit(&a);
    char e0[] = "A=1", *env[] = {e0, NULL};
    env_free(env_new("", false, env, &err));
    Config c;
    if (config_init(&c, &err)) {
        Auth *auth = auth_new(&c, NULL, &err);
        auth_free(auth);
        config_deinit(&c);
    }
    Expiring *e = expiring_new(1, 2, mem_free);
    if (e && !expiring_put(e, TEXT("a"), mem_strndup("v", 1), 0))
        assert_null(expiring_get(e, TEXT("a"), 0));
    expiring_free(e);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    size_t before = mem_in_use();
    for (uint64_t n = 1; n < 200; n++) {
        mem_fail_after(n);
        read_all();
        mem_fail_after(0);
        assert_int_equal(mem_in_use(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiring), cmocka_unit_test(test_plugins),
        cmocka_unit_test(test_env),      cmocka_unit_test(test_reply_headers),
        cmocka_unit_test(test_metrics),  cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
