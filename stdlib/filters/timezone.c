/* timezone.c - time zones: fixed offsets, abbreviations, and the system's TZif files (RFC 8536)
 * with their POSIX rule for times after the last transition. Parsed files live in the thread cache.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/map.h"
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/filters/datetime.h"
#include "stdlib/thread_cache.h"

enum { TZIF_MAX_BYTES = 256 * 1024, TZIF_HEADER = 44, DAY_S = 86400 };

typedef struct ZoneType {
    int32_t offset_s;
    bool dst;
    char abbr[ZONE_ABBR_MAX];
} ZoneType;

/* One edge of a POSIX rule: Mm.w.d, Jn or n, at a local second of the day. */
typedef struct RuleDay {
    char kind; /* 'M' 'J' 'n' */
    int month, week, day;
    int32_t at_s;
} RuleDay;

typedef struct PosixRule {
    bool valid, has_dst;
    ZoneType std, dst;
    RuleDay start, end;
} PosixRule;

struct ZoneFile {
    size_t count, type_count;
    int64_t *times;
    uint8_t *kinds; /* index into types per transition */
    ZoneType *types;
    PosixRule rule;
    char *key; /* of the cache */
};

const Zone zone_utc = {.abbr = "UTC", .name = "UTC"};

/* ---- calendar ---- */

int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t yoe = year - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

void civil_from_days(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

static bool is_leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

int days_in_month(int64_t year, int month)
{
    static const int8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* b > 0; never leaves int64, unlike a - floor_div(a, b) * b. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    return a % b < 0 ? a % b + b : a % b;
}

/* ---- POSIX rule of the footer ---- */

typedef struct Cursor {
    const char *at, *end;
} Cursor;

static bool rule_number(Cursor *c, int max, int *out)
{
    int n = 0;
    if (c->at == c->end || !isdigit((unsigned char)*c->at))
        return false;
    while (c->at < c->end && isdigit((unsigned char)*c->at)) {
        n = n * 10 + (*c->at++ - '0');
        if (n > max)
            return false;
    }
    *out = n;
    return true;
}

static bool rule_char(Cursor *c, char ch)
{
    if (c->at == c->end || *c->at != ch)
        return false;
    c->at++;
    return true;
}

static bool rule_abbr(Cursor *c, char out[ZONE_ABBR_MAX])
{
    bool quoted = rule_char(c, '<');
    size_t n = 0;
    while (c->at < c->end && (quoted ? *c->at != '>' : isalpha((unsigned char)*c->at) != 0)) {
        if (n + 1 >= ZONE_ABBR_MAX)
            return false;
        out[n++] = *c->at++;
    }
    out[n] = 0;
    return n > 0 && (!quoted || rule_char(c, '>'));
}

/* [+-]hh[:mm[:ss]] in seconds */
static bool rule_time(Cursor *c, int32_t *out)
{
    bool neg = rule_char(c, '-');
    if (!neg)
        (void)rule_char(c, '+');
    int h, m = 0, s = 0;
    if (!rule_number(c, 167, &h))
        return false;
    if (rule_char(c, ':') &&
        (!rule_number(c, 59, &m) || (rule_char(c, ':') && !rule_number(c, 59, &s))))
        return false;
    int32_t v = h * 3600 + m * 60 + s;
    *out = neg ? -v : v;
    return true;
}

static bool rule_day(Cursor *c, RuleDay *out)
{
    *out = (RuleDay){.kind = 'n', .at_s = 7200};
    if (rule_char(c, 'M')) {
        out->kind = 'M';
        if (!rule_number(c, 12, &out->month) || out->month < 1 || !rule_char(c, '.') ||
            !rule_number(c, 5, &out->week) || out->week < 1 || !rule_char(c, '.') ||
            !rule_number(c, 6, &out->day))
            return false;
    } else {
        if (rule_char(c, 'J'))
            out->kind = 'J';
        if (!rule_number(c, 365, &out->day) || (out->kind == 'J' && out->day < 1))
            return false;
    }
    return !rule_char(c, '/') || rule_time(c, &out->at_s);
}

static bool parse_rule(Text t, PosixRule *r)
{
    Cursor c = {t.ptr, t.ptr + t.len};
    *r = (PosixRule){0};
    int32_t west;
    if (!rule_abbr(&c, r->std.abbr) || !rule_time(&c, &west))
        return false;
    r->std.offset_s = -west;
    if (c.at < c.end) {
        r->has_dst = true;
        r->dst.dst = true;
        r->dst.offset_s = r->std.offset_s + 3600;
        if (!rule_abbr(&c, r->dst.abbr))
            return false;
        if (c.at < c.end && *c.at != ',') {
            if (!rule_time(&c, &west))
                return false;
            r->dst.offset_s = -west;
        }
        if (!rule_char(&c, ',') || !rule_day(&c, &r->start) || !rule_char(&c, ',') ||
            !rule_day(&c, &r->end))
            return false;
    }
    r->valid = c.at == c.end;
    return r->valid;
}

/* Local second (since 1970) of a rule's edge in a year. */
static int64_t rule_edge(const RuleDay *d, int64_t year)
{
    int64_t day;
    if (d->kind == 'M') {
        int64_t first = days_from_civil(year, d->month, 1);
        int wd = (int)((first % 7 + 11) % 7); /* 1970-01-01 was a Thursday (4) */
        int n = (d->day - wd + 7) % 7 + (d->week - 1) * 7;
        while (n >= days_in_month(year, d->month))
            n -= 7;
        day = first + n;
    } else {
        day = days_from_civil(year, 1, 1) + d->day;
        if (d->kind == 'J') /* 29 February is never counted */
            day += (is_leap(year) && d->day >= 60) - 1;
    }
    return day * DAY_S + d->at_s;
}

static const ZoneType *rule_at(const PosixRule *r, int64_t utc_s)
{
    if (!r->has_dst)
        return &r->std;
    int64_t year;
    int month, day;
    civil_from_days(floor_div(utc_s + r->std.offset_s, DAY_S), &year, &month, &day);
    int64_t start = rule_edge(&r->start, year) - r->std.offset_s;
    int64_t end = rule_edge(&r->end, year) - r->dst.offset_s;
    bool dst = start < end ? utc_s >= start && utc_s < end : utc_s >= start || utc_s < end;
    return dst ? &r->dst : &r->std;
}

/* ---- TZif ---- */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const uint8_t *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

typedef struct TzCounts {
    size_t isut, isstd, leap, time, type, chars;
} TzCounts;

static bool read_header(const uint8_t *p, size_t len, TzCounts *c)
{
    if (len < TZIF_HEADER || memcmp(p, "TZif", 4) != 0)
        return false;
    *c = (TzCounts){be32(p + 20), be32(p + 24), be32(p + 28),
                    be32(p + 32), be32(p + 36), be32(p + 40)};
    size_t most = TZIF_MAX_BYTES;
    return c->isut <= most && c->isstd <= most && c->leap <= most && c->time <= most &&
           c->type <= 256 && c->type >= 1 && c->chars <= most;
}

static size_t block_size(const TzCounts *c, size_t time_size)
{
    return c->time * time_size + c->time + c->type * 6 + c->chars + c->leap * (time_size + 4) +
           c->isstd + c->isut;
}

static void zone_file_free(ZoneFile *z)
{
    if (!z)
        return;
    mem_free(z->times);
    mem_free(z->kinds);
    mem_free(z->types);
    mem_free(z->key);
    mem_free(z);
}

static bool read_types(ZoneFile *z, const uint8_t *types, const uint8_t *chars, size_t nchars)
{
    for (size_t i = 0; i < z->type_count; i++, types += 6) {
        ZoneType *t = &z->types[i];
        int32_t off = (int32_t)be32(types);
        size_t at = types[5];
        if (off < -172800 || off > 172800 || at >= nchars)
            return false;
        t->offset_s = off;
        t->dst = types[4] != 0;
        size_t n = 0;
        for (; at + n < nchars && chars[at + n] && n + 1 < ZONE_ABBR_MAX; n++)
            t->abbr[n] = (char)chars[at + n];
        t->abbr[n] = 0;
    }
    return true;
}

/* NULL: malformed or no memory. */
static ZoneFile *zone_parse(const uint8_t *p, size_t len)
{
    TzCounts c;
    if (!read_header(p, len, &c))
        return NULL;
    size_t time_size = 4;
    if (p[4] >= '2') {
        size_t skip = TZIF_HEADER + block_size(&c, 4);
        if (skip > len || !read_header(p + skip, len - skip, &c))
            return NULL;
        p += skip;
        len -= skip;
        time_size = 8;
    }
    if (block_size(&c, time_size) > len - TZIF_HEADER)
        return NULL;
    const uint8_t *times = p + TZIF_HEADER, *kinds = times + c.time * time_size;
    const uint8_t *types = kinds + c.time, *chars = types + c.type * 6;
    const uint8_t *footer = p + TZIF_HEADER + block_size(&c, time_size), *end = p + len;

    ZoneFile *z = mem_zalloc(1, sizeof *z);
    if (!z)
        return NULL;
    z->count = c.time;
    z->type_count = c.type;
    z->times = mem_zalloc(c.time + 1, sizeof *z->times);
    z->kinds = mem_zalloc(c.time + 1, 1);
    z->types = mem_zalloc(c.type, sizeof *z->types);
    if (!z->times || !z->kinds || !z->types || !read_types(z, types, chars, c.chars))
        goto fail;
    for (size_t i = 0; i < c.time; i++) {
        z->times[i] = time_size == 8 ? be64(times + i * 8) : (int32_t)be32(times + i * 4);
        z->kinds[i] = kinds[i];
        if (kinds[i] >= c.type || (i && z->times[i] < z->times[i - 1]))
            goto fail;
    }
    if (time_size == 8 && footer < end && *footer == '\n') {
        const uint8_t *stop = memchr(footer + 1, '\n', (size_t)(end - footer - 1));
        if (stop && stop > footer + 1 &&
            !parse_rule((Text){(const char *)footer + 1, (size_t)(stop - footer - 1)}, &z->rule))
            z->rule.valid = false;
    }
    return z;
fail:
    zone_file_free(z);
    return NULL;
}

static ZoneFile *zone_load(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < TZIF_HEADER ||
        st.st_size > TZIF_MAX_BYTES)
        return NULL;
    size_t len = (size_t)st.st_size, got = 0;
    uint8_t *data = mem_alloc(len);
    ZoneFile *z = NULL;
    if (!data)
        return NULL;
    while (got < len) {
        ssize_t n = read(fd, data + got, len - got);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (got == len)
        z = zone_parse(data, len);
    mem_free(data);
    return z;
}

/* Opens one component below dir, matching case only when nothing else does. Takes dir. */
static int open_component(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(dir);
        return fd;
    }
    DIR *d = fdopendir(dir); /* owns dir */
    if (!d) {
        close(dir);
        return -1;
    }
    for (struct dirent *e; fd < 0 && (e = readdir(d));)
        if (strcasecmp(e->d_name, name) == 0)
            fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
    closedir(d);
    return fd;
}

static ZoneFile *zone_open(const char *name)
{
    static const char *const roots[] = {"/usr/share/zoneinfo", "/usr/lib/zoneinfo"};
    for (size_t i = 0; i < COUNT_OF(roots); i++) {
        int fd = open(roots[i], O_RDONLY | O_CLOEXEC | O_DIRECTORY);
        char part[ZONE_NAME_MAX];
        for (const char *p = name; fd >= 0 && *p;) {
            size_t n = strcspn(p, "/");
            memcpy(part, p, n);
            part[n] = 0;
            fd = open_component(fd, part);
            p += n + (p[n] == '/');
        }
        if (fd < 0)
            continue;
        ZoneFile *z = zone_load(fd);
        close(fd);
        if (z)
            return z;
    }
    return NULL;
}

static void free_zones(void *ptr)
{
    Map *m = ptr;
    size_t i = 0;
    for (MapSlot *s; (s = map_next(m, &i));)
        zone_file_free(s->value);
    map_deinit(m);
    mem_free(m);
}

/* Letters, digits, _ + - and single slashes between parts; never a dot, so never outside the
 * database. */
static bool is_zone_name(Text t)
{
    if (t.len < 2 || t.len >= ZONE_NAME_MAX || !isalpha((unsigned char)t.ptr[0]) ||
        t.ptr[t.len - 1] == '/')
        return false;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        if (c == '/' ? t.ptr[i - 1] == '/'
                     : !(isalnum((unsigned char)c) || c == '_' || c == '+' || c == '-'))
            return false;
    }
    /* those trees count leap seconds, or repeat the others */
    return strncasecmp(t.ptr, "right/", 6) != 0;
}

static const ZoneFile *zone_cached(Text name)
{
    char given[ZONE_NAME_MAX], lower[ZONE_NAME_MAX];
    if (!is_zone_name(name))
        return NULL;
    for (size_t i = 0; i < name.len; i++) {
        given[i] = name.ptr[i];
        lower[i] = (char)tolower((unsigned char)name.ptr[i]);
    }
    given[name.len] = lower[name.len] = 0;

    void **slot = thread_slot(SLOT_ZONES, free_zones);
    if (!*slot)
        *slot = mem_zalloc(1, sizeof(Map));
    Map *m = *slot;
    if (!m)
        return NULL;
    ZoneFile *z = map_get(m, (Text){lower, name.len});
    if (z)
        return z;
    z = zone_open(given);
    if (!z)
        return NULL;
    z->key = mem_strndup(lower, name.len);
    if (!z->key || !map_put(m, (Text){z->key, name.len}, z)) {
        zone_file_free(z);
        return NULL;
    }
    return z;
}

/* ---- names ---- */

static const struct {
    char name[8];
    int16_t minutes;
    bool dst;
} fixed_zones[] = {
    {"UTC", 0, 0},    {"GMT", 0, 0},    {"Z", 0, 0},      {"EST", -300, 0}, {"EDT", -240, 1},
    {"CST", -360, 0}, {"CDT", -300, 1}, {"MST", -420, 0}, {"MDT", -360, 1}, {"PST", -480, 0},
    {"PDT", -420, 1}, {"BST", 60, 1},   {"CET", 60, 0},   {"CEST", 120, 1}, {"EET", 120, 0},
    {"EEST", 180, 1}, {"WET", 0, 0},    {"WEST", 60, 1},  {"MSK", 180, 0},  {"IST", 330, 0},
    {"JST", 540, 0},  {"AEST", 600, 0}, {"AEDT", 660, 1},
};

/* [+-]h, hh, hmm, hhmm, h:mm, hh:mm */
static bool parse_offset(Text t, int32_t *out)
{
    int n[4], count = 0, colon = -1;
    if (t.len < 2 || (t.ptr[0] != '+' && t.ptr[0] != '-'))
        return false;
    for (size_t i = 1; i < t.len; i++) {
        if (t.ptr[i] == ':' && colon < 0 && count >= 1 && count <= 2)
            colon = count;
        else if (isdigit((unsigned char)t.ptr[i]) && count < 4)
            n[count++] = t.ptr[i] - '0';
        else
            return false;
    }
    int hour_digits = colon >= 0 ? colon : count <= 2 ? count : count - 2;
    if (count == 0 || (colon >= 0 && count - colon != 2))
        return false;
    int h = 0, m = 0;
    for (int i = 0; i < count; i++)
        if (i < hour_digits)
            h = h * 10 + n[i];
        else
            m = m * 10 + n[i];
    if (h > 18 || m > 59)
        return false;
    *out = (h * 3600 + m * 60) * (t.ptr[0] == '-' ? -1 : 1);
    return true;
}

bool zone_find(Text name, Zone *out, xs_error *err)
{
    Zone z = zone_utc;
    if (name.len == 0) {
        *out = z;
        return true;
    }
    if (name.len >= ZONE_NAME_MAX || memchr(name.ptr, 0, name.len))
        goto bad;
    memcpy(z.name, name.ptr, name.len);
    z.name[name.len] = 0;
    for (size_t i = 0; i < COUNT_OF(fixed_zones); i++)
        if (strcasecmp(fixed_zones[i].name, z.name) == 0) {
            z.offset_s = fixed_zones[i].minutes * 60;
            z.dst = fixed_zones[i].dst;
            (void)snprintf(z.abbr, sizeof z.abbr, "%.*s", (int)sizeof z.abbr - 1,
                           fixed_zones[i].name);
            *out = z;
            return true;
        }
    Text off = name;
    if (name.len > 3 && (strncasecmp(z.name, "UTC", 3) == 0 || strncasecmp(z.name, "GMT", 3) == 0))
        off = text_slice(name, 3, name.len);
    if (parse_offset(off, &z.offset_s)) {
        int m = z.offset_s / 60, a = m < 0 ? -m : m;
        (void)snprintf(z.abbr, sizeof z.abbr, "%c%02d:%02d", m < 0 ? '-' : '+', (a / 60) % 100,
                       a % 60);
        *out = z;
        return true;
    }
    z.file = zone_cached(name);
    if (z.file) {
        *out = z;
        return true;
    }
bad:
    return xs_fail(err, XS_E_BAD_TIMEZONE, XS_NO_POS, "Unknown or bad timezone: " TEXT_FMT,
                   (int)(name.len < 60 ? name.len : 60), name.ptr);
}

static const ZoneType *file_at(const ZoneFile *z, int64_t utc_s)
{
    if (z->rule.valid && (z->count == 0 || utc_s >= z->times[z->count - 1]))
        return rule_at(&z->rule, utc_s);
    size_t lo = 0, hi = z->count; /* first transition after utc_s */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (z->times[mid] <= utc_s)
            lo = mid + 1;
        else
            hi = mid;
    }
    return &z->types[lo ? z->kinds[lo - 1] : 0];
}

void zone_at(const Zone *z, int64_t utc_s, ZoneTime *out)
{
    ZoneType fixed = {.offset_s = z->offset_s, .dst = z->dst};
    const ZoneType *t = &fixed;
    if (z->file)
        t = file_at(z->file, utc_s);
    else
        memcpy(fixed.abbr, z->abbr, sizeof fixed.abbr);
    *out = (ZoneTime){.offset_s = t->offset_s, .dst = t->dst};
    memcpy(out->abbr, t->abbr, sizeof out->abbr);
    /* files without a name for a zone carry "-03" or "+0545": print those as offsets with a colon
     */
    if (out->abbr[0] == '+' || out->abbr[0] == '-' || !out->abbr[0]) {
        int m = t->offset_s / 60, a = m < 0 ? -m : m;
        (void)snprintf(out->abbr, sizeof out->abbr, "%c%02d:%02d", m < 0 ? '-' : '+',
                       (a / 60) % 100, a % 60);
    }
}

int64_t zone_to_utc(const Zone *z, int64_t local_s)
{
    if (!z->file)
        return local_s - z->offset_s;
    int64_t before = file_at(z->file, local_s - DAY_S)->offset_s;
    int64_t after = file_at(z->file, local_s + DAY_S)->offset_s;
    int64_t a = local_s - before, b = local_s - after;
    bool a_ok = file_at(z->file, a)->offset_s == before;
    bool b_ok = file_at(z->file, b)->offset_s == after;
    if (a_ok && b_ok)
        return a < b ? a : b;
    return b_ok ? b : a; /* neither: inside a gap, the old offset moves it forward */
}

void date_split(int64_t ms, const Zone *z, DateParts *out)
{
    int64_t utc = floor_div(ms, 1000);
    *out = (DateParts){.ms = (int)floor_mod(ms, 1000)};
    zone_at(z, utc, &out->zone);
    int64_t local = utc + out->zone.offset_s, days = floor_div(local, DAY_S);
    int s = (int)(local - days * DAY_S);
    civil_from_days(days, &out->year, &out->month, &out->day);
    out->hour = s / 3600;
    out->minute = s / 60 % 60;
    out->second = s % 60;
    out->weekday = (int)((days % 7 + 11) % 7);
    out->yearday = (int)(days - days_from_civil(out->year, 1, 1));
    /* the ISO week belongs to the year of its Thursday */
    int64_t thursday = days - (out->weekday + 6) % 7 + 3;
    int m, d;
    civil_from_days(thursday, &out->iso_year, &m, &d);
    out->iso_week = (int)((thursday - days_from_civil(out->iso_year, 1, 1)) / 7) + 1;
}

bool date_join(int64_t year, int month, int64_t day, int64_t local_ms_of_day, const Zone *z,
               int64_t *out)
{
    enum { MAX_YEAR = 290000000 };
    const int64_t max_days = 106000000000;
    int64_t m0 = month - 1;
    year += floor_div(m0, 12);
    m0 = floor_mod(m0, 12);
    if (year > MAX_YEAR || year < -MAX_YEAR || day > max_days || day < -max_days ||
        local_ms_of_day > max_days * 1000 || local_ms_of_day < -max_days * 1000)
        return false;
    int64_t days = days_from_civil(year, (int)m0 + 1, 1) + day - 1;
    if (days > max_days || days < -max_days)
        return false;
    int64_t s = floor_div(local_ms_of_day, 1000), ms = floor_mod(local_ms_of_day, 1000);
    int64_t utc = zone_to_utc(z, days * DAY_S + s);
    return !__builtin_mul_overflow(utc, (int64_t)1000, &utc) &&
           !__builtin_add_overflow(utc, ms, out);
}

bool date_add_months(int64_t ms, int64_t months, int64_t *out)
{
    DateParts p;
    date_split(ms, &zone_utc, &p);
    int64_t m0;
    if (__builtin_add_overflow(months, (int64_t)p.month - 1, &m0))
        return false;
    int64_t year = p.year + floor_div(m0, 12);
    int month = (int)floor_mod(m0, 12) + 1;
    if (year > 290000000 || year < -290000000)
        return false;
    int last = days_in_month(year, month);
    int64_t time = ((p.hour * 60 + p.minute) * 60 + p.second) * (int64_t)1000 + p.ms;
    return date_join(year, month, p.day < last ? p.day : last, time, &zone_utc, out);
}
