/* publish.c - static keys compared in constant time, or requests signed with one; idempotency keys;
 * batches. */
#include "host/publish.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>

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

Publisher *publisher_new(const Config *config, Hub *hub, Metrics *metrics, xs_error *err)
{
    Text key;
    for (size_t from = 0; next_key(config->rt_publish_keys, &from, &key);)
        if (key.len < KEY_MIN) {
            xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                    "realtime.publish_keys: a key has less than %d characters", KEY_MIN);
            return NULL;
        }
    Publisher *p = mem_zalloc(1, sizeof *p);
    if (p)
        *p = (Publisher){config, hub, metrics, expiring_new(NONCE_TTL_MS, NONCES_MAX, NULL),
                         expiring_new(REPEAT_TTL_MS, REPEATS_MAX, mem_free)};
    if (p && p->nonces && p->repeats)
        return p;
    publisher_free(p);
    xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    return NULL;
}

void publisher_free(Publisher *p)
{
    if (!p)
        return;
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
    int64_t when, now = service_now_ms();
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

static void next_result(Buf *out)
{
    if (out->len && out->ptr[out->len - 1] == '}')
        buf_char(out, ',');
}

static bool publish_one(Publisher *p, Space *space, const HubPublish *event, Buf *out,
                        xs_error *err)
{
    HubPublished done = {0};
    if (!hub_publish(p->hub, space, event, &done, err))
        return false;
    metric_add(&p->metrics->published_http);
    next_result(out);
    buf_cstr(out, "{\"channel\":");
    json_write_text(out, event->channel);
    buf_printf(out,
               ",\"epoch\":\"%016llx\",\"seq\":\"%llu\",\"off\":\"%llu\",\"delivered_local\":%llu}",
               (unsigned long long)done.epoch, (unsigned long long)done.seq,
               (unsigned long long)done.off, (unsigned long long)done.delivered_local);
    return true;
}

static int status_of(const xs_error *err)
{
    return err->code == XS_E_BAD_ARG ? 400 : xs_code_get(err->code)->status;
}

static const char *code_of(const xs_error *err)
{
    return status_of(err) == 400 ? "ERROR_CODE_BAD_REQUEST" : xs_code_get(err->code)->wire;
}

/* One of several targets: its failure is its result. */
static bool publish_one_of(Publisher *p, Space *space, const HubPublish *event, Buf *out)
{
    xs_error err = {0};
    if (publish_one(p, space, event, out, &err))
        return true;
    next_result(out);
    buf_cstr(out, "{\"channel\":");
    json_write_text(out, event->channel);
    buf_printf(out, ",\"error\":{\"code\":\"%s\",\"message\":", code_of(&err));
    json_write_text(out, text_from(err.message));
    buf_cstr(out, "}}");
    return false;
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

/* one: the only event of the request, whose failure is the request's. *ok false: some target
 * failed. */
static bool publish_row(Publisher *p, Space *space, Row *row, bool one, Arena *a, Buf *out,
                        bool *ok, xs_error *err)
{
    Text key = row->id.len ? repeat_key(a, space, row->id) : (Text){0};
    int64_t now = service_now_ms();
    const char *earlier = key.ptr ? expiring_get(p->repeats, key, now) : NULL;
    next_result(out);
    size_t start = out->len;
    if (earlier)
        return buf_cstr(out, earlier);
    bool good = true;
    if (row->channels) {
        for (uint32_t i = 0; i < row->channels->count; i++) {
            row->event.channel = row->channels->items[i]->text;
            good = publish_one_of(p, space, &row->event, out) && good;
        }
    } else if (one) {
        if (!publish_one(p, space, &row->event, out, err))
            return false;
    } else {
        good = publish_one_of(p, space, &row->event, out);
    }
    *ok = *ok && good;
    char *copy =
        good && key.ptr && !out->failed ? mem_strndup(out->ptr + start, out->len - start) : NULL;
    if (copy && !expiring_put(p->repeats, key, copy, now))
        return true; /* not remembered: a repeat publishes again, as without a key */
    return true;
}

static bool publish_all(Publisher *p, Space *space, xs_http *x, Buf *out, bool *ok, xs_error *err)
{
    xs_str body = http_api.body(x);
    Arena *a = http_arena(x);
    Row rows[BATCH_MAX];
    const Const *doc = json_parse(a, (Text){body.ptr, body.len}, err);
    const Const *events = const_get(doc, "events");
    if (!doc)
        return xs_fail(err, err->code == XS_E_NOMEM ? XS_E_NOMEM : XS_E_BADREQUEST, XS_NO_POS,
                       err->code == XS_E_NOMEM ? "Out of memory." : "Malformed JSON body.");
    if (!events)
        return read_row(doc, a, &rows[0], err) &&
               publish_row(p, space, &rows[0], true, a, out, ok, err);
    if (events->kind != C_LIST || events->count > BATCH_MAX)
        return bad(err, "events");
    for (uint32_t i = 0; i < events->count; i++)
        if (!read_row(events->items[i], a, &rows[i], err))
            return false;
    for (uint32_t i = 0; i < events->count; i++)
        if (!publish_row(p, space, &rows[i], false, a, out, ok, err))
            return false;
    return true;
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
    xs_error err = {0};
    Buf results = BUF_INIT, reply = BUF_INIT;
    bool ok = true;
    if (publish_all(p, space, x, &results, &ok, &err)) {
        buf_printf(&reply, "{\"ok\":%s,\"results\":[", ok ? "true" : "false");
        buf_text(&reply, buf_view(&results));
        buf_cstr(&reply, "]}");
        const xs_header type = {"Content-Type", "application/json; charset=utf-8"};
        reply.failed = reply.failed || results.failed;
        http_reply_take(x, 200, &type, 1, &reply);
    } else {
        http_reply_error(x, status_of(&err), code_of(&err), err.message);
    }
    buf_deinit(&results);
}
