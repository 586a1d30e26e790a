/* detached.c - a table of results by id. One that nobody asks for goes after an hour, or earlier
 * when there are too many. */
#include "host/detached.h"

#include <pthread.h>
#include <sodium.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/map.h"
#include "core/mem.h"
#include "host/http.h"
#include "host/worker.h"
#include "vm/convert.h"
#include "vm/heap.h"

enum {
    ID_LEN = 36,
    KEEP_MS = 3600 * 1000,
    KEEP_MAX = 10000,      /* results nobody asked for */
    KEEP_BYTES = 64 << 20, /* of those */
    RUNNING_MAX = 1000000
};

typedef struct Record {
    struct Record *next, *prev; /* finished ones, oldest first */
    char id[ID_LEN + 1];
    bool over;
    int64_t expires_ms;
    Buf json;
} Record;

struct Detached {
    pthread_mutex_t lock;
    Map records; /* id → Record */
    Record *oldest, *newest;
    size_t finished, bytes;
    AsyncWatch *watches;
};

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

/* ---- table ---- */

Detached *detached_new(xs_error *err)
{
    Detached *d = mem_zalloc(1, sizeof *d);
    if (d)
        pthread_mutex_init(&d->lock, NULL);
    else
        no_memory(err);
    return d;
}

static void record_free(Detached *d, Record *r)
{
    if (r->over) {
        *(r->prev ? &r->prev->next : &d->oldest) = r->next;
        *(r->next ? &r->next->prev : &d->newest) = r->prev;
        d->finished--;
        d->bytes -= r->json.len;
    }
    buf_deinit(&r->json);
    mem_free(r);
}

static void forget(Detached *d, Record *r)
{
    map_take(&d->records, text_from(r->id));
    record_free(d, r);
}

void detached_free(Detached *d)
{
    if (!d)
        return;
    size_t at = 0;
    for (MapSlot *slot; (slot = map_next(&d->records, &at));)
        record_free(d, slot->value);
    map_deinit(&d->records);
    pthread_mutex_destroy(&d->lock);
    mem_free(d);
}

bool detached_begin(Detached *d, Text id, xs_error *err)
{
    Record *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return no_memory(err);
    memcpy(r->id, id.ptr, id.len < ID_LEN ? id.len : ID_LEN);
    pthread_mutex_lock(&d->lock);
    bool full = d->records.count >= RUNNING_MAX;
    bool ok = !full && map_put(&d->records, text_from(r->id), r);
    pthread_mutex_unlock(&d->lock);
    if (ok)
        return true;
    mem_free(r);
    return full ? xs_fail(err, XS_E_OVERLOAD, XS_NO_POS, "The server is busy.") : no_memory(err);
}

/* Under the lock. */
static bool all_over(const Detached *d, const AsyncWatch *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        const Record *r = map_get(&d->records, w->ids[i]);
        if (r && !r->over)
            return false;
    }
    return true;
}

static void unlink_watch(Detached *d, AsyncWatch *w)
{
    *(w->prev ? &w->prev->next : &d->watches) = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->next = w->prev = NULL;
}

static void tell_watches(Detached *d)
{
    for (AsyncWatch *w = d->watches, *next; w; w = next) {
        next = w->next;
        if (!all_over(d, w))
            continue;
        unlink_watch(d, w);
        w->ready(w);
    }
}

void detached_end(Detached *d, Text id, Buf *json, int64_t now_ms)
{
    pthread_mutex_lock(&d->lock);
    Record *r = map_get(&d->records, id);
    if (r && !r->over) {
        r->over = true;
        r->expires_ms = now_ms + KEEP_MS;
        if (!json->failed) {
            r->json = *json;
            *json = BUF_INIT;
        }
        r->prev = d->newest;
        *(d->newest ? &d->newest->next : &d->oldest) = r;
        d->newest = r;
        d->finished++;
        d->bytes += r->json.len;
        tell_watches(d);
        while (d->oldest != r &&
               (d->oldest->expires_ms < now_ms || d->finished > KEEP_MAX || d->bytes > KEEP_BYTES))
            forget(d, d->oldest);
    }
    pthread_mutex_unlock(&d->lock);
    buf_deinit(json);
}

bool detached_watch(Detached *d, AsyncWatch *w)
{
    pthread_mutex_lock(&d->lock);
    bool wait = !all_over(d, w);
    if (wait) {
        w->prev = NULL;
        w->next = d->watches;
        if (d->watches)
            d->watches->prev = w;
        d->watches = w;
    }
    pthread_mutex_unlock(&d->lock);
    return wait;
}

void detached_forget(Detached *d, AsyncWatch *w)
{
    pthread_mutex_lock(&d->lock);
    if (w->prev || w->next || d->watches == w)
        unlink_watch(d, w);
    pthread_mutex_unlock(&d->lock);
}

bool detached_take(Detached *d, Text id, Buf *json)
{
    pthread_mutex_lock(&d->lock);
    Record *r = map_get(&d->records, id);
    bool ok = r && r->over;
    if (ok) {
        buf_text(json, r->json.len ? buf_view(&r->json) : TEXT("null"));
        forget(d, r);
    }
    pthread_mutex_unlock(&d->lock);
    return ok;
}

/* ---- running ---- */

typedef struct DetachedJob {
    Job job;
    Detached *table;
    char id[ID_LEN + 1];
    uint32_t proc, retries;
    const Const *input;
    bool begun, over;
    Buf json;
} DetachedJob;

static void uuid(char out[ID_LEN + 1])
{
    unsigned char b[16];
    randombytes_buf(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    size_t n = 0;
    for (size_t i = 0; i < sizeof b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[n++] = '-';
        out[n++] = "0123456789abcdef"[b[i] >> 4];
        out[n++] = "0123456789abcdef"[b[i] & 15];
    }
    out[n] = '\0';
}

/* The outcome of a fiber as JSON; false: it was an error. */
static bool outcome(Fiber *f, FiberState state, Buf *json)
{
    Text name;
    Value payload = val_unset();
    const xs_error *err = state == FIBER_DONE ? NULL : fiber_error(f, &name, &payload);
    if (!err)
        return val_write_json(fiber_result(f), json);
    if (err->code == XS_E_STOPPED)
        return val_write_json(payload, json);
    fiber_write_error(f, json);
    return false;
}

static bool detached_next(Job *job)
{
    DetachedJob *j = (DetachedJob *)job;
    xs_error err = {0};
    if (j->over)
        return false;
    if (!job_begin(job, j->proc, j->input, &err)) {
        http_write_error(&j->json, xs_code_get(err.code)->wire, err.message);
        j->over = true;
    }
    return true;
}

static void detached_ended(Job *job)
{
    DetachedJob *j = (DetachedJob *)job;
    buf_deinit(&j->json);
    j->over = outcome(job->fiber, job->state, &j->json) || !j->retries--;
    if (job->state != FIBER_ERROR || !j->over)
        return;
    Text message = fiber_error_message(job->fiber);
    const xs_error *err = fiber_error(job->fiber, NULL, NULL);
    if (err->code != XS_E_STOPPED)
        log_line(pool_options(job->pool)->log, LEVEL_INFO,
                 "a detached invocation failed at %s:%u: " TEXT_FMT,
                 err->pos.file ? err->pos.file : "?", err->pos.line, TEXT_ARG(message));
}

static void detached_done(Job *job)
{
    DetachedJob *j = (DetachedJob *)job;
    detached_end(j->table, text_from(j->id), &j->json, clock_wall_ms());
    job_deinit(job);
    mem_free(j);
}

static void detached_dropped(Job *job)
{
    DetachedJob *j = (DetachedJob *)job;
    http_write_error(&j->json, "ERROR_CODE_OVERLOAD", "The server is shutting down.");
    detached_done(job);
}

static const JobOps detached_ops = {detached_next, detached_ended, detached_done, detached_dropped};

static bool submit(ServiceCtx *c, const RunContext *run, const SpawnReq *req, const char *id,
                   xs_error *err)
{
    Pool *pool = c->env->pool;
    DetachedJob *j = mem_zalloc(1, sizeof *j);
    if (!j)
        return no_memory(err);
    int64_t timeout =
        req->timeout_ms ? req->timeout_ms : pool_options(pool)->config->request_timeout_ms;
    job_init(&j->job, pool, &detached_ops, c->space, NULL, timeout);
    j->table = c->env->detached;
    memcpy(j->id, id, sizeof j->id);
    j->proc = req->proc;
    j->retries = req->retries;
    j->input = val_to_const(&j->job.arena, req->input);
    bool ok = (j->input && run_context_copy(&j->job.arena, run, &j->job.run)) || no_memory(err);
    if (ok && !pool_submit(pool, &j->job))
        ok = xs_fail(err, XS_E_OVERLOAD, XS_NO_POS, "The server is busy.");
    if (ok)
        return true;
    job_deinit(&j->job);
    mem_free(j);
    return false;
}

/* Without workers: here and now, waiting in place. */
static bool run_here(ServiceCtx *c, Fiber *parent, const SpawnReq *req, const char *id,
                     xs_error *err)
{
    Arena a;
    Buf json = BUF_INIT;
    arena_init(&a, 0);
    const Const *input = val_to_const(&a, req->input);
    bool ok = false;
    for (uint32_t tries = 0; input && tries <= req->retries && !ok; tries++) {
        Fiber *f = fiber_new(fiber_program(parent), fiber_services(parent),
                             fiber_run_context(parent), &limits_default);
        Value v = f ? val_from_const(fiber_heap(f), input) : val_unset();
        buf_deinit(&json);
        if (v.kind == V_UNSET || !fiber_call(f, req->proc, v, err)) {
            fiber_free(f);
            break;
        }
        ok = outcome(f, fiber_run(f), &json);
        fiber_free(f);
    }
    arena_deinit(&a);
    if (!json.len)
        return no_memory(err);
    detached_end(c->env->detached, text_from(id), &json, clock_wall_ms());
    return true;
}

bool detached_spawn(ServiceCtx *c, Fiber *parent, const SpawnReq *req, char id[ID_LEN + 1],
                    xs_error *err)
{
    uuid(id);
    if (!detached_begin(c->env->detached, text_from(id), err))
        return false;
    if (c->env->pool ? submit(c, fiber_run_context(parent), req, id, err)
                     : run_here(c, parent, req, id, err))
        return true;
    Buf none = BUF_INIT;
    detached_end(c->env->detached, text_from(id), &none, clock_wall_ms());
    detached_take(c->env->detached, text_from(id), &none);
    buf_deinit(&none);
    return false;
}
