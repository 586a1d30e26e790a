/* table.h - a chained hash table of entries that begin with a Link; keys are owned by the entries.
 * Not thread-safe. */
#ifndef BACKPLANE_REDIS_TABLE_H
#define BACKPLANE_REDIS_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Link {
    struct Link *next;
    uint64_t hash;
    size_t len;
    const char *key;
} Link;

typedef struct Table {
    Link **slots;
    size_t cap, count; /* cap: a power of two */
} Table;

static inline uint64_t table_hash(const char *key, size_t len)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)key[i]) * 1099511628211u;
    return h ^ h >> 32;
}

static inline Link **table_at(const Table *t, const char *key, size_t len, uint64_t hash)
{
    Link **at = &t->slots[hash & (t->cap - 1)];
    while (*at && ((*at)->hash != hash || (*at)->len != len || memcmp((*at)->key, key, len) != 0))
        at = &(*at)->next;
    return at;
}

static inline Link *table_get(const Table *t, const char *key, size_t len)
{
    return t->cap ? *table_at(t, key, len, table_hash(key, len)) : NULL;
}

static inline bool table_grow(Table *t)
{
    size_t cap = t->cap ? t->cap * 2 : 64;
    Link **slots = calloc(cap, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < t->cap; i++)
        for (Link *l = t->slots[i], *next; l; l = next) {
            next = l->next;
            l->next = slots[l->hash & (cap - 1)];
            slots[l->hash & (cap - 1)] = l;
        }
    free(t->slots);
    t->slots = slots;
    t->cap = cap;
    return true;
}

/** The key is not in the table yet. False = out of memory. */
static inline bool table_put(Table *t, Link *l, const char *key, size_t len)
{
    if (t->count >= t->cap && !table_grow(t))
        return false;
    l->key = key;
    l->len = len;
    l->hash = table_hash(key, len);
    Link **slot = &t->slots[l->hash & (t->cap - 1)];
    l->next = *slot;
    *slot = l;
    t->count++;
    return true;
}

static inline void table_take(Table *t, Link *l)
{
    *table_at(t, l->key, l->len, l->hash) = l->next;
    t->count--;
}

/** Iterate: *at begins at 0. The entry given last may be taken meanwhile. */
static inline Link *table_each(const Table *t, size_t *at, Link **rest)
{
    while (!*rest && *at < t->cap)
        *rest = t->slots[(*at)++];
    Link *l = *rest;
    if (l)
        *rest = l->next;
    return l;
}

#endif
