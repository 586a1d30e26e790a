/* generation.h - one loaded program and everything that runs it: routes, triggers, database,
 * workers. A reload makes a second generation; the first one finishes what it has begun and goes,
 * so no request ever sees code of both. Thread: the loop's, unless said otherwise. */
#ifndef HOST_GENERATION_H
#define HOST_GENERATION_H

#include "host/router.h"
#include "host/schedule.h"
#include "host/tabletrigger.h"
#include "host/trigger.h"
#include "host/worker.h"

typedef struct Generation {
    struct Generation *older; /* replaced by this one and not finished yet */
    Program *program;         /* borrowed */
    Triggers *triggers;
    Handlers *handlers;
    Router *router;
    DbPool *db; /* NULL = the program has no tables */
    TableTriggers *table_triggers;
    ServiceEnv service;
    Pool *pool;
    Schedule *schedule;
} Generation;

typedef struct GenerationOptions {
    const Config *config;
    const Log *log; /* outlives the generation, as everything here */
    Metrics *metrics;
    const ServiceEnv *service; /* template */
    Space *space;
    History *history; /* NULL = nothing is recorded */
} GenerationOptions;

/** Read the program and open its database, which may change tables. Any thread. Errors: of its
 * parts. */
XS_MUST_CHECK Generation *generation_open(const GenerationOptions *opt, Program *program,
                                          xs_error *err);
/** Start the workers. boot: call run.service first. */
XS_MUST_CHECK bool generation_start(Generation *g, const GenerationOptions *opt, bool boot,
                                    struct event_base *base, xs_error *err);
/** Another one takes over: begin no more tasks. */
void generation_replaced(Generation *g);
/** Nothing waits or runs. */
bool generation_idle(const Generation *g);
/** After it was idle, or after pool_stop; NULL is fine. */
void generation_free(Generation *g);

/** Can a program take the place of a running one? false: err says why not. */
XS_MUST_CHECK bool generation_replaces(const Config *config, const Program *next, xs_error *err);

#endif
