/* cmd_test.c - xs test: compiles a program with its tests, runs them, reports. */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cli/test_report.h"
#include "core/clock.h"
#include "core/num.h"
#include "core/text.h"
#include "host/testrun.h"
#include "stdlib/filters/datetime.h"

extern char **environ;

typedef struct TestArgs {
    const char *pattern, *tag, *junit, *jobs, *seed, *now, *slowest;
    bool bail, watch, coverage, json, quiet;
    /* read from the above */
    unsigned n_jobs, n_slowest;
    uint64_t n_seed;
    int64_t now_ms;
    /* of the run in work */
    size_t done, failed;
    bool progress;
} TestArgs;

/* ---- which tests ---- */

static bool contains_folded(Text t, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= t.len; i++) {
        size_t k = 0;
        while (k < n && (t.ptr[i + k] | 32) == (part[k] | 32))
            k++;
        if (k == n)
            return true;
    }
    return false;
}

static bool has_tag(const TestCase *t, const char *tag)
{
    for (uint32_t i = 0; t->tags && t->tags->kind == C_LIST && i < t->tags->count; i++)
        if (text_eq(const_text_of(t->tags->items[i], (Text){0}), text_from(tag)))
            return true;
    return false;
}

static bool wanted(void *ctx, const TestCase *t)
{
    const TestArgs *args = (const TestArgs *)ctx;
    return (!args->tag || has_tag(t, args->tag)) &&
           (!args->pattern || contains_folded(t->name, args->pattern) ||
            contains_folded(t->obj_name, args->pattern) || contains_folded(t->file, args->pattern));
}

/* ---- one run ---- */

static void on_result(void *ctx, const TestCase *t, const TestResult *result)
{
    TestArgs *args = (TestArgs *)ctx;
    (void)t;
    args->done++;
    args->failed += result->status != TEST_OK;
    if (args->progress)
        fprintf(stderr, "\r%zu done, %zu failed", args->done, args->failed);
}

static double now_s(void)
{
    return (double)clock_mono_us() / 1e6;
}

static bool write_junit(const TestReport *report, const char *path)
{
    Buf out = BUF_INIT;
    report_junit(report, &out);
    FILE *f = fopen(path, "wb");
    bool ok = f && !out.failed && fwrite(out.ptr, 1, out.len, f) == out.len;
    ok = (!f || fclose(f) == 0) && ok;
    if (!ok)
        fprintf(stderr, "xs: %s: %s\n", path, strerror(errno));
    buf_deinit(&out);
    return ok;
}

static int report(const TestArgs *args, const TestReport *r)
{
    Buf out = BUF_INIT;
    if (args->json)
        report_json(r, &out);
    else
        report_text(r, &out);
    if (args->progress)
        fputs("\r\x1b[K", stderr);
    fwrite(out.ptr, 1, out.len, stdout);
    fflush(stdout);
    bool ok = !out.failed && (!args->junit || write_junit(r, args->junit));
    buf_deinit(&out);
    return !ok ? EXIT_USAGE : report_failed(r) ? EXIT_PROBLEM : EXIT_OK;
}

static int run_tests(TestArgs *args, const Config *config, Program *program,
                     const SourceFile *sources)
{
    xs_error err;
    TestRunOptions options = {.config = config,
                              .compile_expr = cli_compile_expr,
                              .env = environ,
                              .jobs = args->n_jobs,
                              .bail = args->bail,
                              .coverage = args->coverage,
                              .seed = args->n_seed,
                              .now_ms = args->now_ms,
                              .wanted = wanted,
                              .on_result = on_result,
                              .ctx = args};
    args->done = args->failed = 0;
    args->progress = isatty(STDERR_FILENO) && !args->json;
    TestRun *run = testrun_new(program, &options, &err);
    int code = EXIT_USAGE;
    double start = now_s();
    if (!run) {
        cli_error(&err);
    } else if (!testrun_count(run)) {
        fputs(args->pattern || args->tag ? "xs: no test fits\n" : "xs: there are no tests\n",
              stderr);
    } else if (!testrun_run(run, &err)) {
        cli_error(&err);
    } else {
        TestReport r = {.run = run,
                        .sources = sources,
                        .seed = args->n_seed,
                        .now_ms = args->now_ms,
                        .ms = (now_s() - start) * 1000,
                        .colour = cli_colour(stdout),
                        .quiet = args->quiet,
                        .coverage = args->coverage,
                        .slowest = args->n_slowest};
        code = report(args, &r);
    }
    testrun_free(run);
    return code;
}

static int compile_and_run(TestArgs *args, const Config *config, char *const *paths, int count)
{
    Arena arena;
    arena_init(&arena, 0);
    BundleImage image;
    SourceFile *sources = NULL;
    const CompileOptions how = {.tests = true};
    int code = EXIT_USAGE;
    Program *p =
        cli_compile(&arena, paths, count, &how, &sources, &image) ? cli_bind(&image) : NULL;
    if (p)
        code = run_tests(args, config, p, sources);
    program_unref(p);
    arena_deinit(&arena);
    return code;
}

/* ---- watching ---- */

enum { SETTLE_MS = 100, WATCH_DEPTH = 32 };

static void watch_folder(int fd, const char *path, int depth)
{
    DIR *d = depth < WATCH_DEPTH ? opendir(path) : NULL;
    char below[4096];
    inotify_add_watch(fd, path,
                      IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO);
    for (struct dirent *e; d && (e = readdir(d));) {
        int n = snprintf(below, sizeof below, "%s/%s", path, e->d_name);
        if (e->d_type == DT_DIR && e->d_name[0] != '.' && n > 0 && (size_t)n < sizeof below)
            watch_folder(fd, below, depth + 1);
    }
    if (d)
        closedir(d);
}

/* Wait for a change, and for the changes that come with it. False: it cannot be waited for. */
static bool wait_change(int fd)
{
    char events[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, -1) < 0)
        return false;
    do {
        if (read(fd, events, sizeof events) < 0)
            return false;
    } while (poll(&p, 1, SETTLE_MS) > 0);
    return true;
}

static int watch(TestArgs *args, const Config *config, char *const *paths, int count)
{
    for (;;) {
        int fd = inotify_init1(IN_CLOEXEC);
        if (fd < 0) {
            fprintf(stderr, "xs: --watch: %s\n", strerror(errno));
            return EXIT_USAGE;
        }
        for (int i = 0; i < count; i++)
            watch_folder(fd, paths[i], 0);
        compile_and_run(args, config, paths, count);
        fputs("xs: waiting for changes\n", stderr);
        bool ok = wait_change(fd);
        close(fd);
        if (!ok)
            return EXIT_USAGE;
    }
}

/* ---- arguments ---- */

static bool number(const char *text, uint64_t max, uint64_t *out)
{
    int64_t n;
    if (!num_parse_int(text_from(text), &n) || n < 0 || (uint64_t)n > max)
        return false;
    *out = (uint64_t)n;
    return true;
}

/* NULL, or what is wrong. */
static const char *read_numbers(TestArgs *args)
{
    uint64_t n = 0;
    args->now_ms = clock_wall_ms() / 1000 * 1000 /* whole seconds */;
    args->n_seed = randombytes_uniform(1000000);
    args->n_slowest = 10;
    if (args->jobs && (!number(args->jobs, 256, &n) || !n))
        return "-j: a number from 1 to 256";
    args->n_jobs = (unsigned)n;
    if (args->slowest && !number(args->slowest, 100000, &n))
        return "--slowest: a number";
    args->n_slowest = args->slowest ? (unsigned)n : args->n_slowest;
    if (args->seed && !number(args->seed, INT64_MAX, &args->n_seed))
        return "--seed: a number";
    if (args->now && !num_parse_int(text_from(args->now), &args->now_ms) &&
        !date_parse_text(text_from(args->now), &zone_utc, args->now_ms, false, &args->now_ms))
        return "--now: a date, or milliseconds since 1970";
    return NULL;
}

static int start(TestArgs *args, const Config *config, char *const *paths, int count)
{
    static char here[] = ".";
    char *const program[] = {here};
    if (sodium_init() < 0)
        return cli_usage("test", "no source of random numbers");
    const char *wrong = read_numbers(args);
    if (wrong)
        return cli_usage("test", "%s", wrong);
    if (!count) {
        paths = program;
        count = 1;
    }
    return args->watch ? watch(args, config, paths, count)
                       : compile_and_run(args, config, paths, count);
}

int cmd_test(int argc, char **argv)
{
    TestArgs args = {0};
    const CliOption options[] = {
        {"-k", "TEXT", "only tests with this text in their name, their construct's or the file's",
         NULL, &args.pattern},
        {"--tag", "TAG", "only tests with this tag", NULL, &args.tag},
        {"-j", "N", "tests at a time; one per core otherwise", NULL, &args.jobs},
        {"--jobs", "N", "the same", NULL, &args.jobs},
        {"--bail", NULL, "begin no test after a failure", &args.bail, NULL},
        {"--watch", NULL, "run again whenever a file changes", &args.watch, NULL},
        {"--coverage", NULL, "show which lines were reached", &args.coverage, NULL},
        {"--junit", "FILE", "also write the results as JUnit XML", NULL, &args.junit},
        {"--json", NULL, "print one JSON object", &args.json, NULL},
        {"--quiet", NULL, "print failures and the summary only", &args.quiet, NULL},
        {"--slowest", "N", "how many slow tests to name when there are more; 10", NULL,
         &args.slowest},
        {"--seed", "N", "of random numbers; another one each time otherwise", NULL, &args.seed},
        {"--now", "TIME", "where the clock of every test stands; the present otherwise", NULL,
         &args.now},
        {0},
    };
    static const char *const others[] = {
        "-k",    "--tag",  "-j",         "--jobs", "--bail",    "--watch", "--json", "--junit",
        "--now", "--seed", "--coverage", "--help", "--slowest", "--quiet", "-h",     NULL};
    Config config;
    xs_error err;
    if (!config_init(&config, &err))
        return cli_error(&err);
    int code;
    if (!config_load(&config, &argc, argv, others, environ, &err))
        code = cli_usage("test", "%s", err.message);
    else
        code = cli_options(&argc, argv, "test [OPTIONS] [PATH...]",
                           "Runs the test blocks and workflow tests of a program, each in a "
                           "database of its own. The clock\n"
                           "stands still and moves with util.sleep and test.set_time. Options of "
                           "xs serve (--steps,\n"
                           "--env-file …) apply. Exit codes: 0 all passed, 1 a test failed, 2 "
                           "wrong usage or a mistake in\nthe program.",
                           options);
    if (code < 0)
        code = start(&args, &config, argv + 1, argc - 1);
    config_deinit(&config);
    return code;
}
