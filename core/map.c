/* map.c - open addressing with linear probing; deletion shifts followers back, so no tombstones. */
#include "core/map.h"

#include "core/mem.h"
#include "core/text.h"

enum { MAP_FIRST_CAP = 16 };

void map_deinit(Map *m)
{
    mem_free(m->slots);
    *m = (Map){0};
}

/* The slot of the key or the free slot where it would go. cap > 0 and one slot is always free. */
static MapSlot *find_slot(const Map *m, Text key, uint64_t hash)
{
    size_t mask = m->cap - 1, i = hash & mask;
    while (m->slots[i].key.ptr) {
        if (m->slots[i].hash == hash && text_eq(m->slots[i].key, key))
            break;
        i = (i + 1) & mask;
    }
    return &m->slots[i];
}

void *map_get(const Map *m, Text key)
{
    if (m->count == 0)
        return NULL;
    MapSlot *slot = find_slot(m, key, text_hash_keyed(key));
    return slot->key.ptr ? slot->value : NULL;
}

static bool resize(Map *m, size_t cap)
{
    Map next = {mem_zalloc(cap, sizeof(MapSlot)), cap, m->count};
    if (!next.slots)
        return false;
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].key.ptr)
            *find_slot(&next, m->slots[i].key, m->slots[i].hash) = m->slots[i];
    }
    mem_free(m->slots);
    *m = next;
    return true;
}

bool map_put(Map *m, Text key, void *value)
{
    if (!key.ptr)
        key = TEXT("");
    uint64_t hash = text_hash_keyed(key);
    if (m->count) {
        MapSlot *slot = find_slot(m, key, hash);
        if (slot->key.ptr) {
            slot->key = key; /* the older key may die with the older value */
            slot->value = value;
            return true;
        }
    }
    if (m->count + 1 > m->cap / 4 * 3 && !resize(m, m->cap ? m->cap * 2 : MAP_FIRST_CAP))
        return false;
    *find_slot(m, key, hash) = (MapSlot){key, hash, value};
    m->count++;
    return true;
}

void *map_take(Map *m, Text key)
{
    if (m->count == 0)
        return NULL;
    MapSlot *slot = find_slot(m, key, text_hash_keyed(key));
    if (!slot->key.ptr)
        return NULL;
    void *value = slot->value;
    size_t mask = m->cap - 1, hole = (size_t)(slot - m->slots);
    for (size_t i = (hole + 1) & mask; m->slots[i].key.ptr; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) { /* its home is not behind the hole */
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (MapSlot){0};
    m->count--;
    return value;
}

MapSlot *map_next(const Map *m, size_t *i)
{
    while (*i < m->cap) {
        MapSlot *slot = &m->slots[(*i)++];
        if (slot->key.ptr)
            return slot;
    }
    return NULL;
}
