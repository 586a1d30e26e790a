/* outstream.h - an answer that the program writes piece by piece (api.stream): a worker appends,
 * the loop sends chunks. runtime.md §5.7. */
#ifndef HOST_OUTSTREAM_H
#define HOST_OUTSTREAM_H

#include "host/http.h"
#include "host/worker.h"

typedef struct OutStream OutStream;

enum { OUTSTREAM_MAX_HEADERS = 64 };

/**
 * Worker. The head goes out with the first bytes. x must be kept (http_keep) until then.
 * @param headers  borrowed texts, as long as x is kept
 * NULL = out of memory.
 */
OutStream *outstream_new(Pool *p, xs_http *x, int status, const xs_header *headers, size_t n);
/** Worker. Takes the bytes. *full: the peer is behind; the writer should wait. False: memory. */
XS_MUST_CHECK bool outstream_write(OutStream *s, Buf *bytes, bool *full);
/** Worker: fn(arg) is called once, on the loop's thread, when there is room again or nobody reads
 * any more. False: that is so already. Only one at a time. */
bool outstream_when_ready(OutStream *s, void (*fn)(void *arg), void *arg);
/** Any thread: forget that call. It does not happen any more once this has returned. */
void outstream_forget(OutStream *s);
/** Loop: the program wrote all it will. whole = false: the client must see that something is
 * missing. s is gone after. */
void outstream_finish(OutStream *s, bool whole);

#endif
