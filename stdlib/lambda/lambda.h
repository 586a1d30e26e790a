/* lambda.h - JavaScript of programs: child processes of Node.js on the I/O thread, one request at a
 * time each. A child sees no environment, files of this program or, where the kernel allows it,
 * network; the code runs in a fresh context without any object of Node.js. Too slow a child is
 * killed. Specification: runtime.md §4.3, filters.md §4.14. */
#ifndef STDLIB_LAMBDA_LAMBDA_H
#define STDLIB_LAMBDA_LAMBDA_H

#include "core/buf.h"
#include "stdlib/io.h"

typedef struct Lambda Lambda;

typedef struct LambdaOptions {
    Text node;          /* program; len 0 = none */
    uint32_t processes; /* at most */
    uint32_t memory_mb; /* of one process */
} LambdaOptions;

/** Nothing is started yet. Errors: XS_E_NOMEM. */
XS_MUST_CHECK Lambda *lambda_new(Io *io, const LambdaOptions *opt, xs_error *err);
void lambda_free(Lambda *l); /* after io_free; NULL is fine */

/**
 * Run a request, a JSON object (taken, also on failure): {"mode": "run" "map" "filter" "some"
 * "every" "find" "findIndex" "reduce", "code", "ms", "this"?, "list"?, "result"?, "var", "input",
 * "auth", "env"}. Errors: XS_E_STANDARD (what the code threw), XS_E_UNSUPPORTED (no Node.js),
 * XS_E_DEADLINE, XS_E_MEMORY (the process died).
 */
NativeResult lambda_run(Call *c, Lambda *l, Buf *request, int64_t timeout_ms);

#endif
