/* gen_stmt.c - statements and procedures. Runtime specification, sections 1.3-1.7, 4. */
#include "frontend/gen.h"

#include "core/json.h"

static Expr *base_of(Expr *target)
{
    while (target && target->kind == EX_FILTER)
        target = target->a;
    return target;
}

static Expr *root_of(Expr *e)
{
    e = base_of(e);
    while (e && (e->kind == EX_MEMBER || e->kind == EX_INDEX))
        e = e->a;
    return e;
}

static Expr *attr_value(const Stmt *s, const char *name)
{
    const Attr *a = stmt_attr(s, name);
    return a ? a->value : NULL;
}

/* ---- places that can be assigned ---- */

typedef struct Place {
    Var *v;
    int root; /* the variable's register, or a temporary of a far one */
    int win;  /* keys, then the value */
    int nkeys;
} Place;

static void place_key(Gen *g, const Expr *step, int dst)
{
    if (step->kind == EX_INDEX) {
        if (step->b)
            gen_expr(g, step->b, dst);
        return;
    }
    if (step->dollar) {
        Expr var = {.kind = EX_VAR, .text = step->text, .pos = step->pos};
        gen_expr(g, &var, dst);
        return;
    }
    int64_t n = 0;
    bool digits = step->text.len > 0 && step->text.len < 16 && !step->quoted;
    for (size_t i = 0; i < step->text.len && digits; i++) {
        digits = step->text.ptr[i] >= '0' && step->text.ptr[i] <= '9';
        n = n * 10 + (step->text.ptr[i] - '0');
    }
    emit_load(g, dst, digits ? k_int(g->c, n) : k_text(g->c, step->text));
}

static Place place_open(Gen *g, Expr *target)
{
    Place p = {.win = -1};
    Expr *at = base_of(target), *root = root_of(target);
    p.v = gen_var(g, root && root->kind == EX_VAR ? root->text : TEXT(""));
    for (Expr *e = at; e && e->kind != EX_VAR; e = e->a)
        p.nkeys++;
    if (p.nkeys > 32) {
        report(g->c, D_TOO_COMPLEX, at->pos, NO_HINT, "a path has at most 32 steps");
        g->failed = true;
        p.nkeys = 0;
    }
    p.root = p.v->reg;
    if (p.root < 0) {
        p.root = gen_temp(g);
        emit_abx(g, OP_GETFAR, p.root, p.v->far_slot);
    }
    if (p.nkeys == 0)
        return p;
    p.win = gen_temps(g, (size_t)p.nkeys + 1);
    const Expr *steps[33];
    int n = p.nkeys;
    for (const Expr *e = at; e->kind != EX_VAR && n > 0; e = e->a)
        steps[--n] = e;
    for (int i = 0; i < p.nkeys; i++)
        place_key(g, steps[i], p.win + i);
    return p;
}

/* Where the new value has to be before place_store. */
static int place_slot(const Place *p)
{
    return p->nkeys ? p->win + p->nkeys : p->root;
}

static void place_store(Gen *g, Place *p, int src)
{
    int slot = place_slot(p);
    if (src != slot)
        emit_abc(g, OP_TAKE, slot, src, 0);
    if (p->nkeys)
        emit_abc(g, OP_SETPATH, p->root, p->win, p->nkeys);
    if (p->v->reg < 0)
        emit_abx(g, OP_SETFAR, p->root, p->v->far_slot);
    gen_mark_set(g, p->v);
}

/* The present value in the slot, to be changed there. Paths are moved out so that the change can
 * use the storage; not inside try, where a failure must leave the variable whole. */
static int place_load(Gen *g, Place *p)
{
    int slot = place_slot(p);
    if (!gen_is_set(g, p->v))
        emit_extra(g, OP_CHKSET, p->root, 0, 0, emit_text(g->em, p->v->name));
    if (p->nkeys == 0)
        return slot;
    if (g->opt && !g->tries) {
        emit_extra(g, OP_TAKEPATH, slot, p->root, p->win, (uint32_t)p->nkeys);
        return slot;
    }
    int from = p->root;
    for (int i = 0; i < p->nkeys; i++, from = slot)
        emit_abc(g, OP_GETIT, slot, from, p->win + i);
    return slot;
}

static void apply_filters(Gen *g, Expr *target, int reg)
{
    if (!target || target->kind != EX_FILTER)
        return;
    apply_filters(g, target->a, reg);
    gen_filter_on(g, target, reg, reg);
}

/* A step of a path that is a member name known now. */
static bool is_name(const Expr *step)
{
    return step->kind == EX_MEMBER && !step->dollar && text_is_ident(step->text);
}

static int key_register(Gen *g, const Expr *step)
{
    if (g->opt && step->kind == EX_INDEX && step->b)
        return gen_any(g, step->b);
    int t = gen_temp(g);
    place_key(g, step, t);
    return t;
}

/* root[k], root[k1][k2] or root[k].name = src without a window. */
static bool store_element(Gen *g, Expr *base, int src)
{
    Expr *inner = base->kind == EX_MEMBER || base->kind == EX_INDEX ? base->a : NULL;
    Expr *root = inner && (inner->kind == EX_MEMBER || inner->kind == EX_INDEX) ? inner->a : inner;
    if (!g->opt || !root || root->kind != EX_VAR)
        return false;
    Var *v = gen_var(g, root->text);
    int r = v->reg;
    if (r < 0) {
        r = gen_temp(g);
        emit_abx(g, OP_GETFAR, r, v->far_slot);
    }
    int k1 = root == inner ? -1 : key_register(g, inner);
    if (k1 < 0) {
        emit_abc(g, OP_SETI, r, key_register(g, base), src);
    } else if (is_name(base)) {
        emit_extra(g, OP_SETIF, r, k1, src, emit_text(g->em, base->text));
    } else {
        int k2 = key_register(g, base);
        emit_extra(g, OP_SETII, r, k1, k2, (uint32_t)src);
    }
    if (v->reg < 0)
        emit_abx(g, OP_SETFAR, r, v->far_slot);
    gen_mark_set(g, v);
    return true;
}

static void store(Gen *g, Expr *base, int src, bool own)
{
    int mark = g->top;
    if (base && base->kind == EX_MEMBER && !base->dollar && base->a->kind == EX_VAR &&
        text_is_ident(base->text)) {
        Var *v = gen_var(g, base->a->text);
        int root = v->reg;
        if (root < 0) {
            root = gen_temp(g);
            emit_abx(g, OP_GETFAR, root, v->far_slot);
        }
        emit_extra(g, OP_SETF, root, src, 0, emit_text(g->em, base->text));
        if (v->reg < 0)
            emit_abx(g, OP_SETFAR, root, v->far_slot);
        gen_mark_set(g, v);
    } else if (base && base->kind != EX_VAR && store_element(g, base, src)) {
        g->top = mark;
    } else if (base) {
        if (!own) {
            int t = gen_temp(g);
            emit_move(g, t, src);
            src = t;
        }
        Place p = place_open(g, base);
        place_store(g, &p, src);
    }
    g->top = mark;
}

void gen_store(Gen *g, Expr *target, int src)
{
    int mark = g->top;
    apply_filters(g, target, src);
    Expr *base = base_of(target);
    store(g, base, src, true);
    if (g->opt && base && base->kind != EX_VAR)
        emit_abc(g, OP_UNSET, src, 0, 0); /* a second owner would make the next change copy */
    g->top = mark;
}

/* The result of a statement, a temporary, into its target. */
static void result(Gen *g, const Stmt *s, int reg)
{
    if (s->as)
        gen_store(g, s->as, reg);
}

/* ---- ways out ---- */

static void scope_push(Gen *g, Scope *sc, ScopeKind kind)
{
    *sc = (Scope){.outer = g->scope,
                  .kind = kind,
                  .from = gen_pc(g),
                  .open = true,
                  .removed = -1,
                  .position = -1};
    g->scope = sc;
}

static void range_close(Gen *g, Scope *sc)
{
    if (sc->open && gen_pc(g) > sc->from)
        PUSH(g->c, &sc->ranges, ((Range){sc->from, gen_pc(g)}));
    sc->open = false;
}

static void range_open(Gen *g, Scope *sc)
{
    sc->from = gen_pc(g);
    sc->open = true;
}

static void scope_pop(Gen *g, Scope *sc)
{
    range_close(g, sc);
    g->scope = sc->outer;
}

static void handlers(Gen *g, const Scope *sc)
{
    for (size_t i = 0; i < sc->ranges.len; i++)
        PUSH(g->c, &g->handlers,
             ((HandlerImage){sc->ranges.ptr[i].from, sc->ranges.ptr[i].to, gen_pc(g)}));
}

static void call_plain(Gen *g, const char *statement)
{
    int mark = g->top, t = gen_temp(g);
    emit_extra(g, OP_CALLN, t, 0, 0, emit_site(g->em, text_from(statement), &const_null));
    g->top = mark;
}

static void finally_body(Gen *g, Scope *sc)
{
    Scope *saved = g->scope;
    if (g->finallies >= MAX_FINALLIES) {
        if (!g->failed)
            report(g->c, D_TOO_COMPLEX, g->pos, NO_HINT,
                   "finally blocks are nested too deeply (limit %d)", MAX_FINALLIES);
        g->failed = true;
        return;
    }
    g->finallies++;
    g->scope = sc->outer;
    gen_block(g, sc->finally);
    g->scope = saved;
    g->finallies--;
}

/* Run what stands between here and an outer scope; the guarded ranges pause, since this code is
 * outside them. */
static void unwind(Gen *g, const Scope *until)
{
    for (Scope *sc = g->scope; sc != until; sc = sc->outer) {
        if (sc->kind == SC_TRANSACTION)
            call_plain(g, "db.transaction.commit");
        range_close(g, sc);
        if (sc->kind == SC_FINALLY)
            finally_body(g, sc);
    }
}

static void resume(Gen *g, const Scope *until)
{
    for (Scope *sc = g->scope; sc != until; sc = sc->outer)
        range_open(g, sc);
    gen_dead(g);
}

static void leave_loop(Gen *g, bool again)
{
    Scope *sc = g->scope;
    while (sc && sc->kind != SC_LOOP)
        sc = sc->outer;
    if (!sc)
        return;
    unwind(g, sc);
    jumps_add(g, again ? &sc->continues : &sc->breaks, emit_jump(g, OP_JMP, 0, 0, 0));
    resume(g, sc);
}

static void gen_return(Gen *g, Stmt *s)
{
    Expr *e = attr_value(s, "value");
    if (g->opt && !g->scope) {
        if (e)
            emit_abc(g, OP_RET, gen_any(g, e), 0, 0);
        else
            emit_abc(g, OP_RETNULL, 0, 0, 0);
        gen_dead(g);
        return;
    }
    int t = gen_temp(g);
    if (e)
        gen_expr(g, e, t);
    else
        emit_abc(g, OP_LOADNULL, t, 0, 0);
    unwind(g, NULL);
    emit_abc(g, OP_RET, t, 0, 0);
    resume(g, NULL);
}

/* ---- branches ---- */

static void conditional(Gen *g, Stmt *s)
{
    Jumps ends = {0};
    uint64_t *meet = NULL;
    bool has_else = false;
    for (size_t i = 0; i < s->branches.len; i++) {
        Branch *b = &s->branches.ptr[i];
        Jumps no = {0};
        g->pos = b->pos;
        if (b->cond)
            gen_cond(g, b->cond, false, &no);
        has_else = has_else || !b->cond;
        uint64_t *before = set_copy(g);
        gen_block(g, &b->body);
        uint64_t *after = set_copy(g);
        if (meet)
            set_meet(g, meet, after);
        else
            meet = after;
        if (i + 1 < s->branches.len && !g->dead)
            jumps_add(g, &ends, emit_jump(g, OP_JMP, 0, 0, 0));
        patch_here(g, &no);
        gen_live(g, before);
    }
    if (meet && has_else)
        gen_live(g, meet);
    patch_here(g, &ends);
}

static void switch_statement(Gen *g, Stmt *s)
{
    int v = gen_temp(g);
    gen_expr(g, s->operand, v);
    LIST(Jumps) entries = {0};
    Jumps ends = {0}, otherwise = {0};
    g->maybe++;
    for (size_t i = 0; i < s->branches.len; i++) {
        Branch *b = &s->branches.ptr[i];
        Jumps entry = {0};
        if (b->cond) {
            int mark = g->top, k = gen_any(g, b->cond);
            g->pos = b->pos;
            jumps_add(g, &entry, emit_jump(g, OP_JEQ, v, k, 1));
            g->top = mark;
        }
        PUSH(g->c, &entries, entry);
    }
    g->maybe--;
    jumps_add(g, &otherwise, emit_jump(g, OP_JMP, 0, 0, 0));
    uint64_t *before = set_copy(g);
    bool has_default = false;
    for (size_t i = 0; i < s->branches.len && i < entries.len; i++) {
        Branch *b = &s->branches.ptr[i];
        gen_live(g, before);
        patch_here(g, &entries.ptr[i]);
        if (!b->cond) {
            patch_here(g, &otherwise);
            has_default = true;
        }
        gen_block(g, &b->body);
        if (b->breaks)
            jumps_add(g, &ends, emit_jump(g, OP_JMP, 0, 0, 0));
    }
    if (!has_default)
        patch_here(g, &otherwise);
    patch_here(g, &ends);
    gen_live(g, before);
}

/* ---- loops ---- */

static bool removes(const Block *b)
{
    for (size_t i = 0; i < b->items.len; i++) {
        const Stmt *s = b->items.ptr[i];
        if (s->kind == ST_REMOVE && !s->disabled)
            return true;
        for (size_t k = 0; k < s->branches.len && s->kind != ST_FOREACH; k++)
            if (removes(&s->branches.ptr[k].body))
                return true;
        for (size_t k = 0; k < s->attrs.len; k++)
            if (removes(&s->attrs.ptr[k].stack))
                return true;
    }
    return false;
}

/* The register the loop instruction writes: the variable's own when it has one. */
static int loop_register(Gen *g, const Branch *b, bool needs_index)
{
    if (b->var && b->var->kind == EX_VAR && !needs_index) {
        Var *v = gen_var(g, b->var->text);
        if (v->reg >= 0)
            return v->reg;
    }
    return gen_temps(g, needs_index ? 2 : 1);
}

static void loop_variable(Gen *g, const Branch *b, int reg)
{
    if (!b->var)
        return;
    Var *v = b->var->kind == EX_VAR ? gen_var(g, b->var->text) : NULL;
    if (v && v->reg == reg) {
        gen_mark_set(g, v);
        return;
    }
    int t = gen_temp(g);
    emit_move(g, t, reg);
    gen_store(g, b->var, t);
}

static void loop_body(Gen *g, Scope *sc, Branch *b, int reg)
{
    if (reg >= 0)
        loop_variable(g, b, reg);
    gen_block(g, &b->body);
    patch_here(g, &sc->continues);
}

static void foreach (Gen *g, Stmt * s)
{
    Branch *b = &s->branches.ptr[0];
    bool remove = removes(&b->body);
    Scope sc;
    int list = gen_any(g, s->operand);
    int it = gen_temps(g, 2);
    int el = loop_register(g, b, remove);
    g->pos = s->pos;
    uint32_t iter = emit_jump(g, OP_ITER, it, list, 0);
    scope_push(g, &sc, SC_LOOP);
    if (remove) {
        sc.list = s->operand;
        sc.position = el + 1;
        sc.removed = gen_temp(g);
        emit_load(g, sc.removed, k_int(g->c, 0));
    }
    uint64_t *before = set_copy(g);
    uint32_t start = emit_jump(g, OP_JMP, 0, 0, 0), body = gen_pc(g);
    loop_body(g, &sc, b, el);
    g->pos = s->pos;
    patch_jump(g, start, gen_pc(g));
    emit_jump_to(g, OP_NEXT, it, el, remove, body);
    patch_jump(g, iter, gen_pc(g));
    patch_here(g, &sc.breaks);
    scope_pop(g, &sc);
    emit_abc(g, OP_UNSET, it, 0, 0);
    gen_live(g, before);
}

static void for_loop(Gen *g, Stmt *s)
{
    Branch *b = &s->branches.ptr[0];
    Scope sc;
    int it = gen_temps(g, 2);
    gen_expr(g, s->operand, it);
    int i = loop_register(g, b, false);
    g->pos = s->pos;
    uint32_t none = g->opt ? emit_jump(g, OP_FORB, it, i, 0) : emit_jump(g, OP_FORP, it, 0, 0);
    scope_push(g, &sc, SC_LOOP);
    uint64_t *before = set_copy(g);
    uint32_t start = g->opt ? 0 : emit_jump(g, OP_JMP, 0, 0, 0), body = gen_pc(g);
    loop_body(g, &sc, b, i);
    g->pos = s->pos;
    if (!g->opt)
        patch_jump(g, start, gen_pc(g));
    emit_jump_to(g, OP_FORN, it, i, 0, body);
    patch_jump(g, none, gen_pc(g));
    patch_here(g, &sc.breaks);
    scope_pop(g, &sc);
    gen_live(g, before);
}

static void while_loop(Gen *g, Stmt *s)
{
    Branch *b = &s->branches.ptr[0];
    Scope sc;
    scope_push(g, &sc, SC_LOOP);
    uint64_t *before = set_copy(g);
    uint32_t start = emit_jump(g, OP_JMP, 0, 0, 0), body = gen_pc(g);
    loop_body(g, &sc, b, -1);
    patch_jump(g, start, gen_pc(g));
    gen_live(g, before);
    g->pos = s->pos;
    Jumps again = {0};
    gen_cond(g, s->operand, true, &again);
    for (size_t i = 0; i < again.len; i++)
        patch_jump(g, again.ptr[i], body);
    patch_here(g, &sc.breaks);
    scope_pop(g, &sc);
    gen_live(g, before);
}

static void remove_element(Gen *g)
{
    Scope *sc = g->scope;
    while (sc && (sc->kind != SC_LOOP || !sc->list))
        sc = sc->outer;
    if (NEVER(!sc)) /* checked, as is that the list can be changed */
        return;
    Place p = place_open(g, sc->list);
    int keys = gen_temps(g, (size_t)p.nkeys + 1);
    for (int i = 0; i < p.nkeys; i++)
        emit_move(g, keys + i, p.win + i);
    emit_abc(g, OP_SUB, keys + p.nkeys, sc->position, sc->removed);
    emit_abc(g, OP_DELPATH, p.root, keys, p.nkeys + 1);
    if (p.v->reg < 0)
        emit_abx(g, OP_SETFAR, p.root, p.v->far_slot);
    emit_abc(g, OP_ADDI, sc->removed, sc->removed, 1);
}

/* ---- errors ---- */

static void try_catch(Gen *g, Stmt *s)
{
    if (s->branches.len < 3)
        return;
    Branch *body = &s->branches.ptr[0], *caught = &s->branches.ptr[1], *last = &s->branches.ptr[2];
    bool has_catch = caught->body.given, has_finally = last->body.given;
    Scope fin, cat;
    Jumps ends = {0};
    uint64_t *before = set_copy(g);
    if (has_finally) {
        scope_push(g, &fin, SC_FINALLY);
        fin.finally = &last->body;
    }
    if (has_catch)
        scope_push(g, &cat, SC_CATCH);
    g->tries++;
    gen_block(g, &body->body);
    g->tries--;
    if (has_catch)
        scope_pop(g, &cat);
    if (has_finally) {
        range_close(g, &fin);
        if (!g->dead)
            finally_body(g, &fin);
    }
    uint64_t *meet = set_copy(g);
    jumps_add(g, &ends, emit_jump(g, OP_JMP, 0, 0, 0));
    if (has_catch && cat.ranges.len) {
        handlers(g, &cat);
        gen_live(g, before);
        int mark = g->top, e = gen_temp(g);
        if (has_finally)
            range_open(g, &fin);
        emit_abc(g, OP_CATCH, e, 0, 0);
        g->tries += has_finally;
        gen_block(g, &caught->body);
        g->tries -= has_finally;
        if (has_finally) {
            range_close(g, &fin);
            if (!g->dead)
                finally_body(g, &fin);
        }
        set_meet(g, meet, set_copy(g));
        if (has_finally)
            jumps_add(g, &ends, emit_jump(g, OP_JMP, 0, 0, 0));
        g->top = mark;
    }
    if (has_finally) {
        g->scope = fin.outer;
        if (fin.ranges.len) {
            handlers(g, &fin);
            gen_live(g, before);
            int mark = g->top, e = gen_temp(g);
            emit_abc(g, OP_CATCH, e, 0, 0);
            finally_body(g, &fin);
            emit_abc(g, OP_RETHROW, e, 0, 0);
            g->top = mark;
        }
    }
    patch_here(g, &ends);
    gen_live(g, meet);
}

static void transaction(Gen *g, Stmt *s)
{
    const Attr *a = stmt_attr(s, "stack");
    if (!a)
        return;
    Scope sc;
    call_plain(g, "db.transaction.begin");
    scope_push(g, &sc, SC_TRANSACTION);
    gen_block(g, &s->attrs.ptr[a - s->attrs.ptr].stack);
    g->pos = s->pos;
    call_plain(g, "db.transaction.commit");
    scope_pop(g, &sc);
    uint32_t end = emit_jump(g, OP_JMP, 0, 0, 0);
    int e = gen_temp(g);
    handlers(g, &sc);
    emit_abc(g, OP_CATCH, e, 0, 0);
    call_plain(g, "db.transaction.rollback");
    emit_abc(g, OP_RETHROW, e, 0, 0);
    patch_jump(g, end, gen_pc(g));
}

static void attr_or_unset(Gen *g, const Stmt *s, const char *name, int dst)
{
    Expr *e = attr_value(s, name);
    if (e)
        gen_expr(g, e, dst);
    else
        emit_abc(g, OP_UNSET, dst, 0, 0);
}

static void precondition(Gen *g, Stmt *s)
{
    Jumps ok = {0};
    gen_cond(g, s->operand, true, &ok);
    uint64_t *before = set_copy(g);
    int r = gen_temps(g, 3);
    attr_or_unset(g, s, "error_type", r);
    attr_or_unset(g, s, "error", r + 1);
    attr_or_unset(g, s, "payload", r + 2);
    g->pos = s->pos;
    emit_abc(g, OP_FAIL, r, r + 1, r + 2);
    patch_here(g, &ok);
    gen_live(g, before);
}

static void throw_statement(Gen *g, Stmt *s)
{
    int r = gen_temps(g, 2);
    Expr *name = attr_value(s, "name"), *v = attr_value(s, "value");
    if (name)
        gen_expr(g, name, r);
    else
        emit_load(g, r, k_text(g->c, TEXT("throw")));
    if (v)
        gen_expr(g, v, r + 1);
    else
        emit_load(g, r + 1, k_text(g->c, TEXT("")));
    g->pos = s->pos;
    emit_abc(g, OP_THROW, r, r + 1, 0);
    gen_dead(g);
}

/* ---- variables ---- */

static bool same_path(const Expr *a, const Expr *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == EX_VAR)
        return text_eq(a->text, b->text);
    if (a->kind == EX_MEMBER)
        return text_eq(a->text, b->text) && !a->dollar && !b->dollar && same_path(a->a, b->a);
    return false;
}

/* $a.b = $a.b|f:… : the member is moved out, changed and put back. */
static bool update_member(Gen *g, Expr *target, Expr *e)
{
    if (!g->opt || target->kind != EX_MEMBER || e->kind != EX_FILTER || g->tries)
        return false;
    Expr *root = root_of(target), *base = base_of(e);
    if (!base || !root || root->kind != EX_VAR || !same_path(target, base))
        return false;
    for (Expr *f = e; f->kind == EX_FILTER; f = f->a) {
        const FilterInfo *info = filter_find(f->text);
        if (!info || info->inlined || (info->flags & FF_TOLERANT))
            return false;
        for (size_t i = 0; i < f->items.len; i++)
            if (mentions_var(f->items.ptr[i], root->text) || mentions_element(f->items.ptr[i]))
                return false;
    }
    Place p = place_open(g, target);
    int slot = place_slot(&p);
    gen_expr(g, base, slot); /* raises when the path is missing */
    emit_extra(g, OP_TAKEPATH, slot, p.root, p.win, (uint32_t)p.nkeys);
    apply_filters(g, e, slot);
    place_store(g, &p, slot);
    return true;
}

/* Results that are never counted. */
static bool is_number(const Expr *e)
{
    return e->kind == EX_INT || e->kind == EX_DEC || e->kind == EX_BOOL || e->kind == EX_NULL ||
           e->kind == EX_NOT || e->kind == EX_NEG ||
           (e->kind == EX_BINARY && e->op != BIN_OR && e->op != BIN_NULLISH &&
            e->op != BIN_CONCAT && e->op != BIN_RANGE);
}

static void set_variable(Gen *g, Stmt *s)
{
    Expr *e = attr_value(s, "value");
    Expr *base = base_of(s->operand);
    if (!e || !base)
        return;
    if (base == s->operand && base->kind == EX_VAR) {
        Var *v = gen_var(g, base->text);
        if (v->reg >= 0) {
            gen_into_reg(g, v->reg, v->name, e);
            gen_mark_set(g, v);
            return;
        }
    }
    if (base == s->operand && update_member(g, base, e))
        return;
    if (g->opt && base == s->operand) {
        int mark = g->top, src = gen_any(g, e);
        g->pos = s->pos;
        store(g, base, src, src >= mark);
        if (src >= mark && base->kind != EX_VAR && !is_number(e))
            emit_abc(g, OP_UNSET, src, 0, 0); /* a second owner would make the next change copy */
        return;
    }
    int t = gen_temp(g);
    gen_expr(g, e, t);
    g->pos = s->pos;
    gen_store(g, s->operand, t);
}

/* r[dst] = r[from] op value, null on the left is 0. */
static void math_op(Gen *g, Op op, int dst, int from, Expr *value)
{
    Op fused = op == OP_ADD ? OP_ADDZ : op == OP_SUB ? OP_SUBZ : op == OP_MUL ? OP_MULZ : 0;
    bool sum = op == OP_ADD || op == OP_SUB;
    if (g->opt && sum && value->kind == EX_INT && value->i >= -127 && value->i <= 127) {
        emit_abc(g, OP_ADDZI, dst, from, (int)(uint8_t)(op == OP_ADD ? value->i : -value->i));
        return;
    }
    int v = gen_any(g, value);
    if (g->opt && fused) {
        emit_abc(g, fused, dst, from, v);
        return;
    }
    int n = gen_temp(g);
    emit_abc(g, OP_NUMZ, n, from, 0);
    emit_abc(g, op, dst, n, v);
}

/* $a[i] or $a[i].name: the element is read and written without a window. */
static bool math_element(Gen *g, Expr *target, Op op, Expr *value)
{
    Expr *base = base_of(target);
    if (!g->opt || base != target || base->kind == EX_VAR)
        return false;
    for (Expr *e = base; e->kind != EX_VAR; e = e->a)
        if (e->kind == EX_INDEX ? !e->b || e->b->kind != EX_VAR : !is_name(e))
            return false; /* reading the keys twice must be free */
    int t = gen_temp(g);
    Var *v = gen_var(g, root_of(base)->text);
    if (v->reg < 0 || !gen_is_set(g, v))
        return false;
    gen_expr_tolerant(g, base, t);
    math_op(g, op, t, t, value);
    store(g, base, t, true);
    return true;
}

static void math(Gen *g, Stmt *s, Op op)
{
    Expr *value = attr_value(s, "value");
    g->pos = s->pos;
    if (math_element(g, s->operand, op, value))
        return;
    Place p = place_open(g, s->operand);
    int slot = place_slot(&p), from = p.root;
    for (int i = 0; i < p.nkeys; i++, from = slot)
        emit_abc(g, OP_GETIT, slot, from, p.win + i);
    math_op(g, op, slot, from, value);
    place_store(g, &p, slot);
}

/* array.push, unshift, merge, math.bitwise: one filter on the variable's own storage. */
static void mutate(Gen *g, Stmt *s, const char *filter)
{
    Place p = place_open(g, s->operand);
    int mark = g->top;
    int arg = g->opt ? gen_any(g, attr_value(s, "value")) : -1;
    if (arg < 0) {
        arg = gen_temp(g);
        gen_expr(g, attr_value(s, "value"), arg);
    } else if (arg == p.root) { /* it is about to change */
        arg = gen_temp(g);
        emit_move(g, arg, p.root);
    }
    g->pos = s->pos;
    int slot = place_load(g, &p);
    if (arg >= mark)
        gen_call_filter_take(g, filter, slot, slot, arg, 1);
    else
        gen_call_filter(g, filter, slot, slot, arg, 1);
    place_store(g, &p, slot);
}

static void text_join(Gen *g, Stmt *s, bool front)
{
    Place p = place_open(g, s->operand);
    int v = gen_any(g, attr_value(s, "value"));
    g->pos = s->pos;
    int slot = place_load(g, &p);
    emit_abc(g, OP_CONCAT, slot, front ? v : slot, front ? slot : v);
    place_store(g, &p, slot);
}

static void take_end(Gen *g, Stmt *s, Op op)
{
    Place p = place_open(g, s->operand);
    int t = gen_temp(g);
    g->pos = s->pos;
    int slot = place_load(g, &p);
    emit_abc(g, op, t, slot, 0);
    place_store(g, &p, slot);
    result(g, s, t);
}

/* ---- array statements with an inline loop ---- */

static void array_result(Gen *g, int out, const EachLoop *l, Text verb)
{
    if (text_eq(verb, TEXT("filter")))
        emit_abc(g, OP_LPUSH, out, l->elem.el, 0);
    else if (text_eq(verb, TEXT("filter_count")))
        emit_abc(g, OP_ADDI, out, out, 1);
    else if (text_eq(verb, TEXT("find")))
        emit_move(g, out, l->elem.el);
    else if (text_eq(verb, TEXT("find_index")))
        emit_move(g, out, l->elem.index);
    else
        emit_abc(g, OP_LOADBOOL, out, text_eq(verb, TEXT("has")), 0);
}

static void array_start(Gen *g, int out, Text verb)
{
    if (text_eq(verb, TEXT("filter")))
        emit_abx(g, OP_NEWLIST, out, 0);
    else if (text_eq(verb, TEXT("filter_count")))
        emit_load(g, out, k_int(g->c, 0));
    else if (text_eq(verb, TEXT("find_index")))
        emit_load(g, out, k_int(g->c, -1));
    else if (text_eq(verb, TEXT("find")))
        emit_abc(g, OP_LOADNULL, out, 0, 0);
    else
        emit_abc(g, OP_LOADBOOL, out, text_eq(verb, TEXT("every")), 0);
}

static void array_test(Gen *g, Stmt *s, Text verb)
{
    int list = gen_any(g, s->operand), out = gen_temp(g);
    bool every = text_eq(verb, TEXT("every"));
    bool stops = !text_starts(verb, TEXT("filter"));
    Expr index = {.kind = EX_VAR, .text = TEXT("index")};
    EachLoop l;
    Jumps next = {0};
    g->pos = s->pos;
    array_start(g, out, verb);
    each_begin(g, &l, list, text_eq(verb, TEXT("find_index")) ? &index : s->cond);
    if (s->cond)
        gen_cond(g, s->cond, every, &next);
    else if (every)
        jumps_add(g, &next, emit_jump(g, OP_JMP, 0, 0, 0));
    array_result(g, out, &l, verb);
    if (stops)
        jumps_add(g, &l.exits, emit_jump(g, OP_JMP, 0, 0, 0));
    patch_here(g, &next);
    each_end(g, &l);
    result(g, s, out);
}

static void array_partition(Gen *g, Stmt *s)
{
    int list = gen_any(g, s->operand), yes = gen_temps(g, 3), no = yes + 1, out = yes + 2;
    EachLoop l;
    Jumps fails = {0};
    g->pos = s->pos;
    emit_abx(g, OP_NEWLIST, yes, 0);
    emit_abx(g, OP_NEWLIST, no, 0);
    each_begin(g, &l, list, s->cond);
    if (s->cond)
        gen_cond(g, s->cond, false, &fails);
    emit_abc(g, OP_LPUSH, yes, l.elem.el, 0);
    uint32_t done = emit_jump(g, OP_JMP, 0, 0, 0);
    patch_here(g, &fails);
    emit_abc(g, OP_LPUSH, no, l.elem.el, 0);
    patch_jump(g, done, gen_pc(g));
    each_end(g, &l);
    emit_abx(g, OP_NEWMAP, out, 2);
    emit_extra(g, OP_SETF, out, yes, 0, emit_text(g->em, TEXT("true")));
    emit_extra(g, OP_SETF, out, no, 0, emit_text(g->em, TEXT("false")));
    result(g, s, out);
}

/* The value of `by` for every element of a list. */
static void keys_of(Gen *g, int list, Expr *by, int out)
{
    EachLoop l;
    emit_abx(g, OP_NEWLIST, out, 0);
    each_begin(g, &l, list, by);
    int mark = g->top;
    emit_abc(g, OP_LPUSH, out, gen_any(g, by), 0);
    g->top = mark;
    each_end(g, &l);
}

static void array_map(Gen *g, Stmt *s, bool group)
{
    Expr *by = attr_value(s, "by");
    int list = gen_any(g, s->operand), out = gen_temp(g);
    g->pos = s->pos;
    if (!by)
        return;
    keys_of(g, list, by, out);
    if (group)
        gen_call_filter(g, "index_keys", out, list, out, 1);
    result(g, s, out);
}

/* array.union and its kin: operand, value, and the keys of both when `by` is given. */
static void array_set(Gen *g, Stmt *s)
{
    Expr *by = attr_value(s, "by"), *other = attr_value(s, "value");
    int win = gen_temps(g, 3);
    gen_expr(g, s->operand, win);
    if (other)
        gen_expr(g, other, win + 1);
    if (by) {
        int keys = gen_temp(g);
        emit_abx(g, OP_NEWLIST, win + 2, 2);
        keys_of(g, win, by, keys);
        emit_abc(g, OP_LPUSH, win + 2, keys, 0);
        keys_of(g, win + 1, by, keys);
        emit_abc(g, OP_LPUSH, win + 2, keys, 0);
    } else {
        emit_abc(g, OP_UNSET, win + 2, 0, 0);
    }
    g->pos = s->pos;
    emit_extra(g, OP_CALLN, win, 3, 0, emit_site(g->em, s->keyword, &const_null));
    result(g, s, win);
}

/* ---- calls ---- */

static bool static_pairs(const Expr *map)
{
    for (size_t i = 0; i < map->pairs.len; i++)
        if (map->pairs.ptr[i].key || !map->pairs.ptr[i].text.ptr || !map->pairs.ptr[i].value)
            return false;
    return true;
}

/* Clauses of a statement into a window, in this order; absent ones are unset. */
static int clause_window(Gen *g, Stmt *s, const char *const *names, size_t n)
{
    int win = gen_temps(g, n);
    for (size_t i = 0; i < n; i++) {
        Expr *value = attr_value(s, names[i]);
        if (value)
            gen_expr(g, value, win + (int)i);
        else
            emit_abc(g, OP_UNSET, win + (int)i, 0, 0);
    }
    return win;
}

/* A detached invocation: a native takes the input object and hands out the id. */
static void call_detached(Gen *g, Stmt *s, const Construct *f)
{
    static const char *const clauses[] = {"input", "timeout", "max_retry"};
    Const *desc = k_map(g->c);
    k_set_text(g->c, desc, "op", TEXT("function.run"));
    k_set_text(g->c, desc, "name", s->name);
    if (f)
        k_set(g->c, desc, TEXT("proc"), k_int(g->c, f->proc));
    int win = clause_window(g, s, clauses, COUNT_OF(clauses));
    g->pos = s->pos;
    emit_extra(g, OP_CALLN, win, COUNT_OF(clauses), 0,
               emit_site(g->em, TEXT("function.run.async"), desc));
    result(g, s, win);
}

/* await $id: one result instead of an object of them. */
static void await_one(Gen *g, Stmt *s)
{
    Const *desc = k_map(g->c);
    k_set_bool(g->c, desc, "single", true);
    int win = gen_temps(g, 2);
    gen_expr(g, s->operand, win);
    emit_abc(g, OP_UNSET, win + 1, 0, 0);
    g->pos = s->pos;
    emit_extra(g, OP_CALLN, win, 2, 0, emit_site(g->em, s->keyword, desc));
    result(g, s, win);
}

/* The stack becomes a procedure of its own, which gets what the variables hold here. */
static void post_process(Gen *g, Stmt *s)
{
    const Attr *a = stmt_attr(s, "stack");
    Construct *k = NEW(g->c, Construct);
    if (!a)
        return;
    k->kind = CK_REALTIME_TRIGGER; /* register 0 gets the input as it is */
    k->name = arena_printf(g->c->a, TEXT_FMT " post_process", TEXT_ARG(g->k->name));
    k->file = g->k->file;
    k->state = g->k->state;
    k->pos = s->pos;
    k->stack = a->stack;
    k->deferred = true;
    for (size_t i = 0; i < g->var_list.len; i++)
        PUSH(g->c, &k->captured, g->var_list.ptr[i]->name);
    Const *desc = k_map(g->c);
    k_set(g->c, desc, TEXT("proc"), k_int(g->c, g->em->nmain + (int64_t)g->em->deferred.len));
    PUSH(g->c, &g->em->deferred, k);
    int win = gen_temps(g, 2);
    gen_vars_object(g, win);
    emit_abc(g, OP_GETINPUT, win + 1, 0, 0);
    g->pos = s->pos;
    emit_extra(g, OP_CALLN, win, 2, 0, emit_site(g->em, TEXT("util.post_process.queue"), desc));
}

static void call_function(Gen *g, Stmt *s)
{
    const Construct *f = prog_callee(g->pr, s);
    Expr *mode = attr_value(s, "runtime_mode"), *async = attr_value(s, "async");
    bool detached = (mode && !(mode->kind == EX_TEXT && text_eq(mode->text, TEXT("shared")))) ||
                    (async && !(async->kind == EX_BOOL && !async->i));
    if (!f || detached) {
        call_detached(g, s, f);
        return;
    }
    Expr *input = attr_value(s, "input");
    if (input && (input->kind != EX_MAP || !static_pairs(input))) {
        int t = gen_temp(g), in = gen_any(g, input);
        g->pos = s->pos;
        emit_extra(g, OP_CALLD, t, in, 0, f->proc);
        result(g, s, t);
        return;
    }
    size_t n = 0;
    for (size_t k = 0; input && k < f->input.len; k++)
        for (size_t i = 0; i < input->pairs.len; i++)
            if (text_eq(input->pairs.ptr[i].text, f->input.ptr[k]->name))
                n = k + 1;
    int win = gen_temps(g, n ? n : 1);
    for (size_t k = 0; k < n; k++) {
        Expr *given = NULL;
        for (size_t i = 0; i < input->pairs.len; i++)
            if (text_eq(input->pairs.ptr[i].text, f->input.ptr[k]->name))
                given = input->pairs.ptr[i].value;
        if (given)
            gen_expr(g, given, win + (int)k);
        else
            emit_abc(g, OP_UNSET, win + (int)k, 0, 0);
    }
    g->pos = s->pos;
    if (!g->opt) {
        emit_extra(g, OP_CALL, win, (int)n, 0, f->proc);
        result(g, s, win);
        return;
    }
    Var *v = s->as && s->as->kind == EX_VAR ? gen_var(g, s->as->text) : NULL;
    bool direct = v && v->reg >= 0;
    emit_extra(g, OP_CALLTO, win, (int)n, direct ? v->reg : win, f->proc);
    if (direct)
        gen_mark_set(g, v);
    else
        result(g, s, win);
}

static void clause_value(Gen *g, Stmt *s, uint32_t clause, bool structured, int dst)
{
    const ClauseSpec *spec = &s->info->clauses[clause];
    Attr *given = NULL;
    for (size_t i = 0; i < s->attrs.len; i++)
        if (s->attrs.ptr[i].clause == (int32_t)clause)
            given = given && !spec->repeatable ? given : &s->attrs.ptr[i];
    if (spec->repeatable && given) {
        emit_abx(g, OP_NEWLIST, dst, 0);
        for (size_t i = 0; i < s->attrs.len; i++) {
            int mark = g->top;
            if (s->attrs.ptr[i].clause == (int32_t)clause && s->attrs.ptr[i].value)
                emit_abc(g, OP_LPUSH, dst, gen_any(g, s->attrs.ptr[i].value), 0);
            g->top = mark;
        }
    } else if (given && given->value && !structured) {
        gen_expr(g, given->value, dst);
    } else if (!given && spec->def.ptr) {
        const Const *k = json_parse(g->c->a, spec->def, NULL);
        emit_load(g, dst, k);
    } else {
        emit_abc(g, OP_UNSET, dst, 0, 0);
    }
}

enum { SCOPE_ARGS = 3 };

/* All inputs of a middleware are {type, vars}, whatever the request had. */
static bool own_input(Gen *g, Stmt *s)
{
    if (g->k->kind != CK_MIDDLEWARE || !text_eq(s->keyword, TEXT("util.get_all_input")))
        return false;
    int t = gen_temp(g);
    emit_abc(g, OP_GETINPUT, t, 0, 0);
    result(g, s, t);
    return true;
}

/* Call a native until what it gives is falsy, with the same arguments each time. */
static void repeat_call(Gen *g, int win, int n, uint32_t site)
{
    int args = gen_temps(g, (size_t)n);
    uint32_t again = gen_pc(g);
    for (int i = 0; i < n; i++)
        emit_move(g, args + i, win + i);
    emit_extra(g, OP_CALLN, args, n, 0, site);
    emit_jump_to(g, OP_JT, args, 0, 0, again);
}

/* A native: operand, clauses in row order, values of the descriptor, the scope. */
void gen_native(Gen *g, Stmt *s)
{
    if (own_input(g, s))
        return;
    bool has_operand = s->info->operand == OPR_VAR || s->info->operand == OPR_EXPR;
    bool structured[STATEMENT_MAX_CLAUSES] = {0};
    Query q = {.g = g, .s = s, .first = has_operand + s->info->nclauses};
    gen_query(&q, structured);
    bool scope = stmt_takes_scope(s);
    size_t n = q.first + q.args.len + (scope ? SCOPE_ARGS : 0);
    int win = gen_temps(g, n ? n : 1);
    if (has_operand && s->operand && (s->info->flags & SF_TEST))
        gen_expr_tolerant(g, s->operand, win);
    else if (has_operand && s->operand)
        gen_expr(g, s->operand, win);
    for (uint32_t i = 0; i < s->info->nclauses; i++)
        clause_value(g, s, i, structured[i], win + has_operand + (int)i);
    for (size_t i = 0; i < q.args.len; i++)
        gen_expr(g, q.args.ptr[i], win + (int)(q.first + i));
    if (scope) {
        int at = win + (int)(n - SCOPE_ARGS);
        gen_vars_object(g, at);
        emit_abc(g, OP_GETINPUT, at + 1, 0, 0);
        emit_abc(g, OP_GETSYS, at + 2, SYS_AUTH, 0);
    }
    g->pos = s->pos;
    uint32_t site = emit_site(g->em, s->keyword, q.desc ? q.desc : &const_null);
    if (text_eq(s->keyword, TEXT("api.stream")))
        repeat_call(g, win, (int)n, site);
    else
        emit_extra(g, OP_CALLN, win, (int)n, 0, site);
    if ((s->info->flags & SF_MUTATES) && s->operand)
        gen_store(g, s->operand, win);
    else
        result(g, s, win);
}

/* ---- statements ---- */

static void compiled(Gen *g, Stmt *s)
{
    static const struct {
        const char *name;
        Op op;
    } maths[] = {{"math.add", OP_ADD},
                 {"math.sub", OP_SUB},
                 {"math.mul", OP_MUL},
                 {"math.div", OP_DIV},
                 {"math.mod", OP_MOD}};
    static const char *const filters[][2] = {
        {"math.bitwise.and", "bitwise_and"}, {"math.bitwise.or", "bitwise_or"},
        {"math.bitwise.xor", "bitwise_xor"}, {"array.push", "push"},
        {"array.unshift", "unshift"},        {"array.merge", "merge"}};
    Text k = s->keyword;
    int t;
    for (size_t i = 0; i < COUNT_OF(maths); i++)
        if (text_eq(k, text_from(maths[i].name)) && attr_value(s, "value")) {
            math(g, s, maths[i].op);
            return;
        }
    for (size_t i = 0; i < COUNT_OF(filters); i++)
        if (text_eq(k, text_from(filters[i][0])) && attr_value(s, "value")) {
            mutate(g, s, filters[i][1]);
            return;
        }
    if (text_eq(k, TEXT("var")) || text_eq(k, TEXT("var.update"))) {
        set_variable(g, s);
    } else if (text_eq(k, TEXT("return"))) {
        gen_return(g, s);
    } else if (text_eq(k, TEXT("precondition"))) {
        precondition(g, s);
    } else if (text_eq(k, TEXT("throw"))) {
        throw_statement(g, s);
    } else if (text_eq(k, TEXT("function.run")) || text_eq(k, TEXT("function.call")) ||
               text_eq(k, TEXT("tool.call"))) {
        call_function(g, s);
    } else if (text_eq(k, TEXT("array.pop"))) {
        take_end(g, s, OP_POP);
    } else if (text_eq(k, TEXT("array.shift"))) {
        take_end(g, s, OP_SHIFT);
    } else if (text_eq(k, TEXT("array.map"))) {
        array_map(g, s, false);
    } else if (text_eq(k, TEXT("array.group_by"))) {
        array_map(g, s, true);
    } else if (text_eq(k, TEXT("array.partition"))) {
        array_partition(g, s);
    } else if (text_starts(k, TEXT("array."))) {
        array_test(g, s, text_slice(k, 6, k.len));
    } else if (text_eq(k, TEXT("text.append"))) {
        text_join(g, s, false);
    } else if (text_eq(k, TEXT("text.prepend"))) {
        text_join(g, s, true);
    } else if (text_eq(k, TEXT("debug.stop"))) {
        t = gen_any(g, attr_value(s, "value"));
        g->pos = s->pos;
        emit_abc(g, OP_STOP, t, 0, 0);
        gen_dead(g);
    } else if (text_eq(k, TEXT("util.post_process"))) {
        post_process(g, s);
    } else if (text_eq(k, TEXT("util.get_env"))) {
        t = gen_temp(g);
        emit_abc(g, OP_GETSYS, t, SYS_ENV, 0);
        result(g, s, t);
    } else if (text_eq(k, TEXT("util.get_vars"))) {
        t = gen_temp(g);
        gen_vars_object(g, t);
        result(g, s, t);
    } else if (s->info->operand == OPR_NAME && s->as) { /* placeholder */
        t = gen_temp(g);
        emit_abc(g, OP_LOADNULL, t, 0, 0);
        result(g, s, t);
    }
}

static void statement(Gen *g, Stmt *s)
{
    int mark = g->top;
    g->pos = s->pos;
    switch (s->kind) {
    case ST_CONDITIONAL: conditional(g, s); break;
    case ST_SWITCH: switch_statement(g, s); break;
    case ST_FOREACH:
        foreach (g, s)
            ;
        break;
    case ST_FOR: for_loop(g, s); break;
    case ST_WHILE: while_loop(g, s); break;
    case ST_BREAK: leave_loop(g, false); break;
    case ST_CONTINUE: leave_loop(g, true); break;
    case ST_REMOVE: remove_element(g); break;
    case ST_TRY: try_catch(g, s); break;
    case ST_TRANSACTION: transaction(g, s); break;
    case ST_GROUP: {
        const Attr *a = stmt_attr(s, "stack");
        if (a)
            gen_block(g, &s->attrs.ptr[a - s->attrs.ptr].stack);
        break;
    }
    case ST_PLAIN:
        if (text_eq(s->keyword, TEXT("array.union")) ||
            text_eq(s->keyword, TEXT("array.intersection")) ||
            text_eq(s->keyword, TEXT("array.difference")))
            array_set(g, s);
        else if (s->info->flags & SF_COMPILED)
            compiled(g, s);
        else if (text_eq(s->keyword, TEXT("await")) && s->operand)
            await_one(g, s);
        else if (s->info->flags & SF_TEST)
            gen_test_statement(g, s);
        else
            gen_native(g, s);
        break;
    }
    g->top = mark;
}

void gen_block(Gen *g, Block *b)
{
    for (size_t i = 0; i < b->items.len && !g->failed && !g->c->oom; i++) {
        Mocks mocks = {0};
        if (b->items.ptr[i]->disabled)
            continue;
        gen_mocks_begin(g, b->items.ptr[i], &mocks);
        statement(g, b->items.ptr[i]);
        gen_mocks_end(g, b->items.ptr[i], &mocks);
    }
}

/* ---- procedures ---- */

static void declare(Gen *g, Text name)
{
    if (map_get(&g->vars, name))
        return;
    Var *v = gen_var(g, name); /* far by default */
    if (g->fixed < MAX_FIXED) {
        v->reg = g->fixed++;
        g->nfar--;
    }
}

static void declare_target(Gen *g, Expr *target)
{
    Expr *root = root_of(target);
    if (root && root->kind == EX_VAR)
        declare(g, root->text);
}

static void declare_all(Gen *g, const Block *b)
{
    for (size_t i = 0; i < b->items.len; i++) {
        const Stmt *s = b->items.ptr[i];
        if (s->disabled)
            continue;
        if (s->info->operand == OPR_VAR && (s->info->flags & (SF_COMPILED | SF_MUTATES)))
            declare_target(g, s->operand);
        for (size_t k = 0; k < s->branches.len; k++) {
            if (s->branches.ptr[k].var)
                declare_target(g, s->branches.ptr[k].var);
            declare_all(g, &s->branches.ptr[k].body);
        }
        for (size_t k = 0; k < s->attrs.len; k++)
            declare_all(g, &s->attrs.ptr[k].stack);
        if (s->as)
            declare_target(g, s->as);
    }
}

void gen_init(Gen *g, Prog *pr, Emit *em, const Construct *k)
{
    *g = (Gen){.pr = pr,
               .c = pr->c,
               .em = em,
               .k = k,
               .pos = k->pos,
               .most = 1,
               .opt = !pr->c->opt->no_opt};
    g->set_words = 1;
    g->set = ARENA_ARRAY(pr->c->a, uint64_t, 1);
    if (!g->set) {
        pr->c->oom = true;
        g->set = NEW(pr->c, uint64_t);
    }
}

static ProcKind proc_kind(ConstructKind kind)
{
    switch (kind) {
    case CK_QUERY: return PROC_QUERY;
    case CK_REALTIME_TRIGGER:
    case CK_TABLE_TRIGGER:
    case CK_REALTIME_SERVER_TRIGGER:
    case CK_CHANNEL_TRIGGER: return PROC_TRIGGER;
    case CK_MESSAGE:
    case CK_CHANNEL: return PROC_MESSAGE;
    case CK_TASK:
    case CK_RUN_JOB:
    case CK_RUN_SERVICE: return PROC_TASK;
    case CK_MIDDLEWARE: return PROC_MIDDLEWARE;
    case CK_ADDON: return PROC_ADDON;
    case CK_WORKFLOW_TEST: return PROC_TEST;
    default: return PROC_FUNCTION;
    }
}

static Text proc_name(Prog *pr, const Construct *k)
{
    if (k->kind == CK_FRAGMENT)
        return TEXT("fragment");
    if (k->kind != CK_QUERY)
        return k->name;
    Text verb = construct_text(k, "verb"), group = construct_text(k, "api_group");
    const Construct *in = prog_find(pr, CK_API_GROUP, group);
    Text canonical = in ? construct_text(in, "canonical") : group;
    if (!canonical.ptr)
        canonical = slug(pr->c, in ? in->name : TEXT(""));
    Text name = arena_printf(pr->c->a, TEXT_FMT " " TEXT_FMT "%s" TEXT_FMT,
                             TEXT_ARG(verb.ptr ? verb : TEXT("GET")), TEXT_ARG(canonical),
                             canonical.len ? "/" : "", TEXT_ARG(k->name));
    pr->c->oom = pr->c->oom || !name.ptr;
    return name;
}

/* A job's own code ends with the input of its main function; xs run calls pre, this, main, post. */
static void job_input(Gen *g)
{
    const Member *m = construct_member(g->k, "main");
    int t = gen_temp(g);
    emit_abx(g, OP_NEWMAP, t, 0);
    for (size_t i = 0; m && m->value && m->value->kind == EX_MAP && i < m->value->pairs.len; i++)
        if (text_eq(m->value->pairs.ptr[i].text, TEXT("input")))
            gen_expr(g, m->value->pairs.ptr[i].value, t);
    emit_abc(g, OP_RET, t, 0, 0);
}

static bool predefined_input(const Construct *k)
{
    return k->kind == CK_REALTIME_SERVER_TRIGGER || k->kind == CK_CHANNEL_TRIGGER ||
           k->kind == CK_TABLE_TRIGGER ||
           (k->kind == CK_REALTIME_TRIGGER && !(k->seed_form && k->has_input));
}

/* A table trigger whose condition the row does not meet ends at once. */
static void trigger_guard(Gen *g)
{
    const Member *where = g->k->kind == CK_TABLE_TRIGGER ? construct_member(g->k, "where") : NULL;
    if (!where || !where->value)
        return;
    int t = gen_temp(g);
    g->pos = where->pos;
    gen_trigger_where(g, construct_text(g->k, "table"), where->value, 0, t);
    uint32_t go = emit_jump(g, OP_JT, t, 0, 0);
    emit_abc(g, OP_RETNULL, 0, 0, 0);
    patch_jump(g, go, gen_pc(g));
    g->top = g->fixed;
}

static const char *const reply_variables[] = {"body", "headers", "status_code"};

/* A deferred stack begins by unpacking {"vars": {…}, "input": {…}, "body", "headers",
 * "status_code"}. */
static void declare_captured(Gen *g, const Construct *k)
{
    if (!k->deferred)
        return;
    for (size_t i = 0; i < k->captured.len; i++)
        declare(g, k->captured.ptr[i]);
    for (size_t i = 0; i < COUNT_OF(reply_variables); i++)
        declare(g, text_from(reply_variables[i]));
}

static void unpack_one(Gen *g, Text name, int from)
{
    Var *v = gen_var(g, name);
    int reg = v->reg < 0 ? gen_temp(g) : v->reg;
    emit_extra(g, OP_GETFT, reg, from, 0, emit_text(g->em, name));
    if (v->reg < 0)
        emit_abx(g, OP_SETFAR, reg, v->far_slot);
    gen_mark_set(g, v);
}

static void unpack_captured(Gen *g, const Construct *k)
{
    int mark = g->top, vars = gen_temp(g);
    for (size_t i = 0; i < COUNT_OF(reply_variables); i++)
        unpack_one(g, text_from(reply_variables[i]), 0);
    emit_extra(g, OP_GETFT, vars, 0, 0, emit_text(g->em, TEXT("vars")));
    for (size_t i = 0; i < k->captured.len; i++) {
        int inner = g->top;
        unpack_one(g, k->captured.ptr[i], vars);
        g->top = inner;
    }
    emit_extra(g, OP_GETFT, 0, 0, 0, emit_text(g->em, TEXT("input")));
    g->top = mark;
}

bool gen_construct(Prog *pr, Emit *em, const Construct *k, ProcImage *out)
{
    Gen g;
    gen_init(&g, pr, em, k);
    g.whole_input = predefined_input(k);
    g.ninputs = g.whole_input ? 0 : (uint32_t)k->input.len;
    if (g.ninputs > MAX_INPUTS) {
        report(g.c, D_TOO_COMPLEX, k->input_pos, NO_HINT, "more than %d inputs", MAX_INPUTS);
        return false;
    }
    g.fixed = g.whole_input ? 1 : (int)g.ninputs;
    declare_captured(&g, k);
    declare_all(&g, &k->stack);
    g.top = g.most = g.fixed;
    bool job = k->kind == CK_RUN_JOB || k->kind == CK_RUN_SERVICE;
    if (k->test) { /* its inputs are what the tested code gave, taken as they are */
        Var *v = gen_var(&g, TEXT("response"));
        v->reg = 0;
        g.nfar--;
        gen_mark_set(&g, v);
    } else if (g.ninputs) {
        emit_abc(&g, OP_BIND, 0, 0, 0);
    }
    trigger_guard(&g);
    if (k->deferred)
        unpack_captured(&g, k);
    Block stack = k->stack;
    gen_block(&g, &stack);
    g.pos = k->pos;
    const Stmt *only = k->stack.items.len == 1 ? k->stack.items.ptr[0] : NULL;
    if (k->response) {
        g.pos = k->response->pos;
        int t = gen_any(&g, k->response);
        emit_abc(&g, OP_RET, t, 0, 0);
    } else if (k->kind == CK_ADDON && only && !only->as) {
        /* The addon's value is what its one query returned, still in the first temporary. */
        emit_abc(&g, OP_RET, g.fixed, 0, 0);
        g.most = g.most > g.fixed ? g.most : g.fixed + 1;
    } else if (job) {
        job_input(&g);
    } else {
        emit_abc(&g, OP_RETNULL, 0, 0, 0);
    }
    *out = (ProcImage){.kind = proc_kind(k->kind), .name = proc_name(pr, k), .file = k->file};
    if (g.ninputs)
        out->inputs = meta_fields(pr, &k->input);
    else
        out->inputs = k_list(pr->c);
    return gen_finish(&g, out);
}

bool gen_expression(Prog *pr, Emit *em, Expr *e, ProcImage *out)
{
    Construct *k = NEW(pr->c, Construct);
    k->kind = CK_FRAGMENT;
    Gen g;
    gen_init(&g, pr, em, k);
    g.whole_input = true;
    g.fixed = g.top = g.most = 1;
    int t = gen_any(&g, e);
    emit_abc(&g, OP_RET, t, 0, 0);
    *out = (ProcImage){.kind = PROC_EXPR,
                       .name = TEXT("expression"),
                       .file = TEXT("expression"),
                       .inputs = k_list(pr->c)};
    return gen_finish(&g, out);
}
