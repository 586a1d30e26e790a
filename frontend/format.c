/* format.c - canonical layout of one source file. The tree is printed anew; literals, names of
 * variables and comments are taken from the source. Language specification, appendix B.
 *
 * Comments stand on lines of their own above the element they were written at: one behind code goes
 * above the element of its line, one inside an expression above the element that holds it. */
#include "frontend/format.h"

/* ---- lines and comments ---- */

void fmt_line(Fmt *f)
{
    if (f->flat_end) {
        f->flat_failed = true;
        return;
    }
    buf_char(&f->out, '\n');
    for (uint32_t i = 0; i < f->indent; i++)
        buf_cstr(&f->out, "  ");
}

static const Comment *next_comment(const Fmt *f)
{
    return f->comment < f->c->comments.len ? &f->c->comments.ptr[f->comment] : NULL;
}

bool fmt_comment_before(const Fmt *f, uint32_t off)
{
    const Comment *c = next_comment(f);
    return c && c->off < off;
}

static void put_comment(Fmt *f, Buf *out, const Comment *c)
{
    Text t = text_trim(text_slice(f->src, c->off + 2, c->end), TEXT(" \t\r"));
    Text whole = text_slice(f->src, c->off + 2, c->end);
    bool blank = whole.len && (whole.ptr[0] == ' ' || whole.ptr[0] == '\t');
    buf_cstr(out, "//");
    if (t.len == 0)
        return;
    if (blank) { /* indentation inside a comment stays */
        size_t lead = (size_t)(t.ptr - whole.ptr);
        buf_text(out, text_slice(whole, 0, lead + t.len));
        return;
    }
    if (t.ptr[0] != '/')
        buf_char(out, ' ');
    buf_text(out, t);
}

/* Whether an empty line follows a comment. */
static bool blank_after(const Fmt *f, const Comment *c)
{
    int breaks = 0;
    for (uint32_t i = c->end; i < f->src.len; i++) {
        char ch = f->src.ptr[i];
        breaks += ch == '\n';
        if (ch != '\n' && ch != ' ' && ch != '\t' && ch != '\r')
            return breaks > 1;
    }
    return false;
}

Mark fmt_lead(Fmt *f, uint32_t off, bool first, bool blank)
{
    const Comment *last = NULL;
    while (fmt_comment_before(f, off)) {
        const Comment *c = next_comment(f);
        if (!first && (blank || c->blank_before))
            buf_char(&f->out, '\n');
        fmt_line(f);
        put_comment(f, &f->out, c);
        f->comment++;
        first = blank = false;
        last = c;
    }
    if (last ? blank_after(f, last) : blank && !first)
        buf_char(&f->out, '\n');
    Mark mark = {f->out.len, f->indent};
    fmt_line(f);
    return mark;
}

void fmt_hoist(Fmt *f, Mark *mark, uint32_t end)
{
    Buf above = BUF_INIT;
    const Comment *c;
    while ((c = next_comment(f)) != NULL) {
        bool behind = false; /* on the line of the end */
        if (c->off >= end) {
            Text between = text_slice(f->src, end, c->off);
            behind = !memchr(between.ptr, '\n', between.len);
        }
        if (c->off >= end && !behind)
            break;
        buf_char(&above, '\n');
        for (uint32_t i = 0; i < mark->indent; i++)
            buf_cstr(&above, "  ");
        put_comment(f, &above, c);
        f->comment++;
    }
    size_t added = above.len;
    if (added) { /* later ones go below these */
        buf_append(&above, f->out.ptr + mark->at, f->out.len - mark->at);
        f->out.len = mark->at;
        buf_text(&f->out, buf_view(&above));
        mark->at += added;
    }
    f->out.failed |= above.failed;
    buf_deinit(&above);
}

void fmt_tail(Fmt *f, uint32_t close, bool first)
{
    while (fmt_comment_before(f, close)) {
        const Comment *c = next_comment(f);
        if (!first && c->blank_before)
            buf_char(&f->out, '\n');
        fmt_line(f);
        put_comment(f, &f->out, c);
        f->comment++;
        first = false;
    }
}

/* ---- statements ---- */

static void open_brace(Fmt *f)
{
    buf_cstr(&f->out, " {");
    f->indent++;
}

static void close_brace(Fmt *f)
{
    f->indent--;
    fmt_line(f);
    buf_char(&f->out, '}');
}

static void name(Fmt *f, Text t, Pos pos)
{
    buf_char(&f->out, ' ');
    bool bare = text_is_ident(t) && pos.off < f->src.len && f->src.ptr[pos.off] != '"' &&
                f->src.ptr[pos.off] != '\'';
    if (bare)
        buf_text(&f->out, t);
    else
        fmt_text(f, t);
}

static void assign(Fmt *f, Text key, const Expr *value)
{
    if (text_is_ident(key))
        buf_text(&f->out, key);
    else
        fmt_text(f, key);
    buf_cstr(&f->out, " = ");
    fmt_expr(f, value, 0);
}

static void statement(Fmt *f, const Stmt *s, Mark *at);

/* Whether a statement is written with braces: an empty line stands around it. */
static bool spacious(const Stmt *s)
{
    return s->attrs.len || s->branches.len || s->kind == ST_CONDITIONAL || s->kind == ST_SWITCH;
}

static void statements(Fmt *f, const Block *b, bool first)
{
    for (size_t i = 0; i < b->items.len; i++) {
        const Stmt *s = b->items.ptr[i];
        bool blank = i && (spacious(s) || spacious(b->items.ptr[i - 1]));
        Mark at = fmt_lead(f, s->start, first && i == 0, blank);
        statement(f, s, &at);
        fmt_hoist(f, &at, s->end);
    }
}

static void attr(Fmt *f, const Attr *a, bool first)
{
    Mark at = fmt_lead(f, a->pos.off, first, false);
    if (a->value) {
        assign(f, a->name, a->value);
    } else {
        buf_text(&f->out, a->name);
        open_brace(f);
        fmt_hoist(f, &at, a->stack.braces ? a->stack.pos.off + 1 : a->end);
        statements(f, &a->stack, true);
        fmt_tail(f, a->stack.close, a->stack.items.len == 0);
        close_brace(f);
    }
    fmt_hoist(f, &at, a->end);
}

static void body(Fmt *f, const Branch *b)
{
    open_brace(f);
    for (size_t i = 0; i < b->attrs.len; i++)
        attr(f, &b->attrs.ptr[i], i == 0);
    statements(f, &b->body, b->attrs.len == 0);
    if (b->body.braces)
        fmt_tail(f, b->body.close, b->body.items.len == 0 && b->attrs.len == 0);
    close_brace(f);
}

static const char *branch_word(const Stmt *s, const Branch *b, size_t i)
{
    static const char *const tries[] = {"try", "catch", "finally"};
    switch (s->kind) {
    case ST_CONDITIONAL: return !b->cond ? "else" : i ? "elseif" : "if";
    case ST_SWITCH: return b->cond ? "case" : "default";
    case ST_TRY: return i < 3 ? tries[i] : "finally";
    default: return "each";
    }
}

static void branches(Fmt *f, const Stmt *s)
{
    bool first = s->attrs.len == 0;
    for (size_t i = 0; i < s->branches.len; i++) {
        const Branch *b = &s->branches.ptr[i];
        if (!b->body.given)
            continue; /* a missing catch */
        Mark at = fmt_lead(f, b->pos.off, first, !first);
        first = false;
        buf_cstr(&f->out, branch_word(s, b, i));
        if (b->cond) {
            buf_char(&f->out, ' ');
            fmt_parens(f, b->cond);
        }
        if (b->var) {
            buf_cstr(&f->out, " as ");
            fmt_expr(f, b->var, 0);
        }
        body(f, b);
        if (b->breaks)
            buf_cstr(&f->out, " break");
        fmt_hoist(f, &at, b->end);
    }
}

static void operand(Fmt *f, const Stmt *s)
{
    if (s->name.ptr)
        name(f, s->name, s->name_pos);
    if (s->operand) {
        buf_char(&f->out, ' ');
        bool path = s->operand->kind == EX_VAR || s->operand->kind == EX_MEMBER ||
                    s->operand->kind == EX_INDEX;
        f->inline_chains = s->info->operand != OPR_EXPR;
        if (s->info->operand == OPR_EXPR && (s->operand->paren || !path))
            fmt_parens(f, s->operand);
        else
            fmt_expr(f, s->operand, 0);
        f->inline_chains = false;
    }
    if (s->verb.ptr) {
        buf_cstr(&f->out, " verb=");
        buf_text(&f->out, s->verb);
    }
    if (s->cond) {
        buf_cstr(&f->out, " if ");
        fmt_parens(f, s->cond);
    }
}

static void statement(Fmt *f, const Stmt *s, Mark *at)
{
    if (s->start < f->src.len && f->src.ptr[s->start] == '!')
        buf_char(&f->out, '!');
    buf_text(&f->out, s->keyword);
    operand(f, s);
    bool control = s->branches.len || s->kind == ST_SWITCH || s->kind == ST_CONDITIONAL;
    bool comments = s->open && fmt_comment_before(f, s->close);
    if (control || s->attrs.len || comments) {
        open_brace(f);
        if (s->open)
            fmt_hoist(f, at, s->open + 1);
        for (size_t i = 0; i < s->attrs.len; i++)
            attr(f, &s->attrs.ptr[i], i == 0);
        branches(f, s);
        if (s->open)
            fmt_tail(f, s->close, s->attrs.len == 0 && s->branches.len == 0);
        close_brace(f);
    }
    if (s->as) {
        buf_cstr(&f->out, " as ");
        f->inline_chains = true;
        fmt_expr(f, s->as, 0);
        f->inline_chains = false;
    }
}

/* ---- fields ---- */

static void in_filters(Fmt *f, const Field *field)
{
    if (!field->filters.len && !field->link.ptr)
        return;
    buf_cstr(&f->out, " filters=");
    for (size_t i = 0; i < field->filters.len; i++) {
        const InFilter *filter = &field->filters.ptr[i];
        buf_cstr(&f->out, i ? "|" : "");
        buf_cstr(&f->out, filter->disabled ? "!" : "");
        buf_text(&f->out, filter->name);
        for (size_t k = 0; k < filter->args.len; k++) {
            buf_char(&f->out, ':');
            buf_text(&f->out,
                     text_slice(f->src, filter->args.ptr[k]->start, filter->args.ptr[k]->end));
        }
    }
    if (field->link.ptr) {
        buf_cstr(&f->out, field->filters.len ? "|" : "");
        buf_text(&f->out, field->link);
    }
}

static void field_head(Fmt *f, const Field *field)
{
    buf_text(&f->out, field->type);
    if (field->list) {
        buf_char(&f->out, '[');
        if (field->has_min)
            buf_printf(&f->out, "%lld", (long long)field->min);
        if (field->has_min || field->has_max)
            buf_char(&f->out, ':');
        if (field->has_max)
            buf_printf(&f->out, "%lld", (long long)field->max);
        buf_char(&f->out, ']');
    }
    if (field->nullable)
        buf_char(&f->out, '?');
    if (field->name.ptr)
        name(f, field->name, field->pos);
    if (field->asked)
        buf_char(&f->out, '?');
    if (field->def) {
        buf_char(&f->out, '=');
        f->inline_chains = true;
        fmt_expr(f, field->def, 0);
        f->inline_chains = false;
    }
    in_filters(f, field);
}

static void fields(Fmt *f, const FieldList *list);

static void field_block(Fmt *f, const Field *field, Mark *at)
{
    open_brace(f);
    fmt_hoist(f, at, field->open + 1);
    for (size_t i = 0; i < field->attrs.len; i++) {
        const Attr *a = &field->attrs.ptr[i];
        Mark line = fmt_lead(f, a->pos.off, i == 0, false);
        if (a->value) {
            assign(f, a->name, a->value);
        } else {
            buf_text(&f->out, a->name);
            open_brace(f);
            if (a->stack.close)
                fmt_hoist(f, &line, a->stack.pos.off + 1);
            fields(f, &field->fields);
            if (a->stack.close)
                fmt_tail(f, a->stack.close, field->fields.len == 0);
            close_brace(f);
        }
        fmt_hoist(f, &line, a->end);
    }
    fmt_tail(f, field->close, field->attrs.len == 0);
    close_brace(f);
}

static void fields(Fmt *f, const FieldList *list)
{
    for (size_t i = 0; i < list->len; i++) {
        const Field *field = list->ptr[i];
        Mark at = fmt_lead(f, field->start, i == 0, i && list->ptr[i - 1]->has_block);
        field_head(f, field);
        if (field->has_block)
            field_block(f, field, &at);
        fmt_hoist(f, &at, field->end);
    }
}

/* ---- constructs ---- */

static void member(Fmt *f, const Construct *k, const Member *m, Mark *at)
{
    const Expr *value = m->value;
    if (text_eq(m->name, TEXT("schedule")) && value && value->kind == EX_MAP) /* older block form */
        for (size_t i = 0; i < value->pairs.len; i++)
            if (text_eq(value->pairs.ptr[i].text, TEXT("events")))
                value = value->pairs.ptr[i].value;
    if (m->kind == 'F') {
        buf_text(&f->out, m->name);
        open_brace(f);
        if (m->close)
            fmt_hoist(f, at, m->open + 1);
        fields(f, &k->input);
        fmt_tail(f, m->close, k->input.len == 0);
        close_brace(f);
    } else if (m->kind == 'S') {
        buf_text(&f->out, m->name);
        open_brace(f);
        if (k->stack.braces)
            fmt_hoist(f, at, k->stack.pos.off + 1);
        statements(f, &k->stack, true);
        fmt_tail(f, k->stack.close, k->stack.items.len == 0);
        close_brace(f);
    } else {
        assign(f, m->name, value);
    }
}

/* Arguments and expectations in the order of the source. */
static void test(Fmt *f, const Test *t, Mark *at)
{
    buf_cstr(&f->out, "test");
    name(f, t->name, t->pos);
    open_brace(f);
    fmt_hoist(f, at, t->open + 1);
    size_t a = 0, s = 0;
    bool first = true, blank = false;
    while (a < t->attrs.len || s < t->body.items.len) {
        bool take = a < t->attrs.len && (s == t->body.items.len ||
                                         t->attrs.ptr[a].pos.off < t->body.items.ptr[s]->start);
        uint32_t off = take ? t->attrs.ptr[a].pos.off : t->body.items.ptr[s]->start;
        Mark line = fmt_lead(f, off, first, !first && (!take || blank));
        first = false;
        blank = !take;
        if (take) {
            assign(f, t->attrs.ptr[a].name, t->attrs.ptr[a].value);
            fmt_hoist(f, &line, t->attrs.ptr[a++].end);
        } else {
            statement(f, t->body.items.ptr[s], &line);
            fmt_hoist(f, &line, t->body.items.ptr[s++]->end);
        }
    }
    fmt_tail(f, t->close, first);
    close_brace(f);
}

static void members(Fmt *f, const Construct *k)
{
    size_t m = 0, t = 0;
    bool first = true, tall = true;
    while (m < k->members.len || t < k->tests.len) {
        const Member *item = m < k->members.len ? &k->members.ptr[m] : NULL;
        if (item && item->kind == 'V') { /* in the head */
            m++;
            continue;
        }
        bool take = item && (t == k->tests.len || item->pos.off < k->tests.ptr[t].start);
        uint32_t off = take ? item->pos.off : k->tests.ptr[t].start;
        /* Values of one line stand together. */
        bool block = !take || item->kind == 'F' || item->kind == 'S';
        Mark at = fmt_lead(f, off, first, !first && (tall || block));
        if (take) {
            member(f, k, item, &at);
            fmt_hoist(f, &at, item->end);
            m++;
        } else {
            test(f, &k->tests.ptr[t], &at);
            fmt_hoist(f, &at, k->tests.ptr[t++].end);
        }
        tall = block || memchr(f->out.ptr + at.at + 1, '\n', f->out.len - at.at - 1);
        first = false;
    }
    fmt_tail(f, k->close, first);
}

static void construct(Fmt *f, const Construct *k, Mark *at)
{
    buf_cstr(&f->out, construct_info[k->kind].keyword);
    name(f, k->name, k->name_pos);
    const Member *verb = construct_member(k, "verb");
    if (verb && verb->value) {
        buf_cstr(&f->out, " verb=");
        buf_text(&f->out, verb->value->text);
    }
    open_brace(f);
    fmt_hoist(f, at, k->open + 1);
    members(f, k);
    close_brace(f);
}

static void file(Fmt *f, const ConstructList *all)
{
    for (size_t i = 0; i < all->len; i++) {
        const Construct *k = all->ptr[i];
        if (k->kind == CK_FRAGMENT) {
            statements(f, &k->stack, i == 0);
            continue;
        }
        Mark at = fmt_lead(f, k->pos.off, i == 0, i > 0);
        construct(f, k, &at);
        fmt_hoist(f, &at, k->close + 1);
    }
    fmt_tail(f, UINT32_MAX, all->len == 0);
    buf_char(&f->out, '\n');
}

bool format_source(Arena *a, Text path, Text source, DiagList *diags, Buf *out)
{
    static const CompileOptions options = {.allow_bare_statements = true};
    Comp c;
    ConstructList all = {0};
    size_t before = diags->errors;
    if (!comp_init(&c, a, diags, &options))
        return false;
    c.keep = true;
    comp_file(&c, comp_text(&c, path).ptr);
    if (source.len > UINT32_MAX / 2)
        report(&c, D_INVALID_TEXT, (Pos){1, 1, 1, 0}, NO_HINT, "file is too large");
    else
        parse_file(&c, source, true, path, &all);
    Fmt f = {.c = &c, .src = source};
    if (!c.oom && diags->errors == before)
        file(&f, &all);
    /* A construct that is only skipped has no tree. */
    bool ok = !c.oom && !f.out.failed && diags->errors == before;
    if (c.oom || f.out.failed)
        report(&c, D_OUT_OF_MEMORY, (Pos){0}, NO_HINT, "out of memory");
    /* The first line begins with the line break of its element. */
    if (ok && c.skipped)
        buf_text(out, source);
    else if (ok)
        buf_text(out, text_slice(buf_view(&f.out), f.out.len > 1 ? 1 : 0, f.out.len));
    buf_deinit(&f.out);
    return ok && !out->failed;
}
