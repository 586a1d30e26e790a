/* bundle_load.c - a bundle of a thousand functions is decoded, proved and bound in a moment: the
 * limit here is generous for instrumented builds on busy machines; the time is printed. */
#include <stdio.h>
#include <time.h>

#include "core/text.h"
#include "frontend/compile.h"
#include "stdlib/registry.h"
#include "vm/vm.h"

enum { FUNCTIONS = 1000, TRIES = 5, LIMIT_MS = 200 };

static Text source_of(Arena *a, int i)
{
    return arena_printf(
        a,
        "function \"f%d\" {\n  input {\n    int n\n    text name?=\"x%d\" filters=trim\n  }\n  "
        "stack {\n"
        "    var $list { value = [] }\n    for ($input.n) {\n      each as $i {\n"
        "        conditional {\n          if ($i %% 3 == %d) {\n"
        "            array.push $list { value = {id: $i, name: $input.name ~ \"-\" ~ $i} }\n"
        "          }\n        }\n      }\n    }\n"
        "    function.run \"f%d\" {\n      input = {n: 0}\n    } as $other\n  }\n"
        "  response = {list: $list|filter:$$.id > 3, other: $other, n: $list|count}\n}\n",
        i, i, i % 3, (i + 1) % FUNCTIONS);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int main(void)
{
    Arena arena;
    arena_init(&arena, 0);
    SourceFile *files = ARENA_ARRAY(&arena, SourceFile, FUNCTIONS + 1);
    for (int i = 0; files && i < FUNCTIONS; i++)
        files[i] = (SourceFile){arena_printf(&arena, "f%d.xs", i), source_of(&arena, i)};
    DiagList diags;
    diag_init(&diags, &arena);
    BundleImage image;
    Buf bytes = BUF_INIT;
    xs_error err = {0};
    bool ok = files &&
              compile_program(&arena, files, FUNCTIONS, &(CompileOptions){0}, &diags, &image) &&
              bundle_encode(&image, &bytes, &err);
    double least = 1e9;
    for (int i = 0; ok && i < TRIES; i++) {
        double start = now_ms();
        Program *p = program_open(buf_view(&bytes), &stdlib_natives, &err);
        double took = now_ms() - start;
        least = took < least ? took : least;
        ok = p && program_proc_count(p) == FUNCTIONS;
        program_unref(p);
    }
    printf("%d functions, %zu bytes: %.2f ms\n", FUNCTIONS, bytes.len, least);
    if (!ok)
        printf("failed: %s\n", err.message);
    buf_deinit(&bytes);
    arena_deinit(&arena);
    return !ok || least > LIMIT_MS;
}
