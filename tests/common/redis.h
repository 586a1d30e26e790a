/* redis.h - for test programs: a Redis server of their own on a free loopback port, without files.
 * Blocking, header-only; every wait is bounded. */
#ifndef TESTS_COMMON_REDIS_H
#define TESTS_COMMON_REDIS_H

#include "core/clock.h"
#include "tests/common/server.h"

typedef struct TestRedis {
    pid_t pid;
    int port;
} TestRedis;

/* One command without blanks in its words; true when the answer's first byte is not '-'. */
static inline bool redis_command(int port, const char *line)
{
    char answer[256];
    int fd = http_connect(port);
    bool ok = fd >= 0 && send_all(fd, line, strlen(line)) && send_all(fd, "\r\n", 2) &&
              recv(fd, answer, sizeof answer, 0) > 0 && answer[0] != '-';
    if (fd >= 0)
        close(fd);
    return ok;
}

/** Start on r->port, or on a free port when it is 0. */
static inline bool redis_start(TestRedis *r)
{
    char port[16];
    if (!r->port)
        r->port = http_free_port();
    snprintf(port, sizeof port, "%d", r->port);
    r->pid = fork();
    if (r->pid == 0) {
        int null = open("/dev/null", O_RDWR);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, STDOUT_FILENO);
        execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
               "--appendonly", "no", (char *)NULL);
        fprintf(stderr, "redis-server: %s\n", strerror(errno));
        _exit(127);
    }
    for (int64_t deadline = clock_mono_ms() + 10000; r->pid > 0 && clock_mono_ms() < deadline;) {
        if (redis_command(r->port, "PING"))
            return true;
        poll(NULL, 0, 20);
    }
    return false;
}

static inline void redis_stop(TestRedis *r)
{
    if (r->pid <= 0)
        return;
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

#endif
