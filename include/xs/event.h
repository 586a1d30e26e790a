/* xs/event.h - one encoded event, shared by every subscriber and thread. Immutable once posted,
 * counted. */
#ifndef XS_EVENT_H
#define XS_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct xs_str {
    const char *ptr;
    size_t len;
} xs_str;

/* Wire formats; a frame is encoded at most once per format, by the first thread that needs it. */
typedef enum xs_wire_format {
    XS_WIRE_WS_TEXT,    /* RFC 6455 text frame header + JSON */
    XS_WIRE_SSE_CHUNK,  /* chunk size + id: + data: + JSON + blank line + CRLF */
    XS_WIRE_LP_ITEM,    /* the JSON itself */
    XS_WIRE_WS_DEFLATE, /* as WS_TEXT, from XS_DEFLATE_MIN bytes on compressed (RFC 7692), by itself
                         */
    XS_WIRE_WS_MSGPACK, /* binary RFC 6455 frame with the same object as MessagePack */
    XS_WIRE_COUNT
} xs_wire_format;

enum { XS_DEFLATE_MIN = 1024 };

typedef struct xs_wire {
    size_t len;
    char bytes[]; /* contiguous, constant */
} xs_wire;

enum {
    XS_FRAME_STORED = 1,    /* numbered: seq and off are set */
    XS_FRAME_AUTH_ONLY = 2, /* authenticated connections only */
    XS_FRAME_TARGET_ID = 4, /* one identity only */
    XS_FRAME_TARGET_SOCK = 8,
    XS_FRAME_EXCLUDE = 16,
    /* Not a protocol frame: json is {"channels":[...],"reason":...}, channels that could not be
     * resumed. Its SSE wire carries "event: resync"; long-poll puts the channels into "resync"; on
     * a WebSocket it is the payload of an action "resync". */
    XS_FRAME_RESYNC = 32,
    /* What the channel does with a client whose queue is full; none of them: it is closed. */
    XS_FRAME_DROP_OLDEST = 64, /* its oldest events go, a RESYNC frame takes their place */
    XS_FRAME_CONFLATE = 128,   /* of events of one topic only the newest stays queued */
    XS_FRAME_PAUSE = 256       /* above the soft level the hub holds events back until writable */
};

typedef struct xs_frame {
    _Atomic uint32_t refs;
    uint32_t flags;
    uint64_t seq, off;       /* 0 when not numbered */
    uint64_t epoch;          /* of the space */
    int64_t ts;              /* epoch milliseconds */
    uint64_t channel, topic; /* with one of the three flags above: numbers to compare */
    xs_str json;             /* the one rendering of its layer; stored behind the struct */
    _Atomic(xs_wire *) wire[XS_WIRE_COUNT];
} xs_frame;

#endif
