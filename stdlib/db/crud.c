/* crud.c - statements on single rows and sets of rows (runtime.md §3.1, §3.2). A write becomes a
 * job: its text and values are plain data, so that the fiber's heap is out of the game while the
 * writer works. */
#include <stdio.h>

#include "core/text.h"
#include "stdlib/db/ops.h"
#include "stdlib/db/pool.h"
#include "stdlib/db/query.h"
#include "stdlib/db/record.h"

/* ---- jobs and their results ---- */

Value dbjob_result(Heap *h, Fiber *fiber, const Job *j, xs_error *err, Value *payload)
{
    if (j->shape == RES_NULL)
        return val_null();
    if (j->shape == RES_COUNT)
        return val_int(j->changed);
    bool one = j->shape == RES_ROW || j->shape == RES_RAW_SINGLE;
    if (one && !j->rows)
        return val_null();
    Value keys = row_keys(h, j->outs, j->nouts), out = one ? val_null() : list_new(h, j->nrows);
    bool ok = keys.kind != V_UNSET && out.kind != V_UNSET;
    for (const JobRow *r = j->rows; ok && r; r = r->next) {
        Value row = row_build(h, keys, j->outs, j->nouts, r->vals);
        ok = row.kind != V_UNSET && addons_apply(fiber, j->addons, &row, err, payload) &&
             shape_row(h, j->pick, &row, err);
        if (ok && one) {
            out = row;
            break;
        }
        if (!ok)
            val_unref(h, row);
        ok = ok && list_push(h, &out, row);
    }
    val_unref(h, keys);
    if (ok)
        return out;
    val_unref(h, out);
    if (err->code == XS_OK)
        (void)heap_fail(h, err);
    return val_unset();
}

static NativeResult finish_call(Call *c, Job *j)
{
    bool ok = j->err.code == XS_OK || call_db_error(c, &j->err, j->conflict);
    if (ok) {
        Value v = dbjob_result(c->heap, c->fiber, j, c->err, &c->thrown);
        ok = v.kind != V_UNSET;
        if (ok)
            c->ret = v;
    }
    dbjob_free(j);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

NativeResult dbjob_dispatch(Call *c, Job *j)
{
    DbPool *p = j->db->pool;
    j->chain = c->run ? c->run->chain : 0;
    if (db_holds(c->fiber, j->db)) {
        if (!p->drv->in_transaction(p->conn)) {
            (void)xs_fail(&j->err, XS_E_DATABASE, XS_NO_POS,
                          "the database has rolled the transaction back");
        } else {
            dbjob_run(p, p->conn, j);
            atomic_fetch_add(&p->writes, 1);
            txn_keep_changes(c->fiber, j);
        }
        return finish_call(c, j);
    }
    if (c->fiber && j->db->wake && !fiber_db_make(c->fiber, j->db, c->err)) {
        dbjob_free(j);
        return NATIVE_ERROR;
    }
    return dbjob_submit(j, c->fiber) ? finish_call(c, j) : NATIVE_PARK;
}

/* The job a fiber waits for, on whichever data source. */
static Job **find_waiting(Db *root, Fiber *fiber)
{
    for (Db *db = root; db; db = db == root ? root->others : db->sibling)
        for (Job **at = &db->waiting; *at; at = &(*at)->next_wait)
            if ((*at)->fiber == fiber)
                return at;
    return NULL;
}

bool db_finish(Db *db, Fiber *fiber)
{
    Job **at = find_waiting(db, fiber), *j = at ? *at : NULL;
    if (!j)
        return false;
    pthread_mutex_lock(&j->db->pool->lock);
    bool done = j->done;
    pthread_mutex_unlock(&j->db->pool->lock);
    if (!done)
        return false;
    *at = j->next_wait;
    Heap *h = fiber_heap(fiber);
    xs_error err = j->err;
    Value result = val_null(), payload = val_unset();
    if (j->kind != JOB_WRITE) {
        txn_finished(j, fiber, &err);
    } else if (err.code == XS_OK) {
        result = dbjob_result(h, fiber, j, &err, &payload);
        if (result.kind == V_UNSET)
            result = val_null();
    } else if (err.code == XS_E_DUPLICATE) {
        payload = conflict_payload(h, j->conflict);
    }
    dbjob_free(j);
    fiber_resume(fiber, result, &err, payload);
    return true;
}

/* ---- one write statement being made ---- */

typedef struct Write {
    Call *c;
    Db *db;
    const Table *t;
    Job *j;
} Write;

static bool write_begin(Write *w, Call *c, ResultShape shape)
{
    *w = (Write){.c = c, .db = call_db(c)};
    w->t = w->db ? call_table(c) : NULL;
    w->j = w->t ? dbjob_new(w->db, JOB_WRITE, c->err) : NULL;
    if (!w->j)
        return false;
    w->j->shape = shape;
    return true;
}

static NativeResult write_fail(Write *w)
{
    dbjob_free(w->j);
    return NATIVE_ERROR;
}

/* The columns the program gets back, kept in the job for when the row arrives. */
static bool write_outputs(Write *w)
{
    Call *c = w->c;
    if (!call_addons(c, &w->j->arena, &w->j->addons))
        return false;
    RowShape *shape = ARENA_NEW(&w->j->arena, RowShape);
    if (!shape)
        return fail_memory(c);
    w->j->pick = shape;
    return call_outputs(c, &w->j->arena, w->t, NULL, 0, false, &w->j->outs, &w->j->nouts, shape);
}

static bool write_watched_columns(Write *w, Sql *sql)
{
    OutCol *cols = ARENA_ARRAY(&w->j->arena, OutCol, w->t->ncols);
    if (!cols)
        return fail_memory(w->c);
    sql_columns(&sql->text, NULL, cols, watched_columns(w->t, cols));
    return true;
}

/* The columns the program gets (1 for none), then those that are told. */
static bool write_columns(Write *w, Sql *sql, DbAction action)
{
    sql_columns(&sql->text, NULL, w->j->outs, w->j->nouts);
    if (!table_watches(w->t, action))
        return true;
    sql_raw(sql, ",");
    return write_watched_columns(w, sql);
}

static bool write_returning(Write *w, Sql *sql, DbAction action)
{
    sql_raw(sql, " RETURNING ");
    return write_columns(w, sql, action);
}

/* The same for statements whose rows nobody gets. */
static bool write_told(Write *w, Sql *sql, DbAction action)
{
    return !table_watches(w->t, action) || write_returning(w, sql, action);
}

static bool write_add_step(Write *w, Sql *sql, uint32_t flags, DbAction action)
{
    if (!dbjob_add_step(w->j, sql, flags, w->c->err))
        return false;
    JobStep *s = &w->j->steps[w->j->nsteps - 1];
    if (table_watches(w->t, action)) {
        s->watched = w->t;
        s->action = action;
        s->from = w->j->nouts ? w->j->nouts : 1;
    }
    return true;
}

typedef bool (*WhereFn)(Write *w, Sql *sql, void *arg); /* writes a condition */

/* Read what the next step will change. Nothing when nobody watches. */
static bool write_old_step(Write *w, WhereFn where, void *arg)
{
    if (!table_watches(w->t, DB_UPDATE))
        return true;
    Sql sql;
    sql_init(&sql, &w->j->arena);
    sql_raw(&sql, "SELECT ");
    bool ok = write_watched_columns(w, &sql);
    sql_raw(&sql, " FROM ");
    sql_ident(&sql.text, w->t->name);
    sql_raw(&sql, " AS t0");
    if (!ok || !where(w, &sql, arg)) {
        sql_deinit(&sql);
        return false;
    }
    if (!dbjob_add_step(w->j, &sql, STEP_OLD, w->c->err))
        return false;
    w->j->steps[w->j->nsteps - 1].watched = w->t;
    return true;
}

/* field_name, which must be a column, and field_value. */
static bool lookup_clauses(Call *c, const Table *t, const Column **col, Value *value)
{
    Value name = clause_arg(c, "field_name");
    Text n = TEXT("id");
    if (name.kind == V_TEXT)
        n = val_text_view(name);
    else if (!val_is_null(name))
        return fail_param(c, TEXT("field_name"), "Invalid value for param");
    *col = table_column(t, n);
    if (!*col)
        return fail_param(c, n, "Unsupported parameter reference - " TEXT_FMT, TEXT_ARG(n));
    *value = clause_arg(c, "field_value");
    if (val_is_null(*value))
        return fail_param(c, TEXT("field_value"), "Missing param: field_value");
    return true;
}

/* "f" = ?, or 0 when the value fits no row. */
static bool write_match(Call *c, const Table *t, Sql *sql)
{
    const Column *col = NULL;
    Value v;
    xs_db_value bound;
    bool match;
    if (!lookup_clauses(c, t, &col, &v) ||
        !compare_value(c, sql->arena, col, col->type, v, false, &bound, &match))
        return false;
    if (!match) {
        sql_raw(sql, "0");
        return true;
    }
    sql_ident(&sql->text, col->name);
    sql_raw(sql, " = ");
    sql_param(sql, bound);
    return true;
}

/* The one row of the lookup: the lowest key that matches. */
static bool write_where_one(Call *c, const Table *t, Sql *sql)
{
    const Column *col = NULL;
    Value v;
    if (!lookup_clauses(c, t, &col, &v))
        return false;
    sql_raw(sql, " WHERE ");
    if (col == table_id(t))
        return write_match(c, t, sql);
    sql_raw(sql, "\"id\" = (SELECT \"id\" FROM ");
    sql_ident(&sql->text, t->name);
    sql_raw(sql, " WHERE ");
    if (!write_match(c, t, sql))
        return false;
    sql_raw(sql, " ORDER BY \"id\" LIMIT 1)");
    return true;
}

static bool write_select_one(Call *c, const Table *t, const OutCol *outs, uint32_t nouts, Sql *sql)
{
    sql_raw(sql, "SELECT ");
    sql_columns(&sql->text, NULL, outs, nouts);
    sql_raw(sql, " FROM ");
    sql_ident(&sql->text, t->name);
    sql_raw(sql, " WHERE ");
    if (!write_match(c, t, sql))
        return false;
    sql_raw(sql, " ORDER BY \"id\" LIMIT 1");
    return true;
}

/* What the clause `data` gives: pairs of the descriptor, or an object made at run time. */
static bool take_data(Call *c, Record *r)
{
    const Const *pairs = const_get(c->site, "data");
    if (!pairs || pairs->kind != C_LIST)
        return record_set_all(r, clause_arg(c, "data"));
    for (uint32_t i = 0; i < pairs->count; i++) {
        const Const *p = pairs->items[i];
        if (p->kind != C_LIST || p->count < 2)
            return call_fail(c, XS_E_BUG, "bad data in a descriptor");
        Value v = site_value(c, p->items[1]);
        if (v.kind == V_UNSET)
            v = val_null();
        if (!record_set(r, const_text_of(p->items[0], (Text){"", 0}), v, true))
            return false;
    }
    return true;
}

static bool begin_record(Write *w, Record *r)
{
    return record_init(r, &w->j->arena, w->c->heap, w->c->services, w->t, w->c->err, &w->c->thrown);
}

/* ---- db.get, db.has ---- */

NativeResult op_db_get(Call *c)
{
    Db *db = call_db(c);
    const Table *t = db ? call_table(c) : NULL;
    if (!t)
        return NATIVE_ERROR;
    Arena a;
    arena_init(&a, 0);
    Sql sql;
    sql_init(&sql, &a);
    OutCol *outs;
    uint32_t nouts;
    RowShape shape;
    Value rows = val_unset();
    xs_db_conn *conn = NULL;
    const Const *addons;
    bool ok = call_addons(c, &a, &addons) &&
              call_outputs(c, &a, t, NULL, 0, false, &outs, &nouts, &shape) &&
              write_select_one(c, t, outs, nouts, &sql) && (conn = call_reader(c, db)) &&
              read_rows(c, db, conn, &sql, outs, nouts, &rows);
    if (ok && rows.list->len) {
        Value row = val_ref(list_at(rows.list, 0));
        val_unref(c->heap, rows);
        rows = val_unset();
        ok = addons_apply(c->fiber, addons, &row, c->err, &c->thrown) &&
             shape_row(c->heap, &shape, &row, c->err);
        if (ok)
            c->ret = row;
        else
            val_unref(c->heap, row);
    }
    val_unref(c->heap, rows);
    sql_deinit(&sql);
    arena_deinit(&a);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

NativeResult op_db_has(Call *c)
{
    Db *db = call_db(c);
    const Table *t = db ? call_table(c) : NULL;
    if (!t)
        return NATIVE_ERROR;
    Arena a;
    arena_init(&a, 0);
    Sql sql;
    sql_init(&sql, &a);
    sql_raw(&sql, "SELECT EXISTS(SELECT 1 FROM ");
    sql_ident(&sql.text, t->name);
    sql_raw(&sql, " WHERE ");
    xs_db_conn *conn = NULL;
    int64_t n = 0;
    bool ok = write_match(c, t, &sql) && (sql_raw(&sql, ")"), conn = call_reader(c, db)) &&
              read_int(c, db, conn, &sql, &n);
    if (ok)
        c->ret = val_bool(n != 0);
    sql_deinit(&sql);
    arena_deinit(&a);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

/* ---- db.add, db.edit, db.patch, db.add_or_edit, db.del ---- */

/* SELECT what the program gets, and what is told, FROM the table. */
static bool write_select(Write *w, Sql *sql, DbAction action)
{
    sql_raw(sql, "SELECT ");
    bool ok = write_columns(w, sql, action);
    sql_raw(sql, " FROM ");
    sql_ident(&sql->text, w->t->name);
    return ok;
}

/* The rows of the newest step are those of this query: RETURNING makes a table of its own for them,
 * which costs more than the rest of a write. */
static bool write_read_back(Write *w, Sql *sql)
{
    JobStep *query = ARENA_NEW(&w->j->arena, JobStep);
    if (!query)
        return fail_memory(w->c);
    *query = (JobStep){.vals = sql->vals, .nvals = sql->nvals};
    w->j->steps[w->j->nsteps - 1].read_back = query;
    return sql_copy(sql, &w->j->arena, &query->sql, w->c->err);
}

static bool insert_step(Write *w, Record *r, uint32_t flags)
{
    Sql sql, row;
    sql_init(&sql, &w->j->arena);
    if (!record_check(r, true) || !record_write_insert(r, &sql)) {
        sql_deinit(&sql);
        return false;
    }
    if (!write_add_step(w, &sql, flags | STEP_ROWS, DB_INSERT))
        return false;
    sql_init(&row, &w->j->arena);
    bool ok = write_select(w, &row, DB_INSERT);
    sql_raw(&row, " WHERE rowid = last_insert_rowid()");
    ok = ok && write_read_back(w, &row);
    sql_deinit(&row);
    return ok;
}

static bool where_one(Write *w, Sql *sql, void *arg)
{
    (void)arg;
    return write_where_one(w->c, w->t, sql);
}

/* Change the one row. keyed: the condition is on its key, which stays, so that it finds the row
 * again. */
static bool update_one(Write *w, Record *r, uint32_t flags, WhereFn where, void *arg, bool keyed)
{
    bool changes = record_has_changes(r);
    if (changes && !write_old_step(w, where, arg))
        return false;
    Sql sql, row;
    sql_init(&sql, &w->j->arena);
    bool ok;
    if (!changes) { /* nothing to write: the row as it is */
        ok = write_select(w, &sql, 0) && where(w, &sql, arg);
    } else {
        sql_raw(&sql, "UPDATE ");
        sql_ident(&sql.text, w->t->name);
        sql_raw(&sql, " SET ");
        ok = record_write_set(r, &sql) && where(w, &sql, arg) &&
             (keyed || write_returning(w, &sql, DB_UPDATE));
    }
    if (!ok) {
        sql_deinit(&sql);
        return false;
    }
    if (!write_add_step(w, &sql, flags | STEP_ROWS, changes ? DB_UPDATE : 0))
        return false;
    if (!changes || !keyed)
        return true;
    sql_init(&row, &w->j->arena);
    ok = write_select(w, &row, DB_UPDATE) && where(w, &row, arg) && write_read_back(w, &row);
    sql_deinit(&row);
    return ok;
}

static bool update_step(Write *w, Record *r, uint32_t flags)
{
    const Column *by = NULL;
    Value v;
    return record_check(r, false) && lookup_clauses(w->c, w->t, &by, &v) &&
           update_one(w, r, flags, where_one, NULL, by == table_id(w->t));
}

NativeResult op_db_add(Call *c)
{
    Write w;
    Record r = {0};
    if (!write_begin(&w, c, RES_ROW))
        return NATIVE_ERROR;
    bool ok =
        write_outputs(&w) && begin_record(&w, &r) && take_data(c, &r) && insert_step(&w, &r, 0);
    record_deinit(&r);
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

NativeResult op_db_edit(Call *c)
{
    Write w;
    Record r = {0};
    if (!write_begin(&w, c, RES_ROW))
        return NATIVE_ERROR;
    bool ok = write_outputs(&w) && begin_record(&w, &r) && take_data(c, &r) &&
              update_step(&w, &r, STEP_MUST_HIT);
    record_deinit(&r);
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

NativeResult op_db_patch(Call *c)
{
    return op_db_edit(c); /* data is any expression, which take_data knows */
}

NativeResult op_db_add_or_edit(Call *c)
{
    Write w;
    Record edit = {0}, add = {0};
    const Column *col = NULL;
    Value v;
    if (!write_begin(&w, c, RES_ROW))
        return NATIVE_ERROR;
    bool ok = write_outputs(&w) && lookup_clauses(c, w.t, &col, &v) && begin_record(&w, &edit) &&
              begin_record(&w, &add) && take_data(c, &edit) && take_data(c, &add);
    if (ok && val_is_null(add.vals[col - w.t->cols]))
        ok = record_set(&add, col->name, val_ref(v), true);
    ok = ok && update_step(&w, &edit, 0) && insert_step(&w, &add, STEP_IF_NONE);
    record_deinit(&edit);
    record_deinit(&add);
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

NativeResult op_db_del(Call *c)
{
    Write w;
    if (!write_begin(&w, c, RES_NULL))
        return NATIVE_ERROR;
    Sql sql;
    sql_init(&sql, &w.j->arena);
    sql_raw(&sql, "DELETE FROM ");
    sql_ident(&sql.text, w.t->name);
    bool ok = write_where_one(c, w.t, &sql) && write_told(&w, &sql, DB_DELETE);
    if (!ok)
        sql_deinit(&sql);
    ok = ok && write_add_step(&w, &sql, STEP_MUST_HIT, DB_DELETE);
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

/* ---- sets ---- */

/* " WHERE …" of the descriptor's predicate on t0. */
static bool write_where(Write *w, Sql *sql, bool *any)
{
    Query q;
    query_init(&q, w->c, w->db);
    arena_deinit(&q.arena);
    Buf pred = BUF_INIT;
    q.arena = w->j->arena; /* values live as long as the job */
    q.sql = *sql;
    q.sql.arena = &q.arena;
    bool ok = query_add_source(&q, w->t->name, w->t) &&
              pred_write(&q, const_get(w->c->site, "where"), &pred, any);
    w->j->arena = q.arena;
    arena_init(&q.arena, 0);
    *sql = q.sql;
    sql->arena = &w->j->arena;
    q.sql.text = BUF_INIT;
    query_deinit(&q);
    if (ok && *any) {
        sql_raw(sql, " WHERE ");
        buf_text(&sql->text, buf_view(&pred));
    }
    sql->failed = sql->failed || pred.failed;
    buf_deinit(&pred);
    return ok;
}

static bool old_where(Write *w, Sql *sql, void *arg)
{
    (void)arg;
    bool any;
    return write_where(w, sql, &any);
}

static bool items_of(Call *c, Value *items)
{
    *items = clause_arg(c, "items");
    if (!call_drain(c, items))
        return false;
    if (items->kind == V_LIST)
        return true;
    return fail_param(c, TEXT("items"),
                      val_is_null(*items) ? "Missing param: items" : "Invalid value for param");
}

static bool bulk_item(Write *w, Value item, Record *r)
{
    return begin_record(w, r) && record_set_all(r, item);
}

NativeResult op_db_bulk_add(Call *c)
{
    Write w;
    Value items;
    if (!write_begin(&w, c, RES_ROWS))
        return NATIVE_ERROR;
    bool keep_id = val_truthy(clause_arg(c, "allow_id_field"));
    bool ok = write_outputs(&w) && items_of(c, &items);
    for (uint32_t i = 0; ok && i < items.list->len; i++) {
        Record r = {0};
        ok = bulk_item(&w, list_at(items.list, i), &r) &&
             (keep_id || record_set(&r, TEXT("id"), val_null(), true)) && insert_step(&w, &r, 0);
        record_deinit(&r);
    }
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

typedef struct ById {
    xs_db_value id;
    bool match;
} ById;

static bool where_id(Write *w, Sql *sql, void *arg)
{
    (void)w;
    const ById *by = arg;
    sql_raw(sql, by->match ? " WHERE \"id\" = " : " WHERE 0 AND \"id\" = ");
    sql_param(sql, by->id);
    return true;
}

static bool update_by_id(Write *w, Record *r, bool replace)
{
    Value id = val_ref(r->vals[w->t->id]);
    const Column *key = table_id(w->t);
    ById by = {dbv_null(), false};
    bool ok = !val_is_null(id) || fail_param(w->c, TEXT("id"), "Missing param: id");
    ok = ok && compare_value(w->c, &w->j->arena, key, key->type, id, false, &by.id, &by.match);
    val_unref(w->c->heap, id);
    /* replace: what is not given gets its default, like a new row */
    return ok && record_check(r, replace) && update_one(w, r, STEP_MUST_HIT, where_id, &by, true);
}

static bool change_where(Write *w, Record *r, bool *none)
{
    bool any;
    Sql sql;
    *none = false;
    if (!begin_record(w, r) || !take_data(w->c, r) || !record_check(r, false))
        return false;
    *none = !record_has_changes(r);
    if (*none)
        return true;
    if (!write_old_step(w, old_where, NULL))
        return false;
    sql_init(&sql, &w->j->arena);
    sql_raw(&sql, "UPDATE ");
    sql_ident(&sql.text, w->t->name);
    sql_raw(&sql, " AS t0 SET ");
    if (record_write_set(r, &sql) && write_where(w, &sql, &any) && write_told(w, &sql, DB_UPDATE))
        return write_add_step(w, &sql, 0, DB_UPDATE);
    sql_deinit(&sql);
    return false;
}

static NativeResult bulk_change(Call *c, bool replace)
{
    Write w;
    Value items = clause_arg(c, "items");
    bool by_where = val_is_null(items) && const_get(c->site, "where"), none = false;
    if (!write_begin(&w, c, by_where ? RES_COUNT : RES_ROWS))
        return NATIVE_ERROR;
    Record r = {0};
    bool ok = by_where ? change_where(&w, &r, &none) : write_outputs(&w) && items_of(c, &items);
    record_deinit(&r);
    if (ok && none) {
        dbjob_free(w.j);
        c->ret = val_int(0);
        return NATIVE_OK;
    }
    for (uint32_t i = 0; ok && !by_where && i < items.list->len; i++) {
        ok = bulk_item(&w, list_at(items.list, i), &r) && update_by_id(&w, &r, replace);
        record_deinit(&r);
    }
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

NativeResult op_db_bulk_update(Call *c)
{
    return bulk_change(c, true);
}

NativeResult op_db_bulk_patch(Call *c)
{
    return bulk_change(c, false);
}

NativeResult op_db_bulk_delete(Call *c)
{
    Write w;
    bool any = false;
    if (!write_begin(&w, c, RES_COUNT))
        return NATIVE_ERROR;
    Sql sql;
    sql_init(&sql, &w.j->arena);
    sql_raw(&sql, "DELETE FROM ");
    sql_ident(&sql.text, w.t->name);
    sql_raw(&sql, " AS t0");
    bool ok = write_where(&w, &sql, &any);
    if (ok && !any)
        ok = fail_param(c, TEXT("where"), "Missing param: where");
    ok = ok && write_told(&w, &sql, DB_DELETE);
    if (!ok)
        sql_deinit(&sql);
    ok = ok && write_add_step(&w, &sql, 0, DB_DELETE);
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

NativeResult op_db_truncate(Call *c)
{
    Write w;
    if (!write_begin(&w, c, RES_NULL))
        return NATIVE_ERROR;
    Sql sql;
    sql_init(&sql, &w.j->arena);
    sql_raw(&sql, "DELETE FROM ");
    sql_ident(&sql.text, w.t->name);
    bool ok = write_add_step(&w, &sql, 0, DB_TRUNCATE);
    if (ok && val_truthy(clause_arg(c, "reset")) && table_id(w.t)->type.kind == CK_INT) {
        sql_init(&sql, &w.j->arena);
        sql_raw(&sql, "DELETE FROM sqlite_sequence WHERE name = ");
        sql_param(&sql, dbv_text(w.t->name));
        ok = write_add_step(&w, &sql, 0, 0);
    }
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

NativeResult op_db_increment(Call *c)
{
    Write w;
    Value type = clause_arg(c, "return_type"), name = clause_arg(c, "field_name"),
          by = clause_arg(c, "value"), n;
    bool count = type.kind == V_TEXT && text_eq(val_text_view(type), TEXT("count")), any;
    if (!write_begin(&w, c, count ? RES_COUNT : RES_ROWS))
        return NATIVE_ERROR;
    Sql sql;
    sql_init(&sql, &w.j->arena);
    Text field = name.kind == V_TEXT ? val_text_view(name) : (Text){"", 0};
    const Column *col = table_column(w.t, field);
    bool ok =
        (col && col != table_id(w.t) && (col->type.kind == CK_INT || col->type.kind == CK_DEC)) ||
        fail_param(c, field, "Unsupported parameter reference - " TEXT_FMT, TEXT_ARG(field));
    xs_db_value bound = dbv_int(1);
    bool match = true;
    if (ok && !val_is_null(by))
        ok = val_number(by, &n, c->err) &&
             compare_value(c, &w.j->arena, col, col->type, n, true, &bound, &match);
    if (ok && col->type.kind == CK_INT && bound.type == XS_DB_REAL)
        ok = fail_param(c, TEXT("value"), "Invalid value for param");
    ok = ok && write_outputs(&w) && write_old_step(&w, old_where, NULL);
    if (ok) {
        sql_raw(&sql, "UPDATE ");
        sql_ident(&sql.text, w.t->name);
        sql_raw(&sql, " AS t0 SET ");
        sql_ident(&sql.text, col->name);
        sql_raw(&sql, " = ifnull(");
        sql_ident(&sql.text, col->name);
        sql_raw(&sql, ",0) + ");
        sql_param(&sql, bound);
        ok = write_where(&w, &sql, &any) && write_returning(&w, &sql, DB_UPDATE);
    }
    if (!ok)
        sql_deinit(&sql);
    ok = ok && write_add_step(&w, &sql, STEP_ROWS, DB_UPDATE);
    return ok ? dbjob_dispatch(c, w.j) : write_fail(&w);
}

/* ---- db.schema ---- */

static bool put(Call *c, Value *map, const char *key, Value v)
{
    if (v.kind == V_UNSET)
        return fail_memory(c);
    return map_set_text(c->heap, map, text_from(key), v) || fail_memory(c);
}

static Value describe(Call *c, const Const *f)
{
    Heap *h = c->heap;
    Value m = map_new(h, 8), style = map_new(h, 1);
    bool optional = const_bool_of(const_get(f, "optional"), false),
         nullable = const_bool_of(const_get(f, "nullable"), false);
    const Const *def = const_get(f, "default");
    Text access = const_get_text(f, "visibility"), doc = const_get_text(f, "description");
    bool now = const_bool_of(const_get(def, "now"), false);
    if (m.kind == V_UNSET || style.kind == V_UNSET ||
        !put(c, &m, "name", text_new(h, const_get_text(f, "name"))) ||
        !put(c, &m, "type", text_new(h, const_get_text(f, "type"))) ||
        !put(c, &m, "nullable", val_bool(nullable)) ||
        !put(c, &m, "default",
             now   ? text_new(h, TEXT("now"))
             : def ? val_from_const(h, def)
                   : val_null()) ||
        !put(c, &m, "required", val_bool(!optional)) ||
        !put(c, &m, "access", text_new(h, access.len ? access : TEXT("public"))) ||
        !put(c, &style, "type",
             text_new(h, const_bool_of(const_get(f, "list"), false) ? TEXT("list")
                                                                    : TEXT("single")))) {
        val_unref(h, style);
        val_unref(h, m);
        (void)fail_memory(c);
        return val_unset();
    }
    if (!put(c, &m, "style", style) ||
        !put(c, &m, "description", text_new(h, doc.ptr ? doc : TEXT("")))) {
        val_unref(h, m);
        return val_unset();
    }
    return m;
}

NativeResult op_db_schema(Call *c)
{
    const Table *t = call_table(c);
    if (!t)
        return NATIVE_ERROR;
    const Const *fields = const_get(t->def, "fields");
    Value path = clause_arg(c, "path");
    Text rest = path.kind == V_TEXT ? val_text_view(path) : (Text){"", 0};
    while (rest.len && fields) {
        size_t dot = text_find(rest, TEXT("."), 0);
        Text one = text_slice(rest, 0, dot == SIZE_MAX ? rest.len : dot);
        rest = dot == SIZE_MAX ? (Text){"", 0} : text_slice(rest, dot + 1, rest.len);
        const Const *next = NULL;
        for (uint32_t i = 0; i < fields->count; i++)
            if (text_eq(const_get_text(fields->items[i], "name"), one))
                next = const_get(fields->items[i], "fields");
        fields = next;
    }
    Value list = list_new(c->heap, 8);
    bool ok = list.kind != V_UNSET || fail_memory(c);
    for (uint32_t i = 0; ok && fields && fields->kind == C_LIST && i < fields->count; i++) {
        Value f = describe(c, fields->items[i]);
        ok = f.kind != V_UNSET && (list_push(c->heap, &list, f) || fail_memory(c));
    }
    if (!ok) {
        val_unref(c->heap, list);
        return NATIVE_ERROR;
    }
    c->ret = list;
    return NATIVE_OK;
}

/* ---- db.direct_query ---- */

static bool direct_args(Call *c, Sql *sql)
{
    Value arg = clause_arg(c, "arg");
    if (arg.kind == V_LIST && arg.list->len == 1 && list_at(arg.list, 0).kind == V_LIST)
        arg = list_at(arg.list, 0); /* one list of all */
    for (uint32_t i = 0; arg.kind == V_LIST && i < arg.list->len; i++) {
        xs_db_value v;
        if (!row_encode(sql->arena, (ColType){CK_ANY, CK_ANY}, list_at(arg.list, i), &v, c->err))
            return false;
        (void)sql_bind(sql, v);
    }
    return true;
}

static bool direct_clauses(Call *c, Text *sql, bool *single, bool *template)
{
    Value s = clause_arg(c, "sql"), type = clause_arg(c, "response_type"),
          parser = clause_arg(c, "parser");
    if (s.kind != V_TEXT)
        return call_fail(c, XS_E_NOT_TEXT, "%s: sql is not a text", c->name);
    *template = parser.kind == V_TEXT && text_eq(val_text_view(parser), TEXT("template_engine"));
    *sql = val_text_view(s);
    *single = type.kind == V_TEXT && text_eq(val_text_view(type), TEXT("single"));
    return true;
}

NativeResult op_db_direct_query(Call *c)
{
    Db *db = call_db(c);
    Text text = {0};
    bool single = false, template = false;
    if (!db || !direct_clauses(c, &text, &single, &template))
        return NATIVE_ERROR;
    Job *j = dbjob_new(db, JOB_WRITE, c->err);
    if (!j)
        return NATIVE_ERROR;
    j->shape = single ? RES_RAW_SINGLE : RES_RAW_LIST;
    Sql sql;
    sql_init(&sql, &j->arena);
    xs_db_conn *conn = NULL;
    uint32_t scope = ((const StatementInfo *)c->row)->nclauses; /* variables, input, auth */
    bool ok = template ? sql_template(c, &sql, text, call_arg(c, scope), call_arg(c, scope + 1),
                                      call_arg(c, scope + 2), NULL)
                       : (buf_text(&sql.text, text), direct_args(c, &sql));
    if (!ok)
        sql_deinit(&sql);
    ok = ok && dbjob_add_step(j, &sql, STEP_RAW | STEP_ROWS, c->err) && (conn = call_reader(c, db));
    text = ok ? j->steps[0].sql : text;
    const xs_dbdriver_ops *drv = db->pool->drv;
    xs_db_stmt *st = ok ? drv->prepare(conn, text.ptr, text.len, XS_DB_UNTRUSTED, c->err) : NULL;
    if (!st) {
        dbjob_free(j);
        return NATIVE_ERROR;
    }
    bool readonly = drv->readonly(st);
    drv->finish(st);
    if (!readonly)
        return dbjob_dispatch(c, j);
    dbjob_run(db->pool, conn, j);
    return finish_call(c, j);
}
