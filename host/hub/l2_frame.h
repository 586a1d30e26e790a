/* l2_frame.h - the frames of protocol D2 as JSON: one line, fixed key order, no blanks; and what
 * clients send. Specification: realtime.md §4.3, §4.4. Builders return one reference; NULL = out of
 * memory. `ref` is JSON of the frame that is answered, len 0 = none. */
#ifndef HOST_HUB_L2_FRAME_H
#define HOST_HUB_L2_FRAME_H

#include "host/hub/frame.h"
#include "host/hub/pattern.h"

typedef enum L2Verb {
    L2V_JOIN,
    L2V_LEAVE,
    L2V_BROADCAST,
    L2V_ACK,
    L2V_PRESENCE,
    L2V_PING,
    L2V_AUTH,
    L2V_UNKNOWN
} L2Verb;

enum { L2_TEXT_MAX = 128 }; /* type, id, client_id, ref, row id: longer ones are refused */

typedef struct L2Frame {
    L2Verb verb;
    Text channel;                          /* longer than CHANNEL_NAME_MAX = too long to be one */
    Text type, id, client_id, ref, to_row; /* ptr NULL = absent; to_row is JSON */
    bool direct;                           /* options.to is there; to_dbo 0 = it names nobody */
    bool listed;                           /* a join that came with the request */
    int64_t to_dbo;
    Buf payload; /* compact JSON; empty = absent */
    char bytes[CHANNEL_NAME_MAX + 1 + 5 * (L2_TEXT_MAX + 1)];
} L2Frame;

/** Fill f, whose payload buffer is empty and kept. false: malformed, or out of memory. */
XS_MUST_CHECK bool l2_read(L2Frame *f, Text data, uint32_t max_depth);
Text l2_payload(const L2Frame *f);

/** {"id":"81","dbo_id":5,"authenticated":true,"extras":{…},"joined_at":s} */
void l2_member(Buf *out, Text row_id, int64_t dbo_id, bool authenticated, Text extras,
               int64_t joined_at_s);

typedef struct L2Joined {
    Text params; /* JSON object */
    bool has_cursor, resumed;
    uint64_t cursor;
} L2Joined;
Event *l2_joined(Text channel, const L2Joined *j, Text ref);
/** A token that ends soon ("expiring"), or was renewed; expires_in_s < 0: it never ends. */
Event *l2_auth(const char *state, int64_t expires_in_s, Text ref);
/** members: joined by commas. */
Event *l2_presence_full(Text channel, Text members, bool truncated, Text ref);
/** key: of l2_person_key; whoever it stands for does not receive it. */
Event *l2_presence(Text channel, bool join, Text key, Text member);

typedef struct L2Said {
    const char *action; /* "message" or "replay" */
    Text channel;
    Text type; /* ptr NULL = none */
    Text payload;
    Text client; /* attribution of a server publish, JSON; len 0 = none */
    bool direct, conversation;
    uint64_t id, log_id; /* 0 = none; the id is shown, see Event.log_id */
    int64_t ts;
    uint32_t flags; /* XS_FRAME_… */
    int64_t to_dbo; /* with XS_FRAME_TARGET_ID */
    Text to_row;    /* with XS_FRAME_TARGET_ID */
    Text sender;    /* for deliver triggers: JSON of the client; len 0 = none */
} L2Said;
Event *l2_said(const L2Said *s);

/** The same message with another payload, for one recipient. */
Event *l2_replaced(const Event *ev, Text payload);

typedef struct L2Receipt {
    Text channel, type, ref;
    uint64_t delivered_local, id; /* id 0 = none */
    bool dropped, direct;
} L2Receipt;
Event *l2_receipt(const L2Receipt *r);
/** action: "conversation_start" or "conversation_end". */
Event *l2_conversation(const char *action, Text channel, size_t count);
Event *l2_acked(Text channel, uint64_t cursor, Text ref);
Event *l2_left(Text channel, Text ref);
Event *l2_pong(Text ref);
/** channel may be empty. limit > 0: the frame that says when to come back. */
Event *l2_error(Text channel, Text message, Text ref, uint32_t limit, uint32_t retry_after_s);

#endif
