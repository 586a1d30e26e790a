/* testcall.c - the .call statements of tests: a task, a trigger, an endpoint run in process. */
#include "host/testrun_i.h"

int test_call(void *ctx, Call *c)
{
    (void)ctx;
    call_fail(c, XS_E_UNSUPPORTED, "'%s' is not supported by this engine", c->name);
    return NATIVE_ERROR;
}
