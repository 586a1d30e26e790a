/* handshake.h - the answer to an upgrade request, made by libwebsockets. Owner: the transport's
 * thread. */
#ifndef TRANSPORTS_WS_HANDSHAKE_H
#define TRANSPORTS_WS_HANDSHAKE_H

#include "include/xs/transport.h"

typedef struct WsHandshake WsHandshake;

WsHandshake *ws_handshake_new(void); /* NULL = the library does not start */
void ws_handshake_free(WsHandshake *h);

/**
 * Answer one.
 * @param head       the request up to its empty line, without Sec-WebSocket-Protocol
 * @param protocol   what that header offered, to be echoed; len 0 = nothing
 * @param extension  value of Sec-WebSocket-Extensions in the answer; len 0 = none
 * @return           the bytes for the client, to be freed; NULL = no upgrade, or out of memory
 */
xs_wire *ws_handshake_answer(WsHandshake *h, xs_str head, xs_str protocol, xs_str extension);

#endif
