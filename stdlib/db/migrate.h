/* migrate.h - what must change in a file to fit a program, told or done (runtime.md §2.5). */
#ifndef STDLIB_DB_MIGRATE_H
#define STDLIB_DB_MIGRATE_H

#include "stdlib/db/dbi.h"

typedef struct DbChange {
    const char *kind;   /* "create table", "drop column", … ; "warning" changes nothing */
    Text table, column; /* column: or the index; ptr NULL = the whole table */
    Text text;          /* one line for people */
    bool destructive;   /* data would be lost */
} DbChange;

typedef struct DbPlan {
    Arena arena;
    DbChange *items;
    uint32_t count, cap, destructive;
    int64_t id; /* of the recorded migration, 0 = nothing was recorded */
} DbPlan;

void dbplan_init(DbPlan *p);
void dbplan_deinit(DbPlan *p);

typedef struct MigrateOptions {
    bool apply;             /* false: only tell */
    bool allow_destructive; /* else such a change fails with XS_E_MIGRATION and nothing is done */
    void (*log)(void *ctx, const char *line); /* each change as it is done; may be NULL */
    void *log_ctx;
} MigrateOptions;

/**
 * Bring the file to p->schema, on the write connection, in one transaction. Told changes stand in
 * the plan whether or not they are allowed.
 * Errors: XS_E_MIGRATION (names the change and the command that permits it), XS_E_DATABASE.
 */
XS_MUST_CHECK bool migrate(DbPool *p, const MigrateOptions *opt, DbPlan *plan, xs_error *err);
/** Bring the file back to what it was before the last recorded migration. XS_E_NOTFOUND: none. */
XS_MUST_CHECK bool migrate_back(DbPool *p, const MigrateOptions *opt, DbPlan *plan, xs_error *err);
/** Fill p->schema with the tables the file was made for. */
XS_MUST_CHECK bool migrate_recorded(DbPool *p, xs_error *err);
/** Drop every recorded table and the record. */
XS_MUST_CHECK bool migrate_clear(DbPool *p, xs_error *err);

#endif
