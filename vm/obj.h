/* obj.h - inside of the objects, for the files of this folder. Other code uses vm/value.h. */
#ifndef VM_OBJ_H
#define VM_OBJ_H

#include "vm/heap.h"

/* What obj.c keeps in a heap. */
typedef struct HandleLink {
    struct HandleLink *prev, *next;
} HandleLink;

typedef struct HeapShared {
    HandleLink *handles; /* live ones, so that heap_free can end them */
    uintptr_t dead;      /* objects waiting to be torn down, linked through their heads */
    bool sweeping;
    uint64_t copied; /* heap_copied */
    uint32_t seed;
} HeapShared;

HeapShared *heap_shared(Heap *h);
/** Run the free functions of all live handles. */
void obj_free_handles(Heap *h);

enum { MAP_LINEAR_MAX = 8, MAP_NOT_FOUND = -1 };

/** Entry number of a key, or MAP_NOT_FOUND. hash 0 = not known. */
int64_t map_index_of(const MapObj *m, Text key, uint64_t hash);
uint64_t key_hash(Text key);

/* True when entry number i of m has this key. */
static inline bool map_entry_is(const MapObj *m, uint32_t i, const TextObj *key)
{
    if (i >= m->used)
        return false;
    const TextObj *k = m->entries[i].key;
    return k == key || (k && k->len == key->len && memcmp(k->data, key->data, key->len) == 0);
}

/** Fill a zeroed index (index_cap a power of two > 2 * used) over the entries. For constants. */
void map_fill_index(MapObj *m);

/** Slot of an existing member of a unique map, or NULL. Valid until the map changes. */
Value *map_slot(MapObj *m, Text key);

/* Shared empty containers; immortal, so nobody counts or changes them. */
Value list_empty(void);
Value map_empty(void);

static inline Value val_or_null(Value v)
{
    return v.kind == V_UNSET ? val_null() : v;
}

/** Text form of a scalar without allocating: a view of v or of buf (32 bytes). Errors:
 * XS_E_NOT_TEXT. */
bool val_scalar_text(Value v, char buf[], Text *out, xs_error *err);

/* Nesting past this compares as unequal and does not print: it bounds the C stack, not programs. */
enum { VALUE_MAX_DEPTH = 4096 };

#endif
