/* shard.c - a transport instance as the hub sees it: connections come and go, mail is delivered.
 * Transport calls may call back (close → gone); `depth` defers what would pull the floor away. */
#include "host/hub/shard.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "core/bundle.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/expiring.h"
#include "host/hub/clock.h"
#include "host/hub/event.h"
#include "host/hub/l2.h"
#include "host/hub/protocol.h"
#include "host/log.h"

void hub_random(void *out, size_t n)
{
    char *p = out;
    while (n) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort(); /* ids that can be guessed are worse than no server */
        p += got;
        n -= (size_t)got;
    }
}

/* 128 random bits as 22 base64url characters. */
static void random_id(char out[SOCKET_ID_LEN + 1])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[17] = {0};
    hub_random(bytes, 16);
    for (size_t i = 0; i < SOCKET_ID_LEN; i++) {
        size_t bit = i * 6;
        unsigned pair = (unsigned)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];
        out[i] = alphabet[pair >> (10 - bit % 8) & 63];
    }
    out[SOCKET_ID_LEN] = '\0';
}

/* ---- shards ---- */

xs_shard *shard_ref(xs_shard *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void shard_unref(xs_shard *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    while (s->spaces) {
        ShardSpace *view = s->spaces;
        s->spaces = view->next;
        mem_free(view);
    }
    mailbox_deinit(&s->box);
    map_deinit(&s->by_socket);
    buf_deinit(&s->scratch);
    buf_deinit(&s->joined);
    mem_free(s);
}

static ShardSpace *view_of(xs_shard *s, Space *space)
{
    for (ShardSpace *v = s->spaces; v; v = v->next) {
        if (v->space == space)
            return v;
    }
    ShardSpace *v = mem_zalloc(1, sizeof *v);
    if (!v)
        return NULL;
    space_lock(space);
    /* nobody here listened, so nothing is owed */
    *v = (ShardSpace){space, space->seq, space->epoch, s->spaces};
    space_unlock(space);
    s->spaces = v;
    return v;
}

static void finish_conn(xs_conn *c);

static void enter(xs_shard *s)
{
    s->depth++;
}

/* Close what has to be closed, bury what has gone; both may bring more of either. */
static void settle(xs_shard *s)
{
    while (s->closing || s->dead) {
        xs_conn *c = s->closing;
        if (c) {
            s->closing = c->next_closing;
            if (!c->gone)
                s->ops->close(s->state, c->peer, c->close_code, c->close_reason);
            continue;
        }
        c = s->dead;
        s->dead = c->next_dead;
        finish_conn(c);
    }
}

/* End of a call: at the outermost one settle, then let the transport write. */
static void leave(xs_shard *s, bool flush)
{
    if (s->depth > 1) {
        s->depth--;
        return;
    }
    do {
        settle(s);
        if (s->touched || flush) {
            s->touched = flush = false;
            s->ops->flush(s->state);
        }
    } while (s->closing || s->dead || s->touched);
    s->depth--;
}

/* ---- subscriber arrays ---- */

bool local_reserve(ShardChannel *local)
{
    void *slots = local->slots;
    bool ok = mem_grow(&slots, &local->cap, local->count + 1, sizeof *local->slots);
    local->slots = slots;
    return ok;
}

/* Without channels it has missed nothing when the numbers begin anew. */
static void enter_epoch(xs_conn *c)
{
    if (c->epoch == c->space->epoch)
        return;
    c->epoch = c->space->epoch;
    c->caught_up_seq = 0;
}

void local_add(ShardChannel *local, Sub *sub, uint64_t from_order)
{
    uint32_t flags = (sub->conn->identity->authenticated ? SLOT_AUTH : 0u) |
                     (sub->member.watches ? SLOT_PRESENCE : 0u) |
                     (sub->conn->holding ? SLOT_HOLD : 0u);
    if (sub->conn->njoined <= 1)
        enter_epoch(sub->conn);
    sub->local = local;
    sub->index = local->count;
    sub->presence_from = from_order;
    if (sub->conn->closing || sub->conn->gone)
        from_order = UINT64_MAX;
    local->slots[local->count++] = (Slot){sub->conn->peer, from_order, sub, flags};
}

void local_remove(Sub *sub)
{
    ShardChannel *local = sub->local;
    Slot last = local->slots[--local->count];
    local->slots[sub->index] = last;
    last.sub->index = sub->index;
    sub->local = NULL;
}

static void free_local(ShardChannel *local)
{
    mem_free(local->slots);
    mem_free(local);
}

void local_retire(ShardChannel *local)
{
    local->dead = true;
    if (atomic_load_explicit(&local->pending, memory_order_acquire) == 0)
        free_local(local);
}

/* ---- delivery ---- */

static void mute(xs_conn *c)
{
    for (size_t i = 0; i < c->subs.len; i++) {
        Sub *sub = c->subs.ptr[i];
        if (sub->local)
            sub->local->slots[sub->index].from_order = UINT64_MAX;
    }
}

void conn_close(xs_conn *c, int code, const char *reason)
{
    if (c->closing || c->gone)
        return;
    c->closing = true;
    c->close_code = code;
    c->close_reason = reason;
    mute(c);
    c->next_closing = c->shard->closing;
    c->shard->closing = c;
}

static void close_slow(xs_conn *c)
{
    atomic_fetch_add_explicit(&c->shard->hub->slow_closed, 1, memory_order_relaxed);
    conn_close(c, 1013, "slow consumer");
}

/* The answer of a deliver that was not XS_SENT. */
static void not_sent(xs_conn *c, const xs_frame *f, xs_deliver_result result)
{
    if (result == XS_FULL)
        close_slow(c);
    else if (f->flags & XS_FRAME_PAUSE)
        protocol_pause(c, f->seq);
}

static void offer(xs_conn *c, xs_frame *f)
{
    xs_shard *s = c->shard;
    s->touched = true;
    atomic_fetch_add_explicit(&s->hub->delivered, 1, memory_order_relaxed);
    xs_deliver_result result = s->ops->deliver(s->state, c->peer, f);
    if (result != XS_SENT)
        not_sent(c, f, result);
    if (result == XS_QUEUED && c->l2)
        l2_queued(c);
}

void conn_deliver(xs_conn *c, Event *ev)
{
    if (!ev) {
        conn_close(c, 1011, "out of memory");
        return;
    }
    if (!c->closing && !c->gone)
        offer(c, &ev->frame);
    frame_unref(&ev->frame);
}

static bool is_target(const Identity *id, const Event *ev)
{
    return id->dbo_id == ev->dbo_id && text_eq(bare_row_id(id->row_id), ev->row_id);
}

bool conn_may_see(const xs_conn *c, const Event *ev)
{
    uint32_t flags = ev->frame.flags;
    if ((flags & XS_FRAME_AUTH_ONLY) && !c->identity->authenticated)
        return false;
    if ((flags & XS_FRAME_TARGET_ID) && !is_target(c->identity, ev))
        return false;
    if ((flags & EVENT_NOT_ID) && c->identity->authenticated && is_target(c->identity, ev))
        return false;
    return !(flags & XS_FRAME_EXCLUDE) || strcmp(c->socket_id, ev->exclude) != 0;
}

/* A sub of a connection that resumes or has resumed: is this numbered event still to come for it?
 */
static bool is_later(Slot *slot, const xs_frame *f)
{
    if (slot->sub->conn->holding || f->seq <= slot->sub->from_seq)
        return false;
    slot->flags &= ~(uint32_t)SLOT_HOLD;
    return true;
}

enum { FILTERS = XS_FRAME_AUTH_ONLY | XS_FRAME_TARGET_ID | XS_FRAME_EXCLUDE | EVENT_PRESENCE };

/* @return events given to the transport */
static unsigned offer_slot(xs_shard *s, Slot *slot, Event *ev)
{
    xs_frame *f = &ev->frame;
    if (ev->order <= slot->from_order)
        return 0;
    if (f->flags & FILTERS &&
        ((f->flags & EVENT_PRESENCE &&
          (!(slot->flags & SLOT_PRESENCE) || ev->order <= slot->sub->presence_from)) ||
         (f->flags & XS_FRAME_AUTH_ONLY && !(slot->flags & SLOT_AUTH)) ||
         !conn_may_see(slot->sub->conn, ev)))
        return 0;
    if (UNLIKELY(slot->flags & SLOT_HOLD) && f->flags & XS_FRAME_STORED && !is_later(slot, f))
        return 0;
    if (UNLIKELY(slot->flags & SLOT_TAP) && l2_tap(slot->sub, ev))
        return 0;
    xs_deliver_result result = s->ops->deliver(s->state, slot->peer, f);
    if (UNLIKELY(result != XS_SENT))
        not_sent(slot->sub->conn, f, result);
    return 1;
}

/* Deliveries of an event that this shard has made by now. */
static void count_delivered(xs_shard *s, const Event *ev, uint64_t n)
{
#ifdef XS_NO_COUNTERS /* a build that shows what counting costs */
    n = 0;
#endif
    if (!n)
        return;
    atomic_fetch_add_explicit(&s->hub->delivered, n, memory_order_relaxed);
    buckets_add(&s->hub->deliver_us, clock_mono_us() - ev->posted_us, n);
}

/* The system calls between two subscribers leave nothing of them in the cache. */
static inline void fetch_ahead(const ShardChannel *local, size_t i)
{
    enum { AHEAD = 2, LINE = 64 };
    if (i + AHEAD >= local->count)
        return;
    const char *peer = local->slots[i + AHEAD].peer;
    __builtin_prefetch(peer, 1);
    __builtin_prefetch(peer + LINE, 1);
}

static void note_offered(ShardSpace *view, const xs_frame *f)
{
    if (f->flags & XS_FRAME_STORED) {
        view->offered = f->seq;
        view->epoch = f->epoch;
    }
}

/* Every subscriber of one channel on this shard. */
static void walk(xs_shard *s, ShardChannel *local, Event *ev)
{
    uint64_t delivered = 0;
    for (size_t i = 0; i < local->count; i++) {
        fetch_ahead(local, i);
        delivered += offer_slot(s, &local->slots[i], ev);
    }
    note_offered(local->view, &ev->frame);
    count_delivered(s, ev, delivered);
}

/* The first of n events of one channel that everybody may see, as many as one write takes; no
 * others are to be delivered before. @return how many, at least 1 */
static uint32_t walk_burst(xs_shard *s, ShardChannel *local, const Mail *mail, size_t n)
{
    enum { BYTES = 64 << 10 };
    xs_frame *frames[XS_BURST_MAX];
    const xs_wire *wires[XS_BURST_MAX];
    xs_burst burst = {.frames = frames, .wires = wires, .now_ms = clock_mono_ms()};
    bool whole = true;
    size_t bytes = 0;
    for (; whole && burst.n < n && burst.n < XS_BURST_MAX; burst.n++) {
        const xs_wire *wire = frame_wire(mail[burst.n].frame, s->ops->format);
        if (burst.n && (!wire || bytes + wire->len > BYTES))
            break;
        frames[burst.n] = mail[burst.n].frame;
        wires[burst.n] = wire;
        whole = wire != NULL;
        bytes += whole ? wire->len : 0;
    }
    /* Joined once for all: a system call that gathers pays for every piece, for each of them. */
    if (burst.n == 1 && whole) {
        burst.text = (xs_str){wires[0]->bytes, wires[0]->len};
    } else if (whole) {
        s->joined.len = 0;
        s->joined.failed = false;
        for (uint32_t i = 0; i < burst.n; i++)
            whole = whole && buf_append(&s->joined, wires[i]->bytes, wires[i]->len);
        burst.text = (xs_str){s->joined.ptr, s->joined.len};
    }
    uint64_t first = event_of(frames[0])->order, delivered = 0;
    for (size_t i = 0; i < local->count; i++) {
        Slot *slot = &local->slots[i];
        fetch_ahead(local, i);
        if (LIKELY(whole && first > slot->from_order && !(slot->flags & (SLOT_HOLD | SLOT_TAP)))) {
            delivered += burst.n;
            if (UNLIKELY(s->ops->burst(s->state, slot->peer, &burst) == XS_FULL))
                close_slow(slot->sub->conn);
            continue;
        }
        for (uint32_t k = 0; k < burst.n; k++)
            delivered += offer_slot(s, slot, event_of(frames[k]));
    }
    for (uint32_t i = 0; i < burst.n; i++)
        note_offered(local->view, frames[i]);
    count_delivered(s, event_of(frames[0]), delivered);
    return burst.n;
}

/* Are all events of the batch for one channel, and for everybody in it who is not to be paused
 * between two of them? Its links come behind them anyway. */
static bool is_burst(const xs_shard *s, const MailBatch *batch)
{
    if (!XS_HAS(s->ops, burst) || !batch->count)
        return false;
    for (size_t i = 0; i < batch->count; i++) {
        const Mail *m = &batch->items[i];
        if (m->kind != MAIL_EVENT || m->local != batch->items[0].local || m->local->dead ||
            m->frame->flags & (FILTERS | XS_FRAME_PAUSE))
            return false;
    }
    return true;
}

static void end_mail(ShardChannel *local)
{
    /* Only this thread makes a channel dead, and no new mail comes after that. */
    if (atomic_fetch_sub_explicit(&local->pending, 1, memory_order_acq_rel) == 1 && local->dead)
        free_local(local);
}

static void handle_mail(xs_shard *s, const Mail *mail, bool deliver)
{
    switch (mail->kind) {
    case MAIL_EVENT:
        if (deliver && !mail->local->dead)
            walk(s, mail->local, event_of(mail->frame));
        end_mail(mail->local);
        frame_unref(mail->frame);
        break;
    case MAIL_DIRECT: {
        xs_conn *c = map_get(&s->by_socket, text_from(event_of(mail->frame)->target));
        if (deliver && c && !c->closing && !c->gone)
            offer(c, mail->frame);
        frame_unref(mail->frame);
        break;
    }
    case MAIL_CALL: mail->call(s, mail->arg); break;
    case MAIL_SEND: {
        SendBatch *batch = mail->arg;
        protocol_send(deliver ? conn_of_sid(s, batch->sid) : NULL, batch);
        break;
    }
    }
}

static void handle_links(MailLink *link)
{
    while (link) {
        MailLink *next = link->next;
        link->handle(link);
        link = next;
    }
}

/* What clients said just now is worked on by triggers. What those publish goes out with what is
 * here already, when it comes within an eighth of the time that writing takes: a system call that
 * writes twice as much costs little more. */
static void await_triggers(xs_shard *s)
{
    enum { LEAST_US = 200, MOST_US = 2000 };
    uint32_t n = atomic_load_explicit(&s->refs, memory_order_relaxed) - 1;
    int64_t us = s->drain_us / 8;
    if (n > s->nslow && us >= LEAST_US) {
        uint32_t ended = mailbox_await(&s->box, n - s->nslow, us < MOST_US ? us : MOST_US);
        s->nslow = n - (ended < n ? ended : n);
    } else if (n < s->nslow) {
        s->nslow = n;
    }
}

static void shard_drain(xs_shard *s)
{
    if (s->depth)
        return;              /* called from within deliver or close; the outer call goes on */
    if (XS_HAS(s->ops, run)) /* a thread of its own, which may wait */
        await_triggers(s);
    int64_t began = clock_mono_us();
    enter(s);
    MailBatch batch = mailbox_take(&s->box);
    if (batch.lost) {
        for (xs_conn *c = s->conns; c; c = c->next)
            conn_close(c, 1013, "overload");
    }
    s->draining = true;
    bool burst = is_burst(s, &batch);
    for (size_t i = 0; burst && i < batch.count;)
        i += walk_burst(s, batch.items[i].local, &batch.items[i], batch.count - i);
    for (size_t i = 0; i < batch.count; i++)
        handle_mail(s, &batch.items[i], !burst);
    s->draining = false;
    handle_links(batch.links);
    leave(s, true);
    s->drain_us = clock_mono_us() - began;
}

/* ---- connections ---- */

static xs_str str_of(Text t)
{
    return (xs_str){t.ptr, t.len};
}

static xs_str request_query(const xs_request *r, const char *name, unsigned index)
{
    const Const *values = const_get(r->query, name);
    if (values && values->kind == C_TEXT && index == 0)
        return str_of(values->text);
    if (!values || values->kind != C_LIST || index >= values->count)
        return (xs_str){NULL, 0};
    return str_of(const_text_of(values->items[index], (Text){0}));
}

static xs_str up_request_query(xs_request *r, const char *name, unsigned index)
{
    return request_query(r, name, index);
}

static bool is_listed(Text list, Text word)
{
    while (list.len)
        if (text_eq(text_next(&list), word))
            return true;
    return false;
}

/* What other clients see of a token's extras. */
void conn_write_extras(const Hub *h, const Identity *id, Buf *out)
{
    size_t start = out->len;
    if (!h->opt.presence_extras.len || !id->auth) {
        buf_text(out, id->extras);
    } else {
        buf_char(out, '{');
        for (uint32_t i = 1; i < id->auth->count; i++) { /* behind "id" */
            const ConstPair *p = &id->auth->pairs[i];
            if (!is_listed(h->opt.presence_extras, p->key))
                continue;
            if (out->len > start + 1)
                buf_char(out, ',');
            json_write_text(out, p->key);
            buf_char(out, ':');
            json_write_const(out, p->value);
        }
        buf_char(out, '}');
    }
    if (out->len - start > h->opt.presence_extras_max) {
        out->len = start;
        buf_cstr(out, "{}");
    }
}

static bool describe(xs_conn *c)
{
    const Identity *id = c->identity;
    Buf b = BUF_INIT, extras = BUF_INIT;
    size_t len;
    conn_write_extras(c->shard->hub, id, &extras);
    d1_client(&b, buf_view(&extras), id->dbo_id, id->row_id, text_from(c->socket_id));
    b.failed = b.failed || extras.failed;
    buf_deinit(&extras);
    char *text = buf_take(&b, &len);
    char *fit = text ? mem_realloc(text, len + 1) : NULL; /* it stays with every connection */
    c->client = (Text){fit ? fit : text, text ? len : 0};
    return text != NULL;
}

/* Into both indexes; on failure into none. */
static bool enlist(xs_conn *c, Text ip, xs_refusal *why)
{
    xs_shard *s = c->shard;
    Hub *h = s->hub;
    if (!map_put(&s->by_socket, text_from(c->socket_id), c))
        return false;
    pthread_mutex_lock(&h->lock);
    bool ok = clock_admit(c, ip, why) && map_put(&h->sids, text_from(c->sid), c);
    if (!ok)
        clock_release(c);
    pthread_mutex_unlock(&h->lock);
    if (!ok)
        map_take(&s->by_socket, text_from(c->socket_id));
    return ok;
}

xs_conn *conn_of_sid(xs_shard *s, const char *sid)
{
    pthread_mutex_lock(&s->hub->lock);
    xs_conn *c = map_get(&s->hub->sids, text_from(sid));
    if (c && c->shard != s)
        c = NULL;
    pthread_mutex_unlock(&s->hub->lock);
    return c;
}

/* ---- all queues together are too long ---- */

typedef struct Queued {
    size_t bytes;
    xs_conn *conn;
} Queued;

static int longer_first(const void *a, const void *b)
{
    size_t x = ((const Queued *)a)->bytes, y = ((const Queued *)b)->bytes;
    return (x < y) - (x > y);
}

void shard_shed(xs_shard *s, void *least)
{
    VEC(Queued) all = {0};
    size_t n = 0, min = (uintptr_t)least;
    atomic_store(&s->shedding, false);
    for (xs_conn *c = s->conns; c && XS_HAS(s->ops, queued); c = c->next) {
        Queued q = {.conn = c};
        n++;
        if (c->closing || c->gone || (q.bytes = s->ops->queued(s->state, c->peer)) <= min)
            continue;
        if (!VEC_PUSH(&all, q))
            break; /* those seen so far will do */
    }
    if (all.len)
        qsort(all.ptr, all.len, sizeof *all.ptr, longer_first);
    for (size_t i = 0; i < all.len && i < (n + 99) / 100; i++) {
        atomic_fetch_add_explicit(&s->hub->queue_shed, 1, memory_order_relaxed);
        conn_close(all.ptr[i].conn, 1013, "overload");
    }
    VEC_DEINIT(&all);
}

/* ---- sessions that were lost and come back ---- */

typedef struct Ghost {
    Space *space;
    Identity *identity;
    char socket_id[SOCKET_ID_LEN + 1];
} Ghost;

void ghost_free(void *value)
{
    Ghost *g = value;
    if (!g)
        return;
    identity_unref(g->identity);
    mem_free(g);
}

/* The hub's lock is held. */
static void leave_ghost(xs_conn *c)
{
    Hub *h = c->shard->hub;
    Ghost *g = mem_alloc(sizeof *g);
    if (!g)
        return; /* it comes back as somebody new */
    *g = (Ghost){.space = c->space, .identity = identity_ref(c->identity)};
    memcpy(g->socket_id, c->socket_id, sizeof g->socket_id);
    if (!expiring_put(h->ghosts, text_from(c->sid), g, clock_mono_ms()))
        return; /* freed */
}

/* The ids of a new connection: those of the session it continues, or new ones. */
static void name_conn(xs_conn *c, const xs_request *req)
{
    Hub *h = c->shard->hub;
    xs_str sid = request_query(req, "sid", 0);
    random_id(c->socket_id);
    memcpy(c->sid, "AAA", 3); /* node 0 */
    random_id(c->sid + 3);
    if (sid.len != SID_LEN || !c->shard->limits->presence_grace_ms)
        return;
    pthread_mutex_lock(&h->lock);
    Text key = {sid.ptr, sid.len};
    const Ghost *known = expiring_get(h->ghosts, key, clock_mono_ms());
    if (known && known->space == c->space && identity_same(known->identity, c->identity)) {
        memcpy(c->socket_id, known->socket_id, sizeof c->socket_id);
        memcpy(c->sid, sid.ptr, SID_LEN);
        Ghost *g = expiring_take(h->ghosts, key, clock_mono_ms());
        if (g)
            ghost_free(g);
    }
    pthread_mutex_unlock(&h->lock);
}

static xs_conn *conn_new(xs_shard *s, void *peer, xs_request *req, xs_refusal *why)
{
    xs_conn *c = mem_zalloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->shard = s;
    c->peer = peer;
    c->space = req->space;
    c->epoch = c->space->epoch;
    c->identity = identity_ref(req->identity);
    c->visit = visit_new(req);
    c->refilled_ms = clock_mono_ms();
    c->frame_tokens = (int64_t)s->hub->opt.frames_burst * 1000;
    c->join_tokens = (int64_t)s->hub->opt.joins_burst * 1000;
    name_conn(c, req);
    clock_set_expiry(c, req->expires_ms);
    c->view = view_of(s, c->space);
    if (c->space->server && !(c->l2 = l2_conn_new(s->hub))) {
        conn_free(c);
        return NULL;
    }
    if (!c->visit || !c->view || !describe(c) || !enlist(c, req->remote_ip, why)) {
        conn_free(c);
        return NULL;
    }
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    return c;
}

void conn_free(xs_conn *c)
{
    for (size_t i = 0; i < c->subs.len; i++)
        mem_free(c->subs.ptr[i]);
    VEC_DEINIT(&c->subs);
    for (size_t i = 0; i < c->gaps.len; i++)
        mem_free((void *)(uintptr_t)c->gaps.ptr[i].channel.ptr);
    VEC_DEINIT(&c->gaps);
    mem_free((void *)(uintptr_t)c->client.ptr);
    mem_free(c->seen_refs);
    l2_conn_free(c->l2);
    identity_unref(c->identity);
    visit_free(c->visit);
    mem_free(c);
}

/* The connection is dead: out of every index. */
static void bury(xs_conn *c)
{
    xs_shard *s = c->shard;
    Hub *h = s->hub;
    bool present = protocol_leave_all(c);
    map_take(&s->by_socket, text_from(c->socket_id));
    pthread_mutex_lock(&h->lock);
    map_take(&h->sids, text_from(c->sid));
    clock_release(c);
    if (present)
        leave_ghost(c);
    pthread_mutex_unlock(&h->lock);
    *(c->prev ? &c->prev->next : &s->conns) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
    atomic_fetch_sub_explicit(&h->connections, 1, memory_order_relaxed);
    c->buried = true;
}

/* Its memory lasts until its triggers are done. */
static void finish_conn(xs_conn *c)
{
    bury(c);
    if (atomic_load(&c->njobs) == 0)
        conn_free(c);
}

static xs_conn *refuse(xs_refusal *why, int code, int status, const char *message)
{
    why->close_code = code;
    why->status = status;
    snprintf(why->message, sizeof why->message, "%s", message);
    return NULL;
}

static xs_conn *up_connect(xs_shard *s, void *peer, xs_request *req, xs_refusal *why)
{
    if (!req->space)
        return refuse(why, 4401, 404, "Unknown connection hash");
    if (req->space->server && req->identity && !l2_may_connect(req, why))
        return NULL;
    if (req->bad_token && s->hub->opt.reject_bad_token)
        return refuse(why, 4401, 401, "Invalid token.");
    if (NEVER(!req->identity))
        return refuse(why, 1011, 500, "Internal error.");
    if (atomic_load_explicit(&s->hub->queues_full, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&s->hub->queue_refused, 1, memory_order_relaxed);
        return refuse(why, 1013, 503, "The server is busy.");
    }
    if (req->busy)
        return refuse(why, 1013, 503, "The server is busy.");
    refuse(why, 1013, 503, "Out of memory.");
    xs_conn *c = conn_new(s, peer, req, why);
    if (!c)
        return NULL;
    atomic_fetch_add_explicit(&s->hub->connections, 1, memory_order_relaxed);
    if (!c->l2 || l2_opened(c))
        return c;
    c->gone = true;
    finish_conn(c);
    return refuse(why, 1013, 503, "The server is busy.");
}

/* A client that speaks from within deliver (in-process transports): after this call, in order. */
static xs_frame_result frame_later(xs_conn *c, const char *data, size_t len)
{
    SendBatch *batch = mem_alloc(sizeof *batch + len + 1);
    if (batch) {
        memcpy(batch->sid, c->sid, sizeof batch->sid);
        memcpy(batch->bytes, data, len);
        batch->len = len;
        if (mailbox_push(&c->shard->box, (Mail){.kind = MAIL_SEND, .arg = batch}))
            return XS_FRAME_OK;
        mem_free(batch);
    }
    conn_close(c, 1013, "overload");
    return XS_FRAME_OK;
}

static xs_frame_result up_frame(xs_conn *c, const char *data, size_t len)
{
    xs_shard *s = c->shard;
    if (c->gone || c->closing)
        return XS_FRAME_OK;
    if (s->depth)
        return frame_later(c, data, len);
    enter(s);
    xs_frame_result result = protocol_frame(c, data, len);
    leave(s, false); /* may free c */
    return result;
}

/* What is no MessagePack is handled as what is no JSON. */
static xs_frame_result up_frame_packed(xs_conn *c, const char *data, size_t len)
{
    Arena a;
    Buf json = BUF_INIT;
    arena_init(&a, 0);
    const Const *value = msgpack_read_const(&a, (Text){data, len});
    if (value)
        json_write_const(&json, value);
    arena_deinit(&a);
    xs_frame_result result = up_frame(c, json.failed || !json.ptr ? "" : json.ptr, json.len);
    buf_deinit(&json);
    return result;
}

static void count_close(Hub *h, int close_code)
{
    static const int codes[HUB_CLOSED_COUNT] = {
#define CLOSE(code) code,
#include "host/hub/counters.def"
    };
    unsigned i = 0;
    while (i < HUB_CLOSED_COUNT - 1 && codes[i] != close_code)
        i++;
    atomic_fetch_add_explicit(&h->closed[i], 1, memory_order_relaxed);
}

static void up_gone(xs_conn *c, int close_code)
{
    xs_shard *s = c->shard;
    if (NEVER(c->gone))
        return;
    count_close(s->hub, close_code);
    c->gone = true;
    mute(c);
    c->next_dead = s->dead;
    s->dead = c;
    if (s->depth)
        return;
    enter(s);
    if (c->closing) { /* not closed by us any more */
        xs_conn **at = &s->closing;
        while (*at && *at != c)
            at = &(*at)->next_closing;
        if (*at)
            *at = c->next_closing;
    }
    leave(s, false);
}

static void up_writable(xs_conn *c)
{
    xs_shard *s = c->shard;
    if ((!c->l2 && !c->paused) || c->gone || c->closing)
        return; /* nothing is held back: the transport's queue is the only one */
    enter(s);
    if (c->paused)
        protocol_unpause(c);
    if (c->l2)
        l2_writable(c);
    leave(s, false);
}

static xs_frame *up_skipped(xs_conn *c, xs_frame *f, bool told)
{
    Hub *h = c->shard->hub;
    bool conflated = f->flags & XS_FRAME_CONFLATE;
    atomic_fetch_add_explicit(conflated ? &h->slow_conflated : &h->slow_dropped, 1,
                              memory_order_relaxed);
    return conflated || told ? NULL : protocol_hole(c, f->channel);
}

static int up_wake_fd(xs_shard *s)
{
    return s->box.wake_fd;
}

static void up_request_unref(xs_request *r)
{
    request_unref(r);
}

static xs_str up_request_token(xs_request *r)
{
    return str_of(r->token);
}

static xs_str up_request_base(xs_request *r)
{
    return str_of(r->base);
}

static xs_str up_request_header(xs_request *r, const char *name)
{
    size_t len = strlen(name);
    for (uint32_t i = 0; r->headers && r->headers->kind == C_MAP && i < r->headers->count; i++) {
        Text key = r->headers->pairs[i].key;
        if (key.len == len && strncasecmp(key.ptr, name, len) == 0)
            return str_of(const_text_of(r->headers->pairs[i].value, (Text){0}));
    }
    return (xs_str){NULL, 0};
}

static xs_str up_conn_sid(xs_conn *c)
{
    return (xs_str){c->sid, SID_LEN};
}

static void up_position(xs_conn *c, uint64_t *epoch, uint64_t *seq)
{
    xs_shard *s = c->shard;
    ShardSpace *view = c->view;
    if (!c->njoined)
        enter_epoch(c);
    *epoch = c->epoch;
    if (c->holding) { /* the missed events are not out yet */
        *seq = c->hold_seq;
        return;
    }
    if (!s->draining) {
        /* With the lock nothing is posted, so an empty mailbox means that all of it was offered. */
        space_lock(c->space);
        if (mailbox_is_empty(&s->box)) {
            view->offered = c->space->seq;
            view->epoch = c->space->epoch;
        }
        space_unlock(c->space);
    }
    uint64_t offered = view->epoch == c->epoch ? view->offered : 0;
    *seq = offered > c->caught_up_seq ? offered : c->caught_up_seq;
}

static void up_join_listed(xs_conn *c, xs_request *req)
{
    xs_shard *s = c->shard;
    if (c->gone || c->closing)
        return;
    enter(s);
    protocol_join_listed(c, req);
    leave(s, false);
}

static bool up_same_client(xs_conn *c, xs_request *req)
{
    return c->space == req->space && identity_same(c->identity, req->identity);
}

static void up_away(xs_conn *c, bool away)
{
    if (c->gone || c->closing || c->away == away)
        return;
    c->away = away;
    protocol_away(c);
}

static uint32_t up_to_list(xs_conn *c)
{
    return c->nby_frame ? c->nlisted + c->nby_frame : 0;
}

static Log log_like = {.level = LEVEL_INFO};

void hub_set_log(const Log *log)
{
    log_like = *log;
}

void hub_log(int level, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    LogLevel at = level <= 0 ? LEVEL_ERROR : level >= 3 ? LEVEL_DEBUG : (LogLevel)level;
    log_line(&log_like, at, "%s", line);
}

/* ---- life of a shard ---- */

xs_shard *hub_shard_new(Hub *h, const xs_transport_ops *ops, const xs_limits *limits, xs_host *host,
                        xs_error *err)
{
    xs_shard *s = mem_zalloc(1, sizeof *s);
    if (!s) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    if (!mailbox_init(&s->box, err)) {
        mem_free(s);
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->hub = h;
    s->ops = ops;
    s->limits = limits;
    pthread_mutex_lock(&h->lock);
    s->next_of_hub = h->shards;
    if (h->shards)
        h->shards->prev_of_hub = s;
    h->shards = s;
    pthread_mutex_unlock(&h->lock);
    *host = (xs_host){
        .size = sizeof *host,
        .shard = s,
        .limits = limits,
        .http = host->http,
        .connect = up_connect,
        .frame = up_frame,
        .frame_packed = up_frame_packed,
        .gone = up_gone,
        .writable = up_writable,
        .wake_fd = up_wake_fd,
        .drain = shard_drain,
        .wire = frame_wire,
        .frame_ref = frame_ref,
        .frame_unref = frame_unref,
        .request_unref = up_request_unref,
        .request_token = up_request_token,
        .request_query = up_request_query,
        .request_header = up_request_header,
        .request_base = up_request_base,
        .conn_sid = up_conn_sid,
        .position = up_position,
        .join_listed = up_join_listed,
        .now_ms = clock_mono_ms,
        .random = hub_random,
        .log = hub_log,
        .same_client = up_same_client,
        .resume_state = protocol_resume_state,
        .away = up_away,
        .skipped = up_skipped,
        .to_list = up_to_list,
    };
    return s;
}

void hub_shard_attach(xs_shard *s, void *state)
{
    s->state = state;
}

bool hub_shard_post(xs_shard *s, void (*fn)(xs_shard *, void *), void *arg)
{
    return mailbox_push(&s->box, (Mail){.kind = MAIL_CALL, .call = fn, .arg = arg});
}

void conn_job_ended(xs_conn *c)
{
    if (atomic_fetch_sub(&c->njobs, 1) == 1)
        conn_free(c);
}

void hub_shard_free(xs_shard *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->hub->lock);
    *(s->prev_of_hub ? &s->prev_of_hub->next_of_hub : &s->hub->shards) = s->next_of_hub;
    if (s->next_of_hub)
        s->next_of_hub->prev_of_hub = s->prev_of_hub;
    pthread_mutex_unlock(&s->hub->lock);
    s->depth++; /* the transport is gone: no call to it any more */
    for (xs_conn *c = s->conns; c; c = c->next) {
        c->gone = true;
        mute(c);
        /* Ours. Without a mailbox the triggers that still run count down themselves; the last one
         * frees. */
        atomic_fetch_add(&c->njobs, 1);
    }
    mailbox_close(&s->box);
    MailBatch batch = mailbox_take(&s->box);
    for (size_t i = 0; i < batch.count; i++)
        handle_mail(s, &batch.items[i], false);
    handle_links(batch.links);
    while (s->conns) {
        xs_conn *c = s->conns;
        bury(c);
        conn_job_ended(c);
    }
    shard_unref(s);
}
