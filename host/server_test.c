/* server_test.c - a whole server in a child process with a program made by hand: queries, errors,
 * tokens, CORS, files, health, metrics, publishing, drain. The realtime transports have their own
 * tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/folder.h"
#include "core/json.h"
#include "core/lang/opcodes.h"
#include "core/text.h"
#include "host/server.h"
#include "stdlib/registry.h"

#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static const uint32_t code_hello[] = {INS_ABX(OP_LOADK, 0, 0), INS_ABC(OP_RET, 0, 0, 0)};
static const uint32_t code_echo[] = {INS_ABC(OP_BIND, 0, 0, 0), INS_ABC(OP_GETINPUT, 1, 0, 0),
                                     INS_ABC(OP_RET, 1, 0, 0)};
static const uint32_t code_auth[] = {INS_ABC(OP_GETSYS, 0, SYS_AUTH, 0), INS_ABC(OP_RET, 0, 0, 0)};
static const uint32_t code_spin[] = {INS_MAKE_J(OP_JMP, -1)};
static const uint32_t code_throw[] = {INS_ABX(OP_LOADK, 0, 0), INS_ABX(OP_LOADK, 1, 1),
                                      INS_ABC(OP_THROW, 0, 1, 0)};

static const char meta_json[] =
    "{\"name\":\"Test "
    "App\",\"tables\":[],\"groups\":[{\"name\":\"g\",\"canonical\":\"g\"}],\"queries\":["
    "{\"name\":\"hello\",\"group\":\"g\",\"verb\":\"GET\",\"proc\":0},"
    "{\"name\":\"echo/{id}\",\"group\":\"g\",\"verb\":\"POST\",\"proc\":1},"
    "{\"name\":\"me\",\"group\":\"g\",\"verb\":\"GET\",\"proc\":2,\"auth\":\"user\"},"
    "{\"name\":\"spin\",\"group\":\"g\",\"verb\":\"GET\",\"proc\":3},"
    "{\"name\":\"throw\",\"group\":\"g\",\"verb\":\"GET\",\"proc\":4}]}";

static Program *make_program(Arena *a)
{
    static const struct {
        const uint32_t *code;
        uint32_t ncode, nregs, ninputs;
    } rows[] = {{code_hello, 2, 1, 0},
                {code_echo, 3, 2, 1},
                {code_auth, 2, 1, 0},
                {code_spin, 1, 1, 0},
                {code_throw, 3, 2, 0}};
    static const char inputs[] = "[{\"name\":\"id\",\"type\":\"int\"}]";
    xs_error err = {0};
    ProcImage *procs = ARENA_ARRAY(a, ProcImage, COUNT_OF(rows));
    const Const **consts = ARENA_ARRAY(a, const Const *, 2);
    consts[0] = const_text(a, TEXT("h\xc3\xa4/llo"));
    consts[1] = const_text(a, TEXT("why"));
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        procs[i] = (ProcImage){.kind = PROC_QUERY,
                               .name = TEXT("q"),
                               .file = TEXT("t.xs"),
                               .nregs = rows[i].nregs,
                               .ninputs = rows[i].ninputs,
                               .inputs = rows[i].ninputs ? json_parse(a, text_from(inputs), &err)
                                                         : const_list(a, 0),
                               .code = rows[i].code,
                               .ncode = rows[i].ncode};
    BundleImage *image = ARENA_NEW(a, BundleImage);
    *image = (BundleImage){.consts = consts,
                           .nconsts = 2,
                           .procs = procs,
                           .nprocs = COUNT_OF(rows),
                           .meta = json_parse(a, text_from(meta_json), &err)};
    Program *p = program_load(image, &stdlib_natives, &err);
    if (!p)
        fprintf(stderr, "%s\n", err.message);
    return p;
}

/* ---- a blocking client ---- */

enum { ANSWER_MAX = 65536, CLIENT_TIMEOUT_S = 20 };

static int http_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval limit = {.tv_sec = CLIENT_TIMEOUT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* All that comes back, NUL-terminated, to be freed. */
static char *exchange(int port, const char *request, size_t request_len)
{
    int fd = http_connect(port);
    char *answer = malloc(ANSWER_MAX + 1);
    size_t len = 0;
    ssize_t n;
    assert_non_null(answer);
    assert_int_equal(send(fd, request, request_len, MSG_NOSIGNAL), request_len);
    while (len < ANSWER_MAX && (n = recv(fd, answer + len, ANSWER_MAX - len, 0)) > 0)
        len += (size_t)n;
    close(fd);
    answer[len] = '\0';
    return answer;
}

/* One request on its own connection: the status, and the body (NUL-terminated, to be freed). */
static int http_request(int port, const char *method, const char *path, const char *token,
                        const char *body, char **reply)
{
    int status = 0;
    Buf b = BUF_INIT;
    buf_printf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, path);
    if (token)
        buf_printf(&b, "Authorization: Bearer %s\r\n", token);
    buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
               body ? strlen(body) : 0, body ? body : "");
    char *answer = exchange(port, b.ptr, b.len);
    buf_deinit(&b);
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    assert_int_equal(sscanf(answer, "HTTP/1.%*d %d", &status), 1);
    *reply = strdup(end + 4);
    free(answer);
    return status;
}

typedef struct Running {
    pid_t pid;
    int port, admin_port;
} Running;

static void on_ready(void *ctx, const ServerReady *ready)
{
    const int *out = (const int *)ctx;
    Running r = {.port = ready->port};
    const char *colon = memrchr(ready->admin_address.ptr, ':', ready->admin_address.len);
    r.admin_port = colon ? (int)strtol(colon + 1, NULL, 10) : 0;
    if (write(*out, &r, sizeof r) != (ssize_t)sizeof r)
        abort();
}

static void child(const char *settings, int out)
{
    Arena a;
    Config c;
    xs_error err = {0};
    arena_init(&a, 0);
    bool ok = config_init(&c, &err) && config_read(&c, "test", text_from(settings), &err);
    Program *p = ok ? make_program(&a) : NULL;
    ServerOptions opt = {.config = &c, .program = p, .on_ready = on_ready, .ctx = &out};
    ok = p && server_run(&opt, &err);
    if (!ok)
        fprintf(stderr, "server: %s\n", err.message);
    if (p)
        program_unref(p);
    config_deinit(&c);
    arena_deinit(&a);
    exit(ok ? 0 : 1); /* not _exit: leaks are looked for */
}

static Running start(const char *settings)
{
    int pipes[2];
    Running r = {0};
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(pipes[0]);
        child(settings, pipes[1]);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &r, sizeof r), sizeof r);
    close(pipes[0]);
    r.pid = pid;
    return r;
}

static void stop(const Running *r)
{
    int status = 0;
    kill(r->pid, SIGTERM);
    waitpid(r->pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define COMMON                                                                                     \
    "listen = 127.0.0.1:0\ntransport =\ndb = :memory:\nenv_file =\nlog_level = error\nworkers = "  \
    "2\n"                                                                                          \
    "auth.secret = " KEY "\n"

static void test_requests(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *body;
        int status;
        const char *reply;
    } cases[] = {
        {"GET", "/api:g/hello", NULL, 200, "\"h\xc3\xa4/llo\""},
        {"POST", "/api:g/echo/7", "{\"id\":3,\"x\":1}", 200, "{\"id\":7}"},
        {"POST", "/api:g/echo/x", "{}", 404, NULL},
        {"POST", "/api:g/echo/7", "{\"id\":", 400, NULL},
        {"GET", "/api:g/me", NULL, 401,
         "{\"code\":\"ERROR_CODE_UNAUTHORIZED\",\"message\":\"Authentication "
         "Required\",\"payload\":\"\"}"},
        {"GET", "/api:g/spin", NULL, 500,
         "{\"code\":\"ERROR_FATAL\",\"message\":\"Execution time exceeded.\",\"payload\":\"\"}"},
        {"GET", "/api:g/throw", NULL, 500,
         "{\"code\":\"h\xc3\xa4/llo\",\"message\":\"why\",\"payload\":\"\"}"},
        {"GET", "/api:g/nothing", NULL, 404,
         "{\"code\":\"ERROR_CODE_NOT_FOUND\",\"message\":\"Unable to locate "
         "request.\",\"payload\":\"\"}"},
        {"GET", "/nothing", NULL, 404, NULL},
        {"GET", "/_xs/health", NULL, 200, "{\"status\":\"ok\"}"},
        {"GET", "/_xs/rt/test-app/publish", NULL, 404, NULL},
        {"GET", "/rt/test-app/info", NULL, 200, NULL},
        {"GET", "/rt/test-app/sse", NULL, 404, NULL},
        {"GET", "/rt/other/info", NULL, 404, NULL},
        {"POST", "/rt/test-app/ticket", NULL, 401, NULL},
        {"POST", "/rt/test-app/send", "{}", 400, NULL},
        {"GET", "/rt/test-app/send", NULL, 405, NULL},
        {"GET", "/ws/test-app", NULL, 404, NULL},
        {"OPTIONS", "/api:g/hello", NULL, 204, ""},
    };
    Running r = start(COMMON "request_timeout_ms = 200\n");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *reply;
        int status =
            http_request(r.port, cases[i].method, cases[i].path, NULL, cases[i].body, &reply);
        if (status != cases[i].status)
            fail_msg("%s %s: %d %s", cases[i].method, cases[i].path, status, reply ? reply : "");
        if (cases[i].reply)
            assert_string_equal(reply, cases[i].reply);
        free(reply);
    }
    stop(&r);
}

static void test_admin(void **state)
{
    (void)state;
    Running r =
        start(COMMON "admin_listen = 127.0.0.1:0\nrealtime.publish_keys = 0123456789abcdef\n");
    char *reply;
    const char *key = "0123456789abcdef";
    assert_int_equal(http_request(r.admin_port, "GET", "/metrics", NULL, NULL, &reply), 200);
    assert_non_null(strstr(reply, "\nxs_http_requests_total "));
    free(reply);
    const char *path = "/_xs/rt/test-app/publish";
    assert_int_equal(http_request(r.admin_port, "POST", path, "wrong", "{}", &reply), 401);
    free(reply);
    assert_int_equal(http_request(r.admin_port, "POST", path, NULL, "{}", &reply), 401);
    free(reply);
    static const char *const bad[] = {
        "{", "[]", "{}", "{\"data\":1}", "{\"channel\":\"a\"}", "{\"events\":[1]}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(http_request(r.admin_port, "POST", path, key, bad[i], &reply), 400);
        free(reply);
    }
    char *first;
    const char *event =
        "{\"events\":[{\"channel\":\"a\",\"data\":1,\"id\":\"k\"},{\"channels\":[\"b\",\"c\"],"
        "\"data\":{}}]}";
    assert_int_equal(http_request(r.admin_port, "POST", path, key, event, &first), 200);
    assert_non_null(strstr(first, "{\"ok\":true,\"results\":[{\"channel\":\"a\",\"epoch\":\""));
    assert_non_null(strstr(first, "{\"channel\":\"c\""));
    const char *again = "{\"channel\":\"a\",\"data\":1,\"id\":\"k\"}";
    assert_int_equal(http_request(r.admin_port, "POST", path, key, again, &reply), 200);
    size_t head = strlen("{\"ok\":true,\"results\":[");
    assert_memory_equal(reply, first, strcspn(first + head, "}") + head);
    free(reply);
    free(first);
    assert_int_equal(http_request(r.port, "GET", "/metrics", NULL, NULL, &reply), 404);
    free(reply);
    stop(&r);
}

/* What an answer says of a file makes the next one short, or a part. */
static void check_conditions(int port)
{
    static const struct {
        const char *header, *condition, *more;
        int status;
    } cases[] = {
        {"ETag: ", "If-None-Match: \"x\", W/", "", 304},
        {"Last-Modified: ", "If-Modified-Since: ", "", 304},
        {"ETag: ", "If-Range: ", "Range: bytes=3-\r\n", 206},
        {"Last-Modified: ", "If-Range: ", "Range: bytes=3-\r\n", 206},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        static const char plain[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        char again[400];
        char *first = exchange(port, plain, sizeof plain - 1);
        const char *value = strstr(first, cases[i].header);
        assert_non_null(value);
        value += strlen(cases[i].header);
        int n = snprintf(again, sizeof again,
                         "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s%s%.*s\r\n\r\n",
                         cases[i].more, cases[i].condition, (int)strcspn(value, "\r"), value);
        char *second = exchange(port, again, (size_t)n);
        assert_int_equal(strtol(second + 9, NULL, 10), cases[i].status);
        assert_string_equal(strstr(second, "\r\n\r\n") + 4, cases[i].status == 206 ? "hi" : "");
        free(first);
        free(second);
    }
}

static void test_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/xs-files-XXXXXX";
    char path[64], settings[512];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/index.html", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("<p>hi", f);
    fclose(f);
    snprintf(settings, sizeof settings, "%spublic = %s\n", COMMON, dir);
    Running r = start(settings);
    static const struct {
        const char *path;
        int status;
    } cases[] = {
        {"/", 200},         {"/index.html", 200}, {"/./index.html", 404}, {"/../etc/passwd", 404},
        {"/%2e%2e/x", 404}, {"/x%00", 404},       {"/nothing", 404},      {"//index.html", 200}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *reply;
        assert_int_equal(http_request(r.port, "GET", cases[i].path, NULL, NULL, &reply),
                         cases[i].status);
        if (cases[i].status == 200)
            assert_string_equal(reply, "<p>hi");
        free(reply);
    }
    check_conditions(r.port);
    stop(&r);
    folder_remove(dir);
}

/* A request that runs while the server ends is cut by the end of the drain, not later. */
static void test_drain(void **state)
{
    (void)state;
    Running r = start(COMMON "drain_ms = 300\n");
    int fd = http_connect(r.port);
    static const char request[] = "GET /api:g/spin HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    usleep(100000);
    int64_t from = clock_mono_ms();
    stop(&r);
    assert_true(clock_mono_ms() - from < 5000);
    char answer[512];
    ssize_t n = recv(fd, answer, sizeof answer - 1, 0);
    assert_true(n > 0);
    answer[n] = '\0';
    assert_non_null(strstr(answer, "HTTP/1.1 500"));
    close(fd);
}

static void test_refused_settings(void **state)
{
    (void)state;
    static const char *const settings[] = {
        COMMON "listen = nowhere\n",
        COMMON "listen = 192.0.2.1:0\n",
        COMMON "public = /nonexistent\n",
        COMMON "transport = wss\n",
        COMMON "realtime.publish_keys = short\n",
        COMMON "auth.secret = short\n",
    };
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (!freopen("/dev/null", "w", stderr))
                _exit(9);
            child(settings[i], -1);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_admin),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_refused_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
