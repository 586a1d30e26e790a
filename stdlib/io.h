/* io.h - the one thread on which natives wait for the outside: timers, HTTP, child processes,
 * Redis. A native makes a Wait and gives it to wait_for: its fiber parks, or, where nobody drives
 * fibers (xs run, filters), its thread waits in place. Specification: runtime.md §1.10. */
#ifndef STDLIB_IO_H
#define STDLIB_IO_H

#include <event2/event.h>
#include <stdatomic.h>

#include "vm/vm.h"

typedef struct Io Io;
typedef struct Wait Wait;

/** Starts the thread. Errors: XS_E_NOMEM, XS_E_IO. */
XS_MUST_CHECK Io *io_new(xs_error *err);
/** End every wait now and all later ones at once. Any thread; more than once is fine. */
void io_stop(Io *io);
/** Joins the thread. No fiber may wait any more. NULL is fine. */
void io_free(Io *io);
struct event_base *io_base(Io *io); /* loop thread */
/** Has fn(arg) called on the loop's thread when it ends. Before the first wait. */
void io_at_end(Io *io, void (*fn)(void *arg), void *arg);

typedef struct WaitOps {
    /** Loop thread: begin; wait_done may be called at once. NULL: only time passes. */
    void (*start)(Wait *w);
    /** Loop thread: time is up, the fiber is gone or the process ends: undo and wait_done. NULL:
     * nothing to undo. */
    void (*cancel)(Wait *w);
    /** The fiber's thread: its result, owned. false: err set, *thrown may get a payload. NULL:
     * null.
     */
    bool (*result)(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown);
    /** The last one lets go: any thread. */
    void (*free)(Wait *w);
} WaitOps;

typedef struct IoPost {
    struct IoPost *next;
    void (*run)(Wait *w);
    Wait *wait;
} IoPost;

/* First member of what waits. The loop and the fiber own it together. */
struct Wait {
    FiberWait fiber_wait;
    const WaitOps *ops;
    int64_t timeout_ms; /* set before wait_for; cut to the deadline of the fiber */
    bool timed_out;     /* loop: the time was up */
    /* private */
    Io *io;
    Fiber *fiber; /* parked; NULL: its thread waits in place */
    const Services *services;
    atomic_uint refs;
    bool cut;             /* timeout_ms is what the deadline left */
    bool done, abandoned; /* under the lock of io */
    bool active;
    Wait *prev, *next;
    struct event *timer;
    IoPost begin, give_up, signal;
};

/**
 * Wait for w (taken, freed by its ops at the end). NATIVE_PARK, or the result in place.
 * Errors: of ops->result; XS_E_DEADLINE when the process ends, XS_E_NOMEM.
 */
NativeResult wait_for(Call *c, Io *io, Wait *w);
/** Any thread, before io_free: have p->run(p->wait) called on the loop's thread, in turn. */
void io_post(Io *io, IoPost *p);
/** Loop thread, once per started wait. */
void wait_done(Wait *w);
/** Any thread, at most once, while the wait is known not to have ended: wait_done from the loop. */
void wait_signal(Wait *w);

#endif
