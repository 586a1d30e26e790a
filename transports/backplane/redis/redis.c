/* redis.c - the backplane on a Redis server, with hiredis on a libevent loop. What is in Redis:
 * keys.h; the parts of the driver: redis.h.
 *
 * Thread: its own, for everything but the functions of the vtable; those leave an Op in a queue.
 * After a lost connection the topics are subscribed anew and every watched channel gets a snapshot;
 * what is published meanwhile waits, up to a bound. Specification: realtime.md §13. */
#include "transports/backplane/redis/redis.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "include/xs/plugin.h"

/* ---- the queue ---- */

static void send_waiting(Redis *r)
{
    Op *op;
    while (atomic_load(&r->up) && (op = list_pop(&r->waiting)))
        rp_send_record(r, op);
}

static void drop_late(Redis *r)
{
    int64_t now = transport_mono_ms();
    while (r->waiting.first && now - r->waiting.first->queued_ms > WAIT_MAX_MS)
        rp_finish_record(r, list_pop(&r->waiting), NULL);
}

static void execute(Redis *r, Op *op)
{
    switch (op->kind) {
    case OP_PUBLISH:
    case OP_ASK:
        if (atomic_load(&r->up))
            rp_send_record(r, op);
        else
            list_push(&r->waiting, op);
        return;
    case OP_WATCH: rp_watch_channel(r, op); break;
    case OP_UNWATCH: rp_unwatch_channel(r, op); break;
    case OP_BARRIER: rp_send_barrier(r, op); break;
    case OP_SPACE: rp_enter_space(r, op); break;
    case OP_LIST: rp_send_list(r, op); break;
    case OP_SPREAD: rp_send_note(r, op); break;
    case OP_COUNT: rp_send_count(r, op); break;
    case OP_JOIN:
    case OP_LEAVE: rp_member_changed(r, op); break;
    }
    free(op);
}

void rp_came_up(Redis *r)
{
    size_t at = 0;
    Link *l, *rest = NULL;
    atomic_store(&r->up, true);
    r->retry_ms = RETRY_MS;
    r->host.log(2, "backplane: connected to %s:%d", r->url.host, r->url.port);
    r->host.state(r->host.ctx, true);
    while ((l = table_each(&r->spaces, &at, &rest)))
        rp_subscribe_space(r, (xs_str){l->key, l->len});
    at = 0;
    while (r->topics && (l = table_each(&r->watches, &at, &rest)))
        rp_subscribe(r, (Watch *)l);
    rp_keep_number(r);
    rp_send_left(r);
    rp_send_members(r, "stay");
    send_waiting(r);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    Redis *r = ctx;
    uint64_t seen;
    (void)what;
    ssize_t n = read(fd, &seen, sizeof seen);
    (void)n;
    pthread_mutex_lock(&r->lock);
    OpList list = r->queue;
    r->queue = (OpList){NULL, &r->queue.first};
    bool stopping = r->stopping;
    pthread_mutex_unlock(&r->lock);
    if (!list.first)
        list.end = &list.first;
    for (Op *op; (op = list_pop(&list));)
        execute(r, op);
    if (!stopping || r->ending)
        return;
    r->ending = true;
    rp_send_members(r, "leave");
    struct timeval limit = {.tv_sec = END_MS / 1000};
    event_base_loopexit(r->base, &limit);
    if (r->commands)
        redisAsyncDisconnect(r->commands); /* once everything is sent and answered */
    else
        event_base_loopbreak(r->base);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    Redis *r = ctx;
    int64_t now = transport_mono_ms();
    (void)fd;
    (void)what;
    if (!r->commands) {
        if (now >= r->retry_at)
            rp_connect(r);
    } else if (now >= r->ping_at) {
        if (r->pinged_ms || !atomic_load(&r->up)) {
            rp_lose(r, "no answer");
        } else {
            r->ping_at = now + PING_MS;
            rp_send_ping(r);
            rp_keep_number(r);
        }
    }
    if (atomic_load(&r->up) && now >= r->stay_at) {
        r->stay_at = now + STAY_MS;
        rp_send_members(r, "stay");
        rp_reap_members(r);
    }
    drop_late(r);
    rp_drop_left(r, false);
}

static void give_up(Redis *r, OpList *list)
{
    for (Op *op; (op = list_pop(list));)
        rp_finish_record(r, op, NULL);
}

static void *thread_main(void *ctx)
{
    Redis *r = ctx;
    rp_connect(r);
    event_base_dispatch(r->base);
    rp_lose(r, "the server ends");
    give_up(r, &r->waiting);
    return NULL;
}

/* ---- the vtable, any thread ---- */

static bool enqueue(Redis *r, const Op *like)
{
    char key[KEY_BYTES];
    if (!rp_key(r, key, like->space, "epoch", like->channel))
        return false;
    Op *op = malloc(sizeof *op + like->space.len + like->channel.len + like->socket_id.len +
                    like->data.len);
    if (!op)
        return false;
    *op = *like;
    char *at = (char *)(op + 1);
    op->space = rp_put(&at, like->space);
    op->channel = rp_put(&at, like->channel);
    op->socket_id = rp_put(&at, like->socket_id);
    op->data = rp_put(&at, like->data);
    op->queued_ms = transport_mono_ms();
    pthread_mutex_lock(&r->lock);
    bool first = !r->queue.first, open = !r->stopping;
    if (open)
        list_push(&r->queue, op);
    pthread_mutex_unlock(&r->lock);
    if (!open) {
        free(op);
        return false;
    }
    if (first) {
        uint64_t one = 1;
        ssize_t n = write(r->wake_fd, &one, sizeof one);
        (void)n;
    }
    return true;
}

/* For what may wait for a connection. */
static bool enqueue_bounded(Redis *r, const Op *like)
{
    if (!rp_reserve(r, like))
        return false;
    if (enqueue(r, like))
        return true;
    rp_release(r, like);
    return false;
}

static bool redis_space(void *state, xs_str space, uint64_t proposed, uint64_t *epoch,
                        xs_error *err)
{
    return rp_epoch(state, space, proposed, epoch, err) &&
           (enqueue(state, &(Op){.kind = OP_SPACE, .space = space}) ||
            xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory"));
}

static bool redis_publish(void *state, xs_str space, xs_str channel, bool numbered,
                          const xs_plane_limits *limits, xs_str data, void *token)
{
    Redis *r = state;
    if (enqueue_bounded(r, &(Op){.kind = OP_PUBLISH,
                                 .numbered = numbered,
                                 .token = token,
                                 .events = limits->events,
                                 .ttl_ms = limits->ttl_ms,
                                 .age_ms = limits->age_ms,
                                 .by_age = limits->by_age,
                                 .space = space,
                                 .channel = channel,
                                 .data = data}))
        return true;
    atomic_fetch_add(&r->dropped, 1);
    return false;
}

static bool redis_ask(void *state, xs_str space, xs_str channel, const xs_plane_question *q,
                      void *token)
{
    return enqueue_bounded(state, &(Op){.kind = OP_ASK,
                                        .token = token,
                                        .space = space,
                                        .channel = channel,
                                        .socket_id = q->client,
                                        .data = {(const char *)q, sizeof *q}});
}

static bool redis_count(void *state, xs_str space, xs_str key, int64_t window_ms, void *token)
{
    Redis *r = state;
    return atomic_load(&r->up) && enqueue(r, &(Op){.kind = OP_COUNT,
                                                   .token = token,
                                                   .space = space,
                                                   .channel = key,
                                                   .ttl_ms = window_ms});
}

static uint16_t redis_number(void *state)
{
    return ((const Redis *)state)->node_number;
}

static bool redis_watch(void *state, xs_str space, xs_str channel, uint32_t events)
{
    return enqueue(state, &(Op){.kind = OP_WATCH,
                                .events = events ? events : SNAPSHOT_EVENTS,
                                .space = space,
                                .channel = channel});
}

static void redis_unwatch(void *state, xs_str space, xs_str channel)
{
    /* Out of memory: one channel more is listened to. */
    (void)enqueue(state, &(Op){.kind = OP_UNWATCH, .space = space, .channel = channel});
}

static bool redis_list(void *state, xs_str space, xs_str prefix, void *token)
{
    return enqueue(state,
                   &(Op){.kind = OP_LIST, .space = space, .channel = prefix, .token = token});
}

static bool redis_spread(void *state, xs_str space, xs_str data)
{
    return enqueue(state, &(Op){.kind = OP_SPREAD, .space = space, .data = data});
}

static bool redis_barrier(void *state, xs_str space, xs_str channel, uint64_t n)
{
    return enqueue(state, &(Op){.kind = OP_BARRIER, .n = n, .space = space, .channel = channel});
}

static bool redis_member(void *state, xs_str space, xs_str channel, const xs_plane_member *m,
                         bool here)
{
    return enqueue(state, &(Op){.kind = here ? OP_JOIN : OP_LEAVE,
                                .space = space,
                                .channel = channel,
                                .socket_id = m->socket_id,
                                .data = m->data});
}

static void redis_stats(void *state, xs_plane_stats *out)
{
    Redis *r = state;
    *out = (xs_plane_stats){.published = atomic_load(&r->published),
                            .received = atomic_load(&r->received),
                            .dropped = atomic_load(&r->dropped),
                            .lost = atomic_load(&r->lost),
                            .up = atomic_load(&r->up)};
}

/* ---- life ---- */

static void free_table(Table *t)
{
    size_t at = 0;
    Link *l, *rest = NULL;
    while ((l = table_each(t, &at, &rest)))
        free(l);
    free(t->slots);
}

static void free_list(OpList *list)
{
    for (Op *op; (op = list_pop(list));)
        free(op);
}

static void redis_stop(void *state)
{
    Redis *r = state;
    if (!r->threaded)
        return;
    uint64_t one = 1;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_mutex_unlock(&r->lock);
    ssize_t n = write(r->wake_fd, &one, sizeof one);
    (void)n;
    pthread_join(r->thread, NULL);
    r->threaded = false;
}

static void redis_destroy(void *state)
{
    Redis *r = state;
    redis_stop(r);
    if (r->wake)
        event_free(r->wake);
    if (r->tick)
        event_free(r->tick);
    if (r->base)
        event_base_free(r->base);
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    free_list(&r->queue);
    free_list(&r->waiting);
    free_list(&r->sent);
    rp_drop_left(r, true);
    free_table(&r->spaces);
    free_table(&r->watches);
    free_table(&r->own);
    pthread_mutex_destroy(&r->lock);
    xs_redis_url_free(&r->url);
    free(r);
}

static bool start(Redis *r, xs_error *err)
{
    struct timeval tick = {.tv_usec = TICK_MS * 1000};
    r->base = event_base_new();
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (r->base && r->wake_fd >= 0) {
        r->wake = event_new(r->base, r->wake_fd, EV_READ | EV_PERSIST, on_wake, r);
        r->tick = event_new(r->base, -1, EV_PERSIST, on_tick, r);
    }
    r->threaded = r->wake && r->tick && event_add(r->wake, NULL) == 0 &&
                  event_add(r->tick, &tick) == 0 &&
                  pthread_create(&r->thread, NULL, thread_main, r) == 0;
    return r->threaded || xs_fail(err, XS_E_IO, XS_NO_POS, "no thread for the backplane");
}

static void *redis_create(const xs_plane_host *host, xs_str url, xs_str node, xs_error *err)
{
    Redis *r = calloc(1, sizeof *r);
    if (!r || pthread_mutex_init(&r->lock, NULL) != 0) {
        free(r);
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    r->host = *host;
    r->wake_fd = -1;
    r->retry_ms = RETRY_MS;
    r->queue.end = &r->queue.first;
    r->waiting.end = &r->waiting.first;
    r->sent.end = &r->sent.first;
    r->left_end = &r->left;
    snprintf(r->node, sizeof r->node, "%.*s", (int)node.len, node.ptr);
    xs_str name = {r->node, strlen(r->node)};
    r->epochs = rp_number(&name, 16);
    bool known = xs_redis_url_read(&r->url, url.ptr, url.len, "realtime.backplane", err);
    redisContext *first = known ? rp_connect_and_wait(r, err) : NULL;
    if (r->url.number) /* topics know no databases */
        snprintf(r->prefix, sizeof r->prefix, "xs%d:{", r->url.number);
    else
        snprintf(r->prefix, sizeof r->prefix, "xs:{");
    bool ok = first && rp_check_version(r, first, err) && rp_claim_number(r, first, err);
    if (first)
        redisFree(first);
    if (ok && start(r, err))
        return r;
    redis_destroy(r);
    return NULL;
}

static const xs_backplane_ops ops = {
    .size = sizeof ops,
    .create = redis_create,
    .space = redis_space,
    .watch = redis_watch,
    .unwatch = redis_unwatch,
    .publish = redis_publish,
    .barrier = redis_barrier,
    .list = redis_list,
    .spread = redis_spread,
    .member = redis_member,
    .ask = redis_ask,
    .count = redis_count,
    .number = redis_number,
    .stats = redis_stats,
    .stop = redis_stop,
    .destroy = redis_destroy,
};
XS_PLUGIN_DEFINE(redis, XS_PLUGIN_BACKPLANE, "Redis", "1.0", &ops);
