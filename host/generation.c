/* generation.c - opened on any thread, started and ended on the loop's. */
#include "host/generation.h"

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/boot.h"

static void log_migration(void *ctx, const char *line)
{
    log_line((const Log *)ctx, LEVEL_INFO, "database: %s", line);
}

static void log_alarm(void *ctx, const char *line)
{
    log_line((const Log *)ctx, LEVEL_ERROR, "%s", line);
}

static bool open_database(Generation *g, const GenerationOptions *opt, xs_error *err)
{
    const Const *tables = const_get(program_meta(g->program), "tables");
    if (!service_needs_db(g->program))
        return true;
    DbOptions how = {.allow_destructive = opt->config->allow_destructive,
                     .log = log_migration,
                     .alarm = log_alarm,
                     .log_ctx = (void *)(uintptr_t)opt->log};
    const char *path = opt->config->db.len ? opt->config->db.ptr : ":memory:";
    g->db = dbpool_open(path, tables, &how, err);
    return g->db && sources_open(opt->config, g->db, tables, &how, err) &&
           tabletriggers_new(g->program, g->db, opt->log, &g->table_triggers, err);
}

Generation *generation_open(const GenerationOptions *opt, Program *program, xs_error *err)
{
    Generation *g = mem_zalloc(1, sizeof *g);
    if (!g) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    g->program = program;
    g->service.log = opt->service->log;
    g->service.auth = opt->service->auth;
    g->service.env = opt->service->env;
    g->service.hub = opt->service->hub;
    g->service.compile_expr = opt->service->compile_expr;
    g->service.outside = opt->service->outside;
    g->service.detached = opt->service->detached;
    g->triggers = triggers_new(program, err);
    g->handlers = g->triggers ? handlers_new(program, err) : NULL;
    g->router = g->handlers ? router_new(program, opt->config->branch, err) : NULL;
    if (g->router && open_database(g, opt, err))
        return g;
    generation_free(g);
    return NULL;
}

bool generation_start(Generation *g, const GenerationOptions *opt, bool boot,
                      struct event_base *base, xs_error *err)
{
    if (boot && !boot_service(g->program, &g->service, opt->space, g->db, opt->config, err))
        return false;
    PoolOptions pool = {.program = g->program,
                        .config = opt->config,
                        .log = opt->log,
                        .metrics = opt->metrics,
                        .db = g->db,
                        .env = &g->service,
                        .space = opt->space};
    g->pool = pool_new(&pool, base, err);
    if (!g->pool)
        return false;
    g->schedule = schedule_new(g->pool, opt->space, opt->history, base, err);
    if (!g->schedule)
        return false;
    g->service.pool = g->pool;
    triggers_set_pool(g->triggers, g->pool);
    handlers_set_pool(g->handlers, g->pool);
    tabletriggers_set_pool(g->table_triggers, g->pool);
    return true;
}

void generation_replaced(Generation *g)
{
    schedule_stop(g->schedule);
}

bool generation_idle(const Generation *g)
{
    uint64_t waiting, running;
    pool_load(g->pool, &waiting, &running);
    return !waiting && !running;
}

void generation_free(Generation *g)
{
    if (!g)
        return;
    if (g->pool)
        pool_retire(g->pool);
    schedule_free(g->schedule);
    pool_free(g->pool);
    if (g->db)
        dbpool_close(g->db);
    tabletriggers_free(g->table_triggers);
    router_free(g->router);
    triggers_free(g->triggers);
    handlers_free(g->handlers);
    mem_free(g);
}

bool generation_replaces(const Config *config, const Program *next, xs_error *err)
{
    bool memory = !config->db.len || text_eq(config->db, TEXT(":memory:"));
    if (!memory || !service_needs_db(next))
        return true;
    return xs_fail(err, XS_E_UNSUPPORTED, XS_NO_POS,
                   "a database in memory would be lost; give it a file with --db");
}
