/* gen_test_block.c - code of tests: mocks in front of statements, expectations, and a procedure for
 * the checks of every test. Runtime specification, sections 1.9 and 7.
 *
 * A test block becomes two procedures: one gives the input object, the other gets what the tested
 * code gave in registers 0 ($response) and 1 (its error, as $error has it) and holds the
 * expectations. The runner calls input, target and checks one after the other, so that an error of
 * binding, a debug.stop or a spent budget is an outcome like any other. A workflow_test is one
 * procedure. */
#include "frontend/gen.h"

enum { ERROR_REG = 1 };

/* ---- mocks ---- */

static bool has_test(const Construct *k, Text name)
{
    for (size_t i = 0; i < k->tests.len; i++)
        if (text_eq(k->tests.ptr[i].name, name))
            return true;
    return false;
}

/* A mock with the name of a test of its own construct is for that test alone. */
static uint32_t mock_site(Gen *g, Text name)
{
    Const *desc = k_map(g->c);
    k_set_text(g->c, desc, "name", name);
    if (has_test(g->k, name))
        k_set(g->c, desc, TEXT("of"), k_int(g->c, g->k->body));
    return emit_site(g->em, TEXT("test.running"), desc);
}

static void mock(Gen *g, const Stmt *s, const Pair *p, Mocks *m)
{
    uint64_t *before = set_copy(g);
    int mark = g->top, t = gen_temp(g);
    emit_extra(g, OP_CALLN, t, 0, 0, mock_site(g, p->text));
    uint32_t other = emit_jump(g, OP_JF, t, 0, 0);
    gen_expr(g, p->value, t);
    g->pos = s->pos;
    gen_store(g, s->as ? s->as : s->operand, t);
    jumps_add(g, &m->done, emit_jump(g, OP_JMP, 0, 0, 0));
    uint64_t *after = set_copy(g);
    if (m->set)
        set_meet(g, m->set, after);
    else
        m->set = after;
    gen_live(g, before);
    patch_jump(g, other, gen_pc(g));
    g->top = mark;
}

void gen_mocks_begin(Gen *g, const Stmt *s, Mocks *m)
{
    bool target = s->as || text_eq(s->keyword, TEXT("var"));
    for (size_t i = 0; target && g->c->opt->tests && i < s->attrs.len; i++) {
        const Attr *a = &s->attrs.ptr[i];
        if (!text_eq(a->name, TEXT("mock")) || !a->value || a->value->kind != EX_MAP)
            continue;
        for (size_t k = 0; k < a->value->pairs.len; k++) {
            const Pair *p = &a->value->pairs.ptr[k];
            g->pos = p->pos;
            if (!p->disabled && p->text.ptr && p->value)
                mock(g, s, p, m);
        }
    }
}

/* Whether table triggers may wait behind a statement. */
static bool may_write(const Stmt *s)
{
    return s->kind == ST_TRANSACTION || (s->info->flags & SF_QUERY) ||
           text_starts(s->keyword, TEXT("function.")) ||
           text_eq(s->keyword, TEXT("db.direct_query"));
}

void gen_mocks_end(Gen *g, const Stmt *s, Mocks *m)
{
    if (m->set) {
        uint64_t *after = set_copy(g);
        set_meet(g, after, m->set);
        gen_live(g, after);
        patch_here(g, &m->done);
    }
    if (g->c->opt->tests && g->k->kind == CK_WORKFLOW_TEST && may_write(s)) {
        int mark = g->top, t = gen_temp(g);
        emit_extra(g, OP_CALLN, t, 0, 0, emit_site(g->em, TEXT("test.settle"), &const_null));
        g->top = mark;
    }
}

/* ---- expectations ---- */

/* Code from `from` to here is guarded; its error goes to the handler that follows. Returns the jump
 * over the handler. */
static uint32_t guarded(Gen *g, uint32_t from)
{
    uint32_t over = emit_jump(g, OP_JMP, 0, 0, 0);
    PUSH(g->c, &g->handlers, ((HandlerImage){from, over, gen_pc(g)}));
    int mark = g->top;
    emit_abc(g, OP_CATCH, gen_temp(g), 0, 0);
    g->top = mark;
    return over;
}

/* (value, whether it could be read). */
static void defined(Gen *g, Stmt *s)
{
    int win = gen_temps(g, 2);
    uint64_t *before = set_copy(g);
    uint32_t from = gen_pc(g);
    if (s->operand)
        gen_expr(g, s->operand, win);
    emit_abc(g, OP_LOADBOOL, win + 1, true, 0);
    uint32_t over = guarded(g, from);
    emit_abc(g, OP_LOADNULL, win, 0, 0);
    emit_abc(g, OP_LOADBOOL, win + 1, false, 0);
    patch_jump(g, over, gen_pc(g));
    gen_live(g, before);
    g->pos = s->pos;
    emit_extra(g, OP_CALLN, win, 2, 0, emit_site(g->em, s->keyword, &const_null));
}

/* A made-up construct of one stack. */
static Construct *piece(Prog *pr, const Construct *of, Pos pos)
{
    Construct *k = NEW(pr->c, Construct);
    k->kind = CK_WORKFLOW_TEST;
    k->name = arena_printf(pr->c->a, TEXT_FMT " (part)", TEXT_ARG(of->name));
    pr->c->oom = pr->c->oom || !k->name.ptr;
    k->file = of->file;
    k->pos = pos;
    return k;
}

static bool piece_proc(Prog *pr, Emit *em, const Construct *k, uint32_t *index)
{
    ProcImage proc;
    if (!gen_construct(pr, em, k, &proc))
        return false;
    *index = (uint32_t)em->procs.len;
    return PUSH(pr->c, &em->procs, proc);
}

static void attr_into(Gen *g, const Stmt *s, const char *name, int dst)
{
    const Attr *a = stmt_attr(s, name);
    if (a && a->value)
        gen_expr(g, a->value, dst);
    else
        emit_abc(g, OP_UNSET, dst, 0, 0);
}

/* The error a stack ends in, unset when it ends well. The stack sees no variable of the test. */
static void error_of(Gen *g, const Attr *stack, int dst)
{
    Construct *k = piece(g->pr, g->k, stack->pos);
    k->stack = stack->stack;
    uint32_t proc = 0;
    if (!piece_proc(g->pr, g->em, k, &proc)) {
        g->failed = true;
        return;
    }
    int mark = g->top, t = gen_temps(g, 2);
    emit_abx(g, OP_NEWMAP, t + 1, 0);
    uint32_t from = gen_pc(g);
    emit_extra(g, OP_CALLD, t, t + 1, 0, proc);
    emit_abc(g, OP_UNSET, dst, 0, 0);
    uint32_t over = guarded(g, from);
    emit_abc(g, OP_GETSYS, dst, SYS_ERROR, 0);
    patch_jump(g, over, gen_pc(g));
    g->top = mark;
}

/* (exception, unset, value, the error). */
static void throws(Gen *g, Stmt *s)
{
    const Attr *stack = stmt_attr(s, "stack");
    int win = gen_temps(g, 4);
    attr_into(g, s, "exception", win);
    emit_abc(g, OP_UNSET, win + 1, 0, 0);
    attr_into(g, s, "value", win + 2);
    g->pos = s->pos;
    if (stack)
        error_of(g, stack, win + 3);
    else if (g->k->test)
        emit_move(g, win + 3, ERROR_REG);
    else
        emit_abc(g, OP_UNSET, win + 3, 0, 0);
    g->pos = s->pos;
    emit_extra(g, OP_CALLN, win, 4, 0, emit_site(g->em, s->keyword, &const_null));
}

void gen_test_statement(Gen *g, Stmt *s)
{
    if (text_eq(s->keyword, TEXT("expect.to_throw")))
        throws(g, s);
    else if (text_eq(s->keyword, TEXT("expect.to_be_defined")) ||
             text_eq(s->keyword, TEXT("expect.to_not_be_defined")))
        defined(g, s);
    else
        gen_native(g, s);
}

/* ---- tests ---- */

static const Expr *test_value(const Test *t, const char *name)
{
    for (size_t i = 0; i < t->attrs.len; i++)
        if (text_eq(t->attrs.ptr[i].name, text_from(name)))
            return t->attrs.ptr[i].value;
    return NULL;
}

static void copy_value(Prog *pr, Const *to, const char *name, const Expr *e)
{
    const Const *k = e ? fold_const(pr->c, e) : NULL;
    if (e && !k)
        report(pr->c, D_CONSTANT_EXPECTED, e->pos, NO_HINT, "%s must be a constant", name);
    if (k)
        k_set(pr->c, to, text_from(name), k);
}

static const Expr *member_value(const Construct *k, const char *name)
{
    const Member *m = construct_member(k, name);
    return m ? m->value : NULL;
}

static Const *describe(Prog *pr, const Construct *k, Text name, Pos pos)
{
    Comp *c = pr->c;
    Const *m = k_map(c);
    Text owner = k->name;
    if (k->kind == CK_QUERY) {
        Text verb = construct_text(k, "verb");
        owner = arena_printf(c->a, TEXT_FMT " " TEXT_FMT, TEXT_ARG(verb.ptr ? verb : TEXT("GET")),
                             TEXT_ARG(k->name));
        c->oom = c->oom || !owner.ptr;
    }
    k_set_text(c, m, "name", name);
    k_set_text(c, m, "obj_type", text_from(construct_info[k->kind].keyword));
    k_set_text(c, m, "obj_name", owner);
    k_set_text(c, m, "file", k->file);
    k_set(c, m, TEXT("line"), k_int(c, pos.line));
    k_set(c, m, TEXT("col"), k_int(c, pos.col));
    return m;
}

static bool expects_error(const Test *t)
{
    for (size_t i = 0; i < t->body.items.len; i++) {
        const Stmt *s = t->body.items.ptr[i];
        if (!s->disabled && text_eq(s->keyword, TEXT("expect.to_throw")) && !stmt_attr(s, "stack"))
            return true;
    }
    return false;
}

/* Registers 0 and 1 of the checks. */
static void add_outcome(Prog *pr, Construct *k)
{
    static const char *const names[] = {"response", "error"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        Field *f = NEW(pr->c, Field);
        f->name = text_from(names[i]);
        f->type = TEXT("json");
        f->nullable = f->optional = true;
        PUSH(pr->c, &k->input, f);
    }
}

static void unit_test(Prog *pr, Emit *em, const Construct *k, const Test *t, Const *list)
{
    Comp *c = pr->c;
    Construct *checks = piece(pr, k, t->pos), *input = piece(pr, k, t->pos);
    Const *m = describe(pr, k, t->name, t->pos);
    uint32_t proc = 0;
    checks->test = t;
    checks->stack = t->body;
    add_outcome(pr, checks);
    for (size_t i = 0; i < t->attrs.len; i++)
        if (text_eq(t->attrs.ptr[i].name, TEXT("input")))
            input->response = t->attrs.ptr[i].value;
    if (input->response && piece_proc(pr, em, input, &proc))
        k_set(c, m, TEXT("input"), k_int(c, proc));
    if (piece_proc(pr, em, checks, &proc))
        k_set(c, m, TEXT("proc"), k_int(c, proc));
    k_set(c, m, TEXT("target"), k_int(c, k->body));
    k_set_bool(c, m, "throws", expects_error(t));
    copy_value(pr, m, "datasource", test_value(t, "datasource"));
    copy_value(pr, m, "clock", test_value(t, "clock"));
    const Expr *tags = test_value(t, "tags");
    copy_value(pr, m, "tags", tags ? tags : member_value(k, "tags"));
    k_push(c, list, m);
}

static void workflow_test(Prog *pr, Emit *em, const Construct *k, Const *list)
{
    Const *m = describe(pr, k, k->name, k->pos);
    uint32_t proc = 0;
    if (piece_proc(pr, em, k, &proc))
        k_set(pr->c, m, TEXT("proc"), k_int(pr->c, proc));
    copy_value(pr, m, "datasource", member_value(k, "datasource"));
    copy_value(pr, m, "clock", member_value(k, "clock"));
    copy_value(pr, m, "tags", member_value(k, "tags"));
    k_push(pr->c, list, m);
}

const Const *gen_tests(Prog *pr, Emit *em)
{
    Const *list = k_list(pr->c);
    for (size_t i = 0; i < pr->all.len && !pr->c->oom; i++) {
        const Construct *k = pr->all.ptr[i];
        comp_file(pr->c, k->file.ptr);
        for (size_t t = 0; t < k->tests.len; t++)
            unit_test(pr, em, k, &k->tests.ptr[t], list);
        if (k->kind == CK_WORKFLOW_TEST)
            workflow_test(pr, em, k, list);
    }
    return list;
}
