/* stmttrace.h - the statements of one request with what each took, for its history record. Thread:
 * the one that runs the request. runtime.md §5.8. */
#ifndef HOST_STMTTRACE_H
#define HOST_STMTTRACE_H

#include "core/buf.h"
#include "vm/vm.h"

typedef struct StmtTrace {
    StatementWatch watch; /* hand it to fiber_watch_statements */
    Buf json;             /* "[{…},{…" */
    uint32_t max, count;
    bool open;        /* the last one has not ended */
    int64_t began_us; /* of that one */
} StmtTrace;

/** max: statements that are kept; of later ones nothing is. */
void stmttrace_init(StmtTrace *t, uint32_t max);
void stmttrace_deinit(StmtTrace *t);
/** The whole list as JSON, borrowed; nothing is added any more. Empty: memory. */
Text stmttrace_end(StmtTrace *t);

#endif
