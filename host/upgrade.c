/* upgrade.c - realtime.md §3.1 (recipe) and §14 (request smuggling). */
#include "host/upgrade.h"

#include "core/text.h"
#include "host/http.h"

static bool same_name(Text a, const char *b)
{
    size_t i = 0;
    for (; i < a.len && b[i]; i++) {
        char c = a.ptr[i];
        if ((c >= 'A' && c <= 'Z' ? c | 32 : c) != b[i])
            return false;
    }
    return i == a.len && !b[i];
}

/* Does a comma-separated header value contain the word (lower case)? */
static bool has_word(Text value, const char *word)
{
    for (size_t from = 0; from <= value.len;) {
        size_t end = text_find(value, TEXT(","), from);
        if (same_name(text_trim(text_slice(value, from, end), TEXT(" \t")), word))
            return true;
        if (end == SIZE_MAX)
            break;
        from = end + 1;
    }
    return false;
}

static bool is_token(Text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.ptr[i];
        if (c <= ' ' || c >= 127 || strchr("()<>@,;:\\\"/[]?={}", c))
            return false;
    }
    return t.len > 0;
}

static bool take_line(Text *rest, Text *line)
{
    size_t end = text_find(*rest, TEXT("\r\n"), 0);
    if (end == SIZE_MAX)
        return false;
    *line = text_slice(*rest, 0, end);
    *rest = text_slice(*rest, end + 2, rest->len);
    return !memchr(line->ptr, '\n', line->len) && !memchr(line->ptr, '\r', line->len) &&
           !memchr(line->ptr, 0, line->len);
}

/* Names that must not come twice in an upgrade. */
static bool single(Text name)
{
    static const char *const names[] = {"host", "upgrade", "connection", "origin", "authorization"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (same_name(name, names[i]))
            return true;
    return name.len > 14 && same_name(text_slice(name, 0, 14), "sec-websocket-");
}

typedef struct Lines {
    Arena *arena;
    Const *headers;
    Buf rewritten;
    Text token;
    bool body, bad;
} Lines;

static void take_field(Lines *l, Text line)
{
    size_t colon = text_find(line, TEXT(":"), 0);
    Text name = text_slice(line, 0, colon);
    if (colon == SIZE_MAX || !is_token(name)) { /* folded lines begin with a blank: no token */
        l->bad = true;
        return;
    }
    Text value = text_trim(text_slice(line, colon + 1, line.len), TEXT(" \t"));
    Text title = http_title_case(l->arena, name);
    const Const *old = title.ptr ? const_find(l->headers, title) : NULL;
    if (old && single(name))
        l->bad = true;
    if (same_name(name, "transfer-encoding") ||
        (same_name(name, "content-length") && !text_eq(value, TEXT("0"))))
        l->body = true;
    if (same_name(name, "sec-websocket-protocol")) {
        l->token = value;
    } else {
        buf_text(&l->rewritten, line);
        buf_cstr(&l->rewritten, "\r\n");
    }
    if (old)
        value =
            arena_printf(l->arena, TEXT_FMT ", " TEXT_FMT, TEXT_ARG(old->text), TEXT_ARG(value));
    const Const *item = value.ptr ? const_text(l->arena, value) : NULL;
    if (!title.ptr || !item || !const_set(l->arena, l->headers, title, item))
        l->bad = true;
}

static bool request_line(Text line, Upgrade *out, bool *get)
{
    size_t blank = text_find(line, TEXT(" "), 0);
    if (blank == SIZE_MAX)
        return false;
    *get = text_eq(text_slice(line, 0, blank), TEXT("GET"));
    size_t second = text_find(line, TEXT(" "), blank + 1);
    if (second == SIZE_MAX || !text_eq(text_slice(line, second + 1, line.len), TEXT("HTTP/1.1")))
        return false;
    out->uri = text_slice(line, blank + 1, second);
    size_t mark = text_find(out->uri, TEXT("?"), 0);
    out->path = text_slice(out->uri, 0, mark);
    out->querystring =
        mark == SIZE_MAX ? (Text){"", 0} : text_slice(out->uri, mark + 1, out->uri.len);
    return out->uri.len > 0 && out->uri.ptr[0] == '/';
}

UpgradeKind upgrade_parse(Arena *a, Text head, Upgrade *out)
{
    *out = (Upgrade){0};
    Text copy = arena_text(a, head);
    Lines l = {.arena = a, .headers = const_map(a, 16), .token = {"", 0}};
    if (!copy.ptr || !l.headers)
        return UPGRADE_BAD;
    bool get = false;
    Text line;
    bool first = take_line(&copy, &line) && request_line(line, out, &get);
    if (!first)
        return UPGRADE_NO;
    buf_text(&l.rewritten, line);
    buf_cstr(&l.rewritten, "\r\n");
    bool complete = false;
    while (!complete && !l.bad) {
        if (!take_line(&copy, &line))
            l.bad = true;
        else if (!line.len)
            complete = true;
        else
            take_field(&l, line);
    }
    buf_cstr(&l.rewritten, "\r\n");
    Text upgrade = const_get_text(l.headers, "Upgrade");
    UpgradeKind kind = UPGRADE_NO;
    if (upgrade.len && has_word(upgrade, "websocket")) {
        bool ok = get && !l.bad && complete && !copy.len && !l.body && !l.rewritten.failed &&
                  has_word(const_get_text(l.headers, "Connection"), "upgrade") &&
                  const_get(l.headers, "Host") &&
                  const_get_text(l.headers, "Sec-Websocket-Key").len == 24 &&
                  text_eq(const_get_text(l.headers, "Sec-Websocket-Version"), TEXT("13"));
        kind = ok ? UPGRADE_OK : UPGRADE_BAD;
    }
    out->headers = l.headers;
    out->token = l.token;
    out->rewritten = arena_text(a, buf_view(&l.rewritten));
    buf_deinit(&l.rewritten);
    return out->rewritten.ptr ? kind : UPGRADE_BAD;
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
    Text name = text_slice(out->base, prefix.len, out->base.len);
    size_t colon = text_find(name, TEXT(":"), 0);
    if (colon != SIZE_MAX) {
        out->tenant = text_slice(name, 0, colon);
        name = text_slice(name, colon + 1, name.len);
        if (!is_name(out->tenant))
            return false;
    }
    out->canonical = name;
    if (end != SIZE_MAX)
        out->action = text_slice(path, end + 1, path.len);
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
    for (size_t from = 0; from <= allowed.len;) {
        size_t end = text_find(allowed, TEXT(","), from);
        Text one = text_trim(text_slice(allowed, from, end), TEXT(" \t"));
        if (text_eq(one, origin) || (text_eq(one, TEXT("*")) && !text_eq(origin, TEXT("null"))))
            return true;
        if (end == SIZE_MAX)
            break;
        from = end + 1;
    }
    return false;
}
