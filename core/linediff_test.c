/* linediff_test.c - differences of texts, as printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/linediff.h"
#include "core/mem.h"

typedef struct Case {
    const char *a, *b, *want;
} Case;

static const Case cases[] = {
    {"a", "a", "  …\n"},
    {"a", "b", "- a\n+ b\n"},
    {"", "b", "- \n+ b\n"},
    {"a\nb\nc", "a\nx\nc", "  a\n- b\n+ x\n  c\n"},
    {"1\n2\n3\n4\n5", "1\n2\n3\n4\n5\n6", "  …\n  4\n  5\n+ 6\n"},
    {"1\n2\n3\n4\n5\n6", "0\n2\n3\n4\n5\n6", "- 1\n+ 0\n  2\n  3\n  …\n"},
    {"x\n1\n2\n3\n4\n5\ny", "z\n1\n2\n3\n4\n5", "- x\n+ z\n  1\n  2\n  …\n  4\n  5\n- y\n"},
    {"a\nb", "b\na", "- a\n  b\n+ a\n"},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Buf out = BUF_INIT;
        line_diff(text_from(cases[i].a), text_from(cases[i].b), "", false, &out);
        buf_char(&out, '\0');
        assert_string_equal(out.ptr, cases[i].want);
        buf_deinit(&out);
    }
}

/* Too many lines for the table: nothing is lost. */
static void test_large(void **state)
{
    (void)state;
    Buf a = BUF_INIT, b = BUF_INIT, out = BUF_INIT;
    for (int i = 0; i < 3000; i++) {
        buf_printf(&a, "a%d\n", i);
        buf_printf(&b, "b%d\n", i);
    }
    line_diff(buf_view(&a), buf_view(&b), "| ", false, &out);
    size_t lines = 0;
    for (size_t i = 0; i < out.len; i++)
        lines += out.ptr[i] == '\n';
    assert_int_equal(lines, 6001); /* the end of both texts is "…" */
    buf_deinit(&a);
    buf_deinit(&b);
    buf_deinit(&out);
}

static void test_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 20; n++) {
        Buf out = BUF_INIT;
        mem_fail_after(n);
        line_diff(TEXT("a\nb\nc"), TEXT("a\nx\nc"), "", true, &out);
        mem_fail_after(0);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_large),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
