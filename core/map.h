/* map.h - hash map from text to pointer, open addressing. Keys are borrowed and must outlive the
 * map. */
#ifndef CORE_MAP_H
#define CORE_MAP_H

#include "core/base.h"

typedef struct MapSlot {
    Text key; /* ptr NULL = free slot */
    uint64_t hash;
    void *value;
} MapSlot;

typedef struct Map {
    MapSlot *slots;
    size_t cap, count;
} Map;

void map_deinit(Map *m); /* frees the table, not the values */
void *map_get(const Map *m, Text key);
/** Insert or replace; false when out of memory. */
XS_MUST_CHECK bool map_put(Map *m, Text key, void *value);
/** Remove and return the value, NULL when absent. */
void *map_take(Map *m, Text key); /* not map_remove: vm/value.h has that name */
/** Iterate: `i` starts at 0; returns the next used slot or NULL. Order is unspecified. */
MapSlot *map_next(const Map *m, size_t *i);

#endif
