/* history.c - one lock guards the queue and the connection is the writer's; readers open their own.
 * Losing the last moments at a crash is fine, so commits do not wait for the disk. */
#include "host/history.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/thread.h"

enum {
    QUEUE_MAX = 4096,
    KEEP_MS = 24 * 3600 * 1000,
    CLEAN_EVERY_MS = 10 * 60 * 1000,
    BUSY_MS = 2000,
    LIST_MAX = 1000
};

typedef struct Item {
    struct Item *next;
    HistoryRecord r;
    char bytes[]; /* its texts */
} Item;

struct History {
    HistoryOptions opt;
    char *file;
    sqlite3 *db;
    sqlite3_stmt *insert;
    pthread_t thread;
    bool started, stopping;
    pthread_mutex_t lock;
    pthread_cond_t work;
    Item *first, *last;
    size_t queued;
    int64_t second; /* of the rate */
    uint32_t in_second;
    int64_t cleaned_ms;
};

static bool fail(sqlite3 *db, xs_error *err)
{
    return xs_fail(err, XS_E_DATABASE, XS_NO_POS, "history: %s",
                   db ? sqlite3_errmsg(db) : "out of memory");
}

static void bind(sqlite3_stmt *st, int i, Text t)
{
    sqlite3_bind_text64(st, i, t.ptr ? t.ptr : "", t.len, SQLITE_STATIC, SQLITE_UTF8);
}

/* ---- writer ---- */

static void write_item(History *h, const Item *item)
{
    const HistoryRecord *r = &item->r;
    bind(h->insert, 1, r->api_id);
    bind(h->insert, 2, r->verb);
    bind(h->insert, 3, r->path);
    bind(h->insert, 4, r->branch);
    sqlite3_bind_int(h->insert, 5, r->status);
    sqlite3_bind_double(h->insert, 6, r->duration_ms);
    bind(h->insert, 7, r->request);
    bind(h->insert, 8, r->response);
    sqlite3_bind_int64(h->insert, 9, r->created_at_ms);
    bind(h->insert, 10, r->trace);
    if (sqlite3_step(h->insert) != SQLITE_DONE)
        log_line(h->opt.log, LEVEL_WARNING, "history: %s", sqlite3_errmsg(h->db));
    sqlite3_reset(h->insert);
}

static void clean(History *h, int64_t now_ms)
{
    char sql[96];
    if (now_ms - h->cleaned_ms < CLEAN_EVERY_MS)
        return;
    h->cleaned_ms = now_ms;
    snprintf(sql, sizeof sql, "DELETE FROM history WHERE created_at < %lld",
             (long long)(now_ms - KEEP_MS));
    if (sqlite3_exec(h->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        log_line(h->opt.log, LEVEL_WARNING, "history: %s", sqlite3_errmsg(h->db));
}

static void write_batch(History *h, Item *item)
{
    int64_t newest = item->r.created_at_ms;
    bool whole = sqlite3_exec(h->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    for (Item *next; item; item = next) {
        next = item->next;
        newest = item->r.created_at_ms;
        write_item(h, item);
        mem_free(item);
    }
    if (whole && sqlite3_exec(h->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        log_line(h->opt.log, LEVEL_WARNING, "history: %s", sqlite3_errmsg(h->db));
        sqlite3_exec(h->db, "ROLLBACK", NULL, NULL, NULL);
    }
    clean(h, newest);
}

static void *writer_main(void *arg)
{
    History *h = (History *)arg;
    thread_in_bulk();
    pthread_mutex_lock(&h->lock);
    while (h->first || !h->stopping) {
        if (!h->first) {
            pthread_cond_wait(&h->work, &h->lock);
            continue;
        }
        Item *batch = h->first;
        h->first = h->last = NULL;
        h->queued = 0;
        pthread_mutex_unlock(&h->lock);
        write_batch(h, batch);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- life ---- */

static bool open_file(History *h, xs_error *err)
{
    static const char schema[] =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA secure_delete=OFF;"
        "CREATE TABLE IF NOT EXISTS history (id INTEGER PRIMARY KEY AUTOINCREMENT, api_id TEXT NOT "
        "NULL, verb TEXT NOT NULL, path TEXT NOT NULL, branch TEXT NOT NULL, status INTEGER NOT "
        "NULL,"
        " duration_ms REAL NOT NULL, request TEXT NOT NULL, response TEXT NOT NULL, created_at "
        "INTEGER NOT NULL, trace TEXT NOT NULL DEFAULT '[]') STRICT;"
        "CREATE INDEX IF NOT EXISTS history_created_at ON history (created_at);";
    static const char insert[] = "INSERT INTO history (api_id, verb, path, branch, status, "
                                 "duration_ms, request, response, created_at, trace) "
                                 "VALUES (?,?,?,?,?,?,?,?,?,?)";
    static const char older[] = /* a file from before there were traces */
        "ALTER TABLE history ADD COLUMN trace TEXT NOT NULL DEFAULT '[]'";
    /* Made by us first: what people sent is nobody else's business. */
    int fd = open(h->file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "history: %s cannot be opened", h->file);
    close(fd);
    if (sqlite3_open_v2(h->file, &h->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return fail(h->db, err);
    sqlite3_busy_timeout(h->db, BUSY_MS);
    bool made = sqlite3_exec(h->db, schema, NULL, NULL, NULL) == SQLITE_OK;
    if (made && sqlite3_table_column_metadata(h->db, NULL, "history", "trace", NULL, NULL, NULL,
                                              NULL, NULL) != SQLITE_OK)
        made = sqlite3_exec(h->db, older, NULL, NULL, NULL) == SQLITE_OK;
    return (made && sqlite3_prepare_v3(h->db, insert, -1, SQLITE_PREPARE_PERSISTENT, &h->insert,
                                       NULL) == SQLITE_OK) ||
           fail(h->db, err);
}

History *history_new(const HistoryOptions *opt, xs_error *err)
{
    History *h = mem_zalloc(1, sizeof *h);
    if (!h) {
        fail(NULL, err);
        return NULL;
    }
    h->opt = *opt;
    h->file = mem_strndup(opt->file, strlen(opt->file));
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    if ((h->file || fail(NULL, err)) && open_file(h, err)) {
        h->started = pthread_create(&h->thread, NULL, writer_main, h) == 0;
        if (h->started)
            return h;
        xs_fail(err, XS_E_IO, XS_NO_POS, "no thread for the history");
    }
    history_free(h);
    return NULL;
}

void history_free(History *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    if (h->started)
        pthread_join(h->thread, NULL);
    sqlite3_finalize(h->insert);
    sqlite3_close(h->db);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->work);
    mem_free(h->file);
    mem_free(h);
}

/* ---- adding ---- */

bool history_wants(History *h, int64_t now_ms)
{
    pthread_mutex_lock(&h->lock);
    if (now_ms / 1000 != h->second) {
        h->second = now_ms / 1000;
        h->in_second = 0;
    }
    bool ok = h->in_second < h->opt.per_s && h->queued < QUEUE_MAX && !h->stopping;
    h->in_second += ok;
    pthread_mutex_unlock(&h->lock);
    return ok;
}

static Text put(char **at, Text t)
{
    Text copy = {*at, t.len};
    if (t.len)
        memcpy(*at, t.ptr, t.len);
    *at += t.len;
    return copy;
}

void history_add(History *h, const HistoryRecord *given)
{
    static const Text null = {"null", 4};
    HistoryRecord r = *given;
    if (!r.request.len || r.request.len > h->opt.max_bytes)
        r.request = null;
    if (!r.trace.len)
        r.trace = TEXT("[]");
    if (!r.response.len || r.response.len > h->opt.max_bytes)
        r.response = null;
    Item *item = mem_alloc(sizeof *item + r.api_id.len + r.verb.len + r.path.len + r.branch.len +
                           r.request.len + r.response.len + r.trace.len);
    if (!item)
        return;
    char *at = item->bytes;
    item->next = NULL;
    item->r = r;
    item->r.api_id = put(&at, r.api_id);
    item->r.verb = put(&at, r.verb);
    item->r.path = put(&at, r.path);
    item->r.branch = put(&at, r.branch);
    item->r.request = put(&at, r.request);
    item->r.response = put(&at, r.response);
    item->r.trace = put(&at, r.trace);
    pthread_mutex_lock(&h->lock);
    *(h->last ? &h->last->next : &h->first) = item;
    h->last = item;
    h->queued++;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
}

/* ---- reading ---- */

static Text column(sqlite3_stmt *st, int i)
{
    const char *p = (const char *)sqlite3_column_text(st, i);
    return (Text){p ? p : "", (size_t)sqlite3_column_bytes(st, i)};
}

static void write_row(sqlite3_stmt *st, Buf *out)
{
    buf_printf(out, "{\"id\":%lld,\"api_id\":", (long long)sqlite3_column_int64(st, 0));
    json_write_text(out, column(st, 1));
    buf_cstr(out, ",\"verb\":");
    json_write_text(out, column(st, 2));
    buf_cstr(out, ",\"path\":");
    json_write_text(out, column(st, 3));
    buf_printf(out, ",\"status\":%d,\"duration_ms\":%.3f,\"branch\":", sqlite3_column_int(st, 5),
               sqlite3_column_double(st, 6));
    json_write_text(out, column(st, 4));
    buf_cstr(out, ",\"request\":");
    buf_text(out, column(st, 7));
    buf_cstr(out, ",\"response\":");
    buf_text(out, column(st, 8));
    buf_printf(out, ",\"created_at\":%lld,\"trace\":", (long long)sqlite3_column_int64(st, 9));
    buf_text(out, column(st, 10));
    buf_char(out, '}');
}

bool history_list(History *h, int status, Text api_id, int64_t before, uint32_t limit, Buf *out,
                  xs_error *err)
{
    static const char sql[] = "SELECT id, api_id, verb, path, branch, status, duration_ms, "
                              "request, response, created_at, "
                              "trace FROM history WHERE (?1 = 0 OR status = ?1 OR status / 100 = "
                              "?1) AND (?2 = '' OR api_id = "
                              "?2) AND (?3 = 0 OR id < ?3) ORDER BY id DESC LIMIT ?4";
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_open_v2(h->file, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) ==
                  SQLITE_OK &&
              sqlite3_busy_timeout(db, BUSY_MS) == SQLITE_OK &&
              sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK;
    if (ok) {
        sqlite3_bind_int(st, 1, status);
        bind(st, 2, api_id);
        sqlite3_bind_int64(st, 3, before);
        sqlite3_bind_int64(st, 4, limit < LIST_MAX ? limit : LIST_MAX);
        int step;
        bool first = true;
        buf_char(out, '[');
        for (; (step = sqlite3_step(st)) == SQLITE_ROW; first = false) {
            if (!first)
                buf_char(out, ',');
            write_row(st, out);
        }
        buf_char(out, ']');
        ok = step == SQLITE_DONE;
    }
    if (!ok)
        fail(db, err);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return ok;
}
