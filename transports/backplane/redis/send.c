/* send.c - what this node says: records, members, questions. */
#include "transports/backplane/redis/redis.h"
#include "transports/common/splitmix.h"

/* ---- records ---- */

static uint64_t bytes_of(const Op *op)
{
    return sizeof *op + op->space.len + op->channel.len + op->socket_id.len + op->data.len;
}

void rp_release(Redis *r, const Op *op)
{
    atomic_fetch_sub(&r->unsent, 1);
    atomic_fetch_sub(&r->unsent_bytes, bytes_of(op));
}

bool rp_reserve(Redis *r, const Op *op)
{
    uint32_t max = atomic_load(&r->up) ? QUEUE_UP : QUEUE_DOWN;
    bool few = atomic_fetch_add(&r->unsent, 1) < max;
    if (atomic_fetch_add(&r->unsent_bytes, bytes_of(op)) < QUEUE_BYTES && few)
        return true;
    rp_release(r, op);
    return false;
}

void rp_finish_record(Redis *r, Op *op, const xs_plane_record *numbers)
{
    rp_release(r, op);
    if (op->kind == OP_ASK) {
        r->host.answer(r->host.ctx, op->token, NULL);
    } else {
        atomic_fetch_add(numbers ? &r->published : &r->dropped, 1);
        if (op->token)
            r->host.published(r->host.ctx, op->token, numbers != NULL, numbers);
    }
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
    *out = (xs_plane_record){.epoch = rp_number(&texts[0], 16),
                             .seq = rp_number(&texts[1], 10),
                             .off = rp_number(&texts[2], 10)};
    return true;
}

static void end_passing(Op *op, bool ok)
{
    Redis *r = op->owner;
    atomic_fetch_add(ok ? &r->published : &r->dropped, 1);
    rp_release(r, op);
    free(op);
}

static void on_published(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    (void)link;
    end_passing(ctx, answer && answer->type != REDIS_REPLY_ERROR);
}

/* Else it was lost on the way, here or there: take_back has what was sent. */
static bool is_answer(const Redis *r, const redisAsyncContext *link, const redisReply *answer)
{
    return answer && rp_is_ours(r, link) &&
           (answer->type != REDIS_REPLY_ERROR || strncmp(answer->str, "NOSCRIPT", 8) != 0);
}

static void on_stored(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    if (is_answer(r, link, answer)) {
        xs_plane_record numbers;
        rp_finish_record(r, list_pop(&r->sent), read_numbers(answer, &numbers) ? &numbers : NULL);
    }
    rp_on_must(link, reply, ctx); /* an error: loads the scripts again, or waits for better times */
}

/* Never the same again: a Redis that loses its data twice begins anew twice. The seed is the node's
 * name, which is random. */
static void propose_epoch(Redis *r, Command *c)
{
    char *d = c->digits[c->ndigits++];
    snprintf(d, sizeof c->digits[0], "%016" PRIx64, splitmix_next(&r->epochs));
    rp_arg_text(c, d);
}

static void send_passing(Redis *r, Op *op)
{
    Command c = {.n = 0};
    char *whole = malloc(op->data.len + 2);
    op->owner = r;
    if (!whole) {
        end_passing(op, false);
        return;
    }
    memcpy(whole, "U ", 2);
    memcpy(whole + 2, op->data.ptr, op->data.len);
    rp_arg_text(&c, "PUBLISH");
    rp_arg_key(r, &c, op->space, "c", op->channel);
    rp_arg(&c, (xs_str){whole, op->data.len + 2});
    if (rp_send_with(r->commands, on_published, op, &c) != REDIS_OK)
        end_passing(op, false);
    free(whole);
}

static void send_numbered(Redis *r, Op *op)
{
    Command c;
    if (!op->n)
        op->n = ++r->nrecords;
    rp_begin(r, &c, PUBLISH, 6);
    rp_arg_key(r, &c, op->space, "epoch", (xs_str){0});
    rp_arg_key(r, &c, op->space, "seq", (xs_str){0});
    rp_arg_key(r, &c, op->space, "m", op->channel);
    rp_arg_key(r, &c, op->space, "h", op->channel);
    rp_arg_key(r, &c, op->space, "c", op->channel);
    rp_arg_key(r, &c, op->space, "i", (xs_str){r->node, strlen(r->node)});
    propose_epoch(r, &c);
    rp_arg_int(&c, op->events);
    rp_arg_int(&c, op->ttl_ms);
    rp_arg(&c, op->data);
    rp_arg_int(&c, (int64_t)op->n);
    rp_arg_int(&c, op->age_ms);
    rp_arg_int(&c, op->by_age);
    rp_send(r, r->commands, on_stored, &c);
}

/* ---- what a channel keeps ---- */

static uint64_t number_of(const redisReply *a)
{
    xs_str text = {a->str, (size_t)a->len};
    return a->type == REDIS_REPLY_INTEGER  ? (uint64_t)a->integer
           : a->type == REDIS_REPLY_STRING ? rp_number(&text, 10)
                                           : 0;
}

/* See script_ask. */
static void hand_up_answer(Redis *r, const Op *op, const redisReply *reply)
{
    enum { HEAD = 5, PARTS = 4 };
    redisReply **e = reply->element;
    bool ok = reply->type == REDIS_REPLY_ARRAY && reply->elements >= HEAD;
    size_t n = ok ? (reply->elements - HEAD) / PARTS : 0;
    xs_plane_record *records = ok ? calloc(n + 1, sizeof *records) : NULL;
    for (size_t i = 0; records && i < n; i++) {
        redisReply **part = e + HEAD + i * PARTS;
        records[i] = (xs_plane_record){.seq = number_of(part[0]),
                                       .off = number_of(part[1]),
                                       .ts = (int64_t)number_of(part[2]),
                                       .data = {part[3]->str, (size_t)part[3]->len}};
    }
    xs_plane_answer answer = {.records = records, .nrecords = n};
    if (records) {
        answer.cursor = number_of(e[0]);
        answer.upto = number_of(e[1]);
        answer.resumed = number_of(e[2]) != 0;
        answer.more = number_of(e[3]) != 0;
        answer.ntranscript = (size_t)number_of(e[4]);
    }
    if (answer.ntranscript > n)
        answer.ntranscript = n;
    r->host.answer(r->host.ctx, op->token, records ? &answer : NULL);
    free(records);
}

static void on_answer(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    if (is_answer(r, link, answer)) {
        Op *op = list_pop(&r->sent);
        rp_release(r, op);
        hand_up_answer(r, op, answer);
        free(op);
    }
    rp_on_must(link, reply, ctx);
}

static void send_question(Redis *r, const Op *op)
{
    static const char *const words[] = {
        [XS_PLANE_OPEN] = "open", [XS_PLANE_PAGE] = "page", [XS_PLANE_ACK] = "ack"};
    Command c;
    xs_plane_question q;
    memcpy(&q, op->data.ptr, sizeof q);
    rp_begin(r, &c, ASK, 3);
    rp_arg_key(r, &c, op->space, "m", op->channel);
    rp_arg_key(r, &c, op->space, "h", op->channel);
    rp_arg_key(r, &c, op->space, "k", op->channel);
    rp_arg_text(&c, words[q.ask]);
    rp_arg(&c, op->socket_id);
    rp_arg_int(&c, q.life_ms);
    rp_arg_int(&c, (int64_t)q.id);
    rp_arg_int(&c, q.keep);
    rp_arg_int(&c, q.transcript);
    rp_arg_int(&c, q.age_ms);
    rp_arg_int(&c, q.by_age);
    rp_arg_int(&c, q.page_records);
    rp_arg_int(&c, q.page_bytes);
    rp_send(r, r->commands, on_answer, &c);
}

void rp_send_record(Redis *r, Op *op)
{
    if (op->kind == OP_PUBLISH && !op->numbered) {
        send_passing(r, op);
        return;
    }
    list_push(&r->sent, op);
    if (op->kind == OP_ASK)
        send_question(r, op);
    else
        send_numbered(r, op);
}

/* ---- counters ---- */

typedef struct Counting {
    Redis *r;
    void *token;
} Counting;

static void on_counted(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Counting *counting = ctx;
    Redis *r = counting->r;
    bool ok = answer && answer->type == REDIS_REPLY_ARRAY && answer->elements == 2;
    r->host.counted(r->host.ctx, counting->token, ok ? number_of(answer->element[0]) : 0,
                    ok ? answer->element[1]->integer : 0);
    free(counting);
    rp_on_must(link, reply, r);
}

void rp_send_count(Redis *r, const Op *op)
{
    Command c;
    Counting *counting = r->commands && atomic_load(&r->up) ? malloc(sizeof *counting) : NULL;
    if (!counting) {
        r->host.counted(r->host.ctx, op->token, 0, 0);
        return;
    }
    *counting = (Counting){r, op->token};
    rp_begin(r, &c, COUNT, 1);
    rp_arg_key(r, &c, op->space, "r", op->channel);
    rp_arg_int(&c, op->ttl_ms);
    if (rp_send_with(r->commands, on_counted, counting, &c) == REDIS_OK)
        return;
    r->host.counted(r->host.ctx, op->token, 0, 0); /* out of memory */
    free(counting);
}

/* ---- the node's number ---- */

void rp_keep_number(Redis *r)
{
    if (r->commands)
        redisAsyncCommand(r->commands, rp_on_must, r, "SET xs:node:%d %s PX %d",
                          (int)r->node_number, r->node, NUMBER_MS);
}

/* ---- members ---- */

static void send_member(Redis *r, const char *what, redisCallbackFn *done, const Own *o)
{
    Command c;
    rp_begin(r, &c, MEMBER, 4);
    rp_arg_key(r, &c, o->space, "p", o->channel);
    rp_arg_key(r, &c, o->space, "px", o->channel);
    rp_arg_key(r, &c, o->space, "m", o->channel);
    rp_arg_key(r, &c, o->space, "c", o->channel);
    rp_arg_text(&c, what);
    rp_arg(&c, o->socket_id);
    rp_arg(&c, o->value);
    rp_arg_int(&c, MEMBER_MS);
    rp_send(r, r->commands, done, &c);
}

static void pop_left(Redis *r)
{
    Own *o = r->left;
    if (!(r->left = o->next_left))
        r->left_end = &r->left;
    free(o);
}

static void on_left(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    if (answer && rp_is_ours(r, link) && answer->type != REDIS_REPLY_ERROR)
        pop_left(r);
    rp_on_must(link, reply, ctx);
}

/* Not a member any more; takes o. */
static void leave(Redis *r, Own *o)
{
    o->next_left = NULL;
    o->left_ms = transport_mono_ms();
    *r->left_end = o;
    r->left_end = &o->next_left;
    if (atomic_load(&r->up))
        send_member(r, "leave", on_left, o);
}

void rp_send_left(Redis *r)
{
    for (const Own *o = r->left; o; o = o->next_left)
        send_member(r, "leave", on_left, o);
}

void rp_drop_left(Redis *r, bool all)
{
    int64_t now = transport_mono_ms();
    while (r->left && (all || (!atomic_load(&r->up) && now - r->left->left_ms > MEMBER_MS)))
        pop_left(r);
}

void rp_send_members(Redis *r, const char *what)
{
    size_t at = 0;
    Link *l, *rest = NULL;
    while (r->commands && (l = table_each(&r->own, &at, &rest)))
        send_member(r, what, rp_on_must, (Own *)l);
}

/* The members of nodes that are gone: whoever watches the channel says so. */
void rp_reap_members(Redis *r)
{
    size_t at = 0;
    Link *l, *rest = NULL;
    while (r->commands && (l = table_each(&r->watches, &at, &rest))) {
        const Watch *w = (Watch *)l;
        Command c;
        rp_begin(r, &c, REAP, 4);
        rp_arg_key(r, &c, w->space, "p", w->channel);
        rp_arg_key(r, &c, w->space, "px", w->channel);
        rp_arg_key(r, &c, w->space, "m", w->channel);
        rp_arg_key(r, &c, w->space, "c", w->channel);
        rp_send(r, r->commands, rp_on_must, &c);
    }
}

void rp_member_changed(Redis *r, const Op *op)
{
    char key[KEY_BYTES + 128];
    if (!rp_key(r, key, op->space, "c", op->channel))
        return;
    size_t len = strlen(key);
    len += (size_t)snprintf(key + len, sizeof key - len, " %.*s", (int)op->socket_id.len,
                            op->socket_id.ptr);
    Own *o = (Own *)table_get(&r->own, key, len);
    if (o) {
        table_take(&r->own, &o->link);
        if (op->kind == OP_LEAVE)
            leave(r, o);
        else
            free(o);
    }
    if (op->kind == OP_LEAVE)
        return;
    size_t node = strlen(r->node);
    o = calloc(1, sizeof *o + op->space.len + op->channel.len + op->socket_id.len + node + 1 +
                      op->data.len + len);
    if (!o) {
        rp_complain(r, "out of memory");
        return;
    }
    char *at = (char *)(o + 1);
    o->space = rp_put(&at, op->space);
    o->channel = rp_put(&at, op->channel);
    o->socket_id = rp_put(&at, op->socket_id);
    o->value = rp_put(&at, (xs_str){r->node, node});
    rp_put(&at, (xs_str){" ", 1});
    o->value.len += 1 + rp_put(&at, op->data).len;
    if (!table_put(&r->own, &o->link, rp_put(&at, (xs_str){key, len}).ptr, len)) {
        free(o);
        rp_complain(r, "out of memory");
        return;
    }
    send_member(r, "join", rp_on_must, o);
}

/* ---- topics of a node, and of all ---- */

void rp_send_note(Redis *r, const Op *op)
{
    Command c = {.n = 0};
    size_t node = strlen(r->node), len = node + 1 + op->data.len;
    char *text = malloc(len), *at = text;
    if (text) {
        rp_put(&at, (xs_str){r->node, node});
        rp_put(&at, (xs_str){" ", 1});
        rp_put(&at, op->data);
        rp_arg_text(&c, "PUBLISH");
        rp_arg_key(r, &c, op->space, "a", (xs_str){0});
        rp_arg(&c, (xs_str){text, len});
        rp_send(r, r->commands, rp_on_must, &c);
    }
    free(text);
}

/* Comes back over the topic, behind everything this node said before. */
static void tell_this_node(Redis *r, xs_str space, const char *text)
{
    Command c = {.n = 0};
    rp_arg_text(&c, "PUBLISH");
    rp_arg_key(r, &c, space, "n", (xs_str){r->node, strlen(r->node)});
    rp_arg_text(&c, text);
    rp_send(r, r->commands, rp_on_must, &c);
}

void rp_send_barrier(Redis *r, const Op *op)
{
    char text[KEY_BYTES];
    if (!atomic_load(&r->up))
        return; /* a snapshot will come */
    snprintf(text, sizeof text, "B %" PRIu64 " %zu %.*s", op->n, op->channel.len,
             (int)op->channel.len, op->channel.ptr);
    tell_this_node(r, op->space, text);
}

void rp_send_ping(Redis *r)
{
    size_t at = 0;
    Link *rest = NULL, *any = table_each(&r->spaces, &at, &rest);
    if (!any)
        return;
    r->pinged_ms = transport_mono_ms();
    tell_this_node(r, (xs_str){any->key, any->len}, "P");
}

void rp_ask_snapshot(Redis *r, Watch *w)
{
    Command c;
    char head[KEY_BYTES];
    w->nonce = ++r->nonce;
    snprintf(head, sizeof head, "S %" PRIu64 " %zu %.*s", w->nonce, w->channel.len,
             (int)w->channel.len, w->channel.ptr);
    rp_begin(r, &c, SNAPSHOT, 7);
    rp_arg_key(r, &c, w->space, "epoch", (xs_str){0});
    rp_arg_key(r, &c, w->space, "seq", (xs_str){0});
    rp_arg_key(r, &c, w->space, "m", w->channel);
    rp_arg_key(r, &c, w->space, "h", w->channel);
    rp_arg_key(r, &c, w->space, "p", w->channel);
    rp_arg_key(r, &c, w->space, "px", w->channel);
    rp_arg_key(r, &c, w->space, "n", (xs_str){r->node, strlen(r->node)});
    propose_epoch(r, &c);
    rp_arg_int(&c, w->events);
    rp_arg_text(&c, head);
    rp_send(r, r->commands, rp_on_must, &c);
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
void rp_send_list(Redis *r, const Op *op)
{
    char prefix[KEY_BYTES], pattern[2 * KEY_BYTES + 2];
    Listing *l = malloc(sizeof *l + op->space.len);
    bool ok =
        l && r->commands && atomic_load(&r->up) && rp_key(r, prefix, op->space, "c", op->channel);
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
    l->space = rp_put(&at, op->space);
    if (redisAsyncCommand(r->commands, on_list, l, "PUBSUB CHANNELS %s", pattern) == REDIS_OK)
        return;
    r->host.listed(r->host.ctx, l->space, op->token, false, NULL, 0); /* out of memory */
    free(l);
}
