/* test_util.h - for the unit tests of this folder: values from JSON, and programs made by hand. */
#ifndef VM_TEST_UTIL_H
#define VM_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/lang/opcodes.h"
#include "core/text.h"
#include "vm/convert.h"
#include "vm/frame.h"
#include "vm/heap.h"
#include "vm/vm.h"

/* Value of a JSON text; the test fails on a bad one. */
static inline Value from_json(Heap *h, const char *json)
{
    xs_error err = {0};
    Value v = val_parse_json(h, text_from(json), &err);
    if (v.kind == V_UNSET)
        fail_msg("%s: %s", json, err.message);
    return v;
}

static inline void check_json(const char *what, Value v, const char *expected)
{
    Buf out = BUF_INIT;
    bool ok = val_write_json(v, &out);
    buf_char(&out, '\0');
    if (!ok || strcmp(out.ptr, expected) != 0)
        fail_msg("%s: %s, expected %s", what, out.ptr, expected);
    buf_deinit(&out);
}

/* Every object a test made must be gone when it has released its own. */
static inline void check_empty(const char *what, Heap *h)
{
    if (heap_bytes(h))
        fail_msg("%s: %zu bytes leaked", what, heap_bytes(h));
}

/* ---- programs ---- */

enum { TP_PROCS = 8, TP_IMPORTS = 32, TP_SITES = 8, TP_CODE = 40 };

typedef struct TestProgram {
    Arena arena;
    BundleImage image;
    ProcImage procs[TP_PROCS];
    ImportImage imports[TP_IMPORTS];
    SiteImage sites[TP_SITES];
} TestProgram;

static inline void tp_init(TestProgram *t, const char *consts_json)
{
    memset(t, 0, sizeof *t);
    arena_init(&t->arena, 0);
    t->image.procs = t->procs;
    t->image.imports = t->imports;
    t->image.sites = t->sites;
    const Const *list = json_parse(&t->arena, text_from(consts_json ? consts_json : "[]"), NULL);
    assert_non_null(list);
    t->image.consts = list->items;
    t->image.nconsts = list->count;
    t->image.meta = &const_null;
}

static inline void tp_deinit(TestProgram *t)
{
    arena_deinit(&t->arena);
}

/* Code ends at its last word that is not 0, as no operation has that number. */
static inline ProcImage *tp_proc(TestProgram *t, uint32_t nregs, const uint32_t *code,
                                 uint32_t room)
{
    while (room && !code[room - 1])
        room--;
    ProcImage *p = &t->procs[t->image.nprocs++];
    *p = (ProcImage){.kind = PROC_FUNCTION,
                     .name = TEXT("test"),
                     .file = TEXT("test.xs"),
                     .nregs = nregs,
                     .code = code,
                     .ncode = room};
    return p;
}

static inline void tp_inputs(TestProgram *t, ProcImage *p, const char *schema_json)
{
    p->inputs = json_parse(&t->arena, text_from(schema_json), NULL);
    assert_non_null(p->inputs);
    p->ninputs = p->inputs->count;
}

#define R3(op, a, b, c) INS_ABC(OP_##op, a, b, c)
#define RX(op, a, x)    INS_ABX(OP_##op, a, x)
#define J(words)        ((uint32_t)(int32_t)(words))

#endif
