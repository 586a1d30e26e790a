/* deflate.c - Specification: RFC 7692 §7; limits: realtime.md §14. */
#include "transports/ws/deflate.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

enum {
    RATIO_MAX = 100,
    RATIO_FREE = 1024, /* bytes that any message may have */
    FIRST_BYTES = 4096,
    WINDOW_BITS = 15
};

struct WsInflater {
    z_stream z;
};

/* ---- the offer ---- */

static xs_str trim(xs_str s)
{
    while (s.len && (*s.ptr == ' ' || *s.ptr == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* The part up to the separator; the rest stays in *from. */
static xs_str part(xs_str *from, char separator)
{
    const char *end = from->len ? (const char *)memchr(from->ptr, separator, from->len) : NULL;
    xs_str out = {from->ptr, end ? (size_t)(end - from->ptr) : from->len};
    size_t used = out.len + (end != NULL);
    from->ptr += used;
    from->len -= used;
    return trim(out);
}

static bool is(xs_str s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

/* 8 … 15, quoted or not; 0 = neither. */
static int window_bits(xs_str s)
{
    if (s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"')
        s = (xs_str){s.ptr + 1, s.len - 2};
    int n = 0;
    for (size_t i = 0; i < s.len && i < 3; i++)
        n = s.ptr[i] >= '0' && s.ptr[i] <= '9' ? n * 10 + (s.ptr[i] - '0') : 1000;
    return s.len <= 2 && n >= 8 && n <= WINDOW_BITS && s.ptr[0] != '0' ? n : 0;
}

/* One shared compressed frame has the largest window: who needs a smaller one gets none. */
static bool fits(xs_str offer)
{
    unsigned seen = 0;
    if (!is(part(&offer, ';'), "permessage-deflate"))
        return false;
    while (offer.len) {
        xs_str value = part(&offer, ';'), name = part(&value, '=');
        unsigned bit;
        if (is(name, "server_no_context_takeover") && !value.len)
            bit = 1;
        else if (is(name, "client_no_context_takeover") && !value.len)
            bit = 2;
        else if (is(name, "client_max_window_bits") && (!value.len || window_bits(trim(value))))
            bit = 4;
        else
            return false;
        if (seen & bit)
            return false;
        seen |= bit;
    }
    return true;
}

const char *ws_deflate_answer(xs_str offers)
{
    while (offers.len)
        if (fits(part(&offers, ',')))
            return "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    return NULL;
}

/* ---- inflating ---- */

void ws_inflater_free(WsInflater *w)
{
    if (!w)
        return;
    inflateEnd(&w->z);
    free(w);
}

static WsInflater *inflater(WsInflater **at)
{
    if (*at)
        return inflateReset(&(*at)->z) == Z_OK ? *at : NULL;
    WsInflater *w = (WsInflater *)calloc(1, sizeof *w);
    if (w && inflateInit2(&w->z, -WINDOW_BITS) == Z_OK)
        return *at = w;
    free(w);
    return NULL;
}

typedef struct Text {
    char *ptr;
    size_t len, cap, max;
} Text;

/* One byte more than max shows that there is too much. */
static bool grow(Text *t)
{
    size_t cap = t->cap ? t->cap * 2 : FIRST_BYTES;
    cap = cap > t->max + 1 ? t->max + 1 : cap;
    char *grown = (char *)realloc(t->ptr, cap);
    if (grown) {
        t->ptr = grown;
        t->cap = cap;
    }
    return grown != NULL;
}

static WsInflated run(z_stream *z, Text *t)
{
    while (z->avail_in || t->len == t->cap) {
        if (t->len > t->max)
            return WS_INFLATE_BIG;
        if (t->len == t->cap && !grow(t))
            return WS_INFLATE_NOMEM;
        z->next_out = (Bytef *)t->ptr + t->len;
        z->avail_out = (uInt)(t->cap - t->len);
        int state = inflate(z, Z_SYNC_FLUSH);
        t->len = (size_t)((char *)z->next_out - t->ptr);
        if (state == Z_STREAM_END) /* a final block; another may follow, RFC 7692 §7.2.3.5 */
            state = inflateReset(z);
        if (state == Z_BUF_ERROR && t->len < t->cap)
            break; /* everything is taken */
        if (state != Z_OK && state != Z_BUF_ERROR)
            return state == Z_MEM_ERROR ? WS_INFLATE_NOMEM : WS_INFLATE_BAD;
    }
    return t->len > t->max ? WS_INFLATE_BIG : WS_INFLATED;
}

WsInflated ws_inflate(WsInflater **at, const char *data, size_t len, size_t max, char **out,
                      size_t *out_len)
{
    static const unsigned char tail[4] = {0, 0, 0xFF, 0xFF}; /* the client left it out */
    WsInflater *w = inflater(at);
    if (!w)
        return WS_INFLATE_NOMEM;
    if (len > UINT32_MAX)
        return WS_INFLATE_BIG;
    size_t ratio = len < RATIO_FREE / RATIO_MAX ? RATIO_FREE : len * RATIO_MAX;
    Text t = {.max = ratio < max ? ratio : max};
    w->z.next_in = (Bytef *)(uintptr_t)data;
    w->z.avail_in = (uInt)len;
    WsInflated result = run(&w->z, &t);
    if (result == WS_INFLATED) {
        w->z.next_in = (Bytef *)(uintptr_t)tail;
        w->z.avail_in = sizeof tail;
        result = run(&w->z, &t);
    }
    if (result == WS_INFLATED) {
        *out = t.ptr;
        *out_len = t.len;
    } else {
        free(t.ptr);
    }
    return result;
}
