/* realtime.c - credentials, origins, negotiation of the transport, /send, /ticket, /info. */
#include "host/realtime.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sodium.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/admin.h"
#include "host/expiring.h"
#include "host/httphead.h"
#include "host/upgrade.h"

enum {
    TICKET_TTL_MS = 30000,
    TICKETS_MAX = 65536,
    TICKET_BYTES = 16,
    SEND_MAX_FRAMES = 32,
    BUSY_RETRY_MS = 15000 /* up to twice this */
};

/* The carrier whose clients ask again and again, and the one whose answers have nothing to read in
 * their head. */
static const char REPEATED[] = "lp", STREAMED[] = "sse";

/* Headers of answers that pages of other origins may read. */
#define EXPOSED "ETag, X-XS-Cursor, X-XS-Sid, Retry-After"

struct Realtime {
    RealtimeOptions opt;
    Expiring *tickets;
    Publisher *publisher;
    Identity *anonymous; /* all that offer no credential share it */
};

typedef struct Ticket {
    const Space *space;
    Identity *identity;
    int64_t expires_ms; /* of the token it was made for */
} Ticket;

static void free_ticket(void *value)
{
    Ticket *t = (Ticket *)value;
    identity_unref(t->identity);
    mem_free(t);
}

Realtime *realtime_new(const RealtimeOptions *opt, xs_error *err)
{
    Realtime *r = mem_zalloc(1, sizeof *r);
    if (r) {
        r->opt = *opt;
        r->tickets = expiring_new(TICKET_TTL_MS, TICKETS_MAX, free_ticket);
    }
    if (!r || !r->tickets) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        realtime_free(r);
        return NULL;
    }
    r->anonymous = identity_anonymous();
    r->publisher = publisher_new(opt->config, opt->hub, opt->metrics, opt->base, err);
    if (r->publisher && (r->anonymous || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory")))
        return r;
    realtime_free(r);
    return NULL;
}

void realtime_stop(Realtime *r)
{
    if (r)
        publisher_stop(r->publisher);
}

void realtime_free(Realtime *r)
{
    if (!r)
        return;
    expiring_free(r->tickets);
    publisher_free(r->publisher);
    identity_unref(r->anonymous);
    mem_free(r);
}

/* ---- who ---- */

static Space *find_space(const Realtime *r, const RealtimePath *path)
{
    Text tenant = path->tenant.ptr ? path->tenant : r->opt.config->tenant;
    return hub_find_space(r->opt.hub, tenant, path->canonical);
}

/* "/rt/…" and "/ws/…" are two layers: a space answers under its own. */
static bool split_path(Text path, RealtimePath *out, bool *server)
{
    *server = text_starts(path, TEXT("/ws/"));
    return realtime_path(path, *server ? TEXT("/ws/") : TEXT("/rt/"), out);
}

static Space *layer_space(const Realtime *r, const RealtimePath *path, bool server)
{
    Space *s = find_space(r, path);
    return s && space_is_server(s) == server ? s : NULL;
}

static Text first_query(const Const *query, const char *name)
{
    const Const *list = const_get(query, name);
    return list && list->count ? list->items[0]->text : (Text){0};
}

static Text cookie(const Const *headers, const char *name)
{
    Text all = const_get_text(headers, "Cookie");
    size_t len = strlen(name);
    for (size_t from = 0; from < all.len;) {
        size_t end = text_find(all, TEXT(";"), from);
        Text pair = text_trim(text_slice(all, from, end), TEXT(" \t"));
        from = end == SIZE_MAX ? all.len : end + 1;
        if (pair.len > len && memcmp(pair.ptr, name, len) == 0 && pair.ptr[len] == '=')
            return text_slice(pair, len + 1, pair.len);
    }
    return (Text){0};
}

static Identity *check_token(const Auth *auth, Arena *a, const Space *space, Text token,
                             int64_t *expires_ms)
{
    Claims claims;
    /* Tokens are made for the configured tenant; they open no other one's space. */
    if ((space && !text_eq(space_tenant(space), auth_tenant(auth))) ||
        !auth_verify(auth, a, token, clock_wall_ms(), &claims))
        return NULL;
    *expires_ms = claims.expires_ms;
    return auth_identity(auth, &claims);
}

Identity *realtime_check_token(void *auth, const Space *space, Text token, int64_t *expires_ms)
{
    Arena a;
    arena_init(&a, 0);
    Identity *who = check_token(auth, &a, space, token, expires_ms);
    arena_deinit(&a);
    return who;
}

static Identity *token_identity(Realtime *r, xs_request *q, Text token)
{
    return check_token(r->opt.auth, &q->arena, q->space, token, &q->expires_ms);
}

static Identity *ticket_identity(Realtime *r, xs_request *q, Text ticket)
{
    Ticket *t = expiring_take(r->tickets, ticket, clock_wall_ms());
    Identity *who = t && t->space == q->space ? identity_ref(t->identity) : NULL;
    if (who)
        q->expires_ms = t->expires_ms;
    if (t)
        free_ticket(t);
    return who;
}

/* The first credential present decides. *offered: there was one. NULL: none, or not usable. */
static Identity *find_identity(Realtime *r, xs_request *q, bool *offered)
{
    Text bearer = auth_bearer(const_get_text(q->headers, "Authorization"));
    Text ticket = first_query(q->query, "ticket"), token = first_query(q->query, "token");
    Text jar = cookie(q->headers, "xs_rt");
    *offered = true;
    if (q->token.len)
        return token_identity(r, q, q->token);
    if (bearer.len)
        return token_identity(r, q, bearer);
    if (jar.len)
        return token_identity(r, q, jar);
    if (ticket.len)
        return ticket_identity(r, q, ticket);
    if (token.len)
        return token_identity(r, q, token);
    *offered = false;
    return NULL;
}

static bool has_query_credentials(xs_http *x)
{
    return http_api.query(x, "token", 0).ptr || http_api.query(x, "ticket", 0).ptr;
}

/* Fill identity and bad_token. */
static void identify(Realtime *r, xs_request *q)
{
    bool offered;
    q->identity = find_identity(r, q, &offered);
    q->bad_token = offered && !q->identity;
    if (q->bad_token)
        metric_add(&r->opt.metrics->auth_failed);
    if (!q->identity)
        q->identity = identity_ref(r->anonymous);
}

/* ---- WebSocket ---- */

static Text address_text(Arena *a, const struct sockaddr *addr)
{
    char text[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    if (addr->sa_family == AF_INET) {
        memcpy(&in4, addr, sizeof in4);
        inet_ntop(AF_INET, &in4.sin_addr, text, sizeof text);
    } else if (addr->sa_family == AF_INET6) {
        memcpy(&in6, addr, sizeof in6);
        inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
    }
    return arena_text(a, text_from(text));
}

static bool fill_upgrade(Realtime *r, xs_request *q, const Upgrade *up, const RealtimePath *path,
                         const struct sockaddr *addr)
{
    q->base = arena_text(&q->arena, path->base);
    q->token = up->token;
    q->method = TEXT("GET");
    q->uri = up->uri;
    q->querystring = up->querystring;
    q->headers = up->headers;
    q->query = http_parse_query(&q->arena, up->querystring);
    q->remote_ip = proxies_client(r->opt.proxies, &q->arena, address_text(&q->arena, addr),
                                  const_get_text(q->headers, "X-Forwarded-For"));
    identify(r, q);
    return q->base.ptr && q->query && q->remote_ip.ptr;
}

static bool consume_head(int fd, size_t len, char *into)
{
    for (size_t n = 0; n < len;) {
        ssize_t got = recv(fd, into + n, len - n, MSG_DONTWAIT);
        if (got <= 0)
            return false; /* cannot be: the bytes were seen */
        n += (size_t)got;
    }
    return true;
}

bool realtime_upgrade(Realtime *r, int fd, Text head, const struct sockaddr *addr, bool busy)
{
    size_t end = text_find(head, TEXT("\r\n\r\n"), 0);
    bool server = text_starts(head, TEXT("GET /ws/"));
    if ((!server && !text_starts(head, TEXT("GET /rt/"))) || end == SIZE_MAX ||
        !carriers_has(r->opt.carriers, "ws"))
        return false;
    xs_request *q = request_new();
    if (!q)
        return false;
    q->busy = busy;
    Upgrade up;
    RealtimePath path;
    head = text_slice(head, 0, end + 4);
    bool well = upgrade_parse(&q->arena, head, &up) == UPGRADE_OK;
    /* What can be no name is accepted as well, and told so: after a 404 the SDK comes again. */
    if (well && split_path(up.path, &path, &server))
        q->space = layer_space(r, &path, server);
    bool take = well && !path.action.len &&
                origin_allowed(r->opt.config->rt_origins, const_get_text(up.headers, "Origin"),
                               const_get_text(up.headers, "Host"));
    char *seen = take ? arena_alloc(&q->arena, head.len) : NULL;
    if (!seen || !fill_upgrade(r, q, &up, &path, addr) || !consume_head(fd, head.len, seen)) {
        request_unref(q);
        return false;
    }
    metric_add(&r->opt.metrics->upgrades);
    r->opt.handshake(r->opt.ctx);
    carriers_adopt(r->opt.carriers, fd, up.rewritten, q);
    return true;
}

/* The page that an event stream belongs to may read its refusal. */
static void write_origin(const Realtime *r, Text head, Buf *out)
{
    Arena a;
    HttpHead h;
    HttpProblem problem;
    size_t scanned = 0;
    arena_init(&a, 0);
    size_t end = http_head_end(head, &scanned, &problem);
    if (end && http_head_parse(&a, text_slice(head, 0, end), &h, &problem)) {
        Text origin = text_from(http_head_find(&h, "origin"));
        if (origin.len && origin_allowed(r->opt.config->rt_origins, origin,
                                         text_from(http_head_find(&h, "host"))))
            buf_printf(out,
                       "Access-Control-Allow-Origin: " TEXT_FMT "\r\n"
                       "Access-Control-Allow-Credentials: true\r\n",
                       TEXT_ARG(origin));
    }
    arena_deinit(&a);
}

/* An EventSource would never come back after a 503. */
void realtime_write_busy(const Realtime *r, Text head, Buf *out)
{
    if (text_find(head, TEXT("text/event-stream"), 0) == SIZE_MAX) {
        buf_cstr(out, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
                      "Content-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    uint32_t retry_ms = BUSY_RETRY_MS + randombytes_uniform(BUSY_RETRY_MS);
    buf_cstr(out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                  "Cache-Control: no-store\r\nVary: Origin\r\n");
    write_origin(r, head, out);
    buf_printf(out,
               "Connection: close\r\n\r\n"
               "retry: %u\nevent: bye\ndata: {\"reason\":\"overload\",\"retry\":%u}\n\n",
               retry_ms, retry_ms);
}

/* ---- HTTP ---- */

static xs_request *request_of(Realtime *r, xs_http *x, const RealtimePath *path, Space *space)
{
    xs_request *q = request_new();
    if (!q)
        return NULL;
    Arena *a = &q->arena;
    q->space = space;
    q->base = arena_text(a, path->base);
    q->method = arena_text(a, text_from(http_api.method(x)));
    q->uri = arena_text(a, http_uri(x));
    q->querystring = arena_text(a, http_querystring(x));
    q->remote_ip = arena_text(a, http_remote_ip(x));
    q->headers = http_headers_into(x, a);
    q->query = http_parse_query(a, q->querystring);
    identify(r, q);
    if (q->base.ptr && q->method.ptr && q->uri.ptr && q->querystring.ptr && q->remote_ip.ptr &&
        q->headers && q->query)
        return q;
    request_unref(q);
    return NULL;
}

static void write_info(const Realtime *r, Buf *b)
{
    const Config *c = r->opt.config;
    const char *name;
    buf_cstr(b, "{\"transports\":[");
    for (size_t i = 0; (name = carriers_name_at(r->opt.carriers, i)); i++)
        buf_printf(b, "%s\"%s\"", i ? "," : "", name);
    buf_printf(b, "],\"ping\":%lld,\"max_message\":%lld,\"max_event\":%lld,\"channels\":%lld}",
               (long long)c->rt_ping_ms / 1000, (long long)c->rt_max_message,
               (long long)c->rt_max_event, (long long)c->rt_channels_per_conn);
}

static void reply_info(const Realtime *r, xs_http *x, int status)
{
    Buf b = BUF_INIT;
    write_info(r, &b);
    const xs_header type = {"Content-Type", "application/json; charset=utf-8"};
    http_reply_take(x, status, &type, 1, &b);
}

static void reply_unauthorized(xs_http *x)
{
    http_reply_error(x, 401, "ERROR_CODE_UNAUTHORIZED", "Authentication Required");
}

static void reply_not_found(xs_http *x)
{
    http_reply_error(x, 404, "ERROR_CODE_NOT_FOUND", "Unable to locate request.");
}

static void make_ticket(Realtime *r, xs_http *x, xs_request *q)
{
    unsigned char bytes[TICKET_BYTES];
    char text[sodium_base64_ENCODED_LEN(TICKET_BYTES, sodium_base64_VARIANT_URLSAFE_NO_PADDING)];
    if (!q->identity->authenticated) {
        reply_unauthorized(x);
        return;
    }
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2base64(text, sizeof text, bytes, sizeof bytes,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    Ticket *t = mem_zalloc(1, sizeof *t);
    if (t)
        *t = (Ticket){q->space, identity_ref(q->identity), q->expires_ms};
    if (!t || !expiring_put(r->tickets, text_from(text), t, clock_wall_ms())) {
        http_reply_error(x, 500, "ERROR_FATAL", "Out of memory.");
        return;
    }
    Buf b = BUF_INIT;
    buf_printf(&b, "{\"ticket\":\"%s\",\"expires_in\":%d}", text, TICKET_TTL_MS / 1000);
    const xs_header headers[] = {{"Content-Type", "application/json; charset=utf-8"},
                                 {"Cache-Control", "no-store"}};
    http_reply_take(x, 200, headers, COUNT_OF(headers), &b);
}

/* Lines of JSON as one JSON list. */
static bool join_lines(Text lines, Buf *out)
{
    bool any = false;
    buf_char(out, '[');
    for (size_t from = 0; from < lines.len;) {
        size_t end = text_find(lines, TEXT("\n"), from);
        Text line = text_trim(text_slice(lines, from, end), TEXT(" \t\r"));
        from = end == SIZE_MAX ? lines.len : end + 1;
        if (!line.len)
            continue;
        if (any)
            buf_char(out, ',');
        buf_text(out, line);
        any = true;
    }
    buf_char(out, ']');
    return !out->failed;
}

static void send_frames(Realtime *r, xs_http *x, xs_request *q, Text frames)
{
    xs_error err = {0};
    uint32_t n = 0;
    Text sid = first_query(q->query, "sid");
    if (!sid.len) {
        http_reply_error(x, 400, "ERROR_CODE_BAD_REQUEST", "Missing param: sid");
        return;
    }
    if (hub_send(r->opt.hub, q->space, sid, q->identity, frames, &n, &err)) {
        Buf b = BUF_INIT;
        buf_printf(&b, "{\"ok\":true,\"n\":%u}", n);
        const xs_header type = {"Content-Type", "application/json; charset=utf-8"};
        http_reply_take(x, 200, &type, 1, &b);
        return;
    }
    const xs_code_info *info = xs_code_get(err.code);
    if (info->status == 429 || info->status == 503)
        http_add_header(x, "Retry-After", TEXT("1"));
    http_reply_error(x, info->status, err.code == XS_E_NOTFOUND ? "sid_gone" : info->wire,
                     err.message);
}

static void handle_send(Realtime *r, xs_http *x, xs_request *q)
{
    Text type = const_get_text(q->headers, "Content-Type");
    type = text_trim(text_slice(type, 0, text_find(type, TEXT(";"), 0)), TEXT(" \t"));
    xs_str body = http_api.body(x);
    Text frames = {body.ptr, body.len};
    bool lines = text_eq(type, TEXT("application/x-ndjson"));
    if (type.len && !lines && !text_eq(type, TEXT("application/json")) &&
        !text_eq(type, TEXT("text/plain"))) {
        http_reply_error(x, 415, "ERROR_CODE_BAD_REQUEST", "Send JSON.");
        return;
    }
    if (frames.len > (size_t)r->opt.config->rt_max_message * SEND_MAX_FRAMES) {
        http_reply_error(x, 413, "ERROR_CODE_TOO_LARGE", "Message is too large.");
        return;
    }
    Buf joined = BUF_INIT;
    if (lines && !join_lines(frames, &joined))
        http_reply_error(x, 500, "ERROR_FATAL", "Out of memory.");
    else
        send_frames(r, x, q, lines ? buf_view(&joined) : frames);
    buf_deinit(&joined);
}

static void add_cors(const Realtime *r, xs_http *x, Text origin)
{
    http_add_header(x, "Vary", TEXT("Origin"));
    if (!origin.len)
        return;
    bool any = text_eq(r->opt.config->rt_origins, TEXT("*"));
    http_add_header(x, "Access-Control-Allow-Origin", any ? TEXT("*") : origin);
    if (!any)
        http_add_header(x, "Access-Control-Allow-Credentials", TEXT("true"));
}

static void reply_preflight(xs_http *x)
{
    static const xs_header headers[] = {
        {"Access-Control-Allow-Methods", "GET, POST, OPTIONS"},
        {"Access-Control-Allow-Headers",
         "Authorization, Content-Type, If-None-Match, Last-Event-ID"},
        {"Access-Control-Max-Age", "7200"},
        {"Access-Control-Expose-Headers", EXPOSED}};
    http_api.reply(x, 204, headers, COUNT_OF(headers), (xs_str){"", 0});
}

/* Which transport a GET of the base asks for; NULL: answered. */
static const char *negotiate(const Realtime *r, xs_http *x)
{
    const char *upgrade = http_api.header(x, "Upgrade"), *accept = http_api.header(x, "Accept");
    if (upgrade && !carriers_has(r->opt.carriers, "ws")) {
        reply_info(r, x, 426);
        return NULL;
    }
    if (upgrade) {
        http_add_header(x, "Sec-WebSocket-Version", TEXT("13")); /* RFC 6455 §4.2.2 */
        http_reply_error(x, 400, "ERROR_CODE_BAD_REQUEST", "Malformed WebSocket upgrade.");
        return NULL;
    }
    return accept && text_find(text_from(accept), TEXT("text/event-stream"), 0) != SIZE_MAX ? "sse"
                                                                                            : "lp";
}

typedef enum Need { NEED_CARRIER, NEED_TICKET, NEED_SEND, NEED_INFO } Need;

/* What the path asks for; false: answered already. */
static bool classify(const Realtime *r, xs_http *x, Text action, Need *need, const char **carrier)
{
    static const struct {
        const char *action, *method, *carrier;
        Need need;
    } rows[] = {{"sse", "GET", "sse", NEED_CARRIER}, {"lp", "GET", "lp", NEED_CARRIER},
                {"send", "POST", NULL, NEED_SEND},   {"ticket", "POST", NULL, NEED_TICKET},
                {"info", "GET", NULL, NEED_INFO},    {"", "GET", NULL, NEED_CARRIER}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (!text_eq(action, text_from(rows[i].action)))
            continue;
        if (strcmp(http_api.method(x), rows[i].method) != 0) {
            http_add_header(x, "Allow", text_from(rows[i].method));
            http_reply_error(x, 405, "ERROR_CODE_BAD_REQUEST", "Method not allowed.");
            return false;
        }
        *need = rows[i].need;
        *carrier = rows[i].carrier;
        if (*need == NEED_CARRIER && !*carrier)
            *carrier = negotiate(r, x);
        return *need != NEED_CARRIER || *carrier;
    }
    reply_not_found(x);
    return false;
}

static void forget_request(void *memo)
{
    request_unref((xs_request *)memo);
}

static void remember(xs_http *x, const xs_request *q)
{
    xs_request *stub = request_stub(q);
    if (stub)
        http_remember(x, stub, forget_request);
}

static void carry(Realtime *r, xs_http *x, xs_request *q, const char *carrier)
{
    bool repeated = strcmp(carrier, REPEATED) == 0;
    if (repeated && !has_query_credentials(x))
        remember(x, q);
    if (!carriers_http(r->opt.carriers, carrier, x, q))
        reply_not_found(x);
    else if (!repeated || !first_query(q->query, "sid").len)
        r->opt.handshake(r->opt.ctx);
}

static void serve(Realtime *r, xs_http *x, const RealtimePath *path)
{
    Need need;
    const char *carrier;
    if (!classify(r, x, path->action, &need, &carrier))
        return;
    if (http_api.header(x, "Origin") && (need != NEED_CARRIER || strcmp(carrier, STREAMED) != 0))
        http_add_header(x, "Access-Control-Expose-Headers", TEXT(EXPOSED));
    Space *space = layer_space(r, path, text_starts(path->base, TEXT("/ws/")));
    if (!space) {
        reply_not_found(x);
        return;
    }
    if (need == NEED_INFO) {
        reply_info(r, x, 200);
        return;
    }
    xs_request *q = request_of(r, x, path, space);
    if (!q)
        http_reply_error(x, 500, "ERROR_FATAL", "Out of memory.");
    else if (q->bad_token)
        reply_unauthorized(x);
    else if (need == NEED_TICKET)
        make_ticket(r, x, q);
    else if (need == NEED_SEND)
        handle_send(r, x, q);
    else
        carry(r, x, q, carrier);
    request_unref(q);
}

bool realtime_again(Realtime *r, xs_http *x)
{
    xs_request *q = (xs_request *)http_memo(x);
    if ((!q->expires_ms || clock_wall_ms() < q->expires_ms) && !has_query_credentials(x) &&
        carriers_http_again(r->opt.carriers, REPEATED, x, q))
        return true;
    http_forget(x);
    return false;
}

bool realtime_owns(Text path)
{
    return text_starts(path, TEXT("/rt/")) || text_starts(path, TEXT("/ws/"));
}

bool realtime_handle(Realtime *r, xs_http *x)
{
    Text raw = http_raw_path(x);
    if (!realtime_owns(raw))
        return false;
    RealtimePath path;
    const char *origin_header = http_api.header(x, "Origin"), *host = http_api.header(x, "Host");
    Text origin = text_from(origin_header);
    bool server;
    if (!split_path(raw, &path, &server)) {
        reply_not_found(x);
        return true;
    }
    if (!origin_allowed(r->opt.config->rt_origins, origin, text_from(host))) {
        metric_add(&r->opt.metrics->origin_refused);
        http_reply_error(x, 403, "ERROR_CODE_ACCESS_DENIED", "Origin not allowed.");
        return true;
    }
    add_cors(r, x, origin);
    if (strcmp(http_api.method(x), "OPTIONS") == 0)
        reply_preflight(x);
    else
        serve(r, x, &path);
    return true;
}

bool realtime_admin(Realtime *r, xs_http *x)
{
    RealtimePath path;
    if (!realtime_path(http_raw_path(x), TEXT("/_xs/rt/"), &path))
        return false;
    Space *space = find_space(r, &path);
    if (!space)
        reply_not_found(x);
    else
        admin_handle(r->publisher, r->opt.hub, x, space, path.action);
    return true;
}
