/* client.h - HTTP requests of programs: libcurl on the I/O thread. Addresses that are not public
 * are refused at the moment of connecting, so that names that change their mind and redirects are
 * covered. Specification: runtime.md §4.3. */
#ifndef STDLIB_HTTP_CLIENT_H
#define STDLIB_HTTP_CLIENT_H

#include <curl/curl.h>
#include <sys/socket.h>

#include "core/buf.h"
#include "stdlib/io.h"

typedef struct HttpClient HttpClient;

typedef struct HttpClientOptions {
    bool allow_private; /* also addresses of this machine and its networks */
    size_t max_bytes;   /* of a response body, decompressed */
} HttpClientOptions;

/** Errors: XS_E_NOMEM. */
XS_MUST_CHECK HttpClient *http_client_new(Io *io, const HttpClientOptions *opt, xs_error *err);
void http_client_free(HttpClient *c); /* after io_free; NULL is fine */

/* One transfer. Its maker fills easy, then wait_for(&t->wait); the wait's result reads the rest. */
typedef struct Transfer Transfer;
struct Transfer {
    Wait wait;
    HttpClient *client;
    CURL *easy;
    struct curl_slist *headers;
    curl_mime *mime;
    Buf send;          /* body to send */
    Buf head, body;    /* of the last response */
    bool http;         /* a web request: the address rules hold */
    bool begun, ended; /* loop */
    bool refused, too_large;
    CURLcode code;
    char message[CURL_ERROR_SIZE];
    struct Feed *feed;           /* takes the body */
    void (*on_end)(Transfer *t); /* loop; NULL = nobody asks */
};

/** Storage of size bytes that begins with a Transfer, its handle made and what is common set. NULL:
 * memory. */
Transfer *transfer_new(HttpClient *c, size_t size);
/** For WaitOps.start and .cancel. */
void transfer_start(Wait *w);
void transfer_cancel(Wait *w);
/** Loop thread: after a pause by its write function. */
void transfer_go_on(Transfer *t);
/** Free all but the storage. Any thread. */
void transfer_deinit(Transfer *t);
/** Why it failed, in words; ptr NULL = it did not. Borrowed from t. */
Text transfer_problem(const Transfer *t);

/** Whether the address belongs to the public Internet. */
bool address_is_public(const struct sockaddr *a);

#endif
