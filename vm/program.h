/* program.h - inside of a loaded program. Immutable after load but for the reference count and the
 * statements' site_data, which their natives guard. */
#ifndef VM_PROGRAM_H
#define VM_PROGRAM_H

#include <stdatomic.h>

#include "vm/vm.h"

typedef struct Import {
    const char *name;
    FilterFn filter;       /* of IMPORT_FILTER */
    StatementFn statement; /* of IMPORT_STATEMENT */
    const void *row;
} Import;

typedef struct Proc {
    const uint32_t *code;
    const ProcImage *image;
    const char *file;   /* NUL-terminated */
    Value *input_names; /* immortal texts, ninputs of them */
    uint32_t *pass;     /* NativeTable.bind_passes of each input */
    uint32_t nregs, ninputs;
    uint32_t size; /* of a frame: registers, then far slots */
} Proc;

struct Program {
    atomic_uint refs;
    BundleImage image;
    const NativeTable *natives;
    Arena arena; /* everything below */
    Arena owned; /* the image's, after program_own */
    Value *consts;
    Import *imports;
    void **site_data;
    Proc *procs;
};

/** Constant as an immortal value in the arena. false: memory, or nested too deep. */
XS_MUST_CHECK bool const_pack(Arena *a, const Const *c, Value *out);

/** Prove that running the image cannot leave its code, registers, constants. Errors:
 * XS_E_BAD_BUNDLE, XS_E_NOMEM. */
XS_MUST_CHECK bool image_verify(const BundleImage *image, xs_error *err);

static inline Text proc_input_name(const ProcImage *proc, uint32_t i)
{
    return const_get_text(proc->inputs->items[i], "name");
}

#endif
