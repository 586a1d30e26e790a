/* flow.c - statements about the run itself that need the world: debug.log, util.sleep.
 * Specification: runtime.md §4.6, §4.7. */
#include <math.h>

#include "core/json.h"
#include "core/mem.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/outside.h"

bool call_log(Call *c, Value v)
{
    const Services *s = c->services;
    if (!s || !s->log)
        return true; /* nobody listens */
    Buf line = BUF_INIT;
    int64_t now;
    buf_cstr(&line, "{");
    if (s->now_ms && services_now(s, &now, c->err))
        buf_printf(&line, "\"ts\":%lld,", (long long)now);
    if (c->fiber) {
        Buf place = BUF_INIT;
        fiber_write_place(c->fiber, &place);
        buf_cstr(&line, "\"site\":");
        json_write_text(&line, buf_view(&place));
        buf_char(&line, ',');
        line.failed = line.failed || place.failed;
        buf_deinit(&place);
    }
    buf_cstr(&line, "\"value\":");
    bool ok = value_json(v, &line, c->err);
    buf_char(&line, '}');
    if (ok && line.failed)
        ok = call_fail(c, XS_E_NOMEM, NULL);
    if (ok)
        s->log(s->ctx, c->fiber, buf_view(&line));
    buf_deinit(&line);
    return ok;
}

NativeResult op_debug_log(Call *c)
{
    return call_log(c, call_arg(c, 0)) ? NATIVE_OK : NATIVE_ERROR;
}

/* ---- sleep ---- */

static void sleep_free(Wait *w)
{
    mem_free(w);
}

static const WaitOps sleep_ops = {.free = sleep_free};

NativeResult op_util_sleep(Call *c)
{
    Value n;
    Outside *o = call_outside(c);
    if (!o || !call_number(c, 0, &n))
        return NATIVE_ERROR;
    double seconds = val_as_double(n);
    if (!(seconds > 0))
        return NATIVE_OK;
    const Services *s = c->services;
    if (s->test) { /* nobody waits in a test: its clock moves */
        s->test->set_time(s->ctx, s->now_ms(s->ctx) + (int64_t)(fmin(seconds, 1e10) * 1000));
        return NATIVE_OK;
    }
    Wait *w = mem_zalloc(1, sizeof *w);
    if (!w) {
        call_fail(c, XS_E_NOMEM, NULL);
        return NATIVE_ERROR;
    }
    w->ops = &sleep_ops;
    w->timeout_ms = seconds < 1e12 ? (int64_t)ceil(seconds * 1000) : INT64_MAX;
    return wait_for(c, o->io, w);
}
