/* bitwise.c - bit filters on 64-bit two's complement. Specification: filters.md §4.8. */
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

static bool operands(Call *c, int64_t *a, int64_t *b)
{
    return call_int(c, 0, a) && call_int(c, 1, b);
}

bool flt_bitwise_and(Call *c)
{
    int64_t a, b;
    return operands(c, &a, &b) && call_return_int(c, a & b);
}

bool flt_bitwise_or(Call *c)
{
    int64_t a, b;
    return operands(c, &a, &b) && call_return_int(c, a | b);
}

bool flt_bitwise_xor(Call *c)
{
    int64_t a, b;
    return operands(c, &a, &b) && call_return_int(c, a ^ b);
}

bool flt_bitwise_not(Call *c)
{
    int64_t a;
    return call_int(c, 0, &a) && call_return_int(c, ~a);
}
