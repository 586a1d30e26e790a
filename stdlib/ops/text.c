/* text.c - text statements: the filters of the same name on a variable. Argument 0 is the
 * variable's value, 1 the attribute `value`. Specification: runtime.md §4.1. */
#include "stdlib/natives.h"

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

NativeResult op_text_trim(Call *c)
{
    return result_of(flt_trim(c));
}

NativeResult op_text_ltrim(Call *c)
{
    return result_of(flt_ltrim(c));
}

NativeResult op_text_rtrim(Call *c)
{
    return result_of(flt_rtrim(c));
}

NativeResult op_text_contains(Call *c)
{
    return result_of(flt_contains(c));
}

NativeResult op_text_icontains(Call *c)
{
    return result_of(flt_icontains(c));
}

NativeResult op_text_starts_with(Call *c)
{
    return result_of(flt_starts_with(c));
}

NativeResult op_text_istarts_with(Call *c)
{
    return result_of(flt_istarts_with(c));
}

NativeResult op_text_ends_with(Call *c)
{
    return result_of(flt_ends_with(c));
}

NativeResult op_text_iends_with(Call *c)
{
    return result_of(flt_iends_with(c));
}
