/* ws_test.c - the WebSocket transport against plain sockets on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "transports/common/fake_host.h"

/* The plugin as it is linked into a binary. */
extern const xs_plugin xs_plugin_ws;

static pthread_t thread;

static void *run_thread(void *arg)
{
    fake.ops->run(arg);
    return NULL;
}

static void start(void)
{
    xs_error err = {0};
    fake.state = fake.ops->create(&fake.host, &err);
    assert_non_null(fake.state);
    assert_int_equal(pthread_create(&thread, NULL, run_thread, fake.state), 0);
}

static void stop(void)
{
    fake.ops->stop(fake.state);
    pthread_join(thread, NULL);
    fake.ops->destroy(fake.state);
    assert_int_equal(fake.gone_count, fake.conn_count);
    fake_deinit();
}

static int setup(void **state)
{
    (void)state;
    fake_init((const xs_transport_ops *)xs_plugin_ws.ops);
    return 0;
}

/* --- a client: blocking socket with a time limit --- */

static void set_timeout(int fd)
{
    struct timeval limit = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static void read_full(int fd, void *p, size_t n)
{
    char *at = (char *)p;
    while (n) {
        ssize_t r = recv(fd, at, n, 0);
        if (r <= 0)
            fail_msg("connection ended with %zu bytes missing", n);
        at += r;
        n -= (size_t)r;
    }
}

static void send_full(int fd, const void *p, size_t n)
{
    assert_int_equal(send(fd, p, n, MSG_NOSIGNAL), n);
}

/* The two ends of one TCP connection; the server's is adopted with the head (plus early bytes). */
static int client_open(xs_request *req, const char *early, size_t early_len, char *reply,
                       size_t cap)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&at, &len);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int small = 16384;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    set_timeout(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    int server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    setsockopt(server, SOL_SOCKET, SO_SNDBUF, &small, sizeof small); /* full however fast we read */
    close(listener);
    char head[2048];
    int n =
        snprintf(head, sizeof head,
                 "GET /rt/test HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: "
                 "Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                 "Sec-WebSocket-Version: 13\r\n\r\n");
    memcpy(head + n, early, early_len);
    fake.ops->adopt(fake.state, server, head, (size_t)n + early_len, req);
    size_t got = 0;
    while (got < cap - 1) {
        read_full(fd, reply + got, 1);
        reply[++got] = 0;
        if (got >= 4 && strcmp(reply + got - 4, "\r\n\r\n") == 0)
            break;
    }
    return fd;
}

static int client_ws(const char *token)
{
    char reply[4096];
    int fd = client_open(fake_request(token), "", 0, reply, sizeof reply);
    assert_non_null(strstr(reply, "HTTP/1.1 101"));
    return fd;
}

static size_t make_frame(char *out, int first_byte, const char *data, size_t len)
{
    size_t n = 0;
    out[n++] = (char)first_byte;
    if (len < 126) {
        out[n++] = (char)(0x80 | len);
    } else if (len < 65536) {
        out[n++] = (char)(0x80 | 126);
        out[n++] = (char)(len >> 8);
        out[n++] = (char)len;
    } else {
        out[n++] = (char)(0x80 | 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            out[n++] = (char)((uint64_t)len >> shift);
    }
    const char mask[4] = {1, 2, 3, 4};
    memcpy(out + n, mask, 4);
    n += 4;
    for (size_t i = 0; i < len; i++)
        out[n++] = (char)(data[i] ^ mask[i % 4]);
    return n;
}

static void client_send(int fd, int first_byte, const char *data, size_t len)
{
    char *frame = (char *)malloc(len + 16);
    assert_non_null(frame);
    send_full(fd, frame, make_frame(frame, first_byte, data, len));
    free(frame);
}

/* The next frame: its opcode; the payload in a buffer that the caller frees. */
static int client_read(int fd, char **data, size_t *len)
{
    unsigned char head[10];
    read_full(fd, head, 2);
    assert_int_equal(head[0] & 0x70, 0);
    assert_int_equal(head[0] & 0x80, 0x80);
    assert_int_equal(head[1] & 0x80, 0);
    uint64_t n = head[1];
    unsigned more = n == 126 ? 2 : n == 127 ? 8 : 0;
    if (more) {
        read_full(fd, head + 2, more);
        n = 0;
        for (unsigned i = 0; i < more; i++)
            n = n << 8 | head[2 + i];
    }
    assert_true(n < 1u << 24);
    *len = (size_t)n;
    *data = (char *)malloc(*len + 1);
    assert_non_null(*data);
    read_full(fd, *data, *len);
    (*data)[*len] = 0;
    return head[0] & 15;
}

static void expect_text(int fd, const char *text)
{
    char *data;
    size_t len;
    assert_int_equal(client_read(fd, &data, &len), 1);
    assert_string_equal(data, text);
    free(data);
}

static void expect_close(int fd, int code)
{
    char *data;
    size_t len;
    assert_int_equal(client_read(fd, &data, &len), 8);
    assert_true(len >= 2);
    assert_int_equal((unsigned char)data[0] << 8 | (unsigned char)data[1], code);
    free(data);
}

static void expect_end(int fd)
{
    char c;
    assert_true(recv(fd, &c, 1, 0) <= 0);
    close(fd);
}

static void end_client(int fd)
{
    client_send(fd, 0x88, "\x03\xe8", 2);
    expect_close(fd, 1000);
    expect_end(fd);
}

/* --- tests --- */

static void handshake_echoes_the_token(void **state)
{
    (void)state;
    start();
    for (int size = 0; size <= 7000; size += size ? 6100 : 900) {
        char token[7001], reply[16384], want[7100];
        memset(token, 'a', (size_t)size);
        token[size] = 0;
        int fd = client_open(fake_request(token), "", 0, reply, sizeof reply);
        assert_non_null(strstr(reply, "HTTP/1.1 101"));
        snprintf(want, sizeof want, "sec-websocket-protocol: %s\r\n", token);
        char *found = strcasestr(reply, "sec-websocket-protocol:");
        if (size)
            assert_int_equal(strncasecmp(found, want, strlen(want)), 0);
        else
            assert_null(found);
        assert_non_null(strstr(reply, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        end_client(fd);
    }
    assert_true(fake_wait(&fake.gone_count, 3));
    assert_int_equal(fake.conns[0].gone_code, 1000);
    stop();
}

static void text_goes_both_ways(void **state)
{
    (void)state;
    fake.echo = true;
    start();
    char early[64], reply[4096];
    size_t early_len = make_frame(early, 0x81, "{\"n\":0}", 7);
    int fd = client_open(fake_request(NULL), early, early_len, reply, sizeof reply);
    expect_text(fd, "{\"n\":0}");
    client_send(fd, 0x81, "{\"n\":1}", 7);
    expect_text(fd, "{\"n\":1}");
    /* Fragments with a ping between them. */
    client_send(fd, 0x01, "{\"a\":", 5);
    client_send(fd, 0x89, "hi", 2);
    client_send(fd, 0x00, "\"\xc3", 2);
    client_send(fd, 0x80, "\xa4\"}", 3);
    char *data;
    size_t len;
    for (unsigned seen = 0; seen != (1u << 10 | 1u << 1);) { /* in either order */
        int op = client_read(fd, &data, &len);
        assert_string_equal(data, op == 10 ? "hi" : "{\"a\":\"\xc3\xa4\"}");
        seen |= 1u << op;
        free(data);
    }
    /* Sizes around every border of the framing and of the receive buffer. */
    static const size_t sizes[] = {1, 125, 126, 127, 255, 256, 257, 1000, 4096, 65535, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *text = (char *)malloc(sizes[i] + 1);
        assert_non_null(text);
        memset(text, 'x', sizes[i]);
        text[sizes[i]] = 0;
        client_send(fd, 0x81, text, sizes[i]);
        expect_text(fd, text);
        free(text);
    }
    end_client(fd);
    assert_true(fake_wait(&fake.gone_count, 1));
    stop();
}

static void bad_frames_have_their_close_code(void **state)
{
    (void)state;
    start();
    char *big = (char *)malloc(65537);
    assert_non_null(big);
    memset(big, 'x', 65537);
    const struct {
        int first_byte, code;
        const char *data;
        size_t len;
    } rows[] = {
        {0x82, 1003, "abc", 3},        {0x81, 1007, "\xc0\x80", 2}, {0x81, 1007, "\xed\xa0\x80", 3},
        {0x81, 1007, "ab\xe2\x82", 4}, {0x81, 1009, big, 65537},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = client_ws(NULL);
        client_send(fd, rows[i].first_byte, rows[i].data, rows[i].len);
        expect_close(fd, rows[i].code);
        client_send(fd, 0x88, "\x03\xe8", 2);
        expect_end(fd);
        assert_true(fake_wait(&fake.gone_count, (unsigned)i + 1));
        assert_int_equal(fake.conns[i].gone_code, rows[i].code);
    }
    free(big);
    stop();
}

static void close_4000_is_echoed(void **state)
{
    (void)state;
    start();
    int fd = client_ws("t");
    client_send(fd, 0x88, "\x0f\xa0", 2);
    expect_close(fd, 4000);
    expect_end(fd);
    assert_true(fake_wait(&fake.gone_count, 1));
    assert_int_equal(fake.conns[0].gone_code, 4000);
    stop();
}

static void refusal_is_a_frame_and_a_close(void **state)
{
    (void)state;
    start();
    char reply[4096];
    xs_request *req = fake_request(NULL);
    req->refuse = true;
    int fd = client_open(req, "", 0, reply, sizeof reply);
    expect_text(fd, "{\"action\":\"error\",\"options\":{},\"payload\":{\"message\":\"Unknown "
                    "connection hash\"}}");
    expect_close(fd, 4401);
    client_send(fd, 0x88, "\x11\x31", 2);
    expect_end(fd);
    stop();
    assert_int_equal(fake.conn_count, 0);
}

static void close_all(void *arg)
{
    for (unsigned i = 0; i < fake.conn_count; i++)
        fake.ops->close(fake.state, fake.conns[i].peer, *(int *)arg, "told to");
}

static void host_closes_even_silent_clients(void **state)
{
    (void)state;
    fake.limits.ping_ms = 200; /* sweeps often */
    fake.limits.pong_timeout_ms = 5000;
    start();
    int a = client_ws(NULL), b = client_ws(NULL), code = 4401;
    assert_true(fake_wait(&fake.conn_count, 2));
    fake_post(close_all, &code);
    expect_close(a, 4401);
    client_send(a, 0x88, "\x11\x31", 2);
    expect_end(a);
    expect_close(b, 4401); /* b never answers: cut after two seconds */
    expect_end(b);
    assert_true(fake_wait(&fake.gone_count, 2));
    assert_int_equal(fake.conns[1].gone_code, 4401);
    stop();
}

enum { BIG = 200000, BIG_COUNT = 40 };

static void deliver_big(void *arg)
{
    char *text = (char *)malloc(BIG + 1);
    assert_non_null(text);
    memset(text, 'z', BIG);
    text[BIG] = 0;
    for (int i = 0; i < BIG_COUNT; i++) {
        text[0] = (char)('0' + i % 10);
        fake_deliver((struct xs_conn *)arg, text, 0);
    }
    free(text);
}

/* The gate: a slow reader pings while a frame is half written; the PONG may not land inside the
 * frame. */
static void pong_never_lands_inside_a_frame(void **state)
{
    (void)state;
    fake.limits.queue_hard_bytes = 64 << 20;
    start();
    int fd = client_ws(NULL);
    assert_true(fake_wait(&fake.conn_count, 1));
    fake_post(deliver_big, &fake.conns[0]);
    int pings = 0, pongs = 0, texts = 0;
    for (; pings < 3; pings++) {
        poll(NULL, 0, 50);
        client_send(fd, 0x89, "mid", 3);
    }
    while (texts < BIG_COUNT || pongs < 1) {
        char *data;
        size_t len;
        int op = client_read(fd, &data, &len);
        if (op == 1) {
            assert_int_equal(len, BIG);
            assert_int_equal(data[0], '0' + texts % 10);
            for (size_t i = 1; i < len; i++)
                if (data[i] != 'z')
                    fail_msg("byte %zu of frame %d is %d", i, texts, data[i]);
            texts++;
        } else {
            assert_int_equal(op, 10);
            assert_string_equal(data, "mid");
            pongs++;
        }
        free(data);
        if (texts < BIG_COUNT) {
            client_send(fd, 0x89, "mid", 3);
            poll(NULL, 0, 20);
        }
    }
    close(fd);
    assert_true(fake_wait(&fake.gone_count, 1));
    xs_transport_stats stats;
    fake.ops->stats(fake.state, &stats);
    assert_true(stats.partial_writes > 0);
    stop();
}

static void deliver_until_full(void *arg)
{
    char text[1024];
    memset(text, 'q', sizeof text - 1);
    text[sizeof text - 1] = 0;
    unsigned *sent = (unsigned *)arg;
    xs_deliver_result r = XS_SENT;
    bool queued = false;
    while (r != XS_FULL && *sent < 100000) {
        r = fake_deliver(&fake.conns[0], text, 0);
        queued = queued || r == XS_QUEUED;
        ++*sent;
    }
    assert_true(queued);
    fake_deliver(&fake.conns[1], "still here", 0);
}

static void slow_client_is_closed_others_go_on(void **state)
{
    (void)state;
    fake.limits.ping_ms = 400;
    fake.limits.pong_timeout_ms = 60000;
    start();
    int slow = client_ws(NULL);
    assert_true(fake_wait(&fake.conn_count, 1));
    int good = client_ws(NULL);
    assert_true(fake_wait(&fake.conn_count, 2));
    unsigned sent = 0;
    fake_post(deliver_until_full, &sent);
    expect_text(good, "still here");
    assert_true(sent < 100000);
    assert_true(fake_wait(&fake.gone_count, 1)); /* never read: cut two seconds after the 1013 */
    assert_int_equal(fake.conns[0].gone_code, 1013);
    xs_transport_stats stats = {.queued_bytes = 1};
    for (int i = 0; i < 200 && stats.queued_bytes; i++) { /* counters may lag behind gone */
        fake.ops->stats(fake.state, &stats);
        usleep(stats.queued_bytes ? 10000 : 0);
    }
    assert_int_equal(stats.slow_closed, 1);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.queued_bytes, 0);
    close(slow);
    close(good);
    stop();
}

static void silent_client_is_pinged_and_dropped(void **state)
{
    (void)state;
    fake.limits.ping_ms = 100;
    fake.limits.pong_timeout_ms = 300;
    start();
    int fd = client_ws(NULL);
    char *data;
    size_t len;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(client_read(fd, &data, &len), 9);
        client_send(fd, 0x8A, data, len);
        free(data);
    }
    assert_int_equal(fake.gone_count, 0);
    assert_int_equal(client_read(fd, &data, &len), 9); /* this one stays unanswered */
    free(data);
    expect_end(fd);
    assert_true(fake_wait(&fake.gone_count, 1));
    assert_int_equal(fake.conns[0].gone_code, 1006);
    stop();
}

static void resume_first(void *arg)
{
    (void)arg;
    fake.ops->resume(fake.state, fake.conns[0].peer);
}

static void stop_and_resume_reading(void **state)
{
    (void)state;
    fake.stop_one = true;
    start();
    int fd = client_ws(NULL);
    char burst[256];
    size_t n = 0;
    for (int i = 0; i < 10; i++)
        n += make_frame(burst + n, 0x81, "{}", 2);
    send_full(fd, burst, n);
    assert_true(fake_wait(&fake.frame_count, 1));
    poll(NULL, 0, 100);
    assert_int_equal(fake.frame_count, 1);
    fake_post(resume_first, NULL);
    assert_true(fake_wait(&fake.frame_count, 10));
    assert_int_equal(fake.frame_count, 10);
    end_client(fd);
    stop();
}

static void drain_now(void *arg)
{
    fake.ops->drain(fake.state, *(uint32_t *)arg);
}

static void drain_tells_everyone_1012(void **state)
{
    (void)state;
    enum { N = 10 };
    start();
    int fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = client_ws(NULL);
    assert_true(fake_wait(&fake.conn_count, N));
    uint32_t deadline = 1000;
    int64_t before = transport_mono_ms();
    fake_post(drain_now, &deadline);
    int64_t first = 0, last = 0;
    struct pollfd polls[N];
    for (int i = 0; i < N; i++)
        polls[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    for (int left = N; left;) {
        assert_true(poll(polls, N, 5000) > 0);
        for (int i = 0; i < N; i++) {
            if (polls[i].fd < 0 || !polls[i].revents)
                continue;
            expect_close(fds[i], 1012);
            client_send(fds[i], 0x88, "\x03\xf4", 2);
            expect_end(fds[i]);
            last = transport_mono_ms();
            first = first ? first : last;
            polls[i].fd = -1;
            left--;
        }
    }
    assert_true(last - before <= 1100);
    assert_true(last - first >= 400);
    /* Late arrivals are told the same. */
    int fd = client_ws(NULL);
    expect_close(fd, 1012);
    close(fd);
    assert_true(fake_wait(&fake.gone_count, N));
    stop();
}

static void not_an_upgrade_is_closed(void **state)
{
    (void)state;
    start();
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    set_timeout(pair[0]);
    static const char head[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    fake.ops->adopt(fake.state, pair[1], head, sizeof head - 1, fake_request("t"));
    char text[512];
    while (recv(pair[0], text, sizeof text, 0) > 0)
        continue;
    close(pair[0]);
    stop();
}

static void stop_cuts_what_is_open(void **state)
{
    (void)state;
    start();
    int a = client_ws(NULL), b = client_ws("tok");
    assert_true(fake_wait(&fake.conn_count, 2));
    fake_post(deliver_big, &fake.conns[0]);
    poll(NULL, 0, 50);
    stop();
    close(a);
    close(b);
}

static unsigned count_descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void no_descriptor_is_left(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    start();
    int a = client_ws(NULL), b = client_ws(NULL);
    end_client(a);
    assert_true(fake_wait(&fake.gone_count, 1));
    fake.ops->stop(fake.state);
    expect_end(b);
    stop();
    assert_int_equal(count_descriptors(), before - 1); /* the fake host's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(handshake_echoes_the_token, setup),
        cmocka_unit_test_setup(text_goes_both_ways, setup),
        cmocka_unit_test_setup(bad_frames_have_their_close_code, setup),
        cmocka_unit_test_setup(close_4000_is_echoed, setup),
        cmocka_unit_test_setup(refusal_is_a_frame_and_a_close, setup),
        cmocka_unit_test_setup(host_closes_even_silent_clients, setup),
        cmocka_unit_test_setup(pong_never_lands_inside_a_frame, setup),
        cmocka_unit_test_setup(slow_client_is_closed_others_go_on, setup),
        cmocka_unit_test_setup(silent_client_is_pinged_and_dropped, setup),
        cmocka_unit_test_setup(stop_and_resume_reading, setup),
        cmocka_unit_test_setup(drain_tells_everyone_1012, setup),
        cmocka_unit_test_setup(not_an_upgrade_is_closed, setup),
        cmocka_unit_test_setup(stop_cuts_what_is_open, setup),
        cmocka_unit_test_setup(no_descriptor_is_left, setup),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
