/* security_test.c - security.* and util.* statements called with plain arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/tables.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/registry.h"
#include "stdlib/thread_cache.h"
#include "vm/heap.h"

static int64_t fixed_now(void *ctx)
{
    (void)ctx;
    return 1709296200000;
}

static bool real_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    randombytes_buf(out, n);
    return true;
}

static bool fake_token(void *ctx, Text table, Value id, Value extras, int64_t ttl_s, Buf *out,
                       xs_error *err)
{
    (void)ctx, (void)err;
    buf_printf(out, TEXT_FMT " ", TEXT_ARG(table));
    return val_write_json(id, out) && val_write_json(extras, out) &&
           (buf_printf(out, " %lld", (long long)ttl_s), true);
}

/* The test's world keeps what was logged and set. */
typedef struct World {
    Buf seen;
} World;

static void keep_log(void *ctx, Fiber *fiber, Text json)
{
    (void)fiber;
    buf_text(&((World *)ctx)->seen, json);
}

static bool keep_header(void *ctx, Fiber *fiber, Text line, bool append, xs_error *err)
{
    (void)fiber, (void)err;
    buf_printf(&((World *)ctx)->seen, "%s" TEXT_FMT, append ? "+" : "", TEXT_ARG(line));
    return true;
}

/* Run a statement; args is a JSON list, or a value list when args is NULL. V_UNSET: err is set. */
static Value call_statement(Heap *h, World *w, const RunContext *run, const char *name, Value args,
                            xs_error *err)
{
    Services services = {.ctx = w,
                         .now_ms = fixed_now,
                         .random = real_random,
                         .make_token = fake_token,
                         .log = keep_log,
                         .set_header = keep_header};
    void *site = NULL;
    const void *row = NULL;
    StatementFn fn = stdlib_natives.statement(text_from(name), &row);
    assert_non_null(fn);
    Call call = {.heap = h,
                 .services = &services,
                 .run = run,
                 .name = name,
                 .row = row,
                 .args = args.list->items ? args.list->items + args.list->start : NULL,
                 .nargs = args.list->len,
                 .site = &const_null,
                 .site_data = &site,
                 .ret = val_null(),
                 .err = err};
    NativeResult r = fn(&call);
    call_end(&call);
    assert_true(r == NATIVE_OK || r == NATIVE_ERROR);
    assert_true(r == NATIVE_OK || err->code != XS_OK);
    return r == NATIVE_OK ? call.ret : val_unset();
}

typedef struct Case {
    const char *statement, *args, *want, *seen;
} Case;

/* clang-format off */
static const Case cases[] = {
    {"security.create_auth_token", "[\"user\",7,{\"role\":\"x\"},60]", "\"user 7{\\\"role\\\":\\\"x\\\"} 60\"", NULL},
    {"security.create_auth_token", "[\"user\",7]", "\"user 7{} 86400\"", NULL},
    {"security.create_auth_token", "[\"user\",null]", "error:bad_arg", NULL},
    {"security.create_auth_token", "[\"user\",7,{},-1]", "error:bad_arg", NULL},
    {"security.check_password", "[\"x\",null]", "false", NULL},
    {"security.check_password", "[\"x\",\"\"]", "false", NULL},
    {"security.check_password", "[\"x\",\"x\"]", "false", NULL},
    {"security.check_password", "[\"x\",\"$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\"]", "false", NULL},
    {"security.check_password", "[\"x\",\"$argon2id$v=19$m=8,t=99999999999,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\"]", "false", NULL},
    {"security.check_password", "[\"password\",\"$pbkdf2-sha256$i=1$c2FsdA$Eg+2z/z4syxD5yJSVsT4N6hlSMkszDVICAWYfLcL4Xs\"]", "true", NULL},
    {"security.check_password", "[\"x\",\"$pbkdf2-sha256$i=1\"]", "false", NULL},
    {"security.random_number", "[5,5]", "5", NULL},
    {"security.random_number", "[6,5]", "error:bad_arg", NULL},
    {"security.random_bytes", "[-1]", "error:bad_arg", NULL},
    {"security.random_bytes", "[0]", "\"\"", NULL},
    {"security.create_password", "[2,true,true,true]", "error:bad_arg", NULL},
    {"security.create_password", "[1,false,false,false,true,\"#\"]", "\"#\"", NULL},
    {"security.create_password", "[3,false,false,false,true,\"é\"]", "error:bad_arg", NULL},
    {"security.create_secret_key", "[12]", "error:bad_arg", NULL},
    {"security.create_secret_key", "[8,\"pem\"]", "error:bad_arg", NULL},
    {"security.create_rsa_key", "[512]", "error:bad_arg", NULL},
    {"security.create_curve_key", "[\"P-1\"]", "error:bad_arg", NULL},
    {"security.encrypt", "[\"x\",\"rot13\",\"k\",\"\"]", "error:bad_arg", NULL},
    {"security.encrypt", "[\"x\",\"aes-128-gcm\",\"k\",\"\"]", "error:bad_arg", NULL},
    {"security.decrypt", "[\"0123456789abcdef0\",\"aes-128-gcm\",\"k\",\"iv\"]", "error:crypto", NULL},
    {"security.decrypt", "[\"short\",\"aes-128-gcm\",\"k\",\"iv\"]", "error:crypto", NULL},
    {"security.jws_decode", "[\"a.b.c\",\"k\"]", "error:crypto", NULL},
    {"security.jws_encode", "[null,{},7]", "error:bad_arg", NULL},
    {"util.geo_distance", "[0,0,0,180]", "20015114.442035925", NULL},
    {"util.geo_distance", "[0,0,91,0]", "error:bad_arg", NULL},
    {"util.geo_distance", "[\"x\",0,0,0]", "error:not_numeric", NULL},
    {"util.ip_lookup", "[\"127.0.0.1\"]", "null", NULL},
    {"util.set_header", "[\"X-A: 1\"]", "null", "X-A: 1"},
    {"util.set_header", "[\"X-A: 1\",\"append\"]", "null", "+X-A: 1"},
    {"util.set_header", "[\"X-A: 1\",\"never\"]", "error:bad_arg", NULL},
    {"util.get_raw_input", "[]", "{\"b\":1}", NULL},
    {"util.get_raw_input", "[\"\"]", "\"{\\\"b\\\":1}\"", NULL},
    {"util.get_raw_input", "[\"yaml\"]", "{\"b\":1}", NULL},
    {"util.get_all_input", "[]", "{\"q\":\"a b\",\"b\":1}", NULL},
    {"util.sleep", "[1]", "error:unsupported", NULL},
    {"debug.log", "[{\"a\":\"\\n\"}]", "null", "{\"ts\":1709296200000,\"value\":{\"a\":\"\\n\"}}"},
};
/* clang-format on */

static bool run_case(const Case *c)
{
    Heap *h = heap_new(0);
    Arena arena;
    arena_init(&arena, 0);
    World w = {BUF_INIT};
    xs_error err = {0};
    const RunContext run = {.querystring = TEXT("q=a+b&b=2"),
                            .raw_input = json_parse(&arena, TEXT("{\"b\":1}"), &err)};
    Value args = val_parse_json(h, text_from(c->args), &err);
    Value v = call_statement(h, &w, &run, c->statement, args, &err);
    Buf got = BUF_INIT;
    if (v.kind == V_UNSET)
        buf_printf(&got, "error:%s", xs_code_get(err.code)->symbol);
    else
        assert_true(val_write_json(v, &got));
    bool ok = text_eq(buf_view(&got), text_from(c->want)) &&
              (!c->seen || text_eq(buf_view(&w.seen), text_from(c->seen)));
    if (!ok)
        fprintf(stderr, "%s %s\n  want %s\n  got  " TEXT_FMT " (%s) " TEXT_FMT "\n", c->statement,
                c->args, c->want, TEXT_ARG(buf_view(&got)), err.message,
                TEXT_ARG(buf_view(&w.seen)));
    val_unref(h, v);
    val_unref(h, args);
    if (heap_bytes(h) != 0) {
        fprintf(stderr, "%s %s leaves %zu bytes\n", c->statement, c->args, heap_bytes(h));
        ok = false;
    }
    buf_deinit(&got);
    buf_deinit(&w.seen);
    arena_deinit(&arena);
    heap_free(h);
    return ok;
}

static void test_cases(void **state)
{
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        failed += !run_case(&cases[i]);
    assert_int_equal(failed, 0);
}

/* A body that arrived as text is decoded by the wanted encoding. */
static void test_text_body(void **state)
{
    static const struct {
        const char *body, *args, *want;
    } rows[] = {
        {"\"a: [1, ~]\"", "[\"yaml\"]", "{\"a\":[1,null]}"},
        {"\"a: *x\"", "[\"yaml\"]", "inputerror"},
        {"\"[1]\"", "[\"json\"]", "[1]"},
        {"\"[\"", "[\"json\"]", "inputerror"},
        {"\"a=1\"", "[\"x-www-form-urlencoded\"]", "{\"a\":\"1\"}"},
        {"\"a: 1\"", "[\"\"]", "\"a: 1\""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Heap *h = heap_new(0);
        Arena arena;
        arena_init(&arena, 0);
        World w = {BUF_INIT};
        Buf got = BUF_INIT;
        xs_error err = {0};
        const RunContext run = {.raw_input = json_parse(&arena, text_from(rows[i].body), &err)};
        Value args = val_parse_json(h, text_from(rows[i].args), &err);
        Value v = call_statement(h, &w, &run, "util.get_raw_input", args, &err);
        if (v.kind == V_UNSET)
            buf_cstr(&got, xs_code_get(err.code)->symbol);
        else
            assert_true(val_write_json(v, &got));
        buf_char(&got, '\0');
        assert_string_equal(got.ptr, rows[i].want);
        val_unref(h, v);
        val_unref(h, args);
        assert_int_equal(heap_bytes(h), 0);
        buf_deinit(&got);
        buf_deinit(&w.seen);
        arena_deinit(&arena);
        heap_free(h);
    }
}

static Value list_of(Heap *h, const Value *items, size_t n)
{
    Value l = list_new(h, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        assert_true(list_push(h, &l, val_ref(items[i])));
    return l;
}

static Value text(Heap *h, const char *s)
{
    return text_new(h, text_from(s));
}

static Value statement(Heap *h, const char *name, const Value *items, size_t n, xs_error *err)
{
    World w = {BUF_INIT};
    return call_statement(h, &w, NULL, name, list_of(h, items, n), err);
}

/* A pair signs and verifies; another one does not. */
static void check_pair(Heap *h, const char *maker, Value maker_arg, bool pem, const char *alg,
                       bool works)
{
    xs_error err = {0};
    Value format = text(h, pem ? "base64" : "object");
    Value make[] = {maker_arg, format};
    Value key = statement(h, maker, make, 2, &err), other = statement(h, maker, make, 2, &err);
    assert_int_not_equal(key.kind, V_UNSET);
    Value signer = key; /* PEM; what the statement gave is base64 of it */
    if (pem) {
        Buf b = BUF_INIT;
        base64_read(val_text_view(key), &b);
        signer = text_new(h, buf_view(&b));
        buf_deinit(&b);
    }
    Value claims = val_parse_json(h, TEXT("{\"sub\":\"7\"}"), &err);
    Value encode[] = {val_null(), claims, signer, text(h, alg), val_int(60)};
    Value token = statement(h, "security.jws_encode", encode, 5, &err);
    if (!works) {
        assert_int_equal(token.kind, V_UNSET);
        assert_int_equal(err.code, XS_E_BAD_ARG);
        return;
    }
    assert_int_equal(token.kind, V_TEXT);
    Value decode[] = {token, key, claims, text(h, alg)};
    Value back = statement(h, "security.jws_decode", decode, 4, &err);
    assert_int_equal(back.kind, V_MAP);
    decode[1] = other;
    assert_int_equal(statement(h, "security.jws_decode", decode, 4, &err).kind, V_UNSET);
    assert_int_equal(err.code, XS_E_BAD_TOKEN);
    /* a changed last character of the signature, or of the payload */
    decode[1] = key;
    Value broken = text_new(h, val_text_view(token));
    broken.text->data[5] = broken.text->data[5] == 'a' ? 'b' : 'a';
    decode[0] = broken;
    assert_int_equal(statement(h, "security.jws_decode", decode, 4, &err).kind, V_UNSET);
}

static void test_signatures(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    Value rsa = val_int(1024);
    check_pair(h, "security.create_rsa_key", rsa, false, "RS256", true);
    check_pair(h, "security.create_rsa_key", rsa, true, "RS512", true);
    check_pair(h, "security.create_rsa_key", rsa, false, "PS256", true);
    check_pair(h, "security.create_rsa_key", rsa, false, "ES256", false);
    check_pair(h, "security.create_curve_key", text(h, "P-256"), false, "ES256", true);
    check_pair(h, "security.create_curve_key", text(h, "P-384"), true, "ES384", true);
    check_pair(h, "security.create_curve_key", text(h, "P-521"), false, "ES512", true);
    check_pair(h, "security.create_curve_key", text(h, "P-256"), false, "ES512", false);
    check_pair(h, "security.create_secret_key", val_int(256), false, "HS384", true);
    heap_free(h);
}

/* Keys agreed on for one message: only the owner of the private key reads it. */
static void test_agreed_keys(void **state)
{
    (void)state;
    static const char *const rows[][3] = {{"P-256", "ECDH-ES+A128KW", "A128GCM"},
                                          {"P-384", "ECDH-ES+A192KW", "A192CBC-HS384"},
                                          {"P-521", "ECDH-ES+A256KW", "A256CBC-HS512"}};
    Heap *h = heap_new(0);
    xs_error err = {0};
    Value claims = val_parse_json(h, TEXT("{\"sub\":\"7\"}"), &err);
    Value headers = val_parse_json(h, TEXT("{\"apu\":\"QWxpY2U\",\"apv\":\"Qm9i\"}"), &err);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Value make[] = {text(h, rows[i][0])};
        Value key = statement(h, "security.create_curve_key", make, 1, &err);
        Value other = statement(h, "security.create_curve_key", make, 1, &err);
        Value encode[] = {headers, claims, key, text(h, rows[i][1]), text(h, rows[i][2])};
        Value token = statement(h, "security.jwe_encode", encode, 5, &err);
        assert_int_equal(token.kind, V_TEXT);
        Value decode[] = {token, key, claims, text(h, rows[i][1]), text(h, rows[i][2])};
        assert_int_equal(statement(h, "security.jwe_decode", decode, 5, &err).kind, V_MAP);
        decode[1] = other;
        assert_int_equal(statement(h, "security.jwe_decode", decode, 5, &err).kind, V_UNSET);
        assert_int_equal(err.code, XS_E_BAD_TOKEN);
        encode[2] = text(h, "no key");
        assert_int_equal(statement(h, "security.jwe_encode", encode, 5, &err).kind, V_UNSET);
        assert_int_equal(err.code, XS_E_BAD_ARG);
    }
    heap_free(h);
}

static void test_encryption(void **state)
{
    (void)state;
    static const char *const names[] = {"aes-128-cbc", "aes-256-cbc", "aes-128-gcm", "aes-256-gcm"};
    Heap *h = heap_new(0);
    xs_error err = {0};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        Value args[] = {text(h, "attack at dawn"), text(h, names[i]), text(h, "key"),
                        text(h, "nonce")};
        Value sealed = statement(h, "security.encrypt", args, 4, &err);
        assert_int_equal(sealed.kind, V_TEXT);
        args[0] = sealed;
        Value plain = statement(h, "security.decrypt", args, 4, &err);
        assert_true(text_eq(val_text_view(plain), TEXT("attack at dawn")));
        sealed.text->data[sealed.text->len - 1] ^= 1;
        Value broken = statement(h, "security.decrypt", args, 4, &err);
        assert_true(broken.kind == V_UNSET ||
                    i < 2); /* CBC has no tag: the padding may still fit */
    }
    heap_free(h);
}

static void test_passwords(void **state)
{
    (void)state;
    char hash[crypto_pwhash_STRBYTES];
    Heap *h = heap_new(0);
    xs_error err = {0};
    assert_true(sodium_init() >= 0);
    assert_int_equal(crypto_pwhash_str(hash, "secret", 6, 1, 8192 * 1024), 0);
    Value args[] = {text(h, "secret"), text(h, hash)};
    assert_true(statement(h, "security.check_password", args, 2, &err).b);
    args[0] = text(h, "Secret");
    assert_false(statement(h, "security.check_password", args, 2, &err).b);
    for (int i = 0; i < 50; i++) {
        Value make[] = {val_int(4),     val_bool(true), val_bool(true),
                        val_bool(true), val_bool(true), text(h, "#")};
        Value p = statement(h, "security.create_password", make, 6, &err);
        assert_int_equal(p.text->len, 4);
        size_t classes[4] = {0};
        for (size_t k = 0; k < 4; k++) {
            char ch = p.text->data[k];
            classes[ch == '#' ? 0 : ch <= '9' ? 1 : ch <= 'Z' ? 2 : 3]++;
        }
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(classes[k], 1);
        Value range[] = {val_int(-1), val_int(1)};
        Value n = statement(h, "security.random_number", range, 2, &err);
        assert_true(n.kind == V_INT && n.i >= -1 && n.i <= 1);
        Value all[] = {val_int(INT64_MIN), val_int(INT64_MAX)};
        assert_int_equal(statement(h, "security.random_number", all, 2, &err).kind, V_INT);
    }
    heap_free(h);
}

static int teardown(void **state)
{
    (void)state;
    thread_cache_clear();
    return 0;
}

int main(void)
{
    tables_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),      cmocka_unit_test(test_text_body),
        cmocka_unit_test(test_signatures), cmocka_unit_test(test_agreed_keys),
        cmocka_unit_test(test_encryption), cmocka_unit_test(test_passwords),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
