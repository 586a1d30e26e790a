/* fanout.c - xs bench fanout.
 *
 * The publisher is a thread; it keeps a window of publishes under way, or a rate. Every event
 * carries its number and the time it was published; subscribers check that nothing is missing or
 * out of order. Server CPU and memory come from /proc. Specification: realtime.md §9, §11. */
#include "bench/fanout.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/mem.h"

enum {
    CONNECT_IDLE_MS = 15000, /* without a new connection: give up */
    IDLE_MS = 10000,         /* without a delivery: give up */
    SETTLE_MS = 300,         /* between subscribing and publishing */
    QUIET_S = 1,             /* how long idle CPU is watched */
    SPEAKERS = 100,
    SAMPLE_MS = 100,
    BATCH_MAX = 100,
    SIZE_MAX_BYTES = 200000
};

typedef struct Run {
    const FanoutOptions *o;
    FanoutResult *r;
    Target target;
    Fleet fleet;
    uint64_t receivers; /* per event */
    _Atomic uint64_t delivered;
    _Atomic bool stop, failed;
    char problem[160];
} Run;

static void sleep_until(int64_t at_us)
{
    int64_t left = at_us - clock_mono_us();
    if (left > 0)
        usleep((useconds_t)left);
}

static void *publisher(void *arg)
{
    Run *run = (Run *)arg;
    const FanoutOptions *o = run->o;
    Publisher p;
    bool ok = publisher_open(&p, &run->target);
    int64_t start = clock_mono_us();
    for (uint64_t sent = 0, turn = 0; ok && sent < o->messages; turn++) {
        uint64_t left = o->messages - sent, window = (uint64_t)o->window * o->batch;
        if (o->rate)
            sleep_until(start + (int64_t)(turn * 1000000 / o->rate));
        while (window && sent >= window && !atomic_load(&run->stop) &&
               atomic_load(&run->delivered) < (sent - window + o->batch) * run->receivers)
            usleep(20);
        if (atomic_load(&run->stop))
            break;
        uint32_t count = left < o->batch ? (uint32_t)left : o->batch;
        ok = publisher_send(&p, sent, count);
        sent += count;
    }
    if (!ok) {
        memcpy(run->problem, p.problem, sizeof run->problem);
        atomic_store(&run->failed, true);
    }
    while (!atomic_load(&run->stop) && !atomic_load(&run->failed))
        usleep(1000); /* a speaking client that leaves would take its last messages along */
    publisher_close(&p);
    return NULL;
}

static void show(const FanoutOptions *o, const char *what, uint64_t n, uint64_t total)
{
    if (o->progress)
        fprintf(stderr, "\r\033[K%s: %s %llu/%llu", o->target, what, (unsigned long long)n,
                (unsigned long long)total);
}

static void clear_line(const FanoutOptions *o)
{
    if (o->progress)
        fputs("\r\033[K", stderr);
}

static bool connect_all(Run *run)
{
    Fleet *f = &run->fleet;
    const FanoutOptions *o = run->o;
    int64_t start = clock_mono_us(), moved = start;
    uint32_t seen = 0;
    if (!fleet_add(f, &run->target.idle, o->idle, true) ||
        !fleet_add(f, &run->target.dialect, o->clients, false)) {
        fprintf(stderr, "xs bench: out of memory\n");
        return false;
    }
    while (f->joined < f->count && !f->ended) {
        fleet_step(f, 100);
        show(o, "subscribed", f->joined, f->count);
        int64_t now = clock_mono_us();
        if (f->joined != seen)
            moved = now;
        seen = f->joined;
        if (now - moved > (int64_t)CONNECT_IDLE_MS * 1000)
            break;
    }
    clear_line(o);
    run->r->connect_seconds = (double)(clock_mono_us() - start) / 1e6;
    if (f->joined == f->count && !f->ended)
        return true;
    fprintf(stderr, "xs bench: %s: only %u of %u clients subscribed: %s\n", o->target, f->joined,
            f->count, f->ended ? f->trouble : "no more answers");
    return false;
}

static void wait_quiet(Run *run, int ms)
{
    int64_t end = clock_mono_us() + (int64_t)ms * 1000;
    while (clock_mono_us() < end)
        fleet_step(&run->fleet, 50);
}

static void take_sample(Run *run, Histogram *before, uint64_t *received, int64_t start,
                        int64_t from, int64_t now)
{
    FanoutResult *r = run->r;
    const Histogram *h = &run->fleet.latency;
    if (r->samples == FANOUT_SERIES)
        return;
    Histogram part = {.count = h->count - before->count, .max = h->max};
    for (unsigned b = 0; b < HIST_BUCKETS; b++)
        part.buckets[b] = h->buckets[b] - before->buckets[b];
    r->series[r->samples++] =
        (FanoutSample){(double)(now - start) / 1e6,
                       (double)(run->fleet.received - *received) * 1e6 / (double)(now - from),
                       (double)hist_percentile(&part, 0.99)};
    *before = *h;
    *received = run->fleet.received;
}

static bool deliver_all(Run *run)
{
    static Histogram before;
    Fleet *f = &run->fleet;
    const FanoutOptions *o = run->o;
    uint64_t total = o->messages * run->receivers, seen = 0, sampled = 0;
    int64_t start = clock_mono_us(), moved = start, shown = 0, sample = start;
    pthread_t thread;
    before = (Histogram){0};
    if (pthread_create(&thread, NULL, publisher, run) != 0) {
        fprintf(stderr, "xs bench: cannot start the publisher\n");
        return false;
    }
    while (f->received < total && !f->ended && !atomic_load(&run->failed)) {
        fleet_step(f, 100);
        atomic_store(&run->delivered, f->received);
        int64_t now = clock_mono_us();
        if (f->received != seen)
            moved = now;
        seen = f->received;
        if (now - moved > (int64_t)IDLE_MS * 1000)
            break;
        if (now - sample > SAMPLE_MS * 1000) {
            take_sample(run, &before, &sampled, start, sample, now);
            sample = now;
        }
        if (now - shown > 200000) {
            show(o, "deliveries", f->received, total);
            shown = now;
        }
    }
    atomic_store(&run->stop, true);
    pthread_join(thread, NULL);
    clear_line(o);
    if (atomic_load(&run->failed))
        fprintf(stderr, "xs bench: %s: %s\n", o->target, run->problem);
    else if (f->ended)
        fprintf(stderr, "xs bench: %s: a client was closed: %s\n", o->target, f->trouble);
    return f->received > 0 && !atomic_load(&run->failed);
}

/* Those that have not read yet do. */
static void catch_up(Run *run)
{
    Fleet *f = &run->fleet;
    uint64_t total = run->o->messages * (run->receivers + run->o->late), seen = f->received;
    int64_t moved = clock_mono_us();
    fleet_catch_up(f);
    while (f->received < total && clock_mono_us() - moved < (int64_t)IDLE_MS * 1000) {
        fleet_step(f, 100);
        if (f->received != seen)
            moved = clock_mono_us();
        seen = f->received;
    }
}

static void fill_times(Run *run)
{
    const Fleet *f = &run->fleet;
    FanoutResult *r = run->r;
    r->seconds = (double)(f->last_us - f->first_us) / 1e6;
    r->p50 = hist_percentile(&f->latency, 0.5);
    r->p90 = hist_percentile(&f->latency, 0.9);
    r->p99 = hist_percentile(&f->latency, 0.99);
    r->p999 = hist_percentile(&f->latency, 0.999);
    r->max = f->latency.max;
}

static void fill_result(Run *run, uint64_t cpu, uint64_t quiet_cpu)
{
    const Fleet *f = &run->fleet;
    FanoutResult *r = run->r;
    uint64_t total = run->o->messages * (run->receivers + run->o->late);
    r->deliveries = f->received;
    r->missing = total > f->received ? total - f->received : 0;
    r->disordered = f->disordered;
    r->closed = f->ended;
    r->cpu_us = cpu && f->received ? (double)cpu / (double)f->received : -1;
    r->idle_cores = (double)quiet_cpu / (run->o->quiet_s * 1e6);
    if (f->unordered)
        r->disordered = run->receivers - fleet_complete(f, run->o->messages);
}

bool fanout_measure(const FanoutOptions *o, FanoutResult *out)
{
    Run *run = (Run *)mem_zalloc(1, sizeof *run);
    bool ok = false;
    *out = (FanoutResult){.cpu_us = -1, .bytes_per_conn = -1};
    if (!run)
        return false;
    cpu_set_t cpus; /* of this thread, given back at the end: the next server starts on all */
    sched_getaffinity(0, sizeof cpus, &cpus);
    run->o = o;
    run->r = out;
    run->receivers = o->clients - o->stuck - o->late;
    bool started = target_start(&run->target, o->target, &o->with);
    Target *t = &run->target;
    if (started && !fleet_init(&run->fleet, t->host, t->port)) {
        fprintf(stderr, "xs bench: cannot use the address %s\n", t->host);
    } else if (started) {
        run->fleet.unordered = o->with.speakers > 0;
        bool pin = o->pin && t->own && proc_cpus() > 1;
        if (pin && !(proc_pin(t->pid, &cpus, 0) && proc_pin(0, &cpus, 1)))
            fprintf(stderr, "xs bench: cannot pin to processors\n");
        uint64_t memory = t->pid ? proc_anon_bytes(t->pid) : 0;
        if (connect_all(run)) {
            wait_quiet(run, SETTLE_MS);
            uint64_t open_memory = t->pid ? proc_anon_bytes(t->pid) : 0;
            if (open_memory > memory)
                out->bytes_per_conn = (double)(open_memory - memory) / run->fleet.count;
            uint64_t quiet = t->pid ? proc_cpu_us(t->pid) : 0;
            wait_quiet(run, o->idle ? (int)o->quiet_s * 1000 : 0);
            uint64_t before = t->pid ? proc_cpu_us(t->pid) : 0;
            fleet_stick(&run->fleet, o->stuck);
            fleet_postpone(&run->fleet, o->late);
            ok = deliver_all(run);
            fill_times(run);
            catch_up(run);
            fill_result(run, t->pid ? proc_cpu_us(t->pid) - before : 0,
                        o->idle ? before - quiet : 0);
            uint64_t last_memory = t->pid ? proc_anon_bytes(t->pid) : 0;
            if (o->stuck && last_memory > open_memory)
                out->stuck_bytes = (double)(last_memory - open_memory) / o->stuck;
        }
    }
    sched_setaffinity(0, sizeof cpus, &cpus);
    fleet_deinit(&run->fleet);
    if (started)
        target_stop(t);
    mem_free(run);
    return ok;
}

/* ---- report ---- */

static void number_or_null(double value, int digits)
{
    if (value < 0)
        printf("null");
    else
        printf("%.*f", digits, value);
}

static void report_json(const FanoutOptions *o, const FanoutResult *r)
{
    printf("{\"target\":\"%s\",\"transport\":\"%s\",\"clients\":%u,\"idle\":%u,\"stuck\":%u,"
           "\"channels\":%u,\"messages\":%llu,\"size_bytes\":%u,\"batch\":%u,\"window\":%u,"
           "\"rate\":%u,\"speakers\":%u,\"connect_s\":%.3f,\"deliveries\":%llu,\"seconds\":%.3f,"
           "\"deliveries_per_s\":%.0f,",
           o->target, carrier_names[o->with.carrier], o->clients, o->idle, o->stuck,
           o->with.channels, (unsigned long long)o->messages, o->with.size, o->batch, o->window,
           o->rate, o->with.speakers, r->connect_seconds, (unsigned long long)r->deliveries,
           r->seconds, r->seconds > 0 ? (double)r->deliveries / r->seconds : 0);
    printf("\"latency_us\":{\"p50\":%llu,\"p90\":%llu,\"p99\":%llu,\"p999\":%llu,\"max\":%llu},"
           "\"server_cpu_us_per_delivery\":",
           (unsigned long long)r->p50, (unsigned long long)r->p90, (unsigned long long)r->p99,
           (unsigned long long)r->p999, (unsigned long long)r->max);
    number_or_null(r->cpu_us, 3);
    printf(",\"server_bytes_per_connection\":");
    number_or_null(r->bytes_per_conn, 0);
    printf(",\"stuck_bytes_per_client\":%.0f,\"idle_cores\":%.4f,\"missing\":%llu,"
           "\"out_of_order\":%llu,\"closed\":%llu,\"series\":[",
           r->stuck_bytes, r->idle_cores, (unsigned long long)r->missing,
           (unsigned long long)r->disordered, (unsigned long long)r->closed);
    for (uint32_t i = 0; i < r->samples; i++)
        printf("%s[%.3f,%.0f,%.0f]", i ? "," : "", r->series[i].seconds, r->series[i].rate,
               r->series[i].p99_us);
    printf("]}\n");
}

static void report(const FanoutOptions *o, const FanoutResult *r)
{
    printf("fanout of %s over %s: %u clients", o->target, carrier_names[o->with.carrier],
           o->clients);
    if (o->idle)
        printf(" and %u idle", o->idle);
    if (o->stuck)
        printf(", %u of them stuck", o->stuck);
    if (o->late)
        printf(", %u of them reading at the end", o->late);
    printf(", %llu events of %u bytes, %u per publish\n", (unsigned long long)o->messages,
           o->with.size, o->batch);
    printf("  connecting     %.0f ms, %.0f per second\n", r->connect_seconds * 1e3,
           (o->clients + o->idle) / r->connect_seconds);
    printf("  deliveries     %llu in %.3f s, %.0f per second\n", (unsigned long long)r->deliveries,
           r->seconds, r->seconds > 0 ? (double)r->deliveries / r->seconds : 0);
    if (o->with.speakers)
        printf("  triggers       %.0f per second\n",
               r->seconds > 0 ? (double)o->messages / r->seconds : 0);
    printf("  latency        p50 %llu  p90 %llu  p99 %llu  p99.9 %llu  max %llu microseconds\n",
           (unsigned long long)r->p50, (unsigned long long)r->p90, (unsigned long long)r->p99,
           (unsigned long long)r->p999, (unsigned long long)r->max);
    if (r->cpu_us >= 0)
        printf("  server CPU     %.2f microseconds per delivery\n", r->cpu_us);
    if (o->idle)
        printf("  server idle    %.3f cores\n", r->idle_cores);
    if (r->bytes_per_conn >= 0)
        printf("  server memory  %.0f bytes per connection\n", r->bytes_per_conn);
    if (o->stuck)
        printf("  stuck clients  %.0f bytes of server memory each\n", r->stuck_bytes);
    printf("  missing %llu, out of order %llu, closed %llu\n", (unsigned long long)r->missing,
           (unsigned long long)r->disordered, (unsigned long long)r->closed);
}

/* ---- command ---- */

static bool parse_address(const char *text, char *host, size_t size, int *port)
{
    const char *colon = strrchr(text, ':');
    uint64_t n = 0;
    if (!colon || (size_t)(colon - text) >= size || !measure_count(colon + 1, 1, 65535, &n))
        return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    if (strcmp(host, "localhost") == 0)
        snprintf(host, size, "127.0.0.1");
    *port = (int)n;
    return true;
}

static int list_targets(void)
{
    for (size_t i = 0; target_name(i); i++) {
        printf("%-10s %s", target_name(i), target_doc(i));
        char why[160];
        bool any = false;
        for (int c = 0; c < 3; c++)
            any = target_available(target_name(i), (Carrier)c, why, sizeof why) || any;
        printf("%s\n", any ? "" : " - not here");
    }
    return EXIT_OK;
}

int bench_fanout(int argc, char **argv)
{
    const char *target = "xs", *clients = NULL, *idle = NULL, *stuck = NULL, *late = NULL,
               *channels = NULL, *messages = NULL, *size = NULL, *batch = NULL, *window = NULL,
               *rate = NULL, *transport = "ws", *threads = NULL, *url = NULL, *admin = NULL,
               *key = NULL, *base = NULL, *pid = NULL, *quiet = NULL, *speakers = NULL;
    bool json = false, no_pin = false, trigger = false, targets = false;
    const CliOption options[] = {
        {"--clients", "N", "subscribers (100)", NULL, &clients},
        {"--messages", "M", "events to publish (1000)", NULL, &messages},
        {"--size", "B", "bytes of an event's data (128)", NULL, &size},
        {"--batch", "K", "events per publish request (1)", NULL, &batch},
        {"--window", "W", "publishes under way at once (1); 0 = do not wait", NULL, &window},
        {"--rate", "R", "publishes per second (no limit)", NULL, &rate},
        {"--transport", "NAME", "ws, sse or longpoll (ws)", NULL, &transport},
        {"--channels", "C", "channels that every subscriber has (1)", NULL, &channels},
        {"--idle", "N", "subscribers of another channel besides (0)", NULL, &idle},
        {"--stuck", "N", "of the subscribers, how many stop reading (0)", NULL, &stuck},
        {"--quiet", "S", "with --idle: seconds to watch the server before (1)", NULL, &quiet},
        {"--late", "N", "of the subscribers, how many read only at the end (0)", NULL, &late},
        {"--trigger", NULL, "publish by messages through a trigger that writes a row", &trigger,
         NULL},
        {"--speakers", "N", "with --trigger: clients that take turns (100)", NULL, &speakers},
        {"--threads", "N", "WebSocket threads of the server (1)", NULL, &threads},
        {"--target", "NAME", "what to measure (xs); see --targets", NULL, &target},
        {"--targets", NULL, "list what can be measured here", &targets, NULL},
        {"--no-pin", NULL, "do not bind server and clients to processors", &no_pin, NULL},
        {"--url", "HOST:PORT", "a running server instead of one of our own", NULL, &url},
        {"--admin", "HOST:PORT", "its admin address (the --url)", NULL, &admin},
        {"--key", "KEY", "its publish key", NULL, &key},
        {"--base", "PATH", "its realtime path (/rt/bench)", NULL, &base},
        {"--pid", "PID", "its process, to measure CPU and memory", NULL, &pid},
        {"--json", NULL, "print one line of JSON", &json, NULL},
        {0},
    };
    int done =
        cli_options(&argc, argv, "bench fanout [OPTIONS]",
                    "Measures how fast events reach the subscribers of one channel, and what "
                    "each delivery costs.\nExit code 1 when an event is missing or out of "
                    "order.",
                    options);
    if (done >= 0)
        return done;
    if (argc > 1)
        return cli_usage("bench fanout", "unexpected argument '%s'", argv[1]);
    if (targets)
        return list_targets();
    uint64_t n_clients = 100, n_idle = 0, n_stuck = 0, n_late = 0, n_channels = 1, n_size = 128,
             n_batch = 1, n_window = 1, n_rate = 0, n_threads = 1, n_pid = 0, n_quiet = QUIET_S,
             n_speakers = SPEAKERS;
    static char url_host[64], admin_host[64];
    FanoutOptions o = {.target = target, .messages = 1000, .pin = !no_pin};
    o.with = (TargetOptions){.base = base, .key = key};
    o.progress = !json && isatty(STDERR_FILENO);
    const char *bad = NULL;
    if (!measure_count(clients, 1, 1000000, &n_clients))
        bad = "--clients needs a number from 1";
    else if (!measure_count(messages, 1, 1000000000, &o.messages))
        bad = "--messages needs a number from 1";
    else if (!measure_count(size, 1, SIZE_MAX_BYTES, &n_size))
        bad = "--size needs a number from 1 to 200000";
    else if (!measure_count(batch, 1, BATCH_MAX, &n_batch))
        bad = "--batch needs a number from 1 to 100";
    else if (!measure_count(window, 0, 1000000, &n_window))
        bad = "--window needs a number";
    else if (!measure_count(rate, 1, 1000000, &n_rate))
        bad = "--rate needs a number from 1";
    else if (!measure_count(channels, 1, 64, &n_channels))
        bad = "--channels needs a number from 1 to 64";
    else if (n_channels > 1 && strcmp(target, "xs") != 0)
        bad = "--channels is for the target xs";
    else if (trigger && strcmp(target, "xs") != 0)
        bad = "--trigger is for the target xs";
    else if (!measure_count(idle, 0, 1000000, &n_idle))
        bad = "--idle needs a number";
    else if (!measure_count(stuck, 0, n_clients - 1, &n_stuck))
        bad = "--stuck needs a number below --clients";
    else if (!measure_count(quiet, 1, 3600, &n_quiet))
        bad = "--quiet needs a number from 1 to 3600";
    else if (!measure_count(speakers, 1, 100000, &n_speakers))
        bad = "--speakers needs a number from 1";
    else if (!measure_count(late, 0, n_clients - n_stuck - 1, &n_late))
        bad = "--late needs a number below --clients without --stuck";
    else if (!measure_count(threads, 1, 64, &n_threads))
        bad = "--threads needs a number from 1 to 64";
    else if (!measure_count(pid, 1, INT_MAX, &n_pid))
        bad = "--pid needs a process id";
    else if (!carrier_named(transport, &o.with.carrier))
        bad = "--transport must be ws, sse or longpoll";
    else if (url && !parse_address(url, url_host, sizeof url_host, &o.with.port))
        bad = "--url needs HOST:PORT";
    else if (url &&
             !parse_address(admin ? admin : url, admin_host, sizeof admin_host, &o.with.admin_port))
        bad = "--admin needs HOST:PORT";
    else if (base && !strrchr(base, '/'))
        bad = "--base needs a path such as /rt/bench";
    if (bad)
        return cli_usage("bench fanout", "%s", bad);
    o.clients = (uint32_t)n_clients;
    o.idle = (uint32_t)n_idle;
    o.stuck = (uint32_t)n_stuck;
    o.late = (uint32_t)n_late;
    o.batch = (uint32_t)n_batch;
    o.window = (uint32_t)n_window;
    o.rate = (uint32_t)n_rate;
    o.with.channels = (uint32_t)n_channels;
    o.with.size = (uint32_t)n_size;
    o.with.threads = (uint32_t)n_threads;
    o.with.speakers = trigger ? (uint32_t)n_speakers : 0;
    o.with.pid = (pid_t)n_pid;
    o.quiet_s = (uint32_t)n_quiet;
    o.with.host = url ? url_host : NULL;
    o.with.publish_host = admin_host;
    proc_raise_files();
    FanoutResult *r = (FanoutResult *)mem_alloc(sizeof *r);
    if (!r)
        return EXIT_PROBLEM;
    bool ok = fanout_measure(&o, r);
    if (ok && json)
        report_json(&o, r);
    else if (ok)
        report(&o, r);
    ok = ok && !r->missing && !r->disordered;
    mem_free(r);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}
