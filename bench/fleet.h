/* fleet.h - very many cheap subscribers on one epoll loop, for benchmarks.
 *
 * A subscriber does not parse what it receives: every event carries one marker, found by a scan of
 * the bytes, that tells its number and when it was published. WebSocket frames are walked by their
 * lengths (pings are answered), long-poll answers by theirs. One thread owns a fleet. */
#ifndef BENCH_FLEET_H
#define BENCH_FLEET_H

#include <stdatomic.h>

#include "bench/measure.h"

/* '@', 8 hex digits of the event's number, 16 of its time in µs, '@'. */
enum { MARKER_BYTES = 26 };
#define MARKER_UNORDERED                                                                           \
    UINT64_C(0x80000000) /* bit of a number: its place among others means nothing */
void marker_write(char out[MARKER_BYTES + 1], uint64_t number, int64_t at_us);

typedef enum Carrier { CARRY_WS, CARRY_SSE, CARRY_LONGPOLL } Carrier;
extern const char *const carrier_names[]; /* "ws", "sse", "longpoll" */
/** By its name, or "lp". */
bool carrier_named(const char *name, Carrier *out);

/* After `wait` was seen in a message (ptr NULL: at once), `send` is sent (len 0: nothing). */
typedef struct Step {
    Text wait, send;
} Step;

/* How to subscribe at one kind of server. Texts must outlive the fleet. */
typedef struct Dialect {
    Carrier carrier;
    const char *path;    /* "/rt/bench" with its query */
    const char *headers; /* more lines for the request, each with CRLF; "" = none */
    bool binary;         /* WebSocket messages we send are binary */
    bool etag;         /* long-poll position by Last-Modified and Etag, not by the body's cursor */
    Text ping, pong;   /* a message to answer, inside the protocol; len 0 = none */
    const Step *steps; /* subscribed when all are done */
    uint32_t nsteps;
} Dialect;

typedef struct Fleet {
    uint32_t count, opening, joined, ended, dropped, stuck;
    uint64_t received, disordered;
    bool late;            /* a subscriber's first event may have any number */
    bool unordered;       /* events come in any order: each once, which fleet_complete looks at */
    uint32_t opening_max; /* handshakes under way at once */
    int64_t first_us, last_us; /* publish time of the first event, arrival of the last */
    Histogram latency;         /* µs */
    char trouble[160];         /* why the first one ended */
    struct FleetState *state;
} Fleet;

XS_MUST_CHECK bool fleet_init(Fleet *f, const char *host, int port);
void fleet_deinit(Fleet *f);
/** Start n subscribers more. idle: they hear nothing and count as no receivers. */
XS_MUST_CHECK bool fleet_add(Fleet *f, const Dialect *dialect, uint32_t n, bool idle);
/** Wait at most timeout_ms for bytes and handle all of them; opens what was added. */
void fleet_step(Fleet *f, int timeout_ms);
/** From now on the last n receivers read nothing. */
void fleet_stick(Fleet *f, uint32_t n);
/** Unordered: receivers that have events 0 … n-1 once each, as far as their sum tells. */
uint32_t fleet_complete(const Fleet *f, uint64_t n);
/** From now on the first n receivers read nothing; fleet_catch_up ends that. */
void fleet_postpone(Fleet *f, uint32_t n);
void fleet_catch_up(Fleet *f);
/** Close the n receivers that have been open for the longest time. @return how many there were */
uint32_t fleet_drop(Fleet *f, uint32_t n);

#endif
