/* config_test.c - sources and their order, values, mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/text.h"
#include "host/config.h"

static void test_defaults(void **state)
{
    (void)state;
    Config c;
    xs_error err;
    assert_true(config_init(&c, &err));
    assert_true(text_eq(c.listen, TEXT("127.0.0.1:8080")));
    assert_int_equal(c.max_body, 32 << 20);
    assert_false(c.allow_destructive);
    config_deinit(&c);
}

static void test_order_of_sources(void **state)
{
    (void)state;
    Config c;
    xs_error err;
    assert_true(config_init(&c, &err));
    char a0[] = "serve", a1[] = "--workers", a2[] = "3", a3[] = "app", a4[] = "--allow-destructive",
         a5[] = "--realtime-max-event=1m", a6[] = "--json", a7[] = "--no-metrics";
    char *argv[] = {a0, a1, a2, a3, a4, a5, a6, a7, NULL};
    char e0[] = "XS_WORKERS=5", e1[] = "XS_QUEUE=7", e2[] = "HOME=/",
         e3[] = "XS_REALTIME_RING_EVENTS=9", e4[] = "XS_SOMETHING_ELSE_ENTIRELY=1";
    char *env[] = {e0, e1, e2, e3, e4, NULL};
    static const char *const others[] = {"--json", NULL};
    int argc = 8;
    assert_true(config_load(&c, &argc, argv, others, env, &err));
    assert_int_equal(argc, 3);
    assert_string_equal(argv[1], "app");
    assert_string_equal(argv[2], "--json");
    assert_null(argv[3]);
    assert_int_equal(c.workers, 3);
    assert_int_equal(c.queue, 7);
    assert_int_equal(c.rt_ring_events, 9);
    assert_int_equal(c.rt_max_event, 1 << 20);
    assert_true(c.allow_destructive);
    assert_false(c.metrics);
    /* A file read later does not override flags and environment. */
    assert_true(config_read(
        &c, "f", TEXT("workers = 8\nqueue=8\n# x\n\nsteps = 10 # ten\ntenant = \"a # b\"\n"),
        &err));
    assert_int_equal(c.workers, 3);
    assert_int_equal(c.queue, 7);
    assert_int_equal(c.steps, 10);
    assert_true(text_eq(c.tenant, TEXT("a # b")));
    config_deinit(&c);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *file, *message;
    } cases[] = {
        {"workers = many", "f:1: 'many' is no value of workers: a number 0..256"},
        {"\nworkers = 300", "f:2: '300' is no value of workers: a number 0..256"},
        {"log_level = loud",
         "f:1: 'loud' is no value of log_level: one of error|warning|info|debug"},
        {"metrics = 2", "f:1: '2' is no value of metrics: true or false"},
        {"max_body = 2x", "f:1: '2x' is no value of max_body: a size such as 64k 0..1g"},
        {"max_body = 99999999999999999999", NULL},
        {"max_body = 9223372036854775807g", NULL},
        {"worker = 3", "f:1: unknown option 'worker'; did you mean 'workers'?"},
        {"xyzzy = 3", "f:1: unknown option 'xyzzy'"},
        {"workers", "f:1: expected 'key = value'"},
        {"= 3", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Config c;
        xs_error err = {0};
        assert_true(config_init(&c, &err));
        assert_false(config_read(&c, "f", text_from(cases[i].file), &err));
        assert_int_equal(err.code, XS_E_CONFIG);
        if (cases[i].message)
            assert_string_equal(err.message, cases[i].message);
        config_deinit(&c);
    }
}

static void test_bad_flags(void **state)
{
    (void)state;
    static const struct {
        const char *flag, *message;
    } cases[] = {
        {"--lisen", "unknown option '--lisen'; did you mean '--listen'?"},
        {"--listen", "--listen needs a value"},
        {"--workers=x", "--workers=x: 'x' is no value of workers: a number 0..256"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Config c;
        xs_error err = {0};
        assert_true(config_init(&c, &err));
        char name[] = "serve";
        char *flag = mem_strndup(cases[i].flag, strlen(cases[i].flag));
        char *argv[] = {name, flag, NULL};
        int argc = 2;
        assert_false(config_load(&c, &argc, argv, NULL, NULL, &err));
        assert_string_equal(err.message, cases[i].message);
        mem_free(flag);
        config_deinit(&c);
    }
    Config c;
    xs_error err = {0};
    assert_true(config_init(&c, &err));
    char e0[] = "XS_LISTN=x";
    char *env[] = {e0, NULL};
    char name[] = "serve";
    char *argv[] = {name, NULL};
    int argc = 1;
    assert_false(config_load(&c, &argc, argv, NULL, env, &err));
    assert_string_equal(err.message,
                        "environment: unknown option 'XS_LISTN'; did you mean 'XS_LISTEN'?");
    config_deinit(&c);
}

static void test_help_names_every_option(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    config_help(&b);
    assert_false(b.failed);
    static const char *const some[] = {"--listen ADDR:PORT", "--realtime-publish-keys", "[32m]",
                                       "--auth-secret KEY"};
    for (size_t i = 0; i < COUNT_OF(some); i++)
        assert_true(text_find(buf_view(&b), text_from(some[i]), 0) != SIZE_MAX);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_order_of_sources),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_bad_flags),
        cmocka_unit_test(test_help_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
