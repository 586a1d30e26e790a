/* object.c - object statements; argument 0 is the attribute `value`. Specification: runtime.md
 * §4.2. */
#include "stdlib/natives.h"

NativeResult op_object_keys(Call *c)
{
    return flt_keys(c) ? NATIVE_OK : NATIVE_ERROR;
}

NativeResult op_object_values(Call *c)
{
    return flt_values(c) ? NATIVE_OK : NATIVE_ERROR;
}

NativeResult op_object_entries(Call *c)
{
    return flt_entries(c) ? NATIVE_OK : NATIVE_ERROR;
}
