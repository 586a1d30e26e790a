/* proxies_test.c - networks, and who is behind them. */
#include "host/proxies.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/text.h"

static void test_networks(void **state)
{
    (void)state;
    static const struct {
        const char *list, *address;
        bool has;
    } cases[] = {
        {"", "127.0.0.1", false},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8, 192.168.4.0/22", "192.168.7.255", true},
        {"10.0.0.0/8, 192.168.4.0/22", "192.168.8.0", false},
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "203.0.113.9", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},
        {"::1", "", false},
        {"::1", "localhost", false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        xs_error err;
        Proxies *p = proxies_new(text_from(cases[i].list), &err);
        assert_non_null(p);
        if (proxies_has(p, text_from(cases[i].address)) != cases[i].has)
            fail_msg("%s in %s", cases[i].address, cases[i].list);
        proxies_free(p);
    }
    static const char *const bad[] = {"x", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/",   "::/129",
                                      ",", "10.0.0/8",    "::1 ::2",     "10.0.0.0/8x", "[::1]"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        xs_error err = {0};
        assert_null(proxies_new(text_from(bad[i]), &err));
        assert_int_equal(err.code, XS_E_CONFIG);
    }
    assert_int_equal(mem_in_use(), 0);
}

static void test_clients(void **state)
{
    (void)state;
    static const struct {
        const char *forwarded, *client;
    } cases[] = {
        {"", "10.0.0.1"},
        {"203.0.113.7", "203.0.113.7"},
        {" 198.51.100.1 ,203.0.113.7 ", "203.0.113.7"}, /* what it says itself does not count */
        {"198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"},
        {"10.0.0.9, 10.0.0.8", "10.0.0.9"},
        {"203.0.113.7:5123", "203.0.113.7"},
        {"[2001:db8::7]:5123", "2001:db8::7"},
        {"2001:db8::7", "2001:db8::7"},
        {"unknown", "10.0.0.1"},
        {"203.0.113.7, unknown", "10.0.0.1"},
        {"unknown, 10.0.0.9", "10.0.0.9"},
        {"203.0.113.7,", "10.0.0.1"},
        {",,,", "10.0.0.1"},
        {"[", "10.0.0.1"},
    };
    xs_error err;
    Arena a;
    Proxies *p = proxies_new(TEXT("10.0.0.0/8"), &err);
    assert_non_null(p);
    arena_init(&a, 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Text got = proxies_client(p, &a, TEXT("10.0.0.1"), text_from(cases[i].forwarded));
        if (!text_eq(got, text_from(cases[i].client)))
            fail_msg("'%s' gives %.*s", cases[i].forwarded, (int)got.len, got.ptr);
    }
    arena_deinit(&a);
    proxies_free(p);
    assert_int_equal(mem_in_use(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_networks),
                                       cmocka_unit_test(test_clients)};
    return cmocka_run_group_tests_name("proxies", tests, NULL, NULL);
}
