/* publish.c - static keys compared in constant time, or requests signed with one; idempotency keys;
 * batches. */
#include "host/publish.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <sodium.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "host/auth.h"
#include "host/expiring.h"
#include "host/service.h"

enum {
    KEY_MIN = 16,
    BATCH_MAX = 100,
    DATE_SLACK_S = 300,
    NONCE_TTL_MS = 600000,
    NONCES_MAX = 65536,
    NONCE_LEN_MAX = 128,
    REPEAT_TTL_MS = 300000,
    REPEATS_MAX = 65536,
    ID_MAX = 200,
    SHA_BYTES = 32
};

struct Publisher {
    const Config *config;
    Hub *hub;
    Metrics *metrics;
    Expiring *nonces;
    Expiring *repeats; /* space and id → result JSON, a C string */
    struct event *wake;
    int wake_fd;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t some;
    struct Batch *finished;
    size_t held; /* batches that wait for the disk */
};

static bool next_key(Text keys, size_t *from, Text *key)
{
    while (*from < keys.len) {
        size_t end = text_find(keys, TEXT(","), *from);
        *key = text_trim(text_slice(keys, *from, end), TEXT(" \t"));
        *from = end == SIZE_MAX ? keys.len : end + 1;
        if (key->len)
            return true;
    }
    return false;
}

static void on_finished(evutil_socket_t fd, short what, void *arg);

Publisher *publisher_new(const Config *config, Hub *hub, Metrics *metrics, struct event_base *base,
                         xs_error *err)
{
    Text key;
    for (size_t from = 0; next_key(config->rt_publish_keys, &from, &key);)
        if (key.len < KEY_MIN) {
            xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                    "realtime.publish_keys: a key has less than %d characters", KEY_MIN);
            return NULL;
        }
    Publisher *p = mem_zalloc(1, sizeof *p);
    if (p) {
        *p = (Publisher){.config = config,
                         .hub = hub,
                         .metrics = metrics,
                         .nonces = expiring_new(NONCE_TTL_MS, NONCES_MAX, NULL),
                         .repeats = expiring_new(REPEAT_TTL_MS, REPEATS_MAX, mem_free),
                         .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                         .lock = PTHREAD_MUTEX_INITIALIZER,
                         .some = PTHREAD_COND_INITIALIZER};
        if (p->wake_fd >= 0)
            p->wake = event_new(base, p->wake_fd, EV_READ | EV_PERSIST, on_finished, p);
    }
    if (p && p->nonces && p->repeats && p->wake && event_add(p->wake, NULL) == 0)
        return p;
    publisher_free(p);
    xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    return NULL;
}

void publisher_free(Publisher *p)
{
    if (!p)
        return;
    if (p->wake)
        event_free(p->wake);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    pthread_cond_destroy(&p->some);
    pthread_mutex_destroy(&p->lock);
    expiring_free(p->nonces);
    expiring_free(p->repeats);
    mem_free(p);
}

/* ---- trust ---- */

static bool same_secret(Text a, Text b)
{
    unsigned char ha[SHA_BYTES], hb[SHA_BYTES];
    crypto_hash_sha256(ha, (const unsigned char *)a.ptr, a.len);
    crypto_hash_sha256(hb, (const unsigned char *)b.ptr, b.len);
    return sodium_memcmp(ha, hb, sizeof ha) == 0; /* lengths do not show either */
}

static bool signed_with(Text key, Text message, Text signature)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    char hex[SHA_BYTES * 2 + 1];
    unsigned n = 0;
    if (!HMAC(EVP_sha256(), key.ptr, (int)key.len, (const unsigned char *)message.ptr, message.len,
              mac, &n) ||
        n != SHA_BYTES || signature.len != SHA_BYTES * 2)
        return false;
    sodium_bin2hex(hex, sizeof hex, mac, n);
    return sodium_memcmp(hex, signature.ptr, SHA_BYTES * 2) == 0;
}

static bool check_signature(Publisher *p, xs_http *x)
{
    Text date = text_from(http_api.header(x, "X-XS-Date"));
    Text nonce = text_from(http_api.header(x, "X-XS-Nonce"));
    Text signature = text_from(http_api.header(x, "X-XS-Signature"));
    int64_t when, now = clock_wall_ms();
    if (!signature.len || !nonce.len || nonce.len > NONCE_LEN_MAX || !num_parse_int(date, &when) ||
        when < now / 1000 - DATE_SLACK_S || when > now / 1000 + DATE_SLACK_S)
        return false;
    xs_str body = http_api.body(x);
    unsigned char digest[SHA_BYTES];
    char hex[SHA_BYTES * 2 + 1];
    crypto_hash_sha256(digest, (const unsigned char *)body.ptr, body.len);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    Text path = http_raw_path(x);
    Text message =
        arena_printf(http_arena(x), "%s\n" TEXT_FMT "\n" TEXT_FMT "\n" TEXT_FMT "\n%s",
                     http_api.method(x), TEXT_ARG(path), TEXT_ARG(date), TEXT_ARG(nonce), hex);
    bool ok = false;
    Text key;
    for (size_t from = 0; message.ptr && !ok && next_key(p->config->rt_publish_keys, &from, &key);)
        ok = signed_with(key, message, signature);
    return ok && expiring_put(p->nonces, nonce, NULL, now); /* a nonce counts once */
}

static bool trusted(Publisher *p, xs_http *x)
{
    Text given = auth_bearer(text_from(http_api.header(x, "Authorization")));
    bool ok = false;
    Text key;
    if (!given.ptr)
        return check_signature(p, x);
    for (size_t from = 0; next_key(p->config->rt_publish_keys, &from, &key);)
        ok = same_secret(given, key) || ok;
    return ok;
}

/* ---- publishing ---- */

static int status_of(const xs_error *err)
{
    return err->code == XS_E_BAD_ARG ? 400 : xs_code_get(err->code)->status;
}

static const char *code_of(const xs_error *err)
{
    return status_of(err) == 400 ? "ERROR_CODE_BAD_REQUEST" : xs_code_get(err->code)->wire;
}

static bool bad(xs_error *err, const char *what)
{
    return xs_fail(err, XS_E_BADREQUEST, XS_NO_POS, "Invalid value for param: %s", what);
}

static bool read_event(const Const *row, Arena *a, HubPublish *out, xs_error *err)
{
    Buf data = BUF_INIT, id = BUF_INIT;
    const Const *body = const_get(row, "data"), *auth = const_get(row, "auth");
    const Const *type = const_get(row, "type"); /* of a realtime server's message */
    *out = (HubPublish){.event = const_text_of(type, const_get_text(row, "event")),
                        .exclude = const_get_text(row, "exclude")};
    if (!row || row->kind != C_MAP)
        return bad(err, "events");
    static const char *const texts[] = {"event", "type", "exclude", "id"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        const Const *v = const_get(row, texts[i]);
        if (v && v->kind != C_TEXT && v->kind != C_NULL)
            return bad(err, texts[i]);
    }
    if (!body)
        return xs_fail(err, XS_E_BADREQUEST, XS_NO_POS, "Missing param: data");
    json_write_const(&data, body);
    out->data = arena_text(a, buf_view(&data));
    if (auth) {
        out->dbo_id = const_int_of(const_get(auth, "dbo_id"), 0);
        const Const *row_id = const_get(auth, "row_id");
        json_write_const(&id, row_id ? row_id : &const_null);
        out->row_id = arena_text(a, auth_normal_id(buf_view(&id)));
        if (out->dbo_id <= 0 || !row_id || (row_id->kind != C_INT && row_id->kind != C_TEXT)) {
            buf_deinit(&data);
            buf_deinit(&id);
            return bad(err, "auth");
        }
    }
    bool ok = !data.failed && !id.failed && out->data.ptr;
    buf_deinit(&data);
    buf_deinit(&id);
    return ok || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

/* Repeats of an idempotency key answer what the first one did. */
static Text repeat_key(Arena *a, const Space *space, Text id)
{
    return arena_printf(a, TEXT_FMT ":" TEXT_FMT " " TEXT_FMT, TEXT_ARG(space_tenant(space)),
                        TEXT_ARG(space_canonical(space)), TEXT_ARG(id));
}

/* What a row asks for, or why it cannot be: nothing is published before every row is good. */
typedef struct Row {
    HubPublish event;
    Text id;
    const Const *channels; /* list; NULL = the one in event */
} Row;

static bool read_row(const Const *json, Arena *a, Row *out, xs_error *err)
{
    const Const *channel = const_get(json, "channel"), *channels = const_get(json, "channels");
    *out = (Row){.id = const_get_text(json, "id")};
    if (!read_event(json, a, &out->event, err))
        return false;
    if (out->id.len > ID_MAX)
        return bad(err, "id");
    if (channel && channel->kind == C_TEXT) {
        out->event.channel = channel->text;
        return true;
    }
    bool list =
        channels && channels->kind == C_LIST && channels->count && channels->count <= BATCH_MAX;
    for (uint32_t i = 0; list && i < channels->count; i++)
        list = channels->items[i]->kind == C_TEXT;
    out->channels = channels;
    return list || bad(err, channels ? "channels" : "channel");
}

/* ---- a request: its rows, and the targets of all of them in one array ---- */

typedef struct Batch Batch;

typedef struct Target {
    Receipt receipt; /* first */
    Batch *batch;
    Text channel;
    HubPublished out;
    xs_error *err; /* NULL: published */
} Target;

typedef struct Done {
    Text key;            /* idempotency key; ptr NULL = none */
    const char *earlier; /* what the row that had it first was answered */
    size_t same;         /* 1 + index of an earlier row of this request with that key; 0 = none */
    size_t from, to;     /* targets */
} Done;

/* Lives in the arena of its exchange. */
struct Batch {
    Publisher *p;
    xs_http *x;     /* kept */
    bool left;      /* the client has gone */
    bool one;       /* the only event of the request, whose failure is the request's */
    size_t pending; /* receipts that are out, plus one; under the lock */
    Batch *next;    /* finished */
    Target *targets;
    Done rows[BATCH_MAX];
    size_t nrows, ntargets;
};

static void write_target(const Target *t, Buf *out)
{
    const HubPublished *done = &t->out;
    buf_cstr(out, "{\"channel\":");
    json_write_text(out, t->channel);
    if (t->err) {
        buf_printf(out, ",\"error\":{\"code\":\"%s\",\"message\":", code_of(t->err));
        json_write_text(out, text_from(t->err->message));
        buf_cstr(out, "}}");
        return;
    }
    buf_printf(out,
               ",\"epoch\":\"%016llx\",\"seq\":\"%llu\",\"off\":\"%llu\",\"delivered_local\":%llu}",
               (unsigned long long)done->epoch, (unsigned long long)done->seq,
               (unsigned long long)done->off, (unsigned long long)done->delivered_local);
}

/* The results of a row, which a repeat of its key gets too. false: some target failed. */
static bool write_row(const Batch *b, const Done *row, Buf *out)
{
    bool ok = true;
    while (row->same)
        row = &b->rows[row->same - 1];
    if (row->earlier)
        return buf_cstr(out, row->earlier);
    size_t start = out->len;
    for (size_t i = row->from; i < row->to; i++) {
        if (i > row->from)
            buf_char(out, ',');
        write_target(&b->targets[i], out);
        ok = ok && !b->targets[i].err;
    }
    if (!row->key.ptr)
        return ok;
    int64_t now = clock_wall_ms();
    char *copy = ok && !out->failed ? mem_strndup(out->ptr + start, out->len - start) : NULL;
    mem_free(expiring_take(b->p->repeats, row->key, now));
    if (copy && !expiring_put(b->p->repeats, row->key, copy, now))
        return ok; /* not remembered: a repeat publishes again, as without a key */
    return ok;
}

static void answer(Batch *b)
{
    Buf results = BUF_INIT, reply = BUF_INIT;
    bool ok = true;
    for (size_t i = 0; i < b->nrows; i++) {
        if (i)
            buf_char(&results, ',');
        ok = write_row(b, &b->rows[i], &results) && ok;
    }
    const xs_error *err = b->one && b->ntargets == 1 ? b->targets[0].err : NULL;
    if (b->left) {
        ;
    } else if (err) {
        http_reply_error(b->x, status_of(err), code_of(err), err->message);
    } else {
        buf_printf(&reply, "{\"ok\":%s,\"results\":[", ok ? "true" : "false");
        buf_text(&reply, buf_view(&results));
        buf_cstr(&reply, "]}");
        const xs_header type = {"Content-Type", "application/json; charset=utf-8"};
        reply.failed = reply.failed || results.failed;
        http_reply_take(b->x, 200, &type, 1, &reply);
    }
    buf_deinit(&results);
    buf_deinit(&reply);
    http_release(b->x);
}

static void batch_left(void *peer)
{
    ((Batch *)peer)->left = true;
}

static void batch_writable(void *peer)
{
    (void)peer;
}

/* One less that is out; the last one ends the wait. Any thread. */
static void count_down(Batch *b)
{
    Publisher *p = b->p;
    uint64_t one = 1;
    pthread_mutex_lock(&p->lock);
    if (--b->pending == 0) {
        b->next = p->finished;
        p->finished = b;
        pthread_cond_signal(&p->some);
        ssize_t woken = write(p->wake_fd, &one, sizeof one);
        (void)woken; /* a full counter: the loop is awake already */
    }
    pthread_mutex_unlock(&p->lock);
}

static void answer_finished(Publisher *p)
{
    size_t n = 0;
    pthread_mutex_lock(&p->lock);
    Batch *list = p->finished;
    p->finished = NULL;
    pthread_mutex_unlock(&p->lock);
    for (Batch *b = list, *next; b; b = next, n++) {
        next = b->next;
        answer(b);
    }
    pthread_mutex_lock(&p->lock);
    p->held -= n;
    pthread_mutex_unlock(&p->lock);
}

static void on_finished(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t n;
    if (read(fd, &n, sizeof n) == (ssize_t)sizeof n)
        answer_finished((Publisher *)arg);
}

void publisher_stop(Publisher *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->held) { /* the store does everything that was given to it */
        while (!p->finished)
            pthread_cond_wait(&p->some, &p->lock);
        pthread_mutex_unlock(&p->lock);
        answer_finished(p);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

static xs_error *keep_error(Batch *b, const xs_error *err)
{
    static const xs_error memory = {.code = XS_E_NOMEM, .message = "Out of memory."};
    xs_error *copy = arena_alloc(http_arena(b->x), sizeof *copy);
    if (copy)
        *copy = *err;
    return copy ? copy : (xs_error *)(uintptr_t)&memory;
}

/* Store's thread. */
static void target_ready(Receipt *r, bool ok)
{
    static const xs_error lost = {.code = XS_E_DATABASE,
                                  .message = "The event could not be recorded."};
    Target *t = (Target *)(void *)r;
    if (ok)
        t->out = (HubPublished){r->epoch, r->seq, r->off, r->delivered};
    else
        t->err = (xs_error *)(uintptr_t)&lost;
    count_down(t->batch);
}

static void publish_target(Batch *b, Space *space, HubPublish event, Text channel)
{
    Target *t = &b->targets[b->ntargets++];
    HubPublished out = {0};
    xs_error err = {0};
    *t = (Target){.receipt = {.ready = target_ready}, .batch = b, .channel = channel};
    event.channel = channel;
    event.receipt = &t->receipt;
    pthread_mutex_lock(&b->p->lock);
    b->pending++;
    pthread_mutex_unlock(&b->p->lock);
    bool ok = hub_publish(b->p->hub, space, &event, &out, &err);
    if (ok)
        metric_add(&b->p->metrics->published_http);
    if (t->receipt.pending)
        return; /* t is the store's */
    t->out = out;
    t->err = ok ? NULL : keep_error(b, &err);
    count_down(b);
}

/* A key counts from here on: "" in the repeats means that its events are on their way. */
static bool claim_key(Batch *b, Done *row, xs_error *err)
{
    int64_t now = clock_wall_ms();
    const char *earlier = expiring_get(b->p->repeats, row->key, now);
    if (earlier && !*earlier)
        return xs_fail(err, XS_E_OVERLOAD, XS_NO_POS, "Events with this id are being published.");
    row->earlier = earlier ? arena_text(http_arena(b->x), text_from(earlier)).ptr : NULL;
    if (earlier)
        return row->earlier || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    char *mark = mem_strndup("", 0);
    if (mark && !expiring_put(b->p->repeats, row->key, mark, now))
        return true; /* not remembered */
    return mark || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

static void publish_row(Batch *b, Space *space, const Row *row)
{
    Done *done = &b->rows[b->nrows++];
    xs_error err = {0};
    *done = (Done){.from = b->ntargets, .to = b->ntargets};
    if (row->id.len)
        done->key = repeat_key(http_arena(b->x), space, row->id);
    for (size_t i = 0; done->key.ptr && i + 1 < b->nrows && !done->same; i++)
        if (b->rows[i].key.ptr && text_eq(b->rows[i].key, done->key))
            done->same = i + 1;
    if (done->same)
        return;
    if (done->key.ptr && !claim_key(b, done, &err)) {
        done->key = (Text){0};
        b->targets[b->ntargets++] =
            (Target){.batch = b, .channel = row->event.channel, .err = keep_error(b, &err)};
    } else if (!done->earlier && row->channels) {
        for (uint32_t i = 0; i < row->channels->count; i++)
            publish_target(b, space, row->event, row->channels->items[i]->text);
    } else if (!done->earlier) {
        publish_target(b, space, row->event, row->event.channel);
    }
    done->to = b->ntargets;
}

static bool read_rows(xs_http *x, Row *rows, uint32_t *n, bool *one, xs_error *err)
{
    xs_str body = http_api.body(x);
    Arena *a = http_arena(x);
    const Const *doc = json_parse(a, (Text){body.ptr, body.len}, err);
    const Const *events = const_get(doc, "events");
    if (!doc)
        return xs_fail(err, err->code == XS_E_NOMEM ? XS_E_NOMEM : XS_E_BADREQUEST, XS_NO_POS,
                       err->code == XS_E_NOMEM ? "Out of memory." : "Malformed JSON body.");
    *one = !events;
    *n = 1;
    if (!events)
        return read_row(doc, a, &rows[0], err);
    if (events->kind != C_LIST || events->count > BATCH_MAX)
        return bad(err, "events");
    *n = events->count;
    for (uint32_t i = 0; i < events->count; i++)
        if (!read_row(events->items[i], a, &rows[i], err))
            return false;
    return true;
}

static Batch *batch_new(Publisher *p, xs_http *x, const Row *rows, uint32_t n)
{
    size_t targets = 0;
    for (uint32_t i = 0; i < n; i++)
        targets += rows[i].channels ? rows[i].channels->count : 1;
    Batch *b = arena_alloc(http_arena(x), sizeof *b);
    Target *t = b ? arena_alloc(http_arena(x), (targets + 1) * sizeof *t) : NULL;
    if (!t)
        return NULL;
    *b = (Batch){.p = p, .x = x, .pending = 1, .targets = t};
    return b;
}

bool publisher_trusts(Publisher *p, xs_http *x)
{
    if (trusted(p, x))
        return true;
    http_reply_error(x, 401, "ERROR_CODE_UNAUTHORIZED",
                     p->config->rt_publish_keys.len ? "Authentication Required"
                                                    : "No publish keys are configured.");
    return false;
}

void publisher_handle(Publisher *p, xs_http *x, Space *space)
{
    static const xs_http_events events = {batch_writable, batch_left};
    xs_error err = {0};
    Row rows[BATCH_MAX];
    uint32_t n = 0;
    bool one = false;
    if (!read_rows(x, rows, &n, &one, &err)) {
        http_reply_error(x, status_of(&err), code_of(&err), err.message);
        return;
    }
    Batch *b = batch_new(p, x, rows, n);
    if (!b) {
        http_reply_error(x, 500, "ERROR_FATAL", "Out of memory.");
        return;
    }
    b->one = one;
    http_keep(x);
    for (uint32_t i = 0; i < n; i++)
        publish_row(b, space, &rows[i]);
    pthread_mutex_lock(&p->lock);
    bool last = --b->pending == 0;
    p->held += !last;
    pthread_mutex_unlock(&p->lock);
    if (last)
        answer(b);
    else
        http_api.hold(x, b, &events);
}
