/* detached.h - invocations that run beside the one that began them, and what became of them until
 * somebody asks. Thread: any; one lock. runtime.md §1.8. */
#ifndef HOST_DETACHED_H
#define HOST_DETACHED_H

#include "host/service.h"
#include "vm/vm.h"

typedef struct Detached Detached;

XS_MUST_CHECK Detached *detached_new(xs_error *err);
void detached_free(Detached *d); /* NULL is fine */

/** Remember an invocation that begins. Errors: XS_E_OVERLOAD (too many), XS_E_NOMEM. */
XS_MUST_CHECK bool detached_begin(Detached *d, Text id, xs_error *err);
/** It is over with this JSON (taken); a failed buffer counts as null. */
void detached_end(Detached *d, Text id, Buf *json, int64_t now_ms);

/* As in vm/services.h. */
bool detached_watch(Detached *d, AsyncWatch *w);
void detached_forget(Detached *d, AsyncWatch *w);
bool detached_take(Detached *d, Text id, Buf *json);

/** Start it on a worker of env->pool, or, without one, run it here to its end. */
XS_MUST_CHECK bool detached_spawn(ServiceCtx *c, Fiber *parent, const SpawnReq *req, char id[37],
                                  xs_error *err);

#endif
