/* test_report.h - results of xs test for people (text), tools (JSON) and build servers (JUnit XML).
 */
#ifndef CLI_TEST_REPORT_H
#define CLI_TEST_REPORT_H

#include "core/buf.h"
#include "frontend/compile.h"
#include "host/testrun.h"

typedef struct TestReport {
    const TestRun *run;
    const SourceFile *sources;
    uint64_t seed;
    int64_t now_ms;
    double ms; /* wall time of all */
    bool colour;
    bool quiet;       /* failures and the summary only */
    bool coverage;    /* reached lines per file */
    unsigned slowest; /* how many to name; 0 = none */
} TestReport;

size_t report_passed(const TestReport *r);
size_t report_failed(const TestReport *r);
void report_text(const TestReport *r, Buf *out);
/** {"passed", "failed", "ms", "seed", "now", "results": [{"name", "obj_type", "obj_name",
 * "status": "ok"|"fail"|"exception"|"skipped", "ms", "message", "file", "line", "column",
 * "expected"?, "actual"?, "log"?}], "coverage"?: [{"file", "lines", "reached", "statements",
 * "statements_reached", "missed": [line]}]} */
void report_json(const TestReport *r, Buf *out);
/** One testsuite per file. */
void report_junit(const TestReport *r, Buf *out);

#endif
