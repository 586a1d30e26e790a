/* flow.c - statements about the run itself that need the world: debug.log. Specification:
 * runtime.md §4.7. */
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"

NativeResult op_debug_log(Call *c)
{
    const Services *s = c->services;
    if (!s || !s->log)
        return NATIVE_OK; /* nobody listens */
    Buf line = BUF_INIT;
    int64_t now;
    buf_cstr(&line, "{");
    if (s->now_ms && services_now(s, &now, c->err))
        buf_printf(&line, "\"ts\":%lld,", (long long)now);
    buf_cstr(&line, "\"value\":");
    bool ok = value_json(call_arg(c, 0), &line, c->err);
    buf_char(&line, '}');
    if (ok && line.failed)
        ok = call_fail(c, XS_E_NOMEM, NULL);
    if (ok)
        s->log(s->ctx, c->fiber, buf_view(&line));
    buf_deinit(&line);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}
