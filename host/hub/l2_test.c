/* l2_test.c - realtime servers: every frame a client would see, byte for byte but for times. */
#include "host/hub/test_world.h"

#include "core/clock.h"
#include "core/folder.h"
#include "core/json.h"

#include <time.h>

#include "host/hub/l2_def.h"
#include "host/hub/l2_frame.h"

/* ---- a program's stacks ---- */

typedef struct Stacks {
    L2Job *jobs[64];
    size_t count, next;
    bool overload;
} Stacks;

static bool s_run(void *ctx, L2Job *job)
{
    Stacks *s = ctx;
    if (s->overload)
        return false;
    assert_true(s->count < COUNT_OF(s->jobs));
    s->jobs[s->count++] = job;
    return true;
}

/* The oldest job that waits. */
static L2Job *take(Stacks *s, L2Action action)
{
    if (s->next >= s->count)
        fail_msg("no job waits");
    L2Job *job = s->jobs[s->next++];
    assert_int_equal(job->action, action);
    return job;
}

static const char meta_json[] =
    "{\"servers\":[{\"name\":\"port\",\"canonical\":\"p1\",\"active\":true},"
    "{\"name\":\"shut\",\"canonical\":\"p2\",\"active\":true},"
    "{\"name\":\"gated\",\"canonical\":\"p3\",\"active\":true},"
    "{\"name\":\"off\",\"canonical\":\"p4\",\"active\":false}],"
    "\"server_channels\":["
    "{\"server\":\"port\",\"path\":\"piers/{pier_id}\",\"active\":true,\"access\":{\"anonymous\":"
    "true,\"presence\":true},\"publish\":{\"who\":\"anyone\",\"direct\":true}},"
    "{\"server\":\"port\",\"path\":\"piers/fuel\",\"active\":true,\"access\":{\"anonymous\":true},"
    "\"publish\":{\"who\":\"nobody\"}},"
    "{\"server\":\"port\",\"path\":\"log/{a}/{b}\",\"active\":true,\"access\":{\"anonymous\":true},"
    "\"publish\":{\"who\":\"anyone\"},\"conversation\":{\"enabled\":true,\"limit\":2,\"ttl\":0},"
    "\"delivery\":{\"guarantee\":\"at_least_once\"},\"proc\":7},"
    "{\"server\":\"port\",\"path\":\"kept\",\"active\":true,\"access\":{\"anonymous\":true},"
    "\"publish\":{\"who\":\"anyone\"},\"delivery\":{\"guarantee\":\"at_least_once\"}},"
    "{\"server\":\"port\",\"path\":\"slow\",\"active\":true,\"access\":{\"anonymous\":true},"
    "\"publish\":{\"who\":\"authenticated\"},\"messages_per_minute\":2},"
    "{\"server\":\"port\",\"path\":\"each\",\"active\":true,\"access\":{\"anonymous\":true},"
    "\"publish\":{\"who\":\"anyone\"},\"delivery\":{\"per_recipient\":true}},"
    "{\"server\":\"port\",\"path\":\"both\",\"active\":true,\"access\":{\"anonymous\":true},"
    "\"publish\":{\"who\":\"anyone\"},\"conversation\":{\"enabled\":true,\"limit\":2},"
    "\"delivery\":{\"per_recipient\":true}},"
    "{\"server\":\"port\",\"path\":\"hidden\",\"active\":false,\"access\":{\"anonymous\":true}},"
    "{\"server\":\"shut\",\"path\":\"a\",\"active\":true},"
    "{\"server\":\"gated\",\"path\":\"a\",\"active\":true,\"access\":{\"anonymous\":true}},"
    "{\"server\":\"off\",\"path\":\"a\",\"active\":true}],"
    "\"messages\":["
    "{\"name\":\"report\",\"server\":\"port\",\"channel\":\"piers/{pier_id}\",\"proc\":1},"
    "{\"name\":\"others\",\"server\":\"port\",\"channel\":\"piers/{pier_id}\",\"deliver_to\":"
    "\"others\",\"proc\":1},"
    "{\"name\":\"me\",\"server\":\"port\",\"channel\":\"piers/"
    "{pier_id}\",\"deliver_to\":\"sender\","
    "\"proc\":1},"
    "{\"name\":\"none\",\"server\":\"port\",\"channel\":\"piers/{pier_id}\",\"deliver_to\":"
    "\"explicit\",\"proc\":1},"
    "{\"name\":\"crew\",\"server\":\"port\",\"channel\":\"piers/{pier_id}\",\"auth\":\"skipper\","
    "\"proc\":1},"
    "{\"name\":\"old\",\"server\":\"port\",\"channel\":\"piers/{pier_id}\",\"active\":false,"
    "\"proc\":1},"
    "{\"name\":\"x\",\"server\":\"port\",\"channel\":\"piers/fuel\",\"proc\":1},"
    "{\"name\":\"x\",\"server\":\"port\",\"channel\":\"log/{a}/{b}\",\"proc\":1},"
    "{\"name\":\"x\",\"server\":\"port\",\"channel\":\"both\",\"proc\":1},"
    "{\"name\":\"x\",\"server\":\"port\",\"channel\":\"kept\",\"proc\":1},"
    "{\"name\":\"x\",\"server\":\"port\",\"channel\":\"slow\",\"proc\":1},"
    "{\"name\":\"x\",\"server\":\"port\",\"channel\":\"each\",\"proc\":1}],"
    "\"server_triggers\":["
    "{\"name\":\"door\",\"server\":\"gated\",\"actions\":{\"connect\":true,\"disconnect\":true},"
    "\"proc\":2,\"active\":true},"
    "{\"name\":\"left\",\"server\":\"port\",\"channel\":\"slow\",\"actions\":{\"leave\":true},"
    "\"proc\":3,\"active\":true},"
    "{\"name\":\"view2\",\"server\":\"port\",\"channel\":\"both\",\"actions\":{\"deliver\":true},"
    "\"proc\":4,\"active\":true},"
    "{\"name\":\"view\",\"server\":\"port\",\"channel\":\"each\",\"actions\":{\"deliver\":true},"
    "\"proc\":4,\"active\":true}]}";

typedef struct L2World {
    World w;
    Stacks stacks;
} L2World;

static void open_l2(L2World *l, const char *record, const char *server)
{
    memset(&l->stacks, 0, sizeof l->stacks);
    HubOptions opt = {.record = text_from(record), .l2 = {&l->stacks, s_run}};
    world_meta = meta_json;
    open_world(&l->w, NULL, &opt);
    l->w.space = hub_server_space(l->w.hub, TEXT(""), text_from(server));
    assert_non_null(l->w.space);
}

/* What still runs outlives the shards. */
static void close_l2(L2World *l)
{
    l->stacks.overload = true;
    for (size_t i = 0; i < COUNT_OF(l->w.shards); i++) {
        hub_shard_free(l->w.shards[i].shard);
        l->w.shards[i].shard = NULL;
    }
    while (l->stacks.next < l->stacks.count)
        l2_job_done(l->stacks.jobs[l->stacks.next++], L2_PASS, TEXT("1"));
    close_world(&l->w);
}

/* Times differ: "ts":1… and "joined_at":1… become T. */
static void mask_times(char *json)
{
    static const char *const keys[] = {"\"ts\":", "\"joined_at\":"};
    for (size_t k = 0; k < COUNT_OF(keys); k++)
        for (char *at = json; (at = strstr(at, keys[k]));) {
            char *digits = at + strlen(keys[k]), *end = digits + strspn(digits, "0123456789");
            memmove(digits + 1, end, strlen(end) + 1);
            *digits = 'T';
            at = digits;
        }
}

/* The store answers from its own thread. */
static bool arrives(World *w, const Peer *p)
{
    for (int i = 0; i < 3000 && p->seen >= p->count && !p->closed; i++) {
        pump(w);
        if (p->seen >= p->count)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return p->seen < p->count;
}

static void want(World *w, Peer *p, const char *json, int line)
{
    if (!arrives(w, p))
        fail_msg("line %d: nothing came, expected %s", line, json);
    char *got = mask(w, p->got[p->seen++]);
    mask_times(got);
    if (strcmp(got, json) != 0)
        fail_msg("line %d:\n     got %s\nexpected %s", line, got, json);
    free(got);
}

#define WANT(p, json) want(w, p, json, __LINE__)
#define QUIET(p)                                                                                   \
    do {                                                                                           \
        pump(w);                                                                                   \
        NOTHING(p);                                                                                \
    } while (0)

static void answer(L2World *l, L2Action action, L2Verdict verdict, const char *text)
{
    l2_job_done(take(&l->stacks, action), verdict, text_from(text));
    pump(&l->w);
}

/* ---- definitions ---- */

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *channel; /* NULL = none */
    } cases[] = {{"piers/7", "piers/{pier_id}"},
                 {"piers/fuel", "piers/fuel"},
                 {"piers/Fuel", "piers/{pier_id}"},
                 {"piers", NULL},
                 {"piers/7/8", NULL},
                 {"/piers/7", NULL},
                 {"piers/7/", NULL},
                 {"piers//7", NULL},
                 {"piers/a b", NULL},
                 {"log/x/y", "log/{a}/{b}"},
                 {"hidden", NULL},
                 {"", NULL},
                 {"piers/{pier_id}", NULL},
                 {"piers/*", NULL}};
    Arena a;
    L2Defs d;
    xs_error err = {0};
    arena_init(&a, 0);
    assert_true(l2_defs_init(&d, json_parse(&a, text_from(meta_json), &err), &err));
    const L2Server *s = l2_server_named(&d, TEXT("port"));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const L2Channel *ch = l2_match(s, text_from(cases[i].path));
        if (!cases[i].channel ? ch != NULL : !ch || !text_eq(ch->path, text_from(cases[i].channel)))
            fail_msg("%s: " TEXT_FMT, cases[i].path, TEXT_ARG(ch ? ch->path : TEXT("none")));
    }
    Text name, value;
    const L2Channel *log = l2_match(s, TEXT("log/x/y"));
    assert_true(l2_param(log, TEXT("log/x/y"), 1, &name, &value));
    assert_true(text_eq(name, TEXT("b")) && text_eq(value, TEXT("y")));
    assert_false(l2_param(log, TEXT("log/x/y"), 2, &name, &value));
    assert_true(s->open && s->anonymous && d.recorded);
    assert_false(l2_server_named(&d, TEXT("shut"))->anonymous);
    assert_false(l2_server_named(&d, TEXT("off"))->open);
    l2_defs_deinit(&d);
    assert_false(l2_defs_init(&d,
                              json_parse(&a,
                                         TEXT("{\"servers\":[{\"name\":\"a\",\"canonical\":\"c\"},"
                                              "{\"name\":\"b\",\"canonical\":\"c\"}]}"),
                                         &err),
                              &err));
    assert_int_equal(err.code, XS_E_CONFIG);
    assert_true(l2_defs_init(&d, NULL, &err));
    l2_defs_deinit(&d);
    arena_deinit(&a);
}

static void test_reading(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        bool ok;
        L2Verb verb;
    } cases[] = {
        {"{\"action\":\"join\",\"channel\":\"a\"}", true, L2V_JOIN},
        {"{\"channel\":\"a\",\"action\":\"broadcast\",\"payload\" : { \"x\" : [1 , 2] }}", true,
         L2V_BROADCAST},
        {"{\"action\":\"dance\"}", true, L2V_UNKNOWN},
        {"{\"action\":\"ack\",\"id\":5}", true, L2V_ACK},
        {"{\"action\":\"ack\",\"id\":[5]}", false, L2V_ACK},
        {"{\"action\":\"join\",\"channel\":5}", false, L2V_JOIN},
        {"{\"action\":\"join\",\"options\":[]}", false, L2V_JOIN},
        {"{\"action\":\"join\",\"options\":null,\"payload\":null}", true, L2V_JOIN},
        {"{\"action\":\"join\",\"ref\":{}}", false, L2V_JOIN},
        {"{\"action\":\"join\",\"other\":{\"deep\":[1,{\"a\":2}]}}", true, L2V_JOIN},
        {"{\"action\":\"join\"", false, L2V_JOIN},
        {"{\"action\":7}", false, L2V_JOIN},
        {"[]", false, L2V_JOIN},
        {"{}", false, L2V_JOIN},
        {"{\"action\":\"broadcast\",\"options\":{\"to\":[[]]}}", true, L2V_BROADCAST},
        {"{\"action\":\"broadcast\",\"payload\":[[[[[[[[[[1]]]]]]]]]]}", false, L2V_BROADCAST},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        L2Frame f = {.payload = BUF_INIT};
        bool ok = l2_read(&f, text_from(cases[i].json), 8);
        if (ok != cases[i].ok || (ok && f.verb != cases[i].verb))
            fail_msg("%s", cases[i].json);
        if (i == 1)
            assert_true(text_eq(l2_payload(&f), TEXT("{\"x\":[1,2]}")));
        buf_deinit(&f.payload);
    }
    L2Frame f = {.payload = BUF_INIT};
    assert_true(l2_read(&f,
                        TEXT("{\"action\":\"broadcast\",\"channel\":\"a\",\"options\":{\"channel\":"
                             "\"b\",\"client_id\":\"t\",\"to\":{\"dbo_id\":5,\"row_id\":\"u\"}},"
                             "\"ref\":\"r\"}"),
                        8));
    assert_true(text_eq(f.channel, TEXT("b")) && text_eq(f.client_id, TEXT("t")));
    assert_true(f.direct && f.to_dbo == 5 && text_eq(f.to_row, TEXT("\"u\"")));
    assert_true(text_eq(f.ref, TEXT("\"r\"")));
    buf_deinit(&f.payload);
}

/* ---- connecting ---- */

static void refused(World *w, Space *space, int64_t user, bool bad, const char *message)
{
    xs_refusal why = {0};
    Peer p = {.shard = &w->shards[0]};
    xs_request *r = make_request(w, user, NULL);
    r->space = space;
    r->bad_token = bad;
    assert_null(p.shard->host.connect(p.shard->shard, &p, r, &why));
    assert_string_equal(why.message, message);
    assert_int_equal(why.close_code, 4401);
    request_unref(r);
}

static void test_connect(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "gated");
    World *w = &l.w;
    Space *shut = hub_server_space(w->hub, TEXT(""), TEXT("shut"));
    refused(w, shut, 0, false, "Authentication required");
    refused(w, w->space, 0, true, "Invalid token");
    refused(w, NULL, 0, false, "Unknown connection hash");
    assert_null(hub_server_space(w->hub, TEXT(""), TEXT("off")));
    assert_null(hub_server_space(w->hub, TEXT("t"), TEXT("gated")));

    /* Frames wait for the gate, at most sixteen. */
    Peer *a = connect_user(w, 0, 1);
    for (int i = 0; i < 17; i++)
        say(a, i ? "{\"action\":\"ping\"}" : "{\"action\":\"join\",\"channel\":\"a\"}");
    WANT(a, "{\"action\":\"error\",\"payload\":{\"message\":\"Connection is not ready\"}}");
    QUIET(a);
    answer(&l, L2_CONNECT, L2_PASS, NULL);
    WANT(a, "{\"action\":\"join\",\"channel\":\"a\",\"payload\":{\"joined\":true,\"params\":{}}}");
    for (int i = 0; i < 15; i++)
        WANT(a, "{\"action\":\"pong\"}");
    QUIET(a);

    Peer *b = connect_user(w, 1, 0);
    answer(&l, L2_CONNECT, L2_DENY, "go away");
    WANT(b, "{\"action\":\"error\",\"payload\":{\"message\":\"go away\"}}");
    assert_int_equal(b->closed, 4401);

    /* The one that was admitted is told of when it goes, the other one not. */
    hang_up(a);
    pump(w);
    answer(&l, L2_DISCONNECT, L2_CRASH, NULL);
    assert_int_equal(l.stacks.next, l.stacks.count);

    /* Gone before the gate answers; and an overloaded server. */
    Peer *c = connect_user(w, 0, 1);
    say(c, "{\"action\":\"join\",\"channel\":\"a\"}");
    hang_up(c);
    answer(&l, L2_CONNECT, L2_PASS, NULL);
    NOTHING(c);
    l.stacks.overload = true;
    xs_refusal why = {0};
    Peer d = {.shard = &w->shards[0]};
    xs_request *r = make_request(w, 1, NULL);
    assert_null(d.shard->host.connect(d.shard->shard, &d, r, &why));
    assert_int_equal(why.close_code, 1013);
    request_unref(r);
    close_l2(&l);
}

/* ---- joining, presence ---- */

static void test_presence(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    Peer *a = connect_user(w, 0, 1), *tab = connect_user(w, 1, 1), *b = connect_user(w, 1, 0);
    say(a, "{\"action\":\"join\",\"channel\":\"piers/7\",\"ref\":\"x\"}");
    WANT(a, "{\"action\":\"join\",\"channel\":\"piers/7\",\"payload\":{\"joined\":true,\"params\":{"
            "\"pier_id\":\"7\"}},\"ref\":\"x\"}");
    WANT(a, "{\"action\":\"presence_full\",\"channel\":\"piers/7\",\"payload\":{\"members\":[]}}");
    /* A second tab of the same user is no news, and sees nobody else. */
    say(tab, "{\"action\":\"join\",\"channel\":\"piers/7\"}");
    WANT(tab,
         "{\"action\":\"join\",\"channel\":\"piers/7\",\"payload\":{\"joined\":true,\"params\":"
         "{\"pier_id\":\"7\"}}}");
    WANT(tab,
         "{\"action\":\"presence_full\",\"channel\":\"piers/7\",\"payload\":{\"members\":[]}}");
    QUIET(a);
    say(b, "{\"action\":\"join\",\"channel\":\"piers/7\"}");
    WANT(b, "{\"action\":\"join\",\"channel\":\"piers/7\",\"payload\":{\"joined\":true,\"params\":{"
            "\"pier_id\":\"7\"}}}");
    WANT(b,
         "{\"action\":\"presence_full\",\"channel\":\"piers/7\",\"payload\":{\"members\":[{\"id\":"
         "\"1\",\"dbo_id\":5,\"authenticated\":true,\"extras\":{\"role\":\"pilot\"},\"joined_at\":"
         "T}]}}");
    static const char joined[] =
        "{\"action\":\"presence_join\",\"channel\":\"piers/"
        "7\",\"payload\":{\"member\":{\"id\":\"0\","
        "\"dbo_id\":0,\"authenticated\":false,\"extras\":[],\"joined_at\":T}}}";
    WANT(a, joined);
    WANT(tab, joined);
    QUIET(b);
    /* Again: answered, announced to nobody. */
    say(b, "{\"action\":\"join\",\"channel\":\"piers/7\",\"ref\":1}");
    WANT(b, "{\"action\":\"join\",\"channel\":\"piers/7\",\"payload\":{\"joined\":true,\"params\":{"
            "\"pier_id\":\"7\"}},\"ref\":1}");
    assert_true(arrives(w, b));
    b->seen++;
    say(b, "{\"action\":\"presence\",\"channel\":\"piers/7\"}");
    assert_true(arrives(w, b));
    assert_non_null(strstr(b->got[b->seen], "\"id\":\"0\""));
    assert_non_null(strstr(b->got[b->seen++], "\"id\":\"1\""));
    hang_up(a);
    QUIET(b);
    say(tab, "{\"action\":\"leave\",\"channel\":\"piers/7\",\"ref\":2}");
    WANT(tab,
         "{\"action\":\"leave\",\"channel\":\"piers/7\",\"payload\":{\"left\":true},\"ref\":2}");
    WANT(b,
         "{\"action\":\"presence_leave\",\"channel\":\"piers/7\",\"payload\":{\"member\":{\"id\":"
         "\"1\",\"dbo_id\":5,\"authenticated\":true,\"extras\":{\"role\":\"pilot\"},\"joined_at\":"
         "T}}}");
    say(tab, "{\"action\":\"presence\",\"channel\":\"piers/7\"}");
    WANT(tab,
         "{\"action\":\"error\",\"channel\":\"piers/7\",\"payload\":{\"message\":\"Not joined\"}"
         "}");
    say(tab, "{\"action\":\"join\",\"channel\":\"hidden\"}");
    WANT(tab, "{\"action\":\"error\",\"channel\":\"hidden\",\"payload\":{\"message\":\"Channel not "
              "found\"}}");
    say(tab, "{\"action\":\"join\",\"channel\":\"a b\"}");
    WANT(tab, "{\"action\":\"error\",\"payload\":{\"message\":\"Invalid channel name\"}}");
    say(tab, "{\"action\":");
    WANT(tab, "{\"action\":\"error\",\"payload\":{\"message\":\"Malformed frame\"}}");
    close_l2(&l);
}

static size_t count_frames(const Peer *p, const char *part)
{
    size_t n = 0;
    for (size_t i = p->seen; i < p->count; i++)
        n += strstr(p->got[i], part) != NULL;
    return n;
}

static Peer *connect_again(World *w, const char *sid, int64_t user)
{
    char query[128];
    snprintf(query, sizeof query, "{\"sid\":[\"%s\"]}", sid);
    xs_request *r = make_request(w, user, query);
    Peer *p = connect_with(w, 1, r);
    request_unref(r);
    return p;
}

static void enter_pier(World *w, Peer *p)
{
    say(p, "{\"action\":\"join\",\"channel\":\"piers/7\"}");
    pump(w);
}

/* A lost client has its grace; nobody hears of one that comes back as itself, or as its other tab.
 */
static void test_presence_grace(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    char sid[SID_LEN + 1];
    test_limits.presence_grace_ms = 5000;
    Peer *a = connect_user(w, 0, 1);
    for (int64_t user = 0; user <= 2; user += 2) { /* anonymous, then logged in */
        a->seen = a->count;
        Peer *b = connect_user(w, 1, user);
        if (!user) {
            enter_pier(w, a);
            a->seen = a->count;
        }
        enter_pier(w, b);
        assert_int_equal(count_frames(a, "presence_join"), 1);
        memcpy(sid, b->conn->sid, sizeof sid);
        hang_up(b);
        hub_tick(w->hub, clock_mono_ms() + 1000);
        pump(w);
        Peer *back = connect_again(w, sid, user);
        enter_pier(w, back);
        hub_tick(w->hub, clock_mono_ms() + 6000);
        pump(w);
        assert_int_equal(count_frames(a, "presence_"), 1);
        /* Silent for too long, then heard of again. */
        back->shard->host.away(back->conn, true);
        pump(w);
        assert_int_equal(count_frames(a, "presence_leave"), 1);
        back->shard->host.away(back->conn, false);
        pump(w);
        assert_int_equal(count_frames(a, "presence_join"), 2);
        back->shard->host.away(back->conn, true);
        hang_up(back); /* away: told already */
        hub_tick(w->hub, clock_mono_ms() + 6000);
        pump(w);
        assert_int_equal(count_frames(a, "presence_leave"), 2);
        assert_int_equal(count_frames(a, "presence_join"), 2);
    }
    /* A lost one that does not come back leaves once. */
    a->seen = a->count;
    Peer *lost = connect_user(w, 1, 3);
    enter_pier(w, lost);
    hang_up(lost);
    Peer *late = connect_user(w, 1, 4);
    enter_pier(w, late);
    assert_int_equal(count_frames(late, "\"id\":\"3\""), 1); /* in the roster meanwhile */
    hub_tick(w->hub, clock_mono_ms() + 6000);
    hub_tick(w->hub, clock_mono_ms() + 12000);
    pump(w);
    assert_int_equal(count_frames(a, "presence_leave"), 1);
    assert_int_equal(count_frames(late, "presence_leave"), 1);
    assert_int_equal(count_frames(late, "presence_join"), 0);
    test_limits.presence_grace_ms = 0;
    close_l2(&l);
}

/* More than fifty changes in a second wait for a window; who came and went in it is never told. */
static void test_presence_burst(void **state)
{
    (void)state;
    enum { CROWD = 120 };
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    Peer *a = connect_user(w, 0, 1), *crowd[CROWD];
    enter_pier(w, a);
    a->seen = a->count;
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = connect_user(w, 1, 0);
        enter_pier(w, crowd[i]);
    }
    size_t at_once = count_frames(a, "presence_join");
    assert_true(at_once >= PRESENCE_RATE - 2 && at_once < CROWD - 20);
    for (int i = CROWD - 20; i < CROWD; i++)
        hang_up(crowd[i]);
    pump(w);
    assert_int_equal(count_frames(a, "presence_leave"), 0);
    hub_tick(w->hub, clock_mono_ms() + 200);
    pump(w);
    assert_int_equal(count_frames(a, "presence_join"), CROWD - 20);
    assert_int_equal(count_frames(a, "presence_leave"), 0);
    /* Roster and news together are everybody else, once. */
    for (int i = 0; i < CROWD - 20; i++) {
        size_t others = 0;
        for (size_t k = 0; k < crowd[i]->count; k++)
            for (const char *at = crowd[i]->got[k]; (at = strstr(at, "joined_at")); at++)
                others++;
        if (others != CROWD - 20)
            fail_msg("%d knows of %zu others", i, others);
    }
    close_l2(&l);
}

/* Tokens are renewed on the connection; whoever says nothing for too long is closed. */
static void test_time(void **state)
{
    (void)state;
    L2World l;
    memset(&l.stacks, 0, sizeof l.stacks);
    HubOptions opt = {.l2 = {&l.stacks, s_run},
                      .auth = {.check = check_token},
                      .expiry_warning_ms = 60,
                      .idle_close_ms = 400};
    world_meta = meta_json;
    open_world(&l.w, NULL, &opt);
    World *w = &l.w;
    w->space = hub_server_space(w->hub, TEXT(""), TEXT("port"));
    xs_request *r = make_request(w, 7, NULL);
    r->expires_ms = clock_wall_ms() + 100;
    Peer *a = connect_with(w, 0, r), *b = connect_with(w, 1, r), *still = connect_user(w, 0, 8);
    request_unref(r);
    usleep(50000);
    hub_tick(w->hub, clock_mono_ms());
    pump(w);
    WANT(a, "{\"action\":\"auth\",\"payload\":{\"state\":\"expiring\",\"expires_in\":1}}");
    WANT(b, "{\"action\":\"auth\",\"payload\":{\"state\":\"expiring\",\"expires_in\":1}}");
    say(b, "{\"action\":\"auth\",\"payload\":{\"token\":\"user8\"}}");
    WANT(b, "{\"action\":\"error\",\"payload\":{\"message\":\"Invalid token\"}}");
    say(b, "{\"action\":\"auth\",\"ref\":1}");
    WANT(b, "{\"action\":\"error\",\"payload\":{\"message\":\"Invalid token\"},\"ref\":1}");
    say(b, "{\"action\":\"auth\",\"payload\":{\"token\":\"user7\"},\"ref\":\"x\"}");
    WANT(b, "{\"action\":\"auth\",\"payload\":{\"state\":\"renewed\",\"expires_in\":60},\"ref\":"
            "\"x\"}");
    usleep(70000);
    hub_tick(w->hub, clock_mono_ms());
    pump(w);
    WANT(a, "{\"action\":\"error\",\"payload\":{\"message\":\"Token expired.\"}}");
    assert_int_equal(a->closed, 4401);
    usleep(250000);
    say(b, "{\"action\":\"ping\"}");
    WANT(b, "{\"action\":\"pong\"}");
    usleep(100000);
    hub_tick(w->hub, clock_mono_ms());
    pump(w);
    assert_int_equal(still->closed, 4000); /* said nothing from the start */
    assert_int_equal(b->closed, 0);
    usleep(350000);
    hub_tick(w->hub, clock_mono_ms());
    pump(w);
    assert_int_equal(b->closed, 4000);
    HubStats st;
    hub_stats(w->hub, &st);
    assert_int_equal(st.idle_closed, 2);
    close_l2(&l);
}

/* ---- broadcast ---- */

static void quick_join(World *w, Peer *p, const char *channel)
{
    char frame[128];
    snprintf(frame, sizeof frame, "{\"action\":\"join\",\"channel\":\"%s\"}", channel);
    say(p, frame);
    arrives(w, p);
    pump(w);
    for (size_t i = 0; i < w->npeers; i++)
        w->peers[i]->seen = w->peers[i]->count;
}

static void broadcast(Peer *p, const char *channel, const char *type)
{
    char frame[256];
    snprintf(frame, sizeof frame,
             "{\"action\":\"broadcast\",\"channel\":\"%s\",\"type\":\"%s\",\"payload\":{\"n\":1}}",
             channel, type);
    say(p, frame);
}

#define SAID(type, payload)                                                                        \
    "{\"action\":\"message\",\"channel\":\"piers/7\",\"type\":\"" type "\",\"payload\":" payload   \
    ",\"ts\":T}"
#define RECEIPT(type, payload)                                                                     \
    "{\"action\":\"broadcast\",\"channel\":\"piers/7\",\"type\":\"" type "\",\"payload\":" payload \
    "}"
#define ERROR(message)                                                                             \
    "{\"action\":\"error\",\"channel\":\"piers/7\",\"payload\":{\"message\":\"" message "\"}}"

/* ---- another program ---- */

static bool set_program(World *w, const char *json, xs_error *err)
{
    Arena a;
    arena_init(&a, 0);
    const Const *meta = json_parse(&a, text_from(json), err);
    bool ok = meta && hub_set_declarations(w->hub, meta, (Text){0}, err);
    arena_deinit(&a);
    return ok;
}

#define PORT                                                                                       \
    "{\"servers\":[{\"name\":\"harbor\",\"canonical\":\"p1\",\"active\":true}%s],\"server_"        \
    "channels\":["
#define PIERS(path, rest) "{\"server\":\"harbor\",\"path\":\"" path "\",\"active\":true," rest "}"

/* Declarations change: connections stay, members are looked at again, a server comes and goes. */
static void test_reload(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    xs_error err = {0};
    Peer *a = connect_user(w, 0, 1), *b = connect_user(w, 1, 0);
    quick_join(w, a, "piers/7");
    quick_join(w, b, "piers/7");
    quick_join(w, b, "piers/8");
    broadcast(a, "piers/7", "report"); /* is under way meanwhile */
    a->seen = a->count;
    b->seen = b->count;
    /* Another name of the server, another template, no anonymous members, a message less. */
    char program[2048];
    snprintf(program, sizeof program,
             PORT PIERS("piers/{n}",
                        "\"access\":{\"presence\":true},\"publish\":{\"who\":"
                        "\"anyone\"}") "," PIERS("fresh/{n}",
                                                 "\"access\":{\"anonymous\":true},\"conversation\":"
                                                 "{\"enabled\":true,"
                                                 "\"limit\":2}") "],\"messages\":[{\"name\":"
                                                                 "\"note\",\"server\":"
                                                                 "\"harbor\",\"channel\":\"piers/"
                                                                 "{n}\",\"proc\":1}]}",
             ",{\"name\":\"two\",\"canonical\":\"p9\",\"active\":true}");
    const L2Defs *first = w->hub->servers;
    assert_true(set_program(w, program, &err));
    const L2Defs *second = w->hub->servers;
    assert_ptr_not_equal(first, second);
    assert_true(set_program(w, program, &err)); /* the same again takes no memory */
    assert_ptr_equal(w->hub->servers, second);
    pump(w);
    assert_int_equal(count_frames(b, "\"message\":\"Join denied\""), 2);
    assert_int_equal(count_frames(b, "\"left\":true"), 2);
    assert_int_equal(b->closed, 0); /* a channel of the server admits it */
    assert_int_equal(count_frames(a, "presence_leave"), 1);
    assert_int_equal(count_frames(a, "Join denied"), 0);
    a->seen = a->count;
    b->seen = b->count;
    answer(&l, L2_MESSAGE, L2_PASS, "{\"n\":1}");
    assert_int_equal(count_frames(a, "\"action\":\"message\""), 1);
    a->seen = a->count;
    broadcast(a, "piers/7", "report");
    WANT(a, ERROR("Unknown message type"));
    broadcast(a, "piers/7", "note");
    assert_string_equal(l.stacks.jobs[l.stacks.next]->server->name.ptr, "harbor");
    answer(&l, L2_MESSAGE, L2_PASS, "2");
    WANT(a, SAID("note", "2"));
    WANT(a, RECEIPT("note", "{\"delivered_local\":1}"));
    say(b, "{\"action\":\"join\",\"channel\":\"fresh/1\"}"); /* recorded, as none was before */
    WANT(b, "{\"action\":\"join\",\"channel\":\"fresh/"
            "1\",\"payload\":{\"joined\":true,\"params\":{\"n\":"
            "\"1\"}}}");
    assert_true(arrives(w, b));
    Space *two = hub_server_space(w->hub, TEXT(""), TEXT("two"));
    assert_non_null(two);
    assert_null(hub_server_space(w->hub, TEXT(""), TEXT("port")));
    /* What cannot be is refused as a whole. */
    assert_false(set_program(w,
                             "{\"servers\":[{\"name\":\"x\",\"canonical\":\"p1\",\"active\":true},"
                             "{\"name\":\"y\",\"canonical\":\"p1\",\"active\":true}]}",
                             &err));
    assert_int_equal(err.code, XS_E_CONFIG);
    quick_join(w, b, "fresh/2");
    assert_int_equal(b->closed, 0);
    a->seen = a->count;
    /* The server goes: so do its clients, and nobody comes in. */
    assert_true(set_program(w, "{}", &err));
    pump(w);
    assert_int_equal(a->closed, 4401);
    assert_int_equal(b->closed, 4401);
    assert_int_equal(count_frames(a, "Unknown connection hash"), 1);
    xs_request *r = make_request(w, 1, NULL);
    xs_refusal why = {0};
    assert_null(w->shards[0].host.connect(w->shards[0].shard, w, r, &why));
    assert_int_equal(why.close_code, 4401);
    request_unref(r);
    HubPublish p = {.channel = TEXT("piers/7"), .data = TEXT("1")};
    HubPublished out = {0};
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err)); /* nowhere, and no error */
    /* And is back. */
    assert_true(set_program(w, meta_json, &err));
    Peer *c = connect_user(w, 0, 1);
    quick_join(w, c, "piers/7");
    assert_non_null(strstr(c->got[0], "\"joined\":true"));
    close_l2(&l);
}

static void test_broadcast(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    Peer *a = connect_user(w, 0, 1), *b = connect_user(w, 1, 0), *tab = connect_user(w, 1, 1);
    broadcast(a, "piers/7", "report");
    WANT(a, ERROR("Not joined"));
    quick_join(w, a, "piers/7");
    quick_join(w, b, "piers/7");
    quick_join(w, tab, "piers/7");

    broadcast(a, "piers/7", "report");
    say(a, "{\"action\":\"ping\"}"); /* not of the channel: does not wait */
    broadcast(a, "piers/7", "none"); /* waits for the first */
    WANT(a, "{\"action\":\"pong\"}");
    assert_int_equal(l.stacks.count, 1);
    const L2Job *job = l.stacks.jobs[0];
    assert_true(text_eq(job->payload, TEXT("{\"n\":1}")) && text_eq(job->name, TEXT("piers/7")));
    assert_true(job->identity->authenticated && job->socket > 0);
    answer(&l, L2_MESSAGE, L2_PASS, "{\"m\":2}");
    WANT(a, SAID("report", "{\"m\":2}"));
    WANT(a, RECEIPT("report", "{\"delivered_local\":3}"));
    WANT(b, SAID("report", "{\"m\":2}"));
    WANT(tab, SAID("report", "{\"m\":2}"));
    answer(&l, L2_MESSAGE, L2_PASS, "1");
    WANT(a, RECEIPT("none", "{\"delivered_local\":0}"));

    broadcast(a, "piers/7", "others");
    answer(&l, L2_MESSAGE, L2_PASS, "3");
    WANT(b, SAID("others", "3"));
    WANT(tab, SAID("others", "3"));
    WANT(a, RECEIPT("others", "{\"delivered_local\":2}"));
    broadcast(a, "piers/7", "me");
    answer(&l, L2_MESSAGE, L2_PASS, "4");
    WANT(a, SAID("me", "4"));
    WANT(a, RECEIPT("me", "{\"delivered_local\":1}"));
    QUIET(tab);

    broadcast(a, "piers/7", "report");
    answer(&l, L2_MESSAGE, L2_DROP, NULL);
    WANT(a, RECEIPT("report", "{\"delivered_local\":0,\"dropped\":true}"));
    broadcast(a, "piers/7", "report");
    answer(&l, L2_MESSAGE, L2_REJECT, "Invalid payload: no");
    WANT(a, ERROR("Invalid payload: no"));
    broadcast(a, "piers/7", "report");
    answer(&l, L2_MESSAGE, L2_CRASH, NULL);
    WANT(a, ERROR("Internal error"));
    broadcast(a, "piers/7", "old");
    WANT(a, ERROR("Unknown message type"));
    broadcast(a, "piers/7", "crew");
    WANT(a, ERROR("Authentication required"));
    l.stacks.overload = true;
    broadcast(a, "piers/7", "report");
    WANT(a, ERROR("The server is busy"));
    l.stacks.overload = false;
    QUIET(b);

    /* Direct: to both tabs of user 1, not to the anonymous one. */
    say(a,
        "{\"action\":\"broadcast\",\"channel\":\"piers/7\",\"type\":\"report\",\"options\":{\"to\":"
        "{\"dbo_id\":5,\"row_id\":1}},\"ref\":\"d\"}");
    answer(&l, L2_MESSAGE, L2_PASS, "5");
    WANT(a, "{\"action\":\"message\",\"channel\":\"piers/7\",\"type\":\"report\",\"payload\":5,"
            "\"direct\":true,\"ts\":T}");
    WANT(a, "{\"action\":\"broadcast\",\"channel\":\"piers/7\",\"type\":\"report\",\"payload\":{"
            "\"delivered_local\":2,\"direct\":true},\"ref\":\"d\"}");
    assert_true(arrives(w, tab));
    tab->seen++;
    QUIET(b);
    say(a,
        "{\"action\":\"broadcast\",\"channel\":\"piers/7\",\"type\":\"report\",\"options\":{\"to\":"
        "{\"dbo_id\":5}}}");
    WANT(a, ERROR("Invalid direct recipient"));
    say(b,
        "{\"action\":\"broadcast\",\"channel\":\"piers/7\",\"type\":\"report\",\"options\":{\"to\":"
        "{\"dbo_id\":5,\"row_id\":1}}}");
    WANT(b, ERROR("Authentication required"));

    /* The sender goes while its handler runs: the message is dropped, nothing leaks. */
    broadcast(tab, "piers/7", "report");
    hang_up(tab);
    answer(&l, L2_MESSAGE, L2_PASS, "6");
    QUIET(a);

    /* The server speaks. */
    xs_error err = {0};
    HubPublished out = {0};
    HubPublish p = {.channel = TEXT("piers/7"),
                    .event = TEXT("note"),
                    .data = TEXT("{\"a\": 1}\n"),
                    .dbo_id = 5,
                    .row_id = TEXT("\"81\"")};
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    assert_true(out.seq > 0 && out.delivered_local == 2);
    WANT(a,
         "{\"action\":\"message\",\"channel\":\"piers/7\",\"type\":\"note\",\"payload\":{\"a\":1},"
         "\"client\":{\"dbo_id\":5,\"id\":\"81\",\"asserted\":true},\"ts\":T}");
    p = (HubPublish){.channel = TEXT("piers/7"), .data = TEXT("1")};
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    WANT(a, "{\"action\":\"message\",\"channel\":\"piers/7\",\"payload\":1,\"ts\":T}");
    p.channel = TEXT("nowhere");
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    p.channel = TEXT("a*");
    assert_false(hub_publish(w->hub, w->space, &p, &out, &err));
    close_l2(&l);
}

static void test_rate(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    Peer *a = connect_user(w, 0, 1), *tab = connect_user(w, 0, 1), *b = connect_user(w, 0, 2);
    quick_join(w, a, "slow");
    quick_join(w, tab, "slow");
    quick_join(w, b, "slow");
    broadcast(a, "slow", "x");
    answer(&l, L2_MESSAGE, L2_DROP, NULL);
    broadcast(tab, "slow", "x"); /* the identity counts, not the socket */
    answer(&l, L2_MESSAGE, L2_DROP, NULL);
    a->seen = a->count;
    broadcast(a, "slow", "x");
    WANT(a, "{\"action\":\"error\",\"channel\":\"slow\",\"payload\":{\"message\":\"Rate limit "
            "exceeded\",\"code\":\"rate_limited\",\"limit\":2,\"retry_after\":60}}");
    broadcast(b, "slow", "x");
    answer(&l, L2_MESSAGE, L2_DROP, NULL);
    /* Leaving is observed, also by those who hang up. */
    say(a, "{\"action\":\"leave\",\"channel\":\"slow\"}");
    answer(&l, L2_LEAVE, L2_PASS, NULL);
    hang_up(b);
    pump(w);
    answer(&l, L2_LEAVE, L2_PASS, NULL);
    assert_int_equal(l.stacks.next, l.stacks.count);
    close_l2(&l);
}

/* ---- deliver triggers ---- */

static void test_per_recipient(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    Peer *a = connect_user(w, 0, 1), *b = connect_user(w, 1, 2), *c = connect_user(w, 1, 0);
    quick_join(w, a, "each");
    quick_join(w, b, "each");
    quick_join(w, c, "each");
    xs_error err = {0};
    HubPublished out;
    HubPublish p = {.channel = TEXT("each"), .event = TEXT("n"), .data = TEXT("{\"v\":1}")};
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    p.data = TEXT("{\"v\":2}");
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    pump(w);
    /* One question per recipient; the second event waits for the first one's answer. */
    assert_int_equal(l.stacks.count, 3);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            L2Job *job = take(&l.stacks, L2_DELIVER);
            assert_true(text_eq(job->payload, round ? TEXT("{\"v\":2}") : TEXT("{\"v\":1}")));
            bool one = text_eq(job->identity->row_id, TEXT("1"));
            bool anonymous = !job->identity->authenticated;
            l2_job_done(job,
                        one         ? L2_PASS
                        : anonymous ? L2_DROP
                                    : L2_CHANGE,
                        one || anonymous ? (Text){0} : TEXT("{\"own\":true}"));
        }
        pump(w);
    }
    WANT(a,
         "{\"action\":\"message\",\"channel\":\"each\",\"type\":\"n\",\"payload\":{\"v\":1},\"ts\":"
         "T}");
    WANT(a,
         "{\"action\":\"message\",\"channel\":\"each\",\"type\":\"n\",\"payload\":{\"v\":2},\"ts\":"
         "T}");
    WANT(b,
         "{\"action\":\"message\",\"channel\":\"each\",\"type\":\"n\",\"payload\":{\"own\":true},"
         "\"ts\":T}");
    assert_int_equal(b->seq[b->count - 1], out.seq); /* the same event for who resumes */
    assert_true(arrives(w, b));
    b->seen++;
    QUIET(c);
    /* A crash shows nothing; a client's message tells who said it. */
    broadcast(a, "each", "x");
    answer(&l, L2_MESSAGE, L2_PASS, "{}");
    hang_up(c);
    for (int i = 0; i < 3; i++) {
        L2Job *job = take(&l.stacks, L2_DELIVER);
        assert_true(text_find(job->client, TEXT("\"row_id\":1"), 0) != SIZE_MAX);
        l2_job_done(job, L2_CRASH, (Text){0});
    }
    pump(w);
    WANT(a,
         "{\"action\":\"broadcast\",\"channel\":\"each\",\"type\":\"x\",\"payload\":{\"delivered_"
         "local\":3}}");
    QUIET(a);
    QUIET(b);
    close_l2(&l);
}

/* ---- what is kept ---- */

static void send_kept(L2World *l, Peer *p, const char *channel, const char *value)
{
    broadcast(p, channel, "x");
    answer(l, L2_MESSAGE, L2_PASS, value);
}

#define KEPT(action, n, more)                                                                      \
    "{\"action\":\"" action "\",\"channel\":\"kept\",\"type\":\"x\",\"payload\":" n more           \
    ",\"id\":\"" n "\",\"ts\":T}"

static void test_at_least_once(void **state)
{
    (void)state;
    char dir[] = "/tmp/xs-l2-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/record", dir);
    L2World l;
    open_l2(&l, path, "port");
    World *w = &l.w;
    Peer *a = connect_user(w, 0, 1), *b = connect_user(w, 1, 2);
    static const char first[] = "{\"action\":\"join\",\"channel\":\"kept\",\"payload\":{\"joined\":"
                                "true,\"params\":{},\"cursor\":\"0\",\"resumed\":false}}";
    say(a, "{\"action\":\"join\",\"channel\":\"kept\"}");
    WANT(a, first);
    say(b, "{\"action\":\"join\",\"channel\":\"kept\"}");
    WANT(b, first);
    for (int i = 1; i <= 5; i++) {
        char n[2] = {(char)('0' + i), 0};
        send_kept(&l, a, "kept", n);
        if (!arrives(w, a))
            fail_msg("no message %d", i);
        a->seen++;
        assert_true(arrives(w, a)); /* the receipt */
        a->seen++;
    }
    assert_non_null(strstr(a->got[a->count - 1], "\"delivered_local\":2,\"id\":\"5\""));
    WANT(b, KEPT("message", "1", ""));
    say(b, "{\"action\":\"ack\",\"channel\":\"kept\",\"id\":3}");
    for (int i = 2; i <= 5; i++)
        assert_true(arrives(w, b) && b->seen++);
    WANT(b, "{\"action\":\"ack\",\"channel\":\"kept\",\"payload\":{\"cursor\":\"3\"}}");
    /* Forward only; never beyond what was said. */
    say(b, "{\"action\":\"ack\",\"channel\":\"kept\",\"id\":\"1\"}");
    WANT(b, "{\"action\":\"ack\",\"channel\":\"kept\",\"payload\":{\"cursor\":\"3\"}}");
    say(b, "{\"action\":\"ack\",\"channel\":\"kept\",\"id\":\"x\"}");
    WANT(b, "{\"action\":\"error\",\"channel\":\"kept\",\"payload\":{\"message\":\"Invalid id\"}}");
    close_l2(&l);

    /* Another process. */
    open_l2(&l, path, "port");
    w = &l.w;
    b = connect_user(w, 0, 2);
    say(b, "{\"action\":\"join\",\"channel\":\"kept\"}");
    WANT(b, "{\"action\":\"join\",\"channel\":\"kept\",\"payload\":{\"joined\":true,\"params\":{},"
            "\"cursor\":\"3\",\"resumed\":true}}");
    WANT(b, KEPT("replay", "4", ""));
    WANT(b, KEPT("replay", "5", ""));
    QUIET(b);
    send_kept(&l, b, "kept", "6");
    WANT(b, KEPT("message", "6", ""));
    say(b, "{\"action\":\"ack\",\"channel\":\"kept\",\"id\":\"99\"}");
    assert_true(arrives(w, b));
    b->seen++; /* the receipt */
    WANT(b, "{\"action\":\"ack\",\"channel\":\"kept\",\"payload\":{\"cursor\":\"6\"}}");

    /* Anonymous clients: without a handle like at most once, with one like anybody. */
    Peer *c = connect_user(w, 1, 0), *d = connect_user(w, 1, 0);
    say(c, "{\"action\":\"join\",\"channel\":\"kept\"}");
    WANT(c,
         "{\"action\":\"join\",\"channel\":\"kept\",\"payload\":{\"joined\":true,\"params\":{}}}");
    say(c, "{\"action\":\"ack\",\"channel\":\"kept\",\"id\":\"1\"}");
    QUIET(c);
    say(d, "{\"action\":\"join\",\"channel\":\"kept\",\"options\":{\"client_id\":\"tablet\"}}");
    WANT(d, first);
    WANT(d, KEPT("replay", "1", ""));
    close_l2(&l);
    folder_remove(dir);
}

/* Transcript of two, path parameters checked by a stack, and a thousand messages in pages. */
static void test_record(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    Peer *a = connect_user(w, 0, 1);
    say(a, "{\"action\":\"join\",\"channel\":\"log/x/y\"}");
    QUIET(a);
    broadcast(a, "log/x/y", "x"); /* waits for the join */
    answer(&l, L2_JOIN, L2_DENY, "a must be a number");
    WANT(a, "{\"action\":\"error\",\"channel\":\"log/x/y\",\"payload\":{\"message\":\"a must be a "
            "number\"}}");
    WANT(a,
         "{\"action\":\"error\",\"channel\":\"log/x/y\",\"payload\":{\"message\":\"Not joined\"}}");
    say(a, "{\"action\":\"join\",\"channel\":\"log/x/y\"}");
    answer(&l, L2_JOIN, L2_PASS, NULL);
    assert_true(arrives(w, a));
    xs_error err = {0};
    HubPublished out = {0};
    char data[16];
    HubPublish p = {.channel = TEXT("log/x/y"), .event = TEXT("n")};
    for (int i = 1; i <= 3; i++) {
        snprintf(data, sizeof data, "%d", i);
        p.data = text_from(data);
        assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    }
    while (!a->count || !strstr(a->got[a->count - 1], "\"id\":\"3\"")) {
        a->seen = a->count;
        assert_true(arrives(w, a));
    }
    Peer *b = connect_user(w, 1, 2);
    say(b, "{\"action\":\"join\",\"channel\":\"log/x/y\"}");
    answer(&l, L2_JOIN, L2_PASS, NULL);
    WANT(b, "{\"action\":\"join\",\"channel\":\"log/x/y\",\"payload\":{\"joined\":true,\"params\":{"
            "\"a\":\"x\",\"b\":\"y\"},\"cursor\":\"0\",\"resumed\":false}}");
    WANT(b,
         "{\"action\":\"conversation_start\",\"channel\":\"log/x/y\",\"payload\":{\"count\":2}}");
    WANT(b, "{\"action\":\"message\",\"channel\":\"log/x/y\",\"type\":\"n\",\"payload\":2,"
            "\"conversation\":true,\"id\":\"2\",\"ts\":T}");
    WANT(b, "{\"action\":\"message\",\"channel\":\"log/x/y\",\"type\":\"n\",\"payload\":3,"
            "\"conversation\":true,\"id\":\"3\",\"ts\":T}");
    WANT(b, "{\"action\":\"conversation_end\",\"channel\":\"log/x/y\",\"payload\":{\"count\":2}}");
    WANT(b,
         "{\"action\":\"replay\",\"channel\":\"log/x/y\",\"type\":\"n\",\"payload\":2,\"id\":\"2\","
         "\"ts\":T}");
    WANT(b,
         "{\"action\":\"replay\",\"channel\":\"log/x/y\",\"type\":\"n\",\"payload\":3,\"id\":\"3\","
         "\"ts\":T}");
    QUIET(b);

    /* Joining while others speak: everything once, in order. */
    enum { MANY = 1500, KEPT_MANY = 1000 };
    p.channel = TEXT("kept");
    p.data = TEXT("0");
    for (int i = 0; i < MANY; i++)
        assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    Peer *c = connect_user(w, 1, 3);
    say(c, "{\"action\":\"join\",\"channel\":\"kept\"}");
    assert_true(arrives(w, c));
    c->seen++;
    for (int i = 0; i < 50; i++)
        assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    long last = 0, first = 0;
    while (last < MANY + 50) {
        if (!arrives(w, c))
            fail_msg("nothing behind %ld", last);
        const char *id = strstr(c->got[c->seen++], "\"id\":\"");
        assert_non_null(id);
        long n = strtol(id + 6, NULL, 10);
        if (first && n != last + 1)
            fail_msg("%ld behind %ld", n, last);
        first = first ? first : n;
        last = n;
    }
    assert_true(first > MANY - KEPT_MANY && first <= MANY - KEPT_MANY + 51);
    QUIET(c);
    close_l2(&l);
}

/* A transcript goes through the deliver triggers too, with who said it. */
static void test_kept_per_recipient(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    Peer *a = connect_user(w, 0, 1), *b = connect_user(w, 0, 2);
    quick_join(w, a, "both");
    broadcast(a, "both", "x");
    answer(&l, L2_MESSAGE, L2_PASS, "{\"v\":1}");
    for (int i = 0; i < 3000 && l.stacks.next == l.stacks.count; i++) { /* until it is on disk */
        pump(w);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    answer(&l, L2_DELIVER, L2_PASS, NULL);
    assert_true(arrives(w, a));
    say(b, "{\"action\":\"join\",\"channel\":\"both\"}");
    WANT(b,
         "{\"action\":\"join\",\"channel\":\"both\",\"payload\":{\"joined\":true,\"params\":{}}}");
    WANT(b, "{\"action\":\"conversation_start\",\"channel\":\"both\",\"payload\":{\"count\":1}}");
    QUIET(b);
    L2Job *job = take(&l.stacks, L2_DELIVER);
    assert_true(text_find(job->client, TEXT("\"row_id\":1"), 0) != SIZE_MAX);
    assert_true(text_eq(job->identity->row_id, TEXT("2")));
    l2_job_done(job, L2_CHANGE, TEXT("{\"own\":1}"));
    WANT(b, "{\"action\":\"message\",\"channel\":\"both\",\"type\":\"x\",\"payload\":{\"own\":1},"
            "\"conversation\":true,\"ts\":T}");
    WANT(b, "{\"action\":\"conversation_end\",\"channel\":\"both\",\"payload\":{\"count\":1}}");
    QUIET(b);
    close_l2(&l);
}

/* Channels in the URL with a position: joins, what was missed in one line, live. */
static void test_resume(void **state)
{
    (void)state;
    L2World l;
    open_l2(&l, "", "port");
    World *w = &l.w;
    xs_error err = {0};
    HubPublished first = {0}, out = {0};
    HubPublish p = {.channel = TEXT("piers/7"), .event = TEXT("n"), .data = TEXT("1")};
    Peer *a = connect_user(w, 0, 1); /* keeps the channels */
    quick_join(w, a, "piers/7");
    quick_join(w, a, "piers/fuel");
    assert_true(hub_publish(w->hub, w->space, &p, &first, &err));
    p.data = TEXT("2");
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    p.channel = TEXT("piers/fuel");
    p.data = TEXT("3");
    assert_true(hub_publish(w->hub, w->space, &p, &out, &err));
    for (int gone = 0; gone < 2; gone++) {
        char query[160];
        snprintf(query, sizeof query,
                 "{\"channel\":[\"piers/7\",\"a b\",\"piers/fuel\",\"kept\"],\"cursor\":[\"%016llx."
                 "%llu\"]}",
                 (unsigned long long)(first.epoch + (gone ? 1 : 0)), (unsigned long long)first.seq);
        xs_request *r = make_request(w, 2, query);
        Peer *b = connect_with(w, 1, r);
        assert_int_equal(b->shard->host.resume_state(b->conn, r),
                         gone ? XS_RESUME_GAP : XS_RESUME_OK);
        b->shard->host.join_listed(b->conn, r);
        request_unref(r);
        size_t frames = 0, joins = 0, missed = 0, errors = 0, resyncs = 0;
        while (frames < (gone ? 6u : 7u)) {
            if (!arrives(w, b))
                fail_msg("only %zu frames", frames);
            const char *json = b->got[b->seen++];
            joins += strstr(json, "\"action\":\"join\"") != NULL;
            errors += strstr(json, "Invalid channel name") != NULL;
            missed += strstr(json, "\"action\":\"message\"") != NULL;
            resyncs += strstr(json, "\"reason\":\"epoch\"") != NULL;
            frames++;
        }
        assert_int_equal(joins, 3);
        assert_int_equal(errors, 1);
        assert_int_equal(missed, gone ? 0 : 2);
        assert_int_equal(resyncs, gone);
        QUIET(b);
        hang_up(b);
        pump(w);
    }
    close_l2(&l);
}

/* Everything that a frame makes the hub allocate may fail: an answer or a closed connection, no
 * leak. */
static void test_memory(void **state)
{
    (void)state;
    static const char *const frames[] = {
        "{\"action\":\"join\",\"channel\":\"piers/7\",\"ref\":\"abc\"}",
        "{\"action\":\"broadcast\",\"channel\":\"piers/8\",\"type\":\"report\",\"payload\":{}}",
        "{\"action\":\"broadcast\",\"channel\":\"each\",\"type\":\"x\",\"payload\":{}}",
        "{\"action\":\"join\",\"channel\":\"kept\"}",
        "{\"action\":\"presence\",\"channel\":\"piers/8\"}",
        "{\"action\":\"leave\",\"channel\":\"piers/8\"}"};
    for (size_t f = 0; f < COUNT_OF(frames); f++)
        for (uint64_t n = 1; n < 24; n++) {
            L2World l;
            open_l2(&l, "", "port");
            World *w = &l.w;
            Peer *a = connect_user(w, 0, 1);
            quick_join(w, a, "piers/8");
            quick_join(w, a, "each");
            mem_fail_after(n);
            say(a, frames[f]);
            mem_fail_after(0);
            pump(w);
            if (l.stacks.next < l.stacks.count) {
                L2Job *job = l.stacks.jobs[l.stacks.next++];
                mem_fail_after(n);
                l2_job_done(job, L2_PASS, TEXT("{\"a\":1}"));
                for (size_t i = 0; i < COUNT_OF(w->shards); i++)
                    w->shards[i].host.drain(w->shards[i].shard);
                mem_fail_after(0);
            }
            pump(w);
            close_l2(&l);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_presence),
        cmocka_unit_test(test_presence_grace),
        cmocka_unit_test(test_presence_burst),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_broadcast),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_per_recipient),
        cmocka_unit_test(test_at_least_once),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_kept_per_recipient),
        cmocka_unit_test(test_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
