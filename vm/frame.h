/* frame.h - inside of a running fiber: its register stack, frames and pending error. Shared by
 * fiber.c, error.c, sys.c and exec.c. Thread: the one that runs the fiber. */
#ifndef VM_FRAME_H
#define VM_FRAME_H

#include "core/lang/opcodes.h"
#include "vm/limits.h"
#include "vm/obj.h"
#include "vm/program.h"

typedef struct Frame {
    const Proc *proc;
    const uint32_t *pc; /* where to go on; an error is that of the instruction before it */
    uint32_t base;      /* of its registers in the stack, which may move */
    uint8_t result_reg; /* of the caller */
    uint8_t source;     /* data source chosen here or by a caller; 0 = the run's own */
} Frame;

/* An error on its way: what xs_error has no room for. All owned. */
typedef struct Raised {
    xs_error err;
    Value message; /* the whole text when err.message cuts it; V_UNSET otherwise */
    Value name;    /* thrown name; V_UNSET otherwise */
    Value payload; /* V_UNSET = none. Of a throw: its value */
} Raised;

enum { HINTS = 256 };

struct Fiber {
    Program *program;
    Heap *heap;
    const Services *services;
    const RunContext *run;
    Limits limits;
    FiberState (*exec)(Fiber *f); /* fiber_exec or a twin of it */
    TraceFn trace;                /* of fiber_exec_traced */
    void *trace_ctx;
    const StatementWatch *watch; /* NULL = nobody */
    FiberState state;

    Value *stack; /* registers of all frames; a callee may begin inside its caller's. Behind those
                   * of the top frame every slot is unset */
    uint32_t stack_cap, stack_top;
    Frame *frames;
    uint32_t nframes, frames_cap;
    uint32_t frames_max; /* frames that fit: the lower of capacity and depth limit */

    int64_t slice;      /* instructions until the next look at budget and clock */
    int64_t slice_size; /* what slice began with */
    uint64_t steps_used;

    Raised raised;
    bool resume_error; /* raised is to be thrown when the fiber goes on */
    uint8_t park_reg, park_args;
    bool park_repeat; /* parked in a NEXT, which then runs again and takes no result */

    Value result;
    Value last_error;    /* $error, V_UNSET = none caught yet */
    Value auth, headers; /* $auth and $env.$http_headers once read */
    void *slot;
    void (*slot_free)(void *);
    void *owner;
    struct FiberWait *wait; /* of a native that parked */
    uint32_t hints[HINTS];  /* by instruction: where the member was found last time */
};

/* ---- fiber.c ---- */
FiberState fiber_exec(Fiber *f);
FiberState fiber_exec_traced(Fiber *f); /* exec_traced.c: the same, calling f->trace */
/** Push a frame behind the top one, with all registers unset. false: raised is set (depth, memory).
 * May move the stack. */
XS_MUST_CHECK bool frame_push(Fiber *f, const Proc *proc, uint8_t result_reg);
void frame_pop(Fiber *f);
/** Put the members of an input object into the registers of the top frame. Borrows input. */
XS_MUST_CHECK bool frame_spread(Fiber *f, Value input);
/** The slice is spent: count it, look at the limits, begin the next. false: raised is set. */
XS_MUST_CHECK bool fiber_tick(Fiber *f);

/* ---- error.c: all of them return false ---- */
void raised_clear(Heap *h, Raised *r);
bool raise_code(Fiber *f, xs_code code);
bool raise_memory(Fiber *f);
bool raise_bug(Fiber *f, const char *what);
bool raise_missing(Fiber *f, const Proc *proc, uint32_t pc, uint32_t nth, Value key); /* name */
bool raise_precondition(Fiber *f, Value type, Value error, Value payload);            /* borrowed */
bool raise_throw(Fiber *f, Value name, Value value);
bool raise_stop(Fiber *f, Value value);
/** Box the raised error (then clear) and make it $error. V_UNSET: memory, raised is set. */
Value error_box(Fiber *f);
bool error_unbox(Fiber *f, Value box); /* raise it again */
/** Find the handler of the raised error: the top frame then continues there. false: none, all
 * frames are gone. */
XS_MUST_CHECK bool fiber_unwind(Fiber *f);
/** Member values of $error for a raised error. */
Text raised_code_text(const Raised *r);
Text raised_message_text(const Raised *r);
Value raised_wire_payload(const Raised *r); /* borrowed; V_UNSET = none */

/* ---- sys.c ---- */
XS_MUST_CHECK bool sys_read(Fiber *f, SysVar which, Value *out);
XS_MUST_CHECK bool sys_env(Fiber *f, Text name, Value *out);

#endif
