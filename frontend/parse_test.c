/* parse_test.c - trees as S-expressions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frontend/ast.h"

typedef struct Case {
    const char *source, *tree;
} Case;

static const CompileOptions no_options = {0};

/* The dump of one source by one of the parsers; errors make it "error". */
static void check(const Case *k, void (*parse)(Parser *p, Buf *out))
{
    Arena a;
    DiagList diags;
    Comp c;
    Parser p;
    Buf out = BUF_INIT;
    arena_init(&a, 0);
    diag_init(&diags, &a);
    assert_true(comp_init(&c, &a, &diags, &no_options));
    comp_file(&c, "t.xs");
    parser_init(&p, &c, text_from(k->source));
    parse(&p, &out);
    if (p.tok.kind != TOK_EOF)
        parse_unexpected(&p, "the end");
    if (diags.errors) {
        out.len = 0;
        buf_cstr(&out, "error");
    }
    if (!text_eq(buf_view(&out), text_from(k->tree)))
        print_error("%s\n  expected %s\n  found    " TEXT_FMT "\n", k->source, k->tree,
                    TEXT_ARG(buf_view(&out)));
    assert_true(text_eq(buf_view(&out), text_from(k->tree)));
    buf_deinit(&out);
    arena_deinit(&a);
}

static void expression(Parser *p, Buf *out)
{
    ast_dump_expr(parse_expr(p), out);
}

static void condition(Parser *p, Buf *out)
{
    ast_dump_expr(parse_query_expr(p), out);
}

static void statements(Parser *p, Buf *out)
{
    Block b = {0};
    parse_block(p, &b);
    ast_dump_block(&b, out);
}

static const Case expressions[] = {
    {"1 + 2 * 3", "(+ 1 (* 2 3))"},
    {"1 * 2 + 3", "(+ (* 1 2) 3)"},
    {"1 - 2 - 3", "(- (- 1 2) 3)"},
    {"\"a\" ~ 1 + 2", "(~ \"a\" (+ 1 2))"},
    {"$a == 1 && $b < 2 || $c", "(|| (&& (== $a 1) (< $b 2)) $c)"},
    {"$a ?\? $b ?\? $c", "(?\? $a (?\? $b $c))"},
    {"$a ? 1 : $b ? 2 : 3", "(?: $a 1 (?: $b 2 3))"},
    {"$a ?: 1", "(?: $a 1)"},
    {"!$xs|is_empty", "(! (|is_empty $xs))"},
    {"!!$a", "(! (! $a))"},
    {"-5|abs", "(|abs -5)"},
    {"$n-1", "(- $n 1)"},
    {"$n - -1", "(- $n -1)"},
    {"-$n", "(neg $n)"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"$a > $b|count", "(> $a (|count $b))"},
    {"\"x\" ~ $n|to_text", "(~ \"x\" (|to_text $n))"},
    {"(\"x\" ~ $n)|to_upper", "(|to_upper (~ \"x\" $n))"},
    {"$t|trim|split:\",\"|count", "(|count (|split (|trim $t) \",\"))"},
    {"$xs|filter:$$.age > 17 && $$.ok|count",
     "(|count (|filter $xs (&& (> (. $$ age) 17) (. $$ ok))))"},
    {"$m|get:\"k\" == 3", "(|get $m (== \"k\" 3))"},
    {"$xs|map:$$.p|sum", "(|sum (|map $xs (. $$ p)))"},
    {"$x|first_notnull:($ys|first)", "(|first_notnull $x (|first $ys))"},
    {"$m | get : \"k\" : 1", "(|get $m \"k\" 1)"},
    {"$s|!trim|to_upper", "(|to_upper (|!trim $s))"},
    {"(|uuid)", "(|uuid nil)"},
    {"$x|set:\"n\":{c: $xs|count, d: 1}", "(|set $x \"n\" (map c (|count $xs) d 1))"},
    {"$a.b.0.1[$i + 1].[\"k\"]", "([] ([] (. (. (. $a b) 0) 1) (+ $i 1)) \"k\")"},
    {"$a.$b", "(. $a $b)"},
    {"$var.x.y", "(. $x y)"},
    {"{a: 1, \"b c\": 2, d.e: 3,}", "(map a 1 b c 2 d.e 3)"},
    {"{a: 1\n b: [1\n 2]}", "(map a 1 b (list 1 2))"},
    {"{...$o, [$k]: 1, $v: 2}", "(map  (... $o) $k 1 $v 2)"},
    {"`$a\n + 1`", "(+ $a 1)"},
    {"($a\n  && $b)", "(&& $a $b)"},
    {"$a\n  && $b", "(&& $a $b)"},
    {"$a &&\n $b", "(&& $a $b)"},
    {"(1..3)", "(.. 1 3)"},
    {"1..3", "error"},
    {"!int \"5\"", "5"},
    {"!input \"a.b\"", "(. (. $input a) b)"},
    {"!true", "(! true)"},
    {"$a|first.b", "error"},
    {"$a ? $b|first : $c", "error"},
    {"$a ? 1", "error"},
    {"$a <> 1", "error"},
    {"not $a", "error"},
    {"foo($a)", "error"},
    {"$a|get:x", "error"},
    {"$a = 1", "error"},
    {"$a[1:2]", "error"},
};

static const Case conditions[] = {
    {"$db.t.a ==? $x && $db.t.b not in? [1]",
     "(&& (==? (. (. $db t) a) $x) (not in? (. (. $db t) b) (list 1)))"},
    {"$db.t.code ~ \"^X\"", "(~ (. (. $db t) code) \"^X\")"},
    {"$db.t.code == \"X-\" ~ $n", "(== (. (. $db t) code) (~ \"X-\" $n))"},
    {"$db.t.a between 1:2", "(between (. (. $db t) a) 1 2)"},
    {"$db.t.a between [1, 2]", "(between (. (. $db t) a) (list 1 2))"},
    {"$db.t.a = 1", "(== (. (. $db t) a) 1)"},
    {"!$db.t.on", "(! (. (. $db t) on))"},
    {"$input.ids contains $db.t.id", "(contains (. $input ids) (. (. $db t) id))"},
    {"$db.order.created_at >= now|transform_timestamp:\"-1 hour\"",
     "(>= (. (. $db order) created_at) (|transform_timestamp now \"-1 hour\"))"},
    {"$db.t.a == 1\n  && $db.t.b == 2", "(&& (== (. (. $db t) a) 1) (== (. (. $db t) b) 2))"},
};

static const Case blocks[] = {
    {"{ var $a { value = 1 } var $b { value = 2 } }", "{(var $a value=1) (var $b value=2)}"},
    {"{ db.get user {\n field_value = 1\n } as $u|get:\"name\" }",
     "{(db.get \"user\" field_value=1 as (|get $u \"name\"))}"},
    {"{ conditional { if (true) { } elseif ($a) { break } else { } } }",
     "{(conditional true{} $a{(break)} {})}"},
    {"{ switch ($a) { case (1) { } break default { } } }", "{(switch $a 1{} break {})}"},
    {"{ foreach ($xs) { each as $x { remove } } }", "{(foreach $xs $x{(foreach.remove)})}"},
    {"{ try_catch { try { } catch { } } }", "{(try_catch {} {} {})}"},
    {"{ array.find ($a) if ($this == 1) as $f }", "{(array.find $a if (== $this 1) as $f)}"},
    {"{ function.run util/pad-left { input = {a: 1} } as $r }",
     "{(function.run \"util/pad-left\" input=(map a 1) as $r)}"},
    {"{ !debug.log { value = 1 } }", "{(!debug.log value=1)}"},
    {"{ array.pop $a.b }", "{(array.pop (. $a b))}"},
    {"{ return { value = {a: 1} } }", "{(return value=(map a 1))}"},
};

static void test_expressions(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(expressions); i++)
        check(&expressions[i], expression);
}

static void test_conditions(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(conditions); i++)
        check(&conditions[i], condition);
}

static void test_statements(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        check(&blocks[i], statements);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_statements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
