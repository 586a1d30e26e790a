/* query.c - db.query: descriptor -> one SELECT -> rows, page, number or truth (runtime.md §3.3). */
#include <stdio.h>

#include "core/map.h"
#include "core/text.h"
#include "stdlib/db/ops.h"
#include "stdlib/db/pool.h"
#include "stdlib/db/query.h"

typedef enum ReturnType { RET_LIST, RET_SINGLE, RET_EXISTS, RET_COUNT, RET_AGGREGATE } ReturnType;

enum { PER_PAGE_DEFAULT = 25, PER_PAGE_MAX = 10000, SORT_MAX_BYTES = 64 << 10 };

typedef struct Page {
    bool on, totals, metadata;
    int64_t page, per_page,
        offset; /* offset: of the clause; skipped rows are (page-1)*per_page + offset */
} Page;

typedef struct Select {
    Query q;
    const Table *t;
    ReturnType type;
    bool distinct;
    bool right_join; /* rows may lack every column of the main table */
    bool stream;     /* a list that is read while it is walked */
    Page page;
    OutCol *outs;
    uint32_t nouts;
    RowShape shape;
    const Const *addons;
    uint32_t ngroup;         /* aggregate: the first evals are the groups */
    const AddonBatch *batch; /* NULL = an ordinary query */
    Ex key;                  /* its column, selected behind the others */
    Buf from, where, order;
} Select;

static bool read_type(Select *s, const Const *ret)
{
    Text t = const_get_text(ret, "type");
    static const char *const names[] = {"list", "single", "exists", "count", "aggregate"};
    s->stream = text_eq(t, TEXT("stream"));
    if (!t.len || s->stream)
        return true;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (text_eq(t, text_from(names[i]))) {
            s->type = (ReturnType)i;
            return true;
        }
    return call_fail(s->q.c, XS_E_BAD_ARG, "unknown return type '" TEXT_FMT "'", TEXT_ARG(t));
}

/* V, or a constant written as it is. Owned; null when absent. */
static Value option_value(Call *c, const Const *map, const char *key)
{
    const Const *v = const_get(map, key);
    if (!v)
        return val_null();
    Value out = v->kind == C_MAP ? site_value(c, v) : val_from_const(c->heap, v);
    return out.kind == V_UNSET ? val_null() : out;
}

static int64_t option_int(Call *c, const Const *map, const char *key, int64_t otherwise)
{
    Value v = option_value(c, map, key);
    xs_error ignored = {0};
    int64_t n;
    bool ok = !val_is_null(v) && val_integer(v, &n, &ignored);
    val_unref(c->heap, v);
    return ok ? n : otherwise;
}

static bool option_bool(Call *c, const Const *map, const char *key, bool otherwise)
{
    Value v = option_value(c, map, key);
    bool b = val_is_null(v) ? otherwise : val_truthy(v);
    val_unref(c->heap, v);
    return b;
}

static void read_paging(Select *s, const Const *ret)
{
    const Const *p = const_get(ret, "paging");
    Call *c = s->q.c;
    if (!p || p->kind != C_MAP || s->type == RET_SINGLE || s->type == RET_EXISTS ||
        s->type == RET_COUNT)
        return;
    s->page.on = true;
    s->page.page = option_int(c, p, "page", 1);
    s->page.per_page = option_int(c, p, "per_page", PER_PAGE_DEFAULT);
    s->page.offset = option_int(c, p, "offset", 0);
    s->page.totals = option_bool(c, p, "totals", false);
    s->page.metadata = option_bool(c, p, "metadata", true);
    if (s->page.page < 1)
        s->page.page = 1;
    if (s->page.page > INT32_MAX)
        s->page.page = INT32_MAX;
    if (s->page.per_page <= 0)
        s->page.per_page = PER_PAGE_DEFAULT;
    if (s->page.per_page > PER_PAGE_MAX)
        s->page.per_page = PER_PAGE_MAX;
    if (s->page.offset < 0)
        s->page.offset = 0;
    if (s->page.offset > INT32_MAX)
        s->page.offset = INT32_MAX;
}

/* ---- FROM ---- */

static const char *join_word(Text type)
{
    if (text_eq(type, TEXT("left")))
        return " LEFT JOIN ";
    if (text_eq(type, TEXT("right")))
        return " RIGHT JOIN ";
    return " JOIN ";
}

static bool write_from(Select *s)
{
    Query *q = &s->q;
    const Const *joins = const_get(q->c->site, "join");
    uint32_t n = joins && joins->kind == C_LIST ? joins->count : 0;
    if (!query_add_source(q, s->t->name, s->t))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        Text alias = const_get_text(joins->items[i], "alias"),
             table = const_get_text(joins->items[i], "table");
        const Table *t = schema_find(&q->db->pool->schema, table.len ? table : alias);
        if (!t)
            return call_fail(q->c, XS_E_DATABASE, "db.query: there is no table '" TEXT_FMT "'",
                             TEXT_ARG(table));
        if (!query_add_source(q, alias, t))
            return false;
    }
    sql_ident(&s->from, s->t->name);
    buf_cstr(&s->from, " t0");
    for (uint32_t i = 0; i < n; i++) {
        bool any;
        const char *word = join_word(const_get_text(joins->items[i], "type"));
        s->right_join = s->right_join || word[1] == 'R';
        buf_cstr(&s->from, word);
        sql_ident(&s->from, q->src[i + 1].table->name);
        buf_printf(&s->from, " t%u ON ", i + 1);
        if (!pred_write(q, const_get(joins->items[i], "where"), &s->from, &any))
            return false;
        if (!any)
            buf_cstr(&s->from, "1");
    }
    return true;
}

static bool write_where(Select *s)
{
    bool any = false, more = false;
    Buf extra = BUF_INIT;
    bool ok = pred_write(&s->q, const_get(s->q.c->site, "where"), &s->where, &any) &&
              pred_write_value(&s->q, clause_arg(s->q.c, "additional_where"), &extra, &more);
    if (ok && more) {
        if (any)
            buf_cstr(&s->where, " AND ");
        buf_text(&s->where, buf_view(&extra));
        s->where.failed = s->where.failed || extra.failed;
    }
    buf_deinit(&extra);
    return ok;
}

/* ---- eval and group ---- */

static bool add_eval(Select *s, Text alias, const Ex *x, uint32_t cap)
{
    Query *q = &s->q;
    if (!q->evals) {
        q->evals = ARENA_ARRAY(&q->arena, OutCol, cap);
        q->eval_sql = ARENA_ARRAY(&q->arena, Text, cap);
        if (!q->evals || !q->eval_sql)
            return fail_memory(q->c);
    }
    Text sql;
    if (!expr_no_each(q, x) || !expr_sql(q, x, NULL, &sql))
        return false;
    q->eval_sql[q->nevals] = sql;
    q->evals[q->nevals++] = (OutCol){alias, x->type};
    return true;
}

static uint32_t list_len(const Const *c)
{
    return c && c->kind == C_LIST ? c->count : 0;
}

static bool eval_pair(Select *s, const Const *pair, uint32_t cap)
{
    Ex x;
    if (list_len(pair) < 2 || !expr_compile(&s->q, pair->items[list_len(pair) - 1], &x))
        return list_len(pair) < 2 ? call_fail(s->q.c, XS_E_BUG, "bad eval in a query descriptor")
                                  : false;
    return add_eval(s, const_text_of(pair->items[0], (Text){"", 0}), &x, cap);
}

static bool write_evals(Select *s)
{
    const Const *evals = const_get(s->q.c->site, "eval");
    uint32_t n = list_len(evals);
    for (uint32_t i = 0; i < n; i++)
        if (!eval_pair(s, evals->items[i], n))
            return false;
    return true;
}

static bool write_aggregate(Select *s, const Const *ret)
{
    const Const *group = const_get(ret, "group"), *eval = const_get(ret, "eval");
    uint32_t ng = list_len(group), ne = list_len(eval), cap = ng + ne;
    s->q.aggregate = true;
    if (cap == 0)
        return call_fail(s->q.c, XS_E_BAD_ARG, "return type aggregate needs eval or group");
    for (uint32_t i = 0; i < ng; i++)
        if (!eval_pair(s, group->items[i], cap))
            return false;
    s->ngroup = ng;
    for (uint32_t i = 0; i < ne; i++) {
        const Const *e = eval->items[i];
        Ex x, agg;
        /* without a function: computed as it is, or the function is the outermost filter */
        if (list_len(e) < 3 || const_text_of(e->items[1], (Text){"", 0}).len == 0) {
            if (!eval_pair(s, e, cap))
                return false;
            continue;
        }
        if (!expr_compile(&s->q, e->items[2], &x) || !expr_no_each(&s->q, &x) ||
            !expr_aggregate(&s->q, const_text_of(e->items[1], (Text){"", 0}), &x, &agg) ||
            !add_eval(s, const_text_of(e->items[0], (Text){"", 0}), &agg, cap))
            return false;
    }
    s->outs = s->q.evals;
    s->nouts = s->q.nevals;
    s->shape.items = true;
    return true;
}

/* ---- ORDER BY ---- */

/* Behind a key. Nulls come last in ascending order, on every database. */
static void write_direction(Select *s, bool desc, bool nullable)
{
    buf_cstr(&s->order, desc ? " DESC" : " ASC");
    if (nullable)
        buf_cstr(&s->order, desc ? " NULLS FIRST" : " NULLS LAST");
}

static bool sort_key(Select *s, Text name, Text dir, bool *by_id, bool *desc)
{
    Ex x;
    if (s->order.len > SORT_MAX_BYTES)
        return call_fail(s->q.c, XS_E_LIMIT, "the sort has too many keys");
    buf_cstr(&s->order, s->order.len ? ", " : " ORDER BY ");
    if (text_eq(dir, TEXT("rand"))) {
        buf_cstr(&s->order, "random()");
        *by_id = true;
        return true;
    }
    if (!expr_named(&s->q, name, &x))
        return false;
    *desc = text_eq(dir, TEXT("desc"));
    bool id = x.col && x.src == 0 && x.col == table_id(s->t);
    bool nullable = s->right_join ||
                    (!id && (!x.col || x.src != 0 || strcmp(column_zero_sql(x.col), "NULL") == 0));
    buf_text(&s->order, x.sql);
    write_direction(s, *desc, nullable);
    *by_id = *by_id || id;
    return true;
}

static bool override_key(Select *s, Value v, bool *used, bool *by_id, bool *desc)
{
    Value by = map_get_cstr(v, "sortBy"), dir = map_get_cstr(v, "orderBy");
    if (v.kind != V_MAP || by.kind != V_TEXT || by.text->len == 0)
        return true;
    Text d = dir.kind == V_TEXT ? val_text_view(dir) : TEXT("asc");
    Ex x;
    *used = true;
    if (!expr_named(&s->q, val_text_view(by), &x))
        return false;
    if (x.col && x.col->internal)
        return fail_param(s->q.c, val_text_view(by), "Unsupported parameter reference - " TEXT_FMT,
                          TEXT_ARG(val_text_view(by)));
    return sort_key(s, val_text_view(by), d, by_id, desc);
}

static bool write_order(Select *s)
{
    const Const *sort = const_get(s->q.c->site, "sort");
    Value over = clause_arg(s->q.c, "override_sort");
    bool by_id = s->type == RET_AGGREGATE || s->distinct, desc = false, used = false;
    if (s->type == RET_COUNT || s->type == RET_EXISTS)
        return true;
    for (uint32_t i = 0; over.kind == V_LIST && i < over.list->len; i++)
        if (!override_key(s, list_at(over.list, i), &used, &by_id, &desc))
            return false;
    if (over.kind == V_MAP && !override_key(s, over, &used, &by_id, &desc))
        return false;
    for (uint32_t i = 0; !used && i < list_len(sort); i++) {
        const Const *k = sort->items[i];
        if (list_len(k) < 2 || !sort_key(s, const_text_of(k->items[0], (Text){"", 0}),
                                         const_text_of(k->items[1], TEXT("asc")), &by_id, &desc))
            return list_len(k) < 2 ? call_fail(s->q.c, XS_E_BUG, "bad sort in a query descriptor")
                                   : false;
    }
    if (!by_id) { /* pages stay stable */
        buf_cstr(&s->order, s->order.len ? ", t0." : " ORDER BY t0.");
        sql_ident(&s->order, table_id(s->t)->name);
        write_direction(s, desc, s->right_join);
    } else if (!s->order.len && s->ngroup) {
        buf_cstr(&s->order, " ORDER BY 1");
        for (uint32_t i = 1; i < s->ngroup; i++)
            buf_printf(&s->order, ", %u", i + 1);
    }
    return true;
}

/* ---- the statement ---- */

static void write_columns(Select *s, Buf *out)
{
    for (uint32_t i = 0; i < s->nouts; i++) {
        const Text *sql = NULL;
        if (i)
            buf_char(out, ',');
        for (uint32_t e = 0; e < s->q.nevals; e++)
            if (text_eq(s->q.evals[e].name, s->outs[i].name))
                sql = &s->q.eval_sql[e];
        if (sql) {
            buf_text(out, *sql);
            continue;
        }
        buf_cstr(out, "t0.");
        sql_ident(out, s->outs[i].name);
    }
    if (s->nouts == 0)
        buf_char(out, '1');
    if (s->batch) {
        buf_char(out, ',');
        buf_text(out, s->key.sql);
    }
}

static void write_tail(Select *s, Buf *out)
{
    buf_cstr(out, " FROM ");
    buf_text(out, buf_view(&s->from));
    if (s->where.len) {
        buf_cstr(out, " WHERE ");
        buf_text(out, buf_view(&s->where));
    }
    if (s->from.failed || s->where.failed || s->order.failed)
        out->failed = true;
}

static void write_select(Select *s, Buf *out)
{
    buf_cstr(out, s->distinct ? "SELECT DISTINCT " : "SELECT ");
    write_columns(s, out);
    write_tail(s, out);
    if (s->ngroup) {
        buf_cstr(out, " GROUP BY 1");
        for (uint32_t i = 1; i < s->ngroup; i++)
            buf_printf(out, ", %u", i + 1);
    }
}

static void write_list(Select *s)
{
    Buf *out = &s->q.sql.text;
    write_select(s, out);
    buf_text(out, buf_view(&s->order));
    int64_t skip = (s->page.page - 1) * s->page.per_page + s->page.offset;
    if (s->page.on)
        buf_printf(out, " LIMIT ?%u OFFSET ?%u", sql_bind(&s->q.sql, dbv_int(s->page.per_page + 1)),
                   sql_bind(&s->q.sql, dbv_int(skip)));
    else if (s->type == RET_SINGLE)
        buf_cstr(out, " LIMIT 1");
}

static bool read_count(Select *s, xs_db_conn *conn, int64_t *n)
{
    Sql sql = s->q.sql; /* same parameters, own text */
    sql.text = BUF_INIT;
    if (s->distinct || s->ngroup) {
        buf_cstr(&sql.text, "SELECT count(*) FROM (");
        write_select(s, &sql.text);
        buf_char(&sql.text, ')');
    } else {
        buf_cstr(&sql.text, "SELECT count(*)");
        write_tail(s, &sql.text);
    }
    bool ok = read_int(s->q.c, s->q.db, conn, &sql, n);
    buf_deinit(&sql.text);
    return ok;
}

static bool read_exists(Select *s, xs_db_conn *conn, Value *out)
{
    int64_t n;
    buf_cstr(&s->q.sql.text, "SELECT EXISTS(SELECT 1");
    write_tail(s, &s->q.sql.text);
    buf_char(&s->q.sql.text, ')');
    if (!read_int(s->q.c, s->q.db, conn, &s->q.sql, &n))
        return false;
    *out = val_bool(n != 0);
    return true;
}

static bool shape_all(Select *s, Value *rows)
{
    Heap *h = s->q.c->heap;
    for (uint32_t i = 0; s->shape.any && i < rows->list->len; i++) {
        Value row = val_ref(list_at(rows->list, i));
        if (!shape_row(h, &s->shape, &row, s->q.c->err))
            return false;
        if (!list_set(h, rows, i, row))
            return fail_memory(s->q.c);
    }
    return true;
}

/* to_list_asc and _desc: lists are sorted by the machine's order. */
static void sort_lists(const Const *ret, Value *rows)
{
    const Const *eval = const_get(ret, "eval");
    for (uint32_t e = 0; e < list_len(eval); e++) {
        const Const *p = eval->items[e];
        Text fn = list_len(p) >= 3 ? const_text_of(p->items[1], (Text){"", 0})
                                   : const_get_text(p->items[1], "f");
        bool desc = text_ends(fn, TEXT("_desc"));
        if (!desc && !text_ends(fn, TEXT("_asc")))
            continue;
        Text name = const_text_of(p->items[0], (Text){"", 0});
        for (uint32_t r = 0; r < rows->list->len; r++) {
            const Value *v = map_find(list_at(rows->list, r).map, name);
            if (!v || v->kind != V_LIST || !val_unique(*v))
                continue;
            Value *items = v->list->items + v->list->start;
            for (uint32_t i = 1; i < v->list->len; i++) { /* insertion: short lists */
                Value x = items[i];
                uint32_t k = i;
                while (k > 0 && (desc ? val_compare(items[k - 1], x) < 0
                                      : val_compare(items[k - 1], x) > 0)) {
                    items[k] = items[k - 1];
                    k--;
                }
                items[k] = x;
            }
        }
    }
}

static bool set_member(Select *s, Value *map, unsigned bit, const char *key, Value v)
{
    if (s->shape.envelope && !(s->shape.envelope & (1u << bit))) {
        val_unref(s->q.c->heap, v);
        return true;
    }
    return map_set_text(s->q.c->heap, map, text_from(key), v) || fail_memory(s->q.c);
}

static bool envelope(Select *s, Value items, bool more, int64_t total, Value *out)
{
    Heap *h = s->q.c->heap;
    const Page *p = &s->page;
    int64_t skip = (p->page - 1) * p->per_page + p->offset;
    Value map = map_new(h, 9);
    bool ok = (map.kind != V_UNSET || fail_memory(s->q.c)) &&
              set_member(s, &map, 0, "itemsReceived", val_int(items.list->len)) &&
              set_member(s, &map, 1, "curPage", val_int(p->page)) &&
              set_member(s, &map, 2, "nextPage", more ? val_int(p->page + 1) : val_null()) &&
              set_member(s, &map, 3, "prevPage", p->page > 1 ? val_int(p->page - 1) : val_null()) &&
              set_member(s, &map, 4, "offset", val_int(skip)) &&
              set_member(s, &map, 5, "perPage", val_int(p->per_page));
    if (ok && p->totals)
        ok = set_member(s, &map, 7, "itemsTotal", val_int(total)) &&
             set_member(s, &map, 8, "pageTotal", val_int((total + p->per_page - 1) / p->per_page));
    if (ok && s->shape.items)
        ok = map_set_text(h, &map, TEXT("items"), items) || fail_memory(s->q.c);
    else
        val_unref(h, items);
    if (ok)
        *out = map;
    else
        val_unref(h, map);
    return ok;
}

static bool read_list(Select *s, xs_db_conn *conn, const Const *ret, Value *out)
{
    Call *c = s->q.c;
    Heap *h = c->heap;
    Value rows;
    int64_t total = 0;
    write_list(s);
    DbPool *p = s->q.db->pool;
    bool snapshot = s->page.on && s->page.totals && conn == s->q.db->reader;
    if (snapshot && !p->drv->control(conn, XS_DB_BEGIN_READ, c->err))
        return false;
    bool ok = read_rows(c, s->q.db, conn, &s->q.sql, s->outs, s->nouts, &rows);
    if (ok && s->page.on && s->page.totals && !read_count(s, conn, &total)) {
        val_unref(h, rows);
        ok = false;
    }
    if (snapshot)
        conn_rollback(p, conn);
    if (!ok)
        return false;
    bool more = s->page.on && rows.list->len > s->page.per_page;
    ok = (!more || list_remove(h, &rows, rows.list->len - 1)) || fail_memory(c);
    ok = ok && addons_apply(c->fiber, s->addons, &rows, c->err, &c->thrown) && shape_all(s, &rows);
    if (!ok) {
        val_unref(h, rows);
        return false;
    }
    if (s->type == RET_AGGREGATE)
        sort_lists(ret, &rows);
    bool one = s->type == RET_SINGLE || (s->type == RET_AGGREGATE && !s->ngroup);
    if (one) {
        *out = rows.list->len ? val_ref(list_at(rows.list, 0)) : val_null();
        val_unref(h, rows);
        return true;
    }
    if (s->page.on && s->page.metadata)
        return envelope(s, rows, more, total, out);
    *out = rows;
    return true;
}

/* ---- many parents at once ---- */

/* " WHERE key IN (…)" instead of the condition; *keys becomes the values as the column has them. */
static bool write_batch(Select *s, Value *keys)
{
    Query *q = &s->q;
    Call *c = q->c;
    Heap *h = c->heap;
    const Column *col = table_column(s->t, s->batch->column);
    *keys = list_new(h, s->batch->values->count);
    if (keys->kind == V_UNSET)
        return fail_memory(c);
    if (!col || !expr_column(q, q->src[0].name, s->batch->column, &s->key))
        return col != NULL;
    Value wanted = list_new(h, s->batch->values->count);
    bool ok = wanted.kind != V_UNSET || fail_memory(c);
    for (uint32_t i = 0; ok && i < s->batch->values->count; i++) {
        xs_db_value bound = dbv_null();
        bool match = false;
        Value v = val_from_const(h, s->batch->values->items[i]);
        ok = (v.kind != V_UNSET || fail_memory(c)) &&
             compare_value(c, &q->arena, col, col->type, v, false, &bound, &match);
        val_unref(h, v);
        Value key = ok && match ? row_decode(h, col->type, &bound) : val_null();
        Value raw = ok && match ? row_decode(h, (ColType){CK_ANY, CK_ANY}, &bound) : val_null();
        ok = ok && ((key.kind != V_UNSET && raw.kind != V_UNSET && list_push(h, keys, key) &&
                     list_push(h, &wanted, raw)) ||
                    fail_memory(c));
    }
    xs_db_value list;
    ok = ok && row_encode(&q->arena, (ColType){CK_JSON, CK_ANY}, wanted, &list, c->err);
    val_unref(h, wanted);
    if (ok)
        buf_printf(&s->where, TEXT_FMT " IN (SELECT value FROM json_each(?%u))",
                   TEXT_ARG(s->key.sql), sql_bind(&q->sql, list));
    return ok;
}

static bool json_key(Select *s, Value v, Buf *b)
{
    b->len = 0;
    return val_write_json(v, b) || fail_memory(s->q.c);
}

/* What the query gives without rows. */
static Value empty_result(const Select *s)
{
    switch (s->type) {
    case RET_COUNT: return val_int(0);
    case RET_EXISTS: return val_bool(false);
    case RET_LIST: return list_new(s->q.c->heap, 0);
    case RET_SINGLE:
    case RET_AGGREGATE: break;
    }
    return val_null();
}

/* Put a row with its key where it belongs. */
static bool distribute(Select *s, const Map *index, Value *results, Value row, Value key)
{
    Heap *h = s->q.c->heap;
    Buf b = BUF_INIT;
    bool ok = json_key(s, key, &b);
    uintptr_t at = ok ? (uintptr_t)map_get(index, buf_view(&b)) : 0;
    buf_deinit(&b);
    if (!ok || !at)
        return ok;
    uint32_t i = (uint32_t)at - 1;
    Value old = list_at(results->list, i);
    if (s->type == RET_LIST) {
        Value list = val_ref(old);
        if (!list_set(h, results, i, val_null())) /* the list is changed in place */
            return fail_memory(s->q.c);
        return (list_push(h, &list, val_ref(row)) && list_set(h, results, i, list)) ||
               fail_memory(s->q.c);
    }
    if (s->type == RET_SINGLE && !val_is_null(old))
        return true;
    Value v = s->type == RET_SINGLE   ? val_ref(row)
              : s->type == RET_EXISTS ? val_bool(true)
                                      : val_ref(row);
    return list_set(h, results, i, v) || fail_memory(s->q.c);
}

/* Results in the order of the values; *index finds the first of equal ones. */
static bool begin_results(Select *s, Value keys, Map *index, Value *results)
{
    Heap *h = s->q.c->heap;
    *results = list_new(h, keys.list->len);
    bool ok = results->kind != V_UNSET || fail_memory(s->q.c);
    Buf b = BUF_INIT;
    for (uint32_t i = 0; ok && i < keys.list->len; i++) {
        Value none = empty_result(s);
        Text key = {0};
        ok = (none.kind != V_UNSET && list_push(h, results, none)) || fail_memory(s->q.c);
        ok = ok && json_key(s, list_at(keys.list, i), &b);
        if (ok)
            key = arena_text(&s->q.arena, buf_view(&b));
        if (ok && !map_get(index, key))
            ok =
                (key.ptr && map_put(index, key, (void *)(uintptr_t)(i + 1))) || fail_memory(s->q.c);
    }
    buf_deinit(&b);
    return ok;
}

/* Different spellings of one value (1 and "1") get the same result. */
static bool share_results(Select *s, Value keys, const Map *index, Value *results)
{
    Buf b = BUF_INIT;
    bool ok = true;
    for (uint32_t i = 0; ok && i < keys.list->len; i++) {
        ok = json_key(s, list_at(keys.list, i), &b);
        uint32_t first = ok ? (uint32_t)(uintptr_t)map_get(index, buf_view(&b)) - 1 : i;
        if (ok && first != i)
            ok = list_set(s->q.c->heap, results, i, val_ref(list_at(results->list, first))) ||
                 fail_memory(s->q.c);
    }
    buf_deinit(&b);
    return ok;
}

static const char key_name[] = "\001key";

static bool read_batch(Select *s, xs_db_conn *conn, Value keys, Value *out)
{
    Call *c = s->q.c;
    Heap *h = c->heap;
    bool counts = s->type == RET_COUNT || s->type == RET_EXISTS;
    OutCol *outs = ARENA_ARRAY(&s->q.arena, OutCol, s->nouts + 2);
    if (!outs)
        return fail_memory(c);
    uint32_t n = 0;
    Buf *sql = &s->q.sql.text;
    if (counts) {
        outs[n++] = (OutCol){TEXT("n"), {CK_INT, CK_ANY}};
        buf_printf(sql, "SELECT count(*)," TEXT_FMT, TEXT_ARG(s->key.sql));
        write_tail(s, sql);
        buf_cstr(sql, " GROUP BY 2");
    } else {
        for (; n < s->nouts; n++)
            outs[n] = s->outs[n];
        if (!n)
            outs[n++] = (OutCol){TEXT("\001one"), {CK_INT, CK_ANY}};
        write_select(s, sql);
        buf_text(sql, buf_view(&s->order));
    }
    outs[n++] = (OutCol){text_from(key_name), s->key.type};
    Value rows = val_unset(), results = val_unset();
    Map index = {0};
    bool ok = read_rows(c, s->q.db, conn, &s->q.sql, outs, n, &rows) &&
              addons_apply(c->fiber, counts ? NULL : s->addons, &rows, c->err, &c->thrown) &&
              addons_apply(c->fiber, counts ? NULL : s->batch->addons, &rows, c->err, &c->thrown) &&
              begin_results(s, keys, &index, &results);
    for (uint32_t i = 0; ok && i < rows.list->len; i++) {
        Value row = val_ref(list_at(rows.list, i)), key = val_unset();
        ok = list_set(h, &rows, i, val_null()) || fail_memory(c);
        const Value *k = map_find(row.map, text_from(key_name));
        key = k ? val_ref(*k) : val_null();
        (void)map_remove(h, &row, text_from(key_name));
        (void)map_remove(h, &row, TEXT("\001one"));
        ok = ok && shape_row(h, &s->shape, &row, c->err);
        Value one = ok && counts ? map_get_cstr(row, "n") : row;
        ok = ok && distribute(s, &index, &results, one, key);
        val_unref(h, key);
        val_unref(h, row);
    }
    ok = ok && share_results(s, keys, &index, &results);
    map_deinit(&index);
    val_unref(h, rows);
    if (ok)
        *out = results;
    else
        val_unref(h, results);
    return ok;
}

static bool prepare(Select *s, const Const *ret)
{
    Query *q = &s->q;
    s->distinct = text_eq(const_get_text(ret, "distinct"), TEXT("yes"));
    if (!read_type(s, ret))
        return false;
    if (s->type != RET_AGGREGATE && !call_addons(q->c, &q->arena, &s->addons))
        return false;
    read_paging(s, ret);
    if (!write_from(s))
        return false;
    bool page = s->page.on && s->page.metadata;
    if (s->type == RET_AGGREGATE) {
        if (!write_aggregate(s, ret))
            return false;
    } else if (!write_evals(s) || !call_outputs(q->c, &q->arena, s->t, q->evals, q->nevals, page,
                                                &s->outs, &s->nouts, &s->shape)) {
        return false;
    }
    return (s->batch || write_where(s)) && write_order(s);
}

NativeResult op_db_query(Call *c)
{
    Db *db = call_db(c);
    const Table *t = db ? call_table(c) : NULL;
    if (!t)
        return NATIVE_ERROR;
    const Const *ret = const_get(c->site, "return");
    Select s = {.t = t};
    query_init(&s.q, c, db);
    const FiberDb *fd = fiber_db(c->fiber);
    s.batch = fd ? fd->batch : NULL;
    Value out = val_null(), keys = val_unset();
    bool ok = prepare(&s, ret) && (!s.batch || write_batch(&s, &keys));
    xs_db_conn *conn = ok ? call_reader(c, db) : NULL;
    ok = conn != NULL;
    int64_t n;
    if (ok && s.batch) {
        ok = read_batch(&s, conn, keys, &out);
    } else if (ok && s.type == RET_COUNT) {
        ok = read_count(&s, conn, &n);
        if (ok)
            out = val_int(n);
    } else if (ok && s.type == RET_EXISTS) {
        ok = read_exists(&s, conn, &out);
    } else if (ok && s.stream && !s.page.on && c->fiber && conn == db->reader) {
        write_list(&s);
        ok = rowstream_open(&s.q, s.outs, s.nouts, &s.shape, s.addons,
                            option_int(c, ret, "chunk_size", 0), &out);
    } else if (ok) { /* a stream of a transaction's own rows is read at once */
        ok = read_list(&s, conn, ret, &out);
    }
    val_unref(c->heap, keys);
    buf_deinit(&s.from);
    buf_deinit(&s.where);
    buf_deinit(&s.order);
    query_deinit(&s.q);
    if (!ok)
        return NATIVE_ERROR;
    c->ret = out;
    return NATIVE_OK;
}
