/* db.h - databases of a running program: schema, migration, reading on each worker's own
 * connection, writing through one writer thread per file with group commit. Specification:
 * runtime.md §2-3. */
#ifndef STDLIB_DB_DB_H
#define STDLIB_DB_DB_H

#include "core/buckets.h"
#include "core/const.h"
#include "include/xs/dbdriver.h"
#include "vm/vm.h"

typedef struct DbPool DbPool; /* one per database; shared by all workers, thread-safe */

typedef struct DbOptions {
    bool allow_destructive;   /* migration may drop columns and tables' data */
    uint32_t busy_timeout_ms; /* 0 = 5000 */
    uint32_t statement_ms;    /* a statement that takes longer is interrupted; 0 = 30000 */
    bool synchronous_off;     /* tests and benchmarks only: gives up durability */
    void (*log)(void *ctx, const char *line);   /* migrations done; may be NULL */
    void (*alarm)(void *ctx, const char *line); /* changes that are refused, when there are
                                                   several; the file stops or begins again to take
                                                   writes; any thread; may be NULL */
    const char *copy_of; /* ":memory:" only: begin with the content of this file; NULL = empty */
    void *log_ctx;
} DbOptions;

/**
 * Open a database file (":memory:" is a private one that vanishes at close), create and migrate the
 * tables.
 * @param tables  list of table definitions ("tables" of the bundle metadata); must outlive the
 * pool. Errors: XS_E_DATABASE, XS_E_MIGRATION (destructive change, named), XS_E_IO.
 */
XS_MUST_CHECK DbPool *dbpool_open(const char *path, const Const *tables, const DbOptions *opt,
                                  xs_error *err);
/** Finish queued writes, checkpoint, close. Every Db must be closed before. */
void dbpool_close(DbPool *pool);

/** Writer thread: the work a fiber of this Db waits for is done; make its worker call db_finish(db,
 * fiber). */
typedef void (*DbWake)(void *ctx, Fiber *fiber);

/** The connections of one worker. wake NULL: statements wait in place instead of parking (xs run,
 * tests). */
XS_MUST_CHECK Db *db_open(DbPool *pool, DbWake wake, void *wake_ctx, xs_error *err);
void db_close(Db *db);

/**
 * Worker thread, after a wake: resume the fiber with its result or error (fiber_resume). Then
 * fiber_run.
 * @return false: no finished work of this fiber is left (it was freed, or this wake came late); do
 * not run it.
 */
bool db_finish(Db *db, Fiber *fiber);

/** True between db.transaction begin and commit of this fiber. */
bool db_in_transaction(Fiber *fiber);
/** Inside a transaction: keep the event until commit (copied). Published through the fiber's
 * services. */
XS_MUST_CHECK bool db_hold_event(Fiber *fiber, const PublishReq *req, xs_error *err);
/** A fiber ends: roll back what it left open. Registered as fiber slot by the module itself. */

/** The whole content as bytes to be put back later (mem_free). Only while nothing runs. Errors:
 * XS_E_DATABASE, XS_E_NOMEM. */
XS_MUST_CHECK bool dbpool_snapshot(DbPool *pool, char **bytes, size_t *len, xs_error *err);
/** Put a snapshot of a pool with the same tables back. Only while nothing runs. */
XS_MUST_CHECK bool dbpool_restore(DbPool *pool, const char *bytes, size_t len, xs_error *err);

/* ---- data sources ---- */

/**
 * A further database with the same tables, chosen by name. Before the first db_open; closed with
 * the pool. Errors: as dbpool_open.
 */
XS_MUST_CHECK bool dbpool_add_source(DbPool *pool, Text name, const char *path, const Const *tables,
                                     const DbOptions *opt, xs_error *err);
/** "live" is the first one. */
bool dbpool_has_source(const DbPool *pool, Text name);

/* ---- what was changed ---- */

typedef enum DbAction { DB_INSERT = 1, DB_UPDATE = 2, DB_DELETE = 4, DB_TRUNCATE = 8 } DbAction;
typedef struct DbChanges DbChanges; /* rows of one table and commit; one owner, any thread */

/** Writer thread, right after the commit and in its order: must not wait. Takes the changes. */
typedef void (*DbChanged)(void *ctx, DbChanges *changes);
/** Tell the changes of the tables: a mask of actions per name. Before the first db_open. */
void dbpool_watch(DbPool *pool, Text table, unsigned actions, DbChanged fn, void *ctx);

typedef struct DbRow { /* a row that changed; the consts live in the arena given to dbchanges_next
                        */
    Text table, source;
    DbAction action;
    const Const *before, *after; /* objects; {} when there is none */
} DbRow;
/** The first change, which is taken out. False: none is left. *ok false: memory. */
bool dbchanges_next(DbChanges *c, Arena *a, DbRow *out, bool *ok);
Text dbchanges_table(const DbChanges *c);
uint32_t dbchanges_chain(const DbChanges *c); /* triggers that led to the write */
size_t dbchanges_bytes(const DbChanges *c);
void dbchanges_link(DbChanges *c, DbChanges *next); /* for a queue of the owner */
DbChanges *dbchanges_linked(const DbChanges *c);
void dbchanges_free(DbChanges *c); /* and all that are linked; NULL is fine */

/* ---- several processes on one file ---- */

/** Writer thread. mine: nobody has taken this or a later piece of that name. err NULL = it went
 * well. */
typedef void (*DbLeased)(void *ctx, bool mine, const xs_error *err);
/**
 * Take the piece of work that is due at at_ms, which counts up per name; fn is called once, before
 * dbpool_close returns. Names unused for a day (by at_ms) are forgotten. Errors: XS_E_NOMEM; fn is
 * not called then.
 */
XS_MUST_CHECK bool dbpool_lease(DbPool *pool, Text name, int64_t at_ms, DbLeased fn, void *ctx,
                                xs_error *err);
/** No other process can have it open. */
bool dbpool_is_private(const DbPool *pool);

typedef struct DbStats {
    uint64_t reads, writes, commits; /* commits < writes shows group commit at work */
    const Buckets *commit_writes;    /* writes per group of the writer; the pool's */
} DbStats;
void dbpool_stats(const DbPool *pool, DbStats *out);

/** Row of a table by id for login: Const object with visible columns, NULL when absent. Any thread.
 */
const Const *dbpool_auth_row(DbPool *pool, Arena *a, Text table, const Const *id, xs_error *err);

/** The built-in engine, for a file that is not the program's own. */
const xs_dbdriver_ops *db_driver_sqlite(void);

#endif
