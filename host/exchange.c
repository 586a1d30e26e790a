/* exchange.c - an exchange whoever carries it: its facts, the plain kinds of answers, and the
 * functions of xs_http_api. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/http_i.h"

enum { FIRST_PARAMS = 3 };

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
/* ---- life ---- */

xs_http *exchange_new(const HttpCarrierOps *ops, size_t max_body)
{
    xs_http *x = mem_zalloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->ops = ops;
    arena_init(&x->arena, 0);
    x->body.max = max_body ? max_body : 1;
    return x;
}

static void free_memo(Remembered *known)
{
    if (known->memo)
        known->free_memo(known->memo);
    *known = (Remembered){0};
}

static void free_memory(xs_http *x)
{
    free_memo(&x->known);
    buf_deinit(&x->body);
    arena_deinit(&x->arena);
    mem_free(x);
}

void exchange_drop(xs_http *x)
{
    x->over = true;
    if (!x->kept)
        free_memory(x);
}

void exchange_rewind(xs_http *x, ArenaMark to)
{
    arena_rewind(&x->arena, to);
    x->path = (Text){0};
    x->query = x->headers = NULL;
    x->params = NULL;
    x->nparams = 0;
    x->extra_headers = NULL;
}

bool exchange_renew(xs_http *x, Text query)
{
    size_t path_at = strlen(x->head.method) + 1, path_len = x->known.before.len - path_at;
    exchange_rewind(x, x->known.mark);
    char *target = arena_alloc(&x->arena, path_len + query.len + 1);
    if (!target)
        return false;
    memcpy(target, x->known.before.ptr + path_at, path_len);
    memcpy(target + path_len, query.ptr, query.len);
    x->head.target = (Text){target, path_len + query.len};
    x->small_body = (Text){"", 0};
    x->user = x->peer = NULL;
    x->events = NULL;
    x->over = false;
    x->renewed = true;
    x->known.again = true;
    return true;
}

void http_remember(xs_http *x, void *memo, void (*free_one)(void *))
{
    http_forget(x);
    if (!x->ops->remember || !x->ops->remember(x, memo, free_one))
        free_one(memo);
}

void *http_memo(const xs_http *x)
{
    return x->known.again ? x->known.memo : NULL;
}

void http_forget(xs_http *x)
{
    free_memo(&x->known);
}

void http_keep(xs_http *x)
{
    x->kept = true;
}

void http_release(xs_http *x)
{
    x->kept = false;
    if (!x->conn && !x->mhd)
        free_memory(x);
}

void exchange_name_peer(const struct sockaddr *addr, socklen_t len, char ip[INET6_ADDRSTRLEN],
                        int *port)
{
    if (addr->sa_family == AF_INET && len >= (socklen_t)sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof in);
        inet_ntop(AF_INET, &in.sin_addr, ip, INET6_ADDRSTRLEN);
        *port = ntohs(in.sin_port);
    } else if (addr->sa_family == AF_INET6 && len >= (socklen_t)sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in;
        memcpy(&in, addr, sizeof in);
        inet_ntop(AF_INET6, &in.sin6_addr, ip, INET6_ADDRSTRLEN);
        *port = ntohs(in.sin6_port);
    }
}

/* ---- facts ---- */

Arena *http_arena(xs_http *x)
{
    return &x->arena;
}
Text http_uri(const xs_http *x)
{
    return x->head.target;
}
Text http_raw_path(const xs_http *x)
{
    return text_slice(x->head.target, 0, text_find(x->head.target, TEXT("?"), 0));
}
Text http_querystring(const xs_http *x)
{
    Text uri = x->head.target;
    size_t mark = text_find(uri, TEXT("?"), 0);
    return mark == SIZE_MAX ? (Text){"", 0} : text_slice(uri, mark + 1, uri.len);
}
Text http_remote_ip(const xs_http *x)
{
    return text_from(x->ip);
}
void http_set_remote_ip(xs_http *x, Text ip)
{
    if (ip.len && ip.len < sizeof x->ip)
        snprintf(x->ip, sizeof x->ip, TEXT_FMT, TEXT_ARG(ip));
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

const Const *http_headers(xs_http *x)
{
    if (!x->headers)
        x->headers = http_head_map(&x->arena, &x->head);
    return x->headers;
}

const Const *http_headers_into(const xs_http *x, Arena *a)
{
    return http_head_map(a, &x->head);
}

static const char *api_method(xs_http *x)
{
    return x->head.method;
}

static const char *api_path(xs_http *x)
{
    if (!x->path.ptr)
        x->path = decode(&x->arena, http_raw_path(x), false, false);
    return x->path.ptr ? x->path.ptr : "";
}

static const char *api_header(xs_http *x, const char *name)
{
    return http_head_find(&x->head, name);
}

static Text decoded(Arena *a, Text t, bool plain)
{
    return plain ? t : decode(a, t, true, false);
}

/* Most names and values stand there as they are, and are not copied. NULL = memory. */
static const HttpParam *find_params(xs_http *x)
{
    Arena *a = &x->arena;
    Text q = http_querystring(x);
    bool plain = !memchr(q.ptr, '%', q.len) && !memchr(q.ptr, '+', q.len);
    uint32_t cap = 0, n = 0;
    HttpParam *params = NULL;
    for (size_t from = 0; from < q.len;) {
        const char *amp = memchr(q.ptr + from, '&', q.len - from);
        size_t end = amp ? (size_t)(amp - q.ptr) : q.len;
        Text pair = {q.ptr + from, end - from};
        from = end + 1;
        if (!pair.len)
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : FIRST_PARAMS;
            HttpParam *grown = ARENA_ARRAY(a, HttpParam, cap);
            if (!grown)
                return NULL;
            if (n)
                memcpy(grown, params, n * sizeof *params);
            params = grown;
        }
        const char *equals = memchr(pair.ptr, '=', pair.len);
        size_t key = equals ? (size_t)(equals - pair.ptr) : pair.len;
        Text value = equals ? text_slice(pair, key + 1, pair.len) : TEXT("");
        HttpParam *p = &params[n++];
        *p = (HttpParam){decoded(a, text_slice(pair, 0, key), plain), decoded(a, value, plain)};
        if (!p->name.ptr || !p->value.ptr)
            return NULL;
    }
    x->nparams = n;
    return n ? params : ARENA_NEW(a, HttpParam);
}

static xs_str api_query(xs_http *x, const char *name, unsigned index)
{
    Text want = text_from(name);
    if (!x->params)
        x->params = find_params(x);
    for (uint32_t i = 0; x->params && i < x->nparams; i++)
        if (text_eq(x->params[i].name, want) && !index--)
            return (xs_str){x->params[i].value.ptr, x->params[i].value.len};
    return (xs_str){0};
}

static xs_str api_body(xs_http *x)
{
    Text t = x->body.len ? buf_view(&x->body) : x->small_body;
    return (xs_str){t.len ? t.ptr : "", t.len};
}

bool exchange_is_head(const xs_http *x)
{
    return strcmp(x->head.method, "HEAD") == 0;
}

/* ---- refusals ---- */

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } known[] = {{200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {303, "See Other"},
                 {304, "Not Modified"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i].status == status)
            return known[i].text;
    return status < 400 ? "OK" : "Error";
}

const char *http_refusal_code(HttpProblem p)
{
    return p.status == 500 ? "ERROR_FATAL" : "ERROR_CODE_BAD_REQUEST";
}

void http_date(char out[HTTP_DATE_BYTES], time_t at)
{
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(out, HTTP_DATE_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

size_t http_date_line(char *out, size_t size, time_t at)
{
    char date[HTTP_DATE_BYTES];
    http_date(date, at);
    int n = snprintf(out, size, "Date: %s\r\n", date);
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

void http_write_refusal(Buf *out, HttpProblem p)
{
    Buf body = BUF_INIT;
    char date[64] = "";
    http_date_line(date, sizeof date, time(NULL));
    http_write_error(&body, http_refusal_code(p), p.message);
    buf_printf(out,
               "HTTP/1.1 %d %s\r\n%sContent-Type: application/json; charset=utf-8\r\n"
               "Content-Length: %zu\r\nConnection: close\r\n\r\n",
               p.status, http_reason(p.status), date, body.len);
    buf_text(out, buf_view(&body));
    out->failed = out->failed || body.failed;
    buf_deinit(&body);
}

/* ---- answers ---- */

static void api_reply(xs_http *x, int status, const xs_header *headers, size_t nheaders,
                      xs_str body)
{
    Buf none = BUF_INIT;
    x->ops->reply(x, status, headers, nheaders, (Text){body.ptr, body.len}, &none);
}

static void api_hold(xs_http *x, void *peer, const xs_http_events *events)
{
    x->ops->hold(x, peer, events);
}

static void api_stream(xs_http *x, int status, const xs_header *headers, size_t nheaders,
                       void *peer, const xs_http_events *events)
{
    x->ops->stream(x, status, headers, nheaders, peer, events);
}

static int api_stream_fd(xs_http *x)
{
    return x->ops->stream_fd(x);
}

static bool api_stream_chunked(xs_http *x)
{
    return !x->head.http10;
}

static void api_want_write(xs_http *x, bool on)
{
    x->ops->want_write(x, on);
}

static void api_stream_end(xs_http *x)
{
    x->ops->stream_end(x, false);
}

void http_stream_done(xs_http *x)
{
    x->ops->stream_end(x, true);
}

void http_stream_patience(xs_http *x, bool waiting)
{
    x->ops->patience(x, waiting);
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
    if (b.failed) {
        buf_deinit(&b);
        http_reply_error(x, 500, "ERROR_FATAL", "Out of memory.");
        return;
    }
    x->ops->reply(x, status, headers, nheaders, (Text){"", 0}, &b);
}

void http_reply_json(xs_http *x, int status, Text json)
{
    const xs_header type = {"Content-Type", "application/json; charset=utf-8"};
    api_reply(x, status, &type, 1, (xs_str){json.ptr, json.len});
}

void http_write_error(Buf *out, const char *code, const char *message)
{
    buf_cstr(out, "{\"code\":");
    json_write_text(out, text_from(code));
    buf_cstr(out, ",\"message\":");
    json_write_text(out, text_from(message));
    buf_cstr(out, ",\"payload\":\"\"}");
}

void http_reply_error(xs_http *x, int status, const char *code, const char *message)
{
    Buf b = BUF_INIT;
    http_write_error(&b, code, message);
    http_reply_json(x, status, b.failed ? TEXT("{}") : buf_view(&b));
    buf_deinit(&b);
}
