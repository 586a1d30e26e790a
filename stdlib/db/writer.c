/* writer.c - the one thread that changes a database. It takes what is queued, runs it in one
 * transaction, commits once and only then reports: waiting writes gather while the disk works. A
 * write that fails leaves the others of its batch alone: one statement is undone by the engine
 * itself, several run inside a savepoint. When the whole batch is lost (disk full, failed commit)
 * every write is tried again alone, so that only the guilty one fails.
 *
 * db.transaction leases the write connection: the writer begins, lends it to the worker of the
 * fiber, and waits until it comes back: as JOB_COMMIT, or returned after a rollback in place. */
#include "core/mem.h"
#include "core/text.h"
#include "core/thread.h"
#include "stdlib/db/dbi.h"
#include "stdlib/db/pool.h"

enum {
    RESULT_MAX_BYTES = 256 << 20, /* rows a write may give back */
    BATCH_MAX = 128               /* writes that share a commit */
};

Job *dbjob_new(Db *db, JobKind kind, xs_error *err)
{
    Job *j = mem_zalloc(1, sizeof *j);
    if (!j) {
        (void)fail_code(err, XS_E_NOMEM);
        return NULL;
    }
    j->kind = kind;
    j->db = db;
    arena_init(&j->arena, 0);
    arena_init(&j->out, RESULT_MAX_BYTES);
    return j;
}

void dbjob_free(Job *j)
{
    if (!j)
        return;
    dbchanges_free(j->changes);
    arena_deinit(&j->arena);
    arena_deinit(&j->out);
    mem_free(j);
}

bool dbjob_add_step(Job *j, Sql *sql, uint32_t flags, xs_error *err)
{
    Text text;
    bool ok = sql_copy(sql, &j->arena, &text, err);
    if (ok && j->nsteps == j->steps_cap) {
        uint32_t cap = j->steps_cap ? j->steps_cap * 2 : 2;
        JobStep *steps = ARENA_ARRAY(&j->arena, JobStep, cap);
        ok = steps || fail_code(err, XS_E_NOMEM);
        if (ok) {
            if (j->nsteps)
                memcpy(steps, j->steps, j->nsteps * sizeof *steps);
            j->steps = steps;
            j->steps_cap = cap;
        }
    }
    if (ok)
        j->steps[j->nsteps++] =
            (JobStep){.sql = text, .vals = sql->vals, .nvals = sql->nvals, .flags = flags};
    sql_deinit(sql);
    return ok;
}

/* ---- running ---- */

static bool copy_row(Job *j, const xs_dbdriver_ops *drv, xs_db_stmt *st, unsigned n, xs_error *err)
{
    JobRow *row = arena_alloc(&j->out, sizeof(JobRow) + n * sizeof(xs_db_value));
    if (!row)
        return fail_code(err, XS_E_MEMORY);
    row->next = NULL;
    for (unsigned i = 0; i < n; i++) {
        drv->column(st, i, &row->vals[i]);
        if (row->vals[i].type >= XS_DB_TEXT) {
            Text t = arena_text(&j->out, dbv_bytes(&row->vals[i]));
            if (!t.ptr)
                return fail_code(err, XS_E_MEMORY);
            row->vals[i].bytes.ptr = t.ptr;
        }
    }
    if (j->last_row)
        j->last_row->next = row;
    else
        j->rows = row;
    j->last_row = row;
    j->nrows++;
    return true;
}

/* Columns of a program's own statement: named by the database, typed by their origin. */
bool raw_outputs(const DbPool *p, Arena *a, xs_db_stmt *st, OutCol **outs, uint32_t *nouts,
                 xs_error *err)
{
    unsigned n = p->drv->columns(st);
    *outs = ARENA_ARRAY(a, OutCol, n ? n : 1);
    if (!*outs)
        return fail_code(err, XS_E_NOMEM);
    *nouts = n;
    for (unsigned i = 0; i < n; i++) {
        const char *table = NULL, *column = NULL;
        OutCol *o = &(*outs)[i];
        o->name = arena_text(a, text_from(p->drv->column_name(st, i)));
        o->type = (ColType){CK_ANY, CK_ANY};
        if (!o->name.ptr)
            return fail_code(err, XS_E_NOMEM);
        if (p->drv->column_origin(st, i, &table, &column)) {
            const Table *t = schema_find(&p->schema, text_from(table));
            const Column *c = t ? table_column(t, text_from(column)) : NULL;
            if (c)
                o->type = c->type;
        }
    }
    return true;
}

static bool take_rows(DbPool *p, Job *j, const JobStep *s, xs_db_stmt *st, uint32_t *hits)
{
    const xs_dbdriver_ops *drv = p->drv;
    unsigned n = s->watched && s->from ? s->from : drv->columns(st);
    for (;;) {
        xs_db_step r = drv->step(st, &j->err);
        if (r != XS_DB_ROW)
            return r == XS_DB_DONE;
        ++*hits;
        if (s->watched && !changes_add(j, s, drv, st))
            return fail_code(&j->err, XS_E_MEMORY);
        if ((s->flags & STEP_ROWS) && !copy_row(j, drv, st, n, &j->err))
            return false;
    }
}

/* Values of removed predicates stay unused. */
static bool bind_values(DbPool *p, Job *j, const JobStep *s, xs_db_stmt *st)
{
    uint32_t n = p->drv->params(st);
    for (uint32_t i = 0; i < s->nvals && i < n; i++)
        if (!p->drv->bind(st, i + 1, &s->vals[i], &j->err))
            return false;
    return true;
}

static bool run_statement(DbPool *p, Job *j, const JobStep *s, xs_db_stmt *st, uint32_t *hits)
{
    const xs_dbdriver_ops *drv = p->drv;
    if ((s->flags & STEP_RAW) && drv->params(st) != s->nvals)
        return xs_fail(&j->err, XS_E_DATABASE, XS_NO_POS,
                       "the statement has %u parameters, %u were given", drv->params(st), s->nvals);
    if (!bind_values(p, j, s, st))
        return false;
    if ((s->flags & STEP_RAW) && !raw_outputs(p, &j->out, st, &j->outs, &j->nouts, &j->err))
        return false;
    if (s->flags & STEP_OLD)
        changes_forget_old(j);
    return take_rows(p, j, s, st, hits) &&
           (!s->watched || s->action != DB_TRUNCATE || changes_add_table(j, s) ||
            fail_code(&j->err, XS_E_MEMORY));
}

/* What was written must not stay when its row cannot be told: all of the transaction goes. */
static bool read_back(DbPool *p, xs_db_conn *conn, Job *j, const JobStep *s, uint32_t *hits)
{
    Text sql = s->read_back->sql;
    xs_db_stmt *st = p->drv->prepare(conn, sql.ptr, sql.len, 0, &j->err);
    bool ok = st && bind_values(p, j, s->read_back, st) && take_rows(p, j, s, st, hits);
    if (st)
        p->drv->finish(st);
    if (!ok)
        conn_rollback(p, conn);
    return ok;
}

static bool run_step(DbPool *p, xs_db_conn *conn, Job *j, const JobStep *s, uint32_t *hits)
{
    *hits = 0;
    unsigned flags = s->flags & STEP_RAW ? XS_DB_UNTRUSTED : 0;
    xs_db_stmt *st = p->drv->prepare(conn, s->sql.ptr, s->sql.len, flags, &j->err);
    if (!st)
        return false;
    bool ok = run_statement(p, j, s, st, hits);
    bool changes = ok && !p->drv->readonly(st);
    if (!ok && j->err.code == XS_E_DUPLICATE)
        j->conflict = arena_text(&j->out, text_from(p->drv->conflict(conn)));
    p->drv->finish(st);
    if (changes) {
        int64_t n = p->drv->changes(conn);
        j->changed += n;
        *hits += n && !*hits;
    }
    ok = ok && (!s->read_back || read_back(p, conn, j, s, hits));
    if (ok && (s->flags & STEP_MUST_HIT) && *hits == 0)
        return fail_code(&j->err, XS_E_NOTFOUND);
    return ok;
}

static bool run_steps(DbPool *p, xs_db_conn *conn, Job *j)
{
    uint32_t hits = 0;
    for (uint32_t i = 0; i < j->nsteps; i++) {
        if ((j->steps[i].flags & STEP_IF_NONE) && hits > 0)
            continue;
        if (!run_step(p, conn, j, &j->steps[i], &hits))
            return false;
    }
    return true;
}

static void drop_changes(Job *j)
{
    dbchanges_free(j->changes);
    j->changes = NULL;
}

static void dbjob_reset(Job *j)
{
    drop_changes(j);
    arena_deinit(&j->out);
    arena_init(&j->out, RESULT_MAX_BYTES);
    j->rows = j->last_row = NULL;
    j->nrows = 0;
    j->changed = 0;
    j->err = (xs_error){0};
    j->conflict = (Text){0};
}

void dbjob_run(DbPool *p, xs_db_conn *conn, Job *j)
{
    dbjob_reset(j);
    bool guarded = j->nsteps > 1;
    if (guarded && !conn_exec(p, conn, "SAVEPOINT xs_job", &j->err))
        return;
    bool ok = run_steps(p, conn, j);
    if (!ok && j->err.code == XS_OK)
        (void)fail_code(&j->err, XS_E_DATABASE);
    if (!ok)
        drop_changes(j);
    if (!guarded || !p->drv->in_transaction(conn))
        return;
    xs_error err = {0};
    if ((!ok && !conn_exec(p, conn, "ROLLBACK TO xs_job", &err)) ||
        !conn_exec(p, conn, "RELEASE xs_job", &err)) {
        conn_rollback(p, conn); /* half a job must not be committed: all of the transaction goes */
        if (ok)
            j->err = err;
        drop_changes(j);
    }
}

bool conn_exec(DbPool *p, xs_db_conn *conn, const char *sql, xs_error *err)
{
    xs_db_stmt *st = p->drv->prepare(conn, sql, strlen(sql), 0, err);
    if (!st)
        return false;
    xs_db_step r;
    while ((r = p->drv->step(st, err)) == XS_DB_ROW)
        ;
    p->drv->finish(st);
    return r == XS_DB_DONE;
}

void conn_rollback(DbPool *p, xs_db_conn *conn)
{
    xs_error ignored = {0};
    if (p->drv->in_transaction(conn))
        (void)p->drv->control(conn, XS_DB_ROLLBACK, &ignored);
}

/* One write in a transaction of its own. */
static void run_alone(DbPool *p, Job *j)
{
    dbjob_reset(j);
    xs_error err = {0};
    if (!p->drv->control(p->conn, XS_DB_BEGIN_WRITE, &err)) {
        j->err = err;
        return;
    }
    dbjob_run(p, p->conn, j);
    if (!p->drv->in_transaction(p->conn)) {
        if (j->err.code == XS_OK)
            (void)fail_code(&j->err, XS_E_DATABASE);
        return;
    }
    if (!p->drv->control(p->conn, XS_DB_COMMIT, &err)) {
        if (j->err.code == XS_OK)
            j->err = err;
        conn_rollback(p, p->conn);
        return;
    }
    atomic_fetch_add(&p->commits, 1);
    changes_tell(p, j);
}

static bool run_together(DbPool *p, Job *batch)
{
    xs_error err = {0};
    if (!p->drv->control(p->conn, XS_DB_BEGIN_WRITE, &err))
        return false;
    for (Job *j = batch; j; j = j->next) {
        dbjob_run(p, p->conn, j);
        if (!p->drv->in_transaction(p->conn))
            return false;
    }
    if (p->drv->control(p->conn, XS_DB_COMMIT, &err)) {
        atomic_fetch_add(&p->commits, 1);
        for (Job *j = batch; j; j = j->next)
            changes_tell(p, j);
        return true;
    }
    conn_rollback(p, p->conn);
    return false;
}

/* Say it once when the file stops taking writes, and once when it takes them again. */
static void watch_disk(DbPool *p, const Job *batch)
{
    const xs_error *trouble = NULL;
    bool fine = false;
    for (const Job *j = batch; j; j = j->next) {
        fine = fine || j->err.code == XS_OK;
        if (j->err.code == XS_E_IO)
            trouble = &j->err;
    }
    if (trouble && !fine && !p->ailing) {
        p->ailing = true;
        if (p->opt.alarm)
            p->opt.alarm(p->opt.log_ctx, trouble->message);
    } else if (fine && p->ailing) {
        p->ailing = false;
        if (p->opt.alarm)
            p->opt.alarm(p->opt.log_ctx, "The database takes writes again");
    }
}

static void run_batch(DbPool *p, Job *batch)
{
    uint64_t n = 0;
    for (Job *j = batch; j; j = j->next)
        n++;
    atomic_fetch_add(&p->writes, n);
    buckets_add(&p->commit_writes, n, 1);
    if (n == 1) {
        run_alone(p, batch);
        return;
    }
    if (!run_together(p, batch))
        for (Job *j = batch; j; j = j->next)
            run_alone(p, j);
}

/* ---- reporting ---- */

/* Called with the lock, returns with the lock; lets go of it while it wakes. */
static void finish_job(DbPool *p, Job *j)
{
    Db *db = j->db;
    Fiber *fiber = j->fiber;
    if (j->told) {
        pthread_mutex_unlock(&p->lock);
        j->told(j);
        dbjob_free(j);
        pthread_mutex_lock(&p->lock);
        return;
    }
    if (j->abandoned) {
        dbjob_free(j);
        db->inflight--;
        pthread_cond_broadcast(&p->ready);
        return;
    }
    j->done = true; /* from here on it belongs to its worker */
    if (fiber) {
        pthread_mutex_unlock(&p->lock);
        db->wake(db->wake_ctx, fiber);
        pthread_mutex_lock(&p->lock);
    }
    db->inflight--;
    pthread_cond_broadcast(&p->ready);
}

static Job *take_batch(DbPool *p)
{
    uint32_t n = 0;
    Job *first = p->head, *last = NULL;
    for (Job *j = first; j && j->kind == JOB_WRITE && n < BATCH_MAX; j = j->next, n++)
        last = j;
    p->head = last->next;
    if (!p->head)
        p->tail = NULL;
    last->next = NULL;
    return first;
}

static void end_lease(DbPool *p, Job *end)
{
    end->err = (xs_error){0};
    pthread_mutex_unlock(&p->lock);
    if (!p->drv->in_transaction(p->conn))
        (void)xs_fail(&end->err, XS_E_DATABASE, XS_NO_POS,
                      "the database has rolled the transaction back");
    else if (p->drv->control(p->conn, XS_DB_COMMIT, &end->err)) {
        atomic_fetch_add(&p->commits, 1);
        changes_tell(p, end);
    } else {
        conn_rollback(p, p->conn);
    }
    pthread_mutex_lock(&p->lock);
}

void lease_rollback(DbPool *p)
{
    conn_rollback(p, p->conn);
    pthread_mutex_lock(&p->lock);
    p->lease_back = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

/* Lend the connection and wait until it is back. */
static void run_lease(DbPool *p, Job *j)
{
    if (!j->abandoned) {
        pthread_mutex_unlock(&p->lock);
        bool ok = p->drv->control(p->conn, XS_DB_BEGIN_WRITE, &j->err);
        pthread_mutex_lock(&p->lock);
        if (ok && j->abandoned) {
            conn_rollback(p, p->conn);
        } else if (ok) {
            p->leased_to = j->db;
            p->lease_end = NULL;
            p->lease_back = false;
        }
    }
    finish_job(p, j);
    if (!p->leased_to)
        return;
    while (!p->lease_end && !p->lease_back)
        pthread_cond_wait(&p->work, &p->lock);
    Job *end = p->lease_end;
    p->lease_end = NULL;
    if (end)
        end_lease(p, end);
    p->leased_to = NULL;
    if (end)
        finish_job(p, end);
}

static void *writer_main(void *arg)
{
    DbPool *p = arg;
    thread_in_bulk();
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->head && !p->stop)
            pthread_cond_wait(&p->work, &p->lock);
        if (!p->head)
            break;
        if (p->head->kind == JOB_LEASE) {
            Job *j = p->head;
            p->head = j->next;
            if (!p->head)
                p->tail = NULL;
            run_lease(p, j);
            continue;
        }
        Job *batch = take_batch(p);
        pthread_mutex_unlock(&p->lock);
        run_batch(p, batch);
        watch_disk(p, batch);
        pthread_mutex_lock(&p->lock);
        for (Job *j = batch, *next; j; j = next) {
            next = j->next;
            finish_job(p, j);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

bool writer_start(DbPool *p, xs_error *err)
{
    p->thread_started = pthread_create(&p->thread, NULL, writer_main, p) == 0;
    return p->thread_started ||
           xs_fail(err, XS_E_NOMEM, XS_NO_POS, "cannot start the writer thread");
}

void writer_stop(DbPool *p)
{
    if (!p->thread_started)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    p->thread_started = false;
}

/* The lock is held. */
static void enqueue(DbPool *p, Job *j)
{
    j->next = NULL;
    if (p->tail)
        p->tail->next = j;
    else
        p->head = j;
    p->tail = j;
}

void dbjob_post(DbPool *p, Job *j)
{
    pthread_mutex_lock(&p->lock);
    enqueue(p, j);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

bool dbjob_submit(Job *j, Fiber *fiber)
{
    Db *db = j->db;
    DbPool *p = db->pool;
    bool park = fiber && db->wake;
    pthread_mutex_lock(&p->lock);
    if (!park && p->leased_to == db && !p->lease_back && !p->lease_end &&
        (j->kind == JOB_WRITE || j->kind == JOB_LEASE)) {
        pthread_mutex_unlock(&p->lock);
        (void)xs_fail(&j->err, XS_E_DEADLOCK, XS_NO_POS,
                      "another request of this worker is in a transaction");
        return true;
    }
    j->fiber = park ? fiber : NULL;
    if (park) {
        j->next_wait = db->waiting;
        db->waiting = j;
    }
    db->inflight++;
    j->next = NULL;
    if (j->kind == JOB_COMMIT)
        p->lease_end = j;
    else
        enqueue(p, j);
    pthread_cond_signal(&p->work);
    while (!park && !j->done)
        pthread_cond_wait(&p->ready, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return !park;
}
