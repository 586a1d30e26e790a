/* parse_stmt.c - the parser's token handling, names and statements. Language specification,
 * sections 1.10, 5. */
#include "frontend/ast.h"

#include <stdio.h>

void parser_init(Parser *p, Comp *c, Text src)
{
    *p = (Parser){.c = c};
    lex_init(&p->lx, c, src);
    p->tok = lex_next(&p->lx);
}

void parse_advance(Parser *p)
{
    p->last = p->tok;
    p->tok = lex_next(&p->lx);
}

uint32_t parse_end(const Parser *p)
{
    return p->lx.base + p->last.end;
}

bool parse_accept(Parser *p, TokKind kind)
{
    if (p->tok.kind != kind)
        return false;
    parse_advance(p);
    return true;
}

bool parse_is_word(const Parser *p, const char *word)
{
    return p->tok.kind == TOK_IDENT && text_eq(p->tok.text, text_from(word));
}

void parse_no_comment(Parser *p)
{
    if (p->tok.comment)
        report_extension(p->c, p->tok.pos, 1, "a comment above this");
}

static bool word_accept(Parser *p, const char *word)
{
    if (!parse_is_word(p, word))
        return false;
    parse_advance(p);
    return true;
}

void parse_unexpected(Parser *p, const char *what)
{
    if (p->tok.kind == TOK_ERROR)
        return;
    static const struct {
        const char *word, *hint;
    } hints[] = {{"and", "use &&"}, {"or", "use ||"}, {"is", "use =="}, {"not", "use !"}};
    Text hint = p->tok.kind == TOK_ASSIGN ? TEXT("use == to compare") : NO_HINT;
    for (size_t i = 0; i < COUNT_OF(hints); i++)
        if (parse_is_word(p, hints[i].word))
            hint = text_from(hints[i].hint);
    report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, hint, "expected %s but found " TEXT_FMT, what,
           TEXT_ARG(token_text(p->c, &p->tok)));
}

bool parse_expect(Parser *p, TokKind kind, const char *what)
{
    if (parse_accept(p, kind))
        return true;
    parse_unexpected(p, what);
    return false;
}

bool parse_enter(Parser *p)
{
    if (++p->depth <= MAX_NESTING && !p->c->oom)
        return true;
    report(p->c, D_NESTING, p->tok.pos, NO_HINT, "nested deeper than %d levels", MAX_NESTING);
    /* Nothing sensible follows: end the file so that recovery does not walk the same nest again,
     * and say nothing of the blocks that are open. */
    p->c->file->errors = MAX_FILE_ERRORS;
    p->lx.at = (uint32_t)p->lx.src.len;
    p->tok = (Token){.kind = TOK_EOF, .pos = p->tok.pos, .nl = true};
    p->depth--;
    return false;
}

void parse_leave(Parser *p)
{
    p->depth--;
}

/* ---- names ---- */

static bool name_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           ch == '_' || ch == '.' || ch == '-';
}

/* Length of a bare path at the start of t: segments of name characters or {word}, joined by '/'. */
static size_t bare_path(Text t)
{
    size_t at = 0;
    for (;;) {
        size_t start = at;
        if (at < t.len && t.ptr[at] == '{' && (at == 0 || t.ptr[at - 1] == '/')) {
            size_t end = at + 1;
            while (end < t.len && name_char(t.ptr[end]))
                end++;
            if (end == at + 1 || end >= t.len || t.ptr[end] != '}')
                return start ? start - 1 : 0;
            at = end + 1;
        } else {
            while (at < t.len && name_char(t.ptr[at]))
                at++;
        }
        if (at == start)
            return start ? start - 1 : 0;
        if (at >= t.len || t.ptr[at] != '/' || (at + 1 < t.len && t.ptr[at + 1] == '/'))
            return at;
        at++;
    }
}

bool parse_name(Parser *p, const char *of, Text *name, Pos *pos)
{
    Token t = p->tok;
    *pos = t.pos;
    if (t.kind == TOK_TEXT && t.text.len) {
        if (t.single)
            report_extension(p->c, t.pos, 3, "a name in single quotes");
        *name = t.text;
        parse_advance(p);
        return true;
    }
    bool word = t.kind == TOK_IDENT || t.kind == TOK_INT || t.kind == TOK_DEC;
    size_t n = word && !t.nl ? bare_path(text_slice(p->lx.src, t.off, p->lx.src.len)) : 0;
    if (n == 0 || (t.kind == TOK_IDENT && text_eq(t.text, TEXT("as")) && n == 2)) {
        report(p->c, D_NAME_EXPECTED, t.pos, NO_HINT, "%s needs a name", of);
        return false;
    }
    *name = text_slice(p->lx.src, t.off, t.off + n);
    pos->len = (uint32_t)n;
    if (!text_is_ident(*name))
        report_extension(p->c, t.pos, 3, "a bare path as a name");
    lex_seek(&p->lx, t.off + (uint32_t)n);
    parse_advance(p);
    return true;
}

/* ---- keywords and recovery ---- */

static bool ident_char(char ch)
{
    return name_char(ch) && ch != '.' && ch != '-';
}

/* The dotted words at the token in hand. */
static Text dotted_words(const Parser *p)
{
    Text src = p->lx.src;
    size_t end = p->tok.end;
    while (end + 1 < src.len && src.ptr[end] == '.' && ident_char(src.ptr[end + 1])) {
        end++;
        while (end < src.len && ident_char(src.ptr[end]))
            end++;
    }
    return text_slice(src, p->tok.off, end);
}

static const StatementInfo *keyword_here(const Parser *p, Text *keyword)
{
    if (p->tok.kind != TOK_IDENT)
        return NULL;
    Text words = dotted_words(p);
    while (words.len) {
        const StatementInfo *info = statement_find(words);
        if (info && !(info->flags & SF_INTERNAL)) {
            *keyword = words;
            return info;
        }
        while (words.len && words.ptr[words.len - 1] != '.')
            words.len--;
        words.len -= words.len > 0;
    }
    return NULL;
}

bool parse_keyword_here(const Parser *p)
{
    Text keyword;
    return keyword_here(p, &keyword) != NULL;
}

/* A line that reads like a statement, known or not: "word $x", "word {", "a.b" … */
static bool statement_like(const Parser *p)
{
    Lexer copy = p->lx;
    if (p->tok.kind != TOK_IDENT)
        return false;
    TokKind next = lex_next(&copy).kind;
    return next == TOK_VAR || next == TOK_TEXT || next == TOK_LBRACE || next == TOK_DOT ||
           next == TOK_LPAREN;
}

void parse_recover(Parser *p, bool unknown_too)
{
    for (uint32_t depth = 0; p->tok.kind != TOK_EOF; parse_advance(p)) {
        TokKind k = p->tok.kind;
        if (depth == 0 && k == TOK_RBRACE)
            return;
        if (depth == 0 && p->tok.nl &&
            (k == TOK_BANG || parse_keyword_here(p) || (unknown_too && statement_like(p))))
            return;
        depth += k == TOK_LBRACE;
        depth -= depth && k == TOK_RBRACE;
    }
}

/* "name(" */
static bool call_behind(const Parser *p, Text words)
{
    Lexer copy = p->lx;
    lex_seek(&copy, p->tok.off + (uint32_t)words.len);
    Token next = lex_next(&copy);
    return next.kind == TOK_LPAREN && next.glued;
}

static void unknown_statement(Parser *p)
{
    Pos pos = p->tok.pos;
    if (p->tok.kind == TOK_VAR) {
        if (call_behind(p, dotted_words(p))) {
            report(p->c, D_CALL_SYNTAX, pos, NO_HINT,
                   "there are no function calls; use a statement or a filter");
            return;
        }
        report(
            p->c, D_UNEXPECTED_TOKEN, pos,
            arena_printf(p->c->a, "var.update $" TEXT_FMT " { value = … }", TEXT_ARG(p->tok.text)),
            "a statement starts with a keyword, not with a variable");
        return;
    }
    if (p->tok.kind != TOK_IDENT) {
        parse_unexpected(p, "a statement or '}'");
        return;
    }
    Text words = dotted_words(p);
    pos.len = (uint32_t)words.len;
    static const struct {
        const char *word, *hint;
    } known[] = {
        {"if", "conditional { if (…) { … } elseif (…) { … } else { … } }"},
        {"elseif", "it belongs into a conditional"},
        {"else", "it belongs into a conditional; write elseif for else if"},
        {"try", "try_catch { try { … } catch { … } }"},
        {"catch", "try_catch { try { … } catch { … } }"},
        {"response", "use return { value = … }"},
        {"each", "it belongs into foreach, for or while"},
        {"case", "it belongs into a switch"},
        {"let", "var $x { value = … }"},
        {"const", "var $x { value = … }"},
        {"set", "var.update $x { value = … }"},
        {"log", "debug.log { value = … }"},
        {"print", "debug.log { value = … }"},
    };
    Text hint = NO_HINT;
    for (size_t i = 0; i < COUNT_OF(known) && !hint.ptr; i++)
        if (text_eq(words, text_from(known[i].word)))
            hint = text_from(known[i].hint);
    if (!hint.ptr)
        hint = hint_near(p->c, statement_nearest(words));
    if (call_behind(p, words) && !hint.ptr)
        report(p->c, D_CALL_SYNTAX, pos, hint,
               "there are no function calls; use a statement or a filter");
    else
        report(p->c, D_UNKNOWN_STATEMENT, pos, hint, "'" TEXT_FMT "' is not a statement",
               TEXT_ARG(words));
}

/* ---- attributes ---- */

static void check_enum(Parser *p, Text name, Text set, const Expr *e)
{
    if (e->kind == EX_TEXT && !enum_has(set, e->text))
        report(p->c, D_BAD_ENUM, e->pos, NO_HINT, "expected " TEXT_FMT " to be one of " TEXT_FMT,
               TEXT_ARG(name), TEXT_ARG(enum_text(p->c, set)));
    else if (e->kind != EX_TEXT && expr_constant(e) && e->kind != EX_BAD)
        report(p->c, D_TYPE_EXPECTED, e->pos, NO_HINT,
               "expected a text for " TEXT_FMT " but found %s", TEXT_ARG(name), expr_kind_name(e));
    else if (e->kind != EX_TEXT)
        report_extension(p->c, e->pos, 21, "an expression in a constant place");
}

static void check_kind(Parser *p, Text name, Text kind, const Expr *e)
{
    if (e->kind == EX_BAD || kind.len == 0)
        return;
    if (kind.ptr[0] == '{') {
        check_enum(p, name, kind, e);
        return;
    }
    const char *want = NULL;
    bool fits = true;
    if (text_eq(kind, TEXT("t"))) {
        want = "a text";
        fits = e->kind == EX_TEXT;
    } else if (text_eq(kind, TEXT("n"))) {
        want = "a number";
        fits = e->kind == EX_INT || e->kind == EX_DEC;
    } else if (text_eq(kind, TEXT("b"))) {
        want = "a bool";
        fits = e->kind == EX_BOOL;
    } else if (text_eq(kind, TEXT("O")) || text_eq(kind, TEXT("join")) ||
               text_eq(kind, TEXT("eval")) || text_eq(kind, TEXT("return"))) {
        want = "an object";
        fits = e->kind == EX_MAP;
        if (fits && e->pairs.len == 0)
            report(p->c, D_EMPTY_BLOCK, e->pos, NO_HINT, "at least one entry is required");
    } else if (text_eq(kind, TEXT("[t]"))) {
        want = "a list";
        fits = e->kind == EX_LIST;
    }
    if (!want || fits)
        return;
    if (expr_constant(e))
        report(p->c, D_TYPE_EXPECTED, e->pos, NO_HINT, "expected %s for " TEXT_FMT " but found %s",
               want, TEXT_ARG(name), expr_kind_name(e));
    else
        report_extension(p->c, e->pos, 21, "an expression in a constant place");
}

static Text attr_hint(Parser *p, const StatementInfo *info, Text name)
{
    static const struct {
        const char *wrong, *right;
    } pairs[] = {{"filter", "where"},
                 {"args", "input"},
                 {"body", "params"},
                 {"payload", "data"},
                 {"params", "input"}};
    uint32_t index;
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        if (text_eq(name, text_from(pairs[i].wrong)) &&
            statement_clause(info, text_from(pairs[i].right), &index))
            return hint_near(p->c, text_from(pairs[i].right));
    Text names[STATEMENT_MAX_CLAUSES + 3];
    size_t n = 0;
    for (; n < info->nclauses; n++)
        names[n] = info->clauses[n].name;
    names[n++] = TEXT("description");
    names[n++] = TEXT("disabled");
    names[n++] = TEXT("mock");
    return hint_near(p->c, text_nearest(name, names, n));
}

static Expr *attr_value(Parser *p, const ClauseSpec *clause, bool mock)
{
    Text kind = clause ? clause->kind : TEXT("e");
    if (text_eq(kind, TEXT("q")))
        return parse_query_expr(p);
    const char *saved = p->query_key;
    bool disable = p->disable_ok;
    p->query_key = text_eq(kind, TEXT("join")) ? "where" : NULL;
    p->disable_ok = mock;
    Expr *e = parse_expr(p);
    p->query_key = saved;
    p->disable_ok = disable;
    return e;
}

/* mock "name" { value = E }: the older form. */
static void old_mock(Parser *p, Stmt *s)
{
    Attr a = {.name = TEXT("mock"), .pos = p->last.pos, .clause = -1};
    Pair pair = {.text = p->tok.text, .pos = p->tok.pos};
    report_extension(p->c, a.pos, 15, "an older mock block");
    parse_advance(p);
    if (!parse_expect(p, TOK_LBRACE, "'{'"))
        return;
    if (word_accept(p, "value") && parse_expect(p, TOK_ASSIGN, "'='"))
        pair.value = parse_expr(p);
    parse_expect(p, TOK_RBRACE, "'}'");
    if (!pair.value)
        return;
    pair.end = a.end = parse_end(p);
    for (size_t i = 0; i < s->attrs.len; i++) {
        Attr *other = &s->attrs.ptr[i];
        if (text_eq(other->name, a.name) && other->value && other->value->kind == EX_MAP) {
            PUSH(p->c, &other->value->pairs, pair);
            other->end = a.end;
            return;
        }
    }
    a.value = expr_new(p, EX_MAP, pair.pos);
    a.value->end = a.end;
    PUSH(p->c, &a.value->pairs, pair);
    PUSH(p->c, &s->attrs, a);
}

static void attr_duplicate(Parser *p, const Stmt *s, const Attr *a, const ClauseSpec *clause)
{
    if (clause && clause->repeatable)
        return;
    for (size_t i = 0; i < s->attrs.len; i++) {
        const Attr *other = &s->attrs.ptr[i];
        if (a->clause >= 0 ? other->clause == a->clause : text_eq(other->name, a->name)) {
            report(p->c, D_DUPLICATE_ATTRIBUTE, a->pos, NO_HINT,
                   "the argument '" TEXT_FMT "' is given twice", TEXT_ARG(a->name));
            return;
        }
    }
}

static bool any_clause(const Stmt *s)
{
    return text_eq(s->keyword, TEXT("placeholder")) || text_eq(s->keyword, TEXT("comment"));
}

/* "$a and $b": a word on the line of a value that starts no argument. */
static bool word_behind_value(const Parser *p)
{
    static const char words[] = "and or is not isnt mod div xor";
    return p->tok.kind == TOK_IDENT && !p->tok.nl && word_in(words, p->tok.text);
}

/* The engine knows these at the start of a branch; they say nothing here. */
static void branch_attrs(Parser *p, Branch *b)
{
    while (parse_is_word(p, "description") || parse_is_word(p, "disabled")) {
        Lexer copy = p->lx;
        if (lex_next(&copy).kind != TOK_ASSIGN)
            return;
        report_extension(p->c, p->tok.pos, 15, "an argument of a branch");
        Attr a = {.name = p->tok.text, .pos = p->tok.pos, .clause = -1};
        parse_advance(p);
        parse_advance(p);
        a.value = parse_expr(p);
        a.end = parse_end(p);
        PUSH(p->c, &b->attrs, a);
    }
}

static void attr(Parser *p, Stmt *s)
{
    Attr a = {.name = p->tok.text, .pos = p->tok.pos, .clause = -1};
    if (p->tok.kind != TOK_IDENT && p->tok.kind != TOK_TEXT) {
        if (p->tok.kind == TOK_BANG)
            report(p->c, D_CANNOT_DISABLE, p->tok.pos, NO_HINT, "an argument cannot be disabled");
        else
            parse_unexpected(p, "an argument name or '}'");
        parse_recover(p, false);
        return;
    }
    if (word_behind_value(p)) {
        parse_unexpected(p, "a new line");
        parse_recover(p, false);
        return;
    }
    parse_advance(p);
    if (text_eq(a.name, TEXT("mock")) && p->tok.kind == TOK_TEXT) {
        old_mock(p, s);
        return;
    }
    uint32_t index = 0;
    const ClauseSpec *clause = statement_clause(s->info, a.name, &index);
    bool common = text_eq(a.name, TEXT("description")) || text_eq(a.name, TEXT("disabled")) ||
                  text_eq(a.name, TEXT("mock"));
    if (clause) {
        a.clause = (int32_t)index;
        if (clause->extension || !text_eq(a.name, clause->name))
            report_extension(p->c, a.pos, 15, "this argument");
        a.name = clause->name;
    } else if (!common && !any_clause(s)) {
        report(p->c, D_UNKNOWN_ATTRIBUTE, a.pos, attr_hint(p, s->info, a.name),
               "the argument '" TEXT_FMT "' is not valid in " TEXT_FMT, TEXT_ARG(a.name),
               TEXT_ARG(s->keyword));
    }
    if (text_eq(a.name, TEXT("event")) && text_eq(s->keyword, TEXT("api.realtime_event")))
        report_extension(p->c, a.pos, 8, "the event of api.realtime_event");
    attr_duplicate(p, s, &a, clause);
    if (clause && text_eq(clause->kind, TEXT("S"))) {
        a.stack.given = true;
        if (p->tok.kind == TOK_LBRACE)
            parse_block(p, &a.stack);
        a.end = parse_end(p);
        PUSH(p->c, &s->attrs, a);
        return;
    }
    if (p->tok.kind == TOK_LBRACE && clause) { /* auth { token: … } of api.call */
        report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, NO_HINT, "expected '=' but found '{'");
    } else if (!parse_expect(p, TOK_ASSIGN, "'='")) {
        a.value = expr_new(p, EX_BAD, a.pos); /* named, so not missing */
        PUSH(p->c, &s->attrs, a);
        parse_recover(p, false);
        return;
    }
    a.value = attr_value(p, clause, text_eq(a.name, TEXT("mock")));
    if (clause)
        check_kind(p, a.name, clause->kind, a.value);
    if (text_eq(a.name, TEXT("disabled"))) {
        if (a.value->kind == EX_BOOL)
            s->disabled = s->disabled || a.value->i;
        else
            check_kind(p, a.name, TEXT("b"), a.value);
    } else if (text_eq(a.name, TEXT("description"))) {
        check_kind(p, a.name, TEXT("t"), a.value);
    }
    a.end = parse_end(p);
    PUSH(p->c, &s->attrs, a);
}

static void unclosed(Parser *p, const char *what, Pos open)
{
    report(p->c, D_UNCLOSED_BLOCK, open, NO_HINT, "%s opened at line %u is not closed", what,
           open.line);
}

/* Statements whose arguments the platform separates by new lines only. */
static bool lines_only(Text keyword)
{
    static const char *const groups[] = {"debug.", "math.", "storage.", "zip.", "stream."};
    for (size_t i = 0; i < COUNT_OF(groups); i++)
        if (text_starts(keyword, text_from(groups[i])))
            return true;
    return word_in("throw return precondition array.push", keyword);
}

/* What can only stand behind the brace that is missing here: "as $x", or the next statement. */
static bool brace_forgotten(const Parser *p, const Stmt *s)
{
    uint32_t index = 0;
    if (p->tok.kind != TOK_IDENT || any_clause(s) || statement_clause(s->info, p->tok.text, &index))
        return false;
    Lexer copy = p->lx;
    TokKind next = lex_next(&copy).kind;
    if (text_eq(p->tok.text, TEXT("as")))
        return next == TOK_VAR;
    return p->tok.nl && next != TOK_ASSIGN && parse_keyword_here(p);
}

void parse_attrs(Parser *p, Stmt *s)
{
    Pos open = p->tok.pos;
    bool forgotten = false;
    if (!parse_enter(p))
        return;
    parse_advance(p);
    while (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF) {
        uint32_t start = p->tok.off;
        forgotten = brace_forgotten(p, s);
        if (forgotten)
            break;
        if (!p->tok.nl && p->last.kind != TOK_COMMA && p->last.kind != TOK_LBRACE)
            report_extension(p->c, p->tok.pos, 5, "arguments separated by blanks");
        parse_no_comment(p);
        attr(p, s);
        if (p->tok.kind == TOK_COMMA && lines_only(s->keyword))
            report_extension(p->c, p->tok.pos, 5, "a comma between arguments of this statement");
        parse_accept(p, TOK_COMMA);
        if (p->tok.off == start && p->tok.kind != TOK_EOF)
            parse_advance(p);
    }
    s->open = open.off;
    s->close = p->tok.pos.off;
    if (!parse_accept(p, TOK_RBRACE))
        unclosed(p, "the argument block", open);
    if (forgotten)
        p->tok.nl = p->tok.nl && !text_eq(p->tok.text, TEXT("as"));
    parse_leave(p);
}

static void check_required(Parser *p, const Stmt *s)
{
    Buf missing = BUF_INIT, strict = BUF_INIT;
    for (uint32_t i = 0; i < s->info->nclauses; i++) {
        const ClauseSpec *clause = &s->info->clauses[i];
        bool given = false;
        for (size_t k = 0; k < s->attrs.len && !given; k++)
            given = s->attrs.ptr[k].clause == (int32_t)i;
        Buf *to = clause->required ? &missing : clause->strict ? &strict : NULL;
        if (given || !to)
            continue;
        if (to->len)
            buf_cstr(to, ", ");
        buf_text(to, clause->name);
    }
    if (missing.len)
        report(p->c, D_MISSING_ATTRIBUTE, s->pos, NO_HINT, TEXT_FMT " is missing: " TEXT_FMT,
               TEXT_ARG(s->keyword), TEXT_ARG(buf_view(&missing)));
    if (strict.len)
        report(p->c, D_MISSING_ATTRIBUTE_S, s->pos, NO_HINT, TEXT_FMT " is missing: " TEXT_FMT,
               TEXT_ARG(s->keyword), TEXT_ARG(buf_view(&strict)));
    buf_deinit(&missing);
    buf_deinit(&strict);
}

/* ---- bodies ---- */

static void items_to_brace(Parser *p, Block *out)
{
    while (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF) {
        uint32_t start = p->tok.off;
        if (!p->tok.nl)
            report_extension(p->c, p->tok.pos, 4, "a statement that does not start its line");
        Stmt *s = parse_statement(p);
        if (s)
            PUSH(p->c, &out->items, s);
        if (p->tok.off == start && p->tok.kind != TOK_EOF)
            parse_advance(p);
    }
}

static void block_items(Parser *p, Block *out, Branch *branch)
{
    out->pos = p->tok.pos;
    out->given = out->braces = true;
    if (!parse_enter(p))
        return;
    parse_advance(p);
    if (branch)
        branch_attrs(p, branch);
    if (p->tok.kind == TOK_RBRACE && !p->tok.nl)
        report_extension(p->c, p->tok.pos, 4, "a block on one line");
    items_to_brace(p, out);
    out->close = p->tok.pos.off;
    if (!parse_accept(p, TOK_RBRACE))
        unclosed(p, "the block", out->pos);
    parse_leave(p);
}

void parse_block(Parser *p, Block *out)
{
    block_items(p, out, NULL);
}

static void body(Parser *p, Block *out, Branch *branch)
{
    out->given = true;
    out->pos = p->last.pos;
    if (p->tok.kind == TOK_LBRACE)
        block_items(p, out, branch);
}

static void skip_parens(Parser *p)
{
    for (uint32_t depth = 1; depth && p->tok.kind != TOK_EOF; parse_advance(p)) {
        if (p->tok.nl && p->tok.kind == TOK_RBRACE)
            return;
        depth += p->tok.kind == TOK_LPAREN;
        depth -= p->tok.kind == TOK_RPAREN;
    }
}

/* ( E ) with the lookalikes of other languages. */
static Expr *condition(Parser *p, const char *keyword)
{
    if (p->tok.kind != TOK_LPAREN) {
        parse_unexpected(p, "'(' and a value");
        return expr_new(p, EX_BAD, p->tok.pos);
    }
    bool loop = strcmp(keyword, "for") == 0 || strcmp(keyword, "foreach") == 0;
    Lexer copy = p->lx;
    Token first = lex_next(&copy), next = lex_next(&copy);
    bool word = next.kind == TOK_IDENT &&
                (text_eq(next.text, TEXT("as")) || text_eq(next.text, TEXT("in")));
    if (loop && ((first.kind == TOK_VAR && (word || next.kind == TOK_ASSIGN)) ||
                 (first.kind == TOK_IDENT && next.kind == TOK_ASSIGN))) {
        report(p->c, D_UNEXPECTED_TOKEN, next.pos, TEXT("foreach ($xs) { each as $x { … } }"),
               "a loop names its variable in an each block");
        parse_advance(p);
        skip_parens(p);
        return expr_new(p, EX_BAD, p->last.pos);
    }
    return parse_expr(p);
}

static void control_attrs(Parser *p, Stmt *s)
{
    while (p->tok.kind == TOK_IDENT) {
        Lexer copy = p->lx;
        if (lex_next(&copy).kind != TOK_ASSIGN)
            return;
        attr(p, s);
        parse_accept(p, TOK_COMMA);
    }
}

static bool open_control(Parser *p, Stmt *s, Pos *open)
{
    *open = p->tok.pos;
    if (!parse_expect(p, TOK_LBRACE, "'{'")) {
        parse_recover(p, false);
        return false;
    }
    if (!parse_enter(p))
        return false;
    control_attrs(p, s);
    return true;
}

static void close_control(Parser *p, Stmt *s, const char *what, Pos open)
{
    if (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF) {
        if (p->tok.kind == TOK_IDENT)
            report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, NO_HINT,
                   "'" TEXT_FMT "' does not belong here in %s", TEXT_ARG(p->tok.text), what);
        else
            parse_unexpected(p, "'}'");
        for (uint32_t depth = 0; p->tok.kind != TOK_EOF; parse_advance(p)) {
            if (depth == 0 && p->tok.kind == TOK_RBRACE)
                break;
            depth += p->tok.kind == TOK_LBRACE;
            depth -= depth && p->tok.kind == TOK_RBRACE;
        }
    }
    s->open = open.off;
    s->close = p->tok.pos.off;
    if (!parse_accept(p, TOK_RBRACE))
        unclosed(p, what, open);
    parse_leave(p);
}

static void conditional(Parser *p, Stmt *s)
{
    Pos open;
    bool done = false;
    if (!open_control(p, s, &open))
        return;
    while (p->tok.kind == TOK_IDENT && !done) {
        Branch b = {.pos = p->tok.pos};
        if (!p->tok.nl)
            report_extension(p->c, b.pos, 4, "a branch that does not start its line");
        parse_no_comment(p);
        if (parse_is_word(p, "if") || parse_is_word(p, "elseif")) {
            bool is_if = parse_is_word(p, "if");
            if (is_if && s->branches.len)
                report(p->c, D_SECOND_IF, b.pos, TEXT("use elseif"), "only one if per conditional");
            else if (!is_if && !s->branches.len)
                report(p->c, D_MISSING_IF, b.pos, NO_HINT, "a conditional starts with if");
            parse_advance(p);
            b.cond = condition(p, "if");
        } else if (parse_is_word(p, "else")) {
            parse_advance(p);
            if (parse_is_word(p, "if")) {
                report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, TEXT("write elseif"),
                       "'else if' is written elseif");
                parse_advance(p);
                b.cond = condition(p, "elseif");
            } else {
                done = true;
            }
        } else {
            break;
        }
        body(p, &b.body, &b);
        b.end = parse_end(p);
        PUSH(p->c, &s->branches, b);
    }
    if (s->branches.len == 0)
        report(p->c, D_MISSING_IF, s->pos, NO_HINT, "a conditional needs one if");
    close_control(p, s, "the conditional", open);
}

static void switch_statement(Parser *p, Stmt *s)
{
    Pos open;
    s->operand = condition(p, "switch");
    if (!open_control(p, s, &open))
        return;
    bool has_default = false;
    while (parse_is_word(p, "case") || parse_is_word(p, "default")) {
        Branch b = {.pos = p->tok.pos};
        if (parse_is_word(p, "case")) {
            if (has_default)
                report_extension(p->c, b.pos, 4, "a case behind default");
            parse_advance(p);
            b.cond = condition(p, "case");
        } else {
            if (has_default)
                report(p->c, D_DUPLICATE_MEMBER, b.pos, NO_HINT,
                       "this switch already has a default");
            has_default = true;
            parse_advance(p);
        }
        body(p, &b.body, NULL);
        if (parse_is_word(p, "break") && (p->tok.nl || !b.cond))
            report_extension(p->c, p->tok.pos, 4, "a break that does not follow its case");
        b.breaks = word_accept(p, "break");
        b.end = parse_end(p);
        PUSH(p->c, &s->branches, b);
    }
    if (s->branches.len == 0)
        report(p->c, D_UNLISTED_VALUE, s->pos, NO_HINT, "an empty switch does nothing");
    close_control(p, s, "the switch", open);
}

static void loop(Parser *p, Stmt *s)
{
    Pos open;
    const char *keyword = s->info->name;
    s->operand = condition(p, keyword);
    if (!open_control(p, s, &open))
        return;
    while (parse_is_word(p, "each")) {
        Branch b = {.pos = p->tok.pos};
        if (s->branches.len)
            report(p->c, D_DUPLICATE_MEMBER, b.pos, NO_HINT, "'each' is already given at line %u",
                   s->branches.ptr[0].pos.line);
        parse_advance(p);
        if (parse_is_word(p, "as")) {
            if (s->kind == ST_WHILE)
                report(p->c, D_AS_NOT_ALLOWED, p->tok.pos, NO_HINT, "while has no loop variable");
            parse_advance(p);
            if (p->tok.kind == TOK_VAR)
                b.var = parse_var_path(p);
            else
                parse_unexpected(p, "a variable");
        } else if (s->kind != ST_WHILE) {
            report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, TEXT("each as $x { … }"),
                   "expected 'as' and a variable");
        }
        body(p, &b.body, NULL);
        b.end = parse_end(p);
        PUSH(p->c, &s->branches, b);
    }
    if (s->branches.len == 0) {
        if (s->operand->kind != EX_BAD) /* else its own report shows the each block */
            report(p->c, D_MISSING_EACH, s->pos, NO_HINT, "'%s' needs an each block", keyword);
        Branch b = {.pos = p->tok.pos}; /* statements that lack only the each around them */
        items_to_brace(p, &b.body);
        PUSH(p->c, &s->branches, b);
    }
    close_control(p, s, "the loop", open);
}

static void try_catch(Parser *p, Stmt *s)
{
    static const char *const parts[] = {"try", "catch", "finally"};
    Pos open;
    if (!open_control(p, s, &open))
        return;
    for (size_t i = 0; i < 3; i++) {
        Branch b = {.pos = p->tok.pos};
        if (parse_is_word(p, parts[i])) {
            if (!p->tok.nl && i > 0)
                report_extension(p->c, b.pos, 4, "a branch that does not start its line");
            parse_no_comment(p);
            parse_advance(p);
            if (parse_is_word(p, "as") || p->tok.kind == TOK_LPAREN) {
                report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, TEXT("the error is $error"),
                       "catch takes no variable");
                while (p->tok.kind != TOK_LBRACE && p->tok.kind != TOK_EOF && !p->tok.nl)
                    parse_advance(p);
            }
            body(p, &b.body, NULL);
        } else if (i == 0) {
            parse_unexpected(p, "a try block");
        } else if (i == 1) {
            report_extension(p->c, s->pos, 15, "try_catch without catch");
        }
        b.end = parse_end(p);
        PUSH(p->c, &s->branches, b);
    }
    if (!s->branches.len || s->branches.len < 3)
        p->c->oom = true;
    close_control(p, s, "try_catch", open);
}

/* ---- one statement ---- */

static StmtKind kind_of(Text keyword)
{
    static const struct {
        const char *name;
        StmtKind kind;
    } table[] = {
        {"conditional", ST_CONDITIONAL},
        {"switch", ST_SWITCH},
        {"foreach", ST_FOREACH},
        {"for", ST_FOR},
        {"while", ST_WHILE},
        {"break", ST_BREAK},
        {"continue", ST_CONTINUE},
        {"foreach.remove", ST_REMOVE},
        {"try_catch", ST_TRY},
        {"group", ST_GROUP},
        {"db.transaction", ST_TRANSACTION},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (text_eq(keyword, text_from(table[i].name)))
            return table[i].kind;
    return ST_PLAIN;
}

static void operand_expr(Parser *p, Stmt *s)
{
    if (p->tok.kind == TOK_LPAREN && !p->tok.nl) {
        s->operand = parse_expr(p);
        return;
    }
    if (p->tok.kind == TOK_VAR && !p->tok.nl) {
        report_extension(p->c, p->tok.pos, 15, "an operand without parentheses");
        s->operand = parse_filters(p, parse_var_path(p));
        return;
    }
    parse_unexpected(p, "'(' and a value");
    s->operand = expr_new(p, EX_BAD, p->tok.pos);
}

static void operand_var(Parser *p, Stmt *s)
{
    s->operand = expr_new(p, EX_BAD, p->tok.pos);
    if (p->tok.kind == TOK_LPAREN && p->tok.glued)
        return; /* reported as a call */
    if (p->tok.kind != TOK_VAR || p->tok.nl) {
        parse_unexpected(p, "a variable");
        return;
    }
    Pos pos = p->tok.pos;
    if (text_eq(p->tok.text, TEXT("var")))
        report_extension(p->c, pos, 15, "$var in front of the name");
    s->operand = parse_filters(p, parse_var_path(p));
    if (s->operand->kind == EX_FILTER)
        report_extension(p->c, pos, 15, "a filter behind the variable");
    if (text_eq(s->keyword, TEXT("var")) && s->operand->kind != EX_VAR &&
        s->operand->kind != EX_BAD)
        report(p->c, D_VAR_NEEDS_NAME, pos, TEXT("use var.update to set a path"),
               "var needs a plain variable name");
    if (p->tok.kind == TOK_ASSIGN && !p->tok.nl)
        report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos,
               arena_printf(p->c->a, TEXT_FMT " $x { value = … }", TEXT_ARG(s->keyword)),
               "a value is given in a block, not with '='");
}

static void operand(Parser *p, Stmt *s)
{
    char name[80];
    snprintf(name, sizeof name, "'%s'", s->info->name);
    switch (s->info->operand) {
    case OPR_NONE:
        if (text_eq(s->keyword, TEXT("await")) && p->tok.kind == TOK_VAR && !p->tok.nl) {
            report_extension(p->c, p->tok.pos, 15, "an operand of await");
            s->operand = parse_var_path(p);
        }
        break;
    case OPR_NAME:
    case OPR_NAME_VERB:
        if (any_clause(s) && (p->tok.nl || p->tok.kind != TOK_TEXT))
            break;
        if (text_eq(s->keyword, TEXT("db.schema")) && p->tok.kind == TOK_LBRACE)
            break;
        if (p->tok.nl || !parse_name(p, name, &s->name, &s->name_pos)) {
            if (p->tok.nl)
                report(p->c, D_NAME_EXPECTED, s->pos, NO_HINT, "%s needs a name", name);
            s->name = (Text){0};
        }
        if (s->info->operand == OPR_NAME_VERB && word_accept(p, "verb") &&
            parse_expect(p, TOK_ASSIGN, "'='")) {
            s->verb = p->tok.text;
            parse_expect(p, TOK_IDENT, "a verb");
        }
        break;
    case OPR_VAR: operand_var(p, s); break;
    case OPR_EXPR: operand_expr(p, s); break;
    }
    if (any_clause(s) && p->tok.kind == TOK_TEXT && !p->tok.nl)
        parse_advance(p);
    if (p->tok.kind == TOK_LPAREN && !p->tok.nl && s->info->operand != OPR_EXPR) {
        report(p->c, D_CALL_SYNTAX, p->tok.pos, TEXT("give arguments in a block { … }"),
               "there are no function calls");
        parse_advance(p);
        skip_parens(p);
    }
}

static bool takes_if(const Stmt *s)
{
    static const char *const names[] = {"array.filter",     "array.filter_count", "array.find",
                                        "array.find_index", "array.has",          "array.every",
                                        "array.partition"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (text_eq(s->keyword, text_from(names[i])))
            return true;
    return false;
}

static void target(Parser *p, Stmt *s)
{
    if (!parse_is_word(p, "as")) {
        if (s->info->result == R_WANT && !s->disabled && !p->in_addon)
            report(p->c, D_RESULT_UNUSED, s->pos, NO_HINT,
                   "the result of " TEXT_FMT " is not stored", TEXT_ARG(s->keyword));
        return;
    }
    s->as_pos = p->tok.pos;
    if (p->tok.nl)
        report(p->c, D_AS_NEWLINE, p->tok.pos, NO_HINT, "'as' must follow '}' on the same line");
    if (s->info->result == R_NONE)
        report(p->c, D_AS_NOT_ALLOWED, p->tok.pos, NO_HINT, "'" TEXT_FMT "' has no result",
               TEXT_ARG(s->keyword));
    parse_advance(p);
    if (p->tok.kind != TOK_VAR) {
        parse_unexpected(p, "a variable");
        return;
    }
    s->as = parse_filters(p, parse_var_path(p));
}

static void plain(Parser *p, Stmt *s)
{
    operand(p, s);
    if (takes_if(s)) {
        if (parse_is_word(p, "if") && !p->tok.nl) {
            parse_advance(p);
            s->cond = condition(p, "if");
        } else {
            report(p->c, D_MISSING_IF_W, s->pos, NO_HINT, "without if every element passes");
        }
    }
    if (text_eq(s->keyword, TEXT("return")) && (p->tok.kind != TOK_LBRACE || p->tok.nl)) {
        report(p->c, D_UNEXPECTED_TOKEN, p->tok.nl ? s->pos : p->tok.pos,
               TEXT("return { value = … }"), "return needs a block with a value");
        while (!p->tok.nl && p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF)
            parse_advance(p);
        return;
    }
    if (p->tok.kind == TOK_ASSIGN && !p->tok.nl) { /* reported by the operand */
        parse_unexpected(p, "'{'");
        parse_recover(p, false);
        return;
    }
    if (p->tok.kind == TOK_LBRACE) {
        if (p->tok.nl)
            report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, NO_HINT,
                   "'{' must stand on the line of its statement");
        parse_attrs(p, s);
    }
    check_required(p, s);
    target(p, s);
    if (stmt_attr(s, "mock") && !s->as && s->info->result == R_NONE &&
        !text_eq(s->keyword, TEXT("var")))
        report(p->c, D_MOCK_IGNORED, stmt_attr(s, "mock")->pos, NO_HINT,
               "a mock needs a statement with a result");
}

Stmt *parse_statement(Parser *p)
{
    Stmt *s = NEW(p->c, Stmt);
    s->doc = p->tok.doc;
    s->pos = p->tok.pos;
    s->start = p->tok.pos.off;
    s->disabled = parse_accept(p, TOK_BANG);
    Text keyword;
    const StatementInfo *info = keyword_here(p, &keyword);
    if (!info) {
        unknown_statement(p);
        if (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF)
            parse_advance(p);
        parse_recover(p, true);
        return NULL;
    }
    s->info = info;
    s->keyword = text_from(info->name);
    s->pos = p->tok.pos;
    s->pos.len = (uint32_t)keyword.len;
    if ((info->flags & SF_ENGINE) || !text_eq(keyword, s->keyword))
        report_extension(p->c, s->pos, 15, "this statement");
    lex_seek(&p->lx, p->tok.off + (uint32_t)keyword.len);
    parse_advance(p);
    s->kind = kind_of(s->keyword);
    switch (s->kind) {
    case ST_CONDITIONAL: conditional(p, s); break;
    case ST_SWITCH: switch_statement(p, s); break;
    case ST_FOREACH:
    case ST_FOR:
    case ST_WHILE: loop(p, s); break;
    case ST_TRY: try_catch(p, s); break;
    case ST_BREAK:
    case ST_CONTINUE:
    case ST_REMOVE: break;
    case ST_GROUP:
    case ST_TRANSACTION:
    case ST_PLAIN: plain(p, s); break;
    }
    s->end = parse_end(p);
    return s;
}

static bool unknown_test_member(Parser *p)
{
    static const Text names[] = {TEXT("description"), TEXT("datasource"), TEXT("input")};
    Lexer copy = p->lx;
    if (p->tok.kind != TOK_IDENT || lex_next(&copy).kind != TOK_ASSIGN)
        return false;
    report(p->c, D_UNKNOWN_MEMBER, p->tok.pos,
           hint_near(p->c, text_nearest(p->tok.text, names, COUNT_OF(names))),
           "'" TEXT_FMT "' is not valid in a test", TEXT_ARG(p->tok.text));
    parse_advance(p);
    return true;
}

void parse_test(Parser *p, Construct *k)
{
    Test t = {.pos = p->tok.pos, .doc = p->tok.doc, .start = p->tok.pos.off};
    parse_advance(p);
    if (!parse_name(p, "a test", &t.name, &t.pos))
        return;
    if (map_get(&p->tests, t.name))
        report(p->c, D_DUPLICATE_TEST, t.pos, NO_HINT, "test name '" TEXT_FMT "' is used twice",
               TEXT_ARG(t.name));
    else if (!map_put(&p->tests, t.name, p))
        p->c->oom = true;
    Pos open = p->tok.pos;
    if (!parse_expect(p, TOK_LBRACE, "'{'") || !parse_enter(p))
        return;
    while (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF) {
        uint32_t start = p->tok.off;
        bool member = p->tok.kind == TOK_IDENT &&
                      word_in("description datasource input clock tags", p->tok.text);
        if (member) {
            Attr a = {.name = p->tok.text, .pos = p->tok.pos, .clause = -1};
            if (word_in("clock tags", a.name))
                report_extension(p->c, a.pos, 15, "this member");
            parse_advance(p);
            if (parse_expect(p, TOK_ASSIGN, "'='")) {
                a.value = parse_expr(p);
                a.end = parse_end(p);
                PUSH(p->c, &t.attrs, a);
            }
        } else if (unknown_test_member(p)) {
            parse_recover(p, false);
        } else {
            Stmt *s = parse_statement(p);
            if (s && !text_starts(s->keyword, TEXT("expect.")))
                report(p->c, D_UNEXPECTED_TOKEN, s->pos, TEXT("use a workflow_test"),
                       "a test holds only expect statements");
            if (s)
                PUSH(p->c, &t.body.items, s);
        }
        if (p->tok.off == start && p->tok.kind != TOK_EOF)
            parse_advance(p);
    }
    t.open = open.off;
    t.close = p->tok.pos.off;
    if (!parse_accept(p, TOK_RBRACE))
        unclosed(p, "the test", open);
    t.end = parse_end(p);
    parse_leave(p);
    PUSH(p->c, &k->tests, t);
}
