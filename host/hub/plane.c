/* plane.c - mirrors of channels: filled by snapshots, kept by records, both from the backplane's
 * thread.
 *
 * A position is one number for all channels of a connection, so nothing may be delivered behind a
 * higher number: while a mirror that was complete is being repaired (the connection was lost, or a
 * record is missing), records of the whole space are held back, and released in the order of their
 * numbers when the last repair is done. */
#include "host/hub/plane.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/event.h"
#include "host/hub/l2_store.h"
#include "host/hub/record.h"
#include "host/hub/shard.h"

enum {
#ifdef XS_SMALL_LIMITS
    LINGER_MS = 300,
#else
    LINGER_MS = 10 * 1000, /* a mirror without members */
#endif
    WAIT_MS = 5 * 1000,        /* a join for its mirror */
    TTL_MS = 24 * 3600 * 1000, /* of what the backplane keeps of an idle channel */
    NOTE_PARTS = 5,
    EXPANDED_MAX = 10000 /* channels that a published pattern reaches */
};

typedef struct WaitList {
    MirrorWait *first, **end;
} WaitList;

typedef struct Mirror {
    Channel *ch;
    struct Mirror *prev, *next; /* all of the space */
    bool complete;              /* … and current; else a snapshot is under way */
    bool repaired;              /* it counts in the space's repairs */
    bool synced;                /* its snapshot is here, the release is not */
    bool unasked;               /* … nobody could be asked for it yet */
    uint64_t version;           /* of the roster */
    int64_t idle_ms;            /* since when nobody is here; 0 = in use */
    WaitList waits;             /* for it to be complete, or for a barrier; in their order */
    WaitList behind;            /* for a record, in theirs */
    uint64_t barriers;          /* asked for */
    Map far;                    /* members of other nodes: id → Far */
} Mirror;

/* A member of another node; its texts are behind the struct. */
typedef struct Far {
    Text id, key; /* key: in the roster */
    bool stale;   /* not in the newest snapshot */
} Far;

typedef struct Late {
    Channel *ch;
    Event *ev;
    uint64_t seq; /* of the event; without a number, of the newest before it */
    size_t at;
} Late;

typedef struct PlaneSpace {
    Mirror *mirrors;
    uint32_t repairs;
    uint64_t seq;   /* what the space's number becomes at the release */
    uint64_t named; /* members that got a number */
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

/* A copy at *at, which moves behind it. */
static Text keep(char **at, Text t)
{
    Text copy = {t.ptr ? *at : NULL, t.len};
    if (t.len)
        memcpy(*at, t.ptr, t.len);
    *at += t.len;
    return copy;
}

static Plane *plane_of(const Channel *ch)
{
    return &ch->space->hub->plane;
}

/* ---- records ---- */

bool plane_send(Hub *h, Space *s, Text channel, bool numbered, const xs_plane_limits *limits,
                Text record, Receipt *receipt)
{
    return h->plane.ops->publish(h->plane.state, str_of(s->key), str_of(channel), numbered, limits,
                                 str_of(record), receipt);
}

bool plane_publish(Hub *h, Space *s, Text channel, const ChannelConfig *config, const Event *ev,
                   Receipt *receipt)
{
    msgpack_sbuffer out;
    msgpack_sbuffer_init(&out);
    uint32_t events = h->opt.ring_events > config->history ? h->opt.ring_events : config->history;
    xs_plane_limits limits = {.events = events, .ttl_ms = TTL_MS};
    bool ok = record_write_event(&out, ev) &&
              plane_send(h, s, channel, (ev->frame.flags & XS_FRAME_STORED) != 0, &limits,
                         (Text){out.data, out.size}, receipt);
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

/* ---- those who wait ---- */

static void waits_init(WaitList *l)
{
    *l = (WaitList){NULL, &l->first};
}

static void waits_push(WaitList *l, MirrorWait *w)
{
    w->next = NULL;
    *l->end = w;
    l->end = &w->next;
}

static MirrorWait *waits_pop(WaitList *l)
{
    MirrorWait *w = l->first;
    if (!(l->first = w->next))
        l->end = &l->first;
    return w;
}

/* Has the first one waited for long enough? */
static bool waits_too_long(const WaitList *l, int64_t now_ms)
{
    return l->first && now_ms - l->first->since_ms >= WAIT_MS;
}

/* ---- delivery ---- */

static void settle_first(Mirror *m)
{
    MirrorWait *w = waits_pop(&m->behind);
    w->done(w, true);
}

/* Whoever waits for records up to the newest one here, or for any. */
static void settle(Mirror *m, bool all)
{
    while (m->behind.first && (all || m->behind.first->off <= m->ch->off))
        settle_first(m);
}

static void apply(Channel *ch, Event *ev)
{
    Space *s = ch->space;
    if (!ev->frame.off) { /* not numbered */
        channel_post(ch, ev);
        return;
    }
    if (ev->frame.off <= ch->off)
        return;                  /* known already */
    if (!channel_keep(ch, ev)) { /* out of memory: whoever resumes is told */
        ch->ring.evicted_seq = ev->frame.seq;
        ch->off = ev->frame.off;
    }
    if (ev->frame.seq > s->seq)
        s->seq = ev->frame.seq;
    channel_post(ch, ev);
    settle(ch->mirror, false);
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
    ch->ring.evicted_seq = ch->last_seq = evicted;
    settle(ch->mirror, false);
}

static void hold_back(Channel *ch, Event *ev)
{
    PlaneSpace *p = ch->space->plane;
    size_t n = p->late.len;
    uint64_t seq = ev->frame.seq ? ev->frame.seq : n ? p->late.ptr[n - 1].seq : 0;
    if (!VEC_PUSH(&p->late, ((Late){ch, ev, seq, n}))) {
        cut_members(ch);
        return;
    }
    frame_ref(&ev->frame);
}

static int by_number(const void *a, const void *b)
{
    const Late *x = a, *y = b;
    if (x->seq == y->seq)
        return x->at < y->at ? -1 : 1;
    return x->seq < y->seq ? -1 : 1;
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

/* For a snapshot; without memory the next tick asks. */
static void ask(Channel *ch)
{
    const Plane *plane = plane_of(ch);
    ch->mirror->unasked = !plane->ops->watch(plane->state, str_of(ch->space->key), str_of(ch->name),
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
    waits_init(&m->waits);
    waits_init(&m->behind);
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
    ask(ch);
    return false;
}

void mirror_queue(Channel *ch, MirrorWait *w)
{
    Mirror *m = ch->mirror;
    w->since_ms = clock_mono_ms();
    if (m)
        waits_push(&m->waits, w);
    else
        w->done(w, false); /* out of memory */
}

void mirror_barrier(Channel *ch, MirrorWait *w)
{
    const Plane *plane = plane_of(ch);
    w->barrier = ++ch->mirror->barriers;
    /* Out of memory: it ends in a while. */
    (void)plane->ops->barrier(plane->state, str_of(ch->space->key), str_of(ch->name), w->barrier);
}

void mirror_await(Space *s, Text channel, MirrorWait *w, uint64_t off)
{
    space_lock(s);
    const Channel *ch = space_find(s, channel);
    Mirror *m = ch ? ch->mirror : NULL;
    w->off = off;
    w->since_ms = clock_mono_ms();
    if (!m || off <= ch->off)
        w->done(w, true);
    else
        waits_push(&m->behind, w);
    space_unlock(s);
}

static MirrorWait *take_waits(Mirror *m, MirrorWait *before)
{
    MirrorWait *waits = m->waits.first;
    if (!waits)
        return before;
    *m->waits.end = before;
    waits_init(&m->waits);
    return waits;
}

static void finish_waits(MirrorWait *waits, bool ok)
{
    while (waits) {
        MirrorWait *next = waits->next;
        waits->done(waits, ok);
        waits = next;
    }
}

void mirror_idle(Channel *ch)
{
    if (!ch->mirror->idle_ms)
        ch->mirror->idle_ms = clock_mono_ms();
}

/* The last repair: everything that was held back, in order. Who waited is the caller's. */
static MirrorWait *release(Space *s, MirrorWait *waits)
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
        waits = take_waits(m, waits);
    }
    return waits;
}

static MirrorWait *end_repair(Mirror *m, MirrorWait *waits)
{
    PlaneSpace *p = m->ch->space->plane;
    if (!m->repaired)
        return waits;
    m->repaired = false;
    return --p->repairs == 0 ? release(m->ch->space, waits) : waits;
}

void mirror_free(Channel *ch)
{
    Mirror *m = ch->mirror;
    if (!m)
        return;
    PlaneSpace *p = ch->space->plane;
    let_go(p, ch, false);
    settle(m, true);
    size_t at = 0;
    for (MapSlot *slot; (slot = map_next(&m->far, &at));)
        mem_free(slot->value);
    map_deinit(&m->far);
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

/* Sockets are named by their ids. An identity may be on several nodes, so each gives it a name of
 * its own, and tells the key in front of what rosters show. */
void mirror_announce(Channel *ch, Present *p, bool here)
{
    const Plane *plane = plane_of(ch);
    char name[64];
    Buf data = BUF_INIT;
    if (!ch->mirror || !plane->ops)
        return;
    xs_plane_member m = {.socket_id = str_of(p->key), .data = str_of(p->member)};
    if (ch->space->server) {
        if (!p->number)
            p->number = ++ch->space->plane->named;
        int n = snprintf(name, sizeof name, "%s.%llu", plane->node, (unsigned long long)p->number);
        buf_text(&data, p->key);
        buf_char(&data, '\n');
        buf_text(&data, p->member);
        m.socket_id = (xs_str){name, (size_t)n};
        m.data = str_of(buf_view(&data));
    }
    /* Out of memory: the other nodes do not see it until it leaves. */
    if (!data.failed)
        (void)plane->ops->member(plane->state, str_of(ch->space->key), str_of(ch->name), &m, here);
    buf_deinit(&data);
}

/* ---- from the backplane's thread ---- */

static Space *find_space(Hub *h, xs_str key)
{
    pthread_mutex_lock(&h->lock);
    Space *s = map_get(&h->spaces, text_of(key));
    pthread_mutex_unlock(&h->lock);
    return s;
}

static Space *lock_space(Hub *h, xs_str key)
{
    Space *s = find_space(h, key);
    if (s)
        space_lock(s);
    return s;
}

/* The numbers began anew: positions of before are gaps, for those who are connected too. Rosters
 * are gone as well, and nobody says who left with them: every mirror begins anew. current: the one
 * whose snapshot says so. */
static void take_epoch(Space *s, uint64_t epoch, const Mirror *current)
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
        settle(m, true);
        if (m == current)
            continue;
        begin_repair(m);
        ask(m->ch);
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
    if (!ev->frame.off && !(ev->frame.flags & XS_FRAME_TARGET_ID))
        return;
    if (ev->frame.off && ev->frame.epoch != s->epoch)
        take_epoch(s, ev->frame.epoch, NULL);
    /* Forgotten after a long time of silence, the channel counts from one again. */
    if (m->complete && ev->frame.off <= ch->off && ev->frame.seq > ch->last_seq)
        clear_ring(ch, 0, ch->last_seq);
    if (m->complete && ev->frame.off > ch->off + 1) { /* some are missing */
        begin_repair(m);
        ask(ch);
    }
    if (s->plane->repairs || !m->complete)
        hold_back(ch, ev);
    else
        apply(ch, ev);
}

static void on_record(void *ctx, xs_str space, xs_str channel, const xs_plane_record *r)
{
    Space *s = find_space(ctx, space);
    Event *ev = s ? record_event(s, text_of(channel), r) : NULL;
    if (!ev) {
        hub_log(1, "backplane: a record of %zu bytes cannot be read", r->data.len);
        return;
    }
    space_lock(s);
    Channel *ch = space_find(s, text_of(channel));
    if (ch && ch->mirror)
        take_record(ch, ev);
    space_unlock(s);
    frame_unref(&ev->frame);
}

static void forget_far(Channel *ch, Far *f)
{
    roster_leave_far(ch, f->key, clock_mono_ms());
    map_take(&ch->mirror->far, f->id);
    mem_free(f);
}

/* A new one, in the roster. NULL = out of memory. */
static Far *add_far(Channel *ch, Text id, Text key, Text member)
{
    Far *f = mem_zalloc(1, sizeof *f + id.len + key.len);
    if (!f)
        return NULL;
    char *at = (char *)(f + 1);
    f->id = keep(&at, id);
    f->key = keep(&at, key);
    if (map_put(&ch->mirror->far, f->id, f)) {
        if (roster_join_far(ch, key, member, clock_mono_ms()))
            return f;
        map_take(&ch->mirror->far, f->id);
    }
    mem_free(f);
    return NULL;
}

/* See mirror_announce. */
static void take_member(Channel *ch, const xs_plane_member *m, bool here)
{
    Text id = text_of(m->socket_id), key = id, member = text_of(m->data);
    Far *f = map_get(&ch->mirror->far, id);
    if (f && here) {
        f->stale = false;
    } else if (f) {
        forget_far(ch, f);
    } else if (here) {
        size_t end = ch->space->server ? text_find(member, TEXT("\n"), 0) : SIZE_MAX;
        if (ch->space->server) {
            key = text_slice(member, 0, end);
            member = end == SIZE_MAX ? (Text){0} : text_slice(member, end + 1, member.len);
        }
        if (!member.len)
            hub_log(1, "backplane: a member that cannot be read");
        else if (!add_far(ch, id, key, member))
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
    WaitList done;
    waits_init(&done);
    while (m && m->complete && m->waits.first && m->waits.first->barrier <= n)
        waits_push(&done, waits_pop(&m->waits));
    if (s)
        space_unlock(s);
    finish_waits(done.first, true);
}

/* ---- to channels that are anywhere ---- */

/* An event that waits for the names of the channels. */
typedef struct Spread {
    HubPublish event; /* its texts are behind the struct */
    char bytes[];
} Spread;

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
    Space *s = find_space(h, space);
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
    Space *s = find_space(h, space);
    msgpack_unpacked_init(&result);
    if (s && msgpack_unpack_next(&result, data.ptr, data.len, &at) == MSGPACK_UNPACK_SUCCESS &&
        result.data.type == MSGPACK_OBJECT_ARRAY && result.data.via.array.size == NOTE_PARTS) {
        const msgpack_object *parts = result.data.via.array.ptr;
        HubTarget who = {
            .dbo_id = parts[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER ? parts[0].via.i64 : 0,
            .row_id = unpack_text(&parts[1]),
            .socket_id = unpack_text(&parts[2])};
        bool reconnect = parts[4].type == MSGPACK_OBJECT_BOOLEAN && parts[4].via.boolean;
        hub_end_here(h, s, &who, unpack_text(&parts[3]), reconnect);
    }
    msgpack_unpacked_destroy(&result);
}

static void take_roster(Channel *ch, const xs_plane_snapshot *snap)
{
    Mirror *m = ch->mirror;
    size_t at = 0;
    for (MapSlot *slot; (slot = map_next(&m->far, &at));)
        ((Far *)slot->value)->stale = true;
    for (size_t i = 0; i < snap->nmembers; i++)
        if (!snap->members[i].own)
            take_member(ch, &snap->members[i], true);
    at = 0;
    for (MapSlot *slot; (slot = map_next(&m->far, &at));)
        if (((Far *)slot->value)->stale) {
            forget_far(ch, slot->value);
            at--; /* another one may have moved there */
        }
    m->version = snap->version;
}

/* In order, with their numbers? */
static bool are_numbered(const xs_plane_snapshot *snap)
{
    uint64_t seq = 0, off = 0;
    for (size_t i = 0; i < snap->nrecords; i++) {
        const xs_plane_record *r = &snap->records[i];
        if (r->seq <= seq || r->off <= off)
            return false;
        seq = r->seq;
        off = r->off;
    }
    return seq <= snap->seq && off <= snap->off;
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
        const xs_plane_record *r = &snap->records[i];
        Event *ev = r->off > ch->off ? record_event(ch->space, ch->name, r) : NULL;
        if (!ev)
            continue;
        if (ch->mirror->repaired)
            hold_back(ch, ev);
        else
            apply(ch, ev);
        frame_unref(&ev->frame);
    }
}

static MirrorWait *take_snapshot(Channel *ch, const xs_plane_snapshot *snap)
{
    Space *s = ch->space;
    Mirror *m = ch->mirror;
    bool fresh = !ch->off && !ch->members.count;
    xs_plane_snapshot empty;
    if (!are_numbered(snap)) { /* whoever was here before is told of the hole */
        hub_log(1, "backplane: what it keeps of a channel cannot be read");
        empty = *snap;
        empty.nrecords = 0;
        empty.evicted = snap->seq;
        snap = &empty;
    }
    take_epoch(s, snap->epoch, m);
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
    return take_waits(m, NULL);
}

static void on_snapshot(void *ctx, xs_str space, xs_str channel, const xs_plane_snapshot *snap)
{
    Space *s = lock_space(ctx, space);
    Channel *ch = s ? space_find(s, text_of(channel)) : NULL;
    MirrorWait *waits = NULL;
    if (ch && ch->mirror && !ch->mirror->complete && !ch->mirror->synced)
        waits = take_snapshot(ch, snap);
    if (s)
        space_unlock(s);
    finish_waits(waits, true);
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
static MirrorWait *tick_space(Space *s, int64_t now_ms, MirrorWait *waits)
{
    const Plane *plane = &s->hub->plane;
    for (Mirror *m = s->plane ? s->plane->mirrors : NULL, *next; m; m = next) {
        next = m->next;
        if (m->unasked)
            ask(m->ch);
        while (waits_too_long(&m->waits, now_ms)) {
            MirrorWait *w = waits_pop(&m->waits);
            w->next = waits;
            waits = w;
        }
        while (waits_too_long(&m->behind, now_ms))
            settle_first(m); /* it is kept, and will come */
        if (m->ch->members.count)
            m->idle_ms = 0; /* it was idle before its first member was in */
        const Roster *r = &m->ch->roster;
        if (m->waits.first || m->ch->members.count || !m->idle_ms ||
            now_ms - m->idle_ms < LINGER_MS || m->repaired || r->absent.first || r->changes.first)
            continue;
        plane->ops->unwatch(plane->state, str_of(s->key), str_of(m->ch->name));
        channel_free(m->ch);
    }
    return waits;
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
    MirrorWait *waits = NULL;
    if (!h->plane.ops)
        return;
    pthread_mutex_lock(&h->lock);
    while ((slot = map_next(&h->spaces, &at))) {
        Space *s = slot->value;
        space_lock(s);
        waits = tick_space(s, now_ms, waits);
        space_unlock(s);
    }
    pthread_mutex_unlock(&h->lock);
    finish_waits(waits, false);
    take_stats(h);
}

/* ---- life ---- */

bool plane_epoch(Hub *h, Text space, uint64_t *epoch, xs_error *err)
{
    return !h->plane.ops || h->plane.ops->space(h->plane.state, str_of(space), *epoch, epoch, err);
}

/* Spaces of realtime servers are there already. */
static bool enter_spaces(Hub *h, xs_error *err)
{
    size_t at = 0;
    MapSlot *slot;
    bool ok = true;
    pthread_mutex_lock(&h->lock);
    while (ok && (slot = map_next(&h->spaces, &at))) {
        Space *s = slot->value;
        uint64_t epoch = s->epoch;
        ok = plane_epoch(h, s->key, &epoch, err);
        s->epoch = epoch;
    }
    pthread_mutex_unlock(&h->lock);
    return ok;
}

bool hub_set_backplane(Hub *h, const xs_backplane_ops *ops, Text url, xs_error *err)
{
    static const char hex[] = "0123456789abcdef";
    Plane plane = {.ops = ops};
    hub_random(plane.node, PLANE_NODE_LEN);
    for (size_t i = 0; i < PLANE_NODE_LEN; i++)
        plane.node[i] = hex[plane.node[i] & 15];
    xs_plane_host host = {.size = sizeof host,
                          .ctx = h,
                          .record = on_record,
                          .member = on_member,
                          .snapshot = on_snapshot,
                          .barrier = on_barrier,
                          .answer = l2_plane_answer,
                          .counted = l2_plane_counted,
                          .published = on_published,
                          .listed = on_listed,
                          .note = on_note,
                          .state = on_state,
                          .log = hub_log};
    plane.state = ops->create(&host, str_of(url), (xs_str){plane.node, PLANE_NODE_LEN}, err);
    if (!plane.state)
        return false;
    plane.number = ops->number(plane.state);
    h->plane = plane;
    store_close(h->store); /* what channels keep is kept by the backplane */
    h->store = NULL;
    return enter_spaces(h, err);
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
