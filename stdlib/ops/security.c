/* security.c - security.* statements: login tokens, passwords, keys, encryption, web tokens.
 * Argument i is the i-th attribute of the statement's row. Specification: runtime.md §4.5. */
#include <openssl/evp.h>
#include <sodium.h>

#include "core/num.h"
#include "core/text.h"
#include "stdlib/cipher.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/jwk.h"

enum {
    RANDOM_MAX_BYTES = 1 << 20,
    PASSWORD_MAX = 4096,
    KEY_MAX_BITS = 1 << 16,
    /* A hash that asks for more than this is not ours, and would be a way to stall a worker. */
    ARGON_MAX_KIB = 1 << 20,
    ARGON_MAX_PASSES = 16,
    PBKDF2_MAX_ROUNDS = 2000000
};

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

/* ---- login tokens ---- */

/* An object attribute that may be absent. */
static bool map_opt(Call *c, uint32_t i, Value *out)
{
    *out = val_null();
    return !call_has(c, i) || call_map(c, i, out);
}

static bool create_auth_token(Call *c)
{
    Text table;
    Value extras;
    int64_t ttl = 86400;
    if (!call_text(c, 0, &table) || !map_opt(c, 2, &extras) || !call_int_opt(c, 3, &ttl))
        return false;
    Value id = call_arg(c, 1);
    if (id.kind != V_INT && id.kind != V_TEXT)
        return call_bad_arg(c, 1);
    if (ttl < 0)
        return call_bad_arg(c, 3);
    if (!c->services || !c->services->make_token)
        return call_fail(c, XS_E_UNSUPPORTED, "security.create_auth_token needs a server");
    Value none = val_is_null(extras) ? map_new(c->heap, 0) : val_ref(extras);
    if (none.kind == V_UNSET)
        return flt_memory(c);
    Buf out = BUF_INIT;
    bool ok = c->services->make_token(c->services->ctx, table, id, none, ttl, &out, c->err);
    val_unref(c->heap, none);
    if (ok)
        return flt_return_buf(c, &out);
    buf_deinit(&out);
    return false;
}

NativeResult op_security_create_auth_token(Call *c)
{
    return result_of(create_auth_token(c));
}

/* ---- passwords ---- */

/* Value of "name=" in a PHC parameter list; -1 without. */
static int64_t phc_param(Text hash, Text name)
{
    size_t at = text_find(hash, name, 0);
    int64_t n = 0;
    if (at == SIZE_MAX)
        return -1;
    for (at += name.len; at < hash.len && hash.ptr[at] >= '0' && hash.ptr[at] <= '9'; at++)
        if ((n = n * 10 + (hash.ptr[at] - '0')) > UINT32_MAX)
            return -1;
    return n;
}

static bool check_argon(Text password, Text hash)
{
    char text[crypto_pwhash_STRBYTES];
    int64_t kib = phc_param(hash, TEXT("m=")), passes = phc_param(hash, TEXT("t="));
    if (hash.len >= sizeof text || kib < 0 || kib > ARGON_MAX_KIB || passes < 0 ||
        passes > ARGON_MAX_PASSES || sodium_init() < 0)
        return false;
    memcpy(text, hash.ptr, hash.len);
    text[hash.len] = 0;
    return crypto_pwhash_str_verify(text, password.len ? password.ptr : "", password.len) == 0;
}

/* $pbkdf2-sha256$i=600000$salt$hash, base64 without padding: what a build without Argon2 writes. */
static bool check_pbkdf2(Text password, Text hash)
{
    Text part[5];
    size_t n = 0, from = 0;
    while (n < COUNT_OF(part)) {
        size_t end = text_find(hash, TEXT("$"), from);
        part[n++] = text_slice(hash, from, end == SIZE_MAX ? hash.len : end);
        if (end == SIZE_MAX)
            break;
        from = end + 1;
    }
    int64_t rounds = n == 5 ? phc_param(part[2], TEXT("i=")) : -1;
    if (rounds < 1 || rounds > PBKDF2_MAX_ROUNDS || password.len > INT32_MAX)
        return false;
    Buf salt = BUF_INIT, want = BUF_INIT;
    unsigned char got[64];
    base64_read(part[3], &salt);
    base64_read(part[4], &want);
    bool ok = !salt.failed && want.len >= 16 && want.len <= sizeof got && salt.len <= 1024 &&
              PKCS5_PBKDF2_HMAC(password.len ? password.ptr : "", (int)password.len,
                                (const unsigned char *)buf_view(&salt).ptr, (int)salt.len,
                                (int)rounds, EVP_sha256(), (int)want.len, got) == 1 &&
              cipher_equal(got, want.ptr, want.len);
    buf_deinit(&salt);
    buf_deinit(&want);
    return ok;
}

NativeResult op_security_check_password(Call *c)
{
    Text password = TEXT(""), hash = TEXT("");
    if (!call_text_opt(c, 0, &password) || !call_text_opt(c, 1, &hash))
        return NATIVE_ERROR;
    bool ok = false;
    if (text_starts(hash, TEXT("$argon2")))
        ok = check_argon(password, hash);
    else if (text_starts(hash, TEXT("$pbkdf2-sha256$")))
        ok = check_pbkdf2(password, hash);
    return result_of(call_return_bool(c, ok));
}

/* A uniform number below n. */
static bool random_below(Call *c, uint64_t n, uint64_t *out)
{
    uint64_t v, reject = (UINT64_MAX - n + 1) % n; /* 2^64 mod n: the part that would be favoured */
    do {
        if (!services_random(c->services, &v, sizeof v, c->err))
            return false;
    } while (v < reject);
    *out = v % n;
    return true;
}

static bool random_char(Call *c, Text set, char *out)
{
    uint64_t i;
    if (!random_below(c, set.len, &i))
        return false;
    *out = set.ptr[i];
    return true;
}

static bool create_password(Call *c)
{
    Text sets[4], symbols = TEXT("!@#$%^&*()-_=+[]{};:,.?");
    Text whitelist = TEXT("");
    int64_t count = 12;
    size_t nsets = 0;
    char out[PASSWORD_MAX], pool[256];
    if (!call_int_opt(c, 0, &count) || !call_text_opt(c, 5, &whitelist))
        return false;
    if (whitelist.len)
        symbols = whitelist;
    for (size_t i = 0; i < symbols.len; i++)
        if (symbols.ptr[i] <= ' ' || symbols.ptr[i] > '~')
            return call_bad_arg(c, 5);
    if (call_bool(c, 1, true))
        sets[nsets++] = TEXT("abcdefghijklmnopqrstuvwxyz");
    if (call_bool(c, 2, true))
        sets[nsets++] = TEXT("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (call_bool(c, 3, true))
        sets[nsets++] = TEXT("0123456789");
    if (call_bool(c, 4, false))
        sets[nsets++] = text_slice(symbols, 0, 128);
    if (nsets == 0)
        sets[nsets++] = TEXT("abcdefghijklmnopqrstuvwxyz0123456789");
    if (count < (int64_t)nsets || count > PASSWORD_MAX)
        return call_bad_arg(c, 0);
    size_t npool = 0;
    for (size_t i = 0; i < nsets; i++) {
        memcpy(pool + npool, sets[i].ptr, sets[i].len);
        npool += sets[i].len;
    }
    /* one of each class first, then shuffle them in */
    for (size_t i = 0; i < (size_t)count; i++)
        if (!random_char(c, i < nsets ? sets[i] : (Text){pool, npool}, &out[i]))
            return false;
    for (size_t i = (size_t)count - 1; i > 0; i--) {
        uint64_t j;
        if (!random_below(c, i + 1, &j))
            return false;
        char t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
    bool ok = call_return_text(c, (Text){out, (size_t)count});
    sodium_memzero(out, sizeof out);
    return ok;
}

NativeResult op_security_create_password(Call *c)
{
    return result_of(create_password(c));
}

/* ---- random values and keys ---- */

NativeResult op_security_create_uuid(Call *c)
{
    return result_of(flt_uuid(c));
}

static bool random_text(Call *c, int64_t bytes, Value *out)
{
    *out = text_new_raw(c->heap, (size_t)bytes);
    if (out->kind == V_UNSET)
        return flt_memory(c);
    if (services_random(c->services, out->text->data, (size_t)bytes, c->err))
        return true;
    val_unref(c->heap, *out);
    return false;
}

NativeResult op_security_random_bytes(Call *c)
{
    int64_t n = 1;
    Value v;
    if (!call_int_opt(c, 0, &n))
        return NATIVE_ERROR;
    if (n < 0 || n > RANDOM_MAX_BYTES)
        return result_of(call_bad_arg(c, 0));
    return result_of(random_text(c, n, &v) && call_return(c, v));
}

NativeResult op_security_random_number(Call *c)
{
    int64_t min = 0, max = 9007199254740991;
    uint64_t n;
    if (!call_int_opt(c, 0, &min) || !call_int_opt(c, 1, &max))
        return NATIVE_ERROR;
    if (min > max)
        return result_of(call_bad_arg(c, 1));
    uint64_t span = (uint64_t)max - (uint64_t)min;
    bool ok = span == UINT64_MAX ? services_random(c->services, &n, sizeof n, c->err)
                                 : random_below(c, span + 1, &n);
    return result_of(ok && call_return_int(c, (int64_t)((uint64_t)min + n)));
}

/* The format attribute: object or base64. */
static bool key_format(Call *c, uint32_t i, bool *as_jwk)
{
    Text format = TEXT("object");
    if (!call_text_opt(c, i, &format))
        return false;
    *as_jwk = text_eq(format, TEXT("object"));
    return *as_jwk || text_eq(format, TEXT("base64")) || call_bad_arg(c, i);
}

static bool secret_jwk(Call *c, Text secret)
{
    Value kty = text_new(c->heap, TEXT("oct")), k = text_new(c->heap, secret);
    Value m = map_new(c->heap, 2);
    if (kty.kind == V_UNSET || k.kind == V_UNSET || m.kind == V_UNSET) {
        val_unref(c->heap, kty);
        val_unref(c->heap, k);
        val_unref(c->heap, m);
        return flt_memory(c);
    }
    bool ok = map_set_text(c->heap, &m, TEXT("kty"), kty);
    if (!ok)
        val_unref(c->heap, k);
    if (ok && map_set_text(c->heap, &m, TEXT("k"), k))
        return call_return(c, m);
    val_unref(c->heap, m);
    return flt_memory(c);
}

NativeResult op_security_create_secret_key(Call *c)
{
    int64_t bits = 1024;
    bool as_jwk;
    Value raw;
    if (!call_int_opt(c, 0, &bits) || !key_format(c, 1, &as_jwk))
        return NATIVE_ERROR;
    if (bits < 8 || bits > KEY_MAX_BITS || bits % 8)
        return result_of(call_bad_arg(c, 0));
    if (!random_text(c, bits / 8, &raw))
        return NATIVE_ERROR;
    Buf out = BUF_INIT;
    base64_write(val_text_view(raw), as_jwk, as_jwk ? 0 : '=', &out);
    val_unref(c->heap, raw);
    if (!as_jwk || out.failed)
        return result_of(flt_return_buf(c, &out));
    bool ok = secret_jwk(c, buf_view(&out));
    buf_deinit(&out);
    return result_of(ok);
}

NativeResult op_security_create_rsa_key(Call *c)
{
    int64_t bits = 1024;
    bool as_jwk;
    if (!call_int_opt(c, 0, &bits) || !key_format(c, 1, &as_jwk))
        return NATIVE_ERROR;
    Value v = jwk_new_rsa(c->heap, bits, as_jwk, c->err);
    return result_of(v.kind != V_UNSET && call_return(c, v));
}

NativeResult op_security_create_curve_key(Call *c)
{
    Text curve = TEXT("P-256");
    bool as_jwk;
    if (!call_text_opt(c, 0, &curve) || !key_format(c, 1, &as_jwk))
        return NATIVE_ERROR;
    Value v = jwk_new_curve(c->heap, curve, as_jwk, c->err);
    return result_of(v.kind != V_UNSET && call_return(c, v));
}

/* ---- encryption ---- */

NativeResult op_security_encrypt(Call *c)
{
    return result_of(cipher_call(c, true, true));
}

NativeResult op_security_decrypt(Call *c)
{
    return result_of(cipher_call(c, false, true));
}

/* ---- web tokens ---- */

static bool key_arg(Call *c, uint32_t i, Value *key)
{
    *key = call_arg(c, i);
    return key->kind == V_TEXT || key->kind == V_MAP || call_bad_arg(c, i);
}

static bool return_token(Call *c, Buf *out, bool ok)
{
    if (ok)
        return flt_return_buf(c, out);
    buf_deinit(out);
    return false;
}

static bool encode(Call *c, bool jwe)
{
    Value headers, key, claims;
    Text alg = jwe ? TEXT("A256KW") : TEXT("HS256"), content = TEXT("A256CBC-HS512");
    int64_t ttl = 0;
    uint32_t last = jwe ? 5 : 4;
    if (!map_opt(c, 0, &headers) || !key_arg(c, 2, &key) || !call_text_opt(c, 3, &alg) ||
        (jwe && !call_text_opt(c, 4, &content)) || !call_int_opt(c, last, &ttl))
        return false;
    claims = call_arg(c, 1);
    if (claims.kind == V_UNSET)
        return flt_missing(c, 1);
    claims = token_claims(c->heap, c->services, claims, ttl, c->err);
    if (claims.kind == V_UNSET)
        return false;
    Buf out = flt_buf();
    bool ok = jwe ? jwe_encrypt(c->services, headers, claims, key, alg, content, &out, c->err)
                  : jws_sign(headers, claims, key, alg, &out, c->err);
    val_unref(c->heap, claims);
    return return_token(c, &out, ok);
}

static bool decode(Call *c, bool jwe)
{
    Value key, check, v = val_unset();
    Text token, alg = jwe ? TEXT("A256KW") : TEXT("HS256"), content = TEXT("A256CBC-HS512");
    int64_t drift = 0;
    uint32_t last = jwe ? 5 : 4;
    if (!call_text(c, 0, &token) || !key_arg(c, 1, &key) || !map_opt(c, 2, &check) ||
        !call_text_opt(c, 3, &alg) || (jwe && !call_text_opt(c, 4, &content)) ||
        !call_int_opt(c, last, &drift))
        return false;
    Buf payload = flt_buf();
    bool ok = jwe ? jwe_decrypt(token, key, alg, content, &payload, c->err)
                  : jws_verify(token, key, alg, &payload, c->err);
    if (ok)
        v = token_check(c->heap, c->services, buf_view(&payload), check, drift, c->err);
    buf_deinit(&payload);
    return v.kind != V_UNSET && call_return(c, v);
}

NativeResult op_security_jws_encode(Call *c)
{
    return result_of(encode(c, false));
}

NativeResult op_security_jws_decode(Call *c)
{
    return result_of(decode(c, false));
}

NativeResult op_security_jwe_encode(Call *c)
{
    return result_of(encode(c, true));
}

NativeResult op_security_jwe_decode(Call *c)
{
    return result_of(decode(c, true));
}
