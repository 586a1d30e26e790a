/* fanout.h - xs bench fanout: many subscribers of one channel, one publisher; latency and CPU per
 * delivery. */
#ifndef BENCH_FANOUT_H
#define BENCH_FANOUT_H

/** argv[0] is "fanout". @return exit code */
int bench_fanout(int argc, char **argv);

#endif
