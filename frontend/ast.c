/* ast.c - access to the tree, and its text form for tests. */
#include "frontend/ast.h"

#include "core/json.h"

const ConstructInfo construct_info[CONSTRUCT_COUNT] = {
#define CONSTRUCT(keyword, kind, members, flags, doc) [CK_##kind] = {keyword, members, flags},
#include "core/lang/constructs.def"
#undef CONSTRUCT
    [CK_FRAGMENT] = {"fragment", "", CF_RUNS},
};

const Member *construct_member(const Construct *c, const char *name)
{
    for (size_t i = 0; i < c->members.len; i++)
        if (text_eq(c->members.ptr[i].name, text_from(name)))
            return &c->members.ptr[i];
    return NULL;
}

Text construct_text(const Construct *c, const char *name)
{
    const Member *m = construct_member(c, name);
    return m && m->value && m->value->kind == EX_TEXT ? m->value->text : (Text){0};
}

const Attr *stmt_attr(const Stmt *s, const char *name)
{
    for (size_t i = 0; i < s->attrs.len; i++)
        if (text_eq(s->attrs.ptr[i].name, text_from(name)))
            return &s->attrs.ptr[i];
    return NULL;
}

bool word_in(const char *list, Text word)
{
    Text l = text_from(list);
    for (size_t at = 0; at < l.len;) {
        size_t end = text_find(l, TEXT(" "), at);
        end = end == SIZE_MAX ? l.len : end;
        if (text_eq(text_slice(l, at, end), word))
            return true;
        at = end + 1;
    }
    return false;
}

bool expr_constant(const Expr *e)
{
    switch (e->kind) {
    case EX_BAD:
    case EX_NULL:
    case EX_BOOL:
    case EX_INT:
    case EX_DEC:
    case EX_TEXT: return true;
    case EX_LIST:
        for (size_t i = 0; i < e->items.len; i++)
            if (!expr_constant(e->items.ptr[i]))
                return false;
        return true;
    case EX_MAP:
        for (size_t i = 0; i < e->pairs.len; i++)
            if (e->pairs.ptr[i].key || !expr_constant(e->pairs.ptr[i].value))
                return false;
        return true;
    default: return false;
    }
}

const char *expr_kind_name(const Expr *e)
{
    switch (e->kind) {
    case EX_NULL: return "null";
    case EX_BOOL: return "a bool";
    case EX_INT:
    case EX_DEC: return "a number";
    case EX_TEXT: return "a text";
    case EX_LIST: return "a list";
    case EX_MAP: return "an object";
    default: return "an expression";
    }
}

Text bin_name(BinOp op)
{
    static const char *const names[BIN_COUNT] = {
        [BIN_NULLISH] = "?\?",
        [BIN_OR] = "||",
        [BIN_AND] = "&&",
        [BIN_EQ] = "==",
        [BIN_NE] = "!=",
        [BIN_SEQ] = "===",
        [BIN_SNE] = "!==",
        [BIN_LT] = "<",
        [BIN_LE] = "<=",
        [BIN_GT] = ">",
        [BIN_GE] = ">=",
        [BIN_RANGE] = "..",
        [BIN_CONCAT] = "~",
        [BIN_ADD] = "+",
        [BIN_SUB] = "-",
        [BIN_MUL] = "*",
        [BIN_DIV] = "/",
        [BIN_MOD] = "%",
        [BIN_IN] = "in",
        [BIN_NOT_IN] = "not in",
        [BIN_CONTAINS] = "contains",
        [BIN_NOT_CONTAINS] = "not contains",
        [BIN_INCLUDES] = "includes",
        [BIN_NOT_INCLUDES] = "not includes",
        [BIN_OVERLAPS] = "overlaps",
        [BIN_NOT_OVERLAPS] = "not overlaps",
        [BIN_LIKE] = "like",
        [BIN_NOT_LIKE] = "not like",
        [BIN_ILIKE] = "ilike",
        [BIN_NOT_ILIKE] = "not ilike",
        [BIN_SEARCH] = "search",
        [BIN_HAS] = "@>",
        [BIN_MATCH] = "~",
        [BIN_NMATCH] = "!~",
        [BIN_BETWEEN] = "between",
        [BIN_NOT_BETWEEN] = "not between",
    };
    return text_from(names[op]);
}

bool expr_is_text_list(const Expr *e)
{
    if (!e || e->kind != EX_LIST)
        return false;
    for (size_t i = 0; i < e->items.len; i++)
        if (e->items.ptr[i]->kind != EX_TEXT)
            return false;
    return true;
}

void expr_walk(Expr *e, bool (*fn)(Expr *e, void *ctx), void *ctx)
{
    if (!e || !fn(e, ctx))
        return;
    expr_walk(e->a, fn, ctx);
    expr_walk(e->b, fn, ctx);
    expr_walk(e->c, fn, ctx);
    if (e->kind == EX_LIST || e->kind == EX_FILTER)
        for (size_t i = 0; i < e->items.len; i++)
            expr_walk(e->items.ptr[i], fn, ctx);
    if (e->kind == EX_MAP)
        for (size_t i = 0; i < e->pairs.len; i++) {
            expr_walk(e->pairs.ptr[i].key, fn, ctx);
            expr_walk(e->pairs.ptr[i].value, fn, ctx);
        }
}

static void dump_items(const Expr *e, Buf *out)
{
    for (size_t i = 0; i < e->items.len; i++) {
        buf_char(out, ' ');
        ast_dump_expr(e->items.ptr[i], out);
    }
}

static void dump_pairs(const Expr *e, Buf *out)
{
    buf_cstr(out, "(map");
    for (size_t i = 0; i < e->pairs.len; i++) {
        const Pair *pair = &e->pairs.ptr[i];
        buf_cstr(out, pair->disabled ? " !" : " ");
        if (pair->key)
            ast_dump_expr(pair->key, out);
        else
            buf_text(out, pair->text);
        buf_char(out, ' ');
        ast_dump_expr(pair->value, out);
    }
    buf_char(out, ')');
}

static void dump_op(Text op, const Expr *a, const Expr *b, const Expr *c, Buf *out)
{
    buf_char(out, '(');
    buf_text(out, op);
    const Expr *parts[] = {a, b, c};
    for (size_t i = 0; i < 3; i++)
        if (parts[i]) {
            buf_char(out, ' ');
            ast_dump_expr(parts[i], out);
        }
    buf_char(out, ')');
}

void ast_dump_expr(const Expr *e, Buf *out)
{
    if (!e) {
        buf_cstr(out, "nil");
        return;
    }
    switch (e->kind) {
    case EX_BAD: buf_cstr(out, "bad"); break;
    case EX_NULL: buf_cstr(out, "null"); break;
    case EX_BOOL: buf_cstr(out, e->i ? "true" : "false"); break;
    case EX_INT: json_write_int(out, e->i); break;
    case EX_DEC: buf_printf(out, "%.17gd", e->d); break;
    case EX_TEXT: json_write_text(out, e->text); break;
    case EX_NOW: buf_cstr(out, "now"); break;
    case EX_VAR: buf_printf(out, "$" TEXT_FMT, TEXT_ARG(e->text)); break;
    case EX_LIST:
        buf_cstr(out, "(list");
        dump_items(e, out);
        buf_char(out, ')');
        break;
    case EX_MAP: dump_pairs(e, out); break;
    case EX_SPREAD: dump_op(TEXT("..."), e->a, NULL, NULL, out); break;
    case EX_MEMBER:
        buf_cstr(out, "(. ");
        ast_dump_expr(e->a, out);
        buf_printf(out, e->dollar ? " $" TEXT_FMT ")" : " " TEXT_FMT ")", TEXT_ARG(e->text));
        break;
    case EX_INDEX: dump_op(TEXT("[]"), e->a, e->b, NULL, out); break;
    case EX_FILTER:
        buf_printf(out, e->disabled ? "(|!" TEXT_FMT " " : "(|" TEXT_FMT " ", TEXT_ARG(e->text));
        ast_dump_expr(e->a, out);
        dump_items(e, out);
        buf_char(out, ')');
        break;
    case EX_NOT: dump_op(TEXT("!"), e->a, NULL, NULL, out); break;
    case EX_NEG: dump_op(TEXT("neg"), e->a, NULL, NULL, out); break;
    case EX_BINARY:
        buf_char(out, '(');
        buf_text(out, bin_name(e->op));
        buf_cstr(out, e->optional ? "? " : " ");
        ast_dump_expr(e->a, out);
        buf_char(out, ' ');
        ast_dump_expr(e->b, out);
        buf_char(out, ')');
        break;
    case EX_TERNARY: dump_op(TEXT("?:"), e->a, e->b, e->c, out); break;
    case EX_BETWEEN: dump_op(bin_name(e->op), e->a, e->b, e->c, out); break;
    }
}

static void dump_stmt(const Stmt *s, Buf *out)
{
    buf_char(out, '(');
    if (s->disabled)
        buf_char(out, '!');
    buf_text(out, s->keyword);
    if (s->name.ptr)
        buf_printf(out, " \"" TEXT_FMT "\"", TEXT_ARG(s->name));
    if (s->operand) {
        buf_char(out, ' ');
        ast_dump_expr(s->operand, out);
    }
    if (s->cond) {
        buf_cstr(out, " if ");
        ast_dump_expr(s->cond, out);
    }
    for (size_t i = 0; i < s->attrs.len; i++) {
        buf_printf(out, " " TEXT_FMT "=", TEXT_ARG(s->attrs.ptr[i].name));
        if (s->attrs.ptr[i].value)
            ast_dump_expr(s->attrs.ptr[i].value, out);
        else
            ast_dump_block(&s->attrs.ptr[i].stack, out);
    }
    for (size_t i = 0; i < s->branches.len; i++) {
        const Branch *b = &s->branches.ptr[i];
        buf_char(out, ' ');
        if (b->cond)
            ast_dump_expr(b->cond, out);
        if (b->var)
            ast_dump_expr(b->var, out);
        ast_dump_block(&b->body, out);
        if (b->breaks)
            buf_cstr(out, " break");
    }
    if (s->as) {
        buf_cstr(out, " as ");
        ast_dump_expr(s->as, out);
    }
    buf_char(out, ')');
}

void ast_dump_block(const Block *b, Buf *out)
{
    buf_char(out, '{');
    for (size_t i = 0; i < b->items.len; i++) {
        if (i)
            buf_char(out, ' ');
        dump_stmt(b->items.ptr[i], out);
    }
    buf_char(out, '}');
}
