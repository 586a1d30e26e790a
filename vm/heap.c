/* heap.c - the memory of one request. Small blocks come from size classes carved out of chunks,
 * blocks past SMALL_MAX from the system; both are counted against the cap as the system sees them,
 * so that fragmentation cannot pass it. Thread: the fiber's. */
#include "vm/heap.h"

#include "core/mem.h"
#include "vm/obj.h"

#if defined(__SANITIZE_ADDRESS__)
#define HEAP_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_POISON 1
#endif
#endif
#ifdef HEAP_POISON
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum {
    GRAIN = 16,
    FINE_MAX = 512,   /* up to here one class per 16 bytes */
    SMALL_MAX = 4096, /* up to here four classes per power of two */
    FINE_CLASSES = FINE_MAX / GRAIN,
    CLASSES = FINE_CLASSES + 12,
    CHUNK_MIN = 8 << 10,
    CHUNK_MAX = 256 << 10,
};

typedef struct FreeBlock {
    struct FreeBlock *next;
} FreeBlock;

typedef struct Chunk {
    struct Chunk *next;
    size_t size;
} Chunk;

typedef struct Big {
    struct Big *prev, *next;
} Big;

struct Heap {
    HeapShared shared; /* first: obj.c sees only this */
    FreeBlock *free_lists[CLASSES];
    char *at, *end; /* rest of the newest chunk */
    Chunk *chunks;
    Big big; /* ring */
    size_t live, held, max;
    xs_code error;
};

static_assert(sizeof(Chunk) % GRAIN == 0 && sizeof(Big) % GRAIN == 0, "blocks stay aligned");

HeapShared *heap_shared(Heap *h)
{
    return &h->shared;
}

Heap *heap_new(size_t max_bytes)
{
    Heap *h = mem_zalloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->max = max_bytes;
    h->big.prev = h->big.next = &h->big;
    /* The address is the secret of the map indexes: placement is random, and no reply shows it. */
    h->shared.seed = (uint32_t)(((uint64_t)(uintptr_t)h * 0x9E3779B97F4A7C15u) >> 32);
    return h;
}

void heap_free(Heap *h)
{
    if (!h)
        return;
    obj_free_handles(h);
    for (Big *b = h->big.next, *next; b != &h->big; b = next) {
        next = b->next;
        mem_free(b);
    }
    for (Chunk *c = h->chunks, *next; c; c = next) {
        next = c->next;
        UNPOISON(c, c->size);
        mem_free(c);
    }
    mem_free(h);
}

/* Class of a size in 1..SMALL_MAX; *rounded gets the bytes of a block. */
static unsigned class_of(size_t size, size_t *rounded)
{
    if (size <= FINE_MAX) {
        size_t index = (size + GRAIN - 1) / GRAIN;
        index -= index > 0;
        *rounded = (index + 1) * GRAIN;
        return (unsigned)index;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(size - 1); /* 512 < size: 9, 10 or 11 */
    size_t step = (size_t)1 << (shift - 2), base = (size_t)1 << shift;
    size_t quarter = (size - base + step - 1) / step; /* 1..4 */
    *rounded = base + quarter * step;
    return FINE_CLASSES + (shift - 9) * 4 + (unsigned)quarter - 1;
}

size_t heap_good_size(size_t size)
{
    if (size > SMALL_MAX)
        return size;
    size_t rounded;
    class_of(size, &rounded);
    return rounded;
}

static void *out_of(Heap *h, xs_code code)
{
    h->error = code;
    return NULL;
}

static bool over_cap(const Heap *h, size_t more)
{
    return h->max && (more > h->max || h->held > h->max - more);
}

static bool add_chunk(Heap *h, size_t need)
{
    size_t size = h->held < CHUNK_MIN ? CHUNK_MIN : h->held > CHUNK_MAX ? CHUNK_MAX : h->held;
    size &= ~(size_t)(GRAIN - 1);
    if (over_cap(h, size)) { /* the last, smaller one */
        size = h->max > h->held ? (h->max - h->held) & ~(size_t)(GRAIN - 1) : 0;
        if (size < need + sizeof(Chunk)) {
            h->error = XS_E_MEMORY;
            return false;
        }
    }
    Chunk *c = mem_alloc(size);
    if (!c) {
        h->error = XS_E_NOMEM;
        return false;
    }
    *c = (Chunk){h->chunks, size};
    h->chunks = c;
    h->held += size;
    h->at = (char *)(c + 1);
    h->end = (char *)c + size;
    POISON(h->at, size - sizeof *c);
    return true;
}

static void *big_alloc(Heap *h, size_t size)
{
    if (size > SIZE_MAX / 2 || over_cap(h, size + sizeof(Big)))
        return out_of(h, XS_E_MEMORY);
    Big *b = mem_alloc(size + sizeof *b);
    if (!b)
        return out_of(h, XS_E_NOMEM);
    *b = (Big){&h->big, h->big.next};
    b->next->prev = b;
    h->big.next = b;
    h->held += size + sizeof *b;
    h->live += size;
    return b + 1;
}

void *heap_alloc(Heap *h, size_t size)
{
    if (size > SMALL_MAX)
        return big_alloc(h, size);
    size_t rounded;
    unsigned cls = class_of(size, &rounded);
    void *p = h->free_lists[cls];
    if (LIKELY(p != NULL)) {
        UNPOISON(p, rounded);
        h->free_lists[cls] = ((FreeBlock *)p)->next;
    } else {
        if ((size_t)(h->end - h->at) < rounded && !add_chunk(h, rounded))
            return NULL;
        p = h->at;
        h->at += rounded;
        UNPOISON(p, rounded);
    }
    h->live += rounded;
    return p;
}

void heap_release(Heap *h, void *p, size_t size)
{
    if (!p)
        return;
    if (size > SMALL_MAX) {
        Big *b = (Big *)p - 1;
        b->prev->next = b->next;
        b->next->prev = b->prev;
        h->held -= size + sizeof *b;
        h->live -= size;
        mem_free(b);
        return;
    }
    size_t rounded;
    unsigned cls = class_of(size, &rounded);
    FreeBlock *f = p;
    f->next = h->free_lists[cls];
    h->free_lists[cls] = f;
    h->live -= rounded;
    POISON(p, rounded);
}

static void *big_realloc(Heap *h, void *p, size_t old_size, size_t size)
{
    if (size > SIZE_MAX / 2 || (size > old_size && over_cap(h, size - old_size)))
        return out_of(h, XS_E_MEMORY);
    h->shared.copied += old_size; /* at most: large blocks may stay where they are */
    Big *b = mem_realloc((Big *)p - 1, size + sizeof *b);
    if (!b)
        return out_of(h, XS_E_NOMEM);
    b->prev->next = b; /* it may have moved */
    b->next->prev = b;
    h->held += size - old_size;
    h->live += size - old_size;
    return b + 1;
}

void *heap_realloc(Heap *h, void *p, size_t old_size, size_t size)
{
    if (!p)
        return heap_alloc(h, size);
    if (old_size > SMALL_MAX && size > SMALL_MAX)
        return big_realloc(h, p, old_size, size);
    if (heap_good_size(old_size) == heap_good_size(size))
        return p;
    void *q = heap_alloc(h, size);
    if (!q)
        return NULL;
    memcpy(q, p, old_size < size ? old_size : size);
    h->shared.copied += old_size;
    heap_release(h, p, old_size);
    return q;
}

uint64_t heap_copied(const Heap *h)
{
    return h->shared.copied;
}

size_t heap_bytes(const Heap *h)
{
    return h->live;
}

size_t heap_limit(const Heap *h)
{
    return h->max;
}

xs_code heap_error(const Heap *h)
{
    return h->error;
}

bool heap_fail(const Heap *h, xs_error *err)
{
    xs_code code = h->error ? h->error : XS_E_NOMEM;
    return xs_fail(err, code, XS_NO_POS, "%s", xs_code_get(code)->text);
}
