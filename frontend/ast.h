/* ast.h - the tree of one file: expressions, fields, statements, constructs. Nodes live in the
 * compilation's arena. */
#ifndef FRONTEND_AST_H
#define FRONTEND_AST_H

#include "frontend/lex.h"

typedef struct Expr Expr;
typedef struct Stmt Stmt;
typedef struct Field Field;

typedef enum ExprKind {
    EX_BAD, /* already reported */
    EX_NULL,
    EX_BOOL, /* i */
    EX_INT,  /* i */
    EX_DEC,  /* d */
    EX_TEXT, /* text */
    EX_NOW,
    EX_VAR,     /* text: name without '$'; "$" for $$, digits for $0 */
    EX_LIST,    /* items */
    EX_MAP,     /* pairs */
    EX_SPREAD,  /* a: element of a list, or value of a pair without key */
    EX_MEMBER,  /* a . text */
    EX_INDEX,   /* a [ b ]; b NULL = "[]" of a column path */
    EX_FILTER,  /* a | text : items; a NULL = generator */
    EX_NOT,     /* a */
    EX_NEG,     /* a */
    EX_BINARY,  /* a op b */
    EX_TERNARY, /* a ? b : c; b NULL = "a ?: c" */
    EX_BETWEEN  /* a between b : c, query conditions; c NULL = b is a list */
} ExprKind;

/* Operators: the kinds of tokens, and the word operators of conditions. */
typedef enum BinOp {
    BIN_NULLISH,
    BIN_OR,
    BIN_AND,
    BIN_EQ,
    BIN_NE,
    BIN_SEQ,
    BIN_SNE,
    BIN_LT,
    BIN_LE,
    BIN_GT,
    BIN_GE,
    BIN_RANGE,
    BIN_CONCAT,
    BIN_ADD,
    BIN_SUB,
    BIN_MUL,
    BIN_DIV,
    BIN_MOD,
    BIN_IN,
    BIN_NOT_IN,
    BIN_CONTAINS,
    BIN_NOT_CONTAINS,
    BIN_INCLUDES,
    BIN_NOT_INCLUDES,
    BIN_OVERLAPS,
    BIN_NOT_OVERLAPS,
    BIN_LIKE,
    BIN_NOT_LIKE,
    BIN_ILIKE,
    BIN_NOT_ILIKE,
    BIN_SEARCH,
    BIN_HAS,
    BIN_MATCH,
    BIN_NMATCH,
    BIN_BETWEEN,
    BIN_NOT_BETWEEN,
    BIN_COUNT
} BinOp;

typedef struct Pair {
    Expr *key; /* NULL: static key in text, or a spread value */
    Text text;
    Expr *value;
    Pos pos;
    uint32_t end; /* offset behind it */
    bool disabled;
} Pair;

/* How an expression was written, for the formatter. */
typedef enum Quote { QUOTE_NONE, QUOTE_BACKTICK, QUOTE_FENCE, QUOTE_VERBATIM } Quote;

struct Expr {
    ExprKind kind;
    BinOp op;
    Pos pos;
    Expr *a, *b, *c;
    Text text;
    union {
        int64_t i;
        double d;
        LIST(Expr *) items; /* EX_LIST, arguments of EX_FILTER */
        LIST(Pair) pairs;   /* EX_MAP */
        Text raw;           /* EX_TEXT: as written, ptr NULL = not a literal */
    };
    bool paren;          /* written in parentheses or backticks */
    bool disabled;       /* EX_FILTER with "!" */
    bool optional;       /* comparison with "?" suffix */
    bool quoted;         /* EX_MEMBER with quotes; EX_VAR written $var.x */
    bool dollar;         /* EX_MEMBER written .$b: text names a variable */
    uint8_t quote;       /* Quote */
    uint32_t height;     /* of the tree below, bounded */
    uint32_t start, end; /* offsets: whole, of items of lists, maps, lists and quoted ones */
};

/* An input filter: trim, max:1000. */
typedef struct InFilter {
    Text name;
    Pos pos;
    bool disabled;
    LIST(Expr *) args;
} InFilter;

typedef struct Block {
    LIST(Stmt *) items;
    Pos pos;
    bool given, braces;
    uint32_t close; /* offset of the closing brace */
} Block;

typedef struct Attr {
    Text name;
    Pos pos;
    Expr *value;
    Block stack;
    int32_t clause; /* row of the statement's clause, -1 = common */
    uint32_t end;   /* offset behind it */
} Attr;

typedef LIST(Field *) FieldList;

struct Field {
    Text name, type, doc;
    Pos pos, type_pos;
    bool list, has_min, has_max, nullable, optional, sensitive, has_block, has_schema;
    uint8_t seen; /* 1 = sensitive, 2 = size was given */
    int64_t min, max;
    Expr *def;
    LIST(InFilter) filters;
    Expr *values;
    Expr *override;
    FieldList fields;
    Text table, visibility, description;
    int64_t size;
    /* as written, for the formatter */
    bool asked; /* "?" behind the name */
    Text link;  /* "@:table=36" */
    LIST(Attr) attrs;
    uint32_t start, end, open, close;
};

/* The parts of control statements. */
typedef struct Branch {
    Expr *cond; /* NULL = else, default, each, try … */
    Expr *var;  /* each as $v */
    Block body;
    Pos pos;
    bool breaks;      /* case with break behind it */
    LIST(Attr) attrs; /* accepted at the start of a branch, without meaning */
    uint32_t end;     /* offset behind it */
} Branch;

typedef enum StmtKind {
    ST_PLAIN,
    ST_CONDITIONAL, /* branches: if, elseif…, else (cond NULL) */
    ST_SWITCH,      /* branches: cases, default (cond NULL) */
    ST_FOREACH,
    ST_FOR,
    ST_WHILE, /* branches[0] = each */
    ST_BREAK,
    ST_CONTINUE,
    ST_REMOVE,
    ST_TRY, /* branches: try, catch, finally; body.given tells */
    ST_GROUP,
    ST_TRANSACTION /* stack attribute */
} StmtKind;

struct Stmt {
    StmtKind kind;
    const StatementInfo *info;
    Text keyword, doc, name, verb;
    Pos pos, name_pos;
    bool disabled;
    Expr *operand;
    Expr *cond; /* if ( ) of array statements */
    LIST(Attr) attrs;
    LIST(Branch) branches;
    Expr *as; /* EX_VAR, path or filter chain over it */
    Pos as_pos;
    uint32_t start, end, open, close; /* offsets: whole, braces (0 = none) */
};

typedef enum ConstructKind {
#define CONSTRUCT(keyword, kind, members, flags, doc) CK_##kind,
#include "core/lang/constructs.def"
#undef CONSTRUCT
    CK_FRAGMENT, /* bare statements */
    CONSTRUCT_COUNT
} ConstructKind;

enum {
    CF_COMMON = 1,
    CF_HISTORY = 2,
    CF_ACTIVE = 4,
    CF_RUNS = 8,
    CF_SKIP = 16,
    CF_ENGINE = 32,
    CF_TODO = 64
};

typedef struct ConstructInfo {
    const char *keyword, *members;
    int flags;
} ConstructInfo;
extern const ConstructInfo construct_info[CONSTRUCT_COUNT];

typedef struct Member {
    Text name;
    char kind; /* letter of constructs.def */
    Pos pos, value_pos;
    Expr *value;   /* e t b n c [t] O L q M V */
    uint32_t open; /* offsets of the braces of F */
    uint32_t close, end;
} Member;

typedef struct Test {
    Text name, doc;
    Pos pos;
    LIST(Attr) attrs; /* description, datasource, input, clock, tags */
    Block body;
    uint32_t start, end, open, close;
} Test;

typedef struct Construct {
    ConstructKind kind;
    Text name, doc, file;
    FileState *state;
    Pos pos, name_pos;
    LIST(Member) members;
    FieldList input;    /* input, schema or output */
    FieldList declared; /* the same without columns of dblinks, set by prog_inputs */
    Pos input_pos;
    Text input_kind; /* "F" or "F@shape" */
    bool has_input, has_stack, seed_form;
    uint32_t proc; /* index of its procedure, set before code is made */
    uint32_t body; /* the same, or of its own code when something stands around it */
    Block stack;
    Expr *response;
    LIST(Test) tests;
    uint32_t open, close; /* offsets of the braces */
    const Test *test;     /* a made-up construct: the expectations of this test */
    bool deferred; /* a made-up construct: a stack that runs later, with the variables of now */
    LIST(Text) captured; /* their names */
} Construct;

typedef LIST(Construct *) ConstructList;

const Member *construct_member(const Construct *c, const char *name);
Text construct_text(const Construct *c, const char *name); /* ptr NULL = absent */
const Attr *stmt_attr(const Stmt *s, const char *name);
Text bin_name(BinOp op);
bool expr_constant(const Expr *e);         /* a literal, or lists and objects of literals */
const char *expr_kind_name(const Expr *e); /* "a text", "an expression", for messages */
bool word_in(const char *list, Text word); /* list: words with one blank between them */
bool has_column(const Expr *e);            /* mentions $db */
/** Operators: how tightly they bind, and which pairs read wrong side by side. */
int op_level(BinOp op);
bool op_is_comparison(BinOp op);
bool ops_need_parens(BinOp op, BinOp inner);

/* ---- members and their kinds (shape.c) ---- */

enum { MAX_MEMBERS = 32 };
typedef struct MemberSpec {
    Text name, kind;
    bool required, strict, extension, repeatable;
} MemberSpec;
/** The items of a column of constructs.def or shapes.def. */
size_t specs_parse(const char *column, MemberSpec *out, size_t max);
/** Report what does not fit a kind. */
void shape_value(Comp *c, Text name, Text kind, const Expr *e);
/** Whether the shape of a kind "…@shape" has a key; false when the kind has no shape. */
bool shape_names(Text kind, Text name, bool *known);
bool enum_has(Text set, Text value); /* "{a|b}" or "<a|b>" */
Text enum_text(Comp *c, Text set);   /* "a, b" */

/** S-expressions of a tree, for tests. */
void ast_dump_expr(const Expr *e, Buf *out);
void ast_dump_block(const Block *b, Buf *out);

bool expr_is_text_list(const Expr *e); /* ["a", "b"]; NULL is none */

/** Call fn for e and everything inside, parents first; false from fn skips the children. */
void expr_walk(Expr *e, bool (*fn)(Expr *e, void *ctx), void *ctx);

/* Parsers. */

typedef struct Parser {
    Comp *c;
    Lexer lx;
    Token tok;  /* the one to look at */
    Token last; /* the one taken before */
    uint32_t depth;
    bool no_filters; /* inside a filter argument */
    bool in_query;
    bool free_lines; /* newlines mean nothing: inside ( ) and backticks */
    bool backtick;
    bool range_ok;         /* directly inside ( ) */
    bool times;            /* timestamps belong here: schedule */
    bool disable_ok;       /* "!" before keys */
    bool in_addon;         /* its query's result needs no name */
    Map tests;             /* names of the tests of the construct in work */
    const char *query_key; /* values of this key are query conditions, "" = none */
    uint32_t chain_end;    /* offset + 1 of the token behind the last filter chain */
} Parser;

void parser_init(Parser *p, Comp *c, Text src);
void parse_advance(Parser *p);
bool parse_accept(Parser *p, TokKind kind);
uint32_t parse_end(const Parser *p); /* offset in the file behind the token taken last */
bool parse_expect(Parser *p, TokKind kind, const char *what);
bool parse_is_word(const Parser *p, const char *word);
/** Reports comment lines before the token in hand, where the platform takes none. */
void parse_no_comment(Parser *p);
/** "expected <what> but found <token>". */
void parse_unexpected(Parser *p, const char *what);
bool parse_enter(Parser *p); /* one level deeper; false = reported */
void parse_leave(Parser *p);
/** A name: quoted, a word, or a bare path. */
bool parse_name(Parser *p, const char *of, Text *name, Pos *pos);

Expr *parse_expr(Parser *p);
Expr *parse_query_expr(Parser *p);
Expr *parse_var_path(Parser *p); /* $a.b[1] */
Expr *parse_filters(Parser *p, Expr *operand);
Expr *expr_new(Parser *p, ExprKind kind, Pos pos);

Stmt *parse_statement(Parser *p);
bool parse_keyword_here(const Parser *p); /* the token in hand starts a known statement */
/** `{ statements }`; the brace is the token in hand. */
void parse_block(Parser *p, Block *out);
void parse_attrs(Parser *p, Stmt *s);
void parse_test(Parser *p, Construct *k);
/** Skip to the next line that starts a known statement (or what reads like one), or a '}'. */
void parse_recover(Parser *p, bool unknown_too);

/** Returns the offset of the closing brace. */
uint32_t parse_fields(Parser *p, FieldList *out, bool table);
void parse_file(Comp *c, Text src, bool bare, Text file, ConstructList *out);

#endif
