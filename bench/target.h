/* target.h - what a fan-out benchmark can measure: xs itself, the floor, and other servers that are
 * installed here. Each is started on loopback with a configuration of its own and stopped again. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include "bench/fleet.h"
#include "core/arena.h"
#include "core/buf.h"

typedef struct TargetOptions {
    Carrier carrier;
    uint32_t channels;         /* every subscriber has all of them; events go round */
    uint32_t threads;          /* xs, floor: threads that write to WebSockets */
    uint32_t size;             /* bytes of an event's data */
    uint32_t handshakes_per_s; /* xs: clients it lets in; 0 = no limit */
    uint32_t speakers; /* xs: clients whose messages go through a trigger that writes a row and
                          publishes; 0 = events are published over HTTP */
    const char *host;  /* with ports: a server that runs already, speaking xs's protocol */
    const char *publish_host;
    int port, admin_port;
    const char *base, *key;
    pid_t pid;
} TargetOptions;

typedef struct Target {
    const char *name;
    pid_t pid; /* 0 = unknown */
    char host[64], publish_host[64], dir[64];
    int port, publish_port;
    Dialect dialect, idle;
    TargetOptions options;
    const struct TargetInfo *info;
    Arena arena; /* texts of the dialects */
    bool own;
} Target;

/** Names of all targets, for --help; NULL past the end. */
const char *target_name(size_t index);
const char *target_doc(size_t index);
/** Can this target carry that, here and now? false: *why tells. */
bool target_available(const char *name, Carrier carrier, char *why, size_t why_size);
/** Start it and wait until it accepts connections. false: a message is on stderr. */
XS_MUST_CHECK bool target_start(Target *t, const char *name, const TargetOptions *options);
void target_stop(Target *t);
/** How to subscribe to a running xs over another carrier. false: out of memory. */
XS_MUST_CHECK bool target_dialect(Target *t, Carrier carrier, Dialect *out);
/** One small request to xs on a connection of its own. @return its status, 0 = none */
int target_visit(const Target *t);

typedef struct Publisher {
    Target *target;
    int fd;
    int *speakers; /* their sockets */
    uint32_t nspeakers;
    char *pad;
    Buf body, head;
    char problem[160]; /* why publishing ended */
} Publisher;

/** One per thread. false: p->problem tells. */
XS_MUST_CHECK bool publisher_open(Publisher *p, Target *t);
/** Publish events first … first+count-1 (count <= 100) together. */
XS_MUST_CHECK bool publisher_send(Publisher *p, uint64_t first, uint32_t count);
void publisher_close(Publisher *p);

#endif
