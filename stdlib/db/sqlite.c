/* sqlite.c - the built-in driver: connections with the settings of runtime.md §10.1, a cache of
 * prepared statements (least recently used leaves), errors as rows of errors.def. One thread at a
 * time per connection. */
#include <sqlite3.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/map.h"
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/db/dbi.h"
#include "stdlib/db/sqlite_func.h"

enum { STMT_CACHE_MAX = 512, BUSY_DEFAULT_MS = 5000 };

struct xs_db_stmt {
    xs_db_conn *conn;
    sqlite3_stmt *st;
    xs_db_stmt *prev, *next; /* use order: head = newest */
    Text key;                /* one byte of flags, then the text; owned. ptr NULL = not cached */
    bool busy;
};

struct xs_db_conn {
    sqlite3 *db;
    Map cache;
    xs_db_stmt *newest, *oldest;
    size_t cached;
    sqlite3_stmt *control[XS_DB_CONTROL_COUNT];
    uint32_t statement_ms; /* 0 = no limit */
    int64_t deadline_ms;   /* of the statement prepared last */
    bool untrusted;        /* while a program's own text is being prepared */
    char conflict[512];
};

static bool sqlite_error(xs_db_conn *c, int rc, xs_error *err)
{
    const char *msg = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc);
    int ext = c->db ? sqlite3_extended_errcode(c->db) : rc;
    switch (rc & 0xff) {
    case SQLITE_NOMEM: return fail_code(err, XS_E_NOMEM);
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return xs_fail(err, XS_E_DEADLOCK, XS_NO_POS, "%s", msg);
    case SQLITE_CONSTRAINT:
        if (ext == SQLITE_CONSTRAINT_UNIQUE || ext == SQLITE_CONSTRAINT_PRIMARYKEY ||
            ext == SQLITE_CONSTRAINT_ROWID) {
            const char *at = strstr(msg, "failed: ");
            snprintf(c->conflict, sizeof c->conflict, "%s", at ? at + 8 : msg);
            return fail_code(err, XS_E_DUPLICATE);
        }
        return xs_fail(err, XS_E_DATABASE, XS_NO_POS, "%s", msg);
    case SQLITE_INTERRUPT: return fail_code(err, XS_E_DEADLINE);
    case SQLITE_FULL:
        return xs_fail(err, XS_E_IO, XS_NO_POS, "The database cannot be written: the disk is full");
    case SQLITE_IOERR: {
        int why = c->db ? sqlite3_system_errno(c->db) : 0;
        return xs_fail(err, XS_E_IO, XS_NO_POS, "The database cannot be read or written: %s",
                       why ? strerror(why) : msg);
    }
    default:
        if (strcmp(msg, "Invalid regular expression") == 0) /* of our REGEXP */
            return fail_code(err, XS_E_BAD_REGEX);
        return xs_fail(err, XS_E_DATABASE, XS_NO_POS, "%s", msg);
    }
}

/* A program's own text may read and change rows and nothing else. */
static int authorize(void *ctx, int action, const char *a, const char *b, const char *c,
                     const char *d)
{
    xs_db_conn *conn = ctx;
    (void)b, (void)c, (void)d;
    if (!conn->untrusted)
        return SQLITE_OK;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        return a && (strncmp(a, "sqlite_", 7) == 0 || strncmp(a, "_xs_", 4) == 0) ? SQLITE_DENY
                                                                                  : SQLITE_OK;
    case SQLITE_FUNCTION: return b && strcmp(b, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    default: return SQLITE_DENY;
    }
}

static void sq_close(xs_db_conn *c);

static bool run_pragmas(xs_db_conn *c, const xs_db_options *opt, xs_error *err)
{
    char sync[64], sql[512];
    snprintf(sync, sizeof sync, "PRAGMA synchronous=%s;", opt->synchronous_off ? "OFF" : "FULL");
    /* The triggers of full-text indexes use a table module that this SQLite calls unsafe unless the
     * schema is trusted. */
    snprintf(sql, sizeof sql,
             "%s%sPRAGMA foreign_keys=OFF;PRAGMA temp_store=MEMORY;PRAGMA cache_size=-16000;"
             "PRAGMA mmap_size=268435456;PRAGMA trusted_schema=ON;PRAGMA cell_size_check=ON;"
             "PRAGMA wal_autocheckpoint=1000;%s",
             opt->writer ? "PRAGMA journal_mode=WAL;" : "", sync,
             opt->writer ? "" : "PRAGMA query_only=ON;");
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return true;
    xs_error plain = {0};
    (void)sqlite_error(c, rc, &plain);
    return xs_fail(err, plain.code, XS_NO_POS, "%s: %s", opt->path, plain.message);
}

static int past_deadline(void *ctx)
{
    xs_db_conn *c = ctx;
    return clock_coarse_ms() > c->deadline_ms;
}

enum {
    PROGRESS_OPS = 50000
}; /* instructions between two looks at the clock: about a millisecond */

static void sq_limit(xs_db_conn *c, uint32_t statement_ms)
{
    c->statement_ms = statement_ms;
    c->deadline_ms = statement_ms ? clock_coarse_ms() + statement_ms : INT64_MAX;
    sqlite3_progress_handler(c->db, statement_ms ? PROGRESS_OPS : 0, past_deadline, c);
}

static bool prepare_control(xs_db_conn *c, xs_error *err)
{
    static const char *const text[XS_DB_CONTROL_COUNT] = {"BEGIN", "BEGIN IMMEDIATE", "COMMIT",
                                                          "ROLLBACK"};
    for (int i = 0; i < XS_DB_CONTROL_COUNT; i++) {
        int rc =
            sqlite3_prepare_v3(c->db, text[i], -1, SQLITE_PREPARE_PERSISTENT, &c->control[i], NULL);
        if (rc != SQLITE_OK)
            return sqlite_error(c, rc, err);
    }
    return true;
}

static bool sq_control(xs_db_conn *c, xs_db_control what, xs_error *err)
{
    c->deadline_ms = INT64_MAX;
    int rc = sqlite3_step(c->control[what]);
    bool ok = rc == SQLITE_DONE || sqlite_error(c, rc, err);
    sqlite3_reset(c->control[what]);
    return ok;
}

static xs_db_conn *sq_open(const xs_db_options *opt, xs_error *err)
{
    xs_db_conn *c = mem_zalloc(1, sizeof *c);
    if (!c) {
        (void)fail_code(err, XS_E_NOMEM);
        return NULL;
    }
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (opt->writer ? SQLITE_OPEN_CREATE : 0);
    int rc = sqlite3_open_v2(opt->path, &c->db, flags, NULL);
    if (rc != SQLITE_OK) {
        (void)xs_fail(err, XS_E_DATABASE, XS_NO_POS, "%s: %s", opt->path,
                      c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
        sq_close(c);
        return NULL;
    }
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db,
                         (int)(opt->busy_timeout_ms ? opt->busy_timeout_ms : BUSY_DEFAULT_MS));
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_limit(c->db, SQLITE_LIMIT_ATTACHED, 0);
    if (!run_pragmas(c, opt, err) || !sqlite_functions(c->db, err) || !prepare_control(c, err)) {
        sq_close(c);
        return NULL;
    }
    sqlite3_set_authorizer(c->db, authorize, c);
    return c;
}

static void stmt_free(xs_db_stmt *s)
{
    sqlite3_finalize(s->st);
    mem_free((void *)(uintptr_t)s->key.ptr);
    mem_free(s);
}

static void unlink_stmt(xs_db_conn *c, xs_db_stmt *s)
{
    *(s->prev ? &s->prev->next : &c->newest) = s->next;
    *(s->next ? &s->next->prev : &c->oldest) = s->prev;
    s->prev = s->next = NULL;
}

static void link_newest(xs_db_conn *c, xs_db_stmt *s)
{
    s->next = c->newest;
    s->prev = NULL;
    *(c->newest ? &c->newest->prev : &c->oldest) = s;
    c->newest = s;
}

static void sq_close(xs_db_conn *c)
{
    if (!c)
        return;
    for (xs_db_stmt *s = c->newest, *next; s; s = next) {
        next = s->next;
        stmt_free(s);
    }
    for (int i = 0; i < XS_DB_CONTROL_COUNT; i++)
        sqlite3_finalize(c->control[i]);
    map_deinit(&c->cache);
    sqlite3_close_v2(c->db);
    mem_free(c);
}

static void evict(xs_db_conn *c)
{
    for (xs_db_stmt *s = c->oldest; s && c->cached >= STMT_CACHE_MAX;) {
        xs_db_stmt *prev = s->prev;
        if (!s->busy) {
            (void)map_take(&c->cache, s->key);
            unlink_stmt(c, s);
            stmt_free(s);
            c->cached--;
        }
        s = prev;
    }
}

static bool only_blank(const char *t, const char *end)
{
    while (t < end && (*t == ' ' || *t == '\n' || *t == '\r' || *t == '\t' || *t == ';'))
        t++;
    return t >= end;
}

/* The first use of a virtual table declares its columns, which looks like CREATE TABLE to the
 * authorizer. json_each, json_tree and tables of the file are declared here and the statement gets
 * another try; the functions that show settings stay closed. */
static bool declare_table(xs_db_conn *c)
{
    static const char failed[] = "vtable constructor failed: ";
    const char *msg = sqlite3_errmsg(c->db);
    if (strncmp(msg, failed, sizeof failed - 1) != 0)
        return false;
    char name[256];
    snprintf(name, sizeof name, "%s", msg + sizeof failed - 1);
    bool known = strcmp(name, "json_each") == 0 || strcmp(name, "json_tree") == 0;
    sqlite3_stmt *st = NULL;
    if (!known && sqlite3_prepare_v2(c->db, "SELECT 1 FROM sqlite_master WHERE name = ?", -1, &st,
                                     NULL) == SQLITE_OK) {
        sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
        known = sqlite3_step(st) == SQLITE_ROW;
        sqlite3_finalize(st);
    }
    Buf sql = BUF_INIT;
    buf_cstr(&sql, "SELECT 1 FROM ");
    sql_ident(&sql, text_from(name));
    st = NULL;
    known = known && !sql.failed &&
            sqlite3_prepare_v2(c->db, sql.ptr, (int)sql.len, &st, NULL) == SQLITE_OK;
    sqlite3_finalize(st);
    buf_deinit(&sql);
    return known;
}

static int prepare_text(xs_db_conn *c, const char *sql, size_t len, unsigned flags,
                        sqlite3_stmt **st, const char **tail)
{
    c->untrusted = (flags & XS_DB_UNTRUSTED) != 0;
    int rc = sqlite3_prepare_v3(c->db, sql, (int)len, SQLITE_PREPARE_PERSISTENT, st, tail);
    c->untrusted = false;
    return rc;
}

static sqlite3_stmt *compile(xs_db_conn *c, const char *sql, size_t len, unsigned flags,
                             xs_error *err)
{
    enum { DECLARE_MAX = 16 };
    if (len > INT32_MAX / 2) {
        (void)xs_fail(err, XS_E_DATABASE, XS_NO_POS, "statement is too long");
        return NULL;
    }
    sqlite3_stmt *st = NULL;
    const char *tail = NULL;
    int rc = prepare_text(c, sql, len, flags, &st, &tail);
    for (int i = 0; rc != SQLITE_OK && (flags & XS_DB_UNTRUSTED) && i < DECLARE_MAX; i++) {
        if (!declare_table(c))
            break;
        rc = prepare_text(c, sql, len, flags, &st, &tail);
    }
    if (rc != SQLITE_OK) {
        (void)sqlite_error(c, rc, err);
        return NULL;
    }
    if (!st) {
        (void)xs_fail(err, XS_E_DATABASE, XS_NO_POS, "empty statement");
        return NULL;
    }
    if ((flags & XS_DB_UNTRUSTED) && tail && !only_blank(tail, sql + len)) {
        sqlite3_finalize(st);
        (void)xs_fail(err, XS_E_DATABASE, XS_NO_POS, "only one statement is allowed");
        return NULL;
    }
    return st;
}

static xs_db_stmt *sq_prepare(xs_db_conn *c, const char *sql, size_t len, unsigned flags,
                              xs_error *err)
{
    c->deadline_ms = c->statement_ms ? clock_coarse_ms() + c->statement_ms : INT64_MAX;
    char small[512];
    char *key = len + 1 <= sizeof small ? small : mem_alloc(len + 1);
    if (!key)
        goto nomem;
    key[0] = (char)('0' + (flags & 7u));
    memcpy(key + 1, sql, len);
    xs_db_stmt *s = map_get(&c->cache, (Text){key, len + 1});
    if (s && !s->busy) {
        unlink_stmt(c, s);
        link_newest(c, s);
        s->busy = true;
        if (key != small)
            mem_free(key);
        return s;
    }
    bool keep = !s; /* the cached one is in use: a second, passing one */
    sqlite3_stmt *st = compile(c, sql, len, flags, err);
    if (!st) {
        if (key != small)
            mem_free(key);
        return NULL;
    }
    s = mem_zalloc(1, sizeof *s);
    char *own = keep ? mem_strndup(key, len + 1) : NULL;
    if (key != small)
        mem_free(key);
    if (!s || (keep && !own)) {
        sqlite3_finalize(st);
        mem_free(s);
        mem_free(own);
        goto nomem;
    }
    s->conn = c;
    s->st = st;
    s->busy = true;
    if (keep) {
        evict(c);
        s->key = (Text){own, len + 1};
        if (map_put(&c->cache, s->key, s)) {
            link_newest(c, s);
            c->cached++;
        } else {
            mem_free(own);
            s->key = (Text){0};
        }
    }
    return s;
nomem:
    (void)fail_code(err, XS_E_NOMEM);
    return NULL;
}

static void sq_finish(xs_db_stmt *s)
{
    if (!s)
        return;
    sqlite3_reset(s->st);
    sqlite3_clear_bindings(s->st);
    s->busy = false;
    if (!s->key.ptr)
        stmt_free(s);
}

static bool sq_readonly(xs_db_stmt *s)
{
    return sqlite3_stmt_readonly(s->st) != 0;
}

static unsigned sq_params(xs_db_stmt *s)
{
    return (unsigned)sqlite3_bind_parameter_count(s->st);
}

static bool sq_bind(xs_db_stmt *s, unsigned index, const xs_db_value *v, xs_error *err)
{
    int i = (int)index, rc = SQLITE_OK;
    switch (v->type) {
    case XS_DB_NULL: rc = sqlite3_bind_null(s->st, i); break;
    case XS_DB_INT: rc = sqlite3_bind_int64(s->st, i, v->i); break;
    case XS_DB_REAL: rc = sqlite3_bind_double(s->st, i, v->d); break;
    case XS_DB_TEXT:
        rc = sqlite3_bind_text64(s->st, i, v->bytes.ptr, v->bytes.len, SQLITE_STATIC, SQLITE_UTF8);
        break;
    case XS_DB_BLOB:
        rc = sqlite3_bind_blob64(s->st, i, v->bytes.ptr, v->bytes.len, SQLITE_STATIC);
        break;
    }
    return rc == SQLITE_OK || sqlite_error(s->conn, rc, err);
}

static xs_db_step sq_step(xs_db_stmt *s, xs_error *err)
{
    int rc = sqlite3_step(s->st);
    if (rc == SQLITE_ROW)
        return XS_DB_ROW;
    if (rc == SQLITE_DONE)
        return XS_DB_DONE;
    (void)sqlite_error(s->conn, rc, err);
    return XS_DB_FAIL;
}

static unsigned sq_columns(xs_db_stmt *s)
{
    return (unsigned)sqlite3_column_count(s->st);
}

static const char *sq_column_name(xs_db_stmt *s, unsigned col)
{
    const char *n = sqlite3_column_name(s->st, (int)col);
    return n ? n : "";
}

static bool sq_column_origin(xs_db_stmt *s, unsigned col, const char **table, const char **column)
{
    *table = sqlite3_column_table_name(s->st, (int)col);
    *column = sqlite3_column_origin_name(s->st, (int)col);
    return *table && *column;
}

static void sq_column(xs_db_stmt *s, unsigned col, xs_db_value *out)
{
    int i = (int)col;
    switch (sqlite3_column_type(s->st, i)) {
    case SQLITE_INTEGER: *out = dbv_int(sqlite3_column_int64(s->st, i)); break;
    case SQLITE_FLOAT: *out = dbv_real(sqlite3_column_double(s->st, i)); break;
    case SQLITE_TEXT: {
        const char *p = (const char *)sqlite3_column_text(s->st, i);
        *out = dbv_text((Text){p, p ? (size_t)sqlite3_column_bytes(s->st, i) : 0});
        break;
    }
    case SQLITE_BLOB: {
        const void *p = sqlite3_column_blob(s->st, i);
        *out = dbv_text((Text){p, p ? (size_t)sqlite3_column_bytes(s->st, i) : 0});
        out->type = XS_DB_BLOB;
        break;
    }
    default: *out = dbv_null(); break;
    }
}

static int64_t sq_changes(xs_db_conn *c)
{
    return sqlite3_changes64(c->db);
}

static bool sq_in_transaction(xs_db_conn *c)
{
    return sqlite3_get_autocommit(c->db) == 0;
}

static const char *sq_conflict(xs_db_conn *c)
{
    return c->conflict;
}

static void sq_checkpoint(xs_db_conn *c)
{
    (void)sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

/* The log mode of the file does not belong to an image in memory. */
static void clear_wal_mark(char *bytes, size_t len)
{
    enum { WRITE_VERSION = 18, READ_VERSION = 19, HEADER_BYTES = 100 };
    if (len >= HEADER_BYTES)
        bytes[WRITE_VERSION] = bytes[READ_VERSION] = 1;
}

static bool sq_snapshot(xs_db_conn *c, char **bytes, size_t *len, xs_error *err)
{
    sqlite3_int64 n = 0;
    unsigned char *image = sqlite3_serialize(c->db, "main", &n, 0);
    char *copy = image ? mem_alloc((size_t)n) : NULL;
    if (copy) {
        memcpy(copy, image, (size_t)n);
        clear_wal_mark(copy, (size_t)n);
        *bytes = copy;
        *len = (size_t)n;
    }
    sqlite3_free(image);
    return copy || fail_code(err, XS_E_NOMEM);
}

static int copy_image(sqlite3 *from, sqlite3 *to, const char *bytes, size_t len)
{
    unsigned char *image = (unsigned char *)(uintptr_t)bytes; /* read only, as the flag says */
    int rc = sqlite3_deserialize(from, "main", image, (sqlite3_int64)len, (sqlite3_int64)len,
                                 SQLITE_DESERIALIZE_READONLY);
    sqlite3_backup *b = rc == SQLITE_OK ? sqlite3_backup_init(to, "main", from, "main") : NULL;
    if (!b)
        return rc == SQLITE_OK ? sqlite3_errcode(to) : rc;
    sqlite3_backup_step(b, -1);
    return sqlite3_backup_finish(b);
}

static bool sq_restore(xs_db_conn *c, const char *bytes, size_t len, xs_error *err)
{
    sqlite3 *from = NULL;
    int rc = sqlite3_open(":memory:", &from);
    if (rc == SQLITE_OK)
        rc = copy_image(from, c->db, bytes, len);
    bool ok = rc == SQLITE_OK || xs_fail(err, XS_E_DATABASE, XS_NO_POS, "%s", sqlite3_errstr(rc));
    sqlite3_close(from);
    return ok;
}

static bool sq_backup(xs_db_conn *c, const char *path,
                      void (*progress)(void *ctx, int left, int all), void *ctx, xs_error *err)
{
    enum { STEP_PAGES = 1024, BUSY_SLEEP_MS = 20, BUSY_TRIES = 500 };
    sqlite3 *to = NULL;
    int rc = sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    sqlite3_backup *b = rc == SQLITE_OK ? sqlite3_backup_init(to, "main", c->db, "main") : NULL;
    if (b) {
        int tries = 0;
        while ((rc = sqlite3_backup_step(b, STEP_PAGES)) == SQLITE_OK || rc == SQLITE_BUSY ||
               rc == SQLITE_LOCKED) {
            if (progress)
                progress(ctx, sqlite3_backup_remaining(b), sqlite3_backup_pagecount(b));
            if (rc == SQLITE_OK)
                continue;
            if (++tries > BUSY_TRIES)
                break;
            sqlite3_sleep(BUSY_SLEEP_MS);
        }
        int end = sqlite3_backup_finish(b);
        rc = rc == SQLITE_DONE ? end : rc;
    }
    bool ok = b && rc == SQLITE_OK;
    if (!ok)
        (void)xs_fail(err, XS_E_DATABASE, XS_NO_POS, "%s: %s", path,
                      rc == SQLITE_OK || !to ? sqlite3_errstr(rc) : sqlite3_errmsg(to));
    sqlite3_close(to);
    return ok;
}

const xs_dbdriver_ops sqlite_driver = {
    .size = sizeof(xs_dbdriver_ops),
    .open = sq_open,
    .close = sq_close,
    .prepare = sq_prepare,
    .limit = sq_limit,
    .control = sq_control,
    .readonly = sq_readonly,
    .params = sq_params,
    .bind = sq_bind,
    .step = sq_step,
    .columns = sq_columns,
    .column_name = sq_column_name,
    .column_origin = sq_column_origin,
    .column = sq_column,
    .finish = sq_finish,
    .changes = sq_changes,
    .in_transaction = sq_in_transaction,
    .conflict = sq_conflict,
    .checkpoint = sq_checkpoint,
    .snapshot = sq_snapshot,
    .restore = sq_restore,
    .backup = sq_backup,
};

const xs_dbdriver_ops *db_driver_sqlite(void)
{
    return &sqlite_driver;
}
