/* pressure.c - the database of a server under load and without room: many writers and readers at
 * once see neither errors nor locks; when the file may not grow, writes fail with a clear error
 * while reads and events go on, and work again when there is room. usage: pressure XS APP [SECONDS]
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "tests/common/server.h"

enum { WRITERS = 50, READERS = 50, SMALL_FILE = 96 << 10, TRIES = 2000 };

static const char messages_path[] = "/api:chat/rooms/1/messages";

typedef struct Load {
    int port;
    const char *token;
    int64_t until_ms;
    atomic_int writes, reads, errors;
    char first_error[300];
    pthread_mutex_t lock;
} Load;

static void note_error(Load *l, int status, const char *body)
{
    pthread_mutex_lock(&l->lock);
    if (!l->first_error[0])
        snprintf(l->first_error, sizeof l->first_error, "%d %s", status, body ? body : "");
    pthread_mutex_unlock(&l->lock);
    atomic_fetch_add(&l->errors, 1);
}

static void *write_messages(void *arg)
{
    Load *l = (Load *)arg;
    while (clock_ms() < l->until_ms) {
        char *reply;
        int status =
            http_request(l->port, "POST", messages_path, l->token, "{\"content\":\"x\"}", &reply);
        if (status == 200)
            atomic_fetch_add(&l->writes, 1);
        else
            note_error(l, status, reply);
        free(reply);
    }
    return NULL;
}

static void *read_messages(void *arg)
{
    Load *l = (Load *)arg;
    while (clock_ms() < l->until_ms) {
        char *reply;
        int status = http_request(l->port, "GET", messages_path, l->token, NULL, &reply);
        if (status == 200)
            atomic_fetch_add(&l->reads, 1);
        else
            note_error(l, status, reply);
        free(reply);
    }
    return NULL;
}

static long count_rows(const char *file)
{
    sqlite3 *db;
    sqlite3_stmt *st = NULL;
    long n = -1;
    if (sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT count(*) FROM message", -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        n = (long)sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static bool under_load(Server *server, const char *token, int ms, int *written)
{
    Load l = {.port = server->port, .token = token, .until_ms = clock_ms() + ms};
    pthread_t threads[WRITERS + READERS];
    pthread_mutex_init(&l.lock, NULL);
    for (int i = 0; i < WRITERS + READERS; i++)
        pthread_create(&threads[i], NULL, i < WRITERS ? write_messages : read_messages, &l);
    for (int i = 0; i < WRITERS + READERS; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&l.lock);
    printf("%d writes and %d reads in %d ms, %d errors %s\n", l.writes, l.reads, ms, l.errors,
           l.first_error);
    *written = l.writes;
    return l.writes > 0 && l.reads > 0 && l.errors == 0;
}

/* Everything a write is not needed for. */
static bool others_work(const Server *server, const char *token)
{
    char *reply;
    int list = http_request(server->port, "GET", messages_path, token, NULL, &reply);
    free(reply);
    int event = http_request(server->port, "POST", "/api:chat/rooms/1/events", token,
                             "{\"event\":\"poll\",\"data\":{}}", &reply);
    free(reply);
    if (list != 200 || event != 200)
        fprintf(stderr, "without room: list %d, event %d\n", list, event);
    return list == 200 && event == 200;
}

static bool without_room(Server *server, const char *token, int *written)
{
    struct rlimit old, small;
    if (prlimit(server->pid, RLIMIT_FSIZE, NULL, &old) != 0)
        return false;
    small = old;
    small.rlim_cur = SMALL_FILE;
    if (prlimit(server->pid, RLIMIT_FSIZE, &small, NULL) != 0)
        return false;
    int status = 200;
    char *reply = NULL;
    for (int i = 0; i < TRIES && status == 200; i++) {
        free(reply);
        status = http_request(server->port, "POST", messages_path, token,
                              "{\"content\":\"a longer text that fills pages a little faster\"}",
                              &reply);
        *written += status == 200;
    }
    bool clear = status == 500 && reply && strstr(reply, "The database cannot be");
    if (!clear)
        fprintf(stderr, "without room: %d %s\n", status, reply ? reply : "");
    free(reply);
    bool ok = clear && others_work(server, token);
    prlimit(server->pid, RLIMIT_FSIZE, &old, NULL);
    status =
        http_request(server->port, "POST", messages_path, token, "{\"content\":\"y\"}", &reply);
    *written += status == 200;
    if (status != 200)
        fprintf(stderr, "with room again: %d %s\n", status, reply ? reply : "");
    free(reply);
    return ok && status == 200;
}

static char *login(const Server *server)
{
    char *reply, *token = NULL;
    int status =
        http_request(server->port, "POST", "/api:chat/login", NULL, "{\"name\":\"ann\"}", &reply);
    const char *at = reply ? strstr(reply, "\"authToken\":\"") : NULL;
    if (status == 200 && at) {
        at += strlen("\"authToken\":\"");
        token = strndup(at, strcspn(at, "\""));
    }
    free(reply);
    status = http_request(server->port, "POST", "/api:chat/rooms", token, "{\"name\":\"lobby\"}",
                          &reply);
    free(reply);
    return status == 200 ? token : NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: pressure XS APP [SECONDS]\n", stderr);
        return 2;
    }
    int ms = argc > 3 ? (int)(strtod(argv[3], NULL) * 1000) : 1500;
    char dir[] = "/tmp/xs-pressure-XXXXXX", file[64], other[80];
    if (!mkdtemp(dir))
        return 1;
    snprintf(file, sizeof file, "%s/chat.db", dir);
    char serve[] = "serve", listen_flag[] = "--listen", address[] = "127.0.0.1:0",
         db_flag[] = "--db";
    char *args[] = {argv[1], serve, argv[2], listen_flag, address, db_flag, file, NULL};
    Server server;
    bool ok = server_start(&server, args);
    int written = 0;
    if (ok) {
        char *token = login(&server);
        ok = token && without_room(&server, token, &written);
        int more = 0;
        ok = under_load(&server, token, ms, &more) && ok;
        written += more;
        free(token);
        ok = server_stop(&server, SIGTERM, 20000) == 0 && ok;
    }
    long rows = ok ? count_rows(file) : written;
    if (rows != written)
        fprintf(stderr, "%d writes were acknowledged, the table has %ld rows\n", written, rows);
    static const char *const suffixes[] = {"", "-wal", "-shm", ".key"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(other, sizeof other, "%s%s", file, suffixes[i]);
        unlink(other);
    }
    rmdir(dir);
    return ok && rows == written ? 0 : 1;
}
