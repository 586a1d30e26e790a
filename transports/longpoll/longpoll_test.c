/* longpoll_test.c - poll sessions on fake exchanges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transports/common/fake_http.h"

/* The plugin as it is linked into a binary. */
extern const xs_plugin xs_plugin_longpoll;

#define EPOCH "9f02c41be77a3d10"

static int setup(void **state)
{
    (void)state;
    fake_http_init((const xs_transport_ops *)xs_plugin_longpoll.ops);
    fake.seq = 41;
    return 0;
}

static void finish(void)
{
    fake.ops->destroy(fake.state);
    assert_int_equal(fake.gone_count, fake.conn_count);
    fake_deinit();
}

/* NULL leaves a parameter out. */
static xs_http *poll_with(const char *sid, const char *cursor, const char *name, const char *value)
{
    xs_request *req = fake_request(NULL);
    const char *pairs[][2] = {{"sid", sid}, {"cursor", cursor}, {name, value}};
    unsigned n = 0;
    for (unsigned i = 0; i < 3; i++)
        if (pairs[i][0] && pairs[i][1]) {
            req->query[n][0] = pairs[i][0];
            req->query[n++][1] = pairs[i][1];
        }
    return exchange_begin(req);
}

static void deliver(const char *json, uint64_t seq)
{
    fake_deliver(&fake.conns[fake.conn_count - 1], json, seq);
}

static void first_poll_answers_at_once(void **state)
{
    (void)state;
    fake_http_start();
    fake.join_json = "{\"action\":\"join\"}";
    xs_http *x = poll_with(NULL, NULL, NULL, NULL);
    assert_int_equal(x->status, 200);
    assert_string_equal(x->body, "{\"sid\":\"0a3sid1\",\"cursor\":\"" EPOCH
                                 ".41.1\",\"more\":false,\"wait\":0,\"resync\":[],\"frames\":["
                                 "{\"action\":\"join\"}]}");
    assert_non_null(strstr(x->headers, "ETag: \"" EPOCH ".41.1\"\n"));
    assert_non_null(strstr(x->headers, "Cache-Control: no-store\n"));
    exchange_free(x);
    finish();
}

static void lost_answer_is_repeated(void **state)
{
    (void)state;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL);
    assert_true(x->held);
    deliver("{\"n\":1}", 42);
    deliver("{\"n\":2}", 43);
    assert_true(x->held);
    fake.ops->flush(fake.state);
    static const char want[] = "{\"sid\":\"0a3sid1\",\"cursor\":\"" EPOCH
                               ".43.2\",\"more\":false,\"wait\":0,\"resync\":[],\"frames\":["
                               "{\"n\":1},{\"n\":2}]}";
    assert_string_equal(x->body, want);
    exchange_free(x);
    x = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL); /* the answer never arrived */
    assert_string_equal(x->body, want);
    exchange_free(x);
    x = poll_with("0a3sid1", EPOCH ".43.2", NULL, NULL); /* now it did */
    assert_true(x->held);
    deliver("{\"n\":3}", 44);
    fake.ops->flush(fake.state);
    assert_non_null(strstr(x->body, "\"" EPOCH ".44.3\""));
    assert_non_null(strstr(x->body, "\"frames\":[{\"n\":3}]}"));
    exchange_free(x);
    finish();
}

/* The cursor tells how many channels have to be listed when its session is gone. */
static void joined_by_frames(void **state)
{
    (void)state;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    fake.to_list = 3;
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", "timeout", "0");
    assert_non_null(strstr(x->body, "\"cursor\":\"" EPOCH ".41.0.3\""));
    exchange_free(x);
    x = poll_with("0a3sid1", EPOCH ".41.0.3", NULL, NULL);
    assert_true(x->held);
    deliver("{\"n\":1}", 42);
    fake.ops->flush(fake.state);
    assert_non_null(strstr(x->body, "\"cursor\":\"" EPOCH ".42.1.3\""));
    exchange_free(x);
    x = poll_with("0a3sid1", EPOCH ".42.1.3", NULL, NULL); /* acknowledged */
    assert_true(x->held);
    finish();
    exchange_free(x);
}

/* Polls by a request that repeats an earlier one. */
static void repeated_request(void **state)
{
    (void)state;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    xs_request *earlier = fake_request(NULL), *now = fake_request(NULL);
    earlier->query[0][0] = "sid";
    earlier->query[0][1] = "somebody else";
    now->query[0][0] = "sid";
    now->query[0][1] = "0a3sid1";
    now->query[1][0] = "cursor";
    now->query[1][1] = EPOCH ".41.0";
    xs_http *x = exchange_new();
    x->req = now;
    assert_true(fake.ops->http_again(fake.state, x, earlier));
    assert_true(x->held);
    deliver("{\"n\":1}", 42);
    fake.ops->flush(fake.state);
    assert_non_null(strstr(x->body, "\"frames\":[{\"n\":1}]}"));
    exchange_free(x);
    static const char *const not_this_way[][2] = {
        {"sid", "0a3sid2"}, {"sid", ""}, {"timeout", "many"}};
    for (unsigned i = 0; i < 3; i++) {
        x = exchange_new();
        x->req = now;
        now->query[i / 2][0] = not_this_way[i][0];
        now->query[i / 2][1] = not_this_way[i][1];
        assert_false(fake.ops->http_again(fake.state, x, earlier));
        assert_int_equal(x->status, 0);
        assert_false(x->held);
        exchange_free(x);
        now->query[0][1] = "0a3sid1";
    }
    fake_request_unref(earlier);
    fake_request_unref(now);
    finish();
}

/* Sessions are found also when they are more than the table began with. */
static void many_sessions(void **state)
{
    (void)state;
    enum { MANY = FAKE_CONNS };
    xs_http *held[MANY];
    char sids[MANY][32];
    fake_http_start();
    for (unsigned i = 0; i < MANY; i++) {
        exchange_free(poll_with(NULL, NULL, NULL, NULL));
        snprintf(sids[i], sizeof sids[i], "%s", fake.conns[i].sid);
    }
    for (unsigned i = 0; i < MANY; i++) {
        held[i] = poll_with(sids[i], EPOCH ".41.0", NULL, NULL);
        assert_true(held[i]->held);
    }
    assert_int_equal(fake.conn_count, MANY); /* all known, none made */
    for (unsigned i = MANY; i-- > 0;) {
        fake_deliver(&fake.conns[i], "{}", 42);
        fake.ops->flush(fake.state);
        assert_non_null(strstr(held[i]->body, sids[i]));
        exchange_free(held[i]);
    }
    finish();
}

static void limit_leaves_more(void **state)
{
    (void)state;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    for (uint64_t i = 0; i < 5; i++)
        deliver("{}", 42 + i);
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", "limit", "2");
    assert_non_null(strstr(x->body, "\"cursor\":\"" EPOCH ".43.2\",\"more\":true"));
    assert_non_null(strstr(x->body, "\"frames\":[{},{}]}"));
    exchange_free(x);
    x = poll_with("0a3sid1", EPOCH ".43.2", NULL, NULL);
    assert_non_null(strstr(x->body, "\"cursor\":\"" EPOCH ".46.5\",\"more\":false"));
    exchange_free(x);
    finish();
}

static void empty_answers(void **state)
{
    (void)state;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", "timeout", "0");
    assert_int_equal(x->status, 200);
    assert_non_null(strstr(x->body, "\"cursor\":\"" EPOCH ".41.0\""));
    assert_non_null(strstr(x->body, "\"frames\":[]}"));
    exchange_free(x);
    /* Held, and released by a second poll of the same session. */
    x = poll_with("0a3sid1", EPOCH ".41.0", "empty", "204");
    assert_true(x->held);
    xs_http *y = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL);
    assert_int_equal(x->status, 204);
    assert_string_equal(x->body, "");
    assert_non_null(strstr(x->headers, "X-XS-Cursor: " EPOCH ".41.0\n"));
    assert_non_null(strstr(x->headers, "X-XS-Sid: 0a3sid1\n"));
    assert_true(y->held);
    exchange_gone(y);
    exchange_free(x);
    exchange_free(y);
    xs_request *req = fake_request(NULL);
    req->query[0][0] = "sid";
    req->query[0][1] = "0a3sid1";
    req->query[1][0] = "timeout";
    req->query[1][1] = "0";
    req->header[0][0] = "If-None-Match";
    req->header[0][1] = "\"" EPOCH ".41.0\"";
    x = exchange_begin(req);
    assert_int_equal(x->status, 304);
    exchange_free(x);
    finish();
}

static void bad_parameters(void **state)
{
    (void)state;
    fake_http_start();
    static const char *const rows[][2] = {{"timeout", "56"}, {"timeout", "x"}, {"timeout", "-1"},
                                          {"limit", "0"},    {"limit", "501"}, {"empty", "203"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        xs_http *x = poll_with(NULL, NULL, rows[i][0], rows[i][1]);
        if (x->status != 400)
            fail_msg("%s=%s gave %d", rows[i][0], rows[i][1], x->status);
        exchange_free(x);
    }
    finish();
}

static void overflow_becomes_resync(void **state)
{
    (void)state;
    fake.limits.queue_hard_frames = 8;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    for (uint64_t i = 0; i < 8; i++)
        deliver(i % 2 ? "{\"action\":\"event\",\"client\":{\"extras\":{\"channel\":\"no\"}},"
                        "\"options\":{\"channel\":\"a\"}}"
                      : "{\"options\":{\"x\":[\"}\",{\"y\":1}],\"channel\":\"b:\\\"2\"},\"z\":0}",
                42 + i);
    deliver("{\"last\":1}", 50);
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL);
    assert_non_null(strstr(x->body, "\"resync\":[\"b:\\\"2\",\"a\"],\"frames\":[{\"last\":1}]}"));
    exchange_free(x);
    x = poll_with("0a3sid1", EPOCH ".50.11", "timeout", "0");
    assert_non_null(strstr(x->body, "\"resync\":[],\"frames\":[]"));
    exchange_free(x);
    finish();
}

/* More channels than an answer names: the session ends, and its last answer brings the client no
 * further than what is in it. */
static void overflow_of_many_channels(void **state)
{
    (void)state;
    enum { CHANNELS = 129 };
    char json[64];
    fake.limits.queue_hard_frames = CHANNELS;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", "limit", "500");
    assert_true(x->held);
    for (uint64_t i = 0; i <= CHANNELS; i++) {
        snprintf(json, sizeof json, "{\"options\":{\"channel\":\"c%u\"}}", (unsigned)i);
        deliver(json, 42 + i);
    }
    fake.ops->flush(fake.state);
    assert_non_null(strstr(x->body, "\"cursor\":\"" EPOCH ".170.129\",\"more\":false"));
    assert_non_null(strstr(x->body, "\"resync\":[],\"frames\":[{"));
    assert_non_null(strstr(x->body, "\"c128\""));
    assert_null(strstr(x->body, "\"c129\""));
    assert_int_equal(fake.gone_count, 1);
    exchange_free(x);
    finish();
}

static uint32_t asked_ms;

static void tick_in(void *timer, uint32_t ms)
{
    assert_ptr_equal(timer, &asked_ms);
    asked_ms = ms;
}

static void first_event_waits_for_company(void **state)
{
    (void)state;
    fake.host.tick_in = tick_in;
    fake.host.timer = &asked_ms;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL);
    deliver("{\"n\":1}", 42);
    fake.ops->flush(fake.state);
    assert_true(x->held);
    assert_int_equal(asked_ms, 10);
    deliver("{\"n\":2}", 43);
    fake.ops->flush(fake.state);
    poll(NULL, 0, 15);
    fake.ops->tick(fake.state);
    assert_non_null(strstr(x->body, "\"frames\":[{\"n\":1},{\"n\":2}]}"));
    exchange_free(x);
    x = poll_with("0a3sid1", EPOCH ".43.2", NULL, NULL);
    deliver("{\"n\":3}", 44);
    fake.ops->flush(fake.state);
    exchange_gone(x); /* while it lingers */
    exchange_free(x);
    poll(NULL, 0, 15);
    fake.ops->tick(fake.state);
    finish();
}

static void silent_session_expires(void **state)
{
    (void)state;
    fake.limits.lp_session_ms = 20;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    fake_checks();
    assert_int_equal(fake.gone_count, 1);
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL); /* rebuilt under a new name */
    assert_true(x->held);
    assert_int_equal(fake.conn_count, 2);
    fake.ops->close(fake.state, fake.conns[1].peer, 4401, "token_expired");
    fake.ops->flush(fake.state);
    assert_int_equal(x->status, 401);
    assert_non_null(strstr(x->body, "Token expired"));
    assert_int_equal(fake.conns[1].gone_code, 4401);
    exchange_free(x);
    x = poll_with(NULL, EPOCH ".41.0", NULL, NULL);
    fake.ops->close(fake.state, fake.conns[2].peer, 4401, "connection refused");
    fake.ops->flush(fake.state);
    assert_int_equal(x->status, 401);
    assert_non_null(strstr(x->body, "Connection refused"));
    exchange_free(x);
    finish();
}

static int away_state = -1;

static void note_away(xs_conn *conn, bool away)
{
    (void)conn;
    away_state = away;
}

static void silent_sessions_are_away(void **state)
{
    (void)state;
    fake.limits.lp_session_ms = 10000;
    fake.limits.presence_grace_ms = 20;
    fake.host.away = note_away;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    fake.ops->tick(fake.state);
    assert_int_equal(away_state, -1);
    fake_checks();
    assert_int_equal(away_state, 1);
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL);
    assert_int_equal(away_state, 0);
    exchange_gone(x);
    exchange_free(x);
    finish();
}

static void abandoned_sessions_are_bounded(void **state)
{
    (void)state;
    fake.limits.lp_session_ms = 10000;
    fake.limits.lp_idle_sessions = 4;
    fake_http_start();
    xs_http *waiting = NULL;
    for (int i = 0; i < 10; i++) {
        exchange_free(poll_with(NULL, NULL, NULL, NULL));
        if (i == 0) /* the first one goes on */
            waiting = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL);
        poll(NULL, 0, 8);
    }
    fake.ops->tick(fake.state);
    assert_in_range(fake.gone_count, 4, 6); /* nine are idle */
    assert_false(fake.conns[0].gone);
    assert_true(waiting->held);
    assert_true(fake.conns[1].gone);
    assert_false(fake.conns[9].gone);
    exchange_gone(waiting);
    exchange_free(waiting);
    finish();
}

static void drain_answers_polls(void **state)
{
    (void)state;
    fake_http_start();
    exchange_free(poll_with(NULL, NULL, NULL, NULL));
    xs_http *x = poll_with("0a3sid1", EPOCH ".41.0", NULL, NULL);
    assert_true(x->held);
    fake.ops->drain(fake.state, 0);
    assert_int_equal(x->status, 200);
    assert_int_equal(fake.conns[0].gone_code, 1012);
    exchange_free(x);
    x = poll_with(NULL, NULL, NULL, NULL);
    assert_int_equal(x->status, 503);
    assert_non_null(strstr(x->headers, "Retry-After: "));
    exchange_free(x);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(first_poll_answers_at_once, setup),
        cmocka_unit_test_setup(lost_answer_is_repeated, setup),
        cmocka_unit_test_setup(joined_by_frames, setup),
        cmocka_unit_test_setup(limit_leaves_more, setup),
        cmocka_unit_test_setup(repeated_request, setup),
        cmocka_unit_test_setup(many_sessions, setup),
        cmocka_unit_test_setup(empty_answers, setup),
        cmocka_unit_test_setup(bad_parameters, setup),
        cmocka_unit_test_setup(overflow_becomes_resync, setup),
        cmocka_unit_test_setup(overflow_of_many_channels, setup),
        cmocka_unit_test_setup(first_event_waits_for_company, setup),
        cmocka_unit_test_setup(silent_session_expires, setup),
        cmocka_unit_test_setup(silent_sessions_are_away, setup),
        cmocka_unit_test_setup(abandoned_sessions_are_bounded, setup),
        cmocka_unit_test_setup(drain_answers_polls, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
