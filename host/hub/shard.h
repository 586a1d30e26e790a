/* shard.h - the hub's side of one transport instance: its connections and their subscriptions. One
 * thread owns all of it; other threads only use the mailbox. Also the hub itself, which shards
 * share. */
#ifndef HOST_HUB_SHARD_H
#define HOST_HUB_SHARD_H

#include "host/hub/channel.h"
#include "host/hub/l2_def.h"
#include "host/hub/plane.h"
#include "host/hub/slow.h"

enum { SID_LEN = 3 + SOCKET_ID_LEN, SEEN_REFS = 64 };

struct Hub {
    HubOptions opt; /* defaults filled in */
    SlowRules slow;
    HubDispatcher dispatcher;
    bool has_dispatcher;
    struct Declared *declared;    /* everything that was ever declared */
    _Atomic(Patterns *) patterns; /* of what is declared now */
    struct xs_shard *shards;      /* under the lock */
    pthread_mutex_t lock;         /* spaces, sids; before a space's lock */
    Map spaces;                   /* key → Space */
    Map sids;                     /* session id → xs_conn */
    Map per_ip, per_identity;     /* Tally, see clock.c */
    VEC(struct xs_conn *) alarms; /* heap by alarm_ms */
    struct Expiring *ghosts;      /* sid → Ghost: lost sessions that may come back */
#define COUNTER(field, name, type, help) _Atomic uint64_t field;
#include "host/hub/counters.def"
    _Atomic uint64_t closed[HUB_CLOSED_COUNT];
    Buckets deliver_us;
    _Atomic(L2Defs *) servers;
    Plane plane;
    _Atomic(struct Store *) store; /* NULL: no channel was ever recorded */
    _Atomic bool queues_full;      /* together over the limit: nobody is let in */
    _Atomic uint64_t sockets;      /* of realtime servers, ever */
};

/* A client frame that waits for the one before it. */
typedef struct Pending {
    struct Pending *next;
    size_t len;
    char bytes[];
} Pending;

/* One (connection, channel): the subscription, and the line in which its frames are handled. */
typedef struct Sub {
    Member member;
    xs_conn *conn;
    Text name;
    Channel *ch;            /* while joined */
    ShardChannel *local;    /* while joined */
    size_t index;           /* of its slot in local */
    uint64_t presence_from; /* its snapshot shows the changes up to this order */
    uint64_t from_seq;      /* SLOT_HOLD: only later numbered events are for it */
    bool replays;           /* from the position of the request */
    bool joined;
    bool busy;        /* a trigger is running; frames wait */
    bool running;     /* its queue is being worked off further up the stack */
    bool listed;      /* its join came with the request (SSE, long-poll), and is under way */
    bool by_frame;    /* … did not come with it; while it counts in njoined */
    bool leave_after; /* the client left while busy: run the leave triggers then */
    bool wants_history, wants_presence;
    Pending *queue, **queue_end;
} Sub;

/* A space as seen by a shard. */
typedef struct ShardSpace {
    Space *space;
    uint64_t offered; /* everything up to here was offered to the shard's connections … */
    uint64_t epoch;   /* … of this one */
    struct ShardSpace *next;
} ShardSpace;

typedef struct Gap {
    Text channel; /* owned */
    const char *reason;
} Gap;

struct xs_conn {
    xs_shard *shard;
    void *peer;
    Space *space;
    ShardSpace *view;
    Identity *identity;
    Visit *visit;
    char socket_id[SOCKET_ID_LEN + 1], sid[SID_LEN + 1];
    Text client; /* owned: d1_client */
    VEC(Sub *) subs;
    uint32_t njoined;     /* joined or joining */
    uint32_t nby_frame;   /* … by frames */
    uint32_t nlisted;     /* in the request */
    xs_conn *prev, *next; /* all of the shard */
    xs_conn *next_closing, *next_dead;
    bool closing, gone;
    bool buried; /* out of every index, only triggers point here */
    int close_code;
    const char *close_reason;
    _Atomic uint32_t njobs; /* triggers under way that point here */
    uint32_t fifo_frames;
    size_t fifo_bytes;
    bool stopped;                                   /* the transport does not read */
    int64_t frame_tokens, join_tokens, refilled_ms; /* thousandths of a frame */
    uint32_t strikes;
    int64_t strike_ms;
    /* resuming: numbered events are left out until every listed channel is joined, then read from
     * the rings */
    uint32_t listed_pending;
    bool holding;
    bool paused; /* holding because it is slow, see SLOW_PAUSE */
    Position resume;
    uint64_t epoch;         /* of its position: who has channels does not outlive it */
    uint64_t hold_seq;      /* its position meanwhile */
    uint64_t caught_up_seq; /* its position afterwards, until the shard has come so far */
    struct L2Conn *l2;      /* of a realtime server's space; else NULL */
    VEC(Gap) gaps;
    /* time: expires_ms is the shard's, the alarm is under the hub's lock */
    int64_t expires_ms, alarm_ms; /* monotonic */
    size_t alarm_at;              /* 1 + its place in the heap; 0 = none */
    bool warned, token_ends;
    bool away; /* not listed as present though connected */
    struct Tally *ip_tally, *identity_tally;
    uint64_t *seen_refs; /* ring of SEEN_REFS hashes, made at first use */
    uint32_t seen_at;
};

struct xs_shard {
    struct xs_shard *prev_of_hub, *next_of_hub;
    _Atomic uint32_t refs; /* its owner, and every trigger under way */
    Hub *hub;
    const xs_transport_ops *ops;
    const xs_limits *limits;
    void *state;
    Mailbox box;
    uint32_t depth;         /* calls of ours on the stack; gone and close wait for 0 */
    _Atomic bool shedding;  /* shard_shed is in the mailbox */
    int64_t drain_us;       /* how long the last drain took */
    uint32_t nslow;         /* triggers whose end the last drain did not wait for any longer */
    bool draining, touched; /* touched: something was delivered since the last flush */
    xs_conn *conns, *closing, *dead;
    Map by_socket;
    ShardSpace *spaces;
    Buf scratch, joined; /* joined: the events of a burst */
};

/* Frames of a POST for one session. */
typedef struct SendBatch {
    char sid[SID_LEN + 1];
    size_t len;
    char bytes[]; /* the JSON document */
} SendBatch;

/** Close the connections with the longest queues, one of a hundred, none with less than
 * (uintptr_t)least bytes. */
void shard_shed(xs_shard *s, void *least);
xs_shard *shard_ref(xs_shard *s);
void shard_unref(xs_shard *s);
void hub_random(void *out, size_t n);
void hub_log(int level, const char *fmt, ...) XS_PRINTF(2, 3); /* 0 error … 3 debug */

/** The shard's connection with this session id; NULL = not any more. On the shard's thread. */
xs_conn *conn_of_sid(xs_shard *s, const char *sid);
/** Hand a frame to one connection; consumes the reference; NULL is ignored (out of memory: it
 * closes). */
void conn_deliver(xs_conn *c, Event *ev);
/** Close once the current call is done; nothing is delivered from here on. */
void conn_close(xs_conn *c, int code, const char *reason);
/** What other clients see of a token's extras. */
void conn_write_extras(const Hub *h, const Identity *id, Buf *out);
/** Is this event for this connection? For replays; live ones use the same rules in the walk. */
bool conn_may_see(const xs_conn *c, const Event *ev);
/** A lost session that hub->ghosts kept. */
void ghost_free(void *ghost);
void conn_free(xs_conn *c); /* after finish, no job left */
/** A trigger's end when the shard has no mailbox any more; frees the connection with the last one.
 * Any thread. */
void conn_job_ended(xs_conn *c);

/** It counts as joined, or no longer does. */
void sub_count(Sub *sub, bool by_frame);
void sub_uncount(Sub *sub);
/** A slot for a subscriber; room was made by local_reserve. */
XS_MUST_CHECK bool local_reserve(ShardChannel *local);
ShardChannel *local_new(xs_conn *c); /* with room for one; NULL = out of memory */
void local_add(ShardChannel *local, Sub *sub, uint64_t from_order);
void local_remove(Sub *sub);
/** After the channel dropped the shard's interest. */
void local_retire(ShardChannel *local);

#endif
