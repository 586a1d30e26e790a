/* pattern.c - which configuration a channel name has: a literal first, then the longest prefix. */
#include "host/hub/pattern.h"

#include <stdlib.h>

#include "core/mem.h"
#include "core/text.h"

bool channel_name_valid(Text name)
{
    if (name.len == 0 || name.len > CHANNEL_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (c < 0x21 || c > 0x7E || memchr("\"\\*{},", c, 6))
            return false;
    }
    return true;
}

bool channel_pattern_valid(Text pattern)
{
    if (pattern.len == 0 || pattern.ptr[pattern.len - 1] != '*')
        return channel_name_valid(pattern);
    if (pattern.len == 1)
        return true;
    Text prefix = text_slice(pattern, 0, pattern.len - 1);
    char last = prefix.ptr[prefix.len - 1];
    return channel_name_valid(prefix) && (last == ':' || last == '/');
}

bool channel_tenant_ok(Text name, Text tenant)
{
    Text rest = text_slice(name, sizeof "tenant:" - 1, name.len);
    if (!text_starts(name, TEXT("tenant:")))
        return true;
    size_t colon = text_find(rest, TEXT(":"), 0);
    return colon == SIZE_MAX || text_eq(text_slice(rest, 0, colon), tenant);
}

static ChannelConfig read_config(const Const *c)
{
    const Const *settings = const_get(c, "settings");
    const Const *pub = const_get(c, "public"), *priv = const_get(c, "private");
    int64_t history = const_int_of(const_get(settings, "message_history"), 0);
    return (ChannelConfig){
        .pattern = const_get_text(c, "pattern"),
        .active = const_bool_of(const_get(c, "active"), false),
        .anonymous_clients = const_bool_of(const_get(settings, "anonymous_clients"), false),
        .presence = const_bool_of(const_get(settings, "presence"), false),
        .auth_channel = const_bool_of(const_get(settings, "auth_channel"), false),
        .public_active = const_bool_of(const_get(pub, "active"), false),
        .public_auth = const_bool_of(const_get(pub, "auth"), false),
        .private_active = const_bool_of(const_get(priv, "active"), false),
        .private_auth = const_bool_of(const_get(priv, "auth"), false),
        .history = (uint32_t)(history < 0                     ? 0
                              : history > CHANNEL_HISTORY_MAX ? CHANNEL_HISTORY_MAX
                                                              : history),
    };
}

static bool is_nested(const Const *c)
{
    return const_bool_of(const_get(c, "nested"), false) ||
           const_bool_of(const_get(const_get(c, "settings"), "nested_channels"), false);
}

static int longest_first(const void *a, const void *b)
{
    const PatternPrefix *x = a, *y = b;
    if (x->prefix.len != y->prefix.len)
        return x->prefix.len > y->prefix.len ? -1 : 1;
    return x->config < y->config ? -1 : x->config > y->config; /* of equal ones the first wins */
}

/* Room for a copy of each pattern and a '/'. */
static bool alloc_tables(Patterns *p, const Const *channels)
{
    size_t text_bytes = 0;
    for (uint32_t i = 0; i < channels->count; i++)
        text_bytes += const_get_text(channels->items[i], "pattern").len + 1;
    p->nconfigs = channels->count;
    p->configs = mem_zalloc(p->nconfigs, sizeof *p->configs);
    p->prefixes = mem_zalloc(p->nconfigs, sizeof *p->prefixes);
    p->texts = mem_alloc(text_bytes);
    return p->configs && p->prefixes && p->texts;
}

/* The declarations may go while this stays: every text is a copy. */
static bool add_config(Patterns *p, const Const *c, ChannelConfig *config, size_t *text_at)
{
    *config = read_config(c);
    char *copy = p->texts + *text_at;
    memcpy(copy, config->pattern.ptr, config->pattern.len);
    copy[config->pattern.len] = '/';
    Text pattern = {copy, config->pattern.len};
    config->pattern = pattern;
    *text_at += pattern.len + 1;
    if (pattern.ptr[pattern.len - 1] == '*') {
        p->prefixes[p->nprefixes++] =
            (PatternPrefix){text_slice(pattern, 0, pattern.len - 1), config};
        return true;
    }
    if (!map_get(&p->literals, pattern) && !map_put(&p->literals, pattern, config))
        return false;
    if (is_nested(c))
        p->prefixes[p->nprefixes++] = (PatternPrefix){{copy, pattern.len + 1}, config};
    return true;
}

bool patterns_init(Patterns *p, const Const *channels, Text default_channel, xs_error *err)
{
    *p = (Patterns){.implicit = {.active = true, .implicit = true}};
    p->implicit.anonymous_clients = text_eq(default_channel, TEXT("anonymous"));
    p->implicit.closed = text_eq(default_channel, TEXT("closed"));
    if (!channels || channels->kind != C_LIST || channels->count == 0)
        return true;
    if (!alloc_tables(p, channels))
        goto no_memory;
    size_t text_at = 0;
    for (uint32_t i = 0; i < channels->count; i++) {
        Text pattern = const_get_text(channels->items[i], "pattern");
        if (!channel_pattern_valid(pattern)) {
            patterns_deinit(p);
            return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                           "channel pattern \"" TEXT_FMT "\" matches no channel name",
                           TEXT_ARG(text_slice(pattern, 0, CHANNEL_NAME_MAX)));
        }
        if (!add_config(p, channels->items[i], &p->configs[i], &text_at))
            goto no_memory;
    }
    qsort(p->prefixes, p->nprefixes, sizeof *p->prefixes, longest_first);
    return true;
no_memory:
    patterns_deinit(p);
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
}

void patterns_deinit(Patterns *p)
{
    mem_free(p->configs);
    mem_free(p->prefixes);
    mem_free(p->texts);
    map_deinit(&p->literals);
    *p = (Patterns){0};
}

Patterns *patterns_new(const Const *channels, Text default_channel, xs_error *err)
{
    Patterns *p = mem_alloc(sizeof *p);
    if (!p) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    if (patterns_init(p, channels, default_channel, err))
        return p;
    mem_free(p);
    return NULL;
}

void patterns_free(Patterns *p)
{
    if (p)
        patterns_deinit(p);
    mem_free(p);
}

const ChannelConfig *patterns_resolve(const Patterns *p, Text name)
{
    if (!p->configs)
        return &p->implicit;
    const ChannelConfig *config = map_get(&p->literals, name);
    for (size_t i = 0; i < p->nprefixes && !config; i++) {
        Text prefix = p->prefixes[i].prefix;
        if (name.len > prefix.len && text_starts(name, prefix))
            config = p->prefixes[i].config;
    }
    return config && config->active ? config : NULL;
}
