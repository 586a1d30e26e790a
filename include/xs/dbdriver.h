/* xs/dbdriver.h - what the statement layer asks of a database engine: connections, prepared
 * statements with bound values, rows of plain data. SQLite (stdlib/db/sqlite.c) is the built-in
 * one. */
#ifndef XS_DBDRIVER_H
#define XS_DBDRIVER_H

#include "include/xs/error.h"

typedef enum xs_db_type { XS_DB_NULL, XS_DB_INT, XS_DB_REAL, XS_DB_TEXT, XS_DB_BLOB } xs_db_type;

/* Plain data that goes in and comes out. Bytes are borrowed. */
typedef struct xs_db_value {
    xs_db_type type;
    union {
        int64_t i;
        double d;
        struct {
            const char *ptr;
            size_t len;
        } bytes;
    };
} xs_db_value;

typedef enum xs_db_step { XS_DB_ROW, XS_DB_DONE, XS_DB_FAIL } xs_db_step;

/* Transaction control: made ready when the connection opens, so that a rollback works when memory
 * is out. */
typedef enum xs_db_control {
    XS_DB_BEGIN_READ,
    XS_DB_BEGIN_WRITE, /* takes the write lock at once */
    XS_DB_COMMIT,
    XS_DB_ROLLBACK,
    XS_DB_CONTROL_COUNT
} xs_db_control;

/* Flags of prepare. */
enum {
    XS_DB_UNTRUSTED =
        1 /* text of a program: no transaction control, no settings, one statement only */
};

typedef struct xs_db_options {
    const char *path;         /* file, or the driver's connection text */
    bool writer;              /* may change the database; otherwise a reader */
    bool synchronous_off;     /* gives up durability: tests and benchmarks */
    uint32_t busy_timeout_ms; /* how long to wait for another process */
} xs_db_options;

typedef struct xs_db_conn xs_db_conn; /* used by one thread at a time */
typedef struct xs_db_stmt xs_db_stmt; /* belongs to its connection */

/* Errors: XS_E_DATABASE with the engine's own message, XS_E_DEADLOCK (busy), XS_E_DUPLICATE (then
 * conflict() tells which columns), XS_E_NOMEM. */
typedef struct xs_dbdriver_ops {
    size_t size;
    xs_db_conn *(*open)(const xs_db_options *opt, xs_error *err);
    void (*close)(xs_db_conn *conn);
    /** A statement ready to bind; comes from the connection's cache when the text was seen before.
     */
    xs_db_stmt *(*prepare)(xs_db_conn *conn, const char *sql, size_t len, unsigned flags,
                           xs_error *err);
    /** Interrupt statements that take longer, XS_E_DEADLINE; 0 = never. One that has begun counts
     * from now. */
    void (*limit)(xs_db_conn *conn, uint32_t statement_ms);
    bool (*control)(xs_db_conn *conn, xs_db_control what, xs_error *err);
    bool (*readonly)(xs_db_stmt *stmt);
    unsigned (*params)(xs_db_stmt *stmt); /* number of parameters */
    /** Bind parameter `index` (from 1). Bytes are borrowed until finish. */
    bool (*bind)(xs_db_stmt *stmt, unsigned index, const xs_db_value *value, xs_error *err);
    xs_db_step (*step)(xs_db_stmt *stmt, xs_error *err);
    unsigned (*columns)(xs_db_stmt *stmt);
    const char *(*column_name)(xs_db_stmt *stmt, unsigned col);
    /** Column's origin "table" and "column" in the schema; false for an expression. */
    bool (*column_origin)(xs_db_stmt *stmt, unsigned col, const char **table, const char **column);
    void (*column)(xs_db_stmt *stmt, unsigned col,
                   xs_db_value *out);         /* borrowed until the next step */
    void (*finish)(xs_db_stmt *stmt);         /* back to the cache; NULL is fine */
    int64_t (*changes)(xs_db_conn *conn);     /* rows changed by the last statement */
    bool (*in_transaction)(xs_db_conn *conn); /* false after the engine rolled back by itself */
    const char *(*conflict)(
        xs_db_conn *conn);                /* after XS_E_DUPLICATE: "table.column, table.column" */
    void (*checkpoint)(xs_db_conn *conn); /* fold the log into the main file; never fails loudly */
    /** The whole content as bytes of the driver's own format (mem_free). */
    bool (*snapshot)(xs_db_conn *conn, char **bytes, size_t *len, xs_error *err);
    /** Replace the whole content by those bytes; no statement is open. */
    bool (*restore)(xs_db_conn *conn, const char *bytes, size_t len, xs_error *err);
    /** Copy the database as it is at one moment into a new file, while others read and write.
     * progress (may be NULL) hears of pages left and in all. */
    bool (*backup)(xs_db_conn *conn, const char *path,
                   void (*progress)(void *ctx, int left, int all), void *ctx, xs_error *err);
} xs_dbdriver_ops;

#endif
