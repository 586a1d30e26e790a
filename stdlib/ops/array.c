/* array.c - set statements on arrays: union, intersection, difference. Argument 0 is the operand, 1
 * the attribute `value`, 2 unset or [keys of the operand, keys of value], made by the attribute
 * `by`. Elements are equal when their keys are the `same`; duplicates collapse. Specification:
 * runtime.md §4.2. */
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

typedef struct Side {
    Value list, keys; /* borrowed lists of one length */
} Side;

static bool read_side(Call *c, uint32_t i, Side *side)
{
    if (!call_list(c, i, &side->list))
        return false;
    side->keys = side->list;
    Value both = call_arg(c, 2);
    if (val_is_null(both))
        return true;
    if (both.kind != V_LIST || i >= both.list->len)
        return call_bad_arg(c, 2);
    side->keys = list_at(both.list, i);
    if (side->keys.kind != V_LIST || side->keys.list->len != side->list.list->len)
        return call_bad_arg(c, 2);
    return true;
}

/* Append the elements whose key is in `filter` or not (NULL: all), once per key. */
static bool take_side(Heap *h, const Side *side, const Set *filter, bool keep, Set *seen,
                      Value *out)
{
    for (uint32_t i = 0; i < side->list.list->len; i++) {
        Value key = list_at(side->keys.list, i);
        if ((filter && set_has(filter, key) != keep) || set_has(seen, key))
            continue;
        if (!set_add(seen, key) || !list_push(h, out, val_ref(list_at(side->list.list, i))))
            return false;
    }
    return true;
}

typedef enum SetOp { SET_UNION, SET_INTERSECTION, SET_DIFFERENCE } SetOp;

static NativeResult combine(Call *c, SetOp op)
{
    Heap *h = c->heap;
    Side a, b;
    if (!read_side(c, 0, &a) || !read_side(c, 1, &b))
        return NATIVE_ERROR;
    Set seen = {0}, other = {0};
    Value out = list_new(h, 0);
    bool ok = out.kind == V_LIST && set_init(&seen, h, val_count(a.list));
    if (ok && op == SET_UNION) {
        ok = take_side(h, &a, NULL, false, &seen, &out) &&
             take_side(h, &b, NULL, false, &seen, &out);
    } else if (ok) {
        ok = set_init(&other, h, val_count(b.list)) && set_add_all(&other, b.keys) &&
             take_side(h, &a, &other, op == SET_INTERSECTION, &seen, &out);
    }
    set_deinit(&seen);
    set_deinit(&other);
    if (ok)
        return call_return(c, out) ? NATIVE_OK : NATIVE_ERROR;
    val_unref(h, out);
    flt_memory(c);
    return NATIVE_ERROR;
}

NativeResult op_array_union(Call *c)
{
    return combine(c, SET_UNION);
}

NativeResult op_array_intersection(Call *c)
{
    return combine(c, SET_INTERSECTION);
}

NativeResult op_array_difference(Call *c)
{
    return combine(c, SET_DIFFERENCE);
}
