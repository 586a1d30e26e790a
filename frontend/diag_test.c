/* diag_test.c - every diagnostic: a source, the id it gives and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frontend/front.h"

typedef struct Case {
    const char *source; /* files separated by a line "----" */
    const char *id;     /* NULL = no diagnostic at all */
    uint32_t line, col;
    bool strict;
} Case;

#define F(body)  "function f {\n  stack {\n    " body "\n  }\n}\n"
#define V(expr)  F("var $x { value = " expr " }")
#define IN(line) "function f {\n  input {\n    " line "\n  }\n  stack\n}\n"
#define CH(path, body)                                                                             \
    "realtime_server s {\n}\n----\n\n\n\nchannel \"" path "\" {\n  realtime_server = \"s\"\n" body \
    "}\n"
#define T(body) "table t {\n  schema {\n    int id\n    text name\n  }\n}\n----\n" F(body)

static const Case cases[] = {
    /* nothing to say */
    {F("var $x { value = 1 }"), NULL, 0, 0, false},
    {F("!debug.log { value = 1 }"), NULL, 0, 0, false},
    {IN("text a filters=trim|min:2"), NULL, 0, 0, false},
    {T("db.query t { where = $db.t.name == \"a\" } as $r"), NULL, 0, 0, false},
    {V("($a0|count) > 3 ? 1 : 2") "", "unset-variable", 3, 23, false},
    /* lexical */
    {"function f {\n  stack\n}\n\xff", "invalid-text", 4, 1, false},
    {V("1 ; 2"), "unexpected-char", 3, 24, false},
    {V("\"abc"), "unterminated-string", 3, 22, false},
    {V("\"\"\" x\n  \"\"\""), "heredoc-open", 3, 22, false},
    {V("\"\"\"\n  abc"), "heredoc-close", 3, 22, false},
    {V("5."), "bad-number", 3, 22, false},
    {V(".5"), "bad-number", 3, 22, false},
    {V("0x1F"), "bad-number", 3, 22, false},
    {V("99999999999999999999"), "int-overflow", 3, 22, false},
    {V("2026-02-30 00:00:00+0000"), "bad-timestamp", 3, 22, false},
    /* structure */
    {"// nothing\n", "empty-file", 2, 1, false},
    {"functoin f {\n}\n", "unknown-construct", 1, 1, false},
    {"microservice x { }\n", "unsupported-construct", 1, 1, false},
    {"function f { stack }\nfunction g { stack }\n", "extra-input", 2, 1, false},
    {"function {\n  stack\n}\n", "name-expected", 1, 10, false},
    {F("db.get { field_value = 1 } as $x"), "name-expected", 3, 12, false},
    {V("(1"), "unexpected-token", 3, 25, false},
    {F("$x = 1"), "unexpected-token", 3, 5, false},
    {F("return $x"), "unexpected-token", 3, 12, false},
    {F("foreach ($xs as $x) { each as $y { } }"), "unexpected-token", 3, 18, false},
    {F("conditional { if (true) { } else if (false) { } }"), "unexpected-token", 3, 38, false},
    {"function f {\n  stack {\n    debug.log { value = 1 }\n", "unclosed-block", 2, 9, false},
    {"function f {\n}\n", "missing-member", 1, 1, false},
    {"function f {\n  stack\n  response = 1\n}\n", "missing-member", 1, 1, true},
    {"function f {\n  stack\n  stack\n}\n", "duplicate-member", 3, 3, false},
    {"function f {\n  stack\n  respons = 1\n}\n", "unknown-member", 3, 3, false},
    {F("db.gett t { }"), "unknown-statement", 3, 5, false},
    {F("if (true) { }"), "unknown-statement", 3, 5, false},
    {F("expect.to_be_true ($x)"), "test-only-statement", 3, 5, false},
    {F("debug.log { value = 1 valeu = 2 }"), "unknown-attribute", 3, 27, false},
    {F("debug.log { value = 1 value = 2 }"), "duplicate-attribute", 3, 27, false},
    {F("debug.log { }"), "missing-attribute", 3, 5, false},
    {F("api.realtime_event { channel = \"a\", data = 1 }"), "missing-attribute", 3, 5, true},
    {V("{a: 1 b: 2}"), "separator-expected", 3, 28, false},
    {V("[1 2]"), "separator-expected", 3, 25, false},
    {V("{a = 1}"), "colon-expected", 3, 25, false},
    {T("db.add t { data = {} }"), "empty-block", 3, 23, true},
    {F("debug.log { value = 1 } as $x"), "as-not-allowed", 3, 29, false},
    {F("security.create_uuid {\n    }\n    as $x"), "as-newline", 5, 5, false},
    {F("security.create_uuid"), "result-unused", 3, 5, false},
    {V("{!a: 1}"), "cannot-disable", 3, 23, false},
    {F("conditional { }"), "missing-if", 3, 5, false},
    {F("array.filter ([1]) as $x"), "missing-if", 3, 5, false},
    {F("conditional { if (true) { } if (false) { } }"), "second-if", 3, 33, false},
    {F("foreach ([1]) { }"), "missing-each", 3, 5, false},
    {F("break"), "outside-loop", 3, 5, false},
    {F("foreach.remove"), "outside-loop", 3, 5, false},
    {V("to_text(1)"), "call-syntax", 3, 22, false},
    {F("debug.log { value = 1 mock = {\"a\": 1} }"), "mock-ignored", 3, 27, false},
    /* values */
    {F("precondition ()"), "expression-expected", 3, 18, false},
    {V(""), "expression-expected", 3, 23, false},
    {"query q verb=GET {\n  api_group = $x\n  stack\n}\n", "constant-expected", 2, 15, false},
    {"query q verb=GET {\n  active = 1\n  stack\n}\n", "type-expected", 2, 12, false},
    {"function f {\n  history = 7\n  stack\n}\n", "bad-enum", 2, 13, false},
    {T("db.query t { sort = {name: \"up\"} } as $r"), "bad-enum", 3, 32, false},
    {F("precondition (true) { error_type = \"conflict\" }"), "unlisted-value", 3, 40, false},
    {"query q verb=HEAD {\n  stack\n}\n", "bad-verb", 1, 14, false},
    {"query q {\n  stack\n}\n", "missing-verb", 1, 1, false},
    {V("foo"), "bare-word", 3, 22, false},
    {V("True"), "bare-word", 3, 22, false},
    {V("{1: 2}"), "key-expected", 3, 23, false},
    {V("{a-b: 2}"), "key-expected", 3, 24, false},
    {V("{a: 1, a: 2}"), "duplicate-key", 3, 29, false},
    {V("[1]|count > 3"), "filter-then-operator", 3, 32, false},
    {V("`[1]|count > 3`"), "filter-then-operator", 3, 33, false},
    {V("{}|get:\"k\" == 3"), "operator-in-argument", 3, 33, false},
    {V("|uuid"), "filter-needs-operand", 3, 22, false},
    {V("[1]|cuont"), "unknown-filter", 3, 26, false},
    {V("1|gt:2"), "deprecated-filter", 3, 24, false},
    {V("{}|set:\"k\""), "filter-arity", 3, 25, false},
    {V("[]|count:1"), "filter-arity", 3, 25, false},
    {T("db.query t { where = $db.t.name|trim == \"x\" } as $r"), "filter-not-for-query", 3, 37,
     false},
    {V("7 % 2 + 1"), "mixed-operators", 3, 28, false},
    {V("1 == 2 == 3"), "comparison-chain", 3, 29, false},
    {V("1 in [1]"), "query-operator-outside-query", 3, 24, false},
    {V("1 ==? 1"), "query-operator-outside-query", 3, 26, false},
    {T("db.query t { where = $db.t.name == 1 ? true : false } as $r"), "ternary-in-query", 3, 42,
     false},
    {V("$db.t.name"), "db-ref-outside-query", 3, 22, false},
    {V("$$ + 1"), "element-ref-outside-filter", 3, 22, false},
    {F("var $input { value = 1 }"), "reserved-variable", 3, 9, false},
    {F("var $result { value = 1 }"), "reserved-variable", 3, 9, false},
    {F("var $a.b { value = 1 }"), "var-needs-name", 3, 9, false},
    {F("var $b { value = \"k\" }\n    var $a { value = {k: 1} }\n    debug.log { value = $a.$b }"),
     "dollar-property", 5, 28, false},
    {V("$error.message"), "error-outside-catch", 3, 22, false},
    {F("try_catch { try { } catch { debug.log { value = $error.text } } }"), "error-member", 3, 60,
     false},
    {V("$env.$nope"), "unknown-env", 3, 27, false},
    {V("$remote_ip"), "old-spelling", 3, 22, false},
    /* fields and tables */
    {IN("boolean a"), "unknown-type", 3, 5, false},
    {IN("text[][] a"), "nested-array", 3, 11, false},
    {IN("text[5] a"), "bad-slice", 3, 9, false},
    {"table t {\n  schema {\n    int id\n    file f\n  }\n}\n", "type-not-for-table", 4, 5, false},
    {IN("int a\n    int a"), "duplicate-field", 4, 9, false},
    {IN("enum a"), "enum-values", 3, 10, false},
    {IN("enum a { values = [] }"), "enum-values", 3, 14, false},
    {IN("vector a"), "vector-size", 3, 12, false},
    {IN("object a"), "object-schema", 3, 12, false},
    {IN("int a filters=trim"), "filter-not-for-type", 3, 19, false},
    {IN("int a filters=min"), "filter-argument", 3, 19, false},
    {IN("int a filters=min:1:2"), "filter-argument", 3, 19, false},
    {IN("int a?=\"x\""), "default-type", 3, 12, false},
    {"table t {\n  schema {\n    text id\n  }\n}\n", "table-id", 3, 10, false},
    {T("db.add t { data = {nam: 1} }"), "unknown-column", 3, 24, false},
    {T("db.query t { where = $db.t.nam == 1 } as $r"), "unknown-column", 3, 32, false},
    {"addon a {\n  stack {\n    debug.log { value = 1 }\n  }\n}\n", "addon-stack", 3, 5, false},
    {IN("int a { table = \"\" }"), "empty-reference", 3, 21, false},
    {"realtime_trigger t {\n  channel = \"a\"\n  event = \"e\"\n  actions = {join: true}\n  "
     "stack\n}\n",
     "trigger-forms-mixed", 3, 3, false},
    {"realtime_trigger t {\n  channel = \"a\"\n  input {\n    int foo\n  }\n  stack\n}\n",
     "trigger-input", 4, 9, false},
    {"realtime_trigger t {\n  channel = \"a\"\n  actions = {join: false}\n  stack\n}\n",
     "trigger-never", 3, 3, false},
    {"realtime_trigger t {\n  channel = \"a*b\"\n  event = \"e\"\n  stack\n}\n", "bad-pattern", 2,
     13, false},
    {"function f {\n  stack\n  test a {\n  }\n  test a {\n  }\n}\n", "duplicate-test", 5, 8, false},
    {"function f {\n  stack\n  test a {\n    expect.to_be_true ($x)\n  }\n}\n", "test-target", 4,
     24, false},
    {"agent a {\n  llm = {type: \"openai\"}\n}\n", "llm-prompt", 2, 3, false},
    {"agent a {\n  llm = {type: \"openai\", prompt: \"p\", search_grounding: true}\n}\n",
     "llm-option", 2, 39, false},
    {T("db.query t { return = {type: \"list\", group: {a: $db.t.name}} } as $r"), "return-shape", 3,
     42, false},
    {F("db.transaction { isolation = \"serializable\" stack { } }"), "isolation-ignored", 3, 22,
     false},
    /* whole program */
    {F("function.run nope as $r"), "unknown-reference", 3, 18, false},
    {F("db.del nope { field_value = 1 }"), "unknown-reference", 3, 12, false},
    {"function f { stack }\n----\nfunction f { stack }\n", "duplicate-name", 1, 10, false},
    {V("$nope"), "unset-variable", 3, 22, false},
    {"function f {\n  input {\n    int a\n  }\n  stack\n  response = $input.b\n}\n",
     "undeclared-input", 6, 21, false},
    {IN("int a") "----\nfunction g {\n  stack {\n    function.run f as $r\n  }\n}\n",
     "missing-input", 3, 5, false},
    {IN("int? a?") "----\nfunction g {\n  stack {\n    function.run f { input = {b: 1} } as $r\n  "
                   "}\n}\n",
     "undeclared-input", 3, 31, false},
    {"query \"a/{id}\" verb=GET {\n  stack\n}\n", "path-param-undeclared", 1, 7, false},
    {V("1e5"), "extension", 3, 22, true},
    /* realtime servers */
    {CH("a/{id}", "  input {\n    int id\n  }\n"), NULL, 0, 0, false},
    {CH("a/{id}", ""), "path-param-undeclared", 4, 9, false},
    {CH("a/{id}", "  input {\n    int[] id\n  }\n"), "path-param-undeclared", 7, 11, false},
    {CH("a", "  input {\n    int id\n  }\n"), "path-param-undeclared", 7, 9, false},
    {CH("a//b", ""), "bad-pattern", 4, 9, false},
    {CH("a/x{id}", ""), "bad-pattern", 4, 9, false},
    {CH("a", "  publish = {who: \"all\"}\n"), "unlisted-value", 6, 19, false},
    {CH("a", "  access = {anonymos: true}\n"), "unlisted-value", 6, 13, false},
    {"channel \"a\" {\n  realtime_server = \"s\"\n}\n", "unknown-reference", 2, 21, false},
    {CH("a", "") "----\nmessage m {\n  realtime_server = \"s\"\n  channel = \"b\"\n  stack\n}\n",
     "unknown-reference", 3, 13, false},
    {"realtime_server s {\n  canonical = \"a b\"\n}\n", "name-expected", 2, 15, false},
    {"realtime_server s {\n}\n----\nrealtime_server_trigger t {\n  realtime_server = \"s\"\n"
     "  actions = {join: true}\n  stack\n}\n",
     "unlisted-value", 3, 14, false},
    {"realtime_server s {\n}\n----\n" F("realtime.publish { realtime_server = \"s\" "
                                        "channel = \"a/{id}\" data = 1 }"),
     "bad-pattern", 3, 56, false},
};

enum { MAX_FILES = 4 };

static size_t split(const char *source, SourceFile *files)
{
    static const char *const names[MAX_FILES] = {"a.xs", "b.xs", "c.xs", "d.xs"};
    Text rest = text_from(source);
    size_t n = 0;
    while (n < MAX_FILES) {
        size_t cut = text_find(rest, TEXT("----\n"), 0);
        files[n] = (SourceFile){text_from(names[n]),
                                text_slice(rest, 0, cut == SIZE_MAX ? rest.len : cut)};
        n++;
        if (cut == SIZE_MAX)
            break;
        rest = text_slice(rest, cut + 5, rest.len);
    }
    return n;
}

static void compile(Arena *a, const char *source, bool strict, DiagList *diags)
{
    SourceFile files[MAX_FILES];
    size_t n = split(source, files);
    CompileOptions options = {.strict = strict};
    BundleImage image;
    diag_init(diags, a);
    bool ok = compile_program(a, files, n, &options, diags, &image);
    assert_int_equal(ok, diags->errors == 0);
    diag_sort(diags);
}

static const Diag *find(const DiagList *diags, const Case *k)
{
    for (size_t i = 0; i < diags->count; i++) {
        const Diag *d = &diags->items[i];
        if (strcmp(d->id, k->id) == 0 && d->pos.line == k->line && d->pos.col == k->col)
            return d;
    }
    return NULL;
}

static void print_failure(const Case *k, const DiagList *diags)
{
    print_error("source:\n%s\nexpected %s at %u:%u, found:\n", k->source, k->id ? k->id : "nothing",
                k->line, k->col);
    for (size_t i = 0; i < diags->count; i++)
        print_error("  %s at %u:%u: " TEXT_FMT "\n", diags->items[i].id, diags->items[i].pos.line,
                    diags->items[i].pos.col, TEXT_ARG(diags->items[i].message));
}

static void test_every_case(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Arena a;
        DiagList diags;
        arena_init(&a, 0);
        compile(&a, cases[i].source, cases[i].strict, &diags);
        if (cases[i].id ? !find(&diags, &cases[i]) : diags.count != 0) {
            print_failure(&cases[i], &diags);
            failed++;
        }
        arena_deinit(&a);
    }
    assert_int_equal(failed, 0);
}

/* Not reachable by a short source: tested elsewhere. */
static bool exempt(const char *id)
{
    static const char *const ids[] = {"nesting-limit", "too-complex", "out-of-memory"};
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        if (strcmp(id, ids[i]) == 0)
            return true;
    return false;
}

static void test_every_id_has_a_case(void **state)
{
    (void)state;
    static const char *const ids[] = {
#define DIAG(id, text, severity, doc) text,
#include "core/lang/diags.def"
#undef DIAG
    };
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        bool found = exempt(ids[i]);
        for (size_t k = 0; k < COUNT_OF(cases) && !found; k++)
            found = cases[k].id && strcmp(cases[k].id, ids[i]) == 0;
        if (!found)
            print_error("no case for %s\n", ids[i]);
        assert_true(found);
    }
}

static void test_hints(void **state)
{
    (void)state;
    static const struct {
        const char *source, *id, *hint;
    } hints[] = {
        {V("[1]|cuont"), "unknown-filter", "did you mean 'count'?"},
        {V("\"a\"|explode:\",\""), "unknown-filter", "did you mean 'split'?"},
        {F("db.gett t { }"), "unknown-statement", "did you mean 'db.get'?"},
        {IN("boolean a"), "unknown-type", "did you mean 'bool'?"},
        {F("var $total { value = 1 }\n    debug.log { value = $totl }"), "unset-variable",
         "did you mean '$total'?"},
        {T("db.query t { filter = 1 } as $r"), "unknown-attribute", "did you mean 'where'?"},
        {T("db.query t { where = $db.t.nam == 1 } as $r"), "unknown-column",
         "did you mean 'name'?"},
        {"function alpha { stack }\n----\n" F("function.run alhpa as $r"), "unknown-reference",
         "did you mean 'alpha'?"},
        {"function f {\n  stack\n  respons = 1\n}\n", "unknown-member", "did you mean 'response'?"},
    };
    for (size_t i = 0; i < COUNT_OF(hints); i++) {
        Arena a;
        DiagList diags;
        arena_init(&a, 0);
        compile(&a, hints[i].source, false, &diags);
        bool found = false;
        for (size_t k = 0; k < diags.count; k++)
            if (strcmp(diags.items[k].id, hints[i].id) == 0 &&
                text_eq(diags.items[k].hint, text_from(hints[i].hint)))
                found = true;
        if (!found)
            print_error("no hint %s for:\n%s\n", hints[i].hint, hints[i].source);
        assert_true(found);
        arena_deinit(&a);
    }
}

/* One run lists every mistake of every file. */
static void test_all_mistakes_in_one_run(void **state)
{
    (void)state;
    Arena a;
    DiagList diags;
    arena_init(&a, 0);
    compile(
        &a,
        "function f {\n  stack {\n    db.gett x {\n    }\n    var $a {\n      value = foo\n    }\n"
        "    debug.log {\n      valeu = 1\n    }\n  }\n}\n----\nfunction g {\n  stak {\n  }\n}\n",
        false, &diags);
    assert_true(diags.errors >= 4);
    arena_deinit(&a);
}

static void repeat(Buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_cstr(b, s);
}

static void expect_id(const Buf *b, const char *id)
{
    Arena a;
    DiagList diags;
    arena_init(&a, 0);
    SourceFile file = {TEXT("deep.xs"), buf_view(b)};
    CompileOptions options = {0};
    BundleImage image;
    diag_init(&diags, &a);
    assert_false(compile_program(&a, &file, 1, &options, &diags, &image));
    bool found = false;
    for (size_t i = 0; i < diags.count; i++)
        found = found || strcmp(diags.items[i].id, id) == 0;
    assert_true(found);
    arena_deinit(&a);
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *open, *middle, *close;
        size_t count;
        const char *id;
    } deep[] = {
        {"(", "1", ")", 5000, "nesting-limit"},     {"[", "1", "]", 5000, "nesting-limit"},
        {"{a: ", "1", "}", 5000, "nesting-limit"},  {"!", "1", "", 5000, "nesting-limit"},
        {"- ", "$x", "", 5000, "nesting-limit"},    {"", "1", " + 1", 5000, "nesting-limit"},
        {"", "$x", ".a", 5000, "nesting-limit"},    {"", "$x", "[0]", 5000, "nesting-limit"},
        {"", "$x", "|trim", 5000, "nesting-limit"}, {"true ? 1 : ", "2", "", 5000, "nesting-limit"},
    };
    for (size_t i = 0; i < COUNT_OF(deep); i++) {
        Buf b = BUF_INIT;
        buf_cstr(&b, "function f {\n  stack {\n    var $y { value = ");
        repeat(&b, deep[i].open, deep[i].count);
        buf_cstr(&b, deep[i].middle);
        repeat(&b, deep[i].close, deep[i].count);
        buf_cstr(&b, " }\n  }\n}\n");
        expect_id(&b, deep[i].id);
        buf_deinit(&b);
    }
    Buf b = BUF_INIT;
    buf_cstr(&b, "function f {\n  stack {\n");
    repeat(&b, "group { stack {\n", 3000);
    expect_id(&b, "nesting-limit");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_case), cmocka_unit_test(test_every_id_has_a_case),
        cmocka_unit_test(test_hints),      cmocka_unit_test(test_all_mistakes_in_one_run),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
