/* verify_test.c - broken programs are refused with the reason, and mutated ones never leave their
 * bounds. */
#include "core/mem.h"
#include "vm/test_util.h"

typedef struct Broken {
    const char *why; /* part of the message */
    uint32_t code[12];
} Broken;

static bool ignore_filter(Call *c)
{
    return call_return(c, val_ref(val_null()));
}

static NativeResult ignore_statement(Call *c)
{
    (void)c;
    return NATIVE_OK;
}

static FilterFn any_filter(Text name, const void **row)
{
    (void)name;
    *row = NULL;
    return ignore_filter;
}

static StatementFn any_statement(Text name, const void **row)
{
    (void)name;
    *row = NULL;
    return ignore_statement;
}

static const NativeTable natives = {.filter = any_filter, .statement = any_statement};

/* One text constant (0), one number (1), a filter (0), a statement (1) with a site; procedure 1 has
 * one input. */
static void make(TestProgram *t, const uint32_t *code, uint32_t room)
{
    static const uint32_t other[] = {R3(RETNULL, 0, 0, 0)};
    tp_init(t, "[\"a\",1]");
    t->imports[0] = (ImportImage){IMPORT_FILTER, TEXT("f")};
    t->imports[1] = (ImportImage){IMPORT_STATEMENT, TEXT("s")};
    t->image.nimports = 2;
    t->sites[0] = (SiteImage){1, &const_null};
    t->image.nsites = 1;
    tp_proc(t, 4, code, room)->nfar = 2;
    tp_inputs(t, tp_proc(t, 2, other, 1), "[{\"name\":\"n\"}]");
}

static void expect_refused(const char *why, TestProgram *t)
{
    xs_error err = {0};
    Program *p = program_load(&t->image, &natives, &err);
    if (p)
        fail_msg("loaded: %s", why);
    if (err.code != XS_E_BAD_BUNDLE || !strstr(err.message, why))
        fail_msg("'%s', expected '%s'", err.message, why);
}

static void broken_code(void **state)
{
    (void)state;
    static const Broken cases[] = {
        {"unknown operation 200", {200, R3(RETNULL, 0, 0, 0)}},
        {"words of code", {0}},
        {"runs off its end", {R3(LOADNULL, 0, 0, 0)}},
        {"runs off its end", {R3(JT, 0, 0, 0), J(-2)}},
        {"JT is cut off", {R3(LOADNULL, 0, 0, 0), R3(JT, 0, 0, 0)}},
        {"register 4 of 4", {R3(MOVE, 0, 4, 0), R3(RETNULL, 0, 0, 0)}},
        {"register 9 of 4", {R3(ADD, 9, 0, 0), R3(RETNULL, 0, 0, 0)}},
        {"unused operand is 1", {R3(MOVE, 0, 0, 1), R3(RETNULL, 0, 0, 0)}},
        {"constant 2 of 2", {RX(LOADK, 0, 2), R3(RETNULL, 0, 0, 0)}},
        {"constant 9 of 2", {R3(LOADKX, 0, 0, 0), 9, R3(RETNULL, 0, 0, 0)}},
        {"constant 1 is no text", {R3(GETF, 0, 0, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"constant 1 is no text", {R3(SETF, 0, 0, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"constant 1 is no text", {R3(CHKSET, 0, 0, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"constant 1 is no text", {R3(GETENV, 0, 0, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"far slot 2 of 2", {RX(GETFAR, 0, 2), R3(RETNULL, 0, 0, 0)}},
        {"far slot 9 of 2", {RX(SETFAR, 0, 9), R3(RETNULL, 0, 0, 0)}},
        {"system value 23", {R3(GETSYS, 0, SYS_COUNT, 0), R3(RETNULL, 0, 0, 0)}},
        {"where no instruction begins", {INS_MAKE_J(OP_JMP, 5), R3(RETNULL, 0, 0, 0)}},
        {"where no instruction begins", {INS_MAKE_J(OP_JMP, -9), R3(RETNULL, 0, 0, 0)}},
        {"jump to 1,", {R3(JT, 0, 0, 0), J(-1), R3(RETNULL, 0, 0, 0)}},
        {"where no instruction begins", {R3(JT, 0, 0, 0), 0x7fffffff, R3(RETNULL, 0, 0, 0)}},
        {"window r3 of 2 registers", {R3(ITER, 3, 0, 0), J(0), R3(RETNULL, 0, 0, 0)}},
        {"iteration kind 3", {R3(ITER, 0, 0, 3), J(0), R3(RETNULL, 0, 0, 0)}},
        {"window r3 of 2 registers", {R3(NEXT, 0, 3, 1), J(0), R3(RETNULL, 0, 0, 0)}},
        {"window r3 of 2 registers", {R3(FORP, 3, 0, 0), J(0), R3(RETNULL, 0, 0, 0)}},
        {"window r3 of 2 registers", {R3(FORN, 3, 0, 0), J(0), R3(RETNULL, 0, 0, 0)}},
        {"path without keys", {R3(SETPATH, 0, 0, 0), R3(RETNULL, 0, 0, 0)}},
        {"window r2 of 3 registers", {R3(SETPATH, 0, 2, 2), R3(RETNULL, 0, 0, 0)}},
        {"window r2 of 3 registers", {R3(DELPATH, 0, 2, 3), R3(RETNULL, 0, 0, 0)}},
        {"window r2 of 3 registers", {R3(TAKEPATH, 0, 0, 2), 3, R3(RETNULL, 0, 0, 0)}},
        {"999 keys", {R3(TAKEPATH, 0, 0, 2), 999, R3(RETNULL, 0, 0, 0)}},
        {"procedure 2 of 2", {R3(CALL, 0, 0, 0), 2, R3(RETNULL, 0, 0, 0)}},
        {"2 inputs for a procedure with 1", {R3(CALL, 0, 2, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"procedure 7 of 2", {R3(CALLD, 0, 0, 0), 7, R3(RETNULL, 0, 0, 0)}},
        {"site 1 of 1", {R3(CALLN, 0, 0, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"window r0 of 5 registers", {R3(CALLN, 0, 5, 0), 0, R3(RETNULL, 0, 0, 0)}},
        {"import 2 of 2", {R3(CALLF, 0, 0, 0), 2, R3(RETNULL, 0, 0, 0)}},
        {"import 1 is no filter", {R3(CALLF, 0, 0, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"window r3 of 2 registers", {R3(CALLF, 0, 0, 3), 2 << 16, R3(RETNULL, 0, 0, 0)}},
        {"constant 2 of 2", {R3(ADDK, 0, 0, 0), 2, R3(RETNULL, 0, 0, 0)}},
        {"register 4 of 4", {R3(GETII, 0, 0, 0), 4, R3(RETNULL, 0, 0, 0)}},
        {"register 4 of 4", {R3(SETII, 0, 0, 0), 4, R3(RETNULL, 0, 0, 0)}},
        {"constant 1 is no text", {R3(SETIF, 0, 0, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"constant 2 of 2", {R3(JEQK, 0, 0, 0), 2, J(0), R3(RETNULL, 0, 0, 0)}},
        {"where no instruction begins", {R3(JEQK, 0, 0, 0), 0, J(7), R3(RETNULL, 0, 0, 0)}},
        {"jump to 2,", {R3(JLTK, 0, 0, 0), 0, J(-1), R3(RETNULL, 0, 0, 0)}},
        {"JGEK is cut off", {R3(LOADNULL, 0, 0, 0), R3(JGEK, 0, 0, 0), 1}},
        {"where no instruction begins", {R3(JLTI, 0, 1, 0), J(9), R3(RETNULL, 0, 0, 0)}},
        {"window r2 of 3 registers", {R3(MAKELIST, 0, 2, 3), R3(RETNULL, 0, 0, 0)}},
        {"constant 1 is no object with 2", {R3(MAKEMAP, 0, 2, 2), 1, R3(RETNULL, 0, 0, 0)}},
        {"window r2 of 3 registers", {R3(MAKEMAP, 0, 2, 3), 1, R3(RETNULL, 0, 0, 0)}},
        {"procedure 2 of 2", {R3(CALLTO, 0, 0, 0), 2, R3(RETNULL, 0, 0, 0)}},
        {"2 inputs for a procedure with 1", {R3(CALLTO, 0, 2, 0), 1, R3(RETNULL, 0, 0, 0)}},
        {"register 9 of 4", {R3(CALLTO, 0, 1, 9), 1, R3(RETNULL, 0, 0, 0)}},
        {"FCOUNT does not call count", {R3(FCOUNT, 0, 0, 0), 0, R3(RETNULL, 0, 0, 0)}},
        {"300 arguments", {R3(CALLF, 0, 0, 3), 300 << 16, R3(RETNULL, 0, 0, 0)}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        TestProgram t;
        make(&t, cases[i].code, COUNT_OF(cases[i].code));
        expect_refused(cases[i].why, &t);
        tp_deinit(&t);
    }
}

/* Filters with an instruction of their own take what their row says. */
static void broken_fast_filters(void **state)
{
    (void)state;
    static const struct {
        const char *why, *filter;
        uint32_t code[4];
    } cases[] = {
        {"FGET with 0 arguments", "get", {R3(FGET, 0, 0, 0), 0, R3(RETNULL, 0, 0, 0)}},
        {"FGET with 3 arguments", "get", {R3(FGET, 0, 0, 0), 3 << 16, R3(RETNULL, 0, 0, 0)}},
        {"window r3 of 2 registers", "get", {R3(FGET, 0, 0, 3), 2 << 16, R3(RETNULL, 0, 0, 0)}},
        {"FSET with 514 arguments", "set", {R3(FSET, 0, 0, 0), 514 << 16, R3(RETNULL, 0, 0, 0)}},
        {"FPUSH does not call push", "pop", {R3(FPUSH, 0, 0, 0), 1 << 16, R3(RETNULL, 0, 0, 0)}},
        {"256 arguments", "push", {R3(CALLF, 0, 0, 0), 256 << 16, R3(RETNULL, 0, 0, 0)}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        TestProgram t;
        make(&t, cases[i].code, COUNT_OF(cases[i].code));
        t.imports[0].name = text_from(cases[i].filter);
        expect_refused(cases[i].why, &t);
        tp_deinit(&t);
    }
}

static void broken_tables(void **state)
{
    (void)state;
    static const uint32_t code[] = {R3(JT, 0, 0, 0), J(0), R3(CATCH, 0, 0, 0),
                                    R3(RETNULL, 0, 0, 0)};
    static const struct {
        const char *why;
        HandlerImage handler;
    } handlers[] = {
        {"guards no range", {0, 0, 2}},
        {"guards no range", {0, 5, 2}},
        {"guards no range", {1, 2, 2}},
        {"guards no range", {0, 1, 2}},
        {"does not begin with CATCH", {0, 2, 3}},
        {"does not begin with CATCH", {0, 2, 1}},
        {"does not begin with CATCH", {0, 2, 99}},
    };
    TestProgram t;
    for (size_t i = 0; i < COUNT_OF(handlers); i++) {
        make(&t, code, COUNT_OF(code));
        t.procs[0].handlers = &handlers[i].handler;
        t.procs[0].nhandlers = 1;
        expect_refused(handlers[i].why, &t);
        tp_deinit(&t);
    }
    static const uint32_t bad_names[][2] = {{1, 0}, {9, 0}, {0, 7}, {0, 1}};
    for (size_t i = 0; i < COUNT_OF(bad_names); i++) {
        make(&t, code, COUNT_OF(code));
        t.procs[0].names = bad_names[i];
        t.procs[0].nnames = 1;
        expect_refused(i < 2 ? "a name where" : "constant", &t);
        tp_deinit(&t);
    }
    static const uint32_t bad_vars[][2] = {{99, 0}, {UINT32_MAX, 0}, {0, 7}, {0, 1}};
    for (size_t i = 0; i < COUNT_OF(bad_vars); i++) {
        make(&t, code, COUNT_OF(code));
        t.procs[0].vars = bad_vars[i];
        t.procs[0].nvars = 1;
        expect_refused(i < 2 ? "variable 0 has no slot" : "constant", &t);
        tp_deinit(&t);
    }
    static const LineImage lines[] = {{3, 1, 1}, {0, 2, 1}};
    make(&t, code, COUNT_OF(code));
    t.procs[0].lines = lines;
    t.procs[0].nlines = 2;
    expect_refused("line table", &t);
    tp_deinit(&t);

    make(&t, code, COUNT_OF(code));
    t.procs[0].nregs = 257;
    expect_refused("257 registers", &t);
    t.procs[0].nregs = 0;
    expect_refused("0 registers", &t);
    t.procs[0].nregs = 4;
    t.procs[0].nfar = 70000;
    expect_refused("70000 far slots", &t);
    t.procs[0].nfar = 0;
    t.procs[0].ninputs = 5;
    expect_refused("5 inputs in 4 registers", &t);
    t.procs[0].ninputs = 1;
    expect_refused("does not describe", &t);
    tp_inputs(&t, &t.procs[0], "[{\"title\":\"n\"}]");
    expect_refused("input 0 has no name", &t);
    t.procs[0].ninputs = 0;
    t.procs[0].kind = PROC_KIND_COUNT;
    expect_refused("unknown kind", &t);
    t.procs[0].kind = PROC_FUNCTION;
    t.sites[0].import = 0;
    expect_refused("site 0 calls no statement", &t);
    t.sites[0].import = 5;
    expect_refused("site 0 calls no statement", &t);
    tp_deinit(&t);
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Words that often verify: a real operation, small operands. */
static uint32_t random_word(uint64_t *seed)
{
    uint32_t op = 1 + next_random(seed) % (OP_COUNT - 1);
    uint32_t pick = next_random(seed);
    if (pick % 3 == 0)
        return next_random(seed) % 5;
    if (pick % 11 == 0)
        return J(-(int32_t)(next_random(seed) % 12));
    const OpInfo *info = &op_info[op % 256];
    uint32_t a = next_random(seed) % 8, b = next_random(seed) % 8, c = next_random(seed) % 8;
    return INS_ABC(op, info->a ? a : 0, info->b ? b : 0,
                   info->b == OPND_K16 || info->b == OPND_U16 || !info->c ? 0 : c);
}

/* Import 0 is any filter, 2 and up those with an instruction of their own. */
static uint32_t random_filter(uint64_t *seed, uint32_t op)
{
    uint32_t count = next_random(seed) % 3;
    for (uint32_t i = 0; fast_filters[i].name; i++)
        if (fast_filters[i].op == op)
            return (2 + i) | (next_random(seed) % 2 ? fast_filters[i].most : count) << 16 |
                   (next_random(seed) % 2 ? XF_MOVE : 0);
    return count << 16;
}

/* A random program of whole instructions; jumps go to random instructions. */
static uint32_t random_code(uint64_t *seed, uint32_t code[64])
{
    uint32_t starts[64], nstarts = 0, n = 0;
    while (n < 55) {
        uint32_t word = random_word(seed);
        const OpInfo *info = &op_info[INS_OP(word)];
        if (!info->name)
            continue;
        starts[nstarts++] = n;
        code[n++] = word;
        if (info->x == OPND_XF)
            code[n++] = random_filter(seed, INS_OP(word));
        else if (info->x != OPND_XN)
            code[n++] = next_random(seed) % 5;
        if (info->x == OPND_XKJ)
            code[n++] = 0;
    }
    starts[nstarts++] = n;
    code[n++] = R3(RET, 0, 0, 0);
    for (uint32_t i = 0; i < nstarts; i++) {
        const OpInfo *info = &op_info[INS_OP(code[starts[i]])];
        int32_t target = (int32_t)starts[next_random(seed) % nstarts], at = (int32_t)starts[i];
        if (info->a == OPND_J24)
            code[starts[i]] = INS_MAKE_J(INS_OP(code[starts[i]]), target - at - 1);
        else if (info->x == OPND_XJ)
            code[starts[i] + 1] = (uint32_t)(target - at - 2);
        else if (info->x == OPND_XKJ)
            code[starts[i] + 2] = (uint32_t)(target - at - 3);
    }
    return n;
}

static bool run_random(uint64_t *seed)
{
    static const HandlerImage none = {0};
    uint32_t code[64], ncode = random_code(seed, code);
    HandlerImage handler = none;
    TestProgram t;
    make(&t, code, ncode);
    t.image.consts =
        json_parse(&t.arena, TEXT("[\"a\",\"b\",3,[1,{\"a\":[2]}],{\"a\":{\"b\":[]},\"b\":1}]"),
                   NULL)
            ->items;
    t.image.nconsts = 5;
    t.procs[0].nregs = 10;
    for (uint32_t i = 0; fast_filters[i].name; i++)
        t.imports[t.image.nimports++] =
            (ImportImage){IMPORT_FILTER, text_from(fast_filters[i].name)};
    for (uint32_t pc = 0; pc < ncode; pc++) {
        if (INS_OP(code[pc]) == OP_CATCH) {
            handler = (HandlerImage){0, ncode, pc};
            t.procs[0].handlers = &handler;
            t.procs[0].nhandlers = 1;
        }
    }
    xs_error err = {0};
    Program *p = program_load(&t.image, &natives, &err);
    if (p) {
        Fiber *f =
            fiber_new(p, NULL, NULL, &(Limits){.steps = 3000, .heap_bytes = 1 << 18, .depth = 20});
        if (fiber_call(f, 0, val_null(), &err) && fiber_run(f) == FIBER_DONE) {
            Buf out = BUF_INIT;
            bool printed = val_write_json(fiber_result(f), &out);
            (void)printed;
            buf_deinit(&out);
        }
        Buf listing = BUF_INIT;
        program_disasm(p, NULL, NULL, &listing);
        buf_deinit(&listing);
        fiber_free(f);
        program_unref(p);
    }
    tp_deinit(&t);
    return p != NULL;
}

static void random_programs_stay_inside(void **state)
{
    (void)state;
    uint64_t seed = 42;
    int loaded = 0;
    for (int i = 0; i < 20000; i++)
        loaded += run_random(&seed);
    if (loaded < 100)
        fail_msg("only %d random programs were accepted", loaded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_code),
        cmocka_unit_test(broken_fast_filters),
        cmocka_unit_test(broken_tables),
        cmocka_unit_test(random_programs_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
