/* query.h - HTTP queries of the program: route, CORS, job, reply. Thread: the loop's. runtime.md
 * §1.2, §5. */
#ifndef HOST_QUERY_H
#define HOST_QUERY_H

#include "host/guard.h"
#include "host/history.h"
#include "host/http.h"
#include "host/router.h"
#include "host/worker.h"

typedef struct QueryService {
    const Router *router;
    Pool *pool;
    Space *space;                    /* where events of queries go */
    Guard *guard;                    /* NULL = no limit */
    History *history;                /* NULL = nothing is recorded */
    bool describe;                   /* answer openapi.json and the page of groups */
    uint64_t request_seed, requests; /* of request ids */
} QueryService;

/** Answer x when its path is under /api:, now or later; false = another path, x untouched. */
bool query_handle(QueryService *q, xs_http *x);

/* A request without HTTP. All borrowed. */
typedef struct QueryCall {
    Text verb, canonical;
    Text path;                /* name of the query, or a path, also with ?a=b */
    const Const *input;       /* map; NULL = none */
    const Const *headers;     /* Title-Case object; NULL = none */
    Text token;               /* bearer token; ptr NULL = none */
    Text datasource;          /* $env.$datasource */
    const Services *services; /* of the program while it runs */
    TraceFn trace;            /* as fiber_set_trace */
    void *trace_ctx;
} QueryCall;

/**
 * Run a query and its middleware in place.
 * @param pool  of pool_new_in_place
 * @param body  the reply is appended: JSON, or text when *raw
 * @return the status
 */
int query_call(const Router *r, Pool *pool, const QueryCall *call, Buf *body, bool *raw);

/** Members of `more` over those of `old`, both maps: what a middleware's answer does unless it
 * replaces. false: out of memory. */
XS_MUST_CHECK bool query_merge(Arena *a, const Const *old, const Const *more, const Const **out);

#endif
