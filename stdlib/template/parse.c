/* parse.c - template text to a tree. */
#include <stdio.h>

#include "core/num.h"
#include "core/text.h"
#include "stdlib/template/template.h"

enum { DEPTH_MAX = 100 };

typedef struct Parser {
    Arena *a;
    Text src;
    size_t at;     /* in src */
    size_t end;    /* of the tag that is read */
    size_t after;  /* where the text behind that tag begins */
    xs_error *err; /* set once */
    bool failed;
    unsigned depth;
    Text tag; /* word that ended a body: "endif", "else" …; its tag is read up to the word */
} Parser;

static uint32_t line_of(const Parser *p)
{
    uint32_t n = 1;
    for (size_t i = 0; i < p->at && i < p->src.len; i++)
        n += p->src.ptr[i] == '\n';
    return n;
}

static void *fail(Parser *p, const char *what)
{
    if (!p->failed)
        xs_fail(p->err, XS_E_PARSE, XS_NO_POS, "Template line %u: %s", line_of(p), what);
    p->failed = true;
    return NULL;
}

static void *no_memory(Parser *p)
{
    if (!p->failed)
        xs_fail(p->err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    p->failed = true;
    return NULL;
}

/* ---- tokens of a tag ---- */

static void blanks(Parser *p)
{
    while (p->at < p->end && strchr(" \t\r\n", p->src.ptr[p->at]))
        p->at++;
}

static bool peek(Parser *p, const char *mark)
{
    blanks(p);
    size_t n = strlen(mark);
    return p->end - p->at >= n && memcmp(p->src.ptr + p->at, mark, n) == 0;
}

static bool eat(Parser *p, const char *mark)
{
    if (!peek(p, mark))
        return false;
    p->at += strlen(mark);
    return true;
}

static bool word_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static Text peek_word(Parser *p)
{
    blanks(p);
    size_t n = p->at;
    while (n < p->end && word_char(p->src.ptr[n], n == p->at))
        n++;
    return text_slice(p->src, p->at, n);
}

static Text word(Parser *p)
{
    Text w = peek_word(p);
    p->at += w.len;
    return w;
}

static bool eat_word(Parser *p, const char *w)
{
    Text t = peek_word(p);
    if (!text_eq(t, text_from(w)))
        return false;
    p->at += t.len;
    return true;
}

/* ---- expressions ---- */

static TExpr *expression(Parser *p);

static TExpr *expr_new(Parser *p, TExprKind kind)
{
    TExpr *e = ARENA_NEW(p->a, TExpr);
    if (!e)
        return no_memory(p);
    e->kind = kind;
    return e;
}

static bool add_item(Parser *p, TExpr *e, TExpr *key, TExpr *item)
{
    uint32_t n = e->nitems;
    if ((n & (n - 1)) == 0) { /* grows at powers of two */
        TExpr **items = ARENA_ARRAY(p->a, TExpr *, n ? 2 * (size_t)n : 1);
        TExpr **keys = ARENA_ARRAY(p->a, TExpr *, n ? 2 * (size_t)n : 1);
        if (!items || !keys)
            return no_memory(p);
        if (n) {
            memcpy(items, e->items, n * sizeof *items);
            memcpy(keys, e->keys, n * sizeof *keys);
        }
        e->items = items;
        e->keys = keys;
    }
    e->items[n] = item;
    e->keys[n] = key;
    e->nitems = n + 1;
    return item != NULL;
}

/* Up to the closing mark, which is eaten. */
static bool arguments(Parser *p, TExpr *e, const char *close)
{
    while (!eat(p, close)) {
        if (!add_item(p, e, NULL, expression(p)))
            return false;
        if (!eat(p, ",") && !peek(p, close))
            return fail(p, "expected , or the end of the list");
    }
    return true;
}

static TExpr *text_literal(Parser *p, char quote)
{
    Buf b = BUF_INIT;
    size_t from = ++p->at;
    bool escaped = false;
    while (p->at < p->end && p->src.ptr[p->at] != quote) {
        char c = p->src.ptr[p->at++];
        if (c == '\\' && p->at < p->end) {
            if (!escaped)
                buf_text(&b, text_slice(p->src, from, p->at - 1));
            escaped = true;
            c = p->src.ptr[p->at++];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        if (escaped)
            buf_char(&b, c);
    }
    TExpr *e = NULL;
    if (p->at >= p->end)
        (void)fail(p, "a text is not closed");
    else if ((e = expr_new(p, TE_CONST)))
        e->value = const_text(p->a, escaped ? buf_view(&b) : text_slice(p->src, from, p->at));
    if (e && (b.failed || !e->value))
        e = no_memory(p);
    p->at++;
    buf_deinit(&b);
    return e;
}

static TExpr *number_literal(Parser *p)
{
    size_t from = p->at;
    bool dec = false;
    while (p->at < p->end) {
        char c = p->src.ptr[p->at];
        bool dot = c == '.' && !dec && p->at + 1 < p->end && p->src.ptr[p->at + 1] >= '0' &&
                   p->src.ptr[p->at + 1] <= '9';
        if (!dot && !(c >= '0' && c <= '9'))
            break;
        dec = dec || dot;
        p->at++;
    }
    Text t = text_slice(p->src, from, p->at);
    TExpr *e = expr_new(p, TE_CONST);
    int64_t i;
    double d;
    if (!e)
        return NULL;
    if (!dec && num_parse_int(t, &i))
        e->value = const_int(p->a, i);
    else if (num_parse_dec(t, &d))
        e->value = const_dec(p->a, d);
    else
        return fail(p, "not a number");
    return e->value ? e : no_memory(p);
}

static TExpr *map_literal(Parser *p)
{
    TExpr *e = expr_new(p, TE_MAP);
    while (e && !eat(p, "}")) {
        TExpr *key;
        Text name = peek_word(p);
        if (name.len) {
            p->at += name.len;
            key = expr_new(p, TE_CONST);
            if (!key || !(key->value = const_text(p->a, name)))
                return no_memory(p);
        } else {
            key = expression(p);
        }
        if (!key || !eat(p, ":"))
            return fail(p, "expected key: value");
        if (!add_item(p, e, key, expression(p)))
            return NULL;
        if (!eat(p, ",") && !peek(p, "}"))
            return fail(p, "expected , or }");
    }
    return e;
}

static TExpr *name_or_word(Parser *p)
{
    static const struct {
        const char *word;
        const Const *value;
    } words[] = {{"true", &const_true}, {"TRUE", &const_true},   {"false", &const_false},
                 {"null", &const_null}, {"FALSE", &const_false}, {"none", &const_null},
                 {"NULL", &const_null}};
    bool dollar = eat(p, "$");
    Text name = word(p);
    if (!name.len)
        return fail(p, "expected a value");
    for (size_t i = 0; i < COUNT_OF(words) && !dollar; i++)
        if (text_eq(name, text_from(words[i].word))) {
            TExpr *e = expr_new(p, TE_CONST);
            if (e)
                e->value = words[i].value;
            return e;
        }
    bool call = !dollar && eat(p, "(");
    TExpr *e = expr_new(p, call ? TE_CALL : TE_NAME);
    if (!e)
        return NULL;
    e->text = name;
    e->dollar = dollar;
    return !call || arguments(p, e, ")") ? e : NULL;
}

static TExpr *primary(Parser *p)
{
    blanks(p);
    char c = p->at < p->end ? p->src.ptr[p->at] : 0;
    if (c == '"' || c == '\'')
        return text_literal(p, c);
    if (c >= '0' && c <= '9')
        return number_literal(p);
    if (eat(p, "(")) {
        TExpr *e = expression(p);
        return e && !eat(p, ")") ? fail(p, "expected )") : e;
    }
    if (eat(p, "[")) {
        TExpr *e = expr_new(p, TE_LIST);
        return e && arguments(p, e, "]") ? e : NULL;
    }
    if (eat(p, "{"))
        return map_literal(p);
    return name_or_word(p);
}

static TExpr *index_of(Parser *p, TExpr *a)
{
    TExpr *e = expr_new(p, TE_INDEX);
    if (!e)
        return NULL;
    e->a = a;
    if (!peek(p, ":") && !(e->b = expression(p)))
        return NULL;
    if (eat(p, ":")) {
        e->kind = TE_SLICE;
        if (!peek(p, "]") && !(e->c = expression(p)))
            return NULL;
    }
    return eat(p, "]") ? e : fail(p, "expected ]");
}

static TExpr *postfix(Parser *p)
{
    TExpr *e = primary(p);
    while (e) {
        TExpr *a = e;
        if (p->at < p->end && p->src.ptr[p->at] == '.' &&
            !(p->at + 1 < p->end && p->src.ptr[p->at + 1] == '.')) {
            p->at++;
            size_t from = p->at;
            while (p->at < p->end && word_char(p->src.ptr[p->at], false))
                p->at++;
            if (p->at == from)
                return fail(p, "expected a name behind .");
            if ((e = expr_new(p, TE_MEMBER)))
                e->text = text_slice(p->src, from, p->at);
        } else if (p->at < p->end && p->src.ptr[p->at] == '[') {
            p->at++;
            e = index_of(p, a);
        } else if (peek(p, "|") && !peek(p, "||")) {
            p->at++;
            if ((e = expr_new(p, TE_FILTER)) && !(e->text = word(p)).len)
                return fail(p, "expected a filter");
            if (e && eat(p, "(") && !arguments(p, e, ")"))
                return NULL;
        } else {
            return e;
        }
        if (e)
            e->a = a;
    }
    return NULL;
}

enum { PREC_NOT = 50, PREC_IS = 100 };

typedef struct OpRow {
    const char *mark; /* letters: words with one blank between them */
    TOp op;
    int prec;
} OpRow;

/* Longer marks before their beginnings. */
static const OpRow ops[] = {
    {"??", TOP_COALESCE, 300},
    {"**", TOP_POW, 200},
    {"*", TOP_MUL, 60},
    {"//", TOP_INT_DIV, 60},
    {"/", TOP_DIV, 60},
    {"%", TOP_MOD, 60},
    {"~", TOP_CONCAT, 40},
    {"+", TOP_ADD, 30},
    {"-", TOP_SUB, 30},
    {"..", TOP_RANGE, 25},
    {"===", TOP_EQ, 20},
    {"!==", TOP_NE, 20},
    {"==", TOP_EQ, 20},
    {"!=", TOP_NE, 20},
    {"<=", TOP_LE, 20},
    {">=", TOP_GE, 20},
    {"<", TOP_LT, 20},
    {">", TOP_GT, 20},
    {"not in", TOP_NOT_IN, 20},
    {"in", TOP_IN, 20},
    {"starts with", TOP_STARTS, 20},
    {"ends with", TOP_ENDS, 20},
    {"matches", TOP_MATCHES, 20},
    {"&&", TOP_AND, 15},
    {"and", TOP_AND, 15},
    {"xor", TOP_XOR, 12},
    {"||", TOP_OR, 10},
    {"or", TOP_OR, 10},
};

static bool eat_words(Parser *p, Text words)
{
    size_t start = p->at;
    for (size_t from = 0; from < words.len;) {
        size_t end = text_find(words, TEXT(" "), from);
        end = end == SIZE_MAX ? words.len : end;
        Text w = peek_word(p);
        if (!text_eq(w, text_slice(words, from, end))) {
            p->at = start;
            return false;
        }
        p->at += w.len;
        from = end + 1;
    }
    return true;
}

/* The operator that follows, eaten when it binds at least as tight as min. */
static TOp operator_of(Parser *p, int min, int *prec)
{
    blanks(p);
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        const OpRow *o = &ops[i];
        size_t start = p->at;
        bool is_word = o->mark[0] >= 'a' && o->mark[0] <= 'z';
        if (!(is_word ? eat_words(p, text_from(o->mark)) : eat(p, o->mark)))
            continue;
        *prec = o->prec;
        if (o->prec >= min)
            return o->op;
        p->at = start;
        return TOP_NONE;
    }
    return TOP_NONE;
}

static TExpr *binary(Parser *p, int min);

static TExpr *unary(Parser *p)
{
    bool bang = peek(p, "!") && !peek(p, "!=");
    if (bang || eat_word(p, "not")) {
        if (bang)
            p->at++;
        TExpr *e = expr_new(p, TE_NOT);
        return e && (e->a = binary(p, bang ? PREC_IS : PREC_NOT)) ? e : NULL;
    }
    if (eat(p, "-")) {
        TExpr *e = expr_new(p, TE_MINUS);
        return e && (e->a = postfix(p)) ? e : NULL;
    }
    (void)eat(p, "+");
    return postfix(p);
}

static TExpr *test_of(Parser *p, TExpr *a)
{
    TExpr *e = expr_new(p, TE_TEST);
    if (!e)
        return NULL;
    e->a = a;
    e->negated = eat_word(p, "not");
    if (eat_words(p, TEXT("divisible by")))
        e->text = TEXT("divisible by");
    else if (eat_words(p, TEXT("same as")))
        e->text = TEXT("same as");
    else if (!(e->text = word(p)).len)
        return fail(p, "expected a test behind is");
    return !eat(p, "(") || arguments(p, e, ")") ? e : NULL;
}

static TExpr *binary(Parser *p, int min)
{
    if (++p->depth > DEPTH_MAX)
        return fail(p, "expressions are nested too deeply");
    TExpr *left = unary(p);
    while (left) {
        int prec = 0;
        if (min <= PREC_IS && eat_word(p, "is")) {
            left = test_of(p, left);
            continue;
        }
        TOp op = operator_of(p, min, &prec);
        if (op == TOP_NONE)
            break;
        TExpr *e = expr_new(p, TE_BINARY);
        if (!e)
            return NULL;
        e->op = op;
        e->a = left;
        bool right = op == TOP_POW || op == TOP_COALESCE;
        e->b = binary(p, right ? prec : prec + 1);
        left = e->b ? e : NULL;
    }
    p->depth--;
    return left;
}

static TExpr *expression(Parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return fail(p, "expressions are nested too deeply");
    TExpr *a = binary(p, 0);
    if (a && peek(p, "?") && !peek(p, "??")) {
        p->at++;
        TExpr *e = expr_new(p, TE_COND);
        if (!e)
            return NULL;
        e->a = a;
        if (!eat(p, ":")) {
            if (!(e->b = expression(p)))
                return NULL;
            if (!eat(p, ":")) { /* a ? b */
                p->depth--;
                return e;
            }
        }
        a = (e->c = expression(p)) ? e : NULL;
    }
    p->depth--;
    return a;
}

/* ---- nodes ---- */

static TNode *node_new(Parser *p, TNodeKind kind)
{
    TNode *n = ARENA_NEW(p->a, TNode);
    if (!n)
        return no_memory(p);
    n->kind = kind;
    return n;
}

/* Find where a tag that begins at p->at (behind "{x") ends; false: it does not. Quotes hide the
 * closing mark. */
static bool tag_bounds(Parser *p, const char *close)
{
    char quote = 0;
    for (size_t i = p->at; i + 1 < p->src.len; i++) {
        char c = p->src.ptr[i];
        if (quote) {
            if (c == '\\')
                i++;
            else if (c == quote)
                quote = 0;
        } else if ((c == '"' || c == '\'') && close[0] != '#') {
            quote = c;
        } else if (c == close[0] && p->src.ptr[i + 1] == close[1]) {
            p->end = i;
            p->after = i + 2;
            if (p->end > p->at && p->src.ptr[p->end - 1] == '-') { /* -}} eats blanks behind */
                p->end--;
                while (p->after < p->src.len && strchr(" \t\r\n", p->src.ptr[p->after]))
                    p->after++;
            } else if (close[0] != '}' && p->after < p->src.len && p->src.ptr[p->after] == '\n') {
                p->after++; /* the line break behind a tag belongs to it */
            }
            if (p->at < p->end && p->src.ptr[p->at] == '-')
                p->at++;
            return true;
        }
    }
    return false;
}

static bool tag_ends(Parser *p)
{
    blanks(p);
    return p->at >= p->end || fail(p, "unexpected text in a tag");
}

static bool body(Parser *p, TNode **out);

/* What follows the tag, up to a tag that closes or continues it; p->tag is its word then. */
static bool body_of(Parser *p, TNode **out)
{
    if (!tag_ends(p))
        return false;
    p->at = p->after;
    return body(p, out) && (p->tag.len || fail(p, "a tag is not closed"));
}

static TNode *if_tag(Parser *p)
{
    TNode *first = node_new(p, TN_IF);
    if (!first || !(first->expr = expression(p)))
        return NULL;
    for (TNode *n = first;;) {
        if (!body_of(p, &n->body))
            return NULL;
        if (text_eq(p->tag, TEXT("endif")))
            return first;
        bool last = text_eq(p->tag, TEXT("else"));
        if (!n->expr || (!last && !text_eq(p->tag, TEXT("elseif"))))
            return fail(p, "expected endif");
        n = n->other = node_new(p, TN_IF);
        if (!n || (!last && !(n->expr = expression(p))))
            return NULL;
    }
}

static TNode *for_tag(Parser *p)
{
    TNode *n = node_new(p, TN_FOR);
    if (!n)
        return NULL;
    (void)eat(p, "$");
    n->name = word(p);
    if (eat(p, ",")) {
        (void)eat(p, "$");
        n->name2 = n->name;
        n->name = word(p);
    }
    if (!n->name.len || !eat_word(p, "in"))
        return fail(p, "expected for name in list");
    if (!(n->expr = expression(p)) || !body_of(p, &n->body))
        return NULL;
    if (text_eq(p->tag, TEXT("else")) && !body_of(p, &n->other))
        return NULL;
    return text_eq(p->tag, TEXT("endfor")) ? n : fail(p, "expected endfor");
}

static TNode *set_tag(Parser *p)
{
    TNode *n = node_new(p, TN_SET);
    if (!n)
        return NULL;
    (void)eat(p, "$");
    n->name = word(p);
    if (!n->name.len)
        return fail(p, "expected set name = value");
    if (eat(p, "="))
        return (n->expr = expression(p)) ? n : NULL;
    if (!body_of(p, &n->body))
        return NULL;
    return text_eq(p->tag, TEXT("endset")) ? n : fail(p, "expected endset");
}

static TNode *text_node(Parser *p, size_t from, size_t to)
{
    TNode *n = node_new(p, TN_TEXT);
    if (n)
        n->text = text_slice(p->src, from, to);
    return n;
}

/* verbatim: text up to its end tag. */
static TNode *verbatim_tag(Parser *p, Text name)
{
    if (!tag_ends(p))
        return NULL;
    size_t from = p->after, at = from;
    for (;;) {
        size_t open = text_find(p->src, TEXT("{%"), at);
        if (open == SIZE_MAX)
            return fail(p, "a tag is not closed");
        p->at = at = open + 2;
        if (!tag_bounds(p, "%}"))
            return fail(p, "a tag is not closed");
        Text w = word(p);
        if (text_starts(w, TEXT("end")) && text_eq(text_slice(w, 3, w.len), name))
            return text_node(p, from, open);
    }
}

/* A tag in {% %}. *node NULL and no failure: it ends the body it stands in. */
static bool tag(Parser *p, TNode **node)
{
    static const char *const enders[] = {"endif", "else", "elseif", "endfor", "endset"};
    Text w = word(p);
    *node = NULL;
    p->tag = (Text){0};
    for (size_t i = 0; i < COUNT_OF(enders); i++)
        if (text_eq(w, text_from(enders[i]))) {
            p->tag = w;
            return true;
        }
    if (text_eq(w, TEXT("if")))
        *node = if_tag(p);
    else if (text_eq(w, TEXT("for")))
        *node = for_tag(p);
    else if (text_eq(w, TEXT("set")))
        *node = set_tag(p);
    else if (text_eq(w, TEXT("verbatim")) || text_eq(w, TEXT("raw")))
        *node = verbatim_tag(p, w);
    else
        return fail(p, "this tag is not supported");
    p->tag = (Text){0};
    return *node && tag_ends(p);
}

/* Where the next tag opens at or after `from`, or the end. */
static size_t next_open(Text src, size_t from)
{
    for (size_t i = from; i + 1 < src.len; i++)
        if (src.ptr[i] == '{' && strchr("{%#", src.ptr[i + 1]))
            return i;
    return src.len;
}

static bool body(Parser *p, TNode **out)
{
    if (++p->depth > DEPTH_MAX)
        return fail(p, "tags are nested too deeply");
    p->tag = (Text){0};
    while (p->at < p->src.len) {
        size_t open = next_open(p->src, p->at), text_end = open;
        bool trim = open + 2 < p->src.len && p->src.ptr[open + 2] == '-';
        while (trim && text_end > p->at && strchr(" \t\r\n", p->src.ptr[text_end - 1]))
            text_end--;
        if (text_end > p->at) {
            if (!(*out = text_node(p, p->at, text_end)))
                return false;
            out = &(*out)->next;
        }
        p->at = open;
        if (open == p->src.len)
            break;
        char kind = p->src.ptr[open + 1];
        p->at = open + 2;
        if (!tag_bounds(p, kind == '{' ? "}}" : kind == '%' ? "%}" : "#}"))
            return fail(p, "a tag is not closed");
        TNode *n = NULL;
        if (kind == '{') {
            n = node_new(p, TN_OUT);
            if (!n || !(n->expr = expression(p)) || !tag_ends(p))
                return false;
        } else if (kind == '%') {
            if (!tag(p, &n))
                return false;
            if (!n) {
                p->depth--;
                return true; /* p->tag says which */
            }
        }
        if (n) {
            *out = n;
            out = &n->next;
        }
        p->at = p->after;
    }
    p->depth--;
    return true;
}

bool template_parse(Arena *a, Text source, TNode **out, xs_error *err)
{
    Parser p = {.a = a, .src = source, .err = err};
    *out = NULL;
    if (!body(&p, out))
        return false;
    return !p.tag.len || fail(&p, "this tag closes nothing");
}
