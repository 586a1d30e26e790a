/* helpers.c - arguments, paths, walks and membership sets of the filters. */
#include "stdlib/filters/helpers.h"

#include "core/num.h"
#include "core/tables.h"
#include "core/text.h"
#include "stdlib/filters/expr.h"

/* ---- arguments and results ---- */

bool flt_missing(Call *c, uint32_t i)
{
    const FilterInfo *f = c->site_data ? NULL : c->row;
    const char *name = f && i && i - 1 < f->nargs ? f->args[i - 1].name : "value";
    return call_fail(c, XS_E_MISSING_ARG, "Missing param: %s", name);
}

bool flt_value(Call *c, uint32_t i, Value *out)
{
    Value v = call_arg(c, i);
    if (v.kind == V_UNSET) {
        if (i)
            return flt_missing(c, i);
        v = val_null();
    }
    *out = v;
    return true;
}

bool flt_memory(Call *c)
{
    if (heap_error(c->heap) == XS_OK) /* a size no heap could hold */
        return call_fail(c, XS_E_LIMIT, NULL);
    return heap_fail(c->heap, c->err);
}

Buf flt_buf(void)
{
    return (Buf){.max = FILTER_TEXT_MAX};
}

bool flt_return_buf(Call *c, Buf *b)
{
    bool ok = b->failed ? call_fail(c, XS_E_LIMIT, NULL) : call_return_text(c, buf_view(b));
    buf_deinit(b);
    return ok;
}

Value flt_take_in(Call *c)
{
    return c->site_data ? val_ref(call_arg(c, 0)) : call_take_in(c); /* a statement owns nothing */
}

bool flt_take_list(Call *c, Value *out)
{
    Value v;
    if (!call_list(c, 0, &v))
        return false;
    Value taken = flt_take_in(c);
    if (taken.kind != V_LIST) { /* null or {} */
        val_unref(c->heap, taken);
        taken = list_new(c->heap, 0);
        if (taken.kind == V_UNSET)
            return flt_memory(c);
    }
    *out = taken;
    return true;
}

bool flt_give_back(Call *c, Value v)
{
    if (c->own && c->in_slot && c->in_slot->kind == V_UNSET)
        *c->in_slot = v;
    else
        val_unref(c->heap, v);
    return c->err->code == XS_OK ? flt_memory(c) : false;
}

/* ---- paths ---- */

bool flt_path(Call *c, uint32_t i, PathArg *out)
{
    Value v;
    if (!flt_value(c, i, &v))
        return false;
    if (v.kind != V_TEXT && v.kind != V_INT && v.kind != V_DEC)
        return call_bad_arg(c, i);
    out->path = v;
    out->condition = v.kind == V_TEXT && path_has_condition(val_text_view(v));
    return true;
}

bool flt_path_opt(Call *c, uint32_t i, PathArg *out)
{
    Value v = call_arg(c, i);
    *out = (PathArg){.path = val_unset()};
    if (val_is_null(v) || (v.kind == V_TEXT && !v.text->len))
        return true;
    return flt_path(c, i, out);
}

static bool has_whole_key(Value v, const PathArg *p)
{
    return v.kind == V_MAP && p->path.kind == V_TEXT && map_find(v.map, val_text_view(p->path));
}

bool flt_at(Call *c, const PathArg *p, Value v, Value *out)
{
    *out = val_unset(); /* callers release it in any case */
    if (p->path.kind == V_UNSET)
        *out = val_ref(v);
    else if (p->condition && !has_whole_key(v, p))
        return path_read_conditions(c, v, val_text_view(p->path), out);
    else if (p->path.kind == V_TEXT)
        *out = val_path(c->heap, v, val_text_view(p->path), c->err);
    else
        *out = val_step(c->heap, v, p->path, c->err);
    return out->kind != V_UNSET || c->err->code == XS_OK;
}

Value flt_path_keys(Call *c, const PathArg *p, Value root)
{
    if (p->path.kind == V_TEXT && !has_whole_key(root, p))
        return val_split_path(c->heap, val_text_view(p->path), c->err);
    Value keys = list_new(c->heap, 1);
    if (keys.kind == V_LIST && list_push(c->heap, &keys, val_ref(p->path)))
        return keys;
    val_unref(c->heap, keys);
    flt_memory(c);
    return val_unset();
}

Value flt_path_targets(Call *c, const PathArg *p, Value root, bool elements)
{
    if ((p->condition || (elements && p->path.kind == V_TEXT)) && !has_whole_key(root, p))
        return path_targets(c, root, val_text_view(p->path));
    Value keys = flt_path_keys(c, p, root);
    if (keys.kind == V_UNSET)
        return keys;
    Value targets = list_new(c->heap, 1);
    if (targets.kind == V_UNSET)
        val_unref(c->heap, keys);
    else if (list_push(c->heap, &targets, keys))
        return targets;
    val_unref(c->heap, targets);
    flt_memory(c);
    return val_unset();
}

/* ---- walking ---- */

bool walk_next(Walk *w)
{
    if (w->in.kind == V_LIST) {
        if (w->at >= w->in.list->len)
            return false;
        w->pos = w->at;
        w->value = list_at(w->in.list, w->at++);
        return true;
    }
    const MapEntry *e = w->in.kind == V_MAP ? map_walk(w->in.map, &w->at) : NULL;
    if (!e)
        return false;
    w->pos = w->key ? w->pos + 1 : 0;
    w->key = e->key;
    w->value = e->value;
    return true;
}

Value walk_key(const Walk *w)
{
    return w->key ? val_ref(val_obj(V_TEXT, w->key)) : val_int(w->pos);
}

bool walk_put(Heap *h, const Walk *w, Value *out, Value value)
{
    if (out->kind == V_LIST)
        return list_push(h, out, value);
    return map_set(h, out, walk_key(w), value);
}

/* ---- sets ----
 * `same` is not transitive: the number 1 is the same as "1" and as "1.0", which differ. So a
 * numeric text is entered twice, by its bytes and by its value, and no lookup has to compare with
 * all values of one hash. */

enum { TAG_TEXT = 1, TAG_NUMBER, TAG_NUMBER_OF_TEXT, TAG_OTHER };
/* These bound the work on shared, nested containers. */
enum { HASH_DEPTH = 3, HASH_WIDTH = 16, HASH_MEMBERS = 256 };

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return h ^ (h >> 32);
}

/* An int in a decimal coat is the int. */
static Value canonical(Value number)
{
    if (number.kind == V_DEC && number.d >= -9223372036854775808.0 &&
        number.d < 9223372036854775808.0 && (double)(int64_t)number.d == number.d)
        return val_int((int64_t)number.d);
    return number;
}

static uint64_t number_hash(Value canon)
{
    uint64_t bits;
    if (canon.kind == V_INT)
        bits = (uint64_t)canon.i;
    else
        memcpy(&bits, &canon.d, sizeof bits);
    return mix(bits + canon.kind);
}

static bool is_number(Value v)
{
    return v.kind == V_INT || v.kind == V_DEC;
}

static bool numeric_text(Value v, Value *out)
{
    if (v.kind != V_TEXT || !v.text->len || v.text->data[0] > '9' ||
        !text_number(val_text_view(v), out))
        return false;
    *out = canonical(*out);
    return true;
}

/* Equal for values that are `same`, texts by their value when numeric. */
static uint64_t loose_hash(Value v, unsigned depth)
{
    Value n;
    if (is_number(v))
        return number_hash(canonical(v));
    if (numeric_text(v, &n))
        return number_hash(n);
    if (v.kind == V_TEXT)
        return mix(text_hash_keyed(val_text_view(v)));
    if (v.kind == V_BOOL)
        return v.b ? 3 : 5;
    if (v.kind == V_HANDLE)
        return mix((uint64_t)(uintptr_t)v.obj);
    if (v.kind != V_LIST && v.kind != V_MAP)
        return 7;
    uint64_t hash = 11 + val_count(v); /* an empty list equals an empty map */
    uint32_t width = v.kind == V_LIST ? HASH_WIDTH : HASH_MEMBERS;
    if (depth >= HASH_DEPTH || val_count(v) == 0 || (v.kind == V_MAP && val_count(v) > width))
        return mix(hash); /* members have no order, so some of them will not do */
    depth = val_count(v) > HASH_WIDTH ? HASH_DEPTH : depth + 1;
    uint32_t seen = 0;
    for (Walk w = walk_of(v); seen < width && walk_next(&w); seen++) {
        uint64_t part = loose_hash(w.value, depth);
        if (v.kind == V_LIST)
            hash = mix(hash + part);
        else
            hash += mix(part ^ text_hash_keyed((Text){w.key->data, w.key->len}));
    }
    return mix(hash);
}

bool set_init(Set *s, Heap *h, uint32_t n)
{
    uint32_t cap = 16;
    while (cap < 1u << 30 && cap / 2 < n)
        cap *= 2;
    *s = (Set){.heap = h, .cap = cap, .slots = heap_alloc(h, cap * sizeof(SetSlot))};
    if (!s->slots)
        return false;
    memset(s->slots, 0, cap * sizeof(SetSlot));
    return true;
}

void set_deinit(Set *s)
{
    if (s->slots)
        heap_release(s->heap, s->slots, s->cap * sizeof(SetSlot));
    s->slots = NULL;
}

static bool slot_is(const SetSlot *slot, uint64_t hash, uint8_t tag, Value v)
{
    if (slot->hash != hash || slot->tag != tag)
        return false;
    if (tag == TAG_TEXT)
        return text_eq(val_text_view(slot->v), val_text_view(v));
    if (tag == TAG_OTHER)
        return val_same(slot->v, v);
    return slot->v.kind == v.kind && (v.kind == V_INT ? slot->v.i == v.i : slot->v.d == v.d);
}

static SetSlot *find_slot(const Set *s, uint64_t hash, uint8_t tag, Value v)
{
    uint32_t at = (uint32_t)hash & (s->cap - 1);
    while (s->slots[at].hash && !slot_is(&s->slots[at], hash, tag, v))
        at = (at + 1) & (s->cap - 1);
    return &s->slots[at];
}

static bool has_tagged(const Set *s, uint64_t hash, uint8_t tag, Value v)
{
    return find_slot(s, hash | 1, tag, v)->hash != 0;
}

static bool grow(Set *s)
{
    Set bigger;
    if (!set_init(&bigger, s->heap, s->cap))
        return false;
    for (uint32_t i = 0; i < s->cap; i++) {
        const SetSlot *old = &s->slots[i];
        if (old->hash)
            *find_slot(&bigger, old->hash, old->tag, old->v) = *old;
    }
    bigger.count = s->count;
    set_deinit(s);
    *s = bigger;
    return true;
}

static bool add_tagged(Set *s, uint64_t hash, uint8_t tag, Value v)
{
    if (s->count >= s->cap / 2 && !grow(s))
        return false;
    SetSlot *slot = find_slot(s, hash | 1, tag, v);
    if (slot->hash)
        return true;
    *slot = (SetSlot){hash | 1, tag, v};
    s->count++;
    return true;
}

bool set_has(const Set *s, Value v)
{
    Value n;
    if (is_number(v)) {
        n = canonical(v);
        uint64_t hash = number_hash(n);
        return has_tagged(s, hash, TAG_NUMBER, n) || has_tagged(s, hash, TAG_NUMBER_OF_TEXT, n);
    }
    if (v.kind == V_TEXT)
        return has_tagged(s, mix(text_hash_keyed(val_text_view(v))), TAG_TEXT, v) ||
               (numeric_text(v, &n) && has_tagged(s, number_hash(n), TAG_NUMBER, n));
    return has_tagged(s, loose_hash(v, 0), TAG_OTHER, v);
}

bool set_add(Set *s, Value v)
{
    Value n;
    if (is_number(v)) {
        n = canonical(v);
        return add_tagged(s, number_hash(n), TAG_NUMBER, n);
    }
    if (v.kind == V_TEXT)
        return add_tagged(s, mix(text_hash_keyed(val_text_view(v))), TAG_TEXT, v) &&
               (!numeric_text(v, &n) || add_tagged(s, number_hash(n), TAG_NUMBER_OF_TEXT, n));
    return add_tagged(s, loose_hash(v, 0), TAG_OTHER, v);
}

bool set_add_all(Set *s, Value container)
{
    for (Walk w = walk_of(container); walk_next(&w);)
        if (!set_add(s, w.value))
            return false;
    return true;
}

bool flt_contains_same(Value container, Value v)
{
    for (Walk w = walk_of(container); walk_next(&w);)
        if (val_same(w.value, v))
            return true;
    return false;
}
