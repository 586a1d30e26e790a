/* l2_def.h - the realtime servers of a program: their channels, messages and triggers, and which
 * channel a path belongs to. Immutable, any thread. Specification: realtime.md §2.3, §4.1, §5.4. */
#ifndef HOST_HUB_L2_DEF_H
#define HOST_HUB_L2_DEF_H

#include "host/hub/pattern.h"

typedef enum L2Action {
    L2_CONNECT,
    L2_DISCONNECT,
    L2_JOIN,
    L2_LEAVE,
    L2_DELIVER,
    L2_MESSAGE, /* a handler, not a trigger */
    L2_ACTION_COUNT
} L2Action;

typedef enum L2Who { L2_NOBODY, L2_ANYONE, L2_AUTHENTICATED } L2Who;
typedef enum L2Target { L2_TO_CHANNEL, L2_TO_OTHERS, L2_TO_SENDER, L2_TO_NOBODY } L2Target;

enum { L2_MAX_SEGMENTS = 100, L2_DEFAULT_RETENTION = 1000 };

typedef struct L2Server L2Server;

typedef struct L2Message {
    Text name, auth; /* auth: table that may send it; len 0 = any */
    bool active;
    L2Target to;
    uint32_t proc;
    const Const *middleware; /* member of the declaration; may be NULL */
} L2Message;

typedef struct L2Trigger {
    Text name;
    uint32_t proc;
    bool actions[L2_ACTION_COUNT];
} L2Trigger;

typedef struct L2Channel {
    ChannelConfig config; /* for the ring: no history of its own */
    const L2Server *server;
    Text path; /* "piers/{pier_id}" */
    Text *segments;
    size_t nsegments;
    bool active, anonymous, presence, direct;
    L2Who who;
    bool at_least_once, per_recipient; /* per_recipient: and there is a trigger for it */
    bool transcript;                   /* enabled and not empty by its limit */
    uint32_t limit;                    /* of the transcript */
    int64_t ttl_ms;
    uint32_t messages_per_minute; /* 0 = unlimited */
    int64_t proc;                 /* checks the path parameters; -1 = any text will do */
    L2Message *messages;
    size_t nmessages;
    const L2Trigger **triggers; /* of the channel, most specific first */
    size_t ntriggers;
    const Const *middleware;
} L2Channel;

struct L2Server {
    Text name, canonical;
    bool active;
    bool anonymous; /* some active channel admits clients without a token */
    bool open;      /* active, and some channel is */
    L2Channel *channels;
    size_t nchannels;
    const L2Trigger **triggers; /* connect and disconnect, by name */
    size_t ntriggers;
    const Const *middleware;
};

typedef struct L2Defs {
    L2Server *servers;
    size_t count;
    bool recorded; /* some channel keeps messages beyond the process */
    Arena arena;
} L2Defs;

/** meta: of the bundle; copied. Errors: XS_E_BAD_BUNDLE, XS_E_CONFIG (canonical used
 * twice), XS_E_NOMEM. */
XS_MUST_CHECK bool l2_defs_init(L2Defs *d, const Const *bundle, xs_error *err);
void l2_defs_deinit(L2Defs *d);
const L2Server *l2_server_named(const L2Defs *d, Text name);

bool l2_path_valid(Text path);
/** The active channel a path belongs to: literal segments before parameters, from the left. */
const L2Channel *l2_match(const L2Server *s, Text path);
/** Parameter number i of a path that matches; false = there are no more. */
bool l2_param(const L2Channel *ch, Text path, size_t i, Text *name, Text *value);
const L2Message *l2_message(const L2Channel *ch, Text name); /* active ones */
bool l2_has_trigger(const L2Server *s, const L2Channel *ch, L2Action action);
/** Are its messages kept in the database? */
static inline bool l2_recorded(const L2Channel *ch)
{
    return ch->transcript || ch->at_least_once;
}

#endif
