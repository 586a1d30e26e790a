/* pressure.c - the database of a server under load and without room: many writers and readers at
 * once see neither errors nor locks; when the disk is full, or the file may not grow, writes fail
 * with a clear error while reads and events go on, and work again when there is room.
 * usage: pressure XS APP [SECONDS]
 *
 * The full disk is a small tmpfs in a mount namespace of this process; where none may be made the
 * limit of file sizes alone is tried, and the output says so. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "core/folder.h"
#include "tests/common/server.h"

enum {
    WRITERS = 50,
    READERS = 50,
    SMALL_FILE = 512 << 10,
    DISK_ROOM = 64 << 10, /* left on the full disk */
    TRIES = 2000
};

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
    while (clock_mono_ms() < l->until_ms) {
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
    while (clock_mono_ms() < l->until_ms) {
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
    Load l = {.port = server->port, .token = token, .until_ms = clock_mono_ms() + ms};
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

/* Where the room ends, and how to give it back. */
typedef struct Room {
    const char *name;
    bool (*take)(struct Room *r);
    void (*give)(struct Room *r);
    pid_t pid;
    struct rlimit old;
    char filler[96];
} Room;

static bool limit_take(Room *r)
{
    struct rlimit small;
    if (prlimit(r->pid, RLIMIT_FSIZE, NULL, &r->old) != 0)
        return false;
    small = r->old;
    small.rlim_cur = SMALL_FILE;
    return prlimit(r->pid, RLIMIT_FSIZE, &small, NULL) == 0;
}

static void limit_give(Room *r)
{
    prlimit(r->pid, RLIMIT_FSIZE, &r->old, NULL);
}

/* A file takes what is free but a little. */
static bool disk_take(Room *r)
{
    static char block[16 << 10];
    int fd = open(r->filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    off_t size = 0;
    ssize_t n = 0;
    while (fd >= 0 && (n = write(fd, block, sizeof block)) > 0)
        size += n;
    bool full = fd >= 0 && errno == ENOSPC && size > DISK_ROOM;
    full = full && ftruncate(fd, size - DISK_ROOM) == 0;
    if (fd >= 0)
        close(fd);
    return full;
}

static void disk_give(Room *r)
{
    unlink(r->filler);
}

static bool without_room(Server *server, Room *room, const char *token, int *written)
{
    if (!room->take(room)) {
        fprintf(stderr, "%s: cannot take the room: %s\n", room->name, strerror(errno));
        return false;
    }
    int status = 200, before = *written;
    char *reply = NULL;
    for (int i = 0; i < TRIES && status == 200; i++) {
        free(reply);
        status = http_request(server->port, "POST", messages_path, token,
                              "{\"content\":\"a longer text that fills pages a little faster\"}",
                              &reply);
        *written += status == 200;
    }
    bool clear = status == 500 && reply && strstr(reply, "The database cannot be");
    printf("%s: %d writes, then %d %s\n", room->name, *written - before, status,
           reply ? reply : "");
    free(reply);
    bool ok = clear && others_work(server, token);
    room->give(room);
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

static void write_proc(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* A disk of its own under dir, seen by this process and its children alone. */
static bool mount_disk(const char *dir)
{
    char map[64];
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return false;
        snprintf(map, sizeof map, "0 %u 1", (unsigned)uid);
        write_proc("/proc/self/uid_map", map);
        write_proc("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", (unsigned)gid);
        write_proc("/proc/self/gid_map", map);
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("xs-pressure", dir, "tmpfs", 0, "size=4m") == 0;
}

/* Start, fill, put load on it for a time (0 = none), stop, and count. */
static bool one_run(char **argv, const char *dir, bool disk, int load_ms)
{
    char file[64];
    snprintf(file, sizeof file, "%s/chat.db", dir);
    char serve[] = "serve", listen_flag[] = "--listen", address[] = "127.0.0.1:0",
         db_flag[] = "--db";
    char *args[] = {argv[1], serve, argv[2], listen_flag, address, db_flag, file, NULL};
    Server server;
    if (!server_start(&server, args))
        return false;
    Room room = disk ? (Room){"a full disk", disk_take, disk_give, server.pid, {0}, {0}}
                     : (Room){"the largest file", limit_take, limit_give, server.pid, {0}, {0}};
    snprintf(room.filler, sizeof room.filler, "%s/filler", dir);
    int written = 0, more = 0;
    char *token = login(&server);
    bool ok = token && without_room(&server, &room, token, &written);
    if (load_ms)
        ok = under_load(&server, token, load_ms, &more) && ok;
    written += more;
    free(token);
    ok = server_stop(&server, SIGTERM, 20000) == 0 && ok;
    long rows = ok ? count_rows(file) : written;
    if (rows != written)
        fprintf(stderr, "%d writes were acknowledged, the table has %ld rows\n", written, rows);
    return ok && rows == written;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: pressure XS APP [SECONDS]\n", stderr);
        return 2;
    }
    int ms = argc > 3 ? (int)(strtod(argv[3], NULL) * 1000) : 1500;
    char dir[] = "/tmp/xs-pressure-XXXXXX";
    if (!mkdtemp(dir))
        return 1;
    bool ok = one_run(argv, dir, false, ms);
    if (mount_disk(dir)) {
        puts("a tmpfs of 4 MB is the disk");
        ok = one_run(argv, dir, true, 0) && ok;
        umount(dir);
    } else {
        printf("no tmpfs may be mounted here (%s): only the largest file was tried\n",
               strerror(errno));
    }
    folder_remove(dir);
    return ok ? 0 : 1;
}
