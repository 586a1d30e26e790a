/* cache.h - the key-value store of redis.*: one in this process, or a Redis server. Both run the
 * same requests. Values are JSON texts. Specification: runtime.md §4.4. */
#ifndef STDLIB_CACHE_CACHE_H
#define STDLIB_CACHE_CACHE_H

#include "core/buf.h"
#include "stdlib/io.h"

typedef enum CacheOp {
    CACHE_GET,
    CACHE_HAS,
    CACHE_COUNT,
    CACHE_SET,
    CACHE_DEL,
    CACHE_ADD,
    CACHE_KEYS, /* key: prefix of the namespace, value: pattern */
    CACHE_PUSH,
    CACHE_UNSHIFT,
    CACHE_POP,
    CACHE_SHIFT,
    CACHE_RANGE,
    CACHE_REMOVE,
    CACHE_LIMIT
} CacheOp;

typedef struct CacheReq {
    CacheOp op;
    Text key;
    Text value;     /* JSON; CACHE_KEYS: glob */
    int64_t n, m;   /* amount, start and stop, count, max */
    int64_t ttl_ms; /* 0 = none */
    bool flag;      /* SET: create only; POP, SHIFT: a count was given */
} CacheReq;

/* ---- in this process: store.c. Thread: any; one lock ---- */

typedef struct Cache Cache;
/** max_bytes: keys, values and their bookkeeping; the longest unused go first. */
XS_MUST_CHECK Cache *cache_new(size_t max_bytes, xs_error *err);
void cache_free(Cache *c); /* NULL is fine */
/** The clock of every entry of a process; it never goes back. */
int64_t cache_clock_ms(void);
/**
 * Run a request; the result's JSON is appended to out.
 * @param now_ms  cache_clock_ms, or a test's own
 * Errors: XS_E_STANDARD "Wrong key type.", XS_E_NOT_NUMERIC, XS_E_LIMIT (one value larger than the
 * store), XS_E_NOMEM.
 */
XS_MUST_CHECK bool cache_run(Cache *c, const CacheReq *req, int64_t now_ms, Buf *out,
                             xs_error *err);
size_t cache_bytes(Cache *c);
/** CACHE_LIMIT with a text as value: a window that is full raises it. false: err set. */
XS_MUST_CHECK bool cache_admit(const CacheReq *req, Value result, xs_error *err);
/** Glob of * ? [ab] [a-c] [^a] and \ over bytes. */
bool glob_match(Text pattern, Text t);

/* ---- a server: redis.c. One connection on the I/O thread ---- */

typedef struct Redis Redis;
/** @param url redis://[user:password@]host[:port][/number]. Errors: XS_E_CONFIG, XS_E_NOMEM. */
XS_MUST_CHECK Redis *redis_new(Io *io, Text url, xs_error *err);
void redis_free(Redis *r); /* after io_free; NULL is fine */
/** Run a request (copied) for the native. Errors: as cache_run; XS_E_IO when the server cannot be
 * reached or says so. */
NativeResult redis_run(Call *c, Redis *r, const CacheReq *req);

#endif
