/* auth.h - login tokens: made and checked by the engine's own key, or signed elsewhere (JWT) and
 * checked only. Any thread. Specification: runtime.md §5.5, realtime.md §2.6,
 * §14. */
#ifndef HOST_AUTH_H
#define HOST_AUTH_H

#include "core/const.h"
#include "host/config.h"
#include "host/hub/hub.h"

typedef struct Auth Auth;

/* Who a token speaks for; lives in the arena it was verified into. */
typedef struct Claims {
    Text table;          /* auth table, one of the program's */
    const Const *id;     /* int or text */
    const Const *extras; /* map, never NULL */
    int64_t expires_ms;  /* 0 = never */
} Claims;

/**
 * Keys by auth.secret, auth.secret_file (made with mode 0600 when missing) or, for a :memory:
 * database, drawn anew.
 * @param tables  "tables" of the bundle metadata; copied
 * Errors: XS_E_CONFIG (key of the wrong form), XS_E_IO.
 */
XS_MUST_CHECK Auth *auth_new(const Config *c, const Const *tables, xs_error *err);
void auth_free(Auth *a);
/** Other tables from now on; tokens of tables that are gone no longer open. Any thread, one at a
 * time. Errors: XS_E_NOMEM. */
XS_MUST_CHECK bool auth_set_tables(Auth *a, const Const *tables, xs_error *err);

/**
 * An engine token: compact JWE, dir + A256GCM, claims {t, i, x, iat, exp, jti}.
 * @param ttl_s  0 = never expires
 * Errors: XS_E_NOTFOUND (no such auth table), XS_E_BAD_ARG (id), XS_E_CRYPTO, XS_E_NOMEM.
 */
XS_MUST_CHECK bool auth_make_token(const Auth *a, Text table, Text id_json, Text extras_json,
                                   int64_t now_ms, int64_t ttl_s, Buf *out, xs_error *err);
/** False: malformed, foreign, expired, another tenant, unknown table, or no memory; one answer for
 * all. */
XS_MUST_CHECK bool auth_verify(const Auth *a, Arena *arena, Text token, int64_t now_ms,
                               Claims *out);

Text auth_tenant(const Auth *a);
/** Number of an auth table, given its name or that number as text; 0 = none. */
int64_t auth_table_id(const Auth *a, Text table);
/** $auth of claims: {"id": …, extras…}. NULL = memory. */
const Const *auth_const(Arena *arena, const Claims *claims);
/** NULL = memory. */
Identity *auth_identity(const Auth *a, const Claims *claims);

/** The token of an "Authorization: Bearer …" value; ptr NULL = none. */
Text auth_bearer(Text header);
/** Ids travel as JSON numbers where they are numbers: "7" and 7 are one identity. */
Text auth_normal_id(Text id_json);

#endif
