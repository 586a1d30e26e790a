/* reader.h - frames of a client out of a stream of bytes, strictly by RFC 6455 §5: no I/O, no
 * connection. Owner: the connection. */
#ifndef TRANSPORTS_WS_READER_H
#define TRANSPORTS_WS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WS_CONTROL_MAX = 125, WS_HEAD_MAX = 14 };

typedef struct WsReader {
    unsigned char head[WS_HEAD_MAX]; /* of the frame, as far as it has come */
    unsigned char have, control_len;
    unsigned char mask, mask_at; /* where in head it is; its byte that is next */
    bool inside;                 /* the head is complete, its payload is not */
    bool first;                  /* nothing of the message was given out */
    bool open, binary;           /* a message is not complete */
    bool deflate;                /* agreed on: a message may be compressed (RSV1) */
    bool compressed;             /* this one is */
    uint64_t left;               /* of the payload */
    char *control;               /* payload of a control frame that comes in pieces; owned */
} WsReader;

/* Part of a message, or the whole payload of a control frame: valid until the next call. */
typedef struct WsPiece {
    char *data;
    size_t len;
    uint64_t rest;    /* of its frame still to come */
    bool first, last; /* of the message */
    bool frame_end;
    bool binary;
    bool compressed; /* the message, RFC 7692: data is part of a deflate stream */
} WsPiece;

typedef enum WsEvent {
    WS_MORE, /* everything is taken; nothing is complete */
    WS_DATA,
    WS_PING,
    WS_PONG,
    WS_CLOSE,
    WS_WRONG, /* 1002: the rest of the stream means nothing */
    WS_NOMEM
} WsEvent;

typedef struct WsBytes {
    char *ptr;
    size_t len;
} WsBytes;

/** The next event; takes what it needs from the front of *in, whose payloads are unmasked in place.
 */
WsEvent ws_read(WsReader *r, WsBytes *in, WsPiece *out);
void ws_reader_deinit(WsReader *r);

#endif
