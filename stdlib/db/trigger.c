/* trigger.c - the condition of a table trigger: its predicate on the one row that changed, which
 * the database sees as a table made of parameters. */
#include "core/text.h"
#include "stdlib/db/ops.h"
#include "stdlib/db/query.h"

/* "(SELECT ?1 AS "id", …) t0" */
static bool write_row(Query *q, const Table *t, Value row, Buf *out)
{
    buf_cstr(out, "(SELECT ");
    for (uint32_t i = 0; i < t->ncols; i++) {
        const Column *col = &t->cols[i];
        const Value *v = map_find(row.map, col->name);
        xs_db_value bound = dbv_null();
        if (v && !val_is_null(*v) && !row_encode(&q->arena, col->type, *v, &bound, q->c->err))
            return false;
        buf_printf(out, "%s?%u AS ", i ? "," : "", sql_bind(&q->sql, bound));
        sql_ident(out, col->name);
    }
    buf_cstr(out, ") t0");
    return true;
}

NativeResult op_db_trigger_where(Call *c)
{
    Db *db = call_db(c);
    const Table *t = db ? call_table(c) : NULL;
    if (!t)
        return NATIVE_ERROR;
    Value input = clause_arg(c, "input"), action = map_get_cstr(input, "action");
    bool deleted = action.kind == V_TEXT && text_eq(val_text_view(action), TEXT("delete"));
    Value row = map_get_cstr(input, deleted ? "old" : "new");
    if (row.kind != V_MAP || row.map->count == 0) { /* truncate: there is no row */
        c->ret = val_bool(false);
        return NATIVE_OK;
    }
    Query q;
    query_init(&q, c, db);
    Buf from = BUF_INIT, where = BUF_INIT;
    bool any = false;
    int64_t n = 0;
    bool ok = query_add_source(&q, t->name, t) && write_row(&q, t, row, &from) &&
              pred_write(&q, const_get(c->site, "where"), &where, &any);
    if (ok) {
        buf_printf(&q.sql.text, "SELECT EXISTS(SELECT 1 FROM " TEXT_FMT " WHERE " TEXT_FMT ")",
                   TEXT_ARG(buf_view(&from)), any ? (int)where.len : 1, any ? where.ptr : "1");
        q.sql.failed = q.sql.failed || from.failed || where.failed;
        xs_db_conn *conn = call_reader(c, db);
        ok = conn && read_int(c, db, conn, &q.sql, &n);
    }
    buf_deinit(&from);
    buf_deinit(&where);
    query_deinit(&q);
    if (ok)
        c->ret = val_bool(n != 0);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}
