/* record.h - the values one write stores: given, defaulted, coerced, encoded (runtime.md §2.1). */
#ifndef STDLIB_DB_RECORD_H
#define STDLIB_DB_RECORD_H

#include "stdlib/db/dbi.h"

typedef struct Record {
    Heap *heap;
    const Services *services;
    const Table *t;
    Value *vals; /* per column, V_UNSET = not given; owned */
    xs_error *err;
    Value *payload; /* of an error; owned by the caller */
} Record;

XS_MUST_CHECK bool record_init(Record *r, Arena *a, Heap *h, const Services *s, const Table *t,
                               xs_error *err, Value *payload);
void record_deinit(Record *r);
/** v consumed. strict: an unknown column is an error, else it is dropped. */
XS_MUST_CHECK bool record_set(Record *r, Text column, Value v, bool strict);
/** Every member of an object; JSON text of one also. */
XS_MUST_CHECK bool record_set_all(Record *r, Value object);
/** Coerce and check what was given. add: also fill in what was not. */
XS_MUST_CHECK bool record_check(Record *r, bool add);
/** Any column to write, the key aside. */
bool record_has_changes(const Record *r);
/** INSERT INTO t (…) VALUES (…) */
XS_MUST_CHECK bool record_write_insert(Record *r, Sql *sql);
/** "a" = ?1, "b" = ?2 */
XS_MUST_CHECK bool record_write_set(Record *r, Sql *sql);

#endif
