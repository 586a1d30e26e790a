/* predicate.c - predicates of a query descriptor, and additional_where, -> SQL (runtime.md §3.4,
 * §3.6). A leaf whose operator ends in "?" disappears when its value is empty, and a group that
 * lost all its leaves disappears too. */
#include <stdio.h>

#include "core/text.h"
#include "stdlib/db/query.h"

typedef enum PredOp {
    P_EQ,
    P_NE,
    P_GT,
    P_GE,
    P_LT,
    P_LE,
    P_IN,
    P_NOT_IN,
    P_LIKE,
    P_NOT_LIKE,
    P_ILIKE,
    P_NOT_ILIKE,
    P_INCLUDES,
    P_NOT_INCLUDES,
    P_CONTAINS,
    P_NOT_CONTAINS,
    P_OVERLAPS,
    P_NOT_OVERLAPS,
    P_REGEX,
    P_NOT_REGEX,
    P_SEARCH,
    P_BETWEEN,
    P_NOT_BETWEEN
} PredOp;

static const struct OpRow {
    const char *spelling;
    PredOp op;
    PredOp flipped; /* the same with the sides exchanged */
    const char *sql;
} op_rows[] = {
    {"==", P_EQ, P_EQ, NULL},
    {"=", P_EQ, P_EQ, NULL},
    {"!=", P_NE, P_NE, NULL},
    {">", P_GT, P_LT, " > "},
    {">=", P_GE, P_LE, " >= "},
    {"<", P_LT, P_GT, " < "},
    {"<=", P_LE, P_GE, " <= "},
    {"in", P_IN, P_CONTAINS, NULL},
    {"not in", P_NOT_IN, P_NOT_CONTAINS, NULL},
    {"contains", P_CONTAINS, P_IN, NULL},
    {"@>", P_CONTAINS, P_IN, NULL},
    {"not contains", P_NOT_CONTAINS, P_NOT_IN, NULL},
    {"overlaps", P_OVERLAPS, P_OVERLAPS, NULL},
    {"not overlaps", P_NOT_OVERLAPS, P_NOT_OVERLAPS, NULL},
    {"like", P_LIKE, P_LIKE, "xs_like"},
    {"not like", P_NOT_LIKE, P_NOT_LIKE, "NOT xs_like"},
    {"ilike", P_ILIKE, P_ILIKE, "xs_ilike"},
    {"not ilike", P_NOT_ILIKE, P_NOT_ILIKE, "NOT xs_ilike"},
    {"includes", P_INCLUDES, P_INCLUDES, "xs_includes"},
    {"not includes", P_NOT_INCLUDES, P_NOT_INCLUDES, "NOT xs_includes"},
    {"~", P_REGEX, P_REGEX, "regexp"},
    {"!~", P_NOT_REGEX, P_NOT_REGEX, "NOT regexp"},
    {"search", P_SEARCH, P_SEARCH, "xs_search"},
    {"between", P_BETWEEN, P_BETWEEN, " BETWEEN "},
    {"not between", P_NOT_BETWEEN, P_NOT_BETWEEN, " NOT BETWEEN "},
};

static const struct OpRow *find_op(Text name, bool *ignore)
{
    *ignore = name.len && name.ptr[name.len - 1] == '?';
    if (*ignore) {
        name.len--;
        while (name.len && name.ptr[name.len - 1] == ' ')
            name.len--;
    }
    for (size_t i = 0; i < COUNT_OF(op_rows); i++)
        if (text_eq(name, text_from(op_rows[i].spelling)))
            return &op_rows[i];
    return NULL;
}

static const struct OpRow *op_row(PredOp op)
{
    for (size_t i = 0; i < COUNT_OF(op_rows); i++)
        if (op_rows[i].op == op)
            return &op_rows[i];
    return &op_rows[0];
}

static bool is_value(const Ex *x)
{
    return !x->sql.ptr;
}

static bool is_empty(const Ex *x)
{
    if (!is_value(x))
        return false;
    return val_is_null(x->v) || (x->v.kind == V_TEXT && x->v.text->len == 0) ||
           (x->v.kind == V_LIST && x->v.list->len == 0);
}

static bool is_json(const Ex *x)
{
    return x->type.kind == CK_JSON || x->type.kind == CK_FILE || x->type.kind == CK_ANY;
}

/* "?N" of a list whose elements fit the column, as JSON text for json_each. */
static bool list_param(Query *q, const Ex *v, const Ex *col, ColType item, Text *out)
{
    Heap *h = q->c->heap;
    Value list = val_is_null(v->v) ? val_null() : val_ref(v->v);
    xs_db_value p = dbv_null();
    if (list.kind != V_NULL && list.kind != V_LIST) { /* one value stands for a list of it */
        list = list_new(h, 1);
        if (list.kind == V_UNSET || !list_push(h, &list, val_ref(v->v))) {
            val_unref(h, list);
            return fail_memory(q->c);
        }
        val_unref(h, v->v);
    }
    bool ok = true;
    if (list.kind == V_LIST) {
        Buf b = BUF_INIT;
        buf_char(&b, '[');
        bool first = true;
        for (uint32_t i = 0; ok && i < list.list->len; i++) {
            xs_db_value e;
            bool match;
            ok = compare_value(q->c, &q->arena, col->col, item, list_at(list.list, i), true, &e,
                               &match);
            if (!ok || e.type == XS_DB_NULL)
                continue;
            if (!first)
                buf_char(&b, ',');
            first = false;
            Value x = e.type == XS_DB_INT    ? val_int(e.i)
                      : e.type == XS_DB_REAL ? val_dec(e.d)
                                             : val_unset();
            if (x.kind != V_UNSET) {
                ok = val_write_json(x, &b) || fail_memory(q->c);
                continue;
            }
            Value t = text_new(h, dbv_bytes(&e));
            ok = (t.kind != V_UNSET && val_write_json(t, &b)) || fail_memory(q->c);
            val_unref(h, t);
        }
        buf_char(&b, ']');
        Text t = ok && !b.failed ? arena_text(&q->arena, buf_view(&b)) : (Text){0};
        buf_deinit(&b);
        if (ok && !t.ptr)
            ok = fail_memory(q->c);
        if (ok)
            p = dbv_text(t);
    }
    val_unref(h, list);
    if (!ok)
        return false;
    *out = arena_printf(&q->arena, "?%u", sql_bind(&q->sql, p));
    return out->ptr || fail_memory(q->c);
}

static bool text_param(Query *q, const Ex *x, Text *out)
{
    const Ex as_text = {.type = {CK_TEXT, CK_ANY}};
    return expr_sql(q, x, &as_text, out);
}

static bool write_equal(Query *q, bool equal, const Ex *l, const Ex *r, Buf *out)
{
    Text a, b;
    const Ex *v = is_value(l) ? l : r, *x = v == l ? r : l;
    if (!is_value(v)) { /* two columns: null never equals anything */
        buf_printf(out, "(" TEXT_FMT " %s " TEXT_FMT ")", TEXT_ARG(l->sql), equal ? "=" : "<>",
                   TEXT_ARG(r->sql));
        return true;
    }
    if (!expr_sql(q, v, x, &b) || !expr_sql(q, x, v, &a))
        return false;
    const char *op = equal ? "IS" : val_is_null(v->v) ? "IS NOT" : "<>";
    buf_printf(out, "(" TEXT_FMT " %s " TEXT_FMT ")", TEXT_ARG(a), op, TEXT_ARG(b));
    return true;
}

static bool write_in(Query *q, bool in, const Ex *l, const Ex *r, Buf *out)
{
    Text a, list;
    if (is_value(r)) {
        if (!expr_sql(q, l, NULL, &a) || !list_param(q, r, l, l->type, &list))
            return false;
    } else if (!expr_sql(q, l, NULL, &a)) {
        return false;
    } else {
        list = r->sql;
    }
    buf_printf(out, "(" TEXT_FMT " %s (SELECT value FROM json_each(" TEXT_FMT ")))", TEXT_ARG(a),
               in ? "IN" : "NOT IN", TEXT_ARG(list));
    return true;
}

static bool write_contains(Query *q, bool yes, const Ex *l, const Ex *r, Buf *out)
{
    Text a, b;
    const char *no = yes ? "" : "NOT ";
    if (is_value(r) && val_is_null(r->v)) {
        buf_cstr(out, "0");
        return true;
    }
    if (!expr_sql(q, l, r, &a))
        return false;
    if (l->type.kind == CK_TEXT) {
        if (!text_param(q, r, &b))
            return false;
        buf_printf(out, "(%sxs_includes(" TEXT_FMT "," TEXT_FMT "))", no, TEXT_ARG(b), TEXT_ARG(a));
        return true;
    }
    bool element =
        !is_value(r) || (l->type.kind == CK_LIST && r->v.kind != V_LIST && r->v.kind != V_MAP);
    const Ex item = {.type = {l->type.kind == CK_LIST ? l->type.item : CK_ANY, CK_ANY},
                     .col = NULL};
    const Ex json = {.type = {CK_JSON, CK_ANY}};
    if (!expr_sql(q, r, element ? &item : &json, &b))
        return false;
    if (element)
        buf_printf(out,
                   "(%sEXISTS(SELECT 1 FROM json_each(" TEXT_FMT ") WHERE value = " TEXT_FMT "))",
                   no, TEXT_ARG(a), TEXT_ARG(b));
    else
        buf_printf(out, "(%sxs_contains(" TEXT_FMT "," TEXT_FMT "))", no, TEXT_ARG(a), TEXT_ARG(b));
    return true;
}

static bool write_overlaps(Query *q, bool yes, const Ex *l, const Ex *r, Buf *out)
{
    const Ex *v = is_value(l) ? l : r, *x = v == l ? r : l;
    Text a, b;
    ColType item = {x->type.kind == CK_LIST ? x->type.item : CK_ANY, CK_ANY};
    if (is_value(v) && val_is_null(v->v)) {
        buf_cstr(out, "0");
        return true;
    }
    const Ex none = {.type = item};
    if (!expr_sql(q, x, NULL, &a))
        return false;
    if (!is_value(v))
        b = v->sql;
    else if (!list_param(q, v, &none, item, &b))
        return false;
    buf_printf(out,
               "(%sEXISTS(SELECT 1 FROM json_each(" TEXT_FMT ") a JOIN json_each(" TEXT_FMT
               ") b ON a.value = b.value))",
               yes ? "" : "NOT ", TEXT_ARG(a), TEXT_ARG(b));
    return true;
}

/* pattern(value): xs_like, regexp … take the pattern first. */
static bool write_match(Query *q, PredOp op, const Ex *l, const Ex *r, Buf *out)
{
    Text text, pattern;
    if ((op == P_INCLUDES || op == P_NOT_INCLUDES) && l->type.kind == CK_LIST)
        return write_contains(q, op == P_INCLUDES, l, r, out);
    if (!text_param(q, l, &text) || !text_param(q, r, &pattern))
        return false;
    buf_printf(out, "(%s(" TEXT_FMT "," TEXT_FMT "))", op_row(op)->sql, TEXT_ARG(pattern),
               TEXT_ARG(text));
    return true;
}

/* Of json members only numbers are less or greater than a number: to SQLite every text is more. */
static bool ordered_sql(Query *q, const Ex *x, const Ex *other, Text *out)
{
    bool member = x->json || (x->each.ptr && x->type.kind == CK_ANY);
    bool number = is_value(other) && (other->v.kind == V_INT || other->v.kind == V_DEC);
    if (!expr_sql(q, x, other, out))
        return false;
    if (member && number)
        *out = arena_printf(
            &q->arena, "CASE WHEN typeof(" TEXT_FMT ") IN ('integer','real') THEN " TEXT_FMT " END",
            TEXT_ARG(*out), TEXT_ARG(*out));
    return out->ptr || fail_memory(q->c);
}

static bool write_between(Query *q, PredOp op, const Ex *x, const Ex *lo, const Ex *hi, Buf *out)
{
    Text a, b, c;
    if (!ordered_sql(q, x, lo, &a) || !expr_sql(q, lo, x, &b) || !expr_sql(q, hi, x, &c))
        return false;
    buf_printf(out, "(" TEXT_FMT "%s" TEXT_FMT " AND " TEXT_FMT ")", TEXT_ARG(a), op_row(op)->sql,
               TEXT_ARG(b), TEXT_ARG(c));
    return true;
}

static bool in_list(Value item, Value list)
{
    for (uint32_t i = 0; list.kind == V_LIST && i < list.list->len; i++)
        if (val_loose_eq(item, list_at(list.list, i)))
            return true;
    return false;
}

/* No column takes part: the machine's own comparison decides. True when it knows the operator. */
static bool fold_leaf(PredOp op, Value a, Value b, bool *yes)
{
    bool null = val_is_null(a) || val_is_null(b);
    switch (op) {
    case P_EQ: *yes = val_loose_eq(a, b); return true;
    case P_NE: *yes = !val_loose_eq(a, b); return true;
    case P_GT: *yes = !null && val_compare(a, b) > 0; return true;
    case P_GE: *yes = !null && val_compare(a, b) >= 0; return true;
    case P_LT: *yes = !null && val_compare(a, b) < 0; return true;
    case P_LE: *yes = !null && val_compare(a, b) <= 0; return true;
    case P_IN: *yes = in_list(a, b); return true;
    case P_NOT_IN: *yes = !in_list(a, b); return true;
    case P_CONTAINS: *yes = in_list(b, a); return a.kind == V_LIST;
    case P_NOT_CONTAINS: *yes = !in_list(b, a); return a.kind == V_LIST;
    case P_LIKE:
    case P_NOT_LIKE:
    case P_ILIKE:
    case P_NOT_ILIKE:
    case P_INCLUDES:
    case P_NOT_INCLUDES:
    case P_OVERLAPS:
    case P_NOT_OVERLAPS:
    case P_REGEX:
    case P_NOT_REGEX:
    case P_SEARCH:
    case P_BETWEEN:
    case P_NOT_BETWEEN: break;
    }
    return false;
}

static bool write_leaf(Query *q, PredOp op, Ex *l, Ex *r, Buf *out)
{
    bool yes;
    if (is_value(l) && is_value(r) && fold_leaf(op, l->v, r->v, &yes)) {
        buf_cstr(out, yes ? "1" : "0");
        return true;
    }
    if (!l->has_col && r->has_col && op_row(op)->flipped != op) {
        Ex *t = l;
        l = r;
        r = t;
        op = op_row(op)->flipped;
    }
    switch (op) {
    case P_EQ:
    case P_NE: return write_equal(q, op == P_EQ, l, r, out);
    case P_GT:
    case P_GE:
    case P_LT:
    case P_LE: {
        Text a, b;
        if (!ordered_sql(q, l, r, &a) || !expr_sql(q, r, l, &b))
            return false;
        buf_printf(out, "(" TEXT_FMT "%s" TEXT_FMT ")", TEXT_ARG(a), op_row(op)->sql, TEXT_ARG(b));
        return true;
    }
    case P_IN:
    case P_NOT_IN: return write_in(q, op == P_IN, l, r, out);
    case P_CONTAINS:
    case P_NOT_CONTAINS:
        if (!is_value(l) && !is_value(r) && l->type.kind != CK_LIST && !is_json(l))
            return call_fail(q->c, XS_E_BAD_ARG,
                             "contains needs a list or json column on its left");
        return write_contains(q, op == P_CONTAINS, l, r, out);
    case P_OVERLAPS:
    case P_NOT_OVERLAPS: return write_overlaps(q, op == P_OVERLAPS, l, r, out);
    case P_LIKE:
    case P_NOT_LIKE:
    case P_ILIKE:
    case P_NOT_ILIKE:
    case P_INCLUDES:
    case P_NOT_INCLUDES:
    case P_REGEX:
    case P_NOT_REGEX: return write_match(q, op, l, r, out);
    case P_SEARCH:
        if (is_value(r) && search_index(q, l))
            return search_write(q, l, r->v, out);
        return write_match(q, op, l, r, out);
    case P_BETWEEN:
    case P_NOT_BETWEEN: break;
    }
    return call_fail(q->c, XS_E_BUG, "bad operator in a query descriptor");
}

/* `between [lo, hi]` with a list value. */
static void split_range(const Ex *r, Ex *lo, Ex *hi)
{
    *lo = *hi = *r;
    if (is_value(r) && r->v.kind == V_LIST && r->v.list->len >= 1) {
        lo->v = list_at(r->v.list, 0);
        hi->v = list_at(r->v.list, r->v.list->len - 1);
    }
}

static bool compile_leaf(Query *q, const Const *p, Buf *out, bool *any)
{
    bool ignore;
    const struct OpRow *row = find_op(const_text_of(p->items[0], (Text){"", 0}), &ignore);
    if (!row || p->count < 3)
        return call_fail(q->c, XS_E_UNSUPPORTED, "the operator '" TEXT_FMT "' in a query",
                         TEXT_ARG(const_text_of(p->items[0], (Text){"", 0})));
    Ex l, r, hi;
    if (!expr_compile(q, p->items[1], &l) || !expr_compile(q, p->items[2], &r))
        return false;
    bool range = row->op == P_BETWEEN || row->op == P_NOT_BETWEEN;
    if (range && p->count > 3) {
        if (!expr_compile(q, p->items[3], &hi))
            return false;
    } else if (range) {
        Ex whole = r;
        split_range(&whole, &r, &hi);
    }
    *any = true;
    if ((ignore && (is_empty(&l) || is_empty(&r) || (range && is_empty(&hi)))) ||
        (row->op == P_SEARCH && is_empty(&r))) {
        *any = false;
        return true;
    }
    const Text *each = l.each.ptr ? &l.each : r.each.ptr ? &r.each : NULL;
    if (l.each.ptr && r.each.ptr)
        return expr_no_each(q, &r);
    if (each)
        buf_printf(out, "EXISTS(SELECT 1 FROM " TEXT_FMT " e WHERE ", TEXT_ARG(*each));
    bool ok =
        range ? write_between(q, row->op, &l, &r, &hi, out) : write_leaf(q, row->op, &l, &r, out);
    if (each)
        buf_char(out, ')');
    return ok;
}

static bool write_pred(Query *q, const Const *p, Buf *out, bool *any, unsigned depth);

static bool write_group(Query *q, const Const *p, const char *glue, Buf *out, bool *any,
                        unsigned depth)
{
    size_t start = out->len;
    *any = false;
    buf_char(out, '(');
    for (uint32_t i = 1; i < p->count; i++) {
        size_t before = out->len;
        bool some;
        if (*any)
            buf_cstr(out, glue);
        if (!write_pred(q, p->items[i], out, &some, depth + 1))
            return false;
        if (!some)
            out->len = before;
        *any = *any || some;
    }
    buf_char(out, ')');
    if (!*any)
        out->len = start;
    return true;
}

static bool write_not(Query *q, const Const *p, Buf *out, bool *any, unsigned depth)
{
    size_t start = out->len;
    buf_cstr(out, "(NOT ");
    if (!write_pred(q, p, out, any, depth + 1))
        return false;
    buf_char(out, ')');
    if (!*any)
        out->len = start;
    return true;
}

static bool write_flag(Query *q, const Const *x, Buf *out)
{
    Ex e;
    Text sql;
    if (!expr_compile(q, x, &e) || !expr_no_each(q, &e))
        return false;
    if (is_value(&e)) {
        buf_cstr(out, val_truthy(e.v) ? "1" : "0");
        return true;
    }
    if (!expr_sql(q, &e, NULL, &sql))
        return false;
    buf_printf(out, "(" TEXT_FMT " = 1)", TEXT_ARG(sql));
    return true;
}

static bool write_pred(Query *q, const Const *p, Buf *out, bool *any, unsigned depth)
{
    if (depth > QUERY_MAX_DEPTH)
        return call_fail(q->c, XS_E_DEPTH, "the condition of the query is nested too deeply");
    if (!p || p->kind != C_LIST || p->count < 2)
        return call_fail(q->c, XS_E_BUG, "bad predicate in a query descriptor");
    Text head = const_text_of(p->items[0], (Text){"", 0});
    *any = true;
    if (text_eq(head, TEXT("and")))
        return write_group(q, p, " AND ", out, any, depth);
    if (text_eq(head, TEXT("or")))
        return write_group(q, p, " OR ", out, any, depth);
    if (text_eq(head, TEXT("not")))
        return write_not(q, p->items[1], out, any, depth);
    if (text_eq(head, TEXT("true")) || text_eq(head, TEXT("value"))) {
        /* ["true", ["t", "c"]] and ["true", {"col": …}] */
        const Const *x = p->items[1];
        if (x->kind == C_LIST) {
            Const *m = const_map(&q->arena, 1);
            if (!m || !const_set(&q->arena, m, TEXT("col"), x))
                return fail_memory(q->c);
            x = m;
        }
        return write_flag(q, x, out);
    }
    return compile_leaf(q, p, out, any);
}

bool pred_write(Query *q, const Const *pred, Buf *out, bool *any)
{
    *any = false;
    if (!pred || pred->kind == C_NULL)
        return true;
    return write_pred(q, pred, out, any, 0);
}

/* ---- additional_where: the same as a run-time value ---- */

enum { AW_MAX_DEPTH = 16, AW_MAX_ENTRIES = 256 };

static bool aw_bad(Query *q)
{
    return fail_param(q->c, TEXT("additional_where"), "Invalid value for param");
}

static bool aw_statement(Query *q, Value st, Buf *out, bool *any)
{
    Value left = map_get_cstr(st, "left"), right = map_get_cstr(st, "right"),
          op = map_get_cstr(st, "op");
    Value name = map_get_cstr(left, "operand");
    bool ignore;
    if (name.kind != V_TEXT || op.kind != V_TEXT || right.kind != V_MAP)
        return aw_bad(q);
    const struct OpRow *row = find_op(val_text_view(op), &ignore);
    ignore = ignore || val_truthy(map_get_cstr(right, "ignore_empty"));
    if (!row)
        return aw_bad(q);
    Ex l, r = {.type = {CK_ANY, CK_ANY}, .v = map_get_cstr(right, "operand")}, lo, hi;
    if (!expr_named(q, val_text_view(name), &l))
        return false;
    if (l.col && l.col->internal)
        return fail_param(q->c, val_text_view(name), "Unsupported parameter reference - " TEXT_FMT,
                          TEXT_ARG(val_text_view(name)));
    *any = !((ignore || row->op == P_SEARCH) && is_empty(&r));
    if (!*any)
        return true;
    if (row->op != P_BETWEEN && row->op != P_NOT_BETWEEN)
        return write_leaf(q, row->op, &l, &r, out);
    if (r.v.kind != V_LIST || r.v.list->len != 2)
        return aw_bad(q);
    split_range(&r, &lo, &hi);
    return write_between(q, row->op, &l, &lo, &hi, out);
}

static bool aw_list(Query *q, Value list, Buf *out, bool *any, unsigned depth, unsigned *entries)
{
    *any = false;
    if (depth > AW_MAX_DEPTH || list.kind != V_LIST)
        return aw_bad(q);
    Buf acc = BUF_INIT;
    bool ok = true;
    for (uint32_t i = 0; ok && i < list.list->len; i++) {
        Value e = list_at(list.list, i), st = map_get_cstr(e, "statement"),
              group = map_get_cstr(e, "group");
        Buf one = BUF_INIT;
        bool some = false;
        if (++*entries > AW_MAX_ENTRIES)
            ok = aw_bad(q);
        else if (st.kind == V_MAP)
            ok = aw_statement(q, st, &one, &some);
        else if (group.kind == V_MAP)
            ok = aw_list(q, map_get_cstr(group, "expression"), &one, &some, depth + 1, entries);
        else
            ok = aw_bad(q);
        if (ok && some && !*any) {
            buf_text(&acc, buf_view(&one));
            *any = true;
        } else if (ok && some) { /* to the left: ((a AND b) OR c) */
            Buf both = BUF_INIT;
            buf_char(&both, '(');
            buf_text(&both, buf_view(&acc));
            buf_cstr(&both, val_truthy(map_get_cstr(e, "or")) ? " OR " : " AND ");
            buf_text(&both, buf_view(&one));
            buf_char(&both, ')');
            both.failed = both.failed || acc.failed || one.failed;
            buf_deinit(&acc);
            acc = both;
        }
        acc.failed = acc.failed || one.failed;
        buf_deinit(&one);
    }
    ok = ok && (!acc.failed || fail_memory(q->c));
    if (ok && *any)
        buf_printf(out, "(" TEXT_FMT ")", TEXT_ARG(buf_view(&acc)));
    buf_deinit(&acc);
    return ok;
}

bool pred_write_value(Query *q, Value where, Buf *out, bool *any)
{
    *any = false;
    unsigned entries = 0;
    Heap *h = q->c->heap;
    if (val_is_null(where) || (where.kind == V_TEXT && where.text->len == 0))
        return true;
    if (where.kind == V_TEXT) {
        xs_error err = {0};
        Value v = val_parse_json(h, val_text_view(where), &err);
        if (v.kind == V_UNSET)
            return err.code == XS_E_BAD_JSON ? aw_bad(q) : fail_memory(q->c);
        bool ok = pred_write_value(q, v.kind == V_TEXT ? val_int(0) : v, out, any);
        val_unref(h, v);
        return ok;
    }
    Value list = map_get_cstr(where, "expression");
    if (where.kind == V_LIST)
        list = where;
    if (where.kind == V_MAP && where.map->count == 0)
        return true;
    return aw_list(q, list, out, any, 0, &entries);
}
