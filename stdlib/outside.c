/* outside.c - opens and closes what lies beyond the process, in order. */
#include "stdlib/outside.h"

#include "core/mem.h"
#include "stdlib/cache/cache.h"
#include "stdlib/http/client.h"
#include "stdlib/lambda/lambda.h"
#include "stdlib/postgres/postgres.h"
#include "stdlib/storage/store.h"

Outside *outside_new(const OutsideOptions *opt, xs_error *err)
{
    Outside *o = mem_zalloc(1, sizeof *o);
    if (!o) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    o->opt = *opt;
    o->io = io_new(err);
    const HttpClientOptions http = {opt->http_allow_private, opt->http_max_bytes};
    const LambdaOptions lambda = {opt->lambda_node, opt->lambda_processes, opt->lambda_memory_mb};
    const PostgresOptions postgres = {opt->http_allow_private, opt->http_max_bytes,
                                      opt->postgres_connections, opt->postgres_timeout_ms};
    bool ok = o->io && (o->lambda = lambda_new(o->io, &lambda, err)) &&
              (o->http = http_client_new(o->io, &http, err)) &&
              (o->postgres = postgres_new(o->io, &postgres, err)) &&
              (o->cache = cache_new(opt->cache_bytes, err)) &&
              (o->store = vault_new(opt->storage_dir, err)) &&
              (!opt->redis_url.len || (o->redis = redis_new(o->io, opt->redis_url, err)));
    if (ok)
        return o;
    outside_free(o);
    return NULL;
}

void outside_stop(Outside *o)
{
    if (o && o->io)
        io_stop(o->io);
}

bool outside_forget(Outside *o, xs_error *err)
{
    if (!cache_bytes(o->cache))
        return true;
    Cache *fresh = cache_new(o->opt.cache_bytes, err);
    if (!fresh)
        return false;
    cache_free(o->cache);
    o->cache = fresh;
    return true;
}

void outside_free(Outside *o)
{
    if (!o)
        return;
    io_free(o->io);
    lambda_free(o->lambda);
    http_client_free(o->http);
    postgres_free(o->postgres);
    redis_free(o->redis);
    vault_free(o->store);
    cache_free(o->cache);
    mem_free(o);
}

Outside *call_outside(Call *c)
{
    Outside *o = c->services ? c->services->outside : NULL;
    if (!o)
        call_fail(c, XS_E_UNSUPPORTED, "%s: there is no outside world here", c->name);
    return o;
}
