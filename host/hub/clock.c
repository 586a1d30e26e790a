/* clock.c - a heap of connections by their next alarm; the alarm itself runs on the shard. */
#include "host/hub/clock.h"

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/event.h"
#include "host/hub/l2_frame.h"

enum {
    JITTER_MAX_MS = 4000, /* a token may live on for so long: not everybody comes back at once */
    JITTER_SHARE = 10,
    TICK_BATCH = 1024 /* alarms of one tick */
};

/* ---- how many ---- */

typedef struct Tally {
    uint32_t count;
    char key[];
} Tally;

static bool is_loopback(Text ip)
{
    return text_starts(ip, TEXT("127.")) || text_eq(ip, TEXT("::1")) ||
           text_starts(ip, TEXT("::ffff:127."));
}

/* One more under this key; NULL: at the limit, or out of memory. */
static Tally *tally_add(Map *map, Text key, uint32_t max)
{
    Tally *t = map_get(map, key);
    if (t) {
        if (t->count >= max)
            return NULL;
        t->count++;
        return t;
    }
    t = mem_alloc(sizeof *t + key.len + 1);
    if (!t)
        return NULL;
    t->count = 1;
    memcpy(t->key, key.ptr, key.len);
    t->key[key.len] = '\0';
    if (map_put(map, (Text){t->key, key.len}, t))
        return t;
    mem_free(t);
    return NULL;
}

static void tally_drop(Map *map, Tally *t)
{
    if (!t || --t->count)
        return;
    map_take(map, text_from(t->key));
    mem_free(t);
}

static bool too_many(xs_refusal *why, _Atomic uint64_t *counter, const char *message)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    why->close_code = 1013;
    why->status = 503;
    memcpy(why->message, message, strlen(message) + 1);
    return false;
}

/* ---- the heap ---- */

static void place(Hub *h, size_t at, xs_conn *c)
{
    h->alarms.ptr[at] = c;
    c->alarm_at = at + 1;
}

static void sift_up(Hub *h, size_t at)
{
    xs_conn *c = h->alarms.ptr[at];
    while (at > 0 && h->alarms.ptr[(at - 1) / 2]->alarm_ms > c->alarm_ms) {
        place(h, at, h->alarms.ptr[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(h, at, c);
}

static void sift_down(Hub *h, size_t at)
{
    xs_conn *c = h->alarms.ptr[at];
    for (;;) {
        size_t child = at * 2 + 1, n = h->alarms.len;
        if (child + 1 < n && h->alarms.ptr[child + 1]->alarm_ms < h->alarms.ptr[child]->alarm_ms)
            child++;
        if (child >= n || h->alarms.ptr[child]->alarm_ms >= c->alarm_ms)
            break;
        place(h, at, h->alarms.ptr[child]);
        at = child;
    }
    place(h, at, c);
}

static void disarm(Hub *h, xs_conn *c)
{
    if (!c->alarm_at)
        return;
    size_t at = c->alarm_at - 1;
    c->alarm_at = 0;
    xs_conn *last = h->alarms.ptr[--h->alarms.len];
    if (last == c)
        return;
    place(h, at, last);
    sift_up(h, at);
    sift_down(h, last->alarm_at - 1);
}

void clock_release(xs_conn *c)
{
    Hub *h = c->shard->hub;
    disarm(h, c);
    tally_drop(&h->per_ip, c->ip_tally);
    tally_drop(&h->per_identity, c->identity_tally);
    c->ip_tally = c->identity_tally = NULL;
}

void clock_set_expiry(xs_conn *c, int64_t epoch_ms)
{
    const HubOptions *opt = &c->shard->hub->opt;
    int64_t now = clock_mono_ms();
    c->warned = false;
    c->token_ends = epoch_ms > 0;
    c->expires_ms = 0;
    if (epoch_ms > 0)
        c->expires_ms = now + (epoch_ms - clock_wall_ms());
    else if (c->identity->authenticated && opt->max_conn_age_ms)
        c->expires_ms = now + opt->max_conn_age_ms;
}

static int64_t jitter(int64_t remaining)
{
    int64_t max = remaining / JITTER_SHARE;
    max = max > JITTER_MAX_MS ? JITTER_MAX_MS : max;
    return max > 0 ? (int64_t)(clock_mono_us() % (uint64_t)max) : 0;
}

/* When a client that sends nothing is closed; 0 = never. */
static int64_t idle_end(const xs_conn *c)
{
    int64_t ms = c->shard->hub->opt.idle_close_ms;
    return ms && c->l2 && !XS_HAS(c->shard->ops, http) ? c->refilled_ms + ms : 0;
}

/* The hub's lock is held. */
static bool arm(xs_conn *c)
{
    Hub *h = c->shard->hub;
    int64_t now = clock_mono_ms(), warning = h->opt.expiry_warning_ms, idle = idle_end(c);
    disarm(h, c);
    if (!c->expires_ms && !idle)
        return true;
    bool warn = c->token_ends && !c->warned && warning > 0 && c->expires_ms - warning > now;
    c->alarm_ms = warn ? c->expires_ms - warning : c->expires_ms + jitter(c->expires_ms - now);
    if (!c->expires_ms || (idle && idle < c->alarm_ms))
        c->alarm_ms = idle;
    if (!VEC_PUSH(&h->alarms, c))
        return false;
    place(h, h->alarms.len - 1, c);
    sift_up(h, h->alarms.len - 1);
    return true;
}

bool clock_arm(xs_conn *c)
{
    Hub *h = c->shard->hub;
    pthread_mutex_lock(&h->lock);
    bool ok = arm(c);
    pthread_mutex_unlock(&h->lock);
    return ok;
}

bool clock_admit(xs_conn *c, Text ip, xs_refusal *why)
{
    Hub *h = c->shard->hub;
    if (h->opt.conn_per_ip && ip.len && !is_loopback(ip)) {
        c->ip_tally = tally_add(&h->per_ip, ip, h->opt.conn_per_ip);
        if (!c->ip_tally)
            return too_many(why, &h->ip_refused, "Too many connections from this address.");
    }
    if (h->opt.conn_per_identity && c->identity->authenticated) {
        Buf key = BUF_INIT;
        json_write_int(&key, c->identity->dbo_id);
        buf_char(&key, ':');
        buf_text(&key, c->identity->row_id);
        c->identity_tally =
            key.failed ? NULL
                       : tally_add(&h->per_identity, buf_view(&key), h->opt.conn_per_identity);
        buf_deinit(&key);
        if (!c->identity_tally)
            return too_many(why, &h->identity_refused, "Too many connections of this account.");
    }
    return arm(c); /* false: out of memory */
}

/* ---- alarms ---- */

typedef struct Alarm {
    char sid[SID_LEN + 1];
} Alarm;

/* Has it got another alarm meanwhile? The tick that sent this one still holds the lock until it has
 * taken the connection out of the heap. */
static bool is_armed(xs_conn *c)
{
    Hub *h = c->shard->hub;
    pthread_mutex_lock(&h->lock);
    bool armed = c->alarm_at != 0;
    pthread_mutex_unlock(&h->lock);
    return armed;
}

static void warn(xs_conn *c, int64_t left_ms)
{
    int64_t left_s = (left_ms + 999) / 1000;
    c->warned = true;
    conn_deliver(c, c->l2 ? l2_auth("expiring", left_s, (Text){0}) : d1_auth("expiring", left_s));
}

/* The token, or the longest time, is over. */
static void expire(xs_conn *c)
{
    atomic_fetch_add_explicit(&c->shard->hub->expired, 1, memory_order_relaxed);
    if (!c->token_ends) {
        conn_close(c, 4000, "reconnect");
        return;
    }
    conn_deliver(c, c->l2 ? l2_error((Text){0}, d1_error_text(D1_TOKEN_EXPIRED), (Text){0}, 0, 0)
                          : d1_error(D1_TOKEN_EXPIRED, (Text){0}, (Text){0}, (Text){0}, 0));
    conn_close(c, 4401, "token_expired");
}

/* On the connection's shard; it may have gone, spoken or renewed its token meanwhile. */
static void ring_alarm(xs_shard *s, void *arg)
{
    Alarm *alarm = arg;
    xs_conn *c = conn_of_sid(s, alarm->sid);
    mem_free(alarm);
    if (!c || c->closing || c->gone || is_armed(c))
        return;
    int64_t now = clock_mono_ms(), idle = idle_end(c), warning = s->hub->opt.expiry_warning_ms;
    if (c->expires_ms && c->expires_ms <= now) {
        expire(c);
    } else if (idle && idle <= now) {
        atomic_fetch_add_explicit(&s->hub->idle_closed, 1, memory_order_relaxed);
        conn_close(c, 4000, "idle");
    } else {
        if (c->token_ends && !c->warned && warning > 0 && c->expires_ms - warning <= now)
            warn(c, c->expires_ms - now);
        if (!clock_arm(c))
            conn_close(c, 1011, "out of memory");
    }
}

static void ring_alarms(Hub *h, int64_t now_ms)
{
    for (size_t i = 0; i < TICK_BATCH && h->alarms.len; i++) {
        xs_conn *c = h->alarms.ptr[0];
        if (c->alarm_ms > now_ms)
            return;
        Alarm *alarm = mem_alloc(sizeof *alarm);
        if (!alarm)
            return; /* the next tick tries again */
        memcpy(alarm->sid, c->sid, sizeof alarm->sid);
        if (!mailbox_push(&c->shard->box,
                          (Mail){.kind = MAIL_CALL, .call = ring_alarm, .arg = alarm})) {
            mem_free(alarm);
            return;
        }
        disarm(h, c);
    }
}

void hub_tick(Hub *h, int64_t now_ms)
{
    MapSlot *slot;
    size_t at = 0;
    pthread_mutex_lock(&h->lock);
    ring_alarms(h, now_ms);
    while ((slot = map_next(&h->spaces, &at)))
        space_tick(slot->value, now_ms);
    pthread_mutex_unlock(&h->lock);
    plane_tick(h, now_ms);
}
