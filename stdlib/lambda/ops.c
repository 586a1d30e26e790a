/* ops.c - api.lambda and the lambda filters: what the code sees, as one JSON request. */
#include "core/json.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/lambda/lambda.h"
#include "stdlib/outside.h"

enum { TIMEOUT_S = 10, TIMEOUT_MAX_S = 3600 };

static bool read_timeout(Call *c, uint32_t i, int64_t *ms)
{
    Value n = val_int(TIMEOUT_S);
    if (call_has(c, i) && !call_number(c, i, &n))
        return false;
    double s = val_as_double(n);
    *ms = s <= 0 ? 1 : s < TIMEOUT_MAX_S ? (int64_t)(s * 1000) : TIMEOUT_MAX_S * 1000;
    return true;
}

static bool put_value(Call *c, Buf *b, const char *name, Value v)
{
    buf_printf(b, ",\"%s\":", name);
    return value_json(val_is_null(v) ? val_null() : v, b, c->err);
}

/* Only what the code names goes over the pipe. */
static bool put_scope(Call *c, Buf *b, Text code, const char *name, Value v)
{
    char word[16];
    int n = snprintf(word, sizeof word, "$%s", name);
    bool used = text_find(code, (Text){word, (size_t)n}, 0) != SIZE_MAX;
    if (used && !val_is_null(v))
        return put_value(c, b, name, v);
    buf_printf(b, ",\"%s\":{}", name);
    return true;
}

/* Variables of the environment the code names: $env.NAME, $env["NAME"]. */
static void put_env(Call *c, Buf *b, Text code)
{
    const Services *s = c->services;
    bool first = true;
    buf_cstr(b, ",\"env\":{");
    for (size_t at = 0; (at = text_find(code, TEXT("$env"), at)) != SIZE_MAX; at += 4) {
        size_t from = at + 4;
        while (from < code.len && strchr(".[?'\"`", code.ptr[from]))
            from++;
        size_t end = from;
        while (end < code.len && (text_is_ident(text_slice(code, from, end + 1))))
            end++;
        Text name = text_slice(code, from, end);
        Text value = name.len && s && s->env ? s->env(s->ctx, name) : (Text){0};
        if (!value.ptr)
            continue;
        if (!first)
            buf_char(b, ',');
        first = false;
        json_write_text(b, name);
        buf_char(b, ':');
        json_write_text(b, value);
    }
    buf_char(b, '}');
}

/* Takes the buffer. */
static NativeResult run(Call *c, Buf *b, Text code, int64_t ms, bool ok)
{
    Outside *o = ok ? call_outside(c) : NULL;
    if (!o) {
        buf_deinit(b);
        return NATIVE_ERROR;
    }
    buf_cstr(b, ",\"code\":");
    json_write_text(b, code);
    buf_printf(b, ",\"ms\":%lld}", (long long)ms);
    return lambda_run(c, o->lambda, b, ms);
}

/* Arguments 2 to 4 are the scope: variables, input, the logged-in user. */
NativeResult op_api_lambda(Call *c)
{
    Text code;
    int64_t ms;
    if (!call_text(c, 0, &code) || !read_timeout(c, 1, &ms))
        return NATIVE_ERROR;
    Buf b = flt_buf();
    buf_cstr(&b, "{\"mode\":\"run\"");
    bool ok = put_scope(c, &b, code, "var", call_arg(c, 2)) &&
              put_scope(c, &b, code, "input", call_arg(c, 3)) &&
              put_scope(c, &b, code, "auth", call_arg(c, 4));
    put_env(c, &b, code);
    return run(c, &b, code, ms, ok);
}

static bool filter(Call *c, const char *mode, const char *operand, uint32_t code_at)
{
    Text code;
    int64_t ms;
    Value in = c->in;
    if (strcmp(operand, "list") == 0 && !call_list(c, 0, &in))
        return false;
    if (!call_text(c, code_at, &code) || !read_timeout(c, code_at + 1, &ms))
        return false;
    Buf b = flt_buf();
    buf_printf(&b, "{\"mode\":\"%s\",\"var\":{},\"input\":{},\"auth\":{}", mode);
    bool ok = put_value(c, &b, operand, in);
    if (ok && code_at == 2)
        ok = put_value(c, &b, "result", call_arg(c, 1));
    put_env(c, &b, code);
    return run(c, &b, code, ms, ok) == NATIVE_OK;
}

bool flt_lambda(Call *c)
{
    return filter(c, "run", "this", 1);
}

bool flt_lambda_map(Call *c)
{
    return filter(c, "map", "list", 1);
}

bool flt_lambda_filter(Call *c)
{
    return filter(c, "filter", "list", 1);
}

bool flt_lambda_some(Call *c)
{
    return filter(c, "some", "list", 1);
}

bool flt_lambda_every(Call *c)
{
    return filter(c, "every", "list", 1);
}

bool flt_lambda_find(Call *c)
{
    return filter(c, "find", "list", 1);
}

bool flt_lambda_findIndex(Call *c)
{
    return filter(c, "findIndex", "list", 1);
}

bool flt_lambda_reduce(Call *c)
{
    return filter(c, "reduce", "list", 2);
}
