/* arena.h - bump allocation that is freed whole: one per compilation, bundle or request frame. */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include "core/base.h"

typedef struct ArenaBlock ArenaBlock;
typedef struct Arena {
    ArenaBlock *head;
    char *at, *end;
    size_t bytes;     /* handed out so far */
    size_t max_bytes; /* 0 = no cap */
} Arena;

/* A moment of an arena. */
typedef struct ArenaMark {
    ArenaBlock *head;
    char *at, *end;
    size_t bytes;
} ArenaMark;

void arena_init(Arena *a, size_t max_bytes);
void arena_deinit(Arena *a);
ArenaMark arena_mark(const Arena *a);
/** Free what was handed out since the mark. */
void arena_rewind(Arena *a, ArenaMark to);
/** Zeroed, aligned to 16. NULL when out of memory or past the cap. */
XS_MUST_CHECK void *arena_alloc(Arena *a, size_t size);
/** Copy with a NUL behind it (not counted in len). ptr NULL when out of memory. */
Text arena_text(Arena *a, Text t);
Text arena_printf(Arena *a, const char *fmt, ...) XS_PRINTF(2, 3);

#define ARENA_NEW(a, T)      ((T *)arena_alloc(a, sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_alloc(a, sizeof(T) * (n)))

#endif
