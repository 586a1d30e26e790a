/* exec_switch_test.c - the same tests over the switch twin of the loop, compiled here under another
 * name. */
#include "core/mem.h"
#include "vm/frame.h"

FiberState exec_switch(Fiber *f);

#undef XS_NO_COMPUTED_GOTO
#define XS_NO_COMPUTED_GOTO 1
#define fiber_exec          exec_switch
#include "vm/exec.c"
#undef fiber_exec

#define TEST_EXEC exec_switch
#include "vm/exec_cases.h"

int main(void)
{
    return run_exec_cases();
}
