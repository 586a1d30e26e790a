/* test_source.h - what the tests and fuzz targets of the compiler share. */
#ifndef XS_FRONTEND_TEST_SOURCE_H
#define XS_FRONTEND_TEST_SOURCE_H

#include "frontend/front.h"

/** The text of one file; a NULL pointer when it cannot be read. */
static inline Text file_text(Arena *a, const char *path)
{
    SourceFile *files;
    size_t n;
    return source_load(a, path, &files, &n, NULL) && n == 1 ? files[0].text : (Text){0};
}

/** Whether two images run the same: constants, sites and instructions. */
static inline bool same_code(const BundleImage *x, const BundleImage *y)
{
    if (x->nprocs != y->nprocs || x->nconsts != y->nconsts || x->nsites != y->nsites)
        return false;
    for (uint32_t i = 0; i < x->nconsts; i++)
        if (!const_equal(x->consts[i], y->consts[i]))
            return false;
    for (uint32_t i = 0; i < x->nprocs; i++)
        if (x->procs[i].ncode != y->procs[i].ncode ||
            (x->procs[i].ncode && memcmp(x->procs[i].code, y->procs[i].code,
                                         x->procs[i].ncode * sizeof *x->procs[i].code) != 0))
            return false;
    return true;
}

#endif
