/* l2_def.c - reads the four lists of the bundle metadata (core/lang/README.md). */
#include "host/hub/l2_def.h"

#include <stdlib.h>

#include "core/buf.h"
#include "core/json.h"
#include "core/text.h"

enum { PATH_MAX_BYTES = 200, MAX_RETENTION = 1000000, MS = 1000 };

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
}

static uint32_t rows_of(const Const *list)
{
    return list && list->kind == C_LIST ? list->count : 0;
}

static uint32_t count_named(const Const *rows, const char *key, Text name, const char *key2,
                            Text name2)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rows_of(rows); i++)
        n += text_eq(const_get_text(rows->items[i], key), name) &&
             (!key2 || text_eq(const_get_text(rows->items[i], key2), name2));
    return n;
}

static bool word_byte(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c == '-';
}

bool l2_path_valid(Text path)
{
    if (!path.len || path.len > PATH_MAX_BYTES)
        return false;
    for (size_t i = 0; i < path.len; i++) {
        bool slash = path.ptr[i] == '/';
        bool edge = i == 0 || i + 1 == path.len || path.ptr[i - 1] == '/';
        if (slash ? edge : !word_byte(path.ptr[i]))
            return false;
    }
    return true;
}

static bool next_segment(Text path, size_t *from, Text *segment)
{
    if (*from > path.len)
        return false;
    size_t end = text_find(path, TEXT("/"), *from);
    *segment = text_slice(path, *from, end);
    *from = end == SIZE_MAX ? path.len + 1 : end + 1;
    return true;
}

static bool is_param(Text segment)
{
    return segment.len > 2 && segment.ptr[0] == '{';
}

/* ---- channels ---- */

static bool read_segments(L2Channel *ch, Arena *a, xs_error *err)
{
    Text segment;
    size_t n = 0;
    for (size_t from = 0; next_segment(ch->path, &from, &segment);)
        n++;
    if (!ch->path.len || n > L2_MAX_SEGMENTS)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "channel '" TEXT_FMT "' is malformed",
                       TEXT_ARG(ch->path));
    ch->segments = ARENA_ARRAY(a, Text, n);
    if (!ch->segments)
        return no_memory(err);
    for (size_t from = 0; next_segment(ch->path, &from, &segment);)
        ch->segments[ch->nsegments++] = segment;
    return true;
}

static L2Target target_of(Text t)
{
    return text_eq(t, TEXT("others"))     ? L2_TO_OTHERS
           : text_eq(t, TEXT("sender"))   ? L2_TO_SENDER
           : text_eq(t, TEXT("explicit")) ? L2_TO_NOBODY
                                          : L2_TO_CHANNEL;
}

static bool read_messages(L2Channel *ch, const Const *rows, Arena *a, xs_error *err)
{
    uint32_t n = count_named(rows, "server", ch->server->name, "channel", ch->path);
    ch->messages = ARENA_ARRAY(a, L2Message, n ? n : 1);
    if (!ch->messages)
        return no_memory(err);
    for (uint32_t i = 0; i < rows_of(rows); i++) {
        const Const *row = rows->items[i];
        if (!text_eq(const_get_text(row, "server"), ch->server->name) ||
            !text_eq(const_get_text(row, "channel"), ch->path))
            continue;
        int64_t proc = const_int_of(const_get(row, "proc"), -1);
        if (proc < 0 || proc > UINT32_MAX)
            return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "a message has no procedure");
        ch->messages[ch->nmessages++] =
            (L2Message){.name = const_get_text(row, "name"),
                        .auth = const_get_text(row, "auth"),
                        .active = const_bool_of(const_get(row, "active"), true),
                        .to = target_of(const_get_text(row, "deliver_to")),
                        .proc = (uint32_t)proc,
                        .middleware = const_get(row, "middleware")};
    }
    return true;
}

static int64_t bounded(const Const *c, int64_t max)
{
    int64_t n = const_int_of(c, 0);
    return n < 0 ? 0 : n > max ? max : n;
}

static void read_settings(L2Channel *ch, const Const *row)
{
    const Const *access = const_get(row, "access"), *publish = const_get(row, "publish");
    const Const *talk = const_get(row, "conversation"), *delivery = const_get(row, "delivery");
    Text who = const_get_text(publish, "who");
    ch->active = const_bool_of(const_get(row, "active"), true);
    ch->anonymous = const_bool_of(const_get(access, "anonymous"), false);
    ch->presence = const_bool_of(const_get(access, "presence"), false);
    ch->who = text_eq(who, TEXT("anyone"))          ? L2_ANYONE
              : text_eq(who, TEXT("authenticated")) ? L2_AUTHENTICATED
                                                    : L2_NOBODY;
    ch->direct = const_bool_of(const_get(publish, "direct"), false);
    ch->limit = (uint32_t)bounded(const_get(talk, "limit"), MAX_RETENTION);
    ch->transcript = const_bool_of(const_get(talk, "enabled"), false) && ch->limit > 0;
    ch->ttl_ms = bounded(const_get(talk, "ttl"), INT32_MAX) * MS;
    ch->at_least_once = text_eq(const_get_text(delivery, "guarantee"), TEXT("at_least_once"));
    ch->per_recipient = const_bool_of(const_get(delivery, "per_recipient"), false);
    ch->messages_per_minute = (uint32_t)bounded(const_get(row, "messages_per_minute"), INT32_MAX);
    ch->proc = const_int_of(const_get(row, "proc"), -1);
    ch->middleware = const_get(row, "middleware");
    ch->config =
        (ChannelConfig){.pattern = ch->path, .active = ch->active, .presence = ch->presence};
}

static bool read_channels(L2Server *s, const Const *meta, Arena *a, xs_error *err)
{
    const Const *rows = const_get(meta, "server_channels");
    uint32_t n = count_named(rows, "server", s->name, NULL, (Text){0});
    s->channels = ARENA_ARRAY(a, L2Channel, n ? n : 1);
    if (!s->channels)
        return no_memory(err);
    for (uint32_t i = 0; i < rows_of(rows); i++) {
        const Const *row = rows->items[i];
        if (!text_eq(const_get_text(row, "server"), s->name))
            continue;
        L2Channel *ch = &s->channels[s->nchannels++];
        ch->server = s;
        ch->path = const_get_text(row, "path");
        read_settings(ch, row);
        if (!read_segments(ch, a, err) || !read_messages(ch, const_get(meta, "messages"), a, err))
            return false;
        s->open = s->open || (s->active && ch->active);
        s->anonymous = s->anonymous || (ch->active && ch->anonymous);
    }
    return true;
}

/* ---- triggers ---- */

static const char *const action_names[L2_ACTION_COUNT] = {"connect", "disconnect", "join",
                                                          "leave",   "deliver",    ""};

static bool read_trigger(const Const *row, L2Trigger *t, xs_error *err)
{
    const Const *actions = const_get(row, "actions");
    int64_t proc = const_int_of(const_get(row, "proc"), -1);
    if (proc < 0 || proc > UINT32_MAX)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "a trigger has no procedure");
    *t = (L2Trigger){.name = const_get_text(row, "name"), .proc = (uint32_t)proc};
    for (int i = 0; i < L2_MESSAGE; i++)
        t->actions[i] = const_bool_of(const_get(actions, action_names[i]), false);
    return true;
}

static int by_name(const void *va, const void *vb)
{
    const L2Trigger *const *a = va, *const *b = vb;
    return text_cmp((*a)->name, (*b)->name);
}

/* The triggers whose text member `key` names this server and channel; those that name the channel
 * come before those of any channel. */
static bool collect_triggers(const Const *rows, const L2Trigger *all, Text server, bool of_channel,
                             Text path, Arena *a, const L2Trigger ***out, size_t *count)
{
    *out = ARENA_ARRAY(a, const L2Trigger *, rows_of(rows) + 1u);
    if (!*out)
        return false;
    for (int general = 0; general < 2; general++) {
        size_t first = *count;
        for (uint32_t i = 0; i < rows_of(rows); i++) {
            const Const *row = rows->items[i], *channel = const_get(row, "channel");
            Text of = const_get_text(row, "server"), at = const_text_of(channel, (Text){0});
            bool right = (channel != NULL) == of_channel && (!of.len || text_eq(of, server)) &&
                         const_bool_of(const_get(row, "active"), true);
            bool any = of_channel ? !at.len : !of.len;
            if (right && any == general && (any || !of_channel || text_eq(at, path)))
                (*out)[(*count)++] = &all[i];
        }
        if (*count > first)
            qsort(*out + first, *count - first, sizeof **out, by_name);
    }
    return true;
}

bool l2_has_trigger(const L2Server *s, const L2Channel *ch, L2Action action)
{
    const L2Trigger *const *list = ch ? ch->triggers : s->triggers;
    size_t n = ch ? ch->ntriggers : s->ntriggers;
    for (size_t i = 0; i < n; i++)
        if (list[i]->actions[action])
            return true;
    return false;
}

static bool read_triggers(L2Defs *d, const Const *meta, xs_error *err)
{
    const Const *rows = const_get(meta, "server_triggers");
    L2Trigger *all = ARENA_ARRAY(&d->arena, L2Trigger, rows_of(rows) + 1u);
    if (!all)
        return no_memory(err);
    for (uint32_t i = 0; i < rows_of(rows); i++)
        if (!read_trigger(rows->items[i], &all[i], err))
            return false;
    for (size_t i = 0; i < d->count; i++) {
        L2Server *s = &d->servers[i];
        if (!collect_triggers(rows, all, s->name, false, (Text){0}, &d->arena, &s->triggers,
                              &s->ntriggers))
            return no_memory(err);
        for (size_t k = 0; k < s->nchannels; k++) {
            L2Channel *ch = &s->channels[k];
            if (!collect_triggers(rows, all, s->name, true, ch->path, &d->arena, &ch->triggers,
                                  &ch->ntriggers))
                return no_memory(err);
            ch->per_recipient = ch->per_recipient && l2_has_trigger(s, ch, L2_DELIVER);
            d->recorded = d->recorded || (s->active && ch->active && l2_recorded(ch));
        }
    }
    return true;
}

/* ---- servers ---- */

static bool read_server(L2Defs *d, const Const *row, const Const *meta, xs_error *err)
{
    L2Server *s = &d->servers[d->count];
    *s = (L2Server){.name = const_get_text(row, "name"),
                    .canonical = const_get_text(row, "canonical"),
                    .active = const_bool_of(const_get(row, "active"), false),
                    .middleware = const_get(row, "middleware")};
    for (size_t i = 0; i < d->count; i++)
        if (text_eq(d->servers[i].canonical, s->canonical))
            return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                           "realtime servers '" TEXT_FMT "' and '" TEXT_FMT
                           "' have the same canonical",
                           TEXT_ARG(d->servers[i].name), TEXT_ARG(s->name));
    d->count++;
    return read_channels(s, meta, &d->arena, err);
}

/* The four lists in the arena: the bundle may go before the hub does. */
static const Const *copy_lists(Arena *a, const Const *meta, xs_error *err)
{
    static const char *const names[] = {"servers", "server_channels", "messages",
                                        "server_triggers"};
    Buf b = BUF_INIT;
    buf_char(&b, '{');
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const Const *list = const_get(meta, names[i]);
        buf_printf(&b, "%s\"%s\":", i ? "," : "", names[i]);
        json_write_const(&b, list ? list : &const_null);
    }
    buf_char(&b, '}');
    const Const *copy = b.failed ? NULL : json_parse(a, buf_view(&b), err);
    if (!copy)
        no_memory(err);
    buf_deinit(&b);
    return copy;
}

bool l2_defs_init(L2Defs *d, const Const *bundle, xs_error *err)
{
    *d = (L2Defs){0};
    arena_init(&d->arena, 0);
    const Const *meta = copy_lists(&d->arena, bundle, err);
    if (!meta) {
        l2_defs_deinit(d);
        return false;
    }
    const Const *rows = const_get(meta, "servers");
    d->servers = ARENA_ARRAY(&d->arena, L2Server, rows_of(rows) + 1u);
    bool ok = d->servers || no_memory(err);
    for (uint32_t i = 0; ok && i < rows_of(rows); i++)
        ok = read_server(d, rows->items[i], meta, err);
    ok = ok && read_triggers(d, meta, err);
    if (!ok)
        l2_defs_deinit(d);
    return ok;
}

void l2_defs_deinit(L2Defs *d)
{
    arena_deinit(&d->arena);
    *d = (L2Defs){0};
}

const L2Server *l2_server_named(const L2Defs *d, Text name)
{
    for (size_t i = 0; i < d->count; i++)
        if (text_eq(d->servers[i].name, name))
            return &d->servers[i];
    return NULL;
}

/* ---- paths ---- */

static size_t split(Text path, Text *out, size_t max)
{
    size_t n = 0;
    Text segment;
    for (size_t from = 0; n < max && next_segment(path, &from, &segment);)
        out[n++] = segment;
    return n;
}

static bool fits(const L2Channel *ch, const Text *segments, size_t n)
{
    bool ok = ch->active && ch->nsegments == n;
    for (size_t i = 0; ok && i < n; i++)
        ok = is_param(ch->segments[i]) || text_eq(ch->segments[i], segments[i]);
    return ok;
}

/* Two channels that both fit: the first literal against a parameter, from the left, decides. */
static bool more_literal(const L2Channel *a, const L2Channel *b)
{
    for (size_t i = 0; i < a->nsegments; i++)
        if (is_param(a->segments[i]) != is_param(b->segments[i]))
            return is_param(b->segments[i]);
    return false;
}

const L2Channel *l2_match(const L2Server *s, Text path)
{
    Text segments[L2_MAX_SEGMENTS + 1];
    const L2Channel *best = NULL;
    if (!l2_path_valid(path))
        return NULL;
    size_t n = split(path, segments, COUNT_OF(segments));
    for (size_t i = 0; i < s->nchannels; i++)
        if (fits(&s->channels[i], segments, n) && (!best || more_literal(&s->channels[i], best)))
            best = &s->channels[i];
    return best;
}

bool l2_param(const L2Channel *ch, Text path, size_t i, Text *name, Text *value)
{
    size_t from = 0;
    for (size_t k = 0; k < ch->nsegments; k++) {
        Text segment = ch->segments[k];
        if (!next_segment(path, &from, value))
            return false;
        if (is_param(segment) && i-- == 0) {
            *name = text_slice(segment, 1, segment.len - 1);
            return true;
        }
    }
    return false;
}

const L2Message *l2_message(const L2Channel *ch, Text name)
{
    for (size_t i = 0; i < ch->nmessages; i++)
        if (ch->messages[i].active && text_eq(ch->messages[i].name, name))
            return &ch->messages[i];
    return NULL;
}
