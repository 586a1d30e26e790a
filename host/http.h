/* http.h - the HTTP side of the host: HTTP/1.1 connections on the main libevent loop. Exchanges are
 * answered at once or later, held, or turned into raw streams (include/xs/http.h). Two carriers do
 * all of that: libmicrohttpd (mhd.c), and an own reader (http.c) that holds and streams cheaply.
 *
 * Thread: the loop's, for everything. */
#ifndef HOST_HTTP_H
#define HOST_HTTP_H

#include <event2/event.h>
#include <sys/socket.h>

#include "core/const.h"
#include "include/xs/http.h"

typedef struct Http Http;

typedef struct HttpOptions {
    size_t max_body; /* beyond: 413 */
    size_t max_head; /* beyond: 431 */
    unsigned idle_s; /* close kept-alive connections, and ones that do not read, after so long */
    int64_t head_timeout_ms; /* from the first byte of a head; beyond: 408; 0 = as idle_s */
    int64_t body_timeout_ms; /* for a body, longer when it comes steadily; 0 = as idle_s */
    /* Is this the path of an exchange that is held or streamed? Decides who carries a connection
     * that begins with it, nothing else. NULL = no path is. */
    bool (*realtime)(Text path);
} HttpOptions;

typedef struct HttpStats {
    uint64_t refused;  /* requests that could not be read */
    uint64_t timeouts; /* of these: too slow */
} HttpStats;

/** A complete request. Answer now, or keep x and answer later; x is dead after its answer, in the
 * handler after it returns. */
typedef void (*HttpHandler)(void *ctx, xs_http *x);

XS_MUST_CHECK Http *http_new(struct event_base *base, const HttpOptions *opt, HttpHandler handler,
                             void *ctx, xs_error *err);
/** Serve a connected, non-blocking socket whose bytes are still unread; head is what has arrived.
 * Takes fd, on failure too. */
bool http_add(Http *h, int fd, Text head, const struct sockaddr *addr, socklen_t len);
/** Answer no further requests on kept-alive connections: replies say Connection: close. */
void http_drain(Http *h);
/** Requests being received, answered, held or streamed; idle connections do not count. */
size_t http_busy(const Http *h);
size_t http_connections(const Http *h);
void http_stats(const Http *h, HttpStats *out);
/** Close every connection (exchanges of transports get on_closed), then free. */
void http_free(Http *h);

extern const xs_http_api http_api;

/* Facts beyond xs_http_api; valid while x is. */
Arena *http_arena(xs_http *x);
Text http_uri(const xs_http *x);         /* as sent: path and query */
Text http_raw_path(const xs_http *x);    /* not decoded */
Text http_querystring(const xs_http *x); /* without "?" */
Text http_remote_ip(const xs_http *x);
/** Whoever is behind a proxy: an address. */
void http_set_remote_ip(xs_http *x, Text ip);
int http_remote_port(const xs_http *x);
const Const *http_headers(xs_http *x); /* Title-Case names; NULL = out of memory */
/** The same into another arena. */
const Const *http_headers_into(const xs_http *x, Arena *a);
const Const *http_query_map(xs_http *x); /* name → list of texts */
void *http_user(const xs_http *x);       /* free for the handler */
void http_set_user(xs_http *x, void *user);

/** A header of whatever answer or stream follows (CORS). Copied. */
void http_add_header(xs_http *x, const char *name, Text value);
/** Answer {"code","message","payload":""}. */
void http_reply_error(xs_http *x, int status, const char *code, const char *message);
/** As xs_http_api.reply without a copy: takes body's bytes; body is empty after. A failed buffer
 * answers 500. */
void http_reply_take(xs_http *x, int status, const xs_header *headers, size_t nheaders, Buf *body);
void http_reply_json(xs_http *x, int status, Text json);
/** Answer with a file, or what the request wants of it; takes fd. name tells its type, as does what
 * it begins with. */
void http_reply_file(xs_http *x, int fd, Text name);

/** End a stream that is whole: the carrier writes the last chunk, the connection is kept. */
void http_stream_done(xs_http *x);
/** While waiting: a stream whose peer reads nothing for idle_s is closed. */
void http_stream_patience(xs_http *x, bool waiting);
/** The facts of x stay readable until http_release, also when it was answered or its client left.
 */
void http_keep(xs_http *x);
void http_release(xs_http *x);
/**
 * When the next request of this connection is this one with another query, byte by byte, http_memo
 * gives memo back in it, and its answer has the headers that http_add_header was given so far.
 * Takes memo; it is freed when it is of no more use, which may be at once. For a GET, before its
 * answer. What x gave of its decoded path, query and header map ends here, and all else
 * in http_arena.
 */
void http_remember(xs_http *x, void *memo, void (*free_memo)(void *));
void *http_memo(const xs_http *x); /* NULL = nothing is known of this request */
/** Serve the request like any other. */
void http_forget(xs_http *x);
/** {"code","message","payload":""} */
void http_write_error(Buf *out, const char *code, const char *message);

/** Percent-decode; plus = '+' means blank. ptr NULL: malformed or memory. */
Text http_decode(Arena *a, Text t, bool plus);
/** "a=1&b=2&a=3" → {"a":["1","3"],"b":["2"]}; malformed escapes are kept as written. NULL = memory.
 */
const Const *http_parse_query(Arena *a, Text querystring);
/** "content-TYPE" → "Content-Type". */
Text http_title_case(Arena *a, Text name);

#endif
