/* rtclient.h - a realtime client over WebSocket, SSE or long-poll: for benchmarks, scenario tests
 * and demos.
 *
 * One loop (epoll) carries any number of clients. Callbacks run inside rt_loop_step or rt_loop_run
 * and may call every function here except rt_loop_free and the loop functions. Plain sockets, no
 * TLS; `host` is an IPv4 address or "localhost". Thread: one loop and its clients belong to one
 * thread. Specification: realtime.md §3.1, §7, §8. */
#ifndef BENCH_RTCLIENT_H
#define BENCH_RTCLIENT_H

#include "core/base.h"

typedef struct RtLoop RtLoop;
typedef struct RtClient RtClient;

typedef enum RtTransport { RT_WS, RT_SSE, RT_LP } RtTransport;

typedef struct RtOptions {
    RtTransport transport;
    const char *host; /* "127.0.0.1" */
    int port;
    const char *base;            /* "/rt/<canonical>" */
    const char *token;           /* JWT; NULL = anonymous */
    const char *const *channels; /* joined when the connection opens, in order */
    size_t channel_count;
    bool history, presence;   /* flags of these joins */
    const char *position;     /* SSE and long-poll: resume from "<epoch>.<seq>"; NULL = new */
    uint32_t open_timeout_ms; /* 0 = 10000 */
    uint32_t poll_s;          /* long-poll: seconds a poll may be held; 0 = 25 */
} RtOptions;

typedef struct RtEvents {
    void *user;
    /** Frames may be sent now. May be NULL. WebSocket: handshake done; SSE: `open` event;
     * long-poll: first answer. */
    void (*on_open)(void *user);
    /**
     * One frame, JSON text, followed by a NUL; valid during the call. A gap of SSE and long-poll
     * comes as
     * {"action":"resync","payload":{"channels":[…]}}, a refused POST (400, 413, 429) as an error
     * frame.
     */
    void (*on_frame)(void *user, const char *json, size_t len);
    /**
     * The connection ended, exactly once, unless rt_free came first. code: WebSocket close code;
     * 1006 = cut or refused, 1012 = `bye` of an SSE stream; reason: text or "". The client still
     * needs rt_free.
     */
    void (*on_close)(void *user, int code, const char *reason);
} RtEvents;

/** NULL = out of memory or descriptors. */
XS_MUST_CHECK RtLoop *rt_loop_new(void);
void rt_loop_free(RtLoop *loop); /* frees clients that are left, without on_close */
/** Wait at most timeout_ms for something and handle all of it. */
void rt_loop_step(RtLoop *loop, int timeout_ms);
/** Steps until done(ctx) or timeout_ms passed; true = done. done may be NULL: just wait. */
bool rt_loop_run(RtLoop *loop, int timeout_ms, bool (*done)(void *ctx), void *ctx);

/**
 * Start to connect. Texts of the options are copied.
 * Errors: XS_E_IO (address, socket), XS_E_NOMEM. A refused connection or handshake is an on_close
 * later.
 */
XS_MUST_CHECK RtClient *rt_connect(RtLoop *loop, const RtOptions *opt, const RtEvents *events,
                                   xs_error *err);
bool rt_is_open(const RtClient *c);
bool rt_is_closed(const RtClient *c);
/** HTTP status of a refused handshake or POST; 0 = none so far. */
int rt_status(const RtClient *c);
/** Last position seen (SSE id, long-poll cursor); "" = none. Valid until the next step. */
const char *rt_position(const RtClient *c);
const char *rt_sid(const RtClient *c); /* session id of SSE and long-poll; "" before open */

/**
 * Send one frame, in order. Frames sent before open wait for it.
 * Errors: XS_E_NOMEM, XS_E_IO (closed).
 */
XS_MUST_CHECK bool rt_send(RtClient *c, const char *json, size_t len, xs_error *err);
XS_MUST_CHECK bool rt_join(RtClient *c, const char *channel, bool history, bool presence,
                           xs_error *err);
XS_MUST_CHECK bool rt_leave(RtClient *c, const char *channel, xs_error *err);
/** payload: JSON. */
XS_MUST_CHECK bool rt_message(RtClient *c, const char *channel, const char *payload, xs_error *err);

/** Close: WebSocket close frame with the code and wait for the echo (on_close follows); others:
 * cut. */
void rt_close(RtClient *c, int code);
/** Stop or resume reading from the socket, to play a slow client. */
void rt_pause(RtClient *c, bool on);
void rt_free(RtClient *c); /* NULL is fine; cuts an open connection, no callback follows */

typedef struct RtCounters {
    uint64_t frames, bytes, reads, reconnects;
} RtCounters;
void rt_counters(const RtClient *c, RtCounters *out);

#endif
