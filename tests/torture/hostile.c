/* hostile.c - clients that send what no client should, on every transport: each gets the answer
 * that the protocol has for it, what they made the server keep is given back, and neighbours get
 * their events in order and in time. usage: hostile XS APP */
#include <pthread.h>
#include <stdatomic.h>

#include "bench/rtclient.h"
#include "core/buf.h"
#include "core/const.h"
#include "core/json.h"
#include "core/text.h"
#include "tests/common/complain.h"
#include "tests/common/server.h"

enum {
    ANSWER_MS = 5000,
    LATE_MS = 2000,       /* no neighbour waits longer for an event */
    GROWTH_MAX = 8 << 20, /* bytes that may still be held afterwards */
    FLOOD_FRAMES = 3000,
    IDLE_SOCKETS = 200,
    KEY_BYTES = 64
};

static const char key[KEY_BYTES + 1] =
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static int port, admin_port;

static long metric(const char *name)
{
    char *reply = NULL, line[128];
    long value = -1;
    if (http_request(admin_port, "GET", "/metrics", NULL, NULL, &reply) == 200) {
        snprintf(line, sizeof line, "\n%s ", name);
        const char *found = strstr(reply, line);
        if (found)
            value = strtol(found + strlen(line), NULL, 10);
    }
    free(reply);
    return value;
}

/* ---- the neighbour ---- */

typedef struct Neighbour {
    pthread_t thread;
    _Atomic bool stop, ready;
    RtTransport transport;
    int64_t sent_ms[2000];
    int last, late_ms;
    bool broken;
} Neighbour;

static void neighbour_frame(void *user, const char *json, size_t len)
{
    Neighbour *n = user;
    (void)len;
    if (strstr(json, "\"action\":\"join\""))
        n->ready = true;
    const char *number = strstr(json, "{\"n\":");
    if (!number)
        return;
    int i = (int)strtol(number + 5, NULL, 10);
    if (i != n->last + 1)
        n->broken = true;
    n->last = i;
    int late = (int)(clock_mono_ms() - n->sent_ms[i]);
    n->late_ms = late > n->late_ms ? late : n->late_ms;
}

static void neighbour_close(void *user, int code, const char *reason)
{
    (void)code;
    (void)reason;
    ((Neighbour *)user)->broken = true;
}

static void *neighbour_main(void *arg)
{
    Neighbour *n = arg;
    xs_error err;
    const char *channels[] = {"log:peace"};
    RtOptions opt = {.transport = n->transport,
                     .host = "127.0.0.1",
                     .port = port,
                     .base = "/rt/harbor",
                     .channels = channels,
                     .channel_count = 1};
    RtEvents events = {n, NULL, neighbour_frame, neighbour_close};
    RtLoop *loop = rt_loop_new();
    RtClient *rt = loop ? rt_connect(loop, &opt, &events, &err) : NULL;
    n->broken = !rt;
    int next = 1;
    for (int64_t due = 0; rt && (!n->stop || n->last < next - 1);) {
        if (n->ready && !n->stop && clock_mono_ms() >= due && next < (int)COUNT_OF(n->sent_ms)) {
            char body[96], *reply = NULL;
            snprintf(body, sizeof body, "{\"channel\":\"log:peace\",\"data\":{\"n\":%d}}", next);
            n->sent_ms[next] = clock_mono_ms();
            if (http_request(admin_port, "POST", "/_xs/rt/harbor/publish", key, body, &reply) ==
                200)
                next++;
            else
                n->broken = true;
            free(reply);
            due = clock_mono_ms() + 25;
        }
        rt_loop_step(loop, 10);
        if (n->broken || (n->stop && clock_mono_ms() - n->sent_ms[next - 1] > ANSWER_MS))
            break;
    }
    rt_free(rt);
    rt_loop_free(loop);
    return NULL;
}

/* ---- frames that get an error ---- */

typedef struct Bad {
    Buf frames; /* all that came, a line each */
    int code;   /* of the close; 0 = open */
    RtClient *rt;
    RtLoop *loop;
    const char *wanted;
} Bad;

static void bad_frame(void *user, const char *json, size_t len)
{
    Bad *b = user;
    buf_append(&b->frames, json, len);
    buf_char(&b->frames, '\n');
}

static void bad_close(void *user, int code, const char *reason)
{
    (void)reason;
    ((Bad *)user)->code = code;
}

static bool has_wanted(void *ctx)
{
    Bad *b = ctx;
    return b->code ||
           (b->frames.len && memmem(b->frames.ptr, b->frames.len, b->wanted, strlen(b->wanted)));
}

static bool bad_open(Bad *b, RtLoop *loop, RtTransport transport)
{
    xs_error err;
    RtOptions opt = {
        .transport = transport, .host = "127.0.0.1", .port = port, .base = "/rt/harbor"};
    RtEvents events = {b, NULL, bad_frame, bad_close};
    *b = (Bad){.loop = loop};
    b->rt = rt_connect(loop, &opt, &events, &err);
    return b->rt != NULL;
}

static void bad_end(Bad *b)
{
    rt_free(b->rt);
    buf_deinit(&b->frames);
}

static void expect_answer(Bad *b, const char *what, const char *json, const char *wanted)
{
    xs_error err;
    b->frames.len = 0;
    b->wanted = wanted;
    if (!rt_send(b->rt, json, strlen(json), &err) ||
        !rt_loop_run(b->loop, ANSWER_MS, has_wanted, b) || b->code)
        complain("%s: no %s, code %d, got %.*s", what, wanted, b->code,
                 (int)(b->frames.len < 300 ? b->frames.len : 300),
                 b->frames.ptr ? b->frames.ptr : "");
}

static char *repeat(const char *s, size_t n, const char *tail)
{
    size_t len = strlen(s);
    char *out = malloc(len * n + strlen(tail) + 1);
    if (!out)
        exit(1);
    for (size_t i = 0; i < n; i++)
        memcpy(out + i * len, s, len);
    memcpy(out + len * n, tail, strlen(tail) + 1);
    return out;
}

static void frames_over(RtLoop *loop, RtTransport transport)
{
    static const struct {
        const char *json, *wanted;
    } rows[] = {
        {"", "bad_frame"},
        {"null", "bad_frame"},
        {"[", "bad_frame"},
        {"{\"action\":\"join\"", "bad_frame"},
        {"{\"action\":7}", "bad_frame"},
        {"{\"options\":{}}", "bad_frame"},
        {"{\"action\":\"join\",\"options\":[]}", "bad_frame"},
        {"{\"action\":\"join\",\"options\":{\"channel\":{}}}", "bad_frame"},
        {"{\"action\":\"join\"}", "bad_channel"},
        {"{\"action\":\"join\",\"options\":{\"channel\":\"\"}}", "bad_channel"},
        {"{\"action\":\"join\",\"options\":{\"channel\":\"a\\u0000b\"}}", "bad_channel"},
        {"{\"action\":\"join\",\"options\":{\"channel\":\"tenant:other:x\"}}", "channel_unknown"},
        {"{\"action\":\"message\",\"options\":{\"channel\":\"harbor/x\"},\"payload\":1}",
         "not_joined"},
        {"{\"action\":\"history\",\"options\":{\"channel\":\"harbor/x\"}}", "not_joined"},
        {"{\"action\":\"event\",\"options\":{\"channel\":\"harbor/x\"},\"payload\":{\"data\":1}}",
         "unknown_action"},
        {"{\"action\":\"error\",\"options\":{\"channel\":\"harbor/x\"}}", "unknown_action"},
        {"{\"action\":\"presence_full\",\"payload\":{\"presence\":[]}}", "unknown_action"},
        {"{\"action\":\"auth\",\"payload\":{\"token\":\"x.y.z\"}}", "bad_token"},
        {"{\"action\":\"auth\",\"payload\":{\"token\":{}}}", "bad_token"},
    };
    static const char *const names[] = {"ws", "sse", "longpoll"};
    char what[160];
    Bad b;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        /* What is no JSON at all a POST refuses with its status; rtclient tells it as an error. */
        const char *wanted = rows[i].wanted;
        bool whole = i >= 4;
        if (transport != RT_WS && !whole)
            continue;
        if (!bad_open(&b, loop, transport))
            return complain("no connection");
        snprintf(what, sizeof what, "%s %s", names[transport], rows[i].json);
        expect_answer(&b, what, rows[i].json, wanted);
        expect_answer(&b, what, "{\"action\":\"ping\"}", "pong"); /* the connection goes on */
        bad_end(&b);
    }
    if (!bad_open(&b, loop, transport))
        return complain("no connection");
    char *deep = repeat("[", 20000, ""), *name = repeat("x", 8192, "");
    size_t cap = strlen(deep) + strlen(name) + 128;
    char *json = malloc(cap);
    if (!json)
        exit(1);
    snprintf(json, cap, "{\"action\":\"join\",\"options\":{\"channel\":\"%s\"}}", name);
    expect_answer(&b, "a name of 8 KiB", json, "bad_channel");
    if (transport == RT_WS) {
        snprintf(json, cap, "{\"action\":\"ping\",\"x\":%s", deep);
        expect_answer(&b, "20,000 lists", json, "bad_frame");
    }
    snprintf(json, cap,
             "{\"action\":\"message\",\"options\":{\"channel\":\"harbor/x\",\"socketId\":\"%s\"}}",
             name);
    expect_answer(&b, "a socket id of 8 KiB", json, "not_joined");
    /* The same ref again: answered by nothing, as it was done already. */
    expect_answer(&b, "join", "{\"action\":\"join\",\"options\":{\"channel\":\"log:refs\"}}",
                  "\"join\"");
    const char *said =
        "{\"action\":\"message\",\"ref\":\"r1\",\"options\":{\"channel\":\"log:refs\"},"
        "\"payload\":\"once\"}";
    expect_answer(&b, "a message", said, "once");
    xs_error err;
    b.frames.len = 0;
    b.wanted = "pong";
    if (!rt_send(b.rt, said, strlen(said), &err) ||
        !rt_send(b.rt, "{\"action\":\"ping\"}", 17, &err) ||
        !rt_loop_run(loop, ANSWER_MS, has_wanted, &b) ||
        memmem(b.frames.ptr, b.frames.len, "once", 4))
        complain("%s: a repeated ref was done twice", names[transport]);
    free(deep);
    free(name);
    free(json);
    bad_end(&b);
}

static bool is_closed(void *ctx)
{
    return ((Bad *)ctx)->code != 0;
}

/* Faster than allowed: told so, then cut. */
static void flood(RtLoop *loop)
{
    Bad b;
    xs_error err;
    if (!bad_open(&b, loop, RT_WS))
        return complain("no connection");
    int64_t until = clock_mono_ms() + 10000;
    while (!b.code && clock_mono_ms() < until) {
        for (int i = 0; i < FLOOD_FRAMES / 10 && !b.code; i++)
            if (!rt_send(b.rt, "{\"action\":\"ping\"}", 17, &err))
                break;
        rt_loop_step(loop, 50);
        if (b.frames.len > 1 << 20)
            b.frames.len = 0;
    }
    if (!rt_loop_run(loop, ANSWER_MS, is_closed, &b) || b.code != 4429)
        complain("a flood ended with %d, not 4429", b.code);
    bad_end(&b);
}

/* A frame over the limit. */
static void oversize(RtLoop *loop)
{
    Bad b;
    xs_error err;
    char *big = repeat("x", 70000, "");
    if (!bad_open(&b, loop, RT_WS))
        return complain("no connection");
    if (!rt_send(b.rt, big, 70000, &err) || !rt_loop_run(loop, ANSWER_MS, is_closed, &b) ||
        b.code != 1009)
        complain("a frame of 70,000 bytes ended with %d, not 1009", b.code);
    bad_end(&b);
    free(big);
}

/* Reads nothing while much is said. */
static void slow_reader(RtLoop *loop)
{
    Bad b;
    char *data = repeat("y", 100000, ""), *body = malloc(100100), *reply = NULL;
    if (!body || !bad_open(&b, loop, RT_WS))
        return complain("no connection");
    long before = metric("xs_hub_slow_closed_total");
    expect_answer(&b, "join", "{\"action\":\"join\",\"options\":{\"channel\":\"log:slow\"}}",
                  "\"join\"");
    rt_pause(b.rt, true);
    snprintf(body, 100100, "{\"channel\":\"log:slow\",\"data\":\"%s\"}", data);
    int status = 200;
    for (int i = 0; i < 100 && status == 200; i++) {
        status = http_request(admin_port, "POST", "/_xs/rt/harbor/publish", key, body, &reply);
        free(reply);
        rt_loop_step(loop, 0);
    }
    if (status != 200)
        complain("publishing to a slow reader: %d", status);
    if (metric("xs_hub_slow_closed_total") != before + 1)
        complain("a reader that reads nothing was not cut");
    bad_end(&b);
    free(data);
    free(body);
}

/* Several that read nothing, none of them beyond its own limit: together they are too much. The
 * longest queues go, who reads stays, and others come in again. */
static void hoarders(RtLoop *loop)
{
    enum { HOARDERS = 6, PUBLISHES = 400, SIZE = 100000 };
    Bad all[HOARDERS], reader;
    char *data = repeat("y", SIZE, ""), *body = malloc(SIZE + 100), *reply = NULL;
    static const char join[] = "{\"action\":\"join\",\"options\":{\"channel\":\"log:much\"}}";
    if (!data || !body || !bad_open(&reader, loop, RT_WS))
        return complain("no connection");
    expect_answer(&reader, "join", join, "\"join\"");
    for (int i = 0; i < HOARDERS; i++) {
        if (!bad_open(&all[i], loop, i % 2 ? RT_SSE : RT_WS))
            return complain("no connection");
        expect_answer(&all[i], "join", join, "\"join\"");
        rt_pause(all[i].rt, true);
    }
    snprintf(body, SIZE + 100, "{\"channel\":\"log:much\",\"data\":\"%s\"}", data);
    int status = 200, said = 0;
    for (; said < PUBLISHES && status == 200 && metric("xs_hub_queue_shed_total") < 2; said++) {
        status = http_request(admin_port, "POST", "/_xs/rt/harbor/publish", key, body, &reply);
        free(reply);
        for (int k = 0; k < 5; k++)
            rt_loop_step(loop, 0);
    }
    if (status != 200 || metric("xs_hub_queue_shed_total") < 2)
        complain("queues of %d events: nobody was cut (status %d)", said, status);
    if (metric("xs_hub_queue_shed_total") > HOARDERS)
        complain("more were cut than had a queue");
    expect_answer(&reader, "ping", "{\"action\":\"ping\"}", "\"pong\"");
    for (int i = 0; i < HOARDERS; i++)
        bad_end(&all[i]);
    bool in = false;
    for (int64_t until = clock_mono_ms() + 5000; !in && clock_mono_ms() < until;) {
        static const char ping[] = "{\"action\":\"ping\"}";
        Bad late;
        xs_error err;
        in = bad_open(&late, loop, RT_WS);
        late.wanted = "\"pong\"";
        in = in && rt_send(late.rt, ping, sizeof ping - 1, &err) &&
             rt_loop_run(loop, 1000, has_wanted, &late) && !late.code;
        bad_end(&late);
    }
    if (!in)
        complain("nobody comes in after the queues have gone");
    bad_end(&reader);
    free(data);
    free(body);
}

/* ---- requests ---- */

static void requests(const char *token, const char *other)
{
    char sid[64] = "", cursor[64] = "", path[512], *reply = NULL;
    if (http_request(port, "GET", "/rt/harbor/lp?channel=harbor/x", token, NULL, &reply) != 200 ||
        sscanf(reply, "{\"sid\":\"%63[^\"]\",\"cursor\":\"%63[^\"]\"", sid, cursor) != 2)
        complain("no session: %s", reply ? reply : "");
    free(reply);
    char *many = repeat("{\"action\":\"ping\"},", 40, "{\"action\":\"ping\"}]"), *batch;
    char *big = repeat("x", 3 << 20, "");
    size_t n = strlen(many) + 2;
    batch = malloc(n);
    if (!batch)
        exit(1);
    snprintf(batch, n, "[%s", many);
    const struct {
        const char *what, *method, *path, *token, *body;
        int status;
    } rows[] = {
        {"no sid", "POST", "/rt/harbor/send", token, "{\"action\":\"ping\"}", 400},
        {"an unknown sid", "POST", "/rt/harbor/send?sid=AAAAAAAAAAAAAAAAAAAAAAAAA", token,
         "{\"action\":\"ping\"}", 404},
        {"a sid of somebody else", "POST", "send", other, "{\"action\":\"ping\"}", 403},
        {"a sid without a token", "POST", "send", NULL, "{\"action\":\"ping\"}", 401},
        {"its own", "POST", "send", token, "{\"action\":\"ping\"}", 200},
        {"a list", "POST", "send", token, "[{\"action\":\"ping\"},{\"action\":\"ping\"}]", 200},
        {"no JSON", "POST", "send", token, "{\"action\":", 400},
        {"an empty list", "POST", "send", token, "[]", 400},
        {"a list of numbers", "POST", "send", token, "[1,2]", 400},
        {"41 frames", "POST", "send", token, batch, 413},
        {"3 MiB", "POST", "send", token, big, 413},
        {"GET for POST", "GET", "/rt/harbor/send", token, NULL, 405},
        {"a forged token", "GET", "/rt/harbor/lp?channel=harbor/x", "eyJ.forged.token", NULL, 401},
        {"a forged token in the URL", "GET", "/rt/harbor/sse?channel=harbor/x&token=abc", NULL,
         NULL, 401},
        {"a ticket that never was", "GET", "/rt/harbor/sse?channel=harbor/x&ticket=abc", NULL, NULL,
         401},
        {"a ticket without a login", "POST", "/rt/harbor/ticket", NULL, "", 401},
        {"an unknown space", "GET", "/rt/nowhere/lp?channel=x", token, NULL, 404},
        {"another tenant", "GET", "/rt/acme:harbor/lp?channel=x", token, NULL, 404},
        {"a path that climbs", "GET", "/rt/../harbor/lp", token, NULL, 404},
        {"a timeout below", "GET", "/rt/harbor/lp?channel=x&timeout=-1", token, NULL, 400},
        {"a timeout beyond", "GET", "/rt/harbor/lp?channel=x&timeout=999999999999", token, NULL,
         400},
        {"a limit of none", "GET", "/rt/harbor/lp?channel=x&limit=0", token, NULL, 400},
        {"a cursor that is none", "GET", "/rt/harbor/lp?channel=harbor/x&cursor=%00%ff", token,
         NULL, 200},
        {"a cursor of the future", "GET",
         "/rt/harbor/lp?channel=harbor/x&timeout=0&cursor=0000000000000000.18446744073709551615",
         token, NULL, 200},
        {"broken escapes", "GET", "/rt/harbor/lp?channel=%&channel=%zz&timeout=0", token, NULL,
         200},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        snprintf(path, sizeof path, "/rt/harbor/send?sid=%s", sid);
        const char *to = strcmp(rows[i].path, "send") == 0 ? path : rows[i].path;
        int status = http_request(port, rows[i].method, to, rows[i].token, rows[i].body, &reply);
        if (status != rows[i].status)
            complain("%s: %d, expected %d: %.200s", rows[i].what, status, rows[i].status,
                     reply ? reply : "");
        free(reply);
    }
    /* A ticket is good once. */
    if (http_request(port, "POST", "/rt/harbor/ticket", token, "", &reply) == 200) {
        char ticket[64] = "";
        sscanf(reply, "{\"ticket\":\"%63[^\"]\"", ticket);
        free(reply);
        snprintf(path, sizeof path, "/rt/harbor/lp?channel=crew&timeout=0&ticket=%s", ticket);
        int first = http_request(port, "GET", path, NULL, NULL, &reply);
        free(reply);
        int second = http_request(port, "GET", path, NULL, NULL, &reply);
        if (first != 200 || second != 401)
            complain("a ticket used twice: %d, %d", first, second);
    }
    free(reply);
    free(many);
    free(batch);
    free(big);
}

/* ---- sockets that say little ---- */

static void raw(const char *what, const char *bytes, const char *status)
{
    char reply[256] = "";
    int fd = http_connect(port);
    struct timeval limit = {.tv_sec = ANSWER_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (fd < 0 || !send_all(fd, bytes, strlen(bytes))) {
        complain("%s: no connection", what);
    } else {
        ssize_t n = recv(fd, reply, sizeof reply - 1, 0);
        reply[n > 0 ? n : 0] = '\0';
        if (strncmp(reply, status, strlen(status)) != 0)
            complain("%s: expected '%s', got '%.40s'", what, status, reply);
    }
    close(fd);
}

static void idle_sockets(int *fds)
{
    for (int i = 0; i < IDLE_SOCKETS; i++) {
        fds[i] = http_connect(port);
        if (fds[i] >= 0 && i & 1)
            send_all(fds[i], "GET /rt/harb", 12);
    }
}

int main(int argc, char **argv)
{
    char admin[32], token[1024], other[1024];
    if (argc != 3)
        return 2;
    admin_port = http_free_port();
    snprintf(admin, sizeof admin, "127.0.0.1:%d", admin_port);
    const char *const args[] = {argv[1],       "serve",
                                argv[2],       "--listen",
                                "127.0.0.1:0", "--admin-listen",
                                admin,         "--db",
                                ":memory:",    "--auth-secret",
                                key,           "--realtime-publish-keys",
                                key,           "--log-level",
                                "error",       "--drain-ms",
                                "200",         "--head-timeout-ms",
                                "1000",        NULL};
    Server server;
    signal(SIGPIPE, SIG_IGN);
    if (!mint_token(argv[1], argv[2], key, "1", token, sizeof token) ||
        !mint_token(argv[1], argv[2], key, "2", other, sizeof other) ||
        !server_start(&server, (char *const *)(uintptr_t)args))
        return 1;
    port = server.port;
    RtLoop *loop = rt_loop_new();
    Neighbour neighbour = {.transport = RT_WS}, *ws = &neighbour;
    requests(token, other); /* warms up what is kept for good */
    long before = metric("xs_memory_bytes");
    if (pthread_create(&ws->thread, NULL, neighbour_main, ws) != 0)
        return 1;
    int fds[IDLE_SOCKETS];
    idle_sockets(fds);
    for (RtTransport t = RT_WS; t <= RT_LP; t++)
        frames_over(loop, t);
    flood(loop);
    oversize(loop);
    slow_reader(loop);
    requests(token, other);
    raw("garbage", "\x16\x03\x01 this is no HTTP\r\n\r\n", "HTTP/1.1 400");
    raw("an upgrade with a body",
        "GET /rt/harbor HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Content-Length: 5\r\n\r\nhello",
        "HTTP/1.1 400");
    raw("two hosts",
        "GET /rt/harbor HTTP/1.1\r\nHost: h\r\nHost: i\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n",
        "HTTP/1.1 400");
    raw("a foreign origin",
        "GET /rt/harbor HTTP/1.1\r\nHost: h\r\nOrigin: http://evil.example\r\nUpgrade: "
        "websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n",
        "HTTP/1.1 403");
    for (int i = 0; i < IDLE_SOCKETS; i++)
        close(fds[i]);
    ws->stop = true;
    pthread_join(ws->thread, NULL);
    if (ws->broken || ws->late_ms > LATE_MS || ws->last < 10)
        complain("the neighbour got %d events, the slowest after %d ms%s", ws->last, ws->late_ms,
                 ws->broken ? ", not all in order" : "");
    long after = metric("xs_memory_bytes");
    for (int i = 0; i < 100 && after - before > GROWTH_MAX; i++) {
        rt_loop_step(loop, 50);
        after = metric("xs_memory_bytes");
    }
    if (before < 0 || after - before > GROWTH_MAX)
        complain("%ld bytes before, %ld afterwards", before, after);
    if (server_stop(&server, SIGTERM, 10000) != 0)
        complain("the server did not end well");
    const char *const narrow[] = {argv[1],       "serve",
                                  argv[2],       "--listen",
                                  "127.0.0.1:0", "--admin-listen",
                                  admin,         "--db",
                                  ":memory:",    "--realtime-publish-keys",
                                  key,           "--log-level",
                                  "error",       "--drain-ms",
                                  "200",         "--realtime-queue-total-bytes",
                                  "3m",          "--realtime-queue-hard-bytes",
                                  "1g",          "--realtime-queue-hard-frames",
                                  "100000",      NULL};
    if (!server_start(&server, (char *const *)(uintptr_t)narrow))
        return 1;
    port = server.port;
    hoarders(loop);
    rt_loop_free(loop);
    printf("neighbour: %d events, slowest %d ms; memory %+ld bytes; %d failures\n", ws->last,
           ws->late_ms, after - before, failures);
    if (server_stop(&server, SIGTERM, 10000) != 0)
        complain("the server did not end well");
    return failures ? 1 : 0;
}
