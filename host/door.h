/* door.h - a listening socket that looks at a request head before anybody reads it, so that one
 * port serves HTTP and WebSocket upgrades through different libraries. Thread: the loop's. */
#ifndef HOST_DOOR_H
#define HOST_DOOR_H

#include <event2/event.h>
#include <sys/socket.h>

#include "core/base.h"

typedef struct Door Door;

typedef struct DoorOptions {
    Text listen; /* "127.0.0.1:8080", "[::1]:0", ":80" */
    size_t head_max;
    int64_t head_timeout_ms;
    /* Connections whose head is not complete. When there are more, those that have been here for a
     * second make room, the oldest first; else the new ones wait in the backlog. */
    size_t max_pending;
    /* How many of them there are descriptors for now, asked of the visitor's ctx; NULL = enough. */
    size_t (*room)(void *ctx);
    uint32_t handshakes_per_s; /* of door_handshake; 0 = no limit */
} DoorOptions;

/**
 * A connection with a complete head (or one longer than head_max). The bytes are still unread in
 * the socket. Takes fd. head is valid during the call.
 */
typedef void (*DoorVisitor)(void *ctx, int fd, Text head, const struct sockaddr *addr,
                            socklen_t len);

/** Errors: XS_E_CONFIG (address), XS_E_IO (cannot bind). */
XS_MUST_CHECK Door *door_new(struct event_base *base, const DoorOptions *opt, DoorVisitor visitor,
                             void *ctx, xs_error *err);
int door_port(const Door *d);
/** "127.0.0.1:8080" as bound, without a NUL in the middle; valid while d is. */
Text door_address(const Door *d);
/** A realtime client came in. Over the limit the door accepts nobody until they are so many per
 * second again: the others wait in the backlog, nobody is refused. */
void door_handshake(Door *d);
/** Accept nobody any more; connections waiting for their head are closed. */
void door_close(Door *d);
void door_free(Door *d);
uint64_t door_accepted(const Door *d);
uint64_t door_timeouts(const Door *d);
uint64_t door_pauses(const Door *d); /* because of handshakes */

#endif
