/* compare.c - xs bench compare.
 *
 * Each row of `cases` is measured in rounds; in a round every target runs once, so that a ratio is
 * made of two runs of the same minute. Medians of the rounds go into a page of Markdown, costs and
 * latencies over the number of subscribers and over time into two SVG charts beside it. */
#include "bench/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench/fanout.h"
#include "cli/cli.h"
#include "core/buf.h"
#include "core/mem.h"

enum { ROUNDS_MAX = 31, TARGETS_MAX = 10, POINTS_MAX = 8, SPEAKERS = 100 };

typedef enum Measure { CPU, MEMORY, TRIGGERS, IDLE_CPU } Measure;

typedef struct Case {
    const char *name;
    Carrier carrier;
    Measure measure;
    uint32_t clients, idle, size, batch, window, threads;
    uint64_t messages;
    bool trigger;
    const char *targets; /* the first one is what ratios are made to */
    double ratio, value; /* goals for xs: at most (triggers: at least); 0 = none */
} Case;

static const Case cases[] = {
    {"WebSocket, one at a time, 1,000 x 128 B", CARRY_WS, CPU, 1000, 0, 128, 1, 1, 1, 250, false,
     "send xs nchan nats mosquitto node-ws socket.io", 1.10, 0},
    {"WebSocket, one at a time, 1,000 x 1 KiB", CARRY_WS, CPU, 1000, 0, 1024, 1, 1, 1, 250, false,
     "send xs nchan nats mosquitto node-ws socket.io", 1.10, 0},
    {"WebSocket, one at a time, 10,000 x 128 B", CARRY_WS, CPU, 10000, 0, 128, 1, 1, 1, 40, false,
     "send xs nchan nats node-ws", 1.20, 0},
    {"WebSocket, one at a time, 10,000 x 1 KiB", CARRY_WS, CPU, 10000, 0, 1024, 1, 1, 1, 40, false,
     "send xs", 1.20, 0},
    {"WebSocket, 16 ready, 1,000 x 128 B", CARRY_WS, CPU, 1000, 0, 128, 16, 1, 1, 960, false,
     "cork xs nchan nats node-ws", 1.25, 0.25},
    {"WebSocket, 16 ready, 10,000 x 128 B", CARRY_WS, CPU, 10000, 0, 128, 16, 1, 1, 320, false,
     "cork xs", 1.25, 0.25},
    {"SSE, one at a time, 1,000 x 128 B", CARRY_SSE, CPU, 1000, 0, 128, 1, 1, 1, 250, false,
     "send xs nchan", 1.15, 0},
    {"SSE, one at a time, 10,000 x 128 B", CARRY_SSE, CPU, 10000, 0, 128, 1, 1, 1, 40, false,
     "send xs nchan", 1.25, 0},
    {"SSE, 16 ready, 1,000 x 128 B", CARRY_SSE, CPU, 1000, 0, 128, 16, 1, 1, 960, false,
     "cork xs nchan", 0, 0.20},
    {"long-poll, one at a time, 1,000 x 128 B", CARRY_LONGPOLL, CPU, 1000, 0, 128, 1, 1, 1, 100,
     false, "send xs nchan", 1.5, 0},
    {"long-poll, one at a time, 10,000 x 128 B", CARRY_LONGPOLL, CPU, 10000, 0, 128, 1, 1, 1, 20,
     false, "send xs nchan", 1.5, 0},
    {"100 active among 10,000 idle, WebSocket", CARRY_WS, CPU, 100, 10000, 128, 1, 1, 1, 1000,
     false, "xs-alone xs", 1.1, 0},
    {"50,000 idle WebSockets, cores", CARRY_WS, IDLE_CPU, 1, 50000, 128, 1, 1, 1, 10, false, "xs",
     0, 0.05},
    {"bytes per idle WebSocket", CARRY_WS, MEMORY, 10000, 0, 128, 1, 1, 1, 1, false,
     "xs nchan nats", 0, 2048},
    {"bytes per SSE stream", CARRY_SSE, MEMORY, 5000, 0, 128, 1, 1, 1, 1, false, "xs nchan", 0,
     4096},
    {"bytes per parked long-poll", CARRY_LONGPOLL, MEMORY, 5000, 0, 128, 1, 1, 1, 1, false,
     "xs nchan", 0, 4096},
    {"triggers with db.add, fan-out to 1,000, per second", CARRY_WS, TRIGGERS, 1000, 0, 128, 1, 64,
     1, 2000, true, "xs", 0, 5000},
    {"two WebSocket threads, 1,000 x 128 B", CARRY_WS, CPU, 1000, 0, 128, 1, 1, 2, 250, false,
     "xs-one xs", 0, 0},
};

typedef struct Runs {
    const char *target;
    bool skipped;
    char why[160];
    uint32_t count;
    double value[ROUNDS_MAX], p50[ROUNDS_MAX], p99[ROUNDS_MAX], rate[ROUNDS_MAX];
} Runs;

typedef struct Compare {
    uint64_t rounds;
    bool failed, progress;
    const char *only;
    Buf page;
    FanoutResult result;
} Compare;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, uint32_t n)
{
    double sorted[ROUNDS_MAX];
    if (!n)
        return (double)NAN;
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* ---- running ---- */

/* "xs-alone" and "xs-one" are xs with the case's idle clients or second thread left out. */
static FanoutOptions options_of(const Case *c, const char *target)
{
    bool own = strncmp(target, "xs", 2) == 0;
    return (FanoutOptions){
        .quiet_s = 1,
        .target = own ? "xs" : target,
        .with = {.carrier = c->carrier,
                 .channels = 1,
                 .threads = strcmp(target, "xs-one") == 0 ? 1 : c->threads,
                 .size = c->size,
                 .speakers = c->trigger ? SPEAKERS : 0},
        .clients = c->clients,
        .idle = strcmp(target, "xs-alone") == 0 ? 0 : c->idle,
        .batch = c->batch,
        .window = c->window,
        .messages = c->messages,
        .pin = c->threads == 1,
    };
}

static double value_of(const Case *c, const FanoutResult *r)
{
    switch (c->measure) {
    case MEMORY: return r->bytes_per_conn;
    case IDLE_CPU: return r->idle_cores;
    case TRIGGERS: return r->seconds > 0 ? (double)c->messages / r->seconds : 0;
    case CPU: break;
    }
    return r->cpu_us;
}

static void run_once(Compare *cmp, const Case *c, Runs *runs)
{
    FanoutOptions o = options_of(c, runs->target);
    FanoutResult *r = &cmp->result;
    if (cmp->progress)
        fprintf(stderr, "\r\033[K%s: %s", c->name, runs->target);
    if (!fanout_measure(&o, r) || r->missing || r->disordered) {
        fprintf(stderr, "%sxs bench: %s: %s: failed (missing %llu, out of order %llu)\n",
                cmp->progress ? "\r\033[K" : "", c->name, runs->target,
                (unsigned long long)r->missing, (unsigned long long)r->disordered);
        snprintf(runs->why, sizeof runs->why, "a run failed");
        cmp->failed = cmp->failed || strncmp(runs->target, "xs", 2) == 0;
        return;
    }
    uint32_t i = runs->count++;
    runs->value[i] = value_of(c, r);
    runs->p50[i] = (double)r->p50;
    runs->p99[i] = (double)r->p99;
    runs->rate[i] = r->seconds > 0 ? (double)r->deliveries / r->seconds : 0;
}

static size_t split_targets(const Case *c, char names[TARGETS_MAX][16], Runs runs[TARGETS_MAX])
{
    size_t n = 0;
    for (const char *at = c->targets; *at && n < TARGETS_MAX;) {
        size_t len = strcspn(at, " ");
        snprintf(names[n], sizeof names[n], "%.*s", (int)len, at);
        runs[n] = (Runs){.target = names[n]};
        const char *real = strncmp(names[n], "xs", 2) == 0 ? "xs" : names[n];
        runs[n].skipped = !target_available(real, c->carrier, runs[n].why, sizeof runs[n].why);
        n++;
        at += len + (at[len] == ' ');
    }
    return n;
}

/* ---- the page ---- */

static const char *verdict(const Case *c, const Runs *xs, const Runs *base, double ratio)
{
    if (c->ratio <= 0 && c->value <= 0)
        return "";
    double value = median(xs->value, xs->count);
    bool met = true, near = false;
    if (c->ratio > 0) {
        met = ratio <= c->ratio;
        /* Inside the noise: some rounds met it and some did not. */
        uint32_t n = xs->count < base->count ? xs->count : base->count, good = 0;
        for (uint32_t i = 0; i < n; i++)
            good += xs->value[i] <= c->ratio * base->value[i];
        near = good > 0 && good < n;
    }
    if (c->value > 0)
        met = met && (c->measure == TRIGGERS ? value >= c->value : value <= c->value);
    return met    ? near ? "met, inside the noise" : "met"
           : near ? "missed, inside the noise"
                  : "missed";
}

static void add_case(Compare *cmp, const Case *c, const Runs *runs, size_t n)
{
    static const char *const units[] = {[CPU] = "server CPU us per delivery",
                                        [MEMORY] = "bytes per connection",
                                        [TRIGGERS] = "triggers per second",
                                        [IDLE_CPU] = "cores"};
    Buf *b = &cmp->page;
    const Runs *base = &runs[0];
    buf_printf(b, "\n## %s\n\n", c->name);
    if (c->ratio > 0 || c->value > 0) {
        buf_cstr(b, "Goal:");
        if (c->ratio > 0)
            buf_printf(b, " at most %.2f x %s", c->ratio, base->target);
        if (c->value > 0)
            buf_printf(b, "%s at %s %g %s", c->ratio > 0 ? " and" : "",
                       c->measure == TRIGGERS ? "least" : "most", c->value, units[c->measure]);
        buf_cstr(b, ".\n\n");
    }
    buf_printf(b,
               "| target | %s | lowest..highest | ratio to %s | deliveries/s | p50 ms | p99 ms | "
               "goal |\n|---|---|---|---|---|---|---|---|\n",
               units[c->measure], base->target);
    for (size_t i = 0; i < n; i++) {
        const Runs *r = &runs[i];
        if (!r->count) {
            buf_printf(b, "| %s | %s | | | | | | |\n", r->target, r->why);
            continue;
        }
        double ratios[ROUNDS_MAX], low = r->value[0], high = r->value[0];
        uint32_t pairs = r->count < base->count ? r->count : base->count;
        for (uint32_t k = 0; k < pairs; k++)
            ratios[k] = r->value[k] / base->value[k];
        for (uint32_t k = 0; k < r->count; k++) {
            low = fmin(low, r->value[k]);
            high = fmax(high, r->value[k]);
        }
        double ratio = median(ratios, pairs);
        int digits = c->measure == MEMORY || c->measure == TRIGGERS ? 0 : 3;
        buf_printf(b, "| %s | %.*f | %.*f..%.*f | %.2f | %.0f | %.2f | %.2f | %s |\n", r->target,
                   digits, median(r->value, r->count), digits, low, digits, high, ratio,
                   median(r->rate, r->count), median(r->p50, r->count) / 1e3,
                   median(r->p99, r->count) / 1e3,
                   strcmp(r->target, "xs") == 0 ? verdict(c, r, base, ratio) : "");
    }
}

static void run_case(Compare *cmp, const Case *c)
{
    char names[TARGETS_MAX][16];
    static Runs runs[TARGETS_MAX];
    size_t n = split_targets(c, names, runs);
    uint64_t rounds = c->measure == MEMORY || c->measure == IDLE_CPU ? 1 : cmp->rounds;
    for (uint64_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < n; i++)
            if (!runs[i].skipped && !*runs[i].why)
                run_once(cmp, c, &runs[i]);
    add_case(cmp, c, runs, n);
}

/* ---- charts ---- */

typedef struct Line {
    const char *name;
    double x[FANOUT_SERIES], y[FANOUT_SERIES];
    uint32_t n;
} Line;

enum {
    CHART_W = 720,
    CHART_H = 360,
    PAD_LEFT = 64,
    PAD_TOP = 36,
    PAD_BOTTOM = 44,
    PAD_RIGHT = 120
};

static double place(double v, double low, double high, bool logarithmic)
{
    if (logarithmic)
        return (log10(v) - log10(low)) / (log10(high) - log10(low));
    return (v - low) / (high - low);
}

static void chart(Buf *b, double top, const char *title, const char *xname, const Line *lines,
                  size_t n, bool log_x)
{
    static const char *const colours[] = {"#2266cc", "#888888", "#cc5522", "#229955",
                                          "#aa44aa", "#bb9900", "#444444", "#0099aa"};
    double xl = (double)INFINITY, xh = 0, yh = 0;
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < lines[i].n; k++) {
            xl = fmin(xl, lines[i].x[k]);
            xh = fmax(xh, lines[i].x[k]);
            yh = fmax(yh, lines[i].y[k]);
        }
    if (!(xh > xl) || yh <= 0)
        return;
    double w = CHART_W - PAD_LEFT - PAD_RIGHT, h = CHART_H - PAD_TOP - PAD_BOTTOM;
    double step = pow(10, floor(log10(yh)));
    step = yh / step < 2 ? step / 5 : yh / step < 5 ? step / 2 : step;
    yh = ceil(yh / step) * step;
    buf_printf(b,
               "<g transform=\"translate(0 %.0f)\"><text x=\"%d\" y=\"20\" "
               "font-weight=\"bold\">%s</text>\n",
               top, PAD_LEFT, title);
    for (double y = 0; y <= yh * 1.0001; y += step) {
        double py = PAD_TOP + h - h * y / yh;
        buf_printf(b,
                   "<line x1=\"%d\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                   "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                   PAD_LEFT, py, PAD_LEFT + w, py, PAD_LEFT - 6, py + 4, y);
    }
    for (uint32_t k = 0; k<lines[0].n; k += lines[0].n> 10 ? lines[0].n / 8 : 1)
        buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n",
                   PAD_LEFT + w * place(lines[0].x[k], xl, xh, log_x), PAD_TOP + h + 16,
                   round(lines[0].x[k] * 10) / 10);
    buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
               PAD_LEFT + w / 2, PAD_TOP + h + 34, xname);
    for (size_t i = 0; i < n; i++) {
        if (!lines[i].n)
            continue;
        buf_printf(b, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\" points=\"",
                   colours[i % COUNT_OF(colours)]);
        for (uint32_t k = 0; k < lines[i].n; k++)
            buf_printf(b, "%.1f,%.1f ", PAD_LEFT + w * place(lines[i].x[k], xl, xh, log_x),
                       PAD_TOP + h - h * lines[i].y[k] / yh);
        buf_printf(b, "\"/><text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n", PAD_LEFT + w + 8,
                   PAD_TOP + 14 + 16.0 * (double)i, colours[i % COUNT_OF(colours)], lines[i].name);
    }
    buf_cstr(b, "</g>\n");
}

static bool write_file(const char *path, const Buf *b)
{
    FILE *file = b->failed ? NULL : fopen(path, "w");
    bool ok = file && fwrite(b->ptr, 1, b->len, file) == b->len;
    ok = file && fclose(file) == 0 && ok;
    if (!ok)
        fprintf(stderr, "xs bench: cannot write %s\n", path);
    return ok;
}

/* Cost and latency over the number of subscribers, and over the time of one run. */
static bool draw(Compare *cmp, const char *path)
{
    static const uint32_t counts[] = {100, 300, 1000, 3000, 10000};
    static const char *const targets[] = {"xs", "send", "nchan", "nats", "node-ws"};
    static Line cost[COUNT_OF(targets)], late[COUNT_OF(targets)], rate[2], p99[2];
    char why[160];
    for (size_t t = 0; t < COUNT_OF(targets); t++) {
        cost[t] = late[t] = (Line){.name = targets[t]};
        if (!target_available(targets[t], CARRY_WS, why, sizeof why))
            continue;
        for (size_t i = 0; i < COUNT_OF(counts); i++) {
            Case c = {targets[t], CARRY_WS,           CPU,   counts[i], 0, 128, 1, 1,
                      1,          400000 / counts[i], false, "",        0, 0};
            Runs one = {.target = targets[t]};
            run_once(cmp, &c, &one);
            if (!one.count)
                continue;
            cost[t].x[cost[t].n] = late[t].x[late[t].n] = counts[i];
            cost[t].y[cost[t].n++] = one.value[0];
            late[t].y[late[t].n++] = one.p99[0] / 1e3;
        }
    }
    Case steady = {"steady", CARRY_WS, CPU, 1000, 0, 128, 1, 1, 1, 1500, false, "", 0, 0};
    for (size_t t = 0; t < COUNT_OF(rate); t++) {
        Runs one = {.target = targets[t]};
        rate[t] = p99[t] = (Line){.name = targets[t]};
        run_once(cmp, &steady, &one);
        for (uint32_t i = 0; one.count && i < cmp->result.samples; i++) {
            rate[t].x[i] = p99[t].x[i] = cmp->result.series[i].seconds;
            rate[t].y[i] = cmp->result.series[i].rate / 1e3;
            p99[t].y[i] = cmp->result.series[i].p99_us / 1e3;
            rate[t].n = p99[t].n = i + 1;
        }
    }
    Buf b = BUF_INIT;
    buf_printf(&b,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
               "font-family=\"sans-serif\" font-size=\"12\"><rect width=\"100%%\" "
               "height=\"100%%\" fill=\"white\"/>\n",
               CHART_W, CHART_H * 4);
    chart(&b, 0, "Server CPU per delivery, microseconds (WebSocket, 128 B, one at a time)",
          "subscribers", cost, COUNT_OF(targets), true);
    chart(&b, CHART_H, "Latency p99, milliseconds", "subscribers", late, COUNT_OF(targets), true);
    chart(&b, CHART_H * 2, "Thousand deliveries per second over one run, 1,000 subscribers",
          "seconds", rate, COUNT_OF(rate), false);
    chart(&b, CHART_H * 3, "Latency p99 over the same run, milliseconds", "seconds", p99,
          COUNT_OF(p99), false);
    buf_cstr(&b, "</svg>\n");
    bool ok = write_file(path, &b);
    buf_deinit(&b);
    return ok;
}

/* ---- command ---- */

static void add_version(Buf *b, const char *name, const char *command)
{
    char line[200] = "";
    FILE *p = popen(command, "r");
    bool any = p && fgets(line, sizeof line, p);
    if (p)
        pclose(p);
    line[strcspn(line, "\r\n")] = '\0';
    if (any && *line)
        buf_printf(b, "| %s | %s |\n", name, line);
}

static void begin_page(Compare *cmp)
{
    Buf *b = &cmp->page;
    struct utsname u;
    char date[32] = "", line[256];
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm))
        strftime(date, sizeof date, "%Y-%m-%d", &tm);
    buf_printf(b,
               "# Fan-out, measured\n\nWritten by `bench/compare` on %s: %llu paired rounds, "
               "medians; in a round all targets run after each other. `send` and `cork` are the "
               "floor: a bare epoll loop with one `send` per delivery, or one `writev` per client "
               "and batch. Server and clients are pinned to different processors.\n\n"
               "| machine | |\n|---|---|\n",
               date, (unsigned long long)cmp->rounds);
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0) {
            line[strcspn(line, "\n")] = '\0';
            buf_printf(b, "| processor |%s, %u used |\n", strchr(line, ':') + 1, proc_cpus());
            break;
        }
    if (file)
        fclose(file);
    if (uname(&u) == 0)
        buf_printf(b, "| kernel | %s %s |\n", u.sysname, u.release);
    buf_printf(b, "| xs | %s |\n", XS_VERSION);
    add_version(b, "nchan", "dpkg-query -W -f '${Version}' libnginx-mod-nchan 2>/dev/null");
    add_version(b, "nats-server", "dpkg-query -W -f '${Version}' nats-server 2>/dev/null");
    add_version(b, "mosquitto", "dpkg-query -W -f '${Version}' mosquitto 2>/dev/null");
    add_version(b, "node", "node --version 2>/dev/null");
    add_version(b, "ws", "node -p 'require(\"ws/package.json\").version' 2>/dev/null");
    add_version(b, "socket.io",
                "node -p 'require(\"socket.io/package.json\").version' 2>/dev/null");
}

int bench_compare(int argc, char **argv)
{
    const char *rounds = NULL, *only = NULL, *out = NULL, *plot = NULL;
    bool list = false;
    const CliOption options[] = {
        {"--rounds", "N", "paired rounds per case (5)", NULL, &rounds},
        {"-k", "TEXT", "only the cases whose name has this", NULL, &only},
        {"--out", "FILE", "where the page goes (standard output)", NULL, &out},
        {"--plot", "FILE", "also draw charts into this SVG file", NULL, &plot},
        {"--list", NULL, "list the cases", &list, NULL},
        {0},
    };
    int done = cli_options(&argc, argv, "bench compare [OPTIONS]",
                           "Measures fan-out against the floor and every other server that is "
                           "installed, and writes a page of ratios.",
                           options);
    if (done >= 0)
        return done;
    if (argc > 1)
        return cli_usage("bench compare", "unexpected argument '%s'", argv[1]);
    static Compare cmp;
    cmp = (Compare){.rounds = 5, .progress = isatty(STDERR_FILENO), .page = BUF_INIT};
    if (!measure_count(rounds, 1, ROUNDS_MAX, &cmp.rounds))
        return cli_usage("bench compare", "--rounds needs a number from 1 to %d", ROUNDS_MAX);
    uint64_t files = proc_raise_files();
    begin_page(&cmp);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const Case *c = &cases[i];
        if (only && !strstr(c->name, only))
            continue;
        if (list)
            printf("%s\n", c->name);
        else if ((uint64_t)c->clients + c->idle + 100 > files)
            buf_printf(&cmp.page, "\n## %s\n\nNot run: the limit of open files is %llu.\n", c->name,
                       (unsigned long long)files);
        else
            run_case(&cmp, c);
    }
    if (cmp.progress)
        fputs("\r\033[K", stderr);
    bool ok = !cmp.failed;
    if (!list && plot)
        ok = draw(&cmp, plot) && ok;
    if (!list && out)
        ok = write_file(out, &cmp.page) && ok;
    else if (!list)
        fwrite(cmp.page.ptr, 1, cmp.page.len, stdout);
    buf_deinit(&cmp.page);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}
