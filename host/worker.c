/* worker.c - one lock guards the queue, the lists of woken jobs and the list for the loop: all are
 * touched for moments only, and never while a program runs. */
#include "host/worker.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/thread.h"
#include "stdlib/db/db.h"
#include "vm/convert.h"
#include "vm/heap.h"

enum { PARKED_MAX = 256 /* waiting fibers per worker */ };

typedef struct JobList {
    Job *first, *last;
    size_t count;
} JobList;

struct Worker {
    Pool *pool;
    pthread_t thread;
    pthread_cond_t wake;
    bool started, idle;
    JobList woken;
    size_t parked;
    Db *db;
};

struct Pool {
    PoolOptions opt;
    pthread_mutex_t lock;
    Worker *workers;
    size_t nworkers;
    JobList queue;
    LoopPost *posts, *last_post;
    size_t running;
    bool stopping, stopped, in_place;
    int loop_fd;
    struct event *loop_event;
};

static void list_add(JobList *l, Job *job)
{
    job->link = NULL;
    if (l->last)
        l->last->link = job;
    else
        l->first = job;
    l->last = job;
    l->count++;
}

static Job *list_take(JobList *l)
{
    Job *job = l->first;
    if (job) {
        l->first = job->link;
        if (!l->first)
            l->last = NULL;
        l->count--;
    }
    return job;
}

/* Any thread: a parked fiber may go on. */
static void wake_fiber(void *ctx, Fiber *fiber)
{
    (void)ctx;
    Job *job = (Job *)fiber_owner(fiber);
    Worker *w = job->worker;
    pthread_mutex_lock(&w->pool->lock);
    list_add(&w->woken, job);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->pool->lock);
}

/* ---- jobs ---- */

void job_init(Job *job, Pool *p, const JobOps *ops, Space *space, ReplyHeaders *reply,
              int64_t timeout_ms)
{
    const Config *c = p->opt.config;
    *job = (Job){.ops = ops, .pool = p};
    arena_init(&job->arena, 0);
    job->service = (ServiceCtx){p->opt.env, space, reply};
    service_fill(&job->services, &job->service, NULL);
    job->limits = (Limits){.steps = (uint64_t)c->steps,
                           .heap_bytes = (size_t)c->heap_bytes,
                           .depth = (uint32_t)c->call_depth,
                           .deadline_ms = clock_wall_ms() + timeout_ms};
    job->run = (RunContext){.tenant = c->tenant, .branch = c->branch, .base_url = c->base_url};
}

void job_deinit(Job *job)
{
    arena_deinit(&job->arena);
}

bool job_begin(Job *job, uint32_t proc, const Const *input, xs_error *err)
{
    job->services.db = job->worker->db;
    job->services.wake = job->pool->in_place ? NULL : wake_fiber;
    Fiber *f = fiber_new(job->pool->opt.program, &job->services, &job->run, &job->limits);
    if (!f)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    fiber_set_owner(f, job);
    Value v = val_null();
    if (input)
        v = val_from_const(fiber_heap(f), input);
    if (v.kind == V_UNSET ? !heap_fail(fiber_heap(f), err) : !fiber_call(f, proc, v, err)) {
        fiber_free(f);
        return false;
    }
    job->fiber = f;
    return true;
}

void job_run_in_place(Job *job, TraceFn trace, void *trace_ctx)
{
    job->worker = job->pool->workers;
    while (job->fiber || job->ops->next(job)) {
        if (!job->fiber)
            continue; /* that call failed to begin; the job knows */
        if (trace)
            fiber_set_trace(job->fiber, trace, trace_ctx);
        job->state = fiber_run(job->fiber);
        job->ops->ended(job);
        fiber_free(job->fiber);
        job->fiber = NULL;
    }
}

Pool *pool_new_in_place(const PoolOptions *opt, Db *db, xs_error *err)
{
    Pool *p = mem_zalloc(1, sizeof *p);
    Worker *w = mem_zalloc(1, sizeof *w);
    if (!p || !w) {
        mem_free(p);
        mem_free(w);
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    *w = (Worker){.pool = p, .db = db};
    p->opt = *opt;
    p->workers = w;
    p->loop_fd = -1;
    p->in_place = true;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

/* ---- worker threads ---- */

static void job_end(Job *job)
{
    Pool *p = job->pool;
    metric_add(&p->opt.metrics->jobs_done);
    job->ops->done(job);
    pthread_mutex_lock(&p->lock);
    p->running--;
    pthread_mutex_unlock(&p->lock);
}

/* Run until the job waits or ends. */
static void job_run(Job *job)
{
    for (;;) {
        if (!job->fiber && !job->ops->next(job)) {
            job_end(job);
            return;
        }
        if (!job->fiber)
            continue; /* that call failed to begin; the job knows */
        job->state = fiber_run(job->fiber);
        if (job->state == FIBER_PARKED) {
            job->worker->parked++;
            return;
        }
        job->ops->ended(job);
        fiber_free(job->fiber);
        job->fiber = NULL;
    }
}

static Job *next_job(Worker *w, bool *woken)
{
    Pool *p = w->pool;
    Job *job;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        job = list_take(&w->woken);
        *woken = job != NULL;
        if (!job && w->parked < PARKED_MAX && (job = list_take(&p->queue)))
            p->running++;
        if (job || (p->stopping && !w->parked))
            break;
        w->idle = true;
        pthread_cond_wait(&w->wake, &p->lock);
        w->idle = false;
    }
    pthread_mutex_unlock(&p->lock);
    return job;
}

static void *worker_main(void *arg)
{
    Worker *w = (Worker *)arg;
    Job *job;
    bool woken;
    thread_in_bulk();
    while ((job = next_job(w, &woken))) {
        job->worker = w;
        if (woken) {
            w->parked--;
            if (!fiber_finish(job->fiber) && w->db)
                db_finish(w->db, job->fiber);
        }
        job_run(job);
    }
    return NULL;
}

static bool submit(Pool *p, Job *job, bool always)
{
    pthread_mutex_lock(&p->lock);
    bool ok =
        !p->stopping && (always || p->queue.count + p->running < (size_t)p->opt.config->queue);
    if (ok) {
        list_add(&p->queue, job);
        for (size_t i = 0; i < p->nworkers; i++)
            if (p->workers[i].idle && p->workers[i].parked < PARKED_MAX) {
                p->workers[i].idle = false; /* the next job wakes another one */
                pthread_cond_signal(&p->workers[i].wake);
                break;
            }
    }
    pthread_mutex_unlock(&p->lock);
    return ok;
}

bool pool_submit(Pool *p, Job *job)
{
    bool ok = submit(p, job, false);
    if (!ok)
        metric_add(&p->opt.metrics->jobs_refused);
    return ok;
}

bool pool_submit_always(Pool *p, Job *job)
{
    return submit(p, job, true);
}

/* ---- back to the loop ---- */

void pool_post(Pool *p, LoopPost *post)
{
    post->next = NULL;
    pthread_mutex_lock(&p->lock);
    bool first = !p->posts;
    if (first)
        p->posts = post;
    else
        p->last_post->next = post;
    p->last_post = post;
    pthread_mutex_unlock(&p->lock);
    uint64_t one = 1;
    if (first && write(p->loop_fd, &one, sizeof one) < 0)
        return; /* the counter is full: the loop is awake already */
}

static void run_on_loop(LoopPost *post)
{
    Job *job = (Job *)((char *)post - offsetof(Job, post));
    job->on_loop(job);
}

void pool_to_loop(Pool *p, Job *job, void (*fn)(Job *job))
{
    job->on_loop = fn;
    job->post.fn = run_on_loop;
    pool_post(p, &job->post);
}

static void on_loop_event(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    Pool *p = (Pool *)arg;
    uint64_t n;
    if (read(fd, &n, sizeof n) < 0)
        n = 0;
    pthread_mutex_lock(&p->lock);
    LoopPost *post = p->posts;
    p->posts = p->last_post = NULL;
    pthread_mutex_unlock(&p->lock);
    for (LoopPost *next; post; post = next) {
        next = post->next;
        post->fn(post);
    }
}

/* ---- life ---- */

static bool start_workers(Pool *p, xs_error *err)
{
    for (size_t i = 0; i < p->nworkers; i++) {
        Worker *w = &p->workers[i];
        w->pool = p;
        pthread_cond_init(&w->wake, NULL);
        if (p->opt.db && !(w->db = db_open(p->opt.db, wake_fiber, w, err)))
            return false;
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
            return xs_fail(err, XS_E_IO, XS_NO_POS, "no thread for a worker");
        w->started = true;
    }
    return true;
}

Pool *pool_new(const PoolOptions *opt, struct event_base *base, xs_error *err)
{
    Pool *p = mem_zalloc(1, sizeof *p);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (!p) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    p->opt = *opt;
    pthread_mutex_init(&p->lock, NULL);
    size_t n =
        opt->config->workers ? (size_t)opt->config->workers : (size_t)(cores > 0 ? cores : 1);
    p->workers = mem_zalloc(n, sizeof *p->workers);
    p->loop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->loop_event = event_new(base, p->loop_fd, EV_READ | EV_PERSIST, on_loop_event, p);
    if (!p->workers || p->loop_fd < 0 || !p->loop_event || event_add(p->loop_event, NULL) != 0) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        pool_free(p);
        return NULL;
    }
    pthread_mutex_lock(&p->lock); /* workers look at each other's fields only under it */
    p->nworkers = n;
    pthread_mutex_unlock(&p->lock);
    if (start_workers(p, err))
        return p;
    pool_stop(p);
    pool_free(p);
    return NULL;
}

const PoolOptions *pool_options(const Pool *p)
{
    return &p->opt;
}

void pool_load(Pool *p, uint64_t *waiting, uint64_t *running)
{
    pthread_mutex_lock(&p->lock);
    *waiting = p->queue.count;
    *running = p->running;
    pthread_mutex_unlock(&p->lock);
}

void pool_stop(Pool *p)
{
    if (p->stopped)
        return;
    atomic_store(&p->opt.env->expired, true);
    outside_stop(p->opt.env->outside);
    pool_retire(p);
}

void pool_retire(Pool *p)
{
    if (p->stopped)
        return;
    p->stopped = true;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    JobList waiting = p->queue;
    p->queue = (JobList){0};
    for (size_t i = 0; i < p->nworkers; i++)
        if (p->workers[i].started)
            pthread_cond_signal(&p->workers[i].wake);
    pthread_mutex_unlock(&p->lock);
    Job *job;
    while ((job = list_take(&waiting)))
        job->ops->dropped(job);
    for (size_t i = 0; i < p->nworkers; i++)
        if (p->workers[i].started)
            pthread_join(p->workers[i].thread, NULL);
    on_loop_event(p->loop_fd, 0, p);
}

void pool_free(Pool *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->nworkers; i++) {
        if (p->workers[i].db)
            db_close(p->workers[i].db);
        if (p->workers[i].pool)
            pthread_cond_destroy(&p->workers[i].wake);
    }
    if (p->loop_event)
        event_free(p->loop_event);
    if (p->loop_fd >= 0)
        close(p->loop_fd);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->workers);
    mem_free(p);
}
