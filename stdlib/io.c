/* io.c - the loop thread and the hand-over between it and fibers. One lock guards the list of posts
 * and the two marks of a wait; the wake of a worker happens under it, so that a fiber that is freed
 * meanwhile is never woken. */
#include "stdlib/io.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/mem.h"

enum { AT_END_MAX = 8 };

typedef struct AtEnd {
    void (*fn)(void *arg);
    void *arg;
} AtEnd;

struct Io {
    pthread_t thread;
    bool started;
    struct event_base *base;
    struct event *posted;
    int fd;
    Wait *active; /* loop thread */
    AtEnd at_end[AT_END_MAX];
    size_t nat_end;
    pthread_mutex_t lock; /* everything below, and done and abandoned of waits */
    pthread_cond_t ready; /* for those who wait in place */
    IoPost *first, *last;
    bool stopping, ending;
};

struct event_base *io_base(Io *io)
{
    return io->base;
}

void io_at_end(Io *io, void (*fn)(void *arg), void *arg)
{
    if (io->nat_end < AT_END_MAX)
        io->at_end[io->nat_end++] = (AtEnd){fn, arg};
}

/* ---- waits ---- */

static void wait_unref(Wait *w)
{
    if (atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
        return;
    w->ops->free(w);
}

void wait_done(Wait *w)
{
    if (!w->active)
        return;
    Io *io = w->io;
    w->active = false;
    if (w->prev)
        w->prev->next = w->next;
    else
        io->active = w->next;
    if (w->next)
        w->next->prev = w->prev;
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
    pthread_mutex_lock(&io->lock);
    w->done = true;
    if (w->fiber && !w->abandoned)
        w->services->wake(w->services->ctx, w->fiber);
    else
        pthread_cond_broadcast(&io->ready);
    pthread_mutex_unlock(&io->lock);
    wait_unref(w);
}

static void cancel(Wait *w)
{
    if (w->ops->cancel)
        w->ops->cancel(w);
    wait_done(w);
}

/* cancel() may have ended it already and freed it: one more reference while we look. */
static void cancel_held(Wait *w)
{
    atomic_fetch_add(&w->refs, 1);
    if (w->active)
        cancel(w);
    wait_unref(w);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Wait *w = arg;
    w->timed_out = true;
    cancel_held(w);
}

static void begin(Wait *w)
{
    Io *io = w->io;
    w->active = true;
    w->prev = NULL;
    w->next = io->active;
    if (io->active)
        io->active->prev = w;
    io->active = w;
    pthread_mutex_lock(&io->lock);
    bool end = io->stopping || w->abandoned;
    pthread_mutex_unlock(&io->lock);
    if (!end && w->timeout_ms != INT64_MAX) {
        int64_t ms = w->timeout_ms > 0 ? w->timeout_ms : 0;
        struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (ms % 1000) * 1000};
        w->timer = event_new(io->base, -1, 0, on_timer, w);
        end = !w->timer || event_add(w->timer, &tv) != 0;
    }
    if (end)
        wait_done(w); /* nothing was begun: nothing to undo */
    else if (w->ops->start)
        w->ops->start(w);
}

static void give_up(Wait *w)
{
    if (w->active)
        cancel_held(w);
    wait_unref(w);
}

/* Under the lock. */
static void post(Io *io, IoPost *p)
{
    p->next = NULL;
    if (io->last)
        io->last->next = p;
    else
        io->first = p;
    io->last = p;
    uint64_t one = 1;
    if (write(io->fd, &one, sizeof one) < 0)
        return; /* the counter is full: the loop is awake already */
}

void io_post(Io *io, IoPost *p)
{
    pthread_mutex_lock(&io->lock);
    post(io, p);
    pthread_mutex_unlock(&io->lock);
}

static void signalled(Wait *w)
{
    if (w->active)
        wait_done(w);
    wait_unref(w);
}

void wait_signal(Wait *w)
{
    atomic_fetch_add(&w->refs, 1);
    w->signal = (IoPost){.run = signalled, .wait = w};
    pthread_mutex_lock(&w->io->lock);
    post(w->io, &w->signal);
    pthread_mutex_unlock(&w->io->lock);
}

static bool take_result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    *out = val_null();
    if (w->cut && w->timed_out) /* a timer may ring a moment before the fiber's own clock says so */
        return xs_fail(err, XS_E_DEADLINE, XS_NO_POS, "%s", xs_code_get(XS_E_DEADLINE)->text);
    return !w->ops->result || w->ops->result(w, h, out, err, thrown);
}

static void finish(FiberWait *fw, Fiber *f)
{
    Wait *w = (Wait *)fw;
    Value out = val_null(), thrown = val_unset();
    xs_error err = {0};
    pthread_mutex_lock(&w->io->lock); /* what the loop wrote is seen from here on */
    pthread_mutex_unlock(&w->io->lock);
    bool ok = take_result(w, fiber_heap(f), &out, &err, &thrown);
    fiber_resume(f, out, ok ? NULL : &err, thrown);
    wait_unref(w);
}

static void drop(FiberWait *fw)
{
    Wait *w = (Wait *)fw;
    Io *io = w->io;
    pthread_mutex_lock(&io->lock);
    w->abandoned = true;
    if (!w->done) {
        atomic_fetch_add(&w->refs, 1);
        post(io, &w->give_up);
    }
    pthread_mutex_unlock(&io->lock);
    wait_unref(w);
}

static NativeResult wait_here(Call *c, Wait *w)
{
    Value out;
    pthread_mutex_lock(&w->io->lock);
    while (!w->done)
        pthread_cond_wait(&w->io->ready, &w->io->lock);
    pthread_mutex_unlock(&w->io->lock);
    bool ok = take_result(w, c->heap, &out, c->err, &c->thrown);
    wait_unref(w);
    if (!ok)
        return NATIVE_ERROR;
    c->ret = out;
    return NATIVE_OK;
}

NativeResult wait_for(Call *c, Io *io, Wait *w)
{
    bool park = c->services && c->services->wake && c->fiber && fiber_owner(c->fiber) &&
                c->site_data; /* filters cannot park */
    int64_t left = c->fiber ? fiber_left_ms(c->fiber) : INT64_MAX;
    w->cut = w->timeout_ms > left;
    if (w->cut)
        w->timeout_ms = left;
    w->fiber_wait = (FiberWait){finish, drop};
    w->io = io;
    w->fiber = park ? c->fiber : NULL;
    w->services = c->services;
    w->begin = (IoPost){.run = begin, .wait = w};
    w->give_up = (IoPost){.run = give_up, .wait = w};
    atomic_init(&w->refs, 2);
    pthread_mutex_lock(&io->lock);
    bool ok = !io->stopping;
    if (ok)
        post(io, &w->begin);
    pthread_mutex_unlock(&io->lock);
    if (!ok) {
        w->ops->free(w);
        call_fail(c, XS_E_DEADLINE, NULL);
        return NATIVE_ERROR;
    }
    if (!park)
        return wait_here(c, w);
    fiber_set_wait(c->fiber, &w->fiber_wait);
    return NATIVE_PARK;
}

/* ---- the loop ---- */

static void stop_waits(Io *io)
{
    while (io->active)
        cancel_held(io->active);
}

static void on_posted(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    Io *io = arg;
    uint64_t n;
    if (read(fd, &n, sizeof n) < 0)
        n = 0;
    pthread_mutex_lock(&io->lock);
    IoPost *p = io->first;
    io->first = io->last = NULL;
    bool stopping = io->stopping, ending = io->ending;
    pthread_mutex_unlock(&io->lock);
    for (IoPost *next; p; p = next) {
        next = p->next; /* the post lives in its wait */
        p->run(p->wait);
    }
    if (stopping)
        stop_waits(io);
    if (ending)
        event_base_loopbreak(io->base);
}

static void *io_main(void *arg)
{
    Io *io = arg;
    (void)event_base_dispatch(io->base);
    while (io->nat_end) {
        AtEnd *e = &io->at_end[--io->nat_end];
        e->fn(e->arg);
    }
    return NULL;
}

Io *io_new(xs_error *err)
{
    Io *io = mem_zalloc(1, sizeof *io);
    if (!io) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    pthread_mutex_init(&io->lock, NULL);
    pthread_cond_init(&io->ready, NULL);
    io->base = event_base_new();
    io->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (io->base && io->fd >= 0)
        io->posted = event_new(io->base, io->fd, EV_READ | EV_PERSIST, on_posted, io);
    io->started = io->posted && event_add(io->posted, NULL) == 0 &&
                  pthread_create(&io->thread, NULL, io_main, io) == 0;
    if (io->started)
        return io;
    (void)xs_fail(err, XS_E_IO, XS_NO_POS, "cannot start the I/O thread");
    io_free(io);
    return NULL;
}

static void tell(Io *io, bool end)
{
    uint64_t one = 1;
    pthread_mutex_lock(&io->lock);
    io->stopping = true;
    io->ending = io->ending || end;
    ssize_t written = write(io->fd, &one, sizeof one);
    (void)written; /* a full counter: the loop is awake already */
    pthread_mutex_unlock(&io->lock);
}

void io_stop(Io *io)
{
    tell(io, false);
}

void io_free(Io *io)
{
    if (!io)
        return;
    if (io->started) {
        tell(io, true);
        pthread_join(io->thread, NULL);
    }
    if (io->posted)
        event_free(io->posted);
    if (io->base)
        event_base_free(io->base);
    if (io->fd >= 0)
        close(io->fd);
    pthread_mutex_destroy(&io->lock);
    pthread_cond_destroy(&io->ready);
    mem_free(io);
}
