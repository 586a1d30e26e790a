/* http_test.c - door and HTTP loop with real sockets, the same cases over both carriers: answers
 * now and later, holds, streams, clients that leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/text.h"
#include "host/door.h"
#include "host/http.h"
#include "host/httphead.h"

enum { LOOP_MAX_S = 20, BODY_LIMIT = 1000, CHUNKS = 3, LARGE = 3 << 20 };

typedef enum Carrier { OWN, LIBRARY, CARRIERS } Carrier;

static const char *const carrier_names[CARRIERS] = {"own", "library"};

static _Atomic int bad_descriptors; /* named to epoll */

/* What the handler under test keeps; loop's thread, except the atomics. */
typedef struct Bench {
    struct event_base *base;
    Http *http;
    Door *door;
    struct event *later;
    xs_http *x;    /* the exchange that waits */
    xs_http *kept; /* one that was answered */
    int file;      /* LARGE bytes */
    int chunks;
    Carrier carrier;
    bool whole; /* the stream goes on to the next request */
    _Atomic int closed, handled, writable;
    int remembered, forgotten; /* memos made and given back */
    const char *script;        /* bytes the client sends */
    bool cut;                  /* the client leaves without reading */
    int pause_ms;
    char *answer;
    size_t len, size;
    _Atomic bool done;
} Bench;

/* Stands before the C library's, for the libraries too: nobody may name a descriptor that he or
 * another has closed. By that time it can be somebody else's. */
XS_EXPORT int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    int result = (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
    if (result != 0 && errno == EBADF)
        bad_descriptors++;
    return result;
}

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
    xs_http *x = b->x;
    b->x = NULL;
    if (b->whole)
        http_stream_done(x);
    else if (!http_api.stream_chunked(x) || send(fd, "0\r\n\r\n", 5, MSG_NOSIGNAL) > 0)
        http_api.stream_end(x);
}

/* Keeps the stream open until the client leaves. */
static void on_writable_quiet(void *peer)
{
    Bench *b = (Bench *)peer;
    b->writable++;
    assert_true(http_api.stream_fd(b->x) >= 0);
}

/* A peer that reads nothing: its patience is limited. */
static void on_writable_stuck(void *peer)
{
    Bench *b = (Bench *)peer;
    b->writable++;
    http_stream_patience(b->x, true);
}

static const xs_http_events stuck_events = {on_writable_stuck, on_closed};
static const xs_http_events hold_events = {.on_closed = on_closed};
static const xs_http_events stream_events = {on_writable, on_closed};
static const xs_http_events quiet_events = {on_writable_quiet, on_closed};

static void reply_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Bench *b = (Bench *)arg;
    xs_http *x = b->x;
    const xs_header type = {"Content-Type", "text/event-stream"};
    if (x && strcmp(http_api.path(x), "/late_stream") == 0) {
        http_api.stream(x, 200, &type, 1, b, &quiet_events);
        return;
    }
    if (x && strcmp(http_api.path(x), "/end_soon") == 0) {
        b->x = NULL;
        assert_true(send(http_api.stream_fd(x), "2\r\nok\r\n", 7, MSG_NOSIGNAL) > 0);
        http_stream_done(x);
        return;
    }
    if (x && strcmp(http_api.path(x), "/late_hold") == 0) {
        http_api.hold(x, b, &hold_events);
        return;
    }
    b->x = NULL;
    if (x)
        http_reply_json(x, 201, TEXT("{\"late\":true}"));
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
    if (!again) {
        http_add_header(x, "X-Kept", TEXT("yes"));
        b->remembered++;
        http_remember(x, b, forget);
    }
    xs_str v = http_api.query(x, "v", 0);
    const char *h = http_api.header(x, "H");
    char text[256];
    int len = snprintf(text, sizeof text, "%s %.*s [%s] %s", again ? "again" : "first", (int)v.len,
                       v.ptr ? v.ptr : "", h ? h : "", http_api.path(x));
    http_reply_json(x, 200, (Text){text, (size_t)len});
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
    } else if (strcmp(path, "/lines") == 0) {
        const xs_header lines[] = {{NULL, "X-One: 1\r\nX-Two: a: b\r\n"}, {"X-Three", "3"}};
        http_api.reply(x, 200, lines, COUNT_OF(lines), (xs_str){"said", 4});
    } else if (strcmp(path, "/known") == 0) {
        answer_known(b, x);
    } else if (strncmp(path, "/late", 5) == 0) {
        b->x = x;
        if (b->later)
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
    } else if (strcmp(path, "/whole") == 0) {
        b->x = x;
        b->whole = true;
        b->chunks = 0;
        http_api.stream(x, 200, &type, 1, b, &stream_events);
    } else if (strcmp(path, "/end_soon") == 0) {
        b->x = x;
        http_api.stream(x, 200, &type, 1, b, &quiet_events);
        event_add(b->later, &(struct timeval){.tv_usec = 70000});
    } else if (strcmp(path, "/stuck") == 0) {
        b->x = x;
        http_api.stream(x, 200, &type, 1, b, &stuck_events);
    } else if (strcmp(path, "/large") == 0) {
        Buf body = BUF_INIT;
        for (int i = 0; i < LARGE / 8; i++)
            buf_cstr(&body, "abcdefgh");
        http_reply_take(x, 200, NULL, 0, &body);
    } else if (strcmp(path, "/file") == 0) {
        char again[64]; /* a descriptor with an offset of its own */
        snprintf(again, sizeof again, "/proc/self/fd/%d", b->file);
        http_reply_file(x, open(again, O_RDONLY | O_CLOEXEC), TEXT("large.txt"));
    } else if (strcmp(path, "/drain") == 0) {
        http_drain(b->http);
        http_reply_json(x, 200, TEXT("{}"));
    } else if (strcmp(path, "/kept") == 0) {
        http_keep(x);
        b->kept = x;
        http_reply_json(x, 200, TEXT("{}"));
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
    assert_true(http_add(b->http, fd, head, addr, len));
}

static bool any_path(Text path)
{
    return path.len > 0;
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
        while (!b->cut && b->len < b->size - 1 &&
               (n = recv(fd, b->answer + b->len, b->size - 1 - b->len, 0)) > 0)
            b->len += (size_t)n;
    }
    close(fd);
    b->answer[b->len] = '\0';
    usleep(50000); /* the loop sees the end of the connection */
    b->done = true;
    return NULL;
}

static HttpOptions options_for(Carrier carrier)
{
    return (HttpOptions){.max_body = BODY_LIMIT,
                         .max_head = 4096,
                         .idle_s = 1,
                         .head_timeout_ms = 300,
                         .body_timeout_ms = 300,
                         .realtime = carrier == OWN ? any_path : NULL};
}

/* Run one client against a fresh server; the caller looks at *b and ends it. */
static void run_client(Bench *b, Carrier carrier, const char *script, bool cut)
{
    xs_error err = {0};
    HttpOptions http = options_for(carrier);
    DoorOptions door = {
        .listen = TEXT("127.0.0.1:0"), .head_max = 4096, .head_timeout_ms = 300, .max_pending = 10};
    *b = (Bench){
        .carrier = carrier, .script = script, .cut = cut, .pause_ms = 60, .size = LARGE * 3};
    b->answer = (char *)malloc(b->size);
    char name[] = "/tmp/xs_http_test_XXXXXX";
    b->file = mkstemp(name);
    assert_true(b->answer && b->file >= 0 && unlink(name) == 0);
    memset(b->answer, 'x', LARGE);
    assert_int_equal(write(b->file, b->answer, LARGE), LARGE);
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
    if (b->kept)
        http_release(b->kept);
    close(b->file);
    free(b->answer);
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
        {GET("/lines"), "HTTP/1.1 200", "\r\nX-One: 1\r\nX-Two: a: b\r\nX-Three: 3\r\n"},
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
    for (size_t n = 0; n < COUNT_OF(cases) * CARRIERS; n++) {
        size_t i = n / CARRIERS;
        Carrier carrier = (Carrier)(n % CARRIERS);
        Bench *b = test_calloc(1, sizeof *b);
        run_client(b, carrier, cases[i].script, false);
        if (!strstr(b->answer, cases[i].contains) ||
            strncmp(b->answer, cases[i].starts, strlen(cases[i].starts)) != 0)
            fail_msg("%s, case %zu: %.200s", carrier_names[carrier], i, b->answer);
        assert_int_equal(b->closed, 0);
        end_bench(b);
        test_free(b);
    }
}

/* Blank lines in front cost a look each, however many there are. */
static void test_blank_lines(void **state)
{
    (void)state;
    enum { LINES = 1 << 15 };
    static const char head[] = "GET / HTTP/1.1\r\n\r\n";
    Buf b = BUF_INIT;
    HttpProblem problem;
    for (int i = 0; i < LINES; i++)
        buf_cstr(&b, "\r\n");
    size_t scanned = 0;
    assert_int_equal(http_head_end(buf_view(&b), &scanned, &problem), 0);
    buf_cstr(&b, head);
    int64_t began = clock_mono_us();
    scanned = 0;
    assert_int_equal(http_head_end(buf_view(&b), &scanned, &problem), b.len);
    assert_true(clock_mono_us() - began < 1000000); /* a square of them takes ten times as long */
    buf_cstr(&b, "x");
    scanned = 1;
    assert_int_equal(http_head_end(buf_view(&b), &scanned, &problem), b.len - 1);
    buf_deinit(&b);
}

/* "200 408" of the answers in a row. */
static void read_statuses(const char *answer, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (const char *p = answer; (p = strstr(p, "HTTP/1.1 ")); p += 9)
        len += (size_t)snprintf(out + len, size - len, "%s%.3s", len ? " " : "", p + 9);
}

#define OK         "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"
#define HEAD(more) "GET /echo HTTP/1.1\r\nHost: h\r\n" more "\r\n"
#define POST       "POST /echo HTTP/1.1\r\nHost: h\r\n"

/* Later requests of a connection are checked as well, whoever carries it. */
static void test_later_requests(void **state)
{
    (void)state;
    static const struct {
        const char *script, *statuses;
        const char
            *library; /* where libmicrohttpd itself answers, and otherwise; NULL = the same */
    } cases[] = {
        {OK GET("/echo"), "200 200", NULL},
        {OK HEAD("Host: h\r\n") OK, "200 400", NULL},
        {OK "GET /echo HTTP/1.1\r\n\r\n" OK, "200 400", NULL},
        {OK "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
         "200 400", NULL},
        {OK POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 400",
         NULL},
        {OK POST "Content-Length: +1\r\n\r\nx", "200 400", "200 400 400"},
        {OK POST "Transfer-Encoding: gzip\r\n\r\nx", "200 501", NULL},
        {OK POST "Expect: wonders\r\nContent-Length: 1\r\n\r\nx", "200 417", NULL},
        {OK POST "Content-Length: 1001\r\n\r\n", "200 413", NULL},
        {OK HEAD("A: \x01\r\n"), "200 400", NULL},
        {OK HEAD("A\"b: c\r\n"), "200 400", NULL},
        {OK "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", "200 405", NULL},
        {OK "BREW / HTTP/1.1\r\nHost: h\r\n\r\n", "200 501", NULL},
        {OK "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "200 400", NULL},
        {OK "GET a HTTP/1.1\r\nHost: h\r\n\r\n", "200 400", NULL},
        {OK "GET / HTTP/2.0\r\nHost: h\r\n\r\n", "200 505", NULL},
        {OK "GET /ke", "200 408", NULL},
        {OK "GET /echo HTTP/1.1\r\nHo", "200 408", NULL},
        {OK POST "Content-Length: 5\r\n\r\nab", "200 408", NULL},
        {OK POST "Transfer-Encoding: chunked\r\n\r\n5\r\nab", "200 408", NULL},
        {OK POST "Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n~ab",
         "200 100 200", NULL},
        {OK "GET /whole HTTP/1.1\r\nHost: h\r\n\r\n" GET("/whole"), "200 200 200", NULL},
        {OK "GET /end_soon HTTP/1.1\r\nHost: h\r\n\r\n~GET /echo HT~~~TP/1.1\r\nHost: h\r\n\r\n",
         "200 200", "200 200 200"}, /* a request during a stream */
        {OK POST "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" OK, "200 200 200",
         "200 200"}, /* its framing is read leniently, so nothing may follow */
        {OK "HEAD /file HTTP/1.1\r\nHost: h\r\n\r\n" GET("/echo"), "200 200 200", NULL},
        {OK "GET /file HTTP/1.1\r\nHost: h\r\n\r\n" GET("/large"), "200 200 200", NULL},
        {OK "GET /later HTTP/1.1\r\nHost: h\r\n\r\n" GET("/hold"), "200 201 201", NULL},
        {OK, "200", NULL}, /* then idle */
    };
    for (size_t n = 0; n < COUNT_OF(cases) * CARRIERS; n++) {
        size_t i = n / CARRIERS;
        Carrier carrier = (Carrier)(n % CARRIERS);
        Bench *b = test_calloc(1, sizeof *b);
        char statuses[128];
        run_client(b, carrier, cases[i].script, false);
        read_statuses(b->answer, statuses, sizeof statuses);
        const char *expected =
            carrier == LIBRARY && cases[i].library ? cases[i].library : cases[i].statuses;
        if (strcmp(statuses, expected) != 0)
            fail_msg("%s, case %zu: %s\n%.600s", carrier_names[carrier], i, statuses, b->answer);
        assert_int_equal(http_busy(b->http), 0);
        end_bench(b);
        test_free(b);
    }
}

/* Each byte arrives once: the head of a stream, its chunks, its end, then the next answer. */
static void test_whole_streams(void **state)
{
    (void)state;
    for (Carrier carrier = OWN; carrier < CARRIERS; carrier++) {
        Bench *b = test_calloc(1, sizeof *b);
        run_client(b, carrier, "GET /whole HTTP/1.1\r\nHost: h\r\n\r\n" GET("/nothing"), false);
        char *body = strstr(b->answer, "\r\n\r\n");
        assert_non_null(body);
        static const char chunks[] =
            "\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 404";
        assert_memory_equal(body, chunks, sizeof chunks - 1);
        end_bench(b);
        run_client(b, carrier, "GET /whole HTTP/1.0\r\n\r\n", false);
        assert_string_equal(strstr(b->answer, "\r\n\r\n"), "\r\n\r\nhellohellohello");
        end_bench(b);
        run_client(b, carrier, GET("/file"), false);
        assert_true(b->len > LARGE && b->len < LARGE + 1000);
        end_bench(b);
        run_client(b, carrier, GET("/large"), false);
        assert_true(b->len > LARGE && b->len < LARGE + 1000);
        assert_memory_equal(b->answer + b->len - 8, "abcdefgh", 8);
        end_bench(b);
        test_free(b);
    }
}

/* What was kept can be read after its answer, after its client and after its server. */
static void test_kept_exchanges(void **state)
{
    (void)state;
    for (Carrier carrier = OWN; carrier < CARRIERS; carrier++) {
        Bench *b = test_calloc(1, sizeof *b);
        run_client(b, carrier,
                   "GET /kept?q=1 HTTP/1.1\r\nHost: h\r\nA: b\r\nConnection: close\r\n\r\n", false);
        assert_string_equal(http_api.path(b->kept), "/kept");
        assert_string_equal(http_api.header(b->kept, "a"), "b");
        assert_int_equal(http_api.query(b->kept, "q", 0).len, 1);
        assert_true(text_eq(http_remote_ip(b->kept), TEXT("127.0.0.1")));
        assert_true(http_remote_port(b->kept) > 0);
        http_reply_json(b->kept, 200, TEXT("{}")); /* once was enough */
        end_bench(b);
        test_free(b);
    }
}

/* A draining server answers for the last time, and ends those that are idle. */
static void test_drain(void **state)
{
    (void)state;
    for (Carrier carrier = OWN; carrier < CARRIERS; carrier++) {
        Bench *b = test_calloc(1, sizeof *b);
        run_client(b, carrier, "GET /drain HTTP/1.1\r\nHost: h\r\n\r\n" OK, false);
        char statuses[64];
        read_statuses(b->answer, statuses, sizeof statuses);
        assert_string_equal(statuses, "200");
        assert_non_null(strstr(b->answer, "Connection: close"));
        end_bench(b);
        test_free(b);
    }
}

static void test_keep_alive_and_large_body(void **state)
{
    (void)state;
    char script[4096] = "POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: "
                        "chunked\r\n\r\n5dc\r\n";
    size_t at = strlen(script);
    memset(script + at, 'x', 1500);
    memcpy(script + at + 1500, "\r\n0\r\n\r\n", 8);
    for (Carrier carrier = OWN; carrier < CARRIERS; carrier++) {
        Bench *b = test_calloc(1, sizeof *b);
        run_client(b, carrier,
                   "GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET /hold HTTP/1.1\r\nHost: "
                   "h\r\n\r\n" GET("/x"),
                   false);
        char *second = strstr(b->answer + 1, "HTTP/1.1 201");
        assert_non_null(second);
        assert_non_null(strstr(second, "HTTP/1.1 404"));
        assert_int_equal(b->handled, 3);
        end_bench(b);
        char later[8192] = OK;
        strcat(later, script);
        run_client(b, carrier, later, false);
        assert_non_null(strstr(b->answer, "HTTP/1.1 413"));
        assert_int_equal(b->handled, 1);
        end_bench(b);
        test_free(b);
    }
}

static void test_large_later_heads(void **state)
{
    (void)state;
    static const size_t sizes[] = {3000, 5000, 20000};
    static const char *const statuses[] = {"200 200", "200 431", "200 431"};
    for (size_t n = 0; n < COUNT_OF(sizes) * CARRIERS; n++) {
        size_t i = n / CARRIERS;
        Bench *b = test_calloc(1, sizeof *b);
        char *script = test_calloc(1, sizes[i] + 200), got[64];
        strcpy(script, OK "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nA: ");
        memset(script + strlen(script), 'x', sizes[i]);
        strcat(script, "\r\n\r\n");
        run_client(b, (Carrier)(n % CARRIERS), script, false);
        read_statuses(b->answer, got, sizeof got);
        assert_string_equal(got, statuses[i]);
        end_bench(b);
        test_free(script);
        test_free(b);
    }
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
        run_client(b, OWN, script, false);
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
    run_client(b, OWN, script, false);
    assert_non_null(strstr(b->answer, "first 1"));
    assert_non_null(strstr(b->answer, "HTTP/1.1 431"));
    end_bench(b);
    assert_int_equal(b->forgotten, 1);
    test_free(b);
}

/* The library's carrier remembers nothing: what is to be kept is freed at once. */
static void test_nothing_known(void **state)
{
    (void)state;
    Bench *b = test_calloc(1, sizeof *b);
    run_client(b, LIBRARY, KNOWN("v=1", "H: a\r\n") KNOWN("v=2", "H: a\r\n") GET("/end"), false);
    assert_non_null(strstr(b->answer, "first 1 [a] /known"));
    assert_non_null(strstr(b->answer, "first 2 [a] /known"));
    assert_int_equal(b->remembered, 2);
    assert_int_equal(b->forgotten, 2);
    end_bench(b);
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
        {OK GET("/large"), 0, 0},
    };
    for (size_t n = 0; n < COUNT_OF(cases) * CARRIERS; n++) {
        size_t i = n / CARRIERS;
        Bench *b = test_calloc(1, sizeof *b);
        run_client(b, (Carrier)(n % CARRIERS), cases[i].script, true);
        assert_int_equal(b->closed, cases[i].closed);
        assert_int_equal(b->writable, cases[i].writable);
        assert_null(b->x);
        assert_int_equal(http_busy(b->http), 0);
        assert_int_equal(http_connections(b->http), 0);
        end_bench(b);
        test_free(b);
    }
}

/* The loop alone, for so long. */
static void run_loop(Bench *b, int ms)
{
    struct timeval tick = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_base_loopexit(b->base, &tick);
    event_base_dispatch(b->base);
}

/* A server with one client that has sent the script; returns the client's side. */
static int begin_pair(Bench *b, Carrier carrier, const char *script, int ms)
{
    xs_error err = {0};
    HttpOptions http = options_for(carrier);
    *b = (Bench){.carrier = carrier};
    b->base = event_base_new();
    b->http = http_new(b->base, &http, on_request, b, &err);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    struct sockaddr_in addr = {.sin_family = AF_INET};
    assert_true(send(pair[1], script, strlen(script), 0) > 0);
    assert_true(
        http_add(b->http, pair[0], text_from(script), (struct sockaddr *)&addr, sizeof addr));
    run_loop(b, ms);
    return pair[1];
}

/* The client leaves while its answer is being made: that comes to nothing, and an owner of a stream
 * is told. */
static void test_answers_too_late(void **state)
{
    (void)state;
    static const char *const scripts[] = {GET("/later"), GET("/late_stream"), GET("/late_hold")};
    for (size_t n = 0; n < COUNT_OF(scripts) * CARRIERS; n++) {
        size_t i = n / CARRIERS;
        Bench *b = test_calloc(1, sizeof *b);
        int fd = begin_pair(b, (Carrier)(n % CARRIERS), OK, 20); /* the daemon watches it then */
        assert_true(send(fd, scripts[i], strlen(scripts[i]), 0) > 0);
        for (int k = 0; k < 100 && !b->x; k++)
            run_loop(b, 1);
        assert_non_null(b->x);
        close(fd);
        run_loop(b, 5);
        reply_later(-1, 0, b);
        run_loop(b, 50);
        assert_int_equal(b->closed, i > 0);
        assert_int_equal(http_busy(b->http), 0);
        assert_int_equal(http_connections(b->http), 0);
        http_free(b->http);
        event_base_free(b->base);
        test_free(b);
    }
}

/* A server that ends closes what is held and what streams, and tells its owner once. */
static void test_stop_while_waiting(void **state)
{
    (void)state;
    static const char *const scripts[] = {GET("/wait"), GET("/open"), GET("/later")};
    for (size_t n = 0; n < COUNT_OF(scripts) * CARRIERS; n++) {
        size_t i = n / CARRIERS;
        Bench *b = test_calloc(1, sizeof *b);
        int fd = begin_pair(b, (Carrier)(n % CARRIERS), scripts[i], 50);
        assert_non_null(b->x);
        assert_int_equal(http_busy(b->http), 1);
        http_free(b->http);
        assert_int_equal(b->closed, i < 2);
        close(fd);
        event_base_free(b->base);
        test_free(b);
    }
}

/* The owner of a stream says that its peer should read: it is not waited for longer than idle_s. */
static void test_patience(void **state)
{
    (void)state;
    for (Carrier carrier = OWN; carrier < CARRIERS; carrier++) {
        Bench *b = test_calloc(1, sizeof *b);
        int fd = begin_pair(b, carrier, GET("/stuck"), 50);
        assert_int_equal(b->writable, 1);
        assert_int_equal(b->closed, 0);
        run_loop(b, 1500);
        assert_int_equal(b->closed, 1);
        assert_int_equal(http_connections(b->http), 0);
        http_free(b->http);
        close(fd);
        event_base_free(b->base);
        test_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_blank_lines),
        cmocka_unit_test(test_later_requests),
        cmocka_unit_test(test_whole_streams),
        cmocka_unit_test(test_kept_exchanges),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_keep_alive_and_large_body),
        cmocka_unit_test(test_known_requests),
        cmocka_unit_test(test_known_request_too_long),
        cmocka_unit_test(test_nothing_known),
        cmocka_unit_test(test_clients_that_leave),
        cmocka_unit_test(test_stop_while_waiting),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_answers_too_late),
        cmocka_unit_test(test_large_later_heads),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (bad_descriptors)
        fprintf(stderr, "%d closed descriptors were named to epoll\n", bad_descriptors);
    return failed + bad_descriptors;
}
