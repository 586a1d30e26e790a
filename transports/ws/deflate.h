/* deflate.h - permessage-deflate (RFC 7692) without context takeover on either side: what a client
 * offers, and bounded inflating of what it sends. Compressed events are the host's
 * (XS_WIRE_WS_DEFLATE). */
#ifndef TRANSPORTS_WS_DEFLATE_H
#define TRANSPORTS_WS_DEFLATE_H

#include "include/xs/event.h"

/** The value of our Sec-WebSocket-Extensions for the client's; NULL = no offer fits. */
const char *ws_deflate_answer(xs_str offers);

typedef struct WsInflater WsInflater; /* one per thread; about 40 KB, made at the first use */

typedef enum WsInflated {
    WS_INFLATED,
    WS_INFLATE_BAD, /* no deflate stream */
    WS_INFLATE_BIG, /* more than max bytes, or more than RATIO_MAX times its size */
    WS_INFLATE_NOMEM
} WsInflated;

/** The text of one message. *out is malloc'ed, and set with WS_INFLATED only. */
WsInflated ws_inflate(WsInflater **z, const char *data, size_t len, size_t max, char **out,
                      size_t *out_len);
void ws_inflater_free(WsInflater *z);

#endif
