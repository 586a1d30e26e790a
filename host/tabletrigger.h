/* tabletrigger.h - table triggers: programs that run after rows have changed and were committed.
 * Changes of one table run in the order of their commits, one after the other; a failure is logged
 * and changes nothing for the writer. Specification: runtime.md §6.2. */
#ifndef HOST_TABLETRIGGER_H
#define HOST_TABLETRIGGER_H

#include "host/worker.h"
#include "stdlib/db/db.h"

typedef struct TableTriggers TableTriggers;

enum { TABLE_TRIGGER_CHAIN_MAX = 8 }; /* triggers that fire triggers */

/**
 * Read "table_triggers" of the bundle metadata and watch their tables. *out NULL when there is
 * none. Before the first db_open. log: of failures. Errors: XS_E_BAD_BUNDLE, XS_E_NOMEM.
 */
XS_MUST_CHECK bool tabletriggers_new(const Program *program, DbPool *db, const Log *log,
                                     TableTriggers **out, xs_error *err);
/** After the pool of workers and the database are closed; NULL is fine. */
void tabletriggers_free(TableTriggers *t);
/** Run them as jobs from now on. */
void tabletriggers_set_pool(TableTriggers *t, Pool *pool);

/* Without workers (xs run): one call after the other, until none is left. */
typedef struct TableCall {
    uint32_t proc, chain;
    Text name, source;
    const Const *input; /* valid until the next call; NULL: no memory */
} TableCall;
/** False: nothing is left. */
bool tabletriggers_next(TableTriggers *t, TableCall *out);
/** A call has failed. */
void tabletriggers_failed(const TableTriggers *t, Text name, const xs_error *err, Text message);

#endif
