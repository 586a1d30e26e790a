/* native.h - how filters and statements written in C are called, and helpers that check arguments.
 * An error raised by a helper already names filter, argument, expected and found. */
#ifndef VM_NATIVE_H
#define VM_NATIVE_H

#include "vm/convert.h"
#include "vm/heap.h"
#include "vm/services.h"

typedef enum NativeResult {
    NATIVE_ERROR, /* c->err is set */
    NATIVE_OK,    /* c->ret is set (owned) */
    NATIVE_PARK   /* waiting: fiber_resume continues behind the call with its result */
} NativeResult;

typedef struct Call Call;
/* Filters return false with c->err set, or true with c->ret set. */
typedef bool (*FilterFn)(Call *c);
typedef NativeResult (*StatementFn)(Call *c);

struct Call {
    Fiber *fiber;
    Heap *heap;
    const Services *services;
    const RunContext *run;
    const char *name; /* "trim", "db.query" */
    const void *row;  /* FilterInfo or StatementInfo of core/tables.h */
    Value in;         /* filter operand, borrowed unless own; V_UNSET for statements */
    bool own; /* the operand register is overwritten by the result: call_take_in may consume it */
    Value *in_slot; /* where the operand lives, for call_take_in */
    Value *args;    /* borrowed; V_UNSET = absent */
    uint32_t nargs;
    const Const *site; /* descriptor, C_NULL for filters */
    void **site_data;  /* one slot per site and process for a cache; NULL for filters */
    Value ret;         /* result; V_NULL at entry */
    xs_error *err;
    Value thrown; /* optional payload of the error (owned), V_UNSET */
    Value temps; /* private: values the helpers made, released after the native; V_UNSET at entry */
};

/* Argument i: for filters 0 is the operand and 1… the arguments, for statements 0… the arguments.
 * Everything handed out is borrowed, also what a helper had to convert: do not unref it, val_ref it
 * to keep it. Valid until the native returns. */
Value call_arg(const Call *c, uint32_t i);                    /* V_UNSET when absent */
bool call_has(const Call *c, uint32_t i);                     /* present and not null */
XS_MUST_CHECK bool call_text(Call *c, uint32_t i, Text *out); /* class T; numbers become text */
XS_MUST_CHECK bool call_text_opt(Call *c, uint32_t i,
                                 Text *out);                    /* keeps *out when absent or null */
XS_MUST_CHECK bool call_int(Call *c, uint32_t i, int64_t *out); /* class I */
XS_MUST_CHECK bool call_int_opt(Call *c, uint32_t i, int64_t *out);
XS_MUST_CHECK bool call_number(Call *c, uint32_t i, Value *out); /* class N */
bool call_bool(const Call *c, uint32_t i,
               bool otherwise); /* class B; otherwise when absent or null */
XS_MUST_CHECK bool call_list(Call *c, uint32_t i,
                             Value *out); /* class A: a V_LIST, borrowed: the call owns it */
XS_MUST_CHECK bool call_container(Call *c, uint32_t i,
                                  Value *out); /* class C: V_LIST or V_MAP, borrowed */
/** A stream becomes the list of what it has left, borrowed; other values stay as they are. */
XS_MUST_CHECK bool call_drain(Call *c, Value *v);
XS_MUST_CHECK bool call_map(Call *c, uint32_t i, Value *out); /* class O: a V_MAP, borrowed */
/** The operand as an owned value: moved out of its register when own, else one more reference. */
Value call_take_in(Call *c);

/** Release what the helpers made; the caller of a native does this after it. */
void call_end(Call *c);

bool call_return(Call *c, Value v); /* consumes v; false when v is V_UNSET (memory) */
bool call_return_text(Call *c, Text t);
bool call_return_int(Call *c, int64_t n);
bool call_return_dec(Call *c, double d); /* XS_E_NOT_FINITE for NaN and infinity */
bool call_return_bool(Call *c, bool b);
bool call_return_buf(Call *c, Buf *b); /* text; frees the buffer */

/** Raise; the default text of the code when fmt is NULL. Always false. */
bool call_fail(Call *c, xs_code code, const char *fmt, ...) XS_PRINTF(3, 4);
/** XS_E_BAD_ARG "Invalid value for param: <argument name>". */
bool call_bad_arg(Call *c, uint32_t i);

#endif
