/* json.h - the JSON reader and writer behind our own API. RFC 8259, UTF-8 only, depth-limited.
 * The event reader is the fast path: vm/json.c builds values from it without a tree between. */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include "core/const.h"

enum { JSON_MAX_DEPTH = 512 };

typedef enum JsonTok {
    JSON_ERROR,
    JSON_NULL,
    JSON_TRUE,
    JSON_FALSE,
    JSON_INT,  /* .i */
    JSON_DEC,  /* .d: has a fraction or exponent, or is outside int64 */
    JSON_TEXT, /* .text: unescaped; borrowed from the input when it has no escapes, else from
                * scratch, valid until the next call */
    JSON_LIST_BEGIN,
    JSON_LIST_END,
    JSON_MAP_BEGIN,
    JSON_KEY, /* .text, as JSON_TEXT */
    JSON_MAP_END,
    JSON_END /* whole input consumed */
} JsonTok;

typedef struct JsonReader {
    const char *start, *at, *end;
    Buf scratch;
    uint8_t stack[JSON_MAX_DEPTH]; /* '[' or '{' per level */
    uint32_t depth;
    uint8_t state; /* private */
    int64_t i;
    double d;
    Text text;
    const char *error; /* static text, set with JSON_ERROR */
} JsonReader;

void json_reader_init(JsonReader *r, Text input);
void json_reader_deinit(JsonReader *r);
/** The next token; JSON_ERROR stays. Commas, colons and nesting are checked here. */
JsonTok json_next(JsonReader *r);

/**
 * Parse one whole document.
 * Errors: XS_E_BAD_JSON with line and column; duplicate keys: the last wins.
 */
XS_MUST_CHECK const Const *json_parse(Arena *a, Text input, xs_error *err);

/* Writer pieces: byte-exact JSON, no blanks, raw UTF-8, `/` not escaped. */
void json_write_text(Buf *out, Text t); /* with quotes */
void json_write_int(Buf *out, int64_t n);
void json_write_dec(Buf *out, double d); /* num_write_dec; NaN and infinities as null */
void json_write_const(Buf *out, const Const *c);
void json_write_const_pretty(Buf *out, const Const *c, unsigned indent);

#endif
