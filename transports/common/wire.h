/* wire.h - small texts a transport makes itself: counters, JSON strings, its own wires. */
#ifndef TRANSPORTS_COMMON_WIRE_H
#define TRANSPORTS_COMMON_WIRE_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/xs/transport.h"

/* A counter with one writing thread that any thread may read. */
typedef _Atomic uint64_t Counter;

static inline void counter_add(Counter *c, uint64_t n)
{
#ifdef XS_NO_COUNTERS /* a build that shows what counting costs */
    (void)c;
    (void)n;
#else
    uint64_t now = atomic_load_explicit(c, memory_order_relaxed);
    atomic_store_explicit(c, now + n, memory_order_relaxed);
#endif
}

static inline uint64_t counter_get(Counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/** Fill an error without linking against the host. Always false. */
static inline bool plugin_fail(xs_error *err, xs_code code, const char *message)
{
    if (err) {
        err->code = code;
        err->pos = XS_NO_POS;
        snprintf(err->message, sizeof err->message, "%s", message);
    }
    return false;
}

/* A growing text; `failed` is checked once at the end. */
typedef struct Out {
    char *ptr;
    size_t len, cap;
    bool failed;
} Out;

static inline void out_append(Out *o, const void *p, size_t n)
{
    if (o->failed)
        return;
    if (n > o->cap - o->len) {
        size_t cap = o->cap ? o->cap : 256;
        while (cap < o->len + n)
            cap *= 2;
        char *grown = (char *)realloc(o->ptr, cap);
        if (!grown) {
            o->failed = true;
            return;
        }
        o->ptr = grown;
        o->cap = cap;
    }
    if (n)
        memcpy(o->ptr + o->len, p, n);
    o->len += n;
}

static inline void out_str(Out *o, xs_str s)
{
    out_append(o, s.ptr, s.len);
}

static inline void out_text(Out *o, const char *s)
{
    out_append(o, s, strlen(s));
}

/** Short formatted text; longer than 511 bytes counts as failed. */
XS_PRINTF(2, 3) static inline void out_printf(Out *o, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text)
        o->failed = true;
    else
        out_append(o, text, (size_t)n);
}

static inline void out_number(Out *o, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    out_append(o, digits + at, sizeof digits - at);
}

/** 16 hex digits. */
static inline void out_hex(Out *o, uint64_t n)
{
    char digits[16];
    for (size_t i = sizeof digits; i-- > 0; n >>= 4)
        digits[i] = "0123456789abcdef"[n & 15];
    out_append(o, digits, sizeof digits);
}

/** A JSON string with its quotes. */
static inline void out_json(Out *o, xs_str s)
{
    size_t done = 0;
    out_text(o, "\"");
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        out_append(o, s.ptr + done, i - done);
        done = i + 1;
        out_printf(o, c < 0x20 ? "\\u%04x" : "\\%c", c);
    }
    out_append(o, s.ptr + done, s.len - done);
    out_text(o, "\"");
}

static inline xs_str str_from(const char *s)
{
    return (xs_str){s, strlen(s)};
}

/** A wire of head + body + tail; NULL = out of memory (also when body failed). */
static inline xs_wire *wire_join(xs_str head, xs_str body, xs_str tail)
{
    size_t len = head.len + body.len + tail.len;
    xs_wire *w = (xs_wire *)malloc(sizeof *w + len);
    if (!w)
        return NULL;
    w->len = len;
    if (head.len)
        memcpy(w->bytes, head.ptr, head.len);
    if (body.len)
        memcpy(w->bytes + head.len, body.ptr, body.len);
    if (tail.len)
        memcpy(w->bytes + head.len + body.len, tail.ptr, tail.len);
    return w;
}

/* One JSON value starts at i (no blanks): the index behind it. The hub's frames are well-formed. */
static inline size_t json_skip(xs_str s, size_t i)
{
    unsigned depth = 0;
    for (bool quoted = false; i < s.len; i++) {
        char c = s.ptr[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
            if (!quoted && depth == 0)
                return i + 1;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return i;
            if (--depth == 0)
                return i + 1;
        } else if (depth == 0 && (c == ',' || c == ':')) {
            return i;
        }
    }
    return s.len;
}

/** The raw value of a member of a JSON object; len 0 = absent. */
static inline xs_str json_member(xs_str object, const char *key)
{
    size_t len = strlen(key), i = 1;
    while (object.len && i < object.len && object.ptr[i] == '"') {
        size_t key_at = i + 1, key_end = json_skip(object, i);
        size_t value = key_end + 1,
               end = value < object.len ? json_skip(object, value) : object.len;
        if (value >= object.len)
            break;
        if (key_end - 1 - key_at == len && memcmp(object.ptr + key_at, key, len) == 0)
            return (xs_str){object.ptr + value, end - value};
        i = end + 1;
    }
    return (xs_str){"", 0};
}

/** The frame's channel as JSON text with quotes; len 0 = none. */
static inline xs_str frame_channel(const xs_frame *frame)
{
    return json_member(json_member(frame->json, "options"), "channel");
}

/** Channels of a frame as JSON texts joined by commas: its own, or those of a gap; len 0 = none. */
static inline xs_str frame_channels(const xs_frame *frame)
{
    if (!(frame->flags & XS_FRAME_RESYNC))
        return frame_channel(frame);
    xs_str list = json_member(frame->json, "channels");
    return list.len > 2 ? (xs_str){list.ptr + 1, list.len - 2} : (xs_str){"", 0};
}

/** How many of total are to be closed after passed_ms; the last tenth of the deadline is left for
 * good-byes. */
static inline uint64_t drain_due(uint64_t total, uint32_t deadline_ms, int64_t passed_ms)
{
    int64_t span = deadline_ms - deadline_ms / 10;
    return passed_ms >= span ? total : total * (uint64_t)passed_ms / (uint64_t)span + 1;
}

/** Uniform random number below n (n > 0). */
static inline uint32_t random_below(const xs_host *host, uint32_t n)
{
    uint32_t r = 0;
    host->random(&r, sizeof r);
    return n ? r % n : 0;
}

#endif
