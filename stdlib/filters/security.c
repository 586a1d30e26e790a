/* security.c - encryption and token filters. filters.md §4.13; the work is in cipher.c and token.c.
 */
#include "core/text.h"
#include "stdlib/cipher.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"

bool cipher_call(Call *c, bool encrypt, bool gcm)
{
    Text data, algorithm = TEXT("aes-128-cbc"), key, iv = TEXT("");
    if (!call_text(c, 0, &data) || !call_text_opt(c, 1, &algorithm) || !call_text(c, 2, &key) ||
        !call_text_opt(c, 3, &iv))
        return false;
    Buf out = flt_buf();
    if (cipher_aes(encrypt, gcm, algorithm, key, iv, data, &out, c->err))
        return flt_return_buf(c, &out);
    buf_deinit(&out);
    return false;
}

bool flt_encrypt(Call *c)
{
    return cipher_call(c, true, false);
}

bool flt_decrypt(Call *c)
{
    return cipher_call(c, false, false);
}

/* A key argument: an object is a JWK, everything else text. */
static bool key_arg(Call *c, uint32_t i, Value *key)
{
    Text t;
    if (!flt_value(c, i, key))
        return false;
    if (key->kind == V_MAP || key->kind == V_TEXT)
        return true;
    return call_text(c, i, &t) && call_bad_arg(c, i);
}

static bool return_owned(Call *c, Buf *out, bool ok)
{
    if (ok)
        return flt_return_buf(c, out);
    buf_deinit(out);
    return false;
}

bool flt_jws_encode(Call *c)
{
    Value headers, key;
    Text algorithm = TEXT("HS256");
    int64_t ttl = 0;
    if (!call_map(c, 1, &headers) || !key_arg(c, 2, &key) || !call_text_opt(c, 3, &algorithm) ||
        !call_int_opt(c, 4, &ttl))
        return false;
    Value claims = token_claims(c->heap, c->services, call_arg(c, 0), ttl, c->err);
    if (claims.kind == V_UNSET && call_arg(c, 0).kind != V_UNSET)
        return false;
    Buf out = flt_buf();
    bool ok = jws_sign(headers, claims, key, algorithm, &out, c->err);
    val_unref(c->heap, claims);
    return return_owned(c, &out, ok);
}

static bool return_payload(Call *c, Buf *payload, bool ok, Value check, int64_t drift)
{
    Value v = ok ? token_check(c->heap, c->services, buf_view(payload), check, drift, c->err)
                 : val_unset();
    buf_deinit(payload);
    return v.kind != V_UNSET && call_return(c, v);
}

bool flt_jws_decode(Call *c)
{
    Value check, key;
    Text token, algorithm = TEXT("HS256");
    int64_t drift = 0;
    if (!call_text(c, 0, &token) || !call_map(c, 1, &check) || !key_arg(c, 2, &key) ||
        !call_text_opt(c, 3, &algorithm) || !call_int_opt(c, 4, &drift))
        return false;
    Buf payload = flt_buf();
    bool ok = jws_verify(token, key, algorithm, &payload, c->err);
    return return_payload(c, &payload, ok, check, drift);
}

bool flt_jwe_encode(Call *c)
{
    Value headers, key;
    Text key_algorithm = TEXT("A256KW"), content = TEXT("A256CBC-HS512");
    int64_t ttl = 0;
    if (!call_map(c, 1, &headers) || !key_arg(c, 2, &key) || !call_text_opt(c, 3, &key_algorithm) ||
        !call_text_opt(c, 4, &content) || !call_int_opt(c, 5, &ttl))
        return false;
    Value claims = token_claims(c->heap, c->services, call_arg(c, 0), ttl, c->err);
    if (claims.kind == V_UNSET && call_arg(c, 0).kind != V_UNSET)
        return false;
    Buf out = flt_buf();
    bool ok = jwe_encrypt(c->services, headers, claims, key, key_algorithm, content, &out, c->err);
    val_unref(c->heap, claims);
    return return_owned(c, &out, ok);
}

bool flt_jwe_decode(Call *c)
{
    Value check, key;
    Text token, key_algorithm = TEXT("A256KW"), content = TEXT("A256CBC-HS512");
    int64_t drift = 0;
    if (!call_text(c, 0, &token) || !call_map(c, 1, &check) || !key_arg(c, 2, &key) ||
        !call_text_opt(c, 3, &key_algorithm) || !call_text_opt(c, 4, &content) ||
        !call_int_opt(c, 5, &drift))
        return false;
    Buf payload = flt_buf();
    bool ok = jwe_decrypt(token, key, key_algorithm, content, &payload, c->err);
    return return_payload(c, &payload, ok, check, drift);
}

/* ---- secure ids: c = id XOR HMAC(salt, name)[0..7], token = b64url(c) "." b64url(HMAC(salt,
 * c)[0..7]) ---- */

static void secureid_mask(Text salt, unsigned char out[8])
{
    unsigned char mac[DIGEST_MAX] = {0};
    (void)hmac_of(DIGEST_SHA256, salt, TEXT("xs-secureid"), mac);
    memcpy(out, mac, 8);
}

bool flt_secureid_encode(Call *c)
{
    int64_t id;
    Text salt = TEXT("");
    unsigned char code[8], mac[DIGEST_MAX];
    if (!call_int(c, 0, &id) || !call_text_opt(c, 1, &salt))
        return false;
    secureid_mask(salt, code);
    for (int i = 0; i < 8; i++)
        code[i] ^= (unsigned char)((uint64_t)id >> (56 - 8 * i));
    if (!hmac_of(DIGEST_SHA256, salt, (Text){(char *)code, 8}, mac))
        return call_fail(c, XS_E_CRYPTO, "The digest is not available.");
    Buf out = flt_buf();
    base64_write((Text){(char *)code, 8}, true, 0, &out);
    buf_char(&out, '.');
    base64_write((Text){(char *)mac, 8}, true, 0, &out);
    return flt_return_buf(c, &out);
}

bool flt_secureid_decode(Call *c)
{
    Text token, salt = TEXT("");
    unsigned char mask[8], mac[DIGEST_MAX];
    if (!call_text(c, 0, &token) || !call_text_opt(c, 1, &salt))
        return false;
    size_t dot = text_find(token, TEXT("."), 0);
    Buf code = BUF_INIT, tag = BUF_INIT;
    bool ok = dot != SIZE_MAX && base64_read_strict(text_slice(token, 0, dot), &code) &&
              base64_read_strict(text_slice(token, dot + 1, token.len), &tag) && code.len == 8 &&
              tag.len == 8 && hmac_of(DIGEST_SHA256, salt, buf_view(&code), mac) &&
              cipher_equal(mac, tag.ptr, 8);
    uint64_t id = 0;
    secureid_mask(salt, mask);
    for (size_t i = 0; ok && i < 8; i++)
        id = id << 8 | ((unsigned char)code.ptr[i] ^ mask[i]);
    buf_deinit(&code);
    buf_deinit(&tag);
    return ok ? call_return_int(c, (int64_t)id) : call_fail(c, XS_E_BAD_TOKEN, "Invalid token.");
}
