/* fleet.c - subscribers: connect, subscribe, count markers. */
#include "bench/fleet.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"

enum {
    READ_BYTES = 1 << 16,
    OPENING_MAX = 200, /* handshakes under way at once */
    EVENTS_PER_STEP = 512,
    HEAD_MAX = 8192,
    PER_SOURCE = 20000, /* connections from one loopback address */
    MASK = 0x5A
};

typedef enum Phase { PHASE_NEW, PHASE_CONNECT, PHASE_HEAD, PHASE_BODY, PHASE_ENDED } Phase;

typedef struct Sub {
    const Dialect *dialect;
    int fd;
    uint8_t phase;
    bool idle, joined, stuck, started, late, heard;
    uint8_t carry;      /* bytes of a marker cut by the end of a read */
    uint8_t frame_have; /* bytes of a WebSocket frame header */
    uint8_t opcode;
    uint32_t step;
    uint64_t next; /* number of the event that should come; unordered: their sum so far */
    uint64_t rest; /* of the frame's payload, or of the long-poll body */
    unsigned char frame[10];
    char marker[MARKER_BYTES];
    Buf text; /* request head, message or body being gathered; only while needed */
    char *position, *validator; /* long-poll: cursor and sid, or Last-Modified and Etag */
} Sub;

typedef struct FleetState {
    Fleet *f;
    struct sockaddr_in to;
    const char *host;
    int port, epoll;
    Sub **subs; /* stable addresses */
    size_t cap;
    uint32_t next_new;
    char buffer[READ_BYTES];
} FleetState;

const char *const carrier_names[] = {"ws", "sse", "longpoll"};

bool carrier_named(const char *name, Carrier *out)
{
    for (size_t i = 0; i < COUNT_OF(carrier_names); i++)
        if (strcmp(name, carrier_names[i]) == 0) {
            *out = (Carrier)i;
            return true;
        }
    *out = CARRY_LONGPOLL;
    return strcmp(name, "lp") == 0;
}

/* ---- markers ---- */

void marker_write(char out[MARKER_BYTES + 1], uint64_t number, int64_t at_us)
{
    snprintf(out, MARKER_BYTES + 1, "@%08llx%016llx@", (unsigned long long)(number & 0xffffffff),
             (unsigned long long)at_us);
}

static bool hex(const char *p, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        unsigned d;
        if (c >= '0' && c <= '9')
            d = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            d = (unsigned)(c - 'a' + 10);
        else
            return false;
        v = v << 4 | d;
    }
    *out = v;
    return true;
}

static bool take_marker(Fleet *f, Sub *s, const char *p, int64_t now)
{
    uint64_t number, at;
    if (p[MARKER_BYTES - 1] != '@' || !hex(p + 1, 8, &number) || !hex(p + 9, 16, &at))
        return false;
    if (f->unordered) {
        s->next += number;
    } else if (!(number & MARKER_UNORDERED)) {
        f->disordered += number != s->next && !(f->late && !s->heard);
        s->next = number + 1;
        s->heard = true;
    }
    if (s->idle)
        return true;
    f->received++;
    f->last_us = now;
    if (!f->first_us)
        f->first_us = (int64_t)at;
    hist_add(&f->latency, now > (int64_t)at ? (uint64_t)(now - (int64_t)at) : 0);
    return true;
}

static void scan(Fleet *f, Sub *s, const char *p, size_t n, int64_t now)
{
    if (s->carry) {
        size_t rest = (size_t)MARKER_BYTES - s->carry, more = rest < n ? rest : n;
        memcpy(s->marker + s->carry, p, more);
        s->carry = (uint8_t)(s->carry + more);
        if (s->carry < MARKER_BYTES)
            return;
        s->carry = 0;
        if (take_marker(f, s, s->marker, now)) {
            p += more;
            n -= more;
        } /* else the '@' was another byte: what follows it is scanned again */
    }
    while (n) {
        const char *at = (const char *)memchr(p, '@', n);
        if (!at)
            return;
        n -= (size_t)(at - p);
        p = at;
        if (n < MARKER_BYTES) {
            memcpy(s->marker, p, n);
            s->carry = (uint8_t)n;
            return;
        }
        size_t used = take_marker(f, s, p, now) ? MARKER_BYTES : 1;
        p += used;
        n -= used;
    }
}

/* ---- ending ---- */

static void end(FleetState *st, Sub *s, const char *why)
{
    Fleet *f = st->f;
    if (s->phase == PHASE_ENDED)
        return;
    if (!s->joined && s->started)
        f->opening--;
    if (why && f->ended == 0 && !s->stuck)
        snprintf(f->trouble, sizeof f->trouble, "%s", why);
    f->ended += !s->stuck;
    s->phase = PHASE_ENDED;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    buf_deinit(&s->text);
}

static bool send_bytes(FleetState *st, Sub *s, const char *p, size_t n)
{
    /* Requests are small and the socket is empty: a short write means that it is broken. */
    if (send(s->fd, p, n, MSG_NOSIGNAL) == (ssize_t)n)
        return true;
    end(st, s, "cannot send");
    return false;
}

static bool ws_send(FleetState *st, Sub *s, unsigned opcode, Text payload)
{
    Buf b = BUF_INIT;
    buf_char(&b, (char)(0x80 | opcode));
    if (payload.len < 126) {
        buf_char(&b, (char)(0x80 | payload.len));
    } else {
        buf_char(&b, (char)(0x80 | 126));
        buf_char(&b, (char)(payload.len >> 8));
        buf_char(&b, (char)payload.len);
    }
    static const char mask[4] = {MASK, MASK, MASK, MASK};
    buf_append(&b, mask, 4);
    for (size_t i = 0; i < payload.len; i++)
        buf_char(&b, (char)(payload.ptr[i] ^ MASK));
    bool ok = !b.failed && send_bytes(st, s, b.ptr, b.len);
    buf_deinit(&b);
    return ok;
}

/* ---- subscribing ---- */

static void joined(FleetState *st, Sub *s)
{
    if (s->joined)
        return;
    s->joined = true;
    st->f->joined++;
    st->f->opening--;
}

/* Do the steps that wait for nothing, or for what `seen` holds. */
static bool advance(FleetState *st, Sub *s, Text seen)
{
    const Dialect *d = s->dialect;
    while (s->step < d->nsteps) {
        const Step *step = &d->steps[s->step];
        if (step->wait.ptr) {
            size_t at = text_find(seen, step->wait, 0);
            if (at == SIZE_MAX)
                return true;
            seen = text_slice(seen, at + step->wait.len, seen.len);
        }
        s->step++;
        if (step->send.len && !ws_send(st, s, d->binary ? 2 : 1, step->send))
            return false;
    }
    joined(st, s);
    return true;
}

static void request(FleetState *st, Sub *s)
{
    const Dialect *d = s->dialect;
    Buf b = BUF_INIT;
    buf_printf(&b, "GET %s", d->path);
    if (s->position && !d->etag)
        buf_printf(&b, "&cursor=%s&sid=%s", s->position, s->validator);
    buf_printf(&b, " HTTP/1.1\r\nHost: %s:%d\r\n%s", st->host, st->port, d->headers);
    if (d->carrier == CARRY_WS)
        buf_cstr(&b, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    else if (d->carrier == CARRY_SSE)
        buf_cstr(&b, "Accept: text/event-stream\r\n");
    if (s->position && d->etag)
        buf_printf(&b, "If-Modified-Since: %s\r\nIf-None-Match: %s\r\n", s->position,
                   s->validator ? s->validator : "0");
    buf_cstr(&b, "\r\n");
    s->phase = PHASE_HEAD;
    if (!b.failed)
        send_bytes(st, s, b.ptr, b.len);
    buf_deinit(&b);
}

static void set_text(char **to, Text value)
{
    mem_free(*to);
    *to = mem_strndup(value.ptr, value.len);
}

/* "key":"value" of a JSON text the server wrote; len 0 = absent. */
static Text json_member(Text json, const char *key)
{
    char name[32];
    int n = snprintf(name, sizeof name, "\"%s\":\"", key);
    size_t at = text_find(json, (Text){name, (size_t)n}, 0);
    if (at == SIZE_MAX)
        return (Text){0};
    at += (size_t)n;
    size_t stop = text_find(json, TEXT("\""), at);
    return stop == SIZE_MAX ? (Text){0} : text_slice(json, at, stop);
}

static Text header_of(Text head, const char *name)
{
    char *found = strcasestr(head.ptr, name); /* the head ends with a NUL */
    if (!found)
        return (Text){0};
    found += strlen(name);
    while (*found == ' ')
        found++;
    return (Text){found, strcspn(found, "\r\n")};
}

static void poll_done(FleetState *st, Sub *s)
{
    Text body = buf_view(&s->text);
    if (!s->dialect->etag) {
        set_text(&s->position, json_member(body, "cursor"));
        set_text(&s->validator, json_member(body, "sid"));
        if (!s->position || !s->validator) {
            end(st, s, "an answer without cursor");
            return;
        }
    }
    buf_deinit(&s->text);
    if (advance(st, s, TEXT("")))
        request(st, s);
}

/* ---- receiving ---- */

static void ws_message(FleetState *st, Sub *s)
{
    Text message = buf_view(&s->text);
    if (s->opcode == 9)
        ws_send(st, s, 10, message);
    else if (s->opcode == 8)
        end(st, s, "the server closed");
    else if (s->dialect->ping.len && text_eq(message, s->dialect->ping))
        ws_send(st, s, 1, s->dialect->pong);
    else if (!s->joined)
        advance(st, s, message);
    if (s->joined)
        buf_deinit(&s->text);
    s->text.len = 0;
}

static size_t frame_header_bytes(const Sub *s)
{
    if (s->frame_have < 2)
        return 2;
    unsigned len = s->frame[1] & 127;
    return len == 126 ? 4 : len == 127 ? 10 : 2;
}

/* Frames by their lengths; the payload is kept only when somebody has to look at it. */
static void ws_bytes(FleetState *st, Sub *s, const char *p, size_t n)
{
    while (n && s->phase == PHASE_BODY) {
        if (!s->rest) {
            size_t want = frame_header_bytes(s);
            if (s->frame_have < want) {
                s->frame[s->frame_have++] = (unsigned char)*p++;
                n--;
                want = frame_header_bytes(s);
            }
            if (s->frame_have < want)
                continue;
            s->frame_have = 0;
            s->opcode = s->frame[0] & 15;
            s->rest = s->frame[1] & 127;
            for (size_t i = 2; i < want; i++)
                s->rest = (i == 2 ? 0 : s->rest << 8) | s->frame[i];
            if (!s->rest)
                ws_message(st, s);
            continue;
        }
        size_t take = s->rest < n ? (size_t)s->rest : n;
        bool small_ping = s->dialect->ping.len && s->rest <= s->dialect->ping.len;
        if (!s->joined || s->opcode >= 8 || small_ping || s->text.len)
            buf_append(&s->text, p, take);
        p += take;
        n -= take;
        s->rest -= take;
        if (!s->rest && (s->text.len || s->opcode >= 8))
            ws_message(st, s);
    }
}

static void body_bytes(FleetState *st, Sub *s, const char *p, size_t n)
{
    switch (s->dialect->carrier) {
    case CARRY_WS: ws_bytes(st, s, p, n); break;
    case CARRY_SSE:
        if (!s->joined) {
            buf_append(&s->text, p, n);
            advance(st, s, buf_view(&s->text));
            if (s->joined)
                buf_deinit(&s->text);
        }
        break;
    case CARRY_LONGPOLL:
        buf_append(&s->text, p, n < s->rest ? n : (size_t)s->rest);
        s->rest -= n < s->rest ? n : s->rest;
        if (!s->rest)
            poll_done(st, s);
        break;
    }
}

/* Head of an answer, up to the blank line. @return bytes of p that belong to it */
static size_t head_bytes(FleetState *st, Sub *s, const char *p, size_t n)
{
    size_t before = s->text.len;
    buf_append(&s->text, p, n);
    size_t stop = text_find(buf_view(&s->text), TEXT("\r\n\r\n"), 0);
    if (stop == SIZE_MAX) {
        if (s->text.len > HEAD_MAX)
            end(st, s, "an answer head without end");
        return n;
    }
    stop += 4;
    s->text.len = stop;
    buf_char(&s->text, '\0');
    Text head = {s->text.ptr, stop};
    int status = s->text.failed || stop < 12 ? 0 : (int)strtol(head.ptr + 9, NULL, 10);
    if (status != (s->dialect->carrier == CARRY_WS ? 101 : 200)) {
        char why[160];
        snprintf(why, sizeof why, "refused with status %d", status);
        end(st, s, why);
        return n;
    }
    s->phase = PHASE_BODY;
    s->rest = 0;
    if (s->dialect->carrier == CARRY_LONGPOLL) {
        s->rest = strtoull(header_of(head, "\ncontent-length:").ptr ?: "0", NULL, 10);
        if (s->dialect->etag) {
            set_text(&s->position, header_of(head, "\nlast-modified:"));
            set_text(&s->validator, header_of(head, "\netag:"));
        }
    }
    s->text.len = 0;
    if (s->dialect->carrier != CARRY_LONGPOLL)
        advance(st, s, TEXT(""));
    return stop - before;
}

static void on_bytes(FleetState *st, Sub *s, const char *p, size_t n, int64_t now)
{
    while (n && s->phase == PHASE_HEAD) {
        size_t used = head_bytes(st, s, p, n);
        p += used;
        n -= used;
        /* A long-poll answer that comes whole is the usual case: head, then body, in one read. */
    }
    if (!n || s->phase != PHASE_BODY)
        return;
    scan(st->f, s, p, n, now);
    body_bytes(st, s, p, n);
}

static void readable(FleetState *st, Sub *s)
{
    ssize_t n = recv(s->fd, st->buffer, sizeof st->buffer, MSG_DONTWAIT);
    if (n > 0)
        on_bytes(st, s, st->buffer, (size_t)n, clock_mono_us());
    else if (n == 0)
        end(st, s, "the server closed the connection");
    else if (errno != EAGAIN && errno != EINTR)
        end(st, s, strerror(errno));
}

/* ---- opening ---- */

static bool watch(FleetState *st, Sub *s, uint32_t events, int op)
{
    struct epoll_event ev = {.events = events, .data.ptr = s};
    return epoll_ctl(st->epoll, op, s->fd, &ev) == 0;
}

static void open_sub(FleetState *st, Sub *s, uint32_t index)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int on = 1;
    s->started = true;
    st->f->opening++;
    s->phase = PHASE_CONNECT;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) {
        end(st, s, "no more descriptors; raise the limit of open files (ulimit -n)");
        return;
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (index >= PER_SOURCE && (ntohl(st->to.sin_addr.s_addr) >> 24) == 127) {
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / PER_SOURCE);
        if (bind(s->fd, (struct sockaddr *)&from, sizeof from) != 0) {
            end(st, s, strerror(errno));
            return;
        }
    }
    if (connect(s->fd, (struct sockaddr *)&st->to, sizeof st->to) != 0 && errno != EINPROGRESS) {
        end(st, s, strerror(errno));
        return;
    }
    if (!watch(st, s, EPOLLOUT, EPOLL_CTL_ADD))
        end(st, s, strerror(errno));
}

static void connected(FleetState *st, Sub *s)
{
    int problem = 0;
    socklen_t len = sizeof problem;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &problem, &len);
    if (problem) {
        end(st, s, strerror(problem));
        return;
    }
    if (!watch(st, s, EPOLLIN, EPOLL_CTL_MOD)) {
        end(st, s, strerror(errno));
        return;
    }
    request(st, s);
    /* A first poll that is held has no answer to wait for. */
    if (s->dialect->carrier == CARRY_LONGPOLL && s->dialect->etag)
        joined(st, s);
}

/* ---- fleet ---- */

bool fleet_init(Fleet *f, const char *host, int port)
{
    *f = (Fleet){.opening_max = OPENING_MAX};
    FleetState *st = (FleetState *)mem_zalloc(1, sizeof *st);
    if (!st)
        return false;
    f->state = st;
    st->f = f;
    st->host = host;
    st->port = port;
    st->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    st->epoll = epoll_create1(EPOLL_CLOEXEC);
    return st->epoll >= 0 && inet_pton(AF_INET, host, &st->to.sin_addr) == 1;
}

void fleet_deinit(Fleet *f)
{
    FleetState *st = f->state;
    if (!st)
        return;
    for (uint32_t i = 0; i < f->count; i++) {
        Sub *s = st->subs[i];
        if (s->fd >= 0)
            close(s->fd);
        buf_deinit(&s->text);
        mem_free(s->position);
        mem_free(s->validator);
        mem_free(s);
    }
    if (st->epoll >= 0)
        close(st->epoll);
    mem_free(st->subs);
    mem_free(st);
    f->state = NULL;
}

bool fleet_add(Fleet *f, const Dialect *dialect, uint32_t n, bool idle)
{
    FleetState *st = f->state;
    for (uint32_t i = 0; i < n; i++) {
        void *subs = st->subs;
        bool ok = mem_grow(&subs, &st->cap, f->count + 1, sizeof *st->subs);
        st->subs = (Sub **)subs;
        Sub *s = ok ? (Sub *)mem_zalloc(1, sizeof *s) : NULL;
        if (!s)
            return false;
        s->dialect = dialect;
        s->idle = idle;
        s->fd = -1;
        st->subs[f->count++] = s;
    }
    return true;
}

void fleet_step(Fleet *f, int timeout_ms)
{
    FleetState *st = f->state;
    struct epoll_event events[EVENTS_PER_STEP];
    for (; st->next_new < f->count && f->opening < f->opening_max; st->next_new++)
        open_sub(st, st->subs[st->next_new], st->next_new);
    int n = epoll_wait(st->epoll, events, EVENTS_PER_STEP, timeout_ms);
    for (int i = 0; i < n; i++) {
        Sub *s = (Sub *)events[i].data.ptr;
        if (s->phase == PHASE_ENDED)
            continue;
        if (s->phase == PHASE_CONNECT)
            connected(st, s);
        else
            readable(st, s);
    }
}

uint32_t fleet_complete(const Fleet *f, uint64_t n)
{
    uint32_t complete = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        const Sub *s = f->state->subs[i];
        complete += !s->idle && !s->stuck && s->next == n * (n - 1) / 2;
    }
    return complete;
}

static uint32_t last_open(Fleet *f, uint32_t n, void (*fn)(FleetState *, Sub *))
{
    uint32_t done = 0;
    for (uint32_t i = f->count; i-- > 0 && done < n;) {
        Sub *s = f->state->subs[i];
        if (s->phase != PHASE_ENDED && !s->idle && !s->stuck) {
            fn(f->state, s);
            done++;
        }
    }
    return done;
}

static void stick(FleetState *st, Sub *s)
{
    int small = 4096;
    epoll_ctl(st->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    s->stuck = true;
}

void fleet_postpone(Fleet *f, uint32_t n)
{
    FleetState *st = f->state;
    int large = 1 << 20; /* what comes meanwhile should fit into the socket */
    for (uint32_t i = 0; i < f->count && n; i++) {
        Sub *s = st->subs[i];
        if (s->phase == PHASE_ENDED || s->idle)
            continue;
        setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
        s->late = true;
        n -= watch(st, s, 0, EPOLL_CTL_MOD);
    }
}

void fleet_catch_up(Fleet *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        Sub *s = f->state->subs[i];
        if (s->late && s->phase != PHASE_ENDED && !watch(f->state, s, EPOLLIN, EPOLL_CTL_MOD))
            end(f->state, s, strerror(errno));
        s->late = false;
    }
}

void fleet_stick(Fleet *f, uint32_t n)
{
    f->stuck += last_open(f, n, stick);
}

uint32_t fleet_drop(Fleet *f, uint32_t n)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < f->count && done < n; i++) {
        Sub *s = f->state->subs[i];
        if (!s->joined || s->phase == PHASE_ENDED || s->idle || s->stuck)
            continue;
        end(f->state, s, NULL);
        done++;
    }
    f->dropped += done;
    return done;
}
