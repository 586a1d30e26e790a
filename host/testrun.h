/* testrun.h - runs the tests of a program compiled with them (CompileOptions.tests): each in a
 * database of its own, with a clock that stands still and random numbers from a seed, many at a
 * time. runtime.md §1.9, §7. */
#ifndef HOST_TESTRUN_H
#define HOST_TESTRUN_H

#include "host/config.h"
#include "host/service.h"
#include "vm/vm.h"

typedef struct TestCase {
    Text name, obj_type, obj_name; /* "prices an empty cart", "function", "cart/total" */
    Text file;
    uint32_t line, col;
    const Const *tags; /* list of texts or NULL */
    const Const *row;  /* of the bundle's metadata */
} TestCase;

typedef enum TestStatus {
    TEST_NOT_RUN, /* left out, or after the first failure with bail */
    TEST_OK,
    TEST_FAIL,     /* an expectation */
    TEST_EXCEPTION /* an error nobody expected */
} TestStatus;

typedef struct TestResult {
    TestStatus status;
    double ms;             /* wall time, database and all */
    Text message;          /* ptr NULL when ok */
    xs_pos pos;            /* of the failure; line 0 = unknown */
    Text expect;           /* "to_equal"; ptr NULL = no expectation failed */
    Text expected, actual; /* JSON; ptr NULL = the message says all */
    Text log;              /* lines of debug.log, each {"ts", "value"} */
} TestResult;

typedef struct TestRunOptions {
    const Config *config; /* steps 0 = a budget that ends endless loops */
    CompileExprFn compile_expr;
    char *const *env;
    unsigned jobs; /* threads; 0 = one per core */
    bool bail;     /* begin no test after a failure */
    bool coverage;
    uint64_t seed;  /* of random numbers; each test has its own sequence */
    int64_t now_ms; /* where the clock stands when a test begins */
    /** Whether to run it; NULL = all. */
    bool (*wanted)(void *ctx, const TestCase *t);
    /** After every test, one at a time, from any thread; may be NULL. */
    void (*on_result)(void *ctx, const TestCase *t, const TestResult *r);
    void *ctx;
} TestRunOptions;

typedef struct TestRun TestRun;

/** The tests in order of file and place. opt and program must outlive it. Errors: XS_E_NOMEM,
 * XS_E_BAD_BUNDLE. */
XS_MUST_CHECK TestRun *testrun_new(Program *program, const TestRunOptions *opt, xs_error *err);
void testrun_free(TestRun *r);
size_t testrun_count(const TestRun *r); /* wanted ones */
/** Run them all. Failures of tests are no error. Errors: XS_E_DATABASE, XS_E_NOMEM, XS_E_CONFIG. */
XS_MUST_CHECK bool testrun_run(TestRun *r, xs_error *err);
const TestCase *testrun_case(const TestRun *r, size_t i);
const TestResult *testrun_result(const TestRun *r, size_t i);

/** With coverage: every place of the line tables, procedure by procedure, and whether it was
 * reached. Tests themselves do not count. */
void testrun_coverage(const TestRun *r, void (*fn)(void *ctx, xs_pos place, bool hit), void *ctx);

#endif
