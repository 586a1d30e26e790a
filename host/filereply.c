/* filereply.c - answers that are files: what they are, and conditions and ranges of the request
 * (RFC 9110 §13 and §14). One range at a time; a request for several gets all of the file. */
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/num.h"
#include "core/text.h"
#include "host/http_i.h"
#include "stdlib/storage/file.h"

enum { SNIFF_BYTES = 64 };

/* Both change when the file does. */
typedef struct Validators {
    char etag[48], modified[HTTP_DATE_BYTES];
} Validators;

static void describe(const struct stat *st, Validators *v)
{
    http_date(v->modified, st->st_mtime);
    snprintf(v->etag, sizeof v->etag, "\"%" PRIx64 "-%lx-%" PRIx64 "\"", (uint64_t)st->st_mtime,
             (unsigned long)st->st_mtim.tv_nsec, (uint64_t)st->st_size);
}

/* Is the tag in a list of tags, or "*"? Strong or weak makes no difference here. */
static bool is_listed(Text list, Text etag)
{
    while (list.len) {
        Text tag = text_next(&list);
        if (text_starts(tag, TEXT("W/")))
            tag = text_slice(tag, 2, tag.len);
        if (text_eq(tag, etag) || text_eq(tag, TEXT("*")))
            return true;
    }
    return false;
}

/* Does the client have this very file? Dates are compared as texts: they are ours. */
static bool is_known(xs_http *x, const Validators *v)
{
    const char *tags = http_api.header(x, "If-None-Match");
    const char *since = http_api.header(x, "If-Modified-Since");
    if (tags)
        return is_listed(text_from(tags), text_from(v->etag));
    return since && strcmp(since, v->modified) == 0;
}

static bool read_number(Text t, uint64_t *out)
{
    int64_t n = 0;
    if (!t.len || t.ptr[0] < '0' || t.ptr[0] > '9' || !num_parse_int(t, &n))
        return false;
    *out = (uint64_t)n;
    return true;
}

/* The part that is asked for; without one the whole file. @return the status */
static int pick_part(xs_http *x, const Validators *v, uint64_t size, HttpPart *part)
{
    const char *range = http_api.header(x, "Range"), *only = http_api.header(x, "If-Range");
    *part = (HttpPart){0, size};
    Text text = range ? text_from(range) : (Text){0};
    bool same = !only || strcmp(only, v->etag) == 0 || strcmp(only, v->modified) == 0;
    if (!same || exchange_is_head(x) || !text_starts(text, TEXT("bytes=")))
        return 200;
    text = text_trim(text_slice(text, 6, text.len), TEXT(" \t"));
    size_t dash = text_find(text, TEXT("-"), 0);
    if (dash == SIZE_MAX)
        return 200;
    Text before = text_slice(text, 0, dash), behind = text_slice(text, dash + 1, text.len);
    uint64_t from = 0, last = size;
    bool tail = !before.len; /* the last so many */
    if ((!tail && !read_number(before, &from)) ||
        ((tail || behind.len) && !read_number(behind, &last)) || (!tail && last < from))
        return 200;
    if (tail) {
        from = last < size ? size - last : 0;
        if (last == 0)
            return 416;
        last = size;
    }
    if (from >= size)
        return 416;
    *part = (HttpPart){from, (last < size - 1 ? last : size - 1) - from + 1};
    return 206;
}

static const char *content_type(xs_http *x, int fd, Text name)
{
    char head[SNIFF_BYTES];
    ssize_t n = pread(fd, head, sizeof head, 0);
    Text mime = mime_of(name, (Text){head, n > 0 ? (size_t)n : 0});
    bool text = text_starts(mime, TEXT("text/")) || text_eq(mime, TEXT("application/json"));
    Text type =
        arena_printf(http_arena(x), TEXT_FMT "%s", TEXT_ARG(mime), text ? "; charset=utf-8" : "");
    return type.ptr ? type.ptr : "application/octet-stream";
}

void http_reply_file(xs_http *x, int fd, Text name)
{
    struct stat st;
    Validators v;
    HttpPart part;
    if (fstat(fd, &st) != 0) {
        close(fd);
        http_reply_error(x, 500, "ERROR_FATAL", "The file cannot be read.");
        return;
    }
    uint64_t size = (uint64_t)st.st_size;
    describe(&st, &v);
    int status = is_known(x, &v) ? 304 : pick_part(x, &v, size, &part);
    char range[80];
    if (status == 206)
        snprintf(range, sizeof range, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, part.from,
                 part.from + part.len - 1, size);
    else
        snprintf(range, sizeof range, "bytes */%" PRIu64, size);
    const xs_header headers[] = {{"ETag", v.etag},
                                 {"Last-Modified", v.modified},
                                 {"Cache-Control", "no-cache"},
                                 {"Accept-Ranges", "bytes"},
                                 {"X-Content-Type-Options", "nosniff"},
                                 {"Content-Type", status == 304 ? "" : content_type(x, fd, name)},
                                 {"Content-Range", range}};
    if (status == 200 || status == 206) {
        x->ops->reply_file(x, status, fd, part, headers, COUNT_OF(headers) - (status == 200));
        return;
    }
    close(fd);
    if (status == 304) {
        http_api.reply(x, 304, headers, COUNT_OF(headers) - 2, (xs_str){"", 0});
        return;
    }
    http_add_header(x, "Content-Range", text_from(range));
    http_reply_error(x, 416, "ERROR_CODE_BAD_REQUEST", "The file has no such part.");
}
