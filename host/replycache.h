/* replycache.h - replies of queries with a cache clause, kept for their ttl in the store of
 * redis.*. Thread: any. runtime.md §5.1. */
#ifndef HOST_REPLYCACHE_H
#define HOST_REPLYCACHE_H

#include "host/router.h"
#include "host/service.h"

/* A reply as it is kept. */
typedef struct CachedReply {
    int status;
    const Const *headers; /* as ReplyHeaders.headers; NULL = none */
    Text body;
    bool raw;
} CachedReply;

/**
 * What tells one reply of the query from another, by its cache clause.
 * @return ptr NULL: the query is not cached (no clause, ttl 0, no store), or no memory
 */
Text replycache_key(Arena *a, const ServiceEnv *env, const Route *route, const RunContext *run,
                    const Const *input);
/** False: not there. Texts live in the arena. */
bool replycache_get(Arena *a, const ServiceEnv *env, Text key, CachedReply *out);
void replycache_put(const ServiceEnv *env, const Route *route, Text key, const CachedReply *reply);

#endif
