/* xs/transport.h - transports: plugins that carry frames between clients and the hub.
 *
 * A transport instance is one shard: one thread owns all its connections. Either the plugin runs
 * its own thread and loop (ops.run set: ws, mem), or it lives on the host's HTTP loop (ops.run
 * NULL: sse, lp). Every op except create, adopt, wake, stop and destroy is called on the shard's
 * thread. */
#ifndef XS_TRANSPORT_H
#define XS_TRANSPORT_H

#include "include/xs/error.h"
#include "include/xs/event.h"
#include "include/xs/http.h"
#include "include/xs/plugin.h"

typedef struct xs_shard xs_shard; /* the hub's side of this instance */
typedef struct xs_conn xs_conn;   /* the hub's side of one connection */
typedef struct xs_request
    xs_request; /* a client's handshake: parsed, authenticated; counted by the host */

typedef enum xs_deliver_result {
    XS_SENT,
    XS_QUEUED,
    XS_FULL /* hard limit: the hub calls close(peer, 1013) */
} xs_deliver_result;

typedef enum xs_frame_result {
    XS_FRAME_OK,
    XS_FRAME_STOP /* stop reading this client until ops.resume(peer) */
} xs_frame_result;

typedef enum xs_resume_state {
    XS_RESUME_NONE, /* no position sent, or a malformed one */
    XS_RESUME_OK,
    XS_RESUME_GAP
} xs_resume_state;

typedef struct xs_refusal {
    int close_code;    /* WebSocket close code, 4401 */
    int status;        /* HTTP status, 401 */
    char message[120]; /* for an error frame or body */
} xs_refusal;

typedef struct xs_limits {
    size_t max_message;      /* bytes of one client frame */
    size_t queue_soft_bytes; /* outbound, per connection */
    size_t queue_hard_bytes;
    uint32_t queue_hard_frames;
    uint32_t ping_ms;         /* WebSocket ping interval; SSE heartbeat interval */
    uint32_t pong_timeout_ms; /* without an answer: drop */
    uint32_t stall_ms;        /* no progress with a non-empty queue: drop */
    uint32_t lp_linger_ms, lp_session_ms;
    uint32_t sse_max_age_ms;
    uint32_t presence_grace_ms; /* a lost client counts as present for so long */
    uint32_t max_fragments;     /* of one client message; 0 = no limit */
    bool ws_deflate;            /* agree to permessage-deflate */
    uint32_t lp_idle_sessions;  /* sessions without a waiting poll; beyond, the oldest ends */
} xs_limits;

/* What the host gives a transport. */
typedef struct xs_host {
    size_t size;
    xs_shard *shard;
    const xs_limits *limits;
    const xs_http_api *http; /* NULL for transports with their own thread */
    /**
     * A client is connected. peer: the transport's connection, passed back to the ops.
     * @return NULL = refused, *why filled. Consumes no reference of req.
     */
    xs_conn *(*connect)(xs_shard *shard, void *peer, xs_request *req, xs_refusal *why);
    /** One complete client frame (JSON text); data is valid during the call. */
    xs_frame_result (*frame)(xs_conn *conn, const char *data, size_t len);
    /** Exactly once per connected client, after the last deliver; conn is dead. */
    void (*gone)(xs_conn *conn, int close_code);
    /** The queue of a connection that returned XS_QUEUED drained to the soft level. */
    void (*writable)(xs_conn *conn);
    /** Eventfd of the mailbox: readable = call drain. */
    int (*wake_fd)(xs_shard *shard);
    /** Deliver everything posted to this shard (calls deliver…, then flush once). */
    void (*drain)(xs_shard *shard);
    /** The frame's bytes in a format; made once, shared. NULL = out of memory. Valid while the
     * frame is referenced. */
    const xs_wire *(*wire)(xs_frame *frame, xs_wire_format format);
    xs_frame *(*frame_ref)(xs_frame *frame);
    void (*frame_unref)(xs_frame *frame);
    void (*request_unref)(xs_request *req);
    /** Facts of a request. */
    xs_str (*request_token)(
        xs_request *req); /* subprotocol offered by a WebSocket client; len 0 = none */
    xs_str (*request_query)(xs_request *req, const char *name, unsigned index);
    xs_str (*request_header)(xs_request *req, const char *name);
    xs_str (*request_base)(xs_request *req); /* "/rt/<canonical>" */
    /** Of a connection. */
    xs_str (*conn_sid)(xs_conn *conn); /* session id for /send */
    void (*position)(xs_conn *conn, uint64_t *epoch,
                     uint64_t *seq); /* newest seq offered in its space */
    /** Join the channels listed in the request (SSE, long-poll), in order. Acknowledgements come by
     * deliver. */
    void (*join_listed)(xs_conn *conn, xs_request *req);
    int64_t (*now_ms)(void); /* monotonic */
    void (*random)(void *out, size_t n);
    void (*log)(int level, const char *fmt, ...)
        XS_PRINTF(2, 3); /* 0 error, 1 warning, 2 info, 3 debug */
    /** Does the request present the connection's space and identity? May be missing (XS_HAS). */
    bool (*same_client)(xs_conn *conn, xs_request *req);
    /**
     * Can the position of this request (header Last-Event-ID, else query last_event_id, else
     * cursor, else header If-None-Match) be resumed for every channel it lists? Ask before
     * join_listed, which replays: after the join frames come a XS_FRAME_RESYNC frame for what
     * cannot be, and the missed events in ascending seq.
     */
    xs_resume_state (*resume_state)(xs_conn *conn, xs_request *req);
    /** HTTP-carried transports: one tick more, about ms from now. May be missing (XS_HAS). */
    void (*tick_in)(void *timer, uint32_t ms);
    void *timer; /* for tick_in */
    /** The client was not heard of for presence_grace_ms but may come back (away), or it did. May
     * be missing (XS_HAS). */
    void (*away)(xs_conn *conn, bool away);
    /**
     * A queued frame (DROP_OLDEST or CONFLATE) was taken out because the client is slow. told: a
     * RESYNC frame of its channel is in front of it. @return one reference of what to queue in its
     * place; NULL = nothing. May be missing (XS_HAS): then nothing may be taken out.
     */
    xs_frame *(*skipped)(xs_conn *conn, xs_frame *frame, bool told);
    /** As frame, of a client that speaks MessagePack (XS_WIRE_WS_MSGPACK). May be missing (XS_HAS).
     */
    xs_frame_result (*frame_packed)(xs_conn *conn, const char *data, size_t len);
    /**
     * How many channels a request has to list (query channel) to get all of the connection's back
     * when its session is gone; 0 = those of its first one. As the fourth number of a position it
     * lets join_listed tell a client that lists fewer. May be missing (XS_HAS).
     */
    uint32_t (*to_list)(xs_conn *conn);
} xs_host;

typedef struct xs_transport_stats {
    uint64_t connections, opened, closed, frames_in, frames_out, bytes_in, bytes_out, writes,
        partial_writes;
    uint64_t slow_closed, handshake_failed, queued_bytes;
} xs_transport_stats;

/* Events for all subscribers of a channel with nothing else to deliver this turn. */
enum { XS_BURST_MAX = 256 };

typedef struct xs_burst {
    xs_frame *const *frames;
    const xs_wire *const *wires; /* in the transport's format */
    uint32_t n;                  /* 1..XS_BURST_MAX */
    xs_str text;                 /* all wires behind each other */
    int64_t now_ms;
} xs_burst;

typedef struct xs_transport_ops {
    size_t size;
    xs_wire_format format;
    const char *info_name; /* "ws", "sse", "lp": name in /info */
    /** Any thread, before run. NULL = failed, err set. */
    void *(*create)(const xs_host *host, xs_error *err);
    /** Own thread: runs the loop until stop. NULL = lives on the HTTP loop. */
    void (*run)(void *state);
    /**
     * Take a socket whose request head was read by the host (Sec-WebSocket-Protocol already
     * removed). Owns fd and one reference of req from here on. Any thread. NULL for HTTP-carried
     * transports.
     */
    void (*adopt)(void *state, int fd, const char *head, size_t head_len, xs_request *req);
    /** Serve an exchange (HTTP-carried transports). Borrows req; take a reference to keep it. */
    void (*http)(void *state, xs_http *x, xs_request *req);
    /** Queue or write one frame; takes its own reference when it keeps it. Never blocks. */
    xs_deliver_result (*deliver)(void *state, void *peer, xs_frame *frame);
    /** End of a drain: write everything queued, one gathered write per connection. */
    void (*flush)(void *state);
    void (*resume)(void *state, void *peer); /* read again after XS_FRAME_STOP */
    void (*close)(void *state, void *peer, int code, const char *reason); /* gone follows */
    /** Stop accepting and tell every client to reconnect, spread over deadline_ms. */
    void (*drain)(void *state, uint32_t deadline_ms);
    void (*stop)(void *state); /* any thread; run returns after closing everything */
    void (*destroy)(
        void *state); /* after run returned (or, without run, on the HTTP thread at the end) */
    void (*stats)(void *state, xs_transport_stats *out); /* any thread; counters may lag */
    /** A timer of HTTP-carried transports, every 100 ms. */
    void (*tick)(void *state);
    /**
     * In process (mem): connect a client that is a pair of callbacks. NULL elsewhere. Any thread,
     * as mem_send and mem_close. Owns one reference of req. The result stays valid until mem_close,
     * which comes exactly once, also after on_close, and before destroy.
     */
    void *(*mem_connect)(void *state, xs_request *req,
                         void (*on_frame)(void *ctx, const char *json, size_t len),
                         void (*on_close)(void *ctx, int code), void *ctx);
    void (*mem_send)(void *state, void *peer, const char *json, size_t len);
    void (*mem_close)(void *state, void *peer);
    /**
     * As deliver for each frame and then flush: what the socket takes at once is written without a
     * queue or a reference. May be missing (XS_HAS).
     */
    xs_deliver_result (*burst)(void *state, void *peer, const xs_burst *burst);
    /**
     * HTTP-carried: the next request of an HTTP connection with the same bytes but for its query,
     * which has no credentials of its own: who and where are as in `earlier`, whose query is not to
     * be looked at. False: it needs a request of its own, http follows. May be missing (XS_HAS).
     */
    bool (*http_again)(void *state, xs_http *x, xs_request *earlier);
    /** Bytes that wait for this client. May be missing (XS_HAS). */
    size_t (*queued)(void *state, void *peer);
} xs_transport_ops;

#endif
