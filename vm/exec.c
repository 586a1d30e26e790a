/* exec.c - the dispatch loop alone. verify.c has proved operands, windows and jumps; kinds are
 * looked at here. Two twins from one text: computed goto where the compiler has it, a switch with
 * XS_NO_COMPUTED_GOTO.
 *
 * Inside the loop: pc is behind the words of the instruction read so far; r are the registers of
 * the top frame and move with the stack, so everything that may push a frame ends in `reload`; an
 * error has set f->raised and goes to `raise`, which finds a handler or ends the fiber. */
#include <math.h>

#include "core/text.h"
#include "vm/step.h"
#include "vm/stream.h"

static inline bool truth(const Value *v)
{
    return v->kind == V_BOOL ? v->b : val_truthy(*v);
}

static inline bool loose_eq(const Value *a, const Value *b)
{
    return a->kind == V_INT && b->kind == V_INT ? a->i == b->i : val_loose_eq(*a, *b);
}

static inline bool strict_eq(const Value *a, const Value *b)
{
    return a->kind == V_INT && b->kind == V_INT ? a->i == b->i : val_strict_eq(*a, *b);
}

static inline bool less(const Value *a, const Value *b)
{
    if (a->kind == V_INT && b->kind == V_INT)
        return a->i < b->i;
    return a->kind == V_DEC && b->kind == V_DEC ? a->d < b->d : val_compare(*a, *b) < 0;
}

static inline bool less_eq(const Value *a, const Value *b)
{
    if (a->kind == V_INT && b->kind == V_INT)
        return a->i <= b->i;
    return a->kind == V_DEC && b->kind == V_DEC ? a->d <= b->d : val_compare(*a, *b) <= 0;
}

static inline __attribute__((always_inline)) bool both_decimal(const Value *a, const Value *b,
                                                               double *x, double *y)
{
    if (a->kind == V_DEC)
        *x = a->d;
    else if (a->kind == V_INT)
        *x = (double)a->i;
    else
        return false;
    if (b->kind == V_DEC)
        *y = b->d;
    else if (b->kind == V_INT && a->kind == V_DEC)
        *y = (double)b->i;
    else
        return false;
    return true;
}

/* Division of 32 bits is the faster one, and most numbers are small. */
static inline int64_t rest_of(int64_t a, int64_t b)
{
    if (((uint64_t)a | (uint64_t)b) >> 32 == 0)
        return (uint32_t)a % (uint32_t)b;
    return a % b;
}

static inline bool same_text(const Value *a, const Value *b)
{
    return a->text == b->text || (a->text->len == b->text->len &&
                                  memcmp(a->text->data, b->text->data, a->text->len) == 0);
}

/* Equal to a constant. */
static inline bool const_eq(const Value *a, const Value *c)
{
    return a->kind == V_TEXT && c->kind == V_TEXT ? same_text(a, c) : val_loose_eq(*a, *c);
}

/* ---- the loop ---- */

/* The traced twin (exec_traced.c) tells of every instruction before it runs. */
#ifdef XS_TRACED
#define TRACE()                                                                                    \
    f->trace(f->trace_ctx, (uint32_t)(f->frames[f->nframes - 1].proc - f->program->procs),         \
             (uint32_t)(pc - f->frames[f->nframes - 1].proc->code), f->nframes)
#else
#define TRACE() (void)0
#endif

/* A jump to the next instruction at the end of every instruction is what makes the loop fast, and
 * what makes it slow to compile: not where speed is no matter. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
#define ONE_DISPATCH 1
#endif

#if defined(__GNUC__) && !defined(XS_NO_COMPUTED_GOTO)
#define CASE(op) L_##op
#ifdef ONE_DISPATCH
#define NEXT() goto dispatch
#else
#define NEXT()                                                                                     \
    do {                                                                                           \
        TRACE();                                                                                   \
        ins = *pc++;                                                                               \
        goto *labels[INS_OP(ins)];                                                                 \
    } while (0)
#endif
#else
#define CASE(op) case OP_##op
#define NEXT()   goto dispatch
#endif

#define RA (&r[INS_A(ins)])
#define RB (&r[INS_B(ins)])
#define RC (&r[INS_C(ins)])

/* Put a value into r[A] and go on. Scalars have forms of their own: a Value built only to be stored
 * costs moving its unused bytes. */
#define NEXT_PUT(kind_, type_, member_, x)                                                         \
    do {                                                                                           \
        type_ x_ = (x); /* may read what is overwritten */                                         \
        Value *to_ = RA;                                                                           \
        if (UNLIKELY(to_->kind >= V_TEXT))                                                         \
            slot_release(h, to_);                                                                  \
        to_->kind = (kind_);                                                                       \
        to_->member_ = x_;                                                                         \
        NEXT();                                                                                    \
    } while (0)
#define NEXT_INT(n)  NEXT_PUT(V_INT, int64_t, i, n)
#define NEXT_DEC(n)  NEXT_PUT(V_DEC, double, d, n)
#define NEXT_BOOL(n) NEXT_PUT(V_BOOL, int64_t, i, n) /* the whole payload, as val_bool does */
#define NEXT_SET(v)                                                                                \
    do {                                                                                           \
        Value v_ = (v);                                                                            \
        NEXT_PUT(v_.kind, int64_t, i, v_.i);                                                       \
    } while (0)
/* One more owner of a value in memory. */
#define NEXT_COPY(slot)                                                                            \
    do {                                                                                           \
        const Value *from_ = (slot);                                                               \
        Kind kind__ = from_->kind;                                                                 \
        int64_t payload_ = from_->i;                                                               \
        if (kind__ >= V_TEXT && from_->obj->refs < REFS_IMMORTAL)                                  \
            from_->obj->refs++;                                                                    \
        NEXT_PUT(kind__, int64_t, i, payload_);                                                    \
    } while (0)

/* Go on when ok, raise otherwise. */
#define NEXT_IF(ok)                                                                                \
    do {                                                                                           \
        if (UNLIKELY(!(ok)))                                                                       \
            goto raise;                                                                            \
        NEXT();                                                                                    \
    } while (0)

/* Jump by a signed number of words; a backward one costs what it repeats. */
#define JUMP(words)                                                                                \
    do {                                                                                           \
        int32_t by = (words);                                                                      \
        pc += by;                                                                                  \
        if (by < 0 && UNLIKELY((f->slice += by) < 0))                                              \
            goto tick;                                                                             \
        NEXT();                                                                                    \
    } while (0)

#define JUMP_IF(condition)                                                                         \
    do {                                                                                           \
        bool jump = (condition);                                                                   \
        int32_t offset = (int32_t)*pc++;                                                           \
        if (jump)                                                                                  \
            JUMP(offset);                                                                          \
        NEXT();                                                                                    \
    } while (0)

#define COMPARE(expr)                                                                              \
    do {                                                                                           \
        bool yes = (expr);                                                                         \
        NEXT_BOOL(yes);                                                                            \
    } while (0)

/* Ints without overflow and finite decimals here, everything else in `slow`. */
#define ARITHMETIC(left, right, builtin, sign, slow)                                               \
    do {                                                                                           \
        const Value *b = (left), *c = (right);                                                     \
        double x, y;                                                                               \
        if (LIKELY(b->kind == V_INT && c->kind == V_INT)) {                                        \
            int64_t n;                                                                             \
            if (LIKELY(!builtin(b->i, c->i, &n)))                                                  \
                NEXT_INT(n);                                                                       \
        } else if (both_decimal(b, c, &x, &y)) {                                                   \
            double d = x sign y;                                                                   \
            if (LIKELY(isfinite(d)))                                                               \
                NEXT_DEC(d);                                                                       \
        }                                                                                          \
        NEXT_IF(slow);                                                                             \
    } while (0)

/* Exact ints stay ints; a divisor of zero is not for here. */
#define DIVISION(left, right)                                                                      \
    do {                                                                                           \
        const Value *b = (left), *c = (right);                                                     \
        double x, y;                                                                               \
        if (LIKELY(b->kind == V_INT && c->kind == V_INT && c->i > 0)) {                            \
            int64_t n = b->i / c->i;                                                               \
            if (n * c->i == b->i)                                                                  \
                NEXT_INT(n);                                                                       \
            NEXT_DEC((double)b->i / (double)c->i);                                                 \
        }                                                                                          \
        if (both_decimal(b, c, &x, &y) && y != 0) {                                                \
            double d = x / y;                                                                      \
            if (LIKELY(isfinite(d)))                                                               \
                NEXT_DEC(d);                                                                       \
        }                                                                                          \
        NEXT_IF(step_arith(f, AR_DIV, RA, b, c));                                                  \
    } while (0)

#define REMAINDER(left, right)                                                                     \
    do {                                                                                           \
        const Value *b = (left), *c = (right);                                                     \
        if (LIKELY(b->kind == V_INT && c->kind == V_INT && c->i > 0))                              \
            NEXT_INT(rest_of(b->i, c->i));                                                         \
        NEXT_IF(step_arith(f, AR_MOD, RA, b, c));                                                  \
    } while (0)

/* Compare and jump; each end of the common case has its own jump. */
#define JUMP_ON(known, sign, x, y, otherwise)                                                      \
    do {                                                                                           \
        if (LIKELY(known)) {                                                                       \
            if ((x)sign(y))                                                                        \
                JUMP(offset);                                                                      \
            NEXT();                                                                                \
        }                                                                                          \
        if (otherwise)                                                                             \
            JUMP(offset);                                                                          \
        NEXT();                                                                                    \
    } while (0)
#define JUMP_COMPARE(sign, otherwise)                                                              \
    do {                                                                                           \
        const Value *a = RA, *b = RB;                                                              \
        int32_t offset = (int32_t)*pc++;                                                           \
        JUMP_ON(a->kind == V_INT && b->kind == V_INT, sign, a->i, b->i, otherwise);                \
    } while (0)
#define JUMP_INT(sign, otherwise)                                                                  \
    do {                                                                                           \
        const Value *a = RA;                                                                       \
        int64_t n = (int8_t)INS_B(ins);                                                            \
        int32_t offset = (int32_t)*pc++;                                                           \
        JUMP_ON(a->kind == V_INT, sign, a->i, n, otherwise);                                       \
    } while (0)
#define JUMP_CONST(sign, otherwise)                                                                \
    do {                                                                                           \
        const Value *a = RA, *c = &k[pc[0]];                                                       \
        int32_t offset = (int32_t)pc[1];                                                           \
        pc += 2;                                                                                   \
        JUMP_ON(a->kind == V_INT && c->kind == V_INT, sign, a->i, c->i, otherwise);                \
    } while (0)

/* The two elements of r[B][r[C]][r[x]], or the longer way. */
#define TWO_STEPS(tolerant)                                                                        \
    do {                                                                                           \
        const Value *b = RB, *c = RC, *d = &r[*pc++];                                              \
        if (LIKELY(b->kind == V_LIST && c->kind == V_INT && d->kind == V_INT &&                    \
                   (uint64_t)c->i < b->list->len)) {                                               \
            const Value *row = &b->list->items[b->list->start + (uint32_t)c->i];                   \
            if (LIKELY(row->kind == V_LIST && (uint64_t)d->i < row->list->len))                    \
                NEXT_COPY(&row->list->items[row->list->start + (uint32_t)d->i]);                   \
        }                                                                                          \
        NEXT_IF(step_get_two(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 2, c, d,       \
                             tolerant));                                                           \
    } while (0)

/* Member of an element, or the longer way. */
#define ELEMENT_MEMBER(tolerant)                                                                   \
    do {                                                                                           \
        const Value *b = RB, *c = RC;                                                              \
        Value key = k[*pc++];                                                                      \
        if (LIKELY(b->kind == V_LIST && c->kind == V_INT && (uint64_t)c->i < b->list->len)) {      \
            const Value *row = &b->list->items[b->list->start + (uint32_t)c->i];                   \
            const Value *found = row->kind == V_MAP ? member(f, row->map, key.text, pc) : NULL;    \
            if (LIKELY(found != NULL))                                                             \
                NEXT_COPY(found);                                                                  \
        }                                                                                          \
        NEXT_IF(step_get_two(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 2, c, &key,    \
                             tolerant));                                                           \
    } while (0)

#define CALL_FILTER() goto call_filter

FiberState fiber_exec(Fiber *f)
{
#if defined(__GNUC__) && !defined(XS_NO_COMPUTED_GOTO)
    static const void *const labels[256] = {
#define OP(num, name, a, b, c, x, flags, syn, doc) [num] = &&L_##name,
#include "core/lang/opcodes.def"
#undef OP
    };
#endif
    Heap *const h = f->heap;
    const Value *const k = f->program->consts;
    Frame *fr;
    Value *r;
    const uint32_t *pc;
    uint32_t ins;
    Value returned;

reload:
    fr = &f->frames[f->nframes - 1];
    r = f->stack + fr->base;
    pc = fr->pc;
#if defined(__GNUC__) && !defined(XS_NO_COMPUTED_GOTO)
#ifdef ONE_DISPATCH
dispatch:
    TRACE();
    ins = *pc++;
    goto *labels[INS_OP(ins)];
#else
    NEXT();
#endif
#else
dispatch:
    TRACE();
    ins = *pc++;
    switch ((Op)INS_OP(ins)) {
#endif

    /* loading and moving */

    CASE(LOADK) :
    {
        NEXT_SET(k[INS_BX(ins)]); /* constants are not counted */
    }
    CASE(LOADKX) :
    {
        NEXT_SET(k[*pc++]);
    }
    CASE(LOADI) :
    {
        NEXT_INT(INS_SBX(ins));
    }
    CASE(LOADNULL) :
    {
        NEXT_SET(val_null());
    }
    CASE(LOADBOOL) :
    {
        NEXT_BOOL(INS_B(ins) != 0);
    }
    CASE(MOVE) :
    {
        NEXT_COPY(RB);
    }
    CASE(TAKE) :
    {
        Value v = *RB;
        *RB = val_unset();
        NEXT_SET(v);
    }
    CASE(UNSET) :
    {
        NEXT_SET(val_unset());
    }
    CASE(GETFAR) :
    {
        NEXT_COPY(&r[fr->proc->nregs + INS_BX(ins)]);
    }
    CASE(SETFAR) :
    {
        slot_set(h, &r[fr->proc->nregs + INS_BX(ins)], val_ref(*RA));
        NEXT();
    }
    CASE(CHKSET) :
    {
        uint32_t name = *pc++;
        if (LIKELY(RA->kind != V_UNSET))
            NEXT();
        raise_code(f, XS_E_UNKNOWN_VAR);
        xs_fail(&f->raised.err, XS_E_UNKNOWN_VAR, XS_NO_POS, "Missing var entry: " TEXT_FMT,
                TEXT_ARG(val_text_view(k[name])));
        goto raise;
    }
    CASE(GETSYS) :
    {
        Value v;
        if (!sys_read(f, (SysVar)INS_B(ins), &v))
            goto raise;
        NEXT_SET(v);
    }
    CASE(GETENV) :
    {
        Value v;
        if (!sys_env(f, val_text_view(k[*pc++]), &v))
            goto raise;
        NEXT_SET(v);
    }
    CASE(GETINPUT) :
    {
        NEXT_IF(step_get_input(f, RA, fr->proc, r));
    }

    /* arithmetic and logic */

    CASE(ADD) :
    {
        ARITHMETIC(RB, RC, __builtin_add_overflow, +, step_arith(f, AR_ADD, RA, b, c));
    }
    CASE(SUB) :
    {
        ARITHMETIC(RB, RC, __builtin_sub_overflow, -, step_arith(f, AR_SUB, RA, b, c));
    }
    CASE(MUL) :
    {
        ARITHMETIC(RB, RC, __builtin_mul_overflow, *, step_arith(f, AR_MUL, RA, b, c));
    }
    CASE(DIV) :
    {
        DIVISION(RB, RC);
    }
    CASE(MOD) :
    {
        REMAINDER(RB, RC);
    }
    CASE(CONCAT) :
    {
        NEXT_IF(step_concat(f, RA, RB, RC));
    }
    CASE(RANGE) :
    {
        NEXT_IF(step_range(f, RA, RB, RC));
    }
    CASE(ADDI) :
    {
        const Value *b = RB;
        int64_t n;
        if (LIKELY(b->kind == V_INT &&
                   !__builtin_add_overflow(b->i, (int64_t)(int8_t)INS_C(ins), &n))) {
            NEXT_INT(n);
        }
        Value c = val_int((int8_t)INS_C(ins));
        NEXT_IF(step_arith(f, AR_ADD, RA, b, &c));
    }
    CASE(NOT) :
    {
        COMPARE(!truth(RB));
    }
    CASE(NEG) :
    {
        Value zero = val_int(0);
        NEXT_IF(step_arith(f, AR_SUB, RA, &zero, RB));
    }
    CASE(BOOL) :
    {
        COMPARE(truth(RB));
    }
    CASE(NUMZ) :
    {
        Value n = val_int(0);
        if (UNLIKELY(RB->kind == V_UNSET) && !raise_code(f, XS_E_NOT_NUMERIC))
            goto raise;
        if (!val_is_null(*RB) && !val_number(*RB, &n, clean_error(f)))
            goto raise;
        NEXT_SET(n);
    }
    CASE(EQ) :
    {
        COMPARE(loose_eq(RB, RC));
    }
    CASE(NE) :
    {
        COMPARE(!loose_eq(RB, RC));
    }
    CASE(SEQ) :
    {
        COMPARE(strict_eq(RB, RC));
    }
    CASE(SNE) :
    {
        COMPARE(!strict_eq(RB, RC));
    }
    CASE(LT) :
    {
        COMPARE(less(RB, RC));
    }
    CASE(LE) :
    {
        COMPARE(less_eq(RB, RC));
    }

    /* jumps */

    CASE(JMP) :
    {
        JUMP(INS_J(ins));
    }
    CASE(JT) :
    {
        JUMP_IF(truth(RA));
    }
    CASE(JF) :
    {
        JUMP_IF(!truth(RA));
    }
    CASE(JNULL) :
    {
        JUMP_IF(val_is_null(*RA));
    }
    CASE(JNNULL) :
    {
        JUMP_IF(!val_is_null(*RA));
    }
    CASE(JEQ) :
    {
        JUMP_IF(loose_eq(RA, RB) == (INS_C(ins) != 0));
    }
    CASE(JSEQ) :
    {
        JUMP_IF(strict_eq(RA, RB) == (INS_C(ins) != 0));
    }
    CASE(JLT) :
    {
        JUMP_IF(less(RA, RB) == (INS_C(ins) != 0));
    }
    CASE(JLE) :
    {
        JUMP_IF(less_eq(RA, RB) == (INS_C(ins) != 0));
    }

    /* members */

    CASE(GETF) :
    {
        Value key = k[*pc++];
        const Value *b = RB;
        if (LIKELY(b->kind == V_MAP)) {
            const Value *found = member(f, b->map, key.text, pc);
            if (LIKELY(found != NULL)) {
                NEXT_COPY(found);
            }
        }
        NEXT_IF(step_get(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 2, key, false));
    }
    CASE(GETFT) :
    {
        Value key = k[*pc++];
        const Value *b = RB;
        if (LIKELY(b->kind == V_MAP)) {
            const Value *found = member(f, b->map, key.text, pc);
            if (found)
                NEXT_COPY(found);
            NEXT_SET(val_null());
        }
        NEXT_IF(step_get(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 2, key, true));
    }
    CASE(GETI) :
    {
        const Value *b = RB, *c = RC;
        if (LIKELY(b->kind == V_LIST && c->kind == V_INT && (uint64_t)c->i < b->list->len)) {
            NEXT_COPY(&b->list->items[b->list->start + (uint32_t)c->i]);
        }
        NEXT_IF(step_get(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 1, *c, false));
    }
    CASE(GETIT) :
    {
        const Value *b = RB, *c = RC;
        if (LIKELY(b->kind == V_LIST && c->kind == V_INT && (uint64_t)c->i < b->list->len)) {
            NEXT_COPY(&b->list->items[b->list->start + (uint32_t)c->i]);
        }
        NEXT_IF(step_get(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 1, *c, true));
    }
    CASE(SETF) :
    {
        Value key = k[*pc++];
        NEXT_IF(step_set_member(f, RA, key, val_ref(val_or_null(*RB)), pc));
    }
    CASE(SETI) :
    {
        Value *a = RA;
        const Value *b = RB;
        if (LIKELY(a->kind == V_LIST && val_unique(*a) && b->kind == V_INT && RC != a &&
                   (uint64_t)b->i < a->list->len)) { /* never itself into itself */
            slot_set(h, &a->list->items[a->list->start + (uint32_t)b->i],
                     val_ref(val_or_null(val_load(RC))));
            NEXT();
        }
        Value key = val_ref(*b); /* the register may be the one that changes */
        bool ok = val_set_path(h, a, &key, 1, val_ref(*RC), clean_error(f));
        val_unref(h, key);
        NEXT_IF(ok);
    }
    CASE(SETPATH) :
    {
        NEXT_IF(step_set_path(f, RA, RB, INS_C(ins)));
    }
    CASE(TAKEPATH) :
    {
        uint32_t nkeys = *pc++;
        NEXT_IF(step_take_path(f, RA, RB, RC, nkeys));
    }
    CASE(DELPATH) :
    {
        NEXT_IF(val_delete_path(h, RA, RB, INS_C(ins), clean_error(f)));
    }
    CASE(NEWLIST) :
    {
        Value v = list_new(h, INS_BX(ins));
        if (v.kind == V_UNSET)
            goto memory;
        NEXT_SET(v);
    }
    CASE(NEWMAP) :
    {
        Value v = map_new(h, INS_BX(ins));
        if (v.kind == V_UNSET)
            goto memory;
        NEXT_SET(v);
    }
    CASE(LPUSH) :
    {
        NEXT_IF(step_push(f, RA, val_ref(val_or_null(*RB))));
    }
    CASE(MSET) :
    {
        NEXT_IF(step_set_computed(f, RA, *RB, *RC));
    }
    CASE(SPREAD) :
    {
        NEXT_IF(step_spread(f, RA, *RB));
    }
    CASE(POP) :
    {
        NEXT_IF(step_remove_end(f, RA, RB, false));
    }
    CASE(SHIFT) :
    {
        NEXT_IF(step_remove_end(f, RA, RB, true));
    }

    /* calls */

    CASE(CALL) :
    {
        uint32_t proc = *pc++;
        fr->pc = pc;
        if (UNLIKELY((f->slice -= CALL_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        if (!step_call(f, proc, INS_A(ins), INS_B(ins), INS_A(ins)))
            goto raise;
        goto reload;
    }
    CASE(CALLD) :
    {
        uint32_t proc = *pc++;
        fr->pc = pc;
        if (UNLIKELY((f->slice -= CALL_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        if (!step_call_object(f, proc, INS_A(ins), *RB))
            goto raise;
        goto reload;
    }
    CASE(CALLN) :
    {
        uint32_t site = *pc++;
        fr->pc = pc;
        if (UNLIKELY((f->slice -= NATIVE_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        switch (step_call_statement(f, RA, INS_A(ins), INS_B(ins), site)) {
        case NATIVE_OK: NEXT();
        case NATIVE_PARK: return FIBER_PARKED;
        case NATIVE_ERROR: break;
        }
        goto raise;
    }
    CASE(CALLF) :
    {
    call_filter : /* also the filters with an instruction of their own */
    {
        uint32_t x = *pc++;
        if (UNLIKELY((f->slice -= NATIVE_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        NEXT_IF(step_call_filter(f, RA, RB, RC, x));
    }
    }
    CASE(BIND) :
    {
        const Proc *proc = fr->proc;
        for (uint32_t i = 0;; i++) {
            if (i == proc->ninputs)
                NEXT();
            if (!(proc->pass[i] >> r[i].kind & 1) ||
                (r[i].kind == V_TEXT && (!r[i].text->len || !utf8_valid(val_text_view(r[i])))))
                break;
        }
        NEXT_IF(step_bind(f, proc, r));
    }
    CASE(RET) :
    {
        returned = val_or_null(val_load(RA));
        *RA = val_unset();
        goto leave;
    }
    CASE(RETNULL) :
    {
        returned = val_null();
        goto leave;
    }

    /* loops */

    CASE(ITER) :
    {
        int32_t offset = (int32_t)*pc++;
        bool empty = false;
        if (!step_iterate(f, RA, *RB, INS_C(ins), &empty))
            goto raise;
        if (empty)
            JUMP(offset);
        NEXT();
    }
    CASE(NEXT) :
    {
        int32_t offset = (int32_t)*pc++;
        Value *it = RA, *to = RB;
        if (LIKELY(it[0].kind == V_LIST && it[1].kind == V_INT && it[1].i >= 0 &&
                   it[1].i < it[0].list->len)) {
            int64_t at = it[1].i++;
            slot_set(h, to, val_ref(list_at(it[0].list, (uint32_t)at)));
            if (INS_C(ins))
                slot_set(h, to + 1, val_int(at));
            JUMP(offset);
        }
        fr->pc = pc;
        int more = step_next(f, it, to, INS_C(ins) != 0);
        if (more < 0)
            goto raise;
        if (more == STREAM_LATER)
            return FIBER_PARKED;
        if (more)
            JUMP(offset);
        NEXT();
    }
    CASE(FORP) :
    {
        int32_t offset = (int32_t)*pc++;
        if (!step_for(f, RA))
            goto raise;
        if (RA->i < 1)
            JUMP(offset);
        NEXT();
    }
    CASE(FORN) :
    {
        int32_t offset = (int32_t)*pc++;
        Value *it = RA;
        if (UNLIKELY(it[0].kind != V_INT || it[1].kind != V_INT)) {
            raise_bug(f, "next of something that is no loop");
            goto raise;
        }
        int64_t next = (int64_t)((uint64_t)it[1].i + 1);
        it[1].i = next;
        if (UNLIKELY(next >= it[0].i))
            NEXT();
        Value *to = RB;
        if (UNLIKELY(to->kind >= V_TEXT))
            slot_release(h, to);
        to->kind = V_INT;
        to->i = next;
        JUMP(offset);
    }

    /* errors */

    CASE(FAIL) :
    {
        raise_precondition(f, *RA, *RB, *RC);
        goto raise;
    }
    CASE(THROW) :
    {
        raise_throw(f, *RA, *RB);
        goto raise;
    }
    CASE(CATCH) :
    {
        Value box = error_box(f);
        if (box.kind == V_UNSET)
            goto raise;
        NEXT_SET(box);
    }
    CASE(RETHROW) :
    {
        error_unbox(f, *RA);
        goto raise;
    }
    CASE(STOP) :
    {
        raise_stop(f, *RA);
        goto raise;
    }

    /* forms with a constant, or fused with a jump */

    CASE(ADDK) :
    {
        ARITHMETIC(RB, &k[*pc++], __builtin_add_overflow, +, step_arith(f, AR_ADD, RA, b, c));
    }
    CASE(SUBK) :
    {
        ARITHMETIC(RB, &k[*pc++], __builtin_sub_overflow, -, step_arith(f, AR_SUB, RA, b, c));
    }
    CASE(MULK) :
    {
        ARITHMETIC(RB, &k[*pc++], __builtin_mul_overflow, *, step_arith(f, AR_MUL, RA, b, c));
    }
    CASE(DIVK) :
    {
        DIVISION(RB, &k[*pc++]);
    }
    CASE(MODK) :
    {
        REMAINDER(RB, &k[*pc++]);
    }
    CASE(KSUB) :
    {
        ARITHMETIC(&k[*pc++], RB, __builtin_sub_overflow, -, step_arith(f, AR_SUB, RA, b, c));
    }
    CASE(ADDZ) :
    {
        ARITHMETIC(RB, RC, __builtin_add_overflow, +, step_arith_zero(f, AR_ADD, RA, b, c));
    }
    CASE(SUBZ) :
    {
        ARITHMETIC(RB, RC, __builtin_sub_overflow, -, step_arith_zero(f, AR_SUB, RA, b, c));
    }
    CASE(MULZ) :
    {
        ARITHMETIC(RB, RC, __builtin_mul_overflow, *, step_arith_zero(f, AR_MUL, RA, b, c));
    }
    CASE(ADDZI) :
    {
        Value small = val_int((int8_t)INS_C(ins));
        ARITHMETIC(RB, &small, __builtin_add_overflow, +, step_arith_zero(f, AR_ADD, RA, b, c));
    }
    CASE(JEQ1) :
    {
        JUMP_COMPARE(==, val_loose_eq(*a, *b));
    }
    CASE(JEQ0) :
    {
        JUMP_COMPARE(!=, !val_loose_eq(*a, *b));
    }
    CASE(JLT1) :
    {
        JUMP_COMPARE(<, less(a, b));
    }
    CASE(JLT0) :
    {
        JUMP_COMPARE(>=, !less(a, b));
    }
    CASE(JLE1) :
    {
        JUMP_COMPARE(<=, less_eq(a, b));
    }
    CASE(JLE0) :
    {
        JUMP_COMPARE(>, !less_eq(a, b));
    }
    CASE(JEQI) :
    {
        JUMP_INT(==, val_loose_eq(*a, val_int(n)));
    }
    CASE(JNEI) :
    {
        JUMP_INT(!=, !val_loose_eq(*a, val_int(n)));
    }
    CASE(JLTI) :
    {
        JUMP_INT(<, val_compare(*a, val_int(n)) < 0);
    }
    CASE(JLEI) :
    {
        JUMP_INT(<=, val_compare(*a, val_int(n)) <= 0);
    }
    CASE(JGTI) :
    {
        JUMP_INT(>, val_compare(*a, val_int(n)) > 0);
    }
    CASE(JGEI) :
    {
        JUMP_INT(>=, val_compare(*a, val_int(n)) >= 0);
    }
    CASE(JEQK) :
    {
        JUMP_CONST(==, const_eq(a, c));
    }
    CASE(JNEK) :
    {
        JUMP_CONST(!=, !const_eq(a, c));
    }
    CASE(JLTK) :
    {
        JUMP_CONST(<, less(a, c));
    }
    CASE(JLEK) :
    {
        JUMP_CONST(<=, less_eq(a, c));
    }
    CASE(JGTK) :
    {
        JUMP_CONST(>, !less_eq(a, c));
    }
    CASE(JGEK) :
    {
        JUMP_CONST(>=, !less(a, c));
    }
    CASE(FORB) :
    {
        int32_t offset = (int32_t)*pc++;
        Value *it = RA;
        if (UNLIKELY(!step_for(f, it)))
            goto raise;
        if (it[0].i < 1)
            JUMP(offset);
        it[1].i = 0;
        slot_set(h, RB, val_int(0));
        NEXT();
    }
    CASE(GETIF) :
    {
        ELEMENT_MEMBER(false);
    }
    CASE(GETIFT) :
    {
        ELEMENT_MEMBER(true);
    }
    CASE(GETII) :
    {
        TWO_STEPS(false);
    }
    CASE(GETIIT) :
    {
        TWO_STEPS(true);
    }
    CASE(SETII) :
    {
        Value *a = RA;
        const Value *b = RB, *c = RC, *value = &r[*pc++];
        if (LIKELY(a->kind == V_LIST && val_unique(*a) && b->kind == V_INT && c->kind == V_INT &&
                   value != a && (uint64_t)b->i < a->list->len)) {
            Value *row = &a->list->items[a->list->start + (uint32_t)b->i];
            if (LIKELY(row->kind == V_LIST && val_unique(*row) &&
                       (uint64_t)c->i < row->list->len)) {
                slot_set(h, &row->list->items[row->list->start + (uint32_t)c->i],
                         val_ref(val_or_null(val_load(value))));
                NEXT();
            }
        }
        NEXT_IF(step_set_two(f, a, *b, *c, *value));
    }
    CASE(SETIF) :
    {
        Value key = k[*pc++], *a = RA;
        const Value *b = RB;
        if (LIKELY(a->kind == V_LIST && val_unique(*a) && b->kind == V_INT && RC != a &&
                   (uint64_t)b->i < a->list->len)) {
            Value *row = &a->list->items[a->list->start + (uint32_t)b->i];
            Value *slot =
                row->kind == V_MAP && val_unique(*row) ? member(f, row->map, key.text, pc) : NULL;
            if (LIKELY(slot != NULL)) {
                slot_set(h, slot, val_ref(val_or_null(val_load(RC))));
                NEXT();
            }
        }
        NEXT_IF(step_set_two(f, a, *b, key, *RC));
    }
    CASE(MAKELIST) :
    {
        NEXT_IF(step_make_list(f, RA, RB, INS_C(ins)));
    }
    CASE(MAKEMAP) :
    {
        NEXT_IF(step_make_map(f, RA, RB, k[*pc++].map));
    }
    CASE(CALLTO) :
    {
        uint32_t index = *pc++;
        const Proc *proc = &f->program->procs[index];
        fr->pc = pc;
        if (UNLIKELY((f->slice -= CALL_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        uint32_t base = fr->base + INS_A(ins), top = base + proc->size;
        if (UNLIKELY(fr->proc->size != fr->proc->nregs || f->nframes >= f->frames_max ||
                     top > f->stack_cap)) {
            if (!step_call(f, index, INS_A(ins), INS_B(ins), INS_C(ins)))
                goto raise;
            goto reload;
        }
        uint8_t result_reg = INS_C(ins);
        Value *args = RA;
        slots_clear(h, args + INS_B(ins), r + fr->proc->size);
        fr++;
        *fr = (Frame){proc, proc->code, base, result_reg, fr[-1].source};
        f->nframes++;
        f->stack_top = top;
        r = args;
        pc = proc->code;
        NEXT();
    }

    /* filters */

    CASE(FGET) :
    {
        const Value *found;
        if (UNLIKELY(!fast_find(RB, RC, &found)))
            CALL_FILTER();
        uint32_t x = *pc++;
        if (found && found->kind > V_NULL)
            NEXT_COPY(found);
        const Value *otherwise = XF_COUNT(x) > 1 ? RC + 1 : NULL;
        NEXT_SET(otherwise ? val_ref(val_or_null(val_load(otherwise))) : val_null());
    }
    CASE(FHAS) :
    {
        const Value *found;
        if (UNLIKELY(!fast_find(RB, RC, &found) ||
                     (found && found->kind == V_LIST && !found->list->len)))
            CALL_FILTER();
        pc++;
        NEXT_BOOL(found != NULL);
    }
    CASE(FSET) :
    {
        FastResult done = fast_set(f, RA, RB, RC, *pc);
        if (UNLIKELY(done == FAST_SLOW))
            CALL_FILTER();
        pc++;
        NEXT_IF(done == FAST_DONE);
    }
    CASE(FPUSH) :
    {
        FastResult done = fast_push(f, RA, RB, RC, *pc);
        if (UNLIKELY(done == FAST_SLOW))
            CALL_FILTER();
        pc++;
        NEXT_IF(done == FAST_DONE);
    }
    CASE(FCOUNT) :
    {
        const Value *b = RB;
        if (UNLIKELY(b->kind != V_LIST && b->kind != V_MAP))
            CALL_FILTER();
        pc++;
        NEXT_INT(val_count(*b));
    }
    CASE(FFIRST) :
    {
        const Value *b = RB;
        if (UNLIKELY(b->kind != V_LIST || !b->list->len))
            CALL_FILTER();
        pc++;
        NEXT_COPY(&b->list->items[b->list->start]);
    }
    CASE(FLAST) :
    {
        const Value *b = RB;
        if (UNLIKELY(b->kind != V_LIST || !b->list->len))
            CALL_FILTER();
        pc++;
        NEXT_COPY(&b->list->items[b->list->start + b->list->len - 1]);
    }
    CASE(FSLICE) :
    {
        FastResult done = fast_slice(f, RA, RB, RC, *pc);
        if (UNLIKELY(done == FAST_SLOW))
            CALL_FILTER();
        pc++;
        NEXT_IF(done == FAST_DONE);
    }
    CASE(FSTRLEN) :
    {
        const Value *b = RB;
        if (UNLIKELY(b->kind != V_TEXT))
            CALL_FILTER();
        pc++;
        NEXT_INT((int64_t)utf8_count(val_text_view(*b)));
    }
    CASE(FSUBSTR) :
    {
        FastResult done = fast_substr(f, RA, RB, RC, *pc);
        if (UNLIKELY(done == FAST_SLOW))
            CALL_FILTER();
        pc++;
        NEXT_IF(done == FAST_DONE);
    }
    CASE(FTOINT) :
    {
        const Value *b = RB;
        int64_t n;
        if (b->kind == V_INT)
            n = b->i;
        else if (b->kind == V_DEC && fabs(b->d) < 9e18)
            n = (int64_t)b->d;
        else
            CALL_FILTER();
        pc++;
        NEXT_INT(n);
    }
    CASE(FTOTEXT) :
    {
        const Value *b = RB;
        if (UNLIKELY(b->kind != V_TEXT))
            CALL_FILTER();
        pc++;
        NEXT_COPY(b);
    }
    CASE(FEMPTY) :
    {
        pc++;
        NEXT_BOOL(!truth(RB));
    }
    CASE(FFLOOR) :
    {
        const Value *b = RB;
        double d = b->kind == V_DEC ? floor(b->d) : 0;
        if (UNLIKELY(b->kind != V_INT && (b->kind != V_DEC || fabs(d) > 9e18)))
            CALL_FILTER();
        pc++;
        NEXT_INT(b->kind == V_INT ? b->i : (int64_t)d);
    }
    CASE(FSQRT) :
    {
        const Value *b = RB;
        double d = b->kind == V_DEC ? b->d : b->kind == V_INT ? (double)b->i : -1;
        if (UNLIKELY(!(d >= 0)))
            CALL_FILTER();
        pc++;
        NEXT_DEC(sqrt(d));
    }
    CASE(FABS) :
    {
        const Value *b = RB;
        if (LIKELY(b->kind == V_INT && b->i != INT64_MIN)) {
            pc++;
            NEXT_INT(b->i < 0 ? -b->i : b->i);
        }
        if (UNLIKELY(b->kind != V_DEC))
            CALL_FILTER();
        pc++;
        NEXT_DEC(fabs(b->d));
    }
    CASE(FISNULL) :
    {
        pc++;
        NEXT_BOOL(val_is_null(*RB));
    }

#if !defined(__GNUC__) || defined(XS_NO_COMPUTED_GOTO)
case OP_COUNT: break; /* verified: no other numbers */
}
raise_bug(f, "unknown operation");
goto raise;
#endif

leave:
{
    slots_clear(h, r, r + fr->proc->size);
    f->stack_top = fr->base; /* what is below belongs to the caller */
    uint8_t to = fr->result_reg;
    if (!--f->nframes) {
        slot_set(h, &f->result, returned);
        return FIBER_DONE;
    }
    fr--;
    f->stack_top = fr->base + fr->proc->size;
    r = f->stack + fr->base;
    pc = fr->pc;
    slot_set(h, &r[to], returned);
    NEXT();
}

tick : if (fiber_tick(f)) NEXT();
pc++; /* the error is of the instruction to come */
goto raise;

memory : raise_memory(f);

raise : f->frames[f->nframes - 1].pc = pc; /* fr may be stale: a failed call can move the frames */
step_charge_error(f);
if (!fiber_unwind(f))
    return FIBER_ERROR;
goto reload;
}
