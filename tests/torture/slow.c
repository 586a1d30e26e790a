/* slow.c - clients that do not read as fast as channels speak, over sockets.
 *
 * Policies of realtime.slow_policy: what a stopped reader finds when it reads again, while a
 * neighbour of the same channel misses nothing and the server holds no more than the hard limit.
 * The gate: a reader that takes a few bytes at a time and pings all the while gets every byte in
 * order. Shared: many stopped readers hold the same frames. With --nodes the events come from
 * another server, by Redis. usage: slow XS APP [--nodes] */
#include "bench/measure.h"
#include "bench/rtclient.h"
#include "core/buf.h"
#include "tests/common/complain.h"
#include "tests/common/redis.h"

enum {
    SOFT = 128 << 10,
    HARD = 512 << 10,
    PAD = 16000, /* bytes of an event */
    BATCH = 8,
    WAIT_MS = 20000,
    LATE_MS = 2000,     /* no neighbour waits longer, on a busy machine */
    PUBLISH_MAX = 4000, /* events; the sockets of both ends hold some megabytes */
    MORE = 40,          /* after the policy has set in; less than one replay holds */
    FLOOD = 120,        /* more than one replay holds */
    NAMES = 4,
    PINGS_MAX = 32, /* a server ends a client that sends more than 40 at once */
    STUCK = 60,
    SHARED_EVENTS = 600,
    SLOW_EVENTS = 4000,
    SLOW_PAD = 3000
};

static const char key[] = "slow-publish-key-0001";
static int port, admin_port, publish_port; /* the last one may be another server's */
static int published;                      /* number of the next event */
static char *padding;

/* All rows of a metric together. */
static long metric(const char *name)
{
    char *reply = NULL;
    long value = 0;
    size_t len = strlen(name);
    if (http_request(admin_port, "GET", "/metrics", NULL, NULL, &reply) == 200)
        for (const char *at = reply; (at = strstr(at, name)); at += len)
            if (at[-1] == '\n' && (at[len] == ' ' || at[len] == '{'))
                value += strtol(strchr(at, ' '), NULL, 10);
    free(reply);
    return value;
}

/* Numbered events, BATCH per request; event names go round. */
static bool publish(const char *channel, int n, size_t pad)
{
    while (n > 0) {
        Buf b = BUF_INIT;
        char *reply = NULL;
        buf_cstr(&b, "{\"events\":[");
        for (int i = 0; i < BATCH && n > 0; i++, n--, published++)
            buf_printf(
                &b, "%s{\"channel\":\"%s\",\"event\":\"e%d\",\"data\":{\"n\":%d,\"p\":\"%.*s\"}}",
                i ? "," : "", channel, published % NAMES, published, (int)pad, padding);
        buf_cstr(&b, "]}");
        buf_char(&b, '\0');
        int status = http_request(publish_port, "POST", "/_xs/rt/slow/publish", key, b.ptr, &reply);
        free(reply);
        buf_deinit(&b);
        if (status != 200) {
            complain("publishing: status %d", status);
            return false;
        }
    }
    return true;
}

/* ---- a reader ---- */

typedef struct Reader {
    RtClient *rt;
    bool joined;
    int code;           /* of the close; 0 = open */
    int last, first;    /* numbers of events */
    int by_name[NAMES]; /* newest of each event name */
    int holes;          /* numbers left out without a resync in front */
    int resyncs, noted; /* noted: resyncs since the last event */
    int backwards, frames;
} Reader;

static void reader_frame(void *user, const char *json, size_t len)
{
    Reader *r = user;
    (void)len;
    const char *n = strstr(json, "\"data\":{\"n\":"), *name = strstr(json, "\"event\":\"e");
    if (strstr(json, "\"action\":\"join\"")) {
        r->joined = true;
    } else if (strstr(json, "\"action\":\"resync\"")) {
        r->resyncs++;
        r->noted++;
    } else if (n) {
        int i = (int)strtol(n + 12, NULL, 10);
        if (r->frames++ == 0)
            r->first = i;
        else if (i <= r->last)
            r->backwards++;
        else if (i != r->last + 1 && !r->noted)
            r->holes++;
        r->last = i;
        r->noted = 0;
        if (name)
            r->by_name[strtol(name + 10, NULL, 10) % NAMES] = i;
    }
}

static void reader_close(void *user, int code, const char *reason)
{
    (void)reason;
    ((Reader *)user)->code = code;
}

static bool has_joined(void *ctx)
{
    return ((Reader *)ctx)->joined;
}

static bool open_reader(RtLoop *loop, Reader *r, RtTransport transport, const char *channel)
{
    xs_error err;
    const char *channels[] = {channel};
    RtOptions opt = {.transport = transport,
                     .host = "127.0.0.1",
                     .port = port,
                     .base = "/rt/slow",
                     .channels = channels,
                     .channel_count = 1};
    RtEvents events = {r, NULL, reader_frame, reader_close};
    *r = (Reader){.rt = NULL};
    r->rt = rt_connect(loop, &opt, &events, &err);
    return r->rt && rt_loop_run(loop, WAIT_MS, has_joined, r);
}

static bool is_done(void *ctx)
{
    const Reader *r = ctx;
    return r->code || r->last == published - 1;
}

static bool has_caught_up(void *ctx)
{
    const Reader *r = ctx;
    return r->noted || is_done(ctx);
}

/* ---- policies ---- */

typedef struct Policy {
    const char *name, *counter;
    int more;
} Policy;

static const char *const transport_names[] = {"ws", "sse", "longpoll"};

static void check(const Policy *p, RtTransport transport, const Reader *r, int begin)
{
    const char *on = transport_names[transport];
    bool closes = strcmp(p->name, "close") == 0, conflates = strcmp(p->name, "conflate") == 0;
    if (r->first != begin || r->backwards)
        complain("%s over %s: began with %d, not %d; %d out of order", p->name, on, r->first, begin,
                 r->backwards);
    if (closes) {
        if (r->code != (transport == RT_WS ? 1013 : 1012) || r->holes)
            complain("close over %s: code %d, %d holes", on, r->code, r->holes);
        return;
    }
    if (r->code || r->last != published - 1)
        complain("%s over %s: newest %d of %d, code %d", p->name, on, r->last, published - 1,
                 r->code);
    for (int i = 0; conflates && i < NAMES; i++) {
        int newest = published - 1 - (published - 1 - i) % NAMES;
        if (r->by_name[i] != newest)
            complain("conflate over %s: of e%d the newest is %d, not %d", on, i, r->by_name[i],
                     newest);
    }
    if (conflates ? !r->holes || r->resyncs : r->holes)
        complain("%s over %s: %d holes, %d resyncs", p->name, on, r->holes, r->resyncs);
    bool lossy = !conflates && p->more == FLOOD;
    if (lossy != (r->resyncs > 0))
        complain("%s over %s: %d resyncs", p->name, on, r->resyncs);
}

static void try_policy(RtLoop *loop, const Policy *p, RtTransport transport)
{
    char channel[32];
    Reader stuck, neighbour;
    snprintf(channel, sizeof channel, "%s:%d", p->name, (int)transport);
    if (!open_reader(loop, &stuck, transport, channel) ||
        !open_reader(loop, &neighbour, transport, channel)) {
        complain("%s: no connection", channel);
        return;
    }
    int begin = published, late = 0;
    long before = metric(p->counter), held = 0;
    rt_pause(stuck.rt, true);
    for (int more = -1; more != 0 && published - begin < PUBLISH_MAX;) {
        if (!publish(channel, BATCH, PAD))
            break;
        int64_t sent = clock_mono_ms();
        rt_loop_run(loop, WAIT_MS, is_done, &neighbour);
        int took = (int)(clock_mono_ms() - sent);
        late = took > late ? took : late;
        if (more < 0 && metric(p->counter) > before)
            more = p->more;
        else if (more > 0)
            more = more > BATCH ? more - BATCH : 0;
        long bytes = metric("xs_transport_queued_bytes");
        held = bytes > held ? bytes : held;
    }
    if (metric(p->counter) == before)
        complain("%s over %s: never happened", p->name, transport_names[transport]);
    if (held > HARD || (transport == RT_WS && held < SOFT / 4)) /* streams are counted by time */
        complain("%s over %s: %ld bytes were queued", p->name, transport_names[transport], held);
    if (neighbour.code || neighbour.holes || neighbour.resyncs || neighbour.last != published - 1)
        complain("%s over %s: its neighbour got %d of %d, %d holes", p->name,
                 transport_names[transport], neighbour.last, published - 1, neighbour.holes);
    if (late > LATE_MS)
        complain("%s over %s: its neighbour waited %d ms", p->name, transport_names[transport],
                 late);
    rt_pause(stuck.rt, false);
    rt_loop_run(loop, WAIT_MS, has_caught_up, &stuck);
    publish(channel, 1, PAD); /* whoever was told to reload hears of what comes next */
    rt_loop_run(loop, WAIT_MS, is_done, &stuck);
    check(p, transport, &stuck, begin);
    printf("%s over %s: %d events, %ld bytes held, neighbour at most %d ms late, %d resyncs\n",
           p->name, transport_names[transport], published - begin, held, late, stuck.resyncs);
    rt_free(stuck.rt);
    rt_free(neighbour.rt);
}

/* ---- many stopped readers ---- */

/* Each of them is far above the soft level. */
static bool all_full(void *ctx)
{
    return metric("xs_transport_queued_bytes") > *(int *)ctx * 2 * SOFT;
}

static bool nothing_queued(void *ctx)
{
    (void)ctx;
    return metric("xs_transport_queued_bytes") == 0;
}

/* n queues of the same events. @return by how much the server's memory grew */
static long stop_readers(RtLoop *loop, pid_t pid, RtTransport transport, int n, long *queued)
{
    Reader stuck[STUCK];
    int open = 0;
    while (open < n && open_reader(loop, &stuck[open], transport, "drop_oldest:many"))
        rt_pause(stuck[open++].rt, true);
    if (open < n)
        complain("no connection");
    long before = (long)proc_anon_bytes(pid);
    publish("drop_oldest:many", SHARED_EVENTS, PAD);
    rt_loop_run(loop, WAIT_MS, all_full, &n);
    long grown = (long)proc_anon_bytes(pid) - before;
    *queued = metric("xs_transport_queued_bytes");
    while (open > 0)
        rt_free(stuck[--open].rt);
    if (!rt_loop_run(loop, WAIT_MS, nothing_queued, NULL))
        complain("bytes are queued for clients that have gone");
    return grown;
}

static void share_frames(RtLoop *loop, pid_t pid, RtTransport transport)
{
    long queued;
    stop_readers(loop, pid, transport, 1, &queued); /* as large as the heap gets by itself */
    long grown = stop_readers(loop, pid, transport, STUCK, &queued);
    if (queued < STUCK * SOFT * 2 || queued > STUCK * HARD)
        complain("%d stopped readers: %ld bytes queued", STUCK, queued);
    if (grown > STUCK * HARD / 2)
        complain("%d stopped readers over %s: memory grew by %ld bytes", STUCK,
                 transport_names[transport], grown);
    printf("%d stopped over %s: %ld bytes queued, memory grew by %ld\n", STUCK,
           transport_names[transport], queued, grown);
}

/* ---- the gate: a few bytes at a time, with pings ---- */

typedef struct Trickle {
    int fd, from;
    char *got;
    size_t len, cap;
    int pongs, pings, turns, pauses;
} Trickle;

static bool ws_say(int fd, unsigned char first, const char *text)
{
    char frame[200];
    size_t n = strlen(text), head = n < 126 ? 2 : 4;
    frame[0] = (char)first;
    frame[1] = (char)(0x80 | (n < 126 ? n : 126));
    if (head == 4) {
        frame[2] = (char)(n >> 8);
        frame[3] = (char)n;
    }
    memset(frame + head, 0, 4); /* a mask of zeros */
    memcpy(frame + head + 4, text, n);
    return send_all(fd, frame, head + 4 + n);
}

static bool take_some(Trickle *t, size_t most)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    if (poll(&p, 1, 2000) <= 0)
        return false;
    if (t->cap - t->len < most + 1) {
        t->cap = (t->cap + most) * 2;
        t->got = realloc(t->got, t->cap);
    }
    ssize_t n = t->got ? recv(t->fd, t->got + t->len, most, 0) : -1;
    if (n <= 0)
        return false;
    t->len += (size_t)n;
    t->got[t->len] = '\0';
    return true;
}

/* The JSON of event i as every transport carries it. */
static void put_event(Buf *b, const char *channel, int i)
{
    buf_printf(
        b,
        "{\"action\":\"event\",\"options\":{\"channel\":\"%s\"},\"payload\":{\"data\":{\"n\":%d,"
        "\"p\":\"%.*s\"},\"event\":\"e%d\"}}",
        channel, i, SLOW_PAD, padding, i % NAMES);
}

/* Texts of a WebSocket stream, a line each; pongs are counted. @return bytes that are complete */
static size_t ws_texts(Trickle *t, size_t at, Buf *out)
{
    while (at + 2 <= t->len) {
        const unsigned char *f = (const unsigned char *)t->got + at;
        size_t n = f[1], head = 2;
        if (n == 126 && at + 4 <= t->len) {
            n = (size_t)f[2] << 8 | f[3];
            head = 4;
        } else if (n > 125) {
            break;
        }
        if (at + head + n > t->len)
            break;
        if (f[0] == 0x81) {
            buf_append(out, f + head, n);
            buf_char(out, '\n');
        } else if (f[0] == 0x8a) {
            t->pongs++;
        } else if (f[0] != 0x89) {
            complain("ws: a frame begins with %02x", f[0]);
            return t->len;
        }
        at += head + n;
    }
    return at;
}

static void compare(const char *what, const Buf *got, const char *channel, int from)
{
    size_t at = 0;
    for (int i = from; i < from + SLOW_EVENTS; i++) {
        Buf want = BUF_INIT;
        put_event(&want, channel, i);
        const char *from_here = got->ptr + at,
                   *found = memmem(from_here, got->len - at, want.ptr, want.len);
        /* In order, and nothing but framing between two. */
        if (!found || (i > from && memchr(from_here, '{', (size_t)(found - from_here)))) {
            complain("%s: event %d of %d is not where it should be: %.200s", what, i - from,
                     SLOW_EVENTS, from_here);
            buf_deinit(&want);
            return;
        }
        at = (size_t)(found - got->ptr) + want.len;
        buf_deinit(&want);
    }
}

static bool joined_text(const Trickle *t)
{
    return t->got && memmem(t->got, t->len, "\"action\":\"join\"", 15);
}

static Trickle trickle_open(const char *request)
{
    Trickle t = {.fd = http_connect(port)};
    send_all(t.fd, request, strlen(request));
    return t;
}

/* Publish until the trickle's socket is full. The neighbour reads, so that whatever was published
 * was walked. */
static bool fill(Trickle *t, RtLoop *loop, Reader *neighbour, const char *channel)
{
    long before = metric("xs_hub_slow_paused_total"), paused = before;
    while (paused == before && published - t->from < SLOW_EVENTS) {
        if (!publish(channel, BATCH, SLOW_PAD) || !rt_loop_run(loop, WAIT_MS, is_done, neighbour))
            return false;
        paused = metric("xs_hub_slow_paused_total");
    }
    t->pauses += paused > before;
    return true;
}

/* Is the newest event there to its end? */
static bool has_last(const char *p, size_t n)
{
    char last[32];
    snprintf(last, sizeof last, "\"n\":%d,", published - 1);
    size_t tail = n < 2 * SLOW_PAD ? n : 2 * SLOW_PAD;
    const char *hit = tail ? memmem(p + n - tail, tail, last, strlen(last)) : NULL;
    return hit && memmem(hit, (size_t)(p + n - hit), "}}", 2);
}

static void end_trickle(Trickle *t, const char *what, const Buf *got, const char *channel)
{
    if (t->fd >= 0 && !t->pauses)
        complain("%s: the socket never was full", what);
    if (t->pongs < 3)
        complain("%s: %d of %d pings were answered", what, t->pongs, t->pings);
    compare(what, got, channel, t->from);
    printf("trickle over %s: %zu bytes, %d pings, %d pongs, %d pauses\n", what, t->len, t->pings,
           t->pongs, t->pauses);
    free(t->got);
    close(t->fd);
}

static void trickle_ws(RtLoop *loop)
{
    Reader neighbour;
    if (!open_reader(loop, &neighbour, RT_WS, "pause:ws"))
        complain("no connection");
    Trickle t =
        trickle_open("GET /rt/slow HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: "
                     "Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                     "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    Buf texts = BUF_INIT;
    while (take_some(&t, 4096) && !strstr(t.got, "\r\n\r\n"))
        continue;
    size_t at = t.got ? (size_t)(strstr(t.got, "\r\n\r\n") + 4 - t.got) : 0;
    ws_say(t.fd, 0x81, "{\"action\":\"join\",\"options\":{\"channel\":\"pause:ws\"}}");
    while (!joined_text(&t) && take_some(&t, 4096))
        continue;
    t.from = published;
    while (published - t.from < SLOW_EVENTS && fill(&t, loop, &neighbour, "pause:ws"))
        for (; !has_last(texts.ptr, texts.len); at = ws_texts(&t, at, &texts), t.turns++) {
            if (t.turns % 64 == 0 && t.pings < PINGS_MAX) {
                ws_say(t.fd, 0x89, "are you there");
                t.pings++;
            }
            if (!take_some(&t, 1500)) {
                complain("ws: the stream ended after %zu bytes", t.len);
                break;
            }
        }
    rt_free(neighbour.rt);
    end_trickle(&t, "ws", &texts, "pause:ws");
    buf_deinit(&texts);
}

/* Answers to pings may stand between events. */
static int without_pongs(const char *p, size_t n, Buf *out)
{
    static const char pong[] = "{\"action\":\"pong\",\"payload\":null}";
    int pongs = 0;
    for (const char *end = p + n; p < end;) {
        const char *hit = memmem(p, (size_t)(end - p), pong, sizeof pong - 1);
        buf_append(out, p, (size_t)((hit ? hit : end) - p));
        pongs += hit != NULL;
        p = hit ? hit + sizeof pong - 1 : end;
    }
    return pongs;
}

static void send_ping(const char *what, const char *sid)
{
    char path[128], *reply;
    snprintf(path, sizeof path, "/rt/slow/send?sid=%.25s", sid);
    int status = http_request(port, "POST", path, NULL, "{\"action\":\"ping\"}", &reply);
    free(reply);
    if (status != 200)
        complain("%s: a ping was answered with %d", what, status);
}

static void trickle_sse(RtLoop *loop)
{
    Reader neighbour;
    if (!open_reader(loop, &neighbour, RT_SSE, "pause:sse"))
        complain("no connection");
    Trickle t = trickle_open("GET /rt/slow/sse?channel=pause:sse HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!joined_text(&t) && take_some(&t, 4096))
        continue;
    const char *found = t.got ? strstr(t.got, "\"sid\":\"") : NULL;
    char sid[32] = "";
    if (found)
        snprintf(sid, sizeof sid, "%.25s", found + 7);
    t.from = published;
    while (published - t.from < SLOW_EVENTS && fill(&t, loop, &neighbour, "pause:sse"))
        for (; !has_last(t.got, t.len); t.turns++) {
            if (t.turns % 64 == 0) {
                send_ping("sse", sid);
                t.pings++;
            }
            if (!take_some(&t, 1500)) {
                complain("sse: the stream ended after %zu bytes", t.len);
                break;
            }
        }
    rt_free(neighbour.rt);
    Buf got = BUF_INIT;
    t.pongs = without_pongs(t.got, t.len, &got);
    end_trickle(&t, "sse", &got, "pause:sse");
    buf_deinit(&got);
}

/* Every answer is read in small pieces; pings go beside it. */
static void trickle_longpoll(void)
{
    char request[300], cursor[80] = "", sid[32] = "";
    Buf frames = BUF_INIT;
    Trickle all = {.fd = -1, .from = published};
    for (bool more = true; more || !has_last(frames.ptr, frames.len); all.turns++) {
        snprintf(request, sizeof request,
                 "GET /rt/slow/lp?channel=pause:lp&limit=20&timeout=2%s%s%s%s HTTP/1.1\r\n"
                 "Host: x\r\nConnection: close\r\n\r\n",
                 cursor[0] ? "&cursor=" : "", cursor, sid[0] ? "&sid=" : "", sid);
        Trickle t = trickle_open(request);
        while (take_some(&t, 1500))
            continue;
        close(t.fd);
        const char *c = t.got ? strstr(t.got, "\"cursor\":\"") : NULL,
                   *s = t.got ? strstr(t.got, "\"sid\":\"") : NULL,
                   *f = t.got ? strstr(t.got, "\"frames\":[") : NULL;
        if (!c || !s || !f) {
            complain("longpoll: no answer after %d polls", all.turns);
            free(t.got);
            break;
        }
        snprintf(cursor, sizeof cursor, "%.*s", (int)strcspn(c + 10, "\""), c + 10);
        snprintf(sid, sizeof sid, "%.*s", (int)strcspn(s + 7, "\""), s + 7);
        all.pongs += without_pongs(f + 10, t.len - (size_t)(f + 10 - t.got) - 2, &frames);
        buf_char(&frames, ',');
        all.len += t.len;
        free(t.got);
        more = published - all.from < SLOW_EVENTS;
        if (more && (!all.turns || has_last(frames.ptr, frames.len))) /* what a session holds */
            publish("pause:lp", SLOW_EVENTS / 40, SLOW_PAD);
        send_ping("longpoll", sid);
        all.pings++;
    }
    end_trickle(&all, "longpoll", &frames, "pause:lp");
    buf_deinit(&frames);
}

int main(int argc, char **argv)
{
    static const Policy policies[] = {
        {"close", "xs_hub_slow_closed_total", MORE},
        {"drop_oldest", "xs_hub_slow_dropped_total", FLOOD},
        {"conflate", "xs_hub_slow_conflated_total", FLOOD},
        {"pause", "xs_hub_slow_paused_total", MORE},
        {"pause", "xs_hub_slow_paused_total", FLOOD},
    };
    bool nodes = argc == 4 && strcmp(argv[3], "--nodes") == 0;
    TestRedis redis = {0};
    Server other = {0};
    if (argc != 3 && !nodes)
        return 2;
    padding = malloc(PAD + 1);
    memset(padding, 'x', PAD);
    char admin[32], url[48];
    snprintf(admin, sizeof admin, "127.0.0.1:%d", publish_port = http_free_port());
    setenv("XS_ADMIN_LISTEN", admin, 1);
    setenv("XS_REALTIME_PUBLISH_KEYS", key, 1);
    setenv("XS_REALTIME_DEFAULT_CHANNEL", "anonymous", 1);
    setenv("XS_REALTIME_SLOW_POLICY", "conflate:*=conflate,drop_oldest:*=drop_oldest,pause:*=pause",
           1);
    setenv("XS_REALTIME_QUEUE_SOFT_BYTES", "128k", 1);
    setenv("XS_REALTIME_QUEUE_HARD_BYTES", "512k", 1);
    setenv("XS_REALTIME_RING_EVENTS", "1000", 1);
    setenv("XS_REALTIME_RING_BYTES", "2m", 1);
    setenv("XS_REALTIME_FRAMES_BURST", "100000", 1);
    setenv("XS_LOG_LEVEL", "error", 1);
    char serve[] = "serve", listen_flag[] = "--listen", address[] = "127.0.0.1:0", db[] = "--db",
         memory[] = ":memory:", drain[] = "--drain-ms", ms[] = "100";
    char *args[] = {argv[1], serve, argv[2], listen_flag, address, db, memory, drain, ms, NULL};
    Server server;
    signal(SIGPIPE, SIG_IGN);
    RtLoop *loop = rt_loop_new();
    if (nodes) {
        if (!redis_start(&redis))
            return 1;
        snprintf(url, sizeof url, "redis://127.0.0.1:%d", redis.port);
        setenv("XS_REALTIME_BACKPLANE", url, 1);
        if (!server_start(&other, args))
            return 1;
        snprintf(admin, sizeof admin, "127.0.0.1:%d", admin_port = http_free_port());
        setenv("XS_ADMIN_LISTEN", admin, 1);
    } else {
        admin_port = publish_port;
    }
    if (!loop || !server_start(&server, args))
        return 1;
    port = server.port;
    for (size_t i = 0; nodes && i < sizeof policies / sizeof *policies - 1; i++)
        try_policy(loop, &policies[i], RT_WS);
    for (int transport = RT_WS; transport <= RT_SSE && !nodes; transport++) {
        for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
            try_policy(loop, &policies[i], (RtTransport)transport);
        share_frames(loop, server.pid, (RtTransport)transport);
    }
    if (!nodes) {
        trickle_ws(loop);
        trickle_sse(loop);
        trickle_longpoll();
    }
    rt_loop_free(loop);
    free(padding);
    if (server_stop(&server, SIGTERM, 10000) != 0 ||
        (nodes && server_stop(&other, SIGTERM, 10000) != 0))
        complain("the server did not end well");
    redis_stop(&redis);
    return failures ? 1 : 0;
}
