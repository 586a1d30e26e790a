/* expr.h - expressions that exist only at run time: the to_expr filter and the conditions in path
 * texts. They run on a fiber of their own and see no variables of the caller. */
#ifndef STDLIB_FILTERS_EXPR_H
#define STDLIB_FILTERS_EXPR_H

#include "stdlib/filters/helpers.h"

/**
 * Compile and run an expression.
 * @param input  what `$input` is in it: an object, or null. Borrowed, copied.
 * @return       the result, owned by the call's heap; V_UNSET: error raised.
 * Errors: XS_E_UNSUPPORTED (no compiler here), XS_E_PARSE, and what the expression raises.
 */
Value expr_run(Call *c, Text source, Value input);

/** Whether a path text has a bracket that holds an expression: `rows[$$.n > 2].big`. */
bool path_has_condition(Text path);
/** Value at such a path; a condition keeps the matching elements of an array. false: error. */
XS_MUST_CHECK bool path_read_conditions(Call *c, Value in, Text path, Value *out);
/** Places such a path means in `in`: a list of lists of keys, in order. V_UNSET: error raised. */
Value path_targets(Call *c, Value in, Text path);

#endif
