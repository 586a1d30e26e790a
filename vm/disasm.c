/* disasm.c - a program as text: per procedure its header, then pc, line, operation and the filled
 * synopsis of opcodes.def. The format is that of tests/golden. */
#include "core/json.h"
#include "core/lang/opcodes.h"
#include "core/text.h"
#include "vm/program.h"

typedef struct Listing {
    const BundleImage *image;
    const ProcImage *proc;
    Buf *out;
    uint32_t pc, ins, x;
    Text source;    /* of the procedure's file; len 0 = not shown */
    uint32_t shown; /* its line above the last instructions */
} Listing;

static const char *const kind_names[PROC_KIND_COUNT] = {
    "function", "query", "realtime_trigger", "task",    "middleware",
    "addon",    "test",  "expression",       "message",
};

static void put_operand(Listing *l, uint8_t kind, unsigned shift)
{
    if (kind == OPND_I16)
        buf_printf(l->out, "%d", INS_SBX(l->ins));
    else if (kind == OPND_U16 || kind == OPND_K16)
        buf_printf(l->out, "%u", INS_BX(l->ins));
    else if (kind == OPND_SI)
        buf_printf(l->out, "%d", (int8_t)(l->ins >> shift));
    else
        buf_printf(l->out, "%u", (uint8_t)(l->ins >> shift));
}

static void put_const(Listing *l, uint32_t k)
{
    if (k < l->image->nconsts)
        json_write_const(l->out, l->image->consts[k]);
}

static void put_site(Listing *l)
{
    const SiteImage *site = &l->image->sites[l->x];
    buf_text(l->out, l->image->imports[site->import].name);
    buf_printf(l->out, "#%u", l->x);
}

static void put_target(Listing *l, const OpInfo *op)
{
    int64_t next = (int64_t)l->pc + op_words(op);
    int64_t target = next + (op->a == OPND_J24   ? INS_J(l->ins)
                             : op->x == OPND_XKJ ? (int32_t)l->proc->code[l->pc + 2]
                                                 : (int32_t)l->x);
    buf_printf(l->out, "%lld", (long long)target);
}

static void put_escape(Listing *l, const OpInfo *op, char escape)
{
    switch (escape) {
    case 'a': put_operand(l, op->a, 8); break;
    case 'b': put_operand(l, op->b, 16); break;
    case 'c': put_operand(l, op->c, 24); break;
    case 'k': put_const(l, op->b == OPND_K16 ? INS_BX(l->ins) : l->x); break;
    case 'j': put_target(l, op); break;
    case 'p': buf_text(l->out, l->image->procs[l->x].name); break;
    case 's': put_site(l); break;
    case 'f': buf_text(l->out, l->image->imports[l->x & 0xffff].name); break;
    case 'n': buf_printf(l->out, "%u", op->x == OPND_XF ? XF_COUNT(l->x) : l->x); break;
    case 'x': buf_printf(l->out, "%u", l->x); break;
    default: buf_char(l->out, escape); break;
    }
}

static void put_synopsis(Listing *l, const OpInfo *op)
{
    for (const char *s = op->synopsis; *s; s++) {
        if (*s == '%' && s[1])
            put_escape(l, op, *++s);
        else
            buf_char(l->out, *s);
    }
}

static void put_source_line(Listing *l, uint32_t line)
{
    size_t from = 0, end = 0;
    if (line == l->shown || !l->source.len)
        return;
    l->shown = line;
    for (uint32_t n = 1;; n++) {
        end = text_find(l->source, TEXT("\n"), from);
        if (n == line || end == SIZE_MAX)
            break;
        from = end + 1;
    }
    Text text = text_trim(text_slice(l->source, from, end), TEXT(" \t\r"));
    buf_printf(l->out, "       %5u | " TEXT_FMT "\n", line, TEXT_ARG(text));
}

static uint32_t put_instruction(Listing *l, uint32_t *line_at)
{
    const ProcImage *p = l->proc;
    const OpInfo *op = &op_info[INS_OP(l->ins)];
    while (*line_at + 1 < p->nlines && p->lines[*line_at + 1].pc <= l->pc)
        ++*line_at;
    bool known = *line_at < p->nlines && p->lines[*line_at].pc <= l->pc;
    if (known)
        put_source_line(l, p->lines[*line_at].line);
    if (known)
        buf_printf(l->out, "  %4u %5u  %-9s ", l->pc, p->lines[*line_at].line, op->name);
    else
        buf_printf(l->out, "  %4u     -  %-9s ", l->pc, op->name);
    put_synopsis(l, op);
    for (uint32_t i = 0; i < p->nnames; i++)
        if (p->names[2 * i] == l->pc)
            buf_printf(l->out, "  ; " TEXT_FMT,
                       TEXT_ARG(l->image->consts[p->names[2 * i + 1]]->text));
    buf_char(l->out, '\n');
    return op_words(op);
}

static void put_proc(Listing *l, uint32_t index)
{
    const ProcImage *p = l->proc;
    buf_printf(l->out, "proc %u %s \"" TEXT_FMT "\"  registers %u, far %u, inputs %u", index,
               kind_names[p->kind], TEXT_ARG(p->name), p->nregs, p->nfar, p->ninputs);
    if (p->file.len)
        buf_printf(l->out, "  " TEXT_FMT, TEXT_ARG(p->file));
    buf_char(l->out, '\n');
    for (uint32_t i = 0; i < p->ninputs; i++) {
        buf_printf(l->out, "  input r%u ", i);
        json_write_const(l->out, p->inputs->items[i]);
        buf_char(l->out, '\n');
    }
    uint32_t line_at = 0;
    for (l->pc = 0; l->pc < p->ncode;) {
        l->ins = p->code[l->pc];
        l->x = l->pc + 1 < p->ncode ? p->code[l->pc + 1] : 0;
        l->pc += put_instruction(l, &line_at);
    }
    for (uint32_t i = 0; i < p->nhandlers; i++)
        buf_printf(l->out, "  handler %u..%u goto %u\n", p->handlers[i].from, p->handlers[i].to,
                   p->handlers[i].target);
}

void program_disasm(const Program *p, DiagSource source, void *ctx, Buf *out)
{
    Listing l = {.image = &p->image, .out = out};
    for (uint32_t i = 0; i < p->image.nsites; i++) {
        const SiteImage *site = &p->image.sites[i];
        if (!site->desc || site->desc->kind == C_NULL)
            continue;
        buf_printf(out, "site %u " TEXT_FMT " ", i, TEXT_ARG(p->image.imports[site->import].name));
        json_write_const(out, site->desc);
        buf_char(out, '\n');
    }
    for (uint32_t i = 0; i < p->image.nprocs; i++) {
        l.proc = &p->image.procs[i];
        if (i || p->image.nsites)
            buf_char(out, '\n');
        l.source = source && l.proc->file.len ? source(ctx, l.proc->file.ptr) : (Text){0};
        l.shown = 0;
        put_proc(&l, i);
    }
}
