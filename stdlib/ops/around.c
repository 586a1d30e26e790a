/* around.c - natives of the code around a function with middleware or a cache (frontend/
 * gen_entry.c). Specification: runtime.md §5.1, §6.4. */
#include "core/json.h"
#include "core/text.h"
#include "stdlib/cache/clause.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/outside.h"
#include "vm/stream.h"

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

/* Consumes v. */
static bool add(Call *c, Value *map, const char *key, Value v)
{
    return map_set_text(c->heap, map, text_from(key), v);
}

static NativeResult give(Call *c, Value map, bool ok)
{
    if (ok)
        return result_of(call_return(c, map));
    val_unref(c->heap, map);
    return result_of(flt_memory(c));
}

static Value member(Value map, const char *key)
{
    const Value *v = map.kind == V_MAP ? map_find(map.map, text_from(key)) : NULL;
    return v ? *v : val_null();
}

static Text text_of(Value v)
{
    return v.kind == V_TEXT ? val_text_view(v) : TEXT("");
}

/* An argument as one more owner; what is not there is null. */
static Value given(Call *c, uint32_t i)
{
    Value v = call_arg(c, i);
    return v.kind == V_UNSET ? val_null() : val_ref(v);
}

NativeResult op_function_input(Call *c)
{
    const Const *names = const_get(c->site, "names");
    Value map = map_new(c->heap, c->nargs);
    bool ok = map.kind != V_UNSET;
    for (uint32_t i = 0; ok && i < c->nargs && i < names->count; i++)
        if (c->args[i].kind != V_UNSET)
            ok = map_set_text(c->heap, &map, names->items[i]->text, val_ref(c->args[i]));
    return give(c, map, ok);
}

/* ---- results that are kept ---- */

static Cache *store_of(Call *c)
{
    return c->services && c->services->outside ? c->services->outside->cache : NULL;
}

NativeResult op_function_cache_key(Call *c)
{
    CacheSubject s = {.clause = const_get(c->site, "cache"),
                      .kind = TEXT("function"),
                      .name = const_get_text(c->site, "name"),
                      .source = c->fiber ? fiber_source(c->fiber) : 0,
                      .run = c->run,
                      .env = c->services ? c->services->env : NULL,
                      .ctx = c->services ? c->services->ctx : NULL};
    Buf input = BUF_INIT;
    Arena a;
    if (!store_of(c))
        return NATIVE_OK; /* nothing is kept here */
    arena_init(&a, 0);
    bool ok = value_json(call_arg(c, 0), &input, c->err);
    s.input = buf_view(&input);
    Text key = ok ? cache_clause_key(&a, &s) : (Text){0};
    ok = ok && (key.ptr && !input.failed ? call_return_text(c, key) : flt_memory(c));
    buf_deinit(&input);
    arena_deinit(&a);
    return result_of(ok);
}

NativeResult op_function_cache_find(Call *c)
{
    CacheReq req = {.op = CACHE_GET, .key = text_of(call_arg(c, 0))};
    Cache *store = store_of(c);
    Buf kept = BUF_INIT;
    xs_error ignored;
    bool ok = true;
    if (store && req.key.len && cache_run(store, &req, cache_clock_ms(), &kept, &ignored) &&
        !kept.failed && kept.len && kept.ptr[0] == '[')
        ok = call_return(c, val_parse_json(c->heap, buf_view(&kept), c->err));
    buf_deinit(&kept);
    return result_of(ok);
}

/* A result that JSON cannot hold, that is too large or that can be read once is not kept. */
NativeResult op_function_cache_keep(Call *c)
{
    Value v = call_arg(c, 1);
    Cache *store = store_of(c);
    Buf list = BUF_INIT, out = BUF_INIT;
    xs_error ignored;
    CacheReq req = {.op = CACHE_SET,
                    .key = text_of(call_arg(c, 0)),
                    .ttl_ms = cache_clause_ttl(const_get(c->site, "cache"))};
    buf_char(&list, '[');
    bool ok = store && req.key.len && !val_is_stream(v) && value_json(v, &list, &ignored);
    buf_char(&list, ']');
    req.value = buf_view(&list);
    if (ok && !list.failed)
        (void)!cache_run(store, &req, cache_clock_ms(), &out, &ignored);
    buf_deinit(&list);
    buf_deinit(&out);
    return NATIVE_OK;
}

/* ---- middleware ---- */

/* The error_type whose wire code it is; XS_E_THROWN for a name the program chose. */
static xs_code code_of(Text wire)
{
    for (int code = XS_E_STANDARD; code <= XS_E_TOOMANYREQUESTS; code++)
        if (text_eq(wire, text_from(xs_code_get((xs_code)code)->wire)))
            return (xs_code)code;
    return XS_E_THROWN;
}

/* Consumes the result. */
static Value outcome(Call *c, Value result, bool failed)
{
    int status = failed ? xs_code_get(code_of(text_of(member(result, "code"))))->status : 200;
    Value vars = map_new(c->heap, 3);
    bool ok = vars.kind != V_UNSET && add(c, &vars, "status", val_int(status)) &&
              add(c, &vars, "result", val_ref(result)) &&
              (!failed || add(c, &vars, "payload", val_ref(member(result, "payload"))));
    val_unref(c->heap, result);
    if (ok)
        return vars;
    val_unref(c->heap, vars);
    return val_unset();
}

NativeResult op_middleware_input(Call *c)
{
    Text type = const_get_text(c->site, "type");
    Value vars = given(c, 0), map = map_new(c->heap, 2);
    if (text_eq(type, TEXT("post")))
        vars = outcome(c, vars, call_bool(c, 1, false));
    bool ok = map.kind != V_UNSET && vars.kind != V_UNSET &&
              add(c, &map, "type", text_new(c->heap, type)) && add(c, &map, "vars", val_ref(vars));
    val_unref(c->heap, vars);
    return give(c, map, ok);
}

NativeResult op_middleware_take(Call *c)
{
    Value made = call_arg(c, 1);
    if (made.kind <= V_NULL)
        return result_of(call_return(c, given(c, 0)));
    if (const_bool_of(const_get(c->site, "replace"), false))
        return result_of(call_return(c, val_ref(made)));
    Value map = given(c, 0);
    bool ok = true;
    uint32_t at = 0;
    const MapEntry *e = NULL;
    while (ok && map.kind == V_MAP && made.kind == V_MAP && (e = map_walk(made.map, &at)))
        ok = map_set(c->heap, &map, val_ref(val_obj(V_TEXT, e->key)), val_ref(e->value));
    return give(c, map, ok); /* only objects merge */
}

/* {code, name, message, result} to {code, message, payload}. */
NativeResult op_middleware_error(Call *c)
{
    Value error = call_arg(c, 0), message = member(error, "message"),
          payload = member(error, "result");
    bool none = payload.kind == V_NULL ||
                (payload.kind == V_TEXT && text_eq(text_of(payload), text_of(message)));
    Value map = map_new(c->heap, 3);
    bool ok = map.kind != V_UNSET && add(c, &map, "code", val_ref(member(error, "code"))) &&
              add(c, &map, "message", val_ref(message)) &&
              add(c, &map, "payload", none ? text_new(c->heap, TEXT("")) : val_ref(payload));
    return give(c, map, ok);
}

NativeResult op_middleware_silent(Call *c)
{
    Buf line = BUF_INIT;
    if (!c->services || !c->services->log)
        return NATIVE_OK;
    buf_cstr(&line, "{\"middleware\":");
    json_write_text(&line, const_get_text(c->site, "name"));
    buf_cstr(&line, ",\"error\":");
    json_write_text(&line, text_of(member(call_arg(c, 0), "message")));
    buf_char(&line, '}');
    if (!line.failed)
        c->services->log(c->services->ctx, c->fiber, buf_view(&line));
    buf_deinit(&line);
    return NATIVE_OK;
}

NativeResult op_middleware_raise(Call *c)
{
    Value error = call_arg(c, 0), payload = member(error, "payload");
    Text code = text_of(member(error, "code"));
    if (code_of(code) == XS_E_THROWN)
        return result_of(call_return_text(c, code.len ? code : TEXT("error")));
    if (payload.kind != V_NULL && !(payload.kind == V_TEXT && !payload.text->len))
        c->thrown = val_ref(payload);
    (void)call_fail(c, code_of(code), TEXT_FMT, TEXT_ARG(text_of(member(error, "message"))));
    return NATIVE_ERROR;
}
