/* services.h - what a running program may ask of the world; the host fills it, a test passes fakes.
 * Every function may be NULL: the statement then ends in XS_E_UNSUPPORTED. */
#ifndef VM_SERVICES_H
#define VM_SERVICES_H

#include "core/buf.h"
#include "core/const.h"
#include "core/receipt.h"
#include "vm/value.h"

typedef struct Fiber Fiber;
typedef struct Call Call; /* vm/native.h */
typedef struct Db Db;     /* stdlib/db/db.h: connections of this worker */

typedef struct PublishReq {
    Text channel, event; /* event ptr NULL = none */
    Text data_json;      /* the body, serialised once */
    Text auth_table;     /* with auth_id: only connections of this identity; len 0 = everyone */
    Text auth_id_json;   /* id as JSON: 7 or "uuid" */
    Text server;      /* realtime.publish: name of the realtime_server; the event is the message's
                         type and the identity whose it is said to be. len 0 = api.realtime_event */
    Receipt *receipt; /* told when it is on disk; NULL = nobody waits */
} PublishReq;

/* What only a test may ask. All borrowed; ctx is that of the Services. */
typedef struct TestServices {
    /** Whether this test runs now. of: the procedure it has to be a test of, -1 = any. */
    bool (*running)(void *ctx, Text name, int64_t of);
    /** Event number i of those published so far; false = there are fewer. */
    bool (*event)(void *ctx, size_t i, PublishReq *out);
    /** Move the clock of the test to an epoch time. */
    void (*set_time)(void *ctx, int64_t ms);
    /** Do what the program left for later: table triggers. */
    void (*settle)(void *ctx);
    /** api.call, task.call…: run what the site names and return what it gives. */
    int (*call)(void *ctx, Call *c); /* a NativeResult */
} TestServices;

/* A part of a streamed answer. */
typedef struct StreamPiece {
    Text type, filename; /* of the answer; they count the first time, len 0 = none */
    Buf *bytes;          /* taken */
} StreamPiece;

/* A detached invocation of a procedure. */
typedef struct SpawnReq {
    uint32_t proc;
    Value input;        /* borrowed: an object or null */
    int64_t timeout_ms; /* 0 = as a request */
    uint32_t retries;   /* after errors */
} SpawnReq;

/* Someone waits for detached invocations. */
typedef struct AsyncWatch {
    struct AsyncWatch *next, *prev; /* private */
    const Text *ids;
    uint32_t count;
    void (*ready)(struct AsyncWatch *w); /* all are over; any thread, under a lock: be short */
} AsyncWatch;

typedef struct Services {
    void *ctx;
    int64_t (*now_ms)(void *ctx);
    bool (*random)(void *ctx, void *out, size_t n);
    /** One JSON line for debug.log. */
    void (*log)(void *ctx, Fiber *fiber, Text json);
    /** Publish to a realtime channel; never blocks. false: err set (bad name, too large). */
    bool (*publish)(void *ctx, const PublishReq *req, xs_error *err);
    /** $env.NAME; ptr NULL = not configured. */
    Text (*env)(void *ctx, Text name);
    /** Compile an expression at run time (to_expr, bracket paths): a PROC_EXPR image, or err.
     * scoped: its variables and $input are members of its input ("$limit", "$input"). */
    bool (*compile_expr)(void *ctx, Arena *a, Text source, bool scoped, void *bundle_image_out,
                         xs_error *err);
    /** Sign a login token. out gets the token text. */
    bool (*make_token)(void *ctx, Text table, Value id, Value extras, int64_t ttl_s, Buf *out,
                       xs_error *err);
    Db *db;
    /** util.set_header: "Name: value" or a status line "HTTP/1.1 201 Created" of the reply; append
     * keeps an earlier header of that name. NULL outside HTTP: the statement does nothing then. */
    bool (*set_header)(void *ctx, Fiber *fiber, Text line, bool append, xs_error *err);
    /** api.stream, all four NULL outside HTTP: the statement does nothing then. *full: the client
     * is behind, wait for stream_wait. */
    bool (*stream_begun)(void *ctx);
    bool (*stream_write)(void *ctx, const StreamPiece *piece, bool *full, xs_error *err);
    /** ready(arg) is called once, from any thread; false: there is room already. */
    bool (*stream_wait)(void *ctx, void (*ready)(void *arg), void *arg);
    /** That call does not happen any more. */
    void (*stream_forget)(void *ctx);
    /** Begin it; id gets a uuid. Errors: XS_E_OVERLOAD, XS_E_NOMEM. */
    bool (*spawn)(void *ctx, Fiber *fiber, const SpawnReq *req, char id[37], xs_error *err);
    /** False: nothing to wait for, all are over or unknown. */
    bool (*async_watch)(void *ctx, AsyncWatch *w);
    void (*async_forget)(void *ctx, AsyncWatch *w); /* ready is not called after this */
    /** The result, or the error object, as JSON; it is forgotten then. False: unknown or not over.
     */
    bool (*async_take)(void *ctx, Text id, Buf *json);
    /** Queue a procedure to run after the reply, with packed (borrowed) as its input. NULL outside
     * HTTP: spawn does instead. */
    bool (*post_process)(void *ctx, uint32_t proc, Value packed, xs_error *err);
    /** Any thread: make the worker of this parked fiber call fiber_finish. NULL: natives wait in
     * place. */
    void (*wake)(void *ctx, Fiber *fiber);
    struct Outside *outside;  /* stdlib/outside.h: what lies beyond the process; NULL = nothing */
    const TestServices *test; /* NULL outside tests */
} Services;

/* Facts of the request a fiber runs for; all borrowed for the fiber's life, NULL members read as
 * null. */
typedef struct RunContext {
    const Const *auth; /* {"id":…, extras…} or NULL */
    Text auth_table;
    Text channel; /* $channel, ptr NULL = null */
    Text tenant, branch, datasource, base_url;
    Text method, uri, querystring, remote_ip, auth_token, host;
    int remote_port;
    const Const *headers; /* Title-Case object */
    Text raw_body;        /* as it was sent; len 0 = none */
    const Const *raw_input;
    uint32_t chain;       /* table triggers that led here, one inside the other */
    const Const *session; /* realtime.get_session; NULL = outside realtime */
    void *request;        /* the host's own; may be NULL */
} RunContext;

#endif
