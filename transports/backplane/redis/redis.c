/* redis.c - the backplane on a Redis server, with hiredis on a libevent loop: one connection for
 * commands, one that listens to the topics. What is in Redis: keys.h.
 *
 * Thread: its own, for everything but the functions of the vtable; those leave an Op in a queue.
 * After a lost connection the topics are subscribed anew and every watched channel gets a snapshot;
 * what is published meanwhile waits, up to a bound. Specification: realtime.md §13. */
#include <errno.h>
#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "include/xs/backplane.h"
#include "include/xs/plugin.h"
#include "transports/backplane/redis/keys.h"
#include "transports/backplane/redis/table.h"

enum {
    REDIS_PORT = 6379,
    CONNECT_MS = 3000,
    RETRY_MS = 200,
    RETRY_MAX_MS = 5000,
    TICK_MS = 100,
    PING_MS = 5000, /* a dead peer is noticed after two */
#ifdef XS_SMALL_LIMITS
    STAY_MS = 500,
    MEMBER_MS = 2000,
#else
    STAY_MS = 20000,   /* members of this node are confirmed so often */
    MEMBER_MS = 60000, /* and end without it */
#endif
    QUEUE_DOWN = 1000,  /* records that wait for a connection */
    QUEUE_UP = 100000,  /* records on their way */
    WAIT_MAX_MS = 5000, /* and no longer than this */
    END_MS = 1000,
    KEY_BYTES = 768,
    NODE_BYTES = 32,
    SNAPSHOT_EVENTS = 64,
    ARGS_MAX = 16
};

typedef enum OpKind {
    OP_PUBLISH,
    OP_SPACE,
    OP_WATCH,
    OP_UNWATCH,
    OP_BARRIER,
    OP_LIST, /* channel: the prefix */
    OP_SPREAD,
    OP_JOIN,
    OP_LEAVE
} OpKind;

typedef struct Op {
    struct Op *next;
    OpKind kind;
    bool numbered;
    uint32_t events;
    int64_t ttl_ms, queued_ms;
    void *token;
    uint64_t n; /* OP_PUBLISH: among the numbered records of this node; 0 = not sent yet */
    xs_str space, channel, socket_id, data; /* behind the struct */
} Op;

typedef struct OpList {
    Op *first, **end;
} OpList;

/* A channel that this node watches; the key is its topic. */
typedef struct Watch {
    Link link;
    xs_str space, channel;
    uint32_t events;
    bool subscribed; /* the topic's subscription is confirmed */
    bool leaving;    /* it is being ended: hiredis must not be asked for it again before that */
    bool wanted;     /* … and will be */
    uint64_t nonce;  /* of the snapshot that is under way; 0 = none */
} Watch;

/* A space of this node; the key is its name. */
typedef struct Place {
    Link link;
} Place;

/* A member of this node; the key is "<topic> <socket id>". */
typedef struct Own {
    Link link;
    xs_str space, channel, socket_id, value; /* value: "<node> <data>" */
} Own;

enum { PUBLISH, SNAPSHOT, MEMBER, REAP, SCRIPT_COUNT };
static const char *const scripts[SCRIPT_COUNT] = {[PUBLISH] = script_publish,
                                                  [SNAPSHOT] = script_snapshot,
                                                  [MEMBER] = script_member,
                                                  [REAP] = script_reap};

typedef struct Redis {
    xs_plane_host host;
    char *address, *user, *password;
    int port, number;
    char node[NODE_BYTES + 1];
    pthread_t thread;
    bool threaded;
    struct event_base *base;
    struct event *wake, *tick;
    int wake_fd;
    /* any thread, under the lock */
    pthread_mutex_t lock;
    OpList queue;
    bool stopping;
    _Atomic uint32_t unsent; /* records without an answer */
    _Atomic bool up;
    _Atomic uint64_t published, received, dropped, lost;
    /* the thread's */
    redisAsyncContext *commands, *topics;
    uint32_t unready;           /* scripts that are not loaded yet */
    char sha[SCRIPT_COUNT][41]; /* their names */
    OpList sent;                /* numbered records without an answer */
    uint64_t nrecords;
    OpList waiting; /* records, while there is no connection */
    Table spaces, watches, own;
    uint64_t nonce;
    int64_t retry_ms, retry_at, ping_at, pinged_ms, stay_at;
    int64_t complained_ms;
    bool ending;
} Redis;

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void complain(Redis *r, const char *what)
{
    int64_t now = now_ms();
    if (r->complained_ms && now - r->complained_ms < 1000)
        return; /* once a second is enough */
    r->complained_ms = now;
    r->host.log(1, "backplane: %s", what);
}

/* The text up to the next blank; moves behind the blank. */
static xs_str word(xs_str *t)
{
    const char *blank = t->len ? memchr(t->ptr, ' ', t->len) : NULL;
    xs_str w = {t->ptr, blank ? (size_t)(blank - t->ptr) : t->len};
    size_t used = w.len + (blank != NULL);
    *t = (xs_str){t->ptr + used, t->len - used};
    return w;
}

static uint64_t number(xs_str *t, unsigned base)
{
    xs_str w = word(t);
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

static xs_str put(char **at, xs_str t)
{
    xs_str copy = {*at, t.len};
    if (t.len)
        memcpy(*at, t.ptr, t.len);
    *at += t.len;
    return copy;
}

/* ---- commands ---- */

typedef struct Command {
    const char *argv[ARGS_MAX];
    size_t lens[ARGS_MAX];
    int n;
    char keys[7][KEY_BYTES];
    int nkeys;
    char digits[6][24];
    int ndigits;
} Command;

static void arg(Command *c, xs_str t)
{
    c->argv[c->n] = t.ptr ? t.ptr : "";
    c->lens[c->n++] = t.len;
}

static void arg_text(Command *c, const char *t)
{
    arg(c, (xs_str){t, strlen(t)});
}

static void arg_int(Command *c, int64_t n)
{
    char *d = c->digits[c->ndigits++];
    snprintf(d, sizeof c->digits[0], "%" PRId64, n);
    arg_text(c, d);
}

/* xs:{space}:name[:rest]; false = too long. */
static bool write_key(char out[KEY_BYTES], xs_str space, const char *name, xs_str rest)
{
    int n = snprintf(out, KEY_BYTES, "xs:{%.*s}:%s%s%.*s", (int)space.len, space.ptr, name,
                     rest.len ? ":" : "", (int)rest.len, rest.ptr ? rest.ptr : "");
    return n > 0 && n < KEY_BYTES;
}

static void arg_key(Command *c, xs_str space, const char *name, xs_str rest)
{
    char *key = c->keys[c->nkeys++];
    if (!write_key(key, space, name, rest))
        key[0] = '\0'; /* names were measured by op_new */
    arg_text(c, key);
}

static void begin_script(const Redis *r, Command *c, int which, int nkeys)
{
    *c = (Command){.n = 0};
    arg_text(c, "EVALSHA");
    arg_text(c, r->sha[which]);
    arg_int(c, nkeys);
}

static void send_command(Redis *r, redisAsyncContext *to, redisCallbackFn *done, const Command *c)
{
    if (to)
        redisAsyncCommandArgv(to, done, r, c->n, (const char **)(uintptr_t)c->argv, c->lens);
}

/* ---- connection ---- */

static void list_push(OpList *l, Op *op)
{
    op->next = NULL;
    *l->end = op;
    l->end = &op->next;
}

static Op *list_pop(OpList *l)
{
    Op *op = l->first;
    if (op && !(l->first = op->next))
        l->end = &l->first;
    return op;
}

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

static void forget(Redis *r, Watch *w)
{
    table_take(&r->watches, &w->link);
    free(w);
}

static void lose(Redis *r, const char *why)
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
            forget(r, w);
    }
    r->retry_at = now_ms() + r->retry_ms;
    r->retry_ms = r->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : r->retry_ms * 2;
    if (!atomic_exchange(&r->up, false) || r->ending)
        return;
    atomic_fetch_add(&r->lost, 1);
    r->host.log(1, "backplane: the connection to %s:%d was lost: %s", r->address, r->port, why);
    r->host.state(r->host.ctx, false);
}

static bool is_ours(const Redis *r, const redisAsyncContext *link)
{
    return link == r->commands || link == r->topics;
}

static void on_disconnect(const redisAsyncContext *link, int status)
{
    Redis *r = link->data;
    if (!is_ours(r, link))
        return;
    /* hiredis frees this one itself. */
    *(link == r->commands ? &r->commands : &r->topics) = NULL;
    if (r->ending)
        event_base_loopbreak(r->base);
    lose(r, status == REDIS_OK || !link->errstr ? "closed" : link->errstr);
}

static void on_connect(const redisAsyncContext *link, int status)
{
    if (status != REDIS_OK)
        on_disconnect(link, status);
}

/* An answer that says whether the connection is any good. */
static void on_must(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    if (!answer || answer->type != REDIS_REPLY_ERROR || !is_ours(r, link))
        return;
    complain(r, answer->str);
    lose(r, answer->str);
}

static void came_up(Redis *r);

static void on_loaded(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    on_must(link, reply, ctx);
    if (!is_ours(r, link) || !answer || answer->type != REDIS_REPLY_STRING)
        return;
    snprintf(r->sha[SCRIPT_COUNT - r->unready], sizeof r->sha[0], "%s", answer->str);
    if (--r->unready == 0)
        came_up(r);
}

static redisAsyncContext *open_link(Redis *r)
{
    redisAsyncContext *link = redisAsyncConnect(r->address, r->port);
    if (!link)
        return NULL;
    link->data = r;
    if (link->err || redisLibeventAttach(link, r->base) != REDIS_OK) {
        complain(r, link->err ? link->errstr : "no event loop");
        link->data = NULL;
        redisAsyncFree(link);
        return NULL;
    }
    redisAsyncSetConnectCallback(link, on_connect);
    redisAsyncSetDisconnectCallback(link, on_disconnect);
    if (r->user)
        redisAsyncCommand(link, on_must, r, "AUTH %s %s", r->user, r->password);
    else if (r->password)
        redisAsyncCommand(link, on_must, r, "AUTH %s", r->password);
    return link;
}

static void connect_now(Redis *r)
{
    r->commands = open_link(r);
    r->topics = r->commands ? open_link(r) : NULL;
    if (!r->topics) {
        lose(r, "no connection");
        return;
    }
    if (r->number)
        redisAsyncCommand(r->commands, on_must, r, "SELECT %d", r->number);
    r->unready = SCRIPT_COUNT;
    for (int i = 0; i < SCRIPT_COUNT; i++)
        redisAsyncCommand(r->commands, on_loaded, r, "SCRIPT LOAD %s", scripts[i]);
    r->pinged_ms = 0;
    r->ping_at = now_ms() + PING_MS;
}

/* ---- records ---- */

static void count_answer(Redis *r, const redisReply *answer)
{
    bool ok = answer && answer->type != REDIS_REPLY_ERROR;
    atomic_fetch_sub(&r->unsent, 1);
    atomic_fetch_add(ok ? &r->published : &r->dropped, 1);
}

/* The end of a record; numbers NULL: it failed. */
static void finish_record(Redis *r, Op *op, const xs_plane_record *numbers)
{
    if (op->kind == OP_PUBLISH && op->token)
        r->host.published(r->host.ctx, op->token, numbers != NULL, numbers);
    free(op);
}

static bool read_numbers(const redisReply *answer, xs_plane_record *out)
{
    if (answer->type != REDIS_REPLY_ARRAY || answer->elements != 3)
        return false;
    xs_str texts[3];
    for (int i = 0; i < 3; i++) {
        if (answer->element[i]->type != REDIS_REPLY_STRING)
            return false;
        texts[i] = (xs_str){answer->element[i]->str, (size_t)answer->element[i]->len};
    }
    *out = (xs_plane_record){
        .epoch = number(&texts[0], 16), .seq = number(&texts[1], 10), .off = number(&texts[2], 10)};
    return true;
}

static void on_published(redisAsyncContext *link, void *reply, void *ctx)
{
    (void)link;
    count_answer(ctx, reply);
}

static void on_stored(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    if (!answer || !is_ours(r, link))
        return; /* lost on the way, here or there: take_back has it */
    bool unloaded = answer->type == REDIS_REPLY_ERROR && strncmp(answer->str, "NOSCRIPT", 8) == 0;
    if (!unloaded) {
        xs_plane_record numbers;
        count_answer(r, answer);
        finish_record(r, list_pop(&r->sent), read_numbers(answer, &numbers) ? &numbers : NULL);
    }
    on_must(link, reply, ctx); /* an error: loads the scripts again, or waits for better times */
}

static void propose_epoch(Redis *r, Command *c)
{
    char *d = c->digits[c->ndigits++];
    snprintf(d, sizeof c->digits[0], "%.16s", r->node); /* random hex, as good as any */
    arg_text(c, d);
}

static void send_passing(Redis *r, const Op *op)
{
    Command c = {.n = 0};
    char *whole = malloc(op->data.len + 2);
    if (!whole) {
        count_answer(r, NULL);
        return;
    }
    memcpy(whole, "U ", 2);
    memcpy(whole + 2, op->data.ptr, op->data.len);
    arg_text(&c, "PUBLISH");
    arg_key(&c, op->space, "c", op->channel);
    arg(&c, (xs_str){whole, op->data.len + 2});
    send_command(r, r->commands, on_published, &c);
    free(whole);
}

static void send_numbered(Redis *r, Op *op)
{
    Command c;
    if (!op->n)
        op->n = ++r->nrecords;
    begin_script(r, &c, PUBLISH, 6);
    arg_key(&c, op->space, "epoch", (xs_str){0});
    arg_key(&c, op->space, "seq", (xs_str){0});
    arg_key(&c, op->space, "m", op->channel);
    arg_key(&c, op->space, "h", op->channel);
    arg_key(&c, op->space, "c", op->channel);
    arg_key(&c, op->space, "i", (xs_str){r->node, strlen(r->node)});
    propose_epoch(r, &c);
    arg_int(&c, op->events);
    arg_int(&c, op->ttl_ms);
    arg(&c, op->data);
    arg_int(&c, (int64_t)op->n);
    send_command(r, r->commands, on_stored, &c);
}

/* Takes the op. */
static void send_record(Redis *r, Op *op)
{
    if (!op->numbered) {
        send_passing(r, op);
        free(op);
        return;
    }
    list_push(&r->sent, op);
    send_numbered(r, op);
}

/* ---- members ---- */

static void send_member(Redis *r, const char *what, const Own *o)
{
    Command c;
    begin_script(r, &c, MEMBER, 4);
    arg_key(&c, o->space, "p", o->channel);
    arg_key(&c, o->space, "px", o->channel);
    arg_key(&c, o->space, "m", o->channel);
    arg_key(&c, o->space, "c", o->channel);
    arg_text(&c, what);
    arg(&c, o->socket_id);
    arg(&c, o->value);
    arg_int(&c, MEMBER_MS);
    send_command(r, r->commands, on_must, &c);
}

static void send_members(Redis *r, const char *what)
{
    size_t at = 0;
    Link *l, *rest = NULL;
    while (r->commands && (l = table_each(&r->own, &at, &rest)))
        send_member(r, what, (Own *)l);
}

/* The members of nodes that are gone: whoever watches the channel says so. */
static void reap_members(Redis *r)
{
    size_t at = 0;
    Link *l, *rest = NULL;
    while (r->commands && (l = table_each(&r->watches, &at, &rest))) {
        const Watch *w = (Watch *)l;
        Command c;
        begin_script(r, &c, REAP, 4);
        arg_key(&c, w->space, "p", w->channel);
        arg_key(&c, w->space, "px", w->channel);
        arg_key(&c, w->space, "m", w->channel);
        arg_key(&c, w->space, "c", w->channel);
        send_command(r, r->commands, on_must, &c);
    }
}

static void member_changed(Redis *r, const Op *op)
{
    char key[KEY_BYTES + 128];
    if (!write_key(key, op->space, "c", op->channel))
        return;
    size_t len = strlen(key);
    len += (size_t)snprintf(key + len, sizeof key - len, " %.*s", (int)op->socket_id.len,
                            op->socket_id.ptr);
    Own *o = (Own *)table_get(&r->own, key, len);
    if (o) {
        if (op->kind == OP_LEAVE)
            send_member(r, "leave", o);
        table_take(&r->own, &o->link);
        free(o);
    }
    if (op->kind == OP_LEAVE)
        return;
    size_t node = strlen(r->node);
    o = calloc(1, sizeof *o + op->space.len + op->channel.len + op->socket_id.len + node + 1 +
                      op->data.len + len);
    if (!o) {
        complain(r, "out of memory");
        return;
    }
    char *at = (char *)(o + 1);
    o->space = put(&at, op->space);
    o->channel = put(&at, op->channel);
    o->socket_id = put(&at, op->socket_id);
    o->value = put(&at, (xs_str){r->node, node});
    put(&at, (xs_str){" ", 1});
    o->value.len += 1 + put(&at, op->data).len;
    if (!table_put(&r->own, &o->link, put(&at, (xs_str){key, len}).ptr, len)) {
        free(o);
        complain(r, "out of memory");
        return;
    }
    send_member(r, "join", o);
}

/* ---- what comes over the topics ---- */

/* "<length> <bytes> " */
static xs_str counted(xs_str *t)
{
    size_t n = (size_t)number(t, 10);
    n = n < t->len ? n : t->len;
    xs_str bytes = {t->ptr, n};
    size_t used = n + (n < t->len);
    *t = (xs_str){t->ptr + used, t->len - used};
    return bytes;
}

static xs_plane_member read_member(const Redis *r, xs_str socket_id, xs_str value)
{
    xs_str node = word(&value);
    return (xs_plane_member){.socket_id = socket_id,
                             .data = value,
                             .own = node.len == strlen(r->node) &&
                                    memcmp(node.ptr, r->node, node.len) == 0};
}

static void take_member(Redis *r, const Watch *w, xs_str t, bool here)
{
    uint64_t version = number(&t, 10);
    xs_str id = word(&t);
    xs_plane_member m = read_member(r, id, t);
    if (!m.own)
        r->host.member(r->host.ctx, w->space, w->channel, version, &m, here);
}

static void take_message(Redis *r, const Watch *w, xs_str t)
{
    xs_str kind = word(&t);
    xs_plane_record record = {0};
    switch (kind.len == 1 ? kind.ptr[0] : 0) {
    case 'J': take_member(r, w, t, true); return;
    case 'L': take_member(r, w, t, false); return;
    case 'E':
        record.epoch = number(&t, 16);
        record.seq = number(&t, 10);
        record.off = number(&t, 10);
        record.ts = (int64_t)number(&t, 10);
        break;
    case 'U': break;
    default: complain(r, "a message that it does not know"); return;
    }
    record.data = t;
    atomic_fetch_add(&r->received, 1);
    r->host.record(r->host.ctx, w->space, w->channel, &record);
}

static void read_snapshot(Redis *r, const Watch *w, xs_str t)
{
    xs_plane_snapshot s = {.epoch = number(&t, 16)};
    s.seq = number(&t, 10);
    s.off = number(&t, 10);
    s.evicted = number(&t, 10); /* the last of all, when nothing is kept */
    s.version = number(&t, 10);
    s.nrecords = (size_t)number(&t, 10);
    s.nmembers = (size_t)number(&t, 10);
    if (s.nrecords > t.len || s.nmembers > t.len)
        return;
    xs_plane_record *records = calloc(s.nrecords + 1, sizeof *records);
    xs_plane_member *members = calloc(s.nmembers + 1, sizeof *members);
    for (size_t i = 0; records && members && i < s.nrecords; i++) {
        records[i].epoch = s.epoch;
        records[i].seq = number(&t, 10);
        records[i].off = number(&t, 10);
        records[i].ts = (int64_t)number(&t, 10);
        records[i].data = counted(&t);
    }
    for (size_t i = 0; records && members && i < s.nmembers; i++) {
        xs_str id = word(&t);
        members[i] = read_member(r, id, counted(&t));
    }
    if (records && members) {
        if (s.nrecords)
            s.evicted = records[0].off == 1 ? 0 : records[0].seq - 1;
        s.records = records;
        s.members = members;
        r->host.snapshot(r->host.ctx, w->space, w->channel, &s);
    } else {
        complain(r, "out of memory");
    }
    free(records);
    free(members);
}

static bool ends_with(xs_str t, const char *tail)
{
    size_t len = strlen(tail);
    return t.len >= len && memcmp(t.ptr + t.len - len, tail, len) == 0;
}

/* xs:{S}:a */
static void take_note(Redis *r, xs_str topic, xs_str t)
{
    xs_str node = word(&t);
    if (node.len == strlen(r->node) && memcmp(node.ptr, r->node, node.len) == 0)
        return;
    r->host.note(r->host.ctx, (xs_str){topic.ptr + 4, topic.len - 7}, t);
}

/* A message to this node: "S <nonce>" begins a snapshot, "B <number>" is a barrier; behind it the
 * length of the channel, and the channel. */
static void take_own(Redis *r, xs_str topic, xs_str t)
{
    /* xs:{S}:n:<node>: the space is between the braces. */
    xs_str kind = word(&t);
    uint64_t n = number(&t, 10);
    size_t tail = strlen(r->node) + 5;
    xs_str channel = counted(&t);
    char key[KEY_BYTES];
    if (topic.len < tail + 4 ||
        !write_key(key, (xs_str){topic.ptr + 4, topic.len - tail - 3}, "c", channel))
        return;
    Watch *w = (Watch *)table_get(&r->watches, key, strlen(key));
    if (w && kind.ptr[0] == 'B') {
        r->host.barrier(r->host.ctx, w->space, w->channel, n);
    } else if (w && w->nonce == n) { /* else another one was asked for meanwhile */
        w->nonce = 0;
        read_snapshot(r, w, t);
    }
}

static void send_note(Redis *r, const Op *op)
{
    Command c = {.n = 0};
    size_t node = strlen(r->node), len = node + 1 + op->data.len;
    char *text = malloc(len), *at = text;
    if (text) {
        put(&at, (xs_str){r->node, node});
        put(&at, (xs_str){" ", 1});
        put(&at, op->data);
        arg_text(&c, "PUBLISH");
        arg_key(&c, op->space, "a", (xs_str){0});
        arg(&c, (xs_str){text, len});
        send_command(r, r->commands, on_must, &c);
    }
    free(text);
}

/* ---- which channels are there ---- */

typedef struct Listing {
    Redis *r;
    void *token;
    size_t skip; /* of a topic: what is before the channel */
    xs_str space;
    char bytes[];
} Listing;

static int by_name(const void *a, const void *b)
{
    const xs_str *x = a, *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static void on_list(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Listing *l = ctx;
    size_t n = 0;
    (void)link;
    bool ok = answer && answer->type == REDIS_REPLY_ARRAY;
    xs_str *names = ok ? calloc(answer->elements + 1, sizeof *names) : NULL;
    for (size_t i = 0; names && i < answer->elements; i++) {
        const redisReply *topic = answer->element[i];
        if (topic->type == REDIS_REPLY_STRING && (size_t)topic->len > l->skip)
            names[n++] = (xs_str){topic->str + l->skip, (size_t)topic->len - l->skip};
    }
    if (n)
        qsort(names, n, sizeof *names, by_name);
    l->r->host.listed(l->r->host.ctx, l->space, l->token, names != NULL, names, n);
    free(names);
    free(l);
}

/* Every topic that begins so; what means something in a pattern is escaped. */
static void send_list(Redis *r, const Op *op)
{
    char prefix[KEY_BYTES], pattern[2 * KEY_BYTES + 2];
    Listing *l = malloc(sizeof *l + op->space.len);
    bool ok =
        l && r->commands && atomic_load(&r->up) && write_key(prefix, op->space, "c", op->channel);
    if (!ok) {
        r->host.listed(r->host.ctx, op->space, op->token, false, NULL, 0);
        free(l);
        return;
    }
    size_t n = 0, len = strlen(prefix) + (op->channel.len == 0); /* then the colon is missing */
    for (const char *at = prefix; *at; at++) {
        if (strchr("*?[]\\", *at))
            pattern[n++] = '\\';
        pattern[n++] = *at;
    }
    snprintf(pattern + n, sizeof pattern - n, "%s*", op->channel.len ? "" : ":");
    char *at = l->bytes;
    *l = (Listing){.r = r, .token = op->token, .skip = len - op->channel.len};
    l->space = put(&at, op->space);
    redisAsyncCommand(r->commands, on_list, l, "PUBSUB CHANNELS %s", pattern);
}

static void send_barrier(Redis *r, const Op *op)
{
    Command c = {.n = 0};
    char text[KEY_BYTES];
    if (!atomic_load(&r->up))
        return; /* a snapshot will come */
    snprintf(text, sizeof text, "B %" PRIu64 " %zu %.*s", op->n, op->channel.len,
             (int)op->channel.len, op->channel.ptr);
    arg_text(&c, "PUBLISH");
    arg_key(&c, op->space, "n", (xs_str){r->node, strlen(r->node)});
    arg_text(&c, text);
    send_command(r, r->commands, on_must, &c);
}

static void ask_snapshot(Redis *r, Watch *w)
{
    Command c;
    char head[KEY_BYTES];
    w->nonce = ++r->nonce;
    snprintf(head, sizeof head, "S %" PRIu64 " %zu %.*s", w->nonce, w->channel.len,
             (int)w->channel.len, w->channel.ptr);
    begin_script(r, &c, SNAPSHOT, 7);
    arg_key(&c, w->space, "epoch", (xs_str){0});
    arg_key(&c, w->space, "seq", (xs_str){0});
    arg_key(&c, w->space, "m", w->channel);
    arg_key(&c, w->space, "h", w->channel);
    arg_key(&c, w->space, "p", w->channel);
    arg_key(&c, w->space, "px", w->channel);
    arg_key(&c, w->space, "n", (xs_str){r->node, strlen(r->node)});
    propose_epoch(r, &c);
    arg_int(&c, w->events);
    arg_text(&c, head);
    send_command(r, r->commands, on_must, &c);
}

/* ---- watching ---- */

static void on_topic(redisAsyncContext *link, void *reply, void *ctx);

static void listen_to(Redis *r, const char *what, const char *topic)
{
    Command c = {.n = 0};
    arg_text(&c, what);
    arg_text(&c, topic);
    send_command(r, r->topics, on_topic, &c);
}

static void subscribe(Redis *r, const Watch *w)
{
    if (r->topics && atomic_load(&r->up))
        listen_to(r, "SUBSCRIBE", w->link.key);
}

static void subscribe_space(Redis *r, xs_str space)
{
    char key[KEY_BYTES];
    if (!r->topics || !atomic_load(&r->up))
        return;
    if (write_key(key, space, "n", (xs_str){r->node, strlen(r->node)}))
        listen_to(r, "SUBSCRIBE", key);
    if (write_key(key, space, "a", (xs_str){0}))
        listen_to(r, "SUBSCRIBE", key);
}

static void enter_space(Redis *r, const Op *op)
{
    Place *p = table_get(&r->spaces, op->space.ptr, op->space.len)
                   ? NULL
                   : calloc(1, sizeof *p + op->space.len);
    if (!p)
        return;
    char *at = (char *)(p + 1);
    if (table_put(&r->spaces, &p->link, put(&at, op->space).ptr, op->space.len))
        subscribe_space(r, op->space);
    else
        free(p);
}

static void on_topic(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    if (!answer || link != r->topics)
        return;
    if (answer->type == REDIS_REPLY_ERROR) {
        on_must(link, reply, ctx);
        return;
    }
    if (answer->type != REDIS_REPLY_ARRAY || answer->elements != 3)
        return;
    const redisReply *kind = answer->element[0], *name = answer->element[1],
                     *body = answer->element[2];
    xs_str topic = {name->str, (size_t)name->len};
    Watch *w = (Watch *)table_get(&r->watches, topic.ptr, topic.len);
    if (strcmp(kind->str, "subscribe") == 0 && w && !w->leaving) {
        w->subscribed = true;
        ask_snapshot(r, w);
    } else if (strcmp(kind->str, "unsubscribe") == 0 && w && w->leaving) {
        w->leaving = false;
        if (w->wanted)
            subscribe(r, w);
        else
            forget(r, w);
    } else if (strcmp(kind->str, "message") == 0) {
        xs_str text = {body->str, (size_t)body->len};
        if (w && w->subscribed)
            take_message(r, w, text);
        else if (!w && ends_with(topic, "}:a"))
            take_note(r, topic, text);
        else if (!w)
            take_own(r, topic, text);
    }
}

static void watch(Redis *r, const Op *op)
{
    char key[KEY_BYTES];
    if (!write_key(key, op->space, "c", op->channel))
        return;
    size_t len = strlen(key);
    Watch *w = (Watch *)table_get(&r->watches, key, len);
    if (w) {
        w->events = op->events;
        w->wanted = true;
        if (w->subscribed)
            ask_snapshot(r, w);
        return;
    }
    w = calloc(1, sizeof *w + op->space.len + op->channel.len + len + 1);
    if (w) {
        char *at = (char *)(w + 1);
        w->space = put(&at, op->space);
        w->channel = put(&at, op->channel);
        w->events = op->events;
        w->wanted = true;
        const char *name = put(&at, (xs_str){key, len + 1}).ptr;
        if (table_put(&r->watches, &w->link, name, len)) {
            subscribe(r, w);
            return;
        }
    }
    free(w);
    complain(r, "out of memory");
}

static void unwatch(Redis *r, const Op *op)
{
    char key[KEY_BYTES];
    if (!write_key(key, op->space, "c", op->channel))
        return;
    Watch *w = (Watch *)table_get(&r->watches, key, strlen(key));
    if (!w)
        return;
    w->wanted = w->subscribed = false;
    w->leaving = r->topics && atomic_load(&r->up);
    if (w->leaving)
        listen_to(r, "UNSUBSCRIBE", key);
    else
        forget(r, w);
}

/* ---- the queue ---- */

static void send_waiting(Redis *r)
{
    Op *op;
    while (atomic_load(&r->up) && (op = list_pop(&r->waiting)))
        send_record(r, op);
}

static void drop_late(Redis *r)
{
    int64_t now = now_ms();
    while (r->waiting.first && now - r->waiting.first->queued_ms > WAIT_MAX_MS) {
        count_answer(r, NULL);
        finish_record(r, list_pop(&r->waiting), NULL);
    }
}

static void execute(Redis *r, Op *op)
{
    switch (op->kind) {
    case OP_PUBLISH:
        if (atomic_load(&r->up))
            send_record(r, op);
        else
            list_push(&r->waiting, op);
        return;
    case OP_WATCH: watch(r, op); break;
    case OP_UNWATCH: unwatch(r, op); break;
    case OP_BARRIER: send_barrier(r, op); break;
    case OP_SPACE: enter_space(r, op); break;
    case OP_LIST: send_list(r, op); break;
    case OP_SPREAD: send_note(r, op); break;
    case OP_JOIN:
    case OP_LEAVE: member_changed(r, op); break;
    }
    free(op);
}

static void came_up(Redis *r)
{
    size_t at = 0;
    Link *l, *rest = NULL;
    atomic_store(&r->up, true);
    r->retry_ms = RETRY_MS;
    r->host.log(2, "backplane: connected to %s:%d", r->address, r->port);
    r->host.state(r->host.ctx, true);
    while ((l = table_each(&r->spaces, &at, &rest)))
        subscribe_space(r, (xs_str){l->key, l->len});
    at = 0;
    while (r->topics && (l = table_each(&r->watches, &at, &rest)))
        subscribe(r, (Watch *)l);
    send_members(r, "stay");
    send_waiting(r);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    Redis *r = ctx;
    uint64_t seen;
    (void)what;
    ssize_t n = read(fd, &seen, sizeof seen);
    (void)n;
    pthread_mutex_lock(&r->lock);
    OpList list = r->queue;
    r->queue = (OpList){NULL, &r->queue.first};
    bool stopping = r->stopping;
    pthread_mutex_unlock(&r->lock);
    if (!list.first)
        list.end = &list.first;
    for (Op *op; (op = list_pop(&list));)
        execute(r, op);
    if (!stopping || r->ending)
        return;
    r->ending = true;
    send_members(r, "leave");
    struct timeval limit = {.tv_sec = END_MS / 1000};
    event_base_loopexit(r->base, &limit);
    if (r->commands)
        redisAsyncDisconnect(r->commands); /* once everything is sent and answered */
    else
        event_base_loopbreak(r->base);
}

static void on_pong(redisAsyncContext *link, void *reply, void *ctx)
{
    Redis *r = ctx;
    if (reply && link == r->commands)
        r->pinged_ms = 0;
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    Redis *r = ctx;
    int64_t now = now_ms();
    (void)fd;
    (void)what;
    if (!r->commands) {
        if (now >= r->retry_at)
            connect_now(r);
    } else if (now >= r->ping_at) {
        if (r->pinged_ms || !atomic_load(&r->up)) {
            lose(r, "no answer");
        } else {
            r->pinged_ms = now;
            r->ping_at = now + PING_MS;
            redisAsyncCommand(r->commands, on_pong, r, "PING");
        }
    }
    if (atomic_load(&r->up) && now >= r->stay_at) {
        r->stay_at = now + STAY_MS;
        send_members(r, "stay");
        reap_members(r);
    }
    drop_late(r);
}

static void give_up(Redis *r, OpList *list)
{
    for (Op *op; (op = list_pop(list));)
        finish_record(r, op, NULL);
}

static void *thread_main(void *ctx)
{
    Redis *r = ctx;
    connect_now(r);
    event_base_dispatch(r->base);
    lose(r, "the server ends");
    give_up(r, &r->waiting);
    return NULL;
}

/* ---- the vtable, any thread ---- */

static bool enqueue(Redis *r, const Op *like)
{
    char key[KEY_BYTES];
    if (!write_key(key, like->space, "epoch", like->channel))
        return false;
    Op *op = malloc(sizeof *op + like->space.len + like->channel.len + like->socket_id.len +
                    like->data.len);
    if (!op)
        return false;
    *op = *like;
    char *at = (char *)(op + 1);
    op->space = put(&at, like->space);
    op->channel = put(&at, like->channel);
    op->socket_id = put(&at, like->socket_id);
    op->data = put(&at, like->data);
    op->queued_ms = now_ms();
    pthread_mutex_lock(&r->lock);
    bool first = !r->queue.first, open = !r->stopping;
    if (open)
        list_push(&r->queue, op);
    pthread_mutex_unlock(&r->lock);
    if (!open) {
        free(op);
        return false;
    }
    if (first) {
        uint64_t one = 1;
        ssize_t n = write(r->wake_fd, &one, sizeof one);
        (void)n;
    }
    return true;
}

static bool redis_publish(void *state, xs_str space, xs_str channel, bool numbered,
                          const xs_plane_limits *limits, xs_str data, void *token)
{
    Redis *r = state;
    uint32_t max = atomic_load(&r->up) ? QUEUE_UP : QUEUE_DOWN;
    if (atomic_fetch_add(&r->unsent, 1) < max && enqueue(r, &(Op){.kind = OP_PUBLISH,
                                                                  .numbered = numbered,
                                                                  .token = token,
                                                                  .events = limits->events,
                                                                  .ttl_ms = limits->ttl_ms,
                                                                  .space = space,
                                                                  .channel = channel,
                                                                  .data = data}))
        return true;
    atomic_fetch_sub(&r->unsent, 1);
    atomic_fetch_add(&r->dropped, 1);
    return false;
}

static bool redis_watch(void *state, xs_str space, xs_str channel, uint32_t events)
{
    return enqueue(state, &(Op){.kind = OP_WATCH,
                                .events = events ? events : SNAPSHOT_EVENTS,
                                .space = space,
                                .channel = channel});
}

static void redis_unwatch(void *state, xs_str space, xs_str channel)
{
    /* Out of memory: one channel more is listened to. */
    (void)enqueue(state, &(Op){.kind = OP_UNWATCH, .space = space, .channel = channel});
}

static bool redis_list(void *state, xs_str space, xs_str prefix, void *token)
{
    return enqueue(state,
                   &(Op){.kind = OP_LIST, .space = space, .channel = prefix, .token = token});
}

static bool redis_spread(void *state, xs_str space, xs_str data)
{
    return enqueue(state, &(Op){.kind = OP_SPREAD, .space = space, .data = data});
}

static bool redis_barrier(void *state, xs_str space, xs_str channel, uint64_t n)
{
    return enqueue(state, &(Op){.kind = OP_BARRIER, .n = n, .space = space, .channel = channel});
}

static bool redis_member(void *state, xs_str space, xs_str channel, const xs_plane_member *m,
                         bool here)
{
    return enqueue(state, &(Op){.kind = here ? OP_JOIN : OP_LEAVE,
                                .space = space,
                                .channel = channel,
                                .socket_id = m->socket_id,
                                .data = m->data});
}

static void redis_stats(void *state, xs_plane_stats *out)
{
    Redis *r = state;
    *out = (xs_plane_stats){.published = atomic_load(&r->published),
                            .received = atomic_load(&r->received),
                            .dropped = atomic_load(&r->dropped),
                            .lost = atomic_load(&r->lost),
                            .up = atomic_load(&r->up)};
}

/* ---- life ---- */

static char *copy(const char *from, size_t len)
{
    return strndup(from, len);
}

/* redis://[user:password@]host[:port][/number] */
static bool parse_url(Redis *r, xs_str url, xs_error *err)
{
    static const char scheme[] = "redis://";
    char *text = copy(url.ptr, url.len), *rest = text, *at, *part, *end;
    bool ok = text && strncmp(text, scheme, sizeof scheme - 1) == 0;
    if (ok) {
        rest += sizeof scheme - 1;
        if ((at = strrchr(rest, '@'))) {
            char *colon = memchr(rest, ':', (size_t)(at - rest));
            if (colon && colon > rest)
                r->user = copy(rest, (size_t)(colon - rest));
            part = colon ? colon + 1 : rest;
            r->password = copy(part, (size_t)(at - part));
            rest = at + 1;
        }
        if ((part = strchr(rest, '/'))) {
            *part++ = '\0';
            long n = strtol(part, &end, 10);
            ok = *end == '\0' && n >= 0 && n < 65536;
            r->number = (int)n;
        }
        r->port = REDIS_PORT;
        if ((part = strchr(rest, ':'))) {
            *part++ = '\0';
            long n = strtol(part, &end, 10);
            ok = ok && *part && *end == '\0' && n > 0 && n < 65536;
            r->port = (int)n;
        }
        r->address = copy(rest, strlen(rest));
        ok = ok && r->address && *r->address;
    }
    free(text);
    return ok || xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                         "realtime.backplane: expected redis://[user:password@]host[:port]"
                         "[/number]");
}

static bool ask(Redis *r, redisContext *c, redisReply *reply, xs_error *err)
{
    bool ok = reply && reply->type != REDIS_REPLY_ERROR;
    if (!ok)
        (void)xs_fail(err, XS_E_IO, XS_NO_POS, "realtime.backplane: Redis at %s:%d: %s", r->address,
                      r->port, reply ? reply->str : c->errstr);
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
static redisContext *connect_and_wait(Redis *r, xs_error *err)
{
    struct timeval limit = {.tv_sec = CONNECT_MS / 1000};
    redisContext *c = redisConnectWithTimeout(r->address, r->port, limit);
    if (!c || c->err) {
        (void)xs_fail(err, XS_E_IO, XS_NO_POS,
                      "realtime.backplane: cannot reach Redis at %s:%d: %s", r->address, r->port,
                      c ? c->errstr : "out of memory");
        if (c)
            redisFree(c);
        return NULL;
    }
    redisSetTimeout(c, limit);
    bool ok = true;
    if (r->user)
        ok = command(r, c, err, redisCommand(c, "AUTH %s %s", r->user, r->password));
    else if (r->password)
        ok = command(r, c, err, redisCommand(c, "AUTH %s", r->password));
    if (ok && r->number)
        ok = command(r, c, err, redisCommand(c, "SELECT %d", r->number));
    if (ok)
        return c;
    redisFree(c);
    return NULL;
}

static bool redis_space(void *state, xs_str space, uint64_t proposed, uint64_t *epoch,
                        xs_error *err)
{
    Redis *r = state;
    char key[KEY_BYTES], hex[24];
    if (!write_key(key, space, "epoch", (xs_str){0}))
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "the name of the space is too long");
    redisContext *c = connect_and_wait(r, err);
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
        *epoch = number(&text, 16);
    }
    if (reply)
        freeReplyObject(reply);
    redisFree(c);
    return ok && enqueue(r, &(Op){.kind = OP_SPACE, .space = space});
}

static void free_table(Table *t)
{
    size_t at = 0;
    Link *l, *rest = NULL;
    while ((l = table_each(t, &at, &rest)))
        free(l);
    free(t->slots);
}

static void free_list(OpList *list)
{
    for (Op *op; (op = list_pop(list));)
        free(op);
}

static void redis_stop(void *state)
{
    Redis *r = state;
    if (!r->threaded)
        return;
    uint64_t one = 1;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_mutex_unlock(&r->lock);
    ssize_t n = write(r->wake_fd, &one, sizeof one);
    (void)n;
    pthread_join(r->thread, NULL);
    r->threaded = false;
}

static void redis_destroy(void *state)
{
    Redis *r = state;
    redis_stop(r);
    if (r->wake)
        event_free(r->wake);
    if (r->tick)
        event_free(r->tick);
    if (r->base)
        event_base_free(r->base);
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    free_list(&r->queue);
    free_list(&r->waiting);
    free_list(&r->sent);
    free_table(&r->spaces);
    free_table(&r->watches);
    free_table(&r->own);
    pthread_mutex_destroy(&r->lock);
    free(r->address);
    free(r->user);
    free(r->password);
    free(r);
}

static bool start(Redis *r, xs_error *err)
{
    struct timeval tick = {.tv_usec = TICK_MS * 1000};
    r->base = event_base_new();
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (r->base && r->wake_fd >= 0) {
        r->wake = event_new(r->base, r->wake_fd, EV_READ | EV_PERSIST, on_wake, r);
        r->tick = event_new(r->base, -1, EV_PERSIST, on_tick, r);
    }
    r->threaded = r->wake && r->tick && event_add(r->wake, NULL) == 0 &&
                  event_add(r->tick, &tick) == 0 &&
                  pthread_create(&r->thread, NULL, thread_main, r) == 0;
    return r->threaded || xs_fail(err, XS_E_IO, XS_NO_POS, "no thread for the backplane");
}

static void *redis_create(const xs_plane_host *host, xs_str url, xs_str node, xs_error *err)
{
    Redis *r = calloc(1, sizeof *r);
    if (!r || pthread_mutex_init(&r->lock, NULL) != 0) {
        free(r);
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    r->host = *host;
    r->wake_fd = -1;
    r->retry_ms = RETRY_MS;
    r->queue.end = &r->queue.first;
    r->waiting.end = &r->waiting.first;
    r->sent.end = &r->sent.first;
    snprintf(r->node, sizeof r->node, "%.*s", (int)node.len, node.ptr);
    redisContext *first = parse_url(r, url, err) ? connect_and_wait(r, err) : NULL;
    if (first)
        redisFree(first);
    if (first && start(r, err))
        return r;
    redis_destroy(r);
    return NULL;
}

static const xs_backplane_ops ops = {
    .size = sizeof ops,
    .create = redis_create,
    .space = redis_space,
    .watch = redis_watch,
    .unwatch = redis_unwatch,
    .publish = redis_publish,
    .barrier = redis_barrier,
    .list = redis_list,
    .spread = redis_spread,
    .member = redis_member,
    .stats = redis_stats,
    .stop = redis_stop,
    .destroy = redis_destroy,
};
XS_PLUGIN_DEFINE(redis, XS_PLUGIN_BACKPLANE, "Redis", "1.0", &ops);
