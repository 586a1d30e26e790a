/* crypto.c - digests, HMAC, random ids and hex helpers as filters. filters.md §4.13. */
#include "stdlib/cipher.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"

bool services_random(const Services *s, void *out, size_t n, xs_error *err)
{
    if (!s || !s->random)
        return xs_fail(err, XS_E_UNSUPPORTED, XS_NO_POS, "there is no random source here");
    return s->random(s->ctx, out, n) ||
           xs_fail(err, XS_E_IO, XS_NO_POS, "The random source failed.");
}

static bool return_digest(Call *c, const unsigned char *raw, size_t n, bool binary)
{
    Text t = {(const char *)raw, n};
    if (n == 0)
        return call_fail(c, XS_E_CRYPTO, "The digest is not available.");
    if (binary)
        return call_return_text(c, t);
    Buf out = flt_buf();
    hex_write(t, &out);
    return flt_return_buf(c, &out);
}

static bool hash(Call *c, Digest d)
{
    Text in;
    unsigned char raw[DIGEST_MAX];
    return call_text(c, 0, &in) &&
           return_digest(c, raw, digest_of(d, in, raw), call_bool(c, 1, false));
}

static bool hmac(Call *c, Digest d)
{
    Text in, key;
    unsigned char raw[DIGEST_MAX];
    return call_text(c, 0, &in) && call_text(c, 1, &key) &&
           return_digest(c, raw, hmac_of(d, key, in, raw), call_bool(c, 2, false));
}

#define DIGEST_FILTERS(name, digest)                                                               \
    bool flt_##name(Call *c)                                                                       \
    {                                                                                              \
        return hash(c, digest);                                                                    \
    }                                                                                              \
    bool flt_hmac_##name(Call *c)                                                                  \
    {                                                                                              \
        return hmac(c, digest);                                                                    \
    }

DIGEST_FILTERS(md5, DIGEST_MD5)
DIGEST_FILTERS(sha1, DIGEST_SHA1)
DIGEST_FILTERS(sha256, DIGEST_SHA256)
DIGEST_FILTERS(sha384, DIGEST_SHA384)
DIGEST_FILTERS(sha512, DIGEST_SHA512)

bool uuid_make(const Services *s, char out[37], xs_error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char b[16];
    if (!services_random(s, b, sizeof b, err))
        return false;
    b[6] = (unsigned char)((b[6] & 0x0F) | 0x40); /* version 4 */
    b[8] = (unsigned char)((b[8] & 0x3F) | 0x80); /* variant 10 */
    size_t at = 0;
    for (size_t i = 0; i < sizeof b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        out[at++] = digits[b[i] >> 4];
        out[at++] = digits[b[i] & 15];
    }
    out[at] = 0;
    return true;
}

bool uuid_valid(Text t)
{
    if (t.len != 36)
        return false;
    for (size_t i = 0; i < t.len; i++) {
        char ch = t.ptr[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f') || (ch >= 'A' && ch <= 'F');
        if (dash ? ch != '-' : !hex)
            return false;
    }
    return true;
}

bool flt_uuid(Call *c)
{
    char id[37];
    return uuid_make(c->services, id, c->err) && call_return_text(c, (Text){id, 36});
}

bool flt_create_uid(Call *c)
{
    uint64_t n = 0;
    while (n == 0) {
        if (!services_random(c->services, &n, sizeof n, c->err))
            return false;
        n &= INT64_MAX;
    }
    return call_return_int(c, (int64_t)n);
}
