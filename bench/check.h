/* check.h - xs bench check: how fast sources are read, checked and formatted. */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

int bench_check(int argc, char **argv);

#endif
