/* conn.h - one WebSocket connection: bytes in and out, liveness, closing. Owner: the transport's
 * thread. */
#ifndef TRANSPORTS_WS_CONN_H
#define TRANSPORTS_WS_CONN_H

#include <sys/epoll.h>

#include "transports/common/queue.h"
#include "transports/common/wire.h"
#include "transports/ws/handshake.h"
#include "transports/ws/reader.h"

/* Normal close codes of RFC 6455 and of realtime.md §3.5. */
enum {
    CLOSE_NORMAL = 1000,
    CLOSE_PROTOCOL = 1002,
    CLOSE_LIMIT = 5000, /* codes end below it */
    CLOSE_BINARY = 1003,
    CLOSE_ABNORMAL = 1006,
    CLOSE_BAD_UTF8 = 1007,
    CLOSE_TOO_BIG = 1009,
    CLOSE_INTERNAL = 1011,
    CLOSE_RESTART = 1012,
    CLOSE_TOO_MANY = 4429
};

enum {
    CLOSE_WAIT_MS = 2000, /* for the close handshake, then the connection is cut */
    FLUSH_EARLY_FRAMES =
        64, /* a burst is written in pieces, so that it never looks like a slow client */
    FLUSH_EARLY_BYTES = 131072,
    INPUT_BYTES = 16384, /* of one read */
    CONTROL_PER_S = 20,  /* pings and pongs of a client; realtime.md §14 */
    CONTROL_BURST = 40
};

typedef struct Conn Conn;

typedef struct ConnList {
    Conn **items;
    uint32_t count, cap;
} ConnList;

typedef struct Ws {
    const xs_host *host;
    WsHandshake *handshake;
    ConnList conns;   /* dense */
    ConnList dirty;   /* have frames to write at the end of this turn; gone ones are NULL */
    ConnList resumed; /* may be read again, from the end of this turn on; gone ones are NULL */
    ConnList leaving; /* to be closed or cut when no call of the hub is under way */
    int epoll;        /* of the sockets, and of what wakes the loop */
    char bytes[INPUT_BYTES];
    struct WsInflater *inflater; /* NULL before the first compressed message */
    bool draining;
    int64_t drain_start_ms;
    uint32_t drain_ms, drain_total, drain_closed;
    QueueCount count;
    QueueShown shown;
    Counter opened, closed, frames_in, bytes_in;
    Counter slow_closed, handshake_failed, connections, queued_bytes;
} Ws;

struct Conn {
    Ws *ws;
    int fd;
    bool blocked; /* the socket is full: EPOLLOUT is awaited */
    bool slow;    /* the hub was told XS_QUEUED */
    bool closing; /* nothing is delivered any more */
    bool broken;  /* to be cut */
    bool listed;  /* in ws->leaving */
    bool resumed; /* in ws->resumed */
    bool deaf;    /* what the client sends from here on is thrown away */
    bool parted;  /* closing, and its close frame has come */
    bool packed;  /* it speaks MessagePack in binary frames */
    bool paused;
    Queue q;              /* up to here what a burst touches */
    xs_conn *conn;        /* NULL before the hub admitted it, and after gone */
    int close_code;       /* with closing */
    uint32_t watched;     /* events of ws->epoll */
    uint32_t index;       /* in ws->conns */
    uint32_t dirty_index; /* in ws->dirty, plus one */
    int64_t heard_ms, pinged_ms, progress_ms, close_ms; /* pinged_ms 0: no ping is open */
    int64_t control_ms;
    int32_t control_tokens; /* thousandths */
    WsReader reader;
    struct WsHeld *held; /* while paused, or before it is opened */
    struct WsMessage *message;
};

/** Takes fd. NULL: out of memory, or of what the kernel watches. */
Conn *ws_conn_new(Ws *ws, int fd);
void ws_conn_free(Conn *c); /* not while the loop looks at events, nor inside a call of the hub */

/** Answer the upgrade and let the hub decide. early: bytes behind the head. false: it was no
 * upgrade, or the client is not admitted; it leaves by itself. */
bool ws_conn_open(Conn *c, xs_request *req, xs_str head, xs_str early);

/** Bytes have come, or room for some, or the end; events of epoll. */
void ws_conn_ready(Conn *c, uint32_t events);

xs_deliver_result ws_conn_deliver(Conn *c, xs_frame *frame);
xs_deliver_result ws_conn_burst(Conn *c, const xs_burst *burst);
void ws_conn_write(Conn *c);
void ws_conn_close(Conn *c, int code, const char *reason);
void ws_conn_resume(Conn *c);
/** Read on after ws_conn_resume; not inside a call of the hub. */
void ws_conn_go_on(Conn *c);
/** Close or cut a connection of ws->leaving; when ws_conn_free may be called, which it may do. */
void ws_conn_leave(Conn *c);
/** Pings, missing pongs, stalled writes, overdue closes. */
void ws_conn_check(Conn *c, int64_t now);

bool ws_list_push(ConnList *list, Conn *c);
/** Write what the dirty connections have queued; show what was counted. */
void ws_flush_dirty(Ws *ws);

#endif
