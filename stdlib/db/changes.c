/* changes.c - rows that writes have changed, gathered while they run and told after their commit
 * to the one who watches the tables (table triggers). Only steps on watched tables pay for it. */
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/db/dbi.h"

uint32_t watched_columns(const Table *t, OutCol *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->ncols; i++)
        if (t->cols[i].type.kind != CK_PASSWORD)
            out[n++] = (OutCol){t->cols[i].name, t->cols[i].type};
    return n;
}

static uint32_t count_watched(const Table *t, uint32_t *id)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->ncols; i++) {
        if (i == t->id)
            *id = n;
        n += t->cols[i].type.kind != CK_PASSWORD;
    }
    return n;
}

/* Those of the job on one table. */
static DbChanges *job_changes(Job *j, const Table *t)
{
    DbChanges **at = &j->changes;
    for (; *at; at = &(*at)->next)
        if ((*at)->table == t)
            return *at;
    DbChanges *c = mem_zalloc(1, sizeof *c);
    if (!c)
        return NULL;
    arena_init(&c->arena, 0);
    c->table = t;
    c->source = j->db->pool->name;
    c->chain = j->chain;
    *at = c;
    return c;
}

void dbchanges_free(DbChanges *c)
{
    for (DbChanges *next; c; c = next) {
        next = c->next;
        arena_deinit(&c->arena);
        mem_free(c);
    }
}

static xs_db_value *copy_values(DbChanges *c, const xs_dbdriver_ops *drv, xs_db_stmt *st,
                                uint32_t from, uint32_t n)
{
    xs_db_value *vals = ARENA_ARRAY(&c->arena, xs_db_value, n + 1);
    for (uint32_t i = 0; vals && i < n; i++) {
        drv->column(st, from + i, &vals[i]);
        if (vals[i].type < XS_DB_TEXT)
            continue;
        Text t = arena_text(&c->arena, dbv_bytes(&vals[i]));
        if (!t.ptr)
            return NULL;
        vals[i].bytes.ptr = t.ptr;
    }
    return vals;
}

static bool same_key(const xs_db_value *a, const xs_db_value *b)
{
    if (a->type != b->type)
        return false;
    return a->type == XS_DB_INT ? a->i == b->i : text_eq(dbv_bytes(a), dbv_bytes(b));
}

static const xs_db_value *take_old(DbChanges *c, const xs_db_value *row, uint32_t id)
{
    for (RowChange **at = &c->olds; *at; at = &(*at)->next)
        if (same_key(&(*at)->before[id], &row[id])) {
            const xs_db_value *old = (*at)->before;
            *at = (*at)->next;
            return old;
        }
    return NULL;
}

static RowChange *append(DbChanges *c, const JobStep *s)
{
    RowChange *r = ARENA_NEW(&c->arena, RowChange);
    if (!r)
        return NULL;
    r->action = s->action;
    if (c->last)
        c->last->next = r;
    else
        c->first = r;
    c->last = r;
    return r;
}

bool changes_add(Job *j, const JobStep *s, const xs_dbdriver_ops *drv, xs_db_stmt *st)
{
    uint32_t id = 0, n = count_watched(s->watched, &id);
    DbChanges *c = job_changes(j, s->watched);
    const xs_db_value *vals = c ? copy_values(c, drv, st, s->from, n) : NULL;
    if (!vals)
        return false;
    if (s->flags & STEP_OLD) {
        RowChange *r = ARENA_NEW(&c->arena, RowChange);
        if (!r)
            return false;
        r->before = vals;
        if (c->last_old)
            c->last_old->next = r;
        else
            c->olds = r;
        c->last_old = r;
        return true;
    }
    RowChange *r = append(c, s);
    if (!r)
        return false;
    if (s->action == DB_DELETE)
        r->before = vals;
    else
        r->after = vals;
    if (s->action == DB_UPDATE)
        r->before = take_old(c, vals, id);
    return true;
}

void changes_forget_old(Job *j)
{
    for (DbChanges *c = j->changes; c; c = c->next)
        c->olds = c->last_old = NULL;
}

bool changes_add_table(Job *j, const JobStep *s)
{
    DbChanges *c = job_changes(j, s->watched);
    return c && append(c, s);
}

void changes_tell(DbPool *p, Job *j)
{
    DbChanges *c = j->changes;
    j->changes = NULL;
    while (c) {
        DbChanges *next = c->next;
        c->next = NULL;
        if (c->first && p->changed)
            p->changed(p->changed_ctx, c);
        else
            dbchanges_free(c);
        c = next;
    }
}

/* ---- the watcher's side ---- */

void dbpool_watch(DbPool *pool, Text table, unsigned actions, DbChanged fn, void *ctx)
{
    for (DbPool *p = pool; p; p = p == pool ? pool->others : p->sibling) {
        for (uint32_t i = 0; i < p->schema.ntables; i++)
            if (text_eq(p->schema.tables[i].name, table))
                p->schema.tables[i].watched |= (uint8_t)actions;
        p->changed = fn;
        p->changed_ctx = ctx;
    }
}

static const Const *row_const(Arena *a, const Table *t, const xs_db_value *vals)
{
    Const *row = const_map(a, t->ncols);
    for (uint32_t i = 0, n = 0; row && vals && i < t->ncols; i++) {
        const Column *col = &t->cols[i];
        if (col->type.kind == CK_PASSWORD)
            continue;
        const Const *v = row_decode_const(a, col->type, &vals[n++]);
        if (!v || !const_set(a, row, col->name, v))
            return NULL;
    }
    return row;
}

bool dbchanges_next(DbChanges *c, Arena *a, DbRow *out, bool *ok)
{
    const RowChange *r = c->first;
    *ok = true;
    if (!r)
        return false;
    c->first = r->next;
    *out = (DbRow){.table = c->table->name,
                   .source = c->source,
                   .action = r->action,
                   .before = row_const(a, c->table, r->before),
                   .after = row_const(a, c->table, r->after)};
    *ok = out->before && out->after;
    return true;
}

Text dbchanges_table(const DbChanges *c)
{
    return c->table->name;
}

uint32_t dbchanges_chain(const DbChanges *c)
{
    return c->chain;
}

size_t dbchanges_bytes(const DbChanges *c)
{
    return sizeof *c + c->arena.bytes;
}

void dbchanges_link(DbChanges *c, DbChanges *next)
{
    c->next = next;
}

DbChanges *dbchanges_linked(const DbChanges *c)
{
    return c->next;
}
