/* format.h - the printer of the formatter: output, indentation, comments. One file, one thread. */
#ifndef FRONTEND_FORMAT_H
#define FRONTEND_FORMAT_H

#include "frontend/ast.h"

typedef struct Fmt {
    Comp *c;
    Text src;
    Buf out;
    uint32_t indent;    /* steps of two blanks */
    size_t comment;     /* the next one of Comp.comments to write */
    size_t flat_end;    /* != 0: no line breaks, and not beyond this length of out */
    bool flat_failed;   /* did not fit */
    bool no_filters;    /* inside a filter argument */
    bool direct;        /* directly inside ( ) */
    bool inline_chains; /* filters stay on their line: targets and operands */
} Fmt;

/** Print an expression. `min` is the loosest operator that needs no parentheses: 0 = any. */
void fmt_expr(Fmt *f, const Expr *e, int min);
/** ( expression ), without doubling the expression's own parentheses. */
void fmt_parens(Fmt *f, const Expr *e);
void fmt_text(Fmt *f, Text value); /* "…" with escapes */

void fmt_line(Fmt *f); /* a new line, indented */
/* Where in the output the line of an element begins. */
typedef struct Mark {
    size_t at;
    uint32_t indent;
} Mark;
/** Comments in front of offset `off`, then a new line for the element that starts there. */
Mark fmt_lead(Fmt *f, uint32_t off, bool first, bool blank);
/** Comments that are left before the end of the source line of `end` go above the element. */
void fmt_hoist(Fmt *f, Mark *mark, uint32_t end);
/** Comments before a closing brace. */
void fmt_tail(Fmt *f, uint32_t close, bool first);
bool fmt_comment_before(const Fmt *f, uint32_t off); /* one is still to write */

#endif
