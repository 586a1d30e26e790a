/* feed.c - curl's bytes go to a buffer under a lock; when it is full the transfer pauses until the
 * reader has taken everything and waits again. */
#include "stdlib/http/feed.h"

#include "core/clock.h"
#include "core/mem.h"

enum { FULL_BYTES = 256 << 10 };

/* ---- loop ---- */

static void tell(Feed *f)
{
    Wait *reader = f->reader;
    f->reader = NULL;
    wait_done(&f->t->wait);
    if (reader)
        wait_done(reader);
}

static size_t on_body(char *bytes, size_t one, size_t n, void *arg)
{
    (void)one;
    Feed *f = arg;
    pthread_mutex_lock(&f->lock);
    bool full = f->fresh.len >= FULL_BYTES, ok = full || buf_append(&f->fresh, bytes, n);
    pthread_mutex_unlock(&f->lock);
    f->paused = full;
    if (full)
        return CURL_WRITEFUNC_PAUSE;
    tell(f);
    return ok ? n : 0;
}

static void on_end(Transfer *t)
{
    Feed *f = t->feed;
    pthread_mutex_lock(&f->lock);
    f->over = true;
    pthread_mutex_unlock(&f->lock);
    tell(f);
}

static void close_feed(Wait *w)
{
    Transfer *t = (Transfer *)w;
    Feed *f = t->feed;
    transfer_cancel(w);
    transfer_deinit(t);
    buf_deinit(&f->fresh);
    pthread_mutex_destroy(&f->lock);
    mem_free(t);
}

/* ---- a wait for bytes ---- */

typedef struct FeedWait {
    Wait wait;
    Feed *feed;
} FeedWait;

static void wait_start(Wait *w)
{
    Feed *f = ((FeedWait *)w)->feed;
    pthread_mutex_lock(&f->lock);
    bool ready = f->fresh.len || f->over;
    pthread_mutex_unlock(&f->lock);
    if (ready) {
        wait_done(w);
        return;
    }
    f->reader = w;
    if (f->paused) {
        f->paused = false;
        transfer_go_on(f->t);
    }
}

static void wait_cancel(Wait *w)
{
    Feed *f = ((FeedWait *)w)->feed;
    if (f->reader == w)
        f->reader = NULL;
}

static bool wait_result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)h, (void)thrown;
    *out = val_bool(true);
    return !w->timed_out || xs_fail(err, XS_E_IO, XS_NO_POS, "stream.from_request: Timed out");
}

static void wait_free(Wait *w)
{
    feed_unref(((FeedWait *)w)->feed);
    mem_free(w);
}

static const WaitOps wait_ops = {wait_start, wait_cancel, wait_result, wait_free};

static NativeResult feed_wait(void *from, Call *c)
{
    Feed *f = from;
    int64_t left = f->deadline_ms == INT64_MAX ? INT64_MAX : f->deadline_ms - clock_mono_ms();
    FeedWait *w = left > 0 ? mem_zalloc(1, sizeof *w) : NULL;
    if (!w) {
        call_fail(c, left > 0 ? XS_E_NOMEM : XS_E_DEADLINE, NULL);
        return NATIVE_ERROR;
    }
    w->wait.ops = &wait_ops;
    w->wait.timeout_ms = left < f->silence_ms ? left : f->silence_ms;
    w->feed = f;
    feed_ref(f);
    return wait_for(c, f->t->wait.io, &w->wait);
}

/* ---- fiber ---- */

static int feed_read(void *from, Buf *into, xs_error *err)
{
    Feed *f = from;
    int got = STREAM_LATER;
    pthread_mutex_lock(&f->lock);
    if (f->fresh.len) {
        buf_text(into, buf_view(&f->fresh));
        f->fresh.len = 0;
        got = 1;
    } else if (f->over) {
        Text problem = transfer_problem(f->t);
        if (problem.ptr)
            (void)xs_fail(err, XS_E_IO, XS_NO_POS, "stream.from_request: " TEXT_FMT,
                          TEXT_ARG(problem));
        got = problem.ptr ? -1 : 0;
    }
    pthread_mutex_unlock(&f->lock);
    return got;
}

static void feed_free(void *from)
{
    feed_unref(from);
}

const ByteOps feed_ops = {feed_read, feed_wait, feed_free};

void feed_init(Feed *f, Transfer *t, int64_t silence_ms, int64_t left_ms)
{
    *f = (Feed){.t = t,
                .silence_ms = silence_ms,
                .deadline_ms = left_ms == INT64_MAX ? INT64_MAX : clock_mono_ms() + left_ms};
    atomic_init(&f->refs, 1);
    pthread_mutex_init(&f->lock, NULL);
    t->feed = f;
    t->on_end = on_end;
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, f);
}

void feed_ref(Feed *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

/* The loop may be in the middle of the transfer: it frees. */
void feed_unref(Feed *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    f->closing = (IoPost){.run = close_feed, .wait = &f->t->wait};
    io_post(f->t->wait.io, &f->closing);
}

bool feed_begun(Feed *f)
{
    pthread_mutex_lock(&f->lock);
    bool begun = f->fresh.len || (f->over && !transfer_problem(f->t).ptr);
    pthread_mutex_unlock(&f->lock);
    return begun;
}
