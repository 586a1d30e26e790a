/* native.c - what filters and statements written in C use to read arguments and return. */
#include "vm/native.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/num.h"
#include "core/tables.h"
#include "vm/obj.h"
#include "vm/stream.h"

static bool is_filter(const Call *c)
{
    return !c->site_data; /* every statement has a slot, no filter has one */
}

Value call_arg(const Call *c, uint32_t i)
{
    if (is_filter(c)) {
        if (i == 0)
            return c->in;
        i--;
    }
    return i < c->nargs ? c->args[i] : val_unset();
}

bool call_has(const Call *c, uint32_t i)
{
    return !val_is_null(call_arg(c, i));
}

/* ---- errors ---- */

static const char *filter_arg_name(const FilterInfo *f, uint32_t i, char buf[32])
{
    if (i == 0)
        return "operand";
    if (f && i - 1 < f->nargs)
        return f->args[i - 1].name;
    if (f && f->nargs && f->args[f->nargs - 1].variadic)
        return f->args[f->nargs - 1].name;
    snprintf(buf, 32, "argument %u", i);
    return buf;
}

static const char *statement_arg_name(const StatementInfo *s, uint32_t i, char buf[32])
{
    if (s && (s->operand == OPR_EXPR || s->operand == OPR_VAR)) {
        if (i == 0)
            return "operand";
        i--;
    }
    if (s && i < s->nclauses) {
        snprintf(buf, 32, TEXT_FMT, TEXT_ARG(s->clauses[i].name));
        return buf;
    }
    snprintf(buf, 32, "argument %u", i);
    return buf;
}

static bool fail_arg(Call *c, xs_code code, uint32_t i)
{
    char buf[32];
    const char *name =
        is_filter(c) ? filter_arg_name(c->row, i, buf) : statement_arg_name(c->row, i, buf);
    return xs_fail(c->err, code, XS_NO_POS, "%s: %s", xs_code_get(code)->text, name);
}

bool call_fail(Call *c, xs_code code, const char *fmt, ...)
{
    char message[sizeof c->err->message];
    if (!fmt)
        return xs_fail(c->err, code, XS_NO_POS, "%s", xs_code_get(code)->text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return xs_fail(c->err, code, XS_NO_POS, "%s", message);
}

bool call_bad_arg(Call *c, uint32_t i)
{
    return fail_arg(c, XS_E_BAD_ARG, i);
}

static bool out_of_memory(Call *c)
{
    return heap_fail(c->heap, c->err);
}

/* Present, which null also is; the operand of a filter always is. */
static bool required(Call *c, uint32_t i, Value *out)
{
    *out = call_arg(c, i);
    if (out->kind == V_UNSET && !(is_filter(c) && i == 0))
        return fail_arg(c, XS_E_MISSING_ARG, i);
    return true;
}

/* ---- arguments ---- */

/* Keep a value alive until the native has returned. Consumes v. */
static bool keep(Call *c, Value v)
{
    if (c->temps.kind == V_UNSET)
        c->temps = list_new(c->heap, 2);
    if (c->temps.kind == V_UNSET) {
        val_unref(c->heap, v);
        return out_of_memory(c);
    }
    return list_push(c->heap, &c->temps, v) || out_of_memory(c);
}

void call_end(Call *c)
{
    val_unref(c->heap, c->temps);
    c->temps = val_unset();
}

bool call_text(Call *c, uint32_t i, Text *out)
{
    Value v;
    if (!required(c, i, &v))
        return false;
    if (v.kind == V_TEXT) {
        *out = val_text_view(v);
        return true;
    }
    if (val_is_null(v)) {
        *out = TEXT("");
        return true;
    }
    Value made = val_to_text(c->heap, v, c->err);
    if (made.kind == V_UNSET || !keep(c, made))
        return false;
    *out = val_text_view(made);
    return true;
}

bool call_text_opt(Call *c, uint32_t i, Text *out)
{
    return !call_has(c, i) || call_text(c, i, out);
}

bool call_int(Call *c, uint32_t i, int64_t *out)
{
    Value v;
    return required(c, i, &v) && val_integer(v, out, c->err);
}

bool call_int_opt(Call *c, uint32_t i, int64_t *out)
{
    return !call_has(c, i) || call_int(c, i, out);
}

bool call_number(Call *c, uint32_t i, Value *out)
{
    Value v;
    return required(c, i, &v) && val_number(v, out, c->err);
}

bool call_bool(const Call *c, uint32_t i, bool otherwise)
{
    Value v = call_arg(c, i);
    return val_is_null(v) ? otherwise : val_truthy(v);
}

bool call_drain(Call *c, Value *v)
{
    if (!val_is_stream(*v))
        return true;
    Value list = list_new(c->heap, 8), item;
    bool ok = (list.kind != V_UNSET || out_of_memory(c)) && stream_begin(*v, NULL, c->err);
    int more = -1;
    while (ok && (more = stream_next_here(*v, &item, c->err)) > 0)
        ok = list_push(c->heap, &list, item) || out_of_memory(c);
    if (!ok || more < 0) {
        val_unref(c->heap, list);
        return false;
    }
    *v = list;
    return keep(c, list);
}

bool call_list(Call *c, uint32_t i, Value *out)
{
    Value v;
    if (!required(c, i, &v) || !call_drain(c, &v))
        return false;
    if (val_is_null(v) || (v.kind == V_MAP && !v.map->count))
        v = list_empty();
    if (v.kind != V_LIST)
        return call_fail(c, XS_E_NOT_ARRAY, NULL);
    *out = v;
    return true;
}

bool call_container(Call *c, uint32_t i, Value *out)
{
    Value v;
    if (!required(c, i, &v) || !call_drain(c, &v))
        return false;
    if (val_is_null(v))
        v = list_empty();
    if (v.kind != V_LIST && v.kind != V_MAP)
        return call_fail(c, XS_E_NOT_ARRAY, NULL);
    *out = v;
    return true;
}

bool call_map(Call *c, uint32_t i, Value *out)
{
    Value v;
    if (!required(c, i, &v))
        return false;
    if (val_is_null(v) || (v.kind == V_LIST && !v.list->len))
        v = map_empty();
    if (v.kind != V_MAP)
        return call_fail(c, XS_E_NOT_OBJECT, NULL);
    *out = v;
    return true;
}

Value call_take_in(Call *c)
{
    if (!c->own || !c->in_slot)
        return val_ref(val_or_null(c->in));
    Value v = val_or_null(*c->in_slot);
    *c->in_slot = val_unset();
    return v; /* c->in still borrows it */
}

/* ---- results ---- */

bool call_return(Call *c, Value v)
{
    if (v.kind == V_UNSET)
        return c->err->code != XS_OK ? false : out_of_memory(c);
    val_unref(c->heap, c->ret);
    c->ret = v;
    return true;
}

bool call_return_text(Call *c, Text t)
{
    return call_return(c, text_new(c->heap, t));
}

bool call_return_int(Call *c, int64_t n)
{
    return call_return(c, val_int(n));
}

bool call_return_dec(Call *c, double d)
{
    if (!__builtin_isfinite(d))
        return call_fail(c, XS_E_NOT_FINITE, NULL);
    return call_return(c, val_dec(d));
}

bool call_return_bool(Call *c, bool b)
{
    return call_return(c, val_bool(b));
}

bool call_return_buf(Call *c, Buf *b)
{
    bool ok = b->failed ? call_fail(c, XS_E_NOMEM, NULL) : call_return_text(c, buf_view(b));
    buf_deinit(b);
    return ok;
}
