/* step.h - what single instructions do when it is more than a few lines: called from the loop of
 * exec.c. All return false with f->raised set when the instruction fails. */
#ifndef VM_STEP_H
#define VM_STEP_H

#include "vm/frame.h"

static inline void slot_put(Value *slot, Value v) /* over something not counted */
{
    slot->kind = v.kind;
    slot->i = v.i;
}

/* The slot is about to be overwritten. Out of line: most hold nothing counted. */
__attribute__((noinline)) void slot_release(Heap *h, const Value *slot);

static inline void slot_set(Heap *h, Value *slot, Value v)
{
    if (UNLIKELY(slot->kind >= V_TEXT))
        slot_release(h, slot);
    slot_put(slot, v);
}

/* Slots that are unset afterwards; most hold nothing counted. */
static inline void slots_clear(Heap *h, Value *from, const Value *to)
{
    for (; from < to; from++) {
        if (UNLIKELY(from->kind >= V_TEXT))
            slot_release(h, from);
        from->kind = V_UNSET;
    }
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

/* Helpers of convert.h write an xs_error: begin with a clean one. */
xs_error *clean_error(Fiber *f);
bool step_arith(Fiber *f, Arith op, Value *to, const Value *a, const Value *b);
/* The same with a null on the left as 0. */
bool step_arith_zero(Fiber *f, Arith op, Value *to, const Value *a, const Value *b);
bool step_concat(Fiber *f, Value *to, Value *a, Value *b);
bool step_range(Fiber *f, Value *to, const Value *a, const Value *b);
/* A member or element; a missing one is null or, when strict, the error about the path at pc. */
bool step_get(Fiber *f, Value *to, Value from, const Proc *proc, uint32_t pc, Value key,
              bool tolerant);
/* Two steps, the keys in *k1 and *k2; the instruction at pc has a name for each. */
bool step_get_two(Fiber *f, Value *to, Value from, const Proc *proc, uint32_t pc, const Value *k1,
                  const Value *k2, bool tolerant);
/* Set along two keys; the value is borrowed. */
bool step_set_two(Fiber *f, Value *root, Value k1, Value k2, Value value);
bool step_make_list(Fiber *f, Value *to, Value *window, uint32_t count);
bool step_make_map(Fiber *f, Value *to, Value *window, const MapObj *like);
bool step_set_member(Fiber *f, Value *to, Value key, Value value, const uint32_t *pc);
bool step_set_path(Fiber *f, Value *root, Value *keys, uint32_t nkeys);
bool step_take_path(Fiber *f, Value *to, Value *root, const Value *keys, uint32_t nkeys);
bool step_push(Fiber *f, Value *list, Value item);
bool step_set_computed(Fiber *f, Value *map, Value key, Value value);
bool step_spread(Fiber *f, Value *to, Value from);
bool step_remove_end(Fiber *f, Value *to, Value *list, bool first);
bool step_get_input(Fiber *f, Value *to, const Proc *proc, const Value *r);
bool step_bind(Fiber *f, const Proc *proc, Value *r);
/* Push the callee and move the raw inputs out of the window at r[a]. */
bool step_call(Fiber *f, uint32_t proc, uint8_t a, uint8_t nargs, uint8_t result_reg);
bool step_call_object(Fiber *f, uint32_t proc, uint8_t a, Value input);
bool step_call_filter(Fiber *f, Value *to, Value *in, Value *args, uint32_t x);
/* Common cases of filters with an instruction of their own. FAST_SLOW: nothing was done, call the
 * filter. */
typedef enum FastResult { FAST_RAISED, FAST_DONE, FAST_SLOW } FastResult;
FastResult fast_set(Fiber *f, Value *to, Value *in, Value *args, uint32_t x);
FastResult fast_push(Fiber *f, Value *to, Value *in, Value *arg, uint32_t x);
FastResult fast_slice(Fiber *f, Value *to, Value *in, const Value *args, uint32_t x);
FastResult fast_substr(Fiber *f, Value *to, const Value *in, const Value *args, uint32_t x);
/* Value at a key, borrowed: NULL is missing. false: only the filter can tell. */
bool fast_find(const Value *in, const Value *key, const Value **found);
NativeResult step_call_statement(Fiber *f, Value *args, uint8_t a, uint8_t nargs, uint32_t x);
/* Two registers are an iterator: a reference to the container, which makes it a snapshot, and the
 * position. */
bool step_iterate(Fiber *f, Value *it, Value from, uint8_t kind, bool *empty);
/* Next of a map, or the end of either kind; lists go on in the loop itself. 1 next, 0 end, -1
 * raised. */
int step_next(Fiber *f, Value *it, Value *to, bool with_key);
bool step_for(Fiber *f, Value *it);
/* Past the budget the error becomes that of the budget. */
void step_charge_error(Fiber *f);

#endif
