/* conn.h - one WebSocket connection: bytes in and out, liveness, closing. Owner: the transport's
 * thread. */
#ifndef TRANSPORTS_WS_CONN_H
#define TRANSPORTS_WS_CONN_H

#include <libwebsockets.h>
#include <sys/epoll.h>
#include <uv.h>

#include "transports/common/queue.h"
#include "transports/common/wire.h"
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
    CLOSE_WAIT_MS = 2000,     /* for the close handshake, then the connection is cut */
    HANDSHAKE_MAX_MS = 10000, /* from adoption to the end of the upgrade */
    FLUSH_EARLY_FRAMES =
        64, /* a burst is written in pieces, so that it never looks like a slow client */
    FLUSH_EARLY_BYTES = 131072,
    INPUT_BYTES = 16384, /* of one read */
    INPUT_BATCH = 256,   /* connections of one look at the readable ones */
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
    uv_loop_t loop;
    struct lws_context *context;
    struct lws_vhost *vhost;
    ConnList conns;   /* dense */
    ConnList dirty;   /* have frames to write at the end of this turn; gone ones are NULL */
    ConnList resumed; /* may be read again, from the end of this turn on; gone ones are NULL */
    ConnList leaving; /* to be closed or cut when no callback of theirs is running */
    int input;        /* epoll of the connections' sockets: the library does not read them */
    struct epoll_event ready[INPUT_BATCH];
    int nready;
    char bytes[INPUT_BYTES];
    Conn *adopting;              /* connection whose socket is being handed to the library */
    struct WsInflater *inflater; /* NULL before the first compressed message */
    bool draining;
    int64_t drain_start_ms;
    uint32_t drain_ms, drain_total, drain_closed;
    Counter opened, closed, frames_in, frames_out, bytes_in, bytes_out, writes, partial_writes;
    Counter slow_closed, handshake_failed, connections, queued_bytes;
} Ws;

struct Conn {
    Ws *ws;
    int fd;
    bool open;    /* upgrade done */
    bool blocked; /* the library holds a tail, or the socket is full: wait for WRITEABLE */
    bool slow;    /* the hub was told XS_QUEUED */
    bool closing; /* nothing is delivered any more */
    bool broken;  /* to be cut */
    bool listed;  /* in ws->leaving */
    bool resumed; /* in ws->resumed */
    bool deaf;    /* what the client sends from here on is thrown away */
    bool parted;  /* closing, and its close frame has come */
    bool reading; /* in ws->input */
    bool packed;  /* it speaks MessagePack in binary frames */
    bool paused;
    Queue q; /* up to here what a burst touches */
    struct lws *wsi;
    xs_conn *conn;        /* NULL before the hub admitted it, and after gone */
    int close_code;       /* ours, with closing */
    int peer_code;        /* theirs */
    uint32_t index;       /* in ws->conns */
    uint32_t dirty_index; /* in ws->dirty, plus one */
    size_t tail;          /* bytes handed to the library */
    size_t counted;       /* share of ws->queued_bytes */
    int64_t heard_ms, pinged_ms, progress_ms, close_ms; /* pinged_ms 0: no ping is open */
    int32_t control_tokens;                             /* thousandths */
    int64_t control_ms;
    WsReader reader;
    WsBytes held, held_at; /* read while paused; owned, and what of it is left */
    char *rx;              /* fragments of a message so far */
    size_t rx_len, rx_cap;
    uint32_t rx_frames, rx_unchecked; /* its frames; bytes of a character that is not complete */
    xs_request *req;                  /* until established */
    char close_reason[64];
};

/** NULL: out of memory; req is then released. Takes req and fd. */
Conn *ws_conn_new(Ws *ws, int fd, xs_request *req);
void ws_conn_free(Conn *c);

void ws_conn_established(Conn *c);

/** Bytes have come, or the end of them; events of epoll. */
void ws_conn_readable(Conn *c, uint32_t events);
/** Bytes that came with the request head; before it is established. false: out of memory. */
bool ws_conn_hold(Conn *c, const char *data, size_t len);
void ws_conn_writeable(Conn *c);
void ws_conn_gone(Conn *c);

xs_deliver_result ws_conn_deliver(Conn *c, xs_frame *frame);
xs_deliver_result ws_conn_burst(Conn *c, const xs_burst *burst);
void ws_conn_write(Conn *c);
void ws_conn_close(Conn *c, int code, const char *reason);
void ws_conn_resume(Conn *c);
/** Read on after ws_conn_resume; not inside a call of the hub. */
void ws_conn_go_on(Conn *c);
/** Close or cut a connection of ws->leaving; not inside a callback of the library. May free c. */
void ws_conn_leave(Conn *c);
/** Pings, missing pongs, stalled writes, overdue closes. */
void ws_conn_check(Conn *c, int64_t now);

bool ws_list_push(ConnList *list, Conn *c);
/** Write what the dirty connections have queued. */
void ws_flush_dirty(Ws *ws);

#endif
