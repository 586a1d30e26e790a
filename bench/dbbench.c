/* dbbench.c - xs bench db. The functions of a small program run as jobs on the server's own workers
 * and writer, with a database file that is made durable at every commit; only sockets are missing.
 * Every case keeps a number of jobs under way for a while. */
#include "bench/dbbench.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/measure.h"
#include "cli/cli.h"
#include "core/clock.h"
#include "core/folder.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/worker.h"
#include "stdlib/db/db.h"

enum {
    TIMEOUT_MS = 60000,
    ROOMS = 100,
    DEFAULT_MS = 2000,
    DEFAULT_JOBS = 128,
    PATH_MAX_BYTES = 400
};

static const struct SourceRow {
    const char *file, *text;
} sources[] = {
    {"item.xs", "table \"item\" {\n  schema {\n    int id\n    timestamp created_at?=now\n    text "
                "name filters=trim\n    int room_id?\n    int score?\n  }\n  index = [\n    {type: "
                "\"primary\", field: [{name: \"id\"}]}\n    {type: \"btree\", field: [{name: "
                "\"room_id\"}, {name: \"created_at\", op: \"desc\"}]}\n  ]\n}\n"},
    {"add.xs", "function \"add\" {\n  input {\n    int n\n  }\n  stack {\n    db.add item {\n      "
               "data = {name: \"item number \" ~ $input.n, room_id: $input.n % 100, score: "
               "$input.n}\n    } as $item\n  }\n  response = $item\n}\n"},
    {"tell.xs",
     "function \"tell\" {\n  input {\n    int n\n  }\n  stack {\n    db.add item {\n      data = "
     "{name: \"item number \" ~ $input.n, room_id: $input.n % 100, score: $input.n}\n    } as "
     "$item\n    api.realtime_event {\n      channel = \"room:\" ~ $item.room_id\n      event = "
     "\"added\"\n      data = $item\n    }\n  }\n  response = $item\n}\n"},
    {"get.xs", "function \"get\" {\n  input {\n    int n\n  }\n  stack {\n    db.get item {\n      "
               "field_name = \"id\"\n      field_value = $input.n\n    } as $item\n  }\n  response "
               "= $item\n}\n"},
    {"list.xs",
     "function \"list\" {\n  input {\n    int n\n  }\n  stack {\n    db.query item {\n      where "
     "= $db.item.room_id == $input.n % 100\n      sort = {created_at: \"desc\"}\n      return = "
     "{type: \"list\", paging: {per_page: 20}}\n    } as $page\n  }\n  response = $page\n}\n"},
};

static const struct CaseRow {
    const char *function, *name;
} cases[] = {{"add", "insert"},
             {"tell", "insert, publish"},
             {"get", "read one row"},
             {"list", "list of 20"}};

typedef struct Result {
    double per_s, cpu_us, per_commit;
    uint64_t p50_us, p99_us, errors;
} Result;

typedef struct Bench {
    const char *dir;
    uint64_t ms, jobs, workers, rows;
    Arena arena;
    Config config;
    Program *program;
    DbPool *db;
    Log log;
    Metrics metrics;
    EnvVars *env;
    ServiceEnv service;
    Hub *hub;
    Space *space;
    struct event_base *base;
    Pool *pool;
    /* of the case that runs */
    uint32_t proc;
    int64_t until_us;
    _Atomic uint64_t number;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    uint64_t running;
} Bench;

typedef struct BenchJob {
    Job job;
    Bench *b;
    int64_t began_us;
    uint64_t errors;
    Histogram times;
} BenchJob;

/* ---- jobs ---- */

static const Const *make_input(BenchJob *j)
{
    Bench *b = j->b;
    uint64_t n = atomic_fetch_add(&b->number, 1);
    if (b->rows) /* a scattered row that is there */
        n = 1 + n * 7919 % b->rows;
    arena_deinit(&j->job.arena);
    arena_init(&j->job.arena, 0);
    Const *in = const_map(&j->job.arena, 1);
    return in && const_set_int(&j->job.arena, in, "n", (int64_t)n) ? in : NULL;
}

static bool next(Job *job)
{
    BenchJob *j = (BenchJob *)job;
    j->began_us = clock_mono_us();
    if (j->began_us >= j->b->until_us)
        return false;
    xs_error err;
    const Const *in = make_input(j);
    job->limits.deadline_ms = clock_wall_ms() + TIMEOUT_MS;
    if (!in || !job_begin(job, j->b->proc, in, &err))
        j->errors++;
    return true;
}

static void ended(Job *job)
{
    BenchJob *j = (BenchJob *)job;
    Buf b = BUF_INIT; /* a server would write it too */
    if (job->state != FIBER_DONE || !val_write_json(fiber_result(job->fiber), &b))
        j->errors++;
    buf_deinit(&b);
    hist_add(&j->times, (uint64_t)(clock_mono_us() - j->began_us));
}

static void done(Job *job)
{
    Bench *b = ((BenchJob *)job)->b;
    pthread_mutex_lock(&b->lock);
    b->running--;
    pthread_cond_signal(&b->ended);
    pthread_mutex_unlock(&b->lock);
}

static const JobOps ops = {next, ended, done, done};

static uint64_t cpu_us(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static void sum_up(Bench *b, BenchJob *jobs, int64_t wall_us, uint64_t cpu, const DbStats *before,
                   Result *out)
{
    Histogram *all = mem_zalloc(1, sizeof *all);
    DbStats after;
    dbpool_stats(b->db, &after);
    for (uint64_t i = 0; all && i < b->jobs; i++) {
        out->errors += jobs[i].errors;
        all->count += jobs[i].times.count;
        for (size_t k = 0; k < HIST_BUCKETS; k++)
            all->buckets[k] += jobs[i].times.buckets[k];
        if (jobs[i].times.max > all->max)
            all->max = jobs[i].times.max;
    }
    if (!all || !all->count)
        out->errors++;
    else {
        out->per_s = (double)all->count * 1e6 / (double)wall_us;
        out->cpu_us = (double)cpu / (double)all->count;
        out->p50_us = hist_percentile(all, 0.5);
        out->p99_us = hist_percentile(all, 0.99);
    }
    if (after.commits > before->commits)
        out->per_commit =
            (double)(after.writes - before->writes) / (double)(after.commits - before->commits);
    mem_free(all);
}

static bool run_case(Bench *b, const struct CaseRow *c, Result *out)
{
    *out = (Result){0};
    b->proc = program_find(b->program, PROC_FUNCTION, text_from(c->function));
    BenchJob *jobs = mem_zalloc(b->jobs, sizeof *jobs);
    if (!jobs || b->proc == UINT32_MAX) {
        mem_free(jobs);
        return false;
    }
    DbStats before;
    dbpool_stats(b->db, &before);
    bool reads = strcmp(c->function, "get") == 0 || strcmp(c->function, "list") == 0;
    b->rows = reads ? before.writes : 0;
    b->running = b->jobs;
    uint64_t cpu = cpu_us();
    int64_t start = clock_mono_us();
    b->until_us = start + (int64_t)b->ms * 1000;
    for (uint64_t i = 0; i < b->jobs; i++) {
        job_init(&jobs[i].job, b->pool, &ops, b->space, NULL, TIMEOUT_MS);
        jobs[i].b = b;
        if (!pool_submit_always(b->pool, &jobs[i].job))
            done(&jobs[i].job);
    }
    pthread_mutex_lock(&b->lock);
    while (b->running)
        pthread_cond_wait(&b->ended, &b->lock);
    pthread_mutex_unlock(&b->lock);
    sum_up(b, jobs, clock_mono_us() - start, cpu_us() - cpu, &before, out);
    for (uint64_t i = 0; i < b->jobs; i++)
        job_deinit(&jobs[i].job);
    mem_free(jobs);
    return out->errors == 0;
}

/* ---- setting up ---- */

static bool write_sources(const Bench *b)
{
    for (size_t i = 0; i < COUNT_OF(sources); i++) {
        char path[PATH_MAX_BYTES + 32];
        snprintf(path, sizeof path, "%s/%s", b->dir, sources[i].file);
        FILE *f = fopen(path, "w");
        if (!f || fputs(sources[i].text, f) < 0 || fclose(f) != 0)
            return false;
    }
    return true;
}

static bool wants(void *ctx, HubAction action, Text channel, Text event)
{
    (void)ctx, (void)action, (void)channel, (void)event;
    return false;
}

static bool set_up(Bench *b, xs_error *err)
{
    char path[PATH_MAX_BYTES + 32], *paths[] = {(char *)(uintptr_t)b->dir};
    static char *const no_env[] = {NULL};
    HubOptions hub = {0};
    HubDispatcher dispatcher = {.wants = wants};
    if (!write_sources(b))
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s cannot be written", b->dir);
    b->program = cli_load_program(&b->arena, paths, 1, false);
    if (!b->program)
        return xs_fail(err, XS_E_COMPILE, XS_NO_POS, "the benchmark's program has errors");
    snprintf(path, sizeof path, "%s/bench.db", b->dir);
    b->config.workers = (int64_t)b->workers;
    b->log.level = LEVEL_ERROR;
    b->db = dbpool_open(path, const_get(program_meta(b->program), "tables"), NULL, err);
    b->env = b->db ? env_new("", false, no_env, err) : NULL;
    b->hub = b->env ? hub_new(&hub, &dispatcher, err) : NULL;
    b->space = b->hub ? hub_space(b->hub, TEXT(""), TEXT("bench")) : NULL;
    b->base = event_base_new();
    if (!b->space || !b->base)
        return b->hub ? xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory") : false;
    b->service.log = &b->log;
    b->service.env = b->env;
    b->service.hub = b->hub;
    PoolOptions pool = {.program = b->program,
                        .config = &b->config,
                        .log = &b->log,
                        .metrics = &b->metrics,
                        .db = b->db,
                        .env = &b->service,
                        .space = b->space};
    b->pool = pool_new(&pool, b->base, err);
    return b->pool != NULL;
}

static void tear_down(Bench *b)
{
    if (b->pool)
        pool_stop(b->pool);
    pool_free(b->pool);
    if (b->hub)
        hub_free(b->hub);
    dbpool_close(b->db);
    env_free(b->env);
    if (b->base)
        event_base_free(b->base);
    program_unref(b->program);
    arena_deinit(&b->arena);
    config_deinit(&b->config);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->ended);
}

/* ---- the peer ---- */

/* One line of JSON of bench/peers/sqlite.mjs, run where better-sqlite3 is installed. */
static bool run_peer(const Bench *b, const char *script, const char *where, Buf *out)
{
    char command[3 * PATH_MAX_BYTES + 100], piece[1024];
    int n = snprintf(command, sizeof command, "cd '%s' && exec node '%s' '%s/peer.db' %llu", where,
                     script, b->dir, (unsigned long long)b->ms);
    if (n < 0 || (size_t)n >= sizeof command || strchr(where, '\'') || strchr(script, '\''))
        return false;
    FILE *p = popen(command, "r");
    while (p && fgets(piece, sizeof piece, p))
        buf_cstr(out, piece);
    return p && pclose(p) == 0 && out->len > 0;
}

static void print_peer(Text json)
{
    static const struct {
        const char *key, *name;
    } rows[] = {{"insert", "insert"},
                {"insert_128", "insert, 128 per commit"},
                {"get", "read one row"},
                {"list", "list of 20"}};
    Arena a;
    arena_init(&a, 0);
    const Const *all = json_parse(&a, json, NULL);
    puts("\nNode with better-sqlite3, in its own process:");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const Const *r = const_get(all, rows[i].key);
        printf("%-22s %9lld %9.1f\n", rows[i].name,
               (long long)const_int_of(const_get(r, "per_s"), 0),
               const_dec_of(const_get(r, "cpu_us"), 0));
    }
    arena_deinit(&a);
}

/* ---- the command ---- */

static void print_result(const struct CaseRow *c, const Result *r, bool json, bool first)
{
    if (json)
        printf("%s{\"name\":\"%s\",\"per_s\":%.0f,\"cpu_us\":%.2f,\"p50_us\":%llu,\"p99_us\":%llu,"
               "\"writes_per_commit\":%.1f,\"errors\":%llu}",
               first ? "{\"cases\":[" : ",", c->name, r->per_s, r->cpu_us,
               (unsigned long long)r->p50_us, (unsigned long long)r->p99_us, r->per_commit,
               (unsigned long long)r->errors);
    else
        printf("%-22s %9.0f %9.1f %9llu %9llu %9.1f\n", c->name, r->per_s, r->cpu_us,
               (unsigned long long)r->p50_us, (unsigned long long)r->p99_us, r->per_commit);
}

static int run_all(Bench *b, bool json, const char *script, const char *where)
{
    bool ok = true;
    if (!json)
        printf("%-22s %9s %9s %9s %9s %9s\n", "", "per s", "CPU µs", "p50 µs", "p99 µs", "/commit");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Result r;
        ok = run_case(b, &cases[i], &r) && ok;
        print_result(&cases[i], &r, json, i == 0);
    }
    Buf peer = BUF_INIT;
    bool has = where && run_peer(b, script, where, &peer);
    Text line = text_trim(buf_view(&peer), TEXT("\n"));
    if (json && has)
        printf("],\"peer\":" TEXT_FMT "}\n", TEXT_ARG(line));
    else if (json)
        puts("]}");
    else if (has)
        print_peer(line);
    if (where && !has) {
        fprintf(stderr, "xs bench db: the peer did not run; npm install better-sqlite3@12 in %s\n",
                where);
        ok = false;
    }
    buf_deinit(&peer);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}

int bench_db(int argc, char **argv)
{
    const char *ms = NULL, *jobs = NULL, *workers = NULL, *dir = NULL, *peer = NULL;
    const char *script = "bench/peers/sqlite.mjs";
    bool json = false;
    const CliOption options[] = {
        {"--ms", "N", "time of each case (2000)", NULL, &ms},
        {"--jobs", "N", "calls under way at once (128)", NULL, &jobs},
        {"--workers", "N", "script workers (one per core)", NULL, &workers},
        {"--dir", "DIR", "existing folder for the database; its disk is measured (TMPDIR)", NULL,
         &dir},
        {"--peer", "DIR", "also Node; DIR has node_modules/better-sqlite3", NULL, &peer},
        {"--peer-script", "FILE", "its program (bench/peers/sqlite.mjs)", NULL, &script},
        {"--json", NULL, "one line for a record", &json, NULL},
        {0},
    };
    int code = cli_options(&argc, argv, "bench db [OPTIONS]",
                           "Durable inserts, reads and lists of a program on a database file, "
                           "without sockets.",
                           options);
    if (code >= 0)
        return code;
    Bench b = {.ms = DEFAULT_MS, .jobs = DEFAULT_JOBS};
    if (!measure_count(ms, 10, 600000, &b.ms) || !measure_count(jobs, 1, 10000, &b.jobs) ||
        !measure_count(workers, 0, 256, &b.workers))
        return cli_usage("bench", "db: a number is out of range");
    const char *tmp = getenv("TMPDIR");
    char own[PATH_MAX_BYTES], real_script[PATH_MAX_BYTES * 11];
    int n = snprintf(own, sizeof own, "%s/xs-bench-db-XXXXXX",
                     dir           ? dir
                     : tmp && *tmp ? tmp
                                   : "/tmp");
    if (peer && !realpath(script, real_script))
        return cli_usage("bench", "db: there is no %s; name it with --peer-script", script);
    xs_error err;
    if (n < 0 || (size_t)n >= sizeof own || !mkdtemp(own))
        return cli_usage("bench", "db: no folder can be made in %s", dir ? dir : "TMPDIR");
    b.dir = own;
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.ended, NULL);
    arena_init(&b.arena, 0);
    if (!config_init(&b.config, &err) || !set_up(&b, &err))
        code = cli_error(&err);
    else
        code = run_all(&b, json, peer ? real_script : NULL, peer);
    tear_down(&b);
    folder_remove(b.dir);
    return code;
}
