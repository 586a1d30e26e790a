/* outstream.c - bytes wait here between the worker and the socket; a writer that is far ahead is
 * told so. The client's leaving does not stop the program: what it writes then is dropped. */
#include "host/outstream.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

#include "core/mem.h"

enum { FULL_BYTES = 256 << 10 };

struct OutStream {
    LoopPost post;
    Pool *pool;
    xs_http *x;
    int status;
    xs_header headers[OUTSTREAM_MAX_HEADERS];
    size_t nheaders;
    pthread_mutex_t lock; /* of the next members */
    Buf pending;
    bool posted, gone;
    void (*ready)(void *arg);
    void *ready_arg;
    /* loop */
    bool begun, finished, whole, head_only;
    bool last; /* out ends the stream */
    Buf out;
    size_t out_at;
};

static void stream_free(OutStream *s)
{
    buf_deinit(&s->pending);
    buf_deinit(&s->out);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

/* Under the lock: nobody has to wait for room. */
static void tell_ready(OutStream *s)
{
    void (*fn)(void *arg) = s->ready;
    s->ready = NULL;
    if (fn)
        fn(s->ready_arg);
}

/* ---- loop ---- */

/* Next bytes for the wire: all that is pending as one chunk. */
static void refill(OutStream *s)
{
    bool chunked = http_api.stream_chunked(s->x);
    pthread_mutex_lock(&s->lock);
    Buf fresh = s->pending;
    s->pending = BUF_INIT;
    tell_ready(s);
    pthread_mutex_unlock(&s->lock);
    buf_deinit(&s->out);
    s->out_at = 0;
    s->last = s->finished;
    if (!chunked) {
        s->out = fresh;
        return;
    }
    if (fresh.len) {
        buf_printf(&s->out, "%zx\r\n", fresh.len);
        buf_text(&s->out, buf_view(&fresh));
        buf_cstr(&s->out, "\r\n");
    }
    buf_deinit(&fresh);
}

static void end(OutStream *s)
{
    xs_http *x = s->x;
    bool whole = s->whole;
    stream_free(s);
    if (whole)
        http_stream_done(x);
    else
        http_api.stream_end(x);
}

static void on_writable(void *peer)
{
    OutStream *s = (OutStream *)peer;
    if (s->out_at == s->out.len)
        refill(s);
    if (s->out.failed) {
        s->whole = false;
        s->out.len = s->out_at = 0;
    }
    while (s->out_at < s->out.len) {
        ssize_t n = send(http_api.stream_fd(s->x), s->out.ptr + s->out_at, s->out.len - s->out_at,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            /* Broken or full: the loop tells which. */
            http_stream_patience(s->x, true);
            http_api.want_write(s->x, errno == EAGAIN || errno == EINTR);
            return;
        }
        s->out_at += (size_t)n;
    }
    http_stream_patience(s->x, false);
    pthread_mutex_lock(&s->lock);
    bool more = s->pending.len > 0 || s->finished;
    pthread_mutex_unlock(&s->lock);
    if (s->last)
        end(s);
    else if (more)
        http_api.want_write(s->x, true);
}

static void on_closed(void *peer)
{
    OutStream *s = (OutStream *)peer;
    pthread_mutex_lock(&s->lock);
    s->gone = true;
    buf_deinit(&s->pending);
    tell_ready(s);
    pthread_mutex_unlock(&s->lock);
    if (s->finished)
        stream_free(s);
}

static const xs_http_events events = {on_writable, on_closed};

static void on_post(LoopPost *post)
{
    OutStream *s = (OutStream *)post;
    pthread_mutex_lock(&s->lock);
    s->posted = false;
    bool gone = s->gone;
    pthread_mutex_unlock(&s->lock);
    if (gone)
        return;
    if (!s->begun) {
        s->begun = true;
        http_api.stream(s->x, s->status, s->headers, s->nheaders, s, &events);
    } else {
        http_api.want_write(s->x, true);
    }
}

void outstream_finish(OutStream *s, bool whole)
{
    s->finished = true;
    s->whole = whole;
    xs_http *x = s->x;
    bool answered = s->head_only && !s->begun;
    if (s->gone || answered) {
        if (answered)
            http_api.reply(x, s->status, s->headers, s->nheaders, (xs_str){"", 0});
        stream_free(s);
        return;
    }
    on_post(&s->post);
}

/* ---- worker ---- */

OutStream *outstream_new(Pool *p, xs_http *x, int status, const xs_header *headers, size_t n)
{
    OutStream *s = mem_zalloc(1, sizeof *s);
    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    s->post.fn = on_post;
    s->pool = p;
    s->x = x;
    s->status = status;
    s->nheaders = n < OUTSTREAM_MAX_HEADERS ? n : OUTSTREAM_MAX_HEADERS;
    memcpy(s->headers, headers, s->nheaders * sizeof *headers);
    s->head_only = strcmp(http_api.method(x), "HEAD") == 0;
    return s;
}

bool outstream_write(OutStream *s, Buf *bytes, bool *full)
{
    pthread_mutex_lock(&s->lock);
    bool drop = s->gone || s->head_only;
    if (!drop && !s->pending.len) {
        buf_deinit(&s->pending);
        s->pending = *bytes;
        *bytes = BUF_INIT;
    } else if (!drop) {
        buf_text(&s->pending, buf_view(bytes));
    }
    bool ok = !s->pending.failed && !bytes->failed, wake = ok && !drop && !s->posted;
    *full = s->pending.len >= FULL_BYTES;
    s->posted = s->posted || wake;
    pthread_mutex_unlock(&s->lock);
    buf_deinit(bytes);
    if (wake)
        pool_post(s->pool, &s->post);
    return ok;
}

bool outstream_when_ready(OutStream *s, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&s->lock);
    bool wait = !s->gone && s->pending.len >= FULL_BYTES;
    s->ready = wait ? fn : NULL;
    s->ready_arg = arg;
    pthread_mutex_unlock(&s->lock);
    return wait;
}

void outstream_forget(OutStream *s)
{
    pthread_mutex_lock(&s->lock);
    s->ready = NULL;
    pthread_mutex_unlock(&s->lock);
}
