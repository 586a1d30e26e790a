/* fanout.h - one publisher, many subscribers of one channel: latency, rate, server CPU and memory
 * per delivery and connection. */
#ifndef BENCH_FANOUT_H
#define BENCH_FANOUT_H

#include "bench/target.h"

typedef struct FanoutOptions {
    const char *target;
    TargetOptions with;
    uint32_t clients, idle, stuck;
    uint32_t late;     /* of the clients: read when the others have received everything */
    uint32_t batch;    /* events per publish */
    uint32_t window;   /* publishes under way before all their events arrived; 0 = no waiting */
    uint32_t rate;     /* publishes per second; 0 = as fast as the window lets */
    uint32_t quiet_s;  /* with idle ones: how long the server is watched before */
    uint64_t messages; /* events */
    bool pin;          /* server and clients on processors of their own */
    bool progress;
} FanoutOptions;

enum { FANOUT_SERIES = 600 /* samples of the rate and latency over time */ };

typedef struct FanoutSample {
    double seconds, rate, p99_us; /* since the start; deliveries per second, of this interval */
} FanoutSample;

typedef struct FanoutResult {
    uint64_t deliveries, missing, disordered, closed; /* disordered: events; with speakers the
                                                           receivers that have a wrong set */
    double seconds, connect_seconds;
    uint64_t p50, p90, p99, p999, max; /* µs from publishing to receiving */
    double cpu_us;                     /* of the server, per delivery; < 0 = unknown */
    double idle_cores;                 /* of the server while nothing is published */
    double bytes_per_conn;             /* anonymous memory; < 0 = unknown */
    double stuck_bytes;                /* the same that each stuck client cost more */
    FanoutSample series[FANOUT_SERIES];
    uint32_t samples;
} FanoutResult;

/** One run: start, connect, publish, receive, stop. false: what went wrong is on stderr. */
XS_MUST_CHECK bool fanout_measure(const FanoutOptions *o, FanoutResult *out);

/** xs bench fanout; argv[0] is "fanout". @return exit code */
int bench_fanout(int argc, char **argv);

#endif
