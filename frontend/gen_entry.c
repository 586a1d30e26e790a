/* gen_entry.c - what stands around a function or tool with middleware or a cache: a procedure that
 * callers enter instead of the function's own. Runtime specification, sections 1.2 and 6.4.
 *
 * Register 0 holds the inputs as an object, which the pre-middleware changes. An error of a step is
 * the call's error, but what comes behind it still runs; a critical middleware has no handler. */
#include "frontend/gen.h"

enum { INPUT_REG, RESULT_REG, ERROR_REG, FAILED_REG, KEY_REG, ENTRY_REGS };

static const Expr *pair_of(const Expr *map, const char *name)
{
    for (size_t i = 0; map && map->kind == EX_MAP && i < map->pairs.len; i++)
        if (text_eq(map->pairs.ptr[i].text, text_from(name)))
            return map->pairs.ptr[i].value;
    return NULL;
}

static const Expr *member_of(const Construct *k, const char *name)
{
    const Member *m = k ? construct_member(k, name) : NULL;
    return m && m->value && m->value->kind == EX_MAP ? m->value : NULL;
}

/* Its own lists, else those of the branch. */
static const Expr *lists_of(const Prog *pr, const Construct *k)
{
    const Expr *lists = member_of(k, "middleware");
    for (size_t i = 0; !lists && i < pr->all.len; i++)
        if (pr->all.ptr[i]->kind == CK_BRANCH)
            lists =
                pair_of(member_of(pr->all.ptr[i], "middleware"), construct_info[k->kind].keyword);
    return lists;
}

typedef LIST(const Construct *) Steps;

static Steps steps_of(Prog *pr, const Expr *lists, const char *name)
{
    Steps steps = {0};
    const Expr *list = pair_of(lists, name);
    for (size_t i = 0; list && list->kind == EX_LIST && i < list->items.len; i++) {
        const Expr *item = list->items.ptr[i], *active = pair_of(item, "active");
        const Expr *text = item->kind == EX_MAP ? pair_of(item, "name") : item;
        const Construct *m =
            text && text->kind == EX_TEXT ? prog_find(pr, CK_MIDDLEWARE, text->text) : NULL;
        if (m && !(active && active->kind == EX_BOOL && !active->i))
            PUSH(pr->c, &steps, m);
    }
    return steps;
}

static const Const *cache_of(Prog *pr, const Construct *k)
{
    const Expr *cache = member_of(k, "cache"), *ttl = pair_of(cache, "ttl");
    return cache && !(ttl && ttl->kind == EX_INT && ttl->i <= 0) ? fold_const(pr->c, cache) : NULL;
}

bool has_entry(Prog *pr, const Construct *k)
{
    if (k->kind != CK_FUNCTION && k->kind != CK_TOOL)
        return false;
    const Expr *lists = lists_of(pr, k);
    return cache_of(pr, k) || steps_of(pr, lists, "pre").len || steps_of(pr, lists, "post").len;
}

/* r[win] = statement of r[win]... */
static void native(Gen *g, const char *statement, int win, int count, const Const *desc)
{
    emit_extra(g, OP_CALLN, win, count, 0, emit_site(g->em, text_from(statement), desc));
}

static void caught(Gen *g, uint32_t from, uint32_t to)
{
    PUSH(g->c, &g->handlers, ((HandlerImage){from, to, gen_pc(g)}));
    emit_abc(g, OP_CATCH, ERROR_REG, 0, 0);
}

/* The caught error becomes the result so far. */
static void failed(Gen *g)
{
    emit_abc(g, OP_GETSYS, RESULT_REG, SYS_ERROR, 0);
    native(g, "middleware.error", RESULT_REG, 1, &const_null);
    emit_abc(g, OP_LOADBOOL, FAILED_REG, true, 0);
}

/* One middleware; what it gives changes the inputs or the result. on_error: jumps for an error that
 * ends the pre-middleware. */
static void step(Gen *g, const Construct *m, bool pre, Jumps *on_error)
{
    Text policy = construct_text(m, "exception_policy");
    bool silent = text_eq(policy, TEXT("silent")), critical = text_eq(policy, TEXT("critical"));
    int mark = g->top, win = gen_temps(g, 2), old = pre ? INPUT_REG : RESULT_REG;
    Const *desc = k_map(g->c), *take = k_map(g->c);
    k_set_text(g->c, desc, "type", pre ? TEXT("pre") : TEXT("post"));
    k_set_bool(g->c, take, "replace",
               text_eq(construct_text(m, "response_strategy"), TEXT("replace")));
    uint32_t from = gen_pc(g);
    emit_move(g, win, old);
    emit_move(g, win + 1, FAILED_REG);
    native(g, "middleware.input", win, 2, desc);
    emit_extra(g, OP_CALLD, win + 1, win, 0, m->proc);
    emit_move(g, win, old);
    native(g, "middleware.take", win, 2, take);
    emit_move(g, old, win);
    if (!critical) {
        uint32_t over = emit_jump(g, OP_JMP, 0, 0, 0);
        caught(g, from, over);
        if (silent) {
            emit_abc(g, OP_GETSYS, win, SYS_ERROR, 0);
            Const *named = k_map(g->c);
            k_set_text(g->c, named, "name", m->name);
            native(g, "middleware.silent", win, 1, named);
        } else if (pre) {
            jumps_add(g, on_error, emit_jump(g, OP_JMP, 0, 0, 0));
        } else {
            failed(g);
        }
        patch_jump(g, over, gen_pc(g));
    }
    g->top = mark;
}

/* An error that no post-middleware changed is raised as it was. */
static void raise_failed(Gen *g, int original)
{
    int mark = g->top, win = gen_temps(g, 2);
    uint32_t changed = 0;
    if (original >= 0) {
        emit_abc(g, OP_EQ, win, RESULT_REG, original);
        changed = emit_jump(g, OP_JF, win, 0, 0);
    }
    emit_abc(g, OP_RETHROW, ERROR_REG, 0, 0);
    if (original >= 0) {
        patch_jump(g, changed, gen_pc(g));
        emit_move(g, win, RESULT_REG);
        native(g, "middleware.raise", win, 1, &const_null); /* returns the name of a throw */
        emit_extra(g, OP_GETFT, win + 1, RESULT_REG, 0, emit_text(g->em, TEXT("message")));
        emit_abc(g, OP_THROW, win, win + 1, 0);
    }
    g->top = mark;
}

static void find_kept(Gen *g, const Const *cache)
{
    Const *desc = k_map(g->c);
    int mark = g->top, win = gen_temps(g, 2);
    k_set_text(g->c, desc, "name", g->k->name);
    k_set(g->c, desc, TEXT("cache"), cache);
    emit_move(g, KEY_REG, INPUT_REG);
    native(g, "function.cache.key", KEY_REG, 1, desc);
    emit_move(g, win, KEY_REG);
    native(g, "function.cache.find", win, 1, &const_null); /* [value], or null */
    uint32_t none = emit_jump(g, OP_JF, win, 0, 0);
    emit_load(g, win + 1, k_int(g->c, 0));
    emit_abc(g, OP_GETI, win, win, win + 1);
    emit_abc(g, OP_RET, win, 0, 0);
    patch_jump(g, none, gen_pc(g));
    g->top = mark;
}

static void keep(Gen *g, const Const *cache)
{
    Const *desc = k_map(g->c);
    int mark = g->top, win = gen_temps(g, 2);
    k_set(g->c, desc, TEXT("cache"), cache);
    emit_move(g, win, KEY_REG);
    emit_move(g, win + 1, RESULT_REG);
    native(g, "function.cache.keep", win, 2, desc);
    g->top = mark;
}

static void gather_input(Gen *g)
{
    Const *names = k_list(g->c), *desc = k_map(g->c);
    for (size_t i = 0; i < g->k->input.len; i++)
        k_push(g->c, names, k_text(g->c, g->k->input.ptr[i]->name));
    k_set(g->c, desc, TEXT("names"), names);
    native(g, "function.input", 0, (int)g->k->input.len, desc);
}

static void body(Gen *g, Jumps *on_error)
{
    uint32_t from = gen_pc(g);
    emit_extra(g, OP_CALLD, RESULT_REG, INPUT_REG, 0, g->k->body);
    uint32_t over = emit_jump(g, OP_JMP, 0, 0, 0);
    caught(g, from, over);
    patch_here(g, on_error);
    failed(g);
    patch_jump(g, over, gen_pc(g));
}

bool gen_entry(Prog *pr, Emit *em, const Construct *k, ProcImage *out)
{
    Gen g;
    Jumps after_pre = {0};
    const Expr *lists = lists_of(pr, k);
    const Const *cache = cache_of(pr, k);
    Steps pre = steps_of(pr, lists, "pre"), post = steps_of(pr, lists, "post");
    gen_init(&g, pr, em, k);
    g.ninputs = (uint32_t)k->input.len;
    g.fixed = g.ninputs > ENTRY_REGS ? (int)g.ninputs : ENTRY_REGS;
    g.top = g.most = g.fixed;
    gather_input(&g);
    emit_abc(&g, OP_LOADBOOL, FAILED_REG, false, 0);
    if (cache)
        find_kept(&g, cache);
    for (size_t i = 0; i < pre.len; i++)
        step(&g, pre.ptr[i], true, &after_pre);
    body(&g, &after_pre);
    int original = post.len ? gen_temp(&g) : -1;
    if (post.len)
        emit_move(&g, original, RESULT_REG);
    for (size_t i = 0; i < post.len; i++)
        step(&g, post.ptr[i], false, NULL);
    uint32_t good = emit_jump(&g, OP_JF, FAILED_REG, 0, 0);
    raise_failed(&g, original);
    patch_jump(&g, good, gen_pc(&g));
    if (cache)
        keep(&g, cache);
    emit_abc(&g, OP_RET, RESULT_REG, 0, 0);
    *out = (ProcImage){.kind = PROC_FUNCTION,
                       .name = k->name,
                       .file = k->file,
                       .inputs = meta_fields(pr, &k->input)};
    return gen_finish(&g, out);
}
