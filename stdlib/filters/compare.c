/* compare.c - the comparison operators as filters, and tests of kind and emptiness. Specification:
 * filters.md §4.9. */
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

/* ---- operators ---- */

bool flt_equals(Call *c)
{
    Value v;
    return flt_value(c, 1, &v) && call_return_bool(c, val_loose_eq(call_arg(c, 0), v));
}

bool flt_not_equals(Call *c)
{
    Value v;
    return flt_value(c, 1, &v) && call_return_bool(c, !val_loose_eq(call_arg(c, 0), v));
}

static bool order(Call *c, int *out)
{
    Value v;
    if (!flt_value(c, 1, &v))
        return false;
    *out = val_compare(call_arg(c, 0), v);
    return true;
}

bool flt_greater_than(Call *c)
{
    int n;
    return order(c, &n) && call_return_bool(c, n > 0);
}

bool flt_greater_than_or_equal(Call *c)
{
    int n;
    return order(c, &n) && call_return_bool(c, n >= 0);
}

bool flt_less_than(Call *c)
{
    int n;
    return order(c, &n) && call_return_bool(c, n < 0);
}

bool flt_less_than_or_equal(Call *c)
{
    int n;
    return order(c, &n) && call_return_bool(c, n <= 0);
}

/* ---- membership ---- */

static bool is_container(Value v)
{
    return v.kind == V_LIST || v.kind == V_MAP;
}

static bool membership(Call *c, bool *out)
{
    Value in = call_arg(c, 0), search;
    if (!flt_value(c, 1, &search))
        return false;
    if (is_container(in))
        *out = flt_contains_same(in, search);
    else if (is_container(search))
        *out = flt_contains_same(search, in);
    else
        return call_fail(c, XS_E_NOT_ARRAY, NULL);
    return true;
}

bool flt_in(Call *c)
{
    bool found;
    return membership(c, &found) && call_return_bool(c, found);
}

bool flt_not_in(Call *c)
{
    bool found;
    return membership(c, &found) && call_return_bool(c, !found);
}

/* ---- truth ---- */

bool flt_not(Call *c)
{
    return call_return_bool(c, !val_truthy(call_arg(c, 0)));
}

bool flt_and(Call *c)
{
    Value v;
    return flt_value(c, 1, &v) && call_return_bool(c, val_truthy(call_arg(c, 0)) && val_truthy(v));
}

bool flt_or(Call *c)
{
    Value v;
    return flt_value(c, 1, &v) && call_return_bool(c, val_truthy(call_arg(c, 0)) || val_truthy(v));
}

bool flt_ternary(Call *c)
{
    Value a, b;
    if (!flt_value(c, 1, &a) || !flt_value(c, 2, &b))
        return false;
    return call_return(c, val_ref(val_truthy(call_arg(c, 0)) ? a : b));
}

bool flt_coalesce(Call *c)
{
    Value in = call_arg(c, 0), otherwise;
    if (!flt_value(c, 1, &otherwise))
        return false;
    bool empty = val_is_null(in) || (in.kind == V_TEXT && !in.text->len);
    return call_return(c, val_ref(empty ? otherwise : in));
}

/* ---- kind and emptiness ---- */

bool flt_is_null(Call *c)
{
    return call_return_bool(c, val_is_null(call_arg(c, 0)));
}

bool flt_is_not_null(Call *c)
{
    return call_return_bool(c, !val_is_null(call_arg(c, 0)));
}

bool flt_is_empty(Call *c)
{
    return call_return_bool(c, !val_truthy(call_arg(c, 0)));
}

bool flt_is_not_empty(Call *c)
{
    return call_return_bool(c, val_truthy(call_arg(c, 0)));
}

bool flt_is_object(Call *c)
{
    return call_return_bool(c, call_arg(c, 0).kind == V_MAP);
}

bool flt_is_array(Call *c)
{
    return call_return_bool(c, call_arg(c, 0).kind == V_LIST);
}

bool flt_is_int(Call *c)
{
    return call_return_bool(c, call_arg(c, 0).kind == V_INT);
}

bool flt_is_decimal(Call *c)
{
    return call_return_bool(c, call_arg(c, 0).kind == V_DEC);
}

bool flt_is_bool(Call *c)
{
    return call_return_bool(c, call_arg(c, 0).kind == V_BOOL);
}

bool flt_is_text(Call *c)
{
    return call_return_bool(c, call_arg(c, 0).kind == V_TEXT);
}
