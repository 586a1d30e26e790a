/* worker.h - the script workers: a bounded queue of jobs, and threads that run their fibers. A
 * fiber that waits for the database is parked and goes on on the same worker, which serves other
 * jobs meanwhile. */
#ifndef HOST_WORKER_H
#define HOST_WORKER_H

#include <event2/event.h>

#include "host/metrics.h"
#include "host/service.h"
#include "vm/vm.h"

typedef struct Pool Pool;
typedef struct Worker Worker;
typedef struct Job Job;

typedef struct JobOps {
    /** Worker: make job->fiber for the next call of this job; false = no more. */
    bool (*next)(Job *job);
    /** Worker: job->fiber ended in job->state; read its result. It is freed right after. */
    void (*ended)(Job *job);
    /** Worker: nothing left to run. The job is the callee's from here on. */
    void (*done)(Job *job);
    /** The pool stops before the job began. The job is the callee's from here on. */
    void (*dropped)(Job *job);
} JobOps;

/* A call that waits for the loop's thread. One place at a time; the memory is the poster's. */
typedef struct LoopPost {
    struct LoopPost *next;
    void (*fn)(struct LoopPost *post);
} LoopPost;

/* First member of every kind of job. One owner at a time: submitter, queue, worker, loop. */
struct Job {
    const JobOps *ops;
    Job *link;
    Pool *pool;
    Worker *worker;
    Arena arena;
    ServiceCtx service;
    Services services;
    RunContext run;
    Limits limits;
    Fiber *fiber;
    FiberState state;
    LoopPost post;
    void (*on_loop)(Job *job);
};

typedef struct PoolOptions {
    Program *program;
    const Config *config;
    const Log *log;
    Metrics *metrics;
    DbPool *db; /* NULL = the program has no tables */
    ServiceEnv *env;
    Space *space; /* where events of the server's own jobs go */
} PoolOptions;

/** Threads start here. Errors: XS_E_NOMEM, XS_E_DATABASE, XS_E_IO. */
XS_MUST_CHECK Pool *pool_new(const PoolOptions *opt, struct event_base *base, xs_error *err);
/** A pool without threads and loop for job_run_in_place; natives wait in place. db: of the thread
 * that runs the jobs, NULL = none. End it with pool_free alone. Errors: XS_E_NOMEM. */
XS_MUST_CHECK Pool *pool_new_in_place(const PoolOptions *opt, Db *db, xs_error *err);
/** Run a job of such a pool until its ops have nothing more; done is not called. */
void job_run_in_place(Job *job, TraceFn trace, void *trace_ctx);
const PoolOptions *pool_options(const Pool *p);
/** Set up a job that publishes into space; timeout_ms counts from now. */
void job_init(Job *job, Pool *p, const JobOps *ops, Space *space, ReplyHeaders *reply,
              int64_t timeout_ms);
void job_deinit(Job *job); /* arena; the fiber is gone by then */
/** Make job->fiber and begin proc. input: map or NULL. false: err set, no fiber. */
XS_MUST_CHECK bool job_begin(Job *job, uint32_t proc, const Const *input, xs_error *err);
/** Any thread. False = full or stopping; the job stays the caller's. */
XS_MUST_CHECK bool pool_submit(Pool *p, Job *job);
/** The same past the limit of the queue, for the few jobs of the server's own. False = stopping. */
XS_MUST_CHECK bool pool_submit_always(Pool *p, Job *job);
/** Any thread: post->fn(post) is called on the loop's thread. */
void pool_post(Pool *p, LoopPost *post);
/** Any thread: fn(job) is called on the loop's thread. */
void pool_to_loop(Pool *p, Job *job, void (*fn)(Job *job));
void pool_load(Pool *p, uint64_t *waiting, uint64_t *running);
/** Drop what waits, let what runs reach its next check of the deadline, end the threads, deliver
 * what is for the loop. Loop's thread. */
void pool_stop(Pool *p);
/** The same for a pool in which nothing waits or runs, while others go on. */
void pool_retire(Pool *p);
void pool_free(Pool *p); /* after pool_stop; NULL is fine */

#endif
