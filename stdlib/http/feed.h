/* feed.h - the body of a response as bytes that come by and by. A reader that is behind holds the
 * transfer back. Specification: runtime.md §4.8, stream.from_request. */
#ifndef STDLIB_HTTP_FEED_H
#define STDLIB_HTTP_FEED_H

#include <pthread.h>

#include "stdlib/http/client.h"
#include "stdlib/rows.h"

/* Lies in the storage of its transfer, which it frees with the last reference. */
typedef struct Feed {
    Transfer *t;
    atomic_uint refs;
    IoPost closing;
    int64_t silence_ms;   /* longest wait for bytes */
    int64_t deadline_ms;  /* of the fiber that opened it; INT64_MAX = none */
    pthread_mutex_t lock; /* of the next two */
    Buf fresh;
    bool over;
    /* loop */
    Wait *reader; /* waits for bytes */
    bool paused;
} Feed;

/** With one reference, that of t->wait; before the transfer starts. */
void feed_init(Feed *f, Transfer *t, int64_t silence_ms, int64_t left_ms);
void feed_ref(Feed *f);
void feed_unref(Feed *f); /* any thread */
/** The transfer's wait is over: whether it gave bytes or a proper end. False: see transfer_problem.
 */
bool feed_begun(Feed *f);
extern const ByteOps feed_ops; /* over a reference */

#endif
