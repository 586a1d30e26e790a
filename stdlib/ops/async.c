/* async.c - detached invocations: function.run with a runtime_mode, await, util.post_process.
 * runtime.md §1.8. */
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/outside.h"

enum { RETRIES_MAX = 100, SECONDS_MAX = 86400 * 365, AWAIT_MAX = 10000 };

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

static bool unsupported(Call *c)
{
    return call_fail(c, XS_E_UNSUPPORTED, "'%s' is not supported here", c->name);
}

/* Seconds as milliseconds; what is absent stays as it is. */
static bool seconds(Call *c, uint32_t i, int64_t *ms)
{
    Value n;
    if (!call_has(c, i))
        return true;
    if (!call_number(c, i, &n))
        return false;
    double s = val_as_double(n);
    if (!(s > 0) || s > SECONDS_MAX)
        return call_bad_arg(c, i);
    *ms = (int64_t)(s * 1000);
    return true;
}

NativeResult op_function_run_async(Call *c)
{
    const Services *s = c->services;
    SpawnReq req = {.proc = (uint32_t)const_int_of(const_get(c->site, "proc"), UINT32_MAX)};
    int64_t retries = 0;
    char id[37];
    if (!s || !s->spawn || req.proc == UINT32_MAX)
        return result_of(unsupported(c));
    if (!seconds(c, 1, &req.timeout_ms) || !call_int_opt(c, 2, &retries))
        return NATIVE_ERROR;
    if (retries < 0 || retries > RETRIES_MAX)
        return result_of(call_bad_arg(c, 2));
    req.retries = (uint32_t)retries;
    req.input = val_is_null(call_arg(c, 0)) ? val_null() : call_arg(c, 0);
    return result_of(s->spawn(s->ctx, c->fiber, &req, id, c->err) &&
                     call_return_text(c, text_from(id)));
}

/* ---- await ---- */

typedef struct Await {
    Wait wait;
    AsyncWatch watch;
    const Services *services;
    bool single;
    Arena arena;
} Await;

static Await *await_of(AsyncWatch *w)
{
    return (Await *)((char *)w - offsetof(Await, watch));
}

static void on_ready(AsyncWatch *w)
{
    wait_signal(&await_of(w)->wait);
}

static void await_start(Wait *w)
{
    Await *a = (Await *)w;
    if (!a->services->async_watch(a->services->ctx, &a->watch))
        wait_done(w);
}

static void await_cancel(Wait *w)
{
    Await *a = (Await *)w;
    a->services->async_forget(a->services->ctx, &a->watch);
    wait_done(w);
}

static bool take_one(Await *a, Heap *h, Text id, Value *out, xs_error *err)
{
    Buf json = BUF_INIT;
    bool ok = a->services->async_take(a->services->ctx, id, &json) ||
              xs_fail(err, XS_E_TIMEOUT, XS_NO_POS, "Async timeout");
    *out = ok ? val_parse_json(h, buf_view(&json), err) : val_null();
    buf_deinit(&json);
    return ok && out->kind != V_UNSET;
}

static bool await_result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    Await *a = (Await *)w;
    Value one = val_null(), all;
    (void)thrown;
    if (a->single)
        return take_one(a, h, a->watch.ids[0], out, err);
    all = map_new(h, a->watch.count);
    bool ok = all.kind != V_UNSET || heap_fail(h, err);
    for (uint32_t i = 0; ok && i < a->watch.count; i++) {
        Text id = a->watch.ids[i];
        if (map_find(all.map, id))
            continue; /* named twice */
        ok = take_one(a, h, id, &one, err) && (map_set_text(h, &all, id, one) || heap_fail(h, err));
    }
    if (ok)
        *out = all;
    else
        val_unref(h, all);
    return ok;
}

static void await_free(Wait *w)
{
    Await *a = (Await *)w;
    arena_deinit(&a->arena);
    mem_free(a);
}

static const WaitOps await_ops = {await_start, await_cancel, await_result, await_free};

/* Ids of a list, or one; copied, because the loop reads them while the fiber is parked. */
static bool copy_ids(Call *c, Await *a)
{
    Value v = call_arg(c, 0);
    bool list = v.kind == V_LIST;
    uint32_t n = list ? val_count(v) : 1;
    Text *ids = n <= AWAIT_MAX ? ARENA_ARRAY(&a->arena, Text, n + 1) : NULL;
    if (!ids)
        return n <= AWAIT_MAX ? call_fail(c, XS_E_NOMEM, NULL) : call_bad_arg(c, 0);
    for (uint32_t i = 0; i < n; i++) {
        Value id = list ? list_at(v.list, i) : v;
        if (id.kind != V_TEXT)
            return call_bad_arg(c, 0);
        ids[i] = arena_text(&a->arena, val_text_view(id));
        if (!ids[i].ptr)
            return call_fail(c, XS_E_NOMEM, NULL);
    }
    a->watch = (AsyncWatch){.ids = ids, .count = n, .ready = on_ready};
    return true;
}

NativeResult op_await(Call *c)
{
    const Services *s = c->services;
    int64_t timeout_ms = INT64_MAX;
    if (!s || !s->async_watch)
        return result_of(unsupported(c));
    Outside *o = call_outside(c);
    if (!o || !seconds(c, 1, &timeout_ms))
        return NATIVE_ERROR;
    Await *a = mem_zalloc(1, sizeof *a);
    if (!a)
        return result_of(call_fail(c, XS_E_NOMEM, NULL));
    arena_init(&a->arena, 0);
    a->wait.ops = &await_ops;
    a->wait.timeout_ms = timeout_ms;
    a->services = s;
    a->single = const_bool_of(const_get(c->site, "single"), false);
    if (copy_ids(c, a))
        return wait_for(c, o->io, &a->wait);
    await_free(&a->wait);
    return NATIVE_ERROR;
}

/* ---- after the reply ---- */

NativeResult op_post_process(Call *c)
{
    const Services *s = c->services;
    int64_t proc = const_int_of(const_get(c->site, "proc"), -1);
    if (!s || proc < 0 || (!s->post_process && !s->spawn))
        return result_of(unsupported(c));
    Value packed = map_new(c->heap, 2);
    bool ok = packed.kind != V_UNSET &&
              map_set_text(c->heap, &packed, TEXT("vars"), val_ref(call_arg(c, 0))) &&
              map_set_text(c->heap, &packed, TEXT("input"), val_ref(call_arg(c, 1)));
    if (!ok) {
        flt_memory(c);
    } else if (s->post_process) {
        ok = s->post_process(s->ctx, (uint32_t)proc, packed, c->err);
    } else {
        char id[37];
        const SpawnReq req = {.proc = (uint32_t)proc, .input = packed};
        ok = s->spawn(s->ctx, c->fiber, &req, id, c->err);
    }
    val_unref(c->heap, packed);
    return result_of(ok);
}
