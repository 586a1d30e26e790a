/* request.c - decodes forms, multipart bodies and JSON into one map of raw inputs. */
#include "host/request.h"

#include "core/json.h"
#include "core/num.h"
#include "core/text.h"
#include "host/http.h"
#include "stdlib/storage/file.h"

enum { FORM_MAX_DEPTH = 16, FORM_MAX_PAIRS = 10000 };

/* Nodes made here belong to the arena and may still change. */
static Const *writable(const Const *c)
{
    Const *out;
    memcpy(&out, &c, sizeof out);
    return out;
}

/* ---- urlencoded ---- */

typedef struct KeyPath {
    Text keys[FORM_MAX_DEPTH]; /* len 0 = "[]": append */
    size_t count;
} KeyPath;

/* "a[b][]" → a, b, ""; a key that is not well-formed is one plain key. */
static void split_key(Text name, KeyPath *out)
{
    size_t open = text_find(name, TEXT("["), 0);
    out->count = 1;
    out->keys[0] = name;
    if (open == SIZE_MAX || open == 0 || name.ptr[name.len - 1] != ']')
        return;
    KeyPath p = {.count = 1};
    p.keys[0] = text_slice(name, 0, open);
    while (open < name.len) {
        size_t close = text_find(name, TEXT("]"), open);
        if (name.ptr[open] != '[' || close == SIZE_MAX || p.count == FORM_MAX_DEPTH)
            return;
        p.keys[p.count++] = text_slice(name, open + 1, close);
        open = close + 1;
    }
    *out = p;
}

/* Lists are kept as maps with keys 0, 1, … while they grow; finish() turns them. */
static bool form_put(Arena *a, Const *root, const KeyPath *path, const Const *value)
{
    Const *at = root;
    for (size_t i = 0; i < path->count; i++) {
        Text key = path->keys[i];
        if (!key.len && i > 0)
            key = arena_printf(a, "%u", at->count);
        if (!key.ptr)
            return false;
        if (i == path->count - 1)
            return const_set(a, at, key, value);
        const Const *next = const_find(at, key);
        if (!next || next->kind != C_MAP) {
            next = const_map(a, 2);
            if (!next || !const_set(a, at, key, next))
                return false;
        }
        at = writable(next);
    }
    return true;
}

static bool is_list_form(const Const *map)
{
    for (uint32_t i = 0; i < map->count; i++) {
        int64_t n;
        if (!num_parse_int(map->pairs[i].key, &n) || n != (int64_t)i)
            return false;
    }
    return map->count > 0;
}

static const Const *finish(Arena *a, const Const *node, bool top)
{
    if (!node || node->kind != C_MAP)
        return node;
    for (uint32_t i = 0; i < node->count; i++)
        if (!(node->pairs[i].value = finish(a, node->pairs[i].value, false)))
            return NULL;
    if (top || !is_list_form(node))
        return node;
    Const *list = const_list(a, node->count);
    for (uint32_t i = 0; list && i < node->count; i++)
        if (!const_push(a, list, node->pairs[i].value))
            return NULL;
    return list;
}

static bool add_const(Arena *a, Const *root, Text name, const Const *value)
{
    KeyPath path;
    split_key(name, &path);
    return value && form_put(a, root, &path, value);
}

/* One pair of a form, or one text part of a multipart body. */
static bool add_field(Arena *a, Const *root, Text name, Text value)
{
    return add_const(a, root, name, const_text(a, value));
}

/* Malformed escapes stay as they are: a form has no other way to be wrong. */
static Text unescape(Arena *a, Text t)
{
    Text out = http_decode(a, t, true);
    return out.ptr ? out : arena_text(a, t);
}

const Const *form_decode(Arena *a, Text form)
{
    Const *root = const_map(a, 8);
    size_t pairs = 0;
    for (size_t from = 0; root && from < form.len && pairs < FORM_MAX_PAIRS;) {
        size_t end = text_find(form, TEXT("&"), from);
        Text pair = text_slice(form, from, end);
        from = end == SIZE_MAX ? form.len : end + 1;
        if (!pair.len)
            continue;
        size_t equals = text_find(pair, TEXT("="), 0);
        Text name = unescape(a, text_slice(pair, 0, equals));
        Text value =
            equals == SIZE_MAX ? TEXT("") : unescape(a, text_slice(pair, equals + 1, pair.len));
        if (!name.ptr || !value.ptr)
            return NULL;
        if (!utf8_valid(name) || !utf8_valid(value))
            continue;
        if (!add_field(a, root, name, value))
            return NULL;
        pairs++;
    }
    return root ? finish(a, root, true) : NULL;
}

/* ---- multipart ---- */

static bool starts_nocase(Text t, const char *lower)
{
    size_t i = 0;
    for (; lower[i]; i++)
        if (i >= t.len ||
            (t.ptr[i] >= 'A' && t.ptr[i] <= 'Z' ? t.ptr[i] | 32 : t.ptr[i]) != lower[i])
            return false;
    return true;
}

/* The value of a parameter of a header: name="value" or name=value. ptr NULL = absent. */
static Text parameter(Text header, const char *name)
{
    size_t len = strlen(name);
    for (size_t at = text_find(header, TEXT(";"), 0); at != SIZE_MAX;) {
        size_t from = at + 1;
        while (from < header.len && (header.ptr[from] == ' ' || header.ptr[from] == '\t'))
            from++;
        Text rest = text_slice(header, from, header.len);
        if (starts_nocase(rest, name) && rest.len > len && rest.ptr[len] == '=') {
            rest = text_slice(rest, len + 1, rest.len);
            if (rest.len && rest.ptr[0] == '"') {
                size_t quote = text_find(rest, TEXT("\""), 1);
                return quote == SIZE_MAX ? (Text){0} : text_slice(rest, 1, quote);
            }
            return text_trim(text_slice(rest, 0, text_find(rest, TEXT(";"), 0)), TEXT(" \t"));
        }
        at = text_find(header, TEXT(";"), from);
    }
    return (Text){0};
}

static bool malformed(xs_error *err, const char *what, size_t at)
{
    return xs_fail(err, XS_E_BADREQUEST, XS_NO_POS, "Malformed %s body at byte %zu.", what, at);
}

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

/* A header of one part, its name in lower case with the colon; ptr NULL = none. */
static Text part_header(Text head, const char *name)
{
    for (size_t from = 0; from < head.len;) {
        size_t end = text_find(head, TEXT("\r\n"), from);
        Text line = text_slice(head, from, end);
        from = end == SIZE_MAX ? head.len : end + 2;
        if (starts_nocase(line, name))
            return text_trim(text_slice(line, strlen(name), line.len), TEXT(" \t"));
    }
    return (Text){0};
}

/* What the binder makes a file of. NULL = memory. */
static const Const *upload(Arena *a, Text filename, Text type, Text data)
{
    Const *map = const_map(a, 4);
    if (!utf8_valid(filename))
        filename = TEXT("");
    Text mime = text_slice(type, 0, text_find(type, TEXT(";"), 0));
    if (!mime.len || !utf8_valid(mime))
        mime = mime_of(filename, data);
    const Const *bytes = const_text(a, data);
    bool ok = map && bytes && const_set_text(a, map, "name", filename) &&
              const_set_int(a, map, "size", (int64_t)data.len) &&
              const_set_text(a, map, "mime", mime) && const_set(a, map, UPLOAD_DATA, bytes);
    return ok ? map : NULL;
}

static bool multipart_decode(Arena *a, Text boundary, Text body, const Const **out, xs_error *err)
{
    Text mark = arena_printf(a, "\r\n--" TEXT_FMT, TEXT_ARG(boundary));
    Const *root = const_map(a, 8);
    if (!mark.ptr || !root)
        return no_memory(err);
    if (!boundary.len || !text_starts(body, text_slice(mark, 2, mark.len)))
        return malformed(err, "multipart", 0);
    size_t at = mark.len - 2, parts = 0;
    while (!text_starts(text_slice(body, at, body.len), TEXT("--"))) {
        size_t head_end = text_find(body, TEXT("\r\n\r\n"), at);
        size_t end = head_end == SIZE_MAX ? SIZE_MAX : text_find(body, mark, head_end + 2);
        if (end == SIZE_MAX || ++parts > FORM_MAX_PAIRS)
            return malformed(err, "multipart", at);
        Text head = text_slice(body, at, head_end);
        Text disposition = part_header(head, "content-disposition:");
        Text name = parameter(disposition, "name"), filename = parameter(disposition, "filename");
        Text value = text_slice(body, head_end + 4, end);
        if (!name.ptr || end < head_end + 4 || !utf8_valid(name))
            return malformed(err, "multipart", at);
        if (!filename.ptr && !utf8_valid(value))
            return malformed(err, "multipart", head_end + 4);
        bool ok = filename.ptr
                      ? add_const(a, root, name,
                                  upload(a, filename, part_header(head, "content-type:"), value))
                      : add_field(a, root, name, value);
        if (!ok)
            return no_memory(err);
        at = end + mark.len;
    }
    *out = finish(a, root, true);
    return *out || no_memory(err);
}

/* ---- bodies ---- */

static bool json_decode(Arena *a, Text body, const Const **out, xs_error *err)
{
    xs_error problem = {0};
    *out = json_parse(a, body, &problem);
    if (*out)
        return true;
    if (problem.code == XS_E_NOMEM)
        return no_memory(err);
    /* Line and column of the reader as a byte offset of the body. */
    size_t at = 0;
    for (uint32_t line = 1; line < problem.pos.line && at < body.len; line++) {
        size_t end = text_find(body, TEXT("\n"), at);
        at = end == SIZE_MAX ? body.len : end + 1;
    }
    for (uint32_t col = 1; col < problem.pos.col && at < body.len; col++)
        utf8_next(body, &at);
    return malformed(err, "JSON", at);
}

bool request_is_json(Text content_type, Text body)
{
    Text inner = text_trim(body, TEXT(" \t\r\n"));
    return starts_nocase(text_trim(content_type, TEXT(" \t")), "application/json") ||
           (!content_type.len && inner.len && (inner.ptr[0] == '{' || inner.ptr[0] == '['));
}

bool request_decode_body(Arena *a, Text content_type, Text body, const Const **out, xs_error *err)
{
    Text type =
        text_trim(text_slice(content_type, 0, text_find(content_type, TEXT(";"), 0)), TEXT(" \t"));
    *out = NULL;
    if (!body.len)
        return true;
    if (request_is_json(type, body))
        return json_decode(a, body, out, err);
    if (starts_nocase(type, "application/x-www-form-urlencoded")) {
        *out = form_decode(a, body);
        return *out || no_memory(err);
    }
    if (starts_nocase(type, "multipart/form-data"))
        return multipart_decode(a, parameter(content_type, "boundary"), body, out, err);
    if (!utf8_valid(body))
        return malformed(err, "text", utf8_valid_len(body));
    *out = const_text(a, body);
    return *out || no_memory(err);
}

static bool merge(Arena *a, Const *into, const Const *from)
{
    for (uint32_t i = 0; from && from->kind == C_MAP && i < from->count; i++)
        if (!const_set(a, into, from->pairs[i].key, from->pairs[i].value))
            return false;
    return true;
}

/* Forms know texts only: what looks like JSON is it where an input may be anything. */
static bool read_json_texts(Arena *a, Const *all, const Const *fields)
{
    for (uint32_t i = 0; fields && fields->kind == C_LIST && i < fields->count; i++) {
        const Const *field = fields->items[i];
        Text name = const_get_text(field, "name");
        Text text = text_trim(const_text_of(const_find(all, name), (Text){0}), TEXT(" \t\r\n"));
        xs_error ignored = {0};
        if (!text_eq(const_get_text(field, "type"), TEXT("json")) || !text.len ||
            (text.ptr[0] != '{' && text.ptr[0] != '['))
            continue;
        const Const *value = json_parse(a, text, &ignored);
        if (value ? !const_set(a, all, name, value) : ignored.code == XS_E_NOMEM)
            return false;
    }
    return true;
}

const Const *request_inputs(Arena *a, const RawInputs *raw, const RouteMatch *match,
                            const Const *fields)
{
    Const *all = const_map(a, 8);
    const Const *query = form_decode(a, raw->querystring);
    if (!all || !query || !merge(a, all, query) || (!raw->typed && !merge(a, all, raw->body)) ||
        !read_json_texts(a, all, fields) || (raw->typed && !merge(a, all, raw->body)))
        return NULL;
    for (uint32_t i = 0; i < match->route->nparams; i++) {
        const Const *text = const_text(a, match->values[i]);
        if (!text || !const_set(a, all, match->route->params[i], text))
            return NULL;
    }
    return all;
}
