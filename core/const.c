/* const.c - building and reading the immutable data tree. A list or map under construction keeps
 * its capacity in a hidden cell before its elements, so that a finished node costs nothing extra to
 * read. */
#include "core/const.h"

#include <limits.h>

const Const const_null = {.kind = C_NULL};
const Const const_true = {.kind = C_BOOL, .b = true};
const Const const_false = {.kind = C_BOOL, .b = false};

enum { FIRST_CAP = 4, CAP_CELL = 16 /* keeps the elements aligned */ };

static Const *new_node(Arena *a, ConstKind kind)
{
    Const *c = ARENA_NEW(a, Const);
    if (c)
        c->kind = kind;
    return c;
}

Const *const_int(Arena *a, int64_t n)
{
    Const *c = new_node(a, C_INT);
    if (c)
        c->i = n;
    return c;
}

Const *const_dec(Arena *a, double d)
{
    Const *c = new_node(a, C_DEC);
    if (c)
        c->d = d;
    return c;
}

Const *const_text(Arena *a, Text t)
{
    Const *c = new_node(a, C_TEXT);
    if (c) {
        c->text = arena_text(a, t);
        if (!c->text.ptr)
            return NULL;
    }
    return c;
}

const Const *const_bool(bool b)
{
    return b ? &const_true : &const_false;
}

static void *new_elements(Arena *a, size_t cap, size_t size)
{
    if (cap > UINT32_MAX)
        return NULL;
    char *block = arena_alloc(a, CAP_CELL + cap * size);
    if (!block)
        return NULL;
    uint32_t cap32 = (uint32_t)cap;
    memcpy(block, &cap32, sizeof cap32);
    return block + CAP_CELL;
}

static uint32_t cap_of(const void *elements)
{
    uint32_t cap = 0;
    if (elements)
        memcpy(&cap, (const char *)elements - CAP_CELL, sizeof cap);
    return cap;
}

Const *const_list(Arena *a, size_t cap)
{
    Const *c = new_node(a, C_LIST);
    if (c && cap && !(c->items = new_elements(a, cap, sizeof *c->items)))
        return NULL;
    return c;
}

Const *const_map(Arena *a, size_t cap)
{
    Const *c = new_node(a, C_MAP);
    if (c && cap && !(c->pairs = new_elements(a, cap, sizeof *c->pairs)))
        return NULL;
    return c;
}

/* Elements with room for one more; NULL when out of memory. */
static void *with_room(Arena *a, void *elements, uint32_t count, size_t size)
{
    uint32_t cap = cap_of(elements);
    if (count < cap)
        return elements;
    size_t next = cap ? (size_t)cap * 2 : FIRST_CAP;
    void *grown = new_elements(a, next, size);
    if (grown && count)
        memcpy(grown, elements, count * size);
    return grown;
}

bool const_push(Arena *a, Const *list, const Const *item)
{
    if (!list || !item)
        return false;
    const Const **items = with_room(a, list->items, list->count, sizeof *items);
    if (!items)
        return false;
    list->items = items;
    items[list->count++] = item;
    return true;
}

static ConstPair *find_pair(const Const *map, Text key)
{
    if (!map || map->kind != C_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->count; i++) {
        if (text_eq(map->pairs[i].key, key))
            return &map->pairs[i];
    }
    return NULL;
}

bool const_set(Arena *a, Const *map, Text key, const Const *value)
{
    if (!map || !value)
        return false;
    ConstPair *same = find_pair(map, key);
    if (same) {
        same->value = value;
        return true;
    }
    Text copy = arena_text(a, key);
    return copy.ptr && const_append(a, map, copy, value);
}

bool const_append(Arena *a, Const *map, Text key, const Const *value)
{
    if (!map || !value)
        return false;
    ConstPair *pairs = with_room(a, map->pairs, map->count, sizeof *pairs);
    if (!pairs)
        return false;
    map->pairs = pairs;
    pairs[map->count++] = (ConstPair){key, value};
    return true;
}

bool const_set_text(Arena *a, Const *map, const char *key, Text value)
{
    return const_set(a, map, text_from(key), const_text(a, value));
}

bool const_set_int(Arena *a, Const *map, const char *key, int64_t value)
{
    return const_set(a, map, text_from(key), const_int(a, value));
}

bool const_set_bool(Arena *a, Const *map, const char *key, bool value)
{
    return const_set(a, map, text_from(key), const_bool(value));
}

const Const *const_get(const Const *map, const char *key)
{
    return const_find(map, text_from(key));
}

const Const *const_find(const Const *map, Text key)
{
    const ConstPair *pair = find_pair(map, key);
    return pair ? pair->value : NULL;
}

Text const_text_of(const Const *c, Text otherwise)
{
    return c && c->kind == C_TEXT ? c->text : otherwise;
}

int64_t const_int_of(const Const *c, int64_t otherwise)
{
    const double edge = 9223372036854775808.0; /* 2^63 */
    if (c && c->kind == C_INT)
        return c->i;
    if (c && c->kind == C_DEC && c->d >= -edge && c->d < edge) {
        int64_t n = (int64_t)c->d;
        if ((double)n >= c->d && (double)n <= c->d)
            return n;
    }
    return otherwise;
}

double const_dec_of(const Const *c, double otherwise)
{
    if (c && c->kind == C_DEC)
        return c->d;
    return c && c->kind == C_INT ? (double)c->i : otherwise;
}

bool const_bool_of(const Const *c, bool otherwise)
{
    return c && c->kind == C_BOOL ? c->b : otherwise;
}

static bool equal_maps(const Const *a, const Const *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        const Const *other = i < b->count && text_eq(a->pairs[i].key, b->pairs[i].key)
                                 ? b->pairs[i].value
                                 : const_find(b, a->pairs[i].key);
        if (!other || !const_equal(a->pairs[i].value, other))
            return false;
    }
    return true;
}

bool const_equal(const Const *a, const Const *b)
{
    if (a == b)
        return true;
    if (!a || !b || a->kind != b->kind)
        return false;
    switch (a->kind) {
    case C_NULL: return true;
    case C_BOOL: return a->b == b->b;
    case C_INT: return a->i == b->i;
    case C_DEC: return memcmp(&a->d, &b->d, sizeof a->d) == 0;
    case C_TEXT: return text_eq(a->text, b->text);
    case C_LIST:
        if (a->count != b->count)
            return false;
        for (uint32_t i = 0; i < a->count; i++) {
            if (!const_equal(a->items[i], b->items[i]))
                return false;
        }
        return true;
    case C_MAP: return a->count == b->count && equal_maps(a, b);
    }
    return false;
}
