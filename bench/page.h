/* page.h - the page and the charts that bench/compare makes of its results. */
#ifndef BENCH_PAGE_H
#define BENCH_PAGE_H

#include "bench/results.h"

typedef enum Measure { CPU, MEMORY, TRIGGERS, IDLE_CPU, RATE } Measure;

typedef struct Case {
    const char *id, *name; /* name NULL: it is a point of the charts, not on the page */
    Carrier carrier;
    Measure measure;
    uint32_t clients, idle, late, size, batch, window, threads;
    uint64_t messages;
    const char *targets; /* the first one is what ratios are made to */
    double ratio, value; /* goals for xs: at most (triggers, rate: at least); 0 = none */
} Case;

enum { TARGETS_MAX = 10 };
typedef char TargetName[16];
/** The names in a case's list. @return how many */
size_t case_targets(const Case *c, TargetName names[TARGETS_MAX]);

/** Markdown of everything measured, with the machine it was measured on. */
void page_write(Buf *out, const Case *cases, size_t n, const Results *r);
/** SVG: cost and latency over the number of subscribers (cases "curve-*") and over the time of one
 * run (case "steady"). false: there is nothing to draw yet. */
bool page_draw(Buf *out, const Case *cases, size_t n, const Results *r);

#endif
