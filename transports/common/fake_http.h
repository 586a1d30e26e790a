/* fake_http.h - for the unit tests of HTTP-carried transports: exchanges that record what happens
 * to them. */
#ifndef TRANSPORTS_COMMON_FAKE_HTTP_H
#define TRANSPORTS_COMMON_FAKE_HTTP_H

#include <fcntl.h>
#include <sys/socket.h>

#include "transports/common/fake_host.h"
#include "transports/common/wheel.h"

struct xs_http {
    const char *method;
    xs_request *req; /* what it asks for, while the transport is given it */
    int status;      /* of a reply or stream; 0 = unanswered */
    char headers[1024];
    char body[65536];
    bool held, streaming, http10, ended, want_write;
    void *peer;
    const xs_http_events *events;
    int fd[2]; /* stream: the transport's end, the client's */
};

/** Every connection is looked at once more. */
static FAKE_UNUSED void fake_checks(void)
{
    poll(NULL, 0, 3 * WHEEL_TICK_MS);
    fake.ops->tick(fake.state);
}

static FAKE_UNUSED xs_http *exchange_new(void)
{
    xs_http *x = (xs_http *)calloc(1, sizeof *x);
    assert(x);
    x->method = "GET";
    x->fd[0] = x->fd[1] = -1;
    return x;
}

static FAKE_UNUSED void exchange_free(xs_http *x)
{
    if (x->fd[0] >= 0)
        close(x->fd[0]);
    if (x->fd[1] >= 0)
        close(x->fd[1]);
    free(x);
}

static const char *http_method(xs_http *x)
{
    return x->method;
}

static xs_str http_query(xs_http *x, const char *name, unsigned index)
{
    return fake_query(x->req, name, index);
}

static const char *http_header(xs_http *x, const char *name)
{
    return fake_header(x->req, name).ptr;
}

static void http_headers(xs_http *x, const xs_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(x->headers);
        if (headers[i].name)
            snprintf(x->headers + len, sizeof x->headers - len, "%s: %s\n", headers[i].name,
                     headers[i].value);
        for (const char *c = headers[i].name ? "" : headers[i].value; *c; c++)
            if (*c != '\r' && len + 1 < sizeof x->headers)
                x->headers[len++] = *c;
    }
}

static void http_reply(xs_http *x, int status, const xs_header *headers, size_t n, xs_str body)
{
    assert(!x->status && body.len < sizeof x->body);
    x->status = status;
    x->held = false;
    http_headers(x, headers, n);
    if (body.len)
        memcpy(x->body, body.ptr, body.len);
    x->body[body.len] = 0;
}

static void http_hold(xs_http *x, void *peer, const xs_http_events *events)
{
    assert(!x->status);
    x->held = true;
    x->peer = peer;
    x->events = events;
}

static void http_stream(xs_http *x, int status, const xs_header *headers, size_t n, void *peer,
                        const xs_http_events *events)
{
    assert(!x->status);
    x->status = status;
    http_headers(x, headers, n);
    x->peer = peer;
    x->events = events;
}

static int http_stream_fd(xs_http *x)
{
    return x->streaming ? x->fd[0] : -1;
}

static bool http_stream_chunked(xs_http *x)
{
    return !x->http10;
}

static void http_want_write(xs_http *x, bool on)
{
    x->want_write = on;
}

static void http_stream_end(xs_http *x)
{
    assert(!x->ended);
    x->ended = true;
}

/** The head is on the wire: the transport may write. */
static FAKE_UNUSED void exchange_writable(xs_http *x)
{
    if (!x->streaming) {
        int small = 4096;
        x->streaming = true;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, x->fd) != 0)
            abort();
        setsockopt(x->fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    }
    x->want_write = false;
    x->events->on_writable(x->peer);
}

static FAKE_UNUSED void exchange_gone(xs_http *x)
{
    x->held = false;
    x->ended = true;
    x->events->on_closed(x->peer);
}

/** What the client can read now, appended to body. */
static FAKE_UNUSED const char *exchange_read(xs_http *x)
{
    size_t len = strlen(x->body);
    ssize_t n;
    while ((n = read(x->fd[1], x->body + len, sizeof x->body - 1 - len)) > 0)
        len += (size_t)n;
    x->body[len] = 0;
    return x->body;
}

static const xs_http_api fake_http_api = {
    .size = sizeof fake_http_api,
    .method = http_method,
    .header = http_header,
    .query = http_query,
    .reply = http_reply,
    .hold = http_hold,
    .stream = http_stream,
    .stream_fd = http_stream_fd,
    .stream_chunked = http_stream_chunked,
    .want_write = http_want_write,
    .stream_end = http_stream_end,
};

static FAKE_UNUSED void fake_http_init(const xs_transport_ops *ops)
{
    fake_init(ops);
    fake.host.http = &fake_http_api;
}

static FAKE_UNUSED void fake_http_start(void)
{
    xs_error err;
    fake.state = fake.ops->create(&fake.host, &err);
    assert(fake.state);
}

/** Give a request to the transport; NULL-terminated list of query names and values may follow in
 * req. */
static FAKE_UNUSED xs_http *exchange_begin(xs_request *req)
{
    xs_http *x = exchange_new();
    x->req = req;
    fake.ops->http(fake.state, x, req);
    x->req = NULL;
    fake_request_unref(req);
    return x;
}

#endif
