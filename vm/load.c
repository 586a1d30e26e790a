/* load.c - from a bundle image to a program: verify, make constants, bind natives by name. */
#include "core/mem.h"
#include "core/tables.h"
#include "vm/program.h"

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
}

static bool load_consts(Program *p, xs_error *err)
{
    p->consts = ARENA_ARRAY(&p->arena, Value, p->image.nconsts + 1);
    if (!p->consts)
        return no_memory(err);
    for (uint32_t i = 0; i < p->image.nconsts; i++)
        if (!const_pack(&p->arena, p->image.consts[i], &p->consts[i]))
            return no_memory(err);
    return true;
}

static bool unknown_native(const ImportImage *im, xs_error *err)
{
    if (im->kind == IMPORT_FILTER)
        return xs_fail(err, XS_E_UNKNOWN_FILTER, XS_NO_POS,
                       "Unable to locate func entry: " TEXT_FMT, TEXT_ARG(im->name));
    return xs_fail(err, XS_E_UNKNOWN_FILTER, XS_NO_POS, "Unable to locate statement: " TEXT_FMT,
                   TEXT_ARG(im->name));
}

static bool bind_import(Program *p, uint32_t i, xs_error *err)
{
    const ImportImage *im = &p->image.imports[i];
    Import *out = &p->imports[i];
    out->name = arena_text(&p->arena, im->name).ptr;
    if (!out->name)
        return no_memory(err);
    const NativeTable *t = p->natives;
    if (im->kind == IMPORT_FILTER)
        out->filter = t && t->filter ? t->filter(im->name, &out->row) : NULL;
    else
        out->statement = t && t->statement ? t->statement(im->name, &out->row) : NULL;
    return out->filter || out->statement || unknown_native(im, err);
}

static bool load_imports(Program *p, xs_error *err)
{
    p->imports = ARENA_ARRAY(&p->arena, Import, p->image.nimports + 1);
    p->site_data = ARENA_ARRAY(&p->arena, void *, p->image.nsites + 1);
    if (!p->imports || !p->site_data)
        return no_memory(err);
    for (uint32_t i = 0; i < p->image.nimports; i++)
        if (!bind_import(p, i, err))
            return false;
    return true;
}

static bool load_proc(Program *p, uint32_t index, xs_error *err)
{
    const ProcImage *image = &p->image.procs[index];
    Proc *proc = &p->procs[index];
    *proc = (Proc){
        .code = image->code,
        .image = image,
        .file = arena_text(&p->arena, image->file).ptr,
        .nregs = image->nregs,
        .ninputs = image->ninputs,
        .size = image->nregs + image->nfar,
        .input_names = ARENA_ARRAY(&p->arena, Value, image->ninputs + 1),
    };
    proc->pass = ARENA_ARRAY(&p->arena, uint32_t, image->ninputs + 1);
    if (!proc->file || !proc->input_names || !proc->pass)
        return no_memory(err);
    for (uint32_t i = 0; i < image->ninputs; i++) {
        Const name = {.kind = C_TEXT, .text = proc_input_name(image, i)};
        proc->pass[i] = p->natives && p->natives->bind_passes
                            ? p->natives->bind_passes(image->inputs->items[i])
                            : 0;
        if (!const_pack(&p->arena, &name, &proc->input_names[i]))
            return no_memory(err);
    }
    return true;
}

static bool load_procs(Program *p, xs_error *err)
{
    p->procs = ARENA_ARRAY(&p->arena, Proc, p->image.nprocs + 1);
    if (!p->procs)
        return no_memory(err);
    for (uint32_t i = 0; i < p->image.nprocs; i++)
        if (!load_proc(p, i, err))
            return false;
    return true;
}

Program *program_load(const BundleImage *image, const NativeTable *natives, xs_error *err)
{
    tables_init();
    if (!image_verify(image, err))
        return NULL;
    Program *p = mem_zalloc(1, sizeof *p);
    if (!p) {
        no_memory(err);
        return NULL;
    }
    atomic_init(&p->refs, 1);
    p->image = *image;
    p->natives = natives;
    arena_init(&p->arena, 0);
    arena_init(&p->owned, 0);
    if (load_consts(p, err) && load_imports(p, err) && load_procs(p, err))
        return p;
    program_unref(p);
    return NULL;
}

void program_own(Program *p, Arena *a)
{
    arena_deinit(&p->owned);
    p->owned = *a;
    arena_init(a, a->max_bytes);
}

Program *program_open(Text bytes, const NativeTable *natives, xs_error *err)
{
    Arena arena;
    arena_init(&arena, 0);
    BundleImage image = {0};
    Text copy = arena_text(&arena, bytes);
    Program *p = NULL;
    if (!copy.ptr)
        no_memory(err);
    else if (bundle_decode(&arena, copy, &image, err))
        p = program_load(&image, natives, err);
    if (p)
        program_own(p, &arena);
    arena_deinit(&arena);
    return p;
}

Program *program_ref(Program *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

static void free_sites(Program *p)
{
    if (!p->natives || !p->natives->site_free || !p->site_data)
        return;
    for (uint32_t i = 0; i < p->image.nsites; i++)
        if (p->site_data[i])
            p->natives->site_free(p->image.imports[p->image.sites[i].import].name, p->site_data[i]);
}

void program_unref(Program *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    free_sites(p);
    arena_deinit(&p->arena);
    arena_deinit(&p->owned);
    mem_free(p);
}

bool program_imports(const Program *p, Text name)
{
    for (uint32_t i = 0; i < p->image.nimports; i++)
        if (text_eq(p->image.imports[i].name, name))
            return true;
    return false;
}

const Const *program_meta(const Program *p)
{
    return p->image.meta;
}

uint32_t program_proc_count(const Program *p)
{
    return p->image.nprocs;
}

const ProcImage *program_proc(const Program *p, uint32_t index)
{
    return index < p->image.nprocs ? &p->image.procs[index] : NULL;
}

uint32_t program_find(const Program *p, ProcKind kind, Text name)
{
    for (uint32_t i = 0; i < p->image.nprocs; i++)
        if (p->image.procs[i].kind == kind && text_eq(p->image.procs[i].name, name))
            return i;
    return UINT32_MAX;
}

uint32_t program_site_count(const Program *p)
{
    return p->image.nsites;
}

const SiteImage *program_site(const Program *p, uint32_t index)
{
    return index < p->image.nsites ? &p->image.sites[index] : NULL;
}
