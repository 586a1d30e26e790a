/* front.c - memory and reporting of one compilation. */
#include "frontend/front.h"

typedef enum DiagSeverity { DS_ERROR, DS_WARNING, DS_STRICT } DiagSeverity;

static const struct {
    const char *text;
    DiagSeverity severity;
} diag_rows[DIAG_ID_COUNT] = {
#define DIAG(id, text, severity, doc) {text, DS_##severity},
#include "core/lang/diags.def"
#undef DIAG
};

bool comp_init(Comp *c, Arena *a, DiagList *diags, const CompileOptions *opt)
{
    *c = (Comp){.a = a, .diags = diags, .opt = opt};
    c->file = &c->nowhere;
    tables_init();
    c->reserve = arena_alloc(a, RESERVE_BYTES);
    c->oom = !c->reserve;
    return !c->oom;
}

FileState *comp_file(Comp *c, const char *file)
{
    c->file = NEW(c, FileState);
    c->file->file = file;
    return c->file;
}

void *comp_new(Comp *c, size_t size)
{
    void *p = c->oom ? NULL : arena_alloc(c->a, size);
    if (p)
        return p;
    c->oom = true;
    size_t at = (c->reserve_used + 15) & ~(size_t)15;
    if (NEVER(size > MAX_NODE_BYTES || at + size > RESERVE_BYTES))
        at = RESERVE_BYTES - MAX_NODE_BYTES;
    c->reserve_used = at + size;
    p = c->reserve + at;
    memset(p, 0, size);
    return p;
}

Text comp_text(Comp *c, Text t)
{
    Text copy = arena_text(c->a, t);
    if (copy.ptr)
        return copy;
    c->oom = true;
    return TEXT("");
}

bool comp_grow(Comp *c, void **items, size_t *cap, size_t len, size_t item)
{
    if (len < *cap)
        return true;
    size_t more = *cap ? *cap * 2 : 4;
    if (c->oom || more > SIZE_MAX / item)
        return false;
    void *p = arena_alloc(c->a, more * item);
    if (!p) {
        c->oom = true;
        return false;
    }
    if (len)
        memcpy(p, *items, len * item);
    *items = p;
    *cap = more;
    return true;
}

static bool wanted(Comp *c, DiagId id, Pos pos)
{
    DiagSeverity severity = diag_rows[id].severity;
    FileState *f = c->file;
    if (f->open_text && (id == D_UNCLOSED_BLOCK || id == D_UNEXPECTED_TOKEN))
        return false;
    if (severity == DS_STRICT && !c->opt->strict)
        return false;
    if (severity == DS_WARNING)
        return f->warnings++ < MAX_FILE_WARNINGS;
    for (uint32_t i = 0; i < f->errors; i++)
        if (pos.line && f->lines[i] == pos.line)
            return false;
    if (f->errors >= MAX_FILE_ERRORS)
        return false;
    f->lines[f->errors++] = pos.line;
    return true;
}

void report(Comp *c, DiagId id, Pos pos, Text hint, const char *fmt, ...)
{
    DiagSeverity severity = diag_rows[id].severity;
    if (!wanted(c, id, pos))
        return;
    Buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    xs_pos at = {.file = c->file->file, .line = pos.line, .col = pos.col, .len = pos.len};
    diag_add(c->diags, severity == DS_WARNING ? SEV_WARNING : SEV_ERROR, diag_rows[id].text, at,
             hint, TEXT_FMT, TEXT_ARG(buf_view(&b)));
    buf_deinit(&b);
}

void report_extension(Comp *c, Pos pos, int number, const char *what)
{
    report(c, D_EXTENSION, pos, NO_HINT, "%s (E%d) is not accepted by the platform", what, number);
}

Text hint_near(Comp *c, Text near)
{
    return near.ptr ? arena_printf(c->a, "did you mean '" TEXT_FMT "'?", TEXT_ARG(near)) : NO_HINT;
}

Const *k_map(Comp *c)
{
    Const *m = const_map(c->a, 4);
    c->oom = c->oom || !m;
    return m;
}

Const *k_list(Comp *c)
{
    Const *l = const_list(c->a, 4);
    c->oom = c->oom || !l;
    return l;
}

const Const *k_text(Comp *c, Text t)
{
    const Const *k = const_text(c->a, t);
    c->oom = c->oom || !k;
    return k ? k : &const_null;
}

const Const *k_int(Comp *c, int64_t n)
{
    const Const *k = const_int(c->a, n);
    c->oom = c->oom || !k;
    return k ? k : &const_null;
}

const Const *k_dec(Comp *c, double d)
{
    const Const *k = const_dec(c->a, d);
    c->oom = c->oom || !k;
    return k ? k : &const_null;
}

void k_set(Comp *c, Const *map, Text key, const Const *value)
{
    if (!map || !value || !const_set(c->a, map, key, value))
        c->oom = true;
}

void k_push(Comp *c, Const *list, const Const *value)
{
    if (!list || !value || !const_push(c->a, list, value))
        c->oom = true;
}

void k_set_text(Comp *c, Const *map, const char *key, Text value)
{
    k_set(c, map, text_from(key), k_text(c, value));
}

void k_set_bool(Comp *c, Const *map, const char *key, bool value)
{
    k_set(c, map, text_from(key), const_bool(value));
}
