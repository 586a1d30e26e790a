/* ws.c - WebSocket transport, in its own thread, on one epoll set.
 *
 * The host accepts sockets, reads the request head, removes Sec-WebSocket-Protocol (the library
 * refuses long ones) and hands both over. The library makes the answer (handshake.h); frames are
 * read and written here. Threads: adopt, stop and stats any; everything else the one that calls
 * run. Specification: realtime.md §3.1, §10, §12. */
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "transports/ws/conn.h"
#include "transports/ws/deflate.h"

enum {
    READY_MAX = 256, /* connections of one turn */
    SWEEP_MAX_MS = 1000,
    SWEEP_MIN_MS = 10
};

typedef struct Adopted {
    struct Adopted *next;
    int fd;
    xs_request *req;
    size_t len;
    char head[];
} Adopted;

typedef struct WsState {
    Ws ws;
    int wake;    /* eventfd: sockets to adopt, or stop */
    int mailbox; /* the host's */
    int64_t sweep_ms, next_sweep_ms;
    pthread_mutex_t lock; /* adopted, stopped */
    Adopted *adopted, **adopted_end;
    bool stopped;
} WsState;

/* Cutting a connection tells the hub, which may have news for others: repeat until all is quiet. */
static void turn_end(WsState *s)
{
    Ws *ws = &s->ws;
    do {
        for (uint32_t i = 0; i < ws->resumed.count; i++)
            if (ws->resumed.items[i])
                ws_conn_go_on(ws->resumed.items[i]);
        ws->resumed.count = 0;
        ws_flush_dirty(ws);
        for (uint32_t i = 0; i < ws->leaving.count; i++)
            if (ws->leaving.items[i])
                ws_conn_leave(ws->leaving.items[i]);
        ws->leaving.count = 0;
    } while (ws->dirty.count || ws->resumed.count);
}

/* --- loop --- */

static void hand_over(Ws *ws, Adopted *a)
{
    Conn *c = ws_conn_new(ws, a->fd);
    const char *end = (const char *)memmem(a->head, a->len, "\r\n\r\n", 4);
    size_t head = end ? (size_t)(end + 4 - a->head) : a->len;
    if (!c ||
        !ws_conn_open(c, a->req, (xs_str){a->head, head}, (xs_str){a->head + head, a->len - head}))
        counter_add(&ws->handshake_failed, 1);
    ws->host->request_unref(a->req);
}

static void drain_step(Ws *ws, int64_t now)
{
    uint64_t due = drain_due(ws->drain_total, ws->drain_ms, now - ws->drain_start_ms);
    for (uint32_t i = 0; i < ws->conns.count && ws->drain_closed < due; i++) {
        Conn *c = ws->conns.items[i];
        if (c->closing)
            continue;
        ws_conn_close(c, CLOSE_RESTART, "restart");
        ws->drain_closed++;
    }
}

static void sweep(WsState *s, int64_t now)
{
    Ws *ws = &s->ws;
    s->next_sweep_ms = now + s->sweep_ms;
    if (ws->draining)
        drain_step(ws, now);
    for (uint32_t i = 0; i < ws->conns.count; i++)
        ws_conn_check(ws->conns.items[i], now);
}

static int64_t sweep_every(const xs_limits *limits)
{
    int64_t ms = SWEEP_MAX_MS;
    const uint32_t times[] = {limits->ping_ms, limits->pong_timeout_ms, limits->stall_ms};
    for (unsigned i = 0; i < 3; i++)
        if (times[i] && times[i] / 4 < ms)
            ms = times[i] / 4;
    return ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : ms;
}

static Adopted *take_adopted(WsState *s, bool *stopped)
{
    pthread_mutex_lock(&s->lock);
    Adopted *list = s->adopted;
    s->adopted = NULL;
    s->adopted_end = &s->adopted;
    *stopped = s->stopped;
    pthread_mutex_unlock(&s->lock);
    return list;
}

static void drop_adopted(Ws *ws, Adopted *list)
{
    for (Adopted *a = list, *next; a; a = next) {
        next = a->next;
        close(a->fd);
        ws->host->request_unref(a->req);
        free(a);
    }
}

/* @return  false: to be stopped */
static bool on_wake(WsState *s)
{
    bool stopped;
    uint64_t times;
    (void)!read(s->wake, &times, sizeof times);
    Adopted *list = take_adopted(s, &stopped);
    if (stopped) {
        drop_adopted(&s->ws, list);
        return false;
    }
    for (Adopted *a = list, *next; a; a = next) {
        next = a->next;
        hand_over(&s->ws, a);
        free(a);
    }
    return true;
}

/* @return  false: to be stopped */
static bool turn(WsState *s)
{
    Ws *ws = &s->ws;
    const xs_host *host = ws->host;
    bool go_on = true, mail = false;
    int64_t wait = s->next_sweep_ms - host->now_ms();
    struct epoll_event ready[READY_MAX];
    int n = epoll_wait(ws->epoll, ready, READY_MAX, wait > 0 ? (int)wait : 0);
    for (int i = 0; i < n; i++) {
        void *who = ready[i].data.ptr;
        if (who == &s->mailbox)
            mail = true;
        else if (who == &s->wake)
            go_on = on_wake(s);
        else
            ws_conn_ready((Conn *)who, ready[i].events);
    }
    if (mail) /* last: what clients said just now is worked on while this is written */
        host->drain(host->shard);
    int64_t now = host->now_ms();
    if (now >= s->next_sweep_ms)
        sweep(s, now);
    turn_end(s);
    return go_on;
}

/* --- operations --- */

static void ws_destroy(void *state)
{
    WsState *s = (WsState *)state;
    if (!s)
        return;
    Ws *ws = &s->ws;
    bool stopped;
    drop_adopted(ws, take_adopted(s, &stopped));
    ws_handshake_free(ws->handshake);
    if (ws->epoll >= 0)
        close(ws->epoll);
    if (s->wake >= 0)
        close(s->wake);
    ws_inflater_free(ws->inflater);
    free(ws->conns.items);
    free(ws->dirty.items);
    free(ws->resumed.items);
    free(ws->leaving.items);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool watch_wake(int epoll, int *fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = fd};
    return epoll >= 0 && *fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, *fd, &e) == 0;
}

static void *ws_create(const xs_host *host, xs_error *err)
{
    WsState *s = (WsState *)calloc(1, sizeof *s);
    if (!s) {
        plugin_fail(err, XS_E_NOMEM, "out of memory");
        return NULL;
    }
    Ws *ws = &s->ws;
    ws->host = host;
    pthread_mutex_init(&s->lock, NULL);
    s->adopted_end = &s->adopted;
    s->sweep_ms = sweep_every(host->limits);
    s->mailbox = host->wake_fd(host->shard);
    s->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ws->epoll = epoll_create1(EPOLL_CLOEXEC);
    ws->handshake = ws_handshake_new();
    if (ws->handshake && watch_wake(ws->epoll, &s->wake) && watch_wake(ws->epoll, &s->mailbox))
        return s;
    ws_destroy(s);
    plugin_fail(err, XS_E_IO, "ws: cannot start libwebsockets, or the event loop");
    return NULL;
}

static void ws_run(void *state)
{
    WsState *s = (WsState *)state;
    while (turn(s))
        continue;
    /* Everyone still here is cut: those who should come back were told by drain. */
    while (s->ws.conns.count)
        ws_conn_free(s->ws.conns.items[s->ws.conns.count - 1]);
}

static void wake_up(WsState *s)
{
    uint64_t one = 1;
    (void)!write(s->wake, &one, sizeof one);
}

static void ws_adopt(void *state, int fd, const char *head, size_t head_len, xs_request *req)
{
    WsState *s = (WsState *)state;
    Adopted *a = (Adopted *)malloc(sizeof *a + head_len);
    if (a) {
        *a = (Adopted){.fd = fd, .req = req, .len = head_len};
        memcpy(a->head, head, head_len);
        pthread_mutex_lock(&s->lock);
        bool stopped = s->stopped;
        if (!stopped) {
            *s->adopted_end = a;
            s->adopted_end = &a->next;
        }
        pthread_mutex_unlock(&s->lock);
        if (!stopped) {
            wake_up(s);
            return;
        }
        free(a);
    }
    close(fd);
    s->ws.host->request_unref(req);
}

static xs_deliver_result ws_deliver(void *state, void *peer, xs_frame *frame)
{
    (void)state;
    return ws_conn_deliver((Conn *)peer, frame);
}

static xs_deliver_result ws_burst(void *state, void *peer, const xs_burst *burst)
{
    (void)state;
    return ws_conn_burst((Conn *)peer, burst);
}

static void ws_flush(void *state)
{
    ws_flush_dirty(&((WsState *)state)->ws);
}

static void ws_resume(void *state, void *peer)
{
    (void)state;
    ws_conn_resume((Conn *)peer);
}

static void ws_close(void *state, void *peer, int code, const char *reason)
{
    (void)state;
    ws_conn_close((Conn *)peer, code, reason);
}

static size_t ws_queued(void *state, void *peer)
{
    (void)state;
    return ((const Conn *)peer)->q.bytes;
}

static void ws_drain(void *state, uint32_t deadline_ms)
{
    WsState *s = (WsState *)state;
    Ws *ws = &s->ws;
    if (ws->draining)
        return;
    ws->draining = true;
    ws->drain_start_ms = ws->host->now_ms();
    ws->drain_ms = deadline_ms;
    ws->drain_total = ws->conns.count;
    ws->drain_closed = 0;
    int64_t ms = deadline_ms / 50;
    s->sweep_ms = ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : ms > 100 ? 100 : ms;
    s->next_sweep_ms = ws->drain_start_ms;
}

static void ws_stop(void *state)
{
    WsState *s = (WsState *)state;
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_mutex_unlock(&s->lock);
    wake_up(s);
}

static void ws_stats(void *state, xs_transport_stats *out)
{
    Ws *ws = &((WsState *)state)->ws;
    *out = (xs_transport_stats){
        .connections = counter_get(&ws->connections),
        .opened = counter_get(&ws->opened),
        .closed = counter_get(&ws->closed),
        .frames_in = counter_get(&ws->frames_in),
        .frames_out = counter_get(&ws->shown.frames),
        .bytes_in = counter_get(&ws->bytes_in),
        .bytes_out = counter_get(&ws->shown.bytes),
        .writes = counter_get(&ws->shown.writes),
        .partial_writes = counter_get(&ws->shown.partial),
        .slow_closed = counter_get(&ws->slow_closed),
        .handshake_failed = counter_get(&ws->handshake_failed),
        .queued_bytes = counter_get(&ws->queued_bytes),
    };
}

static const xs_transport_ops ops = {
    .size = sizeof ops,
    .format = XS_WIRE_WS_TEXT,
    .info_name = "ws",
    .create = ws_create,
    .run = ws_run,
    .adopt = ws_adopt,
    .deliver = ws_deliver,
    .flush = ws_flush,
    .resume = ws_resume,
    .close = ws_close,
    .drain = ws_drain,
    .stop = ws_stop,
    .destroy = ws_destroy,
    .stats = ws_stats,
    .burst = ws_burst,
    .queued = ws_queued,
};
XS_PLUGIN_DEFINE(ws, XS_PLUGIN_TRANSPORT, "WebSocket", "1.0", &ops);
