/* num.c - numbers and text, independent of the locale. Specification: filters.md, "Printing
 * numbers". */
#include "core/num.h"

#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    EXACT_DIGITS = 15, /* decimals of so many digits survive text -> double -> text */
    MAX_DIGITS = 17,   /* always enough to read the same double back */
    SIGNIFICANT =
        780, /* more digits than that cannot change how a number rounds, but for a sticky one */
    EXACT_POWER = 22, /* 10^22 is the largest power of ten that a double holds exactly */
    PLAIN_MIN = -5,   /* exponents between these two, both excluded, print without 'e' */
    PLAIN_MAX = 17
};

static const double powers[EXACT_POWER + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

bool num_parse_int(Text t, int64_t *out)
{
    size_t i = 0;
    bool negative = t.len && t.ptr[0] == '-';
    if (t.len && (t.ptr[0] == '-' || t.ptr[0] == '+'))
        i++;
    if (i == t.len)
        return false;
    uint64_t n = 0, limit = (uint64_t)INT64_MAX + negative;
    for (; i < t.len; i++) {
        unsigned digit = (unsigned)(unsigned char)t.ptr[i] - '0';
        if (digit > 9 || n > (limit - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

/* strtod in the C locale; the text is our own "[digits]e[exponent]". */
static double read_c(const char *s)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc hands out its static object */
    if (!c)
        return strtod(s, NULL); /* no decimal point inside, so no locale matters */
    double d = strtod_l(s, NULL, c);
    freelocale(c);
    return d;
}

/* What the grammar `[+-]? (digits ['.' digits?] | '.' digits) ([eE] [+-]? digits)?` found. */
typedef struct Parts {
    bool negative;
    size_t ndigits; /* significant digits kept in digits[] */
    bool sticky;    /* a dropped digit was not 0 */
    int64_t exp10;  /* value = digits * 10^exp10 */
    char digits[SIGNIFICANT + 32];
} Parts;

static void take_digit(Parts *p, char c, bool fraction)
{
    if (p->ndigits == 0 && c == '0') {
        p->exp10 -= fraction;
    } else if (p->ndigits < SIGNIFICANT) {
        p->digits[p->ndigits++] = c;
        p->exp10 -= fraction;
    } else {
        p->sticky |= c != '0';
        p->exp10 += !fraction;
    }
}

static bool is_digit(Text t, size_t i)
{
    return i < t.len && t.ptr[i] >= '0' && t.ptr[i] <= '9';
}

static bool split(Text t, Parts *p)
{
    const int64_t far = INT64_C(1)
                        << 40; /* past any text length, so a sum cannot come back into range */
    size_t i = 0;
    p->negative = t.len && t.ptr[0] == '-';
    p->ndigits = 0;
    p->sticky = false;
    p->exp10 = 0;
    if (t.len && (t.ptr[0] == '-' || t.ptr[0] == '+'))
        i++;
    size_t first = i;
    for (; is_digit(t, i); i++)
        take_digit(p, t.ptr[i], false);
    size_t seen = i - first;
    if (i < t.len && t.ptr[i] == '.') {
        first = ++i;
        for (; is_digit(t, i); i++)
            take_digit(p, t.ptr[i], true);
        seen += i - first;
    }
    if (seen == 0)
        return false;
    if (i < t.len && (t.ptr[i] == 'e' || t.ptr[i] == 'E')) {
        i++;
        bool down = i < t.len && t.ptr[i] == '-';
        if (i < t.len && (t.ptr[i] == '-' || t.ptr[i] == '+'))
            i++;
        if (!is_digit(t, i))
            return false;
        int64_t e = 0;
        for (; is_digit(t, i); i++) {
            if (e < far)
                e = e * 10 + (t.ptr[i] - '0');
        }
        p->exp10 += down ? -e : e;
    }
    return i == t.len;
}

bool num_parse_dec(Text t, double *out)
{
    Parts p;
    if (!split(t, &p))
        return false;
    double d = 0;
    if (p.ndigits && p.ndigits <= EXACT_DIGITS && p.exp10 >= -EXACT_POWER &&
        p.exp10 <= EXACT_POWER) {
        /* Both operands are exact, so the one rounding is the right one. */
        int64_t whole = 0;
        for (size_t i = 0; i < p.ndigits; i++)
            whole = whole * 10 + (p.digits[i] - '0');
        d = p.exp10 < 0 ? (double)whole / powers[-p.exp10] : (double)whole * powers[p.exp10];
    } else if (p.ndigits) {
        int64_t e = p.exp10;
        if (p.sticky) {
            p.digits[p.ndigits++] = '1';
            e--;
        }
        const int64_t clamp = 100000; /* far outside the range of a double, inside that of strtod */
        e = e > clamp ? clamp : e < -clamp ? -clamp : e;
        snprintf(p.digits + p.ndigits, sizeof p.digits - p.ndigits, "e%d", (int)e);
        d = read_c(p.digits);
    }
    if (!isfinite(d))
        return false;
    *out = p.negative ? -d : d;
    return true;
}

size_t num_write_int(int64_t n, char out[NUM_TEXT_MAX])
{
    char digits[20];
    size_t count = 0, at = 0;
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (n < 0)
        out[at++] = '-';
    while (count)
        out[at++] = digits[--count];
    return at;
}

/* The digits of d at a precision and the exponent of the first; the locale's decimal point is
 * skipped. */
static size_t round_to(double d, int precision, char digits[MAX_DIGITS], int *exp10)
{
    char text[64];
    snprintf(text, sizeof text, "%.*e", precision - 1, d);
    size_t count = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9' && count < MAX_DIGITS)
            digits[count++] = *p;
    }
    *exp10 = (int)strtol(*p ? p + 1 : p, NULL, 10);
    return count;
}

static bool reads_back(double d, const char *digits, size_t count, int exp10)
{
    char text[64];
    memcpy(text, digits, count);
    snprintf(text + count, sizeof text - count, "e%d", exp10 - (int)count + 1);
    double back = read_c(text);
    return back <= d && back >= d;
}

/* One more in the last place, when that does not carry into a new digit. */
static bool next_up(char *digits, size_t count)
{
    for (size_t i = count; i-- > 0;) {
        if (digits[i] != '9') {
            digits[i]++;
            memset(digits + i + 1, '0', count - i - 1);
            return true;
        }
    }
    return false;
}

/* Shortest digits of a positive finite d. Below DBL_MIN precision shrinks, so every length is tried
 * there; above, a form of up to 15 digits is found by rounding to 15 and dropping zeros. */
static size_t shortest(double d, char digits[MAX_DIGITS], int *exp10)
{
    int mantissa_exp;
    bool power_of_two = frexp(d, &mantissa_exp) <= 0.5;
    size_t count = 0;
    for (int precision = d < DBL_MIN ? 1 : EXACT_DIGITS; precision <= MAX_DIGITS; precision++) {
        count = round_to(d, precision, digits, exp10);
        if (reads_back(d, digits, count, *exp10))
            break;
        /* Below a power of two doubles lie closer: the nearest text may read as the one below while
         * the next text up reads as d. */
        if (power_of_two && next_up(digits, count) && reads_back(d, digits, count, *exp10))
            break;
    }
    while (count > 1 && digits[count - 1] == '0')
        count--;
    return count;
}

/* Prices, coordinates, ratios: d = whole / 10^k with a small whole. The division is exact rounding,
 * so an equal quotient proves that the digits read back. */
static size_t short_fraction(double d, char digits[MAX_DIGITS], int *exp10)
{
    enum { MAX_PLACES = 9 };
    const double limit = 1e15;
    for (int k = 1; k <= MAX_PLACES; k++) {
        double scaled = rint(d * powers[k]);
        if (scaled >= limit)
            return 0;
        double back = scaled / powers[k];
        if (scaled >= 1 && back <= d && back >= d) {
            char text[NUM_TEXT_MAX];
            size_t count = num_write_int((int64_t)scaled, text);
            *exp10 = (int)count - 1 - k;
            while (count > 1 && text[count - 1] == '0')
                count--;
            memcpy(digits, text, count);
            return count;
        }
    }
    return 0;
}

static size_t lay_out(const char *digits, size_t count, int e, char *out)
{
    size_t at = 0;
    if (e <= PLAIN_MIN || e >= PLAIN_MAX) {
        out[at++] = digits[0];
        out[at++] = '.';
        if (count == 1)
            out[at++] = '0';
        memcpy(out + at, digits + 1, count - 1);
        at += count - 1;
        out[at++] = 'e';
        out[at++] = e < 0 ? '-' : '+';
        return at + num_write_int(e < 0 ? -e : e, out + at);
    }
    if (e < 0) {
        out[at++] = '0';
        out[at++] = '.';
        for (int i = -1; i > e; i--)
            out[at++] = '0';
        memcpy(out + at, digits, count);
        return at + count;
    }
    for (size_t i = 0; i < count || i <= (size_t)e; i++) {
        if (i == (size_t)e + 1)
            out[at++] = '.';
        out[at++] = i < count ? digits[i] : '0';
    }
    return at;
}

size_t num_write_dec(double d, char out[NUM_TEXT_MAX])
{
    const double exact_ints = 9007199254740992.0; /* 2^53 */
    if (!isfinite(d)) {
        memcpy(out, "null", 4);
        return 4;
    }
    double size = fabs(d);
    if (size < exact_ints && trunc(size) >= size)
        return num_write_int((int64_t)d, out);
    char digits[MAX_DIGITS];
    int e = 0;
    size_t count = short_fraction(size, digits, &e), at = 0;
    if (count == 0)
        count = shortest(size, digits, &e);
    if (d < 0)
        out[at++] = '-';
    return at + lay_out(digits, count, e, out + at);
}
