/* durability.c - kill -9 under writes: every message that the server acknowledged must be in the
 * database file afterwards, under the id it was acknowledged with. Several rounds on one file, so
 * that each round also starts from what a killed process left behind. The file must be whole and
 * the server back soon. usage: durability XS APP [--rounds N] [--restart-ms N]
 * [--record 1]: APP is tests/scenario/piers, and what is written are messages of a recorded
 * channel.
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>

#include "core/folder.h"
#include "tests/common/server.h"

enum { ROUNDS = 3, WRITERS = 8, ROUND_MS = 700, MAX_ACKED = 1000000, RESTART_MS = 10000 };

typedef struct Acked {
    long id;
    int round, writer, number;
} Acked;

static Acked acked[MAX_ACKED];
static size_t nacked;
static bool record;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct Writer {
    pthread_t thread;
    int port, round, index;
    const char *token;
} Writer;

static void *write_until_killed(void *arg)
{
    const Writer *w = (const Writer *)arg;
    int64_t deadline = clock_mono_ms() + 60000;
    for (int number = 0; clock_mono_ms() < deadline; number++) {
        char body[96];
        snprintf(body, sizeof body, "{\"content\":\"%d/%d/%d\"%s}", w->round, w->index, number,
                 record && number % 2 ? ",\"whole\":true" : "");
        char *reply;
        int status = http_request(w->port, "POST",
                                  record ? "/api:piers/record" : "/api:chat/rooms/1/messages",
                                  w->token, body, &reply);
        const char *id = reply ? strstr(reply, "\"id\":") : NULL;
        if (status == 200 && id) {
            pthread_mutex_lock(&lock);
            if (nacked < MAX_ACKED)
                acked[nacked++] = (Acked){strtol(id + 5, NULL, 10), w->round, w->index, number};
            pthread_mutex_unlock(&lock);
        }
        free(reply);
        if (status != 200)
            break;
    }
    return NULL;
}

static char *member_text(const char *json, const char *name)
{
    const char *at = json ? strstr(json, name) : NULL;
    at = at ? strchr(at + strlen(name), ':') : NULL;
    at = at ? strchr(at, '"') : NULL;
    const char *end = at ? strchr(at + 1, '"') : NULL;
    return end ? strndup(at + 1, (size_t)(end - at - 1)) : NULL;
}

static int64_t slowest_ms; /* restart after a kill */

static bool run_round(char **argv, int round)
{
    Server server;
    int64_t start = clock_mono_ms();
    if (!server_start(&server, argv)) {
        fputs("the server did not start\n", stderr);
        return false;
    }
    if (round > 0 && clock_mono_ms() - start > slowest_ms)
        slowest_ms = clock_mono_ms() - start;
    char *reply;
    int status = http_request(server.port, "POST", record ? "/api:piers/login" : "/api:chat/login",
                              NULL, "{\"name\":\"ann\"}", &reply);
    char *token = member_text(reply, record ? "\"token\"" : "\"authToken\"");
    free(reply);
    if (status == 200 && token && !record) {
        status = http_request(server.port, "POST", "/api:chat/rooms", token, "{\"name\":\"lobby\"}",
                              &reply);
        free(reply);
    }
    bool ok = status == 200 && token;
    Writer writers[WRITERS];
    for (int i = 0; ok && i < WRITERS; i++) {
        writers[i] = (Writer){.port = server.port, .round = round, .index = i, .token = token};
        pthread_create(&writers[i].thread, NULL, write_until_killed, &writers[i]);
    }
    poll(NULL, 0, ROUND_MS);
    server_stop(&server, SIGKILL, 5000);
    for (int i = 0; ok && i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    if (!ok)
        fprintf(stderr, "round %d: login answered %d\n", round, status);
    free(token);
    return ok;
}

static size_t count_lost(const char *file)
{
    sqlite3 *db;
    sqlite3_stmt *find;
    if (sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        (record && sqlite3_exec(db,
                                "CREATE TEMP TABLE said AS SELECT payload FROM rt_message;"
                                "CREATE INDEX temp.by_payload ON said (payload)",
                                NULL, NULL, NULL) != SQLITE_OK) ||
        sqlite3_prepare_v2(db,
                           record
                               ? "SELECT ?1 FROM said WHERE payload = '{\"content\":\"' || ?1 || "
                                 "'\"}'"
                               : "SELECT content FROM message WHERE id = ?",
                           -1, &find, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", file, sqlite3_errmsg(db));
        return SIZE_MAX;
    }
    sqlite3_stmt *check = NULL;
    const char *verdict = NULL;
    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &check, NULL) == SQLITE_OK &&
        sqlite3_step(check) == SQLITE_ROW)
        verdict = (const char *)sqlite3_column_text(check, 0);
    bool whole = verdict && strcmp(verdict, "ok") == 0;
    if (!whole)
        fprintf(stderr, "%s: %s\n", file, verdict ? verdict : sqlite3_errmsg(db));
    sqlite3_finalize(check);
    size_t lost = whole ? 0 : 1;
    for (size_t i = 0; i < nacked; i++) {
        char want[64];
        snprintf(want, sizeof want, "%d/%d/%d", acked[i].round, acked[i].writer, acked[i].number);
        if (record)
            sqlite3_bind_text(find, 1, want, -1, SQLITE_TRANSIENT);
        else
            sqlite3_bind_int64(find, 1, acked[i].id);
        const char *found =
            sqlite3_step(find) == SQLITE_ROW ? (const char *)sqlite3_column_text(find, 0) : NULL;
        if (!found || strcmp(found, want) != 0) {
            fprintf(stderr, "message %ld was acknowledged as '%s' and is %s\n", acked[i].id, want,
                    found ? found : "missing");
            lost++;
        }
        sqlite3_reset(find);
    }
    sqlite3_finalize(find);
    sqlite3_close(db);
    return lost;
}

int main(int argc, char **argv)
{
    int rounds = ROUNDS;
    int64_t restart_ms = RESTART_MS;
    for (int i = 3; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--restart-ms") == 0)
            restart_ms = strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--record") == 0)
            record = strcmp(argv[i + 1], "1") == 0;
    }
    if (argc < 3 || rounds < 1) {
        fputs("usage: durability XS APP [--rounds N] [--restart-ms N]\n", stderr);
        return 2;
    }
    char dir[] = "/tmp/xs-durability-XXXXXX";
    if (!mkdtemp(dir))
        return 1;
    char file[64];
    snprintf(file, sizeof file, "%s/chat.db", dir);
    char serve[] = "serve", listen_flag[] = "--listen", address[] = "127.0.0.1:0",
         db_flag[] = "--db";
    char *args[] = {argv[1], serve, argv[2], listen_flag, address, db_flag, file, NULL};
    bool ok = true;
    for (int round = 0; ok && round < rounds; round++)
        ok = run_round(args, round);
    char kept[80];
    snprintf(kept, sizeof kept, "%s.rt", file);
    size_t lost = count_lost(record ? kept : file);
    printf("%zu writes acknowledged in %d rounds, %zu lost; slowest restart %lld ms\n", nacked,
           rounds, lost, (long long)slowest_ms);
    if (slowest_ms > restart_ms) {
        fprintf(stderr, "a restart took longer than %lld ms\n", (long long)restart_ms);
        ok = false;
    }
    folder_remove(dir);
    return ok && nacked > 0 && lost == 0 ? 0 : 1;
}
