/* mem_test.c - clients that are callbacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transports/common/fake_host.h"

/* The plugin as it is linked into a binary. */
extern const xs_plugin xs_plugin_mem;

typedef struct Client {
    _Atomic unsigned frames, closes;
    int code;
    char last[64];
} Client;

static pthread_t thread;

static void *run_thread(void *arg)
{
    fake.ops->run(arg);
    return NULL;
}

static void start(void)
{
    xs_error err;
    fake.state = fake.ops->create(&fake.host, &err);
    assert_non_null(fake.state);
    assert_int_equal(pthread_create(&thread, NULL, run_thread, fake.state), 0);
}

static void stop(void)
{
    fake.ops->stop(fake.state);
    pthread_join(thread, NULL);
    assert_int_equal(fake.gone_count, fake.conn_count);
}

static void finish(void)
{
    fake.ops->destroy(fake.state);
    fake_deinit();
}

static int setup(void **state)
{
    (void)state;
    fake_init((const xs_transport_ops *)xs_plugin_mem.ops);
    return 0;
}

static void on_frame(void *ctx, const char *json, size_t len)
{
    Client *c = (Client *)ctx;
    pthread_mutex_lock(&fake.lock);
    c->frames++;
    snprintf(c->last, sizeof c->last, "%.*s", (int)len, json);
    pthread_mutex_unlock(&fake.lock);
}

static void on_close(void *ctx, int code)
{
    Client *c = (Client *)ctx;
    pthread_mutex_lock(&fake.lock);
    c->closes++;
    c->code = code;
    pthread_mutex_unlock(&fake.lock);
}

static void *join(Client *c, bool refuse)
{
    xs_request *req = fake_request(NULL);
    req->refuse = refuse;
    return fake.ops->mem_connect(fake.state, req, on_frame, on_close, c);
}

static void frames_both_ways(void **state)
{
    (void)state;
    Client c = {0};
    fake.echo = true;
    start();
    void *peer = join(&c, false);
    for (int i = 0; i < 100; i++)
        fake.ops->mem_send(fake.state, peer, "{\"n\":1}", 7);
    assert_true(fake_wait(&c.frames, 100));
    assert_string_equal(c.last, "{\"n\":1}");
    fake.ops->mem_close(fake.state, peer);
    assert_true(fake_wait(&c.closes, 1));
    assert_int_equal(c.code, 1000);
    stop();
    finish();
    assert_int_equal(c.closes, 1);
}

static void refused(void **state)
{
    (void)state;
    Client c = {0};
    start();
    void *peer = join(&c, true);
    assert_true(fake_wait(&c.closes, 1));
    assert_int_equal(c.code, 4401);
    fake.ops->mem_send(fake.state, peer, "{}", 2);
    fake.ops->mem_close(fake.state, peer);
    stop();
    finish();
    assert_int_equal(c.closes, 1);
    assert_int_equal(fake.frame_count, 0);
}

static void close_first(void *arg)
{
    fake.ops->close(fake.state, fake.conns[0].peer, *(int *)arg, "told to");
}

static void resume_first(void *arg)
{
    (void)arg;
    fake.ops->resume(fake.state, fake.conns[0].peer);
}

static void pause_keeps_the_order(void **state)
{
    (void)state;
    Client c = {0};
    int code = 1013;
    fake.stop_one = true;
    start();
    void *peer = join(&c, false);
    for (int i = 0; i < 10; i++)
        fake.ops->mem_send(fake.state, peer, "{}", 2);
    assert_true(fake_wait(&fake.frame_count, 1));
    poll(NULL, 0, 50);
    assert_int_equal(fake.frame_count, 1);
    fake_post(resume_first, NULL);
    assert_true(fake_wait(&fake.frame_count, 10));
    fake_post(close_first, &code);
    assert_true(fake_wait(&c.closes, 1));
    assert_int_equal(c.code, 1013);
    assert_int_equal(fake.conns[0].gone_code, 1013);
    fake.ops->mem_close(fake.state, peer);
    stop();
    finish();
}

static void stop_closes_everyone(void **state)
{
    (void)state;
    Client a = {0}, b = {0};
    start();
    void *first = join(&a, false), *second = join(&b, false);
    assert_true(fake_wait(&fake.conn_count, 2));
    stop();
    assert_int_equal(a.code, 1012);
    assert_int_equal(b.closes, 1);
    fake.ops->mem_close(fake.state, first);
    fake.ops->mem_close(fake.state, second);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(frames_both_ways, setup),
        cmocka_unit_test_setup(refused, setup),
        cmocka_unit_test_setup(pause_keeps_the_order, setup),
        cmocka_unit_test_setup(stop_closes_everyone, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
