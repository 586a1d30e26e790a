/* Statements of stdlib/db called in place: schema, rows, every operator, migration, writer,
 * transactions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/folder.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/db/ops.h"
#include "stdlib/registry.h"

static const char tables_json[] =
    "[{\"name\":\"user\",\"id\":1,\"auth\":true,\"fields\":["
    "{\"name\":\"id\",\"type\":\"int\"},"
    "{\"name\":\"created_at\",\"type\":\"timestamp\",\"optional\":true,\"default\":{\"now\":true}},"
    "{\"name\":\"email\",\"type\":\"email\",\"filters\":[[\"trim\"],[\"lower\"]]},"
    "{\"name\":\"password\",\"type\":\"password\"},"
    "{\"name\":\"note\",\"type\":\"text\",\"optional\":true,\"visibility\":\"internal\"}],"
    "\"index\":[{\"type\":\"primary\",\"fields\":[{\"name\":\"id\"}]},"
    "{\"type\":\"btree|unique\",\"fields\":[{\"name\":\"email\",\"op\":\"asc\"}]}]},"
    "{\"name\":\"parcel\",\"id\":2,\"fields\":["
    "{\"name\":\"id\",\"type\":\"int\"},"
    "{\"name\":\"label\",\"type\":\"text\",\"filters\":[[\"trim\"]]},"
    "{\"name\":\"qty\",\"type\":\"int\",\"optional\":true,\"default\":1},"
    "{\"name\":\"weight\",\"type\":\"decimal\",\"nullable\":true,\"optional\":true},"
    "{\"name\":\"done\",\"type\":\"bool\",\"optional\":true},"
    "{\"name\":\"state\",\"type\":\"enum\",\"values\":[\"queued\",\"moving\",\"done\"],"
    "\"optional\":true,"
    "\"default\":\"queued\"},"
    "{\"name\":\"meta\",\"type\":\"json\",\"nullable\":true,\"optional\":true},"
    "{\"name\":\"tags\",\"type\":\"text\",\"list\":true,\"optional\":true},"
    "{\"name\":\"at\",\"type\":\"timestamp\",\"nullable\":true,\"optional\":true},"
    "{\"name\":\"user_id\",\"type\":\"int\",\"optional\":true,\"table\":\"user\"}],"
    "\"index\":[{\"type\":\"btree\",\"fields\":[{\"name\":\"qty\",\"op\":\"desc\"}]}]},"
    "{\"name\":\"thing\",\"id\":3,\"fields\":[{\"name\":\"id\",\"type\":\"uuid\"},"
    "{\"name\":\"name\",\"type\":\"text\"}],\"items\":[{\"id\":\"11111111-1111-4111-8111-"
    "111111111111\","
    "\"name\":\"seed\"}]}]";

typedef struct Fx {
    char dir[64];
    char path[96];
    Arena arena;
    DbPool *pool;
    Db *db;
    Heap *heap;
    Services services;
    xs_error err;
    char payload[256];
    char out[8192];
    uint64_t fail_after; /* allocation of this thread that fails, 0 = none */
} Fx;

static int64_t fixed_now(void *ctx)
{
    (void)ctx;
    return 1767225600000;
}

static const Const *parse(Arena *a, const char *json)
{
    xs_error err = {0};
    const Const *c = json_parse(a, text_from(json), &err);
    if (!c)
        fail_msg("%s: %s", json, err.message);
    return c;
}

static void fx_connect(Fx *f)
{
    xs_error err = {0};
    f->pool = dbpool_open(f->path, parse(&f->arena, tables_json), NULL, &err);
    if (!f->pool)
        fail_msg("%s", err.message);
    f->db = db_open(f->pool, NULL, NULL, &err);
    assert_non_null(f->db);
    f->services = (Services){.now_ms = fixed_now, .db = f->db};
}

static void fx_open(Fx *f)
{
    memset(f, 0, sizeof *f);
    tables_init();
    snprintf(f->dir, sizeof f->dir, "/tmp/xs-db-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/t.db", f->dir);
    arena_init(&f->arena, 0);
    f->heap = heap_new(0);
    fx_connect(f);
}

static void fx_close(Fx *f)
{
    db_close(f->db);
    dbpool_close(f->pool);
    heap_free(f->heap);
    arena_deinit(&f->arena);
    folder_remove(f->dir);
}

/* "@0" in the site means parameter 0. */
static const char *expand(Fx *f, const char *site, unsigned first)
{
    Buf b = BUF_INIT;
    for (const char *p = site; *p; p++)
        if (*p == '@' && p[1] >= '0' && p[1] <= '9')
            buf_printf(&b, "{\"p\":%u}", first + (unsigned)(*++p - '0'));
        else
            buf_char(&b, *p);
    Text t = arena_text(&f->arena, buf_view(&b));
    buf_deinit(&b);
    return t.ptr;
}

/**
 * Run a statement: clauses as an object, parameters as a list. Its result as JSON, or
 * "error:symbol".
 */
static const char *run_as(Fx *f, Fiber *fiber, const char *name, const char *site,
                          const char *clauses, const char *params)
{
    const void *row;
    StatementFn fn = stdlib_natives.statement(text_from(name), &row);
    assert_non_null(fn);
    const StatementInfo *info = row;
    Value args[STATEMENT_MAX_CLAUSES + 10];
    for (size_t i = 0; i < COUNT_OF(args); i++)
        args[i] = val_unset();
    const Const *cl = parse(&f->arena, clauses ? clauses : "{}");
    for (uint32_t i = 0; i < cl->count; i++) {
        uint32_t at;
        assert_non_null(statement_clause(info, cl->pairs[i].key, &at));
        args[at] = val_from_const(f->heap, cl->pairs[i].value);
    }
    const Const *ps = parse(&f->arena, params ? params : "[]");
    for (uint32_t i = 0; i < ps->count; i++)
        args[info->nclauses + i] = val_from_const(f->heap, ps->items[i]);
    void *site_data = NULL;
    f->err = (xs_error){0};
    Call c = {.fiber = fiber,
              .heap = f->heap,
              .services = &f->services,
              .name = name,
              .row = row,
              .in = val_unset(),
              .args = args,
              .nargs = info->nclauses + ps->count,
              .site = parse(&f->arena, expand(f, site, info->nclauses)),
              .site_data = &site_data,
              .ret = val_null(),
              .err = &f->err,
              .thrown = val_unset(),
              .temps = val_unset()};
    mem_fail_after(f->fail_after);
    NativeResult r = fn(&c);
    mem_fail_after(0);
    Buf b = BUF_INIT;
    f->payload[0] = 0;
    if (c.thrown.kind != V_UNSET) {
        assert_true(val_write_json(c.thrown, &b));
        snprintf(f->payload, sizeof f->payload, TEXT_FMT, TEXT_ARG(buf_view(&b)));
        b.len = 0;
    }
    if (r == NATIVE_OK)
        assert_true(val_write_json(c.ret, &b));
    else
        buf_printf(&b, "error:%s", xs_code_get(f->err.code)->symbol);
    snprintf(f->out, sizeof f->out, TEXT_FMT, TEXT_ARG(buf_view(&b)));
    buf_deinit(&b);
    val_unref(f->heap, c.ret);
    val_unref(f->heap, c.thrown);
    val_unref(f->heap, c.temps);
    for (size_t i = 0; i < COUNT_OF(args); i++)
        val_unref(f->heap, args[i]);
    return f->out;
}

static const char *run(Fx *f, const char *name, const char *site, const char *clauses,
                       const char *params)
{
    return run_as(f, NULL, name, site, clauses, params);
}

static void add_parcels(Fx *f)
{
    static const char *const rows[] = {
        "{\"label\":\" PX-1 \",\"qty\":5,\"weight\":1.5,\"done\":true,\"tags\":[\"a\",\"b\"],"
        "\"meta\":{\"size\":3,\"k\":{\"x\":[1,2]}},\"at\":1000,\"user_id\":1}",
        "{\"label\":\"px-2\",\"qty\":7,\"state\":\"moving\",\"tags\":[\"b\"],\"at\":2000}",
        "{\"label\":\"\\u00c4pfel "
        "100%\",\"qty\":0,\"state\":\"done\",\"meta\":{\"size\":\"big\"},\"user_id\":2}",
        "{\"label\":\"it's \\\"; DROP TABLE parcel; --\",\"qty\":9,\"weight\":2}",
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char params[400];
        snprintf(params, sizeof params, "{\"data\":%s}", rows[i]);
        const char *out = run(f, "db.add", "{\"op\":\"db.add\",\"name\":\"parcel\"}", params, NULL);
        if (out[0] != '{')
            fail_msg("%s: %s", out, f->err.message);
    }
}

static void test_add_get(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    add_parcels(&f);
    assert_string_equal(
        run(&f, "db.get", "{\"name\":\"parcel\"}", "{\"field_name\":\"id\",\"field_value\":1}",
            NULL),
        "{\"id\":1,\"label\":\"PX-1\",\"qty\":5,\"weight\":1.5,\"done\":true,\"state\":\"queued\","
        "\"meta\":{\"size\":3,\"k\":{\"x\":[1,2]}},\"tags\":[\"a\",\"b\"],\"at\":1000,\"user_id\":"
        "1}");
    assert_string_equal(
        run(&f, "db.add", "{\"name\":\"parcel\",\"data\":[[\"label\",@0],[\"qty\",@1]]}", NULL,
            "[\"x\",\"12\"]"),
        "{\"id\":5,\"label\":\"x\",\"qty\":12,\"weight\":null,\"done\":false,\"state\":\"queued\","
        "\"meta\":null,\"tags\":[],\"at\":null,\"user_id\":0}");
    assert_string_equal(
        run(&f, "db.get", "{\"name\":\"parcel\",\"output\":[\"label\",\"meta.k.x\",\"meta.none\"]}",
            "{\"field_value\":\"1\"}", NULL),
        "{\"label\":\"PX-1\",\"meta\":{\"k\":{\"x\":[1,2]}}}");
    static const struct {
        const char *name, *site, *clauses, *params, *want, *payload;
    } cases[] = {
        {"db.get", "{\"name\":\"parcel\"}", "{\"field_value\":99}", NULL, "null", ""},
        {"db.get", "{\"name\":\"parcel\"}", "{\"field_value\":\"abc\"}", NULL, "null", ""},
        {"db.get", "{\"name\":\"parcel\"}", "{\"field_value\":null}", NULL, "error:inputerror",
         "{\"param\":\"field_value\"}"},
        {"db.get", "{\"name\":\"parcel\"}",
         "{\"field_name\":\"id\\\" OR 1=1 --\",\"field_value\":1}", NULL, "error:inputerror",
         "{\"param\":\"id\\\" OR 1=1 --\"}"},
        {"db.get", "{\"name\":\"nope\"}", "{\"field_value\":1}", NULL, "error:database", ""},
        {"db.has", "{\"name\":\"parcel\"}", "{\"field_name\":\"label\",\"field_value\":\"px-2\"}",
         NULL, "true", ""},
        {"db.has", "{\"name\":\"parcel\"}", "{\"field_name\":\"label\",\"field_value\":\"PX-2\"}",
         NULL, "false", ""},
        {"db.add", "{\"name\":\"parcel\",\"data\":[[\"nope\",@0]]}", NULL, "[1]",
         "error:inputerror", "{\"param\":\"nope\"}"},
        {"db.add", "{\"name\":\"parcel\"}", "{\"data\":{\"label\":\"q\",\"qty\":\"x\"}}", NULL,
         "error:inputerror", "{\"param\":\"qty\"}"},
        {"db.add", "{\"name\":\"parcel\"}", "{\"data\":{\"label\":\"q\",\"state\":\"purple\"}}",
         NULL, "error:inputerror", "{\"param\":\"state\"}"},
        {"db.edit",
         "{\"name\":\"parcel\",\"output\":[\"id\",\"qty\",\"label\"],\"data\":[[\"qty\",@0],["
         "\"id\",@1]]}",
         "{\"field_value\":2}", "[70,900]", "{\"id\":2,\"qty\":70,\"label\":\"px-2\"}", ""},
        {"db.edit", "{\"name\":\"parcel\",\"data\":[[\"qty\",@0]]}", "{\"field_value\":77}", "[1]",
         "error:notfound", ""},
        {"db.edit", "{\"name\":\"parcel\",\"output\":[\"qty\"],\"data\":[]}", "{\"field_value\":2}",
         NULL, "{\"qty\":70}", ""},
        {"db.patch", "{\"name\":\"parcel\",\"output\":[\"qty\",\"label\"]}",
         "{\"field_name\":\"label\",\"field_value\":\"px-2\",\"data\":\"{\\\"qty\\\":8}\"}", NULL,
         "{\"qty\":8,\"label\":\"px-2\"}", ""},
        {"db.patch", "{\"name\":\"parcel\"}", "{\"field_value\":2,\"data\":\"[1]\"}", NULL,
         "error:inputerror", "{\"param\":\"data\"}"},
        {"db.add_or_edit",
         "{\"name\":\"parcel\",\"output\":[\"id\",\"qty\"],\"data\":[[\"qty\",@0]]}",
         "{\"field_name\":\"label\",\"field_value\":\"px-2\"}", "[3]", "{\"id\":2,\"qty\":3}", ""},
        {"db.add_or_edit",
         "{\"name\":\"parcel\",\"output\":[\"id\",\"label\",\"qty\"],\"data\":[[\"qty\",@0]]}",
         "{\"field_name\":\"label\",\"field_value\":\"new\"}", "[3]",
         "{\"id\":6,\"label\":\"new\",\"qty\":3}", ""},
        {"db.del", "{\"name\":\"parcel\"}", "{\"field_value\":6}", NULL, "null", ""},
        {"db.del", "{\"name\":\"parcel\"}", "{\"field_value\":6}", NULL, "error:notfound", ""},
        {"db.get", "{\"name\":\"thing\"}", "{\"field_name\":\"name\",\"field_value\":\"seed\"}",
         NULL, "{\"id\":\"11111111-1111-4111-8111-111111111111\",\"name\":\"seed\"}", ""},
        {"db.increment",
         "{\"name\":\"parcel\",\"output\":[\"qty\"],\"where\":[\"==\",{\"col\":[\"parcel\",\"id\"]}"
         ",@0]}",
         "{\"field_name\":\"qty\",\"value\":5}", "[2]", "[{\"qty\":8}]", ""},
        {"db.increment", "{\"name\":\"parcel\"}", "{\"field_name\":\"label\"}", NULL,
         "error:inputerror", "{\"param\":\"label\"}"},
        {"db.bulk.delete", "{\"name\":\"parcel\"}", NULL, NULL, "error:inputerror",
         "{\"param\":\"where\"}"},
        {"db.bulk.delete",
         "{\"name\":\"parcel\",\"where\":[\"==?\",{\"col\":[\"parcel\",\"id\"]},@0]}", NULL,
         "[null]", "error:inputerror", "{\"param\":\"where\"}"},
        {"db.bulk.delete",
         "{\"name\":\"parcel\",\"where\":[\">\",{\"col\":[\"parcel\",\"id\"]},@0]}", NULL, "[4]",
         "1", ""},
        {"db.bulk.patch", "{\"name\":\"parcel\",\"output\":[\"id\",\"qty\"]}",
         "{\"items\":[{\"id\":1,\"qty\":50},{\"id\":2,\"qty\":60}]}", NULL,
         "[{\"id\":1,\"qty\":50},{\"id\":2,\"qty\":60}]", ""},
        {"db.bulk.patch", "{\"name\":\"parcel\"}",
         "{\"items\":[{\"id\":1,\"qty\":51},{\"id\":99,\"qty\":60}]}", NULL, "error:notfound", ""},
        {"db.get", "{\"name\":\"parcel\",\"output\":[\"qty\"]}", "{\"field_value\":1}", NULL,
         "{\"qty\":50}", ""},
        {"db.bulk.add", "{\"name\":\"user\",\"output\":[\"id\",\"email\"]}",
         "{\"items\":[{\"email\":\"A@x.io\"},{\"email\":\"b@x.io\"}]}", NULL,
         "[{\"id\":1,\"email\":\"a@x.io\"},{\"id\":2,\"email\":\"b@x.io\"}]", ""},
        {"db.bulk.add", "{\"name\":\"user\"}",
         "{\"items\":[{\"email\":\"c@x.io\"},{\"email\":\"b@x.io\"}]}", NULL, "error:duplicate",
         "{\"table\":\"user\",\"fields\":[\"email\"]}"},
        {"db.has", "{\"name\":\"user\"}", "{\"field_name\":\"email\",\"field_value\":\"c@x.io\"}",
         NULL, "false", ""},
        {"db.truncate", "{\"name\":\"user\"}", "{\"reset\":true}", NULL, "null", ""},
        {"db.add", "{\"name\":\"user\",\"output\":[\"id\",\"created_at\"]}",
         "{\"data\":{\"email\":\"z@x.io\"}}", NULL, "{\"id\":1,\"created_at\":1767225600000}", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *out = run(&f, cases[i].name, cases[i].site, cases[i].clauses, cases[i].params);
        if (strcmp(out, cases[i].want) != 0 || strcmp(f.payload, cases[i].payload) != 0)
            fail_msg("case %zu %s %s: got %s %s (%s), want %s %s", i, cases[i].name, cases[i].site,
                     out, f.payload, f.err.message, cases[i].want, cases[i].payload);
    }
    fx_close(&f);
}

static void test_password(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    assert_string_equal(
        run(&f, "db.add", "{\"name\":\"user\",\"output\":[\"id\"]}",
            "{\"data\":{\"email\":\"a@x.io\",\"password\":\"secret1\",\"note\":\"n\"}}", NULL),
        "{\"id\":1}");
    const char *row = run(&f, "db.get", "{\"name\":\"user\"}", "{\"field_value\":1}", NULL);
    assert_null(strstr(row, "password"));
    assert_null(strstr(row, "note"));
    row = run(&f, "db.get", "{\"name\":\"user\",\"output\":[\"note\",\"password\"]}",
              "{\"field_value\":1}", NULL);
    assert_non_null(strstr(row, "{\"note\":\"n\",\"password\":\"$argon2id$"));
    xs_error err = {0};
    Const id = {.kind = C_INT, .i = 1};
    const Const *auth = dbpool_auth_row(f.pool, &f.arena, TEXT("user"), &id, &err);
    assert_non_null(auth);
    assert_null(const_get(auth, "password"));
    assert_true(text_eq(const_get_text(auth, "email"), TEXT("a@x.io")));
    id.i = 2;
    assert_null(dbpool_auth_row(f.pool, &f.arena, TEXT("user"), &id, &err));
    fx_close(&f);
}

/* ids of the rows a predicate selects */
static const struct {
    const char *where, *params, *ids;
} where_cases[] = {
    {"[\"==\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"PX-1\"]", "1"},
    {"[\"==\",{\"col\":[\"parcel\",\"weight\"]},@0]", "[null]", "2,3"},
    {"[\"!=\",{\"col\":[\"parcel\",\"weight\"]},@0]", "[null]", "1,4"},
    {"[\"!=\",{\"col\":[\"parcel\",\"weight\"]},@0]", "[2]", "1"},
    {"[\"==?\",{\"col\":[\"parcel\",\"weight\"]},@0]", "[null]", "1,2,3,4"},
    {"[\"== ?\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"\"]", "1,2,3,4"},
    {"[\"==?\",{\"col\":[\"parcel\",\"qty\"]},@0]", "[0]", "3"},
    {"[\">\",{\"col\":[\"parcel\",\"qty\"]},@0]", "[\"5\"]", "2,4"},
    {"[\">\",{\"col\":[\"parcel\",\"qty\"]},@0]", "[null]", ""},
    {"[\">=\",{\"col\":[\"parcel\",\"qty\"]},@0]", "[5]", "1,2,4"},
    {"[\"<=\",@0,{\"col\":[\"parcel\",\"qty\"]}]", "[7]", "2,4"},
    {"[\"<\",{\"col\":[\"parcel\",\"qty\"]},@0]", "[5.5]", "1,3"},
    {"[\"<?\",{\"col\":[\"parcel\",\"qty\"]},@0]", "[null]", "1,2,3,4"},
    {"[\"in\",{\"col\":[\"parcel\",\"id\"]},@0]", "[[1,\"3\",99]]", "1,3"},
    {"[\"in\",{\"col\":[\"parcel\",\"id\"]},@0]", "[[]]", ""},
    {"[\"in?\",{\"col\":[\"parcel\",\"id\"]},@0]", "[[]]", "1,2,3,4"},
    {"[\"not in\",{\"col\":[\"parcel\",\"id\"]},@0]", "[[1,2]]", "3,4"},
    {"[\"not in\",{\"col\":[\"parcel\",\"id\"]},@0]", "[null]", "1,2,3,4"},
    {"[\"in\",{\"col\":[\"parcel\",\"label\"]},@0]",
     "[[\"px-2\",\"it's \\\"; DROP TABLE parcel; --\"]]", "2,4"},
    {"[\"contains\",@0,{\"col\":[\"parcel\",\"id\"]}]", "[[2]]", "2"},
    {"[\"in\",@0,{\"col\":[\"parcel\",\"tags\"]}]", "[\"a\"]", "1"},
    {"[\"like\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"PX%\"]", "1"},
    {"[\"like\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"_X-1\"]", "1"},
    {"[\"not like\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"PX%\"]", "2,3,4"},
    {"[\"ilike\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"px%\"]", "1,2"},
    {"[\"ilike\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"\\u00e4PFEL%\"]", "3"},
    {"[\"not ilike\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"px%\"]", "3,4"},
    {"[\"includes\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"100%\"]", "3"},
    {"[\"includes\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"X-\"]", "1,2"},
    {"[\"includes?\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"\"]", "1,2,3,4"},
    {"[\"includes\",{\"col\":[\"parcel\",\"tags\"]},@0]", "[\"b\"]", "1,2"},
    {"[\"not includes\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"x\"]", "3,4"},
    {"[\"~\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"^p[xy]-\\\\d$\"]", "2"},
    {"[\"~\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"/^p[xy]-\\\\d$/i\"]", "1,2"},
    {"[\"!~\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"^p\"]", "1,3,4"},
    {"[\"contains\",{\"col\":[\"parcel\",\"tags\"]},@0]", "[\"a\"]", "1"},
    {"[\"@>\",{\"col\":[\"parcel\",\"tags\"]},@0]", "[[\"b\",\"a\"]]", "1"},
    {"[\"not contains\",{\"col\":[\"parcel\",\"tags\"]},@0]", "[\"b\"]", "3,4"},
    {"[\"contains\",{\"col\":[\"parcel\",\"meta\"]},@0]", "[{\"k\":{\"x\":[2]}}]", "1"},
    {"[\"overlaps\",{\"col\":[\"parcel\",\"tags\"]},@0]", "[[\"b\",\"z\"]]", "1,2"},
    {"[\"not overlaps\",{\"col\":[\"parcel\",\"tags\"]},@0]", "[[\"a\"]]", "2,3,4"},
    {"[\"overlaps?\",{\"col\":[\"parcel\",\"tags\"]},@0]", "[[]]", "1,2,3,4"},
    {"[\"between\",{\"col\":[\"parcel\",\"qty\"]},@0,@1]", "[5,7]", "1,2"},
    {"[\"not between\",{\"col\":[\"parcel\",\"qty\"]},@0,@1]", "[5,7]", "3,4"},
    {"[\"between\",{\"col\":[\"parcel\",\"qty\"]},@0]", "[[0,5]]", "1,3"},
    {"[\"between?\",{\"col\":[\"parcel\",\"qty\"]},@0,@1]", "[null,5]", "1,2,3,4"},
    {"[\"search\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"apfel 100\"]", "3"},
    {"[\"search\",{\"col\":[\"parcel\",\"label\"]},@0]", "[null]", "1,2,3,4"},
    {"[\"true\",{\"col\":[\"parcel\",\"done\"]}]", NULL, "1"},
    {"[\"not\",[\"true\",{\"col\":[\"parcel\",\"done\"]}]]", NULL, "2,3,4"},
    {"[\"==\",{\"col\":[\"parcel\",\"done\"]},@0]", "[\"true\"]", "1"},
    {"[\"value\",@0]", "[false]", ""},
    {"[\"==\",@0,@1]", "[1,\"1\"]", "1,2,3,4"},
    {"[\"and\",[\">\",{\"col\":[\"parcel\",\"qty\"]},@0],[\"==?\",{\"col\":[\"parcel\",\"state\"]},"
     "@1]]",
     "[1,null]", "1,2,4"},
    {"[\"or\",[\"==?\",{\"col\":[\"parcel\",\"qty\"]},@0],[\"==?\",{\"col\":[\"parcel\",\"state\"]}"
     ",@1]]",
     "[null,null]", "1,2,3,4"},
    {"[\"or\",[\"==\",{\"col\":[\"parcel\",\"qty\"]},@0],[\"and\",[\"==?\",{\"col\":[\"parcel\","
     "\"state\"]},@1],"
     "[\"not\",[\"==?\",{\"col\":[\"parcel\",\"id\"]},@1]]]]",
     "[7,null]", "2"},
    {"[\"==\",{\"col\":[\"parcel\",\"meta\",\"size\"]},@0]", "[3]", "1"},
    {"[\"==\",{\"col\":[\"parcel\",\"meta\",\"size\"]},@0]", "[\"big\"]", "3"},
    {"[\"==\",{\"col\":[\"parcel\",\"meta\",\"k\",\"x\",1]},@0]", "[2]", "1"},
    {"[\"==\",{\"col\":[\"parcel\",\"tags\",\"[]\"]},@0]", "[\"b\"]", "1,2"},
    {"[\">\",@0,{\"col\":[\"parcel\",\"meta\",\"k\",\"x\",\"[]\"]}]", "[2]", "1"},
    {"[\"==\",{\"col\":[\"parcel\",\"meta\",\"[]\",\"x\",0]},@0]", "[1]", "1"},
    {"[\"true\",{\"col\":[\"parcel\",\"tags\",\"[]\"]}]", NULL, "error:unsupported"},
    {"[\">\",{\"col\":[\"parcel\",\"at\"]},@0]", "[\"1970-01-01T00:00:01.500Z\"]", "2"},
    {"[\">=\",{\"f\":\"timestamp_add_days\",\"args\":[{\"col\":[\"parcel\",\"at\"]},{\"k\":1}]},@"
     "0]",
     "[86402000]", "2"},
    {"[\"==\",{\"f\":\"length\",\"args\":[{\"col\":[\"parcel\",\"tags\"]}]},@0]", "[2]", "1"},
    {"[\"==\",{\"f\":\"to_lower\",\"args\":[{\"col\":[\"parcel\",\"label\"]}]},@0]", "[\"px-1\"]",
     "1"},
    {"[\">\",{\"col\":[\"parcel\",\"id\"]},{\"col\":[\"parcel\",\"qty\"]}]", NULL, "3"},
    {"[\"==\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"' OR '1'='1\"]", ""},
    {"[\"==\",{\"col\":[\"parcel\",\"qty\"]},@0]", "[\"seven\"]", "error:inputerror"},
    {"[\"==\",{\"col\":[\"parcel\",\"nope\"]},@0]", "[1]", "error:inputerror"},
    {"[\"~\",{\"col\":[\"parcel\",\"label\"]},@0]", "[\"(\"]", "error:bad_regex"},
};

static void test_where(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    add_parcels(&f);
    for (size_t i = 0; i < COUNT_OF(where_cases); i++) {
        char site[700], want[128];
        snprintf(
            site, sizeof site,
            "{\"name\":\"parcel\",\"where\":%s,\"output\":[\"id\"],\"return\":{\"type\":\"list\"}}",
            where_cases[i].where);
        const char *out = run(&f, "db.query", site, NULL, where_cases[i].params);
        Buf b = BUF_INIT;
        for (const char *p = where_cases[i].ids; *p && *p != 'e'; p++)
            if (*p != ',')
                buf_printf(&b, "%s{\"id\":%c}", b.len ? "," : "", *p);
        snprintf(want, sizeof want, "[" TEXT_FMT "]", TEXT_ARG(buf_view(&b)));
        buf_deinit(&b);
        if (where_cases[i].ids[0] == 'e')
            snprintf(want, sizeof want, "%s", where_cases[i].ids);
        if (strcmp(out, want) != 0)
            fail_msg("%s with %s: got %s (%s), want %s", where_cases[i].where,
                     where_cases[i].params, out, f.err.message, want);
        /* the same as a number */
        if (where_cases[i].ids[0] == 'e')
            continue;
        snprintf(site, sizeof site,
                 "{\"name\":\"parcel\",\"where\":%s,\"return\":{\"type\":\"exists\"}}",
                 where_cases[i].where);
        out = run(&f, "db.query", site, NULL, where_cases[i].params);
        assert_string_equal(out, where_cases[i].ids[0] ? "true" : "false");
    }
    fx_close(&f);
}

static void test_query(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    add_parcels(&f);
    static const struct {
        const char *site, *clauses, *params, *want;
    } cases[] = {
        {"{\"name\":\"parcel\",\"return\":{\"type\":\"count\"}}", NULL, NULL, "4"},
        {"{\"name\":\"parcel\",\"output\":[\"id\"],\"sort\":[[\"qty\",\"desc\"]],\"return\":{"
         "\"type\":\"single\"}}",
         NULL, NULL, "{\"id\":4}"},
        {"{\"name\":\"parcel\",\"where\":[\"==\",{\"col\":[\"parcel\",\"id\"]},@0],\"return\":{"
         "\"type\":\"single\"}}",
         NULL, "[99]", "null"},
        {"{\"name\":\"parcel\",\"output\":[\"id\"],\"sort\":[[\"weight\",\"asc\"]]}", NULL, NULL,
         "[{\"id\":1},{\"id\":4},{\"id\":2},{\"id\":3}]"},
        {"{\"name\":\"parcel\",\"output\":[\"id\"],\"sort\":[[\"parcel.weight\",\"desc\"]]}", NULL,
         NULL, "[{\"id\":3},{\"id\":2},{\"id\":4},{\"id\":1}]"},
        {"{\"name\":\"parcel\",\"output\":[\"id\"]}",
         "{\"override_sort\":{\"sortBy\":\"qty\",\"orderBy\":\"desc\"}}", NULL,
         "[{\"id\":4},{\"id\":2},{\"id\":1},{\"id\":3}]"},
        {"{\"name\":\"parcel\"}", "{\"override_sort\":{\"sortBy\":\"qty;--\"}}", NULL,
         "error:inputerror"},
        {"{\"name\":\"parcel\",\"output\":[\"id\"],\"return\":{\"type\":\"list\",\"paging\":{"
         "\"page\":@0,"
         "\"per_page\":{\"k\":3},\"totals\":{\"k\":true}}}}",
         NULL, "[2]",
         "{\"itemsReceived\":1,\"curPage\":2,\"nextPage\":null,\"prevPage\":1,\"offset\":3,"
         "\"perPage\":3,"
         "\"itemsTotal\":4,\"pageTotal\":2,\"items\":[{\"id\":4}]}"},
        {"{\"name\":\"parcel\",\"output\":[\"itemsReceived\",\"nextPage\",\"items.id\"],\"return\":"
         "{\"type\":\"list\","
         "\"paging\":{\"page\":@0,\"per_page\":@1}}}",
         NULL, "[null,3]",
         "{\"itemsReceived\":3,\"nextPage\":2,\"items\":[{\"id\":1},{\"id\":2},{\"id\":3}]}"},
        {"{\"name\":\"parcel\",\"output\":[\"id\"],\"return\":{\"type\":\"list\",\"paging\":{"
         "\"page\":@0,"
         "\"per_page\":@1,\"metadata\":{\"k\":false}}}}",
         NULL, "[1,2]", "[{\"id\":1},{\"id\":2}]"},
        {"{\"name\":\"parcel\",\"output\":[\"state\"],\"sort\":[[\"state\",\"asc\"]],\"return\":{"
         "\"type\":\"list\","
         "\"distinct\":\"yes\"}}",
         NULL, NULL, "[{\"state\":\"done\"},{\"state\":\"moving\"},{\"state\":\"queued\"}]"},
        {"{\"name\":\"parcel\",\"return\":{\"type\":\"aggregate\",\"group\":[[\"s\",{\"col\":["
         "\"parcel\",\"state\"]}]],"
         "\"eval\":[[\"n\",\"count\",{\"col\":[\"parcel\",\"id\"]}],[\"most\",\"max\",{\"col\":["
         "\"parcel\",\"qty\"]}]]}}",
         NULL, NULL,
         "[{\"s\":\"done\",\"n\":1,\"most\":0},{\"s\":\"moving\",\"n\":1,\"most\":7},{\"s\":"
         "\"queued\",\"n\":2,"
         "\"most\":9}]"},
        {"{\"name\":\"parcel\",\"return\":{\"type\":\"aggregate\",\"eval\":[[\"n\",\"sum\",{"
         "\"col\":[\"parcel\",\"qty\"]}],"
         "[\"m\",\"median\",{\"col\":[\"parcel\",\"qty\"]}],[\"l\",\"to_list_desc\",{\"col\":["
         "\"parcel\",\"qty\"]}],"
         "[\"d\",\"to_list\",{\"col\":[\"parcel\",\"done\"]}],[\"a\",\"avg\",{\"col\":[\"parcel\","
         "\"weight\"]}]]}}",
         NULL, NULL,
         "{\"n\":21,\"m\":6,\"l\":[9,7,5,0],\"d\":[true,false,false,false],\"a\":1.75}"},
        {"{\"name\":\"parcel\",\"output\":[\"id\",\"mail\"],\"join\":[{\"alias\":\"who\",\"table\":"
         "\"user\","
         "\"type\":\"left\",\"where\":[\"==\",{\"col\":[\"parcel\",\"user_id\"]},{\"col\":[\"who\","
         "\"id\"]}]}],"
         "\"eval\":[[\"mail\",{\"col\":[\"who\",\"email\"]}]],\"sort\":[[\"mail\",\"asc\"]]}",
         NULL, NULL,
         "[{\"id\":1,\"mail\":\"a@x.io\"},{\"id\":3,\"mail\":\"b@x.io\"},{\"id\":2,\"mail\":null},{"
         "\"id\":4,"
         "\"mail\":null}]"},
        {"{\"name\":\"parcel\",\"join\":[{\"alias\":\"who\",\"table\":\"user\",\"type\":\"inner\","
         "\"where\":[\"==\",{\"col\":[\"parcel\",\"user_id\"]},{\"col\":[\"who\",\"id\"]}]}],"
         "\"return\":{\"type\":\"count\"}}",
         NULL, NULL, "2"},
        {"{\"name\":\"parcel\",\"output\":[\"id\"]}",
         "{\"additional_where\":{\"expression\":[{\"statement\":{\"left\":{\"tag\":\"col\","
         "\"operand\":\"parcel.state\"},"
         "\"op\":\"in\",\"right\":{\"operand\":[\"queued\",\"moving\"]}}},{\"type\":\"group\","
         "\"group\":{"
         "\"expression\":[{\"statement\":{\"left\":{\"operand\":\"label\"},\"op\":\"ilike\","
         "\"right\":{\"operand\":"
         "\"px%\"}}}]}}]}}",
         NULL, "[{\"id\":1},{\"id\":2}]"},
        {"{\"name\":\"parcel\",\"output\":[\"id\"]}",
         "{\"additional_where\":\"{\\\"expression\\\":[{\\\"statement\\\":{\\\"left\\\":{"
         "\\\"operand\\\":\\\"qty\\\"},"
         "\\\"op\\\":\\\"=\\\",\\\"right\\\":{\\\"operand\\\":7}}},{\\\"or\\\":true,"
         "\\\"statement\\\":{\\\"left\\\":{"
         "\\\"operand\\\":\\\"qty\\\"},\\\"op\\\":\\\"=\\\",\\\"right\\\":{\\\"operand\\\":9}}}]}"
         "\"}",
         NULL, "[{\"id\":2},{\"id\":4}]"},
        {"{\"name\":\"user\"}",
         "{\"additional_where\":{\"expression\":[{\"statement\":{\"left\":{\"operand\":"
         "\"password\"},\"op\":\"=\","
         "\"right\":{\"operand\":\"x\"}}}]}}",
         NULL, "error:inputerror"},
        {"{\"name\":\"parcel\"}", "{\"additional_where\":\"nonsense\"}", NULL, "error:inputerror"},
    };
    assert_string_equal(run(&f, "db.bulk.add", "{\"name\":\"user\",\"output\":[\"id\"]}",
                            "{\"items\":[{\"email\":\"a@x.io\"},{\"email\":\"b@x.io\"}]}", NULL),
                        "[{\"id\":1},{\"id\":2}]");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *out = run(&f, "db.query", cases[i].site, cases[i].clauses, cases[i].params);
        if (strcmp(out, cases[i].want) != 0)
            fail_msg("case %zu %s: got %s (%s), want %s", i, cases[i].site, out, f.err.message,
                     cases[i].want);
    }
    fx_close(&f);
}

static void test_direct(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    add_parcels(&f);
    static const struct {
        const char *clauses, *want;
    } cases[] = {
        {"{\"sql\":\"SELECT id, done, tags FROM parcel WHERE qty > ? LIMIT 1\",\"arg\":[6]}",
         "[{\"id\":2,\"done\":false,\"tags\":[\"b\"]}]"},
        {"{\"sql\":\"SELECT count(*) AS n FROM parcel\",\"response_type\":\"single\"}",
         "{\"n\":4}"},
        {"{\"sql\":\"UPDATE parcel SET qty = qty + 1 WHERE id = ?\",\"arg\":[[1]]}", "[]"},
        {"{\"sql\":\"SELECT qty FROM parcel WHERE id = 1\",\"response_type\":\"single\"}",
         "{\"qty\":6}"},
        {"{\"sql\":\"SELECT ?\",\"arg\":[]}", "error:database"},
        {"{\"sql\":\"SELECT 1; DELETE FROM parcel\"}", "error:database"},
        {"{\"sql\":\"COMMIT\"}", "error:database"},
        {"{\"sql\":\"PRAGMA journal_mode=DELETE\"}", "error:database"},
        {"{\"sql\":\"ATTACH DATABASE '/tmp/x' AS x\"}", "error:database"},
        {"{\"sql\":\"DROP TABLE parcel\"}", "error:database"},
        {"{\"sql\":\"DELETE FROM _xs_schema\"}", "error:database"},
        {"{\"sql\":\"  \"}", "error:database"},
        {"{\"sql\":\"SELECT {{ 1 }} AS n\",\"parser\":\"template_engine\"}", "[{\"n\":1}]"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *out = run(&f, "db.direct_query", "null", cases[i].clauses, NULL);
        if (strcmp(out, cases[i].want) != 0)
            fail_msg("%s: got %s (%s), want %s", cases[i].clauses, out, f.err.message,
                     cases[i].want);
    }
    assert_non_null(
        strstr(run(&f, "db.schema", "{\"name\":\"user\"}", NULL, NULL),
               "{\"name\":\"email\",\"type\":\"email\",\"nullable\":false,\"default\":null,"
               "\"required\":true,\"access\":\"public\",\"style\":{\"type\":\"single\"}"));
    fx_close(&f);
}

/* ---- migration ---- */

static const struct {
    const char *first, *second, *error;
    bool allow;
    const char *query, *rows;
} migrations[] = {
    {"{\"name\":\"a\",\"type\":\"text\"}",
     "{\"name\":\"a\",\"type\":\"text\"},{\"name\":\"b\",\"type\":\"int\",\"default\":4}", NULL,
     false, "SELECT id, a, b FROM t", "[{\"id\":1,\"a\":\"7\",\"b\":4}]"},
    {"{\"name\":\"a\",\"type\":\"int\"}", "{\"name\":\"a\",\"type\":\"decimal\"}", NULL, false,
     "SELECT a/2 AS a FROM t", "[{\"a\":3.5}]"},
    {"{\"name\":\"a\",\"type\":\"int\"}", "{\"name\":\"a\",\"type\":\"text\"}", NULL, false,
     "SELECT a FROM t", "[{\"a\":\"7\"}]"},
    {"{\"name\":\"a\",\"type\":\"text\"}", "{\"name\":\"a\",\"type\":\"json\"}", NULL, false,
     "SELECT json_type(a) AS a FROM t", "[{\"a\":\"text\"}]"},
    {"{\"name\":\"a\",\"type\":\"text\"}", "{\"name\":\"a\",\"type\":\"int\"}",
     "table 't', column 'a': its type changes from text to int", false, NULL, NULL},
    {"{\"name\":\"a\",\"type\":\"text\"}", "{\"name\":\"a\",\"type\":\"int\"}", NULL, true,
     "SELECT a+1 AS a FROM t", "[{\"a\":8}]"},
    {"{\"name\":\"a\",\"type\":\"text\"}", "{\"name\":\"c\",\"type\":\"text\"}",
     "table 't', column 'a': it is no longer defined and its data is lost", false, NULL, NULL},
    {"{\"name\":\"a\",\"type\":\"text\"}", "{\"name\":\"c\",\"type\":\"text\",\"default\":\"d\"}",
     NULL, true, "SELECT * FROM t", "[{\"id\":1,\"c\":\"d\"}]"},
    {"{\"name\":\"a\",\"type\":\"int\",\"nullable\":true}", "{\"name\":\"a\",\"type\":\"int\"}",
     NULL, false, "SELECT a FROM t", "[{\"a\":7}]"},
    {"{\"name\":\"a\",\"type\":\"text\",\"list\":true}", "{\"name\":\"a\",\"type\":\"text\"}", NULL,
     false, "SELECT a FROM t", "[{\"a\":\"[\\\"7\\\"]\"}]"},
};

static DbPool *open_tables(Fx *f, const char *path, const char *fields, const char *index,
                           bool allow, xs_error *err)
{
    char json[1000];
    snprintf(json, sizeof json,
             "[{\"name\":\"t\",\"id\":1,\"fields\":[{\"name\":\"id\",\"type\":\"int\"},%s],"
             "\"index\":[%s]}]",
             fields, index);
    DbOptions opt = {.allow_destructive = allow, .synchronous_off = true};
    return dbpool_open(path, parse(&f->arena, json), &opt, err);
}

/* The message that says what would permit the change. */
static const char *refusal(const char *what, const char *path)
{
    static char text[400];
    snprintf(text, sizeof text,
             "%s; `xs db migrate PROGRAM --db %s --allow-destructive` permits it", what, path);
    return text;
}

static void test_migration(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    for (size_t i = 0; i < COUNT_OF(migrations); i++) {
        char path[128];
        xs_error err = {0};
        Db *keep = f.db;
        snprintf(path, sizeof path, "%s/m%zu.db", f.dir, i);
        DbPool *p = open_tables(&f, path, migrations[i].first, "", false, &err);
        assert_non_null(p);
        f.services.db = db_open(p, NULL, NULL, &err);
        const char *out = run(&f, "db.add", "{\"name\":\"t\"}", "{\"data\":{\"a\":\"7\"}}", NULL);
        assert_true(out[0] == '{');
        db_close(f.services.db);
        dbpool_close(p);
        p = open_tables(&f, path, migrations[i].second, "", migrations[i].allow, &err);
        if (migrations[i].error) {
            assert_null(p);
            assert_int_equal(err.code, XS_E_MIGRATION);
            assert_string_equal(err.message, refusal(migrations[i].error, path));
            p = open_tables(&f, path, migrations[i].first, "", false, &err); /* unharmed */
            assert_non_null(p);
            dbpool_close(p);
        } else {
            if (!p)
                fail_msg("migration %zu: %s", i, err.message);
            f.services.db = db_open(p, NULL, NULL, &err);
            char clauses[200];
            snprintf(clauses, sizeof clauses, "{\"sql\":\"%s\"}", migrations[i].query);
            assert_string_equal(run(&f, "db.direct_query", "null", clauses, NULL),
                                migrations[i].rows);
            assert_non_null(
                strstr(run(&f, "db.add", "{\"name\":\"t\"}", "{\"data\":{}}", NULL), "\"id\":2"));
            db_close(f.services.db);
            dbpool_close(p);
        }
        f.services.db = keep;
        unlink(path);
    }
    fx_close(&f);
}

static void test_migration_index(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    char path[128];
    xs_error err = {0};
    snprintf(path, sizeof path, "%s/t2.db", f.dir);
    const char *fields = "{\"name\":\"a\",\"type\":\"text\"}";
    const char *unique = "{\"type\":\"btree|unique\",\"fields\":[{\"name\":\"a\"}]}";
    DbPool *p = open_tables(&f, path, fields, "", false, &err);
    Db *keep = f.db;
    f.services.db = db_open(p, NULL, NULL, &err);
    run(&f, "db.bulk.add", "{\"name\":\"t\"}", "{\"items\":[{\"a\":\"x\"},{\"a\":\"x\"}]}", NULL);
    db_close(f.services.db);
    dbpool_close(p);
    assert_null(open_tables(&f, path, fields, unique, true, &err));
    assert_string_equal(err.message, "table 't': a unique index cannot be made, 2 rows have \"x\"");
    DbOptions opt = {0};
    assert_null(dbpool_open(path, parse(&f.arena, "[]"), &opt, &err));
    assert_string_equal(err.message,
                        refusal("table 't' is no longer defined and its data is lost", path));
    opt.allow_destructive = true;
    p = dbpool_open(path, parse(&f.arena, "[]"), &opt, &err);
    assert_non_null(p);
    dbpool_close(p);
    f.services.db = keep;
    unlink(path);
    assert_null(dbpool_open("/nonexistent/folder/x.db", parse(&f.arena, "[]"), &opt, &err));
    assert_int_equal(err.code, XS_E_DATABASE);
    fx_close(&f);
}

/* ---- the writer ---- */

enum { THREADS = 8, PER_THREAD = 100 };

static void *add_many(void *arg)
{
    Fx *shared = arg, f = {0};
    xs_error err = {0};
    arena_init(&f.arena, 0);
    f.heap = heap_new(0);
    f.pool = shared->pool;
    f.db = db_open(f.pool, NULL, NULL, &err);
    f.services = (Services){.now_ms = fixed_now, .db = f.db};
    for (int i = 0; i < PER_THREAD; i++) {
        /* every tenth is a duplicate: it fails alone */
        char clauses[128];
        snprintf(clauses, sizeof clauses, "{\"data\":{\"email\":\"u%d-%lx@x.io\"}}", i % 10 ? i : 0,
                 i % 10 ? (unsigned long)pthread_self() : 0ul);
        (void)run(&f, "db.add", "{\"name\":\"user\",\"output\":[\"id\"]}", clauses, NULL);
    }
    db_close(f.db);
    heap_free(f.heap);
    arena_deinit(&f.arena);
    return NULL;
}

static void test_group_commit(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, add_many, &f), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    char want[32];
    snprintf(want, sizeof want, "%d", THREADS * PER_THREAD * 9 / 10 + 1);
    assert_string_equal(
        run(&f, "db.query", "{\"name\":\"user\",\"return\":{\"type\":\"count\"}}", NULL, NULL),
        want);
    DbStats s;
    dbpool_stats(f.pool, &s);
    assert_int_equal(s.writes, THREADS * PER_THREAD);
    assert_true(s.commits < s.writes);
    /* what was reported is there after reopening */
    db_close(f.db);
    dbpool_close(f.pool);
    fx_connect(&f);
    assert_string_equal(
        run(&f, "db.query", "{\"name\":\"user\",\"return\":{\"type\":\"count\"}}", NULL, NULL),
        want);
    fx_close(&f);
}

static void test_hostile(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    static const char *const labels[] = {"a\\u0000b",      "\\\"'`;--", "%_\\\\",
                                         "\\ud83d\\ude00", "?1",        "{{x}}"};
    for (size_t i = 0; i < COUNT_OF(labels); i++) {
        char clauses[100], want[100];
        snprintf(clauses, sizeof clauses, "{\"data\":{\"label\":\"%s\",\"meta\":{\"%s\":1}}}",
                 labels[i], labels[i]);
        const char *out =
            run(&f, "db.add", "{\"name\":\"parcel\",\"output\":[\"id\"]}", clauses, NULL);
        snprintf(want, sizeof want, "{\"id\":%zu}", i + 1);
        assert_string_equal(out, want);
        snprintf(clauses, sizeof clauses, "{\"field_name\":\"label\",\"field_value\":\"%s\"}",
                 labels[i]);
        assert_string_equal(run(&f, "db.has", "{\"name\":\"parcel\"}", clauses, NULL), "true");
    }
    /* descriptors of a damaged bundle end in an error */
    static const char *const sites[] = {
        "{\"name\":\"parcel\",\"where\":[]}",
        "{\"name\":\"parcel\",\"where\":[\"==\",{\"col\":[\"parcel\",\"id\"]}]}",
        "{\"name\":\"parcel\",\"where\":[\"==\",{\"col\":[]},{\"k\":1}]}",
        "{\"name\":\"parcel\",\"where\":[\"??\",{\"k\":1},{\"k\":1}]}",
        "{\"name\":\"parcel\",\"where\":\"x\"}",
        "{\"name\":\"parcel\",\"eval\":[[\"x\"]]}",
        "{\"name\":\"parcel\",\"eval\":[[\"x\",{\"f\":\"nope\",\"args\":[{\"k\":1}]}]]}",
        ("{\"name\":\"parcel\",\"eval\":[[\"x\",{\"f\":\"count\",\"args\":[{\"col\":[\"parcel\","
         "\"id\"]}]}]]}"),
        "{\"name\":\"parcel\",\"sort\":[[\"x\"]]}",
        "{\"name\":\"parcel\",\"join\":[{\"alias\":\"x\",\"table\":\"nope\"}]}",
        "{\"name\":\"parcel\",\"return\":{\"type\":\"what\"}}",
        "{\"name\":\"parcel\",\"return\":{\"type\":\"aggregate\"}}",
    };
    for (size_t i = 0; i < COUNT_OF(sites); i++) {
        const char *out = run(&f, "db.query", sites[i], NULL, NULL);
        if (strncmp(out, "error:", 6) != 0)
            fail_msg("%s: %s", sites[i], out);
    }
    fx_close(&f);
}

static void test_memory(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    char *disk = f.path;
    char kept[sizeof f.path];
    memcpy(kept, disk, sizeof kept);
    db_close(f.db);
    dbpool_close(f.pool);
    snprintf(f.path, sizeof f.path, ":memory:");
    fx_connect(&f);
    add_parcels(&f);
    assert_string_equal(
        run(&f, "db.query", "{\"name\":\"parcel\",\"return\":{\"type\":\"count\"}}", NULL, NULL),
        "4");
    db_close(f.db);
    dbpool_close(f.pool);
    fx_connect(&f); /* a new one is empty */
    assert_string_equal(
        run(&f, "db.query", "{\"name\":\"parcel\",\"return\":{\"type\":\"count\"}}", NULL, NULL),
        "0");
    fx_close(&f);
}

/* ---- fibers: transactions, parking ---- */

static const char *const no_inputs = "[]";

static Program *open_program(const BundleImage *image)
{
    Buf bytes = BUF_INIT;
    xs_error err = {0};
    assert_true(bundle_encode(image, &bytes, &err));
    Program *p = program_open(buf_view(&bytes), &stdlib_natives, &err);
    buf_deinit(&bytes);
    if (!p)
        fail_msg("%s", err.message);
    return p;
}

static Program *make_program(Fx *f, const char *statement, const char *site, const char *inputs)
{
    static const uint32_t code[] = {INS_ABC(OP_CALLN, 0, 1, 0), 0, INS_ABC(OP_RET, 0, 0, 0)};
    ImportImage import = {IMPORT_STATEMENT, text_from(statement)};
    SiteImage sites = {0, parse(&f->arena, site)};
    ProcImage proc = {.kind = PROC_FUNCTION,
                      .name = TEXT("p"),
                      .file = TEXT("p.xs"),
                      .nregs = 1,
                      .inputs = parse(&f->arena, inputs),
                      .code = code,
                      .ncode = COUNT_OF(code)};
    proc.ninputs = proc.inputs->count;
    BundleImage image = {.imports = &import,
                         .nimports = 1,
                         .sites = &sites,
                         .nsites = 1,
                         .procs = &proc,
                         .nprocs = 1,
                         .meta = parse(&f->arena, "{}")};
    return open_program(&image);
}

static bool count_event(void *ctx, const PublishReq *req, xs_error *err)
{
    (void)err;
    Buf *b = ctx;
    buf_printf(b, TEXT_FMT "/" TEXT_FMT "=" TEXT_FMT "@" TEXT_FMT TEXT_FMT ";",
               TEXT_ARG(req->channel), req->event.ptr ? (int)req->event.len : 1,
               req->event.ptr ? req->event.ptr : "-", TEXT_ARG(req->data_json),
               TEXT_ARG(req->auth_table), TEXT_ARG(req->auth_id_json));
    return true;
}

static void expect(const char *got, const char *want, int line)
{
    if (strcmp(got, want) != 0)
        fail_msg("line %d: got %s, want %s", line, got, want);
}
#define EXPECT(got, want) expect(got, want, __LINE__)
#define COUNT_PARCELS     "{\"name\":\"parcel\",\"return\":{\"type\":\"count\"}}"

static void test_transaction(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    Buf events = BUF_INIT;
    f.services.ctx = &events;
    f.services.publish = count_event;
    Program *p =
        make_program(&f, "db.transaction.begin", "null", "[{\"name\":\"x\",\"type\":\"json\"}]");
    RunContext rc = {0};
    Fiber *a = fiber_new(p, &f.services, &rc, NULL), *b = fiber_new(p, &f.services, &rc, NULL);
    const char *add = "{\"name\":\"parcel\",\"output\":[\"id\"]}",
               *data = "{\"data\":{\"label\":\"x\"}}";
    const char *event = "{\"channel\":\"c\",\"event\":\"e\",\"data\":{\"n\":1}}";

    EXPECT(run_as(&f, a, "db.transaction.commit", "null", NULL, NULL), "error:database");
    EXPECT(run_as(&f, a, "db.transaction.rollback", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, a, "db.transaction.begin", "null", NULL, NULL), "null");
    assert_true(db_in_transaction(a));
    EXPECT(run_as(&f, a, "db.add", add, data, NULL), "{\"id\":1}");
    EXPECT(run_as(&f, a, "api.realtime_event", "null", event, NULL), "null");
    EXPECT(run_as(&f, a, "db.query", COUNT_PARCELS, NULL, NULL), "1");
    EXPECT(run_as(&f, b, "db.query", COUNT_PARCELS, NULL, NULL), "0"); /* others see nothing yet */
    EXPECT(run_as(&f, b, "db.add", add, data, NULL), "error:deadlock");
    EXPECT(run_as(&f, a, "db.direct_query", "null", "{\"sql\":\"DELETE FROM parcel\"}", NULL),
           "[]");
    EXPECT(run_as(&f, a, "db.transaction.rollback", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, b, "db.query", COUNT_PARCELS, NULL, NULL), "0");
    assert_int_equal(events.len, 0);

    /* a savepoint undone inside a transaction that stays */
    EXPECT(run_as(&f, a, "db.transaction.begin", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, a, "db.add", add, data, NULL), "{\"id\":1}");
    EXPECT(run_as(&f, a, "api.realtime_event", "null", event, NULL), "null");
    EXPECT(run_as(&f, a, "db.transaction.begin", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, a, "db.add", add, data, NULL), "{\"id\":2}");
    EXPECT(
        run_as(&f, a, "api.realtime_event", "null", "{\"channel\":\"dropped\",\"data\":2}", NULL),
        "null");
    EXPECT(run_as(&f, a, "db.transaction.rollback", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, a, "db.transaction.begin", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, a, "api.realtime_event", "null",
                  "{\"channel\":\"k\",\"data\":null,\"auth_table\":\"user\",\"auth_id\":7}", NULL),
           "null");
    EXPECT(run_as(&f, a, "db.transaction.commit", "null", NULL, NULL), "null");
    assert_int_equal(events.len, 0);
    EXPECT(run_as(&f, a, "db.transaction.commit", "null", NULL, NULL), "null");
    assert_false(db_in_transaction(a));
    EXPECT(run_as(&f, b, "db.query", COUNT_PARCELS, NULL, NULL), "1");
    assert_true(text_eq(buf_view(&events), TEXT("c/e={\"n\":1}@;k/-=null@user7;")));

    /* a fiber that ends with an open transaction is rolled back and lets others write */
    EXPECT(run_as(&f, a, "db.transaction.begin", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, a, "db.add", add, data, NULL), "{\"id\":2}");
    fiber_free(a);
    EXPECT(run_as(&f, b, "db.query", COUNT_PARCELS, NULL, NULL), "1");
    EXPECT(run_as(&f, b, "db.add", add, data, NULL), "{\"id\":2}");
    for (int i = 0; i < TXN_MAX_DEPTH; i++)
        EXPECT(run_as(&f, b, "db.transaction.begin", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, b, "db.transaction.begin", "null", NULL, NULL), "error:depth");
    fiber_free(b);
    program_unref(p);
    buf_deinit(&events);
    fx_close(&f);
}

static void test_realtime_event(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    EXPECT(run(&f, "api.realtime_event", "null", "{\"channel\":\"c\",\"data\":1}", NULL),
           "error:unsupported");
    Buf events = BUF_INIT;
    f.services.ctx = &events;
    f.services.publish = count_event;
    static const struct {
        const char *clauses, *out, *event;
    } cases[] = {
        {"{\"channel\":\"room:1\",\"event\":\"new\",\"data\":{\"a\":[1,null]}}", "null",
         "room:1/new={\"a\":[1,null]}@;"},
        {"{\"channel\":7,\"data\":\"x\"}", "null", "7/-=\"x\"@;"},
        {"{\"channel\":\"c\",\"event\":\"\",\"data\":null,\"auth_table\":\"\",\"auth_id\":null}",
         "null", "c/-=null@;"},
        {"{\"channel\":\"c\",\"data\":1,\"auth_table\":\"user\",\"auth_id\":\"u-1\"}", "null",
         "c/-=1@user\"u-1\";"},
        {"{\"channel\":\"\",\"data\":1}", "error:bad_arg", ""},
        {"{\"channel\":[],\"data\":1}", "error:not_text", ""},
        {"{\"channel\":\"c\",\"data\":1,\"auth_table\":\"user\",\"auth_id\":{}}", "error:bad_arg",
         ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        events.len = 0;
        EXPECT(run(&f, "api.realtime_event", "null", cases[i].clauses, NULL), cases[i].out);
        assert_true(text_eq(buf_view(&events), text_from(cases[i].event)));
    }
    buf_deinit(&events);
    fx_close(&f);
}

enum { FIBERS = 120 };

typedef struct Woken {
    pthread_mutex_t lock;
    pthread_cond_t some;
    Fiber *fibers[FIBERS * 2];
    size_t count;
} Woken;

static void on_wake(void *ctx, Fiber *fiber)
{
    Woken *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->fibers[w->count++] = fiber;
    pthread_cond_signal(&w->some);
    pthread_mutex_unlock(&w->lock);
}

static Fiber *next_woken(Woken *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->count)
        pthread_cond_wait(&w->some, &w->lock);
    Fiber *f = w->fibers[--w->count];
    pthread_mutex_unlock(&w->lock);
    return f;
}

static void test_parking(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    xs_error err = {0};
    Woken w = {0};
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.some, NULL);
    Db *db = db_open(f.pool, on_wake, &w, &err);
    assert_non_null(db);
    Services s = {.now_ms = fixed_now, .db = db};
    RunContext rc = {0};
    Program *p = make_program(&f, "db.add", "{\"name\":\"user\",\"output\":[\"email\"]}",
                              "[{\"name\":\"data\",\"type\":\"json\"}]");
    Fiber *fibers[FIBERS];
    int parked = 0, done = 0, failed = 0;
    for (int i = 0; i < FIBERS; i++) {
        char input[64];
        fibers[i] = fiber_new(p, &s, &rc, NULL);
        snprintf(input, sizeof input, "{\"data\":{\"email\":\"p%d@x.io\"}}", i % 10 == 9 ? 9 : i);
        Value v = val_from_const(fiber_heap(fibers[i]), parse(&f.arena, input));
        assert_true(fiber_call(fibers[i], 0, v, &err));
        assert_int_equal(fiber_run(fibers[i]), FIBER_PARKED);
        if (i % 12 == 11) { /* gone while its write is under way */
            fiber_free(fibers[i]);
            fibers[i] = NULL;
        } else {
            parked++;
        }
    }
    while (parked) {
        Fiber *fb = next_woken(&w);
        if (!db_finish(db, fb))
            continue; /* of one that is gone */
        FiberState st = fiber_run(fb);
        if (st == FIBER_DONE) {
            done++;
            assert_int_equal(fiber_result(fb).kind, V_MAP);
        } else {
            Text name;
            Value payload;
            assert_int_equal(st, FIBER_ERROR);
            assert_int_equal(fiber_error(fb, &name, &payload)->code, XS_E_DUPLICATE);
            assert_int_equal(payload.kind, V_MAP);
            failed++;
        }
        parked--;
        assert_false(db_finish(db, fb));
    }
    for (int i = 0; i < FIBERS; i++)
        fiber_free(fibers[i]);
    assert_true(failed > 0 && done > 90);
    DbStats st;
    dbpool_stats(f.pool, &st);
    assert_int_equal(st.writes, FIBERS);
    db_close(db);
    program_unref(p);
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.some);
    fx_close(&f);
}

/* Leases that are queued, granted, dropped: whoever comes next gets the connection. */
static void test_parked_transaction(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    xs_error err = {0};
    Woken w = {0};
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.some, NULL);
    Db *db = db_open(f.pool, on_wake, &w, &err);
    Buf events = BUF_INIT;
    f.services.db = db;
    f.services.ctx = &events;
    f.services.publish = count_event;
    RunContext rc = {0};
    Program *p = make_program(&f, "db.transaction.begin", "null", no_inputs);
    Program *commit = make_program(&f, "db.transaction.commit", "null", no_inputs);
    Fiber *a = fiber_new(p, &f.services, &rc, NULL), *b = fiber_new(p, &f.services, &rc, NULL),
          *c = fiber_new(p, &f.services, &rc, NULL);
    Fiber *order[] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        assert_true(fiber_call(order[i], 0, val_null(), &err));
        assert_int_equal(fiber_run(order[i]), FIBER_PARKED);
    }
    assert_ptr_equal(next_woken(&w), a);
    assert_true(db_finish(db, a));
    assert_int_equal(fiber_run(a), FIBER_DONE);
    assert_true(db_in_transaction(a));
    EXPECT(run_as(&f, a, "db.add", "{\"name\":\"parcel\",\"output\":[\"id\"]}",
                  "{\"data\":{\"label\":\"x\"}}", NULL),
           "{\"id\":1}");
    fiber_free(b); /* still in the queue */
    fiber_free(a); /* its transaction is rolled back, c comes next */
    assert_ptr_equal(next_woken(&w), c);
    fiber_free(c); /* granted, never looked at */
    Fiber *d = fiber_new(p, &f.services, &rc, NULL);
    assert_true(fiber_call(d, 0, val_null(), &err));
    assert_int_equal(fiber_run(d), FIBER_PARKED);
    assert_ptr_equal(next_woken(&w), d);
    assert_true(db_finish(db, d));
    assert_int_equal(fiber_run(d), FIBER_DONE);
    EXPECT(run_as(&f, d, "db.add", "{\"name\":\"parcel\",\"output\":[\"id\"]}",
                  "{\"data\":{\"label\":\"x\"}}", NULL),
           "{\"id\":1}");
    EXPECT(run_as(&f, d, "api.realtime_event", "null", "{\"channel\":\"c\",\"data\":1}", NULL),
           "null");
    fiber_free(d);
    assert_int_equal(events.len, 0);
    db_close(db);
    program_unref(p);
    program_unref(commit);
    f.services.db = f.db;
    EXPECT(run(&f, "db.query", COUNT_PARCELS, NULL, NULL), "0");
    buf_deinit(&events);
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.some);
    fx_close(&f);
}

/* An addon procedure: one db.query on user by id, register 0 is its input `id`. */
static Program *make_addon_program(Fx *f)
{
    const StatementInfo *q = statement_find(TEXT("db.query"));
    uint32_t n = q->nclauses;
    uint32_t *words = arena_alloc(&f->arena, sizeof(uint32_t) * 8);
    assert_non_null(words);
    words[0] = INS_ABC(OP_MOVE, 1 + n, 0, 0);
    words[1] = INS_ABC(OP_CALLN, 1, n + 1, 0);
    words[2] = 0;
    words[3] = INS_ABC(OP_RET, 1, 0, 0);
    ImportImage import = {IMPORT_STATEMENT, TEXT("db.query")};
    SiteImage site = {
        0, parse(&f->arena,
                 expand(f,
                        "{\"name\":\"user\",\"where\":[\"==\",{\"col\":[\"user\",\"id\"]},@0],"
                        "\"return\":{\"type\":\"single\"}}",
                        n))};
    ProcImage proc = {.kind = PROC_ADDON,
                      .name = TEXT("who"),
                      .file = TEXT("p.xs"),
                      .nregs = n + 2,
                      .ninputs = 1,
                      .inputs = parse(&f->arena, "[{\"name\":\"id\",\"type\":\"int\"}]"),
                      .code = words,
                      .ncode = 4};
    BundleImage image = {.imports = &import,
                         .nimports = 1,
                         .sites = &site,
                         .nsites = 1,
                         .procs = &proc,
                         .nprocs = 1,
                         .meta = parse(&f->arena, "{}")};
    return open_program(&image);
}

static void test_addon(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    add_parcels(&f);
    run(&f, "db.bulk.add", "{\"name\":\"user\"}",
        "{\"items\":[{\"email\":\"a@x.io\"},{\"email\":\"b@x.io\"}]}", NULL);
    Program *p = make_addon_program(&f);
    RunContext rc = {0};
    Fiber *fb = fiber_new(p, &f.services, &rc, NULL);
    heap_free(f.heap);
    f.heap = fiber_heap(fb); /* as a running statement has it */
#define WHO(more)                                                                                  \
    "\"addon\":[{\"name\":\"who\",\"input\":[[\"id\",{\"out\":[\"user_id\"]}]],\"as\":\"x.who\","  \
    "\"output\":[\"email\"]" more "}]"
    EXPECT(run_as(&f, fb, "db.query", "{\"name\":\"parcel\",\"output\":[\"id\"]," WHO("") "}", NULL,
                  NULL),
           "[{\"id\":1,\"x\":{\"who\":{\"email\":\"a@x.io\"}}},{\"id\":2,\"x\":{\"who\":null}},"
           "{\"id\":3,\"x\":{\"who\":{\"email\":\"b@x.io\"}}},{\"id\":4,\"x\":{\"who\":null}}]");
    EXPECT(run_as(&f, fb, "db.get", "{\"name\":\"parcel\",\"output\":[\"qty\"]," WHO("") "}",
                  "{\"field_value\":3}", NULL),
           "{\"qty\":0,\"x\":{\"who\":{\"email\":\"b@x.io\"}}}");
    EXPECT(run_as(&f, fb, "db.add", "{\"name\":\"parcel\",\"output\":[\"id\"]," WHO("") "}",
                  "{\"data\":{\"label\":\"l\",\"user_id\":2}}", NULL),
           "{\"id\":5,\"x\":{\"who\":{\"email\":\"b@x.io\"}}}");
    EXPECT(run_as(&f, fb, "db.transaction.begin", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, fb, "db.add", "{\"name\":\"user\",\"output\":[\"id\"]}",
                  "{\"data\":{\"email\":\"c@x.io\"}}", NULL),
           "{\"id\":3}");
    EXPECT(run_as(&f, fb, "db.edit", "{\"name\":\"parcel\",\"output\":[\"id\"]," WHO("") "}",
                  "{\"field_value\":5,\"data\":{\"user_id\":3}}", NULL),
           "{\"id\":5,\"x\":{\"who\":{\"email\":\"c@x.io\"}}}");
    EXPECT(run_as(&f, fb, "db.transaction.rollback", "null", NULL, NULL), "null");
    EXPECT(run_as(&f, fb, "db.query", "{\"name\":\"parcel\",\"addon\":[{\"name\":\"nope\"}]}", NULL,
                  NULL),
           "error:database");
    fiber_free(fb);
    program_unref(p);
    f.heap = heap_new(0);
    fx_close(&f);
}

/* Somebody else holds the file. */
static void test_foreign_lock(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    db_close(f.db);
    dbpool_close(f.pool);
    xs_error err = {0};
    DbOptions opt = {.busy_timeout_ms = 20};
    f.pool = dbpool_open(f.path, parse(&f.arena, tables_json), &opt, &err);
    f.db = db_open(f.pool, NULL, NULL, &err);
    f.services.db = f.db;
    xs_db_options o = {.path = f.path, .writer = true};
    xs_db_conn *other = sqlite_driver.open(&o, &err);
    assert_non_null(other);
    xs_db_stmt *st = sqlite_driver.prepare(other, "BEGIN IMMEDIATE", 15, 0, &err);
    assert_int_equal(sqlite_driver.step(st, &err), XS_DB_DONE);
    sqlite_driver.finish(st);
    const char *site = "{\"name\":\"parcel\",\"output\":[\"id\"]}",
               *data = "{\"data\":{\"label\":\"x\"}}";
    EXPECT(run(&f, "db.add", site, data, NULL), "error:deadlock");
    EXPECT(run(&f, "db.query", COUNT_PARCELS, NULL, NULL), "0");
    sqlite_driver.close(other);
    EXPECT(run(&f, "db.add", site, data, NULL), "{\"id\":1}");
    fx_close(&f);
}

/* A statement without an end is interrupted, on the reader and on the writer. */
static void test_runaway(void **state)
{
    (void)state;
    Fx f;
    fx_open(&f);
    db_close(f.db);
    dbpool_close(f.pool);
    xs_error err = {0};
    DbOptions opt = {.statement_ms = 50};
    f.pool = dbpool_open(f.path, parse(&f.arena, tables_json), &opt, &err);
    f.db = db_open(f.pool, NULL, NULL, &err);
    f.services.db = f.db;
    EXPECT(run(&f, "db.direct_query", "null",
               "{\"sql\":\"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT "
               "count(*) FROM n\"}",
               NULL),
           "error:deadline");
    EXPECT(run(&f, "db.direct_query", "null",
               "{\"sql\":\"INSERT INTO parcel(label) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
               "SELECT i+1 FROM n) "
               "SELECT 'x' FROM n\"}",
               NULL),
           "error:deadline");
    EXPECT(run(&f, "db.add", "{\"name\":\"parcel\",\"output\":[\"id\"]}",
               "{\"data\":{\"label\":\"x\"}}", NULL),
           "{\"id\":1}");
    fx_close(&f);
}

/* Every allocation fails once: an error, nothing broken, nothing lost. */
/* ---- changes of watched tables ---- */

/* Writer thread; the statement returns only after it. */
static void collect(void *ctx, DbChanges *changes)
{
    Buf *out = ctx;
    Arena a;
    DbRow row;
    bool ok = true;
    arena_init(&a, 0);
    while (dbchanges_next(changes, &a, &row, &ok) && ok)
        buf_printf(out, "%s" TEXT_FMT " %d %lld:%lld>%lld:%lld", out->len ? " " : "",
                   TEXT_ARG(row.table), row.action,
                   (long long)const_int_of(const_get(row.before, "id"), 0),
                   (long long)const_int_of(const_get(row.before, "qty"), 0),
                   (long long)const_int_of(const_get(row.after, "id"), 0),
                   (long long)const_int_of(const_get(row.after, "qty"), 0));
    assert_true(ok);
    if (const_get(row.after, "email")) /* passwords are not told */
        assert_null(const_get(row.after, "password"));
    arena_deinit(&a);
    dbchanges_free(changes);
}

static void test_changes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *site, *clauses, *told;
    } cases[] = {
        {"db.add", "{\"name\":\"parcel\"}", "{\"data\":{\"label\":\"a\",\"qty\":3}}",
         "parcel 1 0:0>1:3"},
        {"db.add", "{\"name\":\"user\"}",
         "{\"data\":{\"email\":\"a@x.io\",\"password\":\"secret\"}}", "user 1 0:0>1:0"},
        {"db.add", "{\"name\":\"thing\"}", "{\"data\":{\"name\":\"unwatched\"}}", ""},
        {"db.add", "{\"name\":\"user\"}", "{\"data\":{\"email\":\"a@x.io\"}}", ""},
        {"db.bulk.add", "{\"name\":\"parcel\"}",
         "{\"items\":[{\"label\":\"b\"},{\"label\":\"c\"}]}", "parcel 1 0:0>2:1 parcel 1 0:0>3:1"},
        {"db.edit", "{\"name\":\"parcel\",\"output\":[\"id\"]}",
         "{\"field_name\":\"label\",\"field_value\":\"b\",\"data\":{\"qty\":7}}",
         "parcel 2 2:1>2:7"},
        {"db.patch", "{\"name\":\"parcel\"}", "{\"field_value\":2,\"data\":{}}", ""},
        {"db.edit", "{\"name\":\"parcel\"}", "{\"field_value\":9,\"data\":{\"qty\":7}}", ""},
        {"db.add_or_edit", "{\"name\":\"parcel\"}",
         "{\"field_name\":\"label\",\"field_value\":\"c\",\"data\":{\"qty\":8}}",
         "parcel 2 3:1>3:8"},
        {"db.add_or_edit", "{\"name\":\"parcel\"}",
         "{\"field_name\":\"label\",\"field_value\":\"d\",\"data\":{\"qty\":9}}",
         "parcel 1 0:0>4:9"},
        {"db.bulk.patch", "{\"name\":\"parcel\"}",
         "{\"items\":[{\"id\":4,\"qty\":1},{\"id\":1,\"qty\":2}]}",
         "parcel 2 4:9>4:1 parcel 2 1:3>1:2"},
        {"db.bulk.patch",
         "{\"name\":\"parcel\",\"where\":[\">\",{\"col\":[\"parcel\",\"qty\"]},{\"k\":6}],"
         "\"data\":[[\"qty\",{\"k\":6}]]}",
         NULL, "parcel 2 2:7>2:6 parcel 2 3:8>3:6"},
        {"db.increment",
         "{\"name\":\"parcel\",\"where\":[\"==\",{\"col\":[\"parcel\",\"qty\"]},{\"k\":6}]}",
         "{\"field_name\":\"qty\"}", "parcel 2 2:6>2:7 parcel 2 3:6>3:7"},
        {"db.del", "{\"name\":\"parcel\"}", "{\"field_value\":4}", "parcel 4 4:1>0:0"},
        {"db.bulk.delete",
         "{\"name\":\"parcel\",\"where\":[\"==\",{\"col\":[\"parcel\",\"qty\"]},{\"k\":7}]}", NULL,
         "parcel 4 2:7>0:0 parcel 4 3:7>0:0"},
        {"db.truncate", "{\"name\":\"parcel\"}", NULL, "parcel 8 0:0>0:0"},
        {"db.direct_query", "null", "{\"sql\":\"DELETE FROM user\"}", ""},
    };
    Fx f;
    Buf told = BUF_INIT;
    fx_open(&f);
    dbpool_watch(f.pool, TEXT("parcel"), DB_INSERT | DB_UPDATE | DB_DELETE | DB_TRUNCATE, collect,
                 &told);
    dbpool_watch(f.pool, TEXT("user"), DB_INSERT, collect, &told);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        told.len = 0;
        run(&f, cases[i].name, cases[i].site, cases[i].clauses, NULL);
        buf_char(&told, 0);
        if (strcmp(told.ptr, cases[i].told) != 0)
            fail_msg("%s %s: told '%s', expected '%s' (%s)", cases[i].name,
                     cases[i].clauses ? cases[i].clauses : cases[i].site, told.ptr, cases[i].told,
                     f.out);
    }
    buf_deinit(&told);
    fx_close(&f);
}

/* Inside a transaction the steps run on this thread, where allocations can be made to fail: what
 * was told stays with what was written. */
static void test_changes_without_memory(void **state)
{
    (void)state;
    static const struct {
        const char *name, *site, *clauses;
    } cases[] = {
        {"db.add", "{\"name\":\"parcel\"}", "{\"data\":{\"label\":\"x\",\"meta\":{\"k\":[1]}}}"},
        {"db.bulk.patch", "{\"name\":\"parcel\"}",
         "{\"items\":[{\"id\":1,\"qty\":2},{\"id\":2,\"qty\":2}]}"},
        {"db.del", "{\"name\":\"parcel\"}", "{\"field_value\":2}"},
    };
    Fx f;
    Buf told = BUF_INIT;
    fx_open(&f);
    dbpool_watch(f.pool, TEXT("parcel"), DB_INSERT | DB_UPDATE | DB_DELETE, collect, &told);
    Program *p =
        make_program(&f, "db.transaction.begin", "null", "[{\"name\":\"x\",\"type\":\"json\"}]");
    RunContext rc = {0};
    Fiber *a = fiber_new(p, &f.services, &rc, NULL);
    add_parcels(&f);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned ok = 0;
        for (uint64_t n = 1; n < 400 && ok < 3; n++) {
            heap_free(f.heap);
            f.heap = heap_new(0);
            assert_string_equal(run_as(&f, a, "db.transaction.begin", "null", NULL, NULL), "null");
            f.fail_after = n;
            const char *out = run_as(&f, a, cases[i].name, cases[i].site, cases[i].clauses, NULL);
            f.fail_after = 0;
            ok = strncmp(out, "error:", 6) != 0 ? ok + 1 : 0;
            told.len = 0;
            (void)run_as(&f, a, "db.transaction.rollback", "null", NULL, NULL);
            assert_int_equal(told.len, 0);
        }
        if (ok != 3)
            fail_msg("%s: %s", cases[i].name, f.err.message);
    }
    assert_string_equal(run_as(&f, a, "db.transaction.begin", "null", NULL, NULL), "null");
    run_as(&f, a, "db.del", "{\"name\":\"parcel\"}", "{\"field_value\":1}", NULL);
    assert_int_equal(told.len, 0); /* not before the commit */
    assert_string_equal(run_as(&f, a, "db.transaction.commit", "null", NULL, NULL), "null");
    assert_true(told.len > 0);
    fiber_free(a);
    program_unref(p);
    buf_deinit(&told);
    fx_close(&f);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static const struct {
        const char *name, *site, *clauses, *params;
    } cases[] = {
        {"db.add", "{\"name\":\"parcel\",\"output\":[\"id\",\"meta.k\"]}",
         "{\"data\":{\"label\":\"x\",\"meta\":{\"k\":[1]},\"tags\":[\"a\"]}}", NULL},
        {"db.query",
         "{\"name\":\"parcel\",\"where\":[\"and\",[\"in\",{\"col\":[\"parcel\",\"label\"]},@0],[\"="
         "=\",{\"col\":["
         "\"parcel\",\"meta\",\"size\"]},@1]],\"eval\":[[\"n\",{\"f\":\"to_lower\",\"args\":[{"
         "\"col\":[\"parcel\","
         "\"label\"]}]}]],\"return\":{\"type\":\"list\",\"paging\":{\"totals\":{\"k\":true}}}}",
         NULL, "[[\"PX-1\",\"px-2\"],3]"},
        {"db.add", "{\"name\":\"user\"}", "{\"data\":{\"email\":\"a@x.io\"}}", NULL},
        {"db.bulk.patch", "{\"name\":\"parcel\"}",
         "{\"items\":[{\"id\":1,\"qty\":2},{\"id\":2,\"qty\":2}]}", NULL},
    };
    Fx f;
    fx_open(&f);
    add_parcels(&f);
    run(&f, "db.add", "{\"name\":\"user\"}", "{\"data\":{\"email\":\"a@x.io\"}}", NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned ok = 0;
        for (uint64_t n = 1; n < 400 && ok < 3; n++) {
            heap_free(f.heap); /* a heap remembers that it failed */
            f.heap = heap_new(0);
            f.fail_after = n;
            const char *out =
                run(&f, cases[i].name, cases[i].site, cases[i].clauses, cases[i].params);
            if (strncmp(out, "error:", 6) != 0 || strcmp(out, "error:duplicate") == 0)
                ok++;
            else
                ok = 0;
        }
        f.fail_after = 0;
        if (ok != 3)
            fail_msg("%s: %s", cases[i].site, f.err.message);
    }
    assert_string_equal(run(&f, "db.has", "{\"name\":\"parcel\"}", "{\"field_value\":1}", NULL),
                        "true");
    fx_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_get),         cmocka_unit_test(test_password),
        cmocka_unit_test(test_where),           cmocka_unit_test(test_query),
        cmocka_unit_test(test_direct),          cmocka_unit_test(test_migration),
        cmocka_unit_test(test_migration_index), cmocka_unit_test(test_group_commit),
        cmocka_unit_test(test_hostile),         cmocka_unit_test(test_memory),
        cmocka_unit_test(test_transaction),     cmocka_unit_test(test_realtime_event),
        cmocka_unit_test(test_parking),         cmocka_unit_test(test_parked_transaction),
        cmocka_unit_test(test_addon),           cmocka_unit_test(test_foreign_lock),
        cmocka_unit_test(test_changes),         cmocka_unit_test(test_changes_without_memory),
        cmocka_unit_test(test_runaway),         cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
