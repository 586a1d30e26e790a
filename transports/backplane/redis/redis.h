/* redis.h - the parts of the Redis driver among themselves. Everything belongs to the driver's
 * thread unless said otherwise. */
#ifndef BACKPLANE_REDIS_REDIS_H
#define BACKPLANE_REDIS_REDIS_H

#include <event2/event.h>
#include <hiredis/async.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "include/xs/backplane.h"
#include "include/xs/redisurl.h"
#include "transports/backplane/redis/table.h"
#include "transports/common/clock.h"

enum {
    CONNECT_MS = 3000,
    RETRY_MS = 200,
    RETRY_MAX_MS = 5000,
    TICK_MS = 100,
    PING_MS = 5000, /* a dead peer is noticed after two */
#ifdef XS_SMALL_LIMITS
    STAY_MS = 500,
    MEMBER_MS = 2000,
    QUEUE_BYTES = 4 << 20,
#else
    STAY_MS = 20000,        /* members of this node are confirmed so often */
    MEMBER_MS = 60000,      /* and end without it */
    QUEUE_BYTES = 64 << 20, /* of records, waiting or on their way */
#endif
    QUEUE_DOWN = 1000,  /* records that wait for a connection */
    QUEUE_UP = 100000,  /* records on their way */
    WAIT_MAX_MS = 5000, /* and no longer than this */
    END_MS = 1000,
    KEY_BYTES = 768,
    NODE_BYTES = 32,
    SNAPSHOT_EVENTS = 64,
    NUMBER_MS = 15000, /* a node's number is its own for so long after it was last seen */
    NUMBER_TRIES = 64,
    ARGS_MAX = 16
};

typedef struct Redis Redis;

typedef enum OpKind {
    OP_PUBLISH,
    OP_SPACE,
    OP_WATCH,
    OP_UNWATCH,
    OP_BARRIER,
    OP_LIST, /* channel: the prefix */
    OP_SPREAD,
    OP_ASK,   /* data: the question, without its client; socket_id: the client */
    OP_COUNT, /* channel: the key; ttl_ms: the window */
    OP_JOIN,
    OP_LEAVE
} OpKind;

typedef struct Op {
    struct Op *next;
    OpKind kind;
    bool numbered;
    bool by_age;
    uint32_t events;
    int64_t ttl_ms, age_ms, queued_ms;
    void *token;
    uint64_t n;   /* OP_PUBLISH: among the numbered records of this node; 0 = not sent yet */
    Redis *owner; /* OP_PUBLISH not numbered: of the callback */
    xs_str space, channel, socket_id, data; /* behind the struct */
} Op;

typedef struct OpList {
    Op *first, **end;
} OpList;

/* A channel that this node watches; the key is its topic. */
typedef struct Watch {
    Link link;
    xs_str space, channel;
    uint32_t events;
    bool subscribed; /* the topic's subscription is confirmed */
    bool leaving;    /* it is being ended: hiredis must not be asked for it again before that */
    bool wanted;     /* … and will be */
    uint64_t nonce;  /* of the snapshot that is under way; 0 = none */
} Watch;

/* A space of this node; the key is its name. */
typedef struct Place {
    Link link;
} Place;

/* A member of this node; the key is "<topic> <socket id>". */
typedef struct Own {
    Link link;
    xs_str space, channel, socket_id, value; /* value: "<node> <data>" */
    struct Own *next_left;                   /* it has left, and Redis has not said that it knows */
    int64_t left_ms;
} Own;

enum { PUBLISH, SNAPSHOT, MEMBER, REAP, ASK, COUNT, SCRIPT_COUNT }; /* scripts of keys.h */

struct Redis {
    xs_plane_host host;
    xs_redis_url url;
    uint16_t node_number; /* see keys.h */
    char node[NODE_BYTES + 1];
    char prefix[16]; /* of every key and topic: "xs:{", with the database's number in it */
    pthread_t thread;
    bool threaded;
    struct event_base *base;
    struct event *wake, *tick;
    int wake_fd;
    /* any thread, under the lock */
    pthread_mutex_t lock;
    OpList queue;
    bool stopping;
    _Atomic uint32_t unsent;       /* records and questions without an answer */
    _Atomic uint64_t unsent_bytes; /* of them */
    _Atomic bool up;
    _Atomic uint64_t published, received, dropped, lost;
    /* the thread's */
    redisAsyncContext *commands, *topics;
    uint32_t unready;           /* scripts that are not loaded yet */
    char sha[SCRIPT_COUNT][41]; /* their names */
    OpList sent;                /* numbered records and questions without an answer */
    uint64_t nrecords;
    OpList waiting; /* records and questions, while there is no connection */
    Table spaces, watches, own;
    Own *left, **left_end; /* by the time they left */
    uint64_t nonce;
    uint64_t epochs; /* proposed so far; begins with the node's name */
    int64_t retry_ms, retry_at, ping_at, pinged_ms, stay_at;
    int64_t complained_ms;
    bool ending;
};

static inline void list_push(OpList *l, Op *op)
{
    op->next = NULL;
    *l->end = op;
    l->end = &op->next;
}

static inline Op *list_pop(OpList *l)
{
    Op *op = l->first;
    if (op && !(l->first = op->next))
        l->end = &l->first;
    return op;
}

/* ---- command.c: texts and commands ---- */

typedef struct Command {
    const char *argv[ARGS_MAX];
    size_t lens[ARGS_MAX];
    int n;
    char keys[7][KEY_BYTES];
    int nkeys;
    char digits[10][24];
    int ndigits;
} Command;

void rp_complain(Redis *r, const char *what); /* once a second at most */
/** The text up to the next blank; moves behind the blank. */
xs_str rp_word(xs_str *t);
uint64_t rp_number(xs_str *t, unsigned base);
/** Copy t to *at and move behind it. */
xs_str rp_put(char **at, xs_str t);
void rp_arg(Command *c, xs_str t);
void rp_arg_text(Command *c, const char *t);
void rp_arg_int(Command *c, int64_t n);
/** prefix space}:name[:rest]; false = too long. Any thread. */
bool rp_key(const Redis *r, char out[KEY_BYTES], xs_str space, const char *name, xs_str rest);
void rp_arg_key(const Redis *r, Command *c, xs_str space, const char *name, xs_str rest);
/** EVALSHA of a script with so many keys. */
void rp_begin(const Redis *r, Command *c, int which, int nkeys);
/** done gets r; the connection is given up when there is no memory. */
void rp_send(Redis *r, redisAsyncContext *to, redisCallbackFn *done, const Command *c);
/** done gets ctx, unless this fails. */
int rp_send_with(redisAsyncContext *to, redisCallbackFn *done, void *ctx, const Command *c);

/* ---- link.c: the two connections ---- */

void rp_connect(Redis *r);
/** Give up both connections; they are tried again after a while. */
void rp_lose(Redis *r, const char *why);
bool rp_is_ours(const Redis *r, const redisAsyncContext *link);
/** The answer of a command that has none of interest: an error ends the connection. */
void rp_on_must(redisAsyncContext *link, void *reply, void *ctx);
/** A connection of its own that is waited for; NULL: err. Any thread. */
redisContext *rp_connect_and_wait(Redis *r, xs_error *err);
bool rp_check_version(Redis *r, redisContext *c, xs_error *err);
/** A number that no other node has. */
bool rp_claim_number(Redis *r, redisContext *c, xs_error *err);
bool rp_epoch(Redis *r, xs_str space, uint64_t proposed, uint64_t *epoch, xs_error *err);

/* ---- send.c: what this node says ---- */

/** Room in the bounds of the queue for a record or a question; any thread. */
bool rp_reserve(Redis *r, const Op *op);
void rp_release(Redis *r, const Op *op);

/** The end of a numbered record, or of a question without an answer; numbers NULL: it failed. Frees
 * op. */
void rp_finish_record(Redis *r, Op *op, const xs_plane_record *numbers);
void rp_send_record(Redis *r, Op *op); /* or a question; takes op */
void rp_send_count(Redis *r, const Op *op);
void rp_keep_number(Redis *r);
void rp_send_members(Redis *r, const char *what); /* "stay", "leave" */
void rp_send_left(Redis *r);           /* again: the connection was lost before the answer */
void rp_drop_left(Redis *r, bool all); /* those that have ended by themselves, without connection */
void rp_reap_members(Redis *r);
void rp_member_changed(Redis *r, const Op *op);
void rp_send_note(Redis *r, const Op *op);
void rp_send_barrier(Redis *r, const Op *op);
void rp_send_list(Redis *r, const Op *op);
/** Comes back over the topic when both connections work. */
void rp_send_ping(Redis *r);
void rp_ask_snapshot(Redis *r, Watch *w);

/* ---- topics.c: what it hears ---- */

void rp_subscribe(Redis *r, const Watch *w);
void rp_subscribe_space(Redis *r, xs_str space);
void rp_enter_space(Redis *r, const Op *op);
void rp_watch_channel(Redis *r, const Op *op);
void rp_unwatch_channel(Redis *r, const Op *op);
void rp_forget(Redis *r, Watch *w);

/* ---- redis.c ---- */

void rp_came_up(Redis *r);

#endif
