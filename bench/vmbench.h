/* vmbench.h - xs bench vm: the programs of bench/vm against Lua and Node's interpreter. */
#ifndef BENCH_VMBENCH_H
#define BENCH_VMBENCH_H

/** argv[0] is "vm". @return exit code */
int bench_vm(int argc, char **argv);

#endif
