/* helpers.h - what the filters share: required arguments, paths, walking containers, taking the
 * operand over, membership sets. Everything belongs to the call's fiber. */
#ifndef STDLIB_FILTERS_HELPERS_H
#define STDLIB_FILTERS_HELPERS_H

#include "core/buf.h"
#include "vm/native.h"

enum {
    FILTER_TEXT_MAX = 256 << 20,       /* bytes of text made by one filter, filters.md §1.10 */
    FILTER_LIST_MAX = 10 * 1000 * 1000 /* elements made from a count, same place */
};

/* ---- arguments and results ---- */

/** Argument i as it is. Errors: XS_E_MISSING_ARG. */
XS_MUST_CHECK bool flt_value(Call *c, uint32_t i, Value *out);
/** XS_E_MISSING_ARG for argument i. */
bool flt_missing(Call *c, uint32_t i);
/** The heap's memory error. Always false. */
bool flt_memory(Call *c);
/** A buffer that stops at FILTER_TEXT_MAX. */
Buf flt_buf(void);
/** Return the buffer as text and free it. Errors: XS_E_LIMIT when it overflowed. */
bool flt_return_buf(Call *c, Buf *b);

/** Argument 0 as an owned value: moved out of its register when the call may, else one more owner.
 */
Value flt_take_in(Call *c);
/** The same for class A: always a list. Changing it copies it first when it is shared. */
XS_MUST_CHECK bool flt_take_list(Call *c, Value *out);
/** A taken operand goes back where it came from: the native fails. Always false. */
bool flt_give_back(Call *c, Value v);

/* ---- paths ---- */

typedef struct PathArg {
    Value path;     /* V_TEXT, V_INT or V_DEC; V_UNSET = no path: the value itself */
    bool condition; /* the text has an expression in a bracket: expr.h */
} PathArg;

/** Optional path argument: absent, null and "" mean none. Errors: XS_E_BAD_ARG. */
XS_MUST_CHECK bool flt_path_opt(Call *c, uint32_t i, PathArg *out);
/** Required path argument; "" is a key. Errors: XS_E_MISSING_ARG, XS_E_BAD_ARG. */
XS_MUST_CHECK bool flt_path(Call *c, uint32_t i, PathArg *out);
/** The value at the path, owned; V_UNSET when missing. false: error, *out is V_UNSET. */
XS_MUST_CHECK bool flt_at(Call *c, const PathArg *p, Value v, Value *out);
/** The steps of the path from the container root, as an owned list of key values; a whole-text key
 * of root is one step. With a condition: see flt_path_targets. V_UNSET: error raised. */
Value flt_path_keys(Call *c, const PathArg *p, Value root);
/** The places in root the path means, as an owned list of lists of keys: one, or with a condition
 * one per match. elements: a name through a list is one place per element, not a step that maps.
 * V_UNSET: error raised. */
Value flt_path_targets(Call *c, const PathArg *p, Value root, bool elements);

/* ---- walking ---- */

typedef struct Walk {
    Value in;     /* V_LIST or V_MAP, borrowed */
    uint32_t at;  /* private */
    uint32_t pos; /* number of the element or member */
    TextObj *key; /* NULL in a list */
    Value value;  /* borrowed */
} Walk;

static inline Walk walk_of(Value container)
{
    return (Walk){.in = container};
}
bool walk_next(Walk *w);
/** The key as an owned value: int in a list, text in a map. */
Value walk_key(const Walk *w);

/** Append to *out, or set under the walk's key, when *out is a list or a map. value is owned. */
XS_MUST_CHECK bool walk_put(Heap *h, const Walk *w, Value *out, Value value);

/* ---- membership by `same` of §1.5, O(1) per value ---- */

typedef struct SetSlot {
    uint64_t hash; /* 0 = free */
    uint8_t tag;
    Value v; /* borrowed: the caller keeps it alive */
} SetSlot;

typedef struct Set {
    Heap *heap;
    SetSlot *slots;
    uint32_t cap, count;
} Set;

/** A set for about n values. false: memory. */
XS_MUST_CHECK bool set_init(Set *s, Heap *h, uint32_t n);
void set_deinit(Set *s);
bool set_has(const Set *s, Value v);
XS_MUST_CHECK bool set_add(Set *s, Value v);
/** Every element or member value of a container. */
XS_MUST_CHECK bool set_add_all(Set *s, Value container);

/** Whether a value that is `same` stands in the container. */
bool flt_contains_same(Value container, Value v);

/* ---- text, also used by the ops ---- */

void text_write_lower(Buf *out, Text t);
void text_write_upper(Buf *out, Text t);
void text_write_unaccent(Buf *out, Text t);

/* ---- numbers ---- */

/** The to_int and to_decimal filters. Errors: XS_E_NOT_NUMERIC, XS_E_NOT_FINITE. */
XS_MUST_CHECK bool conv_to_int(Value v, int64_t *out, xs_error *err);
XS_MUST_CHECK bool conv_to_dec(Value v, double *out, xs_error *err);
/** The round filter: 15 significant digits, half away from zero. */
double round_digits(double x, int64_t precision);

/** A line of the log with time and place, as debug.log writes it. Errors: XS_E_NOMEM, of the JSON.
 */
XS_MUST_CHECK bool call_log(Call *c, Value v);

#endif
