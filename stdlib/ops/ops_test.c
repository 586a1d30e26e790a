/* ops_test.c - statements on texts, arrays and objects, called with plain arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/tables.h"
#include "stdlib/registry.h"

typedef struct Case {
    const char *statement, *args, *want; /* JSON list of arguments; JSON result or error:symbol */
} Case;

static const Case cases[] = {
    {"text.trim", "[\"  a \",\"\"]", "\"a\""},
    {"text.trim", "[null,\"x\"]", "\"\""},
    {"text.trim", "[[\" a\"],null]", "[\"a\"]"},
    {"text.ltrim", "[\"xxa\",\"x\"]", "\"a\""},
    {"text.rtrim", "[\"axx\",\"x\"]", "\"a\""},
    {"text.contains", "[\"Room\",\"oo\"]", "true"},
    {"text.icontains", "[\"Room\",\"RO\"]", "true"},
    {"text.starts_with", "[\"Room\",\"ro\"]", "false"},
    {"text.istarts_with", "[\"Room\",\"ro\"]", "true"},
    {"text.ends_with", "[\"Room\",\"om\"]", "true"},
    {"text.iends_with", "[\"Room\",\"OM\"]", "true"},
    {"text.contains", "[{\"a\":1},\"x\"]", "error:not_text"},
    {"object.keys", "[{\"b\":1,\"a\":2}]", "[\"b\",\"a\"]"},
    {"object.values", "[{\"b\":1,\"a\":2}]", "[1,2]"},
    {"object.entries", "[{\"b\":1}]", "[{\"key\":\"b\",\"value\":1}]"},
    {"object.keys", "[5]", "error:not_array"},
    {"array.union", "[[1,2,1],[2,\"3\",3]]", "[1,2,\"3\"]"},
    {"array.intersection", "[[1,2,2,3],[3,\"2\"]]", "[2,3]"},
    {"array.difference", "[[1,2,1,3],[3]]", "[1,2]"},
    {"array.union", "[null,null]", "[]"},
    {"array.difference", "[[1],5]", "error:not_array"},
    {"array.union", "[[{\"id\":1,\"v\":1}],[{\"id\":1,\"v\":2},{\"id\":2,\"v\":3}],[[1],[1,2]]]",
     "[{\"id\":1,\"v\":1},{\"id\":2,\"v\":3}]"},
    {"array.difference", "[[1,2],[2],[[1],[2]]]", "error:bad_arg"},
    {"array.difference", "[[1,2],[2],7]", "error:bad_arg"},
};

static bool run(const Case *c)
{
    Heap *h = heap_new(0);
    xs_error err = {0};
    void *site = NULL;
    const void *row = NULL;
    StatementFn fn = stdlib_natives.statement(text_from(c->statement), &row);
    assert_non_null(fn);
    Value args = val_parse_json(h, text_from(c->args), &err);
    assert_int_equal(args.kind, V_LIST);
    Call call = {
        .heap = h,
        .name = c->statement,
        .row = row,
        .args = args.list->items + args.list->start,
        .nargs = args.list->len,
        .site = &const_null,
        .site_data = &site,
        .ret = val_null(),
        .err = &err,
        .thrown = val_unset(),
        .temps = val_unset(),
    };
    Buf out = BUF_INIT;
    if (fn(&call) == NATIVE_OK)
        assert_true(val_write_json(call.ret, &out));
    else
        buf_printf(&out, "error:%s", xs_code_get(err.code)->symbol);
    call_end(&call);
    bool ok = text_eq(buf_view(&out), text_from(c->want));
    if (!ok)
        print_error("%s %s: want %s, got " TEXT_FMT "\n", c->statement, c->args, c->want,
                    TEXT_ARG(buf_view(&out)));
    buf_deinit(&out);
    val_unref(h, call.ret);
    val_unref(h, args);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
    return ok;
}

static void test_cases(void **state)
{
    (void)state;
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        ok &= run(&cases[i]);
    assert_true(ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    tables_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
