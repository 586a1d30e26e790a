/* reader_test.c - however a stream of frames is cut, the same comes out of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transports/ws/reader.h"

enum { STREAM_MAX = 4096, LOG_MAX = 16384, ROUNDS = 4000 };

static uint32_t seed = 1;

static unsigned dice(unsigned n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* Mostly good frames, some with one wrong byte. */
static size_t make_stream(char *out)
{
    static const unsigned char opcodes[] = {0, 0, 1, 1, 2, 8, 9, 9, 10};
    size_t n = 0, count = 1 + dice(8);
    bool open = false;
    for (size_t k = 0; k < count; k++) {
        unsigned op = opcodes[dice(sizeof opcodes)], fin = op >= 8 || dice(2) ? 0x80 : 0;
        size_t len = dice(4) ? dice(126) : op >= 8 ? 125 : 126 + dice(200), head = n;
        if (op < 3 && dice(8))
            op = open ? 0 : 1 + dice(2);
        open = op < 3 ? !fin : open;
        out[n++] = (char)(fin | op);
        out[n++] = (char)(0x80 | (len < 126 ? len : 126));
        if (len >= 126) {
            out[n++] = (char)(len >> 8);
            out[n++] = (char)len;
        }
        for (size_t i = 0; i < 4 + len; i++)
            out[n++] = (char)dice(256);
        if (!dice(12))
            out[head + dice(2)] = (char)dice(256);
    }
    return n;
}

typedef struct Trace {
    char bytes[LOG_MAX];
    size_t len;
} Trace;

static void note(Trace *l, const void *p, size_t n)
{
    assert_true(l->len + n <= sizeof l->bytes);
    if (n)
        memcpy(l->bytes + l->len, p, n);
    l->len += n;
}

static void note_event(Trace *l, WsEvent e, const WsPiece *piece)
{
    char line[3] = {(char)('A' + (int)e), 0, 0};
    if (e == WS_DATA) {
        if (piece->first)
            note(l, piece->binary ? "(b" : "(t", 2);
        note(l, piece->data, piece->len);
        if (piece->frame_end)
            note(l, piece->last ? ")" : "|", 1);
        return;
    }
    line[1] = (char)piece->len;
    note(l, line, 2);
    note(l, piece->data, piece->len);
}

/* cut 0: everything at once. */
static void read_stream(const char *stream, size_t len, unsigned cut, Trace *l)
{
    WsReader r = {0};
    WsEvent e = WS_MORE;
    l->len = 0;
    for (size_t at = 0; at < len && e != WS_WRONG;) {
        size_t n = cut ? 1 + dice(cut) : len;
        n = n < len - at ? n : len - at;
        char *copy = malloc(n); /* its ends are guarded */
        assert_non_null(copy);
        memcpy(copy, stream + at, n);
        WsBytes in = {copy, n};
        WsPiece piece = {0};
        while ((e = ws_read(&r, &in, &piece)) != WS_MORE && e != WS_WRONG) {
            assert_int_not_equal(e, WS_NOMEM);
            note_event(l, e, &piece);
        }
        assert_true(e == WS_WRONG || in.len == 0);
        free(copy);
        at += n;
    }
    if (e == WS_WRONG)
        note(l, "!", 1);
    ws_reader_deinit(&r);
}

/* RSV1 is for the first frame of a message, and when it was agreed on. */
static void compressed_messages(void **state)
{
    (void)state;
    static const struct {
        const char *stream;
        size_t len;
        bool agreed, wrong;
    } rows[] = {
        {"\xc1\x80mask", 6, false, true},
        {"\xc1\x80mask", 6, true, false},
        {"\x41\x80mask\x89\x80mask\x80\x80mask", 18, true, false},
        {"\x41\x80mask\xc0\x80mask", 12, true, true}, /* a continuation */
        {"\x01\x80mask\xc0\x80mask", 12, true, true},
        {"\xc9\x80mask", 6, true, true},
        {"\xa1\x80mask", 6, true, true},
        {"\xd1\x80mask", 6, true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char copy[32];
        WsReader r = {.deflate = rows[i].agreed};
        WsPiece piece = {0};
        WsEvent e;
        memcpy(copy, rows[i].stream, rows[i].len);
        WsBytes in = {copy, rows[i].len};
        while ((e = ws_read(&r, &in, &piece)) != WS_MORE && e != WS_WRONG)
            assert_true(e == WS_PING || piece.compressed == ((rows[i].stream[0] & 0x40) > 0));
        if ((e == WS_WRONG) != rows[i].wrong)
            fail_msg("row %zu", i);
        ws_reader_deinit(&r);
    }
}

static void cuts_make_no_difference(void **state)
{
    (void)state;
    static char stream[STREAM_MAX];
    static Trace whole, pieces;
    unsigned wrong = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t len = make_stream(stream);
        read_stream(stream, len, 0, &whole);
        wrong += whole.len && whole.bytes[whole.len - 1] == '!';
        for (unsigned cut = 1; cut <= 64; cut *= 4) {
            read_stream(stream, len, cut, &pieces);
            if (whole.len != pieces.len || memcmp(whole.bytes, pieces.bytes, whole.len) != 0)
                fail_msg("stream %u differs when cut into at most %u bytes", i, cut);
        }
    }
    assert_true(wrong > ROUNDS / 20 && wrong < ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cuts_make_no_difference),
                                       cmocka_unit_test(compressed_messages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
