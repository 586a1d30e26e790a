/* guard.c - counts per address in fixed windows. All counts go when a window ends, so that memory
 * is bounded by the addresses of one window; past a number of them strangers share one count. */
#include "host/guard.h"

#include "core/arena.h"
#include "core/map.h"
#include "core/mem.h"

enum { ADDRESSES_MAX = 65536 };

struct Guard {
    uint32_t max;
    int64_t window_ms, ends_ms;
    Arena arena;
    Map counts; /* address → uint32_t */
    uint32_t others;
};

Guard *guard_new(uint32_t max, int64_t window_ms)
{
    Guard *g = mem_zalloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->max = max;
    g->window_ms = window_ms;
    arena_init(&g->arena, 0);
    return g;
}

static void forget(Guard *g)
{
    map_deinit(&g->counts);
    arena_deinit(&g->arena);
    arena_init(&g->arena, 0);
    g->counts = (Map){0};
    g->others = 0;
}

void guard_free(Guard *g)
{
    if (!g)
        return;
    forget(g);
    mem_free(g);
}

static uint32_t *count_of(Guard *g, Text address)
{
    uint32_t *n = map_get(&g->counts, address);
    if (n || g->counts.count >= ADDRESSES_MAX)
        return n ? n : &g->others;
    Text key = arena_text(&g->arena, address);
    n = key.ptr ? ARENA_NEW(&g->arena, uint32_t) : NULL;
    return n && map_put(&g->counts, key, n) ? n : &g->others;
}

int64_t guard_take(Guard *g, Text address, int64_t now_ms)
{
    if (now_ms >= g->ends_ms || now_ms < g->ends_ms - g->window_ms) {
        forget(g);
        g->ends_ms = now_ms + g->window_ms;
    }
    uint32_t *n = count_of(g, address);
    if (*n < g->max) {
        ++*n;
        return 0;
    }
    return (g->ends_ms - now_ms + 999) / 1000;
}
