/* tables_test.c - the rows of core/lang are well-formed and found by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/tables.h"

static void check_json(const char *owner, Text json)
{
    Arena a;
    xs_error err = {0};
    arena_init(&a, 0);
    if (!json_parse(&a, json, &err))
        fail_msg("%s: default " TEXT_FMT ": %s", owner, TEXT_ARG(json), err.message);
    arena_deinit(&a);
}

static void filters_are_well_formed(void **state)
{
    (void)state;
    static const char classes[] = "VTNIBACODPXU";
    const FilterInfo *f;
    for (size_t i = 0; (f = filter_at(i)); i++) {
        if (filter_find(text_from(f->name)) != f)
            fail_msg("%s: listed twice", f->name);
        if (!strchr(classes, f->in) || !strchr(classes, f->out))
            fail_msg("%s: operand %c or result %c is no class", f->name, f->in, f->out);
        for (size_t k = 0; k < f->nargs; k++) {
            const ArgSpec *arg = &f->args[k];
            if (!arg->name[0] || !arg->cls || !strchr(classes, arg->cls))
                fail_msg("%s: argument %zu of \"%s\"", f->name, k, f->args_spec);
            if (arg->def)
                check_json(f->name, text_from(arg->def));
            if (arg->variadic && k + 1u != f->nargs)
                fail_msg("%s: only the last argument repeats", f->name);
        }
        if (f->min_args > f->nargs)
            fail_msg("%s: more required arguments than arguments", f->name);
        size_t len = strlen(f->examples);
        if (len && f->examples[len - 1] != '\n')
            fail_msg("%s: examples are not EX(...)", f->name);
    }
    const FilterInfo *of;
    const char *name;
    for (size_t i = 0; (name = filter_alias_at(i, &of)); i++) {
        if (!of || filter_find(text_from(name)) != of)
            fail_msg("alias %s names no filter", name);
    }
    assert_null(filter_find(TEXT("no_such_filter")));
    assert_null(filter_find(TEXT("")));
}

static void statements_are_well_formed(void **state)
{
    (void)state;
    static const char kinds[] =
        " e t n b O [t] q S join eval sort return addon "; /* and {a|b}, tested apart */
    const StatementInfo *s;
    for (size_t i = 0; (s = statement_at(i)); i++) {
        if (statement_find(text_from(s->name)) != s)
            fail_msg("%s: listed twice", s->name);
        for (uint32_t k = 0; k < s->nclauses; k++) {
            const ClauseSpec *c = &s->clauses[k];
            char word[32] = " ";
            uint32_t index = 99;
            if (c->kind.len == 0 || c->kind.len > sizeof word - 3 || c->name.len == 0) {
                if (c->kind.len == 0 || c->kind.ptr[0] != '{')
                    fail_msg("%s: clause %u of \"%s\"", s->name, k, s->clauses_spec);
            } else if (c->kind.ptr[0] != '{') {
                memcpy(word + 1, c->kind.ptr, c->kind.len);
                word[c->kind.len + 1] = ' ';
                if (!strstr(kinds, word))
                    fail_msg("%s: unknown kind"
                             "%s",
                             s->name, word);
            }
            if (statement_clause(s, c->name, &index) != c || index != k)
                fail_msg("%s: clause " TEXT_FMT " twice", s->name, TEXT_ARG(c->name));
            if (c->def.ptr && c->def.len)
                check_json(s->name, c->def);
        }
    }
    assert_null(statement_find(TEXT("no.such")));
    assert_null(statement_clause(NULL, TEXT("x"), NULL));
}

static void finds_by_name(void **state)
{
    (void)state;
    tables_init();
    tables_init();
    const StatementInfo *s = statement_find(TEXT("throw"));
    assert_non_null(s);
    assert_int_equal(s->nclauses, 2);
    assert_true(s->clauses[0].strict);
    assert_true(text_eq(s->clauses[0].def, TEXT("\"throw\"")));
    const FilterInfo *f = filter_find(TEXT("to_ms"));
    assert_non_null(f);
    assert_int_equal(f->nargs, 1);
    assert_int_equal(f->min_args, 0);
    assert_string_equal(f->args[0].name, "timezone");
    assert_string_equal(f->args[0].def, "\"UTC\"");
    assert_true(text_eq(filter_nearest(TEXT("to_mss")), TEXT("to_ms")));
    assert_true(text_eq(statement_nearest(TEXT("db.qurey")), TEXT("db.query")));
    assert_null(statement_nearest(TEXT("zzzzzzzzzz")).ptr);
}

static void opcodes_are_in_place(void **state)
{
    (void)state;
    assert_string_equal(op_info[OP_LOADK].name, "LOADK");
    assert_int_equal(op_info[OP_LOADK].b, OPND_K16);
    assert_null(op_info[255].name);
    assert_string_equal(sys_spelling[SYS_AUTH], "$auth");
    for (size_t i = 0; i < SYS_COUNT; i++)
        assert_non_null(sys_spelling[i]);
    for (size_t i = 0; i < 256; i++) {
        if (op_info[i].name) {
            assert_non_null(op_info[i].synopsis);
            assert_non_null(op_info[i].doc);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_are_well_formed),
        cmocka_unit_test(statements_are_well_formed),
        cmocka_unit_test(finds_by_name),
        cmocka_unit_test(opcodes_are_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
