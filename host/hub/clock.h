/* clock.h - what happens to connections by time, and how many there may be: tokens end, announced
 * beforehand; one address or identity holds a bounded number. Lock: the hub's, taken inside, unless
 * said otherwise. Specification: realtime.md §10.2, §14. */
#ifndef HOST_HUB_CLOCK_H
#define HOST_HUB_CLOCK_H

#include "host/hub/shard.h"

/** Count a new connection and set its alarm. false: too many (*why says of what) or out of memory.
 * The hub's lock is held; clock_release must follow in either case. */
XS_MUST_CHECK bool clock_admit(xs_conn *c, Text ip, xs_refusal *why);
/** The reverse, and no alarm any more. The hub's lock is held. */
void clock_release(xs_conn *c);
/** Set the alarm anew by c->expires_ms (monotonic, 0 = none). false: out of memory. */
XS_MUST_CHECK bool clock_arm(xs_conn *c);
/** A token's end, epoch ms (0 = never), as c->expires_ms. */
void clock_set_expiry(xs_conn *c, int64_t epoch_ms);

#endif
