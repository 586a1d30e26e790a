/* stream.c - the handle of a stream. Specification: runtime.md §4.8. */
#include "vm/stream.h"

#include <string.h>

typedef struct Stream {
    const StreamOps *ops;
    Heap *heap;
    void *source; /* NULL = it is at its end */
    bool begun;
    const void *reader;
} Stream;

static const char stream_type[] = "stream";

static void end(Stream *s)
{
    if (s->source)
        s->ops->free(s->source, s->heap);
    s->source = NULL;
}

static void stream_free(Heap *h, HandleObj *self)
{
    Stream *s = self->ptr;
    if (!s)
        return;
    end(s);
    heap_release(h, s, sizeof *s);
    self->ptr = NULL;
}

Value stream_new(Heap *h, const StreamOps *ops, void *source)
{
    Stream *s = heap_alloc(h, sizeof *s);
    Value v = s ? handle_new(h, stream_type, s, stream_free) : val_unset();
    if (v.kind == V_UNSET) {
        if (s)
            heap_release(h, s, sizeof *s);
        ops->free(source, h);
        return v;
    }
    *s = (Stream){.ops = ops, .heap = h, .source = source};
    return v;
}

bool val_is_stream(Value v)
{
    return v.kind == V_HANDLE && v.handle->type == stream_type && v.handle->ptr;
}

bool stream_begin(Value stream, const void *reader, xs_error *err)
{
    Stream *s = stream.handle->ptr;
    bool goes_on = reader && s->reader == reader && s->source;
    if (s->begun && !goes_on)
        return xs_fail(err, XS_E_STANDARD, XS_NO_POS, "Stream already consumed.");
    s->begun = true;
    s->reader = reader;
    return true;
}

Heap *stream_heap(Value stream)
{
    const Stream *s = stream.handle->ptr;
    return s->heap;
}

int stream_next(Value stream, Value *out, xs_error *err)
{
    Stream *s = stream.handle->ptr;
    int more = s->source ? s->ops->next(s->source, s->heap, out, err) : 0;
    if (more <= 0)
        end(s);
    return more;
}

NativeResult stream_wait(Value stream, Call *c)
{
    Stream *s = stream.handle->ptr;
    return s->ops->wait(s->source, c);
}

int stream_next_here(Value stream, Value *out, xs_error *err)
{
    int more;
    while ((more = stream_next(stream, out, err)) == STREAM_LATER) {
        Call c = {.heap = stream_heap(stream), .name = "stream", .ret = val_null(), .err = err};
        if (stream_wait(stream, &c) != NATIVE_OK)
            return -1;
    }
    return more;
}
