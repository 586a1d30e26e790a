/* carriers.h - the transports of a running server: loaded, started, drained, stopped. Those with a
 * thread of their own run there; the others live on the loop. Thread: the loop's, unless said
 * otherwise. */
#ifndef HOST_CARRIERS_H
#define HOST_CARRIERS_H

#include <event2/event.h>

#include "host/config.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/plugin.h"

typedef struct Carriers Carriers;

/** Load and start what option `transport` lists. Errors: XS_E_PLUGIN, XS_E_NOMEM, XS_E_IO. */
XS_MUST_CHECK Carriers *carriers_new(const Config *config, const xs_plugin *const *statics,
                                     Hub *hub, struct event_base *base, const Log *log,
                                     xs_error *err);
/** Is a transport of this info name ("ws") there? */
bool carriers_has(const Carriers *c, const char *info_name);
const char *carriers_name_at(const Carriers *c,
                             size_t index); /* info names, each once; NULL past the end */
/** Give a socket to the WebSocket transport (its threads take turns). Takes fd and one reference of
 * req. */
void carriers_adopt(Carriers *c, int fd, Text head, xs_request *req);
/** Let an HTTP-carried transport serve x. False = no such transport. */
bool carriers_http(Carriers *c, const char *info_name, xs_http *x, xs_request *req);
/** Serve x by a request it repeats (xs_transport_ops.http_again). False = not that way. */
bool carriers_http_again(Carriers *c, const char *info_name, xs_http *x, xs_request *earlier);
void carriers_drain(Carriers *c, uint32_t deadline_ms);
/** Clients of the transports with their own thread. */
uint64_t carriers_own_connections(const Carriers *c);
/** Per transport name; returns how many rows were written (at most max). */
size_t carriers_stats(const Carriers *c, TransportStats *out, size_t max);
void carriers_stop(Carriers *c); /* every client is closed when this returns */
void carriers_free(Carriers *c); /* after the HTTP daemon is gone */

#endif
