/* sys.c - values that come from the run: rows of core/lang/sysvars.def and configured environment
 * variables. */
#include "vm/frame.h"

#ifndef XS_VERSION
#define XS_VERSION "0"
#endif

static bool text_or_null(Fiber *f, Text t, Value *out)
{
    *out = t.ptr ? text_new(f->heap, t) : val_null();
    return out->kind != V_UNSET || raise_memory(f);
}

/* A Const of the request as a value, converted at the first read. */
static bool cached(Fiber *f, const Const *c, Value *cache, Value *out)
{
    if (cache->kind == V_UNSET)
        *cache = val_from_const(f->heap, c);
    *out = val_ref(*cache);
    return cache->kind != V_UNSET || raise_memory(f);
}

static Value no_error(Fiber *f)
{
    static const char *const members[] = {"code", "name", "message", "result"};
    Value map = map_new(f->heap, COUNT_OF(members));
    for (size_t i = 0; i < COUNT_OF(members) && map.kind == V_MAP; i++) {
        if (!map_set_text(f->heap, &map, text_from(members[i]), val_null())) {
            val_unref(f->heap, map);
            map = val_unset();
        }
    }
    return map;
}

static bool read_error(Fiber *f, Value *out)
{
    if (f->last_error.kind == V_UNSET)
        f->last_error = no_error(f);
    *out = val_ref(f->last_error);
    return out->kind != V_UNSET || raise_memory(f);
}

static bool read_now(Fiber *f, Value *out)
{
    const Services *s = f->services;
    if (!s || !s->now_ms)
        return raise_code(f, XS_E_UNSUPPORTED);
    *out = val_int(s->now_ms(s->ctx));
    return true;
}

/* $env as a whole: the system values; configured variables are read by name only. */
static bool read_all(Fiber *f, Value *out)
{
    Value map = map_new(f->heap, SYS_COUNT);
    Text prefix = TEXT("$env.");
    for (int which = 0; which < SYS_COUNT && map.kind == V_MAP; which++) {
        Text name = text_from(sys_spelling[which]);
        if (name.len <= prefix.len || memcmp(name.ptr, prefix.ptr, prefix.len) != 0)
            continue;
        Value v;
        name = (Text){name.ptr + prefix.len, name.len - prefix.len};
        if (!sys_read(f, (SysVar)which, &v) || !map_set_text(f->heap, &map, name, v)) {
            val_unref(f->heap, map);
            map = val_unset();
        }
    }
    *out = map;
    return map.kind != V_UNSET || raise_memory(f);
}

bool sys_read(Fiber *f, SysVar which, Value *out)
{
    static const RunContext nowhere = {0};
    const RunContext *run = f->run ? f->run : &nowhere;
    switch (which) {
    case SYS_AUTH: return cached(f, run->auth, &f->auth, out);
    case SYS_ENV: return read_all(f, out);
    case SYS_CHANNEL: return text_or_null(f, run->channel, out);
    case SYS_NOW: return read_now(f, out);
    case SYS_ERROR: return read_error(f, out);
    case SYS_REMOTE_IP: return text_or_null(f, run->remote_ip, out);
    case SYS_REMOTE_PORT:
        *out = run->remote_port ? val_int(run->remote_port) : val_null();
        return true;
    case SYS_REMOTE_HOST: return text_or_null(f, run->host, out);
    case SYS_REQUEST_METHOD: return text_or_null(f, run->method, out);
    case SYS_REQUEST_URI: return text_or_null(f, run->uri, out);
    case SYS_REQUEST_QUERYSTRING: return text_or_null(f, run->querystring, out);
    case SYS_REQUEST_AUTH_TOKEN: return text_or_null(f, run->auth_token, out);
    case SYS_HTTP_HEADERS: return cached(f, run->headers, &f->headers, out);
    case SYS_DATASOURCE:
        return text_or_null(f, run->datasource.len ? run->datasource : TEXT("live"), out);
    case SYS_BRANCH: return text_or_null(f, run->branch, out);
    case SYS_TENANT: return text_or_null(f, run->tenant, out);
    case SYS_API_BASEURL: return text_or_null(f, run->base_url, out);
    case SYS_RELEASE: return text_or_null(f, TEXT(XS_VERSION), out);
    case SYS_PLATFORM: return text_or_null(f, TEXT("xs"), out);
    case SYS_DEBUGGER: *out = val_bool(false); return true;
    case SYS_REMOTE_USER: /* basic authentication is not offered */
    case SYS_REMOTE_PASSWD:
    case SYS_WEBFLOW:
    case SYS_COUNT: break;
    }
    *out = val_null();
    return true;
}

bool sys_env(Fiber *f, Text name, Value *out)
{
    const Services *s = f->services;
    return text_or_null(f, s && s->env ? s->env(s->ctx, name) : (Text){0}, out);
}
