/* history.c - requests and task runs of a server as /_xs/history tells them: of queries, of a task
 * that fails each second, of one with `history = false`.
 * usage: history XS RECORDED */
#include "core/folder.h"
#include "tests/common/server.h"

static int port, admin_port;

/* The records of one name, once they hold `part`; the caller frees. */
static char *records(const char *name, const char *part)
{
    char path[128];
    snprintf(path, sizeof path, "/_xs/history?api=%s", name);
    int64_t until = clock_mono_ms() + HTTP_TIMEOUT_MS;
    char *reply = NULL;
    do {
        free(reply);
        reply = NULL;
        if (http_request(admin_port, "GET", path, NULL, NULL, &reply) == 200 && reply &&
            strstr(reply, part))
            return reply;
        poll(NULL, 0, 50);
    } while (clock_mono_ms() < until);
    fprintf(stderr, "%s: no record with %s; there is %s\n", name, part, reply ? reply : "nothing");
    free(reply);
    return NULL;
}

static bool holds(const char *name, const char *const *parts)
{
    char *text = records(name, parts[0]);
    bool ok = text != NULL;
    for (size_t i = 1; text && parts[i]; i++)
        if (!strstr(text, parts[i])) {
            fprintf(stderr, "%s: %s is missing in %s\n", name, parts[i], text);
            ok = false;
        }
    free(text);
    return ok;
}

static bool check(void)
{
    static const char *const task[] = {"\"verb\":\"TASK\"",
                                       "\"status\":403",
                                       "\"code\":\"ERROR_CODE_ACCESS_DENIED\"",
                                       "\"branch\":\"v1\"",
                                       "\"stmt\":\"db.add\"",
                                       "\"in\":\"task restless\"",
                                       "\"request\":{}",
                                       "\"message\":\"Not today\"",
                                       NULL};
    static const char *const query[] = {"\"verb\":\"GET\"",
                                        "\"path\":\"/api:recorded/notes\"",
                                        "\"status\":200",
                                        "\"stmt\":\"db.query\"",
                                        "\"request\":{\"q\":\"x\"}",
                                        "\"response\":",
                                        NULL};
    char *reply = NULL;
    bool ok = http_request(port, "GET", "/api:recorded/notes?q=x", NULL, NULL, &reply) == 200;
    ok = ok && holds("notes", query) && holds("restless", task);
    free(reply);
    reply = records("quiet", "[]");
    ok = ok && reply && strcmp(reply, "[]") == 0;
    free(reply);
    return ok;
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/xs-history-XXXXXX", file[80], admin[32];
    if (argc != 3 || !mkdtemp(dir)) {
        fputs("usage: history XS RECORDED\n", stderr);
        return 2;
    }
    snprintf(file, sizeof file, "%s/history", dir);
    admin_port = http_free_port();
    snprintf(admin, sizeof admin, "127.0.0.1:%d", admin_port);
    const char *const args[] = {argv[1],       "serve",          argv[2], "--listen",
                                "127.0.0.1:0", "--admin-listen", admin,   "--db",
                                ":memory:",    "--history",      file,    NULL};
    Server server;
    bool ok = server_start(&server, (char *const *)(uintptr_t)args);
    if (ok) {
        port = server.port;
        ok = check();
        ok = server_stop(&server, SIGTERM, 20000) == 0 && ok;
    }
    folder_remove(dir);
    return ok ? 0 : 1;
}
