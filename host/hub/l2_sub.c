/* l2_sub.c - what the other L2 files stand on: who a client is on a channel, its subscription, the
 * operations it waits for, and the events that wait for it. */
#include "host/hub/l2_i.h"

#include <stdio.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/event.h"

/* ---- who is who ---- */

/* "u:5:81"; a socket of its own without identity: "s:<id>". */
Text l2_person_key(const Identity *who, const char *socket_id, char out[L2_KEY_MAX])
{
    Text row = bare_row_id(who->row_id);
    int n = who->authenticated ? snprintf(out, L2_KEY_MAX, "u:%lld:" TEXT_FMT,
                                          (long long)who->dbo_id, TEXT_ARG(row))
                               : snprintf(out, L2_KEY_MAX, "s:%s", socket_id);
    return (Text){out, n < L2_KEY_MAX ? (size_t)n : L2_KEY_MAX - 1};
}

/* Whose cursor it is; len 0: the client has none. */
Text l2_cursor_key(const L2Sub *sub, char out[L2_KEY_MAX])
{
    const xs_conn *c = sub->sub.conn;
    if (!sub->channel->at_least_once)
        return (Text){0};
    if (c->identity->authenticated)
        return l2_person_key(c->identity, c->socket_id, out);
    if (!sub->client_id.len)
        return (Text){0};
    int n = snprintf(out, L2_KEY_MAX, "a:" TEXT_FMT, TEXT_ARG(sub->client_id));
    return (Text){out, n < L2_KEY_MAX ? (size_t)n : L2_KEY_MAX - 1};
}

void l2_write_member(const xs_conn *c, Buf *out)
{
    Buf extras = BUF_INIT;
    conn_write_extras(c->shard->hub, c->identity, &extras);
    l2_member(out, c->identity->row_id, c->identity->dbo_id, c->identity->authenticated,
              buf_view(&extras), clock_wall_ms() / 1000);
    out->failed = out->failed || extras.failed;
    buf_deinit(&extras);
}

static void put_member(Buf *b, Text key, Text value)
{
    if (b->len > 1)
        buf_char(b, ',');
    json_write_text(b, key);
    buf_char(b, ':');
    json_write_text(b, value);
}

void l2_write_params(const L2Sub *sub, Buf *out)
{
    Text name, value;
    buf_char(out, '{');
    for (size_t i = 0; l2_param(sub->channel, sub->sub.name, i, &name, &value); i++)
        put_member(out, name, value);
    buf_char(out, '}');
}

/* ---- answers ---- */

void l2_answer_error(xs_conn *c, Text channel, Text message, Text ref)
{
    atomic_fetch_add_explicit(&c->shard->hub->refused, 1, memory_order_relaxed);
    conn_deliver(c, l2_error(channel, message, ref, 0, 0));
}

void l2_refuse(xs_conn *c, const L2Frame *f, const char *message)
{
    Text channel = f->channel.len <= CHANNEL_NAME_MAX ? f->channel : (Text){0};
    l2_answer_error(c, channel, text_from(message), f->ref);
}

/* ---- subscriptions ---- */

L2Sub *l2_sub(const xs_conn *c, Text name)
{
    return (L2Sub *)sub_find(c, name);
}

bool l2_keep_text(Text *out, Text t)
{
    char *copy = t.ptr ? mem_strndup(t.ptr, t.len) : NULL;
    mem_free((void *)(uintptr_t)out->ptr);
    *out = (Text){copy, copy ? t.len : 0};
    return copy || !t.ptr;
}

void l2_sub_drop_waiting(L2Sub *sub)
{
    for (size_t i = sub->waiting_at; i < sub->waiting.len; i++)
        frame_unref(&sub->waiting.ptr[i]->frame);
    VEC_DEINIT(&sub->waiting);
    sub->waiting_at = 0;
    event_vec_deinit(&sub->kept);
}

/* Everything it owns but itself. */
void l2_sub_clear(L2Sub *sub)
{
    l2_sub_drop_waiting(sub);
    buf_deinit(&sub->members);
    mem_free(sub->ref);
    sub->ref = NULL;
    sub->ref_len = 0;
    (void)l2_keep_text(&sub->client_id, (Text){0});
}

L2Sub *l2_sub_new(xs_conn *c, const L2Channel *channel, Text name)
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
                               .authenticated = c->identity->authenticated,
                               .watches = channel->presence};
    if (!VEC_PUSH(&c->subs, &sub->sub)) {
        mem_free(sub);
        return NULL;
    }
    return sub;
}

/* Gone when it has neither a membership nor anything to do. */
void l2_sub_release(L2Sub *sub)
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
    l2_sub_clear(sub);
    mem_free(sub);
}

/* ---- operations ---- */

L2Op *l2_op_new(xs_conn *c, L2Action action, Text name, Text payload)
{
    L2Op *op = mem_zalloc(1, sizeof *op);
    if (!op)
        return NULL;
    buf_reserve(&op->texts, name.len + payload.len + 1);
    buf_text(&op->texts, name);
    buf_text(&op->texts, payload);
    xs_request *request = op->texts.failed ? NULL : visit_open(c->visit, c->space, c->identity);
    if (!request) {
        buf_deinit(&op->texts);
        mem_free(op);
        return NULL;
    }
    Text all = buf_view(&op->texts);
    op->pub = (L2Job){.action = action,
                      .space = c->space,
                      .server = l2_server(c),
                      .name = text_slice(all, 0, name.len),
                      .payload = text_slice(all, name.len, all.len),
                      .identity = identity_ref(c->identity),
                      .socket = c->l2->socket,
                      .opened_ms = c->l2->opened_ms,
                      .request = request};
    arena_init(&op->store.arena, 0);
    op->shard = shard_ref(c->shard);
    return op;
}

void l2_op_free(L2Op *op)
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

/* The connection and its subscription stay until the op is back. */
void l2_op_attach(L2Op *op, xs_conn *c, L2Sub *sub)
{
    op->conn = c;
    op->sub = sub;
    op->link.handle = l2_op_arrived;
    atomic_fetch_add(&c->njobs, 1);
    if (sub)
        sub->nops++;
}

void l2_op_detach(L2Op *op)
{
    if (op->sub)
        op->sub->nops--;
    if (op->conn)
        atomic_fetch_sub(&op->conn->njobs, 1);
}

/* Back to the shard. Any thread; consumes the op. */
void l2_op_return(L2Op *op)
{
    if (!op->conn) {
        l2_op_free(op);
        return;
    }
    if (mailbox_push_link(&op->shard->box, &op->link))
        return;
    conn_job_ended(op->conn); /* the shard was freed meanwhile */
    l2_op_free(op);
}

/* false: overload; the op is detached and freed. */
bool l2_op_work(L2Op *op)
{
    const Hub *h = op->shard->hub;
    op->stage = AT_WORKER;
    if (h->opt.l2.run && h->opt.l2.run(h->opt.l2.ctx, &op->pub))
        return true;
    l2_op_detach(op);
    l2_op_free(op);
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
    l2_op_return(op);
}

/* An observer: nobody waits for it. */
void l2_observe(xs_conn *c, L2Action action, const L2Channel *channel, Text name)
{
    if (!l2_has_trigger(l2_server(c), channel, action))
        return;
    L2Op *op = l2_op_new(c, action, name, TEXT("null"));
    if (!op)
        return;
    op->pub.channel = channel;
    (void)l2_op_work(op); /* an overloaded server skips observers */
}

/* ---- the store ---- */

StoreRules l2_rules(const L2Channel *ch)
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

L2Op *l2_op_of(StoreOp *store)
{
    return (L2Op *)(void *)((char *)store - offsetof(L2Op, store));
}

void l2_op_came_back(StoreOp *store)
{
    l2_op_return(l2_op_of(store));
}

/* false: not taken; the op stays the caller's. */
bool l2_op_store(L2Op *op, StoreKind kind, Hub *h, const L2Channel *ch, Text name, Text client,
                 void (*done)(StoreOp *))
{
    StoreOp *s = &op->store;
    op->stage = AT_STORE;
    s->kind = kind;
    s->done = done;
    s->rules = l2_rules(ch);
    s->client = client.len ? arena_text(&s->arena, client) : (Text){0};
    if (h->plane.ops)
        return (!client.len || s->client.ptr) && l2_plane_ask(op, h, name);
    s->channel = record_name(&s->arena, op->pub.space, name);
    return s->channel.ptr && (!client.len || s->client.ptr) && h->store && store_push(h->store, s);
}

/* ---- delivery to one subscriber ---- */

void l2_sub_pass(L2Sub *sub, Event *ev)
{
    frame_ref(&ev->frame);
    conn_deliver(sub->sub.conn, ev);
}

static bool start_delivery(L2Sub *sub, Event *ev)
{
    xs_conn *c = sub->sub.conn;
    L2Op *op = l2_op_new(c, L2_DELIVER, sub->sub.name, event_payload(ev));
    if (!op)
        return false;
    size_t at = op->texts.len, name = op->pub.name.len;
    if (!buf_text(&op->texts, event_sender(ev))) {
        l2_op_free(op);
        return false;
    }
    Text all = buf_view(&op->texts);
    op->pub.name = text_slice(all, 0, name);
    op->pub.payload = text_slice(all, name, at);
    op->pub.client = text_slice(all, at, all.len);
    op->pub.channel = sub->channel;
    op->event = ev;
    frame_ref(&ev->frame);
    l2_op_attach(op, c, sub);
    sub->delivering = l2_op_work(op);
    return sub->delivering;
}

/* What waits, until a trigger has to be asked. */
void l2_sub_pump(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    while (!sub->opening && !sub->delivering && sub->waiting_at < sub->waiting.len) {
        Event *ev = sub->waiting.ptr[sub->waiting_at++];
        bool ask = sub->channel->per_recipient && (ev->frame.flags & EVENT_SAID);
        if (c->closing || c->gone || !sub->sub.joined) {
            ; /* nobody is there any more */
        } else if (!ask) {
            l2_sub_pass(sub, ev);
        } else if (!start_delivery(sub, ev)) {
            /* Skipping a message silently would be worse than a reconnect. */
            conn_close(c, 1013, "overload");
        }
        frame_unref(&ev->frame);
    }
    if (sub->waiting_at == sub->waiting.len)
        l2_sub_drop_waiting(sub);
}

static bool l2_sub_wait(L2Sub *sub, Event *ev)
{
    xs_conn *c = sub->sub.conn;
    if (sub->waiting.len - sub->waiting_at >= L2_MAX_WAITING || !VEC_PUSH(&sub->waiting, ev)) {
        conn_close(c, 1013, "too much waits");
        return true;
    }
    frame_ref(&ev->frame);
    return true;
}

void l2_sub_answer(L2Sub *sub, Event *ev)
{
    bool waits = ev && sub->sub.joined && (sub->delivering || sub->waiting_at < sub->waiting.len);
    if (!waits) {
        conn_deliver(sub->sub.conn, ev);
        return;
    }
    l2_sub_wait(sub, ev);
    frame_unref(&ev->frame);
}

bool l2_tap(Sub *base, Event *ev)
{
    L2Sub *sub = (L2Sub *)base;
    bool ask = sub->channel->per_recipient && (ev->frame.flags & EVENT_SAID);
    if (!sub->opening && l2_sub_knows(sub, ev))
        return true; /* over a backplane it may come behind its replay */
    if (!sub->opening && !ask && sub->waiting_at == sub->waiting.len && !sub->delivering) {
        if (ev->log_id && !sub->channel->per_recipient)
            sub->sub.local->slots[sub->sub.index].flags &= ~(uint32_t)SLOT_TAP;
        return false;
    }
    l2_sub_wait(sub, ev);
    l2_sub_pump(sub);
    return true;
}

/* Did the transcript or the replay show it? */
bool l2_sub_knows(const L2Sub *sub, const Event *ev)
{
    uint64_t upto = sub->page > sub->upto ? sub->page : sub->upto;
    return (ev->frame.flags & EVENT_SAID) && ev->log_id && ev->log_id <= upto;
}

bool l2_took(Sub *base, Event *ev)
{
    L2Sub *sub = (L2Sub *)base;
    if (l2_sub_knows(sub, ev))
        return true;
    return sub->channel->per_recipient && (ev->frame.flags & EVENT_SAID) && l2_sub_wait(sub, ev);
}

void l2_go_on(xs_conn *c)
{
    for (size_t i = 0; i < c->subs.len; i++)
        l2_sub_pump((L2Sub *)c->subs.ptr[i]);
}

void l2_delivery_done(L2Op *op)
{
    L2Sub *sub = op->sub;
    const Hub *h = op->shard->hub;
    L2Verdict v = op->verdict;
    if (v == L2_CRASH && h->opt.crash_delivers)
        v = L2_PASS;
    if (v == L2_PASS) {
        l2_sub_pass(sub, op->event);
    } else if (v == L2_CHANGE) {
        Event *ev = op->failed ? NULL : l2_replaced(op->event, (Text){op->text, op->text_len});
        if (!ev) {
            conn_close(sub->sub.conn, 1011, "out of memory");
            return;
        }
        l2_sub_pass(sub, ev);
        frame_unref(&ev->frame);
    }
}
