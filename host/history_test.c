/* history_test.c - records come back newest first, filtered and bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/folder.h"
#include "core/json.h"
#include "core/text.h"
#include "host/history.h"

static const Log quiet = {LEVEL_ERROR, false};

static char dir[64], file[96];

static History *open_history(uint32_t per_s)
{
    xs_error err = {0};
    const HistoryOptions opt = {.file = file, .per_s = per_s, .max_bytes = 20, .log = &quiet};
    History *h = history_new(&opt, &err);
    if (!h)
        fail_msg("%s", err.message);
    return h;
}

static void add(History *h, int status, const char *api, const char *response)
{
    const HistoryRecord r = {.api_id = text_from(api),
                             .verb = TEXT("GET"),
                             .path = TEXT("/api:x/y"),
                             .branch = TEXT("v1"),
                             .status = status,
                             .duration_ms = 1.5,
                             .request = TEXT("{\"a\":1}"),
                             .response = text_from(response),
                             .trace = status == 200 ? TEXT("[{\"n\":1}]") : (Text){0},
                             .created_at_ms = 1000};
    history_add(h, &r);
}

static const Const *list(History *h, Arena *a, int status, const char *api, int64_t before,
                         uint32_t limit)
{
    Buf out = BUF_INIT;
    xs_error err = {0};
    if (!history_list(h, status, text_from(api), before, limit, &out, &err))
        fail_msg("%s", err.message);
    const Const *rows = json_parse(a, arena_text(a, buf_view(&out)), NULL);
    buf_deinit(&out);
    assert_non_null(rows);
    return rows;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/xs_history_XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(file, sizeof file, "%s/h.db", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return folder_remove(dir) ? 0 : -1;
}

static void test_records(void **state)
{
    (void)state;
    Arena a;
    arena_init(&a, 0);
    History *h = open_history(100);
    add(h, 200, "orders/{id}", "{\"id\":9}");
    add(h, 404, "orders/{id}", "{\"code\":\"X\"}");
    add(h, 500, "other", "[\"longer than twenty bytes\"]");
    history_free(h); /* writes what is queued */
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    h = open_history(100);
    const Const *all = list(h, &a, 0, "", 0, 100);
    assert_int_equal(all->count, 3);
    assert_int_equal(const_int_of(const_get(all->items[0], "status"), 0), 500);
    assert_int_equal(const_get(all->items[0], "response")->kind, C_NULL);
    assert_int_equal(const_int_of(const_get(const_get(all->items[2], "response"), "id"), 0), 9);
    assert_int_equal(const_int_of(const_get(const_get(all->items[2], "request"), "a"), 0), 1);
    assert_int_equal(const_get(all->items[2], "trace")->count, 1);
    assert_int_equal(const_get(all->items[1], "trace")->count, 0);
    static const struct {
        int status;
        const char *api;
        int64_t before;
        uint32_t limit, count;
    } cases[] = {{4, "", 0, 100, 1},          {404, "", 0, 100, 1},  {403, "", 0, 100, 0},
                 {0, "other", 0, 100, 1},     {0, "", 3, 100, 2},    {0, "", 0, 2, 2},
                 {2, "orders/{id}", 0, 9, 1}, {0, "' OR 1", 0, 9, 0}};
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(
            list(h, &a, cases[i].status, cases[i].api, cases[i].before, cases[i].limit)->count,
            cases[i].count);
    history_free(h);
    arena_deinit(&a);
}

/* A file from before there were traces. */
static void test_older_file(void **state)
{
    (void)state;
    static const char old[] =
        "CREATE TABLE history (id INTEGER PRIMARY KEY AUTOINCREMENT, api_id TEXT NOT NULL, verb "
        "TEXT "
        "NOT NULL, path TEXT NOT NULL, branch TEXT NOT NULL, status INTEGER NOT NULL, duration_ms "
        "REAL NOT NULL, request TEXT NOT NULL, response TEXT NOT NULL, created_at INTEGER NOT "
        "NULL) "
        "STRICT; INSERT INTO history VALUES (1, 'a', 'GET', '/', 'v1', 200, 1.5, 'null', 'null', "
        "5)";
    sqlite3 *db = NULL;
    Arena a;
    arena_init(&a, 0);
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    History *h = open_history(100);
    add(h, 200, "b", "1");
    history_free(h);
    h = open_history(100);
    const Const *all = list(h, &a, 0, "", 0, 100);
    assert_int_equal(all->count, 2);
    assert_int_equal(const_get(all->items[0], "trace")->count, 1);
    assert_int_equal(const_get(all->items[1], "trace")->count, 0);
    history_free(h);
    arena_deinit(&a);
}

static void test_rate(void **state)
{
    (void)state;
    History *h = open_history(2);
    assert_true(history_wants(h, 5000));
    assert_true(history_wants(h, 5999));
    assert_false(history_wants(h, 5999));
    assert_true(history_wants(h, 6000));
    history_free(h);
}

static void test_no_file(void **state)
{
    (void)state;
    xs_error err = {0};
    const HistoryOptions opt = {.file = "/nowhere/at/all", .per_s = 1, .log = &quiet};
    assert_null(history_new(&opt, &err));
    assert_int_equal(err.code, XS_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_older_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rate, set_up, tear_down),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
