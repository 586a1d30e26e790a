/* auth_test.c - engine tokens: round trip, tampering, expiry, tenants; JWTs of another signer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>

#include "core/json.h"
#include "core/text.h"
#include "host/auth.h"

static const char tables_json[] =
    "[{\"name\":\"user\",\"id\":5,\"auth\":true},{\"name\":\"note\",\"id\":6,\"auth\":false}]";
#define KEY   "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define NOW   1700000000000
#define OTHER "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static Auth *make_auth(Arena *a, const char *settings)
{
    Config c;
    xs_error err = {0};
    assert_true(config_init(&c, &err));
    assert_true(config_read(&c, "test", text_from(settings), &err));
    Auth *auth = auth_new(&c, json_parse(a, text_from(tables_json), &err), &err);
    if (!auth)
        print_error("%s\n", err.message);
    config_deinit(&c);
    return auth;
}

static Text make_token(const Auth *auth, Arena *a, const char *id, const char *extras, int64_t ttl)
{
    Buf b = BUF_INIT;
    xs_error err = {0};
    assert_true(
        auth_make_token(auth, TEXT("user"), text_from(id), text_from(extras), NOW, ttl, &b, &err));
    Text t = arena_text(a, buf_view(&b));
    buf_deinit(&b);
    return t;
}

static void test_round_trip(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 0);
    Auth *auth = make_auth(&a, "auth.secret = " KEY);
    assert_non_null(auth);
    Claims c;
    Text token = make_token(auth, &a, "81", "{\"role\":\"pilot\"}", 60);
    assert_true(auth_verify(auth, &a, token, NOW, &c));
    assert_true(text_eq(c.table, TEXT("user")));
    assert_int_equal(const_int_of(c.id, 0), 81);
    assert_true(text_eq(const_get_text(c.extras, "role"), TEXT("pilot")));
    assert_int_equal(c.expires_ms, NOW + 60000);
    Buf b = BUF_INIT;
    json_write_const(&b, auth_const(&a, &c));
    assert_true(text_eq(buf_view(&b), TEXT("{\"id\":81,\"role\":\"pilot\"}")));
    buf_deinit(&b);
    assert_true(auth_verify(auth, &a, token, NOW + 59999, &c));
    assert_false(auth_verify(auth, &a, token, NOW + 60000, &c));
    token = make_token(auth, &a, "\"0b8\"", "null", 0);
    assert_true(auth_verify(auth, &a, token, INT64_MAX / 2, &c));
    assert_true(text_eq(c.id->text, TEXT("0b8")));
    assert_int_equal(c.expires_ms, 0);
    auth_free(auth);
    arena_deinit(&a);
}

static void test_tampered(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 0);
    Auth *auth = make_auth(&a, "auth.secret = " KEY);
    Text token = make_token(auth, &a, "81", "{}", 60);
    Claims c;
    char *bytes = arena_alloc(&a, token.len + 1);
    for (size_t i = 0; i < token.len; i++) {
        memcpy(bytes, token.ptr, token.len);
        /* The last character of a part may carry unused bits: flip a high one. */
        bytes[i] = bytes[i] == '.' ? 'A' : bytes[i] == 'A' ? 'Q' : 'A';
        assert_false(auth_verify(auth, &a, (Text){bytes, token.len}, NOW, &c));
        assert_false(auth_verify(auth, &a, (Text){token.ptr, i}, NOW, &c));
    }
    static const char *const junk[] = {
        "", ".", "....", "a.b.c", "a.b.c.d.e", "null", "eyJhbGciOiJub25lIn0.e30."};
    for (size_t i = 0; i < COUNT_OF(junk); i++)
        assert_false(auth_verify(auth, &a, text_from(junk[i]), NOW, &c));
    Auth *other = make_auth(&a, "auth.secret = " OTHER);
    assert_false(auth_verify(other, &a, token, NOW, &c));
    Auth *rotated = make_auth(&a, "auth.secret = " OTHER "\nauth.secret_old = " KEY);
    assert_true(auth_verify(rotated, &a, token, NOW, &c));
    Auth *tenant = make_auth(&a, "auth.secret = " KEY "\ntenant = acme");
    assert_false(auth_verify(tenant, &a, token, NOW, &c));
    assert_true(auth_verify(tenant, &a, make_token(tenant, &a, "1", "{}", 0), NOW, &c));
    assert_false(auth_verify(auth, &a, make_token(tenant, &a, "1", "{}", 0), NOW, &c));
    auth_free(auth);
    auth_free(other);
    auth_free(rotated);
    auth_free(tenant);
    arena_deinit(&a);
}

static void test_refused_arguments(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 0);
    Auth *auth = make_auth(&a, "auth.secret = " KEY);
    Buf b = BUF_INIT;
    xs_error err = {0};
    assert_false(auth_make_token(auth, TEXT("note"), TEXT("1"), TEXT("{}"), NOW, 1, &b, &err));
    assert_int_equal(err.code, XS_E_NOTFOUND);
    assert_false(auth_make_token(auth, TEXT("user"), TEXT("null"), TEXT("{}"), NOW, 1, &b, &err));
    assert_int_equal(err.code, XS_E_BAD_ARG);
    assert_int_equal(auth_table_id(auth, TEXT("user")), 5);
    assert_int_equal(auth_table_id(auth, TEXT("5")), 5);
    assert_int_equal(auth_table_id(auth, TEXT("6")), 0);
    assert_null(make_auth(&a, "auth.secret = short"));
    auth_free(auth);
    arena_deinit(&a);
}

static Text b64(Arena *a, const void *data, size_t n)
{
    size_t cap = sodium_base64_encoded_len(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    char *out = arena_alloc(a, cap);
    sodium_bin2base64(out, cap, data, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return text_from(out);
}

static Text sign_jwt(Arena *a, const char *header, const char *claims, const EVP_MD *md,
                     const char *key)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    Text h = b64(a, header, strlen(header)), c = b64(a, claims, strlen(claims));
    Text input = arena_printf(a, TEXT_FMT "." TEXT_FMT, TEXT_ARG(h), TEXT_ARG(c));
    HMAC(md, key, (int)strlen(key), (const unsigned char *)input.ptr, input.len, mac, &n);
    Text s = b64(a, mac, n);
    return arena_printf(a, TEXT_FMT "." TEXT_FMT, TEXT_ARG(input), TEXT_ARG(s));
}

static void test_jwt(void **state)
{
    (void)state;
    static const struct {
        const char *header, *claims, *key;
        bool ok;
    } cases[] = {
        {"{\"alg\":\"HS256\"}", "{\"table\":\"user\",\"sub\":\"7\"}", "shared-secret", true},
        {"{\"alg\":\"HS256\"}", "{\"t\":\"user\",\"i\":7,\"x\":{\"a\":1},\"exp\":1700000001}",
         "shared-secret", true},
        {"{\"alg\":\"HS256\"}", "{\"t\":\"user\",\"i\":7,\"exp\":1699999999}", "shared-secret",
         false},
        {"{\"alg\":\"HS256\"}", "{\"t\":\"user\",\"i\":7,\"exp\":\"soon\"}", "shared-secret",
         false},
        {"{\"alg\":\"HS256\"}", "{\"t\":\"note\",\"i\":7}", "shared-secret", false},
        {"{\"alg\":\"HS256\"}", "{\"t\":\"user\"}", "shared-secret", false},
        {"{\"alg\":\"HS256\"}", "{\"t\":\"user\",\"i\":7}", "other-secret", false},
        {"{\"alg\":\"HS512\"}", "{\"t\":\"user\",\"i\":7}", "shared-secret", false},
        {"{\"alg\":\"none\"}", "{\"t\":\"user\",\"i\":7}", "shared-secret", false},
        {"[]", "{\"t\":\"user\",\"i\":7}", "shared-secret", false},
    };
    Arena a;
    arena_init(&a, 0);
    Auth *auth = make_auth(&a, "auth.secret = " KEY "\nauth.jwt_key = shared-secret");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Claims c;
        Text token = sign_jwt(&a, cases[i].header, cases[i].claims, EVP_sha256(), cases[i].key);
        assert_int_equal(auth_verify(auth, &a, token, NOW, &c), cases[i].ok);
        if (cases[i].ok)
            assert_int_equal(const_int_of(c.id, 0), 7);
    }
    auth_free(auth);
    arena_deinit(&a);
}

/* A verifier of RSA signatures must not take its public key for a shared secret. */
static void test_jwt_confusion(void **state)
{
    (void)state;
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAztjxw3CVT5dcx3tj2mb3\n"
                              "MZcpFhOw5hnyqevb7jt9eJFpdFlTwcwX9YIPsRFIaFO68mgQZoQsrbYX/qUMFG0i\n"
                              "mYEyp3lEDxUkrc4JG4+I6j6QS/Yq0yhTWaVKyp6LbhKFkdhJhk5RDr2kExhnElLZ\n"
                              "3y6p1LaZ1rO2Zp8go/H9c2t0a2aR0YNcoS+VmTWybT5baRN2aipn1QV1DJ6y7RAa\n"
                              "mYpqqZyvBCg8TDb7LNPAxIV5wo8s/fZ29U8iV9jgHFVm+t9Jpf1fq2lEndGuofwd\n"
                              "GEHHrN5cmpUu1B0JILXv8+61eJntZMBgFvnvkQuRouKz863cKiwmfWl+SOGhHgVk\n"
                              "5wIDAQAB\n"
                              "-----END PUBLIC KEY-----\n";
    static const char *const headers[] = {
        "{\"alg\":\"HS256\"}", "{\"alg\":\"RS256\"}",   "{\"alg\":\"none\"}",
        "{\"alg\":\"dir\"}",   "{\"alg\":[\"RS256\"]}", "{\"alg\":\"RS256\",\"alg\":\"HS256\"}"};
    char file[] = "/tmp/xs_auth_test_XXXXXX";
    int fd = mkstemp(file);
    assert_true(fd >= 0 && write(fd, pem, sizeof pem - 1) == sizeof pem - 1);
    close(fd);
    Arena a;
    arena_init(&a, 0);
    Text settings =
        arena_printf(&a, "auth.secret = " KEY "\nauth.jwt_alg = RS256\nauth.jwt_key = @%s", file);
    Auth *auth = make_auth(&a, settings.ptr);
    assert_non_null(auth);
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        Claims c;
        Text token = sign_jwt(&a, headers[i], "{\"t\":\"user\",\"i\":7}", EVP_sha256(), pem);
        assert_false(auth_verify(auth, &a, token, NOW, &c));
    }
    unlink(file);
    auth_free(auth);
    arena_deinit(&a);
}

static void test_small_parts(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } ids[] = {{"\"7\"", "7"},       {"7", "7"},       {"\"x\"", "\"x\""},
               {"\"07\"", "\"07\""}, {"\"\"", "\"\""}, {"\"0\"", "0"}};
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        assert_true(text_eq(auth_normal_id(text_from(ids[i].in)), text_from(ids[i].out)));
    assert_true(text_eq(auth_bearer(TEXT("Bearer abc")), TEXT("abc")));
    assert_true(text_eq(auth_bearer(TEXT("bEARER  abc ")), TEXT("abc")));
    assert_null(auth_bearer(TEXT("Basic abc")).ptr);
    assert_null(auth_bearer(TEXT("Bearer ")).ptr);
    assert_null(auth_bearer((Text){0}).ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),        cmocka_unit_test(test_tampered),
        cmocka_unit_test(test_refused_arguments), cmocka_unit_test(test_jwt),
        cmocka_unit_test(test_jwt_confusion),     cmocka_unit_test(test_small_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
