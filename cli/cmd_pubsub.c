/* cmd_pubsub.c - xs sub and xs pub: a realtime client on the command line, over any transport. */
#include "cli/cli.h"

#include <signal.h>

#include "bench/rtclient.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/num.h"
#include "core/text.h"

enum { ANSWER_MS = 10000, CLOSE_MS = 2000, FOREVER_MS = 1000, URL_MAX = 512 };

typedef struct ClientArgs {
    const char *transport, *token, *event, *position, *count, *timeout;
    bool history, presence, acks;
} ClientArgs;

typedef struct Client {
    const ClientArgs *args;
    RtLoop *loop;
    RtClient *rt;
    const char *channel;
    bool sub, closed, refused, answered;
    int64_t left; /* frames to print; < 0 = no end */
    int code;
    char reason[128], host[128], base[URL_MAX];
    int port;
} Client;

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* http://host:port/rt/name, also with ws:// */
static bool parse_url(Client *c, const char *url)
{
    Text rest = text_from(url), schemes[] = {TEXT("http://"), TEXT("ws://")};
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (text_starts(rest, schemes[i]))
            rest = text_slice(rest, schemes[i].len, rest.len);
    size_t slash = text_find(rest, TEXT("/"), 0);
    Text where = text_slice(rest, 0, slash);
    Text path = slash == SIZE_MAX ? (Text){0} : text_slice(rest, slash, rest.len);
    while (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    size_t colon = text_find(where, TEXT(":"), 0);
    int64_t port = 80;
    Text host = text_slice(where, 0, colon);
    if (colon != SIZE_MAX && !num_parse_int(text_slice(where, colon + 1, where.len), &port))
        return false;
    if (!host.len || host.len >= sizeof c->host || path.len < 2 || path.len >= sizeof c->base ||
        port < 1 || port > 65535 || text_find(where, TEXT("/"), 0) != SIZE_MAX)
        return false;
    snprintf(c->host, sizeof c->host, TEXT_FMT, TEXT_ARG(host));
    snprintf(c->base, sizeof c->base, TEXT_FMT, TEXT_ARG(path));
    c->port = (int)port;
    return true;
}

static bool parse_transport(const char *name, RtTransport *out)
{
    static const char *const names[] = {"ws", "sse", "lp"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!name || strcmp(name, names[i]) == 0) {
            *out = (RtTransport)i;
            return true;
        }
    return name && strcmp(name, "longpoll") == 0 ? (*out = RT_LP, true) : false;
}

/* ---- frames ---- */

static void report_error(Client *c, const Const *frame)
{
    const Const *payload = const_get(frame, "payload");
    Text code = const_get_text(payload, "code"), message = const_get_text(payload, "message");
    fprintf(stderr, "xs: " TEXT_FMT ": " TEXT_FMT "\n", TEXT_ARG(code), TEXT_ARG(message));
    c->refused = true;
}

static void on_frame(void *user, const char *json, size_t len)
{
    Client *c = user;
    Arena a;
    xs_error err;
    arena_init(&a, 0);
    const Const *frame = json_parse(&a, (Text){json, len}, &err);
    Text action = const_get_text(frame, "action");
    Text command = const_get_text(const_get(frame, "payload"), "command");
    bool ack = text_eq(action, TEXT("join")) || text_eq(action, TEXT("leave"));
    bool error = text_eq(action, TEXT("error"));
    if (c->sub) {
        if (error && text_eq(command, TEXT("join")))
            report_error(c, frame);
        else if ((!ack || c->args->acks || c->args->history) && c->left != 0) {
            printf("%.*s\n", (int)len, json);
            fflush(stdout);
            c->left -= c->left > 0;
        }
    } else if (text_eq(action, TEXT("history")) || (error && text_eq(command, TEXT("history")))) {
        c->answered = true; /* frames of a channel are handled in order: the message was */
    } else if (error) {
        report_error(c, frame);
    }
    arena_deinit(&a);
}

static void on_close(void *user, int code, const char *reason)
{
    Client *c = user;
    c->closed = true;
    c->code = code;
    snprintf(c->reason, sizeof c->reason, "%s", reason);
}

static bool over(void *ctx)
{
    const Client *c = ctx;
    return c->closed || c->refused || c->answered || c->left == 0 || interrupted;
}

static bool connect_client(Client *c, xs_error *err)
{
    const ClientArgs *args = c->args;
    RtOptions opt = {.host = c->host,
                     .port = c->port,
                     .base = c->base,
                     .token = args->token,
                     .channels = &c->channel,
                     .channel_count = 1,
                     .history = args->history,
                     .presence = args->presence,
                     .position = args->position};
    RtEvents events = {c, NULL, on_frame, on_close};
    if (!parse_transport(args->transport, &opt.transport))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "--transport: one of ws, sse, lp");
    c->loop = rt_loop_new();
    c->rt = c->loop ? rt_connect(c->loop, &opt, &events, err) : NULL;
    return c->rt || (c->loop ? false : xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory"));
}

static int end_code(const Client *c)
{
    if (c->refused || !c->closed)
        return c->refused ? EXIT_PROBLEM : EXIT_OK;
    int status = rt_status(c->rt);
    if (status >= 400)
        fprintf(stderr, "xs: the server answered %d\n", status);
    else
        fprintf(stderr, "xs: the connection was closed: %d%s%s\n", c->code, c->reason[0] ? " " : "",
                c->reason);
    return EXIT_PROBLEM;
}

static int with_client(Client *c, bool (*work)(Client *c, const char *arg, xs_error *err),
                       const char *arg)
{
    xs_error err = {0};
    signal(SIGINT, on_interrupt);
    signal(SIGPIPE, SIG_IGN);
    int code = EXIT_PROBLEM;
    if (!connect_client(c, &err) || !work(c, arg, &err)) {
        fprintf(stderr, "xs: %s\n", err.message);
    } else {
        code = end_code(c);
        if (!c->closed && c->args->transport == NULL) {
            rt_close(c->rt, 1000);
            rt_loop_run(c->loop, CLOSE_MS, over, c);
        }
    }
    rt_free(c->rt);
    rt_loop_free(c->loop);
    return code;
}

/* ---- the commands ---- */

static bool read_number(const char *text, const char *option, int64_t *out, xs_error *err)
{
    return !text || (num_parse_int(text_from(text), out) && *out > 0) ||
           xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "%s: expected a number above 0", option);
}

static bool subscribe(Client *c, const char *arg, xs_error *err)
{
    (void)arg;
    int64_t seconds = 0;
    c->left = -1;
    if (!read_number(c->args->count, "--count", &c->left, err) ||
        !read_number(c->args->timeout, "--timeout", &seconds, err))
        return false;
    int64_t until = clock_mono_us() + seconds * 1000000;
    while (!over(c) && (!seconds || clock_mono_us() < until))
        rt_loop_run(c->loop, FOREVER_MS, over, c);
    return true;
}

static bool say(Client *c, const char *json, xs_error *err)
{
    Buf payload = BUF_INIT, ask = BUF_INIT;
    Arena a;
    arena_init(&a, 0);
    c->left = -1;
    const Const *value = json_parse(&a, text_from(json), err);
    if (!value)
        value = const_text(&a, text_from(json)); /* plain words are a text */
    if (c->args->event) {
        buf_cstr(&payload, "{\"event\":");
        json_write_text(&payload, text_from(c->args->event));
        buf_cstr(&payload, ",\"data\":");
    }
    if (value)
        json_write_const(&payload, value);
    buf_cstr(&payload, c->args->event ? "}" : "");
    buf_char(&payload, '\0');
    buf_cstr(&ask, "{\"action\":\"history\",\"options\":{\"channel\":");
    json_write_text(&ask, text_from(c->channel));
    buf_cstr(&ask, "}}");
    bool ok = value && !payload.failed && !ask.failed
                  ? rt_message(c->rt, c->channel, payload.ptr, err) &&
                        rt_send(c->rt, ask.ptr, ask.len, err)
                  : xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    if (ok && !rt_loop_run(c->loop, ANSWER_MS, over, c))
        ok = xs_fail(err, XS_E_IO, XS_NO_POS, "no answer within %d s", ANSWER_MS / 1000);
    buf_deinit(&payload);
    buf_deinit(&ask);
    arena_deinit(&a);
    return ok;
}

int cmd_sub(int argc, char **argv)
{
    ClientArgs args = {0};
    const CliOption options[] = {
        {"--transport", "NAME", "ws (default), sse or lp", NULL, &args.transport},
        {"--token", "TOKEN", "a login token; without one the client is anonymous", NULL,
         &args.token},
        {"--history", NULL, "ask for the history; it comes in the answer to the join",
         &args.history, NULL},
        {"--presence", NULL, "watch who comes and goes", &args.presence, NULL},
        {"--acks", NULL, "print the answers to join and leave too", &args.acks, NULL},
        {"--position", "EPOCH.SEQ", "sse, lp: go on behind this position", NULL, &args.position},
        {"--count", "N", "end after so many frames", NULL, &args.count},
        {"--timeout", "SECONDS", "end after this time", NULL, &args.timeout},
        {0},
    };
    int code = cli_options(&argc, argv, "sub [OPTIONS] URL CHANNEL",
                           "Joins a channel of a running server and prints every frame, one a "
                           "line, until Ctrl-C.\n"
                           "URL is that of the space, such as http://127.0.0.1:8080/rt/chat.",
                           options);
    if (code >= 0)
        return code;
    Client c = {.args = &args, .sub = true, .left = -1, .channel = argc > 2 ? argv[2] : ""};
    if (argc != 3)
        return cli_usage("sub", "give URL and CHANNEL");
    if (!parse_url(&c, argv[1]))
        return cli_usage("sub", "'%s' is no URL like http://127.0.0.1:8080/rt/chat", argv[1]);
    return with_client(&c, subscribe, NULL);
}

int cmd_pub(int argc, char **argv)
{
    ClientArgs args = {0};
    const CliOption options[] = {
        {"--event", "NAME", "send {\"event\": NAME, \"data\": PAYLOAD}, for triggers", NULL,
         &args.event},
        {"--transport", "NAME", "ws (default), sse or lp", NULL, &args.transport},
        {"--token", "TOKEN", "a login token; without one the client is anonymous", NULL,
         &args.token},
        {0},
    };
    int code = cli_options(&argc, argv, "pub [OPTIONS] URL CHANNEL PAYLOAD",
                           "Joins a channel of a running server as a client, sends one message "
                           "and waits until it was\n"
                           "handled. PAYLOAD is JSON; anything else is sent as a text.",
                           options);
    if (code >= 0)
        return code;
    Client c = {.args = &args, .left = -1, .channel = argc > 2 ? argv[2] : ""};
    if (argc != 4)
        return cli_usage("pub", "give URL, CHANNEL and PAYLOAD");
    if (!parse_url(&c, argv[1]))
        return cli_usage("pub", "'%s' is no URL like http://127.0.0.1:8080/rt/chat", argv[1]);
    return with_client(&c, say, argv[3]);
}
