/* hub.c - the hub itself: its spaces, publishing from the server, frames by POST, statistics. */
#include "host/hub/hub.h"

#include <stdlib.h>
#include <sys/random.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/expiring.h"
#include "host/hub/event.h"
#include "host/hub/l2.h"
#include "host/hub/l2_frame.h"
#include "host/hub/l2_store.h"
#include "host/hub/plane.h"
#include "host/hub/protocol.h"

enum {
    DEFAULT_RING_EVENTS = 64,
    DEFAULT_RING_BYTES = 1 << 20,
    DEFAULT_SPACE_BYTES = 64 << 20,
    DEFAULT_MAX_EVENT = 256 << 10,
    DEFAULT_MAX_DEPTH = 64,
    DEFAULT_CHANNELS = 128,
    DEFAULT_FRAMES_PER_S = 50,
    DEFAULT_FRAMES_BURST = 100,
    DEFAULT_FIFO_FRAMES = 64,
    DEFAULT_FIFO_BYTES = 256 << 10,
    DEFAULT_JOINS_PER_S = 20,
    DEFAULT_JOINS_BURST = 128,
    DEFAULT_EXTRAS_MAX = 2048, /* larger ones are not shown to other clients */
    GHOST_MS = 30000,
    GHOSTS_MAX = 65536,
    MAX_EXPANDED = 10000, /* channels that a published pattern reaches */
    MAX_POSTED = 32       /* frames of one POST */
};

static void fill_defaults(HubOptions *o)
{
#define DEFAULT(field, value) (o->field = o->field ? o->field : (value))
    DEFAULT(ring_events, DEFAULT_RING_EVENTS);
    DEFAULT(ring_bytes, DEFAULT_RING_BYTES);
    DEFAULT(space_ring_bytes, DEFAULT_SPACE_BYTES);
    DEFAULT(max_event, DEFAULT_MAX_EVENT);
    DEFAULT(max_depth, DEFAULT_MAX_DEPTH);
    DEFAULT(channels_per_conn, DEFAULT_CHANNELS);
    DEFAULT(frames_per_s, DEFAULT_FRAMES_PER_S);
    DEFAULT(frames_burst, DEFAULT_FRAMES_BURST);
    DEFAULT(fifo_frames, DEFAULT_FIFO_FRAMES);
    DEFAULT(fifo_bytes, DEFAULT_FIFO_BYTES);
    DEFAULT(joins_per_s, DEFAULT_JOINS_PER_S);
    DEFAULT(joins_burst, DEFAULT_JOINS_BURST);
    DEFAULT(presence_extras_max, DEFAULT_EXTRAS_MAX);
#undef DEFAULT
}

static Space *add_space(Hub *h, Text tenant, Text canonical);
static Space *find_space(Hub *h, Text tenant, Text canonical);

/* Of a space whose server the program does not have any more. */
static const L2Server closed_server = {.name = {"", 0}, .canonical = {"", 0}};

static bool open_store(Hub *h, xs_error *err)
{
    char path[4096];
    Text file = h->opt.record.len ? h->opt.record : TEXT(":memory:");
    if (file.len >= sizeof path)
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "the path of the realtime record is too long");
    memcpy(path, file.ptr, file.len);
    path[file.len] = '\0';
    h->store = store_open(path, err);
    return h->store != NULL;
}

static void free_defs(L2Defs *d)
{
    if (d)
        l2_defs_deinit(d);
    mem_free(d);
}

/* A space for each server; those that are new stay closed. */
static bool make_spaces(Hub *h, const L2Defs *d, xs_error *err)
{
    for (size_t i = 0; i < d->count; i++) {
        const L2Server *server = &d->servers[i];
        if (!server->active)
            continue;
        Space *s = find_space(h, h->opt.tenant, server->canonical);
        if (s && !s->server)
            return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                           "the workspace and a realtime server have the same canonical");
        if (!s && !(s = add_space(h, h->opt.tenant, server->canonical)))
            return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        if (!s->server)
            s->server = &closed_server;
    }
    return true;
}

/* With a backplane it keeps the record. */
static bool has_record(Hub *h, const L2Defs *d, xs_error *err)
{
    return !d->recorded || h->store || h->plane.ops || open_store(h, err);
}

/* The realtime servers of a program, and everything about them that can fail. */
static L2Defs *prepare_servers(Hub *h, const Const *meta, xs_error *err)
{
    L2Defs *d = mem_zalloc(1, sizeof *d);
    if (!d) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    bool ok = l2_defs_init(d, meta, err);
    pthread_mutex_lock(&h->lock);
    ok = ok && make_spaces(h, d, err) && has_record(h, d, err);
    pthread_mutex_unlock(&h->lock);
    if (ok)
        return d;
    free_defs(d);
    return NULL;
}

static const L2Server *server_of(const L2Defs *d, const Space *s)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->servers[i].active && text_eq(d->servers[i].canonical, s->canonical))
            return &d->servers[i];
    return &closed_server;
}

static const ChannelConfig gone_config = {.active = false};

/* The hub's lock is held. */
static void use_servers(Hub *h, L2Defs *d)
{
    MapSlot *slot;
    size_t at = 0;
    h->servers = d;
    while ((slot = map_next(&h->spaces, &at))) {
        Space *s = slot->value;
        if (!s->server)
            continue;
        const L2Server *server = server_of(d, s);
        size_t channel_at = 0;
        space_lock(s);
        s->server = server;
        while ((slot = map_next(&s->channels, &channel_at))) {
            const L2Channel *ch = l2_match(server, slot->key);
            channel_configure(slot->value, ch ? &ch->config : &gone_config);
        }
        space_unlock(s);
    }
}

/* ---- what is declared ---- */

/* Anybody may be looking at declarations that were replaced, so they stay until the end. A program
 * that declares what one before it did gets the same ones. */
typedef struct Declared {
    struct Declared *older;
    Buf source;
    Patterns *patterns; /* or */
    L2Defs *servers;
} Declared;

static void free_declared(Declared *d)
{
    patterns_free(d->patterns);
    free_defs(d->servers);
    buf_deinit(&d->source);
    mem_free(d);
}

/* The one with that source, which is taken, or a new one without anything made of it. */
static Declared *find_declared(Hub *h, Buf *source, xs_error *err)
{
    Declared *d = h->declared;
    while (d && !text_eq(buf_view(&d->source), buf_view(source)))
        d = d->older;
    Declared *made = d || source->failed ? NULL : mem_zalloc(1, sizeof *made);
    if (!made) {
        buf_deinit(source);
        if (!d)
            xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return d;
    }
    *made = (Declared){.source = *source};
    return made;
}

static void keep_declared(Hub *h, Declared *d)
{
    d->older = h->declared;
    h->declared = d;
}

static Patterns *declare_channels(Hub *h, const Const *channels, Text default_channel,
                                  xs_error *err)
{
    Buf source = BUF_INIT;
    buf_text(&source, default_channel);
    json_write_const(&source, channels ? channels : &const_null);
    Declared *d = find_declared(h, &source, err);
    if (!d || d->patterns)
        return d ? d->patterns : NULL;
    d->patterns = patterns_new(channels, default_channel, err);
    if (d->patterns) {
        keep_declared(h, d);
        return d->patterns;
    }
    free_declared(d);
    return NULL;
}

static L2Defs *declare_servers(Hub *h, const Const *meta, xs_error *err)
{
    static const char *const lists[] = {"servers", "server_channels", "messages",
                                        "server_triggers"};
    Buf source = BUF_INIT;
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        const Const *list = const_get(meta, lists[i]);
        buf_printf(&source, "%s ", lists[i]);
        json_write_const(&source, list ? list : &const_null);
    }
    Declared *d = find_declared(h, &source, err);
    if (!d || d->servers)
        return d ? d->servers : NULL;
    d->servers = prepare_servers(h, meta, err);
    if (d->servers) {
        keep_declared(h, d);
        return d->servers;
    }
    free_declared(d);
    return NULL;
}

Hub *hub_new(const HubOptions *opt, const HubDispatcher *dispatcher, xs_error *err)
{
    Hub *h = mem_zalloc(1, sizeof *h);
    if (!h) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    h->opt = *opt;
    fill_defaults(&h->opt);
    if (dispatcher) {
        h->dispatcher = *dispatcher;
        h->has_dispatcher = true;
    }
    h->ghosts = expiring_new(GHOST_MS, GHOSTS_MAX, ghost_free);
    if (!h->ghosts || pthread_mutex_init(&h->lock, NULL) != 0) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        expiring_free(h->ghosts);
        mem_free(h);
        return NULL;
    }
    Patterns *patterns = slow_rules_init(&h->slow, opt->slow_policy, err)
                             ? declare_channels(h, opt->channels, opt->default_channel, err)
                             : NULL;
    L2Defs *servers = patterns ? declare_servers(h, opt->meta, err) : NULL;
    if (servers) {
        h->patterns = patterns;
        use_servers(h, servers);
        return h;
    }
    hub_free(h);
    return NULL;
}

void hub_free(Hub *h)
{
    if (!h)
        return;
    store_close(h->store);
    MapSlot *slot;
    size_t at = 0;
    while ((slot = map_next(&h->spaces, &at)))
        space_free(slot->value);
    map_deinit(&h->spaces);
    map_deinit(&h->sids);
    map_deinit(&h->per_ip);
    map_deinit(&h->per_identity);
    VEC_DEINIT(&h->alarms);
    expiring_free(h->ghosts);
    for (Declared *d = h->declared, *older; d; d = older) {
        older = d->older;
        free_declared(d);
    }
    slow_rules_deinit(&h->slow);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

/* ---- spaces ---- */

static Space *find_space(Hub *h, Text tenant, Text canonical)
{
    Text key;
    char *text = space_key(tenant, canonical, &key);
    Space *s = text ? map_get(&h->spaces, key) : NULL;
    mem_free(text);
    return s;
}

static Space *add_space(Hub *h, Text tenant, Text canonical)
{
    RingLimits limits = {.max_events = h->opt.ring_events, .max_bytes = h->opt.ring_bytes};
    Space *s = space_new(h, tenant, canonical, &limits, h->opt.space_ring_bytes);
    if (!s)
        return NULL;
    uint64_t epoch;
    xs_error err = {0};
    bool ok = getrandom(&epoch, sizeof epoch, 0) == (ssize_t)sizeof epoch;
    if (ok && !plane_epoch(h, s->key, &epoch, &err)) {
        hub_log(0, "%s", err.message);
        ok = false;
    }
    s->epoch = epoch;
    if (!ok || !map_put(&h->spaces, s->key, s)) {
        space_free(s);
        return NULL;
    }
    return s;
}

Space *hub_space(Hub *h, Text tenant, Text canonical)
{
    pthread_mutex_lock(&h->lock);
    Space *s = find_space(h, tenant, canonical);
    if (!s)
        s = add_space(h, tenant, canonical);
    pthread_mutex_unlock(&h->lock);
    return s;
}

Space *hub_find_space(Hub *h, Text tenant, Text canonical)
{
    pthread_mutex_lock(&h->lock);
    Space *s = find_space(h, tenant, canonical);
    pthread_mutex_unlock(&h->lock);
    return s;
}

/* ---- new declarations ---- */

/* Whoever may no longer be in a channel is told so. */
static void recheck(xs_shard *s, void *arg)
{
    (void)arg;
    for (xs_conn *c = s->conns; c; c = c->next)
        if (c->space->server)
            l2_recheck(c);
        else
            protocol_recheck(c);
}

static void configure_channels(Space *s, const Patterns *patterns)
{
    size_t at = 0;
    MapSlot *slot;
    space_lock(s);
    while ((slot = map_next(&s->channels, &at))) {
        Channel *ch = slot->value;
        const ChannelConfig *config = patterns_resolve(patterns, ch->name);
        channel_configure(ch, config ? config : &gone_config);
    }
    space_unlock(s);
}

bool hub_set_declarations(Hub *h, const Const *meta, Text default_channel, xs_error *err)
{
    Patterns *patterns = declare_channels(h, const_get(meta, "channels"), default_channel, err);
    L2Defs *servers = patterns ? declare_servers(h, meta, err) : NULL;
    if (!servers)
        return false;
    size_t at = 0;
    MapSlot *slot;
    pthread_mutex_lock(&h->lock);
    h->patterns = patterns;
    while ((slot = map_next(&h->spaces, &at)))
        if (!((Space *)slot->value)->server)
            configure_channels(slot->value, patterns);
    use_servers(h, servers);
    for (xs_shard *s = h->shards; s; s = s->next_of_hub)
        if (!mailbox_push(&s->box, (Mail){.kind = MAIL_CALL, .call = recheck}))
            continue; /* its connections are cut anyway */
    pthread_mutex_unlock(&h->lock);
    return true;
}

Space *hub_server_space(Hub *h, Text tenant, Text name)
{
    const L2Server *server = l2_server_named(h->servers, name);
    Space *s = server ? hub_find_space(h, tenant, server->canonical) : NULL;
    return s && s->server == server ? s : NULL;
}

Space *hub_server_at(Hub *h, size_t index)
{
    const L2Defs *d = h->servers;
    for (size_t i = 0; i < d->count; i++) {
        Space *s = hub_server_space(h, h->opt.tenant, d->servers[i].name);
        if (s && index-- == 0)
            return s;
    }
    return NULL;
}

bool space_is_server(const Space *s)
{
    return s->server != NULL;
}

/* ---- publishing ---- */

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* With a backplane: it gets the event, whose reference is taken, and numbers it. */
static bool publish_out(Hub *h, Space *s, Text channel, const ChannelConfig *config, Event *ev,
                        Receipt *receipt, HubPublished *out, xs_error *err)
{
    space_lock(s);
    const Channel *mirror = space_find(s, channel);
    uint64_t here = mirror ? mirror->members.count : 0;
    space_unlock(s);
    if (receipt) {
        receipt->pending = true;
        receipt->delivered = here;
    }
    bool sent = plane_publish(h, s, channel, config, ev, receipt);
    if (receipt && !sent)
        receipt->pending = false;
    out->delivered_local += here;
    out->epoch = s->epoch;
    frame_unref(&ev->frame);
    count(sent ? &h->published : &h->dropped);
    return sent || xs_fail(err, XS_E_IO, XS_NO_POS, "the backplane does not take the event");
}

/* One event to one channel that exists; p->data is compact JSON. */
static bool publish_one(Hub *h, Space *s, Text channel, const HubPublish *p, HubPublished *out,
                        xs_error *err)
{
    const ChannelConfig *config = patterns_resolve(h->patterns, channel);
    if (!config || !channel_tenant_ok(channel, s->tenant)) {
        count(&h->dropped); /* publishing nowhere is no error of the program */
        return true;
    }
    Event *ev = d1_event(channel, p->event, p->data, p->dbo_id, p->row_id);
    if (!ev)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    ev->frame.topic = text_hash(p->event);
    if (p->exclude.len == SOCKET_ID_LEN) {
        event_set_socket(ev->exclude, p->exclude);
        ev->frame.flags |= XS_FRAME_EXCLUDE;
    }
    if (h->plane.ops)
        return publish_out(h, s, channel, config, ev, p->receipt, out, err);
    space_lock(s);
    Channel *ch = space_find(s, channel);
    if (!ch) { /* again, under the lock: declarations are replaced before live channels get theirs
                */
        const ChannelConfig *now = patterns_resolve(h->patterns, channel);
        config = now ? now : config;
    }
    ch = space_channel(s, channel, config);
    bool ok = ch && channel_store(ch, ev);
    if (ok) {
        out->epoch = s->epoch;
        out->seq = ev->frame.seq;
        out->off = ev->frame.off;
        out->delivered_local += channel_post(ch, ev);
    }
    if (ch)
        channel_settle(ch);
    space_unlock(s);
    frame_unref(&ev->frame);
    if (!ok)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    count(&h->published);
    return true;
}

static int by_text(const void *a, const void *b)
{
    return text_cmp(*(const Text *)a, *(const Text *)b);
}

typedef VEC(Text) TextVec;

/* Copies of the names of live channels that match, sorted. false when out of memory. */
static bool live_matches(Space *s, Text pattern, Arena *a, TextVec *names)
{
    bool ok = true;
    size_t at = 0;
    MapSlot *slot;
    space_lock(s);
    while (ok && (slot = map_next(&s->channels, &at))) {
        if (!text_match_pattern(pattern, slot->key))
            continue;
        Text copy = arena_text(a, slot->key);
        ok = copy.ptr && VEC_PUSH(names, copy);
    }
    space_unlock(s);
    if (ok && names->len)
        qsort(names->ptr, names->len, sizeof *names->ptr, by_text);
    return ok;
}

static bool publish_pattern(Hub *h, Space *s, const HubPublish *p, HubPublished *out, xs_error *err)
{
    if (h->plane.ops)
        return plane_publish_all(h, s, text_slice(p->channel, 0, p->channel.len - 1), p) ||
               xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    Arena a;
    TextVec names = {0};
    arena_init(&a, 0);
    bool ok = live_matches(s, p->channel, &a, &names);
    if (!ok)
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    for (size_t i = 0; ok && i < names.len && i < MAX_EXPANDED; i++)
        ok = publish_one(h, s, names.ptr[i], p, out, err);
    VEC_DEINIT(&names);
    arena_deinit(&a);
    return ok;
}

/* Frames are one line each: JSON with blanks between its tokens is rewritten. */
static bool is_compact(Text json)
{
    return json.len && json.ptr[0] > ' ' && !memchr(json.ptr, '\n', json.len) &&
           !memchr(json.ptr, '\r', json.len);
}

static bool may_publish(const Hub *h, const Space *s, const HubPublish *p, xs_error *err)
{
    if (!(s->server ? l2_path_valid(p->channel) : channel_pattern_valid(p->channel)))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "invalid channel name");
    if (p->data.len > h->opt.max_event || p->event.len > h->opt.max_event)
        return xs_fail(err, XS_E_TOO_LARGE, XS_NO_POS, "event of %zu bytes is larger than %zu",
                       p->data.len, h->opt.max_event);
    if (s->server && p->event.ptr && (p->event.len == 0 || p->event.len > L2_TEXT_MAX))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "invalid message type");
    return true;
}

void hub_count_dropped(Hub *h)
{
    count(&h->dropped);
}

bool hub_publish(Hub *h, Space *s, const HubPublish *p, HubPublished *out, xs_error *err)
{
    HubPublish event = *p;
    HubPublished result = {0};
    Buf compact = BUF_INIT;
    if (!may_publish(h, s, p, err)) {
        count(&h->dropped);
        return false;
    }
    if (!p->data.len) {
        event.data = TEXT("null");
    } else if (!is_compact(p->data)) {
        if (!protocol_compact(p->data, &compact)) {
            buf_deinit(&compact);
            return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "event data is not JSON");
        }
        event.data = buf_view(&compact);
    }
    bool pattern = p->channel.ptr[p->channel.len - 1] == '*';
    bool ok = s->server ? l2_publish(h, s, &event, &result, err)
              : pattern ? publish_pattern(h, s, &event, &result, err)
                        : publish_one(h, s, p->channel, &event, &result, err);
    buf_deinit(&compact);
    if (ok && out)
        *out = result;
    return ok;
}

/* ---- all queues together ---- */

void hub_note_queues(Hub *h, uint64_t queued)
{
    bool full = h->opt.queue_total_bytes && queued > h->opt.queue_total_bytes;
    uint64_t connections = atomic_load_explicit(&h->connections, memory_order_relaxed);
    /* Nobody below the average is to pay for the others. */
    uint64_t least = queued / (connections ? connections : 1);
    atomic_store_explicit(&h->queues_full, full, memory_order_relaxed);
    if (!full)
        return;
    pthread_mutex_lock(&h->lock);
    for (xs_shard *s = h->shards; s; s = s->next_of_hub)
        if (!atomic_exchange(&s->shedding, true) &&
            !mailbox_push(
                &s->box,
                (Mail){.kind = MAIL_CALL, .call = shard_shed, .arg = (void *)(uintptr_t)least}))
            atomic_store(&s->shedding, false); /* its connections are cut anyway */
    pthread_mutex_unlock(&h->lock);
}

/* ---- POST /send ---- */

static void note_longest(void *ctx, Text frame)
{
    size_t *longest = ctx;
    if (frame.len > *longest)
        *longest = frame.len;
}

bool hub_send(Hub *h, Space *s, Text sid, Identity *who, Text frames, uint32_t *n, xs_error *err)
{
    uint32_t accepted;
    size_t longest = 0;
    if (!protocol_split(frames, UINT32_MAX, note_longest, &longest, &accepted))
        return xs_fail(err, XS_E_BAD_FRAME, XS_NO_POS, "Malformed frame.");
    if (accepted > MAX_POSTED)
        return xs_fail(err, XS_E_TOO_LARGE, XS_NO_POS, "More than %d frames.", MAX_POSTED);
    SendBatch *batch = mem_alloc(sizeof *batch + frames.len);
    if (!batch)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    batch->len = frames.len;
    memcpy(batch->bytes, frames.ptr, frames.len);
    memset(batch->sid, 0, sizeof batch->sid);
    if (sid.len == SID_LEN)
        memcpy(batch->sid, sid.ptr, SID_LEN);
    pthread_mutex_lock(&h->lock); /* keeps the connection and its shard alive */
    xs_conn *c = sid.len == SID_LEN ? map_get(&h->sids, sid) : NULL;
    bool ok = false;
    if (!c || c->space != s)
        xs_fail(err, XS_E_NOTFOUND, XS_NO_POS, "No such session.");
    else if (!identity_same(c->identity, who) && !who->authenticated)
        xs_fail(err, XS_E_UNAUTHORIZED, XS_NO_POS, "Authentication Required");
    else if (!identity_same(c->identity, who))
        xs_fail(err, XS_E_ACCESSDENIED, XS_NO_POS, "The session belongs to somebody else.");
    else if (c->shard->limits && c->shard->limits->max_message &&
             longest > c->shard->limits->max_message)
        xs_fail(err, XS_E_TOO_LARGE, XS_NO_POS, "Message is too large.");
    else if (!(ok = mailbox_push(&c->shard->box, (Mail){.kind = MAIL_SEND, .arg = batch})))
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    pthread_mutex_unlock(&h->lock);
    if (ok)
        *n = accepted;
    else
        mem_free(batch);
    return ok;
}

/* ---- statistics ---- */

void hub_stats(Hub *h, HubStats *out)
{
    *out = (HubStats){0};
#define COUNTER(field, name, type, help)                                                           \
    out->field = atomic_load_explicit(&h->field, memory_order_relaxed);
#include "host/hub/counters.def"
    for (unsigned i = 0; i < HUB_CLOSED_COUNT; i++)
        out->closed[i] = atomic_load_explicit(&h->closed[i], memory_order_relaxed);
    out->deliver_us = &h->deliver_us;
    MapSlot *slot;
    size_t at = 0;
    pthread_mutex_lock(&h->lock);
    while ((slot = map_next(&h->spaces, &at))) {
        Space *s = slot->value;
        space_lock(s);
        out->channels += s->channels.count;
        space_unlock(s);
        out->spaces++;
    }
    pthread_mutex_unlock(&h->lock);
}
