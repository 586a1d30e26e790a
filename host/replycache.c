/* replycache.c - a key is a digest of what the clause names; a reply is one JSON text. */
#include "host/replycache.h"

#include <sodium.h>
#include <strings.h>

#include "core/json.h"
#include "core/text.h"
#include "stdlib/cache/cache.h"

enum { DIGEST_BYTES = 32 };

/* Language §4.2: what is not said counts as these. */
static bool part(const Const *cache, const char *name, bool otherwise)
{
    return const_bool_of(const_get(cache, name), otherwise);
}

static void add(Buf *b, const char *name, Text value)
{
    buf_cstr(b, name);
    buf_char(b, ' ');
    json_write_text(b, value);
    buf_char(b, '\n');
}

static void add_const(Buf *b, const char *name, const Const *value)
{
    buf_cstr(b, name);
    buf_char(b, ' ');
    json_write_const(b, value ? value : &const_null);
    buf_char(b, '\n');
}

static int64_t ttl_s(const Route *route)
{
    const Const *cache = const_get(route->meta, "cache");
    return cache ? const_int_of(const_get(cache, "ttl"), 3600) : 0;
}

static bool same_name(Text a, Text b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

static const Const *header(const Const *headers, Text name)
{
    for (uint32_t i = 0; headers && i < headers->count; i++)
        if (same_name(headers->pairs[i].key, name))
            return headers->pairs[i].value;
    return NULL;
}

static void describe(Buf *b, const ServiceEnv *env, const Route *route, const RunContext *run,
                     const Const *input)
{
    const Const *cache = const_get(route->meta, "cache"), *headers = const_get(cache, "headers"),
                *vars = const_get(cache, "env");
    add(b, "verb", route->verb);
    add(b, "group", route->group);
    add(b, "name", route->name);
    if (part(cache, "input", true))
        add_const(b, "input", input);
    if (part(cache, "auth", true)) {
        add(b, "table", run->auth_table);
        add_const(b, "auth", run->auth);
    }
    if (part(cache, "datasource", true))
        add(b, "datasource", run->datasource);
    if (part(cache, "ip", false))
        add(b, "ip", run->remote_ip);
    for (uint32_t i = 0; headers && headers->kind == C_LIST && i < headers->count; i++)
        add_const(b, "header",
                  header(run->headers, const_text_of(headers->items[i], (Text){"", 0})));
    for (uint32_t i = 0; vars && vars->kind == C_LIST && i < vars->count; i++)
        add(b, "env", env_find(env->env, const_text_of(vars->items[i], (Text){"", 0})));
}

Text replycache_key(Arena *a, const ServiceEnv *env, const Route *route, const RunContext *run,
                    const Const *input)
{
    unsigned char digest[DIGEST_BYTES];
    char hex[2 * DIGEST_BYTES + 1];
    if (ttl_s(route) <= 0 || !env->outside || !env->outside->cache)
        return (Text){0};
    Buf b = BUF_INIT;
    describe(&b, env, route, run, input);
    bool ok = !b.failed;
    if (ok)
        crypto_generichash(digest, sizeof digest, (const unsigned char *)b.ptr, b.len, NULL, 0);
    buf_deinit(&b);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    return ok ? arena_printf(a, "\x01reply %s", hex) : (Text){0};
}

bool replycache_get(Arena *a, const ServiceEnv *env, Text key, CachedReply *out)
{
    const CacheReq req = {.op = CACHE_GET, .key = key};
    Buf b = BUF_INIT;
    xs_error err;
    const Const *kept = NULL;
    if (cache_run(env->outside->cache, &req, service_now_ms(), &b, &err) && !b.failed)
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
    int64_t ttl = ttl_s(route);
    const CacheReq req = {.op = CACHE_SET,
                          .key = key,
                          .value = buf_view(&b),
                          .ttl_ms = ttl < INT64_MAX / 1000 ? ttl * 1000 : INT64_MAX};
    if (!b.failed)
        (void)!cache_run(env->outside->cache, &req, service_now_ms(), &none, &err);
    buf_deinit(&b);
    buf_deinit(&none);
}
