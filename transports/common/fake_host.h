/* fake_host.h - for the transports' unit tests: a host without a hub. One per test program.
 *
 * Frames carry whatever JSON a test gives them; posted functions run on the shard's thread at its
 * next drain; what the transport reports is recorded under a lock. */
#ifndef TRANSPORTS_COMMON_FAKE_HOST_H
#define TRANSPORTS_COMMON_FAKE_HOST_H

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "include/xs/transport.h"
#include "transports/common/clock.h"

#define FAKE_UNUSED __attribute__((unused))

enum { FAKE_CONNS = 64, FAKE_POSTS = 4096 };

struct xs_request {
    _Atomic uint32_t refs;
    const char *token, *base;
    const char *query[16][2]; /* name, value */
    const char *header[8][2];
    bool refuse;
};

struct xs_conn {
    void *peer;
    char sid[32];
    bool gone;
    int gone_code;
    unsigned writable;
};

typedef struct FakePost {
    void (*fn)(void *arg);
    void *arg;
} FakePost;

typedef struct Fake {
    xs_host host;
    xs_limits limits;
    const xs_transport_ops *ops;
    void *state;
    int wake;
    pthread_mutex_t lock;
    FakePost posts[FAKE_POSTS];
    unsigned post_count;
    struct xs_conn conns[FAKE_CONNS];
    _Atomic unsigned conn_count, gone_count, frame_count;
    char last_frame[256];
    size_t last_len;
    bool echo;             /* deliver every client frame back to its sender */
    bool stop_one;         /* answer XS_FRAME_STOP to the next frame */
    const char *join_json; /* delivered by join_listed, may hold several separated by newlines */
    uint64_t epoch, seq;
    uint32_t to_list;
    _Atomic int frames_alive;
} Fake;

static Fake fake;

static FAKE_UNUSED xs_frame *fake_frame(const char *json, uint64_t seq)
{
    size_t len = strlen(json);
    xs_frame *f = (xs_frame *)calloc(1, sizeof *f + len + 1);
    assert(f);
    f->refs = 1;
    f->seq = seq;
    f->epoch = fake.epoch;
    f->flags = seq ? XS_FRAME_STORED : 0;
    memcpy(f + 1, json, len);
    f->json = (xs_str){(char *)(f + 1), len};
    fake.frames_alive++;
    return f;
}

static xs_frame *fake_frame_ref(xs_frame *f)
{
    f->refs++;
    return f;
}

static void fake_frame_unref(xs_frame *f)
{
    if (--f->refs)
        return;
    for (unsigned i = 0; i < XS_WIRE_COUNT; i++)
        free(f->wire[i]);
    free(f);
    fake.frames_alive--;
}

static const xs_wire *fake_wire(xs_frame *f, xs_wire_format format)
{
    if (f->wire[format])
        return f->wire[format];
    char head[64] = "";
    size_t n = 0;
    const char *tail = "";
    if (format == XS_WIRE_WS_TEXT) {
        head[n++] = (char)0x81;
        if (f->json.len < 126) {
            head[n++] = (char)f->json.len;
        } else if (f->json.len < 65536) {
            head[n++] = 126;
            head[n++] = (char)(f->json.len >> 8);
            head[n++] = (char)f->json.len;
        } else {
            head[n++] = 127;
            for (int shift = 56; shift >= 0; shift -= 8)
                head[n++] = (char)(f->json.len >> shift);
        }
    } else if (format == XS_WIRE_SSE_CHUNK) {
        char id[48] = "";
        if (f->seq)
            snprintf(id, sizeof id, "id: %016llx.%llu\n", (unsigned long long)f->epoch,
                     (unsigned long long)f->seq);
        n = (size_t)snprintf(head, sizeof head, "%zx\r\n%sdata: ", strlen(id) + 6 + f->json.len + 2,
                             id);
        tail = "\n\n\r\n";
    }
    xs_wire *w = (xs_wire *)malloc(sizeof *w + n + f->json.len + strlen(tail));
    assert(w);
    w->len = n + f->json.len + strlen(tail);
    memcpy(w->bytes, head, n);
    memcpy(w->bytes + n, f->json.ptr, f->json.len);
    memcpy(w->bytes + n + f->json.len, tail, strlen(tail));
    f->wire[format] = w;
    return w;
}

/** Deliver JSON to the peer and do with the answer what a hub does. Shard thread. */
static FAKE_UNUSED xs_deliver_result fake_deliver(struct xs_conn *c, const char *json, uint64_t seq)
{
    xs_frame *f = fake_frame(json, seq);
    if (seq)
        fake.seq = seq;
    xs_deliver_result r = fake.ops->deliver(fake.state, c->peer, f);
    fake_frame_unref(f);
    if (r == XS_FULL)
        fake.ops->close(fake.state, c->peer, 1013, "slow consumer");
    return r;
}

static xs_conn *fake_connect(xs_shard *shard, void *peer, xs_request *req, xs_refusal *why)
{
    (void)shard;
    if (req->refuse) {
        *why = (xs_refusal){4401, 401, "Unknown connection hash"};
        return NULL;
    }
    pthread_mutex_lock(&fake.lock);
    struct xs_conn *c = &fake.conns[fake.conn_count++ % FAKE_CONNS];
    *c = (struct xs_conn){.peer = peer};
    snprintf(c->sid, sizeof c->sid, "0a3sid%u", fake.conn_count);
    pthread_mutex_unlock(&fake.lock);
    return c;
}

static xs_frame_result fake_client_frame(xs_conn *c, const char *data, size_t len)
{
    pthread_mutex_lock(&fake.lock);
    fake.frame_count++;
    fake.last_len = len;
    snprintf(fake.last_frame, sizeof fake.last_frame, "%.*s", (int)len, data);
    bool stop = fake.stop_one, echo = fake.echo;
    fake.stop_one = false;
    pthread_mutex_unlock(&fake.lock);
    if (echo) {
        char *copy = (char *)malloc(len + 1);
        assert(copy);
        memcpy(copy, data, len);
        copy[len] = 0;
        fake_deliver(c, copy, 0);
        free(copy);
    }
    return stop ? XS_FRAME_STOP : XS_FRAME_OK;
}

static void fake_gone(xs_conn *c, int code)
{
    pthread_mutex_lock(&fake.lock);
    assert(!c->gone);
    c->gone = true;
    c->gone_code = code;
    fake.gone_count++;
    pthread_mutex_unlock(&fake.lock);
}

static void fake_writable(xs_conn *c)
{
    pthread_mutex_lock(&fake.lock);
    c->writable++;
    pthread_mutex_unlock(&fake.lock);
}

static int fake_wake_fd(xs_shard *shard)
{
    (void)shard;
    return fake.wake;
}

static void fake_drain(xs_shard *shard)
{
    (void)shard;
    uint64_t n;
    if (read(fake.wake, &n, sizeof n) < 0)
        n = 0;
    for (unsigned i = 0;; i++) {
        pthread_mutex_lock(&fake.lock);
        bool more = i < fake.post_count;
        FakePost post = more ? fake.posts[i] : (FakePost){0};
        if (!more)
            fake.post_count = 0;
        pthread_mutex_unlock(&fake.lock);
        if (!more)
            break;
        post.fn(post.arg);
    }
    fake.ops->flush(fake.state);
}

/** Run fn on the shard's thread. */
static FAKE_UNUSED void fake_post(void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&fake.lock);
    assert(fake.post_count < FAKE_POSTS);
    fake.posts[fake.post_count++] = (FakePost){fn, arg};
    pthread_mutex_unlock(&fake.lock);
    uint64_t one = 1;
    if (write(fake.wake, &one, sizeof one) < 0)
        abort();
}

static FAKE_UNUSED xs_request *fake_request(const char *token)
{
    xs_request *r = (xs_request *)calloc(1, sizeof *r);
    assert(r);
    r->refs = 1;
    r->token = token;
    r->base = "/rt/test";
    return r;
}

static void fake_request_unref(xs_request *r)
{
    if (--r->refs == 0)
        free(r);
}

static xs_str fake_str(const char *s)
{
    return s ? (xs_str){s, strlen(s)} : (xs_str){0};
}

static xs_str fake_token(xs_request *r)
{
    return fake_str(r->token);
}

static xs_str fake_query(xs_request *r, const char *name, unsigned index)
{
    for (unsigned i = 0; i < 16 && r->query[i][0]; i++)
        if (strcmp(r->query[i][0], name) == 0 && index-- == 0)
            return fake_str(r->query[i][1]);
    return (xs_str){0};
}

static xs_str fake_header(xs_request *r, const char *name)
{
    for (unsigned i = 0; i < 8 && r->header[i][0]; i++)
        if (strcasecmp(r->header[i][0], name) == 0)
            return fake_str(r->header[i][1]);
    return (xs_str){0};
}

static xs_str fake_base(xs_request *r)
{
    return fake_str(r->base);
}

static xs_str fake_sid(xs_conn *c)
{
    return fake_str(c->sid);
}

static void fake_position(xs_conn *c, uint64_t *epoch, uint64_t *seq)
{
    (void)c;
    *epoch = fake.epoch;
    *seq = fake.seq;
}

static uint32_t fake_to_list(xs_conn *c)
{
    (void)c;
    return fake.to_list;
}

static void fake_join_listed(xs_conn *c, xs_request *req)
{
    (void)req;
    if (fake.join_json)
        fake_deliver(c, fake.join_json, 0);
}

static void fake_random(void *out, size_t n)
{
    memset(out, 0x5A, n);
}

XS_PRINTF(2, 3) static void fake_log(int level, const char *fmt, ...)
{
    (void)level;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static FAKE_UNUSED bool fake_wait(const _Atomic unsigned *counter, unsigned want)
{
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&fake.lock);
        bool ok = *counter >= want;
        pthread_mutex_unlock(&fake.lock);
        if (ok)
            return true;
        poll(NULL, 0, 10);
    }
    return false;
}

/** A fresh host with generous limits; tests change fake.limits before they create the transport. */
static FAKE_UNUSED void fake_init(const xs_transport_ops *ops)
{
    memset(&fake, 0, sizeof fake);
    fake.ops = ops;
    fake.epoch = 0x9f02c41be77a3d10u;
    fake.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&fake.lock, NULL);
    fake.limits = (xs_limits){
        .max_message = 65536,
        .queue_soft_bytes = 262144,
        .queue_hard_bytes = 1048576,
        .queue_hard_frames = 1024,
        .ping_ms = 25000,
        .pong_timeout_ms = 10000,
        .stall_ms = 30000,
        .lp_linger_ms = 10,
        .lp_session_ms = 60000,
        .sse_max_age_ms = 3600000,
    };
    fake.host = (xs_host){
        .size = sizeof fake.host,
        .limits = &fake.limits,
        .connect = fake_connect,
        .frame = fake_client_frame,
        .gone = fake_gone,
        .writable = fake_writable,
        .wake_fd = fake_wake_fd,
        .drain = fake_drain,
        .wire = fake_wire,
        .frame_ref = fake_frame_ref,
        .frame_unref = fake_frame_unref,
        .request_unref = fake_request_unref,
        .request_token = fake_token,
        .request_query = fake_query,
        .request_header = fake_header,
        .request_base = fake_base,
        .conn_sid = fake_sid,
        .position = fake_position,
        .join_listed = fake_join_listed,
        .now_ms = transport_mono_ms,
        .random = fake_random,
        .log = fake_log,
        .to_list = fake_to_list,
    };
}

static FAKE_UNUSED void fake_deinit(void)
{
    close(fake.wake);
    pthread_mutex_destroy(&fake.lock);
    assert(fake.frames_alive == 0);
}

#endif
