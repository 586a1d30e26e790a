/* publish.h - the server publish endpoint: events from trusted programs by HTTP. Thread: the
 * loop's. Specification: realtime.md §9. */
#ifndef HOST_PUBLISH_H
#define HOST_PUBLISH_H

#include "host/config.h"
#include "host/http.h"
#include "host/metrics.h"

typedef struct Publisher Publisher;

/** Errors: XS_E_CONFIG (a key is too short), XS_E_NOMEM. */
XS_MUST_CHECK Publisher *publisher_new(const Config *config, Hub *hub, Metrics *metrics,
                                       struct event_base *base, xs_error *err);
/** Answer what still waits for the disk: nothing comes in any more. */
void publisher_stop(Publisher *p);
void publisher_free(Publisher *p);
/** Does the request carry a publish key, or a signature made with one? false: it was answered. */
XS_MUST_CHECK bool publisher_trusts(Publisher *p, xs_http *x);
/** Publish what a trusted request asks for, and answer: recorded events when they are on disk. */
void publisher_handle(Publisher *p, xs_http *x, Space *space);

#endif
