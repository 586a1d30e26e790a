/* sqlite_func.h - the SQL functions the statements rely on: text, regular expressions, JSON, time,
 * geo, vectors. */
#ifndef STDLIB_DB_SQLITE_FUNC_H
#define STDLIB_DB_SQLITE_FUNC_H

#include <sqlite3.h>

#include "core/base.h"

XS_MUST_CHECK bool sqlite_functions(sqlite3 *db, xs_error *err);

#endif
