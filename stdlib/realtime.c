/* realtime.c - api.realtime_event and realtime.publish: a statement's clauses -> one publish of the
 * host. Inside a transaction the event waits for the commit; what is recorded is on disk when the
 * statement is over. And realtime.get_session.
 * Specification: realtime.md §1.4, §4.7. Thread: the fiber's. */
#include <pthread.h>

#include "core/mem.h"
#include "core/tables.h"
#include "stdlib/db/db.h"
#include "stdlib/natives.h"
#include "stdlib/outside.h"

static Value clause(const Call *c, const char *name)
{
    uint32_t i;
    const StatementInfo *row = c->row;
    return row && statement_clause(row, text_from(name), &i) ? call_arg(c, i) : val_unset();
}

/* A clause that is text, or a number standing for one; empty when absent. Bytes go to the buffer.
 */
static bool text_clause(Call *c, const char *name, Buf *out)
{
    Value v = clause(c, name);
    if (val_is_null(v))
        return true;
    if (v.kind == V_LIST || v.kind == V_MAP || v.kind == V_HANDLE)
        return call_fail(c, XS_E_NOT_TEXT, "%s: %s is not a text", c->name, name);
    if (!val_write_text(v, out, c->err))
        return false;
    return !out->failed || call_fail(c, XS_E_NOMEM, NULL);
}

/* ---- recorded events: the statement waits for the disk ---- */

/* The statement and the store own it together. */
typedef struct Recorded {
    Wait wait;
    Receipt receipt;
    pthread_mutex_t lock; /* everything below */
    unsigned refs;
    bool told, ok;
    bool waiting; /* wait_signal may be called */
} Recorded;

static Recorded *recorded_of(Receipt *r)
{
    return (Recorded *)((char *)r - offsetof(Recorded, receipt));
}

static void recorded_unref(Recorded *r)
{
    pthread_mutex_lock(&r->lock);
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

static void recorded_ready(Receipt *receipt, bool ok)
{
    Recorded *r = recorded_of(receipt);
    pthread_mutex_lock(&r->lock);
    r->told = true;
    r->ok = ok;
    if (r->waiting)
        wait_signal(&r->wait);
    pthread_mutex_unlock(&r->lock);
    recorded_unref(r);
}

static void recorded_start(Wait *w)
{
    Recorded *r = (Recorded *)w;
    pthread_mutex_lock(&r->lock);
    bool told = r->told;
    r->waiting = !told;
    pthread_mutex_unlock(&r->lock);
    if (told)
        wait_done(w);
}

static void recorded_cancel(Wait *w)
{
    Recorded *r = (Recorded *)w;
    pthread_mutex_lock(&r->lock);
    r->waiting = false;
    pthread_mutex_unlock(&r->lock);
}

static bool recorded_result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)h;
    (void)out;
    (void)thrown;
    Recorded *r = (Recorded *)w;
    pthread_mutex_lock(&r->lock);
    bool told = r->told, ok = r->ok;
    pthread_mutex_unlock(&r->lock);
    if (!told)
        return xs_fail(err, XS_E_DEADLINE, XS_NO_POS, "%s", xs_code_get(XS_E_DEADLINE)->text);
    return ok || xs_fail(err, XS_E_DATABASE, XS_NO_POS,
                         "realtime.publish: the event could not be recorded");
}

static void recorded_free(Wait *w)
{
    recorded_unref((Recorded *)w);
}

static const WaitOps recorded_ops = {recorded_start, recorded_cancel, recorded_result,
                                     recorded_free};

static Recorded *recorded_new(void)
{
    Recorded *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return NULL;
    if (pthread_mutex_init(&r->lock, NULL) != 0) {
        mem_free(r);
        return NULL;
    }
    r->wait.ops = &recorded_ops;
    r->wait.timeout_ms = INT64_MAX;
    r->receipt.ready = recorded_ready;
    r->refs = 1;
    return r;
}

static NativeResult publish_recorded(Call *c, PublishReq *req)
{
    const Services *s = c->services;
    Outside *o = s->outside;
    Recorded *r = recorded_new();
    if (!r) {
        call_fail(c, XS_E_NOMEM, NULL);
        return NATIVE_ERROR;
    }
    r->refs = 2;
    req->receipt = &r->receipt;
    bool ok = s->publish(s->ctx, req, c->err), pending = r->receipt.pending;
    if (!ok || !pending)
        recorded_unref(r); /* nobody will tell */
    if (ok && pending)
        return wait_for(c, o->io, &r->wait);
    recorded_unref(r);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

static NativeResult publish(Call *c, PublishReq *req)
{
    const Services *s = c->services;
    bool ok;
    if (!s || !s->publish)
        ok = call_fail(c, XS_E_UNSUPPORTED, "%s: there is no realtime server", c->name);
    else if (db_in_transaction(c->fiber))
        ok = db_hold_event(c->fiber, req, c->err);
    else if (req->server.len && s->outside)
        return publish_recorded(c, req);
    else
        ok = s->publish(s->ctx, req, c->err);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

/* Both auth clauses or neither: an empty one means everybody who listens. */
static bool write_id(Call *c, Buf *id)
{
    Value v = clause(c, "auth_id");
    if (val_is_null(v) || (v.kind == V_TEXT && v.text->len == 0))
        return true;
    if (v.kind == V_LIST || v.kind == V_MAP || v.kind == V_HANDLE)
        return call_fail(c, XS_E_BAD_ARG, "%s: auth_id is not an id", c->name);
    return val_write_json(v, id) || call_fail(c, XS_E_NOMEM, NULL);
}

/* event: the clause that names it. */
static NativeResult send_event(Call *c, const char *event_clause, bool to_server)
{
    Buf channel = BUF_INIT, event = BUF_INIT, table = BUF_INIT, id = BUF_INIT, data = BUF_INIT;
    Buf server = BUF_INIT;
    NativeResult result = NATIVE_ERROR;
    Value body = clause(c, "data");
    bool ok = text_clause(c, "channel", &channel) && text_clause(c, event_clause, &event) &&
              text_clause(c, "auth_table", &table) && write_id(c, &id) &&
              (!to_server || text_clause(c, "realtime_server", &server));
    if (ok && channel.len == 0)
        ok = call_fail(c, XS_E_BAD_ARG, "%s: channel is empty", c->name);
    if (ok && !val_write_json(val_is_null(body) ? val_null() : body, &data))
        ok = data.failed ? call_fail(c, XS_E_NOMEM, NULL)
                         : call_fail(c, XS_E_LIMIT, "%s: data is nested too deeply", c->name);
    if (ok) {
        PublishReq req = {.channel = buf_view(&channel),
                          .data_json = buf_view(&data),
                          .server = to_server ? buf_view(&server) : (Text){0}};
        if (event.len)
            req.event = buf_view(&event);
        if (table.len && id.len) {
            req.auth_table = buf_view(&table);
            req.auth_id_json = buf_view(&id);
        }
        result = publish(c, &req);
    }
    buf_deinit(&channel);
    buf_deinit(&event);
    buf_deinit(&table);
    buf_deinit(&id);
    buf_deinit(&data);
    buf_deinit(&server);
    return result;
}

NativeResult op_api_realtime_event(Call *c)
{
    return send_event(c, "event", false);
}

NativeResult op_realtime_publish(Call *c)
{
    return send_event(c, "message", true);
}

/* What a program sees that was not called by a realtime client. */
static Value no_session(Heap *h)
{
    static const struct {
        const char *name;
        Const value;
    } members[] = {{"authenticated", {.kind = C_BOOL}},
                   {"client_id", {.kind = C_TEXT, .text = {"", 0}}},
                   {"dbo_id", {.kind = C_INT}},
                   {"socket_id", {.kind = C_INT}},
                   {"channel", {.kind = C_TEXT, .text = {"", 0}}},
                   {"params", {.kind = C_MAP}},
                   {"extras", {.kind = C_MAP}},
                   {"opened_at", {.kind = C_DEC}}};
    Value session = map_new(h, COUNT_OF(members));
    for (size_t i = 0; i < COUNT_OF(members) && session.kind != V_UNSET; i++) {
        Value v = val_from_const(h, &members[i].value);
        if (v.kind == V_UNSET || !map_set_text(h, &session, text_from(members[i].name), v)) {
            val_unref(h, session);
            return val_unset();
        }
    }
    return session;
}

NativeResult op_realtime_get_session(Call *c)
{
    const Const *session = c->run ? c->run->session : NULL;
    Value v = session ? val_from_const(c->heap, session) : no_session(c->heap);
    if (v.kind == V_UNSET)
        return call_fail(c, XS_E_NOMEM, NULL) ? NATIVE_OK : NATIVE_ERROR;
    return call_return(c, v) ? NATIVE_OK : NATIVE_ERROR;
}
