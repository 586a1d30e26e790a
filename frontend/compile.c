/* compile.c - the stages in order: parse every file, resolve names, check, generate. */
#include "frontend/gen.h"

/* ---- one program ---- */

void prog_parse(Prog *pr, const SourceFile *files, size_t count, bool bare)
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

static bool has_own_proc(const Construct *k)
{
    return k->body == k->proc;
}

/* own: the code of the construct itself, not what stands around it. */
static bool generate_one(Prog *pr, Emit *em, const Construct *k, bool own)
{
    ProcImage proc;
    pr->c->file = k->state;
    return (own ? gen_construct(pr, em, k, &proc) : gen_entry(pr, em, k, &proc)) &&
           PUSH(pr->c, &em->procs, proc);
}

static bool generate(Prog *pr, BundleImage *out)
{
    Emit em;
    uint32_t n = 0;
    bool ok = true;
    emit_init(&em, pr->c);
    for (size_t i = 0; i < pr->all.len; i++)
        if (has_code(pr->all.ptr[i]))
            pr->all.ptr[i]->proc = pr->all.ptr[i]->body = n++;
    for (size_t i = 0; i < pr->all.len; i++)
        if (has_entry(pr, pr->all.ptr[i]))
            pr->all.ptr[i]->body = n++;
    em.nmain = n;
    for (size_t i = 0; i < pr->all.len && !pr->c->oom; i++)
        if (has_code(pr->all.ptr[i]))
            ok = generate_one(pr, &em, pr->all.ptr[i], has_own_proc(pr->all.ptr[i])) && ok;
    for (size_t i = 0; i < pr->all.len && !pr->c->oom; i++)
        if (!has_own_proc(pr->all.ptr[i]))
            ok = generate_one(pr, &em, pr->all.ptr[i], true) && ok;
    for (size_t i = 0; i < em.deferred.len && ok && !pr->c->oom; i++)
        ok = generate_one(pr, &em, em.deferred.ptr[i], true);
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
    prog_parse(&pr, files, count, options->allow_bare_statements);
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
    Prog pr = {.c = &c, .expr = true, .scoped = options->scoped};
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
