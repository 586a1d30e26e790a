/* event.h - the frames of protocol D1 as JSON: one line, fixed key order, no blanks.
 * Specification: realtime.md §3.4, §3.5. Builders return one reference; NULL = out of memory. */
#ifndef HOST_HUB_EVENT_H
#define HOST_HUB_EVENT_H

#include "host/hub/frame.h"

typedef enum D1Error {
    D1_ANONYMOUS_JOIN,
    D1_CHANNEL_UNKNOWN,
    D1_JOIN_DENIED,
    D1_NOT_JOINED,
    D1_PUBLIC_DISABLED,
    D1_PUBLIC_AUTH,
    D1_PRIVATE_DISABLED,
    D1_PRIVATE_AUTH,
    D1_PRIVATE_GONE,
    D1_HISTORY_DISABLED,
    D1_MESSAGE_REJECTED,
    D1_BAD_FRAME,
    D1_UNKNOWN_ACTION,
    D1_BAD_CHANNEL,
    D1_TOO_LARGE,
    D1_RATE_LIMITED,
    D1_CHANNEL_LIMIT,
    D1_TOKEN_EXPIRED,
    D1_BAD_TOKEN,
    D1_SID_GONE, /* a session that begins anew */
    D1_INTERNAL,
    D1_ERROR_COUNT
} D1Error;

/** {"extras":…,"permissions":{"dbo_id":5,"row_id":81},"socketId":"…"} */
void d1_client(Buf *out, Text extras, int64_t dbo_id, Text row_id, Text socket_id);

/** Is it one of an identity? client: what d1_client wrote. */
bool d1_client_authenticated(Text client);

typedef struct D1Message {
    Text client; /* d1_client's text */
    Text channel;
    Text payload;       /* JSON */
    Text sender;        /* socket id */
    bool authenticated; /* for authenticated members only */
    Text target;        /* socket id of a private message; len 0 = public, stored */
} D1Message;
Event *d1_message(const D1Message *m);

/** A stack's event; dbo_id 0 = for everyone. Stored. */
Event *d1_event(Text channel, Text event, Text data, int64_t dbo_id, Text row_id);
/** history: items joined by commas. */
Event *d1_join(Text client, Text channel, Text history, bool truncated);
Event *d1_history(Text channel, Text history, bool truncated);
Event *d1_leave(Text channel);
Event *d1_pong(void);
/** The state of the connection's token: "expiring" or "renewed"; expires_in_s < 0 = never. */
/** {"state":…,"expires_in":…}: the payload of auth frames, D2's too. */
void auth_payload(Buf *out, const char *state, int64_t expires_in_s);
Event *d1_auth(const char *state, int64_t expires_in_s);
Event *d1_presence_full(Text channel, Text members, bool truncated);
/** action: "join" or "leave"; socket_id does not receive it. */
Event *d1_presence_update(Text channel, Text action, Text client, Text socket_id);
/** channel and command may be empty; message empty = the default of the code; retry_after 0 = none.
 */
Text d1_error_text(D1Error code);
Event *d1_error(D1Error code, Text channel, Text command, Text message, unsigned retry_after);
/** channels: JSON texts joined by commas. XS_FRAME_RESYNC. */
Event *d1_resync(Text channels, Text reason);
/** One entry of a history: the frame's JSON with created_at as its last key. */
void d1_history_item(Buf *out, const Event *ev);

#endif
