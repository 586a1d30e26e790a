/* error.c - raising, catching and describing errors of a running program. Specification: runtime.md
 * §1.5. */
#include "core/num.h"
#include "core/text.h"
#include "vm/frame.h"

/* ---- raising ---- */

void raised_clear(Heap *h, Raised *r)
{
    val_unref(h, r->message);
    val_unref(h, r->name);
    val_unref(h, r->payload);
    *r = (Raised){0};
}

bool raise_code(Fiber *f, xs_code code)
{
    raised_clear(f->heap, &f->raised);
    return xs_fail(&f->raised.err, code, XS_NO_POS, "%s", xs_code_get(code)->text);
}

bool raise_memory(Fiber *f)
{
    raised_clear(f->heap, &f->raised);
    return heap_fail(f->heap, &f->raised.err);
}

bool raise_bug(Fiber *f, const char *what)
{
    raised_clear(f->heap, &f->raised);
    return xs_fail(&f->raised.err, XS_E_BUG, XS_NO_POS, "Internal error: %s", what);
}

bool raise_missing(Fiber *f, const Proc *proc, uint32_t pc, uint32_t nth, Value key)
{
    char buf[NUM_TEXT_MAX];
    Text path = TEXT("?");
    val_scalar_text(key, buf, &path, NULL);
    const ProcImage *image = proc->image;
    for (uint32_t i = 0; i < image->nnames; i++)
        if (image->names[2 * i] == pc && !nth--)
            path = val_text_view(f->program->consts[image->names[2 * i + 1]]);
    const Text input = TEXT("input.");
    bool of_input = text_starts(path, input);
    raised_clear(f->heap, &f->raised);
    return xs_fail(&f->raised.err, XS_E_UNKNOWN_VAR, XS_NO_POS, "Unable to locate %s: " TEXT_FMT,
                   of_input ? "input" : "var",
                   TEXT_ARG(of_input ? text_slice(path, input.len, path.len) : path));
}

/* Message text of any length: cut in err, whole beside it. */
static bool raise_text(Fiber *f, xs_code code, Text message)
{
    raised_clear(f->heap, &f->raised);
    xs_error *err = &f->raised.err;
    size_t fits = message.len < sizeof err->message ? message.len : sizeof err->message - 1;
    if (fits < message.len)
        while (fits && ((uint8_t)message.ptr[fits] & 0xC0) == 0x80)
            fits--;
    xs_fail(err, code, XS_NO_POS, "%.*s", (int)fits, message.ptr ? message.ptr : "");
    if (fits == message.len &&
        memchr(err->message, '\0', sizeof err->message) == err->message + fits)
        return false;
    f->raised.message = text_new(f->heap, message);
    return f->raised.message.kind == V_UNSET ? raise_memory(f) : false;
}

/* error_type text to its code; XS_OK when it is none. */
static xs_code precondition_code(Text type)
{
    for (int code = XS_E_STANDARD; code <= XS_E_TOOMANYREQUESTS; code++)
        if (text_eq(type, text_from(xs_code_get((xs_code)code)->symbol)))
            return (xs_code)code;
    return XS_OK;
}

bool raise_precondition(Fiber *f, Value type, Value error, Value payload)
{
    char buf[NUM_TEXT_MAX];
    Text text = TEXT("");
    xs_code code = XS_E_STANDARD;
    if (!val_is_null(type)) {
        if (!val_scalar_text(type, buf, &text, NULL))
            text = text_from(val_kind_name(type));
        code = precondition_code(text);
    }
    if (code == XS_OK) {
        raised_clear(f->heap, &f->raised);
        return xs_fail(&f->raised.err, XS_E_INPUTERROR, XS_NO_POS,
                       "Input '" TEXT_FMT "' is not one of the allowable values.",
                       TEXT_ARG(text_slice(text, 0, 100)));
    }
    Text message = TEXT("Precondition failed.");
    if (val_truthy(error))
        val_scalar_text(error, buf, &message, NULL);
    raise_text(f, code, message);
    if (f->raised.err.code == code && !val_is_null(payload))
        f->raised.payload = val_ref(payload);
    return false;
}

bool raise_throw(Fiber *f, Value name, Value value)
{
    char buf[NUM_TEXT_MAX];
    Text text;
    if (val_is_null(name) || !val_scalar_text(name, buf, &text, NULL))
        text = TEXT("");
    Value name_text = text_new(f->heap, text);
    if (name_text.kind == V_UNSET)
        return raise_memory(f);
    raise_text(f, XS_E_THROWN, value.kind == V_TEXT ? val_text_view(value) : text);
    if (f->raised.err.code != XS_E_THROWN) {
        val_unref(f->heap, name_text);
        return false;
    }
    f->raised.name = name_text;
    if (!val_is_null(value))
        f->raised.payload = val_ref(value);
    return false;
}

bool raise_stop(Fiber *f, Value value)
{
    raise_code(f, XS_E_STOPPED);
    f->raised.payload = val_ref(val_or_null(value));
    return false;
}

/* ---- describing ---- */

Text raised_code_text(const Raised *r)
{
    if (r->name.kind == V_TEXT && r->name.text->len)
        return val_text_view(r->name);
    return text_from(xs_code_get(r->err.code)->wire);
}

Text raised_message_text(const Raised *r)
{
    return r->message.kind == V_TEXT ? val_text_view(r->message) : text_from(r->err.message);
}

Value raised_wire_payload(const Raised *r)
{
    bool is_message = r->err.code == XS_E_THROWN && r->payload.kind == V_TEXT;
    return is_message ? val_unset() : r->payload;
}

/* ---- catching ---- */

static void box_free(Heap *h, HandleObj *self)
{
    Raised *r = self->ptr;
    if (!r)
        return;
    raised_clear(h, r);
    heap_release(h, r, sizeof *r);
    self->ptr = NULL;
}

static const char box_type[] = "error";

/* {code, name, message, result} */
static Value describe(Fiber *f, const Raised *r)
{
    Heap *h = f->heap;
    Text code = raised_code_text(r);
    Text name = r->err.code == XS_E_DEADLOCK ? TEXT("DeadlockError") : code;
    Value map = map_new(h, 4);
    if (map.kind == V_MAP && map_set_text(h, &map, TEXT("code"), text_new(h, code)) &&
        map_set_text(h, &map, TEXT("name"), text_new(h, name)) &&
        map_set_text(h, &map, TEXT("message"), text_new(h, raised_message_text(r))) &&
        map_set_text(h, &map, TEXT("result"), val_ref(val_or_null(r->payload))))
        return map;
    val_unref(h, map);
    return val_unset();
}

Value error_box(Fiber *f)
{
    Heap *h = f->heap;
    if (f->raised.err.code == XS_OK)
        raise_bug(f, "a handler ran without an error");
    Raised *r = heap_alloc(h, sizeof *r);
    Value box = r ? handle_new(h, box_type, r, box_free) : val_unset();
    Value described = box.kind == V_HANDLE ? describe(f, &f->raised) : val_unset();
    if (described.kind == V_UNSET) {
        if (box.kind == V_HANDLE)
            box.handle->ptr = NULL;
        heap_release(h, r, sizeof *r);
        val_unref(h, box);
        raise_memory(f);
        return val_unset();
    }
    *r = f->raised; /* takes its values over */
    f->raised = (Raised){0};
    val_unref(h, f->last_error);
    f->last_error = described;
    return box;
}

bool error_unbox(Fiber *f, Value box)
{
    if (box.kind != V_HANDLE || box.handle->type != box_type || !box.handle->ptr)
        return raise_bug(f, "rethrow of something that is no error");
    const Raised *r = box.handle->ptr;
    raised_clear(f->heap, &f->raised);
    f->raised.err = r->err;
    f->raised.message = val_ref(r->message);
    f->raised.name = val_ref(r->name);
    f->raised.payload = val_ref(r->payload);
    return false;
}

static bool is_catchable(xs_code code)
{
    switch (code) {
    case XS_E_STOPPED:
    case XS_E_EXPECT: /* ends the test, whatever stands around it */
    case XS_E_STEPS:
    case XS_E_DEADLINE:
    case XS_E_MEMORY:
    case XS_E_NOMEM: return false;
    default: return true;
    }
}

static bool line_entry(const ProcImage *p, uint32_t pc, uint32_t *entry)
{
    uint32_t low = 0, high = p->nlines;
    while (low < high) { /* the first entry behind pc */
        uint32_t middle = low + (high - low) / 2;
        if (p->lines[middle].pc <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    *entry = low ? low - 1 : 0;
    return low > 0;
}

bool program_place(const Program *p, uint32_t proc, uint32_t pc, uint32_t *entry)
{
    return line_entry(p->procs[proc].image, pc, entry);
}

static xs_pos position(const Proc *proc, uint32_t pc)
{
    const ProcImage *p = proc->image;
    uint32_t entry;
    if (!line_entry(p, pc, &entry))
        return (xs_pos){.file = proc->file};
    return (xs_pos){.file = proc->file, .line = p->lines[entry].line, .col = p->lines[entry].col};
}

void fiber_write_place(const Fiber *f, Buf *out)
{
    static const char *const kinds[PROC_KIND_COUNT] = {
        "function", "query", "trigger", "task", "middleware", "addon", "test", "expression"};
    if (!f->nframes)
        return;
    const Frame *fr = &f->frames[f->nframes - 1];
    const ProcImage *p = fr->proc->image;
    uint32_t pc = fr->pc > fr->proc->code ? (uint32_t)(fr->pc - fr->proc->code) - 1 : 0;
    size_t blank = p->kind == PROC_QUERY ? text_find(p->name, TEXT(" "), 0) : SIZE_MAX;
    buf_printf(out, "%s ", p->kind < PROC_KIND_COUNT ? kinds[p->kind] : "?");
    if (blank == SIZE_MAX) {
        buf_text(out, p->name);
    } else { /* named "POST orders" */
        buf_text(out, text_slice(p->name, blank + 1, p->name.len));
        buf_char(out, ' ');
        buf_text(out, text_slice(p->name, 0, blank));
    }
    buf_printf(out, ":%u", position(fr->proc, pc).line);
}

bool fiber_unwind(Fiber *f)
{
    if (f->raised.err.code == XS_OK)
        raise_bug(f, "an error without a code");
    bool catchable = is_catchable(f->raised.err.code);
    while (f->nframes) {
        Frame *fr = &f->frames[f->nframes - 1];
        uint32_t pc = fr->pc > fr->proc->code ? (uint32_t)(fr->pc - fr->proc->code) - 1 : 0;
        if (!f->raised.err.pos.line)
            f->raised.err.pos = position(fr->proc, pc);
        const ProcImage *p = fr->proc->image;
        for (uint32_t i = 0; catchable && i < p->nhandlers; i++) {
            if (pc >= p->handlers[i].from && pc < p->handlers[i].to) {
                fr->pc = fr->proc->code + p->handlers[i].target;
                return true;
            }
        }
        frame_pop(f);
    }
    return false;
}
