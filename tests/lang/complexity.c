/* complexity.c - ten times the work takes at most thirteen times the steps and copied bytes:
 * changes of a variable, of its members and of queues happen in place. Counts, not times, so that
 * it holds anywhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/text.h"
#include "frontend/compile.h"
#include "stdlib/registry.h"
#include "vm/convert.h"
#include "vm/heap.h"
#include "vm/vm.h"

enum { SMALL = 2000, MOST_TIMES = 13, FREE_BYTES = 4096, STEPS_PER_ROUND = 200 };

typedef struct Case {
    const char *name, *before, *body; /* body runs n times, $i counts */
} Case;

static const Case cases[] = {
    {"push", "var $a { value = [] }", "var.update $a { value = $a|push:$i }"},
    {"push twice", "var $a { value = [] }", "var.update $a { value = $a|push:$i|push:1 }"},
    {"array.push", "var $a { value = [] }", "array.push $a { value = $i }"},
    {"push to a member", "var $a { value = {list: []} }", "array.push $a.list { value = $i }"},
    {"push to an element", "var $a { value = [[], []] }", "array.push $a[$i % 2] { value = $i }"},
    {"push to a member of an element", "var $a { value = [{l: []}] }",
     "array.push $a[0].l { value = {n: $i} }"},
    {"member pushed by a filter", "var $a { value = {list: []} }",
     "var.update $a.list { value = $a.list|push:$i }"},
    {"unshift", "var $a { value = [] }", "array.unshift $a { value = $i }"},
    {"pop", "var $a { value = []|fill:0:$input.n }", "array.pop $a as $x"},
    {"shift", "var $a { value = (1..$input.n) }", "array.shift $a as $x"},
    {"queue by slice", "var $a { value = (1..$input.n) }",
     "var $x { value = $a|first }\nvar.update $a { value = $a|slice:1 }\n"
     "var.update $a { value = $a|push:$x }"},
    {"queue by shift", "var $a { value = (1..$input.n) }",
     "array.shift $a as $x\narray.push $a { value = $x }"},
    {"set an index", "var $a { value = (1..$input.n) }", "var.update $a[$i] { value = $i * 2 }"},
    {"set by filter", "var $a { value = (1..$input.n) }", "var.update $a { value = $a|set:$i:$i }"},
    {"set a table", "var $a { value = [(1..$input.n), (1..$input.n)] }",
     "var.update $a[1][$i] { value = $i }"},
    {"set a member of an element", "var $a { value = [{n: 0, l: (1..$input.n)}] }",
     "var.update $a[0].n { value = $a[0].n + ($a[0].l|count) }"},
    {"set a key", "var $a { value = {} }", "var.update $a { value = $a|set:(\"k\" ~ $i):$i }"},
    {"set a key by path", "var $a { value = {} }\nvar $k { value = \"\" }",
     "var.update $k { value = \"k\" ~ $i }\nvar.update $a[$k] { value = [$i] }"},
    {"count in an object", "var $a { value = {} }\nvar $k { value = \"\" }",
     "var.update $k { value = \"k\" ~ ($i % 100) }\nmath.add $a[$k] { value = 1 }"},
    {"merge", "var $a { value = {} }\nvar $one { value = {} }",
     "var.update $one { value = {}|set:(\"k\" ~ $i):$i }\nvar.update $a { value = $a|merge:$one }"},
    {"unset a key", "var $a { value = {} }",
     "var.update $a { value = $a|set:(\"k\" ~ $i):$i }\n"
     "var.update $a { value = $a|unset:(\"k\" ~ $i) }"},
    {"concat", "var $a { value = \"\" }", "var.update $a { value = $a ~ \"ab\" ~ $i }"},
    {"concat to a member", "var $a { value = {t: \"\"} }", "text.append $a.t { value = \"ab\" }"},
    {"text.append", "var $a { value = \"\" }", "text.append $a { value = \"ab\" }"},
    {"update a path", "var $a { value = {b: {c: (1..$input.n), d: 0}} }",
     "var.update $a.b.d { value = $a.b.d + $i }"},
    {"reduce to an object",
     "var $a { value = (1..$input.n)|reduce:($result|set:(\"k\" ~ $$):1):{} }", ""},
    {"reduce to a list", "var $a { value = (1..$input.n)|reduce:($result|push:$$):[] }", ""},
    {"map and filter", "var $a { value = (1..$input.n)|map:{n: $$}|filter:$$.n > 5 }", ""},
};

typedef struct Cost {
    uint64_t steps, copied;
} Cost;

static bool run(const Case *c, const Program *p, int64_t n, Cost *out)
{
    xs_error err = {0};
    char json[64];
    Fiber *f = fiber_new((Program *)(uintptr_t)p, NULL, NULL, &(Limits){.heap_bytes = 256u << 20});
    if (!f)
        return false;
    snprintf(json, sizeof json, "{\"n\":%lld}", (long long)n);
    Value input = val_parse_json(fiber_heap(f), text_from(json), &err);
    bool ok = fiber_call(f, 0, input, &err) && fiber_run(f) == FIBER_DONE;
    if (!ok)
        printf("%s: %s\n", c->name, fiber_error(f, NULL, NULL)->message);
    *out = (Cost){fiber_steps(f), heap_copied(fiber_heap(f))};
    fiber_free(f);
    return ok;
}

static bool grows(const Case *c, const char *what, uint64_t small, uint64_t large,
                  uint64_t allowance)
{
    if (large <= MOST_TIMES * (small > allowance ? small : allowance))
        return false;
    printf("%s: %llu -> %llu %s for ten times the work\n", c->name, (unsigned long long)small,
           (unsigned long long)large, what);
    return true;
}

static bool check(const Case *c)
{
    Arena arena;
    arena_init(&arena, 0);
    Text source = arena_printf(&arena,
                               "function \"f\" {\n  input {\n    int n\n  }\n  stack {\n%s\n"
                               "    for ($input.n) {\n      each as $i {\n%s\n      }\n    }\n"
                               "  }\n  response = null\n}\n",
                               c->before, c->body[0] ? c->body : "continue");
    SourceFile files[2] = {{TEXT("f.xs"), source}, {{0}, {0}}};
    DiagList diags;
    diag_init(&diags, &arena);
    BundleImage image;
    xs_error err = {0};
    Cost small, large;
    bool compiled = compile_program(&arena, files, 1, &(CompileOptions){0}, &diags, &image);
    for (size_t i = 0; i < diags.count && !compiled; i++)
        printf("%s: %s: %.*s\n", c->name, diags.items[i].id, (int)diags.items[i].message.len,
               diags.items[i].message.ptr);
    Program *p = compiled ? program_load(&image, &stdlib_natives, &err) : NULL;
    bool ok = p && run(c, p, SMALL, &small) && run(c, p, (int64_t)SMALL * 10, &large);
    ok = ok && !grows(c, "steps", small.steps, large.steps, STEPS_PER_ROUND) &&
         !grows(c, "bytes", small.copied, large.copied, FREE_BYTES);
    program_unref(p);
    arena_deinit(&arena);
    return ok;
}

int main(void)
{
    size_t failed = 0, count = sizeof cases / sizeof *cases;
    for (size_t i = 0; i < count; i++)
        failed += !check(&cases[i]);
    printf("%zu programs, %zu failed\n", count, failed);
    return failed != 0;
}
