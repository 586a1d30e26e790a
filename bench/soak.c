/* soak.c - xs bench soak.
 *
 * Subscribers on all three transports that come and go, events by HTTP and by triggers that write a
 * row, requests on connections of their own, and a reload every few seconds. Once a second memory,
 * descriptors and threads of the server are read; after the warm-up none of them may grow. Whoever
 * stays must get the events in order and without a hole. The publisher is a thread of its own. */
#include "bench/soak.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/target.h"
#include "cli/cli.h"
#include "core/clock.h"
#include "core/mem.h"

/* How much more memory than after the warm-up is none yet. What thread sanitizer keeps of every
 * address that was touched goes on growing for a minute (40 clients: 50 MiB after 5 s, 60 after 20,
 * 67 after 60, 68 after 80). */
#if defined(__SANITIZE_THREAD__)
#define ROOM_PERCENT 50
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ROOM_PERCENT 50
#endif
#endif
#ifndef ROOM_PERCENT
#define ROOM_PERCENT 10
#endif

enum {
    CARRIERS = 3,
    SPEAKERS = 20,
    PER_S = 100,      /* events, half of them by triggers */
    CHURN_PER_S = 10, /* clients of each transport */
    RELOAD_S = 5,
    VISITS_PER_S = 20, /* requests on new connections */
    SAMPLES_MAX = 24 * 3600,
    SETTLE_MS = 5000, /* for the last events */
    STOP_MS = 20000,
    MIB = 1 << 20,
    ROOM_FDS = 30, /* a moment's difference */
    ROOM_THREADS = 2
};

typedef struct Sample {
    uint64_t bytes, fds, threads;
} Sample;

typedef struct Soak {
    Target target;
    Target by_http; /* the same, published to over HTTP */
    Dialect dialects[CARRIERS];
    Fleet fleets[CARRIERS];
    uint32_t clients; /* of each transport */
    _Atomic bool stop, failed;
    _Atomic uint64_t said, visits;
    char problem[160];
    Sample *samples;
    uint32_t nsamples;
    uint64_t reloads, churned;
} Soak;

/* ---- load ---- */

static void *publish(void *arg)
{
    Soak *s = (Soak *)arg;
    Publisher http, speaker;
    bool ok = publisher_open(&http, &s->by_http) && publisher_open(&speaker, &s->target);
    int64_t start = clock_mono_us();
    for (uint64_t n = 0; ok && !atomic_load(&s->stop); n++) {
        int64_t due = start + (int64_t)(n * 1000000 / PER_S), now = clock_mono_us();
        if (due > now)
            usleep((useconds_t)(due - now));
        ok = n & 1 ? publisher_send(&speaker, MARKER_UNORDERED | n / 2, 1)
                   : publisher_send(&http, n / 2, 1);
        atomic_fetch_add(&s->said, 1);
    }
    if (!ok) {
        memcpy(s->problem, *http.problem ? http.problem : speaker.problem, sizeof s->problem);
        atomic_store(&s->failed, true);
    }
    publisher_close(&http);
    publisher_close(&speaker);
    return NULL;
}

/* A request on a connection of its own. */
static void *visit(void *arg)
{
    Soak *s = (Soak *)arg;
    while (!atomic_load(&s->stop)) {
        if (target_visit(&s->target) != 200) {
            snprintf(s->problem, sizeof s->problem, "a request was not answered with 200");
            atomic_store(&s->failed, true);
            return NULL;
        }
        atomic_fetch_add(&s->visits, 1);
        usleep(1000000 / VISITS_PER_S);
    }
    return NULL;
}

/* ---- samples ---- */

static uint64_t count_fds(pid_t pid)
{
    char path[64];
    uint64_t n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void sample(Soak *s)
{
    if (s->nsamples == SAMPLES_MAX)
        return;
    pid_t pid = s->target.pid;
    s->samples[s->nsamples++] = (Sample){proc_anon_bytes(pid), count_fds(pid), proc_threads(pid)};
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Medians of the samples from (inclusive) to (exclusive). */
static Sample median(const Soak *s, uint32_t from, uint32_t to)
{
    uint32_t n = to - from;
    uint64_t *column = (uint64_t *)mem_alloc(n * sizeof *column);
    Sample out = {0};
    if (!column)
        return out;
    uint64_t *const into[] = {&out.bytes, &out.fds, &out.threads};
    for (unsigned k = 0; k < COUNT_OF(into); k++) {
        for (uint32_t i = 0; i < n; i++) {
            const Sample *at = &s->samples[from + i];
            column[i] = k == 0 ? at->bytes : k == 1 ? at->fds : at->threads;
        }
        qsort(column, n, sizeof *column, ascending);
        *into[k] = column[n / 2];
    }
    mem_free(column);
    return out;
}

/* ---- the run ---- */

static uint32_t open_clients(const Soak *s)
{
    uint32_t n = 0;
    for (int c = 0; c < CARRIERS; c++)
        n += s->fleets[c].joined - s->fleets[c].dropped;
    return n;
}

static uint64_t received(const Soak *s)
{
    uint64_t n = 0;
    for (int c = 0; c < CARRIERS; c++)
        n += s->fleets[c].received;
    return n;
}

static bool in_order(const Soak *s)
{
    for (int c = 0; c < CARRIERS; c++) {
        const Fleet *f = &s->fleets[c];
        if (f->ended - f->dropped)
            fprintf(stderr, "xs bench: %s: a client was closed: %s\n", carrier_names[c],
                    f->trouble);
        if (f->disordered)
            fprintf(stderr, "xs bench: %s: %llu events were out of order or missing\n",
                    carrier_names[c], (unsigned long long)f->disordered);
        if (f->ended - f->dropped || f->disordered)
            return false;
    }
    return true;
}

/* Some leave, as many come. */
static bool churn(Soak *s)
{
    for (int c = 0; c < CARRIERS; c++) {
        uint32_t n = s->clients < 2 * CHURN_PER_S ? s->clients / 2 : CHURN_PER_S;
        n = fleet_drop(&s->fleets[c], n);
        if (!fleet_add(&s->fleets[c], &s->dialects[c], n, false))
            return false;
        s->churned += n;
    }
    return true;
}

static void step(Soak *s, int ms)
{
    int64_t end = clock_mono_us() + (int64_t)ms * 1000;
    do
        for (int c = 0; c < CARRIERS; c++)
            fleet_step(&s->fleets[c], 2);
    while (clock_mono_us() < end);
}

static bool run(Soak *s, uint32_t seconds)
{
    for (int c = 0; c < CARRIERS; c++) {
        s->fleets[c].late = true;
        if (!fleet_add(&s->fleets[c], &s->dialects[c], s->clients, false))
            return false;
    }
    pthread_t publisher, visitor;
    if (pthread_create(&publisher, NULL, publish, s) != 0)
        return false;
    bool visiting = pthread_create(&visitor, NULL, visit, s) == 0, ok = visiting;
    int64_t start = clock_mono_us();
    uint64_t before = 0;
    for (uint32_t second = 1; ok && second <= seconds; second++) {
        step(s, (int)((start + second * 1000000LL - clock_mono_us()) / 1000));
        sample(s);
        ok = churn(s) && in_order(s) && !atomic_load(&s->failed);
        if (second % RELOAD_S == 0 && kill(s->target.pid, SIGHUP) == 0)
            s->reloads++;
        if (second % 10 == 0 || second == seconds) {
            const Sample *at = &s->samples[s->nsamples - 1];
            fprintf(stderr,
                    "%5u s  %4llu clients  %6.1f MiB  %4llu descriptors  %3llu threads  %llu "
                    "deliveries\n",
                    second, (unsigned long long)open_clients(s), (double)at->bytes / MIB,
                    (unsigned long long)at->fds, (unsigned long long)at->threads,
                    (unsigned long long)(received(s) - before));
            before = received(s);
        }
    }
    atomic_store(&s->stop, true);
    pthread_join(publisher, NULL);
    if (visiting)
        pthread_join(visitor, NULL);
    if (*s->problem)
        fprintf(stderr, "xs bench: %s\n", s->problem);
    return ok;
}

/* The server must end by itself, with 0 (sanitizers have their say there). */
static bool ends_well(Soak *s)
{
    int status = 0;
    pid_t pid = s->target.pid, done = 0;
    kill(pid, SIGTERM);
    for (int64_t end = clock_mono_us() + STOP_MS * 1000LL; !done && clock_mono_us() < end;) {
        done = waitpid(pid, &status, WNOHANG);
        step(s, 10);
    }
    if (done == pid)
        s->target.pid = 0;
    bool ok = done == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!ok)
        fprintf(stderr, "xs bench: the server did not end well\n");
    return ok;
}

static bool grew(const char *what, uint64_t from, uint64_t to, uint64_t room)
{
    if (to <= from + room)
        return false;
    fprintf(stderr, "xs bench: %s grew from %llu to %llu\n", what, (unsigned long long)from,
            (unsigned long long)to);
    return true;
}

static bool report(const Soak *s, uint32_t seconds)
{
    uint32_t n = s->nsamples, warm = n / 4 < 60 ? n / 4 : 60, part = (n - warm) / 4;
    if (part < 1)
        return true;
    Sample first = median(s, warm, warm + part), last = median(s, n - part, n);
    printf("soak of %u s: %u clients on each transport, %llu events, %llu deliveries, %llu clients "
           "exchanged,\n%llu requests, %llu reloads\n",
           seconds, s->clients, (unsigned long long)atomic_load(&s->said),
           (unsigned long long)received(s), (unsigned long long)s->churned,
           (unsigned long long)atomic_load(&s->visits), (unsigned long long)s->reloads);
    printf("  after the warm-up (%u s) and at the end: %.1f and %.1f MiB, %llu and %llu "
           "descriptors, %llu and %llu threads\n",
           warm, (double)first.bytes / MIB, (double)last.bytes / MIB, (unsigned long long)first.fds,
           (unsigned long long)last.fds, (unsigned long long)first.threads,
           (unsigned long long)last.threads);
    bool bytes =
        grew("memory", first.bytes, last.bytes, first.bytes * ROOM_PERCENT / 100 + 2 * MIB);
    bool fds = grew("the number of descriptors", first.fds, last.fds, ROOM_FDS);
    bool threads = grew("the number of threads", first.threads, last.threads, ROOM_THREADS);
    return !bytes && !fds && !threads;
}

int bench_soak(int argc, char **argv)
{
    const char *seconds = NULL, *clients = NULL;
    const CliOption options[] = {
        {"--seconds", "S", "how long (600)", NULL, &seconds},
        {"--clients", "N", "subscribers on each transport (100)", NULL, &clients},
        {0},
    };
    int done = cli_options(
        &argc, argv, "bench soak [OPTIONS]",
        "Runs subscribers that come and go on all transports, events by HTTP and by triggers that\n"
        "write rows, requests and reloads against a server of its own. Exit code 1 when its "
        "memory,\ndescriptors or threads grow after the warm-up, or an event is missing.",
        options);
    if (done >= 0)
        return done;
    if (argc > 1)
        return cli_usage("bench soak", "unexpected argument '%s'", argv[1]);
    uint64_t n_seconds = 600, n_clients = 100;
    if (!measure_count(seconds, 4, SAMPLES_MAX, &n_seconds))
        return cli_usage("bench soak", "--seconds needs a number from 4");
    if (!measure_count(clients, 2, 5000, &n_clients))
        return cli_usage("bench soak", "--clients needs a number from 2 to 5000");
    proc_raise_files();
    /* What a client that has left still holds is given back within the warm-up. */
    setenv("XS_REALTIME_LP_SESSION_MS", "4000", 1);
    setenv("XS_REALTIME_LP_GRACE_MS", "2000", 1);
    Soak *s = (Soak *)mem_zalloc(1, sizeof *s);
    TargetOptions with = {.channels = 1, .size = 128, .threads = 1, .speakers = SPEAKERS};
    bool ok = s && (s->samples = (Sample *)mem_zalloc(n_seconds, sizeof *s->samples)) &&
              target_start(&s->target, "xs", &with);
    if (ok) {
        s->clients = (uint32_t)n_clients;
        s->by_http = s->target;
        s->by_http.options.speakers = 0;
        for (int c = 0; c < CARRIERS && ok; c++)
            ok = fleet_init(&s->fleets[c], s->target.host, s->target.port) &&
                 target_dialect(&s->target, (Carrier)c, &s->dialects[c]);
        ok = ok && run(s, (uint32_t)n_seconds);
        ok = ends_well(s) && ok;
        ok = report(s, (uint32_t)n_seconds) && ok;
        for (int c = 0; c < CARRIERS; c++)
            fleet_deinit(&s->fleets[c]);
        target_stop(&s->target);
    }
    if (s)
        mem_free(s->samples);
    mem_free(s);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}
