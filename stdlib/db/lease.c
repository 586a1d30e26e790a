/* lease.c - who of several processes on one file does a piece of work: a row per name holds the
 * number of the newest piece that somebody has taken. */
#include "stdlib/db/dbi.h"

enum { FORGET_MS = 24 * 60 * 60 * 1000 };

typedef struct Lease {
    DbLeased fn;
    void *arg;
} Lease;

/* One statement decides: it changes the row, and gives it back, or another was first. */
static bool take(Job *j, Text name, int64_t at_ms, xs_error *err)
{
    Sql sql;
    Text copy = arena_text(&j->arena, name);
    sql_init(&sql, &j->arena);
    sql_raw(&sql, "INSERT INTO _xs_leases(name,at) VALUES(");
    sql_param(&sql, dbv_text(copy));
    sql_raw(&sql, ",");
    sql_param(&sql, dbv_int(at_ms));
    sql_raw(&sql, ") ON CONFLICT(name) DO UPDATE SET at=excluded.at WHERE at<excluded.at "
                  "RETURNING at");
    sql.failed = sql.failed || !copy.ptr;
    return dbjob_add_step(j, &sql, STEP_ROWS, err);
}

static bool forget(Job *j, int64_t at_ms, xs_error *err)
{
    Sql sql;
    sql_init(&sql, &j->arena);
    sql_raw(&sql, "DELETE FROM _xs_leases WHERE at<");
    sql_param(&sql, dbv_int(at_ms - FORGET_MS));
    return dbjob_add_step(j, &sql, 0, err);
}

static void tell(Job *j)
{
    const Lease *l = j->told_arg;
    l->fn(l->arg, j->nrows > 0, j->err.code == XS_OK ? NULL : &j->err);
}

bool dbpool_lease(DbPool *p, Text name, int64_t at_ms, DbLeased fn, void *arg, xs_error *err)
{
    Job *j = dbjob_new(NULL, JOB_WRITE, err);
    Lease *l = j ? ARENA_NEW(&j->arena, Lease) : NULL;
    bool ok =
        (l || fail_code(err, XS_E_NOMEM)) && take(j, name, at_ms, err) && forget(j, at_ms, err);
    if (!ok) {
        dbjob_free(j);
        return false;
    }
    *l = (Lease){fn, arg};
    j->told = tell;
    j->told_arg = l;
    dbjob_post(p, j);
    return true;
}

bool dbpool_is_private(const DbPool *p)
{
    return p->temp_dir != NULL;
}
