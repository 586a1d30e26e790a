/* metrics.c - Prometheus text format 0.0.4. */
#include "host/metrics.h"

#include "core/mem.h"

static void head(Buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(Buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
    head(out, name, type, help);
    buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

/* micro: the values are microseconds and shown in seconds. */
static void histogram(Buf *out, const char *name, const char *help, const Buckets *b, bool micro)
{
    double unit = micro ? 1e6 : 1;
    uint64_t sum = 0;
    head(out, name, "histogram", help);
    for (unsigned i = 0; i <= BUCKETS_COUNT; i++) {
        sum += atomic_load_explicit(&b->counts[i], memory_order_relaxed);
        if (i < BUCKETS_COUNT)
            buf_printf(out, "%s_bucket{le=\"%g\"} %llu\n", name, (double)buckets_bound(i) / unit,
                       (unsigned long long)sum);
    }
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name,
               (unsigned long long)sum, name,
               (double)atomic_load_explicit(&b->sum, memory_order_relaxed) / unit, name,
               (unsigned long long)sum);
}

static void closes(Buf *out, const HubStats *hub)
{
    static const int codes[] = {
#define CLOSE(code) code,
#include "host/hub/counters.def"
    };
    const char *name = "xs_hub_closed_total";
    head(out, name, "counter", "Connections ended, by WebSocket close code");
    for (unsigned i = 0; i < HUB_CLOSED_COUNT; i++) {
        if (codes[i])
            buf_printf(out, "%s{code=\"%d\"} %llu\n", name, codes[i],
                       (unsigned long long)hub->closed[i]);
        else
            buf_printf(out, "%s{code=\"other\"} %llu\n", name, (unsigned long long)hub->closed[i]);
    }
}

typedef struct TransportMetric {
    size_t offset;
    const char *name, *type, *help;
} TransportMetric;

#define ROW(field, name, type, help)                                                               \
    {                                                                                              \
        offsetof(xs_transport_stats, field), name, type, help                                      \
    }
static const TransportMetric transport_metrics[] = {
    ROW(connections, "xs_transport_connections", "gauge", "Open realtime connections"),
    ROW(opened, "xs_transport_opened_total", "counter", "Realtime connections opened"),
    ROW(closed, "xs_transport_closed_total", "counter", "Realtime connections closed"),
    ROW(frames_in, "xs_transport_frames_in_total", "counter", "Frames received"),
    ROW(frames_out, "xs_transport_frames_out_total", "counter", "Frames sent"),
    ROW(bytes_in, "xs_transport_bytes_in_total", "counter", "Bytes received"),
    ROW(bytes_out, "xs_transport_bytes_out_total", "counter", "Bytes sent"),
    ROW(writes, "xs_transport_writes_total", "counter", "Write calls"),
    ROW(partial_writes, "xs_transport_partial_writes_total", "counter", "Short write calls"),
    ROW(slow_closed, "xs_transport_slow_closed_total", "counter", "Clients dropped for being slow"),
    ROW(handshake_failed, "xs_transport_handshake_failed_total", "counter", "Failed handshakes"),
    ROW(queued_bytes, "xs_transport_queued_bytes", "gauge", "Bytes waiting for slow clients"),
};
#undef ROW

void metrics_write(const MetricsInput *in, Buf *out)
{
#define METRIC(field, name, type, help)                                                            \
    single(out, name, #type, help, atomic_load_explicit(&in->host->field, memory_order_relaxed));
#include "host/metrics.def"
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"xs_memory_bytes", "gauge", "Bytes in use", mem_in_use()},
        {"xs_http_connections", "gauge", "Open HTTP connections", in->http_connections},
        {"xs_head_timeouts_total", "counter", "Clients that sent no complete head or body in time",
         in->head_timeouts},
        {"xs_handshake_pauses_total", "counter",
         "Times nobody was accepted because of realtime.handshake_per_s", in->door_pauses},
        {"xs_http_refused_total", "counter", "Requests that could not be read as HTTP",
         in->http_refused},
        {"xs_jobs_waiting", "gauge", "Jobs waiting for a worker", in->jobs_waiting},
        {"xs_jobs_running", "gauge", "Jobs running or parked", in->jobs_running},
        {"xs_hub_spaces", "gauge", "Realtime spaces", in->hub.spaces},
        {"xs_hub_channels", "gauge", "Live channels", in->hub.channels},
#define COUNTER(field, name, type, help) {name, #type, help, in->hub.field},
#include "host/hub/counters.def"
        {"xs_db_reads_total", "counter", "Database reads", in->db.reads},
        {"xs_db_writes_total", "counter", "Database writes", in->db.writes},
        {"xs_db_commits_total", "counter", "Database commits; fewer than writes when grouped",
         in->db.commits},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        single(out, rows[i].name, rows[i].type, rows[i].help, rows[i].value);
#define HISTOGRAM(field, name, help) histogram(out, name, help, &in->host->field, true);
#include "host/metrics.def"
    if (in->hub.deliver_us)
        histogram(out, "xs_publish_deliver_seconds",
                  "From publishing an event to its last write on a transport", in->hub.deliver_us,
                  true);
    if (in->db.commit_writes)
        histogram(out, "xs_db_commit_writes", "Writes that shared one commit", in->db.commit_writes,
                  false);
    closes(out, &in->hub);
    for (size_t i = 0; i < COUNT_OF(transport_metrics); i++) {
        const TransportMetric *m = &transport_metrics[i];
        head(out, m->name, m->type, m->help);
        for (size_t t = 0; t < in->ntransports; t++) {
            uint64_t value;
            memcpy(&value, (const char *)&in->transports[t].stats + m->offset, sizeof value);
            buf_printf(out, "%s{transport=\"%s\"} %llu\n", m->name, in->transports[t].name,
                       (unsigned long long)value);
        }
    }
}
