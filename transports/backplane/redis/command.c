/* command.c - the words of messages, and commands for Redis. */
#include "transports/backplane/redis/redis.h"

void rp_complain(Redis *r, const char *what)
{
    int64_t now = transport_mono_ms();
    if (r->complained_ms && now - r->complained_ms < 1000)
        return; /* once a second is enough */
    r->complained_ms = now;
    r->host.log(1, "backplane: %s", what);
}

/* ---- words ---- */

xs_str rp_word(xs_str *t)
{
    const char *blank = t->len ? memchr(t->ptr, ' ', t->len) : NULL;
    xs_str w = {t->ptr, blank ? (size_t)(blank - t->ptr) : t->len};
    size_t used = w.len + (blank != NULL);
    *t = (xs_str){t->ptr + used, t->len - used};
    return w;
}

uint64_t rp_number(xs_str *t, unsigned base)
{
    xs_str w = rp_word(t);
    uint64_t n = 0;
    for (size_t i = 0; i < w.len; i++) {
        unsigned char c = (unsigned char)w.ptr[i];
        unsigned digit = c >= '0' && c <= '9'   ? c - '0' + 0u
                         : c >= 'a' && c <= 'f' ? c - 'a' + 10u
                                                : base;
        if (digit >= base)
            return n;
        n = n * base + digit;
    }
    return n;
}

xs_str rp_put(char **at, xs_str t)
{
    xs_str copy = {*at, t.len};
    if (t.len)
        memcpy(*at, t.ptr, t.len);
    *at += t.len;
    return copy;
}

/* ---- commands ---- */

void rp_arg(Command *c, xs_str t)
{
    c->argv[c->n] = t.ptr ? t.ptr : "";
    c->lens[c->n++] = t.len;
}

void rp_arg_text(Command *c, const char *t)
{
    rp_arg(c, (xs_str){t, strlen(t)});
}

void rp_arg_int(Command *c, int64_t n)
{
    char *d = c->digits[c->ndigits++];
    snprintf(d, sizeof c->digits[0], "%" PRId64, n);
    rp_arg_text(c, d);
}

bool rp_key(const Redis *r, char out[KEY_BYTES], xs_str space, const char *name, xs_str rest)
{
    int n = snprintf(out, KEY_BYTES, "%s%.*s}:%s%s%.*s", r->prefix, (int)space.len, space.ptr, name,
                     rest.len ? ":" : "", (int)rest.len, rest.ptr ? rest.ptr : "");
    return n > 0 && n < KEY_BYTES;
}

void rp_arg_key(const Redis *r, Command *c, xs_str space, const char *name, xs_str rest)
{
    char *key = c->keys[c->nkeys++];
    if (!rp_key(r, key, space, name, rest))
        key[0] = '\0'; /* names were measured by enqueue */
    rp_arg_text(c, key);
}

void rp_begin(const Redis *r, Command *c, int which, int nkeys)
{
    *c = (Command){.n = 0};
    rp_arg_text(c, "EVALSHA");
    rp_arg_text(c, r->sha[which]);
    rp_arg_int(c, nkeys);
}

void rp_send(Redis *r, redisAsyncContext *to, redisCallbackFn *done, const Command *c)
{
    if (to && rp_send_with(to, done, r, c) != REDIS_OK)
        rp_lose(r, "out of memory"); /* else the next answer would be taken for that of this one */
}

int rp_send_with(redisAsyncContext *to, redisCallbackFn *done, void *ctx, const Command *c)
{
    return redisAsyncCommandArgv(to, done, ctx, c->n, (const char **)(uintptr_t)c->argv, c->lens);
}
