/* admin.h - a realtime space for trusted programs: publish, look, disconnect. Thread: the loop's.
 * Specification: realtime.md §9. */
#ifndef HOST_ADMIN_H
#define HOST_ADMIN_H

#include "host/publish.h"

/** Answer a request for /_xs/rt/<space>/<action>, once its key or signature is good. */
void admin_handle(Publisher *p, Hub *hub, xs_http *x, Space *space, Text action);

#endif
