/* postgres.h - SQL on PostgreSQL servers named by the program: libpq without blocking on the I/O
 * thread. Connections are kept for a while and shared by those who give the same connection string.
 * Specification: runtime.md §3.2, §10.2. */
#ifndef STDLIB_POSTGRES_POSTGRES_H
#define STDLIB_POSTGRES_POSTGRES_H

#include "core/buf.h"
#include "stdlib/io.h"

typedef struct Postgres Postgres;

typedef struct PostgresOptions {
    bool allow_private;   /* also addresses of this machine and its networks */
    size_t max_bytes;     /* of one result */
    uint32_t connections; /* at most, to one server by one connection string */
    int64_t timeout_ms;   /* of one statement, with the time it waits for a connection */
} PostgresOptions;

/** Errors: XS_E_NOMEM. */
XS_MUST_CHECK Postgres *postgres_new(Io *io, const PostgresOptions *opt, xs_error *err);
void postgres_free(Postgres *pg); /* after io_free; NULL is fine */

/**
 * Run one statement for the native: a list of rows, or the first one or null when single.
 * @param sql   with $1, $2 … for args (V_LIST)
 * Errors: XS_E_BAD_ARG (connection string), XS_E_IO (the server cannot be reached, or was lost),
 * XS_E_TIMEOUT, XS_E_DATABASE and XS_E_DEADLOCK as the server says, with payload {sqlstate},
 * XS_E_LIMIT (a result larger than max_bytes), XS_E_NOMEM. None shows the password.
 */
NativeResult postgres_run(Call *c, Postgres *pg, Text connection, Text sql, Value args,
                          bool single);

#endif
