/* pool.h - helpers on connections shared by writer, migration and statements. */
#ifndef STDLIB_DB_POOL_H
#define STDLIB_DB_POOL_H

#include "stdlib/db/dbi.h"

/** A reader of the caller's own; close it with the driver. NULL: err is set. */
xs_db_conn *pool_reader(DbPool *p, xs_error *err);
/** Run a statement without parameters and results. */
XS_MUST_CHECK bool conn_exec(DbPool *p, xs_db_conn *conn, const char *sql, xs_error *err);
/** End the open transaction, if any, without keeping it. Needs no memory. */
void conn_rollback(DbPool *p, xs_db_conn *conn);
XS_MUST_CHECK bool raw_outputs(const DbPool *p, Arena *a, xs_db_stmt *st, OutCol **outs,
                               uint32_t *nouts, xs_error *err);
/** Lease holder: the transaction is rolled back in place and the connection goes back to the
 * writer. */
void lease_rollback(DbPool *p);

/**
 * A file without threads and without migration, for tools; dbpool_close ends it.
 * @param tables  NULL: those the file was made for
 */
XS_MUST_CHECK DbPool *dbpool_offline(const char *path, const Const *tables, xs_error *err);

#endif
