/* results.h - what bench/compare has measured so far, kept in a file of lines of JSON, so that a
 * matrix can be measured in pieces and the page is made of all of them. */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include "bench/fanout.h"
#include "core/vec.h"

enum { RESULT_VALUES = FANOUT_SERIES };

/* One target in one case. Rounds stand beside each other: value[i] of all targets of a case were
 * measured in the same minute. */
typedef struct Result {
    char id[24]; /* of the case */
    char target[16];
    char date[12];
    char why[160]; /* nothing was measured, because */
    uint32_t count;
    double value[RESULT_VALUES];
    double p50[RESULT_VALUES], p99[RESULT_VALUES]; /* µs */
    double rate[RESULT_VALUES];                    /* deliveries per second */
} Result;

typedef struct Results {
    VEC(Result *) all; /* in the order they were measured */
} Results;

/** An absent file is an empty one. false: a message is on stderr. */
XS_MUST_CHECK bool results_load(Results *r, const char *path);
/** Written whole and renamed. false: a message is on stderr. */
XS_MUST_CHECK bool results_save(const Results *r, const char *path);
void results_free(Results *r);
/** NULL = not measured. */
const Result *results_find(const Results *r, const char *id, const char *target);
/** Forget a case. */
void results_drop(Results *r, const char *id);
/** A new, empty result of today. NULL = memory. */
Result *results_add(Results *r, const char *id, const char *target);
/** Bytes into a file, by way of a temporary one beside it. false: a message is on stderr. */
XS_MUST_CHECK bool results_write_file(const char *path, const Buf *bytes);

#endif
