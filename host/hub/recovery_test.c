/* recovery_test.c - clients that come and go against a model of what was published: after every
 * return each of them gets, per channel, all that it missed or is told to reload; never a hole,
 * never a repeat, never "resumed" when it was not. */
#include <pthread.h>

#include "core/clock.h"
#include "host/hub/test_world.h"

enum { CHANNELS = 5, CLIENTS = 24, SLOW_JOINS = 64 };

static const char open_channels[] =
    "[{\"pattern\":\"c0\",\"active\":true,\"settings\":{\"anonymous_clients\":true}},"
    "{\"pattern\":\"c1\",\"active\":true,\"settings\":{\"anonymous_clients\":true}},"
    "{\"pattern\":\"c2\",\"active\":true,\"settings\":{\"anonymous_clients\":true}},"
    "{\"pattern\":\"c3\",\"active\":true,\"settings\":{\"anonymous_clients\":true}},"
    "{\"pattern\":\"c4\",\"active\":true,\"settings\":{\"anonymous_clients\":true}}]";

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* ---- the model ---- */

typedef struct Entry {
    uint64_t seq;
    bool staff; /* for user 7 only */
} Entry;

typedef VEC(Entry) Log;

typedef struct Client {
    Peer *peer;
    Log *logs; /* of all channels */
    bool staff;
    uint64_t epoch, seen[8]; /* positions it may come back with, newest first */
    size_t nseen;
    uint64_t last;         /* seq of the newest frame of this connection */
    size_t next[CHANNELS]; /* entry that must come next */
    bool free[CHANNELS];   /* after a resync: whatever comes first */
    bool listed[CHANNELS];
    size_t frames, resyncs;
} Client;

static void remember(Client *c, uint64_t seq)
{
    memmove(c->seen + 1, c->seen, sizeof c->seen - sizeof *c->seen);
    c->seen[0] = seq;
    if (c->nseen < COUNT_OF(c->seen))
        c->nseen++;
}

static void skip_hidden(const Client *c, size_t ch)
{
    Client *own = (Client *)(uintptr_t)c;
    while (own->next[ch] < c->logs[ch].len && c->logs[ch].ptr[c->next[ch]].staff && !c->staff)
        own->next[ch]++;
}

static size_t find(const Log *log, uint64_t seq)
{
    size_t low = 0, high = log->len;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (log->ptr[mid].seq < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void on_frame(void *ctx, const char *json, const xs_frame *frame)
{
    Client *c = ctx;
    if (frame->flags & XS_FRAME_RESYNC) {
        for (size_t ch = 0; ch < CHANNELS; ch++) {
            char name[8];
            snprintf(name, sizeof name, "\"c%zu\"", ch);
            if (!strstr(json, name))
                continue;
            c->free[ch] = true;
            c->resyncs++;
        }
        return;
    }
    if (!(frame->flags & XS_FRAME_STORED))
        return;
    const char *name = strstr(json, "\"channel\":\"c");
    assert_non_null(name);
    size_t ch = (size_t)(name[12] - '0');
    assert_true(ch < CHANNELS && c->listed[ch]);
    if (frame->seq <= c->last)
        fail_msg("seq %lu after %lu", (unsigned long)frame->seq, (unsigned long)c->last);
    c->last = frame->seq;
    const Log *log = &c->logs[ch];
    if (c->free[ch]) {
        c->free[ch] = false;
        c->next[ch] = find(log, frame->seq);
    }
    skip_hidden(c, ch);
    if (c->next[ch] >= log->len || log->ptr[c->next[ch]].seq != frame->seq)
        fail_msg("channel %zu: got %lu, expected %lu", ch, (unsigned long)frame->seq,
                 c->next[ch] < log->len ? (unsigned long)log->ptr[c->next[ch]].seq : 0ul);
    c->next[ch]++;
    c->frames++;
    remember(c, frame->seq);
}

/* Everything that was published is there, but for what a resync gave up. */
static void expect_complete(const Client *c)
{
    for (size_t ch = 0; c->peer && ch < CHANNELS; ch++) {
        if (!c->listed[ch] || c->free[ch])
            continue;
        skip_hidden(c, ch);
        if (c->next[ch] != c->logs[ch].len)
            fail_msg("channel %zu: %zu of %zu events", ch, c->next[ch], c->logs[ch].len);
    }
}

/* ---- coming and going ---- */

static void come(World *w, Client *c, uint64_t *seed)
{
    char query[256], epoch[17];
    uint64_t r = next_random(seed), from = 0;
    bool with_position = c->nseen > 0, foreign = with_position && (r & 31) == 0;
    size_t n = (size_t)snprintf(query, sizeof query, "{\"channel\":[");
    for (size_t ch = 0; ch < CHANNELS; ch++) {
        c->listed[ch] = ch == 0 || (r >> (8 + ch) & 1);
        if (c->listed[ch])
            n += (size_t)snprintf(query + n, sizeof query - n, "%s\"c%zu\"", ch ? "," : "", ch);
        c->free[ch] = true;
    }
    n += (size_t)snprintf(query + n, sizeof query - n, "]");
    if (with_position) {
        from = c->seen[(r >> 20) % c->nseen]; /* the newest frames may have been lost on the way */
        epoch_write(foreign ? c->epoch ^ 1 : c->epoch, epoch);
        n += (size_t)snprintf(query + n, sizeof query - n, ",\"last_event_id\":[\"%s.%lu\"]", epoch,
                              (unsigned long)from);
    }
    snprintf(query + n, sizeof query - n, "}");
    xs_request *req = make_request(w, c->staff ? 7 : 0, query);
    c->peer = connect_with(w, r >> 30 & 1, req);
    c->peer->on_frame = on_frame;
    c->peer->ctx = c;
    c->last = 0;
    const xs_host *host = &c->peer->shard->host;
    xs_resume_state state = host->resume_state(c->peer->conn, req);
    assert_int_equal(state == XS_RESUME_NONE, !with_position);
    assert_false(foreign && state == XS_RESUME_OK);
    size_t before = c->resyncs;
    if (state == XS_RESUME_OK) {
        c->last = from;
        for (size_t ch = 0; ch < CHANNELS; ch++) {
            c->free[ch] = false;
            c->next[ch] = find(&c->logs[ch], from + 1);
        }
    } else if (with_position && !foreign) { /* some channels may still be whole */
        for (size_t ch = 0; ch < CHANNELS; ch++) {
            c->free[ch] = false;
            c->next[ch] = find(&c->logs[ch], from + 1);
        }
    }
    host->join_listed(c->peer->conn, req);
    if (state == XS_RESUME_OK && w->triggers.count == 0)
        assert_int_equal(c->resyncs, before); /* what was promised holds */
    request_unref(req);
}

static void go(Client *c)
{
    uint64_t epoch, seq;
    const xs_host *host = &c->peer->shard->host;
    if (!c->peer->conn) {
        c->peer = NULL;
        return;
    }
    host->position(c->peer->conn, &epoch, &seq); /* as a heartbeat's id */
    c->epoch = epoch;
    remember(c, seq);
    hang_up(c->peer);
    c->peer = NULL;
}

static void say_something(World *w, Log *logs, uint64_t *seed)
{
    uint64_t r = next_random(seed);
    size_t ch = r % CHANNELS;
    if (ch == 4 && r >> 8 & 7) /* a channel of which little is heard */
        ch = 0;
    char name[8], data[600];
    size_t pad = (r >> 16 & 15) == 0 ? 500 : 4;
    snprintf(name, sizeof name, "c%zu", ch);
    memset(data, 'x', sizeof data);
    data[0] = data[pad] = '"';
    data[pad + 1] = '\0';
    bool staff = (r >> 24 & 7) == 0;
    HubPublish p = {.channel = text_from(name), .data = text_from(data)};
    if (staff) {
        p.dbo_id = 5;
        p.row_id = TEXT("7");
    }
    HubPublished out;
    xs_error err;
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    assert_true(VEC_PUSH(&logs[ch], ((Entry){out.seq, staff})));
}

/* Joins that wait for a trigger are admitted in any order. */
static void admit_some(World *w, uint64_t *seed, bool all)
{
    for (size_t i = w->triggers.count; i-- > 0;) {
        if (!all && next_random(seed) & 1)
            continue;
        hub_job_done(w->triggers.jobs[i], HUB_ADMIT, (Text){0});
        w->triggers.jobs[i] = w->triggers.jobs[--w->triggers.count];
    }
}

static void live(uint64_t seed, size_t steps, const HubOptions *opt, size_t *resyncs,
                 size_t *frames)
{
    World w;
    Log logs[CHANNELS] = {0};
    Client clients[CLIENTS];
    open_world(&w, open_channels, opt);
    for (size_t i = 0; i < CLIENTS; i++)
        clients[i] = (Client){.logs = logs, .staff = i % 3 == 0};
    for (size_t step = 0; step < steps; step++) {
        uint64_t r = next_random(&seed);
        Client *c = &clients[r % CLIENTS];
        w.triggers.want =
            (step >> 6 & 3) == 3 && w.triggers.count < SLOW_JOINS - CHANNELS ? "join" : NULL;
        switch (r >> 32 & 7) {
        case 0: c->peer ? go(c) : come(&w, c, &seed); break;
        case 1: pump(&w); break;
        case 2: admit_some(&w, &seed, false); break;
        default: say_something(&w, logs, &seed);
        }
        if ((r >> 36 & 255) == 0) {
            admit_some(&w, &seed, true);
            pump(&w);
            for (size_t i = 0; i < CLIENTS; i++)
                expect_complete(&clients[i]);
        }
    }
    admit_some(&w, &seed, true);
    pump(&w);
    for (size_t i = 0; i < CLIENTS; i++) {
        expect_complete(&clients[i]);
        *resyncs += clients[i].resyncs;
        *frames += clients[i].frames;
    }
    for (size_t i = 0; i < CHANNELS; i++)
        VEC_DEINIT(&logs[i]);
    close_world(&w);
}

static void nothing_is_lost_silently(void **state)
{
    (void)state;
    size_t resyncs = 0, frames = 0;
    for (uint64_t seed = 1; seed <= 6; seed++)
        live(seed * 0x9E3779B97F4A7C15u, 6000, &(HubOptions){.ring_events = 64}, &resyncs, &frames);
    assert_true(frames > 10000);
    resyncs = 0;
    /* Small rings, and so little room that idle channels are thrown out. */
    for (uint64_t seed = 1; seed <= 6; seed++)
        live(seed * 0xD1B54A32D192ED03u, 6000,
             &(HubOptions){.ring_events = 8, .ring_bytes = 4096, .space_ring_bytes = 8192},
             &resyncs, &frames);
    assert_true(resyncs > 100); /* the hard way was taken, and everybody was told */
}

/* ---- joining while others speak ---- */

enum { JOINS = 10000, AT_ONCE = 100, EACH = 30000 };

typedef struct Speaker {
    World *w;
    pthread_t thread;
    char channel[8];
    _Atomic bool stop;
} Speaker;

static void *speak(void *arg)
{
    Speaker *s = arg;
    HubPublish p = {.channel = text_from(s->channel), .data = TEXT("1")};
    for (int i = 0; i < EACH && !s->stop; i++) {
        HubPublished out;
        xs_error err;
        if (!hub_publish(s->w->hub, s->w->space, &p, &out, &err))
            break;
        if (i % 16 == 0)
            usleep(500);
    }
    return NULL;
}

typedef struct Joiner {
    Peer *peer;
    uint64_t from, off[2], last;
    bool resumed[2];
    size_t got;
} Joiner;

static void on_live(void *ctx, const char *json, const xs_frame *frame)
{
    Joiner *j = ctx;
    if (frame->flags & XS_FRAME_RESYNC) {
        for (size_t i = 0; i < 2; i++)
            if (strstr(json, i ? "\"c1\"" : "\"c0\""))
                j->resumed[i] = false;
        return;
    }
    if (!(frame->flags & XS_FRAME_STORED))
        return;
    size_t i = strstr(json, "\"channel\":\"c1\"") != NULL;
    assert_true(frame->seq > j->last);
    /* Two speakers share the numbers, so the channel's own count shows a hole. */
    if (j->off[i] ? frame->off != j->off[i] + 1 : j->resumed[i] && frame->off == 0)
        fail_msg("offset %lu after %lu", (unsigned long)frame->off, (unsigned long)j->off[i]);
    j->off[i] = frame->off;
    j->last = frame->seq;
    j->got++;
}

static void joins_amid_speech(void **state)
{
    (void)state;
    World w;
    open_world(&w, open_channels, &(HubOptions){.ring_events = 1000});
    Speaker speakers[2];
    for (size_t i = 0; i < 2; i++) {
        speakers[i] = (Speaker){.w = &w};
        snprintf(speakers[i].channel, sizeof speakers[i].channel, "c%zu", i);
        assert_int_equal(pthread_create(&speakers[i].thread, NULL, speak, &speakers[i]), 0);
    }
    Joiner *joiners = calloc(AT_ONCE, sizeof *joiners);
    assert_non_null(joiners);
    size_t resumed = 0, late = 0, frames = 0;
    int64_t begin = clock_mono_ms();
    for (int batch = 0; batch < JOINS / AT_ONCE; batch++) {
        for (int i = 0; i < AT_ONCE; i++) {
            Joiner *j = &joiners[i];
            uint64_t epoch, seq;
            char query[128], name[17];
            *j = (Joiner){.peer = connect_user(&w, i & 1, 0)};
            const xs_host *host = &j->peer->shard->host;
            host->position(j->peer->conn, &epoch, &seq);
            epoch_write(epoch, name);
            j->from = j->last = seq > (uint64_t)i ? seq - (uint64_t)i : 0;
            snprintf(query, sizeof query,
                     "{\"channel\":[\"c0\",\"c1\"],\"last_event_id\":[\"%s.%lu\"]}", name,
                     (unsigned long)j->from);
            xs_request *r = make_request(&w, 0, query);
            j->peer->on_frame = on_live;
            j->peer->ctx = j;
            j->resumed[0] = j->resumed[1] = host->resume_state(j->peer->conn, r) == XS_RESUME_OK;
            bool promised = j->resumed[0];
            host->join_listed(j->peer->conn, r);
            resumed += promised;
            if (promised) {
                /* Both channels together have no hole behind the position. While this thread waited
                 * the ring may have moved on: then it was told. */
                bool kept = j->resumed[0] && j->resumed[1];
                assert_true(!kept || (j->last >= seq && j->got == j->last - j->from));
                late += !kept;
            }
            request_unref(r);
        }
        pump(&w);
        for (int i = 0; i < AT_ONCE; i++) {
            Joiner *j = &joiners[i];
            if (j->resumed[0] && j->resumed[1] && j->got)
                assert_int_equal(j->got, j->last - j->from);
            frames += j->got;
            hang_up(j->peer);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        speakers[i].stop = true;
        pthread_join(speakers[i].thread, NULL);
    }
    print_message(
        "%d joins of two channels in %d ms amid %lu events: %zu resumed, %zu told of a gap, "
        "%zu events without a hole or a repeat\n",
        JOINS, (int)(clock_mono_ms() - begin), (unsigned long)w.space->seq, resumed - late,
        JOINS - resumed + late, frames);
    assert_true(resumed > JOINS / 2 && late < JOINS / 10);
    assert_true(frames > JOINS);
    free(joiners);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_silently),
        cmocka_unit_test(joins_amid_speech),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
