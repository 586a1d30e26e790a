/* xs/error.h - the one error type, from the lexer to the socket. Owns nothing: keep it on the
 * stack. */
#ifndef XS_ERROR_H
#define XS_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define XS_MUST_CHECK        __attribute__((warn_unused_result))
#define XS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define XS_EXPORT            __attribute__((visibility("default")))
#else
#define XS_MUST_CHECK
#define XS_PRINTF(fmt, args)
#define XS_EXPORT
#endif

/* Rows of core/lang/errors.def; XS_OK is 0. */
typedef enum xs_code {
    XS_OK = 0,
#define ERR(name, number, symbol, status, wire, text) XS_E_##name = number,
#include "core/lang/errors.def"
#undef ERR
} xs_code;

typedef struct xs_pos {
    const char *file; /* borrowed; lives as long as the compilation or bundle; NULL = none */
    uint32_t line;    /* from 1; 0 = no source position */
    uint32_t col;     /* from 1, in code points */
    uint32_t len;     /* code points under the caret, 0 = one */
} xs_pos;

typedef struct xs_error {
    xs_code code;
    xs_pos pos;
    char message[240]; /* one sentence for a person, no trailing period unless a specification fixes
                          it */
} xs_error;

#define XS_NO_POS ((xs_pos){0})

/** Fill *err (may be NULL) and return false. */
bool xs_fail(xs_error *err, xs_code code, xs_pos pos, const char *fmt, ...) XS_PRINTF(4, 5);

typedef struct xs_code_info {
    const char *name;   /* "NOT_NUMERIC" */
    const char *symbol; /* "not_numeric": the name filters.tsv and tests use */
    int status;         /* HTTP status */
    const char *wire;   /* "ERROR_FATAL": the code member of an error reply */
    const char *text;   /* default message */
} xs_code_info;

/** The row of a code; the row of XS_E_BUG for a number that is none. */
const xs_code_info *xs_code_get(xs_code code);

#endif
