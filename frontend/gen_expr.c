/* gen_expr.c - expressions to instructions. Filters specification, sections 1.5, 1.6, 4.1, 4.5;
 * runtime specification, section 1.3. */
#include "frontend/gen.h"

/* What a missing step of a path does. A path that reads null because of where it starts does so
 * behind that start only: what parentheses hold is read by its own rules. */
typedef enum Missing { MISSING_RAISES, MISSING_NULL_HERE, MISSING_NULL } Missing;

static void value(Gen *g, Expr *e, int dst, Missing missing);
static int any(Gen *g, Expr *e, Missing missing);

static Expr *mutable_expr(const Expr *e)
{
    union {
        const Expr *in;
        Expr *out;
    } u = {.in = e};
    return u.out;
}

/* ---- questions about a tree ---- */

typedef struct Mention {
    Text name;
    bool found;
} Mention;

static bool find_name(Expr *e, void *ctx)
{
    Mention *m = ctx;
    if ((e->kind == EX_VAR || (e->kind == EX_MEMBER && e->dollar)) && text_eq(e->text, m->name))
        m->found = true;
    return !m->found;
}

bool mentions_var(const Expr *e, Text name)
{
    Mention m = {.name = name};
    expr_walk(mutable_expr(e), find_name, &m);
    return m.found;
}

bool mentions_index(const Expr *e)
{
    return e && mentions_var(e, TEXT("index"));
}

static void write_path(Comp *c, const Expr *e, Buf *b)
{
    if (e->kind == EX_VAR) {
        buf_text(b, e->text);
    } else if (e->kind == EX_MEMBER) {
        write_path(c, e->a, b);
        buf_char(b, '.');
        if (e->dollar)
            buf_char(b, '$');
        buf_text(b, e->text);
    } else if (e->kind == EX_INDEX) {
        write_path(c, e->a, b);
        if (e->b && e->b->kind == EX_INT)
            buf_printf(b, "[%lld]", (long long)e->b->i);
        else if (e->b && e->b->kind == EX_TEXT)
            buf_printf(b, "[\"" TEXT_FMT "\"]", TEXT_ARG(e->b->text));
        else
            buf_cstr(b, "[…]");
    } else {
        buf_cstr(b, "(…)");
    }
}

Text path_text(Comp *c, const Expr *e)
{
    Buf b = BUF_INIT;
    write_path(c, e, &b);
    Text t = comp_text(c, buf_view(&b));
    buf_deinit(&b);
    return t;
}

static bool is_root(const Expr *e, const char *name)
{
    return e && e->kind == EX_VAR && text_eq(e->text, text_from(name));
}

static bool has_local(const Gen *g, Text name)
{
    return map_get(&g->vars, name) != NULL;
}

/* ---- variables ---- */

static int elem_register(const Gen *g, Text name)
{
    const Elem *el = g->elem;
    if (!el)
        return -1;
    if (text_eq(name, TEXT("$")) || text_eq(name, TEXT("this")))
        return el->el;
    if (text_eq(name, TEXT("index")) || text_eq(name, TEXT("parent")) ||
        text_eq(name, TEXT("result"))) {
        for (; el; el = el->outer) {
            int r = name.ptr[0] == 'i' ? el->index : name.ptr[0] == 'p' ? el->parent : el->result;
            if (r >= 0)
                return r;
        }
        return -1;
    }
    if (name.len == 0 || name.len > 3 || name.ptr[0] < '0' || name.ptr[0] > '9')
        return -1;
    int want = 0, depth = 0;
    for (size_t i = 0; i < name.len; i++)
        want = want * 10 + (name.ptr[i] - '0');
    for (const Elem *at = el; at; at = at->outer)
        depth++;
    for (; el; el = el->outer)
        if (--depth == want)
            return el->el;
    return -1;
}

static int sys_of(Text name)
{
    for (int i = 0; i < SYS_COUNT; i++) {
        Text s = text_from(sys_spelling[i]);
        if (text_starts(s, TEXT("$env.$")) && text_eq(text_slice(s, 6, s.len), name))
            return i;
    }
    return -1;
}

int var_read(Gen *g, Text name, bool tolerant)
{
    Var *v = gen_var(g, name);
    int reg = v->reg;
    bool known = gen_is_set(g, v);
    if (reg < 0) {
        reg = gen_temp(g);
        emit_abx(g, OP_GETFAR, reg, v->far_slot);
    }
    if (known)
        return reg;
    if (!tolerant) {
        emit_extra(g, OP_CHKSET, reg, 0, 0, emit_text(g->em, name));
        if (!g->maybe)
            gen_mark_set(g, v);
        return reg;
    }
    int t = v->reg < 0 ? reg : gen_temp(g);
    emit_move(g, t, reg);
    uint32_t skip = emit_jump(g, OP_JNNULL, t, 0, 0);
    emit_abc(g, OP_LOADNULL, t, 0, 0);
    patch_jump(g, skip, gen_pc(g));
    return t;
}

static int declared_input(const Gen *g, Text name)
{
    for (uint32_t i = 0; i < g->ninputs; i++)
        if (text_eq(g->k->input.ptr[i]->name, name))
            return (int)i;
    return -1;
}

/* The register that already holds an expression, -1 = none. */
static int place_of(Gen *g, Expr *e, Missing missing)
{
    if (e->kind == EX_MEMBER && !e->dollar && is_root(e->a, "input"))
        return declared_input(g, e->text);
    if (e->kind != EX_VAR)
        return -1;
    if (text_eq(e->text, TEXT("input")))
        return g->whole_input && !g->pr->scoped ? 0 : -1;
    int r = elem_register(g, e->text);
    if (r >= 0)
        return r;
    if (has_local(g, e->text))
        return var_read(g, e->text, missing);
    return -1;
}

/* A variable of the one who runs the expression. */
static void scoped_variable(Gen *g, const Expr *e, int dst, Missing missing)
{
    Text key = arena_printf(g->c->a, "$" TEXT_FMT, TEXT_ARG(e->text));
    g->c->oom = g->c->oom || !key.ptr;
    uint32_t pc = gen_pc(g);
    emit_extra(g, missing ? OP_GETFT : OP_GETF, dst, 0, 0, emit_text(g->em, key));
    if (!missing)
        emit_name(g, pc, e->text);
}

static void variable(Gen *g, Expr *e, int dst, Missing missing)
{
    Text n = e->text;
    int sys;
    if (g->pr->scoped && text_eq(n, TEXT("input")))
        scoped_variable(g, e, dst, missing);
    else if (text_eq(n, TEXT("input")))
        emit_abc(g, OP_GETINPUT, dst, 0, 0);
    else if (text_eq(n, TEXT("auth")))
        emit_abc(g, OP_GETSYS, dst, SYS_AUTH, 0);
    else if (text_eq(n, TEXT("env")))
        emit_abc(g, OP_GETSYS, dst, SYS_ENV, 0);
    else if (text_eq(n, TEXT("error")))
        emit_abc(g, OP_GETSYS, dst, SYS_ERROR, 0);
    else if (text_eq(n, TEXT("channel")))
        emit_abc(g, OP_GETSYS, dst, SYS_CHANNEL, 0);
    else if (text_eq(n, TEXT("var")))
        gen_vars_object(g, dst);
    else if (g->pr->expr && element_name(n))
        emit_extra(g, OP_GETFT, dst, 0, 0,
                   emit_text(g->em, arena_printf(g->c->a, "$" TEXT_FMT, TEXT_ARG(n))));
    else if ((sys = sys_of(n)) >= 0)
        emit_abc(g, OP_GETSYS, dst, sys, 0);
    else if (g->pr->scoped)
        scoped_variable(g, e, dst, missing);
    else
        emit_move(g, dst, var_read(g, n, missing));
}

void gen_vars_object(Gen *g, int dst)
{
    emit_abx(g, OP_NEWMAP, dst, 0);
    size_t n = g->var_list.len;
    for (size_t i = 0; i < n; i++) {
        Var *v = g->var_list.ptr[i];
        int mark = g->top, reg = v->reg;
        if (reg < 0) {
            reg = gen_temp(g);
            emit_abx(g, OP_GETFAR, reg, v->far_slot);
        }
        Jumps skip = {0};
        if (!gen_is_set(g, v))
            jumps_add(g, &skip, emit_jump(g, OP_JNULL, reg, 0, 0));
        emit_extra(g, OP_SETF, dst, reg, 0, emit_text(g->em, v->name));
        patch_here(g, &skip);
        g->top = mark;
    }
}

/* ---- members ---- */

/* Whether a path reads null where a step is missing, by where it starts. */
static bool tolerant_root(const Gen *g, const Expr *e)
{
    e = e->a;
    while ((e->kind == EX_MEMBER || e->kind == EX_INDEX) && !e->paren)
        e = e->a;
    if (e->kind != EX_VAR || e->paren)
        return true;
    if (text_eq(e->text, TEXT("auth")) || text_eq(e->text, TEXT("env")) ||
        text_eq(e->text, TEXT("error")) || text_eq(e->text, TEXT("var")))
        return true;
    if (text_eq(e->text, TEXT("input")))
        return g->whole_input && !g->pr->scoped;
    if (elem_register(g, e->text) >= 0)
        return true;
    return g->pr->expr && element_name(e->text) && !has_local(g, e->text);
}

static Missing inside(const Expr *e, Missing missing)
{
    return e->paren && missing == MISSING_NULL_HERE ? MISSING_RAISES : missing;
}

static Missing at_root(const Gen *g, const Expr *e, Missing missing)
{
    return missing == MISSING_RAISES && tolerant_root(g, e) ? MISSING_NULL_HERE : missing;
}

static bool all_digits(Text t)
{
    for (size_t i = 0; i < t.len; i++)
        if (t.ptr[i] < '0' || t.ptr[i] > '9')
            return false;
    return t.len > 0 && t.len < 16;
}

static void get_key(Gen *g, const Expr *e, int dst, int base, int key, Missing missing)
{
    uint32_t pc = gen_pc(g);
    emit_abc(g, missing ? OP_GETIT : OP_GETI, dst, base, key);
    if (!missing)
        emit_name(g, pc, path_text(g->c, e));
}

static bool looks_logical(const Expr *e)
{
    return e->kind == EX_NOT || (e->kind == EX_BINARY && (e->op == BIN_AND || e->op == BIN_OR ||
                                                          (e->op >= BIN_EQ && e->op <= BIN_GE)));
}

/* [cond] with $$: the elements for which it holds. */
static bool is_selection(const Gen *g, const Expr *e)
{
    return e->b && mentions_element(e->b) && ((!g->elem && !g->pr->expr) || looks_logical(e->b));
}

/* The container a step reads from. When dst is the newest temporary it can hold it on the way, so
 * that no second owner stays behind. */
static int base_of_step(Gen *g, Expr *e, int dst, Missing missing)
{
    int place = place_of(g, e, inside(e, missing));
    if (place >= 0)
        return place;
    int t = g->opt && dst >= g->fixed && dst == g->top - 1 ? dst : gen_temp(g);
    value(g, e, t, missing);
    return t;
}

/* An index that is computed or a number: no member name. */
static bool plain_index(const Gen *g, const Expr *e)
{
    return e->kind == EX_INDEX && e->b && e->b->kind != EX_TEXT && !is_selection(g, e);
}

/* a[i].name without holding a[i]. */
static bool element_member(Gen *g, const Expr *e, int dst, Text name, Missing missing)
{
    Expr *inner = e->a;
    if (!g->opt || !plain_index(g, inner) || inner->paren || is_root(inner->a, "env") ||
        is_root(inner->a, "input"))
        return false;
    int base = any(g, inner->a, missing), i = gen_any(g, inner->b);
    g->pos = e->pos;
    uint32_t pc = gen_pc(g);
    emit_extra(g, missing ? OP_GETIFT : OP_GETIF, dst, base, i, emit_text(g->em, name));
    if (!missing) {
        emit_name(g, pc, path_text(g->c, inner));
        emit_name(g, pc, path_text(g->c, e));
    }
    return true;
}

static void get_name(Gen *g, const Expr *e, int dst, int base, Text name, Missing missing)
{
    uint32_t pc = gen_pc(g);
    emit_extra(g, missing ? OP_GETFT : OP_GETF, dst, base, 0, emit_text(g->em, name));
    if (!missing)
        emit_name(g, pc, path_text(g->c, e));
}

static void env_member(Gen *g, const Expr *e, Text name, int dst)
{
    int sys = e->dollar ? sys_of(name) : -1;
    if (sys >= 0)
        emit_abc(g, OP_GETSYS, dst, sys, 0);
    else if (e->dollar)
        emit_abc(g, OP_LOADNULL, dst, 0, 0);
    else
        emit_extra(g, OP_GETENV, dst, 0, 0, emit_text(g->em, name));
}

static void member(Gen *g, Expr *e, int dst, Missing missing)
{
    if (is_root(e->a, "env") && !e->a->paren) {
        env_member(g, e, e->text, dst);
        return;
    }
    missing = at_root(g, e, missing);
    bool digits = all_digits(e->text) && !e->quoted;
    if (!e->dollar && !digits && element_member(g, e, dst, e->text, missing))
        return;
    int base = base_of_step(g, e->a, dst, missing);
    g->pos = e->pos;
    if (e->dollar) {
        int r = elem_register(g, e->text);
        get_key(g, e, dst, base, r >= 0 ? r : var_read(g, e->text, false), missing);
    } else if (digits) {
        int key = gen_temp(g);
        int64_t n = 0;
        for (size_t i = 0; i < e->text.len; i++)
            n = n * 10 + (e->text.ptr[i] - '0');
        emit_load(g, key, k_int(g->c, n));
        get_key(g, e, dst, base, key, missing);
    } else {
        get_name(g, e, dst, base, e->text, missing);
    }
}

static void selection(Gen *g, Expr *e, int dst, Missing missing)
{
    int list = any(g, e->a, at_root(g, e, missing));
    int out = gen_temp(g);
    g->pos = e->pos;
    EachLoop l;
    emit_abx(g, OP_NEWLIST, out, 0);
    each_begin(g, &l, list, e->b);
    Jumps no = {0};
    gen_cond(g, e->b, false, &no);
    emit_abc(g, OP_LPUSH, out, l.elem.el, 0);
    patch_here(g, &no);
    each_end(g, &l);
    emit_abc(g, OP_TAKE, dst, out, 0);
}

/* a[i][k] without holding a[i]. */
static bool two_steps(Gen *g, Expr *e, int dst, Missing missing)
{
    Expr *inner = e->a;
    if (!plain_index(g, e) || !plain_index(g, inner) || inner->paren || is_root(inner->a, "env") ||
        is_root(inner->a, "input"))
        return false;
    int base = any(g, inner->a, missing), i = gen_any(g, inner->b), k = gen_any(g, e->b);
    g->pos = e->pos;
    uint32_t pc = gen_pc(g);
    if (!g->opt) {
        int t = gen_temp(g);
        get_key(g, inner, t, base, i, missing);
        get_key(g, e, dst, t, k, missing);
        return true;
    }
    emit_extra(g, missing ? OP_GETIIT : OP_GETII, dst, base, i, (uint32_t)k);
    if (!missing) {
        emit_name(g, pc, path_text(g->c, inner));
        emit_name(g, pc, path_text(g->c, e));
    }
    return true;
}

static void index_value(Gen *g, Expr *e, int dst, Missing missing)
{
    if (!e->b) {
        report(g->c, D_UNEXPECTED_TOKEN, e->pos, NO_HINT, "[] is only available in a column path");
        return;
    }
    if (is_selection(g, e)) {
        selection(g, e, dst, missing);
        return;
    }
    if (is_root(e->a, "env") && e->b->kind == EX_TEXT) {
        env_member(g, e, e->b->text, dst);
        return;
    }
    int input =
        is_root(e->a, "input") && e->b->kind == EX_TEXT ? declared_input(g, e->b->text) : -1;
    if (input >= 0) {
        emit_move(g, dst, input);
        return;
    }
    missing = at_root(g, e, missing);
    if (two_steps(g, e, dst, missing))
        return;
    bool name = e->b->kind == EX_TEXT && !all_digits(e->b->text);
    if (name && element_member(g, e, dst, e->b->text, missing))
        return;
    int base = base_of_step(g, e->a, dst, missing);
    if (name) {
        g->pos = e->pos;
        get_name(g, e, dst, base, e->b->text, missing);
        return;
    }
    int key = gen_any(g, e->b);
    g->pos = e->pos;
    get_key(g, e, dst, base, key, missing);
}

/* ---- operators ---- */

static const Op binary_op[BIN_COUNT] = {
    [BIN_EQ] = OP_EQ,       [BIN_NE] = OP_NE,         [BIN_SEQ] = OP_SEQ, [BIN_SNE] = OP_SNE,
    [BIN_LT] = OP_LT,       [BIN_LE] = OP_LE,         [BIN_GT] = OP_LT,   [BIN_GE] = OP_LE,
    [BIN_RANGE] = OP_RANGE, [BIN_CONCAT] = OP_CONCAT, [BIN_ADD] = OP_ADD, [BIN_SUB] = OP_SUB,
    [BIN_MUL] = OP_MUL,     [BIN_DIV] = OP_DIV,       [BIN_MOD] = OP_MOD,
};

/* The value of e when it is a number known now. */
static const Const *number_const(const Gen *g, const Expr *e)
{
    const Const *k = g->opt ? fold_const(g->c, e) : NULL;
    return k && (k->kind == C_INT || k->kind == C_DEC) ? k : NULL;
}

static bool is_small(const Const *k)
{
    return k && k->kind == C_INT && k->i >= -127 && k->i <= 127;
}

/* An operand that is a constant: shorter forms. Sums and products commute. */
static bool binary_const(Gen *g, Expr *e, int dst)
{
    static const Op right[BIN_COUNT] = {[BIN_ADD] = OP_ADDK,
                                        [BIN_SUB] = OP_SUBK,
                                        [BIN_MUL] = OP_MULK,
                                        [BIN_DIV] = OP_DIVK,
                                        [BIN_MOD] = OP_MODK};
    static const Op left[BIN_COUNT] = {
        [BIN_ADD] = OP_ADDK, [BIN_SUB] = OP_KSUB, [BIN_MUL] = OP_MULK};
    const Const *b = number_const(g, e->b), *a = b ? NULL : number_const(g, e->a);
    Op op = b ? right[e->op] : a ? left[e->op] : 0;
    if (!op)
        return false;
    int r = gen_any(g, b ? e->a : e->b);
    const Const *k = b ? b : a;
    g->pos = e->pos;
    if (is_small(k) && (op == OP_ADDK || op == OP_SUBK))
        emit_abc(g, OP_ADDI, dst, r, (int)(uint8_t)(op == OP_ADDK ? k->i : -k->i));
    else
        emit_extra(g, op, dst, r, 0, emit_const(g->em, k));
    return true;
}

static void logic_value(Gen *g, Expr *e, int dst)
{
    Jumps no = {0};
    gen_cond(g, e, false, &no);
    emit_abc(g, OP_LOADBOOL, dst, 1, 0);
    uint32_t end = emit_jump(g, OP_JMP, 0, 0, 0);
    patch_here(g, &no);
    emit_abc(g, OP_LOADBOOL, dst, 0, 0);
    patch_jump(g, end, gen_pc(g));
}

/* a when the jump holds for it, else b */
static void either(Gen *g, Expr *a, Expr *b, int dst, Op keep)
{
    value(g, a, dst, keep == OP_JNNULL ? MISSING_NULL : MISSING_RAISES);
    uint32_t end = emit_jump(g, keep, dst, 0, 0);
    g->maybe++;
    gen_expr(g, b, dst);
    g->maybe--;
    patch_jump(g, end, gen_pc(g));
}

static void binary(Gen *g, Expr *e, int dst)
{
    if (e->op == BIN_AND) {
        logic_value(g, e, dst);
        return;
    }
    if (e->op == BIN_OR || e->op == BIN_NULLISH) {
        either(g, e->a, e->b, dst, e->op == BIN_OR ? OP_JT : OP_JNNULL);
        return;
    }
    Op op = binary_op[e->op];
    if (!op) {
        report(g->c, D_QUERY_OPERATOR, e->pos, NO_HINT,
               "'" TEXT_FMT "' is only available in a query condition", TEXT_ARG(bin_name(e->op)));
        return;
    }
    if (binary_const(g, e, dst))
        return;
    int a = gen_any(g, e->a);
    int b = gen_any(g, e->b);
    bool swap = e->op == BIN_GT || e->op == BIN_GE;
    g->pos = e->pos;
    emit_abc(g, op, dst, swap ? b : a, swap ? a : b);
}

static void ternary(Gen *g, Expr *e, int dst)
{
    if (!e->b) {
        either(g, e->a, e->c, dst, OP_JT);
        return;
    }
    Jumps no = {0};
    gen_cond(g, e->a, false, &no);
    g->maybe++;
    gen_expr(g, e->b, dst);
    uint32_t end = emit_jump(g, OP_JMP, 0, 0, 0);
    patch_here(g, &no);
    gen_expr(g, e->c, dst);
    g->maybe--;
    patch_jump(g, end, gen_pc(g));
}

/* The comparison with its sides swapped, and the one that is true when it is false. */
static BinOp mirrored(BinOp op)
{
    return op == BIN_LT   ? BIN_GT
           : op == BIN_GT ? BIN_LT
           : op == BIN_LE ? BIN_GE
           : op == BIN_GE ? BIN_LE
                          : op;
}

static BinOp negated(BinOp op)
{
    switch (op) {
    case BIN_EQ: return BIN_NE;
    case BIN_NE: return BIN_EQ;
    case BIN_LT: return BIN_GE;
    case BIN_GE: return BIN_LT;
    case BIN_GT: return BIN_LE;
    default: return BIN_GT;
    }
}

/* Compare with a constant and jump when `op` holds. */
static void jump_const(Gen *g, BinOp op, int r, const Const *k, Jumps *out)
{
    static const Op small[BIN_COUNT] = {[BIN_EQ] = OP_JEQI, [BIN_NE] = OP_JNEI, [BIN_LT] = OP_JLTI,
                                        [BIN_LE] = OP_JLEI, [BIN_GT] = OP_JGTI, [BIN_GE] = OP_JGEI};
    static const Op any_const[BIN_COUNT] = {
        [BIN_EQ] = OP_JEQK, [BIN_NE] = OP_JNEK, [BIN_LT] = OP_JLTK,
        [BIN_LE] = OP_JLEK, [BIN_GT] = OP_JGTK, [BIN_GE] = OP_JGEK};
    if (k->kind == C_NULL && (op == BIN_EQ || op == BIN_NE))
        jumps_add(g, out, emit_jump(g, op == BIN_EQ ? OP_JNULL : OP_JNNULL, r, 0, 0));
    else if (is_small(k))
        jumps_add(g, out, emit_jump(g, small[op], r, (int)(uint8_t)k->i, 0));
    else
        jumps_add(g, out, emit_jump_const(g, any_const[op], r, k));
}

/* Fused comparison and jump. */
static bool jump_compare(Gen *g, Expr *e, bool sense, Jumps *out)
{
    static const Op jumps[BIN_COUNT] = {[BIN_EQ] = OP_JEQ1, [BIN_NE] = OP_JEQ0, [BIN_LT] = OP_JLT1,
                                        [BIN_LE] = OP_JLE1, [BIN_GT] = OP_JLE0, [BIN_GE] = OP_JLT0};
    bool strict = e->op == BIN_SEQ || e->op == BIN_SNE;
    if (!g->opt || (!jumps[e->op] && !strict))
        return false;
    if (strict) {
        int a = gen_any(g, e->a), b = gen_any(g, e->b);
        g->pos = e->pos;
        jumps_add(g, out, emit_jump(g, OP_JSEQ, a, b, (e->op == BIN_SEQ) == sense));
        return true;
    }
    const Const *b = fold_const(g->c, e->b), *a = b ? NULL : fold_const(g->c, e->a);
    if (a || b) {
        int r = gen_any(g, b ? e->a : e->b);
        BinOp op = b ? e->op : mirrored(e->op);
        g->pos = e->pos;
        jump_const(g, sense ? op : negated(op), r, b ? b : a, out);
        return true;
    }
    int x = gen_any(g, e->a), y = gen_any(g, e->b);
    g->pos = e->pos;
    jumps_add(g, out, emit_jump(g, jumps[sense ? e->op : negated(e->op)], x, y, 0));
    return true;
}

/* Filters that only ask for the truth of their operand. */
static bool jump_filter(Gen *g, Expr *e, bool sense, Jumps *out)
{
    const FilterInfo *info = g->opt && e->kind == EX_FILTER && !e->disabled && !e->items.len
                                 ? filter_find(e->text)
                                 : NULL;
    if (!info || !e->a)
        return false;
    Text name = text_from(info->name);
    bool empty = text_eq(name, TEXT("is_empty")), null = text_eq(name, TEXT("is_null"));
    if (!empty && !null && !text_eq(name, TEXT("is_not_empty")) &&
        !text_eq(name, TEXT("is_not_null")))
        return false;
    bool about_null = null || text_eq(name, TEXT("is_not_null"));
    int r = any(g, e->a, MISSING_NULL); /* all four read what is missing as null */
    bool yes = (empty || null) == sense;
    Op op = about_null ? (yes ? OP_JNULL : OP_JNNULL) : yes ? OP_JF : OP_JT;
    g->pos = e->pos;
    jumps_add(g, out, emit_jump(g, op, r, 0, 0));
    return true;
}

static void cond_logic(Gen *g, Expr *e, bool sense, Jumps *out)
{
    bool both = (e->op == BIN_AND) != sense; /* either side decides alone */
    Jumps skip = {0};
    gen_cond(g, e->a, both ? sense : !sense, both ? out : &skip);
    g->maybe++;
    gen_cond(g, e->b, sense, out);
    g->maybe--;
    patch_here(g, &skip);
}

void gen_cond(Gen *g, Expr *e, bool sense, Jumps *out)
{
    int mark = g->top;
    if (e->kind == EX_NOT) {
        gen_cond(g, e->a, !sense, out);
    } else if (e->kind == EX_BINARY && (e->op == BIN_AND || e->op == BIN_OR)) {
        cond_logic(g, e, sense, out);
    } else if (e->kind == EX_BOOL || e->kind == EX_NULL) {
        if ((e->kind == EX_BOOL && e->i) == sense)
            jumps_add(g, out, emit_jump(g, OP_JMP, 0, 0, 0));
    } else if (!(e->kind == EX_BINARY && jump_compare(g, e, sense, out)) &&
               !jump_filter(g, e, sense, out)) {
        int r = gen_any(g, e);
        jumps_add(g, out, emit_jump(g, sense ? OP_JT : OP_JF, r, 0, 0));
    }
    g->top = mark;
}

/* ---- literals ---- */

enum { MAX_LITERAL = 24 }; /* registers of a literal that is made at once */

/* The keys of an object literal as a constant, when all are known and differ. */
static const Const *literal_keys(Gen *g, const Expr *e)
{
    size_t n = e->pairs.len;
    if (!g->opt || n == 0 || n > MAX_LITERAL)
        return NULL;
    Const *keys = k_map(g->c);
    for (size_t i = 0; keys && i < n; i++) {
        const Pair *p = &e->pairs.ptr[i];
        if (p->disabled || p->key || !p->text.ptr || !p->value || p->value->kind == EX_SPREAD)
            return NULL;
        k_set(g->c, keys, p->text, &const_null);
    }
    return keys && keys->count == n ? keys : NULL;
}

static void map_literal(Gen *g, Expr *e, int dst)
{
    const Const *keys = literal_keys(g, e);
    if (keys) {
        int win = gen_temps(g, e->pairs.len);
        for (size_t i = 0; i < e->pairs.len; i++)
            gen_expr(g, e->pairs.ptr[i].value, win + (int)i);
        emit_extra(g, OP_MAKEMAP, dst, win, (int)e->pairs.len, emit_const(g->em, keys));
        return;
    }
    emit_abx(g, OP_NEWMAP, dst, e->pairs.len < 1024 ? (uint32_t)e->pairs.len : 1024);
    for (size_t i = 0; i < e->pairs.len; i++) {
        const Pair *p = &e->pairs.ptr[i];
        int mark = g->top;
        if (p->disabled || !p->value)
            continue;
        if (p->value->kind == EX_SPREAD) {
            emit_abc(g, OP_SPREAD, dst, gen_any(g, p->value->a), 0);
        } else if (p->key) {
            int key = gen_any(g, p->key);
            int v = gen_any(g, p->value);
            emit_abc(g, OP_MSET, dst, key, v);
        } else {
            int v = gen_any(g, p->value);
            emit_extra(g, OP_SETF, dst, v, 0, emit_text(g->em, p->text));
        }
        g->top = mark;
    }
}

static bool short_list(const Gen *g, const Expr *e)
{
    bool yes = g->opt && e->items.len > 0 && e->items.len <= MAX_LITERAL;
    for (size_t i = 0; i < e->items.len && yes; i++)
        yes = e->items.ptr[i]->kind != EX_SPREAD;
    return yes;
}

static void list_literal(Gen *g, Expr *e, int dst)
{
    if (short_list(g, e)) {
        int win = gen_temps(g, e->items.len);
        for (size_t i = 0; i < e->items.len; i++)
            gen_expr(g, e->items.ptr[i], win + (int)i);
        emit_abc(g, OP_MAKELIST, dst, win, (int)e->items.len);
        return;
    }
    emit_abx(g, OP_NEWLIST, dst, e->items.len < 1024 ? (uint32_t)e->items.len : 1024);
    for (size_t i = 0; i < e->items.len; i++) {
        Expr *item = e->items.ptr[i];
        int mark = g->top;
        if (item->kind == EX_SPREAD)
            emit_abc(g, OP_SPREAD, dst, gen_any(g, item->a), 0);
        else
            emit_abc(g, OP_LPUSH, dst, gen_any(g, item), 0);
        g->top = mark;
    }
}

/* ---- filters ---- */

/* The operation for a filter: its own instruction when it has one for so many arguments. */
static Op filter_op(const Gen *g, const char *name, uint32_t count)
{
    for (const FastFilter *f = fast_filters; g->opt && f->name; f++)
        if (strcmp(f->name, name) == 0 && count >= f->least && count <= f->most)
            return (Op)f->op;
    return OP_CALLF;
}

void gen_call_filter_take(Gen *g, const char *name, int dst, int operand, int window,
                          uint32_t count)
{
    uint32_t import = emit_import(g->em, IMPORT_FILTER, text_from(name));
    Op op = filter_op(g, name, count);
    if (import > UINT16_MAX) {
        report(g->c, D_TOO_COMPLEX, g->pos, NO_HINT, "this program uses too many natives");
        g->failed = true;
    }
    uint32_t x = (import & 0xFFFF) | count << 16 | (op == OP_FPUSH || op == OP_FSET ? XF_MOVE : 0);
    emit_extra(g, op, dst, operand, count ? window : 0, x);
}

void gen_call_filter(Gen *g, const char *name, int dst, int operand, int window, uint32_t count)
{
    gen_call_filter_take(g, name, dst, operand, window, count);
    if (g->code.len)
        g->code.ptr[g->code.len - 1] &= ~XF_MOVE;
}

void gen_filter_one(Gen *g, const char *name, int dst, int operand, Expr *e)
{
    int mark = g->top;
    int r = g->opt ? gen_any(g, e) : -1;
    if (r < 0) {
        r = gen_temp(g);
        gen_expr(g, e, r);
    } else if (r == operand) { /* changing the operand must not change the argument */
        r = gen_temp(g);
        emit_move(g, r, operand);
    }
    if (r >= mark)
        gen_call_filter_take(g, name, dst, operand, r, 1);
    else
        gen_call_filter(g, name, dst, operand, r, 1);
    g->top = mark;
}

void each_begin(Gen *g, EachLoop *l, int list, const Expr *body)
{
    *l = (EachLoop){.with_index = mentions_index(body)};
    l->it = gen_temps(g, 2);
    int el = gen_temps(g, l->with_index ? 2 : 1);
    l->elem = (Elem){.outer = g->elem,
                     .el = el,
                     .index = l->with_index ? el + 1 : -1,
                     .parent = list,
                     .result = -1};
    g->elem = &l->elem;
    l->iter_pc = emit_jump(g, OP_ITER, l->it, list, 1);
    l->jump_pc = emit_jump(g, OP_JMP, 0, 0, 0);
    l->body = gen_pc(g);
    g->maybe++;
}

void each_end(Gen *g, EachLoop *l)
{
    patch_jump(g, l->jump_pc, gen_pc(g));
    emit_jump_to(g, OP_NEXT, l->it, l->elem.el, l->with_index, l->body);
    patch_jump(g, l->iter_pc, gen_pc(g));
    patch_here(g, &l->exits);
    emit_abc(g, OP_UNSET, l->it, 0, 0);
    g->elem = l->elem.outer;
    g->maybe--;
}

/* The per-element value of a filter argument; a plain text is the name of a member. */
static int element_value(Gen *g, const EachLoop *l, Expr *arg)
{
    if (arg->kind != EX_TEXT || arg->paren)
        return gen_any(g, arg);
    int win = gen_temp(g), t = gen_temp(g);
    emit_load(g, win, k_text(g->c, arg->text));
    gen_call_filter(g, "get", t, l->elem.el, win, 1);
    return t;
}

static void element_cond(Gen *g, const EachLoop *l, Expr *arg, bool sense, Jumps *out)
{
    if (arg->kind == EX_TEXT && !arg->paren)
        jumps_add(g, out, emit_jump(g, sense ? OP_JT : OP_JF, element_value(g, l, arg), 0, 0));
    else
        gen_cond(g, arg, sense, out);
}

static void inline_reduce(Gen *g, Expr *f, int list, int out)
{
    EachLoop l;
    if (f->items.len > 1)
        gen_expr(g, f->items.ptr[1], out);
    else
        emit_load(g, out, k_int(g->c, 0));
    each_begin(g, &l, list, f->items.ptr[0]);
    l.elem.result = out;
    gen_into_reg(g, out, TEXT("result"), f->items.ptr[0]);
    each_end(g, &l);
}

static void inline_transform(Gen *g, Expr *f, int operand, int out)
{
    Elem el = {.outer = g->elem, .el = operand, .index = -1, .parent = operand, .result = -1};
    g->elem = &el;
    gen_expr(g, f->items.ptr[0], out);
    g->elem = el.outer;
}

static void inline_search(Gen *g, Expr *f, int list, int out)
{
    Expr *arg = f->items.ptr[0];
    bool every = text_eq(f->text, TEXT("every")), some = text_eq(f->text, TEXT("some"));
    bool position = text_eq(f->text, TEXT("findIndex"));
    Expr index = {.kind = EX_VAR, .text = TEXT("index")};
    EachLoop l;
    if (every || some)
        emit_abc(g, OP_LOADBOOL, out, every, 0);
    else
        emit_abc(g, OP_LOADNULL, out, 0, 0);
    each_begin(g, &l, list, position ? &index : arg);
    Jumps next = {0};
    element_cond(g, &l, arg, every, &next);
    if (every || some)
        emit_abc(g, OP_LOADBOOL, out, some, 0);
    else
        emit_move(g, out, position ? l.elem.index : l.elem.el);
    jumps_add(g, &l.exits, emit_jump(g, OP_JMP, 0, 0, 0));
    patch_here(g, &next);
    each_end(g, &l);
}

static void inline_filter(Gen *g, Expr *f, int operand, int dst)
{
    if (f->items.len == 0)
        return; /* reported */
    Expr *arg = f->items.ptr[0];
    int out = gen_temp(g), mark = g->top;
    EachLoop l;
    if (text_eq(f->text, TEXT("reduce"))) {
        inline_reduce(g, f, operand, out);
    } else if (text_eq(f->text, TEXT("transform"))) {
        inline_transform(g, f, operand, out);
    } else if (text_eq(f->text, TEXT("map"))) {
        emit_abx(g, OP_NEWLIST, out, 0);
        each_begin(g, &l, operand, arg);
        emit_abc(g, OP_LPUSH, out, element_value(g, &l, arg), 0);
        each_end(g, &l);
    } else if (text_eq(f->text, TEXT("filter"))) {
        emit_abx(g, OP_NEWLIST, out, 0);
        each_begin(g, &l, operand, arg);
        Jumps no = {0};
        element_cond(g, &l, arg, false, &no);
        emit_abc(g, OP_LPUSH, out, l.elem.el, 0);
        patch_here(g, &no);
        each_end(g, &l);
    } else {
        inline_search(g, f, operand, out);
    }
    g->top = mark;
    emit_abc(g, OP_TAKE, dst, out, 0);
}

/* sort and index_by with a key function: the keys first, then one native. */
static void keyed_filter(Gen *g, Expr *f, int operand, int dst)
{
    bool sort = text_eq(f->text, TEXT("sort"));
    int win = gen_temps(g, 2);
    EachLoop l;
    emit_abx(g, OP_NEWLIST, win, 0);
    each_begin(g, &l, operand, f->items.ptr[0]);
    int mark = g->top;
    emit_abc(g, OP_LPUSH, win, gen_any(g, f->items.ptr[0]), 0);
    g->top = mark;
    each_end(g, &l);
    bool order = sort && f->items.len > 2;
    if (order)
        gen_expr(g, f->items.ptr[2], win + 1);
    gen_call_filter(g, sort ? "sort_keys" : "index_keys", dst, operand, win, order ? 2 : 1);
}

/* ---- set with an element expression: the value is evaluated at every target of the path ---- */

enum { MAX_SET_STEPS = 4 }; /* the code doubles with every step */

typedef struct SetEach {
    Text steps[MAX_SET_STEPS];
    size_t count;
    Expr *value;
} SetEach;

static bool split_steps(Text path, SetEach *s)
{
    for (size_t at = 0; at <= path.len;) {
        size_t end = text_find(path, TEXT("."), at);
        end = end == SIZE_MAX ? path.len : end;
        Text step = text_slice(path, at, end);
        if (s->count == MAX_SET_STEPS || !text_is_ident(step))
            return false;
        s->steps[s->count++] = step;
        at = end + 1;
    }
    return s->count > 0;
}

static void set_level(Gen *g, const SetEach *s, size_t step, int cur);

/* cur is an object: set the step in it. */
static void set_member(Gen *g, const SetEach *s, size_t step, int cur)
{
    int mark = g->top, inner = gen_temp(g);
    Elem here = {.outer = g->elem, .el = cur, .index = -1, .parent = -1, .result = -1};
    g->elem = &here;
    uint32_t key = emit_text(g->em, s->steps[step]);
    emit_extra(g, OP_GETFT, inner, cur, 0, key);
    if (step + 1 < s->count) {
        set_level(g, s, step + 1, inner);
    } else {
        Elem target = {.outer = g->elem, .el = inner, .index = -1, .parent = -1, .result = -1};
        g->elem = &target;
        int v = gen_temp(g);
        gen_expr(g, s->value, v);
        g->elem = target.outer;
        inner = v;
    }
    emit_extra(g, OP_SETF, cur, inner, 0, key);
    g->elem = here.outer;
    g->top = mark;
}

/* cur is any value: through a list into every element. */
static void set_level(Gen *g, const SetEach *s, size_t step, int cur)
{
    int mark = g->top, t = gen_temp(g);
    Jumps object = {0};
    jumps_add(g, &object, emit_jump(g, OP_JF, cur, 0, 0));
    gen_call_filter(g, "is_array", t, cur, 0, 0);
    jumps_add(g, &object, emit_jump(g, OP_JF, t, 0, 0));
    EachLoop l;
    emit_abx(g, OP_NEWLIST, t, 0);
    each_begin(g, &l, cur, NULL);
    l.elem.el = cur; /* one number for the list; set_member binds the element */
    int item = l.it + 2;
    set_member(g, s, step, item);
    emit_abc(g, OP_LPUSH, t, item, 0);
    l.elem.el = item;
    each_end(g, &l);
    emit_abc(g, OP_TAKE, cur, t, 0);
    uint32_t end = emit_jump(g, OP_JMP, 0, 0, 0);
    patch_here(g, &object);
    set_member(g, s, step, cur);
    patch_jump(g, end, gen_pc(g));
    g->top = mark;
}

static bool set_each(Gen *g, Expr *f, int operand, int dst)
{
    SetEach s = {.value = f->items.ptr[1]};
    if (f->items.ptr[0]->kind != EX_TEXT || !split_steps(f->items.ptr[0]->text, &s)) {
        report(g->c, D_TOO_COMPLEX, f->pos, TEXT("compute the value first"),
               "a value with $$ needs a constant path of at most %d plain names", MAX_SET_STEPS);
        return false;
    }
    int cur = gen_temp(g);
    emit_move(g, cur, operand);
    set_level(g, &s, 0, cur);
    emit_abc(g, OP_TAKE, dst, cur, 0);
    return true;
}

/* Takes a key of every element. */
static bool is_keyed(const FilterInfo *info)
{
    return text_eq(text_from(info->name), TEXT("sort")) ||
           text_eq(text_from(info->name), TEXT("index_by"));
}

/* Whether the filter may compile an expression when it runs: to_expr, a path with a condition. */
static bool runs_text(const FilterInfo *info, const Expr *f)
{
    for (size_t i = 0; i < f->items.len && i < info->nargs; i++) {
        const Expr *arg = f->items.ptr[i];
        bool number = arg->kind == EX_INT || arg->kind == EX_DEC;
        if (info->args[i].cls == 'P' && !number &&
            (arg->kind != EX_TEXT || text_find(arg->text, TEXT("["), 0) != SIZE_MAX))
            return true;
    }
    return strcmp(info->name, "to_expr") == 0;
}

void gen_filter_on(Gen *g, Expr *f, int operand, int dst)
{
    const FilterInfo *info = filter_find(f->text);
    int mark = g->top;
    g->pos = f->pos;
    g->named = g->named || (info && runs_text(info, f));
    if (f->disabled || !info) {
        emit_move(g, dst, operand);
        return;
    }
    Expr *first = f->items.len ? f->items.ptr[0] : NULL;
    bool keyed = is_keyed(info);
    bool setter = text_eq(text_from(info->name), TEXT("set")) && f->items.len == 2;
    if (info->inlined) {
        inline_filter(g, f, operand, dst);
    } else if (keyed && first && mentions_element(first)) {
        keyed_filter(g, f, operand, dst);
    } else if (setter && !g->elem && mentions_element(f->items.ptr[1])) {
        set_each(g, f, operand, dst);
    } else if (g->opt && text_eq(text_from(info->name), TEXT("get")) && f->items.len == 1 &&
               first->kind == EX_TEXT && text_is_ident(first->text)) {
        emit_extra(g, OP_GETFT, dst, operand, 0, emit_text(g->em, first->text));
    } else if (f->items.len == 1) {
        gen_filter_one(g, info->name, dst, operand, first);
    } else {
        int win = gen_temps(g, f->items.len);
        for (size_t i = 0; i < f->items.len; i++)
            gen_expr(g, f->items.ptr[i], win + (int)i);
        g->pos = f->pos;
        gen_call_filter_take(g, info->name, dst, operand, win, (uint32_t)f->items.len);
    }
    g->top = mark;
}

enum { MAX_CHAIN = 512 }; /* the parser bounds the height of trees below it */

static size_t chain_of(Expr *e, Expr **links)
{
    size_t n = 0;
    for (Expr *at = e; at && at->kind == EX_FILTER && n < MAX_CHAIN; at = at->a)
        n++;
    Expr *at = e;
    for (size_t i = n; i > 0; i--, at = at->a)
        links[i - 1] = at;
    return n;
}

static void chain(Gen *g, Expr *e, int dst)
{
    Expr *links[MAX_CHAIN];
    size_t n = chain_of(e, links);
    Expr *base = links[0]->a;
    const FilterInfo *info = filter_find(links[0]->text);
    Missing missing = info && (info->flags & FF_TOLERANT) ? MISSING_NULL : MISSING_RAISES;
    int at = base ? place_of(g, base, missing) : -1;
    if (at < 0) { /* into dst when that is a temporary, so that the first filter may use it up */
        at = dst >= g->fixed ? dst : gen_temp(g);
        if (base)
            value(g, base, at, missing);
        else
            emit_abc(g, OP_LOADNULL, at, 0, 0);
    }
    for (size_t i = 0; i < n; i++) {
        /* Temporaries are used up; a variable is copied by its first filter. */
        gen_filter_on(g, links[i], at, dst);
        at = dst;
    }
}

/* ---- values ---- */

static void value(Gen *g, Expr *e, int dst, Missing missing)
{
    int mark = g->top;
    const Const *k;
    Pos saved = g->pos;
    missing = inside(e, missing);
    int place = place_of(g, e, missing);
    if (place >= 0) {
        emit_move(g, dst, place);
        g->top = mark;
        return;
    }
    switch (e->kind) {
    case EX_BAD: break;
    case EX_NULL:
    case EX_BOOL:
    case EX_INT:
    case EX_DEC:
    case EX_TEXT: emit_load(g, dst, fold_const(g->c, e)); break;
    case EX_NOW: emit_abc(g, OP_GETSYS, dst, SYS_NOW, 0); break;
    case EX_VAR: variable(g, e, dst, missing); break;
    case EX_LIST:
    case EX_MAP:
    case EX_BINARY:
        if (g->opt && (k = fold_const(g->c, e)))
            emit_load(g, dst, k);
        else if (e->kind == EX_LIST)
            list_literal(g, e, dst);
        else if (e->kind == EX_MAP)
            map_literal(g, e, dst);
        else
            binary(g, e, dst);
        break;
    case EX_MEMBER: member(g, e, dst, missing); break;
    case EX_INDEX: index_value(g, e, dst, missing); break;
    case EX_FILTER: chain(g, e, dst); break;
    case EX_NOT: emit_abc(g, OP_NOT, dst, gen_any(g, e->a), 0); break;
    case EX_NEG: {
        int r = gen_any(g, e->a);
        g->pos = e->pos;
        emit_abc(g, OP_NEG, dst, r, 0);
        break;
    }
    case EX_TERNARY: ternary(g, e, dst); break;
    case EX_SPREAD:
    case EX_BETWEEN:
        report(g->c, D_QUERY_OPERATOR, e->pos, NO_HINT,
               "this is only available in a query condition");
        break;
    }
    g->pos = saved;
    g->top = mark;
}

static int any(Gen *g, Expr *e, Missing missing)
{
    int place = place_of(g, e, inside(e, missing));
    if (place >= 0)
        return place;
    int t = gen_temp(g);
    value(g, e, t, missing);
    return t;
}

void gen_expr(Gen *g, Expr *e, int dst)
{
    value(g, e, dst, MISSING_RAISES);
}

void gen_expr_tolerant(Gen *g, Expr *e, int dst)
{
    value(g, e, dst, MISSING_NULL);
}

int gen_any(Gen *g, Expr *e)
{
    return any(g, e, MISSING_RAISES);
}

/* ---- assignment to a variable ---- */

/* The result is written by the last instruction alone, after every read. */
static bool writes_last(const Expr *e)
{
    switch (e->kind) {
    case EX_BINARY: return e->op != BIN_AND && e->op != BIN_OR && e->op != BIN_NULLISH;
    case EX_MEMBER:
    case EX_NOT:
    case EX_NEG:
    case EX_VAR:
    case EX_NULL:
    case EX_BOOL:
    case EX_INT:
    case EX_DEC:
    case EX_TEXT:
    case EX_NOW: return true;
    default: return false;
    }
}

/* $a|f:…|g:… into $a itself: only the first filter may read $a in its arguments, since later ones
 * would see the changed value. */
static bool in_place_chain(const Gen *g, Expr *e, Text name)
{
    Expr *links[MAX_CHAIN];
    if (!g->opt || g->tries || e->kind != EX_FILTER)
        return false;
    size_t n = chain_of(e, links);
    if (!links[0]->a || links[0]->a->kind != EX_VAR || !text_eq(links[0]->a->text, name))
        return false;
    for (size_t i = 0; i < n; i++) {
        const FilterInfo *info = filter_find(links[i]->text);
        if (!info || info->inlined)
            return false;
        /* an element is a plain operand where one is bound, unless the filter binds its own */
        bool binds = !g->elem || is_keyed(info);
        for (size_t k = 0; k < links[i]->items.len; k++)
            if ((i && mentions_var(links[i]->items.ptr[k], name)) ||
                (binds && mentions_element(links[i]->items.ptr[k])))
                return false;
    }
    return true;
}

/* $s ~ x ~ y into $s: joins x ~ y first, then extends $s once. */
static bool append_in_place(Gen *g, int reg, Text name, Expr *e)
{
    Expr *parts[MAX_CHAIN];
    size_t n = 0;
    Expr *at = e;
    for (; at->kind == EX_BINARY && at->op == BIN_CONCAT && n < MAX_CHAIN; at = at->a)
        parts[n++] = at->b;
    if (!g->opt || n == 0 || at->kind != EX_VAR || !text_eq(at->text, name) ||
        gen_any(g, at) != reg)
        return false;
    int t = gen_any(g, parts[n - 1]);
    if (n > 1) {
        int joined = gen_temp(g);
        int right = gen_any(g, parts[n - 2]);
        emit_abc(g, OP_CONCAT, joined, t, right);
        for (size_t i = n - 2; i > 0; i--) {
            int mark = g->top;
            emit_abc(g, OP_CONCAT, joined, joined, gen_any(g, parts[i - 1]));
            g->top = mark;
        }
        t = joined;
    }
    g->pos = e->pos;
    emit_abc(g, OP_CONCAT, reg, reg, t);
    return true;
}

void gen_into_reg(Gen *g, int reg, Text name, Expr *e)
{
    int mark = g->top;
    bool mentioned = mentions_var(e, name);
    bool direct =
        mentioned ? writes_last(e) || in_place_chain(g, e, name) : !g->tries || writes_last(e);
    if (mentioned && append_in_place(g, reg, name, e)) {
        g->top = mark;
        return;
    }
    if (direct) {
        gen_expr(g, e, reg);
    } else {
        int t = gen_temp(g);
        gen_expr(g, e, t);
        emit_abc(g, OP_TAKE, reg, t, 0);
    }
    g->top = mark;
}
