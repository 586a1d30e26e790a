/* cmd_top.c - xs top: what a running server does, from its /metrics. */
#include "cli/cli.h"

#include <curl/curl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/map.h"
#include "core/mem.h"
#include "core/text.h"

enum { FETCH_MS = 5000, BODY_MAX = 4 << 20, BUCKETS_MAX = 64 };

/* One reading: "name{labels}" to value. */
typedef struct Reading {
    Buf body;
    Map values; /* key → double in `numbers` */
    double *numbers;
    size_t count, cap;
    double at; /* seconds, monotonic */
} Reading;

typedef enum Show {
    SHOW_GAUGE, /* the value */
    SHOW_RATE,  /* change per second */
    SHOW_COUNT, /* the counter itself: rare events */
    SHOW_TIMES, /* p50 and p99 of a histogram of seconds, over the interval */
    SHOW_MEAN,  /* mean of a histogram of counts, over the interval */
    SHOW_BYTES
} Show;

/* metric: a key of /metrics; labels are summed when it has none. */
static const struct {
    const char *section, *label, *metric;
    Show show;
} rows[] = {
    {"realtime", "websocket", "xs_transport_connections{transport=\"ws\"}", SHOW_GAUGE},
    {NULL, "event streams", "xs_transport_connections{transport=\"sse\"}", SHOW_GAUGE},
    {NULL, "long-polls", "xs_transport_connections{transport=\"lp\"}", SHOW_GAUGE},
    {NULL, "subscriptions", "xs_hub_subscriptions", SHOW_GAUGE},
    {NULL, "channels", "xs_hub_channels", SHOW_GAUGE},
    {NULL, "published", "xs_hub_published_total", SHOW_RATE},
    {NULL, "delivered", "xs_hub_delivered_total", SHOW_RATE},
    {NULL, "publish to deliver", "xs_publish_deliver_seconds", SHOW_TIMES},
    {NULL, "frames in", "xs_hub_frames_in_total", SHOW_RATE},
    {NULL, "frames refused", "xs_hub_refused_total", SHOW_COUNT},
    {NULL, "queued for slow", "xs_transport_queued_bytes", SHOW_BYTES},
    {NULL, "slow closed", "xs_hub_slow_closed_total", SHOW_COUNT},
    {NULL, "events dropped", "xs_hub_dropped_total", SHOW_COUNT},
    {NULL, "resumed", "xs_hub_resumed_total", SHOW_COUNT},
    {NULL, "gaps", "xs_hub_gaps_total", SHOW_COUNT},
    {"program", "http requests", "xs_http_requests_total", SHOW_RATE},
    {NULL, "triggers", "xs_triggers_run_total", SHOW_RATE},
    {NULL, "trigger time", "xs_trigger_seconds", SHOW_TIMES},
    {NULL, "jobs running", "xs_jobs_running", SHOW_GAUGE},
    {NULL, "jobs waiting", "xs_jobs_waiting", SHOW_GAUGE},
    {NULL, "jobs refused", "xs_jobs_refused_total", SHOW_COUNT},
    {"database", "reads", "xs_db_reads_total", SHOW_RATE},
    {NULL, "writes", "xs_db_writes_total", SHOW_RATE},
    {NULL, "commits", "xs_db_commits_total", SHOW_RATE},
    {NULL, "writes per commit", "xs_db_commit_writes", SHOW_MEAN},
    {"process", "memory", "xs_memory_bytes", SHOW_BYTES},
    {NULL, "http connections", "xs_http_connections", SHOW_GAUGE},
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* ---- reading ---- */

static double now_seconds(void)
{
    return (double)clock_mono_us() / 1e6;
}

static size_t take_bytes(char *bytes, size_t size, size_t n, void *to)
{
    return buf_append((Buf *)to, bytes, size * n) ? size * n : 0;
}

static void reading_deinit(Reading *r)
{
    buf_deinit(&r->body);
    map_deinit(&r->values);
    mem_free(r->numbers);
    *r = (Reading){.body = BUF_INIT};
}

/* Lines "key value"; those beginning with # are comments. */
static bool parse(Reading *r)
{
    Text all = buf_view(&r->body);
    void *numbers = NULL;
    if (!buf_char(&r->body, '\0'))
        return false;
    for (size_t from = 0, pass = 0; pass < 2; pass++, from = 0) {
        size_t n = 0;
        while (from < all.len) {
            size_t end = text_find(all, TEXT("\n"), from);
            Text line = text_slice(all, from, end);
            from = end == SIZE_MAX ? all.len : end + 1;
            size_t space = text_find(line, TEXT(" "), 0);
            if (!line.len || line.ptr[0] == '#' || space == SIZE_MAX)
                continue;
            if (pass) {
                r->numbers[n] = strtod(line.ptr + space + 1, NULL);
                if (!map_put(&r->values, text_slice(line, 0, space), &r->numbers[n]))
                    return false;
            }
            n++;
        }
        if (!pass && !mem_grow(&numbers, &r->cap, n + 1, sizeof *r->numbers))
            return false;
        r->numbers = (double *)numbers;
        r->count = n;
    }
    return true;
}

static bool fetch(CURL *curl, const char *url, Reading *r, char problem[CURL_ERROR_SIZE])
{
    reading_deinit(r);
    r->body.max = BODY_MAX;
    *problem = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, problem);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &r->body);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)FETCH_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    CURLcode code = curl_easy_perform(curl);
    r->at = now_seconds();
    if (code != CURLE_OK) {
        if (!*problem)
            snprintf(problem, CURL_ERROR_SIZE, "%s", curl_easy_strerror(code));
        return false;
    }
    if (parse(r))
        return true;
    snprintf(problem, CURL_ERROR_SIZE, "out of memory");
    return false;
}

/* NAN: the server does not have it. */
static double value_of(const Reading *r, const char *key)
{
    double *found = (double *)map_get(&r->values, text_from(key)), sum = 0;
    if (found)
        return *found;
    bool any = false;
    size_t len = strlen(key), at = 0;
    MapSlot *slot;
    while (!strchr(key, '{') && (slot = map_next(&r->values, &at)))
        if (slot->key.len > len && memcmp(slot->key.ptr, key, len) == 0 &&
            slot->key.ptr[len] == '{') {
            sum += *(double *)slot->value;
            any = true;
        }
    return any ? sum : (double)NAN;
}

/* ---- histograms ---- */

typedef struct Bucket {
    double bound, count; /* cumulative */
} Bucket;

static int by_bound(const void *a, const void *b)
{
    double x = ((const Bucket *)a)->bound, y = ((const Bucket *)b)->bound;
    return (x > y) - (x < y);
}

static size_t buckets_between(const Reading *now, const Reading *before, const char *name,
                              Bucket out[BUCKETS_MAX])
{
    char prefix[128];
    size_t n = 0, at = 0, len = (size_t)snprintf(prefix, sizeof prefix, "%s_bucket{le=\"", name);
    MapSlot *slot;
    while (n < BUCKETS_MAX && (slot = map_next(&now->values, &at))) {
        if (slot->key.len <= len || memcmp(slot->key.ptr, prefix, len) != 0)
            continue;
        const char *bound = slot->key.ptr + len;
        double *old = (double *)map_get(&before->values, slot->key);
        out[n++] = (Bucket){*bound == '+' ? (double)INFINITY : strtod(bound, NULL),
                            *(double *)slot->value - (old ? *old : 0)};
    }
    qsort(out, n, sizeof *out, by_bound);
    return n;
}

/* Linear inside a bucket, as Prometheus does it. */
static double quantile(const Bucket *b, size_t n, double share)
{
    double total = n ? b[n - 1].count : 0, want = total * share, low = 0, below = 0;
    for (size_t i = 0; i < n; i++) {
        if (b[i].count >= want && b[i].count > below) {
            if (isinf(b[i].bound))
                return low;
            return low + (b[i].bound - low) * (want - below) / (b[i].count - below);
        }
        low = b[i].bound;
        below = b[i].count;
    }
    return (double)NAN;
}

/* ---- showing ---- */

static void show_number(Buf *b, double v)
{
    static const char units[] = {0, 'k', 'M', 'G', 'T'};
    unsigned unit = 0;
    while (fabs(v) >= 100000 && unit + 1 < sizeof units) {
        v /= 1000;
        unit++;
    }
    buf_printf(b, "%.*f", v < 10 && v != floor(v) ? 1 : 0, v);
    if (unit)
        buf_char(b, units[unit]);
}

static void show_bytes(Buf *b, double v)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    while (v >= 1024 && unit + 1 < COUNT_OF(units)) {
        v /= 1024;
        unit++;
    }
    buf_printf(b, "%.*f %s", unit && v < 100 ? 1 : 0, v, units[unit]);
}

static void show_time(Buf *b, double seconds)
{
    if (isnan(seconds))
        buf_cstr(b, "-");
    else if (seconds < 0.001)
        buf_printf(b, "%.0f us", seconds * 1e6);
    else if (seconds < 1)
        buf_printf(b, "%.1f ms", seconds * 1e3);
    else
        buf_printf(b, "%.1f s", seconds);
}

/* A row's numbers: one, or two for SHOW_TIMES. false: the server has no such metric. */
static bool measure(size_t i, const Reading *now, const Reading *before, double out[2])
{
    Bucket b[BUCKETS_MAX];
    char key[128];
    const char *metric = rows[i].metric;
    double passed = now->at - before->at;
    switch (rows[i].show) {
    case SHOW_GAUGE:
    case SHOW_COUNT:
    case SHOW_BYTES: out[0] = value_of(now, metric); break;
    case SHOW_RATE:
        out[0] =
            passed > 0 ? (value_of(now, metric) - value_of(before, metric)) / passed : (double)NAN;
        break;
    case SHOW_TIMES: {
        size_t n = buckets_between(now, before, metric, b);
        out[0] = quantile(b, n, 0.5);
        out[1] = quantile(b, n, 0.99);
        return n > 0;
    }
    case SHOW_MEAN: {
        snprintf(key, sizeof key, "%s_sum", metric);
        double sum = value_of(now, key) - value_of(before, key);
        snprintf(key, sizeof key, "%s_count", metric);
        double count = value_of(now, key) - value_of(before, key);
        out[0] = count > 0 ? sum / count : 0;
        return !isnan(sum);
    }
    }
    return !isnan(out[0]);
}

static void show_row(Buf *b, size_t i, const double v[2])
{
    switch (rows[i].show) {
    case SHOW_RATE:
        show_number(b, v[0]);
        buf_cstr(b, "/s");
        break;
    case SHOW_BYTES: show_bytes(b, v[0]); break;
    case SHOW_TIMES:
        buf_cstr(b, "p50 ");
        show_time(b, v[0]);
        buf_cstr(b, "  p99 ");
        show_time(b, v[1]);
        break;
    case SHOW_GAUGE:
    case SHOW_COUNT:
    case SHOW_MEAN: show_number(b, v[0]); break;
    }
}

static void render(const char *url, const Reading *now, const Reading *before, bool screen, Buf *b)
{
    if (screen)
        buf_cstr(b, "\033[H\033[J");
    buf_printf(b, "%s  every %.1f s\n", url, now->at - before->at);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        double v[2] = {0};
        if (rows[i].section)
            buf_printf(b, "\n%s%s%s\n", screen ? "\033[1m" : "", rows[i].section,
                       screen ? "\033[0m" : "");
        if (!measure(i, now, before, v))
            continue;
        buf_printf(b, "  %-20s ", rows[i].label);
        show_row(b, i, v);
        buf_char(b, '\n');
    }
    if (!screen)
        buf_char(b, '\n');
}

static void render_json(const Reading *now, const Reading *before, Buf *b)
{
    buf_char(b, '{');
    for (size_t i = 0, n = 0; i < COUNT_OF(rows); i++) {
        static const char *const suffix[] = {
            [SHOW_GAUGE] = "",       [SHOW_RATE] = "_per_s", [SHOW_COUNT] = "",
            [SHOW_TIMES] = "_p50_s", [SHOW_MEAN] = "",       [SHOW_BYTES] = "_bytes"};
        double v[2] = {0};
        if (!measure(i, now, before, v))
            continue;
        buf_cstr(b, n++ ? ",\"" : "\"");
        for (const char *p = rows[i].label; *p; p++)
            buf_char(b, *p == ' ' || *p == '-' ? '_' : *p);
        buf_printf(b, "%s\":", suffix[rows[i].show]);
        buf_printf(b, isnan(v[0]) ? "null" : "%.9g", v[0]);
        if (rows[i].show == SHOW_TIMES) {
            buf_cstr(b, ",\"");
            for (const char *p = rows[i].label; *p; p++)
                buf_char(b, *p == ' ' ? '_' : *p);
            buf_cstr(b, "_p99_s\":");
            buf_printf(b, isnan(v[1]) ? "null" : "%.9g", v[1]);
        }
    }
    buf_cstr(b, "}\n");
}

static void wait_seconds(double seconds, bool keys)
{
    double end = now_seconds() + seconds;
    for (double left; !interrupted && (left = end - now_seconds()) > 0;) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        char key = 0;
        if (poll(&p, keys ? 1 : 0, (int)(left * 1000) + 1) > 0 &&
            (read(STDIN_FILENO, &key, 1) != 1 || key == 'q'))
            interrupted = key == 'q' || interrupted;
        if (!key && p.revents)
            keys = false; /* the input has ended */
    }
}

int cmd_top(int argc, char **argv)
{
    const char *interval = "2", *count = NULL;
    bool json = false, once = false;
    const CliOption options[] = {
        {"--interval", "S", "seconds between readings (2)", NULL, &interval},
        {"--count", "N", "end after N readings", NULL, &count},
        {"--once", NULL, "one reading over one interval, then end", &once, NULL},
        {"--json", NULL, "print one line of JSON per reading", &json, NULL},
        {0},
    };
    int done =
        cli_options(&argc, argv, "top [OPTIONS] [URL]",
                    "Shows live what a server does, from the /metrics of its admin address "
                    "(http://127.0.0.1:9090\nunless given; xs serve --admin-listen sets it). "
                    "q or Ctrl-C ends.",
                    options);
    if (done >= 0)
        return done;
    if (argc > 2)
        return cli_usage("top", "unexpected argument '%s'", argv[2]);
    char *stop, url[512];
    double seconds = strtod(interval, &stop);
    if (*stop || !(seconds >= 0.1 && seconds <= 3600))
        return cli_usage("top", "--interval needs seconds from 0.1 to 3600");
    unsigned long left = count ? strtoul(count, &stop, 10) : 0;
    if (count && (*stop || !left))
        return cli_usage("top", "--count needs a number from 1");
    left = once ? 1 : left;
    const char *where = argc > 1 ? argv[1] : "127.0.0.1:9090";
    size_t len = strlen(where);
    snprintf(url, sizeof url, "%s%s%s", strstr(where, "://") ? "" : "http://", where,
             len > 8 && strcmp(where + len - 8, "/metrics") == 0 ? "" : "/metrics");
    bool screen = !json && !once && isatty(STDOUT_FILENO);
    char problem[CURL_ERROR_SIZE];
    Reading readings[2] = {{.body = BUF_INIT}, {.body = BUF_INIT}};
    CURL *curl = curl_easy_init();
    signal(SIGINT, on_interrupt);
    bool ok = curl && fetch(curl, url, &readings[0], problem);
    for (unsigned turn = 1; ok && !interrupted; turn ^= 1) {
        wait_seconds(seconds, screen);
        if (interrupted)
            break;
        ok = fetch(curl, url, &readings[turn], problem);
        Buf b = BUF_INIT;
        if (ok && json)
            render_json(&readings[turn], &readings[turn ^ 1], &b);
        else if (ok)
            render(url, &readings[turn], &readings[turn ^ 1], screen, &b);
        fwrite(b.len ? b.ptr : "", 1, b.len, stdout);
        fflush(stdout);
        buf_deinit(&b);
        if (left && --left == 0)
            break;
    }
    if (!ok)
        fprintf(stderr, "xs top: %s: %s\n", url, curl ? problem : "out of memory");
    reading_deinit(&readings[0]);
    reading_deinit(&readings[1]);
    if (curl)
        curl_easy_cleanup(curl);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}
