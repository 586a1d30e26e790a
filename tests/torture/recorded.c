/* recorded.c - a realtime server on two nodes, against a model: clients with cursors say things,
 * acknowledge some, are cut and come back at either node, while both nodes lose Redis now and then,
 * Redis stands still for a while, one node is killed, and in the end Redis loses everything. What
 * each client saw on each of its connections has to be everything behind its cursor, in one order,
 * without a hole; cursors never go back, but for that end; rosters are who is there. usage:
 * recorded XS APP [SEED] */
#include "bench/rtclient.h"
#include "core/const.h"
#include "core/json.h"
#include "core/num.h"
#include "core/text.h"
#include "core/vec.h"
#include "tests/common/redis.h"

enum {
    NODES = 2,
    USERS = 4, /* the others are anonymous, with a client_id */
    PEOPLE = 6,
    POLLS = 2, /* lists its channels with every poll */
    STEPS = 900,
    LAST_STEPS = 150, /* on one node */
    IDS = 8192,
    WAIT_MS = 20000,
    GONE_MS = 100000,
    PAUSE_MS = 1200 /* Redis stands still */
};

static const char secret[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/* What one connection of a client saw. */
typedef struct Visit {
    int who;
    int64_t cursor;
    VEC(int64_t) ids;
} Visit;

typedef struct Person {
    struct World *w;
    int who, node;
    RtClient *rt;
    Visit *visit; /* of this connection, once it has joined */
    bool closed;
    int64_t acked, asked; /* the cursor it was told, the highest it asked for */
    int there[USERS + 1]; /* others present: anonymous ones, then each user */
} Person;

typedef struct World {
    TestRedis redis;
    Server servers[NODES];
    int nservers;
    RtLoop *loop;
    Person people[PEOPLE];
    char tokens[USERS][1024];
    VEC(Visit *) visits;
    int64_t said[IDS]; /* by id: what it says; 0 = nobody has seen it */
    int64_t newest, next;
    unsigned cuts, refused, replays;
    const char *problem;
} World;

static void wrong(World *w, const char *what)
{
    if (!w->problem)
        w->problem = what;
}

/* ---- what clients are told ---- */

static int64_t id_of(const Const *map, const char *key)
{
    int64_t id = 0;
    return num_parse_int(const_get_text(map, key), &id) ? id : 0;
}

static void note_id(World *w, int64_t id)
{
    if (id > w->newest)
        w->newest = id;
}

static void take_message(Person *p, const Const *f)
{
    World *w = p->w;
    int64_t id = id_of(f, "id"), n = 0;
    Visit *v = p->visit;
    if (!v || id <= v->cursor || id >= IDS ||
        !num_parse_int(const_get_text(const_get(f, "payload"), "text"), &n)) {
        wrong(w, "a message that cannot be");
        return;
    }
    if (v->ids.len && v->ids.ptr[v->ids.len - 1] >= id)
        wrong(w, "a message came twice, or out of order");
    if (w->said[id] && w->said[id] != n)
        wrong(w, "one id, two messages");
    w->said[id] = n;
    note_id(w, id);
    if (!VEC_PUSH(&v->ids, id))
        wrong(w, "out of memory");
}

static void take_join(Person *p, const Const *payload)
{
    World *w = p->w;
    Visit *v = mem_zalloc(1, sizeof *v);
    if (!v || !VEC_PUSH(&w->visits, v)) {
        wrong(w, "out of memory");
        return;
    }
    v->who = p->who;
    v->cursor = id_of(payload, "cursor");
    if (v->cursor < p->acked || v->cursor > p->asked)
        wrong(w, "a cursor that nobody asked for");
    p->visit = v;
}

static void take_member(Person *p, const Const *member, int by)
{
    int64_t id = id_of(member, "id");
    if (id < 0 || id > USERS)
        wrong(p->w, "a member that nobody is");
    else
        p->there[id] += by;
}

static void on_frame(void *user, const char *json, size_t len)
{
    Person *p = user;
    Arena a;
    xs_error err;
    arena_init(&a, 0);
    const Const *f = json_parse(&a, (Text){json, len}, &err), *payload = const_get(f, "payload");
    Text action = const_get_text(f, "action");
    bool record = text_eq(const_get_text(f, "channel"), TEXT("log/m"));
    if (text_eq(action, TEXT("join")) && record) {
        take_join(p, payload);
    } else if (text_eq(action, TEXT("replay")) || text_eq(action, TEXT("message"))) {
        p->w->replays += text_eq(action, TEXT("replay"));
        take_message(p, f);
    } else if (text_eq(action, TEXT("ack"))) {
        int64_t cursor = id_of(payload, "cursor");
        if (cursor < p->acked)
            wrong(p->w, "a cursor went back");
        p->acked = cursor;
    } else if (text_eq(action, TEXT("broadcast"))) {
        note_id(p->w, id_of(payload, "id"));
    } else if (text_eq(action, TEXT("error"))) {
        p->w->refused++;
        p->closed = p->closed || !p->visit; /* the join was refused: it comes again */
    } else if (text_eq(action, TEXT("resync"))) {
        p->closed = true;
    } else if (text_eq(action, TEXT("presence_full"))) {
        const Const *all = const_get(payload, "members");
        memset(p->there, 0, sizeof p->there);
        for (uint32_t i = 0; i < all->count; i++)
            take_member(p, all->items[i], 1);
    } else if (text_eq(action, TEXT("presence_join")) || text_eq(action, TEXT("presence_leave"))) {
        take_member(p, const_get(payload, "member"),
                    text_eq(action, TEXT("presence_join")) ? 1 : -1);
    }
    arena_deinit(&a);
}

static void on_open(void *user)
{
    (void)user;
}

static void on_close(void *user, int code, const char *reason)
{
    (void)code;
    (void)reason;
    ((Person *)user)->closed = true;
}

/* ---- what they do ---- */

static void send_frame(Person *p, const char *fmt, ...) XS_PRINTF(2, 3);

static void send_frame(Person *p, const char *fmt, ...)
{
    char frame[256];
    xs_error err;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(frame, sizeof frame, fmt, ap);
    va_end(ap);
    if (!rt_send(p->rt, frame, strlen(frame), &err))
        p->closed = true;
}

static void go(Person *p)
{
    rt_free(p->rt);
    p->rt = NULL;
    p->visit = NULL;
    p->w->cuts++;
}

static void come(World *w, Person *p)
{
    static const RtTransport transports[PEOPLE] = {RT_WS, RT_SSE, RT_LP, RT_WS, RT_SSE, RT_WS};
    static const char *const channels[] = {"berths/7", "log/m"};
    p->node = rand() % w->nservers;
    p->closed = false;
    memset(p->there, 0, sizeof p->there);
    RtOptions opt = {.transport = transports[p->who],
                     .host = "127.0.0.1",
                     .port = w->servers[p->node].port,
                     .base = "/ws/quay1",
                     .token = p->who < USERS ? w->tokens[p->who] : NULL,
                     .channels = channels,
                     .channel_count = p->who == POLLS ? COUNT_OF(channels) : 0,
                     .poll_s = 2};
    RtEvents events = {p, on_open, on_frame, on_close};
    xs_error err;
    p->rt = rt_connect(w->loop, &opt, &events, &err);
    if (!p->rt) {
        wrong(w, "no client");
        return;
    }
    if (p->who == POLLS)
        return;
    send_frame(p, "{\"action\":\"join\",\"channel\":\"berths/7\"}");
    send_frame(p, "{\"action\":\"join\",\"channel\":\"log/m\",\"options\":{\"client_id\":\"c%d\"}}",
               p->who);
}

static void say(World *w, Person *p)
{
    send_frame(p,
               "{\"action\":\"broadcast\",\"channel\":\"log/m\",\"type\":\"entry\",\"payload\":"
               "{\"text\":\"%lld\"}}",
               (long long)++w->next);
}

/* The program of either node. */
static void tell(World *w)
{
    char body[128], *reply = NULL;
    snprintf(body, sizeof body, "{\"channel\":\"log/m\",\"data\":{\"text\":\"%lld\"}}",
             (long long)++w->next);
    if (http_request(w->servers[rand() % w->nservers].port, "POST", "/api:quay/tell", NULL, body,
                     &reply) != 200)
        w->refused++;
    free(reply);
}

static void acknowledge(Person *p)
{
    const Visit *v = p->visit;
    if (!v->ids.len)
        return;
    int64_t id = v->ids.ptr[(size_t)rand() % v->ids.len];
    if (id > p->asked)
        p->asked = id;
    send_frame(p, "{\"action\":\"ack\",\"channel\":\"log/m\",\"id\":\"%lld\"}", (long long)id);
}

static bool cut_redis(const World *w)
{
    return redis_command(w->redis.port, "CLIENT KILL TYPE pubsub") &&
           redis_command(w->redis.port, "CLIENT KILL TYPE normal SKIPME yes");
}

static void act(World *w)
{
    Person *p = &w->people[rand() % PEOPLE];
    int what = rand() % 100;
    if (p->rt && p->closed)
        go(p);
    if (!p->rt)
        come(w, p);
    else if (p->visit && what < 50)
        say(w, p);
    else if (p->visit && what < 70)
        acknowledge(p);
    else if (p->visit && what < 80)
        go(p);
    else if (what >= 97)
        tell(w);
}

static void steps(World *w, int n, bool outages)
{
    for (int i = 1; i <= n && !w->problem; i++) {
        act(w);
        if (outages && i % (STEPS / 6) == 0 && !cut_redis(w))
            wrong(w, "Redis cannot be cut");
        if (outages && i == STEPS / 2) {
            char line[64];
            snprintf(line, sizeof line, "CLIENT PAUSE %d", PAUSE_MS);
            if (!redis_command(w->redis.port, line))
                wrong(w, "Redis cannot be paused");
        }
        rt_loop_step(w->loop, 3);
    }
}

/* ---- what has to be ---- */

static bool everybody_joined(void *ctx)
{
    World *w = ctx;
    bool all = true;
    for (int i = 0; i < PEOPLE; i++) {
        Person *p = &w->people[i];
        if (p->rt && p->closed)
            go(p);
        if (!p->rt)
            come(w, p);
        all = all && p->visit;
    }
    return all || w->problem;
}

static bool up_to_date(void *ctx)
{
    World *w = ctx;
    for (int i = 0; i < PEOPLE; i++) {
        const Visit *v = w->people[i].visit;
        if (!v || (v->ids.len ? v->ids.ptr[v->ids.len - 1] : v->cursor) != w->newest)
            return false;
    }
    return true;
}

static bool same_rosters(void *ctx)
{
    const World *w = ctx;
    for (int i = 0; i < PEOPLE; i++)
        for (int k = 0; k <= USERS; k++) {
            int all = k ? 1 : PEOPLE - USERS, self = k ? k - 1 == i : i >= USERS;
            if (w->people[i].there[k] != all - self)
                return false;
        }
    return true;
}

/* Everything behind the cursor up to the last it saw. */
static void check_visit(World *w, const Visit *v)
{
    size_t at = 0;
    if (!v->ids.len)
        return;
    for (int64_t id = v->cursor + 1; id <= v->ids.ptr[v->ids.len - 1]; id++)
        if (w->said[id] && v->ids.ptr[at++] != id)
            wrong(w, "a message is missing");
}

static bool settled(World *w, int gone_ms)
{
    if (!w->problem && !rt_loop_run(w->loop, WAIT_MS, everybody_joined, w))
        wrong(w, "somebody cannot join");
    if (!w->problem) { /* one more, when all are there */
        say(w, &w->people[0]);
        rt_loop_run(w->loop, 200, NULL, NULL);
    }
    if (!w->problem && !rt_loop_run(w->loop, WAIT_MS, up_to_date, w))
        wrong(w, "somebody does not get everything");
    if (!w->problem && !rt_loop_run(w->loop, gone_ms, same_rosters, w))
        wrong(w, "a roster is not who is there");
    for (size_t i = 0; i < w->visits.len; i++)
        check_visit(w, w->visits.ptr[i]);
    printf("%s: %lld messages, %zu visits, %u cuts, %u replays, %u refused\n",
           w->problem ? w->problem : "ok", (long long)w->newest, w->visits.len, w->cuts, w->replays,
           w->refused);
    return !w->problem;
}

static void forget_visits(World *w)
{
    for (size_t i = 0; i < w->visits.len; i++) {
        VEC_DEINIT(&w->visits.ptr[i]->ids);
        mem_free(w->visits.ptr[i]);
    }
    VEC_DEINIT(&w->visits);
}

/* Who polls goes on as another session, that has joined what its polls list. */
static bool everybody_closed(void *ctx)
{
    const World *w = ctx;
    for (int i = 0; i < PEOPLE; i++)
        if (!w->people[i].closed && !(i == POLLS && w->people[i].visit))
            return false;
    return true;
}

/* Without files a restarted Redis is empty: everybody is sent away, and begins anew. */
static void restart_redis(World *w)
{
    redis_stop(&w->redis);
    rt_loop_run(w->loop, 100, NULL, NULL);
    forget_visits(w);
    memset(w->said, 0, sizeof w->said);
    w->newest = 0;
    for (int i = 0; i < PEOPLE; i++) {
        w->people[i].acked = w->people[i].asked = 0;
        w->people[i].visit = NULL;
    }
    say(w, &w->people[0]); /* waits for Redis */
    rt_loop_run(w->loop, 500, NULL, NULL);
    if (!redis_start(&w->redis))
        wrong(w, "Redis does not come back");
    else if (!rt_loop_run(w->loop, WAIT_MS, everybody_closed, w))
        wrong(w, "somebody stays in an order that is over");
}

static bool start(World *w, char *xs, char *app)
{
    char url[64], hex[sizeof secret];
    char serve[] = "serve", listen_flag[] = "--listen", address[] = "127.0.0.1:0", db[] = "--db",
         memory[] = ":memory:", drain[] = "--drain-ms", ms[] = "200", log[] = "--log-level",
         level[] = "error", plane[] = "--realtime-backplane", auth[] = "--auth-secret",
         sse[] = "--realtime-sse-grace-ms", lp[] = "--realtime-lp-grace-ms", short_ms[] = "300";
    memcpy(hex, secret, sizeof hex);
    for (int i = 0; i < USERS; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i + 1);
        if (!mint_token(xs, app, secret, id, w->tokens[i], sizeof w->tokens[i]))
            return false;
    }
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", w->redis.port);
    char *args[] = {xs,    serve, app, listen_flag, address, db,  memory,   drain, ms,       log,
                    level, plane, url, auth,        hex,     sse, short_ms, lp,    short_ms, NULL};
    for (w->nservers = 0; w->nservers < NODES; w->nservers++)
        if (!server_start(&w->servers[w->nservers], args))
            return false;
    return true;
}

int main(int argc, char **argv)
{
    static World w;
    if (argc != 3 && argc != 4)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    srand(argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 11);
    w.loop = rt_loop_new();
    if (!w.loop || !redis_start(&w.redis) || !start(&w, argv[1], argv[2]))
        return 1;
    for (int i = 0; i < PEOPLE; i++)
        w.people[i] = (Person){.w = &w, .who = i};
    steps(&w, STEPS, true);
    bool ok = settled(&w, WAIT_MS);
    server_stop(&w.servers[--w.nservers], SIGKILL, WAIT_MS);
    steps(&w, LAST_STEPS, false);
    ok = settled(&w, GONE_MS) && ok;
    if (ok) {
        restart_redis(&w);
        steps(&w, LAST_STEPS, false);
        ok = settled(&w, GONE_MS) && w.said[1];
    }
    for (int i = 0; i < PEOPLE; i++)
        rt_free(w.people[i].rt);
    ok = server_stop(&w.servers[0], SIGTERM, WAIT_MS) == 0 && ok;
    redis_stop(&w.redis);
    forget_visits(&w);
    rt_loop_free(w.loop);
    return ok && w.replays && w.cuts > PEOPLE * 2 ? 0 : 1;
}
