/* fuzz_source.c - any bytes as source: the compiler reports, and what it accepts loads and runs
 * within limits. What the formatter accepts it prints to the same code, and the same text again. */
#include "core/tables.h"
#include "frontend/test_source.h"
#include "stdlib/registry.h"
#include "tests/fuzz/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool compile(Arena *a, Text source, bool bare, DiagList *diags, BundleImage *image)
{
    SourceFile files[2] = {{TEXT("fuzz.xs"), source}, {{0}, {0}}};
    CompileOptions options = {.allow_bare_statements = bare, .program_name = TEXT("fuzz")};
    return compile_program(a, files, 1, &options, diags, image);
}

static void format(Arena *a, Text source)
{
    DiagList diags;
    Buf once = BUF_INIT, twice = BUF_INIT;
    BundleImage before, after;
    diag_init(&diags, a);
    if (format_source(a, TEXT("fuzz.xs"), source, &diags, &once)) {
        if (!format_source(a, TEXT("fuzz.xs"), buf_view(&once), &diags, &twice)) {
            bool memory = false;
            for (size_t i = 0; i < diags.count; i++)
                memory = memory || strcmp(diags.items[i].id, "out-of-memory") == 0 ||
                         strcmp(diags.items[i].id, "nesting-limit") == 0;
            if (!memory)
                __builtin_trap(); /* its output must parse */
        } else if (!text_eq(buf_view(&once), buf_view(&twice))) {
            __builtin_trap();
        }
        DiagList ignored;
        diag_init(&ignored, a);
        if (twice.len && compile(a, source, true, &ignored, &before) &&
            compile(a, buf_view(&once), true, &ignored, &after) && !same_code(&before, &after))
            __builtin_trap();
    }
    buf_deinit(&once);
    buf_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tables_init();
    Arena arena;
    arena_init(&arena, 64 << 20);
    DiagList diags;
    diag_init(&diags, &arena);
    Text source = arena_text(&arena, (Text){(const char *)data, size});
    BundleImage image;
    if (source.ptr && compile(&arena, source, size % 2 == 1, &diags, &image)) {
        xs_error err;
        Program *p = program_load(&image, &stdlib_natives, &err);
        if (!p && err.code == XS_E_BAD_BUNDLE)
            __builtin_trap(); /* the verifier must accept what the compiler makes */
        if (p)
            fuzz_run_all(p);
        program_unref(p);
    }
    if (source.ptr)
        format(&arena, source);
    Buf text = BUF_INIT;
    diag_json(&diags, &text);
    buf_deinit(&text);
    arena_deinit(&arena);
    return 0;
}
