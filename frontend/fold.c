/* fold.c - values known at compile time: literals, and pure operators on them that cannot fail. */
#include "frontend/prog.h"

static const Const *fold_list(Comp *c, const Expr *e)
{
    Const *l = k_list(c);
    for (size_t i = 0; i < e->items.len; i++) {
        const Const *item = fold_const(c, e->items.ptr[i]);
        if (!item)
            return NULL;
        k_push(c, l, item);
    }
    return l;
}

static const Const *fold_map(Comp *c, const Expr *e)
{
    Const *m = k_map(c);
    for (size_t i = 0; i < e->pairs.len; i++) {
        const Pair *p = &e->pairs.ptr[i];
        if (p->disabled)
            continue;
        const Const *v = p->key || !p->text.ptr || !p->value ? NULL : fold_const(c, p->value);
        if (!v)
            return NULL;
        if (!const_append(c->a, m, p->text, v)) /* keys differ: the parser checked */
            c->oom = true;
    }
    return m;
}

static const Const *fold_binary(Comp *c, const Expr *e)
{
    const Const *a = fold_const(c, e->a), *b = a ? fold_const(c, e->b) : NULL;
    if (!a || !b)
        return NULL;
    if (e->op == BIN_CONCAT && a->kind == C_TEXT && b->kind == C_TEXT)
        return k_text(c,
                      arena_printf(c->a, TEXT_FMT TEXT_FMT, TEXT_ARG(a->text), TEXT_ARG(b->text)));
    if (a->kind != C_INT || b->kind != C_INT)
        return NULL;
    int64_t r;
    if (e->op == BIN_ADD && !__builtin_add_overflow(a->i, b->i, &r))
        return k_int(c, r);
    if (e->op == BIN_SUB && !__builtin_sub_overflow(a->i, b->i, &r))
        return k_int(c, r);
    if (e->op == BIN_MUL && !__builtin_mul_overflow(a->i, b->i, &r))
        return k_int(c, r);
    return NULL;
}

const Const *fold_const(Comp *c, const Expr *e)
{
    if (!e)
        return NULL;
    switch (e->kind) {
    case EX_NULL: return &const_null;
    case EX_BOOL: return const_bool(e->i != 0);
    case EX_INT: return k_int(c, e->i);
    case EX_DEC: return k_dec(c, e->d);
    case EX_TEXT: return k_text(c, e->text);
    case EX_LIST: return fold_list(c, e);
    case EX_MAP: return fold_map(c, e);
    case EX_BINARY: return fold_binary(c, e);
    default: return NULL;
    }
}
