/* ws.c - WebSocket transport on libwebsockets with its libuv loop, in its own thread.
 *
 * The host accepts sockets, reads the request head, removes Sec-WebSocket-Protocol (the library
 * refuses long ones) and hands both over; the offered token is echoed in ADD_HEADERS. The context
 * never listens. The library does the handshake and keeps what a full socket did not take; frames
 * are read here, since it answers one of several pings and takes frames without a mask. Threads:
 * adopt, stop and stats any; everything else the one that calls run. Specification: realtime.md
 * §3.1, §10, §12. */
#include <pthread.h>
#include <unistd.h>

#include "transports/ws/conn.h"
#include "transports/ws/deflate.h"

enum {
    HEAD_BYTES = 16384, /* largest request head, also the service buffer */
    RX_BYTES = 16,      /* per connection, not used: conn.c reads */
    TX_PACKET = 65536,  /* without it a write is cut into pieces of RX_BYTES */
    HEAD_POOL = 64,     /* handshakes at once */
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
    uv_async_t wake; /* sockets to adopt, or stop */
    uv_poll_t mailbox, input;
    uv_timer_t sweep;
    uv_prepare_t turn;
    pthread_mutex_t lock; /* adopted, stopped */
    Adopted *adopted, **adopted_end;
    bool stopped;
    bool running; /* loop handles are live */
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

/* --- callbacks of the library --- */

static bool add_header(struct lws *wsi, struct lws_process_html_args *args, const char *name,
                       xs_str value)
{
    unsigned char *p = (unsigned char *)args->p;
    if (lws_add_http_header_by_name(wsi, (const unsigned char *)name,
                                    (const unsigned char *)value.ptr, (int)value.len, &p,
                                    (unsigned char *)args->p + args->max_len))
        return false;
    args->p = (char *)p;
    return true;
}

static int add_headers(Conn *c, struct lws *wsi, struct lws_process_html_args *args)
{
    if (!c->req)
        return 0;
    const xs_host *host = c->ws->host;
    xs_str token = host->request_token(c->req);
    if (token.len && !add_header(wsi, args, "sec-websocket-protocol:", token))
        return 1;
    const char *deflate =
        host->limits->ws_deflate && !c->packed
            ? ws_deflate_answer(host->request_header(c->req, "Sec-WebSocket-Extensions"))
            : NULL;
    if (!deflate)
        return 0;
    c->reader.deflate = true;
    return add_header(wsi, args, "sec-websocket-extensions:", str_from(deflate)) ? 0 : 1;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    (void)user;
    (void)len;
    if (reason == LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED) {
        Ws *ws = (Ws *)lws_context_user(lws_get_context(wsi));
        if (!ws->adopting)
            return -1;
        ws->adopting->wsi = wsi;
        lws_set_opaque_user_data(wsi, ws->adopting);
        ws->adopting = NULL;
        return 0;
    }
    Conn *c = wsi ? (Conn *)lws_get_opaque_user_data(wsi) : NULL;
    if (!c)
        return 0;
    switch (reason) {
    case LWS_CALLBACK_ADD_HEADERS: return add_headers(c, wsi, (struct lws_process_html_args *)in);
    case LWS_CALLBACK_HTTP: return -1; /* not an upgrade */
    case LWS_CALLBACK_ESTABLISHED: ws_conn_established(c); return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE: ws_conn_writeable(c); return 0;
    case LWS_CALLBACK_CLOSED: ws_conn_gone(c); return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        lws_set_opaque_user_data(wsi, NULL);
        ws_conn_free(c);
        return 0;
    default: return 0;
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "xs", .callback = on_event, .rx_buffer_size = RX_BYTES, .tx_packet_size = TX_PACKET},
    {0},
};

/* Pings are ours. Otherwise the library keeps a timer per connection in one sorted list, and walks
 * half of it at every handshake. */
static const lws_retry_bo_t idle_policy = {.secs_since_valid_ping = 0,
                                           .secs_since_valid_hangup = 0};

/* --- loop --- */

static void hand_over(Ws *ws, Adopted *a)
{
    Conn *c = ws_conn_new(ws, a->fd, a->req);
    if (!c) {
        close(a->fd);
        return;
    }
    const char *end = (const char *)memmem(a->head, a->len, "\r\n\r\n", 4);
    size_t head = end ? (size_t)(end + 4 - a->head) : a->len;
    if (!ws_conn_hold(c, a->head + head, a->len - head)) {
        ws_conn_free(c);
        close(a->fd);
        return;
    }
    ws->adopting = c;
    lws_adopt_socket_vhost_readbuf(ws->vhost, a->fd, a->head, head);
    if (ws->adopting) { /* refused before there was anything to close later */
        ws->adopting = NULL;
        ws_conn_free(c);
    }
}

static void on_prepare(uv_prepare_t *handle)
{
    turn_end((WsState *)handle->data);
}

static void on_mailbox(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    const xs_host *host = ((WsState *)handle->data)->ws.host;
    host->drain(host->shard);
}

static void on_input(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    Ws *ws = &((WsState *)handle->data)->ws;
    int n = epoll_wait(ws->input, ws->ready, INPUT_BATCH, 0);
    ws->nready = n > 0 ? n : 0;
    for (int i = 0; i < ws->nready; i++)
        if (ws->ready[i].data.ptr)
            ws_conn_readable((Conn *)ws->ready[i].data.ptr, ws->ready[i].events);
    ws->nready = 0;
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

static void on_sweep(uv_timer_t *handle)
{
    Ws *ws = &((WsState *)handle->data)->ws;
    int64_t now = ws->host->now_ms();
    if (ws->draining)
        drain_step(ws, now);
    for (uint32_t i = 0; i < ws->conns.count; i++)
        ws_conn_check(ws->conns.items[i], now);
}

static uint64_t sweep_ms(const xs_limits *limits)
{
    uint64_t ms = SWEEP_MAX_MS;
    const uint32_t times[] = {limits->ping_ms, limits->pong_timeout_ms, limits->stall_ms};
    for (unsigned i = 0; i < 3; i++)
        if (times[i] && times[i] / 4 < ms)
            ms = times[i] / 4;
    return ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : ms;
}

static void close_handles(WsState *s)
{
    if (!s->running)
        return;
    s->running = false;
    uv_close((uv_handle_t *)&s->mailbox, NULL);
    uv_close((uv_handle_t *)&s->input, NULL);
    uv_close((uv_handle_t *)&s->sweep, NULL);
    uv_close((uv_handle_t *)&s->turn, NULL);
    uv_close((uv_handle_t *)&s->wake, NULL);
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

static void on_wake(uv_async_t *handle)
{
    WsState *s = (WsState *)handle->data;
    bool stopped;
    Adopted *list = take_adopted(s, &stopped);
    if (stopped) {
        drop_adopted(&s->ws, list);
        uv_stop(&s->ws.loop);
        return;
    }
    for (Adopted *a = list, *next; a; a = next) {
        next = a->next;
        hand_over(&s->ws, a);
        free(a);
    }
}

static bool start_polls(WsState *s)
{
    Ws *ws = &s->ws;
    ws->input = epoll_create1(EPOLL_CLOEXEC);
    if (ws->input < 0 || uv_poll_init(&ws->loop, &s->input, ws->input) != 0)
        return false;
    if (uv_poll_init(&ws->loop, &s->mailbox, ws->host->wake_fd(ws->host->shard)) == 0)
        return true;
    uv_close((uv_handle_t *)&s->input, NULL);
    return false;
}

static bool start_handles(WsState *s)
{
    Ws *ws = &s->ws;
    uint64_t ms = sweep_ms(ws->host->limits);
    if (uv_async_init(&ws->loop, &s->wake, on_wake) != 0)
        return false;
    uv_timer_init(&ws->loop, &s->sweep);
    uv_prepare_init(&ws->loop, &s->turn);
    if (!start_polls(s)) {
        uv_close((uv_handle_t *)&s->sweep, NULL);
        uv_close((uv_handle_t *)&s->turn, NULL);
        uv_close((uv_handle_t *)&s->wake, NULL);
        return false;
    }
    s->running = true;
    s->wake.data = s->mailbox.data = s->input.data = s->sweep.data = s->turn.data = s;
    uv_poll_start(&s->mailbox, UV_READABLE, on_mailbox);
    uv_poll_start(&s->input, UV_READABLE, on_input);
    uv_timer_start(&s->sweep, on_sweep, ms, ms);
    uv_prepare_start(&s->turn, on_prepare);
    return true;
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
    close_handles(s);
    if (ws->context)
        lws_context_destroy(ws->context);
    while (uv_run(&ws->loop, UV_RUN_DEFAULT) != 0)
        continue;
    if (ws->context) /* on a loop of ours the library frees the rest only when asked again */
        lws_context_destroy(ws->context);
    uv_run(&ws->loop, UV_RUN_NOWAIT);
    uv_loop_close(&ws->loop);
    if (ws->input >= 0)
        close(ws->input);
    ws_inflater_free(ws->inflater);
    free(ws->conns.items);
    free(ws->dirty.items);
    free(ws->resumed.items);
    free(ws->leaving.items);
    pthread_mutex_destroy(&s->lock);
    free(s);
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
    ws->input = -1;
    s->adopted_end = &s->adopted;
    if (uv_loop_init(&ws->loop) != 0) {
        free(s);
        plugin_fail(err, XS_E_IO, "ws: cannot create the event loop");
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    lws_set_log_level(0, NULL);
    void *loops[] = {&ws->loop};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_UV_NO_SIGSEGV_SIGFPE_SPIN |
                   LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .foreign_loops = loops,
        .max_http_header_data = HEAD_BYTES,
        .max_http_header_pool = HEAD_POOL,
        .pt_serv_buf_size = HEAD_BYTES,
        .timeout_secs = HANDSHAKE_MAX_MS / 1000,
        .retry_and_idle_policy = &idle_policy,
        .gid = -1,
        .uid = -1,
        .user = ws,
    };
    ws->context = lws_create_context(&info);
    ws->vhost = ws->context ? lws_create_vhost(ws->context, &info) : NULL;
    if (!ws->vhost || !start_handles(s)) {
        ws_destroy(s);
        plugin_fail(err, XS_E_IO, "ws: cannot start libwebsockets with its libuv event loop");
        return NULL;
    }
    return s;
}

static void ws_run(void *state)
{
    WsState *s = (WsState *)state;
    uv_run(&s->ws.loop, UV_RUN_DEFAULT);
    /* Everyone still here is cut: those who should come back were told by drain. */
    for (uint32_t i = s->ws.conns.count; i-- > 0;) {
        if (i >= s->ws.conns.count)
            continue;
        Conn *c = s->ws.conns.items[i];
        if (c->wsi)
            lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
    }
    uv_run(&s->ws.loop, UV_RUN_NOWAIT);
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
            uv_async_send(&s->wake);
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
    const Conn *c = (const Conn *)peer;
    return c->q.bytes + c->tail;
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
    uint64_t ms = deadline_ms / 50;
    uv_timer_start(&s->sweep, on_sweep, 0, ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : ms > 100 ? 100 : ms);
}

static void ws_stop(void *state)
{
    WsState *s = (WsState *)state;
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_mutex_unlock(&s->lock);
    uv_async_send(&s->wake);
}

static void ws_stats(void *state, xs_transport_stats *out)
{
    Ws *ws = &((WsState *)state)->ws;
    *out = (xs_transport_stats){
        .connections = counter_get(&ws->connections),
        .opened = counter_get(&ws->opened),
        .closed = counter_get(&ws->closed),
        .frames_in = counter_get(&ws->frames_in),
        .frames_out = counter_get(&ws->frames_out),
        .bytes_in = counter_get(&ws->bytes_in),
        .bytes_out = counter_get(&ws->bytes_out),
        .writes = counter_get(&ws->writes),
        .partial_writes = counter_get(&ws->partial_writes),
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
