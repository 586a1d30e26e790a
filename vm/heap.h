/* heap.h - the memory of one request: size-class free lists in chunks, capped, freed whole.
 * Thread: the fiber's. */
#ifndef VM_HEAP_H
#define VM_HEAP_H

#include "vm/value.h"

Heap *heap_new(size_t max_bytes); /* 0 = no cap; NULL when out of memory */
void heap_free(Heap *h); /* frees every object at once (handles' free functions run first) */
XS_MUST_CHECK void *heap_alloc(Heap *h, size_t size); /* NULL: heap_error() says why */
XS_MUST_CHECK void *heap_realloc(Heap *h, void *p, size_t old_size, size_t size);
void heap_release(Heap *h, void *p, size_t size);
size_t heap_bytes(const Heap *h); /* in live objects, rounded to their size classes */
size_t heap_good_size(
    size_t size); /* what an allocation of size really gets: room to grow for free */
/** Bytes that changes of texts, lists and objects have moved or copied so far: what they cost
 * beyond their instructions. */
uint64_t heap_copied(const Heap *h);
size_t heap_limit(const Heap *h);  /* 0 = none */
xs_code heap_error(const Heap *h); /* XS_OK, XS_E_MEMORY (cap) or XS_E_NOMEM */
/** Fill err from heap_error() and return false. */
bool heap_fail(const Heap *h, xs_error *err);

#endif
