/* expr.h - expressions that exist only at run time: the to_expr filter and the conditions in path
 * texts. They run on a fiber of their own, with copies of the variables they name. */
#ifndef STDLIB_FILTERS_EXPR_H
#define STDLIB_FILTERS_EXPR_H

#include "stdlib/filters/helpers.h"

/** Whether a path text has a bracket that holds an expression: `rows[$$.n > 2].big`. */
bool path_has_condition(Text path);
/** Value at such a path; a condition keeps the matching elements of an array. false: error. */
XS_MUST_CHECK bool path_read_conditions(Call *c, Value in, Text path, Value *out);
/** Places such a path means in `in`: a list of lists of keys, in order. V_UNSET: error raised. */
Value path_targets(Call *c, Value in, Text path);

#endif
