/* postgres_i.h - the parts of postgres.h: where a server is, what goes to it and what comes back.
 */
#ifndef STDLIB_POSTGRES_POSTGRES_I_H
#define STDLIB_POSTGRES_POSTGRES_I_H

#include <event2/util.h>
#include <libpq-fe.h>

#include "stdlib/postgres/postgres.h"

/* ---- address.c ---- */

typedef struct PgAddress {
    char *settings; /* all but the three below, as libpq reads it */
    char *host;     /* name or address, or the folder of a socket */
    char *name;     /* what a certificate has to name: host, when an address stands beside it */
    char *port;
    int64_t connect_ms;
} PgAddress;

/**
 * What the program gives, URI or key=value. Nothing is taken from the environment or a file of
 * passwords, and no message repeats any of it. Errors: XS_E_BAD_ARG, XS_E_NOMEM.
 */
XS_MUST_CHECK bool pg_address_parse(Text connection, PgAddress *out, xs_error *err);
void pg_address_deinit(PgAddress *a);
bool pg_address_eq(const PgAddress *a, const PgAddress *b);
bool pg_address_is_socket(const PgAddress *a);
/** For PQconnectStart: found tried in its order; NULL for a socket. NULL: memory. mem_free. */
char *pg_address_conninfo(const PgAddress *a, const struct evutil_addrinfo *found);

/* ---- value.c ---- */

/* One argument off the heap of its fiber. Its text depends on the type the server wants. */
typedef struct PgArg {
    enum { PG_NULL, PG_BOOL, PG_INT, PG_OTHER, PG_LIST } kind;
    int64_t i;
    char *text; /* PG_OTHER, PG_LIST: as text or JSON, NUL behind */
    size_t len;
    char *array; /* PG_LIST: {1,2} */
    Buf made;
} PgArg;

/** Errors: XS_E_INPUTERROR, XS_E_NOMEM. */
XS_MUST_CHECK bool pg_arg_make(Value v, PgArg *out, xs_error *err);
void pg_arg_deinit(PgArg *a);
/** The text for a parameter of that type, once, the argument's. NULL: null, or *err set. */
const char *pg_arg_text(PgArg *a, Oid type, xs_error *err);

/* Rows as they come: for each column a length (PG_NO_VALUE: null) and the server's text. */
enum { PG_NO_VALUE = UINT32_MAX };
typedef struct PgRows {
    uint32_t ncols, nrows;
    Oid *types;
    char **names;
    Buf data;
} PgRows;

/** Append the rows of a result. false: memory, or max_bytes reached (data.failed). */
XS_MUST_CHECK bool pg_rows_add(PgRows *r, const PGresult *res);
void pg_rows_deinit(PgRows *r);
/** A list of objects; the first one or null when single. V_UNSET: memory, the heap's error. */
Value pg_rows_value(Heap *h, const PgRows *r, bool single);

/* ---- params.c ---- */

/** ? and ?3 to $1 and $3; ?? to ?. With $1 in it, text that stays as it is. count: of parameters.
 */
void pg_number_params(Text sql, Buf *out, uint32_t *count);

#endif
