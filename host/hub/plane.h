/* plane.h - channels that lie on several servers. With a backplane a channel's numbers, ring and
 * roster are the backplane's; this node holds a mirror of each channel that it has members in:
 * watched before the first join is answered, dropped a while after the last leave. What a client
 * says and what a program publishes goes out and comes back numbered, in one order on all nodes.
 * What realtime servers do beyond that: l2_plane.c.
 *
 * Functions on a Channel want its space's lock. Specification: realtime.md §13. */
#ifndef HOST_HUB_PLANE_H
#define HOST_HUB_PLANE_H

#include "host/hub/channel.h"
#include "host/hub/inspect.h"
#include "include/xs/backplane.h"

enum { PLANE_NODE_LEN = 16 };

typedef struct Plane {
    const xs_backplane_ops *ops; /* NULL: this server is alone */
    void *state;
    char node[PLANE_NODE_LEN + 1];
    uint16_t number; /* of the node; 0 = alone */
} Plane;

/* Something that waits for a mirror; its owner's until done, which runs on any thread, maybe under
 * the space's lock. */
typedef struct MirrorWait MirrorWait;
struct MirrorWait {
    MirrorWait *next;
    uint64_t barrier; /* behind this one; 0 = when the mirror is complete */
    uint64_t off;     /* mirror_await */
    int64_t since_ms; /* it waits */
    void (*done)(MirrorWait *w, bool ok);
};

/**
 * Connect; before the first shard is made. The record is the backplane's from now on. The plugin
 * outlives the hub. Errors: the driver's.
 */
XS_MUST_CHECK bool hub_set_backplane(Hub *h, const xs_backplane_ops *ops, Text url, xs_error *err);
/** After the transports have ended, before hub_free: says that this node's members left. */
void hub_stop_backplane(Hub *h);
/** What waited too long, mirrors nobody needs, statistics. The loop's thread, no lock held. */
void plane_tick(Hub *h, int64_t now_ms);
/** The epoch that a new space has on all nodes. May wait. */
XS_MUST_CHECK bool plane_epoch(Hub *h, Text space, uint64_t *epoch, xs_error *err);

/**
 * Send an event instead of numbering it here; receipt: NULL, or told its numbers. false: not taken,
 * counted. Any thread, any lock.
 */
XS_MUST_CHECK bool plane_publish(Hub *h, Space *s, Text channel, const ChannelConfig *config,
                                 const Event *ev, Receipt *receipt);
/** The same for bytes: numbered when they are to be kept, within limits. */
XS_MUST_CHECK bool plane_send(Hub *h, Space *s, Text channel, bool numbered,
                              const xs_plane_limits *limits, Text record, Receipt *receipt);
/** To every channel that begins so and has members anywhere. false: out of memory. Any thread. */
XS_MUST_CHECK bool plane_publish_all(Hub *h, Space *s, Text prefix, const HubPublish *p);
/** hub_end on the other nodes. Any thread. */
void plane_end(Hub *h, Space *s, const HubTarget *who, Text channel, bool reconnect);

/**
 * A client wants to join and knows events up to the number `known`. true: the mirror is complete.
 * false: on the way; mirror_queue keeps who waits for it.
 */
bool mirror_use(Channel *ch, uint64_t known);
/** The mirror is complete, but what this node published up to now has to come back first: whoever
 * is queued then waits for it. */
void mirror_barrier(Channel *ch, MirrorWait *w);
/** Done with ok when the mirror is complete, in order; without when that takes too long. */
void mirror_queue(Channel *ch, MirrorWait *w);
/** Done when the channel's record number off has been delivered here, or is not to come. Without
 * the space's lock. */
void mirror_await(Space *s, Text channel, MirrorWait *w, uint64_t off);
/** Nobody is in the channel: the mirror goes in a while. */
void mirror_idle(Channel *ch);
void mirror_free(Channel *ch);
/** Tell the other nodes that somebody is here, or not any more. */
void mirror_announce(Channel *ch, Present *p, bool here);
void plane_space_free(Space *s);

/* ---- l2_plane.c: upcalls of the backplane ---- */

void l2_plane_answer(void *hub, void *token, const xs_plane_answer *a);
void l2_plane_counted(void *hub, void *token, uint64_t n, int64_t left_ms);

#endif
