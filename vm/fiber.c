/* fiber.c - a fiber's life: making, calling, parking, ending; its frames and its budget. */
#include "core/json.h"
#include "core/mem.h"
#include "vm/frame.h"
#include "vm/step.h"

enum { STACK_MIN = 64, FRAMES_MIN = 8, NEXT_WORDS = 2 /* of the instruction NEXT */ };

/* ---- budget ---- */

static void begin_slice(Fiber *f)
{
    int64_t size = SLICE_STEPS;
    if (f->limits.steps) {
        uint64_t left = f->limits.steps > f->steps_used ? f->limits.steps - f->steps_used : 0;
        if (left < (uint64_t)size)
            size = (int64_t)left;
    }
    f->slice = f->slice_size = size;
}

static bool past_deadline(const Fiber *f)
{
    const Services *s = f->services;
    return f->limits.deadline_ms && s && s->now_ms && s->now_ms(s->ctx) > f->limits.deadline_ms;
}

bool fiber_tick(Fiber *f)
{
    f->steps_used += (uint64_t)(f->slice_size - f->slice);
    begin_slice(f);
    if (f->limits.steps && f->steps_used > f->limits.steps)
        return raise_code(f, XS_E_STEPS);
    return !past_deadline(f) || raise_code(f, XS_E_DEADLINE);
}

/* ---- frames ---- */

static bool grow_stack(Fiber *f, uint32_t need)
{
    uint32_t cap = f->stack_cap ? f->stack_cap : STACK_MIN;
    while (cap < need)
        cap += cap / 2;
    Value *stack = heap_realloc(f->heap, f->stack, (size_t)f->stack_cap * sizeof(Value),
                                (size_t)cap * sizeof(Value));
    if (!stack)
        return raise_memory(f);
    for (uint32_t i = f->stack_cap; i < cap; i++)
        stack[i] = val_unset();
    f->stack = stack;
    f->stack_cap = cap;
    return true;
}

static bool grow_frames(Fiber *f)
{
    uint32_t cap = f->frames_cap ? f->frames_cap * 2 : FRAMES_MIN;
    Frame *frames = heap_realloc(f->heap, f->frames, (size_t)f->frames_cap * sizeof(Frame),
                                 (size_t)cap * sizeof(Frame));
    if (!frames)
        return raise_memory(f);
    f->frames = frames;
    f->frames_cap = cap;
    f->frames_max = cap < f->limits.depth ? cap : f->limits.depth;
    return true;
}

bool frame_push(Fiber *f, const Proc *proc, uint8_t result_reg)
{
    if (f->nframes >= f->limits.depth)
        return raise_code(f, XS_E_DEPTH);
    if (proc->size > UINT32_MAX / 4 - f->stack_top)
        return raise_code(f, XS_E_MEMORY);
    uint32_t base = f->stack_top, top = base + proc->size;
    if ((top > f->stack_cap && !grow_stack(f, top)) ||
        (f->nframes == f->frames_cap && !grow_frames(f)))
        return false;
    f->stack_top = top;
    uint8_t source = f->nframes ? f->frames[f->nframes - 1].source : 0;
    f->frames[f->nframes++] = (Frame){proc, proc->code, base, result_reg, source};
    return true;
}

void frame_pop(Fiber *f)
{
    const Frame *fr = &f->frames[--f->nframes];
    for (uint32_t i = fr->base; i < fr->base + fr->proc->size; i++) {
        val_unref(f->heap, f->stack[i]);
        f->stack[i] = val_unset();
    }
    f->stack_top = f->nframes ? fr[-1].base + fr[-1].proc->size : 0;
}

bool frame_spread(Fiber *f, Value input)
{
    const Frame *fr = &f->frames[f->nframes - 1];
    const Proc *proc = fr->proc;
    Value *regs = f->stack + fr->base;
    if (!proc->ninputs) {
        ProcKind kind = proc->image->kind;
        if (kind == PROC_TRIGGER || kind == PROC_EXPR)
            regs[0] = val_ref(val_or_null(input));
        return true;
    }
    bool empty_list = input.kind == V_LIST && !input.list->len;
    if (val_is_null(input) || empty_list)
        return true;
    if (input.kind != V_MAP)
        return raise_code(f, XS_E_NOT_OBJECT);
    for (uint32_t i = 0; i < proc->ninputs; i++) {
        const TextObj *name = proc->input_names[i].text;
        int64_t at = map_index_of(input.map, (Text){name->data, name->len}, name->hash);
        if (at != MAP_NOT_FOUND)
            regs[i] = val_ref(input.map->entries[at].value);
    }
    return true;
}

/* ---- life ---- */

Fiber *fiber_new(Program *p, const Services *services, const RunContext *run, const Limits *limits)
{
    Fiber *f = mem_zalloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->limits = limits ? *limits : limits_default;
    if (!f->limits.depth)
        f->limits.depth = MAX_FRAMES;
    f->heap = heap_new(f->limits.heap_bytes);
    if (!f->heap) {
        mem_free(f);
        return NULL;
    }
    f->program = program_ref(p);
    f->services = services;
    f->run = run;
    f->exec = fiber_exec;
    f->state = FIBER_READY;
    begin_slice(f);
    return f;
}

void fiber_set_trace(Fiber *f, TraceFn fn, void *ctx)
{
    f->trace = fn;
    f->trace_ctx = ctx;
    f->exec = fn ? fiber_exec_traced : fiber_exec;
}

void fiber_free(Fiber *f)
{
    if (!f)
        return;
    if (f->wait)
        f->wait->drop(f->wait);
    fiber_set_slot(f, NULL, NULL);
    heap_free(f->heap);
    program_unref(f->program);
    mem_free(f);
}

static void forget_last_run(Fiber *f)
{
    while (f->nframes)
        frame_pop(f);
    raised_clear(f->heap, &f->raised);
    f->resume_error = false;
    val_unref(f->heap, f->result);
    f->result = val_unset();
    f->state = FIBER_READY;
    f->steps_used = 0;
    begin_slice(f);
}

static bool begin_call(Fiber *f, uint32_t proc, Value input)
{
    return frame_push(f, &f->program->procs[proc], 0) && frame_spread(f, input);
}

bool fiber_call(Fiber *f, uint32_t proc, Value input, xs_error *err)
{
    forget_last_run(f);
    bool ok;
    if (proc >= f->program->image.nprocs) {
        ok = xs_fail(err, XS_E_BUG, XS_NO_POS, "no procedure %u", proc);
    } else {
        ok = begin_call(f, proc, input);
        if (!ok && err)
            *err = f->raised.err;
    }
    if (!ok) {
        while (f->nframes)
            frame_pop(f);
        f->state = FIBER_ERROR;
        if (!f->raised.err.code)
            raise_code(f, XS_E_BUG);
    }
    val_unref(f->heap, input);
    return ok;
}

FiberState fiber_run(Fiber *f)
{
    if (f->state != FIBER_READY)
        return f->state;
    bool raised = true;
    if (!f->nframes)
        raise_bug(f, "nothing to run");
    else if (f->resume_error)
        f->resume_error = false;
    else if (past_deadline(f))
        raise_code(f, XS_E_DEADLINE);
    else
        raised = false;
    if (raised && !fiber_unwind(f))
        return f->state = FIBER_ERROR;
    return f->state = f->exec(f);
}

void fiber_watch_statements(Fiber *f, const StatementWatch *w)
{
    f->watch = w;
}

/* The statement that parked is over: its window is cleared, the first register has the result. */
static void take_result(Fiber *f, Value result, const xs_error *err)
{
    Value *regs = f->stack + f->frames[f->nframes - 1].base + f->park_reg;
    for (uint32_t i = 0; i < f->park_args || i == 0; i++) {
        val_unref(f->heap, regs[i]);
        regs[i] = val_unset();
    }
    if (f->watch)
        f->watch->end(f->watch->ctx, err);
    if (!err)
        regs[0] = val_or_null(result);
}

void fiber_resume(Fiber *f, Value result, const xs_error *err, Value payload)
{
    if (f->state != FIBER_PARKED || !f->nframes) {
        val_unref(f->heap, result);
        val_unref(f->heap, payload);
        return;
    }
    bool ok = !err || err->code == XS_OK, repeat = f->park_repeat;
    f->park_repeat = false;
    f->state = FIBER_READY;
    if (repeat && ok)
        f->frames[f->nframes - 1].pc -= NEXT_WORDS;
    else if (!repeat)
        take_result(f, ok ? result : val_unset(), ok ? NULL : err);
    if (ok) {
        if (repeat)
            val_unref(f->heap, result);
        val_unref(f->heap, payload);
        return;
    }
    val_unref(f->heap, result);
    raised_clear(f->heap, &f->raised);
    f->raised.err = *err;
    f->raised.payload = payload;
    f->resume_error = true;
}

Value fiber_var(Fiber *f, Text name)
{
    if (!f->nframes)
        return val_unset();
    const Frame *fr = &f->frames[f->nframes - 1];
    const ProcImage *p = fr->proc->image;
    const Value *regs = f->stack + fr->base;
    Value input = val_unset();
    if (text_eq(name, TEXT("input")))
        return step_get_input(f, &input, fr->proc, regs) ? input : val_unset();
    for (uint32_t i = 0; i < p->nvars; i++)
        if (text_eq(val_text_view(f->program->consts[p->vars[2 * i + 1]]), name))
            return val_ref(regs[p->vars[2 * i]]);
    return val_unset();
}

int64_t fiber_left_ms(const Fiber *f)
{
    const Services *s = f->services;
    if (!f->limits.deadline_ms || !s || !s->now_ms)
        return INT64_MAX;
    int64_t now = s->now_ms(s->ctx);
    return now < f->limits.deadline_ms ? f->limits.deadline_ms - now : 0;
}

void fiber_set_wait(Fiber *f, FiberWait *w)
{
    f->wait = w;
}

bool fiber_finish(Fiber *f)
{
    FiberWait *w = f->wait;
    if (!w)
        return false;
    f->wait = NULL;
    w->finish(w, f);
    return true;
}

uint64_t fiber_steps(const Fiber *f)
{
    return f->steps_used + (uint64_t)(f->slice_size - f->slice);
}

Value fiber_result(const Fiber *f)
{
    return val_or_null(f->result);
}

const xs_error *fiber_error(const Fiber *f, Text *name, Value *payload)
{
    if (name)
        *name = raised_code_text(&f->raised);
    if (payload)
        *payload = raised_wire_payload(&f->raised);
    return &f->raised.err;
}

Text fiber_error_message(const Fiber *f)
{
    return raised_message_text(&f->raised);
}

void fiber_write_error(const Fiber *f, Buf *out)
{
    buf_cstr(out, "{\"code\":");
    json_write_text(out, raised_code_text(&f->raised));
    buf_cstr(out, ",\"message\":");
    json_write_text(out, raised_message_text(&f->raised));
    buf_cstr(out, ",\"payload\":");
    Value payload = raised_wire_payload(&f->raised);
    size_t before = out->len;
    if (val_is_null(payload) || !val_write_json(payload, out)) {
        if (!out->failed)
            out->len = before; /* nested too deep to print */
        buf_cstr(out, "\"\"");
    }
    buf_char(out, '}');
}

/* ---- what natives and the host ask ---- */

Heap *fiber_heap(Fiber *f)
{
    return f->heap;
}

const Services *fiber_services(Fiber *f)
{
    return f->services;
}

const RunContext *fiber_run_context(Fiber *f)
{
    return f->run;
}

Program *fiber_program(Fiber *f)
{
    return f->program;
}

uint8_t fiber_source(const Fiber *f)
{
    return f->nframes ? f->frames[f->nframes - 1].source : 0;
}

void fiber_set_source(Fiber *f, uint8_t source)
{
    if (f->nframes)
        f->frames[f->nframes - 1].source = source;
}

void *fiber_slot(const Fiber *f)
{
    return f->slot;
}

void fiber_set_slot(Fiber *f, void *ptr, void (*free_fn)(void *))
{
    void *old = f->slot;
    void (*old_free)(void *) = f->slot_free;
    f->slot = ptr;
    f->slot_free = free_fn;
    if (old && old != ptr && old_free)
        old_free(old);
}

void fiber_set_owner(Fiber *f, void *owner)
{
    f->owner = owner;
}

void *fiber_owner(const Fiber *f)
{
    return f->owner;
}
