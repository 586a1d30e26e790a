/* clause.c - a key is a digest of what the clause names. */
#include "stdlib/cache/clause.h"

#include <sodium.h>
#include <strings.h>

#include "core/json.h"
#include "core/text.h"

enum { DIGEST_BYTES = 32, DEFAULT_TTL_S = 3600 };

int64_t cache_clause_ttl(const Const *clause)
{
    int64_t ttl = clause ? const_int_of(const_get(clause, "ttl"), DEFAULT_TTL_S) : 0;
    return ttl <= 0 ? 0 : ttl < INT64_MAX / 1000 ? ttl * 1000 : INT64_MAX;
}

/* Language §4.2: what is not said counts as these. */
static bool part(const Const *clause, const char *name, bool otherwise)
{
    return const_bool_of(const_get(clause, name), otherwise);
}

static void add(Buf *b, const char *name, Text value)
{
    buf_cstr(b, name);
    buf_char(b, ' ');
    json_write_text(b, value);
    buf_char(b, '\n');
}

static void add_const(Buf *b, const char *name, const Const *value)
{
    buf_cstr(b, name);
    buf_char(b, ' ');
    json_write_const(b, value ? value : &const_null);
    buf_char(b, '\n');
}

static bool same_name(Text a, Text b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

static const Const *header(const Const *headers, Text name)
{
    for (uint32_t i = 0; headers && i < headers->count; i++)
        if (same_name(headers->pairs[i].key, name))
            return headers->pairs[i].value;
    return NULL;
}

static void describe(Buf *b, const CacheSubject *s)
{
    const Const *clause = s->clause, *headers = const_get(clause, "headers"),
                *vars = const_get(clause, "env");
    const RunContext none = {0}, *run = s->run ? s->run : &none;
    add(b, "name", s->name);
    if (part(clause, "input", true))
        add(b, "input", s->input);
    if (part(clause, "auth", true)) {
        add(b, "table", run->auth_table);
        add_const(b, "auth", run->auth);
    }
    if (part(clause, "datasource", true)) {
        add(b, "datasource", run->datasource);
        buf_printf(b, "source %u\n", s->source);
    }
    if (part(clause, "ip", false))
        add(b, "ip", run->remote_ip);
    for (uint32_t i = 0; headers && headers->kind == C_LIST && i < headers->count; i++)
        add_const(b, "header",
                  header(run->headers, const_text_of(headers->items[i], (Text){"", 0})));
    for (uint32_t i = 0; s->env && vars && vars->kind == C_LIST && i < vars->count; i++)
        add(b, "env", s->env(s->ctx, const_text_of(vars->items[i], (Text){"", 0})));
}

Text cache_clause_key(Arena *a, const CacheSubject *s)
{
    unsigned char digest[DIGEST_BYTES];
    char hex[2 * DIGEST_BYTES + 1];
    Buf b = BUF_INIT;
    describe(&b, s);
    bool ok = !b.failed;
    if (ok)
        crypto_generichash(digest, sizeof digest, (const unsigned char *)b.ptr, b.len, NULL, 0);
    buf_deinit(&b);
    if (!ok)
        return (Text){0};
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    return arena_printf(a, "\x01" TEXT_FMT " %s", TEXT_ARG(s->kind), hex);
}
