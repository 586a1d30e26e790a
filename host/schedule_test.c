/* schedule_test.c - when tasks are due. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/text.h"
#include "host/schedule.h"

static void test_next_time(void **state)
{
    (void)state;
    static const struct {
        const char *entry;
        int64_t now, next;
    } cases[] = {
        {"{\"starts_on\":1000}", 0, 1000},
        {"{\"starts_on\":1000}", 999, 1000},
        {"{\"starts_on\":1000}", 1000, -1},
        {"{\"starts_on\":1000,\"freq\":1}", 1000, 2000},
        {"{\"starts_on\":1000,\"freq\":1}", 1999, 2000},
        {"{\"starts_on\":1000,\"freq\":60}", 1000000, 1021000},
        {"{\"starts_on\":1000,\"freq\":60,\"ends_on\":1021000}", 1000000, 1021000},
        {"{\"starts_on\":1000,\"freq\":60,\"ends_on\":1020999}", 1000000, -1},
        {"{\"starts_on\":1000,\"ends_on\":500}", 0, -1},
        {"{\"starts_on\":1000,\"freq\":-5}", 2000, -1},
        {"{\"starts_on\":-5000,\"freq\":2}", 0, 1000},
        {"{\"starts_on\":0,\"freq\":9223372036854775807}", 5, -1},
        {"{\"starts_on\":0,\"freq\":9000000000000000}", 5, 9000000000000000000},
    };
    Arena a;
    arena_init(&a, 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        TaskTimes t;
        assert_true(task_times_read(json_parse(&a, text_from(cases[i].entry), NULL), &t));
        if (task_times_next(&t, cases[i].now) != cases[i].next)
            fail_msg("case %zu", i);
    }
    TaskTimes t;
    assert_false(task_times_read(json_parse(&a, TEXT("{\"freq\":5}"), NULL), &t));
    assert_false(task_times_read(json_parse(&a, TEXT("{\"starts_on\":\"noon\"}"), NULL), &t));
    assert_false(task_times_read(NULL, &t));
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_next_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
