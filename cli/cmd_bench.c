/* cmd_bench.c - xs bench: picks a benchmark program of bench/. */
#include "cli/cli.h"

#include "bench/fanout.h"
#include "bench/vmbench.h"

int cmd_bench(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } all[] = {{"fanout", bench_fanout}, {"vm", bench_vm}};
    for (size_t i = 0; argc >= 2 && i < COUNT_OF(all); i++)
        if (strcmp(argv[1], all[i].name) == 0)
            return all[i].run(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
        fputs("usage: xs bench fanout|vm [OPTIONS]\n\nfanout measures a running server, vm the "
              "machine against Lua and Node.\nRun xs bench NAME --help for its options.\n",
              stdout);
        return EXIT_OK;
    }
    return cli_usage("bench",
                     argc < 2 ? "name a benchmark: fanout or vm"
                              : "unknown benchmark '%s'; there are: fanout, vm",
                     argv[1]);
}
