/* store.c - files beneath one folder. Its .key signs addresses; servers that share the folder share
 * it. */
#include "stdlib/storage/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/folder.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "stdlib/cipher.h"

enum { RANDOM_CHARS = 26, NAME_MAX_BYTES = 120, KEY_BYTES = 32, SIG_CHARS = 64, PATH_BYTES = 512 };

struct Vault {
    pthread_mutex_t lock; /* opening */
    char *dir;
    bool passing;
    int fd; /* -1 = not open yet */
    unsigned char key[KEY_BYTES];
};

Vault *vault_new(Text dir, xs_error *err)
{
    Vault *s = mem_zalloc(1, sizeof *s);
    if (s && dir.len && !(s->dir = mem_strndup(dir.ptr, dir.len))) {
        mem_free(s);
        s = NULL;
    }
    if (!s) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->passing = !dir.len;
    s->fd = -1;
    return s;
}

void vault_free(Vault *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    if (s->passing && s->dir)
        folder_remove(s->dir);
    sodium_memzero(s->key, sizeof s->key);
    mem_free(s->dir);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

/* ---- the folder ---- */

static bool io_error(xs_error *err, const char *what)
{
    return xs_fail(err, XS_E_IO, XS_NO_POS, "storage: %s: %s", what, strerror(errno));
}

/* Read the key, or be the one who makes it: linked into place whole. */
static bool open_key(Vault *s, int dir, xs_error *err)
{
    for (int i = 0; i < 2; i++) {
        int fd = openat(dir, ".key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            ssize_t n = read(fd, s->key, KEY_BYTES);
            close(fd);
            if (n == KEY_BYTES)
                return true;
            errno = EINVAL;
            return io_error(err, ".key");
        }
        if (errno != ENOENT)
            break;
        char temp[40];
        randombytes_buf(s->key, KEY_BYTES);
        snprintf(temp, sizeof temp, ".key.%08x%08x", randombytes_random(), randombytes_random());
        fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            break;
        bool ok = fd_write_all(fd, s->key, KEY_BYTES);
        close(fd);
        ok = ok && (linkat(dir, temp, dir, ".key", 0) == 0 || errno == EEXIST);
        unlinkat(dir, temp, 0);
        if (!ok)
            break;
    }
    return io_error(err, ".key");
}

static bool make_passing(Vault *s, xs_error *err)
{
    const char *base = getenv("TMPDIR");
    char buf[PATH_BYTES];
    int n = snprintf(buf, sizeof buf, "%s/xs-files-XXXXXX", base && *base ? base : "/tmp");
    if (n < 0 || (size_t)n >= sizeof buf || !mkdtemp(buf))
        return io_error(err, "a passing folder");
    s->dir = mem_strndup(buf, strlen(buf));
    return s->dir || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

static bool open_dir(Vault *s, xs_error *err)
{
    if (s->passing && !s->dir && !make_passing(s, err))
        return false;
    if (mkdir(s->dir, 0750) != 0 && errno != EEXIST)
        return io_error(err, s->dir);
    int fd = open(s->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io_error(err, s->dir);
    bool ok = (mkdirat(fd, "public", 0750) == 0 || errno == EEXIST) &&
              (mkdirat(fd, "private", 0750) == 0 || errno == EEXIST);
    if (!ok)
        io_error(err, s->dir);
    if (!ok || !open_key(s, fd, err)) {
        close(fd);
        return false;
    }
    s->fd = fd;
    return true;
}

static bool ready(Vault *s, xs_error *err)
{
    pthread_mutex_lock(&s->lock);
    bool ok = s->fd >= 0 || open_dir(s, err);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

/* ---- names ---- */

/* Letters, digits and - _ . of what was given, other bytes of UTF-8 kept; never empty or hidden. */
static Text clean_name(Text name, char out[NAME_MAX_BYTES + 1])
{
    size_t n = 0, from = 0;
    for (size_t i = 0; i < name.len; i++) /* some clients send whole paths */
        if (name.ptr[i] == '/' || name.ptr[i] == '\\')
            from = i + 1;
    Text t = text_slice(name, from, name.len);
    if (!utf8_valid(t))
        t = TEXT("");
    if (t.len > NAME_MAX_BYTES) { /* the end has the type */
        size_t cut = t.len - NAME_MAX_BYTES;
        while (cut < t.len && ((unsigned char)t.ptr[cut] & 0xc0) == 0x80)
            cut++;
        t = text_slice(t, cut, t.len);
    }
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_' || (c == '.' && n > 0) || (unsigned char)c >= 0x80;
        out[n++] = plain ? c : '_';
    }
    if (!n) {
        memcpy(out, "file", 4);
        n = 4;
    }
    out[n] = '\0';
    return (Text){out, n};
}

static bool random_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7');
}

/* "/vault/<random>/<name>", perhaps with an address in front or a query behind, to
 * "<random>/<name>". */
static bool inner_path(Text path, char out[PATH_BYTES])
{
    size_t at = text_find(path, TEXT("/vault/"), 0);
    if (at == SIZE_MAX ||
        (at && !text_starts(path, TEXT("http://")) && !text_starts(path, TEXT("https://"))))
        return false;
    Text t = text_slice(path, at + 7, text_find(path, TEXT("?"), at));
    if (t.len < RANDOM_CHARS + 2 || t.len >= PATH_BYTES || t.ptr[RANDOM_CHARS] != '/' ||
        t.ptr[RANDOM_CHARS + 1] == '.' || memchr(t.ptr, '\0', t.len))
        return false;
    for (size_t i = 0; i < RANDOM_CHARS; i++)
        if (!random_char(t.ptr[i]))
            return false;
    if (memchr(t.ptr + RANDOM_CHARS + 1, '/', t.len - RANDOM_CHARS - 1))
        return false;
    memcpy(out, t.ptr, t.len);
    out[t.len] = '\0';
    return true;
}

Text vault_name(Text path)
{
    path = text_slice(path, 0, text_find(path, TEXT("?"), 0));
    size_t from = 0;
    for (size_t i = 0; i < path.len; i++)
        if (path.ptr[i] == '/')
            from = i + 1;
    return text_slice(path, from, path.len);
}

/* ---- files ---- */

bool vault_put(Vault *s, bool is_private, Text name, Text data, Buf *path, xs_error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char raw[RANDOM_CHARS];
    char folder[64], file[PATH_BYTES], clean[NAME_MAX_BYTES + 1], id[RANDOM_CHARS + 1];
    if (!ready(s, err))
        return false;
    randombytes_buf(raw, sizeof raw);
    for (size_t i = 0; i < RANDOM_CHARS; i++)
        id[i] = letters[raw[i] & 31];
    id[RANDOM_CHARS] = '\0';
    Text last = clean_name(name, clean);
    snprintf(folder, sizeof folder, "%s/%s", is_private ? "private" : "public", id);
    snprintf(file, sizeof file, "%s/%s", folder, last.ptr);
    if (mkdirat(s->fd, folder, 0750) != 0)
        return io_error(err, "a folder");
    int fd = openat(s->fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    bool ok = fd >= 0 && fd_write_all(fd, data.ptr, data.len);
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    if (!ok) {
        io_error(err, "writing");
        unlinkat(s->fd, file, 0);
        unlinkat(s->fd, folder, AT_REMOVEDIR);
        return false;
    }
    buf_printf(path, "/vault/%s/%s", id, last.ptr);
    return !path->failed || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

static bool missing(xs_error *err)
{
    return xs_fail(err, XS_E_NOTFOUND, XS_NO_POS, "There is no such file.");
}

int vault_open(Vault *s, Text path, bool *is_private, uint64_t *size, xs_error *err)
{
    static const char *const kinds[] = {"public", "private"};
    char inner[PATH_BYTES], full[PATH_BYTES + 16];
    if (!inner_path(path, inner)) {
        (void)missing(err);
        return -1;
    }
    if (!ready(s, err))
        return -1;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        struct stat st;
        snprintf(full, sizeof full, "%s/%s", kinds[i], inner);
        int fd = (int)syscall(SYS_openat2, s->fd, full, &how, sizeof how);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
            *is_private = i == 1;
            *size = (uint64_t)st.st_size;
            return fd;
        }
        close(fd);
    }
    (void)missing(err);
    return -1;
}

bool vault_read(Vault *s, Text path, size_t max, Buf *out, xs_error *err)
{
    bool is_private;
    uint64_t size;
    int fd = vault_open(s, path, &is_private, &size, err);
    if (fd < 0)
        return false;
    bool ok = size <= max || xs_fail(err, XS_E_LIMIT, XS_NO_POS, "The file is too large.");
    ok = ok && (buf_reserve(out, (size_t)size + 1) ||
                xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory."));
    for (ssize_t n = 1; ok && n > 0 && out->len < size;) {
        n = read(fd, out->ptr + out->len, (size_t)size - out->len);
        ok = n >= 0 || io_error(err, "reading");
        if (ok)
            out->len += (size_t)n;
    }
    close(fd);
    return ok;
}

bool vault_delete(Vault *s, Text path, xs_error *err)
{
    bool is_private;
    uint64_t size;
    char inner[PATH_BYTES], full[PATH_BYTES + 16];
    int fd = vault_open(s, path, &is_private, &size, err);
    if (fd < 0)
        return false;
    close(fd);
    if (!inner_path(path, inner))
        return missing(err);
    int n = snprintf(full, sizeof full, "%s/%s", is_private ? "private" : "public", inner);
    if (unlinkat(s->fd, full, 0) != 0)
        return io_error(err, "deleting");
    for (; n > 0 && full[n] != '/'; n--)
        full[n] = '\0';
    full[n] = '\0';
    (void)unlinkat(s->fd, full, AT_REMOVEDIR);
    return true;
}

/* ---- signatures ---- */

static bool signature(Vault *s, const char *inner, int64_t expires_s, char out[SIG_CHARS + 1])
{
    unsigned char mac[DIGEST_MAX];
    Buf b = BUF_INIT;
    buf_printf(&b, "%s\n%lld", inner, (long long)expires_s);
    size_t n = b.failed ? 0
                        : hmac_of(DIGEST_SHA256, (Text){(const char *)s->key, KEY_BYTES},
                                  buf_view(&b), mac);
    buf_deinit(&b);
    if (n != SIG_CHARS / 2)
        return false;
    sodium_bin2hex(out, SIG_CHARS + 1, mac, n);
    return true;
}

bool vault_sign(Vault *s, Text path, int64_t expires_s, Buf *out, xs_error *err)
{
    char inner[PATH_BYTES], sig[SIG_CHARS + 1];
    if (!inner_path(path, inner))
        return missing(err);
    if (!ready(s, err))
        return false;
    if (!signature(s, inner, expires_s, sig))
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    buf_printf(out, "?exp=%lld&sig=%s", (long long)expires_s, sig);
    return !out->failed || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

bool vault_check(Vault *s, Text path, Text exp, Text sig, int64_t now_s)
{
    char inner[PATH_BYTES], want[SIG_CHARS + 1];
    xs_error ignored = {0};
    int64_t expires_s;
    return inner_path(path, inner) && num_parse_int(exp, &expires_s) && expires_s >= now_s &&
           sig.len == SIG_CHARS && ready(s, &ignored) && signature(s, inner, expires_s, want) &&
           sodium_memcmp(want, sig.ptr, SIG_CHARS) == 0;
}
