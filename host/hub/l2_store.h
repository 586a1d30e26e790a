/* l2_store.h - what channels of realtime servers keep beyond the process: recorded messages and how
 * far each client has acknowledged them. One thread works off a queue and commits once per burst.
 * Specification: realtime.md §4.6, §6. */
#ifndef HOST_HUB_L2_STORE_H
#define HOST_HUB_L2_STORE_H

#include "core/arena.h"
#include "core/base.h"
#include "include/xs/error.h"

enum { STORE_KEEP_MAX = 100000 /* messages of a channel that has no limit by number */ };

typedef struct Store Store;
typedef struct StoreOp StoreOp;

typedef enum StoreKind {
    STORE_APPEND, /* message → id */
    STORE_OPEN,   /* a client joins: cursor, transcript, first page of what it has not acked */
    STORE_PAGE,   /* what follows after id */
    STORE_ACK     /* id → cursor */
} StoreKind;

typedef struct StoreRow {
    struct StoreRow *next;
    uint64_t id;
    int64_t ts;
    Text type;                    /* ptr NULL = none */
    Text payload, client, sender; /* JSON; client and sender len 0 = none */
} StoreRow;

/* What the channel keeps. */
typedef struct StoreRules {
    uint32_t keep;       /* newest messages that stay; 0 = no limit by number */
    uint32_t transcript; /* newest ones that STORE_OPEN gives as transcript */
    int64_t ttl_ms;      /* 0 = for ever */
    bool by_age;         /* ttl is the age of a message; else the channel's idle time */
    bool replay;         /* STORE_OPEN gives a cursor and what follows it */
} StoreRules;

/* One request; owned by the store from store_push to done, which runs on the store's thread in the
 * order of the pushes. Texts must live as long (the op's arena is there for them). */
struct StoreOp {
    StoreOp *next;
    StoreKind kind;
    Arena arena;
    void (*done)(StoreOp *op);
    StoreRules rules;
    Text channel; /* with its space: unique in the file */
    Text client;  /* OPEN, ACK: whose cursor; len 0 = none */
    StoreRow row; /* APPEND */
    uint64_t id;  /* PAGE: after which. ACK: up to which. APPEND, out: of the message */
    /* out */
    bool ok;               /* false: nothing happened, and nothing below is set */
    uint64_t cursor, upto; /* upto: the newest id when OPEN was answered */
    bool resumed;          /* OPEN: the cursor was known and everything behind it was still there */
    StoreRow *transcript, *replay; /* oldest first */
    uint32_t ntranscript;
    bool more; /* replay goes on: ask with STORE_PAGE */
};

/** path ":memory:" keeps nothing. Errors: XS_E_DATABASE, XS_E_NOMEM, XS_E_IO. */
XS_MUST_CHECK Store *store_open(const char *path, xs_error *err);
/** Everything pushed is done first. NULL is fine. */
void store_close(Store *s);
/** Any thread, under any lock of the hub. false: too much waits; the op stays the caller's. */
XS_MUST_CHECK bool store_push(Store *s, StoreOp *op);

#endif
