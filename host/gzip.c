/* gzip.c - one deflate per answer; window and tables fit its size, so that small answers do not pay
 * for large ones. RFC 9110 §12.5.3. */
#include "host/gzip.h"

#include <zlib.h>

#include "core/mem.h"
#include "core/text.h"

enum { GZIP_FORMAT = 16, WINDOW_MIN = 9, WINDOW_MAX = 15 };

static bool refused(Text weight)
{
    /* ";q=0", ";q=0.0" … */
    size_t q = text_find(weight, TEXT("q="), 0);
    Text value =
        q == SIZE_MAX ? (Text){0} : text_trim(text_slice(weight, q + 2, weight.len), TEXT(" \t"));
    return value.len && value.ptr[0] == '0' && text_trim(value, TEXT("0.")).len == 0;
}

bool gzip_accepted(Text list)
{
    bool any = false;
    for (size_t from = 0; list.ptr && from <= list.len;) {
        size_t end = text_find(list, TEXT(","), from);
        Text item = text_slice(list, from, end);
        size_t weight = text_find(item, TEXT(";"), 0);
        Text name = text_trim(text_slice(item, 0, weight), TEXT(" \t"));
        bool no = weight != SIZE_MAX && refused(text_slice(item, weight, item.len));
        if (text_eq(name, TEXT("gzip")) || text_eq(name, TEXT("x-gzip")))
            return !no;
        if (text_eq(name, TEXT("*")))
            any = !no;
        if (end == SIZE_MAX)
            break;
        from = end + 1;
    }
    return any;
}

bool gzip_worthwhile(Text type)
{
    static const char *const parts[] = {"text/", "json", "xml", "javascript", "csv", "svg"};
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        if (text_find(type, text_from(parts[i]), 0) != SIZE_MAX)
            return true;
    return false;
}

static voidpf take(voidpf ctx, uInt items, uInt size)
{
    (void)ctx;
    return mem_alloc((size_t)items * size);
}

static void give(voidpf ctx, voidpf p)
{
    (void)ctx;
    mem_free(p);
}

bool gzip_body(Buf *body, int level)
{
    z_stream z = {.zalloc = take, .zfree = give};
    int window = WINDOW_MIN;
    while (window < WINDOW_MAX && ((size_t)1 << window) < body->len)
        window++;
    if (body->failed || body->len > UINT32_MAX / 2 ||
        deflateInit2(&z, level, Z_DEFLATED, window + GZIP_FORMAT, window - WINDOW_MIN + 3,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    Buf out = BUF_INIT;
    bool ok = buf_reserve(&out, body->len);
    if (ok) {
        union { /* the library's field lacks a const; it only reads */
            const char *in;
            Bytef *out;
        } from = {body->ptr};
        union {
            char *in;
            Bytef *out;
        } to = {out.ptr};
        z.next_in = from.out;
        z.avail_in = (uInt)body->len;
        z.next_out = to.out;
        z.avail_out = (uInt)body->len; /* larger than the original is of no use */
        ok = deflate(&z, Z_FINISH) == Z_STREAM_END;
        out.len = body->len - z.avail_out;
    }
    deflateEnd(&z);
    if (!ok) {
        buf_deinit(&out);
        return false;
    }
    buf_deinit(body);
    *body = out;
    return true;
}
