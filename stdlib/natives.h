/* natives.h - prototypes of every native named in filters.def and statements.def, for the files
 * that define them and for registry.c. */
#ifndef STDLIB_NATIVES_H
#define STDLIB_NATIVES_H

#include "vm/native.h"

/* A row that is not written yet names native_todo in both tables; the two differ in type. */
bool flt_todo(Call *c);
NativeResult op_todo(Call *c);
#define native_todo flt_todo
#define EX(expr, result)
#define FILTER(name, fn, in, args, out, tier, flags, doc, examples) bool fn(Call *c);
#define ALIAS(name, of)
#include "core/lang/filters.def"
#undef FILTER
#undef ALIAS
#undef EX
#undef native_todo

#define native_todo                                                     op_todo
#define STATEMENT(name, op, operand, clauses, result, flags, tier, doc) NativeResult op(Call *c);
#define STATEMENT_ALIAS(name, of)
#include "core/lang/statements.def"
#undef STATEMENT
#undef STATEMENT_ALIAS
#undef native_todo

#endif
