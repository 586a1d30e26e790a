/* run.c - renders a template's tree. Values are owned by the call's heap; names are looked up in
 * what the template has set, then among the program's variables. */
#include <math.h>
#include <stdio.h>

#include "core/num.h"
#include "core/tables.h"
#include "core/text.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/registry.h"
#include "stdlib/template/template.h"
#include "vm/vm.h"

enum { LOCALS_MAX = 256, ARGS_MAX = 8, LOOKS_AT_CLOCK = 1024 };

typedef struct Loop {
    const struct Loop *parent;
    uint32_t index0, length;
} Loop;

typedef struct Local {
    Text name;
    Value value;
} Local;

typedef struct Render {
    Call *c;
    Heap *h;
    Value vars, input, auth;
    Buf *out;
    TemplateOutFn fn; /* NULL = the text of values */
    void *fn_ctx;
    const Buf *fn_out; /* not for what `set` captures */
    Local locals[LOCALS_MAX];
    uint32_t nlocals;
    const Loop *loop;
    uint32_t turns;
} Render;

static Value eval(Render *r, const TExpr *e);

/* V_UNSET stands for a failure everywhere here: the error is set. */
static Value failed(Render *r, xs_code code, const char *what)
{
    if (r->c->err->code == XS_OK)
        call_fail(r->c, code, "Template: %s", what);
    return val_unset();
}

static Value checked(Render *r, Value v)
{
    if (v.kind == V_UNSET && r->c->err->code == XS_OK)
        (void)heap_fail(r->h, r->c->err);
    return v;
}

static bool truth(Value v)
{
    if (v.kind == V_LIST || v.kind == V_MAP)
        return val_count(v) > 0;
    return val_truthy(v) && !(v.kind == V_TEXT && text_eq(val_text_view(v), TEXT("0")));
}

/* ---- names ---- */

static Value member(Render *r, Value v, Text name)
{
    Value key = checked(r, text_new(r->h, name));
    if (key.kind == V_UNSET)
        return key;
    Value found = val_step(r->h, v, key, r->c->err);
    val_unref(r->h, key);
    return found.kind == V_UNSET && r->c->err->code == XS_OK ? val_null() : found;
}

static Value loop_member(Render *r, Text name)
{
    const Loop *l = r->loop;
    if (text_eq(name, TEXT("index")))
        return val_int((int64_t)l->index0 + 1);
    if (text_eq(name, TEXT("index0")))
        return val_int(l->index0);
    if (text_eq(name, TEXT("revindex")))
        return val_int((int64_t)l->length - l->index0);
    if (text_eq(name, TEXT("revindex0")))
        return val_int((int64_t)l->length - l->index0 - 1);
    if (text_eq(name, TEXT("first")))
        return val_bool(l->index0 == 0);
    if (text_eq(name, TEXT("last")))
        return val_bool(l->index0 + 1 == l->length);
    return text_eq(name, TEXT("length")) ? val_int(l->length) : val_null();
}

static Local *local_find(Render *r, Text name)
{
    for (uint32_t i = r->nlocals; i > 0; i--)
        if (text_eq(r->locals[i - 1].name, name))
            return &r->locals[i - 1];
    return NULL;
}

static Value name_value(Render *r, const TExpr *e)
{
    const Local *l = local_find(r, e->text);
    const Value *v = NULL;
    if (l)
        return val_ref(l->value);
    if (r->vars.kind == V_MAP && (v = map_find(r->vars.map, e->text)))
        return val_ref(*v);
    if (text_eq(e->text, TEXT("var")))
        return val_ref(r->vars);
    if (text_eq(e->text, TEXT("input")))
        return val_ref(r->input);
    if (text_eq(e->text, TEXT("auth")))
        return val_ref(r->auth);
    return val_null();
}

static bool is_root(const Render *r, const TExpr *e, const char *name)
{
    return e->kind == TE_NAME && text_eq(e->text, text_from(name)) &&
           !(r->vars.kind == V_MAP && map_find(r->vars.map, e->text));
}

static Value env_value(Render *r, Text name)
{
    const Services *s = r->c->services;
    Text t = s && s->env ? s->env(s->ctx, name) : (Text){0};
    return t.ptr ? checked(r, text_new(r->h, t)) : val_null();
}

static Value member_value(Render *r, const TExpr *e)
{
    if (r->loop && e->a->kind == TE_NAME && text_eq(e->a->text, TEXT("loop")))
        return loop_member(r, e->text);
    if (r->loop && r->loop->parent && e->a->kind == TE_MEMBER && e->a->a->kind == TE_NAME &&
        text_eq(e->a->a->text, TEXT("loop")) && text_eq(e->a->text, TEXT("parent"))) {
        const Loop *inner = r->loop;
        r->loop = inner->parent;
        Value v = loop_member(r, e->text);
        r->loop = inner;
        return v;
    }
    if (is_root(r, e->a, "env"))
        return env_value(r, e->text);
    Value v = eval(r, e->a);
    if (v.kind == V_UNSET)
        return v;
    Value found = member(r, v, e->text);
    val_unref(r->h, v);
    return found;
}

/* ---- texts of values ---- */

static bool write_value(Render *r, Value v, Buf *out)
{
    if (v.kind == V_BOOL)
        return !v.b || buf_char(out, '1');
    if (v.kind == V_LIST || v.kind == V_MAP || v.kind == V_HANDLE)
        return val_write_json(v, out) || (failed(r, XS_E_LIMIT, "the text is too large"), false);
    return val_is_null(v) || val_write_text(v, out, r->c->err);
}

static Value text_of(Render *r, Value v)
{
    Buf b = flt_buf();
    Value out = val_unset();
    if (v.kind == V_TEXT)
        return val_ref(v);
    if (write_value(r, v, &b))
        out = checked(r, b.failed ? val_unset() : text_new(r->h, buf_view(&b)));
    buf_deinit(&b);
    return out;
}

static void write_html(Buf *out, Text t)
{
    for (size_t i = 0; i < t.len; i++)
        switch (t.ptr[i]) {
        case '&': buf_cstr(out, "&amp;"); break;
        case '<': buf_cstr(out, "&lt;"); break;
        case '>': buf_cstr(out, "&gt;"); break;
        case '"': buf_cstr(out, "&quot;"); break;
        case '\'': buf_cstr(out, "&#039;"); break;
        default: buf_char(out, t.ptr[i]);
        }
}

/* ---- filters ---- */

/* The language's own filter of this name. The operand is consumed. */
static Value language_filter(Render *r, Text name, Value in, Value *args, uint32_t nargs)
{
    const void *row = NULL;
    FilterFn fn = stdlib_natives.filter(name, &row);
    const FilterInfo *info = row;
    Value out = val_unset();
    if (!fn || info->inlined) {
        char what[80];
        snprintf(what, sizeof what, "unknown filter '" TEXT_FMT "'",
                 TEXT_ARG(text_slice(name, 0, 40)));
        out = failed(r, XS_E_UNKNOWN_FILTER, what);
        val_unref(r->h, in);
        goto end;
    }
    for (; nargs < info->nargs && nargs < ARGS_MAX && info->args[nargs].def; nargs++) {
        args[nargs] = val_parse_json(r->h, text_from(info->args[nargs].def), r->c->err);
        if (args[nargs].kind == V_UNSET) {
            val_unref(r->h, in);
            goto end;
        }
    }
    Call call = {.fiber = r->c->fiber,
                 .heap = r->h,
                 .services = r->c->services,
                 .run = r->c->run,
                 .name = info->name,
                 .row = row,
                 .in = in,
                 .args = args,
                 .nargs = nargs,
                 .site = &const_null,
                 .ret = val_null(),
                 .err = r->c->err};
    bool ok = fn(&call);
    call_end(&call);
    val_unref(r->h, call.thrown);
    if (ok)
        out = call.ret.kind == V_UNSET ? val_null() : call.ret;
    else
        val_unref(r->h, call.ret);
    val_unref(r->h, in);
end:
    for (uint32_t i = 0; i < nargs; i++)
        val_unref(r->h, args[i]);
    return out;
}

/* text|slice(from, length) in characters, list|slice in elements; negatives count from the end. */
static Value slice_value(Render *r, Value in, int64_t from, int64_t count, bool whole)
{
    if (in.kind != V_LIST) {
        Value t = text_of(r, in);
        if (t.kind == V_UNSET)
            return t;
        Text text = val_text_view(t);
        int64_t n = (int64_t)utf8_count(text);
        from = from < 0 ? (from + n < 0 ? 0 : from + n) : from > n ? n : from;
        int64_t end = whole ? n : count < 0 ? n + count : count > n - from ? n : from + count;
        end = end < from ? from : end;
        size_t a = text_skip(text, 0, (size_t)from);
        size_t b = text_skip(text, a, (size_t)(end - from));
        Value out = checked(r, text_new(r->h, text_slice(text, a, b)));
        val_unref(r->h, t);
        return out;
    }
    int64_t n = in.list->len;
    from = from < 0 ? (from + n < 0 ? 0 : from + n) : from > n ? n : from;
    int64_t end = whole ? n : count < 0 ? n + count : count > n - from ? n : from + count;
    Value out = val_ref(in);
    end = end < from ? from : end;
    if (list_cut(r->h, &out, (uint32_t)from, (uint32_t)(end - from)))
        return out;
    val_unref(r->h, out);
    return checked(r, val_unset());
}

/* "a": "b" pairs of a map, each replaced everywhere. */
static Value replace_pairs(Render *r, Value in, Value pairs)
{
    Value t = text_of(r, in);
    const MapEntry *e;
    for (uint32_t at = 0; t.kind == V_TEXT && (e = map_walk(pairs.map, &at));) {
        Value args[ARGS_MAX] = {val_ref(val_obj(V_TEXT, e->key)), text_of(r, e->value)};
        if (args[1].kind == V_UNSET) {
            val_unref(r->h, args[0]);
            val_unref(r->h, t);
            return args[1];
        }
        t = language_filter(r, TEXT("replace"), t, args, 2);
    }
    return t;
}

static Value title_case(Render *r, Text t)
{
    Buf b = flt_buf(), lower = flt_buf();
    text_write_lower(&lower, t);
    Text l = buf_view(&lower);
    bool start = true;
    for (size_t at = 0; at < l.len && !lower.failed;) {
        size_t next = at;
        utf8_next(l, &next);
        Text ch = text_slice(l, at, next);
        if (start)
            text_write_upper(&b, ch);
        else
            buf_text(&b, ch);
        start = ch.len == 1 && strchr(" \t\r\n-", ch.ptr[0]);
        at = next;
    }
    Value out = checked(r, b.failed ? val_unset() : text_new(r->h, buf_view(&b)));
    buf_deinit(&b);
    buf_deinit(&lower);
    return out;
}

static Value escaped(Render *r, Value in, bool breaks)
{
    Value t = text_of(r, in);
    if (t.kind == V_UNSET)
        return t;
    Buf b = flt_buf();
    Text text = val_text_view(t);
    if (!breaks)
        write_html(&b, text);
    for (size_t i = 0; breaks && i < text.len; i++) {
        if (text.ptr[i] == '\n')
            buf_cstr(&b, "<br />");
        buf_char(&b, text.ptr[i]);
    }
    Value out = checked(r, b.failed ? val_unset() : text_new(r->h, buf_view(&b)));
    buf_deinit(&b);
    val_unref(r->h, t);
    return out;
}

static Value joined(Render *r, Value in, const Value *args, uint32_t nargs)
{
    if (in.kind != V_LIST && in.kind != V_MAP)
        return text_of(r, in);
    Buf b = flt_buf();
    uint32_t n = val_count(in);
    bool ok = true;
    for (Walk w = walk_of(in); ok && walk_next(&w);) {
        if (w.pos)
            ok = nargs == 0 || write_value(r, args[nargs > 1 && w.pos + 1 == n], &b);
        ok = ok && write_value(r, w.value, &b);
    }
    Value out =
        ok ? checked(r, b.failed ? val_unset() : text_new(r->h, buf_view(&b))) : val_unset();
    buf_deinit(&b);
    return out;
}

static bool is(Text t, const char *name)
{
    return text_eq(t, text_from(name));
}

/* Twig's own meaning of a filter. *handled false: it is one of the language. in is borrowed. */
static Value twig_filter(Render *r, Text name, Value in, const Value *args, uint32_t nargs,
                         bool *handled)
{
    *handled = true;
    if (is(name, "default")) {
        bool empty = val_is_null(in) || (in.kind == V_TEXT && !in.text->len) ||
                     ((in.kind == V_LIST || in.kind == V_MAP) && !val_count(in));
        return !empty  ? val_ref(in)
               : nargs ? val_ref(args[0])
                       : checked(r, text_new(r->h, TEXT("")));
    }
    if (is(name, "raw"))
        return val_ref(in);
    if (is(name, "e") || is(name, "escape"))
        return escaped(r, in, false);
    if (is(name, "nl2br"))
        return escaped(r, in, true);
    if (is(name, "join"))
        return joined(r, in, args, nargs);
    if (is(name, "length") && (in.kind == V_LIST || in.kind == V_MAP))
        return val_int(val_count(in));
    if (is(name, "replace") && nargs == 1 && args[0].kind == V_MAP)
        return replace_pairs(r, in, args[0]);
    if (is(name, "slice")) {
        int64_t from = 0, count = 0;
        if ((nargs && !val_integer(args[0], &from, r->c->err)) ||
            (nargs > 1 && !val_is_null(args[1]) && !val_integer(args[1], &count, r->c->err)))
            return val_unset();
        return slice_value(r, in, from, count, nargs < 2 || val_is_null(args[1]));
    }
    if ((is(name, "first") || is(name, "last")) && in.kind == V_TEXT)
        return slice_value(r, in, is(name, "first") ? 0 : -1, 1, false);
    if (is(name, "length") || is(name, "title") || is(name, "capitalize")) {
        Value t = text_of(r, in);
        if (t.kind == V_UNSET)
            return t;
        Value out = is(name, "length") ? val_int((int64_t)utf8_count(val_text_view(t)))
                                       : title_case(r, val_text_view(t));
        val_unref(r->h, t);
        return out;
    }
    *handled = false;
    return val_unset();
}

static Text language_name(Text name, Value in)
{
    static const char *const names[][2] = {
        {"striptags", "strip_html"}, {"date", "format_timestamp"}, {"format", "sprintf"},
        {"upper", "to_upper"},       {"lower", "to_lower"},        {"column", "get"},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (is(name, names[i][0]))
            return text_from(names[i][1]);
    (void)in;
    return name;
}

static bool eval_items(Render *r, const TExpr *e, Value *args, uint32_t *n)
{
    *n = 0;
    if (e->nitems > ARGS_MAX)
        return failed(r, XS_E_PARSE, "too many arguments").kind != V_UNSET;
    for (uint32_t i = 0; i < e->nitems; i++) {
        args[i] = eval(r, e->items[i]);
        if (args[i].kind == V_UNSET)
            return false;
        *n = i + 1;
    }
    return true;
}

static void unref_all(Render *r, Value *args, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        val_unref(r->h, args[i]);
}

static Value filtered(Render *r, const TExpr *e)
{
    Value in = eval(r, e->a), args[ARGS_MAX];
    uint32_t n = 0;
    if (in.kind == V_UNSET)
        return in;
    bool handled = true;
    Value out = val_unset();
    if (eval_items(r, e, args, &n)) {
        out = twig_filter(r, e->text, in, args, n, &handled);
        if (!handled)
            return language_filter(r, language_name(e->text, in), in, args, n);
    }
    unref_all(r, args, n);
    val_unref(r->h, in);
    return out;
}

/* ---- operators ---- */

static Value range_value(Render *r, Value a, Value b, int64_t step)
{
    int64_t from, to;
    if (!val_integer(a, &from, r->c->err) || !val_integer(b, &to, r->c->err))
        return val_unset();
    step = step < 0 ? -step : step;
    if (!step)
        return failed(r, XS_E_BAD_ARG, "a range needs a step");
    double n = (from < to ? (double)to - (double)from : (double)from - (double)to) / (double)step;
    if (n > FILTER_LIST_MAX)
        return failed(r, XS_E_LIMIT, "the range is too large");
    Value list = checked(r, list_new(r->h, (uint32_t)n + 1));
    int64_t v = from;
    for (uint32_t i = 0; list.kind == V_LIST && i <= (uint32_t)n; i++) {
        list.list->items[i] = val_int(v);
        list.list->len = i + 1;
        if (i < (uint32_t)n)
            v += from < to ? step : -step;
    }
    return list;
}

static bool contains(Render *r, Value in, Value v)
{
    if (in.kind == V_TEXT) {
        Value t = text_of(r, v);
        bool found =
            t.kind == V_TEXT && text_find(val_text_view(in), val_text_view(t), 0) != SIZE_MAX;
        val_unref(r->h, t);
        return found;
    }
    if (in.kind != V_LIST && in.kind != V_MAP)
        return false;
    for (Walk w = walk_of(in); walk_next(&w);)
        if (val_loose_eq(w.value, v))
            return true;
    return false;
}

static Value arith(Render *r, TOp op, Value a, Value b)
{
    Value out = val_unset();
    double x, y;
    switch (op) {
    case TOP_ADD: return val_arith(AR_ADD, a, b, &out, r->c->err) ? out : val_unset();
    case TOP_SUB: return val_arith(AR_SUB, a, b, &out, r->c->err) ? out : val_unset();
    case TOP_MUL: return val_arith(AR_MUL, a, b, &out, r->c->err) ? out : val_unset();
    case TOP_DIV: return val_arith(AR_DIV, a, b, &out, r->c->err) ? out : val_unset();
    case TOP_MOD: return val_arith(AR_MOD, a, b, &out, r->c->err) ? out : val_unset();
    default: break;
    }
    if (!val_number(a, &out, r->c->err))
        return val_unset();
    x = val_as_double(out);
    if (!val_number(b, &out, r->c->err))
        return val_unset();
    y = val_as_double(out);
    if (op == TOP_INT_DIV && y == 0)
        return failed(r, XS_E_DIV_ZERO, "division by zero");
    double z = op == TOP_POW ? pow(x, y) : floor(x / y);
    if (!isfinite(z))
        return failed(r, XS_E_NOT_FINITE, "the result is not a finite number");
    return z == floor(z) && fabs(z) < 9e15 ? val_int((int64_t)z) : val_dec(z);
}

static Value text_op(Render *r, TOp op, Value a, Value b)
{
    Value x = text_of(r, a), y = x.kind == V_UNSET ? val_unset() : text_of(r, b);
    Value out = val_unset();
    if (y.kind == V_UNSET) {
        val_unref(r->h, x);
        return y;
    }
    Text s = val_text_view(x), t = val_text_view(y);
    if (op == TOP_STARTS)
        out = val_bool(text_starts(s, t));
    else if (op == TOP_ENDS)
        out = val_bool(text_ends(s, t));
    else if (op == TOP_MATCHES) { /* the pattern is the operand of the filter */
        Value args[ARGS_MAX] = {val_ref(x)};
        out = language_filter(r, TEXT("regex_matches"), val_ref(y), args, 1);
    } else {
        out = val_ref(x);
        if (!text_append(r->h, &out, t)) {
            val_unref(r->h, out);
            out = checked(r, val_unset());
        }
    }
    val_unref(r->h, x);
    val_unref(r->h, y);
    return out;
}

static Value compared(TOp op, Value a, Value b)
{
    switch (op) {
    case TOP_EQ: return val_bool(val_loose_eq(a, b));
    case TOP_NE: return val_bool(!val_loose_eq(a, b));
    case TOP_LT: return val_bool(val_compare(a, b) < 0);
    case TOP_LE: return val_bool(val_compare(a, b) <= 0);
    case TOP_GT: return val_bool(val_compare(a, b) > 0);
    default: return val_bool(val_compare(a, b) >= 0);
    }
}

static Value binary(Render *r, const TExpr *e)
{
    Value a = eval(r, e->a), out;
    if (a.kind == V_UNSET)
        return a;
    if (e->op == TOP_COALESCE && !val_is_null(a))
        return a;
    bool t = truth(a);
    if ((e->op == TOP_OR && t) || (e->op == TOP_AND && !t)) {
        val_unref(r->h, a);
        return val_bool(t);
    }
    Value b = eval(r, e->b);
    if (b.kind == V_UNSET || e->op == TOP_COALESCE) {
        val_unref(r->h, a);
        return b;
    }
    if (e->op <= TOP_AND)
        out = val_bool(e->op == TOP_XOR ? t != truth(b) : truth(b));
    else if (e->op <= TOP_GE)
        out = compared(e->op, a, b);
    else if (e->op <= TOP_NOT_IN)
        out = val_bool(contains(r, b, a) == (e->op == TOP_IN));
    else if (e->op == TOP_RANGE)
        out = range_value(r, a, b, 1);
    else if (e->op <= TOP_MATCHES || e->op == TOP_CONCAT)
        out = text_op(r, e->op, a, b);
    else
        out = arith(r, e->op, a, b);
    val_unref(r->h, a);
    val_unref(r->h, b);
    return out;
}

static bool whole(Value v, int64_t *n)
{
    xs_error ignored = {0};
    return val_integer(v, n, &ignored);
}

static Value tested(Render *r, const TExpr *e)
{
    Value v = eval(r, e->a), args[ARGS_MAX];
    uint32_t n = 0;
    if (v.kind == V_UNSET)
        return v;
    int64_t i, by = 0;
    bool yes = false, known = true, ok = eval_items(r, e, args, &n);
    if (!ok)
        known = true;
    else if (is(e->text, "defined"))
        yes = !val_is_null(v);
    else if (is(e->text, "null") || is(e->text, "none"))
        yes = val_is_null(v);
    else if (is(e->text, "empty"))
        yes = val_is_null(v) || (v.kind == V_BOOL && !v.b) || (v.kind == V_TEXT && !v.text->len) ||
              ((v.kind == V_LIST || v.kind == V_MAP) && !val_count(v));
    else if (is(e->text, "iterable"))
        yes = v.kind == V_LIST || v.kind == V_MAP;
    else if (is(e->text, "odd") || is(e->text, "even"))
        yes = whole(v, &i) && (i % 2 != 0) == is(e->text, "odd");
    else if (is(e->text, "divisible by"))
        yes = n == 1 && whole(v, &i) && whole(args[0], &by) && by && by != -1 ? i % by == 0
                                                                              : by == -1;
    else if (is(e->text, "same as"))
        yes = n == 1 && val_strict_eq(v, args[0]);
    else
        known = false;
    unref_all(r, args, n);
    val_unref(r->h, v);
    if (!known)
        return failed(r, XS_E_PARSE, "unknown test behind is");
    return ok ? val_bool(yes != e->negated) : val_unset();
}

static Value extreme(const Value *v, uint32_t n, bool most)
{
    Value best = n ? v[0] : val_null();
    for (uint32_t i = 1; i < n; i++)
        if ((val_compare(v[i], best) > 0) == most)
            best = v[i];
    return val_ref(best);
}

static Value called(Render *r, const TExpr *e)
{
    Value args[ARGS_MAX], out = val_unset();
    uint32_t n = 0;
    int64_t step = 1;
    if (!eval_items(r, e, args, &n))
        out = val_unset();
    else if (is(e->text, "range") && n >= 2)
        out = n < 3 || val_integer(args[2], &step, r->c->err)
                  ? range_value(r, args[0], args[1], step)
                  : val_unset();
    else if (is(e->text, "max") || is(e->text, "min"))
        out = n == 1 && args[0].kind == V_LIST ? extreme(args[0].list->items + args[0].list->start,
                                                         args[0].list->len, is(e->text, "max"))
                                               : extreme(args, n, is(e->text, "max"));
    else if (is(e->text, "cycle") && n == 2 && args[0].kind == V_LIST && args[0].list->len &&
             whole(args[1], &step))
        out = val_ref(
            list_at(args[0].list, (uint32_t)(step < 0 ? -(step + 1) : step) % args[0].list->len));
    else if (is(e->text, "date"))
        out =
            n ? language_filter(r, TEXT("to_timestamp"), val_ref(args[0]), (Value[ARGS_MAX]){0}, 0)
              : language_filter(r, TEXT("to_timestamp"), checked(r, text_new(r->h, TEXT("now"))),
                                (Value[ARGS_MAX]){0}, 0);
    else
        (void)failed(r, XS_E_UNSUPPORTED, "unknown function");
    unref_all(r, args, n);
    return out;
}

/* ---- values ---- */

static Value list_value(Render *r, const TExpr *e)
{
    Value out =
        checked(r, e->kind == TE_MAP ? map_new(r->h, e->nitems) : list_new(r->h, e->nitems));
    for (uint32_t i = 0; out.kind != V_UNSET && i < e->nitems; i++) {
        Value item = eval(r, e->items[i]);
        bool ok = item.kind != V_UNSET;
        if (ok && e->kind == TE_LIST) {
            ok = list_push(r->h, &out, item);
        } else if (ok) {
            Value key = eval(r, e->keys[i]), name = key.kind == V_UNSET ? key : text_of(r, key);
            val_unref(r->h, key);
            ok = name.kind != V_UNSET && map_set(r->h, &out, name, val_ref(item));
            val_unref(r->h, item);
        }
        if (!ok) {
            val_unref(r->h, out);
            out = checked(r, val_unset());
        }
    }
    return out;
}

static Value index_value(Render *r, const TExpr *e)
{
    Value v = eval(r, e->a), b = val_null(), c = val_null(), out = val_unset();
    int64_t from = 0, count = 0;
    if (v.kind == V_UNSET)
        return v;
    if (e->b)
        b = eval(r, e->b);
    if (e->c)
        c = eval(r, e->c);
    if (b.kind == V_UNSET || c.kind == V_UNSET)
        out = val_unset();
    else if (e->kind == TE_INDEX) {
        out = val_step(r->h, v, b, r->c->err);
        if (out.kind == V_UNSET && r->c->err->code == XS_OK)
            out = val_null();
    } else if ((val_is_null(b) || val_integer(b, &from, r->c->err)) &&
               (val_is_null(c) || val_integer(c, &count, r->c->err)))
        out = slice_value(r, v, from, count, val_is_null(c));
    val_unref(r->h, v);
    val_unref(r->h, b);
    val_unref(r->h, c);
    return out;
}

static Value conditional(Render *r, const TExpr *e)
{
    Value a = eval(r, e->a);
    if (a.kind == V_UNSET)
        return a;
    bool t = truth(a);
    if (t && !e->b)
        return a;
    val_unref(r->h, a);
    const TExpr *then = t ? e->b : e->c;
    return then ? eval(r, then) : checked(r, text_new(r->h, TEXT("")));
}

static Value eval(Render *r, const TExpr *e)
{
    Value a, zero = val_int(0), out;
    switch (e->kind) {
    case TE_CONST: return checked(r, val_from_const(r->h, e->value));
    case TE_NAME: return name_value(r, e);
    case TE_MEMBER: return member_value(r, e);
    case TE_INDEX:
    case TE_SLICE: return index_value(r, e);
    case TE_FILTER: return filtered(r, e);
    case TE_CALL: return called(r, e);
    case TE_TEST: return tested(r, e);
    case TE_BINARY: return binary(r, e);
    case TE_COND: return conditional(r, e);
    case TE_LIST:
    case TE_MAP: return list_value(r, e);
    case TE_NOT:
    case TE_MINUS: break;
    }
    a = eval(r, e->a);
    if (a.kind == V_UNSET)
        return a;
    out = e->kind == TE_NOT ? val_bool(!truth(a)) : arith(r, TOP_SUB, zero, a);
    val_unref(r->h, a);
    return out;
}

/* ---- nodes ---- */

static bool render(Render *r, const TNode *n);

static bool local_set(Render *r, Text name, Value v, bool fresh)
{
    Local *l = fresh ? NULL : local_find(r, name);
    if (!l && r->nlocals == LOCALS_MAX) {
        val_unref(r->h, v);
        return failed(r, XS_E_LIMIT, "too many names").kind != V_UNSET;
    }
    if (!l)
        l = &r->locals[r->nlocals++];
    else
        val_unref(r->h, l->value);
    *l = (Local){name, v};
    return true;
}

static void locals_cut(Render *r, uint32_t n)
{
    while (r->nlocals > n)
        val_unref(r->h, r->locals[--r->nlocals].value);
}

/* Loops end when the request's time is up. */
static bool may_go_on(Render *r)
{
    if (++r->turns % LOOKS_AT_CLOCK || !r->c->fiber || fiber_left_ms(r->c->fiber) > 0)
        return true;
    return call_fail(r->c, XS_E_DEADLINE, NULL);
}

static bool for_node(Render *r, const TNode *n)
{
    Value in = eval(r, n->expr);
    if (in.kind == V_UNSET)
        return false;
    bool container = in.kind == V_LIST || in.kind == V_MAP, ok = true;
    uint32_t mark = r->nlocals;
    Loop loop = {.parent = r->loop, .length = container ? val_count(in) : 0};
    if (!loop.length) {
        ok = !n->other || render(r, n->other);
    } else {
        r->loop = &loop;
        for (Walk w = walk_of(in); ok && walk_next(&w);) {
            loop.index0 = w.pos;
            ok = may_go_on(r) && local_set(r, n->name, val_ref(w.value), true);
            Value key = ok && n->name2.len ? checked(r, walk_key(&w)) : val_null();
            ok = ok && key.kind != V_UNSET &&
                 (!n->name2.len || local_set(r, n->name2, key, true)) && render(r, n->body);
            locals_cut(r, mark);
        }
        r->loop = loop.parent;
    }
    val_unref(r->h, in);
    return ok;
}

static bool if_node(Render *r, const TNode *n)
{
    for (; n; n = n->other) {
        if (!n->expr)
            return render(r, n->body);
        Value v = eval(r, n->expr);
        if (v.kind == V_UNSET)
            return false;
        bool t = truth(v);
        val_unref(r->h, v);
        if (t)
            return render(r, n->body);
    }
    return true;
}

static bool set_node(Render *r, const TNode *n)
{
    Value v;
    if (n->expr) {
        v = eval(r, n->expr);
    } else {
        Buf b = flt_buf(), *out = r->out;
        r->out = &b;
        bool ok = render(r, n->body);
        r->out = out;
        v = ok && !b.failed ? checked(r, text_new(r->h, buf_view(&b))) : val_unset();
        if (b.failed)
            (void)failed(r, XS_E_LIMIT, "the text is too large");
        buf_deinit(&b);
    }
    return v.kind != V_UNSET && local_set(r, n->name, v, false);
}

static bool render(Render *r, const TNode *n)
{
    bool ok = true;
    for (; n && ok; n = n->next) {
        switch (n->kind) {
        case TN_TEXT: buf_text(r->out, n->text); break;
        case TN_IF: ok = if_node(r, n); break;
        case TN_FOR: ok = for_node(r, n); break;
        case TN_SET: ok = set_node(r, n); break;
        case TN_OUT: {
            Value v = eval(r, n->expr);
            ok = v.kind != V_UNSET && (r->fn && r->out == r->fn_out ? r->fn(r->fn_ctx, v, r->out)
                                                                    : write_value(r, v, r->out));
            val_unref(r->h, v);
        }
        }
        if (ok && r->out->failed)
            ok = failed(r, XS_E_LIMIT, "the text is too large").kind != V_UNSET;
    }
    return ok;
}

bool template_render_out(Call *c, const TNode *root, Value vars, Value input, Value auth,
                         TemplateOutFn fn, void *ctx, Buf *out)
{
    Render r = {.c = c,
                .h = c->heap,
                .vars = vars,
                .input = input,
                .auth = auth,
                .out = out,
                .fn = fn,
                .fn_ctx = ctx,
                .fn_out = out};
    bool ok = render(&r, root);
    locals_cut(&r, 0);
    return ok;
}

bool template_render(Call *c, const TNode *root, Value vars, Value input, Value auth, Buf *out)
{
    return template_render_out(c, root, vars, input, auth, NULL, NULL, out);
}
