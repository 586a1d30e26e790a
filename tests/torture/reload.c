/* reload.c - a program is exchanged again and again while requests and messages run: every answer
 * is whole and of one version, no connection is lost, and a program with mistakes changes nothing.
 * usage: reload XS */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "bench/rtclient.h"
#include "core/const.h"
#include "core/folder.h"
#include "core/json.h"
#include "core/text.h"
#include "tests/common/server.h"

enum { VERSIONS = 6, HAMMERS = 3, WAIT_MS = 20000, QUIET_MS = 300 };

static char dir[] = "/tmp/xs-reload-XXXXXX";

static const char workspace[] = "workspace ship {\n  realtime = {canonical: \"ship\"}\n}\n";
static const char group[] = "api_group \"ship\" {\n  canonical = \"ship\"\n}\n";
static const char query[] =
    "query \"version\" verb=GET {\n  api_group = \"ship\"\n  stack {\n"
    "    function.run \"version\" {\n    } as $a\n"
    "    for (200) {\n      each as $i {\n        function.run \"version\" {\n        } as $b\n"
    "      }\n    }\n  }\n  response = {a: $a, b: $b}\n}\n";
static const char trigger[] =
    "realtime_trigger \"say\" {\n  channel = \"deck\"\n  actions = {message: true}\n"
    "  input {\n    text action\n    text channel\n    json client\n    json options\n"
    "    json payload\n  }\n  stack {\n    function.run \"version\" {\n    } as $v\n  }\n"
    "  response = {version: $v, said: $input.payload}\n}\n";
static const char ops[] = "realtime_server ops {\n  canonical = \"ops\"\n  active = true\n}\n";
static const char yard[] = "channel \"yard/{n}\" {\n  realtime_server = \"ops\"\n"
                           "  access = {anonymous: %s, presence: false}\n"
                           "  input {\n    int n\n  }\n}\n";
static const char box[] = "table box {\n  schema {\n    int id\n  }\n}\n";
static const char channel[] =
    "realtime_channel \"%s\" {\n  active = true\n"
    "  public_messaging = {active: true, auth: false}\n"
    "  settings = {anonymous_clients: %s, nested_channels: false, message_history: 0, "
    "auth_channel: false, presence: false}\n}\n";

static bool write_file(const char *name, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static bool write_file(const char *name, const char *fmt, ...)
{
    char path[128];
    va_list ap;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!f)
        return false;
    va_start(ap, fmt);
    bool ok = vfprintf(f, fmt, ap) > 0;
    va_end(ap);
    return fclose(f) == 0 && ok;
}

static bool write_version(int n)
{
    return write_file("version.xs", "function \"version\" {\n  stack {\n  }\n  response = %d\n}\n",
                      n);
}

static bool write_app(void)
{
    return mkdtemp(dir) && write_file("workspace.xs", "%s", workspace) &&
           write_file("group.xs", "%s", group) && write_file("query.xs", "%s", query) &&
           write_file("trigger.xs", "%s", trigger) &&
           write_file("deck.xs", channel, "deck", "true") &&
           write_file("hold.xs", channel, "hold", "true") && write_version(1);
}

static void remove_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

/* ---- requests without end ---- */

typedef struct Hammer {
    pthread_t thread;
    int port;
    _Atomic int *stop;
    _Atomic int newest;
    int requests;
    char problem[200];
} Hammer;

static void *hammer(void *arg)
{
    Hammer *h = arg;
    while (!*h->stop && !h->problem[0]) {
        char *reply = NULL;
        int a = 0, b = 0;
        int status = http_request(h->port, "GET", "/api:ship/version", NULL, NULL, &reply);
        if (status != 200 || sscanf(reply, "{\"a\":%d,\"b\":%d}", &a, &b) != 2 || a != b ||
            a < h->newest)
            snprintf(h->problem, sizeof h->problem, "after version %d: %d %s", h->newest, status,
                     reply ? reply : "");
        h->newest = a;
        h->requests++;
        free(reply);
    }
    return NULL;
}

/* ---- a member ---- */

typedef struct Member {
    RtClient *rt;
    int joined, newest, messages;
    bool closed, denied;
} Member;

static void on_frame(void *user, const char *json, size_t len)
{
    Member *m = user;
    Arena a;
    xs_error err;
    arena_init(&a, 0);
    const Const *frame = json_parse(&a, (Text){json, len}, &err);
    const Const *payload = const_get(frame, "payload");
    Text action = const_get_text(frame, "action");
    if (text_eq(action, TEXT("join")))
        m->joined++;
    if (text_eq(action, TEXT("error")))
        m->denied = text_eq(const_get_text(payload, "code"), TEXT("join_denied"));
    if (text_eq(action, TEXT("message"))) {
        m->newest = (int)const_int_of(const_get(payload, "version"), -1);
        m->messages++;
    }
    arena_deinit(&a);
}

static void on_close(void *user, int code, const char *reason)
{
    (void)code;
    (void)reason;
    ((Member *)user)->closed = true;
}

/* Say something every few milliseconds until the answers are of this version. */
static bool reach_version(RtLoop *loop, Member *m, Hammer *hammers, int version)
{
    int64_t deadline = clock_mono_ms() + WAIT_MS;
    for (;;) {
        xs_error err;
        bool all = m->newest == version;
        for (int i = 0; i < HAMMERS; i++) {
            all = all && hammers[i].newest == version;
            if (hammers[i].problem[0])
                return false;
        }
        if (all)
            return true;
        if (m->closed || clock_mono_ms() > deadline || !rt_message(m->rt, "deck", "\"ahoy\"", &err))
            return false;
        rt_loop_run(loop, 10, NULL, NULL);
    }
}

static bool fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    return false;
}

/* For a while answers go on coming, all of the old version. */
static bool stays(RtLoop *loop, Member *m)
{
    int before = m->messages;
    for (int64_t until = clock_mono_ms() + QUIET_MS; clock_mono_ms() < until;) {
        xs_error err;
        if (!rt_message(m->rt, "deck", "1", &err))
            return false;
        rt_loop_run(loop, 20, NULL, NULL);
    }
    return m->messages > before && m->newest == VERSIONS;
}

static bool exchange(RtLoop *loop, const Server *server, Member *m, Hammer *hammers)
{
    for (int version = 1; version <= VERSIONS; version++) {
        if (version > 1 && (!write_version(version) || kill(server->pid, SIGHUP) != 0))
            return false;
        if (!reach_version(loop, m, hammers, version))
            return fail("a version was not reached");
    }
    /* Mistakes: the old one goes on. */
    if (!write_file("version.xs", "function \"version\" {\n  stack {\n    vra $x\n") ||
        kill(server->pid, SIGHUP) != 0 || !stays(loop, m))
        return fail("a program with mistakes changed something");
    /* What cannot be exchanged while it runs is refused as a whole. */
    if (!write_version(VERSIONS + 1) || !write_file("box.xs", "%s", box) ||
        kill(server->pid, SIGHUP) != 0 || !stays(loop, m))
        return fail("a program whose tables would be lost changed something");
    remove_file("box.xs");
    /* Other declarations: a member that may no longer be there is told. */
    if (!write_version(VERSIONS + 1) || !write_file("hold.xs", channel, "hold", "false") ||
        kill(server->pid, SIGHUP) != 0)
        return false;
    if (!reach_version(loop, m, hammers, VERSIONS + 1))
        return fail("the program after the mistakes was not reached");
    for (int64_t until = clock_mono_ms() + WAIT_MS; !m->denied && clock_mono_ms() < until;)
        rt_loop_step(loop, 20);
    if (!m->denied)
        return fail("the member of a closed channel was not told");
    /* Nobody says so: the files are watched. */
    return write_version(VERSIONS + 2) &&
           (reach_version(loop, m, hammers, VERSIONS + 2) || fail("a change was not seen"));
}

/* A poll of the realtime server until it is answered so. */
static bool answers(RtLoop *loop, int port, int status, const char *part)
{
    for (int64_t until = clock_mono_ms() + WAIT_MS; clock_mono_ms() < until;) {
        char *reply = NULL;
        int got =
            http_request(port, "GET", "/ws/ops/lp?channel=yard/7&timeout=0", NULL, NULL, &reply);
        bool ok = got == status && reply && strstr(reply, part);
        free(reply);
        if (ok)
            return true;
        rt_loop_run(loop, 20, NULL, NULL);
    }
    return fail(part);
}

/* A realtime server comes, its channel closes and opens, and it goes. */
static bool exchange_server(RtLoop *loop, const Server *server)
{
    return answers(loop, server->port, 404, "") && write_file("yard.xs", yard, "true") &&
           write_file("ops.xs", "%s", ops) && answers(loop, server->port, 200, "\"sid\":\"") &&
           write_file("yard.xs", yard, "false") &&
           answers(loop, server->port, 401, "Authentication required") &&
           write_file("yard.xs", yard, "true") && answers(loop, server->port, 200, "\"sid\":\"") &&
           (remove_file("yard.xs"), remove_file("ops.xs"), true) &&
           answers(loop, server->port, 404, "");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const char *const args[] = {argv[1],
                                "serve",
                                "--watch",
                                dir,
                                "--listen",
                                "127.0.0.1:0",
                                "--db",
                                ":memory:",
                                "--workers",
                                "2",
                                "--log-level",
                                "warning",
                                "--drain-ms",
                                "200",
                                "--realtime-frames-per-s",
                                "100000",
                                "--realtime-frames-burst",
                                "100000",
                                "--realtime-publish-per-s-channel",
                                "0",
                                NULL};
    Server server;
    _Atomic int stop = 0;
    Hammer hammers[HAMMERS] = {0};
    Member m = {0};
    signal(SIGPIPE, SIG_IGN);
    if (!write_app() || !server_start(&server, (char *const *)(uintptr_t)args))
        return 1;
    RtLoop *loop = rt_loop_new();
    const char *channels[] = {"deck", "hold"};
    RtOptions opt = {.transport = RT_WS,
                     .host = "127.0.0.1",
                     .port = server.port,
                     .base = "/rt/ship",
                     .channels = channels,
                     .channel_count = 2};
    RtEvents events = {&m, NULL, on_frame, on_close};
    xs_error err;
    m.rt = loop ? rt_connect(loop, &opt, &events, &err) : NULL;
    for (int i = 0; i < HAMMERS; i++) {
        hammers[i].port = server.port;
        hammers[i].stop = &stop;
        if (pthread_create(&hammers[i].thread, NULL, hammer, &hammers[i]) != 0)
            return 1;
    }
    bool ok = m.rt && exchange(loop, &server, &m, hammers) && exchange_server(loop, &server);
    stop = 1;
    int requests = 0;
    for (int i = 0; i < HAMMERS; i++) {
        pthread_join(hammers[i].thread, NULL);
        requests += hammers[i].requests;
        if (hammers[i].problem[0])
            ok = fail(hammers[i].problem);
    }
    printf("%d requests, %d messages\n", requests, m.messages);
    rt_free(m.rt);
    rt_loop_free(loop);
    if (server_stop(&server, SIGTERM, 10000) != 0)
        ok = fail("the server did not end well");
    folder_remove(dir);
    return ok && !m.closed ? 0 : 1;
}
