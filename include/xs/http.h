/* xs/http.h - the HTTP exchanges that the host lends to a transport: the host owns the HTTP
 * library, a transport answers, holds or streams. Thread: the host's HTTP loop, for every call and
 * callback. */
#ifndef XS_HTTP_H
#define XS_HTTP_H

#include <sys/types.h>

#include "include/xs/event.h"

typedef struct xs_http xs_http; /* one exchange; dead after reply, or after on_closed */

typedef struct xs_header {
    const char *name; /* NULL: value is "Name: value" lines, each with its CR LF, for which the
                         transport vouches; cheaper for answers that are many */
    const char *value;
} xs_header;

typedef struct xs_http_events {
    void (*on_writable)(void *peer); /* asked for by want_write */
    void (*on_closed)(
        void *peer); /* the client left; exactly once, the exchange is dead after it returns */
} xs_http_events;

typedef struct xs_http_api {
    size_t size;
    const char *(*method)(xs_http *x);
    const char *(*path)(xs_http *x);                     /* decoded */
    const char *(*header)(xs_http *x, const char *name); /* NULL = absent */
    /** index-th value of a query parameter, percent-decoded; ptr NULL = absent. */
    xs_str (*query)(xs_http *x, const char *name, unsigned index);
    xs_str (*body)(xs_http *x);
    /** Answer completely; cors headers are added by the host. The exchange is dead afterwards. */
    void (*reply)(xs_http *x, int status, const xs_header *headers, size_t nheaders, xs_str body);
    /** Keep the request unanswered until reply; on_closed when the client leaves before. */
    void (*hold)(xs_http *x, void *peer, const xs_http_events *events);
    /**
     * Send the response head with chunked encoding (close-delimited for HTTP/1.0) and hand out the
     * socket: the transport writes whole pre-framed chunks to fd with writev/send. The head may not
     * be on the wire yet when this returns: the first on_writable says that fd may be written.
     */
    void (*stream)(xs_http *x, int status, const xs_header *headers, size_t nheaders, void *peer,
                   const xs_http_events *events);
    int (*stream_fd)(xs_http *x); /* -1 before the first on_writable */
    bool (*stream_chunked)(
        xs_http *x); /* false: HTTP/1.0, write the payload without chunk framing */
    void (*want_write)(xs_http *x, bool on); /* on_writable when the socket has room; one-shot */
    /** End a stream: the transport has written its last byte (and the last chunk). No on_closed
     * follows. */
    void (*stream_end)(xs_http *x);
} xs_http_api;

#endif
