/* sql.c - building SQL text. Names are quoted here, values become parameters here; nothing else
 * writes either. */
#include "stdlib/db/dbi.h"

void sql_init(Sql *s, Arena *a)
{
    *s = (Sql){.arena = a};
}

void sql_deinit(Sql *s)
{
    buf_deinit(&s->text);
}

void sql_ident(Buf *out, Text name)
{
    buf_char(out, '"');
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '"')
            buf_char(out, '"');
        buf_char(out, name.ptr[i]);
    }
    buf_char(out, '"');
}

uint32_t sql_bind(Sql *s, xs_db_value v)
{
    if (s->nvals == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 16;
        xs_db_value *vals = ARENA_ARRAY(s->arena, xs_db_value, cap);
        if (!vals) {
            s->failed = true;
            return 1;
        }
        if (s->nvals)
            memcpy(vals, s->vals, s->nvals * sizeof *vals);
        s->vals = vals;
        s->cap = cap;
    }
    s->vals[s->nvals++] = v;
    return s->nvals;
}

void sql_param(Sql *s, xs_db_value v)
{
    buf_printf(&s->text, "?%u", sql_bind(s, v));
}

bool sql_ok(const Sql *s, xs_error *err)
{
    return (!s->failed && !s->text.failed) || fail_code(err, XS_E_NOMEM);
}

bool sql_copy(const Sql *s, Arena *a, Text *out, xs_error *err)
{
    if (!sql_ok(s, err))
        return false;
    *out = arena_text(a, buf_view(&s->text));
    return out->ptr || fail_code(err, XS_E_NOMEM);
}

void sql_columns(Buf *out, const char *alias, const OutCol *outs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            buf_char(out, ',');
        if (alias) {
            buf_cstr(out, alias);
            buf_char(out, '.');
        }
        sql_ident(out, outs[i].name);
    }
    if (n == 0)
        buf_cstr(out, "1");
}
