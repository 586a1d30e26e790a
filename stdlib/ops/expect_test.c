/* expect_test.c - expectations with plain operands: what passes, and what failures say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/tables.h"
#include "stdlib/registry.h"

enum { NOW_MS = 1000000 };

typedef struct Case {
    const char *statement, *args; /* JSON list of arguments */
    const char *message;          /* NULL = passes */
} Case;

#define FAILED(name, text) name " failed - " text

static const Case cases[] = {
    {"to_equal", "[1,1.0]", NULL},
    {"to_equal", "[{\"a\":1,\"b\":[1,{\"c\":null}]},{\"b\":[1.0,{\"c\":null}],\"a\":1}]", NULL},
    {"to_equal", "[[],{}]", NULL},
    {"to_equal", "[2,3]", FAILED("to_equal", "expected value 3 does not equal 2")},
    {"to_equal", "[\"1\",1]", FAILED("to_equal", "expected value 1 does not equal \"1\"")},
    {"to_equal", "[true,1]", FAILED("to_equal", "expected value 1 does not equal true")},
    {"to_equal", "[{\"a\":1},{\"a\":1,\"b\":2}]",
     FAILED("to_equal", "expected value {\"a\":1,\"b\":2} does not equal {\"a\":1}")},
    {"to_equal", "[[1,2],[2,1]]", FAILED("to_equal", "expected value [2,1] does not equal [1,2]")},
    {"to_not_equal", "[1,2]", NULL},
    {"to_not_equal", "[[1],[1.0]]", FAILED("to_not_equal", "expected a value other than [1]")},
    {"to_be_true", "[true]", NULL},
    {"to_be_true", "[1]", FAILED("to_be_true", "expected value true does not equal 1")},
    {"to_be_false", "[false]", NULL},
    {"to_be_false", "[null]", FAILED("to_be_false", "expected value false does not equal null")},
    {"to_be_null", "[null]", NULL},
    {"to_be_null", "[0]", FAILED("to_be_null", "expected value null does not equal 0")},
    {"to_not_be_null", "[\"\"]", NULL},
    {"to_not_be_null", "[null]", FAILED("to_not_be_null", "expected a value other than null")},
    {"to_be_defined", "[null,true]", NULL},
    {"to_be_defined", "[null,false]",
     FAILED("to_be_defined", "expected a value but it is not defined")},
    {"to_not_be_defined", "[null,false]", NULL},
    {"to_not_be_defined", "[7,true]",
     FAILED("to_not_be_defined", "expected no value but 7 is defined")},
    {"to_be_empty", "[null]", NULL},
    {"to_be_empty", "[\"\"]", NULL},
    {"to_be_empty", "[[]]", NULL},
    {"to_be_empty", "[{}]", NULL},
    {"to_be_empty", "[0]", FAILED("to_be_empty", "expected an empty value but got 0")},
    {"to_be_greater_than", "[2,1]", NULL},
    {"to_be_greater_than", "[\"b\",\"a\"]", NULL},
    {"to_be_greater_than", "[1,1]",
     FAILED("to_be_greater_than", "expected a value greater than 1 but got 1")},
    {"to_be_greater_than", "[\"2\",1]",
     FAILED("to_be_greater_than", "expected a value greater than 1 but got \"2\"")},
    {"to_be_less_than", "[1.5,2]", NULL},
    {"to_be_less_than", "[null,2]",
     FAILED("to_be_less_than", "expected a value less than 2 but got null")},
    {"to_be_within", "[1,1,2]", NULL},
    {"to_be_within", "[2,1,2]", NULL},
    {"to_be_within", "[3,1,2]",
     FAILED("to_be_within", "expected a value between 1 and 2 but got 3")},
    {"to_start_with", "[\"room\",\"ro\"]", NULL},
    {"to_start_with", "[5,\"5\"]",
     FAILED("to_start_with", "expected a text that starts with \"5\" but got 5")},
    {"to_end_with", "[\"room\",\"om\"]", NULL},
    {"to_end_with", "[\"room\",\"ro\"]",
     FAILED("to_end_with", "expected a text that ends with \"ro\" but got \"room\"")},
    {"to_match", "[\"Room\",\"oo\"]", NULL},
    {"to_match", "[\"Room\",\"/^ROOM$/i\"]", NULL},
    {"to_match", "[\"Room\",\"^o\"]",
     FAILED("to_match", "expected a text that matches \"^o\" but got \"Room\"")},
    {"to_match", "[\"Room\",\"(\"]", "error:bad_regex"},
    {"to_contain", "[[1,{\"a\":2}],{\"a\":2.0}]", NULL},
    {"to_contain", "[\"room\",\"oo\"]", NULL},
    {"to_contain", "[[1],2]", FAILED("to_contain", "expected a value that contains 2 but got [1]")},
    {"to_be_in_the_past", "[1000000]", NULL},
    {"to_be_in_the_past", "[1000001]",
     FAILED("to_be_in_the_past", "expected a time in the past but got 1000001, now is 1000000")},
    {"to_be_in_the_past", "[null]",
     FAILED("to_be_in_the_past", "expected a time in the past but got null, now is 1000000")},
    {"to_be_in_the_future", "[\"2026-01-01\"]", NULL},
    {"to_be_in_the_future", "[\"soon\"]",
     FAILED("to_be_in_the_future",
            "expected a time in the future but got \"soon\", now is 1000000")},
    {"to_throw", "[null,null,null,{\"code\":\"X\",\"message\":\"m\"}]", NULL},
    {"to_throw", "[\"X\",null,null,{\"code\":\"X\",\"message\":\"m\"}]", NULL},
    {"to_throw", "[\"no SUCH\",null,null,{\"code\":\"X\",\"message\":\"There is no such room\"}]",
     NULL},
    {"to_throw",
     "[\"inputerror\",null,null,{\"code\":\"ERROR_CODE_INPUT_ERROR\",\"message\":\"m\"}]", NULL},
    {"to_throw", "[null,null,{\"a\":1},{\"code\":\"X\",\"message\":\"m\",\"result\":{\"a\":1}}]",
     NULL},
    {"to_throw", "[\"Y\",null,null,{\"code\":\"X\",\"message\":\"m\"}]",
     FAILED("to_throw", "expected error \"Y\" but got {\"code\":\"X\",\"message\":\"m\"}")},
    {"to_throw", "[\"Y\",null,null,null]", FAILED("to_throw", "response is ok")},
    {"to_have_published", "[\"c\",null,null,null,null]", "error:unsupported"},
};

static int64_t clock_of(void *ctx)
{
    (void)ctx;
    return NOW_MS;
}

static void check_failure(const Case *c, const xs_error *err, const Call *call)
{
    if (strncmp(c->message, "error:", 6) == 0) {
        assert_string_equal(xs_code_get(err->code)->symbol, c->message + 6);
        return;
    }
    assert_int_equal(err->code, XS_E_EXPECT);
    Value message = map_get_cstr(call->thrown, "message");
    assert_int_equal(message.kind, V_TEXT);
    assert_string_equal(message.text->data, c->message);
}

static void run(const Case *c)
{
    static const Services services = {.now_ms = clock_of};
    Heap *h = heap_new(0);
    xs_error err = {0};
    char name[64];
    const void *row = NULL;
    void *site = NULL;
    snprintf(name, sizeof name, "expect.%s", c->statement);
    StatementFn fn = stdlib_natives.statement(text_from(name), &row);
    Value args = val_parse_json(h, text_from(c->args), &err);
    assert_non_null(fn);
    assert_int_equal(args.kind, V_LIST);
    Call call = {.heap = h,
                 .services = &services,
                 .name = name,
                 .row = row,
                 .args = args.list->items + args.list->start,
                 .nargs = args.list->len,
                 .site = &const_null,
                 .site_data = &site,
                 .ret = val_null(),
                 .err = &err};
    bool passed = fn(&call) == NATIVE_OK;
    print_message("%s %s\n", name, c->args);
    assert_int_equal(passed, c->message == NULL);
    if (!passed)
        check_failure(c, &err, &call);
    call_end(&call);
    val_unref(h, call.thrown);
    val_unref(h, args);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        run(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    tables_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
