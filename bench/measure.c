/* measure.c - clock, histogram, /proc. */
#include "bench/measure.h"
#include "core/clock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- histogram ---- */

static unsigned bucket_of(uint64_t value)
{
    if (value < HIST_SUB)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - 6;
    unsigned b = (shift + 1) * HIST_SUB + (unsigned)((value >> shift) - HIST_SUB);
    return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

static uint64_t bucket_value(unsigned b)
{
    if (b < HIST_SUB)
        return b;
    unsigned shift = b / HIST_SUB - 1;
    return (uint64_t)(HIST_SUB + b % HIST_SUB) << shift;
}

void hist_add(Histogram *h, uint64_t value)
{
    h->count++;
    if (value > h->max)
        h->max = value;
    h->buckets[bucket_of(value)]++;
}

uint64_t hist_percentile(const Histogram *h, double share)
{
    uint64_t want = (uint64_t)(share * (double)h->count), sum = 0;
    for (unsigned b = 0; b < HIST_BUCKETS; b++) {
        sum += h->buckets[b];
        if (sum > want)
            return bucket_value(b);
    }
    return h->max;
}

/* ---- processes ---- */

/* fn(pid, ctx) for a process and its descendants. */
static void over_tree(pid_t pid, void (*fn)(pid_t, void *), void *ctx)
{
    char path[64];
    fn(pid, ctx);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    int child;
    while (file && fscanf(file, "%d", &child) == 1)
        over_tree(child, fn, ctx);
    if (file)
        fclose(file);
}

/* fn(tid, ctx) for every thread of a process. */
static void each_thread(pid_t pid, void (*fn)(pid_t tid, void *ctx), void *ctx)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            fn((pid_t)strtol(e->d_name, NULL, 10), ctx);
    if (dir)
        closedir(dir);
}

static void add_thread_cpu(pid_t tid, void *ctx)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)tid);
    FILE *file = fopen(path, "r");
    unsigned long long ns;
    if (file && fscanf(file, "%llu", &ns) == 1)
        *(uint64_t *)ctx += ns / 1000;
    if (file)
        fclose(file);
}

static void add_cpu(pid_t pid, void *ctx)
{
    each_thread(pid, add_thread_cpu, ctx);
}

/* A number of /proc/PID/status; 0 = unknown. */
static uint64_t status_number(pid_t pid, const char *name)
{
    char path[64], line[128];
    size_t len = strlen(name);
    uint64_t n = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && !n && fgets(line, sizeof line, file))
        if (strncmp(line, name, len) == 0 && line[len] == ':')
            n = strtoull(line + len + 1, NULL, 10);
    if (file)
        fclose(file);
    return n;
}

static void add_anon_bytes(pid_t pid, void *ctx)
{
    *(uint64_t *)ctx += status_number(pid, "RssAnon") * 1024;
}

uint64_t proc_threads(pid_t pid)
{
    return status_number(pid, "Threads");
}

uint64_t proc_cpu_us(pid_t pid)
{
    uint64_t total = 0;
    over_tree(pid, add_cpu, &total);
    return total;
}

uint64_t proc_anon_bytes(pid_t pid)
{
    uint64_t total = 0;
    over_tree(pid, add_anon_bytes, &total);
    return total;
}

static void pin_thread(pid_t tid, void *ctx)
{
    if (sched_setaffinity(tid, sizeof(cpu_set_t), (const cpu_set_t *)ctx) != 0)
        CPU_ZERO((cpu_set_t *)ctx); /* tells the caller */
}

static void pin_process(pid_t pid, void *ctx)
{
    each_thread(pid, pin_thread, ctx);
}

bool proc_pin(pid_t pid, const cpu_set_t *of, unsigned n)
{
    cpu_set_t set;
    int cpu = 0;
    while (cpu < CPU_SETSIZE && (!CPU_ISSET(cpu, of) || n--))
        cpu++;
    if (cpu == CPU_SETSIZE)
        return false;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (pid)
        over_tree(pid, pin_process, &set);
    else
        pin_thread(0, &set);
    return CPU_COUNT(&set) == 1;
}

unsigned proc_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

enum { FILES_WANTED = 1 << 17 };

uint64_t proc_raise_files(void)
{
    struct rlimit limit, more = {FILES_WANTED, FILES_WANTED};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_max < FILES_WANTED && setrlimit(RLIMIT_NOFILE, &more) == 0)
        return FILES_WANTED; /* root may */
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

int proc_free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
        getsockname(fd, (struct sockaddr *)&at, &len) == 0)
        port = ntohs(at.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

void proc_stop(pid_t pid, int wait_ms)
{
    if (pid <= 0)
        return;
    kill(pid, SIGTERM);
    int64_t end = clock_mono_us() + (int64_t)wait_ms * 1000;
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        if (clock_mono_us() > end)
            kill(pid, SIGKILL);
        poll(NULL, 0, 20);
    }
}

bool measure_count(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    char *end;
    if (!text)
        return true;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n < low || n > high)
        return false;
    *out = n;
    return true;
}
