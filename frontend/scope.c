/* scope.c - names of the whole program: constructs, columns, inputs. */
#include "frontend/prog.h"

Text slug(Comp *c, Text name)
{
    Buf b = BUF_INIT;
    bool dash = false;
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.ptr[i];
        if (ch >= 'A' && ch <= 'Z')
            ch = (char)(ch + 32);
        bool keep = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '_' ||
                    ch == '.' || (ch & 0x80);
        if (keep && dash && b.len)
            buf_char(&b, '-');
        dash = !keep;
        if (keep)
            buf_char(&b, ch);
    }
    Text t = comp_text(c, buf_view(&b));
    buf_deinit(&b);
    return t;
}

Text prog_channel_key(Prog *pr, Text server, Text path)
{
    return arena_printf(pr->c->a, TEXT_FMT " " TEXT_FMT, TEXT_ARG(server), TEXT_ARG(path));
}

static Text query_key(Prog *pr, const Construct *k, Text path)
{
    Text verb = construct_text(k, "verb"), group = construct_text(k, "api_group");
    return arena_printf(pr->c->a, TEXT_FMT " " TEXT_FMT "/" TEXT_FMT,
                        TEXT_ARG(verb.ptr ? verb : TEXT("GET")),
                        TEXT_ARG(group.ptr ? group : TEXT("")), TEXT_ARG(path));
}

static Text key_of(Prog *pr, const Construct *k)
{
    Text server = construct_text(k, "realtime_server"), channel = construct_text(k, "channel");
    if (k->kind == CK_CHANNEL)
        return prog_channel_key(pr, server, k->name);
    if (k->kind == CK_MESSAGE) /* a channel's messages have names of their own */
        return arena_printf(pr->c->a, TEXT_FMT " " TEXT_FMT " " TEXT_FMT, TEXT_ARG(server),
                            TEXT_ARG(channel), TEXT_ARG(k->name));
    return k->kind == CK_QUERY ? query_key(pr, k, k->name) : k->name;
}

static bool is_required_int(const Construct *query, Text input)
{
    for (size_t i = 0; i < query->input.len; i++) {
        const Field *f = query->input.ptr[i];
        if (text_eq(f->name, input))
            return text_eq(f->type, TEXT("int")) && !f->list && !f->optional;
    }
    return false;
}

/* Two queries whose parameters differ in name alone answer the same requests. */
static Text query_shape(Prog *pr, const Construct *k)
{
    Buf b = BUF_INIT;
    for (size_t at = 0; at < k->name.len;) {
        size_t end = text_find(k->name, TEXT("/"), at);
        Text part = text_slice(k->name, at, end);
        at = end == SIZE_MAX ? k->name.len : end + 1;
        if (!part.len)
            continue;
        buf_char(&b, '/');
        if (part.len > 2 && part.ptr[0] == '{' && part.ptr[part.len - 1] == '}')
            part =
                is_required_int(k, text_slice(part, 1, part.len - 1)) ? TEXT("{int}") : TEXT("{}");
        buf_append(&b, part.ptr, part.len);
    }
    Text shape = query_key(pr, k, buf_view(&b));
    buf_deinit(&b);
    return shape;
}

static void check_shape(Prog *pr, Construct *k)
{
    const Member *active = construct_member(k, "active");
    if (active && active->value && !const_bool_of(fold_const(pr->c, active->value), true))
        return;
    Text shape = query_shape(pr, k);
    const Construct *other = map_get(&pr->shapes, shape);
    if (other) {
        pr->c->file = k->state;
        report(pr->c, D_DUPLICATE_NAME, k->name_pos, NO_HINT,
               "query '" TEXT_FMT "' has the shape of '" TEXT_FMT "' in " TEXT_FMT,
               TEXT_ARG(k->name), TEXT_ARG(other->name), TEXT_ARG(other->file));
    } else if (!shape.ptr || !map_put(&pr->shapes, shape, k)) {
        pr->c->oom = true;
    }
}

void prog_resolve(Prog *pr)
{
    for (size_t i = 0; i < pr->all.len; i++) {
        Construct *k = pr->all.ptr[i];
        if (k->kind == CK_FRAGMENT || !k->name.ptr)
            continue;
        Text key = key_of(pr, k);
        Construct *other = map_get(&pr->names[k->kind], key);
        if (other) {
            pr->c->file = k->state;
            report(pr->c, D_DUPLICATE_NAME, k->name_pos, NO_HINT,
                   "%s '" TEXT_FMT "' is already defined in " TEXT_FMT,
                   construct_info[k->kind].keyword, TEXT_ARG(k->name), TEXT_ARG(other->file));
        } else if (!key.ptr || !map_put(&pr->names[k->kind], key, k)) {
            pr->c->oom = true;
        } else if (k->kind == CK_QUERY) {
            check_shape(pr, k);
        }
    }
}

void prog_deinit(Prog *pr)
{
    for (int i = 0; i < CONSTRUCT_COUNT; i++)
        map_deinit(&pr->names[i]);
    map_deinit(&pr->shapes);
}

Construct *prog_find(const Prog *pr, ConstructKind kind, Text name)
{
    return name.ptr ? map_get(&pr->names[kind], name) : NULL;
}

Construct *prog_callee(const Prog *pr, const Stmt *s)
{
    return prog_find(pr, text_eq(s->keyword, TEXT("tool.call")) ? CK_TOOL : CK_FUNCTION, s->name);
}

void prog_unknown(Prog *pr, ConstructKind kind, const char *what, Text name, Pos pos)
{
    LIST(Text) names = {0};
    bool look = pr->compared + pr->all.len <= MAX_COMPARED;
    pr->compared += look ? pr->all.len : 0;
    for (size_t i = 0; look && i < pr->all.len; i++)
        if (pr->all.ptr[i]->kind == kind && pr->all.ptr[i]->name.ptr)
            PUSH(pr->c, &names, pr->all.ptr[i]->name);
    Text hint = hint_near(pr->c, text_nearest(name, names.ptr, names.len));
    report(pr->c, pr->c->loose ? D_UNKNOWN_REFERENCE_W : D_UNKNOWN_REFERENCE, pos, hint,
           "no %s is named '" TEXT_FMT "'", what, TEXT_ARG(name));
}

bool prog_has_dblink(const Construct *table)
{
    for (size_t i = 0; i < table->input.len; i++)
        if (!table->input.ptr[i]->name.ptr)
            return true;
    return false;
}

const Field *prog_column(const Prog *pr, const Construct *table, Text name)
{
    (void)pr;
    for (size_t i = 0; i < table->input.len; i++)
        if (table->input.ptr[i]->name.ptr && text_eq(table->input.ptr[i]->name, name))
            return table->input.ptr[i];
    return NULL;
}

Text prog_column_nearest(const Construct *table, Text name)
{
    Text names[64];
    size_t n = 0;
    for (size_t i = 0; i < table->input.len && n < COUNT_OF(names); i++)
        if (table->input.ptr[i]->name.ptr)
            names[n++] = table->input.ptr[i]->name;
    return text_nearest(name, names, n);
}

/* ---- inputs ---- */

static bool hidden_column(const Field *link, const Field *column)
{
    if (text_eq(column->name, TEXT("id")) || text_eq(column->type, TEXT("password")) ||
        text_eq(column->visibility, TEXT("private")) ||
        text_eq(column->visibility, TEXT("internal")))
        return true;
    if (!link->override || link->override->kind != EX_MAP)
        return false;
    for (size_t i = 0; i < link->override->pairs.len; i++) {
        const Pair *p = &link->override->pairs.ptr[i];
        if (!text_eq(p->text, column->name) || !p->value || p->value->kind != EX_MAP)
            continue;
        for (size_t k = 0; k < p->value->pairs.len; k++) {
            const Pair *o = &p->value->pairs.ptr[k];
            if (text_eq(o->text, TEXT("hidden")) && o->value && o->value->kind == EX_BOOL &&
                o->value->i)
                return true;
        }
    }
    return false;
}

static void add_synthetic(Prog *pr, FieldList *out, const char *name, const char *type)
{
    Field *f = NEW(pr->c, Field);
    f->name = text_from(name);
    f->type = text_from(type);
    f->nullable = f->optional = true;
    PUSH(pr->c, out, f);
}

/* A message handler also has the path parameters of its channel; a payload cannot replace them. */
static void add_path_params(Prog *pr, const Construct *k, FieldList *out)
{
    Text key =
        prog_channel_key(pr, construct_text(k, "realtime_server"), construct_text(k, "channel"));
    const Construct *channel = prog_find(pr, CK_CHANNEL, key);
    for (size_t i = 0; channel && i < channel->input.len; i++) {
        Field *param = channel->input.ptr[i];
        bool placed = !param->name.ptr;
        for (size_t f = 0; f < out->len && !placed; f++)
            if (text_eq(out->ptr[f]->name, param->name)) {
                out->ptr[f] = param;
                placed = true;
            }
        if (!placed)
            PUSH(pr->c, out, param);
    }
}

static void add_once(Prog *pr, FieldList *out, Map *seen, Field *f)
{
    if (map_get(seen, f->name))
        return;
    PUSH(pr->c, out, f);
    if (!map_put(seen, f->name, f))
        pr->c->oom = true;
}

void prog_inputs(Prog *pr, Construct *k)
{
    k->declared = k->input;
    if (k->kind == CK_TABLE || k->kind == CK_AGENT)
        return;
    FieldList out = {0};
    Map seen = {0};
    for (size_t i = 0; i < k->input.len; i++) {
        Field *f = k->input.ptr[i];
        if (f->name.ptr) {
            add_once(pr, &out, &seen, f);
            continue;
        }
        Construct *table = prog_find(pr, CK_TABLE, f->table);
        if (!table) {
            pr->c->file = k->state;
            if (f->table.ptr)
                prog_unknown(pr, CK_TABLE, "table", f->table, f->pos);
            continue;
        }
        for (size_t c = 0; c < table->input.len; c++) {
            Field *column = table->input.ptr[c];
            if (column->name.ptr && !hidden_column(f, column))
                add_once(pr, &out, &seen, column);
        }
    }
    map_deinit(&seen);
    if (k->kind == CK_MESSAGE)
        add_path_params(pr, k, &out);
    if (k->kind == CK_MIDDLEWARE && !k->has_input) {
        add_synthetic(pr, &out, "vars", "json");
        add_synthetic(pr, &out, "type", "text");
    }
    k->input = out;
}

/* ---- columns ---- */

bool stmt_takes_scope(const Stmt *s)
{
    const Attr *parser = stmt_attr(s, "parser");
    return (s->info->flags & SF_SCOPE) || (text_ends(s->keyword, TEXT(".direct_query")) && parser &&
                                           parser->value && parser->value->kind == EX_TEXT &&
                                           text_eq(parser->value->text, TEXT("template_engine")));
}

void query_sources(const Stmt *s, Sources *out)
{
    out->count = 0;
    out->item[out->count++] = (Source){s->name, s->name};
    const Attr *join = stmt_attr(s, "join");
    if (!join || !join->value || join->value->kind != EX_MAP)
        return;
    for (size_t i = 0; i < join->value->pairs.len && out->count < MAX_SOURCES; i++) {
        const Pair *p = &join->value->pairs.ptr[i];
        Source src = {p->text, p->text};
        if (p->value && p->value->kind == EX_MAP)
            for (size_t k = 0; k < p->value->pairs.len; k++)
                if (text_eq(p->value->pairs.ptr[k].text, TEXT("table")) &&
                    p->value->pairs.ptr[k].value && p->value->pairs.ptr[k].value->kind == EX_TEXT)
                    src.table = p->value->pairs.ptr[k].value->text;
        out->item[out->count++] = src;
    }
}

size_t column_split(const Sources *sources, const Expr *e, size_t *source, const Expr **parts,
                    size_t max)
{
    size_t n = 0;
    for (const Expr *at = e; at->kind == EX_MEMBER || at->kind == EX_INDEX; at = at->a)
        n++;
    if (n > max)
        n = max;
    size_t i = n;
    for (const Expr *at = e; i > 0 && (at->kind == EX_MEMBER || at->kind == EX_INDEX); at = at->a)
        parts[--i] = at;
    *source = 0;
    if (n < 2 || parts[0]->kind != EX_MEMBER)
        return n;
    for (size_t s = 0; s < sources->count; s++)
        if (text_eq(sources->item[s].alias, parts[0]->text)) {
            *source = s;
            memmove(parts, parts + 1, (n - 1) * sizeof *parts);
            return n - 1;
        }
    return n;
}
