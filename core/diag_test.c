/* diag_test.c - order, printing and JSON of diagnostics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/diag.h"
#include "core/json.h"
#include "core/text.h"

static const char source_text[] = "function \"a\" {\n\t\xC3\xA9 $x|lenght\r\n}\n";

static Text source(void *ctx, const char *file)
{
    (void)ctx;
    return strcmp(file, "a.xs") == 0 ? TEXT("") : text_from(source_text);
}

static void prints(void **state)
{
    (void)state;
    Arena a;
    Buf out = BUF_INIT;
    DiagList d;
    arena_init(&a, 0);
    diag_init(&d, &a);
    xs_pos pos = {"b.xs", 2, 7, 6};
    diag_add(&d, SEV_ERROR, "unknown-filter", pos, TEXT("did you mean 'length'?"),
             "unknown filter '%s'", "lenght");
    diag_add(&d, SEV_ERROR, "unknown-filter", pos, (Text){0}, "dropped: same id and place");
    diag_add(&d, SEV_WARNING, "unused", (xs_pos){"b.xs", 1, 10, 0}, (Text){0}, "unused");
    diag_add(&d, SEV_WARNING, "empty", (xs_pos){"a.xs", 3, 1, 0}, (Text){0}, "no such line");
    diag_add(&d, SEV_ERROR, "project", XS_NO_POS, (Text){0}, "no position");
    diag_sort(&d);
    assert_int_equal(d.errors, 2);
    assert_int_equal(d.warnings, 2);
    diag_print(&d, source, NULL, false, &out);
    buf_char(&out, '\0');
    assert_string_equal(out.ptr, "error[project]: no position\n"
                                 "a.xs:3:1: warning[empty]: no such line\n"
                                 "  \n"
                                 "  ^\n"
                                 "b.xs:1:10: warning[unused]: unused\n"
                                 "  function \"a\" {\n"
                                 "           ^\n"
                                 "b.xs:2:7: error[unknown-filter]: unknown filter 'lenght'\n"
                                 "  \t\xC3\xA9 $x|lenght\n"
                                 "  \t     ^~~~~~\n"
                                 "  hint: did you mean 'length'?\n");
    out.len = 0;
    diag_json(&d, &out);
    buf_char(&out, '\0');
    assert_non_null(strstr(out.ptr, "{\"file\":\"b.xs\",\"line\":2,\"column\":7,\"length\":6,"
                                    "\"severity\":\"error\",\"id\":\"unknown-filter\","
                                    "\"message\":\"unknown filter 'lenght'\","
                                    "\"hint\":\"did you mean 'length'?\"}"));
    assert_non_null(strstr(out.ptr, "[{\"file\":null,\"line\":0"));
    out.len = 0;
    diag_print(&d, source, NULL, true, &out);
    buf_char(&out, '\0');
    assert_non_null(strstr(out.ptr, "\x1b[31m"));
    buf_deinit(&out);
    arena_deinit(&a);
}

static Text long_line(void *ctx, const char *file)
{
    (void)file;
    return *(Text *)ctx;
}

/* Long lines are cut, control characters hidden, floods counted. */
static void keeps_errors(void **state)
{
    (void)state;
    Arena a;
    Buf out = BUF_INIT;
    DiagList d;
    arena_init(&a, 0);
    diag_init(&d, &a);
    for (uint32_t line = 1; line <= 1500; line++)
        diag_add(&d, SEV_WARNING, "unused", (xs_pos){"w.xs", line, 1, 1}, (Text){0}, "unused");
    diag_add(&d, SEV_ERROR, "one", (xs_pos){"z.xs", 1, 1, 1}, (Text){0}, "the first");
    diag_add(&d, SEV_ERROR, "two", (xs_pos){"z.xs", 2, 1, 1}, (Text){0}, "the second");
    diag_sort(&d);
    diag_print(&d, source, NULL, false, &out);
    buf_char(&out, '\0');
    assert_non_null(strstr(out.ptr, "error[one]: the first"));
    assert_non_null(strstr(out.ptr, "error[two]: the second"));
    assert_non_null(strstr(out.ptr, "and 502 more\n"));
    buf_deinit(&out);
    arena_deinit(&a);
}

static void survives_hostile_sources(void **state)
{
    (void)state;
    Arena a;
    Buf out = BUF_INIT, line = BUF_INIT;
    DiagList d;
    arena_init(&a, 0);
    diag_init(&d, &a);
    for (int i = 0; i < 20000; i++)
        buf_cstr(&line, i % 7 ? "x" : "\x1b");
    Text text = buf_view(&line);
    for (uint32_t i = 0; i < 3000; i++)
        diag_add(&d, SEV_ERROR, "bad", (xs_pos){"f.xs", 1, i * 10 + 1, 50000}, (Text){0}, "bad");
    diag_sort(&d);
    diag_print(&d, long_line, &text, false, &out);
    assert_int_equal(d.errors, 3000);
    assert_in_range(out.len, 1000, 1500000);
    assert_null(memchr(out.ptr, 0x1b, out.len));
    buf_deinit(&out);
    buf_deinit(&line);
    arena_deinit(&a);
}

/* What other tools read is well-formed whatever the messages hold. */
static void test_other_formats(void **state)
{
    (void)state;
    Arena a;
    DiagList d;
    Buf out = BUF_INIT;
    xs_error err;
    arena_init(&a, 0);
    diag_init(&d, &a);
    xs_pos pos = {"dir/a,b:c.xs", 3, 5, 2};
    diag_add(&d, SEV_ERROR, "unknown-filter", pos, TEXT("50% \"quoted\""), "one\nline: two, \x01");
    diag_add(&d, SEV_WARNING, "empty-file", XS_NO_POS, (Text){0}, "no place");
    diag_sarif(&d, &out);
    const Const *log = json_parse(&a, buf_view(&out), &err);
    assert_non_null(log);
    assert_true(text_find(buf_view(&out),
                          TEXT("\"region\":{\"startLine\":3,\"startColumn\":5,\"endColumn\":7}"),
                          0) != SIZE_MAX);
    out.len = 0;
    diag_github(&d, &out);
    assert_true(text_eq(buf_view(&out),
                        TEXT("::error file=dir/a%2Cb%3Ac.xs,line=3,col=5,endColumn=7,title=unknown-"
                             "filter::one%0Aline: two, %01%0Ahint: 50%25 \"quoted\"\n"
                             "::warning title=empty-file::no place\n")));
    buf_deinit(&out);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_formats),
        cmocka_unit_test(prints),
        cmocka_unit_test(keeps_errors),
        cmocka_unit_test(survives_hostile_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
