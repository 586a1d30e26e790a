/* l2.c - clients of a realtime server: they connect and send frames.
 *
 * A frame of a (connection, channel) waits while the one before it is with a worker or with the
 * store (`busy`). An L2Op is such a wait: it goes to a worker, comes back through the shard's
 * mailbox, goes to the store when its message is recorded, and comes back again. Recorded messages
 * are written first and delivered then, by the store's thread, so that nobody has seen what a crash
 * could take away. A client joins before its transcript is read; what arrives meanwhile waits in
 * its subscription, and what the transcript or the replay already showed is dropped by its number.
 */
#include "host/hub/l2_i.h"

#include <stdio.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"

enum {
    EARLY_FRAMES = 16, /* before the connect triggers are done */
    EARLY_BYTES = 64 * 1024,
    MAX_LISTED = 64
};

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
    case L2V_JOIN: l2_join(c, f); return;
    case L2V_LEAVE: l2_leave(c, f); return;
    case L2V_BROADCAST: l2_broadcast(c, f); return;
    case L2V_ACK: l2_ack(c, f); return;
    case L2V_PRESENCE: l2_roster(c, f); return;
    case L2V_PING:
    case L2V_AUTH:
    case L2V_UNKNOWN: return;
    }
}

static void renew(xs_conn *c, L2Frame *f)
{
    Arena a;
    int64_t expires_in_s = -1;
    arena_init(&a, 0);
    const Const *payload = json_parse(&a, l2_payload(f), NULL);
    bool ok = protocol_renew(c, const_get_text(payload, "token"), &expires_in_s);
    arena_deinit(&a);
    if (ok)
        conn_deliver(c, l2_auth("renewed", expires_in_s, f->ref));
    else
        l2_answer_error(c, (Text){0}, TEXT("Invalid token"), f->ref);
}

static void accept_frame(xs_conn *c, L2Frame *f, Text data)
{
    if (f->verb == L2V_AUTH) {
        renew(c, f);
        return;
    }
    if (f->verb == L2V_PING) {
        conn_deliver(c, l2_pong(f->ref));
        return;
    }
    if (f->verb == L2V_UNKNOWN) {
        l2_refuse(c, f, "Unknown action");
        return;
    }
    if (!l2_path_valid(f->channel)) {
        f->channel = (Text){0};
        l2_refuse(c, f, "Invalid channel name");
        return;
    }
    if (f->verb == L2V_JOIN && !protocol_take_join(c)) {
        protocol_punish(c, f->channel, (Text){0});
        return;
    }
    L2Sub *sub = l2_sub(c, f->channel);
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
        l2_answer_error(c, (Text){0}, TEXT("Connection is not ready"), (Text){0});
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
        l2_answer_error(c, (Text){0}, TEXT("Malformed frame"), (Text){0});
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
        l2_answer_error(c, (Text){0}, TEXT("Message is too large"), (Text){0});
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
    l2_sub_release(sub);
}

/* ---- connecting ---- */

bool l2_admits(const Space *space, const Identity *who, bool bad_token, xs_refusal *why)
{
    const L2Server *s = space->server;
    const char *message = NULL;
    if (!s->open)
        message = "Unknown connection hash";
    else if (bad_token)
        message = "Invalid token";
    else if (!who->authenticated && !s->anonymous)
        message = "Authentication required";
    if (!message)
        return true;
    why->close_code = 4401;
    why->status = s->open ? 401 : 404;
    snprintf(why->message, sizeof why->message, "%s", message);
    return false;
}

bool l2_may_connect(const xs_request *req, xs_refusal *why)
{
    return l2_admits(req->space, req->identity, req->bad_token, why);
}

L2Conn *l2_conn_new(Hub *h)
{
    L2Conn *l2 = mem_zalloc(1, sizeof *l2);
    if (!l2)
        return NULL;
    uint64_t n = atomic_fetch_add_explicit(&h->sockets, 1, memory_order_relaxed) + 1;
    l2->socket = (uint64_t)h->plane.number << 32 | (n & UINT32_MAX);
    l2->opened_ms = clock_wall_ms();
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
    l2_answer_error(c, (Text){0}, reason.len ? reason : TEXT("Connection refused"), (Text){0});
    conn_close(c, 4401, "connection refused");
}

bool l2_opened(xs_conn *c)
{
    if (!l2_has_trigger(l2_server(c), NULL, L2_CONNECT)) {
        c->l2->admitted = true;
        return true;
    }
    L2Op *op = l2_op_new(c, L2_CONNECT, (Text){0}, TEXT("null"));
    c->l2->connecting = true;
    if (!op)
        return false;
    l2_op_attach(op, c, NULL);
    return l2_op_work(op);
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

bool l2_gone(xs_conn *c, uint32_t grace_ms)
{
    bool present = false;
    for (size_t i = c->subs.len; i-- > 0;) {
        L2Sub *sub = (L2Sub *)c->subs.ptr[i];
        bool joined = sub->sub.joined;
        while (sub->sub.queue)
            mem_free(line_pop(&sub->sub));
        present = present || (joined && grace_ms && sub->channel->presence);
        if (joined)
            l2_sub_leave(sub, grace_ms);
        /* A handler that still runs ends first: the leave is told when it is back. */
        if (joined && sub->sub.busy && sub->nops)
            sub->sub.leave_after = true;
        else if (joined)
            l2_observe(c, L2_LEAVE, sub->channel, sub->sub.name);
        sub->sub.busy = sub->sub.busy && sub->nops;
        sub->sub.running = false;
        l2_sub_clear(sub);
        l2_sub_release(sub);
    }
    drop_early(c->l2);
    if (c->l2->admitted)
        l2_observe(c, L2_DISCONNECT, NULL, (Text){0});
    return present;
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
        l2_refuse_join(c, &f, "Invalid channel name");
    } else if (!allowed) {
        l2_refuse_join(c, &f, "Too many channels");
    } else {
        L2Sub *sub = l2_sub(c, f.channel);
        if (sub && sub->sub.busy) /* listed twice, and its join is still under way */
            protocol_listed_done(c);
        else
            l2_join(c, &f);
    }
    frame_deinit(&f, c->shard);
}

static void join_all_listed(xs_conn *c)
{
    xs_request *req = visit_open(c->visit, c->space, c->identity);
    if (!req) {
        conn_close(c, 1011, "out of memory");
        return;
    }
    const Const *list = const_get(req->query, "channel");
    Text client_id = query_text(req, "client_id");
    uint32_t count = list && list->kind == C_LIST ? list->count : 0;
    for (uint32_t i = 0; i < count && !c->closing; i++) {
        join_one(c, const_text_of(list->items[i], (Text){0}), client_id, i < MAX_LISTED);
        if (i == MAX_LISTED)
            break;
    }
    request_unref(req);
    protocol_listed_done(c);
}

void l2_join_listed(xs_conn *c, xs_request *req)
{
    Visit *visit = visit_new(req); /* maybe of a later poll, that lists its channels anew */
    if (!visit) {
        conn_close(c, 1011, "out of memory");
        return;
    }
    visit_free(c->visit);
    c->visit = visit;
    protocol_begin_listed(c, req);
    if (c->l2->connecting)
        c->l2->listed = true;
    else
        join_all_listed(c);
}

bool l2_has_cursor(const xs_conn *c, Text channel)
{
    const L2Channel *ch = l2_match(l2_server(c), channel);
    if (!ch || !ch->at_least_once || c->identity->authenticated)
        return ch && ch->at_least_once;
    xs_request *req = visit_open(c->visit, c->space, c->identity);
    bool named = req && query_text(req, "client_id").len > 0;
    request_unref(req);
    return named;
}

/* ---- what comes back ---- */

static void arrived_late(L2Op *op, bool last)
{
    xs_conn *c = op->conn;
    L2Sub *sub = op->sub;
    if (sub && sub->sub.leave_after && !sub->sub.busy) {
        sub->sub.leave_after = false;
        l2_observe(c, L2_LEAVE, sub->channel, sub->sub.name);
    }
    if (sub)
        l2_sub_release(sub);
    l2_op_free(op);
    if (last && c->buried)
        conn_free(c);
}

void l2_op_arrived(MailLink *link)
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
        l2_join_done(op);
    } else if (action == L2_DELIVER) {
        l2_delivery_done(op);
        l2_sub_pump(sub);
    } else if (action == L2_MESSAGE) {
        if (l2_message_done(op)) {
            sub->sub.busy = true;
            return; /* the store has it */
        }
    } else {
        l2_ack_done(op);
    }
    l2_op_free(op);
    if (sub && queued)
        run_queue(sub);
    else if (sub)
        l2_sub_release(sub);
}
