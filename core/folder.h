/* folder.h - a folder goes with all that is in it. Any thread. */
#ifndef CORE_FOLDER_H
#define CORE_FOLDER_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>

static inline int folder_remove_entry(const char *path, const struct stat *st, int kind,
                                      struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/** Links are removed, not followed. false: something is still there, errno says why. */
static inline bool folder_remove(const char *path)
{
    return nftw(path, folder_remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0;
}

#endif
