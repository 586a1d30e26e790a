/* testrun_i.h - one thread of a test run, for testrun.c and testcall.c. */
#ifndef HOST_TESTRUN_I_H
#define HOST_TESTRUN_I_H

#include <pthread.h>

#include "core/vec.h"
#include "host/query.h"
#include "host/tabletrigger.h"
#include "host/testrun.h"
#include "stdlib/db/db.h"

typedef struct TestImage {
    char *bytes;
    size_t len;
    Text source; /* name of the data source it is a copy of */
    struct TestImage *next;
} TestImage;

typedef struct TestWorker {
    ServiceCtx base; /* first: what service.c makes of Services.ctx */
    ServiceEnv service;
    TestRun *run;
    pthread_t thread;
    bool started;
    DbPool *pool; /* NULL = the program has no tables */
    Db *db;
    TableTriggers *triggers;
    Pool *calls;            /* of query_call */
    const TestImage *holds; /* what the database was last set to */
    DbStats clean;          /* when the database was last as it should be */
    Services services;
    uint8_t **hits; /* per procedure and row of its line table; NULL = no coverage */

    /* of the test in work */
    const TestCase *test;
    Text running;   /* its name, or that of a workflow_test it calls */
    int64_t target; /* procedure it tests, -1 = none */
    int64_t now_ms;
    uint64_t random;
    Arena arena;
    VEC(PublishReq) events;
    Buf log;
    RunContext context;
    uint32_t depth; /* calls of calls */
    xs_error err;   /* why the thread gave up */
} TestWorker;

struct TestRun {
    Program *program;
    const TestRunOptions *opt;
    TestCase *cases;
    TestResult *results;
    size_t count;
    EnvVars *env;
    Auth *auth;
    Router *router;
    Metrics metrics;
    Log quiet;
    Config config;     /* the given one, without a database file */
    TestImage fresh;   /* the database as every test finds it */
    TestImage *copies; /* of data sources, made when a test wants one; under their lock */
    pthread_mutex_t copies_lock;
    pthread_mutex_t lock; /* next, stop, arena, and the results */
    size_t next;
    bool stop;
    Arena arena; /* texts of results */
    uint8_t **hits;
};

/** A fiber of the test in work; traced with coverage. NULL: memory. */
Fiber *test_fiber(TestWorker *w, const RunContext *context);
/** TraceFn that counts coverage; ctx is the worker. */
void test_on_step(void *ctx, uint32_t proc, uint32_t pc, uint32_t depth);
/** TestServices.settle: run what table triggers wait for. */
void test_settle(void *ctx);
/** TestServices.call. */
int test_call(void *ctx, Call *c);

#endif
