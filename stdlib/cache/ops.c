/* ops.c - redis.* statements: clauses to a request for the cache of this process or the Redis
 * server. Keys of a datasource other than the default one have its name in front. Specification:
 * runtime.md §4.4. */
#include <time.h>

#include "core/text.h"
#include "stdlib/cache/cache.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/outside.h"

int64_t cache_clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

typedef struct Args {
    CacheReq req;
    Buf key, value;
} Args;

/* The key's bytes: the namespace, then what the program says. */
static bool read_key(Call *c, Args *a, bool whole)
{
    Text key = TEXT(""), space = c->run ? c->run->datasource : (Text){0};
    if (whole && !call_text(c, 0, &key))
        return false;
    if (space.len && !text_eq(space, TEXT("live"))) {
        buf_text(&a->key, space);
        buf_char(&a->key, '\x1f');
    }
    buf_text(&a->key, key);
    a->req.key = buf_view(&a->key);
    return !a->key.failed || call_fail(c, XS_E_NOMEM, NULL);
}

static bool read_value(Call *c, Args *a, uint32_t i)
{
    Value v;
    if (!flt_value(c, i, &v) || !value_json(v, &a->value, c->err))
        return false;
    a->req.value = buf_view(&a->value);
    return !a->value.failed || call_fail(c, XS_E_NOMEM, NULL);
}

static bool read_ttl(Call *c, Args *a, uint32_t i)
{
    Value n = val_int(0);
    if (call_has(c, i) && !call_number(c, i, &n))
        return false;
    double ms = val_as_double(n) * 1000;
    a->req.ttl_ms = ms <= 0 ? 0 : ms < 1 ? 1 : ms < 9e15 ? (int64_t)ms : (int64_t)9e15;
    return true;
}

bool cache_admit(const CacheReq *req, Value result, xs_error *err)
{
    bool full = req->op == CACHE_LIMIT && req->value.len && result.kind == V_BOOL && !result.b;
    return !full || xs_fail(err, XS_E_TOOMANYREQUESTS, XS_NO_POS, TEXT_FMT,
                            TEXT_ARG(text_slice(req->value, 0, 200)));
}

/* Takes the buffers. ok false: an argument was refused. */
static NativeResult run(Call *c, Args *a, bool ok)
{
    Outside *o = ok ? call_outside(c) : NULL;
    NativeResult result = NATIVE_ERROR;
    if (o && o->redis) {
        result = redis_run(c, o->redis, &a->req);
    } else if (o) {
        Buf out = BUF_INIT;
        if (cache_run(o->cache, &a->req, cache_clock_ms(), &out, c->err) &&
            call_return(c, val_parse_json(c->heap, buf_view(&out), c->err)) &&
            cache_admit(&a->req, c->ret, c->err))
            result = NATIVE_OK;
        buf_deinit(&out);
    }
    buf_deinit(&a->key);
    buf_deinit(&a->value);
    return result;
}

static NativeResult by_key(Call *c, CacheOp op)
{
    Args a = {.req.op = op};
    bool ok = read_key(c, &a, true);
    return run(c, &a, ok);
}

NativeResult op_redis_get(Call *c)
{
    return by_key(c, CACHE_GET);
}

NativeResult op_redis_has(Call *c)
{
    return by_key(c, CACHE_HAS);
}

NativeResult op_redis_count(Call *c)
{
    return by_key(c, CACHE_COUNT);
}

NativeResult op_redis_del(Call *c)
{
    return by_key(c, CACHE_DEL);
}

NativeResult op_redis_set(Call *c)
{
    Args a = {.req = {.op = CACHE_SET, .flag = call_bool(c, 3, false)}};
    bool ok = read_key(c, &a, true) && read_value(c, &a, 1) && read_ttl(c, &a, 2);
    return run(c, &a, ok);
}

static NativeResult add(Call *c, bool minus)
{
    Args a = {.req = {.op = CACHE_ADD, .n = 1}};
    bool ok = read_key(c, &a, true) && call_int_opt(c, 1, &a.req.n);
    if (minus)
        a.req.n = a.req.n == INT64_MIN ? INT64_MAX : -a.req.n;
    return run(c, &a, ok);
}

NativeResult op_redis_incr(Call *c)
{
    return add(c, false);
}

NativeResult op_redis_decr(Call *c)
{
    return add(c, true);
}

NativeResult op_redis_keys(Call *c)
{
    Args a = {.req.op = CACHE_KEYS};
    Text search = TEXT("*");
    bool ok = read_key(c, &a, false) && call_text(c, 0, &search);
    a.req.value = search;
    return run(c, &a, ok);
}

static NativeResult push(Call *c, CacheOp op)
{
    Args a = {.req.op = op};
    bool ok = read_key(c, &a, true) && read_value(c, &a, 1);
    return run(c, &a, ok);
}

NativeResult op_redis_push(Call *c)
{
    return push(c, CACHE_PUSH);
}

NativeResult op_redis_unshift(Call *c)
{
    return push(c, CACHE_UNSHIFT);
}

static NativeResult take(Call *c, CacheOp op)
{
    Args a = {.req = {.op = op, .flag = call_has(c, 1)}};
    bool ok = read_key(c, &a, true) && call_int_opt(c, 1, &a.req.n);
    if (ok && a.req.n < 0)
        ok = call_bad_arg(c, 1);
    return run(c, &a, ok);
}

NativeResult op_redis_pop(Call *c)
{
    return take(c, CACHE_POP);
}

NativeResult op_redis_shift(Call *c)
{
    return take(c, CACHE_SHIFT);
}

NativeResult op_redis_range(Call *c)
{
    Args a = {.req = {.op = CACHE_RANGE, .m = -1}};
    bool ok = read_key(c, &a, true) && call_int_opt(c, 1, &a.req.n) && call_int_opt(c, 2, &a.req.m);
    return run(c, &a, ok);
}

NativeResult op_redis_remove(Call *c)
{
    Args a = {.req.op = CACHE_REMOVE};
    bool ok = read_key(c, &a, true) && read_value(c, &a, 1) && call_int_opt(c, 2, &a.req.n);
    return run(c, &a, ok);
}

NativeResult op_redis_ratelimit(Call *c)
{
    Args a = {.req = {.op = CACHE_LIMIT, .m = 5}};
    bool ok = read_key(c, &a, true) && call_int_opt(c, 1, &a.req.m) && read_ttl(c, &a, 2) &&
              call_text_opt(c, 3, &a.req.value);
    return run(c, &a, ok);
}
