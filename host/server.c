/* server.c - puts the parts together, owns their order of start and end, and routes requests to
 * them. */
#include "host/server.h"

#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "host/carriers.h"
#include "host/detached.h"
#include "host/door.h"
#include "host/files.h"
#include "host/generation.h"
#include "host/http.h"
#include "host/hub/handover.h"
#include "host/hub/plane.h"
#include "host/query.h"
#include "host/realtime.h"
#include "host/vault.h"

enum {
    DRAIN_CHECK_MS = 20,
    RETIRE_CHECK_MS = 50,
    WATCH_MS = 500,
    PENDING_HEADS_MAX = 4096,
    SPARE_DESCRIPTORS = 512,
    TRANSPORT_NAMES_MAX = 16,
    DOUBLE_SIGNAL_EXIT = 1
};

/* A program that is being loaded on a thread of its own. */
typedef struct Reload {
    LoopPost post;
    struct Server *server;
    pthread_t thread;
    Pool *pool; /* carries the post */
    bool running, again, joined;
    Program *program;
    Generation *opened;
    xs_error err;
    uint64_t seen_stamp, loaded_stamp;
} Reload;

typedef struct Server {
    const ServerOptions *opt;
    const Config *config;
    Log log;
    Metrics metrics;
    Arena arena;
    struct event_base *base;
    struct event *sigterm, *sigint, *sighup, *drain_timer, *watch_timer, *retire_timer;
    EnvVars *env;
    Auth *auth;
    TriggerSwitch *triggers;
    Hub *hub;
    Space *space;
    ServiceEnv service;
    Generation *now; /* and those that still finish, behind `older` */
    Reload reload;
    Carriers *carriers;
    Plugin backplane; /* of option realtime.backplane */
    Realtime *realtime;
    Files *files;
    Proxies *proxies;
    Http *http;
    History *history;
    Http *admin_http;
    Door *door, *admin_door;
    QueryService queries;
    uint64_t conn_max;
    uint64_t open_max; /* sockets of clients, heads that are not complete included */
    bool draining;
    int64_t drain_until_ms;
    Text handover; /* file of it; len 0 = none */
} Server;

/* ---- requests ---- */

static bool is_get(xs_http *x)
{
    const char *m = http_api.method(x);
    return strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0;
}

static void reply_health(const Server *s, xs_http *x)
{
    http_reply_json(x, s->draining ? 503 : 200,
                    s->draining ? TEXT("{\"status\":\"draining\"}") : TEXT("{\"status\":\"ok\"}"));
}

static void reply_metrics(Server *s, xs_http *x)
{
    TransportStats transports[TRANSPORT_NAMES_MAX];
    MetricsInput in = {.host = &s->metrics, .transports = transports};
    hub_stats(s->hub, &in.hub);
    if (s->now->db)
        dbpool_stats(s->now->db, &in.db);
    in.ntransports = carriers_stats(s->carriers, transports, TRANSPORT_NAMES_MAX);
    HttpStats http;
    http_stats(s->http, &http);
    in.http_connections = http_connections(s->http);
    in.head_timeouts = door_timeouts(s->door) + http.timeouts;
    in.http_refused = http.refused;
    in.door_pauses = door_pauses(s->door);
    pool_load(s->now->pool, &in.jobs_waiting, &in.jobs_running);
    Buf b = BUF_INIT;
    metrics_write(&in, &b);
    const xs_header type = {"Content-Type", "text/plain; version=0.0.4; charset=utf-8"};
    http_reply_take(x, 200, &type, 1, &b);
}

static void reply_not_found(xs_http *x)
{
    http_reply_error(x, 404, "ERROR_CODE_NOT_FOUND", "Unable to locate request.");
}

static void look_behind_proxy(const Server *s, xs_http *x)
{
    Text peer = http_remote_ip(x);
    Text said = proxies_has(s->proxies, peer) ? const_get_text(http_headers(x), "X-Forwarded-For")
                                              : (Text){0};
    if (said.len)
        http_set_remote_ip(x, proxies_client(s->proxies, http_arena(x), peer, said));
}

static void on_request(void *ctx, xs_http *x)
{
    Server *s = (Server *)ctx;
    metric_add(&s->metrics.http_requests);
    if (http_memo(x) && realtime_again(s->realtime, x))
        return;
    look_behind_proxy(s, x);
    Text path = http_raw_path(x);
    log_line(&s->log, LEVEL_DEBUG, "%s " TEXT_FMT, http_api.method(x), TEXT_ARG(path));
    if (query_handle(&s->queries, x) || realtime_handle(s->realtime, x))
        return;
    if (vault_handle(s->service.outside->store, x))
        return;
    if (text_eq(path, TEXT("/_xs/health")) && is_get(x))
        reply_health(s, x);
    else if (text_starts(path, TEXT("/_xs/"))) {
        if (!s->config->rt_publish_public || !realtime_admin(s->realtime, x))
            reply_not_found(x);
    } else if (!s->files || !files_handle(s->files, x)) {
        reply_not_found(x);
    }
}

static int64_t query_number(xs_http *x, const char *name, int64_t otherwise)
{
    xs_str given = http_api.query(x, name, 0);
    int64_t n;
    return given.ptr && num_parse_int((Text){given.ptr, given.len}, &n) && n >= 0 ? n : otherwise;
}

/* /_xs/history?status=5&api=orders/{id}&before=ID&limit=N */
static void reply_history(const Server *s, xs_http *x)
{
    Buf out = BUF_INIT;
    xs_error err;
    xs_str api = http_api.query(x, "api", 0);
    const xs_header type = {"Content-Type", "application/json; charset=utf-8"};
    int64_t status = query_number(x, "status", 0), limit = query_number(x, "limit", 100);
    if (history_list(s->history, status < 600 ? (int)status : 0, (Text){api.ptr, api.len},
                     query_number(x, "before", 0), limit < 1000 ? (uint32_t)limit : 1000, &out,
                     &err)) {
        http_reply_take(x, 200, &type, 1, &out);
        return;
    }
    buf_deinit(&out);
    http_reply_error(x, 500, "ERROR_FATAL", err.message);
}

static void on_admin_request(void *ctx, xs_http *x)
{
    Server *s = (Server *)ctx;
    Text path = http_raw_path(x);
    if (realtime_admin(s->realtime, x))
        return;
    if (text_eq(path, TEXT("/metrics")) && is_get(x) && s->config->metrics)
        reply_metrics(s, x);
    else if (text_eq(path, TEXT("/_xs/health")) && is_get(x))
        reply_health(s, x);
    else if (s->history && text_eq(path, TEXT("/_xs/history")) && is_get(x))
        reply_history(s, x);
    else
        reply_not_found(x);
}

/* One connection too many. */
static void refuse_visitor(const Server *s, int fd, Text head)
{
    Buf answer = BUF_INIT;
    char rest[1024];
    realtime_write_busy(s->realtime, head, &answer);
    /* Unread bytes would turn the close into a reset that overtakes the answer. */
    for (int i = 0; i < 64 && recv(fd, rest, sizeof rest, MSG_DONTWAIT) > 0; i++)
        continue;
    if (!answer.failed && send(fd, answer.ptr, answer.len, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        shutdown(fd, SHUT_WR);
    close(fd);
    buf_deinit(&answer);
}

static uint64_t connections(const Server *s)
{
    return carriers_own_connections(s->carriers) + http_connections(s->http);
}

/* Who only holds his place at the door must not take the descriptors of the others' work. */
static size_t room_at_the_door(void *ctx)
{
    const Server *s = (const Server *)ctx;
    uint64_t n = connections(s);
    return n < s->open_max ? (size_t)(s->open_max - n) : 0;
}

static void on_visitor(void *ctx, int fd, Text head, const struct sockaddr *addr, socklen_t len)
{
    Server *s = (Server *)ctx;
    uint64_t n = connections(s);
    bool full = n >= s->conn_max;
    if (full)
        metric_add(&s->metrics.connections_refused);
    /* A WebSocket is told so by a close code, while there are descriptors for that. */
    if (n < s->conn_max + SPARE_DESCRIPTORS / 2 &&
        realtime_upgrade(s->realtime, fd, head, addr, full))
        return;
    if (full)
        refuse_visitor(s, fd, head);
    else
        http_add(s->http, fd, head, addr, len);
}

static void on_admin_visitor(void *ctx, int fd, Text head, const struct sockaddr *addr,
                             socklen_t len)
{
    Server *s = (Server *)ctx;
    http_add(s->admin_http, fd, head, addr, len);
}

static void on_handshake(void *ctx)
{
    door_handshake(((Server *)ctx)->door);
}

/* ---- start ---- */

static Text slug(Arena *a, Text name)
{
    char *out = arena_alloc(a, name.len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < name.len && n < 64; i++) {
        char c = name.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c | 32);
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (word)
            out[n++] = c;
        else if (n && out[n - 1] != '-')
            out[n++] = '-';
    }
    while (n && out[n - 1] == '-')
        n--;
    return n ? (Text){out, n} : TEXT("default");
}

Text server_canonical(Arena *a, const Config *c, const Const *meta)
{
    Text t = c->rt_canonical.len ? c->rt_canonical : const_get_text(meta, "canonical");
    return t.len ? t : slug(a, const_get_text(meta, "name"));
}

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

static void raise_descriptor_limit(Server *s)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        r.rlim_cur = 1024;
    else if (r.rlim_cur < r.rlim_max) {
        struct rlimit more = {r.rlim_max, r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            r.rlim_cur = r.rlim_max;
    }
    uint64_t all = r.rlim_cur;
    s->conn_max = s->config->conn_total         ? (uint64_t)s->config->conn_total
                  : all > 2 * SPARE_DESCRIPTORS ? all - SPARE_DESCRIPTORS
                                                : all / 2;
    s->open_max = all > 2 * SPARE_DESCRIPTORS ? all - SPARE_DESCRIPTORS / 2 : all - all / 4;
}

/* The backplane's plugin is named by the scheme of its URL. */
static bool join_nodes(Server *s, xs_error *err)
{
    Text url = s->config->rt_backplane;
    size_t scheme = text_find(url, TEXT("://"), 0);
    if (!url.len)
        return true;
    if (scheme == SIZE_MAX)
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                       "realtime.backplane: expected a URL, such as redis://127.0.0.1:6379");
    return plugin_open(XS_PLUGIN_BACKPLANE, text_slice(url, 0, scheme), s->opt->static_plugins,
                       s->config->plugin_dir, &s->backplane, err) &&
           hub_set_backplane(s->hub, s->backplane.desc->ops, url, err);
}

/* With a backplane the record is there; whoever had one before is told. Returns none. */
static Text unused_record(Server *s, Text file)
{
    if (file.ptr && access(file.ptr, F_OK) == 0)
        log_line(&s->log, LEVEL_WARNING,
                 "realtime.backplane: transcripts and cursors in " TEXT_FMT
                 " are not used: the backplane keeps its own. Start without the option to read "
                 "them, or remove the file",
                 TEXT_ARG(file));
    return (Text){0};
}

/* What the last end left; of no use is no error. */
static void take_over(Server *s)
{
    uint64_t events;
    xs_error why;
    if (!s->handover.len)
        return;
    if (!hub_take_over(s->hub, s->handover.ptr, s->config->rt_handover, clock_wall_ms(), &events,
                       &why))
        log_line(&s->log, LEVEL_WARNING, "realtime: " TEXT_FMT ": %s; positions begin anew",
                 TEXT_ARG(s->handover), why.message);
    else if (events)
        log_line(&s->log, LEVEL_INFO, "realtime: goes on with %llu events of the last run",
                 (unsigned long long)events);
}

/* Also behind a start that failed: what it took is for the next one. */
static void hand_over(Server *s)
{
    xs_error why;
    if (!s->space || !s->handover.len || !s->config->rt_handover)
        return;
    if (!hub_hand_over(s->hub, s->handover.ptr, clock_wall_ms(), &why))
        log_line(&s->log, LEVEL_WARNING, "realtime: positions will begin anew: %s", why.message);
}

static bool open_hub(Server *s, const Const *meta, xs_error *err)
{
    const Config *c = s->config;
    HubOptions opt = {.channels = const_get(meta, "channels"),
                      .default_channel = c->rt_default_channel,
                      .reject_bad_token = text_eq(c->rt_bad_token, TEXT("reject")),
                      .ring_events = (uint32_t)c->rt_ring_events,
                      .ring_bytes = (size_t)c->rt_ring_bytes,
                      .space_ring_bytes = (size_t)c->rt_space_ring_bytes,
                      .max_event = (size_t)c->rt_max_event,
                      .max_depth = (uint32_t)c->rt_max_depth,
                      .channels_per_conn = (uint32_t)c->rt_channels_per_conn,
                      .frames_per_s = (uint32_t)c->rt_frames_per_s,
                      .frames_burst = (uint32_t)c->rt_frames_burst,
                      .fifo_frames = (uint32_t)c->rt_fifo_frames,
                      .fifo_bytes = (size_t)c->rt_fifo_bytes,
                      .joins_per_s = (uint32_t)c->rt_joins_per_s,
                      .joins_burst = (uint32_t)c->rt_joins_burst,
                      .publish_per_s_channel = (uint32_t)c->rt_publish_per_s_channel,
                      .conn_per_ip = (uint32_t)c->rt_conn_per_ip,
                      .conn_per_identity = (uint32_t)c->rt_conn_per_identity,
                      .max_conn_age_ms = c->rt_max_conn_age_ms,
                      .queue_total_bytes = (uint64_t)c->rt_queue_total_bytes,
                      .idle_close_ms = c->rt_idle_close_s * 1000,
                      .expiry_warning_ms = c->rt_expiry_warning_ms,
                      .presence_extras = c->rt_presence_extras,
                      .presence_extras_max = (size_t)c->rt_presence_extras_max,
                      .slow_policy = c->rt_slow_policy,
                      .auth = {s->auth, realtime_check_token}};
    if (c->db.len && !text_eq(c->db, TEXT(":memory:"))) {
        opt.record = arena_printf(&s->arena, TEXT_FMT ".rt", TEXT_ARG(c->db));
        s->handover = arena_printf(&s->arena, TEXT_FMT ".handover", TEXT_ARG(c->db));
    }
    if (c->rt_backplane.len)
        opt.record = unused_record(s, opt.record);
    opt.meta = meta;
    opt.tenant = c->tenant;
    opt.crash_delivers = text_eq(c->rt_crash, TEXT("deliver"));
    opt.l2 = trigger_switch_l2(s->triggers);
    HubDispatcher dispatcher = trigger_switch_dispatcher(s->triggers);
    hub_set_log(&s->log);
    s->hub = hub_new(&opt, &dispatcher, err);
    if (!s->hub || !join_nodes(s, err))
        return false;
    s->space = hub_space(s->hub, c->tenant, server_canonical(&s->arena, c, meta));
    if (s->space && space_is_server(s->space))
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                       "the workspace and a realtime server have the same canonical");
    if (!s->space)
        return no_memory(err);
    take_over(s);
    return true;
}

static GenerationOptions generation_options(Server *s)
{
    return (GenerationOptions){s->config, &s->log, &s->metrics, &s->service, s->space, s->history};
}

static void serve_generation(Server *s, Generation *g)
{
    if (s->now)
        generation_replaced(s->now);
    g->older = s->now;
    s->now = g;
    s->queries.router = g->router;
    s->queries.pool = g->pool;
    trigger_switch_set(s->triggers, g->triggers, g->handlers);
}

static bool open_history(Server *s, xs_error *err)
{
    const Config *c = s->config;
    Text file = c->history;
    if (!file.len && c->db.len && !text_eq(c->db, TEXT(":memory:")))
        file = arena_printf(&s->arena, TEXT_FMT ".history", TEXT_ARG(c->db));
    if (!file.len || text_eq(file, TEXT("off")))
        return true;
    HistoryOptions opt = {.file = file.ptr,
                          .per_s = (uint32_t)c->history_per_s,
                          .max_bytes = (uint32_t)c->history_max,
                          .log = &s->log};
    s->history = history_new(&opt, err);
    s->queries.history = s->history;
    return s->history != NULL;
}

static bool is_loopback(Text listen)
{
    return text_starts(listen, TEXT("127.")) || text_starts(listen, TEXT("localhost:")) ||
           text_starts(listen, TEXT("[::1]:"));
}

static bool start_program(Server *s, xs_error *err)
{
    const Config *c = s->config;
    const Const *meta = program_meta(s->opt->program), *tables = const_get(meta, "tables");
    s->triggers = trigger_switch_new();
    if (!s->triggers)
        return no_memory(err);
    s->env = env_new(c->env_file.ptr, c->source[OPTION_env_file] != FROM_DEFAULT, s->opt->env, err);
    s->auth = s->env ? auth_new(c, tables, err) : NULL;
    if (!s->auth || !open_hub(s, meta, err))
        return false;
    s->service.log = &s->log;
    s->service.auth = s->auth;
    s->service.env = s->env;
    s->service.hub = s->hub;
    s->service.compile_expr = s->opt->compile_expr;
    if (!service_open_outside(&s->service, c, false, err))
        return false;
    if (!open_history(s, err))
        return false;
    GenerationOptions opt = generation_options(s);
    Generation *g = generation_open(&opt, s->opt->program, err);
    if (!g || !generation_start(g, &opt, true, s->base, err)) {
        generation_free(g);
        return false;
    }
    s->queries.space = s->space;
    serve_generation(s, g);
    s->queries.describe = text_eq(c->openapi, TEXT("on")) ||
                          (text_eq(c->openapi, TEXT("auto")) && is_loopback(c->listen));
    if (c->rate_requests)
        s->queries.guard = guard_new((uint32_t)c->rate_requests, c->rate_window_ms);
    return !c->rate_requests || s->queries.guard || no_memory(err);
}

/* ---- another program ---- */

static void start_reload(Server *s);

static void retire_older(Server *s)
{
    for (Generation **at = &s->now->older; *at;) {
        Generation *g = *at;
        if (!generation_idle(g)) {
            at = &g->older;
            continue;
        }
        *at = g->older;
        Program *program = g->program;
        generation_free(g);
        if (program != s->opt->program)
            s->opt->unload(s->opt->ctx, program);
        log_line(&s->log, LEVEL_INFO, "reload: the former program has finished");
    }
}

static void on_retire(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Server *s = (Server *)arg;
    struct timeval soon = {.tv_usec = RETIRE_CHECK_MS * 1000};
    retire_older(s);
    if (s->now->older)
        event_add(s->retire_timer, &soon);
}

/* Everything that can fail comes before anything is exchanged. */
static bool exchange(Server *s, Generation *g, xs_error *err)
{
    const Const *meta = program_meta(g->program);
    GenerationOptions opt = generation_options(s);
    struct timeval soon = {.tv_usec = RETIRE_CHECK_MS * 1000};
    if (!generation_start(g, &opt, false, s->base, err) ||
        !hub_set_declarations(s->hub, meta, s->config->rt_default_channel, err) ||
        !auth_set_tables(s->auth, const_get(meta, "tables"), err))
        return false;
    serve_generation(s, g);
    event_add(s->retire_timer, &soon);
    return true;
}

static void on_loaded(LoopPost *post)
{
    Reload *r = (Reload *)((char *)post - offsetof(Reload, post));
    Server *s = r->server;
    if (!r->joined)
        pthread_join(r->thread, NULL);
    r->running = false;
    Program *program = r->program;
    Generation *g = r->opened;
    r->program = NULL;
    r->opened = NULL;
    if (g && !s->draining && exchange(s, g, &r->err)) {
        metric_add(&s->metrics.reloads);
        log_line(&s->log, LEVEL_INFO, "reload: the new program serves");
    } else {
        if (g && s->draining)
            xs_fail(&r->err, XS_E_OVERLOAD, XS_NO_POS, "the server is ending");
        generation_free(g);
        if (program)
            s->opt->unload(s->opt->ctx, program);
        metric_add(&s->metrics.reloads_failed);
        log_line(&s->log, LEVEL_ERROR, "reload: the old program goes on: %s", r->err.message);
    }
    if (r->again && !s->draining)
        start_reload(s);
}

static void *load_thread(void *arg)
{
    Reload *r = (Reload *)arg;
    Server *s = r->server;
    r->program = s->opt->load(s->opt->ctx, &r->err);
    GenerationOptions opt = generation_options(s);
    if (r->program && generation_replaces(s->config, r->program, &r->err))
        r->opened = generation_open(&opt, r->program, &r->err);
    r->post.fn = on_loaded;
    pool_post(r->pool, &r->post);
    return NULL;
}

static void start_reload(Server *s)
{
    Reload *r = &s->reload;
    if (!s->opt->load || s->draining) {
        log_line(&s->log, LEVEL_WARNING, "reload: this server cannot");
        return;
    }
    r->again = r->running;
    if (r->running)
        return;
    r->server = s;
    r->pool = s->now->pool; /* nobody retires it before on_loaded ran */
    r->err = (xs_error){0};
    r->running = pthread_create(&r->thread, NULL, load_thread, r) == 0;
    if (!r->running)
        log_line(&s->log, LEVEL_ERROR, "reload: no thread for it");
}

static void on_hangup(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    Server *s = (Server *)arg;
    log_line(&s->log, LEVEL_INFO, "SIGHUP: loading the program anew");
    start_reload(s);
}

/* Files are written one after the other: wait until a period passed without a change. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Server *s = (Server *)arg;
    Reload *r = &s->reload;
    uint64_t stamp = s->opt->stamp(s->opt->ctx);
    bool still = stamp == r->seen_stamp;
    r->seen_stamp = stamp;
    if (!still || stamp == r->loaded_stamp || r->running)
        return;
    r->loaded_stamp = stamp;
    start_reload(s);
}

static bool start_watch(Server *s, xs_error *err)
{
    struct timeval period = {.tv_sec = WATCH_MS / 1000, .tv_usec = WATCH_MS % 1000 * 1000};
    s->sighup = evsignal_new(s->base, SIGHUP, on_hangup, s);
    s->retire_timer = evtimer_new(s->base, on_retire, s);
    if (!s->sighup || !s->retire_timer || event_add(s->sighup, NULL) != 0)
        return no_memory(err);
    if (!s->config->watch || !s->opt->stamp)
        return true;
    s->reload.loaded_stamp = s->reload.seen_stamp = s->opt->stamp(s->opt->ctx);
    s->watch_timer = event_new(s->base, -1, EV_PERSIST, on_watch, s);
    return (s->watch_timer && event_add(s->watch_timer, &period) == 0) || no_memory(err);
}

/* Nothing runs any more; in the order of start, newest first. */
static void free_generations(Server *s)
{
    while (s->now) {
        Generation *g = s->now;
        Program *program = g->program;
        s->now = g->older;
        generation_free(g);
        if (program != s->opt->program)
            s->opt->unload(s->opt->ctx, program);
    }
}

static bool start_front(Server *s, xs_error *err)
{
    const Config *c = s->config;
    HttpOptions http = {.max_body = (size_t)c->max_body,
                        .max_head = (size_t)c->head_max,
                        .idle_s = (unsigned)(c->idle_timeout_ms / 1000),
                        .head_timeout_ms = c->head_timeout_ms,
                        .body_timeout_ms = c->body_timeout_ms,
                        .realtime = realtime_owns};
    DoorOptions door = {.listen = c->listen,
                        .head_max = (size_t)c->head_max,
                        .head_timeout_ms = c->head_timeout_ms,
                        .max_pending = PENDING_HEADS_MAX,
                        .room = room_at_the_door};
    s->http = http_new(s->base, &http, on_request, s, err);
    if (!s->http || !(s->proxies = proxies_new(c->proxies, err)) ||
        (c->public_dir.len && !(s->files = files_new(c->public_dir.ptr, err))))
        return false;
    s->carriers = carriers_new(c, s->opt->static_plugins, s->hub, s->base, &s->log, err);
    if (!s->carriers)
        return false;
    RealtimeOptions realtime = {.config = c,
                                .proxies = s->proxies,
                                .log = &s->log,
                                .auth = s->auth,
                                .metrics = &s->metrics,
                                .hub = s->hub,
                                .carriers = s->carriers,
                                .handshake = on_handshake,
                                .ctx = s,
                                .base = s->base};
    s->realtime = realtime_new(&realtime, err);
    door.handshakes_per_s = (uint32_t)c->rt_handshake_per_s;
    if (!s->realtime || !(s->door = door_new(s->base, &door, on_visitor, s, err)))
        return false;
    door.handshakes_per_s = 0;
    if (!c->admin_listen.len)
        return true;
    door.listen = c->admin_listen;
    http.realtime = NULL;
    s->admin_http = http_new(s->base, &http, on_admin_request, s, err);
    s->admin_door = s->admin_http ? door_new(s->base, &door, on_admin_visitor, s, err) : NULL;
    return s->admin_door != NULL;
}

/* ---- end ---- */

static bool drained(const Server *s)
{
    uint64_t waiting, running;
    pool_load(s->now->pool, &waiting, &running);
    return !waiting && !running && !s->now->older && !carriers_own_connections(s->carriers) &&
           !http_busy(s->http);
}

static void on_drain_check(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Server *s = (Server *)arg;
    if (drained(s) || clock_wall_ms() >= s->drain_until_ms)
        event_base_loopbreak(s->base);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    Server *s = (Server *)arg;
    if (s->draining) {
        log_line(&s->log, LEVEL_WARNING, "second signal: ending at once");
        _exit(DOUBLE_SIGNAL_EXIT);
    }
    log_line(&s->log, LEVEL_INFO, "%s: draining for at most %lld ms",
             number == SIGINT ? "SIGINT" : "SIGTERM", (long long)s->config->drain_ms);
    s->draining = true;
    schedule_stop(s->now->schedule);
    s->drain_until_ms = clock_wall_ms() + s->config->drain_ms;
    door_close(s->door);
    http_drain(s->http);
    carriers_drain(s->carriers, (uint32_t)(s->config->drain_ms / 2));
    struct timeval check = {.tv_usec = DRAIN_CHECK_MS * 1000};
    event_add(s->drain_timer, &check);
}

static bool start_signals(Server *s, xs_error *err)
{
    s->sigterm = evsignal_new(s->base, SIGTERM, on_signal, s);
    s->sigint = evsignal_new(s->base, SIGINT, on_signal, s);
    s->drain_timer = event_new(s->base, -1, EV_PERSIST, on_drain_check, s);
    return (s->sigterm && s->sigint && s->drain_timer && event_add(s->sigterm, NULL) == 0 &&
            event_add(s->sigint, NULL) == 0) ||
           no_memory(err);
}

static void free_event(struct event *e)
{
    if (e)
        event_free(e);
}

/* Reverse order of start; every part may be missing. */
static void server_end(Server *s)
{
    door_close(s->door);
    door_close(s->admin_door);
    s->draining = true;
    if (s->reload.running) { /* its post is run by pool_stop */
        pthread_join(s->reload.thread, NULL);
        s->reload.joined = true;
    }
    for (Generation *g = s->now; g; g = g->older)
        pool_stop(g->pool);
    if (s->triggers)
        trigger_switch_set(s->triggers, NULL, NULL);
    carriers_stop(s->carriers);
    realtime_stop(s->realtime);
    hub_stop_backplane(s->hub);
    http_free(s->http);
    http_free(s->admin_http);
    carriers_free(s->carriers);
    door_free(s->door);
    door_free(s->admin_door);
    realtime_free(s->realtime);
    proxies_free(s->proxies);
    files_free(s->files);
    free_generations(s);
    outside_free(s->service.outside);
    detached_free(s->service.detached);
    hand_over(s);
    if (s->hub)
        hub_free(s->hub);
    plugin_close(&s->backplane);
    guard_free(s->queries.guard);
    history_free(s->history);
    trigger_switch_free(s->triggers);
    auth_free(s->auth);
    env_free(s->env);
    free_event(s->drain_timer);
    free_event(s->sigint);
    free_event(s->sigterm);
    free_event(s->sighup);
    free_event(s->watch_timer);
    free_event(s->retire_timer);
    if (s->base)
        event_base_free(s->base);
    arena_deinit(&s->arena);
}

bool server_run(const ServerOptions *opt, xs_error *err)
{
    Server *s = mem_zalloc(1, sizeof *s);
    if (!s)
        return no_memory(err);
    s->opt = opt;
    s->config = opt->config;
    arena_init(&s->arena, 0);
    log_parse_level(opt->config->log_level, &s->log.level);
    s->log.json = text_eq(opt->config->log_format, TEXT("json"));
    raise_descriptor_limit(s);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1,
           SIG_IGN); /* of log rotation: lines go to stderr, there is no file to open anew */
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a failed write, not the end */
    s->base = event_base_new();
    bool ok = (s->base || no_memory(err)) && start_program(s, err) && start_front(s, err) &&
              start_signals(s, err) && start_watch(s, err);
    if (ok) {
        ServerReady ready = {.port = door_port(s->door),
                             .address = door_address(s->door),
                             .admin_address =
                                 s->admin_door ? door_address(s->admin_door) : (Text){"", 0},
                             .canonical = space_canonical(s->space)};
        log_line(&s->log, LEVEL_INFO, "listening on " TEXT_FMT ", realtime at /rt/" TEXT_FMT,
                 TEXT_ARG(ready.address), TEXT_ARG(ready.canonical));
        const Space *server;
        for (size_t i = 0; (server = hub_server_at(s->hub, i)); i++)
            log_line(&s->log, LEVEL_INFO, "realtime server at /ws/" TEXT_FMT,
                     TEXT_ARG(space_canonical(server)));
        if (opt->on_ready)
            opt->on_ready(opt->ctx, &ready);
        ok = event_base_dispatch(s->base) >= 0 ||
             xs_fail(err, XS_E_IO, XS_NO_POS, "the event loop failed");
        log_line(&s->log, LEVEL_INFO, "ended");
    }
    server_end(s);
    mem_free(s);
    return ok;
}
