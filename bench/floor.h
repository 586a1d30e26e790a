/* floor.h - the least work that delivers an event: servers with nothing but an epoll loop and one
 * system call per delivery, or per batch. What xs costs is told as a ratio to them. */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include "bench/fleet.h"

/**
 * Serve until killed. port takes subscribers; publish_port takes u32 count, then per event u32
 * length and bytes (host order), and answers each batch with one byte when it is written out.
 * corked: all events of a batch leave with one system call per subscriber. threads: that write,
 * each to a share of the subscribers; long-polls are answered by one.
 */
void floor_serve(Carrier carrier, bool corked, uint32_t threads, int port, int publish_port);

#endif
