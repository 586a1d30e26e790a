/* dbbench.h - xs bench db: statements of a program on a database file, without sockets. */
#ifndef BENCH_DBBENCH_H
#define BENCH_DBBENCH_H

/** argv[0] is "db". @return exit code */
int bench_db(int argc, char **argv);

#endif
