/* rtclient.c - a realtime client over WebSocket, SSE or long-poll on one epoll loop.
 *
 * Every client has a main socket (frames come in) and, for SSE and long-poll, a second one that
 * POSTs what it sends. Frames are handed out from the receive buffer without copies when they
 * arrive whole. A client that is freed inside a callback lives until the end of the step.
 * Specification: realtime.md §3, §7, §8. */
#include "bench/rtclient.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "transports/common/wire.h"

enum {
    READ_BYTES = 262144,
    EVENTS_PER_STEP = 512,
    OPEN_TIMEOUT_MS = 10000,
    CLOSE_TIMEOUT_MS = 3000,
    POLL_TIMEOUT_S = 25,
    POLL_GRACE_MS = 10000, /* beyond the time a poll may be held */
    POST_TIMEOUT_MS = 20000,
    POST_FRAMES = 32, /* per request */
    POST_BYTES = 49152,
    HEAD_MAX = 32768,
    FRAME_MAX = 64 << 20
};

enum { CODE_NORMAL = 1000, CODE_CUT = 1006, CODE_RESTART = 1012 };

typedef struct Sock {
    RtClient *client;
    int fd; /* -1: none */
    bool post, connecting;
    uint32_t events; /* what epoll watches */
    Buf out;
    size_t out_sent;
} Sock;

/* Reads one HTTP response; the decoded body is appended to body. */
typedef struct Response {
    Buf head, line, body;
    bool in_body, chunked, until_close, in_chunk, last_chunk, keep;
    int status;
    uint64_t left;
} Response;

typedef enum HttpResult { HTTP_MORE, HTTP_DONE, HTTP_BAD } HttpResult;

typedef enum State { ST_CONNECT, ST_OPEN, ST_CLOSING, ST_CLOSED } State;

struct RtClient {
    RtLoop *loop;
    RtClient *prev, *next;
    RtEvents events;
    RtTransport transport;
    State state;
    bool freed, paused, told, bye, posting, retried, greeting;
    struct sockaddr_in address;
    char *host, *base, *token, *query; /* query: channel=…&… */
    char **channels;
    size_t channel_count;
    bool history, presence;
    uint32_t poll_s;
    int status;
    int64_t deadline_us; /* 0 = none: opening, closing or the answer of a poll */
    int64_t poll_us;     /* long-poll: when to ask again; 0 = not waiting */
    int64_t post_us;     /* deadline of the POST in flight; 0 = none */
    Sock main, post;
    Buf in;      /* WebSocket: a frame that is not complete yet */
    Buf message; /* fragments */
    Response response, post_response;
    Buf data, event;  /* SSE: the block being read */
    Buf text;         /* scratch with a NUL at its end */
    Buf sending;      /* frames to POST: each u32 length + bytes */
    size_t in_flight; /* bytes of `sending` covered by the POST under way */
    char position[64], sid[64];
    RtCounters counters;
};

struct RtLoop {
    int epoll;
    RtClient *clients;
    RtClient *grave; /* freed during a step; linked by next */
    bool stepping;
    int64_t next_timer_us; /* earliest deadline, INT64_MAX = none */
    uint32_t random;
    char *buf; /* READ_BYTES + 1 */
};

static void fail(RtClient *c, int code, const char *reason);
static void start_main(RtClient *c);
static void start_post(RtClient *c);
static void poll_again(RtClient *c);

static void set_timer(RtClient *c, int64_t *slot, int64_t ms)
{
    *slot = clock_mono_us() + ms * 1000;
    if (*slot < c->loop->next_timer_us)
        c->loop->next_timer_us = *slot;
}

/* --- sockets --- */

static void sock_watch(Sock *s)
{
    if (s->fd < 0)
        return;
    bool paused = s->client->paused && !s->post;
    uint32_t want = (paused ? 0u : (uint32_t)EPOLLIN) |
                    (s->connecting || s->out_sent < s->out.len ? (uint32_t)EPOLLOUT : 0u);
    if (want == s->events)
        return;
    struct epoll_event ev = {.events = want, .data.ptr = s};
    if (epoll_ctl(s->client->loop->epoll, EPOLL_CTL_MOD, s->fd, &ev) == 0)
        s->events = want;
}

static void sock_close(Sock *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->connecting = false;
    s->out.len = s->out_sent = 0;
}

static bool sock_open(Sock *s, const struct sockaddr_in *to)
{
    int on = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return false;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    s->connecting = connect(s->fd, (const struct sockaddr *)to, sizeof *to) != 0;
    if (s->connecting && errno != EINPROGRESS) {
        sock_close(s);
        return false;
    }
    s->out_sent = 0;
    s->events = EPOLLIN | EPOLLOUT;
    struct epoll_event ev = {.events = s->events, .data.ptr = s};
    if (epoll_ctl(s->client->loop->epoll, EPOLL_CTL_ADD, s->fd, &ev) == 0)
        return true;
    sock_close(s);
    return false;
}

/* false: the connection is broken. */
static bool sock_flush(Sock *s)
{
    while (!s->connecting && s->out_sent < s->out.len) {
        ssize_t n = send(s->fd, s->out.ptr + s->out_sent, s->out.len - s->out_sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN)
                break;
            return false;
        }
        s->out_sent += (size_t)n;
    }
    if (s->out_sent == s->out.len)
        s->out.len = s->out_sent = 0;
    sock_watch(s);
    return true;
}

/* --- HTTP --- */

static void response_reset(Response *r)
{
    r->head.len = r->line.len = r->body.len = 0;
    r->in_body = r->chunked = r->until_close = r->in_chunk = r->last_chunk = false;
    r->keep = true;
    r->status = 0;
    r->left = 0;
}

static void response_deinit(Response *r)
{
    buf_deinit(&r->head);
    buf_deinit(&r->line);
    buf_deinit(&r->body);
}

static const char *head_value(const Response *r, const char *name, size_t *len)
{
    size_t n = strlen(name);
    const char *at = r->head.ptr, *end = at + r->head.len;
    while ((at = (const char *)memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        if ((size_t)(end - at) > n && strncasecmp(at, name, n) == 0 && at[n] == ':') {
            const char *v = at + n + 1;
            while (v < end && *v == ' ')
                v++;
            const char *stop = (const char *)memchr(v, '\r', (size_t)(end - v));
            *len = stop ? (size_t)(stop - v) : 0;
            return v;
        }
    }
    return NULL;
}

static bool head_has(const Response *r, const char *name, const char *word)
{
    size_t len;
    const char *v = head_value(r, name, &len);
    return v && len >= strlen(word) && strncasecmp(v, word, strlen(word)) == 0;
}

static bool parse_head(Response *r)
{
    if (r->head.len < 13 || memcmp(r->head.ptr, "HTTP/1.", 7) != 0)
        return false;
    r->status = (int)strtol(r->head.ptr + 9, NULL, 10);
    r->in_body = true;
    r->chunked = head_has(r, "Transfer-Encoding", "chunked");
    r->keep = r->head.ptr[7] == '1' && !head_has(r, "Connection", "close");
    size_t len;
    const char *v = head_value(r, "Content-Length", &len);
    if (r->chunked || r->status == 204 || r->status == 304 || r->status == 101)
        r->left = 0;
    else if (v)
        r->left = strtoull(v, NULL, 10);
    else
        r->until_close = true;
    return true;
}

static bool take_line(Response *r, const char **p, const char *end)
{
    const char *nl = (const char *)memchr(*p, '\n', (size_t)(end - *p));
    const char *stop = nl ? nl + 1 : end;
    buf_append(&r->line, *p, (size_t)(stop - *p));
    *p = stop;
    return nl != NULL;
}

static HttpResult feed_chunked(Response *r, const char **p, const char *end)
{
    while (*p < end) {
        if (r->in_chunk) {
            size_t n = (size_t)(end - *p) < r->left ? (size_t)(end - *p) : (size_t)r->left;
            buf_append(&r->body, *p, n);
            *p += n;
            r->left -= n;
            r->in_chunk = r->left > 0;
            continue;
        }
        if (!take_line(r, p, end))
            return r->line.len > HEAD_MAX ? HTTP_BAD : HTTP_MORE;
        bool blank = r->line.len <= 2;
        if (!blank && !r->last_chunk) {
            buf_char(&r->line, '\0');
            r->left = r->line.failed ? 0 : strtoull(r->line.ptr, NULL, 16);
            r->last_chunk = r->left == 0;
            r->in_chunk = !r->last_chunk;
        }
        r->line.len = 0;
        if (blank && r->last_chunk)
            return HTTP_DONE;
    }
    return HTTP_MORE;
}

static HttpResult response_feed(Response *r, const char **p, const char *end)
{
    while (!r->in_body) {
        if (!take_line(r, p, end))
            return r->line.len > HEAD_MAX ? HTTP_BAD : HTTP_MORE;
        bool blank = r->line.len <= 2;
        buf_append(&r->head, r->line.ptr, r->line.len);
        r->line.len = 0;
        if (r->head.len > HEAD_MAX || r->head.failed)
            return HTTP_BAD;
        if (blank && !parse_head(r))
            return HTTP_BAD;
    }
    if (r->chunked)
        return feed_chunked(r, p, end);
    size_t n = (size_t)(end - *p);
    if (!r->until_close && n > r->left)
        n = (size_t)r->left;
    buf_append(&r->body, *p, n);
    *p += n;
    r->left -= r->until_close ? 0 : n;
    return r->until_close || r->left ? HTTP_MORE : HTTP_DONE;
}

static void url_encode(Buf *out, const char *s)
{
    for (; *s; s++) {
        unsigned char ch = (unsigned char)*s;
        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
            ch == '-' || ch == '_' || ch == '.' || ch == '~')
            buf_char(out, (char)ch);
        else
            buf_printf(out, "%%%02X", ch);
    }
}

/* Request line, Host and token; the caller adds more headers and the blank line. */
static void begin_request(RtClient *c, Buf *out, const char *method, const char *action)
{
    buf_printf(out, "%s ", method);
    buf_cstr(out, c->base);
    buf_cstr(out, action);
}

static void end_line(RtClient *c, Buf *out)
{
    buf_printf(out, " HTTP/1.1\r\nHost: %s:%d\r\n", c->host, ntohs(c->address.sin_port));
    if (c->token && c->transport != RT_WS) {
        buf_cstr(out, "Authorization: Bearer ");
        buf_cstr(out, c->token);
        buf_cstr(out, "\r\n");
    }
}

/* --- what the owner hears --- */

static void deliver(RtClient *c, const char *json, size_t len)
{
    c->counters.frames++;
    if (c->events.on_frame && !c->freed && c->state != ST_CLOSED)
        c->events.on_frame(c->events.user, json, len);
}

/* The byte behind the text is ours for a moment. */
static void deliver_in_place(RtClient *c, char *json, size_t len)
{
    char saved = json[len];
    json[len] = '\0';
    deliver(c, json, len);
    json[len] = saved;
}

static void opened(RtClient *c)
{
    if (c->state != ST_CONNECT)
        return;
    c->state = ST_OPEN;
    c->deadline_us = 0;
    if (c->events.on_open && !c->freed)
        c->events.on_open(c->events.user);
    if (c->transport != RT_WS && !c->freed)
        start_post(c);
}

static void fail(RtClient *c, int code, const char *reason)
{
    if (c->state == ST_CLOSED)
        return;
    c->state = ST_CLOSED;
    sock_close(&c->main);
    sock_close(&c->post);
    c->deadline_us = c->poll_us = c->post_us = 0;
    if (!c->told && !c->freed && c->events.on_close) {
        c->told = true;
        c->events.on_close(c->events.user, code, reason);
    }
}

/* --- WebSocket --- */

static void ws_frame(RtClient *c, int opcode, const char *data, size_t len)
{
    Buf *out = &c->main.out;
    char head[14];
    size_t n = 0;
    head[n++] = (char)(0x80 | opcode);
    if (len < 126) {
        head[n++] = (char)(0x80 | len);
    } else if (len < 65536) {
        head[n++] = (char)(0x80 | 126);
        head[n++] = (char)(len >> 8);
        head[n++] = (char)len;
    } else {
        head[n++] = (char)(0x80 | 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            head[n++] = (char)((uint64_t)len >> shift);
    }
    c->loop->random = c->loop->random * 1664525u + 1013904223u;
    char mask[4];
    memcpy(mask, &c->loop->random, 4);
    buf_append(out, head, n);
    buf_append(out, mask, 4);
    size_t at = out->len;
    if (!buf_append(out, data, len))
        return;
    for (size_t i = 0; i < len; i++)
        out->ptr[at + i] ^= mask[i & 3];
}

static void ws_handshake(RtClient *c)
{
    Buf *out = &c->main.out;
    begin_request(c, out, "GET", "");
    end_line(c, out);
    buf_cstr(out, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: eHMtYmVuY2gtY2xpZW50IQ==\r\n");
    if (c->token) {
        buf_cstr(out, "Sec-WebSocket-Protocol: ");
        buf_cstr(out, c->token);
        buf_cstr(out, "\r\n");
    }
    buf_cstr(out, "\r\n");
}

static void ws_close(RtClient *c, const char *payload, size_t len)
{
    const unsigned char *p = (const unsigned char *)payload;
    int code = len >= 2 ? p[0] << 8 | p[1] : CODE_NORMAL;
    c->text.len = 0;
    if (len > 2)
        buf_append(&c->text, payload + 2, len - 2);
    buf_char(&c->text, '\0');
    if (c->state != ST_CLOSING) {
        ws_frame(c, 8, payload, len >= 2 ? 2 : 0);
        sock_flush(&c->main);
    }
    fail(c, code, c->text.failed ? "" : c->text.ptr);
}

static void ws_message(RtClient *c, int opcode, bool final, char *payload, size_t len)
{
    switch (opcode) {
    case 0:
    case 1:
        if (opcode == 1 && final) {
            deliver_in_place(c, payload, len);
            return;
        }
        if (opcode == 1)
            c->message.len = 0;
        buf_append(&c->message, payload, len);
        if (final && buf_char(&c->message, '\0'))
            deliver(c, c->message.ptr, c->message.len - 1);
        return;
    case 8: ws_close(c, payload, len); return;
    case 9:
        ws_frame(c, 10, payload, len);
        if (!sock_flush(&c->main))
            fail(c, CODE_CUT, "write failed");
        return;
    default: return;
    }
}

/* Handle the whole frames of p..p+n (a byte behind is writable); returns the bytes used. */
static size_t ws_frames(RtClient *c, char *p, size_t n)
{
    size_t used = 0;
    while (!c->freed && c->state != ST_CLOSED && n - used >= 2) {
        unsigned char *h = (unsigned char *)p + used;
        uint64_t len = h[1] & 0x7F;
        size_t head = len == 126 ? 4 : len == 127 ? 10 : 2;
        if (n - used < head)
            break;
        if (head > 2) {
            len = 0;
            for (size_t i = 2; i < head; i++)
                len = len << 8 | h[i];
        }
        if (h[1] & 0x80 || len > FRAME_MAX) {
            fail(c, CODE_CUT, "bad frame from the server");
            break;
        }
        if (n - used - head < len)
            break;
        ws_message(c, h[0] & 15, h[0] & 0x80, p + used + head, (size_t)len);
        used += head + (size_t)len;
    }
    return used;
}

/* Frames that were sent before the handshake was answered. */
static void send_waiting(RtClient *c)
{
    for (size_t at = 0; at < c->sending.len;) {
        uint32_t len;
        memcpy(&len, c->sending.ptr + at, sizeof len);
        ws_frame(c, 1, c->sending.ptr + at + sizeof len, len);
        at += sizeof len + len;
    }
    buf_deinit(&c->sending);
    if (!sock_flush(&c->main))
        fail(c, CODE_CUT, "write failed");
}

static void ws_read(RtClient *c, char *p, size_t n)
{
    if (c->state == ST_CONNECT) {
        const char *at = p;
        HttpResult r = response_feed(&c->response, &at, p + n);
        if (r == HTTP_MORE && !c->response.in_body)
            return;
        c->status = c->response.status;
        if (r == HTTP_BAD || c->status != 101) {
            fail(c, CODE_CUT, "handshake refused");
            return;
        }
        size_t len;
        const char *echo = head_value(&c->response, "Sec-WebSocket-Protocol", &len);
        if (c->token ? !echo || len != strlen(c->token) || memcmp(echo, c->token, len) != 0
                     : echo != NULL) {
            fail(c, CODE_CUT, "subprotocol not echoed");
            return;
        }
        response_deinit(&c->response);
        n -= (size_t)(at - p);
        p += at - p;
        xs_error err;
        c->greeting = true; /* joins go out first */
        for (size_t i = 0; i < c->channel_count; i++)
            if (!rt_join(c, c->channels[i], c->history, c->presence, &err))
                break;
        c->greeting = false;
        send_waiting(c);
        opened(c);
    }
    if (c->in.len) {
        buf_append(&c->in, p, n);
        if (!buf_reserve(&c->in, 1)) {
            fail(c, CODE_CUT, "out of memory");
            return;
        }
        p = c->in.ptr;
        n = c->in.len;
        size_t used = ws_frames(c, p, n);
        memmove(c->in.ptr, c->in.ptr + used, n - used);
        c->in.len = n - used;
        if (!c->in.len)
            buf_deinit(&c->in);
        return;
    }
    size_t used = ws_frames(c, p, n);
    if (used < n)
        buf_append(&c->in, p + used, n - used);
}

/* --- SSE --- */

static void sse_request(RtClient *c)
{
    Buf *out = &c->main.out;
    begin_request(c, out, "GET", "/sse?");
    buf_cstr(out, c->query);
    end_line(c, out);
    if (c->position[0])
        buf_printf(out, "Last-Event-ID: %s\r\n", c->position);
    buf_cstr(out, "Accept: text/event-stream\r\n\r\n");
}

static void copy_member(char *to, size_t size, Text object, const char *key)
{
    xs_str v = json_member((xs_str){object.ptr, object.len}, key);
    if (v.len >= 2 && v.ptr[0] == '"' && v.len - 2 < size) {
        memcpy(to, v.ptr + 1, v.len - 2);
        to[v.len - 2] = '\0';
    }
}

/* A gap is told as {"action":"resync","payload":…}. */
static void deliver_resync(RtClient *c, const char *payload, size_t len)
{
    c->text.len = 0;
    buf_cstr(&c->text, "{\"action\":\"resync\",\"payload\":");
    buf_append(&c->text, payload, len);
    buf_append(&c->text, "}", 2);
    if (!c->text.failed)
        deliver(c, c->text.ptr, c->text.len - 1);
}

static bool event_is(const RtClient *c, const char *name)
{
    return c->event.len == strlen(name) && memcmp(c->event.ptr, name, c->event.len) == 0;
}

static void sse_block(RtClient *c)
{
    if (!c->data.len)
        return;
    Text data = buf_view(&c->data);
    if (!c->event.len) {
        if (buf_char(&c->data, '\0'))
            deliver(c, c->data.ptr, c->data.len - 1);
    } else if (event_is(c, "open")) {
        copy_member(c->sid, sizeof c->sid, data, "sid");
        opened(c);
    } else if (event_is(c, "resync")) {
        deliver_resync(c, data.ptr, data.len);
    } else if (event_is(c, "bye")) {
        c->bye = true;
    }
}

static void sse_line(RtClient *c, const char *line, size_t len)
{
    static const char DATA[] = "data: ", ID[] = "id: ", EVENT[] = "event: ";
    if (!len) {
        sse_block(c);
        c->data.len = c->event.len = 0;
    } else if (len >= 6 && memcmp(line, DATA, 6) == 0) {
        buf_append(&c->data, line + 6, len - 6);
    } else if (len > 4 && memcmp(line, ID, 4) == 0 && len - 4 < sizeof c->position) {
        memcpy(c->position, line + 4, len - 4);
        c->position[len - 4] = '\0';
    } else if (len > 7 && memcmp(line, EVENT, 7) == 0) {
        buf_append(&c->event, line + 7, len - 7);
    }
}

static void sse_read(RtClient *c, const char *p, size_t n)
{
    const char *end = p + n;
    HttpResult r = response_feed(&c->response, &p, end);
    Response *resp = &c->response;
    if (!resp->in_body && r == HTTP_MORE)
        return;
    c->status = resp->status;
    if (r == HTTP_BAD || resp->status != 200) {
        fail(c, CODE_CUT, "stream refused");
        return;
    }
    size_t at = 0;
    for (const char *nl;
         !c->freed && c->state != ST_CLOSED && at < resp->body.len &&
         (nl = (const char *)memchr(resp->body.ptr + at, '\n', resp->body.len - at));) {
        size_t len = (size_t)(nl - (resp->body.ptr + at));
        const char *line = resp->body.ptr + at;
        at += len + 1;
        sse_line(c, line, len);
    }
    if (at)
        memmove(resp->body.ptr, resp->body.ptr + at, resp->body.len - at);
    resp->body.len -= at;
    if (r == HTTP_DONE && !c->freed)
        fail(c, c->bye ? CODE_RESTART : CODE_CUT, c->bye ? "bye" : "stream ended");
}

/* --- long-poll --- */

static void lp_request(RtClient *c)
{
    Buf *out = &c->main.out;
    begin_request(c, out, "GET", "/lp?");
    buf_cstr(out, c->query);
    if (c->position[0])
        buf_printf(out, "&cursor=%s", c->position);
    if (c->sid[0])
        buf_printf(out, "&sid=%s", c->sid);
    buf_printf(out, "&timeout=%u&limit=500", c->poll_s);
    end_line(c, out);
    buf_cstr(out, "\r\n");
    response_reset(&c->response);
    if (c->state != ST_CONNECT)
        set_timer(c, &c->deadline_us, c->poll_s * 1000 + POLL_GRACE_MS);
}

static void lp_answer(RtClient *c)
{
    Response *r = &c->response;
    c->status = r->status;
    if (r->status != 200 && r->status != 204 && r->status != 304) {
        fail(c, r->status == 503 ? CODE_RESTART : CODE_CUT, "poll refused");
        return;
    }
    bool keep = r->keep;
    Buf body = r->body; /* callbacks may send, and so on: keep it apart */
    r->body = BUF_INIT;
    response_reset(r);
    Text whole = {body.ptr, body.len};
    copy_member(c->sid, sizeof c->sid, whole, "sid");
    copy_member(c->position, sizeof c->position, whole, "cursor");
    xs_str wait = json_member((xs_str){whole.ptr, whole.len}, "wait");
    unsigned long wait_ms = wait.len ? strtoul(wait.ptr, NULL, 10) : 0;
    opened(c);
    xs_str resync = json_member((xs_str){whole.ptr, whole.len}, "resync");
    if (resync.len > 2 && !c->freed && c->state == ST_OPEN) {
        Buf payload = BUF_INIT;
        buf_cstr(&payload, "{\"channels\":");
        buf_append(&payload, resync.ptr, resync.len);
        buf_char(&payload, '}');
        if (!payload.failed)
            deliver_resync(c, payload.ptr, payload.len);
        buf_deinit(&payload);
    }
    xs_str frames = json_member((xs_str){whole.ptr, whole.len}, "frames");
    for (size_t at = 1;
         at < frames.len && frames.ptr[at] == '{' && !c->freed && c->state == ST_OPEN;) {
        size_t end = json_skip(frames, at);
        deliver_in_place(c, body.ptr + (frames.ptr - body.ptr) + at, end - at);
        at = end + 1;
    }
    buf_deinit(&body);
    if (c->freed || c->state != ST_OPEN)
        return;
    if (!keep)
        sock_close(&c->main);
    if (wait_ms)
        set_timer(c, &c->poll_us, (int64_t)(wait_ms > 60000 ? 60000 : wait_ms));
    else
        poll_again(c);
}

static void poll_again(RtClient *c)
{
    c->poll_us = 0;
    if (c->main.fd < 0) {
        c->counters.reconnects++;
        start_main(c);
        return;
    }
    lp_request(c);
    if (!sock_flush(&c->main))
        fail(c, CODE_CUT, "write failed");
}

static void lp_read(RtClient *c, const char *p, size_t n)
{
    HttpResult r = response_feed(&c->response, &p, p + n);
    if (r == HTTP_BAD)
        fail(c, CODE_CUT, "bad answer");
    else if (r == HTTP_DONE)
        lp_answer(c);
}

/* --- sending over POST --- */

static void start_post(RtClient *c)
{
    if (c->posting || !c->sending.len || c->state != ST_OPEN || !c->sid[0])
        return;
    if (c->post.fd < 0 && !sock_open(&c->post, &c->address)) {
        fail(c, CODE_CUT, "connect failed");
        return;
    }
    Buf body = BUF_INIT;
    size_t at = 0;
    unsigned n = 0;
    while (at < c->sending.len && n < POST_FRAMES && (n == 0 || body.len < POST_BYTES)) {
        uint32_t len;
        memcpy(&len, c->sending.ptr + at, sizeof len);
        if (n && body.len + len > POST_BYTES)
            break;
        buf_char(&body, n++ ? ',' : '[');
        buf_append(&body, c->sending.ptr + at + sizeof len, len);
        at += sizeof len + len;
    }
    if (n == 1 && !body.failed) /* alone: as it is, whatever it is */
        body.ptr[0] = ' ';
    else
        buf_char(&body, ']');
    Buf *out = &c->post.out;
    out->len = c->post.out_sent = 0;
    begin_request(c, out, "POST", "/send?sid=");
    buf_cstr(out, c->sid);
    end_line(c, out);
    buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body.len);
    buf_append(out, body.ptr, body.len);
    bool ok = !body.failed && !out->failed;
    buf_deinit(&body);
    c->in_flight = at;
    c->posting = true;
    response_reset(&c->post_response);
    set_timer(c, &c->post_us, POST_TIMEOUT_MS);
    if (!ok || !sock_flush(&c->post))
        fail(c, CODE_CUT, "send failed");
}

/* What a WebSocket client hears as an error frame comes as the status of a POST. */
static bool refused_frame(RtClient *c)
{
    static const struct {
        int status;
        const char *code;
    } codes[] = {{400, "bad_frame"}, {413, "too_large"}, {429, "rate_limited"}};
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        if (c->status != codes[i].status)
            continue;
        c->text.len = 0;
        buf_printf(&c->text, "{\"action\":\"error\",\"options\":{},\"payload\":{\"code\":\"%s\"}}",
                   codes[i].code);
        if (buf_char(&c->text, '\0'))
            deliver(c, c->text.ptr, c->text.len - 1);
        return true;
    }
    return false;
}

static void post_done(RtClient *c)
{
    c->status = c->post_response.status;
    c->posting = c->retried = false;
    c->post_us = 0;
    memmove(c->sending.ptr, c->sending.ptr + c->in_flight, c->sending.len - c->in_flight);
    c->sending.len -= c->in_flight;
    if (!c->post_response.keep)
        sock_close(&c->post);
    if (c->status != 200 && !refused_frame(c)) {
        c->text.len = 0;
        buf_printf(&c->text, "send refused with status %d", c->status);
        buf_char(&c->text, '\0');
        fail(c, CODE_CUT, c->text.failed ? "" : c->text.ptr);
        return;
    }
    if (c->freed)
        return;
    start_post(c);
}

static void post_read(RtClient *c, const char *p, size_t n)
{
    HttpResult r = response_feed(&c->post_response, &p, p + n);
    if (r == HTTP_BAD)
        fail(c, CODE_CUT, "bad answer");
    else if (r == HTTP_DONE)
        post_done(c);
}

/* The server may end an idle connection just as we use it: once more on a fresh one. */
static void post_ended(RtClient *c)
{
    sock_close(&c->post);
    if (!c->posting)
        return;
    if (c->retried || c->post_response.head.len) {
        fail(c, CODE_CUT, "send failed");
        return;
    }
    c->retried = true;
    c->posting = false;
    start_post(c);
}

/* --- life of a client --- */

static void start_main(RtClient *c)
{
    c->main.out.len = c->main.out_sent = 0;
    response_reset(&c->response);
    if (!sock_open(&c->main, &c->address)) {
        fail(c, CODE_CUT, "connect failed");
        return;
    }
    if (c->transport == RT_WS)
        ws_handshake(c);
    else if (c->transport == RT_SSE)
        sse_request(c);
    else
        lp_request(c);
    if (c->main.out.failed || !sock_flush(&c->main))
        fail(c, CODE_CUT, "connect failed");
}

static void main_ended(RtClient *c)
{
    if (c->transport == RT_LP && c->state == ST_OPEN && !c->response.head.len &&
        (c->poll_us || !c->retried)) {
        /* Ended between two polls: ask again on a new connection. */
        sock_close(&c->main);
        c->retried = true;
        if (!c->poll_us)
            poll_again(c);
        return;
    }
    fail(c, c->bye ? CODE_RESTART : CODE_CUT, c->bye ? "bye" : "connection ended");
}

static void on_input(Sock *s)
{
    RtClient *c = s->client;
    while (!c->freed && s->fd >= 0 && (s->post || !c->paused)) {
        ssize_t n = recv(s->fd, c->loop->buf, READ_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            if (s->post)
                post_ended(c);
            else
                main_ended(c);
            return;
        }
        c->counters.reads++;
        c->counters.bytes += (uint64_t)n;
        if (s->post) {
            post_read(c, c->loop->buf, (size_t)n);
        } else {
            if (c->transport == RT_LP)
                c->retried = false;
            if (c->transport == RT_WS)
                ws_read(c, c->loop->buf, (size_t)n);
            else if (c->transport == RT_SSE)
                sse_read(c, c->loop->buf, (size_t)n);
            else
                lp_read(c, c->loop->buf, (size_t)n);
        }
        if (n < READ_BYTES)
            return; /* level-triggered: what came since wakes us again */
    }
}

static void on_output(Sock *s)
{
    RtClient *c = s->client;
    if (s->connecting) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            fail(c, CODE_CUT, strerror(error));
            return;
        }
        s->connecting = false;
    }
    if (!sock_flush(s))
        fail(c, CODE_CUT, "write failed");
}

static void check_timers(RtLoop *loop)
{
    int64_t now = clock_mono_us();
    if (now < loop->next_timer_us)
        return;
    loop->next_timer_us = INT64_MAX;
    for (RtClient *c = loop->clients, *next; c; c = next) {
        next = c->next;
        if (c->deadline_us && now >= c->deadline_us)
            fail(c, CODE_CUT, c->state == ST_CONNECT ? "timeout while opening" : "timeout");
        if (c->post_us && now >= c->post_us)
            fail(c, CODE_CUT, "no answer to a send");
        if (c->poll_us && now >= c->poll_us)
            poll_again(c);
        const int64_t times[] = {c->deadline_us, c->post_us, c->poll_us};
        for (size_t i = 0; i < COUNT_OF(times); i++)
            if (times[i] && times[i] < loop->next_timer_us)
                loop->next_timer_us = times[i];
    }
}

static char *format_query(const RtOptions *opt)
{
    Buf q = BUF_INIT;
    for (size_t i = 0; i < opt->channel_count; i++) {
        buf_cstr(&q, i ? "&channel=" : "channel=");
        url_encode(&q, opt->channels[i]);
    }
    if (opt->history)
        buf_cstr(&q, "&history=1");
    if (opt->presence)
        buf_cstr(&q, "&presence=1");
    size_t len;
    return buf_take(&q, &len);
}

static char *copy_text(const char *s)
{
    return s ? mem_strndup(s, strlen(s)) : NULL;
}

static void client_free(RtClient *c)
{
    sock_close(&c->main);
    sock_close(&c->post);
    Buf *bufs[] = {&c->main.out, &c->post.out, &c->in,   &c->message,
                   &c->data,     &c->event,    &c->text, &c->sending};
    for (size_t i = 0; i < COUNT_OF(bufs); i++)
        buf_deinit(bufs[i]);
    response_deinit(&c->response);
    response_deinit(&c->post_response);
    for (size_t i = 0; i < c->channel_count; i++)
        mem_free(c->channels[i]);
    mem_free(c->channels);
    mem_free(c->host);
    mem_free(c->base);
    mem_free(c->token);
    mem_free(c->query);
    mem_free(c);
}

static bool copy_options(RtClient *c, const RtOptions *opt)
{
    c->transport = opt->transport;
    c->history = opt->history;
    c->presence = opt->presence;
    c->poll_s = opt->poll_s ? opt->poll_s : POLL_TIMEOUT_S;
    c->host = copy_text(opt->host);
    c->base = copy_text(opt->base);
    c->token = copy_text(opt->token);
    c->query = format_query(opt);
    if (opt->position)
        snprintf(c->position, sizeof c->position, "%s", opt->position);
    c->channels =
        opt->channel_count ? (char **)mem_zalloc(opt->channel_count, sizeof(char *)) : NULL;
    bool ok = c->host && c->base && c->query && (c->token || !opt->token) &&
              (c->channels || !opt->channel_count);
    for (; ok && c->channel_count < opt->channel_count; c->channel_count++) {
        c->channels[c->channel_count] = copy_text(opt->channels[c->channel_count]);
        if (!c->channels[c->channel_count])
            return false;
    }
    return ok;
}

RtClient *rt_connect(RtLoop *loop, const RtOptions *opt, const RtEvents *events, xs_error *err)
{
    RtClient *c = (RtClient *)mem_zalloc(1, sizeof *c);
    if (!c) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    c->loop = loop;
    c->events = *events;
    c->main = (Sock){.client = c, .fd = -1};
    c->post = (Sock){.client = c, .fd = -1, .post = true};
    c->address.sin_family = AF_INET;
    c->address.sin_port = htons((uint16_t)opt->port);
    const char *host = strcmp(opt->host, "localhost") == 0 ? "127.0.0.1" : opt->host;
    if (inet_pton(AF_INET, host, &c->address.sin_addr) != 1) {
        xs_fail(err, XS_E_IO, XS_NO_POS, "%s: not an IPv4 address", opt->host);
        client_free(c);
        return NULL;
    }
    if (!copy_options(c, opt)) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        client_free(c);
        return NULL;
    }
    set_timer(c, &c->deadline_us, opt->open_timeout_ms ? opt->open_timeout_ms : OPEN_TIMEOUT_MS);
    c->told = true; /* a failure right here is this call's error */
    start_main(c);
    c->told = false;
    if (c->state == ST_CLOSED) {
        xs_fail(err, XS_E_IO, XS_NO_POS, "%s:%d: %s", opt->host, opt->port, strerror(errno));
        client_free(c);
        return NULL;
    }
    c->next = loop->clients;
    if (loop->clients)
        loop->clients->prev = c;
    loop->clients = c;
    return c;
}

void rt_free(RtClient *c)
{
    if (!c || c->freed)
        return;
    c->freed = true;
    c->state = ST_CLOSED;
    sock_close(&c->main);
    sock_close(&c->post);
    RtLoop *loop = c->loop;
    *(c->prev ? &c->prev->next : &loop->clients) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (!loop->stepping) {
        client_free(c);
        return;
    }
    /* `next` stays as it is: check_timers may be standing on this client. */
    c->prev = loop->grave;
    loop->grave = c;
}

bool rt_is_open(const RtClient *c)
{
    return c->state == ST_OPEN;
}

bool rt_is_closed(const RtClient *c)
{
    return c->state == ST_CLOSED;
}

int rt_status(const RtClient *c)
{
    return c->status;
}

const char *rt_position(const RtClient *c)
{
    return c->position;
}

const char *rt_sid(const RtClient *c)
{
    return c->sid;
}

void rt_counters(const RtClient *c, RtCounters *out)
{
    *out = c->counters;
}

bool rt_send(RtClient *c, const char *json, size_t len, xs_error *err)
{
    if (c->state == ST_CLOSED || c->state == ST_CLOSING)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "the connection is closed");
    if (c->transport == RT_WS && (c->state == ST_OPEN || c->greeting)) {
        ws_frame(c, 1, json, len);
        if (c->main.out.failed)
            return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return sock_flush(&c->main) || xs_fail(err, XS_E_IO, XS_NO_POS, "the connection is broken");
    }
    uint32_t n = (uint32_t)len;
    buf_append(&c->sending, &n, sizeof n);
    buf_append(&c->sending, json, len);
    if (c->sending.failed)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    if (c->transport != RT_WS)
        start_post(c);
    return true;
}

static bool send_action(RtClient *c, const char *action, const char *channel, const char *payload,
                        xs_error *err)
{
    Buf b = BUF_INIT;
    buf_printf(&b, "{\"action\":\"%s\",\"options\":{\"channel\":", action);
    json_write_text(&b, text_from(channel));
    buf_cstr(&b, "},\"payload\":");
    buf_cstr(&b, payload);
    buf_char(&b, '}');
    bool ok = b.failed ? xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory")
                       : rt_send(c, b.ptr, b.len, err);
    buf_deinit(&b);
    return ok;
}

bool rt_join(RtClient *c, const char *channel, bool history, bool presence, xs_error *err)
{
    char payload[64];
    snprintf(payload, sizeof payload, "{\"history\":%s,\"presence\":%s}",
             history ? "true" : "false", presence ? "true" : "false");
    return send_action(c, "join", channel, payload, err);
}

bool rt_leave(RtClient *c, const char *channel, xs_error *err)
{
    return send_action(c, "leave", channel, "null", err);
}

bool rt_message(RtClient *c, const char *channel, const char *payload, xs_error *err)
{
    return send_action(c, "message", channel, payload, err);
}

void rt_close(RtClient *c, int code)
{
    if (c->state == ST_CLOSED || c->state == ST_CLOSING)
        return;
    if (c->transport != RT_WS || c->state != ST_OPEN) {
        fail(c, CODE_NORMAL, "");
        return;
    }
    const char payload[2] = {(char)(code >> 8), (char)code};
    ws_frame(c, 8, payload, 2);
    c->state = ST_CLOSING;
    set_timer(c, &c->deadline_us, CLOSE_TIMEOUT_MS);
    if (!sock_flush(&c->main))
        fail(c, CODE_CUT, "write failed");
}

void rt_pause(RtClient *c, bool on)
{
    c->paused = on;
    sock_watch(&c->main);
}

/* --- loop --- */

RtLoop *rt_loop_new(void)
{
    RtLoop *loop = (RtLoop *)mem_zalloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->buf = (char *)mem_alloc(READ_BYTES + 1);
    loop->next_timer_us = INT64_MAX;
    loop->random = (uint32_t)clock_mono_us();
    if (loop->epoll >= 0 && loop->buf)
        return loop;
    rt_loop_free(loop);
    return NULL;
}

static void empty_grave(RtLoop *loop)
{
    while (loop->grave) {
        RtClient *c = loop->grave;
        loop->grave = c->prev;
        client_free(c);
    }
}

void rt_loop_free(RtLoop *loop)
{
    if (!loop)
        return;
    while (loop->clients)
        rt_free(loop->clients);
    empty_grave(loop);
    if (loop->epoll >= 0)
        close(loop->epoll);
    mem_free(loop->buf);
    mem_free(loop);
}

void rt_loop_step(RtLoop *loop, int timeout_ms)
{
    if (loop->next_timer_us != INT64_MAX) {
        int64_t ms = (loop->next_timer_us - clock_mono_us() + 999) / 1000;
        if (ms < timeout_ms)
            timeout_ms = ms < 0 ? 0 : (int)ms;
    }
    struct epoll_event events[EVENTS_PER_STEP];
    int n = epoll_wait(loop->epoll, events, EVENTS_PER_STEP, timeout_ms);
    loop->stepping = true;
    for (int i = 0; i < n; i++) {
        Sock *s = (Sock *)events[i].data.ptr;
        if (s->fd >= 0 && events[i].events & (EPOLLOUT | EPOLLERR))
            on_output(s);
        if (s->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_input(s);
    }
    check_timers(loop);
    loop->stepping = false;
    empty_grave(loop);
}

bool rt_loop_run(RtLoop *loop, int timeout_ms, bool (*done)(void *ctx), void *ctx)
{
    int64_t end = clock_mono_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        if (done && done(ctx))
            return true;
        int64_t left = (end - clock_mono_us() + 999) / 1000;
        if (left <= 0)
            return false;
        rt_loop_step(loop, left > 1000 ? 1000 : (int)left);
    }
}
