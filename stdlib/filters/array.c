/* array.c - array filters: ends, parts, joining, sets, dropping, making, folding. Sorting and
 * grouping are in sort.c. A unique operand is changed in place. Specification: filters.md §4.4. */
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "core/vec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

/* Return a made container, or drop it when making failed for memory. */
static bool finish(Call *c, bool ok, Value made)
{
    if (ok)
        return call_return(c, made);
    val_unref(c->heap, made);
    return c->err->code == XS_OK ? flt_memory(c) : false;
}

/* ---- ends and size ---- */

bool flt_first(Call *c)
{
    Value in;
    if (!call_container(c, 0, &in))
        return false;
    Walk w = walk_of(in);
    return call_return(c, walk_next(&w) ? val_ref(w.value) : val_null());
}

bool flt_last(Call *c)
{
    Value in;
    if (!call_container(c, 0, &in))
        return false;
    if (!val_count(in))
        return call_return(c, val_null());
    if (in.kind == V_LIST)
        return call_return(c, val_ref(list_at(in.list, in.list->len - 1)));
    uint32_t at = in.map->used;
    while (at && !in.map->entries[at - 1].key)
        at--;
    return call_return(c, at ? val_ref(in.map->entries[at - 1].value) : val_null());
}

bool flt_count(Call *c)
{
    Value in;
    return call_container(c, 0, &in) && call_return_int(c, val_count(in));
}

/* At least one value argument, and each of them present. */
static bool need_values(Call *c)
{
    if (!c->nargs)
        return flt_missing(c, 1);
    for (uint32_t i = 1; i <= c->nargs; i++)
        if (call_arg(c, i).kind == V_UNSET)
            return flt_missing(c, i);
    return true;
}

bool flt_push(Call *c)
{
    Value list;
    if (!need_values(c) || !flt_take_list(c, &list))
        return false;
    for (uint32_t i = 1; i <= c->nargs; i++)
        if (!list_push(c->heap, &list, val_ref(call_arg(c, i))))
            return flt_give_back(c, list);
    return call_return(c, list);
}

bool flt_unshift(Call *c)
{
    Value list;
    if (!need_values(c) || !flt_take_list(c, &list))
        return false;
    for (uint32_t i = c->nargs; i >= 1; i--)
        if (!list_unshift(c->heap, &list, val_ref(call_arg(c, i))))
            return flt_give_back(c, list);
    return call_return(c, list);
}

bool flt_pop(Call *c)
{
    Value in;
    if (!call_list(c, 0, &in))
        return false;
    uint32_t n = in.list->len;
    return call_return(c, n ? val_ref(list_at(in.list, n - 1)) : val_null());
}

bool flt_shift(Call *c)
{
    Value in;
    if (!call_list(c, 0, &in))
        return false;
    return call_return(c, in.list->len ? val_ref(list_at(in.list, 0)) : val_null());
}

/* ---- append, prepend ---- */

typedef struct Extend {
    Call *c;
    Value value;
    bool front;
} Extend;

/* A key that can only be a member name, so that it maps over a list. */
static bool is_name(Value key)
{
    int64_t n;
    return key.kind == V_TEXT && !num_parse_int(val_text_view(key), &n);
}

static bool put_extended(const Extend *e, Value *root, const Value *keys, uint32_t nkeys,
                         Value found)
{
    Call *c = e->c;
    if (found.kind != V_LIST)
        return val_set_path_over(c->heap, root, keys, nkeys, val_ref(e->value), c->err);
    Value list =
        val_take_path(c->heap, root, keys, nkeys, c->err); /* unshared: extended in place */
    if (list.kind != V_LIST)
        return false;
    bool ok = e->front ? list_unshift(c->heap, &list, val_ref(e->value))
                       : list_push(c->heap, &list, val_ref(e->value));
    return (val_set_path_over(c->heap, root, keys, nkeys, list, c->err) && ok) ||
           (ok ? false : flt_memory(c));
}

/* keys lead to one place: no name in them maps over a list that has elements. */
static bool extend_at(const Extend *e, Value *root, const ListObj *keys)
{
    Heap *h = e->c->heap;
    Value at = val_ref(*root);
    for (uint32_t i = 0; i < keys->len && at.kind != V_UNSET; i++) {
        Value key = list_at(keys, i);
        bool missing = at.kind == V_LIST && is_name(key); /* [] becomes an object */
        Value next = missing ? val_unset() : val_step(h, at, key, e->c->err);
        val_unref(h, at);
        at = next;
    }
    if (at.kind == V_UNSET && e->c->err->code != XS_OK)
        return false;
    Value found = at; /* still stored in root; the kind is all that matters */
    val_unref(h, at);
    const Value *first = keys->len ? keys->items + keys->start : NULL;
    return put_extended(e, root, first, keys->len, found);
}

/* A new top-level member goes in front of the others. */
static bool prepend_member(Call *c, Value root, Value key, Value value)
{
    Value made = map_new(c->heap, root.map->count + 1);
    bool ok = made.kind == V_MAP && map_set(c->heap, &made, val_ref(key), val_ref(value));
    for (Walk w = walk_of(root); ok && walk_next(&w);)
        ok = map_set(c->heap, &made, walk_key(&w), val_ref(w.value));
    return finish(c, ok, made);
}

static bool extend_path(Call *c, const PathArg *p, bool front)
{
    Value in = call_arg(c, 0);
    if (!val_is_null(in) && in.kind != V_LIST && in.kind != V_MAP)
        return call_fail(c, XS_E_NOT_OBJECT, NULL);
    Value targets = flt_path_targets(c, p, in, true);
    if (targets.kind == V_UNSET)
        return false;
    const ListObj *only = targets.list->len == 1 ? list_at(targets.list, 0).list : NULL;
    Value first = only && only->len == 1 ? list_at(only, 0) : val_null();
    if (front && in.kind == V_MAP && first.kind == V_TEXT &&
        !map_find(in.map, val_text_view(first))) {
        bool ok = prepend_member(c, in, first, call_arg(c, 1));
        val_unref(c->heap, targets);
        return ok;
    }
    Value root = flt_take_in(c);
    Extend e = {c, call_arg(c, 1), front};
    bool ok = true;
    for (uint32_t i = 0; ok && i < targets.list->len; i++)
        ok = extend_at(&e, &root, list_at(targets.list, i).list);
    val_unref(c->heap, targets);
    return ok ? call_return(c, root) : flt_give_back(c, root);
}

static bool extend(Call *c, bool front)
{
    PathArg p;
    Value value, list;
    if (!flt_value(c, 1, &value) || !flt_path_opt(c, 2, &p))
        return false;
    if (p.path.kind != V_UNSET)
        return extend_path(c, &p, front);
    if (!flt_take_list(c, &list))
        return false;
    bool ok = front ? list_unshift(c->heap, &list, val_ref(value))
                    : list_push(c->heap, &list, val_ref(value));
    return ok ? call_return(c, list) : flt_give_back(c, list);
}

bool flt_append(Call *c)
{
    return extend(c, false);
}

bool flt_prepend(Call *c)
{
    return extend(c, true);
}

/* ---- slice, reverse, shuffle ---- */

/* Offset and length of the slice convention to a range of n elements. */
static void slice_range(int64_t offset, int64_t length, uint32_t n, uint32_t *from, uint32_t *count)
{
    int64_t start = offset < 0 ? (offset < -(int64_t)n ? 0 : n + offset) : offset;
    if (start > n)
        start = n;
    int64_t rest = n - start;
    if (length < 0)
        length = length < -rest ? 0 : rest + length;
    *from = (uint32_t)start;
    *count = (uint32_t)(length < rest ? length : rest);
}

bool flt_slice(Call *c)
{
    Value in;
    int64_t offset = 0, length = INT64_MAX;
    if (!call_container(c, 0, &in) || !call_int_opt(c, 1, &offset) || !call_int_opt(c, 2, &length))
        return false;
    uint32_t from, count;
    slice_range(offset, length, val_count(in), &from, &count);
    if (in.kind == V_MAP && in.map->count) {
        Value made = map_new(c->heap, count);
        bool ok = made.kind == V_MAP;
        for (Walk w = walk_of(in); ok && count && walk_next(&w);)
            if (w.pos >= from)
                ok = map_set(c->heap, &made, walk_key(&w), val_ref(w.value)) && count--;
        return finish(c, ok, made);
    }
    Value list;
    if (!flt_take_list(c, &list))
        return false;
    if (!list_cut(c->heap, &list, from, count))
        return flt_give_back(c, list);
    return call_return(c, list);
}

static bool reverse_map(Call *c, const MapObj *m)
{
    Value made = map_new(c->heap, m->count);
    bool ok = made.kind == V_MAP;
    for (uint32_t i = m->used; ok && i-- > 0;) {
        const MapEntry *e = &m->entries[i];
        if (e->key)
            ok = map_set(c->heap, &made, val_ref(val_obj(V_TEXT, e->key)), val_ref(e->value));
    }
    return finish(c, ok, made);
}

bool flt_reverse(Call *c)
{
    Value in, list;
    if (!call_container(c, 0, &in))
        return false;
    if (in.kind == V_MAP)
        return reverse_map(c, in.map);
    if (!flt_take_list(c, &list))
        return false;
    if (!val_make_unique(c->heap, &list))
        return flt_give_back(c, list);
    Value *items = list.list->len ? list.list->items + list.list->start : NULL;
    for (uint32_t i = 0, j = list.list->len; i + 1 < j; i++) {
        Value other = items[--j];
        items[j] = items[i];
        items[i] = other;
    }
    return call_return(c, list);
}

bool flt_shuffle(Call *c)
{
    Value list;
    uint64_t random[64];
    if (!c->services || !c->services->random)
        return call_fail(c, XS_E_UNSUPPORTED, "There is no source of random numbers");
    if (!flt_take_list(c, &list))
        return false;
    if (!val_make_unique(c->heap, &list))
        return flt_give_back(c, list);
    Value *items = list.list->len ? list.list->items + list.list->start : NULL;
    for (uint32_t i = list.list->len, used = 64; i > 1; i--) {
        if (used == 64) {
            if (!c->services->random(c->services->ctx, random, sizeof random)) {
                call_fail(c, XS_E_IO, "The source of random numbers failed");
                return flt_give_back(c, list);
            }
            used = 0;
        }
        uint32_t j = (uint32_t)(random[used++] % i); /* bias below 2^-32 */
        Value other = items[i - 1];
        items[i - 1] = items[j];
        items[j] = other;
    }
    return call_return(c, list);
}

/* ---- merge ---- */

enum { MERGE_DEPTH = 512 };

typedef struct Merge {
    Call *c;
    bool deep;
} Merge;

/* One more element under the lowest free digit key from *next on. item is owned. */
static bool put_numbered(Heap *h, Value *map, uint64_t *next, Value item)
{
    char buf[NUM_TEXT_MAX];
    Text key;
    do
        key = (Text){buf, num_write_int((int64_t)(*next)++, buf)};
    while (map_find(map->map, key));
    return map_set_text(h, map, key, item);
}

static bool to_numbered(Heap *h, Value *list)
{
    Value map = map_new(h, list->list->len + 1);
    uint64_t next = 0;
    bool ok = map.kind == V_MAP;
    for (uint32_t i = 0; ok && i < list->list->len; i++)
        ok = put_numbered(h, &map, &next, val_ref(list_at(list->list, i)));
    if (!ok) {
        val_unref(h, map);
        return false;
    }
    val_unref(h, *list);
    *list = map;
    return true;
}

static bool is_container(Value v)
{
    return v.kind == V_LIST || v.kind == V_MAP;
}

static bool merge_value(const Merge *m, Value *into, Value from, unsigned depth);

/* A scalar counts as a list of it. *v is replaced. */
static bool wrap(Heap *h, Value *v)
{
    if (is_container(*v))
        return true;
    Value list = list_new(h, 2);
    if (list.kind == V_UNSET)
        return false;
    bool ok = list_push(h, &list, *v);
    *v = list;
    return ok;
}

/* Both have the key: merge below it. */
static bool merge_member(const Merge *m, Value *into, const Walk *w, Value old, unsigned depth)
{
    Heap *h = m->c->heap;
    Value both = val_ref(old), from = val_ref(w->value);
    bool ok = map_set(h, into, walk_key(w), val_null()); /* leaves `both` unshared when it can be */
    ok = ok && wrap(h, &both) && wrap(h, &from) && merge_value(m, &both, from, depth + 1);
    val_unref(h, from);
    return map_set(h, into, walk_key(w), both) && ok;
}

static bool merge_maps(const Merge *m, Value *into, Value from, unsigned depth)
{
    for (Walk w = walk_of(from); walk_next(&w);) {
        Text key = {w.key->data, w.key->len};
        const Value *old = m->deep ? map_find(into->map, key) : NULL;
        if (!(old ? merge_member(m, into, &w, *old, depth)
                  : map_set(m->c->heap, into, walk_key(&w), val_ref(w.value))))
            return false;
    }
    return true;
}

static bool merge_lists(Heap *h, Value *into, Value from)
{
    uint32_t n = from.list->len; /* from may be the list that grows */
    if (!list_reserve(h, into, into->list->len + n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!list_push(h, into, val_ref(list_at(from.list, i))))
            return false;
    return true;
}

/* Both containers; *into is owned, from borrowed. */
static bool merge_value(const Merge *m, Value *into, Value from, unsigned depth)
{
    Heap *h = m->c->heap;
    if (depth > MERGE_DEPTH)
        return call_fail(m->c, XS_E_LIMIT, "The objects are nested too deep.");
    if (!val_count(from))
        return true;
    if (!val_count(*into)) {
        val_unref(h, *into);
        *into = val_ref(from);
        return true;
    }
    if (into->kind == V_LIST && from.kind == V_LIST)
        return merge_lists(h, into, from);
    if (from.kind == V_MAP)
        return (into->kind == V_MAP || to_numbered(h, into)) && merge_maps(m, into, from, depth);
    uint64_t next = 0;
    for (uint32_t i = 0; i < from.list->len; i++)
        if (!put_numbered(h, into, &next, val_ref(list_at(from.list, i))))
            return false;
    return true;
}

static bool merge_scalar(Heap *h, Value *into, Value item)
{
    uint64_t next = 0;
    if (into->kind == V_MAP && into->map->count)
        return put_numbered(h, into, &next, val_ref(item));
    if (into->kind == V_MAP) {
        val_unref(h, *into);
        *into = list_new(h, 1);
    }
    return into->kind == V_LIST && list_push(h, into, val_ref(item));
}

static bool merge_all(Call *c, bool deep)
{
    Value in;
    if (!need_values(c) || !call_container(c, 0, &in))
        return false;
    Merge m = {c, deep};
    Value made = call_take_in(c);
    if (val_is_null(made))
        made = list_new(c->heap, 0);
    bool ok = made.kind != V_UNSET;
    for (uint32_t i = 1; ok && i <= c->nargs; i++) {
        Value v = call_arg(c, i);
        if (is_container(v))
            ok = merge_value(&m, &made, v, 0);
        else if (!val_is_null(v))
            ok = merge_scalar(c->heap, &made, v);
    }
    return ok ? call_return(c, made) : flt_give_back(c, made);
}

bool flt_merge(Call *c)
{
    return merge_all(c, false);
}

bool flt_merge_recursive(Call *c)
{
    return merge_all(c, true);
}

/* ---- sets ---- */

/* An empty container of the same kind. */
static Value like(Call *c, Value in)
{
    return in.kind == V_MAP ? map_new(c->heap, 0) : list_new(c->heap, 0);
}

bool flt_unique(Call *c)
{
    Value in;
    PathArg p;
    Set seen;
    if (!call_list(c, 0, &in) || !flt_path_opt(c, 1, &p))
        return false;
    if (!set_init(&seen, c->heap, in.list->len))
        return flt_memory(c);
    Value made = list_new(c->heap, 0),
          keys = list_new(c->heap, 0); /* keys keeps the values alive */
    bool ok = made.kind == V_LIST && keys.kind == V_LIST;
    for (Walk w = walk_of(in); ok && walk_next(&w);) {
        Value key;
        ok = flt_at(c, &p, w.value, &key);
        if (!ok || set_has(&seen, key)) {
            val_unref(c->heap, key);
            continue;
        }
        if (key.kind == V_UNSET)
            key = val_null();
        ok = list_push(c->heap, &keys, key) && set_add(&seen, key) &&
             list_push(c->heap, &made, val_ref(w.value));
    }
    set_deinit(&seen);
    val_unref(c->heap, keys);
    return finish(c, ok, made);
}

static bool by_value(Call *c, bool keep)
{
    Value in, other;
    Set set;
    if (!call_container(c, 0, &in) || !call_container(c, 1, &other))
        return false;
    if (!set_init(&set, c->heap, val_count(other)))
        return flt_memory(c);
    Value made = like(c, in);
    bool ok = made.kind != V_UNSET && set_add_all(&set, other);
    for (Walk w = walk_of(in); ok && walk_next(&w);)
        if (set_has(&set, w.value) == keep)
            ok = walk_put(c->heap, &w, &made, val_ref(w.value));
    set_deinit(&set);
    return finish(c, ok, made);
}

bool flt_diff(Call *c)
{
    return by_value(c, false);
}

bool flt_intersect(Call *c)
{
    return by_value(c, true);
}

/* The value under the walk's key; digits are indexes across the two kinds. NULL when absent. */
static const Value *under_key(Value container, const Walk *w)
{
    char buf[NUM_TEXT_MAX];
    if (container.kind == V_MAP) {
        Text key =
            w->key ? (Text){w->key->data, w->key->len} : (Text){buf, num_write_int(w->pos, buf)};
        return map_find(container.map, key);
    }
    int64_t index = w->pos;
    if (w->key && (!num_parse_int((Text){w->key->data, w->key->len}, &index) || index < 0))
        return NULL;
    const ListObj *l = container.list;
    return index < l->len ? &l->items[l->start + (uint32_t)index] : NULL;
}

static bool by_key_and_value(Call *c, bool keep)
{
    Value in, other;
    if (!call_container(c, 0, &in) || !call_container(c, 1, &other))
        return false;
    Value made = like(c, in);
    bool ok = made.kind != V_UNSET;
    for (Walk w = walk_of(in); ok && walk_next(&w);) {
        const Value *found = under_key(other, &w);
        if ((found && val_same(*found, w.value)) == keep)
            ok = walk_put(c->heap, &w, &made, val_ref(w.value));
    }
    return finish(c, ok, made);
}

bool flt_diff_assoc(Call *c)
{
    return by_key_and_value(c, false);
}

bool flt_intersect_assoc(Call *c)
{
    return by_key_and_value(c, true);
}

/* ---- dropping ---- */

typedef bool (*Drop)(Value v, Value arg);

/* Elements or members whose value at the path the test does not drop; a missing value is null. */
static bool drop_values(Call *c, const PathArg *p, Drop drop, Value arg)
{
    Value in;
    if (!call_container(c, 0, &in))
        return false;
    Value made = like(c, in);
    bool ok = made.kind != V_UNSET;
    for (Walk w = walk_of(in); ok && walk_next(&w);) {
        Value v;
        ok = flt_at(c, p, w.value, &v);
        if (ok && !drop(v, arg))
            ok = walk_put(c->heap, &w, &made, val_ref(w.value));
        val_unref(c->heap, v);
    }
    return finish(c, ok, made);
}

bool flt_remove(Call *c)
{
    Value value, in = call_arg(c, 0);
    PathArg p;
    if (!flt_value(c, 1, &value) || !flt_path_opt(c, 2, &p))
        return false;
    if (in.kind == V_MAP && val_is_null(value) && p.path.kind == V_TEXT) { /* the member itself */
        Value map = call_take_in(c);
        if (!val_make_unique(c->heap, &map))
            return flt_give_back(c, map);
        map_remove(c->heap, &map, val_text_view(p.path));
        return call_return(c, map);
    }
    return drop_values(c, &p, call_bool(c, 3, false) ? val_strict_eq : val_same, value);
}

static bool drop_empty(Value v, Value arg)
{
    (void)arg;
    return !val_truthy(v);
}

static bool drop_null(Value v, Value arg)
{
    (void)arg;
    return val_is_null(v);
}

static bool drop_empty_text(Value v, Value arg)
{
    (void)arg;
    return v.kind == V_TEXT && !v.text->len;
}

static bool drop_empty_array(Value v, Value arg)
{
    (void)arg;
    return v.kind == V_LIST && !v.list->len;
}

static bool drop_empty_object(Value v, Value arg)
{
    (void)arg;
    return v.kind == V_MAP && !v.map->count;
}

static bool drop_zero(Value v, Value arg)
{
    (void)arg;
    return (v.kind == V_INT && v.i == 0) || (v.kind == V_DEC && v.d == 0.0);
}

static bool drop_false(Value v, Value arg)
{
    (void)arg;
    return v.kind == V_BOOL && !v.b;
}

static bool filter_values(Call *c, Drop drop)
{
    PathArg p;
    return flt_path_opt(c, 1, &p) && drop_values(c, &p, drop, val_null());
}

bool flt_filter_empty(Call *c)
{
    return filter_values(c, drop_empty);
}

bool flt_filter_null(Call *c)
{
    return filter_values(c, drop_null);
}

bool flt_filter_empty_text(Call *c)
{
    return filter_values(c, drop_empty_text);
}

bool flt_filter_empty_array(Call *c)
{
    return filter_values(c, drop_empty_array);
}

bool flt_filter_empty_object(Call *c)
{
    return filter_values(c, drop_empty_object);
}

bool flt_filter_zero(Call *c)
{
    return filter_values(c, drop_zero);
}

bool flt_filter_false(Call *c)
{
    return filter_values(c, drop_false);
}

/* ---- other shapes ---- */

typedef struct FlattenFrame {
    const ListObj *list; /* borrowed from the operand */
    uint32_t at;
} FlattenFrame;

/* Lists that contain one list many times would make the walk longer than the memory they take. */
enum { FLATTEN_MAX_VISITS = 4 * FILTER_LIST_MAX };

bool flt_flatten(Call *c)
{
    Value in;
    if (!call_list(c, 0, &in))
        return false;
    Value made = list_new(c->heap, in.list->len < 1024 ? in.list->len : 1024);
    VEC(FlattenFrame) stack = {0};
    bool ok = made.kind == V_LIST &&
              (VEC_PUSH(&stack, ((FlattenFrame){in.list, 0})) || call_fail(c, XS_E_NOMEM, NULL));
    for (uint32_t visits = 0; ok && stack.len; visits++) {
        FlattenFrame *f = &stack.ptr[stack.len - 1];
        if (visits > FLATTEN_MAX_VISITS) {
            ok = call_fail(c, XS_E_LIMIT, NULL);
        } else if (f->at >= f->list->len) {
            stack.len--;
        } else {
            Value v = list_at(f->list, f->at++);
            if (v.kind != V_LIST)
                ok = list_push(c->heap, &made, val_ref(v));
            else
                ok =
                    VEC_PUSH(&stack, ((FlattenFrame){v.list, 0})) || call_fail(c, XS_E_NOMEM, NULL);
        }
    }
    VEC_DEINIT(&stack);
    return finish(c, ok, made);
}

bool flt_safe_array(Call *c)
{
    Value in = call_arg(c, 0);
    if (in.kind == V_LIST)
        return call_return(c, call_take_in(c));
    Value made = list_new(c->heap, 1);
    bool ok = made.kind == V_LIST && (val_is_null(in) || list_push(c->heap, &made, val_ref(in)));
    return finish(c, ok, made);
}

bool flt_keys(Call *c)
{
    Value in;
    if (!call_container(c, 0, &in))
        return false;
    Value made = list_new(c->heap, val_count(in));
    bool ok = made.kind == V_LIST;
    for (Walk w = walk_of(in); ok && walk_next(&w);)
        ok = list_push(c->heap, &made, walk_key(&w));
    return finish(c, ok, made);
}

bool flt_values(Call *c)
{
    Value in;
    if (!call_container(c, 0, &in))
        return false;
    if (in.kind == V_LIST)
        return call_return(c, val_ref(in));
    Value made = list_new(c->heap, val_count(in));
    bool ok = made.kind == V_LIST;
    for (Walk w = walk_of(in); ok && walk_next(&w);)
        ok = list_push(c->heap, &made, val_ref(w.value));
    return finish(c, ok, made);
}

static Value make_entry(Heap *h, const Walk *w, Value key_name, Value value_name)
{
    Value entry = map_new(h, 2);
    if (entry.kind == V_MAP && map_set(h, &entry, val_ref(key_name), walk_key(w)) &&
        map_set(h, &entry, val_ref(value_name), val_ref(w->value)))
        return entry;
    val_unref(h, entry);
    return val_unset();
}

bool flt_entries(Call *c)
{
    Value in;
    if (!call_container(c, 0, &in))
        return false;
    Value made = list_new(c->heap, val_count(in));
    Value key = text_new(c->heap, TEXT("key")), value = text_new(c->heap, TEXT("value"));
    bool ok = made.kind == V_LIST && key.kind == V_TEXT && value.kind == V_TEXT;
    for (Walk w = walk_of(in); ok && walk_next(&w);)
        ok = list_push(c->heap, &made, make_entry(c->heap, &w, key, value));
    val_unref(c->heap, key);
    val_unref(c->heap, value);
    return finish(c, ok, made);
}

/* ---- making ---- */

bool flt_range(Call *c)
{
    int64_t start, stop;
    if (!call_int(c, 1, &start) || !call_int(c, 2, &stop))
        return false;
    uint64_t count = start > stop ? 0 : (uint64_t)stop - (uint64_t)start + 1;
    if (count > FILTER_LIST_MAX || (start <= stop && count == 0))
        return call_fail(c, XS_E_LIMIT, NULL);
    Value made = list_new(c->heap, (uint32_t)count);
    bool ok = made.kind == V_LIST;
    for (uint64_t i = 0; ok && i < count; i++)
        ok = list_push(c->heap, &made, val_int(start + (int64_t)i));
    return finish(c, ok, made);
}

bool flt_fill(Call *c)
{
    Value value = call_arg(c, 0), second;
    int64_t start, count;
    if (!call_int(c, 1, &start) || !flt_value(c, 2, &second))
        return false;
    if (val_is_null(value) && second.kind != V_INT) { /* (|fill:5:"x") */
        value = second;
        count = start;
        start = 0;
    } else if (!call_int(c, 2, &count)) {
        return false;
    }
    if (start < 0 || count < 0)
        return call_bad_arg(c, start < 0 ? 1 : 2);
    if (start > FILTER_LIST_MAX || count > FILTER_LIST_MAX || start + count > FILTER_LIST_MAX)
        return call_fail(c, XS_E_LIMIT, NULL);
    Value made = list_new(c->heap, (uint32_t)(start + count));
    bool ok = made.kind == V_LIST;
    value = val_is_null(value) ? val_null() : value;
    for (int64_t i = 0; ok && i < start + count; i++)
        ok = list_push(c->heap, &made, i < start ? val_null() : val_ref(value));
    return finish(c, ok, made);
}

/* Set under the text of key; value is owned. */
static bool set_by_key(Call *c, Value *map, Value key, Value value)
{
    Value name = val_to_text(c->heap, key, c->err);
    if (name.kind == V_UNSET) {
        val_unref(c->heap, value);
        return false;
    }
    return map_set(c->heap, map, name, value);
}

/* The members of object named by the elements of names. */
static bool pick_members(Call *c, Value names, Value object)
{
    Value made = map_new(c->heap, 0);
    bool ok = made.kind == V_MAP;
    for (Walk w = walk_of(names); ok && walk_next(&w);) {
        Value name = val_to_text(c->heap, w.value, c->err);
        const Value *found = name.kind == V_TEXT ? map_find(object.map, val_text_view(name)) : NULL;
        ok = name.kind == V_TEXT &&
             (!found || map_set(c->heap, &made, val_ref(name), val_ref(*found)));
        val_unref(c->heap, name);
    }
    return finish(c, ok, made);
}

bool flt_fill_keys(Call *c)
{
    Value in = call_arg(c, 0), keys;
    if (!call_container(c, 1, &keys))
        return false;
    if (keys.kind == V_MAP && keys.map->count)
        return in.kind == V_LIST ? pick_members(c, in, keys) : call_fail(c, XS_E_NOT_ARRAY, NULL);
    Value made = map_new(c->heap, val_count(keys));
    bool ok = made.kind == V_MAP;
    Value value = val_is_null(in) ? val_null() : in;
    for (Walk w = walk_of(keys); ok && walk_next(&w);)
        ok = set_by_key(c, &made, w.value, val_ref(value));
    return finish(c, ok, made);
}

bool flt_create_object(Call *c)
{
    Value keys, values = val_unset();
    if (!call_list(c, 0, &keys) || (call_has(c, 1) && !call_list(c, 1, &values)))
        return false;
    Value made = map_new(c->heap, keys.list->len);
    bool ok = made.kind == V_MAP;
    for (Walk w = walk_of(keys); ok && walk_next(&w);) {
        bool has = values.kind == V_LIST && w.pos < values.list->len;
        ok = set_by_key(c, &made, w.value, has ? val_ref(list_at(values.list, w.pos)) : val_null());
    }
    return finish(c, ok, made);
}

/* {key, value} or [key, value]. */
static bool entry_parts(Value entry, Value *key, Value *value)
{
    if (entry.kind == V_LIST && entry.list->len == 2) {
        *key = list_at(entry.list, 0);
        *value = list_at(entry.list, 1);
    } else if (entry.kind == V_MAP) {
        const Value *k = map_find(entry.map, TEXT("key")), *v = map_find(entry.map, TEXT("value"));
        if (!k || !v)
            return false;
        *key = *k;
        *value = *v;
    } else {
        return false;
    }
    return key->kind > V_NULL && key->kind <= V_TEXT;
}

bool flt_create_object_from_entries(Call *c)
{
    Value in;
    if (!call_list(c, 0, &in))
        return false;
    Value made = map_new(c->heap, in.list->len);
    bool ok = made.kind == V_MAP;
    for (Walk w = walk_of(in); ok && walk_next(&w);) {
        Value key, value;
        ok = entry_parts(w.value, &key, &value) ? set_by_key(c, &made, key, val_ref(value))
                                                : call_bad_arg(c, 0);
    }
    return finish(c, ok, made);
}

/* ---- folding ---- */

static bool return_extreme(Call *c, int sign)
{
    Value in, best = val_null();
    if (!call_container(c, 0, &in))
        return false;
    for (Walk w = walk_of(in); walk_next(&w);)
        if (!val_is_null(w.value) && (val_is_null(best) || val_compare(w.value, best) * sign > 0))
            best = w.value;
    return call_return(c, val_ref(best));
}

bool flt_array_min(Call *c)
{
    return return_extreme(c, -1);
}

bool flt_array_max(Call *c)
{
    return return_extreme(c, 1);
}

static bool fold(Call *c, Arith op, Value *total, int64_t *count)
{
    Value in;
    *count = 0;
    if (!call_container(c, 0, &in))
        return false;
    for (Walk w = walk_of(in); walk_next(&w);) {
        if (val_is_null(w.value))
            continue;
        if (!val_arith(op, *total, w.value, total, c->err))
            return false;
        ++*count;
    }
    return true;
}

bool flt_sum(Call *c)
{
    Value total = val_int(0);
    int64_t count;
    return fold(c, AR_ADD, &total, &count) && call_return(c, total);
}

bool flt_product(Call *c)
{
    Value total = val_int(1);
    int64_t count;
    return fold(c, AR_MUL, &total, &count) && call_return(c, total);
}

bool flt_avg(Call *c)
{
    Value total = val_int(0);
    int64_t count;
    if (!fold(c, AR_ADD, &total, &count))
        return false;
    if (!count)
        return call_return(c, val_null());
    return val_arith(AR_DIV, total, val_int(count), &total, c->err) && call_return(c, total);
}
