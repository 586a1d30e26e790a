/* l2_plane.c - realtime servers over several nodes. A message goes to the backplane as its parts,
 * gets its number there, which is its id too, and comes back to every node that has members in the
 * channel. What a channel keeps, and how far its clients have acknowledged it, lies there instead
 * of in the store: the same requests, answered by the backplane. So do the counters of rate limits.
 *
 * Thread: upcalls come on the backplane's, everything else is the caller's. Specification:
 * realtime.md §4.6, §10.2, §13. */
#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/l2_i.h"
#include "host/hub/plane.h"
#include "host/hub/record.h"

enum {
    DAY_MS = 24 * 60 * 60 * 1000, /* the least life of cursors, and of what an idle channel keeps */
    MINUTE_MS = 60 * 1000
};

/* ---- messages ---- */

static xs_plane_limits limits_of(const Hub *h, const L2Channel *ch)
{
    xs_plane_limits limits = {.events = h->opt.ring_events, .ttl_ms = DAY_MS};
    if (!l2_recorded(ch))
        return limits;
    StoreRules rules = l2_rules(ch);
    uint32_t keep = rules.keep ? rules.keep : STORE_KEEP_MAX;
    if (keep > limits.events)
        limits.events = keep;
    limits.age_ms = rules.ttl_ms;
    limits.by_age = rules.by_age;
    limits.ttl_ms = !rules.ttl_ms ? 0 : rules.ttl_ms > DAY_MS ? rules.ttl_ms : DAY_MS;
    return limits;
}

bool l2_plane_say(Hub *h, Space *s, const L2Channel *ch, const L2Said *said, Text exclude,
                  Receipt *receipt)
{
    msgpack_sbuffer out;
    msgpack_sbuffer_init(&out);
    xs_plane_limits limits = limits_of(h, ch);
    bool ok = record_write_said(&out, said, exclude) &&
              plane_send(h, s, said->channel, (said->flags & XS_FRAME_STORED) != 0, &limits,
                         (Text){out.data, out.size}, receipt);
    msgpack_sbuffer_destroy(&out);
    return ok;
}

/* Delivered here, or lost on the way here. */
static void said_here(MirrorWait *w, bool ok)
{
    (void)ok;
    l2_op_return((L2Op *)(void *)((char *)w - offsetof(L2Op, wait)));
}

/* The backplane has it, or will not have it. */
static void said_there(Receipt *r, bool ok)
{
    L2Op *op = (L2Op *)(void *)((char *)r - offsetof(L2Op, own));
    op->store.ok = ok;
    op->store.id = r->seq;
    if (ok)
        mirror_await(op->pub.space, op->pub.name, &op->wait, r->off);
    else
        l2_op_return(op);
}

bool l2_plane_broadcast(L2Op *op, L2Said *said, bool stored)
{
    xs_conn *c = op->conn;
    Space *s = c->space;
    Hub *h = c->shard->hub;
    L2Sub *sub = op->sub;
    bool ok;
    op->stage = AT_STORE;
    op->own = (Receipt){.ready = said_there};
    op->wait = (MirrorWait){.done = said_here};
    l2_op_attach(op, c, sub);
    if (stored) {
        ok = l2_plane_say(h, s, op->pub.channel, said, op->exclude, &op->own);
    } else {
        /* Nobody tells when it has come; whatever is said behind it has not come before. */
        space_lock(s);
        ok = l2_plane_say(h, s, op->pub.channel, said, op->exclude, NULL);
        op->store.ok = ok;
        if (ok && sub->sub.ch && sub->sub.ch->mirror) {
            mirror_barrier(sub->sub.ch, &op->wait);
            mirror_queue(sub->sub.ch, &op->wait);
        } else if (ok) {
            l2_op_return(op);
        }
        space_unlock(s);
    }
    if (!ok)
        l2_op_detach(op);
    return ok;
}

/* ---- joining ---- */

static void mirror_waited(MirrorWait *w, bool ok)
{
    L2Op *op = (L2Op *)(void *)((char *)w - offsetof(L2Op, wait));
    op->verdict = ok ? L2_PASS : L2_DENY;
    l2_op_return(op);
}

bool l2_plane_ready(L2Sub *sub, bool triggered, bool waited, bool *failed)
{
    xs_conn *c = sub->sub.conn;
    bool resumes = c->resume.given && c->resume.epoch == c->space->epoch && !waited;
    space_lock(c->space);
    Channel *ch = space_channel(c->space, sub->sub.name, &sub->channel->config);
    bool current = ch && mirror_use(ch, resumes ? c->resume.seq : 0);
    bool ready = current && !triggered; /* what the trigger published comes before the join */
    L2Op *op = ch && !ready ? l2_op_new(c, L2_JOIN, sub->sub.name, (Text){0}) : NULL;
    if (op) {
        op->pub.channel = sub->channel;
        op->stage = AT_MIRROR;
        op->wait.done = mirror_waited;
        l2_op_attach(op, c, sub);
        sub->sub.busy = true;
        if (current)
            mirror_barrier(ch, &op->wait);
        mirror_queue(ch, &op->wait);
    }
    if (ch)
        channel_settle(ch);
    space_unlock(c->space);
    *failed = !ready && !op;
    return ready;
}

/* ---- what a channel keeps ---- */

bool l2_plane_ask(L2Op *op, Hub *h, Text channel)
{
    enum { PAGE_RECORDS = 128, PAGE_BYTES = 256 * 1024 };
    static const xs_plane_ask asks[] = {
        [STORE_OPEN] = XS_PLANE_OPEN, [STORE_PAGE] = XS_PLANE_PAGE, [STORE_ACK] = XS_PLANE_ACK};
    const StoreOp *o = &op->store;
    const StoreRules *r = &o->rules;
    const Space *s = op->pub.space;
    xs_plane_question q = {.ask = asks[o->kind],
                           .client = {o->client.ptr, o->client.len},
                           .life_ms = r->ttl_ms > DAY_MS ? r->ttl_ms : DAY_MS,
                           .id = o->id,
                           .keep = r->keep,
                           .transcript = r->transcript,
                           .age_ms = r->ttl_ms,
                           .by_age = r->by_age,
                           .page_records = PAGE_RECORDS,
                           .page_bytes = PAGE_BYTES};
    return h->plane.ops->ask(h->plane.state, (xs_str){s->key.ptr, s->key.len},
                             (xs_str){channel.ptr, channel.len}, &q, &op->store);
}

/* Records [from, to) as rows. */
static bool read_rows(StoreOp *op, const xs_plane_answer *a, size_t from, size_t to, StoreRow **out)
{
    for (size_t i = from; i < to; i++) {
        StoreRow *row = ARENA_NEW(&op->arena, StoreRow);
        if (!row || !record_row(&a->records[i], &op->arena, row))
            return false;
        *out = row;
        out = &row->next;
    }
    return true;
}

void l2_plane_answer(void *hub, void *token, const xs_plane_answer *a)
{
    StoreOp *op = token;
    (void)hub;
    if (a) {
        op->cursor = a->cursor;
        op->upto = a->upto;
        op->resumed = a->resumed;
        op->more = a->more;
        op->ntranscript = (uint32_t)a->ntranscript;
        op->ok = read_rows(op, a, 0, a->ntranscript, &op->transcript) &&
                 read_rows(op, a, a->ntranscript, a->nrecords, &op->replay);
        if (!op->ok)
            hub_log(1, "backplane: what a channel keeps cannot be read");
    }
    op->done(op);
}

/* ---- rate limits ---- */

bool l2_plane_counts(const xs_conn *c, const L2Sub *sub)
{
    return c->shard->hub->plane.ops && sub->channel->messages_per_minute &&
           c->identity->authenticated;
}

bool l2_plane_count(L2Op *op)
{
    const Plane *plane = &op->shard->hub->plane;
    const Space *s = op->pub.space;
    char person[L2_KEY_MAX], key[L2_KEY_MAX + CHANNEL_NAME_MAX + 2];
    Text who = l2_person_key(op->pub.identity, "", person);
    int n = snprintf(key, sizeof key, TEXT_FMT " " TEXT_FMT, TEXT_ARG(op->pub.name), TEXT_ARG(who));
    op->stage = AT_COUNTER;
    return n > 0 && (size_t)n < sizeof key &&
           plane->ops->count(plane->state, (xs_str){s->key.ptr, s->key.len},
                             (xs_str){key, (size_t)n}, MINUTE_MS, op);
}

void l2_plane_counted(void *hub, void *token, uint64_t n, int64_t left_ms)
{
    L2Op *op = token;
    (void)hub;
    if (n > op->pub.channel->messages_per_minute)
        op->wait_s = (uint32_t)((left_ms > 0 ? left_ms : 0) + 999) / 1000;
    l2_op_return(op);
}
