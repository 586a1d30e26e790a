/* shape.c - constant values of members against the kinds of constructs.def and shapes.def. */
#include "frontend/ast.h"

enum { SHF_OPEN = 1, SHF_KEYS = 2, SHF_NAME = 4 };

typedef struct Shape {
    const char *name, *keys;
    int flags;
} Shape;

static const Shape shapes[] = {
#define SHAPE(name, flags, keys) {name, keys, flags},
#include "core/lang/shapes.def"
#undef SHAPE
};

static const Shape *shape_find(Text name)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        if (text_eq(name, text_from(shapes[i].name)))
            return &shapes[i];
    return NULL;
}

static bool cut(Text *t, const char *suffix)
{
    Text s = text_from(suffix);
    bool there = text_ends(*t, s);
    t->len -= there ? s.len : 0;
    return there;
}

static MemberSpec spec_parse(Text item)
{
    size_t colon = text_find(item, TEXT(":"), 0);
    MemberSpec m = {.name = text_slice(item, 0, colon),
                    .kind = text_slice(item, colon + 1, item.len)};
    m.repeatable = cut(&m.kind, "...");
    m.extension = cut(&m.kind, "~");
    m.required = cut(&m.kind, "*");
    m.strict = cut(&m.kind, "+");
    return m;
}

size_t specs_parse(const char *column, MemberSpec *out, size_t max)
{
    Text all = text_from(column);
    size_t n = 0;
    for (size_t at = 0; at < all.len && n < max;) {
        size_t end = text_find(all, TEXT(" "), at);
        end = end == SIZE_MAX ? all.len : end;
        out[n++] = spec_parse(text_slice(all, at, end));
        at = end + 1;
    }
    return n;
}

bool enum_has(Text set, Text value)
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

Text enum_text(Comp *c, Text set)
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

static void expected(Comp *c, Text name, bool fits, const Expr *e, const char *want)
{
    if (!fits && e->kind != EX_BAD)
        report(c, D_TYPE_EXPECTED, e->pos, NO_HINT, "expected %s for '" TEXT_FMT "' but found %s",
               want, TEXT_ARG(name), expr_kind_name(e));
}

static void check_history(Comp *c, const Expr *e)
{
    bool ok = e->kind == EX_BAD || (e->kind == EX_BOOL && !e->i);
    if (e->kind == EX_INT)
        ok = e->i == 0 || e->i == 10 || e->i == 100 || e->i == 1000 || e->i == 10000;
    if (e->kind == EX_TEXT)
        ok = enum_has(TEXT("{inherit|all|0|10|100|1000|10000}"), e->text);
    if (!ok)
        report(
            c, D_BAD_ENUM, e->pos, NO_HINT,
            "expected history to be one of false, \"inherit\", \"all\", 0, 10, 100, 1000, 10000");
}

static void check_set(Comp *c, Text name, Text set, const Expr *e)
{
    expected(c, name, e->kind == EX_TEXT, e, "a text");
    if (e->kind != EX_TEXT || enum_has(set, e->text))
        return;
    if (set.ptr[0] == '<')
        report(c, D_UNLISTED_VALUE, e->pos, NO_HINT,
               "'" TEXT_FMT "' is not a known value of '" TEXT_FMT "'; known: " TEXT_FMT,
               TEXT_ARG(e->text), TEXT_ARG(name), TEXT_ARG(enum_text(c, set)));
    else
        report(c, D_BAD_ENUM, e->pos, NO_HINT, "expected '" TEXT_FMT "' to be one of " TEXT_FMT,
               TEXT_ARG(name), TEXT_ARG(enum_text(c, set)));
}

static void unknown_key(Comp *c, Text of, const Shape *s, const MemberSpec *specs, size_t n,
                        const Pair *p)
{
    Text names[MAX_MEMBERS];
    for (size_t i = 0; i < n; i++)
        names[i] = specs[i].name;
    report(c, s->flags & SHF_OPEN ? D_UNLISTED_VALUE : D_UNKNOWN_ATTRIBUTE, p->pos,
           hint_near(c, text_nearest(p->text, names, n)),
           "the argument '" TEXT_FMT "' is not valid in '" TEXT_FMT "'", TEXT_ARG(p->text),
           TEXT_ARG(of));
}

static void check_pair(Comp *c, Text of, const Shape *s, const MemberSpec *specs, size_t n,
                       const Pair *p)
{
    if (p->key || !p->text.ptr || !p->value) {
        report(c, D_CONSTANT_EXPECTED, p->pos, NO_HINT, "keys of '" TEXT_FMT "' must be constant",
               TEXT_ARG(of));
        return;
    }
    size_t i = 0;
    while (i < n && !(s->flags & SHF_KEYS) && !text_eq(specs[i].name, p->text))
        i++;
    if (i == n) {
        unknown_key(c, of, s, specs, n, p);
        return;
    }
    if (specs[i].extension)
        report_extension(c, p->pos, 15, "this argument");
    shape_value(c, p->text, specs[i].kind, p->value);
}

static void check_object(Comp *c, Text of, const Shape *s, const Expr *e)
{
    MemberSpec specs[MAX_MEMBERS];
    size_t n = specs_parse(s->keys, specs, MAX_MEMBERS);
    for (size_t i = 0; i < e->pairs.len; i++)
        check_pair(c, of, s, specs, n, &e->pairs.ptr[i]);
    for (size_t i = 0; i < n && !(s->flags & SHF_KEYS); i++) {
        bool given = !specs[i].required && !specs[i].strict;
        for (size_t k = 0; k < e->pairs.len && !given; k++)
            given = text_eq(e->pairs.ptr[k].text, specs[i].name);
        if (!given)
            report(c, specs[i].required ? D_MISSING_ATTRIBUTE : D_MISSING_ATTRIBUTE_S, e->pos,
                   NO_HINT, "'" TEXT_FMT "' is missing: " TEXT_FMT, TEXT_ARG(of),
                   TEXT_ARG(specs[i].name));
    }
}

/* The shape behind '@' of a kind; NULL = any. */
static const Shape *shape_of(Text kind)
{
    size_t at = text_find(kind, TEXT("@"), 0);
    return at == SIZE_MAX ? NULL : shape_find(text_slice(kind, at + 1, kind.len));
}

static void check_item(Comp *c, Text name, const Shape *s, const Expr *e)
{
    if (e->kind == EX_TEXT && (s->flags & SHF_NAME))
        report_extension(c, e->pos, 15, "a name in place of an object");
    else if (e->kind == EX_MAP)
        check_object(c, name, s, e);
    else if (!expr_constant(e))
        report(c, D_CONSTANT_EXPECTED, e->pos, NO_HINT, "'" TEXT_FMT "' must be constant",
               TEXT_ARG(name));
    else
        expected(c, name, false, e, "objects");
}

static void check_list(Comp *c, Text name, Text kind, const Expr *e)
{
    const Shape *s = shape_of(kind);
    for (size_t i = 0; i < e->items.len; i++)
        if (s)
            check_item(c, name, s, e->items.ptr[i]);
        else if (kind.ptr[0] == '[')
            expected(c, name, e->items.ptr[i]->kind == EX_TEXT, e->items.ptr[i], "texts");
}

void shape_value(Comp *c, Text name, Text kind, const Expr *e)
{
    char k = kind.len ? kind.ptr[0] : 'e';
    const Shape *shape = shape_of(kind);
    if (k == 'e' || k == 'q')
        return;
    bool parts = shape && (e->kind == EX_MAP || e->kind == EX_LIST); /* each part is checked */
    if (!parts && !expr_constant(e)) {
        report(c, D_CONSTANT_EXPECTED, e->pos, NO_HINT, "'" TEXT_FMT "' must be a constant",
               TEXT_ARG(name));
        return;
    }
    switch (k) {
    case 't': expected(c, name, e->kind == EX_TEXT, e, "a text"); break;
    case 'b': expected(c, name, e->kind == EX_BOOL, e, "a bool"); break;
    case 'i': expected(c, name, e->kind == EX_INT, e, "an int"); break;
    case 'n': expected(c, name, e->kind == EX_INT || e->kind == EX_DEC, e, "a number"); break;
    case 'A':
        if (e->kind == EX_BOOL && !e->i)
            report_extension(c, e->pos, 15, "false in place of a table name");
        else
            expected(c, name, e->kind == EX_TEXT, e, "a text");
        break;
    case 'H': check_history(c, e); break;
    case 'O':
        expected(c, name, e->kind == EX_MAP, e, "an object");
        if (e->kind == EX_MAP && shape)
            check_object(c, name, shape, e);
        break;
    case 'L':
    case '[':
        expected(c, name, e->kind == EX_LIST, e, "a list");
        if (e->kind == EX_LIST)
            check_list(c, name, kind, e);
        break;
    case '{':
    case '<': check_set(c, name, kind, e); break;
    default: break;
    }
}

bool shape_names(Text kind, Text name, bool *known)
{
    const Shape *s = shape_of(kind);
    if (!s)
        return false;
    MemberSpec specs[MAX_MEMBERS];
    size_t n = specs_parse(s->keys, specs, MAX_MEMBERS);
    *known = false;
    for (size_t i = 0; i < n && !*known; i++)
        *known = text_eq(specs[i].name, name);
    return true;
}
