/* statement.c - what every db statement does first and last: its table, its clauses, the connection
 * that reads, the columns of `output`, errors with their payload. */
#include <stdarg.h>
#include <stdio.h>

#include "core/text.h"
#include "stdlib/db/ops.h"

bool fail_memory(Call *c)
{
    return heap_error(c->heap) != XS_OK ? heap_fail(c->heap, c->err)
                                        : fail_code(c->err, XS_E_NOMEM);
}

static void set_thrown(Call *c, Value v)
{
    val_unref(c->heap, c->thrown);
    c->thrown = v;
}

bool fail_param(Call *c, Text param, const char *fmt, ...)
{
    char message[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    Value payload = map_new(c->heap, 1);
    Value name = payload.kind == V_UNSET ? payload : text_new(c->heap, param);
    if (name.kind == V_UNSET || !map_set_text(c->heap, &payload, TEXT("param"), name)) {
        val_unref(c->heap, payload);
        return fail_memory(c);
    }
    set_thrown(c, payload);
    return call_fail(c, XS_E_INPUTERROR, "%s", message);
}

Value clause_arg(const Call *c, const char *name)
{
    uint32_t i;
    const StatementInfo *row = c->row;
    if (!row || !statement_clause(row, text_from(name), &i))
        return val_unset();
    return call_arg(c, i + (row->operand == OPR_EXPR || row->operand == OPR_VAR));
}

Value site_value(Call *c, const Const *v)
{
    const Const *p = const_get(v, "p");
    if (p) {
        int64_t i = const_int_of(p, -1);
        Value a = i < 0 || i >= c->nargs ? val_unset() : c->args[i];
        return val_ref(a);
    }
    const Const *k = const_get(v, "k");
    if (!k)
        return val_unset();
    Value out = val_from_const(c->heap, k);
    if (out.kind == V_UNSET)
        (void)fail_memory(c);
    return out;
}

/* ---- data sources: 0 the run's own, 1 the first one, 2 and on the others in their order ---- */

static uint8_t source_number(const Db *root, Text name)
{
    uint8_t n = 2;
    if (text_eq(name, root->pool->name))
        return 1;
    for (const Db *db = root->others; db; db = db->sibling, n++)
        if (text_eq(db->pool->name, name))
            return n;
    return 0;
}

static Db *source_at(Db *root, uint8_t number)
{
    Db *db = number > 1 ? root->others : root;
    for (; db && number > 2; number--)
        db = db->sibling;
    return db ? db : root;
}

Db *call_db(Call *c)
{
    Db *db = c->services ? c->services->db : NULL;
    if (!db) {
        (void)call_fail(c, XS_E_UNSUPPORTED, "%s: no database is open", c->name ? c->name : "db");
        return NULL;
    }
    uint8_t chosen = c->fiber && db->others ? fiber_source(c->fiber) : 0;
    if (!chosen && db->others && c->run && c->run->datasource.len)
        chosen = source_number(db, c->run->datasource);
    return source_at(db, chosen);
}

NativeResult op_db_set_datasource(Call *c)
{
    Db *root = c->services ? c->services->db : NULL;
    Value v = clause_arg(c, "value");
    Text name = v.kind == V_TEXT ? val_text_view(v) : TEXT("");
    uint8_t number = root ? source_number(root, name) : 0;
    if (!number && (!c->run || !name.len || !text_eq(name, c->run->datasource))) {
        (void)call_fail(c, XS_E_BADREQUEST, "Unknown data source '" TEXT_FMT "'", TEXT_ARG(name));
        return NATIVE_ERROR;
    }
    if (c->fiber)
        fiber_set_source(c->fiber, number);
    return NATIVE_OK;
}

const Table *call_table(Call *c)
{
    Db *db = call_db(c);
    if (!db)
        return NULL;
    Text name = const_get_text(c->site, "name");
    Value named = clause_arg(c, "table"); /* of db.schema */
    if (!name.len && named.kind == V_TEXT)
        name = val_text_view(named);
    const Table *t = schema_find(&db->pool->schema, name);
    if (!t)
        (void)call_fail(c, XS_E_DATABASE, "%s: there is no table '" TEXT_FMT "'",
                        c->name ? c->name : "db", TEXT_ARG(name));
    return t;
}

xs_db_conn *call_reader(Call *c, Db *db)
{
    atomic_fetch_add(&db->pool->reads, 1);
    if (!db_holds(c->fiber, db))
        return db->reader;
    if (db->pool->drv->in_transaction(db->pool->conn))
        return db->pool->conn;
    (void)call_fail(c, XS_E_DATABASE, "the database has rolled the transaction back");
    return NULL;
}

/* ---- errors ---- */

Value conflict_payload(Heap *h, Text conflict)
{
    Value payload = map_new(h, 2), fields = list_new(h, 2);
    Text table = {"", 0};
    bool ok = payload.kind != V_UNSET && fields.kind != V_UNSET;
    for (size_t at = 0; ok && at < conflict.len;) {
        size_t end = text_find(conflict, TEXT(", "), at);
        if (end == SIZE_MAX)
            end = conflict.len;
        Text one = text_slice(conflict, at, end);
        size_t dot = text_find(one, TEXT("."), 0);
        if (dot != SIZE_MAX) {
            table = text_slice(one, 0, dot);
            Value f = text_new(h, text_slice(one, dot + 1, one.len));
            ok = f.kind != V_UNSET && list_push(h, &fields, f);
        }
        at = end + 2;
    }
    Value name = ok ? text_new(h, table) : val_unset();
    if (name.kind != V_UNSET && map_set_text(h, &payload, TEXT("table"), name)) {
        if (map_set_text(h, &payload, TEXT("fields"), fields))
            return payload;
    } else {
        val_unref(h, fields);
    }
    val_unref(h, payload);
    return val_unset();
}

bool call_db_error(Call *c, const xs_error *err, Text conflict)
{
    if (err->code == XS_E_DUPLICATE)
        set_thrown(c, conflict_payload(c->heap, conflict));
    if (c->err)
        *c->err = *err;
    return false;
}

/* ---- reading ---- */

xs_db_stmt *begin_read(Call *c, Db *db, xs_db_conn *conn, const Sql *sql)
{
    const xs_dbdriver_ops *drv = db->pool->drv;
    if (!sql_ok(sql, c->err))
        return NULL;
    xs_db_stmt *st = drv->prepare(conn, sql->text.ptr, sql->text.len, 0, c->err);
    unsigned n = st ? drv->params(st) : 0; /* values of removed predicates stay unused */
    for (uint32_t i = 0; i < sql->nvals && i < n; i++)
        if (!drv->bind(st, i + 1, &sql->vals[i], c->err)) {
            drv->finish(st);
            return NULL;
        }
    return st;
}

bool read_row(const xs_dbdriver_ops *drv, xs_db_stmt *st, Heap *h, const OutCol *outs,
              uint32_t nouts, Value keys, Value *row)
{
    bool ok = (*row = map_new(h, nouts)).kind != V_UNSET;
    for (uint32_t i = 0; ok && i < nouts; i++) {
        xs_db_value cell;
        drv->column(st, i, &cell);
        Value v = row_decode(h, outs[i].type, &cell);
        ok = v.kind != V_UNSET && map_set(h, row, val_ref(list_at(keys.list, i)), v);
    }
    if (!ok)
        val_unref(h, *row);
    return ok;
}

bool read_rows(Call *c, Db *db, xs_db_conn *conn, const Sql *sql, const OutCol *outs,
               uint32_t nouts, Value *list)
{
    const xs_dbdriver_ops *drv = db->pool->drv;
    Heap *h = c->heap;
    xs_db_stmt *st = begin_read(c, db, conn, sql);
    if (!st)
        return false;
    Value rows = list_new(h, 8), keys = row_keys(h, outs, nouts);
    bool ok = (rows.kind != V_UNSET && keys.kind != V_UNSET) || fail_memory(c);
    while (ok) {
        xs_db_step r = drv->step(st, c->err);
        if (r != XS_DB_ROW) {
            ok = r == XS_DB_DONE;
            break;
        }
        Value row;
        ok = (read_row(drv, st, h, outs, nouts, keys, &row) && list_push(h, &rows, row)) ||
             fail_memory(c);
    }
    drv->finish(st);
    val_unref(h, keys);
    if (ok)
        *list = rows;
    else
        val_unref(h, rows);
    return ok;
}

bool read_int(Call *c, Db *db, xs_db_conn *conn, const Sql *sql, int64_t *out)
{
    const xs_dbdriver_ops *drv = db->pool->drv;
    xs_db_stmt *st = begin_read(c, db, conn, sql);
    if (!st)
        return false;
    xs_db_step r = drv->step(st, c->err);
    xs_db_value v = dbv_int(0);
    if (r == XS_DB_ROW)
        drv->column(st, 0, &v);
    *out = v.type == XS_DB_INT ? v.i : 0;
    drv->finish(st);
    return r != XS_DB_FAIL;
}

/* ---- output ---- */

static const char *const envelope_keys[] = {"itemsReceived", "curPage",    "nextPage",
                                            "prevPage",      "offset",     "perPage",
                                            "items",         "itemsTotal", "pageTotal"};

static int envelope_key(Text name)
{
    for (size_t i = 0; i < COUNT_OF(envelope_keys); i++)
        if (text_eq(name, text_from(envelope_keys[i])))
            return (int)i;
    return -1;
}

enum { ENVELOPE_ITEMS = 6 };

static Pick *find_pick(RowShape *s, Text name)
{
    for (uint32_t i = 0; i < s->npicks; i++)
        if (text_eq(s->picks[i].name, name))
            return &s->picks[i];
    return NULL;
}

static bool add_pick(Arena *a, RowShape *s, Text name, uint32_t cap)
{
    size_t dot = text_find(name, TEXT("."), 0);
    Text head = dot == SIZE_MAX ? name : text_slice(name, 0, dot);
    Pick *p = find_pick(s, head);
    bool fresh = !p;
    if (fresh) {
        p = &s->picks[s->npicks++];
        *p = (Pick){.name = head};
    }
    if (dot == SIZE_MAX) {
        p->nsubs = 0;
        p->whole = true;
        return true;
    }
    if (p->whole)
        return true;
    if (!p->subs)
        p->subs = ARENA_ARRAY(a, Text, cap);
    if (!p->subs)
        return false;
    p->subs[p->nsubs++] = text_slice(name, dot + 1, name.len);
    s->any = true;
    return true;
}

/* The names of `output`: of the descriptor, or a list made at run time. */
static bool output_names(Call *c, Arena *a, Text **names, uint32_t *n)
{
    const Const *site = const_get(c->site, "output");
    Value v = clause_arg(c, "output");
    *n = 0;
    uint32_t cap = site && site->kind == C_LIST ? site->count : v.kind == V_LIST ? v.list->len : 0;
    *names = ARENA_ARRAY(a, Text, cap + 1);
    if (!*names)
        return fail_memory(c);
    for (uint32_t i = 0; i < cap; i++) {
        Text t = {0};
        if (site && site->kind == C_LIST)
            t = const_text_of(site->items[i], t);
        else if (list_at(v.list, i).kind == V_TEXT)
            t = arena_text(a, val_text_view(list_at(v.list, i)));
        if (t.ptr && t.len)
            (*names)[(*n)++] = t;
    }
    return true;
}

static const OutCol *find_out(const OutCol *outs, uint32_t n, Text name)
{
    for (uint32_t i = 0; i < n; i++)
        if (text_eq(outs[i].name, name))
            return &outs[i];
    return NULL;
}

/* Columns the inputs of addons read: {"out": ["column", …]}. */
static bool addon_columns(Call *c, Arena *a, const Text **names, uint32_t *n)
{
    const Const *list = const_get(c->site, "addon");
    uint32_t cap = 0;
    *names = NULL;
    *n = 0;
    if (!list || list->kind != C_LIST)
        return true;
    for (uint32_t i = 0; i < list->count; i++) {
        const Const *in = const_get(list->items[i], "input");
        cap += in && in->kind == C_LIST ? in->count : 0;
    }
    Text *out = ARENA_ARRAY(a, Text, cap + 1);
    if (!out)
        return fail_memory(c);
    for (uint32_t i = 0; i < list->count; i++) {
        const Const *in = const_get(list->items[i], "input");
        for (uint32_t k = 0; in && in->kind == C_LIST && k < in->count; k++) {
            const Const *pair = in->items[k];
            const Const *path =
                pair->kind == C_LIST && pair->count > 1 ? const_get(pair->items[1], "out") : NULL;
            if (path && path->kind == C_LIST && path->count)
                out[(*n)++] = const_text_of(path->items[0], (Text){"", 0});
        }
    }
    *names = out;
    return true;
}

/* Select them too and take them out again in the end. */
static bool hide_columns(Call *c, Arena *a, const Table *t, const Text *names, uint32_t n,
                         OutCol *outs, uint32_t *nouts, RowShape *shape)
{
    Text *hidden = n ? ARENA_ARRAY(a, Text, n) : NULL;
    if (n && !hidden)
        return fail_memory(c);
    for (uint32_t i = 0; i < n; i++) {
        const Column *col = table_column(t, names[i]);
        if (!col || find_out(outs, *nouts, names[i]))
            continue;
        outs[(*nouts)++] = (OutCol){col->name, col->type};
        hidden[shape->nhidden++] = col->name;
        shape->any = true;
    }
    shape->hidden = hidden;
    return true;
}

bool call_outputs(Call *c, Arena *a, const Table *t, const OutCol *evals, uint32_t nevals,
                  bool envelope, OutCol **outs, uint32_t *nouts, RowShape *shape)
{
    Text *names;
    uint32_t n;
    *shape = (RowShape){0};
    *nouts = 0;
    if (!output_names(c, a, &names, &n))
        return false;
    shape->picks = ARENA_ARRAY(a, Pick, n + 1);
    const Text *extra;
    uint32_t nextra;
    if (!addon_columns(c, a, &extra, &nextra))
        return false;
    *outs = ARENA_ARRAY(a, OutCol, n + t->ncols + nevals + nextra + 1);
    if (!shape->picks || !*outs)
        return fail_memory(c);
    bool items = !envelope || n == 0;
    for (uint32_t i = 0; i < n; i++) {
        int key = envelope ? envelope_key(names[i]) : -1;
        if (key == ENVELOPE_ITEMS)
            items = true;
        else if (key >= 0)
            shape->envelope |= 1u << (unsigned)key;
        else if (!add_pick(a, shape,
                           envelope && text_starts(names[i], TEXT("items."))
                               ? text_slice(names[i], 6, names[i].len)
                               : names[i],
                           n))
            return fail_memory(c);
    }
    items = items || shape->npicks > 0;
    shape->items = items;
    for (uint32_t i = 0; i < shape->npicks; i++) {
        Text name = shape->picks[i].name;
        const OutCol *e = find_out(evals, nevals, name);
        const Column *col = e ? NULL : table_column(t, name);
        if (e)
            (*outs)[(*nouts)++] = *e;
        else if (col)
            (*outs)[(*nouts)++] = (OutCol){col->name, col->type};
    }
    if (shape->npicks)
        return hide_columns(c, a, t, extra, nextra, *outs, nouts, shape);
    for (uint32_t i = 0; i < t->ncols; i++)
        if (!t->cols[i].internal && !find_out(evals, nevals, t->cols[i].name))
            (*outs)[(*nouts)++] = (OutCol){t->cols[i].name, t->cols[i].type};
    for (uint32_t i = 0; i < nevals; i++)
        (*outs)[(*nouts)++] = evals[i];
    return true;
}

static Value keep_members(Heap *h, const Pick *p, Value v, xs_error *err)
{
    if (v.kind == V_LIST) {
        Value list = list_new(h, v.list->len);
        for (uint32_t i = 0; list.kind != V_UNSET && i < v.list->len; i++) {
            Value item = list_at(v.list, i);
            item = item.kind == V_MAP ? keep_members(h, p, item, err) : val_ref(item);
            if (item.kind == V_UNSET || !list_push(h, &list, item)) {
                val_unref(h, list);
                return val_unset();
            }
        }
        return list;
    }
    if (v.kind != V_MAP)
        return val_ref(v);
    Value out = map_new(h, p->nsubs);
    for (uint32_t i = 0; i < p->nsubs && out.kind != V_UNSET; i++) {
        Value x = val_path(h, v, p->subs[i], err);
        if (x.kind == V_UNSET)
            continue; /* no such member */
        Value keys = val_split_path(h, p->subs[i], err);
        bool ok = keys.kind == V_LIST;
        if (ok)
            ok = val_set_path(h, &out, keys.list->items + keys.list->start, keys.list->len, x, err);
        else
            val_unref(h, x);
        val_unref(h, keys);
        if (!ok) {
            val_unref(h, out);
            return val_unset();
        }
    }
    return out;
}

bool shape_row(Heap *h, const RowShape *s, Value *row, xs_error *err)
{
    if (!s || !s->any || row->kind != V_MAP)
        return true;
    for (uint32_t i = 0; i < s->nhidden; i++)
        (void)map_remove(h, row, s->hidden[i]);
    for (uint32_t i = 0; i < s->npicks; i++) {
        const Pick *p = &s->picks[i];
        const Value *v = p->nsubs ? map_find(row->map, p->name) : NULL;
        if (!v)
            continue;
        Value cut = keep_members(h, p, *v, err);
        if (cut.kind == V_UNSET || !map_set_text(h, row, p->name, cut)) {
            val_unref(h, *row);
            *row = val_unset();
            return heap_fail(h, err);
        }
    }
    return true;
}

bool shape_of(Arena *a, const Const *names, RowShape *out)
{
    *out = (RowShape){.picks = ARENA_ARRAY(a, Pick, names->count + 1)};
    for (uint32_t i = 0; out->picks && i < names->count; i++) {
        Text t = const_text_of(names->items[i], (Text){"", 0});
        if (t.len && !add_pick(a, out, t, names->count))
            return false;
    }
    return out->picks != NULL;
}

bool shape_pick(Heap *h, const RowShape *s, Value *row, xs_error *err)
{
    if (row->kind != V_MAP || !shape_row(h, s, row, err))
        return row->kind != V_UNSET;
    Value out = map_new(h, s->npicks);
    bool ok = out.kind != V_UNSET;
    for (uint32_t i = 0; ok && i < s->npicks; i++) {
        const Value *v = map_find(row->map, s->picks[i].name);
        ok = !v || map_set_text(h, &out, s->picks[i].name, val_ref(*v));
    }
    val_unref(h, *row);
    *row = ok ? out : val_unset();
    if (!ok)
        val_unref(h, out);
    return ok || heap_fail(h, err);
}
