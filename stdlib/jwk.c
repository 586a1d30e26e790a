/* jwk.c - new RSA and curve keys, over OpenSSL's EVP. */
#include "stdlib/jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "stdlib/filters/codec.h"
#include "vm/heap.h"

typedef struct Part {
    const char *member, *param;
} Part;

static const Part rsa_parts[] = {
    {"n", OSSL_PKEY_PARAM_RSA_N},          {"e", OSSL_PKEY_PARAM_RSA_E},
    {"d", OSSL_PKEY_PARAM_RSA_D},          {"p", OSSL_PKEY_PARAM_RSA_FACTOR1},
    {"q", OSSL_PKEY_PARAM_RSA_FACTOR2},    {"dp", OSSL_PKEY_PARAM_RSA_EXPONENT1},
    {"dq", OSSL_PKEY_PARAM_RSA_EXPONENT2}, {"qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};
static const Part ec_parts[] = {
    {"x", OSSL_PKEY_PARAM_EC_PUB_X},
    {"y", OSSL_PKEY_PARAM_EC_PUB_Y},
    {"d", OSSL_PKEY_PARAM_PRIV_KEY},
};
static const struct {
    const char *crv, *group;
    int size;
} curves[] = {{"P-256", "P-256", 32}, {"P-384", "P-384", 48}, {"P-521", "P-521", 66}};

static bool put_text(Heap *h, Value *m, const char *key, Text t)
{
    Value v = text_new(h, t);
    return v.kind != V_UNSET && map_set_text(h, m, text_from(key), v);
}

/* size 0: as many bytes as the number has. */
static bool put_number(Heap *h, Value *m, const Part *part, EVP_PKEY *pkey, int size)
{
    BIGNUM *bn = NULL;
    unsigned char raw[2048];
    Buf text = BUF_INIT;
    bool ok = EVP_PKEY_get_bn_param(pkey, part->param, &bn) == 1;
    if (ok && size == 0)
        size = BN_num_bytes(bn);
    ok = ok && size <= (int)sizeof raw && BN_bn2binpad(bn, raw, size) == size;
    if (ok) {
        base64_write((Text){(const char *)raw, (size_t)size}, true, 0, &text);
        ok = !text.failed && put_text(h, m, part->member, buf_view(&text));
    }
    OPENSSL_cleanse(raw, sizeof raw);
    BN_clear_free(bn);
    buf_deinit(&text);
    return ok;
}

static Value jwk_of(Heap *h, EVP_PKEY *pkey, const char *kty, const char *crv, int size)
{
    const Part *parts = crv ? ec_parts : rsa_parts;
    size_t count = crv ? COUNT_OF(ec_parts) : COUNT_OF(rsa_parts);
    Value m = map_new(h, 10);
    bool ok = m.kind != V_UNSET && put_text(h, &m, "kty", text_from(kty)) &&
              (!crv || put_text(h, &m, "crv", text_from(crv)));
    for (size_t i = 0; ok && i < count; i++)
        ok = put_number(h, &m, &parts[i], pkey, size);
    if (ok)
        return m;
    val_unref(h, m);
    return val_unset();
}

static Value pem_of(Heap *h, EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *ptr = NULL;
    Value v = val_unset();
    if (bio && PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1) {
        long n = BIO_get_mem_data(bio, &ptr);
        Buf text = BUF_INIT;
        base64_write((Text){ptr, n > 0 ? (size_t)n : 0}, false, '=', &text);
        if (!text.failed)
            v = text_new(h, buf_view(&text));
        buf_deinit(&text);
    }
    BIO_free(bio);
    return v;
}

/* Frees pkey. */
static Value finish(Heap *h, EVP_PKEY *pkey, Value v, xs_error *err)
{
    EVP_PKEY_free(pkey);
    if (v.kind != V_UNSET)
        return v;
    if (heap_error(h) != XS_OK)
        (void)heap_fail(h, err);
    else
        (void)xs_fail(err, XS_E_CRYPTO, XS_NO_POS, "The key could not be made.");
    return v;
}

Value jwk_new_rsa(Heap *h, int64_t bits, bool as_jwk, xs_error *err)
{
    if (bits < 1024 || bits > 8192) {
        (void)xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: bits");
        return val_unset();
    }
    EVP_PKEY *pkey = EVP_RSA_gen((unsigned)bits);
    Value v = val_unset();
    if (pkey)
        v = as_jwk ? jwk_of(h, pkey, "RSA", NULL, 0) : pem_of(h, pkey);
    return finish(h, pkey, v, err);
}

Value jwk_new_curve(Heap *h, Text curve, bool as_jwk, xs_error *err)
{
    size_t i = 0;
    while (i < COUNT_OF(curves) && !text_eq(curve, text_from(curves[i].crv)))
        i++;
    if (i == COUNT_OF(curves)) {
        (void)xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: curve");
        return val_unset();
    }
    EVP_PKEY *pkey = EVP_EC_gen(curves[i].group);
    Value v = val_unset();
    if (pkey)
        v = as_jwk ? jwk_of(h, pkey, "EC", curves[i].crv, curves[i].size) : pem_of(h, pkey);
    return finish(h, pkey, v, err);
}
