/* l2_say.c - messages: a client's through its handler, and the program's own. */
#include "host/hub/l2_i.h"

#include <stdio.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/event.h"

enum { MAX_RATES = 65536, MINUTE_MS = 60 * 1000 };

typedef struct Rate {
    int64_t since_ms;
    uint32_t count;
    Text key; /* behind the struct */
} Rate;

/* ---- messages ---- */

typedef struct Posted {
    uint64_t seq, off, epoch, delivered;
} Posted;

static void set_flags(L2Said *said, Text exclude, bool stored)
{
    said->flags = (stored ? (uint32_t)XS_FRAME_STORED : 0u) |
                  (said->direct ? (uint32_t)XS_FRAME_TARGET_ID : 0u) |
                  (exclude.len ? (uint32_t)XS_FRAME_EXCLUDE : 0u);
}

/* Who of this node receives it. The space's lock is held. */
static uint64_t receivers(const Channel *ch, const L2Said *said, Text exclude)
{
    char key[L2_KEY_MAX];
    Identity to = {.authenticated = true, .dbo_id = said->to_dbo, .row_id = said->to_row};
    if (said->direct)
        return roster_sockets(&ch->roster, l2_person_key(&to, "", key));
    return ch->members.count - (exclude.len && channel_member(ch, exclude));
}

/* Build, number and post one message. Any thread. */
static bool post_said(Space *s, const L2Channel *channel, L2Said *said, Text exclude, bool stored,
                      Posted *out)
{
    set_flags(said, exclude, stored);
    Event *ev = l2_said(said);
    if (!ev)
        return false;
    event_set_socket(ev->exclude, exclude);
    space_lock(s);
    Channel *ch = space_channel(s, said->channel, &channel->config);
    bool ok = ch && (!stored || channel_store(ch, ev));
    if (ok) {
        channel_post(ch, ev);
        out->delivered = receivers(ch, said, exclude);
        out->seq = ev->frame.seq;
        out->off = ev->frame.off;
        out->epoch = s->epoch;
    }
    if (ch)
        channel_settle(ch);
    space_unlock(s);
    frame_unref(&ev->frame);
    if (ok)
        atomic_fetch_add_explicit(&s->hub->published, 1, memory_order_relaxed);
    return ok;
}

/* The same over a backplane, which numbers it. */
static uint64_t receivers_here(Space *s, const L2Said *said, Text exclude)
{
    space_lock(s);
    const Channel *ch = space_find(s, said->channel);
    uint64_t n = ch ? receivers(ch, said, exclude) : 0;
    space_unlock(s);
    return n;
}

/* Store's thread: the message is on disk (or not). Now it may be seen. */
static void appended(StoreOp *store)
{
    L2Op *op = l2_op_of(store);
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
    Receipt *r = op->receipt;
    if (r) {
        r->epoch = posted.epoch;
        r->seq = posted.seq;
        r->off = posted.off;
        r->delivered = posted.delivered;
        r->ready(r, store->ok);
    }
    l2_op_return(op);
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
    l2_sub_answer(op->sub, l2_receipt(&r));
}

void l2_internal_error(L2Op *op)
{
    l2_answer_error(op->conn, op->pub.name, TEXT("Internal error"), op->ref);
}

/* To the sender alone; its deliver trigger is asked like everybody's. */
static void echo(L2Op *op, L2Said *said)
{
    Event *ev = l2_said(said);
    if (!ev) {
        l2_internal_error(op);
        return;
    }
    uint32_t flags = op->sub->sub.local ? op->sub->sub.local->slots[op->sub->sub.index].flags : 0;
    if (!(flags & SLOT_TAP) || !l2_tap(&op->sub->sub, ev))
        l2_sub_pass(op->sub, ev);
    frame_unref(&ev->frame);
    send_receipt(op, 1, false, 0);
}

/* Over the backplane. true: the op is on its way. */
static bool spread_out(L2Op *op, L2Said *said, bool everyone)
{
    Hub *h = op->shard->hub;
    set_flags(said, op->exclude, everyone);
    op->delivered = receivers_here(op->conn->space, said, op->exclude);
    if (!l2_plane_broadcast(op, said, everyone)) {
        l2_answer_error(op->conn, op->pub.name, TEXT(L2_UNREACHABLE), op->ref);
        return false;
    }
    atomic_fetch_add_explicit(&h->published, 1, memory_order_relaxed);
    return true;
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
                   .ts = clock_wall_ms(),
                   .to_dbo = op->to_dbo,
                   .to_row = op->to_row,
                   .sender = ch->per_recipient ? c->client : (Text){0}};
    if (to == L2_TO_OTHERS && everyone)
        op->exclude = text_from(c->socket_id);
    if (payload.len > c->shard->hub->opt.max_event) {
        l2_answer_error(c, op->pub.name, TEXT("Message is too large"), op->ref);
    } else if (!op->direct && to == L2_TO_NOBODY) {
        send_receipt(op, 0, false, 0);
    } else if (!op->direct && to == L2_TO_SENDER) {
        echo(op, &said);
    } else if (c->shard->hub->plane.ops) {
        return spread_out(op, &said, everyone);
    } else if (everyone && l2_recorded(ch)) {
        op->pub.client = said.sender;
        op->store.row =
            (StoreRow){.ts = said.ts, .type = op->type, .payload = payload, .sender = said.sender};
        l2_op_attach(op, c, op->sub);
        if (l2_op_store(op, STORE_APPEND, c->shard->hub, ch, op->pub.name, (Text){0}, appended))
            return true;
        l2_op_detach(op);
        l2_internal_error(op);
    } else {
        Posted posted = {0};
        if (!post_said(c->space, ch, &said, op->exclude, everyone, &posted)) {
            l2_internal_error(op);
            return false;
        }
        /* Through the mailbox, behind the sender's own copy. */
        op->delivered = posted.delivered;
        op->store.ok = true;
        op->stage = AT_STORE;
        l2_op_attach(op, c, op->sub);
        l2_op_return(op);
        return true;
    }
    return false;
}

static void refuse_rate(xs_conn *c, const L2Channel *ch, Text channel, Text ref, uint32_t wait_s)
{
    atomic_fetch_add_explicit(&c->shard->hub->refused, 1, memory_order_relaxed);
    conn_deliver(
        c, l2_error(channel, TEXT("Rate limit exceeded"), ref, ch->messages_per_minute, wait_s));
}

/* It has been counted. true: the op went on, to a worker. */
static bool go_on(L2Op *op)
{
    xs_conn *c = op->conn;
    const L2Dispatcher *l2 = &c->shard->hub->opt.l2;
    if (op->wait_s) {
        refuse_rate(c, op->pub.channel, op->pub.name, op->ref, op->wait_s);
    } else if (op->why) {
        l2_answer_error(c, op->pub.name, text_from(op->why), op->ref);
    } else {
        op->stage = AT_WORKER;
        l2_op_attach(op, c, op->sub);
        if (l2->run && l2->run(l2->ctx, &op->pub))
            return true;
        l2_op_detach(op);
        l2_answer_error(c, op->pub.name, TEXT("The server is busy"), op->ref);
    }
    return false;
}

/* true: the op went on. */
bool l2_message_done(L2Op *op)
{
    xs_conn *c = op->conn;
    Text text = {op->text, op->text_len};
    if (op->stage == AT_STORE) {
        if (op->store.ok)
            send_receipt(op, op->delivered, false,
                         op->pub.channel->at_least_once && !op->direct ? op->store.id : 0);
        else if (c->shard->hub->plane.ops)
            l2_answer_error(c, op->pub.name, TEXT(L2_UNREACHABLE), op->ref);
        else
            l2_internal_error(op);
        return false;
    }
    if (op->stage == AT_COUNTER)
        return go_on(op);
    switch (op->verdict) {
    case L2_PASS:
        if (op->failed)
            break;
        return spread(op, text);
    case L2_DROP: send_receipt(op, 0, true, 0); return false;
    case L2_REJECT:
        l2_answer_error(c, op->pub.name, text.len ? text : TEXT("Invalid payload"), op->ref);
        return false;
    case L2_CRASH:
        if (c->shard->hub->opt.crash_delivers)
            return spread(op, op->pub.payload);
        break;
    case L2_DROPPED:
        l2_answer_error(c, op->pub.name, TEXT("The server is busy"), op->ref);
        return false;
    default: break;
    }
    l2_internal_error(op);
    return false;
}

/* Seconds until this client may go on; 0 = now. */
static uint32_t over_rate(const xs_conn *c, const L2Sub *sub)
{
    uint32_t limit = sub->channel->messages_per_minute, wait = 0;
    char person[L2_KEY_MAX], key[L2_KEY_MAX + CHANNEL_NAME_MAX + 2];
    Text who = l2_person_key(c->identity, c->socket_id, person);
    int n =
        snprintf(key, sizeof key, TEXT_FMT " " TEXT_FMT, TEXT_ARG(sub->sub.name), TEXT_ARG(who));
    Text k = {key, (size_t)n};
    int64_t now = clock_mono_ms();
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
    L2Op *op = l2_op_new(c, L2_MESSAGE, sub->sub.name, l2_payload(f));
    if (!op)
        return NULL;
    size_t name = op->pub.name.len, payload = op->pub.payload.len;
    buf_text(&op->texts, f->ref);
    buf_text(&op->texts, f->to_row);
    if (op->texts.failed) {
        l2_op_free(op);
        return NULL;
    }
    Text all = buf_view(&op->texts);
    op->pub.name = text_slice(all, 0, name);
    op->pub.payload = text_slice(all, name, name + payload);
    op->ref = text_slice(all, name + payload, name + payload + f->ref.len);
    op->to_row = text_slice(all, name + payload + f->ref.len, all.len);
    op->type = m ? m->name : (Text){0};
    op->pub.channel = sub->channel;
    op->pub.message = m;
    op->direct = f->direct;
    op->to_dbo = f->to_dbo;
    return op;
}

void l2_broadcast(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = l2_sub(c, f->channel);
    if (!sub || !sub->sub.joined) {
        l2_refuse(c, f, "Not joined");
        return;
    }
    bool shared = l2_plane_counts(c, sub);
    uint32_t wait = shared ? 0 : over_rate(c, sub);
    if (wait) {
        refuse_rate(c, sub->channel, f->channel, f->ref, wait);
        return;
    }
    const L2Message *m = f->type.len ? l2_message(sub->channel, f->type) : NULL;
    const char *why = forbidden(c, sub, f, m);
    if (why && !shared) {
        l2_refuse(c, f, why);
        return;
    }
    L2Op *op = message_op(c, sub, f, m);
    if (!op) {
        l2_refuse(c, f, "Internal error");
        return;
    }
    op->why = why;
    l2_op_attach(op, c, sub);
    sub->sub.busy = true;
    if (shared && l2_plane_count(op))
        return;
    l2_op_detach(op);
    sub->sub.busy = go_on(op); /* nobody counts */
    if (!sub->sub.busy)
        l2_op_free(op);
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
    op->receipt = p->receipt;
    if (p->receipt)
        p->receipt->pending = true; /* before it can be told */
    op->store.row = (StoreRow){.ts = clock_wall_ms(),
                               .type = op->type,
                               .payload = arena_text(a, p->data),
                               .client = client.len ? arena_text(a, client) : (Text){0}};
    bool memory = op->pub.name.ptr && op->exclude.ptr && op->store.row.payload.ptr &&
                  (!p->event.ptr || op->type.ptr) && (!client.len || op->store.row.client.ptr);
    if (memory && l2_op_store(op, STORE_APPEND, h, ch, p->channel, (Text){0}, appended)) {
        space_lock(s);
        const Channel *live = space_find(s, p->channel);
        out->delivered_local += live ? live->members.count : 0;
        space_unlock(s);
        return true;
    }
    l2_op_free(op);
    if (p->receipt)
        p->receipt->pending = false;
    return memory ? xs_fail(err, XS_E_OVERLOAD, XS_NO_POS, "the realtime record is busy")
                  : xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
}

/* Over the backplane, which tells the receipt its numbers. */
static bool publish_out(Hub *h, Space *s, const L2Channel *ch, L2Said *said, const HubPublish *p,
                        HubPublished *out, xs_error *err)
{
    Text exclude = p->exclude.len == SOCKET_ID_LEN ? p->exclude : (Text){0};
    set_flags(said, exclude, true);
    uint64_t here = receivers_here(s, said, exclude);
    if (p->receipt) {
        p->receipt->pending = true;
        p->receipt->delivered = here;
    }
    bool sent = l2_plane_say(h, s, ch, said, exclude, p->receipt);
    if (p->receipt && !sent)
        p->receipt->pending = false;
    out->delivered_local += here;
    out->epoch = s->epoch;
    atomic_fetch_add_explicit(sent ? &h->published : &h->dropped, 1, memory_order_relaxed);
    return sent || xs_fail(err, XS_E_IO, XS_NO_POS, "the backplane does not take the event");
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
    if (ok && l2_recorded(ch) && !h->plane.ops) {
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
                   .ts = clock_wall_ms()};
    if (ok && h->plane.ops) {
        ok = publish_out(h, s, ch, &said, p, out, err);
        buf_deinit(&client);
        return ok;
    }
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
