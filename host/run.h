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
} RunOptions;

/**
 * Run a function to its end, waiting for the database in place. Events become log lines on stderr.
 * @param input_json  object; empty = none
 * @param out_json    gets the response
 * @param err_json    gets {"code","message","payload"} when the program raised
 * @return false: err set: XS_E_NOTFOUND (no such function), XS_E_BAD_JSON, what opening the
 * database says, or the program's error (err_json is filled then)
 */
XS_MUST_CHECK bool run_function(Program *program, const RunOptions *opt, Text name, Text input_json,
                                Buf *out_json, Buf *err_json, xs_error *err);

#endif
