/* slow_test.c - the list of realtime.slow_policy; clients that are paused; notes about holes. */
#include "host/hub/test_world.h"

static void reads_the_list(void **state)
{
    (void)state;
    static const struct {
        const char *text, *channel;
        uint32_t flag; /* UINT32_MAX: an error */
    } rows[] = {
        {"", "a", 0},
        {"a=pause", "a", XS_FRAME_PAUSE},
        {"a=pause", "b", 0},
        {" tick:* = conflate , log:*=drop_oldest,", "tick:1", XS_FRAME_CONFLATE},
        {" tick:* = conflate , log:*=drop_oldest,", "log:1", XS_FRAME_DROP_OLDEST},
        {" tick:* = conflate , log:*=drop_oldest,", "tick:", 0},
        {"log:*=pause,*=close", "log:a", XS_FRAME_PAUSE},
        {"log:a=close,log:*=pause", "log:a", 0}, /* the first that matches */
        {"x=y=conflate", "x=y", XS_FRAME_CONFLATE},
        {"a", "a", UINT32_MAX},
        {"=pause", "a", UINT32_MAX},
        {"a*=pause", "a", UINT32_MAX},
        {"a=", "a", UINT32_MAX},
        {"a=Pause", "a", UINT32_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        SlowRules rules;
        xs_error err = {0};
        bool ok = slow_rules_init(&rules, text_from(rows[i].text), &err);
        if (ok != (rows[i].flag != UINT32_MAX))
            fail_msg("row %zu: %s", i, ok ? "accepted" : err.message);
        if (ok)
            assert_int_equal(slow_rules_flag(&rules, text_from(rows[i].channel)), rows[i].flag);
        else
            assert_int_equal(err.code, XS_E_CONFIG);
        slow_rules_deinit(&rules);
    }
    assert_int_equal(mem_in_use(), 0);
}

static const char open_channels[] =
    "[{\"pattern\":\"*\",\"active\":true,\"settings\":{\"anonymous_clients\":true}}]";

static void open_slow(World *w, const char *policy)
{
    HubOptions opt = {.slow_policy = text_from(policy)};
    open_world(w, open_channels, &opt);
}

static void publish_some(World *w, const char *channel, int n)
{
    for (int i = 0; i < n; i++)
        publish(w, channel, "e", "1");
    pump(w);
}

static void expect_seqs(const Peer *p, size_t from, uint64_t first, size_t n)
{
    assert_int_equal(p->count, from + n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(p->seq[from + i], first + i);
}

static void pauses_and_goes_on(void **state)
{
    (void)state;
    World w;
    open_slow(&w, "feed:*=pause");
    Peer *a = connect_user(&w, 0, 0), *b = connect_user(&w, 0, 0);
    join(&w, a, "feed:1");
    join(&w, a, "other");
    join(&w, b, "feed:1");
    size_t start = a->count, other = b->count;
    a->queued = true;
    publish_some(&w, "other", 2); /* slow, but nothing here asks for a pause */
    publish_some(&w, "feed:1", 1);
    expect_seqs(a, start, 1, 3);
    /* Held: neither of the channels goes on, and its position stays where it is. */
    publish_some(&w, "feed:1", 3);
    publish_some(&w, "other", 1);
    expect_seqs(a, start, 1, 3);
    expect_seqs(b, other, 3, 4);
    uint64_t epoch, seq;
    a->shard->host.position(a->conn, &epoch, &seq);
    assert_int_equal(seq, 3);
    /* It reads again, is slow at once, and reads again. */
    publish(&w, "feed:1", "e", "1"); /* under way meanwhile */
    a->shard->host.writable(a->conn);
    expect_seqs(a, start, 1, 4);
    a->queued = false;
    a->shard->host.writable(a->conn);
    expect_seqs(a, start, 1, 8);
    pump(&w);
    publish_some(&w, "other", 1);
    publish_some(&w, "feed:1", 1);
    expect_seqs(a, start, 1, 10);
    a->shard->host.position(a->conn, &epoch, &seq);
    assert_int_equal(seq, 10);
    HubStats stats;
    hub_stats(w.hub, &stats);
    assert_int_equal(stats.slow_paused, 2);
    close_world(&w);
}

static void joins_while_paused(void **state)
{
    (void)state;
    World w;
    open_slow(&w, "feed:*=pause");
    Peer *a = connect_user(&w, 0, 0);
    join(&w, a, "feed:1");
    a->queued = true;
    publish_some(&w, "late", 4);
    publish_some(&w, "feed:1", 1); /* 5 */
    a->queued = false;
    join(&w, a, "late"); /* hears what comes after this */
    size_t start = a->count;
    publish_some(&w, "late", 2);
    expect_seqs(a, start, 0, 0);
    a->shard->host.writable(a->conn);
    expect_seqs(a, start, 6, 2);
    close_world(&w);
}

static void a_long_pause_is_a_gap(void **state)
{
    (void)state;
    World w;
    open_slow(&w, "feed:*=pause");
    Peer *a = connect_user(&w, 0, 0);
    join(&w, a, "feed:1");
    join(&w, a, "other");
    size_t start = a->count;
    a->queued = true;
    publish_some(&w, "feed:1", 1);
    publish_some(&w, "feed:1", 100); /* more than the ring has */
    publish_some(&w, "other", 1);
    a->queued = false;
    a->shard->host.writable(a->conn);
    assert_int_equal(a->count, start + 3);
    assert_string_equal(a->got[start + 1], "{\"channels\":[\"feed:1\"],\"reason\":\"evicted\"}");
    assert_int_equal(a->flags[start + 1], XS_FRAME_RESYNC);
    assert_int_equal(a->seq[start + 2], 102); /* of the other channel nothing is missing */
    close_world(&w);
}

static void notes_holes(void **state)
{
    (void)state;
    World w;
    HubStats stats;
    open_slow(&w, "log:*=drop_oldest,tick=conflate");
    Peer *a = connect_user(&w, 0, 0);
    join(&w, a, "log:1");
    join(&w, a, "tick");
    const xs_host *host = &a->shard->host;
    a->keep = true;
    publish_some(&w, "log:1", 1);
    publish_some(&w, "tick", 2);
    publish(&w, "tick", "other", "1");
    publish_some(&w, "plain", 1);
    pump(&w);
    assert_int_equal(a->nkept, 4);
    assert_int_equal(a->kept[0]->flags & XS_FRAME_DROP_OLDEST, XS_FRAME_DROP_OLDEST);
    assert_int_equal(a->kept[1]->flags & XS_FRAME_CONFLATE, XS_FRAME_CONFLATE);
    assert_true(a->kept[1]->topic == a->kept[2]->topic);
    assert_true(a->kept[2]->topic != a->kept[3]->topic);
    assert_true(a->kept[0]->channel != a->kept[1]->channel);
    assert_true(a->kept[1]->channel == a->kept[3]->channel);
    assert_null(host->skipped(a->conn, a->kept[1], false)); /* a newer one is behind it */
    assert_null(host->skipped(a->conn, a->kept[0], true));
    xs_frame *note = host->skipped(a->conn, a->kept[0], false);
    assert_non_null(note);
    assert_int_equal(note->flags, XS_FRAME_RESYNC);
    assert_true(note->channel == a->kept[0]->channel);
    const xs_wire *wire = host->wire(note, XS_WIRE_WS_TEXT);
    static const char text[] = "{\"action\":\"resync\",\"payload\":{\"channels\":[\"log:1\"],"
                               "\"reason\":\"slow\"}}";
    assert_int_equal(wire->len, sizeof text - 1 + 2);
    assert_memory_equal(wire->bytes + 2, text, sizeof text - 1);
    host->frame_unref(note);
    say(a, "{\"action\":\"leave\",\"options\":{\"channel\":\"log:1\"}}");
    assert_null(host->skipped(a->conn, a->kept[0], false)); /* it is not there any more */
    hub_stats(w.hub, &stats);
    assert_int_equal(stats.slow_dropped, 3);
    assert_int_equal(stats.slow_conflated, 1);
    for (size_t i = 0; i < a->nkept; i++)
        host->frame_unref(a->kept[i]);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_list),     cmocka_unit_test(pauses_and_goes_on),
        cmocka_unit_test(joins_while_paused), cmocka_unit_test(a_long_pause_is_a_gap),
        cmocka_unit_test(notes_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
