/* upgrade.c - realtime.md §3.1 (recipe) and §14 (request smuggling). */
#include "host/upgrade.h"

#include <strings.h>

#include "core/text.h"
#include "host/httphead.h"

/* Must these not come twice in an upgrade? */
static bool single(const char *name)
{
    static const char *const names[] = {"host", "upgrade", "connection", "origin", "authorization"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return strncasecmp(name, "sec-websocket-", 14) == 0;
}

/* The head again, without the offered token. False: a header came twice, or memory. */
static bool rewrite(Arena *a, const HttpHead *h, Text *out)
{
    Buf b = BUF_INIT;
    bool ok = true;
    buf_printf(&b, "GET " TEXT_FMT " HTTP/1.1\r\n", TEXT_ARG(h->target));
    for (uint32_t i = 0; i < h->nfields; i++) {
        const HttpField *f = &h->fields[i];
        ok = ok && (!single(f->name.ptr) || http_head_find(h, f->name.ptr) == f->value.ptr);
        if (strcasecmp(f->name.ptr, "sec-websocket-protocol") != 0)
            buf_printf(&b, TEXT_FMT ": " TEXT_FMT "\r\n", TEXT_ARG(f->name), TEXT_ARG(f->value));
    }
    buf_cstr(&b, "\r\n");
    *out = b.failed ? (Text){0} : arena_text(a, buf_view(&b));
    buf_deinit(&b);
    return ok && out->ptr;
}

UpgradeKind upgrade_parse(Arena *a, Text head, Upgrade *out)
{
    HttpHead h;
    HttpProblem problem;
    size_t scanned = 0;
    *out = (Upgrade){0};
    if (!head.len)
        return UPGRADE_NO;
    if (http_head_end(head, &scanned, &problem) != head.len ||
        !http_head_parse(a, head, &h, &problem))
        return UPGRADE_BAD;
    const char *upgrade = http_head_find(&h, "upgrade");
    const char *length = http_head_find(&h, "content-length");
    if (h.http10 || !upgrade || !http_has_word(text_from(upgrade), "websocket"))
        return UPGRADE_NO;
    /* Only "GET /path": the transport's library gets what the client has sent. */
    if (!text_starts(head, TEXT("GET /")) || h.chunked || (length && strcmp(length, "0") != 0) ||
        h.target.ptr[0] != '/' || !rewrite(a, &h, &out->rewritten))
        return UPGRADE_BAD;
    size_t mark = text_find(h.target, TEXT("?"), 0);
    const char *token = http_head_find(&h, "sec-websocket-protocol");
    out->uri = h.target;
    out->path = text_slice(h.target, 0, mark);
    out->querystring =
        mark == SIZE_MAX ? (Text){"", 0} : text_slice(h.target, mark + 1, h.target.len);
    out->token = token ? text_from(token) : (Text){"", 0};
    out->headers = http_head_map(a, &h);
    bool ok = out->headers &&
              http_has_word(const_get_text(out->headers, "Connection"), "upgrade") &&
              const_get_text(out->headers, "Sec-Websocket-Key").len == 24 &&
              text_eq(const_get_text(out->headers, "Sec-Websocket-Version"), TEXT("13"));
    return ok ? UPGRADE_OK : UPGRADE_BAD;
}

enum { CANONICAL_MAX = 64 };

static bool is_name(Text t)
{
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
    }
    return t.len > 0 && t.len <= CANONICAL_MAX;
}

bool realtime_path(Text path, Text prefix, RealtimePath *out)
{
    *out = (RealtimePath){0};
    if (!text_starts(path, prefix))
        return false;
    size_t end = text_find(path, TEXT("/"), prefix.len);
    out->base = text_slice(path, 0, end);
    if (end != SIZE_MAX)
        out->action = text_slice(path, end + 1, path.len);
    Text name = text_slice(out->base, prefix.len, out->base.len);
    size_t colon = text_find(name, TEXT(":"), 0);
    if (colon != SIZE_MAX) {
        out->tenant = text_slice(name, 0, colon);
        name = text_slice(name, colon + 1, name.len);
        if (!is_name(out->tenant))
            return false;
    }
    out->canonical = name;
    return is_name(name);
}

bool origin_allowed(Text allowed, Text origin, Text host)
{
    if (!origin.len)
        return true; /* not a browser */
    if (!allowed.len) {
        size_t scheme = text_find(origin, TEXT("://"), 0);
        return scheme != SIZE_MAX && text_eq(text_slice(origin, scheme + 3, origin.len), host);
    }
    while (allowed.len) {
        Text one = text_next(&allowed);
        if (text_eq(one, origin) || (text_eq(one, TEXT("*")) && !text_eq(origin, TEXT("null"))))
            return true;
    }
    return false;
}
