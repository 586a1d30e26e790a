/* frame.c - counted frames and their wire forms. Specification: realtime.md §12.1, §7.4. */
#include "host/hub/frame.h"

#include <stdio.h>
#include <zlib.h>

#include "core/bundle.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"

void frame_begin(Buf *b, size_t expect)
{
    static const Event blank = {.bytes = 0};
    *b = BUF_INIT;
    b->ptr =
        mem_alloc(sizeof blank + expect); /* not buf_reserve, which rounds up to powers of two */
    b->cap = b->ptr ? sizeof blank + expect : 0;
    buf_append(b, &blank, sizeof blank);
}

Event *frame_end(Buf *b, uint32_t flags)
{
    return frame_end_for(b, flags, 0, (Text){0});
}

Event *frame_end_for(Buf *b, uint32_t flags, int64_t dbo_id, Text row_id)
{
    return frame_end_from(b, flags, dbo_id, row_id, (Text){0});
}

Text event_payload(const Event *ev)
{
    return (Text){ev->frame.json.ptr + ev->payload_at, ev->payload_len};
}

Text event_sender(const Event *ev)
{
    return (Text){ev->row_id.ptr + ev->row_id.len, ev->sender_len};
}

Event *frame_end_from(Buf *b, uint32_t flags, int64_t dbo_id, Text row_id, Text sender)
{
    size_t len = b->len - sizeof(Event);
    buf_text(b, bare_row_id(row_id));
    buf_text(b, sender);
    if (b->failed) {
        buf_deinit(b);
        return NULL;
    }
    size_t bytes = b->cap;
    Event *ev = (Event *)(void *)b->ptr; /* malloc'ed, so aligned */
    const char *json = b->ptr + sizeof *ev;
    *b = BUF_INIT;
    *ev = (Event){.frame = {.flags = flags, .json = {json, len}}, .dbo_id = dbo_id, .bytes = bytes};
    ev->row_id = (Text){json + len, bare_row_id(row_id).len};
    ev->sender_len = (uint32_t)sender.len;
    atomic_init(&ev->frame.refs, 1);
    return ev;
}

void event_set_socket(char field[SOCKET_ID_LEN + 1], Text socket_id)
{
    memset(field, 0, SOCKET_ID_LEN + 1);
    if (socket_id.len == SOCKET_ID_LEN)
        memcpy(field, socket_id.ptr, SOCKET_ID_LEN);
}

Text bare_row_id(Text row_id)
{
    bool quoted = row_id.len >= 2 && row_id.ptr[0] == '"' && row_id.ptr[row_id.len - 1] == '"';
    return quoted ? text_slice(row_id, 1, row_id.len - 1) : row_id;
}

xs_frame *frame_ref(xs_frame *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void frame_unref(xs_frame *f)
{
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < XS_WIRE_COUNT; i++)
        mem_free(atomic_load_explicit(&f->wire[i], memory_order_relaxed));
    mem_free(f);
}

void epoch_write(uint64_t epoch, char out[17])
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++)
        out[i] = hex[epoch >> (60 - 4 * i) & 15];
    out[16] = '\0';
}

enum { FRAME_COMPRESSED = 0x40, FLUSH_TAIL = 4, DEFLATE_LEVEL = 6 };

static size_t ws_head(size_t len, char *head)
{
    unsigned char *p = (unsigned char *)head;
    size_t extra = len < 126 ? 0 : len <= 0xFFFF ? 2 : 8;
    p[0] = 0x81; /* final text frame, unmasked */
    p[1] = (unsigned char)(extra == 0 ? len : extra == 2 ? 126 : 127);
    for (size_t i = 0; i < extra; i++)
        p[2 + i] = (unsigned char)(len >> (8 * (extra - 1 - i)));
    return 2 + extra;
}

static size_t sse_head(const xs_frame *f, size_t tail, char *head, size_t size)
{
    char lines[64] = "", epoch[17];
    if (f->flags & XS_FRAME_STORED) {
        epoch_write(f->epoch, epoch);
        snprintf(lines, sizeof lines, "id: %s.%llu\n", epoch, (unsigned long long)f->seq);
    } else if (f->flags & XS_FRAME_RESYNC) {
        snprintf(lines, sizeof lines, "event: resync\n");
    }
    size_t payload = strlen(lines) + sizeof "data: " - 1 + f->json.len + tail;
    int n = snprintf(head, size, "%zx\r\n%sdata: ", payload, lines);
    return (size_t)n;
}

static xs_wire *build(const xs_frame *f, xs_wire_format format)
{
    static const char resync[] = "{\"action\":\"resync\",\"payload\":";
    char head[128];
    size_t head_len = 0;
    Text tail = {0};
    if (format == XS_WIRE_WS_TEXT && f->flags & XS_FRAME_RESYNC) {
        tail = TEXT("}");
        head_len = ws_head(sizeof resync - 1 + f->json.len + tail.len, head);
        memcpy(head + head_len, resync, sizeof resync - 1);
        head_len += sizeof resync - 1;
    } else if (format == XS_WIRE_WS_TEXT) {
        head_len = ws_head(f->json.len, head);
    } else if (format == XS_WIRE_SSE_CHUNK) {
        tail = TEXT("\n\n\r\n");
        head_len = sse_head(f, 2, head, sizeof head); /* the chunk's own CRLF is not counted */
    }
    xs_wire *w = mem_alloc(sizeof *w + head_len + f->json.len + tail.len);
    if (!w)
        return NULL;
    w->len = head_len + f->json.len + tail.len;
    memcpy(w->bytes, head, head_len);
    memcpy(w->bytes + head_len, f->json.ptr, f->json.len);
    if (tail.len)
        memcpy(w->bytes + head_len + f->json.len, tail.ptr, tail.len);
    return w;
}

/* Raw deflate that ends on a byte, without the four bytes that every such end has.
 * @return bytes in out; 0 = it does not get smaller, or memory */
static size_t compress_json(const xs_frame *f, char *out)
{
    z_stream z = {0};
    if (deflateInit2(&z, DEFLATE_LEVEL, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    z.next_in = (Bytef *)(uintptr_t)f->json.ptr;
    z.avail_in = (uInt)f->json.len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)f->json.len;
    bool whole = deflate(&z, Z_SYNC_FLUSH) == Z_OK && z.avail_in == 0 && z.avail_out > 0;
    size_t len = f->json.len - z.avail_out;
    deflateEnd(&z);
    return whole && len > FLUSH_TAIL ? len - FLUSH_TAIL : 0;
}

static xs_wire *build_compressed(const xs_frame *f)
{
    char head[16];
    char *packed = mem_alloc(f->json.len);
    size_t len = packed ? compress_json(f, packed) : 0, head_len = ws_head(len, head);
    xs_wire *w = len ? mem_alloc(sizeof *w + head_len + len) : NULL;
    if (w) {
        w->len = head_len + len;
        memcpy(w->bytes, head, head_len);
        memcpy(w->bytes + head_len, packed, len);
        w->bytes[0] = (char)(w->bytes[0] | FRAME_COMPRESSED);
    }
    mem_free(packed);
    return w ? w : build(f, XS_WIRE_WS_TEXT);
}

/* The JSON read once more, and written as MessagePack. */
static xs_wire *build_packed(const xs_frame *f)
{
    char head[16];
    Arena a;
    Buf b = BUF_INIT;
    arena_init(&a, 0);
    Text json = {f->json.ptr, f->json.len};
    if (f->flags & XS_FRAME_RESYNC)
        json = arena_printf(&a, "{\"action\":\"resync\",\"payload\":" TEXT_FMT "}", TEXT_ARG(json));
    const Const *value = json.ptr ? json_parse(&a, json, NULL) : NULL;
    bool ok = value && msgpack_write_const(value, &b);
    arena_deinit(&a);
    size_t head_len = ws_head(b.len, head);
    xs_wire *w = ok ? mem_alloc(sizeof *w + head_len + b.len) : NULL;
    if (w) {
        head[0] = (char)0x82; /* final binary frame */
        w->len = head_len + b.len;
        memcpy(w->bytes, head, head_len);
        memcpy(w->bytes + head_len, b.ptr, b.len);
    }
    buf_deinit(&b);
    return w;
}

const xs_wire *frame_wire(xs_frame *f, xs_wire_format format)
{
    if (NEVER((unsigned)format >= XS_WIRE_COUNT))
        return NULL;
    if (format == XS_WIRE_WS_DEFLATE && f->json.len < XS_DEFLATE_MIN)
        format = XS_WIRE_WS_TEXT;
    xs_wire *have = atomic_load_explicit(&f->wire[format], memory_order_acquire);
    if (LIKELY(have != NULL))
        return have;
    xs_wire *mine = format == XS_WIRE_WS_DEFLATE   ? build_compressed(f)
                    : format == XS_WIRE_WS_MSGPACK ? build_packed(f)
                                                   : build(f, format);
    if (!mine)
        return NULL;
    if (atomic_compare_exchange_strong_explicit(&f->wire[format], &have, mine, memory_order_acq_rel,
                                                memory_order_acquire))
        return mine;
    mem_free(mine); /* another thread was first */
    return have;
}
