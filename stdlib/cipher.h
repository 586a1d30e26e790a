/* cipher.h - AES, signed and encrypted tokens, over OpenSSL. Shared by filters and security.*
 * statements. Any thread; every key is wiped by OpenSSL or lives in the caller's values. */
#ifndef STDLIB_CIPHER_H
#define STDLIB_CIPHER_H

#include "core/buf.h"
#include "vm/services.h"
#include "vm/value.h"

/**
 * aes-128/192/256-cbc (PKCS#7) or, with gcm, also aes-*-gcm with the 16-byte tag behind the data.
 * Key and CBC iv are cut or zero-padded to length. Errors: XS_E_BAD_ARG (algorithm; GCM without
 * iv), XS_E_CRYPTO (does not decrypt), XS_E_NOMEM.
 */
XS_MUST_CHECK bool cipher_aes(bool encrypt, bool gcm, Text algorithm, Text key, Text iv, Text data,
                              Buf *out, xs_error *err);

typedef enum Digest { DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256, DIGEST_SHA384, DIGEST_SHA512 } Digest;
enum { DIGEST_MAX = 64 };
/** Length of the digest in out; 0 when the library refuses. */
size_t digest_of(Digest d, Text data, unsigned char out[DIGEST_MAX]);
size_t hmac_of(Digest d, Text key, Text data, unsigned char out[DIGEST_MAX]);

/* A compact JWS of a payload: HS, RS, PS, ES with 256, 384, 512. Keys: HS bytes or an oct JWK;
 * others a PEM text or a JWK map. Token errors: XS_E_BAD_TOKEN "Invalid token."; XS_E_BAD_ARG
 * (algorithm or key). */
XS_MUST_CHECK bool jws_sign(Value headers, Value payload, Value key, Text algorithm, Buf *out,
                            xs_error *err);
/** The payload bytes of a token whose header and signature fit. */
XS_MUST_CHECK bool jws_verify(Text token, Value key, Text algorithm, Buf *payload, xs_error *err);

/* A compact JWE: A128KW A192KW A256KW A128GCMKW … or dir, with A128CBC-HS256 … A256CBC-HS512,
 * A128GCM … A256GCM. The key is bytes or an oct JWK, cut to nothing: its length must fit. */
XS_MUST_CHECK bool jwe_encrypt(const Services *s, Value headers, Value payload, Value key,
                               Text key_algorithm, Text content_algorithm, Buf *out, xs_error *err);
XS_MUST_CHECK bool jwe_decrypt(Text token, Value key, Text key_algorithm, Text content_algorithm,
                               Buf *payload, xs_error *err);

/** Add iat and exp to an object payload when ttl > 0. Owned result; V_UNSET: error. */
Value token_claims(Heap *h, const Services *s, Value payload, int64_t ttl_s, xs_error *err);
/** Payload JSON to a value whose exp, nbf and check claims hold. V_UNSET: error, XS_E_BAD_TOKEN. */
Value token_check(Heap *h, const Services *s, Text payload, Value check_claims, int64_t drift_s,
                  xs_error *err);

bool cipher_equal(const void *a, const void *b, size_t n); /* constant time */

#endif
