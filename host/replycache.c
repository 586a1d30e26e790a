/* replycache.c - a reply is one JSON text. */
#include "host/replycache.h"

#include "core/json.h"
#include "core/text.h"
#include "stdlib/cache/clause.h"

static Text env_text(void *env, Text name)
{
    return env_find(env, name);
}

Text replycache_key(Arena *a, const ServiceEnv *env, const Route *route, const RunContext *run,
                    const Const *input)
{
    Buf b = BUF_INIT;
    CacheSubject s = {.clause = const_get(route->meta, "cache"),
                      .kind = TEXT("reply"),
                      .run = run,
                      .env = env_text,
                      .ctx = (void *)(uintptr_t)env->env};
    if (!cache_clause_ttl(s.clause) || !env->outside || !env->outside->cache)
        return (Text){0};
    json_write_const(&b, input);
    s.input = buf_view(&b);
    s.name = arena_printf(a, TEXT_FMT " " TEXT_FMT "/" TEXT_FMT, TEXT_ARG(route->verb),
                          TEXT_ARG(route->group), TEXT_ARG(route->name));
    Text key = b.failed || !s.name.ptr ? (Text){0} : cache_clause_key(a, &s);
    buf_deinit(&b);
    return key;
}

bool replycache_get(Arena *a, const ServiceEnv *env, Text key, CachedReply *out)
{
    const CacheReq req = {.op = CACHE_GET, .key = key};
    Buf b = BUF_INIT;
    xs_error err;
    const Const *kept = NULL;
    if (cache_run(env->outside->cache, &req, cache_clock_ms(), &b, &err) && !b.failed)
        kept = json_parse(a, arena_text(a, buf_view(&b)), NULL);
    buf_deinit(&b);
    if (!kept || kept->kind != C_MAP)
        return false;
    const Const *headers = const_get(kept, "headers");
    *out = (CachedReply){.status = (int)const_int_of(const_get(kept, "status"), 200),
                         .headers = headers && headers->count ? headers : NULL,
                         .body = const_text_of(const_get(kept, "body"), (Text){"", 0}),
                         .raw = const_bool_of(const_get(kept, "raw"), false)};
    return true;
}

void replycache_put(const ServiceEnv *env, const Route *route, Text key, const CachedReply *reply)
{
    Buf b = BUF_INIT, none = BUF_INIT;
    xs_error err;
    buf_printf(&b, "{\"status\":%d,\"raw\":%s,\"headers\":", reply->status,
               reply->raw ? "true" : "false");
    json_write_const(&b, reply->headers ? reply->headers : &const_null);
    buf_cstr(&b, ",\"body\":");
    json_write_text(&b, reply->body);
    buf_char(&b, '}');
    const CacheReq req = {.op = CACHE_SET,
                          .key = key,
                          .value = buf_view(&b),
                          .ttl_ms = cache_clause_ttl(const_get(route->meta, "cache"))};
    if (!b.failed)
        (void)!cache_run(env->outside->cache, &req, cache_clock_ms(), &none, &err);
    buf_deinit(&b);
    buf_deinit(&none);
}
