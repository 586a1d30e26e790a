/* carriers.c - one shard of the hub per transport instance. */
#include "host/carriers.h"

#include <pthread.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/http.h"

enum { CARRIERS_MAX = 80, TICK_MS = 100 };

typedef struct Carrier {
    Carriers *set;
    Plugin plugin;
    const xs_transport_ops *ops;
    xs_host host;
    xs_limits limits;
    xs_shard *shard;
    void *state;
    pthread_t thread;
    bool threaded, stopped;
    struct event *wake;
    struct event *soon; /* asked for by tick_in */
    uint32_t drain_ms;
} Carrier;

struct Carriers {
    Carrier items[CARRIERS_MAX];
    size_t count, turn;
    struct event *tick;
    Hub *hub;
};

static uint32_t grace_of(const Config *c, const char *info_name)
{
    return strcmp(info_name, "sse") == 0  ? (uint32_t)c->rt_sse_grace_ms
           : strcmp(info_name, "lp") == 0 ? (uint32_t)c->rt_lp_grace_ms
                                          : 0;
}

static xs_limits limits_of(const Config *c, const xs_transport_ops *ops)
{
    bool websocket = XS_HAS(ops, adopt);
    return (xs_limits){.max_message = (size_t)c->rt_max_message,
                       .queue_soft_bytes = (size_t)c->rt_queue_soft_bytes,
                       .queue_hard_bytes = (size_t)c->rt_queue_hard_bytes,
                       .queue_hard_frames = (uint32_t)c->rt_queue_hard_frames,
                       .ping_ms = (uint32_t)(websocket ? c->rt_ping_ms : c->rt_heartbeat_ms),
                       .pong_timeout_ms = (uint32_t)c->rt_pong_timeout_ms,
                       .stall_ms = (uint32_t)c->rt_stall_ms,
                       .lp_linger_ms = (uint32_t)c->rt_lp_linger_ms,
                       .lp_session_ms = (uint32_t)c->rt_lp_session_ms,
                       .sse_max_age_ms = (uint32_t)c->rt_sse_max_age_ms,
                       .presence_grace_ms = grace_of(c, ops->info_name),
                       .ws_deflate = c->rt_ws_deflate,
                       .max_fragments = (uint32_t)c->rt_max_fragments,
                       .lp_idle_sessions = (uint32_t)c->rt_lp_idle_sessions};
}

static void *thread_main(void *arg)
{
    Carrier *c = (Carrier *)arg;
    c->ops->run(c->state);
    return NULL;
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Carrier *c = (Carrier *)arg;
    c->host.drain(c->shard);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Carrier *c = (Carrier *)arg;
    c->ops->tick(c->state);
}

static void tick_in(void *timer, uint32_t ms)
{
    Carrier *c = (Carrier *)timer;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (c->soon && !event_pending(c->soon, EV_TIMEOUT, NULL))
        event_add(c->soon, &tv); /* when it fails, the next regular tick does the work */
}

static bool start_on_loop(Carrier *c, struct event_base *base, xs_error *err)
{
    if (XS_HAS(c->ops, tick))
        c->soon = event_new(base, -1, 0, on_soon, c);
    c->wake = event_new(base, c->host.wake_fd(c->shard), EV_READ | EV_PERSIST, on_mail, c);
    return (c->wake && event_add(c->wake, NULL) == 0) ||
           xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

static bool start_carrier(Carrier *c, Hub *hub, const Config *config, struct event_base *base,
                          xs_error *err)
{
    bool own_thread = XS_HAS(c->ops, run);
    c->limits = limits_of(config, c->ops);
    c->host.size = sizeof c->host;
    c->shard = hub_shard_new(hub, c->ops, &c->limits, &c->host, err);
    if (!c->shard)
        return false;
    if (!own_thread) {
        c->host.http = &http_api;
        c->host.tick_in = tick_in;
        c->host.timer = c;
    }
    c->state = c->ops->create(&c->host, err);
    if (!c->state)
        return false;
    hub_shard_attach(c->shard, c->state);
    if (!own_thread)
        return start_on_loop(c, base, err);
    c->threaded = pthread_create(&c->thread, NULL, thread_main, c) == 0;
    return c->threaded || xs_fail(err, XS_E_IO, XS_NO_POS, "no thread for a transport");
}

static xs_transport_stats stats_of(const Carrier *c)
{
    xs_transport_stats s = {0};
    if (c->state && XS_HAS(c->ops, stats))
        c->ops->stats(c->state, &s);
    return s;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Carriers *set = (Carriers *)arg;
    hub_tick(set->hub, clock_mono_ms());
    for (size_t i = 0; i < set->count; i++) {
        Carrier *c = &set->items[i];
        if (!c->threaded && c->state && XS_HAS(c->ops, tick))
            c->ops->tick(c->state);
    }
    uint64_t queued = 0;
    for (size_t i = 0; i < set->count; i++)
        queued += stats_of(&set->items[i]).queued_bytes;
    hub_note_queues(set->hub, queued);
}

static bool add_transport(Carriers *set, Text name, const Config *config,
                          const xs_plugin *const *statics, Hub *hub, struct event_base *base,
                          xs_error *err)
{
    int64_t instances = 1;
    for (int64_t i = 0; i < instances; i++) {
        if (set->count == CARRIERS_MAX)
            return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "too many transports");
        Carrier *c = &set->items[set->count];
        *c = (Carrier){.set = set};
        if (!plugin_open(XS_PLUGIN_TRANSPORT, name, statics, config->plugin_dir, &c->plugin, err))
            return false;
        set->count++;
        c->ops = (const xs_transport_ops *)c->plugin.desc->ops;
        if (XS_HAS(c->ops, run) && XS_HAS(c->ops, adopt))
            instances = config->rt_threads;
        if (!start_carrier(c, hub, config, base, err))
            return false;
    }
    return true;
}

Carriers *carriers_new(const Config *config, const xs_plugin *const *statics, Hub *hub,
                       struct event_base *base, const Log *log, xs_error *err)
{
    Carriers *set = mem_zalloc(1, sizeof *set);
    if (!set) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    set->hub = hub;
    Text names = config->transport;
    bool ok = true;
    while (ok && names.len) {
        Text name = text_next(&names);
        if (!name.len)
            continue;
        ok = add_transport(set, name, config, statics, hub, base, err);
        if (ok)
            log_line(log, LEVEL_DEBUG, "transport " TEXT_FMT " started", TEXT_ARG(name));
    }
    struct timeval tick = {.tv_usec = TICK_MS * 1000};
    if (ok) {
        set->tick = event_new(base, -1, EV_PERSIST, on_tick, set);
        ok = (set->tick && event_add(set->tick, &tick) == 0) ||
             xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    }
    if (ok)
        return set;
    carriers_stop(set);
    carriers_free(set);
    return NULL;
}

static bool named(const Carrier *c, const char *info_name)
{
    return strcmp(c->ops->info_name, info_name) == 0;
}

static Carrier *find_carrier(Carriers *set, const char *info_name)
{
    for (size_t i = 0; i < set->count; i++)
        if (named(&set->items[i], info_name))
            return &set->items[i];
    return NULL;
}

bool carriers_has(const Carriers *c, const char *info_name)
{
    for (size_t i = 0; i < c->count; i++)
        if (named(&c->items[i], info_name))
            return true;
    return false;
}

const char *carriers_name_at(const Carriers *c, size_t index)
{
    for (size_t i = 0; i < c->count; i++) {
        bool again = false;
        for (size_t k = 0; k < i && !again; k++)
            again = named(&c->items[k], c->items[i].ops->info_name);
        if (!again && index-- == 0)
            return c->items[i].ops->info_name;
    }
    return NULL;
}

void carriers_adopt(Carriers *set, int fd, Text head, xs_request *req)
{
    for (size_t tried = 0; tried < set->count; tried++) {
        Carrier *c = &set->items[set->turn++ % set->count];
        if (XS_HAS(c->ops, adopt) && c->state && !c->stopped) {
            c->ops->adopt(c->state, fd, head.ptr, head.len, req);
            return;
        }
    }
    close(fd);
    request_unref(req);
}

bool carriers_http(Carriers *set, const char *info_name, xs_http *x, xs_request *req)
{
    Carrier *c = find_carrier(set, info_name);
    if (!c || !XS_HAS(c->ops, http) || c->stopped)
        return false;
    c->ops->http(c->state, x, req);
    return true;
}

bool carriers_http_again(Carriers *set, const char *info_name, xs_http *x, xs_request *earlier)
{
    Carrier *c = find_carrier(set, info_name);
    return c && XS_HAS(c->ops, http_again) && !c->stopped &&
           c->ops->http_again(c->state, x, earlier);
}

static void drain_on_shard(xs_shard *shard, void *arg)
{
    (void)shard;
    Carrier *c = (Carrier *)arg;
    c->ops->drain(c->state, c->drain_ms);
}

void carriers_drain(Carriers *set, uint32_t deadline_ms)
{
    for (size_t i = 0; i < set->count; i++) {
        Carrier *c = &set->items[i];
        c->drain_ms = deadline_ms;
        if (!c->state || !XS_HAS(c->ops, drain))
            continue;
        if (!c->threaded)
            c->ops->drain(c->state, deadline_ms);
        else if (!hub_shard_post(c->shard, drain_on_shard, c))
            continue; /* out of memory: its clients are cut off by stop */
    }
}

uint64_t carriers_own_connections(const Carriers *set)
{
    uint64_t n = 0;
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i].threaded)
            n += stats_of(&set->items[i]).connections;
    return n;
}

static void add_stats(xs_transport_stats *sum, const xs_transport_stats *s)
{
    sum->connections += s->connections;
    sum->opened += s->opened;
    sum->closed += s->closed;
    sum->frames_in += s->frames_in;
    sum->frames_out += s->frames_out;
    sum->bytes_in += s->bytes_in;
    sum->bytes_out += s->bytes_out;
    sum->writes += s->writes;
    sum->partial_writes += s->partial_writes;
    sum->slow_closed += s->slow_closed;
    sum->handshake_failed += s->handshake_failed;
    sum->queued_bytes += s->queued_bytes;
}

size_t carriers_stats(const Carriers *set, TransportStats *out, size_t max)
{
    size_t n = 0;
    const char *name;
    for (; n < max && (name = carriers_name_at(set, n)); n++) {
        out[n] = (TransportStats){.name = name};
        for (size_t i = 0; i < set->count; i++)
            if (named(&set->items[i], name)) {
                xs_transport_stats s = stats_of(&set->items[i]);
                add_stats(&out[n].stats, &s);
            }
    }
    return n;
}

void carriers_stop(Carriers *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++) {
        Carrier *c = &set->items[i];
        if (c->state && !c->stopped)
            c->ops->stop(c->state);
        c->stopped = true;
    }
    for (size_t i = 0; i < set->count; i++) {
        Carrier *c = &set->items[i];
        if (c->threaded)
            pthread_join(c->thread, NULL);
        c->threaded = false;
        if (c->wake)
            event_free(c->wake);
        if (c->soon)
            event_free(c->soon);
        c->wake = c->soon = NULL;
    }
    if (set->tick)
        event_free(set->tick);
    set->tick = NULL;
}

void carriers_free(Carriers *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i].state)
            set->items[i].ops->destroy(set->items[i].state);
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].shard)
            hub_shard_free(set->items[i].shard);
        plugin_close(&set->items[i].plugin);
    }
    mem_free(set);
}
