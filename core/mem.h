/* mem.h - the only caller of malloc: counts bytes and can be told to fail (torture tests).
 * Thread: any; counters are atomic. Abortless: every function returns NULL when memory is out. */
#ifndef CORE_MEM_H
#define CORE_MEM_H

#include "core/base.h"

XS_MUST_CHECK void *mem_alloc(size_t size);                 /* not zeroed */
XS_MUST_CHECK void *mem_zalloc(size_t count, size_t size);  /* zeroed, overflow-checked */
XS_MUST_CHECK void *mem_realloc(void *p, size_t size);      /* on failure p stays valid */
void mem_free(void *p);                                     /* NULL is fine */
XS_MUST_CHECK char *mem_strndup(const char *s, size_t len); /* adds a NUL */

/** Bytes in use now (usable sizes), whole process. */
size_t mem_in_use(void);

/** Fail the n-th allocation from now on this thread (1 = next) and all after it; 0 = never. */
void mem_fail_after(uint64_t n);

/** Grow a malloc'ed array so that it holds at least `need` items; doubles. false when out of
 * memory. */
XS_MUST_CHECK bool mem_grow(void **items, size_t *cap, size_t need, size_t item_size);

#endif
