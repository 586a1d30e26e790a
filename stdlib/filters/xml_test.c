/* xml_test.c - XML read: shape, entities, refused declarations, hostile documents, and all of it in
 * heaps that run out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "core/mem.h"
#include "core/tables.h"
#include "stdlib/filters/codec.h"

typedef struct Case {
    const char *xml, *json; /* json NULL: bad_xml */
} Case;

/* clang-format off */
static const Case cases[] = {
    {"<r/>", "{\"r\":{\"@attributes\":[],\"value\":\"\"}}"},
    {"<?xml version='1.0'?>\n<r> x </r>\n", "{\"r\":{\"@attributes\":[],\"value\":\" x \"}}"},
    {"<r a='1' b=\"x&amp;y\">t</r>", "{\"r\":{\"@attributes\":{\"a\":\"1\",\"b\":\"x&y\"},\"value\":\"t\"}}"},
    {"<r>&lt;&#233;&#x20AC;&quot;<![CDATA[<&>]]></r>", "{\"r\":{\"@attributes\":[],\"value\":\"<é€\\\"<&>\"}}"},
    {"<r>lost<a>1</a>lost<a>2</a>lost</r>",
     "{\"r\":{\"@attributes\":[],\"value\":[{\"a\":{\"@attributes\":[],\"value\":\"1\"}},{\"a\":{\"@attributes\":[],\"value\":\"2\"}}]}}"},
    {"<r><a><b>x</b></a></r>",
     "{\"r\":{\"@attributes\":[],\"value\":[{\"a\":{\"@attributes\":[],\"value\":[{\"b\":{\"@attributes\":[],\"value\":\"x\"}}]}}]}}"},
    {"<r>a<!-- no -->b<?no no?>c</r>", "{\"r\":{\"@attributes\":[],\"value\":\"abc\"}}"},
    {"<s:r xmlns:s='u' s:a='1'/>", "{\"s:r\":{\"@attributes\":{\"xmlns:s\":\"u\",\"s:a\":\"1\"},\"value\":\"\"}}"},
    {"\xEF\xBB\xBF<r/>", "{\"r\":{\"@attributes\":[],\"value\":\"\"}}"},
    {"<?xml version='1.0' encoding='ISO-8859-1'?><r>\xE9</r>", "{\"r\":{\"@attributes\":[],\"value\":\"é\"}}"},
    {"<!DOCTYPE r><r/>", "{\"r\":{\"@attributes\":[],\"value\":\"\"}}"},
    {"<!DOCTYPE r SYSTEM 'file:///etc/passwd'><r/>", "{\"r\":{\"@attributes\":[],\"value\":\"\"}}"},
    {"<!DOCTYPE r [<!ELEMENT r ANY><!ATTLIST r d CDATA 'default'>]><r a='1'/>",
     "{\"r\":{\"@attributes\":{\"a\":\"1\"},\"value\":\"\"}}"},
    {"<!DOCTYPE r [<!ENTITY e 'x'>]><r>&e;</r>", NULL},
    {"<!DOCTYPE r [<!ENTITY e 'x'>]><r/>", NULL},
    {"<!DOCTYPE r [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><r>&e;</r>", NULL},
    {"<!DOCTYPE r [<!ENTITY % p 'x'>]><r/>", NULL},
    {"<!DOCTYPE r [<!ENTITY % p SYSTEM 'http://127.0.0.1/x'> %p;]><r/>", NULL},
    {"<!DOCTYPE r [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;'>]><r>&c;</r>", NULL},
    {"<!DOCTYPE r SYSTEM 'x.dtd'><r>&e;</r>", NULL},
    {"<r>&e;</r>", NULL},
    {"", NULL},
    {"  ", NULL},
    {"text", NULL},
    {"<r>", NULL},
    {"<r><a></r>", NULL},
    {"<r/><r/>", NULL},
    {"<r a='1' a='2'/>", NULL},
    {"<r a=1/>", NULL},
    {"<r>&#0;</r>", NULL},
    {"<r>\x01</r>", NULL},
    {"<r>\xFF</r>", NULL},
    {"<?xml version='1.0' encoding='no-such'?><r/>", NULL},
    {"<r", NULL},
    {"<1/>", NULL},
};
/* clang-format on */

static Value decode(Heap *h, Text xml, xs_error *err)
{
    Value in = text_new(h, xml);
    if (in.kind == V_UNSET)
        return in;
    Call call = {
        .heap = h, .name = "xml_decode", .in = in, .in_slot = &in, .ret = val_null(), .err = err};
    bool ok = flt_xml_decode(&call);
    call_end(&call);
    val_unref(h, in);
    assert_true(ok || err->code != XS_OK);
    return ok ? call.ret : val_unset();
}

static void test_cases(void **state)
{
    (void)state;
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Heap *h = heap_new(0);
        xs_error err = {0};
        Buf got = BUF_INIT;
        Value v = decode(h, text_from(cases[i].xml), &err);
        if (v.kind == V_UNSET)
            buf_cstr(&got, xs_code_get(err.code)->symbol);
        else
            assert_true(val_write_json(v, &got));
        const char *want = cases[i].json ? cases[i].json : "bad_xml";
        if (!text_eq(buf_view(&got), text_from(want))) {
            fprintf(stderr, "%s\n  want %s\n  got  " TEXT_FMT " (%s)\n", cases[i].xml, want,
                    TEXT_ARG(buf_view(&got)), err.message);
            ok = false;
        }
        val_unref(h, v);
        buf_deinit(&got);
        assert_int_equal(heap_bytes(h), 0);
        heap_free(h);
    }
    assert_true(ok);
}

static void repeat(Buf *b, const char *s, int n)
{
    while (n--)
        buf_cstr(b, s);
}

/* What is read can be written as JSON; what is deeper is refused. */
static void test_depth(void **state)
{
    static const struct {
        int depth;
        bool ok;
    } rows[] = {{170, true}, {171, false}, {100000, false}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Heap *h = heap_new(0);
        xs_error err = {0};
        Buf b = BUF_INIT, json = BUF_INIT;
        repeat(&b, "<a b='c'>", rows[i].depth);
        repeat(&b, "</a>", rows[i].depth);
        Value v = decode(h, buf_view(&b), &err);
        assert_int_equal(v.kind, rows[i].ok ? V_MAP : V_UNSET);
        assert_int_equal(err.code, rows[i].ok ? XS_OK : XS_E_BAD_XML);
        assert_true(!rows[i].ok || val_write_json(v, &json));
        val_unref(h, v);
        buf_deinit(&b);
        buf_deinit(&json);
        assert_int_equal(heap_bytes(h), 0);
        heap_free(h);
    }
}

/* Empties the buffer. */
static void refused(Buf *b, size_t heap_bytes_max, xs_code want)
{
    Heap *h = heap_new(heap_bytes_max);
    xs_error err = {0};
    assert_int_equal(decode(h, buf_view(b), &err).kind, V_UNSET);
    assert_int_equal(err.code, want);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
    b->len = 0;
}

static void test_too_many(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    buf_cstr(&b, "<r>");
    repeat(&b, "<a/>", 1000 * 1000);
    buf_cstr(&b, "</r>");
    refused(&b, 64 << 20, XS_E_MEMORY);

    for (int i = 0; i < 100 * 1000; i++)
        buf_cstr(&b, i ? "<a b='' c='' d='' e='' f='' g='' h='' i='' j='' k=''/>" : "<r>");
    refused(&b, 0, XS_E_BAD_XML);

    repeat(&b, "<r>aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", (16 << 20) / 32 + 1);
    refused(&b, 0, XS_E_BAD_XML);

    buf_cstr(&b, "<!DOCTYPE r [<!ATTLIST r");
    for (int i = 0; i < 100; i++)
        buf_printf(&b, " a%d CDATA 'x'", i);
    buf_cstr(&b, ">]><r/>");
    refused(&b, 0, XS_E_BAD_XML);
    buf_deinit(&b);
}

static void test_operands(void **state)
{
    (void)state;
    Heap *h = heap_new(0);
    xs_error err = {0};
    Value list = list_new(h, 0);
    Call call = {.heap = h,
                 .name = "xml_decode",
                 .in = list,
                 .in_slot = &list,
                 .ret = val_null(),
                 .err = &err};
    assert_false(flt_xml_decode(&call));
    assert_int_equal(err.code, XS_E_NOT_TEXT);
    call_end(&call);
    heap_free(h);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (uint64_t n = 1; n < 120; n++) {
            Heap *h = heap_new(n % 2 ? 0 : n * 16);
            xs_error err = {0};
            mem_fail_after(n % 2 ? n / 2 + 1 : 0);
            Value v = h ? decode(h, text_from(cases[i].xml), &err) : val_unset();
            mem_fail_after(0);
            if (h && v.kind != V_UNSET)
                val_unref(h, v);
            if (h)
                assert_int_equal(heap_bytes(h), 0);
            heap_free(h);
        }
    }
}

int main(void)
{
    tables_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),         cmocka_unit_test(test_depth),
        cmocka_unit_test(test_too_many),      cmocka_unit_test(test_operands),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
