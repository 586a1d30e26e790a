/* history.h - what was asked and answered, kept for a day in a database file of its own. Records
 * are queued and written by a thread of their own; when there are more than it may write, they are
 * dropped and counted. runtime.md §5.8. */
#ifndef HOST_HISTORY_H
#define HOST_HISTORY_H

#include "core/buf.h"
#include "host/log.h"

typedef struct History History;

typedef struct HistoryOptions {
    const char *file;   /* made when missing */
    uint32_t per_s;     /* records per second; more are dropped */
    uint32_t max_bytes; /* of a request or a response; longer ones are cut off as null */
    const Log *log;
} HistoryOptions;

typedef struct HistoryRecord {
    Text api_id, verb, path, branch;
    int status;
    double duration_ms;
    Text request, response; /* JSON */
    Text trace;             /* of its statements: a JSON list */
    int64_t created_at_ms;
} HistoryRecord;

/** Errors: XS_E_DATABASE, XS_E_IO, XS_E_NOMEM. */
XS_MUST_CHECK History *history_new(const HistoryOptions *opt, xs_error *err);
/** Write what is queued, close. NULL is fine. */
void history_free(History *h);
/** Any thread, without waiting: whether a record of now would be taken; counts against the rate. */
bool history_wants(History *h, int64_t now_ms);
/** Any thread: copy and queue. */
void history_add(History *h, const HistoryRecord *r);

/**
 * The newest records as a JSON list.
 * @param status  0 = all, 4 = 400 to 499, 404 = that one   @param before  only ids below; 0 = all
 * Errors: XS_E_DATABASE, XS_E_NOMEM.
 */
XS_MUST_CHECK bool history_list(History *h, int status, Text api_id, int64_t before, uint32_t limit,
                                Buf *out, xs_error *err);

#endif
