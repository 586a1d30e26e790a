/* httpbench.c - one epoll loop of clients, each with one request under way. The server is a child
 * of its own with a small API, on a database file with durable commits; or one that runs already.
 */
#include "bench/httpbench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/measure.h"
#include "cli/cli.h"
#include "core/clock.h"
#include "core/folder.h"
#include "core/mem.h"
#include "core/text.h"

enum {
    START_MS = 20000,
    STOP_MS = 10000,
    ANSWER_BYTES = 64 << 10,
    SEED_ROWS = 1000,
    WARM_US = 500000,
    STALL_MS = 10000
};

/* ---- the API ---- */

static const struct {
    const char *name, *text;
} files[] = {
    {"workspace.xs", "workspace \"bench\" {\n}\n"},
    {"group.xs", "api_group \"bench\" {\n  canonical = \"bench\"\n}\n"},
    {"note.xs",
     "table \"note\" {\n  schema {\n    int id\n    timestamp created_at?=now\n    text text\n"
     "  }\n\n  index = [\n    {type: \"primary\", field: [{name: \"id\"}]}\n  ]\n}\n"},
    {"hello.xs", "query \"hello\" verb=GET {\n  api_group = \"bench\"\n\n  stack {\n  }\n\n  "
                 "response = {hello: "
                 "\"world\"}\n}\n"},
    {"add.xs",
     "query \"notes\" verb=POST {\n  api_group = \"bench\"\n\n  input {\n    text text "
     "filters=trim|min:1\n"
     "  }\n\n  stack {\n    db.add note {\n      data = {text: $input.text}\n    } as $note\n\n"
     "    api.realtime_event {\n      channel = \"notes\"\n      data = $note\n    }\n  }\n\n"
     "  response = $note\n}\n"},
    {"get.xs", "query \"notes/{id}\" verb=GET {\n  api_group = \"bench\"\n\n  input {\n    int "
               "id\n  }\n\n  stack {\n"
               "    db.get note {\n      field_name = \"id\"\n      field_value = $input.id\n    } "
               "as $note\n  }\n\n"
               "  response = $note\n}\n"},
    {"list.xs", "query \"notes\" verb=GET {\n  api_group = \"bench\"\n\n  stack {\n    db.query "
                "note {\n      sort = {id: "
                "\"desc\"}\n      return = {type: \"list\", paging: {page: 1, per_page: 20}}\n    "
                "} as $notes\n  }\n\n"
                "  response = $notes.items\n}\n"},
};

static const struct {
    const char *name, *doc, *method, *path, *body;
    bool ids; /* a row id from 1 to SEED_ROWS goes behind the path */
} scenarios[] = {
    {"static", "a constant object", "GET", "/api:bench/hello", NULL, false},
    {"insert", "a durable insert and one realtime event", "POST", "/api:bench/notes",
     "{\"text\":\"what a note says\"}", false},
    {"read", "one row by its id", "GET", "/api:bench/notes/", NULL, true},
    {"list", "the last 20 rows", "GET", "/api:bench/notes", NULL, false},
};

/* ---- the server ---- */

typedef struct HttpServer {
    pid_t pid;
    bool own;
    char dir[64], host[64];
    int port;
} HttpServer;

static int connect_to(const HttpServer *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || inet_pton(AF_INET, s->host, &to.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static bool write_files(const HttpServer *s)
{
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/app/%s", s->dir, files[i].name);
        FILE *f = fopen(path, "w");
        if (!f || fputs(files[i].text, f) < 0 || fclose(f) != 0)
            return false;
    }
    return true;
}

static void exec_server(const HttpServer *s)
{
    char app[80], address[32], db[96], log[96];
    snprintf(app, sizeof app, "%s/app", s->dir);
    snprintf(address, sizeof address, "--listen=127.0.0.1:%d", s->port);
    snprintf(db, sizeof db, "--db=%s/bench.db", s->dir);
    snprintf(log, sizeof log, "%s/log", s->dir);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!freopen(log, "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
        _exit(127);
    const char *argv[] = {"/proc/self/exe",      "serve",        app, address, db,
                          "--log-level=warning", "--transport=", NULL};
    char *list[COUNT_OF(argv)]; /* execv's type lacks a const */
    memcpy(list, argv, sizeof list);
    execv(list[0], list);
    _exit(127);
}

static bool server_begin(HttpServer *s)
{
    char app[80];
    snprintf(s->dir, sizeof s->dir, "/tmp/xs-bench-http-XXXXXX");
    snprintf(s->host, sizeof s->host, "127.0.0.1");
    s->own = true;
    s->port = proc_free_port();
    if (!s->port || !mkdtemp(s->dir))
        return false;
    snprintf(app, sizeof app, "%s/app", s->dir);
    if (mkdir(app, 0700) != 0 || !write_files(s))
        return false;
    s->pid = fork();
    if (s->pid == 0)
        exec_server(s);
    for (int64_t end = clock_mono_us() + START_MS * 1000LL; s->pid > 0 && clock_mono_us() < end;) {
        int fd = connect_to(s);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        poll(NULL, 0, 20);
    }
    return false;
}

static void server_end(HttpServer *s)
{
    if (!s->own)
        return;
    if (s->pid > 0)
        proc_stop(s->pid, STOP_MS);
    folder_remove(s->dir);
}

/* ---- the clients ---- */

typedef struct Client {
    int fd;
    int64_t began_us;
    char in[ANSWER_BYTES];
    size_t len;
} Client;

typedef struct Load {
    const HttpServer *server;
    size_t scenario;
    Client *clients;
    size_t nclients;
    int epoll;
    uint64_t sent, next_id, errors, bytes;
    Histogram latency;
    char problem[160];
} Load;

static bool send_request(Load *l, Client *c)
{
    char text[512], id[24] = "";
    const char *body = scenarios[l->scenario].body;
    if (scenarios[l->scenario].ids)
        snprintf(id, sizeof id, "%llu", (unsigned long long)(l->next_id++ % SEED_ROWS + 1));
    int n = body ? snprintf(text, sizeof text,
                            "%s %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                            "Content-Length: %zu\r\n\r\n%s",
                            scenarios[l->scenario].method, scenarios[l->scenario].path,
                            strlen(body), body)
                 : snprintf(text, sizeof text, "%s %s%s HTTP/1.1\r\nHost: bench\r\n\r\n",
                            scenarios[l->scenario].method, scenarios[l->scenario].path, id);
    c->len = 0;
    c->began_us = clock_mono_us();
    l->sent++;
    return send(c->fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

/* Bytes of the answer that is complete, 0 = not yet, SIZE_MAX = not understood. */
static size_t answer_size(const Client *c)
{
    const char *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    if (!end)
        return c->len == sizeof c->in ? SIZE_MAX : 0;
    size_t head = (size_t)(end - c->in) + 4;
    for (const char *p = c->in; p < end;) {
        const char *line = memchr(p, '\n', (size_t)(end + 2 - p));
        if (!line)
            break;
        if (strncasecmp(p, "content-length:", 15) == 0) {
            size_t size = head + strtoul(p + 15, NULL, 10);
            return size > sizeof c->in ? SIZE_MAX : size <= c->len ? size : 0;
        }
        p = line + 1;
    }
    return SIZE_MAX;
}

/* False: the connection or the answer is broken. */
static bool take_answer(Load *l, Client *c, bool counts)
{
    ssize_t n = recv(c->fd, c->in + c->len, sizeof c->in - c->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    c->len += (size_t)n;
    size_t size = answer_size(c);
    if (size == SIZE_MAX)
        return false;
    if (!size)
        return true;
    if (counts) {
        l->bytes += size;
        l->errors += strncmp(c->in, "HTTP/1.1 2", 10) != 0;
        hist_add(&l->latency, (uint64_t)(clock_mono_us() - c->began_us));
    }
    return send_request(l, c);
}

static bool connect_clients(Load *l)
{
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < l->nclients; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data = {.ptr = &l->clients[i]}};
        l->clients[i].fd = connect_to(l->server);
        if (l->clients[i].fd < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->clients[i].fd, &e) != 0) {
            snprintf(l->problem, sizeof l->problem, "connection %zu: %s", i, strerror(errno));
            return false;
        }
    }
    return true;
}

/* Until a time, or until so many answers. */
static bool run_until(Load *l, int64_t end_us, uint64_t answers, bool counts)
{
    struct epoll_event ready[256];
    uint64_t before = l->sent;
    while (clock_mono_us() < end_us && (!answers || l->sent - before < answers)) {
        int n = epoll_wait(l->epoll, ready, COUNT_OF(ready), STALL_MS);
        if (n == 0)
            snprintf(l->problem, sizeof l->problem, "no answer for %d s", STALL_MS / 1000);
        if (n <= 0)
            return false;
        for (int i = 0; i < n; i++)
            if (!take_answer(l, ready[i].data.ptr, counts)) {
                snprintf(l->problem, sizeof l->problem, "a connection or an answer broke");
                return false;
            }
    }
    return true;
}

typedef struct HttpResult {
    double seconds, rate, cpu_us;
} HttpResult;

static void close_clients(Load *l)
{
    for (size_t i = 0; i < l->nclients; i++)
        if (l->clients[i].fd > 0)
            close(l->clients[i].fd);
    if (l->epoll > 0)
        close(l->epoll);
    mem_free(l->clients);
}

static bool measure(Load *l, double seconds, HttpResult *out)
{
    bool ok = connect_clients(l);
    for (size_t i = 0; ok && i < l->nclients; i++)
        ok = send_request(l, &l->clients[i]);
    ok = ok && run_until(l, clock_mono_us() + WARM_US, 0, false);
    uint64_t cpu = l->server->pid > 0 ? proc_cpu_us(l->server->pid) : 0;
    int64_t start = clock_mono_us();
    ok = ok && run_until(l, start + (int64_t)(seconds * 1e6), 0, true);
    out->seconds = (double)(clock_mono_us() - start) / 1e6;
    uint64_t used = l->server->pid > 0 ? proc_cpu_us(l->server->pid) : 0;
    double n = (double)l->latency.count;
    out->rate = n / out->seconds;
    out->cpu_us = cpu && used > cpu && n > 0 ? (double)(used - cpu) / n : -1;
    return ok && l->latency.count > 0;
}

/* Rows for the reading scenarios. */
static bool seed(const HttpServer *s)
{
    Load l = {.server = s, .scenario = 1, .nclients = 16};
    l.clients = mem_zalloc(l.nclients, sizeof *l.clients);
    bool ok = l.clients && connect_clients(&l);
    for (size_t i = 0; ok && i < l.nclients; i++)
        ok = send_request(&l, &l.clients[i]);
    ok = ok && run_until(&l, clock_mono_us() + START_MS * 1000LL, SEED_ROWS + 64, false);
    if (!ok)
        fprintf(stderr, "xs: bench http: rows cannot be added: %s\n", l.problem);
    close_clients(&l);
    return ok;
}

static void report(const Load *l, const HttpResult *r, bool json)
{
    const Histogram *h = &l->latency;
    const char *name = scenarios[l->scenario].name;
    unsigned long long p50 = hist_percentile(h, 0.5), p90 = hist_percentile(h, 0.9),
                       p99 = hist_percentile(h, 0.99), p999 = hist_percentile(h, 0.999);
    if (json)
        printf(
            "{\"scenario\":\"%s\",\"clients\":%zu,\"seconds\":%.2f,\"requests\":%llu,"
            "\"errors\":%llu,\"per_second\":%.0f,\"p50_us\":%llu,\"p90_us\":%llu,\"p99_us\":%llu,"
            "\"p999_us\":%llu,\"max_us\":%llu,\"cpu_us\":%.2f}\n",
            name, l->nclients, r->seconds, (unsigned long long)h->count,
            (unsigned long long)l->errors, r->rate, p50, p90, p99, p999, (unsigned long long)h->max,
            r->cpu_us);
    else
        printf("%-8s %9.0f requests/s  p50 %6llu  p90 %6llu  p99 %6llu  p99.9 %6llu  max %7llu us  "
               "%6.1f us server CPU/request%s\n",
               name, r->rate, p50, p90, p99, p999, (unsigned long long)h->max, r->cpu_us,
               l->errors ? "  WITH ERRORS" : "");
    fflush(stdout);
}

static bool run_scenario(const HttpServer *s, size_t scenario, size_t clients, double seconds,
                         bool json)
{
    static Load l;
    HttpResult r = {0};
    l = (Load){.server = s, .scenario = scenario, .nclients = clients};
    l.clients = mem_zalloc(clients, sizeof *l.clients);
    bool ok = l.clients && measure(&l, seconds, &r);
    if (ok)
        report(&l, &r, json);
    else
        fprintf(stderr, "xs: bench http: %s: %s\n", scenarios[scenario].name, l.problem);
    ok = ok && !l.errors;
    close_clients(&l);
    return ok;
}

static bool run_all(const HttpServer *s, const char *only, size_t clients, double seconds,
                    bool json)
{
    bool ok = seed(s);
    for (size_t i = 0; ok && i < COUNT_OF(scenarios); i++)
        if (!only || strcmp(only, scenarios[i].name) == 0)
            ok = run_scenario(s, i, clients, seconds, json);
    return ok;
}

static bool known(const char *scenario)
{
    for (size_t i = 0; i < COUNT_OF(scenarios); i++)
        if (!scenario || strcmp(scenario, scenarios[i].name) == 0)
            return true;
    return false;
}

int bench_http(int argc, char **argv)
{
    bool json = false;
    const char *clients_text = NULL, *seconds_text = NULL, *scenario = NULL, *port_text = NULL,
               *pid_text = NULL;
    uint64_t clients = 64, seconds = 5, port = 0, pid = 0;
    const CliOption options[] = {
        {"--clients", "N", "connections with one request under way each (64)", NULL, &clients_text},
        {"--seconds", "S", "length of each scenario (5)", NULL, &seconds_text},
        {"--scenario", "NAME", "static, insert, read or list; all without", NULL, &scenario},
        {"--port", "PORT", "measure a server on 127.0.0.1 that runs already", NULL, &port_text},
        {"--pid", "PID", "that server's process, for its CPU time", NULL, &pid_text},
        {"--json", NULL, "one JSON line per scenario", &json, NULL},
        {0},
    };
    int code =
        cli_options(&argc, argv, "bench http [OPTIONS]",
                    "Requests of a small API over kept-alive connections: a constant, durable "
                    "inserts with an event,\none row, twenty rows. Exit code 1 when an answer "
                    "was no success.",
                    options);
    if (code >= 0)
        return code;
    if (argc > 1 || !known(scenario) || !measure_count(clients_text, 1, 10000, &clients) ||
        !measure_count(seconds_text, 1, 600, &seconds) ||
        !measure_count(port_text, 1, 65535, &port) || !measure_count(pid_text, 1, 1 << 22, &pid))
        return cli_usage("bench", "http: see xs bench http --help");
    proc_raise_files();
    HttpServer s = {.pid = (pid_t)pid, .port = (int)port, .host = "127.0.0.1"};
    bool ok = port || server_begin(&s);
    if (!ok)
        fprintf(stderr, "xs: bench http: the server does not start; see %s/log\n", s.dir);
    ok = ok && run_all(&s, scenario, clients, (double)seconds, json);
    server_end(&s);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}
