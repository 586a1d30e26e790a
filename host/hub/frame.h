/* frame.h - one event as bytes: counted, immutable once posted, with the facts that decide who gets
 * it. Every xs_frame that the hub hands out is the first member of an Event. Thread: any. */
#ifndef HOST_HUB_FRAME_H
#define HOST_HUB_FRAME_H

#include "core/buf.h"
#include "include/xs/event.h"

enum { SOCKET_ID_LEN = 22 }; /* 128 random bits, base64url */

/* Filters inside the hub, beside the XS_FRAME_ ones; never seen by a transport. */
enum {
    EVENT_PRESENCE = 1 << 16, /* subscribers that asked for presence */
    EVENT_SAID = 1 << 17,     /* a D2 message: payload, sender and log_id mean something */
    EVENT_NOT_ID = 1 << 18    /* not for the identity dbo_id, row_id */
};

typedef struct Event {
    xs_frame frame;
    uint64_t order;     /* of all posts of the space, numbered or not; set when posted */
    uint64_t posted_us; /* monotonic; set when posted */
    char exclude[SOCKET_ID_LEN + 1];  /* XS_FRAME_EXCLUDE */
    char target[SOCKET_ID_LEN + 1];   /* XS_FRAME_TARGET_SOCK */
    char sender[SOCKET_ID_LEN + 1];   /* socket that said it; "" = a stack */
    int64_t dbo_id;                   /* XS_FRAME_TARGET_ID or EVENT_NOT_ID, with row_id */
    Text row_id;                      /* bare, without JSON quotes; behind the JSON */
    size_t bytes;                     /* of the whole allocation, for budgets */
    uint64_t log_id;                  /* EVENT_SAID: number in the channel's record, 0 = none */
    uint32_t payload_at, payload_len; /* EVENT_SAID: inside the JSON */
    uint32_t sender_len; /* EVENT_SAID: JSON of who said it, behind row_id; for deliver triggers */
} Event;

static inline Event *event_of(xs_frame *f)
{
    return (Event *)f;
}

/**
 * A frame is written into a buffer that becomes the frame: begin, append JSON, end. `expect` is a
 * guess of the JSON's size. end consumes the buffer; NULL when it failed (out of memory).
 */
void frame_begin(Buf *b, size_t expect);
Event *frame_end(Buf *b, uint32_t flags);
/** The same with the identity that alone may receive it. row_id is JSON or bare. */
Event *frame_end_for(Buf *b, uint32_t flags, int64_t dbo_id, Text row_id);
/** The same with the JSON of who said it behind; EVENT_SAID is the caller's to describe. */
Event *frame_end_from(Buf *b, uint32_t flags, int64_t dbo_id, Text row_id, Text sender);
/** EVENT_SAID: its parts. */
Text event_payload(const Event *ev);
Text event_sender(const Event *ev);
/** Copy a socket id into one of the three fields; another length leaves it empty. */
void event_set_socket(char field[SOCKET_ID_LEN + 1], Text socket_id);

xs_frame *frame_ref(xs_frame *f);
void frame_unref(xs_frame *f); /* NULL is fine */
/** xs_host.wire: built by the first thread that asks, shared by all. NULL = out of memory. */
const xs_wire *frame_wire(xs_frame *f, xs_wire_format format);
/** 16 lower-case hex digits. */
void epoch_write(uint64_t epoch, char out[17]);
/** A row id without JSON quotes. */
Text bare_row_id(Text row_id);

#endif
