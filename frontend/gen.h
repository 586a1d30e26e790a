/* gen.h - code generation: one Emit per bundle, one Gen per procedure. The contract is
 * core/lang/opcodes.def. */
#ifndef FRONTEND_GEN_H
#define FRONTEND_GEN_H

#include "core/bundle.h"
#include "frontend/prog.h"

/* Tables of the bundle, filled in first-use order so that the output is the same every time. */
typedef struct Emit {
    Comp *c;
    LIST(const Const *) consts;
    Map const_index;
    LIST(ImportImage) imports;
    Map import_index;
    LIST(SiteImage) sites;
    LIST(ProcImage) procs;
    uint32_t nmain; /* procedures of constructs; those of deferred stacks follow */
    LIST(Construct *) deferred;
} Emit;

void emit_init(Emit *em, Comp *c);
void emit_deinit(Emit *em);
uint32_t emit_const(Emit *em, const Const *k); /* index, the same for equal constants */
uint32_t emit_text(Emit *em, Text t);
uint32_t emit_import(Emit *em, ImportKind kind, Text name);
uint32_t emit_site(Emit *em, Text statement, const Const *desc);

enum {
    MAX_REGS = 256,
    MAX_FIXED = 150, /* inputs and near variables; the rest are far */
    MAX_TEMP = 250,  /* past it a statement is too complex */
    MAX_INPUTS = 128,
    MAX_FINALLIES = 4,
    MAX_PROC_WORDS = 1 << 23
};

typedef struct Var {
    Text name;
    uint32_t index; /* in the bit set */
    int reg;        /* -1 = far */
    uint32_t far_slot;
} Var;

typedef LIST(uint32_t) Jumps; /* pcs of jumps to patch */

/* What $$ and its companions mean in a per-element expression. */
typedef struct Elem {
    struct Elem *outer;
    int el, index, parent, result; /* registers, -1 = not bound */
} Elem;

typedef enum ScopeKind { SC_LOOP, SC_CATCH, SC_FINALLY, SC_TRANSACTION } ScopeKind;

typedef struct Range {
    uint32_t from, to;
} Range;

/* What a jump out of a statement passes. */
typedef struct Scope {
    struct Scope *outer;
    ScopeKind kind;
    LIST(Range) ranges; /* guarded code, without inlined exits */
    uint32_t from;      /* of the range that is open */
    bool open;
    Block *finally;
    Jumps breaks, continues;
    Expr *list;          /* SC_LOOP of foreach: the walked variable, for remove */
    int removed;         /* register: elements removed so far, -1 = not used */
    int position;        /* register: index of the element, -1 = none */
    uint64_t *break_set; /* variables set at every break, NULL = no break */
} Scope;

typedef struct Gen {
    Prog *pr;
    Comp *c;
    Emit *em;
    const Construct *k;
    LIST(uint32_t) code;
    LIST(LineImage) lines;
    LIST(uint32_t) names;
    LIST(HandlerImage) handlers;
    Map vars;
    LIST(Var *) var_list;
    Pos pos;       /* of the code in work */
    int fixed;     /* registers below are inputs and variables */
    int top, most; /* next free register; highest used + 1 */
    uint32_t ninputs, nfar;
    bool whole_input; /* register 0 is $input */
    uint64_t *set;    /* variables certainly set here */
    size_t set_words;
    bool dead;      /* code here is not reached */
    uint32_t maybe; /* inside code that may be skipped: what it checks is not certain behind it */
    uint32_t finallies; /* finally bodies around this code: each is emitted once per way out */
    uint32_t tries;     /* enclosing constructs that could see a half-done variable */
    Elem *elem;
    Scope *scope;
    bool failed; /* too complex, reported */
    bool opt;    /* fold, fuse, specialise, change in place */
    bool named;  /* an expression compiled at run time may ask for variables by name */
} Gen;

/* regs.c */
int gen_temp(Gen *g);
int gen_temps(Gen *g, size_t n); /* n in a row, the first */
Var *gen_var(Gen *g, Text name);
bool gen_is_set(const Gen *g, const Var *v);
void gen_mark_set(Gen *g, const Var *v);
uint64_t *set_copy(Gen *g); /* of g->set; all ones when dead */
void set_meet(Gen *g, uint64_t *into, const uint64_t *with);
void gen_live(Gen *g, const uint64_t *set); /* go on with this state */
void gen_dead(Gen *g);

/* emit.c */
uint32_t gen_pc(const Gen *g);
void emit_abc(Gen *g, Op op, int a, int b, int c);
void emit_abx(Gen *g, Op op, int a, uint32_t bx);
void emit_extra(Gen *g, Op op, int a, int b, int c, uint32_t extra);
uint32_t emit_jump(Gen *g, Op op, int a, int b, int c);         /* target open; returns its pc */
uint32_t emit_jump_const(Gen *g, Op op, int a, const Const *k); /* comparing with k */
void emit_jump_to(Gen *g, Op op, int a, int b, int c, uint32_t target);
void patch_jump(Gen *g, uint32_t pc, uint32_t target);
void patch_here(Gen *g, Jumps *jumps);
void jumps_add(Gen *g, Jumps *jumps, uint32_t pc);
void emit_load(Gen *g, int dst, const Const *k);
void emit_move(Gen *g, int dst, int src);
void emit_name(Gen *g, uint32_t pc, Text path); /* the source path read at pc */
bool gen_finish(Gen *g, ProcImage *out);

/* gen_expr.c */
void gen_expr(Gen *g, Expr *e, int dst);
void gen_expr_tolerant(Gen *g, Expr *e, int dst);
int gen_any(Gen *g, Expr *e); /* a register that holds the value, maybe a variable's own */
void gen_cond(Gen *g, Expr *e, bool sense, Jumps *out); /* jump when the truth is sense */
/** A filter with one argument. */
void gen_filter_one(Gen *g, const char *name, int dst, int operand, Expr *arg);
void gen_filter_on(Gen *g, Expr *filter, int operand, int dst);
bool mentions_var(const Expr *e, Text name);
Text path_text(Comp *c, const Expr *e);
void gen_vars_object(Gen *g, int dst);
/* The value of e becomes the value of a variable's register, in place when that is possible. name:
 * of the variable. */
void gen_into_reg(Gen *g, int reg, Text name, Expr *e);
/* A loop over a list: begin leaves the element in ->el; end closes it and frees the iterator. */
typedef struct EachLoop {
    Elem elem;
    int it;
    uint32_t iter_pc, jump_pc, body;
    bool with_index;
    Jumps exits;
} EachLoop;
void each_begin(Gen *g, EachLoop *l, int list, const Expr *body);
bool mentions_index(const Expr *e);
/* _take: the window holds temporaries that nobody reads again. */
void gen_call_filter_take(Gen *g, const char *name, int dst, int operand, int window,
                          uint32_t count);
void gen_call_filter(Gen *g, const char *name, int dst, int operand, int window, uint32_t count);
int var_read(Gen *g, Text name, bool tolerant);
void each_end(Gen *g, EachLoop *l);

/* gen_stmt.c */
void gen_block(Gen *g, Block *b);
void gen_store(Gen *g, Expr *target, int src); /* src is a temporary and is used up */
bool gen_construct(Prog *pr, Emit *em, const Construct *k, ProcImage *out);
bool gen_expression(Prog *pr, Emit *em, Expr *e, ProcImage *out);

void gen_native(Gen *g, Stmt *s);
void gen_init(Gen *g, Prog *pr, Emit *em, const Construct *k);

/* gen_entry.c */
bool has_entry(Prog *pr, const Construct *k); /* something stands around its code */
bool gen_entry(Prog *pr, Emit *em, const Construct *k, ProcImage *out);

/* gen_test_block.c: with CompileOptions.tests. Around the code of a statement: its mocks come first
 * and jump behind it. */
typedef struct Mocks {
    Jumps done;
    uint64_t *set; /* variables set at those jumps, NULL = no mock */
} Mocks;
void gen_mocks_begin(Gen *g, const Stmt *s, Mocks *m);
void gen_mocks_end(Gen *g, const Stmt *s, Mocks *m);
void gen_test_statement(Gen *g, Stmt *s); /* SF_TEST */
/** The procedures of every test, and their metadata: "tests" of core/lang/README.md. */
const Const *gen_tests(Prog *pr, Emit *em);

/* gen_query.c: structured clauses of a statement. */
typedef struct Query {
    Gen *g;
    const Stmt *s;
    Sources sources;
    LIST(Expr *) args; /* run-time values behind the clauses */
    uint32_t first;    /* argument index of args[0] */
    Const *desc;
} Query;
/** Describe the structured clauses; structured[i] tells that clause i is in the descriptor. */
void gen_query(Query *q, bool *structured);
/** Whether the row of a table trigger's input (a register) meets its condition. */
void gen_trigger_where(Gen *g, Text table, Expr *where, int input, int dst);

/* meta.c */
const Const *meta_field(Prog *pr, const Field *f);
const Const *meta_fields(Prog *pr, const FieldList *fields);
const Const *meta_program(Prog *pr, Text name, const Const *tests);

#endif
