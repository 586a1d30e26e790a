/* compare.h - xs bench compare: the goals of fan-out against the floor and other servers. */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

/** argv[0] is "compare". @return exit code: 1 when a run failed, lost or reordered events */
int bench_compare(int argc, char **argv);

#endif
