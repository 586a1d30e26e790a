/* template.h - the text templates of util.template_engine: Twig's output, if, for, set, comments,
 * filters and tests, without inheritance and macros. Specification: runtime.md §4.6. */
#ifndef STDLIB_TEMPLATE_TEMPLATE_H
#define STDLIB_TEMPLATE_TEMPLATE_H

#include "core/arena.h"
#include "core/buf.h"
#include "vm/native.h"

typedef enum TExprKind {
    TE_CONST,  /* value */
    TE_NAME,   /* text; dollar: written $name */
    TE_MEMBER, /* a . text */
    TE_INDEX,  /* a [ b ] */
    TE_SLICE,  /* a [ b : c ], either may be NULL */
    TE_FILTER, /* a | text ( items ) */
    TE_CALL,   /* text ( items ) */
    TE_TEST,   /* a is text ( items ) */
    TE_BINARY,
    TE_NOT,
    TE_MINUS,
    TE_COND, /* a ? b : c; b NULL: a ?: c */
    TE_LIST, /* items */
    TE_MAP   /* keys, items */
} TExprKind;

typedef enum TOp {
    TOP_NONE,
    TOP_OR,
    TOP_XOR,
    TOP_AND,
    TOP_EQ,
    TOP_NE,
    TOP_LT,
    TOP_LE,
    TOP_GT,
    TOP_GE,
    TOP_IN,
    TOP_NOT_IN,
    TOP_STARTS,
    TOP_ENDS,
    TOP_MATCHES,
    TOP_RANGE,
    TOP_ADD,
    TOP_SUB,
    TOP_CONCAT,
    TOP_MUL,
    TOP_DIV,
    TOP_INT_DIV,
    TOP_MOD,
    TOP_POW,
    TOP_COALESCE
} TOp;

typedef struct TExpr TExpr;
struct TExpr {
    TExprKind kind;
    TOp op;
    bool dollar, negated;
    Text text;
    const Const *value;
    TExpr *a, *b, *c;
    TExpr **items, **keys;
    uint32_t nitems;
};

typedef enum TNodeKind { TN_TEXT, TN_OUT, TN_IF, TN_FOR, TN_SET } TNodeKind;

typedef struct TNode TNode;
struct TNode {
    TNodeKind kind;
    TNode *next;
    Text text;        /* TN_TEXT */
    Text name, name2; /* TN_FOR: value, or key and value; TN_SET: name */
    TExpr *expr;      /* condition of TN_IF (NULL = else), list, value */
    TNode *body;
    TNode *other; /* TN_IF: next branch; TN_FOR: else */
};

/** The tree of a template; texts are views of source. *out NULL = empty. Errors: XS_E_PARSE with
 * the line, XS_E_NOMEM. */
XS_MUST_CHECK bool template_parse(Arena *a, Text source, TNode **out, xs_error *err);

/** Render to out. vars, input, auth: objects or null. Errors: what filters raise, XS_E_DEADLINE,
 * XS_E_LIMIT. */
XS_MUST_CHECK bool template_render(Call *c, const TNode *root, Value vars, Value input, Value auth,
                                   Buf *out);
/** What {{ … }} writes instead of the value's text. */
typedef bool (*TemplateOutFn)(void *ctx, Value v, Buf *out);
XS_MUST_CHECK bool template_render_out(Call *c, const TNode *root, Value vars, Value input,
                                       Value auth, TemplateOutFn fn, void *ctx, Buf *out);

#endif
