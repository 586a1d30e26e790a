/* xs/backplane.h - what makes several servers one: a driver gives every event of a space its
 * number, keeps the newest of each channel, and brings them to every node that watches the channel.
 * It knows no protocol: records are the host's bytes. Specification: realtime.md §13.
 *
 * Contract: functions of the driver never call back and, but for create and space, never wait, so
 * the host may call them under its locks. Upcalls come on the driver's one thread. Per watched
 * channel they come in the order of the numbers; over all channels of a space too, except inside a
 * snapshot. Every text is valid during the call only. */
#ifndef XS_BACKPLANE_H
#define XS_BACKPLANE_H

#include "include/xs/error.h"
#include "include/xs/event.h"

typedef struct xs_plane_record {
    uint64_t epoch;    /* of the space */
    uint64_t seq, off; /* in the space, in the channel; 0 = not numbered */
    int64_t ts;        /* epoch milliseconds; 0 when not numbered */
    xs_str data;
} xs_plane_record;

typedef struct xs_plane_member {
    xs_str socket_id, data;
    bool own; /* announced by this node */
} xs_plane_member;

/* A channel as it was at one moment. */
typedef struct xs_plane_snapshot {
    uint64_t epoch, seq; /* of the space: every record up to seq has been handed up or is in here */
    uint64_t off;        /* of the channel's newest record */
    uint64_t evicted;    /* records up to this seq may be missing */
    uint64_t version;    /* of its roster */
    const xs_plane_record *records; /* the newest ones, oldest first */
    size_t nrecords;
    const xs_plane_member *members;
    size_t nmembers;
} xs_plane_snapshot;

/* What a channel keeps for its clients, and how far one of them has acknowledged it. */
typedef enum xs_plane_ask {
    XS_PLANE_OPEN, /* the transcript, a cursor, and the first page behind the cursor */
    XS_PLANE_PAGE, /* what follows after id */
    XS_PLANE_ACK   /* the cursor moves to id, never back */
} xs_plane_ask;

typedef struct xs_plane_question {
    xs_plane_ask ask;
    xs_str client;       /* whose cursor; len 0 = none, and nothing is behind it */
    int64_t life_ms;     /* of the cursor, after its last use */
    uint64_t id;         /* a record's seq */
    uint32_t keep;       /* the newest so many count */
    uint32_t transcript; /* OPEN: the newest so many of them */
    int64_t age_ms;      /* see xs_plane_limits */
    bool by_age;
    uint32_t page_records, page_bytes; /* no more behind the cursor at a time, roughly */
} xs_plane_question;

typedef struct xs_plane_answer {
    uint64_t cursor;
    uint64_t upto; /* the channel's newest record */
    bool resumed;  /* the cursor was known, and everything behind it is still there */
    bool more;     /* … than this page */
    const xs_plane_record *records; /* oldest first: the transcript, then the page */
    size_t nrecords, ntranscript;
} xs_plane_answer;

typedef struct xs_plane_host {
    size_t size;
    void *ctx;
    void (*record)(void *ctx, xs_str space, xs_str channel, const xs_plane_record *r);
    /** A member of another node came (here) or went. */
    void (*member)(void *ctx, xs_str space, xs_str channel, uint64_t version,
                   const xs_plane_member *m, bool here);
    /** The answer to watch; later records are the ones behind it. */
    void (*snapshot)(void *ctx, xs_str space, xs_str channel, const xs_plane_snapshot *s);
    /** What became of a record with a token, once. */
    void (*published)(void *ctx, void *token, bool ok, const xs_plane_record *numbers);
    /** The channels of the answer to list, sorted; ok false: they could not be asked for. */
    void (*listed)(void *ctx, xs_str space, void *token, bool ok, const xs_str *channels, size_t n);
    /** What another node spread. */
    void (*note)(void *ctx, xs_str space, xs_str data);
    /** Everything this node published before the barrier has been handed up. */
    void (*barrier)(void *ctx, xs_str space, xs_str channel, uint64_t n);
    /** The answer to ask; NULL: it could not be asked for in time. */
    void (*answer)(void *ctx, void *token, const xs_plane_answer *a);
    /** The answer to count; n 0: not known. */
    void (*counted)(void *ctx, void *token, uint64_t n, int64_t left_ms);
    /** The connection was lost (every watched channel will get a snapshot), or is back. */
    void (*state)(void *ctx, bool up);
    void (*log)(int level, const char *fmt, ...) XS_PRINTF(2, 3); /* 0 error, 1 warning, 2 info */
} xs_plane_host;

typedef struct xs_plane_stats {
    uint64_t published, received;
    uint64_t dropped; /* records that could not be handed over in time */
    uint64_t lost;    /* times the connection was lost */
    bool up;
} xs_plane_stats;

typedef struct xs_plane_limits {
    uint32_t events; /* a channel keeps so many */
    int64_t ttl_ms;  /* an idle channel is forgotten after; 0 = never */
    int64_t age_ms;  /* records end after this; 0 = never */
    bool by_age;     /* each by its own age; else all of them by that of the newest */
} xs_plane_limits;

typedef struct xs_backplane_ops {
    size_t size;
    /** Connect and start the thread. node: this node's name, [0-9a-f]. Errors: XS_E_CONFIG (url),
     * XS_E_IO. */
    void *(*create)(const xs_plane_host *host, xs_str url, xs_str node, xs_error *err);
    /** The epoch of a space: the one it has, or the proposed one. May wait. */
    bool (*space)(void *state, xs_str space, uint64_t proposed, uint64_t *epoch, xs_error *err);
    /** Begin to watch, or ask for another snapshot. False = out of memory. */
    bool (*watch)(void *state, xs_str space, xs_str channel, uint32_t events);
    void (*unwatch)(void *state, xs_str space, xs_str channel);
    /** token: NULL, or given to the host's published. False: the queue is full; counted as dropped.
     */
    bool (*publish)(void *state, xs_str space, xs_str channel, bool numbered,
                    const xs_plane_limits *limits, xs_str data, void *token);
    /** Which channels that begin so does any node watch? Answered by the host's listed. */
    bool (*list)(void *state, xs_str space, xs_str prefix, void *token);
    /** To every other node, once, when it can be reached. */
    bool (*spread)(void *state, xs_str space, xs_str data);
    /** Answered by the host's barrier or by the next snapshot. */
    bool (*barrier)(void *state, xs_str space, xs_str channel, uint64_t n);
    /** A member of this node came or went. */
    bool (*member)(void *state, xs_str space, xs_str channel, const xs_plane_member *m, bool here);
    /** Answered once by the host's answer. */
    bool (*ask)(void *state, xs_str space, xs_str channel, const xs_plane_question *q, void *token);
    /** One more under this key in a window that begins with the first: the host's counted says how
     * many there were, and how long it lasts. */
    bool (*count)(void *state, xs_str space, xs_str key, int64_t window_ms, void *token);
    /** This node's own number while it runs. */
    uint16_t (*number)(void *state);
    void (*stats)(void *state, xs_plane_stats *out);
    void (*stop)(void *state); /* the thread has ended; nothing calls up any more */
    void (*destroy)(void *state);
} xs_backplane_ops;

#endif
