/* exec.c - the dispatch loop alone. verify.c has proved operands, windows and jumps; kinds are
 * looked at here. Two twins from one text: computed goto where the compiler has it, a switch with
 * XS_NO_COMPUTED_GOTO.
 *
 * Inside the loop: pc is behind the words of the instruction read so far; r are the registers of
 * the top frame and move with the stack, so everything that may push a frame ends in `reload`; an
 * error has set f->raised and goes to `raise`, which finds a handler or ends the fiber. */
#include <math.h>

#include "core/num.h"
#include "vm/frame.h"

/* ---- small steps, inlined ---- */

static inline void set(Heap *h, Value *slot, Value v)
{
    Value old = *slot;
    *slot = v;
    val_unref(h, old);
}

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
    return a->kind == V_INT && b->kind == V_INT ? a->i < b->i : val_compare(*a, *b) < 0;
}

static inline bool less_eq(const Value *a, const Value *b)
{
    return a->kind == V_INT && b->kind == V_INT ? a->i <= b->i : val_compare(*a, *b) <= 0;
}

/* ---- slower steps ---- */

/* Helpers of convert.h write an xs_error: begin with a clean one. */
static xs_error *clean_error(Fiber *f)
{
    if (f->raised.err.code != XS_OK)
        raised_clear(f->heap, &f->raised);
    return &f->raised.err;
}

static bool arith(Fiber *f, Arith op, Value *to, const Value *a, const Value *b)
{
    Value out;
    if (!val_arith(op, *a, *b, &out, clean_error(f)))
        return false;
    set(f->heap, to, out);
    return true;
}

static bool concat(Fiber *f, Value *to, Value *a, Value *b)
{
    char left[NUM_TEXT_MAX], right[NUM_TEXT_MAX];
    Text x, y;
    xs_error *err = clean_error(f);
    if (!val_scalar_text(*a, left, &x, err) || !val_scalar_text(*b, right, &y, err))
        return false;
    if (to == a && a->kind == V_TEXT)
        return text_append(f->heap, a, y) || raise_memory(f);
    Value made = text_new_raw(f->heap, x.len + y.len);
    if (made.kind == V_UNSET)
        return raise_memory(f);
    if (x.len)
        memcpy(made.text->data, x.ptr, x.len);
    if (y.len)
        memcpy(made.text->data + x.len, y.ptr, y.len);
    set(f->heap, to, made);
    return true;
}

static bool range(Fiber *f, Value *to, const Value *a, const Value *b)
{
    int64_t from, last;
    xs_error *err = clean_error(f);
    if (!val_integer(*a, &from, err) || !val_integer(*b, &last, err))
        return false;
    uint64_t count = from > last ? 0 : (uint64_t)last - (uint64_t)from + 1;
    if (count > RANGE_MAX_ITEMS || (from <= last && count == 0))
        return raise_code(f, XS_E_LIMIT);
    Value made = list_new(f->heap, (uint32_t)count);
    if (made.kind == V_UNSET)
        return raise_memory(f);
    for (uint64_t i = 0; i < count; i++)
        made.list->items[i] = val_int(from + (int64_t)i);
    made.list->len = (uint32_t)count;
    set(f->heap, to, made);
    return true;
}

/* A step that found nothing: an error of its own (memory), null, or the error about the path. */
static bool missing(Fiber *f, Value *to, const Proc *proc, uint32_t pc, Value key, bool tolerant)
{
    if (f->raised.err.code != XS_OK)
        return false;
    if (!tolerant)
        return raise_missing(f, proc, pc, key);
    set(f->heap, to, val_null());
    return true;
}

static bool get_step(Fiber *f, Value *to, Value from, const Proc *proc, uint32_t pc, Value key,
                     bool tolerant)
{
    xs_error *err = clean_error(f);
    bool absent = tolerant && from.kind == V_LIST && !from.list->len; /* [] stands for {} too */
    Value found = absent ? val_unset() : val_step(f->heap, from, key, err);
    if (found.kind == V_UNSET)
        return missing(f, to, proc, pc, key, tolerant);
    set(f->heap, to, found);
    return true;
}

/* Member of a map by a constant key, tried first where it was the last time. */
static inline Value *member(Fiber *f, const MapObj *m, const TextObj *key, const uint32_t *pc)
{
    uint32_t *hint = &f->hints[((uintptr_t)pc >> 2) % HINTS];
    if (LIKELY(map_entry_is(m, *hint, key)))
        return &m->entries[*hint].value;
    int64_t at = map_index_of(m, (Text){key->data, key->len}, key->hash);
    if (at == MAP_NOT_FOUND)
        return NULL;
    *hint = (uint32_t)at;
    return &m->entries[at].value;
}

static bool set_member(Fiber *f, Value *to, Value key, Value value, const uint32_t *pc)
{
    if (to->kind == V_MAP) {
        Value *slot = val_unique(*to) ? member(f, to->map, key.text, pc) : NULL;
        if (slot) {
            set(f->heap, slot, value);
            return true;
        }
        return map_set(f->heap, to, val_ref(key), value) || raise_memory(f);
    }
    return val_set_path(f->heap, to, &key, 1, value, clean_error(f));
}

static bool set_path(Fiber *f, Value *root, const Value *keys, uint32_t nkeys)
{
    return val_set_path(f->heap, root, keys, nkeys, val_ref(keys[nkeys]), clean_error(f));
}

static bool take_path(Fiber *f, Value *to, Value *root, const Value *keys, uint32_t nkeys)
{
    Value taken = val_take_path(f->heap, root, keys, nkeys, clean_error(f));
    if (taken.kind == V_UNSET)
        return false;
    set(f->heap, to, taken);
    return true;
}

static bool push_item(Fiber *f, Value *list, Value item)
{
    if (list->kind != V_LIST) {
        val_unref(f->heap, item);
        return raise_bug(f, "append to something that is no list");
    }
    return list_push(f->heap, list, item) || raise_memory(f);
}

static bool set_computed(Fiber *f, Value *map, Value key, Value value)
{
    if (map->kind != V_MAP)
        return raise_bug(f, "member set in something that is no object");
    Value name = val_to_text(f->heap, key, clean_error(f));
    if (name.kind == V_UNSET)
        return false;
    return map_set(f->heap, map, name, val_ref(val_or_null(value))) || raise_memory(f);
}

static bool spread_map(Fiber *f, Value *to, Value from)
{
    if (val_is_null(from) || (from.kind == V_LIST && !from.list->len))
        return true;
    if (from.kind != V_MAP)
        return raise_code(f, XS_E_NOT_OBJECT);
    val_ref(from); /* from may be the map that changes */
    const MapEntry *e;
    bool ok = true;
    for (uint32_t at = 0; ok && (e = map_walk(from.map, &at));)
        ok = map_set(f->heap, to, val_ref(val_obj(V_TEXT, e->key)), val_ref(e->value)) ||
             raise_memory(f);
    val_unref(f->heap, from);
    return ok;
}

static bool spread_list(Fiber *f, Value *to, Value from)
{
    if (val_is_null(from))
        return true;
    if (from.kind != V_LIST && from.kind != V_MAP)
        return raise_code(f, XS_E_NOT_ARRAY);
    val_ref(from);
    bool ok = true;
    const MapEntry *e;
    if (from.kind == V_LIST)
        for (uint32_t i = 0; ok && i < from.list->len; i++)
            ok = push_item(f, to, val_ref(list_at(from.list, i)));
    else
        for (uint32_t at = 0; ok && (e = map_walk(from.map, &at));)
            ok = push_item(f, to, val_ref(e->value));
    val_unref(f->heap, from);
    return ok;
}

static bool spread(Fiber *f, Value *to, Value from)
{
    if (to->kind == V_MAP)
        return spread_map(f, to, from);
    return to->kind == V_LIST ? spread_list(f, to, from)
                              : raise_bug(f, "spread into something that is no container");
}

/* The list in a register; null and {} become []. */
static bool want_list(Fiber *f, Value *v)
{
    if (v->kind == V_LIST)
        return true;
    if (!val_is_null(*v) && !(v->kind == V_MAP && !v->map->count))
        return raise_code(f, XS_E_NOT_ARRAY);
    set(f->heap, v, list_empty());
    return true;
}

static bool remove_end(Fiber *f, Value *to, Value *list, bool first)
{
    if (!want_list(f, list))
        return false;
    Value v = first ? list_shift(f->heap, list) : list_pop(f->heap, list);
    if (v.kind == V_UNSET)
        return raise_memory(f);
    set(f->heap, to, v);
    return true;
}

static bool get_input(Fiber *f, Value *to, const Proc *proc, const Value *r)
{
    if (!proc->ninputs && (proc->image->kind == PROC_TRIGGER || proc->image->kind == PROC_EXPR)) {
        set(f->heap, to, val_ref(val_or_null(r[0])));
        return true;
    }
    Value map = map_new(f->heap, proc->ninputs);
    for (uint32_t i = 0; i < proc->ninputs; i++) {
        if (map.kind == V_UNSET ||
            !map_set(f->heap, &map, proc->input_names[i], val_ref(val_or_null(r[i])))) {
            val_unref(f->heap, map);
            return raise_memory(f);
        }
    }
    if (map.kind == V_UNSET)
        return raise_memory(f);
    set(f->heap, to, map);
    return true;
}

static bool bind_inputs(Fiber *f, const Proc *proc, Value *r)
{
    const NativeTable *natives = f->program->natives;
    if (!proc->ninputs)
        return true;
    if (!natives || !natives->bind)
        return raise_code(f, XS_E_UNSUPPORTED);
    Value payload = val_unset();
    xs_error *err = clean_error(f);
    bool ok =
        natives->bind(f->heap, f->services, proc->image->inputs, r, proc->ninputs, err, &payload);
    if (ok)
        val_unref(f->heap, payload);
    else
        f->raised.payload = payload;
    return ok;
}

/* ---- calls ---- */

/* Push the callee and move the raw inputs out of the window at r[a]. */
static bool call_proc(Fiber *f, uint32_t proc, uint8_t a, uint8_t nargs)
{
    uint32_t from = f->frames[f->nframes - 1].base + a;
    if (!frame_push(f, &f->program->procs[proc], a))
        return false;
    Value *args = f->stack + from;
    memcpy(f->stack + f->frames[f->nframes - 1].base, args, nargs * sizeof(Value));
    memset(args, 0, nargs * sizeof(Value));
    return true;
}

static bool call_with_object(Fiber *f, uint32_t proc, uint8_t a, Value input)
{
    val_ref(input); /* its register may move */
    bool ok = frame_push(f, &f->program->procs[proc], a);
    if (ok && !frame_spread(f, input)) {
        frame_pop(f); /* the error is the caller's */
        ok = false;
    }
    val_unref(f->heap, input);
    return ok;
}

/* Take the error payload of a native over. */
static void native_failed(Fiber *f, Call *c)
{
    val_unref(f->heap, c->ret);
    val_unref(f->heap, f->raised.payload);
    f->raised.payload = c->thrown;
    if (f->raised.err.code == XS_OK)
        xs_fail(&f->raised.err, XS_E_BUG, XS_NO_POS, "%s failed without saying why", c->name);
}

static bool call_filter(Fiber *f, Value *to, Value *in, Value *args, uint32_t x)
{
    const Import *im = &f->program->imports[x & 0xffff];
    Call c = {
        .fiber = f,
        .heap = f->heap,
        .services = f->services,
        .run = f->run,
        .name = im->name,
        .row = im->row,
        .in = val_or_null(*in),
        .own = to == in,
        .in_slot = in,
        .args = args,
        .nargs = x >> 16,
        .site = &const_null,
        .ret = val_null(),
        .err = clean_error(f),
    };
    bool ok = im->filter(&c);
    if (c.temps.kind != V_UNSET)
        call_end(&c);
    if (!ok) {
        native_failed(f, &c);
        return false;
    }
    val_unref(f->heap, c.thrown);
    set(f->heap, to, val_or_null(c.ret));
    return true;
}

static void clear_window(Heap *h, Value *args, uint32_t nargs)
{
    for (uint32_t i = 0; i < nargs; i++)
        set(h, &args[i], val_unset());
}

static NativeResult call_statement(Fiber *f, Value *args, uint8_t a, uint8_t nargs, uint32_t x)
{
    const SiteImage *site = &f->program->image.sites[x];
    const Import *im = &f->program->imports[site->import];
    Call c = {
        .fiber = f,
        .heap = f->heap,
        .services = f->services,
        .run = f->run,
        .name = im->name,
        .row = im->row,
        .args = args,
        .nargs = nargs,
        .site = site->desc ? site->desc : &const_null,
        .site_data = &f->program->site_data[x],
        .ret = val_null(),
        .err = clean_error(f),
    };
    NativeResult result = im->statement(&c);
    if (c.temps.kind != V_UNSET)
        call_end(&c);
    if (result == NATIVE_ERROR) {
        native_failed(f, &c);
        return result;
    }
    val_unref(f->heap, c.thrown);
    if (result == NATIVE_PARK) {
        val_unref(f->heap, c.ret);
        f->park_reg = a;
        f->park_args = nargs; /* the native may still look at them */
        return result;
    }
    clear_window(f->heap, args, nargs);
    set(f->heap, &args[0], val_or_null(c.ret));
    return result;
}

/* ---- loops ---- */

/* Two registers are an iterator: a reference to the container, which makes it a snapshot, and the
 * position. */
static bool begin_iteration(Fiber *f, Value *it, Value from, uint8_t kind, bool *empty)
{
    bool is_map = from.kind == V_MAP && from.map->count;
    if (kind == 0 && from.kind != V_LIST && from.kind != V_MAP)
        return raise_code(f, XS_E_NOT_LIST);
    if (kind == 0 && is_map)
        return raise_code(f, XS_E_NOT_LIST);
    if (from.kind != V_LIST && !val_is_null(from) && (from.kind != V_MAP || (kind == 1 && is_map)))
        return raise_code(f, XS_E_NOT_ARRAY);
    *empty = val_is_null(from) || !val_count(from);
    set(f->heap, &it[0], *empty ? val_unset() : val_ref(from));
    set(f->heap, &it[1], val_int(0));
    return true;
}

/* Next of a map, or the end of either kind; lists go on in the loop itself. 1 next, 0 end, -1
 * raised. */
static int next_slow(Fiber *f, Value *it, Value *to, bool with_key)
{
    bool is_map = it[0].kind == V_MAP;
    if ((!is_map && it[0].kind != V_LIST) || it[1].kind != V_INT) {
        raise_bug(f, "next of something that is no iterator");
        return -1;
    }
    uint32_t at = it[1].i >= 0 && it[1].i < UINT32_MAX ? (uint32_t)it[1].i : UINT32_MAX;
    const MapEntry *e = is_map ? map_walk(it[0].map, &at) : NULL;
    if (!e) {
        set(f->heap, &it[0], val_unset()); /* the snapshot is no longer needed */
        return 0;
    }
    it[1].i = at;
    Value key = val_obj(V_TEXT, e->key), value = val_ref(e->value);
    val_ref(key);
    set(f->heap, to, value);
    if (with_key)
        set(f->heap, to + 1, key);
    else
        val_unref(f->heap, key);
    return 1;
}

static bool begin_for(Fiber *f, Value *it)
{
    int64_t count;
    if (!val_integer(it[0], &count, clean_error(f)))
        return false;
    set(f->heap, &it[0], val_int(count));
    set(f->heap, &it[1], val_int(-1));
    return true;
}

/* A handler that guards itself must not loop for free: past the budget the error becomes that of
 * the budget. */
static void charge_error(Fiber *f)
{
    f->slice -= NATIVE_STEPS;
    bool in_budget = f->slice >= 0 || fiber_tick(f);
    (void)in_budget;
}

/* ---- the loop ---- */

#if defined(__GNUC__) && !defined(XS_NO_COMPUTED_GOTO)
#define CASE(op) L_##op
#define NEXT()                                                                                     \
    do {                                                                                           \
        ins = *pc++;                                                                               \
        goto *labels[INS_OP(ins)];                                                                 \
    } while (0)
#else
#define CASE(op) case OP_##op
#define NEXT()   goto dispatch
#endif

#define RA (&r[INS_A(ins)])
#define RB (&r[INS_B(ins)])
#define RC (&r[INS_C(ins)])

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
        set(h, RA, val_bool(yes));                                                                 \
        NEXT();                                                                                    \
    } while (0)

/* Ints without overflow and finite decimals here, everything else in val_arith. */
#define ARITHMETIC(op, builtin, sign)                                                              \
    do {                                                                                           \
        const Value *b = RB, *c = RC;                                                              \
        if (LIKELY(b->kind == V_INT && c->kind == V_INT)) {                                        \
            int64_t n;                                                                             \
            if (LIKELY(!builtin(b->i, c->i, &n))) {                                                \
                set(h, RA, val_int(n));                                                            \
                NEXT();                                                                            \
            }                                                                                      \
        } else if (b->kind == V_DEC && c->kind == V_DEC) {                                         \
            double d = b->d sign c->d;                                                             \
            if (LIKELY(isfinite(d))) {                                                             \
                set(h, RA, val_dec(d));                                                            \
                NEXT();                                                                            \
            }                                                                                      \
        }                                                                                          \
        NEXT_IF(arith(f, op, RA, b, c));                                                           \
    } while (0)

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
    NEXT();
#else
dispatch:
    ins = *pc++;
    switch ((Op)INS_OP(ins)) {
#endif

    /* loading and moving */

    CASE(LOADK) :
    {
        set(h, RA, k[INS_BX(ins)]); /* constants are not counted */
        NEXT();
    }
    CASE(LOADKX) :
    {
        set(h, RA, k[*pc++]);
        NEXT();
    }
    CASE(LOADI) :
    {
        set(h, RA, val_int(INS_SBX(ins)));
        NEXT();
    }
    CASE(LOADNULL) :
    {
        set(h, RA, val_null());
        NEXT();
    }
    CASE(LOADBOOL) :
    {
        set(h, RA, val_bool(INS_B(ins) != 0));
        NEXT();
    }
    CASE(MOVE) :
    {
        set(h, RA, val_ref(*RB));
        NEXT();
    }
    CASE(TAKE) :
    {
        Value v = *RB;
        *RB = val_unset();
        set(h, RA, v);
        NEXT();
    }
    CASE(UNSET) :
    {
        set(h, RA, val_unset());
        NEXT();
    }
    CASE(GETFAR) :
    {
        set(h, RA, val_ref(r[fr->proc->nregs + INS_BX(ins)]));
        NEXT();
    }
    CASE(SETFAR) :
    {
        set(h, &r[fr->proc->nregs + INS_BX(ins)], val_ref(*RA));
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
        set(h, RA, v);
        NEXT();
    }
    CASE(GETENV) :
    {
        Value v;
        if (!sys_env(f, val_text_view(k[*pc++]), &v))
            goto raise;
        set(h, RA, v);
        NEXT();
    }
    CASE(GETINPUT) :
    {
        NEXT_IF(get_input(f, RA, fr->proc, r));
    }

    /* arithmetic and logic */

    CASE(ADD) :
    {
        ARITHMETIC(AR_ADD, __builtin_add_overflow, +);
    }
    CASE(SUB) :
    {
        ARITHMETIC(AR_SUB, __builtin_sub_overflow, -);
    }
    CASE(MUL) :
    {
        ARITHMETIC(AR_MUL, __builtin_mul_overflow, *);
    }
    CASE(DIV) :
    {
        NEXT_IF(arith(f, AR_DIV, RA, RB, RC));
    }
    CASE(MOD) :
    {
        const Value *b = RB, *c = RC;
        if (LIKELY(b->kind == V_INT && c->kind == V_INT && c->i > 0)) {
            set(h, RA, val_int(b->i % c->i));
            NEXT();
        }
        NEXT_IF(arith(f, AR_MOD, RA, b, c));
    }
    CASE(CONCAT) :
    {
        NEXT_IF(concat(f, RA, RB, RC));
    }
    CASE(RANGE) :
    {
        NEXT_IF(range(f, RA, RB, RC));
    }
    CASE(ADDI) :
    {
        const Value *b = RB;
        int64_t n;
        if (LIKELY(b->kind == V_INT &&
                   !__builtin_add_overflow(b->i, (int64_t)(int8_t)INS_C(ins), &n))) {
            set(h, RA, val_int(n));
            NEXT();
        }
        Value c = val_int((int8_t)INS_C(ins));
        NEXT_IF(arith(f, AR_ADD, RA, b, &c));
    }
    CASE(NOT) :
    {
        COMPARE(!truth(RB));
    }
    CASE(NEG) :
    {
        Value zero = val_int(0);
        NEXT_IF(arith(f, AR_SUB, RA, &zero, RB));
    }
    CASE(BOOL) :
    {
        COMPARE(truth(RB));
    }
    CASE(NUMZ) :
    {
        Value n = val_int(0);
        if (!val_is_null(*RB) && !val_number(*RB, &n, clean_error(f)))
            goto raise;
        set(h, RA, n);
        NEXT();
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
                set(h, RA, val_ref(*found));
                NEXT();
            }
        }
        NEXT_IF(get_step(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 2, key, false));
    }
    CASE(GETFT) :
    {
        Value key = k[*pc++];
        const Value *b = RB;
        if (LIKELY(b->kind == V_MAP)) {
            const Value *found = member(f, b->map, key.text, pc);
            set(h, RA, found ? val_ref(*found) : val_null());
            NEXT();
        }
        NEXT_IF(get_step(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 2, key, true));
    }
    CASE(GETI) :
    {
        const Value *b = RB, *c = RC;
        if (LIKELY(b->kind == V_LIST && c->kind == V_INT && c->i >= 0 && c->i < b->list->len)) {
            set(h, RA, val_ref(list_at(b->list, (uint32_t)c->i)));
            NEXT();
        }
        NEXT_IF(get_step(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 1, *c, false));
    }
    CASE(GETIT) :
    {
        const Value *b = RB, *c = RC;
        if (LIKELY(b->kind == V_LIST && c->kind == V_INT && c->i >= 0 && c->i < b->list->len)) {
            set(h, RA, val_ref(list_at(b->list, (uint32_t)c->i)));
            NEXT();
        }
        NEXT_IF(get_step(f, RA, *b, fr->proc, (uint32_t)(pc - fr->proc->code) - 1, *c, true));
    }
    CASE(SETF) :
    {
        Value key = k[*pc++];
        NEXT_IF(set_member(f, RA, key, val_ref(val_or_null(*RB)), pc));
    }
    CASE(SETI) :
    {
        Value key = val_ref(*RB); /* the register may be the one that changes */
        bool ok = val_set_path(h, RA, &key, 1, val_ref(*RC), clean_error(f));
        val_unref(h, key);
        NEXT_IF(ok);
    }
    CASE(SETPATH) :
    {
        NEXT_IF(set_path(f, RA, RB, INS_C(ins)));
    }
    CASE(TAKEPATH) :
    {
        uint32_t nkeys = *pc++;
        NEXT_IF(take_path(f, RA, RB, RC, nkeys));
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
        set(h, RA, v);
        NEXT();
    }
    CASE(NEWMAP) :
    {
        Value v = map_new(h, INS_BX(ins));
        if (v.kind == V_UNSET)
            goto memory;
        set(h, RA, v);
        NEXT();
    }
    CASE(LPUSH) :
    {
        NEXT_IF(push_item(f, RA, val_ref(val_or_null(*RB))));
    }
    CASE(MSET) :
    {
        NEXT_IF(set_computed(f, RA, *RB, *RC));
    }
    CASE(SPREAD) :
    {
        NEXT_IF(spread(f, RA, *RB));
    }
    CASE(POP) :
    {
        NEXT_IF(remove_end(f, RA, RB, false));
    }
    CASE(SHIFT) :
    {
        NEXT_IF(remove_end(f, RA, RB, true));
    }

    /* calls */

    CASE(CALL) :
    {
        uint32_t proc = *pc++;
        fr->pc = pc;
        if (UNLIKELY((f->slice -= CALL_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        if (!call_proc(f, proc, INS_A(ins), INS_B(ins)))
            goto raise;
        goto reload;
    }
    CASE(CALLD) :
    {
        uint32_t proc = *pc++;
        fr->pc = pc;
        if (UNLIKELY((f->slice -= CALL_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        if (!call_with_object(f, proc, INS_A(ins), *RB))
            goto raise;
        goto reload;
    }
    CASE(CALLN) :
    {
        uint32_t site = *pc++;
        fr->pc = pc;
        if (UNLIKELY((f->slice -= NATIVE_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        switch (call_statement(f, RA, INS_A(ins), INS_B(ins), site)) {
        case NATIVE_OK: NEXT();
        case NATIVE_PARK: return FIBER_PARKED;
        case NATIVE_ERROR: break;
        }
        goto raise;
    }
    CASE(CALLF) :
    {
        uint32_t x = *pc++;
        if (UNLIKELY((f->slice -= NATIVE_STEPS) < 0) && !fiber_tick(f))
            goto raise;
        NEXT_IF(call_filter(f, RA, RB, RC, x));
    }
    CASE(BIND) :
    {
        NEXT_IF(bind_inputs(f, fr->proc, r));
    }
    CASE(RET) :
    {
        returned = val_or_null(*RA);
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
        bool empty;
        if (!begin_iteration(f, RA, *RB, INS_C(ins), &empty))
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
            set(h, to, val_ref(list_at(it[0].list, (uint32_t)at)));
            if (INS_C(ins))
                set(h, to + 1, val_int(at));
            JUMP(offset);
        }
        int more = next_slow(f, it, to, INS_C(ins) != 0);
        if (more < 0)
            goto raise;
        if (more)
            JUMP(offset);
        NEXT();
    }
    CASE(FORP) :
    {
        int32_t offset = (int32_t)*pc++;
        if (!begin_for(f, RA))
            goto raise;
        if (RA->i < 1)
            JUMP(offset);
        NEXT();
    }
    CASE(FORN) :
    {
        int32_t offset = (int32_t)*pc++;
        Value *it = RA;
        if (UNLIKELY(it[0].kind != V_INT || it[1].kind != V_INT || it[1].i == INT64_MAX)) {
            raise_bug(f, "next of something that is no loop");
            goto raise;
        }
        if (++it[1].i < it[0].i) {
            set(h, RB, it[1]);
            JUMP(offset);
        }
        NEXT();
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
        set(h, RA, box);
        NEXT();
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

#if !defined(__GNUC__) || defined(XS_NO_COMPUTED_GOTO)
case OP_COUNT: break; /* verified: no other numbers */
}
raise_bug(f, "unknown operation");
goto raise;
#endif

leave:
{
    uint8_t to = fr->result_reg;
    frame_pop(f);
    if (!f->nframes) {
        set(h, &f->result, returned);
        return FIBER_DONE;
    }
    fr = &f->frames[f->nframes - 1];
    r = f->stack + fr->base;
    pc = fr->pc;
    set(h, &r[to], returned);
    NEXT();
}

tick : if (fiber_tick(f)) NEXT();
pc++; /* the error is of the instruction to come */
goto raise;

memory : raise_memory(f);

raise : f->frames[f->nframes - 1].pc = pc; /* fr may be stale: a failed call can move the frames */
charge_error(f);
if (!fiber_unwind(f))
    return FIBER_ERROR;
goto reload;
}
