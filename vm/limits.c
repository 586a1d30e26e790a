/* limits.c - what a program gets when nobody says otherwise. runtime.md §1.10. */
#include "vm/limits.h"

#include "vm/vm.h"

const Limits limits_default = {
    .steps = 0, /* the deadline bounds a request; tests and fuzzers count */
    .heap_bytes = (size_t)256 << 20,
    .depth = MAX_FRAMES,
    .deadline_ms = 0,
};
