/* gen_test.c - the instructions of key patterns, descriptors, metadata, and that every published
 * sample compiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/mem.h"
#include "frontend/test_source.h"

typedef struct Program {
    Arena a;
    DiagList diags;
    BundleImage image;
    bool ok;
} Program;

static void build(Program *p, const char *source)
{
    SourceFile file = {TEXT("t.xs"), text_from(source)};
    CompileOptions options = {.program_name = TEXT("t")};
    arena_init(&p->a, 0);
    diag_init(&p->diags, &p->a);
    p->ok = compile_program(&p->a, &file, 1, &options, &p->diags, &p->image);
    for (size_t i = 0; i < p->diags.count && !p->ok; i++)
        print_error("%s: " TEXT_FMT "\n", p->diags.items[i].id,
                    TEXT_ARG(p->diags.items[i].message));
}

/* "PUSH r1 r1" … is not needed here: names of the operations with register operands A, B, C as
 * numbers. */
static void list_code(const ProcImage *proc, Buf *out)
{
    for (uint32_t pc = 0; pc < proc->ncode;) {
        uint32_t w = proc->code[pc];
        const OpInfo *op = &op_info[INS_OP(w)];
        buf_printf(out, "%s%s", pc ? " " : "", op->name);
        if (op->x == OPND_XF || INS_OP(w) == OP_CONCAT || INS_OP(w) == OP_ADDI)
            buf_printf(out, ":%u,%u", INS_A(w), INS_B(w));
        pc += op_words(op);
    }
}

typedef struct Case {
    const char *body, *code;
} Case;

static const Case patterns[] = {
    /* in place: A is B */
    {"var $a { value = [] }\nvar.update $a { value = $a|push:1 }", "LOADK LOADI FPUSH:0,0 RETNULL"},
    {"var $a { value = [] }\narray.push $a { value = 1 }", "LOADK LOADI FPUSH:0,0 RETNULL"},
    {"var $s { value = \"\" }\nvar $s { value = $s ~ \"a\" }", "LOADK LOADK CONCAT:0,0 RETNULL"},
    {"var $s { value = \"\" }\nvar $s { value = $s ~ \"a\" ~ 1 }",
     "LOADK LOADK LOADI CONCAT:2,1 CONCAT:0,0 RETNULL"},
    {"var $i { value = 0 }\nvar $i { value = $i + 1 }", "LOADI ADDI:0,0 RETNULL"},
    /* a later filter reads the variable: not in place */
    {"var $a { value = [] }\nvar $a { value = $a|push:1|push:$a }",
     "LOADK LOADI FPUSH:1,0 FPUSH:1,1 TAKE RETNULL"},
    /* nor where catch could see it half done */
    {"var $a { value = [] }\ntry_catch { try { var $a { value = $a|push:1 } } catch { } }",
     "LOADK LOADI FPUSH:1,0 TAKE JMP CATCH RETNULL"},
    /* fused comparison and short circuit */
    {"var $a { value = 1 }\nconditional { if ($a > 1 && $a != null) { var $b { value = 1 } } }",
     "LOADI JLEI JNULL LOADI RETNULL"},
    {"var $a { value = 1 }\nwhile ($a < 5) { each { math.add $a { value = 1 } } }",
     "LOADI JMP ADDZI JLTI RETNULL"},
    /* unset variables are checked, once */
    {"conditional { if (true) { } else { var $a { value = 1 } } }\nvar $b { value = $a }\nvar $c { "
     "value = $a }",
     "JMP LOADI CHKSET MOVE MOVE RETNULL"},
    {"conditional { if (now) { var $a { value = 1 } } else { var $a { value = 2 } } }\nvar $b { "
     "value = $a }",
     "GETSYS JF LOADI JMP LOADI MOVE RETNULL"},
    {"var $a { value = {x: 1} }\nvar $b { value = $a.x ?\? 2 }",
     "LOADK GETFT JNNULL LOADI RETNULL"},
    /* members of variables: keys and values straight from their registers */
    {"var $a { value = [1] }\nvar $i { value = 0 }\nvar.update $a[$i] { value = $i }",
     "LOADK LOADI SETI RETNULL"},
    {"var $a { value = [] }\nvar $b { value = [] }\nvar.update $a[0] { value = $b|push:1 }",
     "LOADK LOADK LOADI FPUSH:2,1 LOADI SETI UNSET RETNULL"},
    {"var $a { value = [[1]] }\nvar $i { value = 0 }\nvar $x { value = $a[$i][$i] }",
     "LOADK LOADI GETII RETNULL"},
    {"var $a { value = [{x: 1}] }\nvar $i { value = 0 }\nvar $x { value = $a[$i].x }",
     "LOADK LOADI GETIF RETNULL"},
    {"var $a { value = [[1]] }\nvar.update $a[0][0] { value = $a }",
     "LOADK LOADI LOADI SETII RETNULL"},
    /* an argument that is the operand itself is copied first */
    {"var $a { value = [] }\narray.push $a { value = $a }", "LOADK MOVE FPUSH:0,0 RETNULL"},
    /* literals in one piece */
    {"var $a { value = 1 }\nvar $b { value = {x: $a, y: [$a]} }",
     "LOADI MOVE MOVE MAKELIST MAKEMAP RETNULL"},
    /* loops of filters */
    {"var $a { value = [1]|map:$$ * 2 }",
     "LOADK NEWLIST ITER JMP MULK LPUSH NEXT UNSET TAKE RETNULL"},
    {"for (3) { each as $i { continue } }", "LOADI FORB JMP FORN RETNULL"},
};

static void test_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        Program p;
        Buf source = BUF_INIT, code = BUF_INIT;
        buf_printf(&source, "function f {\n  stack {\n%s\n  }\n}\n", patterns[i].body);
        buf_char(&source, 0);
        build(&p, source.ptr);
        assert_true(p.ok);
        list_code(&p.image.procs[0], &code);
        if (!text_eq(buf_view(&code), text_from(patterns[i].code)))
            print_error("%s\n  expected %s\n  found    " TEXT_FMT "\n", patterns[i].body,
                        patterns[i].code, TEXT_ARG(buf_view(&code)));
        assert_true(text_eq(buf_view(&code), text_from(patterns[i].code)));
        buf_deinit(&source);
        buf_deinit(&code);
        arena_deinit(&p.a);
    }
}

static const Case descriptors[] = {
    {"db.query t { where = $db.t.a == 1 && ($db.b >? $x0 || !$db.t.c) } as $r",
     "{\"op\":\"db.query\",\"name\":\"t\",\"where\":[\"and\",[\"==\",{\"col\":[\"t\",\"a\"]},{"
     "\"k\":1}],[\"or\",[\">?\","
     "{\"col\":[\"t\",\"b\"]},{\"p\":10}],[\"not\",[\"true\",{\"col\":[\"t\",\"c\"]}]]]]}"},
    {"db.query t { join = {j: {table: \"u\", where: $db.t.u_id == $db.j.id}} eval = {n: "
     "$db.j.name|to_lower} } as $r",
     "{\"op\":\"db.query\",\"name\":\"t\",\"join\":[{\"alias\":\"j\",\"table\":\"u\",\"type\":"
     "\"inner\",\"where\":[\"==\","
     "{\"col\":[\"t\",\"u_id\"]},{\"col\":[\"j\",\"id\"]}]}],\"eval\":[[\"n\",{\"f\":\"to_lower\","
     "\"args\":[{\"col\":["
     "\"j\",\"name\"]}]}]]}"},
    {"db.add t { data = {a: 1, b: $x0} } as $r",
     "{\"op\":\"db.add\",\"name\":\"t\",\"data\":[[\"a\",{\"p\":4}],[\"b\",{\"p\":5}]]}"},
    {"db.query t { return = {type: \"aggregate\", group: {g: $db.t.g}, eval: {n: $db.t.id|count}} "
     "} as $r",
     "{\"op\":\"db.query\",\"name\":\"t\",\"return\":{\"type\":\"aggregate\",\"group\":[[\"g\",{"
     "\"col\":[\"t\",\"g\"]}]],"
     "\"eval\":[[\"n\",\"count\",{\"col\":[\"t\",\"id\"]}]]}}"},
    {"db.query t { sort = {a: \"desc\"} output = [\"a\"] addon = [{name: \"x\", input: {i: "
     "$output.a}, as: \"_x\"}] } as $r",
     "{\"op\":\"db.query\",\"name\":\"t\",\"sort\":[[\"a\",\"desc\"]],\"output\":[\"a\"],\"addon\":"
     "[{\"name\":\"x\","
     "\"input\":[[\"i\",{\"out\":[\"a\"]}]],\"as\":\"_x\"}]}"},
    {"db.query t { where = $db.t.a between $x0 } as $r",
     "{\"op\":\"db.query\",\"name\":\"t\",\"where\":[\"between\",{\"col\":[\"t\",\"a\"]},{\"p\":10}"
     ",{\"p\":11}]}"},
};

static void test_descriptors(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(descriptors); i++) {
        Arena a;
        DiagList diags;
        BundleImage image;
        Buf json = BUF_INIT;
        arena_init(&a, 0);
        diag_init(&diags, &a);
        SourceFile file = {TEXT("t.xs"), text_from(descriptors[i].body)};
        CompileOptions options = {.allow_bare_statements = true};
        assert_true(compile_program(&a, &file, 1, &options, &diags, &image));
        json_write_const(&json, image.sites[0].desc);
        if (!text_eq(buf_view(&json), text_from(descriptors[i].code)))
            print_error("%s\n  expected %s\n  found    " TEXT_FMT "\n", descriptors[i].body,
                        descriptors[i].code, TEXT_ARG(buf_view(&json)));
        assert_true(text_eq(buf_view(&json), text_from(descriptors[i].code)));
        buf_deinit(&json);
        arena_deinit(&a);
    }
}

static void test_handlers(void **state)
{
    (void)state;
    Program p;
    build(&p, "function f {\n stack {\n try_catch {\n try { return { value = 1 } }\n catch { }\n"
              "finally { debug.log { value = 1 } }\n }\n db.transaction { stack { return { value = "
              "2 } } }\n }\n}\n");
    assert_true(p.ok);
    const ProcImage *proc = &p.image.procs[0];
    assert_true(proc->nhandlers >= 3);
    for (uint32_t i = 0; i < proc->nhandlers; i++) {
        assert_true(proc->handlers[i].from < proc->handlers[i].to);
        assert_int_equal(INS_OP(proc->code[proc->handlers[i].target]), OP_CATCH);
    }
    arena_deinit(&p.a);
}

static void test_metadata(void **state)
{
    (void)state;
    Program p;
    build(&p, "table \"message\" {\n auth = true\n schema {\n int id\n text[1:3]? tags?=[\"a\"] "
              "filters=trim\n"
              "timestamp at?=now\n }\n index = [{type: \"btree|unique\", field: [{name: \"at\", "
              "op: \"desc\"}]}]\n}\n");
    assert_true(p.ok);
    Buf json = BUF_INIT;
    json_write_const(&json, const_get(p.image.meta, "tables"));
    assert_true(text_eq(buf_view(&json),
                        TEXT("[{\"name\":\"message\",\"id\":1,\"auth\":true,\"fields\":[{\"name\":"
                             "\"id\",\"type\":\"int\"},{\"name\":\"tags\","
                             "\"type\":\"text\",\"list\":true,\"min\":1,\"max\":3,\"nullable\":"
                             "true,\"optional\":true,\"default\":[\"a\"],"
                             "\"filters\":[[\"trim\"]]},{\"name\":\"at\",\"type\":\"timestamp\","
                             "\"optional\":true,\"default\":{\"now\":true}}],"
                             "\"index\":[{\"type\":\"btree|unique\",\"fields\":[{\"name\":\"at\","
                             "\"op\":\"desc\"}]}],\"file\":\"t.xs\"}]")));
    buf_deinit(&json);
    arena_deinit(&p.a);
    build(&p, "realtime_trigger \"t\" {\n channel = \"room:*\"\n event = \"join\"\n stack {\n "
              "debug.log { value = "
              "$input.room_id }\n }\n}\n");
    assert_true(p.ok);
    const Const *trigger = const_get(p.image.meta, "triggers")->items[0];
    assert_true(text_eq(const_get_text(trigger, "form"), TEXT("seed")));
    assert_true(text_eq(const_get_text(trigger, "pattern"), TEXT("room:*")));
    assert_int_equal(p.image.procs[0].ninputs, 0);
    assert_int_equal(INS_OP(p.image.procs[0].code[0]), OP_GETFT);
    arena_deinit(&p.a);
}

/* Past 150 names variables move to far slots. */
static void test_many_variables(void **state)
{
    (void)state;
    Program p;
    Buf source = BUF_INIT;
    buf_cstr(&source, "function f {\n  stack {\n");
    for (int i = 0; i < 400; i++)
        buf_printf(&source, "var $v%d { value = %d }\n", i, i);
    buf_cstr(&source, "array.push $v399 { value = $v398 }\nvar.update $v397.x { value = $v3 }\n}\n "
                      " response = $v399\n}\n");
    buf_char(&source, 0);
    build(&p, source.ptr);
    assert_true(p.ok);
    assert_int_equal(p.image.procs[0].nfar, 250);
    assert_true(p.image.procs[0].nregs < 256);
    buf_deinit(&source);
    arena_deinit(&p.a);
}

static void test_same_sources_same_image(void **state)
{
    (void)state;
    Buf bytes[2] = {BUF_INIT, BUF_INIT};
    for (int i = 0; i < 2; i++) {
        Program p;
        build(&p, "function f {\n stack {\n var $a { value = {k: \"v\", l: [1, 2.5, null]} }\n "
                  "debug.log { value = $a|keys "
                  "}\n }\n response = $a\n}\n");
        assert_true(p.ok);
        assert_true(bundle_encode(&p.image, &bytes[i], NULL));
        arena_deinit(&p.a);
    }
    assert_true(text_eq(buf_view(&bytes[0]), buf_view(&bytes[1])));
    buf_deinit(&bytes[0]);
    buf_deinit(&bytes[1]);
}

/* Running out of memory at any point ends in an error, not in a crash. */
static void test_memory_limits(void **state)
{
    (void)state;
    static const char source[] = "function f {\n input {\n int n?=1 filters=min:0\n }\n stack {\n "
                                 "foreach ([1, 2]) {\n each as $x {\n"
                                 "db.query t {\n where = $db.t.a == $x && $db.t.b in [1]\n } as "
                                 "$rows\n var $y { value = {a: $rows|map:$$.a|sum} }\n"
                                 "}\n }\n }\n response = `$y ?\? {}`\n}\n";
    SourceFile file = {TEXT("t.xs"), text_from(source)};
    CompileOptions options = {.allow_bare_statements = true};
    for (size_t cap = 64; cap < 1 << 19; cap = cap < 100000 ? cap * 2 : cap + 509) {
        Arena a;
        DiagList diags;
        BundleImage image;
        arena_init(&a, cap);
        diag_init(&diags, &a);
        (void)!compile_program(&a, &file, 1, &options, &diags, &image);
        arena_deinit(&a);
    }
    for (uint64_t n = 1; n < 200; n++) {
        Arena a;
        DiagList diags;
        BundleImage image;
        arena_init(&a, 0);
        diag_init(&diags, &a);
        mem_fail_after(n);
        (void)!compile_program(&a, &file, 1, &options, &diags, &image);
        mem_fail_after(0);
        arena_deinit(&a);
    }
}

/* The examples of this repository: no errors. */
static void test_examples(void **state)
{
    (void)state;
    static const char *const folders[] = {"examples/chat", "examples/dashboard", "examples/editor",
                                          "examples/notifications", "examples/orders"};
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        Arena a;
        DiagList diags;
        SourceFile *files;
        size_t n;
        BundleImage image;
        CompileOptions options = {0};
        arena_init(&a, 0);
        diag_init(&diags, &a);
        assert_true(source_load(&a, folders[i], &files, &n, NULL));
        assert_true(n > 0);
        assert_true(compile_program(&a, files, n, &options, &diags, &image));
        arena_deinit(&a);
    }
    Arena a;
    arena_init(&a, 0);
    assert_true(file_text(&a, "examples/chat/workspace.xs").len > 0);
    assert_null(file_text(&a, "examples/none.xs").ptr);
    arena_deinit(&a);
}

static void test_markdown(void **state)
{
    (void)state;
    static const char text[] = "# Title\n\n```xs\nvar $x {\n  value = 1\n}\n```\n\n```js\nx = "
                               "1\n```\n\n```xs\nfunction f {\n"
                               "  stack {\n    db.nope x\n  }\n}\n```\n";
    Arena a;
    DiagList diags;
    CompileOptions options = {0};
    size_t blocks;
    arena_init(&a, 0);
    diag_init(&diags, &a);
    assert_false(compile_markdown(&a, TEXT("d.md"), text_from(text), &options, &diags, &blocks));
    assert_int_equal(blocks, 2);
    assert_int_equal(diags.errors, 1);
    assert_int_equal(diags.items[0].pos.line, 16);
    assert_string_equal(diags.items[0].id, "unknown-statement");
    arena_deinit(&a);
}

static void test_coverage(void **state)
{
    (void)state;
    SourceFile file = {
        TEXT("t.xs"),
        TEXT("function f {\n  stack {\n    cloud.job.status { id = 1 } as $x\n  }\n}\n")};
    Arena a;
    Buf out = BUF_INIT;
    arena_init(&a, 0);
    compile_coverage(&a, &file, 1, true, &out);
    assert_true(
        text_eq(buf_view(&out),
                TEXT("[{\"kind\":\"statement\",\"name\":\"cloud.job.status\",\"count\":1,\"at\":["
                     "\"t.xs:3:5\"]}]")));
    buf_deinit(&out);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),       cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_handlers),       cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_many_variables), cmocka_unit_test(test_same_sources_same_image),
        cmocka_unit_test(test_memory_limits),  cmocka_unit_test(test_examples),
        cmocka_unit_test(test_markdown),       cmocka_unit_test(test_coverage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
