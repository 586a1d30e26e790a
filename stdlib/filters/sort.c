/* sort.c - stable sorting and grouping of arrays. Keys are prepared once, then a merge sort
 * compares them. Specification: filters.md §4.4.1. */
#include "core/text.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

typedef struct Item {
    Value key;   /* borrowed from the list of keys: number, text or anything */
    Value value; /* borrowed from the operand */
} Item;

typedef int (*Compare)(Value a, Value b);

/* ---- the sort ---- */

static void merge_runs(const Item *from, Item *to, size_t left, size_t mid, size_t right,
                       Compare cmp, int sign)
{
    size_t i = left, j = mid;
    for (size_t k = left; k < right; k++) {
        bool take_left = i < mid && (j >= right || cmp(from[i].key, from[j].key) * sign <= 0);
        to[k] = take_left ? from[i++] : from[j++];
    }
}

/* Sorts items with as much scratch room behind them; the result is in the returned half. */
static Item *merge_sort(Item *items, Item *scratch, size_t n, Compare cmp, int sign)
{
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t left = 0; left < n; left += 2 * run) {
            size_t mid = left + run < n ? left + run : n;
            size_t right = left + 2 * run < n ? left + 2 * run : n;
            merge_runs(items, scratch, left, mid, right, cmp, sign);
        }
        Item *other = items;
        items = scratch;
        scratch = other;
    }
    return items;
}

/* Return the elements of `in` in the order of the parallel list of keys. */
static bool return_sorted(Call *c, Value in, Value keys, Compare cmp, bool asc)
{
    uint32_t n = val_count(in);
    size_t size = (size_t)n * 2 * sizeof(Item);
    Item *items = heap_alloc(c->heap, size ? size : 1);
    if (!items)
        return flt_memory(c);
    for (Walk w = walk_of(in); walk_next(&w);)
        items[w.pos] = (Item){list_at(keys.list, w.pos), w.value};
    const Item *sorted = merge_sort(items, items + n, n, cmp, asc ? 1 : -1);
    Value made = list_new(c->heap, n);
    bool ok = made.kind == V_LIST;
    for (uint32_t i = 0; ok && i < n; i++)
        ok = list_push(c->heap, &made, val_ref(sorted[i].value));
    heap_release(c->heap, items, size ? size : 1);
    if (!ok) {
        val_unref(c->heap, made);
        return flt_memory(c);
    }
    return call_return(c, made);
}

/* ---- orders ---- */

static int compare_text(Value a, Value b)
{
    return text_cmp(val_text_view(a), val_text_view(b));
}

static bool is_digit(Text t, size_t at)
{
    return at < t.len && t.ptr[at] >= '0' && t.ptr[at] <= '9';
}

static void skip_blanks(Text t, size_t *at)
{
    while (*at < t.len && (t.ptr[*at] == ' ' || (t.ptr[*at] >= '\t' && t.ptr[*at] <= '\r')))
        ++*at;
}

/* Digit runs as whole numbers: the longer is larger, then the first difference counts. */
static int compare_runs(Text a, size_t *i, Text b, size_t *j)
{
    int order = 0;
    for (;; ++*i, ++*j) {
        bool left = is_digit(a, *i), right = is_digit(b, *j);
        if (!left || !right)
            return left != right ? (int)left - (int)right : order;
        if (!order)
            order = (a.ptr[*i] > b.ptr[*j]) - (a.ptr[*i] < b.ptr[*j]);
    }
}

/* Runs with a leading zero compare digit by digit, as fractions. */
static int compare_fractions(Text a, size_t *i, Text b, size_t *j)
{
    for (;; ++*i, ++*j) {
        bool left = is_digit(a, *i), right = is_digit(b, *j);
        if (!left || !right)
            return (int)left - (int)right;
        if (a.ptr[*i] != b.ptr[*j])
            return a.ptr[*i] < b.ptr[*j] ? -1 : 1;
    }
}

static int compare_natural(Value x, Value y)
{
    Text a = val_text_view(x), b = val_text_view(y);
    size_t i = 0, j = 0;
    for (;;) {
        skip_blanks(a, &i);
        skip_blanks(b, &j);
        if (i >= a.len || j >= b.len)
            return (int)(i < a.len) - (int)(j < b.len);
        if (is_digit(a, i) && is_digit(b, j)) {
            bool fraction = a.ptr[i] == '0' || b.ptr[j] == '0';
            int order = fraction ? compare_fractions(a, &i, b, &j) : compare_runs(a, &i, b, &j);
            if (order)
                return order;
            continue;
        }
        if (a.ptr[i] != b.ptr[j])
            return (uint8_t)a.ptr[i] < (uint8_t)b.ptr[j] ? -1 : 1;
        i++;
        j++;
    }
}

/* ---- keys ---- */

typedef enum SortType {
    SORT_NUMBER,
    SORT_TEXT,
    SORT_ITEXT,
    SORT_NATURAL,
    SORT_INATURAL,
    SORT_AUTO
} SortType;

static SortType sort_type(Text name)
{
    static const struct {
        const char *name;
        SortType type;
    } types[] = {
        {"text", SORT_TEXT},      {"itext", SORT_ITEXT},       {"natural", SORT_NATURAL},
        {"number", SORT_NUMBER},  {"inatural", SORT_INATURAL}, {"int", SORT_NUMBER},
        {"decimal", SORT_NUMBER}, {"timestamp", SORT_NUMBER},
    };
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (text_eq(name, text_from(types[i].name)))
            return types[i].type;
    return name.len ? SORT_ITEXT : SORT_AUTO;
}

static bool all_numbers(const ListObj *keys)
{
    for (uint32_t i = 0; i < keys->len; i++) {
        Value v = list_at(keys, i);
        if (v.kind != V_INT && v.kind != V_DEC)
            return false;
    }
    return true;
}

static Value number_key(Value v)
{
    xs_error ignored;
    Value n;
    if (val_is_null(v))
        return val_null(); /* first in the total order */
    return val_number(v, &n, &ignored) ? n : val_int(0);
}

/* Owned; V_UNSET: error raised. */
static Value text_key(Call *c, Value v, bool lower)
{
    if (v.kind == V_TEXT && !lower)
        return val_ref(v);
    Buf raw = flt_buf(), out = flt_buf();
    bool container = v.kind >= V_LIST;
    bool ok = v.kind == V_TEXT || (container ? val_write_json(v, &raw) || !raw.failed
                                             : val_write_text(v, &raw, c->err));
    Text t = v.kind == V_TEXT ? val_text_view(v) : buf_view(&raw);
    if (ok && lower)
        text_write_lower(&out, t);
    ok = ok && !raw.failed && !out.failed;
    Value made = ok ? text_new(c->heap, lower ? buf_view(&out) : t) : val_unset();
    if (!ok && c->err->code == XS_OK)
        call_fail(c, XS_E_LIMIT, NULL);
    buf_deinit(&raw);
    buf_deinit(&out);
    return made;
}

/* Replace the keys by what the order of the type compares. */
static bool prepare_keys(Call *c, Value *keys, SortType type)
{
    bool lower = type == SORT_ITEXT || type == SORT_INATURAL;
    for (uint32_t i = 0; i < keys->list->len; i++) {
        Value old = list_at(keys->list, i);
        Value key = type == SORT_NUMBER ? number_key(old) : text_key(c, old, lower);
        if (!list_set(c->heap, keys, i, key))
            return c->err->code == XS_OK ? flt_memory(c) : false;
    }
    return true;
}

/* The value at the path of every element, null when missing. V_UNSET: error raised. */
static Value collect_keys(Call *c, Value in, const PathArg *p)
{
    Value keys = list_new(c->heap, val_count(in));
    bool ok = keys.kind == V_LIST;
    for (Walk w = walk_of(in); ok && walk_next(&w);) {
        Value key;
        ok = flt_at(c, p, w.value, &key) &&
             list_push(c->heap, &keys, key.kind == V_UNSET ? val_null() : key);
    }
    if (ok)
        return keys;
    val_unref(c->heap, keys);
    if (c->err->code == XS_OK)
        flt_memory(c);
    return val_unset();
}

static bool is_direction(Value v, bool *asc)
{
    if (v.kind != V_TEXT)
        return false;
    Text t = val_text_view(v);
    bool desc = text_eq(t, TEXT("desc"));
    if (!desc && !text_eq(t, TEXT("asc")))
        return false;
    *asc = !desc;
    return true;
}

/* true, false, "asc" or "desc". */
static bool ascending(Call *c, uint32_t i)
{
    bool asc;
    return is_direction(call_arg(c, i), &asc) ? asc : call_bool(c, i, true);
}

bool flt_sort(Call *c)
{
    Value in;
    PathArg p;
    Text type_name = {0};
    if (!call_container(c, 0, &in) || !flt_path_opt(c, 1, &p) || !call_text_opt(c, 2, &type_name))
        return false;
    bool asc = ascending(c, 3);
    if (is_direction(call_arg(c, 2), &asc))
        type_name = TEXT("");
    if (!call_has(c, 2) && !call_has(c, 3) && is_direction(call_arg(c, 1), &asc))
        p.path = val_unset();
    Value keys = collect_keys(c, in, &p);
    if (keys.kind == V_UNSET)
        return false;
    SortType type = sort_type(type_name);
    if (type == SORT_AUTO)
        type = all_numbers(keys.list) ? SORT_NUMBER : SORT_ITEXT;
    Compare cmp = type == SORT_NUMBER                             ? val_compare
                  : type == SORT_NATURAL || type == SORT_INATURAL ? compare_natural
                                                                  : compare_text;
    bool ok = prepare_keys(c, &keys, type) && return_sorted(c, in, keys, cmp, asc);
    val_unref(c->heap, keys);
    return ok;
}

/* ---- with keys made by the program ---- */

static bool parallel_keys(Call *c, Value *in, Value *keys)
{
    return call_list(c, 0, in) && call_list(c, 1, keys) &&
           (keys->list->len == in->list->len || call_bad_arg(c, 1));
}

bool flt_sort_keys(Call *c)
{
    Value in, keys;
    return parallel_keys(c, &in, &keys) && return_sorted(c, in, keys, val_compare, ascending(c, 2));
}

/* Add value to the list under the text of key; keys that are no scalar drop it. */
static bool group(Call *c, Value *groups, Value key, Value value)
{
    if (val_is_null(key) || key.kind > V_TEXT)
        return true;
    Value name = val_to_text(c->heap, key, c->err);
    if (name.kind == V_UNSET)
        return false;
    const Value *found = map_find(groups->map, val_text_view(name));
    if (found) { /* the map is ours alone, and so is the list in it */
        val_unref(c->heap, name);
        return list_push(c->heap, (Value *)(uintptr_t)found, val_ref(value));
    }
    Value list = list_new(c->heap, 1);
    if (list.kind == V_LIST && !list_push(c->heap, &list, val_ref(value))) {
        val_unref(c->heap, list);
        list = val_unset();
    }
    return map_set(c->heap, groups, name, list);
}

static bool return_groups(Call *c, Value in, Value keys)
{
    Value groups = map_new(c->heap, 8);
    bool ok = groups.kind == V_MAP;
    for (Walk w = walk_of(in); ok && walk_next(&w);)
        ok = group(c, &groups, list_at(keys.list, w.pos), w.value);
    if (ok)
        return call_return(c, groups);
    val_unref(c->heap, groups);
    return c->err->code == XS_OK ? flt_memory(c) : false;
}

bool flt_index_keys(Call *c)
{
    Value in, keys;
    return parallel_keys(c, &in, &keys) && return_groups(c, in, keys);
}

bool flt_index_by(Call *c)
{
    Value in;
    PathArg p;
    if (!call_list(c, 0, &in) || !flt_path(c, 1, &p))
        return false;
    Value keys = collect_keys(c, in, &p);
    if (keys.kind == V_UNSET)
        return false;
    bool ok = return_groups(c, in, keys);
    val_unref(c->heap, keys);
    return ok;
}
