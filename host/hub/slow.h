/* slow.h - what becomes of a client that reads slower than a channel speaks: realtime.slow_policy.
 * Immutable, any thread. Specification: realtime.md §10.1. */
#ifndef HOST_HUB_SLOW_H
#define HOST_HUB_SLOW_H

#include "core/text.h"
#include "include/xs/error.h"

typedef struct SlowRule {
    Text pattern; /* of the option's text */
    uint32_t flag;
} SlowRule;

typedef struct SlowRules {
    SlowRule *items;
    size_t count;
} SlowRules;

/**
 * Read "CHANNEL=POLICY,..."; borrows the text. Errors: XS_E_CONFIG (a name or a policy that does
 * not exist), XS_E_NOMEM.
 */
XS_MUST_CHECK bool slow_rules_init(SlowRules *r, Text text, xs_error *err);
void slow_rules_deinit(SlowRules *r);
/** XS_FRAME_DROP_OLDEST, _CONFLATE or _PAUSE of the first rule that matches; 0 = close. */
uint32_t slow_rules_flag(const SlowRules *r, Text channel);

#endif
