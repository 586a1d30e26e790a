/* expiring.c - a map, and a list in order of insertion, which is the order of expiry. */
#include "host/expiring.h"

#include "core/map.h"
#include "core/mem.h"

typedef struct Entry {
    struct Entry *next, *prev;
    void *value;
    int64_t expires_ms;
    size_t len;
    char key[];
} Entry;

struct Expiring {
    Map map;
    Entry *oldest, *newest;
    int64_t ttl_ms;
    size_t max;
    void (*free_value)(void *value);
};

Expiring *expiring_new(int64_t ttl_ms, size_t max, void (*free_value)(void *value))
{
    Expiring *e = mem_zalloc(1, sizeof *e);
    if (e)
        *e = (Expiring){.ttl_ms = ttl_ms, .max = max, .free_value = free_value};
    return e;
}

static void *unlink_entry(Expiring *e, Entry *entry)
{
    void *value = entry->value;
    map_take(&e->map, (Text){entry->key, entry->len});
    *(entry->prev ? &entry->prev->next : &e->oldest) = entry->next;
    *(entry->next ? &entry->next->prev : &e->newest) = entry->prev;
    mem_free(entry);
    return value;
}

static void drop(Expiring *e, Entry *entry)
{
    void *value = unlink_entry(e, entry);
    if (value && e->free_value)
        e->free_value(value);
}

static void purge(Expiring *e, int64_t now_ms)
{
    while (e->oldest && e->oldest->expires_ms <= now_ms)
        drop(e, e->oldest);
}

void expiring_free(Expiring *e)
{
    if (!e)
        return;
    while (e->oldest)
        drop(e, e->oldest);
    map_deinit(&e->map);
    mem_free(e);
}

bool expiring_put(Expiring *e, Text key, void *value, int64_t now_ms)
{
    purge(e, now_ms);
    bool known = map_get(&e->map, key) != NULL;
    while (!known && e->oldest && e->map.count >= e->max)
        drop(e, e->oldest);
    Entry *entry = known ? NULL : mem_alloc(sizeof *entry + key.len);
    if (entry) {
        *entry = (Entry){
            .prev = e->newest, .value = value, .expires_ms = now_ms + e->ttl_ms, .len = key.len};
        memcpy(entry->key, key.ptr, key.len);
        if (map_put(&e->map, (Text){entry->key, key.len}, entry)) {
            *(e->newest ? &e->newest->next : &e->oldest) = entry;
            e->newest = entry;
            return true;
        }
        mem_free(entry);
    }
    if (value && e->free_value)
        e->free_value(value);
    return false;
}

void *expiring_get(Expiring *e, Text key, int64_t now_ms)
{
    purge(e, now_ms);
    const Entry *entry = map_get(&e->map, key);
    return entry ? entry->value : NULL;
}

void *expiring_take(Expiring *e, Text key, int64_t now_ms)
{
    purge(e, now_ms);
    Entry *entry = map_get(&e->map, key);
    return entry ? unlink_entry(e, entry) : NULL;
}
