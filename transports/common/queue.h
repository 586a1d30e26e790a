/* queue.h - what a connection still has to write: a ring of frame references, 16 bytes per queued
 * frame.
 *
 * A slot holds a counted frame and its wire, or (frame NULL) a wire of the transport's own. Nothing
 * is copied: queue_write gathers up to QUEUE_GATHER wires into one system call. Bytes count until
 * the kernel took them. Thread: the connection's. Specification: realtime.md §10.1. */
#ifndef TRANSPORTS_COMMON_QUEUE_H
#define TRANSPORTS_COMMON_QUEUE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "include/xs/transport.h"
#include "transports/common/wire.h"

enum {
    QUEUE_GATHER = 64,   /* wires per system call */
    QUEUE_OWN_SLOTS = 2, /* what an idle connection needs is part of it */
    QUEUE_FIRST_SLOTS = 8,
    QUEUE_SLOW_SHARE = 4, /* part of the hard frames from which on a client is slow */
    QUEUE_KEEP_SLOTS = 64 /* a longer ring is given back when it runs empty */
};

typedef struct QueueSlot {
    xs_frame *frame; /* NULL: wire is owned by the slot (malloc) */
    const xs_wire *wire;
} QueueSlot;

typedef struct Queue {
    QueueSlot *slots;          /* NULL: own */
    uint32_t cap, head, count; /* cap is a power of two */
    bool unchunk;              /* write the payload of a chunk without its framing (HTTP/1.0) */
    size_t bytes;              /* not yet accepted by the kernel */
    size_t sent;               /* of these wires, bytes of the first slot that went out */
    QueueSlot own[QUEUE_OWN_SLOTS];
    size_t counted; /* its share of what queue_count sums up */
} Queue;

typedef enum QueueResult {
    QUEUE_EMPTY,   /* everything written */
    QUEUE_BLOCKED, /* the socket is full */
    QUEUE_BROKEN   /* the connection is dead */
} QueueResult;

/* What one thread's queues have written: system calls, short writes, whole frames and bytes. Plain
 * numbers, because they change with every delivery; others see them by queue_show. */
typedef struct QueueCount {
    uint64_t writes, partial, frames, bytes;
} QueueCount;

/* The same for any thread, as of the last flush. */
typedef struct QueueShown {
    Counter writes, partial, frames, bytes;
} QueueShown;

static inline void queue_show(QueueShown *shown, const QueueCount *count)
{
    atomic_store_explicit(&shown->writes, count->writes, memory_order_relaxed);
    atomic_store_explicit(&shown->partial, count->partial, memory_order_relaxed);
    atomic_store_explicit(&shown->frames, count->frames, memory_order_relaxed);
    atomic_store_explicit(&shown->bytes, count->bytes, memory_order_relaxed);
}

static inline void queue_tally(uint64_t *at, uint64_t n)
{
#ifdef XS_NO_COUNTERS
    (void)at;
    (void)n;
#else
    *at += n;
#endif
}

/** Make the sum of waiting bytes of all queues right for this one; a freed queue has none. */
static inline void queue_count(Queue *q, Counter *sum)
{
    counter_add(sum, (uint64_t)q->bytes - (uint64_t)q->counted);
    q->counted = q->bytes;
}

/** The bytes a wire contributes. */
static inline xs_str queue_view(const Queue *q, const xs_wire *wire)
{
    xs_str s = {wire->bytes, wire->len};
    if (!q->unchunk)
        return s;
    const char *head = (const char *)memchr(s.ptr, '\n', s.len);
    if (!head || (size_t)(head + 3 - s.ptr) > s.len)
        return s;
    return (xs_str){head + 1, (size_t)(s.ptr + s.len - 2 - (head + 1))};
}

static inline QueueSlot *queue_at(Queue *q, uint32_t i)
{
    QueueSlot *ring = q->slots ? q->slots : q->own;
    return &ring[(q->head + i) & (q->cap - 1)];
}

static inline bool queue_room(Queue *q)
{
    if (!q->cap)
        q->cap = QUEUE_OWN_SLOTS;
    if (q->count < q->cap)
        return true;
    uint32_t cap = q->slots ? q->cap * 2 : QUEUE_FIRST_SLOTS;
    if (cap < q->cap)
        return false;
    QueueSlot *slots = (QueueSlot *)malloc(cap * sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t i = 0; i < q->count; i++)
        slots[i] = *queue_at(q, i);
    free(q->slots);
    q->slots = slots;
    q->cap = cap;
    q->head = 0;
    return true;
}

/** Append a reference to the frame. false: out of memory, nothing changed. */
static inline bool queue_push(Queue *q, const xs_host *host, xs_frame *frame, const xs_wire *wire)
{
    if (!queue_room(q))
        return false;
    *queue_at(q, q->count) = (QueueSlot){host->frame_ref(frame), wire};
    q->count++;
    q->bytes += queue_view(q, wire).len;
    return true;
}

/** Append a wire of our own, taken; false: out of memory, the wire is freed. NULL counts as out of
 * memory. */
static inline bool queue_push_take(Queue *q, xs_wire *wire)
{
    if (!wire || !queue_room(q)) {
        free(wire);
        return false;
    }
    *queue_at(q, q->count) = (QueueSlot){NULL, wire};
    q->count++;
    q->bytes += queue_view(q, wire).len;
    return true;
}

static inline void queue_release(const xs_host *host, QueueSlot slot)
{
    if (slot.frame)
        host->frame_unref(slot.frame);
    else
        free((void *)(uintptr_t)slot.wire);
}

static inline void queue_pop(Queue *q, const xs_host *host)
{
    QueueSlot slot = *queue_at(q, 0);
    q->bytes -= queue_view(q, slot.wire).len - q->sent;
    q->sent = 0;
    q->head = (q->head + 1) & (q->cap - 1);
    q->count--;
    queue_release(host, slot);
}

/** Drop everything but a frame that is partly on the wire. @return slots dropped */
static inline uint32_t queue_drop(Queue *q, const xs_host *host)
{
    uint32_t keep = q->sent ? 1 : 0, dropped = q->count - keep;
    while (q->count > keep) {
        QueueSlot slot = *queue_at(q, q->count - 1);
        q->bytes -= queue_view(q, slot.wire).len;
        q->count--;
        queue_release(host, slot);
    }
    return dropped;
}

/* Slot i leaves; the shorter side moves up. */
static inline void queue_take_out(Queue *q, const xs_host *host, uint32_t i)
{
    QueueSlot slot = *queue_at(q, i);
    q->bytes -= queue_view(q, slot.wire).len;
    if (i < q->count / 2) {
        for (uint32_t k = i; k > 0; k--)
            *queue_at(q, k) = *queue_at(q, k - 1);
        q->head = (q->head + 1) & (q->cap - 1);
    } else {
        for (uint32_t k = i; k + 1 < q->count; k++)
            *queue_at(q, k) = *queue_at(q, k + 1);
    }
    q->count--;
    queue_release(host, slot);
}

/** The client does not keep up: above the soft level. */
static inline bool queue_is_slow(const Queue *q, const xs_limits *limits)
{
    return q->bytes > limits->queue_soft_bytes ||
           q->count > limits->queue_hard_frames / QUEUE_SLOW_SHARE;
}

/** frame is of a channel that wants only the newest of a topic kept: take out the one it replaces.
 */
static inline void queue_conflate(Queue *q, const xs_host *host, xs_conn *conn,
                                  const xs_frame *frame)
{
    for (uint32_t i = q->count; i-- > (q->sent ? 1 : 0);) {
        xs_frame *old = queue_at(q, i)->frame;
        if (!old || !(old->flags & XS_FRAME_CONFLATE) || old->channel != frame->channel ||
            old->topic != frame->topic)
            continue;
        host->skipped(conn, old, false);
        queue_take_out(q, host, i);
        return; /* there was one at most */
    }
}

/* The oldest frame that may be dropped leaves, or the hub's note takes its place. */
static inline bool queue_drop_oldest(Queue *q, const xs_host *host, xs_conn *conn,
                                     xs_wire_format format)
{
    uint32_t first = q->sent ? 1 : 0, i = first;
    while (i < q->count &&
           !(queue_at(q, i)->frame && queue_at(q, i)->frame->flags & XS_FRAME_DROP_OLDEST))
        i++;
    if (i == q->count)
        return false;
    xs_frame *old = queue_at(q, i)->frame;
    bool told = false;
    for (uint32_t k = first; k < i && !told; k++) {
        const xs_frame *f = queue_at(q, k)->frame;
        told = f && f->flags & XS_FRAME_RESYNC && f->channel == old->channel;
    }
    xs_frame *note = host->skipped(conn, old, told);
    const xs_wire *wire = note ? host->wire(note, format) : NULL;
    if (!note) {
        queue_take_out(q, host, i);
        return true;
    }
    if (!wire) { /* out of memory: there must be no silent hole */
        host->frame_unref(note);
        return false;
    }
    q->bytes += queue_view(q, wire).len - queue_view(q, queue_at(q, i)->wire).len;
    *queue_at(q, i) = (QueueSlot){note, wire};
    host->frame_unref(old);
    return true;
}

/** Room for len more bytes below the hard level. Frames that may be dropped make way. false: there
 * is none, the client is to be closed. */
static inline bool queue_fits(Queue *q, const xs_host *host, xs_conn *conn, xs_wire_format format,
                              size_t len)
{
    const xs_limits *limits = host->limits;
    while (q->bytes + len > limits->queue_hard_bytes || q->count >= limits->queue_hard_frames)
        if (!XS_HAS(host, skipped) || !queue_drop_oldest(q, host, conn, format))
            return false;
    return true;
}

static inline void queue_deinit(Queue *q, const xs_host *host)
{
    q->sent = 0;
    while (q->count)
        queue_release(host, *queue_at(q, --q->count));
    free(q->slots);
    q->slots = NULL;
    q->cap = q->head = 0;
    q->bytes = 0;
}

static inline void queue_account(Queue *q, const xs_host *host, size_t n, QueueCount *count)
{
    queue_tally(&count->bytes, n);
    while (n) {
        size_t rest = queue_view(q, queue_at(q, 0)->wire).len - q->sent;
        if (n < rest) {
            q->sent += n;
            q->bytes -= n;
            return;
        }
        n -= rest;
        queue_tally(&count->frames, 1);
        queue_pop(q, host);
    }
}

/**
 * Write as much as the socket takes, QUEUE_GATHER wires per call.
 * @param count  added to
 */
static inline QueueResult queue_write(Queue *q, const xs_host *host, int fd, QueueCount *count)
{
    while (q->count) {
        struct iovec iov[QUEUE_GATHER];
        uint32_t n = q->count < QUEUE_GATHER ? q->count : QUEUE_GATHER;
        size_t want = 0;
        for (uint32_t i = 0; i < n; i++) {
            xs_str s = queue_view(q, queue_at(q, i)->wire);
            if (i == 0) {
                s.ptr += q->sent;
                s.len -= q->sent;
            }
            iov[i] = (struct iovec){(void *)(uintptr_t)s.ptr, s.len};
            want += s.len;
        }
        ssize_t sent;
        if (n == 1) {
            sent = send(fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
            sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        queue_tally(&count->writes, 1);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                return QUEUE_BROKEN;
            queue_tally(&count->partial, 1);
            return QUEUE_BLOCKED;
        }
        queue_account(q, host, (size_t)sent, count);
        if ((size_t)sent < want) {
            queue_tally(&count->partial, 1);
            return QUEUE_BLOCKED;
        }
    }
    if (q->cap > QUEUE_KEEP_SLOTS) {
        free(q->slots);
        q->slots = NULL;
        q->cap = q->head = 0;
    }
    return QUEUE_EMPTY;
}

/**
 * Write a burst to a connection with an empty queue: one system call, no reference. Only what the
 * socket does not take is queued. @param count added to
 */
static inline QueueResult queue_burst(Queue *q, const xs_host *host, int fd, const xs_burst *b,
                                      QueueCount *count)
{
    ssize_t sent;
    do {
        sent = send(fd, b->text.ptr, b->text.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        queue_tally(&count->writes, 1);
    } while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)b->text.len) {
        queue_tally(&count->frames, b->n);
        queue_tally(&count->bytes, b->text.len);
        return QUEUE_EMPTY;
    }
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        return QUEUE_BROKEN;
    for (uint32_t i = 0; i < b->n; i++)
        if (!queue_push(q, host, b->frames[i], b->wires[i]))
            return QUEUE_BROKEN; /* out of memory: there must be no hole */
    queue_tally(&count->partial, 1);
    if (sent > 0)
        queue_account(q, host, (size_t)sent, count);
    return QUEUE_BLOCKED;
}

#endif
