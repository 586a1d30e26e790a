/* fuzz_source.c - any bytes as source: the compiler reports, and what it accepts loads and runs
 * within limits. */
#include "core/tables.h"
#include "frontend/compile.h"
#include "stdlib/registry.h"
#include "tests/fuzz/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tables_init();
    Arena arena;
    arena_init(&arena, 64 << 20);
    DiagList diags;
    diag_init(&diags, &arena);
    SourceFile files[2] = {{TEXT("fuzz.xs"), arena_text(&arena, (Text){(const char *)data, size})},
                           {{0}, {0}}};
    CompileOptions options = {.allow_bare_statements = size % 2 == 1, .program_name = TEXT("fuzz")};
    BundleImage image;
    if (files[0].text.ptr && compile_program(&arena, files, 1, &options, &diags, &image)) {
        xs_error err;
        Program *p = program_load(&image, &stdlib_natives, &err);
        if (!p && err.code == XS_E_BAD_BUNDLE)
            __builtin_trap(); /* the verifier must accept what the compiler makes */
        if (p)
            fuzz_run_all(p);
        program_unref(p);
    }
    Buf text = BUF_INIT;
    diag_json(&diags, &text);
    buf_deinit(&text);
    arena_deinit(&arena);
    return 0;
}
