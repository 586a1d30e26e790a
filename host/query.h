/* query.h - HTTP queries of the program: route, CORS, job, reply. Thread: the loop's. runtime.md
 * §1.2, §5. */
#ifndef HOST_QUERY_H
#define HOST_QUERY_H

#include "host/guard.h"
#include "host/http.h"
#include "host/router.h"
#include "host/worker.h"

typedef struct QueryService {
    const Router *router;
    Pool *pool;
    Space *space;                    /* where events of queries go */
    Guard *guard;                    /* NULL = no limit */
    uint64_t request_seed, requests; /* of request ids */
} QueryService;

/** Answer x when its path is under /api:, now or later; false = another path, x untouched. */
bool query_handle(QueryService *q, xs_http *x);

#endif
