/* link.c - the connections: one for commands, one that listens to the topics; both or none. */
#include "transports/backplane/redis/redis.h"

#include <hiredis/adapters/libevent.h>

#include "transports/backplane/redis/keys.h"

static const char *const scripts[SCRIPT_COUNT] = {
    [PUBLISH] = script_publish, [SNAPSHOT] = script_snapshot, [MEMBER] = script_member,
    [REAP] = script_reap,       [ASK] = script_ask,           [COUNT] = script_count};

/* What was sent without an answer is sent again, before what waits. */
static void take_back(Redis *r)
{
    if (!r->sent.first)
        return;
    *r->sent.end = r->waiting.first;
    if (!r->waiting.first)
        r->waiting.end = r->sent.end;
    r->waiting.first = r->sent.first;
    r->sent = (OpList){NULL, &r->sent.first};
}

void rp_lose(Redis *r, const char *why)
{
    redisAsyncContext *commands = r->commands, *topics = r->topics;
    size_t at = 0;
    Link *l, *rest = NULL;
    r->commands = r->topics = NULL;
    if (commands)
        redisAsyncFree(commands);
    if (topics)
        redisAsyncFree(topics);
    take_back(r);
    while ((l = table_each(&r->watches, &at, &rest))) {
        Watch *w = (Watch *)l;
        w->subscribed = w->leaving = false;
        w->nonce = 0;
        if (!w->wanted)
            rp_forget(r, w);
    }
    r->retry_at = transport_mono_ms() + r->retry_ms;
    r->retry_ms = r->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : r->retry_ms * 2;
    if (!atomic_exchange(&r->up, false) || r->ending)
        return;
    atomic_fetch_add(&r->lost, 1);
    r->host.log(1, "backplane: the connection to %s:%d was lost: %s", r->url.host, r->url.port,
                why);
    r->host.state(r->host.ctx, false);
}

bool rp_is_ours(const Redis *r, const redisAsyncContext *link)
{
    return link == r->commands || link == r->topics;
}

static void on_disconnect(const redisAsyncContext *link, int status)
{
    Redis *r = link->data;
    if (!rp_is_ours(r, link))
        return;
    /* hiredis frees this one itself. */
    *(link == r->commands ? &r->commands : &r->topics) = NULL;
    if (r->ending)
        event_base_loopbreak(r->base);
    rp_lose(r, status == REDIS_OK || !link->errstr ? "closed" : link->errstr);
}

static void on_connect(const redisAsyncContext *link, int status)
{
    if (status != REDIS_OK)
        on_disconnect(link, status);
}

void rp_on_must(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    if (!answer || answer->type != REDIS_REPLY_ERROR || !rp_is_ours(r, link))
        return;
    rp_complain(r, answer->str);
    rp_lose(r, answer->str);
}

static void on_loaded(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    rp_on_must(link, reply, ctx);
    if (!rp_is_ours(r, link) || !answer || answer->type != REDIS_REPLY_STRING)
        return;
    snprintf(r->sha[SCRIPT_COUNT - r->unready], sizeof r->sha[0], "%s", answer->str);
    if (--r->unready == 0)
        rp_came_up(r);
}

static redisAsyncContext *open_link(Redis *r)
{
    redisAsyncContext *link = redisAsyncConnect(r->url.host, r->url.port);
    if (!link)
        return NULL;
    link->data = r;
    if (link->err || redisLibeventAttach(link, r->base) != REDIS_OK) {
        rp_complain(r, link->err ? link->errstr : "no event loop");
        link->data = NULL;
        redisAsyncFree(link);
        return NULL;
    }
    redisAsyncSetConnectCallback(link, on_connect);
    redisAsyncSetDisconnectCallback(link, on_disconnect);
    if (r->url.user)
        redisAsyncCommand(link, rp_on_must, r, "AUTH %s %s", r->url.user, r->url.password);
    else if (r->url.password)
        redisAsyncCommand(link, rp_on_must, r, "AUTH %s", r->url.password);
    return link;
}

void rp_connect(Redis *r)
{
    r->commands = open_link(r);
    r->topics = r->commands ? open_link(r) : NULL;
    if (!r->topics) {
        rp_lose(r, "no connection");
        return;
    }
    if (r->url.number)
        redisAsyncCommand(r->commands, rp_on_must, r, "SELECT %d", r->url.number);
    r->unready = SCRIPT_COUNT;
    for (int i = 0; i < SCRIPT_COUNT; i++)
        redisAsyncCommand(r->commands, on_loaded, r, "SCRIPT LOAD %s", scripts[i]);
    r->pinged_ms = 0;
    r->ping_at = transport_mono_ms() + PING_MS;
}

/* ---- a connection that is waited for ---- */

static bool ask(Redis *r, redisContext *c, redisReply *reply, xs_error *err)
{
    bool ok = reply && reply->type != REDIS_REPLY_ERROR;
    if (!ok)
        (void)xs_fail(err, XS_E_IO, XS_NO_POS, "realtime.backplane: Redis at %s:%d: %s",
                      r->url.host, r->url.port, reply ? reply->str : c->errstr);
    return ok;
}

static bool command(Redis *r, redisContext *c, xs_error *err, redisReply *reply)
{
    bool ok = ask(r, c, reply, err);
    if (reply)
        freeReplyObject(reply);
    return ok;
}

/* A connection of its own for the moment: it may wait. */
redisContext *rp_connect_and_wait(Redis *r, xs_error *err)
{
    struct timeval limit = {.tv_sec = CONNECT_MS / 1000};
    redisContext *c = redisConnectWithTimeout(r->url.host, r->url.port, limit);
    if (!c || c->err) {
        (void)xs_fail(err, XS_E_IO, XS_NO_POS,
                      "realtime.backplane: cannot reach Redis at %s:%d: %s", r->url.host,
                      r->url.port, c ? c->errstr : "out of memory");
        if (c)
            redisFree(c);
        return NULL;
    }
    redisSetTimeout(c, limit);
    bool ok = true;
    if (r->url.user)
        ok = command(r, c, err, redisCommand(c, "AUTH %s %s", r->url.user, r->url.password));
    else if (r->url.password)
        ok = command(r, c, err, redisCommand(c, "AUTH %s", r->url.password));
    if (ok && r->url.number)
        ok = command(r, c, err, redisCommand(c, "SELECT %d", r->url.number));
    if (ok)
        return c;
    redisFree(c);
    return NULL;
}

bool rp_check_version(Redis *r, redisContext *c, xs_error *err)
{
    redisReply *reply = redisCommand(c, "HRANDFIELD xs:none"); /* as old as what else is needed */
    bool ok = reply && reply->type != REDIS_REPLY_ERROR;
    if (reply)
        freeReplyObject(reply);
    return ok || xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                         "realtime.backplane: Redis at %s:%d has to be 6.2 or newer", r->url.host,
                         r->url.port);
}

bool rp_claim_number(Redis *r, redisContext *c, xs_error *err)
{
    unsigned first = (unsigned)strtoul(r->node + strlen(r->node) - 4, NULL, 16);
    for (unsigned i = 0; i < NUMBER_TRIES; i++) {
        r->node_number = (uint16_t)((first + i) % UINT16_MAX + 1); /* 0: a server that is alone */
        redisReply *reply =
            redisCommand(c, "SET xs:node:%d %s NX PX %d", (int)r->node_number, r->node, NUMBER_MS);
        bool ok = ask(r, c, reply, err), mine = ok && reply->type == REDIS_REPLY_STATUS;
        if (reply)
            freeReplyObject(reply);
        if (mine || !ok)
            return ok;
    }
    return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "realtime.backplane: too many nodes");
}

bool rp_epoch(Redis *r, xs_str space, uint64_t proposed, uint64_t *epoch, xs_error *err)
{
    char key[KEY_BYTES], hex[24];
    if (!rp_key(r, key, space, "epoch", (xs_str){0}))
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "the name of the space is too long");
    redisContext *c = rp_connect_and_wait(r, err);
    if (!c)
        return false;
    snprintf(hex, sizeof hex, "%016" PRIx64, proposed);
    redisReply *reply = NULL;
    bool ok = command(r, c, err, redisCommand(c, "SET %s %s NX", key, hex));
    if (ok) {
        reply = redisCommand(c, "GET %s", key);
        ok = ask(r, c, reply, err);
    }
    if (ok && reply->type != REDIS_REPLY_STRING)
        ok = xs_fail(err, XS_E_IO, XS_NO_POS, "realtime.backplane: no epoch at %s", key);
    if (ok) {
        xs_str text = {reply->str, (size_t)reply->len};
        *epoch = rp_number(&text, 16);
    }
    if (reply)
        freeReplyObject(reply);
    redisFree(c);
    return ok;
}
