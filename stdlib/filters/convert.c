/* convert.c - conversion filters. Specification: filters.md §4.10. */
#include <math.h>

#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

#define INT64_END 9223372036854775808.0 /* 2^63 */

bool flt_to_text(Call *c)
{
    Value in = call_arg(c, 0);
    if (in.kind == V_TEXT)
        return call_return(c, call_take_in(c));
    if (in.kind != V_LIST && in.kind != V_MAP) {
        Text t;
        return call_text(c, 0, &t) && call_return_text(c, t);
    }
    Buf b = flt_buf();
    if (!val_write_json(in, &b) && !b.failed) {
        buf_deinit(&b);
        return call_fail(c, XS_E_LIMIT, "The value is nested too deep.");
    }
    return flt_return_buf(c, &b);
}

/* ---- numbers ---- */

static bool is_digit(Text t, size_t at)
{
    return at < t.len && t.ptr[at] >= '0' && t.ptr[at] <= '9';
}

/* Longest numeric prefix behind blanks; empty when there is none. */
static Text numeric_prefix(Text t)
{
    while (t.len && (t.ptr[0] == ' ' || (t.ptr[0] >= '\t' && t.ptr[0] <= '\r')))
        t = text_slice(t, 1, t.len);
    size_t at = t.len && (t.ptr[0] == '+' || t.ptr[0] == '-'), from = at;
    while (is_digit(t, at))
        at++;
    size_t digits = at - from;
    if (at < t.len && t.ptr[at] == '.' && (digits || is_digit(t, at + 1))) {
        at++;
        from = at;
        while (is_digit(t, at))
            at++;
        digits += at - from;
    }
    if (!digits)
        return TEXT("");
    size_t exp = at;
    if (exp < t.len && (t.ptr[exp] == 'e' || t.ptr[exp] == 'E')) {
        exp++;
        exp += exp < t.len && (t.ptr[exp] == '+' || t.ptr[exp] == '-');
        if (is_digit(t, exp)) {
            while (is_digit(t, exp))
                exp++;
            at = exp;
        }
    }
    return text_slice(t, 0, at);
}

/* The number of a value by its numeric prefix; infinite when too large. */
static bool loose_number(Value v, Value *out, xs_error *err)
{
    switch (v.kind) {
    case V_UNSET:
    case V_NULL: *out = val_int(0); return true;
    case V_BOOL: *out = val_int(v.b); return true;
    case V_INT:
    case V_DEC: *out = v; return true;
    case V_TEXT: {
        Text prefix = numeric_prefix(val_text_view(v));
        if (!prefix.len)
            *out = val_int(0);
        else if (!text_number(prefix, out)) /* the only reason left: past the largest double */
            *out = val_dec(prefix.ptr[0] == '-' ? -HUGE_VAL : HUGE_VAL);
        return true;
    }
    default: break;
    }
    return xs_fail(err, XS_E_NOT_NUMERIC, XS_NO_POS, "%s", xs_code_get(XS_E_NOT_NUMERIC)->text);
}

bool conv_to_int(Value v, int64_t *out, xs_error *err)
{
    Value n;
    if (!loose_number(v, &n, err))
        return false;
    if (n.kind == V_INT)
        *out = n.i;
    else if (n.d >= INT64_END)
        *out = INT64_MAX;
    else
        *out = n.d < -INT64_END ? INT64_MIN : (int64_t)n.d;
    return true;
}

bool conv_to_dec(Value v, double *out, xs_error *err)
{
    Value n;
    if (!loose_number(v, &n, err))
        return false;
    *out = val_as_double(n);
    return isfinite(*out) ||
           xs_fail(err, XS_E_NOT_FINITE, XS_NO_POS, "%s", xs_code_get(XS_E_NOT_FINITE)->text);
}

bool flt_to_int(Call *c)
{
    int64_t n;
    return conv_to_int(call_arg(c, 0), &n, c->err) && call_return_int(c, n);
}

bool flt_to_decimal(Call *c)
{
    double d;
    return conv_to_dec(call_arg(c, 0), &d, c->err) && call_return_dec(c, d);
}

/* ---- bool ---- */

static bool is_word(Text t, const char *word)
{
    size_t i = 0;
    for (; i < t.len && word[i]; i++) {
        char ch = t.ptr[i];
        if ((ch >= 'A' && ch <= 'Z' ? ch + 32 : ch) != word[i])
            return false;
    }
    return i == t.len && !word[i];
}

static bool text_is_true(Text t)
{
    static const char *const words[] = {"true", "on", "yes", "y", "t"};
    Value n;
    t = text_trim(t, TEXT(" \t\n\r\v\f"));
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (is_word(t, words[i]))
            return true;
    return text_number(t, &n) && val_truthy(n);
}

bool flt_to_bool(Call *c)
{
    Value in = call_arg(c, 0);
    return call_return_bool(c,
                            in.kind == V_TEXT ? text_is_true(val_text_view(in)) : val_truthy(in));
}
