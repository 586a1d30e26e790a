/* mail_test.c - util.send_email to a small mail server on the loopback; addresses and subjects that
 * try to say more than they should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/tables.h"
#include "core/text.h"
#include "stdlib/outside.h"
#include "stdlib/registry.h"

enum { TALK_MAX = 65536, WAIT_S = 10 };

typedef struct Server {
    int fd, port;
    bool refuse; /* every recipient */
    char talk[TALK_MAX + 1];
    size_t len;
} Server;

static void say(int fd, const char *line)
{
    (void)!send(fd, line, strlen(line), MSG_NOSIGNAL);
}

/* One session: all that the client says ends up in talk. */
static void *serve(void *arg)
{
    Server *s = arg;
    int fd = accept(s->fd, NULL, NULL);
    struct timeval limit = {.tv_sec = WAIT_S};
    if (fd < 0)
        return NULL;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    say(fd, "220 test\r\n");
    bool data = false;
    for (size_t done = 0; s->len < TALK_MAX;) {
        ssize_t n = recv(fd, s->talk + s->len, TALK_MAX - s->len, 0);
        if (n <= 0)
            break;
        s->len += (size_t)n;
        s->talk[s->len] = '\0';
        char *end;
        while ((end = strstr(s->talk + done, "\r\n"))) {
            const char *line = s->talk + done;
            done = (size_t)(end + 2 - s->talk);
            if (data) {
                data = line[0] != '.' || line[1] != '\r';
                if (!data)
                    say(fd, "250 kept\r\n");
            } else if (strncmp(line, "DATA", 4) == 0) {
                data = true;
                say(fd, "354 go on\r\n");
            } else if (strncmp(line, "RCPT", 4) == 0 && s->refuse) {
                say(fd, "550 nobody here\r\n");
            } else {
                say(fd, "250 ok\r\n");
            }
        }
    }
    close(fd);
    return NULL;
}

static void server_open(Server *s, pthread_t *t)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    s->len = 0;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->fd, 4), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(t, NULL, serve, s), 0);
}

static bool random_bytes(void *ctx, void *out, size_t n)
{
    (void)ctx;
    memset(out, 0x5a, n);
    return true;
}

/* args: clauses in row order as JSON. */
static bool mail(const char *url, const char *args, Buf *out)
{
    xs_error err = {0};
    OutsideOptions opt = {.cache_bytes = 1 << 16,
                          .http_max_bytes = 1 << 16,
                          .smtp_url = text_from(url),
                          .smtp_from = TEXT("Shop <shop@x.test>")};
    Services services = {.outside = outside_new(&opt, &err), .random = random_bytes};
    Heap *h = heap_new(0);
    void *site = NULL;
    const void *row = NULL;
    StatementFn fn = stdlib_natives.statement(TEXT("util.send_email"), &row);
    Value list = val_parse_json(h, text_from(args), &err);
    assert_int_equal(list.kind, V_LIST);
    Call c = {.heap = h,
              .services = &services,
              .name = "util.send_email",
              .row = row,
              .args = list.list->items + list.list->start,
              .nargs = list.list->len,
              .site = &const_null,
              .site_data = &site,
              .ret = val_null(),
              .err = &err};
    bool ok = fn(&c) == NATIVE_OK;
    if (ok)
        assert_true(val_write_json(c.ret, out));
    else
        buf_printf(out, "%s: %s", xs_code_get(err.code)->symbol, err.message);
    call_end(&c);
    val_unref(h, c.ret);
    val_unref(h, list);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
    outside_free(services.outside);
    return ok;
}

static void sends(void **state)
{
    (void)state;
    static Server s;
    pthread_t t;
    char url[64];
    server_open(&s, &t);
    snprintf(url, sizeof url, "smtp://127.0.0.1:%d", s.port);
    Buf out = BUF_INIT;
    bool ok = mail(url,
                   "[\"xano\",\"Gr\u00fc\u00dfe\\r\\nEvil: x\",\"<p>hi</p>\",\"Ann <a@x.test>, "
                   "b@x.test\",null,[\"c@x.test\"],\"d@x.test\",\"r@x.test\"]",
                   &out);
    pthread_join(t, NULL);
    close(s.fd);
    if (!ok)
        fail_msg(TEXT_FMT, TEXT_ARG(buf_view(&out)));
    assert_true(text_starts(buf_view(&out), TEXT("{\"status\":\"sent\",\"id\":\"")));
    static const char *const pieces[] = {"MAIL FROM:<shop@x.test>",
                                         "RCPT TO:<a@x.test>",
                                         "RCPT TO:<b@x.test>",
                                         "RCPT TO:<c@x.test>",
                                         "RCPT TO:<d@x.test>",
                                         "\r\nFrom: Shop <shop@x.test>\r\n",
                                         "\r\nTo: Ann <a@x.test>,\r\n <b@x.test>\r\n",
                                         "\r\nCc: <c@x.test>\r\n",
                                         "\r\nReply-To: <r@x.test>\r\n",
                                         "\r\nSubject: =?UTF-8?B?R3LDvMOfZQ0KRXZpbDogeA==?=\r\n",
                                         "Content-Type: text/html; charset=utf-8",
                                         "\r\n\r\nPHA+aGk8L3A+\r\n.\r\n"};
    for (size_t i = 0; i < COUNT_OF(pieces); i++)
        if (!strstr(s.talk, pieces[i]))
            fail_msg("no '%s' in\n%s", pieces[i], s.talk);
    assert_null(strstr(s.talk, "\r\nEvil"));
    assert_null(strstr(s.talk, "Bcc"));
    buf_deinit(&out);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *args, *want;
    } rows[] = {
        {"[\"xano\",\"s\",\"m\",\"\"]", "bad_arg"},
        {"[\"xano\",\"s\",\"m\",\"nobody\"]", "bad_arg"},
        {"[\"xano\",\"s\",\"m\",\"a@x.test\\r\\nRCPT TO:<e@x.test>\"]", "bad_arg"},
        {"[\"xano\",\"s\",\"m\",\"a@x.test> <b@x.test\"]", "bad_arg"},
        {"[\"xano\",\"s\",\"m\",[5]]", "bad_arg"},
        {"[\"xano\",\"s\",\"m\",\"a@x.test\",\"me\"]", "bad_arg"},
        {"[\"xano\",\"s\",\"m\",\"a@x.test\",null,null,null,null,\"2027-01-01\"]", "unsupported"},
        {"[\"xano\",\"s\",\"m\",\"a@x.test\"]", "io: The mail could not be sent"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        Buf out = BUF_INIT;
        assert_false(mail("smtp://127.0.0.1:1", rows[i].args, &out));
        if (!text_starts(buf_view(&out), text_from(rows[i].want)))
            fail_msg("%s: " TEXT_FMT, rows[i].args, TEXT_ARG(buf_view(&out)));
        buf_deinit(&out);
    }
    Buf out = BUF_INIT;
    assert_true(mail("", "[\"xano\",\"s\",\"m\",\"a@x.test\"]", &out));
    assert_true(text_eq(buf_view(&out), TEXT("{\"status\":\"logged\"}")));
    buf_deinit(&out);
    static Server s = {.refuse = true};
    pthread_t t;
    char url[64];
    server_open(&s, &t);
    snprintf(url, sizeof url, "smtp://127.0.0.1:%d", s.port);
    out = BUF_INIT;
    assert_false(mail(url, "[\"xano\",\"s\",\"m\",\"a@x.test\"]", &out));
    pthread_join(t, NULL);
    close(s.fd);
    assert_true(text_starts(buf_view(&out), TEXT("io: ")));
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sends), cmocka_unit_test(refusals)};
    tables_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
