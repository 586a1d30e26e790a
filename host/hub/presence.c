/* presence.c - rosters: joins and leaves become announcements now, later, or never. */
#include "host/hub/presence.h"

#include "core/mem.h"
#include "core/text.h"
#include "host/hub/channel.h"
#include "host/hub/event.h"
#include "host/hub/l2_frame.h"
#include "host/hub/plane.h"

enum { SNAPSHOT_MAX = 1000, SECOND_MS = 1000 };

static PresentList *list_of(Roster *r, const Present *p)
{
    return p->absent ? &r->absent : &r->changes;
}

static void unlist(Roster *r, Present *p)
{
    if (!p->listed)
        return;
    PresentList *l = list_of(r, p);
    *(p->prev ? &p->prev->next : &l->first) = p->next;
    *(p->next ? &p->next->prev : &l->last) = p->prev;
    p->prev = p->next = NULL;
    p->listed = p->absent = false;
}

static void enlist(Roster *r, Present *p, bool absent)
{
    p->absent = absent;
    p->listed = true;
    PresentList *l = list_of(r, p);
    p->prev = l->last;
    p->next = NULL;
    *(l->last ? &l->last->next : &l->first) = p;
    l->last = p;
}

static void forget(Roster *r, Present *p)
{
    unlist(r, p);
    map_take(&r->present, p->key);
    mem_free(p);
}

void roster_deinit(Roster *r)
{
    size_t at = 0;
    MapSlot *slot;
    while ((slot = map_next(&r->present, &at)))
        mem_free(slot->value);
    map_deinit(&r->present);
    *r = (Roster){0};
}

/* The other nodes hear of the first socket here, and of the last one. A lost one that may come back
 * is still here. */
static void tell_nodes(Channel *ch, Present *p)
{
    bool here = p->sockets || p->absent;
    if (p->told == here)
        return;
    p->told = here;
    mirror_announce(ch, p, here);
}

/* Tell the watchers; the one it is about does not hear of itself. */
static void announce(Channel *ch, Present *p)
{
    const Member *self = channel_member(ch, p->key);
    uint32_t others = ch->nwatchers - (self && self->watches ? 1 : 0);
    p->announced = p->here;
    tell_nodes(ch, p);
    if (others) {
        Event *ev = ch->space->server
                        ? l2_presence(ch->name, p->here, p->key, p->member)
                        : d1_presence_update(ch->name, p->here ? TEXT("join") : TEXT("leave"),
                                             p->member, p->key);
        if (ev) { /* out of memory: the next snapshot is right again */
            channel_post(ch, ev);
            frame_unref(&ev->frame);
        }
    }
    if (!p->here)
        forget(&ch->roster, p);
}

static void change(Channel *ch, Present *p, int64_t now_ms)
{
    Roster *r = &ch->roster;
    bool silent = !ch->config->presence; /* kept for those who ask who is there */
    if (silent)
        p->announced = p->here;
    if (p->announced == p->here) { /* nobody was told of the first half */
        if (!silent || !ch->space->server || p->told)
            tell_nodes(ch, p);
        if (!p->here)
            forget(r, p);
        return;
    }
    if (now_ms - r->second_ms >= SECOND_MS) {
        r->second_ms = now_ms;
        r->in_second = 0;
    }
    if (!r->changes.first && (r->in_second < PRESENCE_RATE || !ch->nwatchers)) {
        r->in_second++;
        announce(ch, p);
        return;
    }
    if (!r->changes.first)
        r->flush_ms = now_ms + PRESENCE_WINDOW_MS;
    enlist(r, p, false);
    space_want_tick(ch);
}

/* The one with this key, or a new one; NULL = out of memory. */
static Present *obtain(Roster *r, Text key, Text member)
{
    Present *p = map_get(&r->present, key);
    if (p)
        return p;
    p = mem_zalloc(1, sizeof *p + key.len + member.len);
    if (!p)
        return NULL;
    char *texts = (char *)(p + 1);
    memcpy(texts, key.ptr, key.len);
    memcpy(texts + key.len, member.ptr, member.len);
    p->key = (Text){texts, key.len};
    p->member = (Text){texts + key.len, member.len};
    if (map_put(&r->present, p->key, p))
        return p;
    mem_free(p);
    return NULL;
}

static void come(Channel *ch, Present *p, int64_t now_ms)
{
    unlist(&ch->roster, p);
    p->here = true;
    change(ch, p, now_ms);
}

bool roster_join(Channel *ch, Text key, Text member, int64_t now_ms)
{
    Present *p = obtain(&ch->roster, key, member);
    if (p && p->sockets++ == 0)
        come(ch, p, now_ms);
    return p != NULL;
}

bool roster_join_far(Channel *ch, Text key, Text member, int64_t now_ms)
{
    Present *p = obtain(&ch->roster, key, member);
    if (p && p->far++ == 0 && !p->sockets)
        come(ch, p, now_ms);
    return p != NULL;
}

const Present *roster_remote(const Roster *r, Text key)
{
    const Present *p = map_get(&r->present, key);
    return p && p->far && !p->sockets ? p : NULL;
}

static void go(Channel *ch, Present *p, int64_t now_ms)
{
    unlist(&ch->roster, p);
    p->here = false;
    change(ch, p, now_ms);
}

void roster_leave(Channel *ch, Text key, uint32_t grace_ms, int64_t now_ms)
{
    Roster *r = &ch->roster;
    Present *p = map_get(&r->present, key);
    if (!p || !p->sockets || --p->sockets)
        return;
    if (p->far) { /* its watchers see it on */
        tell_nodes(ch, p);
    } else if (grace_ms && p->announced) {
        unlist(r, p);
        p->here = false;
        p->due_ms = now_ms + grace_ms;
        enlist(r, p, true);
        space_want_tick(ch);
    } else {
        go(ch, p, now_ms);
    }
}

void roster_leave_far(Channel *ch, Text key, int64_t now_ms)
{
    Present *p = map_get(&ch->roster.present, key);
    if (p && p->far && --p->far == 0 && !p->sockets)
        go(ch, p, now_ms);
}

bool roster_tick(Channel *ch, int64_t now_ms)
{
    Roster *r = &ch->roster;
    for (Present *p = r->absent.first, *next; p; p = next) {
        next = p->next;
        if (p->due_ms > now_ms)
            continue;
        unlist(r, p);
        change(ch, p, now_ms);
    }
    if (r->changes.first && r->flush_ms <= now_ms) {
        while (r->changes.first) {
            Present *p = r->changes.first;
            unlist(r, p);
            announce(ch, p);
        }
    }
    return r->changes.first || r->absent.first;
}

static void write_members(const Roster *r, const Present *without, size_t max, Buf *out,
                          bool *truncated)
{
    size_t at = 0, written = 0;
    MapSlot *slot;
    *truncated = false;
    while ((slot = map_next(&r->present, &at))) {
        const Present *p = slot->value;
        if (p == without || !p->announced)
            continue;
        if (written == max) {
            *truncated = true;
            return;
        }
        if (written++)
            buf_char(out, ',');
        buf_text(out, p->member);
    }
}

void roster_write(const Roster *r, Text self, Buf *out, bool *truncated)
{
    const Present *own = map_get(&r->present, self);
    size_t start = out->len;
    write_members(r, own, SNAPSHOT_MAX - 1, out, truncated);
    if (!own)
        return;
    if (out->len > start)
        buf_char(out, ',');
    buf_text(out, own->member);
}

void roster_write_others(const Roster *r, Text self, Buf *out, bool *truncated)
{
    write_members(r, map_get(&r->present, self), SNAPSHOT_MAX, out, truncated);
}

uint32_t roster_sockets(const Roster *r, Text key)
{
    const Present *p = map_get(&r->present, key);
    return p ? p->sockets : 0;
}
