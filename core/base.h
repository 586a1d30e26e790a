/* base.h - what every file needs: text views, checks, sizes. */
#ifndef CORE_BASE_H
#define CORE_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "include/xs/error.h"

/* Borrowed bytes, UTF-8, not NUL-terminated. */
typedef struct Text {
    const char *ptr;
    size_t len;
} Text;

#define TEXT(literal) ((Text){"" literal, sizeof(literal) - 1})
#define TEXT_FMT      "%.*s"
#define TEXT_ARG(t)   (int)((t).len), (t).ptr
#define COUNT_OF(a)   (sizeof(a) / sizeof *(a))

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* A mistake of ours that a release survives: asserts in development, is true in release. */
#ifdef NDEBUG
#define NEVER(x) UNLIKELY(x)
#else
#define NEVER(x) (assert(!(x)), false)
#endif

static inline Text text_from(const char *s)
{
    return (Text){s, s ? strlen(s) : 0};
}

static inline bool text_eq(Text a, Text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

#endif
