/* nodes.c - two servers on one Redis server: who is present, private messages, a node that is
 * killed, Redis that is restarted. usage: nodes XS APP */
#include "bench/rtclient.h"
#include "core/const.h"
#include "core/json.h"
#include "core/text.h"
#include "tests/common/redis.h"

enum { NODES = 2, PEOPLE = 4, WAIT_MS = 10000, GONE_MS = 100000, IDS = 64 };

static const char secret[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

typedef struct Person {
    RtClient *rt;
    int node;
    char socket_id[32];
    char roster[IDS][32]; /* socket ids that it believes to be there */
    int nroster;
    int64_t said;     /* the newest number it was told */
    char from[32];    /* who sent it the last private message */
    char error[32];   /* code of the last error frame */
    char resync[160]; /* the last resync */
    bool closed;
} Person;

typedef struct World {
    TestRedis redis;
    Server servers[NODES];
    int admin_ports[NODES];
    RtLoop *loop;
    Person people[PEOPLE];
    char tokens[2][1024]; /* of the first two; the others are anonymous */
    int failures;
} World;

/* ---- what clients are told ---- */

static Text socket_of(const Const *client)
{
    return const_get_text(client, "socketId");
}

static void keep(char out[32], Text t)
{
    snprintf(out, 32, TEXT_FMT, TEXT_ARG(t));
}

static void enter(Person *p, Text id)
{
    if (p->nroster < IDS)
        keep(p->roster[p->nroster++], id);
}

static void leave(Person *p, Text id)
{
    for (int i = 0; i < p->nroster; i++)
        if (text_eq(text_from(p->roster[i]), id)) {
            memmove(p->roster[i], p->roster[p->nroster - 1], sizeof p->roster[i]);
            p->nroster--;
            return;
        }
}

static void on_frame(void *user, const char *json, size_t len)
{
    Person *p = user;
    Arena a;
    xs_error err;
    arena_init(&a, 0);
    const Const *f = json_parse(&a, (Text){json, len}, &err);
    const Const *payload = const_get(f, "payload");
    Text action = const_get_text(f, "action");
    if (text_eq(action, TEXT("join"))) {
        keep(p->socket_id, socket_of(const_get(f, "client")));
    } else if (text_eq(action, TEXT("presence_full"))) {
        const Const *all = const_get(payload, "presence");
        p->nroster = 0;
        for (uint32_t i = 0; i < all->count; i++)
            enter(p, socket_of(all->items[i]));
    } else if (text_eq(action, TEXT("presence_update"))) {
        bool came = text_eq(const_get_text(payload, "action"), TEXT("join"));
        (came ? enter : leave)(p, socket_of(const_get(payload, "presence")));
    } else if (text_eq(action, TEXT("message")) || text_eq(action, TEXT("event"))) {
        const Const *data = const_get(payload, "data") ? const_get(payload, "data") : payload;
        p->said = const_int_of(const_get(data, "n"), 0);
        keep(p->from, socket_of(const_get(f, "client")));
    } else if (text_eq(action, TEXT("error"))) {
        keep(p->error, const_get_text(payload, "code"));
    } else if (text_eq(action, TEXT("resync"))) {
        snprintf(p->resync, sizeof p->resync, "%.*s", (int)len, json);
    }
    arena_deinit(&a);
}

static void on_close(void *user, int code, const char *reason)
{
    Person *p = user;
    (void)code;
    (void)reason;
    p->closed = true;
}

/* ---- steps ---- */

static bool come(World *w, int who, int node, RtTransport transport, const char *position)
{
    static const char *const channels[] = {"harbor/p"};
    Person *p = &w->people[who];
    rt_free(p->rt);
    *p = (Person){.node = node};
    RtOptions opt = {.transport = transport,
                     .host = "127.0.0.1",
                     .port = w->servers[node].port,
                     .base = "/rt/harbor",
                     .channels = channels,
                     .channel_count = 1,
                     .presence = true,
                     .token = who < 2 ? w->tokens[who] : NULL,
                     .poll_s = 2,
                     .position = position};
    RtEvents events = {p, NULL, on_frame, on_close};
    xs_error err;
    p->rt = rt_connect(w->loop, &opt, &events, &err);
    return p->rt != NULL;
}

static bool say(World *w, int node, int n)
{
    char body[128], *reply = NULL;
    snprintf(body, sizeof body, "{\"channel\":\"harbor/p\",\"event\":\"e\",\"data\":{\"n\":%d}}",
             n);
    int status =
        http_request(w->servers[node].port, "POST", "/api:harbor/tell", NULL, body, &reply);
    free(reply);
    return status == 200;
}

static bool whisper(World *w, int from, const char *socket_id, int n)
{
    char frame[256];
    xs_error err;
    snprintf(frame, sizeof frame,
             "{\"action\":\"message\",\"options\":{\"channel\":\"harbor/p\",\"socketId\":\"%s\"},"
             "\"payload\":{\"n\":%d}}",
             socket_id, n);
    return rt_send(w->people[from].rt, frame, strlen(frame), &err);
}

typedef struct Wish {
    const World *w;
    const bool *here; /* who is there: everybody's roster must be them */
    int64_t said;     /* or: the newest number of everybody who is there */
    int who;          /* or: of one */
    const char *error;
} Wish;

static bool same_roster(void *ctx)
{
    const Wish *wish = ctx;
    int there = 0;
    for (int i = 0; i < PEOPLE; i++)
        there += wish->here[i];
    for (int i = 0; i < PEOPLE; i++) {
        const Person *p = &wish->w->people[i];
        if (!wish->here[i])
            continue;
        if (p->nroster != there)
            return false;
        for (int k = 0; k < PEOPLE; k++) {
            bool found = !wish->here[k];
            for (int r = 0; r < p->nroster && !found; r++)
                found = strcmp(p->roster[r], wish->w->people[k].socket_id) == 0;
            if (!found)
                return false;
        }
    }
    return true;
}

static bool heard(void *ctx)
{
    const Wish *wish = ctx;
    for (int i = 0; i < PEOPLE; i++)
        if (wish->here[i] && wish->w->people[i].said != wish->said)
            return false;
    return true;
}

static bool one_heard(void *ctx)
{
    const Wish *wish = ctx;
    return wish->w->people[wish->who].said == wish->said;
}

static bool failed_so(void *ctx)
{
    const Wish *wish = ctx;
    return strcmp(wish->w->people[wish->who].error, wish->error) == 0;
}

static bool resynced(void *ctx)
{
    const Wish *wish = ctx;
    return wish->w->people[wish->who].resync[0] != '\0';
}

static bool one_closed(void *ctx)
{
    const Wish *wish = ctx;
    return wish->w->people[wish->who].closed;
}

static bool all_closed(void *ctx)
{
    const Wish *wish = ctx;
    for (int i = 0; i < PEOPLE; i++)
        if (wish->here[i] && !wish->w->people[i].closed)
            return false;
    return true;
}

static void check(World *w, bool ok, const char *what)
{
    printf("%s: %s\n", ok ? "ok" : "FAILED", what);
    w->failures += !ok;
}

static bool wait_for(World *w, int ms, bool (*done)(void *), Wish wish)
{
    wish.w = w;
    return rt_loop_run(w->loop, ms, done, &wish);
}

/* ---- scenes ---- */

static void scene_presence(World *w)
{
    static const bool all[PEOPLE] = {true, true, true, true};
    static const bool three[PEOPLE] = {true, true, false, true};
    bool ok = come(w, 0, 0, RT_WS, NULL) && come(w, 1, 1, RT_WS, NULL) &&
              come(w, 2, 0, RT_SSE, NULL) && come(w, 3, 1, RT_LP, NULL);
    check(w, ok && wait_for(w, WAIT_MS, same_roster, (Wish){.here = all}),
          "each sees everybody on both nodes");
    rt_free(w->people[2].rt);
    w->people[2].rt = NULL;
    check(w, wait_for(w, WAIT_MS, same_roster, (Wish){.here = three}),
          "one that left is gone on both");
    check(w, come(w, 2, 1, RT_SSE, NULL) && wait_for(w, WAIT_MS, same_roster, (Wish){.here = all}),
          "and back at the other one");
}

static void scene_messages(World *w)
{
    static const bool all[PEOPLE] = {true, true, true, true};
    xs_error err;
    check(w, say(w, 1, 11) && wait_for(w, WAIT_MS, heard, (Wish){.here = all, .said = 11}),
          "what a program publishes reaches both nodes");
    check(w,
          rt_message(w->people[0].rt, "harbor/p", "{\"n\":12}", &err) &&
              wait_for(w, WAIT_MS, heard, (Wish){.here = all, .said = 12}),
          "so does what a client says");
    check(w,
          whisper(w, 0, w->people[1].socket_id, 13) &&
              wait_for(w, WAIT_MS, one_heard, (Wish){.who = 1, .said = 13}) &&
              strcmp(w->people[1].from, w->people[0].socket_id) == 0,
          "a private message reaches the other node");
    check(w, w->people[0].said == 12 && w->people[2].said == 12 && w->people[3].said == 12,
          "and nobody else");
    check(w,
          whisper(w, 0, w->people[3].socket_id, 14) &&
              wait_for(w, WAIT_MS, failed_so, (Wish){.who = 0, .error = "private_auth"}),
          "it needs a login on the other end");
    check(w,
          whisper(w, 0, "0000000000000000000000", 15) &&
              wait_for(w, WAIT_MS, failed_so, (Wish){.who = 0, .error = "private_gone"}),
          "and somebody there");
}

static long metric_of(const char *metrics, const char *name)
{
    char line[64];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = metrics ? strstr(metrics, line) : NULL;
    return at ? strtol(at + strlen(line), NULL, 10) : 0;
}

/* Answered at node 0; true: 200 and the answer holds `part`. */
static bool admin(World *w, const char *action, const char *body, const char *part)
{
    char path[64], *reply = NULL;
    snprintf(path, sizeof path, "/_xs/rt/harbor/%s", action);
    bool ok = http_request(w->admin_ports[0], "POST", path, secret, body, &reply) == 200 && reply &&
              strstr(reply, part);
    if (!ok)
        printf("%s: %s\n", action, reply ? reply : "no answer");
    free(reply);
    return ok;
}

/* The node that the list of channels names; 0: not as many subscribers there. */
static int64_t node_of_list(const World *w, int node, int64_t subscribers)
{
    char *reply = NULL;
    Arena a;
    xs_error err;
    int64_t n = 0;
    arena_init(&a, 0);
    if (http_request(w->admin_ports[node], "GET", "/_xs/rt/harbor/channels", secret, NULL,
                     &reply) == 200) {
        const Const *doc = json_parse(&a, text_from(reply), &err);
        const Const *channels = const_get(doc, "channels");
        if (channels && channels->kind == C_LIST && channels->count == 1 &&
            const_int_of(const_get(channels->items[0], "subscribers"), 0) == subscribers)
            n = const_int_of(const_get(doc, "node"), 0);
    }
    free(reply);
    arena_deinit(&a);
    return n;
}

static void scene_admin(World *w)
{
    static const bool all[PEOPLE] = {true, true, true, true};
    char body[128];
    check(w,
          admin(w, "publish", "{\"channel\":\"harbor/p\",\"data\":{\"n\":21}}",
                "\"seq\":\"3\",\"off\":\"3\",\"delivered_local\":1") &&
              wait_for(w, WAIT_MS, heard, (Wish){.here = all, .said = 21}),
          "the publish endpoint answers with the numbers");
    check(w,
          admin(w, "publish", "{\"channel\":\"harbor/*\",\"data\":{\"n\":22}}", "\"ok\":true") &&
              wait_for(w, WAIT_MS, heard, (Wish){.here = all, .said = 22}),
          "a pattern reaches channels wherever they are");
    snprintf(body, sizeof body, "{\"socket\":\"%s\"}", w->people[2].socket_id);
    check(w,
          admin(w, "disconnect", body, "\"ok\":true") &&
              wait_for(w, WAIT_MS, one_closed, (Wish){.who = 2}),
          "an administrator ends a connection of the other node");
    check(w, come(w, 2, 1, RT_SSE, NULL) && wait_for(w, WAIT_MS, same_roster, (Wish){.here = all}),
          "who comes again");
    int64_t nodes[NODES] = {0};
    for (int i = 0; i < NODES; i++)
        nodes[i] = node_of_list(w, i, i == 0 ? 1 : 3);
    check(w, nodes[0] > 0 && nodes[1] > 0 && nodes[0] != nodes[1],
          "lists are of the node that says so");
}

static bool joined_more(void *ctx)
{
    const Wish *wish = ctx;
    const Person *p = &wish->w->people[wish->who];
    size_t dots = 0;
    for (const char *at = rt_position(p->rt); *at; at++)
        dots += *at == '.';
    return dots == 3; /* the cursor counts what was joined by a frame */
}

/* A polling client that comes to another node has there what it lists, and is told of the rest. */
static void scene_moved(World *w)
{
    static const bool all[PEOPLE] = {true, true, true, true};
    static const bool three[PEOPLE] = {true, true, true, false};
    Person *p = &w->people[3];
    char position[64];
    xs_error err;
    check(w,
          rt_join(p->rt, "harbor/x", false, false, &err) && rt_leave(p->rt, "harbor/p", &err) &&
              wait_for(w, WAIT_MS, joined_more, (Wish){.who = 3}) &&
              wait_for(w, WAIT_MS, same_roster, (Wish){.here = three}),
          "a polling client joins by a frame");
    snprintf(position, sizeof position, "%s", rt_position(p->rt));
    check(w,
          come(w, 3, 0, RT_LP, position) &&
              wait_for(w, WAIT_MS, failed_so, (Wish){.who = 3, .error = "sid_gone"}) &&
              wait_for(w, WAIT_MS, same_roster, (Wish){.here = all}),
          "and is told at the other node that it has to again");
    check(w,
          rt_leave(p->rt, "harbor/p", &err) &&
              wait_for(w, WAIT_MS, same_roster, (Wish){.here = three}) &&
              come(w, 3, 1, RT_LP, NULL) &&
              wait_for(w, WAIT_MS, same_roster, (Wish){.here = all}) && !p->error[0],
          "one without a session of before is told nothing");
}

/* What a server keeps for a Redis that has stopped answering is bounded in bytes, too. */
static void scene_stuck(World *w)
{
    enum { PAD = 250000, MANY = 2000, PATIENCE_MS = 9000, BOUND = 64 << 20 };
    static const bool all[PEOPLE] = {true, true, true, true};
    static const char begin[] = "{\"channel\":\"harbor/none\",\"event\":\"e\",\"data\":\"";
    char *body = malloc(sizeof begin + PAD + 2), *metrics = NULL;
    long dropped = 0;
    if (!body)
        return;
    snprintf(body, sizeof begin, "%s", begin);
    memset(body + sizeof begin - 1, 'x', PAD);
    snprintf(body + sizeof begin - 1 + PAD, 3, "\"}");
    kill(w->redis.pid, SIGSTOP);
    int64_t end = clock_mono_ms() + PATIENCE_MS; /* the connection is not given up before */
    int n = 0;
    for (; n < MANY && dropped == 0 && clock_mono_ms() < end; n++) {
        char *reply = NULL;
        http_request(w->servers[0].port, "POST", "/api:harbor/tell", NULL, body, &reply);
        free(reply);
        if (n % 8 == 0 &&
            http_request(w->admin_ports[0], "GET", "/metrics", NULL, NULL, &metrics) == 200)
            dropped = metric_of(metrics, "xs_backplane_dropped_total");
        free(metrics);
        metrics = NULL;
    }
    kill(w->redis.pid, SIGCONT);
    free(body);
    printf("%d events of %d bytes\n", n, PAD);
    /* Builds with small limits come to theirs at once; a slow one with large limits may not. */
    check(w, n * (int64_t)PAD < BOUND + 16 * PAD && (dropped > 0 || n * (int64_t)PAD < BOUND),
          "records for a Redis that does not answer are bounded");
    bool on = false;
    for (int i = 0; i < 20 && !on; i++) /* what is on its way goes first */
        on = say(w, 0, 23) && wait_for(w, 500, heard, (Wish){.here = all, .said = 23});
    check(w, on, "and it goes on when it does");
}

static bool three_closed(void *ctx)
{
    const World *w = ((const Wish *)ctx)->w;
    return w->people[0].closed && w->people[1].closed && w->people[2].closed;
}

/* Redis forgets everything while all are connected: those who left meanwhile are nowhere listed. */
static void scene_flushed(World *w)
{
    static const bool all[PEOPLE] = {true, true, true, true};
    check(w,
          redis_command(w->redis.port, "FLUSHALL") && say(w, 0, 24) &&
              wait_for(w, WAIT_MS, three_closed, (Wish){0}),
          "Redis has lost its data: everybody is sent away");
    check(w,
          come(w, 0, 0, RT_WS, NULL) && come(w, 1, 1, RT_WS, NULL) && come(w, 2, 1, RT_SSE, NULL) &&
              come(w, 3, 1, RT_LP, NULL) &&
              wait_for(w, GONE_MS, same_roster, (Wish){.here = all}) && say(w, 1, 26) &&
              wait_for(w, WAIT_MS, heard, (Wish){.here = all, .said = 26}),
          "and those who come back are there, nobody else");
}

static void scene_killed(World *w)
{
    static const bool left[PEOPLE] = {true, false, false, false};
    static const bool both[PEOPLE] = {true, true, false, false};
    kill(w->servers[1].pid, SIGKILL);
    waitpid(w->servers[1].pid, NULL, 0);
    close(w->servers[1].out);
    w->servers[1].pid = 0;
    check(w, wait_for(w, GONE_MS, same_roster, (Wish){.here = left}),
          "members of a killed node are gone after a while");
    check(w, say(w, 0, 20) && wait_for(w, WAIT_MS, one_heard, (Wish){.who = 0, .said = 20}),
          "the other one goes on");
    char position[64];
    snprintf(position, sizeof position, "%s", rt_position(w->people[3].rt));
    check(w,
          position[0] && come(w, 1, 0, RT_SSE, position) &&
              wait_for(w, WAIT_MS, same_roster, (Wish){.here = both}) &&
              wait_for(w, WAIT_MS, one_heard, (Wish){.who = 1, .said = 20}) &&
              !w->people[1].resync[0],
          "a client of the killed node resumes at the other one");
    size_t epoch = strcspn(position, ".");
    snprintf(position + epoch, sizeof position - epoch, ".999999999");
    check(w,
          come(w, 3, 0, RT_SSE, position) && wait_for(w, WAIT_MS, resynced, (Wish){.who = 3}) &&
              strstr(w->people[3].resync, "future"),
          "one with a position that is still to come is told to reload");
    rt_free(w->people[3].rt);
    w->people[3].rt = NULL;
    check(w, wait_for(w, GONE_MS, same_roster, (Wish){.here = both}), "and leaves");
}

/* The nodes log in; who is known goes with Redis. */
static bool start_redis(World *w)
{
    return redis_start(&w->redis) &&
           redis_command(w->redis.port, "ACL SETUSER harbour on >p@ss: ~* &* +@all");
}

/* Without files a restarted Redis is empty: a new epoch. */
static void scene_restart(World *w)
{
    char position[64];
    snprintf(position, sizeof position, "%s", rt_position(w->people[1].rt));
    redis_stop(&w->redis);
    check(w, say(w, 0, 30), "publishing waits for Redis");
    check(w, start_redis(w), "Redis is back");
    static const bool both[PEOPLE] = {true, true, false, false};
    check(w, wait_for(w, WAIT_MS, all_closed, (Wish){.here = both}),
          "its numbers begin anew: everybody is sent away");
    check(w,
          come(w, 1, 0, RT_SSE, position) && wait_for(w, WAIT_MS, resynced, (Wish){.who = 1}) &&
              strstr(w->people[1].resync, "epoch"),
          "whoever comes back with a position of before is told to reload");
    check(w,
          come(w, 0, 0, RT_WS, NULL) && wait_for(w, WAIT_MS, same_roster, (Wish){.here = both}) &&
              say(w, 0, 31) && wait_for(w, WAIT_MS, heard, (Wish){.here = both, .said = 31}),
          "and all goes on");
}

static bool start(World *w, char *xs, char *app)
{
    char url[64], hex[sizeof secret];
    char serve[] = "serve", listen_flag[] = "--listen", address[] = "127.0.0.1:0", db[] = "--db",
         memory[] = ":memory:", drain[] = "--drain-ms", ms[] = "200", log[] = "--log-level",
         level[] = "error", plane[] = "--realtime-backplane", auth[] = "--auth-secret",
         grace[] = "--realtime-sse-grace-ms", short_ms[] = "300", admin_flag[] = "--admin-listen",
         admin_at[32], keys[] = "--realtime-publish-keys";
    memcpy(hex, secret, sizeof hex);
    for (int i = 0; i < 2; i++)
        if (!mint_token(xs, app, secret, i ? "2" : "1", w->tokens[i], sizeof w->tokens[i]))
            return false;
    snprintf(url, sizeof url, "redis://harbour:p%%40ss%%3A@127.0.0.1:%d", w->redis.port);
    char *args[] = {xs,       serve,      app,      listen_flag, address, db,   memory, drain,
                    ms,       log,        level,    plane,       url,     auth, hex,    grace,
                    short_ms, admin_flag, admin_at, keys,        hex,     NULL};
    for (int i = 0; i < NODES; i++) {
        w->admin_ports[i] = http_free_port();
        snprintf(admin_at, sizeof admin_at, "127.0.0.1:%d", w->admin_ports[i]);
        if (!server_start(&w->servers[i], args))
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    World w = {0};
    if (argc != 3)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    setenv("XS_REALTIME_LP_GRACE_MS", "2000", 1); /* of sessions that a lost Redis ends */
    w.loop = rt_loop_new();
    if (!w.loop || !start_redis(&w) || !start(&w, argv[1], argv[2]))
        return 1;
    scene_presence(&w);
    scene_messages(&w);
    scene_admin(&w);
    scene_moved(&w);
    scene_stuck(&w);
    scene_flushed(&w);
    scene_killed(&w);
    scene_restart(&w);
    for (int i = 0; i < PEOPLE; i++)
        rt_free(w.people[i].rt);
    rt_loop_free(w.loop);
    for (int i = 0; i < NODES; i++)
        if (w.servers[i].pid)
            check(&w, server_stop(&w.servers[i], SIGTERM, 10000) == 0, "a node ends cleanly");
    redis_stop(&w.redis);
    return w.failures ? 1 : 0;
}
