/* arena.c - bump allocation from doubling blocks; freed whole. */
#include "core/arena.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/mem.h"

struct ArenaBlock {
    ArenaBlock *next;
    size_t size;
};

enum {
    ARENA_ALIGN = 16,
    ARENA_FIRST_BLOCK = 512, /* a request with few headers fits two blocks */
    ARENA_LAST_BLOCK = 1 << 20,
    ARENA_HEADER = (sizeof(ArenaBlock) + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1)
};

void arena_init(Arena *a, size_t max_bytes)
{
    *a = (Arena){.max_bytes = max_bytes};
}

void arena_deinit(Arena *a)
{
    for (ArenaBlock *b = a->head; b;) {
        ArenaBlock *next = b->next;
        mem_free(b);
        b = next;
    }
    *a = (Arena){.max_bytes = a->max_bytes};
}

ArenaMark arena_mark(const Arena *a)
{
    return (ArenaMark){a->head, a->at, a->end, a->bytes};
}

void arena_rewind(Arena *a, ArenaMark to)
{
    while (a->head != to.head) {
        ArenaBlock *next = a->head->next;
        mem_free(a->head);
        a->head = next;
    }
    a->at = to.at;
    a->end = to.end;
    a->bytes = to.bytes;
}

static bool add_block(Arena *a, size_t size)
{
    size_t block = a->head ? a->head->size * 2 : ARENA_FIRST_BLOCK;
    if (block > ARENA_LAST_BLOCK)
        block = ARENA_LAST_BLOCK;
    if (size >
        block - ARENA_HEADER) { /* a large one gets its own block and the current one stays */
        if (size > PTRDIFF_MAX - ARENA_HEADER)
            return false;
        block = size + ARENA_HEADER;
    }
    ArenaBlock *b = mem_alloc(block);
    if (!b)
        return false;
    b->next = a->head;
    b->size = block;
    a->head = b;
    a->at = (char *)b + ARENA_HEADER;
    a->end = (char *)b + block;
    return true;
}

void *arena_alloc(Arena *a, size_t size)
{
    if (size > PTRDIFF_MAX - ARENA_ALIGN)
        return NULL;
    size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (rounded == 0)
        rounded = ARENA_ALIGN;
    if (a->max_bytes && (rounded > a->max_bytes || a->bytes > a->max_bytes - rounded))
        return NULL;
    if (rounded > (size_t)(a->end - a->at) && !add_block(a, rounded))
        return NULL;
    void *p = a->at;
    a->at += rounded;
    a->bytes += rounded;
    return memset(p, 0, rounded);
}

Text arena_text(Arena *a, Text t)
{
    if (t.len == SIZE_MAX)
        return (Text){0};
    char *copy = arena_alloc(a, t.len + 1);
    if (!copy)
        return (Text){0};
    if (t.len)
        memcpy(copy, t.ptr, t.len);
    return (Text){copy, t.len};
}

Text arena_printf(Arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    Text out = {0};
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p) {
        vsnprintf(p, (size_t)n + 1, fmt, again);
        out = (Text){p, (size_t)n};
    }
    va_end(again);
    return out;
}
