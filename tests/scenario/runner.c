/* runner.c - runs one scenario script against a real server over real sockets; README.md lists the
 * lines. usage: scenario [--xs XS] [--transport ws|sse|longpoll|mixed] [--url http://ADDR:PORT]
 * [--print] SCRIPT Exit code 0 when every line held, 1 at the first that did not, 2 wrong usage. */
#include "bench/rtclient.h"
#include "core/const.h"
#include "core/folder.h"
#include "core/json.h"
#include "core/text.h"
#include "core/vec.h"
#include "tests/common/redis.h"

enum {
    MAX_CLIENTS = 12,
    MAX_VARS = 32,
    MAX_ENV = 16,
    NODES = 3,
    STEP_TIMEOUT_MS = 15000,
    GONE_TIMEOUT_MS = 100000, /* members of a node that died: a minute, and a while */
    STOP_TIMEOUT_MS = 15000
};

typedef struct Client {
    struct Run *run;
    char name[32];
    RtClient *rt;
    RtTransport transport;
    bool open, closed;
    int close_code;
    VEC(char *) frames; /* not yet looked at, oldest first */
    size_t next;
    bool history, presence; /* flags of its joins */
} Client;

typedef struct Run {
    const char *script, *xs, *transport, *url;
    bool print;
    unsigned line;
    char app[256], canonical[64], dir[64];
    char *env[MAX_ENV];
    size_t nenv;
    struct Node {
        Server server;
        bool started;
        int port;
    } nodes[NODES], *node; /* node: the one that lines are about */
    RtLoop *loop;
    Client clients[MAX_CLIENTS];
    size_t nclients;
    struct {
        char name[32];
        char *value;
    } vars[MAX_VARS];
    size_t nvars;
    char *answer; /* body of the last http line */
    Arena arena;
} Run;

static bool fail(Run *r, const char *fmt, ...) XS_PRINTF(2, 3);

static bool fail(Run *r, const char *fmt, ...)
{
    fprintf(stderr, "%s:%u: ", r->script, r->line);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return false;
}

/* ---- subset comparison ---- */

static bool subset(const Const *want, const Const *got)
{
    if (want->kind == C_TEXT && text_eq(want->text, TEXT("*")))
        return got != NULL;
    if (!got)
        return false;
    bool numbers =
        (want->kind == C_INT || want->kind == C_DEC) && (got->kind == C_INT || got->kind == C_DEC);
    if (numbers) {
        double a = const_dec_of(want, 0), b = const_dec_of(got, 0);
        return a <= b && a >= b;
    }
    if (want->kind != got->kind)
        return false;
    if (want->kind == C_MAP) {
        for (uint32_t i = 0; i < want->count; i++)
            if (!subset(want->pairs[i].value, const_find(got, want->pairs[i].key)))
                return false;
        return true;
    }
    if (want->kind == C_LIST) {
        if (want->count != got->count)
            return false;
        for (uint32_t i = 0; i < want->count; i++)
            if (!subset(want->items[i], got->items[i]))
                return false;
        return true;
    }
    return const_equal(want, got);
}

static const Const *parse(Run *r, const char *json)
{
    xs_error err;
    const Const *c = json_parse(&r->arena, text_from(json), &err);
    if (!c)
        fail(r, "not JSON (%s): %s", err.message, json);
    return c;
}

/* ---- server ---- */

static bool start_server(Run *r)
{
    if (r->node->started)
        return true;
    if (r->url) {
        const char *colon = strrchr(r->url, ':');
        r->node->port = colon ? (int)strtol(colon + 1, NULL, 10) : 0;
        r->node->started = r->node->port > 0;
        return r->node->started || fail(r, "no port in %s", r->url);
    }
    if (!r->app[0])
        return fail(r, "the script has no app line before this");
    if (!r->dir[0])
        snprintf(r->dir, sizeof r->dir, "/tmp/xs-scenario-XXXXXX");
    if (strstr(r->dir, "XXXXXX") && !mkdtemp(r->dir))
        return fail(r, "mkdtemp: %s", strerror(errno));
    char file[96], xs[512], serve[] = "serve", listen_flag[] = "--listen",
                            address[] = "127.0.0.1:0", db[] = "--db";
    snprintf(file, sizeof file, "%s/app%td.db", r->dir, r->node - r->nodes);
    snprintf(xs, sizeof xs, "%s", r->xs);
    for (size_t i = 0; i < r->nenv; i++)
        putenv(r->env[i]);
    char *argv[] = {xs, serve, r->app, listen_flag, address, db, file, NULL};
    if (!server_start(&r->node->server, argv))
        return fail(r, "the server did not start");
    r->node->port = r->node->server.port;
    r->node->started = true;
    return true;
}

static bool stop_server(Run *r)
{
    r->node->started = false;
    int code = server_stop(&r->node->server, SIGTERM, STOP_TIMEOUT_MS);
    return code == 0 || fail(r, "the server ended with %d", code);
}

/* As a crash would; the next client or request starts it again on the same files. */
static bool kill_server(Run *r)
{
    r->node->started = false;
    int code = server_stop(&r->node->server, SIGKILL, STOP_TIMEOUT_MS);
    return code != 0 || fail(r, "the server ended before it was killed");
}

/* ---- clients ---- */

static void on_open(void *user)
{
    ((Client *)user)->open = true;
}

static void on_close(void *user, int code, const char *reason)
{
    Client *c = (Client *)user;
    (void)reason;
    c->closed = true;
    c->close_code = code;
}

static const char *transport_name(RtTransport t)
{
    return t == RT_WS ? "ws" : t == RT_SSE ? "sse" : "longpoll";
}

static void on_frame(void *user, const char *json, size_t len)
{
    Client *c = (Client *)user;
    if (c->run->print)
        printf("  %-8s %-8s %s\n", c->name, transport_name(c->transport), json);
    char *copy = mem_strndup(json, len);
    if (copy && !VEC_PUSH(&c->frames, copy))
        mem_free(copy);
}

static RtTransport pick_transport(const Run *r)
{
    if (strcmp(r->transport, "ws") == 0)
        return RT_WS;
    if (strcmp(r->transport, "sse") == 0)
        return RT_SSE;
    if (strcmp(r->transport, "longpoll") == 0)
        return RT_LP;
    return (RtTransport)(r->nclients % 3);
}

static bool is_open(void *ctx)
{
    const Client *c = (const Client *)ctx;
    return c->open || c->closed;
}

static bool is_closed(void *ctx)
{
    return ((const Client *)ctx)->closed;
}

static bool line_client(Run *r, char *args)
{
    if (r->nclients == MAX_CLIENTS)
        return fail(r, "too many clients");
    if (!start_server(r))
        return false;
    Client *c = &r->clients[r->nclients];
    *c = (Client){.run = r, .transport = pick_transport(r)};
    char *save = NULL;
    const char *name = strtok_r(args, " ", &save);
    const char *token = NULL, *server = NULL;
    bool refused = false;
    const char *channels[16];
    size_t nchannels = 0;
    for (char *word; (word = strtok_r(NULL, " ", &save));) {
        if (strncmp(word, "token=", 6) == 0) {
            token = word + 6;
        } else if (strncmp(word, "channels=", 9) == 0) {
            char *inner = NULL;
            for (char *ch = strtok_r(word + 9, ",", &inner); ch && nchannels < COUNT_OF(channels);
                 ch = strtok_r(NULL, ",", &inner))
                channels[nchannels++] = ch;
        } else if (strncmp(word, "server=", 7) == 0) {
            server = word + 7;
        } else if (strcmp(word, "refused") == 0) {
            refused = true;
        } else if (strcmp(word, "history") == 0) {
            c->history = true;
        } else if (strcmp(word, "presence") == 0) {
            c->presence = true;
        } else {
            return fail(r, "unknown word '%s'", word);
        }
    }
    snprintf(c->name, sizeof c->name, "%s", name ? name : "");
    char base[96];
    snprintf(base, sizeof base, "/%s/%s", server ? "ws" : "rt", server ? server : r->canonical);
    RtOptions options = {.transport = c->transport,
                         .host = "127.0.0.1",
                         .port = r->node->port,
                         .base = base,
                         .token = token,
                         .channels = channels,
                         .channel_count = nchannels,
                         .history = c->history,
                         .presence = c->presence};
    RtEvents events = {c, on_open, on_frame, on_close};
    xs_error err;
    c->rt = rt_connect(r->loop, &options, &events, &err);
    if (!c->rt)
        return fail(r, "%s: %s", c->name, err.message);
    r->nclients++;
    if (refused)
        return rt_loop_run(r->loop, STEP_TIMEOUT_MS, is_closed, c) ||
               fail(r, "%s was not refused", c->name);
    if (!rt_loop_run(r->loop, STEP_TIMEOUT_MS, is_open, c) || c->closed)
        return fail(r, "%s: not connected, code %d, status %d", c->name, c->close_code,
                    rt_status(c->rt));
    return true;
}

static bool has_frame(void *ctx)
{
    const Client *c = (const Client *)ctx;
    return c->next < c->frames.len || c->closed;
}

static bool is_ack(const Const *frame)
{
    Text action = const_get_text(frame, "action");
    return text_eq(action, TEXT("join")) || text_eq(action, TEXT("leave"));
}

/* The next frame, NULL after a failure. acks: acknowledgements count too. */
static const Const *next_frame(Client *c, bool acks, int ms, const char **text)
{
    Run *r = c->run;
    for (;;) {
        if (!rt_loop_run(r->loop, ms, has_frame, c) || c->next >= c->frames.len) {
            fail(r, c->closed ? "%s: closed with %d" : "%s: nothing arrived (%d)", c->name,
                 c->close_code);
            return NULL;
        }
        *text = c->frames.ptr[c->next++];
        const Const *frame = parse(r, *text);
        if (!frame || acks || !is_ack(frame))
            return frame;
    }
}

/* acks: acknowledgements count too. */
static bool client_expect(Client *c, const char *json, bool acks, int ms)
{
    const Const *want = parse(c->run, json);
    const char *text = NULL;
    const Const *got = want ? next_frame(c, acks, ms, &text) : NULL;
    if (!got)
        return false;
    return subset(want, got) || fail(c->run, "%s expected %s\n    got %s", c->name, json, text);
}

static bool client_acked(Client *c, const char *channel)
{
    const char *text = NULL;
    const Const *got = next_frame(c, true, STEP_TIMEOUT_MS, &text);
    if (!got)
        return false;
    Text on = const_get_text(const_get(got, "options"), "channel");
    bool ok = text_eq(const_get_text(got, "action"), TEXT("join")) &&
              text_eq(on.ptr ? on : const_get_text(got, "channel"), text_from(channel));
    return ok || fail(c->run, "%s expected the join of %s\n    got %s", c->name, channel, text);
}

static bool add_var(Run *r, const char *name, const char *path, const char *json)
{
    char steps[128], *save = NULL;
    const Const *c = json ? parse(r, json) : NULL;
    snprintf(steps, sizeof steps, "%s", path);
    for (char *step = strtok_r(steps, ".", &save); c && step; step = strtok_r(NULL, ".", &save))
        c = const_get(c, step);
    if (!c || r->nvars == MAX_VARS)
        return fail(r, c ? "too many variables" : "no member %s", path);
    Buf value = BUF_INIT;
    if (c->kind == C_TEXT)
        buf_text(&value, c->text);
    else
        json_write_const(&value, c);
    snprintf(r->vars[r->nvars].name, sizeof r->vars[0].name, "%s", name);
    r->vars[r->nvars].value = buf_take(&value, NULL);
    r->nvars++;
    return true;
}

/* A member of the frame that was looked at last. */
static bool client_keep(Client *c, const char *args)
{
    char name[32], path[128];
    if (sscanf(args, "%31s %127s", name, path) != 2 || !c->next)
        return fail(c->run, "keep needs NAME MEMBER after a frame");
    return add_var(c->run, name, path, c->frames.ptr[c->next - 1]);
}

static bool client_quiet(Client *c, int ms)
{
    rt_loop_run(c->run->loop, ms, NULL, NULL);
    while (c->next < c->frames.len) {
        const char *text = c->frames.ptr[c->next++];
        const Const *frame = parse(c->run, text);
        if (!frame || !is_ack(frame))
            return fail(c->run, "%s expected nothing\n    got %s", c->name, text);
    }
    return true;
}

/* Long-poll clients see a refused connection instead of a close code. */
static bool client_closed(Client *c, int code)
{
    if (!rt_loop_run(c->run->loop, STEP_TIMEOUT_MS, is_closed, c))
        return fail(c->run, "%s is still open", c->name);
    return !code || c->transport == RT_LP || c->close_code == code ||
           fail(c->run, "%s was closed with %d, not %d", c->name, c->close_code, code);
}

static bool client_line(Client *c, const char *verb, char *args)
{
    Run *r = c->run;
    xs_error err;
    bool ok;
    if (strcmp(verb, "join") == 0) {
        ok = rt_join(c->rt, args, c->history, c->presence, &err);
    } else if (strcmp(verb, "leave") == 0) {
        ok = rt_leave(c->rt, args, &err);
    } else if (strcmp(verb, "send") == 0) {
        char *payload = strchr(args, ' ');
        if (!payload)
            return fail(r, "send needs CHANNEL JSON");
        *payload++ = '\0';
        ok = rt_message(c->rt, args, payload, &err);
    } else if (strcmp(verb, "raw") == 0) {
        ok = rt_send(c->rt, args, strlen(args), &err);
    } else if (strcmp(verb, "expect") == 0) {
        return client_expect(c, args, false, STEP_TIMEOUT_MS);
    } else if (strcmp(verb, "sees") == 0) {
        return client_expect(c, args, true, STEP_TIMEOUT_MS);
    } else if (strcmp(verb, "awaits") == 0) {
        return client_expect(c, args, false, GONE_TIMEOUT_MS);
    } else if (strcmp(verb, "acked") == 0) {
        return client_acked(c, args);
    } else if (strcmp(verb, "keep") == 0) {
        return client_keep(c, args);
    } else if (strcmp(verb, "quiet") == 0) {
        return client_quiet(c, (int)strtol(args, NULL, 10));
    } else if (strcmp(verb, "close") == 0) {
        rt_close(c->rt, 1000);
        return true;
    } else if (strcmp(verb, "closed") == 0) {
        return client_closed(c, (int)strtol(args, NULL, 10));
    } else {
        return fail(r, "unknown step '%s'", verb);
    }
    return ok || fail(r, "%s: %s", c->name, err.message);
}

/* ---- order ---- */

static bool collect(Client *c, const char *event, const char *member, unsigned n, Buf *out)
{
    for (unsigned found = 0; found < n;) {
        const char *text = NULL;
        const Const *frame = next_frame(c, false, STEP_TIMEOUT_MS, &text);
        if (!frame)
            return false;
        const Const *payload = const_get(frame, "payload");
        if (!text_eq(const_get_text(payload, "event"), text_from(event)))
            continue;
        const Const *value = const_get(const_get(payload, "data"), member);
        if (!value)
            return fail(c->run, "%s: no data.%s in %s", c->name, member, text);
        json_write_const(out, value);
        buf_char(out, ' ');
        found++;
    }
    return true;
}

static bool line_order(Run *r, char *args)
{
    char event[64], member[64];
    unsigned n;
    if (sscanf(args, "%63s %63s %u", event, member, &n) != 3)
        return fail(r, "order needs EVENT MEMBER N");
    Buf first = BUF_INIT;
    bool ok = true;
    for (size_t i = 0; ok && i < r->nclients; i++) {
        Buf values = BUF_INIT;
        ok = collect(&r->clients[i], event, member, n, &values);
        if (i == 0) {
            buf_deinit(&first);
            first = values;
            continue;
        }
        if (ok && !text_eq(buf_view(&first), buf_view(&values)))
            ok = fail(r, "%s got " TEXT_FMT "but %s got " TEXT_FMT, r->clients[0].name,
                      TEXT_ARG(buf_view(&first)), r->clients[i].name, TEXT_ARG(buf_view(&values)));
        buf_deinit(&values);
    }
    buf_deinit(&first);
    return ok;
}

/* ---- http ---- */

static bool check_answer(Run *r, int status, const char *want)
{
    char *rest = NULL;
    long expected = strtol(want, &rest, 10);
    const char *body = r->answer ? r->answer : "";
    if (status != expected)
        return fail(r, "status %d, expected %ld: %s", status, expected, body);
    while (*rest == ' ')
        rest++;
    if (!*rest)
        return true;
    const Const *wanted = parse(r, rest), *got = wanted ? parse(r, body) : NULL;
    if (!got)
        return false;
    return subset(wanted, got) || fail(r, "expected %s\n    got %s", rest, body);
}

static bool line_http(Run *r, char *args)
{
    if (!start_server(r))
        return false;
    char *arrow = strstr(args, " => ");
    if (!arrow)
        return fail(r, "http needs => STATUS");
    *arrow = '\0';
    char *save = NULL, *token = NULL;
    char *method = strtok_r(args, " ", &save), *path = strtok_r(NULL, " ", &save);
    char *body = save && *save ? save : NULL;
    if (!method || !path)
        return fail(r, "http needs METHOD PATH");
    char *as = body ? (strncmp(body, "as ", 3) == 0 ? body : strstr(body, " as ")) : NULL;
    for (char *later = as; later; later = strstr(later + 1, " as "))
        as = later;
    if (as && (as == body || as[0] == ' ')) {
        token = strstr(as, "as ") + 3;
        *as = '\0';
        body = *body ? body : NULL;
    }
    free(r->answer);
    int status = http_request(r->node->port, method, path, token, body, &r->answer);
    if (r->print)
        printf("  %s %s: %d\n", method, path, status);
    return check_answer(r, status, arrow + 4);
}

static bool line_save(Run *r, char *args)
{
    char name[32], path[128];
    if (sscanf(args, "%31s %127s", name, path) != 2)
        return fail(r, "save needs NAME MEMBER");
    return add_var(r, name, path, r->answer);
}

static bool line_differ(Run *r, const char *args)
{
    char a[128], b[128];
    if (sscanf(args, "%127s %127s", a, b) != 2)
        return fail(r, "differ needs two words");
    return strcmp(a, b) != 0 || fail(r, "both are %s", a);
}

/* ---- nodes ---- */

/* What follows is about this server, the first one of all is 1. */
static bool line_node(Run *r, const char *args)
{
    long n = strtol(args, NULL, 10);
    if (n < 1 || n > NODES)
        return fail(r, "node needs a number up to %d", NODES);
    r->node = &r->nodes[n - 1];
    return true;
}

/* A command for the Redis server of the backplane. */
static bool line_redis(Run *r, const char *args)
{
    const char *url = getenv("XS_REALTIME_BACKPLANE"), *colon = url ? strrchr(url, ':') : NULL;
    int port = colon ? (int)strtol(colon + 1, NULL, 10) : 0;
    return (port && redis_command(port, args)) || fail(r, "Redis does not take it");
}

/* ---- lines ---- */

static void expand(const Run *r, const char *line, Buf *out)
{
    while (*line) {
        const char *value = NULL;
        size_t used = 0;
        for (size_t i = 0; *line == '$' && i < r->nvars; i++) {
            size_t n = strlen(r->vars[i].name);
            if (n > used && strncmp(line + 1, r->vars[i].name, n) == 0) {
                value = r->vars[i].value;
                used = n;
            }
        }
        if (value) {
            buf_cstr(out, value);
            line += 1 + used;
        } else {
            buf_char(out, *line++);
        }
    }
    buf_char(out, '\0');
}

static bool run_line(Run *r, char *line)
{
    char *args = line + strcspn(line, " ");
    if (*args)
        *args++ = '\0';
    if (strcmp(line, "app") == 0) {
        snprintf(r->app, sizeof r->app, "%s", args);
        const char *slash = strrchr(args, '/');
        snprintf(r->canonical, sizeof r->canonical, "%s", slash ? slash + 1 : args);
        return true;
    }
    if (strcmp(line, "env") == 0) {
        if (r->nenv == MAX_ENV || !(r->env[r->nenv] = strdup(args)))
            return fail(r, "too many env lines");
        r->nenv++;
        return true;
    }
    if (strcmp(line, "http") == 0)
        return line_http(r, args);
    if (strcmp(line, "save") == 0)
        return line_save(r, args);
    if (strcmp(line, "client") == 0)
        return line_client(r, args);
    if (strcmp(line, "order") == 0)
        return line_order(r, args);
    if (strcmp(line, "node") == 0)
        return line_node(r, args);
    if (strcmp(line, "redis") == 0)
        return line_redis(r, args);
    if (strcmp(line, "differ") == 0)
        return line_differ(r, args);
    if (strcmp(line, "server") == 0 && strcmp(args, "stop") == 0)
        return r->url || stop_server(r);
    if (strcmp(line, "server") == 0 && strcmp(args, "kill") == 0)
        return r->url ? fail(r, "not with --url") : kill_server(r);
    if (strcmp(line, "server") == 0 && strncmp(args, "env ", 4) == 0) {
        if (r->nenv == MAX_ENV || !(r->env[r->nenv] = strdup(args + 4)))
            return fail(r, "too many env lines");
        r->nenv++;
        return true;
    }
    char *rest = args + strcspn(args, " ");
    if (*rest)
        *rest++ = '\0';
    bool everyone = strcmp(line, "all") == 0, known = false;
    for (size_t i = 0; i < r->nclients; i++) {
        if (!everyone && strcmp(line, r->clients[i].name) != 0)
            continue;
        known = true;
        char *own = strdup(rest); /* a step may cut its text */
        bool ok = own && client_line(&r->clients[i], args, own);
        free(own);
        if (!ok)
            return false;
    }
    return known || fail(r, "no client '%s'", line);
}

static bool run_script(Run *r)
{
    FILE *f = fopen(r->script, "r");
    if (!f)
        return fail(r, "%s", strerror(errno));
    char *line = NULL;
    size_t cap = 0;
    bool ok = true;
    while (ok && getline(&line, &cap, f) >= 0) {
        r->line++;
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '#' && r->print && line[1] == ' ')
            printf("%s\n", line + 2);
        if (line[0] == '\0' || line[0] == '#')
            continue;
        Buf text = BUF_INIT;
        expand(r, line, &text);
        ok = !text.failed && run_line(r, text.ptr);
        buf_deinit(&text);
    }
    free(line);
    fclose(f);
    return ok;
}

static int usage(void)
{
    fputs("usage: scenario [--xs XS] [--transport ws|sse|longpoll|mixed] [--url http://ADDR:PORT] "
          "[--print] SCRIPT\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    Run r = {.xs = "build/release/xs", .transport = "mixed"};
    r.node = r.nodes;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--print") == 0)
            r.print = true;
        else if (strcmp(argv[i], "--xs") == 0 && i + 1 < argc)
            r.xs = argv[++i];
        else if (strcmp(argv[i], "--transport") == 0 && i + 1 < argc)
            r.transport = argv[++i];
        else if (strcmp(argv[i], "--url") == 0 && i + 1 < argc)
            r.url = argv[++i];
        else if (argv[i][0] == '-' || r.script)
            return usage();
        else
            r.script = argv[i];
    }
    if (!r.script)
        return usage();
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    arena_init(&r.arena, 0);
    r.loop = rt_loop_new();
    bool ok = r.loop && run_script(&r);
    for (size_t i = 0; i < NODES; i++)
        if (r.nodes[i].started && !r.url)
            server_stop(&r.nodes[i].server, ok ? SIGTERM : SIGKILL, STOP_TIMEOUT_MS);
    for (size_t i = 0; i < r.nclients; i++) {
        rt_free(r.clients[i].rt);
        for (size_t k = 0; k < r.clients[i].frames.len; k++)
            mem_free(r.clients[i].frames.ptr[k]);
        VEC_DEINIT(&r.clients[i].frames);
    }
    rt_loop_free(r.loop);
    for (size_t i = 0; i < r.nvars; i++)
        mem_free(r.vars[i].value);
    for (size_t i = 0; i < r.nenv; i++)
        if (unsetenv(strtok(r.env[i], "=")) == 0)
            free(r.env[i]);
    free(r.answer);
    arena_deinit(&r.arena);
    if (r.dir[0])
        folder_remove(r.dir);
    return ok ? 0 : 1;
}
