/* redis.c - the cache on a Redis server: one connection with hiredis on the I/O thread, opened at
 * the first request and again after it broke. A request that is given up leaves its answer to be
 * thrown away. */
#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "include/xs/redisurl.h"
#include "stdlib/cache/cache.h"

enum { COMMAND_MS = 5000, ARGS_MAX = 8 };

struct Redis {
    Io *io;
    xs_redis_url url;
    redisAsyncContext *link; /* loop thread; NULL = not connected */
};

/* What a command's callback gets; wait NULL: given up. */
typedef struct Ticket {
    struct RedisWait *wait;
    Redis *redis;
} Ticket;

typedef struct RedisWait {
    Wait wait;
    Redis *redis;
    CacheReq req; /* texts behind the struct */
    Ticket *ticket;
    Buf out;
    xs_error err;
} RedisWait;

/* ---- answers ---- */

static bool is_json(Text t)
{
    JsonReader reader;
    JsonTok tok;
    json_reader_init(&reader, t);
    do
        tok = json_next(&reader);
    while (tok != JSON_END && tok != JSON_ERROR);
    json_reader_deinit(&reader);
    return tok == JSON_END;
}

/* Others may have written plain text there. */
static void write_item(Buf *out, const redisReply *reply)
{
    Text t = {reply->str, (size_t)reply->len};
    if (reply->type != REDIS_REPLY_STRING)
        buf_cstr(out, "null");
    else if (is_json(t))
        buf_text(out, t);
    else
        json_write_text(out, t);
}

static int by_text(const void *a, const void *b)
{
    const redisReply *x = *(redisReply *const *)a, *y = *(redisReply *const *)b;
    return text_cmp((Text){x->str, (size_t)x->len}, (Text){y->str, (size_t)y->len});
}

static void write_list(const CacheReq *req, Buf *out, redisReply *reply)
{
    if (req->op == CACHE_KEYS && reply->elements)
        qsort(reply->element, reply->elements, sizeof(redisReply *), by_text);
    buf_char(out, '[');
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *item = reply->element[i];
        if (i)
            buf_char(out, ',');
        if (req->op == CACHE_KEYS)
            json_write_text(out, text_slice((Text){item->str, (size_t)item->len}, req->key.len,
                                            (size_t)item->len));
        else
            write_item(out, item);
    }
    buf_char(out, ']');
}

static void take_reply(RedisWait *w, redisReply *reply)
{
    const CacheReq *req = &w->req;
    bool nil = reply->type == REDIS_REPLY_NIL;
    if (reply->type == REDIS_REPLY_ERROR) {
        Text t = {reply->str, (size_t)reply->len};
        if (text_starts(t, TEXT("WRONGTYPE")))
            (void)xs_fail(&w->err, XS_E_STANDARD, XS_NO_POS, "Wrong key type.");
        else if (text_find(t, TEXT("not an integer"), 0) != SIZE_MAX)
            (void)xs_fail(&w->err, XS_E_NOT_NUMERIC, XS_NO_POS, "Not numeric.");
        else
            (void)xs_fail(&w->err, XS_E_IO, XS_NO_POS, "Redis: " TEXT_FMT,
                          TEXT_ARG(text_slice(t, 0, 200)));
        return;
    }
    switch (req->op) {
    case CACHE_SET: buf_cstr(&w->out, !req->flag ? "null" : nil ? "false" : "true"); break;
    case CACHE_DEL: buf_cstr(&w->out, "null"); break;
    case CACHE_HAS: buf_cstr(&w->out, reply->integer ? "true" : "false"); break;
    case CACHE_LIMIT: buf_cstr(&w->out, reply->integer <= req->m ? "true" : "false"); break;
    default:
        if (reply->type == REDIS_REPLY_ARRAY)
            write_list(req, &w->out, reply);
        else if (reply->type == REDIS_REPLY_INTEGER)
            json_write_int(&w->out, reply->integer);
        else if (nil && (req->op == CACHE_POP || req->op == CACHE_SHIFT) && req->flag)
            buf_cstr(&w->out, "[]");
        else
            write_item(&w->out, reply);
    }
}

static void on_reply(redisAsyncContext *link, void *reply, void *arg)
{
    Ticket *t = arg;
    RedisWait *w = t->wait;
    mem_free(t);
    if (!w)
        return;
    w->ticket = NULL;
    if (reply)
        take_reply(w, reply);
    else
        (void)xs_fail(&w->err, XS_E_IO, XS_NO_POS, "Redis: %s",
                      link->errstr && *link->errstr ? link->errstr : "the connection was lost");
    wait_done(&w->wait);
}

/* ---- connection ---- */

static void on_disconnect(const redisAsyncContext *link, int status)
{
    (void)status;
    Redis *r = link->data;
    if (r->link == link)
        r->link = NULL; /* hiredis frees it behind this */
}

static void on_connect(const redisAsyncContext *link, int status)
{
    if (status != REDIS_OK)
        on_disconnect(link, status);
}

/* A refused login breaks the connection: the commands behind it fail with its reason. */
static void on_login(redisAsyncContext *link, void *reply, void *arg)
{
    (void)arg;
    const redisReply *answer = reply;
    if (answer && answer->type == REDIS_REPLY_ERROR)
        redisAsyncDisconnect(link);
}

static bool connect_now(Redis *r, xs_error *err)
{
    redisAsyncContext *link = redisAsyncConnect(r->url.host, r->url.port);
    if (!link)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    if (link->err || redisLibeventAttach(link, io_base(r->io)) != REDIS_OK) {
        (void)xs_fail(err, XS_E_IO, XS_NO_POS, "Redis: %s",
                      link->err ? link->errstr : "no event loop");
        redisAsyncFree(link);
        return false;
    }
    link->data = r;
    r->link = link;
    redisAsyncSetConnectCallback(link, on_connect);
    redisAsyncSetDisconnectCallback(link, on_disconnect);
    if (r->url.user)
        redisAsyncCommand(link, on_login, NULL, "AUTH %s %s", r->url.user, r->url.password);
    else if (r->url.password)
        redisAsyncCommand(link, on_login, NULL, "AUTH %s", r->url.password);
    if (r->url.number)
        redisAsyncCommand(link, on_login, NULL, "SELECT %d", r->url.number);
    return true;
}

/* ---- commands ---- */

typedef struct Command {
    const char *argv[ARGS_MAX];
    size_t lens[ARGS_MAX];
    int n;
    char digits[3][NUM_TEXT_MAX];
    int ndigits;
} Command;

static void arg_text(Command *c, Text t)
{
    c->argv[c->n] = t.ptr ? t.ptr : "";
    c->lens[c->n++] = t.len;
}

static void arg_int(Command *c, int64_t n)
{
    char *d = c->digits[c->ndigits++];
    arg_text(c, (Text){d, num_write_int(n, d)});
}

static void build(const CacheReq *q, Command *c, Text pattern)
{
    static const Text names[] = {
        [CACHE_GET] = TEXT("GET"),       [CACHE_HAS] = TEXT("EXISTS"),
        [CACHE_COUNT] = TEXT("LLEN"),    [CACHE_SET] = TEXT("SET"),
        [CACHE_DEL] = TEXT("DEL"),       [CACHE_ADD] = TEXT("INCRBY"),
        [CACHE_KEYS] = TEXT("KEYS"),     [CACHE_PUSH] = TEXT("RPUSH"),
        [CACHE_UNSHIFT] = TEXT("LPUSH"), [CACHE_POP] = TEXT("RPOP"),
        [CACHE_SHIFT] = TEXT("LPOP"),    [CACHE_RANGE] = TEXT("LRANGE"),
        [CACHE_REMOVE] = TEXT("LREM"),   [CACHE_LIMIT] = TEXT("EVAL"),
    };
    arg_text(c, names[q->op]);
    if (q->op == CACHE_LIMIT) {
        arg_text(c, TEXT("local n=redis.call('INCR',KEYS[1]) if n==1 then "
                         "redis.call('PEXPIRE',KEYS[1],ARGV[1]) end return n"));
        arg_text(c, TEXT("1"));
    }
    arg_text(c, q->op == CACHE_KEYS ? pattern : q->key);
    switch (q->op) {
    case CACHE_SET:
        arg_text(c, q->value);
        if (q->ttl_ms > 0) {
            arg_text(c, TEXT("PX"));
            arg_int(c, q->ttl_ms);
        }
        if (q->flag)
            arg_text(c, TEXT("NX"));
        break;
    case CACHE_ADD: arg_int(c, q->n); break;
    case CACHE_PUSH:
    case CACHE_UNSHIFT: arg_text(c, q->value); break;
    case CACHE_POP:
    case CACHE_SHIFT:
        if (q->flag)
            arg_int(c, q->n);
        break;
    case CACHE_RANGE:
        arg_int(c, q->n);
        arg_int(c, q->m);
        break;
    case CACHE_REMOVE:
        arg_int(c, q->n);
        arg_text(c, q->value);
        break;
    case CACHE_LIMIT: arg_int(c, q->ttl_ms > 0 ? q->ttl_ms : 1); break;
    default: break;
    }
}

static void start(Wait *wait)
{
    RedisWait *w = (RedisWait *)wait;
    Redis *r = w->redis;
    Buf pattern = BUF_INIT;
    Command c = {.n = 0};
    buf_text(&pattern, w->req.key);
    buf_text(&pattern, w->req.value);
    build(&w->req, &c, buf_view(&pattern));
    w->ticket = mem_alloc(sizeof *w->ticket);
    bool ok = w->ticket && !pattern.failed
                  ? r->link || connect_now(r, &w->err)
                  : xs_fail(&w->err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    if (ok) {
        *w->ticket = (Ticket){w, r};
        ok = redisAsyncCommandArgv(r->link, on_reply, w->ticket, c.n, c.argv, c.lens) == REDIS_OK ||
             xs_fail(&w->err, XS_E_IO, XS_NO_POS, "Redis: the connection is closing");
    }
    buf_deinit(&pattern);
    if (ok)
        return;
    mem_free(w->ticket);
    w->ticket = NULL;
    wait_done(wait);
}

static void cancel(Wait *wait)
{
    RedisWait *w = (RedisWait *)wait;
    if (w->ticket)
        w->ticket->wait = NULL;
    w->ticket = NULL;
    (void)xs_fail(&w->err, XS_E_IO, XS_NO_POS, "Redis: no answer in time");
}

static bool result(Wait *wait, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)thrown;
    RedisWait *w = (RedisWait *)wait;
    if (w->err.code != XS_OK) {
        *err = w->err;
        return false;
    }
    if (w->out.failed || !w->out.len)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    *out = val_parse_json(h, buf_view(&w->out), err);
    return out->kind != V_UNSET && cache_admit(&w->req, *out, err);
}

static void wait_free(Wait *wait)
{
    RedisWait *w = (RedisWait *)wait;
    buf_deinit(&w->out);
    mem_free(w);
}

static const WaitOps ops = {start, cancel, result, wait_free};

NativeResult redis_run(Call *c, Redis *r, const CacheReq *req)
{
    RedisWait *w = mem_zalloc(1, sizeof *w + req->key.len + req->value.len + 1);
    if (!w) {
        call_fail(c, XS_E_NOMEM, NULL);
        return NATIVE_ERROR;
    }
    char *texts = (char *)(w + 1);
    w->wait.ops = &ops;
    w->wait.timeout_ms = COMMAND_MS;
    w->redis = r;
    w->req = *req;
    if (req->key.len)
        memcpy(texts, req->key.ptr, req->key.len);
    if (req->value.len)
        memcpy(texts + req->key.len, req->value.ptr, req->value.len);
    w->req.key.ptr = texts;
    w->req.value.ptr = texts + req->key.len;
    return wait_for(c, r->io, &w->wait);
}

/* ---- life ---- */

static void end(void *arg)
{
    Redis *r = arg;
    redisAsyncContext *link = r->link;
    r->link = NULL;
    if (link)
        redisAsyncFree(link); /* calls back what is pending */
}

Redis *redis_new(Io *io, Text url, xs_error *err)
{
    Redis *r = mem_zalloc(1, sizeof *r);
    if (!r) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    r->io = io;
    if (!xs_redis_url_read(&r->url, url.ptr, url.len, "redis.url", err)) {
        redis_free(r);
        return NULL;
    }
    io_at_end(io, end, r);
    return r;
}

void redis_free(Redis *r)
{
    if (!r)
        return;
    xs_redis_url_free(&r->url);
    mem_free(r);
}
