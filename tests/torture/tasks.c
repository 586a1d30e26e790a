/* tasks.c - several processes on one database file: of each time of a task one of them runs it,
 * also behind the death of the one that did. usage: tasks XS APP */
#include <sqlite3.h>

#include "core/folder.h"
#include "tests/common/server.h"

enum {
    NODES = 3,
    TOGETHER_MS = 6000,
    NEAR_MS = 400,   /* two runs of one time lie closer */
    APART_MS = 1900, /* nothing in between is left out */
    ROWS_MAX = 100,
    SECOND_MS = 1000
};

typedef struct Run {
    char node;
    int64_t at;
} Run;

static char dir[] = "/tmp/xs-tasks-XXXXXX";
static Server servers[NODES];
static int failures;

static bool start(char **argv, int i)
{
    char serve[] = "serve", listen[] = "--listen", any[] = "127.0.0.1:0", db[] = "--db", file[64],
         log[] = "--log-level", level[] = "error", name[2] = {(char)('a' + i), '\0'};
    char *args[] = {argv[1], serve, argv[2], listen, any, db, file, log, level, NULL};
    snprintf(file, sizeof file, "%s/x.db", dir);
    setenv("NODE", name, 1);
    return server_start(&servers[i], args);
}

static int rows_of(const char *task, Run *out)
{
    char file[64];
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int n = 0;
    snprintf(file, sizeof file, "%s/x.db", dir);
    bool ok = sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
              sqlite3_busy_timeout(db, 5000) == SQLITE_OK &&
              sqlite3_prepare_v2(db, "SELECT node, at FROM ran WHERE task = ? ORDER BY at", -1, &st,
                                 NULL) == SQLITE_OK &&
              sqlite3_bind_text(st, 1, task, -1, SQLITE_STATIC) == SQLITE_OK;
    while (ok && n < ROWS_MAX && sqlite3_step(st) == SQLITE_ROW)
        out[n++] = (Run){(char)sqlite3_column_text(st, 0)[0], sqlite3_column_int64(st, 1)};
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

/* Each second once, from the first row on; how many. */
static int check(const char *task, int least)
{
    Run runs[ROWS_MAX];
    int n = rows_of(task, runs);
    for (int i = 1; i < n; i++) {
        int64_t apart = runs[i].at - runs[i - 1].at;
        if (apart >= NEAR_MS && apart <= APART_MS)
            continue;
        fprintf(stderr, "%s: run %d by %c %lld ms behind the one by %c\n", task, i, runs[i].node,
                (long long)apart, runs[i - 1].node);
        failures++;
    }
    int64_t span = n > 1 ? runs[n - 1].at - runs[0].at : 0;
    if (n < least || n != 1 + (int)((span + SECOND_MS / 2) / SECOND_MS)) {
        fprintf(stderr, "%s: %d runs in %lld ms\n", task, n, (long long)span);
        failures++;
    }
    return n;
}

/* Whoever ran the newest one. */
static int newest(void)
{
    Run runs[ROWS_MAX];
    int n = rows_of("second", runs);
    return n ? runs[n - 1].node - 'a' : 0;
}

int main(int argc, char **argv)
{
    if (argc != 3 || !mkdtemp(dir))
        return 2;
    bool ok = true;
    for (int i = 0; ok && i < NODES; i++)
        ok = start(argv, i);
    if (ok)
        poll(NULL, 0, TOGETHER_MS);
    for (int left = NODES; ok && left > 1; left--) {
        Server *owner = &servers[newest()];
        if (owner->pid <= 0)
            ok = false;
        else
            (void)server_stop(owner, SIGKILL, 1000);
        owner->pid = 0;
        poll(NULL, 0, 3 * SECOND_MS);
    }
    for (int i = 0; i < NODES; i++)
        if (servers[i].pid > 0)
            ok = server_stop(&servers[i], SIGTERM, 10000) == 0 && ok;
    int n = ok ? check("second", 10) : 0;
    ok = ok && check("two", 10) > 0;
    printf("%d times of a task in %d processes, two of them killed: %d failures\n", n, NODES,
           failures);
    folder_remove(dir);
    return ok && !failures ? 0 : 1;
}
