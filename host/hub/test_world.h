/* test_world.h - a hub with two shards over a transport that remembers every frame, for the tests
 * of this folder. Header-only; thread: the test's. */
#ifndef HOST_HUB_TEST_WORLD_H
#define HOST_HUB_TEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/hub.h"
#include "host/hub/protocol.h"

/* ---- a transport that remembers ---- */

typedef struct Peer {
    struct Shard *shard;
    xs_conn *conn;
    void (*on_frame)(void *ctx, const char *json,
                     const xs_frame *frame); /* instead of keeping it */
    void *ctx;
    char **got;
    uint64_t *seq, *off;
    uint32_t *flags;
    size_t count, seen, cap;
    int closed;
    bool full, resumed;
    bool queued; /* slow: keeps frames and says XS_QUEUED */
    bool keep;   /* references of numbered frames */
    xs_frame *kept[8];
    size_t nkept;
    const char *reply; /* sent from within the next deliver */
    size_t queued_bytes;
} Peer;

typedef struct Shard {
    xs_host host;
    xs_shard *shard;
    unsigned flushes;
} Shard;

static inline xs_deliver_result t_deliver(void *state, void *peer, xs_frame *frame)
{
    Peer *p = peer;
    Shard *s = state;
    if (p->full)
        return XS_FULL;
    assert_int_equal(p->closed, 0);
    const xs_wire *w = s->host.wire(frame, XS_WIRE_LP_ITEM);
    if (!w)
        return XS_FULL; /* out of memory */
    char *copy = malloc(w->len + 1);
    assert_non_null(copy);
    memcpy(copy, w->bytes, w->len);
    copy[w->len] = '\0';
    if (p->on_frame) {
        p->on_frame(p->ctx, copy, frame);
        free(copy);
        return XS_SENT;
    }
    if (p->count == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->got = realloc(p->got, p->cap * sizeof *p->got);
        p->seq = realloc(p->seq, p->cap * sizeof *p->seq);
        p->off = realloc(p->off, p->cap * sizeof *p->off);
        p->flags = realloc(p->flags, p->cap * sizeof *p->flags);
        assert_true(p->got && p->seq && p->off && p->flags);
    }
    p->seq[p->count] = frame->seq;
    p->off[p->count] = frame->off;
    p->flags[p->count] = frame->flags;
    p->got[p->count++] = copy;
    if (p->keep && frame->seq && p->nkept < COUNT_OF(p->kept))
        p->kept[p->nkept++] = s->host.frame_ref(frame);
    if (p->reply) {
        const char *text = p->reply;
        p->reply = NULL;
        s->host.frame(p->conn, text, strlen(text));
    }
    return p->queued ? XS_QUEUED : XS_SENT;
}

static inline void t_flush(void *state)
{
    ((Shard *)state)->flushes++;
}

static inline void t_close(void *state, void *peer, int code, const char *reason)
{
    Peer *p = peer;
    (void)reason;
    p->closed = code;
    ((Shard *)state)->host.gone(p->conn, code);
    p->conn = NULL;
}

static inline void t_resume(void *state, void *peer)
{
    (void)state;
    ((Peer *)peer)->resumed = true;
}

static inline size_t t_queued(void *state, void *peer)
{
    (void)state;
    return ((const Peer *)peer)->queued_bytes;
}

static const xs_transport_ops test_ops = {
    .size = sizeof test_ops,
    .format = XS_WIRE_LP_ITEM,
    .info_name = "test",
    .deliver = t_deliver,
    .flush = t_flush,
    .close = t_close,
    .resume = t_resume,
    .queued = t_queued,
};

static xs_limits test_limits = {.max_message = 65536};

/* ---- a program's triggers ---- */

typedef struct Triggers {
    const char *want; /* "join message leave": actions that have a trigger */
    HubJob *jobs[64];
    size_t count;
    bool overload;
} Triggers;

static const char *const action_names[] = {"join", "leave", "message"};

static inline bool d_wants(void *ctx, HubAction action, Text channel, Text event)
{
    (void)channel;
    (void)event;
    const char *want = ((Triggers *)ctx)->want;
    return want && strstr(want, action_names[action]);
}

static inline bool d_run(void *ctx, HubJob *job)
{
    Triggers *t = ctx;
    if (t->overload)
        return false;
    assert_true(t->count < COUNT_OF(t->jobs));
    t->jobs[t->count++] = job;
    return true;
}

/* ---- one hub per test ---- */

typedef struct World {
    Arena arena;
    Triggers triggers;
    HubDispatcher dispatcher;
    Hub *hub;
    Space *space;
    Shard shards[2];
    Peer **peers;
    size_t npeers, peers_cap;
} World;

static const char declared[] =
    "[{\"pattern\":\"room:*\",\"active\":true,\"public\":{\"active\":true,\"auth\":true},"
    "\"private\":{\"active\":true,\"auth\":true},\"settings\":{\"anonymous_clients\":true,"
    "\"message_history\":2,\"presence\":true}},"
    "{\"pattern\":\"lobby\",\"active\":true,\"settings\":{\"anonymous_clients\":false,"
    "\"nested_channels\":true,\"message_history\":0}},"
    "{\"pattern\":\"staff\",\"active\":true,\"public\":{\"active\":true,\"auth\":false},"
    "\"settings\":{\"anonymous_clients\":true,\"auth_channel\":true,\"message_history\":25}},"
    "{\"pattern\":\"off\",\"active\":false}]";

/* Bundle metadata of realtime servers; NULL = none. */
static const char *world_meta;

static inline void open_shard(World *w, Shard *s)
{
    xs_error err = {0};
    s->shard = hub_shard_new(w->hub, &test_ops, &test_limits, &s->host, &err);
    assert_non_null(s->shard);
    hub_shard_attach(s->shard, s);
}

static inline void open_world(World *w, const char *channels, const HubOptions *options)
{
    xs_error err = {0};
    HubOptions opt = options ? *options : (HubOptions){0};
    memset(w, 0, sizeof *w);
    arena_init(&w->arena, 0);
    opt.meta = world_meta ? json_parse(&w->arena, text_from(world_meta), &err) : NULL;
    opt.channels = channels ? json_parse(&w->arena, text_from(channels), &err) : NULL;
    opt.frames_per_s = opt.frames_per_s ? opt.frames_per_s : 100000;
    opt.frames_burst = opt.frames_burst ? opt.frames_burst : 100000;
    w->dispatcher = (HubDispatcher){&w->triggers, d_wants, d_run};
    w->hub = hub_new(&opt, &w->dispatcher, &err);
    if (!w->hub)
        fail_msg("%s", err.message);
    w->space = hub_space(w->hub, TEXT(""), TEXT("abc"));
    assert_non_null(w->space);
    for (size_t i = 0; i < COUNT_OF(w->shards); i++)
        open_shard(w, &w->shards[i]);
}

static inline void close_world(World *w)
{
    for (size_t i = 0; i < COUNT_OF(w->shards); i++)
        hub_shard_free(w->shards[i].shard);
    for (size_t i = 0; i < w->triggers.count; i++) { /* those that still run outlive the shards */
        if (w->triggers.jobs[i])
            hub_job_done(w->triggers.jobs[i], HUB_ADMIT, (Text){0});
    }
    hub_free(w->hub);
    for (size_t i = 0; i < w->npeers; i++) {
        Peer *p = w->peers[i];
        for (size_t k = 0; k < p->count; k++)
            free(p->got[k]);
        free(p->got);
        free(p->seq);
        free(p->off);
        free(p->flags);
        free(p);
    }
    free(w->peers);
    arena_deinit(&w->arena);
    assert_int_equal(mem_in_use(), 0);
}

static inline Identity *make_identity(int64_t id)
{
    if (!id)
        return identity_anonymous();
    Arena a;
    xs_error err = {0};
    arena_init(&a, 0);
    Identity *who = identity_new(TEXT("user"), 5, const_int(&a, id),
                                 json_parse(&a, TEXT("{\"role\":\"pilot\"}"), &err));
    arena_deinit(&a);
    return who;
}

/* user 0 = anonymous */
/* HubAuth.check: "user7" is a token of user 7 that ends in a minute. */
static inline Identity *check_token(void *ctx, const Space *space, Text token, int64_t *expires_ms)
{
    (void)ctx;
    (void)space;
    if (!text_starts(token, TEXT("user")))
        return NULL;
    *expires_ms = clock_wall_ms() + 59500;
    return make_identity(token.ptr[4] - '0');
}

static inline xs_request *make_request(World *w, int64_t user, const char *query)
{
    xs_error err = {0};
    xs_request *r = request_new();
    assert_non_null(r);
    r->space = w->space;
    r->identity = make_identity(user);
    r->query = query ? json_parse(&r->arena, text_from(query), &err) : NULL;
    return r;
}

static inline Peer *connect_with(World *w, size_t shard, xs_request *r)
{
    xs_refusal why = {0};
    Peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    if (w->npeers == w->peers_cap) {
        w->peers_cap = w->peers_cap ? w->peers_cap * 2 : 64;
        w->peers = realloc(w->peers, w->peers_cap * sizeof *w->peers);
        assert_non_null(w->peers);
    }
    w->peers[w->npeers++] = p;
    p->shard = &w->shards[shard];
    p->conn = p->shard->host.connect(p->shard->shard, p, r, &why);
    assert_non_null(p->conn);
    return p;
}

static inline Peer *connect_user(World *w, size_t shard, int64_t user)
{
    xs_request *r = make_request(w, user, NULL);
    Peer *p = connect_with(w, shard, r);
    request_unref(r);
    return p;
}

static inline xs_frame_result say(Peer *p, const char *json)
{
    return p->shard->host.frame(p->conn, json, strlen(json));
}

static inline void pump(World *w)
{
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(w->shards); i++)
            w->shards[i].host.drain(w->shards[i].shard);
    }
}

static inline void hang_up(Peer *p)
{
    p->shard->host.gone(p->conn, 1006);
    p->conn = NULL;
}

/* Replace the peers' socket ids in a frame by $1, $2 …, so that expectations can be written. */
static inline char *mask(World *w, const char *json)
{
    char *out = strdup(json);
    assert_non_null(out);
    for (size_t i = 0; i < w->npeers; i++) {
        if (!w->peers[i]->conn)
            continue;
        const char *id = w->peers[i]->conn->socket_id;
        for (char *hit; (hit = strstr(out, id));) {
            hit[0] = '$';
            hit[1] = (char)('1' + i);
            memmove(hit + 2, hit + SOCKET_ID_LEN, strlen(hit + SOCKET_ID_LEN) + 1);
        }
    }
    return out;
}

static inline void expect_line(World *w, Peer *p, const char *json, int line)
{
    if (p->seen >= p->count)
        fail_msg("line %d: nothing came, expected %s", line, json);
    char *got = mask(w, p->got[p->seen++]);
    char *stamp = strstr(got, "\"created_at\":");
    while (stamp) { /* times differ */
        char *digits = stamp + sizeof "\"created_at\":" - 1, *end = digits;
        while (*end >= '0' && *end <= '9')
            end++;
        memmove(digits + 1, end, strlen(end) + 1);
        *digits = 'T';
        stamp = strstr(digits, "\"created_at\":");
    }
    if (strcmp(got, json) != 0)
        fail_msg("line %d:\n     got %s\nexpected %s", line, got, json);
    free(got);
}

#define EXPECT(p, json) expect_line(&w, p, json, __LINE__)
#define NOTHING(p)                                                                                 \
    do {                                                                                           \
        if ((p)->seen < (p)->count)                                                                \
            fail_msg("line %d: unexpected %s", __LINE__, (p)->got[(p)->seen]);                     \
    } while (0)

static inline HubPublished publish(World *w, const char *channel, const char *event,
                                   const char *data)
{
    xs_error err = {0};
    HubPublished out = {0};
    HubPublish p = {
        .channel = text_from(channel), .event = text_from(event), .data = text_from(data)};
    if (!hub_publish(w->hub, w->space, &p, &out, &err))
        fail_msg("%s", err.message);
    return out;
}

static inline void join(World *w, Peer *p, const char *channel)
{
    char frame[256];
    snprintf(frame, sizeof frame, "{\"action\":\"join\",\"options\":{\"channel\":\"%s\"}}",
             channel);
    say(p, frame);
    assert_true(p->count > p->seen);
    assert_non_null(strstr(p->got[p->count - 1], "\"action\":\"join\""));
    p->seen = p->count;
    (void)w;
}

#endif
