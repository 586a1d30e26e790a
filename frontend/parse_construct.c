/* parse_construct.c - top-level constructs and their members. Language specification, section 4. */
#include "frontend/ast.h"

/* The members a construct takes: its own, then the common ones. */
static size_t member_specs(const ConstructInfo *info, MemberSpec *out)
{
    static const struct {
        int flag;
        const char *spec;
    } shared[] = {{CF_COMMON, "description:t docs:t tags:[t] guid:t~"},
                  {CF_HISTORY, "history:H"},
                  {CF_ACTIVE, "active:b"}};
    size_t n = specs_parse(info->members, out, MAX_MEMBERS);
    for (size_t part = 0; part < COUNT_OF(shared); part++)
        if (info->flags & shared[part].flag)
            n += specs_parse(shared[part].spec, out + n, MAX_MEMBERS - n);
    return n;
}

/* ---- values of members ---- */

/* name { a = 1 b = 2 }: the block form of an object. */
static Expr *attr_object(Parser *p)
{
    Expr *e = expr_new(p, EX_MAP, p->tok.pos);
    Pos open = p->tok.pos;
    if (!parse_enter(p))
        return e;
    parse_advance(p);
    while (p->tok.kind == TOK_IDENT || p->tok.kind == TOK_TEXT) {
        Pair pair = {.pos = p->tok.pos, .text = p->tok.text};
        parse_advance(p);
        if (parse_expect(p, TOK_ASSIGN, "'='")) {
            pair.value = parse_expr(p);
            PUSH(p->c, &e->pairs, pair);
        }
        parse_accept(p, TOK_COMMA);
    }
    if (!parse_expect(p, TOK_RBRACE, "'}'"))
        report(p->c, D_UNCLOSED_BLOCK, open, NO_HINT, "the block opened at line %u is not closed",
               open.line);
    parse_leave(p);
    return e;
}

static void skip_member(Parser *p)
{
    for (uint32_t depth = 0; p->tok.kind != TOK_EOF; parse_advance(p)) {
        if (depth == 0 && (p->tok.kind == TOK_RBRACE || (p->tok.nl && p->tok.kind == TOK_IDENT)))
            return;
        depth += p->tok.kind == TOK_LBRACE;
        depth -= depth && p->tok.kind == TOK_RBRACE;
    }
}

static const char *article(const Construct *k)
{
    return strchr("aeiou", construct_info[k->kind].keyword[0]) ? "an" : "a";
}

static void unknown_member(Parser *p, const Construct *k, const MemberSpec *specs, size_t n,
                           Text name, Pos pos)
{
    Text names[MAX_MEMBERS];
    for (size_t i = 0; i < n; i++)
        names[i] = specs[i].name;
    Text hint = hint_near(p->c, text_nearest(name, names, n));
    if (k->kind == CK_QUERY && text_eq(name, TEXT("body")))
        hint = TEXT("use input");
    report(p->c, D_UNKNOWN_MEMBER, pos, hint, "'" TEXT_FMT "' is not valid in %s %s",
           TEXT_ARG(name), article(k), construct_info[k->kind].keyword);
    skip_member(p);
}

static bool duplicate(Parser *p, const Construct *k, Text name, Pos pos)
{
    for (size_t i = 0; i < k->members.len; i++)
        if (text_eq(k->members.ptr[i].name, name)) {
            report(p->c, D_DUPLICATE_MEMBER, pos, NO_HINT,
                   "'" TEXT_FMT "' is already given at line %u", TEXT_ARG(name),
                   k->members.ptr[i].pos.line);
            return true;
        }
    return false;
}

static void verb(Parser *p, Member *m)
{
    Token t = p->tok;
    m->value = expr_new(p, EX_TEXT, t.pos);
    m->value->text = TEXT("GET");
    if (t.kind == TOK_IDENT && enum_has(TEXT("{GET|POST|PUT|PATCH|DELETE}"), t.text))
        m->value->text = t.text;
    else
        report(p->c, D_BAD_VERB, t.pos, NO_HINT,
               "verb must be one of GET, POST, PUT, PATCH, DELETE");
    if (t.kind == TOK_IDENT || t.kind == TOK_TEXT)
        parse_advance(p);
}

static void response(Parser *p, Construct *k, Member *m)
{
    if (p->tok.kind == TOK_LBRACE) { /* response { value = E type = "…" } */
        report_extension(p->c, m->pos, 15, "a response block");
        Expr *block = attr_object(p);
        for (size_t i = 0; i < block->pairs.len; i++)
            if (text_eq(block->pairs.ptr[i].text, TEXT("value")))
                k->response = block->pairs.ptr[i].value;
        m->value = k->response;
        if (!m->value)
            report(p->c, D_MISSING_ATTRIBUTE, m->pos, NO_HINT, "response is missing: value");
        return;
    }
    if (!parse_expect(p, TOK_ASSIGN, "'='"))
        return;
    p->disable_ok = true;
    k->response = m->value = parse_expr(p);
    p->disable_ok = false;
}

static void value_member(Parser *p, Member *m, Text kind)
{
    m->value_pos = p->tok.pos;
    if (kind.ptr[0] == 'V') {
        if (parse_expect(p, TOK_ASSIGN, "'='"))
            verb(p, m);
        return;
    }
    if (p->tok.kind == TOK_LBRACE && !p->tok.nl) {
        /* "name {" is a block; older exports write it for schedule, workspaces for env. */
        m->value = attr_object(p);
    } else if (!parse_expect(p, TOK_ASSIGN, "'='")) {
        skip_member(p);
        return;
    } else {
        m->value_pos = p->tok.pos;
        p->query_key = text_eq(m->name, TEXT("view")) ? "search" : NULL;
        p->times = text_eq(m->name, TEXT("schedule"));
        m->value = kind.ptr[0] == 'q' ? parse_query_expr(p) : parse_expr(p);
        p->query_key = NULL;
        p->times = false;
    }
    Expr *e = m->value;
    if (text_eq(m->name, TEXT("schedule")) && e && e->kind == EX_MAP) {
        report_extension(p->c, m->pos, 15, "a schedule block");
        for (size_t i = 0; i < e->pairs.len; i++)
            if (text_eq(e->pairs.ptr[i].text, TEXT("events")))
                e = e->pairs.ptr[i].value;
    }
    if (e)
        shape_value(p->c, m->name, kind, e);
}

static void member(Parser *p, Construct *k, const MemberSpec *specs, size_t n)
{
    Member m = {.name = p->tok.text, .pos = p->tok.pos};
    if (p->tok.kind == TOK_BANG) {
        report(p->c, D_CANNOT_DISABLE, p->tok.pos, NO_HINT, "a member cannot be disabled");
        parse_advance(p);
        return;
    }
    if (p->tok.kind != TOK_IDENT) {
        parse_unexpected(p, "a member or '}'");
        parse_advance(p);
        skip_member(p);
        return;
    }
    size_t i = 0;
    while (i < n && !text_eq(specs[i].name, m.name))
        i++;
    if (i == n) {
        parse_advance(p);
        unknown_member(p, k, specs, n, m.name, m.pos);
        return;
    }
    const MemberSpec *spec = &specs[i];
    if (!p->tok.nl)
        report_extension(p->c, p->tok.pos, 4, "a member that does not start its line");
    bool twice = !spec->repeatable && duplicate(p, k, m.name, m.pos);
    m.kind = spec->kind.ptr[0];
    if (spec->extension)
        report_extension(p->c, m.pos, 15, "this member");
    if (m.kind == 'T') {
        parse_test(p, k);
        return;
    }
    parse_advance(p);
    switch (m.kind) {
    case 'F':
        k->has_input = true;
        k->input_pos = m.pos;
        k->input_kind = spec->kind;
        m.open = p->tok.pos.off;
        if (p->tok.kind == TOK_LBRACE)
            m.close = parse_fields(p, &k->input, k->kind == CK_TABLE);
        else if (p->tok.kind == TOK_ASSIGN)
            parse_unexpected(p, "'{'");
        break;
    case 'S':
        k->has_stack = true;
        if (p->tok.kind == TOK_LBRACE && !twice) {
            p->in_addon = k->kind == CK_ADDON;
            parse_block(p, &k->stack);
            p->in_addon = false;
        } else if (p->tok.kind == TOK_LBRACE) {
            Block unused = {0};
            parse_block(p, &unused);
        }
        break;
    default:
        if (text_eq(m.name, TEXT("response")))
            response(p, k, &m);
        else
            value_member(p, &m, spec->kind);
        break;
    }
    m.end = parse_end(p);
    if (!twice)
        PUSH(p->c, &k->members, m);
}

static void check_required(Parser *p, const Construct *k, const MemberSpec *specs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool given = false;
        for (size_t m = 0; m < k->members.len && !given; m++)
            given = text_eq(k->members.ptr[m].name, specs[i].name);
        if (given || (!specs[i].required && !specs[i].strict))
            continue;
        const char *an = strchr("aeiou", specs[i].name.ptr[0]) ? "an" : "a";
        report(p->c, specs[i].required ? D_MISSING_MEMBER : D_MISSING_MEMBER_S, k->pos, NO_HINT,
               "%s '" TEXT_FMT "' is missing %s " TEXT_FMT " clause",
               construct_info[k->kind].keyword, TEXT_ARG(k->name), an, TEXT_ARG(specs[i].name));
    }
}

static void construct_body(Parser *p, Construct *k)
{
    MemberSpec specs[MAX_MEMBERS];
    size_t n = member_specs(&construct_info[k->kind], specs);
    Pos open = p->tok.pos;
    k->open = open.off;
    if (!parse_expect(p, TOK_LBRACE, "'{'") || !parse_enter(p))
        return;
    while (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF) {
        uint32_t start = p->tok.off;
        member(p, k, specs, n);
        parse_accept(p, TOK_COMMA);
        if (p->tok.off == start && p->tok.kind != TOK_EOF)
            parse_advance(p);
    }
    k->close = p->tok.pos.off;
    if (!parse_accept(p, TOK_RBRACE))
        report(p->c, D_UNCLOSED_BLOCK, open, NO_HINT, "the %s opened at line %u is not closed",
               construct_info[k->kind].keyword, open.line);
    else
        check_required(p, k, specs, n);
    parse_leave(p);
}

static void skip_construct(Parser *p, const Construct *k)
{
    report(p->c, D_UNSUPPORTED_CONSTRUCT, k->pos, NO_HINT, "'%s' is recognised but ignored",
           construct_info[k->kind].keyword);
    p->c->skipped = true;
    while (p->tok.kind != TOK_LBRACE && p->tok.kind != TOK_EOF)
        parse_advance(p);
    uint32_t depth = 0;
    do {
        depth += p->tok.kind == TOK_LBRACE;
        depth -= depth && p->tok.kind == TOK_RBRACE;
        parse_advance(p);
    } while (depth && p->tok.kind != TOK_EOF);
}

/* The kind at the token in hand; "run.job" is two words. */
static bool construct_kind(Parser *p, ConstructKind *kind)
{
    Text word = p->tok.text;
    if (p->tok.kind != TOK_IDENT)
        return false;
    if (text_eq(word, TEXT("run"))) {
        Lexer copy = p->lx;
        Token dot = lex_next(&copy), second = lex_next(&copy);
        if (dot.kind != TOK_DOT || second.kind != TOK_IDENT)
            return false;
        word = arena_printf(p->c->a, "run." TEXT_FMT, TEXT_ARG(second.text));
    }
    for (int i = 0; i < CK_FRAGMENT; i++)
        if (text_eq(word, text_from(construct_info[i].keyword))) {
            *kind = (ConstructKind)i;
            return true;
        }
    return false;
}

static void unknown_construct(Parser *p)
{
    static const char *const pairs[][2] = {
        {"endpoint", "query"}, {"api", "query"},     {"trigger", "table_trigger"}, {"cron", "task"},
        {"job", "task"},       {"func", "function"}, {"schema", "table"}};
    if (p->tok.kind != TOK_IDENT) {
        parse_unexpected(p, "a construct such as function or query");
        return;
    }
    Text names[CK_FRAGMENT];
    for (int i = 0; i < CK_FRAGMENT; i++)
        names[i] = text_from(construct_info[i].keyword);
    Text near = text_nearest(p->tok.text, names, CK_FRAGMENT);
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        if (text_eq(p->tok.text, text_from(pairs[i][0])))
            near = text_from(pairs[i][1]);
    report(p->c, D_UNKNOWN_CONSTRUCT, p->tok.pos, hint_near(p->c, near),
           "'" TEXT_FMT "' is not a construct", TEXT_ARG(p->tok.text));
}

static Construct *construct(Parser *p, ConstructKind kind, Text file)
{
    Construct *k = NEW(p->c, Construct);
    k->kind = kind;
    k->file = file;
    k->state = p->c->file;
    k->doc = p->tok.doc;
    k->pos = p->tok.pos;
    parse_advance(p);
    if (kind == CK_RUN_JOB || kind == CK_RUN_SERVICE) {
        parse_advance(p);
        parse_advance(p);
    }
    if (construct_info[kind].flags & CF_ENGINE)
        report_extension(p->c, k->pos, 15, construct_info[kind].keyword);
    if (construct_info[kind].flags & CF_SKIP) {
        skip_construct(p, k);
        return NULL;
    }
    if (!parse_name(p, construct_info[kind].keyword, &k->name, &k->name_pos) &&
        p->tok.kind != TOK_LBRACE)
        parse_advance(p);
    while (p->tok.kind == TOK_IDENT && !p->tok.nl) {
        Member m = {.name = p->tok.text, .pos = p->tok.pos, .kind = 'V'};
        if (kind != CK_QUERY || !text_eq(m.name, TEXT("verb"))) {
            parse_unexpected(p, "'{'");
            break;
        }
        parse_advance(p);
        if (parse_expect(p, TOK_ASSIGN, "'='"))
            verb(p, &m);
        PUSH(p->c, &k->members, m);
    }
    construct_body(p, k);
    map_deinit(&p->tests);
    p->tests = (Map){0};
    return k;
}

/* Bare statements, as documents show them. */
static Construct *fragment(Parser *p, Text file)
{
    Construct *k = NEW(p->c, Construct);
    k->kind = CK_FRAGMENT;
    k->file = file;
    k->state = p->c->file;
    k->pos = p->tok.pos;
    k->has_stack = true;
    while (p->tok.kind != TOK_EOF) {
        ConstructKind kind;
        if (p->tok.nl && !parse_keyword_here(p) && construct_kind(p, &kind))
            break;
        uint32_t start = p->tok.off;
        if (!p->tok.nl && k->stack.items.len)
            report_extension(p->c, p->tok.pos, 4, "a statement that does not start its line");
        Stmt *s = parse_statement(p);
        if (s)
            PUSH(p->c, &k->stack.items, s);
        if (p->tok.off == start)
            parse_advance(p);
    }
    return k;
}

static bool fragment_here(Parser *p)
{
    ConstructKind kind;
    if (p->tok.kind == TOK_BANG)
        return true;
    return p->tok.kind == TOK_IDENT && (parse_keyword_here(p) || !construct_kind(p, &kind));
}

void parse_file(Comp *c, Text src, bool bare, Text file, ConstructList *out)
{
    size_t valid = utf8_valid_len(src);
    const char *nul = src.len ? memchr(src.ptr, 0, src.len) : NULL;
    if (nul && (size_t)(nul - src.ptr) < valid)
        valid = (size_t)(nul - src.ptr);
    if (valid < src.len) {
        Lexer at;
        lex_init(&at, c, text_slice(src, 0, valid));
        lex_seek(&at, (uint32_t)valid);
        report(c, D_INVALID_TEXT, (Pos){at.line, at.col, 1, at.at}, NO_HINT,
               "file is not valid UTF-8 at byte %zu", valid);
        return;
    }
    Parser p;
    parser_init(&p, c, src);
    if (p.tok.kind == TOK_EOF) {
        report(c, D_EMPTY_FILE, p.tok.pos, NO_HINT, "the file defines nothing");
        return;
    }
    size_t count = 0;
    if (p.tok.nl && !p.tok.doc.len)
        report_extension(c, p.tok.pos, 1, "an empty line above the construct");
    while (p.tok.kind != TOK_EOF) {
        ConstructKind kind;
        Construct *k = NULL;
        if (bare && fragment_here(&p)) {
            k = fragment(&p, file);
        } else if (construct_kind(&p, &kind)) {
            if (count && !bare)
                report(c, D_EXTRA_INPUT, p.tok.pos, NO_HINT,
                       "a file holds one construct; " TEXT_FMT " starts a second one",
                       TEXT_ARG(token_text(c, &p.tok)));
            k = construct(&p, kind, file);
        } else {
            if (count)
                report(c, D_EXTRA_INPUT, p.tok.pos, NO_HINT,
                       "a file holds one construct; found " TEXT_FMT " behind it",
                       TEXT_ARG(token_text(c, &p.tok)));
            else
                unknown_construct(&p);
            return;
        }
        count++;
        if (k)
            PUSH(c, out, k);
    }
    if (p.tok.comment)
        report_extension(c, p.tok.pos, 1, "a comment below the construct");
}
