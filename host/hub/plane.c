/* plane.c - mirrors of channels: filled by snapshots, kept by records, both from the backplane's
 * thread.
 *
 * A position is one number for all channels of a connection, so nothing may be delivered behind a
 * higher number: while a mirror that was complete is being repaired (the connection was lost, or a
 * record is missing), records of the whole space are held back, and released in the order of their
 * numbers when the last repair is done. */
#include "host/hub/plane.h"

#include <msgpack.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/event.h"
#include "host/hub/l2_def.h"
#include "host/hub/shard.h"

enum {
    NODE_BYTES = 16,
    LINGER_MS = 10 * 1000,     /* a mirror without members */
    WAIT_MS = 5 * 1000,        /* a join for its mirror */
    TTL_MS = 24 * 3600 * 1000, /* of what the backplane keeps of an idle channel */
    RECORD_PARTS = 8,
    NOTE_PARTS = 5,
    EXPANDED_MAX = 10000 /* channels that a published pattern reaches */
};

typedef struct Mirror {
    Channel *ch;
    struct Mirror *prev, *next; /* all of the space */
    bool complete;              /* … and current; else a snapshot is under way */
    bool repaired;              /* it counts in the space's repairs */
    bool synced;                /* its snapshot is here, the release is not */
    uint64_t version;           /* of the roster */
    int64_t idle_ms;            /* since when nobody is here; 0 = in use */
    HubJob *first, **end;       /* joins that wait, by their link */
    int64_t waiting_ms;         /* since when the first one does */
    uint64_t barriers;          /* asked for */
} Mirror;

typedef struct Late {
    Channel *ch;
    Event *ev;
} Late;

typedef struct PlaneSpace {
    Mirror *mirrors;
    uint32_t repairs;
    uint64_t seq; /* what the space's number becomes at the release */
    VEC(Late) late;
} PlaneSpace;

static xs_str str_of(Text t)
{
    return (xs_str){t.ptr, t.len};
}

static Text text_of(xs_str t)
{
    return (Text){t.ptr, t.len};
}

static Plane *plane_of(const Channel *ch)
{
    return &ch->space->hub->plane;
}

/* ---- records ---- */

static void pack_text(msgpack_packer *pk, Text t)
{
    msgpack_pack_bin(pk, t.len);
    msgpack_pack_bin_body(pk, t.len ? t.ptr : "", t.len);
}

bool plane_publish(Hub *h, Space *s, Text channel, const ChannelConfig *config, const Event *ev,
                   Receipt *receipt)
{
    msgpack_sbuffer out;
    msgpack_packer pk;
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&pk, &out, msgpack_sbuffer_write);
    msgpack_pack_array(&pk, RECORD_PARTS);
    msgpack_pack_uint32(&pk, ev->frame.flags);
    msgpack_pack_int64(&pk, ev->dbo_id);
    pack_text(&pk, ev->row_id);
    pack_text(&pk, text_from(ev->exclude));
    pack_text(&pk, text_from(ev->target));
    pack_text(&pk, text_from(ev->sender));
    bool ok = msgpack_pack_bin(&pk, ev->frame.json.len) == 0 &&
              msgpack_pack_bin_body(&pk, ev->frame.json.ptr, ev->frame.json.len) == 0 &&
              msgpack_pack_uint64(&pk, ev->frame.topic) == 0;
    uint32_t events = h->opt.ring_events > config->history ? h->opt.ring_events : config->history;
    xs_plane_limits limits = {.events = events, .ttl_ms = TTL_MS};
    ok = ok && h->plane.ops->publish(h->plane.state, str_of(s->key), str_of(channel),
                                     (ev->frame.flags & XS_FRAME_STORED) != 0, &limits,
                                     (xs_str){out.data, out.size}, receipt);
    msgpack_sbuffer_destroy(&out);
    return ok;
}

static void on_published(void *ctx, void *token, bool ok, const xs_plane_record *numbers)
{
    (void)ctx;
    Receipt *receipt = token;
    if (ok) {
        receipt->epoch = numbers->epoch;
        receipt->seq = numbers->seq;
        receipt->off = numbers->off;
    }
    receipt->ready(receipt, ok);
}

static Text bin(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_BIN ? (Text){o->via.bin.ptr, o->via.bin.size} : (Text){0};
}

static Event *build(const msgpack_object *parts, const xs_plane_record *r)
{
    Buf b;
    Text json = bin(&parts[6]), row_id = bin(&parts[2]);
    frame_begin(&b, json.len + row_id.len);
    buf_text(&b, json);
    Event *ev = frame_end_for(&b, (uint32_t)parts[0].via.u64, parts[1].via.i64, row_id);
    if (!ev)
        return NULL;
    event_set_socket(ev->exclude, bin(&parts[3]));
    event_set_socket(ev->target, bin(&parts[4]));
    event_set_socket(ev->sender, bin(&parts[5]));
    ev->frame.topic = parts[7].type == MSGPACK_OBJECT_POSITIVE_INTEGER ? parts[7].via.u64 : 0;
    ev->frame.epoch = r->epoch;
    ev->frame.seq = r->seq;
    ev->frame.off = r->off;
    ev->frame.ts = r->ts;
    return ev;
}

/* One reference; NULL: not a record of ours, or out of memory. */
static Event *decode(const xs_plane_record *r)
{
    msgpack_unpacked result;
    size_t at = 0;
    Event *ev = NULL;
    msgpack_unpacked_init(&result);
    if (msgpack_unpack_next(&result, r->data.ptr, r->data.len, &at) == MSGPACK_UNPACK_SUCCESS &&
        result.data.type == MSGPACK_OBJECT_ARRAY && result.data.via.array.size == RECORD_PARTS) {
        const msgpack_object *parts = result.data.via.array.ptr;
        bool stored = parts[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
                      (parts[0].via.u64 & XS_FRAME_STORED) != 0;
        if (parts[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER && stored == (r->off != 0))
            ev = build(parts, r);
    }
    msgpack_unpacked_destroy(&result);
    return ev;
}

/* ---- delivery ---- */

static void apply(Channel *ch, Event *ev)
{
    Space *s = ch->space;
    if (ev->frame.off <= ch->off)
        return;                  /* known already */
    if (!channel_keep(ch, ev)) { /* out of memory: whoever resumes is told */
        ch->ring.evicted_seq = ev->frame.seq;
        ch->off = ev->frame.off;
    }
    if (ev->frame.seq > s->seq)
        s->seq = ev->frame.seq;
    channel_post(ch, ev);
}

/* A hole that cannot be filled: the members have to come again. */
static void cut_members(Channel *ch)
{
    for (size_t i = 0; i < ch->ninterest; i++)
        mailbox_lose(ch->interest[i].box);
}

static void clear_ring(Channel *ch, uint64_t off, uint64_t evicted)
{
    ch->space->bytes -= ch->ring.bytes;
    ring_deinit(&ch->ring);
    ch->off = off;
    ch->ring.evicted_seq = evicted;
}

static void hold_back(Channel *ch, Event *ev)
{
    PlaneSpace *p = ch->space->plane;
    if (!VEC_PUSH(&p->late, ((Late){ch, ev}))) {
        cut_members(ch);
        return;
    }
    frame_ref(&ev->frame);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const Late *)a)->ev->frame.seq, y = ((const Late *)b)->ev->frame.seq;
    return x < y ? -1 : x > y;
}

/* What was held back of one channel, or of all (NULL). */
static void let_go(PlaneSpace *p, const Channel *only, bool deliver)
{
    size_t kept = 0;
    if (!only && p->late.len)
        qsort(p->late.ptr, p->late.len, sizeof *p->late.ptr, by_number);
    for (size_t i = 0; i < p->late.len; i++) {
        Late l = p->late.ptr[i];
        if (only && l.ch != only) {
            p->late.ptr[kept++] = l;
            continue;
        }
        if (deliver)
            apply(l.ch, l.ev);
        frame_unref(&l.ev->frame);
    }
    p->late.len = kept;
}

/* ---- mirrors ---- */

static bool ask(Channel *ch)
{
    const Plane *plane = plane_of(ch);
    return plane->ops->watch(plane->state, str_of(ch->space->key), str_of(ch->name),
                             ch->limits.max_events);
}

/* It was complete, or will be only when the others are. */
static void begin_repair(Mirror *m)
{
    m->complete = m->synced = false;
    if (!m->repaired)
        m->ch->space->plane->repairs++;
    m->repaired = true;
}

static Mirror *mirror_new(Channel *ch)
{
    Space *s = ch->space;
    if (!s->plane)
        s->plane = mem_zalloc(1, sizeof *s->plane);
    Mirror *m = s->plane ? mem_zalloc(1, sizeof *m) : NULL;
    if (!m)
        return NULL;
    m->ch = ch;
    m->end = &m->first;
    m->next = s->plane->mirrors;
    if (m->next)
        m->next->prev = m;
    s->plane->mirrors = m;
    ch->mirror = m;
    if (s->plane->repairs)
        begin_repair(m);
    return m;
}

bool mirror_use(Channel *ch, uint64_t known)
{
    Mirror *m = ch->mirror;
    bool fresh = !m;
    if (fresh && !(m = mirror_new(ch)))
        return false;
    m->idle_ms = 0;
    if (m->complete && ch->space->seq >= known)
        return true;
    if (m->complete)
        begin_repair(m); /* the client was somewhere where more had arrived */
    else if (!fresh)
        return false;
    (void)ask(ch); /* out of memory: the join is refused in a while */
    return false;
}

static void refuse(HubJob *job)
{
    hub_job_done(job, HUB_REFUSE, TEXT("The channel cannot be reached at the moment."));
}

void mirror_queue(Channel *ch, HubJob *job)
{
    Mirror *m = ch->mirror;
    job->link = NULL;
    if (!m) {
        refuse(job); /* its result comes by the mailbox */
        return;
    }
    if (!m->first)
        m->waiting_ms = mono_ms();
    *m->end = job;
    m->end = (HubJob **)(void *)&job->link;
}

void mirror_barrier(Channel *ch, HubJob *job)
{
    const Plane *plane = plane_of(ch);
    job->barrier = ++ch->mirror->barriers;
    /* Out of memory: the join is refused in a while. */
    (void)plane->ops->barrier(plane->state, str_of(ch->space->key), str_of(ch->name), job->barrier);
}

static HubJob *take_jobs(Mirror *m, HubJob *before)
{
    HubJob *jobs = m->first;
    if (!jobs)
        return before;
    *m->end = before;
    m->first = NULL;
    m->end = &m->first;
    return jobs;
}

static void finish_jobs(HubJob *jobs, bool admit)
{
    while (jobs) {
        HubJob *next = jobs->link;
        if (admit)
            hub_job_done(jobs, HUB_ADMIT, (Text){0});
        else
            refuse(jobs);
        jobs = next;
    }
}

void mirror_idle(Channel *ch)
{
    if (!ch->mirror->idle_ms)
        ch->mirror->idle_ms = mono_ms();
}

/* The last repair: everything that was held back, in order. The jobs are the caller's. */
static HubJob *release(Space *s, HubJob *jobs)
{
    PlaneSpace *p = s->plane;
    let_go(p, NULL, true);
    if (p->seq > s->seq)
        s->seq = p->seq;
    for (Mirror *m = p->mirrors; m; m = m->next) {
        if (!m->synced)
            continue;
        m->synced = false;
        m->complete = true;
        jobs = take_jobs(m, jobs);
    }
    return jobs;
}

static HubJob *end_repair(Mirror *m, HubJob *jobs)
{
    PlaneSpace *p = m->ch->space->plane;
    if (!m->repaired)
        return jobs;
    m->repaired = false;
    return --p->repairs == 0 ? release(m->ch->space, jobs) : jobs;
}

void mirror_free(Channel *ch)
{
    Mirror *m = ch->mirror;
    if (!m)
        return;
    PlaneSpace *p = ch->space->plane;
    let_go(p, ch, false);
    *(m->prev ? &m->prev->next : &p->mirrors) = m->next;
    if (m->next)
        m->next->prev = m->prev;
    ch->mirror = NULL;
    mem_free(m);
}

void plane_space_free(Space *s)
{
    if (!s->plane)
        return;
    VEC_DEINIT(&s->plane->late);
    mem_free(s->plane);
}

void mirror_announce(Channel *ch, const Present *p)
{
    const Plane *plane = plane_of(ch);
    if (!ch->mirror || !plane->ops)
        return;
    xs_plane_member m = {.socket_id = str_of(p->key), .data = str_of(p->member)};
    /* Out of memory: the other nodes do not see it until it leaves. */
    (void)plane->ops->member(plane->state, str_of(ch->space->key), str_of(ch->name), &m, p->here);
}

/* ---- from the backplane's thread ---- */

static Space *lock_space(Hub *h, xs_str key)
{
    pthread_mutex_lock(&h->lock);
    Space *s = map_get(&h->spaces, text_of(key));
    pthread_mutex_unlock(&h->lock);
    if (s)
        space_lock(s);
    return s;
}

/* The numbers began anew: positions of before are gaps, for those who are connected too. */
static void take_epoch(Space *s, uint64_t epoch)
{
    if (s->epoch == epoch)
        return;
    s->epoch = epoch;
    s->seq = s->reaped_seq = 0;
    let_go(s->plane, NULL, false);
    s->plane->seq = 0;
    for (Mirror *m = s->plane->mirrors; m; m = m->next) {
        cut_members(m->ch);
        clear_ring(m->ch, 0, 0);
    }
}

static void deliver_direct(Channel *ch, Event *ev)
{
    Member *to = channel_member(ch, text_from(ev->target));
    Mail mail = {.kind = MAIL_DIRECT, .frame = &ev->frame};
    if (!to)
        return;
    frame_ref(&ev->frame);
    if (!mailbox_push(&to->shard->box, mail))
        frame_unref(&ev->frame); /* the receiver's shard cuts its connections */
}

static void take_record(Channel *ch, Event *ev)
{
    Space *s = ch->space;
    Mirror *m = ch->mirror;
    if (ev->frame.flags & XS_FRAME_TARGET_SOCK) {
        deliver_direct(ch, ev);
        return;
    }
    if (!ev->frame.off)
        return;
    if (ev->frame.epoch != s->epoch)
        take_epoch(s, ev->frame.epoch);
    if (m->complete && ev->frame.off > ch->off + 1) { /* some are missing */
        begin_repair(m);
        if (!ask(ch))
            cut_members(ch);
    }
    if (s->plane->repairs || !m->complete)
        hold_back(ch, ev);
    else
        apply(ch, ev);
}

static void on_record(void *ctx, xs_str space, xs_str channel, const xs_plane_record *r)
{
    Event *ev = decode(r);
    if (!ev) {
        hub_log(1, "backplane: a record of %zu bytes cannot be read", r->data.len);
        return;
    }
    Space *s = lock_space(ctx, space);
    Channel *ch = s ? space_find(s, text_of(channel)) : NULL;
    if (ch && ch->mirror)
        take_record(ch, ev);
    if (s)
        space_unlock(s);
    frame_unref(&ev->frame);
}

static void take_member(Channel *ch, const xs_plane_member *m, bool here)
{
    Text id = text_of(m->socket_id);
    if (!here) {
        if (roster_remote(&ch->roster, id))
            roster_leave(ch, id, 0, mono_ms());
    } else if (!channel_member(ch, id) &&
               !roster_join_remote(ch, id, text_of(m->data), mono_ms())) {
        hub_log(1, "backplane: out of memory");
    }
}

static void on_member(void *ctx, xs_str space, xs_str channel, uint64_t version,
                      const xs_plane_member *m, bool here)
{
    Space *s = lock_space(ctx, space);
    Channel *ch = s ? space_find(s, text_of(channel)) : NULL;
    if (ch && ch->mirror && version > ch->mirror->version) {
        ch->mirror->version = version;
        take_member(ch, m, here);
    }
    if (s)
        space_unlock(s);
}

static void on_barrier(void *ctx, xs_str space, xs_str channel, uint64_t n)
{
    Space *s = lock_space(ctx, space);
    Channel *ch = s ? space_find(s, text_of(channel)) : NULL;
    Mirror *m = ch ? ch->mirror : NULL;
    HubJob *jobs = NULL, **end = &jobs;
    while (m && m->complete && m->first && m->first->barrier <= n) {
        HubJob *job = m->first;
        if (!(m->first = job->link))
            m->end = &m->first;
        job->link = NULL;
        *end = job;
        end = (HubJob **)(void *)&job->link;
    }
    if (s)
        space_unlock(s);
    finish_jobs(jobs, true);
}

/* ---- to channels that are anywhere ---- */

/* An event that waits for the names of the channels. */
typedef struct Spread {
    HubPublish event; /* its texts are behind the struct */
    char bytes[];
} Spread;

static Text keep(char **at, Text t)
{
    Text copy = {t.ptr ? *at : NULL, t.len};
    if (t.len)
        memcpy(*at, t.ptr, t.len);
    *at += t.len;
    return copy;
}

bool plane_publish_all(Hub *h, Space *s, Text prefix, const HubPublish *p)
{
    Spread *w =
        mem_alloc(sizeof *w + p->event.len + p->data.len + p->row_id.len + p->exclude.len + 1);
    if (!w)
        return false;
    char *at = w->bytes;
    w->event = *p;
    w->event.receipt = NULL;
    w->event.event = keep(&at, p->event);
    w->event.data = keep(&at, p->data);
    w->event.row_id = keep(&at, p->row_id);
    w->event.exclude = keep(&at, p->exclude);
    if (h->plane.ops->list(h->plane.state, str_of(s->key), str_of(prefix), w))
        return true;
    mem_free(w);
    return false;
}

static void on_listed(void *ctx, xs_str space, void *token, bool ok, const xs_str *channels,
                      size_t n)
{
    Hub *h = ctx;
    Spread *w = token;
    pthread_mutex_lock(&h->lock);
    Space *s = map_get(&h->spaces, text_of(space));
    pthread_mutex_unlock(&h->lock);
    if (!ok || !s)
        atomic_fetch_add_explicit(&h->dropped, 1, memory_order_relaxed);
    for (size_t i = 0; ok && s && i < n && i < EXPANDED_MAX; i++) {
        xs_error err = {0};
        w->event.channel = text_of(channels[i]);
        if (!hub_publish(h, s, &w->event, NULL, &err))
            hub_log(1, "backplane: %s", err.message);
    }
    mem_free(w);
}

/* ---- notes: ending connections wherever they are ---- */

void plane_end(Hub *h, Space *s, const HubTarget *who, Text channel, bool reconnect)
{
    msgpack_sbuffer out;
    msgpack_packer pk;
    if (!h->plane.ops)
        return;
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&pk, &out, msgpack_sbuffer_write);
    msgpack_pack_array(&pk, NOTE_PARTS);
    msgpack_pack_int64(&pk, who->dbo_id);
    pack_text(&pk, who->row_id);
    pack_text(&pk, who->socket_id);
    pack_text(&pk, channel);
    bool ok = (reconnect ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk)) == 0;
    if (!ok || !h->plane.ops->spread(h->plane.state, str_of(s->key), (xs_str){out.data, out.size}))
        hub_log(1, "backplane: other nodes were not told to end connections");
    msgpack_sbuffer_destroy(&out);
}

static void on_note(void *ctx, xs_str space, xs_str data)
{
    Hub *h = ctx;
    msgpack_unpacked result;
    size_t at = 0;
    pthread_mutex_lock(&h->lock);
    Space *s = map_get(&h->spaces, text_of(space));
    pthread_mutex_unlock(&h->lock);
    msgpack_unpacked_init(&result);
    if (s && msgpack_unpack_next(&result, data.ptr, data.len, &at) == MSGPACK_UNPACK_SUCCESS &&
        result.data.type == MSGPACK_OBJECT_ARRAY && result.data.via.array.size == NOTE_PARTS) {
        const msgpack_object *parts = result.data.via.array.ptr;
        HubTarget who = {
            .dbo_id = parts[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER ? parts[0].via.i64 : 0,
            .row_id = bin(&parts[1]),
            .socket_id = bin(&parts[2])};
        bool reconnect = parts[4].type == MSGPACK_OBJECT_BOOLEAN && parts[4].via.boolean;
        hub_end_here(h, s, &who, bin(&parts[3]), reconnect);
    }
    msgpack_unpacked_destroy(&result);
}

static Present *next_remote(Channel *ch, bool stale)
{
    size_t at = 0;
    MapSlot *slot;
    while ((slot = map_next(&ch->roster.present, &at))) {
        Present *p = slot->value;
        if (p->remote && p->here && p->stale == stale)
            return p;
    }
    return NULL;
}

static void take_roster(Channel *ch, const xs_plane_snapshot *snap)
{
    size_t at = 0;
    MapSlot *slot;
    while ((slot = map_next(&ch->roster.present, &at)))
        ((Present *)slot->value)->stale = ((Present *)slot->value)->remote;
    for (size_t i = 0; i < snap->nmembers; i++)
        if (!snap->members[i].own)
            take_member(ch, &snap->members[i], true);
    for (Present *p; (p = next_remote(ch, true));) {
        p->stale = false; /* should it stay for a moment */
        roster_leave(ch, p->key, 0, mono_ms());
    }
    ch->mirror->version = snap->version;
}

/* The records of a snapshot: those that are new, or a hole that stays one. */
static void take_records(Channel *ch, const xs_plane_snapshot *snap, bool fresh)
{
    uint64_t before = snap->nrecords ? snap->records[0].off - 1 : snap->off;
    if (fresh) {
        clear_ring(ch, before, snap->evicted);
    } else if (before > ch->off || snap->off < ch->off) {
        cut_members(ch);
        clear_ring(ch, before, snap->evicted);
    }
    for (size_t i = 0; i < snap->nrecords; i++) {
        Event *ev = snap->records[i].off > ch->off ? decode(&snap->records[i]) : NULL;
        if (!ev)
            continue;
        if (ch->mirror->repaired)
            hold_back(ch, ev);
        else
            apply(ch, ev);
        frame_unref(&ev->frame);
    }
}

static HubJob *take_snapshot(Channel *ch, const xs_plane_snapshot *snap)
{
    Space *s = ch->space;
    Mirror *m = ch->mirror;
    bool fresh = !ch->off && !ch->members.count;
    take_epoch(s, snap->epoch);
    take_roster(ch, snap);
    take_records(ch, snap, fresh);
    if (m->repaired) {
        m->synced = true;
        if (snap->seq > s->plane->seq)
            s->plane->seq = snap->seq;
        return end_repair(m, NULL);
    }
    m->complete = true;
    let_go(s->plane, ch, true);
    if (snap->seq > s->seq) /* everything up to it has come */
        s->seq = snap->seq;
    return take_jobs(m, NULL);
}

static void on_snapshot(void *ctx, xs_str space, xs_str channel, const xs_plane_snapshot *snap)
{
    Space *s = lock_space(ctx, space);
    Channel *ch = s ? space_find(s, text_of(channel)) : NULL;
    HubJob *jobs = NULL;
    if (ch && ch->mirror && !ch->mirror->complete && !ch->mirror->synced)
        jobs = take_snapshot(ch, snap);
    if (s)
        space_unlock(s);
    finish_jobs(jobs, true);
}

static void on_state(void *ctx, bool up)
{
    Hub *h = ctx;
    size_t at = 0;
    MapSlot *slot;
    if (up)
        return;
    pthread_mutex_lock(&h->lock);
    while ((slot = map_next(&h->spaces, &at))) {
        Space *s = slot->value;
        space_lock(s);
        for (Mirror *m = s->plane ? s->plane->mirrors : NULL; m; m = m->next)
            begin_repair(m);
        space_unlock(s);
    }
    pthread_mutex_unlock(&h->lock);
}

/* ---- by time ---- */

/* Also when a repair is under way: whoever waits is told, whoever is here stays. */
static HubJob *tick_space(Space *s, int64_t now_ms, HubJob *jobs)
{
    const Plane *plane = &s->hub->plane;
    for (Mirror *m = s->plane ? s->plane->mirrors : NULL, *next; m; m = next) {
        next = m->next;
        if (m->first && now_ms - m->waiting_ms >= WAIT_MS)
            jobs = take_jobs(m, jobs);
        const Roster *r = &m->ch->roster;
        if (m->first || !m->idle_ms || now_ms - m->idle_ms < LINGER_MS || m->repaired ||
            r->absent.first || r->changes.first)
            continue;
        plane->ops->unwatch(plane->state, str_of(s->key), str_of(m->ch->name));
        channel_free(m->ch);
    }
    return jobs;
}

static void take_stats(Hub *h)
{
    xs_plane_stats now = {0};
    h->plane.ops->stats(h->plane.state, &now);
    atomic_store_explicit(&h->plane_up, now.up, memory_order_relaxed);
    atomic_store_explicit(&h->plane_published, now.published, memory_order_relaxed);
    atomic_store_explicit(&h->plane_received, now.received, memory_order_relaxed);
    atomic_store_explicit(&h->plane_dropped, now.dropped, memory_order_relaxed);
    atomic_store_explicit(&h->plane_lost, now.lost, memory_order_relaxed);
}

void plane_tick(Hub *h, int64_t now_ms)
{
    size_t at = 0;
    MapSlot *slot;
    HubJob *jobs = NULL;
    if (!h->plane.ops)
        return;
    pthread_mutex_lock(&h->lock);
    while ((slot = map_next(&h->spaces, &at))) {
        Space *s = slot->value;
        space_lock(s);
        jobs = tick_space(s, now_ms, jobs);
        space_unlock(s);
    }
    pthread_mutex_unlock(&h->lock);
    finish_jobs(jobs, false);
    take_stats(h);
}

/* ---- life ---- */

bool plane_epoch(Hub *h, Text space, uint64_t *epoch, xs_error *err)
{
    return !h->plane.ops || h->plane.ops->space(h->plane.state, str_of(space), *epoch, epoch, err);
}

bool plane_refuse_server(Text name, xs_error *err)
{
    return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                   "realtime.backplane: the realtime_server \"" TEXT_FMT
                   "\" is not supported on several nodes yet; leave the option out",
                   TEXT_ARG(name));
}

bool hub_set_backplane(Hub *h, const xs_backplane_ops *ops, Text url, xs_error *err)
{
    static const char hex[] = "0123456789abcdef";
    char node[NODE_BYTES];
    const L2Defs *servers = h->servers;
    for (size_t i = 0; i < servers->count; i++)
        if (servers->servers[i].active)
            return plane_refuse_server(servers->servers[i].name, err);
    hub_random(node, sizeof node);
    for (size_t i = 0; i < sizeof node; i++)
        node[i] = hex[node[i] & 15];
    xs_plane_host host = {.size = sizeof host,
                          .ctx = h,
                          .record = on_record,
                          .member = on_member,
                          .snapshot = on_snapshot,
                          .barrier = on_barrier,
                          .published = on_published,
                          .listed = on_listed,
                          .note = on_note,
                          .state = on_state,
                          .log = hub_log};
    void *state = ops->create(&host, str_of(url), (xs_str){node, sizeof node}, err);
    if (!state)
        return false;
    h->plane = (Plane){ops, state};
    return true;
}

void hub_stop_backplane(Hub *h)
{
    if (!h || !h->plane.ops)
        return;
    h->plane.ops->stop(h->plane.state);
    plane_tick(h, INT64_MAX); /* refuses whoever still waits */
    h->plane.ops->destroy(h->plane.state);
    h->plane = (Plane){0};
}
