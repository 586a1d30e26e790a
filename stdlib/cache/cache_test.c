/* cache_test.c - redis.* statements on the cache of this process and, where the program
 * redis-server is installed, on a server; bounds of the cache; threads; patterns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/tables.h"
#include "stdlib/cache/cache.h"
#include "stdlib/outside.h"
#include "stdlib/registry.h"

typedef struct Step {
    const char *statement, *args, *want; /* clauses as a JSON list; JSON or error:symbol */
} Step;

/* In this order: each sees what those before it did. */
static const Step steps[] = {
    {"redis.get", "[\"a\"]", "null"},
    {"redis.set", "[\"a\",{\"x\":[1,\"\\u00e4\"]},0]", "null"},
    {"redis.get", "[\"a\"]", "{\"x\":[1,\"\u00e4\"]}"},
    {"redis.has", "[\"a\"]", "true"},
    {"redis.set", "[\"a\",1,0,true]", "false"},
    {"redis.set", "[\"b\",\"text\",0,true]", "true"},
    {"redis.get", "[\"b\"]", "\"text\""},
    {"redis.del", "[\"b\"]", "null"},
    {"redis.has", "[\"b\"]", "false"},
    {"redis.incr", "[\"n\"]", "1"},
    {"redis.incr", "[\"n\",41]", "42"},
    {"redis.decr", "[\"n\",2]", "40"},
    {"redis.incr", "[\"a\",1]", "error:not_numeric"},
    {"redis.push", "[\"l\",1]", "1"},
    {"redis.push", "[\"l\",\"two\"]", "2"},
    {"redis.unshift", "[\"l\",{\"z\":0}]", "3"},
    {"redis.range", "[\"l\",0,-1]", "[{\"z\":0},1,\"two\"]"},
    {"redis.range", "[\"l\",-2,99]", "[1,\"two\"]"},
    {"redis.range", "[\"l\",2,1]", "[]"},
    {"redis.count", "[\"l\"]", "3"},
    {"redis.count", "[\"none\"]", "0"},
    {"redis.pop", "[\"l\"]", "\"two\""},
    {"redis.shift", "[\"l\"]", "{\"z\":0}"},
    {"redis.get", "[\"l\"]", "error:standard"},
    {"redis.push", "[\"a\",1]", "error:standard"},
    {"redis.pop", "[\"l\"]", "1"},
    {"redis.pop", "[\"l\"]", "null"},
    {"redis.has", "[\"l\"]", "false"},
    {"redis.push", "[\"r\",1]", "1"},
    {"redis.push", "[\"r\",2]", "2"},
    {"redis.push", "[\"r\",1]", "3"},
    {"redis.push", "[\"r\",1]", "4"},
    {"redis.push", "[\"r\",3]", "5"},
    {"redis.remove", "[\"r\",1,-1]", "1"},
    {"redis.range", "[\"r\"]", "[1,2,1,3]"},
    {"redis.remove", "[\"r\",1,1]", "1"},
    {"redis.range", "[\"r\"]", "[2,1,3]"},
    {"redis.push", "[\"r\",1]", "4"},
    {"redis.remove", "[\"r\",1]", "2"},
    {"redis.pop", "[\"r\",5]", "[3,2]"},
    {"redis.shift", "[\"r\",5]", "[]"},
    {"redis.pop", "[\"r\",-1]", "error:bad_arg"},
    {"redis.set", "[\"user:1\",1,0]", "null"},
    {"redis.set", "[\"user:2\",1,0]", "null"},
    {"redis.keys", "[\"user:*\"]", "[\"user:1\",\"user:2\"]"},
    {"redis.keys", "[\"user:[2-9]\"]", "[\"user:2\"]"},
    {"redis.keys", "[\"nobody\"]", "[]"},
    {"redis.ratelimit", "[\"rl\",2,60]", "true"},
    {"redis.ratelimit", "[\"rl\",2,60,\"\"]", "true"},
    {"redis.ratelimit", "[\"rl\",2,60]", "false"},
    {"redis.ratelimit", "[\"rl\",2,60,\"slow down\"]", "error:toomanyrequests"},
    {"redis.set", "[\"gone\",1,0.4]", "null"},
    {"redis.incr", "[\"gone\",1]", "2"},
    {"sleep", "500", ""},
    {"redis.get", "[\"gone\"]", "null"},
    {"redis.ratelimit", "[\"w\",1,0.4]", "true"},
    {"redis.ratelimit", "[\"w\",1,0.4]", "false"},
    {"sleep", "500", ""},
    {"redis.ratelimit", "[\"w\",1,0.4]", "true"},
};

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static bool run_step(Outside *o, const Step *s, Buf *out)
{
    Services services = {.outside = o};
    Heap *h = heap_new(0);
    xs_error err = {0};
    void *site = NULL;
    const void *row = NULL;
    StatementFn fn = stdlib_natives.statement(text_from(s->statement), &row);
    assert_non_null(fn);
    Value args = val_parse_json(h, text_from(s->args), &err);
    assert_int_equal(args.kind, V_LIST);
    Call c = {.heap = h,
              .services = &services,
              .name = s->statement,
              .row = row,
              .args = args.list->items + args.list->start,
              .nargs = args.list->len,
              .site = &const_null,
              .site_data = &site,
              .err = &err};
    if (fn(&c) == NATIVE_OK)
        assert_true(val_write_json(c.ret, out));
    else
        buf_printf(out, "error:%s", xs_code_get(err.code)->symbol);
    call_end(&c);
    val_unref(h, c.ret);
    val_unref(h, args);
    assert_int_equal(heap_bytes(h), 0);
    heap_free(h);
    bool ok = text_eq(buf_view(out), text_from(s->want));
    if (!ok)
        print_error("%s %s: want %s, got " TEXT_FMT " (%s)\n", s->statement, s->args, s->want,
                    TEXT_ARG(buf_view(out)), err.message);
    return ok;
}

static bool run_steps(Outside *o)
{
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        Buf out = BUF_INIT;
        if (strcmp(steps[i].statement, "sleep") == 0)
            sleep_ms(strtol(steps[i].args, NULL, 10));
        else
            ok &= run_step(o, &steps[i], &out);
        buf_deinit(&out);
    }
    return ok;
}

static void in_process(void **state)
{
    (void)state;
    xs_error err = {0};
    OutsideOptions opt = {.cache_bytes = 1 << 20};
    Outside *o = outside_new(&opt, &err);
    assert_non_null(o);
    assert_true(run_steps(o));
    outside_free(o);
}

static int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void on_server(void **state)
{
    (void)state;
    if (access("/usr/bin/redis-server", X_OK) != 0)
        skip();
    char port[16], url[64];
    int number = free_port();
    snprintf(port, sizeof port, "%d", number);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        freopen("/dev/null", "w", stdout);
        execl("/usr/bin/redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1",
              "--save", "", "--requirepass", "s@c:r/t%", (char *)NULL);
        _exit(127);
    }
    snprintf(url, sizeof url, "redis://:s%%40c%%3Ar%%2Ft%%25@127.0.0.1:%d/1", number);
    xs_error err = {0};
    OutsideOptions opt = {.cache_bytes = 1 << 20, .redis_url = text_from(url)};
    Outside *o = outside_new(&opt, &err);
    assert_non_null(o);
    bool up = false;
    for (int i = 0; i < 400 && !up; i++) {
        Services services = {.outside = o};
        Heap *h = heap_new(0);
        void *site = NULL;
        Value key = text_new(h, TEXT("ping"));
        Call c = {.heap = h,
                  .services = &services,
                  .name = "redis.get",
                  .args = &key,
                  .nargs = 1,
                  .site = &const_null,
                  .site_data = &site,
                  .err = &err};
        up = stdlib_natives.statement(TEXT("redis.get"), &c.row)(&c) == NATIVE_OK;
        if (!up)
            sleep_ms(50);
        heap_free(h);
    }
    bool ok = up && run_steps(o);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    Buf out = BUF_INIT;
    sleep_ms(20);
    const Step lost = {"redis.get", "[\"a\"]", "error:io"};
    ok = run_step(o, &lost, &out) && ok;
    buf_deinit(&out);
    outside_free(o);
    assert_true(ok);
}

static void addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "http://x",        "redis://",       "redis://h:x",       "redis://h:0",  "redis://h/abc",
        "redis://h:99999", "redis://:p@:70", "rediss://h:6379/1", "redis://h/-1", "redis://h?db=1"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        xs_error err = {0};
        OutsideOptions opt = {.cache_bytes = 1 << 20, .redis_url = text_from(bad[i])};
        assert_null(outside_new(&opt, &err));
        assert_int_equal(err.code, XS_E_CONFIG);
    }
    xs_error err = {0};
    OutsideOptions opt = {.cache_bytes = 1 << 20, .redis_url = TEXT("redis://127.0.0.1:1")};
    Outside *o = outside_new(&opt, &err); /* nobody there: an error, again and again */
    assert_non_null(o);
    for (int i = 0; i < 3; i++) {
        Buf out = BUF_INIT;
        assert_true(run_step(o, &(Step){"redis.get", "[\"a\"]", "error:io"}, &out));
        buf_deinit(&out);
    }
    outside_free(o);
}

/* ---- bounds ---- */

enum { BOUND = 64 << 10 };

static bool set(Cache *c, const char *key, size_t bytes, xs_error *err)
{
    Buf value = BUF_INIT, out = BUF_INIT;
    buf_char(&value, '"');
    for (size_t i = 0; i < bytes; i++)
        buf_char(&value, 'x');
    buf_char(&value, '"');
    CacheReq req = {.op = CACHE_SET, .key = text_from(key), .value = buf_view(&value)};
    bool ok = cache_run(c, &req, 1, &out, err);
    buf_deinit(&value);
    buf_deinit(&out);
    return ok;
}

static bool has(Cache *c, const char *key)
{
    Buf out = BUF_INIT;
    xs_error err = {0};
    CacheReq req = {.op = CACHE_HAS, .key = text_from(key)};
    assert_true(cache_run(c, &req, 1, &out, &err));
    bool yes = text_eq(buf_view(&out), TEXT("true"));
    buf_deinit(&out);
    return yes;
}

static void bounded(void **state)
{
    (void)state;
    xs_error err = {0};
    Cache *c = cache_new(BOUND, &err);
    assert_non_null(c);
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_true(set(c, key, 1000, &err));
        assert_true(cache_bytes(c) <= BOUND);
        assert_true(has(c, "k0")); /* in use: stays */
    }
    assert_false(has(c, "k1"));
    assert_true(has(c, "k999"));
    assert_false(set(c, "big", BOUND + 1, &err));
    assert_int_equal(err.code, XS_E_LIMIT);
    assert_false(has(c, "big"));
    for (int i = 0; i < 5000; i++) { /* a list alone may not pass the bound either */
        Buf out = BUF_INIT;
        CacheReq req = {.op = CACHE_PUSH, .key = TEXT("list"), .value = TEXT("123456789")};
        bool ok = cache_run(c, &req, 1, &out, &err);
        buf_deinit(&out);
        assert_true(cache_bytes(c) <= BOUND);
        if (!ok) {
            assert_int_equal(err.code, XS_E_LIMIT);
            break;
        }
        assert_true(i < 4999);
    }
    cache_free(c);
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *count(void *arg)
{
    Cache *c = arg;
    for (int i = 0; i < ROUNDS; i++) {
        Buf out = BUF_INIT;
        xs_error err = {0};
        CacheReq req = {.op = CACHE_ADD, .key = TEXT("n"), .n = 1};
        if (!cache_run(c, &req, 1, &out, &err))
            return arg;
        buf_deinit(&out);
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    xs_error err = {0};
    Cache *c = cache_new(BOUND, &err);
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, count, c), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed = c;
        pthread_join(t[i], &failed);
        assert_null(failed);
    }
    Buf out = BUF_INIT;
    CacheReq req = {.op = CACHE_GET, .key = TEXT("n")};
    assert_true(cache_run(c, &req, 1, &out, &err));
    assert_true(text_eq(buf_view(&out), TEXT("8000")));
    buf_deinit(&out);
    cache_free(c);
}

static void patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"*", "", true},         {"a*c", "abbc", true},
        {"a*c", "abbd", false},  {"a?c", "abc", true},
        {"a?c", "ac", false},    {"[ab]x", "bx", true},
        {"[^ab]x", "bx", false}, {"[a-c]*[0-9]", "bzz7", true},
        {"a\\*", "a*", true},    {"a\\*", "ab", false},
        {"[", "[", false},       {"*a*b*c*", "xaxbxcx", true},
        {"[]]", "]", true},      {"", "", true},
        {"", "a", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (glob_match(text_from(rows[i].pattern), text_from(rows[i].text)) != rows[i].match)
            fail_msg("%s against %s", rows[i].pattern, rows[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_process), cmocka_unit_test(on_server),
                                       cmocka_unit_test(addresses),  cmocka_unit_test(bounded),
                                       cmocka_unit_test(threads),    cmocka_unit_test(patterns)};
    tables_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
