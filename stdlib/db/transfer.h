/* transfer.h - rows of a table as lines of JSON, out and in: for the tools of xs db. */
#ifndef STDLIB_DB_TRANSFER_H
#define STDLIB_DB_TRANSFER_H

#include "stdlib/db/dbi.h"

/* Takes a piece of output; false ends the work with *err set. */
typedef bool (*TransferSink)(void *ctx, Text piece, xs_error *err);

/** Every row with every column, by key, one JSON object per line. The rows of one moment. */
XS_MUST_CHECK bool transfer_out(DbPool *p, const Table *t, TransferSink sink, void *ctx,
                                uint64_t *rows, xs_error *err);
/**
 * Insert the lines in the transaction that is open; ids are kept, columns without a value get their
 * default. Errors: of db.add, with the number of the line; XS_E_BAD_JSON.
 */
XS_MUST_CHECK bool transfer_in(DbPool *p, const Table *t, Text lines,
                               void (*progress)(void *ctx, uint64_t rows), void *ctx,
                               uint64_t *rows, xs_error *err);
/** Result of a program's own reading statement: one row after the other as JSON values. */
typedef bool (*RowSink)(void *ctx, const Const *row, xs_error *err);
XS_MUST_CHECK bool transfer_query(DbPool *p, xs_db_conn *conn, Text sql, RowSink sink, void *ctx,
                                  xs_error *err);

#endif
