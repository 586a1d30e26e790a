/* http_i.h - what the carriers of HTTP exchanges share: the exchange itself, and the functions that
 * each of them has for it. Facts and the plain kinds of answers are in exchange.c. Thread: the
 * loop's. */
#ifndef HOST_HTTP_I_H
#define HOST_HTTP_I_H

#include <netinet/in.h>
#include <time.h>

#include "host/http.h"
#include "host/httphead.h"

typedef struct HttpPart {
    uint64_t from, len; /* of a file */
} HttpPart;

/* Behind xs_http_api and http.h. Each does nothing for an exchange that is over, but gives back
 * what it was given. */
typedef struct HttpCarrierOps {
    /** The answer; `take` (empty or the whole body) is the carrier's from here on. */
    void (*reply)(xs_http *x, int status, const xs_header *headers, size_t nheaders, Text body,
                  Buf *take);
    void (*reply_file)(xs_http *x, int status, int fd, HttpPart part, const xs_header *headers,
                       size_t nheaders);
    void (*hold)(xs_http *x, void *peer, const xs_http_events *events);
    void (*stream)(xs_http *x, int status, const xs_header *headers, size_t nheaders, void *peer,
                   const xs_http_events *events);
    int (*stream_fd)(xs_http *x);
    void (*want_write)(xs_http *x, bool on);
    void (*stream_end)(xs_http *x, bool whole);
    void (*patience)(xs_http *x, bool waiting);
    /** See http_remember; the carrier owns the memo when it says true. May be NULL. */
    bool (*remember)(xs_http *x, void *memo, void (*free_memo)(void *));
} HttpCarrierOps;

typedef struct HttpParam {
    Text name, value; /* decoded */
} HttpParam;

/* A request that may come again on its connection with nothing new but its query. */
typedef struct Remembered {
    void *memo; /* NULL: nothing is remembered */
    void (*free_memo)(void *);
    Text before, after; /* of the head as it was read: up to the "?", and from behind the query */
    Text headers;       /* lines that its answer gets */
    ArenaMark mark;     /* all of the exchange that stays is older */
    bool again;         /* it has come again, and this is it */
} Remembered;

struct xs_http {
    const HttpCarrierOps *ops;
    struct Conn *conn; /* of its carrier; both NULL: the exchange has left it */
    struct MhdConn *mhd;
    Arena arena;
    HttpHead head;
    Text path;                    /* decoded */
    const Const *query, *headers; /* made when asked for, as the parameters */
    const HttpParam *params;
    uint32_t nparams;
    Text small_body;
    Buf body;
    void *user;
    Const *extra_headers;
    void *peer;
    const xs_http_events *events; /* NULL once on_closed was told or is not due */
    bool over;                    /* answered, ended or left: calls about it do nothing */
    bool kept;                    /* its memory stays until http_release */
    int port;
    char ip[INET6_ADDRSTRLEN];
    ArenaMark read; /* the head is older, what was made of it since is not */
    bool renewed;   /* its target is of a later request, so it is not older */
    Remembered known;
};

/** A new exchange with empty head and body. NULL = memory. */
xs_http *exchange_new(const HttpCarrierOps *ops, size_t max_body);
/** Forget what was made of the head since then. */
void exchange_rewind(xs_http *x, ArenaMark to);
/** Make the exchange what its head with another query says. false: no memory. */
XS_MUST_CHECK bool exchange_renew(xs_http *x, Text query);
/** Its carrier is done with it: freed now, or by http_release. */
void exchange_drop(xs_http *x);
bool exchange_is_head(const xs_http *x);
/** "203.0.113.5" and its port. */
void exchange_name_peer(const struct sockaddr *addr, socklen_t len, char ip[INET6_ADDRSTRLEN],
                        int *port);

#define HTTP_METHODS "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"

const char *http_reason(int status);
const char *http_refusal_code(HttpProblem p);
enum { HTTP_DATE_BYTES = 48 };

/** "Fri, 27 Nov 2026 22:33:23 GMT" */
void http_date(char out[HTTP_DATE_BYTES], time_t at);
/** "Date: …" with its CR LF. @return bytes */
size_t http_date_line(char *out, size_t size, time_t at);
/** A complete answer behind which the connection is closed. */
void http_write_refusal(Buf *out, HttpProblem p);

#endif
