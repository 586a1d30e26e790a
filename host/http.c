/* http.c - the connections of the HTTP side, and the carrier of those that realtime lives on: an
 * own reader of HTTP/1.1 on the libevent loop. All others go to libmicrohttpd (mhd.c); each of the
 * two carries every kind of exchange. A connection here reads a request (host/httphead.h), lends it
 * to the handler as an exchange, and writes the answer; requests that follow wait in its buffer. A
 * stream is handed to its transport once its head is on the wire. One timer walks the connections
 * and ends those that take too long: heads, bodies and unread answers all have their time.
 * Specification: include/xs/http.h, runtime.md §5, realtime.md §7.3, §12.3. */
#include "core/clock.h"
#include "host/http_i.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/text.h"
#include "host/mhd.h"

enum {
    SCRATCH_BYTES = 64 << 10, /* one read of a socket; shared by all connections */
    AHEAD_BYTES = 64 << 10,   /* of later requests, read while one is answered */
    INLINE_BODY = 16 << 10,   /* answers up to this size go out in one piece with their head */
    FILE_PIECE = 256 << 10,
    SWEEP_MIN_MS = 100,
    SWEEP_MAX_MS = 1000,
    LINGER_MS = 2000,        /* for a peer that still sends to read the refusal */
    BODY_BYTES_PER_S = 1024, /* a body slower than this on average runs out of time */
    FIRST_BODY_BYTES = 64 << 10,
    SPARE_BYTES = 64 << 10 /* the buffer of an answer, kept for the next one */
};

typedef struct Conn Conn;

typedef enum ConnState {
    C_HEAD,   /* between requests, or a head is incomplete */
    C_BODY,   /* collecting the body */
    C_WAIT,   /* the handler has the exchange */
    C_REPLY,  /* an answer is on its way */
    C_STREAM, /* the head of a stream is on its way */
    C_OPEN,   /* the transport writes to the socket */
    C_LINGER  /* answered for the last time; what still comes is dropped */
} ConnState;

/* In front what every request of a known client touches, so that little memory is fetched. */
struct Conn {
    Http *http;
    int fd;
    ConnState state;
    bool reading, writing;      /* its events are armed */
    bool advancing, in_handler; /* calls of this file are on the stack */
    bool eof;                   /* the peer has sent all it will */
    bool keep_alive;            /* after this answer */
    bool broken;                /* to be freed when nothing of it is on the stack */
    bool http10;                /* the request that is answered */
    bool head_begun;            /* bytes of the next request have been seen */
    int file;                   /* -1 = none */
    xs_http *x;
    xs_http *last;       /* answered; remembered for the next request (http_remember) */
    int64_t deadline_ms; /* monotonic; 0 = none */
    size_t scanned;
    Text now;  /* bytes not used up, while advancing: of the scratch buffer or of in */
    Text head; /* of the request that the handler sees, as it was read */
    Buf in;    /* bytes of requests not used up yet */
    Buf out;
    size_t out_at, tail_at;
    Buf tail; /* large body behind out */
    struct event readable, writable;
    Conn *next, *prev;
    uint64_t file_left;
    uint64_t body_left;
    ChunkReader chunks;
    int64_t body_began_ms;
    uint64_t body_bytes;
    char ip[INET6_ADDRSTRLEN];
    int port;
};

struct Http {
    struct event_base *base;
    struct event *sweep;
    HttpOptions opt;
    HttpHandler handler;
    void *ctx;
    Conn *first;
    size_t count, busy;
    HttpStats stats; /* of both carriers */
    Mhd *mhd;
    bool draining;
    Buf spare; /* for the next answer */
    time_t date_s;
    char date[80]; /* first lines of an answer with status 200 */
    size_t date_len;
    char scratch[SCRATCH_BYTES];
};
/* ---- connections ---- */

static void set_reading(Conn *c, bool on)
{
    if (c->reading == on)
        return;
    c->reading = on;
    if (on)
        event_add(&c->readable, NULL);
    else
        event_del(&c->readable);
}

static void set_writing(Conn *c, bool on)
{
    if (c->writing == on)
        return;
    c->writing = on;
    if (on)
        event_add(&c->writable, NULL);
    else
        event_del(&c->writable);
}

static void set_state(Conn *c, ConnState state)
{
    bool was = c->state != C_HEAD && c->state != C_LINGER;
    bool is = state != C_HEAD && state != C_LINGER;
    c->http->busy += (size_t)is - (size_t)was;
    c->state = state;
}

static void drop_answer(Conn *c)
{
    Buf *spare = &c->http->spare;
    if (c->out.ptr && !spare->ptr && c->out.cap <= SPARE_BYTES) {
        *spare = c->out;
        spare->len = 0;
        spare->failed = false;
        c->out = BUF_INIT;
    }
    buf_deinit(&c->out);
    buf_deinit(&c->tail);
    c->out_at = c->tail_at = 0;
    if (c->file >= 0)
        close(c->file);
    c->file = -1;
}

static void free_exchange(Conn *c)
{
    xs_http *x = c->x;
    c->x = NULL;
    if (!x)
        return;
    x->conn = NULL;
    if (x->known.memo && !x->kept && !c->broken && !c->last)
        c->last = x;
    else
        exchange_drop(x);
}

static void forget_last(Conn *c)
{
    if (c->last)
        exchange_drop(c->last);
    c->last = NULL;
}

/* The exchange ends because the client left or the server stops. */
static void tell_closed(Conn *c)
{
    xs_http *x = c->x;
    const xs_http_events *events = x ? x->events : NULL;
    if (!events)
        return;
    x->events = NULL;
    x->over = true;
    if (events->on_closed)
        events->on_closed(x->peer);
}

/* Nothing of the connection may be touched after this, unless it is on the stack. */
static void end_conn(Conn *c)
{
    Http *h = c->http;
    if (!c->broken) {
        c->broken = true;
        tell_closed(c);
        event_del(&c->readable);
        event_del(&c->writable);
    }
    /* A handler without events still holds the exchange: the connection goes with its answer. */
    if (c->advancing || (c->state == C_WAIT && c->x && !c->x->over))
        return;
    set_state(c, C_LINGER);
    free_exchange(c);
    forget_last(c);
    drop_answer(c);
    buf_deinit(&c->in);
    if (c->next)
        c->next->prev = c->prev;
    *(c->prev ? &c->prev->next : &h->first) = c->next;
    h->count--;
    close(c->fd);
    mem_free(c);
}

static bool event_stream_state(const Conn *c)
{
    return c->state == C_STREAM || c->state == C_OPEN;
}

/* ---- sending ---- */

/* The last answer is out: let the peer read it before the socket goes. */
static void linger(Conn *c)
{
    if (c->eof) {
        end_conn(c);
        return;
    }
    set_state(c, C_LINGER);
    shutdown(c->fd, SHUT_WR);
    buf_deinit(&c->in);
    c->now = (Text){"", 0};
    c->deadline_ms = clock_coarse_ms() + LINGER_MS;
    set_writing(c, false);
    set_reading(c, true);
}

static void begin_idle(Conn *c)
{
    set_state(c, C_HEAD);
    c->scanned = 0;
    c->deadline_ms = clock_coarse_ms() + (int64_t)c->http->opt.idle_s * 1000;
}

/* Everything of an answer is on the wire. */
static void answer_sent(Conn *c)
{
    drop_answer(c);
    if (c->state == C_STREAM) {
        /* From here on the transport owns the writing; it hears so from the loop. */
        set_state(c, C_OPEN);
        c->deadline_ms = 0;
        set_writing(c, true);
        return;
    }
    if (!c->keep_alive || c->http->draining) {
        linger(c);
        return;
    }
    begin_idle(c);
    set_reading(c, true);
    if (!c->advancing && c->in.len)
        event_active(&c->readable, EV_READ, 0);
}

/* 1 = all of it sent, 0 = the socket is full, -1 = broken. */
static int send_buffers(Conn *c)
{
    while (c->out_at < c->out.len || c->tail_at < c->tail.len) {
        struct iovec io[2];
        int n = 0;
        if (c->out_at < c->out.len)
            io[n++] = (struct iovec){c->out.ptr + c->out_at, c->out.len - c->out_at};
        if (c->tail_at < c->tail.len)
            io[n++] = (struct iovec){c->tail.ptr + c->tail_at, c->tail.len - c->tail_at};
        struct msghdr m = {.msg_iov = io, .msg_iovlen = (size_t)n};
        int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (c->file >= 0 ? MSG_MORE : 0);
        /* One piece is the rule, and cheaper without a list. */
        ssize_t sent =
            n == 1 ? send(c->fd, io->iov_base, io->iov_len, flags) : sendmsg(c->fd, &m, flags);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        size_t rest = c->out.len - c->out_at;
        size_t of_out = (size_t)sent < rest ? (size_t)sent : rest;
        c->out_at += of_out;
        c->tail_at += (size_t)sent - of_out;
    }
    return 1;
}

static int send_file(Conn *c)
{
    while (c->file >= 0 && c->file_left) {
        size_t want = c->file_left < FILE_PIECE ? (size_t)c->file_left : FILE_PIECE;
        ssize_t sent = sendfile(c->fd, c->file, NULL, want);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (sent <= 0)
            return -1; /* broken, or the file became shorter */
        c->file_left -= (uint64_t)sent;
    }
    return 1;
}

/* Write what the socket takes. The connection may be gone afterwards. */
static void flush(Conn *c)
{
    int done = send_buffers(c);
    if (done > 0)
        done = send_file(c);
    if (done > 0) {
        set_writing(c, false);
        answer_sent(c);
    } else if (done == 0) {
        c->deadline_ms = clock_coarse_ms() + (int64_t)c->http->opt.idle_s * 1000;
        set_writing(c, true);
    } else {
        end_conn(c);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Conn *c = (Conn *)arg;
    c->writing = false;
    if (c->state != C_OPEN)
        flush(c);
    else if (c->x && c->x->events && c->x->events->on_writable)
        c->x->events->on_writable(c->x->peer);
}

static const char OK_LINE[] = "HTTP/1.1 200 OK\r\n";

/* The first two lines of an answer. */
static void put_status(Http *h, Buf *b, int status)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    if (ts.tv_sec != h->date_s) {
        h->date_s = ts.tv_sec;
        memcpy(h->date, OK_LINE, sizeof OK_LINE - 1);
        h->date_len = sizeof OK_LINE - 1 +
                      http_date_line(h->date + sizeof OK_LINE - 1,
                                     sizeof h->date - sizeof OK_LINE + 1, h->date_s);
    }
    size_t skip = 0;
    if (status != 200) {
        buf_printf(b, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
        skip = sizeof OK_LINE - 1;
    }
    buf_append(b, h->date + skip, h->date_len - skip);
}

static bool is_header_name(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] == ':')
            return false;
    return len > 0;
}

/* A value with a line break would begin another header. */
static void put_header(Buf *b, const char *name, const char *value)
{
    size_t name_len = strlen(name), len = strlen(value), at = b->len;
    if (!is_header_name(name, name_len) || memchr(value, '\n', len) || memchr(value, '\r', len) ||
        !buf_reserve(b, name_len + len + 4))
        return;
    memcpy(b->ptr + at, name, name_len);
    at += name_len;
    memcpy(b->ptr + at, ": ", 2);
    memcpy(b->ptr + at + 2, value, len);
    memcpy(b->ptr + at + 2 + len, "\r\n", 2);
    b->len = at + len + 4;
}

static void put_headers(Buf *b, const Const *map)
{
    for (uint32_t i = 0; map && i < map->count; i++)
        put_header(b, map->pairs[i].key.ptr, map->pairs[i].value->text.ptr);
}

static void put_number(Buf *b, const char *before, uint64_t n)
{
    char digits[24];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    buf_cstr(b, before);
    buf_append(b, digits + at, sizeof digits - at);
    buf_append(b, "\r\n", 2);
}

static bool bodiless(int status)
{
    return status == 204 || status == 304;
}

/* The head of an answer up to its last header; x may be NULL. */
static void put_head(Conn *c, int status, const xs_http *x, const xs_header *headers, size_t n)
{
    Buf *b = &c->out;
    if (!b->ptr) {
        *b = c->http->spare;
        c->http->spare = BUF_INIT;
    }
    buf_reserve(b, 512);
    put_status(c->http, b, status);
    if (x && x->known.memo)
        buf_text(b, x->known.headers);
    put_headers(b, x ? x->extra_headers : NULL);
    for (size_t i = 0; i < n; i++)
        if (headers[i].name)
            put_header(b, headers[i].name, headers[i].value);
        else
            buf_cstr(b, headers[i].value);
    if (!c->keep_alive || c->http->draining)
        buf_cstr(b, "Connection: close\r\n");
    else if (c->http10)
        buf_cstr(b, "Connection: keep-alive\r\n");
}

/* The exchange is dead; its answer is in the connection. Nothing of either may be touched after
 * this. */
static void answered(xs_http *x)
{
    Conn *c = x->conn;
    x->over = true;
    x->events = NULL;
    if (c->in_handler)
        return; /* its caller goes on */
    free_exchange(c);
    if (c->broken)
        end_conn(c);
    else
        flush(c);
}

/* An answer may begin: false when the client is gone or answered already. */
static bool begin_answer(xs_http *x, ConnState state)
{
    if (x->over)
        return false;
    Conn *c = x->conn;
    if (c->broken) {
        answered(x);
        return false;
    }
    set_state(c, state);
    drop_answer(c);
    return true;
}

static void finish_answer(xs_http *x, int status, const xs_header *headers, size_t nheaders,
                          Text body)
{
    Conn *c = x->conn;
    put_head(c, status, x, headers, nheaders);
    if (!bodiless(status))
        put_number(&c->out, "Content-Length: ", body.len + c->tail.len);
    buf_append(&c->out, "\r\n", 2);
    if (exchange_is_head(x) || bodiless(status))
        buf_deinit(&c->tail);
    else
        buf_text(&c->out, body);
    if (c->out.failed) { /* nothing can be said without memory */
        drop_answer(c);
        c->keep_alive = false;
    }
    answered(x);
}

/* The request cannot be read: say why, and read no further. */
static void refuse(Conn *c, HttpProblem p)
{
    Http *h = c->http;
    Buf body = BUF_INIT;
    h->stats.refused++;
    h->stats.timeouts += p.status == 408;
    free_exchange(c);
    set_state(c, C_REPLY);
    drop_answer(c);
    c->keep_alive = false;
    c->now = (Text){"", 0};
    buf_deinit(&c->in);
    http_write_error(&body, http_refusal_code(p), p.message);
    const xs_header headers[] = {{"Content-Type", "application/json; charset=utf-8"},
                                 {"Allow", HTTP_METHODS}};
    put_head(c, p.status, NULL, headers, p.status == 405 ? 2 : 1);
    put_number(&c->out, "Content-Length: ", body.len);
    buf_append(&c->out, "\r\n", 2);
    buf_text(&c->out, buf_view(&body));
    buf_deinit(&body);
    flush(c);
}

/* ---- reading ---- */

static const HttpCarrierOps own_ops;

static void use_up(Conn *c, size_t n)
{
    c->now = text_slice(c->now, n, c->now.len);
}

static void run_handler(Conn *c)
{
    Http *h = c->http;
    xs_http *x = c->x;
    set_state(c, C_WAIT);
    c->deadline_ms = 0;
    c->in_handler = true;
    h->handler(h->ctx, x);
    c->in_handler = false;
    c->head = (Text){0};
    if (!x->over)
        return;
    free_exchange(c);
    flush(c);
}

static bool begin_body(Conn *c)
{
    xs_http *x = c->x;
    const HttpHead *head = &x->head;
    if (head->length > c->http->opt.max_body) {
        refuse(c, (HttpProblem){413, "The request body is too large."});
        return true;
    }
    if (!head->chunked && head->length <= c->now.len) {
        x->small_body = text_slice(c->now, 0, (size_t)head->length);
        use_up(c, (size_t)head->length);
        if (x->small_body.len)
            x->small_body = arena_text(&x->arena, x->small_body);
        if (!x->small_body.ptr)
            refuse(c, (HttpProblem){500, "Out of memory."});
        else
            run_handler(c);
        return true;
    }
    set_state(c, C_BODY);
    c->chunks = (ChunkReader){0};
    c->body_left = head->length;
    c->body_began_ms = clock_coarse_ms();
    c->body_bytes = 0;
    buf_reserve(&x->body,
                head->length < FIRST_BODY_BYTES ? (size_t)head->length + 1 : FIRST_BODY_BYTES);
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (head->expect_continue && !c->now.len &&
        send(c->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        end_conn(c);
    return true;
}

/* What is there begins with the remembered request but for its query: serve that. */
static bool read_again(Conn *c)
{
    xs_http *x = c->last;
    Text now = c->now, before = x->known.before, after = x->known.after;
    if (!text_starts(now, before))
        return false;
    size_t max = now.len - before.len < HTTP_MAX_TARGET ? now.len - before.len : HTTP_MAX_TARGET;
    const char *from = now.ptr + before.len, *blank = memchr(from, ' ', max);
    Text query = {from, blank ? (size_t)(blank - from) : 0};
    size_t end = before.len + query.len + after.len;
    if (!blank || end > now.len || end > c->http->opt.max_head || !http_is_target(query) ||
        memcmp(blank, after.ptr, after.len) != 0 || !exchange_renew(x, query))
        return false;
    c->last = NULL;
    c->x = x;
    x->conn = c;
    c->head_begun = false;
    c->keep_alive = true;
    c->http10 = false;
    c->head = text_slice(now, 0, end);
    use_up(c, end);
    run_handler(c);
    return true;
}

/* False: more bytes are needed. */
static bool read_head(Conn *c)
{
    Http *h = c->http;
    HttpProblem problem;
    if (c->last && read_again(c))
        return true;
    size_t end = http_head_end(c->now, &c->scanned, &problem);
    if (end == SIZE_MAX) {
        refuse(c, problem);
        return true;
    }
    if (end > h->opt.max_head || (!end && c->now.len > h->opt.max_head)) {
        bool line = text_find(text_slice(c->now, 2, HTTP_MAX_TARGET), TEXT("\n"), 0) == SIZE_MAX;
        refuse(c, (HttpProblem){line ? 414 : 431, "The request head is too large."});
        return true;
    }
    if (!end) {
        if (c->now.len && !c->head_begun)
            c->deadline_ms = clock_coarse_ms() + h->opt.head_timeout_ms;
        c->head_begun = c->now.len > 0;
        return false;
    }
    c->head_begun = false;
    forget_last(c);
    xs_http *x = exchange_new(&own_ops, h->opt.max_body);
    if (!x) {
        refuse(c, (HttpProblem){500, "Out of memory."});
        return true;
    }
    x->conn = c;
    x->port = c->port;
    c->x = x;
    if (!http_head_parse(&x->arena, text_slice(c->now, 0, end), &x->head, &problem)) {
        refuse(c, problem);
        return true;
    }
    memcpy(x->ip, c->ip, sizeof x->ip);
    x->read = arena_mark(&x->arena);
    c->head = text_slice(c->now, 0, end);
    use_up(c, end);
    c->keep_alive = x->head.keep_alive;
    c->http10 = x->head.http10;
    return begin_body(c);
}

static bool read_body(Conn *c)
{
    xs_http *x = c->x;
    HttpProblem problem;
    bool done;
    if (x->head.chunked) {
        Text data;
        size_t used;
        do {
            if (!chunk_read(&c->chunks, c->now, &data, &used, &problem)) {
                refuse(c, problem);
                return true;
            }
            buf_text(&x->body, data);
            use_up(c, used);
            c->body_bytes += data.len;
            if (c->chunks.left > c->http->opt.max_body - x->body.len)
                x->body.failed = true;
        } while (used && c->chunks.state != CHUNK_DONE && !x->body.failed);
        done = c->chunks.state == CHUNK_DONE;
    } else {
        size_t n = c->body_left < c->now.len ? (size_t)c->body_left : c->now.len;
        buf_append(&x->body, c->now.ptr, n);
        use_up(c, n);
        c->body_left -= n;
        c->body_bytes += n;
        done = !c->body_left;
    }
    if (x->body.failed) {
        refuse(c, (HttpProblem){413, "The request body is too large."});
        return true;
    }
    c->deadline_ms = c->body_began_ms + c->http->opt.body_timeout_ms +
                     (int64_t)(c->body_bytes * 1000 / BODY_BYTES_PER_S);
    if (done)
        run_handler(c);
    return done;
}

static void advance(Conn *c)
{
    c->advancing = true;
    for (bool more = true; more && !c->broken;)
        more = c->state == C_HEAD ? read_head(c) : c->state == C_BODY ? read_body(c) : false;
    c->advancing = false;
}

/* The peer sends no more. Whether it still reads, nobody knows: answers under way are sent, what
 * waits for events ends. */
static void peer_ended(Conn *c)
{
    switch (c->state) {
    case C_BODY: refuse(c, (HttpProblem){400, "The request body is incomplete."}); break;
    case C_WAIT:
        if (c->x->events)
            end_conn(c);
        break;
    case C_REPLY: break;
    default: end_conn(c); break;
    }
}

/* Append what was read to what waits, go on, keep the rest. */
static bool take_bytes(Conn *c, Text fresh)
{
    bool kept = c->in.len > 0;
    if (kept && !buf_text(&c->in, fresh))
        return false;
    c->now = kept ? buf_view(&c->in) : fresh;
    advance(c);
    Text rest = c->now;
    c->now = (Text){"", 0};
    if (!rest.len) {
        buf_deinit(&c->in);
    } else if (!kept) {
        return buf_text(&c->in, rest);
    } else {
        memmove(c->in.ptr, rest.ptr, rest.len);
        c->in.len = rest.len;
    }
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    Conn *c = (Conn *)arg;
    Http *h = c->http;
    if (c->broken) { /* its owner learns of it now, see api_hold */
        tell_closed(c);
        end_conn(c);
        return;
    }
    ssize_t n = recv(fd, h->scratch, sizeof h->scratch, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        end_conn(c);
        return;
    }
    if (n == 0) {
        c->eof = true;
        set_reading(c, false);
    }
    if (n > 0 &&
        event_stream_state(c)) /* dropped: what comes behind it could be the rest of a request */
        c->keep_alive = false;
    bool takes = c->state != C_LINGER && !event_stream_state(c);
    if ((takes && !take_bytes(c, (Text){h->scratch, n > 0 ? (size_t)n : 0})) || c->broken)
        end_conn(c);
    else if (c->eof)
        peer_ended(c);
    else if (c->in.len > AHEAD_BYTES && c->state != C_HEAD && c->state != C_BODY)
        set_reading(c, false);
}

/* ---- time ---- */

static void out_of_time(Conn *c)
{
    if (c->state == C_BODY || (c->state == C_HEAD && c->in.len))
        refuse(c, (HttpProblem){408, "The request took too long to arrive."});
    else
        end_conn(c);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Http *h = (Http *)arg;
    int64_t now = clock_coarse_ms();
    for (Conn *c = h->first, *next; c; c = next) {
        next = c->next;
        if (!c->deadline_ms || now < c->deadline_ms || c->broken)
            continue;
        bool tells = c->x && c->x->events; /* its owner may end other connections */
        out_of_time(c);
        if (tells)
            break;
    }
}

/* Late by a quarter of the shortest time at most. */
static bool start_sweep(Http *h)
{
    int64_t ms = h->opt.head_timeout_ms < h->opt.body_timeout_ms ? h->opt.head_timeout_ms
                                                                 : h->opt.body_timeout_ms;
    ms = ms / 4 < SWEEP_MIN_MS ? SWEEP_MIN_MS : ms / 4 > SWEEP_MAX_MS ? SWEEP_MAX_MS : ms / 4;
    struct timeval tick = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    return event_add(h->sweep, &tick) == 0;
}

/* ---- life ---- */

Http *http_new(struct event_base *base, const HttpOptions *opt, HttpHandler handler, void *ctx,
               xs_error *err)
{
    Http *h = mem_zalloc(1, sizeof *h);
    if (h) {
        h->base = base;
        h->opt = *opt;
        h->handler = handler;
        h->ctx = ctx;
        h->sweep = event_new(base, -1, EV_PERSIST, on_sweep, h);
        if (!h->opt.head_timeout_ms)
            h->opt.head_timeout_ms = (int64_t)opt->idle_s * 1000;
        if (!h->opt.body_timeout_ms)
            h->opt.body_timeout_ms = (int64_t)opt->idle_s * 1000;
    }
    if (!h || !h->sweep || !start_sweep(h)) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        http_free(h);
        return NULL;
    }
    h->mhd = mhd_new(base, &h->opt, handler, ctx, &h->stats, err);
    if (h->mhd)
        return h;
    http_free(h);
    return NULL;
}

/* The reader of this file takes what is held or streamed, and what must be refused precisely: heads
 * it does not accept, bodies too large, and chunked ones, whose framing the library reads
 * leniently. */
static bool for_own_reader(const Http *h, Text bytes)
{
    Arena a;
    HttpHead head;
    HttpProblem problem;
    size_t scanned = 0, end = http_head_end(bytes, &scanned, &problem);
    if (!end || end > h->opt.max_head)
        return true;
    arena_init(&a, 0);
    bool own = !http_head_parse(&a, text_slice(bytes, 0, end), &head, &problem) || head.chunked ||
               head.length > h->opt.max_body || (h->opt.realtime && h->opt.realtime(head.target));
    arena_deinit(&a);
    return own;
}

bool http_add(Http *h, int fd, Text head, const struct sockaddr *addr, socklen_t len)
{
    if (!for_own_reader(h, head))
        return mhd_add(h->mhd, fd, addr, len);
    Conn *c = mem_zalloc(1, sizeof *c);
    if (!c || event_assign(&c->readable, h->base, fd, EV_READ | EV_PERSIST, on_readable, c) != 0 ||
        event_assign(&c->writable, h->base, fd, EV_WRITE, on_writable, c) != 0) {
        close(fd);
        mem_free(c);
        return false;
    }
    c->http = h;
    c->fd = fd;
    c->file = -1;
    exchange_name_peer(addr, len, c->ip, &c->port);
    c->next = h->first;
    if (h->first)
        h->first->prev = c;
    h->first = c;
    h->count++;
    begin_idle(c);
    set_reading(c, true);
    return true;
}

void http_drain(Http *h)
{
    h->draining = true;
    mhd_drain(h->mhd);
    for (Conn *c = h->first, *next; c; c = next) {
        next = c->next;
        if (c->state == C_HEAD && !c->in.len)
            c->deadline_ms = 1; /* idle: a sweep ends it */
    }
    event_active(h->sweep, EV_TIMEOUT, 0);
}

size_t http_busy(const Http *h)
{
    return h->busy + mhd_busy(h->mhd);
}

size_t http_connections(const Http *h)
{
    return h->count + mhd_connections(h->mhd);
}

void http_stats(const Http *h, HttpStats *out)
{
    *out = h->stats;
}

void http_free(Http *h)
{
    if (!h)
        return;
    while (h->first) {
        Conn *c = h->first;
        if (c->x && !c->x->events)
            c->x->over = true; /* nobody will answer any more */
        end_conn(c);
    }
    mhd_free(h->mhd);
    if (h->sweep)
        event_free(h->sweep);
    buf_deinit(&h->spare);
    mem_free(h);
}
/* ---- answers ---- */

static void own_reply(xs_http *x, int status, const xs_header *headers, size_t nheaders, Text body,
                      Buf *take)
{
    Conn *c = x->conn;
    if (!begin_answer(x, C_REPLY)) {
        buf_deinit(take);
        return;
    }
    bool large = take->len > INLINE_BODY;
    if (large) {
        c->tail = *take;
        *take = BUF_INIT;
    } else if (take->len) {
        body = buf_view(take);
    }
    finish_answer(x, status, headers, nheaders, body);
    buf_deinit(take);
}

static void own_reply_file(xs_http *x, int status, int fd, HttpPart part, const xs_header *headers,
                           size_t nheaders)
{
    if (lseek(fd, (off_t)part.from, SEEK_SET) < 0 || !begin_answer(x, C_REPLY)) {
        close(fd);
        return;
    }
    Conn *c = x->conn;
    put_head(c, status, x, headers, nheaders);
    put_number(&c->out, "Content-Length: ", part.len);
    buf_append(&c->out, "\r\n", 2);
    c->file = fd;
    c->file_left = exchange_is_head(x) ? 0 : part.len;
    answered(x);
}

static void own_hold(xs_http *x, void *peer, const xs_http_events *events)
{
    if (x->over)
        return;
    Conn *c = x->conn;
    x->peer = peer;
    x->events = events;
    if (c->eof || c->broken)
        event_active(&c->readable, EV_READ, 0); /* it left before: told from the loop */
}

static void own_stream(xs_http *x, int status, const xs_header *headers, size_t nheaders,
                       void *peer, const xs_http_events *events)
{
    Conn *c = x->conn;
    if (x->over || c->broken) {
        own_hold(x, peer, events);
        return;
    }
    x->peer = peer;
    x->events = events;
    set_state(c, C_STREAM);
    drop_answer(c);
    if (c->http10)
        c->keep_alive = false;
    put_head(c, status, x, headers, nheaders);
    if (!c->http10)
        buf_cstr(&c->out, "Transfer-Encoding: chunked\r\n");
    buf_append(&c->out, "\r\n", 2);
    c->deadline_ms = clock_coarse_ms() + (int64_t)c->http->opt.idle_s * 1000;
    /* Sent from the loop: the caller may still be setting up its side. */
    set_writing(c, true);
}

static int own_stream_fd(xs_http *x)
{
    return !x->over && x->conn->state == C_OPEN ? x->conn->fd : -1;
}

static void own_want_write(xs_http *x, bool on)
{
    if (!x->over && x->conn->state == C_OPEN && !x->conn->broken)
        set_writing(x->conn, on); /* before the head is out, the first on_writable is due anyway */
}

static void own_stream_end(xs_http *x, bool whole)
{
    if (x->over)
        return;
    Conn *c = x->conn;
    x->over = true;
    x->events = NULL;
    bool open = c->state == C_OPEN;
    c->keep_alive = open && whole && c->keep_alive && !c->eof;
    if (whole && !x->head.http10)
        buf_cstr(&c->out, "0\r\n\r\n");
    set_state(c, C_REPLY);
    if (!open)
        return; /* its head has not left yet: the end follows it */
    free_exchange(c);
    if (c->broken)
        end_conn(c);
    else
        flush(c);
}

static void own_patience(xs_http *x, bool waiting)
{
    if (!x->over && x->conn->state == C_OPEN)
        x->conn->deadline_ms =
            waiting ? clock_coarse_ms() + (int64_t)x->conn->http->opt.idle_s * 1000 : 0;
}

static bool own_remember(xs_http *x, void *memo, void (*free_memo)(void *))
{
    Conn *c = x->over ? NULL : x->conn;
    Text head = c ? c->head : (Text){0};
    size_t mark = text_find(head, TEXT("?"), 0);
    size_t blank = mark == SIZE_MAX ? mark : text_find(head, TEXT(" "), mark);
    /* Only what can be seen to be a plain GET in the bytes themselves. */
    if (blank == SIZE_MAX || !text_starts(head, TEXT("GET /")) || !c->keep_alive || c->http10 ||
        mark + 1 - 4 + http_querystring(x).len != x->head.target.len || x->head.chunked ||
        x->head.length)
        return false;
    Buf lines = BUF_INIT;
    put_headers(&lines, x->extra_headers);
    Text target = text_slice(head, strlen("GET "), blank);
    if (!lines.failed)
        exchange_rewind(x, x->read); /* its arena stays small */
    if (x->renewed && !lines.failed)
        x->head.target = target = arena_text(&x->arena, target);
    if (!target.ptr)
        x->head.target = TEXT("/");
    Remembered known = {
        .memo = memo,
        .free_memo = free_memo,
        .before = arena_text(&x->arena, text_slice(head, 0, mark + 1)),
        .after = arena_text(&x->arena, text_slice(head, blank, head.len)),
        .headers = arena_text(&x->arena, buf_view(&lines)),
    };
    bool ok =
        !lines.failed && target.ptr && known.before.ptr && known.after.ptr && known.headers.ptr;
    buf_deinit(&lines);
    if (!ok)
        return false;
    known.mark = arena_mark(&x->arena);
    x->known = known;
    return true;
}

static const HttpCarrierOps own_ops = {
    .reply = own_reply,
    .reply_file = own_reply_file,
    .hold = own_hold,
    .stream = own_stream,
    .stream_fd = own_stream_fd,
    .want_write = own_want_write,
    .stream_end = own_stream_end,
    .patience = own_patience,
    .remember = own_remember,
};
