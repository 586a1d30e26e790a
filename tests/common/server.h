/* server.h - for test programs: start `xs serve` as a child on a free loopback port, talk HTTP to
 * it, end it. Blocking, header-only, single-threaded per call; every wait is bounded. */
#ifndef TESTS_COMMON_SERVER_H
#define TESTS_COMMON_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"

enum { SERVER_START_MS = 30000, HTTP_TIMEOUT_MS = 20000, HTTP_BODY_MAX = 1 << 20 };

typedef struct Server {
    pid_t pid;
    int port;
    int out; /* read end of its stdout */
} Server;

/* argv: xs serve …; the port is read from the line that names its URL. */
static inline bool server_start(Server *s, char *const *argv)
{
    int pipes[2];
    if (pipe(pipes) != 0)
        return false;
    s->pid = fork();
    if (s->pid < 0)
        return false;
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* no server outlives its test */
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        execv(argv[0], argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(pipes[1]);
    s->out = pipes[0];
    s->port = 0;
    char text[4096];
    size_t len = 0;
    int64_t deadline = clock_mono_ms() + SERVER_START_MS;
    while (len < sizeof text - 1 && clock_mono_ms() < deadline) {
        struct pollfd p = {.fd = s->out, .events = POLLIN};
        if (poll(&p, 1, 200) <= 0)
            continue;
        ssize_t n = read(s->out, text + len, sizeof text - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        text[len] = '\0';
        const char *url = strstr(text, "http://127.0.0.1:");
        if (url && strchr(url, '\n')) {
            s->port = (int)strtol(url + strlen("http://127.0.0.1:"), NULL, 10);
            return s->port > 0;
        }
    }
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    close(s->out);
    return false;
}

/* Send a signal and wait; the exit code, 128 + signal when killed, -1 when it had to be killed
 * after wait_ms. */
static inline int server_stop(Server *s, int signal_number, int wait_ms)
{
    kill(s->pid, signal_number);
    int status = 0;
    bool forced = false;
    for (int64_t deadline = clock_mono_ms() + wait_ms; waitpid(s->pid, &status, WNOHANG) == 0;) {
        if (clock_mono_ms() > deadline && !forced) {
            kill(s->pid, SIGKILL);
            forced = true;
        }
        poll(NULL, 0, 10);
    }
    close(s->out);
    if (forced)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A login token of user `id`, signed with the server's auth.secret. */
static inline bool mint_token(const char *xs, const char *app, const char *secret, const char *id,
                              char *out, size_t size)
{
    char command[1024];
    snprintf(command, sizeof command, "'%s' token mint '%s' --auth-secret %s --table user --id %s",
             xs, app, secret, id);
    FILE *f = popen(command, "r");
    bool ok = f && fgets(out, (int)size, f);
    out[strcspn(out, "\n")] = '\0';
    return f && pclose(f) == 0 && ok;
}

static inline int http_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval limit = {.tv_sec = HTTP_TIMEOUT_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline bool send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* A port of 127.0.0.1 that is free now; 0 = none. */
static inline int http_free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool ok = bind(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
              getsockname(fd, (struct sockaddr *)&at, &len) == 0;
    close(fd);
    return ok ? ntohs(at.sin_port) : 0;
}

/**
 * One request on its own connection.
 * @param token  bearer token, NULL = none   @param body  JSON, NULL = none
 * @param reply  gets the body, malloc'ed and NUL-terminated, NULL on failure
 * @return the status, or 0 when no complete answer came
 */
static inline int http_request(int port, const char *method, const char *path, const char *token,
                               const char *body, char **reply)
{
    *reply = NULL;
    int fd = http_connect(port);
    if (fd < 0)
        return 0;
    size_t body_len = body ? strlen(body) : 0;
    size_t cap = 512 + strlen(path) + (token ? strlen(token) : 0);
    char *head = (char *)malloc(cap);
    int n =
        snprintf(head, cap,
                 "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s%s%sContent-Type: "
                 "application/json\r\nContent-Length: %zu\r\n\r\n",
                 method, path, token ? "Authorization: Bearer " : "", token ? token : "",
                 token ? "\r\n" : "", body_len);
    bool ok = send_all(fd, head, (size_t)n) && (!body_len || send_all(fd, body, body_len));
    free(head);
    char *text = (char *)malloc(HTTP_BODY_MAX + 1);
    size_t len = 0;
    while (ok && len < HTTP_BODY_MAX) {
        ssize_t r = recv(fd, text + len, HTTP_BODY_MAX - len, 0);
        if (r <= 0)
            break;
        len += (size_t)r;
    }
    close(fd);
    text[len] = '\0';
    int status = 0;
    char *end = strstr(text, "\r\n\r\n");
    if (end && sscanf(text, "HTTP/1.%*d %d", &status) == 1) {
        char *length = strcasestr(text, "\r\ncontent-length:");
        size_t want = length && length < end ? (size_t)strtoul(length + 17, NULL, 10) : 0;
        size_t got = len - (size_t)(end + 4 - text);
        if (got < want)
            status = 0;
        else
            *reply = strdup(end + 4);
    }
    free(text);
    return status;
}

#endif
