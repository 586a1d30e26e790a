/* source.c - the files of a program: one file, or every .xs file below a folder in byte order of
 * the paths. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/vec.h"
#include "frontend/front.h"

enum { MAX_FILE_BYTES = 16 << 20, MAX_FOLDER_DEPTH = 64 };

typedef VEC(SourceFile) Files;

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
}

static bool read_file(Arena *a, const char *path, Files *out, xs_error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(errno));
    Buf b = {.max = MAX_FILE_BYTES};
    char chunk[1 << 14];
    size_t n;
    while (!b.failed && (n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_append(&b, chunk, n);
    bool broken = ferror(f) != 0;
    int why = errno;
    fclose(f);
    SourceFile file = {arena_text(a, text_from(path)), arena_text(a, buf_view(&b))};
    bool ok = true;
    if (broken)
        ok = xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(why));
    else if (b.failed)
        ok = xs_fail(err, XS_E_TOO_LARGE, XS_NO_POS, "%s: larger than 16 MiB", path);
    else if (!file.path.ptr || !file.text.ptr || !VEC_PUSH(out, file))
        ok = no_memory(err);
    buf_deinit(&b);
    return ok;
}

static bool walk(Arena *a, const char *path, Files *out, int depth, xs_error *err);

static bool walk_folder(Arena *a, const char *path, Files *out, int depth, xs_error *err)
{
    DIR *d = depth < MAX_FOLDER_DEPTH ? opendir(path) : NULL;
    if (!d)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path,
                       depth < MAX_FOLDER_DEPTH ? strerror(errno) : "folders nested too deeply");
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(d));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "node_modules") == 0)
            continue;
        bool slash = path[0] && path[strlen(path) - 1] == '/';
        Text full = arena_printf(a, "%s%s%s", path, slash ? "" : "/", e->d_name);
        ok = full.ptr ? walk(a, full.ptr, out, depth + 1, err) : no_memory(err);
    }
    closedir(d);
    return ok;
}

static bool walk(Arena *a, const char *path, Files *out, int depth, xs_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return depth > 0 || xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return walk_folder(a, path, out, depth, err);
    if (!S_ISREG(st.st_mode) || (depth > 0 && !text_ends(text_from(path), TEXT(".xs"))))
        return depth > 0 ||
               xs_fail(err, XS_E_IO, XS_NO_POS, "%s: neither a file nor a folder", path);
    return read_file(a, path, out, err);
}

static int by_path(const void *a, const void *b)
{
    return text_cmp(((const SourceFile *)a)->path, ((const SourceFile *)b)->path);
}

bool source_load(Arena *a, const char *path_or_dir, SourceFile **files, size_t *count,
                 xs_error *err)
{
    Files found = {0};
    bool ok = walk(a, path_or_dir, &found, 0, err);
    if (ok && found.len)
        qsort(found.ptr, found.len, sizeof *found.ptr, by_path);
    SourceFile *all = ok ? ARENA_ARRAY(a, SourceFile, found.len + 1) : NULL;
    if (ok && !all)
        ok = no_memory(err);
    if (ok) {
        if (found.len)
            memcpy(all, found.ptr, found.len * sizeof *all);
        *files = all;
        *count = found.len;
    }
    VEC_DEINIT(&found);
    return ok;
}
