/* splitmix.h - numbers that look random and never come twice, from a seed and without a system call
 * (splitmix64). Nothing that somebody would gain by guessing. */
#ifndef TRANSPORTS_COMMON_SPLITMIX_H
#define TRANSPORTS_COMMON_SPLITMIX_H

#include <stdint.h>

/** The next number; 2^64 of them until the first one comes again. Thread: the state's. */
static inline uint64_t splitmix_next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

#endif
