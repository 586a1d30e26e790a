/* run.h - runs every procedure of a program with small limits and services that reach nothing. */
#ifndef TESTS_FUZZ_RUN_H
#define TESTS_FUZZ_RUN_H

#include "vm/vm.h"

static inline int64_t fuzz_now(void *ctx)
{
    (void)ctx;
    return 1700000000000;
}

static inline bool fuzz_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    memset(out, 7, n);
    return true;
}

static inline void fuzz_run_all(Program *p)
{
    static const Services services = {.now_ms = fuzz_now, .random = fuzz_random};
    static const RunContext run = {0};
    static const Limits limits = {.steps = 10000, .heap_bytes = 1 << 20, .depth = 50};
    for (uint32_t i = 0; i < program_proc_count(p) && i < 64; i++) {
        Fiber *f = fiber_new(p, &services, &run, &limits);
        xs_error err;
        if (f && fiber_call(f, i, val_null(), &err))
            fiber_run(f);
        fiber_free(f);
    }
}

#endif
