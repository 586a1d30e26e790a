/* l2_i.h - inside of l2*.c: a connection, a subscription and an operation of layer L2. Thread: the
 * shard's, except where said. */
#ifndef HOST_HUB_L2_I_H
#define HOST_HUB_L2_I_H

#include "host/hub/l2.h"
#include "host/hub/l2_frame.h"
#include "host/hub/l2_store.h"
#include "host/hub/protocol.h"

enum { L2_KEY_MAX = 200, L2_MAX_WAITING = 2000 /* events of one subscription that waits */ };

/* A backplane does not answer in time. */
#define L2_UNREACHABLE "The channel cannot be reached at the moment"

typedef struct L2Conn {
    bool connecting, admitted, slow, listed;
    uint64_t socket;
    int64_t opened_ms;
    Pending *queue, **queue_end;
    uint32_t frames;
    size_t bytes;
} L2Conn;

typedef struct L2Sub {
    Sub sub; /* first: indexes hold pointers to it */
    const L2Channel *channel;
    Text client_id;  /* owned; ptr NULL = none */
    uint32_t nops;   /* that point here */
    bool opening;    /* joined, and its transcript is not out yet */
    bool asked;      /* opening: the store is reading */
    bool delivering; /* a deliver trigger runs */
    bool listed;     /* it counts as one socket of its identity in the roster */
    bool has_cursor, resumed;
    uint64_t cursor, upto, page; /* page: last id that was replayed */
    EventVec waiting;            /* from waiting_at on */
    size_t waiting_at;
    EventVec kept; /* opening: what the deliver triggers are asked about before */
    Buf members;   /* opening: the roster as it was at the join */
    bool members_cut;
    char *ref; /* of the join; owned */
    size_t ref_len;
} L2Sub;

typedef enum OpStage {
    AT_WORKER,
    AT_STORE,  /* or on its way over the backplane */
    AT_MIRROR, /* a join: the channel comes from the backplane */
    AT_COUNTER /* a message: the backplane counts it */
} OpStage;

typedef struct L2Op {
    L2Job pub; /* first: the dispatcher holds a pointer to it */
    MailLink link;
    StoreOp store;
    OpStage stage;
    xs_shard *shard;
    xs_conn *conn; /* NULL: nobody waits */
    L2Sub *sub;
    Buf texts; /* behind the Texts of pub and below */
    Text type, ref, to_row, exclude;
    bool direct;
    int64_t to_dbo;
    Event *event; /* L2_DELIVER; a reference */
    L2Verdict verdict;
    char *text; /* owned */
    size_t text_len;
    bool failed;
    uint64_t delivered;
    Receipt *receipt; /* of whoever published */
    const char *why;  /* AT_COUNTER: it is refused anyway */
    uint32_t wait_s;  /* AT_COUNTER: too many, come back then */
    Receipt own;      /* of the backplane */
    MirrorWait wait;
} L2Op;

static inline const L2Server *l2_server(const xs_conn *c)
{
    return c->space->server;
}

/* ---- l2_sub.c ---- */

/** "u:5:81"; a socket of its own without identity: "s:<id>". */
Text l2_person_key(const Identity *who, const char *socket_id, char out[L2_KEY_MAX]);
/** Whose cursor it is; len 0: the client has none. */
Text l2_cursor_key(const L2Sub *sub, char out[L2_KEY_MAX]);
/** What a recorded channel keeps. */
StoreRules l2_rules(const L2Channel *ch);
/** What rosters tell of it, JSON. */
void l2_write_member(const xs_conn *c, Buf *out);
void l2_write_params(const L2Sub *sub, Buf *out);
void l2_answer_error(xs_conn *c, Text channel, Text message, Text ref);
void l2_refuse(xs_conn *c, const L2Frame *f, const char *message);
L2Sub *l2_sub(const xs_conn *c, Text name);
bool l2_keep_text(Text *out, Text t);
void l2_sub_drop_waiting(L2Sub *sub);
/** Free everything it owns but itself. */
void l2_sub_clear(L2Sub *sub);
L2Sub *l2_sub_new(xs_conn *c, const L2Channel *channel, Text name);
/** Gone when it has neither a membership nor anything to do. */
void l2_sub_release(L2Sub *sub);
L2Op *l2_op_new(xs_conn *c, L2Action action, Text name, Text payload);
void l2_op_free(L2Op *op);
/** The connection and its subscription stay until the op is back. */
void l2_op_attach(L2Op *op, xs_conn *c, L2Sub *sub);
void l2_op_detach(L2Op *op);
/** Back to the shard. Any thread; consumes the op. */
void l2_op_return(L2Op *op);
/** To a worker. false: overload; the op is detached and freed. */
bool l2_op_work(L2Op *op);
/** Run an observer: nobody waits for it. */
void l2_observe(xs_conn *c, L2Action action, const L2Channel *channel, Text name);
L2Op *l2_op_of(StoreOp *store);
void l2_op_came_back(StoreOp *store);
/** To the store, or to the backplane. false: not taken; the op stays the caller's. */
XS_MUST_CHECK bool l2_op_store(L2Op *op, StoreKind kind, Hub *h, const L2Channel *ch, Text name,
                               Text client, void (*done)(StoreOp *));
void l2_sub_pass(L2Sub *sub, Event *ev);
/** Behind what waits; consumes ev, NULL is out of memory. */
void l2_sub_answer(L2Sub *sub, Event *ev);
/** What waits, until a trigger has to be asked. */
void l2_sub_pump(L2Sub *sub);
/** Did the transcript or the replay show it? */
bool l2_sub_knows(const L2Sub *sub, const Event *ev);
void l2_delivery_done(L2Op *op);

/* ---- l2_say.c ---- */

void l2_internal_error(L2Op *op);
/** A handler or the store is done. true: the op went on. */
bool l2_message_done(L2Op *op);
void l2_broadcast(xs_conn *c, L2Frame *f);

/* ---- l2_join.c ---- */

void l2_refuse_join(xs_conn *c, const L2Frame *f, const char *message);
void l2_join(xs_conn *c, L2Frame *f);
void l2_join_done(L2Op *op);
/** Out of the channel; announced when it was the identity's last socket. */
void l2_sub_leave(L2Sub *sub, uint32_t grace_ms);
void l2_leave(xs_conn *c, L2Frame *f);
void l2_ack(xs_conn *c, L2Frame *f);
void l2_ack_done(L2Op *op);
void l2_roster(xs_conn *c, L2Frame *f);

/* ---- l2_plane.c: with a backplane ---- */

/** A message for every node; said->flags say for whom, and whether it is numbered. false: not
 * taken. Any thread, any lock. */
XS_MUST_CHECK bool l2_plane_say(Hub *h, Space *s, const L2Channel *ch, const L2Said *said,
                                Text exclude, Receipt *receipt);
/** The same from a client: the op comes back when the message is here again. false: not taken, the
 * op stays the caller's. */
XS_MUST_CHECK bool l2_plane_broadcast(L2Op *op, L2Said *said, bool stored);
/** Is the channel here? Else the join comes back as an op AT_MIRROR, or *failed. */
XS_MUST_CHECK bool l2_plane_ready(L2Sub *sub, bool triggered, bool waited, bool *failed);
/** What l2_op_store does. */
XS_MUST_CHECK bool l2_plane_ask(L2Op *op, Hub *h, Text channel);
/** Are this client's messages counted over all nodes? */
bool l2_plane_counts(const xs_conn *c, const L2Sub *sub);
/** Count one; the op comes back. false: nobody counts, the op stays the caller's. */
XS_MUST_CHECK bool l2_plane_count(L2Op *op);

/* ---- l2.c ---- */

/** Back on the shard; consumes the op. */
void l2_op_arrived(MailLink *link);

#endif
