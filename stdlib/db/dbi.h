/* dbi.h - inside of stdlib/db: schema, SQL text, jobs of the writer, connections. Not for other
 * modules. */
#ifndef STDLIB_DB_DBI_H
#define STDLIB_DB_DBI_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/tables.h"
#include "include/xs/dbdriver.h"
#include "stdlib/db/db.h"

/** Fail with the default text of the code. */
static inline bool fail_code(xs_error *err, xs_code code)
{
    return xs_fail(err, code, XS_NO_POS, "%s", xs_code_get(code)->text);
}

/* ---------------------------------------------------------------- schema.c */

typedef enum ColKind {
    CK_ANY, /* unknown: decoded by what the database stored */
    CK_INT,
    CK_DEC,
    CK_BOOL,
    CK_TEXT,
    CK_TIME,
    CK_DATE,
    CK_UUID,
    CK_PASSWORD,
    CK_JSON,
    CK_LIST,
    CK_FILE, /* files and geo values: JSON, null when unset */
    CK_VECTOR
} ColKind;

typedef struct ColType {
    ColKind kind;
    ColKind item; /* CK_LIST: of the elements */
} ColType;

typedef struct Column {
    Text name;
    ColType type;
    bool nullable;
    bool internal;      /* left out of rows unless output names it */
    const Const *field; /* FIELD of the bundle */
    const Const *plain; /* name and type only: coercion of compared values */
    const Const *write; /* nullable and optional: coercion of written values */
} Column;

typedef struct SearchIndex {
    Text name;  /* as the program writes it */
    Text table; /* of the full text, "<table>__<name>" */
    Text lang;
    const Column **cols;
    double *weights; /* of the columns, A = 1 */
    uint32_t ncols;
} SearchIndex;

typedef struct Table {
    Text name;
    const Const *def;
    Column *cols;
    uint32_t ncols;
    uint32_t id; /* index of the primary key */
    bool auth;
    SearchIndex *search;
    uint32_t nsearch;
    uint8_t watched; /* bits of DbAction whose changes are told */
} Table;

typedef struct Schema {
    Arena arena;
    Table *tables;
    uint32_t ntables;
} Schema;

XS_MUST_CHECK bool schema_build(Schema *s, const Const *tables, xs_error *err);
void schema_deinit(Schema *s);
const Table *schema_find(const Schema *s, Text name);
const Column *table_column(const Table *t, Text name); /* NULL = unknown */
/** Full-text index by name, or that of a column; NULL = none. */
const SearchIndex *table_search(const Table *t, Text name, const Column *col);
const char *column_sql_type(const Column *c);
/** Constant SQL text of what a row without this column reads: NULL or the type's zero. */
const char *column_zero_sql(const Column *c);
static inline const Column *table_id(const Table *t)
{
    return &t->cols[t->id];
}

/* ---------------------------------------------------------------- sql.c */

/* SQL text with its bound parameters. Values never enter the text. */
typedef struct Sql {
    Buf text;
    Arena *arena; /* of vals and their bytes */
    xs_db_value *vals;
    uint32_t nvals, cap;
    bool failed; /* out of memory */
} Sql;

void sql_init(Sql *s, Arena *a);
void sql_deinit(Sql *s);
static inline void sql_raw(Sql *s, const char *t)
{
    buf_cstr(&s->text, t);
}
void sql_ident(Buf *out, Text name); /* "name", quotes doubled */
/** Append ?N with its value. */
void sql_param(Sql *s, xs_db_value v);
uint32_t sql_bind(Sql *s, xs_db_value v); /* number of the parameter, nothing is written */
XS_MUST_CHECK bool sql_ok(const Sql *s, xs_error *err);
/** The text, in the arena. */
XS_MUST_CHECK bool sql_copy(const Sql *s, Arena *a, Text *out, xs_error *err);

static inline xs_db_value dbv_null(void)
{
    return (xs_db_value){.type = XS_DB_NULL};
}
static inline xs_db_value dbv_int(int64_t i)
{
    return (xs_db_value){.type = XS_DB_INT, .i = i};
}
static inline xs_db_value dbv_real(double d)
{
    return (xs_db_value){.type = XS_DB_REAL, .d = d};
}
static inline xs_db_value dbv_text(Text t)
{
    return (xs_db_value){.type = XS_DB_TEXT, .bytes = {t.ptr ? t.ptr : "", t.len}};
}
static inline Text dbv_bytes(const xs_db_value *v)
{
    return (Text){v->bytes.ptr, v->bytes.len};
}

/* ---------------------------------------------------------------- row.c: rows and values */

typedef struct OutCol {
    Text name;
    ColType type;
} OutCol;

/** Database value -> program value. V_UNSET: memory. */
Value row_decode(Heap *h, ColType type, const xs_db_value *v);
const Const *row_decode_const(Arena *a, ColType type, const xs_db_value *v);
/** Value as it is stored in a column (bytes copied to the arena). Errors: XS_E_NOMEM,
 * XS_E_INPUTERROR. */
XS_MUST_CHECK bool row_encode(Arena *a, ColType type, Value v, xs_db_value *out, xs_error *err);
/** Keys of a row, made once per result. V_UNSET: memory. */
Value row_keys(Heap *h, const OutCol *outs, uint32_t n);
Value row_build(Heap *h, Value keys, const OutCol *outs, uint32_t n, const xs_db_value *vals);

/* ---------------------------------------------------------------- writer.c */

typedef enum JobKind { JOB_WRITE, JOB_LEASE, JOB_COMMIT } JobKind;

enum {
    STEP_MUST_HIT = 1, /* no row returned or changed: XS_E_NOTFOUND */
    STEP_IF_NONE = 2,  /* only when the step before returned or changed no row */
    STEP_RAW = 4,      /* text of the program (XS_DB_UNTRUSTED); names of the columns are kept */
    STEP_ROWS = 8,     /* its rows belong to the result */
    STEP_OLD = 16      /* its rows are what the next step changes */
};

typedef struct JobStep {
    Text sql;
    const struct JobStep *read_back; /* a query whose rows are those of this step; NULL = its own */
    const xs_db_value *vals;
    uint32_t nvals;
    uint32_t flags;
    const Table *watched; /* changes of its rows are told; NULL = of nobody's interest */
    DbAction action;
    uint32_t from; /* its columns from here on are those of watched_columns */
} JobStep;

/* A row that changed. Values are in the order of watched_columns. */
typedef struct RowChange {
    struct RowChange *next;
    DbAction action;
    const xs_db_value *before, *after; /* NULL = there is none */
} RowChange;

/* What one write or transaction changed in one table. */
struct DbChanges {
    DbChanges *next; /* of the one who has it */
    Arena arena;
    const Table *table;
    Text source;
    uint32_t chain; /* of the run that wrote */
    RowChange *first, *last;
    RowChange *olds, *last_old; /* rows a STEP_OLD has read, for the step behind it */
};

typedef struct JobRow {
    struct JobRow *next;
    xs_db_value vals[];
} JobRow;

typedef enum ResultShape {
    RES_NULL,
    RES_ROW,   /* first row, null without */
    RES_ROWS,  /* list */
    RES_COUNT, /* rows changed by all steps */
    RES_RAW_LIST,
    RES_RAW_SINGLE
} ResultShape;

typedef struct Job {
    struct Job *next;      /* queue of the writer */
    struct Job *next_wait; /* list of the Db */
    JobKind kind;
    Db *db;
    Fiber *fiber; /* NULL: somebody waits in place */
    Arena arena;  /* the request: steps, values */
    JobStep *steps;
    uint32_t nsteps, steps_cap;
    OutCol *outs;
    uint32_t nouts;
    ResultShape shape;
    const struct RowShape *pick; /* what of the rows the program gets; NULL = as they are */
    const Const *addons;         /* NULL = none */
    /* result */
    Arena out;
    JobRow *rows, *last_row;
    uint32_t nrows;
    int64_t changed;
    xs_error err;
    Text conflict;
    DbChanges *changes; /* NULL = none */
    uint32_t chain;     /* of the run */
    bool done;          /* under the pool's lock */
    bool abandoned;     /* the fiber is gone: free when done */
    /* Without a Db: the writer calls this when it is done, and frees it. */
    void (*told)(struct Job *j);
    void *told_arg;
} Job;

struct DbPool {
    const xs_dbdriver_ops *drv;
    Schema schema;
    Arena tables; /* definitions read from the file itself */
    char *path;
    char *temp_dir; /* of ":memory:", removed at close */
    DbOptions opt;
    xs_db_conn *conn; /* the write connection: the writer's, or the lease holder's */
    xs_db_conn *auth_conn;
    pthread_mutex_t auth_lock;
    pthread_t thread;
    bool thread_started;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t work;  /* for the writer */
    pthread_cond_t ready; /* for those who wait in place, and db_close */
    Job *head, *tail;
    bool stop;
    Db *leased_to; /* a transaction is open */
    Job *lease_end;
    bool lease_back; /* returned without a job */
    atomic_uint_fast64_t reads, writes, commits;
    Buckets commit_writes;
    Text name;       /* of the data source */
    DbPool *others;  /* further data sources, of the first pool only */
    DbPool *sibling; /* next of them */
    DbChanged changed;
    void *changed_ctx;
    bool ailing; /* the last writes failed at the file; writer thread only */
};

struct Db {
    DbPool *pool;
    xs_db_conn *reader;
    DbWake wake;
    void *wake_ctx;
    Job *waiting;      /* jobs of parked fibers; this thread only */
    uint32_t inflight; /* handed to the writer and not returned; pool lock */
    Db *others;        /* on the other data sources, of the first one only */
    Db *sibling;
};

XS_MUST_CHECK bool writer_start(DbPool *p, xs_error *err);
void writer_stop(DbPool *p);

Job *dbjob_new(Db *db, JobKind kind, xs_error *err);
void dbjob_free(Job *j);
/** Copy the statement (text and values must live in j->arena already, except the text). */
XS_MUST_CHECK bool dbjob_add_step(Job *j, Sql *sql, uint32_t flags, xs_error *err);
/** Run the steps on a connection: rows into the job, or its err set. */
void dbjob_run(DbPool *p, xs_db_conn *conn, Job *j);
/** Queue and wait in place; or queue for the fiber and return false: it parks. True: j is done. */
bool dbjob_submit(Job *j, Fiber *fiber);
/** Queue one that is told. Any thread; takes it. */
void dbjob_post(DbPool *p, Job *j);

/* ---------------------------------------------------------------- changes.c */

/** Columns that are told: all but passwords. Into out (room for all), their number. */
uint32_t watched_columns(const Table *t, OutCol *out);
static inline bool table_watches(const Table *t, DbAction action)
{
    return t && (t->watched & action) != 0;
}
/** A row of a watched step has come. False: memory. */
XS_MUST_CHECK bool changes_add(Job *j, const JobStep *s, const xs_dbdriver_ops *drv,
                               xs_db_stmt *st);
/** A step that reads old rows begins. */
void changes_forget_old(Job *j);
/** A step without rows that changes a whole table. */
XS_MUST_CHECK bool changes_add_table(Job *j, const JobStep *s);
/** Writer thread, after the commit: give them to the one who watches. */
void changes_tell(DbPool *p, Job *j);

/* ---------------------------------------------------------------- txn.c: what a fiber has open */

typedef struct HeldEvent {
    struct HeldEvent *next;
    PublishReq req; /* texts behind the struct */
    Receipt receipt;
    struct EventCount *count; /* while the receipt is pending */
} HeldEvent;

/* An addon's query for many parents at once. */
typedef struct AddonBatch {
    Text column;         /* of its table; a row belongs to the values it equals */
    const Const *values; /* list, no nulls */
    const Const *addons; /* of the caller, on the rows found; NULL = none */
} AddonBatch;

typedef struct FiberDb {
    Fiber *fiber;
    Db *db;                  /* of the open transaction */
    Db *root;                /* of the first data source */
    uint32_t depth;          /* open transactions; > 0 = this fiber holds the lease */
    bool borrowed;           /* of an addon: reads inside the transaction of its caller */
    uint32_t addons;         /* nesting of addons */
    const AddonBatch *batch; /* of the query this fiber is for: its result is a list, one entry per
                                value */
    HeldEvent *held, *held_last;
    uint32_t nheld;
    uint32_t marks[16];    /* events held when level n began */
    DbChanges *changes;    /* of the open transaction, told after the commit */
    DbChanges *levels[16]; /* last of them when level n began */
} FiberDb;

enum { TXN_MAX_DEPTH = 15 };

FiberDb *fiber_db(Fiber *f); /* NULL = nothing open */
FiberDb *fiber_db_make(Fiber *f, Db *db, xs_error *err);
/** This fiber has a transaction open on this data source. */
bool db_holds(Fiber *f, const Db *db);
/** Keep what a write inside the transaction has changed. */
void txn_keep_changes(Fiber *f, Job *j);
/** Called when a lease or commit job of the fiber is done. */
void txn_finished(Job *j, Fiber *fiber, xs_error *err);

/* ---------------------------------------------------------------- statement.c, expr.c */

typedef struct Pick { /* one name of `output` */
    Text name;
    bool whole;
    uint32_t nsubs;
    Text *subs; /* dotted rests */
} Pick;

typedef struct RowShape {
    Pick *picks; /* none = every visible column */
    uint32_t npicks;
    bool any;           /* there is work for shape_row */
    const Text *hidden; /* selected for addons only */
    uint32_t nhidden;
    bool items;        /* of a page: the rows are wanted */
    uint32_t envelope; /* of a page: bit per key named, 0 = all */
} RowShape;

/** Value of a clause by name; V_UNSET when absent. */
Value clause_arg(const Call *c, const char *name);
/** V of a descriptor: {"p": i} or {"k": c}. Owned. V_UNSET: absent, or memory with the error set.
 */
Value site_value(Call *c, const Const *v);
/** Table the statement names. NULL with an error. */
const Table *call_table(Call *c);
Db *call_db(Call *c); /* NULL with an error */
/** Connection that reads for this fiber: its own, or the leased writer. NULL with an error. */
xs_db_conn *call_reader(Call *c, Db *db);
/** Columns of `t` and of `evals` that the clause `output` asks for. */
XS_MUST_CHECK bool call_outputs(Call *c, Arena *a, const Table *t, const OutCol *evals,
                                uint32_t nevals, bool envelope, OutCol **outs, uint32_t *nouts,
                                RowShape *shape);
/** Keep the named members of dotted outputs. *row consumed and replaced (V_UNSET on failure). */
XS_MUST_CHECK bool shape_row(Heap *h, const RowShape *s, Value *row, xs_error *err);
/** Picks of a list of names, for shape_pick. False: memory. */
XS_MUST_CHECK bool shape_of(Arena *a, const Const *names, RowShape *out);
/** Keep the picked members only, in their order. As shape_row. */
XS_MUST_CHECK bool shape_pick(Heap *h, const RowShape *s, Value *row, xs_error *err);
/** Coerce a value that is compared with a column. *match false: it can match nothing (an error when
 * strict). */
XS_MUST_CHECK bool compare_value(Call *c, Arena *a, const Column *col, ColType type, Value v,
                                 bool strict, xs_db_value *out, bool *match);
/** Give columns "a","b" to the SELECT or RETURNING list. */
void sql_columns(Buf *out, const char *alias, const OutCol *outs, uint32_t n);
/** Fail with the duplicate's payload or the driver's message. Always false. */
bool call_db_error(Call *c, const xs_error *err, Text conflict);
/** Payload {"table","fields"} from "t.a, t.b". V_UNSET: memory. */
Value conflict_payload(Heap *h, Text conflict);
/** Prepare a read with its values bound. NULL: error raised. */
xs_db_stmt *begin_read(Call *c, Db *db, xs_db_conn *conn, const Sql *sql);
/** The row the statement stands on. false: memory. */
XS_MUST_CHECK bool read_row(const xs_dbdriver_ops *drv, xs_db_stmt *st, Heap *h, const OutCol *outs,
                            uint32_t nouts, Value keys, Value *row);
/** Run a read and build its rows: list (owned). */
XS_MUST_CHECK bool read_rows(Call *c, Db *db, xs_db_conn *conn, const Sql *sql, const OutCol *outs,
                             uint32_t nouts, Value *list);
/** First column of the first row; integers only. */
XS_MUST_CHECK bool read_int(Call *c, Db *db, xs_db_conn *conn, const Sql *sql, int64_t *out);
/** XS_E_INPUTERROR with payload {"param"}. Always false. */
bool fail_param(Call *c, Text param, const char *fmt, ...) XS_PRINTF(3, 4);
bool fail_memory(Call *c);

/* ---------------------------------------------------------------- crud.c */

/** Finish a native with its write: in place, or parked. Takes the job. */
NativeResult dbjob_dispatch(Call *c, Job *j);
/** Result value of a finished job. V_UNSET with err. */
Value dbjob_result(Heap *h, Fiber *fiber, const Job *j, xs_error *err, Value *payload);

/* ---------------------------------------------------------------- sqltemplate.c */

/** SQL of a template: what it puts out is bound in sql as ?N, or, with args, put into that list and
 * $N. */
XS_MUST_CHECK bool sql_template(Call *c, Sql *sql, Text source, Value vars, Value input, Value auth,
                                Value *args);

/* ---------------------------------------------------------------- addon.c */

/** Addons of the statement with their run-time values filled in; *out NULL without. */
XS_MUST_CHECK bool call_addons(Call *c, Arena *a, const Const **out);
/** Add their results to a row or a list of rows. */
XS_MUST_CHECK bool addons_apply(Fiber *fiber, const Const *list, Value *rows, xs_error *err,
                                Value *payload);

/* ---------------------------------------------------------------- sqlite.c */

extern const xs_dbdriver_ops sqlite_driver;

#endif
