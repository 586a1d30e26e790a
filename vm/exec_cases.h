/* exec_cases.h - the tests of the interpreter, run by exec_test.c and its twin over fiber_exec as
 * named by TEST_EXEC. Programs are assembled by hand and go through program_load, so the verifier
 * sees them too. */
#ifndef VM_EXEC_CASES_H
#define VM_EXEC_CASES_H

#include "vm/test_util.h"

FiberState TEST_EXEC(Fiber *f);

/* ---- natives ---- */

static bool flt_double(Call *c)
{
    int64_t n;
    return call_int(c, 0, &n) && call_return_int(c, n * 2);
}

static bool flt_push(Call *c)
{
    Value list;
    if (!call_list(c, 0, &list))
        return false;
    list = call_take_in(c);
    if (list.kind != V_LIST) {
        val_unref(c->heap, list);
        list = list_new(c->heap, 1);
    }
    if (!list_push(c->heap, &list, val_ref(call_arg(c, 1)))) {
        val_unref(c->heap, list);
        return call_return(c, val_unset());
    }
    return call_return(c, list);
}

static bool flt_joined(Call *c)
{
    Text a, b = TEXT("-");
    if (!call_text(c, 0, &a) || !call_text_opt(c, 1, &b))
        return false;
    Buf out = BUF_INIT;
    buf_text(&out, a);
    buf_text(&out, b);
    return call_return_buf(c, &out);
}

static bool flt_silent(Call *c)
{
    (void)c;
    return false;
}

static NativeResult op_sum(Call *c)
{
    int64_t a, b = 100;
    if (!call_int(c, 0, &a) || !call_int_opt(c, 1, &b))
        return NATIVE_ERROR;
    return call_return_int(c, a + b) ? NATIVE_OK : NATIVE_ERROR;
}

static NativeResult op_park(Call *c)
{
    (void)c;
    return NATIVE_PARK;
}

static NativeResult op_refuse(Call *c)
{
    c->thrown = map_new(c->heap, 1);
    if (!map_set_text(c->heap, &c->thrown, TEXT("param"), text_new(c->heap, TEXT("qty"))))
        return NATIVE_ERROR;
    call_fail(c, XS_E_INPUTERROR, "Missing param: qty");
    return NATIVE_ERROR;
}

static FilterFn find_filter(Text name, const void **row)
{
    *row = NULL;
    return text_eq(name, TEXT("double"))   ? flt_double
           : text_eq(name, TEXT("push"))   ? flt_push
           : text_eq(name, TEXT("joined")) ? flt_joined
           : text_eq(name, TEXT("silent")) ? flt_silent
                                           : NULL;
}

static StatementFn find_statement(Text name, const void **row)
{
    *row = NULL;
    return text_eq(name, TEXT("sum"))      ? op_sum
           : text_eq(name, TEXT("park"))   ? op_park
           : text_eq(name, TEXT("refuse")) ? op_refuse
                                           : NULL;
}

static bool bind_ints(Heap *h, const Services *s, const Const *inputs, Value *regs,
                      uint32_t ninputs, xs_error *err, Value *payload)
{
    (void)s;
    (void)inputs;
    for (uint32_t i = 0; i < ninputs; i++) {
        if (regs[i].kind == V_INT)
            continue;
        *payload = text_new(h, TEXT("n"));
        return xs_fail(err, XS_E_INPUTERROR, XS_NO_POS, "Invalid value for param");
    }
    return true;
}

static const NativeTable natives = {
    .filter = find_filter, .statement = find_statement, .bind = bind_ints};

static int64_t fixed_now(void *ctx)
{
    return ctx ? ++*(int64_t *)ctx : 1700000000000;
}

static Text fixed_env(void *ctx, Text name)
{
    (void)ctx;
    return text_eq(name, TEXT("KEY")) ? TEXT("secret") : (Text){0};
}

static const Services services = {.now_ms = fixed_now, .env = fixed_env};

/* ---- running ---- */

static Program *load(TestProgram *t)
{
    xs_error err = {0};
    Program *p = program_load(&t->image, &natives, &err);
    if (!p)
        fail_msg("load: %s", err.message);
    return p;
}

static Fiber *start(Program *p, const Limits *limits, const char *input)
{
    static const RunContext run = {0};
    Fiber *f = fiber_new(p, &services, &run, limits);
    assert_non_null(f);
    f->exec = TEST_EXEC;
    xs_error err = {0};
    if (!fiber_call(f, 0, input ? from_json(fiber_heap(f), input) : val_null(), &err))
        fail_msg("call: %s", err.message);
    return f;
}

/* expected: JSON of the result, or "!" and JSON of the error reply. */
static void check_end(const char *what, Fiber *f, FiberState ended, const char *expected)
{
    Buf out = BUF_INIT;
    if (ended == FIBER_ERROR)
        buf_char(&out, '!');
    if (ended == FIBER_ERROR)
        fiber_write_error(f, &out);
    else
        val_write_json(fiber_result(f), &out);
    buf_char(&out, '\0');
    if (ended == FIBER_PARKED || strcmp(out.ptr, expected) != 0)
        fail_msg("%s: state %d, %s, expected %s", what, (int)ended, out.ptr, expected);
    buf_deinit(&out);
}

static void run_and_check(const char *what, TestProgram *t, const Limits *limits, const char *input,
                          const char *expected)
{
    Program *p = load(t);
    Fiber *f = start(p, limits, input);
    FiberState ended = fiber_run(f);
    check_end(what, f, ended, expected);
    fiber_free(f);
    program_unref(p);
}

#define FATAL(message) "!{\"code\":\"ERROR_FATAL\",\"message\":\"" message "\",\"payload\":\"\"}"

/* ---- one procedure ---- */

typedef struct Case {
    const char *name, *consts;
    uint32_t code[TP_CODE];
    const char *expected;
} Case;

static const Case cases[] = {
    {"constants", "[{\"a\":[1,\"x\"]}]", {RX(LOADK, 0, 0), R3(RET, 0, 0, 0)}, "{\"a\":[1,\"x\"]}"},
    {"far constant", "[0,\"k\"]", {R3(LOADKX, 0, 0, 0), 1, R3(RET, 0, 0, 0)}, "\"k\""},
    {"negative int", NULL, {RX(LOADI, 0, -5), R3(RET, 0, 0, 0)}, "-5"},
    {"unset is null", NULL, {R3(RET, 3, 0, 0)}, "null"},
    {"take leaves unset",
     "[\"a\"]",
     {RX(LOADK, 0, 0), R3(TAKE, 1, 0, 0), R3(CHKSET, 0, 0, 0), 0, R3(RETNULL, 0, 0, 0)},
     FATAL("Missing var entry: a")},
    {"far slots",
     "[\"a\"]",
     {RX(LOADK, 0, 0), RX(SETFAR, 0, 299), RX(GETFAR, 1, 299), RX(GETFAR, 2, 0), RX(NEWLIST, 3, 0),
      R3(LPUSH, 3, 1, 0), R3(LPUSH, 3, 2, 0), R3(RET, 3, 0, 0)},
     "[\"a\",null]"},
    {"overflow becomes decimal",
     "[9223372036854775807]",
     {RX(LOADK, 0, 0), R3(ADDI, 1, 0, 1), R3(ADD, 2, 0, 0), R3(SUB, 3, 1, 2), R3(RET, 1, 0, 0)},
     "9.223372036854776e+18"},
    {"arithmetic",
     "[7,2,2.5,\"3\"]",
     {RX(LOADK, 0, 0),    RX(LOADK, 1, 1),       RX(LOADK, 2, 2),    RX(LOADK, 3, 3),
      RX(NEWLIST, 4, 4),  R3(DIV, 5, 0, 1),      R3(LPUSH, 4, 5, 0), R3(MOD, 5, 0, 1),
      R3(LPUSH, 4, 5, 0), R3(MUL, 5, 2, 2),      R3(LPUSH, 4, 5, 0), R3(ADD, 5, 3, 0),
      R3(LPUSH, 4, 5, 0), R3(NEG, 5, 0, 0),      R3(LPUSH, 4, 5, 0), R3(ADDI, 5, 2, (uint8_t)-1),
      R3(LPUSH, 4, 5, 0), R3(LOADNULL, 6, 0, 0), R3(NUMZ, 5, 6, 0),  R3(LPUSH, 4, 5, 0),
      R3(RET, 4, 0, 0)},
     "[3.5,1,6.25,10,-7,1.5,0]"},
    {"never set", "[]", {R3(NUMZ, 1, 7, 0), R3(RET, 1, 0, 0)}, FATAL("Not numeric.")},
    {"not numeric",
     "[\"x\"]",
     {RX(LOADK, 0, 0), R3(ADD, 1, 0, 0), R3(RET, 1, 0, 0)},
     FATAL("Not numeric.")},
    {"text joining",
     "[\"a\",1.5,true]",
     {RX(LOADK, 0, 0), RX(LOADK, 1, 1), RX(LOADK, 2, 2), R3(CONCAT, 0, 0, 1), R3(CONCAT, 0, 0, 0),
      R3(CONCAT, 0, 0, 2), R3(CONCAT, 0, 2, 0), R3(CONCAT, 0, 0, 7), R3(RET, 0, 0, 0)},
     "\"truea1.5a1.5true\""},
    {"joining an object",
     "[{\"a\":1}]",
     {RX(LOADK, 0, 0), R3(CONCAT, 1, 1, 0), R3(RET, 1, 0, 0)},
     FATAL("Text filter requires an integer, float, string or boolean value")},
    {"range",
     NULL,
     {RX(LOADI, 0, 2), RX(LOADI, 1, 5), R3(RANGE, 2, 0, 1), R3(RET, 2, 0, 0)},
     "[2,3,4,5]"},
    {"empty range",
     NULL,
     {RX(LOADI, 0, 2), RX(LOADI, 1, 1), R3(RANGE, 2, 0, 1), R3(RET, 2, 0, 0)},
     "[]"},
    {"long range",
     "[-9223372036854775808,9223372036854775807]",
     {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(RANGE, 2, 0, 1), R3(RET, 2, 0, 0)},
     FATAL("Range is too large.")},
    {"comparisons",
     "[1,\"1\"]",
     {RX(LOADK, 0, 0),    RX(LOADK, 1, 1),   RX(NEWLIST, 4, 4),  R3(EQ, 5, 0, 1),
      R3(LPUSH, 4, 5, 0), R3(NE, 5, 0, 1),   R3(LPUSH, 4, 5, 0), R3(SEQ, 5, 0, 1),
      R3(LPUSH, 4, 5, 0), R3(SNE, 5, 0, 1),  R3(LPUSH, 4, 5, 0), R3(LT, 5, 0, 1),
      R3(LPUSH, 4, 5, 0), R3(LE, 5, 0, 1),   R3(LPUSH, 4, 5, 0), R3(NOT, 5, 0, 0),
      R3(LPUSH, 4, 5, 0), R3(BOOL, 5, 0, 0), R3(LPUSH, 4, 5, 0), R3(RET, 4, 0, 0)},
     "[true,false,false,true,false,true,false,true]"},
    {"loop sums 0..99",
     NULL,
     {RX(LOADI, 0, 0), RX(LOADI, 1, 0), RX(LOADI, 2, 100), /* 3: */ R3(JLT, 1, 2, 0), J(3),
      R3(ADD, 0, 0, 1), R3(ADDI, 1, 1, 1), INS_MAKE_J(OP_JMP, -5), R3(RET, 0, 0, 0)},
     "4950"},
    {"for counts",
     "[\"3\"]",
     {RX(LOADK, 0, 0), RX(NEWLIST, 3, 0), R3(FORP, 0, 0, 0), J(4), INS_MAKE_J(OP_JMP, 1),
      R3(LPUSH, 3, 2, 0), R3(FORN, 0, 2, 0), J(-3), R3(RET, 3, 0, 0)},
     "[0,1,2]"},
    {"for of none",
     "[-1]",
     {RX(LOADK, 0, 0), RX(NEWLIST, 3, 0), R3(FORP, 0, 0, 0), J(4), INS_MAKE_J(OP_JMP, 1),
      R3(LPUSH, 3, 2, 0), R3(FORN, 0, 2, 0), J(-3), R3(RET, 3, 0, 0)},
     "[]"},
    {"for of a text",
     "[\"x\"]",
     {RX(LOADK, 0, 0), R3(FORP, 0, 0, 0), J(0), R3(RETNULL, 0, 0, 0)},
     FATAL("Not numeric.")},
    {"foreach over a snapshot",
     "[[1,2,3]]",
     {RX(LOADK, 0, 0), R3(ITER, 1, 0, 0), J(4), INS_MAKE_J(OP_JMP, 1), R3(LPUSH, 0, 3, 0),
      R3(NEXT, 1, 3, 1), J(-3), R3(RET, 0, 0, 0)},
     "[1,2,3,1,2,3]"},
    {"foreach over null",
     NULL,
     {R3(LOADNULL, 0, 0, 0), R3(ITER, 1, 0, 0), J(0), R3(RETNULL, 0, 0, 0)},
     FATAL("Please use a numerically indexed array.")},
    {"iterate an object",
     "[{\"a\":1,\"b\":2}]",
     {RX(LOADK, 0, 0), RX(NEWLIST, 5, 0), R3(ITER, 1, 0, 2), J(5), INS_MAKE_J(OP_JMP, 2),
      R3(LPUSH, 5, 3, 0), R3(LPUSH, 5, 4, 0), R3(NEXT, 1, 3, 1), J(-4), R3(RET, 5, 0, 0)},
     "[1,\"a\",2,\"b\"]"},
    {"iterate class A",
     "[{\"a\":1}]",
     {RX(LOADK, 0, 0), R3(ITER, 1, 0, 1), J(0), R3(RETNULL, 0, 0, 0)},
     FATAL("Array filter requires an array value")},
    {"iterate null as []",
     NULL,
     {R3(ITER, 1, 0, 1), J(1), R3(RETNULL, 0, 0, 0), RX(LOADI, 0, 1), R3(RET, 0, 0, 0)},
     "1"},
    {"next of no iterator",
     "[\"x\"]",
     {RX(LOADK, 0, 0), R3(NEXT, 0, 2, 1), J(-2), R3(RETNULL, 0, 0, 0)},
     FATAL("Internal error: next of something that is no iterator")},
    {"forn of no loop",
     "[\"x\"]",
     {RX(LOADK, 0, 0), R3(FORN, 0, 2, 0), J(-2), R3(RETNULL, 0, 0, 0)},
     FATAL("Internal error: next of something that is no loop")},
    {"next over its own iterator",
     "[[1,[2],3]]",
     {RX(LOADK, 0, 0), R3(ITER, 1, 0, 0), J(0), R3(NEXT, 1, 1, 1), J(-2), R3(RET, 1, 0, 0)},
     FATAL("Internal error: next of something that is no iterator")},
    {"members",
     "[{\"a\":{\"b\":5}},\"a\",\"b\"]",
     {RX(LOADK, 0, 0), R3(GETF, 1, 0, 0), 1, R3(GETF, 1, 1, 0), 2, R3(RET, 1, 0, 0)},
     "5"},
    {"missing member",
     "[{\"a\":1},\"zip\"]",
     {RX(LOADK, 0, 0), R3(GETF, 1, 0, 0), 1, R3(RET, 1, 0, 0)},
     FATAL("Unable to locate var: zip")},
    {"tolerant member",
     "[{\"a\":1},\"zip\"]",
     {RX(LOADK, 0, 0), R3(GETFT, 1, 0, 0), 1, R3(RET, 1, 0, 0)},
     "null"},
    {"member of null",
     "[\"zip\"]",
     {R3(LOADNULL, 0, 0, 0), R3(GETFT, 1, 0, 0), 0, R3(RET, 1, 0, 0)},
     "null"},
    {"members of elements",
     "[[{\"a\":1},{\"a\":[2,3]},4],\"a\"]",
     {RX(LOADK, 0, 0), R3(GETF, 1, 0, 0), 1, R3(RET, 1, 0, 0)},
     "[1,2,3]"},
    {"element",
     "[[1,2,3]]",
     {RX(LOADK, 0, 0), RX(LOADI, 1, -1), R3(GETI, 1, 0, 1), R3(RET, 1, 0, 0)},
     "3"},
    {"element outside",
     "[[1,2,3]]",
     {RX(LOADK, 0, 0), RX(LOADI, 1, 3), R3(GETI, 1, 0, 1), R3(RET, 1, 0, 0)},
     FATAL("Unable to locate var: 3")},
    {"element outside, tolerant",
     "[[1]]",
     {RX(LOADK, 0, 0), RX(LOADI, 1, 3), R3(GETIT, 1, 0, 1), R3(RET, 1, 0, 0)},
     "null"},
    {"set members",
     "[\"a\",1]",
     {RX(LOADK, 1, 1), R3(SETF, 0, 1, 0), 0, R3(MOVE, 2, 0, 0), R3(SETF, 0, 0, 0), 0,
      RX(NEWLIST, 3, 2), R3(LPUSH, 3, 0, 0), R3(LPUSH, 3, 2, 0), R3(RET, 3, 0, 0)},
     "[{\"a\":{\"a\":1}},{\"a\":1}]"},
    {"set by value",
     "[[1,2],\"x\"]",
     {RX(LOADK, 0, 0), RX(LOADI, 1, 1), RX(LOADK, 2, 1), R3(SETI, 0, 1, 2), R3(RET, 0, 0, 0)},
     "[1,\"x\"]"},
    {"paths",
     "[{\"a\":{\"l\":[1]}},\"a\",\"l\",\"new\"]",
     {RX(LOADK, 0, 0), RX(LOADK, 1, 1), RX(LOADK, 2, 2), R3(TAKEPATH, 3, 0, 1), 2, RX(LOADI, 4, 2),
      R3(LPUSH, 3, 4, 0), R3(SETPATH, 0, 1, 2), RX(LOADK, 2, 3), R3(SETPATH, 0, 1, 2),
      R3(DELPATH, 0, 1, 2), R3(RET, 0, 0, 0)},
     "{\"a\":{\"l\":[1,2]}}"},
    {"building",
     "[\"k\",{\"z\":1},[7]]",
     {RX(NEWMAP, 0, 2), RX(LOADK, 1, 0), RX(LOADI, 2, 3), R3(MSET, 0, 1, 2), R3(MSET, 0, 2, 1),
      RX(LOADK, 3, 1), R3(SPREAD, 0, 3, 0), RX(NEWLIST, 4, 0), RX(LOADK, 3, 2), R3(SPREAD, 4, 3, 0),
      R3(SPREAD, 4, 4, 0), R3(MSET, 0, 1, 4), R3(RET, 0, 0, 0)},
     "{\"k\":[7,7],\"3\":\"k\",\"z\":1}"},
    {"spread a number",
     "[1]",
     {RX(NEWLIST, 0, 0), RX(LOADK, 1, 0), R3(SPREAD, 0, 1, 0), R3(RET, 0, 0, 0)},
     FATAL("Array filter requires an array value")},
    {"append to no list",
     NULL,
     {RX(LOADI, 0, 1), R3(LPUSH, 0, 0, 0), R3(RET, 0, 0, 0)},
     FATAL("Internal error: append to something that is no list")},
    {"pop and shift",
     "[[1,2,3]]",
     {RX(LOADK, 0, 0), R3(POP, 1, 0, 0), R3(SHIFT, 2, 0, 0), R3(LPUSH, 0, 1, 0), R3(LPUSH, 0, 2, 0),
      R3(POP, 3, 4, 0), R3(LPUSH, 0, 3, 0), R3(RET, 0, 0, 0)},
     "[2,3,1,null]"},
    {"jumps",
     "[1]",
     {R3(JNULL, 0, 0, 0),
      J(1),
      R3(RETNULL, 0, 0, 0),
      RX(LOADK, 0, 0),
      R3(JNNULL, 0, 0, 0),
      J(1),
      R3(RETNULL, 0, 0, 0),
      R3(JT, 0, 0, 0),
      J(1),
      R3(RETNULL, 0, 0, 0),
      R3(JEQ, 0, 0, 1),
      J(1),
      R3(RETNULL, 0, 0, 0),
      R3(JSEQ, 0, 1, 0),
      J(1),
      R3(RETNULL, 0, 0, 0),
      R3(JLE, 0, 0, 1),
      J(1),
      R3(RETNULL, 0, 0, 0),
      R3(JF, 1, 0, 0),
      J(1),
      R3(RETNULL, 0, 0, 0),
      R3(RET, 0, 0, 0)},
     "1"},
    {"system values",
     "[\"KEY\",\"NONE\"]",
     {RX(NEWLIST, 0, 0), R3(GETSYS, 1, SYS_AUTH, 0), R3(LPUSH, 0, 1, 0), R3(GETSYS, 1, SYS_NOW, 0),
      R3(LPUSH, 0, 1, 0), R3(GETSYS, 1, SYS_PLATFORM, 0), R3(LPUSH, 0, 1, 0), R3(GETENV, 1, 0, 0),
      0, R3(LPUSH, 0, 1, 0), R3(GETENV, 1, 0, 0), 1, R3(LPUSH, 0, 1, 0),
      R3(GETSYS, 1, SYS_ERROR, 0), R3(LPUSH, 0, 1, 0), R3(RET, 0, 0, 0)},
     "[null,1700000000000,\"xs\",\"secret\",null,{\"code\":null,\"name\":null,\"message\":null,"
     "\"result\":null}]"},
    {"precondition",
     "[\"notfound\",\"No parcel.\",{\"id\":4}]",
     {RX(LOADK, 0, 0), RX(LOADK, 1, 1), RX(LOADK, 2, 2), R3(FAIL, 0, 1, 2)},
     "!{\"code\":\"ERROR_CODE_NOT_FOUND\",\"message\":\"No parcel.\",\"payload\":{\"id\":4}}"},
    {"precondition by default", NULL, {R3(FAIL, 0, 1, 2)}, FATAL("Precondition failed.")},
    {"precondition with an object as message",
     "[\"accessdenied\",{\"a\":1}]",
     {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(FAIL, 0, 1, 2)},
     "!{\"code\":\"ERROR_CODE_ACCESS_DENIED\",\"message\":\"Precondition "
     "failed.\",\"payload\":\"\"}"},
    {"precondition of unknown type",
     "[\"conflict\"]",
     {RX(LOADK, 0, 0), R3(FAIL, 0, 0, 2)},
     "!{\"code\":\"ERROR_CODE_INPUT_ERROR\",\"message\":\"Input 'conflict' is not one of the "
     "allowable "
     "values.\",\"payload\":\"\"}"},
    {"throw text",
     "[\"StockError\",\"only 2 left\"]",
     {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(THROW, 0, 1, 0)},
     "!{\"code\":\"StockError\",\"message\":\"only 2 left\",\"payload\":\"\"}"},
    {"throw a value",
     "[\"StockError\",[2]]",
     {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(THROW, 0, 1, 0)},
     "!{\"code\":\"StockError\",\"message\":\"StockError\",\"payload\":[2]}"},
    {"throw nothing", NULL, {R3(THROW, 0, 1, 0)}, FATAL("")},
    {"rethrow of no error",
     NULL,
     {R3(RETHROW, 0, 0, 0)},
     FATAL("Internal error: rethrow of something that is no error")},
    {"catch without an error",
     NULL,
     {R3(CATCH, 0, 0, 0), R3(RETHROW, 0, 0, 0)},
     FATAL("Internal error: a handler ran without an error")},
};

typedef struct CaughtCase {
    Case base;
    HandlerImage handlers[2];
} CaughtCase;

static const CaughtCase caught_cases[] = {
    {{"catch",
      "[\"StockError\",\"only 2 left\"]",
      {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(THROW, 0, 1, 0), R3(CATCH, 2, 0, 0),
       R3(GETSYS, 3, SYS_ERROR, 0), R3(RET, 3, 0, 0)},
      "{\"code\":\"StockError\",\"name\":\"StockError\",\"message\":\"only 2 "
      "left\",\"result\":\"only 2 left\"}"},
     {{2, 3, 3}}},
    {{"catch an engine error",
      "[\"x\"]",
      {RX(LOADK, 0, 0), R3(ADD, 1, 0, 0), R3(CATCH, 2, 0, 0), R3(GETSYS, 3, SYS_ERROR, 0),
       R3(RET, 3, 0, 0)},
      "{\"code\":\"ERROR_FATAL\",\"name\":\"ERROR_FATAL\",\"message\":\"Not "
      "numeric.\",\"result\":null}"},
     {{0, 2, 2}}},
    {{"rethrow",
      "[\"E\",[1]]",
      {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(THROW, 0, 1, 0), R3(CATCH, 2, 0, 0),
       R3(LOADNULL, 0, 0, 0), R3(RETHROW, 2, 0, 0)},
      "!{\"code\":\"E\",\"message\":\"E\",\"payload\":[1]}"},
     {{0, 3, 3}}},
    {{"inner handler first",
      "[\"E\"]",
      {RX(LOADK, 0, 0), R3(THROW, 0, 1, 0), R3(CATCH, 1, 0, 0), R3(RETHROW, 1, 0, 0),
       R3(CATCH, 2, 0, 0), RX(LOADI, 3, 4), R3(RET, 3, 0, 0)},
      "4"},
     {{0, 2, 2}, {0, 4, 4}}},
    {{"outside the range",
      "[\"E\"]",
      {RX(LOADK, 0, 0), R3(THROW, 0, 1, 0), R3(CATCH, 1, 0, 0), R3(RETNULL, 0, 0, 0)},
      "!{\"code\":\"E\",\"message\":\"E\",\"payload\":\"\"}"},
     {{0, 1, 2}}},
    {{"stop is not caught",
      "[{\"v\":1}]",
      {RX(LOADK, 0, 0), R3(STOP, 0, 0, 0), R3(CATCH, 1, 0, 0), R3(RETNULL, 0, 0, 0)},
      "!{\"code\":\"STOPPED\",\"message\":\"debug.stop\",\"payload\":{\"v\":1}}"},
     {{0, 2, 2}}},
};

static void check_case(const Case *c, const HandlerImage *handlers, uint32_t nhandlers)
{
    TestProgram t;
    tp_init(&t, c->consts);
    ProcImage *p = tp_proc(&t, 8, c->code, TP_CODE);
    p->nfar = 300;
    p->handlers = handlers;
    p->nhandlers = nhandlers;
    run_and_check(c->name, &t, NULL, NULL, c->expected);
    tp_deinit(&t);
}

static void one_procedure(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i], NULL, 0);
    for (size_t i = 0; i < COUNT_OF(caught_cases); i++)
        check_case(&caught_cases[i].base, caught_cases[i].handlers,
                   caught_cases[i].handlers[1].to ? 2 : 1);
}

/* ---- calls ---- */

/* fib(n) = n < 2 ? n : fib(n - 1) + fib(n - 2) */
static void recursion(void **state)
{
    (void)state;
    static const uint32_t code[] = {RX(LOADI, 1, 2),
                                    R3(JLT, 0, 1, 0),
                                    J(1),
                                    R3(RET, 0, 0, 0),
                                    R3(ADDI, 2, 0, (uint8_t)-1),
                                    R3(CALL, 2, 1, 0),
                                    0,
                                    R3(ADDI, 3, 0, (uint8_t)-2),
                                    R3(CALL, 3, 1, 0),
                                    0,
                                    R3(ADD, 0, 2, 3),
                                    R3(RET, 0, 0, 0)};
    TestProgram t;
    tp_init(&t, NULL);
    tp_inputs(&t, tp_proc(&t, 4, code, COUNT_OF(code)), "[{\"name\":\"n\",\"type\":\"int\"}]");
    run_and_check("fib", &t, NULL, "{\"n\":20}", "6765");
    tp_deinit(&t);
}

static void endless_recursion_is_caught(void **state)
{
    (void)state;
    static const uint32_t code[] = {R3(CALL, 0, 0, 0), 0, R3(RETNULL, 0, 0, 0)};
    TestProgram t;
    tp_init(&t, NULL);
    tp_proc(&t, 4, code, COUNT_OF(code));
    run_and_check("depth", &t, NULL, NULL, FATAL("Maximum call depth exceeded."));
    run_and_check("depth", &t, &(Limits){.depth = 1}, NULL, FATAL("Maximum call depth exceeded."));
    run_and_check("memory", &t, &(Limits){.depth = 1000000, .heap_bytes = 100000}, NULL,
                  FATAL("Memory limit exceeded."));
    tp_deinit(&t);
}

static void inputs_and_binding(void **state)
{
    (void)state;
    static const uint32_t caller[] = {RX(LOADK, 0, 0), R3(CALLD, 1, 0, 0), 1, R3(RET, 1, 0, 0)};
    static const uint32_t callee[] = {R3(BIND, 0, 0, 0), R3(GETINPUT, 2, 0, 0), R3(RET, 2, 0, 0)};
    static const uint32_t loose[] = {R3(GETINPUT, 2, 0, 0), R3(RET, 2, 0, 0)};
    static const struct {
        const char *input, *expected;
        bool bound;
    } rows[] = {
        {"[{\"b\":2,\"a\":1,\"zip\":3}]", "{\"a\":1,\"b\":2}", true},
        {"[{\"b\":2}]", "{\"a\":null,\"b\":2}", false},
        {"[[]]", "{\"a\":null,\"b\":null}", false},
        {"[null]", "{\"a\":null,\"b\":null}", false},
        {"[{\"a\":1}]",
         "!{\"code\":\"ERROR_CODE_INPUT_ERROR\",\"message\":\"Invalid value for "
         "param\",\"payload\":\"n\"}",
         true},
        {"[[1]]", FATAL("Object filter requires an object value"), true},
        {"[5]", FATAL("Object filter requires an object value"), true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TestProgram t;
        tp_init(&t, rows[i].input);
        tp_proc(&t, 2, caller, COUNT_OF(caller));
        ProcImage *p = rows[i].bound ? tp_proc(&t, 3, callee, COUNT_OF(callee))
                                     : tp_proc(&t, 3, loose, COUNT_OF(loose));
        tp_inputs(&t, p, "[{\"name\":\"a\"},{\"name\":\"b\"}]");
        run_and_check(rows[i].input, &t, NULL, NULL, rows[i].expected);
        tp_deinit(&t);
    }
}

static void trigger_gets_its_whole_input(void **state)
{
    (void)state;
    static const uint32_t code[] = {R3(GETINPUT, 1, 0, 0), R3(RET, 1, 0, 0)};
    TestProgram t;
    tp_init(&t, NULL);
    tp_proc(&t, 2, code, COUNT_OF(code))->kind = PROC_TRIGGER;
    run_and_check("trigger", &t, NULL, "{\"client\":{\"id\":1}}", "{\"client\":{\"id\":1}}");
    tp_deinit(&t);
}

static void error_of_a_callee_is_caught(void **state)
{
    (void)state;
    static const uint32_t caller[] = {R3(CALL, 0, 0, 0),           1,
                                      R3(RETNULL, 0, 0, 0),        R3(CATCH, 1, 0, 0),
                                      R3(GETSYS, 2, SYS_ERROR, 0), R3(RET, 2, 0, 0)};
    static const uint32_t middle[] = {RX(LOADK, 0, 0), R3(CALL, 1, 0, 0), 2, R3(RETNULL, 0, 0, 0)};
    static const uint32_t bad[] = {RX(LOADK, 0, 0), R3(CONCAT, 0, 0, 0), R3(THROW, 0, 1, 0)};
    static const HandlerImage handlers[] = {{0, 2, 3}};
    TestProgram t;
    tp_init(&t, "[\"Err\"]");
    ProcImage *p = tp_proc(&t, 3, caller, COUNT_OF(caller));
    p->handlers = handlers;
    p->nhandlers = 1;
    tp_proc(&t, 3, middle, COUNT_OF(middle));
    tp_proc(&t, 3, bad, COUNT_OF(bad));
    run_and_check(
        "callee", &t, NULL, NULL,
        "{\"code\":\"ErrErr\",\"name\":\"ErrErr\",\"message\":\"ErrErr\",\"result\":null}");
    tp_deinit(&t);
}

/* ---- natives ---- */

static void add_import(TestProgram *t, ImportKind kind, Text name)
{
    if (kind == IMPORT_STATEMENT)
        t->sites[t->image.nsites++] = (SiteImage){t->image.nimports, &const_null};
    t->imports[t->image.nimports++] = (ImportImage){kind, name};
}

static void calling_natives(void **state)
{
    (void)state;
    enum { DOUBLE, PUSH, JOINED, SILENT, SUM = 0, REFUSE = 1 }; /* imports, sites */
    static const Case rows[] = {
        {"filter", "[21]", {RX(LOADK, 0, 0), R3(CALLF, 1, 0, 0), DOUBLE, R3(RET, 1, 0, 0)}, "42"},
        {"filter error",
         "[\"x\"]",
         {RX(LOADK, 0, 0), R3(CALLF, 1, 0, 0), DOUBLE, R3(RET, 1, 0, 0)},
         FATAL("Not numeric.")},
        {"in place",
         "[[1],5]",
         {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(CALLF, 0, 0, 1), PUSH | 1 << 16, R3(CALLF, 0, 0, 1),
          PUSH | 1 << 16, R3(CALLF, 2, 0, 1), PUSH | 1 << 16, R3(LPUSH, 2, 0, 0), R3(RET, 2, 0, 0)},
         "[1,5,5,5,[1,5,5]]"},
        {"number to text",
         "[7,8]",
         {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(CALLF, 2, 0, 1), JOINED | 1 << 16, R3(RET, 2, 0, 0)},
         "\"78\""},
        {"null argument takes its default",
         "[7,null]",
         {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(CALLF, 2, 0, 1), JOINED | 1 << 16, R3(RET, 2, 0, 0)},
         "\"7-\""},
        {"failure without a reason",
         NULL,
         {R3(CALLF, 0, 0, 0), SILENT, R3(RET, 0, 0, 0)},
         FATAL("silent failed without saying why")},
        {"statement",
         "[1,2]",
         {RX(LOADK, 0, 0), RX(LOADK, 1, 1), R3(CALLN, 0, 2, 0), SUM, R3(RET, 0, 0, 0)},
         "3"},
        {"statement, absent argument",
         "[1]",
         {RX(LOADK, 0, 0), R3(CALLN, 0, 2, 0), SUM, R3(RET, 0, 0, 0)},
         "101"},
        {"statement, missing argument",
         NULL,
         {R3(CALLN, 0, 2, 0), SUM, R3(RET, 0, 0, 0)},
         FATAL("Missing param: argument 0")},
        {"statement with payload",
         NULL,
         {R3(CALLN, 0, 0, 0), REFUSE, R3(RET, 0, 0, 0)},
         "!{\"code\":\"ERROR_CODE_INPUT_ERROR\",\"message\":\"Missing param: "
         "qty\",\"payload\":{\"param\":\"qty\"}}"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TestProgram t;
        tp_init(&t, rows[i].consts);
        add_import(&t, IMPORT_FILTER, TEXT("double"));
        add_import(&t, IMPORT_FILTER, TEXT("push"));
        add_import(&t, IMPORT_FILTER, TEXT("joined"));
        add_import(&t, IMPORT_FILTER, TEXT("silent"));
        add_import(&t, IMPORT_STATEMENT, TEXT("sum"));
        add_import(&t, IMPORT_STATEMENT, TEXT("refuse"));
        tp_proc(&t, 4, rows[i].code, TP_CODE);
        run_and_check(rows[i].name, &t, NULL, NULL, rows[i].expected);
        tp_deinit(&t);
    }
}

static void unknown_natives_do_not_load(void **state)
{
    (void)state;
    static const uint32_t code[] = {R3(RETNULL, 0, 0, 0)};
    static const char *const messages[] = {"Unable to locate func entry: nix",
                                           "Unable to locate statement: nix"};
    for (int kind = 0; kind < IMPORT_KIND_COUNT; kind++) {
        TestProgram t;
        tp_init(&t, NULL);
        add_import(&t, (ImportKind)kind, TEXT("nix"));
        tp_proc(&t, 1, code, 1);
        xs_error err = {0};
        assert_null(program_load(&t.image, &natives, &err));
        assert_int_equal(err.code, XS_E_UNKNOWN_FILTER);
        assert_string_equal(err.message, messages[kind]);
        tp_deinit(&t);
    }
}

static void parking(void **state)
{
    (void)state;
    static const uint32_t outer[] = {RX(LOADK, 0, 0), R3(CALL, 1, 0, 0), 1, R3(CONCAT, 0, 0, 1),
                                     R3(RET, 0, 0, 0)};
    static const uint32_t inner[] = {RX(LOADK, 1, 0),
                                     R3(CALLN, 1, 2, 0),
                                     0,
                                     R3(RET, 1, 0, 0),
                                     R3(CATCH, 2, 0, 0),
                                     R3(GETSYS, 3, SYS_ERROR, 0),
                                     R3(GETF, 3, 3, 0),
                                     1,
                                     R3(RET, 3, 0, 0)};
    static const HandlerImage handlers[] = {{0, 3, 4}};
    TestProgram t;
    tp_init(&t, "[\"got \",\"message\"]");
    add_import(&t, IMPORT_STATEMENT, TEXT("park"));
    tp_proc(&t, 3, outer, COUNT_OF(outer));
    ProcImage *image = tp_proc(&t, 4, inner, COUNT_OF(inner));
    image->handlers = handlers;
    image->nhandlers = 1;
    Program *p = load(&t);

    Fiber *f = start(p, NULL, NULL);
    assert_int_equal(fiber_run(f), FIBER_PARKED);
    assert_int_equal(fiber_run(f), FIBER_PARKED);
    fiber_resume(f, text_new(fiber_heap(f), TEXT("it")), NULL, val_unset());
    check_end("resumed", f, fiber_run(f), "\"got it\"");
    assert_int_equal(fiber_run(f), FIBER_DONE);

    xs_error err = {0}; /* the same fiber again, resumed with an error that is caught */
    assert_true(fiber_call(f, 0, val_null(), &err));
    assert_int_equal(fiber_run(f), FIBER_PARKED);
    xs_fail(&err, XS_E_TIMEOUT, XS_NO_POS, "too late");
    fiber_resume(f, val_unset(), &err, val_unset());
    check_end("failed", f, fiber_run(f), "\"got too late\"");

    assert_true(fiber_call(f, 0, val_null(), &err));
    assert_int_equal(fiber_run(f), FIBER_PARKED);
    fiber_free(f); /* given up while parked */
    program_unref(p);
    tp_deinit(&t);
}

/* ---- limits ---- */

static void limits_end_a_program(void **state)
{
    (void)state;
    static const uint32_t spin[] = {RX(LOADI, 0, 0), R3(ADDI, 0, 0, 1), INS_MAKE_J(OP_JMP, -2),
                                    R3(CATCH, 1, 0, 0), R3(RETNULL, 0, 0, 0)};
    static const uint32_t grow[] = {RX(LOADK, 0, 0), R3(CONCAT, 0, 0, 0), INS_MAKE_J(OP_JMP, -2),
                                    R3(CATCH, 1, 0, 0), R3(RETNULL, 0, 0, 0)};
    static const uint32_t self[] = {R3(ADD, 0, 0, 0),   R3(RETNULL, 0, 0, 0),
                                    R3(CATCH, 1, 0, 0), INS_MAKE_J(OP_JMP, 0),
                                    R3(ADD, 0, 0, 0),   R3(RETNULL, 0, 0, 0)};
    static const HandlerImage all[] = {{0, 3, 3}}, itself[] = {{0, 6, 2}};
    int64_t clock = 0;
    Services ticking = {.ctx = &clock, .now_ms = fixed_now};
    static const struct {
        const uint32_t *code;
        uint32_t ncode;
        const HandlerImage *handlers;
        Limits limits;
        xs_code code_expected;
    } rows[] = {
        {spin, COUNT_OF(spin), all, {.steps = 100000}, XS_E_STEPS},
        {spin, COUNT_OF(spin), all, {.steps = 1}, XS_E_STEPS},
        {spin, COUNT_OF(spin), all, {.deadline_ms = 50}, XS_E_DEADLINE},
        {grow, COUNT_OF(grow), all, {.heap_bytes = 1 << 20}, XS_E_MEMORY},
        {self, COUNT_OF(self), itself, {.steps = 100000}, XS_E_STEPS},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TestProgram t;
        tp_init(&t, "[\"0123456789\"]");
        ProcImage *image = tp_proc(&t, 2, rows[i].code, rows[i].ncode);
        image->handlers = rows[i].handlers;
        image->nhandlers = 1;
        Program *p = load(&t);
        Fiber *f = fiber_new(p, &ticking, NULL, &rows[i].limits);
        f->exec = TEST_EXEC;
        xs_error err = {0};
        assert_true(fiber_call(f, 0, val_null(), &err));
        assert_int_equal(fiber_run(f), FIBER_ERROR);
        assert_int_equal(fiber_error(f, NULL, NULL)->code, rows[i].code_expected);
        clock = 0;
        fiber_free(f);
        program_unref(p);
        tp_deinit(&t);
    }
}

/* ---- errors ---- */

static void errors_have_positions_paths_and_long_messages(void **state)
{
    (void)state;
    static const uint32_t code[] = {RX(LOADK, 0, 0), R3(GETF, 1, 0, 0), 1, R3(RETNULL, 0, 0, 0)};
    static const LineImage lines[] = {{0, 10, 3}, {1, 11, 5}, {3, 12, 1}};
    static const uint32_t names[] = {1, 2};
    TestProgram t;
    tp_init(&t, "[{\"a\":1},\"total\",\"order.total\"]");
    ProcImage *image = tp_proc(&t, 2, code, COUNT_OF(code));
    image->lines = lines;
    image->nlines = COUNT_OF(lines);
    image->names = names;
    image->nnames = 1;
    Program *p = load(&t);
    Fiber *f = start(p, NULL, NULL);
    assert_int_equal(fiber_run(f), FIBER_ERROR);
    Text name;
    Value payload;
    const xs_error *err = fiber_error(f, &name, &payload);
    assert_string_equal(err->message, "Unable to locate var: order.total");
    assert_string_equal(err->pos.file, "test.xs");
    assert_int_equal(err->pos.line, 11);
    assert_int_equal(err->pos.col, 5);
    assert_true(text_eq(name, TEXT("ERROR_FATAL")));
    assert_int_equal(payload.kind, V_UNSET);
    fiber_free(f);
    program_unref(p);
    tp_deinit(&t);

    static const uint32_t fails[] = {RX(LOADK, 0, 0), R3(FAIL, 1, 0, 1), R3(CATCH, 1, 0, 0),
                                     R3(RETHROW, 1, 0, 0)};
    static const HandlerImage handlers[] = {{0, 2, 2}};
    Buf consts = BUF_INIT;
    buf_cstr(&consts, "[\"");
    for (int i = 0; i < 200; i++)
        buf_cstr(&consts, "\xc3\xa9\xc3\xa9\xc3\xa9");
    buf_cstr(&consts, "\"]");
    buf_append(&consts, "", 1);
    tp_init(&t, consts.ptr);
    image = tp_proc(&t, 2, fails, COUNT_OF(fails));
    image->handlers = handlers;
    image->nhandlers = 1;
    p = load(&t);
    f = start(p, NULL, NULL);
    assert_int_equal(fiber_run(f), FIBER_ERROR);
    assert_int_equal(fiber_error_message(f).len, 1200);
    assert_true(utf8_valid(text_from(fiber_error(f, NULL, NULL)->message)));
    fiber_free(f);
    program_unref(p);
    tp_deinit(&t);
    buf_deinit(&consts);
}

static void failing_memory_ends_cleanly(void **state)
{
    (void)state;
    static const uint32_t code[] = {
        RX(NEWMAP, 0, 0), RX(LOADI, 1, 0), RX(LOADI, 2, 300), R3(MSET, 0, 1, 0), R3(ADDI, 1, 1, 1),
        R3(JLT, 1, 2, 1), J(-4),           R3(RET, 0, 0, 0)};
    for (uint64_t n = 1; n < 40; n++) {
        TestProgram t;
        tp_init(&t, NULL);
        tp_proc(&t, 4, code, COUNT_OF(code));
        Program *p = load(&t);
        Fiber *f = start(p, &(Limits){.heap_bytes = 1 << 20}, NULL);
        mem_fail_after(n);
        FiberState ended = fiber_run(f);
        mem_fail_after(0);
        if (ended == FIBER_ERROR) {
            xs_code why = fiber_error(f, NULL, NULL)->code;
            assert_true(why == XS_E_NOMEM || why == XS_E_MEMORY);
        }
        fiber_free(f);
        program_unref(p);
        tp_deinit(&t);
    }
}

static void disassembly(void **state)
{
    (void)state;
    static const uint32_t code[] = {RX(LOADK, 0, 0),      RX(LOADI, 1, -3),
                                    R3(GETF, 2, 0, 0),    1,
                                    R3(CALLF, 2, 2, 1),   1 << 16,
                                    R3(CALLN, 2, 1, 0),   0,
                                    R3(JT, 2, 0, 0),      J(-4),
                                    R3(ADDI, 2, 2, 0xff), INS_MAKE_J(OP_JMP, -2),
                                    R3(RET, 2, 0, 0)};
    static const LineImage lines[] = {{0, 7, 1}, {4, 8, 1}};
    static const uint32_t names[] = {2, 2};
    TestProgram t;
    tp_init(&t, "[{\"a\":1},\"a\",\"x.a\"]");
    add_import(&t, IMPORT_FILTER, TEXT("push"));
    add_import(&t, IMPORT_STATEMENT, TEXT("sum"));
    t.sites[0].desc = t.image.consts[0];
    ProcImage *image = tp_proc(&t, 3, code, COUNT_OF(code));
    image->lines = lines;
    image->nlines = 2;
    image->names = names;
    image->nnames = 1;
    Program *p = load(&t);
    Buf out = BUF_INIT;
    program_disasm(p, NULL, NULL, &out);
    buf_append(&out, "", 1);
    assert_string_equal(out.ptr, "site 0 sum {\"a\":1}\n\n"
                                 "proc 0 function \"test\"  registers 3, far 0, inputs 0  test.xs\n"
                                 "     0     7  LOADK     r0 = {\"a\":1}\n"
                                 "     1     7  LOADI     r1 = -3\n"
                                 "     2     7  GETF      r2 = r0.\"a\"  ; x.a\n"
                                 "     4     8  CALLF     r2 = r2|push(r1 ... 1)\n"
                                 "     6     8  CALLN     r2 = sum#0(r2 ... 1)\n"
                                 "     8     8  JT        if r2 goto 6\n"
                                 "    10     8  ADDI      r2 = r2 + -1\n"
                                 "    11     8  JMP       goto 10\n"
                                 "    12     8  RET       return r2\n");
    buf_deinit(&out);
    program_unref(p);
    tp_deinit(&t);
}

static int run_exec_cases(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_procedure),
        cmocka_unit_test(recursion),
        cmocka_unit_test(endless_recursion_is_caught),
        cmocka_unit_test(inputs_and_binding),
        cmocka_unit_test(trigger_gets_its_whole_input),
        cmocka_unit_test(error_of_a_callee_is_caught),
        cmocka_unit_test(calling_natives),
        cmocka_unit_test(unknown_natives_do_not_load),
        cmocka_unit_test(parking),
        cmocka_unit_test(limits_end_a_program),
        cmocka_unit_test(errors_have_positions_paths_and_long_messages),
        cmocka_unit_test(failing_memory_ends_cleanly),
        cmocka_unit_test(disassembly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
