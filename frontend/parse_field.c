/* parse_field.c - input and schema fields. Language specification, section 3. */
#include "frontend/ast.h"

#include "core/num.h"

typedef struct TypeInfo {
    const char *name, *value, *filters, *wrong;
} TypeInfo;

static const TypeInfo types[] = {
#define TYPE(name, kind, value, sql, schema, filters, wrong) {name, value, filters, wrong},
#include "core/lang/types.def"
#undef TYPE
};

static const TypeInfo *type_find(Text name)
{
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (text_eq(name, text_from(types[i].name)))
            return &types[i];
    return NULL;
}

static void unknown_type(Parser *p, Text name, Pos pos)
{
    Text near = {0};
    if (text_eq(name, TEXT("array")) || text_eq(name, TEXT("list")))
        near = TEXT("text[]");
    for (size_t i = 0; i < COUNT_OF(types) && !near.ptr; i++)
        if (word_in(types[i].wrong, name))
            near = text_from(types[i].name);
    Text names[COUNT_OF(types)];
    for (size_t i = 0; i < COUNT_OF(types); i++)
        names[i] = text_from(types[i].name);
    if (!near.ptr)
        near = text_nearest(name, names, COUNT_OF(types));
    report(p->c, D_UNKNOWN_TYPE, pos, hint_near(p->c, near), "unknown type '" TEXT_FMT "'",
           TEXT_ARG(name));
}

/* ---- input filters: read from the source, since raw arguments are no tokens ---- */

typedef struct Scan {
    Parser *p;
    Lexer lx; /* at the character to look at */
    const TypeInfo *type;
    Field *f;
} Scan;

static int at(const Scan *s, uint32_t ahead)
{
    size_t i = (size_t)s->lx.at + ahead;
    return i < s->lx.src.len ? (unsigned char)s->lx.src.ptr[i] : -1;
}

static void blanks(Scan *s)
{
    while (at(s, 0) == ' ' || at(s, 0) == '\t')
        lex_seek(&s->lx, s->lx.at + 1);
}

static Pos scan_pos(const Scan *s)
{
    return (Pos){s->lx.line, s->lx.col, 1, s->lx.base + s->lx.at};
}

static Expr *text_arg(Scan *s, Text t, Pos pos)
{
    Expr *e = expr_new(s->p, EX_TEXT, pos);
    e->text = t;
    return e;
}

/* A regular expression between slashes, up to the next unescaped one on the line. */
static Expr *regex_arg(Scan *s)
{
    Pos pos = scan_pos(s);
    uint32_t from = s->lx.at, end = from + 1;
    const Text src = s->lx.src;
    while (end < src.len && src.ptr[end] != '\n' && src.ptr[end] != '/')
        end += src.ptr[end] == '\\' && end + 1 < src.len && src.ptr[end + 1] != '\n' ? 2 : 1;
    if (end >= src.len || src.ptr[end] != '/') {
        report(s->p->c, D_UNTERMINATED_STRING, pos, NO_HINT,
               "the regular expression starting here is never closed");
        end = end < src.len ? end : (uint32_t)src.len;
        lex_seek(&s->lx, end);
        return text_arg(s, TEXT(""), pos);
    }
    lex_seek(&s->lx, end + 1);
    return text_arg(s, text_slice(src, from, end + 1), pos);
}

static Expr *raw_arg(Scan *s)
{
    Pos pos = scan_pos(s);
    Text src = s->lx.src;
    uint32_t from = s->lx.at, end = from, depth = 0;
    while (end < src.len && src.ptr[end] != '\n') {
        char ch = src.ptr[end];
        if (ch == '\\' && end + 1 < src.len && src.ptr[end + 1] != '\n') {
            end += 2;
            continue;
        }
        if (depth == 0 && (ch == '|' || ch == ':'))
            break;
        if (ch == '/' && end + 1 < src.len && src.ptr[end + 1] == '/' && end > from &&
            src.ptr[end - 1] == ' ')
            break;
        depth += ch == '(' || ch == '[';
        depth -= depth && (ch == ')' || ch == ']');
        end++;
    }
    Text raw = text_trim(text_slice(src, from, end), TEXT(" \t\r"));
    if (raw.len >= 2 && (text_ends(raw, TEXT(" {")) || text_ends(raw, TEXT(" }"))))
        raw.len -= 2;
    raw = text_trim(raw, TEXT(" \t\r"));
    if (!text_is_ident(raw))
        report_extension(s->p->c, pos, 20, "raw text in an input filter");
    lex_seek(&s->lx, (uint32_t)(raw.ptr - src.ptr) + (uint32_t)raw.len);
    return text_arg(s, raw, pos);
}

static Expr *token_arg(Scan *s)
{
    Token t = lex_next(&s->lx);
    bool negative = t.kind == TOK_MINUS;
    if (negative)
        t = lex_next(&s->lx);
    Expr *e = text_arg(s, t.text, t.pos);
    switch (t.kind) {
    case TOK_INT:
        e->kind = EX_INT;
        e->i = negative ? -t.i : t.i;
        break;
    case TOK_DEC:
        e->kind = EX_DEC;
        e->d = negative ? -t.d : t.d;
        break;
    case TOK_IDENT:
        if (text_eq(t.text, TEXT("true")) || text_eq(t.text, TEXT("false"))) {
            e->kind = EX_BOOL;
            e->i = t.text.len == 4;
        }
        break;
    case TOK_TEXT: break;
    default:
        report(s->p->c, D_FILTER_ARGUMENT, t.pos, NO_HINT,
               "expected a number, a word or a quoted text but found " TEXT_FMT,
               TEXT_ARG(token_text(s->p->c, &t)));
        e->kind = EX_BAD;
        break;
    }
    return e;
}

static bool raw_filter(Text name)
{
    return text_eq(name, TEXT("ok")) || text_eq(name, TEXT("prevent")) ||
           text_eq(name, TEXT("startsWith")) || text_eq(name, TEXT("pattern"));
}

/* The argument class of a filter on a type: '-' none, 0 = not known. */
static char filter_class(const TypeInfo *type, bool list, Text name)
{
    if (list && (text_eq(name, TEXT("min")) || text_eq(name, TEXT("max")) ||
                 text_eq(name, TEXT("minlist")) || text_eq(name, TEXT("maxlist"))))
        return 'n';
    if (text_eq(name, TEXT("minlist")) || text_eq(name, TEXT("maxlist")))
        return 0;
    Text l = text_from(type ? type->filters : "");
    for (size_t from = 0; from < l.len;) {
        size_t end = text_find(l, TEXT(" "), from);
        end = end == SIZE_MAX ? l.len : end;
        Text item = text_slice(l, from, end);
        size_t colon = text_find(item, TEXT(":"), 0);
        if (text_eq(text_slice(item, 0, colon == SIZE_MAX ? item.len : colon), name))
            return colon == SIZE_MAX ? '-' : item.ptr[colon + 1];
        from = end + 1;
    }
    return 0;
}

static bool known_anywhere(Text name)
{
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (filter_class(&types[i], false, name))
            return true;
    return false;
}

static void check_in_filter(Scan *s, const InFilter *filter)
{
    char cls = filter_class(s->type, s->f->list, filter->name);
    if (!s->type)
        return;
    if (!cls) {
        bool known = known_anywhere(filter->name);
        report(s->p->c, known ? D_FILTER_NOT_FOR_TYPE : D_UNKNOWN_FILTER, filter->pos, NO_HINT,
               known ? "'" TEXT_FMT "' cannot be applied to %s"
                     : "unknown input filter '" TEXT_FMT "' for %s",
               TEXT_ARG(filter->name), s->type->name);
        return;
    }
    size_t want = cls != '-', most = cls == 'r' ? 2 : want;
    if (filter->args.len < want) {
        report(s->p->c, D_FILTER_ARGUMENT, filter->pos, NO_HINT, "'" TEXT_FMT "' needs an argument",
               TEXT_ARG(filter->name));
        return;
    }
    if (filter->args.len > most)
        report(s->p->c, D_FILTER_ARGUMENT_W, filter->pos, NO_HINT,
               "'" TEXT_FMT "' takes %zu arguments, %zu given", TEXT_ARG(filter->name), most,
               filter->args.len);
    const Expr *arg = want ? filter->args.ptr[0] : NULL;
    if (arg && cls == 'n' && arg->kind != EX_INT && arg->kind != EX_DEC && arg->kind != EX_BAD)
        report(s->p->c, D_FILTER_ARGUMENT, arg->pos, NO_HINT, "'" TEXT_FMT "' needs a number",
               TEXT_ARG(filter->name));
}

/* Behind a ':' of a filter. */
static Expr *filter_arg(Scan *s, const InFilter *filter)
{
    blanks(s);
    uint32_t start = s->lx.at;
    Expr *e = at(s, 0) == '/'                               ? regex_arg(s)
              : raw_filter(filter->name) && at(s, 0) != '"' ? raw_arg(s)
                                                            : token_arg(s);
    e->start = start;
    e->end = s->lx.at;
    return e;
}

static Text scan_word(Scan *s)
{
    uint32_t from = s->lx.at, end = from;
    Text src = s->lx.src;
    while (end < src.len &&
           ((src.ptr[end] | 32) >= 'a' ? (src.ptr[end] | 32) <= 'z' || src.ptr[end] == '_'
                                       : src.ptr[end] >= '0' && src.ptr[end] <= '9'))
        end++;
    lex_seek(&s->lx, end);
    return text_slice(src, from, end);
}

static bool one_in_filter(Scan *s)
{
    InFilter filter = {.pos = scan_pos(s)};
    blanks(s);
    if (at(s, 0) == '!') {
        filter.disabled = true;
        lex_seek(&s->lx, s->lx.at + 1);
    }
    if (at(s, 0) == '@') { /* @:table=36, a legacy link */
        report_extension(s->p->c, filter.pos, 20, "a legacy table link");
        report(s->p->c, D_OLD_SPELLING, filter.pos, NO_HINT, "'@:' links are ignored");
        while (at(s, 0) >= 0 && at(s, 0) != '|' && at(s, 0) != ' ' && at(s, 0) != '\n' &&
               at(s, 0) != '\r')
            lex_seek(&s->lx, s->lx.at + 1);
        s->f->link = text_slice(s->lx.src, filter.pos.off, s->lx.at);
        return true;
    }
    filter.pos = scan_pos(s);
    filter.name = scan_word(s);
    filter.pos.len = (uint32_t)filter.name.len;
    if (filter.name.len == 0) {
        report(s->p->c, D_UNEXPECTED_TOKEN, filter.pos, NO_HINT,
               "expected the name of an input filter");
        return false;
    }
    if (text_eq(filter.name, TEXT("to_lower")) || text_eq(filter.name, TEXT("to_upper"))) {
        report_extension(s->p->c, filter.pos, 15, "this spelling of an input filter");
        filter.name = text_slice(filter.name, 3, filter.name.len);
    }
    for (;;) {
        Lexer before = s->lx;
        blanks(s);
        if (at(s, 0) != ':') {
            s->lx = before;
            break;
        }
        lex_seek(&s->lx, s->lx.at + 1);
        PUSH(s->p->c, &filter.args, filter_arg(s, &filter));
    }
    check_in_filter(s, &filter);
    PUSH(s->p->c, &s->f->filters, filter);
    return true;
}

/* The token in hand is '='. */
static void in_filters(Parser *p, Field *f, const TypeInfo *type)
{
    Scan s = {.p = p, .lx = p->lx, .type = type, .f = f};
    while (one_in_filter(&s)) {
        Lexer before = s.lx;
        blanks(&s);
        if (at(&s, 0) != '|') {
            s.lx = before;
            break;
        }
        lex_seek(&s.lx, s.lx.at + 1);
    }
    p->lx = s.lx;
    p->lx.last = TOK_IDENT;
    parse_advance(p);
}

/* ---- fields ---- */

static void slice(Parser *p, Field *f)
{
    Pos pos = p->tok.pos;
    parse_advance(p);
    f->list = true;
    bool negative = false;
    if (p->tok.kind == TOK_MINUS)
        negative = parse_accept(p, TOK_MINUS);
    if (p->tok.kind == TOK_INT) {
        f->has_min = true;
        f->min = p->tok.i;
        parse_advance(p);
    }
    bool colon = parse_accept(p, TOK_COLON);
    if (p->tok.kind == TOK_MINUS)
        negative = parse_accept(p, TOK_MINUS);
    if (p->tok.kind == TOK_INT) {
        f->has_max = true;
        f->max = p->tok.i;
        parse_advance(p);
    }
    if (negative || (f->has_min && !colon) || (f->has_min && f->has_max && f->max < f->min))
        report(p->c, D_BAD_SLICE, pos, NO_HINT, "a size limit is written [min:max]");
    if (!parse_expect(p, TOK_RBRACKET, "']'"))
        return;
    if (p->tok.kind == TOK_LBRACKET) {
        report(p->c, D_NESTED_ARRAY, p->tok.pos, TEXT("use json"), "lists of lists are not a type");
        while (p->tok.kind == TOK_LBRACKET || p->tok.kind == TOK_RBRACKET)
            parse_advance(p);
    }
}

static bool default_fits(const Field *f, const TypeInfo *type, const Expr *e)
{
    if (e->kind == EX_NULL || e->kind == EX_BAD || f->list)
        return e->kind != EX_MAP || !f->list;
    const char *v = type->value;
    if (strcmp(v, "any") == 0 || strcmp(v, "file") == 0)
        return true;
    bool time = strcmp(type->name, "timestamp") == 0 || strcmp(type->name, "date") == 0;
    int64_t i;
    double d;
    switch (e->kind) {
    case EX_INT:
        return strcmp(v, "int") == 0 || strcmp(v, "dec") == 0 || strcmp(v, "text") == 0 ||
               strcmp(v, "bool") == 0;
    case EX_DEC: return strcmp(v, "dec") == 0 || strcmp(v, "text") == 0;
    case EX_BOOL: return strcmp(v, "bool") == 0 || strcmp(v, "int") == 0 || strcmp(v, "text") == 0;
    case EX_NOW: return time;
    case EX_TEXT:
        if (strcmp(v, "text") == 0 || time)
            return true;
        if (strcmp(v, "int") == 0)
            return num_parse_int(e->text, &i) || e->text.len == 0;
        if (strcmp(v, "dec") == 0)
            return num_parse_dec(e->text, &d) || e->text.len == 0;
        if (strcmp(v, "bool") == 0)
            return text_eq(e->text, TEXT("true")) || text_eq(e->text, TEXT("false")) ||
                   text_eq(e->text, TEXT("0")) || text_eq(e->text, TEXT("1")) || e->text.len == 0;
        return true;
    case EX_LIST: return strcmp(v, "list") == 0 || strcmp(v, "map") == 0;
    case EX_MAP: return strcmp(v, "map") == 0;
    default: return true;
    }
}

static void default_value(Parser *p, Field *f, const TypeInfo *type)
{
    Token t = p->tok;
    bool word = t.kind == TOK_IDENT && !text_eq(t.text, TEXT("true")) &&
                !text_eq(t.text, TEXT("false")) && !text_eq(t.text, TEXT("null")) &&
                !text_eq(t.text, TEXT("now"));
    if (word) {
        f->def = expr_new(p, EX_TEXT, t.pos);
        f->def->text = f->def->raw = t.text;
        parse_advance(p);
    } else {
        if (t.kind == TOK_LBRACE || t.kind == TOK_LBRACKET ||
            (t.kind == TOK_IDENT && text_eq(t.text, TEXT("null"))))
            report_extension(p->c, t.pos, 15, "this default");
        if (t.kind == TOK_TEXT && t.single)
            report_extension(p->c, t.pos, 14, "a default in single quotes");
        f->def = parse_expr(p);
    }
    f->optional = true;
    if (type && !default_fits(f, type, f->def))
        report(p->c, D_DEFAULT_TYPE, t.pos, NO_HINT, "the default is not a valid " TEXT_FMT,
               TEXT_ARG(f->type));
}

static void check_attr_kind(Parser *p, Text name, const Expr *e, ExprKind kind, const char *want)
{
    if (e->kind != kind && e->kind != EX_BAD)
        report(p->c, e->kind == EX_VAR ? D_CONSTANT_EXPECTED : D_TYPE_EXPECTED, e->pos, NO_HINT,
               "expected %s for " TEXT_FMT, want, TEXT_ARG(name));
}

static void enum_values(Parser *p, Field *f, Expr *e, Pos pos)
{
    f->values = e;
    if (e->kind != EX_LIST) {
        check_attr_kind(p, TEXT("values"), e, EX_LIST, "a list of texts");
        return;
    }
    if (e->items.len == 0)
        report(p->c, D_ENUM_VALUES_W, pos, NO_HINT, "an enum without values accepts nothing");
    for (size_t i = 0; i < e->items.len; i++) {
        const Expr *item = e->items.ptr[i];
        if (item->kind != EX_TEXT) {
            check_attr_kind(p, TEXT("values"), item, EX_TEXT, "texts");
            continue;
        }
        for (size_t k = 0; k < i && k < 1000; k++)
            if (e->items.ptr[k]->kind == EX_TEXT && text_eq(e->items.ptr[k]->text, item->text)) {
                report(p->c, D_DUPLICATE_KEY, item->pos, NO_HINT,
                       "value '" TEXT_FMT "' is listed twice", TEXT_ARG(item->text));
                break;
            }
    }
}

static void field_attr(Parser *p, Field *f, bool table)
{
    static const char *const names[] = {"description", "sensitive", "visibility", "table",
                                        "values",      "size",      "schema",     "override"};
    Text name = p->tok.text;
    Pos pos = p->tok.pos;
    parse_advance(p);
    size_t which = 0;
    while (which < COUNT_OF(names) && !text_eq(name, text_from(names[which])))
        which++;
    bool object = text_eq(f->type, TEXT("object")), dblink = text_eq(f->type, TEXT("dblink"));
    bool legal = which < COUNT_OF(names) && (which != 6 || object) && (which != 7 || dblink) &&
                 (which != 5 || text_eq(f->type, TEXT("vector"))) &&
                 (which != 4 || text_eq(f->type, TEXT("enum")));
    if (!legal) {
        Text list[COUNT_OF(names)];
        for (size_t i = 0; i < COUNT_OF(names); i++)
            list[i] = text_from(names[i]);
        report(p->c, D_UNKNOWN_ATTRIBUTE, pos,
               hint_near(p->c, text_nearest(name, list, COUNT_OF(names))),
               "the argument '" TEXT_FMT "' is not valid in a field of type " TEXT_FMT,
               TEXT_ARG(name), TEXT_ARG(f->type));
    }
    Attr kept = {.name = name, .pos = pos};
    if (which == 6) {
        if (f->has_schema)
            report(p->c, D_DUPLICATE_ATTRIBUTE, pos, NO_HINT,
                   "the argument 'schema' is given twice");
        f->has_schema = true;
        kept.stack.pos = p->tok.pos;
        if (p->tok.kind == TOK_LBRACE)
            kept.stack.close = parse_fields(p, &f->fields, table);
        kept.end = parse_end(p);
        PUSH(p->c, &f->attrs, kept);
        return;
    }
    if (!parse_expect(p, TOK_ASSIGN, "'='"))
        return;
    Expr *e = kept.value = parse_expr(p);
    kept.end = parse_end(p);
    PUSH(p->c, &f->attrs, kept);
    bool twice = false;
    static const uint8_t seen_bit[] = {0, 1, 0, 0, 0, 2, 0, 0};
    if (which < COUNT_OF(seen_bit) && seen_bit[which]) {
        twice = f->seen & seen_bit[which];
        f->seen |= seen_bit[which];
    }
    switch (which) {
    case 0:
        twice = f->description.ptr != NULL;
        check_attr_kind(p, name, e, EX_TEXT, "a text");
        f->description = e->kind == EX_TEXT ? e->text : TEXT("");
        break;
    case 1:
        check_attr_kind(p, name, e, EX_BOOL, "a bool");
        f->sensitive = e->kind == EX_BOOL && e->i;
        break;
    case 2:
        twice = f->visibility.ptr != NULL;
        check_attr_kind(p, name, e, EX_TEXT, "a text");
        f->visibility = e->kind == EX_TEXT ? e->text : TEXT("public");
        if (e->kind == EX_TEXT && !word_in("public private internal", e->text))
            report(p->c, D_BAD_ENUM, e->pos, NO_HINT,
                   "expected visibility to be one of public, private, internal");
        break;
    case 3:
        twice = f->table.ptr != NULL;
        check_attr_kind(p, name, e, EX_TEXT, "a text");
        f->table = e->kind == EX_TEXT ? e->text : TEXT("");
        if (e->kind == EX_TEXT && e->text.len == 0)
            report(p->c, D_EMPTY_REFERENCE, e->pos, NO_HINT, "table must not be empty");
        break;
    case 4:
        twice = f->values != NULL;
        enum_values(p, f, e, pos);
        break;
    case 5:
        if (e->kind == EX_INT && e->i <= 0)
            report(p->c, D_TYPE_EXPECTED, e->pos, NO_HINT, "expected a size of 1 or more");
        check_attr_kind(p, name, e, EX_INT, "a number");
        f->size = e->kind == EX_INT ? e->i : 0;
        break;
    case 7:
        twice = f->override != NULL;
        check_attr_kind(p, name, e, EX_MAP, "an object");
        f->override = e;
        break;
    default: break;
    }
    if (twice)
        report(p->c, D_DUPLICATE_ATTRIBUTE, pos, NO_HINT,
               "the argument '" TEXT_FMT "' is given twice", TEXT_ARG(name));
}

static void field_block(Parser *p, Field *f, bool table)
{
    Pos open = p->tok.pos;
    f->has_block = true;
    if (!parse_enter(p))
        return;
    parse_advance(p);
    while (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF) {
        uint32_t start = p->tok.off;
        parse_no_comment(p);
        if (p->tok.kind == TOK_IDENT)
            field_attr(p, f, table);
        else if (p->tok.kind == TOK_BANG)
            report(p->c, D_CANNOT_DISABLE, p->tok.pos, NO_HINT, "an argument cannot be disabled");
        else
            parse_unexpected(p, "an argument name or '}'");
        parse_accept(p, TOK_COMMA);
        if (p->tok.off == start && p->tok.kind != TOK_EOF)
            parse_advance(p);
    }
    f->open = open.off;
    f->close = p->tok.pos.off;
    if (!parse_accept(p, TOK_RBRACE))
        report(p->c, D_UNCLOSED_BLOCK, open, NO_HINT, "the field opened at line %u is not closed",
               open.line);
    parse_leave(p);
}

static void check_field(Parser *p, const Field *f, const TypeInfo *type, bool table)
{
    if (!type)
        return;
    if (text_eq(f->type, TEXT("enum")) && !f->values)
        report(p->c, D_ENUM_VALUES, f->pos, NO_HINT, "an enum needs a values list");
    if (text_eq(f->type, TEXT("vector")) && !(f->seen & 2))
        report(p->c, D_VECTOR_SIZE, f->pos, NO_HINT, "a vector should state its size");
    if (text_eq(f->type, TEXT("object")) && !f->has_block)
        report(p->c, D_OBJECT_SCHEMA, f->pos, NO_HINT, "an object field needs a schema");
    if (table && text_eq(f->type, TEXT("file")))
        report(p->c, D_TYPE_NOT_FOR_TABLE, f->type_pos, NO_HINT, "'file' is not a storable column");
}

static void skip_field(Parser *p)
{
    for (uint32_t depth = 0; p->tok.kind != TOK_EOF; parse_advance(p)) {
        if (depth == 0 && (p->tok.kind == TOK_RBRACE || p->tok.nl))
            return;
        depth += p->tok.kind == TOK_LBRACE;
        depth -= depth && p->tok.kind == TOK_RBRACE;
    }
}

static Field *field(Parser *p, bool table)
{
    Field *f = NEW(p->c, Field);
    f->doc = p->tok.doc;
    f->start = p->tok.pos.off;
    f->type = p->tok.text;
    f->type_pos = f->pos = p->tok.pos;
    bool dblink = text_eq(f->type, TEXT("dblink"));
    const TypeInfo *type = type_find(f->type);
    if (!type && !dblink)
        unknown_type(p, f->type, f->type_pos);
    parse_advance(p);
    if (dblink && p->tok.kind == TOK_LBRACE) {
        field_block(p, f, table);
        if (!f->table.ptr)
            report(p->c, D_MISSING_ATTRIBUTE, f->pos, NO_HINT, "dblink is missing: table");
        return f;
    }
    if (p->tok.kind == TOK_LBRACKET && !p->tok.nl)
        slice(p, f);
    f->nullable = parse_accept(p, TOK_QUESTION);
    if (f->nullable && text_eq(f->type, TEXT("object")))
        report_extension(p->c, f->type_pos, 15, "a nullable object");
    if (p->tok.kind == TOK_LBRACKET && !p->tok.nl) {
        report(p->c, D_UNEXPECTED_TOKEN, p->tok.pos,
               arena_printf(p->c->a, "write " TEXT_FMT "[]?", TEXT_ARG(f->type)),
               "the list brackets come first");
        slice(p, f);
    }
    bool literal =
        p->tok.kind == TOK_IDENT && word_in("true false null now", p->tok.text); /* reserved */
    if ((p->tok.kind != TOK_IDENT && p->tok.kind != TOK_TEXT) || p->tok.nl || literal) {
        report(p->c, D_NAME_EXPECTED, p->tok.nl ? f->type_pos : p->tok.pos, NO_HINT,
               "a field needs a name");
        skip_field(p);
        return NULL;
    }
    if (p->tok.kind == TOK_TEXT)
        report_extension(p->c, p->tok.pos, 14, "a quoted field name");
    f->name = p->tok.text;
    f->pos = p->tok.pos;
    parse_advance(p);
    f->optional = f->asked = !p->tok.nl && parse_accept(p, TOK_QUESTION);
    if (p->tok.kind == TOK_ASSIGN && !p->tok.nl) {
        parse_advance(p);
        default_value(p, f, type);
    }
    if (parse_is_word(p, "filters") && !p->tok.nl) {
        parse_advance(p);
        if (p->tok.kind == TOK_ASSIGN)
            in_filters(p, f, type);
        else
            parse_unexpected(p, "'='");
    }
    if (p->tok.kind == TOK_LBRACE && !p->tok.nl)
        field_block(p, f, table);
    check_field(p, f, type, table);
    return f;
}

uint32_t parse_fields(Parser *p, FieldList *out, bool table)
{
    Pos open = p->tok.pos;
    if (!parse_enter(p))
        return 0;
    Map seen = {0};
    parse_advance(p);
    while (p->tok.kind != TOK_RBRACE && p->tok.kind != TOK_EOF) {
        uint32_t start = p->tok.off;
        Field *f = NULL;
        if (p->tok.kind == TOK_IDENT) {
            if (!p->tok.nl && p->last.kind != TOK_LBRACE)
                report_extension(p->c, p->tok.pos, 4, "a field that does not start its line");
            f = field(p, table);
        } else if (p->tok.kind == TOK_BANG) {
            report(p->c, D_CANNOT_DISABLE, p->tok.pos, NO_HINT, "a field cannot be disabled");
            skip_field(p);
        } else {
            parse_unexpected(p, "a field type or '}'");
            parse_advance(p);
            skip_field(p);
        }
        if (f && f->name.ptr) {
            if (map_get(&seen, f->name))
                report(p->c, D_DUPLICATE_FIELD, f->pos, NO_HINT,
                       "field '" TEXT_FMT "' is already declared", TEXT_ARG(f->name));
            else if (!map_put(&seen, f->name, f))
                p->c->oom = true;
        }
        if (f) {
            f->end = parse_end(p);
            PUSH(p->c, out, f);
        }
        parse_accept(p, TOK_COMMA);
        if (p->tok.off == start && p->tok.kind != TOK_EOF)
            parse_advance(p);
    }
    map_deinit(&seen);
    uint32_t close = p->tok.pos.off;
    if (!parse_accept(p, TOK_RBRACE))
        report(p->c, D_UNCLOSED_BLOCK, open, NO_HINT,
               "the field block opened at line %u is not closed", open.line);
    parse_leave(p);
    return close;
}
