/* httpbench.h - requests of an HTTP API over kept-alive connections: rate, latency, server CPU. */
#ifndef BENCH_HTTPBENCH_H
#define BENCH_HTTPBENCH_H

/** xs bench http; argv[0] is "http". @return exit code */
int bench_http(int argc, char **argv);

#endif
