/* query.h - a descriptor on its way to SQL: sources, column expressions, predicates. */
#ifndef STDLIB_DB_QUERY_H
#define STDLIB_DB_QUERY_H

#include "stdlib/db/dbi.h"

enum { QUERY_MAX_SOURCES = 32, QUERY_MAX_DEPTH = 64 };

typedef struct Source {
    Text name; /* table or alias, as the program writes it */
    const Table *table;
} Source;

typedef struct Query {
    Call *c;
    Db *db;
    Arena arena;
    Sql sql; /* its parameters; the text is put together at the end */
    Source src[QUERY_MAX_SOURCES];
    uint32_t nsrc;
    OutCol *evals; /* names and types of `eval` */
    Text *eval_sql;
    uint32_t nevals;
    Value temps; /* list: values made while compiling */
    bool aggregate;
} Query;

struct RowShape;
/**
 * A stream of the rows the query's SQL gives, shaped and with addons; what q holds is taken over.
 * outs, shape and addons live in its arena. batch: rows read at a time, < 1 = the usual number.
 */
XS_MUST_CHECK bool rowstream_open(Query *q, const OutCol *outs, uint32_t nouts,
                                  const struct RowShape *shape, const Const *addons, int64_t batch,
                                  Value *out);

/* One side of a comparison. */
typedef struct Ex {
    Text sql;          /* ptr NULL: a plain value */
    const Column *col; /* whole column, NULL = something computed */
    uint32_t src;      /* of col */
    ColType type;
    Text each;    /* "[]" in the path: the elements, ptr NULL = none; sql is about e.value */
    bool has_col; /* a column takes part */
    const SearchIndex *search; /* the path names an index, not a column */
    bool json;                 /* a member of a json column: compares as text with a text */
    Value v;                   /* borrowed: the plain value */
} Ex;

void query_init(Query *q, Call *c, Db *db);
void query_deinit(Query *q);
XS_MUST_CHECK bool query_add_source(Query *q, Text name, const Table *t);

/* expr.c */
XS_MUST_CHECK bool expr_compile(Query *q, const Const *x, Ex *out);
XS_MUST_CHECK bool expr_column(Query *q, Text source, Text column, Ex *out);
/** Fail when the path has "[]", which only comparisons know. */
bool expr_no_each(Query *q, const Ex *x);
/** "column", "table.column" or an eval alias, as sort writes it. */
XS_MUST_CHECK bool expr_named(Query *q, Text name, Ex *out);
/** SQL of a side; a value becomes a parameter coerced to the column it meets (`like` may be NULL).
 */
XS_MUST_CHECK bool expr_sql(Query *q, const Ex *x, const Ex *like, Text *out);
/** count sum avg … of an expression. */
XS_MUST_CHECK bool expr_aggregate(Query *q, Text fn, const Ex *x, Ex *out);
bool expr_is_aggregate(Text fn);

/* search.c */
/** Full-text index of a column or the one the path names; NULL = none. */
const SearchIndex *search_index(const Query *q, const Ex *x);
/** Rows whose text has the words; search_index(q, x) is not NULL. */
XS_MUST_CHECK bool search_write(Query *q, const Ex *x, Value words, Buf *out);
XS_MUST_CHECK bool search_rank(Query *q, const Ex *x, const Ex *words, Ex *out);

/* predicate.c */
/** Append the predicate; nothing and *any false when all of it was removed. */
XS_MUST_CHECK bool pred_write(Query *q, const Const *pred, Buf *out, bool *any);
/** The same for a value of additional_where. */
XS_MUST_CHECK bool pred_write_value(Query *q, Value where, Buf *out, bool *any);

#endif
