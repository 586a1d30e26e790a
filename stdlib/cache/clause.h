/* clause.h - the cache clause of queries and functions: what tells one result from another, and how
 * long it is kept. Results lie in the store of this process. Thread: any. Language §4.2, runtime.md
 * §5.1. */
#ifndef STDLIB_CACHE_CLAUSE_H
#define STDLIB_CACHE_CLAUSE_H

#include "stdlib/cache/cache.h"

typedef struct CacheSubject {
    const Const *clause;
    Text kind, name; /* "reply" or "function", and of which */
    Text input;      /* as JSON */
    unsigned source; /* chosen by db.set_datasource; 0 = that of run */
    const RunContext *run;
    Text (*env)(void *ctx, Text name); /* ptr NULL = not set */
    void *ctx;
} CacheSubject;

/** In milliseconds; 0 = nothing is kept. */
int64_t cache_clause_ttl(const Const *clause);
/** The key of a result in the store; ptr NULL = memory. */
Text cache_clause_key(Arena *a, const CacheSubject *s);

#endif
