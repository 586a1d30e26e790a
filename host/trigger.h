/* trigger.h - realtime triggers: which of them a client action fires, and their run on the workers.
 * Immutable after new; the dispatcher may be called from any thread. Specification: realtime.md §5.
 */
#ifndef HOST_TRIGGER_H
#define HOST_TRIGGER_H

#include "host/handler.h"

typedef struct Triggers Triggers;

/** Reads "triggers" of the bundle metadata. Errors: XS_E_BAD_BUNDLE, XS_E_NOMEM. */
XS_MUST_CHECK Triggers *triggers_new(const Program *program, xs_error *err);
void triggers_free(Triggers *t);
/** Set before the first run. */
void triggers_set_pool(Triggers *t, Pool *pool);

/* The triggers that the hub asks, which may be exchanged while it runs. */
typedef struct TriggerSwitch TriggerSwitch;
TriggerSwitch *trigger_switch_new(void); /* NULL = memory; without triggers */
void trigger_switch_free(TriggerSwitch *s);
/** From here on nobody asks the former ones; jobs that they began still run. NULL = none. */
void trigger_switch_set(TriggerSwitch *s, Triggers *now, Handlers *handlers);
HubDispatcher trigger_switch_dispatcher(TriggerSwitch *s);
L2Dispatcher trigger_switch_l2(TriggerSwitch *s);

/**
 * $input of a seed-form trigger. data: for a message its data, for a join its payload, else NULL.
 * NULL = memory.
 */
const Const *trigger_seed_input(Arena *a, HubAction action, Text pattern, Text channel,
                                const Const *data);

#endif
