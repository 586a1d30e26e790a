/* pack.c - constants of a bundle as immortal values: never counted, never freed, shared by all
 * threads. */
#include "vm/limits.h"
#include "vm/obj.h"
#include "vm/program.h"

enum { IMMORTAL_SEED = 0x51ed2701 };

static TextObj *pack_text(Arena *a, Text t)
{
    TextObj *obj = arena_alloc(a, sizeof *obj + t.len + 1);
    if (!obj)
        return NULL;
    obj->head.refs = REFS_IMMORTAL;
    obj->len = obj->cap = t.len;
    if (t.len)
        memcpy(obj->data, t.ptr, t.len);
    obj->hash = key_hash(t); /* now: shared objects are never written later */
    return obj;
}

static bool pack_at(Arena *a, const Const *c, Value *out, unsigned depth);

static bool pack_list(Arena *a, const Const *c, Value *out, unsigned depth)
{
    ListObj *l = ARENA_NEW(a, ListObj);
    if (!l)
        return false;
    l->head.refs = REFS_IMMORTAL;
    l->len = l->cap = c->count;
    l->items = c->count ? ARENA_ARRAY(a, Value, c->count) : NULL;
    if (c->count && !l->items)
        return false;
    for (uint32_t i = 0; i < c->count; i++)
        if (!pack_at(a, c->items[i], &l->items[i], depth + 1))
            return false;
    *out = val_obj(V_LIST, l);
    return true;
}

static bool pack_index(Arena *a, MapObj *m)
{
    if (m->used <= MAP_LINEAR_MAX)
        return true;
    m->index_cap = 32;
    while (m->index_cap < m->used * 2)
        m->index_cap *= 2;
    m->index = ARENA_ARRAY(a, uint32_t, m->index_cap);
    if (!m->index)
        return false;
    map_fill_index(m);
    return true;
}

static bool pack_map(Arena *a, const Const *c, Value *out, unsigned depth)
{
    MapObj *m = ARENA_NEW(a, MapObj);
    if (!m)
        return false;
    m->head.refs = REFS_IMMORTAL;
    m->seed = IMMORTAL_SEED;
    m->count = m->used = m->cap = c->count;
    m->entries = c->count ? ARENA_ARRAY(a, MapEntry, c->count) : NULL;
    if (c->count && !m->entries)
        return false;
    for (uint32_t i = 0; i < c->count; i++) {
        m->entries[i].key = pack_text(a, c->pairs[i].key);
        if (!m->entries[i].key || !pack_at(a, c->pairs[i].value, &m->entries[i].value, depth + 1))
            return false;
    }
    *out = val_obj(V_MAP, m);
    return pack_index(a, m);
}

static bool pack_at(Arena *a, const Const *c, Value *out, unsigned depth)
{
    if (depth > CONST_MAX_DEPTH)
        return false;
    *out = val_null();
    switch (c->kind) {
    case C_NULL: return true;
    case C_BOOL: *out = val_bool(c->b); return true;
    case C_INT: *out = val_int(c->i); return true;
    case C_DEC: *out = val_dec(c->d); return true;
    case C_TEXT: {
        TextObj *obj = pack_text(a, c->text);
        *out = val_obj(V_TEXT, obj);
        return obj != NULL;
    }
    case C_LIST: return pack_list(a, c, out, depth);
    case C_MAP: return pack_map(a, c, out, depth);
    }
    return true;
}

bool const_pack(Arena *a, const Const *c, Value *out)
{
    return pack_at(a, c, out, 0);
}
