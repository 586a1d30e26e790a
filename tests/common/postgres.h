/* postgres.h - for test programs: a PostgreSQL server of their own on a free loopback port, in a
 * temporary folder, as an unprivileged user. Blocking, header-only; every wait is bounded. */
#ifndef TESTS_COMMON_POSTGRES_H
#define TESTS_COMMON_POSTGRES_H

#include <glob.h>
#include <grp.h>
#include <pwd.h>

#include "core/clock.h"
#include "core/folder.h"
#include "tests/common/server.h"

#define POSTGRES_PASSWORD "s3cret/w@rd"

typedef struct TestPostgres {
    pid_t pid;
    int port;
    char dir[32];  /* "" before the first start */
    char bin[256]; /* folder of initdb and postgres */
} TestPostgres;

static inline bool postgres_find(TestPostgres *p)
{
    glob_t found;
    bool ok = glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0;
    if (ok) {
        const char *last = found.gl_pathv[found.gl_pathc - 1];
        snprintf(p->bin, sizeof p->bin, "%.*s", (int)(strrchr(last, '/') - last), last);
    }
    globfree(&found);
    return ok;
}

/* In the child: the server refuses to be root. */
static inline void postgres_become_other(void)
{
    const struct passwd *user = getpwnam("postgres");
    if (!user)
        user = getpwnam("nobody");
    if (geteuid() == 0 && (!user || setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 ||
                           setuid(user->pw_uid) != 0))
        _exit(126);
}

/* argv[0] is a program of p->bin; in p->dir, its output in a file log there. */
static inline pid_t postgres_spawn(const TestPostgres *p, char *const *argv)
{
    char path[320];
    snprintf(path, sizeof path, "%s/%s", p->bin, argv[0]);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(p->dir) != 0)
        _exit(125);
    postgres_become_other();
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* forgotten when the user changes */
    int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(path, argv);
    _exit(127);
}

static inline bool postgres_init(TestPostgres *p)
{
    char initdb[] = "initdb", data[] = "-Ddata", user[] = "-Uann", file[] = "--pwfile=word",
         method[] = "--auth=scram-sha-256", nosync[] = "-N", locale[] = "--locale=C.UTF-8",
         coding[] = "-EUTF8";
    char *const argv[] = {initdb, data, user, file, method, nosync, locale, coding, NULL};
    char word[64];
    int status = 0;
    snprintf(p->dir, sizeof p->dir, "/tmp/xs-postgres-XXXXXX");
    if (!mkdtemp(p->dir) || chmod(p->dir, 01777) != 0)
        return false;
    snprintf(word, sizeof word, "%s/word", p->dir);
    FILE *f = fopen(word, "w");
    if (!f)
        return false;
    bool ok = fputs(POSTGRES_PASSWORD "\n", f) >= 0;
    ok = fclose(f) == 0 && ok;
    pid_t pid = ok ? postgres_spawn(p, argv) : -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/** Start; the folder and port of an earlier start are kept. The login is ann, POSTGRES_PASSWORD. */
static inline bool postgres_start(TestPostgres *p)
{
    char postgres[] = "postgres", data[] = "-Ddata", port[32],
         host[] = "-clisten_addresses=127.0.0.1",
         sockets[] = "-cunix_socket_directories=", fsync[] = "-cfsync=off",
         few[] = "-cmax_connections=20";
    if (!*p->dir && (!postgres_find(p) || !postgres_init(p)))
        return false;
    if (!p->port)
        p->port = http_free_port();
    snprintf(port, sizeof port, "-cport=%d", p->port);
    char *const argv[] = {postgres, data, port, host, sockets, fsync, few, NULL};
    p->pid = postgres_spawn(p, argv);
    for (int64_t deadline = clock_mono_ms() + 20000; p->pid > 0 && clock_mono_ms() < deadline;) {
        int fd = http_connect(p->port);
        if (fd >= 0)
            close(fd);
        if (fd >= 0)
            return true;
        poll(NULL, 0, 50);
    }
    return false;
}

/** An immediate end, as a crash looks to clients. */
static inline void postgres_stop(TestPostgres *p)
{
    if (p->pid <= 0)
        return;
    kill(p->pid, SIGQUIT);
    waitpid(p->pid, NULL, 0);
    p->pid = 0;
}

static inline void postgres_remove(TestPostgres *p)
{
    postgres_stop(p);
    if (*p->dir)
        folder_remove(p->dir);
}

#endif
