/* recovery.c - real sockets that are cut at random while events flow: a client of SSE and long-poll
 * that comes back with its position gets everything it missed or a resync; a WebSocket client that
 * asks for the history finds it there. With --nodes two servers share a Redis server: clients come
 * back at the other one, and both servers lose Redis now and then. usage: recovery XS APP [--nodes]
 */
#include "bench/rtclient.h"
#include "core/const.h"
#include "core/json.h"
#include "core/text.h"
#include "tests/common/redis.h"

enum { CLIENTS = 9, EVENTS = 300, RUN_MS = 2000, SETTLE_MS = 10000, NODES = 2, OUTAGES = 4 };

typedef struct Nodes {
    Server servers[NODES];
    int count, turn;
    TestRedis redis; /* pid 0: none */
} Nodes;

typedef struct Client {
    RtTransport transport;
    RtClient *rt;
    char position[64];
    int64_t last;      /* number of the newest event of the channel */
    bool free, joined; /* free: after a resync, or at the first time */
    bool far;          /* stays away so long that the ring forgets */
    int64_t until_ms;  /* cut, or come back */
    unsigned frames, resyncs, cuts;
    const char *problem;
} Client;

static const char *channel_of(const Client *c)
{
    return c->transport == RT_WS ? "log:a" : "harbor/r";
}

static void take(Client *c, const Const *frame)
{
    int64_t n = const_int_of(const_get(const_get(const_get(frame, "payload"), "data"), "n"), 0);
    if (!n)
        return;
    if (!c->free && n != c->last + 1)
        c->problem = n <= c->last ? "an event came twice" : "an event is missing";
    c->free = false;
    c->last = n;
    c->frames++;
}

static void on_frame(void *user, const char *json, size_t len)
{
    Client *c = user;
    Arena a;
    xs_error err;
    arena_init(&a, 0);
    const Const *frame = json_parse(&a, (Text){json, len}, &err);
    Text action = const_get_text(frame, "action");
    const Const *history = const_get(const_get(frame, "payload"), "history");
    if (text_eq(action, TEXT("resync"))) {
        c->resyncs++;
        c->free = true;
    } else if (text_eq(action, TEXT("join"))) {
        c->joined = true;
        /* The history begins with the first of all events; what is live goes on behind it. */
        if (history && history->count && c->transport == RT_WS) {
            c->last = 0;
            c->free = false;
            for (uint32_t i = 0; i < history->count; i++)
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
    if (!c->problem && code != 1000)
        c->problem = "the server closed a connection";
}

static int next_port(Nodes *nodes)
{
    return nodes->servers[nodes->turn++ % nodes->count].port;
}

static bool come(RtLoop *loop, int port, Client *c)
{
    const char *channels[] = {channel_of(c)};
    RtOptions opt = {.transport = c->transport,
                     .host = "127.0.0.1",
                     .port = port,
                     .base = "/rt/harbor",
                     .channels = channels,
                     .channel_count = 1,
                     .history = c->transport == RT_WS,
                     .poll_s = 2,
                     .position = c->position[0] ? c->position : NULL};
    RtEvents events = {c, NULL, on_frame, on_close};
    xs_error err;
    c->joined = false;
    c->rt = rt_connect(loop, &opt, &events, &err);
    return c->rt != NULL;
}

static void cut(Client *c)
{
    if (c->transport != RT_WS)
        snprintf(c->position, sizeof c->position, "%s", rt_position(c->rt));
    if (!c->position[0])
        c->free = true;
    rt_free(c->rt);
    c->rt = NULL;
    c->cuts++;
}

static bool publish(int port, const char *channel, int n)
{
    char body[128], *reply = NULL;
    snprintf(body, sizeof body, "{\"channel\":\"%s\",\"event\":\"e\",\"data\":{\"n\":%d}}", channel,
             n);
    int status = http_request(port, "POST", "/api:harbor/tell", NULL, body, &reply);
    free(reply);
    return status == 200;
}

static bool all_there(void *ctx)
{
    const Client *clients = ctx;
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].last != EVENTS + 1 && !clients[i].problem)
            return false;
    return true;
}

static bool all_joined(void *ctx)
{
    const Client *clients = ctx;
    for (int i = 0; i < CLIENTS; i++)
        if (!clients[i].joined && !clients[i].problem)
            return false;
    return true;
}

/* Every connection to Redis is cut, those of commands and those of topics. */
static bool cut_redis(const Nodes *nodes)
{
    return redis_command(nodes->redis.port, "CLIENT KILL TYPE pubsub") &&
           redis_command(nodes->redis.port, "CLIENT KILL TYPE normal SKIPME yes");
}

static bool run(Nodes *nodes, RtLoop *loop, Client *clients)
{
    srand(7);
    int64_t begin = clock_mono_ms();
    /* One node publishes: what two say at once has no order to compare with. */
    int port = nodes->servers[0].port;
    for (int n = 1; n <= EVENTS; n++) {
        if (!publish(port, "log:a", n) || !publish(port, "harbor/r", n))
            return false;
        if (nodes->redis.pid && n % (EVENTS / OUTAGES) == EVENTS / OUTAGES / 2 && !cut_redis(nodes))
            return false;
        for (int i = 0; i < CLIENTS; i++) {
            Client *c = &clients[i];
            if (c->problem || clock_mono_ms() < c->until_ms)
                continue;
            if (c->rt && !c->joined) /* give it the time to open */
                continue;
            if (c->rt)
                cut(c);
            else if (!come(loop, next_port(nodes), c))
                return false;
            c->until_ms = clock_mono_ms() + (c->rt    ? 50 + rand() % 200
                                             : c->far ? 1200
                                                      : rand() % 60);
        }
        rt_loop_step(loop, 0);
        while (clock_mono_ms() - begin < (int64_t)n * RUN_MS / EVENTS)
            rt_loop_step(loop, 1);
    }
    for (int i = 0; i < CLIENTS; i++)
        if (!clients[i].rt && !come(loop, next_port(nodes), &clients[i]))
            return false;
    /* One more, so that whoever was told to reload sees something. */
    return rt_loop_run(loop, SETTLE_MS, all_joined, clients) &&
           publish(port, "log:a", EVENTS + 1) && publish(port, "harbor/r", EVENTS + 1) &&
           rt_loop_run(loop, SETTLE_MS, all_there, clients);
}

static bool start(Nodes *nodes, char *xs, char *app)
{
    char serve[] = "serve", listen_flag[] = "--listen", address[] = "127.0.0.1:0", db[] = "--db",
         memory[] = ":memory:", drain[] = "--drain-ms", ms[] = "100", log[] = "--log-level",
         level[] = "error", plane[] = "--realtime-backplane", url[64] = "";
    char *args[] = {xs,    serve, app, listen_flag, address, db,  memory,
                    drain, ms,    log, level,       plane,   url, NULL};
    if (nodes->redis.pid)
        snprintf(url, sizeof url, "redis://127.0.0.1:%d", nodes->redis.port);
    for (int i = 0; i < nodes->count; i++)
        if (!server_start(&nodes->servers[i], args))
            return false;
    return true;
}

static bool stop(Nodes *nodes)
{
    bool ok = true;
    for (int i = 0; i < nodes->count; i++)
        ok = server_stop(&nodes->servers[i], SIGTERM, 10000) == 0 && ok;
    redis_stop(&nodes->redis);
    return ok;
}

/* What went wrong, in sentences; the sums of cuts and resyncs. */
static bool report(const Client *clients, unsigned *cuts, unsigned *resyncs)
{
    static const char *const names[] = {"ws", "sse", "longpoll"};
    bool ok = true;
    for (int i = 0; i < CLIENTS; i++) {
        const Client *c = &clients[i];
        bool whole = c->last == EVENTS + 1;
        if (c->problem || !whole)
            fprintf(stderr, "%s: %s (newest %lld of %d, %u cuts, %u resyncs)\n",
                    names[c->transport], c->problem ? c->problem : "not up to date",
                    (long long)c->last, EVENTS, c->cuts, c->resyncs);
        ok = ok && !c->problem && whole;
        *resyncs += c->resyncs;
        *cuts += c->cuts;
    }
    return ok;
}

int main(int argc, char **argv)
{
    bool several = argc == 4 && strcmp(argv[3], "--nodes") == 0;
    if (argc != 3 && !several)
        return 2;
    Nodes nodes = {.count = several ? NODES : 1};
    signal(SIGPIPE, SIG_IGN);
    if ((several && !redis_start(&nodes.redis)) || !start(&nodes, argv[1], argv[2]))
        return 1;
    RtLoop *loop = rt_loop_new();
    Client clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        clients[i] =
            (Client){.transport = (RtTransport)(i % 3), .free = true, .far = i >= CLIENTS - 3};
    bool ok = loop && run(&nodes, loop, clients);
    unsigned resyncs = 0, cuts = 0;
    ok = report(clients, &cuts, &resyncs) && ok;
    for (int i = 0; i < CLIENTS; i++)
        rt_free(clients[i].rt);
    rt_loop_free(loop);
    printf("%u cuts, %u resyncs\n", cuts, resyncs);
    ok = stop(&nodes) && ok;
    return ok && cuts > CLIENTS * 2 ? 0 : 1;
}
