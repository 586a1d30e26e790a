/* compare.c - the equalities and the order. Specification: filters.md §1.5. Recursion into
 * containers is bounded by VALUE_MAX_DEPTH; deeper ones count as unequal. */
#include "core/num.h"
#include "core/text.h"
#include "vm/convert.h"
#include "vm/obj.h"

/* One comparison. Containers that are shared many times inside would be walked as often: pairs
 * found equal are remembered, the newest in each slot, which is where a walk asks for them again.
 */
enum { KNOWN_PAIRS = 64 };
typedef struct Walked {
    unsigned depth;
    struct {
        const Obj *a, *b;
    } known[KNOWN_PAIRS];
} Walked;
typedef bool (*Equal)(Value a, Value b, Walked *w);

static unsigned pair_slot(const Obj *a, const Obj *b)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)a ^ (uint64_t)(uintptr_t)b << 7) * 0x9E3779B97F4A7C15u;
    return (unsigned)(mixed >> 32) % KNOWN_PAIRS;
}

static bool pair_known(const Walked *w, const Obj *a, const Obj *b)
{
    unsigned slot = pair_slot(a, b);
    return w->known[slot].a == a && w->known[slot].b == b;
}

static void pair_note(Walked *w, const Obj *a, const Obj *b)
{
    unsigned slot = pair_slot(a, b);
    w->known[slot].a = a;
    w->known[slot].b = b;
}

static bool is_number(Value v)
{
    return v.kind == V_INT || v.kind == V_DEC;
}

/* Exact, without rounding the int. */
static int compare_int_dec(int64_t i, double d)
{
    if (d >= 9223372036854775808.0)
        return -1;
    if (d < -9223372036854775808.0)
        return 1;
    int64_t whole = (int64_t)d;
    if (i != whole)
        return i < whole ? -1 : 1;
    double rest = d - (double)whole;
    return rest > 0 ? -1 : rest < 0;
}

static int compare_numbers(Value a, Value b)
{
    if (a.kind == V_INT && b.kind == V_INT)
        return a.i < b.i ? -1 : a.i > b.i;
    if (a.kind == V_INT)
        return compare_int_dec(a.i, b.d);
    if (b.kind == V_INT)
        return -compare_int_dec(b.i, a.d);
    return a.d < b.d ? -1 : a.d > b.d;
}

static bool lists_equal(const ListObj *a, const ListObj *b, Equal equal, Walked *w)
{
    if (a == b || pair_known(w, &a->head, &b->head))
        return true;
    if (a->len != b->len)
        return false;
    for (uint32_t i = 0; i < a->len; i++)
        if (!equal(list_at(a, i), list_at(b, i), w))
            return false;
    pair_note(w, &a->head, &b->head);
    return true;
}

static bool maps_equal(const MapObj *a, const MapObj *b, Equal equal, Walked *w)
{
    if (a == b || pair_known(w, &a->head, &b->head))
        return true;
    if (a->count != b->count)
        return false;
    const MapEntry *e;
    for (uint32_t at = 0; (e = map_walk(a, &at));) {
        int64_t i = map_index_of(b, (Text){e->key->data, e->key->len}, e->key->hash);
        if (i == MAP_NOT_FOUND || !equal(e->value, b->entries[i].value, w))
            return false;
    }
    pair_note(w, &a->head, &b->head);
    return true;
}

/* Both are containers. */
static bool containers_equal(Value a, Value b, Equal equal, Walked *w)
{
    if (w->depth > VALUE_MAX_DEPTH)
        return false;
    if (a.kind != b.kind)
        return val_count(a) == 0 && val_count(b) == 0;
    w->depth++;
    bool same = a.kind == V_LIST ? lists_equal(a.list, b.list, equal, w)
                                 : maps_equal(a.map, b.map, equal, w);
    w->depth--;
    return same;
}

static bool is_container(Value v)
{
    return v.kind == V_LIST || v.kind == V_MAP;
}

/* Scalars never look at it. */
static Walked *walk_begin(Walked *w, Value a, Value b)
{
    if (is_container(a) && is_container(b))
        memset(w, 0, sizeof *w);
    return w;
}

static bool same_at(Value a, Value b, Walked *w)
{
    if (val_is_null(a) || val_is_null(b))
        return val_is_null(a) && val_is_null(b);
    if (is_number(a) && is_number(b))
        return compare_numbers(a, b) == 0;
    Value n;
    if (is_number(a) && b.kind == V_TEXT)
        return text_number(val_text_view(b), &n) && compare_numbers(a, n) == 0;
    if (a.kind == V_TEXT && is_number(b))
        return text_number(val_text_view(a), &n) && compare_numbers(n, b) == 0;
    if (is_container(a) && is_container(b))
        return containers_equal(a, b, same_at, w);
    if (a.kind != b.kind)
        return false;
    if (a.kind == V_BOOL)
        return a.b == b.b;
    return a.kind == V_TEXT ? text_eq(val_text_view(a), val_text_view(b)) : a.obj == b.obj;
}

bool val_same(Value a, Value b)
{
    Walked w;
    return same_at(a, b, walk_begin(&w, a, b));
}

bool val_loose_eq(Value a, Value b)
{
    if (!val_is_null(a) && !val_is_null(b) && (a.kind == V_BOOL || b.kind == V_BOOL))
        return val_truthy(a) == val_truthy(b);
    Walked w;
    return same_at(a, b, walk_begin(&w, a, b));
}

static bool strict_at(Value a, Value b, Walked *w)
{
    if (val_is_null(a) || val_is_null(b))
        return val_is_null(a) && val_is_null(b);
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case V_BOOL: return a.b == b.b;
    case V_INT: return a.i == b.i;
    case V_DEC: return compare_numbers(a, b) == 0;
    case V_TEXT: return text_eq(val_text_view(a), val_text_view(b));
    case V_LIST:
    case V_MAP: return containers_equal(a, b, strict_at, w);
    default: return a.obj == b.obj;
    }
}

bool val_strict_eq(Value a, Value b)
{
    Walked w;
    return strict_at(a, b, walk_begin(&w, a, b));
}

/* ---- order ---- */

static int compare_at(Value a, Value b, Walked *w);

static int compare_containers(Value a, Value b, Walked *w)
{
    uint32_t left = val_count(a), right = val_count(b);
    if (left != right)
        return left < right ? -1 : 1;
    if (w->depth > VALUE_MAX_DEPTH || a.obj == b.obj || pair_known(w, a.obj, b.obj))
        return 0;
    w->depth++;
    uint32_t at_a = 0, at_b = 0;
    for (uint32_t i = 0; i < left; i++) {
        Value x = a.kind == V_LIST ? list_at(a.list, i) : map_walk(a.map, &at_a)->value;
        Value y = b.kind == V_LIST ? list_at(b.list, i) : map_walk(b.map, &at_b)->value;
        int order = compare_at(x, y, w);
        if (order) {
            w->depth--;
            return order;
        }
    }
    w->depth--;
    pair_note(w, a.obj, b.obj);
    return 0;
}

/* One number, one text that may be numeric. */
static int compare_number_text(Value number, Value text)
{
    Value n;
    if (text_number(val_text_view(text), &n))
        return compare_numbers(number, n);
    char buf[NUM_TEXT_MAX];
    size_t len = number.kind == V_INT ? num_write_int(number.i, buf) : num_write_dec(number.d, buf);
    return text_cmp((Text){buf, len}, val_text_view(text));
}

static int rank(Value v)
{
    return is_container(v) ? 1 : v.kind == V_HANDLE ? 2 : 0;
}

static int compare_at(Value a, Value b, Walked *w)
{
    if (val_is_null(a) || val_is_null(b))
        return (int)val_is_null(b) - (int)val_is_null(a);
    if (a.kind == V_BOOL || b.kind == V_BOOL)
        return (int)val_truthy(a) - (int)val_truthy(b);
    if (rank(a) != rank(b))
        return rank(a) < rank(b) ? -1 : 1;
    if (is_container(a))
        return compare_containers(a, b, w);
    if (a.kind == V_HANDLE)
        return a.obj == b.obj ? 0 : (uintptr_t)a.obj < (uintptr_t)b.obj ? -1 : 1;
    if (a.kind == V_TEXT && b.kind == V_TEXT)
        return text_cmp(val_text_view(a), val_text_view(b));
    if (a.kind == V_TEXT)
        return -compare_number_text(b, a);
    return b.kind == V_TEXT ? compare_number_text(a, b) : compare_numbers(a, b);
}

int val_compare(Value a, Value b)
{
    Walked w;
    return compare_at(a, b, walk_begin(&w, a, b));
}
