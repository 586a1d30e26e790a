/* reconnect.h - everybody leaves at once and comes back at once. */
#ifndef BENCH_RECONNECT_H
#define BENCH_RECONNECT_H

/** xs bench reconnect; argv[0] is "reconnect". @return exit code */
int bench_reconnect(int argc, char **argv);

#endif
