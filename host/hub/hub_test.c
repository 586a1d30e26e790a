/* hub_test.c - the hub through a transport of our own: every frame a client would see, byte for
 * byte. */
#include "host/hub/test_world.h"

/* ---- tests ---- */

static void joins_and_messages(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared, NULL);
    Peer *a = connect_user(&w, 0, 81), *b = connect_user(&w, 1, 0);
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"},"
           "\"payload\":{\"history\":true,\"presence\":true}}");
    EXPECT(a,
           "{\"action\":\"join\",\"client\":{\"extras\":{\"role\":\"pilot\"},\"permissions\":"
           "{\"dbo_id\":5,\"row_id\":81},\"socketId\":\"$1\"},\"options\":{\"channel\":\"room:1\"},"
           "\"payload\":{\"history\":[]}}");
    EXPECT(a, "{\"action\":\"presence_full\",\"options\":{\"channel\":\"room:1\"},\"payload\":"
              "{\"presence\":[{\"extras\":{\"role\":\"pilot\"},\"permissions\":{\"dbo_id\":5,"
              "\"row_id\":81},\"socketId\":\"$1\"}]}}");
    say(b, "{\"options\":{\"channel\":\"room:1\"},\"action\":\"join\",\"extra\":[1,{}]}");
    EXPECT(b, "{\"action\":\"join\",\"client\":{\"extras\":{},\"permissions\":{\"dbo_id\":0,"
              "\"row_id\":0},\"socketId\":\"$2\"},\"options\":{\"channel\":\"room:1\"},"
              "\"payload\":{\"history\":[]}}");
    pump(&w);
    EXPECT(a, "{\"action\":\"presence_update\",\"options\":{\"channel\":\"room:1\"},\"payload\":"
              "{\"action\":\"join\",\"presence\":{\"extras\":{},\"permissions\":{\"dbo_id\":0,"
              "\"row_id\":0},\"socketId\":\"$2\"}}}");
    NOTHING(a);
    NOTHING(b);
    say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":"
           "{ \"text\" : \"d\\u00e9j\\u00e0\\/vu\\n\", \"n\": [1.50, -0, 12345678901234567890] }}");
    pump(&w);
    const char *message =
        "{\"action\":\"message\",\"client\":{\"extras\":{\"role\":\"pilot\"},\"permissions\":"
        "{\"dbo_id\":5,\"row_id\":81},\"socketId\":\"$1\"},\"options\":{\"channel\":\"room:1\"},"
        "\"payload\":{\"text\":\"d\xC3\xA9j\xC3\xA0/vu\\n\",\"n\":[1.50,-0,12345678901234567890]}}";
    EXPECT(a, message);
    EXPECT(b, message);
    say(a, "{\"action\":\"message\",\"options\":{\"authenticated\":true,\"channel\":\"room:1\"},"
           "\"payload\":\"crew\"}");
    pump(&w);
    EXPECT(a,
           "{\"action\":\"message\",\"client\":{\"extras\":{\"role\":\"pilot\"},\"permissions\":"
           "{\"dbo_id\":5,\"row_id\":81},\"socketId\":\"$1\"},\"options\":{\"authenticated\":true,"
           "\"channel\":\"room:1\"},\"payload\":\"crew\"}");
    NOTHING(b);
    /* a second join: answered again, nobody is told */
    say(b, "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"history\":"
           "true}}");
    EXPECT(
        b,
        "{\"action\":\"join\",\"client\":{\"extras\":{},\"permissions\":{\"dbo_id\":0,"
        "\"row_id\":0},\"socketId\":\"$2\"},\"options\":{\"channel\":\"room:1\"},"
        "\"payload\":{\"history\":["
        "{\"action\":\"message\",\"client\":{\"extras\":{\"role\":\"pilot\"},\"permissions\":"
        "{\"dbo_id\":5,\"row_id\":81},\"socketId\":\"$1\"},\"options\":{\"channel\":\"room:1\"},"
        "\"payload\":{\"text\":\"d\xC3\xA9j\xC3\xA0/vu\\n\",\"n\":[1.50,-0,12345678901234567890]},"
        "\"created_at\":T}]}}");
    pump(&w);
    NOTHING(a);
    say(b, "{\"action\":\"leave\",\"options\":{\"channel\":\"room:1\"},\"payload\":null}");
    EXPECT(b, "{\"action\":\"leave\",\"options\":{\"channel\":\"room:1\"},\"payload\":null}");
    pump(&w);
    EXPECT(a, "{\"action\":\"presence_update\",\"options\":{\"channel\":\"room:1\"},\"payload\":"
              "{\"action\":\"leave\",\"presence\":{\"extras\":{},\"permissions\":{\"dbo_id\":0,"
              "\"row_id\":0},\"socketId\":\"$2\"}}}");
    say(b, "{\"action\":\"ping\"}");
    EXPECT(b, "{\"action\":\"pong\",\"payload\":null}");
    HubStats st;
    hub_stats(w.hub, &st);
    assert_int_equal(st.connections, 2);
    assert_int_equal(st.subscriptions, 1);
    assert_int_equal(st.channels, 1);
    hang_up(a);
    hang_up(b);
    pump(&w);
    close_world(&w);
}

static void private_messages(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared, NULL);
    Peer *a = connect_user(&w, 0, 81), *b = connect_user(&w, 1, 82), *c = connect_user(&w, 1, 0);
    join(&w, a, "room:1");
    join(&w, b, "room:1");
    join(&w, c, "room:1");
    pump(&w);
    char frame[256];
    snprintf(frame, sizeof frame,
             "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\",\"socketId\":\"%s\"},"
             "\"payload\":{\"slip\":4}}",
             b->conn->socket_id);
    say(a, frame);
    pump(&w);
    EXPECT(b,
           "{\"action\":\"message\",\"client\":{\"extras\":{\"role\":\"pilot\"},\"permissions\":"
           "{\"dbo_id\":5,\"row_id\":81},\"socketId\":\"$1\"},\"options\":{\"channel\":\"room:1\","
           "\"socketId\":\"$1\"},\"payload\":{\"slip\":4}}");
    NOTHING(a);
    NOTHING(c);
    say(c, frame);
    EXPECT(c, "{\"action\":\"error\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"code\":"
              "\"private_auth\",\"command\":\"message\",\"message\":\"Private messaging requires "
              "authentication.\"}}");
    snprintf(frame, sizeof frame,
             "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\",\"socketId\":\"%s\"},"
             "\"payload\":1}",
             c->conn->socket_id);
    say(a, frame);
    EXPECT(a, "{\"action\":\"error\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"code\":"
              "\"private_auth\",\"command\":\"message\",\"message\":\"Private messaging requires "
              "authentication.\"}}");
    say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\",\"socketId\":\"nobody\"}}");
    EXPECT(a, "{\"action\":\"error\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"code\":"
              "\"private_gone\",\"command\":\"message\",\"message\":\"Recipient is not in this "
              "channel.\"}}");
    close_world(&w);
}

static void publishes(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared, NULL);
    Peer *a = connect_user(&w, 0, 81), *b = connect_user(&w, 1, 82);
    join(&w, a, "room:1");
    join(&w, b, "room:1");
    join(&w, b, "lobby/x/y");
    pump(&w);
    HubPublished out = publish(&w, "room:1", NULL, "{\"boat\":\"Alca\"}");
    assert_int_equal(out.seq, 1);
    assert_int_equal(out.off, 1);
    assert_int_equal(out.delivered_local, 2);
    assert_int_equal(publish(&w, "room:1", "arrived", "{\n \"boat\": \"Alca\"\n}").off, 2);
    pump(&w);
    for (int i = 0; i < 2; i++) {
        Peer *p = i ? b : a;
        EXPECT(p, "{\"action\":\"event\",\"options\":{\"channel\":\"room:1\"},\"payload\":"
                  "{\"data\":{\"boat\":\"Alca\"}}}");
        EXPECT(p, "{\"action\":\"event\",\"options\":{\"channel\":\"room:1\"},\"payload\":"
                  "{\"data\":{\"boat\":\"Alca\"},\"event\":\"arrived\"}}");
        assert_int_equal(p->seq[p->count - 1], 2);
    }
    xs_error err = {0};
    HubPublish p = {
        .channel = TEXT("room:1"), .data = TEXT("{\"fee\":40}"), .dbo_id = 5, .row_id = TEXT("82")};
    assert_true(hub_publish(w.hub, w.space, &p, &out, &err));
    pump(&w);
    NOTHING(a);
    EXPECT(b, "{\"action\":\"event\",\"options\":{\"channel\":\"room:1\"},\"payload\":"
              "{\"data\":{\"fee\":40},\"dbo_id\":5,\"row_id\":82}}");
    p = (HubPublish){
        .channel = TEXT("room:1"), .data = TEXT("1"), .exclude = text_from(b->conn->socket_id)};
    assert_true(hub_publish(w.hub, w.space, &p, &out, &err));
    pump(&w);
    NOTHING(b);
    assert_int_equal(a->count - a->seen, 1);
    a->seen = a->count;
    /* a pattern reaches the live channels that match, in name order */
    out = publish(&w, "*", NULL, "7");
    assert_int_equal(out.delivered_local, 3);
    pump(&w);
    EXPECT(
        b,
        "{\"action\":\"event\",\"options\":{\"channel\":\"lobby/x/y\"},\"payload\":{\"data\":7}}");
    EXPECT(b,
           "{\"action\":\"event\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"data\":7}}");
    /* unknown and inactive ones are dropped, bad ones refused */
    assert_int_equal(publish(&w, "off", NULL, "1").seq, 0);
    assert_int_equal(publish(&w, "unknown", NULL, "1").seq, 0);
    p = (HubPublish){.channel = TEXT("a b"), .data = TEXT("1")};
    assert_false(hub_publish(w.hub, w.space, &p, &out, &err));
    assert_int_equal(err.code, XS_E_BAD_ARG);
    p = (HubPublish){.channel = TEXT("room:1"), .data = TEXT("{\n")};
    assert_false(hub_publish(w.hub, w.space, &p, &out, &err));
    char *large = calloc(1, (256 << 10) + 1);
    assert_non_null(large);
    p = (HubPublish){.channel = TEXT("room:1"), .data = {large, (256 << 10) + 1}};
    assert_false(hub_publish(w.hub, w.space, &p, &out, &err));
    assert_int_equal(err.code, XS_E_TOO_LARGE);
    free(large);
    close_world(&w);
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        int user;
        const char *frame, *code;
    } cases[] = {
        {0, "{\"action\":\"join\",\"options\":{\"channel\":\"lobby\"}}", "anonymous_join"},
        {1, "{\"action\":\"join\",\"options\":{\"channel\":\"off\"}}", "channel_unknown"},
        {1, "{\"action\":\"join\",\"options\":{\"channel\":\"nope\"}}", "channel_unknown"},
        {1, "{\"action\":\"join\",\"options\":{\"channel\":\"a b\"}}", "bad_channel"},
        {1, "{\"action\":\"join\",\"options\":{\"channel\":\"room:*\"}}", "bad_channel"},
        {1, "{\"action\":\"join\",\"options\":{\"channel\":\"{x}\"}}", "bad_channel"},
        {1, "{\"action\":\"join\"}", "bad_channel"},
        {1, "{\"action\":\"join\",\"options\":{\"channel\":5}}", "bad_frame"},
        {1, "{\"action\":\"message\",\"options\":{\"channel\":\"room:9\"}}", "not_joined"},
        {1, "{\"action\":\"history\",\"options\":{\"channel\":\"room:9\"}}", "not_joined"},
        {1, "{\"action\":\"history\",\"options\":{\"channel\":\"lobby\"}}", "history_disabled"},
        {1, "{\"action\":\"message\",\"options\":{\"channel\":\"lobby\"}}", "public_disabled"},
        {0, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"}}", "public_auth"},
        {1, "{\"action\":\"message\",\"options\":{\"channel\":\"staff\",\"socketId\":\"x\"}}",
         "private_disabled"},
        {1, "{\"action\":\"event\",\"options\":{\"channel\":\"room:1\"},\"payload\":1}",
         "unknown_action"},
        {1, "{\"action\":\"presence_full\"}", "unknown_action"},
        {1, "{\"options\":{}}", "bad_frame"},
        {1, "[]", "bad_frame"},
        {1, "", "bad_frame"},
        {1, "{\"action\":\"ping\"} x", "bad_frame"},
        {1, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":\"\xFF\"}",
         "bad_frame"},
    };
    World w;
    open_world(&w, declared, NULL);
    Peer *users[2] = {connect_user(&w, 0, 0), connect_user(&w, 0, 81)};
    join(&w, users[0], "room:1");
    join(&w, users[1], "room:1");
    join(&w, users[1], "lobby");
    join(&w, users[1], "staff");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char code[64];
        Peer *p = users[cases[i].user];
        snprintf(code, sizeof code, "\"code\":\"%s\"", cases[i].code);
        say(p, cases[i].frame);
        if (p->seen + 1 != p->count || !strstr(p->got[p->seen], code))
            fail_msg("%s: %s", cases[i].frame, p->seen < p->count ? p->got[p->seen] : "nothing");
        p->seen = p->count;
    }
    /* a name of 8 KiB and nesting past the limit */
    char *large = malloc(9000);
    assert_non_null(large);
    memset(large, 'a', 9000);
    memcpy(large, "{\"action\":\"join\",\"options\":{\"channel\":\"", 39);
    memcpy(large + 8990, "\"}}", 4);
    say(users[1], large);
    assert_string_equal(users[1]->got[users[1]->seen++],
                        "{\"action\":\"error\",\"options\":{},\"payload\":{\"code\":"
                        "\"bad_channel\",\"message\":\"Invalid channel name.\"}}");
    memcpy(large, "{\"action\":\"join\",\"payload\":", 27);
    memset(large + 27, '[', 64);
    memset(large + 91, ']', 64);
    memcpy(large + 155, "}", 2);
    say(users[1], large);
    assert_non_null(strstr(users[1]->got[users[1]->seen++], "bad_frame"));
    free(large);
    assert_int_equal(users[1]->closed, 0);
    close_world(&w);
}

static void refuses_connections(void **state)
{
    (void)state;
    World w;
    xs_refusal why = {0};
    open_world(&w, declared, &(HubOptions){.reject_bad_token = true});
    xs_request *r = make_request(&w, 0, NULL);
    r->space = NULL;
    assert_null(w.shards[0].host.connect(w.shards[0].shard, &w, r, &why));
    assert_int_equal(why.close_code, 4401);
    assert_string_equal(why.message, "Unknown connection hash");
    r->space = w.space;
    r->bad_token = true;
    assert_null(w.shards[0].host.connect(w.shards[0].shard, &w, r, &why));
    assert_int_equal(why.status, 401);
    request_unref(r);
    assert_null(hub_find_space(w.hub, TEXT("t1"), TEXT("abc")));
    assert_ptr_equal(hub_find_space(w.hub, TEXT(""), TEXT("abc")), w.space);
    close_world(&w);
}

static void undeclared_channels(void **state)
{
    (void)state;
    World w;
    open_world(&w, NULL, NULL);
    Peer *a = connect_user(&w, 0, 81), *b = connect_user(&w, 0, 0);
    say(b, "{\"action\":\"join\",\"options\":{\"channel\":\"anything\"}}");
    assert_non_null(strstr(b->got[b->seen++], "anonymous_join"));
    join(&w, a, "anything");
    say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"anything\"},\"payload\":1}");
    assert_non_null(strstr(a->got[a->seen++], "public_disabled"));
    publish(&w, "anything", "e", "1");
    pump(&w);
    EXPECT(a, "{\"action\":\"event\",\"options\":{\"channel\":\"anything\"},\"payload\":"
              "{\"data\":1,\"event\":\"e\"}}");
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"tenant:x:1\"}}");
    assert_non_null(strstr(a->got[a->seen++], "channel_unknown"));
    close_world(&w);
    open_world(&w, NULL, &(HubOptions){.default_channel = TEXT("closed")});
    a = connect_user(&w, 0, 81);
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"anything\"}}");
    assert_non_null(strstr(a->got[a->seen++], "join_denied"));
    close_world(&w);
    open_world(&w, NULL, &(HubOptions){.default_channel = TEXT("anonymous")});
    b = connect_user(&w, 0, 0);
    join(&w, b, "anything");
    close_world(&w);
}

static void triggers_decide(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared, NULL);
    Triggers *t = &w.triggers;
    t->want = "join message leave";
    Peer *a = connect_user(&w, 0, 81);
    /* a burst: the message waits for its join, and keeps its order */
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"history\":"
           "true,\"k\":1}}");
    say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":1}");
    say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":"
           "{\"event\":\"shift\",\"data\":{\"metres\":3}}}");
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"room:2\"}}"); /* runs beside it */
    NOTHING(a);
    assert_int_equal(t->count, 2);
    assert_int_equal(t->jobs[0]->action, HUB_JOIN);
    assert_true(t->jobs[0]->active_config);
    assert_true(text_eq(t->jobs[0]->payload, TEXT("{\"history\":true,\"k\":1}")));
    assert_true(text_eq(t->jobs[1]->channel, TEXT("room:2")));
    hub_job_done(t->jobs[1], HUB_REFUSE, TEXT("Not today."));
    t->jobs[1] = NULL;
    pump(&w);
    EXPECT(a, "{\"action\":\"error\",\"options\":{\"channel\":\"room:2\"},\"payload\":{\"code\":"
              "\"join_denied\",\"command\":\"join\",\"message\":\"Not today.\"}}");
    hub_job_done(t->jobs[0], HUB_ADMIT, (Text){0});
    t->jobs[0] = NULL;
    pump(&w);
    assert_non_null(strstr(a->got[a->seen++], "\"action\":\"join\""));
    assert_int_equal(t->count, 3);
    assert_true(text_eq(t->jobs[2]->payload, TEXT("1")));
    assert_null(t->jobs[2]->event.ptr);
    hub_job_done(t->jobs[2], HUB_ADMIT, TEXT("{\"replaced\":true}"));
    t->jobs[2] = NULL;
    pump(&w);
    assert_non_null(strstr(a->got[a->seen++], "\"payload\":{\"replaced\":true}}"));
    assert_int_equal(t->count, 4);
    assert_true(text_eq(t->jobs[3]->event, TEXT("shift")));
    assert_true(text_eq(t->jobs[3]->data, TEXT("{\"metres\":3}")));
    hub_job_done(t->jobs[3], HUB_CONSUMED, (Text){0});
    t->jobs[3] = NULL;
    pump(&w);
    NOTHING(a);
    say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":2}");
    hub_job_done(t->jobs[4], HUB_REFUSE, (Text){0});
    t->jobs[4] = NULL;
    pump(&w);
    EXPECT(a,
           "{\"action\":\"error\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"code\":"
           "\"message_rejected\",\"command\":\"message\",\"message\":\"Message was rejected.\"}}");
    t->overload = true;
    say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":2}");
    EXPECT(a, "{\"action\":\"error\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"code\":"
              "\"rate_limited\",\"command\":\"message\",\"message\":\"Too many messages.\","
              "\"retry_after\":1}}");
    t->overload = false;
    say(a, "{\"action\":\"leave\",\"options\":{\"channel\":\"room:1\"}}");
    a->seen++;
    assert_int_equal(t->jobs[5]->action, HUB_LEAVE);
    say(a,
        "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"}}"); /* waits for the observer */
    assert_int_equal(t->count, 6);
    hub_job_done(t->jobs[5], HUB_REFUSE, (Text){0});
    t->jobs[5] = NULL;
    pump(&w);
    assert_int_equal(t->count, 7);
    NOTHING(a);
    /* the client goes while its join is running: no membership, no leave */
    hang_up(a);
    hub_job_done(t->jobs[6], HUB_ADMIT, (Text){0});
    t->jobs[6] = NULL;
    pump(&w);
    assert_int_equal(t->count, 7);
    /* … and while a message runs: leave comes after */
    Peer *b = connect_user(&w, 0, 82);
    t->want = "message leave";
    join(&w, b, "room:1");
    say(b, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":2}");
    hang_up(b);
    pump(&w);
    assert_int_equal(t->count, 8);
    hub_job_done(t->jobs[7], HUB_ADMIT, (Text){0});
    t->jobs[7] = NULL;
    pump(&w);
    assert_int_equal(t->count, 9);
    assert_int_equal(t->jobs[8]->action, HUB_LEAVE);
    /* what still runs at the end outlives its shard */
    Peer *c = connect_user(&w, 1, 83);
    join(&w, c, "room:1");
    say(c, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":2}");
    assert_int_equal(t->count, 10);
    close_world(&w);
}

static void reading_stops_when_the_line_is_full(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared, &(HubOptions){.fifo_frames = 4});
    w.triggers.want = "join";
    Peer *a = connect_user(&w, 0, 81);
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"}}");
    for (int i = 0; i < 4; i++) {
        xs_frame_result r =
            say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"room:1\"},\"payload\":1}");
        assert_int_equal(r, i == 3 ? XS_FRAME_STOP : XS_FRAME_OK);
    }
    hub_job_done(w.triggers.jobs[0], HUB_ADMIT, (Text){0});
    w.triggers.jobs[0] = NULL;
    pump(&w);
    assert_true(a->resumed);
    assert_int_equal(a->count, 5);
    close_world(&w);
}

static void limits_rates(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared,
               &(HubOptions){.frames_per_s = 1, .frames_burst = 3, .channels_per_conn = 1});
    Peer *a = connect_user(&w, 0, 81);
    join(&w, a, "room:1");
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"room:2\"}}");
    assert_non_null(strstr(a->got[a->seen++], "channel_limit"));
    for (int i = 0; i < 4; i++)
        say(a, "{\"action\":\"ping\"}");
    assert_non_null(strstr(a->got[a->seen++], "pong"));
    assert_non_null(strstr(a->got[a->seen++], "rate_limited"));
    assert_int_equal(a->closed, 0); /* one burst is one strike */
    close_world(&w);
}

static void slow_consumers_are_cut(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared, NULL);
    Peer *a = connect_user(&w, 0, 81), *b = connect_user(&w, 0, 82), *c = connect_user(&w, 0, 83);
    join(&w, a, "room:1");
    join(&w, b, "room:1");
    join(&w, c, "room:1");
    pump(&w);
    b->full = true;
    publish(&w, "room:1", NULL, "1");
    publish(&w, "room:1", NULL, "2");
    pump(&w);
    assert_int_equal(b->closed, 1013);
    assert_int_equal(a->count - a->seen, 2);
    assert_int_equal(c->count - c->seen, 2);
    HubStats st;
    hub_stats(w.hub, &st);
    assert_int_equal(st.connections, 2);
    assert_int_equal(st.subscriptions, 2);
    /* a client that speaks from within deliver is heard afterwards */
    a->seen = a->count;
    a->reply = "{\"action\":\"leave\",\"options\":{\"channel\":\"room:1\"}}";
    publish(&w, "room:1", NULL, "3");
    pump(&w);
    EXPECT(a,
           "{\"action\":\"event\",\"options\":{\"channel\":\"room:1\"},\"payload\":{\"data\":3}}");
    EXPECT(a, "{\"action\":\"leave\",\"options\":{\"channel\":\"room:1\"},\"payload\":null}");
    close_world(&w);
}

static void history_is_what_was_said(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared, NULL);
    Peer *a = connect_user(&w, 0, 81), *b = connect_user(&w, 0, 0);
    join(&w, a, "staff");
    join(&w, b, "staff");
    publish(&w, "staff", NULL, "1");
    say(a, "{\"action\":\"message\",\"options\":{\"channel\":\"staff\"},\"payload\":2}");
    xs_error err = {0};
    HubPublish p = {
        .channel = TEXT("staff"), .data = TEXT("3"), .dbo_id = 5, .row_id = TEXT("\"81\"")};
    assert_true(hub_publish(w.hub, w.space, &p, NULL, &err));
    pump(&w);
    a->seen = a->count;
    b->seen = b->count;
    assert_int_equal(b->count, 2); /* its join and event 1; the channel is for members only */
    say(a, "{\"action\":\"history\",\"options\":{\"channel\":\"staff\"},\"payload\":null}");
    EXPECT(a,
           "{\"action\":\"history\",\"options\":{\"channel\":\"staff\"},\"payload\":{\"history\":["
           "{\"action\":\"event\",\"options\":{\"channel\":\"staff\"},\"payload\":{\"data\":1},"
           "\"created_at\":T},"
           "{\"action\":\"message\",\"client\":{\"extras\":{\"role\":\"pilot\"},\"permissions\":{"
           "\"dbo_id\":5,"
           "\"row_id\":81},\"socketId\":\"$1\"},\"options\":{\"authenticated\":true,\"channel\":"
           "\"staff\"},"
           "\"payload\":2,\"created_at\":T}]}}");
    say(b, "{\"action\":\"history\",\"options\":{\"channel\":\"staff\"},\"payload\":null}");
    EXPECT(b,
           "{\"action\":\"history\",\"options\":{\"channel\":\"staff\"},\"payload\":{\"history\":["
           "{\"action\":\"event\",\"options\":{\"channel\":\"staff\"},\"payload\":{\"data\":1},"
           "\"created_at\":T}]}}");
    char frame[256];
    snprintf(frame, sizeof frame,
             "{\"action\":\"history\",\"options\":{\"channel\":\"staff\",\"socketId\":\"%s\"}}",
             b->conn->socket_id);
    say(b, frame);
    EXPECT(b, "{\"action\":\"history\",\"options\":{\"channel\":\"staff\"},\"payload\":{"
              "\"history\":[]}}");
    close_world(&w);
}

static void resumes(void **state)
{
    (void)state;
    World w;
    uint64_t epoch, seq;
    char query[256], name[17];
    open_world(&w, declared, NULL);
    publish(&w, "room:1", NULL, "1");
    publish(&w, "room:2", NULL, "2");
    publish(&w, "room:1", NULL, "3");
    Peer *probe = connect_user(&w, 0, 81);
    probe->shard->host.position(probe->conn, &epoch, &seq);
    assert_int_equal(seq, 3);
    epoch_write(epoch, name);
    snprintf(query, sizeof query,
             "{\"channel\":[\"room:2\",\"room:1\",\"nope\"],\"last_event_id\":[\"%s.1\"]}", name);
    xs_request *r = make_request(&w, 81, query);
    Peer *a = connect_with(&w, 1, r);
    const xs_host *host = &a->shard->host;
    assert_int_equal(host->resume_state(a->conn, r), XS_RESUME_OK);
    w.triggers.want = "join"; /* the joins take their time; the world goes on */
    host->join_listed(a->conn, r);
    assert_int_equal(w.triggers.count, 2);
    hub_job_done(w.triggers.jobs[0], HUB_ADMIT, (Text){0});
    w.triggers.jobs[0] = NULL;
    pump(&w);
    publish(&w, "room:2", NULL, "4");
    pump(&w);
    host->position(a->conn, &epoch, &seq);
    assert_int_equal(seq, 1); /* nothing after that is out */
    hub_job_done(w.triggers.jobs[1], HUB_ADMIT, (Text){0});
    w.triggers.jobs[1] = NULL;
    pump(&w);
    assert_non_null(strstr(a->got[0], "channel_unknown"));
    assert_non_null(strstr(a->got[1], "\"action\":\"join\""));
    assert_non_null(strstr(a->got[2], "\"action\":\"join\""));
    assert_int_equal(a->count, 6);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(a->seq[3 + i], 2 + i);
    publish(&w, "room:1", NULL, "5");
    pump(&w);
    assert_int_equal(a->seq[6], 5);
    host->position(a->conn, &epoch, &seq);
    assert_int_equal(seq, 5);
    request_unref(r);
    /* positions that cannot be resumed */
    w.triggers.want = NULL;
    static const char *const positions[] = {"0000000000000000.1", "latest", "x.1"};
    for (size_t i = 0; i < COUNT_OF(positions); i++) {
        snprintf(query, sizeof query, "{\"channel\":[\"room:1\"],\"last_event_id\":[\"%s\"]}",
                 positions[i]);
        r = make_request(&w, 81, query);
        Peer *b = connect_with(&w, 0, r);
        assert_int_equal(host->resume_state(b->conn, r), i == 0 ? XS_RESUME_GAP : XS_RESUME_NONE);
        b->shard->host.join_listed(b->conn, r);
        assert_int_equal(b->count, i == 0 ? 2 : 1);
        if (i == 0) {
            assert_string_equal(b->got[1], "{\"channels\":[\"room:1\"],\"reason\":\"epoch\"}");
            assert_int_equal(b->flags[1], XS_FRAME_RESYNC);
        }
        request_unref(r);
    }
    /* the ring has moved on */
    for (int i = 0; i < 70; i++)
        publish(&w, "room:1", NULL, "0");
    snprintf(query, sizeof query, "{\"channel\":[\"room:1\"],\"cursor\":[\"%s.3.9\"]}", name);
    r = make_request(&w, 81, query);
    Peer *c = connect_with(&w, 0, r);
    assert_int_equal(host->resume_state(c->conn, r), XS_RESUME_GAP);
    c->shard->host.join_listed(c->conn, r);
    assert_string_equal(c->got[1], "{\"channels\":[\"room:1\"],\"reason\":\"evicted\"}");
    assert_int_equal(c->count, 2);
    request_unref(r);
    close_world(&w);
}

static Peer *begin_poll(World *w, const char *query, const char *headers)
{
    xs_request *r = make_request(w, 81, query);
    xs_error err;
    if (headers)
        r->headers = json_parse(&w->arena, text_from(headers), &err);
    Peer *p = connect_with(w, 0, r);
    p->shard->host.join_listed(p->conn, r);
    request_unref(r);
    return p;
}

/* A session that is gone begins anew with the channels of its request; a client that had joined
 * others by frames is told. */
static void session_begins_anew(void **state)
{
    (void)state;
    World w;
    char name[17], text[160];
    uint64_t epoch = 0, seq = 0;
    open_world(&w, declared, NULL);
    Peer *a = begin_poll(&w, "{\"channel\":[\"room:1\"]}", NULL);
    const xs_host *host = &a->shard->host;
    assert_int_equal(host->to_list(a->conn), 0);
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"}}"); /* again */
    assert_int_equal(host->to_list(a->conn), 0);
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"room:2\"}}");
    say(a, "{\"action\":\"join\",\"options\":{\"channel\":\"off\"}}"); /* refused */
    assert_int_equal(host->to_list(a->conn), 2);
    host->position(a->conn, &epoch, &seq);
    epoch_write(epoch, name);
    static const char *const lists[] = {"\"room:1\"", "\"room:1\",\"room:2\""};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        snprintf(text, sizeof text, "{\"channel\":[%s],\"cursor\":[\"%s.0.3.2\"]}", lists[i], name);
        Peer *b = begin_poll(&w, text, NULL);
        assert_int_equal(strstr(b->got[0], "\"code\":\"sid_gone\"") != NULL, i == 0);
        assert_int_equal(b->count, 2); /* the error and a join, or two joins */
    }
    say(a, "{\"action\":\"leave\",\"options\":{\"channel\":\"room:2\"}}");
    assert_int_equal(host->to_list(a->conn), 0);
    /* the position as an entity tag */
    publish(&w, "room:1", NULL, "1");
    snprintf(text, sizeof text, "{\"If-None-Match\":\"\\\"%s.0.3\\\"\"}", name);
    Peer *c = begin_poll(&w, "{\"channel\":[\"room:1\"]}", text);
    assert_int_equal(c->count, 2);
    assert_int_equal(c->seq[1], 1);
    close_world(&w);
}

static void posts_frames(void **state)
{
    (void)state;
    World w;
    xs_error err = {0};
    uint32_t n = 0;
    open_world(&w, declared, NULL);
    Peer *a = connect_user(&w, 0, 81);
    Identity *me = make_identity(81), *other = make_identity(82);
    xs_str sid = a->shard->host.conn_sid(a->conn);
    Text id = {sid.ptr, sid.len};
    Text frames = TEXT("[{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"}}, "
                       "{\"action\":\"ping\",\"ref\":7},"
                       "{\"action\":\"ping\",\"ref\":7}]");
    assert_true(hub_send(w.hub, w.space, id, me, frames, &n, &err));
    assert_int_equal(n, 3);
    pump(&w);
    assert_int_equal(a->count, 2); /* the second ping was a repetition */
    assert_false(hub_send(w.hub, w.space, id, other, frames, &n, &err));
    assert_int_equal(err.code, XS_E_ACCESSDENIED);
    assert_false(hub_send(w.hub, w.space, TEXT("nobody"), me, frames, &n, &err));
    assert_int_equal(err.code, XS_E_NOTFOUND);
    static const char *const bad[] = {"", "[]", "1", "[1]", "{", "[{},1]", "{} {}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(hub_send(w.hub, w.space, id, me, text_from(bad[i]), &n, &err));
        assert_int_equal(err.code, XS_E_BAD_FRAME);
    }
    identity_unref(me);
    identity_unref(other);
    close_world(&w);
}

static void idle_channels_are_bounded(void **state)
{
    (void)state;
    World w;
    HubStats st;
    open_world(&w, declared, &(HubOptions){.space_ring_bytes = 100000});
    for (int i = 0; i < 5000; i++) {
        char name[32];
        snprintf(name, sizeof name, "room:%d", i);
        publish(&w, name, NULL, "1");
    }
    hub_stats(w.hub, &st);
    assert_in_range(st.channels, 10, 300);
    close_world(&w);
}

static void count_call(xs_shard *shard, void *arg)
{
    (void)shard;
    ++*(int *)arg;
}

static void runs_posted_calls(void **state)
{
    (void)state;
    World w;
    int calls = 0;
    open_world(&w, declared, NULL);
    assert_true(hub_shard_post(w.shards[0].shard, count_call, &calls));
    assert_int_equal(calls, 0);
    pump(&w);
    assert_int_equal(calls, 1);
    close_world(&w);
}

/* Publishers on two threads while clients come, listen and go: ascending seq, no hole, no repeat.
 */
/* ---- all queues together ---- */

static void longest_queues_go(void **state)
{
    (void)state;
    enum { CROWD = 400 }; /* half on each shard: two of a hundred and more at a time */
    World w;
    HubStats st;
    open_world(&w, declared, &(HubOptions){.queue_total_bytes = 100000});
    for (int i = 0; i < CROWD; i++)
        connect_user(&w, (size_t)i % 2, 0)->queued_bytes = (size_t)i;
    hub_note_queues(w.hub, 100000); /* not more than allowed */
    pump(&w);
    hub_stats(w.hub, &st);
    assert_int_equal(st.queue_shed, 0);
    hub_note_queues(w.hub, 100001);
    hub_note_queues(w.hub, 100001); /* the shards have not looked yet: once */
    pump(&w);
    for (int i = 0; i < CROWD; i++)
        if ((w.peers[i]->closed != 0) != (i >= CROWD - 4))
            fail_msg("%d: closed with %d", i, w.peers[i]->closed);
    hub_stats(w.hub, &st);
    assert_int_equal(st.queue_shed, 4);
    assert_int_equal(w.peers[CROWD - 1]->closed, 1013);
    /* Nobody comes in until it is less. */
    xs_request *r = make_request(&w, 0, NULL);
    xs_refusal why = {0};
    assert_null(w.shards[0].host.connect(w.shards[0].shard, &w, r, &why));
    assert_int_equal(why.close_code, 1013);
    assert_int_equal(why.status, 503);
    request_unref(r);
    hub_note_queues(w.hub, 10);
    Peer *late = connect_user(&w, 0, 0);
    assert_int_equal(late->closed, 0);
    /* Whoever has less than the others' average stays. */
    for (int i = 0; i < CROWD; i++)
        w.peers[i]->queued_bytes = 400;
    hub_note_queues(w.hub, 400 * CROWD);
    pump(&w);
    hub_stats(w.hub, &st);
    assert_int_equal(st.queue_shed, 4);
    assert_int_equal(st.queue_refused, 1);
    close_world(&w);
}

/* ---- one encoding for everybody ---- */

typedef struct Tally {
    const xs_frame *frame;
    const void *wire;
    size_t count, others;
} Tally;

static void tally(void *ctx, const char *json, const xs_frame *frame)
{
    Tally *t = ctx;
    const xs_wire *wire = atomic_load(&frame->wire[XS_WIRE_LP_ITEM]);
    if (!strstr(json, "\"action\":\"event\""))
        return;
    if (t->count++ == 0) {
        t->frame = frame;
        t->wire = wire;
    }
    t->others += frame != t->frame || wire != t->wire;
}

/* Check 17: ten thousand subscribers, one event: one JSON, one wire of each format in use. */
static void event_is_encoded_once(void **state)
{
    (void)state;
    enum { SUBSCRIBERS = 10000 };
    World w;
    Tally t = {0};
    open_world(&w, declared, NULL);
    for (int i = 0; i < SUBSCRIBERS; i++) {
        Peer *p = connect_user(&w, (size_t)i % 2, 0);
        p->on_frame = tally;
        p->ctx = &t;
        say(p, "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"}}");
    }
    pump(&w);
    publish(&w, "room:1", "e", "1");
    pump(&w);
    assert_int_equal(t.count, SUBSCRIBERS);
    assert_int_equal(t.others, 0);
    close_world(&w);
}

enum { STORM = 3000 };

static void *storm(void *arg)
{
    World *w = arg;
    for (int i = 0; i < STORM; i++)
        publish(w, i % 2 ? "room:1" : "room:2", NULL, "{\"n\":1}");
    return NULL;
}

static void order_holds_under_load(void **state)
{
    (void)state;
    World w;
    open_world(&w, declared, NULL);
    pthread_t threads[2];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm, &w), 0);
    HubStats st;
    do {
        Peer *p = w.npeers < 64 ? connect_user(&w, w.npeers % 2, 81) : NULL;
        if (p) {
            say(p, "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"}}");
            say(p, "{\"action\":\"join\",\"options\":{\"channel\":\"room:2\"}}");
        }
        pump(&w);
        if (p && w.npeers % 5 == 0)
            hang_up(p);
        hub_stats(w.hub, &st);
    } while (st.published < 2 * STORM);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    pump(&w);
    for (size_t i = 0; i < w.npeers; i++) {
        Peer *p = w.peers[i];
        uint64_t last = 0, offs[2] = {0};
        for (size_t k = 0; k < p->count; k++) {
            if (!p->seq[k])
                continue;
            uint64_t *off = &offs[strstr(p->got[k], "room:1") != NULL];
            assert_true(p->seq[k] > last);
            assert_true(*off == 0 || p->off[k] == *off + 1);
            last = p->seq[k];
            *off = p->off[k];
        }
        if (last && p->conn)
            assert_int_equal(last, 2 * STORM);
    }
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_and_messages),
        cmocka_unit_test(private_messages),
        cmocka_unit_test(publishes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_connections),
        cmocka_unit_test(undeclared_channels),
        cmocka_unit_test(triggers_decide),
        cmocka_unit_test(reading_stops_when_the_line_is_full),
        cmocka_unit_test(limits_rates),
        cmocka_unit_test(slow_consumers_are_cut),
        cmocka_unit_test(history_is_what_was_said),
        cmocka_unit_test(resumes),
        cmocka_unit_test(session_begins_anew),
        cmocka_unit_test(posts_frames),
        cmocka_unit_test(idle_channels_are_bounded),
        cmocka_unit_test(runs_posted_calls),
        cmocka_unit_test(longest_queues_go),
        cmocka_unit_test(event_is_encoded_once),
        cmocka_unit_test(order_holds_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
