/* number.c - arithmetic and mathematical filters. Specification: filters.md §4.7. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/num.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

#define INT64_END 9223372036854775808.0 /* 2^63 */

/* ---- operators ---- */

static bool arith(Call *c, Arith op)
{
    Value in = call_arg(c, 0), value, out;
    return flt_value(c, 1, &value) && val_arith(op, in, value, &out, c->err) && call_return(c, out);
}

bool flt_add(Call *c)
{
    return arith(c, AR_ADD);
}

bool flt_subtract(Call *c)
{
    return arith(c, AR_SUB);
}

bool flt_multiply(Call *c)
{
    return arith(c, AR_MUL);
}

bool flt_divide(Call *c)
{
    return arith(c, AR_DIV);
}

bool flt_modulus(Call *c)
{
    return arith(c, AR_MOD);
}

/* ---- rounding ---- */

bool flt_abs(Call *c)
{
    Value n;
    if (!call_number(c, 0, &n))
        return false;
    if (n.kind == V_DEC)
        return call_return_dec(c, fabs(n.d));
    if (n.i == INT64_MIN)
        return call_return_dec(c, INT64_END);
    return call_return_int(c, n.i < 0 ? -n.i : n.i);
}

/* A whole number: int when it fits. */
static bool return_whole(Call *c, double d)
{
    if (d >= -INT64_END && d < INT64_END)
        return call_return_int(c, (int64_t)d);
    return call_return_dec(c, d);
}

static bool to_whole(Call *c, double (*f)(double))
{
    Value n;
    if (!call_number(c, 0, &n))
        return false;
    return n.kind == V_INT ? call_return(c, n) : return_whole(c, f(n.d));
}

bool flt_floor(Call *c)
{
    return to_whole(c, floor);
}

bool flt_ceil(Call *c)
{
    return to_whole(c, ceil);
}

/* Add one unit to the last of n digits; true when a digit had to be put in front (then "1000…"). */
static bool carry(char *digits, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        if (digits[i] != '9') {
            digits[i]++;
            return false;
        }
        digits[i] = '0';
    }
    return true;
}

double round_digits(double x, int64_t precision)
{
    enum { DIGITS = 15 };
    char text[40], digits[DIGITS + 1];
    if (x == 0 || !isfinite(x))
        return x;
    snprintf(text, sizeof text, "%.*e", DIGITS - 1, fabs(x)); /* d.dddddddddddddde±xx */
    digits[0] = text[0];
    memcpy(digits + 1, text + 2, DIGITS - 1);
    int exponent = (int)strtol(text + DIGITS + 2, NULL, 10);
    if (precision >= DIGITS - 1 - exponent)
        return x; /* nothing behind the last digit kept */
    if (precision < -(int64_t)exponent - 1)
        return x < 0 ? -0.0 : 0.0;
    int keep = (int)(exponent + 1 + precision); /* 0..14 */
    bool up = digits[keep] >= '5';
    if (up && carry(digits, keep)) {
        digits[0] = '1';
        memset(digits + 1, '0', DIGITS - 1);
        keep = keep ? keep : 1;
        exponent++;
    } else if (keep == 0) {
        return x < 0 ? -0.0 : 0.0;
    }
    int len = snprintf(text, sizeof text, "%s%.*se%d", x < 0 ? "-" : "", keep, digits,
                       exponent + 1 - keep);
    double out = x;
    if (!num_parse_dec((Text){text, (size_t)len}, &out))
        return x;
    return out;
}

/* Rounds an int at a negative precision, half away from zero. */
static bool round_int(Call *c, int64_t n, int64_t precision)
{
    uint64_t unit = 1, magnitude = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    if (precision < -19)
        return call_return_int(c, 0);
    for (int64_t i = precision; i < 0; i++)
        unit *= 10;
    uint64_t rest = magnitude % unit, down = magnitude - rest;
    bool up = rest >= unit - rest;
    uint64_t rounded = up ? down + unit : down; /* at most 10^19 */
    if (rounded > INT64_MAX)
        return call_return_dec(c, n < 0 ? -(double)rounded : (double)rounded);
    return call_return_int(c, n < 0 ? -(int64_t)rounded : (int64_t)rounded);
}

bool flt_round(Call *c)
{
    Value n;
    int64_t precision = 0;
    if (!call_number(c, 0, &n) || !call_int_opt(c, 1, &precision))
        return false;
    if (n.kind == V_INT)
        return precision >= 0 ? call_return(c, n) : round_int(c, n.i, precision);
    double rounded = round_digits(n.d, precision);
    return precision <= 0 ? return_whole(c, round(rounded)) : call_return_dec(c, rounded);
}

/* ---- number_format ---- */

enum { DECIMALS_MAX = 400 };

/* The digits of |n| with that many decimals in buf; *negative when something but zeros is left. */
static bool plain_digits(Call *c, Value n, int64_t decimals, char *buf, size_t size, bool *negative)
{
    int places = decimals < 0 ? 0 : (int)decimals, len;
    if (n.kind == V_INT && decimals >= 0) {
        uint64_t magnitude = n.i < 0 ? 0 - (uint64_t)n.i : (uint64_t)n.i;
        len = snprintf(buf, size, "%llu%s%.*d", (unsigned long long)magnitude, places ? "." : "",
                       places, 0);
        if (!places)
            buf[len = (int)strcspn(buf, ".")] = '\0';
        *negative = n.i < 0;
    } else {
        double d = round_digits(val_as_double(n), decimals);
        len = snprintf(buf, size, "%.*f", places, fabs(d));
        *negative = d < 0 && strpbrk(buf, "123456789") != NULL;
    }
    return len > 0 && (size_t)len < size ? true : call_fail(c, XS_E_BUG, NULL);
}

bool flt_number_format(Call *c)
{
    Value n;
    int64_t decimals = 0;
    Text point = TEXT("."), thousands = TEXT(",");
    if (!call_number(c, 0, &n) || !call_int_opt(c, 1, &decimals) || !call_text_opt(c, 2, &point) ||
        !call_text_opt(c, 3, &thousands))
        return false;
    if (decimals > DECIMALS_MAX)
        return call_bad_arg(c, 1);
    char digits[DECIMALS_MAX + 400];
    bool negative;
    if (!plain_digits(c, n, decimals, digits, sizeof digits, &negative))
        return false;
    size_t whole = strcspn(digits, ".");
    Buf b = flt_buf();
    if (negative)
        buf_char(&b, '-');
    for (size_t i = 0; i < whole; i++) {
        if (i && (whole - i) % 3 == 0)
            buf_text(&b, thousands);
        buf_char(&b, digits[i]);
    }
    if (digits[whole]) {
        buf_text(&b, point);
        buf_cstr(&b, digits + whole + 1);
    }
    return flt_return_buf(c, &b);
}

/* ---- min, max ---- */

static bool extreme(Call *c, int sign)
{
    Value in = call_arg(c, 0), a, b;
    if (in.kind == V_LIST || in.kind == V_MAP)
        return sign < 0 ? flt_array_min(c) : flt_array_max(c);
    if (call_arg(c, 1).kind == V_UNSET)
        return flt_missing(c, 1);
    if (!call_number(c, 0, &a) || !call_number(c, 1, &b))
        return false;
    return call_return(c, val_compare(b, a) * sign > 0 ? b : a);
}

bool flt_min(Call *c)
{
    return extreme(c, -1);
}

bool flt_max(Call *c)
{
    return extreme(c, 1);
}

/* ---- powers and logarithms ---- */

/* false: the result does not fit. */
static bool int_power(int64_t base, int64_t exp, int64_t *out)
{
    int64_t result = 1;
    while (exp > 0) {
        if ((exp & 1) && __builtin_mul_overflow(result, base, &result))
            return false;
        exp >>= 1;
        if (exp && __builtin_mul_overflow(base, base, &base))
            return false;
    }
    *out = result;
    return true;
}

bool flt_pow(Call *c)
{
    Value base, exp;
    int64_t n;
    if (!call_number(c, 0, &base) || !call_number(c, 1, &exp))
        return false;
    if (base.kind == V_INT && exp.kind == V_INT && exp.i >= 0 && int_power(base.i, exp.i, &n))
        return call_return_int(c, n);
    return call_return_dec(c, pow(val_as_double(base), val_as_double(exp)));
}

static bool apply(Call *c, double (*f)(double))
{
    Value n;
    return call_number(c, 0, &n) && call_return_dec(c, f(val_as_double(n)));
}

bool flt_log(Call *c)
{
    Value n, base;
    if (!call_number(c, 0, &n))
        return false;
    if (!call_has(c, 1))
        return call_return_dec(c, log(val_as_double(n)));
    if (!call_number(c, 1, &base))
        return false;
    double x = val_as_double(n), b = val_as_double(base);
    if (b <= 0 || b == 1)
        return call_fail(c, XS_E_NOT_FINITE, NULL);
    if (b == 2)
        return call_return_dec(c, log2(x));
    return call_return_dec(c, b == 10 ? log10(x) : log(x) / log(b));
}

#define FUNCTION(name, f)                                                                          \
    bool flt_##name(Call *c)                                                                       \
    {                                                                                              \
        return apply(c, f);                                                                        \
    }

static double to_radians(double d)
{
    return d / 180.0 * M_PI;
}

static double to_degrees(double d)
{
    return d / M_PI * 180.0;
}

FUNCTION(sqrt, sqrt)
FUNCTION(exp, exp)
FUNCTION(ln, log)
FUNCTION(log10, log10)
FUNCTION(sin, sin)
FUNCTION(cos, cos)
FUNCTION(tan, tan)
FUNCTION(asin, asin)
FUNCTION(acos, acos)
FUNCTION(atan, atan)
FUNCTION(sinh, sinh)
FUNCTION(cosh, cosh)
FUNCTION(tanh, tanh)
FUNCTION(asinh, asinh)
FUNCTION(acosh, acosh)
FUNCTION(atanh, atanh)
FUNCTION(deg2rad, to_radians)
FUNCTION(rad2deg, to_degrees)

/* ---- parity ---- */

bool flt_odd(Call *c)
{
    int64_t n;
    return call_int(c, 0, &n) && call_return_bool(c, n % 2 != 0);
}

bool flt_even(Call *c)
{
    int64_t n;
    return call_int(c, 0, &n) && call_return_bool(c, n % 2 == 0);
}
