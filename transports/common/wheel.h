/* wheel.h - when to look at each connection again: a ring of lists, one per tick. What is due is
 * found without touching the others, and a turn looks at few of many.
 *
 * The ring is short: who waits for longer is looked at once a round and waits again. Thread: the
 * connections'. */
#ifndef TRANSPORTS_COMMON_WHEEL_H
#define TRANSPORTS_COMMON_WHEEL_H

#include <stddef.h>
#include <stdint.h>

enum {
    WHEEL_TICK_MS = 100,
    WHEEL_SLOTS = 16,
    WHEEL_ROUND_MS = 1000 /* a time between two looks that is short enough for anything coarse */
};

typedef struct Timer {
    struct Timer *next, **at; /* at NULL: not set */
} Timer;

typedef struct Wheel {
    Timer *slots[WHEEL_SLOTS];
    int64_t tick; /* the one to be looked at, or looked at just now */
} Wheel;

static inline void wheel_init(Wheel *w, int64_t now_ms)
{
    *w = (Wheel){.tick = now_ms / WHEEL_TICK_MS};
}

static inline void timer_unset(Timer *t)
{
    if (!t->at)
        return;
    *t->at = t->next;
    if (t->next)
        t->next->at = t->at;
    t->at = NULL;
}

/** Due at the first tick that is not before at_ms; sooner when that is beyond the ring. */
static inline void timer_set(Wheel *w, Timer *t, int64_t at_ms)
{
    int64_t tick = (at_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    if (tick <= w->tick)
        tick = w->tick + 1;
    if (tick >= w->tick + WHEEL_SLOTS)
        tick = w->tick + WHEEL_SLOTS - 1;
    timer_unset(t);
    Timer **slot = &w->slots[tick % WHEEL_SLOTS];
    t->next = *slot;
    if (t->next)
        t->next->at = &t->next;
    t->at = slot;
    *slot = t;
}

/** A timer that is due, unset; NULL = no more of them now. */
static inline Timer *wheel_due(Wheel *w, int64_t now_ms)
{
    for (int64_t last = now_ms / WHEEL_TICK_MS;; w->tick++) {
        Timer *t = w->slots[w->tick % WHEEL_SLOTS];
        if (w->tick > last || (w->tick == last && !t))
            return NULL;
        if (t) {
            timer_unset(t);
            return t;
        }
    }
}

/** How often to look at something with these two limits, 0 = none: late by at most a quarter. */
static inline uint32_t wheel_period(uint32_t a_ms, uint32_t b_ms)
{
    uint32_t ms = a_ms && (!b_ms || a_ms < b_ms) ? a_ms : b_ms;
    return !ms || ms / 4 > WHEEL_ROUND_MS ? WHEEL_ROUND_MS
           : ms / 4 < WHEEL_TICK_MS       ? WHEEL_TICK_MS
                                          : ms / 4;
}

#endif
