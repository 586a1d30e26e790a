/* diag.h - diagnostics of one compilation: collected, sorted, printed for people or tools. */
#ifndef CORE_DIAG_H
#define CORE_DIAG_H

#include "core/arena.h"
#include "core/buf.h"

typedef enum Severity { SEV_WARNING, SEV_ERROR } Severity;

typedef struct Diag {
    Severity severity;
    const char *id; /* "unknown-filter": static, a row of core/lang/diags.def */
    xs_pos pos;
    Text message;
    Text hint; /* "did you mean 'length'?"; ptr NULL = none */
} Diag;

typedef struct DiagList {
    Arena *arena;
    Diag *items;
    size_t count, cap;
    size_t errors, warnings;
} DiagList;

/** A source text by file name, for printing the line under a diagnostic. */
typedef Text (*DiagSource)(void *ctx, const char *file);

void diag_init(DiagList *d, Arena *arena);
/** Append; a second one with the same id and position is dropped. */
void diag_add(DiagList *d, Severity sev, const char *id, xs_pos pos, Text hint, const char *fmt,
              ...) XS_PRINTF(6, 7);
void diag_sort(DiagList *d); /* by file, line, column; stable */
/** file:line:col: error[id]: message, the source line, a caret, the hint. */
void diag_print(const DiagList *d, DiagSource source, void *ctx, bool colour, Buf *out);
/** The line of a source text a position is on, and a caret under it. */
void diag_print_place(Text source, xs_pos pos, bool colour, Buf *out);
/** Line number `number`, from 1, without its end. */
Text diag_line(Text source, uint32_t number);
/** Workflow commands of GitHub: ::error file=…,line=…,title=id::message. */
void diag_github(const DiagList *d, Buf *out);
/** A SARIF 2.1.0 log with a rule for every id. */
void diag_sarif(const DiagList *d, Buf *out);
/** JSON list of {file, line, column, length, severity, id, message, hint}. */
void diag_json(const DiagList *d, Buf *out);

#endif
