/* compile.c - the stages in order: parse every file, resolve names, check, generate. */
#include "frontend/gen.h"

#include "core/json.h"

/* ---- one program ---- */

static void parse_all(Prog *pr, const SourceFile *files, size_t count, bool bare)
{
    for (size_t i = 0; i < count && !pr->c->oom; i++) {
        const char *path = comp_text(pr->c, files[i].path).ptr;
        comp_file(pr->c, path);
        if (files[i].text.len > UINT32_MAX / 2) {
            report(pr->c, D_INVALID_TEXT, (Pos){1, 1, 1, 0}, NO_HINT, "file is too large");
            continue;
        }
        parse_file(pr->c, files[i].text, bare, text_from(path), &pr->all);
    }
}

static void check_all(Prog *pr)
{
    prog_resolve(pr);
    for (size_t i = 0; i < pr->all.len; i++)
        prog_inputs(pr, pr->all.ptr[i]);
    for (size_t i = 0; i < pr->all.len && !pr->c->oom; i++)
        check_construct(pr, pr->all.ptr[i]);
}

static bool has_code(const Construct *k)
{
    return (construct_info[k->kind].flags & CF_RUNS) != 0;
}

static void image_of(const Emit *em, const Const *meta, BundleImage *out)
{
    *out = (BundleImage){
        .consts = em->consts.ptr,
        .nconsts = (uint32_t)em->consts.len,
        .imports = em->imports.ptr,
        .nimports = (uint32_t)em->imports.len,
        .sites = em->sites.ptr,
        .nsites = (uint32_t)em->sites.len,
        .procs = em->procs.ptr,
        .nprocs = (uint32_t)em->procs.len,
        .meta = meta,
    };
}

static bool generate_one(Prog *pr, Emit *em, const Construct *k)
{
    ProcImage proc;
    pr->c->file = k->state;
    return gen_construct(pr, em, k, &proc) && PUSH(pr->c, &em->procs, proc);
}

static bool generate(Prog *pr, BundleImage *out)
{
    Emit em;
    uint32_t n = 0;
    bool ok = true;
    emit_init(&em, pr->c);
    for (size_t i = 0; i < pr->all.len; i++)
        if (has_code(pr->all.ptr[i]))
            pr->all.ptr[i]->proc = n++;
    em.nmain = n;
    for (size_t i = 0; i < pr->all.len && !pr->c->oom; i++)
        if (has_code(pr->all.ptr[i]))
            ok = generate_one(pr, &em, pr->all.ptr[i]) && ok;
    for (size_t i = 0; i < em.deferred.len && ok && !pr->c->oom; i++)
        ok = generate_one(pr, &em, em.deferred.ptr[i]);
    const Const *tests = ok && pr->c->opt->tests ? gen_tests(pr, &em) : NULL;
    const Const *meta = meta_program(pr, pr->c->opt->program_name, tests);
    ok = ok && !pr->c->oom && pr->c->diags->errors == 0;
    if (ok)
        image_of(&em, meta, out);
    emit_deinit(&em);
    return ok;
}

static bool out_of_memory(Comp *c)
{
    if (c->oom) {
        c->nowhere = (FileState){0};
        c->file = &c->nowhere;
        report(c, D_OUT_OF_MEMORY, (Pos){0}, NO_HINT, "the compiler ran out of memory");
    }
    return c->oom;
}

bool compile_program(Arena *a, const SourceFile *files, size_t count, const CompileOptions *options,
                     DiagList *diags, BundleImage *out)
{
    Comp c;
    Prog pr = {.c = &c};
    if (!comp_init(&c, a, diags, options))
        return !out_of_memory(&c);
    c.loose = options->allow_bare_statements;
    size_t before = diags->errors;
    parse_all(&pr, files, count, options->allow_bare_statements);
    if (!c.oom)
        check_all(&pr);
    bool ok = !c.oom && diags->errors == before && generate(&pr, out);
    prog_deinit(&pr);
    return !out_of_memory(&c) && ok;
}

bool compile_expr(Arena *a, Text source, const CompileOptions *options, DiagList *diags,
                  BundleImage *out)
{
    Comp c;
    if (!comp_init(&c, a, diags, options))
        return !out_of_memory(&c);
    comp_file(&c, "expression");
    Prog pr = {.c = &c, .expr = true};
    Emit em;
    emit_init(&em, &c);
    size_t before = diags->errors;
    if (!utf8_valid(source) || source.len > UINT32_MAX / 2 ||
        (source.len && memchr(source.ptr, 0, source.len)))
        report(&c, D_INVALID_TEXT, (Pos){1, 1, 1, 0}, NO_HINT, "the expression is not valid UTF-8");
    Parser p;
    Expr *e = NULL;
    ProcImage proc;
    if (diags->errors == before && !c.oom) {
        parser_init(&p, &c, source);
        e = parse_expr(&p);
        if (p.tok.kind != TOK_EOF)
            parse_unexpected(&p, "the end of the expression");
    }
    if (e && !c.oom)
        check_expression(&pr, e);
    bool ok = e && !c.oom && diags->errors == before && gen_expression(&pr, &em, e, &proc);
    if (ok)
        PUSH(&c, &em.procs, proc);
    ok = ok && !c.oom && diags->errors == before;
    if (ok)
        image_of(&em, k_map(&c), out);
    emit_deinit(&em);
    prog_deinit(&pr);
    return !out_of_memory(&c) && ok;
}

/* ---- markdown ---- */

/* The next ```xs block at or after *at; *line is the number of its first line. */
static bool next_block(Text text, size_t *at, uint32_t *line, Text *block, uint32_t *block_line)
{
    bool inside = false;
    size_t from = 0;
    while (*at < text.len) {
        size_t end = text_find(text, TEXT("\n"), *at);
        size_t next = end == SIZE_MAX ? text.len : end + 1;
        Text row = text_trim(text_slice(text, *at, next), TEXT(" \t\r\n"));
        if (inside && text_eq(row, TEXT("```"))) {
            *block = text_slice(text, from, *at);
            *at = next;
            ++*line;
            return true;
        }
        if (!inside && (text_eq(row, TEXT("```xs")) || text_eq(row, TEXT("```xanoscript")))) {
            inside = true;
            from = next;
            *block_line = *line + 1;
        }
        *at = next;
        ++*line;
    }
    return false;
}

bool compile_markdown(Arena *a, Text path, Text text, const CompileOptions *options,
                      DiagList *diags, size_t *blocks)
{
    size_t at = 0, before = diags->errors;
    uint32_t line = 1, block_line = 1;
    Text block;
    bool ok = true;
    *blocks = 0;
    CompileOptions loose = *options;
    loose.allow_bare_statements = true;
    while (next_block(text, &at, &line, &block, &block_line)) {
        DiagList found;
        diag_init(&found, a);
        SourceFile file[2] = {{path, block}, {{0}, {0}}};
        BundleImage image;
        ok = compile_program(a, file, 1, &loose, &found, &image) && ok;
        for (size_t i = 0; i < found.count; i++) {
            Diag *d = &found.items[i];
            xs_pos pos = d->pos;
            pos.line += pos.line ? block_line - 1 : 0;
            diag_add(diags, d->severity, d->id, pos, d->hint, TEXT_FMT, TEXT_ARG(d->message));
        }
        ++*blocks;
    }
    return ok && diags->errors == before;
}

/* ---- coverage ---- */

typedef struct Use {
    const char *kind;
    Text name;
    size_t count;
    LIST(xs_pos) at;
} Use;

typedef struct Coverage {
    Comp *c;
    LIST(Use) uses;
} Coverage;

enum { MAX_COVERAGE_PLACES = 20 };

static void use(Coverage *cv, const char *kind, Text name, Pos pos)
{
    Use *u = NULL;
    for (size_t i = 0; i < cv->uses.len && !u; i++)
        if (strcmp(cv->uses.ptr[i].kind, kind) == 0 && text_eq(cv->uses.ptr[i].name, name))
            u = &cv->uses.ptr[i];
    if (!u) {
        if (!PUSH(cv->c, &cv->uses, ((Use){.kind = kind, .name = name})))
            return;
        u = &cv->uses.ptr[cv->uses.len - 1];
    }
    u->count++;
    if (u->at.len < MAX_COVERAGE_PLACES)
        PUSH(cv->c, &u->at, ((xs_pos){cv->c->file->file, pos.line, pos.col, pos.len}));
}

static bool cover_expr(Expr *e, void *ctx)
{
    const FilterInfo *f = e->kind == EX_FILTER && !e->disabled ? filter_find(e->text) : NULL;
    if (f && f->todo && !(e->a && has_column(e->a)))
        use(ctx, "filter", text_from(f->name), e->pos);
    return true;
}

static void cover_block(Coverage *cv, const Block *b)
{
    for (size_t i = 0; i < b->items.len; i++) {
        const Stmt *s = b->items.ptr[i];
        if (s->disabled)
            continue;
        if (s->info->todo)
            use(cv, "statement", s->keyword, s->pos);
        expr_walk(s->operand, cover_expr, cv);
        expr_walk(s->cond, cover_expr, cv);
        expr_walk(s->as, cover_expr, cv);
        for (size_t k = 0; k < s->attrs.len; k++) {
            expr_walk(s->attrs.ptr[k].value, cover_expr, cv);
            cover_block(cv, &s->attrs.ptr[k].stack);
        }
        for (size_t k = 0; k < s->branches.len; k++) {
            expr_walk(s->branches.ptr[k].cond, cover_expr, cv);
            cover_block(cv, &s->branches.ptr[k].body);
        }
    }
}

static void write_uses(const Coverage *cv, bool json, Buf *out)
{
    if (json)
        buf_char(out, '[');
    for (size_t i = 0; i < cv->uses.len; i++) {
        const Use *u = &cv->uses.ptr[i];
        if (json) {
            buf_printf(out, "%s{\"kind\":\"%s\",\"name\":", i ? "," : "", u->kind);
            json_write_text(out, u->name);
            buf_printf(out, ",\"count\":%zu,\"at\":[", u->count);
        } else {
            buf_printf(out, "%s " TEXT_FMT ": %zu use%s\n", u->kind, TEXT_ARG(u->name), u->count,
                       u->count == 1 ? "" : "s");
        }
        for (size_t k = 0; k < u->at.len; k++) {
            Text place = arena_printf(cv->c->a, "%s:%u:%u", u->at.ptr[k].file, u->at.ptr[k].line,
                                      u->at.ptr[k].col);
            if (json) {
                buf_cstr(out, k ? "," : "");
                json_write_text(out, place.ptr ? place : TEXT(""));
            } else {
                buf_printf(out, "  " TEXT_FMT "\n", TEXT_ARG(place));
            }
        }
        if (json)
            buf_cstr(out, "]}");
    }
    if (json)
        buf_char(out, ']');
}

void compile_coverage(Arena *a, const SourceFile *files, size_t count, bool json, Buf *out)
{
    DiagList ignored;
    diag_init(&ignored, a);
    Comp c;
    CompileOptions options = {.allow_bare_statements = true};
    if (!comp_init(&c, a, &ignored, &options))
        return;
    Prog pr = {.c = &c};
    parse_all(&pr, files, count, true);
    Coverage cv = {.c = &c};
    for (size_t i = 0; i < pr.all.len && !c.oom; i++) {
        const Construct *k = pr.all.ptr[i];
        c.file = k->state;
        cover_block(&cv, &k->stack);
        expr_walk(k->response, cover_expr, &cv);
        if (!has_code(k) && k->has_stack)
            use(&cv, "construct", text_from(construct_info[k->kind].keyword), k->pos);
    }
    write_uses(&cv, json, out);
    prog_deinit(&pr);
}
