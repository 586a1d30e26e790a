/* clock.h - the clock of code that has no host to ask. Any thread. */
#ifndef TRANSPORTS_COMMON_CLOCK_H
#define TRANSPORTS_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

/** Monotonic milliseconds. */
static inline int64_t transport_mono_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif
