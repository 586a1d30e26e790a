/* testrun.c - threads take tests from one list. A thread keeps one database; before a test the
 * content it began with is put back, so a test pays a copy of a small file and no set-up. */
#include "host/testrun_i.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/detached.h"
#include "host/hub/pattern.h"
#include "stdlib/filters/codec.h"
#include "vm/convert.h"
#include "vm/heap.h"

enum {
    LOG_MAX = 64 << 10,       /* bytes of debug.log kept per test */
    EVENTS_MAX = 100000,      /* per test */
    STEPS_DEFAULT = 400000000 /* ends an endless loop after seconds */
};

/* ---- services ---- */

static int64_t test_now(void *ctx)
{
    return ((const TestWorker *)ctx)->now_ms;
}

/* splitmix64: reproducible, and nothing here has to be secret. */
static bool test_random(void *ctx, void *out, size_t n)
{
    TestWorker *w = (TestWorker *)ctx;
    unsigned char *at = (unsigned char *)out;
    for (size_t done = 0; done < n; done += sizeof(uint64_t)) {
        uint64_t z = w->random += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        memcpy(at + done, &z, n - done < sizeof z ? n - done : sizeof z);
    }
    return true;
}

static void test_log(void *ctx, Fiber *fiber, Text json)
{
    (void)fiber;
    TestWorker *w = (TestWorker *)ctx;
    if (w->log.len + json.len < LOG_MAX) {
        buf_text(&w->log, json);
        buf_char(&w->log, '\n');
    }
}

static bool test_publish(void *ctx, const PublishReq *req, xs_error *err)
{
    TestWorker *w = (TestWorker *)ctx;
    const Config *c = w->run->opt->config;
    if (!channel_pattern_valid(req->channel))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "invalid channel name");
    if (req->data_json.len > (size_t)c->rt_max_event || w->events.len >= EVENTS_MAX)
        return xs_fail(err, XS_E_TOO_LARGE, XS_NO_POS, "event of %zu bytes is larger than %lld",
                       req->data_json.len, (long long)c->rt_max_event);
    if (req->auth_table.len && !auth_table_id(w->run->auth, req->auth_table))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: auth_table");
    Arena *a = &w->arena;
    PublishReq copy = {.channel = arena_text(a, req->channel),
                       .data_json = arena_text(a, req->data_json),
                       .auth_table = arena_text(a, req->auth_table),
                       .auth_id_json = arena_text(a, req->auth_id_json)};
    if (req->event.ptr)
        copy.event = arena_text(a, req->event);
    bool ok = copy.channel.ptr && copy.data_json.ptr && copy.auth_table.ptr &&
              copy.auth_id_json.ptr && (!req->event.ptr || copy.event.ptr) &&
              VEC_PUSH(&w->events, copy);
    return ok || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

static bool test_token(void *ctx, Text table, Value id, Value extras, int64_t ttl_s, Buf *out,
                       xs_error *err)
{
    TestWorker *w = (TestWorker *)ctx;
    Buf i = BUF_INIT, x = BUF_INIT;
    bool ok = val_write_json(id, &i) && val_write_json(extras, &x)
                  ? auth_make_token(w->run->auth, table, buf_view(&i), buf_view(&x), w->now_ms,
                                    ttl_s, out, err)
                  : xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    buf_deinit(&i);
    buf_deinit(&x);
    return ok;
}

static bool test_running(void *ctx, Text name, int64_t of)
{
    const TestWorker *w = (const TestWorker *)ctx;
    return text_eq(w->running, name) && (of < 0 || of == w->target);
}

static bool test_event(void *ctx, size_t i, PublishReq *out)
{
    const TestWorker *w = (const TestWorker *)ctx;
    if (i >= w->events.len)
        return false;
    *out = w->events.ptr[i];
    return true;
}

static void test_set_time(void *ctx, int64_t ms)
{
    ((TestWorker *)ctx)->now_ms = ms;
}

static const TestServices test_services = {test_running, test_event, test_set_time, test_settle,
                                           test_call};

/* ---- coverage ---- */

void test_on_step(void *ctx, uint32_t proc, uint32_t pc, uint32_t depth)
{
    (void)depth;
    TestWorker *w = (TestWorker *)ctx;
    uint32_t entry;
    if (w->hits[proc] && program_place(w->run->program, proc, pc, &entry))
        w->hits[proc][entry] = 1;
}

static bool counts(const ProcImage *p)
{
    return p->kind != PROC_TEST && p->nlines;
}

static uint8_t **hits_new(const Program *p)
{
    uint32_t n = program_proc_count(p);
    uint8_t **hits = mem_zalloc(n ? n : 1, sizeof *hits);
    for (uint32_t i = 0; hits && i < n; i++)
        if (counts(program_proc(p, i)))
            hits[i] = mem_zalloc(program_proc(p, i)->nlines, 1);
    return hits;
}

static void hits_free(const Program *p, uint8_t **hits)
{
    for (uint32_t i = 0; hits && i < program_proc_count(p); i++)
        mem_free(hits[i]);
    mem_free(hits);
}

static void hits_merge(const Program *p, uint8_t **into, uint8_t **from)
{
    for (uint32_t i = 0; i < program_proc_count(p); i++)
        for (uint32_t k = 0; into[i] && from[i] && k < program_proc(p, i)->nlines; k++)
            into[i][k] |= from[i][k];
}

/* The head of a construct stands for its beginning and its end: reached when anything in it is. */
void testrun_coverage(const TestRun *r, void (*fn)(void *ctx, xs_pos place, bool hit), void *ctx)
{
    for (uint32_t i = 0; r->hits && i < program_proc_count(r->program); i++) {
        const ProcImage *p = program_proc(r->program, i);
        uint32_t head = UINT32_MAX;
        bool any = false;
        for (uint32_t k = 0; r->hits[i] && k < p->nlines; k++) {
            head = p->lines[k].line < head ? p->lines[k].line : head;
            any = any || r->hits[i][k];
        }
        for (uint32_t k = 0; r->hits[i] && k < p->nlines; k++) {
            const LineImage *l = &p->lines[k];
            fn(ctx, (xs_pos){.file = p->file.ptr, .line = l->line, .col = l->col},
               r->hits[i][k] || (l->line == head && any));
        }
    }
}

/* ---- databases ---- */

static void quiet_migration(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
}

/* File of a data source; "live" is that of --db. ptr NULL = not named. */
static Text source_file(const Config *c, Text source)
{
    Text name, path;
    size_t at = 0;
    while (sources_next(c, &at, &name, &path) > 0)
        if (text_eq(name, source))
            return path;
    bool live = text_eq(source, TEXT("live")) && c->source[OPTION_db] != FROM_DEFAULT;
    return live && c->db.len ? c->db : (Text){0};
}

/* A copy of a data source with the tables of the program; its file stays as it is. */
static const TestImage *make_copy(TestRun *r, Text source, xs_error *err)
{
    Text file = source_file(r->opt->config, source);
    char path[SOURCE_PATH_MAX];
    if (!file.ptr || file.len >= sizeof path) {
        xs_fail(err, XS_E_BADREQUEST, XS_NO_POS,
                "data source '" TEXT_FMT "': name its file with %s", TEXT_ARG(source),
                text_eq(source, TEXT("live")) ? "--db FILE" : "--datasources NAME=FILE");
        return NULL;
    }
    memcpy(path, file.ptr, file.len);
    path[file.len] = '\0';
    DbOptions opt = {.synchronous_off = true, .log = quiet_migration, .copy_of = path};
    TestImage *image = mem_zalloc(1, sizeof *image);
    DbPool *p =
        image ? dbpool_open(":memory:", const_get(program_meta(r->program), "tables"), &opt, err)
              : NULL;
    if (!image)
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    bool ok = p && dbpool_snapshot(p, &image->bytes, &image->len, err);
    dbpool_close(p);
    if (!ok) {
        mem_free(image);
        return NULL;
    }
    image->source = source;
    image->next = r->copies;
    return r->copies = image;
}

/* NULL: err set. */
static const TestImage *image_of(TestRun *r, Text source, xs_error *err)
{
    if (!source.len || text_eq(source, TEXT("test")))
        return &r->fresh;
    pthread_mutex_lock(&r->copies_lock);
    const TestImage *image = r->copies;
    while (image && !text_eq(image->source, source))
        image = image->next;
    if (!image)
        image = make_copy(r, source, err);
    pthread_mutex_unlock(&r->copies_lock);
    return image;
}

/* A test that wrote nothing leaves nothing to put back. */
static bool set_database(TestWorker *w, Text source, xs_error *err)
{
    DbStats stats;
    TableCall left;
    if (!w->pool)
        return true;
    while (tabletriggers_next(w->triggers, &left))
        continue; /* of a test that ended early */
    const TestImage *image = image_of(w->run, source, err);
    if (!image)
        return false;
    dbpool_stats(w->pool, &stats);
    if (image == w->holds && stats.writes == w->clean.writes && stats.commits == w->clean.commits)
        return true;
    w->clean = stats;
    w->holds = image;
    return dbpool_restore(w->pool, image->bytes, image->len, err);
}

/* ---- one test ---- */

Fiber *test_fiber(TestWorker *w, const RunContext *context)
{
    const Config *c = w->run->opt->config;
    Limits limits = {.steps = c->steps ? (uint64_t)c->steps : STEPS_DEFAULT,
                     .heap_bytes = (size_t)c->heap_bytes,
                     .depth = (uint32_t)c->call_depth};
    Fiber *f = fiber_new(w->run->program, &w->services, context, &limits);
    if (f && w->hits)
        fiber_set_trace(f, test_on_step, w);
    return f;
}

static void keep_json(TestWorker *w, Value v, Text *out)
{
    Buf b = BUF_INIT;
    if (v.kind != V_UNSET && val_write_json(v, &b)) {
        pthread_mutex_lock(&w->run->lock);
        *out = arena_text(&w->run->arena, buf_view(&b));
        pthread_mutex_unlock(&w->run->lock);
    }
    buf_deinit(&b);
}

static void keep_text(TestWorker *w, Text t, Text *out)
{
    pthread_mutex_lock(&w->run->lock);
    *out = arena_text(&w->run->arena, t);
    pthread_mutex_unlock(&w->run->lock);
}

static void set_problem(TestWorker *w, TestResult *r, const xs_error *err, Text message)
{
    r->status = TEST_EXCEPTION;
    r->pos = err->pos;
    keep_text(w, message, &r->message);
}

/* The fiber ended in an error nobody wanted. */
static void take_failure(TestWorker *w, Fiber *f, TestResult *r)
{
    Value payload = val_unset();
    const xs_error *err = fiber_error(f, NULL, &payload);
    set_problem(w, r, err,
                err->code ? fiber_error_message(f)
                          : TEXT("the test waits for something only a server has"));
    if (err->code != XS_E_EXPECT)
        return;
    r->status = TEST_FAIL;
    if (payload.kind != V_MAP)
        return;
    Value message = map_get_cstr(payload, "message");
    const Value *expected = map_find(payload.map, TEXT("expected")),
                *actual = map_find(payload.map, TEXT("actual"));
    if (message.kind == V_TEXT)
        keep_text(w, val_text_view(message), &r->message);
    Value expect = map_get_cstr(payload, "expect");
    if (expect.kind == V_TEXT)
        keep_text(w, val_text_view(expect), &r->expect);
    if (expected)
        keep_json(w, *expected, &r->expected);
    if (actual)
        keep_json(w, *actual, &r->actual);
}

/* Call a procedure; input is consumed. A debug.stop is a result like another. */
static bool call(Fiber *f, uint32_t proc, Value input, Value *out)
{
    xs_error err = {0};
    if (!fiber_call(f, proc, input, &err))
        return false;
    FiberState state = fiber_run(f);
    Value payload = val_unset();
    *out = val_unset();
    if (state == FIBER_DONE)
        *out = val_ref(fiber_result(f));
    else if (state == FIBER_ERROR && fiber_error(f, NULL, &payload)->code == XS_E_STOPPED)
        *out = val_ref(val_is_null(payload) ? val_null() : payload);
    return out->kind != V_UNSET;
}

/* {"response": null, "error": what $error would be}. V_UNSET: memory. */
static Value outcome_of_error(Fiber *f)
{
    Heap *h = fiber_heap(f);
    Text name;
    Value payload = val_unset();
    const xs_error *err = fiber_error(f, &name, &payload);
    Text message = fiber_error_message(f);
    Value result = payload.kind != V_UNSET    ? val_ref(payload)
                   : err->code == XS_E_THROWN ? text_new(h, message)
                                              : val_null();
    Value e = map_new(h, 4), out = map_new(h, 2);
    bool ok = e.kind == V_MAP && map_set_text(h, &e, TEXT("code"), text_new(h, name)) &&
              map_set_text(h, &e, TEXT("name"), text_new(h, name)) &&
              map_set_text(h, &e, TEXT("message"), text_new(h, message)) &&
              map_set_text(h, &e, TEXT("result"), result);
    if (!e.obj || !ok) {
        val_unref(h, e);
        e = val_unset();
    }
    if (out.kind == V_MAP && map_set_text(h, &out, TEXT("error"), e))
        return out;
    val_unref(h, out);
    return val_unset();
}

static Value outcome_of_value(Fiber *f, Value response)
{
    Heap *h = fiber_heap(f);
    Value out = map_new(h, 1);
    if (out.kind != V_MAP) {
        val_unref(h, response);
        return out;
    }
    if (map_set_text(h, &out, TEXT("response"), response))
        return out;
    val_unref(h, out);
    return val_unset();
}

/* Error codes that only mean this test must end. */
static bool is_verdict(Fiber *f)
{
    xs_code code = fiber_error(f, NULL, NULL)->code;
    return code == XS_E_EXPECT || code == XS_E_NOMEM;
}

static bool run_unit(TestWorker *w, Fiber *f, const Const *row)
{
    int64_t input_proc = const_int_of(const_get(row, "input"), -1);
    Value input = val_null(), response;
    if (input_proc >= 0 && !call(f, (uint32_t)input_proc, val_null(), &input))
        return false;
    w->context.raw_input = val_to_const(&w->arena, input);
    Value outcome;
    bool ok = call(f, (uint32_t)w->target, input, &response);
    test_settle(w);
    if (ok)
        outcome = outcome_of_value(f, response);
    else if (is_verdict(f) || !const_bool_of(const_get(row, "throws"), false))
        return false;
    else
        outcome = outcome_of_error(f);
    Value ignored = val_unset();
    return outcome.kind != V_UNSET &&
           call(f, (uint32_t)const_int_of(const_get(row, "proc"), 0), outcome, &ignored);
}

static bool run_procs(TestWorker *w, Fiber *f)
{
    const Const *row = w->test->row;
    Value ignored = val_unset();
    return w->target >= 0
               ? run_unit(w, f, row)
               : call(f, (uint32_t)const_int_of(const_get(row, "proc"), 0), val_null(), &ignored);
}

static uint64_t seed_of(const TestRun *r, const TestCase *t)
{
    uint64_t h = text_hash(t->name) * 31 + text_hash(t->obj_name) * 17 + text_hash(t->obj_type);
    return r->opt->seed ^ h;
}

/* Clock, random numbers, events, log and database as every test finds them. */
static bool begin_test(TestWorker *w, const TestCase *t, xs_error *err)
{
    TestRun *r = w->run;
    w->test = t;
    w->running = t->name;
    w->target = const_int_of(const_get(t->row, "target"), -1);
    w->now_ms = r->opt->now_ms;
    w->random = seed_of(r, t);
    w->events.len = 0;
    w->log.len = 0;
    w->depth = 0;
    arena_deinit(&w->arena);
    arena_init(&w->arena, 0);
    const Config *c = r->opt->config;
    w->context = (RunContext){.tenant = c->tenant,
                              .branch = c->branch,
                              .base_url = c->base_url,
                              .datasource = TEXT("test")};
    if (w->target >= 0) {
        Const *auth = const_map(&w->arena, 1);
        if (!auth || !const_set_int(&w->arena, auth, "id", 0))
            return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
        w->context.auth = auth;
    }
    const Const *clock = const_get(t->row, "clock");
    if (clock) {
        Value v = clock->kind == C_INT ? val_int(clock->i) : val_null();
        Heap *h = heap_new(0);
        if (h && clock->kind == C_TEXT)
            v = text_new(h, clock->text);
        bool ok = timestamp_from(v, &zone_utc, &w->services, &w->now_ms, err);
        if (h)
            heap_free(h);
        if (!ok)
            return false;
    }
    return outside_forget(w->service.outside, err) &&
           set_database(w, const_get_text(t->row, "datasource"), err);
}

static double seconds(void)
{
    return (double)clock_mono_us() / 1e6;
}

static void run_test(TestWorker *w, const TestCase *t, TestResult *r)
{
    double start = seconds();
    xs_error err = {0};
    Fiber *f = NULL;
    r->status = TEST_OK;
    if (!begin_test(w, t, &err) || !(f = test_fiber(w, &w->context))) {
        if (!err.code)
            xs_fail(&err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
        set_problem(w, r, &err, text_from(err.message));
    } else if (!run_procs(w, f)) {
        take_failure(w, f, r);
    }
    fiber_free(f); /* rolls back what the test left open */
    if (r->status != TEST_OK && w->log.len)
        keep_text(w, buf_view(&w->log), &r->log);
    if (r->status != TEST_OK && !r->message.ptr)
        r->message = TEXT("Out of memory.");
    if (!r->pos.line)
        r->pos = (xs_pos){.file = t->file.ptr, .line = t->line, .col = t->col};
    r->ms = (seconds() - start) * 1000;
}

/* ---- threads ---- */

/* The first thread's database is the one every test begins with. */
static bool open_database(TestWorker *w, xs_error *err)
{
    TestRun *r = w->run;
    const Const *tables = const_get(program_meta(r->program), "tables");
    if (!service_needs_db(r->program))
        return true;
    DbOptions opt = {.synchronous_off = true, .log = quiet_migration};
    w->pool = dbpool_open(":memory:", tables, &opt, err);
    bool ok = w->pool && tabletriggers_new(r->program, w->pool, &r->quiet, &w->triggers, err);
    w->db = ok ? db_open(w->pool, NULL, NULL, err) : NULL;
    if (w->pool)
        dbpool_stats(w->pool, &w->clean);
    w->holds = &r->fresh;
    return w->db &&
           (r->fresh.bytes || dbpool_snapshot(w->pool, &r->fresh.bytes, &r->fresh.len, err));
}

static bool worker_init(TestWorker *w, TestRun *r, xs_error *err)
{
    w->run = r;
    w->service.log = &r->quiet;
    w->service.auth = r->auth;
    w->service.env = r->env;
    w->service.compile_expr = r->opt->compile_expr;
    w->base = (ServiceCtx){&w->service, NULL, NULL};
    arena_init(&w->arena, 0);
    if (!service_open_outside(&w->service, &r->config, true, err))
        return false;
    if (r->hits && !(w->hits = hits_new(r->program)))
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    if (!open_database(w, err))
        return false;
    PoolOptions calls = {.program = r->program,
                         .config = r->opt->config,
                         .log = &r->quiet,
                         .metrics = &r->metrics,
                         .env = &w->service};
    w->calls = pool_new_in_place(&calls, w->db, err);
    if (!w->calls)
        return false;
    service_fill(&w->services, &w->base, w->db);
    w->services.now_ms = test_now;
    w->services.random = test_random;
    w->services.log = test_log;
    w->services.publish = test_publish;
    w->services.make_token = test_token;
    w->services.test = &test_services;
    return true;
}

static void worker_deinit(TestWorker *w)
{
    if (w->hits)
        hits_merge(w->run->program, w->run->hits, w->hits);
    hits_free(w->run->program, w->hits);
    pool_free(w->calls);
    db_close(w->db);
    dbpool_close(w->pool);
    tabletriggers_free(w->triggers);
    outside_free(w->service.outside);
    detached_free(w->service.detached);
    arena_deinit(&w->arena);
    VEC_DEINIT(&w->events);
    buf_deinit(&w->log);
}

static bool take_next(TestRun *r, size_t *i)
{
    pthread_mutex_lock(&r->lock);
    bool ok = !r->stop && r->next < r->count;
    *i = r->next;
    r->next += ok;
    pthread_mutex_unlock(&r->lock);
    return ok;
}

static void put_result(TestRun *r, size_t i, const TestResult *result)
{
    pthread_mutex_lock(&r->lock);
    r->results[i] = *result;
    r->stop = r->stop || (r->opt->bail && result->status != TEST_OK);
    if (r->opt->on_result)
        r->opt->on_result(r->opt->ctx, &r->cases[i], &r->results[i]);
    pthread_mutex_unlock(&r->lock);
}

static void *worker_main(void *arg)
{
    TestWorker *w = (TestWorker *)arg;
    size_t i;
    while (take_next(w->run, &i)) {
        TestResult result = {0};
        run_test(w, &w->run->cases[i], &result);
        put_result(w->run, i, &result);
    }
    return NULL;
}

bool testrun_run(TestRun *r, xs_error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = r->opt->jobs ? r->opt->jobs : (size_t)(cores > 0 ? cores : 1);
    n = n < r->count ? n : r->count;
    TestWorker *workers = mem_zalloc(n ? n : 1, sizeof *workers);
    bool ok = workers || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    size_t made = 0;
    while (ok && made < n)
        ok = worker_init(&workers[made++], r, err);
    for (size_t i = 1; ok && i < n; i++)
        workers[i].started =
            pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0;
    if (ok && n)
        worker_main(&workers[0]);
    for (size_t i = 0; i < made; i++) {
        if (workers[i].started)
            pthread_join(workers[i].thread, NULL);
        worker_deinit(&workers[i]);
    }
    mem_free(workers);
    return ok;
}

/* ---- life ---- */

static bool read_case(TestRun *r, const Const *row, TestCase *out, xs_error *err)
{
    static const char *const procs[] = {"proc", "input", "target"};
    for (size_t i = 0; i < COUNT_OF(procs); i++) {
        int64_t n = const_int_of(const_get(row, procs[i]), i ? 0 : -1);
        if (n < 0 || n >= program_proc_count(r->program))
            return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "a test is incomplete");
    }
    *out = (TestCase){.name = const_get_text(row, "name"),
                      .obj_type = const_get_text(row, "obj_type"),
                      .obj_name = const_get_text(row, "obj_name"),
                      .file = arena_text(&r->arena, const_get_text(row, "file")),
                      .line = (uint32_t)const_int_of(const_get(row, "line"), 0),
                      .col = (uint32_t)const_int_of(const_get(row, "col"), 0),
                      .tags = const_get(row, "tags"),
                      .row = row};
    return out->file.ptr || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

static int by_place(const void *va, const void *vb)
{
    const TestCase *a = (const TestCase *)va, *b = (const TestCase *)vb;
    int order = text_cmp(a->file, b->file);
    if (order)
        return order;
    return a->line != b->line ? (a->line < b->line ? -1 : 1)
                              : (a->col > b->col) - (a->col < b->col);
}

static bool read_cases(TestRun *r, xs_error *err)
{
    const Const *rows = const_get(program_meta(r->program), "tests");
    uint32_t n = rows && rows->kind == C_LIST ? rows->count : 0;
    r->cases = mem_zalloc(n ? n : 1, sizeof *r->cases);
    r->results = mem_zalloc(n ? n : 1, sizeof *r->results);
    if (!r->cases || !r->results)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    for (uint32_t i = 0; i < n; i++) {
        if (!read_case(r, rows->items[i], &r->cases[r->count], err))
            return false;
        r->count += !r->opt->wanted || r->opt->wanted(r->opt->ctx, &r->cases[r->count]);
    }
    qsort(r->cases, r->count, sizeof *r->cases, by_place);
    return true;
}

TestRun *testrun_new(Program *program, const TestRunOptions *opt, xs_error *err)
{
    TestRun *r = mem_zalloc(1, sizeof *r);
    if (!r) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
        return NULL;
    }
    r->program = program_ref(program);
    r->opt = opt;
    arena_init(&r->arena, 0);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->copies_lock, NULL);
    const Config *c = opt->config;
    r->config = *c;
    r->config.db = TEXT(":memory:"); /* the token key goes with the database */
    r->config.redis_url = TEXT("");  /* tests leave no traces in a server */
    r->env = env_new(c->env_file.ptr, c->source[OPTION_env_file] != FROM_DEFAULT, opt->env, err);
    r->auth = r->env ? auth_new(&r->config, const_get(program_meta(program), "tables"), err) : NULL;
    r->router = r->auth ? router_new(program, c->branch, err) : NULL;
    bool ok = r->router && read_cases(r, err);
    if (ok && opt->coverage && !(r->hits = hits_new(program)))
        ok = xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    r->quiet.level = LEVEL_ERROR;
    if (ok)
        return r;
    testrun_free(r);
    return NULL;
}

void testrun_free(TestRun *r)
{
    if (!r)
        return;
    hits_free(r->program, r->hits);
    router_free(r->router);
    auth_free(r->auth);
    env_free(r->env);
    mem_free(r->fresh.bytes);
    for (TestImage *i = r->copies, *next; i; i = next) {
        next = i->next;
        mem_free(i->bytes);
        mem_free(i);
    }
    mem_free(r->cases);
    mem_free(r->results);
    arena_deinit(&r->arena);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->copies_lock);
    program_unref(r->program);
    mem_free(r);
}

size_t testrun_count(const TestRun *r)
{
    return r->count;
}

const TestCase *testrun_case(const TestRun *r, size_t i)
{
    return &r->cases[i];
}

const TestResult *testrun_result(const TestRun *r, size_t i)
{
    return &r->results[i];
}
