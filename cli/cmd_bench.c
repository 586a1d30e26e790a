/* cmd_bench.c - xs bench: picks a benchmark program of bench/. */
#include "cli/cli.h"

#include "bench/fanout.h"

int cmd_bench(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "fanout") == 0)
        return bench_fanout(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
        fputs("usage: xs bench fanout [OPTIONS]\n\nRun xs bench fanout --help for its options.\n",
              stdout);
        return EXIT_OK;
    }
    return cli_usage(
        "bench", argc < 2 ? "name a benchmark: fanout" : "unknown benchmark '%s'; there is: fanout",
        argv[1]);
}
