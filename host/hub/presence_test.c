/* presence_test.c - rosters as watchers see them: each member once, never twice, in any hurry; and
 * what time and numbers do to connections: grace, tokens that end, limits. */
#include <poll.h>
#include <pthread.h>

#include "host/hub/test_world.h"

#include "core/clock.h"
#include "host/hub/clock.h"

static const char halls[] =
    "[{\"pattern\":\"hall\",\"active\":true,\"public\":{\"active\":true},"
    "\"settings\":{\"anonymous_clients\":true,\"message_history\":0,\"presence\":true}}]";

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* ---- what a watcher believes ---- */

typedef struct Watcher {
    Peer *peer;
    Map seen; /* socket id → itself, malloc'ed */
    size_t bytes, updates, snapshots;
    bool truncated;
} Watcher;

static Text client_id(const Const *client)
{
    return const_get_text(client, "socketId");
}

static void forget_all(Watcher *w)
{
    size_t at = 0;
    MapSlot *slot;
    while ((slot = map_next(&w->seen, &at)))
        free(slot->value);
    map_deinit(&w->seen);
    w->seen = (Map){0};
}

static void learn(Watcher *w, Text id)
{
    if (map_get(&w->seen, id))
        fail_msg("%.*s is announced twice", (int)id.len, id.ptr);
    char *copy = strndup(id.ptr, id.len);
    assert_non_null(copy);
    assert_true(map_put(&w->seen, text_from(copy), copy));
}

static void on_frame(void *ctx, const char *json, const xs_frame *frame)
{
    (void)frame;
    Watcher *w = ctx;
    Arena a;
    xs_error err;
    arena_init(&a, 0);
    w->bytes += strlen(json);
    const Const *doc = json_parse(&a, text_from(json), &err), *payload = const_get(doc, "payload");
    Text action = const_get_text(doc, "action");
    if (text_eq(action, TEXT("presence_full"))) {
        const Const *list = const_get(payload, "presence");
        w->snapshots++;
        w->truncated = const_bool_of(const_get(payload, "truncated"), false);
        forget_all(w);
        for (uint32_t i = 0; i < list->count; i++)
            learn(w, client_id(list->items[i]));
    } else if (text_eq(action, TEXT("presence_update"))) {
        Text id = client_id(const_get(payload, "presence"));
        w->updates++;
        if (text_eq(const_get_text(payload, "action"), TEXT("join"))) {
            learn(w, id);
        } else {
            char *known = map_take(&w->seen, id);
            if (!known)
                fail_msg("%.*s left without having been there", (int)id.len, id.ptr);
            free(known);
        }
    }
    arena_deinit(&a);
}

static void watch(World *w, Watcher *watcher, size_t shard)
{
    *watcher = (Watcher){.peer = connect_user(w, shard, 0)};
    watcher->peer->on_frame = on_frame;
    watcher->peer->ctx = watcher;
    say(watcher->peer, "{\"action\":\"join\",\"options\":{\"channel\":\"hall\"},"
                       "\"payload\":{\"presence\":true}}");
    assert_int_equal(watcher->snapshots, 1);
}

static void ignore(void *ctx, const char *json, const xs_frame *frame)
{
    (void)ctx;
    (void)json;
    (void)frame;
}

static void enter_hall(Peer *p)
{
    say(p, "{\"action\":\"join\",\"options\":{\"channel\":\"hall\"}}");
}

static void leave_hall(Peer *p)
{
    say(p, "{\"action\":\"leave\",\"options\":{\"channel\":\"hall\"}}");
}

static void expect_exact(World *w, Watcher *watcher, const bool *in, size_t n, size_t nwatchers)
{
    size_t expected = nwatchers;
    for (size_t i = 0; i < n; i++) {
        bool known = map_get(&watcher->seen, text_from(w->peers[i]->conn->socket_id)) != NULL;
        if (known != in[i])
            fail_msg("member %zu: known %d, there %d", i, known, in[i]);
        expected += in[i];
    }
    assert_int_equal(watcher->seen.count, expected);
}

/* Members come and go in bursts; watchers come, ask again and stay. Everybody is exact at the end.
 */
static void rosters_are_exact(void **state)
{
    (void)state;
    enum { MEMBERS = 800, WATCHERS = 12, STEPS = 12000 };
    World w;
    Watcher watchers[WATCHERS];
    bool in[MEMBERS] = {false};
    size_t nwatchers = 0;
    uint64_t seed = 0x9E3779B97F4A7C15u;
    open_world(&w, halls, &(HubOptions){.joins_per_s = 1000000, .joins_burst = 1000000});
    for (size_t i = 0; i < MEMBERS; i++)
        connect_user(&w, i & 1, 0)->on_frame = ignore;
    for (int step = 0; step < STEPS; step++) {
        uint64_t r = next_random(&seed);
        size_t i = r % MEMBERS;
        if (nwatchers < WATCHERS && step % (STEPS / WATCHERS) == 0) {
            watch(&w, &watchers[nwatchers], nwatchers & 1);
            nwatchers++;
        } else if (r >> 32 & 63) {
            in[i] ? leave_hall(w.peers[i]) : enter_hall(w.peers[i]);
            in[i] = !in[i];
        } else if (nwatchers) {
            say(watchers[r % nwatchers].peer,
                "{\"action\":\"join\",\"options\":{\"channel\":\"hall\"},"
                "\"payload\":{\"presence\":true}}");
        }
        if ((r >> 40 & 31) == 0)
            pump(&w);
        if ((r >> 45 & 63) == 0)
            hub_tick(w.hub, clock_mono_ms() + 1000);
    }
    hub_tick(w.hub, clock_mono_ms() + 1000);
    pump(&w);
    for (size_t i = 0; i < nwatchers; i++) {
        expect_exact(&w, &watchers[i], in, MEMBERS, nwatchers);
        forget_all(&watchers[i]);
    }
    close_world(&w);
}

/* 5,000 members, of whom hundreds change in every window: what cancels out is never sent. */
static void hurry_is_coalesced(void **state)
{
    (void)state;
    enum { MEMBERS = 5000, CHURN = 2000 };
    World w;
    Watcher watcher, late;
    bool *in = calloc(MEMBERS, sizeof *in);
    uint64_t seed = 42;
    assert_non_null(in);
    open_world(&w, halls, &(HubOptions){.joins_per_s = 1000000, .joins_burst = 1000000});
    for (size_t i = 0; i < MEMBERS; i++)
        connect_user(&w, i & 1, 0)->on_frame = ignore;
    watch(&w, &watcher, 0);
    for (size_t i = 0; i < MEMBERS; i++) {
        enter_hall(w.peers[i]);
        in[i] = true;
    }
    hub_tick(w.hub, clock_mono_ms() + 1000);
    pump(&w);
    assert_int_equal(watcher.updates, MEMBERS);
    expect_exact(&w, &watcher, in, MEMBERS, 1);
    /* A blink: out and in again. Nobody needs to know. */
    size_t before = watcher.updates;
    for (int i = 0; i < CHURN; i++) {
        leave_hall(w.peers[i]);
        enter_hall(w.peers[i]);
    }
    hub_tick(w.hub, clock_mono_ms() + 1000);
    pump(&w);
    assert_true(watcher.updates - before <= 2 * PRESENCE_RATE * 4);
    int64_t begin = clock_mono_ms();
    size_t churned = watcher.updates, bytes = watcher.bytes;
    for (int i = 0; i < CHURN; i++) {
        size_t m = next_random(&seed) % MEMBERS;
        in[m] ? leave_hall(w.peers[m]) : enter_hall(w.peers[m]);
        in[m] = !in[m];
        if (i % 200 == 0) {
            hub_tick(w.hub, clock_mono_ms() + 1000);
            pump(&w);
        }
    }
    hub_tick(w.hub, clock_mono_ms() + 1000);
    pump(&w);
    expect_exact(&w, &watcher, in, MEMBERS, 1);
    print_message(
        "%d members, %d joins and leaves, 200 at a time: %d ms, %zu updates of %zu bytes for "
        "one who watches\n",
        MEMBERS, CHURN, (int)(clock_mono_ms() - begin), watcher.updates - churned,
        (watcher.bytes - bytes) / (watcher.updates - churned));
    watch(&w, &late, 1); /* a snapshot has its limit, and says so */
    assert_int_equal(late.seen.count, 1000);
    assert_true(late.truncated);
    assert_non_null(map_get(&late.seen, text_from(late.peer->conn->socket_id)));
    forget_all(&watcher);
    forget_all(&late);
    free(in);
    close_world(&w);
}

/* Everybody watches: a change costs each member one entry, whatever the size of the roster. */
static size_t bytes_of_changes(size_t members)
{
    enum { CHANGES = 20 };
    World w;
    size_t bytes = 0;
    Watcher *watchers = calloc(members, sizeof *watchers);
    assert_non_null(watchers);
    open_world(&w, halls, &(HubOptions){.joins_per_s = 1000000, .joins_burst = 1000000});
    for (size_t i = 0; i < members; i++)
        watch(&w, &watchers[i], i & 1);
    Peer *guest = connect_user(&w, 0, 0);
    guest->on_frame = ignore;
    hub_tick(w.hub, clock_mono_ms() + 1000);
    pump(&w);
    for (size_t i = 0; i < members; i++)
        bytes -= watchers[i].bytes;
    for (int i = 0; i < CHANGES; i++) {
        i & 1 ? leave_hall(guest) : enter_hall(guest);
        hub_tick(w.hub, clock_mono_ms() + 1000);
        pump(&w);
    }
    for (size_t i = 0; i < members; i++) {
        bytes += watchers[i].bytes;
        forget_all(&watchers[i]);
    }
    print_message("%zu members who all watch: %zu bytes for each and change\n", members,
                  bytes / members / CHANGES);
    free(watchers);
    close_world(&w);
    return bytes;
}

static void bytes_grow_with_members(void **state)
{
    (void)state;
    size_t few = bytes_of_changes(50), many = bytes_of_changes(400);
    assert_true(few > 0);
    assert_true(many <= few * 8 + few / 2);
}

/* ---- grace ---- */

static Peer *connect_sid(World *w, const char *sid, int64_t user)
{
    char query[128];
    snprintf(query, sizeof query, "{\"sid\":[\"%s\"]}", sid);
    xs_request *r = make_request(w, user, query);
    Peer *p = connect_with(w, 1, r);
    p->on_frame = ignore;
    request_unref(r);
    return p;
}

static void lost_clients_have_grace(void **state)
{
    (void)state;
    World w;
    Watcher watcher;
    open_world(&w, halls, NULL);
    test_limits.presence_grace_ms = 5000;
    watch(&w, &watcher, 0);
    Peer *a = connect_user(&w, 1, 7);
    a->on_frame = ignore;
    enter_hall(a);
    pump(&w);
    assert_int_equal(watcher.updates, 1);
    char sid[SID_LEN + 1], socket_id[SOCKET_ID_LEN + 1];
    memcpy(sid, a->conn->sid, sizeof sid);
    memcpy(socket_id, a->conn->socket_id, sizeof socket_id);
    hang_up(a);
    hub_tick(w.hub, clock_mono_ms() + 1000);
    pump(&w);
    assert_int_equal(watcher.updates, 1); /* it may come back */
    Peer *thief = connect_sid(&w, sid, 8);
    assert_string_not_equal(thief->conn->socket_id, socket_id);
    Peer *back = connect_sid(&w, sid, 7);
    assert_string_equal(back->conn->socket_id, socket_id);
    assert_string_equal(back->conn->sid, sid);
    enter_hall(back);
    hub_tick(w.hub, clock_mono_ms() + 6000);
    pump(&w);
    assert_int_equal(watcher.updates, 1); /* and it did */
    assert_int_equal(watcher.seen.count, 2);
    hang_up(back);
    Watcher second;
    watch(&w, &second, 0);
    assert_int_equal(second.seen.count, 3); /* two watchers and the lost one */
    hub_tick(w.hub, clock_mono_ms() + 6000);
    pump(&w);
    assert_int_equal(watcher.seen.count, 2); /* announced once, to everyone */
    assert_int_equal(second.seen.count, 2);
    /* Whoever leaves does not wait. */
    Peer *b = connect_user(&w, 1, 9);
    b->on_frame = ignore;
    enter_hall(b);
    pump(&w);
    leave_hall(b);
    pump(&w);
    assert_int_equal(watcher.seen.count, 2);
    /* Silent, but not gone. */
    enter_hall(b);
    b->shard->host.away(b->conn, true);
    pump(&w);
    assert_int_equal(watcher.seen.count, 2);
    b->shard->host.away(b->conn, false);
    pump(&w);
    assert_int_equal(watcher.seen.count, 3);
    forget_all(&watcher);
    forget_all(&second);
    test_limits.presence_grace_ms = 0;
    close_world(&w);
}

/* ---- tokens that end ---- */

static void tokens_end(void **state)
{
    (void)state;
    World w;
    open_world(&w, halls,
               &(HubOptions){
                   .expiry_warning_ms = 60, .auth = {.check = check_token}, .max_conn_age_ms = 40});
    xs_request *r = make_request(&w, 7, NULL);
    r->expires_ms = clock_wall_ms() + 100;
    Peer *a = connect_with(&w, 0, r), *b = connect_with(&w, 1, r), *old = connect_user(&w, 0, 8);
    request_unref(r);
    Peer *anonymous = connect_user(&w, 0, 0);
    hub_tick(w.hub, clock_mono_ms() + 30); /* too early */
    pump(&w);
    NOTHING(a);
    usleep(50000);
    hub_tick(w.hub, clock_mono_ms() + 10);
    pump(&w);
    EXPECT(a, "{\"action\":\"auth\",\"options\":{},\"payload\":{\"state\":\"expiring\","
              "\"expires_in\":1}}");
    EXPECT(b, "{\"action\":\"auth\",\"options\":{},\"payload\":{\"state\":\"expiring\","
              "\"expires_in\":1}}");
    assert_int_equal(old->closed, 4000); /* its token never ends, the connection does */
    /* Only the same identity can go on. */
    say(b, "{\"action\":\"auth\",\"payload\":{\"token\":\"user8\"}}");
    EXPECT(b,
           "{\"action\":\"error\",\"options\":{},\"payload\":{\"code\":\"bad_token\",\"command\":"
           "\"auth\",\"message\":\"The token cannot be used on this connection.\"}}");
    say(b, "{\"action\":\"auth\",\"payload\":{\"token\":\"rubbish\"}}");
    b->seen++;
    say(b, "{\"action\":\"auth\"}");
    b->seen++;
    say(anonymous, "{\"action\":\"auth\",\"payload\":{\"token\":\"user7\"}}");
    assert_non_null(strstr(anonymous->got[0], "bad_token"));
    say(b, "{\"action\":\"auth\",\"payload\":{\"token\":\"user7\"}}");
    EXPECT(b, "{\"action\":\"auth\",\"options\":{},\"payload\":{\"state\":\"renewed\","
              "\"expires_in\":60}}");
    usleep(70000);
    hub_tick(w.hub, clock_mono_ms() + 20);
    pump(&w);
    EXPECT(a, "{\"action\":\"error\",\"options\":{},\"payload\":{\"code\":\"token_expired\","
              "\"message\":\"Token expired.\"}}");
    assert_int_equal(a->closed, 4401);
    assert_int_equal(b->closed, 0);
    NOTHING(b);
    HubStats st;
    hub_stats(w.hub, &st);
    assert_int_equal(st.expired, 2);
    assert_int_equal(st.renewed, 1);
    close_world(&w);
}

typedef struct Ticking {
    Hub *hub;
    _Atomic bool stop;
} Ticking;

static void *tick_on(void *arg)
{
    Ticking *t = arg;
    while (!t->stop)
        hub_tick(t->hub, clock_mono_ms());
    return NULL;
}

/* The tick runs on another thread than the shards: no alarm gets lost between them. */
static void alarms_cross_threads(void **state)
{
    (void)state;
    enum { N = 200, ROUNDS = 20 };
    World w;
    open_world(&w, halls, &(HubOptions){.expiry_warning_ms = 10});
    Ticking ticking = {.hub = w.hub};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, tick_on, &ticking), 0);
    for (int round = 0; round < ROUNDS; round++) {
        size_t first = w.npeers;
        for (int i = 0; i < N; i++) {
            xs_request *r = make_request(&w, 7, NULL);
            r->expires_ms = clock_wall_ms() + 12 + i % 4;
            connect_with(&w, i & 1, r);
            request_unref(r);
        }
        for (int64_t until = clock_mono_ms() + 5000; clock_mono_ms() < until;) {
            size_t open = 0;
            struct pollfd
                wakes[2]; /* sleeping is part of it: a wake may come before the tick ends */
            for (int i = 0; i < 2; i++)
                wakes[i] = (struct pollfd){w.shards[i].host.wake_fd(w.shards[i].shard), POLLIN, 0};
            poll(wakes, 2, 10);
            pump(&w);
            for (size_t i = first; i < w.npeers; i++)
                open += w.peers[i]->closed == 0;
            if (!open)
                break;
        }
        for (size_t i = first; i < w.npeers; i++)
            assert_int_equal(w.peers[i]->closed, 4401);
    }
    ticking.stop = true;
    pthread_join(thread, NULL);
    close_world(&w);
}

/* The alarms of thousands of connections ring in time, whatever order they came and went in. */
static void alarms_stay_in_order(void **state)
{
    (void)state;
    enum { N = 600 };
    World w;
    uint64_t seed = 7;
    open_world(&w, halls, NULL);
    for (int i = 0; i < N; i++) {
        xs_request *r = make_request(&w, 7, NULL);
        r->expires_ms = clock_wall_ms() + 1000 + (int64_t)(next_random(&seed) % 100000);
        connect_with(&w, i & 1, r)->on_frame = ignore;
        request_unref(r);
    }
    for (int i = 0; i < N / 3; i++) {
        Peer *p = w.peers[next_random(&seed) % N];
        if (p->conn)
            hang_up(p);
    }
    size_t open = 0;
    for (int i = 0; i < N; i++) {
        xs_conn *c = w.peers[i]->conn;
        if (!c)
            continue;
        open++;
        assert_ptr_equal(w.hub->alarms.ptr[c->alarm_at - 1], c);
        size_t at = c->alarm_at - 1;
        assert_true(at == 0 || w.hub->alarms.ptr[(at - 1) / 2]->alarm_ms <= c->alarm_ms);
    }
    assert_int_equal(w.hub->alarms.len, open);
    close_world(&w);
}

/* ---- limits ---- */

static void numbers_are_limited(void **state)
{
    (void)state;
    World w;
    xs_refusal why = {0};
    open_world(&w, halls,
               &(HubOptions){.conn_per_ip = 2, .conn_per_identity = 1, .publish_per_s_channel = 3});
    xs_request *far = make_request(&w, 0, NULL), *near = make_request(&w, 0, NULL);
    xs_request *user = make_request(&w, 7, NULL);
    far->remote_ip = TEXT("192.0.2.1");
    near->remote_ip = TEXT("127.0.0.1");
    Peer *a = connect_with(&w, 0, far), *b = connect_with(&w, 1, far);
    assert_null(a->shard->host.connect(a->shard->shard, a, far, &why));
    assert_int_equal(why.close_code, 1013);
    assert_int_equal(why.status, 503);
    assert_string_equal(why.message, "Too many connections from this address.");
    hang_up(b);
    b = connect_with(&w, 1, far);
    for (int i = 0; i < 4; i++)
        connect_with(&w, 0, near); /* a proxy in front has one address */
    Peer *c = connect_with(&w, 0, user);
    assert_null(c->shard->host.connect(c->shard->shard, c, user, &why));
    assert_string_equal(why.message, "Too many connections of this account.");
    hang_up(c);
    c = connect_with(&w, 0, user);
    enter_hall(a);
    enter_hall(b);
    for (int i = 0; i < 6; i++)
        say(i & 1 ? a : b, "{\"action\":\"message\",\"options\":{\"channel\":\"hall\"},"
                           "\"payload\":1}");
    pump(&w);
    assert_int_equal(a->count + b->count, 2 + 3 * 2 + 3); /* joins, three messages, three errors */
    assert_non_null(strstr(a->got[1], "rate_limited"));
    HubStats st;
    hub_stats(w.hub, &st);
    assert_int_equal(st.ip_refused, 1);
    assert_int_equal(st.identity_refused, 1);
    assert_int_equal(st.channel_limited, 3);
    request_unref(far);
    request_unref(near);
    request_unref(user);
    close_world(&w);
}

static void extras_can_be_hidden(void **state)
{
    (void)state;
    World w;
    xs_error err = {0};
    open_world(&w, halls, &(HubOptions){.presence_extras = TEXT("name, team")});
    xs_request *r = make_request(&w, 0, NULL);
    identity_unref(r->identity);
    r->identity = identity_new(
        TEXT("user"), 5, json_parse(&r->arena, TEXT("81"), &err),
        json_parse(&r->arena, TEXT("{\"mail\":\"a@b\",\"name\":\"Ann\",\"team\":[1]}"), &err));
    Peer *a = connect_with(&w, 0, r);
    request_unref(r);
    enter_hall(a);
    EXPECT(a, "{\"action\":\"join\",\"client\":{\"extras\":{\"name\":\"Ann\",\"team\":[1]},"
              "\"permissions\":{\"dbo_id\":5,\"row_id\":81},\"socketId\":\"$1\"},\"options\":"
              "{\"channel\":\"hall\"},\"payload\":{\"history\":[]}}");
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rosters_are_exact),
        cmocka_unit_test(hurry_is_coalesced),
        cmocka_unit_test(bytes_grow_with_members),
        cmocka_unit_test(lost_clients_have_grace),
        cmocka_unit_test(tokens_end),
        cmocka_unit_test(alarms_stay_in_order),
        cmocka_unit_test(alarms_cross_threads),
        cmocka_unit_test(numbers_are_limited),
        cmocka_unit_test(extras_can_be_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
