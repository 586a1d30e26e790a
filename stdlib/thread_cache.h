/* thread_cache.h - what natives keep per thread between calls: compiled patterns, parsed zone
 * files. Freed when the thread ends, or by thread_cache_clear. */
#ifndef STDLIB_THREAD_CACHE_H
#define STDLIB_THREAD_CACHE_H

#include "core/base.h"

typedef enum ThreadSlot { SLOT_ZONES, SLOT_REGEX, SLOT_COUNT } ThreadSlot;

/**
 * The slot of the calling thread, NULL inside until the caller fills it.
 * @param free_fn  called with the pointer when the cache is cleared.
 */
void **thread_slot(ThreadSlot which, void (*free_fn)(void *));
/** Free everything this thread has cached; pointers into it die. */
void thread_cache_clear(void);

#endif
