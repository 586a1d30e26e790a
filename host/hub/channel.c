/* channel.c - spaces and channels: one lock per space, no call out of this folder while it is held.
 */
#include "host/hub/channel.h"

#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/event.h"
#include "host/hub/l2.h"
#include "host/hub/plane.h"
#include "host/hub/shard.h"

enum {
    MAX_REPLAY_EVENTS = 1000, /* realtime.md §1.5 */
    MAX_REPLAY_BYTES = 1 << 20,
    SWEEP_PER_PUBLISH = 2,
    CHANNEL_COST = sizeof(Channel) + 256 /* with its maps and lists, roughly */
};

/* ---- spaces ---- */

char *space_key(Text tenant, Text canonical, Text *key)
{
    Buf b = BUF_INIT;
    size_t len;
    buf_text(&b, tenant);
    buf_char(&b, ':');
    buf_text(&b, canonical);
    char *text = buf_take(&b, &len);
    if (text)
        *key = (Text){text, len};
    return text;
}

Space *space_new(Hub *hub, Text tenant, Text canonical, const RingLimits *limits, size_t max_bytes)
{
    Space *s = mem_zalloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (!space_key(tenant, canonical, &s->key) || pthread_mutex_init(&s->lock, NULL) != 0) {
        mem_free((void *)(uintptr_t)s->key.ptr);
        mem_free(s);
        return NULL;
    }
    s->hub = hub;
    s->tenant = text_slice(s->key, 0, tenant.len);
    s->canonical = text_slice(s->key, tenant.len + 1, s->key.len);
    s->limits = *limits;
    s->max_bytes = max_bytes;
    return s;
}

static void list_remove(Channel *ch)
{
    Space *s = ch->space;
    if (!ch->idle)
        return;
    if (s->sweep == ch)
        s->sweep = ch->next;
    *(ch->prev ? &ch->prev->next : &s->idle_head) = ch->next;
    *(ch->next ? &ch->next->prev : &s->idle_tail) = ch->prev;
    ch->prev = ch->next = NULL;
    ch->idle = false;
}

static void list_append(Channel *ch)
{
    Space *s = ch->space;
    ch->prev = s->idle_tail;
    ch->next = NULL;
    *(s->idle_tail ? &s->idle_tail->next : &s->idle_head) = ch;
    s->idle_tail = ch;
    ch->idle = true;
}

static void untick(Channel *ch)
{
    if (!ch->ticking)
        return;
    *(ch->tick_prev ? &ch->tick_prev->tick_next : &ch->space->ticking) = ch->tick_next;
    if (ch->tick_next)
        ch->tick_next->tick_prev = ch->tick_prev;
    ch->tick_prev = ch->tick_next = NULL;
    ch->ticking = false;
}

void space_want_tick(Channel *ch)
{
    Space *s = ch->space;
    if (ch->ticking)
        return;
    ch->ticking = true;
    ch->tick_prev = NULL;
    ch->tick_next = s->ticking;
    if (s->ticking)
        s->ticking->tick_prev = ch;
    s->ticking = ch;
}

void space_tick(Space *s, int64_t now_ms)
{
    space_lock(s);
    for (Channel *ch = s->ticking, *next; ch; ch = next) {
        next = ch->tick_next;
        if (!roster_tick(ch, now_ms))
            untick(ch);
    }
    space_unlock(s);
}

static void release(Channel *ch)
{
    ring_deinit(&ch->ring);
    roster_deinit(&ch->roster);
    map_deinit(&ch->members);
    mirror_free(ch);
    mem_free(ch->interest);
    mem_free(ch);
}

void channel_free(Channel *ch)
{
    Space *s = ch->space;
    list_remove(ch);
    untick(ch);
    map_take(&s->channels, ch->name);
    s->bytes -= ch->ring.bytes + CHANNEL_COST;
    if (ch->last_seq > s->reaped_seq) /* a later channel of that name does not know what it lost */
        s->reaped_seq = ch->last_seq;
    release(ch);
}

void space_free(Space *s)
{
    if (!s)
        return;
    MapSlot *slot;
    size_t at = 0;
    while ((slot = map_next(&s->channels, &at)))
        release(slot->value);
    map_deinit(&s->channels);
    l2_rates_free(s);
    plane_space_free(s);
    pthread_mutex_destroy(&s->lock);
    mem_free((void *)(uintptr_t)s->key.ptr);
    mem_free(s);
}

void space_lock(Space *s)
{
    pthread_mutex_lock(&s->lock);
}

void space_unlock(Space *s)
{
    pthread_mutex_unlock(&s->lock);
}

Text space_tenant(const Space *s)
{
    return s->tenant;
}

Text space_canonical(const Space *s)
{
    return s->canonical;
}

static void trim(Channel *ch, int64_t now_ms)
{
    size_t before = ch->ring.bytes;
    ring_trim(&ch->ring, &ch->limits, now_ms);
    ch->space->bytes -= before - ch->ring.bytes;
}

void space_sweep(Space *s, int64_t now_ms)
{
    for (int i = 0; i < SWEEP_PER_PUBLISH; i++) {
        Channel *ch = s->sweep ? s->sweep : s->idle_head;
        if (!ch)
            return;
        s->sweep = ch->next;
        trim(ch, now_ms);
        if (ch->ring.count == 0)
            channel_free(ch);
    }
}

/* Past the budget: idle channels go first, then the oldest of the one that is being written. */
static void enforce_budget(Space *s, Channel *writing)
{
    while (s->bytes > s->max_bytes) {
        if (s->idle_head) {
            channel_free(s->idle_head);
        } else if (writing->ring.count > 1) {
            size_t before = writing->ring.bytes;
            ring_drop_oldest(&writing->ring);
            s->bytes -= before - writing->ring.bytes;
        } else {
            return;
        }
    }
}

/* ---- channels ---- */

Channel *space_find(Space *s, Text name)
{
    return map_get(&s->channels, name);
}

Channel *space_channel(Space *s, Text name, const ChannelConfig *config)
{
    Channel *ch = space_find(s, name);
    if (ch) {
        list_remove(ch); /* in use until channel_settle */
        return ch;
    }
    ch = mem_zalloc(1, sizeof *ch + name.len);
    if (!ch)
        return NULL;
    memcpy(ch + 1, name.ptr, name.len);
    ch->space = s;
    ch->name = (Text){(const char *)(ch + 1), name.len};
    ch->number = ++s->numbered;
    if (s->hub && !s->server)
        ch->slow = slow_rules_flag(&s->hub->slow, ch->name);
    channel_configure(ch, config);
    ch->ring.evicted_seq = s->reaped_seq;
    if (!map_put(&s->channels, ch->name, ch)) {
        mem_free(ch);
        return NULL;
    }
    s->bytes += CHANNEL_COST;
    return ch;
}

void channel_configure(Channel *ch, const ChannelConfig *config)
{
    ch->config = config;
    ch->limits = ch->space->limits;
    ch->limits.keep_events = config->history;
    if (ch->limits.max_events < config->history)
        ch->limits.max_events = config->history;
}

void channel_settle(Channel *ch)
{
    list_remove(ch);
    if (ch->members.count)
        return;
    if (ch->mirror) { /* others may be present; it goes with its mirror */
        mirror_idle(ch);
        return;
    }
    roster_deinit(&ch->roster); /* nobody is left to be told */
    untick(ch);
    if (ch->ring.count)
        list_append(ch);
    else
        channel_free(ch);
}

static Interest *find_interest(const Channel *ch, const xs_shard *shard)
{
    for (size_t i = 0; i < ch->ninterest; i++) {
        if (ch->interest[i].shard == shard)
            return &ch->interest[i];
    }
    return NULL;
}

ShardChannel *channel_local(const Channel *ch, const xs_shard *shard)
{
    Interest *in = find_interest(ch, shard);
    return in ? in->local : NULL;
}

Member *channel_member(const Channel *ch, Text socket_id)
{
    return map_get(&ch->members, socket_id);
}

bool channel_add_member(Channel *ch, Member *m, Mailbox *box, ShardChannel *local)
{
    Interest *in = find_interest(ch, m->shard);
    if (!in) {
        void *items = ch->interest;
        bool ok = mem_grow(&items, &ch->interest_cap, ch->ninterest + 1, sizeof *ch->interest);
        ch->interest = items;
        if (!ok)
            return false;
    }
    if (!map_put(&ch->members, m->socket_id, m))
        return false;
    if (!in) {
        in = &ch->interest[ch->ninterest++];
        *in = (Interest){m->shard, box, local, 0};
    }
    in->count++;
    ch->nwatchers += m->watches;
    return true;
}

bool channel_drop_member(Channel *ch, Member *m)
{
    map_take(&ch->members, m->socket_id);
    ch->nwatchers -= m->watches;
    Interest *in = find_interest(ch, m->shard);
    if (NEVER(!in) || --in->count > 0)
        return false;
    *in = ch->interest[--ch->ninterest];
    return true;
}

void channel_set_watching(Channel *ch, Member *m, bool watches)
{
    ch->nwatchers = ch->nwatchers - m->watches + watches;
    m->watches = watches;
}

bool channel_keep(Channel *ch, Event *ev)
{
    Space *s = ch->space;
    if (!ring_reserve(&ch->ring))
        return false;
    ch->last_seq = ev->frame.seq;
    ch->off = ev->frame.off;
    ring_push(&ch->ring, ev);
    s->bytes += ev->bytes;
    trim(ch, clock_wall_ms());
    enforce_budget(s, ch);
    space_sweep(s, clock_wall_ms());
    return true;
}

bool channel_store(Channel *ch, Event *ev)
{
    Space *s = ch->space;
    ev->frame.seq = s->seq + 1;
    ev->frame.off = ch->off + 1;
    ev->frame.epoch = s->epoch;
    ev->frame.ts = clock_wall_ms();
    if (!channel_keep(ch, ev))
        return false;
    s->seq++;
    return true;
}

/* What transports do with it when a client is slow. */
static void mark_slow(const Channel *ch, Event *ev)
{
    ev->frame.flags &= ~(uint32_t)(XS_FRAME_DROP_OLDEST | XS_FRAME_CONFLATE | XS_FRAME_PAUSE);
    if (!ch->slow || !(ev->frame.flags & XS_FRAME_STORED))
        return;
    ev->frame.flags |= ch->slow;
    ev->frame.channel = ch->number;
}

bool channel_restore(Channel *ch, Event *ev)
{
    mark_slow(ch, ev);
    return channel_keep(ch, ev);
}

uint64_t channel_post(Channel *ch, Event *ev)
{
    uint64_t subscribers = 0;
    ev->order = ++ch->space->order;
    ev->posted_us = clock_mono_us();
    mark_slow(ch, ev);
    for (size_t i = 0; i < ch->ninterest; i++) {
        Interest *in = &ch->interest[i];
        subscribers += in->count;
        atomic_fetch_add_explicit(&in->local->pending, 1, memory_order_relaxed);
        Mail mail = {.kind = MAIL_EVENT, .frame = frame_ref(&ev->frame), .local = in->local};
        if (!mailbox_push(in->box, mail)) { /* the shard sees `lost` and cuts its connections */
            atomic_fetch_sub_explicit(&in->local->pending, 1, memory_order_relaxed);
            frame_unref(mail.frame);
        }
    }
    return subscribers;
}

bool channel_may_say(Channel *ch, uint32_t per_s, int64_t now_ms)
{
    int64_t full = (int64_t)per_s * 1000;
    if (!per_s)
        return true;
    int64_t elapsed = ch->said_ms ? now_ms - ch->said_ms : 1000;
    int64_t tokens = elapsed >= 1000 ? full : ch->said_tokens + elapsed * per_s;
    ch->said_ms = now_ms;
    ch->said_tokens = tokens > full ? full : tokens;
    if (ch->said_tokens < 1000)
        return false;
    ch->said_tokens -= 1000;
    return true;
}

static bool vec_push(EventVec *v, Event *ev)
{
    if (!VEC_PUSH(v, ev))
        return false;
    frame_ref(&ev->frame);
    return true;
}

void event_vec_deinit(EventVec *v)
{
    for (size_t i = 0; i < v->len; i++)
        frame_unref(&v->ptr[i]->frame);
    VEC_DEINIT(v);
}

static bool is_history(const Event *ev, bool authenticated, Text sender)
{
    uint32_t flags = ev->frame.flags;
    if ((flags & XS_FRAME_TARGET_ID) || ((flags & XS_FRAME_AUTH_ONLY) && !authenticated))
        return false;
    return sender.len == 0 || text_eq(sender, text_from(ev->sender));
}

bool channel_history(Channel *ch, bool authenticated, Text sender, EventVec *out)
{
    trim(ch, clock_wall_ms());
    /* The newest `history` untargeted entries; what is hidden from this reader still counts. */
    size_t from = ch->ring.count, kept = 0, wanted = ch->config->history;
    while (from > 0 && kept < wanted) {
        from--;
        kept += !(ring_at(&ch->ring, from)->frame.flags & XS_FRAME_TARGET_ID);
    }
    for (size_t i = from; i < ch->ring.count; i++) {
        Event *ev = ring_at(&ch->ring, i);
        if (is_history(ev, authenticated, sender) && !vec_push(out, ev))
            return false;
    }
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

Position position_parse(Text t)
{
    enum { EPOCH_DIGITS = 16, MAX_SEQ_DIGITS = 19, MAX_TO_LIST = 1000000 };
    if (text_eq(t, TEXT("earliest")))
        return (Position){.given = true, .earliest = true};
    if (t.len < EPOCH_DIGITS + 2 || t.ptr[EPOCH_DIGITS] != '.')
        return (Position){0};
    Position pos = {.given = true};
    for (size_t i = 0; i < EPOCH_DIGITS; i++) {
        int digit = hex_digit(t.ptr[i]);
        if (digit < 0)
            return (Position){0};
        pos.epoch = pos.epoch << 4 | (uint64_t)digit;
    }
    size_t i = EPOCH_DIGITS + 1;
    for (; i < t.len && t.ptr[i] >= '0' && t.ptr[i] <= '9'; i++) {
        if (i > EPOCH_DIGITS + MAX_SEQ_DIGITS)
            return (Position){0};
        pos.seq = pos.seq * 10 + (uint64_t)(t.ptr[i] - '0');
    }
    if (i == EPOCH_DIGITS + 1 || (i < t.len && t.ptr[i] != '.'))
        return (Position){0};
    Text rest = text_slice(t, i + 1, t.len);
    size_t dot = text_find(rest, TEXT("."), 0);
    for (i = dot == SIZE_MAX ? rest.len : dot + 1;
         i < rest.len && pos.to_list < MAX_TO_LIST && rest.ptr[i] >= '0' && rest.ptr[i] <= '9'; i++)
        pos.to_list = pos.to_list * 10 + (uint32_t)(rest.ptr[i] - '0');
    return pos;
}

const char *channel_recover(const Space *s, Channel *ch, Position pos, EventVec *out)
{
    if (!pos.earliest) {
        if (pos.epoch != s->epoch)
            return "epoch";
        if (pos.seq > s->seq)
            return "future";
        if ((ch ? ch->ring.evicted_seq : s->reaped_seq) > pos.seq)
            return "evicted";
    }
    if (!ch)
        return NULL;
    size_t bytes = 0, from = pos.earliest ? 0 : ring_after(&ch->ring, pos.seq);
    if (ch->ring.count - from > MAX_REPLAY_EVENTS)
        return "limit";
    for (size_t i = from; i < ch->ring.count; i++) {
        bytes += ring_at(&ch->ring, i)->frame.json.len;
        if (bytes > MAX_REPLAY_BYTES)
            return "limit";
    }
    for (size_t i = from; out && i < ch->ring.count; i++) {
        if (!vec_push(out, ring_at(&ch->ring, i)))
            return "limit"; /* out of memory: reloading is right here too */
    }
    return NULL;
}
