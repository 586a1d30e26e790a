/* realtime.h - the front of the realtime spaces: who may come in, by which transport, and the small
 * endpoints beside them. Thread: the loop's. Specification: realtime.md §3.1, §7.1-7.2, §7.6, §7.8,
 * §9, §14. */
#ifndef HOST_REALTIME_H
#define HOST_REALTIME_H

#include <sys/socket.h>

#include "host/carriers.h"
#include "host/http.h"
#include "host/proxies.h"
#include "host/service.h"

typedef struct Realtime Realtime;

typedef struct RealtimeOptions {
    const Config *config;
    const Proxies *proxies;
    const Log *log;
    const Auth *auth;
    Metrics *metrics;
    Hub *hub;
    Carriers *carriers;
    void (*handshake)(void *ctx); /* a client comes in, by any transport */
    void *ctx;
    struct event_base *base;
} RealtimeOptions;

/** HubAuth.check over an Auth: tokens open the spaces of their own tenant. */
Identity *realtime_check_token(void *auth, const Space *space, Text token, int64_t *expires_ms);
XS_MUST_CHECK Realtime *realtime_new(const RealtimeOptions *opt, xs_error *err);
/** Nothing comes in any more: answer what still waits. NULL is fine. */
void realtime_stop(Realtime *r);
void realtime_free(Realtime *r);
/** Is this path under /rt/ or /ws/? */
bool realtime_owns(Text path);
/** Answer x when its path is under /rt/ or /ws/, now or later; false = another path. */
bool realtime_handle(Realtime *r, xs_http *x);
/** Answer x, which is known (http_memo). False: it is not any more, serve it like any other. */
bool realtime_again(Realtime *r, xs_http *x);
/** A connection with a complete head: take it when it is a WebSocket upgrade to serve, or to refuse
 * (busy); false = leave it to HTTP. */
bool realtime_upgrade(Realtime *r, int fd, Text head, const struct sockaddr *addr, bool busy);
/** The whole answer to a head that begins one connection too many. */
void realtime_write_busy(const Realtime *r, Text head, Buf *out);
/** Answer x when its path is under /_xs/rt/; false = another path. */
bool realtime_admin(Realtime *r, xs_http *x);

#endif
