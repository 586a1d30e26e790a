/* halfopen.c - peers whose machines are silent, at a server with its default settings.
 *
 * A filter on the sockets of the peers drops every segment that arrives, so that they answer
 * neither pings nor the server's TCP, like a machine that has lost its power. A member who watches
 * the roster must see each of them leave once, within a minute. usage: halfopen XS APP
 */
#include <linux/filter.h>

#include "bench/rtclient.h"
#include "tests/common/complain.h"
#include "tests/common/server.h"

enum { PEERS = 120, WAIT_MS = 10000, LEAVE_MS = 60000, SETTLE_MS = 1000, ID_MAX = 32 };

static int port;

/* ---- who leaves ---- */

typedef struct Watch {
    bool joined;
    int come, gone, twice;
    int64_t since_ms, first_ms, last_ms;
    char ids[PEERS][ID_MAX];
} Watch;

static void note_leave(Watch *w, const char *json)
{
    const char *at = strstr(json, "\"socketId\":\"");
    char id[ID_MAX] = "";
    if (at)
        snprintf(id, sizeof id, "%.*s", (int)strcspn(at + 12, "\""), at + 12);
    for (int i = 0; i < w->gone; i++)
        if (strcmp(w->ids[i], id) == 0) {
            w->twice++;
            return;
        }
    if (w->gone >= PEERS)
        return complain("somebody else left: %s", json);
    w->last_ms = clock_mono_ms() - w->since_ms;
    if (!w->gone)
        w->first_ms = w->last_ms;
    memcpy(w->ids[w->gone++], id, sizeof id);
}

static void on_frame(void *user, const char *json, size_t len)
{
    Watch *w = user;
    (void)len;
    if (strstr(json, "\"payload\":{\"action\":\"leave\""))
        note_leave(w, json);
    w->come += strstr(json, "\"payload\":{\"action\":\"join\"") != NULL;
    w->joined = w->joined || strstr(json, "\"presence_full\"");
}

static void on_close(void *user, int code, const char *reason)
{
    (void)user;
    complain("the one who watches was closed with %d %s", code, reason);
}

static bool has_joined(void *ctx)
{
    return ((const Watch *)ctx)->joined;
}

static bool all_here(void *ctx)
{
    return ((const Watch *)ctx)->come >= PEERS;
}

static bool all_gone(void *ctx)
{
    return ((const Watch *)ctx)->gone >= PEERS;
}

/* ---- peers ---- */

/* Read until the text has come. */
static bool await(int fd, const char *text, char *into, size_t size)
{
    size_t len = 0;
    for (int64_t end = clock_mono_ms() + WAIT_MS; clock_mono_ms() < end && len < size - 1;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, 100) > 0 ? recv(fd, into + len, size - 1 - len, 0) : 0;
        len += n > 0 ? (size_t)n : 0;
        into[len] = '\0';
        if (memmem(into, len, text, strlen(text))) /* frames have zeros in their heads */
            return true;
    }
    return false;
}

static bool come_by_socket(int fd)
{
    static const char upgrade[] =
        "GET /rt/harbor HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    static const char join[] = "{\"action\":\"join\",\"options\":{\"channel\":\"harbor/x\"}}";
    char text[1024], frame[6 + sizeof join] = {(char)0x81, (char)(0x80 | (sizeof join - 1))};
    memcpy(frame + 6, join, sizeof join - 1); /* behind a mask of zeros */
    return send_all(fd, upgrade, sizeof upgrade - 1) && await(fd, "\r\n\r\n", text, sizeof text) &&
           send_all(fd, frame, 6 + sizeof join - 1) && await(fd, "\"join\"", text, sizeof text);
}

static bool come_by_stream(int fd)
{
    static const char request[] = "GET /rt/harbor/sse?channel=harbor/x HTTP/1.1\r\nHost: x\r\n\r\n";
    char text[4096];
    return send_all(fd, request, sizeof request - 1) && await(fd, "\"join\"", text, sizeof text);
}

/* The second poll is held. */
static bool come_by_polls(int fd)
{
    static const char request[] = "GET /rt/harbor/lp?channel=harbor/x HTTP/1.1\r\nHost: x\r\n\r\n";
    char text[4096], again[512];
    if (!send_all(fd, request, sizeof request - 1) || !await(fd, "]}", text, sizeof text))
        return false;
    const char *sid = strstr(text, "\"sid\":\""), *cursor = strstr(text, "\"cursor\":\"");
    if (!sid || !cursor)
        return false;
    int n = snprintf(again, sizeof again,
                     "GET /rt/harbor/lp?channel=harbor/x&sid=%.*s&cursor=%.*s HTTP/1.1\r\n"
                     "Host: x\r\n\r\n",
                     (int)strcspn(sid + 7, "\""), sid + 7, (int)strcspn(cursor + 10, "\""),
                     cursor + 10);
    return send_all(fd, again, (size_t)n);
}

static int come(int i)
{
    static bool (*const ways[])(int) = {come_by_socket, come_by_stream, come_by_polls};
    int fd = http_connect(port);
    if (fd < 0 || !ways[i % 3](fd))
        complain("peer %d could not join", i);
    return fd;
}

static void fall_silent(int fd)
{
    struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
    struct sock_fprog program = {.len = 1, .filter = &nothing};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
        complain("filter: %s", strerror(errno));
}

static void run(RtLoop *loop)
{
    xs_error err;
    Watch w = {0};
    const char *channels[] = {"harbor/x"};
    RtOptions opt = {.host = "127.0.0.1",
                     .port = port,
                     .base = "/rt/harbor",
                     .channels = channels,
                     .channel_count = 1,
                     .presence = true};
    RtEvents events = {&w, NULL, on_frame, on_close};
    RtClient *watcher = rt_connect(loop, &opt, &events, &err);
    if (!watcher || !rt_loop_run(loop, WAIT_MS, has_joined, &w))
        return complain("the one who watches could not join");
    int fds[PEERS];
    for (int i = 0; i < PEERS; i++)
        fds[i] = come(i);
    if (!rt_loop_run(loop, WAIT_MS, all_here, &w))
        complain("%d of %d peers are there", w.come, PEERS);
    for (int i = 0; i < PEERS; i++)
        fall_silent(fds[i]);
    w.since_ms = clock_mono_ms();
    rt_loop_run(loop, LEAVE_MS, all_gone, &w);
    rt_loop_run(loop, SETTLE_MS, NULL, NULL);
    printf("%d of %d peers have left, the first after %d ms, the last after %d ms\n", w.gone, PEERS,
           (int)w.first_ms, (int)w.last_ms);
    if (w.gone != PEERS || w.twice)
        complain("%d left, %d of them twice", w.gone, w.twice);
    for (int i = 0; i < PEERS; i++)
        close(fds[i]);
    rt_free(watcher);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const char *const args[] = {argv[1], "serve",    argv[2],       "--listen", "127.0.0.1:0",
                                "--db",  ":memory:", "--log-level", "error",    NULL};
    Server server;
    signal(SIGPIPE, SIG_IGN);
    RtLoop *loop = rt_loop_new();
    if (!loop || !server_start(&server, (char *const *)(uintptr_t)args))
        return 1;
    port = server.port;
    run(loop);
    rt_loop_free(loop);
    if (server_stop(&server, SIGTERM, WAIT_MS) != 0)
        complain("the server did not end well");
    return failures ? 1 : 0;
}
