/* compare.c - xs bench compare.
 *
 * Each row of `cases` is measured in rounds; in a round every target runs once, so that a ratio is
 * made of two runs of the same minute. Results are kept beside the page (results.h) and both are
 * written anew after every round: a matrix may be measured in pieces and cut short. */
#include "bench/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/page.h"
#include "cli/cli.h"
#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"

enum { ROUNDS_MAX = 31, SPEAKERS = 100 };

#define CURVE(n, m)                                                                                \
    {                                                                                              \
        "curve-" #n, NULL, CARRY_WS, CPU, n, 0, 0, 128, 1, 1, 1, m, "xs send nchan nats node-ws",  \
            0, 0                                                                                   \
    }

/* id, name, carrier, measure, clients, idle, late, size, batch, window, threads, messages, targets,
 * ratio, value */
static const Case cases[] = {
    {"ws-1000", "WebSocket, one at a time, 1,000 x 128 B", CARRY_WS, CPU, 1000, 0, 0, 128, 1, 1, 1,
     250, "send xs nchan nats mosquitto node-ws socket.io", 1.10, 0},
    {"ws-1000-1k", "WebSocket, one at a time, 1,000 x 1 KiB", CARRY_WS, CPU, 1000, 0, 0, 1024, 1, 1,
     1, 250, "send xs nchan nats mosquitto node-ws socket.io", 1.10, 0},
    {"ws-10000", "WebSocket, one at a time, 10,000 x 128 B", CARRY_WS, CPU, 10000, 0, 0, 128, 1, 1,
     1, 40, "send xs nchan nats node-ws", 1.20, 0},
    {"ws-10000-1k", "WebSocket, one at a time, 10,000 x 1 KiB", CARRY_WS, CPU, 10000, 0, 0, 1024, 1,
     1, 1, 40, "send xs", 1.20, 0},
    {"ws16-1000", "WebSocket, 16 ready, 1,000 x 128 B", CARRY_WS, CPU, 1000, 0, 0, 128, 16, 1, 1,
     960, "cork xs nchan nats node-ws", 1.25, 0.25},
    {"ws16-10000", "WebSocket, 16 ready, 10,000 x 128 B", CARRY_WS, CPU, 10000, 0, 0, 128, 16, 1, 1,
     320, "cork xs", 1.25, 0.25},
    {"ws16x16-1000", "WebSocket, 16 publishes of 16 under way, 1,000 x 128 B", CARRY_WS, CPU, 1000,
     0, 0, 128, 16, 16, 1, 9600, "cork xs", 1.25, 0.25},
    {"sse-1000", "SSE, one at a time, 1,000 x 128 B", CARRY_SSE, CPU, 1000, 0, 0, 128, 1, 1, 1, 250,
     "send xs nchan", 1.15, 0},
    {"sse-1000-1k", "SSE, one at a time, 1,000 x 1 KiB", CARRY_SSE, CPU, 1000, 0, 0, 1024, 1, 1, 1,
     250, "send xs nchan", 1.15, 0},
    {"sse-10000", "SSE, one at a time, 10,000 x 128 B", CARRY_SSE, CPU, 10000, 0, 0, 128, 1, 1, 1,
     40, "send xs nchan", 1.25, 0},
    {"sse16-1000", "SSE, 16 ready, 1,000 x 128 B", CARRY_SSE, CPU, 1000, 0, 0, 128, 16, 1, 1, 960,
     "cork xs nchan", 0, 0.20},
    {"sse64-1000", "SSE, 64 ready, 1,000 x 128 B", CARRY_SSE, CPU, 1000, 0, 0, 128, 64, 1, 1, 3840,
     "cork xs", 0, 0.20},
    {"lp-1000", "long-poll, one at a time, 1,000 x 128 B", CARRY_LONGPOLL, CPU, 1000, 0, 0, 128, 1,
     1, 1, 100, "send xs nchan", 1.5, 0},
    {"lp-1000-1k", "long-poll, one at a time, 1,000 x 1 KiB", CARRY_LONGPOLL, CPU, 1000, 0, 0, 1024,
     1, 1, 1, 100, "send xs nchan", 1.5, 0},
    {"lp-10000", "long-poll, one at a time, 10,000 x 128 B", CARRY_LONGPOLL, CPU, 10000, 0, 0, 128,
     1, 1, 1, 20, "send xs nchan", 1.5, 0},
    {"active-100", "100 active among 10,000 idle, WebSocket", CARRY_WS, CPU, 100, 10000, 0, 128, 1,
     1, 1, 1000, "xs-alone xs", 1.1, 0},
    {"idle-50000", "50,000 idle WebSockets, cores", CARRY_WS, IDLE_CPU, 1, 50000, 0, 128, 1, 1, 1,
     10, "xs", 0, 0.05},
    {"memory-ws", "bytes per idle WebSocket", CARRY_WS, MEMORY, 1, 10000, 0, 128, 1, 1, 1, 1,
     "xs nchan nats", 0, 2048},
    {"memory-sse", "bytes per SSE stream", CARRY_SSE, MEMORY, 1, 10000, 0, 128, 1, 1, 1, 1,
     "xs nchan", 0, 4096},
    {"memory-lp", "bytes per parked long-poll", CARRY_LONGPOLL, MEMORY, 1, 10000, 0, 128, 1, 1, 1,
     1, "xs nchan", 0, 4096},
    {"triggers", "triggers with db.add, fan-out to 1,000, per second", CARRY_WS, TRIGGERS, 1000, 0,
     0, 128, 1, 128, 1, 4000, "cork xs", 0, 5000},
    {"threads", "two WebSocket threads, clients that read at the end", CARRY_WS, RATE, 2000, 0,
     1992, 128, 1, 2, 2, 100, "xs-one xs", 1.8, 0},
    {"threads-floor", "two threads of the bare loop, clients that read at the end", CARRY_WS, RATE,
     2000, 0, 1992, 128, 1, 2, 2, 100, "send-one send", 0, 0},
    {"threads-read", "two WebSocket threads, clients that read meanwhile", CARRY_WS, RATE, 1000, 0,
     0, 128, 1, 1, 2, 250, "xs-one xs", 0, 0},
    CURVE(100, 4000),
    CURVE(300, 1333),
    CURVE(1000, 400),
    CURVE(3000, 133),
    CURVE(10000, 40),
    {"steady", NULL, CARRY_WS, CPU, 1000, 0, 0, 128, 1, 1, 1, 1500, "xs send", 0, 0},
};

typedef struct Compare {
    uint64_t rounds;
    const char *only, *targets; /* NULL = all */
    bool missing, quick;
    const char *out, *plot;
    char data[4096]; /* path of the results; "" = they are not kept */
    Results results;
    bool failed, terminal;
    double expected, left; /* seconds as guessed: of the runs so far, of those to come */
    double took;           /* seconds of the runs so far */
    FanoutResult run;
} Compare;

/* ---- which ---- */

/* Is the word, or what it begins with up to a "-", in the list? */
static bool is_chosen(const char *list, const char *word)
{
    for (const char *at = list; at && *at;) {
        size_t n = strcspn(at, ",");
        if (n && strncmp(at, word, n) == 0 && (word[n] == '\0' || word[n] == '-'))
            return true;
        at += n + (at[n] == ',');
    }
    return !list;
}

static const char *program_of(const char *target)
{
    return strncmp(target, "xs", 2) == 0 ? "xs" : strcmp(target, "send-one") == 0 ? "send" : target;
}

/* The targets of a case that are wanted; the one that ratios are made to always is. */
static size_t chosen_targets(const Compare *cmp, const Case *c, TargetName names[TARGETS_MAX])
{
    size_t n = case_targets(c, names), kept = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || is_chosen(cmp->targets, names[i]))
            memmove(names[kept++], names[i], sizeof *names);
    return kept;
}

static uint32_t rounds_of(const Compare *cmp, const Case *c)
{
    bool once = c->measure == MEMORY || c->measure == IDLE_CPU || !c->name;
    return once ? 1 : (uint32_t)cmp->rounds;
}

static bool is_wanted(const Compare *cmp, const Case *c)
{
    TargetName names[TARGETS_MAX];
    (void)case_targets(c, names);
    const Result *base = results_find(&cmp->results, c->id, names[0]);
    return is_chosen(cmp->only, c->id) &&
           !(cmp->missing && base && base->count >= rounds_of(cmp, c));
}

/* A case small enough to see that measuring works. */
static Case quick_case(const Case *c)
{
    enum { CLIENTS = 100, MESSAGES = 10 };
    Case q = *c;
    q.clients = c->clients / CLIENTS + 1;
    q.idle = c->idle / CLIENTS;
    q.late = c->late / CLIENTS;
    q.messages = c->messages / MESSAGES + 1;
    return q;
}

/* ---- time ---- */

/* A guess, put right by what runs took so far. */
static double guess_seconds(const Case *c)
{
    double deliveries = (double)c->messages * c->clients;
    double each = c->carrier == CARRY_LONGPOLL ? 25e-6 : c->batch > 1 ? 2e-6 : 10e-6;
    return 2 + (c->clients + c->idle) * 2e-4 + deliveries * each;
}

static double guess_case(const Compare *cmp, const Case *c)
{
    TargetName names[TARGETS_MAX];
    char why[160];
    double seconds = 0;
    size_t n = chosen_targets(cmp, c, names);
    for (size_t i = 0; i < n; i++)
        if (target_available(program_of(names[i]), c->carrier, why, sizeof why))
            seconds += guess_seconds(c) * rounds_of(cmp, c);
    return seconds;
}

static void show_progress(const Compare *cmp, const Case *c, const char *target, uint32_t round)
{
    double factor = cmp->expected > 0 ? cmp->took / cmp->expected : 1;
    fprintf(stderr, "%s%s, round %u of %u: %s; about %.0f s left%s",
            cmp->terminal ? "\r\033[K" : "", c->id, round + 1, rounds_of(cmp, c), target,
            cmp->left * factor, cmp->terminal ? "" : "\n");
}

/* ---- running ---- */

/* "-alone" and "-one": with the case's idle clients or second thread left out. The bare loop has no
 * triggers: it sends what they would publish, half of what is under way at a time. */
static FanoutOptions options_of(const Case *c, const char *target)
{
    bool speak = c->measure == TRIGGERS && strcmp(target, "xs") == 0;
    return (FanoutOptions){
        .quiet_s = 1,
        .target = program_of(target),
        .with = {.carrier = c->carrier,
                 .channels = 1,
                 .threads = strstr(target, "-one") ? 1 : c->threads,
                 .size = c->size,
                 .speakers = speak ? SPEAKERS : 0},
        .clients = c->clients,
        .idle = strstr(target, "-alone") ? 0 : c->idle,
        .late = c->late,
        .batch = c->measure == TRIGGERS && !speak ? c->window / 2 : c->batch,
        .window = c->window,
        .messages = c->messages,
        .pin = c->threads == 1,
    };
}

static double value_of(const Case *c, const FanoutResult *r)
{
    double rate = r->seconds > 0 ? (double)r->deliveries / r->seconds : 0;
    switch (c->measure) {
    case MEMORY: return r->bytes_per_conn;
    case IDLE_CPU: return r->idle_cores;
    case TRIGGERS: return r->seconds > 0 ? (double)c->messages / r->seconds : 0;
    case RATE: return rate;
    case CPU: break;
    }
    return r->cpu_us;
}

/* The series of a run as if each sample were a round. */
static void keep_series(Result *to, const FanoutResult *r)
{
    for (uint32_t i = 0; i < r->samples; i++) {
        to->value[i] = r->series[i].seconds;
        to->rate[i] = r->series[i].rate;
        to->p99[i] = r->series[i].p99_us;
    }
    to->count = r->samples;
}

static void run_once(Compare *cmp, const Case *c, Result *to)
{
    FanoutOptions o = options_of(c, to->target);
    FanoutResult *r = &cmp->run;
    int64_t start = clock_mono_us();
    if (!fanout_measure(&o, r) || r->missing || r->disordered) {
        fprintf(stderr, "%sxs bench: %s: %s: failed (missing %llu, out of order %llu)\n",
                cmp->terminal ? "\r\033[K" : "", c->id, to->target, (unsigned long long)r->missing,
                (unsigned long long)r->disordered);
        snprintf(to->why, sizeof to->why, "a run failed");
        cmp->failed = cmp->failed || strcmp(program_of(to->target), "xs") == 0;
    } else if (strcmp(c->id, "steady") == 0) {
        keep_series(to, r);
    } else {
        uint32_t i = to->count++;
        to->value[i] = value_of(c, r);
        to->p50[i] = (double)r->p50;
        to->p99[i] = (double)r->p99;
        to->rate[i] = r->seconds > 0 ? (double)r->deliveries / r->seconds : 0;
    }
    cmp->took += (double)(clock_mono_us() - start) / 1e6;
    cmp->expected += guess_seconds(c);
    cmp->left -= guess_seconds(c);
}

static bool write_all(const Compare *cmp)
{
    Buf page = BUF_INIT, chart = BUF_INIT;
    page_write(&page, cases, COUNT_OF(cases), &cmp->results);
    bool ok = !cmp->out ||
              (results_write_file(cmp->out, &page) && results_save(&cmp->results, cmp->data));
    if (cmp->plot && page_draw(&chart, cases, COUNT_OF(cases), &cmp->results))
        ok = results_write_file(cmp->plot, &chart) && ok;
    buf_deinit(&page);
    buf_deinit(&chart);
    return ok;
}

/* false: not to go on. */
static bool run_case(Compare *cmp, const Case *c)
{
    TargetName names[TARGETS_MAX];
    Result *rows[TARGETS_MAX];
    uint64_t files = proc_raise_files();
    size_t n = chosen_targets(cmp, c, names);
    results_drop(&cmp->results, c->id);
    for (size_t i = 0; i < n; i++) {
        Result *one = rows[i] = results_add(&cmp->results, c->id, names[i]);
        if (!one) {
            fputs("xs bench: out of memory\n", stderr);
            return false;
        }
        if ((uint64_t)c->clients + c->idle + 100 > files)
            snprintf(one->why, sizeof one->why, "the limit of open files is %llu",
                     (unsigned long long)files);
        else
            (void)target_available(program_of(names[i]), c->carrier, one->why, sizeof one->why);
    }
    for (uint32_t round = 0; round < rounds_of(cmp, c); round++) {
        for (size_t i = 0; i < n; i++) {
            if (*rows[i]->why)
                continue;
            show_progress(cmp, c, names[i], round);
            run_once(cmp, c, rows[i]);
        }
        if (!write_all(cmp))
            return false;
    }
    return true;
}

/* ---- command ---- */

static void list_case(const Compare *cmp, const Case *c)
{
    printf("%-12s %4.0f s  %s [%s]\n", c->id, guess_case(cmp, c),
           c->name ? c->name : "for the charts", c->targets);
}

int bench_compare(int argc, char **argv)
{
    const char *rounds = NULL;
    bool list = false;
    static Compare cmp;
    cmp = (Compare){.rounds = 5, .terminal = isatty(STDERR_FILENO)};
    const CliOption options[] = {
        {"--rounds", "N", "paired rounds per case (5)", NULL, &rounds},
        {"--only", "IDS", "cases, by id or what ids begin with: ws-1000,sse", NULL, &cmp.only},
        {"--targets", "NAMES", "targets beside the one that ratios are made to", NULL,
         &cmp.targets},
        {"--missing", NULL, "only cases that FILE does not have all rounds of", &cmp.missing, NULL},
        {"--quick", NULL, "few clients and messages, to see that it works", &cmp.quick, NULL},
        {"--out", "FILE", "page to write; what it has of other cases stays (standard output)", NULL,
         &cmp.out},
        {"--plot", "FILE", "also draw charts into this SVG file", NULL, &cmp.plot},
        {"--list", NULL, "list the cases with the seconds they take", &list, NULL},
        {0},
    };
    int done = cli_options(&argc, argv, "bench compare [OPTIONS]",
                           "Measures fan-out against the floor and every other server that is "
                           "installed, and writes a page of ratios. The figures are kept beside "
                           "the page, in FILE.jsonl, so that cases can be measured one by one.",
                           options);
    if (done >= 0)
        return done;
    if (argc > 1)
        return cli_usage("bench compare", "unexpected argument '%s'", argv[1]);
    if (!measure_count(rounds, 1, ROUNDS_MAX, &cmp.rounds))
        return cli_usage("bench compare", "--rounds needs a number from 1 to %d", ROUNDS_MAX);
    if (cmp.out)
        snprintf(cmp.data, sizeof cmp.data, "%s.jsonl", cmp.out);
    if (cmp.out && !results_load(&cmp.results, cmp.data))
        return EXIT_PROBLEM;
    bool ok = true, any = false;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (is_wanted(&cmp, &cases[i]))
            cmp.left += guess_case(&cmp, &cases[i]);
    for (size_t i = 0; ok && i < COUNT_OF(cases); i++) {
        any = any || is_chosen(cmp.only, cases[i].id);
        if (!is_wanted(&cmp, &cases[i]))
            continue;
        Case quick = quick_case(&cases[i]);
        if (list)
            list_case(&cmp, &cases[i]);
        else
            ok = run_case(&cmp, cmp.quick ? &quick : &cases[i]);
    }
    if (!any)
        return cli_usage("bench compare", "--only %s is no case; see --list", cmp.only);
    if (cmp.terminal && !list)
        fputs("\r\033[K", stderr);
    if (ok && !list && !cmp.out) {
        Buf page = BUF_INIT;
        page_write(&page, cases, COUNT_OF(cases), &cmp.results);
        fwrite(page.ptr, 1, page.len, stdout);
        buf_deinit(&page);
    }
    results_free(&cmp.results);
    return ok && !cmp.failed ? EXIT_OK : EXIT_PROBLEM;
}
