/* mhd.c - libmicrohttpd under libevent. The daemon's epoll descriptor is one event of the loop, its
 * timeout one timer. A request is suspended when its answer takes longer than a moment: suspending
 * and resuming cost four system calls. A stream is suspended once its head is on the wire, and its
 * owner writes to the socket itself. The daemon neither sees peers of suspended connections leave
 * nor limits the time of heads and bodies: both are done here. The first head of a connection was
 * checked before (http.c); of later ones what the daemon tells is checked here. Specification:
 * include/xs/http.h, realtime.md §12.3. */
#include "host/mhd.h"

#include <event2/event_struct.h>
#include <linux/tcp.h>
#include <microhttpd.h>
#include <poll.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"

enum {
    POOL_EXTRA = 4096, /* of a connection's memory, beside its request head */
    STREAM_BLOCK = 64, /* the library's buffer of a stream; nothing goes through it */
    CONNECTIONS_MAX = 1000000,
    ROUNDS = 3,             /* of the daemon, before others have their turn */
    WAIT_MS = 10,           /* an answer later than this: the request is suspended */
    SWEEP_MS = 200,         /* at least, between two looks at deadlines */
    LINGER_MS = 2000,       /* for a peer that still sends to read the refusal */
    BODY_BYTES_PER_S = 1024 /* a body slower than this on average runs out of time */
};

typedef struct MhdConn MhdConn;

typedef enum MhdState {
    M_IDLE,   /* between requests */
    M_HEAD,   /* the request line has arrived */
    M_BODY,   /* collecting the body */
    M_WAIT,   /* the handler has the exchange, perhaps longer than there is a client */
    M_REPLY,  /* an answer is made or on its way */
    M_STREAM, /* the head of a stream is made or on its way */
    M_OPEN,   /* suspended, the owner of the stream writes to the socket */
    M_ENDED,  /* the stream is whole: the library ends it */
    M_GONE    /* refused, cut or left: what still comes is dropped */
} MhdState;

struct MhdConn {
    Mhd *mhd;
    MhdConn *next, *prev;
    struct MHD_Connection *conn; /* NULL: closed while somebody was to answer */
    MhdState state;
    bool in_handler, suspended, watching;
    xs_http *x; /* NULL between requests, and behind its end */
    unsigned status;
    struct MHD_Response *response; /* not queued yet */
    int64_t deadline_ms;           /* monotonic; 0 = none */
    int64_t body_began_ms, idle_until_ms, asked_ms;
    uint64_t taken; /* bytes of the requests so far */
    bool chunked;   /* the library has read the framing of the body: no request follows it */
    bool late;      /* part of a head was there at the last look */
    struct event closed, writable;
    char ip[INET6_ADDRSTRLEN];
    int port, fd;
};

struct Mhd {
    struct MHD_Daemon *daemon;
    struct event_base *base;
    struct event *readable, *timer, *sweep;
    HttpOptions opt;
    HttpHandler handler;
    void *ctx;
    HttpStats *stats;
    MhdConn *first;
    MhdConn *adding; /* while the daemon is given its socket */
    size_t count, busy;
    size_t waiting;   /* unanswered and not suspended */
    int64_t sweep_ms; /* when the next look at deadlines is due, not behind the first; 0 = none */
    bool moved;       /* something was read or answered in this run */
    bool draining, stopping;
};

static const HttpCarrierOps mhd_ops;

/* ---- loop ---- */

/* A connection that waits for its answer without being suspended counts as work left for the
 * daemon. So its timeout of zero means little while there are any; a millisecond is short enough
 * then. */
static void run_daemon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Mhd *h = (Mhd *)arg;
    MHD_UNSIGNED_LONG_LONG ms;
    bool timed;
    int round = 0;
    do {
        h->moved = false;
        MHD_run(h->daemon);
        timed = MHD_get_timeout(h->daemon, &ms) == MHD_YES;
    } while (timed && !ms && ++round < ROUNDS && (h->moved || !h->waiting));
    if (!timed) {
        evtimer_del(h->timer);
        return;
    }
    if (!ms && h->waiting && !h->moved)
        ms = 1;
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    evtimer_add(h->timer, &tv);
}

/* Let the daemon act on resumed and new connections, once, later in this turn of the loop. */
static void kick(Mhd *h)
{
    event_active(h->readable, EV_READ, 0);
}

static void suspend(MhdConn *c)
{
    MHD_suspend_connection(c->conn);
    c->suspended = true;
    if (c->state == M_WAIT)
        c->mhd->waiting--;
}

static void resume(MhdConn *c)
{
    if (c->suspended)
        MHD_resume_connection(c->conn);
    c->suspended = false;
    kick(c->mhd);
}

/* ---- connections ---- */

static void set_state(MhdConn *c, MhdState state)
{
    bool was = c->state >= M_BODY && c->state < M_GONE;
    bool is = state >= M_BODY && state < M_GONE;
    c->mhd->busy += (size_t)is - (size_t)was;
    if (c->state == M_WAIT && !c->suspended)
        c->mhd->waiting--;
    if (state == M_WAIT)
        c->mhd->waiting++;
    c->state = state;
    c->deadline_ms = 0;
}

/* Whoever moves a deadline away leaves the time of the look: one for nothing costs less. */
static void sweep_by(Mhd *h, int64_t at_ms)
{
    int64_t now = clock_coarse_ms();
    int64_t due = at_ms > now + SWEEP_MS ? at_ms : now + SWEEP_MS;
    if (h->sweep_ms && h->sweep_ms <= due)
        return;
    struct timeval wait = {.tv_sec = (time_t)((due - now) / 1000),
                           .tv_usec = (suseconds_t)((due - now) % 1000) * 1000};
    h->sweep_ms = event_add(h->sweep, &wait) == 0 ? due : 0;
}

static void set_deadline(MhdConn *c, int64_t ms)
{
    c->deadline_ms = clock_coarse_ms() + ms;
    sweep_by(c->mhd, c->deadline_ms);
}

static void begin_idle(MhdConn *c)
{
    const HttpOptions *opt = &c->mhd->opt;
    int64_t now = clock_coarse_ms();
    set_state(c, M_IDLE);
    c->late = false;
    c->idle_until_ms = now + (c->mhd->draining ? 0 : (int64_t)opt->idle_s * 1000);
    c->deadline_ms = now + opt->head_timeout_ms;
    if (c->deadline_ms > c->idle_until_ms)
        c->deadline_ms = c->idle_until_ms;
    sweep_by(c->mhd, c->deadline_ms);
}

static void drop_exchange(MhdConn *c)
{
    xs_http *x = c->x;
    c->x = NULL;
    if (!x)
        return;
    x->mhd = NULL;
    exchange_drop(x);
}

static void free_conn(MhdConn *c)
{
    Mhd *h = c->mhd;
    set_state(c, M_GONE);
    if (c->next)
        c->next->prev = c->prev;
    *(c->prev ? &c->prev->next : &h->first) = c->next;
    h->count--;
    mem_free(c);
}

static void unwatch(MhdConn *c)
{
    if (!c->watching)
        return;
    c->watching = false;
    event_del(&c->closed);
    event_del(&c->writable);
}

/* A stream that the library is told has failed is closed, but forgotten until its time is over,
 * unless that time is its own. */
static void end_soon(MhdConn *c)
{
    if (c->conn)
        MHD_set_connection_option(c->conn, MHD_CONNECTION_OPTION_TIMEOUT, c->mhd->opt.idle_s + 1);
}

/* The exchange ends because the client left or the server stops. */
static void cut(MhdConn *c)
{
    xs_http *x = c->x;
    const xs_http_events *events = x ? x->events : NULL;
    unwatch(c);
    set_state(c, M_GONE);
    if (x)
        x->over = true;
    if (events) {
        x->events = NULL;
        if (events->on_closed)
            events->on_closed(x->peer);
    }
    drop_exchange(c);
    end_soon(c);
    resume(c);
    if (!c->conn)
        free_conn(c);
}

static void on_left_before(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    cut((MhdConn *)arg);
}

/* On the reading side of a client that waits or reads a stream: what it may send early is left
 * alone, only its leaving counts. */
static void on_peer_event(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)))
        cut((MhdConn *)arg);
}

static void on_socket_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    MhdConn *c = (MhdConn *)arg;
    if (c->state == M_OPEN && c->x && c->x->events && c->x->events->on_writable)
        c->x->events->on_writable(c->x->peer);
}

/* Edge-triggered: unread early data, or an error nobody fetches, must not make the loop spin. When
 * memory is short the client's leaving shows at the answer. Of one that has left already the loop
 * tells. */
static void watch(MhdConn *c)
{
    struct event_base *base = c->mhd->base;
    event_callback_fn on_closed = c->conn ? on_peer_event : on_left_before;
    short closed = c->conn ? EV_READ | EV_ET | EV_PERSIST : 0,
          writable = c->conn ? EV_WRITE | EV_ET : 0;
    if (c->watching || event_assign(&c->closed, base, c->fd, closed, on_closed, c) != 0 ||
        event_assign(&c->writable, base, c->fd, writable, on_socket_writable, c) != 0)
        return;
    c->watching = true;
    if (c->conn)
        event_add(&c->closed, NULL);
    else
        event_active(&c->closed, EV_READ, 0);
}

/* ---- refusing ---- */

static void count_refusal(Mhd *h, int status)
{
    h->stats->refused++;
    h->stats->timeouts += status == 408;
}

/* While the library still reads the request it takes no answer: the bytes go out beside it. It
 * learns of the end when the peer closes, or at the deadline. */
static void refuse_beside(MhdConn *c, HttpProblem p)
{
    Buf b = BUF_INIT;
    count_refusal(c->mhd, p.status);
    http_write_refusal(&b, p);
    if (!b.failed && send(c->fd, b.ptr, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        shutdown(c->fd, SHUT_WR);
    buf_deinit(&b);
    drop_exchange(c);
    set_state(c, M_GONE);
    set_deadline(c, LINGER_MS);
}

static enum MHD_Result queue_answer(MhdConn *c)
{
    struct MHD_Response *r = c->response;
    c->response = NULL;
    if (c->mhd->draining || c->chunked)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(c->conn, c->status, r);
    MHD_destroy_response(r);
    return result;
}

/* At its head: the library closes the connection behind an answer that comes so early. */
static enum MHD_Result refuse(MhdConn *c, HttpProblem p)
{
    xs_http *x = c->x;
    count_refusal(c->mhd, p.status);
    if (p.status == 405)
        http_add_header(x, "Allow", TEXT(HTTP_METHODS));
    http_add_header(x, "Connection", TEXT("close"));
    c->in_handler = true; /* the answer is queued here */
    http_reply_error(x, p.status, http_refusal_code(p), p.message);
    c->in_handler = false;
    drop_exchange(c);
    return c->response ? queue_answer(c) : MHD_NO;
}

/* ---- requests ---- */

static MhdConn *conn_of(struct MHD_Connection *conn)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? (MhdConn *)info->socket_context : NULL;
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    Mhd *h = (Mhd *)cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        MhdConn *c = h->adding;
        h->adding = NULL;
        c->conn = conn;
        *socket_context = c;
        c->next = h->first;
        if (h->first)
            h->first->prev = c;
        h->first = c;
        h->count++;
        return;
    }
    MhdConn *c = (MhdConn *)*socket_context;
    *socket_context = NULL;
    if (!c)
        return;
    c->conn = NULL;
    c->fd = -1;
    unwatch(c);
    if (!c->x)
        free_conn(c);
}

/* The request line is read. NULL = no memory: the request is not answered. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
    Mhd *h = (Mhd *)cls;
    MhdConn *c = conn_of(conn);
    if (!c || c->state != M_IDLE)
        return c;
    xs_http *x = exchange_new(&mhd_ops, h->opt.max_body);
    if (!x)
        return c;
    c->x = x;
    x->mhd = c;
    x->port = c->port;
    memcpy(x->ip, c->ip, sizeof x->ip);
    x->head.target = arena_text(&x->arena, text_from(uri));
    set_state(c, M_HEAD);
    set_deadline(c, h->opt.head_timeout_ms);
    return c;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                         enum MHD_RequestTerminationCode why)
{
    (void)cls;
    (void)why;
    MhdConn *c = (MhdConn *)*con_cls;
    *con_cls = NULL;
    if (!c)
        return;
    if (c->state == M_HEAD || c->state == M_BODY) { /* did the library answer? */
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(conn, MHD_CONNECTION_INFO_HTTP_STATUS);
        c->mhd->stats->refused += info && info->http_status >= 400;
    }
    if (c->response)
        MHD_destroy_response(c->response);
    c->response = NULL;
    bool owed = c->state == M_WAIT && c->x && !c->x->events && !c->mhd->stopping;
    bool gone = c->state == M_GONE;
    if (owed)
        return; /* somebody holds the exchange and will answer */
    if (c->x)
        cut(c);
    if (!gone)
        begin_idle(c);
}

typedef struct FieldWalk {
    Arena *arena;
    HttpField fields[HTTP_MAX_FIELDS];
    uint32_t n;
    HttpProblem problem; /* status 0 = none */
} FieldWalk;

static enum MHD_Result take_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                  size_t name_len, const char *value, size_t value_len)
{
    (void)kind;
    FieldWalk *w = (FieldWalk *)cls;
    if (w->n == HTTP_MAX_FIELDS) {
        w->problem = (HttpProblem){431, "Too many header lines."};
        return MHD_NO;
    }
    HttpField f = {arena_text(w->arena, (Text){name, name_len}),
                   arena_text(w->arena, (Text){value ? value : "", value ? value_len : 0})};
    if (!f.name.ptr || !f.value.ptr)
        w->problem = (HttpProblem){500, "Out of memory."};
    w->fields[w->n++] = f;
    return w->problem.status ? MHD_NO : MHD_YES;
}

static bool read_head(MhdConn *c, Text method, Text version, HttpProblem *problem)
{
    xs_http *x = c->x;
    FieldWalk w;
    w.arena = &x->arena;
    w.n = 0;
    w.problem.status = 0;
    MHD_get_connection_values_n(c->conn, MHD_HEADER_KIND, take_field, &w);
    HttpField *fields = ARENA_ARRAY(&x->arena, HttpField, w.n + 1);
    if (!fields || !x->head.target.ptr)
        w.problem = (HttpProblem){500, "Out of memory."};
    *problem = w.problem;
    if (w.problem.status)
        return false;
    memcpy(fields, w.fields, w.n * sizeof *fields);
    x->head.fields = fields;
    x->head.nfields = w.n;
    return http_head_check(method, version, &x->head, problem);
}

static enum MHD_Result begin_request(MhdConn *c, const char *method, const char *version)
{
    const HttpOptions *opt = &c->mhd->opt;
    HttpProblem problem;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->conn, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!info || info->header_size > opt->max_head)
        return refuse(c, (HttpProblem){431, "The request head is too large."});
    c->taken += info->header_size;
    if (!read_head(c, text_from(method), text_from(version), &problem))
        return refuse(c, problem);
    if (c->x->head.length > opt->max_body)
        return refuse(c, (HttpProblem){413, "The request body is too large."});
    set_state(c, M_BODY);
    set_deadline(c, opt->body_timeout_ms);
    c->body_began_ms = clock_coarse_ms();
    return MHD_YES;
}

static void take_body(MhdConn *c, Text data)
{
    Buf *body = &c->x->body;
    if (!buf_text(body, data)) {
        refuse_beside(c, (HttpProblem){413, "The request body is too large."});
        return;
    }
    c->deadline_ms = c->body_began_ms + c->mhd->opt.body_timeout_ms +
                     (int64_t)((uint64_t)body->len * 1000 / BODY_BYTES_PER_S);
}

static void run_handler(MhdConn *c)
{
    Mhd *h = c->mhd;
    c->taken += c->x->head.length;
    c->chunked = c->x->head.chunked;
    set_state(c, M_WAIT);
    c->asked_ms = clock_coarse_ms();
    c->in_handler = true;
    h->handler(h->ctx, c->x);
    c->in_handler = false;
    if (c->x->over)
        drop_exchange(c);
    else if (c->x->events && c->state == M_WAIT)
        suspend(c); /* held: that takes its time */
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    Mhd *h = (Mhd *)cls;
    (void)conn;
    (void)url;
    MhdConn *c = (MhdConn *)*con_cls;
    if (!c || (h->stopping && !c->response))
        return MHD_NO;
    size_t fresh = *size;
    *size = 0;
    h->moved = h->moved || c->state != M_WAIT;
    if (c->state == M_HEAD)
        return begin_request(c, method, version);
    if (fresh) {
        if (c->state == M_BODY)
            take_body(c, (Text){data, fresh});
        return MHD_YES;
    }
    if (c->state == M_BODY)
        run_handler(c);
    if (c->response)
        return queue_answer(c);
    if (c->state != M_WAIT)
        return MHD_NO; /* left, or out of memory */
    if (!c->suspended && clock_coarse_ms() - c->asked_ms >= WAIT_MS)
        suspend(c);
    return MHD_YES;
}

/* Asked for content: the first time the head of the stream is on the wire, and its owner goes on;
 * then only when it has ended. */
static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
    (void)pos;
    (void)buf;
    (void)max;
    MhdConn *c = (MhdConn *)cls;
    if (c->state != M_STREAM)
        return c->state == M_ENDED ? MHD_CONTENT_READER_END_OF_STREAM
                                   : MHD_CONTENT_READER_END_WITH_ERROR;
    set_state(c, M_OPEN);
    suspend(c);
    if (!c->watching || event_add(&c->writable, NULL) != 0)
        cut(c);
    return 0;
}

static void on_daemon_log(void *cls, const char *fmt, va_list ap)
{
    (void)cls;
    (void)fmt;
    (void)ap; /* complaints about clients; they are counted */
}

/* ---- time ---- */

/* The library does not say that a head has begun before its first line is complete. */
static bool half_a_line(const MhdConn *c)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           len >=
               offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received &&
           info.tcpi_bytes_received > c->taken;
}

static void refuse_late(MhdConn *c)
{
    refuse_beside(c, (HttpProblem){408, "The request took too long to arrive."});
}

/* Idle for the time of a head: a line that was there before has had that time. */
static void look_again(MhdConn *c)
{
    bool late = half_a_line(c);
    if (late && c->late) {
        refuse_late(c);
        return;
    }
    c->late = late;
    int64_t now = clock_coarse_ms(), ms = c->mhd->opt.head_timeout_ms;
    set_deadline(c, !late && now + ms > c->idle_until_ms ? c->idle_until_ms - now : ms);
}

static void end_connection(MhdConn *c)
{
    c->deadline_ms = 0;
    shutdown(c->fd, SHUT_RDWR); /* the daemon sees that */
}

static void out_of_time(MhdConn *c, int64_t now)
{
    switch (c->state) {
    case M_IDLE:
        if (c->late || now < c->idle_until_ms)
            look_again(c);
        else
            end_connection(c);
        break;
    case M_HEAD:
    case M_BODY: refuse_late(c); break;
    case M_OPEN: cut(c); break;
    default: end_connection(c);
    }
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Mhd *h = (Mhd *)arg;
    int64_t now = clock_coarse_ms(), earliest = INT64_MAX;
    h->sweep_ms = 0;
    for (MhdConn *c = h->first, *next; c; c = next) {
        next = c->next;
        bool tells = c->x && c->x->events; /* its owner may end other connections */
        if (!c->deadline_ms)
            continue;
        if (now >= c->deadline_ms) {
            out_of_time(c, now); /* a new deadline sees to its look itself */
            earliest = tells ? now : earliest;
            if (tells)
                break;
        } else if (c->deadline_ms < earliest) {
            earliest = c->deadline_ms;
        }
    }
    if (earliest < INT64_MAX)
        sweep_by(h, earliest);
}

/* ---- life ---- */

/* Not MHD_OPTION_STRICT_FOR_CLIENT: this version then sends its refusal of a missing Host twice.
 * What the option covers, blanks in the target and Host, read_head checks. */
static struct MHD_Daemon *start_daemon(Mhd *h)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
                                MHD_USE_TURBO | MHD_USE_ERROR_LOG,
                            0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log,
                            NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
                            MHD_OPTION_URI_LOG_CALLBACK, on_uri, h, MHD_OPTION_NOTIFY_COMPLETED,
                            on_completed, h, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            h->opt.max_head + POOL_EXTRA, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, h->opt.idle_s,
                            MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

Mhd *mhd_new(struct event_base *base, const HttpOptions *opt, HttpHandler handler, void *ctx,
             HttpStats *stats, xs_error *err)
{
    Mhd *h = mem_zalloc(1, sizeof *h);
    if (!h) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    *h = (Mhd){.base = base, .opt = *opt, .handler = handler, .ctx = ctx, .stats = stats};
    h->daemon = start_daemon(h);
    const union MHD_DaemonInfo *info =
        h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (info && info->epoll_fd >= 0) {
        h->readable = event_new(base, info->epoll_fd, EV_READ | EV_PERSIST, run_daemon, h);
        h->timer = evtimer_new(base, run_daemon, h);
        h->sweep = evtimer_new(base, on_sweep, h);
    }
    if (!h->readable || !h->timer || !h->sweep || event_add(h->readable, NULL) != 0) {
        xs_fail(err, XS_E_IO, XS_NO_POS, "libmicrohttpd does not start");
        mhd_free(h);
        return NULL;
    }
    return h;
}

bool mhd_add(Mhd *h, int fd, const struct sockaddr *addr, socklen_t len)
{
    MhdConn *c = mem_zalloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return false;
    }
    c->mhd = h;
    c->fd = fd;
    exchange_name_peer(addr, len, c->ip, &c->port);
    begin_idle(c);
    h->adding = c;
    bool ok = MHD_add_connection(h->daemon, fd, addr, len) == MHD_YES;
    if (h->adding) { /* refused before it began; the daemon closed fd */
        h->adding = NULL;
        mem_free(c);
    }
    kick(h);
    return ok;
}

void mhd_drain(Mhd *h)
{
    h->draining = true;
    for (MhdConn *c = h->first; c; c = c->next)
        if (c->state == M_IDLE)
            begin_idle(c); /* the next sweep ends it */
}

size_t mhd_busy(const Mhd *h)
{
    return h->busy;
}

size_t mhd_connections(const Mhd *h)
{
    return h->count;
}

void mhd_free(Mhd *h)
{
    if (!h)
        return;
    if (h->daemon) {
        h->stopping = true;
        for (int round = 0; round < ROUNDS; round++)
            MHD_run(h->daemon); /* answers leave as far as the sockets take them */
        /* Stopping with suspended connections aborts the process. */
        for (MhdConn *c = h->first, *next; c; c = next) {
            next = c->next;
            bool tells = c->x && c->x->events; /* its owner may end other connections */
            if (c->state != M_GONE || c->suspended)
                cut(c);
            if (tells)
                next = h->first;
        }
        MHD_run(h->daemon);
        if (h->readable)
            event_del(h->readable); /* its descriptor goes with the daemon */
        MHD_stop_daemon(h->daemon);
    }
    if (h->readable)
        event_free(h->readable);
    if (h->timer)
        event_free(h->timer);
    if (h->sweep)
        event_free(h->sweep);
    mem_free(h);
}

/* ---- answers ---- */

/* Ready lines, apart again. */
static void add_lines(struct MHD_Response *r, const char *lines)
{
    char line[512];
    for (const char *end; (end = strstr(lines, "\r\n")); lines = end + 2) {
        snprintf(line, sizeof line, "%.*s", (int)(end - lines), lines);
        char *value = strstr(line, ": ");
        if (!value)
            continue;
        *value = '\0';
        MHD_add_response_header(r, line, value + 2);
    }
}

static void add_headers(const xs_http *x, struct MHD_Response *r, const xs_header *headers,
                        size_t n)
{
    /* The library refuses a value with a line break, as it should. */
    for (uint32_t i = 0; x->extra_headers && i < x->extra_headers->count; i++) {
        const ConstPair *p = &x->extra_headers->pairs[i];
        MHD_add_response_header(r, p->key.ptr, p->value->text.ptr);
    }
    for (size_t i = 0; i < n; i++)
        if (headers[i].name)
            MHD_add_response_header(r, headers[i].name, headers[i].value);
        else
            add_lines(r, headers[i].value);
}

static void answer(xs_http *x, int status, struct MHD_Response *r, const xs_header *headers,
                   size_t n)
{
    MhdConn *c = x->mhd;
    unwatch(c);
    x->events = NULL;
    x->over = true;
    if (r)
        add_headers(x, r, headers, n);
    c->response = r;
    c->status = (unsigned)status;
    set_state(c, r ? M_REPLY : M_GONE);
    if (c->in_handler)
        return; /* its caller goes on */
    drop_exchange(c);
    resume(c);
    if (c->conn)
        return;
    if (r)
        MHD_destroy_response(r);
    free_conn(c);
}

static void mhd_reply(xs_http *x, int status, const xs_header *headers, size_t nheaders, Text body,
                      Buf *take)
{
    if (x->over) {
        buf_deinit(take);
        return;
    }
    struct MHD_Response *r;
    if (take->len) {
        r = MHD_create_response_from_buffer_with_free_callback(take->len, take->ptr, mem_free);
        if (r)
            *take = BUF_INIT;
    } else {
        union { /* the library's signature lacks a const; it copies */
            const char *in;
            void *out;
        } bytes = {body.len ? body.ptr : ""};
        r = MHD_create_response_from_buffer(body.len, bytes.out, MHD_RESPMEM_MUST_COPY);
    }
    buf_deinit(take);
    answer(x, status, r, headers, nheaders);
}

static void mhd_reply_file(xs_http *x, int status, int fd, HttpPart part, const xs_header *headers,
                           size_t nheaders)
{
    struct MHD_Response *r =
        x->over ? NULL : MHD_create_response_from_fd_at_offset64(part.len, fd, part.from);
    if (!r)
        close(fd);
    if (!x->over)
        answer(x, status, r, headers, nheaders);
}

static void mhd_hold(xs_http *x, void *peer, const xs_http_events *events)
{
    if (x->over)
        return;
    x->peer = peer;
    x->events = events;
    watch(x->mhd);
}

static void mhd_stream(xs_http *x, int status, const xs_header *headers, size_t nheaders,
                       void *peer, const xs_http_events *events)
{
    if (x->over)
        return;
    MhdConn *c = x->mhd;
    mhd_hold(x, peer, events);
    if (!c->conn)
        return;
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, c, NULL);
    if (r) {
        add_headers(x, r, headers, nheaders);
        c->response = r;
        c->status = (unsigned)status;
        set_state(c, M_STREAM);
    } else {
        set_state(c, M_GONE); /* on_closed follows when the connection is closed */
    }
    if (!c->in_handler)
        resume(c);
}

static int mhd_stream_fd(xs_http *x)
{
    return !x->over && x->mhd->state == M_OPEN ? x->mhd->fd : -1;
}

static void mhd_want_write(xs_http *x, bool on)
{
    if (x->over || x->mhd->state != M_OPEN || !x->mhd->watching)
        return; /* before the head is out, the first on_writable is due anyway */
    if (on)
        event_add(&x->mhd->writable, NULL);
    else
        event_del(&x->mhd->writable);
}

static void mhd_stream_end(xs_http *x, bool whole)
{
    if (x->over)
        return;
    MhdConn *c = x->mhd;
    bool open = c->state == M_OPEN, goes_on = open && whole && !x->head.http10;
    unwatch(c);
    x->events = NULL;
    x->over = true;
    set_state(c, goes_on ? M_ENDED : M_GONE);
    if (open && !goes_on)
        shutdown(c->fd, SHUT_WR);
    if (!goes_on)
        end_soon(c);
    if (c->in_handler)
        return;
    drop_exchange(c);
    resume(c);
}

static void mhd_patience(xs_http *x, bool waiting)
{
    if (x->over || x->mhd->state != M_OPEN)
        return;
    if (waiting)
        set_deadline(x->mhd, (int64_t)x->mhd->mhd->opt.idle_s * 1000);
    else
        x->mhd->deadline_ms = 0;
}

static const HttpCarrierOps mhd_ops = {
    .reply = mhd_reply,
    .reply_file = mhd_reply_file,
    .hold = mhd_hold,
    .stream = mhd_stream,
    .stream_fd = mhd_stream_fd,
    .want_write = mhd_want_write,
    .stream_end = mhd_stream_end,
    .patience = mhd_patience,
};
