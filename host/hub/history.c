/* history.c - a circular buffer of event references. */
#include "host/hub/history.h"

#include "core/mem.h"

enum { FIRST_CAP = 4 };

void ring_deinit(Ring *r)
{
    while (r->count)
        ring_drop_oldest(r);
    mem_free(r->items);
    *r = (Ring){.evicted_seq = r->evicted_seq};
}

bool ring_reserve(Ring *r)
{
    if (r->count < r->cap)
        return true;
    size_t cap = r->cap ? r->cap * 2 : FIRST_CAP;
    Event **items = mem_zalloc(cap, sizeof *items);
    if (!items)
        return false;
    for (size_t i = 0; i < r->count; i++)
        items[i] = ring_at(r, i);
    mem_free(r->items);
    r->items = items;
    r->cap = cap;
    r->head = 0;
    return true;
}

Event *ring_at(const Ring *r, size_t i)
{
    return r->items[(r->head + i) & (r->cap - 1)];
}

void ring_push(Ring *r, Event *ev)
{
    if (NEVER(r->count == r->cap))
        return;
    frame_ref(&ev->frame);
    r->items[(r->head + r->count++) & (r->cap - 1)] = ev;
    r->bytes += ev->bytes;
}

void ring_drop_oldest(Ring *r)
{
    Event *ev = ring_at(r, 0);
    r->head = (r->head + 1) & (r->cap - 1);
    r->count--;
    r->bytes -= ev->bytes;
    if (ev->frame.seq > r->evicted_seq)
        r->evicted_seq = ev->frame.seq;
    frame_unref(&ev->frame);
}

void ring_trim(Ring *r, const RingLimits *limits, int64_t now_ms)
{
    if (r->count && now_ms - ring_at(r, r->count - 1)->frame.ts > HISTORY_MS) {
        while (r->count)
            ring_drop_oldest(r);
    }
    while (r->count) {
        bool over = r->count > limits->max_events || r->bytes > limits->max_bytes;
        bool old = r->count > limits->keep_events && now_ms - ring_at(r, 0)->frame.ts > RECOVERY_MS;
        if (!over && !old)
            return;
        ring_drop_oldest(r);
    }
}

size_t ring_after(const Ring *r, uint64_t seq)
{
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (ring_at(r, mid)->frame.seq > seq)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}
