/* protocol.c - what clients ask for and what they are told.
 * A frame is read once, token by token: the payload is copied into one compact line on the way, so
 * that what one client sends reaches the others well-formed whatever its blanks and escapes were.
 */
#include "host/hub/protocol.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/clock.h"
#include "host/hub/event.h"
#include "host/hub/l2.h"
#include "host/hub/l2_frame.h"

enum {
    MAX_LISTED = 64,             /* channels in a URL */
    MAX_HISTORY_BYTES = 1 << 20, /* of one answer */
    MAX_TOKEN = 8192,
    MAX_REPLAY = 2000, /* events of all channels of one resumption */
    MAX_STRIKES = 3,
    STRIKE_MS = 60 * 1000,
    KEEP_SCRATCH = 64 * 1024
};

typedef enum Action {
    ACT_JOIN,
    ACT_LEAVE,
    ACT_MESSAGE,
    ACT_HISTORY,
    ACT_PING,
    ACT_AUTH,
    ACT_UNKNOWN
} Action;

/* A member of the payload as it lies in the compact copy. */
typedef struct Span {
    bool found;
    size_t from, to;
} Span;

typedef struct Frame {
    Action action;
    char channel_bytes[CHANNEL_NAME_MAX + 1], socket_bytes[SOCKET_ID_LEN + 1];
    Text channel;   /* len > CHANNEL_NAME_MAX = too long to be one */
    Text socket_id; /* options.socketId */
    bool authenticated, listed;
    Buf payload; /* JSON */
    bool is_map, history, presence;
    Span event, data, token;
    uint64_t ref; /* hash of the ref member, 0 = none */
} Frame;

struct Job {
    HubJob pub; /* first: the dispatcher holds a pointer to it */
    MailLink link;
    xs_shard *shard;
    xs_conn *conn; /* NULL: an observer, nobody waits */
    Sub *sub;
    Buf texts; /* behind the Texts of pub */
    char target[SOCKET_ID_LEN + 1];
    HubVerdict verdict;
    char *text; /* owned */
    size_t text_len;
    bool failed; /* the verdict's text could not be kept */
    bool mirror; /* no trigger: the channel's mirror was waited for */
    MirrorWait wait;
};

/* ---- reading frames ---- */

/* A separator unless the value is the first of its list or map, or stands behind its key. */
static void separate(Buf *out, size_t start)
{
    char last = out->len > start ? out->ptr[out->len - 1] : '[';
    if (last != '[' && last != '{' && last != ':')
        buf_char(out, ',');
}

/* The digits as the client wrote them: large and exact numbers pass through unchanged. */
static void copy_number(const JsonReader *r, Buf *out)
{
    const char *from = r->at;
    while (from > r->start && from[-1] && strchr("+-.eE0123456789", from[-1]))
        from--;
    buf_append(out, from, (size_t)(r->at - from));
}

static void copy_token(const JsonReader *r, JsonTok tok, Buf *out, size_t start)
{
    if (tok == JSON_LIST_END || tok == JSON_MAP_END) {
        buf_char(out, tok == JSON_LIST_END ? ']' : '}');
        return;
    }
    separate(out, start);
    switch (tok) {
    case JSON_TRUE: buf_append(out, "true", 4); break;
    case JSON_FALSE: buf_append(out, "false", 5); break;
    case JSON_INT:
    case JSON_DEC: copy_number(r, out); break;
    case JSON_TEXT: json_write_text(out, r->text); break;
    case JSON_KEY:
        json_write_text(out, r->text);
        buf_char(out, ':');
        break;
    case JSON_LIST_BEGIN: buf_char(out, '['); break;
    case JSON_MAP_BEGIN: buf_char(out, '{'); break;
    default: buf_append(out, "null", 4); break;
    }
}

typedef enum PayloadKey {
    PK_OTHER,
    PK_EVENT,
    PK_DATA,
    PK_HISTORY,
    PK_PRESENCE,
    PK_TOKEN
} PayloadKey;

static PayloadKey payload_key(Text t)
{
    return text_eq(t, TEXT("event"))      ? PK_EVENT
           : text_eq(t, TEXT("data"))     ? PK_DATA
           : text_eq(t, TEXT("history"))  ? PK_HISTORY
           : text_eq(t, TEXT("presence")) ? PK_PRESENCE
           : text_eq(t, TEXT("token"))    ? PK_TOKEN
                                          : PK_OTHER;
}

/* A member of the payload's outermost map ended: remember what the hub itself looks at. */
static void note_member(Frame *f, PayloadKey key, JsonTok tok, size_t from)
{
    Span span = {true, from, f->payload.len};
    if (key == PK_EVENT)
        f->event = tok == JSON_TEXT ? span : (Span){0};
    else if (key == PK_DATA)
        f->data = span;
    else if (key == PK_TOKEN)
        f->token = tok == JSON_TEXT ? span : (Span){0};
    else if (key == PK_HISTORY)
        f->history = tok == JSON_TRUE;
    else if (key == PK_PRESENCE)
        f->presence = tok == JSON_TRUE;
}

static bool read_payload(JsonReader *r, Frame *f, uint32_t max_depth)
{
    Buf *out = &f->payload;
    uint32_t base = r->depth;
    PayloadKey key = PK_OTHER;
    size_t from = 0;
    out->len = 0;
    f->is_map = f->history = f->presence = false;
    f->event = f->data = f->token = (Span){0};
    do {
        JsonTok tok = json_next(r);
        if (tok == JSON_ERROR || tok == JSON_END || r->depth > max_depth)
            return false;
        copy_token(r, tok, out, 0);
        if (tok == JSON_MAP_BEGIN && r->depth == base + 1)
            f->is_map = true;
        if (!f->is_map || r->depth != base + 1)
            continue;
        if (tok == JSON_KEY) {
            key = payload_key(r->text);
            from = out->len;
        } else if (tok != JSON_MAP_BEGIN) {
            note_member(f, key, tok, from);
        }
    } while (r->depth > base);
    return !out->failed;
}

bool protocol_compact(Text json, Buf *out)
{
    JsonReader r;
    JsonTok tok;
    size_t start = out->len;
    json_reader_init(&r, json);
    while ((tok = json_next(&r)) != JSON_ERROR && tok != JSON_END)
        copy_token(&r, tok, out, start);
    json_reader_deinit(&r);
    return tok == JSON_END && !out->failed;
}

static bool skip_value(JsonReader *r, uint32_t max_depth)
{
    uint32_t base = r->depth;
    do {
        JsonTok tok = json_next(r);
        if (tok == JSON_ERROR || tok == JSON_END || r->depth > max_depth)
            return false;
    } while (r->depth > base);
    return true;
}

/* A text into a fixed place; longer ones keep their length, so that checks refuse them. */
static Text keep_text(Text t, char *bytes, size_t max)
{
    size_t n = t.len < max ? t.len : max;
    if (n)
        memcpy(bytes, t.ptr, n);
    bytes[n] = '\0';
    return (Text){bytes, t.len > max ? max + 1 : t.len};
}

static bool read_options(JsonReader *r, Frame *f, uint32_t max_depth)
{
    JsonTok tok = json_next(r);
    if (tok == JSON_NULL)
        return true;
    if (tok != JSON_MAP_BEGIN)
        return false;
    while ((tok = json_next(r)) == JSON_KEY) {
        bool channel = text_eq(r->text, TEXT("channel"));
        bool socket = text_eq(r->text, TEXT("socketId"));
        if (channel || socket) {
            tok = json_next(r);
            if (tok == JSON_TEXT && channel)
                f->channel = keep_text(r->text, f->channel_bytes, CHANNEL_NAME_MAX);
            else if (tok == JSON_TEXT)
                f->socket_id = keep_text(r->text, f->socket_bytes, SOCKET_ID_LEN);
            else if (tok != JSON_NULL)
                return false;
        } else if (text_eq(r->text, TEXT("authenticated"))) {
            tok = json_next(r);
            f->authenticated = tok == JSON_TRUE;
            if (tok != JSON_TRUE && tok != JSON_FALSE && tok != JSON_NULL)
                return false;
        } else if (!skip_value(r, max_depth)) {
            return false;
        }
    }
    return tok == JSON_MAP_END;
}

static Action action_of(Text t)
{
    return text_eq(t, TEXT("message"))   ? ACT_MESSAGE
           : text_eq(t, TEXT("join"))    ? ACT_JOIN
           : text_eq(t, TEXT("leave"))   ? ACT_LEAVE
           : text_eq(t, TEXT("history")) ? ACT_HISTORY
           : text_eq(t, TEXT("ping"))    ? ACT_PING
           : text_eq(t, TEXT("auth"))    ? ACT_AUTH
                                         : ACT_UNKNOWN;
}

static bool read_member(JsonReader *r, Frame *f, bool *has_action, uint32_t max_depth)
{
    if (text_eq(r->text, TEXT("action"))) {
        if (json_next(r) != JSON_TEXT)
            return false;
        f->action = action_of(r->text);
        *has_action = true;
        return true;
    }
    if (text_eq(r->text, TEXT("options")))
        return read_options(r, f, max_depth);
    if (text_eq(r->text, TEXT("payload")))
        return read_payload(r, f, max_depth);
    if (!text_eq(r->text, TEXT("ref")))
        return skip_value(r, max_depth);
    JsonTok tok = json_next(r);
    if (tok == JSON_TEXT)
        f->ref = text_hash(r->text) | 1;
    else if (tok == JSON_INT)
        f->ref = text_hash((Text){(const char *)&r->i, sizeof r->i}) | 1;
    return tok == JSON_TEXT || tok == JSON_INT || tok == JSON_DEC || tok == JSON_NULL ||
           tok == JSON_TRUE || tok == JSON_FALSE;
}

static bool read_frame(Frame *f, Text data, uint32_t max_depth)
{
    JsonReader r;
    bool ok = false, has_action = false;
    json_reader_init(&r, data);
    if (json_next(&r) == JSON_MAP_BEGIN) {
        JsonTok tok = json_next(&r);
        while (tok == JSON_KEY && read_member(&r, f, &has_action, max_depth))
            tok = json_next(&r);
        ok = tok == JSON_MAP_END && json_next(&r) == JSON_END && has_action;
    }
    json_reader_deinit(&r);
    return ok;
}

/* The frame borrows the shard's scratch buffer for its payload, so that a message allocates nothing
 * here. */
static void frame_init(Frame *f, xs_shard *s)
{
    memset(f, 0, sizeof *f);
    f->payload = s->scratch;
    s->scratch = BUF_INIT;
    f->payload.len = 0;
    f->payload.failed = false;
}

static void frame_deinit(Frame *f, xs_shard *s)
{
    if (s->scratch.ptr || f->payload.cap > KEEP_SCRATCH)
        buf_deinit(&f->payload);
    else
        s->scratch = f->payload;
}

static Text payload_of(const Frame *f)
{
    return f->payload.len ? buf_view(&f->payload) : TEXT("null");
}

static Text span_text(const Frame *f, Span s)
{
    return text_slice(buf_view(&f->payload), s.from, s.to);
}

static const char *command_of(Action a)
{
    static const char *const names[] = {"join", "leave", "message", "history", "ping", "auth", ""};
    return names[a];
}

/* ---- answers ---- */

static void answer_error(xs_conn *c, D1Error code, Text channel, Text command, Text message)
{
    atomic_fetch_add_explicit(&c->shard->hub->refused, 1, memory_order_relaxed);
    if (c->space->server) {
        conn_deliver(
            c, l2_error(channel, message.len ? message : d1_error_text(code), (Text){0}, 0, 0));
        return;
    }
    conn_deliver(c, d1_error(code, channel, command, message, code == D1_RATE_LIMITED));
}

static void refuse(xs_conn *c, const Frame *f, D1Error code)
{
    answer_error(c, code, f->channel, text_from(command_of(f->action)), (Text){0});
}

/* ---- the line of one (connection, channel) ---- */

Sub *sub_find(const xs_conn *c, Text name)
{
    for (size_t i = 0; i < c->subs.len; i++) {
        if (text_eq(c->subs.ptr[i]->name, name))
            return c->subs.ptr[i];
    }
    return NULL;
}

void sub_count(Sub *sub, bool by_frame)
{
    sub->by_frame = by_frame;
    sub->conn->njoined++;
    sub->conn->nby_frame += by_frame;
}

void sub_uncount(Sub *sub)
{
    sub->conn->njoined--;
    sub->conn->nby_frame -= sub->by_frame;
}

static Sub *make_sub(xs_conn *c, Text name)
{
    Sub *sub = mem_zalloc(1, sizeof *sub + name.len);
    if (!sub)
        return NULL;
    memcpy(sub + 1, name.ptr, name.len);
    sub->name = (Text){(const char *)(sub + 1), name.len};
    sub->conn = c;
    sub->queue_end = &sub->queue;
    sub->member = (Member){.shard = c->shard,
                           .socket_id = text_from(c->socket_id),
                           .client = c->client,
                           .authenticated = c->identity->authenticated};
    if (!VEC_PUSH(&c->subs, sub)) {
        mem_free(sub);
        return NULL;
    }
    return sub;
}

/* Gone when it has neither a membership nor anything to do. */
static void release_sub(Sub *sub)
{
    xs_conn *c = sub->conn;
    if (sub->joined || sub->busy || sub->running || sub->queue)
        return;
    for (size_t i = 0; i < c->subs.len; i++) {
        if (c->subs.ptr[i] == sub) {
            c->subs.ptr[i] = c->subs.ptr[--c->subs.len];
            break;
        }
    }
    mem_free(sub);
}

Pending *line_pop(Sub *sub)
{
    Pending *p = sub->queue;
    sub->queue = p->next;
    if (!sub->queue)
        sub->queue_end = &sub->queue;
    sub->conn->fifo_frames--;
    sub->conn->fifo_bytes -= p->len;
    return p;
}

bool line_full(const xs_conn *c, unsigned share)
{
    const HubOptions *opt = &c->shard->hub->opt;
    return c->fifo_frames >= opt->fifo_frames / share || c->fifo_bytes >= opt->fifo_bytes / share;
}

void line_push(Sub *sub, Text data)
{
    xs_conn *c = sub->conn;
    Pending *p = mem_alloc(sizeof *p + data.len + 1);
    if (!p) {
        conn_close(c, 1011, "out of memory");
        return;
    }
    p->next = NULL;
    p->len = data.len;
    memcpy(p->bytes, data.ptr, data.len);
    *sub->queue_end = p;
    sub->queue_end = &p->next;
    c->fifo_frames++;
    c->fifo_bytes += data.len;
}

void line_resume(xs_conn *c)
{
    xs_shard *s = c->shard;
    if (!c->stopped || line_full(c, 2) || c->gone)
        return;
    c->stopped = false;
    if (XS_HAS(s->ops, resume))
        s->ops->resume(s->state, c->peer);
}

static void execute(xs_conn *c, Frame *f);

/* The trigger is done: the frames that waited for it. */
static void run_queue(Sub *sub)
{
    xs_conn *c = sub->conn;
    xs_shard *s = c->shard;
    sub->running = true;
    while (sub->queue && !sub->busy) {
        Pending *p = line_pop(sub);
        Frame f;
        frame_init(&f, s);
        if (!c->closing && !c->gone &&
            read_frame(&f, (Text){p->bytes, p->len}, s->hub->opt.max_depth))
            execute(c, &f);
        frame_deinit(&f, s);
        mem_free(p);
    }
    sub->running = false;
    line_resume(c);
    release_sub(sub);
}

/* ---- triggers ---- */

static Job *job_new(xs_conn *c, HubAction action, Text channel, const Frame *f)
{
    Job *job = mem_zalloc(1, sizeof *job);
    if (!job)
        return NULL;
    Text payload = f ? payload_of(f) : TEXT("null");
    size_t at = 0;
    buf_reserve(&job->texts, channel.len + payload.len + SOCKET_ID_LEN + 1);
    buf_text(&job->texts, channel);
    buf_text(&job->texts, payload);
    buf_cstr(&job->texts, c->socket_id);
    if (job->texts.failed) {
        buf_deinit(&job->texts);
        mem_free(job);
        return NULL;
    }
    Text all = buf_view(&job->texts);
    HubJob *pub = &job->pub;
    pub->request = visit_open(c->visit, c->space, c->identity);
    if (!pub->request) {
        buf_deinit(&job->texts);
        mem_free(job);
        return NULL;
    }
    pub->action = action;
    pub->space = c->space;
    pub->channel = text_slice(all, at, at + channel.len);
    at += channel.len;
    pub->payload = pub->data = text_slice(all, at, at + payload.len);
    at += payload.len;
    pub->socket_id = text_slice(all, at, all.len);
    pub->identity = identity_ref(c->identity);
    pub->active_config = c->shard->hub->patterns->configs != NULL;
    job->shard = shard_ref(c->shard);
    job->link.handle = protocol_job_result;
    return job;
}

static void job_free(Job *job)
{
    identity_unref(job->pub.identity);
    request_unref(job->pub.request);
    shard_unref(job->shard);
    buf_deinit(&job->texts);
    mem_free((void *)(uintptr_t)job->pub.event.ptr);
    mem_free(job->text);
    mem_free(job);
}

static bool wants(const xs_conn *c, HubAction action, Text channel, Text event)
{
    const Hub *h = c->shard->hub;
    return h->has_dispatcher && h->dispatcher.wants(h->dispatcher.ctx, action, channel, event);
}

/* The sub waits for the job's result. */
static void await(Job *job, Sub *sub)
{
    job->conn = sub->conn;
    job->sub = sub;
    sub->busy = true;
    atomic_fetch_add(&sub->conn->njobs, 1);
}

/* Off to a worker; the sub waits. false: overload or memory, the job is freed. */
static bool start_job(Job *job, Sub *sub)
{
    const Hub *h = job->shard->hub;
    if (sub)
        await(job, sub);
    if (h->dispatcher.run(h->dispatcher.ctx, &job->pub))
        return true;
    if (sub) {
        sub->busy = false;
        atomic_fetch_sub(&sub->conn->njobs, 1);
    }
    job_free(job);
    return false;
}

void hub_job_done(HubJob *pub, HubVerdict verdict, Text text)
{
    Job *job = (Job *)pub;
    if (!job->conn) {
        job_free(job);
        return;
    }
    job->verdict = verdict;
    if (text.ptr) {
        job->text = mem_strndup(text.ptr, text.len);
        job->text_len = text.len;
        job->failed = !job->text;
    }
    if (mailbox_push_link(&job->shard->box, &job->link))
        return;
    conn_job_ended(job->conn); /* the shard was freed meanwhile */
    job_free(job);
}

/* Observers of a leave. sub NULL: nobody waits for them. */
static void tell_leave(xs_conn *c, Text channel, Sub *sub)
{
    if (!wants(c, HUB_LEAVE, channel, (Text){0}))
        return;
    Job *job = job_new(c, HUB_LEAVE, channel, NULL);
    if (job)
        (void)start_job(job, sub); /* an overloaded server skips observers */
}

/* ---- join ---- */

static int by_seq(const void *a, const void *b)
{
    uint64_t x = (*(Event *const *)a)->frame.seq, y = (*(Event *const *)b)->frame.seq;
    return x < y ? -1 : x > y;
}

static void announce_gaps(xs_conn *c)
{
    static const char *const reasons[] = {"epoch", "future", "evicted", "limit"};
    for (size_t r = 0; r < COUNT_OF(reasons); r++) {
        Buf names = BUF_INIT;
        for (size_t i = 0; i < c->gaps.len; i++) {
            if (strcmp(c->gaps.ptr[i].reason, reasons[r]) != 0)
                continue;
            if (names.len)
                buf_char(&names, ',');
            json_write_text(&names, c->gaps.ptr[i].channel);
        }
        if (names.len || names.failed)
            conn_deliver(c,
                         names.failed ? NULL : d1_resync(buf_view(&names), text_from(reasons[r])));
        buf_deinit(&names);
    }
    for (size_t i = 0; i < c->gaps.len; i++)
        mem_free((void *)(uintptr_t)c->gaps.ptr[i].channel.ptr);
    VEC_DEINIT(&c->gaps);
}

static void add_gap(xs_conn *c, Text channel, const char *reason)
{
    char *copy = mem_strndup(channel.ptr, channel.len);
    if (!copy || !VEC_PUSH(&c->gaps, ((Gap){{copy, channel.len}, reason}))) {
        mem_free(copy);
        conn_close(c, 1011, "out of memory");
    }
}

/* What this channel missed, behind what the others did; the space's lock is held. */
static void recover(Sub *sub, EventVec *missed)
{
    xs_conn *c = sub->conn;
    Hub *h = c->shard->hub;
    Position pos = {.given = true, .epoch = c->space->epoch, .seq = sub->from_seq};
    size_t before = missed->len, kept = before;
    const char *reason = channel_recover(c->space, sub->ch, sub->replays ? c->resume : pos, missed);
    if (!reason && missed->len > MAX_REPLAY)
        reason = "limit";
    for (size_t i = before; i < missed->len; i++) {
        Event *ev = missed->ptr[i];
        if (!reason && conn_may_see(c, ev) && !(c->l2 && l2_took(sub, ev)))
            missed->ptr[kept++] = ev;
        else
            frame_unref(&ev->frame);
    }
    missed->len = kept;
    if (reason)
        add_gap(c, sub->name, reason);
    if (sub->replays)
        atomic_fetch_add_explicit(reason ? &h->gaps : &h->resumed, 1, memory_order_relaxed);
}

/* Numbered events wait from here on, in the rings; seq is the last one that was offered. */
static void hold(xs_conn *c, uint64_t seq)
{
    c->holding = true;
    c->hold_seq = seq;
    for (size_t i = 0; i < c->subs.len; i++) {
        Sub *sub = c->subs.ptr[i];
        if (!sub->local)
            continue;
        if (sub->replays || sub->from_seq < seq) /* else it joined later than that was posted */
            sub->from_seq = seq;
        sub->local->slots[sub->index].flags |= SLOT_HOLD;
    }
}

void protocol_pause(xs_conn *c, uint64_t seq)
{
    if (c->holding || c->closing || c->gone)
        return;
    hold(c, seq);
    c->paused = true;
    atomic_fetch_add_explicit(&c->shard->hub->slow_paused, 1, memory_order_relaxed);
}

xs_frame *protocol_hole(xs_conn *c, uint64_t channel)
{
    for (size_t i = 0; i < c->subs.len; i++) {
        const Sub *sub = c->subs.ptr[i];
        if (!sub->local || sub->ch->number != channel)
            continue;
        Buf name = BUF_INIT;
        json_write_text(&name, sub->name);
        Event *ev = name.failed ? NULL : d1_resync(buf_view(&name), TEXT("slow"));
        buf_deinit(&name);
        if (!ev) {
            conn_close(c, 1011, "out of memory");
            return NULL;
        }
        ev->frame.channel = channel;
        return &ev->frame;
    }
    return NULL; /* it has left: what it does not hear there is no loss */
}

/* What was missed in all joined channels up to one moment, in one ascending line; a position within
 * it is good for every channel. Numbered events that were posted before that moment and are still
 * under way come too late. A client that gets slow again meanwhile waits where it is. */
static void catch_up(xs_conn *c)
{
    EventVec missed = {0};
    c->holding = c->paused = false;
    space_lock(c->space);
    for (size_t i = 0; i < c->subs.len; i++) {
        Sub *sub = c->subs.ptr[i];
        if (sub->local)
            recover(sub, &missed);
    }
    c->caught_up_seq = c->space->seq;
    space_unlock(c->space);
    announce_gaps(c);
    if (missed.len)
        qsort(missed.ptr, missed.len, sizeof *missed.ptr, by_seq);
    for (size_t i = 0; i < missed.len && !c->paused; i++) {
        frame_ref(&missed.ptr[i]->frame);
        conn_deliver(c, missed.ptr[i]);
    }
    event_vec_deinit(&missed);
    for (size_t i = 0; i < c->subs.len && !c->paused; i++)
        c->subs.ptr[i]->from_seq = c->caught_up_seq;
    if (c->l2)
        l2_go_on(c);
}

void protocol_unpause(xs_conn *c)
{
    for (size_t i = 0; i < c->subs.len; i++)
        c->subs.ptr[i]->replays = false; /* from where it was held, not from where it resumed */
    catch_up(c);
}

/* One listed channel is joined or refused. After the last it gets what it has missed. */
void protocol_listed_done(xs_conn *c)
{
    if (--c->listed_pending == 0 && c->holding)
        catch_up(c);
}

static void join_ended(Sub *sub)
{
    if (sub->listed) {
        sub->listed = false;
        protocol_listed_done(sub->conn);
    }
}

static void refuse_join(Sub *sub, D1Error code, Text message)
{
    xs_conn *c = sub->conn;
    sub_uncount(sub);
    answer_error(c, code, sub->name, TEXT("join"), message);
    join_ended(sub);
}

/* Entries joined by commas, oldest first; the newest megabyte when there is more. */
static void write_history(const EventVec *v, Buf *out, bool *truncated)
{
    size_t from = v->len, bytes = 0;
    while (from > 0 && bytes + v->ptr[from - 1]->frame.json.len <= MAX_HISTORY_BYTES)
        bytes += v->ptr[--from]->frame.json.len;
    *truncated = from > 0;
    buf_reserve(out, bytes + (v->len - from) * 40);
    for (size_t i = from; i < v->len; i++) {
        if (i > from)
            buf_char(out, ',');
        d1_history_item(out, v->ptr[i]);
    }
}

/* What a join answers with, gathered under the lock. */
typedef struct JoinFacts {
    EventVec history;
    Buf members;
    bool members_cut, failed;
} JoinFacts;

static void gather(Sub *sub, Channel *ch, JoinFacts *facts)
{
    bool auth = sub->member.authenticated;
    if (sub->wants_history && ch->config->history &&
        !channel_history(ch, auth, (Text){0}, &facts->history))
        facts->failed = true;
    if (sub->wants_presence && ch->config->presence)
        roster_write(&ch->roster, sub->member.socket_id, &facts->members, &facts->members_cut);
}

static void answer_join(Sub *sub, JoinFacts *facts)
{
    xs_conn *c = sub->conn;
    Buf history = BUF_INIT;
    bool cut = false;
    write_history(&facts->history, &history, &cut);
    bool ok = !history.failed && !facts->members.failed && !facts->failed;
    conn_deliver(c, ok ? d1_join(c->client, sub->name, buf_view(&history), cut) : NULL);
    if (ok && sub->wants_presence && sub->ch->config->presence)
        conn_deliver(c, d1_presence_full(sub->name, buf_view(&facts->members), facts->members_cut));
    buf_deinit(&history);
    buf_deinit(&facts->members);
    event_vec_deinit(&facts->history);
}

ShardChannel *local_new(xs_conn *c)
{
    ShardChannel *local = mem_zalloc(1, sizeof *local);
    if (local && !local_reserve(local)) {
        mem_free(local);
        return NULL;
    }
    if (local)
        local->view = c->view;
    return local;
}

/* Member, order and everything the answer shows, in one critical section. false: out of memory. */
static bool enter_channel(Sub *sub, const ChannelConfig *config, JoinFacts *facts)
{
    xs_conn *c = sub->conn;
    ShardChannel *fresh = local_new(c), *local;
    if (!fresh)
        return false;
    space_lock(c->space);
    /* Again, under the lock: declarations are replaced before live channels get theirs. */
    const ChannelConfig *now = patterns_resolve(c->shard->hub->patterns, sub->name);
    config = now ? now : config;
    Channel *ch = space_channel(c->space, sub->name, config);
    local = ch ? channel_local(ch, c->shard) : NULL;
    if (!local)
        local = fresh;
    sub->member.watches = sub->wants_presence && config->presence;
    /* First the roster: whoever it tells was here before. */
    bool known = config->presence || (ch && ch->mirror && config->private_active);
    bool listed = known && !c->away;
    bool ok = ch && local_reserve(local) &&
              (!listed || roster_join(ch, sub->member.socket_id, c->client, clock_mono_ms()));
    if (ok && !channel_add_member(ch, &sub->member, &c->shard->box, local)) {
        ok = false;
        if (listed)
            roster_leave(ch, sub->member.socket_id, 0, clock_mono_ms());
    }
    if (ok) {
        local->ch = sub->ch = ch;
        gather(sub, ch, facts);
        sub->from_seq = c->space->seq;
        sub->replays = c->holding && sub->listed;
        local_add(local, sub, c->space->order);
    }
    if (ch)
        channel_settle(ch);
    space_unlock(c->space);
    if (!ok || local != fresh)
        local_retire(fresh); /* not used */
    return ok;
}

static void mirror_waited(MirrorWait *w, bool ok)
{
    Job *job = (Job *)(void *)((char *)w - offsetof(Job, wait));
    Text why = ok ? (Text){0} : TEXT("The channel cannot be reached at the moment.");
    hub_job_done(&job->pub, ok ? HUB_ADMIT : HUB_REFUSE, why);
}

/* With a backplane: the channel's ring and roster come from there first. false: the join goes on
 * when they are here. */
static bool has_mirror(Sub *sub, const ChannelConfig *config, bool triggered, bool waited)
{
    xs_conn *c = sub->conn;
    bool resumes = c->resume.given && c->resume.epoch == c->space->epoch && !waited;
    space_lock(c->space);
    Channel *ch = space_channel(c->space, sub->name, config);
    bool current = ch && mirror_use(ch, resumes ? c->resume.seq : 0);
    bool ready = current && !triggered; /* what the trigger published comes before the join */
    Job *job = ch && !ready ? job_new(c, HUB_JOIN, sub->name, NULL) : NULL;
    if (job) {
        await(job, sub);
        job->mirror = true;
        job->wait.done = mirror_waited;
        if (current)
            mirror_barrier(ch, &job->wait);
        mirror_queue(ch, &job->wait);
    }
    if (ch)
        channel_settle(ch);
    space_unlock(c->space);
    if (!ready && !job)
        refuse_join(sub, D1_INTERNAL, (Text){0});
    return ready;
}

/* triggered: by triggers, just now. waited: for the mirror; there is no more than it has. */
static void finish_join(Sub *sub, bool triggered, bool waited)
{
    xs_conn *c = sub->conn;
    const ChannelConfig *config = patterns_resolve(c->shard->hub->patterns, sub->name);
    if (config && c->shard->hub->plane.ops && !has_mirror(sub, config, triggered, waited))
        return;
    JoinFacts facts = {.members = BUF_INIT};
    if (!config || !enter_channel(sub, config, &facts)) {
        refuse_join(sub, config ? D1_INTERNAL : D1_CHANNEL_UNKNOWN, (Text){0});
        return;
    }
    sub->joined = true;
    atomic_fetch_add_explicit(&c->shard->hub->subscriptions, 1, memory_order_relaxed);
    answer_join(sub, &facts);
    join_ended(sub);
}

/* Joins may be repeated: new flags and a new answer, no trigger, no announcement. */
static void join_again(Sub *sub, const Frame *f)
{
    xs_conn *c = sub->conn;
    JoinFacts facts = {.members = BUF_INIT};
    sub->wants_history = f->history;
    sub->wants_presence = f->presence;
    space_lock(c->space);
    channel_set_watching(sub->ch, &sub->member, f->presence && sub->ch->config->presence);
    gather(sub, sub->ch, &facts);
    Slot *slot = &sub->local->slots[sub->index];
    slot->flags =
        (slot->flags & ~(uint32_t)SLOT_PRESENCE) | (sub->member.watches ? SLOT_PRESENCE : 0u);
    sub->presence_from = c->space->order; /* changes on their way are in this snapshot */
    space_unlock(c->space);
    answer_join(sub, &facts);
    if (f->listed)
        protocol_listed_done(c);
}

static void refuse_frame_join(xs_conn *c, const Frame *f, D1Error code)
{
    refuse(c, f, code);
    if (f->listed)
        protocol_listed_done(c);
}

static void do_join(xs_conn *c, Frame *f)
{
    Hub *h = c->shard->hub;
    Sub *sub = sub_find(c, f->channel);
    if (sub && sub->joined) {
        join_again(sub, f);
        return;
    }
    const ChannelConfig *config = patterns_resolve(h->patterns, f->channel);
    if (!config || !channel_tenant_ok(f->channel, c->space->tenant)) {
        refuse_frame_join(c, f, D1_CHANNEL_UNKNOWN);
        return;
    }
    if (config->closed || (!c->identity->authenticated && !config->anonymous_clients)) {
        refuse_frame_join(c, f, config->closed ? D1_JOIN_DENIED : D1_ANONYMOUS_JOIN);
        return;
    }
    if (c->njoined >= h->opt.channels_per_conn) {
        refuse_frame_join(c, f, D1_CHANNEL_LIMIT);
        return;
    }
    if (!sub && !(sub = make_sub(c, f->channel))) {
        refuse_frame_join(c, f, D1_INTERNAL);
        return;
    }
    sub->wants_history = f->history;
    sub->wants_presence = f->presence;
    sub->listed = f->listed;
    sub_count(sub, !f->listed);
    if (!wants(c, HUB_JOIN, f->channel, (Text){0})) {
        finish_join(sub, false, false);
    } else {
        Job *job = job_new(c, HUB_JOIN, f->channel, f);
        D1Error why = job ? D1_RATE_LIMITED : D1_INTERNAL;
        if (!job || !start_job(job, sub))
            refuse_join(sub, why, (Text){0});
    }
    release_sub(sub);
}

/* ---- leave ---- */

static void leave_channel(Sub *sub, uint32_t grace_ms)
{
    xs_conn *c = sub->conn;
    Channel *ch = sub->ch;
    ShardChannel *local = sub->local;
    local_remove(sub);
    space_lock(c->space);
    bool last = channel_drop_member(ch, &sub->member);
    roster_leave(ch, sub->member.socket_id, grace_ms, clock_mono_ms());
    channel_settle(ch);
    space_unlock(c->space);
    if (last)
        local_retire(local);
    sub->joined = false;
    sub->ch = NULL;
    sub_uncount(sub);
    atomic_fetch_sub_explicit(&c->shard->hub->subscriptions, 1, memory_order_relaxed);
}

static void do_leave(xs_conn *c, Frame *f)
{
    Sub *sub = sub_find(c, f->channel);
    bool joined = sub && sub->joined;
    if (joined)
        leave_channel(sub, 0);
    conn_deliver(c, d1_leave(f->channel));
    if (joined) {
        tell_leave(c, f->channel, sub);
        release_sub(sub);
    }
}

void protocol_expel(xs_conn *c, Text channel)
{
    Sub *sub = sub_find(c, channel);
    if (!sub || !sub->joined)
        return;
    if (c->space->server) {
        l2_expel(c, channel);
        return;
    }
    answer_error(c, D1_JOIN_DENIED, channel, TEXT("join"), (Text){0});
    leave_channel(sub, 0);
    conn_deliver(c, d1_leave(channel));
    tell_leave(c, channel, sub->busy ? NULL : sub);
    release_sub(sub);
}

void protocol_recheck(xs_conn *c)
{
    for (size_t i = c->subs.len; i-- > 0;) {
        Sub *sub = c->subs.ptr[i];
        if (!sub->joined)
            continue;
        const ChannelConfig *config = sub->ch->config;
        if (config->active && !config->closed &&
            (c->identity->authenticated || config->anonymous_clients))
            continue;
        char name[CHANNEL_NAME_MAX];
        Text copy = {name, sub->name.len};
        memcpy(name, sub->name.ptr, sub->name.len); /* the sub may go */
        protocol_expel(c, copy);
    }
}

/* Whoever was sent away, or said so, does not come back as the same. */
static uint32_t grace_of(const xs_conn *c)
{
    return c->closing && c->close_code != 1013 ? 0 : c->shard->limits->presence_grace_ms;
}

void protocol_away(xs_conn *c)
{
    if (c->space->server) {
        l2_away(c);
        return;
    }
    space_lock(c->space);
    for (size_t i = 0; i < c->subs.len; i++) {
        Sub *sub = c->subs.ptr[i];
        if (!sub->joined || !sub->ch->config->presence)
            continue;
        if (c->away)
            roster_leave(sub->ch, sub->member.socket_id, 0, clock_mono_ms());
        else if (!roster_join(sub->ch, sub->member.socket_id, c->client, clock_mono_ms()))
            conn_close(c, 1011, "out of memory");
    }
    space_unlock(c->space);
}

bool protocol_leave_all(xs_conn *c)
{
    uint32_t grace_ms = grace_of(c);
    bool present = false;
    if (c->space->server)
        return l2_gone(c, grace_ms);
    for (size_t i = c->subs.len; i-- > 0;) {
        Sub *sub = c->subs.ptr[i];
        bool joined = sub->joined;
        while (sub->queue)
            mem_free(line_pop(sub));
        present = present || (joined && grace_ms && sub->ch->config->presence);
        if (joined)
            leave_channel(sub, grace_ms);
        if (joined && sub->busy)
            sub->leave_after = true;
        else if (joined)
            tell_leave(c, sub->name, NULL);
        sub->running = false;
        release_sub(sub);
    }
    return present;
}

/* ---- messages ---- */

static D1Error relay_public(Sub *sub, bool authenticated, Text payload)
{
    xs_conn *c = sub->conn;
    D1Message m = {.client = c->client,
                   .channel = sub->name,
                   .payload = payload,
                   .sender = text_from(c->socket_id),
                   .authenticated = authenticated || sub->ch->config->auth_channel};
    Hub *h = c->shard->hub;
    Event *ev = d1_message(&m);
    if (!ev)
        return D1_INTERNAL;
    bool ok;
    if (h->plane.ops) {
        ok = plane_publish(h, c->space, sub->name, sub->ch->config, ev, NULL);
    } else {
        space_lock(c->space);
        ok = channel_store(sub->ch, ev);
        if (ok)
            channel_post(sub->ch, ev);
        space_unlock(c->space);
    }
    frame_unref(&ev->frame);
    if (!ok)
        return D1_INTERNAL;
    atomic_fetch_add_explicit(&h->published, 1, memory_order_relaxed);
    return D1_ERROR_COUNT;
}

/* To one socket of the same channel, whichever shard it is on. */
static D1Error relay_private(Sub *sub, Text target, Text payload)
{
    xs_conn *c = sub->conn;
    D1Message m = {.client = c->client,
                   .channel = sub->name,
                   .payload = payload,
                   .sender = text_from(c->socket_id),
                   .target = target};
    D1Error result = D1_ERROR_COUNT;
    Event *ev = d1_message(&m);
    if (!ev)
        return D1_INTERNAL;
    space_lock(c->space);
    Member *to = channel_member(sub->ch, target);
    const Present *far = to ? NULL : roster_remote(&sub->ch->roster, target);
    if (far && sub->ch->config->private_auth && !d1_client_authenticated(far->member))
        result = D1_PRIVATE_AUTH;
    else if (far && !plane_publish(c->shard->hub, c->space, sub->name, sub->ch->config, ev, NULL))
        result = D1_INTERNAL;
    else if (far)
        result = D1_ERROR_COUNT;
    else if (!to)
        result = D1_PRIVATE_GONE;
    else if (sub->ch->config->private_auth && !to->authenticated)
        result = D1_PRIVATE_AUTH;
    else if (!mailbox_push(&to->shard->box,
                           (Mail){.kind = MAIL_DIRECT, .frame = frame_ref(&ev->frame)}))
        frame_unref(&ev->frame); /* the receiver's shard cuts its connections */
    space_unlock(c->space);
    frame_unref(&ev->frame);
    return result;
}

static void relay(Sub *sub, bool authenticated, Text target, Text payload)
{
    xs_conn *c = sub->conn;
    D1Error failure;
    if (payload.len > c->shard->hub->opt.max_event)
        failure = D1_TOO_LARGE;
    else if (target.len)
        failure = relay_private(sub, target, payload);
    else
        failure = relay_public(sub, authenticated, payload);
    if (failure != D1_ERROR_COUNT)
        answer_error(c, failure, sub->name, TEXT("message"), (Text){0});
}

/* The channel's rules for a client that wants to speak; D1_ERROR_COUNT = allowed. */
static D1Error may_send(const Sub *sub, const Frame *f)
{
    const ChannelConfig *config = sub->ch->config;
    bool auth = sub->conn->identity->authenticated;
    if (config->implicit)
        return D1_ERROR_COUNT; /* a trigger decides; without one nothing is relayed */
    if (f->socket_id.len) {
        if (!config->private_active)
            return D1_PRIVATE_DISABLED;
        return config->private_auth && !auth ? D1_PRIVATE_AUTH : D1_ERROR_COUNT;
    }
    if (!config->public_active)
        return D1_PUBLIC_DISABLED;
    return config->public_auth && !auth ? D1_PUBLIC_AUTH : D1_ERROR_COUNT;
}

/* The event name of {"event":…,"data":…}; owned by the job. false when out of memory. */
static bool name_event(Job *job, const Frame *f)
{
    JsonReader r;
    json_reader_init(&r, span_text(f, f->event));
    char *copy = json_next(&r) == JSON_TEXT ? mem_strndup(r.text.ptr, r.text.len) : NULL;
    if (copy)
        job->pub.event = (Text){copy, r.text.len};
    json_reader_deinit(&r);
    if (f->data.found)
        job->pub.data = text_slice(job->pub.payload, f->data.from, f->data.to);
    else
        job->pub.data = TEXT("{}");
    return copy != NULL;
}

/* Triggers that look at this message: true when they take over (or the sender was told why not). */
static bool hand_to_triggers(Sub *sub, Frame *f)
{
    xs_conn *c = sub->conn;
    if (!c->shard->hub->has_dispatcher)
        return false;
    Job *job = job_new(c, HUB_MESSAGE, sub->name, f);
    if (!job || (f->event.found && !name_event(job, f))) {
        if (job)
            job_free(job);
        refuse(c, f, D1_INTERNAL);
        return true;
    }
    job->pub.authenticated = f->authenticated;
    event_set_socket(job->target, f->socket_id);
    if (!wants(c, HUB_MESSAGE, sub->name, job->pub.event)) {
        job_free(job);
        return false;
    }
    if (!start_job(job, sub))
        refuse(c, f, D1_RATE_LIMITED);
    return true;
}

/* One small message can reach a hundred thousand sockets: what clients say in a channel is bounded.
 */
static bool within_channel_rate(Sub *sub)
{
    Hub *h = sub->conn->shard->hub;
    if (!h->opt.publish_per_s_channel)
        return true;
    space_lock(sub->conn->space);
    bool ok = channel_may_say(sub->ch, h->opt.publish_per_s_channel, clock_mono_ms());
    space_unlock(sub->conn->space);
    if (!ok)
        atomic_fetch_add_explicit(&h->channel_limited, 1, memory_order_relaxed);
    return ok;
}

static void do_message(xs_conn *c, Frame *f)
{
    Sub *sub = sub_find(c, f->channel);
    if (!sub || !sub->joined) {
        refuse(c, f, D1_NOT_JOINED);
        return;
    }
    D1Error denied = may_send(sub, f);
    if (denied == D1_ERROR_COUNT && f->socket_id.len && f->socket_id.len != SOCKET_ID_LEN)
        denied = D1_PRIVATE_GONE;
    if (denied == D1_ERROR_COUNT && !within_channel_rate(sub))
        denied = D1_RATE_LIMITED;
    if (denied != D1_ERROR_COUNT)
        refuse(c, f, denied);
    else if (hand_to_triggers(sub, f))
        return;
    else if (sub->ch->config->implicit)
        refuse(c, f, f->socket_id.len ? D1_PRIVATE_DISABLED : D1_PUBLIC_DISABLED);
    else
        relay(sub, f->authenticated, f->socket_id, payload_of(f));
}

static void do_history(xs_conn *c, Frame *f)
{
    Sub *sub = sub_find(c, f->channel);
    if (!sub || !sub->joined || sub->ch->config->history == 0) {
        refuse(c, f, sub && sub->joined ? D1_HISTORY_DISABLED : D1_NOT_JOINED);
        return;
    }
    EventVec entries = {0};
    Buf out = BUF_INIT;
    bool cut = false;
    space_lock(c->space);
    bool ok = channel_history(sub->ch, c->identity->authenticated, f->socket_id, &entries);
    space_unlock(c->space);
    if (ok)
        write_history(&entries, &out, &cut);
    conn_deliver(c, ok && !out.failed ? d1_history(f->channel, buf_view(&out), cut) : NULL);
    buf_deinit(&out);
    event_vec_deinit(&entries);
}

/* ---- verdicts ---- */

/* A trigger's answer, for the sender alone: a message frame that nobody else gets or keeps. */
static void reply_to_sender(Sub *sub, Text payload)
{
    xs_conn *c = sub->conn;
    Text self = text_from(c->socket_id);
    conn_deliver(c, d1_message(&(D1Message){.client = c->client,
                                            .channel = sub->name,
                                            .payload = payload,
                                            .sender = self,
                                            .target = self}));
}

static void message_verdict(Job *job, Sub *sub)
{
    Text text = {job->text, job->text_len};
    if (!sub->joined || job->verdict == HUB_CONSUMED)
        return;
    if (job->failed || job->verdict == HUB_REFUSE) {
        answer_error(sub->conn, job->failed ? D1_INTERNAL : D1_MESSAGE_REJECTED, sub->name,
                     TEXT("message"), text);
    } else if (job->verdict == HUB_REPLY) {
        relay(sub, job->pub.authenticated, text_from(job->target), job->pub.payload);
        if (text.ptr)
            reply_to_sender(sub, text);
    } else {
        relay(sub, job->pub.authenticated, text_from(job->target),
              text.ptr ? text : job->pub.payload);
    }
}

void protocol_job_result(MailLink *link)
{
    Job *job = (Job *)(void *)((char *)link - offsetof(Job, link));
    xs_conn *c = job->conn;
    Sub *sub = job->sub;
    bool last = atomic_fetch_sub(&c->njobs, 1) == 1;
    sub->busy = false;
    if (c->gone) {
        if (sub->leave_after)
            tell_leave(c, sub->name, NULL);
        release_sub(sub);
        job_free(job);
        if (last && c->buried)
            conn_free(c);
        return;
    }
    if (job->pub.action == HUB_JOIN) {
        if (job->verdict == HUB_REFUSE)
            refuse_join(sub, D1_JOIN_DENIED, (Text){job->text, job->text_len});
        else
            finish_join(sub, !job->mirror, job->mirror);
    } else if (job->pub.action == HUB_MESSAGE) {
        message_verdict(job, sub);
    }
    job_free(job);
    run_queue(sub);
}

/* ---- arrival ---- */

static void execute(xs_conn *c, Frame *f)
{
    switch (f->action) {
    case ACT_JOIN: do_join(c, f); return;
    case ACT_LEAVE: do_leave(c, f); return;
    case ACT_MESSAGE: do_message(c, f); return;
    case ACT_HISTORY: do_history(c, f); return;
    case ACT_PING:
    case ACT_AUTH:
    case ACT_UNKNOWN: return;
    }
}

static void refill(xs_conn *c)
{
    const HubOptions *opt = &c->shard->hub->opt;
    int64_t now = clock_mono_ms(), elapsed = now - c->refilled_ms;
    if (elapsed > 3600 * 1000)
        elapsed = 3600 * 1000; /* every bucket is full by then */
    c->refilled_ms = now;
    int64_t frames = c->frame_tokens + elapsed * opt->frames_per_s;
    int64_t joins = c->join_tokens + elapsed * opt->joins_per_s;
    int64_t max = (int64_t)opt->frames_burst * 1000, max_joins = (int64_t)opt->joins_burst * 1000;
    c->frame_tokens = frames > max ? max : frames;
    c->join_tokens = joins > max_joins ? max_joins : joins;
}

static bool take_token(int64_t *tokens)
{
    if (*tokens < 1000)
        return false;
    *tokens -= 1000;
    return true;
}

bool protocol_take_frame(xs_conn *c)
{
    refill(c);
    return take_token(&c->frame_tokens);
}

bool protocol_take_join(xs_conn *c)
{
    return take_token(&c->join_tokens);
}

static void punish(xs_conn *c, const Frame *f)
{
    protocol_punish(c, f->channel, text_from(command_of(f->action)));
}

/* Too fast: say so; whoever goes on for seconds is cut. */
void protocol_punish(xs_conn *c, Text channel, Text command)
{
    Hub *h = c->shard->hub;
    int64_t now = c->refilled_ms;
    atomic_fetch_add_explicit(&h->rate_limited, 1, memory_order_relaxed);
    answer_error(c, D1_RATE_LIMITED, channel, command, (Text){0});
    if (c->strikes && now - c->strike_ms < 1000)
        return; /* one burst is one strike */
    if (now - c->strike_ms > STRIKE_MS)
        c->strikes = 0;
    c->strike_ms = now;
    if (++c->strikes >= MAX_STRIKES) {
        atomic_fetch_add_explicit(&h->flooders_cut, 1, memory_order_relaxed);
        conn_close(c, 4429, "too many messages");
    }
}

/* A frame with a ref is done once: a POST that was retried must not say things twice. */
bool protocol_seen_before(xs_conn *c, uint64_t ref)
{
    if (!c->seen_refs)
        c->seen_refs = mem_zalloc(SEEN_REFS, sizeof *c->seen_refs);
    if (!c->seen_refs)
        return false;
    for (size_t i = 0; i < SEEN_REFS; i++) {
        if (c->seen_refs[i] == ref)
            return true;
    }
    c->seen_refs[c->seen_at++ % SEEN_REFS] = ref;
    return false;
}

/* ---- renewing a token ---- */

/* The same identity with a later end; who a connection is never changes. */
bool protocol_renew(xs_conn *c, Text token, int64_t *expires_in_s)
{
    Hub *h = c->shard->hub;
    int64_t expires_ms = 0;
    Identity *who = token.len && token.len <= MAX_TOKEN && h->opt.auth.check
                        ? h->opt.auth.check(h->opt.auth.ctx, c->space, token, &expires_ms)
                        : NULL;
    bool same = who && c->identity->authenticated && identity_same(who, c->identity);
    identity_unref(who);
    if (!same)
        return false;
    clock_set_expiry(c, expires_ms);
    if (!clock_arm(c))
        conn_close(c, 1011, "out of memory");
    atomic_fetch_add_explicit(&h->renewed, 1, memory_order_relaxed);
    *expires_in_s = expires_ms ? (c->expires_ms - clock_mono_ms() + 999) / 1000 : -1;
    return true;
}

static void do_auth(xs_conn *c, Frame *f)
{
    JsonReader r;
    int64_t expires_in_s = -1;
    bool ok = false;
    if (f->token.found) {
        json_reader_init(&r, span_text(f, f->token));
        ok = json_next(&r) == JSON_TEXT && protocol_renew(c, r.text, &expires_in_s);
        json_reader_deinit(&r);
    }
    if (ok)
        conn_deliver(c, d1_auth("renewed", expires_in_s));
    else
        answer_error(c, D1_BAD_TOKEN, (Text){0}, TEXT("auth"), (Text){0});
}

static void accept_frame(xs_conn *c, Frame *f, Text data)
{
    if (f->action == ACT_AUTH) {
        do_auth(c, f);
        return;
    }
    if (f->action == ACT_PING) {
        conn_deliver(c, d1_pong());
        return;
    }
    if (f->action == ACT_UNKNOWN) {
        if (f->channel.len > CHANNEL_NAME_MAX)
            f->channel = (Text){0};
        refuse(c, f, D1_UNKNOWN_ACTION);
        return;
    }
    if (!channel_name_valid(f->channel)) {
        f->channel = (Text){0};
        refuse(c, f, D1_BAD_CHANNEL);
        return;
    }
    if (f->action == ACT_JOIN && !protocol_take_join(c)) {
        punish(c, f);
        return;
    }
    Sub *sub = sub_find(c, f->channel);
    if (sub && (sub->busy || sub->queue))
        line_push(sub, data);
    else
        execute(c, f);
}

xs_frame_result protocol_frame(xs_conn *c, const char *data, size_t len)
{
    if (c->space->server)
        return l2_frame(c, data, len);
    xs_shard *s = c->shard;
    Hub *h = s->hub;
    Text text = {data, len};
    Frame f;
    atomic_fetch_add_explicit(&h->frames_in, 1, memory_order_relaxed);
    frame_init(&f, s);
    f.action = ACT_UNKNOWN;
    if (!protocol_take_frame(c))
        punish(c, &f);
    else if (s->limits && s->limits->max_message && len > s->limits->max_message)
        refuse(c, &f, D1_TOO_LARGE);
    else if (!read_frame(&f, text, h->opt.max_depth))
        answer_error(c, D1_BAD_FRAME, (Text){0}, (Text){0}, (Text){0});
    else if (!f.ref || !protocol_seen_before(c, f.ref))
        accept_frame(c, &f, text);
    frame_deinit(&f, s);
    if (!line_full(c, 1))
        return XS_FRAME_OK;
    c->stopped = true;
    return XS_FRAME_STOP;
}

/* ---- frames by POST ---- */

bool protocol_split(Text doc, uint32_t max, void (*each)(void *ctx, Text frame), void *ctx,
                    uint32_t *n)
{
    JsonReader r;
    bool ok = true;
    uint32_t count = 0;
    json_reader_init(&r, doc);
    JsonTok tok = json_next(&r);
    bool list = tok == JSON_LIST_BEGIN;
    if (list)
        tok = json_next(&r);
    uint32_t base = list ? 1 : 0;
    while (ok && tok == JSON_MAP_BEGIN) {
        const char *from = r.at - 1;
        while (ok && r.depth > base) {
            tok = json_next(&r);
            ok = tok != JSON_ERROR && tok != JSON_END;
        }
        if (ok && ++count <= max && each)
            each(ctx, (Text){from, (size_t)(r.at - from)});
        if (ok)
            tok = json_next(&r);
    }
    if (list && tok == JSON_LIST_END)
        tok = json_next(&r);
    ok = ok && tok == JSON_END && count > 0 && count <= max;
    json_reader_deinit(&r);
    *n = count;
    return ok;
}

static void send_one(void *ctx, Text frame)
{
    xs_conn *c = ctx;
    if (c->closing || c->gone)
        return;
    if (line_full(c, 1)) { /* a POST cannot be held up, so the frame is refused */
        answer_error(c, D1_RATE_LIMITED, (Text){0}, (Text){0}, (Text){0});
        return;
    }
    (void)protocol_frame(c, frame.ptr, frame.len);
}

void protocol_send(xs_conn *c, SendBatch *batch)
{
    uint32_t n;
    if (c && !c->gone &&
        !protocol_split((Text){batch->bytes, batch->len}, UINT32_MAX, send_one, c, &n))
        answer_error(c, D1_BAD_FRAME, (Text){0}, (Text){0}, (Text){0});
    mem_free(batch);
}

/* ---- channels in the URL ---- */

static Text query_text(const xs_request *req, const char *name)
{
    const Const *values = const_get(req->query, name);
    if (values && values->kind == C_LIST && values->count)
        values = values->items[0];
    return const_text_of(values, (Text){0});
}

static Text header_text(const xs_request *req, const char *name)
{
    const Const *h = req->headers;
    for (uint32_t i = 0; h && h->kind == C_MAP && i < h->count; i++) {
        if (h->pairs[i].key.len == strlen(name) &&
            strncasecmp(h->pairs[i].key.ptr, name, strlen(name)) == 0)
            return const_text_of(h->pairs[i].value, (Text){0});
    }
    return (Text){0};
}

static Position requested_position(const xs_request *req)
{
    Text t = header_text(req, "Last-Event-ID");
    if (!t.len)
        t = query_text(req, "last_event_id");
    if (!t.len)
        t = query_text(req, "cursor");
    if (!t.len) {
        t = header_text(req, "If-None-Match");
        if (t.len >= 2 && t.ptr[0] == '"' && t.ptr[t.len - 1] == '"')
            t = text_slice(t, 1, t.len - 1);
    }
    return position_parse(t);
}

static uint32_t listed_count(const xs_request *req, const Const **list)
{
    *list = const_get(req->query, "channel");
    if (!*list || (*list)->kind != C_LIST)
        return 0;
    return (*list)->count;
}

xs_resume_state protocol_resume_state(xs_conn *c, xs_request *req)
{
    Position pos = requested_position(req);
    const Const *list;
    uint32_t count = listed_count(req, &list);
    if (!pos.given)
        return XS_RESUME_NONE;
    xs_resume_state state = XS_RESUME_OK;
    space_lock(c->space);
    for (uint32_t i = 0; i < count && i < MAX_LISTED; i++) {
        Text name = const_text_of(list->items[i], (Text){0});
        Channel *ch = space_find(c->space, name);
        if (c->shard->hub->plane.ops || (c->space->server && l2_has_cursor(c, name)))
            continue; /* the mirror is not here yet; or the client's acknowledgements say what it
                         missed */
        if (channel_recover(c->space, ch, pos, NULL))
            state = XS_RESUME_GAP;
    }
    bool ahead = pos.seq > c->space->seq && !c->shard->hub->plane.ops;
    if (!pos.earliest && (pos.epoch != c->space->epoch || ahead))
        state = XS_RESUME_GAP;
    space_unlock(c->space);
    return state;
}

static bool flag_set(const xs_request *req, const char *name)
{
    Text t = query_text(req, name);
    return text_eq(t, TEXT("1")) || text_eq(t, TEXT("true"));
}

static void join_one(xs_conn *c, Text channel, bool history, bool presence, bool allowed)
{
    Frame f;
    frame_init(&f, c->shard);
    f.action = ACT_JOIN;
    f.channel = keep_text(channel, f.channel_bytes, CHANNEL_NAME_MAX);
    f.listed = true;
    f.history = history;
    f.presence = presence;
    buf_cstr(&f.payload, "{");
    if (history)
        buf_cstr(&f.payload, "\"history\":true");
    if (presence)
        buf_cstr(&f.payload, history ? ",\"presence\":true" : "\"presence\":true");
    buf_cstr(&f.payload, "}");
    c->listed_pending++;
    if (!channel_name_valid(f.channel)) {
        f.channel = (Text){0};
        refuse_frame_join(c, &f, D1_BAD_CHANNEL);
    } else if (!allowed) {
        refuse_frame_join(c, &f, D1_CHANNEL_LIMIT);
    } else {
        Sub *sub = sub_find(c, f.channel);
        if (sub && sub->busy) /* listed twice, and its trigger is still running */
            protocol_listed_done(c);
        else
            do_join(c, &f);
    }
    frame_deinit(&f, c->shard);
}

void protocol_begin_listed(xs_conn *c, const xs_request *req)
{
    const Const *list;
    c->resume = requested_position(req);
    c->nlisted = listed_count(req, &list);
    if (c->resume.to_list > c->nlisted)
        answer_error(c, D1_SID_GONE, (Text){0}, TEXT("join"), (Text){0});
    c->listed_pending++; /* ours: nothing is complete before the last one was started */
    if (c->resume.given && !c->holding) {
        c->holding = true;
        space_lock(c->space);
        bool ahead = c->resume.seq > c->space->seq && !c->shard->hub->plane.ops;
        c->hold_seq = c->resume.epoch == c->space->epoch && !ahead ? c->resume.seq : c->space->seq;
        space_unlock(c->space);
    }
}

void protocol_join_listed(xs_conn *c, xs_request *req)
{
    const Const *list;
    uint32_t count = listed_count(req, &list);
    bool history = flag_set(req, "history"), presence = flag_set(req, "presence");
    if (c->space->server) {
        l2_join_listed(c, req);
        return;
    }
    protocol_begin_listed(c, req);
    for (uint32_t i = 0; i < count && !c->closing; i++) {
        join_one(c, const_text_of(list->items[i], (Text){0}), history, presence, i < MAX_LISTED);
        if (i == MAX_LISTED)
            break;
    }
    protocol_listed_done(c);
}
