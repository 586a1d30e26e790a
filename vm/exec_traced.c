/* exec_traced.c - the loop once more, with a call before every instruction: for xs run --trace and
 * coverage. The plain loop pays nothing for it. */
#define XS_TRACED  1
#define fiber_exec fiber_exec_traced
#include "vm/exec.c"
