/* target.c - servers to measure: how each is started, subscribed at and published to. */
#include "bench/target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/floor.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/folder.h"
#include "core/mem.h"

/* TEXT for static tables. */
#define TEXT_INIT(literal)                                                                         \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }

enum { START_MS = 20000, STOP_MS = 10000, IO_MS = 20000, MAX_CHANNELS = 64 };

static const char CHANNEL[] = "bench";
static const char KEY[] = "bench-publish-key-0001";

typedef struct TargetInfo {
    const char *name, *doc;
    unsigned carriers;    /* bits 1 << Carrier */
    const char *needs[2]; /* files that must exist; a bare name is looked for in PATH */
    bool (*start)(Target *t);
    bool (*open)(Publisher *p); /* after the connection is made; NULL = nothing to say first */
    void (*encode)(Publisher *p, uint64_t first, uint32_t count); /* into body */
    bool (*confirm)(Publisher *p, uint32_t count); /* reads the answer; NULL = there is none */
} TargetInfo;

/* ---- files and processes ---- */

static bool write_file(const Target *t, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    bool ok = fputs(text, file) >= 0;
    return fclose(file) == 0 && ok;
}

static bool in_path(const char *name)
{
    char path[PATH_MAX];
    if (strchr(name, '/'))
        return access(name, R_OK) == 0;
    const char *dirs = getenv("PATH");
    for (const char *at = dirs ? dirs : ""; *at;) {
        size_t n = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s/%s", (int)n, at, name);
        if (access(path, X_OK) == 0)
            return true;
        at += n + (at[n] == ':');
    }
    snprintf(path, sizeof path, "/usr/sbin/%s", name);
    return access(path, X_OK) == 0;
}

/* fork; the child gets its output into a log file of the target's folder and dies with us. */
static pid_t spawn(Target *t)
{
    char path[128];
    snprintf(path, sizeof path, "%s/log", t->dir);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (fd < 0)
            _exit(127);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
    }
    if (pid > 0)
        t->pid = pid;
    return pid;
}

static bool run(Target *t, const char *const argv[])
{
    pid_t pid = spawn(t);
    if (pid == 0) {
        setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid > 0;
}

static int dial(const char *host, int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval limit = {.tv_sec = IO_MS / 1000};
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (inet_pton(AF_INET, host, &to.sin_addr) == 1 &&
        connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool wait_for(Target *t, int port)
{
    int64_t end = clock_mono_us() + (int64_t)START_MS * 1000;
    while (clock_mono_us() < end) {
        int fd = dial("127.0.0.1", port);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        if (waitpid(t->pid, NULL, WNOHANG) != 0) {
            t->pid = 0;
            return false;
        }
        poll(NULL, 0, 20);
    }
    return false;
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

static bool problem(Publisher *p, const char *what, int status)
{
    if (status)
        snprintf(p->problem, sizeof p->problem, "%s with status %d", what, status);
    else
        snprintf(p->problem, sizeof p->problem, "%s", what);
    return false;
}

/* ---- events ---- */

static void put_data(Publisher *p, Buf *b, uint64_t number)
{
    char marker[MARKER_BYTES + 1];
    size_t start = b->len, size = p->target->options.size;
    marker_write(marker, number, clock_mono_us());
    buf_printf(b, "{\"m\":\"%s\",\"p\":\"", marker);
    size_t used = b->len - start + 2;
    if (used < size)
        buf_append(b, p->pad, size - used);
    buf_cstr(b, "\"}");
}

static void put_channel(const Publisher *p, Buf *b, uint64_t number)
{
    uint64_t i = number % p->target->options.channels;
    if (i)
        buf_printf(b, "%s%llu", CHANNEL, (unsigned long long)i);
    else
        buf_cstr(b, CHANNEL);
}

/* The frame that xs would send, so that everybody delivers the same bytes. */
static void put_frame(Publisher *p, Buf *b, uint64_t number)
{
    buf_printf(b, "{\"action\":\"event\",\"options\":{\"channel\":\"%s\"},\"payload\":{\"data\":",
               CHANNEL);
    put_data(p, b, number);
    buf_cstr(b, ",\"event\":\"tick\"}}");
}

/* ---- HTTP publishing ---- */

/* Reads one answer to its end. @return its status, 0 = none */
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
        const char *stop = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "\r\ncontent-length:");
        if (!stop)
            continue;
        size_t want = length && length < stop ? strtoul(length + 17, NULL, 10) : 0;
        if (len >= (size_t)(stop + 4 - text) + want)
            return (int)strtol(text + 9, NULL, 10);
    }
    return 0;
}

static bool confirm_http(Publisher *p, uint32_t count)
{
    (void)count;
    int status = read_answer(p->fd);
    if (status == 0)
        return problem(p, "the server did not answer", 0);
    return status < 300 || problem(p, "publishing was refused", status);
}

static void post(Publisher *p, const char *path, const char *headers, const Buf *content)
{
    buf_printf(&p->body, "POST %s HTTP/1.1\r\nHost: %s:%d\r\n%sContent-Length: %zu\r\n\r\n", path,
               p->target->publish_host, p->target->publish_port, headers, content->len);
    buf_text(&p->body, buf_view(content));
}

/* ---- xs ---- */

static const char PROGRAM[] = "workspace bench {\n  realtime = {canonical: \"bench\"}\n}\n";
static const char TABLE[] = "table \"entry\" {\n  schema {\n    int id\n    text m\n  }\n"
                            "  index = [{type: \"primary\", field: [{name: \"id\"}]}]\n}\n";
static const char TRIGGER[] =
    "realtime_trigger \"say\" {\n  channel = \"desk:*\"\n  event = \"say\"\n  stack {\n"
    "    db.add \"entry\" {\n      data = {m: $input.m}\n    } as $row\n"
    "    api.realtime_event {\n      channel = \"bench\"\n      event = \"tick\"\n"
    "      data = {m: $input.m, p: $input.p}\n    }\n  }\n}\n";

static void exec_xs(const Target *t)
{
    char self[PATH_MAX], admin[32], threads[16], handshakes[16], db[128], dir[sizeof t->dir];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        _exit(127);
    self[n] = '\0';
    snprintf(admin, sizeof admin, "127.0.0.1:%d", t->publish_port);
    snprintf(threads, sizeof threads, "%u", t->options.threads);
    snprintf(handshakes, sizeof handshakes, "%u", t->options.handshakes_per_s);
    snprintf(db, sizeof db, "%s/bench.db", t->dir);
    snprintf(dir, sizeof dir, "%s", t->dir);
    setenv("XS_ADMIN_LISTEN", admin, 1);
    setenv("XS_REALTIME_PUBLISH_KEYS", KEY, 1);
    setenv("XS_REALTIME_DEFAULT_CHANNEL", "anonymous", 1);
    setenv("XS_REALTIME_THREADS", threads, 1);
    setenv("XS_REALTIME_FRAMES_PER_S", "1000000", 1);
    setenv("XS_REALTIME_HANDSHAKE_PER_S", handshakes, 1);
    setenv("XS_REALTIME_FRAMES_BURST", "1000000", 1);
    setenv("XS_TRANSPORT", "ws,sse,longpoll", 1);
    setenv("XS_LOG_LEVEL", "warning", 1);
    char serve[] = "serve", listen[] = "--listen", address[32], flag[] = "--db";
    snprintf(address, sizeof address, "127.0.0.1:%d", t->port);
    char *argv[] = {self, serve, dir, listen, address, flag, db, NULL};
    execv(self, argv);
    _exit(127);
}

static bool dialect_xs(Target *t)
{
    const TargetOptions *o = &t->options;
    Dialect *d = &t->dialect;
    const char *base = o->base ? o->base : "/rt/bench";
    Buf path = BUF_INIT;
    Step *steps = (Step *)arena_alloc(&t->arena, (o->channels + 1) * sizeof *steps);
    if (!steps)
        return false;
    buf_cstr(&path, base);
    if (d->carrier != CARRY_WS)
        buf_printf(&path, "/%s?", d->carrier == CARRY_SSE ? "sse" : "lp");
    for (uint32_t i = 0; i < o->channels; i++) {
        char suffix[16] = "";
        if (i)
            snprintf(suffix, sizeof suffix, "%u", i);
        steps[i] = (Step){i ? TEXT("\"action\":\"join\"") : (Text){0}, {0}};
        if (d->carrier == CARRY_WS) {
            steps[i].send = arena_printf(
                &t->arena,
                "{\"action\":\"join\",\"options\":{\"channel\":\"%s%s\"},\"payload\":{}}", CHANNEL,
                suffix);
            if (!steps[i].send.ptr)
                return false;
        } else {
            buf_printf(&path, "%schannel=%s%s", i ? "&" : "", CHANNEL, suffix);
        }
    }
    steps[o->channels] = (Step){TEXT("\"action\":\"join\""), {0}};
    d->steps = steps;
    d->nsteps = d->carrier == CARRY_LONGPOLL ? 0 : o->channels + 1;
    d->path = arena_printf(&t->arena, TEXT_FMT, TEXT_ARG(path)).ptr;
    buf_deinit(&path);
    /* Idle ones sit in another channel. */
    t->idle = *d;
    Step *quiet = (Step *)arena_alloc(&t->arena, 2 * sizeof *quiet);
    if (!quiet || !d->path)
        return false;
    quiet[0] = (Step){{0}, {0}};
    quiet[1] = steps[o->channels];
    if (d->carrier == CARRY_WS)
        quiet[0].send =
            TEXT("{\"action\":\"join\",\"options\":{\"channel\":\"idle\"},\"payload\":{}}");
    else
        t->idle.path = arena_printf(&t->arena, "%s/%s?channel=idle", base,
                                    d->carrier == CARRY_SSE ? "sse" : "lp")
                           .ptr;
    t->idle.steps = quiet;
    t->idle.nsteps = d->carrier == CARRY_LONGPOLL ? 0 : 2;
    return t->idle.path != NULL;
}

bool target_dialect(Target *t, Carrier carrier, Dialect *out)
{
    Dialect own = t->dialect, idle = t->idle;
    t->dialect = (Dialect){.carrier = carrier, .headers = own.headers};
    bool ok = dialect_xs(t);
    *out = t->dialect;
    t->dialect = own;
    t->idle = idle;
    return ok;
}

int target_visit(const Target *t)
{
    static const char request[] =
        "GET /rt/bench/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    int fd = dial(t->host, t->port);
    int status = fd >= 0 && send_all(fd, request, sizeof request - 1) ? read_answer(fd) : 0;
    if (fd >= 0)
        close(fd);
    return status;
}

static bool start_xs(Target *t)
{
    if (!dialect_xs(t))
        return false;
    if (!t->own)
        return true;
    if (!write_file(t, "workspace.xs", PROGRAM) ||
        (t->options.speakers &&
         (!write_file(t, "entry.xs", TABLE) || !write_file(t, "say.xs", TRIGGER))))
        return false;
    pid_t pid = spawn(t);
    if (pid == 0)
        exec_xs(t);
    return pid > 0 && wait_for(t, t->port) && wait_for(t, t->publish_port);
}

/* A WebSocket client that speaks: publishers of the trigger path. */
static void ws_frame(Buf *out, Text payload)
{
    bool small = payload.len < 126; /* lengths are written in their shortest form */
    char head[8] = {(char)0x81, (char)(0x80 | (small ? payload.len : 126)),
                    (char)(payload.len >> 8), (char)payload.len};
    static const char mask[4] = {0};
    buf_append(out, head, small ? 2 : 4);
    buf_append(out, mask, sizeof mask);
    buf_text(out, payload);
}

/* Each in a channel of its own, so that the limits per client and channel are those of many. */
static bool open_speaker(Publisher *p, uint32_t i)
{
    const Target *t = p->target;
    char text[4096], join[96];
    Buf b = BUF_INIT;
    int fd = p->speakers[i] = dial(t->host, t->port);
    buf_printf(&b,
               "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
               t->options.base ? t->options.base : "/rt/bench", t->host, t->port);
    bool ok = fd >= 0 && send_all(fd, b.ptr, b.len) && recv(fd, text, 12, MSG_WAITALL) == 12 &&
              memcmp(text + 9, "101", 3) == 0;
    int n =
        snprintf(join, sizeof join,
                 "{\"action\":\"join\",\"options\":{\"channel\":\"desk:%u\"},\"payload\":{}}", i);
    b.len = 0;
    ws_frame(&b, (Text){join, (size_t)n});
    ok = ok && send_all(fd, b.ptr, b.len);
    size_t len = 0; /* until it is answered: nothing said before would be lost, but later */
    while (ok && !memmem(text, len, "\"action\":\"join\"", 15)) {
        ssize_t got = len < sizeof text ? recv(fd, text + len, sizeof text - len, 0) : 0;
        ok = got > 0;
        len += ok ? (size_t)got : 0;
    }
    buf_deinit(&b);
    return ok || problem(p, "cannot open a speaking client", 0);
}

static bool open_xs(Publisher *p)
{
    uint32_t n = p->target->options.speakers;
    p->speakers = n ? (int *)mem_alloc(n * sizeof *p->speakers) : NULL;
    if (n && !p->speakers)
        return problem(p, "out of memory", 0);
    while (p->nspeakers < n)
        if (!open_speaker(p, p->nspeakers++))
            return false;
    return true;
}

static bool say(Publisher *p, uint64_t number)
{
    uint32_t i = (uint32_t)(number % p->nspeakers);
    char text[4096];
    Buf *b = &p->head;
    b->len = p->body.len = 0;
    buf_printf(b,
               "{\"action\":\"message\",\"options\":{\"channel\":\"desk:%u\"},\"payload\":{"
               "\"event\":\"say\",\"data\":",
               i);
    put_data(p, b, number);
    buf_cstr(b, "}}");
    ws_frame(&p->body, buf_view(b));
    if (p->body.failed || b->failed)
        return problem(p, "out of memory", 0);
    ssize_t n = recv(p->speakers[i], text, sizeof text - 1, MSG_DONTWAIT);
    if (n > 0 && memmem(text, (size_t)n, "\"error\"", 7))
        return problem(p, "a message was refused", 0);
    return send_all(p->speakers[i], p->body.ptr, p->body.len) ||
           problem(p, "the server closed a speaking client", 0);
}

static void encode_xs(Publisher *p, uint64_t first, uint32_t count)
{
    char headers[160];
    Buf *b = &p->head;
    b->len = 0;
    buf_cstr(b, "{\"events\":[");
    for (uint32_t i = 0; i < count; i++) {
        buf_printf(b, "%s{\"channel\":\"", i ? "," : "");
        put_channel(p, b, first + i);
        buf_cstr(b, "\",\"event\":\"tick\",\"data\":");
        put_data(p, b, first + i);
        buf_char(b, '}');
    }
    buf_cstr(b, "]}");
    const char *base = p->target->options.base ? p->target->options.base : "/rt/bench";
    char path[160];
    snprintf(path, sizeof path, "/_xs/rt/%s/publish", strrchr(base, '/') + 1);
    snprintf(headers, sizeof headers,
             "Authorization: Bearer %s\r\nContent-Type: application/json\r\n",
             p->target->options.key ? p->target->options.key : KEY);
    post(p, path, headers, b);
}

/* ---- the floor ---- */

static bool start_floor(Target *t)
{
    static const Step first[] = {{{0}, {0}}};
    t->dialect.path = t->dialect.carrier == CARRY_LONGPOLL ? "/?c=bench" : "/";
    t->dialect.steps = first;
    t->dialect.nsteps = 0;
    t->idle = t->dialect;
    pid_t pid = spawn(t);
    if (pid == 0) {
        floor_serve(t->dialect.carrier, strcmp(t->name, "cork") == 0, t->options.threads, t->port,
                    t->publish_port);
        _exit(0);
    }
    return pid > 0 && wait_for(t, t->port);
}

static void encode_floor(Publisher *p, uint64_t first, uint32_t count)
{
    buf_append(&p->body, &count, sizeof count);
    for (uint32_t i = 0; i < count; i++) {
        p->head.len = 0;
        put_frame(p, &p->head, first + i);
        uint32_t len = (uint32_t)p->head.len;
        buf_append(&p->body, &len, sizeof len);
        buf_text(&p->body, buf_view(&p->head));
    }
}

static bool confirm_floor(Publisher *p, uint32_t count)
{
    (void)count;
    char ok;
    return recv(p->fd, &ok, 1, 0) == 1 || problem(p, "the floor server ended", 0);
}

/* ---- nginx with nchan ---- */

static const char NCHAN[] = "/usr/lib/nginx/modules/ngx_nchan_module.so";

static bool start_nchan(Target *t)
{
    Buf b = BUF_INIT;
    buf_printf(
        &b,
        "load_module %s;\nuser root;\ndaemon off;\nworker_processes 1;\nworker_rlimit_nofile "
        "200000;\npid %s/nginx.pid;\nerror_log stderr crit;\nevents { worker_connections 100000; "
        "}\nhttp {\n  access_log off;\n  client_body_temp_path %s/body;\n  proxy_temp_path "
        "%s/proxy;\n  fastcgi_temp_path %s/fcgi;\n  uwsgi_temp_path %s/uwsgi;\n  scgi_temp_path "
        "%s/scgi;\n  keepalive_requests 1000000000;\n  keepalive_timeout 3600s;\n  server {\n    "
        "listen 127.0.0.1:%d backlog=4096;\n    location = /sub { nchan_subscriber; "
        "nchan_channel_id bench; nchan_subscriber_first_message newest; }\n    location = /idle { "
        "nchan_subscriber; nchan_channel_id idle; nchan_subscriber_first_message newest; }\n    "
        "location = /pub { nchan_publisher; nchan_channel_id bench; nchan_message_buffer_length "
        "1000; }\n  }\n}\n",
        NCHAN, t->dir, t->dir, t->dir, t->dir, t->dir, t->dir, t->port);
    char path[128];
    snprintf(path, sizeof path, "%s/nginx.conf", t->dir);
    bool ok = buf_char(&b, '\0') && write_file(t, "nginx.conf", b.ptr);
    buf_deinit(&b);
    t->publish_port = t->port;
    t->dialect.path = "/sub";
    t->dialect.etag = t->dialect.carrier == CARRY_LONGPOLL;
    t->idle = t->dialect;
    t->idle.path = "/idle";
    const char *const argv[] = {"nginx", "-e", "stderr", "-c", path, "-p", t->dir, NULL};
    return ok && run(t, argv) && wait_for(t, t->port);
}

static void encode_nchan(Publisher *p, uint64_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        p->head.len = 0;
        put_frame(p, &p->head, first + i);
        post(p, "/pub", "Content-Type: application/json\r\n", &p->head);
    }
}

/* One answer per event; those of a batch may come together. */
static bool confirm_nchan(Publisher *p, uint32_t count)
{
    char text[65536];
    size_t len = 0;
    while (count) {
        ssize_t n = recv(p->fd, text + len, sizeof text - 1 - len, 0);
        if (n <= 0)
            return problem(p, "the server did not answer", 0);
        len += (size_t)n;
        text[len] = '\0';
        char *at = text, *stop;
        while (count && (stop = strstr(at, "\r\n\r\n"))) {
            const char *length = strcasestr(at, "\r\ncontent-length:");
            size_t want = length && length < stop ? strtoul(length + 17, NULL, 10) : 0;
            if ((size_t)(text + len - stop) < 4 + want)
                break;
            long status = strtol(at + 9, NULL, 10);
            if (status >= 300)
                return problem(p, "publishing was refused", (int)status);
            at = stop + 4 + want;
            count--;
        }
        len -= (size_t)(at - text);
        memmove(text, at, len);
    }
    return true;
}

/* ---- NATS ---- */

static bool start_nats(Target *t)
{
    static const Step steps[] = {
        {{0},
         TEXT_INIT("CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB bench 1\r\nPING\r\n")},
        {TEXT_INIT("PONG"), {0}},
    };
    static const Step idle[] = {
        {{0},
         TEXT_INIT("CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB idle 1\r\nPING\r\n")},
        {TEXT_INIT("PONG"), {0}},
    };
    char text[512], path[128];
    snprintf(text, sizeof text,
             "host: 127.0.0.1\nport: %d\nmax_connections: 100000\nping_interval: \"10m\"\n"
             "write_deadline: \"30s\"\nwebsocket { host: \"127.0.0.1\", port: %d, no_tls: true }\n",
             t->publish_port, t->port);
    snprintf(path, sizeof path, "%s/nats.conf", t->dir);
    t->dialect.path = "/";
    t->dialect.binary = true;
    t->dialect.steps = steps;
    t->dialect.nsteps = COUNT_OF(steps);
    t->idle = t->dialect;
    t->idle.steps = idle;
    const char *const argv[] = {"nats-server", "-c", path, NULL};
    return write_file(t, "nats.conf", text) && run(t, argv) && wait_for(t, t->port) &&
           wait_for(t, t->publish_port);
}

static bool open_nats(Publisher *p)
{
    static const char hello[] = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    char info[4096];
    return (recv(p->fd, info, sizeof info, 0) > 0 && send_all(p->fd, hello, sizeof hello - 1)) ||
           problem(p, "NATS did not greet", 0);
}

static void encode_nats(Publisher *p, uint64_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        p->head.len = 0;
        put_frame(p, &p->head, first + i);
        buf_printf(&p->body, "PUB bench %zu\r\n", p->head.len);
        buf_text(&p->body, buf_view(&p->head));
        buf_cstr(&p->body, "\r\n");
    }
}

/* ---- mosquitto ---- */

#define MQTT_CONNECT "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"

static bool start_mosquitto(Target *t)
{
    static const Step steps[] = {
        {{0}, TEXT_INIT(MQTT_CONNECT)},
        {TEXT_INIT("\x20\x02\x00\x00"), TEXT_INIT("\x82\x0a\x00\x01\x00\x05"
                                                  "bench\x00")},
        {TEXT_INIT("\x90\x03\x00\x01"), {0}},
    };
    static const Step idle[] = {
        {{0}, TEXT_INIT(MQTT_CONNECT)},
        {TEXT_INIT("\x20\x02\x00\x00"), TEXT_INIT("\x82\x09\x00\x01\x00\x04"
                                                  "idle\x00")},
        {TEXT_INIT("\x90\x03\x00\x01"), {0}},
    };
    char text[512], path[128];
    snprintf(text, sizeof text,
             "allow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type none\n"
             "listener %d 127.0.0.1\nlistener %d 127.0.0.1\nprotocol websockets\n",
             t->publish_port, t->port);
    snprintf(path, sizeof path, "%s/mosquitto.conf", t->dir);
    t->dialect.path = "/mqtt";
    t->dialect.headers = "Sec-WebSocket-Protocol: mqtt\r\n";
    t->dialect.binary = true;
    t->dialect.steps = steps;
    t->dialect.nsteps = COUNT_OF(steps);
    t->idle = t->dialect;
    t->idle.steps = idle;
    const char *const argv[] = {"mosquitto", "-c", path, NULL};
    return write_file(t, "mosquitto.conf", text) && run(t, argv) && wait_for(t, t->port) &&
           wait_for(t, t->publish_port);
}

static bool open_mosquitto(Publisher *p)
{
    char ack[4];
    return (send_all(p->fd, MQTT_CONNECT, sizeof MQTT_CONNECT - 1) &&
            recv(p->fd, ack, 4, MSG_WAITALL) == 4 && ack[0] == 0x20 && ack[3] == 0) ||
           problem(p, "mosquitto did not accept the publisher", 0);
}

static void encode_mosquitto(Publisher *p, uint64_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        p->head.len = 0;
        put_frame(p, &p->head, first + i);
        buf_char(&p->body, 0x30);
        for (size_t len = 2 + sizeof CHANNEL - 1 + p->head.len; len || p->body.len == 0;) {
            buf_char(&p->body, (char)((len & 127) | (len > 127 ? 128u : 0)));
            len >>= 7;
        }
        buf_char(&p->body, 0);
        buf_char(&p->body, (char)(sizeof CHANNEL - 1));
        buf_cstr(&p->body, CHANNEL);
        buf_text(&p->body, buf_view(&p->head));
    }
}

/* ---- Node ---- */

#define NODE_HTTP                                                                                  \
    "const http=require('http');const server=http.createServer((q,r)=>{let "                       \
    "b='';q.on('data',d=>b+="                                                                      \
    "d);q.on('end',()=>{for(const e of b.split('\\n'))publish(e);r.end()})});"                     \
    "server.listen(+process.argv[1],'127.0.0.1');"

static const char NODE_WS[] =
    NODE_HTTP "const {WebSocketServer}=require('ws');"
              "const wss=new WebSocketServer({server,perMessageDeflate:false});"
              "const publish=e=>wss.clients.forEach(c=>{if(c.readyState===1&&!c.idle)c.send(e)});"
              "wss.on('connection',(c,q)=>{c.idle=q.url==='/idle'});";
static const char NODE_IO[] =
    NODE_HTTP "const {Server}=require('socket.io');"
              "const io=new Server(server,{transports:['websocket'],pingInterval:600000,"
              "perMessageDeflate:false});"
              "const publish=e=>io.emit('tick',e);";

static bool start_node(Target *t, const char *script)
{
    char port[16];
    snprintf(port, sizeof port, "%d", t->port);
    t->publish_port = t->port;
    t->idle = t->dialect;
    const char *const argv[] = {"node", "-e", script, port, NULL};
    return run(t, argv) && wait_for(t, t->port);
}

static bool start_node_ws(Target *t)
{
    t->dialect.path = "/";
    bool ok = start_node(t, NODE_WS);
    t->idle.path = "/idle";
    return ok;
}

static bool start_socket_io(Target *t)
{
    static const Step steps[] = {
        {TEXT_INIT("0{"), TEXT_INIT("40")},
        {TEXT_INIT("40{"), {0}},
    };
    t->dialect.path = "/socket.io/?EIO=4&transport=websocket";
    t->dialect.steps = steps;
    t->dialect.nsteps = COUNT_OF(steps);
    t->dialect.ping = TEXT("2");
    t->dialect.pong = TEXT("3");
    return start_node(t, NODE_IO);
}

static void encode_node(Publisher *p, uint64_t first, uint32_t count)
{
    p->head.len = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            buf_char(&p->head, '\n');
        put_frame(p, &p->head, first + i);
    }
    post(p, "/publish", "Content-Type: text/plain\r\n", &p->head);
}

/* ---- the table ---- */

#define WS   (1u << CARRY_WS)
#define SSE  (1u << CARRY_SSE)
#define POLL (1u << CARRY_LONGPOLL)

static const TargetInfo infos[] = {
    {"xs", "this program", WS | SSE | POLL, {0}, start_xs, open_xs, encode_xs, confirm_http},
    {"send",
     "floor: a bare loop, one send per delivery",
     WS | SSE | POLL,
     {0},
     start_floor,
     NULL,
     encode_floor,
     confirm_floor},
    {"cork",
     "floor: a bare loop, one writev per client and batch",
     WS | SSE | POLL,
     {0},
     start_floor,
     NULL,
     encode_floor,
     confirm_floor},
    {"nchan",
     "nginx with nchan (nginx, libnginx-mod-nchan)",
     WS | SSE | POLL,
     {"nginx", NCHAN},
     start_nchan,
     NULL,
     encode_nchan,
     confirm_nchan},
    {"nats",
     "NATS over WebSocket (nats-server)",
     WS,
     {"nats-server"},
     start_nats,
     open_nats,
     encode_nats,
     NULL},
    {"mosquitto",
     "MQTT over WebSocket (mosquitto)",
     WS,
     {"mosquitto"},
     start_mosquitto,
     open_mosquitto,
     encode_mosquitto,
     NULL},
    {"node-ws",
     "Node with ws (npm package ws in NODE_PATH)",
     WS,
     {"node"},
     start_node_ws,
     NULL,
     encode_node,
     confirm_http},
    {"socket.io",
     "Node with Socket.IO (npm package socket.io in NODE_PATH)",
     WS,
     {"node"},
     start_socket_io,
     NULL,
     encode_node,
     confirm_http},
};

static const TargetInfo *find_info(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(infos); i++)
        if (strcmp(infos[i].name, name) == 0)
            return &infos[i];
    return NULL;
}

const char *target_name(size_t index)
{
    return index < COUNT_OF(infos) ? infos[index].name : NULL;
}

const char *target_doc(size_t index)
{
    return index < COUNT_OF(infos) ? infos[index].doc : NULL;
}

static bool npm_has(const char *package)
{
    char path[PATH_MAX];
    const char *dirs = getenv("NODE_PATH");
    for (const char *at = dirs ? dirs : ""; *at;) {
        size_t n = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s/%s/package.json", (int)n, at, package);
        if (access(path, R_OK) == 0)
            return true;
        at += n + (at[n] == ':');
    }
    return false;
}

bool target_available(const char *name, Carrier carrier, char *why, size_t why_size)
{
    static const char *const carriers[] = {"WebSocket", "SSE", "long-poll"};
    const TargetInfo *info = find_info(name);
    if (!info) {
        snprintf(why, why_size, "there is no target '%s'", name);
        return false;
    }
    if (!(info->carriers & 1u << carrier)) {
        snprintf(why, why_size, "%s has no %s", name, carriers[carrier]);
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(info->needs); i++)
        if (info->needs[i] && !in_path(info->needs[i])) {
            snprintf(why, why_size, "%s is not installed", info->needs[i]);
            return false;
        }
    const char *package = info->start == start_node_ws     ? "ws"
                          : info->start == start_socket_io ? "socket.io"
                                                           : NULL;
    if (package && !npm_has(package)) {
        snprintf(why, why_size, "the npm package %s is not in NODE_PATH", package);
        return false;
    }
    return true;
}

bool target_start(Target *t, const char *name, const TargetOptions *options)
{
    char why[160];
    *t = (Target){.options = *options, .info = find_info(name), .own = !options->host};
    arena_init(&t->arena, 0);
    if (!target_available(name, options->carrier, why, sizeof why)) {
        fprintf(stderr, "xs bench: %s\n", why);
        return false;
    }
    t->name = t->info->name;
    t->dialect = (Dialect){.carrier = options->carrier, .headers = ""};
    snprintf(t->host, sizeof t->host, "%s", options->host ? options->host : "127.0.0.1");
    snprintf(t->publish_host, sizeof t->publish_host, "%s",
             options->host ? options->publish_host : t->host);
    t->port = options->port;
    t->publish_port = options->admin_port;
    t->pid = options->pid;
    snprintf(t->dir, sizeof t->dir, "/tmp/xs-bench-XXXXXX");
    if (t->own && (!mkdtemp(t->dir) || !(t->port = proc_free_port()) ||
                   !(t->publish_port = proc_free_port()))) {
        fprintf(stderr, "xs bench: cannot prepare a server: %s\n", strerror(errno));
        return false;
    }
    if (t->info->start(t))
        return true;
    fprintf(stderr, "xs bench: %s did not start\n", name);
    return false;
}

void target_stop(Target *t)
{
    if (t->own) {
        proc_stop(t->pid, STOP_MS);
        if (t->dir[0] && !folder_remove(t->dir))
            fprintf(stderr, "xs bench: cannot remove %s\n", t->dir);
    }
    arena_deinit(&t->arena);
}

/* ---- publishing ---- */

bool publisher_open(Publisher *p, Target *t)
{
    *p = (Publisher){.target = t, .fd = -1};
    p->pad = (char *)mem_alloc(t->options.size + 1);
    if (!p->pad)
        return problem(p, "out of memory", 0);
    memset(p->pad, 'x', t->options.size);
    p->fd = dial(t->publish_host, t->publish_port);
    if (p->fd < 0)
        return problem(p, "cannot reach the address to publish to", 0);
    return !t->info->open || t->info->open(p);
}

bool publisher_send(Publisher *p, uint64_t first, uint32_t count)
{
    const TargetInfo *info = p->target->info;
    for (uint32_t i = 0; i < count && p->nspeakers; i++)
        if (!say(p, first + i))
            return false;
    if (p->nspeakers)
        return true;
    p->body.len = 0;
    info->encode(p, first, count);
    if (p->body.failed || p->head.failed)
        return problem(p, "out of memory", 0);
    if (!send_all(p->fd, p->body.ptr, p->body.len))
        return problem(p, "the server closed the publisher", 0);
    return !info->confirm || info->confirm(p, count);
}

void publisher_close(Publisher *p)
{
    if (p->fd >= 0)
        close(p->fd);
    for (uint32_t i = 0; i < p->nspeakers; i++)
        if (p->speakers[i] >= 0)
            close(p->speakers[i]);
    mem_free(p->speakers);
    mem_free(p->pad);
    buf_deinit(&p->body);
    buf_deinit(&p->head);
}
