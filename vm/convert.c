/* convert.c - truth, conversions between kinds and arithmetic. Specification: filters.md §1.3 to
 * §1.5. */
#include "vm/convert.h"

#include <math.h>

#include "core/num.h"
#include "core/text.h"
#include "vm/obj.h"

/* 2^63: the first double past int64. */
#define INT64_END 9223372036854775808.0

static bool fail(xs_error *err, xs_code code)
{
    return xs_fail(err, code, XS_NO_POS, "%s", xs_code_get(code)->text);
}

bool val_truthy(Value v)
{
    switch (v.kind) {
    case V_UNSET:
    case V_NULL: return false;
    case V_BOOL: return v.b;
    case V_INT: return v.i != 0;
    case V_DEC: return v.d != 0.0;
    case V_TEXT: return v.text->len > 1 || (v.text->len == 1 && v.text->data[0] != '0');
    case V_LIST:
    case V_MAP: return val_count(v) != 0;
    case V_HANDLE: return true;
    }
    return false;
}

const char *val_kind_name(Value v)
{
    static const char *const names[] = {"null", "null",  "bool",   "int", "decimal",
                                        "text", "array", "object", "file"};
    return v.kind <= V_HANDLE ? names[v.kind] : "null";
}

/* ---- numbers ---- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t skip_digits(Text t, size_t at)
{
    while (at < t.len && is_digit(t.ptr[at]))
        at++;
    return at;
}

/* [+-]? (digits ['.' digits?] | '.' digits) ([eE] [+-]? digits)?, nothing around. */
static bool is_numeric(Text t, bool *whole)
{
    size_t at = t.len && (t.ptr[0] == '+' || t.ptr[0] == '-');
    size_t int_end = skip_digits(t, at);
    size_t digits = int_end - at;
    at = int_end;
    *whole = true;
    if (at < t.len && t.ptr[at] == '.') {
        size_t end = skip_digits(t, at + 1);
        digits += end - at - 1;
        at = end;
        *whole = false;
    }
    if (!digits)
        return false;
    if (at < t.len && (t.ptr[at] == 'e' || t.ptr[at] == 'E')) {
        at++;
        at += at < t.len && (t.ptr[at] == '+' || t.ptr[at] == '-');
        size_t end = skip_digits(t, at);
        if (end == at)
            return false;
        at = end;
        *whole = false;
    }
    return at == t.len;
}

bool text_number(Text t, Value *out)
{
    while (t.len && is_blank(t.ptr[t.len - 1]))
        t.len--;
    while (t.len && is_blank(t.ptr[0]))
        t.ptr++, t.len--;
    bool whole;
    if (!is_numeric(t, &whole))
        return false;
    if (t.ptr[0] == '+')
        t.ptr++, t.len--;
    int64_t i;
    if (whole && num_parse_int(t, &i)) {
        *out = val_int(i);
        return true;
    }
    double d;
    if (!num_parse_dec(t, &d) || !isfinite(d))
        return false;
    *out = val_dec(d);
    return true;
}

bool val_number(Value v, Value *out, xs_error *err)
{
    if (v.kind == V_INT || v.kind == V_DEC) {
        *out = v;
        return true;
    }
    if (v.kind == V_TEXT && text_number(val_text_view(v), out))
        return true;
    return fail(err, XS_E_NOT_NUMERIC);
}

static int64_t clamp_dec(double d)
{
    if (d >= INT64_END)
        return INT64_MAX;
    if (d < -INT64_END)
        return INT64_MIN;
    return (int64_t)d; /* toward zero */
}

bool val_integer(Value v, int64_t *out, xs_error *err)
{
    Value n;
    if (!val_number(v, &n, err))
        return false;
    *out = n.kind == V_INT ? n.i : clamp_dec(n.d);
    return true;
}

double val_as_double(Value number)
{
    return number.kind == V_INT ? (double)number.i : number.d;
}

/* ---- text ---- */

/* Text form of a scalar that is none; false for containers and handles. */
static bool scalar_text(Value v, char buf[NUM_TEXT_MAX], Text *out)
{
    switch (v.kind) {
    case V_UNSET:
    case V_NULL: *out = TEXT(""); return true;
    case V_BOOL: *out = v.b ? TEXT("true") : TEXT("false"); return true;
    case V_INT: *out = (Text){buf, num_write_int(v.i, buf)}; return true;
    case V_DEC: *out = (Text){buf, num_write_dec(v.d, buf)}; return true;
    case V_TEXT: *out = val_text_view(v); return true;
    default: return false;
    }
}

bool val_scalar_text(Value v, char buf[], Text *out, xs_error *err)
{
    return scalar_text(v, buf, out) || fail(err, XS_E_NOT_TEXT);
}

bool val_write_text(Value v, Buf *out, xs_error *err)
{
    char buf[NUM_TEXT_MAX];
    Text t;
    if (!val_scalar_text(v, buf, &t, err))
        return false;
    return buf_text(out, t) || fail(err, XS_E_NOMEM);
}

Value val_to_text(Heap *h, Value v, xs_error *err)
{
    if (v.kind == V_TEXT)
        return val_ref(v);
    char buf[NUM_TEXT_MAX];
    Text t;
    if (!val_scalar_text(v, buf, &t, err))
        return val_unset();
    Value made = text_new(h, t);
    if (made.kind == V_UNSET)
        heap_fail(h, err);
    return made;
}

/* ---- arithmetic ---- */

static bool finite_result(double d, Value *out, xs_error *err)
{
    if (!isfinite(d))
        return fail(err, XS_E_NOT_FINITE);
    *out = val_dec(d);
    return true;
}

/* false: the exact result is not an int64. */
static bool int_arith(Arith op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case AR_ADD: return !__builtin_add_overflow(a, b, out);
    case AR_SUB: return !__builtin_sub_overflow(a, b, out);
    case AR_MUL: return !__builtin_mul_overflow(a, b, out);
    case AR_DIV:
        if ((a == INT64_MIN && b == -1) || a % b != 0)
            return false;
        *out = a / b;
        return true;
    case AR_MOD: break;
    }
    return false;
}

static bool remainder_of(Value a, Value b, Value *out, xs_error *err)
{
    int64_t left = a.kind == V_INT ? a.i : clamp_dec(a.d);
    int64_t right = b.kind == V_INT ? b.i : clamp_dec(b.d);
    if (right == 0)
        return fail(err, XS_E_DIV_ZERO);
    *out = val_int(right == -1 ? 0 : left % right);
    return true;
}

bool val_arith(Arith op, Value a, Value b, Value *out, xs_error *err)
{
    if (!val_number(a, &a, err) || !val_number(b, &b, err))
        return false;
    if (op == AR_MOD)
        return remainder_of(a, b, out, err);
    double left = val_as_double(a), right = val_as_double(b);
    if (op == AR_DIV && right == 0.0)
        return fail(err, XS_E_DIV_ZERO);
    int64_t i;
    if (a.kind == V_INT && b.kind == V_INT && int_arith(op, a.i, b.i, &i)) {
        *out = val_int(i);
        return true;
    }
    switch (op) {
    case AR_ADD: return finite_result(left + right, out, err);
    case AR_SUB: return finite_result(left - right, out, err);
    case AR_MUL: return finite_result(left * right, out, err);
    case AR_DIV: return finite_result(left / right, out, err);
    case AR_MOD: break;
    }
    return fail(err, XS_E_BUG);
}
