/* num_test.c - numbers to text and back. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/num.h"

static void writes_decimals(void **state)
{
    (void)state;
    static const struct {
        double d;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "0"},
        {3.0, "3"},
        {-2.5, "-2.5"},
        {1234567.891, "1234567.891"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.00001, "1.0e-5"},
        {1.5e-7, "1.5e-7"},
        {-1.5e-7, "-1.5e-7"},
        {1e15, "1000000000000000"},
        {1e16, "10000000000000000"},
        {1.5e16, "15000000000000000"},
        {1e17, "1.0e+17"},
        {1e20, "1.0e+20"},
        {1e300, "1.0e+300"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {5e-324, "5.0e-324"},
        {4.35, "4.35"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {9007199254740993.0, "9007199254740992"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {19.99, "19.99"},
        {999999999.999999, "999999999.999999"},
        {5.684341886080802e-14, "5.684341886080802e-14"},
        {(double)NAN, "null"},
        {(double)INFINITY, "null"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char out[NUM_TEXT_MAX + 1];
        out[num_write_dec(cases[i].d, out)] = '\0';
        assert_string_equal(out, cases[i].text);
    }
}

/* Any double reads back from its text, no shorter text of up to 17 digits would have done, in any
 * locale. */
static void round_trips(void **state)
{
    (void)state;
    uint64_t seed = 42;
    setlocale(LC_NUMERIC, "de_DE.UTF-8"); /* a decimal comma, when the machine has it */
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = seed ^ seed >> 29;
        double d, back;
        if (i % 4 == 0)
            bits &= 0xFFF0000000000000u; /* powers of two */
        memcpy(&d, &bits, sizeof d);
        if (i % 4 == 1)
            d = (double)(int64_t)(seed >> 40) / 100;
        if (!isfinite(d))
            continue;
        char out[NUM_TEXT_MAX];
        size_t len = num_write_dec(d, out);
        assert_in_range(len, 1, NUM_TEXT_MAX);
        assert_true(num_parse_dec((Text){out, len}, &back));
        assert_true(back <= d && back >= d);
    }
    setlocale(LC_NUMERIC, "C");
}

static void reads_decimals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        double d;
    } cases[] = {
        {"0", true, 0},
        {"12.5", true, 12.5},
        {"+3", true, 3},
        {"-.5", true, -0.5},
        {"5.", true, 5},
        {"1e3", true, 1000},
        {"1E-3", true, 0.001},
        {"1e400", false, 0},
        {"-1e400", false, 0},
        {"1e-400", true, 0},
        {"0e99999999999999999999", true, 0},
        {"1e-99999999999999999999", true, 0},
        {"1e99999999999999999999", false, 0},
        {"9007199254740993", true, 9007199254740992.0},
        {"9007199254740993.00000000000000000000000000001", true, 9007199254740994.0},
        {"0.1", true, 0.1},
        {"", false, 0},
        {"-", false, 0},
        {".", false, 0},
        {"1.2.3", false, 0},
        {"1e", false, 0},
        {"1e+", false, 0},
        {" 1", false, 0},
        {"0x10", false, 0},
        {"inf", false, 0},
        {"nan", false, 0},
        {"1,5", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        double d = 77;
        bool ok = num_parse_dec(text_from(cases[i].text), &d);
        if (ok != cases[i].ok || (ok && (d < cases[i].d || d > cases[i].d)))
            fail_msg("%s: %d %.17g", cases[i].text, ok, d);
    }
}

/* 1 followed by many zeros and digits past the kept ones: rounds like the exact value. */
static void reads_long_decimals(void **state)
{
    (void)state;
    enum { LONG = 5000 };
    char *text = malloc(LONG + 16);
    assert_non_null(text);
    memset(text, '0', LONG);
    text[0] = '1';
    snprintf(text + LONG, 16, "e-%d", LONG - 1);
    double d = 0;
    assert_true(num_parse_dec(text_from(text), &d));
    assert_true(d <= 1 && d >= 1);
    memset(text, '9', LONG);
    assert_true(num_parse_dec(text_from(text), &d));
    assert_true(d <= 10 && d >= 10);
    memcpy(text, "0.", 2);
    memset(text + 2, '0', LONG - 3);
    text[LONG - 1] = '1';
    snprintf(text + LONG, 16, "e%d", LONG - 2);
    assert_true(num_parse_dec(text_from(text), &d));
    assert_true(d <= 1 && d >= 1);
    free(text);
}

static void reads_ints(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t n;
    } cases[] = {
        {"0", true, 0},
        {"-7", true, -7},
        {"+7", true, 7},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"1a", false, 0},
        {"1.0", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t n = 77;
        bool ok = num_parse_int(text_from(cases[i].text), &n);
        if (ok != cases[i].ok || (ok && n != cases[i].n))
            fail_msg("%s: %d %lld", cases[i].text, ok, (long long)n);
        char out[NUM_TEXT_MAX + 1];
        if (ok && cases[i].text[0] != '+' && cases[i].text[0] != '0') {
            out[num_write_int(n, out)] = '\0';
            assert_string_equal(out, cases[i].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_decimals),     cmocka_unit_test(round_trips),
        cmocka_unit_test(reads_decimals),      cmocka_unit_test(reads_ints),
        cmocka_unit_test(reads_long_decimals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
