/* deflate_test.c - offers of clients, and compressed messages that are good, odd, broken, too
 * large.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "transports/ws/deflate.h"

static void offers(void **state)
{
    (void)state;
    static const struct {
        const char *offer;
        bool fits;
    } rows[] = {
        {"", false},
        {"permessage-deflate", true},
        {"permessage-deflate; client_max_window_bits", true},
        {"Permessage-Deflate;server_no_context_takeover ; client_max_window_bits=10", true},
        {"permessage-deflate; client_max_window_bits=\"15\"; client_no_context_takeover", true},
        {"permessage-deflate; server_max_window_bits=10", false},
        {"permessage-deflate; server_max_window_bits=10, permessage-deflate", true},
        {"x-webkit-deflate-frame, permessage-deflate", true},
        {"permessage-deflate; client_max_window_bits=7", false},
        {"permessage-deflate; client_max_window_bits=16", false},
        {"permessage-deflate; client_max_window_bits=08", false},
        {"permessage-deflate; client_max_window_bits=", true}, /* as without */
        {"permessage-deflate; server_no_context_takeover=1", false},
        {"permessage-deflate; server_no_context_takeover; server_no_context_takeover", false},
        {"permessage-deflate; unknown", false},
        {"permessage-deflate;;", false},
        {"permessage-deflatex", false},
        {",,;=", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((ws_deflate_answer((xs_str){rows[i].offer, strlen(rows[i].offer)}) != NULL) !=
            rows[i].fits)
            fail_msg("%s", rows[i].offer);
}

static WsInflater *inflater;

static void expect(int line, const char *data, size_t len, size_t max, WsInflated result,
                   const char *text, size_t text_len)
{
    char *out = NULL;
    size_t out_len = 0;
    char *copy = malloc(len ? len : 1); /* its end is guarded */
    assert_non_null(copy);
    if (len)
        memcpy(copy, data, len);
    WsInflated got = ws_inflate(&inflater, copy, len, max, &out, &out_len);
    free(copy);
    if (got != result || out_len != text_len || (text_len && memcmp(out, text, text_len) != 0))
        fail_msg("line %d: %d, %zu bytes", line, (int)got, out_len);
    free(out);
}
#define EXPECT(...) expect(__LINE__, __VA_ARGS__)

static size_t squeeze(const char *text, size_t len, char *out, size_t cap)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)text,
                  .avail_in = (uInt)len,
                  .next_out = (Bytef *)out,
                  .avail_out = (uInt)cap};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
    size_t n = cap - z.avail_out;
    deflateEnd(&z);
    assert_true(n > 4 && memcmp(out + n - 4, "\0\0\xff\xff", 4) == 0);
    return n - 4;
}

static void messages(void **state)
{
    (void)state;
    static char text[200000], packed[220000];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof text; i++) {
        seed = seed * 1664525u + 1013904223u;
        text[i] = (char)('a' + (seed >> 24) % 20);
    }
    static const size_t sizes[] = {0, 1, 5, 1000, 4095, 4096, 4097, 65536, sizeof text};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = squeeze(text, sizes[i], packed, sizeof packed);
        EXPECT(packed, n, sizeof text, WS_INFLATED, text, sizes[i]);
        EXPECT(packed, n, sizes[i], WS_INFLATED, text, sizes[i]);
        if (sizes[i])
            EXPECT(packed, n, sizes[i] - 1, WS_INFLATE_BIG, NULL, 0);
        if (sizes[i] > 1000) {
            packed[n / 2] = (char)~packed[n / 2]; /* whatever comes of it, not more than max */
            char *out = NULL;
            size_t len = 0;
            if (ws_inflate(&inflater, packed, n, sizeof text, &out, &len) == WS_INFLATED)
                assert_true(len <= sizeof text);
            free(out);
        }
    }
    /* the examples of RFC 7692 §7.2.3 */
    EXPECT("\xf2\x48\xcd\xc9\xc9\x07\x00", 7, 100, WS_INFLATED, "Hello", 5);
    EXPECT("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, 100, WS_INFLATED, "Hello", 5);
    EXPECT("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, 100, WS_INFLATED, "Hello", 5);
    EXPECT("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, 100, WS_INFLATED, "Hello",
           5);
    /* a window of the message before is not there */
    EXPECT("\xf2\x00\x11\x00\x00", 5, 100, WS_INFLATE_BAD, NULL, 0);
    EXPECT("\xff\xff\xff\xff", 4, 100, WS_INFLATE_BAD, NULL, 0);
    EXPECT("not deflated at all", 19, 100, WS_INFLATE_BAD, NULL, 0);
    /* bombs: beyond a hundredfold, and a kilobyte */
    memset(text, 'z', sizeof text);
    size_t n = squeeze(text, sizeof text, packed, sizeof packed);
    assert_true(n < sizeof text / 100);
    EXPECT(packed, n, sizeof text, WS_INFLATE_BIG, NULL, 0);
    n = squeeze(text, 1000, packed, sizeof packed);
    EXPECT(packed, n, sizeof text, WS_INFLATED, text, 1000);
    ws_inflater_free(inflater);
    ws_inflater_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(offers), cmocka_unit_test(messages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
