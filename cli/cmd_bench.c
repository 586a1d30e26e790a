/* cmd_bench.c - xs bench: picks a benchmark program of bench/. */
#include "cli/cli.h"

#include "bench/check.h"
#include "bench/compare.h"
#include "bench/dbbench.h"
#include "bench/fanout.h"
#include "bench/httpbench.h"
#include "bench/reconnect.h"
#include "bench/soak.h"
#include "bench/vmbench.h"

static const struct {
    const char *name, *doc;
    int (*run)(int argc, char **argv);
} all[] = {
    {"fanout", "events to many subscribers: latency, CPU and memory", bench_fanout},
    {"reconnect", "all clients cut at once: how long until all are back", bench_reconnect},
    {"soak", "everything at once for minutes: does the server grow?", bench_soak},
    {"compare", "fan-out against the floor and other servers, as a page", bench_compare},
    {"check", "reading, checking and formatting sources", bench_check},
    {"http", "an HTTP API: rate, latency and CPU per request", bench_http},
    {"vm", "the machine against Lua and Node", bench_vm},
    {"db", "statements on a database file", bench_db},
};

int cmd_bench(int argc, char **argv)
{
    char names[160] = "";
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        if (argc >= 2 && strcmp(argv[1], all[i].name) == 0)
            return all[i].run(argc - 1, argv + 1);
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", all[i].name);
    }
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
        puts("usage: xs bench NAME [OPTIONS]\n");
        for (size_t i = 0; i < COUNT_OF(all); i++)
            printf("  %-10s %s\n", all[i].name, all[i].doc);
        puts("\nRun xs bench NAME --help for its options.");
        return EXIT_OK;
    }
    if (argc < 2)
        return cli_usage("bench", "name a benchmark: %s", names);
    return cli_usage("bench", "unknown benchmark '%s'; there are: %s", argv[1], names);
}
