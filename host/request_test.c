/* request_test.c - forms, multipart, JSON bodies, upgrade heads, realtime paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/text.h"
#include "host/http.h"
#include "host/request.h"
#include "host/upgrade.h"

static void assert_json(const Const *c, const char *expected)
{
    Buf b = BUF_INIT;
    assert_non_null(c);
    json_write_const(&b, c);
    buf_char(&b, '\0');
    assert_string_equal(b.ptr, expected);
    buf_deinit(&b);
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *form, *json;
    } cases[] = {
        {"", "{}"},
        {"a=1&b=two+words&c=%26%3d", "{\"a\":\"1\",\"b\":\"two words\",\"c\":\"&=\"}"},
        {"a=1&a=2", "{\"a\":\"2\"}"},
        {"a[]=1&a[]=2", "{\"a\":[\"1\",\"2\"]}"},
        {"a[b]=1&a[c][d]=2", "{\"a\":{\"b\":\"1\",\"c\":{\"d\":\"2\"}}}"},
        {"a[0][x]=1&a[1][x]=2", "{\"a\":[{\"x\":\"1\"},{\"x\":\"2\"}]}"},
        {"a[5]=1", "{\"a\":{\"5\":\"1\"}}"},
        {"0=x&1=y", "{\"0\":\"x\",\"1\":\"y\"}"},
        {"a%5Bb%5D=1", "{\"a\":{\"b\":\"1\"}}"},
        {"a", "{\"a\":\"\"}"},
        {"&&a=1&", "{\"a\":\"1\"}"},
        {"a=%zz", "{\"a\":\"%zz\"}"},
        {"a[=1&[b]=2&a]=3", "{\"a[\":\"1\",\"[b]\":\"2\",\"a]\":\"3\"}"},
        {"a=1&a[b]=2", "{\"a\":{\"b\":\"2\"}}"},
        {"a=%ff", "{}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Arena a;
        arena_init(&a, 0);
        assert_json(form_decode(&a, text_from(cases[i].form)), cases[i].json);
        arena_deinit(&a);
    }
}

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *type, *body, *json;
        xs_code code;
    } cases[] = {
        {"application/json", "{\"a\":[1,2.5]}", "{\"a\":[1,2.5]}", XS_OK},
        {"application/json; charset=utf-8", " [1]", "[1]", XS_OK},
        {"", "{\"a\":1}", "{\"a\":1}", XS_OK},
        {"", "plain", "\"plain\"", XS_OK},
        {"text/plain", "{\"a\":1}", "\"{\\\"a\\\":1}\"", XS_OK},
        {"Application/X-WWW-Form-Urlencoded", "a=1", "{\"a\":\"1\"}", XS_OK},
        {"application/json", "{\"a\":", NULL, XS_E_BADREQUEST},
        {"text/plain", "\xff", NULL, XS_E_BADREQUEST},
        {"multipart/form-data; boundary=X",
         "--X\r\nContent-Disposition: form-data; "
         "name=\"a\"\r\n\r\none\r\n--X\r\nContent-Disposition: "
         "form-data; name=\"b[]\"\r\n\r\ntwo\r\nlines\r\n--X--\r\n",
         "{\"a\":\"one\",\"b\":[\"two\\r\\nlines\"]}", XS_OK},
        {"multipart/form-data; boundary=\"X Y\"",
         "--X Y\r\ncontent-disposition: form-data; name=a\r\n\r\n\r\n--X Y--", "{\"a\":\"\"}",
         XS_OK},
        {"multipart/form-data; boundary=X",
         "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n1\r\n--X--",
         "{\"f\":{\"name\":\"x\",\"size\":1,\"mime\":\"text/plain\",\"\\u0000data\":\"1\"}}",
         XS_OK},
        {"multipart/form-data; boundary=X",
         "--X\r\nContent-Disposition: form-data; name=\"p[]\"; "
         "filename=\"../a.png\"\r\nContent-Type: "
         "image/png\r\n\r\n1\r\n--X\r\nContent-Disposition: form-data; name=\"p[]\"; "
         "filename=\"\"\r\n\r\n\r\n--X--",
         "{\"p\":[{\"name\":\"../a.png\",\"size\":1,\"mime\":\"image/png\",\"\\u0000data\":\"1\"},"
         "{\"name\":\"\",\"size\":0,\"mime\":\"text/plain\",\"\\u0000data\":\"\"}]}",
         XS_OK},
        {"multipart/form-data; boundary=X", "--X\r\n\r\n1\r\n--X--", NULL, XS_E_BADREQUEST},
        {"multipart/form-data; boundary=X",
         "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1", NULL, XS_E_BADREQUEST},
        {"multipart/form-data", "--X", NULL, XS_E_BADREQUEST},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Arena a;
        xs_error err = {0};
        const Const *out;
        arena_init(&a, 0);
        bool ok =
            request_decode_body(&a, text_from(cases[i].type), text_from(cases[i].body), &out, &err);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(ok, cases[i].code == XS_OK);
        if (ok)
            assert_json(out, cases[i].json);
        arena_deinit(&a);
    }
    Arena a;
    xs_error err = {0};
    const Const *out;
    arena_init(&a, 0);
    assert_false(
        request_decode_body(&a, TEXT("application/json"), TEXT("{\"a\": tru}"), &out, &err));
    assert_non_null(strstr(err.message, "at byte "));
    assert_true(request_decode_body(&a, TEXT("application/json"), TEXT(""), &out, &err));
    assert_null(out);
    arena_deinit(&a);
}

static void test_inputs_by_priority(void **state)
{
    (void)state;
    Arena a;
    xs_error err;
    const Const *body;
    arena_init(&a, 0);
    Route route = {.nparams = 1, .params = {TEXT("id")}};
    RouteMatch match = {.route = &route, .values = {TEXT("7")}};
    assert_true(
        request_decode_body(&a, TEXT("application/json"), TEXT("{\"id\":1,\"b\":2}"), &body, &err));
    RawInputs raw = {TEXT("a=1&b=1&id=0"), body, true};
    assert_json(request_inputs(&a, &raw, &match, NULL), "{\"a\":\"1\",\"b\":2,\"id\":\"7\"}");
    raw = (RawInputs){TEXT(""), const_int(&a, 3), true};
    assert_json(request_inputs(&a, &raw, &match, NULL), "{\"id\":\"7\"}");

    const Const *fields = json_parse(
        &a, TEXT("[{\"name\":\"j\",\"type\":\"json\"},{\"name\":\"t\",\"type\":\"text\"}]"), &err);
    raw = (RawInputs){TEXT("j=[1]&t=[1]"), NULL, true};
    assert_json(request_inputs(&a, &raw, &match, fields), "{\"j\":[1],\"t\":\"[1]\",\"id\":\"7\"}");
    raw = (RawInputs){TEXT(""), form_decode(&a, TEXT("j={\"a\":1}")), false};
    assert_json(request_inputs(&a, &raw, &match, fields), "{\"j\":{\"a\":1},\"id\":\"7\"}");
    raw.body = form_decode(&a, TEXT("j={a"));
    assert_json(request_inputs(&a, &raw, &match, fields), "{\"j\":\"{a\",\"id\":\"7\"}");
    raw = (RawInputs){TEXT("j=[1]"), json_parse(&a, TEXT("{\"j\":\"[2]\"}"), &err), true};
    assert_json(request_inputs(&a, &raw, &match, fields), "{\"j\":\"[2]\",\"id\":\"7\"}");
    arena_deinit(&a);
}

#define HEAD "GET /rt/chat?x=1 HTTP/1.1\r\nHost: h\r\n"
#define WS                                                                                         \
    "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"                                    \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

static void test_upgrade_heads(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        UpgradeKind kind;
    } cases[] = {
        {HEAD WS "\r\n", UPGRADE_OK},
        {HEAD "\r\n", UPGRADE_NO},
        {"", UPGRADE_NO},
        {"GET /rt/chat HTTP/1.0\r\nHost: h\r\n" WS "\r\n", UPGRADE_NO},
        {"POST /rt/chat HTTP/1.1\r\nHost: h\r\n" WS "\r\n", UPGRADE_BAD},
        {HEAD WS "Host: other\r\n\r\n", UPGRADE_BAD},
        {HEAD WS "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n\r\n", UPGRADE_BAD},
        {HEAD WS "Upgrade: websocket\r\n\r\n", UPGRADE_BAD},
        {HEAD WS "Content-Length: 3\r\n\r\n", UPGRADE_BAD},
        {HEAD WS "Transfer-Encoding: chunked\r\n\r\n", UPGRADE_BAD},
        {HEAD WS "X: a\r\n folded\r\n\r\n", UPGRADE_BAD},
        {HEAD WS "X: a\nY: b\r\n\r\n", UPGRADE_BAD},
        {HEAD WS "X : a\r\n\r\n", UPGRADE_BAD},
        {HEAD WS, UPGRADE_BAD},
        {"GET /rt/chat HTTP/1.1\r\n" WS "\r\n", UPGRADE_BAD},
        {HEAD "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
         UPGRADE_BAD},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Arena a;
        Upgrade up;
        arena_init(&a, 0);
        assert_int_equal(upgrade_parse(&a, text_from(cases[i].head), &up), cases[i].kind);
        arena_deinit(&a);
    }
    Arena a;
    Upgrade up;
    arena_init(&a, 0);
    assert_int_equal(
        upgrade_parse(&a, TEXT(HEAD "sec-websocket-protocol: abc.def\r\n" WS "\r\n"), &up),
        UPGRADE_OK);
    assert_true(text_eq(up.token, TEXT("abc.def")));
    assert_true(text_eq(up.rewritten, TEXT(HEAD WS "\r\n")));
    assert_true(text_eq(up.path, TEXT("/rt/chat")));
    assert_true(text_eq(up.querystring, TEXT("x=1")));
    assert_true(text_eq(const_get_text(up.headers, "Host"), TEXT("h")));
    arena_deinit(&a);
}

static void test_realtime_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *tenant, *canonical, *action;
    } cases[] = {
        {"/rt/chat", NULL, "chat", ""},
        {"/rt/chat/", NULL, "chat", ""},
        {"/rt/chat/sse", NULL, "chat", "sse"},
        {"/rt/acme:chat/lp", "acme", "chat", "lp"},
        {"/rt/", NULL, NULL, NULL},
        {"/rt/:chat", NULL, NULL, NULL},
        {"/rt/a b", NULL, NULL, NULL},
        {"/rt/chat/a/b", NULL, "chat", "a/b"},
        {"/api:x", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        RealtimePath p;
        bool ok = realtime_path(text_from(cases[i].path), TEXT("/rt/"), &p);
        assert_int_equal(ok, cases[i].canonical != NULL);
        if (!ok)
            continue;
        assert_true(text_eq(p.canonical, text_from(cases[i].canonical)));
        assert_true(text_eq(p.tenant, text_from(cases[i].tenant)));
        assert_true(text_eq(p.action, text_from(cases[i].action)));
    }
}

static void test_origins(void **state)
{
    (void)state;
    static const struct {
        const char *allowed, *origin, *host;
        bool ok;
    } cases[] = {
        {"", "", "h:1", true},
        {"", "http://h:1", "h:1", true},
        {"", "https://h:1", "h:1", true},
        {"", "http://h", "h:1", false},
        {"", "http://evil", "h:1", false},
        {"", "null", "h:1", false},
        {"https://a.example, https://b.example", "https://b.example", "h", true},
        {"https://a.example", "https://b.example", "h", false},
        {"https://a.example", "http://h", "h", false},
        {"*", "https://b.example", "h", true},
        {"*", "null", "h", false},
        {"null", "null", "h", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(origin_allowed(text_from(cases[i].allowed), text_from(cases[i].origin),
                                        text_from(cases[i].host)),
                         cases[i].ok);
}

static void test_query_map(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 0);
    assert_json(http_parse_query(&a, TEXT("channel=a%3A1&channel=b+c&x&y=%")),
                "{\"channel\":[\"a:1\",\"b c\"],\"x\":[\"\"],\"y\":[\"%\"]}");
    assert_true(text_eq(http_title_case(&a, TEXT("x-FORWARDED-for")), TEXT("X-Forwarded-For")));
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_inputs_by_priority),
        cmocka_unit_test(test_upgrade_heads),
        cmocka_unit_test(test_realtime_paths),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_query_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
