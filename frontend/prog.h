/* prog.h - the whole program between parsing and code: who is named what, and the checks of one
 * construct. */
#ifndef FRONTEND_PROG_H
#define FRONTEND_PROG_H

#include "frontend/ast.h"

enum { MAX_COMPARED = 1 << 20 }; /* names compared for "did you mean" in one compilation */

typedef struct Prog {
    Comp *c;
    ConstructList all;
    Map names[CONSTRUCT_COUNT]; /* name -> Construct*; queries: "VERB group/name" */
    Map shapes; /* of active queries: the same with {} and {int} for parameters -> Construct* */
    size_t compared;
    bool expr;   /* one expression: free element references are inputs */
    bool scoped; /* so are its variables */
} Prog;

/** Parse every file into pr->all. */
void prog_parse(Prog *pr, const SourceFile *files, size_t count, bool bare);
/** Fill the name maps; reports duplicates. */
void prog_resolve(Prog *pr);
void prog_deinit(Prog *pr);
Construct *prog_find(const Prog *pr, ConstructKind kind, Text name);
/** What a function.run, function.call or tool.call calls; NULL = unknown. */
Construct *prog_callee(const Prog *pr, const Stmt *s);
/** Under which prog_find knows a channel of a realtime server. */
Text prog_channel_key(Prog *pr, Text server, Text path);
/** Report an unknown name (an error, or a warning in loose mode). */
void prog_unknown(Prog *pr, ConstructKind kind, const char *what, Text name, Pos pos);
/** A column of a table; NULL = none. dblink columns count as known. */
const Field *prog_column(const Prog *pr, const Construct *table, Text name);
bool prog_has_dblink(const Construct *table);
Text prog_column_nearest(const Construct *table, Text name);
/** The declared inputs of a construct with dblinks expanded (also those a middleware has without
 * declaring). */
void prog_inputs(Prog *pr, Construct *k);

/** All checks of one construct that need no code: names, contexts, filters, references. */
void check_construct(Prog *pr, Construct *k);
/** Names of tasks, tools, agents, endpoints, channels; variables never read. Part of the above. */
void check_references(Prog *pr, Construct *k);
void check_expression(Prog *pr, Expr *e);

bool column_filter(Text name);   /* may stand on a column */
bool column_operator(Text name); /* contains includes overlaps between within, as filters */
bool aggregate_filter(Text name);
bool is_column_ref(const Expr *e);    /* $db.… with members and indexes */
bool mentions_element(const Expr *e); /* $$ or $this */
/** An element name ($$ $this $index $parent $result $0…) that per-element expressions bind. */
bool element_name(Text name);

/** Constant value of an expression without variables, clock or failing parts; NULL when it has
 * none. */
const Const *fold_const(Comp *c, const Expr *e);
/** Canonical URL part of a name: lower case, other characters become '-'. */
Text slug(Comp *c, Text name);

/* A table known in a query: main table or join alias. */
typedef struct Source {
    Text alias;
    Text table;
} Source;
enum { MAX_SOURCES = 32 };
typedef struct Sources {
    Source item[MAX_SOURCES];
    size_t count; /* 0 is the main table */
} Sources;
void query_sources(const Stmt *s, Sources *out);
/** Its text may name any variable: they are handed over behind the clauses. */
bool stmt_takes_scope(const Stmt *s);
/** Split a column reference: alias index and the parts behind it. parts has room for max. Returns
 * their number. */
size_t column_split(const Sources *sources, const Expr *e, size_t *source, const Expr **parts,
                    size_t max);

#endif
