/* expr.c - column expressions of a query descriptor -> SQL fragments. Columns are looked up in the
 * schema, every value becomes a parameter, query filters are rows of a table of templates. */
#include <stdio.h>

#include "core/text.h"
#include "stdlib/bind.h"
#include "stdlib/db/query.h"

void query_init(Query *q, Call *c, Db *db)
{
    *q = (Query){.c = c, .db = db, .temps = val_unset()};
    arena_init(&q->arena, 64u << 20);
    sql_init(&q->sql, &q->arena);
}

void query_deinit(Query *q)
{
    sql_deinit(&q->sql);
    val_unref(q->c->heap, q->temps);
    arena_deinit(&q->arena);
}

bool query_add_source(Query *q, Text name, const Table *t)
{
    if (q->nsrc >= QUERY_MAX_SOURCES)
        return call_fail(q->c, XS_E_LIMIT, "more than %d joined tables", QUERY_MAX_SOURCES);
    q->src[q->nsrc++] = (Source){name, t};
    return true;
}

static bool keep_value(Query *q, Value v)
{
    Heap *h = q->c->heap;
    if (q->temps.kind == V_UNSET)
        q->temps = list_new(h, 4);
    if (q->temps.kind == V_UNSET) {
        val_unref(h, v);
        return fail_memory(q->c);
    }
    return list_push(h, &q->temps, v) || fail_memory(q->c);
}

static bool unknown_column(Query *q, Text name)
{
    return fail_param(q->c, name, "Unsupported parameter reference - " TEXT_FMT, TEXT_ARG(name));
}

static bool take_buf(Query *q, Buf *b, Text *out)
{
    *out = b->failed ? (Text){0} : arena_text(&q->arena, buf_view(b));
    buf_deinit(b);
    return out->ptr || fail_memory(q->c);
}

static bool column_of(Query *q, uint32_t src, const Column *col, Ex *out)
{
    Buf b = BUF_INIT;
    buf_printf(&b, "t%u.", src);
    sql_ident(&b, col->name);
    *out = (Ex){.col = col, .src = src, .type = col->type, .has_col = true, .v = val_unset()};
    return take_buf(q, &b, &out->sql);
}

bool expr_column(Query *q, Text source, Text column, Ex *out)
{
    for (uint32_t i = 0; i < q->nsrc; i++) {
        if (!text_eq(q->src[i].name, source))
            continue;
        const Column *col = table_column(q->src[i].table, column);
        const SearchIndex *search = table_search(q->src[i].table, column, NULL);
        if (!col && search) {
            *out = (Ex){
                .sql = TEXT("NULL"), .search = search, .src = i, .has_col = true, .v = val_unset()};
            return true;
        }
        return col ? column_of(q, i, col, out) : unknown_column(q, column);
    }
    return unknown_column(q, source);
}

bool expr_named(Query *q, Text name, Ex *out)
{
    for (uint32_t i = 0; i < q->nevals; i++)
        if (text_eq(q->evals[i].name, name)) {
            *out = (Ex){
                .sql = q->eval_sql[i], .type = q->evals[i].type, .has_col = true, .v = val_unset()};
            return true;
        }
    const Column *col = table_column(q->src[0].table, name);
    if (col)
        return column_of(q, 0, col, out);
    size_t dot = text_find(name, TEXT("."), 0);
    if (dot == SIZE_MAX)
        return unknown_column(q, name);
    return expr_column(q, text_slice(name, 0, dot), text_slice(name, dot + 1, name.len), out);
}

/* $.a."b"[0] of the members [from, to) behind a column. */
static bool json_path(Query *q, const Const *path, uint32_t from, uint32_t to, Text *out)
{
    Buf b = BUF_INIT;
    buf_char(&b, '$');
    for (uint32_t i = from; i < to; i++) {
        const Const *k = path->items[i];
        if (k->kind == C_INT) {
            buf_printf(&b, k->i < 0 ? "[#-%llu]" : "[%llu]",
                       k->i < 0 ? 0ull - (unsigned long long)k->i : (unsigned long long)k->i);
            continue;
        }
        if (k->kind != C_TEXT || text_eq(k->text, TEXT("[]")) ||
            memchr(k->text.ptr, '"', k->text.len) || memchr(k->text.ptr, 0, k->text.len)) {
            buf_deinit(&b);
            return call_fail(q->c, XS_E_UNSUPPORTED,
                             "this path into a column is not supported by this engine");
        }
        buf_printf(&b, ".\"" TEXT_FMT "\"", TEXT_ARG(k->text));
    }
    return take_buf(q, &b, out);
}

/* Any element: the comparison happens inside EXISTS(SELECT 1 FROM <each> e WHERE …). */
static bool each_element(Query *q, const Const *path, uint32_t at, Ex *out)
{
    Text before, after;
    ColType item = {at == 2 && out->type.kind == CK_LIST ? out->type.item : CK_ANY, CK_ANY};
    if (!json_path(q, path, 2, at, &before))
        return false;
    out->each = arena_printf(&q->arena, "json_each(" TEXT_FMT ",?%u)", TEXT_ARG(out->sql),
                             sql_bind(&q->sql, dbv_text(before)));
    out->col = NULL;
    out->type = item;
    if (at + 1 == path->count) {
        out->sql = TEXT("e.value");
    } else {
        if (!json_path(q, path, at + 1, path->count, &after))
            return false;
        out->type.kind = CK_ANY;
        out->sql = arena_printf(
            &q->arena, "CASE WHEN e.type IN ('object','array') THEN json_extract(e.value,?%u) END",
            sql_bind(&q->sql, dbv_text(after)));
    }
    return (out->each.ptr && out->sql.ptr) || fail_memory(q->c);
}

static bool compile_column(Query *q, const Const *path, Ex *out)
{
    if (path->kind != C_LIST || path->count == 0)
        return call_fail(q->c, XS_E_BUG, "bad column in a query descriptor");
    Text source = const_text_of(path->items[0], (Text){"", 0});
    if (path->count == 1) {
        if (!expr_named(q, source, out))
            return false;
    } else if (!expr_column(q, source, const_text_of(path->items[1], (Text){"", 0}), out)) {
        return false;
    }
    if (path->count <= 2)
        return true;
    for (uint32_t i = 2; i < path->count; i++)
        if (text_eq(const_text_of(path->items[i], (Text){"", 0}), TEXT("[]")))
            return each_element(q, path, i, out);
    Text p;
    if (!json_path(q, path, 2, path->count, &p))
        return false;
    out->sql = arena_printf(&q->arena, "json_extract(" TEXT_FMT ",?%u)", TEXT_ARG(out->sql),
                            sql_bind(&q->sql, dbv_text(p)));
    out->col = NULL;
    out->json = true;
    out->type = (ColType){CK_ANY, CK_ANY};
    return out->sql.ptr || fail_memory(q->c);
}

bool expr_no_each(Query *q, const Ex *x)
{
    return !x->each.ptr ||
           call_fail(q->c, XS_E_UNSUPPORTED, "[] in a column path stands in comparisons only");
}

/* ---- query filters: $1 is the operand, $2… the arguments ---- */

typedef struct FilterRow {
    const char *name;
    uint8_t args; /* at least, with the operand */
    char result;  /* i d t b, = as the operand */
    const char *sql;
    const char *def; /* SQL of an absent $2 */
} FilterRow;

static const FilterRow filter_rows[] = {
    {"add", 2, 'a', "($1 + $2)", NULL},
    {"sub", 2, 'a', "($1 - $2)", NULL},
    {"subtract", 2, 'a', "($1 - $2)", NULL},
    {"mul", 2, 'a', "($1 * $2)", NULL},
    {"multiply", 2, 'a', "($1 * $2)", NULL},
    {"div", 2, 'd', "(CAST($1 AS REAL) / nullif($2,0))", NULL},
    {"divide", 2, 'd', "(CAST($1 AS REAL) / nullif($2,0))", NULL},
    {"floor", 1, 'i', "CAST(floor($1) AS INTEGER)", NULL},
    {"ceil", 1, 'i', "CAST(ceil($1) AS INTEGER)", NULL},
    {"round", 1, 'd', "round($1,$2)", "2"},
    {"length", 1, 'i', "length($1)", NULL},
    {"to_lower", 1, 't', "xs_lower($1)", NULL},
    {"to_upper", 1, 't', "xs_upper($1)", NULL},
    {"unaccent", 1, 't', "xs_unaccent($1)", NULL},
    {"concat", 2, 't', "(coalesce($1,'') || $3 || $2)", NULL},
    {"substr", 2, 't', "substr($1,$2,$3)", NULL},
    {"coalesce", 2, '=', "coalesce($1,$2)", NULL},
    {"to_int", 1, 'i', "CAST($1 AS INTEGER)", NULL},
    {"to_decimal", 1, 'd', "CAST($1 AS REAL)", NULL},
    {"to_text", 1, 't', "CAST($1 AS TEXT)", NULL},
    {"not", 1, 'b', "(NOT $1)", NULL},
    {"timestamp_year", 1, 'i', "xs_ts_part($1,'year',$2)", "'UTC'"},
    {"timestamp_month", 1, 'i', "xs_ts_part($1,'month',$2)", "'UTC'"},
    {"timestamp_week", 1, 'i', "xs_ts_part($1,'week',$2)", "'UTC'"},
    {"timestamp_day_of_month", 1, 'i', "xs_ts_part($1,'day_of_month',$2)", "'UTC'"},
    {"timestamp_day_of_week", 1, 'i', "xs_ts_part($1,'day_of_week',$2)", "'UTC'"},
    {"timestamp_day_of_year", 1, 'i', "xs_ts_part($1,'day_of_year',$2)", "'UTC'"},
    {"timestamp_hour", 1, 'i', "xs_ts_part($1,'hour',$2)", "'UTC'"},
    {"timestamp_minute", 1, 'i', "xs_ts_part($1,'minute',$2)", "'UTC'"},
    {"timestamp_epoch_day", 1, 'i', "CAST(floor($1 / 86400000.0) AS INTEGER)", NULL},
    {"timestamp_epoch_hour", 1, 'i', "CAST(floor($1 / 3600000.0) AS INTEGER)", NULL},
    {"timestamp_epoch_minute", 1, 'i', "CAST(floor($1 / 60000.0) AS INTEGER)", NULL},
    {"timestamp_epoch_sec", 1, 'i', "CAST(floor($1 / 1000.0) AS INTEGER)", NULL},
    {"timestamp_epoch_ms", 1, 'i', "($1)", NULL},
    {"timestamp_add_seconds", 1, 's', "($1 + $2 * 1000)", "1"},
    {"timestamp_add_minutes", 1, 's', "($1 + $2 * 60000)", "1"},
    {"timestamp_add_hours", 1, 's', "($1 + $2 * 3600000)", "1"},
    {"timestamp_add_days", 1, 's', "($1 + $2 * 86400000)", "1"},
    {"timestamp_add_months", 1, 's', "xs_ts_add($1,$2)", "1"},
    {"timestamp_add_years", 1, 's', "xs_ts_add($1,12 * $2)", "1"},
    {"timestamp_subtract_seconds", 1, 's', "($1 - $2 * 1000)", "1"},
    {"timestamp_subtract_minutes", 1, 's', "($1 - $2 * 60000)", "1"},
    {"timestamp_subtract_hours", 1, 's', "($1 - $2 * 3600000)", "1"},
    {"timestamp_subtract_days", 1, 's', "($1 - $2 * 86400000)", "1"},
    {"timestamp_subtract_months", 1, 's', "xs_ts_add($1,-($2))", "1"},
    {"timestamp_subtract_years", 1, 's', "xs_ts_add($1,-12 * $2)", "1"},
    {"distance", 2, 'd', "xs_geo_distance($1,$2)", NULL},
    {"within", 3, 'b', "(xs_geo_distance($1,$2) <= $3)", NULL},
    {"covers", 2, 'b', "xs_geo_covers($1,$2)", NULL},
    {"cosine_similarity", 2, 'd', "xs_vec_cos($1,$2)", NULL},
    {"cosine_distance", 2, 'd', "(1.0 - xs_vec_cos($1,$2))", NULL},
    {"l1_distance_manhattan", 2, 'd', "xs_vec_l1($1,$2)", NULL},
    {"l2_distance_euclidean", 2, 'd', "xs_vec_l2($1,$2)", NULL},
    {"inner_product", 2, 'd', "xs_vec_ip($1,$2)", NULL},
    {"negative_inner_product", 2, 'd', "(-xs_vec_ip($1,$2))", NULL},
};

static ColType result_type(char r, const Ex *operand)
{
    switch (r) {
    case 'i': return (ColType){CK_INT, CK_ANY};
    case 'd': return (ColType){CK_DEC, CK_ANY};
    case 't': return (ColType){CK_TEXT, CK_ANY};
    case 'b': return (ColType){CK_BOOL, CK_ANY};
    case 's': return (ColType){CK_TIME, CK_ANY};
    case '=': return operand->type;
    default: return (ColType){CK_ANY, CK_ANY}; /* arithmetic: whatever the database computed */
    }
}

static bool expand(Query *q, const char *sql, const Text *args, uint32_t n, const char *def,
                   Text *out)
{
    Buf b = BUF_INIT;
    for (const char *p = sql; *p; p++) {
        if (*p != '$' || p[1] < '1' || p[1] > '9') {
            buf_char(&b, *p);
            continue;
        }
        uint32_t i = (uint32_t)(*++p - '1');
        if (i < n)
            buf_text(&b, args[i]);
        else
            buf_cstr(&b, i == 1 && def ? def : "NULL");
    }
    return take_buf(q, &b, out);
}

enum { EXPR_MAX_ARGS = 4 };

static bool compile_filter(Query *q, const Const *x, Ex *out)
{
    Text name = const_get_text(x, "f");
    const Const *list = const_get(x, "args");
    uint32_t n = list && list->kind == C_LIST ? list->count : 0;
    Ex ex[EXPR_MAX_ARGS];
    Text args[EXPR_MAX_ARGS];
    if (n == 0 || n > EXPR_MAX_ARGS)
        return call_fail(q->c, XS_E_UNSUPPORTED, "'" TEXT_FMT "' with %u arguments in a query",
                         TEXT_ARG(name), n);
    for (uint32_t i = 0; i < n; i++)
        if (!expr_compile(q, list->items[i], &ex[i]) || !expr_no_each(q, &ex[i]))
            return false;
    if (expr_is_aggregate(name) && ex[0].has_col)
        return expr_aggregate(q, name, &ex[0], out);
    if (text_eq(name, TEXT("search_rank")) && n > 1)
        return search_rank(q, &ex[0], &ex[1], out);
    const FilterRow *row = NULL;
    for (size_t i = 0; i < COUNT_OF(filter_rows) && !row; i++)
        if (text_eq(name, text_from(filter_rows[i].name)))
            row = &filter_rows[i];
    if (!row || n < row->args)
        return call_fail(q->c, XS_E_UNSUPPORTED,
                         "the filter '" TEXT_FMT "' is not supported in a query", TEXT_ARG(name));
    bool time = text_starts(name, TEXT("timestamp_"));
    const Ex instant = {.type = {CK_TIME, CK_ANY}};
    bool vector = ex[0].type.kind == CK_VECTOR && ex[0].has_col;
    for (uint32_t i = 0; i < n; i++)
        if (!expr_sql(q, &ex[i], time && i == 0 ? &instant : vector ? &ex[0] : NULL, &args[i]))
            return false;
    const char *sql = row->sql;
    if (text_eq(name, TEXT("length")) && ex[0].type.kind == CK_LIST)
        sql = "json_array_length($1)";
    if (text_eq(name, TEXT("substr")))
        sql = n < 3 ? "substr($1,$2+($2>=0))" : "substr($1,$2+($2>=0),$3)";
    if (text_eq(name, TEXT("concat")) && n < 3)
        sql = "(coalesce($1,'') || $2)";
    *out = (Ex){.type = result_type(row->result, &ex[0]), .v = val_unset()};
    for (uint32_t i = 0; i < n; i++)
        out->has_col = out->has_col || ex[i].has_col;
    return expand(q, sql, args, n, row->def, &out->sql);
}

bool expr_compile(Query *q, const Const *x, Ex *out)
{
    const Const *col = const_get(x, "col");
    if (col)
        return compile_column(q, col, out);
    if (const_get(x, "f"))
        return compile_filter(q, x, out);
    if (!const_get(x, "p") && !const_get(x, "k"))
        return call_fail(q->c, XS_E_BUG, "bad expression in a query descriptor");
    Value v = site_value(q->c, x);
    if (v.kind == V_UNSET)
        v = val_null();
    *out = (Ex){.type = {CK_ANY, CK_ANY}, .v = v};
    return v.kind < V_TEXT || keep_value(q, v);
}

bool expr_sql(Query *q, const Ex *x, const Ex *like, Text *out)
{
    if (x->search)
        return call_fail(q->c, XS_E_BAD_ARG, "'" TEXT_FMT "' is a search index, not a column",
                         TEXT_ARG(x->search->name));
    if (x->sql.ptr) {
        *out = x->sql;
        if (x->json && like && !like->sql.ptr && like->v.kind == V_TEXT)
            *out = arena_printf(&q->arena, "CAST(" TEXT_FMT " AS TEXT)", TEXT_ARG(x->sql));
        return out->ptr || fail_memory(q->c);
    }
    xs_db_value v;
    bool match;
    ColType type = like ? like->type : (ColType){CK_ANY, CK_ANY};
    if (!compare_value(q->c, &q->arena, like ? like->col : NULL, type, x->v, true, &v, &match))
        return false;
    *out = arena_printf(&q->arena, "?%u", sql_bind(&q->sql, v));
    return (out->ptr && !q->sql.failed) || fail_memory(q->c);
}

/* ---- aggregates ---- */

static const FilterRow aggregate_rows[] = {
    {"count", 1, 'i', "count($1)", NULL},
    {"count_distinct", 1, 'i', "count(DISTINCT $1)", NULL},
    {"sum", 1, 'a', "sum($1)", NULL},
    {"avg", 1, 'd', "avg($1)", NULL},
    {"min", 1, '=', "min($1)", NULL},
    {"max", 1, '=', "max($1)", NULL},
    {"median", 1, 'd', "xs_median($1)", NULL},
    {"to_list", 1, 'l', "json_group_array($1)", NULL},
    {"to_list_asc", 1, 'l', "json_group_array($1)", NULL},
    {"to_list_desc", 1, 'l', "json_group_array($1)", NULL},
    {"to_distinct_list", 1, 'l', "json_group_array(DISTINCT $1)", NULL},
    {"to_distinct_list_asc", 1, 'l', "json_group_array(DISTINCT $1)", NULL},
    {"to_distinct_list_desc", 1, 'l', "json_group_array(DISTINCT $1)", NULL},
};

static const FilterRow *aggregate_row(Text fn)
{
    for (size_t i = 0; i < COUNT_OF(aggregate_rows); i++)
        if (text_eq(fn, text_from(aggregate_rows[i].name)))
            return &aggregate_rows[i];
    return NULL;
}

bool expr_is_aggregate(Text fn)
{
    return aggregate_row(fn) != NULL;
}

bool expr_aggregate(Query *q, Text fn, const Ex *x, Ex *out)
{
    const FilterRow *row = aggregate_row(fn);
    Text arg;
    if (!row)
        return call_fail(q->c, XS_E_UNSUPPORTED, "'" TEXT_FMT "' is not an aggregate",
                         TEXT_ARG(fn));
    if (!q->aggregate)
        return call_fail(q->c, XS_E_BAD_ARG, "'" TEXT_FMT "' needs return type aggregate",
                         TEXT_ARG(fn));
    if (!expr_sql(q, x, NULL, &arg))
        return false;
    if (row->result == 'l' && x->type.kind == CK_BOOL)
        arg = arena_printf(&q->arena,
                           "json(CASE " TEXT_FMT " WHEN 0 THEN 'false' WHEN 1 THEN 'true' END)",
                           TEXT_ARG(arg));
    else if (row->result == 'l' &&
             (x->type.kind == CK_JSON || x->type.kind == CK_LIST || x->type.kind == CK_FILE))
        arg = arena_printf(&q->arena, "json(" TEXT_FMT ")", TEXT_ARG(arg));
    if (!arg.ptr)
        return fail_memory(q->c);
    *out = (Ex){.has_col = true, .v = val_unset()};
    out->type = row->result == 'l' ? (ColType){CK_LIST, x->type.kind} : result_type(row->result, x);
    if (row->result == 'a' && x->type.kind == CK_DEC)
        out->type = x->type;
    return expand(q, row->sql, &arg, 1, NULL, &out->sql);
}

/* ---- coercion of compared values ---- */

static bool bound_text(Call *c, Arena *a, const Column *col, Value v, xs_db_value *out, bool *match)
{
    Value copy = val_ref(v), payload = val_unset();
    xs_error err = {0};
    bool ok = bind_field(c->heap, c->services, col->plain, &copy, col->name, &err, &payload);
    val_unref(c->heap, payload);
    *match = ok;
    if (ok)
        ok = row_encode(a, col->type, copy, out, &err);
    val_unref(c->heap, copy);
    if (!ok && (err.code == XS_E_NOMEM || err.code == XS_E_MEMORY)) {
        *c->err = err;
        return false;
    }
    *match = *match && ok;
    return true;
}

static bool compare_number(Value v, xs_db_value *out)
{
    Value n;
    if (v.kind == V_BOOL)
        *out = dbv_int(v.b);
    else if (v.kind == V_INT)
        *out = dbv_int(v.i);
    else if (v.kind == V_DEC)
        *out = dbv_real(v.d);
    else if (v.kind == V_TEXT && text_number(val_text_view(v), &n))
        *out = n.kind == V_INT ? dbv_int(n.i) : dbv_real(n.d);
    else
        return false;
    return true;
}

static bool compare_bool(Value v, xs_db_value *out)
{
    Text t = v.kind == V_TEXT ? val_text_view(v) : (Text){"", 0};
    bool yes = (v.kind == V_BOOL && v.b) || (v.kind == V_INT && v.i == 1) ||
               text_eq(t, TEXT("true")) || text_eq(t, TEXT("1"));
    bool no = (v.kind == V_BOOL && !v.b) || (v.kind == V_INT && v.i == 0) ||
              text_eq(t, TEXT("false")) || text_eq(t, TEXT("0"));
    *out = dbv_int(yes);
    return yes || no;
}

bool compare_value(Call *c, Arena *a, const Column *col, ColType type, Value v, bool strict,
                   xs_db_value *out, bool *match)
{
    *match = true;
    if (val_is_null(v)) {
        *out = dbv_null();
        return true;
    }
    bool ok = true;
    switch (type.kind) {
    case CK_INT:
    case CK_DEC: *match = compare_number(v, out); break;
    case CK_TIME:
        *match = compare_number(v, out);
        if (!*match && v.kind == V_TEXT && text_eq(val_text_view(v), TEXT("now")) && c->services &&
            c->services->now_ms) {
            *out = dbv_int(c->services->now_ms(c->services->ctx));
            *match = true;
        } else if (!*match && col && v.kind == V_TEXT) {
            ok = bound_text(c, a, col, v, out, match);
        }
        break;
    case CK_BOOL: *match = compare_bool(v, out); break;
    case CK_DATE:
        if (col && v.kind == V_TEXT)
            ok = bound_text(c, a, col, v, out, match);
        else
            *match = false;
        break;
    case CK_TEXT:
    case CK_UUID:
    case CK_PASSWORD:
        *match = v.kind < V_LIST;
        ok = !*match || row_encode(a, (ColType){CK_TEXT, CK_ANY}, v, out, c->err);
        if (ok && *match && type.kind == CK_UUID) {
            char *p = (char *)(uintptr_t)out->bytes.ptr; /* our own copy */
            for (size_t i = 0; i < out->bytes.len; i++)
                if (p[i] >= 'A' && p[i] <= 'F')
                    p[i] = (char)(p[i] + 32);
        }
        break;
    case CK_JSON:
    case CK_LIST:
    case CK_FILE: ok = row_encode(a, (ColType){CK_JSON, CK_ANY}, v, out, c->err); break;
    case CK_VECTOR: ok = row_encode(a, type, v, out, c->err); break;
    case CK_ANY: ok = row_encode(a, type, v, out, c->err); break;
    }
    if (!ok)
        return false;
    if (!*match && strict)
        return fail_param(c, col ? col->name : TEXT("where"), "Invalid value for param");
    return true;
}
