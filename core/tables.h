/* tables.h - the tables of core/lang as C structures, with lookups by name. Constant data, any
 * thread. */
#ifndef CORE_TABLES_H
#define CORE_TABLES_H

#include "core/base.h"
#include "core/lang/opcodes.h"

typedef struct ArgSpec {
    const char *name;
    char cls;        /* class letter: V T N I B A C O D P X */
    bool optional;   /* "?" or a default */
    bool variadic;   /* "..." : this one and any number more */
    const char *def; /* JSON of the default, NULL = none */
} ArgSpec;

enum { FILTER_MAX_ARGS = 8 };
enum { FF_CLOCK = 1, FF_TOLERANT = 2, FF_GENERATOR = 4, FF_QUERY = 8 };

typedef struct FilterInfo {
    const char *name;
    char in;  /* operand class */
    char out; /* result class */
    uint8_t tier, flags;
    bool todo;     /* fn is native_todo: counted by xs check --coverage */
    bool inlined;  /* fn is flt_inline */
    uint8_t nargs; /* rows of args; the last may be variadic */
    uint8_t min_args;
    ArgSpec args[FILTER_MAX_ARGS];
    const char *args_spec; /* source text of the column */
    const char *doc;
    const char *examples; /* "expr\tresult\n…" */
} FilterInfo;

typedef enum OperandSpec { OPR_NONE, OPR_NAME, OPR_VAR, OPR_EXPR, OPR_NAME_VERB } OperandSpec;
typedef enum ResultSpec { R_NONE, R_OPT, R_WANT } ResultSpec;
enum {
    SF_TEST = 1,
    SF_COMPILED = 2,
    SF_QUERY = 4,
    SF_MUTATES = 8,
    SF_INTERNAL = 16, /* no keyword */
    SF_SCOPE = 32,    /* the variables, $input and $auth follow the clauses as arguments */
    SF_ENGINE = 64    /* an extension of the platform's checker (E15) */
};

typedef struct ClauseSpec {
    Text name;    /* first spelling */
    Text aliases; /* "|"-separated others, len 0 = none */
    Text kind; /* "e" "t" "n" "b" "{a|b}" "O" "[t]" "q" "S" "join" "eval" "sort" "return" "addon" */
    bool required, strict, repeatable, extension; /* "*", "+", "...", "~" */
    Text def;                                     /* JSON default, ptr NULL = none */
} ClauseSpec;

enum { STATEMENT_MAX_CLAUSES = 24 };

typedef struct StatementInfo {
    const char *name;
    OperandSpec operand;
    ResultSpec result;
    uint8_t flags, tier;
    bool todo;
    uint8_t nclauses;
    ClauseSpec clauses[STATEMENT_MAX_CLAUSES];
    const char *clauses_spec;
    const char *doc;
} StatementInfo;

/** Build the parsed tables; call once before threads start (idempotent). */
void tables_init(void);
const FilterInfo *filter_find(Text name);  /* aliases resolve to their row; NULL = unknown */
const FilterInfo *filter_at(size_t index); /* NULL past the end; rows in file order, no aliases */
const char *filter_alias_at(size_t index, const FilterInfo **of); /* NULL past the end */
Text filter_nearest(Text name);                                   /* suggestion, ptr NULL = none */
const StatementInfo *statement_find(Text name);
const StatementInfo *statement_at(size_t index);
Text statement_nearest(Text name);
const ClauseSpec *statement_clause(const StatementInfo *s, Text name,
                                   uint32_t *index); /* aliases too */

#endif
