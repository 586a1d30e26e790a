/* emit.c - words, constants, imports and side tables. */
#include "frontend/gen.h"

void emit_init(Emit *em, Comp *c)
{
    *em = (Emit){.c = c};
}

void emit_deinit(Emit *em)
{
    map_deinit(&em->const_index);
    map_deinit(&em->import_index);
}

/* Bytes that are equal exactly when the constants are. */
static void const_key(const Const *k, Buf *b)
{
    buf_char(b, (char)('0' + k->kind));
    switch (k->kind) {
    case C_NULL: break;
    case C_BOOL: buf_char(b, k->b ? '1' : '0'); break;
    case C_INT: buf_append(b, &k->i, sizeof k->i); break;
    case C_DEC: buf_append(b, &k->d, sizeof k->d); break;
    case C_TEXT:
        buf_append(b, &k->text.len, sizeof k->text.len);
        buf_text(b, k->text);
        break;
    case C_LIST:
        buf_append(b, &k->count, sizeof k->count);
        for (uint32_t i = 0; i < k->count; i++)
            const_key(k->items[i], b);
        break;
    case C_MAP:
        buf_append(b, &k->count, sizeof k->count);
        for (uint32_t i = 0; i < k->count; i++) {
            buf_append(b, &k->pairs[i].key.len, sizeof k->pairs[i].key.len);
            buf_text(b, k->pairs[i].key);
            const_key(k->pairs[i].value, b);
        }
        break;
    }
}

/* Index under a key, or SIZE_MAX; values of the map are index + 1. */
static size_t index_get(const Map *m, Text key)
{
    uintptr_t v = (uintptr_t)map_get(m, key);
    return v ? v - 1 : SIZE_MAX;
}

static void index_put(Comp *c, Map *m, Text key, size_t index)
{
    if (!key.ptr || !map_put(m, key, (void *)(index + 1)))
        c->oom = true;
}

uint32_t emit_const(Emit *em, const Const *k)
{
    if (em->c->oom || !k)
        return 0;
    Buf b = BUF_INIT;
    const_key(k, &b);
    size_t at = index_get(&em->const_index, buf_view(&b));
    if (at == SIZE_MAX) {
        at = em->consts.len;
        index_put(em->c, &em->const_index, comp_text(em->c, buf_view(&b)), at);
        PUSH(em->c, &em->consts, k);
    }
    em->c->oom = em->c->oom || b.failed;
    buf_deinit(&b);
    return (uint32_t)at;
}

uint32_t emit_text(Emit *em, Text t)
{
    return emit_const(em, k_text(em->c, t));
}

uint32_t emit_import(Emit *em, ImportKind kind, Text name)
{
    Text key = arena_printf(em->c->a, "%d" TEXT_FMT, (int)kind, TEXT_ARG(name));
    if (!key.ptr) {
        em->c->oom = true;
        return 0;
    }
    size_t at = index_get(&em->import_index, key);
    if (at == SIZE_MAX) {
        at = em->imports.len;
        index_put(em->c, &em->import_index, key, at);
        PUSH(em->c, &em->imports, ((ImportImage){kind, comp_text(em->c, name)}));
    }
    return (uint32_t)at;
}

uint32_t emit_site(Emit *em, Text statement, const Const *desc)
{
    uint32_t import = emit_import(em, IMPORT_STATEMENT, statement);
    PUSH(em->c, &em->sites, ((SiteImage){import, desc}));
    return em->sites.len ? (uint32_t)em->sites.len - 1 : 0;
}

/* ---- words ---- */

uint32_t gen_pc(const Gen *g)
{
    return (uint32_t)g->code.len;
}

static void word(Gen *g, uint32_t w)
{
    if (g->code.len >= MAX_PROC_WORDS) {
        if (!g->failed)
            report(g->c, D_TOO_COMPLEX, g->pos, NO_HINT,
                   "this procedure needs more than %d words of code", MAX_PROC_WORDS);
        g->failed = true;
        return;
    }
    PUSH(g->c, &g->code, w);
}

static void line(Gen *g)
{
    LineImage now = {gen_pc(g), g->pos.line, g->pos.col};
    if (g->lines.len) {
        LineImage *last = &g->lines.ptr[g->lines.len - 1];
        if (last->line == now.line && last->col == now.col)
            return;
        if (last->pc == now.pc) {
            *last = now;
            return;
        }
    }
    PUSH(g->c, &g->lines, now);
}

void emit_abc(Gen *g, Op op, int a, int b, int c)
{
    line(g);
    word(g, INS_ABC(op, (uint8_t)a, (uint8_t)b, (uint8_t)c));
}

void emit_abx(Gen *g, Op op, int a, uint32_t bx)
{
    line(g);
    word(g, INS_ABX(op, (uint8_t)a, bx));
}

void emit_extra(Gen *g, Op op, int a, int b, int c, uint32_t extra)
{
    emit_abc(g, op, a, b, c);
    word(g, extra);
}

uint32_t emit_jump(Gen *g, Op op, int a, int b, int c)
{
    uint32_t pc = gen_pc(g);
    if (op == OP_JMP)
        emit_abc(g, op, 0, 0, 0);
    else
        emit_extra(g, op, a, b, c, 0);
    return pc;
}

uint32_t emit_jump_const(Gen *g, Op op, int a, const Const *k)
{
    uint32_t pc = gen_pc(g);
    emit_extra(g, op, a, 0, 0, emit_const(g->em, k));
    word(g, 0);
    return pc;
}

void patch_jump(Gen *g, uint32_t pc, uint32_t target)
{
    if (pc + 1 > g->code.len)
        return;
    uint32_t w = g->code.ptr[pc];
    if (INS_OP(w) == OP_JMP) {
        g->code.ptr[pc] = INS_MAKE_J(OP_JMP, target - (pc + 1));
        return;
    }
    uint32_t next = pc + op_words(&op_info[INS_OP(w)]);
    uint8_t x = op_info[INS_OP(w)].x;
    if (NEVER(x != OPND_XJ && x != OPND_XKJ) || next > g->code.len)
        return;
    g->code.ptr[next - 1] = target - next;
}

void emit_jump_to(Gen *g, Op op, int a, int b, int c, uint32_t target)
{
    uint32_t pc = emit_jump(g, op, a, b, c);
    patch_jump(g, pc, target);
}

void jumps_add(Gen *g, Jumps *jumps, uint32_t pc)
{
    PUSH(g->c, jumps, pc);
}

void patch_here(Gen *g, Jumps *jumps)
{
    for (size_t i = 0; i < jumps->len; i++)
        patch_jump(g, jumps->ptr[i], gen_pc(g));
    jumps->len = 0;
}

void emit_load(Gen *g, int dst, const Const *k)
{
    switch (k ? k->kind : C_NULL) {
    case C_NULL: emit_abc(g, OP_LOADNULL, dst, 0, 0); return;
    case C_BOOL: emit_abc(g, OP_LOADBOOL, dst, k->b, 0); return;
    case C_INT:
        if (k->i >= INT16_MIN && k->i <= INT16_MAX) {
            emit_abx(g, OP_LOADI, dst, (uint16_t)(int16_t)k->i);
            return;
        }
        break;
    default: break;
    }
    uint32_t index = emit_const(g->em, k);
    if (index <= UINT16_MAX)
        emit_abx(g, OP_LOADK, dst, index);
    else
        emit_extra(g, OP_LOADKX, dst, 0, 0, index);
}

void emit_move(Gen *g, int dst, int src)
{
    if (dst != src)
        emit_abc(g, OP_MOVE, dst, src, 0);
}

void emit_name(Gen *g, uint32_t pc, Text path)
{
    PUSH(g->c, &g->names, pc);
    PUSH(g->c, &g->names, emit_text(g->em, path));
}

/* Every jump must land on an instruction of this procedure. */
static bool jumps_in_range(const Gen *g)
{
    for (uint32_t pc = 0; pc < g->code.len;) {
        uint32_t w = g->code.ptr[pc];
        const OpInfo *op = &op_info[INS_OP(w)];
        uint32_t size = op_words(op);
        int64_t target = -1;
        if (op->a == OPND_J24)
            target = (int64_t)pc + 1 + INS_J(w);
        else if (op->x == OPND_XJ)
            target = (int64_t)pc + 2 + (int32_t)g->code.ptr[pc + 1];
        else if (op->x == OPND_XKJ)
            target = (int64_t)pc + 3 + (int32_t)g->code.ptr[pc + 2];
        else
            target = pc;
        if (target < 0 || target >= (int64_t)g->code.len)
            return false;
        pc += size;
    }
    return true;
}

static void name_variables(Gen *g, ProcImage *out)
{
    LIST(uint32_t) vars = {0};
    for (size_t i = 0; i < g->var_list.len; i++) {
        const Var *v = g->var_list.ptr[i];
        PUSH(g->c, &vars, v->reg >= 0 ? (uint32_t)v->reg : out->nregs + v->far_slot);
        PUSH(g->c, &vars, emit_text(g->em, v->name));
    }
    out->vars = vars.ptr;
    out->nvars = (uint32_t)(vars.len / 2);
}

bool gen_finish(Gen *g, ProcImage *out)
{
    map_deinit(&g->vars);
    if (g->c->oom || g->failed)
        return false;
    bool in_range = jumps_in_range(g);
    assert(in_range);
    if (!in_range || g->most >= MAX_REGS || g->nfar > UINT16_MAX) {
        report(g->c, D_TOO_COMPLEX, g->pos, NO_HINT, "this procedure is too large");
        return false;
    }
    out->nregs = g->most > 0 ? (uint32_t)g->most : 1;
    out->nfar = g->nfar;
    out->ninputs = g->ninputs;
    out->code = g->code.ptr;
    out->ncode = (uint32_t)g->code.len;
    out->handlers = g->handlers.ptr;
    out->nhandlers = (uint32_t)g->handlers.len;
    out->lines = g->lines.ptr;
    out->nlines = (uint32_t)g->lines.len;
    out->names = g->names.ptr;
    out->nnames = (uint32_t)(g->names.len / 2);
    if (g->named)
        name_variables(g, out);
    return !g->c->oom;
}
