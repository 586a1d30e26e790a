/* tabletrigger.c - a queue of committed changes per table, filled by the writer's thread. A table
 * with changes has one job, which walks through them; so they keep their order and a busy table
 * takes one worker at a time. The queues share a budget of bytes: beyond it changes are dropped,
 * logged and counted, because nobody may wait for a trigger. */
#include "host/tabletrigger.h"

#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/text.h"

enum { QUEUE_MAX_BYTES = 64 << 20 };

typedef struct Rule {
    Text name, table;
    unsigned actions;
    const Const *sources; /* NULL = all */
    uint32_t proc;
} Rule;

typedef struct Lane Lane;

/* What a job or a caller without workers is at. */
typedef struct Cursor {
    DbChanges *changes;
    Arena arena; /* of the row */
    DbRow row;
    bool has_row;
    size_t rule; /* next one to look at for the row */
} Cursor;

struct Lane { /* of one table */
    TableTriggers *all;
    Text table;
    const Rule *rules;
    size_t count;
    DbChanges *first, *last; /* under the lock */
    bool busy;               /* a job is under way; under the lock */
    Cursor cursor;           /* of that job, or of the caller without workers */
};

struct TableTriggers {
    const Log *log;
    Rule *rules;
    size_t count;
    Lane *lanes;
    size_t nlanes;
    pthread_mutex_t lock;
    Pool *pool;   /* under the lock */
    size_t bytes; /* queued; under the lock */
    uint64_t dropped;
};

/* ---- table ---- */

static unsigned actions_of(const Const *actions)
{
    static const struct {
        const char *name;
        DbAction action;
    } rows[] = {{"insert", DB_INSERT},
                {"update", DB_UPDATE},
                {"delete", DB_DELETE},
                {"truncate", DB_TRUNCATE}};
    unsigned mask = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (const_bool_of(const_get(actions, rows[i].name), !actions))
            mask |= rows[i].action;
    return mask;
}

static bool read_rule(const Program *program, const Const *row, Rule *out, xs_error *err)
{
    int64_t proc = const_int_of(const_get(row, "proc"), -1);
    const Const *sources = const_get(row, "datasources");
    *out = (Rule){.name = const_get_text(row, "name"),
                  .table = const_get_text(row, "table"),
                  .actions = actions_of(const_get(row, "actions")),
                  .sources = sources && sources->kind == C_LIST && sources->count ? sources : NULL,
                  .proc = (uint32_t)proc};
    return (proc >= 0 && proc < program_proc_count(program)) ||
           xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "table trigger '" TEXT_FMT "' is incomplete",
                   TEXT_ARG(out->name));
}

static int by_table(const void *va, const void *vb)
{
    const Rule *a = (const Rule *)va, *b = (const Rule *)vb;
    int c = text_cmp(a->table, b->table);
    return c ? c : text_cmp(a->name, b->name);
}

static void on_changed(void *ctx, DbChanges *changes);

static void make_lanes(TableTriggers *t, DbPool *db)
{
    for (size_t i = 0; i < t->count; i++) {
        const Rule *r = &t->rules[i];
        Lane *l = t->nlanes ? &t->lanes[t->nlanes - 1] : NULL;
        if (!l || !text_eq(l->table, r->table)) {
            l = &t->lanes[t->nlanes++];
            *l = (Lane){.all = t, .table = r->table, .rules = r};
        }
        l->count++;
        dbpool_watch(db, r->table, r->actions, on_changed, t);
    }
}

bool tabletriggers_new(const Program *program, DbPool *db, const Log *log, TableTriggers **out,
                       xs_error *err)
{
    const Const *rows = const_get(program_meta(program), "table_triggers");
    uint32_t n = rows && rows->kind == C_LIST ? rows->count : 0;
    *out = NULL;
    if (!n || !db)
        return true;
    TableTriggers *t = mem_zalloc(1, sizeof *t);
    bool ok = t && (t->rules = mem_zalloc(n, sizeof *t->rules)) &&
              (t->lanes = mem_zalloc(n, sizeof *t->lanes));
    if (!ok) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        if (t)
            mem_free(t->rules);
        mem_free(t);
        return false;
    }
    t->log = log;
    pthread_mutex_init(&t->lock, NULL);
    for (uint32_t i = 0; ok && i < n; i++) {
        if (!const_bool_of(const_get(rows->items[i], "active"), true))
            continue;
        ok = read_rule(program, rows->items[i], &t->rules[t->count], err);
        t->count += ok;
    }
    if (!ok) {
        tabletriggers_free(t);
        return false;
    }
    qsort(t->rules, t->count, sizeof *t->rules, by_table);
    make_lanes(t, db);
    *out = t;
    return true;
}

void tabletriggers_free(TableTriggers *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->nlanes; i++) {
        dbchanges_free(t->lanes[i].first);
        dbchanges_free(t->lanes[i].cursor.changes);
        arena_deinit(&t->lanes[i].cursor.arena);
    }
    pthread_mutex_destroy(&t->lock);
    mem_free(t->rules);
    mem_free(t->lanes);
    mem_free(t);
}

/* ---- walking through changes ---- */

static bool concerns(const Rule *r, const DbRow *row)
{
    bool here = !r->sources;
    for (uint32_t i = 0; !here && i < r->sources->count; i++)
        here = text_eq(const_text_of(r->sources->items[i], (Text){"", 0}), row->source);
    return here && (r->actions & row->action) && text_eq(r->table, row->table);
}

static const char *action_name(DbAction a)
{
    switch (a) {
    case DB_INSERT: return "insert";
    case DB_UPDATE: return "update";
    case DB_DELETE: return "delete";
    case DB_TRUNCATE: break;
    }
    return "truncate";
}

static const Const *make_input(Cursor *at)
{
    Arena *a = &at->arena;
    const DbRow *row = &at->row;
    Const *in = const_map(a, 4);
    return in && const_set(a, in, TEXT("new"), row->after) &&
                   const_set(a, in, TEXT("old"), row->before) &&
                   const_set_text(a, in, "action", text_from(action_name(row->action))) &&
                   const_set_text(a, in, "datasource", row->source)
               ? in
               : NULL;
}

static DbChanges *take_changes(Lane *l)
{
    TableTriggers *t = l->all;
    pthread_mutex_lock(&t->lock);
    DbChanges *c = l->first;
    if (c) {
        l->first = dbchanges_linked(c);
        if (!l->first)
            l->last = NULL;
        dbchanges_link(c, NULL);
        t->bytes -= dbchanges_bytes(c);
    }
    pthread_mutex_unlock(&t->lock);
    return c;
}

/* The next trigger to run for the lane. False: nothing is queued. */
static bool advance(Lane *l, const Rule **rule)
{
    Cursor *at = &l->cursor;
    for (;;) {
        while (at->has_row && at->rule < l->count) {
            const Rule *r = &l->rules[at->rule++];
            if (concerns(r, &at->row)) {
                *rule = r;
                return true;
            }
        }
        bool ok = true;
        at->rule = 0;
        arena_deinit(&at->arena);
        arena_init(&at->arena, 0);
        at->has_row = at->changes && dbchanges_next(at->changes, &at->arena, &at->row, &ok);
        if (at->has_row && !ok) {
            log_line(l->all->log, LEVEL_ERROR, "a change of table " TEXT_FMT " is lost: no memory",
                     TEXT_ARG(l->table));
            at->rule = l->count;
        }
        if (at->has_row)
            continue;
        dbchanges_free(at->changes);
        at->changes = take_changes(l);
        if (!at->changes)
            return false;
    }
}

void tabletriggers_failed(const TableTriggers *t, Text name, const xs_error *err, Text message)
{
    log_line(t->log, LEVEL_WARNING,
             "table trigger " TEXT_FMT " ended in an error at %s:%u: " TEXT_FMT, TEXT_ARG(name),
             err->pos.file ? err->pos.file : "?", err->pos.line, TEXT_ARG(message));
}

/* ---- jobs ---- */

typedef struct LaneJob {
    Job job;
    Lane *lane;
    const Rule *rule;
} LaneJob;

static bool lane_next(Job *job)
{
    LaneJob *j = (LaneJob *)job;
    Lane *l = j->lane;
    const PoolOptions *opt = pool_options(job->pool);
    if (!advance(l, &j->rule))
        return false;
    xs_error err = {.code = XS_E_NOMEM, .message = "Out of memory."};
    const Const *input = make_input(&l->cursor);
    metric_add(&opt->metrics->table_triggers);
    job->run.datasource = l->cursor.row.source;
    job->run.chain = dbchanges_chain(l->cursor.changes) + 1;
    job->limits.deadline_ms = clock_wall_ms() + opt->config->request_timeout_ms;
    if (!input || !job_begin(job, j->rule->proc, input, &err)) {
        metric_add(&opt->metrics->table_triggers_failed);
        tabletriggers_failed(l->all, j->rule->name, &err, text_from(err.message));
    }
    return true;
}

static void lane_ended(Job *job)
{
    LaneJob *j = (LaneJob *)job;
    if (job->state != FIBER_ERROR)
        return;
    Text name;
    Value payload = val_unset();
    const xs_error *err = fiber_error(job->fiber, &name, &payload);
    if (err->code == XS_E_STOPPED)
        return;
    metric_add(&pool_options(job->pool)->metrics->table_triggers_failed);
    tabletriggers_failed(j->lane->all, j->rule->name, err, fiber_error_message(job->fiber));
}

static void free_job(LaneJob *j)
{
    job_deinit(&j->job);
    mem_free(j);
}

static bool start_job(Lane *l, Pool *pool);

/* Nothing was left; what came since then begins a new job. */
static void lane_done(Job *job)
{
    LaneJob *j = (LaneJob *)job;
    Lane *l = j->lane;
    Pool *pool = job->pool;
    free_job(j);
    pthread_mutex_lock(&l->all->lock);
    l->busy = l->first != NULL;
    bool more = l->busy;
    pthread_mutex_unlock(&l->all->lock);
    if (more)
        (void)start_job(l, pool);
}

static void lane_dropped(Job *job)
{
    free_job((LaneJob *)job);
}

static const JobOps lane_ops = {lane_next, lane_ended, lane_done, lane_dropped};

static bool start_job(Lane *l, Pool *pool)
{
    LaneJob *j = mem_zalloc(1, sizeof *j);
    if (j) {
        job_init(&j->job, pool, &lane_ops, pool_options(pool)->space, NULL,
                 pool_options(pool)->config->request_timeout_ms);
        j->lane = l;
        if (pool_submit_always(pool, &j->job))
            return true;
        free_job(j);
    }
    pthread_mutex_lock(&l->all->lock);
    l->busy = false; /* the next change tries again, unless the server ends */
    pthread_mutex_unlock(&l->all->lock);
    return false;
}

void tabletriggers_set_pool(TableTriggers *t, Pool *pool)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->pool = pool;
    pthread_mutex_unlock(&t->lock);
}

/* ---- the writer's side ---- */

static void drop(TableTriggers *t, DbChanges *c, const char *why)
{
    Pool *pool = t->pool;
    if (pool)
        metric_add(&pool_options(pool)->metrics->table_triggers_dropped);
    if (t->dropped++ % 1000 == 0)
        log_line(t->log, LEVEL_ERROR, "table triggers: %s; changes are dropped", why);
    dbchanges_free(c);
}

static void queue_changes(Lane *l, DbChanges *c, Pool **start)
{
    TableTriggers *t = l->all;
    size_t bytes = dbchanges_bytes(c);
    if (t->bytes + bytes > QUEUE_MAX_BYTES) {
        drop(t, c, "their queue is full");
        return;
    }
    t->bytes += bytes;
    if (l->last)
        dbchanges_link(l->last, c);
    else
        l->first = c;
    l->last = c;
    *start = l->busy ? NULL : t->pool;
    l->busy = l->busy || t->pool;
}

static void on_changed(void *ctx, DbChanges *changes)
{
    TableTriggers *t = (TableTriggers *)ctx;
    Pool *start = NULL;
    Lane *l = t->lanes;
    while (!text_eq(l->table, dbchanges_table(changes)))
        l++; /* only tables with a lane are watched */
    pthread_mutex_lock(&t->lock);
    if (dbchanges_chain(changes) < TABLE_TRIGGER_CHAIN_MAX)
        queue_changes(l, changes, &start);
    else
        drop(t, changes, "triggers fire each other more than 8 deep");
    pthread_mutex_unlock(&t->lock);
    if (start)
        (void)start_job(l, start);
}

/* ---- without workers ---- */

bool tabletriggers_next(TableTriggers *t, TableCall *out)
{
    const Rule *rule;
    for (size_t i = 0; t && i < t->nlanes; i++) {
        Lane *l = &t->lanes[i];
        if (!advance(l, &rule))
            continue;
        *out = (TableCall){.proc = rule->proc,
                           .chain = dbchanges_chain(l->cursor.changes) + 1,
                           .name = rule->name,
                           .source = l->cursor.row.source,
                           .input = make_input(&l->cursor)};
        return true;
    }
    return false;
}
