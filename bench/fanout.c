/* fanout.c - xs bench fanout: one publisher, many subscribers of one channel.
 *
 * Starts a server of its own (a child running `xs serve` with a tiny program) unless --url names
 * one. The publisher is a thread with a blocking HTTP connection to the publish endpoint; it keeps
 * a window of batches under way. Every event carries its number and the time it was sent;
 * subscribers check that nothing is missing or out of order. Server CPU comes from /proc.
 * Specification: realtime.md §9, §11. */
#include "bench/fanout.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/rtclient.h"
#include "cli/cli.h"
#include "core/mem.h"

enum {
    START_MS = 20000,        /* for the server to name its URL */
    CONNECT_STEP = 200,      /* handshakes under way at once */
    CONNECT_IDLE_MS = 15000, /* without a new connection: give up */
    IDLE_MS = 10000,         /* without a delivery: give up */
    HTTP_MS = 20000,
    STOP_MS = 10000,
    WINDOW = 4, /* batches under way */
    BATCH_MAX = 100,
    SIZE_MAX_BYTES = 200000,
    HIST_SUB = 64, /* buckets per power of two: 1.6 % resolution */
    HIST_BUCKETS = 64 * 40
};

static const char CHANNEL[] = "bench";
static const char KEY[] = "bench-publish-key-0001";

typedef struct Fanout Fanout;

typedef struct Subscriber {
    Fanout *f;
    RtClient *client;
    uint64_t next; /* number of the event that should come */
    bool joined, ended;
} Subscriber;

struct Fanout {
    /* options */
    RtTransport transport;
    const char *transport_name, *host, *base, *key;
    int port, admin_port;
    char admin_host[64], url_host[64];
    uint32_t clients, batch;
    uint64_t messages, size;
    bool json, progress;
    /* the server we started */
    pid_t pid;
    int out;
    char dir[64];
    /* run */
    RtLoop *loop;
    Subscriber *subs;
    uint32_t joined, ended, opening;
    uint64_t received, out_of_order, resyncs;
    _Atomic uint64_t delivered; /* as the publisher sees it */
    _Atomic bool stop, publish_failed;
    char publish_error[160];
    int64_t first_us, last_us, max_us;
    uint64_t hist[HIST_BUCKETS];
};

/* --- the server --- */

static bool write_program(Fanout *f)
{
    static const char text[] = "workspace bench {\n  realtime = {canonical: \"bench\"}\n}\n";
    snprintf(f->dir, sizeof f->dir, "/tmp/xs-fanout-XXXXXX");
    if (!mkdtemp(f->dir)) {
        f->dir[0] = '\0';
        return false;
    }
    char path[96];
    snprintf(path, sizeof path, "%s/workspace.xs", f->dir);
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    bool ok = fwrite(text, 1, sizeof text - 1, file) == sizeof text - 1;
    return fclose(file) == 0 && ok;
}

static int free_port(void)
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

/* In the child: becomes the server. */
static void exec_server(const Fanout *f, int out)
{
    char admin[32], self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        _exit(127);
    self[n] = '\0';
    snprintf(admin, sizeof admin, "127.0.0.1:%d", f->admin_port);
    setenv("XS_ADMIN_LISTEN", admin, 1);
    setenv("XS_REALTIME_PUBLISH_KEYS", KEY, 1);
    setenv("XS_REALTIME_DEFAULT_CHANNEL", "anonymous", 1);
    setenv("XS_TRANSPORT", "ws,sse,longpoll", 1);
    setenv("XS_LOG_LEVEL", "warning", 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* never outlive the benchmark */
    dup2(out, STDOUT_FILENO);
    char serve[] = "serve", listen[] = "--listen", address[] = "127.0.0.1:0", db[] = "--db",
         memory[] = ":memory:", dir[sizeof f->dir];
    memcpy(dir, f->dir, sizeof dir);
    char *argv[] = {self, serve, dir, listen, address, db, memory, NULL};
    execv(self, argv);
    _exit(127);
}

static bool read_url(Fanout *f)
{
    static const char PREFIX[] = "http://127.0.0.1:";
    char text[4096];
    size_t len = 0;
    int64_t end = rt_now_us() + (int64_t)START_MS * 1000;
    while (len < sizeof text - 1 && rt_now_us() < end) {
        struct pollfd p = {.fd = f->out, .events = POLLIN};
        if (poll(&p, 1, 200) <= 0)
            continue;
        ssize_t n = read(f->out, text + len, sizeof text - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        const char *url = strstr(text, PREFIX);
        if (url && strchr(url, '\n')) {
            f->port = (int)strtol(url + sizeof PREFIX - 1, NULL, 10);
            return f->port > 0;
        }
    }
    return false;
}

static bool start_server(Fanout *f)
{
    int pipes[2];
    f->admin_port = free_port();
    if (!write_program(f) || !f->admin_port || pipe2(pipes, O_CLOEXEC) != 0) {
        fprintf(stderr, "xs bench: cannot prepare a server: %s\n", strerror(errno));
        return false;
    }
    f->pid = fork();
    if (f->pid == 0)
        exec_server(f, pipes[1]);
    close(pipes[1]);
    f->out = pipes[0];
    if (f->pid > 0 && read_url(f))
        return true;
    fprintf(stderr, "xs bench: the server did not start\n");
    return false;
}

static void stop_server(Fanout *f)
{
    if (f->pid > 0) {
        kill(f->pid, SIGTERM);
        int64_t end = rt_now_us() + (int64_t)STOP_MS * 1000;
        while (waitpid(f->pid, NULL, WNOHANG) == 0) {
            if (rt_now_us() > end)
                kill(f->pid, SIGKILL);
            poll(NULL, 0, 20);
        }
        close(f->out);
    }
    if (f->dir[0]) {
        char path[96];
        snprintf(path, sizeof path, "%s/workspace.xs", f->dir);
        unlink(path);
        rmdir(f->dir);
    }
}

/* CPU time of a process in µs: its threads' scheduler counters, or else clock ticks; 0 = unknown.
 */
static uint64_t cpu_us(pid_t pid)
{
    char path[320];
    uint64_t total = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, e->d_name);
        FILE *file = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        unsigned long long ns;
        if (file && fscanf(file, "%llu", &ns) == 1)
            total += ns / 1000;
        if (file)
            fclose(file);
    }
    if (dir)
        closedir(dir);
    if (total)
        return total;
    char text[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[n] = '\0';
    if (file)
        fclose(file);
    const char *at = strrchr(text, ')'); /* the name may hold anything */
    unsigned long user, sys;
    if (!at ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
        return 0;
    return (uint64_t)(user + sys) * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

/* --- publishing --- */

static int publish_connect(const Fanout *f)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->admin_port)};
    struct timeval limit = {.tv_sec = HTTP_MS / 1000};
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (inet_pton(AF_INET, f->admin_host, &to.sin_addr) == 1 &&
        connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Reads one answer; its status, 0 = none. */
static int read_answer(int fd)
{
    char text[65536];
    size_t len = 0;
    while (len < sizeof text - 1) {
        ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
        if (n <= 0)
            return 0;
        len += (size_t)n;
        text[len] = '\0';
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "\r\ncontent-length:");
        if (!end)
            continue;
        size_t want = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        if (len >= (size_t)(end + 4 - text) + want)
            return (int)strtol(text + 9, NULL, 10);
    }
    return 0;
}

static void format_batch(const Fanout *f, Buf *body, uint64_t first, uint64_t count,
                         const char *pad)
{
    body->len = 0;
    buf_cstr(body, "{\"events\":[");
    for (uint64_t i = 0; i < count; i++) {
        buf_printf(body, "%s{\"channel\":\"%s\",\"event\":\"tick\",\"data\":", i ? "," : "",
                   CHANNEL);
        size_t data = body->len;
        buf_printf(body, "{\"n\":%llu,\"t\":%lld,\"p\":\"", (unsigned long long)(first + i),
                   (long long)rt_now_us());
        size_t used = body->len - data + 2;
        if (used < f->size)
            buf_append(body, pad, (size_t)f->size - used);
        buf_cstr(body, "\"}}");
    }
    buf_cstr(body, "]}");
}

static bool publish_failed(Fanout *f, const char *what, int status)
{
    snprintf(f->publish_error, sizeof f->publish_error, "%s%s%.0d", what,
             status ? " with status " : "", status);
    atomic_store(&f->publish_failed, true);
    return false;
}

static bool publish_batch(Fanout *f, int fd, Buf *body, Buf *head)
{
    head->len = 0;
    buf_printf(head,
               "POST /_xs/rt/%s/publish HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: Bearer %s\r\n"
               "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
               strrchr(f->base, '/') + 1, f->admin_host, f->admin_port, f->key, body->len);
    buf_append(head, body->ptr, body->len);
    if (head->failed || body->failed)
        return publish_failed(f, "out of memory", 0);
    if (!send_all(fd, head->ptr, head->len))
        return publish_failed(f, "the publish endpoint closed the connection", 0);
    int status = read_answer(fd);
    return status == 200 || publish_failed(f, "publishing was refused", status);
}

static void *publisher(void *arg)
{
    Fanout *f = (Fanout *)arg;
    Buf body = BUF_INIT, head = BUF_INIT;
    char *pad = (char *)mem_alloc((size_t)f->size + 1);
    int fd = publish_connect(f);
    if (fd < 0 || !pad)
        publish_failed(f, "cannot reach the publish endpoint", 0);
    else
        memset(pad, 'x', (size_t)f->size);
    for (uint64_t sent = 0; sent < f->messages && !atomic_load(&f->publish_failed);) {
        uint64_t window = (uint64_t)WINDOW * f->batch;
        while (!atomic_load(&f->stop) && sent >= window &&
               atomic_load(&f->delivered) < (sent - window + f->batch) * f->clients)
            usleep(50);
        if (atomic_load(&f->stop))
            break;
        uint64_t count = f->messages - sent < f->batch ? f->messages - sent : f->batch;
        format_batch(f, &body, sent, count, pad);
        if (publish_batch(f, fd, &body, &head))
            sent += count;
    }
    if (fd >= 0)
        close(fd);
    mem_free(pad);
    buf_deinit(&body);
    buf_deinit(&head);
    return NULL;
}

/* --- subscribers --- */

/* Buckets: exact below HIST_SUB µs, then HIST_SUB per power of two. */
static unsigned bucket_of(uint64_t us)
{
    if (us < HIST_SUB)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned shift = power - 6;
    unsigned b = (shift + 1) * HIST_SUB + (unsigned)((us >> shift) - HIST_SUB);
    return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

static uint64_t bucket_value(unsigned b)
{
    if (b < HIST_SUB)
        return b;
    unsigned shift = b / HIST_SUB - 1;
    return (uint64_t)(HIST_SUB + b % HIST_SUB) << shift;
}

static uint64_t percentile(const Fanout *f, double share)
{
    uint64_t want = (uint64_t)(share * (double)f->received), sum = 0;
    for (unsigned b = 0; b < HIST_BUCKETS; b++) {
        sum += f->hist[b];
        if (sum > want)
            return bucket_value(b);
    }
    return (uint64_t)f->max_us;
}

static void on_open(void *user)
{
    Subscriber *s = (Subscriber *)user;
    s->f->opening--;
}

static void on_frame(void *user, const char *json, size_t len)
{
    Subscriber *s = (Subscriber *)user;
    Fanout *f = s->f;
    static const char EVENT[] = "{\"action\":\"event\"", JOIN[] = "{\"action\":\"join\"",
                      RESYNC[] = "{\"action\":\"resync\"", N[] = "{\"n\":", T[] = ",\"t\":";
    if (len > sizeof EVENT && memcmp(json, EVENT, sizeof EVENT - 1) == 0) {
        const char *n = (const char *)memmem(json, len, N, sizeof N - 1);
        const char *t = n ? strstr(n, T) : NULL;
        if (!t)
            return;
        int64_t now = rt_now_us();
        uint64_t number = strtoull(n + sizeof N - 1, NULL, 10);
        int64_t late = now - strtoll(t + sizeof T - 1, NULL, 10);
        f->out_of_order += number != s->next;
        s->next = number + 1;
        f->received++;
        f->last_us = now;
        if (!f->first_us)
            f->first_us = now - late;
        if (late > f->max_us)
            f->max_us = late;
        f->hist[bucket_of(late > 0 ? (uint64_t)late : 0)]++;
    } else if (len > sizeof JOIN && memcmp(json, JOIN, sizeof JOIN - 1) == 0) {
        f->joined += !s->joined;
        s->joined = true;
    } else if (len > sizeof RESYNC && memcmp(json, RESYNC, sizeof RESYNC - 1) == 0) {
        f->resyncs++;
    }
}

static void on_close(void *user, int code, const char *reason)
{
    Subscriber *s = (Subscriber *)user;
    if (s->f->ended++ == 0)
        fprintf(stderr, "xs bench: a client was closed: %d %s (HTTP status %d)\n", code, reason,
                s->client ? rt_status(s->client) : 0);
    s->ended = true;
}

static void show(const Fanout *f, const char *what, uint64_t n, uint64_t total)
{
    if (f->progress)
        fprintf(stderr, "\r\033[K%s %llu/%llu", what, (unsigned long long)n,
                (unsigned long long)total);
}

static bool connect_all(Fanout *f)
{
    const char *channels[] = {CHANNEL};
    RtOptions opt = {.transport = f->transport,
                     .host = f->host,
                     .port = f->port,
                     .base = f->base,
                     .channels = channels,
                     .channel_count = 1,
                     .open_timeout_ms = CONNECT_IDLE_MS};
    uint32_t started = 0, seen = 0;
    int64_t moved = rt_now_us();
    while (f->joined < f->clients) {
        for (; started < f->clients && f->opening < CONNECT_STEP; started++, f->opening++) {
            Subscriber *s = &f->subs[started];
            xs_error err;
            s->f = f;
            const RtEvents events = {s, on_open, on_frame, on_close};
            s->client = rt_connect(f->loop, &opt, &events, &err);
            if (!s->client) {
                cli_error(&err);
                return false;
            }
        }
        rt_loop_step(f->loop, 100);
        show(f, "joined", f->joined, f->clients);
        if (f->joined != seen)
            moved = rt_now_us();
        seen = f->joined;
        if (f->ended || rt_now_us() - moved > (int64_t)CONNECT_IDLE_MS * 1000) {
            fprintf(stderr, "%sxs bench: only %u of %u clients joined\n", f->progress ? "\n" : "",
                    f->joined, f->clients);
            return false;
        }
    }
    return true;
}

static bool deliver_all(Fanout *f)
{
    uint64_t total = f->messages * f->clients, seen = 0;
    int64_t moved = rt_now_us(), shown = 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, publisher, f) != 0) {
        fprintf(stderr, "xs bench: cannot start the publisher\n");
        return false;
    }
    while (f->received < total && !f->ended && !atomic_load(&f->publish_failed)) {
        rt_loop_step(f->loop, 100);
        atomic_store(&f->delivered, f->received);
        int64_t now = rt_now_us();
        if (f->received != seen)
            moved = now;
        seen = f->received;
        if (now - moved > (int64_t)IDLE_MS * 1000)
            break;
        if (now - shown > 200000) {
            show(f, "deliveries", f->received, total);
            shown = now;
        }
    }
    atomic_store(&f->stop, true);
    pthread_join(thread, NULL);
    if (f->progress)
        fputs("\r\033[K", stderr);
    if (atomic_load(&f->publish_failed))
        fprintf(stderr, "xs bench: %s\n", f->publish_error);
    return f->received > 0;
}

static void report(const Fanout *f, uint64_t cpu, int64_t connect_us)
{
    double seconds = (double)(f->last_us - f->first_us) / 1e6;
    double rate = seconds > 0 ? (double)f->received / seconds : 0;
    double cpu_each = f->received ? (double)cpu / (double)f->received : 0;
    uint64_t total = f->messages * f->clients;
    unsigned long long missing = total > f->received ? total - f->received : 0;
    unsigned long long p[] = {percentile(f, 0.5), percentile(f, 0.9), percentile(f, 0.99),
                              (unsigned long long)f->max_us};
    if (f->json) {
        printf("{\"transport\":\"%s\",\"clients\":%u,\"messages\":%llu,\"size_bytes\":%llu,"
               "\"batch\":%u,\"connect_ms\":%lld,\"deliveries\":%llu,\"seconds\":%.3f,"
               "\"deliveries_per_s\":%.0f,\"latency_us\":{\"p50\":%llu,\"p90\":%llu,\"p99\":%llu,"
               "\"max\":%llu},\"server_cpu_us_per_delivery\":",
               f->transport_name, f->clients, (unsigned long long)f->messages,
               (unsigned long long)f->size, f->batch, (long long)connect_us / 1000,
               (unsigned long long)f->received, seconds, rate, p[0], p[1], p[2], p[3]);
        if (cpu)
            printf("%.3f", cpu_each);
        else
            printf("null");
        printf(",\"missing\":%llu,\"out_of_order\":%llu,\"resync\":%llu}\n", missing,
               (unsigned long long)f->out_of_order, (unsigned long long)f->resyncs);
        return;
    }
    printf("fanout over %s: %u clients, %llu events of %llu bytes, %u per publish\n",
           f->transport_name, f->clients, (unsigned long long)f->messages,
           (unsigned long long)f->size, f->batch);
    printf("  connecting     %.0f ms, %.0f per second\n", (double)connect_us / 1e3,
           connect_us ? f->clients * 1e6 / (double)connect_us : 0.0);
    printf("  deliveries     %llu in %.3f s, %.0f per second\n", (unsigned long long)f->received,
           seconds, rate);
    printf("  latency        p50 %llu  p90 %llu  p99 %llu  max %llu microseconds\n", p[0], p[1],
           p[2], p[3]);
    if (cpu)
        printf("  server CPU     %.2f microseconds per delivery\n", cpu_each);
    printf("  missing %llu, out of order %llu, resync %llu\n", missing,
           (unsigned long long)f->out_of_order, (unsigned long long)f->resyncs);
}

/* --- command --- */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool parse_count(const char *text, uint64_t low, uint64_t high, uint64_t *out)
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

static bool parse_address(const char *text, char *host, size_t size, int *port)
{
    const char *colon = strrchr(text, ':');
    uint64_t n = 0;
    if (!colon || (size_t)(colon - text) >= size || !parse_count(colon + 1, 1, 65535, &n))
        return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    if (strcmp(host, "localhost") == 0)
        snprintf(host, size, "127.0.0.1");
    *port = (int)n;
    return true;
}

static bool parse_transport(Fanout *f, const char *name)
{
    static const struct {
        const char *name;
        RtTransport transport;
    } names[] = {{"ws", RT_WS}, {"sse", RT_SSE}, {"longpoll", RT_LP}, {"lp", RT_LP}};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(name, names[i].name) == 0) {
            f->transport = names[i].transport;
            f->transport_name = names[i].name;
            return true;
        }
    return false;
}

static int run(Fanout *f, bool own, pid_t watched)
{
    int exit_code = EXIT_PROBLEM;
    f->loop = rt_loop_new();
    f->subs = (Subscriber *)mem_zalloc(f->clients, sizeof *f->subs);
    if (!f->loop || !f->subs) {
        fprintf(stderr, "xs bench: out of memory\n");
    } else if (!own || start_server(f)) {
        pid_t pid = own ? f->pid : watched;
        int64_t start = rt_now_us();
        if (connect_all(f)) {
            int64_t connect_us = rt_now_us() - start;
            uint64_t before = pid > 0 ? cpu_us(pid) : 0;
            if (deliver_all(f)) {
                report(f, pid > 0 ? cpu_us(pid) - before : 0, connect_us);
                bool complete = f->received == f->messages * f->clients;
                exit_code = complete && !f->out_of_order ? EXIT_OK : EXIT_PROBLEM;
            } else if (!atomic_load(&f->publish_failed)) {
                fprintf(stderr, "xs bench: nothing was delivered\n");
            }
        }
    }
    rt_loop_free(f->loop);
    mem_free(f->subs);
    stop_server(f);
    return exit_code;
}

int bench_fanout(int argc, char **argv)
{
    const char *clients = NULL, *messages = NULL, *size = NULL, *transport = "ws", *batch = NULL,
               *url = NULL, *admin = NULL, *key = KEY, *base = "/rt/bench", *pid = NULL;
    bool json = false;
    const CliOption options[] = {
        {"--clients", "N", "subscribers (100)", NULL, &clients},
        {"--messages", "M", "events to publish (1000)", NULL, &messages},
        {"--size", "B", "bytes of an event's data (128)", NULL, &size},
        {"--batch", "K", "events per publish request (1)", NULL, &batch},
        {"--transport", "NAME", "ws, sse or longpoll (ws)", NULL, &transport},
        {"--url", "HOST:PORT", "a running server instead of one of our own", NULL, &url},
        {"--admin", "HOST:PORT", "its admin address (the --url)", NULL, &admin},
        {"--key", "KEY", "its publish key", NULL, &key},
        {"--base", "PATH", "its realtime path (/rt/bench)", NULL, &base},
        {"--pid", "PID", "its process, to measure CPU", NULL, &pid},
        {"--json", NULL, "print one line of JSON", &json, NULL},
        {0},
    };
    int done = cli_options(&argc, argv, "bench fanout [OPTIONS]",
                           "Measures how fast events reach the subscribers of one channel.\n"
                           "Exit code 1 when an event is missing or out of order.",
                           options);
    if (done >= 0)
        return done;
    if (argc > 1)
        return cli_usage("bench fanout", "unexpected argument '%s'", argv[1]);
    Fanout *f = (Fanout *)mem_zalloc(1, sizeof *f);
    if (!f) {
        fprintf(stderr, "xs bench: out of memory\n");
        return EXIT_PROBLEM;
    }
    uint64_t n_clients = 100, n_batch = 1, n_pid = 0;
    f->messages = 1000;
    f->size = 128;
    f->key = key;
    f->base = base;
    f->json = json;
    f->progress = !json && isatty(STDERR_FILENO);
    snprintf(f->admin_host, sizeof f->admin_host, "127.0.0.1");
    snprintf(f->url_host, sizeof f->url_host, "127.0.0.1");
    f->host = f->url_host;
    const char *bad = NULL;
    if (!parse_count(clients, 1, 1000000, &n_clients))
        bad = "--clients needs a number from 1";
    else if (!parse_count(messages, 1, 1000000000, &f->messages))
        bad = "--messages needs a number from 1";
    else if (!parse_count(size, 1, SIZE_MAX_BYTES, &f->size))
        bad = "--size needs a number from 1 to 200000";
    else if (!parse_count(batch, 1, BATCH_MAX, &n_batch))
        bad = "--batch needs a number from 1 to 100";
    else if (!parse_count(pid, 1, INT_MAX, &n_pid))
        bad = "--pid needs a process id";
    else if (!parse_transport(f, transport))
        bad = "--transport must be ws, sse or longpoll";
    else if (url && !parse_address(url, f->url_host, sizeof f->url_host, &f->port))
        bad = "--url needs HOST:PORT";
    else if (url && !parse_address(admin ? admin : url, f->admin_host, sizeof f->admin_host,
                                   &f->admin_port))
        bad = "--admin needs HOST:PORT";
    else if (!strrchr(base, '/'))
        bad = "--base needs a path such as /rt/bench";
    int exit_code;
    if (bad) {
        exit_code = cli_usage("bench fanout", "%s", bad);
    } else {
        f->clients = (uint32_t)n_clients;
        f->batch = (uint32_t)n_batch;
        raise_file_limit();
        exit_code = run(f, !url, (pid_t)n_pid);
    }
    mem_free(f);
    return exit_code;
}
