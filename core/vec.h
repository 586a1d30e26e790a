/* vec.h - a typed growing array: VEC(T) v = {0}; VEC_PUSH(&v, x) is false when out of memory. */
#ifndef CORE_VEC_H
#define CORE_VEC_H

#include "core/mem.h"

#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *ptr;                                                                                    \
        size_t len, cap;                                                                           \
    }
#define VEC_RESERVE(v, n) mem_grow((void **)&(v)->ptr, &(v)->cap, (n), sizeof *(v)->ptr)
#define VEC_PUSH(v, x)    (VEC_RESERVE(v, (v)->len + 1) ? ((v)->ptr[(v)->len++] = (x), true) : false)
#define VEC_DEINIT(v)     (mem_free((v)->ptr), (v)->ptr = NULL, (v)->len = (v)->cap = 0)

#endif
