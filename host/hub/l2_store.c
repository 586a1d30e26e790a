/* l2_store.c - one table per kind of fact, one connection, one thread. Writes of a burst share a
 * transaction; when it fails all of them fail, and what is known of the channels is read anew.
 *
 * Message ids are numbers of a channel without holes, from 1. A message that has left the record is
 * one with an id up to `evicted`; rows beyond the limit are deleted some at a time, reads leave
 * them out before. */
#include "host/hub/l2_store.h"

#include <pthread.h>

#include "core/clock.h"
#include "core/map.h"
#include "core/mem.h"
#include "core/text.h"
#include "core/thread.h"
#include "stdlib/db/db.h"

enum {
    MAX_WAITING = 100000, /* ops in the queue */
    MAX_BATCH = 256,
    MAX_KNOWN = 16384, /* channels remembered; past it all are forgotten */
    PAGE_ROWS = 128,
    PAGE_BYTES = 256 * 1024,
    SLACK = 16,                      /* rows beyond the limit before they are deleted */
    CURSOR_MS = 24 * 60 * 60 * 1000, /* a cursor's life after its last use, at least */
    CLEAN_MS = 10 * 60 * 1000
};

typedef struct Known {
    uint64_t last_id, evicted;
    int64_t last_ts;
    Text name; /* behind the struct */
} Known;

struct Store {
    const xs_dbdriver_ops *drv;
    xs_db_conn *conn;
    Map known; /* channel → Known */
    int64_t cleaned_ms;
    pthread_t thread;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t wake;
    StoreOp *first, **last;
    size_t waiting;
    bool stop;
};

/* ---- statements ---- */

static xs_db_value sql_int(int64_t i)
{
    return (xs_db_value){.type = XS_DB_INT, .i = i};
}

static xs_db_value sql_text(Text t)
{
    if (!t.ptr)
        return (xs_db_value){.type = XS_DB_NULL};
    return (xs_db_value){.type = XS_DB_TEXT, .bytes = {t.ptr, t.len}};
}

/* A statement with its values bound; NULL = failed. */
static xs_db_stmt *prepare(Store *s, const char *sql, const xs_db_value *vals, unsigned n,
                           xs_error *err)
{
    xs_db_stmt *st = s->drv->prepare(s->conn, sql, strlen(sql), 0, err);
    for (unsigned i = 0; st && i < n; i++) {
        if (!s->drv->bind(st, i + 1, &vals[i], err)) {
            s->drv->finish(st);
            return NULL;
        }
    }
    return st;
}

static bool run(Store *s, const char *sql, const xs_db_value *vals, unsigned n, xs_error *err)
{
    xs_db_stmt *st = prepare(s, sql, vals, n, err);
    if (!st)
        return false;
    xs_db_step step;
    while ((step = s->drv->step(st, err)) == XS_DB_ROW)
        ;
    s->drv->finish(st);
    return step == XS_DB_DONE;
}

static int64_t int_of(Store *s, xs_db_stmt *st, unsigned col)
{
    xs_db_value v;
    s->drv->column(st, col, &v);
    return v.type == XS_DB_INT ? v.i : 0;
}

/* The integers of the first row. *found: there is one. */
static bool one_row(Store *s, const char *sql, const xs_db_value *vals, unsigned n, int64_t *out,
                    unsigned nout, bool *found, xs_error *err)
{
    xs_db_stmt *st = prepare(s, sql, vals, n, err);
    if (!st)
        return false;
    xs_db_step step = s->drv->step(st, err);
    *found = step == XS_DB_ROW;
    for (unsigned i = 0; i < nout && *found; i++)
        out[i] = int_of(s, st, i);
    s->drv->finish(st);
    return step != XS_DB_FAIL;
}

static bool create_tables(Store *s, xs_error *err)
{
    static const char *const sql[] = {
        "CREATE TABLE IF NOT EXISTS rt_channel (name TEXT PRIMARY KEY, last_id INTEGER NOT NULL, "
        "evicted INTEGER NOT NULL, ttl_ms INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS rt_message (channel TEXT NOT NULL, id INTEGER NOT NULL, ts "
        "INTEGER NOT NULL, type TEXT, payload TEXT NOT NULL, client TEXT, sender TEXT, PRIMARY KEY "
        "(channel, "
        "id)) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS rt_cursor (channel TEXT NOT NULL, client TEXT NOT NULL, id "
        "INTEGER NOT NULL, until_ms INTEGER NOT NULL, PRIMARY KEY (channel, client)) WITHOUT "
        "ROWID"};
    for (size_t i = 0; i < COUNT_OF(sql); i++)
        if (!run(s, sql[i], NULL, 0, err))
            return false;
    return true;
}

/* ---- channels ---- */

static void forget(Store *s)
{
    size_t at = 0;
    for (MapSlot *slot; (slot = map_next(&s->known, &at));)
        mem_free(slot->value);
    map_deinit(&s->known);
}

static bool read_known(Store *s, Known *k, xs_error *err)
{
    int64_t row[2] = {0}, last[2] = {0};
    bool found;
    xs_db_value name = sql_text(k->name);
    if (!one_row(s, "SELECT last_id, evicted FROM rt_channel WHERE name = ?1", &name, 1, row, 2,
                 &found, err) ||
        !one_row(s, "SELECT id, ts FROM rt_message WHERE channel = ?1 ORDER BY id DESC LIMIT 1",
                 &name, 1, last, 2, &found, err))
        return false;
    k->last_id = (uint64_t)(row[0] > last[0] ? row[0] : last[0]);
    k->evicted = (uint64_t)row[1];
    k->last_ts = last[1];
    return true;
}

static Known *known(Store *s, Text name, xs_error *err)
{
    Known *k = map_get(&s->known, name);
    if (k)
        return k;
    if (s->known.count >= MAX_KNOWN)
        forget(s);
    k = mem_zalloc(1, sizeof *k + name.len);
    if (!k) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    memcpy(k + 1, name.ptr, name.len);
    k->name = (Text){(const char *)(k + 1), name.len};
    if (!read_known(s, k, err)) {
        mem_free(k);
        return NULL;
    }
    if (!map_put(&s->known, k->name, k)) {
        mem_free(k);
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    return k;
}

/* Forget messages up to id. */
static bool evict(Store *s, Known *k, uint64_t id, int64_t ttl_ms, xs_error *err)
{
    xs_db_value vals[] = {sql_text(k->name), sql_int((int64_t)id), sql_int((int64_t)k->last_id),
                          sql_int(ttl_ms)};
    if (!run(s, "DELETE FROM rt_message WHERE channel = ?1 AND id <= ?2", vals, 2, err) ||
        !run(s,
             "INSERT INTO rt_channel (name, last_id, evicted, ttl_ms) VALUES (?1, ?3, ?2, ?4) ON "
             "CONFLICT (name) DO UPDATE SET last_id = ?3, evicted = ?2, ttl_ms = ?4",
             vals, 4, err))
        return false;
    k->evicted = id;
    return true;
}

static uint32_t keep_of(const StoreRules *r)
{
    return r->keep ? r->keep : STORE_KEEP_MAX;
}

/* The newest id that the rules no longer keep, for reads. */
static bool gone_upto(Store *s, const Known *k, const StoreRules *r, int64_t now, uint64_t *out,
                      xs_error *err)
{
    uint64_t keep = keep_of(r);
    *out = k->evicted;
    if (k->last_id > keep && k->last_id - keep > *out)
        *out = k->last_id - keep;
    if (!r->ttl_ms || k->last_id == k->evicted)
        return true;
    if (k->last_ts + r->ttl_ms < now) {
        *out = k->last_id; /* idle, or all too old */
        return true;
    }
    if (!r->by_age)
        return true;
    int64_t id = 0;
    bool found;
    xs_db_value vals[] = {sql_text(k->name), sql_int((int64_t)*out), sql_int(now - r->ttl_ms)};
    if (!one_row(
            s,
            "SELECT id FROM rt_message WHERE channel = ?1 AND id > ?2 AND ts >= ?3 ORDER BY id "
            "LIMIT 1",
            vals, 3, &id, 1, &found, err))
        return false;
    if (found && (uint64_t)id - 1 > *out)
        *out = (uint64_t)id - 1;
    return true;
}

/* ---- operations ---- */

static bool append(Store *s, StoreOp *op, int64_t now, xs_error *err)
{
    Known *k = known(s, op->channel, err);
    uint64_t gone;
    if (!k || !gone_upto(s, k, &op->rules, now, &gone, err))
        return false;
    /* Some at a time; at the first message too, so that the channel's row says when it ends. */
    bool first = k->last_id == 0 && op->rules.ttl_ms;
    if ((first || gone > k->evicted + SLACK + keep_of(&op->rules) / 8 ||
         (gone == k->last_id && gone > k->evicted)) &&
        !evict(s, k, gone, op->rules.ttl_ms, err))
        return false;
    const StoreRow *r = &op->row;
    xs_db_value vals[] = {sql_text(op->channel), sql_int((int64_t)k->last_id + 1),
                          sql_int(r->ts),        sql_text(r->type),
                          sql_text(r->payload),  sql_text(r->client),
                          sql_text(r->sender)};
    if (!run(s,
             "INSERT INTO rt_message (channel, id, ts, type, payload, client, sender) VALUES (?1, "
             "?2, ?3, ?4, ?5, ?6, ?7)",
             vals, 7, err))
        return false;
    op->id = ++k->last_id;
    k->last_ts = r->ts;
    return true;
}

static bool copy_text(Store *s, xs_db_stmt *st, unsigned col, Arena *a, Text *out)
{
    xs_db_value v;
    s->drv->column(st, col, &v);
    *out = (Text){0};
    if (v.type != XS_DB_TEXT)
        return true;
    *out = arena_text(a, (Text){v.bytes.ptr, v.bytes.len});
    return out->ptr != NULL;
}

static StoreRow *copy_row(Store *s, xs_db_stmt *st, Arena *a)
{
    StoreRow *r = ARENA_NEW(a, StoreRow);
    if (!r)
        return NULL;
    r->id = (uint64_t)int_of(s, st, 0);
    r->ts = int_of(s, st, 1);
    return copy_text(s, st, 2, a, &r->type) && copy_text(s, st, 3, a, &r->payload) &&
                   copy_text(s, st, 4, a, &r->client) && copy_text(s, st, 5, a, &r->sender)
               ? r
               : NULL;
}

/* Rows behind `after`, at most max and about a page of bytes; *more when there are further ones. */
static bool read_rows(Store *s, StoreOp *op, uint64_t after, uint32_t max, size_t max_bytes,
                      StoreRow **out, uint32_t *count, bool *more, xs_error *err)
{
    xs_db_value vals[] = {sql_text(op->channel), sql_int((int64_t)after),
                          sql_int((int64_t)max + 1)};
    xs_db_stmt *st =
        prepare(s,
                "SELECT id, ts, type, payload, client, sender FROM rt_message WHERE channel = "
                "?1 AND id > ?2 ORDER BY id LIMIT ?3",
                vals, 3, err);
    if (!st)
        return false;
    StoreRow **tail = out;
    size_t bytes = 0;
    bool memory = true;
    xs_db_step step;
    while ((step = s->drv->step(st, err)) == XS_DB_ROW && memory) {
        if (*count == max || bytes > max_bytes) {
            *more = true;
            break;
        }
        StoreRow *r = copy_row(s, st, &op->arena);
        memory = r != NULL;
        if (!r)
            break;
        bytes += r->payload.len;
        *tail = r;
        tail = &r->next;
        ++*count;
    }
    s->drv->finish(st);
    if (!memory)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    return step != XS_DB_FAIL;
}

static bool read_page(Store *s, StoreOp *op, uint64_t after, xs_error *err)
{
    uint32_t n = 0;
    return read_rows(s, op, after, PAGE_ROWS, PAGE_BYTES, &op->replay, &n, &op->more, err);
}

static bool set_cursor(Store *s, const StoreOp *op, uint64_t id, int64_t now, xs_error *err)
{
    int64_t life = op->rules.ttl_ms > CURSOR_MS ? op->rules.ttl_ms : CURSOR_MS;
    xs_db_value vals[] = {sql_text(op->channel), sql_text(op->client), sql_int((int64_t)id),
                          sql_int(now + life)};
    return run(s,
               "INSERT INTO rt_cursor (channel, client, id, until_ms) VALUES (?1, ?2, ?3, ?4) ON "
               "CONFLICT (channel, client) DO UPDATE SET id = ?3, until_ms = ?4",
               vals, 4, err);
}

static bool get_cursor(Store *s, const StoreOp *op, int64_t now, uint64_t *out, bool *found,
                       xs_error *err)
{
    int64_t row[2] = {0};
    xs_db_value vals[] = {sql_text(op->channel), sql_text(op->client)};
    *out = 0;
    if (!one_row(s, "SELECT id, until_ms FROM rt_cursor WHERE channel = ?1 AND client = ?2", vals,
                 2, row, 2, found, err))
        return false;
    *found = *found && row[1] >= now;
    if (*found)
        *out = (uint64_t)row[0];
    return true;
}

static bool open_client(Store *s, StoreOp *op, int64_t now, xs_error *err)
{
    const StoreRules *r = &op->rules;
    Known *k = known(s, op->channel, err);
    uint64_t gone, from;
    bool found = false, more = false;
    if (!k || !gone_upto(s, k, r, now, &gone, err))
        return false;
    op->upto = k->last_id;
    from = k->last_id > r->transcript ? k->last_id - r->transcript : 0;
    if (r->transcript && !read_rows(s, op, from > gone ? from : gone, r->transcript, SIZE_MAX,
                                    &op->transcript, &op->ntranscript, &more, err))
        return false;
    if (!r->replay || !op->client.len)
        return true;
    if (!get_cursor(s, op, now, &op->cursor, &found, err))
        return false;
    if (op->cursor > k->last_id)
        op->cursor = k->last_id;
    op->resumed = found && gone <= op->cursor;
    return set_cursor(s, op, op->cursor, now, err) &&
           read_page(s, op, gone > op->cursor ? gone : op->cursor, err);
}

static bool acknowledge(Store *s, StoreOp *op, int64_t now, xs_error *err)
{
    Known *k = known(s, op->channel, err);
    bool found;
    if (!k || !get_cursor(s, op, now, &op->cursor, &found, err))
        return false;
    uint64_t to = op->id > k->last_id ? k->last_id : op->id; /* not beyond what was sent */
    if (to > op->cursor)
        op->cursor = to;
    return set_cursor(s, op, op->cursor, now, err);
}

static bool run_op(Store *s, StoreOp *op, int64_t now, xs_error *err)
{
    switch (op->kind) {
    case STORE_APPEND: return append(s, op, now, err);
    case STORE_OPEN: return open_client(s, op, now, err);
    case STORE_PAGE: return read_page(s, op, op->id, err);
    case STORE_ACK: return acknowledge(s, op, now, err);
    }
    return false;
}

/* ---- the thread ---- */

/* Channels that have been idle for their time, and cursors nobody came back for. */
static void clean(Store *s, int64_t now)
{
    xs_error err = {0};
    xs_db_value t = sql_int(now);
    s->cleaned_ms = now;
    static const char *const sql[] = {
        "DELETE FROM rt_cursor WHERE until_ms < ?1",
        "UPDATE rt_channel SET last_id = max(last_id, coalesce((SELECT max(id) FROM rt_message m "
        "WHERE m.channel = name), 0)) WHERE ttl_ms > 0",
        "DELETE FROM rt_message WHERE channel IN (SELECT name FROM rt_channel c WHERE c.ttl_ms > 0 "
        "AND (SELECT ts FROM rt_message m WHERE m.channel = c.name ORDER BY id DESC LIMIT 1) + "
        "c.ttl_ms < ?1)",
        "UPDATE rt_channel SET evicted = last_id WHERE ttl_ms > 0 AND NOT EXISTS (SELECT 1 FROM "
        "rt_message m WHERE m.channel = name)"};
    for (size_t i = 0; i < COUNT_OF(sql); i++)
        if (!run(s, sql[i], &t, i == 0 || i == 2, &err))
            return;
    forget(s);
}

static void reset_result(StoreOp *op)
{
    op->ok = op->resumed = op->more = false;
    op->transcript = op->replay = NULL;
    op->ntranscript = 0;
    op->cursor = op->upto = 0;
}

/* Everything or nothing. */
static void run_batch(Store *s, StoreOp *batch)
{
    xs_error err = {0};
    int64_t now = clock_wall_ms();
    bool ok = s->drv->control(s->conn, XS_DB_BEGIN_WRITE, &err);
    for (StoreOp *op = batch; op && ok; op = op->next)
        ok = op->ok = run_op(s, op, now, &err);
    if (ok && now - s->cleaned_ms > CLEAN_MS)
        clean(s, now);
    ok = ok && s->drv->control(s->conn, XS_DB_COMMIT, &err);
    if (ok)
        return;
    if (s->drv->in_transaction(s->conn)) {
        xs_error ignored = {0};
        (void)s->drv->control(s->conn, XS_DB_ROLLBACK, &ignored);
    }
    forget(s);
    for (StoreOp *op = batch; op; op = op->next)
        reset_result(op);
}

/* One op's failure is not the others': each is tried alone then. */
static void serve(Store *s, StoreOp *batch)
{
    run_batch(s, batch);
    bool retry = batch->next && !batch->ok;
    while (batch) {
        StoreOp *op = batch;
        batch = op->next;
        op->next = NULL;
        if (retry)
            run_batch(s, op);
        op->done(op);
    }
}

static StoreOp *take_batch(Store *s)
{
    StoreOp *first = s->first, **end = &s->first;
    size_t n = 0;
    while (*end && n < MAX_BATCH) {
        end = &(*end)->next;
        n++;
    }
    s->first = *end;
    *end = NULL;
    if (!s->first)
        s->last = &s->first;
    s->waiting -= n;
    return first;
}

static void *store_main(void *arg)
{
    Store *s = arg;
    thread_in_bulk();
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first && !s->stop)
            pthread_cond_wait(&s->wake, &s->lock);
        if (!s->first)
            break;
        StoreOp *batch = take_batch(s);
        pthread_mutex_unlock(&s->lock);
        serve(s, batch);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

bool store_push(Store *s, StoreOp *op)
{
    pthread_mutex_lock(&s->lock);
    bool ok = !s->stop && s->waiting < MAX_WAITING;
    if (ok) {
        op->next = NULL;
        *s->last = op;
        s->last = &op->next;
        s->waiting++;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

/* ---- life ---- */

Store *store_open(const char *path, xs_error *err)
{
    Store *s = mem_zalloc(1, sizeof *s);
    if (!s) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        return NULL;
    }
    xs_db_options opt = {.path = path, .writer = true};
    s->drv = db_driver_sqlite();
    s->last = &s->first;
    s->cleaned_ms = clock_wall_ms();
    s->conn = s->drv->open(&opt, err);
    bool ok = s->conn && create_tables(s, err);
    if (ok)
        clean(s, s->cleaned_ms);
    if (ok && (pthread_mutex_init(&s->lock, NULL) != 0 || pthread_cond_init(&s->wake, NULL) != 0 ||
               pthread_create(&s->thread, NULL, store_main, s) != 0))
        ok = xs_fail(err, XS_E_IO, XS_NO_POS, "no thread for the realtime record");
    if (ok)
        return s;
    if (s->conn)
        s->drv->close(s->conn);
    mem_free(s);
    return NULL;
}

void store_close(Store *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    forget(s);
    s->drv->checkpoint(s->conn);
    s->drv->close(s->conn);
    mem_free(s);
}
