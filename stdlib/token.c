/* token.c - JSON web tokens: JWS (RFC 7515) and JWE (RFC 7516), compact form only. One message for
 * every failure of a token, so that nothing tells which check refused it. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "core/json.h"
#include "core/text.h"
#include "stdlib/cipher.h"
#include "stdlib/filters/codec.h"

enum { TOKEN_MAX = 1 << 20, KEY_MAX = 1 << 16 };

static bool bad_token(xs_error *err)
{
    return xs_fail(err, XS_E_BAD_TOKEN, XS_NO_POS, "Invalid token.");
}

static bool bad_param(const char *name, xs_error *err)
{
    return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: %s", name);
}

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
}

/* ---- keys ---- */

/* Secret bytes of a text or an oct JWK. */
static bool secret_bytes(Value key, Buf *out)
{
    if (key.kind == V_TEXT)
        return buf_text(out, val_text_view(key));
    Value k = map_get_cstr(key, "k");
    return k.kind == V_TEXT && base64_read_strict(val_text_view(k), out);
}

static bool push_bn(OSSL_PARAM_BLD *bld, BIGNUM **keep, const char *param, Value jwk,
                    const char *member)
{
    Value v = map_get_cstr(jwk, member);
    Buf raw = BUF_INIT;
    if (v.kind != V_TEXT)
        return true; /* not there */
    bool ok = base64_read_strict(val_text_view(v), &raw) && raw.len > 0 && raw.len < KEY_MAX;
    if (ok) {
        *keep = BN_bin2bn((const unsigned char *)raw.ptr, (int)raw.len, NULL);
        ok = *keep && OSSL_PARAM_BLD_push_BN(bld, param, *keep) == 1;
    }
    buf_deinit(&raw);
    return ok;
}

static EVP_PKEY *pkey_of_params(const char *type, OSSL_PARAM_BLD *bld, bool secret)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, secret ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *rsa_of_jwk(Value jwk)
{
    static const struct {
        const char *param, *member;
    } parts[] = {
        {OSSL_PKEY_PARAM_RSA_N, "n"},          {OSSL_PKEY_PARAM_RSA_E, "e"},
        {OSSL_PKEY_PARAM_RSA_D, "d"},          {OSSL_PKEY_PARAM_RSA_FACTOR1, "p"},
        {OSSL_PKEY_PARAM_RSA_FACTOR2, "q"},    {OSSL_PKEY_PARAM_RSA_EXPONENT1, "dp"},
        {OSSL_PKEY_PARAM_RSA_EXPONENT2, "dq"}, {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, "qi"},
    };
    BIGNUM *bn[COUNT_OF(parts)] = {0};
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    bool ok = bld != NULL;
    for (size_t i = 0; ok && i < COUNT_OF(parts); i++)
        ok = push_bn(bld, &bn[i], parts[i].param, jwk, parts[i].member);
    EVP_PKEY *pkey = ok && bn[0] && bn[1] ? pkey_of_params("RSA", bld, bn[2] != NULL) : NULL;
    OSSL_PARAM_BLD_free(bld);
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        BN_clear_free(bn[i]);
    return pkey;
}

static const struct {
    const char *crv, *group;
    size_t size;
} curves[] = {{"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};

/* secret: its member d counts, if there is one. */
static EVP_PKEY *ec_of_parts(Text crv, Text x, Text y, Value secret)
{
    size_t i = 0;
    while (i < COUNT_OF(curves) && !text_eq(crv, text_from(curves[i].crv)))
        i++;
    if (i == COUNT_OF(curves))
        return NULL;
    Buf point = BUF_INIT;
    buf_char(&point, 4);
    bool ok = base64_read_strict(x, &point) && point.len == 1 + curves[i].size &&
              base64_read_strict(y, &point) && point.len == 1 + 2 * curves[i].size;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *d = NULL;
    ok =
        ok && bld && push_bn(bld, &d, OSSL_PKEY_PARAM_PRIV_KEY, secret, "d") &&
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, curves[i].group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point.ptr, point.len) == 1;
    EVP_PKEY *pkey = ok ? pkey_of_params("EC", bld, d != NULL) : NULL;
    OSSL_PARAM_BLD_free(bld);
    BN_clear_free(d);
    buf_deinit(&point);
    return pkey;
}

static EVP_PKEY *ec_of_jwk(Value jwk)
{
    Value crv = map_get_cstr(jwk, "crv"), x = map_get_cstr(jwk, "x"), y = map_get_cstr(jwk, "y");
    if (crv.kind != V_TEXT || x.kind != V_TEXT || y.kind != V_TEXT)
        return NULL;
    return ec_of_parts(val_text_view(crv), val_text_view(x), val_text_view(y), jwk);
}

/* A passphrase would be asked for on the terminal: never. */
static int no_passphrase(char *buf, int size, int rw, void *u)
{
    (void)buf, (void)size, (void)rw, (void)u;
    return -1;
}

static EVP_PKEY *pkey_of_pem(Text pem, bool secret)
{
    EVP_PKEY *pkey = NULL;
    if (pem.len == 0 || pem.len > KEY_MAX)
        return NULL;
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    if (!bio)
        return NULL;
    if (!secret)
        pkey = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    if (!pkey) { /* a private key also verifies */
        (void)BIO_reset(bio);
        pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    }
    if (!pkey && !secret) {
        (void)BIO_reset(bio);
        X509 *cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
        pkey = cert ? X509_get_pubkey(cert) : NULL;
        X509_free(cert);
    }
    BIO_free(bio);
    return pkey;
}

/* PEM, or base64 of it, as the statements that make keys give it. */
static EVP_PKEY *pkey_of_text(Text key, bool secret)
{
    EVP_PKEY *pkey = pkey_of_pem(key, secret);
    Buf pem = BUF_INIT;
    if (!pkey && text_starts(key, TEXT("LS0tLS1CRUdJTi"))) { /* -----BEGIN */
        base64_read(key, &pem);
        pkey = pkey_of_pem(buf_view(&pem), secret);
    }
    buf_deinit(&pem);
    return pkey;
}

static EVP_PKEY *pkey_of(Value key, bool secret)
{
    if (key.kind == V_TEXT)
        return pkey_of_text(val_text_view(key), secret);
    Value kty = map_get_cstr(key, "kty");
    if (kty.kind != V_TEXT)
        return NULL;
    if (text_eq(val_text_view(kty), TEXT("RSA")))
        return rsa_of_jwk(key);
    return text_eq(val_text_view(kty), TEXT("EC")) ? ec_of_jwk(key) : NULL;
}

/* ---- signatures ---- */

typedef struct Alg {
    char family; /* H R P E */
    Digest digest;
    size_t ec_size;
} Alg;

static bool alg_of(Text name, Alg *out)
{
    if (name.len != 5 || name.ptr[1] != 'S' || !strchr("HRPE", name.ptr[0]) || !name.ptr[0])
        return false;
    Text bits = text_slice(name, 2, 5);
    *out = (Alg){.family = name.ptr[0]};
    if (text_eq(bits, TEXT("256")))
        *out = (Alg){name.ptr[0], DIGEST_SHA256, 32};
    else if (text_eq(bits, TEXT("384")))
        *out = (Alg){name.ptr[0], DIGEST_SHA384, 48};
    else if (text_eq(bits, TEXT("512")))
        *out = (Alg){name.ptr[0], DIGEST_SHA512, 66};
    else
        return false;
    return true;
}

static bool pkey_fits(const Alg *alg, EVP_PKEY *pkey)
{
    if (alg->family != 'E')
        return EVP_PKEY_get_base_id(pkey) == EVP_PKEY_RSA;
    return EVP_PKEY_get_base_id(pkey) == EVP_PKEY_EC &&
           (size_t)(EVP_PKEY_get_bits(pkey) + 7) / 8 == alg->ec_size;
}

static const EVP_MD *alg_md(const Alg *alg)
{
    return alg->digest == DIGEST_SHA256   ? EVP_sha256()
           : alg->digest == DIGEST_SHA384 ? EVP_sha384()
                                          : EVP_sha512();
}

static bool set_padding(const Alg *alg, EVP_PKEY_CTX *ctx)
{
    return alg->family != 'P' ||
           (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

/* DER of OpenSSL to the two fixed-size numbers of RFC 7518. */
static bool ec_raw(const unsigned char *der, size_t len, size_t size, Buf *out)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    unsigned char raw[2 * 66];
    bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, (int)size) == (int)size &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + size, (int)size) == (int)size &&
              buf_append(out, raw, 2 * size);
    ECDSA_SIG_free(sig);
    return ok;
}

/* The reverse; *der is freed with OPENSSL_free. 0: malformed. */
static int ec_der(Text raw, size_t size, unsigned char **der)
{
    if (raw.len != 2 * size)
        return 0;
    const unsigned char *p = (const unsigned char *)raw.ptr;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(p, (int)size, NULL), *s = BN_bin2bn(p + size, (int)size, NULL);
    int n = 0;
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
        n = i2d_ECDSA_SIG(sig, der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(sig);
    return n;
}

static bool pkey_sign(const Alg *alg, EVP_PKEY *pkey, Text data, Buf *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    size_t n = 0;
    const unsigned char *p = (const unsigned char *)data.ptr;
    Buf sig = BUF_INIT;
    bool ok = ctx && EVP_DigestSignInit(ctx, &pctx, alg_md(alg), NULL, pkey) == 1 &&
              set_padding(alg, pctx) && EVP_DigestSign(ctx, NULL, &n, p, data.len) == 1 &&
              buf_reserve(&sig, n) &&
              EVP_DigestSign(ctx, (unsigned char *)sig.ptr, &n, p, data.len) == 1;
    if (ok)
        ok = alg->family == 'E' ? ec_raw((unsigned char *)sig.ptr, n, alg->ec_size, out)
                                : buf_append(out, sig.ptr, n);
    buf_deinit(&sig);
    EVP_MD_CTX_free(ctx);
    return ok;
}

static bool pkey_verify(const Alg *alg, EVP_PKEY *pkey, Text data, Text sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    unsigned char *der = NULL;
    const unsigned char *s = (const unsigned char *)sig.ptr;
    size_t n = sig.len;
    if (alg->family == 'E') {
        int len = ec_der(sig, alg->ec_size, &der);
        s = der;
        n = len > 0 ? (size_t)len : 0;
    }
    bool ok = n > 0 && ctx && EVP_DigestVerifyInit(ctx, &pctx, alg_md(alg), NULL, pkey) == 1 &&
              set_padding(alg, pctx) &&
              EVP_DigestVerify(ctx, s, n, (const unsigned char *)data.ptr, data.len) == 1;
    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* ---- JWS ---- */

static void write_part(Text raw, Buf *out)
{
    base64_write(raw, true, 0, out);
}

/* {"alg":…[,"enc":…], …headers}; the caller's own alg and enc do not replace ours. */
static bool write_header(Text alg, Text enc, Value headers, Buf *out, xs_error *err)
{
    buf_cstr(out, "{\"alg\":");
    json_write_text(out, alg);
    if (enc.len) {
        buf_cstr(out, ",\"enc\":");
        json_write_text(out, enc);
    }
    uint32_t at = 0;
    const MapEntry *e = NULL;
    while (headers.kind == V_MAP && (e = map_walk(headers.map, &at))) {
        Text key = {e->key->data, e->key->len};
        if (text_eq(key, TEXT("alg")) || (enc.len && text_eq(key, TEXT("enc"))))
            continue;
        buf_char(out, ',');
        json_write_text(out, key);
        buf_char(out, ':');
        if (!value_json(e->value, out, err))
            return false;
    }
    buf_char(out, '}');
    return !out->failed || no_memory(err);
}

static bool sign(const Alg *alg, Value key, Text data, Buf *out, xs_error *err)
{
    if (alg->family != 'H') {
        EVP_PKEY *pkey = pkey_of(key, true);
        bool ok = pkey && pkey_fits(alg, pkey) && pkey_sign(alg, pkey, data, out);
        EVP_PKEY_free(pkey);
        return ok || bad_param("key", err);
    }
    Buf secret = BUF_INIT;
    unsigned char mac[DIGEST_MAX];
    bool ok = secret_bytes(key, &secret);
    size_t n = ok ? hmac_of(alg->digest, buf_view(&secret), data, mac) : 0;
    buf_deinit(&secret);
    return n ? buf_append(out, mac, n) || no_memory(err) : bad_param("key", err);
}

bool jws_sign(Value headers, Value payload, Value key, Text algorithm, Buf *out, xs_error *err)
{
    Alg alg;
    if (!alg_of(algorithm, &alg))
        return bad_param("algorithm", err);
    Buf header = BUF_INIT, body = BUF_INIT, sig = BUF_INIT;
    bool ok =
        write_header(algorithm, TEXT(""), headers, &header, err) && value_json(payload, &body, err);
    if (ok) {
        write_part(buf_view(&header), out);
        buf_char(out, '.');
        write_part(buf_view(&body), out);
        ok = (!out->failed || no_memory(err)) && sign(&alg, key, buf_view(out), &sig, err);
    }
    if (ok) {
        buf_char(out, '.');
        write_part(buf_view(&sig), out);
    }
    buf_deinit(&header);
    buf_deinit(&body);
    buf_deinit(&sig);
    return ok && (!out->failed || no_memory(err));
}

/* Splits at dots into exactly n parts. */
static bool split_token(Text token, Text *parts, size_t n)
{
    size_t from = 0;
    if (token.len > TOKEN_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t end = text_find(token, TEXT("."), from);
        if ((end == SIZE_MAX) != (i + 1 == n))
            return false;
        parts[i] = text_slice(token, from, end == SIZE_MAX ? token.len : end);
        from = end + 1;
    }
    return true;
}

/* The protected header says exactly these algorithms, and asks for no extension. */
static bool header_says(Text part, Text alg, Text enc)
{
    Buf raw = BUF_INIT;
    Arena arena;
    arena_init(&arena, TOKEN_MAX * 4);
    const Const *h =
        base64_read_strict(part, &raw) ? json_parse(&arena, buf_view(&raw), NULL) : NULL;
    bool ok = h && h->kind == C_MAP && text_eq(const_get_text(h, "alg"), alg) &&
              !const_get(h, "crit") && (enc.len == 0 || text_eq(const_get_text(h, "enc"), enc)) &&
              !const_get(h, "zip");
    arena_deinit(&arena);
    buf_deinit(&raw);
    return ok;
}

static bool verify(const Alg *alg, Value key, Text data, Text sig)
{
    if (alg->family != 'H') {
        EVP_PKEY *pkey = pkey_of(key, false);
        bool ok = pkey && pkey_fits(alg, pkey) && pkey_verify(alg, pkey, data, sig);
        EVP_PKEY_free(pkey);
        return ok;
    }
    Buf secret = BUF_INIT;
    unsigned char mac[DIGEST_MAX];
    size_t n = secret_bytes(key, &secret) ? hmac_of(alg->digest, buf_view(&secret), data, mac) : 0;
    buf_deinit(&secret);
    return n > 0 && n == sig.len && cipher_equal(mac, sig.ptr, n);
}

bool jws_verify(Text token, Value key, Text algorithm, Buf *payload, xs_error *err)
{
    Alg alg;
    Text part[3];
    Buf sig = BUF_INIT;
    if (!alg_of(algorithm, &alg))
        return bad_param("algorithm", err);
    bool ok =
        split_token(token, part, 3) && header_says(part[0], algorithm, TEXT("")) &&
        base64_read_strict(part[2], &sig) &&
        verify(&alg, key, text_slice(token, 0, part[0].len + 1 + part[1].len), buf_view(&sig)) &&
        base64_read_strict(part[1], payload);
    buf_deinit(&sig);
    return ok || bad_token(err);
}

/* ---- JWE ---- */

typedef struct KeyAlg {
    char name[16];
    size_t size; /* of the key encryption key; 0 = dir */
    bool gcm;
    bool agreed; /* ECDH-ES with a key of this message: member epk of the header */
} KeyAlg;

typedef struct ContentAlg {
    char name[16];
    size_t size; /* of the content key */
    const EVP_CIPHER *(*cipher)(void);
    bool gcm;
    Digest mac;
} ContentAlg;

static const KeyAlg key_algs[] = {
    {"dir", 0, false, false},
    {"A128KW", 16, false, false},
    {"A192KW", 24, false, false},
    {"A256KW", 32, false, false},
    {"A128GCMKW", 16, true, false},
    {"A192GCMKW", 24, true, false},
    {"A256GCMKW", 32, true, false},
    {"ECDH-ES+A128KW", 16, false, true},
    {"ECDH-ES+A192KW", 24, false, true},
    {"ECDH-ES+A256KW", 32, false, true},
};
static const ContentAlg content_algs[] = {
    {"A128CBC-HS256", 32, EVP_aes_128_cbc, false, DIGEST_SHA256},
    {"A192CBC-HS384", 48, EVP_aes_192_cbc, false, DIGEST_SHA384},
    {"A256CBC-HS512", 64, EVP_aes_256_cbc, false, DIGEST_SHA512},
    {"A128GCM", 16, EVP_aes_128_gcm, true, 0},
    {"A192GCM", 24, EVP_aes_192_gcm, true, 0},
    {"A256GCM", 32, EVP_aes_256_gcm, true, 0},
};

static const KeyAlg *key_alg(Text name)
{
    for (size_t i = 0; i < COUNT_OF(key_algs); i++)
        if (text_eq(name, text_from(key_algs[i].name)))
            return &key_algs[i];
    return NULL;
}

static const ContentAlg *content_alg(Text name)
{
    for (size_t i = 0; i < COUNT_OF(content_algs); i++)
        if (text_eq(name, text_from(content_algs[i].name)))
            return &content_algs[i];
    return NULL;
}

/* One pass of a cipher over in, appended to out; aad and tag only for GCM. */
static bool pass(const EVP_CIPHER *cipher, bool encrypt, const char *key, const char *iv, Text aad,
                 Text in, unsigned char tag[16], Buf *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0, last = 0;
    bool ok = ctx && in.len < INT32_MAX - 64 && buf_reserve(out, in.len + 32);
    if (ok && EVP_CIPHER_get_mode(cipher) == EVP_CIPH_WRAP_MODE)
        EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    ok = ok && EVP_CipherInit_ex2(ctx, cipher, (const unsigned char *)key,
                                  (const unsigned char *)iv, encrypt, NULL) == 1;
    if (ok && aad.len)
        ok = EVP_CipherUpdate(ctx, NULL, &n, (const unsigned char *)aad.ptr, (int)aad.len) == 1;
    if (ok && tag && !encrypt)
        ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, tag) == 1;
    unsigned char *to = ok ? (unsigned char *)out->ptr + out->len : NULL;
    const unsigned char *from = (const unsigned char *)(in.ptr ? in.ptr : "");
    ok = ok && EVP_CipherUpdate(ctx, to, &n, from, (int)in.len) == 1 &&
         EVP_CipherFinal_ex(ctx, to + n, &last) == 1;
    if (ok) {
        out->len += (size_t)(n + last);
        if (tag && encrypt)
            ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag) == 1;
    }
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static const EVP_CIPHER *wrap_cipher(size_t size)
{
    return size == 16 ? EVP_aes_128_wrap() : size == 24 ? EVP_aes_192_wrap() : EVP_aes_256_wrap();
}

static const EVP_CIPHER *gcm_cipher(size_t size)
{
    return size == 16 ? EVP_aes_128_gcm() : size == 24 ? EVP_aes_192_gcm() : EVP_aes_256_gcm();
}

/* HMAC over aad, iv, ciphertext and the bit length of aad; the first half is the tag (RFC 7518
 * §5.2). */
static size_t cbc_tag(const ContentAlg *c, const char *cek, Text aad, Text iv, Text data,
                      unsigned char tag[DIGEST_MAX])
{
    Buf all = BUF_INIT;
    buf_text(&all, aad);
    buf_text(&all, iv);
    buf_text(&all, data);
    uint64_t bits = (uint64_t)aad.len * 8;
    for (int shift = 56; shift >= 0; shift -= 8)
        buf_char(&all, (char)(bits >> shift & 0xFF));
    size_t n = all.failed ? 0 : hmac_of(c->mac, (Text){cek, c->size / 2}, buf_view(&all), tag);
    buf_deinit(&all);
    return n ? c->size / 2 : 0;
}

static bool seal(const ContentAlg *c, const char *cek, const char *iv, Text aad, Text plain,
                 Buf *data, Buf *tag)
{
    unsigned char mac[DIGEST_MAX];
    if (c->gcm)
        return pass(c->cipher(), true, cek, iv, aad, plain, mac, data) && buf_append(tag, mac, 16);
    if (!pass(c->cipher(), true, cek + c->size / 2, iv, TEXT(""), plain, NULL, data))
        return false;
    size_t n = cbc_tag(c, cek, aad, (Text){iv, 16}, buf_view(data), mac);
    return n && buf_append(tag, mac, n);
}

static bool unseal(const ContentAlg *c, const char *cek, Text iv, Text aad, Text data, Text tag,
                   Buf *plain)
{
    unsigned char mac[DIGEST_MAX];
    if (iv.len != (c->gcm ? 12u : 16u))
        return false;
    if (c->gcm) {
        if (tag.len != 16)
            return false;
        memcpy(mac, tag.ptr, 16);
        return pass(c->cipher(), false, cek, iv.ptr, aad, data, mac, plain);
    }
    size_t n = cbc_tag(c, cek, aad, iv, data, mac);
    return n && n == tag.len && cipher_equal(mac, tag.ptr, n) &&
           pass(c->cipher(), false, cek + c->size / 2, iv.ptr, TEXT(""), data, NULL, plain);
}

/* ---- ECDH-ES: RFC 7518 §4.6 ---- */

static void put_sized(Text t, Buf *out)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_char(out, (char)(t.len >> shift & 0xFF));
    buf_text(out, t);
}

static bool put_party(const Const *header, const char *member, Buf *out)
{
    Buf bytes = BUF_INIT;
    bool ok = base64_read_strict(const_get_text(header, member), &bytes) && !bytes.failed;
    put_sized(buf_view(&bytes), out);
    buf_deinit(&bytes);
    return ok;
}

/* One round of the concatenation KDF: a hash is as long as the longest key. */
static bool agreed_key(const KeyAlg *k, EVP_PKEY *own, EVP_PKEY *peer, const Const *header,
                       Buf *kek)
{
    unsigned char z[66], hash[32];
    size_t n = sizeof z;
    Buf in = BUF_INIT;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
              EVP_PKEY_derive(ctx, z, &n) == 1;
    buf_append(&in, "\0\0\0\1", 4);
    buf_append(&in, z, ok ? n : 0);
    put_sized(text_from(k->name), &in);
    ok = put_party(header, "apu", &in) && put_party(header, "apv", &in) && ok;
    buf_append(&in, "\0\0", 2);
    buf_char(&in, (char)(k->size * 8 >> 8));
    buf_char(&in, (char)(k->size * 8 & 0xFF));
    ok = ok && !in.failed && EVP_Digest(in.ptr, in.len, hash, NULL, EVP_sha256(), NULL) == 1 &&
         buf_append(kek, hash, k->size);
    OPENSSL_cleanse(z, sizeof z);
    OPENSSL_cleanse(hash, sizeof hash);
    if (in.ptr)
        OPENSSL_cleanse(in.ptr, in.len);
    buf_deinit(&in);
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

static bool put_coordinate(EVP_PKEY *pkey, const char *param, size_t size, Buf *out)
{
    unsigned char raw[66];
    BIGNUM *bn = NULL;
    bool ok = EVP_PKEY_get_bn_param(pkey, param, &bn) == 1 &&
              BN_bn2binpad(bn, raw, (int)size) == (int)size;
    if (ok)
        base64_write((Text){(const char *)raw, size}, true, 0, out);
    BN_free(bn);
    return ok;
}

/* A new key of the curve of peer, and its JWK. NULL: peer is of none. */
static EVP_PKEY *new_ephemeral(EVP_PKEY *peer, Buf *jwk)
{
    char group[32];
    size_t n = 0, i = 0;
    if (!EVP_PKEY_is_a(peer, "EC") || EVP_PKEY_get_group_name(peer, group, sizeof group, &n) != 1)
        return NULL;
    while (i < COUNT_OF(curves) && strcmp(group, curves[i].group) != 0)
        i++;
    EVP_PKEY *own = i < COUNT_OF(curves) ? EVP_EC_gen(curves[i].group) : NULL;
    if (!own)
        return NULL;
    buf_printf(jwk, "{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"", curves[i].crv);
    bool ok = put_coordinate(own, OSSL_PKEY_PARAM_EC_PUB_X, curves[i].size, jwk);
    buf_cstr(jwk, "\",\"y\":\"");
    ok = put_coordinate(own, OSSL_PKEY_PARAM_EC_PUB_Y, curves[i].size, jwk) && ok;
    buf_cstr(jwk, "\"}");
    if (ok && !jwk->failed)
        return own;
    EVP_PKEY_free(own);
    return NULL;
}

/* For a new message: epk joins its header. */
static bool agree(const KeyAlg *k, Value key, Buf *header, Buf *kek)
{
    Arena arena;
    Buf epk = BUF_INIT;
    EVP_PKEY *peer = pkey_of(key, false), *own = peer ? new_ephemeral(peer, &epk) : NULL;
    header->len--; /* the closing brace */
    buf_cstr(header, ",\"epk\":");
    buf_text(header, buf_view(&epk));
    buf_char(header, '}');
    arena_init(&arena, TOKEN_MAX * 4);
    const Const *h = own && !header->failed ? json_parse(&arena, buf_view(header), NULL) : NULL;
    bool ok = h && agreed_key(k, own, peer, h, kek);
    arena_deinit(&arena);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(own);
    buf_deinit(&epk);
    return ok;
}

/* Of a message: part is its header. */
static bool agree_again(const KeyAlg *k, Value key, Text part, Buf *kek)
{
    Buf raw = BUF_INIT;
    Arena arena;
    arena_init(&arena, TOKEN_MAX * 4);
    const Const *h =
        base64_read_strict(part, &raw) ? json_parse(&arena, buf_view(&raw), NULL) : NULL;
    const Const *epk = h ? const_get(h, "epk") : NULL;
    EVP_PKEY *own = epk ? pkey_of(key, true) : NULL;
    EVP_PKEY *peer = own ? ec_of_parts(const_get_text(epk, "crv"), const_get_text(epk, "x"),
                                       const_get_text(epk, "y"), val_null())
                         : NULL;
    bool ok = peer && EVP_PKEY_is_a(own, "EC") && agreed_key(k, own, peer, h, kek);
    EVP_PKEY_free(own);
    EVP_PKEY_free(peer);
    arena_deinit(&arena);
    buf_deinit(&raw);
    return ok;
}

/* Key of the right length for the algorithms. */
static bool shared_key(Value key, const KeyAlg *k, const ContentAlg *c, Buf *out)
{
    return secret_bytes(key, out) && out->len == (k->size ? k->size : c->size);
}

bool jwe_encrypt(const Services *s, Value headers, Value payload, Value key, Text key_algorithm,
                 Text content_algorithm, Buf *out, xs_error *err)
{
    const KeyAlg *k = key_alg(key_algorithm);
    const ContentAlg *c = content_alg(content_algorithm);
    if (!k)
        return bad_param("key_algorithm", err);
    if (!c)
        return bad_param("content_algorithm", err);
    Buf kek = BUF_INIT, header = BUF_INIT, body = BUF_INIT, wrapped = BUF_INIT, data = BUF_INIT,
        tag = BUF_INIT;
    char cek[64], iv[16], kiv[12];
    unsigned char ktag[16];
    size_t iv_len = c->gcm ? 12 : 16;
    bool ok = write_header(key_algorithm, content_algorithm, headers, &header, err) &&
              ((k->agreed ? agree(k, key, &header, &kek) : shared_key(key, k, c, &kek)) ||
               bad_param("key", err)) &&
              services_random(s, cek, sizeof cek, err) && services_random(s, iv, sizeof iv, err) &&
              services_random(s, kiv, sizeof kiv, err) && value_json(payload, &body, err);
    if (ok && k->size == 0)
        memcpy(cek, kek.ptr, c->size);
    else if (ok)
        ok = (k->gcm ? pass(gcm_cipher(k->size), true, kek.ptr, kiv, TEXT(""), (Text){cek, c->size},
                            ktag, &wrapped)
                     : pass(wrap_cipher(k->size), true, kek.ptr, NULL, TEXT(""),
                            (Text){cek, c->size}, NULL, &wrapped)) ||
             no_memory(err);
    if (ok && k->gcm) {
        header.len--; /* the closing brace */
        buf_cstr(&header, ",\"iv\":\"");
        write_part((Text){kiv, sizeof kiv}, &header);
        buf_cstr(&header, "\",\"tag\":\"");
        write_part((Text){(char *)ktag, sizeof ktag}, &header);
        buf_cstr(&header, "\"}");
    }
    if (ok) {
        write_part(buf_view(&header), out);
        ok = (!out->failed && !header.failed &&
              seal(c, cek, iv, buf_view(out), buf_view(&body), &data, &tag)) ||
             no_memory(err);
    }
    if (ok) {
        Text parts[] = {buf_view(&wrapped), {iv, iv_len}, buf_view(&data), buf_view(&tag)};
        for (size_t i = 0; i < COUNT_OF(parts); i++) {
            buf_char(out, '.');
            write_part(parts[i], out);
        }
        ok = !out->failed || no_memory(err);
    }
    OPENSSL_cleanse(cek, sizeof cek);
    Buf *all[] = {&kek, &header, &body, &wrapped, &data, &tag};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        buf_deinit(all[i]);
    return ok;
}

/* iv and tag of A*GCMKW stand in the header. */
static bool header_bytes(Text part, const char *member, size_t want, char *out)
{
    Buf raw = BUF_INIT, bytes = BUF_INIT;
    Arena arena;
    arena_init(&arena, TOKEN_MAX * 4);
    const Const *h =
        base64_read_strict(part, &raw) ? json_parse(&arena, buf_view(&raw), NULL) : NULL;
    bool ok = h && base64_read_strict(const_get_text(h, member), &bytes) && bytes.len == want;
    if (ok)
        memcpy(out, bytes.ptr, want);
    arena_deinit(&arena);
    buf_deinit(&raw);
    buf_deinit(&bytes);
    return ok;
}

static bool unwrap(const KeyAlg *k, const Buf *kek, Text header, Text wrapped, Buf *cek)
{
    char iv[12];
    unsigned char tag[16];
    if (k->size == 0)
        return wrapped.len == 0 && buf_text(cek, buf_view(kek));
    if (!k->gcm)
        return wrapped.len >= 16 && wrapped.len % 8 == 0 &&
               pass(wrap_cipher(k->size), false, kek->ptr, NULL, TEXT(""), wrapped, NULL, cek);
    return header_bytes(header, "iv", sizeof iv, iv) &&
           header_bytes(header, "tag", sizeof tag, (char *)tag) &&
           pass(gcm_cipher(k->size), false, kek->ptr, iv, TEXT(""), wrapped, tag, cek);
}

bool jwe_decrypt(Text token, Value key, Text key_algorithm, Text content_algorithm, Buf *payload,
                 xs_error *err)
{
    const KeyAlg *k = key_alg(key_algorithm);
    const ContentAlg *c = content_alg(content_algorithm);
    if (!k)
        return bad_param("key_algorithm", err);
    if (!c)
        return bad_param("content_algorithm", err);
    Text part[5];
    Buf kek = BUF_INIT, wrapped = BUF_INIT, iv = BUF_INIT, data = BUF_INIT, tag = BUF_INIT,
        cek = BUF_INIT;
    bool ok = split_token(token, part, 5) &&
              header_says(part[0], key_algorithm, content_algorithm) &&
              (k->agreed ? agree_again(k, key, part[0], &kek) : shared_key(key, k, c, &kek)) &&
              base64_read_strict(part[1], &wrapped) && base64_read_strict(part[2], &iv) &&
              base64_read_strict(part[3], &data) && base64_read_strict(part[4], &tag) &&
              unwrap(k, &kek, part[0], buf_view(&wrapped), &cek) && cek.len == c->size &&
              unseal(c, cek.ptr, buf_view(&iv), part[0], buf_view(&data), buf_view(&tag), payload);
    if (cek.ptr)
        OPENSSL_cleanse(cek.ptr, cek.len);
    Buf *all[] = {&kek, &wrapped, &iv, &data, &tag, &cek};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        buf_deinit(all[i]);
    return ok || bad_token(err);
}

/* ---- claims ---- */

static int64_t seconds(int64_t ms)
{
    return ms / 1000 - (ms % 1000 < 0);
}

Value token_claims(Heap *h, const Services *s, Value payload, int64_t ttl_s, xs_error *err)
{
    Value v = val_ref(payload);
    int64_t now, exp;
    if (ttl_s <= 0 || payload.kind != V_MAP)
        return v;
    if (!services_now(s, &now, err)) {
        val_unref(h, v);
        return val_unset();
    }
    now = seconds(now);
    if (__builtin_add_overflow(now, ttl_s, &exp))
        exp = INT64_MAX;
    if (map_set_text(h, &v, TEXT("iat"), val_int(now)) &&
        map_set_text(h, &v, TEXT("exp"), val_int(exp)))
        return v;
    val_unref(h, v);
    (void)heap_fail(h, err);
    return val_unset();
}

/* The claim is absent, or a number for which the limit holds. */
static bool time_holds(Value claims, const char *name, double now, double drift, bool not_before)
{
    Value v = map_get_cstr(claims, name);
    if (v.kind == V_NULL || v.kind == V_UNSET)
        return true;
    if (v.kind != V_INT && v.kind != V_DEC)
        return false;
    double at = v.kind == V_INT ? (double)v.i : v.d;
    return not_before ? now + drift >= at : now - drift < at;
}

static bool claims_hold(Value claims, Value check)
{
    uint32_t at = 0;
    const MapEntry *e;
    if (check.kind != V_MAP)
        return true;
    while ((e = map_walk(check.map, &at))) {
        const Value *v =
            claims.kind == V_MAP ? map_find(claims.map, (Text){e->key->data, e->key->len}) : NULL;
        if (!v || !val_same(*v, e->value))
            return false;
    }
    return true;
}

Value token_check(Heap *h, const Services *s, Text payload, Value check_claims, int64_t drift_s,
                  xs_error *err)
{
    xs_error ignored = {0};
    Value v = val_parse_json(h, payload, &ignored);
    if (v.kind == V_UNSET) {
        if (heap_error(h) != XS_OK)
            (void)heap_fail(h, err);
        else
            (void)bad_token(err);
        return v;
    }
    bool ok = claims_hold(v, check_claims);
    if (ok && v.kind == V_MAP && (map_find(v.map, TEXT("exp")) || map_find(v.map, TEXT("nbf")))) {
        int64_t now;
        if (!services_now(s, &now, err)) {
            val_unref(h, v);
            return val_unset();
        }
        double drift = drift_s > 0 ? (double)drift_s : 0, at = (double)now / 1000;
        ok = time_holds(v, "exp", at, drift, false) && time_holds(v, "nbf", at, drift, true);
    }
    if (ok)
        return v;
    val_unref(h, v);
    (void)bad_token(err);
    return val_unset();
}
