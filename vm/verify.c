/* verify.c - proves before the first run what the interpreter then takes for granted: every
 * operand, index, window and jump of every procedure stays inside. What a register holds is not
 * proved; instructions that need a certain kind look at run time. */
#include <stdarg.h>
#include <stdio.h>

#include "core/lang/opcodes.h"
#include "core/mem.h"
#include "vm/limits.h"
#include "vm/program.h"

typedef struct Verify {
    const BundleImage *image;
    const ProcImage *proc;
    uint32_t pc;     /* of the instruction under test */
    uint8_t *starts; /* per word: 1 = an instruction begins here */
    xs_error *err;
} Verify;

static bool bad(const Verify *v, const char *fmt, ...) XS_PRINTF(2, 3);

static bool bad(const Verify *v, const char *fmt, ...)
{
    char why[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (!v->proc)
        return xs_fail(v->err, XS_E_BAD_BUNDLE, XS_NO_POS, "%s", why);
    Text name = v->proc->name;
    if (name.len > 40)
        name.len = 40;
    return xs_fail(v->err, XS_E_BAD_BUNDLE, XS_NO_POS, "procedure '" TEXT_FMT "', pc %u: %s",
                   TEXT_ARG(name), v->pc, why);
}

/* ---- one operand ---- */

static bool check_reg(const Verify *v, uint32_t reg)
{
    return reg < v->proc->nregs || bad(v, "register %u of %u", reg, v->proc->nregs);
}

/* Registers first..first+count-1. */
static bool check_window(const Verify *v, uint32_t first, uint32_t count)
{
    return (uint64_t)first + count <= v->proc->nregs ||
           bad(v, "window r%u of %u registers passes the last of %u", first, count, v->proc->nregs);
}

static bool check_const(const Verify *v, uint32_t k)
{
    return k < v->image->nconsts || bad(v, "constant %u of %u", k, v->image->nconsts);
}

static bool check_target(const Verify *v, int64_t target)
{
    return (target >= 0 && target < v->proc->ncode && v->starts[target]) ||
           bad(v, "jump to %lld, where no instruction begins", (long long)target);
}

static bool check_byte(const Verify *v, uint8_t kind, uint8_t value)
{
    switch (kind) {
    case OPND_WR:
    case OPND_RD:
    case OPND_RW:
    case OPND_WIN: return check_reg(v, value);
    case OPND_NO: return value == 0 || bad(v, "unused operand is %u", value);
    default: return true;
    }
}

static bool check_operands(const Verify *v, const OpInfo *op, uint32_t ins)
{
    if (op->a == OPND_J24)
        return check_target(v, (int64_t)v->pc + 1 + INS_J(ins));
    if (!check_byte(v, op->a, INS_A(ins)))
        return false;
    if (op->b == OPND_K16)
        return check_const(v, INS_BX(ins));
    if (op->b == OPND_I16 || op->b == OPND_U16)
        return true;
    return check_byte(v, op->b, INS_B(ins)) && check_byte(v, op->c, INS_C(ins));
}

static bool check_extra(const Verify *v, const OpInfo *op, uint32_t x)
{
    const BundleImage *image = v->image;
    switch (op->x) {
    case OPND_XJ: return check_target(v, (int64_t)v->pc + 2 + (int32_t)x);
    case OPND_XK: return check_const(v, x);
    case OPND_XR: return check_reg(v, x);
    case OPND_XKJ:
        return check_const(v, x) &&
               check_target(v, (int64_t)v->pc + 3 + (int32_t)v->proc->code[v->pc + 2]);
    case OPND_XP: return x < image->nprocs || bad(v, "procedure %u of %u", x, image->nprocs);
    case OPND_XS: return x < image->nsites || bad(v, "site %u of %u", x, image->nsites);
    case OPND_XF:
        if ((x & 0xffff) >= image->nimports)
            return bad(v, "import %u of %u", x & 0xffff, image->nimports);
        return image->imports[x & 0xffff].kind == IMPORT_FILTER ||
               bad(v, "import %u is no filter", x & 0xffff);
    default: return true;
    }
}

static bool check_text_const(const Verify *v, uint32_t k)
{
    return v->image->consts[k]->kind == C_TEXT || bad(v, "constant %u is no text", k);
}

/* ---- what the operand kinds do not say ---- */

static bool check_path_window(const Verify *v, uint32_t first, uint32_t keys, uint32_t more)
{
    return keys ? check_window(v, first, keys + more) : bad(v, "path without keys");
}

static bool check_call(const Verify *v, uint32_t ins, uint32_t x)
{
    uint32_t takes = v->image->procs[x].ninputs;
    if (INS_B(ins) > takes)
        return bad(v, "%u inputs for a procedure with %u", INS_B(ins), takes);
    return check_window(v, INS_A(ins), INS_B(ins));
}

/* Constants have no key twice: the decoder and the compiler see to it. */
static bool check_template(const Verify *v, uint32_t k, uint32_t count)
{
    const Const *map = v->image->consts[k];
    if (map->kind != C_MAP || map->count != count)
        return bad(v, "constant %u is no object with %u keys", k, count);
    for (uint32_t i = 0; i < count; i++)
        if (const_find(map, map->pairs[i].key) != map->pairs[i].value)
            return bad(v, "constant %u has a key twice", k);
    return true;
}

static bool check_fast_filter(const Verify *v, uint32_t ins, uint32_t x)
{
    for (const FastFilter *f = fast_filters; f->name; f++) {
        if (f->op != INS_OP(ins))
            continue;
        uint32_t count = XF_COUNT(x);
        if (!text_eq(v->image->imports[x & 0xffff].name, text_from(f->name)))
            return bad(v, "%s does not call %s", op_info[f->op].name, f->name);
        if (x >> 25 || count < f->least || count > f->most)
            return bad(v, "%s with %u arguments", op_info[f->op].name, x >> 16);
        return check_window(v, INS_C(ins), count);
    }
    return true;
}

static bool check_special(const Verify *v, uint32_t ins, uint32_t x)
{
    uint32_t a = INS_A(ins), b = INS_B(ins), c = INS_C(ins);
    switch ((Op)INS_OP(ins)) {
    case OP_GETFAR:
    case OP_SETFAR:
        return INS_BX(ins) < v->proc->nfar ||
               bad(v, "far slot %u of %u", INS_BX(ins), v->proc->nfar);
    case OP_GETSYS: return b < SYS_COUNT || bad(v, "system value %u", b);
    case OP_CHKSET:
    case OP_GETENV:
    case OP_GETF:
    case OP_GETFT:
    case OP_SETF:
    case OP_SETIF:
    case OP_GETIF:
    case OP_GETIFT: return check_text_const(v, x);
    case OP_SETPATH: return check_path_window(v, b, c, 1);
    case OP_DELPATH: return check_path_window(v, b, c, 0);
    case OP_TAKEPATH: return x <= UINT8_MAX ? check_path_window(v, c, x, 0) : bad(v, "%u keys", x);
    case OP_CALL:
    case OP_CALLTO: return check_call(v, ins, x);
    case OP_MAKELIST: return check_window(v, b, c);
    case OP_MAKEMAP: return check_window(v, b, c) && check_template(v, x, c);
    case OP_CALLN: return check_window(v, a, b);
    case OP_CALLF:
        return x >> 16 <= UINT8_MAX ? check_window(v, c, x >> 16) : bad(v, "%u arguments", x >> 16);
    case OP_ITER: return check_window(v, a, 2) && (c <= 2 || bad(v, "iteration kind %u", c));
    case OP_NEXT: return check_window(v, a, 2) && check_window(v, b, c ? 2 : 1);
    case OP_FORP:
    case OP_FORB:
    case OP_FORN: return check_window(v, a, 2);
    default: return check_fast_filter(v, ins, x);
    }
}

/* ---- a procedure ---- */

/* First pass: known operations, whole instructions; marks where they begin. */
static bool mark_starts(Verify *v)
{
    const OpInfo *op = NULL;
    uint32_t ncode = v->proc->ncode;
    for (v->pc = 0; v->pc < ncode;) {
        uint8_t number = INS_OP(v->proc->code[v->pc]);
        op = &op_info[number];
        if (!op->name)
            return bad(v, "unknown operation %u", number);
        uint32_t words = op_words(op);
        if (words > ncode - v->pc)
            return bad(v, "%s is cut off", op->name);
        v->starts[v->pc] = 1;
        if (v->pc + words == ncode)
            break;
        v->pc += words;
    }
    return (op && op->flags & F_STOPS) || bad(v, "the code runs off its end");
}

static bool check_code(Verify *v)
{
    for (v->pc = 0; v->pc < v->proc->ncode;) {
        uint32_t ins = v->proc->code[v->pc];
        const OpInfo *op = &op_info[INS_OP(ins)];
        bool has_extra = op->x != OPND_XN;
        uint32_t x = has_extra ? v->proc->code[v->pc + 1] : 0;
        if (!check_operands(v, op, ins) || (has_extra && !check_extra(v, op, x)) ||
            !check_special(v, ins, x))
            return false;
        v->pc += op_words(op);
    }
    return true;
}

static bool check_handlers(Verify *v)
{
    const ProcImage *p = v->proc;
    for (uint32_t i = 0; i < p->nhandlers; i++) {
        const HandlerImage *h = &p->handlers[i];
        v->pc = h->from;
        if (h->from >= h->to || h->to > p->ncode || !v->starts[h->from] ||
            (h->to < p->ncode && !v->starts[h->to]))
            return bad(v, "handler %u guards no range of instructions", i);
        if (h->target >= p->ncode || !v->starts[h->target] ||
            INS_OP(p->code[h->target]) != OP_CATCH)
            return bad(v, "handler %u does not begin with CATCH", i);
    }
    return true;
}

static bool check_side_tables(Verify *v)
{
    const ProcImage *p = v->proc;
    for (uint32_t i = 0; i < p->nlines; i++) {
        v->pc = p->lines[i].pc;
        if (p->lines[i].pc > p->ncode || (i && p->lines[i].pc < p->lines[i - 1].pc))
            return bad(v, "line table is out of order");
    }
    for (uint32_t i = 0; i < p->nnames; i++) {
        v->pc = p->names[2 * i];
        if (v->pc >= p->ncode || !v->starts[v->pc])
            return bad(v, "a name where no instruction begins");
        if (!check_const(v, p->names[2 * i + 1]) || !check_text_const(v, p->names[2 * i + 1]))
            return false;
    }
    return true;
}

/* Slots of registers and far variables, with names. */
static bool check_vars(Verify *v)
{
    const ProcImage *p = v->proc;
    v->pc = 0;
    for (uint32_t i = 0; i < p->nvars; i++) {
        if (p->vars[2 * i] >= p->nregs + p->nfar)
            return bad(v, "variable %u has no slot", i);
        if (!check_const(v, p->vars[2 * i + 1]) || !check_text_const(v, p->vars[2 * i + 1]))
            return false;
    }
    return true;
}

static bool check_shape(const Verify *v)
{
    const ProcImage *p = v->proc;
    if (p->kind >= PROC_KIND_COUNT)
        return bad(v, "unknown kind %u", (unsigned)p->kind);
    if (!p->ncode || !p->code || p->ncode > INT32_MAX / 2)
        return bad(v, "%u words of code", p->ncode);
    if (!p->nregs || p->nregs > 256)
        return bad(v, "%u registers", p->nregs);
    if (p->nfar > MAX_FAR)
        return bad(v, "%u far slots", p->nfar);
    if (p->ninputs > p->nregs)
        return bad(v, "%u inputs in %u registers", p->ninputs, p->nregs);
    if (!p->ninputs)
        return true;
    if (!p->inputs || p->inputs->kind != C_LIST || p->inputs->count != p->ninputs)
        return bad(v, "the input schema does not describe %u inputs", p->ninputs);
    for (uint32_t i = 0; i < p->ninputs; i++)
        if (!proc_input_name(p, i).ptr)
            return bad(v, "input %u has no name", i);
    return true;
}

static bool check_proc(Verify *v)
{
    v->pc = 0;
    if (!check_shape(v))
        return false;
    v->starts = mem_zalloc(v->proc->ncode, 1);
    if (!v->starts)
        return xs_fail(v->err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
    bool ok = mark_starts(v) && check_code(v) && check_handlers(v) && check_side_tables(v) &&
              check_vars(v);
    mem_free(v->starts);
    return ok;
}

static bool check_bundle(const Verify *v)
{
    const BundleImage *image = v->image;
    for (uint32_t i = 0; i < image->nconsts; i++)
        if (!image->consts[i])
            return bad(v, "constant %u is missing", i);
    for (uint32_t i = 0; i < image->nimports; i++)
        if (image->imports[i].kind >= IMPORT_KIND_COUNT)
            return bad(v, "import %u is of an unknown kind", i);
    for (uint32_t i = 0; i < image->nsites; i++) {
        uint32_t import = image->sites[i].import;
        if (import >= image->nimports || image->imports[import].kind != IMPORT_STATEMENT)
            return bad(v, "site %u calls no statement", i);
    }
    return true;
}

bool image_verify(const BundleImage *image, xs_error *err)
{
    Verify v = {.image = image, .err = err};
    if (!check_bundle(&v))
        return false;
    for (uint32_t i = 0; i < image->nprocs; i++) {
        v.proc = &image->procs[i];
        if (!check_proc(&v))
            return false;
    }
    return true;
}
