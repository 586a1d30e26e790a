/* inspect.h - looking into a running hub and ending what clients have there: for administrators.
 * Everything is written as JSON. Thread: any. Specification: realtime.md §9. */
#ifndef HOST_HUB_INSPECT_H
#define HOST_HUB_INSPECT_H

#include "core/buf.h"
#include "host/hub/hub.h"

/** The end of each of these objects: ,"node":n} with the number of this node that session ids begin
 * with, 0 without a backplane. Each tells what there is at this node. */
void inspect_write_node(const Hub *h, Buf *out);
/**
 * {"channels":[{"channel":…,"subscribers":n,"present":n,"stored":n,"off":n}],"next":name|null,
 * "node":n}
 * @param after  continue behind this name; len 0 = from the first
 */
XS_MUST_CHECK bool inspect_channels(Space *s, Text prefix, Text after, size_t limit, Buf *out,
                                    xs_error *err);
/** {"channel":…,"subscribers":[{"client":…,"authenticated":b,"transport":…}],"truncated":b,"node":n}.
 * Errors: XS_E_NOTFOUND (no such live channel), XS_E_NOMEM; the same below. */
XS_MUST_CHECK bool inspect_subscribers(Space *s, Text channel, size_t limit, Buf *out,
                                       xs_error *err);
/** {"channel":…,"presence":[client…],"truncated":b,"node":n} */
XS_MUST_CHECK bool inspect_presence(Space *s, Text channel, Buf *out, xs_error *err);
/**
 * {"channel":…,"epoch":…,"gap":null|reason,"events":[{"seq":"…","off":"…","ts":ms,"frame":{…}}],
 * "more":b,"node":n}
 * @param since  "<epoch>.<seq>", "earliest" or empty (the newest `limit`)
 */
XS_MUST_CHECK bool inspect_history(Space *s, Text channel, Text since, size_t limit, Buf *out,
                                   xs_error *err);

/* Whose connections: of one identity, or one socket. */
typedef struct HubTarget {
    int64_t dbo_id; /* with row_id (bare); 0 = by socket */
    Text row_id, socket_id;
} HubTarget;

/**
 * End connections (channel empty: close 4401, or 4000 when they may come back) or their membership
 * of one channel.
 * @return how many connections were told
 */
size_t hub_end(Hub *h, Space *s, const HubTarget *who, Text channel, bool reconnect);
/** On this node only. */
size_t hub_end_here(Hub *h, Space *s, const HubTarget *who, Text channel, bool reconnect);

#endif
