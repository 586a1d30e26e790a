/* sse_test.c - event streams on fake exchanges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transports/common/fake_http.h"

/* The plugin as it is linked into a binary. */
extern const xs_plugin xs_plugin_sse;

static int setup(void **state)
{
    (void)state;
    fake_http_init((const xs_transport_ops *)xs_plugin_sse.ops);
    fake.seq = 41;
    return 0;
}

static void finish(void)
{
    fake.ops->destroy(fake.state);
    assert_int_equal(fake.gone_count, fake.conn_count);
    fake_deinit();
}

static void opens_with_sid_and_position(void **state)
{
    (void)state;
    fake_http_start();
    fake.join_json = "{\"action\":\"join\"}";
    xs_http *x = exchange_begin(fake_request(NULL));
    assert_int_equal(x->status, 200);
    assert_non_null(strstr(x->headers, "Content-Type: text/event-stream; charset=utf-8\n"));
    assert_non_null(strstr(x->headers, "Cache-Control: no-cache, no-store, no-transform\n"));
    exchange_writable(x);
    const char *text = exchange_read(x);
    assert_non_null(strstr(text, "\r\nretry: "));
    assert_non_null(strstr(text, "id: 9f02c41be77a3d10.41\nevent: open\ndata: {\"sid\":\"0a3sid1\","
                                 "\"epoch\":\"9f02c41be77a3d10\",\"seq\":\"41\",\"resume\":"
                                 "\"none\",\"ping\":25,\"send\":\"/rt/test/send\"}\n\n\r\n"));
    assert_non_null(strstr(text, "data: {\"action\":\"join\"}\n\n\r\n"));
    fake_deliver(&fake.conns[0], "{\"n\":1}", 42);
    fake_deliver(&fake.conns[0], "{\"n\":2}", 43);
    fake.ops->flush(fake.state);
    text = exchange_read(x);
    assert_non_null(strstr(text, "27\r\nid: 9f02c41be77a3d10.42\ndata: {\"n\":1}\n\n\r\n"
                                 "27\r\nid: 9f02c41be77a3d10.43\ndata: {\"n\":2}\n\n\r\n"));
    xs_transport_stats stats;
    fake.ops->stats(fake.state, &stats);
    assert_int_equal(stats.writes, 2); /* one for the opening, one for both events */
    exchange_gone(x);
    fake.ops->tick(fake.state);
    assert_int_equal(fake.gone_count, 1);
    finish();
    exchange_free(x);
}

static void old_http_gets_no_chunks(void **state)
{
    (void)state;
    fake_http_start();
    xs_http *x = exchange_new();
    x->http10 = true;
    xs_request *req = fake_request(NULL);
    fake.ops->http(fake.state, x, req);
    fake_request_unref(req);
    exchange_writable(x);
    fake_deliver(&fake.conns[0], "{\"n\":1}", 0);
    fake.ops->flush(fake.state);
    const char *text = exchange_read(x);
    assert_int_equal(strncmp(text, "retry: ", 7), 0);
    assert_null(strchr(text, '\r'));
    assert_non_null(strstr(text, "}\n\ndata: {\"n\":1}\n\n"));
    finish();
    exchange_free(x);
}

static void refusals(void **state)
{
    (void)state;
    fake_http_start();
    xs_request *req = fake_request(NULL);
    req->refuse = true;
    xs_http *x = exchange_begin(req);
    assert_int_equal(x->status, 401);
    assert_string_equal(x->body,
                        "{\"code\":\"unauthorized\",\"message\":\"Unknown connection hash\"}");
    exchange_free(x);
    x = exchange_new();
    x->method = "POST";
    req = fake_request(NULL);
    fake.ops->http(fake.state, x, req);
    fake_request_unref(req);
    assert_int_equal(x->status, 405);
    exchange_free(x);
    finish();
}

static void close_says_bye(void **state)
{
    (void)state;
    fake_http_start();
    xs_http *x = exchange_begin(fake_request(NULL));
    exchange_writable(x);
    fake.ops->close(fake.state, fake.conns[0].peer, 4401, "token_expired");
    fake.ops->flush(fake.state);
    const char *text = exchange_read(x);
    assert_non_null(strstr(text, "event: bye\ndata: {\"reason\":\"token_expired\",\"retry\":"));
    assert_string_equal(text + strlen(text) - 7, "\r\n0\r\n\r\n");
    assert_true(x->ended);
    assert_int_equal(fake.conns[0].gone_code, 4401);
    finish();
    exchange_free(x);
}

static void slow_reader_gets_everything_or_bye(void **state)
{
    (void)state;
    fake.limits.queue_hard_bytes = 20000;
    fake.limits.queue_soft_bytes = 5000;
    fake_http_start();
    xs_http *x = exchange_begin(fake_request(NULL));
    exchange_writable(x);
    char text[1001];
    memset(text, 'e', 1000);
    text[1000] = 0;
    unsigned sent = 0;
    xs_deliver_result r;
    do {
        r = fake_deliver(&fake.conns[0], text, 100 + sent++);
        fake.ops->flush(fake.state);
    } while (r != XS_FULL && sent < 1000);
    assert_true(r == XS_FULL && x->want_write);
    /* The frame that was half written is completed, then comes the bye. */
    for (int i = 0; i < 100 && !x->ended; i++) {
        exchange_read(x);
        exchange_writable(x);
    }
    exchange_read(x);
    assert_true(x->ended);
    const char *bye = strstr(x->body, "event: bye\ndata: {\"reason\":\"slow\"");
    assert_non_null(bye);
    assert_non_null(strstr(x->body, "ee\n\n\r\n"));
    const char *at = x->body; /* every chunk is whole */
    for (unsigned long len; (len = strtoul(at, NULL, 16)) > 0;) {
        at = strchr(at, '\n') + 1 + len;
        assert_int_equal(strncmp(at, "\r\n", 2), 0);
        at += 2;
    }
    assert_string_equal(at, "0\r\n\r\n");
    assert_int_equal(fake.conns[0].gone_code, 1013);
    finish();
    exchange_free(x);
}

static void writable_is_told_when_the_queue_drains(void **state)
{
    (void)state;
    fake.limits.queue_soft_bytes = 5000;
    fake_http_start();
    xs_http *x = exchange_begin(fake_request(NULL));
    exchange_writable(x);
    char text[1001];
    memset(text, 'e', 1000);
    text[1000] = 0;
    xs_deliver_result r = XS_SENT;
    for (int i = 0; i < 100 && r != XS_QUEUED; i++) {
        r = fake_deliver(&fake.conns[0], text, 0);
        fake.ops->flush(fake.state);
    }
    assert_int_equal(r, XS_QUEUED);
    for (int i = 0; i < 100 && !fake.conns[0].writable; i++) {
        exchange_read(x);
        exchange_writable(x);
    }
    assert_int_equal(fake.conns[0].writable, 1);
    finish();
    exchange_free(x);
}

static void heartbeat_carries_the_position(void **state)
{
    (void)state;
    fake.limits.ping_ms = 20;
    fake_http_start();
    xs_http *x = exchange_begin(fake_request(NULL));
    exchange_writable(x);
    fake.seq = 99;
    fake_checks();
    assert_non_null(strstr(exchange_read(x), ": hb\nid: 9f02c41be77a3d10.99\n\n"));
    finish();
    exchange_free(x);
}

static void age_and_drain_end_streams(void **state)
{
    (void)state;
    fake.limits.sse_max_age_ms = 20;
    fake_http_start();
    xs_http *x = exchange_begin(fake_request(NULL));
    exchange_writable(x);
    fake_checks();
    assert_non_null(strstr(exchange_read(x), "{\"reason\":\"lifetime\""));
    assert_true(x->ended);
    exchange_free(x);
    fake.ops->drain(fake.state, 1000);
    xs_request *req = fake_request(NULL);
    x = exchange_begin(req);
    assert_int_equal(x->status, 503);
    exchange_free(x);
    req = fake_request(NULL);
    req->header[0][0] = "Origin";
    req->header[0][1] = "http://x";
    x = exchange_begin(req); /* a browser would give up on 503 */
    assert_int_equal(x->status, 200);
    exchange_writable(x);
    assert_non_null(strstr(exchange_read(x), "event: bye\ndata: {\"reason\":\"restart\""));
    assert_true(x->ended);
    finish();
    exchange_free(x);
}

/* Timers set anew, unset and due in any order: each comes once, never early, and late by less than
 * two ticks where the ring reaches that far. */
static void wheel_forgets_nobody(void **state)
{
    enum { TIMERS = 50, STEPS = 20000, AHEAD_MS = 2000, STEP_MS = 70 };
    static Timer timers[TIMERS];
    int64_t at[TIMERS] = {0}, set[TIMERS] = {0}, now = 123456;
    uint32_t seed = 1;
    Wheel w;
    (void)state;
    wheel_init(&w, now);
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1664525u + 1013904223u;
        unsigned i = (seed >> 8) % TIMERS;
        if (seed >> 30) {
            at[i] = now + (seed >> 16) % AHEAD_MS;
            set[i] = now;
            timer_set(&w, &timers[i], at[i]);
        } else {
            timer_unset(&timers[i]);
            at[i] = 0;
        }
        now += (seed >> 4) % STEP_MS;
        for (Timer *t; (t = wheel_due(&w, now));) {
            i = (unsigned)(t - timers);
            assert_true(at[i]);
            assert_true(now >= at[i] || now - set[i] > WHEEL_ROUND_MS);
            at[i] = 0;
        }
        for (i = 0; i < TIMERS; i++)
            assert_true(!at[i] || now - at[i] < 2 * WHEEL_TICK_MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wheel_forgets_nobody),
        cmocka_unit_test_setup(opens_with_sid_and_position, setup),
        cmocka_unit_test_setup(old_http_gets_no_chunks, setup),
        cmocka_unit_test_setup(refusals, setup),
        cmocka_unit_test_setup(close_says_bye, setup),
        cmocka_unit_test_setup(slow_reader_gets_everything_or_bye, setup),
        cmocka_unit_test_setup(writable_is_told_when_the_queue_drains, setup),
        cmocka_unit_test_setup(heartbeat_carries_the_position, setup),
        cmocka_unit_test_setup(age_and_drain_end_streams, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
