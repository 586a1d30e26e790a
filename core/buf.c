/* buf.c - the slow path of the growing byte buffer. */
#include "core/buf.h"

#include <stdio.h>

#include "core/mem.h"

enum { BUF_FIRST_CAP = 64 };

void buf_deinit(Buf *b)
{
    mem_free(b->ptr);
    *b = BUF_INIT;
}

bool buf_reserve(Buf *b, size_t more)
{
    if (b->failed)
        return false;
    if (more <= b->cap - b->len)
        return true;
    size_t need;
    if (__builtin_add_overflow(b->len, more, &need) || (b->max && need > b->max)) {
        b->failed = true;
        return false;
    }
    size_t cap = b->cap ? b->cap : BUF_FIRST_CAP;
    while (cap < need) {
        if (__builtin_mul_overflow(cap, (size_t)2, &cap))
            cap = need;
    }
    if (b->max && cap > b->max)
        cap = b->max;
    char *grown = mem_realloc(b->ptr, cap);
    if (!grown) {
        b->failed = true;
        return false;
    }
    b->ptr = grown;
    b->cap = cap;
    return true;
}

bool buf_append_slow(Buf *b, const void *p, size_t n)
{
    if (!buf_reserve(b, n))
        return false;
    if (n)
        memcpy(b->ptr + b->len, p, n);
    b->len += n;
    return true;
}

void buf_vprintf(Buf *b, const char *fmt, va_list ap)
{
    char small[256];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n < 0) {
        b->failed = true;
    } else if ((size_t)n < sizeof small) {
        buf_append(b, small, (size_t)n);
    } else {
        char *whole = mem_alloc((size_t)n + 1);
        if (whole) {
            vsnprintf(whole, (size_t)n + 1, fmt, again);
            buf_append(b, whole, (size_t)n);
            mem_free(whole);
        } else {
            b->failed = true;
        }
    }
    va_end(again);
}

void buf_printf(Buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

char *buf_take(Buf *b, size_t *len)
{
    char *out = NULL;
    if (!b->failed) {
        b->max = 0; /* the NUL is not content */
        if (buf_append(b, "", 1)) {
            out = b->ptr;
            if (len)
                *len = b->len - 1;
            *b = BUF_INIT;
        }
    }
    if (!out)
        buf_deinit(b);
    return out;
}
