/* door_test.c - more realtime clients than may come in: the others wait, nobody is refused. Heads
 * that take too long. */
#include "host/door.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/text.h"

enum { PER_S = 100, CROWD = 400, LOOP_MAX_MS = 20000, SLACK_MS = 50 };

typedef struct Counter {
    Door *door;
    size_t seen;
    int64_t first_us, last_us;
    bool handshakes;
} Counter;

static void on_visitor(void *ctx, int fd, Text head, const struct sockaddr *addr, socklen_t len)
{
    (void)head;
    (void)addr;
    (void)len;
    Counter *c = ctx;
    c->last_us = clock_mono_us();
    if (!c->seen++)
        c->first_us = c->last_us;
    close(fd);
    if (c->handshakes)
        door_handshake(c->door);
}

static int dial_with(int port, const char *head)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    assert_int_equal(send(fd, head, strlen(head), MSG_NOSIGNAL), strlen(head));
    return fd;
}

static int dial(int port)
{
    return dial_with(port, "GET / HTTP/1.1\r\n\r\n");
}

/* How long the last of the crowd waited behind the first. */
static int64_t admit_all(bool handshakes, uint64_t *pauses)
{
    xs_error err = {0};
    int fds[CROWD];
    struct event_base *base = event_base_new();
    Counter c = {.handshakes = handshakes};
    DoorOptions opt = {.listen = TEXT("127.0.0.1:0"),
                       .head_max = 4096,
                       .head_timeout_ms = LOOP_MAX_MS,
                       .max_pending = 1000,
                       .handshakes_per_s = PER_S};
    assert_non_null(base);
    c.door = door_new(base, &opt, on_visitor, &c, &err);
    assert_non_null(c.door);
    for (size_t i = 0; i < CROWD; i++)
        fds[i] = dial(door_port(c.door));
    int64_t until = clock_mono_us() + LOOP_MAX_MS * 1000;
    while (c.seen < CROWD && clock_mono_us() < until)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(c.seen, CROWD);
    *pauses = door_pauses(c.door);
    for (size_t i = 0; i < CROWD; i++)
        close(fds[i]);
    door_free(c.door);
    event_base_free(base);
    return (c.last_us - c.first_us) / 1000;
}

static void test_handshakes_wait(void **state)
{
    (void)state;
    uint64_t pauses;
    /* One second's worth at once, one turn of accepting past it, the rest as they may come. */
    int64_t least = (int64_t)(CROWD - PER_S - 2 * 64) * 1000 / PER_S - SLACK_MS;
    assert_true(admit_all(true, &pauses) >= least);
    assert_true(pauses >= 1);
}

static void test_others_do_not(void **state)
{
    (void)state;
    uint64_t pauses;
    assert_true(admit_all(false, &pauses) < 1000);
    assert_int_equal(pauses, 0);
}

/* A byte now and then does not make a head's time longer. */
static void test_dripping(void **state)
{
    (void)state;
    enum { HEAD_MS = 200, DRIP_MS = 50, DRIPS = 40 };
    xs_error err = {0};
    struct event_base *base = event_base_new();
    Counter c = {0};
    DoorOptions opt = {.listen = TEXT("127.0.0.1:0"),
                       .head_max = 4096,
                       .head_timeout_ms = HEAD_MS,
                       .max_pending = 10};
    assert_non_null(base);
    c.door = door_new(base, &opt, on_visitor, &c, &err);
    assert_non_null(c.door);
    int fd = dial_with(door_port(c.door), "GET / HTTP/1.1\r\nX: ");
    struct timeval drip = {.tv_usec = DRIP_MS * 1000};
    int drips = 0;
    for (; drips < DRIPS && !door_timeouts(c.door); drips++) {
        event_base_loopexit(base, &drip);
        event_base_dispatch(base);
        (void)!send(fd, "a", 1, MSG_NOSIGNAL);
    }
    assert_int_equal(door_timeouts(c.door), 1);
    assert_true(drips >= HEAD_MS / DRIP_MS - 1);
    assert_int_equal(c.seen, 0);
    close(fd);
    door_free(c.door);
    event_base_free(base);
}

static size_t little_room(void *ctx)
{
    (void)ctx;
    return 2;
}

/* There are descriptors for two: the third waits until one of them has gone. */
static void test_room(void **state)
{
    (void)state;
    enum { VISITORS = 3, TURNS = 20 };
    xs_error err = {0};
    struct event_base *base = event_base_new();
    Counter c = {0};
    int fds[VISITORS];
    DoorOptions opt = {.listen = TEXT("127.0.0.1:0"),
                       .head_max = 4096,
                       .head_timeout_ms = LOOP_MAX_MS,
                       .max_pending = 1000,
                       .room = little_room};
    struct timeval tick = {.tv_usec = 10000};
    assert_non_null(base);
    c.door = door_new(base, &opt, on_visitor, &c, &err);
    assert_non_null(c.door);
    for (size_t i = 0; i < VISITORS; i++)
        fds[i] = dial_with(door_port(c.door), "GET / HT");
    for (size_t i = 0; i < TURNS; i++) {
        event_base_loopexit(base, &tick);
        event_base_dispatch(base);
    }
    assert_int_equal(door_accepted(c.door), 2);
    close(fds[0]);
    for (size_t i = 0; i < TURNS; i++) {
        event_base_loopexit(base, &tick);
        event_base_dispatch(base);
    }
    assert_int_equal(door_accepted(c.door), VISITORS);
    for (size_t i = 1; i < VISITORS; i++)
        close(fds[i]);
    door_free(c.door);
    event_base_free(base);
}

/* Those who say nothing do not keep others out for longer than a second. */
static void test_silent_crowd(void **state)
{
    (void)state;
    enum { SILENT = 10, FAIR_MS = 1000 };
    xs_error err = {0};
    struct event_base *base = event_base_new();
    Counter c = {0};
    int fds[SILENT];
    DoorOptions opt = {.listen = TEXT("127.0.0.1:0"),
                       .head_max = 4096,
                       .head_timeout_ms = LOOP_MAX_MS,
                       .max_pending = SILENT};
    assert_non_null(base);
    c.door = door_new(base, &opt, on_visitor, &c, &err);
    assert_non_null(c.door);
    int64_t began = clock_mono_us();
    for (size_t i = 0; i < SILENT; i++)
        fds[i] = dial_with(door_port(c.door), i ? "" : "GET /");
    struct timeval while_alone = {.tv_usec = (FAIR_MS + 200) * 1000 % 1000000,
                                  .tv_sec = (FAIR_MS + 200) / 1000};
    event_base_loopexit(base, &while_alone);
    event_base_dispatch(base);
    assert_int_equal(door_timeouts(c.door), 0); /* nobody wants a place */
    int fd = dial(door_port(c.door));
    while (!c.seen && clock_mono_us() - began < LOOP_MAX_MS * 1000)
        event_base_loop(base, EVLOOP_ONCE);
    int64_t took_ms = (clock_mono_us() - began) / 1000;
    assert_in_range(took_ms, FAIR_MS - SLACK_MS, LOOP_MAX_MS / 2);
    assert_int_equal(door_timeouts(c.door), 1);
    char answer[64] = "";
    assert_true(recv(fds[0], answer, sizeof answer - 1, 0) > 0); /* the oldest, and why */
    assert_memory_equal(answer, "HTTP/1.1 408 ", 13);
    for (size_t i = 0; i < SILENT; i++)
        close(fds[i]);
    close(fd);
    door_free(c.door);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshakes_wait), cmocka_unit_test(test_others_do_not),
        cmocka_unit_test(test_dripping),        cmocka_unit_test(test_room),
        cmocka_unit_test(test_silent_crowd),
    };
    return cmocka_run_group_tests_name("door", tests, NULL, NULL);
}
