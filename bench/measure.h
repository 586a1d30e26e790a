/* measure.h - what benchmarks measure with: a clock, latency histograms, the CPU time and memory of
 * processes. Any thread, except that one thread owns a histogram. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <sched.h>
#include <sys/types.h>

#include "core/base.h"

/* Exact below HIST_SUB, then HIST_SUB buckets per power of two: 1.6 % resolution. */
enum { HIST_SUB = 64, HIST_BUCKETS = HIST_SUB * 40 };

typedef struct Histogram {
    uint64_t count, max;
    uint64_t buckets[HIST_BUCKETS];
} Histogram;

void hist_add(Histogram *h, uint64_t value);
/** share 0.5 = median; 0 when empty. */
uint64_t hist_percentile(const Histogram *h, double share);

/** CPU time of a process and its descendants in µs, from the scheduler's counters; 0 = unknown. */
uint64_t proc_cpu_us(pid_t pid);
/** Anonymous resident memory of a process and its descendants in bytes; 0 = unknown. */
uint64_t proc_anon_bytes(pid_t pid);
uint64_t proc_threads(pid_t pid); /* 0 = unknown */
/** Bind a process and its descendants with all their threads (0 = this thread, and what it starts)
 * to the n-th processor of a set. false: not possible. */
bool proc_pin(pid_t pid, const cpu_set_t *of, unsigned n);
unsigned proc_cpus(void); /* processors this thread may use */
/** As many open files as the hard limit allows, or this user may have. @return the limit */
uint64_t proc_raise_files(void);
/** A TCP port of 127.0.0.1 that is free now; 0 = none. */
int proc_free_port(void);
/** SIGTERM, then SIGKILL after wait_ms, and reap. */
void proc_stop(pid_t pid, int wait_ms);

/** Whole number from low to high; text NULL leaves *out alone. false: not such a number. */
bool measure_count(const char *text, uint64_t low, uint64_t high, uint64_t *out);

#endif
