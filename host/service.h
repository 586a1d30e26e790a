/* service.h - the Services of the host: clock, random, log, publish, environment, tokens, reply
 * headers. ServiceEnv is shared and constant while programs run; a ServiceCtx belongs to one call.
 */
#ifndef HOST_SERVICE_H
#define HOST_SERVICE_H

#include <stdatomic.h>

#include "host/auth.h"
#include "host/log.h"
#include "stdlib/db/db.h"
#include "stdlib/outside.h"
#include "vm/services.h"

/* Variables of $env: the process environment over an env file. Constant after, any thread. */
typedef struct EnvVars EnvVars;
/** required: a missing file is an error. env: environment, NULL-terminated. Errors: XS_E_IO,
 * XS_E_CONFIG (line). */
XS_MUST_CHECK EnvVars *env_new(const char *file, bool required, char *const *env, xs_error *err);
void env_free(EnvVars *e);
Text env_find(const EnvVars *e, Text name); /* ptr NULL = not set */

typedef bool (*CompileExprFn)(void *ctx, Arena *a, Text source, bool scoped, void *bundle_image_out,
                              xs_error *err);

typedef struct ServiceEnv {
    const Log *log;
    const Auth *auth;
    const EnvVars *env;
    Hub *hub;                   /* NULL: events become log lines */
    CompileExprFn compile_expr; /* NULL = unsupported */
    Outside *outside;           /* NULL = natives reach nothing */
    struct Detached *detached;  /* NULL = nothing can be detached */
    struct Pool *pool;          /* of detached invocations; NULL = they run in place */
    _Atomic bool expired;       /* stop: every deadline has passed */
} ServiceEnv;

/* The reply a program may shape with util.set_header. */
typedef struct ReplyHeaders {
    Arena *arena;
    int status;     /* 0 = not set */
    Const *headers; /* map name → list of texts; NULL = none */
    /* api.stream: opens the answer on the first piece. NULL = it cannot be streamed. */
    struct OutStream *(*open_stream)(struct ReplyHeaders *r);
    struct OutStream *stream;
    /* util.post_process. NULL = it cannot wait for a reply. */
    bool (*post_process)(struct ReplyHeaders *r, uint32_t proc, const Const *packed);
} ReplyHeaders;

typedef struct ServiceCtx {
    ServiceEnv *env;
    Space *space;        /* where events go */
    ReplyHeaders *reply; /* NULL outside HTTP */
} ServiceCtx;

/** Open what natives reach beyond the process (e->outside), as the options say. passing: of one
 * run, whose stored files go away with it unless storage.dir was set. Free it with outside_free.
 * Errors: XS_E_NOMEM, XS_E_IO, XS_E_CONFIG. */
XS_MUST_CHECK bool service_open_outside(ServiceEnv *e, const Config *c, bool passing,
                                        xs_error *err);
enum { SOURCE_PATH_MAX = 4096 };
/** Walk through option `datasources`, *at from 0: 1 = an entry, 0 = the end, -1 = malformed. */
int sources_next(const Config *c, size_t *at, Text *name, Text *path);
/** Whether a program has tables, or statements that need a database without them. */
bool service_needs_db(const Program *p);
/** Open the databases of option `datasources` beside the first one. Errors: XS_E_CONFIG, as
 * dbpool_open. */
XS_MUST_CHECK bool sources_open(const Config *c, DbPool *db, const Const *tables,
                                const DbOptions *opt, xs_error *err);
/** Fill a Services whose ctx is c. */
void service_fill(Services *s, ServiceCtx *c, Db *db);
/** Copy what run refers to, for an invocation that outlives it. False: memory. */
XS_MUST_CHECK bool run_context_copy(Arena *a, const RunContext *run, RunContext *out);
/** Errors: XS_E_BAD_ARG. Headers that frame the message are ignored. */
XS_MUST_CHECK bool reply_set_header(ReplyHeaders *r, Text line, bool append, xs_error *err);

#endif
