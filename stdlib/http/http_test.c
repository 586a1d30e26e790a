/* http_test.c - api.request against a small server on the loopback: coding of requests, responses,
 * redirects, limits, and the addresses that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/tables.h"
#include "core/text.h"
#include "stdlib/http/client.h"
#include "stdlib/outside.h"
#include "stdlib/registry.h"
#include "stdlib/storage/file.h"
#include "vm/stream.h"

/* ---- the server: one request per connection ---- */

enum { REQUEST_MAX = 65536, BIG = 200000, FLOOD_MAX = 100 << 20, MAX_BYTES = 100000 };

typedef struct Server {
    int fd, port;
    pthread_t thread;
} Server;

static void answer(int fd, const char *head, Text body)
{
    Buf b = BUF_INIT;
    buf_printf(&b, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", head,
               body.len);
    buf_text(&b, body);
    for (size_t at = 0; at < b.len;) {
        ssize_t n = send(fd, b.ptr + at, b.len - at, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    buf_deinit(&b);
}

/* The whole request: its head, and as much body as it says. */
static size_t read_request(int fd, char *in)
{
    size_t len = 0, want = SIZE_MAX;
    while (len < REQUEST_MAX && len < want) {
        ssize_t n = recv(fd, in + len, REQUEST_MAX - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        in[len] = '\0';
        const char *end = strstr(in, "\r\n\r\n"), *size = strcasestr(in, "content-length:");
        if (end)
            want = (size_t)(end + 4 - in) + (size && size < end ? (size_t)atol(size + 15) : 0);
    }
    return len;
}

static atomic_bool slow_seen;
static atomic_size_t flood_bytes;

/* Lines without end, until the client leaves. */
static void flood(int fd)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    static char lines[1000];
    memset(lines, '\n', sizeof lines);
    ssize_t n = send(fd, head, sizeof head - 1, MSG_NOSIGNAL);
    while (n > 0 && atomic_load(&flood_bytes) < FLOOD_MAX) {
        n = send(fd, lines, sizeof lines, MSG_NOSIGNAL);
        if (n > 0)
            atomic_fetch_add(&flood_bytes, (size_t)n);
    }
}

static bool serve(const Server *s, int fd)
{
    static char in[REQUEST_MAX + 1];
    size_t len = read_request(fd, in);
    const char *path = strchr(in, ' ');
    if (!path || !len)
        return true;
    path++;
    char head[200];
    if (strncmp(path, "/stop", 5) == 0)
        return false;
    if (strncmp(path, "/json", 5) == 0)
        answer(fd, "200 OK\r\nContent-Type: application/json\r\nX-A: 1", TEXT("{\"usd\":1.09}"));
    else if (strncmp(path, "/badjson", 8) == 0)
        answer(fd, "201 Created\r\nContent-Type: application/json", TEXT("{oops"));
    else if (strncmp(path, "/lines", 6) == 0)
        answer(fd, "200 OK\r\nContent-Type: application/x-ndjson", TEXT("{\"n\":1}\r\n\n[2]\n"));
    else if (strncmp(path, "/table", 6) == 0)
        answer(fd, "200 OK\r\nContent-Type: text/csv", TEXT("id,name\n1,\"a,b\"\n"));
    else if (strncmp(path, "/text", 5) == 0)
        answer(fd, "404 Not Found\r\nContent-Type: text/plain", TEXT("{\"no\":1}"));
    else if (strncmp(path, "/redirect", 9) == 0) {
        snprintf(head, sizeof head, "302 Found\r\nLocation: http://127.0.0.1:%d/echo", s->port);
        answer(fd, head, TEXT("moved"));
    } else if (strncmp(path, "/loop", 5) == 0)
        answer(fd, "302 Found\r\nLocation: /loop", TEXT(""));
    else if (strncmp(path, "/ftp", 4) == 0)
        answer(fd, "302 Found\r\nLocation: file:///etc/passwd", TEXT(""));
    else if (strncmp(path, "/big", 4) == 0) {
        char *big = calloc(1, BIG);
        answer(fd, "200 OK", (Text){big, BIG});
        free(big);
    } else if (strncmp(path, "/flood", 6) == 0)
        flood(fd);
    else if (strncmp(path, "/slow", 5) == 0) {
        atomic_store(&slow_seen, true);
        recv(fd, in, 1, 0); /* until the client leaves */
    } else if (strncmp(path, "/garbage", 8) == 0)
        send(fd, "nonsense\r\n\r\n", 12, MSG_NOSIGNAL);
    else if (strncmp(path, "/echo", 5) == 0)
        answer(fd, "200 OK\r\nContent-Type: text/plain", (Text){in, len});
    return true;
}

static void *server_main(void *arg)
{
    const Server *s = arg;
    for (bool on = true; on;) {
        int fd = accept(s->fd, NULL, NULL);
        struct timeval limit = {.tv_sec = 10};
        if (fd < 0)
            break;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        on = serve(s, fd);
        close(fd);
    }
    return NULL;
}

static Server server;

static int start_server(void **state)
{
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server.fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(server.fd, 16) != 0 ||
        getsockname(server.fd, (struct sockaddr *)&a, &len) != 0)
        return -1;
    server.port = ntohs(a.sin_port);
    return pthread_create(&server.thread, NULL, server_main, &server);
}

static int stop_server(void **state)
{
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)server.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
              send(fd, "GET /stop HTTP/1.1\r\n\r\n", 22, MSG_NOSIGNAL) == 22;
    pthread_join(server.thread, NULL);
    close(fd);
    close(server.fd);
    return ok ? 0 : -1;
}

/* ---- requests ---- */

typedef struct World {
    Outside *o;
    Services services;
    Heap *h;
    xs_error err;
} World;

static void world_open(World *w, bool allow_private)
{
    *w = (World){.h = heap_new(0)};
    OutsideOptions opt = {
        .cache_bytes = 1 << 16, .http_allow_private = allow_private, .http_max_bytes = MAX_BYTES};
    w->o = outside_new(&opt, &w->err);
    assert_non_null(w->o);
    w->services = (Services){.outside = w->o};
}

static void world_close(World *w)
{
    outside_free(w->o);
    assert_int_equal(heap_bytes(w->h), 0);
    heap_free(w->h);
}

/* args: an object of clauses by name, consumed. NULL-kind result: w->err says why. */
static Value run_statement(World *w, const char *name, Value args)
{
    const void *row = NULL;
    StatementFn fn = stdlib_natives.statement(text_from(name), &row);
    const StatementInfo *info = row;
    Value window[STATEMENT_MAX_CLAUSES];
    void *site = NULL;
    w->err = (xs_error){0};
    for (uint32_t i = 0; i < info->nclauses; i++) {
        const Value *v = map_find(args.map, info->clauses[i].name);
        window[i] = v ? *v : val_unset();
    }
    Call c = {.heap = w->h,
              .services = &w->services,
              .name = name,
              .row = row,
              .args = window,
              .nargs = info->nclauses,
              .site = &const_null,
              .site_data = &site,
              .err = &w->err};
    bool ok = fn(&c) == NATIVE_OK;
    call_end(&c);
    val_unref(w->h, args);
    return ok ? c.ret : val_unset();
}

static Value request(World *w, Value args)
{
    return run_statement(w, "api.request", args);
}

static Value clauses(World *w, const char *path, const char *json)
{
    Value v = val_parse_json(w->h, text_from(json), &w->err);
    assert_int_equal(v.kind, V_MAP);
    char url[256];
    if (*path == '/')
        snprintf(url, sizeof url, "http://127.0.0.1:%d%s", server.port, path);
    else
        snprintf(url, sizeof url, "%s", path);
    assert_true(map_set_text(w->h, &v, TEXT("url"), text_new(w->h, text_from(url))));
    return v;
}

/* Member `path` of the result as JSON; "error:symbol" when the statement failed. */
static void check(World *w, const char *path, const char *json, const char *member,
                  const char *want)
{
    Buf out = BUF_INIT;
    Value v = request(w, clauses(w, path, json));
    if (v.kind == V_UNSET) {
        buf_printf(&out, "error:%s", xs_code_get(w->err.code)->symbol);
    } else {
        Value at = val_path(w->h, v, text_from(member), &w->err);
        assert_true(val_write_json(at, &out));
        val_unref(w->h, at);
    }
    val_unref(w->h, v);
    if (!text_eq(buf_view(&out), text_from(want)))
        fail_msg("%s %s %s: want %s, got " TEXT_FMT, path, json, member, want,
                 TEXT_ARG(buf_view(&out)));
    buf_deinit(&out);
}

/* The text result has every one of the pieces ("|" between), and none of those behind "!". */
static void check_text(World *w, const char *path, const char *json, const char *pieces)
{
    Value v = request(w, clauses(w, path, json));
    Value at = v.kind == V_UNSET ? v : val_path(w->h, v, TEXT("response.result"), &w->err);
    if (at.kind != V_TEXT)
        fail_msg("%s %s: no text (%s)", path, json, w->err.message);
    Text all = text_from(pieces);
    for (size_t from = 0; from < all.len;) {
        size_t end = text_find(all, TEXT("|"), from);
        Text piece = text_slice(all, from, end);
        bool not = text_starts(piece, TEXT("!"));
        if (not )
            piece = text_slice(piece, 1, piece.len);
        if ((text_find(val_text_view(at), piece, 0) == SIZE_MAX) != not )
            fail_msg("%s %s: '" TEXT_FMT "' in\n" TEXT_FMT, path, json, TEXT_ARG(piece),
                     TEXT_ARG(val_text_view(at)));
        from = end == SIZE_MAX ? all.len : end + 1;
    }
    val_unref(w->h, at);
    val_unref(w->h, v);
}

static void responses(void **state)
{
    (void)state;
    World w;
    world_open(&w, true);
    check(&w, "/json", "{}", "response.result", "{\"usd\":1.09}");
    check(&w, "/json", "{}", "response.status", "200");
    check(&w, "/json", "{}", "response.headers",
          "[\"HTTP/1.1 200 OK\",\"Content-Type: application/json\",\"X-A: "
          "1\",\"Connection: close\",\"Content-Length: 12\"]");
    check(&w, "/badjson", "{}", "response.result", "\"{oops\"");
    check(&w, "/text", "{}", "response.result", "\"{\\\"no\\\":1}\"");
    check(&w, "/text", "{}", "response.status", "404");
    check(&w, "/json", "{\"method\":\"get\",\"headers\":[\"Accept: x/y\"],\"params\":{\"a\":1}}",
          "request.method", "\"GET\"");
    check(&w, "/json", "{\"headers\":[\"Accept: x/y\"],\"params\":{\"a\":1}}", "request.headers",
          "[\"Accept: x/y\"]");
    check(&w, "/json", "{\"params\":{\"a\":1}}", "request.params", "{\"a\":1}");
    world_close(&w);
}

static void streams(void **state)
{
    (void)state;
    static const struct {
        const char *path, *json, *want;
    } cases[] = {
        {"/lines", "{}", "[\"{\\\"n\\\":1}\",\"\",\"[2]\"]"},
        {"/lines", "{\"format\":\"raw\"}", "[\"{\\\"n\\\":1}\",\"\",\"[2]\"]"},
        {"/lines", "{\"format\":\"jsonl\"}", "[{\"n\":1},[2]]"},
        {"/table", "{\"format\":\"csv\"}", "[{\"id\":\"1\",\"name\":\"a,b\"}]"},
        {"/badjson", "{\"format\":\"jsonl\"}", "Error parsing JSON in line 1"},
        {"/table", "{\"format\":\"xml\"}", "stream.from_request: unknown format 'xml'"},
        {"/table", "{\"format\":\"spreadsheet\"}", "stream.from_request: unknown format"},
        {"http://127.0.0.1:1/", "{}", "stream.from_request: "},
    };
    World w;
    world_open(&w, true);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Buf out = BUF_INIT;
        Value v =
            run_statement(&w, "stream.from_request", clauses(&w, cases[i].path, cases[i].json));
        if (v.kind == V_UNSET || !val_write_json_why(v, NULL, &out, &w.err)) {
            out.len = 0;
            buf_cstr(&out, w.err.message);
        }
        val_unref(w.h, v);
        if (!text_starts(buf_view(&out), text_from(cases[i].want)))
            fail_msg("%s %s: want %s, got " TEXT_FMT, cases[i].path, cases[i].json, cases[i].want,
                     TEXT_ARG(buf_view(&out)));
        buf_deinit(&out);
    }
    world_close(&w);
}

/* The first rows come while the sender goes on; one that nobody reads is held back, and ends with
 * the stream. */
static void streams_wait(void **state)
{
    (void)state;
    World w;
    Value row;
    xs_error err;
    world_open(&w, true);
    Value v = run_statement(&w, "stream.from_request", clauses(&w, "/flood", "{}"));
    assert_true(val_is_stream(v));
    for (int i = 0; i < 1000000; i++) {
        assert_int_equal(stream_next_here(v, &row, &err), 1);
        val_unref(w.h, row);
    }
    for (size_t before = SIZE_MAX; before != atomic_load(&flood_bytes);) {
        before = atomic_load(&flood_bytes);
        usleep(100000);
    }
    assert_in_range(atomic_load(&flood_bytes), 1000000, 32 << 20);
    val_unref(w.h, v);
    world_close(&w);
}

static void coding(void **state)
{
    (void)state;
    World w;
    world_open(&w, true);
    check_text(&w, "/echo?x=1", "{\"params\":{\"a\":[1,\"b c\"],\"d\":{\"e\":true,\"f\":null}}}",
               "GET /echo?x=1&a%5B0%5D=1&a%5B1%5D=b%20c&d%5Be%5D=true HTTP|!User-Agent|!Expect");
    check_text(&w, "/echo", "{\"params\":{\"a\":1}}", "GET /echo?a=1 ");
    check_text(&w, "/echo", "{\"params\":[]}", "GET /echo HTTP");
    check_text(&w, "/echo", "{\"method\":\"POST\",\"params\":{\"a\":[1,\"\u00e4\"]}}",
               "POST /echo|Content-Type: application/json|\r\n\r\n{\"a\":[1,\"\u00e4\"]}");
    check_text(
        &w, "/echo",
        "{\"method\":\"PUT\",\"params\":{\"a\":{\"b\":\"x&y\"}},\"headers\":[\"content-type: "
        "application/x-www-form-urlencoded\"]}",
        "PUT /echo|\r\n\r\na%5Bb%5D=x%26y|!application/json");
    check_text(
        &w, "/echo",
        "{\"method\":\"PATCH\",\"params\":\"raw\",\"headers\":[\"Content-Type: text/plain\"]}",
        "PATCH /echo|Content-Type: text/plain|\r\n\r\nraw");
    check_text(&w, "/echo", "{\"method\":\"DELETE\"}", "DELETE /echo HTTP|!Content-Type");
    check_text(&w, "/echo", "{\"method\":\"POST\"}",
               "POST /echo HTTP|Content-Length: 0|!Content-Type");
    check_text(&w, "/echo",
               "{\"headers\":[\"X-Empty:\",\"X-B: b\",\"Content-Length: 99\",\"User-Agent: me\"]}",
               "X-Empty:|X-B: b|User-Agent: me|!Length: 99");
    Value args = clauses(&w, "/echo",
                         "{\"method\":\"POST\",\"params\":{\"n\":1},\"headers\":[\"Content-Type: "
                         "multipart/form-data\"]}");
    Value params = val_ref(map_get_cstr(args, "params"));
    assert_true(
        map_set_text(w.h, &params, TEXT("f"),
                     file_new(w.h, TEXT("a.txt"), TEXT(""), text_new(w.h, TEXT("data!")))) &&
        map_set_text(w.h, &args, TEXT("params"), params));
    Value v = request(&w, args), at = val_path(w.h, v, TEXT("response.result"), &w.err);
    assert_int_equal(at.kind, V_TEXT);
    static const char *const pieces[] = {
        "Content-Type: multipart/form-data; boundary=", "name=\"n\"\r\n\r\n1\r\n",
        "name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\ndata!\r\n"};
    for (size_t i = 0; i < COUNT_OF(pieces); i++)
        assert_true(text_find(val_text_view(at), text_from(pieces[i]), 0) != SIZE_MAX);
    val_unref(w.h, at);
    val_unref(w.h, v);
    world_close(&w);
}

static void failures(void **state)
{
    (void)state;
    World w;
    world_open(&w, true);
    check_text(&w, "/redirect", "{\"method\":\"POST\",\"params\":{\"a\":1}}",
               "GET /echo HTTP|!{\"a\""); /* a form's answer is fetched */
    check(&w, "/redirect", "{\"follow_location\":false}", "response.status", "302");
    check(&w, "/loop", "{}", "response.status", "0");
    check(&w, "/ftp", "{}", "response.status", "0");
    check(&w, "/big", "{}", "response.error", "\"The response is too large\"");
    check(&w, "/big", "{}", "response.result", "null");
    check(&w, "/slow", "{\"timeout\":0.05}", "response.error", "\"Timed out\"");
    check(&w, "/garbage", "{}", "response.status", "0");
    check(&w, "http://127.0.0.1:1/", "{}", "response.status", "0");
    check(&w, "http://nowhere.invalid/", "{}", "response.headers", "[]");
    check(&w, "file:///etc/passwd", "{}", "response.status", "0");
    check(&w, "gopher://127.0.0.1/", "{}", "response.status", "0");
    check(&w, "not a url", "{}", "response.status", "error:bad_arg");
    check(&w, "", "{}", "response.status", "error:bad_arg");
    check(&w, "/echo", "{\"method\":\"GE T\"}", "", "error:bad_arg");
    check(&w, "/echo", "{\"headers\":[\"X: a\\r\\nEvil: b\"]}", "", "error:bad_arg");
    check(&w, "/echo", "{\"headers\":[\"X\\u0000: a\"]}", "", "error:bad_arg");
    check(&w, "/echo", "{\"headers\":[\"no colon\"]}", "", "error:bad_arg");
    check(&w, "/echo", "{\"headers\":{\"X-M\":\"1\\n\\nbody\"}}", "", "error:bad_arg");
    check(&w, "/echo", "{\"params\":\"a b\\r\\nX: y\"}", "", "error:bad_arg");
    check(&w, "/echo", "{\"ca_certificate\":\"/etc/passwd\"}", "", "error:bad_arg");
    check(&w, "/echo", "{\"timeout\":\"soon\"}", "", "error:not_numeric");
    world_close(&w);
}

static void private_addresses(void **state)
{
    (void)state;
    static const char *const names[] = {
        "http://127.0.0.1:%d/json",  "http://localhost:%d/json",
        "http://2130706433:%d/json", "http://0x7f.1:%d/json",
        "http://[::1]:%d/json",      "http://[::ffff:127.0.0.1]:%d/json",
        "http://0.0.0.0:%d/json",    "http://169.254.169.254:%d/latest"};
    World w;
    world_open(&w, false);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char url[100];
        int n =
            snprintf(url, sizeof url, "%.*s", (int)(strstr(names[i], "%d") - names[i]), names[i]);
        snprintf(url + n, sizeof url - (size_t)n, "%d/json", server.port);
        check(&w, url, "{}", "response.status", "0");
        if (i != 4) /* where the machine has no IPv6 the reason is another */
            check(&w, url, "{}", "response.error",
                  "\"The address is private; option http.allow_private permits it\"");
    }
    world_close(&w);
}

static void public_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool is_public;
    } rows[] = {
        {"8.8.8.8", true},
        {"10.1.2.3", false},
        {"172.15.255.255", true},
        {"172.16.0.1", false},
        {"172.31.255.255", false},
        {"172.32.0.0", true},
        {"192.168.0.1", false},
        {"192.0.0.8", false},
        {"100.64.0.1", false},
        {"100.128.0.1", true},
        {"169.254.169.254", false},
        {"198.18.0.1", false},
        {"203.0.113.9", false},
        {"224.0.0.1", false},
        {"255.255.255.255", false},
        {"0.0.0.0", false},
        {"1.1.1.1", true},
        {"2606:4700::1111", true},
        {"::1", false},
        {"::", false},
        {"fe80::1", false},
        {"fc00::1", false},
        {"fd12::1", false},
        {"ff02::1", false},
        {"::ffff:10.0.0.1", false},
        {"::ffff:8.8.8.8", true},
        {"64:ff9b::7f00:1", false},
        {"2002:7f00:1::", false},
        {"2002:808:808::", true},
        {"2001:db8::1", false},
        {"2001:0:1::", false},
        {"2001:4860::8888", true},
        {"fec0::1", false},
        {"100::1", false},
        {"3fff:1::", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sockaddr_in a = {.sin_family = AF_INET};
        struct sockaddr_in6 b = {.sin6_family = AF_INET6};
        bool four = inet_pton(AF_INET, rows[i].address, &a.sin_addr) == 1;
        if (!four)
            assert_int_equal(inet_pton(AF_INET6, rows[i].address, &b.sin6_addr), 1);
        bool got = address_is_public(four ? (struct sockaddr *)&a : (struct sockaddr *)&b);
        if (got != rows[i].is_public)
            fail_msg("%s", rows[i].address);
    }
}

static void *stop_soon(void *arg)
{
    for (int i = 0; i < 1000 && !atomic_load(&slow_seen); i++)
        usleep(10000);
    outside_stop(arg);
    return NULL;
}

static void shutdown_ends_it(void **state)
{
    (void)state;
    World w;
    pthread_t t;
    world_open(&w, true);
    atomic_store(&slow_seen, false);
    assert_int_equal(pthread_create(&t, NULL, stop_soon, w.o), 0);
    check(&w, "/slow", "{\"timeout\":60}", "response.status", "0");
    pthread_join(t, NULL);
    check(&w, "/json", "{}", "", "error:deadline");
    heap_free(w.h);
    outside_free(w.o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses),        cmocka_unit_test(streams),
        cmocka_unit_test(streams_wait),     cmocka_unit_test(coding),
        cmocka_unit_test(failures),         cmocka_unit_test(private_addresses),
        cmocka_unit_test(public_addresses), cmocka_unit_test(shutdown_ends_it),
    };
    tables_init();
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
