/* admin.c - the actions below /_xs/rt/<space>/. Channel names in paths are percent-encoded; slashes
 * may stand as they are. */
#include "host/admin.h"

#include "core/json.h"
#include "core/num.h"
#include "core/text.h"
#include "host/auth.h"
#include "host/hub/inspect.h"

enum { LIST_MAX = 1000 };

typedef struct Admin {
    Publisher *publisher;
    Hub *hub;
    xs_http *x;
    Space *space;
} Admin;

static void reply(xs_http *x, bool ok, Buf *body, const xs_error *err)
{
    static const xs_header headers[] = {{"Content-Type", "application/json; charset=utf-8"},
                                        {"Cache-Control", "no-store"}};
    if (ok) {
        http_reply_take(x, 200, headers, COUNT_OF(headers), body);
        return;
    }
    buf_deinit(body);
    const xs_code_info *info = xs_code_get(err->code);
    http_reply_error(x, info->status, info->wire, err->message);
}

static Text query_text(xs_http *x, const char *name)
{
    const Const *list = const_get(http_query_map(x), name);
    return list && list->kind == C_LIST && list->count ? const_text_of(list->items[0], (Text){0})
                                                       : (Text){0};
}

/* ?limit=, LIST_MAX when it is missing. */
static bool read_limit(xs_http *x, size_t *limit, xs_error *err)
{
    int64_t n = LIST_MAX;
    Text t = query_text(x, "limit");
    if (t.len && (!num_parse_int(t, &n) || n < 1 || n > LIST_MAX))
        return xs_fail(err, XS_E_BADREQUEST, XS_NO_POS, "Invalid value for param: limit");
    *limit = (size_t)n;
    return true;
}

static void list_channels(const Admin *a)
{
    Buf b = BUF_INIT;
    xs_error err = {0};
    size_t limit;
    bool ok = read_limit(a->x, &limit, &err) &&
              inspect_channels(a->space, query_text(a->x, "prefix"), query_text(a->x, "cursor"),
                               limit, &b, &err);
    reply(a->x, ok, &b, &err);
}

/* "<channel>/<what>" */
static void show_channel(const Admin *a, Text path)
{
    Buf b = BUF_INIT;
    xs_error err = {0};
    size_t slash = path.len, limit;
    while (slash > 0 && path.ptr[slash - 1] != '/')
        slash--;
    Text what = text_slice(path, slash, path.len);
    Text name = http_decode(http_arena(a->x), text_slice(path, 0, slash ? slash - 1 : 0), false);
    bool ok = read_limit(a->x, &limit, &err);
    if (ok && text_eq(what, TEXT("history")))
        ok = inspect_history(a->space, name, query_text(a->x, "since"), limit, &b, &err);
    else if (ok && text_eq(what, TEXT("presence")))
        ok = inspect_presence(a->space, name, &b, &err);
    else if (ok && text_eq(what, TEXT("subscribers")))
        ok = inspect_subscribers(a->space, name, limit, &b, &err);
    else if (ok)
        ok = xs_fail(&err, XS_E_NOTFOUND, XS_NO_POS, "Unable to locate request.");
    reply(a->x, ok, &b, &err);
}

static bool read_target(const Admin *a, const Const *doc, HubTarget *out, xs_error *err)
{
    const Const *identity = const_get(doc, "identity"), *row_id = const_get(identity, "row_id");
    *out = (HubTarget){.socket_id = const_get_text(doc, "socket")};
    if (!identity)
        return out->socket_id.len ||
               xs_fail(err, XS_E_BADREQUEST, XS_NO_POS, "Missing param: identity or socket");
    out->dbo_id = const_int_of(const_get(identity, "dbo_id"), 0);
    if (row_id && row_id->kind == C_INT)
        out->row_id = arena_printf(http_arena(a->x), "%lld", (long long)row_id->i);
    else
        out->row_id = const_text_of(row_id, (Text){0});
    return (out->dbo_id > 0 && out->row_id.len) ||
           xs_fail(err, XS_E_BADREQUEST, XS_NO_POS, "Invalid value for param: identity");
}

static void end(const Admin *a, bool membership)
{
    xs_str body = http_api.body(a->x);
    xs_error err = {0};
    HubTarget who;
    Buf b = BUF_INIT;
    const Const *doc = json_parse(http_arena(a->x), (Text){body.ptr, body.len}, &err);
    Text channel = membership ? const_get_text(doc, "channel") : (Text){0};
    bool ok = doc && doc->kind == C_MAP;
    if (!ok)
        xs_fail(&err, XS_E_BADREQUEST, XS_NO_POS, "Malformed JSON body.");
    else if (membership && !channel.len)
        ok = xs_fail(&err, XS_E_BADREQUEST, XS_NO_POS, "Missing param: channel");
    else
        ok = read_target(a, doc, &who, &err);
    if (ok) {
        bool reconnect = const_bool_of(const_get(doc, "reconnect"), false);
        size_t n = hub_end(a->hub, a->space, &who, channel, reconnect);
        buf_printf(&b, "{\"ok\":true,\"connections\":%zu", n);
        inspect_write_node(a->hub, &b);
    }
    reply(a->x, ok, &b, &err);
}

void admin_handle(Publisher *p, Hub *hub, xs_http *x, Space *space, Text action)
{
    static const struct {
        const char *method, *action;
    } rows[] = {{"POST", "publish"},
                {"GET", "channels"},
                {"GET", "channels/"},
                {"POST", "disconnect"},
                {"POST", "unsubscribe"}};
    Admin a = {p, hub, x, space};
    size_t row = COUNT_OF(rows);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Text name = text_from(rows[i].action);
        if (text_eq(action, name) || (name.ptr[name.len - 1] == '/' && text_starts(action, name)))
            row = i;
    }
    if (row == COUNT_OF(rows)) {
        http_reply_error(x, 404, "ERROR_CODE_NOT_FOUND", "Unable to locate request.");
        return;
    }
    if (strcmp(http_api.method(x), rows[row].method) != 0) {
        http_add_header(x, "Allow", text_from(rows[row].method));
        http_reply_error(x, 405, "ERROR_CODE_BAD_REQUEST", "Method not allowed.");
        return;
    }
    if (!publisher_trusts(p, x))
        return;
    switch (row) {
    case 0: publisher_handle(p, x, space); break;
    case 1: list_channels(&a); break;
    case 2: show_channel(&a, text_slice(action, strlen("channels/"), action.len)); break;
    default: end(&a, row == 4);
    }
}
