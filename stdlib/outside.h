/* outside.h - what natives reach beyond the process: one per server or run, shared by its workers.
 * Thread: any. */
#ifndef STDLIB_OUTSIDE_H
#define STDLIB_OUTSIDE_H

#include "stdlib/io.h"

typedef struct OutsideOptions {
    size_t cache_bytes;      /* of the cache in this process */
    Text redis_url;          /* len 0 = that cache */
    bool http_allow_private; /* for PostgreSQL servers as well */
    size_t http_max_bytes;   /* of one response */
    uint32_t postgres_connections;
    int64_t postgres_timeout_ms;
    Text storage_dir; /* len 0 = a passing folder */
    Text smtp_url;    /* len 0 = no mail */
    Text smtp_from;   /* sender of mails that name none */
    Text lambda_node; /* program of Node.js */
    uint32_t lambda_processes, lambda_memory_mb;
} OutsideOptions;

typedef struct Outside {
    OutsideOptions opt;
    Io *io;
    struct Cache *cache;
    struct Redis *redis; /* NULL = cache */
    struct HttpClient *http;
    struct Postgres *postgres;
    struct Vault *store;
    struct Lambda *lambda;
} Outside;

/** opt is copied; its texts must outlive it. Errors: XS_E_NOMEM, XS_E_IO. */
XS_MUST_CHECK Outside *outside_new(const OutsideOptions *opt, xs_error *err);
/** Everything that waits ends now, later waits at once. More than once is fine. */
void outside_stop(Outside *o);
/** Empty the cache of this process. Only while nothing runs. Errors: XS_E_NOMEM. */
XS_MUST_CHECK bool outside_forget(Outside *o, xs_error *err);
/** No fiber may use it any more. NULL is fine. */
void outside_free(Outside *o);

/** The caller's; NULL with XS_E_UNSUPPORTED where there is none. */
Outside *call_outside(Call *c);

#endif
