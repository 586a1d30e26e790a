/* longpoll.c - long-polling on the host's HTTP loop.
 *
 * A session keeps references to the frames since the cursor its client last sent; a lost answer is
 * repeated because only the next cursor drops them. The cursor's third number is the position in
 * that queue; a fourth one says how many channels a client has to list to get back those it joined
 * by frames, should its session be gone. A queue that overflows is replaced by the names of its
 * channels (resync). Nothing is freed inside a callback. Thread: the HTTP loop for everything but
 * create and stats. Specification: realtime.md §8. */
#include "transports/common/exchange.h"
#include "transports/common/queue.h"
#include "transports/common/splitmix.h"
#include "transports/common/wheel.h"

enum {
    TIMEOUT_S = 25,
    TIMEOUT_MAX_S = 55,
    LIMIT = 100,
    LIMIT_MAX = 500,
    RESTART_WAIT_MS = 4000, /* clients come back spread over this */
    RESYNC_CHANNELS = 128,
    FIRST_BUCKETS = 16, /* a power of two */
    SID_MAX = 31,
    KEEP_BYTES = 65536 /* of the text of an answer */
};

enum { CLOSE_NORMAL = 1000, CLOSE_RESTART = 1012, CLOSE_AUTH = 4401 };

typedef enum EmptyForm { EMPTY_200, EMPTY_204, EMPTY_304 } EmptyForm;

typedef struct Longpoll Longpoll;

typedef struct Session {
    Queue q;        /* slot without a frame: a channel to resync, JSON text */
    uint64_t first; /* queue position of slot 0, from 1 */
    uint64_t acked_epoch, acked_seq;
    Longpoll *lp;
    struct Session *prev, *next;
    struct Session *next_dirty;
    struct Session *next_in_bucket;
    uint32_t hash;
    char sid[SID_MAX + 1]; /* the hub's, here for finding it */
    xs_http *x;            /* waiting poll */
    xs_conn *conn;
    uint32_t limit;
    EmptyForm empty;
    bool dirty, closing, joining;
    bool over;  /* to be freed */
    bool holed; /* a frame was not taken: what the hub counts as delivered is not all here */
    bool away;  /* the hub was told that it may be lost */
    bool expired;
    int close_code;
    int64_t until_ms;                         /* of the waiting poll */
    int64_t answer_ms;                        /* linger ends; 0 = nothing waits for company */
    struct Session *next_linger, **linger_at; /* in lp->lingering while answer_ms is set */
    int64_t seen_ms;                          /* last poll or answer */
    Timer check;
} Session;

struct Longpoll {
    const xs_host *host;
    Session *sessions, *newest, *dirty;  /* in the order they began */
    Session *lingering, **lingering_end; /* in the order of answer_ms */
    Session **buckets;                   /* by sid */
    Wheel checks;
    uint32_t check_ms; /* between two of a session, or sooner: when its poll is over */
    uint32_t nbuckets, count;
    Out cursor, lines, body; /* of an answer; kept for the next one */
    uint64_t jitter;
    bool draining;
    int64_t drain_start_ms, counted_ms;
    uint32_t drain_ms;
    uint64_t drain_total, drain_closed;
    Counter connections, opened, closed, frames_out, bytes_out, writes, refused, abandoned,
        queued_bytes;
};

static void mark_dirty(Session *s)
{
    if (s->dirty)
        return;
    s->dirty = true;
    s->next_dirty = s->lp->dirty;
    s->lp->dirty = s;
}

/* --- lingering: events that wait for company --- */

static void stop_linger(Session *s)
{
    if (!s->answer_ms)
        return;
    s->answer_ms = 0;
    *s->linger_at = s->next_linger;
    if (s->next_linger)
        s->next_linger->linger_at = s->linger_at;
    else
        s->lp->lingering_end = s->linger_at;
}

/* false: there is no timer fine enough; answer now. */
static bool start_linger(Session *s)
{
    Longpoll *lp = s->lp;
    uint32_t ms = lp->host->limits->lp_linger_ms;
    bool timer = XS_HAS(lp->host, tick_in);
    if (!ms || s->q.count >= s->limit || (!timer && ms < WHEEL_TICK_MS))
        return false;
    if (s->answer_ms)
        return true;
    s->answer_ms = lp->host->now_ms() + ms;
    s->next_linger = NULL;
    s->linger_at = lp->lingering_end;
    *lp->lingering_end = s;
    lp->lingering_end = &s->next_linger;
    if (timer && lp->lingering == s)
        lp->host->tick_in(lp->host->timer, ms);
    return true;
}

/* --- sessions --- */

static uint32_t hash_of(xs_str sid)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < sid.len; i++)
        h = (h ^ (unsigned char)sid.ptr[i]) * 16777619u;
    return h;
}

static Session **bucket_of(const Longpoll *lp, uint32_t hash)
{
    return &lp->buckets[hash & (lp->nbuckets - 1)];
}

static Session *find_session(const Longpoll *lp, xs_str sid)
{
    uint32_t hash = hash_of(sid);
    for (Session *s = sid.len ? *bucket_of(lp, hash) : NULL; s; s = s->next_in_bucket)
        if (s->hash == hash && strlen(s->sid) == sid.len && memcmp(s->sid, sid.ptr, sid.len) == 0)
            return s;
    return NULL;
}

/* As many buckets as sessions; without memory for more the chains grow. */
static void grow_buckets(Longpoll *lp)
{
    uint32_t n = lp->nbuckets * 2;
    Session **grown = n ? (Session **)calloc(n, sizeof *grown) : NULL;
    if (!grown)
        return;
    free(lp->buckets);
    lp->buckets = grown;
    lp->nbuckets = n;
    for (Session *s = lp->sessions; s; s = s->next) {
        Session **bucket = bucket_of(lp, s->hash);
        s->next_in_bucket = *bucket;
        *bucket = s;
    }
}

static void plan_check(Session *s, int64_t now)
{
    int64_t next = now + s->lp->check_ms;
    timer_set(&s->lp->checks, &s->check, s->x && s->until_ms < next ? s->until_ms : next);
}

static void list_session(Longpoll *lp, Session *s)
{
    xs_str sid = lp->host->conn_sid(s->conn);
    if (lp->count >= lp->nbuckets)
        grow_buckets(lp);
    snprintf(s->sid, sizeof s->sid, "%.*s", (int)sid.len, sid.ptr);
    s->hash = hash_of(str_from(s->sid));
    Session **bucket = bucket_of(lp, s->hash);
    s->next_in_bucket = *bucket;
    *bucket = s;
    s->prev = lp->newest;
    *(lp->newest ? &lp->newest->next : &lp->sessions) = s;
    lp->newest = s;
    lp->count++;
}

static Session *new_session(Longpoll *lp, xs_request *req, xs_refusal *why)
{
    const xs_host *host = lp->host;
    Session *s = (Session *)calloc(1, sizeof *s);
    if (!s) {
        *why = (xs_refusal){.status = 503, .message = "Out of memory"};
        return NULL;
    }
    s->lp = lp;
    s->first = 1;
    s->seen_ms = host->now_ms();
    s->conn = host->connect(host->shard, s, req, why);
    if (!s->conn) {
        queue_deinit(&s->q, host);
        free(s);
        counter_add(&lp->refused, 1);
        return NULL;
    }
    list_session(lp, s);
    plan_check(s, s->seen_ms);
    counter_add(&lp->opened, 1);
    counter_add(&lp->connections, 1);
    return s;
}

static void free_session(Longpoll *lp, Session *s)
{
    stop_linger(s);
    lp->count--;
    for (Session **at = bucket_of(lp, s->hash); *at; at = &(*at)->next_in_bucket)
        if (*at == s) {
            *at = s->next_in_bucket;
            break;
        }
    *(s->prev ? &s->prev->next : &lp->sessions) = s->next;
    *(s->next ? &s->next->prev : &lp->newest) = s->prev;
    counter_add(&lp->closed, 1);
    counter_add(&lp->connections, (uint64_t)-1);
    lp->host->gone(s->conn, s->close_code ? s->close_code : CLOSE_NORMAL);
    queue_deinit(&s->q, lp->host);
    queue_count(&s->q, &s->lp->queued_bytes);
    timer_unset(&s->check);
    free(s);
}

static void pop_first(Session *s)
{
    queue_pop(&s->q, s->lp->host);
    s->first++;
}

static void acknowledge(Session *s, uint64_t epoch, uint64_t seq, uint64_t m)
{
    if (m >= s->first + s->q.count)
        return; /* from the future: nothing of ours */
    s->acked_epoch = epoch;
    s->acked_seq = seq;
    while (s->q.count && s->first <= m)
        pop_first(s);
    queue_count(&s->q, &s->lp->queued_bytes);
}

/* --- overflow --- */

static xs_str slot_channels(const QueueSlot *slot)
{
    return slot->frame ? frame_channels(slot->frame) : (xs_str){slot->wire->bytes, slot->wire->len};
}

static bool is_gap(const QueueSlot *slot)
{
    return !slot->frame || slot->frame->flags & XS_FRAME_RESYNC;
}

static bool listed(const xs_str *list, unsigned n, xs_str channel)
{
    for (unsigned i = 0; i < n; i++)
        if (list[i].len == channel.len && memcmp(list[i].ptr, channel.ptr, channel.len) == 0)
            return true;
    return false;
}

/* After a hole the rest of a channel is worth nothing: keep the names of the channels only. False:
 * they are too many, or no memory. A channel that is not named would be a silent hole. */
static bool collapse(Session *s)
{
    xs_str channels[RESYNC_CHANNELS];
    xs_wire *wires[RESYNC_CHANNELS];
    unsigned n = 0;
    bool ok = true;
    for (uint32_t i = 0; i < s->q.count; i++) {
        xs_str channel = slot_channels(queue_at(&s->q, i));
        if (!channel.len || listed(channels, n, channel))
            continue;
        xs_wire *w = n < RESYNC_CHANNELS ? wire_join(channel, (xs_str){0}, (xs_str){0}) : NULL;
        ok = w != NULL;
        if (!ok)
            break;
        wires[n] = w;
        channels[n++] = channel;
    }
    while (ok && s->q.count)
        pop_first(s);
    for (unsigned i = 0; i < n; i++)
        if (ok)
            ok = queue_push_take(&s->q, wires[i]);
        else
            free(wires[i]);
    return ok;
}

/* The hub closes it; the client comes back with its cursor. */
static xs_deliver_result not_taken(Session *s)
{
    s->holed = true;
    return XS_FULL;
}

static xs_deliver_result lp_deliver(void *state, void *peer, xs_frame *frame)
{
    Longpoll *lp = (Longpoll *)state;
    Session *s = (Session *)peer;
    const xs_limits *limits = lp->host->limits;
    if (s->closing)
        return XS_SENT;
    const xs_wire *wire = lp->host->wire(frame, XS_WIRE_LP_ITEM);
    if (!wire)
        return not_taken(s);
    if (!s->joining &&
        (s->q.count >= limits->queue_hard_frames ||
         s->q.bytes + wire->len > limits->queue_hard_bytes) &&
        !collapse(s))
        return not_taken(s);
    if (!queue_push(&s->q, lp->host, frame, wire))
        return not_taken(s);
    queue_count(&s->q, &s->lp->queued_bytes);
    if (s->x && !start_linger(s))
        mark_dirty(s);
    return XS_SENT;
}

/* --- answers --- */

static void out_cursor(Out *o, uint64_t epoch, uint64_t seq, uint64_t m, uint32_t to_list)
{
    out_hex(o, epoch);
    out_text(o, ".");
    out_number(o, seq);
    out_text(o, ".");
    out_number(o, m);
    if (!to_list)
        return;
    out_text(o, ".");
    out_number(o, to_list);
}

/* How far an answer with the first n slots brings the client. */
static void answer_cursor(Session *s, uint32_t n, Out *cursor)
{
    uint64_t epoch = 0, seq = 0;
    s->lp->host->position(s->conn, &epoch, &seq);
    if (n < s->q.count || s->holed) { /* more follows: not beyond what is included */
        seq = s->acked_epoch == epoch ? s->acked_seq : 0;
        for (uint32_t i = 0; i < n; i++) {
            const xs_frame *f = queue_at(&s->q, i)->frame;
            if (f && f->seq > seq)
                seq = f->seq;
        }
    }
    const xs_host *host = s->lp->host;
    uint32_t to_list = XS_HAS(host, to_list) ? host->to_list(s->conn) : 0;
    out_cursor(cursor, epoch, seq, s->first + n - 1, to_list);
}

static void out_frames(Session *s, uint32_t n, Out *body)
{
    bool comma = false;
    uint64_t count = 0;
    out_text(body, "\"resync\":[");
    for (uint32_t i = 0; i < n; i++) {
        const QueueSlot *slot = queue_at(&s->q, i);
        if (!is_gap(slot))
            continue;
        if (comma)
            out_text(body, ",");
        out_str(body, slot_channels(slot));
        comma = true;
    }
    out_text(body, "],\"frames\":[");
    comma = false;
    for (uint32_t i = 0; i < n; i++) {
        const QueueSlot *slot = queue_at(&s->q, i);
        if (is_gap(slot))
            continue;
        if (comma)
            out_text(body, ",");
        out_append(body, slot->wire->bytes, slot->wire->len);
        comma = true;
        count++;
    }
    out_text(body, "]}");
    counter_add(&s->lp->frames_out, count);
}

/* A text of the answer before: empty again, its memory kept unless it was a large one. */
static void out_reset(Out *o)
{
    if (o->cap > KEEP_BYTES) {
        free(o->ptr);
        *o = (Out){0};
    }
    o->len = 0;
    o->failed = false;
}

static void out_answer(Session *s, uint32_t n, uint32_t wait_ms)
{
    Longpoll *lp = s->lp;
    xs_str sid = str_from(s->sid); /* the hub's ids need no quoting */
    Out *body = &lp->body, *lines = &lp->lines;
    out_reset(&lp->cursor);
    out_reset(lines);
    out_reset(body);
    answer_cursor(s, n, &lp->cursor);
    xs_str cursor = {lp->cursor.ptr, lp->cursor.len};
    out_text(lines, "Cache-Control: no-store\r\nVary: Authorization\r\nETag: \"");
    out_str(lines, cursor);
    out_text(lines, "\"\r\nX-XS-Sid: ");
    out_str(lines, sid);
    out_text(lines, "\r\nX-XS-Cursor: ");
    out_str(lines, cursor);
    if (n || s->empty == EMPTY_200) {
        out_text(lines, "\r\nContent-Type: application/json");
        out_text(body, "{\"sid\":\"");
        out_str(body, sid);
        out_text(body, "\",\"cursor\":\"");
        out_str(body, cursor);
        out_text(body,
                 n < s->q.count ? "\",\"more\":true,\"wait\":" : "\",\"more\":false,\"wait\":");
        out_number(body, wait_ms);
        out_text(body, ",");
        out_frames(s, n, body);
    }
    out_append(lines, "\r\n", sizeof "\r\n");
}

/* Answer the waiting poll with the first n slots. */
static void answer(Session *s, uint32_t n, uint32_t wait_ms)
{
    Longpoll *lp = s->lp;
    const xs_host *host = lp->host;
    xs_http *x = s->x;
    if (!x)
        return;
    s->x = NULL;
    stop_linger(s);
    s->seen_ms = host->now_ms();
    out_answer(s, n, wait_ms);
    const Out *body = &lp->body;
    if (lp->cursor.failed || lp->lines.failed || body->failed) {
        reply_json(host, x, 503, "Out of memory", 1);
        return;
    }
    const xs_header lines = {NULL, lp->lines.ptr};
    int status = body->len ? 200 : s->empty == EMPTY_304 ? 304 : 204;
    counter_add(&lp->writes, 1);
    counter_add(&lp->bytes_out, body->len);
    host->http->reply(x, status, &lines, 1, (xs_str){body->ptr, body->len});
}

static void answer_full(Session *s, uint32_t wait_ms)
{
    answer(s, s->q.count < s->limit ? s->q.count : s->limit, wait_ms);
}

/* A closed session answers its poll; the next one begins a new session where this one ended. */
static void end_session(Session *s)
{
    const xs_host *host = s->lp->host;
    s->over = true;
    if (!s->x)
        return;
    if (s->close_code == CLOSE_AUTH) {
        xs_http *x = s->x;
        s->x = NULL;
        reply_json(host, x, 401, s->expired ? "Token expired" : "Connection refused", 0);
        return;
    }
    answer_full(s, s->close_code == CLOSE_RESTART ? random_below(host, RESTART_WAIT_MS) : 0);
}

static void flush_dirty(Longpoll *lp)
{
    while (lp->dirty) {
        Session *s = lp->dirty;
        lp->dirty = s->next_dirty;
        s->dirty = false;
        if (s->closing && !s->over)
            end_session(s);
        else if (s->x && s->q.count)
            answer_full(s, 0); /* the drain that brought the events has collected some */
        if (s->over)
            free_session(lp, s); /* gone() may make others dirty */
    }
}

/* --- polls --- */

static void on_closed(void *peer)
{
    Session *s = (Session *)peer;
    s->x = NULL;
    stop_linger(s);
    s->seen_ms = s->lp->host->now_ms();
}

static const xs_http_events hold_events = {NULL, on_closed};

/* A number parameter; false: malformed or out of range. */
static bool number_param(const xs_host *host, xs_http *x, const char *name, uint32_t low,
                         uint32_t high, uint32_t *value)
{
    xs_str s = host->http->query(x, name, 0);
    if (!s.len)
        return true;
    uint64_t n;
    size_t at = 0;
    if (!parse_digits(s, &at, 10, &n) || at != s.len || n < low || n > high)
        return false;
    *value = (uint32_t)n;
    return true;
}

typedef struct Poll {
    uint32_t timeout_s, limit;
    EmptyForm empty;
    bool has_cursor;
    uint64_t epoch, seq, m;
} Poll;

static bool read_poll(const xs_host *host, xs_http *x, Poll *p)
{
    *p = (Poll){.timeout_s = TIMEOUT_S, .limit = LIMIT};
    uint32_t empty = 200;
    if (!number_param(host, x, "timeout", 0, TIMEOUT_MAX_S, &p->timeout_s) ||
        !number_param(host, x, "limit", 1, LIMIT_MAX, &p->limit) ||
        !number_param(host, x, "empty", 200, 204, &empty) || (empty != 200 && empty != 204))
        return false;
    p->empty = empty == 204 ? EMPTY_204 : EMPTY_200;
    xs_str cursor = host->http->query(x, "cursor", 0);
    if (!cursor.len) {
        const char *known = host->http->header(x, "If-None-Match");
        cursor = str_from(known ? known : "");
        if (cursor.len >= 2 && cursor.ptr[0] == '"' && cursor.ptr[cursor.len - 1] == '"') {
            cursor.ptr++;
            cursor.len -= 2;
            p->empty = EMPTY_304;
        }
    }
    /* A malformed one counts as "latest". */
    p->has_cursor = cursor.len && parse_position(cursor, &p->epoch, &p->seq, &p->m);
    return true;
}

/* Below n. */
static uint32_t jitter(Longpoll *lp, uint32_t n)
{
    return (uint32_t)(splitmix_next(&lp->jitter) >> 32) % n;
}

static void set_away(Session *s, bool away)
{
    if (s->away == away || !XS_HAS(s->lp->host, away))
        return;
    s->away = away;
    s->lp->host->away(s->conn, away);
}

static void begin_poll(Session *s, xs_http *x, const Poll *p, bool at_once)
{
    const xs_host *host = s->lp->host;
    set_away(s, false);
    s->x = x;
    s->limit = p->limit;
    s->empty = p->empty;
    s->seen_ms = host->now_ms();
    if (s->q.count || at_once || !p->timeout_s) {
        answer_full(s, 0);
        return;
    }
    /* A tenth of jitter, so that polls do not run in step. */
    uint32_t hold = p->timeout_s * 1000;
    s->until_ms = s->seen_ms + hold - jitter(s->lp, hold / 10 + 1);
    if (s->until_ms < s->seen_ms + s->lp->check_ms)
        plan_check(s, s->seen_ms);
    host->http->hold(x, s, &hold_events);
}

static bool is_owner(const Session *s, xs_request *req)
{
    const xs_host *host = s->lp->host;
    return !XS_HAS(host, same_client) || host->same_client(s->conn, req);
}

/* The next poll of a session. */
static void go_on(Session *s, xs_http *x, const Poll *poll)
{
    answer(s, 0, 0); /* a second poll releases the first */
    if (poll->has_cursor)
        acknowledge(s, poll->epoch, poll->seq, poll->m);
    begin_poll(s, x, poll, !poll->has_cursor);
    flush_dirty(s->lp);
}

static bool lp_http_again(void *state, xs_http *x, xs_request *earlier)
{
    Longpoll *lp = (Longpoll *)state;
    const xs_host *host = lp->host;
    Poll poll;
    Session *s = find_session(lp, host->http->query(x, "sid", 0));
    if (!s || s->closing || lp->draining || !is_owner(s, earlier) || !read_poll(host, x, &poll))
        return false;
    go_on(s, x, &poll);
    return true;
}

static void lp_http(void *state, xs_http *x, xs_request *req)
{
    Longpoll *lp = (Longpoll *)state;
    const xs_host *host = lp->host;
    Poll poll;
    if (strcmp(host->http->method(x), "GET") != 0) {
        reply_json(host, x, 405, "Use GET", 0);
        return;
    }
    if (!read_poll(host, x, &poll)) {
        reply_json(host, x, 400, "Bad timeout, limit or empty parameter", 0);
        return;
    }
    if (lp->draining) {
        reply_json(host, x, 503, "Restarting", 1 + random_below(host, 5));
        return;
    }
    Session *s = find_session(lp, host->http->query(x, "sid", 0));
    if (s && !is_owner(s, req)) {
        reply_json(host, x, 403, "The session belongs to someone else", 0);
        return;
    }
    if (s && !s->closing) {
        go_on(s, x, &poll);
        return;
    }
    xs_refusal why = {.status = 401};
    s = new_session(lp, req, &why);
    if (!s) {
        int status = why.status ? why.status : 401;
        reply_json(host, x, status, why.message, status == 503 || status == 429 ? 5 : 0);
        return;
    }
    host->position(s->conn, &s->acked_epoch, &s->acked_seq);
    if (poll.has_cursor && poll.epoch == s->acked_epoch && poll.seq < s->acked_seq)
        s->acked_seq = poll.seq;
    s->joining = true;
    host->join_listed(s->conn, req);
    s->joining = false;
    begin_poll(s, x, &poll, !poll.has_cursor);
    flush_dirty(lp);
}

static void lp_flush(void *state)
{
    flush_dirty((Longpoll *)state);
}

static void lp_close(void *state, void *peer, int code, const char *reason)
{
    (void)state;
    Session *s = (Session *)peer;
    if (s->closing)
        return;
    s->closing = true;
    s->close_code = code;
    s->expired = reason && strcmp(reason, "token_expired") == 0;
    mark_dirty(s);
}

static void lp_resume(void *state, void *peer)
{
    (void)state; /* clients send over /send, which the host answers */
    (void)peer;
}

static void check_session(Session *s, int64_t now)
{
    const xs_limits *limits = s->lp->host->limits;
    if (s->x && now >= s->until_ms)
        answer_full(s, 0);
    if (!s->x && now - s->seen_ms > limits->lp_session_ms)
        lp_close(s->lp, s, CLOSE_NORMAL, "");
    else if (!s->x && limits->presence_grace_ms && now - s->seen_ms > limits->presence_grace_ms)
        set_away(s, true);
}

/* Clients that come for one answer and never again, each time as somebody new: the sessions they
 * leave behind are bounded, those not heard of for the longest time go first. */
static void drop_abandoned(Longpoll *lp, int64_t now)
{
    const xs_limits *limits = lp->host->limits;
    uint64_t idle = 0, oldest = 0;
    if (!limits->lp_idle_sessions || lp->count <= limits->lp_idle_sessions ||
        now < lp->counted_ms + WHEEL_ROUND_MS)
        return;
    lp->counted_ms = now;
    for (const Session *s = lp->sessions; s; s = s->next) {
        if (s->x || s->closing)
            continue;
        idle++;
        uint64_t age = (uint64_t)(now - s->seen_ms);
        oldest = age > oldest ? age : oldest;
    }
    if (idle <= limits->lp_idle_sessions)
        return;
    /* Ages are spread about evenly, so this share of the oldest is about as many as are too many.
     */
    uint64_t keep_ms = oldest * limits->lp_idle_sessions / idle;
    for (Session *s = lp->sessions; s && idle > limits->lp_idle_sessions; s = s->next)
        if (!s->x && !s->closing && (uint64_t)(now - s->seen_ms) >= keep_ms) {
            counter_add(&lp->abandoned, 1);
            lp_close(lp, s, CLOSE_NORMAL, "");
            idle--;
        }
}

/* The system call of an answer leaves nothing of the next ones in the cache: the exchange of the
 * next and the session behind it come meanwhile. */
static void fetch_ahead(const Session *next)
{
    enum { LINE = 64, EXCHANGE_LINES = 4 };
    if (!next)
        return;
    for (size_t i = 0; i < EXCHANGE_LINES; i++)
        __builtin_prefetch((const char *)next->x + i * LINE);
    for (size_t at = 0; next->next_linger && at < sizeof *next; at += LINE)
        __builtin_prefetch((const char *)next->next_linger + at, 1);
}

static void drain_step(Longpoll *lp, int64_t now)
{
    uint64_t due = drain_due(lp->drain_total, lp->drain_ms, now - lp->drain_start_ms);
    for (Session *s = lp->sessions; s && lp->drain_closed < due; s = s->next) {
        if (s->closing)
            continue;
        lp->drain_closed++;
        lp_close(lp, s, CLOSE_RESTART, "restart");
    }
}

static void lp_tick(void *state)
{
    Longpoll *lp = (Longpoll *)state;
    int64_t now = lp->host->now_ms();
    while (lp->lingering && now >= lp->lingering->answer_ms) {
        fetch_ahead(lp->lingering->next_linger);
        answer_full(lp->lingering, 0);
    }
    if (lp->lingering && XS_HAS(lp->host, tick_in))
        lp->host->tick_in(lp->host->timer, (uint32_t)(lp->lingering->answer_ms - now));
    for (Timer *t; (t = wheel_due(&lp->checks, now));) {
        Session *s = (Session *)(void *)((char *)t - offsetof(Session, check));
        check_session(s, now);
        plan_check(s, now);
    }
    if (lp->draining)
        drain_step(lp, now);
    drop_abandoned(lp, now);
    flush_dirty(lp);
}

static size_t lp_queued(void *state, void *peer)
{
    (void)state;
    return ((const Session *)peer)->q.bytes;
}

static void lp_drain(void *state, uint32_t deadline_ms)
{
    Longpoll *lp = (Longpoll *)state;
    if (lp->draining)
        return;
    lp->draining = true;
    lp->drain_start_ms = lp->host->now_ms();
    lp->drain_ms = deadline_ms;
    lp->drain_total = counter_get(&lp->connections);
    lp_tick(lp);
}

/* --- life --- */

static void *lp_create(const xs_host *host, xs_error *err)
{
    Longpoll *lp = (Longpoll *)calloc(1, sizeof *lp);
    if (lp)
        lp->buckets = (Session **)calloc(FIRST_BUCKETS, sizeof *lp->buckets);
    if (!lp || !lp->buckets) {
        free(lp);
        plugin_fail(err, XS_E_NOMEM, "out of memory");
        return NULL;
    }
    lp->host = host;
    lp->nbuckets = FIRST_BUCKETS;
    lp->check_ms = wheel_period(host->limits->lp_session_ms, host->limits->presence_grace_ms);
    wheel_init(&lp->checks, host->now_ms());
    lp->lingering_end = &lp->lingering;
    host->random(&lp->jitter, sizeof lp->jitter);
    return lp;
}

static void lp_stop(void *state)
{
    (void)state; /* no thread of its own; destroy ends what is open */
}

static void lp_destroy(void *state)
{
    Longpoll *lp = (Longpoll *)state;
    if (!lp)
        return;
    for (Session *s = lp->sessions; s; s = s->next)
        lp_close(lp, s, CLOSE_RESTART, "restart");
    flush_dirty(lp);
    free(lp->cursor.ptr);
    free(lp->lines.ptr);
    free(lp->body.ptr);
    free(lp->buckets);
    free(lp);
}

static void lp_stats(void *state, xs_transport_stats *out)
{
    Longpoll *lp = (Longpoll *)state;
    *out = (xs_transport_stats){
        .connections = counter_get(&lp->connections),
        .opened = counter_get(&lp->opened),
        .closed = counter_get(&lp->closed),
        .frames_out = counter_get(&lp->frames_out),
        .bytes_out = counter_get(&lp->bytes_out),
        .writes = counter_get(&lp->writes),
        .slow_closed = counter_get(&lp->abandoned),
        .handshake_failed = counter_get(&lp->refused),
        .queued_bytes = counter_get(&lp->queued_bytes),
    };
}

static const xs_transport_ops ops = {
    .size = sizeof ops,
    .format = XS_WIRE_LP_ITEM,
    .info_name = "lp",
    .create = lp_create,
    .http = lp_http,
    .deliver = lp_deliver,
    .flush = lp_flush,
    .resume = lp_resume,
    .close = lp_close,
    .drain = lp_drain,
    .stop = lp_stop,
    .destroy = lp_destroy,
    .stats = lp_stats,
    .tick = lp_tick,
    .queued = lp_queued,
    .http_again = lp_http_again,
};
XS_PLUGIN_DEFINE(longpoll, XS_PLUGIN_TRANSPORT, "Long polling", "1.0", &ops);
