/* page.c - ratios, verdicts, tables and charts. */
#include "bench/page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "core/text.h"

size_t case_targets(const Case *c, TargetName names[TARGETS_MAX])
{
    size_t n = 0;
    for (const char *at = c->targets; *at && n < TARGETS_MAX;) {
        size_t len = strcspn(at, " ");
        snprintf(names[n++], sizeof *names, "%.*s", (int)len, at);
        at += len + (at[len] == ' ');
    }
    return n;
}

/* ---- numbers ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct Spread {
    double median, low, high;
    uint32_t n;
} Spread;

static Spread spread_of(const double *values, uint32_t n)
{
    double sorted[RESULT_VALUES];
    if (!n)
        return (Spread){(double)NAN, (double)NAN, (double)NAN, 0};
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    double middle = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    return (Spread){middle, sorted[0], sorted[n - 1], n};
}

/* Of the rounds that both have. */
static Spread ratio_of(const Result *a, const Result *b)
{
    double ratios[RESULT_VALUES];
    uint32_t n = a->count < b->count ? a->count : b->count;
    for (uint32_t i = 0; i < n; i++)
        ratios[i] = a->value[i] / b->value[i];
    return spread_of(ratios, n);
}

/* ---- the page ---- */

static bool more_is_better(const Case *c)
{
    return c->measure == TRIGGERS || c->measure == RATE;
}

static bool reaches(const Case *c, double is, double goal)
{
    return more_is_better(c) ? is >= goal : is <= goal;
}

/* Met or missed by the median; some rounds on the other side make that uncertain. */
static void judge_goal(Buf *b, const Case *c, Spread value, Spread ratio)
{
    if (c->ratio <= 0 && c->value <= 0)
        return;
    bool met = true, sure = true;
    if (c->ratio > 0) {
        met = reaches(c, ratio.median, c->ratio);
        sure = reaches(c, ratio.low, c->ratio) == reaches(c, ratio.high, c->ratio);
    }
    if (c->value > 0) {
        met = met && reaches(c, value.median, c->value);
        sure = sure && reaches(c, value.low, c->value) == reaches(c, value.high, c->value);
    }
    buf_printf(b, "goal %s%s", met ? "met" : "missed", sure ? "" : ", inside the noise");
}

/* Another server beside xs, by paired rounds. */
static void judge_peer(Buf *b, const Case *c, Spread to_xs)
{
    if (!to_xs.n)
        return;
    if (to_xs.n < 2 || (to_xs.low <= 1 && to_xs.high >= 1))
        buf_printf(b, "%.2f x xs, inside the noise", to_xs.median);
    else
        buf_printf(b, "%s than xs (%.2f x)",
                   (to_xs.median > 1) == more_is_better(c) ? "better" : "worse", to_xs.median);
}

static const char *const units[] = {[CPU] = "server CPU us per delivery",
                                    [MEMORY] = "bytes per connection",
                                    [TRIGGERS] = "triggers per second",
                                    [IDLE_CPU] = "cores",
                                    [RATE] = "deliveries per second"};

static void put_goal(Buf *b, const Case *c, const char *base)
{
    const char *bound = more_is_better(c) ? "least" : "most";
    if (c->ratio <= 0 && c->value <= 0)
        return;
    buf_cstr(b, "Goal:");
    if (c->ratio > 0)
        buf_printf(b, " at %s %.2f x %s", bound, c->ratio, base);
    if (c->value > 0)
        buf_printf(b, "%s at %s %g %s", c->ratio > 0 ? " and" : "", bound, c->value,
                   units[c->measure]);
    buf_cstr(b, ". ");
}

static void put_row(Buf *b, const Case *c, const Result *one, const Result *base, const Result *xs)
{
    if (!one->count) {
        buf_printf(b, "| %s | %s | | | | | | | |\n", one->target, one->why);
        return;
    }
    bool whole = c->measure != CPU && c->measure != IDLE_CPU;
    int digits = whole ? 0 : 3;
    Spread value = spread_of(one->value, one->count);
    Spread ratio = base ? ratio_of(one, base) : spread_of(NULL, 0);
    buf_printf(b, "| %s | %.*f | %.*f..%.*f | ", one->target, digits, value.median, digits,
               value.low, digits, value.high);
    if (ratio.n)
        buf_printf(b, "%.2f | %.2f..%.2f | ", ratio.median, ratio.low, ratio.high);
    else
        buf_cstr(b, "| | ");
    buf_printf(b, "%.0f | %.2f | %.2f | ", spread_of(one->rate, one->count).median,
               spread_of(one->p50, one->count).median / 1e3,
               spread_of(one->p99, one->count).median / 1e3);
    if (one == xs)
        judge_goal(b, c, value, ratio);
    else if (xs && xs->count)
        judge_peer(b, c, ratio_of(one, xs));
    buf_cstr(b, " |\n");
}

static void put_case(Buf *b, const Case *c, const Results *r)
{
    TargetName names[TARGETS_MAX];
    size_t n = case_targets(c, names);
    const Result *base = results_find(r, c->id, names[0]), *xs = results_find(r, c->id, "xs");
    const Result *any = base ? base : xs;
    if (!any)
        return;
    buf_printf(b, "\n## %s\n\n", c->name);
    put_goal(b, c, names[0]);
    buf_printf(b,
               "%u round%s, %s (`--only %s`).\n\n| target | %s | lowest..highest | ratio to %s | "
               "lowest..highest | deliveries/s | p50 ms | p99 ms | verdict "
               "|\n|---|---|---|---|---|---|---|---|---|\n",
               any->count, any->count == 1 ? "" : "s", any->date, c->id, units[c->measure],
               names[0]);
    for (size_t i = 0; i < n; i++) {
        const Result *one = results_find(r, c->id, names[i]);
        if (one)
            put_row(b, c, one, base && base->count ? base : NULL, xs);
    }
}

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

static void put_machine(Buf *b)
{
    struct utsname u;
    char line[256];
    buf_cstr(b, "| machine | |\n|---|---|\n");
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

void page_write(Buf *out, const Case *cases, size_t n, const Results *r)
{
    buf_cstr(out,
             "# Fan-out, measured\n\nWritten by `bench/compare`. In a round all targets of a case "
             "run after each other; figures are medians of the rounds, ratios are made inside a "
             "round. A difference whose sign is not the same in every round is inside the noise. "
             "`send` and `cork` are the floor: a bare epoll loop with one `send` per delivery, or "
             "one `writev` per client and batch. Server and clients are pinned to different "
             "processors.\n\n");
    put_machine(out);
    for (size_t i = 0; i < n; i++)
        if (cases[i].name)
            put_case(out, &cases[i], r);
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

static const char *const drawn[] = {"xs", "send", "nchan", "nats", "node-ws"};

/* Cost and latency over the number of subscribers. */
static void gather_curves(const Case *cases, size_t n, const Results *r, Line *cost, Line *late)
{
    for (size_t t = 0; t < COUNT_OF(drawn); t++) {
        cost[t] = late[t] = (Line){.name = drawn[t]};
        for (size_t i = 0; i < n; i++) {
            const Result *one = results_find(r, cases[i].id, drawn[t]);
            if (strncmp(cases[i].id, "curve-", 6) != 0 || !one || !one->count)
                continue;
            cost[t].x[cost[t].n] = late[t].x[late[t].n] = cases[i].clients;
            cost[t].y[cost[t].n++] = spread_of(one->value, one->count).median;
            late[t].y[late[t].n++] = spread_of(one->p99, one->count).median / 1e3;
        }
    }
}

bool page_draw(Buf *out, const Case *cases, size_t n, const Results *r)
{
    static Line cost[COUNT_OF(drawn)], late[COUNT_OF(drawn)], rate[2], p99[2];
    gather_curves(cases, n, r, cost, late);
    for (size_t t = 0; t < COUNT_OF(rate); t++) {
        const Result *one = results_find(r, "steady", drawn[t]);
        rate[t] = p99[t] = (Line){.name = drawn[t]};
        for (uint32_t i = 0; one && i < one->count; i++) {
            rate[t].x[i] = p99[t].x[i] = one->value[i];
            rate[t].y[i] = one->rate[i] / 1e3;
            p99[t].y[i] = one->p99[i] / 1e3;
            rate[t].n = p99[t].n = i + 1;
        }
    }
    if (cost[0].n < 2 && rate[0].n < 2)
        return false;
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
               "font-family=\"sans-serif\" font-size=\"12\"><rect width=\"100%%\" "
               "height=\"100%%\" fill=\"white\"/>\n",
               CHART_W, CHART_H * 4);
    chart(out, 0, "Server CPU per delivery, microseconds (WebSocket, 128 B, one at a time)",
          "subscribers", cost, COUNT_OF(drawn), true);
    chart(out, CHART_H, "Latency p99, milliseconds", "subscribers", late, COUNT_OF(drawn), true);
    chart(out, CHART_H * 2, "Thousand deliveries per second over one run, 1,000 subscribers",
          "seconds", rate, COUNT_OF(rate), false);
    chart(out, CHART_H * 3, "Latency p99 over the same run, milliseconds", "seconds", p99,
          COUNT_OF(p99), false);
    buf_cstr(out, "</svg>\n");
    return true;
}
