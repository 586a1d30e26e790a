/* folder.h - for test programs: a temporary folder goes with all that is in it. */
#ifndef TESTS_COMMON_FOLDER_H
#define TESTS_COMMON_FOLDER_H

#include <ftw.h>
#include <stdio.h>

static inline int folder_remove_entry(const char *path, const struct stat *st, int kind,
                                      struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void folder_remove(const char *path)
{
    nftw(path, folder_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
