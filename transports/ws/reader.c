/* reader.c - the state between two reads is the head of a frame and how much of it is left. */
#include "transports/ws/reader.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIN = 0x80,
    RESERVED = 0x70,
    COMPRESSED = 0x40, /* of the reserved ones, in the first frame of a message */
    OPCODE = 0x0F,
    MASKED = 0x80,
    CONTROL = 8, /* bit of their opcodes */
    OP_CONTINUATION = 0,
    OP_BINARY = 2,
    OP_CLOSE = 8,
    OP_PING = 9,
    OP_PONG = 10,
    LENGTH_16 = 126, /* the length is in the next two, or */
    LENGTH_64 = 127, /* the next eight bytes */
    MASK_BYTES = 4
};

static unsigned opcode_of(const WsReader *r)
{
    return r->head[0] & OPCODE;
}

/* Has the first byte a bit that nobody agreed on? */
static bool is_reserved(const WsReader *r)
{
    unsigned op = opcode_of(r), allowed = 0;
    if (r->deflate && op != OP_CONTINUATION && !(op & CONTROL))
        allowed = COMPRESSED;
    return r->head[0] & RESERVED & ~allowed;
}

/* What the first two bytes may be. */
static bool head_fits(const WsReader *r)
{
    unsigned op = opcode_of(r), length = r->head[1] & ~MASKED;
    if (is_reserved(r) || !(r->head[1] & MASKED))
        return false;
    if (op & CONTROL)
        return op <= OP_PONG && r->head[0] & FIN && length <= WS_CONTROL_MAX;
    return op <= OP_BINARY && (op == OP_CONTINUATION) == r->open;
}

static size_t length_bytes(const WsReader *r)
{
    unsigned length = r->head[1] & ~MASKED;
    return length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
}

/* Only the shortest form of a length is one. */
static bool read_length(WsReader *r)
{
    size_t digits = length_bytes(r);
    uint64_t n = digits ? 0 : r->head[1] & ~MASKED;
    for (size_t i = 0; i < digits; i++)
        n = n << 8 | r->head[2 + i];
    r->left = n;
    return !digits || (digits == 2 ? n >= LENGTH_16 : n > UINT16_MAX && n <= INT64_MAX);
}

/* WS_DATA stands for a complete head. */
static WsEvent read_head(WsReader *r, WsBytes *in)
{
    for (;;) {
        size_t want = r->have < 2 ? 2 : 2 + length_bytes(r) + MASK_BYTES;
        size_t n = want - r->have < in->len ? want - r->have : in->len;
        if (n)
            memcpy(r->head + r->have, in->ptr, n);
        in->ptr += n;
        in->len -= n;
        r->have = (unsigned char)(r->have + n);
        if (r->have >= 1 && is_reserved(r))
            return WS_WRONG;
        if (r->have < want)
            return WS_MORE;
        if (want == 2) {
            if (!head_fits(r))
                return WS_WRONG;
            continue;
        }
        if (!read_length(r))
            return WS_WRONG;
        r->mask = (unsigned char)(want - MASK_BYTES);
        r->mask_at = 0;
        r->inside = true;
        if (!(opcode_of(r) & CONTROL)) {
            r->first = !r->open;
            r->binary = r->open ? r->binary : opcode_of(r) == OP_BINARY;
            r->compressed = r->open ? r->compressed : r->head[0] & COMPRESSED;
            r->open = true;
        }
        return WS_DATA;
    }
}

static void unmask(WsReader *r, char *p, size_t len)
{
    uint64_t wide;
    unsigned char turned[sizeof wide];
    for (size_t i = 0; i < sizeof turned; i++)
        turned[i] = r->head[r->mask + (r->mask_at + i) % MASK_BYTES];
    memcpy(&wide, turned, sizeof wide);
    size_t i = 0;
    for (; i + sizeof wide <= len; i += sizeof wide) {
        uint64_t word;
        memcpy(&word, p + i, sizeof word);
        word ^= wide;
        memcpy(p + i, &word, sizeof word);
    }
    for (size_t k = 0; i < len; i++, k++)
        p[i] = (char)(p[i] ^ turned[k]);
    r->mask_at = (unsigned char)((r->mask_at + len) % MASK_BYTES);
}

/* Control frames are given out whole. */
static WsEvent take_control(WsReader *r, WsPiece *out)
{
    static const WsEvent events[] = {
        [OP_CLOSE] = WS_CLOSE, [OP_PING] = WS_PING, [OP_PONG] = WS_PONG};
    if (r->left || r->control_len) {
        if (!r->control && !(r->control = malloc(WS_CONTROL_MAX)))
            return WS_NOMEM;
        if (out->len)
            memcpy(r->control + r->control_len, out->data, out->len);
        r->control_len = (unsigned char)(r->control_len + out->len);
        out->data = r->control;
        out->len = r->control_len;
    }
    if (r->left)
        return WS_MORE;
    r->control_len = 0;
    return events[opcode_of(r)];
}

WsEvent ws_read(WsReader *r, WsBytes *in, WsPiece *out)
{
    if (!r->inside) {
        if (r->control && !r->control_len) {
            free(r->control);
            r->control = NULL;
        }
        WsEvent e = read_head(r, in);
        if (e != WS_DATA)
            return e;
    }
    size_t n = r->left < in->len ? (size_t)r->left : in->len;
    if (!n && r->left)
        return WS_MORE;
    *out = (WsPiece){.data = in->ptr,
                     .len = n,
                     .first = r->first,
                     .binary = r->binary,
                     .compressed = r->compressed};
    unmask(r, in->ptr, n);
    in->ptr += n;
    in->len -= n;
    r->left -= n;
    out->rest = r->left;
    out->frame_end = !r->left;
    if (!r->left) {
        r->inside = false;
        r->have = 0;
    }
    if (opcode_of(r) & CONTROL)
        return take_control(r, out);
    out->last = out->frame_end && r->head[0] & FIN;
    r->first = false;
    r->open = !out->last;
    return WS_DATA;
}

void ws_reader_deinit(WsReader *r)
{
    free(r->control);
    r->control = NULL;
}
