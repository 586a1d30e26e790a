/* stream.h - values that come one after the other: a handle over a source that makes them when they
 * are asked for. Read once; freed with its last owner. Thread: the fiber's. runtime.md §4.8. */
#ifndef VM_STREAM_H
#define VM_STREAM_H

#include "vm/heap.h"
#include "vm/native.h"

enum { STREAM_LATER = 2 };

typedef struct StreamOps {
    /** 1: *out is the next value, owned by the caller; 0: the end; -1: err is set; STREAM_LATER:
     * there is none yet, see wait. */
    int (*next)(void *source, Heap *h, Value *out, xs_error *err);
    void (*free)(void *source, Heap *h); /* as soon as the end or an error was met, or unused */
    /** After STREAM_LATER: until next may give more; the result is true. NULL: it never says so. */
    NativeResult (*wait)(void *source, Call *c);
} StreamOps;

/** A stream over a source, which it owns from now on. V_UNSET: memory; the source is freed. */
Value stream_new(Heap *h, const StreamOps *ops, void *source);
bool val_is_stream(Value v);
/** Somebody begins to read it, or goes on: reader says who, NULL reads once. Errors: XS_E_STANDARD
 * when another did before, or it is at its end. */
XS_MUST_CHECK bool stream_begin(Value stream, const void *reader, xs_error *err);
/** As StreamOps.next; values are of the heap the stream was made in. */
int stream_next(Value stream, Value *out, xs_error *err);
/** As StreamOps.wait. Without a fiber in c the thread waits. */
NativeResult stream_wait(Value stream, Call *c);
/** As stream_next; the thread waits where there is none yet. */
int stream_next_here(Value stream, Value *out, xs_error *err);
Heap *stream_heap(Value stream);

#endif
