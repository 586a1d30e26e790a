/* metrics.h - what the server counts, as Prometheus text. Counters: any thread. */
#ifndef HOST_METRICS_H
#define HOST_METRICS_H

#include <stdatomic.h>

#include "core/buf.h"
#include "host/hub/hub.h"
#include "stdlib/db/db.h"

typedef struct Metrics {
#define METRIC(field, name, type, help) _Atomic uint64_t field;
#define HISTOGRAM(field, name, help)    Buckets field;
#include "host/metrics.def"
} Metrics;

static inline void metric_add(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

typedef struct TransportStats {
    const char *name;
    xs_transport_stats stats;
} TransportStats;

typedef struct MetricsInput {
    const Metrics *host;
    HubStats hub;
    DbStats db;
    const TransportStats *transports;
    size_t ntransports;
    uint64_t http_connections, jobs_waiting, jobs_running, head_timeouts, http_refused, door_pauses;
} MetricsInput;

void metrics_write(const MetricsInput *in, Buf *out);

#endif
