/* channel.h - spaces and their channels: numbering, ring, members, and which shards listen.
 * Everything here except space_new, space_free and space_lock/unlock wants the space's lock held;
 * that one critical section gives every connection the events of a space in ascending order
 * (invariant O1). Specification: realtime.md §1. */
#ifndef HOST_HUB_CHANNEL_H
#define HOST_HUB_CHANNEL_H

#include "core/vec.h"
#include "host/hub/history.h"
#include "host/hub/hub.h"
#include "host/hub/mailbox.h"
#include "host/hub/pattern.h"
#include "host/hub/presence.h"

typedef struct Channel Channel;
typedef struct ShardChannel ShardChannel;
typedef VEC(Event *) EventVec; /* holds references */

/* What a channel knows of a subscriber; part of a Sub. Constant while it is a member, but for
 * watches. */
typedef struct Member {
    xs_shard *shard;
    Text socket_id, client; /* client: d1_client's text */
    bool authenticated;
    bool watches; /* asked for presence */
} Member;

/* One subscriber as a shard's walk sees it. */
typedef struct Slot {
    void *peer;
    uint64_t from_order; /* only later posts are for it; UINT64_MAX = nothing any more */
    struct Sub *sub;
    uint32_t flags;
} Slot;
enum { SLOT_AUTH = 1, SLOT_PRESENCE = 2, SLOT_HOLD = 4, SLOT_TAP = 8 /* asks l2_tap first */ };

/* The subscribers of one channel on one shard. Belongs to the shard's thread, except pending. */
struct ShardChannel {
    Channel *ch; /* valid while not dead */
    struct ShardSpace *view;
    Slot *slots;
    size_t count, cap;
    _Atomic uint32_t pending; /* mails under way that point here */
    bool dead;                /* no subscriber left; freed when pending is 0 */
};

typedef struct Interest {
    xs_shard *shard;
    Mailbox *box;
    ShardChannel *local;
    uint32_t count;
} Interest;

struct Channel {
    Space *space;
    Text name;
    _Atomic(const ChannelConfig *) config; /* replaced by hub_set_declarations */
    uint32_t slow;   /* XS_FRAME_ flag of its policy for slow clients; 0 = they are closed */
    uint64_t number; /* of all channels of the space, ever */
    RingLimits limits;
    Ring ring;
    uint64_t off, last_seq;
    Map members; /* socket id → Member */
    uint32_t nwatchers;
    Roster roster;                  /* of a channel with presence, and of every D2 channel */
    Channel *tick_prev, *tick_next; /* in the space's list while the roster waits for time */
    bool ticking;
    int64_t said_tokens,
        said_ms; /* client messages: thousandths, see realtime.publish_per_s_channel */
    Interest *interest;
    size_t ninterest, interest_cap;
    Channel *prev, *next; /* list of idle channels, oldest use first */
    bool idle;
    struct Mirror *mirror; /* of a backplane; see plane.h */
};

struct Space {
    Hub *hub;
    Text key, tenant, canonical;
    _Atomic(const struct L2Server *) server; /* layer L2, of the program that runs; NULL = L1 */
    Map rates;                               /* L2: who said how much lately, see l2.c */
    _Atomic uint64_t epoch;                  /* constant without a backplane */
    pthread_mutex_t lock;
    uint64_t seq;   /* of the newest numbered event */
    uint64_t order; /* of the newest post */
    uint64_t reaped_seq;
    uint64_t numbered; /* channels, ever */
    Map channels;
    size_t bytes, max_bytes; /* rings and channels */
    RingLimits limits;
    Channel *idle_head, *idle_tail, *sweep;
    Channel *ticking;         /* rosters that wait for time */
    struct PlaneSpace *plane; /* of a backplane; see plane.h */
};

Space *space_new(Hub *hub, Text tenant, Text canonical, const RingLimits *limits, size_t max_bytes);
void space_free(Space *s);
/** The text under which a space is found; NULL = out of memory. Owned by the caller. */
char *space_key(Text tenant, Text canonical, Text *key);
void space_lock(Space *s);
void space_unlock(Space *s);

Channel *space_find(Space *s, Text name);
/** Find or make; NULL = out of memory. channel_settle must follow before the lock is given up. */
Channel *space_channel(Space *s, Text name, const ChannelConfig *config);
/** Give the channel the configuration it has from now on. */
void channel_configure(Channel *ch, const ChannelConfig *config);
/** After any use: a channel nobody listens to goes to the idle list, or away. */
void channel_settle(Channel *ch);
void channel_free(Channel *ch);
/** Free idle channels whose ring has expired: a few per call. */
void space_sweep(Space *s, int64_t now_ms);

/** The shard's part of the channel, NULL = it has no subscriber there. */
ShardChannel *channel_local(const Channel *ch, const xs_shard *shard);
/** false: out of memory, nothing changed. */
XS_MUST_CHECK bool channel_add_member(Channel *ch, Member *m, Mailbox *box, ShardChannel *local);
/** true: it was the shard's last one. */
bool channel_drop_member(Channel *ch, Member *m);
void channel_set_watching(Channel *ch, Member *m, bool watches);
Member *channel_member(const Channel *ch, Text socket_id);

/** Keep a numbered event in the ring. false: out of memory, nothing changed. */
XS_MUST_CHECK bool channel_keep(Channel *ch, Event *ev);
/** Number the event and keep it in the ring. false: out of memory, nothing changed. */
XS_MUST_CHECK bool channel_store(Channel *ch, Event *ev);
/** Keep a numbered event of an earlier process in the ring. false: out of memory, nothing changed.
 */
XS_MUST_CHECK bool channel_restore(Channel *ch, Event *ev);
/** Give it the next order and post it to every interested shard; returns the subscribers there. */
uint64_t channel_post(Channel *ch, Event *ev);

/** The channel's roster wants channel ticks until it says otherwise. */
void space_want_tick(Channel *ch);
/** Announce presence changes that are due in every channel; takes the lock itself. */
void space_tick(Space *s, int64_t now_ms);
/** May one more client message go to this channel? per_s 0 = no limit. */
XS_MUST_CHECK bool channel_may_say(Channel *ch, uint32_t per_s, int64_t now_ms);

/** Public entries of the configured history, oldest first; sender len 0 = of anyone. false =
 * memory. */
XS_MUST_CHECK bool channel_history(Channel *ch, bool authenticated, Text sender, EventVec *out);

typedef struct Position {
    bool given, earliest;
    uint64_t epoch, seq;
    uint32_t to_list; /* see xs_host */
} Position;
/** "<16 hex digits>.<seq>[.<of the transport>[.<to_list>]]", anything behind ignored, or
 * "earliest". Else not given. */
Position position_parse(Text t);
/**
 * What was missed since the position, oldest first; ch NULL = the channel does not exist (yet).
 * @return NULL = ok; else the reason of the gap: "epoch" "future" "evicted" "limit".
 */
const char *channel_recover(const Space *s, Channel *ch, Position pos, EventVec *out);
void event_vec_deinit(EventVec *v);

#endif
