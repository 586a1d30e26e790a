/* stream.h - values that come one after the other: a handle over a source that makes them when they
 * are asked for. Read once; freed with its last owner. Thread: the fiber's. runtime.md §4.8. */
#ifndef VM_STREAM_H
#define VM_STREAM_H

#include "vm/heap.h"

typedef struct StreamOps {
    /** 1: *out is the next value, owned by the caller; 0: the end; -1: err is set. Does not park.
     */
    int (*next)(void *source, Heap *h, Value *out, xs_error *err);
    void (*free)(void *source, Heap *h); /* as soon as the end or an error was met, or unused */
} StreamOps;

/** A stream over a source, which it owns from now on. V_UNSET: memory; the source is freed. */
Value stream_new(Heap *h, const StreamOps *ops, void *source);
bool val_is_stream(Value v);
/** Somebody begins to read it. Errors: XS_E_STANDARD when somebody did before. */
XS_MUST_CHECK bool stream_begin(Value stream, xs_error *err);
/** As StreamOps.next; values are of the heap the stream was made in. */
int stream_next(Value stream, Value *out, xs_error *err);
Heap *stream_heap(Value stream);

#endif
