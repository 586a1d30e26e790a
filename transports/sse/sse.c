/* sse.c - Server-Sent Events on the host's HTTP loop.
 *
 * The host sends the response head and lends the socket; events go out as ready-made chunks, all
 * that are queued with one system call. Nothing is freed inside a callback: ended streams are
 * reaped afterwards. Thread: the HTTP loop for everything but create and stats. Specification:
 * realtime.md §7. */
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "transports/common/exchange.h"
#include "transports/common/queue.h"
#include "transports/common/wheel.h"
#include "transports/common/wire.h"

enum {
    RETRY_MS = 3000,    /* ± 20 % per stream */
    RETRY_MIN_MS = 500, /* what a client may ask for */
    RETRY_MAX_MS = 60000,
    BUSY_RETRY_MS = 15000, /* overload or drain: up to twice this */
    PAD_BYTES = 2048,
    CLOSE_WAIT_MS = 2000, /* for the bye to go out */
    FLUSH_EARLY_FRAMES = 64,
    FLUSH_EARLY_BYTES = 131072
};

enum { CLOSE_ABNORMAL = 1006, CLOSE_RESTART = 1012, CLOSE_BUSY = 1013 };

typedef struct Sse Sse;

typedef struct Stream {
    /* what a burst touches, in one line of cache */
    int fd; /* -1 before the first on_writable */
    bool dirty, blocked, slow, closing, joining;
    xs_http *x; /* NULL: the exchange is over */
    int64_t wrote_ms, progress_ms;
    Queue q;
    Sse *sse;
    Timer check;
    struct Stream *prev, *next;
    struct Stream *next_dirty;
    xs_conn *conn; /* NULL: never admitted, or gone was told */
    int close_code;
    uint32_t retry_ms;
    int64_t close_ms, end_ms;
} Stream;

struct Sse {
    const xs_host *host;
    Stream *streams, *dirty;
    Wheel checks;
    uint32_t check_ms; /* between two of a stream */
    bool draining;
    int64_t drain_start_ms;
    uint32_t drain_ms;
    uint64_t drain_total, drain_closed;
    Counter connections, opened, closed;
    QueueCount count;
    QueueShown shown;
    Counter slow_closed, refused, queued_bytes;
};

static void mark_dirty(Sse *sse, Stream *s)
{
    if (s->dirty)
        return;
    s->dirty = true;
    s->next_dirty = sse->dirty;
    sse->dirty = s;
}

/* Queue a block of our own; text without chunk framing. */
static xs_wire *make_block(const Out *text)
{
    char head[24];
    int n = snprintf(head, sizeof head, "%zx\r\n", text->len);
    if (text->failed || !text->len)
        return NULL;
    return wire_join((xs_str){head, (size_t)n}, (xs_str){text->ptr, text->len}, str_from("\r\n"));
}

static void push_block(Sse *sse, Stream *s, Out *text)
{
    xs_wire *w = make_block(text);
    free(text->ptr);
    if (queue_push_take(&s->q, w))
        mark_dirty(sse, s);
}

static void out_id(Out *o, uint64_t epoch, uint64_t seq)
{
    out_printf(o, "id: %016llx.%llu\n", (unsigned long long)epoch, (unsigned long long)seq);
}

/* --- writing --- */

static void end_stream(Sse *sse, Stream *s)
{
    if (s->x)
        sse->host->http->stream_end(s->x);
    s->x = NULL;
    s->fd = -1;
    s->closing = true;
    mark_dirty(sse, s); /* reaped at the end of the turn */
}

static void after_write(Sse *sse, Stream *s, QueueResult result)
{
    if (result == QUEUE_BLOCKED) {
        s->blocked = true;
        sse->host->http->want_write(s->x, true);
    } else if (result == QUEUE_BROKEN || s->closing) {
        end_stream(sse, s); /* dead, or the bye is out */
    }
}

static void write_stream(Sse *sse, Stream *s)
{
    if (!s->x || s->fd < 0 || s->blocked)
        return;
    const xs_host *host = sse->host;
    size_t before = s->q.bytes;
    QueueResult result = queue_write(&s->q, host, s->fd, &sse->count);
    if (s->q.bytes != before)
        s->wrote_ms = s->progress_ms = host->now_ms();
    after_write(sse, s, result);
    if (s->q.counted || s->q.bytes)
        queue_count(&s->q, &sse->queued_bytes);
    if (s->slow && s->conn && s->x && !queue_is_slow(&s->q, host->limits)) {
        s->slow = false;
        host->writable(s->conn);
    }
}

static void tell_gone(Sse *sse, Stream *s)
{
    xs_conn *conn = s->conn;
    if (!conn)
        return;
    s->conn = NULL;
    counter_add(&sse->closed, 1);
    counter_add(&sse->connections, (uint64_t)-1);
    sse->host->gone(conn, s->close_code ? s->close_code : CLOSE_ABNORMAL);
}

static void reap(Sse *sse, Stream *s)
{
    tell_gone(sse, s);
    queue_deinit(&s->q, sse->host);
    queue_count(&s->q, &sse->queued_bytes);
    timer_unset(&s->check);
    *(s->prev ? &s->prev->next : &sse->streams) = s->next;
    if (s->next)
        s->next->prev = s->prev;
    free(s);
}

/* Write what is queued; streams that are over leave. gone() may make others dirty. */
static void flush_dirty(Sse *sse)
{
    while (sse->dirty) {
        Stream *s = sse->dirty;
        sse->dirty = s->next_dirty;
        s->dirty = false;
        if (s->x)
            write_stream(sse, s); /* may end it, and list it again */
        else
            reap(sse, s);
    }
    queue_show(&sse->shown, &sse->count);
}

static void on_writable(void *peer);
static void on_closed(void *peer);
static const xs_http_events stream_events = {on_writable, on_closed};

static void on_writable(void *peer)
{
    Stream *s = (Stream *)peer;
    Sse *sse = s->sse;
    if (s->fd < 0 && s->x) {
        /* Nobody answers a heartbeat but the peer's TCP: one that is silent has gone. */
        unsigned silence_ms = sse->host->limits->stall_ms;
        s->fd = sse->host->http->stream_fd(s->x);
        if (s->fd >= 0 && silence_ms)
            setsockopt(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
    }
    s->blocked = false;
    s->progress_ms = sse->host->now_ms();
    mark_dirty(sse, s);
    flush_dirty(sse);
}

static void on_closed(void *peer)
{
    Stream *s = (Stream *)peer;
    s->x = NULL;
    s->fd = -1;
    s->closing = true;
    mark_dirty(s->sse, s);
}

/* --- closing --- */

static void close_stream(Sse *sse, Stream *s, int code, const char *reason, uint32_t retry_ms)
{
    if (s->closing)
        return;
    s->closing = true;
    s->close_code = code;
    s->close_ms = sse->host->now_ms();
    if (s->blocked)
        queue_drop(&s->q, sse->host);
    Out text = {0};
    out_printf(&text, "retry: %u\nevent: bye\ndata: {\"reason\":", retry_ms);
    out_json(&text, str_from(reason));
    out_printf(&text, ",\"retry\":%u}\n\n", retry_ms);
    push_block(sse, s, &text);
    if (!s->q.unchunk) /* the end of a chunked body */
        queue_push_take(&s->q, wire_join(str_from("0\r\n\r\n"), (xs_str){0}, (xs_str){0}));
    mark_dirty(sse, s);
}

static const char *reason_of(int code, const char *reason)
{
    switch (code) {
    case CLOSE_RESTART: return "restart";
    case CLOSE_BUSY: return "slow";
    case 4000: return "reconnect";
    default: return reason && *reason ? reason : "closed";
    }
}

/* --- opening --- */

/* False: what the client asks for is no such time. */
static bool retry_time(const xs_host *host, xs_request *req, uint32_t *out)
{
    xs_str asked = host->request_query(req, "retry", 0);
    uint64_t ms = RETRY_MS;
    size_t at = 0;
    if (asked.ptr && (!parse_digits(asked, &at, 10, &ms) || at != asked.len || ms < RETRY_MIN_MS ||
                      ms > RETRY_MAX_MS))
        return false;
    *out = (uint32_t)(ms - ms / 5) + random_below(host, (uint32_t)ms * 2 / 5 + 1);
    return true;
}

static Stream *stream_new(Sse *sse, xs_http *x, uint32_t retry_ms)
{
    Stream *s = (Stream *)calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->sse = sse;
    s->x = x;
    s->fd = -1;
    s->retry_ms = retry_ms;
    s->wrote_ms = s->progress_ms = sse->host->now_ms();
    return s;
}

static void plan_check(Sse *sse, Stream *s, int64_t now)
{
    int64_t next = now + sse->check_ms;
    timer_set(&sse->checks, &s->check, s->end_ms && s->end_ms < next ? s->end_ms : next);
}

static void link_stream(Sse *sse, Stream *s)
{
    s->next = sse->streams;
    if (sse->streams)
        sse->streams->prev = s;
    sse->streams = s;
    plan_check(sse, s, s->wrote_ms);
}

static void begin(Sse *sse, Stream *s)
{
    static const xs_header headers[] = {
        {"Content-Type", "text/event-stream; charset=utf-8"},
        {"Cache-Control", "no-cache, no-store, no-transform"},
        {"X-Accel-Buffering", "no"},
    };
    link_stream(sse, s);
    s->q.unchunk = !sse->host->http->stream_chunked(s->x);
    sse->host->http->stream(s->x, 200, headers, sizeof headers / sizeof *headers, s,
                            &stream_events);
}

/* EventSource gives up on anything but 200, so a busy server says it inside a stream. */
static void answer_busy(Sse *sse, xs_http *x, xs_request *req, const char *reason)
{
    const xs_host *host = sse->host;
    uint32_t retry = BUSY_RETRY_MS + random_below(host, BUSY_RETRY_MS);
    counter_add(&sse->refused, 1);
    Stream *s = host->request_header(req, "Origin").len ? stream_new(sse, x, retry) : NULL;
    if (!s) {
        reply_json(host, x, 503, reason, retry / 1000);
        return;
    }
    begin(sse, s);
    close_stream(sse, s, CLOSE_RESTART, reason, retry);
}

/* retry and the open event, in front of the frames of the listed joins. */
static void push_open(Sse *sse, Stream *s, xs_request *req)
{
    const xs_host *host = sse->host;
    uint64_t epoch = 0, seq = 0, from_epoch, from_seq;
    host->position(s->conn, &epoch, &seq);
    xs_resume_state state =
        XS_HAS(host, resume_state) ? host->resume_state(s->conn, req) : XS_RESUME_NONE;
    xs_str given = host->request_header(req, "Last-Event-ID");
    if (!given.len)
        given = host->request_query(req, "last_event_id", 0);
    if (state == XS_RESUME_OK && parse_position(given, &from_epoch, &from_seq, NULL))
        seq = from_seq; /* a cut during the replay must not skip it */
    static const char *const names[] = {
        [XS_RESUME_NONE] = "none", [XS_RESUME_OK] = "ok", [XS_RESUME_GAP] = "gap"};
    Out text = {0};
    xs_str pad = host->request_query(req, "pad", 0);
    if (pad.len == 1 && *pad.ptr == '1') {
        out_text(&text, ":");
        for (int i = 0; i < PAD_BYTES; i++)
            out_text(&text, " ");
        out_text(&text, "\n");
    }
    out_printf(&text, "retry: %u\n", s->retry_ms);
    out_id(&text, epoch, seq);
    out_text(&text, "event: open\ndata: {\"sid\":");
    out_json(&text, host->conn_sid(s->conn));
    out_printf(&text, ",\"epoch\":\"%016llx\",\"seq\":\"%llu\",\"resume\":\"%s\",\"ping\":%u,",
               (unsigned long long)epoch, (unsigned long long)seq, names[state],
               (host->limits->ping_ms + 999) / 1000);
    out_text(&text, "\"send\":");
    Out send = {0};
    out_str(&send, host->request_base(req));
    out_text(&send, "/send");
    out_json(&text, (xs_str){send.ptr, send.len});
    text.failed = text.failed || send.failed;
    free(send.ptr);
    out_text(&text, "}\n\n");
    push_block(sse, s, &text);
}

static void sse_http(void *state, xs_http *x, xs_request *req)
{
    Sse *sse = (Sse *)state;
    const xs_host *host = sse->host;
    if (strcmp(host->http->method(x), "GET") != 0) {
        reply_json(host, x, 405, "Use GET", 0);
        return;
    }
    if (sse->draining) {
        answer_busy(sse, x, req, "restart");
        return;
    }
    uint32_t retry_ms;
    if (!retry_time(host, req, &retry_ms)) {
        reply_json(host, x, 400, "Bad retry parameter", 0);
        return;
    }
    Stream *s = stream_new(sse, x, retry_ms);
    if (!s) {
        reply_json(host, x, 503, "Out of memory", 1);
        return;
    }
    xs_refusal why = {.status = 401};
    s->conn = host->connect(host->shard, s, req, &why);
    if (!s->conn) {
        queue_deinit(&s->q, host);
        free(s);
        if (why.status == 503 || why.status == 429) {
            answer_busy(sse, x, req, "overload");
            return;
        }
        counter_add(&sse->refused, 1);
        reply_json(host, x, why.status ? why.status : 401, why.message, 0);
        return;
    }
    counter_add(&sse->opened, 1);
    counter_add(&sse->connections, 1);
    if (host->limits->sse_max_age_ms) {
        uint32_t age = host->limits->sse_max_age_ms;
        s->end_ms = s->wrote_ms + age - age / 10 + random_below(host, age / 5 + 1);
    }
    begin(sse, s);
    push_open(sse, s, req);
    s->joining = true;
    host->join_listed(s->conn, req);
    s->joining = false;
    flush_dirty(sse);
}

/* --- delivering --- */

static xs_deliver_result sse_deliver(void *state, void *peer, xs_frame *frame)
{
    Sse *sse = (Sse *)state;
    Stream *s = (Stream *)peer;
    if (s->closing)
        return XS_SENT;
    const xs_wire *wire = sse->host->wire(frame, XS_WIRE_SSE_CHUNK);
    if (!wire)
        return XS_FULL;
    bool stuck = s->blocked || s->fd < 0;
    /* The replay of the listed joins is bounded by the hub and comes before the socket is ours. */
    if (stuck && frame->flags & XS_FRAME_CONFLATE && XS_HAS(sse->host, skipped))
        queue_conflate(&s->q, sse->host, s->conn, frame);
    if (stuck && !s->joining &&
        !queue_fits(&s->q, sse->host, s->conn, XS_WIRE_SSE_CHUNK, wire->len)) {
        counter_add(&sse->slow_closed, 1);
        return XS_FULL;
    }
    if (!s->q.count)
        s->progress_ms = sse->host->now_ms();
    if (!queue_push(&s->q, sse->host, frame, wire))
        return XS_FULL;
    if (stuck)
        queue_count(&s->q, &sse->queued_bytes);
    if (!stuck && (s->q.count >= FLUSH_EARLY_FRAMES || s->q.bytes >= FLUSH_EARLY_BYTES))
        write_stream(sse, s);
    else
        mark_dirty(sse, s);
    if (s->blocked && queue_is_slow(&s->q, sse->host->limits)) {
        s->slow = true;
        return XS_QUEUED;
    }
    return XS_SENT;
}

static xs_deliver_result sse_burst(void *state, void *peer, const xs_burst *burst)
{
    Sse *sse = (Sse *)state;
    Stream *s = (Stream *)peer;
    if (s->closing)
        return XS_SENT;
    if (!s->x || s->fd < 0 || s->blocked || s->q.count || s->q.unchunk) {
        xs_deliver_result result = XS_SENT;
        for (uint32_t i = 0; i < burst->n && result != XS_FULL; i++)
            result = sse_deliver(state, peer, burst->frames[i]);
        return result;
    }
    QueueResult result = queue_burst(&s->q, sse->host, s->fd, burst, &sse->count);
    s->wrote_ms = s->progress_ms = burst->now_ms;
    after_write(sse, s, result);
    if (result == QUEUE_BLOCKED)
        queue_count(&s->q, &sse->queued_bytes);
    return XS_SENT;
}

static void sse_flush(void *state)
{
    flush_dirty((Sse *)state);
}

static void sse_close(void *state, void *peer, int code, const char *reason)
{
    Sse *sse = (Sse *)state;
    Stream *s = (Stream *)peer;
    close_stream(sse, s, code, reason_of(code, reason), s->retry_ms);
}

static void sse_resume(void *state, void *peer)
{
    (void)state; /* clients send over /send, which the host answers */
    (void)peer;
}

/* --- time --- */

static void heartbeat(Sse *sse, Stream *s)
{
    uint64_t epoch = 0, seq = 0;
    sse->host->position(s->conn, &epoch, &seq);
    Out text = {0};
    out_text(&text, ": hb\n");
    out_id(&text, epoch, seq);
    out_text(&text, "\n");
    push_block(sse, s, &text);
    s->wrote_ms = sse->host->now_ms();
}

static void check_stream(Sse *sse, Stream *s, int64_t now)
{
    const xs_limits *limits = sse->host->limits;
    if (s->closing) {
        if (s->x && now - s->close_ms > CLOSE_WAIT_MS)
            end_stream(sse, s);
        return;
    }
    if (s->q.count && limits->stall_ms && now - s->progress_ms > limits->stall_ms) {
        counter_add(&sse->slow_closed, 1);
        end_stream(sse, s);
    } else if (s->end_ms && now >= s->end_ms) {
        close_stream(sse, s, CLOSE_RESTART, "lifetime", s->retry_ms);
    } else if (!s->q.count && s->fd >= 0 && limits->ping_ms &&
               now - s->wrote_ms >= limits->ping_ms) {
        heartbeat(sse, s);
    }
}

static void drain_step(Sse *sse, int64_t now)
{
    uint64_t due = drain_due(sse->drain_total, sse->drain_ms, now - sse->drain_start_ms);
    for (Stream *s = sse->streams; s && sse->drain_closed < due; s = s->next) {
        if (s->closing)
            continue;
        sse->drain_closed++;
        close_stream(sse, s, CLOSE_RESTART, "restart", s->retry_ms);
    }
}

static void sse_tick(void *state)
{
    Sse *sse = (Sse *)state;
    int64_t now = sse->host->now_ms();
    for (Timer *t; (t = wheel_due(&sse->checks, now));) {
        Stream *s = (Stream *)(void *)((char *)t - offsetof(Stream, check));
        plan_check(sse, s, now);
        check_stream(sse, s, now);
    }
    if (sse->draining)
        drain_step(sse, now);
    flush_dirty(sse);
}

static size_t sse_queued(void *state, void *peer)
{
    (void)state;
    return ((const Stream *)peer)->q.bytes;
}

static void sse_drain(void *state, uint32_t deadline_ms)
{
    Sse *sse = (Sse *)state;
    if (sse->draining)
        return;
    sse->draining = true;
    sse->drain_start_ms = sse->host->now_ms();
    sse->drain_ms = deadline_ms;
    sse->drain_total = counter_get(&sse->connections);
    sse_tick(sse);
}

/* --- life --- */

static void *sse_create(const xs_host *host, xs_error *err)
{
    Sse *sse = (Sse *)calloc(1, sizeof *sse);
    if (!sse) {
        plugin_fail(err, XS_E_NOMEM, "out of memory");
        return NULL;
    }
    sse->host = host;
    sse->check_ms = wheel_period(host->limits->ping_ms, host->limits->stall_ms);
    wheel_init(&sse->checks, host->now_ms());
    return sse;
}

static void sse_stop(void *state)
{
    (void)state; /* no thread of its own; destroy ends what is open */
}

static void sse_destroy(void *state)
{
    Sse *sse = (Sse *)state;
    if (!sse)
        return;
    for (Stream *s = sse->streams; s; s = s->next)
        if (s->x)
            end_stream(sse, s);
    flush_dirty(sse);
    free(sse);
}

static void sse_stats(void *state, xs_transport_stats *out)
{
    Sse *sse = (Sse *)state;
    *out = (xs_transport_stats){
        .connections = counter_get(&sse->connections),
        .opened = counter_get(&sse->opened),
        .closed = counter_get(&sse->closed),
        .frames_out = counter_get(&sse->shown.frames),
        .bytes_out = counter_get(&sse->shown.bytes),
        .writes = counter_get(&sse->shown.writes),
        .partial_writes = counter_get(&sse->shown.partial),
        .slow_closed = counter_get(&sse->slow_closed),
        .handshake_failed = counter_get(&sse->refused),
        .queued_bytes = counter_get(&sse->queued_bytes),
    };
}

static const xs_transport_ops ops = {
    .size = sizeof ops,
    .format = XS_WIRE_SSE_CHUNK,
    .info_name = "sse",
    .create = sse_create,
    .http = sse_http,
    .deliver = sse_deliver,
    .flush = sse_flush,
    .resume = sse_resume,
    .close = sse_close,
    .drain = sse_drain,
    .stop = sse_stop,
    .destroy = sse_destroy,
    .stats = sse_stats,
    .burst = sse_burst,
    .queued = sse_queued,
    .tick = sse_tick,
};
XS_PLUGIN_DEFINE(sse, XS_PLUGIN_TRANSPORT, "Server-Sent Events", "1.0", &ops);
