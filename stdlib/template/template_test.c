/* template_test.c - templates as rows: source, what it renders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/tables.h"
#include "stdlib/template/template.h"

static const char vars_json[] =
    "{\"name\":\"Ann <b>\",\"n\":3,\"list\":[{\"t\":\"a\",\"p\":1.5},{\"t\":\"b\",\"p\":2}],\"o\":"
    "{\"x\":1,\"y\":[1,2]},\"empty\":[],\"none\":null,\"f\":false,\"zoo\":\"Äpfel und Öl\"}";

typedef struct Case {
    const char *source, *want; /* want: text, or error:symbol */
} Case;

static const Case cases[] = {
    {"", ""},
    {"plain { text } %}", "plain { text } %}"},
    {"Hi {{ $var.name }}!", "Hi Ann <b>!"},
    {"{{ name|e }} {{ $name|upper }}", "Ann &lt;b&gt; ANN <B>"},
    {"{{ $input.q }}|{{ input.missing.deep }}|{{ $auth.id }}", "ask||7"},
    {"{{ list[1].t }}{{ o['x'] }}{{ o.y[0] }}{{ list[-1].p }}", "b112"},
    {"{{ true }}{{ false }}{{ null }}{{ 1.50 }}{{ 'a\\'b' }}", "11.5a'b"},
    {"{{ o }} {{ [1, 'b'] }} {{ {a: 1, 'b': n} }}",
     "{\"x\":1,\"y\":[1,2]} [1,\"b\"] {\"a\":1,\"b\":3}"},
    {"{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 3 }} {{ -n + 1 }}",
     "7 9 3 3 8 -2"},
    {"{{ 'a' ~ 1 + 2 ~ 'b' }}", "error:not_numeric"},
    {"{{ 'a' ~ (1 + 2) ~ 'b' }}", "a3b"},
    {"{{ n > 2 and not f ? 'yes' : 'no' }} {{ f or n == 3 }} {{ n != 3 ?: 'else' }}", "yes 1 else"},
    {"{{ none ?? 'd' }} {{ none|default('x') }} {{ 0|default('x') }}", "d x 0"},
    {"{{ 'b' in ['a','b'] ? 1 : 2 }}{{ 'z' not in 'xyz' ? 1 : 2 }}{{ 1 in o ? 1 : 2 }}", "121"},
    {"{{ 'abc' starts with 'ab' ? 1 }}{{ 'abc' ends with 'x' ? 1 }}{{ 'a1' matches '/\\\\d/' ? 1 "
     "}}",
     "11"},
    {"{% if f %}a{% elseif n == 3 %}b{% else %}c{% endif %}", "b"},
    {"{% if empty %}a{% else %}b{% endif %}{% if '0' %}c{% endif %}", "b"},
    {"{% for i in 1..3 %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}", "1,2,3"},
    {"{% for k, v in o %}{{ loop.index }}{{ k }}={{ v|json_encode }};{% endfor %}",
     "1x=1;2y=[1,2];"},
    {"{% for x in empty %}a{% else %}none{% endfor %}", "none"},
    {"{% for r in list %}{% for c in [1,2] %}{{ loop.parent.index }}{{ c }} {% endfor %}{% endfor "
     "%}",
     "11 12 21 22 "},
    {"{% for r in list %}{{ loop.revindex }}{{ loop.length }}{{ loop.first ? 'f' }}{% endfor %}",
     "22f12"},
    {"{% set t = 0 %}{% for r in list %}{% set t = t + r.p %}{% endfor %}{{ t }}", "3.5"},
    {"{% set b %}<{{ n }}>{% endset %}{{ b }}{{ b|length }}", "<3>3"},
    {"{% for x in [1] %}{% set inner = 1 %}{% endfor %}{{ inner is defined ? 1 : 0 }}", "0"},
    {"a{# {{ n }} ' #}b", "ab"},
    {"a  {{- n -}}  b", "a3b"},
    {"a {%- if 1 -%} x {%- endif -%} b", "axb"},
    {"{% if 1 %}\nx\n{% endif %}\ny", "x\ny"},
    {"{% verbatim %}{{ n }}{% if %}{% endverbatim %}!", "{{ n }}{% if %}!"},
    {"{{ list|length }} {{ zoo|length }} {{ zoo|upper }} {{ zoo|slice(0, 5) }} {{ zoo[-2:] }}",
     "2 12 ÄPFEL UND ÖL Äpfel Öl"},
    {"{{ [3,1,2]|sort|join(', ') }} {{ ['a','b','c']|join(', ', ' and ') }} {{ "
     "[1,2,3]|slice(1)|first }}",
     "1, 2, 3 a, b and c 2"},
    {"{{ 'a-b'|replace({'a': 'x', '-': '+'}) }} {{ 'a-b'|replace('-', '_') }}", "x+b a_b"},
    {"{{ 'hello wide-world'|title }} {{ 'x\ny'|nl2br }} {{ zoo|first }}{{ zoo|last }}",
     "Hello Wide-World x<br />\ny Äl"},
    {"{{ 3.14159|round(2) }} {{ -2|abs }} {{ 1234.5|number_format(2, '.', ',') }}",
     "3.14 -2 1,234.50"},
    {"{{ 0|date('Y-m-d') }} {{ 'a b'|url_encode }} {{ '<i>x</i>'|striptags }}", "1970-01-01 a+b x"},
    {"{{ range(0, 6, 3)|join }} {{ max(1, 5, 3) }} {{ min([4, 2]) }} {{ cycle(['a','b'], 3) }}",
     "036 5 2 b"},
    {"{{ n is odd ? 1 }}{{ n is divisible by(3) ? 2 }}{{ none is null ? 3 }}{{ empty is empty ? 4 "
     "}}{{ n "
     "is not even ? 5 }}{{ list is iterable ? 6 }}",
     "123456"},
    {"{{ $env.HOME_X }}", "env!"},
    {"{{ 'x}}y' }}", "x}}y"},
    /* mistakes */
    {"{{ n", "error:parse"},
    {"{{ }}", "error:parse"},
    {"{{ n n }}", "error:parse"},
    {"{{ 'open }}", "error:parse"},
    {"{% if n %}x", "error:parse"},
    {"{% endif %}", "error:parse"},
    {"{% for x %}{% endfor %}", "error:parse"},
    {"{% if 1 %}{% else %}{% else %}{% endif %}", "error:parse"},
    {"{% include 'x' %}", "error:parse"},
    {"{{ n|nothing_like_it }}", "error:unknown_filter"},
    {"{{ n|map('x') }}", "error:unknown_filter"},
    {"{{ nofn(1) }}", "error:unsupported"},
    {"{{ n is strange }}", "error:parse"},
    {"{{ 1 // 0 }}", "error:div_zero"},
    {"{{ 1..99999999 }}", "error:limit"},
};

static Text find_env(void *ctx, Text name)
{
    (void)ctx;
    return text_eq(name, TEXT("HOME_X")) ? TEXT("env!") : (Text){0};
}

static bool run(const char *source, const char *want)
{
    Heap *h = heap_new(0);
    xs_error err = {0};
    Services services = {.env = find_env};
    Arena a;
    TNode *root = NULL;
    arena_init(&a, 0);
    Call c = {.heap = h, .services = &services, .name = "t", .site = &const_null, .err = &err};
    Value vars = val_parse_json(h, text_from(vars_json), &err);
    Value input = val_parse_json(h, TEXT("{\"q\":\"ask\"}"), &err);
    Value auth = val_parse_json(h, TEXT("{\"id\":7}"), &err);
    Buf out = BUF_INIT;
    if (!template_parse(&a, text_from(source), &root, &err) ||
        !template_render(&c, root, vars, input, auth, &out)) {
        out.len = 0;
        buf_printf(&out, "error:%s", xs_code_get(err.code)->symbol);
    }
    bool ok = text_eq(buf_view(&out), text_from(want));
    if (!ok)
        print_error("%s\n  want %s\n  got  " TEXT_FMT " (%s)\n", source, want,
                    TEXT_ARG(buf_view(&out)), err.message);
    call_end(&c);
    val_unref(h, vars);
    val_unref(h, input);
    val_unref(h, auth);
    if (heap_bytes(h) != 0) {
        print_error("%s\n  leaves %zu bytes\n", source, heap_bytes(h));
        ok = false;
    }
    buf_deinit(&out);
    arena_deinit(&a);
    heap_free(h);
    return ok;
}

static void renders(void **state)
{
    (void)state;
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        ok &= run(cases[i].source, cases[i].want);
    assert_true(ok);
}

/* Every beginning of a template ends in text or an error. */
static void prefixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t len = strlen(cases[i].source);
        for (size_t n = 0; n < len; n++) {
            Arena a;
            TNode *root;
            xs_error err = {0};
            arena_init(&a, 0);
            if (!template_parse(&a, (Text){cases[i].source, n}, &root, &err))
                assert_int_equal(err.code, XS_E_PARSE);
            arena_deinit(&a);
        }
    }
}

static void deep(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    buf_cstr(&b, "{{ ");
    for (int i = 0; i < 5000; i++)
        buf_cstr(&b, "(-");
    buf_char(&b, 0);
    assert_true(run(b.ptr, "error:parse"));
    b.len = 0;
    for (int i = 0; i < 5000; i++)
        buf_cstr(&b, "{% if 1 %}");
    buf_char(&b, 0);
    assert_true(run(b.ptr, "error:parse"));
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(renders), cmocka_unit_test(prefixes),
                                       cmocka_unit_test(deep)};
    tables_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
