/* time.c - date filters, filters.md §4.11. Arithmetic is in timezone.c, text in datetext.c and
 * dateformat.c. */
#include <math.h>

#include "core/num.h"
#include "stdlib/filters/codec.h"

enum { SECOND_MS = 1000, MINUTE_MS = 60000, HOUR_MS = 3600000, DAY_MS = 86400000 };

bool services_now(const Services *s, int64_t *out, xs_error *err)
{
    if (!s || !s->now_ms)
        return xs_fail(err, XS_E_UNSUPPORTED, XS_NO_POS, "there is no clock here");
    *out = s->now_ms(s->ctx);
    return true;
}

static bool bad_timestamp(Text t, xs_error *err)
{
    return xs_fail(err, XS_E_BAD_TIMESTAMP, XS_NO_POS, "Invalid timestamp: " TEXT_FMT,
                   (int)(t.len < 100 ? t.len : 100), t.ptr);
}

static bool ms_of_double(double d, int64_t *out)
{
    d = floor(d);
    if (!(d >= -9223372036854775808.0 && d < 9223372036854775808.0))
        return false;
    *out = (int64_t)d;
    return true;
}

/* "-12", "12.7": digits with an optional sign and fraction, nothing else. */
static bool ms_of_digits(Text t, int64_t *out)
{
    bool dot = false, digit = false;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        if (c >= '0' && c <= '9')
            digit = true;
        else if (c == '.' && !dot)
            dot = true;
        else if (i > 0 || (c != '-' && c != '+'))
            return false;
    }
    double d;
    if (!digit)
        return false;
    if (num_parse_int(t, out))
        return true;
    return num_parse_dec(t, &d) && ms_of_double(d, out);
}

bool timestamp_from(Value v, const Zone *z, const Services *s, int64_t *out, xs_error *err)
{
    switch (v.kind) {
    case V_INT: *out = v.i; return true;
    case V_DEC: return ms_of_double(v.d, out) || bad_timestamp(TEXT("out of range"), err);
    case V_TEXT: break;
    case V_UNSET:
    case V_NULL: return bad_timestamp(TEXT("null"), err);
    case V_BOOL: return bad_timestamp(v.b ? TEXT("true") : TEXT("false"), err);
    default: return xs_fail(err, XS_E_NOT_TEXT, XS_NO_POS, "%s", xs_code_get(XS_E_NOT_TEXT)->text);
    }
    Text t = val_text_view(v);
    int64_t now;
    if (ms_of_digits(t, out))
        return true;
    if (!services_now(s, &now, err))
        return false;
    return date_parse_text(t, z, now, false, out) || bad_timestamp(t, err);
}

/* Zone argument i and the operand. */
static bool operand(Call *c, uint32_t zone_arg, Zone *z, int64_t *ms)
{
    Text name = TEXT("UTC");
    *z = zone_utc;
    if (zone_arg && (!call_text_opt(c, zone_arg, &name) || !zone_find(name, z, c->err)))
        return false;
    return timestamp_from(call_arg(c, 0), z, c->services, ms, c->err);
}

static bool divided(Call *c, int64_t unit_ms)
{
    Zone z;
    int64_t ms;
    return operand(c, 1, &z, &ms) &&
           call_return_int(c, ms / unit_ms - (ms % unit_ms != 0 && ms < 0));
}

bool flt_to_timestamp(Call *c)
{
    return divided(c, 1);
}

bool flt_to_seconds(Call *c)
{
    return divided(c, SECOND_MS);
}

bool flt_to_minutes(Call *c)
{
    return divided(c, MINUTE_MS);
}

bool flt_to_hours(Call *c)
{
    return divided(c, HOUR_MS);
}

bool flt_to_days(Call *c)
{
    return divided(c, DAY_MS);
}

bool flt_format_timestamp(Call *c)
{
    Zone z;
    int64_t ms;
    Text format;
    if (!call_text(c, 1, &format) || !operand(c, 2, &z, &ms))
        return false;
    Buf out = BUF_INIT;
    date_format(ms, &z, format, &out);
    return call_return_buf(c, &out);
}

bool flt_parse_timestamp(Call *c)
{
    Text t, format, name = TEXT("UTC");
    Zone z;
    int64_t now = 0, ms;
    if (!call_text(c, 0, &t) || !call_text(c, 1, &format) || !call_text_opt(c, 2, &name) ||
        !zone_find(name, &z, c->err))
        return false;
    /* the clock matters only to formats without a date */
    if (c->services && c->services->now_ms)
        now = c->services->now_ms(c->services->ctx);
    if (!date_parse_format(t, format, &z, now, &ms))
        return bad_timestamp(t, c->err);
    return call_return_int(c, ms);
}

bool flt_transform_timestamp(Call *c)
{
    Zone z;
    int64_t ms;
    Text expression;
    if (!call_text(c, 1, &expression) || !operand(c, 2, &z, &ms))
        return false;
    if (!date_parse_text(expression, &z, ms, true, &ms))
        return bad_timestamp(expression, c->err);
    return call_return_int(c, ms);
}

static bool add_ms(Call *c, int64_t ms, int64_t n, int64_t unit_ms)
{
    if (__builtin_mul_overflow(n, unit_ms, &n) || __builtin_add_overflow(ms, n, &ms))
        return bad_timestamp(TEXT("out of range"), c->err);
    return call_return_int(c, ms);
}

bool flt_add_secs_to_timestamp(Call *c)
{
    Zone z;
    int64_t ms, n;
    Value secs;
    if (!operand(c, 0, &z, &ms) || !call_number(c, 1, &secs))
        return false;
    if (secs.kind == V_INT)
        return add_ms(c, ms, secs.i, SECOND_MS);
    if (!ms_of_double(trunc(secs.d * 1000), &n))
        return bad_timestamp(TEXT("out of range"), c->err);
    return add_ms(c, ms, n, 1);
}

bool flt_add_ms_to_timestamp(Call *c)
{
    Zone z;
    int64_t ms, n;
    return operand(c, 0, &z, &ms) && call_int(c, 1, &n) && add_ms(c, ms, n, 1);
}

static bool parts(Call *c, DateParts *p)
{
    Zone z;
    int64_t ms;
    if (!operand(c, 1, &z, &ms))
        return false;
    date_split(ms, &z, p);
    return true;
}

#define PART_FILTER(name, expression)                                                              \
    bool flt_timestamp_##name(Call *c)                                                             \
    {                                                                                              \
        DateParts p;                                                                               \
        return parts(c, &p) && call_return_int(c, expression);                                     \
    }

PART_FILTER(year, p.year)
PART_FILTER(month, p.month)
PART_FILTER(week, p.iso_week)
PART_FILTER(day_of_month, p.day)
PART_FILTER(day_of_week, p.weekday)
PART_FILTER(day_of_year, p.yearday + 1)
PART_FILTER(hour, p.hour)
PART_FILTER(minute, p.minute)

/* n units (default 1) of a fixed length, times sign. Fractions count: 1.5 hours is 90 minutes. */
static bool shift_fixed(Call *c, int64_t unit_ms, int sign)
{
    Zone z;
    int64_t ms, by;
    Value n = val_int(1);
    if (!operand(c, 0, &z, &ms) || (call_has(c, 1) && !call_number(c, 1, &n)))
        return false;
    if (n.kind == V_INT && n.i > INT64_MIN)
        return add_ms(c, ms, n.i * sign, unit_ms);
    if (!ms_of_double(trunc(val_as_double(n) * (double)unit_ms * sign), &by))
        return bad_timestamp(TEXT("out of range"), c->err);
    return add_ms(c, ms, by, 1);
}

static bool shift_months(Call *c, int64_t unit, int sign)
{
    Zone z;
    int64_t ms, n = 1;
    if (!operand(c, 0, &z, &ms) || !call_int_opt(c, 1, &n))
        return false;
    if (__builtin_mul_overflow(n, unit * sign, &n) || !date_add_months(ms, n, &ms))
        return bad_timestamp(TEXT("out of range"), c->err);
    return call_return_int(c, ms);
}

#define SHIFT_FILTERS(name, shift, unit)                                                           \
    bool flt_timestamp_add_##name(Call *c)                                                         \
    {                                                                                              \
        return shift(c, unit, 1);                                                                  \
    }                                                                                              \
    bool flt_timestamp_subtract_##name(Call *c)                                                    \
    {                                                                                              \
        return shift(c, unit, -1);                                                                 \
    }

SHIFT_FILTERS(seconds, shift_fixed, SECOND_MS)
SHIFT_FILTERS(minutes, shift_fixed, MINUTE_MS)
SHIFT_FILTERS(hours, shift_fixed, HOUR_MS)
SHIFT_FILTERS(days, shift_fixed, DAY_MS)
SHIFT_FILTERS(months, shift_months, 1)
SHIFT_FILTERS(years, shift_months, 12)
