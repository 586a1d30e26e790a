/* run.c - the services of the host without its loop: used by xs run and tests. */
#include "host/run.h"
#include "host/http.h"

#include "core/clock.h"
#include "core/json.h"
#include "core/text.h"
#include "host/boot.h"
#include "host/detached.h"
#include "host/tabletrigger.h"
#include "stdlib/db/db.h"
#include "vm/convert.h"
#include "vm/heap.h"

typedef struct Run {
    Program *program;
    const RunOptions *opt;
    Log log;
    EnvVars *env;
    Auth *auth;
    DbPool *pool;
    Db *db;
    TableTriggers *triggers;
    ServiceEnv service;
    ServiceCtx ctx;
    Services services;
    RunContext context;
    Arena arena;
} Run;

static void log_migration(void *ctx, const char *line)
{
    log_line((const Log *)ctx, LEVEL_DEBUG, "database: %s", line);
}

static void log_alarm(void *ctx, const char *line)
{
    log_line((const Log *)ctx, LEVEL_ERROR, "%s", line);
}

static bool open_run(Run *r, xs_error *err)
{
    const Config *c = r->opt->config;
    const Const *tables = const_get(program_meta(r->program), "tables");
    bool file = c->source[OPTION_db] != FROM_DEFAULT && c->db.len;
    Config memory = *c; /* the token key goes with the database: none for a passing one */
    if (!file)
        memory.db = TEXT(":memory:");
    r->env = env_new(c->env_file.ptr, c->source[OPTION_env_file] != FROM_DEFAULT, r->opt->env, err);
    r->auth = r->env ? auth_new(&memory, tables, err) : NULL;
    if (!r->auth)
        return false;
    if (service_needs_db(r->program)) {
        DbOptions opt = {.allow_destructive = c->allow_destructive,
                         .synchronous_off = !file,
                         .log = log_migration,
                         .alarm = log_alarm,
                         .log_ctx = &r->log};
        r->pool = dbpool_open(file ? c->db.ptr : ":memory:", tables, &opt, err);
        if (!r->pool || !sources_open(c, r->pool, tables, &opt, err) ||
            !tabletriggers_new(r->program, r->pool, &r->log, &r->triggers, err) ||
            !(r->db = db_open(r->pool, NULL, NULL, err)))
            return false;
    }
    r->service.log = &r->log;
    r->service.auth = r->auth;
    r->service.env = r->env;
    r->service.compile_expr = r->opt->compile_expr;
    if (!service_open_outside(&r->service, c, true, err))
        return false;
    r->ctx = (ServiceCtx){&r->service, NULL, NULL};
    service_fill(&r->services, &r->ctx, r->db);
    r->context = (RunContext){
        .auth = r->opt->auth, .tenant = c->tenant, .branch = c->branch, .base_url = c->base_url};
    return true;
}

static void close_run(Run *r)
{
    if (r->db)
        db_close(r->db);
    if (r->pool)
        dbpool_close(r->pool);
    tabletriggers_free(r->triggers);
    outside_free(r->service.outside);
    detached_free(r->service.detached);
    auth_free(r->auth);
    env_free(r->env);
    arena_deinit(&r->arena);
}

static bool take_error(Fiber *f, Buf *err_json, Buf *out_json, xs_error *err)
{
    Text name;
    Value payload = val_unset();
    const xs_error *problem = fiber_error(f, &name, &payload);
    if (problem->code == XS_E_STOPPED)
        return val_write_json(payload, out_json) ||
               xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    fiber_write_error(f, err_json);
    if (err)
        *err = *problem;
    return false;
}

/* A stream in it may still fail. */
static bool write_result(Value v, Buf *out_json, Buf *err_json, xs_error *err)
{
    xs_error why;
    if (val_write_json_why(v, NULL, out_json, &why))
        return true;
    out_json->len = 0;
    http_write_error(err_json, xs_code_get(why.code)->wire, why.message);
    if (err)
        *err = why;
    return false;
}

static Fiber *run_fiber(Run *r, bool timed)
{
    const Config *c = r->opt->config;
    Limits limits = {.steps = (uint64_t)c->steps,
                     .heap_bytes = (size_t)c->heap_bytes,
                     .depth = (uint32_t)c->call_depth,
                     .deadline_ms = timed ? clock_wall_ms() + c->request_timeout_ms : 0};
    Fiber *f = fiber_new(r->program, &r->services, &r->context, &limits);
    if (f && r->opt->trace)
        fiber_set_trace(f, r->opt->trace, r->opt->trace_ctx);
    return f;
}

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

/* Call a procedure; input is consumed, *out borrowed until the next call. False: err set or the
 * fiber has ended in an error. */
static bool step(Fiber *f, int64_t proc, Value input, Value *out, FiberState *state, xs_error *err)
{
    *state = FIBER_READY;
    if (input.kind == V_UNSET)
        return heap_fail(fiber_heap(f), err);
    if (!fiber_call(f, proc < 0 ? UINT32_MAX : (uint32_t)proc, input, err))
        return false;
    *state = fiber_run(f);
    if (*state == FIBER_PARKED)
        return xs_fail(err, XS_E_UNSUPPORTED, XS_NO_POS,
                       "the function waits for something only a server has");
    *out = *state == FIBER_DONE ? fiber_result(f) : val_unset();
    return *state == FIBER_DONE;
}

static bool call(Run *r, uint32_t proc, const Const *input, Buf *out_json, Buf *err_json,
                 xs_error *err)
{
    Fiber *f = run_fiber(r, true);
    if (!f)
        return no_memory(err);
    FiberState state;
    Value out;
    bool ok =
        step(f, proc, input ? val_from_const(fiber_heap(f), input) : val_null(), &out, &state, err);
    if (ok)
        ok = write_result(out, out_json, err_json, err);
    else if (state == FIBER_ERROR)
        ok = take_error(f, err_json, out_json, err);
    fiber_free(f);
    return ok;
}

/* What the function's writes have fired, and what that fires; the result does not depend on it. */
static void run_triggers(Run *r)
{
    enum { CALLS_MAX = 1000000 };
    TableCall t;
    for (int i = 0; i < CALLS_MAX && tabletriggers_next(r->triggers, &t); i++) {
        Buf out = BUF_INIT, problem = BUF_INIT;
        xs_error err = {.code = XS_E_NOMEM, .message = "Out of memory."};
        r->context.datasource = t.source;
        r->context.chain = t.chain;
        r->context.auth = NULL;
        if (!t.input || !call(r, t.proc, t.input, &out, &problem, &err))
            tabletriggers_failed(r->triggers, t.name, &err, text_from(err.message));
        buf_deinit(&out);
        buf_deinit(&problem);
    }
}

static void init_run(Run *r, Program *program, const RunOptions *opt)
{
    *r = (Run){.program = program, .opt = opt};
    arena_init(&r->arena, 0);
    log_parse_level(opt->config->log_level, &r->log.level);
    r->log.json = text_eq(opt->config->log_format, TEXT("json"));
}

static bool run_proc(Program *program, const RunOptions *opt, ProcKind kind, Text name,
                     const Const *input, Buf *out_json, Buf *err_json, xs_error *err)
{
    uint32_t proc = program_find(program, kind, name);
    if (proc == UINT32_MAX)
        return xs_fail(err, XS_E_NOTFOUND, XS_NO_POS, "the program has no %s '" TEXT_FMT "'",
                       kind == PROC_TASK ? "task" : "function", TEXT_ARG(name));
    Run r;
    init_run(&r, program, opt);
    bool ok = open_run(&r, err);
    r.context.raw_input = input;
    ok = ok && call(&r, proc, input, out_json, err_json, err);
    run_triggers(&r);
    close_run(&r);
    return ok;
}

bool run_task(Program *program, const RunOptions *opt, Text name, Buf *err_json, xs_error *err)
{
    Config config = *opt->config;
    RunOptions own = *opt;
    Buf nothing = BUF_INIT;
    own.config = &config;
    config.request_timeout_ms = config.task_timeout_ms;
    bool ok = run_proc(program, &own, PROC_TASK, name, NULL, &nothing, err_json, err);
    buf_deinit(&nothing);
    return ok;
}

bool run_function(Program *program, const RunOptions *opt, Text name, const Const *input,
                  Buf *out_json, Buf *err_json, xs_error *err)
{
    return run_proc(program, opt, PROC_FUNCTION, name, input, out_json, err_json, err);
}

/* ---- jobs ---- */

static double seconds(void)
{
    return (double)clock_mono_us() / 1e6;
}

typedef struct JobRun {
    Run *run;
    Fiber *f;
    Value named, main; /* {as: value}, V_UNSET = no part has `as` */
    FiberState state;
} JobRun;

/* pre, main or post when the job has it. */
static bool job_part(JobRun *j, const Const *job, const char *name, Value input, Value *out,
                     xs_error *err)
{
    Heap *h = fiber_heap(j->f);
    const Const *part = const_get(job, name);
    Text as = const_get_text(part, "as");
    *out = val_unset();
    if (!part) {
        val_unref(h, input);
        return true;
    }
    if (!step(j->f, const_int_of(const_get(part, "proc"), -1), input, out, &j->state, err))
        return false;
    val_ref(*out);
    if (!as.ptr)
        return true;
    if (j->named.kind == V_UNSET)
        j->named = map_new(h, 2);
    return j->named.kind == V_MAP && map_set_text(h, &j->named, as, val_ref(*out))
               ? true
               : heap_fail(h, err);
}

static bool job_steps(JobRun *j, const Const *job, RunTimes *t, xs_error *err)
{
    Heap *h = fiber_heap(j->f);
    Value ignored, input;
    double start = seconds();
    if (!job_part(j, job, "pre", map_new(h, 0), &ignored, err) ||
        !step(j->f, const_int_of(const_get(job, "proc"), -1), val_null(), &input, &j->state, err))
        return false;
    val_ref(input);
    if (j->run->context.raw_input)
        input = val_from_const(h, j->run->context.raw_input);
    t->pre_s = seconds() - start;
    if (!job_part(j, job, "main", input, &j->main, err))
        return false;
    t->main_s = seconds() - start - t->pre_s;
    bool ok = job_part(j, job, "post", map_new(h, 0), &ignored, err);
    t->post_s = seconds() - start - t->pre_s - t->main_s;
    return ok;
}

static bool job_call(Run *r, const Const *job, RunTimes *t, Buf *out_json, Buf *err_json,
                     xs_error *err)
{
    JobRun j = {.run = r, .f = run_fiber(r, false)};
    if (!j.f)
        return no_memory(err);
    bool ok = job_steps(&j, job, t, err);
    if (ok)
        ok = write_result(j.named.kind == V_MAP ? j.named : j.main, out_json, err_json, err);
    else if (j.state == FIBER_ERROR)
        ok = take_error(j.f, err_json, out_json, err);
    fiber_free(j.f);
    return ok;
}

bool run_job(Program *program, const RunOptions *opt, const Const *job, const Const *input,
             RunTimes *times, Buf *out_json, Buf *err_json, xs_error *err)
{
    double start = seconds();
    Run r;
    *times = (RunTimes){0};
    init_run(&r, program, opt);
    bool ok = open_run(&r, err) && boot_check_env(r.env, job, err);
    r.context.raw_input = input;
    times->boot_s = seconds() - start;
    ok = ok && job_call(&r, job, times, out_json, err_json, err);
    times->total_s = seconds() - start;
    run_triggers(&r);
    close_run(&r);
    return ok;
}
