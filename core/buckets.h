/* buckets.h - a histogram for metrics: atomic counts per bucket, bounds in the series 1, 2, 5, 10 …
 * up to ten million. Values are microseconds, or plain counts. Thread: any. */
#ifndef CORE_BUCKETS_H
#define CORE_BUCKETS_H

#include <stdatomic.h>

#include "core/base.h"

enum { BUCKETS_COUNT = 22 }; /* and one for all that is larger */

typedef struct Buckets {
    _Atomic uint64_t counts[BUCKETS_COUNT + 1];
    _Atomic uint64_t sum;
} Buckets;

/** Upper bound of a bucket, inclusive. */
static inline uint64_t buckets_bound(unsigned i)
{
    static const uint64_t bounds[BUCKETS_COUNT] = {
        1,    2,     5,     10,    20,     50,     100,    200,     500,     1000,    2000,
        5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000};
    return i < BUCKETS_COUNT ? bounds[i] : UINT64_MAX;
}

/** Count a value that occurred `times` times. */
static inline void buckets_add(Buckets *b, uint64_t value, uint64_t times)
{
    unsigned i = 0;
    while (value > buckets_bound(i))
        i++;
    atomic_fetch_add_explicit(&b->counts[i], times, memory_order_relaxed);
    atomic_fetch_add_explicit(&b->sum, value * times, memory_order_relaxed);
}

#endif
