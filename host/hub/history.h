/* history.h - the ring of one channel: what was said lately, for history and for recovery.
 * Owner: the channel; guarded by the space's lock. Specification: realtime.md §1.3. */
#ifndef HOST_HUB_HISTORY_H
#define HOST_HUB_HISTORY_H

#include "host/hub/frame.h"

enum { RECOVERY_MS = 60 * 1000, HISTORY_MS = 24 * 60 * 60 * 1000 };

typedef struct Ring {
    Event **items; /* circular; cap is a power of two */
    size_t cap, head, count;
    size_t bytes;
    uint64_t evicted_seq; /* highest seq ever dropped, 0 = none */
} Ring;

typedef struct RingLimits {
    uint32_t max_events; /* of the whole ring */
    uint32_t
        keep_events; /* newest ones that stay longer than RECOVERY_MS: the configured history */
    size_t max_bytes;
} RingLimits;

void ring_deinit(Ring *r);
/** Room for one more, so that the next ring_push cannot fail. false when out of memory. */
XS_MUST_CHECK bool ring_reserve(Ring *r);
/** Append; takes its own reference. ring_reserve came before. */
void ring_push(Ring *r, Event *ev);
/** Drop what the limits and the time no longer allow. */
void ring_trim(Ring *r, const RingLimits *limits, int64_t now_ms);
void ring_drop_oldest(Ring *r);
Event *ring_at(const Ring *r, size_t i); /* 0 = oldest */
/** Index of the first entry with a larger seq; count when there is none. */
size_t ring_after(const Ring *r, uint64_t seq);

#endif
