/* parse_expr.c - expressions: precedence climbing over the tokens. Language specification,
 * section 2. */
#include "frontend/ast.h"

#include "core/num.h"

enum { MAX_HEIGHT = 400 }; /* of an expression tree: later stages recurse over it */

enum {
    LV_NULLISH = 2,
    LV_OR,
    LV_AND,
    LV_EQUAL,
    LV_COMPARE,
    LV_RANGE,
    LV_CONCAT,
    LV_SUM,
    LV_PRODUCT
};

static Expr *ternary(Parser *p);
static Expr *unary(Parser *p);

Expr *expr_new(Parser *p, ExprKind kind, Pos pos)
{
    Expr *e = NEW(p->c, Expr);
    e->kind = kind;
    e->pos = pos;
    e->height = 1;
    return e;
}

static Expr *bad(Parser *p)
{
    return expr_new(p, EX_BAD, p->tok.pos);
}

/* Account for a child; a tree that grows too high is cut. */
static Expr *child(Parser *p, Expr *parent, Expr *e)
{
    if (e && e->height >= parent->height)
        parent->height = e->height + 1;
    if (parent->height > MAX_HEIGHT) {
        report(p->c, D_NESTING, parent->pos, NO_HINT,
               "this expression is nested too deeply (limit %d)", MAX_HEIGHT);
        parent->height = 1;
        return bad(p);
    }
    return e;
}

/* ---- operators ---- */

typedef struct OpHere {
    BinOp op;
    int level;
    int tokens; /* 1, or 2 for "not in" */
} OpHere;

static bool is_column(const Expr *e)
{
    while (e && (e->kind == EX_MEMBER || e->kind == EX_INDEX || e->kind == EX_FILTER))
        e = e->a;
    return e && e->kind == EX_VAR && text_eq(e->text, TEXT("db"));
}

static bool word_op(Text word, bool negated, BinOp *op)
{
    static const struct {
        const char *name;
        BinOp op;
        int negated; /* -1 = has no "not" form */
    } words[] = {
        {"in", BIN_IN, BIN_NOT_IN},
        {"contains", BIN_CONTAINS, BIN_NOT_CONTAINS},
        {"includes", BIN_INCLUDES, BIN_NOT_INCLUDES},
        {"overlaps", BIN_OVERLAPS, BIN_NOT_OVERLAPS},
        {"like", BIN_LIKE, BIN_NOT_LIKE},
        {"ilike", BIN_ILIKE, BIN_NOT_ILIKE},
        {"between", BIN_BETWEEN, BIN_NOT_BETWEEN},
        {"search", BIN_SEARCH, -1},
    };
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (text_eq(word, text_from(words[i].name)) && (!negated || words[i].negated >= 0)) {
            *op = negated ? (BinOp)words[i].negated : words[i].op;
            return true;
        }
    return false;
}

static Token second(const Parser *p)
{
    Lexer copy = p->lx;
    return lex_next(&copy);
}

/* A word operator at the token in hand, here only words that are followed by a value. */
static bool word_op_here(Parser *p, OpHere *out)
{
    if (p->tok.kind != TOK_IDENT || (p->tok.nl && !p->free_lines))
        return false;
    bool negated = text_eq(p->tok.text, TEXT("not"));
    Token next = second(p);
    if (negated && next.kind != TOK_IDENT)
        return false;
    if (!word_op(negated ? next.text : p->tok.text, negated, &out->op))
        return false;
    if (!negated && (next.kind == TOK_ASSIGN || next.kind == TOK_COLON || next.kind == TOK_DOT))
        return false; /* the next attribute or key */
    out->level = LV_COMPARE;
    out->tokens = negated ? 2 : 1;
    return true;
}

int op_level(BinOp op)
{
    static const uint8_t levels[BIN_COUNT] = {
        [BIN_NULLISH] = LV_NULLISH, [BIN_OR] = LV_OR,       [BIN_AND] = LV_AND,
        [BIN_EQ] = LV_EQUAL,        [BIN_NE] = LV_EQUAL,    [BIN_SEQ] = LV_EQUAL,
        [BIN_SNE] = LV_EQUAL,       [BIN_RANGE] = LV_RANGE, [BIN_CONCAT] = LV_CONCAT,
        [BIN_ADD] = LV_SUM,         [BIN_SUB] = LV_SUM,     [BIN_MUL] = LV_PRODUCT,
        [BIN_DIV] = LV_PRODUCT,     [BIN_MOD] = LV_PRODUCT,
    };
    return levels[op] ? levels[op] : LV_COMPARE;
}

static bool symbol_op(const Parser *p, const Expr *left, OpHere *out)
{
    static const uint8_t ops[TOK_KIND_COUNT] = {
        /* BinOp + 1 */
        [TOK_NULLISH] = BIN_NULLISH + 1, [TOK_OR] = BIN_OR + 1,       [TOK_AND] = BIN_AND + 1,
        [TOK_EQ] = BIN_EQ + 1,           [TOK_NE] = BIN_NE + 1,       [TOK_SEQ] = BIN_SEQ + 1,
        [TOK_SNE] = BIN_SNE + 1,         [TOK_LT] = BIN_LT + 1,       [TOK_LE] = BIN_LE + 1,
        [TOK_GT] = BIN_GT + 1,           [TOK_GE] = BIN_GE + 1,       [TOK_HAS] = BIN_HAS + 1,
        [TOK_NMATCH] = BIN_NMATCH + 1,   [TOK_RANGE] = BIN_RANGE + 1, [TOK_TILDE] = BIN_CONCAT + 1,
        [TOK_PLUS] = BIN_ADD + 1,        [TOK_MINUS] = BIN_SUB + 1,   [TOK_STAR] = BIN_MUL + 1,
        [TOK_SLASH] = BIN_DIV + 1,       [TOK_PERCENT] = BIN_MOD + 1,
    };
    TokKind kind = p->tok.kind;
    if (p->tok.nl && !p->free_lines && kind == TOK_MINUS)
        return false;
    if (kind == TOK_ASSIGN && p->in_query) {
        *out = (OpHere){BIN_EQ, LV_EQUAL, 1};
        return true;
    }
    if (ops[kind] == 0)
        return false;
    BinOp op = (BinOp)(ops[kind] - 1);
    if (kind == TOK_TILDE && p->in_query && is_column(left))
        op = BIN_MATCH;
    *out = (OpHere){op, op_level(op), 1};
    return true;
}

bool op_is_comparison(BinOp op)
{
    return (op >= BIN_EQ && op <= BIN_GE) || op >= BIN_IN;
}

static bool is_arithmetic(BinOp op)
{
    return op == BIN_NULLISH || (op >= BIN_RANGE && op <= BIN_MOD);
}

static bool needs_parens(BinOp op)
{
    return op == BIN_MOD || op == BIN_CONCAT || op == BIN_NULLISH || op == BIN_RANGE;
}

bool ops_need_parens(BinOp op, BinOp inner)
{
    if (op == inner)
        return false;
    return (is_arithmetic(op) && is_arithmetic(inner) &&
            (needs_parens(op) || needs_parens(inner))) ||
           (op == BIN_OR && inner == BIN_AND) || (op == BIN_AND && inner == BIN_OR);
}

static void warn_mixed(Parser *p, Pos pos, BinOp op, const Expr *e)
{
    if (e && e->kind == EX_BINARY && !e->paren && ops_need_parens(op, e->op))
        report(p->c, D_MIXED_OPERATORS, pos, NO_HINT,
               "add parentheses to show what '" TEXT_FMT "' applies to", TEXT_ARG(bin_name(op)));
}

/* F6: an operator directly behind a filter chain. */
static void check_chain(Parser *p, const Expr *left, Pos pos)
{
    if (p->chain_end != p->tok.off + 1 || left->kind == EX_BAD)
        return;
    report(p->c, p->backtick ? D_FILTER_THEN_OPERATOR_W : D_FILTER_THEN_OPERATOR, pos,
           TEXT("write ($x|f) in front of the operator"),
           "Invalid syntax. Please wrap your filter with parentheses.");
}

static void outside_query(Parser *p, const OpHere *op, Pos pos)
{
    Text name = bin_name(op->op);
    Text hint = op->op == BIN_HAS ? TEXT("use |contains:")
                : op->op == BIN_NMATCH
                    ? TEXT("use |regex_matches:")
                    : arena_printf(p->c->a, "use |" TEXT_FMT ":", TEXT_ARG(name));
    report(p->c, D_QUERY_OPERATOR, pos, hint,
           "'" TEXT_FMT "' is only available in a query condition", TEXT_ARG(name));
}

static bool query_only(BinOp op)
{
    return op >= BIN_IN;
}

static Expr *binary(Parser *p, int min);

static Expr *between_operand(Parser *p, Expr *e)
{
    e->kind = EX_BETWEEN;
    e->b = child(p, e, binary(p, LV_RANGE));
    if (p->tok.kind == TOK_COLON && !p->tok.nl) {
        parse_advance(p);
        report_extension(p->c, e->pos, 18, "between a:b");
        e->c = child(p, e, binary(p, LV_RANGE));
    }
    return e;
}

static Expr *binary_node(Parser *p, Expr *left, OpHere op, Pos pos)
{
    Expr *e = expr_new(p, EX_BINARY, pos);
    e->op = op.op;
    e->a = child(p, e, left);
    bool free_line = p->tok.nl;
    for (int i = 0; i < op.tokens; i++)
        parse_advance(p);
    if (free_line || p->tok.nl)
        report_extension(p->c, pos, 6, "an expression over several lines");
    if (op.op == BIN_SUB && p->tok.glued && (p->tok.kind == TOK_INT || p->tok.kind == TOK_DEC))
        report_extension(p->c, pos, 11, "a minus sign glued to the number it subtracts");
    if (op.op == BIN_LT && p->tok.kind == TOK_GT && p->tok.glued) {
        report(p->c, D_UNEXPECTED_TOKEN, pos, TEXT("use !="), "'<>' is not an operator");
        parse_advance(p);
    }
    if (op_is_comparison(op.op) && p->tok.kind == TOK_QUESTION && !p->tok.nl) {
        if (!p->in_query)
            report(p->c, D_QUERY_OPERATOR, p->tok.pos, NO_HINT,
                   "'" TEXT_FMT "?' is only available in a query condition",
                   TEXT_ARG(bin_name(op.op)));
        if (op.op == BIN_MATCH || op.op == BIN_SEARCH)
            report_extension(p->c, pos, 18, "'?' behind this operator");
        e->optional = true;
        parse_advance(p);
    }
    if (op.op == BIN_BETWEEN || op.op == BIN_NOT_BETWEEN)
        return between_operand(p, e);
    e->b = child(p, e, binary(p, op.op == BIN_NULLISH ? op.level : op.level + 1));
    warn_mixed(p, pos, op.op, e->a);
    warn_mixed(p, pos, op.op, e->b);
    if (op_is_comparison(op.op) && e->a && e->a->kind == EX_BINARY && !e->a->paren &&
        op_is_comparison(e->a->op))
        report(p->c, D_COMPARISON_CHAIN, pos, NO_HINT,
               "add parentheses to show what '" TEXT_FMT "' applies to", TEXT_ARG(bin_name(op.op)));
    return e;
}

static Expr *binary(Parser *p, int min)
{
    if (!parse_enter(p))
        return bad(p);
    Expr *left = unary(p);
    for (;;) {
        OpHere op;
        bool word = word_op_here(p, &op);
        if (!word && !symbol_op(p, left, &op))
            break;
        if (op.level < min)
            break;
        Pos pos = p->tok.pos;
        check_chain(p, left, pos);
        if (query_only(op.op) && !p->in_query)
            outside_query(p, &op, pos);
        if (op.op == BIN_RANGE) {
            if (!p->range_ok)
                report(p->c, D_UNEXPECTED_TOKEN, pos, TEXT("write (a..b)"),
                       "a range stands directly inside ( )");
            report_extension(p->c, pos, 9, "a range");
        }
        left = binary_node(p, left, op, pos);
    }
    parse_leave(p);
    return left;
}

static Expr *ternary(Parser *p)
{
    Expr *cond = binary(p, LV_NULLISH);
    if (p->tok.kind != TOK_QUESTION)
        return cond;
    if (!parse_enter(p))
        return bad(p);
    Expr *e = expr_new(p, EX_TERNARY, p->tok.pos);
    check_chain(p, cond, p->tok.pos);
    if (p->in_query)
        report(p->c, D_TERNARY_IN_QUERY, p->tok.pos, NO_HINT,
               "a condition cannot contain '?:' ; compute the value first");
    parse_advance(p);
    e->a = child(p, e, cond);
    if (p->tok.kind == TOK_DOT) {
        report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, TEXT("|get:\"k\":null is null-safe"),
               "'?.' is not an operator");
        parse_advance(p);
    }
    if (p->tok.kind == TOK_COLON)
        report_extension(p->c, e->pos, 23, "a ?: b");
    else
        e->b = child(p, e, ternary(p));
    if (parse_expect(p, TOK_COLON, "':' of '? :'"))
        e->c = child(p, e, ternary(p));
    else
        e->c = bad(p);
    parse_leave(p);
    return e;
}

/* ---- contexts ---- */

typedef struct Context {
    bool no_filters, in_query, free_lines, range_ok, disable_ok;
} Context;

static Context context_enter(Parser *p, Context inner)
{
    Context saved = {p->no_filters, p->in_query, p->free_lines, p->range_ok, p->disable_ok};
    p->no_filters = inner.no_filters;
    p->in_query = inner.in_query;
    p->free_lines = inner.free_lines;
    p->range_ok = inner.range_ok;
    p->disable_ok = inner.disable_ok;
    return saved;
}

static void context_leave(Parser *p, Context saved)
{
    context_enter(p, saved);
}

Expr *parse_expr(Parser *p)
{
    Context saved = context_enter(p, (Context){.disable_ok = p->disable_ok});
    Expr *e = ternary(p);
    context_leave(p, saved);
    return e;
}

Expr *parse_query_expr(Parser *p)
{
    Context saved = context_enter(p, (Context){.in_query = true});
    Expr *e = ternary(p);
    context_leave(p, saved);
    return e;
}

/* ---- literals ---- */

static bool closes(const Parser *p)
{
    TokKind k = p->tok.kind;
    return k == TOK_EOF || k == TOK_RBRACE || k == TOK_RBRACKET || k == TOK_RPAREN;
}

static void check_separator(Parser *p, TokKind close, const char *closer)
{
    if (parse_accept(p, TOK_COMMA) || p->tok.nl || p->tok.kind == close || p->tok.kind == TOK_EOF)
        return;
    report(p->c, D_SEPARATOR_EXPECTED, p->tok.pos, NO_HINT,
           "expected a comma, a new line or %s but found " TEXT_FMT, closer,
           TEXT_ARG(token_text(p->c, &p->tok)));
}

static Expr *list(Parser *p)
{
    Expr *e = expr_new(p, EX_LIST, p->tok.pos);
    Context saved = context_enter(p, (Context){0});
    parse_advance(p);
    while (!closes(p)) {
        uint32_t start = p->tok.off;
        Expr *item;
        parse_no_comment(p);
        if (p->tok.kind == TOK_SPREAD) {
            item = expr_new(p, EX_SPREAD, p->tok.pos);
            report_extension(p->c, p->tok.pos, 16, "a spread");
            parse_advance(p);
            item->a = child(p, item, ternary(p));
        } else {
            item = ternary(p);
        }
        item->start = p->lx.base + start;
        if (!item->end)
            item->end = parse_end(p);
        PUSH(p->c, &e->items, child(p, e, item));
        check_separator(p, TOK_RBRACKET, "']'");
        if (p->tok.off == start)
            parse_advance(p);
    }
    context_leave(p, saved);
    e->end = p->tok.pos.off + 1;
    parse_expect(p, TOK_RBRACKET, "']'");
    return e;
}

/* Keys seen so far: a list while there are few, then a hash. */
typedef struct KeySet {
    Map map;
} KeySet;

static void check_duplicate(Parser *p, KeySet *seen, const Pair *pair)
{
    if (pair->key || !pair->text.ptr)
        return;
    if (map_get(&seen->map, pair->text))
        report(p->c, D_DUPLICATE_KEY, pair->pos, NO_HINT, "duplicate key '" TEXT_FMT "'",
               TEXT_ARG(pair->text));
    else if (!map_put(&seen->map, pair->text, p->c))
        p->c->oom = true;
}

static bool reserved_word(Text t)
{
    return text_eq(t, TEXT("true")) || text_eq(t, TEXT("false")) || text_eq(t, TEXT("null")) ||
           text_eq(t, TEXT("now"));
}

static Expr *member(Parser *p, Expr *of, Text name, Pos pos)
{
    Expr *e = expr_new(p, EX_MEMBER, pos);
    e->text = name;
    e->a = child(p, e, of);
    return e;
}

static void bad_key(Parser *p)
{
    report(p->c, D_KEY_EXPECTED, p->tok.pos, TEXT("quote it"),
           "object keys are words or quoted text, found " TEXT_FMT,
           TEXT_ARG(token_text(p->c, &p->tok)));
}

/* a.b.c as one text */
static Text dotted(Parser *p, Text first)
{
    Buf b = BUF_INIT;
    buf_text(&b, first);
    while (p->tok.kind == TOK_DOT && p->tok.glued) {
        Token next = second(p);
        if (next.kind != TOK_IDENT && next.kind != TOK_INT)
            break;
        parse_advance(p);
        buf_char(&b, '.');
        buf_text(&b, p->tok.text);
        parse_advance(p);
    }
    Text t = comp_text(p->c, buf_view(&b));
    buf_deinit(&b);
    return t;
}

static bool pair_key(Parser *p, Pair *pair)
{
    Token t = p->tok;
    switch (t.kind) {
    case TOK_IDENT:
        if (reserved_word(t.text))
            break;
        parse_advance(p);
        pair->text = p->tok.kind == TOK_DOT ? dotted(p, t.text) : t.text;
        return true;
    case TOK_TEXT:
        if (t.single)
            report_extension(p->c, t.pos, 14, "a key in single quotes");
        pair->text = t.text;
        parse_advance(p);
        return true;
    case TOK_VAR:
        report_extension(p->c, t.pos, 17, "a computed key");
        pair->key = parse_var_path(p);
        return true;
    case TOK_LBRACKET: {
        report_extension(p->c, t.pos, 17, "a computed key");
        parse_advance(p);
        Context saved = context_enter(p, (Context){.free_lines = true});
        pair->key = ternary(p);
        context_leave(p, saved);
        return parse_expect(p, TOK_RBRACKET, "']'");
    }
    default: break;
    }
    bad_key(p);
    return false;
}

/* To the end of a broken entry. */
static void skip_entry(Parser *p)
{
    for (uint32_t depth = 0; p->tok.kind != TOK_EOF;) {
        TokKind k = p->tok.kind;
        if (depth == 0 && (k == TOK_COMMA || closes(p)))
            return;
        depth += k == TOK_LBRACE || k == TOK_LBRACKET || k == TOK_LPAREN;
        depth -= depth && (k == TOK_RBRACE || k == TOK_RBRACKET || k == TOK_RPAREN);
        parse_advance(p);
        if (depth == 0 && p->tok.nl)
            return;
    }
}

static void pair(Parser *p, Expr *map, KeySet *seen, bool disable_ok)
{
    Pair item = {.pos = p->tok.pos};
    parse_no_comment(p);
    if (parse_accept(p, TOK_SPREAD)) {
        report_extension(p->c, item.pos, 16, "a spread");
        Expr *spread = expr_new(p, EX_SPREAD, item.pos);
        spread->a = child(p, spread, ternary(p));
        item.value = child(p, map, spread);
        item.end = parse_end(p);
        PUSH(p->c, &map->pairs, item);
        return;
    }
    if (p->tok.kind == TOK_BANG) {
        if (!disable_ok)
            report(p->c, D_CANNOT_DISABLE, p->tok.pos, NO_HINT, "this key cannot be disabled");
        parse_advance(p);
        item.disabled = true;
    }
    if (!pair_key(p, &item)) {
        skip_entry(p);
        return;
    }
    if (p->tok.kind == TOK_ASSIGN) {
        report(p->c, D_COLON_EXPECTED, p->tok.pos, TEXT("write ':'"),
               "use ':' between key and value in an object");
        parse_advance(p);
    } else if (p->tok.kind == TOK_MINUS && p->tok.glued) {
        bad_key(p);
        skip_entry(p);
        return;
    } else if (!parse_expect(p, TOK_COLON, "':'")) {
        skip_entry(p);
        return;
    }
    p->in_query = p->query_key && item.text.ptr && text_eq(item.text, text_from(p->query_key));
    item.value = child(p, map, ternary(p));
    p->in_query = false;
    item.end = parse_end(p);
    check_duplicate(p, seen, &item);
    PUSH(p->c, &map->pairs, item);
}

static Expr *map_literal(Parser *p)
{
    Expr *e = expr_new(p, EX_MAP, p->tok.pos);
    bool disable_ok = p->disable_ok;
    Context saved = context_enter(p, (Context){0});
    KeySet seen = {0};
    parse_advance(p);
    while (!closes(p)) {
        uint32_t start = p->tok.off;
        pair(p, e, &seen, disable_ok);
        check_separator(p, TOK_RBRACE, "'}'");
        if (p->tok.off == start)
            parse_advance(p);
    }
    map_deinit(&seen.map);
    context_leave(p, saved);
    e->end = p->tok.pos.off + 1;
    parse_expect(p, TOK_RBRACE, "'}'");
    return e;
}

static Expr *number(Parser *p, bool negative, Pos pos)
{
    Token t = p->tok;
    Expr *e = expr_new(p, EX_INT, pos);
    e->text = text_slice(p->lx.src, t.off - negative, t.end);
    if (t.kind == TOK_DEC) {
        e->kind = EX_DEC;
        e->d = negative ? -t.d : t.d;
    } else if (t.d == 0) {
        e->i = negative ? -t.i : t.i;
    } else if (negative && t.d == 9223372036854775808.0 &&
               text_ends(t.text, TEXT("9223372036854775808"))) {
        e->i = INT64_MIN;
    } else {
        report(p->c, D_INT_OVERFLOW, pos, NO_HINT,
               "number does not fit an int and becomes a decimal");
        e->kind = EX_DEC;
        e->d = negative ? -t.d : t.d;
    }
    parse_advance(p);
    return e;
}

/* The expression inside a text: backticks, !expr. */
static Expr *embedded(Parser *p, Text src, Pos start)
{
    if (!parse_enter(p))
        return bad(p);
    Parser saved = *p;
    lex_init_at(&p->lx, p->c, src, start);
    p->backtick = true;
    p->chain_end = 0;
    p->tok = lex_next(&p->lx);
    Context outer =
        context_enter(p, (Context){.free_lines = true, .in_query = p->in_query, .range_ok = true});
    Expr *e = ternary(p);
    context_leave(p, outer);
    if (p->tok.kind != TOK_EOF)
        parse_unexpected(p, "the end of the expression");
    uint32_t depth = p->depth;
    *p = saved;
    p->depth = depth;
    parse_leave(p);
    e->paren = true;
    return e;
}

static Expr *quoted(Expr *e, Quote quote, uint32_t start, uint32_t end)
{
    e->quote = (uint8_t)quote;
    e->start = start;
    e->end = end;
    return e;
}

static Expr *backticks(Parser *p)
{
    Token t = p->tok;
    uint32_t at = p->lx.base + (t.escaped ? t.off : (uint32_t)(t.text.ptr - p->lx.src.ptr));
    Pos start = t.fence ? (Pos){(uint32_t)t.i, 1, 1, at} : (Pos){t.pos.line, t.pos.col + 1, 1, at};
    uint32_t from = p->lx.base + t.off, to = p->lx.base + t.end;
    /* Comments inside were passed over already; a nested literal cannot be written again. */
    bool verbatim = t.escaped || text_find(t.text, TEXT("//"), 0) != SIZE_MAX;
    parse_advance(p);
    return quoted(embedded(p, t.text, start),
                  verbatim  ? QUOTE_VERBATIM
                  : t.fence ? QUOTE_FENCE
                            : QUOTE_BACKTICK,
                  from, to);
}

static bool cast_type(Text t)
{
    static const char *const types[] = {"int",    "decimal",   "text", "bool", "array",
                                        "object", "timestamp", "expr", "any",  "null",
                                        "input",  "var",       "auth", "env"};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (text_eq(t, text_from(types[i])))
            return true;
    return false;
}

static bool cast_here(Parser *p)
{
    if (p->tok.kind != TOK_BANG)
        return false;
    Lexer copy = p->lx;
    Token type = lex_next(&copy);
    if (type.kind != TOK_IDENT || !type.glued || !cast_type(type.text))
        return false;
    Token value = lex_next(&copy);
    return value.kind == TOK_TEXT || value.kind == TOK_EXPR || value.kind == TOK_LBRACE ||
           value.kind == TOK_LBRACKET;
}

static Expr *path_of(Parser *p, Text root, Text path, Pos pos)
{
    Expr *e = expr_new(p, EX_VAR, pos);
    e->text = root;
    for (size_t at = 0; at < path.len;) {
        size_t dot = text_find(path, TEXT("."), at);
        size_t end = dot == SIZE_MAX ? path.len : dot;
        Text step = text_slice(path, at, end);
        at = end + 1;
        if (step.len == 0)
            continue;
        if (e->kind == EX_VAR && text_eq(e->text, TEXT("var")))
            e->text = step;
        else
            e = member(p, e, step, pos);
        if (e->height > MAX_HEIGHT)
            return bad(p);
    }
    return e;
}

static Expr *cast_value(Parser *p)
{
    Pos pos = p->tok.pos;
    parse_advance(p);
    Text type = p->tok.text;
    parse_advance(p);
    Token t = p->tok;
    if (t.kind != TOK_TEXT) {
        Expr *e = t.kind == TOK_EXPR     ? backticks(p)
                  : t.kind == TOK_LBRACE ? map_literal(p)
                                         : list(p);
        e->paren = true;
        return e;
    }
    parse_advance(p);
    Expr *e = expr_new(p, EX_TEXT, pos);
    e->text = t.text;
    if (text_eq(type, TEXT("int")) || text_eq(type, TEXT("timestamp"))) {
        if (num_parse_int(t.text, &e->i))
            e->kind = EX_INT;
        else
            report(p->c, D_TYPE_EXPECTED, t.pos, NO_HINT,
                   "expected an int for !" TEXT_FMT " but found text", TEXT_ARG(type));
    } else if (text_eq(type, TEXT("decimal"))) {
        if (num_parse_dec(t.text, &e->d))
            e->kind = EX_DEC;
        else
            report(p->c, D_TYPE_EXPECTED, t.pos, NO_HINT,
                   "expected a number for !decimal but found text");
    } else if (text_eq(type, TEXT("bool"))) {
        e->kind = EX_BOOL;
        e->i = text_eq(t.text, TEXT("true")) || text_eq(t.text, TEXT("1"));
    } else if (text_eq(type, TEXT("null"))) {
        e->kind = EX_NULL;
    } else if (text_eq(type, TEXT("expr")) || text_eq(type, TEXT("array")) ||
               text_eq(type, TEXT("object"))) {
        return embedded(p, t.text, (Pos){t.pos.line, t.pos.col + 1, 1, t.pos.off + 1});
    } else if (text_eq(type, TEXT("input")) || text_eq(type, TEXT("var")) ||
               text_eq(type, TEXT("auth")) || text_eq(type, TEXT("env"))) {
        return path_of(p, type, t.text, pos);
    }
    return e;
}

static Expr *cast(Parser *p)
{
    uint32_t from = p->tok.pos.off;
    Expr *e = cast_value(p);
    return quoted(e, QUOTE_VERBATIM, from, parse_end(p));
}

/* ---- primaries ---- */

static Expr *parenthesised(Parser *p)
{
    Pos pos = p->tok.pos;
    if (!parse_enter(p))
        return bad(p);
    Context saved =
        context_enter(p, (Context){.free_lines = true, .in_query = p->in_query, .range_ok = true});
    parse_advance(p);
    Expr *e;
    if (p->tok.kind == TOK_PIPE) {
        e = parse_filters(p, NULL);
    } else if (p->tok.kind == TOK_RPAREN) {
        report(p->c, D_EXPRESSION_EXPECTED, pos, NO_HINT, "a value is expected inside ( )");
        e = bad(p);
    } else {
        e = ternary(p);
    }
    context_leave(p, saved);
    parse_expect(p, TOK_RPAREN, "')'");
    parse_leave(p);
    e->paren = true;
    return e;
}

static Expr *skip_call(Parser *p, Text name, Pos pos)
{
    report(p->c, D_CALL_SYNTAX, pos, NO_HINT, "there are no function calls; write $x|" TEXT_FMT,
           TEXT_ARG(name));
    uint32_t depth = 0;
    do {
        depth += p->tok.kind == TOK_LPAREN;
        depth -= p->tok.kind == TOK_RPAREN;
        parse_advance(p);
    } while (depth && p->tok.kind != TOK_EOF);
    return bad(p);
}

static Expr *word(Parser *p)
{
    Token t = p->tok;
    Expr *e = expr_new(p, EX_BOOL, t.pos);
    e->i = text_eq(t.text, TEXT("true"));
    if (e->i || text_eq(t.text, TEXT("false"))) {
        parse_advance(p);
        return e;
    }
    if (text_eq(t.text, TEXT("null")) || text_eq(t.text, TEXT("now"))) {
        e->kind = t.text.ptr[1] == 'u' ? EX_NULL : EX_NOW;
        parse_advance(p);
        return e;
    }
    e->kind = EX_BAD;
    Token next = second(p);
    if (t.nl && !p->free_lines) {
        report(p->c, D_EXPRESSION_EXPECTED, p->last.pos, NO_HINT, "a value is expected");
        return e;
    }
    parse_advance(p);
    if (next.kind == TOK_LPAREN && next.glued)
        return skip_call(p, t.text, t.pos);
    static const char *const hints[][2] = {
        {"True", "true"},      {"TRUE", "true"}, {"False", "false"}, {"FALSE", "false"},
        {"None", "null"},      {"NULL", "null"}, {"Null", "null"},   {"nil", "null"},
        {"undefined", "null"}, {"not", "!"},
    };
    for (size_t i = 0; i < COUNT_OF(hints); i++)
        if (text_eq(t.text, text_from(hints[i][0]))) {
            report(p->c, D_BARE_WORD, t.pos, arena_printf(p->c->a, "use %s", hints[i][1]),
                   "'" TEXT_FMT "' is not a value", TEXT_ARG(t.text));
            return e;
        }
    report(p->c, D_BARE_WORD, t.pos, NO_HINT,
           "'" TEXT_FMT "' is not a value; quote it or write $" TEXT_FMT, TEXT_ARG(t.text),
           TEXT_ARG(t.text));
    return e;
}

static Expr *primary(Parser *p)
{
    Token t = p->tok;
    Expr *e;
    switch (t.kind) {
    case TOK_INT:
    case TOK_DEC: return number(p, false, t.pos);
    case TOK_TIME:
        if (!p->times)
            report_extension(p->c, t.pos, 13, "a timestamp literal");
        e = expr_new(p, EX_INT, t.pos);
        e->i = t.i;
        e->text = t.text;
        parse_advance(p);
        return e;
    case TOK_TEXT:
        e = expr_new(p, EX_TEXT, t.pos);
        e->text = t.text;
        e->raw = text_slice(p->lx.src, t.off, t.end);
        parse_advance(p);
        return e;
    case TOK_EXPR: return backticks(p);
    case TOK_IDENT: return word(p);
    case TOK_VAR:
        e = expr_new(p, EX_VAR, t.pos);
        e->text = t.text;
        parse_advance(p);
        return e;
    case TOK_LBRACKET: return parse_enter(p) ? (e = list(p), parse_leave(p), e) : bad(p);
    case TOK_LBRACE: return parse_enter(p) ? (e = map_literal(p), parse_leave(p), e) : bad(p);
    case TOK_LPAREN: return parenthesised(p);
    case TOK_ERROR: parse_advance(p); return bad(p);
    case TOK_PIPE:
        report(p->c, D_FILTER_NEEDS_OPERAND, t.pos, NO_HINT,
               "a filter needs a value on its left; write (|uuid) for a filter without one");
        return parse_filters(p, NULL);
    case TOK_DOT: {
        Token next = second(p);
        if (next.kind == TOK_INT && next.glued) {
            report(p->c, D_BAD_NUMBER, t.pos, TEXT("write 0 in front of the point"),
                   "." TEXT_FMT " is not a number", TEXT_ARG(next.text));
            parse_advance(p);
            parse_advance(p);
            return bad(p);
        }
        break;
    }
    case TOK_SPREAD:
        report(p->c, D_UNEXPECTED_TOKEN, t.pos, NO_HINT, "'...' stands only in objects and lists");
        parse_advance(p);
        return bad(p);
    default: break;
    }
    report(p->c, D_EXPRESSION_EXPECTED, t.pos, NO_HINT, "a value is expected but found " TEXT_FMT,
           TEXT_ARG(token_text(p->c, &t)));
    return bad(p);
}

static Expr *dot(Parser *p, Expr *of)
{
    Pos at = p->tok.pos;
    parse_advance(p);
    Token t = p->tok;
    if (t.kind == TOK_LBRACKET)
        return of; /* the bracket follows */
    if (t.nl ||
        (t.kind != TOK_IDENT && t.kind != TOK_INT && t.kind != TOK_VAR && t.kind != TOK_TEXT)) {
        report(p->c, D_UNEXPECTED_TOKEN, at, NO_HINT,
               "expected a property name behind '.' but found " TEXT_FMT,
               TEXT_ARG(token_text(p->c, &t)));
        return of;
    }
    parse_advance(p);
    if (of->kind == EX_VAR && text_eq(of->text, TEXT("var")) && t.kind == TOK_IDENT) {
        of->text = t.text;
        of->quoted = true;
        return of;
    }
    Expr *e = member(p, of, t.text, t.pos);
    e->dollar = t.kind == TOK_VAR;
    e->quoted = t.kind == TOK_TEXT;
    if (e->quoted)
        report_extension(p->c, t.pos, 14, "a quoted property");
    return e;
}

static Expr *bracket(Parser *p, Expr *of)
{
    Expr *e = expr_new(p, EX_INDEX, p->tok.pos);
    bool query = p->in_query;
    parse_advance(p);
    e->a = child(p, e, of);
    if (p->tok.kind == TOK_RBRACKET && query) {
        report_extension(p->c, e->pos, 18, "[] in a column path");
        parse_advance(p);
        return e;
    }
    Context saved = context_enter(p, (Context){.free_lines = true});
    e->b = child(p, e, ternary(p));
    context_leave(p, saved);
    if (p->tok.kind == TOK_COLON)
        report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, TEXT("use |slice:"),
               "there are no slices in brackets");
    else
        parse_expect(p, TOK_RBRACKET, "']'");
    return e;
}

static Expr *postfix(Parser *p, Expr *e)
{
    for (;;) {
        if (p->tok.kind == TOK_DOT && !p->tok.nl)
            e = dot(p, e);
        else if (p->tok.kind == TOK_LBRACKET && !p->tok.nl)
            e = bracket(p, e);
        else
            return e;
        if (e->height > MAX_HEIGHT || p->c->oom)
            return e;
    }
}

Expr *parse_var_path(Parser *p)
{
    Expr *e = expr_new(p, EX_VAR, p->tok.pos);
    e->text = p->tok.text;
    parse_advance(p);
    return postfix(p, e);
}

static bool swallowed_test(const Expr *e)
{
    if (e->paren)
        return false;
    if (e->kind == EX_TERNARY)
        return true;
    return e->kind == EX_BINARY && (e->op == BIN_AND || e->op == BIN_OR || op_is_comparison(e->op));
}

static bool filter_is_inline(const FilterInfo *f)
{
    return f && f->inlined;
}

static Expr *one_filter(Parser *p, Expr *operand)
{
    Expr *e = expr_new(p, EX_FILTER, p->tok.pos);
    parse_no_comment(p);
    parse_advance(p);
    e->disabled = parse_accept(p, TOK_BANG);
    if (p->tok.kind != TOK_IDENT) {
        parse_unexpected(p, "a filter name");
        return operand ? operand : bad(p);
    }
    e->text = p->tok.text;
    e->pos = p->tok.pos;
    e->a = child(p, e, operand);
    parse_advance(p);
    const FilterInfo *info = filter_find(e->text);
    bool key = text_eq(e->text, TEXT("sort")) || text_eq(e->text, TEXT("index_by"));
    while (p->tok.kind == TOK_COLON && !p->tok.nl) {
        parse_advance(p);
        Context saved = context_enter(
            p, (Context){.no_filters = true, .in_query = p->in_query, .free_lines = p->free_lines});
        Expr *arg = ternary(p);
        context_leave(p, saved);
        if (swallowed_test(arg) && info && !filter_is_inline(info) && !key)
            report(p->c, D_OPERATOR_IN_ARGUMENT, arg->pos, NO_HINT,
                   "'" TEXT_FMT "' belongs to the argument of " TEXT_FMT
                   "; use parentheses to compare the result",
                   TEXT_ARG(arg->kind == EX_TERNARY ? TEXT("?") : bin_name(arg->op)),
                   TEXT_ARG(e->text));
        PUSH(p->c, &e->items, child(p, e, arg));
    }
    if (p->tok.kind == TOK_LPAREN && p->tok.glued)
        skip_call(p, e->text, e->pos);
    return e;
}

Expr *parse_filters(Parser *p, Expr *operand)
{
    Expr *e = operand;
    while (p->tok.kind == TOK_PIPE && !p->c->oom) {
        e = one_filter(p, e);
        p->chain_end = p->tok.off + 1;
        if (e->height > MAX_HEIGHT)
            break;
    }
    if (p->tok.kind == TOK_DOT && !p->tok.nl && p->chain_end == p->tok.off + 1) {
        report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos, TEXT("write ($x|f).y"),
               "a member of a filtered value needs parentheses");
        parse_advance(p);
        if (p->tok.kind == TOK_IDENT)
            parse_advance(p);
    }
    return e;
}

static Expr *operand(Parser *p)
{
    Token t = p->tok;
    Expr *e;
    if (t.kind == TOK_MINUS) {
        parse_advance(p);
        e = number(p, true, t.pos);
    } else {
        e = primary(p);
    }
    e = postfix(p, e);
    if (e->kind == EX_VAR && word_in("input env var", e->text))
        report_extension(p->c, e->pos, 15, "the whole object as a value");
    return p->no_filters ? e : parse_filters(p, e);
}

static Expr *unary(Parser *p)
{
    Token t = p->tok;
    if (t.kind == TOK_MINUS) {
        Token next = second(p);
        if (next.glued && (next.kind == TOK_INT || next.kind == TOK_DEC))
            return operand(p);
    }
    if (cast_here(p)) {
        Expr *e = postfix(p, cast(p));
        return p->no_filters ? e : parse_filters(p, e);
    }
    if (t.kind != TOK_MINUS && t.kind != TOK_BANG)
        return operand(p);
    if (!parse_enter(p))
        return bad(p);
    Expr *e = expr_new(p, t.kind == TOK_BANG ? EX_NOT : EX_NEG, t.pos);
    if (t.kind == TOK_MINUS)
        report_extension(p->c, t.pos, 12, "a minus sign before anything but a number");
    parse_advance(p);
    e->a = child(p, e, unary(p));
    parse_leave(p);
    return e;
}
