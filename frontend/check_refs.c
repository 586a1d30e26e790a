/* check_refs.c - names across the program that statements and members mention: tasks, tools,
 * agents, endpoints, channels; and variables that are set and never read. */
#include "frontend/prog.h"

typedef struct Refs {
    Prog *pr;
    Comp *c;
    const Construct *k;
    Map read; /* names of variables that are read */
    bool all_read;
} Refs;

static Text constant(const Stmt *s, const char *name)
{
    const Attr *a = stmt_attr(s, name);
    return a && a->value && a->value->kind == EX_TEXT ? a->value->text : (Text){0};
}

static void need(Refs *r, ConstructKind kind, const char *what, Text name, Pos pos)
{
    if (name.len && !prog_find(r->pr, kind, name))
        prog_unknown(r->pr, kind, what, name, pos);
}

/* ---- statements ---- */

static const struct {
    const char *keyword, *attr; /* attr NULL = the operand */
    ConstructKind kind;
    const char *what;
} references[] = {
    {"task.call", NULL, CK_TASK, "task"},
    {"addon.call", NULL, CK_ADDON, "addon"},
    {"middleware.call", NULL, CK_MIDDLEWARE, "middleware"},
    {"workflow_test.call", NULL, CK_WORKFLOW_TEST, "workflow_test"},
    {"ai.agent.run", NULL, CK_AGENT, "agent"},
    {"api.call", "api_group", CK_API_GROUP, "api_group"},
    {"security.create_auth_token", "table", CK_TABLE, "table"},
    {"api.realtime_event", "auth_table", CK_TABLE, "table"},
    {"realtime.publish", "auth_table", CK_TABLE, "table"},
};

static void api_call(Refs *r, const Stmt *s)
{
    Text group = constant(s, "api_group");
    if (!group.ptr || !prog_find(r->pr, CK_API_GROUP, group) || !s->name.ptr)
        return;
    Text names[64];
    size_t n = 0;
    for (size_t i = 0; i < r->pr->all.len; i++) {
        const Construct *q = r->pr->all.ptr[i];
        Text verb = construct_text(q, "verb");
        if (q->kind != CK_QUERY || !text_eq(construct_text(q, "api_group"), group))
            continue;
        if (text_eq(q->name, s->name) &&
            (!s->verb.ptr || text_eq(s->verb, verb.ptr ? verb : TEXT("GET"))))
            return;
        if (n < COUNT_OF(names))
            names[n++] = q->name;
    }
    report(r->c, r->c->loose ? D_UNKNOWN_REFERENCE_W : D_UNKNOWN_REFERENCE, s->name_pos,
           hint_near(r->c, text_nearest(s->name, names, n)),
           "api_group '" TEXT_FMT "' has no " TEXT_FMT " query '" TEXT_FMT "'", TEXT_ARG(group),
           TEXT_ARG(s->verb.ptr ? s->verb : TEXT("such")), TEXT_ARG(s->name));
}

/* ---- channels ---- */

/* Whether a channel that is `name`, or starts with it, may be one of a declared pattern. */
static bool may_match(const Construct *channel, Text name, bool prefix)
{
    Text pattern = channel->name;
    bool open = text_ends(pattern, TEXT("*"));
    pattern.len -= open;
    const Member *settings = construct_member(channel, "settings");
    bool nested = false;
    if (settings && settings->value && settings->value->kind == EX_MAP)
        for (size_t i = 0; i < settings->value->pairs.len; i++) {
            const Pair *p = &settings->value->pairs.ptr[i];
            nested |= text_eq(p->text, TEXT("nested_channels")) && p->value &&
                      p->value->kind == EX_BOOL && p->value->i;
        }
    if (prefix && text_starts(pattern, name))
        return true;
    return open || nested ? text_starts(name, pattern) : text_eq(name, pattern);
}

static void need_channel(Refs *r, Text name, bool prefix, Pos pos)
{
    bool any = false;
    for (size_t i = 0; i < r->pr->all.len; i++) {
        const Construct *k = r->pr->all.ptr[i];
        if (k->kind != CK_REALTIME_CHANNEL || !k->name.ptr)
            continue;
        any = true;
        if (may_match(k, name, prefix))
            return;
    }
    if (any && name.len)
        report(r->c, D_UNKNOWN_CHANNEL, pos, NO_HINT, "no realtime_channel covers '" TEXT_FMT "%s'",
               TEXT_ARG(name), prefix ? "…" : "");
}

static void channel_of(Refs *r, const Stmt *s)
{
    const Attr *a = stmt_attr(s, "channel");
    const Expr *e = a ? a->value : NULL;
    bool prefix = false;
    while (e && e->kind == EX_BINARY && e->op == BIN_CONCAT) {
        e = e->a;
        prefix = true;
    }
    if (e && e->kind == EX_TEXT)
        need_channel(r, e->text, prefix, e->pos);
}

/* ---- variables ---- */

static void mark(Refs *r, Text name)
{
    if (!map_put(&r->read, name, r))
        r->c->oom = true;
}

/* Texts may be conditions of paths, or expressions: what they name is read. */
static void read_text(Refs *r, Text t)
{
    for (size_t at = 0; (at = text_find(t, TEXT("$"), at)) != SIZE_MAX;) {
        size_t end = ++at;
        while (end < t.len && text_is_ident(text_slice(t, at, end + 1)))
            end++;
        if (end > at)
            mark(r, text_slice(t, at, end));
        at = end;
    }
}

static bool read_expr(Expr *e, void *ctx)
{
    Refs *r = ctx;
    if (e->kind == EX_TEXT)
        read_text(r, e->text);
    if (e->kind == EX_VAR) {
        r->all_read |= text_eq(e->text, TEXT("var"));
        mark(r, e->text);
    }
    if (e->kind == EX_MEMBER && e->dollar)
        mark(r, e->text);
    return true;
}

/* A target is written, but its indexes and filters are read. */
static void read_target(Refs *r, Expr *e)
{
    for (; e && e->kind != EX_VAR; e = e->a) {
        expr_walk(e->b, read_expr, r);
        if (e->kind == EX_MEMBER && e->dollar)
            mark(r, e->text);
        if (e->kind == EX_FILTER)
            for (size_t i = 0; i < e->items.len; i++)
                expr_walk(e->items.ptr[i], read_expr, r);
    }
}

static void walk(Refs *r, Block *b);

static void statement(Refs *r, Stmt *s)
{
    for (size_t i = 0; i < COUNT_OF(references); i++) {
        if (!text_eq(s->keyword, text_from(references[i].keyword)))
            continue;
        const char *attr = references[i].attr;
        Text name = attr ? constant(s, attr) : s->name;
        if (name.ptr)
            need(r, references[i].kind, references[i].what, name,
                 attr ? stmt_attr(s, attr)->value->pos : s->name_pos);
    }
    if (text_eq(s->keyword, TEXT("api.call")))
        api_call(r, s);
    if (text_eq(s->keyword, TEXT("api.realtime_event")))
        channel_of(r, s);
    /* Their texts and results can name any variable. */
    r->all_read |= stmt_takes_scope(s) || word_in("api.lambda util.get_vars", s->keyword);
    if (s->info->operand == OPR_VAR)
        read_target(r, s->operand);
    else
        expr_walk(s->operand, read_expr, r);
    bool reads = s->info->operand == OPR_VAR && s->info->result != R_NONE;
    if (reads) /* array.pop $x as $y: $x is of use */
        expr_walk(s->operand, read_expr, r);
    expr_walk(s->cond, read_expr, r);
    read_target(r, s->as);
    for (size_t i = 0; i < s->attrs.len; i++) {
        expr_walk(s->attrs.ptr[i].value, read_expr, r);
        walk(r, &s->attrs.ptr[i].stack);
    }
    for (size_t i = 0; i < s->branches.len; i++) {
        expr_walk(s->branches.ptr[i].cond, read_expr, r);
        walk(r, &s->branches.ptr[i].body);
    }
}

static void walk(Refs *r, Block *b)
{
    for (size_t i = 0; i < b->items.len; i++)
        statement(r, b->items.ptr[i]);
}

/* var statements whose variable nobody reads; the first of each. */
static void unused(Refs *r, const Block *b)
{
    for (size_t i = 0; i < b->items.len; i++) {
        const Stmt *s = b->items.ptr[i];
        Expr *e = s->operand;
        if (text_eq(s->keyword, TEXT("var")) && e && e->kind == EX_VAR && !s->disabled &&
            !text_starts(e->text, TEXT("_")) && !map_get(&r->read, e->text)) {
            report(r->c, D_UNUSED_VARIABLE, e->pos, NO_HINT, "'$" TEXT_FMT "' is never read",
                   TEXT_ARG(e->text));
            mark(r, e->text);
        }
        for (size_t k = 0; k < s->attrs.len; k++)
            unused(r, &s->attrs.ptr[k].stack);
        for (size_t k = 0; k < s->branches.len; k++)
            unused(r, &s->branches.ptr[k].body);
    }
}

/* ---- members ---- */

static void fields(Refs *r, const FieldList *list)
{
    for (size_t i = 0; i < list->len; i++) {
        const Field *f = list->ptr[i];
        if (f->name.ptr && f->table.len)
            need(r, CK_TABLE, "table", f->table, f->pos);
        fields(r, &f->fields);
    }
}

static void tools(Refs *r)
{
    const Member *m = construct_member(r->k, "tools");
    if (!m || !m->value || m->value->kind != EX_LIST)
        return;
    for (size_t i = 0; i < m->value->items.len; i++) {
        const Expr *item = m->value->items.ptr[i], *name = item;
        for (size_t k = 0; item->kind == EX_MAP && k < item->pairs.len; k++)
            if (text_eq(item->pairs.ptr[k].text, TEXT("name")))
                name = item->pairs.ptr[k].value;
        if (name && name->kind == EX_TEXT)
            need(r, CK_TOOL, "tool", name->text, name->pos);
    }
}

static void login_table(Refs *r)
{
    const Member *m = construct_member(r->k, "auth");
    if (r->k->kind != CK_QUERY || !m || !m->value || m->value->kind != EX_TEXT)
        return;
    const Construct *table = prog_find(r->pr, CK_TABLE, m->value->text);
    const Member *has = table ? construct_member(table, "auth") : NULL;
    if (table && !(has && has->value && has->value->kind == EX_BOOL && has->value->i))
        report(r->c, D_AUTH_TABLE, m->value->pos, TEXT("auth = true in the table permits it"),
               "nobody logs in by table '" TEXT_FMT "'", TEXT_ARG(m->value->text));
}

static void trigger_channel(Refs *r)
{
    const Member *m = construct_member(r->k, "channel");
    if (r->k->kind != CK_REALTIME_TRIGGER || !m || !m->value || m->value->kind != EX_TEXT)
        return;
    Text name = m->value->text;
    bool prefix = text_ends(name, TEXT("*"));
    name.len -= prefix;
    need_channel(r, name, prefix, m->value->pos);
}

void check_references(Prog *pr, Construct *k)
{
    Refs r = {.pr = pr, .c = pr->c, .k = k};
    walk(&r, &k->stack);
    expr_walk(k->response, read_expr, &r);
    for (size_t i = 0; i < k->tests.len; i++)
        walk(&r, &k->tests.ptr[i].body);
    if (!r.all_read && k->kind != CK_FRAGMENT && pr->c->file->errors == 0) /* no read was lost */
        unused(&r, &k->stack);
    fields(&r, &k->declared);
    tools(&r);
    login_table(&r);
    trigger_channel(&r);
    map_deinit(&r.read);
}
