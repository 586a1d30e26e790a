/* topics.c - what comes over the topics, and which ones are listened to. */
#include "transports/backplane/redis/redis.h"

/* ---- what comes over the topics ---- */

/* "<length> <bytes> " */
static xs_str counted(xs_str *t)
{
    size_t n = (size_t)rp_number(t, 10);
    n = n < t->len ? n : t->len;
    xs_str bytes = {t->ptr, n};
    size_t used = n + (n < t->len);
    *t = (xs_str){t->ptr + used, t->len - used};
    return bytes;
}

static bool is_this_node(const Redis *r, xs_str node)
{
    return node.len == strlen(r->node) && memcmp(node.ptr, r->node, node.len) == 0;
}

static xs_plane_member read_member(const Redis *r, xs_str socket_id, xs_str value)
{
    xs_str node = rp_word(&value);
    return (xs_plane_member){.socket_id = socket_id, .data = value, .own = is_this_node(r, node)};
}

static void take_member(Redis *r, const Watch *w, xs_str t, bool here)
{
    uint64_t version = rp_number(&t, 10);
    xs_str id = rp_word(&t);
    xs_plane_member m = read_member(r, id, t);
    if (!m.own)
        r->host.member(r->host.ctx, w->space, w->channel, version, &m, here);
}

static void take_message(Redis *r, const Watch *w, xs_str t)
{
    xs_str kind = rp_word(&t);
    xs_plane_record record = {0};
    switch (kind.len == 1 ? kind.ptr[0] : 0) {
    case 'J': take_member(r, w, t, true); return;
    case 'L': take_member(r, w, t, false); return;
    case 'E':
        record.epoch = rp_number(&t, 16);
        record.seq = rp_number(&t, 10);
        record.off = rp_number(&t, 10);
        record.ts = (int64_t)rp_number(&t, 10);
        break;
    case 'U': break;
    default: rp_complain(r, "a message that it does not know"); return;
    }
    record.data = t;
    atomic_fetch_add(&r->received, 1);
    r->host.record(r->host.ctx, w->space, w->channel, &record);
}

static void read_snapshot(Redis *r, const Watch *w, xs_str t)
{
    xs_plane_snapshot s = {.epoch = rp_number(&t, 16)};
    s.seq = rp_number(&t, 10);
    s.off = rp_number(&t, 10);
    s.evicted = rp_number(&t, 10); /* the last of all, when nothing is kept */
    s.version = rp_number(&t, 10);
    s.nrecords = (size_t)rp_number(&t, 10);
    s.nmembers = (size_t)rp_number(&t, 10);
    if (s.nrecords > t.len || s.nmembers > t.len)
        return;
    xs_plane_record *records = calloc(s.nrecords + 1, sizeof *records);
    xs_plane_member *members = calloc(s.nmembers + 1, sizeof *members);
    for (size_t i = 0; records && members && i < s.nrecords; i++) {
        records[i].epoch = s.epoch;
        records[i].seq = rp_number(&t, 10);
        records[i].off = rp_number(&t, 10);
        records[i].ts = (int64_t)rp_number(&t, 10);
        records[i].data = counted(&t);
    }
    for (size_t i = 0; records && members && i < s.nmembers; i++) {
        xs_str id = rp_word(&t);
        members[i] = read_member(r, id, counted(&t));
    }
    if (records && members) {
        if (s.nrecords)
            s.evicted = records[0].off == 1 ? 0 : records[0].seq - 1;
        s.records = records;
        s.members = members;
        r->host.snapshot(r->host.ctx, w->space, w->channel, &s);
    } else {
        rp_complain(r, "out of memory");
    }
    free(records);
    free(members);
}

/* The space of a topic with so many bytes behind it. */
static xs_str space_of(const Redis *r, xs_str topic, size_t tail)
{
    size_t head = strlen(r->prefix);
    return topic.len < head + tail ? (xs_str){0}
                                   : (xs_str){topic.ptr + head, topic.len - head - tail};
}

static void take_note(Redis *r, xs_str topic, xs_str t)
{
    if (!is_this_node(r, rp_word(&t)))
        r->host.note(r->host.ctx, space_of(r, topic, sizeof "}:a" - 1), t);
}

/* A message to this node: "S <nonce>" begins a snapshot, "B <number>" is a barrier, each with the
 * length of the channel and the channel behind; "P" says that both connections work. */
static void take_own(Redis *r, xs_str topic, xs_str t)
{
    xs_str kind = rp_word(&t);
    uint64_t n = rp_number(&t, 10);
    xs_str channel = counted(&t), space = space_of(r, topic, sizeof "}:n:" - 1 + strlen(r->node));
    char key[KEY_BYTES];
    if (kind.len == 1 && kind.ptr[0] == 'P')
        r->pinged_ms = 0;
    if (kind.len != 1 || !channel.len || !rp_key(r, key, space, "c", channel))
        return;
    Watch *w = (Watch *)table_get(&r->watches, key, strlen(key));
    if (w && kind.ptr[0] == 'B') {
        r->host.barrier(r->host.ctx, w->space, w->channel, n);
    } else if (w && w->nonce == n) { /* else another one was asked for meanwhile */
        w->nonce = 0;
        read_snapshot(r, w, t);
    }
}

/* ---- watching ---- */

void rp_forget(Redis *r, Watch *w)
{
    table_take(&r->watches, &w->link);
    free(w);
}

static void on_topic(redisAsyncContext *link, void *reply, void *ctx)
{
    const redisReply *answer = reply;
    Redis *r = ctx;
    if (!answer || link != r->topics)
        return;
    if (answer->type == REDIS_REPLY_ERROR) {
        rp_on_must(link, reply, ctx);
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
        rp_ask_snapshot(r, w);
    } else if (strcmp(kind->str, "unsubscribe") == 0 && w && w->leaving) {
        w->leaving = false;
        if (w->wanted)
            rp_subscribe(r, w);
        else
            rp_forget(r, w);
    } else if (strcmp(kind->str, "message") == 0) {
        xs_str text = {body->str, (size_t)body->len};
        if (w && w->subscribed)
            take_message(r, w, text);
        else if (!w && topic.len > 2 && memcmp(topic.ptr + topic.len - 2, ":a", 2) == 0)
            take_note(r, topic, text);
        else if (!w)
            take_own(r, topic, text);
    }
}

static void listen_to(Redis *r, const char *what, const char *topic)
{
    Command c = {.n = 0};
    rp_arg_text(&c, what);
    rp_arg_text(&c, topic);
    rp_send(r, r->topics, on_topic, &c);
}

void rp_subscribe(Redis *r, const Watch *w)
{
    if (r->topics && atomic_load(&r->up))
        listen_to(r, "SUBSCRIBE", w->link.key);
}

void rp_subscribe_space(Redis *r, xs_str space)
{
    char key[KEY_BYTES];
    if (!r->topics || !atomic_load(&r->up))
        return;
    if (rp_key(r, key, space, "n", (xs_str){r->node, strlen(r->node)}))
        listen_to(r, "SUBSCRIBE", key);
    if (rp_key(r, key, space, "a", (xs_str){0}))
        listen_to(r, "SUBSCRIBE", key);
}

void rp_enter_space(Redis *r, const Op *op)
{
    Place *p = table_get(&r->spaces, op->space.ptr, op->space.len)
                   ? NULL
                   : calloc(1, sizeof *p + op->space.len);
    if (!p)
        return;
    char *at = (char *)(p + 1);
    if (table_put(&r->spaces, &p->link, rp_put(&at, op->space).ptr, op->space.len))
        rp_subscribe_space(r, op->space);
    else
        free(p);
}

void rp_watch_channel(Redis *r, const Op *op)
{
    char key[KEY_BYTES];
    if (!rp_key(r, key, op->space, "c", op->channel))
        return;
    size_t len = strlen(key);
    Watch *w = (Watch *)table_get(&r->watches, key, len);
    if (w) {
        w->events = op->events;
        w->wanted = true;
        if (w->subscribed)
            rp_ask_snapshot(r, w);
        return;
    }
    w = calloc(1, sizeof *w + op->space.len + op->channel.len + len + 1);
    if (w) {
        char *at = (char *)(w + 1);
        w->space = rp_put(&at, op->space);
        w->channel = rp_put(&at, op->channel);
        w->events = op->events;
        w->wanted = true;
        const char *name = rp_put(&at, (xs_str){key, len + 1}).ptr;
        if (table_put(&r->watches, &w->link, name, len)) {
            rp_subscribe(r, w);
            return;
        }
    }
    free(w);
    rp_complain(r, "out of memory");
}

void rp_unwatch_channel(Redis *r, const Op *op)
{
    char key[KEY_BYTES];
    if (!rp_key(r, key, op->space, "c", op->channel))
        return;
    Watch *w = (Watch *)table_get(&r->watches, key, strlen(key));
    if (!w)
        return;
    w->wanted = w->subscribed = false;
    if (w->leaving)
        return; /* twice would end what is subscribed after the first answer */
    w->leaving = r->topics && atomic_load(&r->up);
    if (w->leaving)
        listen_to(r, "UNSUBSCRIBE", key);
    else
        rp_forget(r, w);
}
