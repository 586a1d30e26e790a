/* files.c - the kernel keeps lookups beneath the folder (openat2), whatever the path or a link in
 * it says. */
#include "host/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/text.h"

struct Files {
    int dir;
};

Files *files_new(const char *dir, xs_error *err)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        xs_fail(err, XS_E_CONFIG, XS_NO_POS, "public: %s: %s", dir, strerror(errno));
        return NULL;
    }
    Files *f = mem_alloc(sizeof *f);
    if (!f) {
        close(fd);
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    f->dir = fd;
    return f;
}

void files_free(Files *f)
{
    if (!f)
        return;
    close(f->dir);
    mem_free(f);
}

/* Without empty, hidden and upward segments; "" becomes ".". ptr NULL = refused. */
static Text clean_path(Arena *a, Text raw)
{
    Text path = http_decode(a, raw, false);
    Text out = {"", 0};
    if (!path.ptr || memchr(path.ptr, 0, path.len) || memchr(path.ptr, '\\', path.len))
        return (Text){0};
    for (size_t from = 0; from < path.len;) {
        size_t end = text_find(path, TEXT("/"), from);
        Text s = text_slice(path, from, end);
        from = end == SIZE_MAX ? path.len : end + 1;
        if (!s.len)
            continue;
        if (s.ptr[0] == '.')
            return (Text){0};
        out =
            arena_printf(a, TEXT_FMT "%s" TEXT_FMT, TEXT_ARG(out), out.len ? "/" : "", TEXT_ARG(s));
        if (!out.ptr)
            return out;
    }
    return out.len ? out : arena_text(a, TEXT("."));
}

static int open_beneath(int dir, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

/* With the slash behind it the links of its page are right. */
static void reply_folder(xs_http *x)
{
    Text path = http_raw_path(x);
    while (text_starts(path, TEXT("/")))
        path = text_slice(path, 1, path.len); /* "//host/" would be another site's */
    Text to = arena_printf(http_arena(x), "/" TEXT_FMT "/", TEXT_ARG(path));
    const xs_header location = {"Location", to.ptr ? to.ptr : "/"};
    http_api.reply(x, 301, &location, 1, (xs_str){"", 0});
}

bool files_handle(const Files *f, xs_http *x)
{
    Text verb = text_from(http_api.method(x));
    if (!text_eq(verb, TEXT("GET")) && !text_eq(verb, TEXT("HEAD")))
        return false;
    Arena *a = http_arena(x);
    Text path = clean_path(a, http_raw_path(x));
    struct stat st;
    int fd = path.ptr ? open_beneath(f->dir, path.ptr) : -1;
    if (fd < 0)
        return false;
    bool folder = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    if (folder) {
        close(fd);
        path = arena_printf(a, TEXT_FMT "/index.html", TEXT_ARG(path));
        fd = path.ptr ? open_beneath(f->dir, path.ptr) : -1;
    }
    if (fd < 0)
        return false;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return false;
    }
    if (folder && !text_ends(http_raw_path(x), TEXT("/"))) {
        close(fd);
        reply_folder(x);
    } else {
        http_reply_file(x, fd, path);
    }
    return true;
}
