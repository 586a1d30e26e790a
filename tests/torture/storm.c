/* storm.c - a server without descriptors, peers that are not there any more, and a drain.
 *
 * When no descriptor is left nobody new is accepted, without a busy loop, and those who are there
 * miss nothing; when some are free again the next one comes in. Peers that vanish without a word
 * are noticed. SIGTERM closes clients one after the other, none with a hole, and whoever comes back
 * with its position to the next server is told that it cannot go on from there. usage: storm XS APP
 */
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "bench/rtclient.h"
#include "tests/common/complain.h"
#include "tests/common/server.h"

enum {
    WAIT_MS = 10000,
    CLIENTS = 12, /* a third on each transport */
    SPARE_FDS = 24,
    CROWD = 120, /* connections of people who say nothing */
    ROUNDS = 30,
    SILENT = 12,
    DRAIN_MS = 1500,
    WATCH_MS = 500
};

static const char key[] = "storm-publish-key-0001";
static int port, admin_port;
static int admin = -1; /* opened while there are descriptors */
static int published;

/* An event by the connection that is kept. */
static bool publish(void)
{
    char body[128], text[4096];
    int n = snprintf(body, sizeof body, "{\"channel\":\"all\",\"data\":{\"n\":%d}}", published + 1);
    int len = snprintf(text, sizeof text,
                       "POST /_xs/rt/slow/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                       "%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                       key, n, body);
    if (!send_all(admin, text, (size_t)len))
        return false;
    ssize_t got = recv(admin, text, sizeof text - 1, 0);
    if (got <= 0 || strncmp(text, "HTTP/1.1 200", 12) != 0)
        return false;
    published++;
    return true;
}

/* ---- clients ---- */

typedef struct Client {
    RtClient *rt;
    RtTransport transport;
    bool joined;
    int last, holes, code, resyncs;
    int64_t closed_ms;
    char position[64];
} Client;

static void on_frame(void *user, const char *json, size_t len)
{
    Client *c = user;
    const char *n = strstr(json, "\"data\":{\"n\":");
    (void)len;
    if (strstr(json, "\"action\":\"join\""))
        c->joined = true;
    if (strstr(json, "\"action\":\"resync\""))
        c->resyncs++;
    if (!n)
        return;
    int i = (int)strtol(n + 12, NULL, 10);
    c->holes += c->last && i != c->last + 1;
    c->last = i;
}

static void on_close(void *user, int code, const char *reason)
{
    Client *c = user;
    (void)reason;
    c->code = code;
    c->closed_ms = clock_mono_ms();
}

static bool come(RtLoop *loop, Client *c, RtTransport transport, const char *position)
{
    xs_error err;
    const char *channels[] = {"all"};
    RtOptions opt = {.transport = transport,
                     .host = "127.0.0.1",
                     .port = port,
                     .base = "/rt/slow",
                     .channels = channels,
                     .channel_count = 1,
                     .position = position,
                     .poll_s = 1};
    RtEvents events = {c, NULL, on_frame, on_close};
    *c = (Client){.transport = transport};
    c->rt = rt_connect(loop, &opt, &events, &err);
    return c->rt != NULL;
}

static bool all_joined(void *ctx)
{
    const Client *c = ctx;
    for (int i = 0; i < CLIENTS; i++)
        if (!c[i].joined && !c[i].code)
            return false;
    return true;
}

static bool all_heard(void *ctx)
{
    const Client *c = ctx;
    for (int i = 0; i < CLIENTS; i++)
        if (c[i].last != published && !c[i].code)
            return false;
    return true;
}

static bool all_closed(void *ctx)
{
    const Client *c = ctx;
    for (int i = 0; i < CLIENTS; i++)
        if (c[i].transport != RT_LP && !c[i].code)
            return false;
    return true;
}

static bool all_come(RtLoop *loop, Client *c)
{
    for (int i = 0; i < CLIENTS; i++)
        if (!come(loop, &c[i], (RtTransport)(i % 3), NULL))
            return false;
    if (rt_loop_run(loop, WAIT_MS, all_joined, c))
        return true;
    complain("not everybody could join");
    return false;
}

static void expect_unharmed(RtLoop *loop, Client *c, const char *when)
{
    rt_loop_run(loop, WAIT_MS, all_heard, c);
    for (int i = 0; i < CLIENTS; i++)
        if (c[i].code || c[i].holes || c[i].last != published)
            complain("%s: client %d (transport %d) has %d of %d, %d holes, code %d", when, i,
                     (int)c[i].transport, c[i].last, published, c[i].holes, c[i].code);
}

/* ---- descriptors ---- */

static long cpu_ms(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 14; field++)
        at = strchr(at + 1, ' ');
    if (at)
        sscanf(at, "%lu %lu", &user, &system);
    return (long)((user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK));
}

/* The limit below which n numbers are free. */
static rlim_t limit_for(pid_t pid, int n)
{
    char path[64];
    struct stat st;
    int fd = 0;
    for (; n > 0; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        n -= lstat(path, &st) != 0;
    }
    return (rlim_t)fd;
}

static void without_descriptors(RtLoop *loop, Client *c, pid_t pid)
{
    struct rlimit old, small;
    int crowd[CROWD];
    if (prlimit(pid, RLIMIT_NOFILE, NULL, &old) != 0)
        return complain("prlimit: %s", strerror(errno));
    small = old;
    small.rlim_cur = limit_for(pid, SPARE_FDS);
    prlimit(pid, RLIMIT_NOFILE, &small, NULL);
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = http_connect(port);
        if (crowd[i] >= 0)
            send_all(crowd[i], "GET /rt", 7);
    }
    for (int i = 0; i < ROUNDS; i++) {
        if (!publish())
            complain("without descriptors: an event was refused");
        rt_loop_step(loop, 5);
    }
    expect_unharmed(loop, c, "without descriptors");
    long before = cpu_ms(pid);
    rt_loop_run(loop, WATCH_MS, NULL, NULL);
    long used = cpu_ms(pid) - before;
    if (used > WATCH_MS / 2)
        complain("without descriptors the server used %ld of %d ms", used, WATCH_MS);
    /* Somebody new waits in the queue of the kernel, and comes in when there is room. */
    Client late;
    if (!come(loop, &late, RT_WS, NULL))
        complain("no socket");
    rt_loop_run(loop, WATCH_MS / 2, NULL, NULL);
    if (late.joined)
        complain("somebody came in without a descriptor");
    for (int i = 0; i < CROWD; i++)
        close(crowd[i]);
    for (int64_t end = clock_mono_ms() + WAIT_MS;
         !late.joined && !late.code && clock_mono_ms() < end;)
        rt_loop_step(loop, 20);
    if (!late.joined)
        complain("with descriptors again nobody comes in, code %d", late.code);
    rt_free(late.rt);
    prlimit(pid, RLIMIT_NOFILE, &old, NULL);
    if (!publish())
        complain("with descriptors again: an event was refused");
    expect_unharmed(loop, c, "with descriptors again");
}

/* ---- peers that are gone ---- */

static long connections(void)
{
    char *reply = NULL;
    long value = -1;
    if (http_request(admin_port, "GET", "/metrics", NULL, NULL, &reply) == 200) {
        const char *found = strstr(reply, "\nxs_hub_connections ");
        value = found ? strtol(found + 20, NULL, 10) : -1;
    }
    free(reply);
    return value;
}

/* A peer that answers no ping, or whose machine has lost its power: no FIN, no RST. */
static void vanish(RtLoop *loop, Client *c)
{
    static const char upgrade[] =
        "GET /rt/slow HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    static const char *const requests[] = {
        upgrade,
        "GET /rt/slow/sse?channel=all HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /rt/slow/lp?channel=all&timeout=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    int fds[SILENT], on = 1;
    long before = connections();
    for (int i = 0; i < SILENT; i++) {
        char byte;
        const char *request = requests[i % 3];
        fds[i] = http_connect(port);
        if (fds[i] < 0 || !send_all(fds[i], request, strlen(request)) ||
            recv(fds[i], &byte, 1, 0) != 1)
            complain("a silent peer could not connect");
    }
    for (int64_t end = clock_mono_ms() + WAIT_MS;
         connections() < before + SILENT && clock_mono_ms() < end;)
        rt_loop_step(loop, 20);
    if (connections() < before + SILENT)
        complain("%ld connections, not %ld", connections(), before + SILENT);
    for (int i = 0; i < SILENT; i++) /* needs a privilege; without it they only keep silent */
        if (i % 2 && setsockopt(fds[i], IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0) {
            close(fds[i]);
            fds[i] = -1;
        } else if (i % 3) { /* a stream or poll that nobody cuts has a peer that may be there */
            close(fds[i]);
            fds[i] = -1;
        }
    for (int64_t end = clock_mono_ms() + WAIT_MS; connections() > before && clock_mono_ms() < end;)
        rt_loop_step(loop, 50);
    if (connections() != before)
        complain("%ld connections are kept for %d peers that are gone", connections() - before,
                 SILENT);
    for (int i = 0; i < SILENT; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (!publish())
        complain("after peers were gone: an event was refused");
    expect_unharmed(loop, c, "after peers were gone");
}

/* ---- the drain ---- */

static void drain(RtLoop *loop, Client *c, Server *server)
{
    int64_t begin = clock_mono_ms(), first = INT64_MAX, last = 0;
    kill(server->pid, SIGTERM);
    while (clock_mono_ms() < begin + 3 * DRAIN_MS && !all_closed(c)) {
        (void)publish(); /* refused at some time */
        rt_loop_step(loop, 10);
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (c[i].holes)
            complain("drain: client %d missed something before it was closed", i);
        if (c[i].transport == RT_LP)
            continue;
        if (c[i].code != 1012)
            complain("drain: client %d (transport %d) was closed with %d", i, (int)c[i].transport,
                     c[i].code);
        if (c[i].transport != RT_WS)
            continue;
        first = c[i].closed_ms < first ? c[i].closed_ms : first;
        last = c[i].closed_ms > last ? c[i].closed_ms : last;
    }
    if (last - first < DRAIN_MS / 4)
        complain("drain: all were closed within %d ms", (int)(last - first));
    printf("drain: WebSockets closed from %d to %d ms\n", (int)(first - begin),
           (int)(last - begin));
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(c[i].position, sizeof c[i].position, "%s", rt_position(c[i].rt));
        rt_free(c[i].rt);
        c[i].rt = NULL;
    }
    if (server_stop(server, 0, WAIT_MS) != 0) /* it was told already */
        complain("drain: the server did not end well");
}

static bool all_told(void *ctx)
{
    const Client *c = ctx;
    for (int i = 0; i < CLIENTS; i++)
        if (c[i].rt && !c[i].resyncs && !c[i].code)
            return false;
    return true;
}

/* The next server has other numbers: nobody may believe to have missed nothing. */
static void come_back(RtLoop *loop, Client *c)
{
    for (int i = 0; i < CLIENTS; i++) {
        char position[64];
        memcpy(position, c[i].position, sizeof position);
        if (c[i].transport != RT_WS && !come(loop, &c[i], c[i].transport, position))
            complain("no socket");
    }
    rt_loop_run(loop, WAIT_MS, all_told, c);
    for (int i = 0; i < CLIENTS; i++) {
        if (c[i].rt && c[i].resyncs != 1)
            complain("back: client %d (transport %d) got %d resyncs, code %d", i,
                     (int)c[i].transport, c[i].resyncs, c[i].code);
        rt_free(c[i].rt);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    char address[32], ms[16];
    snprintf(address, sizeof address, "127.0.0.1:%d", admin_port = http_free_port());
    snprintf(ms, sizeof ms, "%d", DRAIN_MS);
    setenv("XS_ADMIN_LISTEN", address, 1);
    setenv("XS_REALTIME_PUBLISH_KEYS", key, 1);
    setenv("XS_REALTIME_DEFAULT_CHANNEL", "anonymous", 1);
    setenv("XS_REALTIME_PING_MS", "300", 1);
    setenv("XS_REALTIME_PONG_TIMEOUT_MS", "300", 1);
    setenv("XS_REALTIME_HEARTBEAT_MS", "300", 1);
    setenv("XS_REALTIME_LP_SESSION_MS", "3000", 1);
    setenv("XS_CONN_TOTAL", "100000", 1);
    setenv("XS_LOG_LEVEL", "error", 1);
    char serve[] = "serve", listen_flag[] = "--listen", any[] = "127.0.0.1:0", db[] = "--db",
         memory[] = ":memory:", drain_flag[] = "--drain-ms";
    char *args[] = {argv[1], serve, argv[2], listen_flag, any, db, memory, drain_flag, ms, NULL};
    Server server;
    Client clients[CLIENTS];
    signal(SIGPIPE, SIG_IGN);
    RtLoop *loop = rt_loop_new();
    if (!loop || !server_start(&server, args))
        return 1;
    port = server.port;
    admin = http_connect(admin_port);
    if (all_come(loop, clients)) {
        without_descriptors(loop, clients, server.pid);
        vanish(loop, clients);
        drain(loop, clients, &server);
        if (server_start(&server, args)) {
            port = server.port;
            come_back(loop, clients);
            server_stop(&server, SIGTERM, WAIT_MS);
        } else {
            complain("the server did not start again");
        }
    }
    close(admin);
    rt_loop_free(loop);
    return failures ? 1 : 0;
}
