/* limits.h - fixed bounds of the machine; what an operator may set is struct Limits of vm.h. */
#ifndef VM_LIMITS_H
#define VM_LIMITS_H

enum {
    MAX_FRAMES = 1000,              /* default depth; runtime.md §1.7 */
    MAX_FAR = 65536,                /* far slots of one procedure */
    RANGE_MAX_ITEMS = 10 * 1000000, /* filters.md §1.10 */
    CONST_MAX_DEPTH = 512,
#ifdef XS_SMALL_LIMITS
    SLICE_STEPS = 64,
#else
    SLICE_STEPS = 20000, /* instructions between looks at the clock */
#endif
    NATIVE_STEPS = 10, /* what a call of a native counts as */
    CALL_STEPS = 4,
};

#endif
