/* datetext.c - date text and relative expressions, filters.md §3.3: the items are collected first,
 * then applied to the base in the order of the specification. */
#include <ctype.h>

#include "core/text.h"
#include "stdlib/filters/datetime.h"

enum { DATE_TEXT_MAX = 256, DAY_MS = 86400000 };
/* Larger counts cannot stay inside the years a timestamp reaches. */
static const int64_t count_max = 10000000000000000;

typedef enum WeekdayRule { WD_NONE, WD_BARE, WD_NEXT, WD_LAST, WD_COUNT } WeekdayRule;

typedef struct Plan {
    const char *at, *end; /* lower-cased text */
    bool any;             /* something that is not a zone */
    bool has_date, has_time, has_zone, keep_day, is_unix;
    int64_t year;
    int month, day;
    int64_t time_ms; /* of the day */
    int64_t unix_ms;
    Zone zone;
    int64_t months, days, weekdays, ms;
    int day_of; /* 1 first day of, -1 last day of */
    int nth;    /* n-th nth_day of the month, -1 the last; 0 = none */
    int nth_day;
    WeekdayRule wd_rule;
    int wd;
    int64_t wd_count;
    bool has_week;
    int64_t week;
} Plan;

/* ---- scanning ---- */

static void skip_blanks(Plan *p)
{
    while (p->at < p->end && (isspace((unsigned char)*p->at) || *p->at == ','))
        p->at++;
}

static void skip_space(Plan *p)
{
    while (p->at < p->end && isspace((unsigned char)*p->at))
        p->at++;
}

static char peek(const Plan *p, size_t ahead)
{
    return (size_t)(p->end - p->at) > ahead ? p->at[ahead] : '\0';
}

static size_t digits_at(const Plan *p, size_t ahead)
{
    size_t n = 0;
    while (isdigit((unsigned char)peek(p, ahead + n)))
        n++;
    return n;
}

static int64_t take_number(Plan *p, size_t digits)
{
    int64_t v = 0;
    for (size_t i = 0; i < digits; i++, p->at++)
        v = v > count_max ? v : v * 10 + (*p->at - '0');
    return v;
}

static bool take_char(Plan *p, char c)
{
    if (peek(p, 0) != c || p->at == p->end)
        return false;
    p->at++;
    return true;
}

/* 1..max digits with a value in lo..hi. */
static bool take_field(Plan *p, size_t min, size_t max, int lo, int hi, int *out)
{
    size_t n = digits_at(p, 0);
    if (n < min || n > max)
        return false;
    int64_t v = take_number(p, n);
    *out = (int)v;
    return v >= lo && v <= hi;
}

static Text word_at(const Plan *p)
{
    const char *q = p->at;
    while (q < p->end && isalpha((unsigned char)*q))
        q++;
    return (Text){p->at, (size_t)(q - p->at)};
}

static bool take_word(Plan *p, const char *word)
{
    if (!text_eq(word_at(p), text_from(word)))
        return false;
    p->at += strlen(word);
    return true;
}

/* ---- absolute items ---- */

static bool set_date(Plan *p, int64_t year, int month, int day)
{
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    p->year = year;
    p->month = month;
    p->day = day;
    p->keep_day = false;
    return p->has_date = true;
}

static void set_time(Plan *p, int64_t ms)
{
    p->time_ms = ms;
    p->has_time = true;
}

/* [.frac] up to any digits, in ms */
static int64_t take_fraction(Plan *p)
{
    size_t n = peek(p, 0) == '.' || peek(p, 0) == ',' ? digits_at(p, 1) : 0;
    int64_t ms = 0;
    if (!n)
        return 0;
    for (size_t i = 0; i < 3; i++)
        ms = ms * 10 + (i < n ? p->at[1 + i] - '0' : 0);
    p->at += 1 + n;
    return ms;
}

/* [blank] am|pm, also a.m. without dots only; -1 = none */
static int take_meridian(Plan *p)
{
    const char *was = p->at;
    skip_space(p);
    Text w = word_at(p);
    if (w.len == 2 && w.ptr[1] == 'm' && (w.ptr[0] == 'a' || w.ptr[0] == 'p')) {
        p->at += 2;
        return w.ptr[0] == 'p';
    }
    p->at = was;
    return -1;
}

/* At HH[:MM[:SS[.frac]]] [am|pm]; minutes may be missing only with am or pm. */
static bool take_time(Plan *p)
{
    int h, m = 0, s = 0;
    int64_t ms = 0;
    bool minutes = false;
    if (!take_field(p, 1, 2, 0, 24, &h))
        return false;
    if (take_char(p, ':')) {
        minutes = true;
        if (!take_field(p, 2, 2, 0, 59, &m))
            return false;
        if (take_char(p, ':')) {
            if (!take_field(p, 2, 2, 0, 59, &s))
                return false;
            ms = take_fraction(p);
        }
    }
    int pm = take_meridian(p);
    if (pm >= 0) {
        if (h < 1 || h > 12)
            return false;
        h = h % 12 + pm * 12;
    } else if (!minutes || (h == 24 && (m || s || ms))) {
        return false;
    }
    set_time(p, ((h * 60 + m) * 60 + s) * (int64_t)1000 + ms);
    return true;
}

/* Behind a "t": HH:MM… or HHMM[SS] or HH */
static bool take_iso_time(Plan *p)
{
    size_t n = digits_at(p, 0);
    if (n <= 2)
        return take_time(p);
    if (n != 4 && n != 6)
        return false;
    int64_t v = take_number(p, n);
    if (n == 4)
        v *= 100;
    int64_t h = v / 10000, m = v / 100 % 100, s = v % 100;
    if (h > 24 || m > 59 || s > 59 || (h == 24 && (m || s)))
        return false;
    set_time(p, ((h * 60 + m) * 60 + s) * 1000 + take_fraction(p));
    return true;
}

static bool set_zone(Plan *p, Text name)
{
    p->has_zone = true;
    return zone_find(name, &p->zone, NULL);
}

/* YYYY-W05[-2], YYYY-DDD, YYYY-MM[-DD]; behind "YYYY-" */
static bool take_year_dash(Plan *p, int64_t year)
{
    int a, b = 1;
    if (take_char(p, 'w')) {
        if (!take_field(p, 2, 2, 1, 53, &a) || (peek(p, 0) == '-' && digits_at(p, 1) == 1 &&
                                                (p->at++, !take_field(p, 1, 1, 1, 7, &b))))
            return false;
        int64_t jan4 = days_from_civil(year, 1, 4);
        int64_t monday = jan4 - (jan4 % 7 + 10) % 7;
        int m, d;
        civil_from_days(monday + (a - 1) * 7 + b - 1, &year, &m, &d);
        return set_date(p, year, m, d);
    }
    if (digits_at(p, 0) == 3) {
        int64_t doy = take_number(p, 3), y;
        int m, d;
        civil_from_days(days_from_civil(year, 1, 1) + doy - 1, &y, &m, &d);
        return doy >= 1 && y == year && set_date(p, year, m, d);
    }
    if (!take_field(p, 1, 2, 1, 12, &a))
        return false;
    if (peek(p, 0) == '-' && digits_at(p, 1) > 0) {
        p->at++;
        if (!take_field(p, 1, 2, 1, 31, &b))
            return false;
    }
    return set_date(p, year, a, b);
}

/* Optional year behind a month: blanks or comma, four digits that do not begin a time. */
static bool take_year_after(Plan *p, int64_t *year)
{
    const char *was = p->at;
    skip_blanks(p);
    if (digits_at(p, 0) == 4 && peek(p, 4) != ':') {
        *year = take_number(p, 4);
        return true;
    }
    p->at = was;
    return false;
}

static void take_day_suffix(Plan *p)
{
    Text w = word_at(p);
    if (w.len == 2 && (text_eq(w, TEXT("st")) || text_eq(w, TEXT("nd")) || text_eq(w, TEXT("rd")) ||
                       text_eq(w, TEXT("th"))))
        p->at += 2;
}

/* Behind a month name: D[st] [, YYYY] or [YYYY] */
static bool take_after_month(Plan *p, int month)
{
    const char *was = p->at;
    int64_t year = p->year;
    skip_space(p);
    size_t n = digits_at(p, 0);
    if (n >= 1 && n <= 2 && peek(p, n) != ':') {
        int day = (int)take_number(p, n);
        take_day_suffix(p);
        if (take_meridian(p) < 0) { /* "march 5pm" is a time */
            (void)take_year_after(p, &year);
            return set_date(p, year, month, day);
        }
    }
    p->at = was;
    if (take_year_after(p, &year))
        return set_date(p, year, month, 1);
    /* the month alone keeps the day, which may roll over */
    p->has_date = true;
    p->keep_day = true;
    p->month = month;
    return true;
}

/* ---- relative items ---- */

typedef enum Unit { U_NONE, U_MS, U_DAY, U_WEEKDAY, U_WEEK, U_MONTH } Unit;

static Unit unit_of(Text w, int64_t *scale)
{
    static const struct {
        char name[12];
        Unit unit;
        int32_t scale;
    } units[] = {
        {"ms", U_MS, 1},           {"msec", U_MS, 1},       {"millisecond", U_MS, 1},
        {"sec", U_MS, 1000},       {"second", U_MS, 1000},  {"min", U_MS, 60000},
        {"minute", U_MS, 60000},   {"hour", U_MS, 3600000}, {"day", U_DAY, 1},
        {"weekday", U_WEEKDAY, 1}, {"week", U_WEEK, 7},     {"fortnight", U_DAY, 14},
        {"month", U_MONTH, 1},     {"year", U_MONTH, 12},
    };
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        size_t n = strnlen(units[i].name, sizeof units[i].name);
        if ((w.len == n || (w.len == n + 1 && w.ptr[n] == 's')) &&
            memcmp(w.ptr, units[i].name, n) == 0) {
            *scale = units[i].scale;
            return units[i].unit;
        }
    }
    return U_NONE;
}

static bool add_scaled(int64_t *to, int64_t n, int64_t scale)
{
    return !__builtin_mul_overflow(n, scale, &n) && !__builtin_add_overflow(*to, n, to) &&
           *to <= INT64_MAX / 4 && *to >= -(INT64_MAX / 4);
}

static bool add_unit(Plan *p, Unit unit, int64_t n, int64_t scale)
{
    switch (unit) {
    case U_MS: return add_scaled(&p->ms, n, scale);
    case U_MONTH: return add_scaled(&p->months, n, scale);
    case U_WEEKDAY: return add_scaled(&p->weekdays, n, 1);
    default: return add_scaled(&p->days, n, scale);
    }
}

static bool set_weekday(Plan *p, WeekdayRule rule, int day, int64_t count)
{
    p->wd_rule = rule;
    p->wd = day;
    p->wd_count = count;
    return true;
}

/* Behind a signed or plain number: unit or dayname. false: neither, nothing taken. */
static bool take_counted(Plan *p, int64_t n, bool *failed)
{
    const char *was = p->at;
    skip_space(p);
    Text w = word_at(p);
    int64_t scale = 1;
    Unit u = unit_of(w, &scale);
    int day = u == U_NONE ? date_day_named(w) : -1;
    if (u == U_NONE && day < 0) {
        p->at = was;
        return false;
    }
    p->at += w.len;
    *failed = n > count_max || n < -count_max ||
              !(u != U_NONE ? add_unit(p, u, n, scale) : set_weekday(p, WD_COUNT, day, n));
    return true;
}

static bool ordinal_of(Text w, int *out)
{
    static const char names[][9] = {"this",  "first",    "second",  "third",  "fourth",
                                    "fifth", "sixth",    "seventh", "eighth", "ninth",
                                    "tenth", "eleventh", "twelfth"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (w.len == strnlen(names[i], 9) && memcmp(w.ptr, names[i], w.len) == 0) {
            *out = (int)i;
            return true;
        }
    if (text_eq(w, TEXT("next")))
        *out = 1;
    else if (text_eq(w, TEXT("last")) || text_eq(w, TEXT("previous")))
        *out = -1;
    else
        return false;
    return true;
}

static bool take_of(Plan *p)
{
    const char *was = p->at;
    skip_space(p);
    if (take_word(p, "of"))
        return true;
    p->at = was;
    return false;
}

/* Behind an ordinal word. */
static bool take_ordinal(Plan *p, Text word, int n)
{
    skip_space(p);
    Text w = word_at(p);
    bool edge = text_eq(word, TEXT("first")) || text_eq(word, TEXT("last"));
    bool relative = n <= 0 || text_eq(word, TEXT("next"));
    int day = date_day_named(w);
    int64_t scale = 1;
    p->at += w.len;
    if (edge && text_eq(w, TEXT("day")) && take_of(p)) {
        p->day_of = n;
        return true;
    }
    if (day >= 0) {
        if (take_of(p)) {
            p->nth = n;
            p->nth_day = day;
            return n != 0;
        }
        if (!relative)
            return set_weekday(p, WD_COUNT, day, n);
        return set_weekday(p, n > 0 ? WD_NEXT : n < 0 ? WD_LAST : WD_BARE, day, 0);
    }
    Unit u = unit_of(w, &scale);
    if (u == U_WEEK && relative) {
        p->has_week = true;
        return add_scaled(&p->week, n, 1);
    }
    return u != U_NONE && add_unit(p, u, n, scale);
}

static bool take_signed(Plan *p)
{
    bool neg = *p->at == '-', failed = false;
    const char *start = p->at++;
    size_t n = digits_at(p, 0);
    if (n == 0)
        return false;
    bool colon = n <= 2 && peek(p, n) == ':' && digits_at(p, n + 1) == 2;
    if (!colon) {
        int64_t v = take_number(p, n);
        if (take_counted(p, neg ? -v : v, &failed)) {
            p->any = true;
            return !failed;
        }
        if (n != 4 && n != 2)
            return false;
    } else {
        p->at += n + 3;
    }
    return set_zone(p, (Text){start, (size_t)(p->at - start)});
}

static bool take_unix(Plan *p)
{
    p->at++;
    bool neg = take_char(p, '-');
    size_t n = digits_at(p, 0);
    if (n == 0 || n > 15)
        return false;
    int64_t v = take_number(p, n) * 1000 + take_fraction(p);
    p->is_unix = p->any = true;
    p->unix_ms = neg ? -v : v;
    p->has_date = p->has_time = false;
    p->zone = zone_utc;
    return p->has_zone = true;
}

static bool take_digit_item(Plan *p)
{
    size_t n = digits_at(p, 0);
    char next = peek(p, n);
    bool failed = false;
    int a, b;
    p->any = true;
    if (n == 4 && (next == '-' || next == '/') && (digits_at(p, 5) > 0 || peek(p, 5) == 'w')) {
        int64_t year = take_number(p, 4);
        p->at++;
        if (next == '-')
            return take_year_dash(p, year);
        return take_field(p, 1, 2, 1, 12, &a) && take_char(p, '/') &&
               take_field(p, 1, 2, 1, 31, &b) && set_date(p, year, a, b);
    }
    if (n == 8) {
        int64_t v = take_number(p, 8);
        return set_date(p, v / 10000, (int)(v / 100 % 100), (int)(v % 100));
    }
    if (n <= 2 && next == ':')
        return take_time(p);
    if (n <= 2 && (next == '/' || next == '-' || next == '.') && digits_at(p, n + 1) > 0) {
        a = (int)take_number(p, n);
        p->at++;
        if (!take_field(p, 1, 2, 1, 31, &b))
            return false;
        int64_t year = p->year;
        if (peek(p, 0) == next && digits_at(p, 1) == 4) {
            p->at++;
            year = take_number(p, 4);
        } else if (next != '/') {
            return false;
        }
        return next == '/' ? set_date(p, year, a, b) : set_date(p, year, b, a);
    }
    const char *start = p->at;
    int64_t v = take_number(p, n);
    if (n <= 2) {
        if (take_meridian(p) >= 0) {
            p->at = start;
            return take_time(p);
        }
        take_day_suffix(p);
        const char *was = p->at;
        while (p->at < p->end && (isspace((unsigned char)*p->at) || *p->at == '-'))
            p->at++;
        Text w = word_at(p);
        int month = date_month_named(w);
        if (month > 0) {
            int64_t year = p->year;
            p->at += w.len;
            if (peek(p, 0) == '-' && digits_at(p, 1) == 4)
                p->at++;
            (void)take_year_after(p, &year);
            return set_date(p, year, month, (int)v);
        }
        p->at = was;
    }
    return take_counted(p, v, &failed) && !failed;
}

static bool take_word_item(Plan *p)
{
    Text w = word_at(p);
    int n;
    if (w.len == 1 && *w.ptr == 't' && digits_at(p, 1) > 0) {
        p->at++;
        p->any = true;
        return take_iso_time(p);
    }
    /* daynames and months before zones: "sat", "mar" */
    bool known = true;
    p->at += w.len;
    if (text_eq(w, TEXT("now"))) {
        ;
    } else if (text_eq(w, TEXT("today")) || text_eq(w, TEXT("midnight"))) {
        set_time(p, 0);
    } else if (text_eq(w, TEXT("noon"))) {
        set_time(p, DAY_MS / 2);
    } else if (text_eq(w, TEXT("tomorrow")) || text_eq(w, TEXT("yesterday"))) {
        set_time(p, 0);
        p->days += *w.ptr == 't' ? 1 : -1;
    } else if (text_eq(w, TEXT("ago"))) {
        p->months = -p->months;
        p->days = -p->days;
        p->weekdays = -p->weekdays;
        p->ms = -p->ms;
        p->week = -p->week;
        if (p->wd_rule == WD_COUNT)
            p->wd_count = -p->wd_count;
    } else if (ordinal_of(w, &n)) {
        p->any = true;
        return take_ordinal(p, w, n);
    } else if ((n = date_day_named(w)) >= 0) {
        (void)take_char(p, '.');
        (void)set_weekday(p, WD_BARE, n, 0);
    } else if ((n = date_month_named(w)) > 0) {
        (void)take_char(p, '.');
        p->any = true;
        return take_after_month(p, n);
    } else {
        known = false;
    }
    if (known)
        return p->any = true;

    const char *start = w.ptr;
    bool utc = text_eq(w, TEXT("utc")) || text_eq(w, TEXT("gmt"));
    if (peek(p, 0) == '/' || peek(p, 0) == '_') {
        while (p->at < p->end && (isalnum((unsigned char)*p->at) || strchr("/_+-", *p->at)))
            p->at++;
    } else if (utc && (peek(p, 0) == '+' || peek(p, 0) == '-') && digits_at(p, 1) > 0) {
        p->at++;
        while (p->at < p->end && (isdigit((unsigned char)*p->at) || *p->at == ':'))
            p->at++;
    }
    return w.len > 0 && set_zone(p, (Text){start, (size_t)(p->at - start)});
}

static bool take_item(Plan *p)
{
    char c = *p->at;
    if (isdigit((unsigned char)c))
        return take_digit_item(p);
    if (c == '+' || c == '-')
        return take_signed(p);
    if (c == '@')
        return take_unix(p);
    return isalpha((unsigned char)c) && take_word_item(p);
}

/* ---- applying ---- */

static int weekday_of(int64_t days)
{
    return (int)((days % 7 + 11) % 7);
}

static int64_t add_weekdays(int64_t day, int64_t n)
{
    int step = n < 0 ? -1 : 1;
    int64_t left = n < 0 ? -n : n;
    while (left && (weekday_of(day) == 0 || weekday_of(day) == 6))
        day -= step; /* a weekend counts from the working day behind it */
    day += step * (left / 5 * 7);
    for (left %= 5; left;) {
        day += step;
        int wd = weekday_of(day);
        left -= wd != 0 && wd != 6;
    }
    return day;
}

static int64_t nth_weekday(int64_t year, int month, int nth, int wd)
{
    if (nth > 0) {
        int64_t first = days_from_civil(year, month, 1);
        return first + (wd - weekday_of(first) + 7) % 7 + (nth - 1) * 7;
    }
    int64_t last = days_from_civil(year, month, days_in_month(year, month));
    return last - (weekday_of(last) - wd + 7) % 7;
}

static int64_t apply_weekday(const Plan *p, int64_t day)
{
    int ahead = (p->wd - weekday_of(day) + 7) % 7;
    switch (p->wd_rule) {
    case WD_BARE: return day + ahead;
    case WD_NEXT: return day + (ahead ? ahead : 7);
    case WD_LAST: return day - (7 - ahead);
    case WD_COUNT:
        if (p->wd_count > 0)
            return day + (ahead ? ahead : 7) + (p->wd_count - 1) * 7;
        if (p->wd_count < 0)
            return day - (7 - ahead) + (p->wd_count + 1) * 7;
        return day + ahead;
    default: return day;
    }
}

static bool apply_plan(const Plan *p, int64_t base_ms, bool keep_time, int64_t *out)
{
    DateParts b;
    enum { YEAR_MAX = 280000000 };
    const int64_t day_max = 100000000000;
    if (p->is_unix)
        base_ms = p->unix_ms;
    date_split(base_ms, &p->zone, &b);
    int64_t base_time = ((b.hour * 60 + b.minute) * 60 + b.second) * (int64_t)1000 + b.ms;
    int64_t base_day = days_from_civil(b.year, b.month, b.day);

    int64_t year = b.year;
    int month = b.month, mday = b.day;
    int64_t time = base_time;
    if (p->has_date) {
        year = p->year;
        month = p->month;
        if (!p->keep_day)
            mday = p->day;
        if (!keep_time)
            time = 0;
    }
    if (p->has_time)
        time = p->time_ms;

    if (p->months > YEAR_MAX * (int64_t)12 || p->months < -YEAR_MAX * (int64_t)12)
        return false;
    int64_t m0 = month - 1 + p->months;
    year += m0 / 12 - (m0 % 12 < 0);
    month = (int)((m0 % 12 + 12) % 12) + 1;
    if (year > YEAR_MAX || year < -YEAR_MAX || p->days > day_max || p->days < -day_max ||
        p->weekdays > day_max / 2 || p->weekdays < -day_max / 2 || p->week > day_max / 10 ||
        p->week < -day_max / 10 || p->wd_count > day_max / 10 || p->wd_count < -day_max / 10)
        return false;
    if (p->day_of)
        mday = p->day_of > 0 ? 1 : days_in_month(year, month);
    int64_t day = days_from_civil(year, month, 1) + mday - 1 + p->days;
    if (p->weekdays)
        day = add_weekdays(day, p->weekdays);
    bool to_midnight = false;
    if (p->nth) {
        int64_t y;
        int m, d;
        civil_from_days(day, &y, &m, &d);
        day = nth_weekday(y, m, p->nth, p->nth_day);
        to_midnight = true;
    }
    if (p->has_week) {
        int64_t monday = day - (weekday_of(day) + 6) % 7 + p->week * 7;
        day = monday;
        if (p->wd_rule == WD_BARE) {
            day += (p->wd + 6) % 7;
            to_midnight = true;
        }
    }
    if (p->wd_rule != WD_NONE && !(p->has_week && p->wd_rule == WD_BARE)) {
        day = apply_weekday(p, day);
        to_midnight = to_midnight || p->wd_rule != WD_COUNT;
    }
    if (to_midnight && !p->has_time)
        time = 0;

    /* an untouched local time stays the very instant it was, also in the repeated hour of autumn */
    if (day == base_day && time == base_time)
        *out = base_ms;
    else if (!date_join(1970, 1, day + 1, time, &p->zone, out))
        return false;
    return !__builtin_add_overflow(*out, p->ms, out);
}

bool date_parse_text(Text text, const Zone *z, int64_t base_ms, bool keep_time, int64_t *out)
{
    char lower[DATE_TEXT_MAX];
    if (text.len > sizeof lower)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        lower[i] = (char)tolower((unsigned char)text.ptr[i]);
        if (!lower[i])
            return false;
    }
    DateParts b;
    date_split(base_ms, z, &b);
    Plan p = {.at = lower,
              .end = lower + text.len,
              .zone = *z,
              .year = b.year,
              .month = b.month,
              .day = b.day};
    for (skip_blanks(&p); p.at < p.end; skip_blanks(&p))
        if (!take_item(&p))
            return false;
    return p.any && apply_plan(&p, base_ms, keep_time, out);
}
