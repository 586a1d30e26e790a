/* cipher.c - digests, HMAC and AES over OpenSSL's EVP. */
#include "stdlib/cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <strings.h>

#include "core/text.h"

enum { TAG_LEN = 16 };

bool cipher_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

static const EVP_MD *digest_md(Digest d)
{
    switch (d) {
    case DIGEST_MD5: return EVP_md5();
    case DIGEST_SHA1: return EVP_sha1();
    case DIGEST_SHA256: return EVP_sha256();
    case DIGEST_SHA384: return EVP_sha384();
    default: return EVP_sha512();
    }
}

size_t digest_of(Digest d, Text data, unsigned char out[DIGEST_MAX])
{
    unsigned n = 0;
    const char *p = data.ptr ? data.ptr : "";
    return EVP_Digest(p, data.len, out, &n, digest_md(d), NULL) == 1 ? n : 0;
}

size_t hmac_of(Digest d, Text key, Text data, unsigned char out[DIGEST_MAX])
{
    unsigned n = 0;
    const unsigned char *p = (const unsigned char *)(data.ptr ? data.ptr : "");
    const char *k = key.ptr ? key.ptr : "";
    if (key.len > INT32_MAX)
        return 0;
    return HMAC(digest_md(d), k, (int)key.len, p, data.len, out, &n) ? n : 0;
}

static const EVP_CIPHER *find_cipher(Text name, bool gcm, bool *is_gcm)
{
    static const struct {
        const char *name;
        const EVP_CIPHER *(*fn)(void);
        bool gcm;
    } ciphers[] = {
        {"aes-128-cbc", EVP_aes_128_cbc, false}, {"aes-192-cbc", EVP_aes_192_cbc, false},
        {"aes-256-cbc", EVP_aes_256_cbc, false}, {"aes-128-gcm", EVP_aes_128_gcm, true},
        {"aes-192-gcm", EVP_aes_192_gcm, true},  {"aes-256-gcm", EVP_aes_256_gcm, true},
    };
    for (size_t i = 0; i < COUNT_OF(ciphers); i++)
        if (name.len == strlen(ciphers[i].name) &&
            strncasecmp(name.ptr, ciphers[i].name, name.len) == 0 && (gcm || !ciphers[i].gcm)) {
            *is_gcm = ciphers[i].gcm;
            return ciphers[i].fn();
        }
    return NULL;
}

static void fit(unsigned char *out, size_t want, Text t)
{
    memset(out, 0, want);
    if (t.len)
        memcpy(out, t.ptr, t.len < want ? t.len : want);
}

static bool undecryptable(xs_error *err)
{
    return xs_fail(err, XS_E_CRYPTO, XS_NO_POS, "Unable to decrypt.");
}

static bool run_cipher(EVP_CIPHER_CTX *ctx, bool encrypt, bool gcm, Text data, Buf *out)
{
    int n = 0, last = 0;
    size_t body = data.len;
    unsigned char tag[TAG_LEN];
    const unsigned char *p = (const unsigned char *)(data.ptr ? data.ptr : "");
    if (gcm && !encrypt) {
        if (data.len < TAG_LEN)
            return false;
        body -= TAG_LEN;
        memcpy(tag, p + body, TAG_LEN);
        if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) != 1)
            return false;
    }
    if (!buf_reserve(out, body + 2 * TAG_LEN))
        return false;
    unsigned char *to = (unsigned char *)out->ptr + out->len;
    if (EVP_CipherUpdate(ctx, to, &n, p, (int)body) != 1 ||
        EVP_CipherFinal_ex(ctx, to + n, &last) != 1)
        return false;
    out->len += (size_t)(n + last);
    if (gcm && encrypt) {
        if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, tag) != 1)
            return false;
        buf_append(out, tag, TAG_LEN);
    }
    return true;
}

bool cipher_aes(bool encrypt, bool gcm, Text algorithm, Text key, Text iv, Text data, Buf *out,
                xs_error *err)
{
    unsigned char k[EVP_MAX_KEY_LENGTH], v[EVP_MAX_IV_LENGTH];
    bool is_gcm = false;
    const EVP_CIPHER *cipher = find_cipher(algorithm, gcm, &is_gcm);
    if (!cipher)
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: algorithm");
    if (data.len > INT32_MAX / 2)
        return xs_fail(err, XS_E_LIMIT, XS_NO_POS, "%s", xs_code_get(XS_E_LIMIT)->text);
    if (is_gcm && (iv.len == 0 || iv.len > 64))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: iv");
    fit(k, (size_t)EVP_CIPHER_get_key_length(cipher), key);
    fit(v, sizeof v, iv);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const unsigned char *nonce = is_gcm ? (const unsigned char *)iv.ptr : v;
    bool ok =
        ctx && EVP_CipherInit_ex2(ctx, cipher, NULL, NULL, encrypt, NULL) == 1 &&
        (!is_gcm || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, (int)iv.len, NULL) == 1) &&
        EVP_CipherInit_ex2(ctx, NULL, k, nonce, encrypt, NULL) == 1 &&
        run_cipher(ctx, encrypt, is_gcm, data, out);
    OPENSSL_cleanse(k, sizeof k);
    EVP_CIPHER_CTX_free(ctx);
    return ok || undecryptable(err);
}
