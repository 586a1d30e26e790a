/* suite.c - event streams, long-polls and POSTs as they are on the wire. usage: suite XS APP.
 * Specification: realtime.md §7, §8, §14, and the checks 14 to 16 of §15. */
#include <stdint.h>

#include "tests/common/server.h"

enum { WAIT_MS = 5000, REPLY_MAX = 1 << 18 };

static int port, failures;

typedef struct Talk {
    int fd;
    char text[REPLY_MAX];
    size_t len;
} Talk;

static Talk *dial(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static Talk *dial(const char *fmt, ...)
{
    char request[4096];
    va_list ap;
    Talk *t = calloc(1, sizeof *t);
    va_start(ap, fmt);
    int n = vsnprintf(request, sizeof request, fmt, ap);
    va_end(ap);
    if (!t || (t->fd = http_connect(port)) < 0 || !send_all(t->fd, request, (size_t)n))
        exit(1);
    return t;
}

static void hang_up(Talk *t)
{
    close(t->fd);
    free(t);
}

/* Read until the text is there; NULL: it did not come. */
static const char *await(Talk *t, const char *text)
{
    for (int64_t until = clock_mono_ms() + WAIT_MS; clock_mono_ms() < until;) {
        const char *found = strstr(t->text, text);
        if (found)
            return found;
        struct pollfd p = {.fd = t->fd, .events = POLLIN};
        if (poll(&p, 1, 100) <= 0)
            continue;
        ssize_t r = recv(t->fd, t->text + t->len, sizeof t->text - 1 - t->len, 0);
        if (r <= 0)
            return strstr(t->text, text);
        t->len += (size_t)r;
        t->text[t->len] = '\0';
    }
    return NULL;
}

static void complain(int line, const char *what, const Talk *t)
{
    fprintf(stderr, "line %d: no %s in\n%.1500s\n", line, what, t->text);
    failures++;
}

#define HAS(t, part)                                                                               \
    do {                                                                                           \
        if (!await(t, part))                                                                       \
            complain(__LINE__, part, t);                                                           \
    } while (0)
#define HAS_NOT(t, part)                                                                           \
    do {                                                                                           \
        if (strstr((t)->text, part))                                                               \
            complain(__LINE__, "absence of " part, t);                                             \
    } while (0)

static void tell(const char *channel, int n)
{
    char body[128], *reply = NULL;
    snprintf(body, sizeof body, "{\"channel\":\"%s\",\"data\":{\"n\":%d}}", channel, n);
    if (http_request(port, "POST", "/api:harbor/tell", NULL, body, &reply) != 200) {
        fprintf(stderr, "tell: %s\n", reply ? reply : "");
        failures++;
    }
    free(reply);
}

/* The text between two marks, behind the newest place of the first. */
static bool cut(const Talk *t, const char *before, const char *after, char *out, size_t size)
{
    const char *from = NULL;
    for (const char *at = strstr(t->text, before); at; at = strstr(at + 1, before))
        from = at + strlen(before);
    const char *end = from ? strstr(from, after) : NULL;
    if (!end || (size_t)(end - from) >= size)
        return false;
    memcpy(out, from, (size_t)(end - from));
    out[end - from] = '\0';
    return true;
}

/* ---- event streams ---- */

static void streams(void)
{
    char id[64] = "", sid[64] = "";
    Talk *t = dial("GET /rt/harbor/sse?channel=harbor/a&channel=log:b&history=1&retry=500&pad=1 "
                   "HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n\r\n");
    HAS(t, "HTTP/1.1 200 ");
    HAS(t, "event: open\ndata: {\"sid\":\"");
    HAS(t, "Content-Type: text/event-stream; charset=utf-8\r\n");
    HAS(t, "Cache-Control: no-cache, no-store, no-transform\r\n");
    HAS(t, "X-Accel-Buffering: no\r\n");
    HAS(t, "Vary: Origin\r\n");
    HAS(t, "Access-Control-Allow-Origin: http://h\r\n");
    HAS(t, "Access-Control-Allow-Credentials: true\r\n");
    HAS(t, "Transfer-Encoding: chunked\r\n");
    HAS_NOT(t, "Content-Length:");
    HAS_NOT(t, "Content-Encoding:");
    HAS_NOT(t, "Access-Control-Expose-Headers:");
    HAS(t, "retry: ");
    HAS(t, "\"resume\":\"none\"");
    HAS(t, "\"send\":\"/rt/harbor/send\"");
    HAS(t, "\"channel\":\"harbor/a\"},\"payload\":{\"history\":[]}}\n\n");
    HAS(t, "\"channel\":\"log:b\"},\"payload\":{\"history\":[]}}\n\n");
    tell("harbor/a", 1);
    HAS(t, "\"n\":1}");
    if (!cut(t, "\nid: ", "\n", id, sizeof id) || !cut(t, "\"sid\":\"", "\"", sid, sizeof sid))
        complain(__LINE__, "position", t);
    hang_up(t);
    /* 14: ten more in two channels while nobody is there; exactly those come, in their order. */
    for (int n = 2; n <= 11; n++)
        tell(n & 1 ? "harbor/a" : "log:b", n);
    t = dial("GET /rt/harbor/sse?channel=harbor/a&channel=log:b HTTP/1.1\r\nHost: h\r\n"
             "Last-Event-ID: %s\r\n\r\n",
             id);
    HAS(t, "\"resume\":\"ok\"");
    HAS(t, "\"n\":11}");
    const char *at = t->text;
    for (int n = 2; n <= 11 && at; n++) {
        char part[16];
        snprintf(part, sizeof part, "\"n\":%d}", n);
        at = strstr(at, part);
        if (!at)
            complain(__LINE__, part, t);
    }
    HAS_NOT(t, "\"n\":1}");
    HAS_NOT(t, "event: resync");
    hang_up(t);
    /* 15: another numbering, one of the future, one that was forgotten. */
    t = dial("GET /rt/harbor/sse?channel=harbor/a&last_event_id=0123456789abcdef.1 HTTP/1.1\r\n"
             "Host: h\r\n\r\n");
    HAS(t, "\"resume\":\"gap\"");
    HAS(t, "event: resync\ndata: {\"channels\":[\"harbor/a\"],\"reason\":\"epoch\"}");
    hang_up(t);
    for (int n = 0; n < 70; n++)
        tell("harbor/a", 100 + n);
    t = dial("GET /rt/harbor/sse?channel=harbor/a&channel=log:b HTTP/1.1\r\nHost: h\r\n"
             "Last-Event-ID: %s\r\n\r\n",
             id);
    HAS(t, "\"resume\":\"gap\"");
    HAS(t, "event: resync\ndata: {\"channels\":[\"harbor/a\"],\"reason\":\"evicted\"}");
    HAS(t, "\"n\":10}"); /* the other channel is whole */
    hang_up(t);
    t = dial(
        "GET /rt/harbor/sse?channel=harbor/a HTTP/1.1\r\nHost: h\r\nLast-Event-ID: nonsense\r\n"
        "\r\n");
    HAS(t, "\"resume\":\"none\"");
    hang_up(t);
    t = dial("GET /rt/harbor/sse?channel=harbor/a HTTP/1.0\r\n\r\n");
    HAS(t, "event: open\n");
    HAS_NOT(t, "chunked");
    hang_up(t);
    t = dial("GET /rt/harbor HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n");
    HAS(t, "event: open\n");
    hang_up(t);
    t = dial("GET /rt/harbor/sse?channel=bad*name&channel=nowhere HTTP/1.1\r\nHost: h\r\n\r\n");
    HAS(t, "\"code\":\"bad_channel\"");
    HAS(t, "\"code\":\"channel_unknown\"");
    HAS(t, ": hb\nid: "); /* silence */
    hang_up(t);
}

static void bad_times(void)
{
    static const char *const times[] = {"499", "60001", "x", "1e3", "-1", ""};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        Talk *t = dial("GET /rt/harbor/sse?retry=%s HTTP/1.1\r\nHost: h\r\n\r\n", times[i]);
        HAS(t, "HTTP/1.1 400 ");
        hang_up(t);
    }
}

/* ---- frames by POST ---- */

static void send_frames(const char *sid, const char *type, const char *body, const char *status)
{
    Talk *t = dial("POST /rt/harbor/send?sid=%s HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n"
                   "Content-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                   sid, type, strlen(body));
    if (!send_all(t->fd, body, strlen(body)))
        exit(1);
    HAS(t, "HTTP/1.1 ");
    if (!await(t, status))
        complain(__LINE__, status, t);
    HAS(t, "Access-Control-Allow-Origin: http://h\r\n");
    hang_up(t);
}

static void posts(void)
{
    char sid[64] = "";
    Talk *t = dial("GET /rt/harbor/sse HTTP/1.1\r\nHost: h\r\n\r\n");
    HAS(t, "event: open\n");
    if (!await(t, "\"send\"") || !cut(t, "\"sid\":\"", "\"", sid, sizeof sid))
        complain(__LINE__, "sid", t);
    static const char join[] = "{\"action\":\"join\",\"options\":{\"channel\":\"log:post\"}}";
    static const char say[] =
        "{\"action\":\"message\",\"options\":{\"channel\":\"log:post\"},\"payload\":\"%s\"}";
    char first[256], both[768];
    send_frames(sid, "application/json", join, "{\"ok\":true,\"n\":1}");
    HAS(t, "\"action\":\"join\"");
    snprintf(first, sizeof first, say, "plain");
    send_frames(sid, "text/plain;charset=UTF-8", first, "{\"ok\":true,\"n\":1}");
    HAS(t, "\"payload\":\"plain\"");
    snprintf(both, sizeof both, "%s\n\r\n%s\n", join, first);
    send_frames(sid, "application/x-ndjson", both, "{\"ok\":true,\"n\":2}");
    snprintf(both, sizeof both, "[%s,{\"action\":\"ping\"},{\"action\":\"nonsense\"}]", join);
    send_frames(sid, "application/json", both, "{\"ok\":true,\"n\":3}");
    HAS(t, "\"action\":\"pong\"");
    HAS(t, "\"code\":\"unknown_action\""); /* on the stream, not in the answer */
    char large[66000];
    memset(large, ' ', sizeof large);
    memcpy(large, "[{\"action\":\"ping\",\"x\":[", 23);
    memcpy(large + sizeof large - 5, "]}]", 4);
    send_frames(sid, "application/json", large, "HTTP/1.1 413 ");
    send_frames(sid, "image/png", join, "HTTP/1.1 415 ");
    send_frames(sid, "application/json", "{", "HTTP/1.1 400 ");
    send_frames("AAAAAAAAAAAAAAAAAAAAAAAAA", "application/json", join, "\"sid_gone\"");
    hang_up(t);
}

/* ---- long-polls ---- */

static void polls(void)
{
    char sid[64] = "", cursor[96] = "", again[96] = "";
    Talk *t =
        dial("GET /rt/harbor/lp?channel=log:poll HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    HAS(t, "HTTP/1.1 200 ");
    HAS(t, "\"frames\":[{\"action\":\"join\"");
    HAS(t, "Cache-Control: no-store\r\n");
    HAS(t, "Vary: Authorization\r\n");
    HAS(t, "\"more\":false,\"wait\":0,\"resync\":[]");
    if (!cut(t, "{\"sid\":\"", "\"", sid, sizeof sid) ||
        !cut(t, "\"cursor\":\"", "\"", cursor, sizeof cursor) ||
        !cut(t, "ETag: \"", "\"", again, sizeof again) || strcmp(cursor, again) != 0)
        complain(__LINE__, "sid, cursor and ETag", t);
    hang_up(t);
    tell("log:poll", 1);
    tell("log:poll", 2);
    /* 16: the answer is lost; the same cursor brings the same frames. */
    for (int i = 0; i < 2; i++) {
        t = dial("GET /rt/harbor/lp?channel=log:poll&sid=%s&cursor=%s HTTP/1.1\r\nHost: h\r\n"
                 "Connection: close\r\n\r\n",
                 sid, cursor);
        HAS(t, "\"n\":1}");
        HAS(t, "\"n\":2}");
        if (i && !cut(t, "\"cursor\":\"", "\"", cursor, sizeof cursor))
            complain(__LINE__, "cursor", t);
        hang_up(t);
    }
    /* Nothing new: in three forms. */
    t = dial("GET /rt/harbor/lp?channel=log:poll&sid=%s&cursor=%s&timeout=0 HTTP/1.1\r\nHost: h\r\n"
             "Connection: close\r\n\r\n",
             sid, cursor);
    HAS(t, "\"frames\":[]");
    hang_up(t);
    t = dial("GET /rt/harbor/lp?channel=log:poll&sid=%s&cursor=%s&timeout=0&empty=204 HTTP/1.1\r\n"
             "Host: h\r\nConnection: close\r\n\r\n",
             sid, cursor);
    HAS(t, "HTTP/1.1 204 ");
    HAS(t, "X-XS-Cursor: ");
    HAS(t, "X-XS-Sid: ");
    hang_up(t);
    t = dial("GET /rt/harbor/lp?channel=log:poll&sid=%s&timeout=0 HTTP/1.1\r\nHost: h\r\n"
             "If-None-Match: \"%s\"\r\nConnection: close\r\n\r\n",
             sid, cursor);
    HAS(t, "HTTP/1.1 304 ");
    hang_up(t);
    /* A second poll of the session releases the first; an event answers the second. */
    t = dial("GET /rt/harbor/lp?channel=log:poll&sid=%s&cursor=%s HTTP/1.1\r\nHost: h\r\n\r\n", sid,
             cursor);
    poll(NULL, 0, 50);
    Talk *second =
        dial("GET /rt/harbor/lp?channel=log:poll&sid=%s&cursor=%s HTTP/1.1\r\nHost: h\r\n"
             "\r\n",
             sid, cursor);
    HAS(t, "\"frames\":[]");
    tell("log:poll", 3);
    HAS(second, "\"n\":3}");
    hang_up(t);
    hang_up(second);
    /* A node that does not know the session makes a new one from the position. */
    t = dial(
        "GET /rt/harbor/lp?channel=log:poll&sid=AAAAAAAAAAAAAAAAAAAAAAAAA&cursor=%s HTTP/1.1\r\n"
        "Host: h\r\nConnection: close\r\n\r\n",
        cursor);
    HAS(t, "\"n\":3}");
    HAS(t, "\"resync\":[]");
    hang_up(t);
    t = dial("GET /rt/harbor/lp?channel=log:poll&cursor=0123456789abcdef.1 HTTP/1.1\r\nHost: h\r\n"
             "Connection: close\r\n\r\n");
    HAS(t, "\"resync\":[\"log:poll\"]");
    hang_up(t);
}

/* ---- browsers ---- */

static void origins(void)
{
    Talk *t = dial("OPTIONS /rt/harbor/send HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n"
                   "Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n");
    HAS(t, "HTTP/1.1 204 ");
    HAS(t, "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n");
    HAS(t, "Access-Control-Allow-Headers: Authorization, Content-Type, If-None-Match, "
           "Last-Event-ID\r\n");
    HAS(t, "Access-Control-Max-Age: 7200\r\n");
    HAS(t, "Access-Control-Expose-Headers: ETag, X-XS-Cursor, X-XS-Sid, Retry-After\r\n");
    hang_up(t);
    static const char *const paths[] = {"/rt/harbor/sse", "/rt/harbor/lp", "/rt/harbor/info"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        t = dial(
            "GET %s HTTP/1.1\r\nHost: h\r\nOrigin: http://evil.example\r\nConnection: close\r\n"
            "\r\n",
            paths[i]);
        HAS(t, "HTTP/1.1 403 ");
        HAS_NOT(t, "Access-Control-Allow-Origin");
        hang_up(t);
    }
    t = dial("GET /rt/harbor/info HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    HAS(t, "{\"transports\":[\"ws\",\"sse\",\"lp\"],\"ping\":25,\"max_message\":65536,");
    hang_up(t);
}

/* ---- 19: a token that ends ---- */

static void tokens(void)
{
    char *reply = NULL, token[1024] = "";
    int status =
        http_request(port, "POST", "/api:harbor/login", NULL, "{\"name\":\"eve\",\"ttl\":2}",
                     &reply); /* whole seconds: 1 may be over at once */
    const char *from = reply ? strstr(reply, "\"token\":\"") : NULL;
    if (status == 200 && from)
        snprintf(token, sizeof token, "%.*s", (int)strcspn(from + 9, "\""), from + 9);
    free(reply);
    Talk *stream = dial("GET /rt/harbor/sse?channel=crew HTTP/1.1\r\nHost: h\r\n"
                        "Authorization: Bearer %s\r\n\r\n",
                        token);
    HAS(stream, "\"action\":\"join\"");
    char sid[64] = "";
    cut(stream, "\"sid\":\"", "\"", sid, sizeof sid);
    send_frames(sid, "application/json", "{\"action\":\"ping\"}", "HTTP/1.1 401 ");
    Talk *poll = dial("GET /rt/harbor/lp?channel=crew HTTP/1.1\r\nHost: h\r\n"
                      "Authorization: Bearer %s\r\nConnection: close\r\n\r\n",
                      token);
    HAS(poll, "HTTP/1.1 200 ");
    HAS(stream, "\"code\":\"token_expired\"");
    HAS(stream, "event: bye\n");
    hang_up(stream);
    hang_up(poll);
    poll = dial("GET /rt/harbor/lp?channel=crew HTTP/1.1\r\nHost: h\r\n"
                "Authorization: Bearer %s\r\nConnection: close\r\n\r\n",
                token);
    HAS(poll, "HTTP/1.1 401 ");
    hang_up(poll);
}

/* ---- one connection too many ---- */

static void crowd(void)
{
    Talk *first = dial("GET /rt/harbor/sse HTTP/1.1\r\nHost: h\r\n\r\n");
    Talk *second = dial("GET /rt/harbor/sse HTTP/1.1\r\nHost: h\r\n\r\n");
    HAS(first, "event: open\n");
    HAS(second, "event: open\n");
    Talk *t = dial("GET /rt/harbor/lp HTTP/1.1\r\nHost: h\r\n\r\n");
    HAS(t, "HTTP/1.1 503 ");
    HAS(t, "Retry-After: 5\r\n");
    hang_up(t);
    t = dial("GET /rt/harbor/sse HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n");
    HAS(t, "HTTP/1.1 200 ");
    HAS(t, "event: bye\ndata: {\"reason\":\"overload\"");
    HAS_NOT(t, "Access-Control-Allow-Origin");
    char retry[16] = "";
    cut(t, "\nretry: ", "\n", retry, sizeof retry);
    if (atoi(retry) < 15000 || atoi(retry) >= 30000)
        complain(__LINE__, "retry", t);
    hang_up(t);
    t = dial("GET /rt/harbor/sse HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n"
             "Accept: text/event-stream\r\n\r\n");
    HAS(t, "Access-Control-Allow-Origin: http://h\r\n");
    HAS(t, "event: bye\n");
    hang_up(t);
    t = dial("GET /rt/harbor HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    HAS(t, "HTTP/1.1 101 ");
    HAS(t, "The server is busy.");
    HAS(t, "\x03\xF5"); /* 1013 */
    hang_up(t);
    hang_up(first);
    hang_up(second);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const char *const args[] = {argv[1],       "serve",      argv[2],    "--listen",
                                "127.0.0.1:0", "--db",       ":memory:", "--log-level",
                                "error",       "--drain-ms", "100",      "--realtime-heartbeat-ms",
                                "300",         NULL};
    Server server;
    signal(SIGPIPE, SIG_IGN);
    if (!server_start(&server, (char *const *)(uintptr_t)args))
        return 1;
    port = server.port;
    streams();
    bad_times();
    posts();
    polls();
    origins();
    tokens();
    if (server_stop(&server, SIGTERM, 10000) != 0)
        return 1;
    const char *const small[] = {argv[1], "serve",        argv[2],       "--listen", "127.0.0.1:0",
                                 "--db",  ":memory:",     "--log-level", "error",    "--drain-ms",
                                 "100",   "--conn-total", "2",           NULL};
    if (!server_start(&server, (char *const *)(uintptr_t)small))
        return 1;
    port = server.port;
    crowd();
    printf("%d failures\n", failures);
    if (server_stop(&server, SIGTERM, 10000) != 0)
        return 1;
    return failures ? 1 : 0;
}
