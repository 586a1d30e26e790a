/* conn.c - one WebSocket connection. Specification: realtime.md §3.1, §3.5, §10.1.
 *
 * Frames go from the shared wire to the socket with one gathered system call. Everything that is
 * written passes the one queue, PONG and CLOSE too, and what a full socket did not take of a frame
 * stays at its front: no frame can land inside another. */
#include "transports/ws/conn.h"
#include "transports/ws/deflate.h"

#include <unistd.h>

enum { MESSAGE_FIRST_BYTES = 1024, CLOSE_REASON_MAX = 63 };

/* A client's message so far. */
struct WsMessage {
    size_t len, cap;
    uint32_t frames, unchecked; /* unchecked: bytes of a character that is not complete */
    char bytes[];
};

/* What was read and may not be taken yet. */
struct WsHeld {
    WsBytes left;
    char bytes[];
};

bool ws_list_push(ConnList *list, Conn *c)
{
    if (list->count == list->cap) {
        uint32_t cap = list->cap ? list->cap * 2 : 64;
        Conn **grown = (Conn **)realloc(list->items, cap * sizeof *grown);
        if (!grown)
            return false;
        list->items = grown;
        list->cap = cap;
    }
    list->items[list->count++] = c;
    return true;
}

static bool wants_msgpack(const xs_host *host, xs_request *req)
{
    xs_str fmt = host->request_query(req, "fmt", 0);
    return fmt.len == 7 && memcmp(fmt.ptr, "msgpack", 7) == 0 && XS_HAS(host, frame_packed);
}

/* To be closed at the end of the turn, when no call of the hub is under way. Out of memory: the
 * next sweep lists it. */
static void list_leaving(Conn *c)
{
    if (!c->listed)
        c->listed = ws_list_push(&c->ws->leaving, c);
}

/* The connection is cut without a close frame. */
static void doom(Conn *c)
{
    c->broken = c->closing = true;
    list_leaving(c);
}

/* Ask the loop for what this connection waits for. */
static void watch(Conn *c)
{
    uint32_t want = (c->paused ? 0 : EPOLLIN) | (c->blocked ? EPOLLOUT : 0);
    struct epoll_event e = {.events = want, .data.ptr = c};
    if (want != c->watched && epoll_ctl(c->ws->epoll, EPOLL_CTL_MOD, c->fd, &e) != 0)
        doom(c);
    c->watched = want;
}

Conn *ws_conn_new(Ws *ws, int fd)
{
    Conn *c = (Conn *)calloc(1, sizeof *c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (!c || epoll_ctl(ws->epoll, EPOLL_CTL_ADD, fd, &e) != 0 || !ws_list_push(&ws->conns, c)) {
        free(c);
        close(fd);
        return NULL;
    }
    c->ws = ws;
    c->fd = fd;
    c->watched = EPOLLIN;
    c->index = ws->conns.count - 1;
    c->heard_ms = c->progress_ms = c->control_ms = ws->host->now_ms();
    c->control_tokens = CONTROL_BURST * 1000;
    return c;
}

static void tell_gone(Conn *c)
{
    xs_conn *conn = c->conn;
    c->closing = true;
    c->conn = NULL;
    if (!conn)
        return;
    counter_add(&c->ws->closed, 1);
    counter_add(&c->ws->connections, (uint64_t)-1);
    c->ws->host->gone(conn, c->close_code ? c->close_code : CLOSE_ABNORMAL);
}

static void forget(ConnList *list, const Conn *c)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->items[i] == c)
            list->items[i] = NULL;
}

void ws_conn_free(Conn *c)
{
    Ws *ws = c->ws;
    tell_gone(c);
    queue_deinit(&c->q, ws->host);
    queue_count(&c->q, &c->ws->queued_bytes);
    ws_reader_deinit(&c->reader);
    free(c->held);
    free(c->message);
    Conn *last = ws->conns.items[--ws->conns.count];
    ws->conns.items[c->index] = last;
    last->index = c->index;
    if (c->dirty_index)
        ws->dirty.items[c->dirty_index - 1] = NULL;
    if (c->resumed)
        forget(&ws->resumed, c);
    if (c->listed)
        forget(&ws->leaving, c);
    close(c->fd);
    free(c);
}

/* Unread bytes would turn the close into a reset that overtakes the close frame. */
static void throw_away_input(Conn *c)
{
    for (int i = 0; i < 64; i++)
        if (recv(c->fd, c->ws->bytes, sizeof c->ws->bytes, MSG_DONTWAIT) <= 0)
            return;
}

void ws_conn_leave(Conn *c)
{
    c->listed = false;
    if (!c->broken) {
        if (c->blocked || c->q.count)
            return; /* listed again when the socket takes more */
        if (c->deaf)
            shutdown(c->fd, SHUT_WR);
        if (!c->parted)
            return; /* its close frame, or its end, is awaited; not for long */
        throw_away_input(c);
    }
    ws_conn_free(c);
}

static void mark_dirty(Conn *c)
{
    if (c->dirty_index)
        return;
    if (ws_list_push(&c->ws->dirty, c))
        c->dirty_index = c->ws->dirty.count;
    else
        ws_conn_write(c);
}

void ws_flush_dirty(Ws *ws)
{
    for (uint32_t i = 0; i < ws->dirty.count; i++) {
        Conn *c = ws->dirty.items[i];
        if (!c)
            continue;
        c->dirty_index = 0;
        ws_conn_write(c);
    }
    ws->dirty.count = 0;
    queue_show(&ws->shown, &ws->count);
}

/* --- writing --- */

static void after_write(Conn *c, QueueResult result)
{
    if (result == QUEUE_BROKEN) {
        doom(c);
    } else if (c->blocked != (result == QUEUE_BLOCKED)) {
        c->blocked = !c->blocked;
        watch(c);
    }
}

static void write_out(Conn *c)
{
    Ws *ws = c->ws;
    size_t before = c->q.bytes;
    QueueResult result = queue_write(&c->q, ws->host, c->fd, &ws->count);
    if (c->q.bytes != before)
        c->progress_ms = ws->host->now_ms();
    after_write(c, result);
    if (c->q.counted || c->q.bytes)
        queue_count(&c->q, &c->ws->queued_bytes);
    if (c->slow && c->conn && !queue_is_slow(&c->q, ws->host->limits)) {
        c->slow = false;
        ws->host->writable(c->conn);
    }
}

void ws_conn_write(Conn *c)
{
    if (!c->blocked && !c->broken && c->q.count)
        write_out(c);
}

xs_deliver_result ws_conn_deliver(Conn *c, xs_frame *frame)
{
    Ws *ws = c->ws;
    if (c->closing)
        return XS_SENT; /* nobody reads it any more */
    xs_wire_format format = c->packed           ? XS_WIRE_WS_MSGPACK
                            : c->reader.deflate ? XS_WIRE_WS_DEFLATE
                                                : XS_WIRE_WS_TEXT;
    const xs_wire *wire = ws->host->wire(frame, format);
    if (!wire)
        return XS_FULL;
    if (c->blocked && frame->flags & XS_FRAME_CONFLATE && XS_HAS(ws->host, skipped))
        queue_conflate(&c->q, ws->host, c->conn, frame);
    if (c->blocked && !queue_fits(&c->q, ws->host, c->conn, format, wire->len)) {
        counter_add(&ws->slow_closed, 1);
        return XS_FULL;
    }
    if (!c->q.count)
        c->progress_ms = ws->host->now_ms();
    if (!queue_push(&c->q, ws->host, frame, wire))
        return XS_FULL;
    if (c->blocked) {
        queue_count(&c->q, &c->ws->queued_bytes);
    } else {
        if (c->q.count >= FLUSH_EARLY_FRAMES || c->q.bytes >= FLUSH_EARLY_BYTES)
            ws_conn_write(c);
        else
            mark_dirty(c);
    }
    if (c->blocked && queue_is_slow(&c->q, ws->host->limits)) {
        c->slow = true;
        return XS_QUEUED;
    }
    return XS_SENT;
}

xs_deliver_result ws_conn_burst(Conn *c, const xs_burst *burst)
{
    if (c->closing)
        return XS_SENT;
    if (c->blocked || c->q.count || c->reader.deflate || c->packed) {
        xs_deliver_result result = XS_SENT;
        for (uint32_t i = 0; i < burst->n && result != XS_FULL; i++)
            result = ws_conn_deliver(c, burst->frames[i]);
        return result;
    }
    Ws *ws = c->ws;
    QueueResult result = queue_burst(&c->q, ws->host, c->fd, burst, &ws->count);
    after_write(c, result);
    if (result == QUEUE_BLOCKED) {
        c->progress_ms = burst->now_ms;
        queue_count(&c->q, &c->ws->queued_bytes);
    }
    return XS_SENT;
}

/* --- closing --- */

static xs_wire *close_wire(int code, const char *reason)
{
    size_t len = strlen(reason);
    const unsigned char head[4] = {0x88, (unsigned char)(len + 2), (unsigned char)(code >> 8),
                                   (unsigned char)code};
    return wire_join((xs_str){(const char *)head, sizeof head}, (xs_str){reason, len}, (xs_str){0});
}

void ws_conn_close(Conn *c, int code, const char *reason)
{
    char text[CLOSE_REASON_MAX + 1];
    if (c->closing)
        return;
    c->closing = true;
    c->close_code = code;
    c->close_ms = c->ws->host->now_ms();
    snprintf(text, sizeof text, "%s", reason ? reason : "");
    if (c->blocked) /* what a slow client has not read is lost anyway: it comes back and catches up
                     */
        queue_drop(&c->q, c->ws->host);
    queue_count(&c->q, &c->ws->queued_bytes);
    if (!queue_push_take(&c->q, close_wire(code, text))) {
        doom(c);
        return;
    }
    mark_dirty(c);
    list_leaving(c);
}

/* --- the client's side --- */

static void refuse(Conn *c, xs_request *req, const xs_refusal *why)
{
    Out json = {0};
    xs_str base = c->ws->host->request_base(req);
    bool server = base.len > 4 && memcmp(base.ptr, "/ws/", 4) == 0; /* D2 has no options */
    out_text(&json, server ? "{\"action\":\"error\",\"payload\":{\"message\":"
                           : "{\"action\":\"error\",\"options\":{},\"payload\":{\"message\":");
    out_json(&json, str_from(why->message));
    out_text(&json, "}}");
    unsigned char head[4] = {0x81, (unsigned char)json.len};
    size_t head_len = 2;
    if (json.len > 125) {
        head[1] = 126;
        head[2] = (unsigned char)(json.len >> 8);
        head[3] = (unsigned char)json.len;
        head_len = 4;
    }
    if (json.failed ||
        !queue_push_take(&c->q, wire_join((xs_str){(const char *)head, head_len},
                                          (xs_str){json.ptr, json.len}, (xs_str){0})))
        doom(c);
    free(json.ptr);
    ws_conn_close(c, why->close_code ? why->close_code : CLOSE_INTERNAL, why->message);
}

enum { UTF8_BAD = -1 };

/* Strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. How many bytes at the end
 * begin a character that is not complete (0 to 3), or UTF8_BAD. */
static int utf8_rest(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    while (p < end) {
        unsigned char c = *p++;
        if (c < 0x80)
            continue;
        unsigned more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4)
            return UTF8_BAD;
        unsigned char low = 0x80, high = 0xBF;
        if (c == 0xE0)
            low = 0xA0;
        else if (c == 0xED)
            high = 0x9F;
        else if (c == 0xF0)
            low = 0x90;
        else if (c == 0xF4)
            high = 0x8F;
        for (unsigned i = 0; i < more; i++, low = 0x80, high = 0xBF) {
            if (p + i == end)
                return (int)i + 1;
            if (p[i] < low || p[i] > high)
                return UTF8_BAD;
        }
        p += more;
    }
    return 0;
}

static void message(Conn *c, const char *data, size_t len, bool packed)
{
    Ws *ws = c->ws;
    counter_add(&ws->frames_in, 1);
    if (!c->conn || c->closing)
        return;
    xs_frame_result result =
        packed ? ws->host->frame_packed(c->conn, data, len) : ws->host->frame(c->conn, data, len);
    if (result == XS_FRAME_STOP && !c->paused) {
        c->paused = true;
        watch(c);
    }
}

static bool collect(Conn *c, const WsPiece *piece)
{
    struct WsMessage *m = c->message;
    if (!m || m->cap - m->len < piece->len) {
        size_t len = m ? m->len : 0, cap = m ? m->cap : MESSAGE_FIRST_BYTES;
        while (cap - len < piece->len)
            cap *= 2;
        m = (struct WsMessage *)realloc(m, sizeof *m + cap);
        if (!m)
            return false;
        if (!c->message)
            *m = (struct WsMessage){0};
        m->cap = cap;
        c->message = m;
    }
    if (piece->len)
        memcpy(m->bytes + m->len, piece->data, piece->len);
    m->len += piece->len;
    m->frames += piece->frame_end;
    return true;
}

static void heard(Conn *c)
{
    c->heard_ms = c->ws->host->now_ms();
    c->pinged_ms = 0;
}

/* Bad bytes end the connection when they come, not when the message is complete.
 * @return as utf8_rest; UTF8_BAD: the connection is closing */
static int check_text(Conn *c, const char *data, size_t len, bool last)
{
    int rest = utf8_rest(data, len);
    if (rest != UTF8_BAD && !(last && rest))
        return rest;
    ws_conn_close(c, CLOSE_BAD_UTF8, "invalid UTF-8");
    return UTF8_BAD;
}

static void inflate_message(Conn *c)
{
    Ws *ws = c->ws;
    char *text = NULL;
    size_t len = 0;
    switch (ws_inflate(&ws->inflater, c->message->bytes, c->message->len,
                       ws->host->limits->max_message, &text, &len)) {
    case WS_INFLATED:
        if (check_text(c, text, len, true) != UTF8_BAD)
            message(c, text, len, false);
        break;
    case WS_INFLATE_BAD: ws_conn_close(c, CLOSE_BAD_UTF8, "invalid compressed data"); break;
    case WS_INFLATE_BIG: ws_conn_close(c, CLOSE_TOO_BIG, "message too large"); break;
    case WS_INFLATE_NOMEM: ws_conn_close(c, CLOSE_INTERNAL, "out of memory"); break;
    }
    free(text);
}

/* One more piece of a message is in c->message. */
static void collected(Conn *c, const WsPiece *piece)
{
    struct WsMessage *m = c->message;
    if (!piece->binary && !piece->compressed) {
        size_t fresh = piece->len + m->unchecked;
        int rest = check_text(c, m->bytes + m->len - fresh, fresh, piece->last);
        if (rest == UTF8_BAD)
            return;
        m->unchecked = (unsigned)rest;
    }
    if (!piece->last)
        return;
    if (piece->compressed)
        inflate_message(c);
    else
        message(c, m->bytes, m->len, piece->binary);
    free(m);
    c->message = NULL;
}

static void receive(Conn *c, const WsPiece *piece)
{
    const xs_limits *limits = c->ws->host->limits;
    if (c->closing)
        return;
    size_t have = c->message ? c->message->len : 0;
    uint32_t frames = (c->message ? c->message->frames : 0) + piece->frame_end;
    if (piece->binary && !c->packed) {
        ws_conn_close(c, CLOSE_BINARY, "text only");
    } else if (have + piece->len + piece->rest > limits->max_message) {
        ws_conn_close(c, CLOSE_TOO_BIG, "message too large");
    } else if (limits->max_fragments && frames > limits->max_fragments) {
        ws_conn_close(c, CLOSE_TOO_BIG, "too many fragments");
    } else if (piece->first && piece->last && !piece->compressed) {
        if (piece->binary || check_text(c, piece->data, piece->len, true) != UTF8_BAD)
            message(c, piece->data, piece->len, piece->binary);
    } else if (!collect(c, piece)) {
        ws_conn_close(c, CLOSE_INTERNAL, "out of memory");
    } else {
        collected(c, piece);
    }
}

/* The client's close frame: an answer to ours, or to be answered. */
static void peer_close(Conn *c, const WsPiece *piece)
{
    const unsigned char *p = (const unsigned char *)piece->data;
    int code = piece->len >= 2 ? p[0] << 8 | p[1] : CLOSE_NORMAL;
    bool known = piece->len != 1 && code >= CLOSE_NORMAL && code < CLOSE_LIMIT &&
                 (code < 1016 || code >= 3000) && code != 1004 && code != 1005 &&
                 code != CLOSE_ABNORMAL && code != 1015;
    bool text = piece->len <= 2 || utf8_rest(piece->data + 2, piece->len - 2) == 0;
    c->deaf = c->parted = true;
    if (c->closing)
        list_leaving(c);
    else
        ws_conn_close(c, !known ? CLOSE_PROTOCOL : text ? code : CLOSE_BAD_UTF8, "");
}

static bool within_rate(Conn *c)
{
    int64_t now = c->heard_ms, tokens = c->control_tokens + (now - c->control_ms) * CONTROL_PER_S;
    c->control_ms = now;
    c->control_tokens = (int32_t)(tokens > CONTROL_BURST * 1000 ? CONTROL_BURST * 1000 : tokens);
    if (c->control_tokens >= 1000) {
        c->control_tokens -= 1000;
        return true;
    }
    ws_conn_close(c, CLOSE_TOO_MANY, "too many pings");
    return false;
}

static void pong(Conn *c, const WsPiece *piece)
{
    const char head[2] = {(char)0x8A, (char)piece->len};
    if (c->closing || !within_rate(c) || c->q.count >= c->ws->host->limits->queue_hard_frames)
        return;
    if (queue_push_take(&c->q, wire_join((xs_str){head, sizeof head},
                                         (xs_str){piece->data, piece->len}, (xs_str){0})))
        mark_dirty(c);
}

/* Until everything is taken, or the client has to wait. @return what was not taken */
static WsBytes feed(Conn *c, WsBytes in)
{
    WsPiece piece;
    while (!c->deaf && !c->paused) {
        switch (ws_read(&c->reader, &in, &piece)) {
        case WS_MORE: return in;
        case WS_DATA: receive(c, &piece); break;
        case WS_PING: pong(c, &piece); break;
        case WS_PONG: (void)within_rate(c); break;
        case WS_CLOSE: peer_close(c, &piece); break;
        case WS_WRONG:
            c->deaf = true;
            ws_conn_close(c, CLOSE_PROTOCOL, "protocol error");
            break;
        case WS_NOMEM: doom(c); return in;
        }
    }
    return c->deaf ? (WsBytes){0} : in;
}

static bool hold(Conn *c, const char *data, size_t len)
{
    if (!len)
        return true;
    struct WsHeld *held = (struct WsHeld *)malloc(sizeof *held + len);
    if (!held)
        return false;
    memcpy(held->bytes, data, len);
    held->left = (WsBytes){held->bytes, len};
    c->held = held;
    return true;
}

static void read_held(Conn *c)
{
    if (!c->held)
        return;
    c->held->left = feed(c, c->held->left);
    if (c->held->left.len)
        return;
    free(c->held);
    c->held = NULL;
}

static void receive_some(Conn *c)
{
    Ws *ws = c->ws;
    ssize_t n = recv(c->fd, ws->bytes, sizeof ws->bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        doom(c);
        return;
    }
    heard(c);
    counter_add(&ws->bytes_in, (uint64_t)n);
    WsBytes rest = feed(c, (WsBytes){ws->bytes, (size_t)n});
    if (c->paused && !c->broken && !hold(c, rest.ptr, rest.len))
        doom(c);
}

void ws_conn_ready(Conn *c, uint32_t events)
{
    if (c->broken)
        return;
    if (events & EPOLLOUT && c->blocked) {
        write_out(c);
        if (c->closing && !c->blocked)
            list_leaving(c);
    }
    if (c->broken)
        return;
    if (!c->paused && events & ~(uint32_t)EPOLLOUT)
        receive_some(c);
    else if (events & (EPOLLHUP | EPOLLERR))
        doom(c); /* nothing more is read from it, but it has died */
}

void ws_conn_resume(Conn *c)
{
    if (!c->paused || c->broken || c->resumed)
        return;
    /* What is held is not for the hub while it is calling: it would put it behind what comes later.
     */
    c->resumed = ws_list_push(&c->ws->resumed, c);
    if (!c->resumed)
        doom(c);
}

void ws_conn_go_on(Conn *c)
{
    c->resumed = c->paused = false;
    if (c->broken)
        return;
    heard(c);
    read_held(c);
    if (!c->paused)
        watch(c);
}

static bool push_answer(Conn *c, xs_request *req, xs_str head)
{
    const xs_host *host = c->ws->host;
    c->packed = wants_msgpack(host, req);
    const char *deflate =
        host->limits->ws_deflate && !c->packed
            ? ws_deflate_answer(host->request_header(req, "Sec-WebSocket-Extensions"))
            : NULL;
    c->reader.deflate = deflate;
    return queue_push_take(&c->q,
                           ws_handshake_answer(c->ws->handshake, head, host->request_token(req),
                                               str_from(deflate ? deflate : "")));
}

static bool admit(Conn *c, xs_request *req)
{
    Ws *ws = c->ws;
    xs_refusal why = {0};
    c->conn = ws->host->connect(ws->host->shard, c, req, &why);
    if (!c->conn) {
        refuse(c, req, &why);
        return false;
    }
    counter_add(&ws->opened, 1);
    counter_add(&ws->connections, 1);
    return true;
}

bool ws_conn_open(Conn *c, xs_request *req, xs_str head, xs_str early)
{
    if (!push_answer(c, req, head) || !hold(c, early.ptr, early.len)) {
        doom(c);
        return false;
    }
    mark_dirty(c);
    bool admitted = true;
    if (c->ws->draining)
        ws_conn_close(c, CLOSE_RESTART, "restart");
    else
        admitted = admit(c, req);
    read_held(c);
    return admitted;
}

static void ping(Conn *c, int64_t now)
{
    static const char frame[2] = {(char)0x89, 0};
    if (!queue_push_take(&c->q, wire_join((xs_str){frame, sizeof frame}, (xs_str){0}, (xs_str){0})))
        return;
    c->pinged_ms = now;
    ws_conn_write(c);
}

void ws_conn_check(Conn *c, int64_t now)
{
    const xs_limits *limits = c->ws->host->limits;
    if (c->broken) {
        list_leaving(c);
        return;
    }
    bool waiting = c->q.count;
    if (c->close_ms ? now - c->close_ms > CLOSE_WAIT_MS
                    : waiting && limits->stall_ms && now - c->progress_ms > limits->stall_ms) {
        if (waiting && !c->close_ms)
            counter_add(&c->ws->slow_closed, 1);
        doom(c);
        return;
    }
    if (c->closing || c->paused || waiting || !limits->ping_ms)
        return;
    if (c->pinged_ms) {
        if (now - c->pinged_ms > limits->pong_timeout_ms)
            doom(c);
    } else if (now - c->heard_ms >= limits->ping_ms) {
        ping(c, now);
    }
}
