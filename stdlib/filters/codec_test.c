/* codec_test.c - date, pattern, encoding, digest and token filters called directly: the conformance
 * rows, hostile arguments, and every row again in heaps that run out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "core/mem.h"
#include "core/num.h"
#include "core/tables.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/registry.h"
#include "stdlib/thread_cache.h"

typedef struct Case {
    const char *in, *chain, *want;
} Case;

/* clang-format off */
static const Case cases[] = {
#include "stdlib/filters/codec_cases.h"

    /* ---- dates ---- */
    {"0", "[[\"transform_timestamp\",\"1 month 2 days ago\"],[\"format_timestamp\",\"Y-m-d\"]]", "\"1969-11-29\""},
    {"0", "[[\"transform_timestamp\",\"+9999999999999999999 years\"]]", "error:bad_timestamp"},
    {"0", "[[\"transform_timestamp\",\"+290000000 years\"]]", "error:bad_timestamp"},
    {"9223372036854775807", "[[\"transform_timestamp\",\"+1 day\"]]", "error:bad_timestamp"},
    {"9223372036854775807", "[[\"format_timestamp\",\"c\"]]", "\"+292278994-08-17T07:12:55+00:00\""},
    {"-9223372036854775808", "[[\"timestamp_year\"]]", "-292275055"},
    {"9223372036854775807", "[[\"timestamp_add_years\",9223372036854775807]]", "error:bad_timestamp"},
    {"9223372036854775807", "[[\"timestamp_subtract_days\",-9223372036854775808]]", "error:bad_timestamp"},
    {"9223372036854775807", "[[\"timestamp_year\",\"America/New_York\"]]", "292278994"},
    {"0", "[[\"timestamp_add_months\",-9223372036854775808]]", "error:bad_timestamp"},
    {"\"Europe/Paris\"", "[[\"to_ms\"]]", "error:bad_timestamp"},
    {"\"2024-03-10 02:30\"", "[[\"to_ms\",\"America/New_York\"],[\"format_timestamp\",\"H:i T\",\"America/New_York\"]]", "\"03:30 EDT\""},
    {"\"2024-11-03 01:30\"", "[[\"to_ms\",\"America/New_York\"],[\"format_timestamp\",\"H:i T\",\"America/New_York\"]]", "\"01:30 EDT\""},
    {"1730615400000", "[[\"transform_timestamp\",\"+1 hour\",\"America/New_York\"]]", "1730619000000"},
    {"\"2050-07-01 12:00\"", "[[\"to_ms\",\"america/new_york\"],[\"format_timestamp\",\"H:i\"]]", "\"16:00\""},
    {"\"2050-01-01 12:00\"", "[[\"to_ms\",\"Australia/Sydney\"],[\"format_timestamp\",\"H:i\"]]", "\"01:00\""},
    {"\"Thu, 21 Dec 2000 16:01:07 +0200\"", "[[\"to_ms\"]]", "977407267000"},
    {"\"2024-03-01 14:13:18-0800\"", "[[\"to_ms\"]]", "1709331198000"},
    {"\"20240301T141318Z\"", "[[\"to_ms\"]]", "1709302398000"},
    {"\"2024-060\"", "[[\"to_ms\"]]", "1709164800000"},
    {"\"12.7\"", "[[\"to_ms\"]]", "12"},
    {"-0.5", "[[\"to_ms\"]]", "-1"},
    {"true", "[[\"to_ms\"]]", "error:bad_timestamp"},
    {"[1]", "[[\"to_ms\"]]", "error:not_text"},
    {"1709296200000", "[[\"transform_timestamp\",\"third friday of march 2024\"],[\"format_timestamp\",\"c\"]]", "\"2024-03-15T00:00:00+00:00\""},
    {"1709296200000", "[[\"transform_timestamp\",\"last friday of this month\"],[\"format_timestamp\",\"Y-m-d\"]]", "\"2024-03-29\""},
    {"1709296200000", "[[\"transform_timestamp\",\"tomorrow 14:00\"],[\"format_timestamp\",\"Y-m-d H:i\"]]", "\"2024-03-02 14:00\""},
    {"1709296200000", "[[\"transform_timestamp\",\"noon tomorrow\"],[\"format_timestamp\",\"Y-m-d H:i\"]]", "\"2024-03-02 00:00\""},
    {"1709296200000", "[[\"transform_timestamp\",\"-3 weekdays\"],[\"format_timestamp\",\"Y-m-d\"]]", "\"2024-02-27\""},
    {"1709296200000", "[[\"transform_timestamp\",\"+2 monday\"],[\"format_timestamp\",\"Y-m-d H:i\"]]", "\"2024-03-11 12:30\""},
    {"1709296200000", "[[\"transform_timestamp\",\"next week\"],[\"format_timestamp\",\"Y-m-d H:i\"]]", "\"2024-03-04 12:30\""},
    {"1709296200000", "[[\"transform_timestamp\",\"March 5, 2023 5pm\"],[\"format_timestamp\",\"Y-m-d H:i\"]]", "\"2023-03-05 17:00\""},
    {"1709296200000", "[[\"format_timestamp\",\"e T p\",\"UTC+1\"]]", "\"UTC+1 +01:00 +01:00\""},
    {"1709296200000", "[[\"format_timestamp\",\"B\"]]", "\"562\""},
    {"1709296200000", "[[\"format_timestamp\",\"Y\",\"../../etc/passwd\"]]", "error:bad_timezone"},
    {"1709296200000", "[[\"format_timestamp\",\"Y\",\"Europe\"]]", "error:bad_timezone"},
    {"\"10:30 am\"", "[[\"parse_timestamp\",\"Y-m-d\"]]", "error:bad_timestamp"},
    {"\"2024-02-30\"", "[[\"parse_timestamp\",\"Y-m-d\"]]", "error:bad_timestamp"},
    {"\"10:30 PM\"", "[[\"parse_timestamp\",\"g:i A\"],[\"format_timestamp\",\"Y-m-d H:i\"]]", "\"2024-03-01 22:30\""},
    {"\"1709296200\"", "[[\"parse_timestamp\",\"U\"]]", "1709296200000"},
    {"\"2024-03-01 10:00 Europe/Paris\"", "[[\"parse_timestamp\",\"Y-m-d H:i e\"]]", "1709283600000"},

    /* ---- patterns ---- */
    {"\"/(a+)+$/\"", "[[\"regex_matches\",\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\"]]", "error:bad_regex"},
    {"\"/x*/\"", "[[\"regex_replace\",\"-\",\"axb\"]]", "\"-a--b-\""},
    {"\"/é/\"", "[[\"regex_replace\",\"$0$0\",\"né\"]]", "\"néé\""},
    {"\"/(?=a\\\\K)/\"", "[[\"regex_matches\",\"a\"]]", "error:bad_regex"},
    {"\"/(?<n>a)|b/\"", "[[\"regex_get_all_matches\",\"ab\"]]", "[[\"a\",\"b\"],[\"a\",\"\"]]"},
    {"\"/(.)/\"", "[[\"regex_replace\",\"${1}${9}\\\\\\\\$\",\"ab\"]]", "\"a\\\\$b\\\\$\""},
    {"\"\"", "[[\"regex_get_all_matches\",\"éa\"]]", "[[\"\",\"\",\"\"]]"},

    /* ---- encodings ---- */
    {"\"http://u:p@[::1]:80/x?y#z\"", "[[\"url_parse\"]]", "{\"scheme\":\"http\",\"host\":\"[::1]\",\"port\":80,\"user\":\"u\",\"pass\":\"p\",\"path\":\"/x\",\"query\":\"y\",\"fragment\":\"z\"}"},
    {"\"http://h:99999/\"", "[[\"url_parse\"]]", "error:bad_arg"},
    {"\"http:///x\"", "[[\"url_parse\"]]", "error:bad_arg"},
    {"\"a=1&a=2&a=3\"", "[[\"querystring_parse\"]]", "{\"a\":[\"1\",\"2\",\"3\"]}"},
    {"\"a[]=1&a[x]=2&a=3\"", "[[\"querystring_parse\"]]", "{\"a\":\"3\"}"},
    {"\"a[b][c][]=1&a[b][c][]=2&[z]=1&=9&a[b=7\"", "[[\"querystring_parse\"]]", "{\"a\":{\"b\":{\"c\":[\"1\",\"2\"]}},\"[z]\":\"1\",\"a[b\":\"7\"}"},
    {"\"9223372036854775808\"", "[[\"octdec\"]]", "\"10135325560808\""},
    {"\"ffffffffffffffff\"", "[[\"hexdec\"]]", "error:bad_arg"},
    {"\"%\"", "[[\"url_decode\"]]", "\"%\""},
    {"\"a,\\\"b\"", "[[\"csv_decode\"]]", "error:bad_csv"},
    {"\"\\r\\n\\r\\na\\r\\n\"", "[[\"csv_decode\"]]", "[[\"a\"]]"},
    {"\"\\uFEFFa,b\\n,\"", "[[\"csv_parse\"]]", "[{\"a\":\"\",\"b\":\"\"}]"},
    {"[]", "[[\"csv_encode\"]]", "\"\""},
    {"[[false,{\"a\":1},\"x\\ny\"]]", "[[\"csv_encode\"]]", "\",\\\"{\\\"\\\"a\\\"\\\":1}\\\",\\\"x\\ny\\\"\\n\""},
    {"\"€\"", "[[\"convert_encoding\",\"windows-1252\",\"utf-8\"],[\"bin2hex\"]]", "\"80\""},
    {"\"d83d\"", "[[\"hex2bin\"],[\"convert_encoding\",\"utf-8\",\"utf-16be\"]]", "\"?\""},
    {"\"😀\"", "[[\"convert_encoding\",\"utf-16le\",\"utf-8\"],[\"convert_encoding\",\"utf-8\",\"utf-16le\"]]", "\"😀\""},

    /* ---- tokens ---- */
    {"{\"a\":1}", "[[\"jws_encode\",{},\"k\",\"HS256\",60],[\"jws_decode\",{\"exp\":1709296260},\"k\"]]", "{\"a\":1,\"iat\":1709296200,\"exp\":1709296260}"},
    {"{\"exp\":1709296200}", "[[\"jws_encode\",{},\"k\"],[\"jws_decode\",{},\"k\"]]", "error:crypto"},
    {"{\"exp\":1709296200}", "[[\"jws_encode\",{},\"k\"],[\"jws_decode\",{},\"k\",\"HS256\",5]]", "{\"exp\":1709296200}"},
    {"{\"nbf\":1709296201}", "[[\"jws_encode\",{},\"k\"],[\"jws_decode\",{},\"k\"]]", "error:crypto"},
    {"{\"exp\":\"never\"}", "[[\"jws_encode\",{},\"k\"],[\"jws_decode\",{},\"k\"]]", "error:crypto"},
    {"{\"a\":1}", "[[\"jws_encode\",{\"alg\":\"none\"},\"k\"],[\"jws_decode\",{},\"k\",\"HS384\"]]", "error:crypto"},
    {"\"eyJhbGciOiJub25lIn0.e30.\"", "[[\"jws_decode\",{},\"k\",\"none\"]]", "error:bad_arg"},
    {"\"eyJhbGciOiJub25lIn0.e30.\"", "[[\"jws_decode\",{},\"k\"]]", "error:crypto"},
    {"{\"a\":1}", "[[\"jws_encode\",{},\"not a pem\",\"RS256\"]]", "error:bad_arg"},
    {"{\"a\":1}", "[[\"jws_encode\",{},{\"kty\":\"oct\",\"k\":\"a2V5\"}],[\"jws_decode\",{},\"key\"]]", "{\"a\":1}"},
    {"{\"a\":1}", "[[\"jwe_encode\",{},\"0123456789abcdef\",\"A128GCMKW\",\"A128GCM\"],[\"jwe_decode\",{},\"0123456789abcdef\",\"A128GCMKW\",\"A128GCM\"]]", "{\"a\":1}"},
    {"{\"a\":1}", "[[\"jwe_encode\",{},\"0123456789abcdef0123456789abcdef\",\"dir\",\"A128CBC-HS256\"],[\"jwe_decode\",{},\"0123456789abcdef0123456789abcdef\",\"dir\",\"A128CBC-HS256\"]]", "{\"a\":1}"},
    {"{\"a\":1}", "[[\"jwe_encode\",{},\"short\"]]", "error:bad_arg"},
    {"{\"a\":1}", "[[\"jwe_encode\",{},\"0123456789abcdef0123456789abcdef\"],[\"jwe_decode\",{},\"0123456789abcdef0123456789abcdeX\"]]", "error:crypto"},
    {"\"a....b\"", "[[\"jwe_decode\",{},\"0123456789abcdef0123456789abcdef\"]]", "error:crypto"},
    {"null", "[[\"uuid\"],[\"strlen\"]]", "36"},
    {"\"x\"", "[[\"decrypt\",\"aes-128-cbc\"]]", "error:missing_arg"},
};
/* clang-format on */

static int64_t fixed_now(void *ctx)
{
    (void)ctx;
    return 1709296200000; /* 2024-03-01 12:30 UTC */
}

static bool fixed_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)out)[i] = (unsigned char)(i * 37 + 11);
    return true;
}

static const Services services = {.now_ms = fixed_now, .random = fixed_random};

/* Apply the chain. false: err is set. */
static bool apply(Heap *h, const Case *c, Value *v, xs_error *err)
{
    Value chain = val_parse_json(h, text_from(c->chain), err);
    *v = val_unset();
    if (chain.kind != V_LIST)
        return false;
    *v = val_parse_json(h, text_from(c->in), err);
    bool ok = v->kind != V_UNSET;
    for (uint32_t i = 0; ok && i < chain.list->len; i++) {
        Value step = list_at(chain.list, i);
        Text name = val_text_view(list_at(step.list, 0));
        const void *row = NULL;
        FilterFn fn = stdlib_natives.filter(name, &row);
        assert_non_null(fn);
        const FilterInfo *info = row;
        Call call = {
            .heap = h,
            .services = &services,
            .name = info->name,
            .row = row,
            .in = *v,
            .in_slot = v,
            .args = step.list->items + step.list->start + 1,
            .nargs = step.list->len - 1,
            .ret = val_null(),
            .err = err,
        };
        ok = fn(&call);
        call_end(&call);
        val_unref(h, *v);
        *v = ok ? call.ret : val_unset();
    }
    val_unref(h, chain);
    return ok;
}

static bool run(const Case *c)
{
    Heap *h = heap_new(0);
    xs_error err = {0};
    Value v;
    Buf got = BUF_INIT, want = BUF_INIT;
    if (!apply(h, c, &v, &err)) {
        buf_printf(&got, "error:%s", xs_code_get(err.code)->symbol);
        buf_cstr(&want, c->want);
    } else {
        assert_true(val_write_json(v, &got));
        Value w = strncmp(c->want, "error:", 6) == 0 ? val_null()
                                                     : val_parse_json(h, text_from(c->want), &err);
        if (w.kind == V_NULL)
            buf_cstr(&want, c->want);
        else
            assert_true(val_write_json(w, &want));
        val_unref(h, w);
    }
    val_unref(h, v);
    bool ok = text_eq(buf_view(&got), buf_view(&want));
    if (!ok)
        fprintf(stderr, "%s %s\n  want " TEXT_FMT "\n  got  " TEXT_FMT " (%s)\n", c->in, c->chain,
                TEXT_ARG(buf_view(&want)), TEXT_ARG(buf_view(&got)), err.message);
    if (heap_bytes(h) != 0) {
        fprintf(stderr, "%s %s leaves %zu bytes\n", c->in, c->chain, heap_bytes(h));
        ok = false;
    }
    buf_deinit(&got);
    buf_deinit(&want);
    heap_free(h);
    return ok;
}

static void test_cases(void **state)
{
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        failed += !run(&cases[i]);
    assert_int_equal(failed, 0);
}

/* No allocation failure may crash, leak or return a wrong value. */
static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (uint64_t n = 1; n < 60; n += 1 + n / 8) {
            Heap *h = heap_new(0);
            xs_error err = {0};
            Value v;
            mem_fail_after(n);
            bool ok = h && apply(h, &cases[i], &v, &err);
            mem_fail_after(0);
            assert_true(ok || !h || err.code != XS_OK);
            heap_free(h);
        }
    }
}

/* Every filter with every odd operand and argument: an error or a value, never harm. */
static void test_odd_values(void **state)
{
    static const char *const odd[] = {
        "null",
        "true",
        "-9223372036854775808",
        "1e308",
        "\"\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[[{\"a\":[null]}]]",
        "\"/(/\"",
        "\"%2\"",
        "\"@-\"",
        "\"+\"",
        "\"99999999999999999999 days ago ago\"",
        "\"2024-W\"",
        "\"[](\"",
        "\"Y\\\\\"",
        "\"a.b.c\"",
        "\"http://@:\"",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"\",\"y\":\"\"}",
        "\"-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\\n\"",
    };
    (void)state;
    const FilterInfo *info;
    xs_error err;
    for (size_t f = 0; (info = filter_at(f)); f++) {
        const void *row;
        FilterFn fn = stdlib_natives.filter(text_from(info->name), &row);
        if (info->todo || info->inlined || fn == NULL)
            continue;
        for (size_t a = 0; a < COUNT_OF(odd); a++)
            for (size_t b = 0; b < COUNT_OF(odd); b++) {
                Heap *h = heap_new(16 << 20);
                Value in = val_parse_json(h, text_from(odd[a]), &err);
                Value arg = val_parse_json(h, text_from(odd[b]), &err);
                Value args[4] = {arg, arg, arg, arg};
                Call call = {.heap = h,
                             .services = &services,
                             .name = info->name,
                             .row = row,
                             .in = in,
                             .in_slot = &in,
                             .args = args,
                             .nargs = (uint32_t)(b % 5),
                             .ret = val_null(),
                             .err = &err};
                err = (xs_error){0};
                bool ok = fn(&call);
                assert_true(ok || err.code != XS_OK);
                call_end(&call);
                heap_free(h);
            }
    }
}

static int teardown(void **state)
{
    (void)state;
    thread_cache_clear();
    return 0;
}

int main(void)
{
    tables_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_odd_values),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
