/* ddl.h - SQL text that defines tables, indexes and full-text indexes. Names come from the schema
 * and are quoted; no connection is needed. */
#ifndef STDLIB_DB_DDL_H
#define STDLIB_DB_DDL_H

#include "stdlib/db/dbi.h"

/** "name" TYPE … of one column. */
void ddl_column(Buf *out, const Table *t, const Column *c);
/** CREATE TABLE of all columns under a name. */
void ddl_table(Buf *out, const Table *t, Text name);
/** SELECT expression that turns what a column held into what it holds now; null becomes `now`'s
 * default or zero. */
XS_MUST_CHECK bool ddl_conversion(Sql *out, const Column *was, const Column *now, xs_error *err);
/** The value existing rows get in a new column; false on *some: none is needed. */
XS_MUST_CHECK bool ddl_default(Sql *out, const Column *c, bool *some, xs_error *err);

/** True for the index types SQLite has: btree, btree|unique. */
bool ddl_index_wanted(const Const *index, bool *unique);
/**
 * CREATE INDEX, and its name.
 * @return false: a field is not a column (hidden columns of other engines)
 */
bool ddl_index(const Table *t, const Const *fields, bool unique, Buf *name, Buf *out);

/** CREATE VIRTUAL TABLE of a full-text index. */
void ddl_search(Buf *out, const Table *t, const SearchIndex *s);
enum { SEARCH_TRIGGERS = 3 };
/** CREATE TRIGGER number i, which keeps it current. */
void ddl_search_trigger(Buf *out, const Table *t, const SearchIndex *s, int i);

#endif
