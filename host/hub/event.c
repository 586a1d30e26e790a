/* event.c - D1 frames. The key order is part of the protocol. */
#include "host/hub/event.h"

#include "core/json.h"
#include "core/text.h"

static const struct {
    const char *code, *message;
} errors[D1_ERROR_COUNT] = {
    [D1_ANONYMOUS_JOIN] = {"anonymous_join", "Anonymous clients cannot join this channel."},
    [D1_CHANNEL_UNKNOWN] = {"channel_unknown", "Channel not found."},
    [D1_JOIN_DENIED] = {"join_denied", "Join was refused."},
    [D1_NOT_JOINED] = {"not_joined", "You have not joined this channel."},
    [D1_PUBLIC_DISABLED] = {"public_disabled", "Public messaging is disabled for this channel."},
    [D1_PUBLIC_AUTH] = {"public_auth", "Authentication is required to message this channel."},
    [D1_PRIVATE_DISABLED] = {"private_disabled", "Private messaging is disabled for this channel."},
    [D1_PRIVATE_AUTH] = {"private_auth", "Private messaging requires authentication."},
    [D1_PRIVATE_GONE] = {"private_gone", "Recipient is not in this channel."},
    [D1_HISTORY_DISABLED] = {"history_disabled", "Message history is disabled for this channel."},
    [D1_MESSAGE_REJECTED] = {"message_rejected", "Message was rejected."},
    [D1_BAD_FRAME] = {"bad_frame", "Malformed frame."},
    [D1_UNKNOWN_ACTION] = {"unknown_action", "Unknown action."},
    [D1_BAD_CHANNEL] = {"bad_channel", "Invalid channel name."},
    [D1_TOO_LARGE] = {"too_large", "Message is too large."},
    [D1_RATE_LIMITED] = {"rate_limited", "Too many messages."},
    [D1_CHANNEL_LIMIT] = {"channel_limit", "Too many channels."},
    [D1_TOKEN_EXPIRED] = {"token_expired", "Token expired."},
    [D1_SID_GONE] = {"sid_gone",
                     "The session began anew. Join again what the address does not list."},
    [D1_BAD_TOKEN] = {"bad_token", "The token cannot be used on this connection."},
    [D1_INTERNAL] = {"internal", "Internal error."},
};

enum { ENVELOPE = 160 }; /* bytes of a frame beside its variable parts, roughly */

#define LIT(b, s) buf_append((b), "" s, sizeof(s) - 1)

void d1_client(Buf *out, Text extras, int64_t dbo_id, Text row_id, Text socket_id)
{
    LIT(out, "{\"extras\":");
    buf_text(out, extras);
    LIT(out, ",\"permissions\":{\"dbo_id\":");
    json_write_int(out, dbo_id);
    LIT(out, ",\"row_id\":");
    buf_text(out, row_id);
    LIT(out, "},\"socketId\":");
    json_write_text(out, socket_id);
    buf_char(out, '}');
}

bool d1_client_authenticated(Text client)
{
    Text mark = TEXT("\"permissions\":{\"dbo_id\":");
    /* From the end: extras may hold the same text. */
    for (size_t at = client.len; at-- > 0;) {
        Text rest = text_slice(client, at, client.len);
        if (text_starts(rest, mark))
            return rest.len > mark.len && rest.ptr[mark.len] != '0';
    }
    return false;
}

Event *d1_message(const D1Message *m)
{
    Buf b;
    uint32_t flags = m->target.len ? XS_FRAME_TARGET_SOCK : XS_FRAME_STORED;
    frame_begin(&b, ENVELOPE + m->client.len + m->channel.len + m->payload.len);
    LIT(&b, "{\"action\":\"message\",\"client\":");
    buf_text(&b, m->client);
    LIT(&b, ",\"options\":{");
    if (m->authenticated) {
        LIT(&b, "\"authenticated\":true,");
        flags |= XS_FRAME_AUTH_ONLY;
    }
    LIT(&b, "\"channel\":");
    json_write_text(&b, m->channel);
    if (m->target.len) {
        LIT(&b, ",\"socketId\":");
        json_write_text(&b, m->sender);
    }
    LIT(&b, "},\"payload\":");
    buf_text(&b, m->payload);
    buf_char(&b, '}');
    Event *ev = frame_end(&b, flags);
    if (ev) {
        event_set_socket(ev->sender, m->sender);
        event_set_socket(ev->target, m->target);
    }
    return ev;
}

/* {"action":A,"options":{"channel":C},"payload": */
static void begin_channel(Buf *b, size_t expect, const char *action, Text channel)
{
    frame_begin(b, ENVELOPE + channel.len + expect);
    LIT(b, "{\"action\":\"");
    buf_cstr(b, action);
    LIT(b, "\",\"options\":{\"channel\":");
    json_write_text(b, channel);
    LIT(b, "},\"payload\":");
}

Event *d1_event(Text channel, Text event, Text data, int64_t dbo_id, Text row_id)
{
    Buf b;
    uint32_t flags = XS_FRAME_STORED;
    begin_channel(&b, data.len + event.len + row_id.len * 2, "event", channel);
    LIT(&b, "{\"data\":");
    buf_text(&b, data);
    if (event.ptr) {
        LIT(&b, ",\"event\":");
        json_write_text(&b, event);
    }
    if (dbo_id) {
        flags |= XS_FRAME_TARGET_ID;
        LIT(&b, ",\"dbo_id\":");
        json_write_int(&b, dbo_id);
        LIT(&b, ",\"row_id\":");
        buf_text(&b, row_id);
    }
    LIT(&b, "}}");
    return frame_end_for(&b, flags, dbo_id, dbo_id ? row_id : (Text){0});
}

static void put_history(Buf *b, Text history, bool truncated)
{
    LIT(b, "{\"history\":[");
    buf_text(b, history);
    buf_char(b, ']');
    if (truncated)
        LIT(b, ",\"truncated\":true");
    LIT(b, "}}");
}

Event *d1_join(Text client, Text channel, Text history, bool truncated)
{
    Buf b;
    frame_begin(&b, ENVELOPE + client.len + channel.len + history.len);
    LIT(&b, "{\"action\":\"join\",\"client\":");
    buf_text(&b, client);
    LIT(&b, ",\"options\":{\"channel\":");
    json_write_text(&b, channel);
    LIT(&b, "},\"payload\":");
    put_history(&b, history, truncated);
    return frame_end(&b, 0);
}

Event *d1_history(Text channel, Text history, bool truncated)
{
    Buf b;
    begin_channel(&b, history.len, "history", channel);
    put_history(&b, history, truncated);
    return frame_end(&b, 0);
}

Event *d1_leave(Text channel)
{
    Buf b;
    begin_channel(&b, 0, "leave", channel);
    LIT(&b, "null}");
    return frame_end(&b, 0);
}

Event *d1_pong(void)
{
    Buf b;
    frame_begin(&b, ENVELOPE);
    LIT(&b, "{\"action\":\"pong\",\"payload\":null}");
    return frame_end(&b, 0);
}

void auth_payload(Buf *out, const char *state, int64_t expires_in_s)
{
    LIT(out, "{\"state\":");
    json_write_text(out, text_from(state));
    LIT(out, ",\"expires_in\":");
    if (expires_in_s < 0)
        LIT(out, "null");
    else
        json_write_int(out, expires_in_s);
    buf_char(out, '}');
}

Event *d1_auth(const char *state, int64_t expires_in_s)
{
    Buf b;
    frame_begin(&b, ENVELOPE);
    LIT(&b, "{\"action\":\"auth\",\"options\":{},\"payload\":");
    auth_payload(&b, state, expires_in_s);
    buf_char(&b, '}');
    return frame_end(&b, 0);
}

Event *d1_presence_full(Text channel, Text members, bool truncated)
{
    Buf b;
    begin_channel(&b, members.len, "presence_full", channel);
    LIT(&b, "{\"presence\":[");
    buf_text(&b, members);
    buf_char(&b, ']');
    if (truncated)
        LIT(&b, ",\"truncated\":true");
    LIT(&b, "}}");
    return frame_end(&b, 0);
}

Event *d1_presence_update(Text channel, Text action, Text client, Text socket_id)
{
    Buf b;
    begin_channel(&b, client.len, "presence_update", channel);
    LIT(&b, "{\"action\":");
    json_write_text(&b, action);
    LIT(&b, ",\"presence\":");
    buf_text(&b, client);
    LIT(&b, "}}");
    Event *ev = frame_end(&b, XS_FRAME_EXCLUDE | EVENT_PRESENCE);
    if (ev)
        event_set_socket(ev->exclude, socket_id);
    return ev;
}

Text d1_error_text(D1Error code)
{
    return text_from(errors[code].message);
}

Event *d1_error(D1Error code, Text channel, Text command, Text message, unsigned retry_after)
{
    Buf b;
    frame_begin(&b, ENVELOPE + channel.len + message.len);
    LIT(&b, "{\"action\":\"error\",\"options\":{");
    if (channel.len) {
        LIT(&b, "\"channel\":");
        json_write_text(&b, channel);
    }
    LIT(&b, "},\"payload\":{\"code\":");
    json_write_text(&b, text_from(errors[code].code));
    if (command.len && code != D1_BAD_CHANNEL) { /* no channel, so nothing that it was to do */
        LIT(&b, ",\"command\":");
        json_write_text(&b, command);
    }
    LIT(&b, ",\"message\":");
    json_write_text(&b, message.len ? message : text_from(errors[code].message));
    if (retry_after) {
        LIT(&b, ",\"retry_after\":");
        json_write_int(&b, retry_after);
    }
    LIT(&b, "}}");
    return frame_end(&b, 0);
}

Event *d1_resync(Text channels, Text reason)
{
    Buf b;
    frame_begin(&b, ENVELOPE + channels.len);
    LIT(&b, "{\"channels\":[");
    buf_text(&b, channels);
    LIT(&b, "],\"reason\":");
    json_write_text(&b, reason);
    buf_char(&b, '}');
    return frame_end(&b, XS_FRAME_RESYNC);
}

void d1_history_item(Buf *out, const Event *ev)
{
    buf_append(out, ev->frame.json.ptr, ev->frame.json.len - 1); /* without its last brace */
    LIT(out, ",\"created_at\":");
    json_write_int(out, ev->frame.ts);
    buf_char(out, '}');
}
