/* run.c - the services of the host without its loop: used by xs run and tests. */
#include "host/run.h"

#include "core/json.h"
#include "core/text.h"
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
    if (tables && tables->count) {
        DbOptions opt = {.allow_destructive = c->allow_destructive,
                         .synchronous_off = !file,
                         .log = log_migration,
                         .log_ctx = &r->log};
        r->pool = dbpool_open(file ? c->db.ptr : ":memory:", tables, &opt, err);
        r->db = r->pool ? db_open(r->pool, NULL, NULL, err) : NULL;
        if (!r->db)
            return false;
    }
    r->service.log = &r->log;
    r->service.auth = r->auth;
    r->service.env = r->env;
    r->service.compile_expr = r->opt->compile_expr;
    if (!service_open_outside(&r->service, c, err))
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
    outside_free(r->service.outside);
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

static bool call(Run *r, uint32_t proc, const Const *input, Buf *out_json, Buf *err_json,
                 xs_error *err)
{
    const Config *c = r->opt->config;
    Limits limits = {.steps = (uint64_t)c->steps,
                     .heap_bytes = (size_t)c->heap_bytes,
                     .depth = (uint32_t)c->call_depth,
                     .deadline_ms = service_now_ms() + c->request_timeout_ms};
    Fiber *f = fiber_new(r->program, &r->services, &r->context, &limits);
    if (!f)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    Value v = input ? val_from_const(fiber_heap(f), input) : val_null();
    bool ok = v.kind == V_UNSET ? heap_fail(fiber_heap(f), err) : fiber_call(f, proc, v, err);
    if (ok) {
        FiberState state = fiber_run(f);
        if (state == FIBER_DONE)
            ok = val_write_json(fiber_result(f), out_json) ||
                 xs_fail(err, XS_E_NOMEM, XS_NO_POS, "The response could not be written");
        else if (state == FIBER_ERROR)
            ok = take_error(f, err_json, out_json, err);
        else
            ok = xs_fail(err, XS_E_UNSUPPORTED, XS_NO_POS,
                         "the function waits for something only a server has");
    }
    fiber_free(f);
    return ok;
}

bool run_function(Program *program, const RunOptions *opt, Text name, Text input_json,
                  Buf *out_json, Buf *err_json, xs_error *err)
{
    uint32_t proc = program_find(program, PROC_FUNCTION, name);
    if (proc == UINT32_MAX)
        return xs_fail(err, XS_E_NOTFOUND, XS_NO_POS, "the program has no function '" TEXT_FMT "'",
                       TEXT_ARG(name));
    Run r = {.program = program, .opt = opt};
    arena_init(&r.arena, 0);
    log_parse_level(opt->config->log_level, &r.log.level);
    r.log.json = text_eq(opt->config->log_format, TEXT("json"));
    const Const *input = NULL;
    bool ok = true;
    if (input_json.len) {
        input = json_parse(&r.arena, input_json, err);
        ok = input != NULL;
        if (ok && input->kind != C_MAP)
            ok = xs_fail(err, XS_E_BAD_JSON, XS_NO_POS, "the input must be a JSON object");
    }
    r.context.raw_input = input;
    ok = ok && open_run(&r, err) && call(&r, proc, input, out_json, err_json, err);
    close_run(&r);
    return ok;
}
