/* realtime.c - api.realtime_event: a statement's clauses -> one publish of the host. Inside a
 * transaction the event waits for the commit. Specification: realtime.md §1.4, §4.7. Thread: the
 * fiber's. */
#include "core/tables.h"
#include "stdlib/db/db.h"
#include "stdlib/natives.h"

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
        return call_fail(c, XS_E_NOT_TEXT, "api.realtime_event: %s is not a text", name);
    if (!val_write_text(v, out, c->err))
        return false;
    return !out->failed || call_fail(c, XS_E_NOMEM, NULL);
}

static bool publish(Call *c, const PublishReq *req)
{
    const Services *s = c->services;
    if (!s || !s->publish)
        return call_fail(c, XS_E_UNSUPPORTED, "api.realtime_event: there is no realtime server");
    if (db_in_transaction(c->fiber))
        return db_hold_event(c->fiber, req, c->err);
    return s->publish(s->ctx, req, c->err);
}

/* Both auth clauses or neither: an empty one means everybody who listens. */
static bool write_id(Call *c, Buf *id)
{
    Value v = clause(c, "auth_id");
    if (val_is_null(v) || (v.kind == V_TEXT && v.text->len == 0))
        return true;
    if (v.kind == V_LIST || v.kind == V_MAP || v.kind == V_HANDLE)
        return call_fail(c, XS_E_BAD_ARG, "api.realtime_event: auth_id is not an id");
    return val_write_json(v, id) || call_fail(c, XS_E_NOMEM, NULL);
}

NativeResult op_api_realtime_event(Call *c)
{
    Buf channel = BUF_INIT, event = BUF_INIT, table = BUF_INIT, id = BUF_INIT, data = BUF_INIT;
    Value body = clause(c, "data");
    bool ok = text_clause(c, "channel", &channel) && text_clause(c, "event", &event) &&
              text_clause(c, "auth_table", &table) && write_id(c, &id);
    if (ok && channel.len == 0)
        ok = call_fail(c, XS_E_BAD_ARG, "api.realtime_event: channel is empty");
    if (ok && !val_write_json(val_is_null(body) ? val_null() : body, &data))
        ok = data.failed
                 ? call_fail(c, XS_E_NOMEM, NULL)
                 : call_fail(c, XS_E_LIMIT, "api.realtime_event: data is nested too deeply");
    if (ok) {
        PublishReq req = {.channel = buf_view(&channel), .data_json = buf_view(&data)};
        if (event.len)
            req.event = buf_view(&event);
        if (table.len && id.len) {
            req.auth_table = buf_view(&table);
            req.auth_id_json = buf_view(&id);
        }
        ok = publish(c, &req);
    }
    buf_deinit(&channel);
    buf_deinit(&event);
    buf_deinit(&table);
    buf_deinit(&id);
    buf_deinit(&data);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}
