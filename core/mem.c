/* mem.c - allocation with a byte count and scripted failure. The count is one relaxed atomic, the
 * failure script belongs to the thread. */
#include "core/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

static _Atomic size_t in_use;          /* statistics only, hence a process-wide counter */
static _Thread_local uint64_t fail_in; /* allocations left until they fail; 0 = never */

static bool must_fail(void)
{
    if (LIKELY(fail_in == 0))
        return false;
    if (fail_in == 1)
        return true; /* stays at 1: everything after fails too */
    fail_in--;
    return false;
}

static void *count_in(void *p)
{
    if (LIKELY(p != NULL))
        atomic_fetch_add_explicit(&in_use, malloc_usable_size(p), memory_order_relaxed);
    return p;
}

static void count_out(void *p)
{
    if (p)
        atomic_fetch_sub_explicit(&in_use, malloc_usable_size(p), memory_order_relaxed);
}

void *mem_alloc(size_t size)
{
    if (must_fail() || size > PTRDIFF_MAX)
        return NULL;
    return count_in(malloc(size ? size : 1));
}

void *mem_zalloc(size_t count, size_t size)
{
    size_t bytes;
    if (must_fail() || __builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    return count_in(calloc(1, bytes ? bytes : 1));
}

void *mem_realloc(void *p, size_t size)
{
    if (must_fail() || size > PTRDIFF_MAX)
        return NULL;
    size_t before = p ? malloc_usable_size(p) : 0;
    void *q = realloc(p, size ? size : 1);
    if (!q)
        return NULL;
    atomic_fetch_sub_explicit(&in_use, before, memory_order_relaxed);
    return count_in(q);
}

void mem_free(void *p)
{
    count_out(p);
    free(p);
}

char *mem_strndup(const char *s, size_t len)
{
    if (len == SIZE_MAX)
        return NULL;
    char *copy = mem_alloc(len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

size_t mem_in_use(void)
{
    return atomic_load_explicit(&in_use, memory_order_relaxed);
}

void mem_fail_after(uint64_t n)
{
    fail_in = n;
}

bool mem_grow(void **items, size_t *cap, size_t need, size_t item_size)
{
    enum { FIRST_CAP = 2 }; /* most lists of a connection stay at one or two */
    if (need <= *cap)
        return true;
    size_t next = *cap ? *cap : FIRST_CAP;
    while (next < need) {
        if (__builtin_mul_overflow(next, (size_t)2, &next))
            return false;
    }
    size_t bytes;
    if (__builtin_mul_overflow(next, item_size, &bytes))
        return false;
    void *grown = mem_realloc(*items, bytes);
    if (!grown)
        return false;
    *items = grown;
    *cap = next;
    return true;
}
