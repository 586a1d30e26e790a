/* convert.h - conversions, truth, comparison and paths of filters.md §1. All borrow their operands.
 */
#ifndef VM_CONVERT_H
#define VM_CONVERT_H

#include "core/buf.h"
#include "core/const.h"
#include "vm/value.h"

bool val_truthy(Value v);
const char *val_kind_name(
    Value v); /* "null" "bool" "int" "decimal" "text" "array" "object" "file" */

/** number(v): *out is V_INT or V_DEC. Errors: XS_E_NOT_NUMERIC. */
XS_MUST_CHECK bool val_number(Value v, Value *out, xs_error *err);
/** Numeric text of §1.4, blanks around allowed; false when it is none. */
bool text_number(Text t, Value *out);
/** integer(v): truncated and clamped. Errors: XS_E_NOT_NUMERIC. */
XS_MUST_CHECK bool val_integer(Value v, int64_t *out, xs_error *err);
double val_as_double(Value number); /* of V_INT or V_DEC */
/** text(v) appended to out. Errors: XS_E_NOT_TEXT. */
XS_MUST_CHECK bool val_write_text(Value v, Buf *out, xs_error *err);
/** text(v) as a value: v itself (ref) when text. V_UNSET on error. */
Value val_to_text(Heap *h, Value v, xs_error *err);

bool val_loose_eq(Value a, Value b);  /* == */
bool val_same(Value a, Value b);      /* `same` of §1.5 */
bool val_strict_eq(Value a, Value b); /* === */
int val_compare(Value a, Value b);    /* the total order: <0, 0, >0 */

/* JSON. Handles write as null. */
bool val_write_json(Value v, Buf *out); /* false: out->failed or too deep */
/* Called behind the last member of every map that is written, to append more of them. */
typedef struct JsonMore {
    void (*members)(void *ctx, const MapObj *m, Buf *out);
    void *ctx;
} JsonMore;
/** more: NULL = none. Errors: those of a stream in v, XS_E_NOMEM, XS_E_LIMIT (too deep). */
XS_MUST_CHECK bool val_write_json_why(Value v, const JsonMore *more, Buf *out, xs_error *err);
bool val_write_json_pretty(Value v, Buf *out, unsigned indent);
Value val_parse_json(Heap *h, Text json, xs_error *err); /* V_UNSET: XS_E_BAD_JSON, XS_E_MEMORY */
Value val_from_const(Heap *h, const Const *c);           /* V_UNSET: memory */
const Const *val_to_const(Arena *a, Value v);

/**
 * One step of a path, v borrowed, key a text or number value: member, element (negative from the
 * end), or over a list with a text key the flattening map of §1.6. Owned result; V_UNSET when
 * missing, with *err untouched unless memory ran out.
 */
Value val_step(Heap *h, Value v, Value key, xs_error *err);
/** Dotted / bracketed path text of class P: "a.b[0].c". V_UNSET when missing. */
Value val_path(Heap *h, Value v, Text path, xs_error *err);
/** Set along a path, creating missing objects; *root consumed and replaced, value consumed. */
XS_MUST_CHECK bool val_set_path(Heap *h, Value *root, const Value *keys, uint32_t nkeys,
                                Value value, xs_error *err);
/** Same for the filters of the `set` family: a scalar in the way is replaced by an object, not an
 * error. */
XS_MUST_CHECK bool val_set_path_over(Heap *h, Value *root, const Value *keys, uint32_t nkeys,
                                     Value value, xs_error *err);
/** Take the value at a path out of *root, leaving null there; null when missing. */
Value val_take_path(Heap *h, Value *root, const Value *keys, uint32_t nkeys, xs_error *err);
XS_MUST_CHECK bool val_delete_path(Heap *h, Value *root, const Value *keys, uint32_t nkeys,
                                   xs_error *err);
/** Split path text into key values (owned by the caller's list). V_UNSET: XS_E_BAD_ARG. */
Value val_split_path(Heap *h, Text path, xs_error *err);

/* Arithmetic of §1.5, also for statements and filters. Operands borrowed; *out a number. */
typedef enum Arith { AR_ADD, AR_SUB, AR_MUL, AR_DIV, AR_MOD } Arith;
XS_MUST_CHECK bool val_arith(Arith op, Value a, Value b, Value *out, xs_error *err);

#endif
