/* expr.c - compiling expressions at run time, and path texts with conditions in brackets.
 * Specification: filters.md §1.6 and §4.10. */
#include "stdlib/filters/expr.h"

#include "core/bundle.h"
#include "core/num.h"
#include "core/text.h"
#include "stdlib/natives.h"
#include "stdlib/registry.h"

/* ---- running ---- */

/* A copy of v in another heap, through the arena. */
static Value copy_value(Heap *to, Arena *a, Value v)
{
    const Const *k = val_to_const(a, v);
    return k ? val_from_const(to, k) : val_unset();
}

static Value run_program(Call *c, Program *p, Arena *a, Value input)
{
    Services inner = *c->services;
    inner.compile_expr = NULL; /* an expression in an expression would recurse without a bound */
    Value out = val_unset();
    Limits limits = limits_default;
    int64_t left = c->fiber ? fiber_left_ms(c->fiber) : INT64_MAX;
    if (left != INT64_MAX)
        limits.deadline_ms = inner.now_ms(inner.ctx) + left;
    Fiber *f = fiber_new(p, &inner, c->run, &limits);
    Value in = f ? copy_value(fiber_heap(f), a, input) : val_unset();
    if (in.kind == V_UNSET) {
        call_fail(c, XS_E_NOMEM, NULL);
    } else if (!fiber_call(f, 0, in, c->err)) {
        out = val_unset();
    } else if (fiber_run(f) == FIBER_DONE) {
        out = copy_value(c->heap, a, fiber_result(f));
        if (out.kind == V_UNSET)
            call_fail(c, XS_E_NOMEM, NULL);
    } else {
        Text name = {0};
        Value payload = val_unset();
        const xs_error *err = fiber_error(f, &name, &payload);
        if (err && err->code != XS_OK)
            call_fail(c, err->code, "%s", err->message);
        else
            call_fail(c, XS_E_UNSUPPORTED, "An expression cannot wait");
    }
    fiber_free(f);
    return out;
}

/* The identifier at `at`, which moves behind it. */
static Text take_ident(Text source, size_t *at)
{
    size_t from = *at;
    while (*at < source.len && text_is_ident(text_slice(source, from, *at + 1)))
        ++*at;
    return text_slice(source, from, *at);
}

/* The variables the source names ($limit, $var.limit), as members "$name" of the input. */
static bool add_scope(Call *c, Text source, Value *input)
{
    for (size_t at = 0; c->fiber && (at = text_find(source, TEXT("$"), at)) != SIZE_MAX;) {
        at++;
        Text name = take_ident(source, &at);
        if (text_eq(name, TEXT("var")) && at < source.len && source.ptr[at] == '.') {
            at++;
            name = take_ident(source, &at);
        }
        Value v = name.len ? fiber_var(c->fiber, name) : val_unset();
        if (v.kind == V_UNSET)
            continue;
        Buf key = flt_buf();
        buf_char(&key, '$');
        buf_text(&key, name);
        bool ok = !key.failed && map_set_text(c->heap, input, buf_view(&key), val_ref(v));
        val_unref(c->heap, v);
        buf_deinit(&key);
        if (!ok)
            return flt_memory(c);
    }
    return true;
}

/* Consumes the input, an object. */
static Value expr_run(Call *c, Text source, Value input)
{
    Value out = val_unset();
    if (input.kind == V_UNSET || !add_scope(c, source, &input)) {
        val_unref(c->heap, input);
        flt_memory(c);
        return out;
    }
    if (!c->services || !c->services->compile_expr) {
        val_unref(c->heap, input);
        call_fail(c, XS_E_UNSUPPORTED, "Expressions cannot be compiled here");
        return out;
    }
    Arena a;
    arena_init(&a, 0);
    BundleImage image = {0};
    if (c->services->compile_expr(c->services->ctx, &a, source, true, &image, c->err)) {
        Program *p = program_load(&image, &stdlib_natives, c->err);
        if (p)
            out = run_program(c, p, &a, input);
        program_unref(p);
    }
    arena_deinit(&a);
    val_unref(c->heap, input);
    c->err->pos = XS_NO_POS; /* a line of the expression, not of the program */
    return out;
}

bool flt_to_expr(Call *c)
{
    Text source;
    if (!call_text(c, 0, &source))
        return false;
    Value out = expr_run(c, source, map_new(c->heap, 2));
    return out.kind != V_UNSET && call_return(c, out);
}

/* ---- conditions in path texts ---- */

/* Offset of the bracket that closes the one at `at`, or SIZE_MAX; quoted texts are skipped. */
static size_t closing_bracket(Text path, size_t at)
{
    size_t depth = 0;
    char quote = 0;
    for (size_t i = at; i < path.len; i++) {
        char ch = path.ptr[i];
        if (quote) {
            i += ch == '\\';
            quote = ch == quote ? 0 : quote;
        } else if (ch == '"' || ch == '\'') {
            quote = ch;
        } else if (ch == '[') {
            depth++;
        } else if (ch == ']' && --depth == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* The next bracket with an expression in it at or behind `from`. */
static bool next_condition(Text path, size_t from, size_t *open, size_t *close)
{
    for (size_t at = from; (at = text_find(path, TEXT("["), at)) != SIZE_MAX;) {
        size_t end = closing_bracket(path, at);
        if (end == SIZE_MAX)
            return false;
        Text inside = text_trim(text_slice(path, at + 1, end), TEXT(" "));
        int64_t n;
        bool plain = !inside.len || inside.ptr[0] == '"' || inside.ptr[0] == '\'' ||
                     num_parse_int(inside, &n) || text_is_ident(inside);
        if (!plain) {
            *open = at;
            *close = end;
            return true;
        }
        at = end + 1;
    }
    return false;
}

bool path_has_condition(Text path)
{
    size_t open, close;
    return next_condition(path, 0, &open, &close);
}

/* Steps of the text between two conditions. */
static bool add_steps(Call *c, Value *steps, Text part, bool first)
{
    if (!first && part.len && part.ptr[0] == '.')
        part = text_slice(part, 1, part.len);
    if (!part.len)
        return true;
    Value keys = val_split_path(c->heap, part, c->err);
    if (keys.kind == V_UNSET)
        return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < keys.list->len; i++)
        ok = list_push(c->heap, steps, val_ref(list_at(keys.list, i)));
    val_unref(c->heap, keys);
    return ok || flt_memory(c);
}

/* A condition is a step that is a list of its text. */
static bool add_condition(Call *c, Value *steps, Text condition)
{
    Value step = list_new(c->heap, 1);
    if (step.kind == V_LIST && list_push(c->heap, &step, text_new(c->heap, condition)))
        return list_push(c->heap, steps, step) || flt_memory(c);
    val_unref(c->heap, step);
    return flt_memory(c);
}

/* Names, indexes and conditions of a path. V_UNSET: error raised. */
static Value parse_steps(Call *c, Text path)
{
    Value steps = list_new(c->heap, 4);
    size_t from = 0, open, close;
    bool ok = steps.kind == V_LIST || flt_memory(c);
    while (ok && next_condition(path, from, &open, &close)) {
        ok = add_steps(c, &steps, text_slice(path, from, open), from == 0) &&
             add_condition(c, &steps, text_slice(path, open + 1, close));
        from = close + 1;
    }
    if (ok && add_steps(c, &steps, text_slice(path, from, path.len), from == 0))
        return steps;
    val_unref(c->heap, steps);
    return val_unset();
}

/* The condition's value for every element of the list. V_UNSET: error raised. */
static Value evaluate(Call *c, Value list, Value step)
{
    Buf source = flt_buf();
    buf_cstr(&source, "$parent|map:(");
    buf_text(&source, val_text_view(list_at(step.list, 0)));
    buf_cstr(&source, ")");
    Value input = map_new(c->heap, 2), out = val_unset();
    bool ok = input.kind == V_MAP && map_set_text(c->heap, &input, TEXT("$parent"), val_ref(list));
    if (ok && !source.failed) {
        out = expr_run(c, buf_view(&source), input);
    } else {
        val_unref(c->heap, input);
        flt_memory(c);
    }
    buf_deinit(&source);
    if (out.kind == V_UNSET || (out.kind == V_LIST && out.list->len == list.list->len))
        return out;
    val_unref(c->heap, out); /* text that closes the parenthesis itself */
    call_fail(c, XS_E_PARSE, NULL);
    return val_unset();
}

/* Elements that match. V_UNSET with no error: not a list. */
static Value matching(Call *c, Value v, Value step)
{
    if (v.kind != V_LIST)
        return val_unset();
    Value truths = evaluate(c, v, step);
    if (truths.kind == V_UNSET)
        return truths;
    Value made = list_new(c->heap, 0);
    bool ok = made.kind == V_LIST;
    for (uint32_t i = 0; ok && i < v.list->len; i++)
        if (val_truthy(list_at(truths.list, i)))
            ok = list_push(c->heap, &made, val_ref(list_at(v.list, i)));
    val_unref(c->heap, truths);
    if (ok)
        return made;
    val_unref(c->heap, made);
    flt_memory(c);
    return val_unset();
}

bool path_read_conditions(Call *c, Value in, Text path, Value *out)
{
    Value steps = parse_steps(c, path);
    if (steps.kind == V_UNSET)
        return false;
    Value at = val_ref(in);
    for (uint32_t i = 0; i < steps.list->len && at.kind != V_UNSET; i++) {
        Value step = list_at(steps.list, i);
        Value next =
            step.kind == V_LIST ? matching(c, at, step) : val_step(c->heap, at, step, c->err);
        val_unref(c->heap, at);
        at = next;
    }
    val_unref(c->heap, steps);
    *out = at;
    return at.kind != V_UNSET || c->err->code == XS_OK;
}

/* ---- the places a path means ---- */

typedef struct Expand {
    Call *c;
    Value steps; /* borrowed */
    Value keys;  /* so far */
    Value out;
} Expand;

enum { TARGET_MAX_KEYS = 512 }; /* bounds the recursion through nested lists */

static bool expand(Expand *e, Value at, uint32_t i);

/* Go on below `at` by one key. */
static bool descend(Expand *e, Value at, Value key, uint32_t next)
{
    Heap *h = e->c->heap;
    if (e->keys.list->len >= TARGET_MAX_KEYS)
        return call_fail(e->c, XS_E_LIMIT, "The value is nested too deep.");
    Value below = val_step(h, at, key, e->c->err);
    if (below.kind == V_UNSET && e->c->err->code != XS_OK)
        return false;
    bool ok = list_push(h, &e->keys, val_ref(key)) ? expand(e, below, next) : flt_memory(e->c);
    val_unref(h, below);
    if (ok)
        val_unref(h, list_pop(h, &e->keys));
    return ok;
}

static bool is_name(Value key)
{
    int64_t n;
    return key.kind == V_TEXT && !num_parse_int(val_text_view(key), &n);
}

static bool expand_matching(Expand *e, Value at, Value step, uint32_t next)
{
    if (at.kind != V_LIST)
        return true;
    Value truths = evaluate(e->c, at, step);
    bool ok = truths.kind == V_LIST;
    for (uint32_t i = 0; ok && i < at.list->len; i++)
        if (val_truthy(list_at(truths.list, i)))
            ok = descend(e, at, val_int(i), next);
    val_unref(e->c->heap, truths);
    return ok;
}

static bool expand(Expand *e, Value at, uint32_t i)
{
    Heap *h = e->c->heap;
    if (i == e->steps.list->len) {
        Value keys = val_ref(e->keys);
        if (!val_make_unique(h, &keys)) {
            val_unref(h, keys);
            return flt_memory(e->c);
        }
        return list_push(h, &e->out, keys) || flt_memory(e->c);
    }
    Value step = list_at(e->steps.list, i);
    if (step.kind == V_LIST)
        return expand_matching(e, at, step, i + 1);
    if (at.kind != V_LIST || !at.list->len || !is_name(step))
        return descend(e, at, step, i + 1);
    bool ok = true;
    for (uint32_t j = 0; ok && j < at.list->len; j++)
        ok = descend(e, at, val_int(j), i);
    return ok;
}

Value path_targets(Call *c, Value in, Text path)
{
    Heap *h = c->heap;
    Expand e = {c, parse_steps(c, path), list_new(h, 4), list_new(h, 4)};
    bool ok = e.steps.kind == V_LIST;
    if (ok && (e.keys.kind == V_UNSET || e.out.kind == V_UNSET))
        ok = flt_memory(c);
    ok = ok && expand(&e, in, 0);
    val_unref(h, e.steps);
    val_unref(h, e.keys);
    if (ok)
        return e.out;
    val_unref(h, e.out);
    return val_unset();
}
