/* plane_test.c - mirrors over a backplane that the test plays itself. */
#include "core/clock.h"
#include "host/hub/plane.h"
#include "host/hub/shard.h"
#include "host/hub/test_world.h"

enum { WAIT_MS = 5000 }; /* as in plane.c */

static struct {
    xs_plane_host host;
    uint64_t epoch, barrier;
    unsigned watches;
    bool full;        /* watch fails */
    char record[512]; /* what was published last */
    size_t len;
} fake;

static void *f_create(const xs_plane_host *host, xs_str url, xs_str node, xs_error *err)
{
    (void)url, (void)node, (void)err;
    fake.host = *host;
    return &fake;
}

static bool f_space(void *state, xs_str space, uint64_t proposed, uint64_t *epoch, xs_error *err)
{
    (void)state, (void)space, (void)proposed, (void)err;
    *epoch = fake.epoch;
    return true;
}

static bool f_watch(void *state, xs_str space, xs_str channel, uint32_t events)
{
    (void)state, (void)space, (void)channel, (void)events;
    fake.watches++;
    return !fake.full;
}

static void f_unwatch(void *state, xs_str space, xs_str channel)
{
    (void)state, (void)space, (void)channel;
}

static bool f_publish(void *state, xs_str space, xs_str channel, bool numbered,
                      const xs_plane_limits *limits, xs_str data, void *token)
{
    (void)state, (void)space, (void)channel, (void)numbered, (void)limits, (void)token;
    assert_true(data.len <= sizeof fake.record);
    memcpy(fake.record, data.ptr, data.len);
    fake.len = data.len;
    return true;
}

static bool f_barrier(void *state, xs_str space, xs_str channel, uint64_t n)
{
    (void)state, (void)space, (void)channel;
    fake.barrier = n;
    return true;
}

static bool f_member(void *state, xs_str space, xs_str channel, const xs_plane_member *m, bool here)
{
    (void)state, (void)space, (void)channel, (void)m, (void)here;
    return true;
}

static uint16_t f_number(void *state)
{
    (void)state;
    return 7;
}

static void f_stats(void *state, xs_plane_stats *out)
{
    (void)state;
    *out = (xs_plane_stats){.up = true};
}

static void f_end(void *state)
{
    (void)state;
}

static const xs_backplane_ops fake_ops = {.size = sizeof fake_ops,
                                          .create = f_create,
                                          .space = f_space,
                                          .watch = f_watch,
                                          .unwatch = f_unwatch,
                                          .publish = f_publish,
                                          .barrier = f_barrier,
                                          .member = f_member,
                                          .number = f_number,
                                          .stats = f_stats,
                                          .stop = f_end,
                                          .destroy = f_end};

static void open_plane(World *w)
{
    xs_error err;
    memset(&fake, 0, sizeof fake);
    fake.epoch = 0xA;
    open_world(w, declared, NULL);
    assert_true(hub_set_backplane(w->hub, &fake_ops, TEXT("fake"), &err));
}

static void close_plane(World *w)
{
    hub_stop_backplane(w->hub);
    close_world(w);
}

static xs_str str(const char *s)
{
    return (xs_str){s, strlen(s)};
}

static xs_str key_of(const World *w)
{
    return (xs_str){w->space->key.ptr, w->space->key.len};
}

static void snapshot(World *w, const char *channel, const xs_plane_snapshot *s)
{
    fake.host.snapshot(fake.host.ctx, key_of(w), str(channel), s);
    pump(w);
}

/* The last published event comes back. */
static void record(World *w, const char *channel, uint64_t epoch, uint64_t seq, uint64_t off)
{
    xs_plane_record r = {
        .epoch = epoch, .seq = seq, .off = off, .ts = 1, .data = {fake.record, fake.len}};
    fake.host.record(fake.host.ctx, key_of(w), str(channel), &r);
    pump(w);
}

static void join_empty(World *w, Peer *p, const char *channel, const xs_plane_snapshot *s)
{
    char frame[128];
    snprintf(frame, sizeof frame, "{\"action\":\"join\",\"options\":{\"channel\":\"%s\"}}",
             channel);
    say(p, frame);
    assert_int_equal(p->count, p->seen);
    snapshot(w, channel, s);
    assert_int_equal(p->count, p->seen + 1);
    assert_non_null(strstr(p->got[p->seen++], "\"action\":\"join\""));
}

/* A join whose trigger has run: it waits for what the trigger published. */
static void join_triggered(World *w, Peer *p)
{
    size_t job = w->triggers.count;
    say(p, "{\"action\":\"join\",\"options\":{\"channel\":\"room:1\"}}");
    assert_int_equal(w->triggers.count, job + 1);
    hub_job_done(w->triggers.jobs[job], HUB_ADMIT, (Text){0});
    w->triggers.jobs[job] = NULL;
    pump(w);
    assert_int_equal(p->count, 0);
}

/* Who comes to a busy channel waits its own time, not that of whoever waited before. */
static void everybody_waits_their_time(void **state)
{
    (void)state;
    World w;
    open_plane(&w);
    Peer *first = connect_user(&w, 0, 81);
    join_empty(&w, first, "room:1", &(xs_plane_snapshot){.epoch = 0xA});
    w.triggers.want = "join";
    Peer *a = connect_user(&w, 0, 82), *b = connect_user(&w, 0, 83);
    int64_t begin = clock_mono_ms();
    join_triggered(&w, a);
    assert_int_equal(fake.barrier, 1);
    usleep(50 * 1000);
    join_triggered(&w, b);
    assert_int_equal(fake.barrier, 2);
    int64_t later = clock_mono_ms();
    fake.host.barrier(fake.host.ctx, key_of(&w), str("room:1"), 1);
    pump(&w);
    assert_int_equal(a->count, 1);
    plane_tick(w.hub, begin + WAIT_MS + 10);
    pump(&w);
    assert_int_equal(b->count, 0);
    plane_tick(w.hub, later + WAIT_MS);
    pump(&w);
    assert_int_equal(b->count, 1);
    assert_non_null(strstr(b->got[0], "cannot be reached"));
    close_plane(&w);
}

/* A question that found no memory is asked again: the whole space waits for its answer. */
static void asks_again(void **state)
{
    (void)state;
    World w;
    open_plane(&w);
    Peer *a = connect_user(&w, 0, 81), *b = connect_user(&w, 0, 82);
    const xs_plane_snapshot none = {.epoch = 0xA};
    join_empty(&w, a, "room:1", &none);
    join_empty(&w, b, "room:2", &none);
    publish(&w, "room:1", NULL, "1");
    fake.full = true;
    record(&w, "room:1", 0xA, 2, 2); /* number 1 is missing */
    record(&w, "room:2", 0xA, 3, 1);
    fake.full = false;
    unsigned watches = fake.watches;
    plane_tick(w.hub, clock_mono_ms());
    plane_tick(w.hub, clock_mono_ms());
    assert_int_equal(fake.watches, watches + 1);
    const xs_plane_record rows[] = {
        {.epoch = 0xA, .seq = 1, .off = 1, .ts = 1, .data = {fake.record, fake.len}},
        {.epoch = 0xA, .seq = 2, .off = 2, .ts = 1, .data = {fake.record, fake.len}}};
    snapshot(
        &w, "room:1",
        &(xs_plane_snapshot){.epoch = 0xA, .seq = 3, .off = 2, .records = rows, .nrecords = 2});
    assert_int_equal(a->closed, 0);
    assert_int_equal(a->count, a->seen + 2);
    assert_int_equal(b->count, b->seen + 1);
    close_plane(&w);
}

static size_t present(World *w, const char *channel)
{
    space_lock(w->space);
    const Channel *ch = space_find(w->space, text_from(channel));
    size_t n = ch ? ch->roster.present.count : SIZE_MAX;
    space_unlock(w->space);
    return n;
}

static void member(World *w, uint64_t version, const char *id)
{
    xs_plane_member m = {.socket_id = str(id), .data = str("{}")};
    fake.host.member(fake.host.ctx, key_of(w), str("room:2"), version, &m, true);
}

/* The backplane has lost what it knew, without a lost connection: nobody will say who left. */
static void rosters_begin_anew_with_the_numbers(void **state)
{
    (void)state;
    World w;
    open_plane(&w);
    Peer *a = connect_user(&w, 0, 81), *b = connect_user(&w, 1, 82);
    const xs_plane_snapshot none = {.epoch = 0xA};
    join_empty(&w, a, "room:1", &none);
    join_empty(&w, b, "room:2", &none);
    enum { FAR = 500 };
    for (unsigned i = 0; i < FAR; i++) {
        char id[32];
        snprintf(id, sizeof id, "far-away-socket-%06u", i);
        member(&w, 5 + i, id);
    }
    assert_int_equal(present(&w, "room:2"), FAR + 1);
    publish(&w, "room:1", NULL, "1");
    unsigned watches = fake.watches;
    record(&w, "room:1", 0xB, 1, 1);
    assert_int_equal(a->closed, 1013);
    assert_int_equal(b->closed, 1013);
    assert_int_equal(fake.watches, watches + 2);
    const xs_plane_snapshot anew = {.epoch = 0xB, .seq = 1};
    snapshot(&w, "room:1", &anew);
    snapshot(&w, "room:2", &anew);
    assert_int_equal(present(&w, "room:2"), 0);
    member(&w, 1, "far-away-socket-000001");
    assert_int_equal(present(&w, "room:2"), 1);
    close_plane(&w);
}

/* What cannot be a channel's history is none, and the channel goes on. */
static void a_strange_snapshot_is_empty(void **state)
{
    (void)state;
    static const xs_plane_record rows[][2] = {
        {{.epoch = 0xA}, {.epoch = 0xA, .seq = 9, .off = 3}},
        {{.epoch = 0xA, .seq = 9, .off = 3}, {.epoch = 0xA, .seq = 8, .off = 2}},
        {{.epoch = 0xA, .seq = 8, .off = 2}, {.epoch = 0xA, .seq = 90, .off = 30}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        World w;
        open_plane(&w);
        Peer *a = connect_user(&w, 0, 81);
        publish(&w, "room:1", NULL, "1");
        join_empty(&w, a, "room:1",
                   &(xs_plane_snapshot){
                       .epoch = 0xA, .seq = 9, .off = 3, .records = rows[i], .nrecords = 2});
        unsigned watches = fake.watches;
        record(&w, "room:1", 0xA, 10, 4);
        assert_int_equal(a->count, a->seen + 1);
        assert_int_equal(a->seq[a->seen], 10);
        assert_int_equal(fake.watches, watches);
        close_plane(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_waits_their_time),
        cmocka_unit_test(asks_again),
        cmocka_unit_test(rosters_begin_anew_with_the_numbers),
        cmocka_unit_test(a_strange_snapshot_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
