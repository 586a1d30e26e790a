/* buf.h - a growing byte buffer. A failed append sets `failed` and drops later ones, so that a
 * writer checks once at the end. */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include <stdarg.h>

#include "core/base.h"

typedef struct Buf {
    char *ptr;
    size_t len, cap;
    bool failed; /* out of memory or past max */
    size_t max;  /* 0 = no limit */
} Buf;

#define BUF_INIT ((Buf){0})

void buf_deinit(Buf *b);               /* frees; b is BUF_INIT after */
bool buf_reserve(Buf *b, size_t more); /* room for `more` bytes behind len */
bool buf_append_slow(Buf *b, const void *p, size_t n);
void buf_printf(Buf *b, const char *fmt, ...) XS_PRINTF(2, 3);
void buf_vprintf(Buf *b, const char *fmt, va_list ap) XS_PRINTF(2, 0);
/** The bytes plus a NUL, ownership to the caller (mem_free); NULL when failed. len may be NULL. */
char *buf_take(Buf *b, size_t *len);

static inline bool buf_append(Buf *b, const void *p, size_t n)
{
    if (LIKELY(n <= b->cap - b->len && !b->failed)) {
        if (n)
            memcpy(b->ptr + b->len, p, n);
        b->len += n;
        return true;
    }
    return buf_append_slow(b, p, n);
}

static inline bool buf_char(Buf *b, char c)
{
    return buf_append(b, &c, 1);
}

static inline bool buf_text(Buf *b, Text t)
{
    return buf_append(b, t.ptr, t.len);
}

static inline bool buf_cstr(Buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

static inline Text buf_view(const Buf *b)
{
    return (Text){b->ptr ? b->ptr : "", b->len};
}

#endif
