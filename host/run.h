/* run.h - call one function of a program without a server. */
#ifndef HOST_RUN_H
#define HOST_RUN_H

#include "host/config.h"
#include "host/service.h"
#include "vm/vm.h"

typedef struct RunOptions {
    const Config *config; /* db is used only when it was set: the default is :memory: */
    CompileExprFn compile_expr;
    char *const *env;
    const Const *auth; /* $auth; NULL = none */
    TraceFn trace;     /* told of every instruction; may be NULL */
    void *trace_ctx;
} RunOptions;

/**
 * Run a function to its end, waiting for the database in place. Events become log lines on stderr.
 * @param input     a map; NULL = none
 * @param out_json  gets the response
 * @param err_json  gets {"code","message","payload"} when the program raised
 * @return false: err set: XS_E_NOTFOUND (no such function), what opening the database
 * says, or the program's error (err_json is filled then)
 */
XS_MUST_CHECK bool run_function(Program *program, const RunOptions *opt, Text name,
                                const Const *input, Buf *out_json, Buf *err_json, xs_error *err);

/** Run a task now, without its middleware; within option task_timeout_ms. As run_function. */
XS_MUST_CHECK bool run_task(Program *program, const RunOptions *opt, Text name, Buf *err_json,
                            xs_error *err);

typedef struct RunTimes {
    double boot_s, pre_s, main_s, post_s, total_s;
} RunTimes;

/**
 * Run a job: its pre, stack, main and post, one after the other on one database, without a
 * deadline.
 * @param job       row of "jobs" of the bundle's metadata
 * @param input     a map instead of the input of main; NULL = that
 * @param out_json  gets what main gives, or {name: value} when a part has `as`
 * @return as run_function; also XS_E_CONFIG: an environment value of the job's list is not set
 */
XS_MUST_CHECK bool run_job(Program *program, const RunOptions *opt, const Const *job,
                           const Const *input, RunTimes *times, Buf *out_json, Buf *err_json,
                           xs_error *err);

#endif
