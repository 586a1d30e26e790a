/* bundle_test.c - round trip of an image, and that no damage, cut or hostile count gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <msgpack.h>

#include "core/bundle.h"
#include "core/json.h"
#include "core/mem.h"

enum { CHECKSUM_AT = 24 };

static void encode_sample(Arena *a, Buf *out)
{
    xs_error err = {0};
    static const uint32_t code[] = {0x01020304, 0xFFFFFFFF, 7};
    static const HandlerImage handlers[] = {{0, 2, 2}};
    static const LineImage lines[] = {{0, 10, 3}, {1, 11, 5}};
    static const uint32_t names[] = {1, 2};
    const Const *consts[] = {
        const_int(a, -5), const_dec(a, 2.5),       const_text(a, TEXT("h\xC3\xA9")), &const_null,
        &const_true,      const_int(a, INT64_MIN), const_int(a, INT64_MAX)};
    ImportImage imports[] = {{IMPORT_FILTER, TEXT("trim")}, {IMPORT_STATEMENT, TEXT("db.query")}};
    SiteImage sites[] = {{1, json_parse(a, TEXT("{\"op\":\"db.query\",\"list\":[1,2]}"), &err)}};
    ProcImage procs[] = {
        {.kind = PROC_QUERY,
         .name = TEXT("GET a/b"),
         .file = TEXT("a.xs"),
         .nregs = 256,
         .nfar = 3,
         .ninputs = 2,
         .inputs = json_parse(a, TEXT("[{\"name\":\"n\",\"type\":\"int\"}]"), &err),
         .code = code,
         .ncode = COUNT_OF(code),
         .handlers = handlers,
         .nhandlers = COUNT_OF(handlers),
         .lines = lines,
         .nlines = COUNT_OF(lines),
         .names = names,
         .nnames = 1,
         .vars = names,
         .nvars = 1}};
    BundleImage image = {.consts = consts,
                         .nconsts = COUNT_OF(consts),
                         .imports = imports,
                         .nimports = COUNT_OF(imports),
                         .sites = sites,
                         .nsites = COUNT_OF(sites),
                         .procs = procs,
                         .nprocs = COUNT_OF(procs),
                         .meta = json_parse(a, TEXT("{\"name\":\"x\",\"tables\":[]}"), &err)};
    assert_true(bundle_encode(&image, out, &err));
}

static void round_trips(void **state)
{
    (void)state;
    Arena a;
    Buf one = BUF_INIT, two = BUF_INIT;
    BundleImage image;
    xs_error err = {0};
    arena_init(&a, 0);
    encode_sample(&a, &one);
    if (!bundle_decode(&a, buf_view(&one), &image, &err))
        fail_msg("%s", err.message);
    assert_int_equal(image.nconsts, 7);
    assert_int_equal(image.consts[5]->i, INT64_MIN);
    assert_true(text_eq(image.procs[0].name, TEXT("GET a/b")));
    assert_int_equal(image.procs[0].code[1], 0xFFFFFFFF);
    assert_int_equal(image.procs[0].lines[1].line, 11);
    assert_int_equal(image.procs[0].nregs, 256);
    assert_true(text_eq(const_get_text(image.sites[0].desc, "op"), TEXT("db.query")));
    assert_true(bundle_encode(&image, &two, &err));
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.ptr, two.ptr, one.len);
    buf_deinit(&one);
    buf_deinit(&two);
    arena_deinit(&a);
}

/* The library agrees that the body is one MessagePack value. */
static void body_is_messagepack(void **state)
{
    (void)state;
    Arena a;
    Buf b = BUF_INIT;
    arena_init(&a, 0);
    encode_sample(&a, &b);
    msgpack_unpacked result;
    size_t at = 0;
    msgpack_unpacked_init(&result);
    assert_int_equal(
        msgpack_unpack_next(&result, b.ptr + BUNDLE_HEADER_BYTES, b.len - BUNDLE_HEADER_BYTES, &at),
        MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, b.len - BUNDLE_HEADER_BYTES);
    assert_int_equal(result.data.type, MSGPACK_OBJECT_ARRAY);
    assert_int_equal(result.data.via.array.size, 5);
    msgpack_unpacked_destroy(&result);
    buf_deinit(&b);
    arena_deinit(&a);
}

/* Decodes an exact heap copy, so that asan sees a read past the end. */
static bool decodes(const char *bytes, size_t len, xs_error *err)
{
    Arena a;
    BundleImage image;
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    arena_init(&a, 1 << 24);
    bool ok = bundle_decode(&a, (Text){copy, len}, &image, err);
    arena_deinit(&a);
    free(copy);
    return ok;
}

static void refuses_cuts_and_damage(void **state)
{
    (void)state;
    Arena a;
    Buf b = BUF_INIT;
    arena_init(&a, 0);
    encode_sample(&a, &b);
    for (size_t n = 0; n < b.len; n++) {
        xs_error err = {0};
        assert_false(decodes(b.ptr, n, &err));
        assert_int_equal(err.code, XS_E_BAD_BUNDLE);
        if (n >= 8)
            assert_non_null(strstr(err.message, "truncated"));
    }
    for (size_t i = 0; i < b.len; i++) {
        xs_error err = {0};
        b.ptr[i] ^= 0x40;
        assert_false(decodes(b.ptr, b.len, &err));
        assert_int_equal(err.code, XS_E_BAD_BUNDLE);
        b.ptr[i] ^= 0x40;
    }
    buf_char(&b, 'x');
    xs_error err = {0};
    assert_false(decodes(b.ptr, b.len, &err));
    buf_deinit(&b);
    arena_deinit(&a);
}

static void seal(Buf *b)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = BUNDLE_HEADER_BYTES; i < b->len; i++)
        h = (h ^ (unsigned char)b->ptr[i]) * 0x100000001B3u;
    for (int i = 0; i < 8; i++) {
        b->ptr[CHECKSUM_AT + i] = (char)(h >> 8 * i);
        b->ptr[16 + i] = (char)((b->len - BUNDLE_HEADER_BYTES) >> 8 * i);
    }
}

/* Changed bodies under a right checksum: accepted or refused, never a crash. */
static void survives_forged_bodies(void **state)
{
    (void)state;
    static const unsigned char values[] = {0x00, 0x7F, 0x80, 0x8F, 0x9F, 0xBF, 0xC0, 0xC1, 0xC4,
                                           0xC6, 0xC7, 0xCB, 0xCF, 0xD3, 0xDB, 0xDD, 0xDF, 0xFF};
    Arena a;
    Buf b = BUF_INIT;
    arena_init(&a, 0);
    encode_sample(&a, &b);
    for (size_t i = BUNDLE_HEADER_BYTES; i < b.len; i++) {
        char was = b.ptr[i];
        for (size_t v = 0; v < COUNT_OF(values); v++) {
            xs_error err = {0};
            b.ptr[i] = (char)values[v];
            seal(&b);
            (void)!decodes(b.ptr, b.len, &err);
        }
        b.ptr[i] = was;
    }
    size_t whole = b.len;
    for (size_t n = BUNDLE_HEADER_BYTES; n < whole; n++) {
        xs_error err = {0};
        b.len = n;
        seal(&b);
        assert_false(decodes(b.ptr, n, &err));
        assert_int_equal(err.code, XS_E_BAD_BUNDLE);
    }
    buf_deinit(&b);
    arena_deinit(&a);
}

static void names_the_reason(void **state)
{
    (void)state;
    Arena a;
    Buf b = BUF_INIT;
    arena_init(&a, 0);
    encode_sample(&a, &b);
    xs_error err = {0};
    assert_false(decodes("#!/bin/sh", 9, &err));
    assert_string_equal(err.message, "not an .xsb bundle");
    b.ptr[8] = 7;
    assert_false(decodes(b.ptr, b.len, &err));
    assert_string_equal(err.message, "bundle format 7 is newer than this xs (3)");
    b.ptr[8] = 1;
    assert_false(decodes(b.ptr, b.len, &err));
    assert_string_equal(err.message, "bundle format 1 is older than this xs (3): build it again");
    b.ptr[8] = BUNDLE_FORMAT;
    b.ptr[b.len - 1] ^= 1;
    assert_false(decodes(b.ptr, b.len, &err));
    assert_string_equal(err.message, "bundle is damaged (checksum)");
    buf_deinit(&b);
    arena_deinit(&a);
}

static void limits_depth(void **state)
{
    (void)state;
    for (int depth = 64; depth <= 65; depth++) {
        Arena a;
        Buf b = BUF_INIT;
        xs_error err = {0};
        arena_init(&a, 0);
        const Const *c = &const_null;
        for (int i = 0; i < depth; i++) {
            Const *list = const_list(&a, 1);
            assert_true(const_push(&a, list, c));
            c = list;
        }
        BundleImage image = {.meta = c};
        assert_int_equal(bundle_encode(&image, &b, &err), depth <= 64);
        if (depth <= 64)
            assert_true(decodes(b.ptr, b.len, &err));
        else
            assert_int_equal(err.code, XS_E_LIMIT);
        buf_deinit(&b);
        arena_deinit(&a);
    }
    /* A deeper one that was not written by the encoder. */
    Buf b = BUF_INIT;
    xs_error err = {0};
    Arena a;
    arena_init(&a, 0);
    encode_sample(&a, &b);
    b.len = BUNDLE_HEADER_BYTES;
    buf_append(&b, "\x95\x90\x90\x90\x90", 5);
    for (int i = 0; i < 100000; i++)
        buf_char(&b, '\x91');
    buf_char(&b, '\xC0');
    seal(&b);
    assert_false(decodes(b.ptr, b.len, &err));
    assert_non_null(strstr(err.message, "nested too deeply"));
    buf_deinit(&b);
    arena_deinit(&a);
}

static void survives_no_memory(void **state)
{
    (void)state;
    Arena a;
    Buf b = BUF_INIT;
    arena_init(&a, 0);
    encode_sample(&a, &b);
    Arena small;
    for (size_t cap = 16; cap < 4096; cap += 16) {
        BundleImage image;
        xs_error err = {0};
        arena_init(&small, cap);
        if (!bundle_decode(&small, buf_view(&b), &image, &err))
            assert_int_equal(err.code, XS_E_NOMEM);
        arena_deinit(&small);
    }
    buf_deinit(&b);
    arena_deinit(&a);
    assert_int_equal(mem_in_use(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(body_is_messagepack),
        cmocka_unit_test(refuses_cuts_and_damage),
        cmocka_unit_test(survives_forged_bodies),
        cmocka_unit_test(names_the_reason),
        cmocka_unit_test(limits_depth),
        cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
