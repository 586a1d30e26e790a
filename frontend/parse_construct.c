/* parse_construct.c - top-level constructs and their members. Language specification, section 4. */
#include "frontend/ast.h"

typedef struct MemberSpec {
    Text name, kind;
    bool required, strict, repeatable;
} MemberSpec;

enum { MAX_MEMBERS = 32 };

/* The members a construct takes: its own, then the common ones. */
static size_t member_specs(const ConstructInfo *info, MemberSpec *out)
{
    static const struct {
        int flag;
        const char *spec;
    } shared[] = {{CF_COMMON, "description:t docs:t tags:[t] guid:t"},
                  {CF_HISTORY, "history:c"},
                  {CF_ACTIVE, "active:b"}};
    size_t n = 0;
    for (size_t part = 0; part <= COUNT_OF(shared); part++) {
        if (part && !(info->flags & shared[part - 1].flag))
            continue;
        Text spec = text_from(part ? shared[part - 1].spec : info->members);
        for (size_t at = 0; at < spec.len && n < MAX_MEMBERS;) {
            size_t end = text_find(spec, TEXT(" "), at);
            end = end == SIZE_MAX ? spec.len : end;
            Text item = text_slice(spec, at, end);
            at = end + 1;
            size_t colon = text_find(item, TEXT(":"), 0);
            if (colon == SIZE_MAX)
                continue;
            MemberSpec m = {.name = text_slice(item, 0, colon),
                            .kind = text_slice(item, colon + 1, item.len)};
            if (text_ends(m.kind, TEXT("..."))) {
                m.repeatable = true;
                m.kind.len -= 3;
            }
            m.required = text_ends(m.kind, TEXT("*"));
            m.strict = text_ends(m.kind, TEXT("+"));
            m.kind.len -= m.required || m.strict;
            out[n++] = m;
        }
    }
    return n;
}

/* ---- values of members ---- */

static void expect_kind(Parser *p, const Member *m, bool fits, const char *want)
{
    if (!fits && m->value->kind != EX_BAD)
        report(p->c, D_TYPE_EXPECTED, m->value->pos, NO_HINT,
               "expected %s for '" TEXT_FMT "' but found %s", want, TEXT_ARG(m->name),
               expr_kind_name(m->value));
}

static Text commas(Comp *c, Text set)
{
    Buf b = BUF_INIT;
    for (size_t i = 1; i + 1 < set.len; i++)
        if (set.ptr[i] == '|')
            buf_cstr(&b, ", ");
        else
            buf_char(&b, set.ptr[i]);
    Text t = comp_text(c, buf_view(&b));
    buf_deinit(&b);
    return t;
}

static bool in_set(Text set, Text value)
{
    set = text_slice(set, 1, set.len - 1);
    for (size_t at = 0; at <= set.len;) {
        size_t bar = text_find(set, TEXT("|"), at);
        size_t end = bar == SIZE_MAX ? set.len : bar;
        if (text_eq(text_slice(set, at, end), value))
            return true;
        at = end + 1;
    }
    return false;
}

static void check_history(Parser *p, const Expr *e)
{
    bool ok = e->kind == EX_BAD || (e->kind == EX_BOOL && !e->i);
    if (e->kind == EX_INT)
        ok = e->i == 0 || e->i == 10 || e->i == 100 || e->i == 1000 || e->i == 10000;
    if (e->kind == EX_TEXT)
        ok = in_set(TEXT("{inherit|all|0|10|100|1000|10000}"), e->text);
    if (!ok)
        report(
            p->c, D_BAD_ENUM, e->pos, NO_HINT,
            "expected history to be one of false, \"inherit\", \"all\", 0, 10, 100, 1000, 10000");
}

static void check_member(Parser *p, const Member *m, Text kind)
{
    const Expr *e = m->value;
    char k = kind.len ? kind.ptr[0] : 'e';
    if (k == 'e' || k == 'q')
        return;
    if (!expr_constant(e)) {
        report(p->c, D_CONSTANT_EXPECTED, e->pos, NO_HINT, "'" TEXT_FMT "' must be a constant",
               TEXT_ARG(m->name));
        return;
    }
    switch (k) {
    case 't': expect_kind(p, m, e->kind == EX_TEXT, "a text"); break;
    case 'b': expect_kind(p, m, e->kind == EX_BOOL, "a bool"); break;
    case 'n': expect_kind(p, m, e->kind == EX_INT || e->kind == EX_DEC, "a number"); break;
    case 'O': expect_kind(p, m, e->kind == EX_MAP, "an object"); break;
    case 'L':
    case '[': expect_kind(p, m, e->kind == EX_LIST, "a list"); break;
    case '{':
        expect_kind(p, m, e->kind == EX_TEXT, "a text");
        if (e->kind == EX_TEXT && !in_set(kind, e->text))
            report(p->c, D_BAD_ENUM, e->pos, NO_HINT,
                   "expected '" TEXT_FMT "' to be one of " TEXT_FMT, TEXT_ARG(m->name),
                   TEXT_ARG(commas(p->c, kind)));
        break;
    default: break;
    }
    if (text_eq(m->name, TEXT("history")) && k == 'c')
        check_history(p, e);
}

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
    if (t.kind == TOK_IDENT && in_set(TEXT("{GET|POST|PUT|PATCH|DELETE}"), t.text))
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
        m->value = kind.ptr[0] == 'q' ? parse_query_expr(p) : parse_expr(p);
        p->query_key = NULL;
    }
    if (m->value && !text_eq(m->name, TEXT("view"))) /* views hold conditions */
        check_member(p, m, kind);
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
    bool twice = !spec->repeatable && duplicate(p, k, m.name, m.pos);
    m.kind = spec->kind.ptr[0];
    if (m.kind == 'T') {
        parse_test(p, k);
        return;
    }
    parse_advance(p);
    switch (m.kind) {
    case 'F':
        k->has_input = true;
        k->input_pos = m.pos;
        if (p->tok.kind == TOK_LBRACE)
            parse_fields(p, &k->input, k->kind == CK_TABLE);
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
    if (!parse_expect(p, TOK_LBRACE, "'{'") || !parse_enter(p))
        return;
    while (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF) {
        uint32_t start = p->tok.off;
        member(p, k, specs, n);
        parse_accept(p, TOK_COMMA);
        if (p->tok.off == start && p->tok.kind != TOK_EOF)
            parse_advance(p);
    }
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
    k->doc = p->tok.doc;
    k->pos = p->tok.pos;
    parse_advance(p);
    if (kind == CK_RUN_JOB || kind == CK_RUN_SERVICE) {
        parse_advance(p);
        parse_advance(p);
    }
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
    return k;
}

/* Bare statements, as documents show them. */
static Construct *fragment(Parser *p, Text file)
{
    Construct *k = NEW(p->c, Construct);
    k->kind = CK_FRAGMENT;
    k->file = file;
    k->pos = p->tok.pos;
    k->has_stack = true;
    while (p->tok.kind != TOK_EOF) {
        ConstructKind kind;
        if (p->tok.nl && construct_kind(p, &kind) && !statement_find(p->tok.text))
            break;
        uint32_t start = p->tok.off;
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
    return p->tok.kind == TOK_IDENT && !construct_kind(p, &kind);
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
        report(c, D_INVALID_TEXT, (Pos){at.line, at.col, 1}, NO_HINT,
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
    while (p.tok.kind != TOK_EOF) {
        ConstructKind kind;
        Construct *k = NULL;
        if (construct_kind(&p, &kind)) {
            if (count && !bare)
                report(c, D_EXTRA_INPUT, p.tok.pos, NO_HINT,
                       "a file holds one construct; " TEXT_FMT " starts a second one",
                       TEXT_ARG(token_text(c, &p.tok)));
            k = construct(&p, kind, file);
        } else if (bare && fragment_here(&p)) {
            k = fragment(&p, file);
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
}
