/* handler.h - stacks of realtime servers on the workers: message handlers with their middleware,
 * gates, observers and deliver triggers. Immutable after new; handlers_run may be called from any
 * thread. Specification: realtime.md §4.5, §5.4-5.6. */
#ifndef HOST_HANDLER_H
#define HOST_HANDLER_H

#include "host/worker.h"

typedef struct Handlers Handlers;

/** Errors: XS_E_BAD_BUNDLE (unknown middleware, no such procedure), XS_E_NOMEM. */
XS_MUST_CHECK Handlers *handlers_new(const Program *program, xs_error *err);
void handlers_free(Handlers *h);
/** Set before the first run. */
void handlers_set_pool(Handlers *h, Pool *pool);
/** As L2Dispatcher.run. What runs is looked up by its names in this program. */
XS_MUST_CHECK bool handlers_run(Handlers *h, L2Job *job);

/** What a program sees of the client it runs for. request may be NULL. */
void client_context(RunContext *run, const Identity *who, Text channel, const Space *space,
                    const xs_request *request);
/** A row id as in the inputs of triggers: text; on the wire it is a JSON value. NULL = memory. */
const Const *client_row_id(Arena *a, Text json);

#endif
