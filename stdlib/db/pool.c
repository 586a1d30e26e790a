/* pool.c - opening and closing a database and the connections of its workers. ":memory:" is a file
 * in a private folder that goes away at close: readers then see the same snapshots as with any
 * other file. */
#include "stdlib/db/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/folder.h"
#include "core/mem.h"
#include "stdlib/db/migrate.h"

static bool make_temp_path(DbPool *p, xs_error *err)
{
    const char *base = getenv("TMPDIR");
    char buf[512];
    int n = snprintf(buf, sizeof buf, "%s/xs-memory-XXXXXX", base && *base ? base : "/tmp");
    if (n < 0 || (size_t)n >= sizeof buf || !mkdtemp(buf))
        return xs_fail(err, XS_E_IO, XS_NO_POS, "cannot make a folder for the database: %s",
                       strerror(errno));
    p->temp_dir = mem_strndup(buf, strlen(buf));
    if (!p->temp_dir) {
        (void)rmdir(buf);
        return fail_code(err, XS_E_NOMEM);
    }
    char path[600];
    snprintf(path, sizeof path, "%s/db", p->temp_dir);
    p->path = mem_strndup(path, strlen(path));
    return p->path || fail_code(err, XS_E_NOMEM);
}

static xs_db_conn *open_conn(DbPool *p, bool writer, xs_error *err)
{
    xs_db_options o = {.path = p->path,
                       .writer = writer,
                       .synchronous_off = p->opt.synchronous_off || p->temp_dir,
                       .busy_timeout_ms = p->opt.busy_timeout_ms};
    return p->drv->open(&o, err);
}

/* Not while tables are rebuilt. */
static void limit_conn(DbPool *p, xs_db_conn *conn)
{
    p->drv->limit(conn, p->opt.statement_ms ? p->opt.statement_ms : 30000);
}

xs_db_conn *pool_reader(DbPool *p, xs_error *err)
{
    return open_conn(p, false, err);
}

/* The error names the first one. */
static void tell_refused(const DbPool *p, const DbPlan *plan)
{
    for (uint32_t i = 0; p->opt.alarm && i < plan->count; i++)
        if (plan->items[i].destructive)
            p->opt.alarm(p->opt.log_ctx, plan->items[i].text.ptr);
}

static bool bring_up(DbPool *p, xs_error *err)
{
    DbPlan plan;
    dbplan_init(&plan);
    MigrateOptions opt = {.apply = true,
                          .allow_destructive = p->opt.allow_destructive,
                          .log = p->opt.log,
                          .log_ctx = p->opt.log_ctx};
    bool ok = migrate(p, &opt, &plan, err);
    if (!ok && err->code == XS_E_MIGRATION && plan.destructive > 1)
        tell_refused(p, &plan);
    dbplan_deinit(&plan);
    return ok;
}

/* The file is only read. */
static bool copy_content(DbPool *p, xs_error *err)
{
    xs_db_options from = {.path = p->opt.copy_of, .busy_timeout_ms = p->opt.busy_timeout_ms};
    xs_db_conn *conn = p->drv->open(&from, err);
    bool ok = conn && p->drv->backup(conn, p->path, NULL, NULL, err);
    p->drv->close(conn);
    return ok;
}

static bool open_all(DbPool *p, const char *path, const Const *tables, xs_error *err)
{
    if (strcmp(path, ":memory:") == 0) {
        if (!make_temp_path(p, err) || (p->opt.copy_of && !copy_content(p, err)))
            return false;
    } else if (!(p->path = mem_strndup(path, strlen(path)))) {
        return fail_code(err, XS_E_NOMEM);
    }
    return schema_build(&p->schema, tables, err) && (p->conn = open_conn(p, true, err)) &&
           bring_up(p, err) && (p->auth_conn = open_conn(p, false, err));
}

static DbPool *pool_new(const DbOptions *opt, xs_error *err)
{
    DbPool *p = mem_zalloc(1, sizeof *p);
    if (!p) {
        (void)fail_code(err, XS_E_NOMEM);
        return NULL;
    }
    p->drv = &sqlite_driver;
    p->name = TEXT("live");
    if (opt)
        p->opt = *opt;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->auth_lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->ready, NULL);
    return p;
}

DbPool *dbpool_offline(const char *path, const Const *tables, xs_error *err)
{
    DbPool *p = pool_new(NULL, err);
    if (!p)
        return NULL;
    p->path = mem_strndup(path, strlen(path));
    bool ok = p->path || fail_code(err, XS_E_NOMEM);
    ok = ok && (p->conn = open_conn(p, true, err));
    ok = ok && (tables ? schema_build(&p->schema, tables, err) : migrate_recorded(p, err));
    if (ok)
        return p;
    dbpool_close(p);
    return NULL;
}

DbPool *dbpool_open(const char *path, const Const *tables, const DbOptions *opt, xs_error *err)
{
    DbPool *p = pool_new(opt, err);
    if (!p)
        return NULL;
    if (!open_all(p, path, tables, err)) {
        dbpool_close(p);
        return NULL;
    }
    limit_conn(p, p->conn);
    limit_conn(p, p->auth_conn);
    if (!writer_start(p, err)) {
        dbpool_close(p);
        return NULL;
    }
    return p;
}

bool dbpool_add_source(DbPool *pool, Text name, const char *path, const Const *tables,
                       const DbOptions *opt, xs_error *err)
{
    enum { SOURCES_MAX = 200 };
    uint32_t n = 0;
    DbPool **at = &pool->others;
    for (; *at; at = &(*at)->sibling)
        n++;
    if (n >= SOURCES_MAX || !name.len || dbpool_has_source(pool, name))
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                       "'" TEXT_FMT "' cannot be the name of a data source", TEXT_ARG(name));
    *at = dbpool_open(path, tables, opt, err);
    if (*at)
        (*at)->name = name;
    return *at != NULL;
}

bool dbpool_has_source(const DbPool *pool, Text name)
{
    for (const DbPool *p = pool; p; p = p == pool ? pool->others : p->sibling)
        if (text_eq(p->name, name))
            return true;
    return false;
}

void dbpool_close(DbPool *p)
{
    if (!p)
        return;
    for (DbPool *o = p->others, *next; o; o = next) {
        next = o->sibling;
        dbpool_close(o);
    }
    writer_stop(p);
    p->drv->close(p->auth_conn);
    if (p->conn && !p->temp_dir)
        p->drv->checkpoint(p->conn);
    p->drv->close(p->conn);
    schema_deinit(&p->schema);
    arena_deinit(&p->tables);
    if (p->temp_dir)
        folder_remove(p->temp_dir);
    mem_free(p->temp_dir);
    mem_free(p->path);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->auth_lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->ready);
    mem_free(p);
}

Db *db_open(DbPool *pool, DbWake wake, void *wake_ctx, xs_error *err)
{
    Db *db = mem_zalloc(1, sizeof *db);
    if (!db) {
        (void)fail_code(err, XS_E_NOMEM);
        return NULL;
    }
    db->pool = pool;
    db->wake = wake;
    db->wake_ctx = wake_ctx;
    db->reader = open_conn(pool, false, err);
    if (!db->reader) {
        mem_free(db);
        return NULL;
    }
    limit_conn(pool, db->reader);
    Db **at = &db->others;
    for (DbPool *o = pool->others; o; o = o->sibling) {
        *at = db_open(o, wake, wake_ctx, err);
        if (!*at) {
            db_close(db);
            return NULL;
        }
        at = &(*at)->sibling;
    }
    return db;
}

void db_close(Db *db)
{
    if (!db)
        return;
    for (Db *o = db->others, *next; o; o = next) {
        next = o->sibling;
        db_close(o);
    }
    DbPool *p = db->pool;
    pthread_mutex_lock(&p->lock);
    while (db->inflight)
        pthread_cond_wait(&p->ready, &p->lock);
    pthread_mutex_unlock(&p->lock);
    for (Job *j = db->waiting, *next; j; j = next) { /* fibers that were not freed before */
        next = j->next_wait;
        dbjob_free(j);
    }
    p->drv->close(db->reader);
    mem_free(db);
}

bool dbpool_snapshot(DbPool *pool, char **bytes, size_t *len, xs_error *err)
{
    return pool->drv->snapshot(pool->conn, bytes, len, err);
}

bool dbpool_restore(DbPool *pool, const char *bytes, size_t len, xs_error *err)
{
    return pool->drv->restore(pool->conn, bytes, len, err);
}

void dbpool_stats(const DbPool *pool, DbStats *out)
{
    *out = (DbStats){0};
    for (const DbPool *p = pool; p; p = p == pool ? pool->others : p->sibling) {
        out->reads += atomic_load(&p->reads);
        out->writes += atomic_load(&p->writes);
        out->commits += atomic_load(&p->commits);
    }
    out->commit_writes = &pool->commit_writes;
}

static const Const *read_auth_row(DbPool *p, Arena *a, const Table *t, const xs_db_value *id,
                                  xs_error *err)
{
    const xs_dbdriver_ops *drv = p->drv;
    Sql sql;
    sql_init(&sql, a);
    sql_raw(&sql, "SELECT ");
    for (uint32_t i = 0; i < t->ncols; i++) {
        if (i)
            sql_raw(&sql, ",");
        sql_ident(&sql.text, t->cols[i].name);
    }
    sql_raw(&sql, " FROM ");
    sql_ident(&sql.text, t->name);
    sql_raw(&sql, " WHERE \"id\" = ");
    sql_param(&sql, *id);
    xs_db_stmt *st =
        sql_ok(&sql, err) ? drv->prepare(p->auth_conn, sql.text.ptr, sql.text.len, 0, err) : NULL;
    Const *row = NULL;
    if (st && drv->bind(st, 1, id, err) && drv->step(st, err) == XS_DB_ROW) {
        row = const_map(a, t->ncols);
        for (uint32_t i = 0; i < t->ncols && row; i++) {
            xs_db_value v;
            if (t->cols[i].internal)
                continue;
            drv->column(st, i, &v);
            const Const *c = row_decode_const(a, t->cols[i].type, &v);
            if (!c || !const_set(a, row, t->cols[i].name, c))
                row = NULL;
        }
        if (!row)
            (void)fail_code(err, XS_E_NOMEM);
    }
    drv->finish(st);
    sql_deinit(&sql);
    return row;
}

const Const *dbpool_auth_row(DbPool *pool, Arena *a, Text table, const Const *id, xs_error *err)
{
    const Table *t = schema_find(&pool->schema, table);
    if (!t || !id)
        return NULL;
    xs_db_value v;
    if (id->kind == C_INT)
        v = dbv_int(id->i);
    else if (id->kind == C_TEXT)
        v = dbv_text(id->text);
    else
        return NULL;
    pthread_mutex_lock(&pool->auth_lock);
    const Const *row = read_auth_row(pool, a, t, &v, err);
    atomic_fetch_add(&pool->reads, 1);
    pthread_mutex_unlock(&pool->auth_lock);
    return row;
}
