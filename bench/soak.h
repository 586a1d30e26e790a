/* soak.h - everything at once for a long time: does the server stay as large as it was? */
#ifndef BENCH_SOAK_H
#define BENCH_SOAK_H

/** xs bench soak; argv[0] is "soak". @return exit code */
int bench_soak(int argc, char **argv);

#endif
