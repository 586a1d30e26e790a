/* presence.h - who is in a channel, as its watchers were told. A roster holds the announced state:
 * a snapshot shows it, every later change is posted behind that snapshot, so each watcher counts
 * each member once. Changes that come faster than PRESENCE_RATE wait for one window, in which a
 * join and a leave of the same member cancel out. Lock: the space's. Specification: realtime.md §6.
 */
#ifndef HOST_HUB_PRESENCE_H
#define HOST_HUB_PRESENCE_H

#include "core/map.h"
#include "host/hub/frame.h"

enum { PRESENCE_RATE = 50 /* changes per second announced at once */, PRESENCE_WINDOW_MS = 100 };

struct Channel;

typedef struct Present {
    struct Present *prev, *next; /* in the roster's changes or its absent ones */
    Text key, member;            /* behind the struct: what is told of it, as JSON */
    uint32_t sockets;            /* of this node: of a D2 identity; else 1 while it is here */
    uint32_t far;                /* other nodes that have it */
    uint64_t number;             /* what other nodes know it by, see mirror_announce */
    bool told;                   /* they know that it is on this node */
    bool announced;              /* the watchers know it */
    bool here;                   /* a member, or back in time */
    bool listed, absent;         /* in a list; in that of the absent */
    int64_t due_ms;              /* absent: when its leaving is announced */
} Present;

typedef struct PresentList {
    Present *first, *last;
} PresentList;

typedef struct Roster {
    Map present;         /* socket id, in D2 the identity → Present */
    PresentList changes; /* to be announced at flush_ms, oldest first */
    PresentList absent;  /* lost ones that may come back */
    int64_t flush_ms, second_ms;
    uint32_t in_second; /* changes announced since second_ms */
} Roster;

void roster_deinit(Roster *r);
/** A socket came, or came back. false: out of memory, nothing changed. */
XS_MUST_CHECK bool roster_join(struct Channel *ch, Text key, Text member, int64_t now_ms);
/** One more node has it. false: out of memory, nothing changed. */
XS_MUST_CHECK bool roster_join_far(struct Channel *ch, Text key, Text member, int64_t now_ms);
/** One node less. */
void roster_leave_far(struct Channel *ch, Text key, int64_t now_ms);
/** Somebody who is on other nodes only; NULL = nobody. */
const Present *roster_remote(const Roster *r, Text key);
/** A socket left; announced when it was the last of its key, wherever, and none comes back within
 * grace_ms. */
void roster_leave(struct Channel *ch, Text key, uint32_t grace_ms, int64_t now_ms);
/** Announce what is due. true: more will be due later. */
bool roster_tick(struct Channel *ch, int64_t now_ms);
/** Members joined by commas, the last of them self (of this key, listed though nobody was told); at
 * most a thousand. */
void roster_write(const Roster *r, Text self, Buf *out, bool *truncated);
/** The same without self. */
void roster_write_others(const Roster *r, Text self, Buf *out, bool *truncated);
/** Sockets of a key on this node. */
uint32_t roster_sockets(const Roster *r, Text key);

#endif
