/* datetime.h - time zones, calendar fields and date text, without language values.
 * Timestamps are milliseconds since 1970-01-01T00:00:00Z. Specification: filters.md §3. Any thread;
 * a Zone stays with the thread that found it. */
#ifndef STDLIB_FILTERS_DATETIME_H
#define STDLIB_FILTERS_DATETIME_H

#include "core/buf.h"

typedef struct ZoneFile ZoneFile; /* parsed TZif file, kept by the thread cache */

enum { ZONE_NAME_MAX = 48, ZONE_ABBR_MAX = 12 };

typedef struct Zone {
    const ZoneFile *file; /* NULL = fixed offset */
    int32_t offset_s;
    bool dst; /* of a fixed offset: it names a daylight time (EDT) */
    char abbr[ZONE_ABBR_MAX];
    char name[ZONE_NAME_MAX]; /* as given */
} Zone;

extern const Zone zone_utc;

/** Zone of a name, offset or abbreviation; "" is UTC. Errors: XS_E_BAD_TIMEZONE. */
XS_MUST_CHECK bool zone_find(Text name, Zone *out, xs_error *err);

typedef struct ZoneTime {
    int32_t offset_s;
    bool dst;
    char abbr[ZONE_ABBR_MAX];
} ZoneTime;

void zone_at(const Zone *z, int64_t utc_s, ZoneTime *out);
/** Local wall seconds to UTC: a time that does not exist moves forward by the gap, an ambiguous one
 * is its first occurrence. */
int64_t zone_to_utc(const Zone *z, int64_t local_s);

int64_t days_from_civil(int64_t year, int month, int day); /* days since 1970-01-01 */
void civil_from_days(int64_t days, int64_t *year, int *month, int *day);
int days_in_month(int64_t year, int month);

typedef struct DateParts {
    int64_t year, iso_year;
    int month, day, hour, minute, second, ms;
    int weekday;  /* 0 = Sunday */
    int yearday;  /* from 0 */
    int iso_week; /* 1-53 */
    ZoneTime zone;
} DateParts;

void date_split(int64_t ms, const Zone *z, DateParts *out);
/** Local fields to a timestamp; day and time may be out of range and roll over. false: outside
 * int64. */
XS_MUST_CHECK bool date_join(int64_t year, int month, int64_t day, int64_t local_ms_of_day,
                             const Zone *z, int64_t *out);
/** Whole months in UTC, the day clamped to the month's end. false: outside int64. */
XS_MUST_CHECK bool date_add_months(int64_t ms, int64_t months, int64_t *out);

/** PHP format characters. */
void date_format(int64_t ms, const Zone *z, Text format, Buf *out);
/** The reverse; now_ms gives the date when only time fields are read. false: does not match. */
XS_MUST_CHECK bool date_parse_format(Text text, Text format, const Zone *z, int64_t now_ms,
                                     int64_t *out);

/**
 * Date text and relative expressions.
 * @param keep_time  a date without a time keeps the base's time of day, else it means 00:00.
 * false: not understood or out of range.
 */
XS_MUST_CHECK bool date_parse_text(Text text, const Zone *z, int64_t base_ms, bool keep_time,
                                   int64_t *out);

/** Month or day by English name or three-letter form, any case: 1-12 / 0-6 from Sunday; -1 = none.
 */
int date_month_named(Text word);
int date_day_named(Text word);
extern const char *const date_month_names[12];
extern const char *const date_day_names[7];

#endif
