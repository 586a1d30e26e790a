/* restart.c - servers that end orderly and start again while events flow: whoever comes back with
 * its position gets every event that was accepted, once, and is never told to reload. Behind a kill
 * everybody is told. With --nodes two servers share a Redis server and end in turn: their clients
 * go on at the other one. usage: restart XS APP [--nodes] */
#include <pthread.h>
#include <stdatomic.h>

#include "bench/rtclient.h"
#include "core/const.h"
#include "core/folder.h"
#include "core/json.h"
#include "core/text.h"
#include "tests/common/redis.h"

enum {
    CLIENTS = 12,
    EVENTS = 280, /* a ring of the channel log:a holds them all */
    RESTARTS = 4,
    NODES = 2,
    PAUSE_MS = 8, /* between events */
    REFUSED_MS = 250,
    SETTLE_MS = 30000,
    BACK_MS = 40 /* before a client tries again */
};

typedef struct Client {
    RtTransport transport;
    RtClient *rt;
    char position[64];
    bool got[EVENTS + 1], joined, ended;
    int last; /* newest number of this connection; of streams and polls: ever */
    int64_t back_ms;
    unsigned returns, resyncs, epochs;
    const char *problem;
} Client;

typedef struct World {
    char *xs, *app;
    TestRedis redis; /* pid 0: none */
    Server servers[NODES];
    char dir[32], addresses[NODES][32];
    int ports[NODES], count;
    RtLoop *loop;
    Client clients[CLIENTS];
    pthread_t publisher, noise;
    atomic_bool quiet; /* the noise ends */
    atomic_bool accepted[EVENTS + 1];
    atomic_int published; /* tried */
    unsigned unclear;     /* without an answer */
    int turn;
} World;

static const char *const names[] = {"ws", "sse", "longpoll"};

/* ---- who publishes ---- */

static int publish(int port, const char *channel, int n)
{
    char body[128], *reply = NULL;
    snprintf(body, sizeof body, "{\"channel\":\"%s\",\"event\":\"e\",\"data\":{\"n\":%d}}", channel,
             n);
    int status = http_request(port, "POST", "/api:harbor/tell", NULL, body, &reply);
    free(reply);
    return status;
}

/* A number that was not accepted is never sent again: nobody knows what became of it. */
static void *publisher(void *arg)
{
    World *w = arg;
    for (int n = 1, node = 0; n <= EVENTS; n++) {
        bool ok = publish(w->ports[node], "log:a", n) == 200 &&
                  publish(w->ports[node], "harbor/r", n) == 200;
        atomic_store(&w->accepted[n], ok);
        atomic_store(&w->published, n);
        w->unclear += !ok;
        if (!ok)
            node = (node + 1) % w->count;
        poll(NULL, 0, ok ? PAUSE_MS : REFUSED_MS);
    }
    return NULL;
}

static void *noise(void *arg)
{
    World *w = arg;
    for (int i = 0; !atomic_load(&w->quiet); i++)
        if (publish(w->ports[i % w->count], i % 2 ? "harbor/noise" : "log:noise", 0) != 200)
            poll(NULL, 0, REFUSED_MS);
    return NULL;
}

/* ---- who listens ---- */

static void take(Client *c, const Const *frame)
{
    int64_t n = const_int_of(const_get(const_get(const_get(frame, "payload"), "data"), "n"), 0);
    if (n <= 0 || n > EVENTS)
        return;
    if (n <= c->last)
        c->problem = "an event came twice, or too late";
    c->last = (int)n;
    c->got[n] = true;
}

static void on_frame(void *user, const char *json, size_t len)
{
    Client *c = user;
    Arena a;
    xs_error err;
    arena_init(&a, 0);
    const Const *frame = json_parse(&a, (Text){json, len}, &err);
    Text action = const_get_text(frame, "action");
    const Const *payload = const_get(frame, "payload"), *history = const_get(payload, "history");
    if (text_eq(action, TEXT("resync"))) {
        c->resyncs++;
        c->epochs += text_eq(const_get_text(payload, "reason"), TEXT("epoch"));
    } else if (text_eq(action, TEXT("join"))) {
        c->joined = true;
        if (c->transport == RT_WS) { /* the history begins with the first of all events */
            c->last = 0;
            for (uint32_t i = 0; history && i < history->count; i++)
                take(c, history->items[i]);
        }
    } else if (text_eq(action, TEXT("event"))) {
        take(c, frame);
    }
    arena_deinit(&a);
}

static void on_close(void *user, int code, const char *reason)
{
    Client *c = user;
    (void)reason;
    c->ended = true;
    if (code != 1012 && code != 1006) /* 1006: refused, or the end of a poll */
        c->problem = "closed with another code";
}

static bool come(World *w, Client *c)
{
    const char *channels[] = {c->transport == RT_WS ? "log:a" : "harbor/r"};
    RtOptions opt = {.transport = c->transport,
                     .host = "127.0.0.1",
                     .port = w->ports[w->turn++ % w->count],
                     .base = "/rt/harbor",
                     .channels = channels,
                     .channel_count = 1,
                     .history = c->transport == RT_WS,
                     .poll_s = 2,
                     .position = c->position[0] ? c->position : NULL};
    RtEvents events = {c, NULL, on_frame, on_close};
    xs_error err;
    c->joined = c->ended = false;
    c->rt = rt_connect(w->loop, &opt, &events, &err);
    return c->rt != NULL;
}

static void leave(Client *c)
{
    if (c->transport != RT_WS && *rt_position(c->rt))
        snprintf(c->position, sizeof c->position, "%s", rt_position(c->rt));
    c->returns += c->joined;
    rt_free(c->rt);
    c->rt = NULL;
    c->back_ms = clock_mono_ms() + BACK_MS;
}

/* One turn of the loop; whoever was sent away comes back. */
static bool step(World *w)
{
    bool ok = true;
    rt_loop_step(w->loop, 2);
    for (int i = 0; i < CLIENTS; i++) {
        Client *c = &w->clients[i];
        if (c->rt && c->ended)
            leave(c);
        if (!c->rt && clock_mono_ms() >= c->back_ms)
            ok = come(w, c) && ok;
    }
    return ok;
}

static bool all_joined(const World *w)
{
    for (int i = 0; i < CLIENTS; i++)
        if (!w->clients[i].rt || !w->clients[i].joined)
            return false;
    return true;
}

static bool has_all(const World *w, const Client *c)
{
    for (int n = 1; n <= EVENTS; n++)
        if (w->accepted[n] && !c->got[n])
            return false;
    return true;
}

static bool all_there(const World *w)
{
    for (int i = 0; i < CLIENTS; i++)
        if (!has_all(w, &w->clients[i]))
            return false;
    return true;
}

static bool run_until(World *w, bool (*done)(const World *w))
{
    for (int64_t end = clock_mono_ms() + SETTLE_MS; !done(w);)
        if (!step(w) || clock_mono_ms() > end)
            return false;
    return true;
}

static bool run_ms(World *w, int ms)
{
    bool ok = true;
    for (int64_t end = clock_mono_ms() + ms; ok && clock_mono_ms() < end;)
        ok = step(w);
    return ok;
}

/* ---- servers ---- */

static bool start(World *w, int i)
{
    char serve[] = "serve", listen_flag[] = "--listen", db[] = "--db", file[64],
         drain[] = "--drain-ms", ms[] = "600", log[] = "--log-level", level[] = "error",
         plane[] = "--realtime-backplane", url[64] = "", ring[] = "--realtime-ring-events",
         many[] = "1000";
    char *args[] = {w->xs, serve, w->app, listen_flag, w->addresses[i], db,  file, drain, ms,
                    log,   level, ring,   many,        plane,           url, NULL};
    snprintf(w->addresses[i], sizeof w->addresses[i], "127.0.0.1:%d", w->ports[i]);
    snprintf(file, sizeof file, "%s/%d.db", w->dir, i);
    if (w->redis.pid)
        snprintf(url, sizeof url, "redis://127.0.0.1:%d", w->redis.port);
    return server_start(&w->servers[i], args);
}

/* Ends on a thread of its own: the clients live on meanwhile. */
typedef struct Ending {
    Server *server;
    int code;
    atomic_bool over;
} Ending;

static void *end_server(void *arg)
{
    Ending *e = arg;
    e->code = server_stop(e->server, SIGTERM, 20000);
    atomic_store(&e->over, true);
    return NULL;
}

static bool restart(World *w, int i)
{
    Ending e = {.server = &w->servers[i]};
    pthread_t thread;
    bool ok = pthread_create(&thread, NULL, end_server, &e) == 0;
    while (ok && !atomic_load(&e.over))
        ok = step(w);
    pthread_join(thread, NULL);
    if (e.code != 0)
        fprintf(stderr, "the server ended with %d\n", e.code);
    return ok && e.code == 0 && start(w, i);
}

/* ---- the run ---- */

static bool report(const World *w)
{
    bool ok = true;
    unsigned returns = 0, accepted = 0;
    for (int n = 1; n <= EVENTS; n++)
        accepted += w->accepted[n];
    for (int i = 0; i < CLIENTS; i++) {
        const Client *c = &w->clients[i];
        int lost = 0;
        for (int n = 1; n <= EVENTS; n++)
            lost += w->accepted[n] && !c->got[n];
        returns += c->returns;
        if (!c->problem && !lost && !c->resyncs)
            continue;
        ok = false;
        fprintf(stderr, "%s: %d lost, %u resyncs, %u returns, %s\n", names[c->transport], lost,
                c->resyncs, c->returns, c->problem ? c->problem : "no other problem");
    }
    printf("%d restarts: %u of %d events accepted, %u without an answer, %u returns\n", RESTARTS,
           accepted, EVENTS, w->unclear, returns);
    return ok && accepted > EVENTS / 2 && returns > CLIENTS;
}

static bool orderly(World *w)
{
    bool ok = run_until(w, all_joined) && pthread_create(&w->publisher, NULL, publisher, w) == 0 &&
              pthread_create(&w->noise, NULL, noise, w) == 0;
    for (int i = 0; ok && i < RESTARTS; i++)
        ok = run_ms(w, 500) && restart(w, i % w->count) && run_until(w, all_joined);
    while (ok && atomic_load(&w->published) < EVENTS)
        ok = step(w);
    atomic_store(&w->quiet, true);
    pthread_join(w->publisher, NULL);
    pthread_join(w->noise, NULL);
    ok = ok && run_until(w, all_joined) && run_until(w, all_there);
    return report(w) && ok;
}

/* The answer of a poll names channels without a reason. */
static bool told(const World *w)
{
    for (int i = 0; i < CLIENTS; i++) {
        const Client *c = &w->clients[i];
        if ((c->transport == RT_SSE && !c->epochs) || (c->transport == RT_LP && !c->resyncs))
            return false;
    }
    return true;
}

/* No orderly end: nothing was left, and the file of the last start is used up. */
static bool crash(World *w)
{
    (void)server_stop(&w->servers[0], SIGKILL, 1000);
    return run_ms(w, 200) && start(w, 0) && run_until(w, all_joined) && run_until(w, told);
}

int main(int argc, char **argv)
{
    static World w = {.dir = "/tmp/xs-restart-XXXXXX"};
    bool several = argc == 4 && strcmp(argv[3], "--nodes") == 0;
    if ((argc != 3 && !several) || !mkdtemp(w.dir))
        return 2;
    w.xs = argv[1];
    w.app = argv[2];
    w.count = several ? NODES : 1;
    w.loop = rt_loop_new();
    signal(SIGPIPE, SIG_IGN);
    bool ok = w.loop && (!several || redis_start(&w.redis));
    for (int i = 0; ok && i < w.count; i++) {
        w.ports[i] = http_free_port();
        ok = start(&w, i);
    }
    for (int i = 0; i < CLIENTS; i++)
        w.clients[i].transport = (RtTransport)(i % 3);
    ok = ok && orderly(&w);
    if (ok && !several && !crash(&w)) {
        fprintf(stderr, "not everybody was told of the crash\n");
        ok = false;
    }
    for (int i = 0; i < CLIENTS; i++)
        rt_free(w.clients[i].rt);
    rt_loop_free(w.loop);
    for (int i = 0; i < w.count; i++)
        if (w.servers[i].pid > 0)
            ok = server_stop(&w.servers[i], SIGTERM, 10000) == 0 && ok;
    redis_stop(&w.redis);
    folder_remove(w.dir);
    return ok ? 0 : 1;
}
