/* boot.c - a run.service: its environment and its pre function. */
#include "host/boot.h"

#include "vm/heap.h"

bool boot_check_env(const EnvVars *env, const Const *job, xs_error *err)
{
    const Const *names = const_get(job, "env");
    for (uint32_t i = 0; names && names->kind == C_LIST && i < names->count; i++) {
        Text name = const_text_of(names->items[i], (Text){0});
        if (name.ptr && !env_find(env, name).ptr)
            return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                           "the environment value " TEXT_FMT " is not set", TEXT_ARG(name));
    }
    return true;
}

static const Const *find_service(const Program *program)
{
    const Const *jobs = const_get(program_meta(program), "jobs");
    for (uint32_t i = 0; jobs && jobs->kind == C_LIST && i < jobs->count; i++)
        if (const_bool_of(const_get(jobs->items[i], "service"), false))
            return jobs->items[i];
    return NULL;
}

static bool call(Fiber *f, int64_t proc, xs_error *err)
{
    if (!fiber_call(f, proc < 0 ? UINT32_MAX : (uint32_t)proc, map_new(fiber_heap(f), 0), err))
        return false;
    FiberState state = fiber_run(f);
    if (state == FIBER_DONE)
        return true;
    const xs_error *problem = fiber_error(f, NULL, NULL);
    if (state == FIBER_ERROR && problem->code == XS_E_STOPPED)
        return true;
    if (state == FIBER_ERROR)
        *err = *problem;
    else
        xs_fail(err, XS_E_UNSUPPORTED, XS_NO_POS, "pre waits for something only a request has");
    return false;
}

bool boot_service(Program *program, ServiceEnv *env, Space *space, DbPool *pool,
                  const Config *config, xs_error *err)
{
    const Const *service = find_service(program), *pre = const_get(service, "pre");
    if (!service || !boot_check_env(env->env, service, err))
        return !service;
    Db *db = pool ? db_open(pool, NULL, NULL, err) : NULL;
    if (pool && !db)
        return false;
    ServiceCtx ctx = {env, space, NULL};
    Services services;
    service_fill(&services, &ctx, db);
    RunContext run = {
        .tenant = config->tenant, .branch = config->branch, .base_url = config->base_url};
    Limits limits = {.steps = (uint64_t)config->steps,
                     .heap_bytes = (size_t)config->heap_bytes,
                     .depth = (uint32_t)config->call_depth};
    Fiber *f = fiber_new(program, &services, &run, &limits);
    bool ok = f ? (!pre || call(f, const_int_of(const_get(pre, "proc"), -1), err)) &&
                      call(f, const_int_of(const_get(service, "proc"), -1), err)
                : xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    fiber_free(f);
    db_close(db);
    return ok;
}
