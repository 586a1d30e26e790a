/* format_expr.c - expressions in canonical layout: minimal parentheses, literals on one line while
 * they are short, long filter chains with a filter per line. */
#include "frontend/format.h"

enum {
    MAX_LITERAL = 64, /* an object or list on one line is shorter */
    MAX_CHAIN = 32,   /* so is a chain of filters, and it has at most */
    MAX_CHAIN_FILTERS = 2,
    MAX_QUOTED = 48, /* longer texts with line breaks, and those with more than */
    MAX_QUOTED_BREAKS = 5,
};

/* Tightness of what is printed; operators are those of parse_expr.c. */
enum { LV_TERNARY = 1, LV_UNARY = 20, LV_OPERAND, LV_POSTFIX };

static bool stop(Fmt *f)
{
    if (f->flat_end && f->out.len > f->flat_end)
        f->flat_failed = true;
    return f->flat_failed;
}

/* ---- texts ---- */

void fmt_text(Fmt *f, Text value)
{
    static const char from[] = "\n\t\r\a\b\v\f\\\"", to[] = "ntrabvf\\\"";
    buf_char(&f->out, '"');
    for (size_t i = 0; i < value.len; i++) {
        char ch = value.ptr[i];
        const char *known = ch ? strchr(from, ch) : NULL;
        if (known)
            buf_printf(&f->out, "\\%c", to[known - from]);
        else if ((unsigned char)ch < 0x20 || ch == 0x7F)
            buf_printf(&f->out, "\\u%04x", (unsigned)(unsigned char)ch);
        else
            buf_char(&f->out, ch);
    }
    buf_char(&f->out, '"');
}

/* Whether a text can stand between lines of three quotes. */
static bool block_text_ok(Text t)
{
    bool start = true;
    for (size_t i = 0; i < t.len; i++) {
        char ch = t.ptr[i];
        if (((unsigned char)ch < 0x20 && ch != '\n' && ch != '\t') || ch == 0x7F)
            return false;
        if (start && ch == '"' && text_starts(text_slice(t, i, t.len), TEXT("\"\"\"")))
            return false;
        start = ch == '\n' || (start && (ch == ' ' || ch == '\t'));
    }
    return true;
}

static void block_text(Fmt *f, Text t)
{
    buf_cstr(&f->out, "\"\"\"");
    f->indent++;
    for (size_t at = 0; at <= t.len;) {
        size_t end = text_find(t, TEXT("\n"), at);
        end = end == SIZE_MAX ? t.len : end;
        if (end > at)
            fmt_line(f);
        else
            buf_char(&f->out, '\n');
        buf_text(&f->out, text_slice(t, at, end));
        at = end + 1;
    }
    fmt_line(f);
    f->indent--;
    buf_cstr(&f->out, "\"\"\"");
}

static void text_literal(Fmt *f, const Expr *e)
{
    size_t breaks = 0;
    for (size_t i = 0; i < e->text.len; i++)
        breaks += e->text.ptr[i] == '\n';
    if (breaks && (breaks > MAX_QUOTED_BREAKS || utf8_count(e->text) > MAX_QUOTED) &&
        block_text_ok(e->text)) {
        if (f->flat_end)
            f->flat_failed = true;
        else
            block_text(f, e->text);
        return;
    }
    bool as_written = e->raw.len && e->raw.ptr[0] == '"' && !text_starts(e->raw, TEXT("\"\"\"")) &&
                      !memchr(e->raw.ptr, '\n', e->raw.len);
    if (as_written || (e->raw.len && text_is_ident(e->raw))) /* a bare word of a default */
        buf_text(&f->out, e->raw);
    else
        fmt_text(f, e->text);
}

/* ---- objects and lists ---- */

static bool bare_key(Text t)
{
    return text_is_ident(t) && !word_in("true false null now", t);
}

/* a.b.c of words */
static bool dotted_key(Text t)
{
    for (size_t at = 0; at <= t.len;) {
        size_t end = text_find(t, TEXT("."), at);
        end = end == SIZE_MAX ? t.len : end;
        if (!text_is_ident(text_slice(t, at, end)))
            return false;
        at = end + 1;
    }
    return true;
}

static char source_at(const Fmt *f, uint32_t off)
{
    return off < f->src.len ? f->src.ptr[off] : 0;
}

static void pair_key(Fmt *f, const Pair *p)
{
    if (p->disabled)
        buf_char(&f->out, '!');
    uint32_t off = p->pos.off;
    while (p->disabled && (source_at(f, off) == '!' || source_at(f, off) == ' '))
        off++;
    char first = source_at(f, off);
    if (!p->key) {
        if (bare_key(p->text) || (first != '"' && first != '\'' && dotted_key(p->text) &&
                                  text_find(p->text, TEXT("."), 0) != SIZE_MAX))
            buf_text(&f->out, p->text);
        else
            fmt_text(f, p->text);
        return;
    }
    if (first == '[')
        buf_char(&f->out, '[');
    fmt_expr(f, p->key, 0);
    if (first == '[')
        buf_char(&f->out, ']');
}

static void spread(Fmt *f, const Expr *e)
{
    buf_cstr(&f->out, "...");
    fmt_expr(f, e->a, 0);
}

static void pair_value(Fmt *f, const Pair *p)
{
    if (p->value->kind == EX_SPREAD) {
        spread(f, p->value);
    } else {
        buf_cstr(&f->out, ": ");
        fmt_expr(f, p->value, 0);
    }
}

static bool is_spread(const Pair *p)
{
    return p->value->kind == EX_SPREAD && !p->key && !p->text.ptr;
}

static size_t key_width(Fmt *f, const Pair *p)
{
    size_t from = f->out.len;
    size_t flat = f->flat_end;
    f->flat_end = SIZE_MAX;
    pair_key(f, p);
    f->flat_end = flat;
    size_t width = utf8_count((Text){f->out.ptr + from, f->out.len - from});
    f->out.len = from;
    return width;
}

static void map_flat(Fmt *f, const Expr *e)
{
    buf_char(&f->out, '{');
    for (size_t i = 0; i < e->pairs.len && !stop(f); i++) {
        if (i)
            buf_cstr(&f->out, ", ");
        if (!is_spread(&e->pairs.ptr[i]))
            pair_key(f, &e->pairs.ptr[i]);
        pair_value(f, &e->pairs.ptr[i]);
    }
    buf_char(&f->out, '}');
}

static void map_lines(Fmt *f, const Expr *e)
{
    size_t widest = 0;
    for (size_t i = 0; i < e->pairs.len; i++)
        if (!is_spread(&e->pairs.ptr[i])) {
            size_t width = key_width(f, &e->pairs.ptr[i]);
            widest = width > widest ? width : widest;
        }
    buf_char(&f->out, '{');
    f->indent++;
    for (size_t i = 0; i < e->pairs.len; i++) {
        const Pair *p = &e->pairs.ptr[i];
        Mark at = fmt_lead(f, p->pos.off, i == 0, false);
        if (!is_spread(p)) {
            size_t pad = widest - key_width(f, p);
            pair_key(f, p);
            for (; pad; pad--)
                buf_char(&f->out, ' ');
        }
        pair_value(f, p);
        fmt_hoist(f, &at, p->end);
    }
    fmt_tail(f, e->end ? e->end - 1 : 0, e->pairs.len == 0);
    f->indent--;
    fmt_line(f);
    buf_char(&f->out, '}');
}

static void item(Fmt *f, const Expr *e)
{
    if (e->kind == EX_SPREAD)
        spread(f, e);
    else
        fmt_expr(f, e, 0);
}

static void list_flat(Fmt *f, const Expr *e)
{
    buf_char(&f->out, '[');
    for (size_t i = 0; i < e->items.len && !stop(f); i++) {
        if (i)
            buf_cstr(&f->out, ", ");
        item(f, e->items.ptr[i]);
    }
    buf_char(&f->out, ']');
}

static void list_lines(Fmt *f, const Expr *e)
{
    buf_char(&f->out, '[');
    f->indent++;
    for (size_t i = 0; i < e->items.len; i++) {
        Mark at = fmt_lead(f, e->items.ptr[i]->start, i == 0, false);
        item(f, e->items.ptr[i]);
        fmt_hoist(f, &at, e->items.ptr[i]->end);
    }
    fmt_tail(f, e->end ? e->end - 1 : 0, e->items.len == 0);
    f->indent--;
    fmt_line(f);
    buf_char(&f->out, ']');
}

/* Prints with fn on one line; false and nothing printed when more than `max` bytes are needed. */
static bool try_flat(Fmt *f, const Expr *e, size_t max, void (*fn)(Fmt *f, const Expr *e))
{
    if (f->flat_end) { /* inside another one */
        fn(f, e);
        stop(f);
        return true;
    }
    size_t from = f->out.len;
    f->flat_end = from + max;
    fn(f, e);
    bool ok = !stop(f);
    f->flat_end = 0;
    f->flat_failed = false;
    if (!ok)
        f->out.len = from;
    return ok;
}

static void literal(Fmt *f, const Expr *e)
{
    bool map = e->kind == EX_MAP, nf = f->no_filters, chains = f->inline_chains;
    f->no_filters = f->inline_chains = false;
    if (e->end && fmt_comment_before(f, e->end)) {
        if (f->flat_end)
            f->flat_failed = true;
        else if (map)
            map_lines(f, e);
        else
            list_lines(f, e);
    } else if (!try_flat(f, e, MAX_LITERAL - 1, map ? map_flat : list_flat)) {
        if (map)
            map_lines(f, e);
        else
            list_lines(f, e);
    }
    f->no_filters = nf;
    f->inline_chains = chains;
}

/* ---- filters ---- */

/* Former names are replaced, but some of them are filters of columns. */
static Text filter_name(const Expr *e)
{
    const FilterInfo *info = filter_find(e->text);
    return info && !(e->a && has_column(e->a)) ? text_from(info->name) : e->text;
}

static void filter_arg(Fmt *f, const Expr *e)
{
    buf_char(&f->out, ':');
    bool parens =
        e->paren && (e->kind == EX_TERNARY || e->kind == EX_BINARY) && e->quote == QUOTE_NONE;
    if (parens) {
        fmt_parens(f, e);
        return;
    }
    bool saved = f->no_filters;
    f->no_filters = true;
    fmt_expr(f, e, 0);
    f->no_filters = saved;
}

static void one_filter(Fmt *f, const Expr *e)
{
    buf_cstr(&f->out, e->disabled ? "|!" : "|");
    buf_text(&f->out, filter_name(e));
    for (size_t i = 0; i < e->items.len && !stop(f); i++)
        filter_arg(f, e->items.ptr[i]);
}

/* The filters of a chain, innermost first; stops at `base`. */
static void chain_flat(Fmt *f, const Expr *e)
{
    if (e->a && e->a->kind == EX_FILTER && e->a->quote == QUOTE_NONE)
        chain_flat(f, e->a);
    if (!stop(f))
        one_filter(f, e);
}

static void chain_lines(Fmt *f, const Expr *e, bool first)
{
    if (e->a && e->a->kind == EX_FILTER && e->a->quote == QUOTE_NONE)
        chain_lines(f, e->a, first);
    else if (first) { /* a generator: nothing stands in front of it */
        one_filter(f, e);
        return;
    }
    fmt_line(f);
    one_filter(f, e);
}

static void chain(Fmt *f, const Expr *e)
{
    size_t count = 0;
    const Expr *base = e;
    for (; base && base->kind == EX_FILTER && (base == e || base->quote == QUOTE_NONE);
         base = base->a)
        count++;
    if (base)
        fmt_expr(f, base, LV_POSTFIX);
    if (f->inline_chains) {
        chain_flat(f, e);
        return;
    }
    if (count <= MAX_CHAIN_FILTERS && try_flat(f, e, MAX_CHAIN, chain_flat))
        return;
    if (f->flat_end) {
        f->flat_failed = true;
        return;
    }
    f->indent++;
    chain_lines(f, e, base == NULL);
    f->indent--;
}

/* ---- operators ---- */

static bool ends_in_filter(const Expr *e)
{
    while ((e->kind == EX_NOT || e->kind == EX_NEG) && e->quote == QUOTE_NONE)
        e = e->a;
    return e->kind == EX_FILTER && e->quote == QUOTE_NONE;
}

static void side(Fmt *f, const Expr *parent, const Expr *e, int min)
{
    bool apart = e->quote == QUOTE_NONE &&
                 (ends_in_filter(e) || e->kind == EX_TERNARY ||
                  (e->kind == EX_BINARY &&
                   (ops_need_parens(parent->op, e->op) ||
                    (e->paren && op_is_comparison(parent->op) && op_is_comparison(e->op)))));
    if (apart)
        fmt_parens(f, e);
    else
        fmt_expr(f, e, min);
}

static void binary(Fmt *f, const Expr *e)
{
    int level = op_level(e->op);
    bool right = e->op == BIN_NULLISH;
    side(f, e, e->a, right ? level + 1 : level);
    buf_char(&f->out, ' ');
    buf_text(&f->out, bin_name(e->op));
    buf_cstr(&f->out, e->optional ? "? " : " ");
    if (!stop(f))
        side(f, e, e->b, right ? level : level + 1);
}

static void between(Fmt *f, const Expr *e)
{
    side(f, e, e->a, op_level(BIN_BETWEEN));
    buf_char(&f->out, ' ');
    buf_text(&f->out, bin_name(e->op));
    buf_cstr(&f->out, e->optional ? "? " : " ");
    side(f, e, e->b, op_level(BIN_RANGE));
    if (e->c) {
        buf_char(&f->out, ':');
        side(f, e, e->c, op_level(BIN_RANGE));
    }
}

static void ternary_part(Fmt *f, const Expr *e, int min)
{
    if (ends_in_filter(e))
        fmt_parens(f, e);
    else
        fmt_expr(f, e, min);
}

static void ternary(Fmt *f, const Expr *e)
{
    ternary_part(f, e->a, LV_TERNARY + 1);
    if (e->b) {
        buf_cstr(&f->out, " ? ");
        ternary_part(f, e->b, LV_TERNARY);
        buf_cstr(&f->out, " : ");
    } else {
        buf_cstr(&f->out, " ?: ");
    }
    if (!stop(f))
        ternary_part(f, e->c, LV_TERNARY);
}

/* "-" in front of a number is part of it, "!" in front of a word may be a cast. */
static bool leaf_needs_parens(const Expr *e)
{
    while (e->quote == QUOTE_NONE && e->a &&
           (e->kind == EX_MEMBER || e->kind == EX_INDEX || e->kind == EX_FILTER))
        e = e->a;
    return e->kind == EX_INT || e->kind == EX_DEC || e->kind == EX_NULL;
}

static void prefix(Fmt *f, const Expr *e)
{
    buf_char(&f->out, e->kind == EX_NOT ? '!' : '-');
    if (leaf_needs_parens(e->a) || (e->kind == EX_NEG && e->a->kind == EX_NEG))
        fmt_parens(f, e->a);
    else
        fmt_expr(f, e->a, LV_UNARY);
}

/* ---- paths ---- */

static void variable(Fmt *f, const Expr *e)
{
    buf_cstr(&f->out, e->quoted ? "$var." : "$");
    buf_text(&f->out, e->text);
}

static void member(Fmt *f, const Expr *e)
{
    fmt_expr(f, e->a, LV_POSTFIX);
    buf_char(&f->out, '.');
    if (e->dollar)
        buf_char(&f->out, '$');
    if (e->quoted)
        fmt_text(f, e->text);
    else
        buf_text(&f->out, e->text);
}

static void put_index(Fmt *f, const Expr *e)
{
    fmt_expr(f, e->a, LV_POSTFIX);
    bool nf = f->no_filters, chains = f->inline_chains;
    f->no_filters = f->inline_chains = false;
    buf_char(&f->out, '[');
    if (e->b)
        fmt_expr(f, e->b, 0);
    buf_char(&f->out, ']');
    f->no_filters = nf;
    f->inline_chains = chains;
}

/* ---- anything ---- */

static int level_of(const Expr *e)
{
    switch (e->kind) {
    case EX_TERNARY: return LV_TERNARY;
    case EX_BINARY:
    case EX_BETWEEN: return op_level(e->op);
    case EX_NOT:
    case EX_NEG: return LV_UNARY;
    case EX_FILTER: return LV_OPERAND;
    default: return LV_POSTFIX;
    }
}

/* Parentheses with a meaning of their own: a path reads as null where a step is missing, a text is
 * no key name. */
static bool keeps_parens(const Expr *e)
{
    return e->paren &&
           (e->kind == EX_MEMBER || e->kind == EX_INDEX || e->kind == EX_VAR || e->kind == EX_TEXT);
}

static void bare(Fmt *f, const Expr *e)
{
    switch (e->kind) {
    case EX_BAD: break;
    case EX_NULL: buf_cstr(&f->out, "null"); break;
    case EX_BOOL: buf_cstr(&f->out, e->i ? "true" : "false"); break;
    case EX_INT:
    case EX_DEC: buf_text(&f->out, e->text); break;
    case EX_TEXT: text_literal(f, e); break;
    case EX_NOW: buf_cstr(&f->out, "now"); break;
    case EX_VAR: variable(f, e); break;
    case EX_LIST:
    case EX_MAP: literal(f, e); break;
    case EX_SPREAD: spread(f, e); break;
    case EX_MEMBER: member(f, e); break;
    case EX_INDEX: put_index(f, e); break;
    case EX_FILTER: chain(f, e); break;
    case EX_NOT:
    case EX_NEG: prefix(f, e); break;
    case EX_BINARY: binary(f, e); break;
    case EX_TERNARY: ternary(f, e); break;
    case EX_BETWEEN: between(f, e); break;
    }
}

void fmt_parens(Fmt *f, const Expr *e)
{
    bool nf = f->no_filters, chains = f->inline_chains;
    f->no_filters = f->inline_chains = false;
    buf_char(&f->out, '(');
    f->direct = true;
    if (keeps_parens(e) && e->quote == QUOTE_NONE)
        bare(f, e);
    else
        fmt_expr(f, e, 0);
    f->direct = false;
    buf_char(&f->out, ')');
    f->no_filters = nf;
    f->inline_chains = chains;
}

/* Inside backticks a backtick and two backslashes are escaped. */
static void escape_backticks(Fmt *f, size_t from)
{
    Buf b = BUF_INIT;
    buf_append(&b, f->out.ptr + from, f->out.len - from);
    f->out.len = from;
    for (size_t i = 0; i < b.len; i++) {
        char ch = b.ptr[i], next = i + 1 < b.len ? b.ptr[i + 1] : '`';
        if (ch == '`' || (ch == '\\' && (next == '`' || next == '\\')))
            buf_char(&f->out, '\\');
        buf_char(&f->out, ch);
    }
    f->out.failed |= b.failed;
    buf_deinit(&b);
}

static void quoted(Fmt *f, const Expr *e)
{
    if (e->quote == QUOTE_VERBATIM) {
        Text t = text_slice(f->src, e->start, e->end);
        if (f->flat_end && memchr(t.ptr, '\n', t.len))
            f->flat_failed = true;
        buf_text(&f->out, t);
        return;
    }
    bool fence = e->quote == QUOTE_FENCE, nf = f->no_filters, chains = f->inline_chains;
    f->no_filters = f->inline_chains = false;
    if (fence && f->flat_end) {
        f->flat_failed = true;
    } else {
        buf_cstr(&f->out, fence ? "```" : "`");
        f->indent += fence;
        if (fence)
            fmt_line(f);
        size_t from = f->out.len;
        f->direct = true;
        bare(f, e);
        f->direct = false;
        if (fence)
            fmt_line(f);
        else
            escape_backticks(f, from);
        f->indent -= fence;
        buf_cstr(&f->out, fence ? "```" : "`");
    }
    f->no_filters = nf;
    f->inline_chains = chains;
}

void fmt_expr(Fmt *f, const Expr *e, int min)
{
    bool direct = f->direct;
    f->direct = false;
    if (!e || stop(f))
        return;
    if (e->quote != QUOTE_NONE) {
        quoted(f, e);
        return;
    }
    const Expr *base = e;
    while (base->kind == EX_FILTER && base->a)
        base = base->a;
    bool generator = base->kind == EX_FILTER; /* (|uuid) */
    bool range = e->kind == EX_BINARY && e->op == BIN_RANGE;
    bool parens = level_of(e) < min || keeps_parens(e) || ((generator || range) && !direct) ||
                  (e->kind == EX_FILTER && f->no_filters);
    if (parens)
        fmt_parens(f, e);
    else
        bare(f, e);
}
