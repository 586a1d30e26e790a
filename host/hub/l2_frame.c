/* l2_frame.c - D2 frames. The key order is part of the protocol. */
#include "host/hub/l2_frame.h"

#include "core/json.h"
#include "core/num.h"
#include "core/text.h"
#include "host/hub/event.h"
#include "host/hub/protocol.h"

enum { ENVELOPE = 200 }; /* bytes of a frame beside its variable parts, roughly */

#define LIT(b, s) buf_append((b), "" s, sizeof(s) - 1)

/* ---- reading ---- */

typedef struct Reading {
    JsonReader r;
    L2Frame *f;
    size_t used; /* of f->bytes */
    uint32_t max_depth;
    bool has_action, channel_in_options;
} Reading;

/* A copy in the frame; longer ones keep a length that checks refuse. */
static Text keep(Reading *in, Text t, size_t max)
{
    char *at = in->f->bytes + in->used;
    size_t n = t.len < max ? t.len : max;
    if (in->used + n + 1 > sizeof in->f->bytes)
        return (Text){"", SIZE_MAX};
    if (n)
        memcpy(at, t.ptr, n);
    at[n] = '\0';
    in->used += n + 1;
    return (Text){at, t.len > max ? max + 1 : t.len};
}

static bool skip_value(Reading *in)
{
    uint32_t base = in->r.depth;
    do {
        JsonTok tok = json_next(&in->r);
        if (tok == JSON_ERROR || tok == JSON_END || in->r.depth > in->max_depth)
            return false;
    } while (in->r.depth > base);
    return true;
}

/* The next value as it is written; the reader stands behind its key. */
static bool raw_value(Reading *in, Text *out)
{
    const char *from = in->r.at;
    if (!skip_value(in))
        return false;
    *out = text_trim((Text){from, (size_t)(in->r.at - from)}, TEXT(" \t\r\n:"));
    return true;
}

/* A text, or null for none. */
static bool text_value(Reading *in, Text *out, size_t max)
{
    JsonTok tok = json_next(&in->r);
    if (tok == JSON_TEXT)
        *out = keep(in, in->r.text, max);
    return tok == JSON_TEXT || tok == JSON_NULL;
}

/* A message id may also be a number. */
static bool id_value(Reading *in, Text *out)
{
    JsonTok tok = json_next(&in->r);
    char digits[NUM_TEXT_MAX];
    if (tok == JSON_TEXT)
        *out = keep(in, in->r.text, L2_TEXT_MAX);
    else if (tok == JSON_INT)
        *out = keep(in, (Text){digits, num_write_int(in->r.i, digits)}, L2_TEXT_MAX);
    return tok == JSON_TEXT || tok == JSON_INT || tok == JSON_NULL;
}

/* options.to: {"dbo_id": 5, "row_id": 81}. What is unusable stays marked as direct. */
static bool read_to(Reading *in)
{
    L2Frame *f = in->f;
    JsonTok tok = json_next(&in->r);
    if (tok == JSON_NULL)
        return true;
    f->direct = true;
    if (tok != JSON_MAP_BEGIN) {
        uint32_t base = in->r.depth - (tok == JSON_LIST_BEGIN);
        while (in->r.depth > base) {
            tok = json_next(&in->r);
            if (tok == JSON_ERROR || tok == JSON_END || in->r.depth > in->max_depth)
                return false;
        }
        return tok != JSON_ERROR;
    }
    while ((tok = json_next(&in->r)) == JSON_KEY) {
        bool dbo = text_eq(in->r.text, TEXT("dbo_id")), row = text_eq(in->r.text, TEXT("row_id"));
        Text value;
        if (!raw_value(in, &value))
            return false;
        int64_t n;
        bool number = num_parse_int(value, &n);
        if (dbo)
            f->to_dbo = number && n > 0 ? n : 0;
        else if (row && value.len <= L2_TEXT_MAX &&
                 (number || (value.len > 2 && value.ptr[0] == '"')))
            f->to_row = keep(in, value, L2_TEXT_MAX);
    }
    if (!f->to_row.ptr)
        f->to_dbo = 0;
    return tok == JSON_MAP_END;
}

static bool read_options(Reading *in)
{
    L2Frame *f = in->f;
    JsonTok tok = json_next(&in->r);
    if (tok == JSON_NULL)
        return true;
    if (tok != JSON_MAP_BEGIN)
        return false;
    while ((tok = json_next(&in->r)) == JSON_KEY) {
        bool ok;
        Text channel = {0};
        if (text_eq(in->r.text, TEXT("channel"))) {
            ok = text_value(in, &channel, CHANNEL_NAME_MAX);
            if (channel.ptr) {
                f->channel = channel;
                in->channel_in_options = true;
            }
        } else if (text_eq(in->r.text, TEXT("client_id"))) {
            ok = id_value(in, &f->client_id);
        } else if (text_eq(in->r.text, TEXT("to"))) {
            ok = read_to(in);
        } else {
            ok = skip_value(in);
        }
        if (!ok)
            return false;
    }
    return tok == JSON_MAP_END;
}

static L2Verb verb_of(Text t)
{
    static const char *const names[] = {"join",     "leave", "broadcast", "ack",
                                        "presence", "ping",  "auth"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (text_eq(t, text_from(names[i])))
            return (L2Verb)i;
    return L2V_UNKNOWN;
}

static bool read_member(Reading *in)
{
    L2Frame *f = in->f;
    Text key = in->r.text, raw = {0};
    if (text_eq(key, TEXT("action"))) {
        if (json_next(&in->r) != JSON_TEXT)
            return false;
        f->verb = verb_of(in->r.text);
        in->has_action = true;
        return true;
    }
    if (text_eq(key, TEXT("channel"))) {
        Text *to = in->channel_in_options ? &raw : &f->channel;
        return text_value(in, to, in->channel_in_options ? 0 : CHANNEL_NAME_MAX);
    }
    if (text_eq(key, TEXT("type")))
        return text_value(in, &f->type, L2_TEXT_MAX);
    if (text_eq(key, TEXT("id")))
        return id_value(in, &f->id);
    if (text_eq(key, TEXT("options")))
        return read_options(in);
    if (text_eq(key, TEXT("payload"))) {
        f->payload.len = 0;
        return raw_value(in, &raw) && protocol_compact(raw, &f->payload);
    }
    if (!text_eq(key, TEXT("ref")))
        return skip_value(in);
    if (!raw_value(in, &raw) || raw.ptr[0] == '{' || raw.ptr[0] == '[')
        return false;
    if (raw.len <= L2_TEXT_MAX && !text_eq(raw, TEXT("null")))
        f->ref = keep(in, raw, L2_TEXT_MAX);
    return true;
}

bool l2_read(L2Frame *f, Text data, uint32_t max_depth)
{
    Reading in = {.f = f, .max_depth = max_depth};
    bool ok = false;
    json_reader_init(&in.r, data);
    f->verb = L2V_UNKNOWN;
    if (json_next(&in.r) == JSON_MAP_BEGIN) {
        JsonTok tok = json_next(&in.r);
        while (tok == JSON_KEY && read_member(&in))
            tok = json_next(&in.r);
        ok = tok == JSON_MAP_END && json_next(&in.r) == JSON_END && in.has_action;
    }
    json_reader_deinit(&in.r);
    return ok;
}

Text l2_payload(const L2Frame *f)
{
    return f->payload.len ? buf_view(&f->payload) : TEXT("null");
}

/* ---- writing ---- */

/* {"action":A,"channel":C */
static void begin(Buf *b, size_t expect, const char *action, Text channel)
{
    frame_begin(b, ENVELOPE + channel.len + expect);
    LIT(b, "{\"action\":\"");
    buf_cstr(b, action);
    buf_char(b, '"');
    if (channel.len) {
        LIT(b, ",\"channel\":");
        json_write_text(b, channel);
    }
}

static void put_type(Buf *b, Text type)
{
    if (type.ptr) {
        LIT(b, ",\"type\":");
        json_write_text(b, type);
    }
}

/* The last key of an answer, and its end. */
static Event *end(Buf *b, Text ref)
{
    if (ref.len) {
        LIT(b, ",\"ref\":");
        buf_text(b, ref);
    }
    buf_char(b, '}');
    return frame_end(b, 0);
}

static void put_id(Buf *b, uint64_t id)
{
    buf_printf(b, "\"%llu\"", (unsigned long long)id);
}

void l2_member(Buf *out, Text row_id, int64_t dbo_id, bool authenticated, Text extras,
               int64_t joined_at_s)
{
    LIT(out, "{\"id\":\"");
    buf_text(out, bare_row_id(row_id));
    LIT(out, "\",\"dbo_id\":");
    json_write_int(out, dbo_id);
    buf_cstr(out, authenticated ? ",\"authenticated\":true" : ",\"authenticated\":false");
    LIT(out, ",\"extras\":");
    buf_text(out, text_eq(extras, TEXT("{}")) ? TEXT("[]") : extras);
    LIT(out, ",\"joined_at\":");
    json_write_int(out, joined_at_s);
    buf_char(out, '}');
}

Event *l2_joined(Text channel, const L2Joined *j, Text ref)
{
    Buf b;
    begin(&b, j->params.len + ref.len, "join", channel);
    LIT(&b, ",\"payload\":{\"joined\":true,\"params\":");
    buf_text(&b, j->params);
    if (j->has_cursor) {
        LIT(&b, ",\"cursor\":");
        put_id(&b, j->cursor);
        buf_cstr(&b, j->resumed ? ",\"resumed\":true" : ",\"resumed\":false");
    }
    buf_char(&b, '}');
    return end(&b, ref);
}

Event *l2_auth(const char *state, int64_t expires_in_s, Text ref)
{
    Buf b;
    begin(&b, ref.len, "auth", (Text){0});
    LIT(&b, ",\"payload\":");
    auth_payload(&b, state, expires_in_s);
    return end(&b, ref);
}

Event *l2_presence_full(Text channel, Text members, bool truncated, Text ref)
{
    Buf b;
    begin(&b, members.len + ref.len, "presence_full", channel);
    LIT(&b, ",\"payload\":{\"members\":[");
    buf_text(&b, members);
    buf_char(&b, ']');
    if (truncated)
        LIT(&b, ",\"truncated\":true");
    buf_char(&b, '}');
    return end(&b, ref);
}

/* Not for the one it is about: "u:<dbo>:<row>", or "s:<socket>". */
Event *l2_presence(Text channel, bool join, Text key, Text member)
{
    Buf b;
    begin(&b, member.len, join ? "presence_join" : "presence_leave", channel);
    LIT(&b, ",\"payload\":{\"member\":");
    buf_text(&b, member);
    LIT(&b, "}}");
    size_t colon = text_find(key, TEXT(":"), 2);
    int64_t dbo_id;
    if (colon != SIZE_MAX && num_parse_int(text_slice(key, 2, colon), &dbo_id))
        return frame_end_for(&b, EVENT_PRESENCE | EVENT_NOT_ID, dbo_id,
                             text_slice(key, colon + 1, key.len));
    Event *ev = frame_end(&b, EVENT_PRESENCE | XS_FRAME_EXCLUDE);
    if (ev)
        event_set_socket(ev->exclude, text_slice(key, 2, key.len));
    return ev;
}

Event *l2_said(const L2Said *s)
{
    Buf b;
    begin(&b, s->type.len + s->payload.len + s->client.len + s->to_row.len + s->sender.len,
          s->action, s->channel);
    put_type(&b, s->type);
    LIT(&b, ",\"payload\":");
    size_t from = b.len - sizeof(Event);
    buf_text(&b, s->payload);
    size_t to = b.len - sizeof(Event);
    if (s->conversation)
        LIT(&b, ",\"conversation\":true");
    if (s->direct)
        LIT(&b, ",\"direct\":true");
    if (s->client.len) {
        LIT(&b, ",\"client\":");
        buf_text(&b, s->client);
    }
    if (s->id) {
        LIT(&b, ",\"id\":");
        put_id(&b, s->id);
    }
    LIT(&b, ",\"ts\":");
    json_write_int(&b, s->ts);
    buf_char(&b, '}');
    Event *ev = frame_end_from(&b, s->flags | EVENT_SAID, s->to_dbo, s->to_row, s->sender);
    if (ev) {
        ev->payload_at = (uint32_t)from;
        ev->payload_len = (uint32_t)(to - from);
        ev->log_id = s->log_id;
    }
    return ev;
}

Event *l2_replaced(const Event *ev, Text payload)
{
    Buf b;
    const char *json = ev->frame.json.ptr;
    size_t rest = ev->payload_at + ev->payload_len;
    frame_begin(&b, ENVELOPE + ev->frame.json.len + payload.len);
    buf_append(&b, json, ev->payload_at);
    buf_text(&b, payload);
    buf_append(&b, json + rest, ev->frame.json.len - rest);
    Event *copy = frame_end(&b, ev->frame.flags & XS_FRAME_STORED);
    if (copy) {
        copy->frame.seq = ev->frame.seq;
        copy->frame.off = ev->frame.off;
        copy->frame.epoch = ev->frame.epoch;
        copy->frame.ts = ev->frame.ts;
    }
    return copy;
}

Event *l2_receipt(const L2Receipt *r)
{
    Buf b;
    begin(&b, r->type.len + r->ref.len, "broadcast", r->channel);
    put_type(&b, r->type);
    LIT(&b, ",\"payload\":{\"delivered_local\":");
    json_write_int(&b, (int64_t)r->delivered_local);
    if (r->dropped)
        LIT(&b, ",\"dropped\":true");
    if (r->direct)
        LIT(&b, ",\"direct\":true");
    if (r->id) {
        LIT(&b, ",\"id\":");
        put_id(&b, r->id);
    }
    buf_char(&b, '}');
    return end(&b, r->ref);
}

Event *l2_conversation(const char *action, Text channel, size_t count)
{
    Buf b;
    begin(&b, 0, action, channel);
    LIT(&b, ",\"payload\":{\"count\":");
    json_write_int(&b, (int64_t)count);
    buf_char(&b, '}');
    return end(&b, (Text){0});
}

Event *l2_acked(Text channel, uint64_t cursor, Text ref)
{
    Buf b;
    begin(&b, ref.len, "ack", channel);
    LIT(&b, ",\"payload\":{\"cursor\":");
    put_id(&b, cursor);
    buf_char(&b, '}');
    return end(&b, ref);
}

Event *l2_left(Text channel, Text ref)
{
    Buf b;
    begin(&b, ref.len, "leave", channel);
    LIT(&b, ",\"payload\":{\"left\":true}");
    return end(&b, ref);
}

Event *l2_pong(Text ref)
{
    Buf b;
    begin(&b, ref.len, "pong", (Text){0});
    return end(&b, ref);
}

Event *l2_error(Text channel, Text message, Text ref, uint32_t limit, uint32_t retry_after_s)
{
    Buf b;
    begin(&b, message.len + ref.len, "error", channel);
    LIT(&b, ",\"payload\":{\"message\":");
    json_write_text(&b, message);
    if (limit) {
        LIT(&b, ",\"code\":\"rate_limited\",\"limit\":");
        json_write_int(&b, limit);
        LIT(&b, ",\"retry_after\":");
        json_write_int(&b, retry_after_s);
    }
    buf_char(&b, '}');
    return end(&b, ref);
}
