/* thread_cache.c - per-thread caches. A pthread key runs the cleanup at thread exit. */
#include "stdlib/thread_cache.h"

#include <pthread.h>

typedef struct Slots {
    void *ptr[SLOT_COUNT];
    void (*free_fn[SLOT_COUNT])(void *);
    bool registered;
} Slots;

static _Thread_local Slots slots;
static pthread_key_t exit_key;
static bool exit_key_ok;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;

static void clear_at_exit(void *unused)
{
    (void)unused;
    thread_cache_clear();
}

static void make_key(void)
{
    exit_key_ok = pthread_key_create(&exit_key, clear_at_exit) == 0;
}

void **thread_slot(ThreadSlot which, void (*free_fn)(void *))
{
    if (!slots.registered) {
        slots.registered = true;
        pthread_once(&exit_key_once, make_key);
        if (exit_key_ok)
            (void)pthread_setspecific(exit_key, &slots);
    }
    slots.free_fn[which] = free_fn;
    return &slots.ptr[which];
}

void thread_cache_clear(void)
{
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        if (slots.ptr[i])
            slots.free_fn[i](slots.ptr[i]);
        slots.ptr[i] = NULL;
    }
}
