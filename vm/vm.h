/* vm.h - loaded programs and running fibers.
 * A Program is immutable and shared by all workers; a Fiber belongs to the thread that runs it. */
#ifndef VM_VM_H
#define VM_VM_H

#include "core/bundle.h"
#include "core/diag.h"
#include "vm/native.h"

typedef struct Program Program; /* counted, immutable, thread-safe */

/* How the loader finds natives and the binder; stdlib/registry.c fills it. */
typedef struct NativeTable {
    FilterFn (*filter)(Text name, const void **row); /* NULL = unknown */
    StatementFn (*statement)(Text name, const void **row);
    /** Coerce and check ninputs raw values in place by the procedure's schema (list of FIELD). */
    bool (*bind)(Heap *h, const Services *s, const Const *inputs, Value *regs, uint32_t ninputs,
                 xs_error *err, Value *payload);
    /** Kinds (1 << V_INT …) that binding by this FIELD leaves as they are; of V_TEXT, the valid
     * texts that are not empty. NULL or 0: bind decides. */
    uint32_t (*bind_passes)(const Const *field);
    void (*site_free)(Text statement, void *site_data);
} NativeTable;

/**
 * Load an image: constants become immortal values, code is verified, natives are bound by name.
 * The image and its arena bytes must outlive the program (take ownership with program_own).
 * Errors: XS_E_BAD_BUNDLE (verifier), XS_E_UNKNOWN_FILTER, XS_E_NOMEM.
 */
XS_MUST_CHECK Program *program_load(const BundleImage *image, const NativeTable *natives,
                                    xs_error *err);
/** Give the arena that holds the image to the program; *a is empty after. Call at most once. */
void program_own(Program *p, Arena *a);
/** Decode and load bytes; copies them. */
XS_MUST_CHECK Program *program_open(Text bytes, const NativeTable *natives, xs_error *err);
Program *program_ref(Program *p);
void program_unref(Program *p);
const Const *program_meta(const Program *p);
/** Whether a statement or filter of this name occurs. */
bool program_imports(const Program *p, Text name);
uint32_t program_proc_count(const Program *p);
const ProcImage *program_proc(const Program *p, uint32_t index);
/** Index of a function by name, or UINT32_MAX. */
uint32_t program_find(const Program *p, ProcKind kind, Text name);
/** Every site: for stdlib to prepare queries. */
uint32_t program_site_count(const Program *p);
const SiteImage *program_site(const Program *p, uint32_t index);
/** The listing of docs/bundle.md. source: texts of the files, their lines go above the instructions
 * they became; NULL = leave them out. */
void program_disasm(const Program *p, DiagSource source, void *ctx, Buf *out);

typedef struct Limits {
    uint64_t steps;      /* instructions; 0 = none */
    size_t heap_bytes;   /* 0 = none */
    uint32_t depth;      /* frames; 0 = 1000 */
    int64_t deadline_ms; /* of services->now_ms; 0 = none */
} Limits;
extern const Limits limits_default;

typedef enum FiberState { FIBER_READY, FIBER_DONE, FIBER_ERROR, FIBER_PARKED } FiberState;

/** A fiber for one call. services and run are borrowed for its life. NULL when out of memory. */
Fiber *fiber_new(Program *p, const Services *services, const RunContext *run, const Limits *limits);
/** Before an instruction: pc is its place in the code of the procedure, depth the number of frames.
 */
typedef void (*TraceFn)(void *ctx, uint32_t proc, uint32_t pc, uint32_t depth);
/** From now on tell of every instruction; runs several times slower. fn NULL = stop that. */
void fiber_set_trace(Fiber *f, TraceFn fn, void *ctx);
/** Source place of an instruction: *entry is the row of the procedure's line table. False = none.
 */
bool program_place(const Program *p, uint32_t proc, uint32_t pc, uint32_t *entry);
/* Who hears of every statement native: before it runs, and when it has its result (NULL) or error,
 * be that after a wait. */
typedef struct StatementWatch {
    void *ctx;
    void (*begin)(void *ctx, const Fiber *f, const char *name);
    void (*end)(void *ctx, const xs_error *err);
} StatementWatch;
/** Borrowed for the fiber's life; NULL = nobody. */
void fiber_watch_statements(Fiber *f, const StatementWatch *w);
void fiber_free(Fiber *f); /* frees its heap whole; every value of it dies */
Heap *fiber_heap(Fiber *f);
const Services *fiber_services(Fiber *f);
const RunContext *fiber_run_context(Fiber *f);
Program *fiber_program(Fiber *f);
/** Begin a procedure with an input object (consumed; V_NULL = none) and a whole budget of steps.
 * Then fiber_run. */
XS_MUST_CHECK bool fiber_call(Fiber *f, uint32_t proc, Value input, xs_error *err);
/** Run until it ends or parks. */
FiberState fiber_run(Fiber *f);
/** Continue a parked fiber: the native's result (consumed), or an error when err->code is not
 * XS_OK. Does not run; call fiber_run. */
void fiber_resume(Fiber *f, Value result, const xs_error *err, Value payload);
/* What a parked fiber waits for. */
typedef struct FiberWait FiberWait;
struct FiberWait {
    /** The fiber's thread, after the wake: fiber_resume. The wait is the callee's from here on. */
    void (*finish)(FiberWait *w, Fiber *f);
    /** The fiber ends before that; the same. */
    void (*drop)(FiberWait *w);
};
void fiber_set_wait(Fiber *f, FiberWait *w);
/** After a wake: hand the result over, then fiber_run. false: the fiber waits for the database. */
bool fiber_finish(Fiber *f);
/** A variable of the running procedure by name, or "input"; for natives that compile expressions.
 * Owned; V_UNSET = there is none, it is not set, or memory. */
Value fiber_var(Fiber *f, Text name);
/** Where it is: "function total:12", "query orders/{id} POST:3". For natives. */
void fiber_write_place(const Fiber *f, Buf *out);
/** Milliseconds until its deadline, 0 when it has passed; INT64_MAX without one. */
int64_t fiber_left_ms(const Fiber *f);
/** Steps so far, as Limits.steps counts them: loop edges by the words they repeat, calls, natives.
 */
uint64_t fiber_steps(const Fiber *f);
Value fiber_result(const Fiber *f); /* borrowed, FIBER_DONE */
/** FIBER_ERROR: code, position, message; *name = thrown name or the wire code; *payload borrowed or
 * V_UNSET. XS_E_STOPPED means debug.stop, its value is the payload. */
const xs_error *fiber_error(const Fiber *f, Text *name, Value *payload);
/** The whole message of the error; xs_error cuts it at 239 bytes. Borrowed. */
Text fiber_error_message(const Fiber *f);
/** {"code","message","payload"} of the error, as sent on the wire. */
void fiber_write_error(const Fiber *f, Buf *out);
/** A slot natives may use for state of the whole request (open transaction, held events); freed by
 * free_fn. */
void *fiber_slot(const Fiber *f);
void fiber_set_slot(Fiber *f, void *ptr, void (*free_fn)(void *));
/** Data source of the running frame, inherited by what it calls; 0 = none was chosen. */
uint8_t fiber_source(const Fiber *f);
void fiber_set_source(Fiber *f, uint8_t source);
/** Opaque pointer of the one who drives the fiber (the worker's job). */
void fiber_set_owner(Fiber *f, void *owner);
void *fiber_owner(const Fiber *f);

#endif
