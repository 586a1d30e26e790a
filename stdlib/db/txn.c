/* txn.c - what a fiber has open: its transaction, the events it holds back until the commit, the
 * jobs it waits for. Lives in the fiber's slot, so that a fiber that ends any way leaves nothing
 * behind. Thread: the fiber's. */
#include <pthread.h>

#include "core/mem.h"
#include "stdlib/db/ops.h"
#include "stdlib/db/pool.h"

enum { HELD_MAX = 10000 };

FiberDb *fiber_db(Fiber *f)
{
    return f ? fiber_slot(f) : NULL;
}

static void drop_held(FiberDb *fd, uint32_t keep)
{
    HeldEvent **at = &fd->held, *last = NULL;
    for (uint32_t i = 0; i < keep && *at; i++) {
        last = *at;
        at = &(*at)->next;
    }
    for (HeldEvent *e = *at, *next; e; e = next) {
        next = e->next;
        mem_free(e);
    }
    *at = NULL;
    fd->held_last = last;
    fd->nheld = keep;
}

/* Changes kept since the level began are not told. */
static void drop_changes(FiberDb *fd, DbChanges *keep)
{
    DbChanges **at = keep ? &keep->next : &fd->changes;
    dbchanges_free(*at);
    *at = NULL;
}

static DbChanges *last_changes(const FiberDb *fd)
{
    DbChanges *c = fd->changes;
    while (c && c->next)
        c = c->next;
    return c;
}

void txn_keep_changes(Fiber *f, Job *j)
{
    FiberDb *fd = fiber_db(f);
    DbChanges *last = last_changes(fd);
    if (last)
        last->next = j->changes;
    else
        fd->changes = j->changes;
    j->changes = NULL;
}

/* Jobs the fiber waits for are left to the writer, or undone when they are done already. */
static void leave_jobs(FiberDb *fd, Db *db)
{
    DbPool *p = db->pool;
    bool granted = false;
    Job *gone = NULL;
    pthread_mutex_lock(&p->lock);
    for (Job **at = &db->waiting; *at;) {
        Job *j = *at;
        if (j->fiber != fd->fiber) {
            at = &j->next_wait;
            continue;
        }
        *at = j->next_wait;
        if (!j->done) {
            j->abandoned = true;
            continue;
        }
        granted = granted || (j->kind == JOB_LEASE && j->err.code == XS_OK);
        j->next_wait = gone;
        gone = j;
    }
    pthread_mutex_unlock(&p->lock);
    if (granted)
        lease_rollback(p);
    for (Job *next; gone; gone = next) {
        next = gone->next_wait;
        dbjob_free(gone);
    }
}

static void free_slot(void *ptr)
{
    FiberDb *fd = ptr;
    Db *root = fd->root;
    for (Db *db = root; db; db = db == root ? root->others : db->sibling)
        leave_jobs(fd, db);
    if (fd->depth && !fd->borrowed)
        lease_rollback(fd->db->pool);
    drop_held(fd, 0);
    drop_changes(fd, NULL);
    mem_free(fd);
}

FiberDb *fiber_db_make(Fiber *f, Db *db, xs_error *err)
{
    FiberDb *fd = fiber_slot(f);
    if (fd)
        return fd;
    fd = mem_zalloc(1, sizeof *fd);
    if (!fd) {
        (void)fail_code(err, XS_E_NOMEM);
        return NULL;
    }
    fd->fiber = f;
    fd->db = db;
    fd->root = fiber_services(f)->db;
    fiber_set_slot(f, fd, free_slot);
    return fd;
}

bool db_holds(Fiber *f, const Db *db)
{
    const FiberDb *fd = fiber_db(f);
    return fd && fd->depth > 0 && fd->db == db;
}

bool db_in_transaction(Fiber *fiber)
{
    FiberDb *fd = fiber_db(fiber);
    return fd && fd->depth > 0;
}

static Text copy_text(char **at, Text t)
{
    if (!t.ptr)
        return t;
    if (t.len)
        memcpy(*at, t.ptr, t.len);
    Text out = {*at, t.len};
    *at += t.len;
    return out;
}

bool db_hold_event(Fiber *fiber, const PublishReq *req, xs_error *err)
{
    FiberDb *fd = fiber_db(fiber);
    if (!fd || !fd->depth)
        return xs_fail(err, XS_E_BUG, XS_NO_POS, "no transaction is open");
    if (fd->nheld >= HELD_MAX)
        return xs_fail(err, XS_E_LIMIT, XS_NO_POS, "more than %d events in one transaction",
                       HELD_MAX);
    size_t bytes = req->channel.len + req->event.len + req->data_json.len + req->auth_table.len +
                   req->auth_id_json.len + req->server.len;
    HeldEvent *e = mem_alloc(sizeof *e + bytes);
    if (!e)
        return fail_code(err, XS_E_NOMEM);
    char *at = (char *)(e + 1);
    e->next = NULL;
    e->req = (PublishReq){.channel = copy_text(&at, req->channel),
                          .event = copy_text(&at, req->event),
                          .data_json = copy_text(&at, req->data_json),
                          .auth_table = copy_text(&at, req->auth_table),
                          .auth_id_json = copy_text(&at, req->auth_id_json),
                          .server = copy_text(&at, req->server)};
    if (fd->held_last)
        fd->held_last->next = e;
    else
        fd->held = e;
    fd->held_last = e;
    fd->nheld++;
    return true;
}

typedef struct EventCount {
    pthread_mutex_t lock;
    pthread_cond_t none;
    size_t pending;
} EventCount;

static void held_ready(Receipt *r, bool ok)
{
    (void)ok; /* the transaction has committed */
    EventCount *n = ((HeldEvent *)(void *)((char *)r - offsetof(HeldEvent, receipt)))->count;
    pthread_mutex_lock(&n->lock);
    if (--n->pending == 0)
        pthread_cond_signal(&n->none);
    pthread_mutex_unlock(&n->lock);
}

/* What is recorded is on disk when the commit is over. The thread waits in place: all these events
 * share one write, and the fiber cannot park once more. */
static void publish_held(FiberDb *fd, const Services *s)
{
    EventCount n = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    for (HeldEvent *e = fd->held; e; e = e->next) {
        xs_error ignored = {0}; /* a bad event never undoes a commit */
        e->count = &n;
        e->receipt = (Receipt){.ready = held_ready};
        e->req.receipt = &e->receipt;
        pthread_mutex_lock(&n.lock);
        n.pending++;
        pthread_mutex_unlock(&n.lock);
        (void)s->publish(s->ctx, &e->req, &ignored);
        if (!e->receipt.pending)
            held_ready(&e->receipt, true);
    }
    pthread_mutex_lock(&n.lock);
    while (n.pending)
        pthread_cond_wait(&n.none, &n.lock);
    pthread_mutex_unlock(&n.lock);
    pthread_cond_destroy(&n.none);
    pthread_mutex_destroy(&n.lock);
}

void txn_finished(Job *j, Fiber *fiber, xs_error *err)
{
    FiberDb *fd = fiber_db(fiber);
    *err = j->err;
    if (j->kind == JOB_LEASE) {
        if (err->code == XS_OK) {
            fd->db = j->db;
            fd->depth = 1;
            fd->marks[1] = 0;
            fd->levels[1] = NULL;
        }
        return;
    }
    const Services *s = fiber_services(fiber);
    if (s && s->publish && fd->held && err->code == XS_OK)
        publish_held(fd, s);
    drop_held(fd, 0);
}

/* An addon reads inside its caller's transaction and has no say in it. */
static bool owns_transaction(Call *c)
{
    FiberDb *fd = fiber_db(c->fiber);
    return !fd || !fd->borrowed ||
           call_fail(c, XS_E_UNSUPPORTED, "an addon holds exactly one db.query");
}

/* The lease begins or ends: in place, or parked. */
static NativeResult run_lease_job(Call *c, Job *j)
{
    if (!dbjob_submit(j, c->fiber))
        return NATIVE_PARK;
    xs_error err = {0};
    if (j->done)
        txn_finished(j, c->fiber, &err);
    else
        err = j->err;
    dbjob_free(j);
    if (err.code == XS_OK)
        return NATIVE_OK;
    *c->err = err;
    return NATIVE_ERROR;
}

static bool savepoint(Call *c, Db *db, const char *verb, uint32_t level)
{
    char sql[48];
    (void)snprintf(sql, sizeof sql, "%s xs_t%u", verb, level);
    if (!db->pool->drv->in_transaction(db->pool->conn))
        return call_fail(c, XS_E_DATABASE, "the database has rolled the transaction back");
    return conn_exec(db->pool, db->pool->conn, sql, c->err);
}

NativeResult op_db_transaction_begin(Call *c)
{
    Db *db = call_db(c);
    if (!db || !owns_transaction(c))
        return NATIVE_ERROR;
    if (!c->fiber) {
        (void)call_fail(c, XS_E_UNSUPPORTED, "a transaction needs a fiber");
        return NATIVE_ERROR;
    }
    FiberDb *fd = fiber_db_make(c->fiber, db, c->err);
    if (!fd)
        return NATIVE_ERROR;
    if (fd->depth == 0) {
        Job *j = dbjob_new(db, JOB_LEASE, c->err);
        return j ? run_lease_job(c, j) : NATIVE_ERROR;
    }
    if (fd->db != db) {
        (void)call_fail(c, XS_E_UNSUPPORTED,
                        "a transaction is open on another data source already");
        return NATIVE_ERROR;
    }
    if (fd->depth >= TXN_MAX_DEPTH) {
        (void)call_fail(c, XS_E_DEPTH, "transactions are nested deeper than %d", TXN_MAX_DEPTH);
        return NATIVE_ERROR;
    }
    if (!savepoint(c, db, "SAVEPOINT", fd->depth))
        return NATIVE_ERROR;
    fd->depth++;
    fd->marks[fd->depth] = fd->nheld;
    fd->levels[fd->depth] = last_changes(fd);
    return NATIVE_OK;
}

NativeResult op_db_transaction_commit(Call *c)
{
    Db *db = call_db(c);
    FiberDb *fd = fiber_db(c->fiber);
    if (!db || !owns_transaction(c))
        return NATIVE_ERROR;
    if (!fd || fd->depth == 0) {
        (void)call_fail(c, XS_E_DATABASE, "no transaction is open");
        return NATIVE_ERROR;
    }
    db = fd->db; /* whatever data source was chosen meanwhile */
    if (fd->depth > 1) {
        if (!savepoint(c, db, "RELEASE", fd->depth - 1))
            return NATIVE_ERROR;
        fd->depth--;
        return NATIVE_OK;
    }
    Job *j = dbjob_new(db, JOB_COMMIT, c->err);
    if (!j)
        return NATIVE_ERROR;
    fd->depth = 0; /* the writer has it from here on, whatever becomes of the fiber */
    j->changes = fd->changes;
    fd->changes = NULL;
    return run_lease_job(c, j);
}

NativeResult op_db_transaction_rollback(Call *c)
{
    FiberDb *fd = fiber_db(c->fiber);
    Db *db = call_db(c);
    if (!db || !owns_transaction(c))
        return NATIVE_ERROR;
    if (!fd || fd->depth == 0)
        return NATIVE_OK; /* the commit failed and has rolled back */
    db = fd->db;
    if (fd->depth > 1) {
        fd->depth--;
        drop_held(fd, fd->marks[fd->depth + 1]);
        drop_changes(fd, fd->levels[fd->depth + 1]);
        if (!db->pool->drv->in_transaction(db->pool->conn))
            return NATIVE_OK;
        if (savepoint(c, db, "ROLLBACK TO", fd->depth) && savepoint(c, db, "RELEASE", fd->depth))
            return NATIVE_OK;
        conn_rollback(db->pool, db->pool->conn); /* rather nothing than half of it */
        return NATIVE_ERROR;
    }
    fd->depth = 0;
    drop_held(fd, 0);
    drop_changes(fd, NULL);
    lease_rollback(db->pool);
    return NATIVE_OK;
}
