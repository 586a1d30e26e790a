/* check.c - what can be said about a construct without running it: variables, element references,
 * filters, query contexts, names of other constructs. Language specification,
 * sections 1.9, 2.4-2.7, 4, 5. */
#include "frontend/prog.h"

typedef struct Check {
    Prog *pr;
    Comp *c;
    Construct *k;
    Map assigned; /* names of variables set anywhere in the construct */
    uint32_t loops, catches, elements, reduces;
    const Expr *list; /* of the foreach around, NULL outside */
    bool in_query, in_output, in_test;
    const Sources *sources; /* of the query in work */
} Check;

static void expr(Check *ck, Expr *e);
static void block(Check *ck, Block *b);
static void check_publish(Check *ck, const Stmt *s);

/* ---- names ---- */

bool element_name(Text name)
{
    static const char *const names[] = {"$", "this", "index", "parent", "result"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (text_eq(name, text_from(names[i])))
            return true;
    return name.len && name.ptr[0] >= '0' && name.ptr[0] <= '9';
}

static const char env_words[] =
    "remote_ip remote_port remote_user remote_passwd remote_host request_method request_uri "
    "request_querystring request_auth_token http_headers datasource branch tenant "
    "api_baseurl webflow release platform debugger";

bool column_filter(Text name)
{
    return word_in(
        "covers l1_distance_manhattan l2_distance_euclidean inner_product negative_inner_product "
        "cosine_distance cosine_similarity distance within between length floor ceil round "
        "to_lower to_upper "
        "concat substr coalesce unaccent add sub mul div search_rank timestamp_month "
        "timestamp_year "
        "timestamp_week timestamp_hour timestamp_minute timestamp_day_of_month "
        "timestamp_day_of_week "
        "timestamp_day_of_year timestamp_epoch_day timestamp_epoch_hour timestamp_epoch_minute "
        "timestamp_epoch_sec timestamp_epoch_ms timestamp_add_seconds timestamp_subtract_seconds "
        "timestamp_add_minutes timestamp_subtract_minutes timestamp_add_hours "
        "timestamp_subtract_hours "
        "timestamp_add_days timestamp_subtract_days timestamp_add_months timestamp_subtract_months "
        "timestamp_add_years timestamp_subtract_years to_int to_decimal to_text not",
        name);
}

bool column_operator(Text name)
{
    return word_in("contains includes overlaps between within", name);
}

bool aggregate_filter(Text name)
{
    return word_in("count count_distinct sum avg median min max to_list to_list_asc to_list_desc "
                   "to_distinct_list "
                   "to_distinct_list_asc to_distinct_list_desc",
                   name);
}

bool is_column_ref(const Expr *e)
{
    while (e && (e->kind == EX_MEMBER || e->kind == EX_INDEX))
        e = e->a;
    return e && e->kind == EX_VAR && text_eq(e->text, TEXT("db"));
}

static bool find_db(Expr *e, void *ctx)
{
    if (e->kind == EX_VAR && text_eq(e->text, TEXT("db")))
        *(bool *)ctx = true;
    return true;
}

/* The walkers only read; the tree is shared with the code that owns it. */
static Expr *mutable_expr(const Expr *e)
{
    union {
        const Expr *in;
        Expr *out;
    } u = {.in = e};
    return u.out;
}

bool has_column(const Expr *e)
{
    bool found = false;
    expr_walk(mutable_expr(e), find_db, &found);
    return found;
}

static bool find_element(Expr *e, void *ctx)
{
    if (e->kind == EX_VAR && element_name(e->text) && !text_eq(e->text, TEXT("index")) &&
        !text_eq(e->text, TEXT("result")) && !text_eq(e->text, TEXT("parent")))
        *(bool *)ctx = true;
    return true;
}

bool mentions_element(const Expr *e)
{
    bool found = false;
    expr_walk(mutable_expr(e), find_element, &found);
    return found;
}

static Expr *root_of(Expr *e)
{
    while (e && (e->kind == EX_MEMBER || e->kind == EX_INDEX || e->kind == EX_FILTER))
        e = e->a;
    return e;
}

/* A variable or a path in one, which a statement can change. */
static bool is_place(const Expr *e)
{
    while (e->kind == EX_MEMBER || e->kind == EX_INDEX)
        e = e->a;
    return e->kind == EX_VAR && !text_eq(e->text, TEXT("input"));
}

/* ---- variables ---- */

static bool is_trigger(const Check *ck)
{
    const char *kind = construct_info[ck->k->kind].keyword;
    return strstr(kind, "trigger") != NULL || ck->k->kind == CK_FRAGMENT;
}

static void check_set(Check *ck, Expr *target)
{
    for (Expr *e = target; e && e->kind == EX_FILTER; e = e->a)
        if (e->kind == EX_FILTER) {
            const FilterInfo *f = filter_find(e->text);
            if (!f)
                report(ck->c, D_UNKNOWN_FILTER, e->pos, hint_near(ck->c, filter_nearest(e->text)),
                       "unknown filter '" TEXT_FMT "'", TEXT_ARG(e->text));
            for (size_t i = 0; i < e->items.len; i++)
                expr(ck, e->items.ptr[i]);
        }
    for (Expr *e = target; e && e->kind != EX_VAR; e = e->a)
        if (e->kind == EX_INDEX && e->b)
            expr(ck, e->b);
    Expr *root = root_of(target);
    if (!root || root->kind != EX_VAR)
        return;
    if (word_in("input auth env db this parent error var $", root->text) ||
        element_name(root->text) == true) {
        if (word_in("index result", root->text))
            report(ck->c, D_RESERVED_VARIABLE_W, root->pos, NO_HINT,
                   "'$" TEXT_FMT "' has a meaning inside filters", TEXT_ARG(root->text));
        else
            report(ck->c, D_RESERVED_VARIABLE, root->pos, NO_HINT,
                   "'$" TEXT_FMT "' is reserved and cannot be assigned", TEXT_ARG(root->text));
    } else if (word_in("output response channel", root->text)) {
        report(ck->c, D_RESERVED_VARIABLE_W, root->pos, NO_HINT,
               "'$" TEXT_FMT "' has a meaning elsewhere", TEXT_ARG(root->text));
    }
}

static void assign(Check *ck, Expr *target)
{
    Expr *root = root_of(target);
    if (root && root->kind == EX_VAR && !map_put(&ck->assigned, root->text, root))
        ck->c->oom = true;
}

/* Variables a stack finds when it runs after the reply. */
static void collect_reply(Check *ck, Stmt *s)
{
    static const Text names[] = {{"body", 4}, {"headers", 7}, {"status_code", 11}};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!map_get(&ck->assigned, names[i]) && !map_put(&ck->assigned, names[i], s))
            ck->c->oom = true;
}

static void collect(Check *ck, Block *b)
{
    for (size_t i = 0; i < b->items.len; i++) {
        Stmt *s = b->items.ptr[i];
        if (s->disabled)
            continue;
        if (s->info->operand == OPR_VAR && s->operand && (s->info->flags & SF_COMPILED))
            assign(ck, s->operand);
        if (s->as)
            assign(ck, s->as);
        for (size_t k = 0; k < s->branches.len; k++) {
            if (s->branches.ptr[k].var)
                assign(ck, s->branches.ptr[k].var);
            collect(ck, &s->branches.ptr[k].body);
        }
        for (size_t k = 0; k < s->attrs.len; k++)
            collect(ck, &s->attrs.ptr[k].stack);
        if (text_eq(s->keyword, TEXT("util.post_process")))
            collect_reply(ck, s);
    }
}

static void unset_variable(Check *ck, const Expr *e)
{
    LIST(Text) names = {0};
    size_t at = 0;
    for (MapSlot *slot; (slot = map_next(&ck->assigned, &at)) && names.len < 256;)
        PUSH(ck->c, &names, slot->key);
    /* The order of a hash is no order: sort, so that the suggestion is always the same. */
    for (size_t i = 1; i < names.len; i++)
        for (size_t k = i; k > 0 && text_cmp(names.ptr[k], names.ptr[k - 1]) < 0; k--) {
            Text t = names.ptr[k];
            names.ptr[k] = names.ptr[k - 1];
            names.ptr[k - 1] = t;
        }
    Text near = text_nearest(e->text, names.ptr, names.len);
    Text hint = near.ptr ? arena_printf(ck->c->a, "did you mean '$" TEXT_FMT "'?", TEXT_ARG(near))
                         : NO_HINT;
    report(ck->c, D_UNSET_VARIABLE, e->pos, hint, "'$" TEXT_FMT "' is never set",
           TEXT_ARG(e->text));
}

static void variable(Check *ck, Expr *e)
{
    Text n = e->text;
    if (text_eq(n, TEXT("input")) || text_eq(n, TEXT("auth")) || text_eq(n, TEXT("env")) ||
        text_eq(n, TEXT("var")))
        return;
    if (text_eq(n, TEXT("db"))) {
        if (!ck->in_query)
            report(ck->c, D_DB_REF, e->pos, NO_HINT, "$db is only available in a query condition");
        return;
    }
    if (text_eq(n, TEXT("error"))) {
        if (!ck->catches)
            report(ck->c, D_ERROR_OUTSIDE_CATCH, e->pos, NO_HINT,
                   "$error exists only inside catch");
        return;
    }
    if (map_get(&ck->assigned, n))
        return;
    if (element_name(n)) {
        bool optional =
            text_eq(n, TEXT("index")) || text_eq(n, TEXT("parent")) || text_eq(n, TEXT("result"));
        if (ck->elements || ck->pr->expr)
            return;
        if (!optional)
            report(ck->c, D_ELEMENT_REF, e->pos, NO_HINT,
                   "$" TEXT_FMT " is only available inside a per-element filter", TEXT_ARG(n));
        else
            unset_variable(ck, e);
        return;
    }
    if (text_eq(n, TEXT("output")) && ck->in_output)
        return;
    if (text_eq(n, TEXT("response")) && ck->in_test)
        return;
    if (text_eq(n, TEXT("channel")) && (is_trigger(ck) || ck->k->kind == CK_MESSAGE))
        return;
    if (word_in(env_words, n)) {
        report(ck->c, D_OLD_SPELLING, e->pos, NO_HINT, "write $env.$" TEXT_FMT, TEXT_ARG(n));
        return;
    }
    if (!ck->pr->expr && !ck->c->loose)
        unset_variable(ck, e);
}

static void input_member(Check *ck, const Expr *e)
{
    if (is_trigger(ck) || ck->pr->expr || !ck->k->has_input || ck->k->kind == CK_MIDDLEWARE)
        return;
    Text names[64];
    size_t n = 0;
    for (size_t i = 0; i < ck->k->input.len; i++) {
        if (text_eq(ck->k->input.ptr[i]->name, e->text))
            return;
        if (!ck->k->input.ptr[i]->name.ptr)
            return; /* an unresolved dblink */
        if (n < COUNT_OF(names))
            names[n++] = ck->k->input.ptr[i]->name;
    }
    report(ck->c, D_UNDECLARED_INPUT, e->pos, hint_near(ck->c, text_nearest(e->text, names, n)),
           "'" TEXT_FMT "' is not an input of '" TEXT_FMT "'", TEXT_ARG(e->text),
           TEXT_ARG(ck->k->name));
}

static void member(Check *ck, Expr *e)
{
    Expr *of = e->a;
    bool root = of && of->kind == EX_VAR;
    if (root && text_eq(of->text, TEXT("env"))) {
        if (e->dollar && !word_in(env_words, e->text))
            report(ck->c, D_UNKNOWN_ENV, e->pos, NO_HINT, "unknown built-in '$" TEXT_FMT "'",
                   TEXT_ARG(e->text));
        return;
    }
    if (e->dollar) {
        report(ck->c, D_DOLLAR_PROPERTY, e->pos, NO_HINT, "write [$" TEXT_FMT "]",
               TEXT_ARG(e->text));
        Expr var = *e;
        var.kind = EX_VAR;
        var.a = NULL;
        variable(ck, &var);
    }
    if (root && text_eq(of->text, TEXT("error")) && !word_in("code message name result", e->text))
        report(ck->c, D_ERROR_MEMBER, e->pos, NO_HINT, "$error has code, message, name and result");
    if (root && text_eq(of->text, TEXT("input")) && !e->dollar)
        input_member(ck, e);
}

/* ---- filters ---- */

static void unknown_filter(Check *ck, const Expr *e)
{
    static const char *const pairs[][2] = {
        {"str_split", "split"},       {"explode", "split"},
        {"implode", "join"},          {"default", "first_notnull"},
        {"uppercase", "to_upper"},    {"to_uppercase", "to_upper"},
        {"lowercase", "to_lower"},    {"to_lowercase", "to_lower"},
        {"has_key", "has"},           {"in_array", "in"},
        {"delete", "unset"},          {"to_integer", "to_int"},
        {"parse_int", "to_int"},      {"to_string", "to_text"},
        {"to_float", "to_decimal"},   {"strrev", "reverse"},
        {"date", "format_timestamp"}, {"date_format", "format_timestamp"},
        {"isset", "is_null"},         {"array_map", "map"},
        {"ucfirst", "capitalize"},    {"upper_first", "capitalize"},
        {"left", "substr"},           {"right", "substr"},
        {"substring", "substr"},      {"add_days", "transform_timestamp"},
        {"hash_sha256", "sha256"},    {"group_by", "index_by"},
        {"includes", "contains"},     {"size", "count"},
    };
    Text hint = NO_HINT;
    if (text_eq(e->text, TEXT("length")) || text_eq(e->text, TEXT("len")))
        hint = TEXT("did you mean 'count' or 'strlen'?");
    for (size_t i = 0; i < COUNT_OF(pairs) && !hint.ptr; i++)
        if (text_eq(e->text, text_from(pairs[i][0])))
            hint = hint_near(ck->c, text_from(pairs[i][1]));
    if (!hint.ptr)
        hint = hint_near(ck->c, filter_nearest(e->text));
    report(ck->c, D_UNKNOWN_FILTER, e->pos, hint, "unknown filter '" TEXT_FMT "'",
           TEXT_ARG(e->text));
}

static void filter_args(Check *ck, Expr *e, const FilterInfo *f)
{
    bool key = text_eq(e->text, TEXT("sort")) || text_eq(e->text, TEXT("index_by"));
    bool setter = f && (strcmp(f->name, "set") == 0 || strncmp(f->name, "set_", 4) == 0);
    for (size_t i = 0; i < e->items.len; i++) {
        bool element = f && i < f->nargs && f->args[i].cls == 'X';
        element =
            element || (key && i == 0 && mentions_element(e->items.ptr[i])) || (setter && i == 1);
        ck->elements += element;
        expr(ck, e->items.ptr[i]);
        ck->elements -= element;
    }
}

static void arity(Check *ck, const Expr *e, const FilterInfo *f)
{
    bool variadic = f->nargs && f->args[f->nargs - 1].variadic;
    if (e->items.len < f->min_args)
        report(ck->c, D_FILTER_ARITY, e->pos, NO_HINT,
               "'" TEXT_FMT "' takes %u argument%s, %zu given", TEXT_ARG(e->text), f->min_args,
               f->min_args == 1 ? "" : "s", e->items.len);
    else if (e->items.len > f->nargs && !variadic)
        report(ck->c, D_FILTER_ARITY_W, e->pos, NO_HINT,
               "'" TEXT_FMT "' takes %u argument%s, %zu given", TEXT_ARG(e->text), f->nargs,
               f->nargs == 1 ? "" : "s", e->items.len);
}

static void filter(Check *ck, Expr *e)
{
    if (ck->in_query && e->a && has_column(e->a)) {
        if (!column_filter(e->text) && !column_operator(e->text) && !aggregate_filter(e->text))
            report(ck->c, D_FILTER_NOT_FOR_QUERY, e->pos, NO_HINT,
                   "'" TEXT_FMT "' cannot be applied to a column", TEXT_ARG(e->text));
        expr(ck, e->a);
        for (size_t i = 0; i < e->items.len; i++)
            expr(ck, e->items.ptr[i]);
        return;
    }
    if (e->a)
        expr(ck, e->a);
    if (ck->in_query && !column_filter(e->text))
        report_extension(ck->c, e->pos, 19, "a value filter in a query");
    const FilterInfo *f = filter_find(e->text);
    if (!f || strcmp(f->name, "sort_keys") == 0 || strcmp(f->name, "index_keys") == 0) {
        unknown_filter(ck, e);
    } else {
        if (!text_eq(e->text, text_from(f->name)))
            report_extension(ck->c, e->pos, 22, "a former name of a filter");
        if (!text_eq(e->text, text_from(f->name)))
            report(ck->c, D_DEPRECATED_FILTER, e->pos, NO_HINT, "'" TEXT_FMT "' is now called '%s'",
                   TEXT_ARG(e->text), f->name);
        if (!e->disabled)
            arity(ck, e, f);
    }
    filter_args(ck, e, f);
}

static void children(Check *ck, Expr *e)
{
    expr(ck, e->a);
    expr(ck, e->b);
    expr(ck, e->c);
}

static const Expr *pair_value(const Expr *map, const char *key)
{
    if (map && map->kind == EX_MAP)
        for (size_t i = 0; i < map->pairs.len; i++)
            if (text_eq(map->pairs.ptr[i].text, text_from(key)))
                return map->pairs.ptr[i].value;
    return NULL;
}

/* $db.note.words where the table has a search index of that name. */
static bool search_index(const Construct *table, Text name)
{
    const Member *m = construct_member(table, "index");
    for (size_t i = 0; m && m->value && i < m->value->items.len; i++) {
        const Expr *index = m->value->items.ptr[i], *type = pair_value(index, "type"),
                   *given = pair_value(index, "name");
        if (!type || type->kind != EX_TEXT || !text_eq(type->text, TEXT("search")))
            continue;
        Text is = given && given->kind == EX_TEXT ? given->text : TEXT("search");
        if (text_eq(is, name))
            return true;
    }
    return false;
}

static void column(Check *ck, Expr *e)
{
    if (!ck->in_query) {
        Expr *root = root_of(e);
        variable(ck, root);
        return;
    }
    for (Expr *at = e; at && at->kind != EX_VAR; at = at->a)
        if (at->kind == EX_INDEX && at->b)
            expr(ck, at->b);
    const Expr *parts[8];
    size_t source;
    if (!ck->sources)
        return;
    size_t n = column_split(ck->sources, e, &source, parts, COUNT_OF(parts));
    const Construct *table = prog_find(ck->pr, CK_TABLE, ck->sources->item[source].table);
    if (n == 0) {
        report(ck->c, D_UNEXPECTED_TOKEN, e->pos, NO_HINT, "expected a column behind $db");
        return;
    }
    if (!table || prog_has_dblink(table) || parts[0]->kind != EX_MEMBER)
        return;
    Text name = parts[0]->text;
    if (prog_column(ck->pr, table, name) || search_index(table, name))
        return;
    bool alias = n > 1;
    report(ck->c, D_UNKNOWN_COLUMN_E, parts[0]->pos,
           hint_near(ck->c, prog_column_nearest(table, name)),
           alias ? "'" TEXT_FMT "' is neither a column of '" TEXT_FMT "' nor a table of this query"
                 : "table '" TEXT_FMT "' has no column '" TEXT_FMT "'",
           TEXT_ARG(alias ? name : table->name), TEXT_ARG(alias ? table->name : name));
}

static void expr(Check *ck, Expr *e)
{
    if (!e)
        return;
    switch (e->kind) {
    case EX_BAD:
    case EX_NULL:
    case EX_BOOL:
    case EX_INT:
    case EX_DEC:
    case EX_TEXT:
    case EX_NOW: break;
    case EX_VAR:
        if (text_eq(e->text, TEXT("db")) && ck->in_query)
            column(ck, e);
        else
            variable(ck, e);
        break;
    case EX_LIST:
        for (size_t i = 0; i < e->items.len; i++)
            expr(ck, e->items.ptr[i]);
        break;
    case EX_MAP:
        for (size_t i = 0; i < e->pairs.len; i++) {
            expr(ck, e->pairs.ptr[i].key);
            expr(ck, e->pairs.ptr[i].value);
        }
        break;
    case EX_MEMBER:
        if (is_column_ref(e)) {
            column(ck, e);
            break;
        }
        member(ck, e);
        expr(ck, e->a);
        break;
    case EX_INDEX:
        if (is_column_ref(e)) {
            column(ck, e);
            break;
        }
        expr(ck, e->a);
        if (e->b && mentions_element(e->b))
            report_extension(ck->c, e->pos, 15, "a condition in brackets");
        ck->elements++;
        expr(ck, e->b);
        ck->elements--;
        break;
    case EX_FILTER: filter(ck, e); break;
    case EX_SPREAD:
    case EX_NOT:
    case EX_NEG:
    case EX_BINARY:
    case EX_TERNARY:
    case EX_BETWEEN: children(ck, e); break;
    }
}

/* ---- statements ---- */

static void query_expr(Check *ck, Expr *e)
{
    bool saved = ck->in_query;
    ck->in_query = true;
    expr(ck, e);
    ck->in_query = saved;
}

static void enum_value(Check *ck, const Expr *e, const char *name, const char *words,
                       const char *shown)
{
    if (e && e->kind == EX_TEXT && !word_in(words, e->text))
        report(ck->c, D_BAD_ENUM, e->pos, NO_HINT, "expected '%s' to be one of %s", name, shown);
}

static void check_return(Check *ck, Expr *e)
{
    if (e->kind != EX_MAP) {
        expr(ck, e);
        return;
    }
    const Expr *type = pair_value(e, "type");
    if (!type)
        report_extension(ck->c, e->pos, 15, "return without type");
    enum_value(ck, type, "type", "list single count exists stream aggregate",
               "list, single, count, exists, stream, aggregate");
    bool aggregate = type && type->kind == EX_TEXT && text_eq(type->text, TEXT("aggregate"));
    bool list = !type || (type->kind == EX_TEXT && text_eq(type->text, TEXT("list"))) || aggregate;
    for (size_t i = 0; i < e->pairs.len; i++) {
        Pair *p = &e->pairs.ptr[i];
        bool shape = word_in("group eval", p->text);
        if ((shape && !aggregate) || (text_eq(p->text, TEXT("paging")) && !list))
            report(ck->c, D_RETURN_SHAPE, p->pos, NO_HINT,
                   "'" TEXT_FMT "' has no effect with this return type", TEXT_ARG(p->text));
        if (!word_in("type distinct paging group eval select chunk_size", p->text))
            report(ck->c, D_UNKNOWN_ATTRIBUTE, p->pos, NO_HINT,
                   "the argument '" TEXT_FMT "' is not valid in return", TEXT_ARG(p->text));
        if (text_eq(p->text, TEXT("select")) && !expr_is_text_list(p->value))
            report(ck->c, D_CONSTANT_EXPECTED, p->pos, NO_HINT,
                   "select takes a list of column names; for one made at run time use output");
        if (text_eq(p->text, TEXT("distinct")))
            enum_value(ck, p->value, "distinct", "yes no auto", "yes, no, auto");
        if (text_eq(p->text, TEXT("paging")) && p->value && p->value->kind == EX_MAP)
            for (size_t k = 0; k < p->value->pairs.len; k++)
                if (!word_in("page per_page offset totals metadata", p->value->pairs.ptr[k].text))
                    report(ck->c, D_UNKNOWN_ATTRIBUTE, p->value->pairs.ptr[k].pos, NO_HINT,
                           "the argument '" TEXT_FMT "' is not valid in paging",
                           TEXT_ARG(p->value->pairs.ptr[k].text));
        if (shape)
            query_expr(ck, p->value);
        else
            expr(ck, p->value);
    }
}

static bool has_key(const Expr *map, Text key)
{
    for (size_t i = 0; map && map->kind == EX_MAP && i < map->pairs.len; i++)
        if (text_eq(map->pairs.ptr[i].text, key))
            return true;
    return false;
}

/* A name the query computes: of eval, or of an aggregate return. */
static bool computed(const Stmt *s, Text name)
{
    const Attr *eval = stmt_attr(s, "eval"), *ret = stmt_attr(s, "return");
    return (eval && has_key(eval->value, name)) ||
           (ret && (has_key(pair_value(ret->value, "group"), name) ||
                    has_key(pair_value(ret->value, "eval"), name)));
}

/* "column", "table.column", or a computed name. */
static void sort_key(Check *ck, const Stmt *s, const Pair *p)
{
    Text name = p->text, source = ck->sources ? ck->sources->item[0].alias : (Text){0};
    size_t dot = text_find(name, TEXT("."), 0);
    if (p->key || !name.len || !source.ptr || computed(s, name))
        return;
    if (dot != SIZE_MAX) {
        source = text_slice(name, 0, dot);
        name = text_slice(name, dot + 1, name.len);
    }
    for (size_t i = 0; i < ck->sources->count; i++) {
        const Construct *table = prog_find(ck->pr, CK_TABLE, ck->sources->item[i].table);
        if (!text_eq(ck->sources->item[i].alias, source))
            continue;
        if (table && !prog_has_dblink(table) && !prog_column(ck->pr, table, name))
            report(ck->c, D_UNKNOWN_COLUMN_E, p->pos,
                   hint_near(ck->c, prog_column_nearest(table, name)),
                   "table '" TEXT_FMT "' has no column '" TEXT_FMT "'", TEXT_ARG(table->name),
                   TEXT_ARG(name));
        return;
    }
}

static void check_sort(Check *ck, const Stmt *s, Expr *e)
{
    if (e->kind == EX_LIST) {
        report_extension(ck->c, e->pos, 15, "a list of sort objects");
        for (size_t i = 0; i < e->items.len; i++)
            check_sort(ck, s, e->items.ptr[i]);
        return;
    }
    if (e->kind == EX_MAP)
        for (size_t i = 0; i < e->pairs.len; i++) {
            enum_value(ck, e->pairs.ptr[i].value, "sort", "asc desc rand", "asc, desc, rand");
            sort_key(ck, s, &e->pairs.ptr[i]);
        }
    expr(ck, e);
}

/* Aggregates need return.eval of type aggregate. */
static void check_eval(Check *ck, Expr *e)
{
    for (size_t i = 0; e->kind == EX_MAP && i < e->pairs.len; i++) {
        const Expr *v = e->pairs.ptr[i].value;
        if (v && v->kind == EX_FILTER && v->a && aggregate_filter(v->text) && has_column(v->a))
            report(ck->c, D_FILTER_NOT_FOR_QUERY, v->pos,
                   TEXT("give it in return = {type: \"aggregate\", eval: {...}}"),
                   "'" TEXT_FMT "' needs the return type aggregate", TEXT_ARG(v->text));
    }
    query_expr(ck, e);
}

static void check_join(Check *ck, Expr *e)
{
    if (e->kind != EX_MAP) {
        expr(ck, e);
        return;
    }
    for (size_t i = 0; i < e->pairs.len; i++) {
        Expr *v = e->pairs.ptr[i].value;
        const Expr *table = pair_value(v, "table");
        enum_value(ck, pair_value(v, "type"), "type", "inner left right", "inner, left, right");
        if (!v || v->kind != EX_MAP)
            continue;
        if (!table)
            report(ck->c, D_MISSING_ATTRIBUTE, e->pairs.ptr[i].pos, NO_HINT,
                   "join is missing: table");
        else if (table->kind == EX_TEXT && !prog_find(ck->pr, CK_TABLE, table->text))
            prog_unknown(ck->pr, CK_TABLE, "table", table->text, table->pos);
        query_expr(ck, v);
    }
}

static void check_addons(Check *ck, Expr *e)
{
    if (!e)
        return;
    if (e->kind == EX_LIST) {
        for (size_t i = 0; i < e->items.len; i++)
            check_addons(ck, e->items.ptr[i]);
        return;
    }
    if (e->kind != EX_MAP)
        return;
    for (size_t i = 0; i < e->pairs.len; i++) {
        Pair *p = &e->pairs.ptr[i];
        bool named = text_eq(p->text, TEXT("name"));
        if (named && p->value && p->value->kind == EX_TEXT &&
            !prog_find(ck->pr, CK_ADDON, p->value->text))
            prog_unknown(ck->pr, CK_ADDON, "addon", p->value->text, p->value->pos);
        if (text_eq(p->text, TEXT("addon")))
            check_addons(ck, p->value);
        else if (p->value && p->value->kind == EX_MAP && !text_eq(p->text, TEXT("input"))) {
            /* {alias: addon}; the alias is its name when it gives none */
            if (!pair_value(p->value, "name") && !prog_find(ck->pr, CK_ADDON, p->text))
                prog_unknown(ck->pr, CK_ADDON, "addon", p->text, p->pos);
            check_addons(ck, p->value);
        } else {
            ck->in_output = true;
            expr(ck, p->value);
            ck->in_output = false;
        }
    }
}

static void check_columns(Check *ck, const Construct *table, const Expr *e)
{
    if (!table || prog_has_dblink(table) || !e || e->kind != EX_MAP)
        return;
    for (size_t i = 0; i < e->pairs.len; i++) {
        const Pair *p = &e->pairs.ptr[i];
        if (p->key || !p->text.ptr || prog_column(ck->pr, table, p->text))
            continue;
        report(ck->c, D_UNKNOWN_COLUMN, p->pos,
               hint_near(ck->c, prog_column_nearest(table, p->text)),
               "table '" TEXT_FMT "' has no column '" TEXT_FMT "'", TEXT_ARG(table->name),
               TEXT_ARG(p->text));
    }
}

static void check_call(Check *ck, const Stmt *s)
{
    Construct *f = prog_callee(ck->pr, s);
    bool tool = text_eq(s->keyword, TEXT("tool.call"));
    if (!f) {
        if (s->name.ptr)
            prog_unknown(ck->pr, tool ? CK_TOOL : CK_FUNCTION, tool ? "tool" : "function", s->name,
                         s->name_pos);
        return;
    }
    const Attr *input = stmt_attr(s, "input");
    const Expr *map = input && input->value && input->value->kind == EX_MAP ? input->value : NULL;
    if (input && !map)
        return;
    bool open = false;
    for (size_t i = 0; map && i < map->pairs.len; i++) {
        const Pair *p = &map->pairs.ptr[i];
        bool known = false;
        Text names[64];
        size_t n = 0;
        open = open || p->key || !p->text.ptr;
        for (size_t k = 0; k < f->input.len; k++) {
            known = known || text_eq(f->input.ptr[k]->name, p->text);
            if (n < COUNT_OF(names))
                names[n++] = f->input.ptr[k]->name;
        }
        if (!known && !open)
            report(ck->c, D_UNDECLARED_ARGUMENT, p->pos,
                   hint_near(ck->c, text_nearest(p->text, names, n)),
                   "'" TEXT_FMT "' is not an input of '" TEXT_FMT "'", TEXT_ARG(p->text),
                   TEXT_ARG(f->name));
    }
    for (size_t k = 0; k < f->input.len && !open; k++) {
        const Field *field = f->input.ptr[k];
        bool given = field->optional || !field->name.ptr;
        for (size_t i = 0; map && i < map->pairs.len && !given; i++)
            given = text_eq(map->pairs.ptr[i].text, field->name);
        if (!given)
            report(ck->c, D_MISSING_INPUT, s->pos, NO_HINT,
                   "'" TEXT_FMT "' requires '" TEXT_FMT "'", TEXT_ARG(f->name),
                   TEXT_ARG(field->name));
    }
}

static void check_supported(Check *ck, const Stmt *s)
{
    if (s->info->todo && !s->disabled)
        report(ck->c, D_UNSUPPORTED_STATEMENT, s->pos, NO_HINT,
               "'" TEXT_FMT "' is not supported by this engine: running it raises ERROR_FATAL",
               TEXT_ARG(s->keyword));
}

static void check_place(Check *ck, const Stmt *s)
{
    bool test_place = ck->in_test || ck->k->kind == CK_WORKFLOW_TEST;
    bool expectation = text_starts(s->keyword, TEXT("expect."));
    if (!(s->info->flags & SF_TEST) || test_place || (!expectation && ck->k->kind == CK_TOOL))
        return;
    report(ck->c, D_TEST_ONLY_STATEMENT, s->pos, NO_HINT, "'" TEXT_FMT "' is only allowed in %s",
           TEXT_ARG(s->keyword),
           expectation ? "a test or a workflow_test" : "a workflow_test or a tool");
}

static void check_target(Check *ck, const Stmt *s)
{
    if (!ck->in_test || !s->operand || ck->k->kind == CK_WORKFLOW_TEST ||
        text_ends(s->keyword, TEXT("_have_published"))) /* a channel */
        return;
    Expr *root = root_of(s->operand);
    if (!root || root->kind != EX_VAR || !text_eq(root->text, TEXT("response")))
        report(ck->c, D_TEST_TARGET, s->operand->pos, NO_HINT, "only $response can be tested here");
}

static void check_error_type(Check *ck, const Stmt *s)
{
    const Attr *a = stmt_attr(s, "error_type");
    if (a && a->value && a->value->kind == EX_TEXT &&
        !word_in(
            "standard notfound inputerror accessdenied unauthorized badrequest toomanyrequests",
            a->value->text))
        report(ck->c, D_UNLISTED_VALUE, a->value->pos, NO_HINT,
               "'" TEXT_FMT "' is not a known value of error_type", TEXT_ARG(a->value->text));
}

static Text constant_attr(const Stmt *s, const char *name)
{
    const Attr *a = stmt_attr(s, name);
    return a && a->value && a->value->kind == EX_TEXT ? a->value->text : (Text){0};
}

static void check_header(Check *ck, const Stmt *s)
{
    Text mode = constant_attr(s, "duplicates");
    if (mode.ptr && !word_in("replace add append", mode))
        report(ck->c, D_UNLISTED_VALUE, stmt_attr(s, "duplicates")->value->pos, NO_HINT,
               "'" TEXT_FMT "' is not a known value of duplicates; known: replace, add, append",
               TEXT_ARG(mode));
}

/* What the mail provider of a send_email takes, and what it needs. */
static void check_email(Check *ck, const Stmt *s)
{
    static const struct {
        const char *provider, *takes, *needs;
    } rows[] = {{"xano", "subject message", "message"},
                {"resend", "subject message to from cc bcc reply_to scheduled_at api_key",
                 "api_key subject message from to"}};
    Text provider = constant_attr(s, "service_provider");
    if (!provider.ptr && stmt_attr(s, "service_provider"))
        return;
    const size_t row = text_eq(provider, TEXT("resend"));
    for (size_t i = 0; i < s->attrs.len; i++)
        if (s->attrs.ptr[i].clause >= 0 &&
            !text_eq(s->attrs.ptr[i].name, TEXT("service_provider")) &&
            !word_in(rows[row].takes, s->attrs.ptr[i].name))
            report(ck->c, D_UNLISTED_VALUE, s->attrs.ptr[i].pos, NO_HINT,
                   "'" TEXT_FMT "' is not used by the provider %s", TEXT_ARG(s->attrs.ptr[i].name),
                   rows[row].provider);
    Text needs = text_from(rows[row].needs);
    for (size_t at = 0; at < needs.len;) {
        size_t end = text_find(needs, TEXT(" "), at);
        Text name = text_slice(needs, at, end);
        at += name.len + 1;
        bool given = false;
        for (size_t i = 0; i < s->attrs.len && !given; i++)
            given = text_eq(s->attrs.ptr[i].name, name);
        if (!given)
            report(ck->c, D_MISSING_ATTRIBUTE, s->pos, NO_HINT,
                   "util.send_email is missing: " TEXT_FMT, TEXT_ARG(name));
    }
}

static void check_db(Check *ck, Stmt *s)
{
    if (!text_starts(s->keyword, TEXT("db.")) || s->info->operand != OPR_NAME || !s->name.ptr)
        return;
    const Construct *table = prog_find(ck->pr, CK_TABLE, s->name);
    if (!table)
        prog_unknown(ck->pr, CK_TABLE, "table", s->name, s->name_pos);
    const Attr *data = stmt_attr(s, "data");
    if (data)
        check_columns(ck, table, data->value);
    const Attr *field = stmt_attr(s, "field_name");
    if (table && field && field->value && field->value->kind == EX_TEXT &&
        !prog_has_dblink(table) && !prog_column(ck->pr, table, field->value->text))
        report(ck->c, D_UNKNOWN_COLUMN_E, field->value->pos,
               hint_near(ck->c, prog_column_nearest(table, field->value->text)),
               "table '" TEXT_FMT "' has no column '" TEXT_FMT "'", TEXT_ARG(table->name),
               TEXT_ARG(field->value->text));
}

static void attrs(Check *ck, Stmt *s)
{
    Sources sources;
    const Sources *saved = ck->sources;
    if (s->info->flags & SF_QUERY) {
        query_sources(s, &sources);
        ck->sources = &sources;
    }
    for (size_t i = 0; i < s->attrs.len; i++) {
        Attr *a = &s->attrs.ptr[i];
        Text kind = a->clause >= 0 ? s->info->clauses[a->clause].kind : TEXT("e");
        bool element = text_starts(s->keyword, TEXT("array.")) && text_eq(a->name, TEXT("by"));
        ck->elements += element;
        if (!a->value)
            block(ck, &a->stack);
        else if (text_eq(kind, TEXT("q")))
            query_expr(ck, a->value);
        else if (text_eq(kind, TEXT("eval")))
            check_eval(ck, a->value);
        else if (text_eq(kind, TEXT("join")))
            check_join(ck, a->value);
        else if (text_eq(kind, TEXT("return")))
            check_return(ck, a->value);
        else if (text_eq(kind, TEXT("sort")))
            check_sort(ck, s, a->value);
        else if (text_eq(kind, TEXT("addon")))
            check_addons(ck, a->value);
        else
            expr(ck, a->value);
        ck->elements -= element;
    }
    ck->sources = saved;
}

static void branches(Check *ck, Stmt *s)
{
    bool loop = s->kind == ST_FOREACH || s->kind == ST_FOR || s->kind == ST_WHILE;
    const Expr *list = ck->list;
    for (size_t i = 0; i < s->branches.len; i++) {
        Branch *b = &s->branches.ptr[i];
        expr(ck, b->cond);
        if (b->var)
            check_set(ck, b->var);
        bool caught = s->kind == ST_TRY && i == 1;
        ck->loops += loop;
        if (s->kind == ST_FOREACH)
            ck->list = s->operand;
        ck->catches += caught;
        block(ck, &b->body);
        ck->loops -= loop;
        ck->list = list;
        ck->catches -= caught;
    }
}

static void outside_loop(Check *ck, const Stmt *s)
{
    report(ck->c, D_OUTSIDE_LOOP, s->pos, NO_HINT, "'" TEXT_FMT "' outside a %s",
           TEXT_ARG(s->keyword), s->kind == ST_REMOVE ? "foreach" : "loop");
}

static void check_remove(Check *ck, const Stmt *s)
{
    if (!ck->list)
        outside_loop(ck, s);
    else if (ck->list->kind != EX_BAD && !is_place(ck->list))
        report(ck->c, D_OUTSIDE_LOOP, s->pos, NO_HINT, "remove needs a foreach over a variable");
}

static void statement(Check *ck, Stmt *s)
{
    check_supported(ck, s);
    check_place(ck, s);
    bool writes = s->info->operand == OPR_VAR && (s->info->flags & SF_COMPILED);
    bool plain_set = text_eq(s->keyword, TEXT("var")) || text_eq(s->keyword, TEXT("var.update"));
    if (writes)
        check_set(ck, s->operand);
    if (s->operand && !plain_set)
        expr(ck, s->operand);
    if (text_starts(s->keyword, TEXT("expect.")))
        check_target(ck, s);
    ck->elements++;
    expr(ck, s->cond);
    ck->elements--;
    attrs(ck, s);
    branches(ck, s);
    if (s->as)
        check_set(ck, s->as);
    if ((s->kind == ST_BREAK || s->kind == ST_CONTINUE) && !ck->loops)
        outside_loop(ck, s);
    if (s->kind == ST_REMOVE)
        check_remove(ck, s);
    if (word_in("function.run function.call tool.call", s->keyword))
        check_call(ck, s);
    if (text_eq(s->keyword, TEXT("realtime.publish")))
        check_publish(ck, s);
    if (text_eq(s->keyword, TEXT("precondition")))
        check_error_type(ck, s);
    if (text_eq(s->keyword, TEXT("util.set_header")))
        check_header(ck, s);
    if (text_eq(s->keyword, TEXT("util.send_email")))
        check_email(ck, s);
    if (s->kind == ST_TRANSACTION && stmt_attr(s, "isolation"))
        report(ck->c, D_ISOLATION, stmt_attr(s, "isolation")->pos, NO_HINT, "isolation is ignored");
    check_db(ck, s);
}

static void block(Check *ck, Block *b)
{
    for (size_t i = 0; i < b->items.len; i++)
        statement(ck, b->items.ptr[i]);
}

/* ---- constructs ---- */

static bool pattern_ok(Text t)
{
    if (t.len == 0)
        return false;
    for (size_t i = 0; i < t.len; i++) {
        char ch = t.ptr[i];
        if (ch < 0x21 || ch > 0x7E || strchr("\"\\{},", ch))
            return false;
        if (ch == '*' && (i + 1 < t.len || (i > 0 && t.ptr[i - 1] != ':' && t.ptr[i - 1] != '/')))
            return false;
    }
    return true;
}

static void check_pattern(Check *ck, Text pattern, Pos pos)
{
    if (pattern.len == 0)
        report(ck->c, D_EMPTY_REFERENCE, pos, NO_HINT, "channel must not be empty");
    else if (!pattern_ok(pattern))
        report(ck->c, D_BAD_PATTERN, pos, NO_HINT,
               "a channel pattern has one '*', at its end, behind ':' or '/'");
}

static void check_actions(Check *ck)
{
    const Member *m = construct_member(ck->k, "actions");
    if (!m || !m->value || m->value->kind != EX_MAP)
        return;
    bool any = m->value->pairs.len == 0;
    for (size_t i = 0; i < m->value->pairs.len; i++) {
        const Pair *p = &m->value->pairs.ptr[i];
        any = any || (p->value && p->value->kind == EX_BOOL && p->value->i);
    }
    if (!any)
        report(ck->c, D_TRIGGER_NEVER, m->pos, NO_HINT,
               "all actions are false: this trigger never runs");
}

/* Fields of constructs whose input is fixed by the engine. */
static void check_fixed_input(Check *ck)
{
    const Construct *k = ck->k;
    for (size_t i = 0; i < k->input.len && !k->seed_form; i++) {
        const Field *f = k->input.ptr[i];
        bool known = true;
        if (f->name.ptr && shape_names(k->input_kind, f->name, &known) && !known)
            report(ck->c, D_TRIGGER_INPUT, f->pos, NO_HINT,
                   "'" TEXT_FMT "' is not an input of a %s", TEXT_ARG(f->name),
                   construct_info[k->kind].keyword);
    }
}

/* Columns of the condition are those of the trigger's table. */
static void check_trigger_where(Check *ck)
{
    const Member *where = construct_member(ck->k, "where");
    Text table = construct_text(ck->k, "table");
    Sources sources = {.count = 1, .item = {{table, table}}};
    if (!where || !where->value)
        return;
    ck->sources = &sources;
    query_expr(ck, where->value);
    ck->sources = NULL;
}

static void realtime_trigger(Check *ck)
{
    Construct *k = ck->k;
    const Member *event = construct_member(k, "event"), *actions = construct_member(k, "actions");
    const Member *channel = construct_member(k, "channel");
    k->seed_form = event || (!actions && !k->has_input);
    if (event && actions)
        report(ck->c, D_TRIGGER_FORMS, event->pos, NO_HINT, "use either actions or event");
    if (k->seed_form)
        report_extension(ck->c, k->pos, 8, "the event form of realtime_trigger");
    if (event && event->value && event->value->kind == EX_TEXT && event->value->text.len == 0)
        report(ck->c, D_EMPTY_REFERENCE, event->value_pos, NO_HINT, "event must not be empty");
    if (channel && channel->value && channel->value->kind == EX_TEXT)
        check_pattern(ck, channel->value->text, channel->value_pos);
}

/* A literal with nested_channels, and its prefix with a star, say two things of the same names. */
static void same_channels(Check *ck, const Expr *nested)
{
    Construct *k = ck->k;
    if (!nested || nested->kind != EX_BOOL || !nested->i)
        return;
    const Construct *other = prog_find(ck->pr, CK_REALTIME_CHANNEL,
                                       arena_printf(ck->c->a, TEXT_FMT "/*", TEXT_ARG(k->name)));
    if (other)
        report(ck->c, D_SAME_CHANNELS, nested->pos, NO_HINT,
               "'" TEXT_FMT "' in " TEXT_FMT " is for the same channels; %s counts",
               TEXT_ARG(other->name), TEXT_ARG(other->file),
               text_cmp(k->file, other->file) < 0 ? "this one" : "that one");
}

static void realtime_channel(Check *ck)
{
    check_pattern(ck, ck->k->name, ck->k->name_pos);
    const Member *m = construct_member(ck->k, "settings");
    same_channels(ck, m ? pair_value(m->value, "nested_channels") : NULL);
    const Expr *size = m ? pair_value(m->value, "message_history") : NULL;
    if (!size || size->kind != EX_INT)
        return;
    if (size->i < 0 || size->i > 1000)
        report(ck->c, D_BAD_ENUM, size->pos, NO_HINT,
               "expected 'message_history' to be one of 0, 25, 50, 100, 250, 1000");
    else if (size->i != 0 && size->i != 25 && size->i != 50 && size->i != 100 && size->i != 250 &&
             size->i != 1000)
        report(ck->c, D_UNLISTED_VALUE, size->pos, NO_HINT,
               "the platform knows message_history 0, 25, 50, 100, 250, 1000");
}

static void reference(Check *ck, const char *name, ConstructKind kind, const char *what)
{
    const Member *m = construct_member(ck->k, name);
    if (!m || !m->value || m->value->kind != EX_TEXT)
        return;
    if (m->value->text.len == 0) {
        if (strcmp(name, "auth") != 0)
            report(ck->c, D_EMPTY_REFERENCE, m->value_pos, NO_HINT, "%s must not be empty", name);
        return;
    }
    if (!prog_find(ck->pr, kind, m->value->text))
        prog_unknown(ck->pr, kind, what, m->value->text, m->value_pos);
}

/* {pre, post}; of a branch, such an object for each kind of construct. */
static void middleware_names(Check *ck, const Expr *lists)
{
    for (size_t i = 0; lists && lists->kind == EX_MAP && i < lists->pairs.len; i++) {
        const Expr *list = lists->pairs.ptr[i].value;
        if (list && list->kind == EX_MAP)
            middleware_names(ck, list);
        if (!list || list->kind != EX_LIST)
            continue;
        for (size_t k = 0; k < list->items.len; k++) {
            const Expr *item = list->items.ptr[k];
            const Expr *name = item->kind == EX_MAP ? pair_value(item, "name") : item;
            if (name && name->kind == EX_TEXT && !prog_find(ck->pr, CK_MIDDLEWARE, name->text))
                prog_unknown(ck->pr, CK_MIDDLEWARE, "middleware", name->text, name->pos);
        }
    }
}

static void check_middleware(Check *ck)
{
    const Member *m = construct_member(ck->k, "middleware");
    if (m)
        middleware_names(ck, m->value);
}

static void path_params(Check *ck, DiagId id)
{
    Text name = ck->k->name;
    for (size_t at = 0; (at = text_find(name, TEXT("{"), at)) != SIZE_MAX;) {
        size_t end = text_find(name, TEXT("}"), at);
        if (end == SIZE_MAX)
            return;
        Text param = text_slice(name, at + 1, end);
        at = end;
        bool known = false;
        for (size_t i = 0; i < ck->k->input.len && !known; i++)
            known = text_eq(ck->k->input.ptr[i]->name, param);
        if (!known)
            report(ck->c, id, ck->k->name_pos, NO_HINT,
                   "path parameter '" TEXT_FMT "' is not an input", TEXT_ARG(param));
    }
}

/* ---- realtime servers ---- */

static bool word_bytes(Text t)
{
    for (size_t i = 0; i < t.len; i++) {
        char ch = t.ptr[i];
        bool digit = ch >= '0' && ch <= '9', letter = (ch | 32) >= 'a' && (ch | 32) <= 'z';
        if (!digit && !letter && ch != '_' && ch != '-')
            return false;
    }
    return t.len > 0;
}

/* Segments of letters, digits, _ and - between single slashes; a parameter is a whole segment. */
static bool template_ok(Text t)
{
    enum { PATH_MAX_BYTES = 200 };
    if (t.len == 0 || t.len > PATH_MAX_BYTES)
        return false;
    for (size_t from = 0; from <= t.len;) {
        size_t end = text_find(t, TEXT("/"), from);
        Text segment = text_slice(t, from, end);
        from = end == SIZE_MAX ? t.len + 1 : end + 1;
        if (segment.len > 2 && segment.ptr[0] == '{' && segment.ptr[segment.len - 1] == '}')
            segment = text_slice(segment, 1, segment.len - 1);
        if (!word_bytes(segment))
            return false;
    }
    return true;
}

static void realtime_server(Check *ck)
{
    const Member *m = construct_member(ck->k, "canonical");
    Text canonical = construct_text(ck->k, "canonical");
    if (m && canonical.ptr && (!word_bytes(canonical) || canonical.len > 64))
        report(ck->c, D_NAME_EXPECTED, m->value_pos, NO_HINT,
               "canonical has 1 to 64 letters, digits, '_' and '-'");
}

static bool has_param(Text path, Text name)
{
    for (size_t at = 0; (at = text_find(path, name, at)) != SIZE_MAX; at++)
        if (at > 0 && path.ptr[at - 1] == '{' && at + name.len < path.len &&
            path.ptr[at + name.len] == '}')
            return true;
    return false;
}

static void channel_inputs(Check *ck)
{
    const Construct *k = ck->k;
    for (size_t i = 0; i < k->input.len; i++) {
        const Field *f = k->input.ptr[i];
        if (!f->name.ptr)
            continue;
        if (!has_param(k->name, f->name))
            report(ck->c, D_PATH_PARAM, f->pos, NO_HINT,
                   "input '" TEXT_FMT "' is no parameter of the path", TEXT_ARG(f->name));
        else if (f->list || word_in("object json file image video audio attachment", f->type))
            report(ck->c, D_PATH_PARAM_E, f->pos, NO_HINT,
                   "path parameter '" TEXT_FMT "' must be a single value", TEXT_ARG(f->name));
    }
}

static void channel(Check *ck)
{
    const Construct *k = ck->k;
    reference(ck, "realtime_server", CK_REALTIME_SERVER, "realtime_server");
    if (!template_ok(k->name))
        report(ck->c, D_BAD_PATTERN, k->name_pos, NO_HINT,
               "a channel path has segments of letters, digits, '_' and '-', or '{name}'");
    else
        path_params(ck, D_PATH_PARAM_E);
    channel_inputs(ck);
}

/* The channel a message or trigger belongs to. */
static void channel_reference(Check *ck)
{
    const Member *m = construct_member(ck->k, "channel");
    Text server = construct_text(ck->k, "realtime_server"),
         channel = construct_text(ck->k, "channel");
    if (!m || !channel.ptr)
        return;
    if (channel.len == 0)
        report(ck->c, D_EMPTY_REFERENCE, m->value_pos, NO_HINT, "channel must not be empty");
    else if (server.len &&
             !prog_find(ck->pr, CK_CHANNEL, prog_channel_key(ck->pr, server, channel)))
        report(ck->c, ck->c->loose ? D_UNKNOWN_REFERENCE_W : D_UNKNOWN_REFERENCE, m->value_pos,
               NO_HINT, "realtime_server '" TEXT_FMT "' has no channel '" TEXT_FMT "'",
               TEXT_ARG(server), TEXT_ARG(channel));
}

static void message(Check *ck)
{
    reference(ck, "realtime_server", CK_REALTIME_SERVER, "realtime_server");
    reference(ck, "auth", CK_TABLE, "table");
    channel_reference(ck);
    if (!word_bytes(ck->k->name))
        report(ck->c, D_NAME_EXPECTED, ck->k->name_pos, NO_HINT,
               "a message name has letters, digits, '_' and '-'");
}

static void server_trigger(Check *ck, bool of_channel)
{
    reference(ck, "realtime_server", CK_REALTIME_SERVER, "realtime_server");
    if (of_channel)
        channel_reference(ck);
}

static void check_publish(Check *ck, const Stmt *s)
{
    const Attr *channel = stmt_attr(s, "channel"), *server = stmt_attr(s, "realtime_server");
    if (channel && channel->value && channel->value->kind == EX_TEXT &&
        text_find(channel->value->text, TEXT("{"), 0) != SIZE_MAX)
        report(ck->c, D_BAD_PATTERN, channel->value->pos, NO_HINT,
               "realtime.publish needs the resolved path, without '{'");
    if (server && server->value && server->value->kind == EX_TEXT &&
        !prog_find(ck->pr, CK_REALTIME_SERVER, server->value->text))
        prog_unknown(ck->pr, CK_REALTIME_SERVER, "realtime_server", server->value->text,
                     server->value->pos);
}

static void check_index_op(Check *ck, const Expr *type, const Expr *op)
{
    static const char *const ops[][3] = {
        {"btree", "asc desc", "asc, desc"},
        {"btree|unique", "asc desc", "asc, desc"},
        {"gin", "jsonb_path_op jsonb_path_ops", "jsonb_path_op"},
        {"search", "A B C D", "A, B, C, D"},
        {"vector", "vector_cosine_ops vector_ip_ops vector_l1_ops vector_l2_ops",
         "vector_cosine_ops, vector_ip_ops, vector_l1_ops, vector_l2_ops"}};
    for (size_t i = 0; type && type->kind == EX_TEXT && i < COUNT_OF(ops); i++)
        if (text_eq(type->text, text_from(ops[i][0])))
            enum_value(ck, op, "op", ops[i][1], ops[i][2]);
}

static void table(Check *ck)
{
    Construct *k = ck->k;
    const Field *id = prog_column(ck->pr, k, TEXT("id"));
    if (k->has_input &&
        (!id || id->list ||
         (!text_eq(id->type, TEXT("int")) && !text_eq(id->type, TEXT("uuid")))) &&
        !prog_has_dblink(k))
        report(ck->c, D_TABLE_ID, id ? id->pos : k->input_pos, NO_HINT,
               "a table needs a field id of type int or uuid");
    const Member *index = construct_member(k, "index");
    if (!index || !index->value || index->value->kind != EX_LIST)
        return;
    for (size_t i = 0; i < index->value->items.len; i++) {
        const Expr *row = index->value->items.ptr[i];
        enum_value(ck, pair_value(row, "type"), "type",
                   "primary btree btree|unique gin search vector spatial",
                   "primary, btree, btree|unique, gin, search, vector, spatial");
        const Expr *fields = pair_value(row, "field");
        if (!fields || fields->kind != EX_LIST)
            continue;
        for (size_t f = 0; f < fields->items.len; f++) {
            const Expr *name = pair_value(fields->items.ptr[f], "name");
            check_index_op(ck, pair_value(row, "type"), pair_value(fields->items.ptr[f], "op"));
            if (!prog_has_dblink(k) && name && name->kind == EX_TEXT &&
                !text_eq(name->text, TEXT("xdo")) && !prog_column(ck->pr, k, name->text))
                report(ck->c, D_UNKNOWN_COLUMN, name->pos,
                       hint_near(ck->c, prog_column_nearest(k, name->text)),
                       "table '" TEXT_FMT "' has no column '" TEXT_FMT "'", TEXT_ARG(k->name),
                       TEXT_ARG(name->text));
        }
    }
}

static void addon(Check *ck)
{
    const Block *b = &ck->k->stack;
    if (b->items.len == 0)
        return;
    const Stmt *s = b->items.ptr[0];
    if (b->items.len > 1 || !text_eq(s->keyword, TEXT("db.query")))
        report(ck->c, D_ADDON_STACK, s->pos, NO_HINT, "an addon holds exactly one db.query");
}

static void agent(Check *ck)
{
    const Member *llm = construct_member(ck->k, "llm");
    if (!llm || !llm->value || llm->value->kind != EX_MAP)
        return;
    bool prompt = pair_value(llm->value, "prompt") != NULL,
         messages = pair_value(llm->value, "messages") != NULL;
    if (prompt == messages)
        report(ck->c, D_LLM_PROMPT, llm->pos, NO_HINT, "give either prompt or messages");
    const Expr *type = pair_value(llm->value, "type");
    static const char *const only[][2] = {{"search_grounding", "google-genai xano-free"},
                                          {"include_thoughts", "google-genai"},
                                          {"reasoning_effort", "openai"},
                                          {"organization", "openai"},
                                          {"project", "openai"}};
    for (size_t i = 0; type && type->kind == EX_TEXT && i < llm->value->pairs.len; i++)
        for (size_t k = 0; k < COUNT_OF(only); k++)
            if (text_eq(llm->value->pairs.ptr[i].text, text_from(only[k][0])) &&
                !word_in(only[k][1], type->text))
                report(ck->c, D_LLM_OPTION, llm->value->pairs.ptr[i].pos, NO_HINT,
                       "'%s' is not used by " TEXT_FMT, only[k][0], TEXT_ARG(type->text));
}

static void run_job(Check *ck)
{
    static const char *const members[] = {"main", "pre", "post"};
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        const Member *m = construct_member(ck->k, members[i]);
        if (!m || !m->value)
            continue;
        const Expr *name = pair_value(m->value, "name");
        if (name && name->kind == EX_TEXT && !prog_find(ck->pr, CK_FUNCTION, name->text))
            prog_unknown(ck->pr, CK_FUNCTION, "function", name->text, name->pos);
        expr(ck, m->value);
    }
}

static void by_kind(Check *ck)
{
    switch (ck->k->kind) {
    case CK_QUERY:
        if (!construct_member(ck->k, "verb"))
            report(ck->c, D_MISSING_VERB, ck->k->pos, TEXT("write verb=GET behind the name"),
                   "query '" TEXT_FMT "' has no verb and answers GET", TEXT_ARG(ck->k->name));
        path_params(ck, D_PATH_PARAM);
        reference(ck, "api_group", CK_API_GROUP, "api_group");
        reference(ck, "auth", CK_TABLE, "table");
        break;
    case CK_TABLE: table(ck); break;
    case CK_ADDON: addon(ck); break;
    case CK_AGENT: agent(ck); break;
    case CK_REALTIME_TRIGGER: realtime_trigger(ck); break;
    case CK_REALTIME_CHANNEL: realtime_channel(ck); break;
    case CK_REALTIME_SERVER: realtime_server(ck); break;
    case CK_CHANNEL: channel(ck); break;
    case CK_MESSAGE: message(ck); break;
    case CK_REALTIME_SERVER_TRIGGER: server_trigger(ck, false); break;
    case CK_CHANNEL_TRIGGER: server_trigger(ck, true); break;
    case CK_TABLE_TRIGGER:
        reference(ck, "table", CK_TABLE, "table");
        check_trigger_where(ck);
        break;
    case CK_AGENT_TRIGGER: reference(ck, "agent", CK_AGENT, "agent"); break;
    case CK_MCP_SERVER_TRIGGER: reference(ck, "mcp_server", CK_MCP_SERVER, "mcp_server"); break;
    case CK_RUN_JOB:
    case CK_RUN_SERVICE: run_job(ck); break;
    default: break;
    }
    check_actions(ck);
    check_fixed_input(ck);
    check_middleware(ck);
}

static void tests(Check *ck)
{
    for (size_t i = 0; i < ck->k->tests.len; i++) {
        Test *t = &ck->k->tests.ptr[i];
        for (size_t a = 0; a < t->attrs.len; a++)
            expr(ck, t->attrs.ptr[a].value);
        ck->in_test = true;
        block(ck, &t->body);
        ck->in_test = false;
    }
}

void check_construct(Prog *pr, Construct *k)
{
    Check ck = {.pr = pr, .c = pr->c, .k = k};
    pr->c->file = k->state;
    collect(&ck, &k->stack);
    by_kind(&ck);
    block(&ck, &k->stack);
    expr(&ck, k->response);
    tests(&ck);
    check_references(pr, k);
    map_deinit(&ck.assigned);
}

void check_expression(Prog *pr, Expr *e)
{
    Construct k = {.kind = CK_FRAGMENT};
    Check ck = {.pr = pr, .c = pr->c, .k = &k};
    expr(&ck, e);
    map_deinit(&ck.assigned);
}
