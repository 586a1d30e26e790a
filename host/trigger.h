/* trigger.h - realtime triggers: which of them a client action fires, and their run on the workers.
 * Immutable after new; the dispatcher may be called from any thread. Specification: realtime.md §5.
 */
#ifndef HOST_TRIGGER_H
#define HOST_TRIGGER_H

#include "host/worker.h"

typedef struct Triggers Triggers;

/** Reads "triggers" of the bundle metadata. Errors: XS_E_BAD_BUNDLE, XS_E_NOMEM. */
XS_MUST_CHECK Triggers *triggers_new(const Program *program, xs_error *err);
void triggers_free(Triggers *t);
/** Set before the first run; NULL stops accepting: run answers overload. */
void triggers_set_pool(Triggers *t, Pool *pool);
HubDispatcher triggers_dispatcher(Triggers *t);

/**
 * $input of a seed-form trigger. data: for a message its data, for a join its payload, else NULL.
 * NULL = memory.
 */
const Const *trigger_seed_input(Arena *a, HubAction action, Text pattern, Text channel,
                                const Const *data);

#endif
