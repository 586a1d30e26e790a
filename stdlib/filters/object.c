/* object.c - reading and changing along paths, picking members, defaults. Specification: filters.md
 * §4.6, paths §1.6. */
#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

static bool is_container(Value v)
{
    return v.kind == V_LIST || v.kind == V_MAP;
}

/* ---- get, has ---- */

bool flt_get(Call *c)
{
    PathArg p;
    Value v, in = call_arg(c, 0);
    if (!flt_path(c, 1, &p) || !flt_at(c, &p, in, &v))
        return false;
    if (!val_is_null(v))
        return call_return(c, v);
    v = call_arg(c, 2);
    return call_return(c, val_is_null(v) ? val_null() : val_ref(v));
}

/* A name mapped over a list gives a list even when no element has it. */
static bool maps_to_nothing(Value from, Value key, Value to)
{
    int64_t n;
    return from.kind == V_LIST && key.kind == V_TEXT && !num_parse_int(val_text_view(key), &n) &&
           to.kind == V_LIST && !to.list->len;
}

static bool exists(Call *c, Value in, Value keys)
{
    Value at = val_ref(in);
    for (uint32_t i = 0; i < keys.list->len && at.kind != V_UNSET; i++) {
        Value key = list_at(keys.list, i);
        Value next = val_step(c->heap, at, key, c->err);
        bool nothing = maps_to_nothing(at, key, next);
        val_unref(c->heap, at);
        at = next;
        if (nothing) {
            val_unref(c->heap, at);
            at = val_unset();
        }
    }
    bool found = at.kind != V_UNSET;
    val_unref(c->heap, at);
    return found;
}

bool flt_has(Call *c)
{
    PathArg p;
    Value v, in = call_arg(c, 0);
    if (!flt_path(c, 1, &p))
        return false;
    if (!is_container(in) && in.kind != V_HANDLE)
        return call_return_bool(c, false);
    if (!flt_at(c, &p, in, &v))
        return false;
    bool found = v.kind != V_UNSET;
    bool doubt = v.kind == V_LIST && !v.list->len && !p.condition;
    val_unref(c->heap, v);
    if (!doubt)
        return call_return_bool(c, found);
    Value keys = flt_path_keys(c, &p, in);
    if (keys.kind == V_UNSET)
        return false;
    found = exists(c, in, keys);
    val_unref(c->heap, keys);
    return c->err->code == XS_OK && call_return_bool(c, found);
}

/* ---- set, unset ---- */

/* Set or, with an unset value, delete at every target. */
static bool change_targets(Call *c, Value *root, Value targets, Value value)
{
    bool ok = true;
    for (uint32_t n = targets.list->len, i = 0; ok && i < n; i++) {
        /* Backwards when deleting: an element that goes moves those behind it. */
        ListObj *keys = list_at(targets.list, value.kind == V_UNSET ? n - 1 - i : i).list;
        const Value *first = keys->len ? keys->items + keys->start : NULL;
        ok = value.kind == V_UNSET
                 ? val_delete_path(c->heap, root, first, keys->len, c->err)
                 : val_set_path_over(c->heap, root, first, keys->len, val_ref(value), c->err);
    }
    return ok;
}

static bool change(Call *c, const PathArg *p, Value value)
{
    Value targets = flt_path_targets(c, p, call_arg(c, 0), false);
    if (targets.kind == V_UNSET)
        return false;
    Value root = flt_take_in(c);
    bool ok = change_targets(c, &root, targets, value);
    val_unref(c->heap, targets);
    return ok ? call_return(c, root) : flt_give_back(c, root);
}

static bool set_value(Call *c, const PathArg *p, Value value)
{
    Value in = call_arg(c, 0);
    if (!val_is_null(in) && !is_container(in))
        return call_fail(c, XS_E_NOT_OBJECT, NULL);
    return change(c, p, val_is_null(value) ? val_null() : value);
}

/* The operand as it is. A scalar is refused as set would. */
static bool unchanged(Call *c)
{
    Value in = call_arg(c, 0);
    if (!val_is_null(in) && !is_container(in))
        return call_fail(c, XS_E_NOT_OBJECT, NULL);
    return call_return(c, call_take_in(c));
}

bool flt_set(Call *c)
{
    PathArg p;
    Value value;
    return flt_path(c, 1, &p) && flt_value(c, 2, &value) && set_value(c, &p, value);
}

bool flt_set_conditional(Call *c)
{
    PathArg p;
    Value value, condition;
    if (!flt_path(c, 1, &p) || !flt_value(c, 2, &value) || !flt_value(c, 3, &condition))
        return false;
    return val_truthy(condition) ? set_value(c, &p, value) : unchanged(c);
}

bool flt_set_ifnotempty(Call *c)
{
    PathArg p;
    Value value;
    if (!flt_path(c, 1, &p) || !flt_value(c, 2, &value))
        return false;
    return val_truthy(value) ? set_value(c, &p, value) : unchanged(c);
}

bool flt_set_ifnotnull(Call *c)
{
    PathArg p;
    Value value;
    if (!flt_path(c, 1, &p) || !flt_value(c, 2, &value))
        return false;
    return !val_is_null(value) ? set_value(c, &p, value) : unchanged(c);
}

bool flt_unset(Call *c)
{
    PathArg p;
    Value in = call_arg(c, 0);
    if (!flt_path(c, 1, &p))
        return false;
    if (!is_container(in))
        return call_return(c, call_take_in(c));
    return change(c, &p, val_unset());
}

/* ---- pick, unpick ---- */

/* The names as members of an owned map: from a list, or text separated by commas. V_UNSET: error.
 */
static Value name_set(Call *c, uint32_t i)
{
    Value names, set = map_new(c->heap, 8);
    bool ok = set.kind == V_MAP && flt_value(c, i, &names);
    if (ok && names.kind != V_LIST) {
        Text t;
        ok = call_text(c, i, &t);
        for (size_t at = 0; ok && at <= t.len;) {
            size_t end = text_find(t, TEXT(","), at);
            Text name = text_trim(text_slice(t, at, end), TEXT(" \t\r\n"));
            ok = !name.len || map_set_text(c->heap, &set, name, val_bool(true));
            at = end == SIZE_MAX ? t.len + 1 : end + 1;
        }
    } else if (ok) {
        for (Walk w = walk_of(names); ok && walk_next(&w);) {
            Value name = val_to_text(c->heap, w.value, c->err);
            ok = name.kind == V_TEXT && map_set(c->heap, &set, name, val_bool(true));
        }
    }
    if (ok)
        return set;
    val_unref(c->heap, set);
    if (c->err->code == XS_OK)
        flt_memory(c);
    return val_unset();
}

/* Members whose name is in the set (keep) or is not. Owned; V_UNSET: memory. */
static Value picked(Heap *h, Value object, Value set, bool keep)
{
    Value made = map_new(h, keep ? val_count(set) : val_count(object));
    bool ok = made.kind == V_MAP;
    for (Walk w = walk_of(object); ok && walk_next(&w);) {
        Text key = {w.key->data, w.key->len};
        if ((map_find(set.map, key) != NULL) == keep)
            ok = map_set(h, &made, walk_key(&w), val_ref(w.value));
    }
    if (ok)
        return made;
    val_unref(h, made);
    return val_unset();
}

static bool pick_in_list(Call *c, Value set, bool keep)
{
    Value list;
    if (!flt_take_list(c, &list))
        return false;
    for (uint32_t i = 0; i < list.list->len; i++) {
        Value v = list_at(list.list, i);
        if (v.kind == V_MAP && !list_set(c->heap, &list, i, picked(c->heap, v, set, keep)))
            return flt_give_back(c, list);
    }
    return call_return(c, list);
}

static bool pick_members(Call *c, bool keep)
{
    Value in = call_arg(c, 0), object;
    if (in.kind != V_LIST && !call_map(c, 0, &object))
        return false;
    Value set = name_set(c, 1);
    if (set.kind == V_UNSET)
        return false;
    bool ok = in.kind == V_LIST ? pick_in_list(c, set, keep)
                                : call_return(c, picked(c->heap, object, set, keep));
    val_unref(c->heap, set);
    return ok;
}

bool flt_pick(Call *c)
{
    return pick_members(c, true);
}

bool flt_unpick(Call *c)
{
    return pick_members(c, false);
}

/* ---- defaults ---- */

static bool not_null(Value v)
{
    return !val_is_null(v);
}

/* The operand or the first argument that passes, else the last argument. */
static bool first_passing(Call *c, bool (*pass)(Value))
{
    Value v = call_arg(c, 0);
    if (!c->nargs)
        return flt_missing(c, 1);
    for (uint32_t i = 1; i <= c->nargs && !pass(v); i++)
        if (!flt_value(c, i, &v))
            return false;
    return call_return(c, val_is_null(v) ? val_null() : val_ref(v));
}

bool flt_first_notnull(Call *c)
{
    return first_passing(c, not_null);
}

bool flt_first_notempty(Call *c)
{
    return first_passing(c, val_truthy);
}
