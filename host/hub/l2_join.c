/* l2_join.c - channels are joined and left; what a joiner missed, and acknowledgements. */
#include "core/clock.h"
#include "host/hub/l2_i.h"

#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"

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
    sub_uncount(&sub->sub);
    l2_answer_error(c, sub->sub.name, message, (Text){sub->ref, sub->ref_len});
    end_listed(sub);
}

static bool needs_store(const L2Sub *sub)
{
    return l2_recorded(sub->channel);
}

/* Member, order and roster in one critical section. false: out of memory. */
static bool enter_channel(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    const L2Channel *def = sub->channel;
    ShardChannel *fresh = local_new(c), *local;
    Buf member = BUF_INIT;
    l2_write_member(c, &member);
    if (!fresh || member.failed) {
        if (fresh)
            local_retire(fresh);
        buf_deinit(&member);
        return false;
    }
    char key[L2_KEY_MAX], cursor_bytes[L2_KEY_MAX];
    Text own = l2_person_key(c->identity, c->socket_id, key),
         cursor = l2_cursor_key(sub, cursor_bytes);
    space_lock(c->space);
    Channel *ch = space_channel(c->space, sub->sub.name, &def->config);
    local = ch ? channel_local(ch, c->shard) : NULL;
    if (!local)
        local = fresh;
    sub->listed = !c->away;
    /* First the roster: whoever it tells was here before. */
    bool ok = ch && local_reserve(local) &&
              (!sub->listed || roster_join(ch, own, buf_view(&member), clock_mono_ms()));
    sub->listed = sub->listed && ok;
    if (ok && !channel_add_member(ch, &sub->sub.member, &c->shard->box, local)) {
        if (sub->listed)
            roster_leave(ch, own, 0, clock_mono_ms());
        ok = sub->listed = false;
    }
    if (ok) {
        local->ch = sub->sub.ch = ch;
        if (def->presence)
            roster_write_others(&ch->roster, own, &sub->members, &sub->members_cut);
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
    buf_deinit(&member);
    if (!ok || local != fresh)
        local_retire(fresh); /* not used */
    return ok;
}

static void answer_join(L2Sub *sub)
{
    xs_conn *c = sub->sub.conn;
    Text ref = {sub->ref, sub->ref_len};
    Buf params = BUF_INIT;
    l2_write_params(sub, &params);
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
    if (sub->kept.len < L2_MAX_WAITING && VEC_PUSH(&sub->kept, ev))
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
        bool keep = !l2_sub_knows(sub, ev);
        memory = memory && (!keep || VEC_PUSH(&all, ev));
        if (!keep || !memory)
            frame_unref(&ev->frame);
    }
    VEC_DEINIT(&sub->waiting);
    sub->waiting = all;
    sub->waiting_at = 0;
    if (!memory)
        conn_close(sub->sub.conn, 1011, "out of memory");
    l2_sub_pump(sub);
    if (!sub->channel->per_recipient && sub->sub.local && sub->waiting_at == sub->waiting.len &&
        !sub->sub.conn->shard->hub->plane.ops) /* else with the first that is new */
        sub->sub.local->slots[sub->sub.index].flags &= ~(uint32_t)SLOT_TAP;
    end_listed(sub);
}

/* Ask the store: the first page, or what follows. */
static void ask_store(L2Sub *sub, StoreKind kind)
{
    xs_conn *c = sub->sub.conn;
    char key[L2_KEY_MAX];
    Text client = l2_cursor_key(sub, key);
    L2Op *op = l2_op_new(c, L2_JOIN, sub->sub.name, (Text){0});
    if (op) {
        op->pub.channel = sub->channel;
        op->store.id = sub->page;
        l2_op_attach(op, c, sub);
        sub->sub.busy = sub->asked = true;
        if (l2_op_store(op, kind, c->shard->hub, sub->channel, sub->sub.name, client,
                        l2_op_came_back))
            return;
        l2_op_detach(op);
        l2_op_free(op);
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

/* May this client be there by the declarations as they are now? They may change while a gate runs.
 */
static const L2Channel *admits(const xs_conn *c, Text name)
{
    const L2Channel *ch = l2_match(l2_server(c), name);
    return ch && (c->identity->authenticated || ch->anonymous) ? ch : NULL;
}

/* triggered: by a trigger, just now. waited: for the mirror; there is no more than it has. */
static void finish_join(L2Sub *sub, bool triggered, bool waited)
{
    xs_conn *c = sub->sub.conn;
    const L2Channel *now = admits(c, sub->sub.name);
    if (!now) {
        refuse_join(sub, TEXT("Join denied"));
        return;
    }
    sub->channel = now;
    bool failed = false;
    if (c->shard->hub->plane.ops && !l2_plane_ready(sub, triggered, waited, &failed)) {
        if (failed)
            refuse_join(sub, TEXT("Internal error"));
        return;
    }
    sub->sub.member.watches = now->presence;
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
    char key[L2_KEY_MAX];
    Text own = l2_person_key(c->identity, c->socket_id, key);
    if (sub->channel->presence) {
        space_lock(c->space);
        roster_write_others(&sub->sub.ch->roster, own, &sub->members, &sub->members_cut);
        sub->sub.presence_from = c->space->order;
        space_unlock(c->space);
    }
    answer_join(sub);
    if (f->listed)
        protocol_listed_done(c);
}

void l2_refuse_join(xs_conn *c, const L2Frame *f, const char *message)
{
    l2_refuse(c, f, message);
    if (f->listed)
        protocol_listed_done(c);
}

void l2_join(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = l2_sub(c, f->channel);
    if (sub && sub->sub.joined) {
        join_again(sub, f);
        return;
    }
    const L2Channel *channel = l2_match(l2_server(c), f->channel);
    if (!channel || f->client_id.len > L2_TEXT_MAX) {
        l2_refuse_join(c, f, channel ? "Invalid client_id" : "Channel not found");
        return;
    }
    if (!c->identity->authenticated && !channel->anonymous) {
        l2_refuse_join(c, f, "Anonymous clients cannot join this channel.");
        return;
    }
    if (c->njoined >= c->shard->hub->opt.channels_per_conn) {
        l2_refuse_join(c, f, "Too many channels");
        return;
    }
    if (!sub && !(sub = l2_sub_new(c, channel, f->channel))) {
        l2_refuse_join(c, f, "Internal error");
        return;
    }
    sub->channel = channel;
    sub->sub.listed = f->listed;
    sub->page = sub->upto = 0;
    mem_free(sub->ref);
    sub->ref = f->ref.len ? mem_strndup(f->ref.ptr, f->ref.len) : NULL;
    sub->ref_len = sub->ref ? f->ref.len : 0;
    sub_count(&sub->sub, !f->listed);
    if (!l2_keep_text(&sub->client_id, f->client_id)) {
        refuse_join(sub, TEXT("Internal error"));
    } else if (channel->proc < 0 && !l2_has_trigger(l2_server(c), channel, L2_JOIN)) {
        finish_join(sub, false, false);
    } else {
        L2Op *op = l2_op_new(c, L2_JOIN, f->channel, TEXT("null"));
        if (op) {
            op->pub.channel = channel;
            l2_op_attach(op, c, sub);
            sub->sub.busy = true;
        }
        if (!op || !l2_op_work(op)) {
            sub->sub.busy = false;
            refuse_join(sub, op ? TEXT("The server is busy") : TEXT("Internal error"));
        }
    }
    l2_sub_release(sub);
}

void l2_join_done(L2Op *op)
{
    L2Sub *sub = op->sub;
    if (op->stage == AT_STORE) {
        if (sub->sub.joined)
            rows_arrived(sub, &op->store);
    } else if (op->verdict == L2_PASS) {
        finish_join(sub, op->stage == AT_WORKER, op->stage == AT_MIRROR);
    } else {
        Text text = {op->text, op->text_len};
        if (op->stage == AT_MIRROR)
            text = TEXT(L2_UNREACHABLE);
        if (op->verdict == L2_DROPPED)
            text = TEXT("The server is busy");
        refuse_join(sub, text.len ? text : TEXT("Join denied"));
    }
}

/* ---- leaving ---- */

void l2_sub_leave(L2Sub *sub, uint32_t grace_ms)
{
    xs_conn *c = sub->sub.conn;
    Channel *ch = sub->sub.ch;
    ShardChannel *local = sub->sub.local;
    char key[L2_KEY_MAX];
    Text own = l2_person_key(c->identity, c->socket_id, key);
    local_remove(&sub->sub);
    space_lock(c->space);
    bool last = channel_drop_member(ch, &sub->sub.member);
    if (sub->listed)
        roster_leave(ch, own, grace_ms, clock_mono_ms());
    sub->listed = false;
    channel_settle(ch);
    space_unlock(c->space);
    if (last)
        local_retire(local);
    sub->sub.joined = false;
    sub->sub.ch = NULL;
    sub->opening = false;
    l2_sub_drop_waiting(sub);
    sub_uncount(&sub->sub);
    atomic_fetch_sub_explicit(&c->shard->hub->subscriptions, 1, memory_order_relaxed);
}

void l2_away(xs_conn *c)
{
    char key[L2_KEY_MAX];
    Text own = l2_person_key(c->identity, c->socket_id, key);
    Buf member = BUF_INIT;
    l2_write_member(c, &member);
    space_lock(c->space);
    for (size_t i = 0; i < c->subs.len; i++) {
        L2Sub *sub = (L2Sub *)c->subs.ptr[i];
        if (!sub->sub.joined || sub->listed == !c->away)
            continue;
        if (c->away)
            roster_leave(sub->sub.ch, own, 0, clock_mono_ms());
        else if (member.failed ||
                 !roster_join(sub->sub.ch, own, buf_view(&member), clock_mono_ms()))
            continue; /* the next join shows it again */
        sub->listed = !c->away;
    }
    space_unlock(c->space);
    buf_deinit(&member);
}

void l2_leave(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = l2_sub(c, f->channel);
    bool joined = sub && sub->sub.joined;
    if (joined)
        l2_sub_leave(sub, 0);
    conn_deliver(c, l2_left(f->channel, f->ref));
    if (joined) {
        l2_observe(c, L2_LEAVE, sub->channel, f->channel);
        l2_sub_release(sub);
    }
}

void l2_expel(xs_conn *c, Text channel)
{
    L2Sub *sub = l2_sub(c, channel);
    l2_answer_error(c, channel, TEXT("Join denied"), (Text){0});
    l2_sub_leave(sub, 0);
    conn_deliver(c, l2_left(channel, (Text){0}));
    l2_observe(c, L2_LEAVE, sub->channel, channel);
    l2_sub_release(sub);
}

/* ---- other declarations ---- */

static void set_flag(uint32_t *flags, uint32_t flag, bool on)
{
    *flags = on ? *flags | flag : *flags & ~flag;
}

/* A member goes on under another declaration of its channel. */
static void adopt(L2Sub *sub, const L2Channel *now)
{
    xs_conn *c = sub->sub.conn;
    uint32_t *flags = &sub->sub.local->slots[sub->sub.index].flags;
    bool waits = sub->opening || sub->waiting_at < sub->waiting.len || sub->delivering;
    sub->channel = now;
    space_lock(c->space);
    channel_set_watching(sub->sub.ch, &sub->sub.member, now->presence);
    space_unlock(c->space);
    set_flag(flags, SLOT_PRESENCE, now->presence);
    set_flag(flags, SLOT_TAP, now->per_recipient || waits);
}

void l2_recheck(xs_conn *c)
{
    xs_refusal why = {0};
    for (size_t i = c->subs.len; i-- > 0;) {
        L2Sub *sub = (L2Sub *)c->subs.ptr[i];
        if (!sub->sub.joined)
            continue;
        const L2Channel *now = admits(c, sub->sub.name);
        if (now) {
            adopt(sub, now);
            continue;
        }
        char name[CHANNEL_NAME_MAX];
        Text copy = {name, sub->sub.name.len};
        memcpy(name, sub->sub.name.ptr, sub->sub.name.len); /* the sub may go */
        l2_expel(c, copy);
    }
    if (c->closing || c->gone || l2_admits(c->space, c->identity, false, &why))
        return;
    l2_answer_error(c, (Text){0}, text_from(why.message), (Text){0});
    conn_close(c, why.close_code, "server closed");
}

/* ---- acknowledgements, presence ---- */

void l2_ack(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = l2_sub(c, f->channel);
    char key[L2_KEY_MAX];
    int64_t id;
    if (!sub || !sub->sub.joined) {
        l2_refuse(c, f, "Not joined");
        return;
    }
    Text client = l2_cursor_key(sub, key);
    if (!client.len)
        return; /* a client without a cursor: ignored */
    if (!f->id.len || f->id.len > L2_TEXT_MAX || !num_parse_int(f->id, &id) || id < 0) {
        l2_refuse(c, f, "Invalid id");
        return;
    }
    L2Op *op = l2_op_new(c, L2_ACTION_COUNT, sub->sub.name, f->ref);
    if (op) {
        op->pub.channel = sub->channel;
        op->ref = op->pub.payload;
        op->store.id = (uint64_t)id;
        l2_op_attach(op, c, sub);
        if (l2_op_store(op, STORE_ACK, c->shard->hub, sub->channel, sub->sub.name, client,
                        l2_op_came_back))
            return;
        l2_op_detach(op);
        l2_op_free(op);
    }
    l2_refuse(c, f, "Internal error");
}

void l2_ack_done(L2Op *op)
{
    L2Sub *sub = op->sub;
    if (!op->store.ok) {
        l2_internal_error(op);
        return;
    }
    if (op->store.cursor > sub->cursor)
        sub->cursor = op->store.cursor;
    if (sub->sub.joined)
        conn_deliver(op->conn, l2_acked(sub->sub.name, op->store.cursor, op->ref));
}

void l2_roster(xs_conn *c, L2Frame *f)
{
    L2Sub *sub = l2_sub(c, f->channel);
    Buf members = BUF_INIT;
    bool cut = false;
    if (!sub || !sub->sub.joined) {
        l2_refuse(c, f, "Not joined");
        return;
    }
    if (!sub->channel->presence) {
        l2_refuse(c, f, "Presence is disabled");
        return;
    }
    char key[L2_KEY_MAX];
    Text own = l2_person_key(c->identity, c->socket_id, key);
    space_lock(c->space);
    roster_write(&sub->sub.ch->roster, own, &members, &cut);
    space_unlock(c->space);
    conn_deliver(c, members.failed ? NULL
                                   : l2_presence_full(f->channel, buf_view(&members), cut, f->ref));
    buf_deinit(&members);
}
