/* codec.h - what the filters of core/lang/filters_codec.def share with each other, the binder and
 * statements. */
#ifndef STDLIB_FILTERS_CODEC_H
#define STDLIB_FILTERS_CODEC_H

#include "stdlib/filters/datetime.h"
#include "stdlib/natives.h"

/**
 * A value where a timestamp is expected, filters.md §3.1; services give the clock for date text.
 * Errors: XS_E_BAD_TIMESTAMP, XS_E_NOT_TEXT, XS_E_UNSUPPORTED (date text without a clock).
 */
XS_MUST_CHECK bool timestamp_from(Value v, const Zone *z, const Services *s, int64_t *out,
                                  xs_error *err);
/** Milliseconds now. Errors: XS_E_UNSUPPORTED without a clock. */
XS_MUST_CHECK bool services_now(const Services *s, int64_t *out, xs_error *err);
/** Random bytes. Errors: XS_E_UNSUPPORTED without a source. */
XS_MUST_CHECK bool services_random(const Services *s, void *out, size_t n, xs_error *err);

/* base64 (alphabet "+/" or "-_"; pad 0 = none) and hex, appended to out. Decoding skips what is not
 * in either alphabet; strict decoding (tokens) refuses it. */
void base64_write(Text in, bool urlsafe, char pad, Buf *out);
void base64_read(Text in, Buf *out);
XS_MUST_CHECK bool base64_read_strict(Text in, Buf *out);
void hex_write(Text in, Buf *out);
/** "a+b%20c" to out; plus: + is a blank. */
void url_decode_to(Text in, bool plus, Buf *out);
/** Query string as an object: a[]= pushes, a[k]= nests, repeated keys give arrays. V_UNSET: memory.
 */
Value querystring_value(Heap *h, Text query);
/** Value of one YAML document; null when there is none. V_UNSET: XS_E_BAD_YAML, memory. */
Value yaml_value(Heap *h, Text in, xs_error *err);
/** Text of val_to_json. Errors: XS_E_MEMORY. */
XS_MUST_CHECK bool value_json(Value v, Buf *out, xs_error *err);
typedef struct CsvDialect {
    char sep, quote, escape;
} CsvDialect;
#define CSV_DIALECT ((CsvDialect){',', '"', '"'})

typedef struct CsvReader {
    Text t;
    size_t at;
    CsvDialect d;
    Buf cell;
} CsvReader;

/** The next row as a list of texts; V_NULL at the end, V_UNSET on error. */
Value csv_read_row(Call *c, CsvReader *r);
/** The cells by the names of their columns. V_UNSET: err is set. */
Value csv_row_object(Call *c, Value header, Value row);
/** A value as one cell, quoted where needed. scratch is cleared first. Errors: XS_E_NOT_TEXT. */
XS_MUST_CHECK bool csv_write_cell(Value v, char sep, char quote, Buf *scratch, Buf *out,
                                  xs_error *err);
/** A new version 4 UUID, 36 characters and a NUL. */
XS_MUST_CHECK bool uuid_make(const Services *s, char out[37], xs_error *err);
bool uuid_valid(Text t);
/** AES of the arguments data, algorithm, key, iv; gcm: the statements' modes too. Errors: as
 * cipher_aes. */
bool cipher_call(Call *c, bool encrypt, bool gcm);

#endif
