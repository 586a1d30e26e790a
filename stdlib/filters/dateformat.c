/* dateformat.c - format characters of filters.md §3.2, writing and reading. */
#include <ctype.h>
#include <strings.h>

#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/datetime.h"

const char *const date_month_names[12] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};
const char *const date_day_names[7] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};

static int name_index(const char *const *names, int count, Text word)
{
    for (int i = 0; i < count; i++) {
        size_t full = strlen(names[i]);
        if ((word.len == 3 || word.len == full) && strncasecmp(names[i], word.ptr, word.len) == 0)
            return i;
    }
    return -1;
}

int date_month_named(Text word)
{
    int i = name_index(date_month_names, 12, word);
    if (i < 0 && word.len == 4 && strncasecmp(word.ptr, "sept", 4) == 0)
        i = 8;
    return i < 0 ? -1 : i + 1;
}

int date_day_named(Text word)
{
    static const struct {
        char name[6];
        int day;
    } more[] = {{"tues", 2}, {"wednes", 3}, {"thur", 4}, {"thurs", 4}};
    int i = name_index(date_day_names, 7, word);
    for (size_t k = 0; i < 0 && k < COUNT_OF(more); k++)
        if (word.len == strnlen(more[k].name, 6) &&
            strncasecmp(word.ptr, more[k].name, word.len) == 0)
            i = more[k].day;
    return i;
}

/* ---- writing ---- */

static void write_offset(Buf *out, int32_t offset_s, const char *sep)
{
    int m = offset_s / 60, a = m < 0 ? -m : m;
    buf_printf(out, "%c%02d%s%02d", m < 0 ? '-' : '+', a / 60, sep, a % 60);
}

static void write_year(Buf *out, int64_t y)
{
    if (y >= 0 && y <= 9999)
        buf_printf(out, "%04d", (int)y);
    else
        buf_printf(out, "%c%04lld", y < 0 ? '-' : '+', (long long)(y < 0 ? -y : y));
}

static const char *day_suffix(int day)
{
    if (day >= 11 && day <= 13)
        return "th";
    switch (day % 10) {
    case 1: return "st";
    case 2: return "nd";
    case 3: return "rd";
    default: return "th";
    }
}

static void write_zone_name(Buf *out, const Zone *z)
{
    buf_cstr(out, z->name[0] ? z->name : "UTC");
}

static void write_char(Buf *out, char c, int64_t ms, const Zone *z, const DateParts *p)
{
    int64_t utc_s = ms / 1000 - (ms % 1000 < 0);
    int hour12 = p->hour % 12 ? p->hour % 12 : 12;
    switch (c) {
    case 'd': buf_printf(out, "%02d", p->day); return;
    case 'j': buf_printf(out, "%d", p->day); return;
    case 'D': buf_printf(out, "%.3s", date_day_names[p->weekday]); return;
    case 'l': buf_cstr(out, date_day_names[p->weekday]); return;
    case 'N': buf_printf(out, "%d", p->weekday ? p->weekday : 7); return;
    case 'w': buf_printf(out, "%d", p->weekday); return;
    case 'S': buf_cstr(out, day_suffix(p->day)); return;
    case 'z': buf_printf(out, "%d", p->yearday); return;
    case 'W': buf_printf(out, "%02d", p->iso_week); return;
    case 'o': write_year(out, p->iso_year); return;
    case 'm': buf_printf(out, "%02d", p->month); return;
    case 'n': buf_printf(out, "%d", p->month); return;
    case 'M': buf_printf(out, "%.3s", date_month_names[p->month - 1]); return;
    case 'F': buf_cstr(out, date_month_names[p->month - 1]); return;
    case 't': buf_printf(out, "%d", days_in_month(p->year, p->month)); return;
    case 'L': buf_char(out, days_in_month(p->year, 2) == 29 ? '1' : '0'); return;
    case 'Y': write_year(out, p->year); return;
    case 'y': buf_printf(out, "%02d", (int)((p->year % 100 + 100) % 100)); return;
    case 'a': buf_cstr(out, p->hour < 12 ? "am" : "pm"); return;
    case 'A': buf_cstr(out, p->hour < 12 ? "AM" : "PM"); return;
    case 'g': buf_printf(out, "%d", hour12); return;
    case 'h': buf_printf(out, "%02d", hour12); return;
    case 'G': buf_printf(out, "%d", p->hour); return;
    case 'H': buf_printf(out, "%02d", p->hour); return;
    case 'i': buf_printf(out, "%02d", p->minute); return;
    case 's': buf_printf(out, "%02d", p->second); return;
    case 'v': buf_printf(out, "%03d", p->ms); return;
    case 'u': buf_printf(out, "%06d", p->ms * 1000); return;
    case 'e': write_zone_name(out, z); return;
    case 'T': buf_cstr(out, p->zone.abbr); return;
    case 'I': buf_char(out, p->zone.dst ? '1' : '0'); return;
    case 'Z': buf_printf(out, "%d", p->zone.offset_s); return;
    case 'O': write_offset(out, p->zone.offset_s, ""); return;
    case 'P': write_offset(out, p->zone.offset_s, ":"); return;
    case 'p':
        if (p->zone.offset_s == 0)
            buf_char(out, 'Z');
        else
            write_offset(out, p->zone.offset_s, ":");
        return;
    case 'U': buf_printf(out, "%lld", (long long)utc_s); return;
    case 'B': {
        int64_t day_s = ((utc_s + 3600) % 86400 + 86400) % 86400;
        buf_printf(out, "%03d", (int)(day_s * 10 / 864));
        return;
    }
    case 'c': date_format(ms, z, TEXT("Y-m-d\\TH:i:sP"), out); return;
    case 'r': date_format(ms, z, TEXT("D, d M Y H:i:s O"), out); return;
    default: buf_char(out, c); return;
    }
}

void date_format(int64_t ms, const Zone *z, Text format, Buf *out)
{
    DateParts p;
    date_split(ms, z, &p);
    for (size_t i = 0; i < format.len && !out->failed; i++) {
        if (format.ptr[i] == '\\' && i + 1 < format.len)
            buf_char(out, format.ptr[++i]);
        else
            write_char(out, format.ptr[i], ms, z, &p);
    }
}

/* ---- reading ---- */

typedef struct Reader {
    Text t;
    size_t at;
    int64_t year, unix_s;
    int month, day, hour, minute, second, ms, yearday;
    int pm;      /* -1 = not read, 0 = am, 1 = pm */
    bool hour12; /* read with g or h */
    bool has_date, has_time, has_unix, reset;
    Zone zone;
} Reader;

static bool read_digits(Reader *r, size_t min, size_t max, int64_t *out)
{
    size_t n = 0;
    int64_t v = 0;
    while (n < max && r->at < r->t.len && isdigit((unsigned char)r->t.ptr[r->at])) {
        v = v * 10 + (r->t.ptr[r->at++] - '0');
        n++;
    }
    *out = v;
    return n >= min;
}

static bool read_int(Reader *r, size_t min, size_t max, int lo, int hi, int *out)
{
    int64_t v;
    if (!read_digits(r, min, max, &v) || v < lo || v > hi)
        return false;
    *out = (int)v;
    return true;
}

static Text read_letters(Reader *r)
{
    size_t from = r->at;
    while (r->at < r->t.len && isalpha((unsigned char)r->t.ptr[r->at]))
        r->at++;
    return text_slice(r->t, from, r->at);
}

static bool read_fraction(Reader *r, size_t max)
{
    size_t from = r->at;
    int64_t v;
    if (!read_digits(r, 1, max, &v))
        return false;
    for (size_t n = r->at - from; n < 6; n++)
        v *= 10;
    r->ms = (int)(v / 1000);
    return true;
}

static bool read_zone(Reader *r)
{
    size_t from = r->at;
    while (r->at < r->t.len &&
           (isalnum((unsigned char)r->t.ptr[r->at]) || strchr("+-:/_", r->t.ptr[r->at]) != NULL))
        if (r->t.ptr[r->at++] == 0)
            return false;
    return r->at > from && zone_find(text_slice(r->t, from, r->at), &r->zone, NULL);
}

static bool read_year(Reader *r, size_t max)
{
    int64_t v;
    bool neg = max == 4 && r->at < r->t.len && r->t.ptr[r->at] == '-';
    r->at += neg;
    if (!read_digits(r, max == 2 ? 2 : 1, max, &v))
        return false;
    r->year = max == 2 ? v + (v >= 70 ? 1900 : 2000) : neg ? -v : v;
    return true;
}

static bool read_unix(Reader *r)
{
    bool neg = r->at < r->t.len && r->t.ptr[r->at] == '-';
    r->at += neg;
    if (!read_digits(r, 1, 15, &r->unix_s))
        return false;
    if (neg)
        r->unix_s = -r->unix_s;
    return r->has_unix = true;
}

static bool read_separator(Reader *r, const char *set)
{
    if (r->at == r->t.len || !r->t.ptr[r->at] || !strchr(set, r->t.ptr[r->at]))
        return false;
    r->at++;
    return true;
}

static bool read_char(Reader *r, char c)
{
    if (strchr("djmnYyMFz", c))
        r->has_date = true;
    if (strchr("HGhgisauvA", c))
        r->has_time = true;
    switch (c) {
    case 'd':
    case 'j': return read_int(r, 1, 2, 1, 31, &r->day);
    case 'm':
    case 'n': return read_int(r, 1, 2, 1, 12, &r->month);
    case 'Y': return read_year(r, 4);
    case 'y': return read_year(r, 2);
    case 'H':
    case 'G': r->hour12 = false; return read_int(r, 1, 2, 0, 23, &r->hour);
    case 'h':
    case 'g': r->hour12 = true; return read_int(r, 1, 2, 1, 12, &r->hour);
    case 'i': return read_int(r, 2, 2, 0, 59, &r->minute);
    case 's': return read_int(r, 2, 2, 0, 59, &r->second);
    case 'u': return read_fraction(r, 6);
    case 'v': return read_fraction(r, 3);
    case 'a':
    case 'A': {
        Text w = read_letters(r);
        if (w.len != 2 || (w.ptr[1] != 'm' && w.ptr[1] != 'M') || !strchr("aApP", w.ptr[0]))
            return false;
        r->pm = w.ptr[0] == 'p' || w.ptr[0] == 'P';
        return true;
    }
    case 'D':
    case 'l': return date_day_named(read_letters(r)) >= 0;
    case 'M':
    case 'F': return (r->month = date_month_named(read_letters(r))) > 0;
    case 'S': return read_letters(r).len == 2;
    case 'z': return read_int(r, 1, 3, 0, 365, &r->yearday);
    case 'U': return read_unix(r);
    case 'e':
    case 'T':
    case 'O':
    case 'P':
    case 'p': return read_zone(r);
    case '?': return r->at++ < r->t.len;
    case '*':
        while (r->at < r->t.len && !memchr(" ,;:/.-()", r->t.ptr[r->at], 9) &&
               !isdigit((unsigned char)r->t.ptr[r->at]))
            r->at++;
        return true;
    case ' ':
        while (r->at < r->t.len && (r->t.ptr[r->at] == ' ' || r->t.ptr[r->at] == '\t'))
            r->at++;
        return true;
    case '#': return read_separator(r, ";:/.,-()");
    case '+': r->at = r->t.len; return true;
    case '!':
    case '|': r->reset = true; return true;
    default: break;
    }
    if (r->at == r->t.len || r->t.ptr[r->at] != c)
        return false;
    r->at++;
    return true;
}

static bool finish_read(Reader *r, int64_t now_ms, int64_t *out)
{
    if (r->has_unix)
        return !__builtin_mul_overflow(r->unix_s, (int64_t)1000, out) &&
               !__builtin_add_overflow(*out, (int64_t)r->ms, out);
    if (r->pm >= 0) {
        if (!r->hour12)
            return false;
        r->hour = r->hour % 12 + r->pm * 12;
    }
    if (!r->has_date && r->has_time && !r->reset) {
        DateParts today;
        date_split(now_ms, &r->zone, &today);
        r->year = today.year;
        r->month = today.month;
        r->day = today.day;
    }
    if (r->day > days_in_month(r->year, r->month))
        return false;
    int64_t day = r->day;
    if (r->yearday >= 0) {
        if (r->yearday == 365 && days_in_month(r->year, 2) == 28)
            return false;
        r->month = 1;
        day = r->yearday + 1;
    }
    int64_t time = ((r->hour * 60 + r->minute) * 60 + r->second) * (int64_t)1000 + r->ms;
    return date_join(r->year, r->month, day, time, &r->zone, out);
}

bool date_parse_format(Text text, Text format, const Zone *z, int64_t now_ms, int64_t *out)
{
    Reader r = {.t = text, .year = 1970, .month = 1, .day = 1, .pm = -1, .yearday = -1, .zone = *z};
    for (size_t i = 0; i < format.len; i++) {
        char c = format.ptr[i];
        if (c == 0)
            return false;
        if (c == '\\' && i + 1 < format.len) {
            c = format.ptr[++i];
            if (r.at == text.len || text.ptr[r.at++] != c)
                return false;
        } else if (!read_char(&r, c)) {
            return false;
        }
    }
    return r.at == text.len && finish_read(&r, now_ms, out);
}
