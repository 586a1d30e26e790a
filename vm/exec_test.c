/* exec_test.c - the interpreter as built. */
#include "core/mem.h"

#define TEST_EXEC fiber_exec
#include "vm/exec_cases.h"

int main(void)
{
    return run_exec_cases();
}
