/* rowstream.c - the rows of a db.query of return type stream. They are read some at a time on a
 * connection of their own, which sees the database as it was at the first of them: the worker's own
 * connection goes on for others meanwhile. */
#include "core/mem.h"
#include "stdlib/db/ops.h"
#include "stdlib/db/pool.h"
#include "stdlib/db/query.h"
#include "vm/stream.h"

enum { BATCH_ROWS = 256, BATCH_ROWS_MAX = 4096 };

typedef struct RowStream {
    DbPool *pool;
    xs_db_conn *conn;
    xs_db_stmt *stmt;
    Fiber *fiber; /* runs the addons */
    Query q;      /* holds what the statement binds and what follows */
    const OutCol *outs;
    uint32_t nouts;
    RowShape shape;
    const Const *addons;
    Value keys, rows; /* rows: read and not yet given out */
    uint32_t batch;
    bool done;
} RowStream;

static void rowstream_free(void *source, Heap *h)
{
    RowStream *r = source;
    if (r->conn) {
        r->pool->drv->finish(r->stmt);
        r->pool->drv->close(r->conn);
    }
    val_unref(h, r->keys);
    val_unref(h, r->rows);
    val_unref(h, r->q.temps);
    sql_deinit(&r->q.sql);
    arena_deinit(&r->q.arena);
    mem_free(r);
}

/* Each batch may take as long as a statement, within the time of the request. */
static void limit_time(const RowStream *r)
{
    uint32_t ms = r->pool->opt.statement_ms ? r->pool->opt.statement_ms : 30000;
    int64_t left = fiber_left_ms(r->fiber);
    r->pool->drv->limit(r->conn, left < ms ? left > 0 ? (uint32_t)left : 1 : ms);
}

/* false: err is set. */
static bool read_batch(RowStream *r, Heap *h, xs_error *err)
{
    const xs_dbdriver_ops *drv = r->pool->drv;
    limit_time(r);
    Value rows = list_new(h, r->batch), payload = val_unset();
    bool ok = rows.kind != V_UNSET || heap_fail(h, err);
    while (ok && rows.list->len < r->batch) {
        Value row = val_unset();
        xs_db_step step = drv->step(r->stmt, err);
        r->done = step == XS_DB_DONE;
        if (step != XS_DB_ROW) {
            ok = r->done;
            break;
        }
        ok = (read_row(drv, r->stmt, h, r->outs, r->nouts, r->keys, &row) &&
              list_push(h, &rows, row)) ||
             heap_fail(h, err);
    }
    ok = ok && addons_apply(r->fiber, r->addons, &rows, err, &payload);
    val_unref(h, payload);
    for (uint32_t i = 0; ok && r->shape.any && i < rows.list->len; i++) {
        Value row = val_ref(list_at(rows.list, i));
        ok =
            shape_row(h, &r->shape, &row, err) && (list_set(h, &rows, i, row) || heap_fail(h, err));
    }
    val_unref(h, r->rows);
    r->rows = ok ? rows : val_unset();
    if (!ok)
        val_unref(h, rows);
    return ok;
}

static int rowstream_next(void *source, Heap *h, Value *out, xs_error *err)
{
    RowStream *r = source;
    bool empty = r->rows.kind != V_LIST || !r->rows.list->len;
    if (empty && !r->done && !read_batch(r, h, err))
        return -1;
    if (r->rows.kind != V_LIST || !r->rows.list->len)
        return 0;
    *out = list_shift(h, &r->rows);
    if (out->kind != V_UNSET)
        return 1;
    heap_fail(h, err);
    return -1;
}

static const StreamOps rowstream_ops = {rowstream_next, rowstream_free, NULL};

bool rowstream_open(Query *q, const OutCol *outs, uint32_t nouts, const RowShape *shape,
                    const Const *addons, int64_t batch, Value *out)
{
    Call *c = q->c;
    RowStream *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return call_fail(c, XS_E_NOMEM, NULL);
    *r = (RowStream){.pool = q->db->pool,
                     .fiber = c->fiber,
                     .q = *q,
                     .outs = outs,
                     .nouts = nouts,
                     .shape = *shape,
                     .addons = addons,
                     .keys = row_keys(c->heap, outs, nouts),
                     .rows = val_unset(),
                     .batch = batch < 1                ? BATCH_ROWS
                              : batch > BATCH_ROWS_MAX ? BATCH_ROWS_MAX
                                                       : (uint32_t)batch};
    bool ok = (r->keys.kind != V_UNSET || heap_fail(c->heap, c->err)) &&
              (r->conn = pool_reader(r->pool, c->err)) &&
              (r->stmt = begin_read(c, q->db, r->conn, &r->q.sql));
    q->temps = val_unset(); /* all of it is the stream's now */
    sql_init(&q->sql, &q->arena);
    arena_init(&q->arena, 0);
    if (!ok) {
        rowstream_free(r, c->heap);
        return false;
    }
    *out = stream_new(c->heap, &rowstream_ops, r);
    return out->kind != V_UNSET || heap_fail(c->heap, c->err);
}
