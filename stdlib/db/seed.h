/* seed.h - rows and default values that come from the table definition instead of a statement. */
#ifndef STDLIB_DB_SEED_H
#define STDLIB_DB_SEED_H

#include "stdlib/db/dbi.h"

/** A constant as the column stores it. */
XS_MUST_CHECK bool seed_encode(Arena *a, const Column *c, const Const *value, xs_db_value *out,
                               xs_error *err);
/** Insert the "items" of a new table, on the write connection, inside the migration's transaction.
 */
XS_MUST_CHECK bool seed_table(DbPool *p, const Table *t, xs_error *err);

/** Insert one row given as an object, as db.add would, its id kept. Unknown columns are errors. */
XS_MUST_CHECK bool seed_row(DbPool *p, const Table *t, const Const *item, xs_error *err);

#endif
