/* meta.c - what the bundle says about itself: tables, channels, triggers, routes. Shapes:
 * core/lang/README.md. */
#include "frontend/gen.h"

/* ---- fields ---- */

static const Const *default_of(Comp *c, const Expr *e)
{
    if (e->kind == EX_NOW) {
        Const *m = k_map(c);
        k_set_bool(c, m, "now", true);
        return m;
    }
    const Const *k = fold_const(c, e);
    return k ? k : &const_null;
}

static const Const *filters_of(Comp *c, const Field *f)
{
    Const *l = k_list(c);
    for (size_t i = 0; i < f->filters.len; i++) {
        const InFilter *filter = &f->filters.ptr[i];
        if (filter->disabled)
            continue;
        Const *item = k_list(c);
        k_push(c, item, k_text(c, filter->name));
        for (size_t a = 0; a < filter->args.len; a++) {
            const Const *k = fold_const(c, filter->args.ptr[a]);
            k_push(c, item, k ? k : &const_null);
        }
        k_push(c, l, item);
    }
    return l;
}

const Const *meta_field(Prog *pr, const Field *f)
{
    Comp *c = pr->c;
    Const *m = k_map(c);
    k_set_text(c, m, "name", f->name);
    k_set_text(c, m, "type", f->type);
    if (f->list)
        k_set_bool(c, m, "list", true);
    if (f->has_min)
        k_set(c, m, TEXT("min"), k_int(c, f->min));
    if (f->has_max)
        k_set(c, m, TEXT("max"), k_int(c, f->max));
    if (f->nullable)
        k_set_bool(c, m, "nullable", true);
    if (f->optional)
        k_set_bool(c, m, "optional", true);
    if (f->def)
        k_set(c, m, TEXT("default"), default_of(c, f->def));
    if (f->filters.len)
        k_set(c, m, TEXT("filters"), filters_of(c, f));
    const Const *values = f->values ? fold_const(c, f->values) : NULL;
    if (values)
        k_set(c, m, TEXT("values"), values);
    if (text_eq(f->type, TEXT("object")) && f->fields.len)
        k_set(c, m, TEXT("fields"), meta_fields(pr, &f->fields));
    if (f->table.ptr)
        k_set_text(c, m, "table", f->table);
    if (f->sensitive)
        k_set_bool(c, m, "sensitive", true);
    if (f->visibility.ptr)
        k_set_text(c, m, "visibility", f->visibility);
    if (f->size > 0)
        k_set(c, m, TEXT("size"), k_int(c, f->size));
    if (f->description.ptr)
        k_set_text(c, m, "description", f->description);
    return m;
}

/* The columns of a table as seen through a dblink; no deeper than one link. */
static void linked_fields(Prog *pr, const Field *link, Const *l)
{
    const Construct *table = prog_find(pr, CK_TABLE, link->table);
    for (size_t i = 0; table && i < table->input.len; i++)
        if (table->input.ptr[i]->name.ptr && !text_eq(table->input.ptr[i]->name, TEXT("id")))
            k_push(pr->c, l, meta_field(pr, table->input.ptr[i]));
}

const Const *meta_fields(Prog *pr, const FieldList *fields)
{
    Const *l = k_list(pr->c);
    for (size_t i = 0; i < fields->len; i++) {
        const Field *f = fields->ptr[i];
        if (f->name.ptr)
            k_push(pr->c, l, meta_field(pr, f));
        else
            linked_fields(pr, f, l);
    }
    return l;
}

/* ---- members ---- */

static const Const *member_const(Comp *c, const Construct *k, const char *name)
{
    const Member *m = construct_member(k, name);
    return m && m->value ? fold_const(c, m->value) : NULL;
}

static bool active(Comp *c, const Construct *k)
{
    return const_bool_of(member_const(c, k, "active"), true);
}

static void copy_member(Comp *c, Const *to, const Construct *k, const char *name)
{
    const Const *v = member_const(c, k, name);
    if (v)
        k_set(c, to, text_from(name), v);
}

/* names: words with one blank between them. */
static void copy_members(Comp *c, Const *to, const Construct *k, const char *names)
{
    char name[32];
    for (const char *at = names; *at;) {
        size_t n = strcspn(at, " ");
        memcpy(name, at, n);
        name[n] = '\0';
        copy_member(c, to, k, name);
        at += n + (at[n] == ' ');
    }
}

static Const *named(Comp *c, const Construct *k)
{
    Const *m = k_map(c);
    k_set_text(c, m, "name", k->name);
    return m;
}

static void set_proc(Comp *c, Const *m, const Construct *k)
{
    k_set(c, m, TEXT("proc"), k_int(c, k->proc));
}

/* ---- constructs ---- */

static const Const *index_of(Comp *c, const Construct *k)
{
    const Const *rows = member_const(c, k, "index");
    Const *l = k_list(c);
    for (uint32_t i = 0; rows && rows->kind == C_LIST && i < rows->count; i++) {
        const Const *row = rows->items[i], *fields = const_get(row, "field");
        Const *m = k_map(c), *list = k_list(c);
        k_set_text(c, m, "type", const_text_of(const_get(row, "type"), TEXT("btree")));
        for (uint32_t f = 0; fields && fields->kind == C_LIST && f < fields->count; f++) {
            Const *field = k_map(c);
            k_set_text(c, field, "name",
                       const_text_of(const_get(fields->items[f], "name"), TEXT("")));
            k_set_text(c, field, "op",
                       const_text_of(const_get(fields->items[f], "op"), TEXT("asc")));
            k_push(c, list, field);
        }
        k_set(c, m, TEXT("fields"), list);
        if (const_get(row, "name"))
            k_set(c, m, TEXT("name"), const_get(row, "name"));
        if (const_get(row, "lang"))
            k_set(c, m, TEXT("lang"), const_get(row, "lang"));
        k_push(c, l, m);
    }
    return l;
}

static const Const *table(Prog *pr, const Construct *k, int64_t id)
{
    Comp *c = pr->c;
    Const *m = named(c, k);
    k_set(c, m, TEXT("id"), k_int(c, id));
    k_set_bool(c, m, "auth", const_bool_of(member_const(c, k, "auth"), false));
    k_set(c, m, TEXT("fields"), meta_fields(pr, &k->input));
    k_set(c, m, TEXT("index"), index_of(c, k));
    copy_member(c, m, k, "items");
    copy_member(c, m, k, "guid");
    k_set_text(c, m, "file", k->file);
    return m;
}

static const Const *flags(Comp *c, const Const *from, const char *const *names, size_t n,
                          bool first)
{
    Const *m = k_map(c);
    for (size_t i = 0; i < n; i++)
        k_set_bool(c, m, names[i], const_bool_of(const_get(from, names[i]), i == 0 && first));
    return m;
}

static const Const *channel(Comp *c, const Construct *k)
{
    static const char *const messaging[] = {"active", "auth"};
    static const char *const booleans[] = {"anonymous_clients", "nested_channels", "auth_channel",
                                           "presence"};
    const Const *given = member_const(c, k, "settings");
    const Const *open = member_const(c, k, "public_messaging"),
                *closed = member_const(c, k, "private_messaging");
    Const *m = k_map(c), *settings = k_map(c);
    for (size_t i = 0; i < COUNT_OF(booleans); i++)
        k_set_bool(c, settings, booleans[i], const_bool_of(const_get(given, booleans[i]), false));
    k_set(c, settings, TEXT("message_history"),
          k_int(c, const_int_of(const_get(given, "message_history"), 0)));
    k_set_text(c, m, "pattern", k->name);
    k_set_bool(c, m, "active", active(c, k));
    k_set_bool(c, m, "nested", const_bool_of(const_get(given, "nested_channels"), false));
    k_set(c, m, TEXT("public"), flags(c, open, messaging, COUNT_OF(messaging), open != NULL));
    k_set(c, m, TEXT("private"), flags(c, closed, messaging, COUNT_OF(messaging), closed != NULL));
    k_set(c, m, TEXT("settings"), settings);
    return m;
}

static const Const *trigger(Comp *c, const Construct *k)
{
    Const *m = named(c, k);
    k_set_text(c, m, "form", k->seed_form ? TEXT("seed") : TEXT("official"));
    k_set_text(c, m, "pattern", construct_text(k, "channel"));
    if (construct_text(k, "event").ptr)
        k_set_text(c, m, "event", construct_text(k, "event"));
    if (!k->seed_form) {
        const Const *given = member_const(c, k, "actions");
        Const *actions = k_map(c);
        k_set_bool(c, actions, "join", const_bool_of(const_get(given, "join"), !given));
        k_set_bool(c, actions, "message", const_bool_of(const_get(given, "message"), !given));
        k_set(c, m, TEXT("actions"), actions);
    }
    set_proc(c, m, k);
    k_set_bool(c, m, "active", active(c, k));
    k_set_bool(c, m, "response", k->response != NULL);
    return m;
}

/* ---- realtime servers ---- */

static const Const *realtime_server(Comp *c, const Construct *k)
{
    Const *m = named(c, k);
    Text canonical = construct_text(k, "canonical");
    k_set_text(c, m, "canonical", canonical.ptr ? canonical : slug(c, k->name));
    k_set_bool(c, m, "active", const_bool_of(member_const(c, k, "active"), false));
    copy_member(c, m, k, "middleware");
    return m;
}

/* A parameter that any text satisfies needs no procedure at the join. */
static bool checks_params(const Construct *k)
{
    for (size_t i = 0; i < k->input.len; i++) {
        const Field *f = k->input.ptr[i];
        if (!text_eq(f->type, TEXT("text")) || f->filters.len || f->values || f->has_min ||
            f->has_max)
            return true;
    }
    return false;
}

static const Const *server_channel(Comp *c, const Construct *k)
{
    static const char *const access[] = {"anonymous", "presence"};
    const Const *publish = member_const(c, k, "publish"),
                *delivery = member_const(c, k, "delivery"),
                *conversation = member_const(c, k, "conversation"),
                *limit = member_const(c, k, "rate_limit");
    Const *m = k_map(c), *p = k_map(c), *v = k_map(c), *d = k_map(c);
    k_set_text(c, m, "server", construct_text(k, "realtime_server"));
    k_set_text(c, m, "path", k->name);
    k_set_bool(c, m, "active", active(c, k));
    k_set(c, m, TEXT("access"),
          flags(c, member_const(c, k, "access"), access, COUNT_OF(access), false));
    k_set_text(c, p, "who", const_text_of(const_get(publish, "who"), TEXT("nobody")));
    k_set_bool(c, p, "direct", const_bool_of(const_get(publish, "direct"), false));
    k_set(c, m, TEXT("publish"), p);
    const Const *enabled = const_get(conversation, "enabled");
    k_set_bool(c, v, "enabled",
               const_bool_of(enabled ? enabled : const_get(conversation, "active"), false));
    k_set(c, v, TEXT("limit"), k_int(c, const_int_of(const_get(conversation, "limit"), 0)));
    k_set(c, v, TEXT("ttl"), k_int(c, const_int_of(const_get(conversation, "ttl"), 0)));
    k_set(c, m, TEXT("conversation"), v);
    k_set_text(c, d, "guarantee",
               const_text_of(const_get(delivery, "guarantee"), TEXT("at_most_once")));
    k_set_bool(c, d, "per_recipient", const_bool_of(const_get(delivery, "per_recipient"), false));
    k_set(c, m, TEXT("delivery"), d);
    k_set(c, m, TEXT("messages_per_minute"),
          k_int(c, const_int_of(const_get(limit, "messages_per_minute"), 0)));
    if (checks_params(k))
        set_proc(c, m, k);
    copy_member(c, m, k, "middleware");
    return m;
}

static const Const *message(Comp *c, const Construct *k)
{
    Const *m = named(c, k);
    Text auth = construct_text(k, "auth"), to = construct_text(k, "deliver_to");
    k_set_text(c, m, "server", construct_text(k, "realtime_server"));
    k_set_text(c, m, "channel", construct_text(k, "channel"));
    k_set_text(c, m, "auth", auth.ptr ? auth : TEXT(""));
    k_set_text(c, m, "deliver_to", to.ptr ? to : TEXT("channel"));
    set_proc(c, m, k);
    k_set_bool(c, m, "active", active(c, k));
    copy_member(c, m, k, "middleware");
    return m;
}

static const Const *server_trigger(Comp *c, const Construct *k)
{
    static const char *const names[] = {"connect", "disconnect", "join", "leave", "deliver"};
    bool of_channel = k->kind == CK_CHANNEL_TRIGGER;
    const Const *given = member_const(c, k, "actions");
    Const *m = named(c, k), *actions = k_map(c);
    Text server = construct_text(k, "realtime_server"), channel = construct_text(k, "channel");
    k_set_text(c, m, "server", server.ptr ? server : TEXT(""));
    if (of_channel)
        k_set_text(c, m, "channel", channel.ptr ? channel : TEXT(""));
    for (size_t i = of_channel ? 2 : 0; i < (of_channel ? COUNT_OF(names) : 2); i++)
        k_set_bool(c, actions, names[i], const_bool_of(const_get(given, names[i]), !given));
    k_set(c, m, TEXT("actions"), actions);
    set_proc(c, m, k);
    k_set_bool(c, m, "active", active(c, k));
    return m;
}

static const Const *table_trigger(Comp *c, const Construct *k)
{
    static const char *const names[] = {"insert", "update", "delete", "truncate"};
    const Const *given = member_const(c, k, "actions");
    Const *m = named(c, k), *actions = k_map(c);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        k_set_bool(c, actions, names[i],
                   const_bool_of(const_get(given, names[i]), !given || given->count == 0));
    k_set_text(c, m, "table", construct_text(k, "table"));
    k_set(c, m, TEXT("actions"), actions);
    copy_member(c, m, k, "datasources");
    set_proc(c, m, k);
    k_set_bool(c, m, "active", active(c, k));
    return m;
}

static const Const *query(Comp *c, const Construct *k)
{
    Const *m = named(c, k);
    Text verb = construct_text(k, "verb"), auth = construct_text(k, "auth"),
         type = construct_text(k, "response_type");
    k_set_text(c, m, "group",
               construct_text(k, "api_group").ptr ? construct_text(k, "api_group") : TEXT(""));
    k_set_text(c, m, "verb", verb.ptr ? verb : TEXT("GET"));
    k_set_text(c, m, "auth", auth.ptr ? auth : TEXT(""));
    set_proc(c, m, k);
    k_set_text(c, m, "response_type", type.ptr ? type : TEXT("standard"));
    k_set_bool(c, m, "active", active(c, k));
    copy_members(c, m, k, "middleware cache history description docs tags");
    return m;
}

static const Const *group(Comp *c, const Construct *k)
{
    Const *m = named(c, k);
    Text canonical = construct_text(k, "canonical");
    k_set_text(c, m, "canonical", canonical.ptr ? canonical : slug(c, k->name));
    k_set_bool(c, m, "active", active(c, k));
    copy_members(c, m, k, "cors middleware history swagger description docs tags");
    return m;
}

static const Const *task(Comp *c, const Construct *k)
{
    Const *m = named(c, k);
    set_proc(c, m, k);
    const Const *schedule = member_const(c, k, "schedule");
    if (schedule && schedule->kind == C_MAP && const_get(schedule, "events"))
        schedule = const_get(schedule, "events");
    k_set(c, m, TEXT("schedule"), schedule ? schedule : k_list(c));
    k_set_bool(c, m, "active", active(c, k));
    copy_members(c, m, k, "middleware history description");
    return m;
}

static const Const *middleware(Comp *c, const Construct *k)
{
    Const *m = k_map(c);
    set_proc(c, m, k);
    copy_member(c, m, k, "exception_policy");
    copy_member(c, m, k, "response_strategy");
    return m;
}

/* $input.name -> name */
static Text input_member(const Expr *e)
{
    bool is = e && e->kind == EX_MEMBER && !e->dollar && e->a && e->a->kind == EX_VAR &&
              text_eq(e->a->text, TEXT("input"));
    return is ? e->text : (Text){0};
}

static const Expr *member_value(const Expr *map, const char *key)
{
    for (size_t i = 0; map && map->kind == EX_MAP && i < map->pairs.len; i++)
        if (text_eq(map->pairs.ptr[i].text, text_from(key)))
            return map->pairs.ptr[i].value;
    return NULL;
}

/* A query that takes its rows by one column that equals one input can be asked for many inputs at
 * once: {"input", "column"}; NULL = it cannot. */
static const Const *batch_of(Comp *c, const Construct *k)
{
    const Stmt *s = k->stack.items.len == 1 ? k->stack.items.ptr[0] : NULL;
    if (!s || s->disabled || !text_eq(s->keyword, TEXT("db.query")) ||
        stmt_attr(s, "additional_where") || stmt_attr(s, "override_sort"))
        return NULL;
    const Attr *where = stmt_attr(s, "where"), *ret = stmt_attr(s, "return");
    const Expr *e = where ? where->value : NULL;
    if (!e || e->kind != EX_BINARY || e->op != BIN_EQ || e->optional)
        return NULL;
    if (ret && (member_value(ret->value, "paging") || member_value(ret->value, "distinct") ||
                member_value(ret->value, "eval") || member_value(ret->value, "group")))
        return NULL;
    const Expr *col = is_column_ref(e->a) ? e->a : e->b;
    Text input = input_member(col == e->a ? e->b : e->a);
    Sources sources;
    size_t source;
    const Expr *parts[2];
    query_sources(s, &sources);
    if (!input.ptr || !col || !is_column_ref(col) ||
        column_split(&sources, col, &source, parts, COUNT_OF(parts)) != 1 || source != 0 ||
        parts[0]->kind != EX_MEMBER)
        return NULL;
    for (size_t i = 0; i < k->input.len; i++) {
        const Field *f = k->input.ptr[i];
        if (text_eq(f->name, input) && (f->list || f->filters.len))
            return NULL;
    }
    Const *b = k_map(c);
    k_set_text(c, b, "input", input);
    k_set_text(c, b, "column", parts[0]->text);
    return b;
}

static const Const *addon(Comp *c, const Construct *k)
{
    Const *m = k_map(c);
    const Const *batch = batch_of(c, k);
    set_proc(c, m, k);
    if (batch)
        k_set(c, m, TEXT("batch"), batch);
    return m;
}

/* {"proc": of the function, "as"?} of pre, main or post; NULL = there is none. */
static const Const *job_part(Prog *pr, const Construct *k, const char *member)
{
    Comp *c = pr->c;
    const Member *given = construct_member(k, member);
    const Construct *f = NULL;
    Const *m = k_map(c);
    for (size_t i = 0;
         given && given->value && given->value->kind == EX_MAP && i < given->value->pairs.len;
         i++) {
        const Pair *p = &given->value->pairs.ptr[i];
        if (!p->value || p->value->kind != EX_TEXT)
            continue;
        if (text_eq(p->text, TEXT("name")))
            f = prog_find(pr, CK_FUNCTION, p->value->text);
        else if (text_eq(p->text, TEXT("as")))
            k_set_text(c, m, "as", p->value->text);
    }
    if (f)
        set_proc(c, m, f);
    return f ? m : NULL;
}

static const Const *job(Prog *pr, const Construct *k)
{
    static const char *const parts[] = {"pre", "main", "post"};
    Comp *c = pr->c;
    Const *m = named(c, k);
    set_proc(c, m, k);
    k_set_text(c, m, "file", k->file);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        const Const *part = job_part(pr, k, parts[i]);
        if (part)
            k_set(c, m, text_from(parts[i]), part);
    }
    k_set_bool(c, m, "service", k->kind == CK_RUN_SERVICE);
    copy_member(c, m, k, "env");
    return m;
}

const Const *meta_program(Prog *pr, Text name, const Const *tests)
{
    Comp *c = pr->c;
    Const *m = k_map(c), *tables = k_list(c), *channels = k_list(c), *triggers = k_list(c),
          *table_triggers = k_list(c), *queries = k_list(c);
    Const *groups = k_list(c), *functions = k_map(c), *tasks = k_list(c), *middlewares = k_map(c),
          *addons = k_map(c);
    Const *jobs = k_list(c), *servers = k_list(c), *server_channels = k_list(c),
          *messages = k_list(c), *server_triggers = k_list(c);
    const Construct *workspace = NULL, *branch = NULL;
    int64_t table_id = 0;
    for (size_t i = 0; i < pr->all.len; i++) {
        const Construct *k = pr->all.ptr[i];
        switch (k->kind) {
        case CK_TABLE: k_push(c, tables, table(pr, k, ++table_id)); break;
        case CK_REALTIME_CHANNEL: k_push(c, channels, channel(c, k)); break;
        case CK_REALTIME_TRIGGER: k_push(c, triggers, trigger(c, k)); break;
        case CK_TABLE_TRIGGER: k_push(c, table_triggers, table_trigger(c, k)); break;
        case CK_QUERY: k_push(c, queries, query(c, k)); break;
        case CK_API_GROUP: k_push(c, groups, group(c, k)); break;
        case CK_FUNCTION: k_set(c, functions, k->name, k_int(c, k->proc)); break;
        case CK_FRAGMENT: k_set(c, functions, TEXT("fragment"), k_int(c, k->proc)); break;
        case CK_TASK: k_push(c, tasks, task(c, k)); break;
        case CK_MIDDLEWARE: k_set(c, middlewares, k->name, middleware(c, k)); break;
        case CK_ADDON: k_set(c, addons, k->name, addon(c, k)); break;
        case CK_RUN_JOB:
        case CK_RUN_SERVICE: k_push(c, jobs, job(pr, k)); break;
        case CK_REALTIME_SERVER: k_push(c, servers, realtime_server(c, k)); break;
        case CK_CHANNEL: k_push(c, server_channels, server_channel(c, k)); break;
        case CK_MESSAGE: k_push(c, messages, message(c, k)); break;
        case CK_REALTIME_SERVER_TRIGGER:
        case CK_CHANNEL_TRIGGER: k_push(c, server_triggers, server_trigger(c, k)); break;
        case CK_WORKSPACE: workspace = workspace ? workspace : k; break;
        case CK_BRANCH: branch = branch ? branch : k; break;
        default: break;
        }
    }
    Text title = workspace && workspace->name.ptr ? workspace->name
                 : name.len                       ? name
                                                  : TEXT("program");
    const Const *realtime = workspace ? member_const(c, workspace, "realtime") : NULL;
    k_set_text(c, m, "name", title);
    k_set_text(c, m, "canonical", const_text_of(const_get(realtime, "canonical"), slug(c, title)));
    k_set(c, m, TEXT("tables"), tables);
    k_set(c, m, TEXT("channels"), channels);
    k_set(c, m, TEXT("triggers"), triggers);
    k_set(c, m, TEXT("table_triggers"), table_triggers);
    k_set(c, m, TEXT("queries"), queries);
    k_set(c, m, TEXT("groups"), groups);
    k_set(c, m, TEXT("functions"), functions);
    k_set(c, m, TEXT("tasks"), tasks);
    k_set(c, m, TEXT("middleware"), middlewares);
    k_set(c, m, TEXT("addons"), addons);
    k_set(c, m, TEXT("jobs"), jobs);
    if (servers && servers->count) {
        k_set(c, m, TEXT("servers"), servers);
        k_set(c, m, TEXT("server_channels"), server_channels);
        k_set(c, m, TEXT("messages"), messages);
        k_set(c, m, TEXT("server_triggers"), server_triggers);
    }
    if (tests)
        k_set(c, m, TEXT("tests"), tests);
    if (workspace)
        copy_members(c, m, workspace, "env description");
    if (branch) {
        Const *settings = k_map(c);
        copy_members(c, settings, branch, "middleware history");
        k_set(c, m, TEXT("branch"), settings);
    }
    return m;
}
