/* vault.c - who may read a stored file, and as what. Files come from anybody: the browser must not
 * run them as a page of this site. */
#include "host/vault.h"

#include <unistd.h>

#include "core/clock.h"
#include "core/const.h"
#include "core/text.h"
#include "host/service.h"
#include "stdlib/storage/file.h"

static Text query_text(xs_http *x, const char *name)
{
    const Const *list = const_get(http_query_map(x), name);
    return list && list->count ? const_text_of(list->items[0], TEXT("")) : TEXT("");
}

bool vault_handle(Vault *s, xs_http *x)
{
    Text verb = text_from(http_api.method(x));
    if (!text_starts(http_raw_path(x), TEXT("/vault/")) ||
        (!text_eq(verb, TEXT("GET")) && !text_eq(verb, TEXT("HEAD"))))
        return false;
    Text path = http_decode(http_arena(x), http_raw_path(x), false);
    xs_error err = {0};
    bool is_private = false;
    uint64_t size = 0;
    int fd = path.ptr ? vault_open(s, path, &is_private, &size, &err) : -1;
    if (fd < 0) {
        http_reply_error(x, 404, "ERROR_CODE_NOT_FOUND", "There is no such file.");
    } else if (is_private && !vault_check(s, path, query_text(x, "exp"), query_text(x, "sig"),
                                          clock_wall_ms() / 1000)) {
        close(fd);
        http_reply_error(x, 403, "ERROR_CODE_ACCESS_DENIED", "Access denied.");
    } else {
        http_add_header(x, "Content-Security-Policy", TEXT("sandbox; default-src 'none'"));
        http_reply_file(x, fd, vault_name(path));
    }
    return true;
}
