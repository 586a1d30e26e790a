/* guard.h - how many requests an address may make in a while. Thread: the loop's. runtime.md §5.6
 */
#ifndef HOST_GUARD_H
#define HOST_GUARD_H

#include "core/base.h"

typedef struct Guard Guard;

/** max requests per address in each window. NULL = out of memory. */
Guard *guard_new(uint32_t max, int64_t window_ms);
void guard_free(Guard *g); /* NULL is fine */
/** Count a request. @return 0 = let it pass, else the seconds until the window ends */
int64_t guard_take(Guard *g, Text address, int64_t now_ms);

#endif
