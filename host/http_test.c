/* http_test.c - door and HTTP loop with real sockets: answers now and later, holds, streams,
 * clients that leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/text.h"
#include "host/door.h"
#include "host/http.h"

enum { LOOP_MAX_S = 20, BODY_LIMIT = 1000, CHUNKS = 3 };

/* What the handler under test keeps; loop's thread, except the atomics. */
typedef struct Bench {
    struct event_base *base;
    Http *http;
    Door *door;
    struct event *later;
    xs_http *x; /* the exchange that waits */
    int chunks;
    _Atomic int closed, handled, writable;
    int remembered, forgotten; /* memos made and given back */
    const char *script;        /* bytes the client sends */
    bool cut;                  /* the client leaves without reading */
    int pause_ms;
    char answer[65536];
    size_t len;
    _Atomic bool done;
} Bench;

static void on_closed(void *peer)
{
    Bench *b = (Bench *)peer;
    b->closed++;
    b->x = NULL;
}

static void on_writable(void *peer)
{
    Bench *b = (Bench *)peer;
    b->writable++;
    const char *data = http_api.stream_chunked(b->x) ? "5\r\nhello\r\n" : "hello";
    int fd = http_api.stream_fd(b->x);
    assert_true(fd >= 0);
    if (b->chunks < CHUNKS) {
        b->chunks++;
        if (send(fd, data, strlen(data), MSG_NOSIGNAL) < 0)
            return; /* the watch tells soon */
        http_api.want_write(b->x, true);
        return;
    }
    if (http_api.stream_chunked(b->x) && send(fd, "0\r\n\r\n", 5, MSG_NOSIGNAL) < 0)
        return;
    http_api.stream_end(b->x);
    b->x = NULL;
}

/* Keeps the stream open until the client leaves. */
static void on_writable_quiet(void *peer)
{
    Bench *b = (Bench *)peer;
    b->writable++;
    assert_true(http_api.stream_fd(b->x) >= 0);
}

static const xs_http_events hold_events = {.on_closed = on_closed};
static const xs_http_events stream_events = {on_writable, on_closed};
static const xs_http_events quiet_events = {on_writable_quiet, on_closed};

static void reply_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Bench *b = (Bench *)arg;
    if (b->x)
        http_reply_json(b->x, 201, TEXT("{\"late\":true}"));
    b->x = NULL;
}

static void forget(void *memo)
{
    ((Bench *)memo)->forgotten++;
}

/* "first V [H]" or "again V [H]": V is the query's, H a header's value. */
static void answer_known(Bench *b, xs_http *x)
{
    bool again = http_memo(x) == b;
    if (http_api.query(x, "forget", 0).ptr) {
        http_forget(x);
        again = false;
    }
    xs_str v = http_api.query(x, "v", 0);
    const char *h = http_api.header(x, "H");
    Text text = arena_printf(http_arena(x), "%s %.*s [%s] %s", again ? "again" : "first",
                             (int)v.len, v.ptr ? v.ptr : "", h ? h : "", http_api.path(x));
    if (!again) {
        http_add_header(x, "X-Kept", TEXT("yes"));
        b->remembered++;
        http_remember(x, b, forget);
    }
    http_reply_json(x, 200, text);
}

static void on_request(void *ctx, xs_http *x)
{
    Bench *b = (Bench *)ctx;
    const char *path = http_api.path(x);
    const xs_header type = {"Content-Type", "text/event-stream"};
    struct timeval soon = {.tv_usec = 20000};
    b->handled++;
    if (strcmp(path, "/echo") == 0) {
        xs_str body = http_api.body(x);
        http_add_header(x, "X-Query",
                        (Text){http_api.query(x, "q", 1).ptr, http_api.query(x, "q", 1).len});
        http_api.reply(x, 200, NULL, 0, body);
    } else if (strcmp(path, "/known") == 0) {
        answer_known(b, x);
    } else if (strcmp(path, "/later") == 0) {
        b->x = x;
        event_add(b->later, &soon);
    } else if (strcmp(path, "/hold") == 0) {
        b->x = x;
        http_api.hold(x, b, &hold_events);
        event_add(b->later, &soon);
    } else if (strcmp(path, "/wait") == 0) {
        b->x = x;
        http_api.hold(x, b, &hold_events);
    } else if (strcmp(path, "/stream") == 0) {
        b->x = x;
        http_api.stream(x, 200, &type, 1, b, &stream_events);
        assert_int_equal(http_api.stream_fd(x), -1);
    } else if (strcmp(path, "/open") == 0) {
        b->x = x;
        http_api.stream(x, 200, &type, 1, b, &quiet_events);
    } else if (strcmp(path, "/ended") == 0) {
        b->x = x;
        http_api.stream(x, 200, &type, 1, b, &quiet_events);
        http_api.stream_end(x);
    } else {
        http_reply_error(x, 404, "NOPE", "no");
    }
}

static void on_visitor(void *ctx, int fd, Text head, const struct sockaddr *addr, socklen_t len)
{
    Bench *b = (Bench *)ctx;
    assert_true(head.len > 0);
    assert_true(http_add(b->http, fd, addr, len));
}

static void *client(void *arg)
{
    Bench *b = (Bench *)arg;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)door_port(b->door))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
        /* "~" in the script is a pause: heads arrive in pieces. */
        for (const char *s = b->script; *s;) {
            size_t n = strcspn(s, "~");
            if (send(fd, s, n, MSG_NOSIGNAL) < 0)
                break;
            s += n;
            if (*s == '~') {
                usleep(30000);
                s++;
            }
        }
        if (b->cut)
            usleep((useconds_t)b->pause_ms * 1000);
        ssize_t n = 0;
        while (!b->cut && b->len < sizeof b->answer - 1 &&
               (n = recv(fd, b->answer + b->len, sizeof b->answer - 1 - b->len, 0)) > 0)
            b->len += (size_t)n;
    }
    close(fd);
    b->answer[b->len] = '\0';
    usleep(50000); /* the loop sees the end of the connection */
    b->done = true;
    return NULL;
}

/* Run one client against a fresh server; the caller looks at *b and ends it. */
static void run_client(Bench *b, const char *script, bool cut)
{
    xs_error err = {0};
    HttpOptions http = {.max_body = BODY_LIMIT, .max_head = 4096, .idle_s = 1};
    DoorOptions door = {
        .listen = TEXT("127.0.0.1:0"), .head_max = 4096, .head_timeout_ms = 300, .max_pending = 10};
    *b = (Bench){.script = script, .cut = cut, .pause_ms = 60};
    b->base = event_base_new();
    b->http = http_new(b->base, &http, on_request, b, &err);
    b->door = door_new(b->base, &door, on_visitor, b, &err);
    b->later = evtimer_new(b->base, reply_later, b);
    assert_true(b->http && b->door && b->later);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, client, b), 0);
    struct timeval tick = {.tv_usec = 10000};
    for (int i = 0; i < LOOP_MAX_S * 100 && !b->done; i++) {
        event_base_loopexit(b->base, &tick);
        event_base_dispatch(b->base);
    }
    pthread_join(thread, NULL);
}

static void end_bench(Bench *b)
{
    http_free(b->http);
    door_free(b->door);
    event_free(b->later);
    event_base_free(b->base);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        const char *script, *starts, *contains;
    } cases[] = {
        {GET("/nothing"), "HTTP/1.1 404",
         "{\"code\":\"NOPE\",\"message\":\"no\",\"payload\":\"\"}"},
        {GET("/later"), "HTTP/1.1 201", "{\"late\":true}"},
        {GET("/hold"), "HTTP/1.1 201", "{\"late\":true}"},
        {"GET /la~ter HTTP/1.1\r\nHost~: h\r\nConnection: close\r\n~\r\n", "HTTP/1.1 201", "late"},
        {"POST /echo?q=a&q=b%20c HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: "
         "5\r\n\r\nab~cde",
         "HTTP/1.1 200", "abcde"},
        {"POST /echo?q=a&q=b%20c HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: "
         "1\r\n\r\nx",
         "HTTP/1.1 200", "X-Query: b c"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3\r\nabc\r\n~2\r\nde\r\n0\r\n\r\n",
         "HTTP/1.1 200", "abcde"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.1 413",
         "too large"},
        {GET("/stream"), "HTTP/1.1 200", "5\r\nhello\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n"},
        {"GET /stream HTTP/1.0\r\n\r\n", "HTTP/1.1 200", "\r\n\r\nhellohellohello"},
        {GET("/ended"), "HTTP/1.1 200", "text/event-stream"},
        {"nonsense\r\n\r\n", "", ""},
        {"\r\n\r\n", "", ""},
        {"GET / HTTP/1.1\r\nA:", "", ""},
        {"", "", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Bench *b = test_calloc(1, sizeof *b);
        run_client(b, cases[i].script, false);
        if (!strstr(b->answer, cases[i].contains) ||
            strncmp(b->answer, cases[i].starts, strlen(cases[i].starts)) != 0)
            fail_msg("case %zu: %s", i, b->answer);
        assert_int_equal(b->closed, 0);
        end_bench(b);
        test_free(b);
    }
}

static void test_keep_alive_and_large_body(void **state)
{
    (void)state;
    Bench *b = test_calloc(1, sizeof *b);
    run_client(
        b, "GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET /hold HTTP/1.1\r\nHost: h\r\n\r\n" GET("/x"),
        false);
    char *second = strstr(b->answer + 1, "HTTP/1.1 201");
    assert_non_null(second);
    assert_non_null(strstr(second, "HTTP/1.1 404"));
    assert_int_equal(b->handled, 3);
    end_bench(b);
    char script[4096] = "POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: "
                        "chunked\r\n\r\n5dc\r\n";
    size_t at = strlen(script);
    memset(script + at, 'x', 1500);
    memcpy(script + at + 1500, "\r\n0\r\n\r\n", 8);
    run_client(b, script, false);
    assert_non_null(strstr(b->answer, "HTTP/1.1 413"));
    assert_int_equal(b->handled, 0);
    end_bench(b);
    test_free(b);
}

static unsigned count_of(const char *text, const char *word)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, word)); at++)
        n++;
    return n;
}

#define KNOWN(query, headers) "GET /known?" query " HTTP/1.1\r\nHost: h\r\n" headers "\r\n"

/* A request that differs from the one before in its query alone brings back what was kept of it. */
static void test_known_requests(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        const char *answers[4]; /* in this order */
        int made;
    } cases[] = {
        {KNOWN("v=1", "H: a\r\n") KNOWN("v=b%20c&w", "H: a\r\n") "~" KNOWN("", "H: a\r\n"),
         {"first 1 [a] /known", "again b c [a] /known", "again  [a] /known"},
         1},
        {"GET /known?v=~1 HTTP/1.1\r\nHost: h\r\n~\r\nGET /known?v=~2 HTT~P/1.1\r\nHost: "
         "h\r\n~\r\n",
         {"first 1", "again 2"},
         1},
        {KNOWN("v=1", "H: a\r\n") KNOWN("v=2", "H: b\r\n") KNOWN("v=3", "H: b\r\n"),
         {"first 1 [a]", "first 2 [b]", "again 3 [b]"},
         2},
        {KNOWN("v=1", "") KNOWN("v=2", "H: a\r\n") KNOWN("v=3", ""),
         {"first 1 []", "first 2 [a]", "first 3 []"},
         3},
        {KNOWN("v=1", "") KNOWN("v=2&forget=", "") KNOWN("v=3", ""),
         {"first 1 []", "first 2 []", "again 3 []"},
         2},
        {KNOWN("v=1", "") "GET /known?v#2 HTTP/1.1\r\nHost: h\r\n\r\n",
         {"first 1 []", "HTTP/1.1 400"},
         1},
        {KNOWN("v=1", "") "GET /known?v=2 HTTP/1.0\r\nHost: h\r\n\r\n",
         {"first 1 []", "first 2 []"},
         2},
        {KNOWN("v=1", "Content-Length: 2\r\n") "ab" KNOWN("v=2", "Content-Length: 2\r\n") "cd",
         {"first 1 []", "first 2 []"},
         2},
        {"GET /known HTTP/1.1\r\nHost: h\r\nX: a?b c\r\n\r\nGET http://h/known?v=1 "
         "HTTP/1.1\r\nHost: "
         "h\r\n\r\n",
         {"first  []", "first 1 []"},
         2},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Bench *b = test_calloc(1, sizeof *b);
        char script[1024];
        snprintf(script, sizeof script, "%s%s", cases[i].script, GET("/end"));
        run_client(b, script, false);
        const char *at = b->answer;
        for (size_t k = 0; k < 4 && cases[i].answers[k]; k++) {
            at = strstr(at, cases[i].answers[k]);
            if (!at)
                fail_msg("case %zu: no '%s' in %s", i, cases[i].answers[k], b->answer);
        }
        assert_int_equal(b->remembered, cases[i].made);
        assert_int_equal(count_of(b->answer, "X-Kept: yes"), count_of(b->answer, "/known"));
        end_bench(b);
        assert_int_equal(b->forgotten, b->remembered);
        test_free(b);
    }
}

/* A query that would make the head too long is refused as in the first request. */
static void test_known_request_too_long(void **state)
{
    (void)state;
    Bench *b = test_calloc(1, sizeof *b);
    char script[6000] = KNOWN("v=1", "") "GET /known?v=";
    static const char rest[] = " HTTP/1.1\r\nHost: h\r\n\r\n";
    size_t at = strlen(script);
    memset(script + at, 'x', 4080);
    memcpy(script + at + 4080, rest, sizeof rest);
    run_client(b, script, false);
    assert_non_null(strstr(b->answer, "first 1"));
    assert_non_null(strstr(b->answer, "HTTP/1.1 431"));
    end_bench(b);
    assert_int_equal(b->forgotten, 1);
    test_free(b);
}

static void test_clients_that_leave(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        int closed, writable;
    } cases[] = {
        {GET("/wait"), 1, 0},
        {GET("/open"), 1, 1},
        {"GET /open HTTP/1.1\r\nHost: h\r\n\r\nGET /early HTTP/1.1\r\n", 1, 1},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nabc", 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Bench *b = test_calloc(1, sizeof *b);
        run_client(b, cases[i].script, true);
        assert_int_equal(b->closed, cases[i].closed);
        assert_int_equal(b->writable, cases[i].writable);
        assert_null(b->x);
        assert_int_equal(http_busy(b->http), 0);
        end_bench(b);
        test_free(b);
    }
}

/* A server that ends closes what is held and what streams, and tells its owner once. */
static void test_stop_while_waiting(void **state)
{
    (void)state;
    static const char *const scripts[] = {GET("/wait"), GET("/open")};
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        Bench *b = test_calloc(1, sizeof *b);
        xs_error err = {0};
        HttpOptions http = {.max_body = BODY_LIMIT, .max_head = 4096, .idle_s = 1};
        b->base = event_base_new();
        b->http = http_new(b->base, &http, on_request, b, &err);
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                         0);
        struct sockaddr_in addr = {.sin_family = AF_INET};
        assert_true(http_add(b->http, pair[0], (struct sockaddr *)&addr, sizeof addr));
        assert_true(send(pair[1], scripts[i], strlen(scripts[i]), 0) > 0);
        struct timeval tick = {.tv_usec = 50000};
        event_base_loopexit(b->base, &tick);
        event_base_dispatch(b->base);
        assert_non_null(b->x);
        assert_int_equal(http_busy(b->http), 1);
        http_free(b->http);
        assert_int_equal(b->closed, 1);
        close(pair[1]);
        event_base_free(b->base);
        test_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_keep_alive_and_large_body),
        cmocka_unit_test(test_known_requests),
        cmocka_unit_test(test_known_request_too_long),
        cmocka_unit_test(test_clients_that_leave),
        cmocka_unit_test(test_stop_while_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
