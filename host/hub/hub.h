/* hub.h - realtime: spaces, channels, subscriptions, ordering, history ring, and protocol D1.
 *
 * Threads: hub_publish and hub_job_done: any. Connection functions (the xs_host upcalls): the
 * shard's thread. Lock order: registry stripe → space → mailbox; nothing is held while calling a
 * transport or the dispatcher. Specification: realtime.md §1-3, §5, §10. */
#ifndef HOST_HUB_HUB_H
#define HOST_HUB_HUB_H

#include "core/buckets.h"
#include "core/const.h"
#include "core/receipt.h"
#include "host/hub/l2_def.h"
#include "include/xs/transport.h"

struct Log;
typedef struct Hub Hub;
typedef struct Space Space; /* (tenant, canonical); lives as long as the hub */

/* Who a connection is. Counted, immutable. */
typedef struct Identity {
    _Atomic uint32_t refs;
    bool authenticated;
    Text table;        /* auth table name */
    int64_t dbo_id;    /* its number in the bundle; 0 = anonymous */
    Text row_id;       /* as JSON: 81 or "uuid"; "0" for anonymous */
    Text extras;       /* JSON object */
    const Const *auth; /* {"id": …, extras…} for $auth; NULL = anonymous */
    Arena arena;       /* holds all of the above */
} Identity;
Identity *identity_new(Text table, int64_t dbo_id, const Const *id,
                       const Const *extras); /* copies; NULL = memory */
Identity *identity_anonymous(void);
Identity *identity_ref(Identity *id);
void identity_unref(Identity *id);
bool identity_same(const Identity *a, const Identity *b); /* anonymous ones are all the same */

/* A client's handshake, made by the host's door and HTTP front. Counted, immutable. */
struct xs_request {
    _Atomic uint32_t refs;
    Space *space;       /* NULL: unknown canonical */
    Identity *identity; /* never NULL */
    int64_t expires_ms; /* epoch: when its token ends; 0 = never, or none */
    bool bad_token;     /* a token was offered and could not be used */
    bool busy;          /* one connection too many: to be told so and closed */
    Text base;          /* "/rt/<canonical>" */
    Text token;         /* WebSocket subprotocol as offered */
    Text method, uri, querystring, remote_ip;
    const Const *query;   /* map name → list of texts, decoded */
    const Const *headers; /* Title-Case names */
    Arena arena;
};
xs_request *request_new(void); /* empty, one reference; fill, then share */
xs_request *request_ref(xs_request *r);
void request_unref(xs_request *r);
/** The same client and space, and nothing of the request itself. NULL = memory. */
xs_request *request_stub(const xs_request *r);

/* What a connection keeps of its request: a tenth of the memory. Immutable, one owner. */
typedef struct Visit Visit;
Visit *visit_new(const xs_request *r); /* NULL = memory */
void visit_free(Visit *v);
/** The request again, without base, token and what only concerned the connection itself
 * (Upgrade, Sec-WebSocket-…). One reference; NULL = memory. */
xs_request *visit_open(const Visit *v, Space *space, Identity *identity);

typedef enum HubAction { HUB_JOIN, HUB_LEAVE, HUB_MESSAGE } HubAction;

typedef enum HubVerdict {
    HUB_ADMIT,   /* join: go on. message: relay payload (replaced when verdict_json is set) */
    HUB_REPLY,   /* message: relay it unchanged, the text is a payload for the sender alone */
    HUB_REFUSE,  /* join_denied or message_rejected with text */
    HUB_CONSUMED /* message: handled, nothing is relayed, no answer */
} HubVerdict;

/* One client action that triggers look at. Owned by the dispatcher until hub_job_done. */
typedef struct HubJob {
    HubAction action;
    Space *space;
    Text channel;
    Text event;         /* name from {"event":…,"data":…}; ptr NULL = none */
    Text payload;       /* JSON: the whole payload */
    Text data;          /* JSON: payload.data when there is an event, else the payload */
    bool authenticated; /* options.authenticated */
    bool active_config; /* false: the bundle has no channel declarations (implicit config) */
    Identity *identity;
    Text socket_id;
    xs_request *request;
    void *link; /* for the dispatcher's queues */
} HubJob;

typedef struct HubDispatcher {
    void *ctx;
    /** Does any trigger match? Cheap, any thread. */
    bool (*wants)(void *ctx, HubAction action, Text channel, Text event);
    /** Run the triggers on a worker; hub_job_done must follow exactly once. false = overload. */
    bool (*run)(void *ctx, HubJob *job);
} HubDispatcher;

/** Any thread. text: refusal text or replacement JSON (copied); ptr NULL = default. Frees the job.
 */
void hub_job_done(HubJob *job, HubVerdict verdict, Text text);

/* Checks a token that a client sends on an open connection. */
typedef struct HubAuth {
    void *ctx;
    /** Who it stands for in the space, one reference; NULL = unusable. Any thread. */
    Identity *(*check)(void *ctx, const Space *space, Text token, int64_t *expires_ms);
} HubAuth;

typedef enum L2Verdict {
    L2_PASS,   /* gate: admitted. deliver: unchanged. Handler: text is its value */
    L2_CHANGE, /* deliver: text is this recipient's payload */
    L2_DROP,   /* deliver and handler: null */
    L2_DENY,   /* gate: text is the reason, or len 0 */
    L2_REJECT, /* the input does not fit, or the program refuses: text for the sender */
    L2_CRASH,
    L2_DROPPED /* never ran: the server is busy or stops */
} L2Verdict;

/* One stack, or chain of stacks, that the hub wants to be run. Owned by the dispatcher until
 * l2_job_done. */
typedef struct L2Job {
    L2Action action;
    Space *space;
    const L2Server *server;
    const L2Channel *channel; /* NULL: connect, disconnect */
    const L2Message *message; /* L2_MESSAGE */
    Text name;                /* of the channel, resolved */
    Text payload;             /* JSON */
    Text client;              /* L2_DELIVER: JSON of the sender; len 0 = the server */
    Identity *identity;       /* of the session */
    uint64_t socket;          /* node and number of its connection */
    int64_t opened_ms;
    xs_request *request;
    void *link; /* for the dispatcher's queues */
} L2Job;

typedef struct L2Dispatcher {
    void *ctx;
    /** Run it on a worker; l2_job_done must follow exactly once. false = overload. Any thread. */
    bool (*run)(void *ctx, L2Job *job);
} L2Dispatcher;

/** Any thread. text is copied. Frees the job. */
void l2_job_done(L2Job *job, L2Verdict verdict, Text text);

typedef struct HubOptions {
    const Const *channels; /* "channels" of the bundle metadata */
    Text default_channel;  /* "authenticated" (default) "anonymous" "closed": join rule without
                              declarations */
    bool reject_bad_token;
    uint32_t ring_events;                /* 0 = 64 */
    size_t ring_bytes;                   /* 0 = 1 MiB per channel */
    size_t space_ring_bytes;             /* 0 = 64 MiB */
    size_t max_event;                    /* 0 = 256 KiB */
    uint32_t max_depth;                  /* 0 = 64 */
    uint32_t channels_per_conn;          /* 0 = 128 */
    uint32_t frames_per_s, frames_burst; /* 0 = 50 / 100 */
    uint32_t fifo_frames;                /* 0 = 64 */
    size_t fifo_bytes;                   /* 0 = 256 KiB */
    uint32_t joins_per_s, joins_burst;   /* 0 = 20 / 128 */
    uint32_t publish_per_s_channel;      /* client messages; 0 = no limit, as below */
    uint32_t conn_per_ip, conn_per_identity;
    int64_t max_conn_age_ms;    /* authenticated connections whose token never ends */
    uint64_t queue_total_bytes; /* of all connections; 0 = no limit */
    int64_t idle_close_ms;      /* WebSocket clients of realtime servers; 0 = never */
    int64_t expiry_warning_ms;  /* before the end of a token; 0 = none */
    Text presence_extras;       /* comma separated keys shown to others; len 0 = all */
    size_t presence_extras_max; /* 0 = 2 KiB; larger extras are not shown */
    Text slow_policy;           /* "CHANNEL=POLICY,...", see slow.h */
    HubAuth auth;               /* check NULL: tokens cannot be renewed */
    const Const *meta;          /* of the bundle, for its realtime servers */
    Text tenant;                /* whose spaces these servers have */
    Text record;                /* file of what recorded channels keep; len 0 = in memory */
    bool crash_delivers;        /* a crashed handler delivers the original payload */
    L2Dispatcher l2;            /* run NULL: whatever needs a stack is refused */
} HubOptions;

/** What the hub and its transports log, in the whole process; before the first hub. INFO and worse
 * without. */
void hub_set_log(const struct Log *log);
XS_MUST_CHECK Hub *hub_new(const HubOptions *opt, const HubDispatcher *dispatcher, xs_error *err);
void hub_free(Hub *h); /* after every shard is freed */
/**
 * The declarations of another program (its metadata) for names, live channels and realtime servers;
 * members that may no longer be there get join_denied and a leave, clients of a server that does
 * not admit them any more are closed. Any thread. Errors: XS_E_CONFIG, XS_E_BAD_BUNDLE, XS_E_NOMEM,
 * of the record; nothing changed then.
 */
XS_MUST_CHECK bool hub_set_declarations(Hub *h, const Const *meta, Text default_channel,
                                        xs_error *err);
/** Find or make the space of (tenant, canonical). tenant may be empty. */
Space *hub_space(Hub *h, Text tenant, Text canonical);
/** Only a space that was made before; NULL = unknown. */
Space *hub_find_space(Hub *h, Text tenant, Text canonical);
/** The space of an active realtime server; NULL = unknown. */
Space *hub_server_space(Hub *h, Text tenant, Text server);
/** The active realtime servers' spaces in the order of the bundle; NULL past the end. */
Space *hub_server_at(Hub *h, size_t index);
bool space_is_server(const Space *s); /* layer L2 */
Text space_tenant(const Space *s);
Text space_canonical(const Space *s);

typedef struct HubPublish {
    Text channel;   /* name, or a pattern ending in * that expands to live channels; L2: a path */
    Text event;     /* L2: type. ptr NULL = none */
    Text data;      /* JSON */
    int64_t dbo_id; /* 0 = everyone; else with row_id (JSON) the only identity to receive it; L2:
                       whose message it is said to be */
    Text row_id;
    Text exclude;     /* socket id not to deliver to; ptr NULL = none */
    Receipt *receipt; /* recorded L2 channels: told when it is on disk; NULL = nobody waits */
} HubPublish;
typedef struct HubPublished {
    uint64_t epoch, seq, off; /* 0 when nothing was numbered, or not yet: see receipt */
    uint64_t delivered_local; /* subscribers at that moment */
} HubPublished;

/** An event that was not published because nobody can be meant by it. */
void hub_count_dropped(Hub *h);

/**
 * Publish a stack or server event. Never waits for a socket.
 * Errors: XS_E_BAD_ARG (name), XS_E_TOO_LARGE, XS_E_NOMEM.
 */
XS_MUST_CHECK bool hub_publish(Hub *h, Space *s, const HubPublish *p, HubPublished *out,
                               xs_error *err);

/** Everything that happens by time: call it every 100 ms or so, with monotonic ms. Any one thread.
 */
void hub_tick(Hub *h, int64_t now_ms);

/** What waits for all clients together, in bytes: past the limit the longest queues are closed and
 * nobody is let in until it is less. Call it every 100 ms or so. Any one thread. */
void hub_note_queues(Hub *h, uint64_t queued);

/** A shard for a transport instance; fills *host with every upcall except http (the caller sets
 * it). */
XS_MUST_CHECK xs_shard *hub_shard_new(Hub *h, const xs_transport_ops *ops, const xs_limits *limits,
                                      xs_host *host, xs_error *err);
/** The transport's state, once created. */
void hub_shard_attach(xs_shard *shard, void *state);
void hub_shard_free(xs_shard *shard); /* after the transport stopped */
/** Run fn on the shard's thread at its next drain (any thread). */
XS_MUST_CHECK bool hub_shard_post(xs_shard *shard, void (*fn)(xs_shard *, void *), void *arg);

/**
 * POST /send: frames for the session sid. Any thread; executed on the session's shard in order.
 * frames: JSON of one frame or a list of ≤ 32. Errors: XS_E_BAD_FRAME, XS_E_NOTFOUND (no such sid),
 * XS_E_ACCESSDENIED (identity differs), XS_E_TOO_LARGE. *n = frames accepted.
 */
XS_MUST_CHECK bool hub_send(Hub *h, Space *s, Text sid, Identity *who, Text frames, uint32_t *n,
                            xs_error *err);

enum {
#define CLOSE(code) HUB_CLOSED_##code,
#include "host/hub/counters.def"
    HUB_CLOSED_COUNT
};

typedef struct HubStats {
    uint64_t spaces, channels;
#define COUNTER(field, name, type, help) uint64_t field;
#include "host/hub/counters.def"
    uint64_t closed[HUB_CLOSED_COUNT]; /* by code */
    const Buckets *deliver_us;         /* from publishing to the last write of a shard; the hub's */
} HubStats;
void hub_stats(Hub *h, HubStats *out);

#endif
