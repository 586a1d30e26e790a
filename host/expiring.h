/* expiring.h - keys with one common time to live, oldest dropped first: tickets, nonces,
 * idempotency keys. Thread: one. */
#ifndef HOST_EXPIRING_H
#define HOST_EXPIRING_H

#include "core/base.h"

typedef struct Expiring Expiring;

/** free_value may be NULL. NULL = out of memory. */
Expiring *expiring_new(int64_t ttl_ms, size_t max, void (*free_value)(void *value));
void expiring_free(Expiring *e);
/** Takes value, on failure too. An existing key is an error. now_ms must not run backwards. */
XS_MUST_CHECK bool expiring_put(Expiring *e, Text key, void *value, int64_t now_ms);
void *expiring_get(Expiring *e, Text key, int64_t now_ms);  /* NULL = absent or expired */
void *expiring_take(Expiring *e, Text key, int64_t now_ms); /* to the caller */

#endif
