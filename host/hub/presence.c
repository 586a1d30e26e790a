/* presence.c - rosters: joins and leaves become announcements now, later, or never. */
#include "host/hub/presence.h"

#include "core/mem.h"
#include "core/text.h"
#include "host/hub/channel.h"
#include "host/hub/event.h"
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
    map_take(&r->present, p->socket_id);
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

/* Tell the watchers; the one it is about does not hear of itself. */
static void announce(Channel *ch, Present *p)
{
    const Member *self = channel_member(ch, p->socket_id);
    uint32_t others = ch->nwatchers - (self && self->watches ? 1 : 0);
    p->announced = p->here;
    if (!p->remote)
        mirror_announce(ch, p);
    if (others) {
        Event *ev = d1_presence_update(ch->name, p->here ? TEXT("join") : TEXT("leave"), p->client,
                                       p->socket_id);
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
    if (p->announced == p->here) { /* nobody was told of the first half */
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

static bool join(Channel *ch, Text socket_id, Text client, bool remote, int64_t now_ms)
{
    Roster *r = &ch->roster;
    Present *p = map_get(&r->present, socket_id);
    if (!p) {
        p = mem_zalloc(1, sizeof *p + socket_id.len + client.len);
        if (!p)
            return false;
        char *texts = (char *)(p + 1);
        memcpy(texts, socket_id.ptr, socket_id.len);
        memcpy(texts + socket_id.len, client.ptr, client.len);
        p->socket_id = (Text){texts, socket_id.len};
        p->client = (Text){texts + socket_id.len, client.len};
        if (!map_put(&r->present, p->socket_id, p)) {
            mem_free(p);
            return false;
        }
    }
    unlist(r, p);
    p->here = true;
    p->remote = remote;
    p->stale = false;
    change(ch, p, now_ms);
    return true;
}

bool roster_join(Channel *ch, Text socket_id, Text client, int64_t now_ms)
{
    return join(ch, socket_id, client, false, now_ms);
}

bool roster_join_remote(Channel *ch, Text socket_id, Text client, int64_t now_ms)
{
    return join(ch, socket_id, client, true, now_ms);
}

const Present *roster_remote(const Roster *r, Text socket_id)
{
    const Present *p = map_get(&r->present, socket_id);
    return p && p->remote && p->here ? p : NULL;
}

void roster_leave(Channel *ch, Text socket_id, uint32_t grace_ms, int64_t now_ms)
{
    Roster *r = &ch->roster;
    Present *p = map_get(&r->present, socket_id);
    if (!p || !p->here)
        return;
    unlist(r, p);
    p->here = false;
    if (grace_ms && p->announced) {
        p->due_ms = now_ms + grace_ms;
        enlist(r, p, true);
        space_want_tick(ch);
        return;
    }
    change(ch, p, now_ms);
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

void roster_write(const Roster *r, Text self, Buf *out, bool *truncated)
{
    size_t at = 0, written = 0, start = out->len;
    MapSlot *slot;
    const Present *own = map_get(&r->present, self);
    *truncated = false;
    while ((slot = map_next(&r->present, &at))) {
        const Present *p = slot->value;
        if (p == own || !p->announced)
            continue;
        if (written == SNAPSHOT_MAX - 1) {
            *truncated = true;
            break;
        }
        written++;
        if (out->len > start)
            buf_char(out, ',');
        buf_text(out, p->client);
    }
    if (!own)
        return;
    if (out->len > start)
        buf_char(out, ',');
    buf_text(out, own->client);
}
