/* l2.c - clients of a realtime server: connect, join, broadcast, acknowledge, leave.
 *
 * A frame of a (connection, channel) waits while the one before it is with a worker or with the
 * store (`busy`). An L2Op is such a wait: it goes to a worker, comes back through the shard's
 * mailbox, goes to the store when its message is recorded, and comes back again. Recorded messages
 * are written first and delivered then, by the store's thread, so that nobody has seen what a crash
 * could take away. A client joins before its transcript is read; what arrives meanwhile waits in
 * its subscription, and what the transcript or the replay already showed is dropped by its number.
 */
#include "host/hub/l2.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "host/hub/event.h"
#include "host/hub/l2_frame.h"
#include "host/hub/l2_store.h"
#include "host/hub/protocol.h"

enum {
    EARLY_FRAMES = 16, /* before the connect triggers are done */
    EARLY_BYTES = 64 * 1024,
    MAX_LISTED = 64,
    MAX_WAITING = 2000, /* events of one subscription that waits */
    MAX_PRESENCE = 1000,
    MAX_RATES = 65536,
    MINUTE_MS = 60 * 1000,
    KEY_MAX = 200
};

typedef struct L2Conn {
    bool connecting, admitted, slow, listed;
    uint64_t socket;
    int64_t opened_ms;
    Pending *queue, **queue_end;
    uint32_t frames;
    size_t bytes;
} L2Conn;

typedef struct L2Sub {
    Sub sub; /* first: indexes hold pointers to it */
    const L2Channel *channel;
    Text client_id;  /* owned; ptr NULL = none */
    uint32_t nops;   /* that point here */
    bool opening;    /* joined, and its transcript is not out yet */
    bool asked;      /* opening: the store is reading */
    bool delivering; /* a deliver trigger runs */
    bool has_cursor, resumed;
    uint64_t cursor, upto, page; /* page: last id that was replayed */
    EventVec waiting;            /* from waiting_at on */
    size_t waiting_at;
    EventVec kept; /* opening: what the deliver triggers are asked about before */
    Buf members;   /* opening: the roster as it was at the join */
    bool members_cut;
    char *ref; /* of the join; owned */
    size_t ref_len;
} L2Sub;

typedef enum OpStage { AT_WORKER, AT_STORE } OpStage;

typedef struct L2Op {
    L2Job pub; /* first: the dispatcher holds a pointer to it */
    MailLink link;
    StoreOp store;
    OpStage stage;
    xs_shard *shard;
    xs_conn *conn; /* NULL: nobody waits */
    L2Sub *sub;
    Buf texts; /* behind the Texts of pub and below */
    Text type, ref, to_row, exclude;
    bool direct;
    int64_t to_dbo;
    Event *event; /* L2_DELIVER; a reference */
    L2Verdict verdict;
    char *text; /* owned */
    size_t text_len;
    bool failed;
    uint64_t delivered;
} L2Op;

/* One identity on a channel, however many sockets it has. */
typedef struct Person {
    uint32_t sockets;
    Text key, member; /* behind the struct */
} Person;

typedef struct Rate {
    int64_t since_ms;
    uint32_t count;
    Text key; /* behind the struct */
} Rate;

static const L2Server *server_of(const xs_conn *c)
{
    return c->space->server;
}

/* ---- who is who ---- */

/* "u:5:81"; a socket of its own without identity: "s:<id>". */
static Text person_key(const Identity *who, const char *socket_id, char out[KEY_MAX])
{
    Text row = bare_row_id(who->row_id);
    int n = who->authenticated
                ? snprintf(out, KEY_MAX, "u:%lld:" TEXT_FMT, (long long)who->dbo_id, TEXT_ARG(row))
                : snprintf(out, KEY_MAX, "s:%s", socket_id);
    return (Text){out, n < KEY_MAX ? (size_t)n : KEY_MAX - 1};
}

/* Whose cursor it is; len 0: the client has none. */
static Text cursor_key(const L2Sub *sub, char out[KEY_MAX])
{
    const xs_conn *c = sub->sub.conn;
    if (!sub->channel->at_least_once)
        return (Text){0};
    if (c->identity->authenticated)
        return person_key(c->identity, c->socket_id, out);
    if (!sub->client_id.len)
        return (Text){0};
    int n = snprintf(out, KEY_MAX, "a:" TEXT_FMT, TEXT_ARG(sub->client_id));
    return (Text){out, n < KEY_MAX ? (size_t)n : KEY_MAX - 1};
}

static Person *person_new(const xs_conn *c)
{
    char key[KEY_MAX];
    Text k = person_key(c->identity, c->socket_id, key);
    Buf member = BUF_INIT, extras = BUF_INIT;
    conn_write_extras(c->shard->hub, c->identity, &extras);
    l2_member(&member, c->identity->row_id, c->identity->dbo_id, c->identity->authenticated,
              buf_view(&extras), wall_ms() / 1000);
    member.failed = member.failed || extras.failed;
    buf_deinit(&extras);
    Person *p = member.failed ? NULL : mem_zalloc(1, sizeof *p + k.len + member.len);
    if (p) {
        char *at = (char *)(p + 1);
        memcpy(at, k.ptr, k.len);
        memcpy(at + k.len, member.ptr, member.len);
        p->key = (Text){at, k.len};
        p->member = (Text){at + k.len, member.len};
    }
    buf_deinit(&member);
    return p;
}

void l2_people_free(Channel *ch)
{
    size_t at = 0;
    for (MapSlot *slot; (slot = map_next(&ch->people, &at));)
        mem_free(slot->value);
    map_deinit(&ch->people);
}

/* Members joined by commas; without: one that is left out. */
static void write_people(const Channel *ch, Text without, Buf *out, bool *truncated)
{
    size_t at = 0, written = 0;
    *truncated = false;
    for (MapSlot *slot; (slot = map_next(&ch->people, &at));) {
        const Person *p = slot->value;
        if (text_eq(p->key, without))
            continue;
        if (written == MAX_PRESENCE) {
            *truncated = true;
            return;
        }
        if (written++)
            buf_char(out, ',');
        buf_text(out, p->member);
    }
}

static void put_member(Buf *b, Text key, Text value)
{
    if (b->len > 1)
        buf_char(b, ',');
    json_write_text(b, key);
    buf_char(b, ':');
    json_write_text(b, value);
}

static void write_params(const L2Sub *sub, Buf *out)
{
    Text name, value;
    buf_char(out, '{');
    for (size_t i = 0; l2_param(sub->channel, sub->sub.name, i, &name, &value); i++)
        put_member(out, name, value);
    buf_char(out, '}');
}

/* ---- answers ---- */

static void answer_error(xs_conn *c, Text channel, Text message, Text ref)
{
    atomic_fetch_add_explicit(&c->shard->hub->refused, 1, memory_order_relaxed);
    conn_deliver(c, l2_error(channel, message, ref, 0, 0));
}

static void refuse(xs_conn *c, const L2Frame *f, const char *message)
{
    Text channel = f->channel.len <= CHANNEL_NAME_MAX ? f->channel : (Text){0};
    answer_error(c, channel, text_from(message), f->ref);
}

/* ---- subscriptions ---- */

static L2Sub *sub_of(const xs_conn *c, Text name)
{
    return (L2Sub *)sub_find(c, name);
}

static bool keep_text(Text *out, Text t)
{
    char *copy = t.ptr ? mem_strndup(t.ptr, t.len) : NULL;
    mem_free((void *)(uintptr_t)out->ptr);
    *out = (Text){copy, copy ? t.len : 0};
    return copy || !t.ptr;
}

static void drop_waiting(L2Sub *sub)
{
    for (size_t i = sub->waiting_at; i < sub->waiting.len; i++)
        frame_unref(&sub->waiting.ptr[i]->frame);
    VEC_DEINIT(&sub->waiting);
    sub->waiting_at = 0;
    event_vec_deinit(&sub->kept);
}

/* Everything it owns but itself. */
static void sub_clear(L2Sub *sub)
{
    drop_waiting(sub);
    buf_deinit(&sub->members);
    mem_free(sub->ref);
    sub->ref = NULL;
    sub->ref_len = 0;
    (void)keep_text(&sub->client_id, (Text){0});
}

static L2Sub *sub_new(xs_conn *c, const L2Channel *channel, Text name)
{
    L2Sub *sub = mem_zalloc(1, sizeof *sub + name.len);
    if (!sub)
        return NULL;
    memcpy(sub + 1, name.ptr, name.len);
    sub->channel = channel;
    sub->members = BUF_INIT;
    sub->sub.name = (Text){(const char *)(sub + 1), name.len};
    sub->sub.conn = c;
    sub->sub.queue_end = &sub->sub.queue;
    sub->sub.member = (Member){.shard = c->shard,
                               .socket_id = text_from(c->socket_id),
                               .client = c->client,
                               .authenticated = c->identity->authenticated};
    if (!VEC_PUSH(&c->subs, &sub->sub)) {
        mem_free(sub);
        return NULL;
    }
    return sub;
}

/* Gone when it has neither a membership nor anything to do. */
static void sub_release(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    if (sub->sub.joined || sub->sub.busy || sub->sub.running || sub->sub.queue || sub->nops)
        return;
    for (size_t i = 0; i < c->subs.len; i++) {
        if (c->subs.ptr[i] == &sub->sub) {
            c->subs.ptr[i] = c->subs.ptr[--c->subs.len];
            break;
        }
    }
    sub_clear(sub);
    mem_free(sub);
}

/* ---- operations ---- */

static L2Op *op_new(xs_conn *c, L2Action action, Text name, Text payload)
{
    L2Op *op = mem_zalloc(1, sizeof *op);
    if (!op)
        return NULL;
    buf_reserve(&op->texts, name.len + payload.len + 1);
    buf_text(&op->texts, name);
    buf_text(&op->texts, payload);
    if (op->texts.failed) {
        buf_deinit(&op->texts);
        mem_free(op);
        return NULL;
    }
    Text all = buf_view(&op->texts);
    op->pub = (L2Job){.action = action,
                      .space = c->space,
                      .server = server_of(c),
                      .name = text_slice(all, 0, name.len),
                      .payload = text_slice(all, name.len, all.len),
                      .identity = identity_ref(c->identity),
                      .socket = c->l2->socket,
                      .opened_ms = c->l2->opened_ms,
                      .request = request_ref(c->request)};
    arena_init(&op->store.arena, 0);
    op->shard = shard_ref(c->shard);
    return op;
}

static void op_free(L2Op *op)
{
    if (op->event)
        frame_unref(&op->event->frame);
    identity_unref(op->pub.identity);
    request_unref(op->pub.request);
    if (op->shard)
        shard_unref(op->shard);
    arena_deinit(&op->store.arena);
    buf_deinit(&op->texts);
    mem_free(op->text);
    mem_free(op);
}

static void op_arrived(MailLink *link);

/* The connection and its subscription stay until the op is back. */
static void op_attach(L2Op *op, xs_conn *c, L2Sub *sub)
{
    op->conn = c;
    op->sub = sub;
    op->link.handle = op_arrived;
    atomic_fetch_add(&c->njobs, 1);
    if (sub)
        sub->nops++;
}

static void op_detach(L2Op *op)
{
    if (op->sub)
        op->sub->nops--;
    if (op->conn)
        atomic_fetch_sub(&op->conn->njobs, 1);
}

/* Back to the shard. Any thread; consumes the op. */
static void op_return(L2Op *op)
{
    if (!op->conn) {
        op_free(op);
        return;
    }
    if (mailbox_push_link(&op->shard->box, &op->link))
        return;
    conn_job_ended(op->conn); /* the shard was freed meanwhile */
    op_free(op);
}

/* false: overload; the op is detached and freed. */
static bool op_work(L2Op *op)
{
    const Hub *h = op->shard->hub;
    op->stage = AT_WORKER;
    if (h->opt.l2.run && h->opt.l2.run(h->opt.l2.ctx, &op->pub))
        return true;
    op_detach(op);
    op_free(op);
    return false;
}

void l2_job_done(L2Job *job, L2Verdict verdict, Text text)
{
    L2Op *op = (L2Op *)job;
    op->verdict = verdict;
    if (text.ptr) {
        op->text = mem_strndup(text.ptr, text.len);
        op->text_len = text.len;
        op->failed = !op->text;
    }
    op_return(op);
}

/* An observer: nobody waits for it. */
static void observe(xs_conn *c, L2Action action, const L2Channel *channel, Text name)
{
    if (!l2_has_trigger(server_of(c), channel, action))
        return;
    L2Op *op = op_new(c, action, name, TEXT("null"));
    if (!op)
        return;
    op->pub.channel = channel;
    (void)op_work(op); /* an overloaded server skips observers */
}

/* ---- the store ---- */

static StoreRules rules_of(const L2Channel *ch)
{
    uint32_t replay = !ch->at_least_once ? 0
                      : ch->ttl_ms       ? 0
                      : ch->limit        ? ch->limit
                                         : L2_DEFAULT_RETENTION;
    uint32_t transcript = ch->transcript ? ch->limit : 0;
    bool by_age = ch->at_least_once && ch->ttl_ms;
    return (StoreRules){.keep = by_age                ? 0
                                : replay > transcript ? replay
                                                      : transcript,
                        .transcript = transcript,
                        .ttl_ms = ch->ttl_ms,
                        .by_age = by_age,
                        .replay = ch->at_least_once};
}

/* "tenant:canonical/channel", in the op's arena. */
static Text record_name(Arena *a, const Space *s, Text channel)
{
    return arena_printf(a, TEXT_FMT "/" TEXT_FMT, TEXT_ARG(s->key), TEXT_ARG(channel));
}

static L2Op *op_of_store(StoreOp *store)
{
    return (L2Op *)(void *)((char *)store - offsetof(L2Op, store));
}

static void store_came_back(StoreOp *store)
{
    op_return(op_of_store(store));
}

/* false: not taken; the op stays the caller's. */
static bool op_store(L2Op *op, StoreKind kind, Hub *h, const L2Channel *ch, Text name, Text client,
                     void (*done)(StoreOp *))
{
    StoreOp *s = &op->store;
    op->stage = AT_STORE;
    s->kind = kind;
    s->done = done;
    s->rules = rules_of(ch);
    s->channel = record_name(&s->arena, op->pub.space, name);
    s->client = client.len ? arena_text(&s->arena, client) : (Text){0};
    return s->channel.ptr && (!client.len || s->client.ptr) && h->store && store_push(h->store, s);
}

/* ---- delivery to one subscriber ---- */

static void pass(L2Sub *sub, Event *ev)
{
    frame_ref(&ev->frame);
    conn_deliver(sub->sub.conn, ev);
}

static bool start_delivery(L2Sub *sub, Event *ev)
{
    xs_conn *c = sub->sub.conn;
    L2Op *op = op_new(c, L2_DELIVER, sub->sub.name, event_payload(ev));
    if (!op)
        return false;
    size_t at = op->texts.len, name = op->pub.name.len;
    if (!buf_text(&op->texts, event_sender(ev))) {
        op_free(op);
        return false;
    }
    Text all = buf_view(&op->texts);
    op->pub.name = text_slice(all, 0, name);
    op->pub.payload = text_slice(all, name, at);
    op->pub.client = text_slice(all, at, all.len);
    op->pub.channel = sub->channel;
    op->event = ev;
    frame_ref(&ev->frame);
    op_attach(op, c, sub);
    sub->delivering = op_work(op);
    return sub->delivering;
}

/* What waits, until a trigger has to be asked. */
static void pump(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    while (!sub->opening && !sub->delivering && sub->waiting_at < sub->waiting.len) {
        Event *ev = sub->waiting.ptr[sub->waiting_at++];
        bool ask = sub->channel->per_recipient && (ev->frame.flags & EVENT_SAID);
        if (c->closing || c->gone || !sub->sub.joined) {
            ; /* nobody is there any more */
        } else if (!ask) {
            pass(sub, ev);
        } else if (!start_delivery(sub, ev)) {
            /* Skipping a message silently would be worse than a reconnect. */
            conn_close(c, 1013, "overload");
        }
        frame_unref(&ev->frame);
    }
    if (sub->waiting_at == sub->waiting.len)
        drop_waiting(sub);
}

static bool wait_for_turn(L2Sub *sub, Event *ev)
{
    xs_conn *c = sub->sub.conn;
    if (sub->waiting.len - sub->waiting_at >= MAX_WAITING || !VEC_PUSH(&sub->waiting, ev)) {
        conn_close(c, 1013, "too much waits");
        return true;
    }
    frame_ref(&ev->frame);
    return true;
}

bool l2_tap(Sub *base, Event *ev)
{
    L2Sub *sub = (L2Sub *)base;
    bool ask = sub->channel->per_recipient && (ev->frame.flags & EVENT_SAID);
    if (!sub->opening && !ask && sub->waiting_at == sub->waiting.len && !sub->delivering)
        return false;
    wait_for_turn(sub, ev);
    pump(sub);
    return true;
}

/* Did the transcript or the replay show it? */
static bool is_known(const L2Sub *sub, const Event *ev)
{
    uint64_t upto = sub->page > sub->upto ? sub->page : sub->upto;
    return (ev->frame.flags & EVENT_SAID) && ev->log_id && ev->log_id <= upto;
}

bool l2_took(Sub *base, Event *ev)
{
    L2Sub *sub = (L2Sub *)base;
    if (is_known(sub, ev))
        return true;
    return sub->channel->per_recipient && (ev->frame.flags & EVENT_SAID) && wait_for_turn(sub, ev);
}

void l2_go_on(xs_conn *c)
{
    for (size_t i = 0; i < c->subs.len; i++)
        pump((L2Sub *)c->subs.ptr[i]);
}

static void delivery_done(L2Op *op)
{
    L2Sub *sub = op->sub;
    const Hub *h = op->shard->hub;
    L2Verdict v = op->verdict;
    if (v == L2_CRASH && h->opt.crash_delivers)
        v = L2_PASS;
    if (v == L2_PASS) {
        pass(sub, op->event);
    } else if (v == L2_CHANGE) {
        Event *ev = op->failed ? NULL : l2_replaced(op->event, (Text){op->text, op->text_len});
        if (!ev) {
            conn_close(sub->sub.conn, 1011, "out of memory");
            return;
        }
        pass(sub, ev);
        frame_unref(&ev->frame);
    }
}

/* ---- messages ---- */

typedef struct Posted {
    uint64_t seq, off, epoch, delivered;
} Posted;

/* Build, number and post one message. Any thread. */
static bool post_said(Space *s, const L2Channel *channel, L2Said *said, Text exclude, bool stored,
                      Posted *out)
{
    said->flags = (stored ? (uint32_t)XS_FRAME_STORED : 0u) |
                  (said->direct ? (uint32_t)XS_FRAME_TARGET_ID : 0u) |
                  (exclude.len ? (uint32_t)XS_FRAME_EXCLUDE : 0u);
    Event *ev = l2_said(said);
    if (!ev)
        return false;
    event_set_socket(ev->exclude, exclude);
    space_lock(s);
    Channel *ch = space_channel(s, said->channel, &channel->config);
    bool ok = ch && (!stored || channel_store(ch, ev));
    if (ok) {
        out->delivered = channel_post(ch, ev);
        out->seq = ev->frame.seq;
        out->off = ev->frame.off;
        out->epoch = s->epoch;
        if (exclude.len && channel_member(ch, exclude))
            out->delivered--;
        if (said->direct) {
            char key[KEY_MAX];
            Identity to = {.authenticated = true, .dbo_id = said->to_dbo, .row_id = said->to_row};
            const Person *p = map_get(&ch->people, person_key(&to, "", key));
            out->delivered = p ? p->sockets : 0;
        }
    }
    if (ch)
        channel_settle(ch);
    space_unlock(s);
    frame_unref(&ev->frame);
    if (ok)
        atomic_fetch_add_explicit(&s->hub->published, 1, memory_order_relaxed);
    return ok;
}

/* Store's thread: the message is on disk (or not). Now it may be seen. */
static void appended(StoreOp *store)
{
    L2Op *op = op_of_store(store);
    const L2Channel *ch = op->pub.channel;
    Posted posted = {0};
    if (store->ok) {
        L2Said said = {.action = "message",
                       .channel = op->pub.name,
                       .type = op->type,
                       .payload = store->row.payload,
                       .client = store->row.client,
                       .id = ch->at_least_once ? store->id : 0,
                       .log_id = store->id,
                       .ts = store->row.ts,
                       .sender = op->pub.client};
        /* A failure here is not the message's end: it is kept, and every later join shows it. */
        (void)post_said(op->pub.space, ch, &said, op->exclude, true, &posted);
    }
    op->delivered = posted.delivered;
    op_return(op);
}

static void send_receipt(L2Op *op, uint64_t delivered, bool dropped, uint64_t id)
{
    L2Receipt r = {.channel = op->pub.name,
                   .type = op->type,
                   .ref = op->ref,
                   .delivered_local = delivered,
                   .id = id,
                   .dropped = dropped,
                   .direct = op->direct && !dropped};
    conn_deliver(op->conn, l2_receipt(&r));
}

static void internal_error(L2Op *op)
{
    answer_error(op->conn, op->pub.name, TEXT("Internal error"), op->ref);
}

/* To the sender alone; its deliver trigger is asked like everybody's. */
static void echo(L2Op *op, L2Said *said)
{
    Event *ev = l2_said(said);
    if (!ev) {
        internal_error(op);
        return;
    }
    uint32_t flags = op->sub->sub.local ? op->sub->sub.local->slots[op->sub->sub.index].flags : 0;
    if (!(flags & SLOT_TAP) || !l2_tap(&op->sub->sub, ev))
        pass(op->sub, ev);
    frame_unref(&ev->frame);
    send_receipt(op, 1, false, 0);
}

/* The handler's value goes its way. true: the op went to the store. */
static bool spread(L2Op *op, Text payload)
{
    xs_conn *c = op->conn;
    const L2Channel *ch = op->pub.channel;
    L2Target to = op->pub.message->to;
    bool everyone = !op->direct && (to == L2_TO_CHANNEL || to == L2_TO_OTHERS);
    L2Said said = {.action = "message",
                   .channel = op->pub.name,
                   .type = op->type,
                   .payload = payload,
                   .direct = op->direct,
                   .ts = wall_ms(),
                   .to_dbo = op->to_dbo,
                   .to_row = op->to_row,
                   .sender = ch->per_recipient ? c->client : (Text){0}};
    if (to == L2_TO_OTHERS)
        op->exclude = text_from(c->socket_id);
    if (payload.len > c->shard->hub->opt.max_event) {
        answer_error(c, op->pub.name, TEXT("Message is too large"), op->ref);
    } else if (!op->direct && to == L2_TO_NOBODY) {
        send_receipt(op, 0, false, 0);
    } else if (!op->direct && to == L2_TO_SENDER) {
        echo(op, &said);
    } else if (everyone && l2_recorded(ch)) {
        op->pub.client = said.sender;
        op->store.row =
            (StoreRow){.ts = said.ts, .type = op->type, .payload = payload, .sender = said.sender};
        op_attach(op, c, op->sub);
        if (op_store(op, STORE_APPEND, c->shard->hub, ch, op->pub.name, (Text){0}, appended))
            return true;
        op_detach(op);
        internal_error(op);
    } else {
        Posted posted = {0};
        if (!post_said(c->space, ch, &said, everyone ? op->exclude : (Text){0}, everyone,
                       &posted)) {
            internal_error(op);
            return false;
        }
        /* Through the mailbox, behind the sender's own copy. */
        op->delivered = posted.delivered;
        op->store.ok = true;
        op->stage = AT_STORE;
        op_attach(op, c, op->sub);
        op_return(op);
        return true;
    }
    return false;
}

/* true: the op went on. */
static bool message_done(L2Op *op)
{
    xs_conn *c = op->conn;
    Text text = {op->text, op->text_len};
    if (op->stage == AT_STORE) {
        if (op->store.ok)
            send_receipt(op, op->delivered, false,
                         op->pub.channel->at_least_once && !op->direct ? op->store.id : 0);
        else
            internal_error(op);
        return false;
    }
    switch (op->verdict) {
    case L2_PASS:
        if (op->failed)
            break;
        return spread(op, text);
    case L2_DROP: send_receipt(op, 0, true, 0); return false;
    case L2_REJECT:
        answer_error(c, op->pub.name, text.len ? text : TEXT("Invalid payload"), op->ref);
        return false;
    case L2_CRASH:
        if (c->shard->hub->opt.crash_delivers)
            return spread(op, op->pub.payload);
        break;
    case L2_DROPPED:
        answer_error(c, op->pub.name, TEXT("The server is busy"), op->ref);
        return false;
    default: break;
    }
    internal_error(op);
    return false;
}

/* Seconds until this client may go on; 0 = now. */
static uint32_t over_rate(const xs_conn *c, const L2Sub *sub)
{
    uint32_t limit = sub->channel->messages_per_minute, wait = 0;
    char person[KEY_MAX], key[KEY_MAX + CHANNEL_NAME_MAX + 2];
    Text who = person_key(c->identity, c->socket_id, person);
    int n =
        snprintf(key, sizeof key, TEXT_FMT " " TEXT_FMT, TEXT_ARG(sub->sub.name), TEXT_ARG(who));
    Text k = {key, (size_t)n};
    int64_t now = mono_ms();
    Space *s = c->space;
    if (!limit || n < 0 || (size_t)n >= sizeof key)
        return 0;
    space_lock(s);
    Rate *r = map_get(&s->rates, k);
    if (!r) {
        if (s->rates.count >= MAX_RATES)
            l2_rates_free(s); /* a minute's worth is forgotten rather than memory spent */
        r = mem_zalloc(1, sizeof *r + k.len);
        if (r) {
            memcpy(r + 1, k.ptr, k.len);
            r->key = (Text){(const char *)(r + 1), k.len};
            r->since_ms = now;
            if (!map_put(&s->rates, r->key, r)) {
                mem_free(r);
                r = NULL;
            }
        }
    }
    if (r && now - r->since_ms >= MINUTE_MS) {
        r->since_ms = now;
        r->count = 0;
    }
    if (r && r->count >= limit)
        wait = (uint32_t)((MINUTE_MS - (now - r->since_ms) + 999) / 1000);
    else if (r)
        r->count++;
    space_unlock(s);
    return wait;
}

void l2_rates_free(Space *s)
{
    size_t at = 0;
    for (MapSlot *slot; (slot = map_next(&s->rates, &at));)
        mem_free(slot->value);
    map_deinit(&s->rates);
}

/* Why this client may not send this; NULL = it may. */
static const char *forbidden(const xs_conn *c, const L2Sub *sub, const L2Frame *f,
                             const L2Message *m)
{
    const Identity *who = c->identity;
    if (!m)
        return "Unknown message type";
    if (m->auth.len && (!who->authenticated || !text_eq(m->auth, who->table)))
        return "Authentication required";
    if (f->direct) {
        if (!sub->channel->direct)
            return "Direct messaging is disabled";
        if (!who->authenticated)
            return "Authentication required";
        return f->to_dbo ? NULL : "Invalid direct recipient";
    }
    if (sub->channel->who == L2_NOBODY)
        return "Publishing is disabled";
    return sub->channel->who == L2_AUTHENTICATED && !who->authenticated ? "Authentication required"
                                                                        : NULL;
}

static L2Op *message_op(xs_conn *c, const L2Sub *sub, const L2Frame *f, const L2Message *m)
{
    L2Op *op = op_new(c, L2_MESSAGE, sub->sub.name, l2_payload(f));
    if (!op)
        return NULL;
    size_t name = op->pub.name.len, payload = op->pub.payload.len;
    buf_text(&op->texts, f->ref);
    buf_text(&op->texts, f->to_row);
    if (op->texts.failed) {
        op_free(op);
        return NULL;
    }
    Text all = buf_view(&op->texts);
    op->pub.name = text_slice(all, 0, name);
    op->pub.payload = text_slice(all, name, name + payload);
    op->ref = text_slice(all, name + payload, name + payload + f->ref.len);
    op->to_row = text_slice(all, name + payload + f->ref.len, all.len);
    op->type = m->name;
    op->pub.channel = sub->channel;
    op->pub.message = m;
    op->direct = f->direct;
    op->to_dbo = f->to_dbo;
    return op;
}

static void do_broadcast(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = sub_of(c, f->channel);
    if (!sub || !sub->sub.joined) {
        refuse(c, f, "Not joined");
        return;
    }
    uint32_t wait = over_rate(c, sub);
    if (wait) {
        atomic_fetch_add_explicit(&c->shard->hub->refused, 1, memory_order_relaxed);
        conn_deliver(c, l2_error(f->channel, TEXT("Rate limit exceeded"), f->ref,
                                 sub->channel->messages_per_minute, wait));
        return;
    }
    const L2Message *m = f->type.len ? l2_message(sub->channel, f->type) : NULL;
    const char *why = forbidden(c, sub, f, m);
    if (why) {
        refuse(c, f, why);
        return;
    }
    L2Op *op = message_op(c, sub, f, m);
    if (!op) {
        refuse(c, f, "Internal error");
        return;
    }
    op_attach(op, c, sub);
    sub->sub.busy = true;
    if (!op_work(op)) {
        sub->sub.busy = false;
        refuse(c, f, "The server is busy");
    }
}

/* ---- publishing from the server ---- */

static bool write_attribution(const HubPublish *p, Buf *out)
{
    if (!p->dbo_id)
        return true;
    buf_printf(out, "{\"dbo_id\":%lld,\"id\":\"", (long long)p->dbo_id);
    buf_text(out, bare_row_id(p->row_id));
    buf_cstr(out, "\",\"asserted\":true}");
    return !out->failed;
}

/* On its way to the store; delivered when it is there. */
static bool publish_recorded(Hub *h, Space *s, const L2Channel *ch, const HubPublish *p,
                             Text client, HubPublished *out, xs_error *err)
{
    L2Op *op = mem_zalloc(1, sizeof *op);
    if (!op)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    Arena *a = &op->store.arena;
    arena_init(a, 0);
    op->pub.space = s;
    op->pub.channel = ch;
    op->pub.name = arena_text(a, p->channel);
    op->type = p->event.ptr ? arena_text(a, p->event) : (Text){0};
    op->exclude = arena_text(a, p->exclude);
    op->store.row = (StoreRow){.ts = wall_ms(),
                               .type = op->type,
                               .payload = arena_text(a, p->data),
                               .client = client.len ? arena_text(a, client) : (Text){0}};
    bool memory = op->pub.name.ptr && op->exclude.ptr && op->store.row.payload.ptr &&
                  (!p->event.ptr || op->type.ptr) && (!client.len || op->store.row.client.ptr);
    if (memory && op_store(op, STORE_APPEND, h, ch, p->channel, (Text){0}, appended)) {
        space_lock(s);
        const Channel *live = space_find(s, p->channel);
        out->delivered_local += live ? live->members.count : 0;
        space_unlock(s);
        return true;
    }
    op_free(op);
    return memory ? xs_fail(err, XS_E_OVERLOAD, XS_NO_POS, "the realtime record is busy")
                  : xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
}

bool l2_publish(Hub *h, Space *s, const HubPublish *p, HubPublished *out, xs_error *err)
{
    const L2Channel *ch = l2_match(s->server, p->channel);
    Buf client = BUF_INIT;
    if (!ch || !s->server->open) {
        atomic_fetch_add_explicit(&h->dropped, 1, memory_order_relaxed);
        return true; /* publishing nowhere is no error of the program */
    }
    bool ok = write_attribution(p, &client);
    if (ok && l2_recorded(ch)) {
        ok = publish_recorded(h, s, ch, p, buf_view(&client), out, err);
        buf_deinit(&client);
        return ok;
    }
    Posted posted = {0};
    L2Said said = {.action = "message",
                   .channel = p->channel,
                   .type = p->event,
                   .payload = p->data,
                   .client = buf_view(&client),
                   .ts = wall_ms()};
    Text exclude = p->exclude.len == SOCKET_ID_LEN ? p->exclude : (Text){0};
    ok = ok && post_said(s, ch, &said, exclude, true, &posted);
    buf_deinit(&client);
    if (!ok)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    out->epoch = posted.epoch;
    out->seq = posted.seq;
    out->off = posted.off;
    out->delivered_local += posted.delivered;
    return true;
}

/* ---- joining ---- */

static void end_listed(L2Sub *sub)
{
    if (sub->sub.listed) {
        sub->sub.listed = false;
        protocol_listed_done(sub->sub.conn);
    }
}

static void refuse_join(L2Sub *sub, Text message)
{
    xs_conn *c = sub->sub.conn;
    c->njoined--;
    answer_error(c, sub->sub.name, message, (Text){sub->ref, sub->ref_len});
    end_listed(sub);
}

static bool needs_store(const L2Sub *sub)
{
    return l2_recorded(sub->channel);
}

/* Member, person, order and roster in one critical section. false: out of memory. */
static bool enter_channel(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    const L2Channel *def = sub->channel;
    ShardChannel *fresh = local_new(c), *local;
    Person *person = fresh ? person_new(c) : NULL;
    Event *news = person && def->presence ? l2_presence(sub->sub.name, "presence_join",
                                                        person->member, text_from(c->socket_id))
                                          : NULL;
    if (!person) {
        if (fresh)
            local_retire(fresh);
        return false;
    }
    char key[KEY_MAX], cursor_bytes[KEY_MAX];
    Text own = person_key(c->identity, c->socket_id, key), cursor = cursor_key(sub, cursor_bytes);
    space_lock(c->space);
    Channel *ch = space_channel(c->space, sub->sub.name, &def->config);
    local = ch ? channel_local(ch, c->shard) : NULL;
    if (!local)
        local = fresh;
    Person *there = ch ? map_get(&ch->people, person->key) : NULL;
    bool ok = ch && local_reserve(local) && (there || map_put(&ch->people, person->key, person));
    if (ok && !channel_add_member(ch, &sub->sub.member, &c->shard->box, local)) {
        if (!there)
            map_take(&ch->people, person->key);
        ok = false;
    }
    if (ok) {
        (there ? there : person)->sockets++;
        local->ch = sub->sub.ch = ch;
        if (news && !there)
            channel_post(ch, news);
        if (def->presence)
            write_people(ch, own, &sub->members, &sub->members_cut);
        sub->sub.from_seq = c->space->seq;
        sub->sub.replays = c->holding && sub->sub.listed && !cursor.len;
        local_add(local, &sub->sub, c->space->order);
        sub->opening = needs_store(sub);
        if (sub->opening || def->per_recipient)
            local->slots[sub->sub.index].flags |= SLOT_TAP;
    }
    if (ch)
        channel_settle(ch);
    space_unlock(c->space);
    if (!ok || there)
        mem_free(person);
    if (!ok || local != fresh)
        local_retire(fresh); /* not used */
    if (news)
        frame_unref(&news->frame);
    return ok;
}

static void answer_join(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    Text ref = {sub->ref, sub->ref_len};
    Buf params = BUF_INIT;
    write_params(sub, &params);
    L2Joined j = {.params = buf_view(&params),
                  .has_cursor = sub->has_cursor,
                  .resumed = sub->resumed,
                  .cursor = sub->cursor};
    conn_deliver(c, params.failed ? NULL : l2_joined(sub->sub.name, &j, ref));
    buf_deinit(&params);
    if (sub->channel->presence)
        conn_deliver(c, sub->members.failed
                            ? NULL
                            : l2_presence_full(sub->sub.name, buf_view(&sub->members),
                                               sub->members_cut, (Text){0}));
    buf_deinit(&sub->members);
    mem_free(sub->ref);
    sub->ref = NULL;
    sub->ref_len = 0;
}

/* Before live events: at once, or through the deliver triggers as they are. Consumes ev. */
static void deliver_kept(L2Sub *sub, Event *ev)
{
    if (!ev || !sub->channel->per_recipient) {
        conn_deliver(sub->sub.conn, ev);
        return;
    }
    if (sub->kept.len < MAX_WAITING && VEC_PUSH(&sub->kept, ev))
        return;
    frame_unref(&ev->frame);
    conn_close(sub->sub.conn, 1013, "too much waits");
}

static void deliver_rows(L2Sub *sub, const StoreRow *rows, const char *action, bool conversation)
{
    xs_conn *c = sub->sub.conn;
    for (const StoreRow *r = rows; r && !c->closing; r = r->next) {
        L2Said said = {.action = action,
                       .channel = sub->sub.name,
                       .type = r->type,
                       .payload = r->payload,
                       .client = r->client,
                       .conversation = conversation,
                       .id = sub->channel->at_least_once ? r->id : 0,
                       .ts = r->ts,
                       .sender = r->sender};
        deliver_kept(sub, l2_said(&said));
        if (!conversation)
            sub->page = r->id;
    }
}

/* The client has everything up to here: what came meanwhile follows. */
static void join_complete(L2Sub *sub)
{
    EventVec all = sub->kept;
    bool memory = true;
    sub->opening = false;
    sub->kept = (EventVec){0};
    for (size_t i = sub->waiting_at; i < sub->waiting.len; i++) {
        Event *ev = sub->waiting.ptr[i];
        bool keep = !is_known(sub, ev);
        memory = memory && (!keep || VEC_PUSH(&all, ev));
        if (!keep || !memory)
            frame_unref(&ev->frame);
    }
    VEC_DEINIT(&sub->waiting);
    sub->waiting = all;
    sub->waiting_at = 0;
    if (!memory)
        conn_close(sub->sub.conn, 1011, "out of memory");
    pump(sub);
    if (!sub->channel->per_recipient && sub->sub.local && sub->waiting_at == sub->waiting.len)
        sub->sub.local->slots[sub->sub.index].flags &= ~(uint32_t)SLOT_TAP;
    end_listed(sub);
}

/* Ask the store: the first page, or what follows. */
static void ask_store(L2Sub *sub, StoreKind kind)
{
    xs_conn *c = sub->sub.conn;
    char key[KEY_MAX];
    Text client = cursor_key(sub, key);
    L2Op *op = op_new(c, L2_JOIN, sub->sub.name, (Text){0});
    if (op) {
        op->pub.channel = sub->channel;
        op->store.id = sub->page;
        op_attach(op, c, sub);
        sub->sub.busy = sub->asked = true;
        if (op_store(op, kind, c->shard->hub, sub->channel, sub->sub.name, client, store_came_back))
            return;
        op_detach(op);
        op_free(op);
    }
    sub->sub.busy = sub->asked = false;
    conn_close(c, 1011, "the realtime record is not available");
}

static void rows_arrived(L2Sub *sub, const StoreOp *s)
{
    xs_conn *c = sub->sub.conn;
    sub->asked = false;
    if (!s->ok) {
        conn_close(c, 1011, "the realtime record is not available");
        return;
    }
    if (s->kind == STORE_OPEN) {
        sub->has_cursor = s->client.len > 0;
        sub->cursor = s->cursor;
        sub->resumed = s->resumed;
        sub->upto = s->upto;
        answer_join(sub);
        if (sub->channel->transcript) {
            deliver_kept(sub, l2_conversation("conversation_start", sub->sub.name, s->ntranscript));
            deliver_rows(sub, s->transcript, "message", true);
            deliver_kept(sub, l2_conversation("conversation_end", sub->sub.name, s->ntranscript));
        }
    }
    deliver_rows(sub, s->replay, "replay", false);
    if (!s->more)
        join_complete(sub);
    else if (!c->l2->slow)
        ask_store(sub, STORE_PAGE);
    else
        sub->sub.busy = true; /* until the client has read what is queued */
}

void l2_writable(xs_conn *c)
{
    c->l2->slow = false;
    for (size_t i = 0; i < c->subs.len; i++) {
        L2Sub *sub = (L2Sub *)c->subs.ptr[i];
        if (sub->opening && !sub->asked && sub->sub.joined)
            ask_store(sub, STORE_PAGE);
    }
}

void l2_queued(xs_conn *c)
{
    c->l2->slow = true;
}

static void finish_join(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    if (!enter_channel(sub)) {
        refuse_join(sub, TEXT("Internal error"));
        return;
    }
    sub->sub.joined = true;
    atomic_fetch_add_explicit(&c->shard->hub->subscriptions, 1, memory_order_relaxed);
    if (sub->opening) {
        ask_store(sub, STORE_OPEN);
        return;
    }
    answer_join(sub);
    end_listed(sub);
}

static void join_again(L2Sub *sub, const L2Frame *f)
{
    xs_conn *c = sub->sub.conn;
    mem_free(sub->ref);
    sub->ref = f->ref.len ? mem_strndup(f->ref.ptr, f->ref.len) : NULL;
    sub->ref_len = sub->ref ? f->ref.len : 0;
    char key[KEY_MAX];
    Text own = person_key(c->identity, c->socket_id, key);
    if (sub->channel->presence) {
        space_lock(c->space);
        write_people(sub->sub.ch, own, &sub->members, &sub->members_cut);
        space_unlock(c->space);
    }
    answer_join(sub);
    if (f->listed)
        protocol_listed_done(c);
}

static void refuse_frame_join(xs_conn *c, const L2Frame *f, const char *message)
{
    refuse(c, f, message);
    if (f->listed)
        protocol_listed_done(c);
}

static void do_join(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = sub_of(c, f->channel);
    if (sub && sub->sub.joined) {
        join_again(sub, f);
        return;
    }
    const L2Channel *channel = l2_match(server_of(c), f->channel);
    if (!channel || f->client_id.len > L2_TEXT_MAX) {
        refuse_frame_join(c, f, channel ? "Invalid client_id" : "Channel not found");
        return;
    }
    if (!c->identity->authenticated && !channel->anonymous) {
        refuse_frame_join(c, f, "Anonymous clients cannot join this channel.");
        return;
    }
    if (c->njoined >= c->shard->hub->opt.channels_per_conn) {
        refuse_frame_join(c, f, "Too many channels");
        return;
    }
    if (!sub && !(sub = sub_new(c, channel, f->channel))) {
        refuse_frame_join(c, f, "Internal error");
        return;
    }
    sub->channel = channel;
    sub->sub.listed = f->listed;
    sub->page = sub->upto = 0;
    mem_free(sub->ref);
    sub->ref = f->ref.len ? mem_strndup(f->ref.ptr, f->ref.len) : NULL;
    sub->ref_len = sub->ref ? f->ref.len : 0;
    c->njoined++;
    if (!keep_text(&sub->client_id, f->client_id)) {
        refuse_join(sub, TEXT("Internal error"));
    } else if (channel->proc < 0 && !l2_has_trigger(server_of(c), channel, L2_JOIN)) {
        finish_join(sub);
    } else {
        L2Op *op = op_new(c, L2_JOIN, f->channel, TEXT("null"));
        if (op) {
            op->pub.channel = channel;
            op_attach(op, c, sub);
            sub->sub.busy = true;
        }
        if (!op || !op_work(op)) {
            sub->sub.busy = false;
            refuse_join(sub, op ? TEXT("The server is busy") : TEXT("Internal error"));
        }
    }
    sub_release(sub);
}

static void join_done(L2Op *op)
{
    L2Sub *sub = op->sub;
    if (op->stage == AT_STORE) {
        if (sub->sub.joined)
            rows_arrived(sub, &op->store);
    } else if (op->verdict == L2_PASS) {
        finish_join(sub);
    } else {
        Text text = {op->text, op->text_len};
        if (op->verdict == L2_DROPPED)
            text = TEXT("The server is busy");
        refuse_join(sub, text.len ? text : TEXT("Join denied"));
    }
}

/* ---- leaving ---- */

static void leave_channel(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    Channel *ch = sub->sub.ch;
    ShardChannel *local = sub->sub.local;
    char key[KEY_MAX];
    Text own = person_key(c->identity, c->socket_id, key);
    local_remove(&sub->sub);
    space_lock(c->space);
    bool last = channel_drop_member(ch, &sub->sub.member);
    Person *person = map_get(&ch->people, own);
    if (person && --person->sockets == 0) {
        Event *news = sub->channel->presence ? l2_presence(sub->sub.name, "presence_leave",
                                                           person->member, text_from(c->socket_id))
                                             : NULL;
        map_take(&ch->people, own);
        mem_free(person);
        if (news) {
            channel_post(ch, news);
            frame_unref(&news->frame);
        }
    }
    channel_settle(ch);
    space_unlock(c->space);
    if (last)
        local_retire(local);
    sub->sub.joined = false;
    sub->sub.ch = NULL;
    sub->opening = false;
    drop_waiting(sub);
    c->njoined--;
    atomic_fetch_sub_explicit(&c->shard->hub->subscriptions, 1, memory_order_relaxed);
}

static void do_leave(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = sub_of(c, f->channel);
    bool joined = sub && sub->sub.joined;
    if (joined)
        leave_channel(sub);
    conn_deliver(c, l2_left(f->channel, f->ref));
    if (joined) {
        observe(c, L2_LEAVE, sub->channel, f->channel);
        sub_release(sub);
    }
}

void l2_expel(xs_conn *c, Text channel)
{
    L2Sub *sub = sub_of(c, channel);
    answer_error(c, channel, TEXT("Join denied"), (Text){0});
    leave_channel(sub);
    conn_deliver(c, l2_left(channel, (Text){0}));
    observe(c, L2_LEAVE, sub->channel, channel);
    sub_release(sub);
}

/* ---- acknowledgements, presence ---- */

static void do_ack(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = sub_of(c, f->channel);
    char key[KEY_MAX];
    int64_t id;
    if (!sub || !sub->sub.joined) {
        refuse(c, f, "Not joined");
        return;
    }
    Text client = cursor_key(sub, key);
    if (!client.len)
        return; /* a client without a cursor: ignored */
    if (!f->id.len || f->id.len > L2_TEXT_MAX || !num_parse_int(f->id, &id) || id < 0) {
        refuse(c, f, "Invalid id");
        return;
    }
    L2Op *op = op_new(c, L2_ACTION_COUNT, sub->sub.name, f->ref);
    if (op) {
        op->pub.channel = sub->channel;
        op->ref = op->pub.payload;
        op->store.id = (uint64_t)id;
        op_attach(op, c, sub);
        if (op_store(op, STORE_ACK, c->shard->hub, sub->channel, sub->sub.name, client,
                     store_came_back))
            return;
        op_detach(op);
        op_free(op);
    }
    refuse(c, f, "Internal error");
}

static void ack_done(L2Op *op)
{
    L2Sub *sub = op->sub;
    if (!op->store.ok) {
        internal_error(op);
        return;
    }
    if (op->store.cursor > sub->cursor)
        sub->cursor = op->store.cursor;
    if (sub->sub.joined)
        conn_deliver(op->conn, l2_acked(sub->sub.name, op->store.cursor, op->ref));
}

static void do_presence(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = sub_of(c, f->channel);
    Buf members = BUF_INIT;
    bool cut = false;
    if (!sub || !sub->sub.joined) {
        refuse(c, f, "Not joined");
        return;
    }
    if (!sub->channel->presence) {
        refuse(c, f, "Presence is disabled");
        return;
    }
    space_lock(c->space);
    write_people(sub->sub.ch, (Text){0}, &members, &cut);
    space_unlock(c->space);
    conn_deliver(c, members.failed ? NULL
                                   : l2_presence_full(f->channel, buf_view(&members), cut, f->ref));
    buf_deinit(&members);
}

/* ---- frames ---- */

/* The frame borrows the shard's scratch buffer for its payload. */
static void frame_init(L2Frame *f, xs_shard *s)
{
    memset(f, 0, offsetof(L2Frame, bytes));
    f->payload = s->scratch;
    s->scratch = BUF_INIT;
    f->payload.len = 0;
    f->payload.failed = false;
}

static void frame_deinit(L2Frame *f, xs_shard *s)
{
    enum { KEEP_SCRATCH = 64 * 1024 };
    if (s->scratch.ptr || f->payload.cap > KEEP_SCRATCH)
        buf_deinit(&f->payload);
    else
        s->scratch = f->payload;
}

static void execute(xs_conn *c, L2Frame *f)
{
    switch (f->verb) {
    case L2V_JOIN: do_join(c, f); return;
    case L2V_LEAVE: do_leave(c, f); return;
    case L2V_BROADCAST: do_broadcast(c, f); return;
    case L2V_ACK: do_ack(c, f); return;
    case L2V_PRESENCE: do_presence(c, f); return;
    case L2V_PING:
    case L2V_UNKNOWN: return;
    }
}

static void accept_frame(xs_conn *c, L2Frame *f, Text data)
{
    if (f->verb == L2V_PING) {
        conn_deliver(c, l2_pong(f->ref));
        return;
    }
    if (f->verb == L2V_UNKNOWN) {
        refuse(c, f, "Unknown action");
        return;
    }
    if (!l2_path_valid(f->channel)) {
        f->channel = (Text){0};
        refuse(c, f, "Invalid channel name");
        return;
    }
    if (f->verb == L2V_JOIN && !protocol_take_join(c)) {
        protocol_punish(c, f->channel, (Text){0});
        return;
    }
    L2Sub *sub = sub_of(c, f->channel);
    if (sub && (sub->sub.busy || sub->sub.queue))
        line_push(&sub->sub, data);
    else
        execute(c, f);
}

/* Frames that came before the connect triggers were done. */
static void keep_early(xs_conn *c, Text data)
{
    L2Conn *l2 = c->l2;
    Pending *p = l2->frames < EARLY_FRAMES && l2->bytes + data.len <= EARLY_BYTES
                     ? mem_alloc(sizeof *p + data.len + 1)
                     : NULL;
    if (!p) {
        answer_error(c, (Text){0}, TEXT("Connection is not ready"), (Text){0});
        return;
    }
    p->next = NULL;
    p->len = data.len;
    memcpy(p->bytes, data.ptr, data.len);
    *l2->queue_end = p;
    l2->queue_end = &p->next;
    l2->frames++;
    l2->bytes += data.len;
}

static void handle(xs_conn *c, Text data)
{
    xs_shard *s = c->shard;
    L2Frame f;
    frame_init(&f, s);
    if (!l2_read(&f, data, s->hub->opt.max_depth))
        answer_error(c, (Text){0}, TEXT("Malformed frame"), (Text){0});
    else if (!f.ref.len || !protocol_seen_before(c, text_hash(f.ref) | 1))
        accept_frame(c, &f, data);
    frame_deinit(&f, s);
}

xs_frame_result l2_frame(xs_conn *c, const char *data, size_t len)
{
    xs_shard *s = c->shard;
    atomic_fetch_add_explicit(&s->hub->frames_in, 1, memory_order_relaxed);
    if (!protocol_take_frame(c))
        protocol_punish(c, (Text){0}, (Text){0});
    else if (s->limits && s->limits->max_message && len > s->limits->max_message)
        answer_error(c, (Text){0}, TEXT("Message is too large"), (Text){0});
    else if (c->l2->connecting)
        keep_early(c, (Text){data, len});
    else
        handle(c, (Text){data, len});
    if (!line_full(c, 1))
        return XS_FRAME_OK;
    c->stopped = true;
    return XS_FRAME_STOP;
}

/* What a frame waited for is done: the frames behind it. */
static void run_queue(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    xs_shard *s = c->shard;
    sub->sub.running = true;
    while (sub->sub.queue && !sub->sub.busy) {
        Pending *p = line_pop(&sub->sub);
        L2Frame f;
        frame_init(&f, s);
        if (!c->closing && !c->gone && l2_read(&f, (Text){p->bytes, p->len}, s->hub->opt.max_depth))
            execute(c, &f);
        frame_deinit(&f, s);
        mem_free(p);
    }
    sub->sub.running = false;
    line_resume(c);
    sub_release(sub);
}

/* ---- connecting ---- */

bool l2_may_connect(const xs_request *req, xs_refusal *why)
{
    const L2Server *s = req->space->server;
    const char *message = NULL;
    if (!s->open)
        message = "Unknown connection hash";
    else if (req->bad_token)
        message = "Invalid token";
    else if (!req->identity->authenticated && !s->anonymous)
        message = "Authentication required";
    if (!message)
        return true;
    why->close_code = 4401;
    why->status = s->open ? 401 : 404;
    snprintf(why->message, sizeof why->message, "%s", message);
    return false;
}

L2Conn *l2_conn_new(Hub *h)
{
    L2Conn *l2 = mem_zalloc(1, sizeof *l2);
    if (!l2)
        return NULL;
    l2->socket = atomic_fetch_add_explicit(&h->sockets, 1, memory_order_relaxed) + 1;
    l2->opened_ms = wall_ms();
    l2->queue_end = &l2->queue;
    return l2;
}

static void drop_early(L2Conn *l2)
{
    while (l2->queue) {
        Pending *p = l2->queue;
        l2->queue = p->next;
        mem_free(p);
    }
    l2->queue_end = &l2->queue;
    l2->frames = 0;
    l2->bytes = 0;
}

void l2_conn_free(L2Conn *l2)
{
    if (!l2)
        return;
    drop_early(l2);
    mem_free(l2);
}

static void join_all_listed(xs_conn *c);

static void admit(xs_conn *c)
{
    L2Conn *l2 = c->l2;
    l2->connecting = false;
    l2->admitted = true;
    if (l2->listed) {
        l2->listed = false;
        join_all_listed(c);
    }
    Pending *p = l2->queue;
    l2->queue = NULL;
    l2->queue_end = &l2->queue;
    l2->frames = 0;
    l2->bytes = 0;
    while (p) {
        Pending *next = p->next;
        if (!c->closing && !c->gone)
            handle(c, (Text){p->bytes, p->len});
        mem_free(p);
        p = next;
    }
}

static void deny(xs_conn *c, Text reason)
{
    drop_early(c->l2);
    answer_error(c, (Text){0}, reason.len ? reason : TEXT("Connection refused"), (Text){0});
    conn_close(c, 4401, "connection refused");
}

bool l2_opened(xs_conn *c)
{
    if (!l2_has_trigger(server_of(c), NULL, L2_CONNECT)) {
        c->l2->admitted = true;
        return true;
    }
    L2Op *op = op_new(c, L2_CONNECT, (Text){0}, TEXT("null"));
    c->l2->connecting = true;
    if (!op)
        return false;
    op_attach(op, c, NULL);
    return op_work(op);
}

static void connect_done(L2Op *op)
{
    if (op->verdict == L2_PASS)
        admit(op->conn);
    else if (op->verdict == L2_DROPPED)
        conn_close(op->conn, 1013, "overload");
    else
        deny(op->conn, (Text){op->text, op->text_len});
}

bool l2_gone(xs_conn *c)
{
    for (size_t i = c->subs.len; i-- > 0;) {
        L2Sub *sub = (L2Sub *)c->subs.ptr[i];
        bool joined = sub->sub.joined;
        while (sub->sub.queue)
            mem_free(line_pop(&sub->sub));
        if (joined)
            leave_channel(sub);
        /* A handler that still runs ends first: the leave is told when it is back. */
        if (joined && sub->sub.busy && sub->nops)
            sub->sub.leave_after = true;
        else if (joined)
            observe(c, L2_LEAVE, sub->channel, sub->sub.name);
        sub->sub.busy = sub->sub.busy && sub->nops;
        sub->sub.running = false;
        sub_clear(sub);
        sub_release(sub);
    }
    drop_early(c->l2);
    if (c->l2->admitted)
        observe(c, L2_DISCONNECT, NULL, (Text){0});
    return false;
}

/* ---- channels in the URL ---- */

static Text query_text(const xs_request *req, const char *name)
{
    const Const *values = const_get(req->query, name);
    if (values && values->kind == C_LIST && values->count)
        values = values->items[0];
    return const_text_of(values, (Text){0});
}

static Text cut(Text t, char *bytes, size_t max)
{
    size_t n = t.len < max ? t.len : max;
    if (n)
        memcpy(bytes, t.ptr, n);
    bytes[n] = '\0';
    return (Text){bytes, t.len > max ? max + 1 : t.len};
}

static void join_one(xs_conn *c, Text channel, Text client_id, bool allowed)
{
    L2Frame f;
    frame_init(&f, c->shard);
    f.verb = L2V_JOIN;
    f.channel = cut(channel, f.bytes, CHANNEL_NAME_MAX);
    if (client_id.len)
        f.client_id = cut(client_id, f.bytes + CHANNEL_NAME_MAX + 1, L2_TEXT_MAX);
    f.listed = true;
    c->listed_pending++;
    if (!l2_path_valid(f.channel)) {
        f.channel = (Text){0};
        refuse_frame_join(c, &f, "Invalid channel name");
    } else if (!allowed) {
        refuse_frame_join(c, &f, "Too many channels");
    } else {
        L2Sub *sub = sub_of(c, f.channel);
        if (sub && sub->sub.busy) /* listed twice, and its join is still under way */
            protocol_listed_done(c);
        else
            do_join(c, &f);
    }
    frame_deinit(&f, c->shard);
}

static void join_all_listed(xs_conn *c)
{
    const Const *list = const_get(c->request->query, "channel");
    Text client_id = query_text(c->request, "client_id");
    uint32_t count = list && list->kind == C_LIST ? list->count : 0;
    for (uint32_t i = 0; i < count && !c->closing; i++) {
        join_one(c, const_text_of(list->items[i], (Text){0}), client_id, i < MAX_LISTED);
        if (i == MAX_LISTED)
            break;
    }
    protocol_listed_done(c);
}

void l2_join_listed(xs_conn *c, xs_request *req)
{
    protocol_begin_listed(c, req);
    if (c->request != req) { /* a later poll that lists its channels anew */
        request_unref(c->request);
        c->request = request_ref(req);
    }
    if (c->l2->connecting)
        c->l2->listed = true;
    else
        join_all_listed(c);
}

bool l2_has_cursor(const xs_conn *c, Text channel)
{
    const L2Channel *ch = l2_match(server_of(c), channel);
    return ch && ch->at_least_once &&
           (c->identity->authenticated || query_text(c->request, "client_id").len);
}

/* ---- what comes back ---- */

static void arrived_late(L2Op *op, bool last)
{
    xs_conn *c = op->conn;
    L2Sub *sub = op->sub;
    if (sub && sub->sub.leave_after && !sub->sub.busy) {
        sub->sub.leave_after = false;
        observe(c, L2_LEAVE, sub->channel, sub->sub.name);
    }
    if (sub)
        sub_release(sub);
    op_free(op);
    if (last && c->buried)
        conn_free(c);
}

static void op_arrived(MailLink *link)
{
    L2Op *op = (L2Op *)(void *)((char *)link - offsetof(L2Op, link));
    xs_conn *c = op->conn;
    L2Sub *sub = op->sub;
    L2Action action = op->pub.action;
    bool last = atomic_fetch_sub(&c->njobs, 1) == 1;
    bool queued = action == L2_JOIN || action == L2_MESSAGE;
    if (sub) {
        sub->nops--;
        if (queued)
            sub->sub.busy = false;
        if (action == L2_DELIVER)
            sub->delivering = false;
    }
    if (c->gone) {
        arrived_late(op, last);
        return;
    }
    if (action == L2_CONNECT) {
        connect_done(op);
    } else if (action == L2_JOIN) {
        join_done(op);
    } else if (action == L2_DELIVER) {
        delivery_done(op);
        pump(sub);
    } else if (action == L2_MESSAGE) {
        if (message_done(op)) {
            sub->sub.busy = true;
            return; /* the store has it */
        }
    } else {
        ack_done(op);
    }
    op_free(op);
    if (sub && queued)
        run_queue(sub);
    else if (sub)
        sub_release(sub);
}
