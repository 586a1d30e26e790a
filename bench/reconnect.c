/* reconnect.c - xs bench reconnect: N subscribers are cut in one moment and dial again in the next.
 *
 * Measured is the time until all are subscribed again, with as many handshakes under way as the
 * option says; one event afterwards must reach everybody. With --handshakes-per-s the server has
 * that limit (realtime.handshake_per_s). Specification: realtime.md §14, reconnect storms. */
#include "bench/reconnect.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/target.h"
#include "cli/cli.h"
#include "core/clock.h"
#include "core/mem.h"

enum { IDLE_MS = 15000, EVENT_MS = 10000 };

typedef struct Storm {
    Target target;
    uint32_t clients, at_once;
    double seconds[2], cpu_s[2]; /* coming first, coming back */
} Storm;

/* All clients of a new fleet subscribe. false: said on stderr. */
static bool come(Storm *s, Fleet *f, int turn)
{
    Target *t = &s->target;
    if (!fleet_init(f, t->host, t->port) || !fleet_add(f, &t->dialect, s->clients, false)) {
        fprintf(stderr, "xs bench: out of memory\n");
        return false;
    }
    f->opening_max = s->at_once;
    uint64_t cpu = proc_cpu_us(t->pid);
    int64_t start = clock_mono_us(), moved = start;
    uint32_t seen = 0;
    while (f->joined < f->count && !f->ended && clock_mono_us() - moved < IDLE_MS * 1000LL) {
        fleet_step(f, 100);
        if (f->joined != seen)
            moved = clock_mono_us();
        seen = f->joined;
    }
    s->seconds[turn] = (double)(clock_mono_us() - start) / 1e6;
    s->cpu_s[turn] = (double)(proc_cpu_us(t->pid) - cpu) / 1e6;
    if (f->joined == f->count && !f->ended)
        return true;
    fprintf(stderr, "xs bench: only %u of %u clients %s: %s\n", f->joined, f->count,
            turn ? "came back" : "subscribed", f->ended ? f->trouble : "no more answers");
    return false;
}

static bool hear(Storm *s, Fleet *f)
{
    Publisher p;
    bool ok = publisher_open(&p, &s->target) && publisher_send(&p, 0, 1);
    if (!ok)
        fprintf(stderr, "xs bench: %s\n", p.problem);
    publisher_close(&p);
    for (int64_t end = clock_mono_us() + EVENT_MS * 1000LL;
         ok && f->received < s->clients && clock_mono_us() < end;)
        fleet_step(f, 100);
    if (ok && (f->received != s->clients || f->disordered))
        fprintf(stderr, "xs bench: an event reached %llu of %u clients\n",
                (unsigned long long)f->received, s->clients);
    return ok && f->received == s->clients && !f->disordered;
}

static bool run(Storm *s)
{
    Fleet before, after = {0};
    bool ok = come(s, &before, 0);
    (void)fleet_drop(&before, s->clients);
    ok = ok && come(s, &after, 1) && hear(s, &after);
    fleet_deinit(&before);
    fleet_deinit(&after);
    return ok;
}

int bench_reconnect(int argc, char **argv)
{
    const char *clients = NULL, *at_once = NULL, *limit = NULL, *within = NULL, *transport = "ws",
               *threads = NULL;
    bool json = false;
    const CliOption options[] = {
        {"--clients", "N", "subscribers (10000)", NULL, &clients},
        {"--at-once", "N", "handshakes under way at once (2000)", NULL, &at_once},
        {"--transport", "NAME", "ws, sse or longpoll (ws)", NULL, &transport},
        {"--threads", "N", "WebSocket threads of the server (1)", NULL, &threads},
        {"--handshakes-per-s", "N", "what the server lets in per second (no limit)", NULL, &limit},
        {"--within", "MS", "fail when coming back takes longer (no limit)", NULL, &within},
        {"--json", NULL, "print one line of JSON", &json, NULL},
        {0},
    };
    int done = cli_options(&argc, argv, "bench reconnect [OPTIONS]",
                           "Cuts all subscribers at once and measures how long it takes until all "
                           "are subscribed again.\nExit code 1 when one does not come back or an "
                           "event afterwards is missing.",
                           options);
    if (done >= 0)
        return done;
    if (argc > 1)
        return cli_usage("bench reconnect", "unexpected argument '%s'", argv[1]);
    uint64_t n = 10000, n_once = 2000, n_limit = 0, n_within = 0, n_threads = 1;
    TargetOptions with = {.channels = 1, .size = 128};
    const char *bad = NULL;
    if (!measure_count(clients, 1, 1000000, &n))
        bad = "--clients needs a number from 1";
    else if (!measure_count(at_once, 1, 1000000, &n_once))
        bad = "--at-once needs a number from 1";
    else if (!measure_count(limit, 1, 1000000, &n_limit))
        bad = "--handshakes-per-s needs a number from 1";
    else if (!measure_count(within, 1, 3600000, &n_within))
        bad = "--within needs milliseconds";
    else if (!measure_count(threads, 1, 64, &n_threads))
        bad = "--threads needs a number from 1 to 64";
    else if (!carrier_named(transport, &with.carrier))
        bad = "--transport must be ws, sse or longpoll";
    if (bad)
        return cli_usage("bench reconnect", "%s", bad);
    with.threads = (uint32_t)n_threads;
    with.handshakes_per_s = (uint32_t)n_limit;
    proc_raise_files();
    Storm *s = (Storm *)mem_zalloc(1, sizeof *s);
    if (!s)
        return EXIT_PROBLEM;
    s->clients = (uint32_t)n;
    s->at_once = (uint32_t)n_once;
    bool ok = target_start(&s->target, "xs", &with);
    if (ok) {
        ok = run(s);
        target_stop(&s->target);
    }
    if (ok && json)
        printf("{\"clients\":%u,\"transport\":\"%s\",\"connect_s\":%.3f,\"reconnect_s\":%.3f,"
               "\"reconnect_server_cpu_s\":%.3f}\n",
               s->clients, carrier_names[with.carrier], s->seconds[0], s->seconds[1], s->cpu_s[1]);
    else if (ok)
        printf("%u clients over %s: there in %.2f s, cut at once, back in %.2f s (%.0f per second, "
               "%.1f us of server CPU each)\n",
               s->clients, carrier_names[with.carrier], s->seconds[0], s->seconds[1],
               s->clients / s->seconds[1], s->cpu_s[1] * 1e6 / s->clients);
    if (ok && n_within && s->seconds[1] * 1000 > (double)n_within) {
        fprintf(stderr, "xs bench: coming back took longer than %llu ms\n",
                (unsigned long long)n_within);
        ok = false;
    }
    mem_free(s);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}
