/* http.c - libmicrohttpd under libevent. The daemon's epoll descriptor is one event of the loop,
 * its timeout one timer. A request that waits is suspended; a stream is suspended once its head is
 * on the wire, and its transport writes to the socket itself. The daemon does not see peers of
 * suspended connections leave, so those are watched here. Specification: include/xs/http.h,
 * runtime.md §5, realtime.md §7.3, §12.3. */
#include "host/http.h"

#include <arpa/inet.h>
#include <event2/event_struct.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"

enum { POOL_EXTRA = 4096, STREAM_BLOCK = 1024, STOP_ROUNDS = 50, DISCARD_FACTOR = 4 };

typedef enum ExchangeState {
    X_HEAD,    /* the daemon parses the head */
    X_BODY,    /* collecting the body */
    X_WAITING, /* handler called, no answer yet */
    X_REPLIED, /* response made or queued */
    X_STREAM,  /* response of a stream made, head not on the wire */
    X_OPEN,    /* suspended, the transport writes to the socket */
    X_OVER     /* answered, ended or left: nobody but this file may touch it */
} ExchangeState;

struct xs_http {
    Http *http;
    xs_http *next, *prev;
    struct MHD_Connection *conn;
    Arena arena;
    const char *method;
    Text uri, path;
    const Const *query, *headers;
    Buf body;
    size_t discarded;
    void *user;
    Const *extra_headers;
    char ip[INET6_ADDRSTRLEN];
    int port;
    /* answer */
    ExchangeState state;
    bool in_handler, suspended, watching, http10;
    unsigned status;
    struct MHD_Response *response;
    void *peer;
    const xs_http_events *events; /* NULL once on_closed was told or is not due */
    struct event closed, writable;
};

struct Http {
    struct MHD_Daemon *daemon;
    struct event_base *base;
    struct event *readable, *timer;
    HttpOptions opt;
    HttpHandler handler;
    void *ctx;
    xs_http *first;
    bool draining;
};

/* ---- texts ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static Text decode(Arena *a, Text t, bool plus, bool strict)
{
    char *out = arena_alloc(a, t.len + 1);
    if (!out)
        return (Text){0};
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        int hi = -1, lo = -1;
        if (c == '%' && i + 2 < t.len) {
            hi = hex_digit(t.ptr[i + 1]);
            lo = hex_digit(t.ptr[i + 2]);
        }
        if (hi >= 0 && lo >= 0) {
            out[n++] = (char)(hi * 16 + lo);
            i += 2;
        } else if (c == '%' && strict) {
            return (Text){0};
        } else {
            out[n++] = plus && c == '+' ? ' ' : c;
        }
    }
    return (Text){out, n};
}

Text http_decode(Arena *a, Text t, bool plus)
{
    return decode(a, t, plus, true);
}

const Const *http_parse_query(Arena *a, Text q)
{
    Const *map = const_map(a, 4);
    for (size_t from = 0; map && from < q.len;) {
        size_t end = text_find(q, TEXT("&"), from);
        Text pair = text_slice(q, from, end);
        from = end == SIZE_MAX ? q.len : end + 1;
        if (!pair.len)
            continue;
        size_t equals = text_find(pair, TEXT("="), 0);
        Text name = decode(a, text_slice(pair, 0, equals), true, false);
        Text value = {"", 0};
        if (equals != SIZE_MAX)
            value = decode(a, text_slice(pair, equals + 1, pair.len), true, false);
        if (!name.ptr || !value.ptr)
            return NULL;
        const Const *old = const_find(map, name);
        Const *list = NULL;
        if (old) /* made here, so it may be changed */
            memcpy(&list, &old, sizeof list);
        else if (!(list = const_list(a, 1)) || !const_set(a, map, name, list))
            return NULL;
        if (!const_push(a, list, const_text(a, value)))
            return NULL;
    }
    return map;
}

Text http_title_case(Arena *a, Text name)
{
    Text t = arena_text(a, name);
    if (!t.ptr)
        return t;
    char *p = arena_alloc(a, t.len + 1);
    if (!p)
        return (Text){0};
    bool start = true;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        if (start && c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        else if (!start && c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        p[i] = c;
        start = c == '-';
    }
    return (Text){p, t.len};
}

/* ---- loop ---- */

static void rearm(Http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(h->daemon, &ms) != MHD_YES) {
        evtimer_del(h->timer);
        return;
    }
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    evtimer_add(h->timer, &tv);
}

static void run_daemon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Http *h = (Http *)arg;
    MHD_run(h->daemon);
    rearm(h);
}

/* Let the daemon act on a resumed or new connection, later in this turn of the loop. */
static void kick(Http *h)
{
    event_active(h->readable, EV_READ, 0);
}

static void suspend(xs_http *x)
{
    MHD_suspend_connection(x->conn);
    x->suspended = true;
}

static void resume(xs_http *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->conn);
    kick(x->http);
}

static int socket_of(xs_http *x)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static void unwatch(xs_http *x)
{
    if (!x->watching)
        return;
    x->watching = false;
    event_del(&x->closed);
    event_del(&x->writable);
}

/* The exchange ends because the client left or the server stops. */
static void tell_closed(xs_http *x)
{
    unwatch(x);
    const xs_http_events *events = x->events;
    x->events = NULL;
    x->state = X_OVER;
    if (events && events->on_closed)
        events->on_closed(x->peer);
}

/* Something happened on the reading side of a waiting or streaming client: data it may send early
 * is left alone, only its leaving counts. */
static void on_peer_event(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    xs_http *x = (xs_http *)arg;
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    if (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLRDHUP | POLLHUP | POLLERR)))
        return;
    tell_closed(x);
    resume(x);
}

static void on_socket_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    xs_http *x = (xs_http *)arg;
    if (x->events && x->events->on_writable)
        x->events->on_writable(x->peer);
}

/* Edge-triggered: unread early data, or an error nobody fetches, must not make the loop spin. */
static bool watch(xs_http *x)
{
    int fd = socket_of(x);
    if (fd < 0 ||
        event_assign(&x->closed, x->http->base, fd, EV_READ | EV_ET | EV_PERSIST, on_peer_event,
                     x) != 0 ||
        event_assign(&x->writable, x->http->base, fd, EV_WRITE | EV_ET, on_socket_writable, x) != 0)
        return false;
    x->watching = true;
    return event_add(&x->closed, NULL) == 0;
}

/* ---- daemon callbacks ---- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
    Http *h = (Http *)cls;
    xs_http *x = mem_zalloc(1, sizeof *x);
    if (!x)
        return NULL;
    arena_init(&x->arena, 0);
    x->http = h;
    x->conn = conn;
    x->uri = arena_text(&x->arena, text_from(uri));
    x->body.max = h->opt.max_body ? h->opt.max_body : 1;
    x->next = h->first;
    if (h->first)
        h->first->prev = x;
    h->first = x;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *addr = info ? info->client_addr : NULL;
    if (addr && addr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof in);
        inet_ntop(AF_INET, &in.sin_addr, x->ip, sizeof x->ip);
        x->port = ntohs(in.sin_port);
    } else if (addr && addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, addr, sizeof in);
        inet_ntop(AF_INET6, &in.sin6_addr, x->ip, sizeof x->ip);
        x->port = ntohs(in.sin6_port);
    }
    return x;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                         enum MHD_RequestTerminationCode why)
{
    (void)conn;
    (void)why;
    Http *h = (Http *)cls;
    xs_http *x = (xs_http *)*con_cls;
    *con_cls = NULL;
    if (!x)
        return;
    tell_closed(x);
    if (x->next)
        x->next->prev = x->prev;
    if (x->prev)
        x->prev->next = x->next;
    else
        h->first = x->next;
    if (x->response)
        MHD_destroy_response(x->response);
    buf_deinit(&x->body);
    arena_deinit(&x->arena);
    mem_free(x);
}

static enum MHD_Result queue_answer(xs_http *x)
{
    struct MHD_Response *r = x->response;
    x->response = NULL;
    if (x->http->draining && x->state == X_REPLIED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(x->conn, x->status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result begin_request(xs_http *x, const char *method, const char *version)
{
    x->method = arena_text(&x->arena, text_from(method)).ptr;
    x->http10 = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
    Text path = http_raw_path(x);
    x->path = x->uri.ptr ? decode(&x->arena, path, false, false) : (Text){0};
    if (!x->method || !x->path.ptr)
        return MHD_NO;
    x->state = X_BODY;
    const char *length =
        MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    int64_t n = 0;
    if (length && num_parse_int(text_from(length), &n) && (uint64_t)n > x->http->opt.max_body) {
        x->in_handler = true;
        http_reply_error(x, 413, "ERROR_CODE_BAD_REQUEST", "The request body is too large.");
        x->in_handler = false;
        return x->response ? queue_answer(x) : MHD_NO;
    }
    return MHD_YES;
}

static enum MHD_Result take_body(xs_http *x, const char *data, size_t *size)
{
    if (x->body.failed || !buf_append(&x->body, data, *size))
        x->discarded += *size;
    *size = 0;
    /* A client that keeps sending beyond the limit is cut off; a small excess gets its 413. */
    return x->discarded / DISCARD_FACTOR > x->http->opt.max_body + STREAM_BLOCK ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    Http *h = (Http *)cls;
    (void)conn;
    (void)url;
    xs_http *x = (xs_http *)*con_cls;
    if (!x)
        return MHD_NO;
    switch (x->state) {
    case X_HEAD: return begin_request(x, method, version);
    case X_BODY:
        if (*size)
            return take_body(x, data, size);
        x->state = X_WAITING;
        x->in_handler = true;
        if (x->body.failed)
            http_reply_error(x, 413, "ERROR_CODE_BAD_REQUEST", "The request body is too large.");
        else
            h->handler(h->ctx, x);
        x->in_handler = false;
        break;
    case X_REPLIED:
        if (*size && !x->response) { /* refused by its length; the rest of the body is dropped */
            *size = 0;
            return MHD_YES;
        }
        break;
    default: break;
    }
    if (x->response)
        return queue_answer(x);
    if (x->state != X_WAITING)
        return MHD_NO; /* left, or out of memory */
    suspend(x);
    return MHD_YES;
}

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
    (void)pos;
    (void)buf;
    (void)max;
    xs_http *x = (xs_http *)cls;
    if (x->state != X_STREAM)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    /* First call: the head is on the wire. From here on the transport owns the writing. */
    x->state = X_OPEN;
    suspend(x);
    if (!x->watching || event_add(&x->writable, NULL) != 0) {
        tell_closed(x);
        resume(x);
    }
    return 0;
}

static void on_daemon_log(void *cls, const char *fmt, va_list ap)
{
    (void)cls;
    (void)fmt;
    (void)ap; /* complaints about clients; counted by their status */
}

/* ---- life ---- */

Http *http_new(struct event_base *base, const HttpOptions *opt, HttpHandler handler, void *ctx,
               xs_error *err)
{
    Http *h = mem_zalloc(1, sizeof *h);
    if (!h) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    *h = (Http){.base = base, .opt = *opt, .handler = handler, .ctx = ctx};
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, opt->max_head + POOL_EXTRA, MHD_OPTION_CONNECTION_LIMIT,
        1000000u, MHD_OPTION_CONNECTION_TIMEOUT, opt->idle_s, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (info && info->epoll_fd >= 0) {
        h->readable = event_new(base, info->epoll_fd, EV_READ | EV_PERSIST, run_daemon, h);
        h->timer = evtimer_new(base, run_daemon, h);
    }
    if (!h->readable || !h->timer || event_add(h->readable, NULL) != 0) {
        xs_fail(err, XS_E_IO, XS_NO_POS, "the HTTP server could not start");
        http_free(h);
        return NULL;
    }
    return h;
}

bool http_add(Http *h, int fd, const struct sockaddr *addr, socklen_t len)
{
    if (MHD_add_connection(h->daemon, fd, addr, len) != MHD_YES)
        return false; /* the daemon closed fd */
    kick(h);
    return true;
}

void http_drain(Http *h)
{
    h->draining = true;
}

size_t http_busy(const Http *h)
{
    size_t n = 0;
    for (const xs_http *x = h->first; x; x = x->next)
        n += x->state != X_HEAD;
    return n;
}

size_t http_connections(const Http *h)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? info->num_connections : 0;
}

void http_free(Http *h)
{
    if (!h)
        return;
    if (h->daemon) {
        /* The daemon aborts when stopped with suspended connections. Handlers may still be called
         * for pipelined requests, hence the rounds. */
        for (int round = 0; round < STOP_ROUNDS; round++) {
            bool any = false;
            for (xs_http *x = h->first, *next; x; x = next) {
                next = x->next;
                if (!x->suspended)
                    continue;
                any = true;
                tell_closed(x);
                resume(x);
            }
            MHD_run(h->daemon);
            if (!any)
                break;
        }
        MHD_stop_daemon(h->daemon);
    }
    if (h->readable)
        event_free(h->readable);
    if (h->timer)
        event_free(h->timer);
    mem_free(h);
}

/* ---- facts ---- */

Arena *http_arena(xs_http *x)
{
    return &x->arena;
}
Text http_uri(const xs_http *x)
{
    return x->uri;
}
Text http_raw_path(const xs_http *x)
{
    return text_slice(x->uri, 0, text_find(x->uri, TEXT("?"), 0));
}
Text http_querystring(const xs_http *x)
{
    size_t mark = text_find(x->uri, TEXT("?"), 0);
    return mark == SIZE_MAX ? (Text){"", 0} : text_slice(x->uri, mark + 1, x->uri.len);
}
Text http_remote_ip(const xs_http *x)
{
    return text_from(x->ip);
}
int http_remote_port(const xs_http *x)
{
    return x->port;
}
void *http_user(const xs_http *x)
{
    return x->user;
}
void http_set_user(xs_http *x, void *user)
{
    x->user = user;
}

const Const *http_query_map(xs_http *x)
{
    if (!x->query)
        x->query = http_parse_query(&x->arena, http_querystring(x));
    return x->query;
}

typedef struct HeaderWalk {
    Arena *arena;
    Const *map;
    bool failed;
} HeaderWalk;

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    (void)kind;
    HeaderWalk *w = (HeaderWalk *)cls;
    Text title = http_title_case(w->arena, text_from(name));
    Text text = text_from(value ? value : "");
    const Const *old = title.ptr ? const_find(w->map, title) : NULL;
    if (old) /* a repeated header is one list, RFC 9110 §5.3 */
        text = arena_printf(w->arena, TEXT_FMT ", " TEXT_FMT, TEXT_ARG(old->text), TEXT_ARG(text));
    const Const *item = text.ptr ? const_text(w->arena, text) : NULL;
    w->failed = !title.ptr || !item || !const_set(w->arena, w->map, title, item);
    return w->failed ? MHD_NO : MHD_YES;
}

const Const *http_headers(xs_http *x)
{
    if (!x->headers) {
        HeaderWalk w = {&x->arena, const_map(&x->arena, 8), false};
        if (!w.map)
            return NULL;
        MHD_get_connection_values(x->conn, MHD_HEADER_KIND, take_header, &w);
        x->headers = w.failed ? NULL : w.map;
    }
    return x->headers;
}

static const char *api_method(xs_http *x)
{
    return x->method;
}
static const char *api_path(xs_http *x)
{
    return x->path.ptr;
}
static const char *api_header(xs_http *x, const char *name)
{
    return MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, name);
}

static xs_str api_query(xs_http *x, const char *name, unsigned index)
{
    const Const *list = const_get(http_query_map(x), name);
    if (!list || index >= list->count)
        return (xs_str){0};
    Text t = list->items[index]->text;
    return (xs_str){t.ptr, t.len};
}

static xs_str api_body(xs_http *x)
{
    Text t = buf_view(&x->body);
    return (xs_str){t.ptr, t.len};
}

/* ---- answers ---- */

static void take_response(xs_http *x, int status, struct MHD_Response *r, ExchangeState state)
{
    x->response = r;
    x->status = (unsigned)status;
    x->state = r ? state : X_OVER;
    if (!x->in_handler)
        resume(x);
}

static bool add_headers(xs_http *x, struct MHD_Response *r, const xs_header *headers, size_t n)
{
    bool ok = true;
    for (uint32_t i = 0; x->extra_headers && i < x->extra_headers->count; i++) {
        const ConstPair *p = &x->extra_headers->pairs[i];
        ok = MHD_add_response_header(r, p->key.ptr, p->value->text.ptr) == MHD_YES && ok;
    }
    for (size_t i = 0; i < n; i++)
        ok = MHD_add_response_header(r, headers[i].name, headers[i].value) == MHD_YES && ok;
    return ok;
}

static void api_reply(xs_http *x, int status, const xs_header *headers, size_t nheaders,
                      xs_str body)
{
    if (x->state == X_OVER || x->response)
        return;
    unwatch(x);
    x->events = NULL;
    union { /* the library's signature lacks a const; it copies */
        const char *in;
        void *out;
    } bytes = {body.len ? body.ptr : ""};
    struct MHD_Response *r =
        MHD_create_response_from_buffer(body.len, bytes.out, MHD_RESPMEM_MUST_COPY);
    if (r)
        add_headers(x, r, headers, nheaders);
    take_response(x, status, r, X_REPLIED);
}

static void api_hold(xs_http *x, void *peer, const xs_http_events *events)
{
    x->peer = peer;
    x->events = events;
    if (!watch(x))
        unwatch(x); /* the client's leaving shows at the answer */
}

static void api_stream(xs_http *x, int status, const xs_header *headers, size_t nheaders,
                       void *peer, const xs_http_events *events)
{
    unwatch(x);
    x->peer = peer;
    x->events = events;
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, x, NULL);
    if (r)
        add_headers(x, r, headers, nheaders);
    if (!watch(x))
        unwatch(x);
    take_response(x, status, r, X_STREAM);
    if (!r)
        tell_closed(x);
}

static int api_stream_fd(xs_http *x)
{
    return x->state == X_OPEN ? socket_of(x) : -1;
}

static bool api_stream_chunked(xs_http *x)
{
    return !x->http10;
}

static void api_want_write(xs_http *x, bool on)
{
    if (x->state != X_OPEN || !x->watching)
        return; /* before the head is out, the first on_writable is due anyway */
    if (on)
        event_add(&x->writable, NULL);
    else
        event_del(&x->writable);
}

static void api_stream_end(xs_http *x)
{
    if (x->state == X_OVER)
        return;
    bool open = x->state == X_OPEN;
    unwatch(x);
    x->events = NULL;
    x->state = X_OVER;
    if (open)
        shutdown(socket_of(x), SHUT_WR);
    resume(x);
}

const xs_http_api http_api = {
    .size = sizeof http_api,
    .method = api_method,
    .path = api_path,
    .header = api_header,
    .query = api_query,
    .body = api_body,
    .reply = api_reply,
    .hold = api_hold,
    .stream = api_stream,
    .stream_fd = api_stream_fd,
    .stream_chunked = api_stream_chunked,
    .want_write = api_want_write,
    .stream_end = api_stream_end,
};

void http_add_header(xs_http *x, const char *name, Text value)
{
    if (!x->extra_headers)
        x->extra_headers = const_map(&x->arena, 4);
    if (x->extra_headers)
        const_set_text(&x->arena, x->extra_headers, name, value);
}

void http_reply_take(xs_http *x, int status, const xs_header *headers, size_t nheaders, Buf *body)
{
    Buf b = *body;
    *body = BUF_INIT;
    if (x->state == X_OVER || x->response || b.failed) {
        buf_deinit(&b);
        if (x->state != X_OVER && !x->response)
            http_reply_error(x, 500, "ERROR_FATAL", "Out of memory.");
        return;
    }
    unwatch(x);
    x->events = NULL;
    struct MHD_Response *r =
        b.len ? MHD_create_response_from_buffer_with_free_callback(b.len, b.ptr, mem_free)
              : MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!r || !b.len)
        buf_deinit(&b);
    if (r)
        add_headers(x, r, headers, nheaders);
    take_response(x, status, r, X_REPLIED);
}

void http_reply_json(xs_http *x, int status, Text json)
{
    const xs_header type = {"Content-Type", "application/json; charset=utf-8"};
    api_reply(x, status, &type, 1, (xs_str){json.ptr, json.len});
}

void http_reply_error(xs_http *x, int status, const char *code, const char *message)
{
    Buf b = BUF_INIT;
    buf_cstr(&b, "{\"code\":");
    json_write_text(&b, text_from(code));
    buf_cstr(&b, ",\"message\":");
    json_write_text(&b, text_from(message));
    buf_cstr(&b, ",\"payload\":\"\"}");
    http_reply_json(x, status, b.failed ? TEXT("{}") : buf_view(&b));
    buf_deinit(&b);
}

void http_reply_file(xs_http *x, int fd, uint64_t size, const char *content_type)
{
    unwatch(x);
    x->events = NULL;
    struct MHD_Response *r = MHD_create_response_from_fd64(size, fd);
    if (!r)
        close(fd);
    else {
        const xs_header headers[] = {{"Content-Type", content_type},
                                     {"Cache-Control", "no-cache"},
                                     {"X-Content-Type-Options", "nosniff"}};
        add_headers(x, r, headers, COUNT_OF(headers));
    }
    take_response(x, 200, r, X_REPLIED);
}
