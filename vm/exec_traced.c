/* exec_traced.c - the loop once more, with a call before every instruction: for xs run --trace and
 * coverage. The plain loop pays nothing for it. */
#define XS_TRACED 1
/* It is slow anyway, and a switch compiles in a tenth of the time. */
#ifndef XS_NO_COMPUTED_GOTO
#define XS_NO_COMPUTED_GOTO 1
#endif
#define fiber_exec fiber_exec_traced
#include "vm/exec.c"
