/* vmbench.c - xs bench vm. Each program of bench/vm exists as NAME.xs (or a folder NAME with
 * main.xs), NAME.lua and NAME.js; all print the same line. Every run is a process of its own, the
 * peers take turns within a round, and the least CPU time of the rounds counts. xs runs with its
 * limits on. */
#include "bench/vmbench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/mem.h"

enum { MAX_PROGRAMS = 64, MAX_ROUNDS = 1000, OUTPUT_MAX = 16 << 10, PATH_BYTES = 1024 };

typedef enum Peer { PEER_XS, PEER_LUA, PEER_NODE, PEERS } Peer;
static const char *const peer_names[PEERS] = {"xs", "lua5.4", "node --jitless"};
static const char *const peer_keys[PEERS] = {"xs", "lua", "node"};

typedef struct Sample {
    double ms;             /* least CPU time of a run; 0 = none */
    uint64_t instructions; /* of one run under callgrind */
} Sample;

typedef struct Entry {
    char name[64];
    bool folder;
    long size, small_size;
    Sample peers[PEERS];
    char output[OUTPUT_MAX];
} Entry;

typedef struct Bench {
    const char *dir;
    char self[PATH_BYTES];
    bool present[PEERS];
    bool instructions, small, no_opt;
    Entry *entries;
    size_t count;
} Bench;

/* ---- one process ---- */

typedef struct Ran {
    bool ok;
    double ms;
    size_t len;
    char output[OUTPUT_MAX];
} Ran;

static void read_all(int fd, Ran *out)
{
    char spill[4096];
    for (;;) {
        bool room = out->len + 1 < sizeof out->output;
        char *to = room ? out->output + out->len : spill;
        ssize_t n = read(fd, to, room ? sizeof out->output - 1 - out->len : sizeof spill);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        if (room)
            out->len += (size_t)n;
    }
    while (out->len && out->output[out->len - 1] == '\n')
        out->len--;
    out->output[out->len] = '\0';
}

/* Run argv with its stdout kept; stderr is shown only when `loud`. */
static Ran run(char *const *argv, bool loud)
{
    Ran r = {0};
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return r;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, STDIN_FILENO);
        dup2(fds[1], STDOUT_FILENO);
        if (!loud)
            dup2(null, STDERR_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(fds[1]);
    if (pid > 0) {
        read_all(fds[0], &r);
        int status;
        struct rusage use;
        pid_t got;
        while ((got = wait4(pid, &status, 0, &use)) < 0 && errno == EINTR)
            ;
        r.ok = got == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        r.ms = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
               (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e3;
    }
    close(fds[0]);
    return r;
}

static bool installed(const char *program, const char *flag)
{
    char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)flag, NULL};
    return run(argv, false).ok;
}

/* ---- the programs ---- */

static bool read_head(Entry *e, const char *path)
{
    char line[256] = "";
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    bool ok = fgets(line, sizeof line, f) &&
              sscanf(line, "// bench %ld small %ld", &e->size, &e->small_size) == 2;
    fclose(f);
    return ok;
}

static bool add_entry(Bench *b, const char *file, const char *pattern)
{
    char path[PATH_BYTES];
    Entry e = {0};
    size_t len = strlen(file);
    bool source = len > 3 && strcmp(file + len - 3, ".xs") == 0;
    size_t name_len = source ? len - 3 : len;
    if (file[0] == '.' || name_len >= sizeof e.name || b->count == MAX_PROGRAMS)
        return true;
    memcpy(e.name, file, name_len);
    if (pattern && !strstr(e.name, pattern))
        return true;
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", b->dir, file);
    e.folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (!source && !e.folder)
        return true;
    if (e.folder)
        snprintf(path, sizeof path, "%s/%s/main.xs", b->dir, file);
    if (!read_head(&e, path)) {
        fprintf(stderr, "xs bench vm: %s does not begin with // bench N small N\n", path);
        return false;
    }
    b->entries[b->count++] = e;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Entry *)a)->name, ((const Entry *)b)->name);
}

static bool find_entries(Bench *b, const char *pattern)
{
    DIR *d = opendir(b->dir);
    if (!d) {
        fprintf(stderr, "xs bench vm: %s: %s\n", b->dir, strerror(errno));
        return false;
    }
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(d));)
        ok = add_entry(b, e->d_name, pattern);
    closedir(d);
    qsort(b->entries, b->count, sizeof *b->entries, by_name);
    if (ok && !b->count)
        fprintf(stderr, "xs bench vm: no program of %s matches\n", b->dir);
    return ok && b->count;
}

/* ---- running ---- */

typedef struct Command {
    char path[PATH_BYTES], size[32], input[48], tool[PATH_BYTES];
    char *argv[24];
    size_t n;
} Command;

static void arg(Command *c, const char *text)
{
    c->argv[c->n++] = (char *)(uintptr_t)text;
    c->argv[c->n] = NULL;
}

/* The command line of one program for one peer; limits high enough not to end it, but counted. */
static void command_of(const Bench *b, const Entry *e, Peer peer, Command *c)
{
    static const char *const ends[PEERS] = {".xs", ".lua", ".js"};
    long size = b->small ? e->small_size : e->size;
    snprintf(c->path, sizeof c->path, "%s/%s%s", b->dir, e->name,
             peer == PEER_XS && e->folder ? "" : ends[peer]);
    snprintf(c->size, sizeof c->size, "%ld", size);
    snprintf(c->input, sizeof c->input, "{\"n\":%ld}", size);
    if (peer == PEER_LUA) {
        arg(c, "lua5.4");
        arg(c, c->path);
        arg(c, c->size);
        return;
    }
    if (peer == PEER_NODE) {
        arg(c, "node");
        arg(c, "--jitless");
        arg(c, c->path);
        arg(c, c->size);
        return;
    }
    const char *const rest[] = {"--function",   e->name,   "--input",
                                c->input,       "--steps", "1000000000000",
                                "--heap-bytes", "1g",      "--request-timeout-ms",
                                "600000"};
    arg(c, b->self);
    arg(c, "run");
    if (b->no_opt)
        arg(c, "--no-opt");
    arg(c, c->path);
    for (size_t i = 0; i < COUNT_OF(rest); i++)
        arg(c, rest[i]);
}

static bool check_output(Entry *e, Peer peer, const Ran *r)
{
    if (!r->ok) {
        fprintf(stderr, "xs bench vm: %s: %s failed\n", e->name, peer_names[peer]);
        return false;
    }
    if (!e->output[0])
        snprintf(e->output, sizeof e->output, "%s", r->output);
    if (strcmp(e->output, r->output) == 0)
        return true;
    fprintf(stderr, "xs bench vm: %s: outputs differ\n  %s\n  %s (%s)\n", e->name, e->output,
            r->output, peer_names[peer]);
    return false;
}

static bool time_round(Bench *b, Entry *e)
{
    for (Peer p = 0; p < PEERS; p++) {
        if (!b->present[p])
            continue;
        Command c = {.n = 0};
        command_of(b, e, p, &c);
        Ran r = run(c.argv, p == PEER_XS);
        if (!check_output(e, p, &r))
            return false;
        Sample *s = &e->peers[p];
        if (s->ms <= 0 || r.ms < s->ms)
            s->ms = r.ms;
    }
    return true;
}

/* "summary: N" of a callgrind file. */
static uint64_t read_summary(const char *path)
{
    char line[4096];
    unsigned long long n = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "summary: %llu", &n) == 1 || sscanf(line, "totals: %llu", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

static bool count_instructions(Bench *b, Entry *e)
{
    for (Peer p = 0; p < PEER_NODE; p++) { /* callgrind does not run Node */
        char file[] = "/tmp/xs-callgrind-XXXXXX", out[PATH_BYTES];
        int fd = b->present[p] ? mkstemp(file) : -1;
        if (fd < 0)
            continue;
        close(fd);
        Command c = {.n = 0}, inner = {.n = 0};
        command_of(b, e, p, &inner);
        snprintf(out, sizeof out, "--callgrind-out-file=%s", file);
        arg(&c, "valgrind");
        arg(&c, "--tool=callgrind");
        arg(&c, out);
        for (size_t i = 0; i < inner.n; i++)
            arg(&c, inner.argv[i]);
        Ran r = run(c.argv, false);
        e->peers[p].instructions = read_summary(file);
        unlink(file);
        if (!check_output(e, p, &r))
            return false;
    }
    return true;
}

/* ---- report ---- */

static double ratio(const Entry *e, Peer peer)
{
    return e->peers[peer].ms > 0 ? e->peers[PEER_XS].ms / e->peers[peer].ms : 0;
}

static double geometric_mean(const Bench *b, Peer peer)
{
    double sum = 0;
    for (size_t i = 0; i < b->count; i++)
        sum += log(fmax(ratio(&b->entries[i], peer), 1e-6));
    return exp(sum / (double)b->count);
}

static void print_json(const Bench *b)
{
    printf("{\"programs\":{");
    for (size_t i = 0; i < b->count; i++) {
        const Entry *e = &b->entries[i];
        printf("%s\"%s\":{", i ? "," : "", e->name);
        const char *comma = "";
        for (Peer p = 0; p < PEERS; p++) {
            if (!b->present[p])
                continue;
            printf("%s\"%s_ms\":%.1f", comma, peer_keys[p], e->peers[p].ms);
            comma = ",";
            if (e->peers[p].instructions)
                printf(",\"%s_instructions\":%llu", peer_keys[p],
                       (unsigned long long)e->peers[p].instructions);
        }
        printf("}");
    }
    printf("},\"geometric_mean\":{");
    const char *comma = "";
    for (Peer p = PEER_LUA; p < PEERS; p++) {
        if (!b->present[p])
            continue;
        printf("%s\"%s\":%.3f", comma, peer_keys[p], geometric_mean(b, p));
        comma = ",";
    }
    printf("}}\n");
}

static void print_row(const Bench *b, const Entry *e)
{
    printf("%-12s", e->name);
    for (Peer p = 0; p < PEERS; p++)
        if (b->present[p])
            printf(" %9.1f", e->peers[p].ms);
    for (Peer p = PEER_LUA; p < PEERS; p++)
        if (b->present[p])
            printf(" %8.2f", ratio(e, p));
    if (b->instructions)
        for (Peer p = 0; p < PEER_NODE; p++)
            if (b->present[p])
                printf(" %10.1f", (double)e->peers[p].instructions / 1e6);
    putchar('\n');
}

static void print_table(const Bench *b)
{
    printf("%-12s", "CPU ms");
    for (Peer p = 0; p < PEERS; p++)
        if (b->present[p])
            printf(" %9s", peer_keys[p]);
    for (Peer p = PEER_LUA; p < PEERS; p++)
        if (b->present[p])
            printf("  xs/%-4s", peer_keys[p]);
    if (b->instructions)
        for (Peer p = 0; p < PEER_NODE; p++)
            if (b->present[p])
                printf(" %5s Mins.", peer_keys[p]);
    putchar('\n');
    for (size_t i = 0; i < b->count; i++)
        print_row(b, &b->entries[i]);
    for (Peer p = PEER_LUA; p < PEERS; p++)
        if (b->present[p])
            printf("geometric mean of xs / %s: %.2f\n", peer_names[p], geometric_mean(b, p));
        else
            printf("%s is not installed and left out\n", peer_names[p]);
}

static bool measure(Bench *b, long rounds)
{
    for (long r = 0; r < rounds; r++)
        for (size_t i = 0; i < b->count; i++)
            if (!time_round(b, &b->entries[i]))
                return false;
    for (size_t i = 0; i < b->count && b->instructions; i++)
        if (!count_instructions(b, &b->entries[i]))
            return false;
    return true;
}

int bench_vm(int argc, char **argv)
{
    const char *pattern = NULL, *rounds = "3", *dir = "bench/vm";
    bool json = false;
    Bench b = {0};
    const CliOption options[] = {
        {"-k", "PATTERN", "only programs with this in their name", NULL, &pattern},
        {"--rounds", "N", "runs of each program and peer; the fastest counts (3)", NULL, &rounds},
        {"--small", NULL, "small sizes: checks that all print the same", &b.small, NULL},
        {"--no-opt", NULL, "xs compiles without optimisations", &b.no_opt, NULL},
        {"--instructions", NULL, "also count instructions under callgrind (slow)", &b.instructions,
         NULL},
        {"--dir", "DIR", "folder of the programs (bench/vm)", NULL, &dir},
        {"--json", NULL, "print one line of JSON", &json, NULL},
        {0},
    };
    int done = cli_options(&argc, argv, "bench vm [OPTIONS]",
                           "Runs the programs of bench/vm here, in Lua 5.4 and in Node's "
                           "interpreter, and compares CPU time.\n"
                           "Exit code 1 when one fails or prints something else.",
                           options);
    if (done >= 0)
        return done;
    char *end = NULL;
    long n = strtol(rounds, &end, 10);
    if (argc > 1)
        return cli_usage("bench vm", "unexpected argument '%s'", argv[1]);
    if (!*rounds || *end || n < 1 || n > MAX_ROUNDS)
        return cli_usage("bench vm", "--rounds needs a number from 1 to 1000");
    ssize_t len = readlink("/proc/self/exe", b.self, sizeof b.self - 1);
    b.entries = mem_zalloc(MAX_PROGRAMS, sizeof *b.entries);
    if (len <= 0 || !b.entries) {
        mem_free(b.entries);
        return EXIT_PROBLEM;
    }
    b.dir = dir;
    b.present[PEER_XS] = true;
    b.present[PEER_LUA] = installed("lua5.4", "-v");
    b.present[PEER_NODE] = installed("node", "--version");
    if (b.instructions && !installed("valgrind", "--version")) {
        fprintf(stderr, "xs bench vm: valgrind is not installed; no instruction counts\n");
        b.instructions = false;
    }
    bool ok = find_entries(&b, pattern) && measure(&b, n);
    if (ok && json)
        print_json(&b);
    else if (ok)
        print_table(&b);
    mem_free(b.entries);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}
