/* plane.h - channels that lie on several servers. With a backplane a channel's numbers, ring and
 * roster are the backplane's; this node holds a mirror of each channel that it has members in:
 * watched before the first join is answered, dropped a while after the last leave. What a client
 * says and what a program publishes goes out and comes back numbered, in one order on all nodes.
 *
 * Functions on a Channel want its space's lock. Specification: realtime.md §13. */
#ifndef HOST_HUB_PLANE_H
#define HOST_HUB_PLANE_H

#include "host/hub/channel.h"
#include "host/hub/inspect.h"
#include "include/xs/backplane.h"

typedef struct Plane {
    const xs_backplane_ops *ops; /* NULL: this server is alone */
    void *state;
} Plane;

/**
 * Connect; before the first space is made. The plugin outlives the hub.
 * Errors: the driver's; XS_E_CONFIG: the program has realtime servers.
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
/** To every channel that begins so and has members anywhere. false: out of memory. Any thread. */
XS_MUST_CHECK bool plane_publish_all(Hub *h, Space *s, Text prefix, const HubPublish *p);
/** hub_end on the other nodes. Any thread. */
void plane_end(Hub *h, Space *s, const HubTarget *who, Text channel, bool reconnect);

/**
 * A client wants to join and knows events up to the number `known`. true: the mirror is complete.
 * false: on the way; mirror_queue keeps the job.
 */
bool mirror_use(Channel *ch, uint64_t known);
/** The mirror is complete, but what this node published up to now has to come back first: the
 * queued job waits for it. */
void mirror_barrier(Channel *ch, HubJob *job);
/** The job is done with HUB_ADMIT when the mirror is complete, else with HUB_REFUSE. */
void mirror_queue(Channel *ch, HubJob *job);
/** Nobody is in the channel: the mirror goes in a while. */
void mirror_idle(Channel *ch);
void mirror_free(Channel *ch);
/** A member of this node was announced, or its leaving. */
void mirror_announce(Channel *ch, const Present *p);
void plane_space_free(Space *s);

/** What a program with a realtime server of that name is told. Always false. */
bool plane_refuse_server(Text name, xs_error *err);

#endif
