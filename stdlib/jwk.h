/* jwk.h - making keys: RSA and elliptic curve pairs as JWK objects or base64 of their PEM. */
#ifndef STDLIB_JWK_H
#define STDLIB_JWK_H

#include "core/buf.h"
#include "vm/value.h"

/**
 * A new private key with its public part. as_jwk: a JWK object, else base64 text of the PKCS#8 PEM.
 * V_UNSET: error. Errors: XS_E_BAD_ARG (bits outside 1024-8192; curve not P-256 P-384 P-521),
 * XS_E_CRYPTO, XS_E_MEMORY.
 */
Value jwk_new_rsa(Heap *h, int64_t bits, bool as_jwk, xs_error *err);
Value jwk_new_curve(Heap *h, Text curve, bool as_jwk, xs_error *err);

#endif
