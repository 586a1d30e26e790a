/* schedule.c - a timer per entry, re-armed for its next time; a task that still runs skips that
 * time. Middleware of a task runs around it, as around a query. */
#include "host/schedule.h"

#include <pthread.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "host/http.h"
#include "host/stmttrace.h"

enum { ARM_MAX_MS = 60 * 60 * 1000 /* look again at least hourly: clocks are set */ };

typedef struct Task Task;

typedef struct Entry {
    Task *task;
    TaskTimes times;
    Text lease; /* name of its times in the database; the same in every process */
    int64_t due_ms;
    struct event *timer;
} Entry;

struct Task {
    Schedule *schedule;
    Text name;
    uint32_t proc;
    RouteSteps steps;
    uint32_t history; /* statements recorded of a run; 0 = it is not recorded */
    bool running;
    Entry *entries;
    uint32_t count;
};

struct Schedule {
    Pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    uint32_t asked;         /* under the lock: times that the database has not answered yet */
    struct TaskJob *claims; /* loop: all that are not begun yet */
    Space *space;
    History *history; /* NULL = nothing is recorded */
    struct event_base *base;
    Arena arena;
    Task *tasks;
    uint32_t count;
    bool stopped;
};

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

/* ---- times ---- */

bool task_times_read(const Const *entry, TaskTimes *out)
{
    const Const *starts = const_get(entry, "starts_on"), *ends = const_get(entry, "ends_on");
    int64_t freq_s = const_int_of(const_get(entry, "freq"), 0);
    if (!starts || (starts->kind != C_INT && starts->kind != C_DEC))
        return false;
    *out = (TaskTimes){.starts_ms = const_int_of(starts, 0),
                       .freq_ms = freq_s > 0 && freq_s < INT64_MAX / 1000 ? freq_s * 1000 : 0,
                       .ends_ms = const_int_of(ends, INT64_MAX)};
    return true;
}

int64_t task_times_next(const TaskTimes *t, int64_t now_ms)
{
    int64_t next = t->starts_ms;
    if (next <= now_ms) {
        if (!t->freq_ms)
            return -1;
        int64_t turns = (now_ms - t->starts_ms) / t->freq_ms + 1, span;
        if (__builtin_mul_overflow(turns, t->freq_ms, &span) ||
            __builtin_add_overflow(t->starts_ms, span, &next))
            return -1;
    }
    return next <= t->ends_ms ? next : -1;
}

/* ---- one run ---- */

typedef struct TaskJob {
    Job job;
    Task *task;
    struct TaskJob *next; /* of the claims */
    bool mine;
    xs_error unclear; /* the database could not say whose it is */
    uint32_t step;    /* pre-middleware, the task, post-middleware */
    int64_t began_us;
    bool failed;
    int status;      /* of the error in flight, else 200 */
    Buf error;       /* its JSON */
    StmtTrace trace; /* with history */
} TaskJob;

static uint32_t step_count(const TaskJob *t)
{
    return t->task->steps.npre + 1 + t->task->steps.npost;
}

static const RouteStep *middleware(const TaskJob *t)
{
    const RouteSteps *s = &t->task->steps;
    if (t->step < s->npre)
        return &s->pre[t->step];
    return t->step > s->npre ? &s->post[t->step - s->npre - 1] : NULL;
}

static const Const *middleware_input(TaskJob *t)
{
    Arena *a = &t->job.arena;
    bool pre = t->step < t->task->steps.npre;
    Const *input = const_map(a, 2), *vars = const_map(a, 3);
    bool ok = input && vars && const_set_text(a, input, "type", pre ? TEXT("pre") : TEXT("post")) &&
              const_set(a, input, TEXT("vars"), vars);
    if (!ok || pre)
        return ok ? input : NULL;
    const Const *error =
        t->failed ? json_parse(a, arena_text(a, buf_view(&t->error)), NULL) : &const_null;
    ok = error && const_set_int(a, vars, "status", t->status) &&
         const_set(a, vars, TEXT("result"), error) &&
         (!t->failed || const_set(a, vars, TEXT("payload"), const_get(error, "payload")));
    return ok ? input : NULL;
}

/* The next step after an error of this one; the policies as for queries. */
static void step_failed(TaskJob *t, xs_code code, Buf *error)
{
    const RouteStep *m = middleware(t);
    if (m && m->policy == STEP_SILENT) {
        buf_deinit(error);
        t->step++;
        return;
    }
    buf_deinit(&t->error);
    t->error = *error;
    *error = BUF_INIT;
    t->failed = true;
    t->status = xs_code_get(code)->status;
    if (m && m->policy == STEP_CRITICAL)
        t->step = step_count(t);
    else if (t->step < t->task->steps.npre)
        t->step = t->task->steps.npre + 1;
    else
        t->step++;
}

static bool task_next(Job *job)
{
    TaskJob *t = (TaskJob *)job;
    xs_error err = {.code = XS_E_NOMEM, .message = "Out of memory."};
    if (t->step >= step_count(t))
        return false;
    const RouteStep *m = middleware(t);
    const Const *input = m ? middleware_input(t) : NULL;
    if ((m && !input) || !job_begin(job, m ? m->proc : t->task->proc, input, &err)) {
        Buf error = BUF_INIT;
        http_write_error(&error, xs_code_get(err.code)->wire, err.message);
        step_failed(t, err.code, &error);
    }
    if (job->fiber && t->task->history)
        fiber_watch_statements(job->fiber, &t->trace.watch);
    return true;
}

static void task_ended(Job *job)
{
    TaskJob *t = (TaskJob *)job;
    const xs_error *err = job->state == FIBER_ERROR ? fiber_error(job->fiber, NULL, NULL) : NULL;
    if (!err || err->code == XS_E_STOPPED) {
        t->step = err ? step_count(t) : t->step + 1;
        return;
    }
    Buf error = BUF_INIT;
    fiber_write_error(job->fiber, &error);
    bool silent = middleware(t) && middleware(t)->policy == STEP_SILENT;
    log_line(pool_options(job->pool)->log, silent ? LEVEL_INFO : LEVEL_WARNING,
             "task " TEXT_FMT ": %s%s:%u: " TEXT_FMT, TEXT_ARG(t->task->name),
             silent ? "a silent middleware failed at " : "failed at ",
             err->pos.file ? err->pos.file : "?", err->pos.line,
             TEXT_ARG(fiber_error_message(job->fiber)));
    step_failed(t, err->code, &error);
}

static void record(TaskJob *t)
{
    const Task *task = t->task;
    int64_t now = clock_wall_ms();
    if (!task->history || !t->step) /* not recorded, or dropped before it began */
        return;
    if (!history_wants(task->schedule->history, now)) {
        metric_add(&pool_options(t->job.pool)->metrics->history_dropped);
        return;
    }
    HistoryRecord r = {.api_id = task->name,
                       .verb = TEXT("TASK"),
                       .path = TEXT(""),
                       .branch = t->job.run.branch,
                       .status = t->status,
                       .duration_ms = (double)(clock_mono_us() - t->began_us) / 1000,
                       .request = TEXT("{}"),
                       .response = t->failed ? buf_view(&t->error) : TEXT("null"),
                       .trace = stmttrace_end(&t->trace),
                       .created_at_ms = now};
    history_add(task->schedule->history, &r);
}

/* Loop. */
static void task_over(Job *job)
{
    TaskJob *t = (TaskJob *)job;
    t->task->running = false;
    if (t->failed)
        metric_add(&pool_options(job->pool)->metrics->tasks_failed);
    log_line(pool_options(job->pool)->log, LEVEL_DEBUG, "task " TEXT_FMT " took %lld ms",
             TEXT_ARG(t->task->name), (long long)(clock_mono_us() - t->began_us) / 1000);
    record(t);
    stmttrace_deinit(&t->trace);
    buf_deinit(&t->error);
    job_deinit(job);
    mem_free(t);
}

static void task_done(Job *job)
{
    pool_to_loop(job->pool, job, task_over);
}

static const JobOps task_ops = {task_next, task_ended, task_done, task_done};

static void drop(TaskJob *t, const char *why)
{
    if (why)
        log_line(pool_options(t->task->schedule->pool)->log, LEVEL_WARNING,
                 "task " TEXT_FMT " could not begin: %s", TEXT_ARG(t->task->name), why);
    t->task->running = false;
    job_deinit(&t->job);
    mem_free(t);
}

static void begin(TaskJob *t)
{
    Schedule *s = t->task->schedule;
    t->began_us = clock_mono_us();
    if (pool_submit(s->pool, &t->job))
        metric_add(&pool_options(s->pool)->metrics->tasks_run);
    else
        drop(t, "the server is busy");
}

/* Loop: the database has answered. */
static void claimed(Job *job)
{
    TaskJob *t = (TaskJob *)job, **at = &t->task->schedule->claims;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    if (t->mine)
        begin(t);
    else
        drop(t, t->unclear.code == XS_OK ? NULL : t->unclear.message);
}

/* Writer's thread. */
static void on_leased(void *ctx, bool mine, const xs_error *err)
{
    TaskJob *t = (TaskJob *)ctx;
    Schedule *s = t->task->schedule;
    t->mine = mine && !err;
    if (err)
        t->unclear = *err;
    pthread_mutex_lock(&s->lock);
    pool_to_loop(s->pool, &t->job, claimed);
    s->asked--;
    pthread_cond_signal(&s->answered);
    pthread_mutex_unlock(&s->lock);
}

/* Another process on the same file may be first. */
static void claim(TaskJob *t, const Entry *e)
{
    Schedule *s = t->task->schedule;
    DbPool *db = pool_options(s->pool)->db;
    xs_error err;
    t->next = s->claims;
    s->claims = t;
    pthread_mutex_lock(&s->lock);
    s->asked++;
    pthread_mutex_unlock(&s->lock);
    if (dbpool_lease(db, e->lease, e->due_ms, on_leased, t, &err))
        return;
    pthread_mutex_lock(&s->lock);
    s->asked--;
    pthread_mutex_unlock(&s->lock);
    s->claims = t->next;
    drop(t, err.message);
}

static void start(const Entry *e)
{
    Task *task = e->task;
    Schedule *s = task->schedule;
    const PoolOptions *opt = pool_options(s->pool);
    if (task->running) {
        log_line(opt->log, LEVEL_WARNING, "task " TEXT_FMT " still runs: this time is skipped",
                 TEXT_ARG(task->name));
        return;
    }
    TaskJob *t = mem_zalloc(1, sizeof *t);
    if (!t) {
        log_line(opt->log, LEVEL_WARNING, "task " TEXT_FMT " could not begin: out of memory",
                 TEXT_ARG(task->name));
        return;
    }
    job_init(&t->job, s->pool, &task_ops, s->space, NULL, opt->config->task_timeout_ms);
    t->task = task;
    t->status = 200;
    stmttrace_init(&t->trace, task->history);
    task->running = true;
    if (opt->db && !dbpool_is_private(opt->db))
        claim(t, e);
    else
        begin(t);
}

/* ---- timers ---- */

static void arm(Entry *e)
{
    int64_t now = clock_wall_ms();
    if (e->due_ms < 0)
        return;
    int64_t ms = e->due_ms > now ? e->due_ms - now : 0;
    if (ms > ARM_MAX_MS)
        ms = ARM_MAX_MS;
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_add(e->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Entry *e = (Entry *)arg;
    int64_t now = clock_wall_ms();
    if (e->task->schedule->stopped)
        return;
    if (now >= e->due_ms) {
        start(e);
        e->due_ms = task_times_next(&e->times, now);
    }
    arm(e);
}

/* ---- life ---- */

static bool add_entries(Schedule *s, Task *t, const Const *list, xs_error *err)
{
    uint32_t n = list && list->kind == C_LIST ? list->count : 0;
    t->entries = n ? ARENA_ARRAY(&s->arena, Entry, n) : NULL;
    if (n && !t->entries)
        return no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        Entry *e = &t->entries[t->count];
        if (!task_times_read(list->items[i], &e->times))
            continue;
        e->task = t;
        e->lease = arena_printf(&s->arena, "task " TEXT_FMT " %lld %lld", TEXT_ARG(t->name),
                                (long long)e->times.starts_ms, (long long)e->times.freq_ms);
        if (!e->lease.ptr)
            return no_memory(err);
        e->due_ms = task_times_next(&e->times, clock_wall_ms());
        e->timer = evtimer_new(s->base, on_timer, e);
        if (!e->timer)
            return no_memory(err);
        t->count++;
        arm(e);
    }
    return true;
}

static bool add_task(Schedule *s, const Const *row, xs_error *err)
{
    const Program *program = pool_options(s->pool)->program;
    int64_t proc = const_int_of(const_get(row, "proc"), -1);
    if (!const_bool_of(const_get(row, "active"), true))
        return true;
    if (proc < 0 || proc >= program_proc_count(program))
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "a task refers to no procedure");
    Task *t = &s->tasks[s->count++];
    t->schedule = s;
    t->name = const_get_text(row, "name");
    t->proc = (uint32_t)proc;
    t->history = s->history ? route_history(program, row, NULL, "task") : 0;
    const Const *own = const_get(row, "middleware");
    const Const *lists = own ? own : route_branch_middleware(program, "task");
    return route_read_steps(&s->arena, program, lists, &t->steps, err) &&
           add_entries(s, t, const_get(row, "schedule"), err);
}

Schedule *schedule_new(Pool *pool, Space *space, History *history, struct event_base *base,
                       xs_error *err)
{
    const Const *tasks = const_get(program_meta(pool_options(pool)->program), "tasks");
    uint32_t n = tasks && tasks->kind == C_LIST ? tasks->count : 0;
    Schedule *s = mem_zalloc(1, sizeof *s);
    if (!s) {
        no_memory(err);
        return NULL;
    }
    arena_init(&s->arena, 0);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->answered, NULL);
    s->pool = pool;
    s->space = space;
    s->history = history;
    s->base = base;
    s->tasks = n ? ARENA_ARRAY(&s->arena, Task, n) : NULL;
    bool ok = !n || s->tasks || no_memory(err);
    for (uint32_t i = 0; ok && i < n; i++)
        ok = add_task(s, tasks->items[i], err);
    if (ok)
        return s;
    schedule_free(s);
    return NULL;
}

void schedule_stop(Schedule *s)
{
    s->stopped = true;
}

void schedule_free(Schedule *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        for (uint32_t k = 0; k < s->tasks[i].count; k++)
            event_free(s->tasks[i].entries[k].timer);
    pthread_mutex_lock(&s->lock);
    while (s->asked)
        pthread_cond_wait(&s->answered, &s->lock);
    pthread_mutex_unlock(&s->lock);
    for (TaskJob *t = s->claims, *next; t; t = next) { /* their answer came too late */
        next = t->next;
        drop(t, NULL);
    }
    pthread_cond_destroy(&s->answered);
    pthread_mutex_destroy(&s->lock);
    arena_deinit(&s->arena);
    mem_free(s);
}
