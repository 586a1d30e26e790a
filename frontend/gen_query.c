/* gen_query.c - structured clauses: their constant shape goes into the site's descriptor, run-time
 * values become arguments. Shapes: core/lang/README.md; meaning: runtime specification,
 * sections 3.3-3.7. */
#include "frontend/gen.h"

static const Const *column_expr(Query *q, Expr *e);

static const Const *one(Query *q, const char *key, const Const *value)
{
    Const *m = k_map(q->g->c);
    k_set(q->g->c, m, text_from(key), value);
    return m;
}

/* A value of the program: a constant, or the next argument. */
static const Const *program_value(Query *q, Expr *e)
{
    const Const *k = fold_const(q->g->c, e);
    if (k)
        return one(q, "k", k);
    int64_t index = (int64_t)(q->first + q->args.len);
    PUSH(q->g->c, &q->args, e);
    return one(q, "p", k_int(q->g->c, index));
}

static const Const *argument(Query *q, Expr *e)
{
    int64_t index = (int64_t)(q->first + q->args.len);
    PUSH(q->g->c, &q->args, e);
    return one(q, "p", k_int(q->g->c, index));
}

static Const *list_of(Query *q, const char *head)
{
    Const *l = k_list(q->g->c);
    k_push(q->g->c, l, k_text(q->g->c, text_from(head)));
    return l;
}

static void push_text(Query *q, Const *l, Text t)
{
    k_push(q->g->c, l, k_text(q->g->c, t));
}

/* ---- columns ---- */

enum { MAX_COLUMN_PATH = 16 };

static const Const *column_ref(Query *q, Expr *e)
{
    const Expr *parts[MAX_COLUMN_PATH];
    size_t source;
    Comp *c = q->g->c;
    size_t n = column_split(&q->sources, e, &source, parts, COUNT_OF(parts));
    Const *path = k_list(c);
    push_text(q, path, q->sources.item[source].alias);
    for (size_t i = 0; i < n; i++) {
        const Expr *part = parts[i];
        if (part->kind == EX_MEMBER)
            push_text(q, path, part->text);
        else if (!part->b)
            push_text(q, path, TEXT("[]"));
        else if (part->b->kind == EX_INT)
            k_push(c, path, k_int(c, part->b->i));
        else if (part->b->kind == EX_TEXT)
            push_text(q, path, part->b->text);
        else
            report(c, D_CONSTANT_EXPECTED, part->pos, NO_HINT,
                   "an index in a column path must be a constant");
    }
    return one(q, "col", path);
}

static const Const *filter_node(Query *q, Text name, Expr *operand, Expr *const *args, size_t n)
{
    Comp *c = q->g->c;
    Const *m = k_map(c), *list = k_list(c);
    k_push(c, list, column_expr(q, operand));
    for (size_t i = 0; i < n; i++)
        k_push(c, list, column_expr(q, args[i]));
    k_set(c, m, TEXT("f"), k_text(c, name));
    k_set(c, m, TEXT("args"), list);
    return m;
}

static const Const *column_expr(Query *q, Expr *e)
{
    if (!e)
        return &const_null;
    if (!has_column(e))
        return program_value(q, e);
    if (is_column_ref(e))
        return column_ref(q, e);
    if (e->kind == EX_FILTER && e->a) {
        if (e->disabled)
            return column_expr(q, e->a);
        return filter_node(q, e->text, e->a, e->items.ptr, e->items.len);
    }
    static const struct {
        BinOp op;
        const char *filter;
    } ops[] = {{BIN_ADD, "add"},
               {BIN_SUB, "sub"},
               {BIN_MUL, "mul"},
               {BIN_DIV, "div"},
               {BIN_CONCAT, "concat"}};
    if (e->kind == EX_BINARY)
        for (size_t i = 0; i < COUNT_OF(ops); i++)
            if (e->op == ops[i].op)
                return filter_node(q, text_from(ops[i].filter), e->a, &e->b, 1);
    report(q->g->c, D_FILTER_NOT_FOR_QUERY, e->pos, NO_HINT,
           "this cannot be computed from a column in a query");
    return &const_null;
}

/* ---- predicates ---- */

static const Const *pred(Query *q, Expr *e);

static void flatten(Query *q, Expr *e, BinOp op, Const *into)
{
    if (e->kind == EX_BINARY && e->op == op) {
        flatten(q, e->a, op, into);
        flatten(q, e->b, op, into);
    } else {
        k_push(q->g->c, into, pred(q, e));
    }
}

static const Const *compare(Query *q, Text op, bool optional, Expr *a, Expr *b)
{
    Comp *c = q->g->c;
    Const *l = k_list(c);
    push_text(q, l, optional ? arena_printf(c->a, TEXT_FMT "?", TEXT_ARG(op)) : op);
    k_push(c, l, column_expr(q, a));
    k_push(c, l, column_expr(q, b));
    return l;
}

static Expr *index_of(Query *q, Expr *list, int64_t i)
{
    Comp *c = q->g->c;
    Expr *e = NEW(c, Expr), *k = NEW(c, Expr);
    k->kind = EX_INT;
    k->i = i;
    k->pos = e->pos = list->pos;
    e->kind = EX_INDEX;
    e->a = list;
    e->b = k;
    list->paren = true; /* a missing bound reads null */
    return e;
}

static const Const *between(Query *q, Expr *a, Expr *low, Expr *high, bool optional)
{
    Comp *c = q->g->c;
    Const *l = list_of(q, optional ? "between?" : "between");
    if (!high && low && low->kind == EX_LIST && low->items.len == 2) {
        high = low->items.ptr[1];
        low = low->items.ptr[0];
    } else if (!high && low && (low->kind == EX_INT || low->kind == EX_DEC)) {
        high = low; /* between 1 */
    } else if (!high && low) {
        Expr *list = low;
        low = index_of(q, list, 0);
        high = index_of(q, list, 1);
    }
    k_push(c, l, column_expr(q, a));
    k_push(c, l, column_expr(q, low));
    k_push(c, l, column_expr(q, high));
    return l;
}

static const Const *negate(Query *q, const Const *p)
{
    Const *l = list_of(q, "not");
    k_push(q->g->c, l, p);
    return l;
}

static const Const *truth(Query *q, Expr *e)
{
    Const *l = list_of(q, "true");
    k_push(q->g->c, l, column_expr(q, e));
    return l;
}

static const Const *filter_pred(Query *q, Expr *e)
{
    Expr *const *args = e->items.ptr;
    if (text_eq(e->text, TEXT("between")) && e->items.len)
        return between(q, e->a, args[0], e->items.len > 1 ? args[1] : NULL, false);
    if ((text_eq(e->text, TEXT("contains")) || text_eq(e->text, TEXT("includes")) ||
         text_eq(e->text, TEXT("overlaps"))) &&
        e->items.len)
        return compare(q, e->text, false, e->a, args[0]);
    if (text_eq(e->text, TEXT("not")) && e->items.len == 0)
        return negate(q, pred(q, e->a));
    return truth(q, e);
}

static const Const *pred(Query *q, Expr *e)
{
    if (!has_column(e)) {
        Const *l = list_of(q, "value");
        k_push(q->g->c, l, argument(q, e));
        return l;
    }
    switch (e->kind) {
    case EX_NOT: return negate(q, pred(q, e->a));
    case EX_BETWEEN: {
        const Const *p = between(q, e->a, e->b, e->c, e->optional);
        return e->op == BIN_NOT_BETWEEN ? negate(q, p) : p;
    }
    case EX_BINARY:
        if (e->op == BIN_AND || e->op == BIN_OR) {
            Const *l = list_of(q, e->op == BIN_AND ? "and" : "or");
            flatten(q, e, e->op, l);
            return l;
        }
        if ((e->op >= BIN_EQ && e->op <= BIN_GE) || e->op >= BIN_IN)
            return compare(q, bin_name(e->op), e->optional, e->a, e->b);
        break;
    case EX_FILTER: return filter_pred(q, e);
    case EX_MEMBER:
    case EX_INDEX: return truth(q, e);
    default: break;
    }
    report(q->g->c, D_FILTER_NOT_FOR_QUERY, e->pos, NO_HINT, "this is no condition on a column");
    return &const_null;
}

/* ---- the other clauses ---- */

static bool is_map(const Expr *e)
{
    return e && e->kind == EX_MAP;
}

static const Pair *pair_of(const Expr *map, const char *key)
{
    for (size_t i = 0; is_map(map) && i < map->pairs.len; i++)
        if (text_eq(map->pairs.ptr[i].text, text_from(key)))
            return &map->pairs.ptr[i];
    return NULL;
}

static Expr *value_of(const Expr *map, const char *key)
{
    const Pair *p = pair_of(map, key);
    return p ? p->value : NULL;
}

static Text text_of(const Expr *e, Text otherwise)
{
    return e && e->kind == EX_TEXT ? e->text : otherwise;
}

static const Const *joins(Query *q, Expr *e)
{
    Comp *c = q->g->c;
    Const *l = k_list(c);
    for (size_t i = 0; i < e->pairs.len; i++) {
        Expr *v = e->pairs.ptr[i].value, *where = value_of(v, "where");
        Const *join = k_map(c);
        k_set_text(c, join, "alias", e->pairs.ptr[i].text);
        k_set_text(c, join, "table", text_of(value_of(v, "table"), e->pairs.ptr[i].text));
        k_set_text(c, join, "type", text_of(value_of(v, "type"), TEXT("inner")));
        if (where)
            k_set(c, join, TEXT("where"), pred(q, where));
        k_push(c, l, join);
    }
    return l;
}

static const Const *aliases(Query *q, const Expr *e)
{
    Comp *c = q->g->c;
    Const *l = k_list(c);
    for (size_t i = 0; i < e->pairs.len; i++) {
        Const *item = k_list(c);
        push_text(q, item, e->pairs.ptr[i].text);
        k_push(c, item, column_expr(q, e->pairs.ptr[i].value));
        k_push(c, l, item);
    }
    return l;
}

/* [["alias", "aggregate", column]]; a value without aggregate has "". */
static const Const *aggregates(Query *q, const Expr *e)
{
    Comp *c = q->g->c;
    Const *l = k_list(c);
    for (size_t i = 0; i < e->pairs.len; i++) {
        Const *item = k_list(c);
        Expr *v = e->pairs.ptr[i].value;
        bool aggregate = v && v->kind == EX_FILTER && v->a && aggregate_filter(v->text);
        push_text(q, item, e->pairs.ptr[i].text);
        push_text(q, item, aggregate ? v->text : TEXT(""));
        k_push(c, item, column_expr(q, aggregate ? v->a : v));
        k_push(c, l, item);
    }
    return l;
}

static const Const *return_shape(Query *q, const Expr *e)
{
    Comp *c = q->g->c;
    Const *m = k_map(c);
    const Expr *paging = value_of(e, "paging"), *group = value_of(e, "group"),
               *eval = value_of(e, "eval");
    Expr *select = value_of(e, "select");
    Text type = text_of(value_of(e, "type"), TEXT("list"));
    if (q->g->k->kind == CK_ADDON && text_eq(type, TEXT("stream")))
        type = TEXT("list"); /* it becomes part of a row */
    k_set_text(c, m, "type", type);
    if (value_of(e, "distinct"))
        k_set_text(c, m, "distinct", text_of(value_of(e, "distinct"), TEXT("auto")));
    if (is_map(paging)) {
        Const *p = k_map(c);
        for (size_t i = 0; i < paging->pairs.len; i++)
            k_set(c, p, paging->pairs.ptr[i].text, program_value(q, paging->pairs.ptr[i].value));
        k_set(c, m, TEXT("paging"), p);
    }
    if (value_of(e, "chunk_size"))
        k_set(c, m, TEXT("chunk_size"), program_value(q, value_of(e, "chunk_size")));
    if (is_map(group))
        k_set(c, m, TEXT("group"), aliases(q, group));
    if (is_map(eval))
        k_set(c, m, TEXT("eval"), aggregates(q, eval));
    if (expr_is_text_list(select) && !stmt_attr(q->s, "output"))
        k_set(c, q->desc, TEXT("output"), fold_const(c, select));
    return m;
}

static void sort_into(Query *q, const Expr *e, Const *l)
{
    Comp *c = q->g->c;
    if (e->kind == EX_LIST)
        for (size_t i = 0; i < e->items.len; i++)
            sort_into(q, e->items.ptr[i], l);
    if (!is_map(e))
        return;
    for (size_t i = 0; i < e->pairs.len; i++) {
        Const *item = k_list(c);
        push_text(q, item, e->pairs.ptr[i].text);
        push_text(q, item, text_of(e->pairs.ptr[i].value, TEXT("asc")));
        k_push(c, l, item);
    }
}

/* A value of an addon's input: $output.column of the row, else a value of the program. */
static const Const *addon_value(Query *q, Expr *e)
{
    Comp *c = q->g->c;
    Const *path = k_list(c);
    const Expr *steps[MAX_COLUMN_PATH];
    size_t n = 0;
    const Expr *at = e;
    for (; at && at->kind == EX_MEMBER && n < COUNT_OF(steps); at = at->a)
        steps[n++] = at;
    if (!at || at->kind != EX_VAR || !text_eq(at->text, TEXT("output")) || n == 0) {
        if (e && mentions_var(e, TEXT("output")))
            report(c, D_CONSTANT_EXPECTED, e->pos, NO_HINT,
                   "an addon's input takes $output.column as it is");
        return e ? program_value(q, e) : &const_null;
    }
    while (n > 0)
        push_text(q, path, steps[--n]->text);
    return one(q, "out", path);
}

static const Const *addons(Query *q, const Expr *e);

static const Const *addon(Query *q, const Expr *e, Text as)
{
    Comp *c = q->g->c;
    Const *m = k_map(c), *input = k_list(c);
    const Expr *map = value_of(e, "input"), *output = value_of(e, "output"),
               *inner = value_of(e, "addon");
    k_set_text(c, m, "name", text_of(value_of(e, "name"), as));
    for (size_t i = 0; is_map(map) && i < map->pairs.len; i++) {
        Const *item = k_list(c);
        push_text(q, item, map->pairs.ptr[i].text);
        k_push(c, item, addon_value(q, map->pairs.ptr[i].value));
        k_push(c, input, item);
    }
    k_set(c, m, TEXT("input"), input);
    as = text_of(value_of(e, "as"), as);
    if (as.ptr)
        k_set_text(c, m, "as", as);
    if (expr_is_text_list(output))
        k_set(c, m, TEXT("output"), fold_const(c, output));
    if (inner)
        k_set(c, m, TEXT("addon"), addons(q, inner));
    return m;
}

/* A list of addons, or {alias: addon}. */
static const Const *addons(Query *q, const Expr *e)
{
    Comp *c = q->g->c;
    Const *l = k_list(c);
    if (e->kind == EX_LIST)
        for (size_t i = 0; i < e->items.len; i++)
            k_push(c, l, addon(q, e->items.ptr[i], (Text){0}));
    else if (is_map(e))
        for (size_t i = 0; i < e->pairs.len; i++)
            k_push(c, l, addon(q, e->pairs.ptr[i].value, e->pairs.ptr[i].text));
    return l;
}

static bool plain_pairs(const Expr *e)
{
    if (!is_map(e))
        return false;
    for (size_t i = 0; i < e->pairs.len; i++)
        if (e->pairs.ptr[i].key || !e->pairs.ptr[i].text.ptr || e->pairs.ptr[i].disabled ||
            !e->pairs.ptr[i].value)
            return false;
    return true;
}

static const Const *columns(Query *q, const Expr *e)
{
    Comp *c = q->g->c;
    Const *l = k_list(c);
    for (size_t i = 0; i < e->pairs.len; i++) {
        Const *item = k_list(c);
        push_text(q, item, e->pairs.ptr[i].text);
        k_push(c, item, argument(q, e->pairs.ptr[i].value));
        k_push(c, l, item);
    }
    return l;
}

static const Const *clause(Query *q, Text kind, Text name, Expr *e)
{
    if (text_eq(kind, TEXT("q")))
        return pred(q, e);
    if (text_eq(kind, TEXT("join")) && is_map(e))
        return joins(q, e);
    if (text_eq(kind, TEXT("eval")) && is_map(e))
        return aliases(q, e);
    if (text_eq(kind, TEXT("return")) && is_map(e))
        return return_shape(q, e);
    if (text_eq(kind, TEXT("addon")) && (is_map(e) || e->kind == EX_LIST))
        return addons(q, e);
    if (text_eq(kind, TEXT("[t]")) && expr_is_text_list(e))
        return fold_const(q->g->c, e);
    if (text_eq(kind, TEXT("sort")) && (is_map(e) || e->kind == EX_LIST)) {
        Const *l = k_list(q->g->c);
        sort_into(q, e, l);
        return l;
    }
    /* Few enough columns to be arguments of their own. */
    if (text_eq(name, TEXT("data")) && plain_pairs(e) && e->pairs.len < 128)
        return columns(q, e);
    return NULL;
}

void gen_query(Query *q, bool *structured)
{
    const Stmt *s = q->s;
    Comp *c = q->g->c;
    bool named = s->info->operand == OPR_NAME || s->info->operand == OPR_NAME_VERB;
    bool db = (s->info->flags & SF_QUERY) != 0;
    if (!named && !db)
        return;
    query_sources(s, &q->sources);
    q->desc = k_map(c);
    k_set_text(c, q->desc, "op", s->keyword);
    if (s->name.ptr)
        k_set_text(c, q->desc, "name", s->name);
    if (s->verb.ptr)
        k_set_text(c, q->desc, "verb", s->verb);
    for (size_t i = 0; i < s->attrs.len && db; i++) {
        const Attr *a = &s->attrs.ptr[i];
        if (a->clause < 0 || !a->value)
            continue;
        const Const *k = clause(q, s->info->clauses[a->clause].kind, a->name, a->value);
        if (!k)
            continue;
        k_set(c, q->desc, a->name, k);
        structured[a->clause] = true;
    }
}

void gen_trigger_where(Gen *g, Text table, Expr *where, int input, int dst)
{
    const StatementInfo *info = statement_find(TEXT("db.trigger.where"));
    Query q = {.g = g, .first = info->nclauses, .sources = {.count = 1, .item = {{table, table}}}};
    q.desc = k_map(g->c);
    k_set_text(g->c, q.desc, "op", text_from(info->name));
    k_set_text(g->c, q.desc, "name", table);
    k_set(g->c, q.desc, TEXT("where"), pred(&q, where));
    size_t n = q.first + q.args.len;
    int win = gen_temps(g, n);
    emit_abc(g, OP_UNSET, win, 0, 0);
    emit_move(g, win + 1, input);
    for (size_t i = 0; i < q.args.len; i++)
        gen_expr(g, q.args.ptr[i], win + (int)(q.first + i));
    emit_extra(g, OP_CALLN, win, (int)n, 0, emit_site(g->em, text_from(info->name), q.desc));
    if (win != dst)
        emit_move(g, dst, win);
}
