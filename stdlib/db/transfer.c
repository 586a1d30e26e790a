/* transfer.c - see transfer.h. */
#include "stdlib/db/transfer.h"

#include <stdio.h>

#include "core/json.h"
#include "core/text.h"
#include "stdlib/db/pool.h"
#include "stdlib/db/seed.h"

/* One object per row of the statement. */
static bool each_row(DbPool *p, xs_db_stmt *st, const OutCol *outs, uint32_t n, RowSink sink,
                     void *ctx, xs_error *err)
{
    for (;;) {
        xs_db_step r = p->drv->step(st, err);
        if (r != XS_DB_ROW)
            return r == XS_DB_DONE;
        Arena a;
        arena_init(&a, 0);
        Const *row = const_map(&a, n);
        for (uint32_t i = 0; i < n && row; i++) {
            xs_db_value v;
            p->drv->column(st, i, &v);
            const Const *c = row_decode_const(&a, outs[i].type, &v);
            if (!c || !const_set(&a, row, outs[i].name, c))
                row = NULL;
        }
        bool ok = row ? sink(ctx, row, err) : fail_code(err, XS_E_NOMEM);
        arena_deinit(&a);
        if (!ok)
            return false;
    }
}

typedef struct LineSink {
    TransferSink sink;
    void *ctx;
    uint64_t rows;
} LineSink;

static bool write_line(void *ctx, const Const *row, xs_error *err)
{
    LineSink *l = ctx;
    Buf b = BUF_INIT;
    json_write_const(&b, row);
    buf_char(&b, '\n');
    bool ok = b.failed ? fail_code(err, XS_E_NOMEM) : l->sink(l->ctx, buf_view(&b), err);
    buf_deinit(&b);
    l->rows++;
    return ok;
}

bool transfer_out(DbPool *p, const Table *t, TransferSink sink, void *ctx, uint64_t *rows,
                  xs_error *err)
{
    Arena a;
    arena_init(&a, 0);
    LineSink line = {sink, ctx, 0};
    OutCol *outs = ARENA_ARRAY(&a, OutCol, t->ncols);
    Buf sql = BUF_INIT;
    for (uint32_t i = 0; outs && i < t->ncols; i++)
        outs[i] = (OutCol){t->cols[i].name, t->cols[i].type};
    buf_cstr(&sql, "SELECT ");
    if (outs)
        sql_columns(&sql, NULL, outs, t->ncols);
    buf_cstr(&sql, " FROM ");
    sql_ident(&sql, t->name);
    buf_cstr(&sql, " ORDER BY \"id\"");
    xs_db_stmt *st =
        outs && !sql.failed ? p->drv->prepare(p->conn, sql.ptr, sql.len, 0, err) : NULL;
    bool ok = st                    ? each_row(p, st, outs, t->ncols, write_line, &line, err)
              : outs && !sql.failed ? false
                                    : fail_code(err, XS_E_NOMEM);
    p->drv->finish(st);
    buf_deinit(&sql);
    arena_deinit(&a);
    *rows = line.rows;
    return ok;
}

bool transfer_in(DbPool *p, const Table *t, Text lines, void (*progress)(void *ctx, uint64_t rows),
                 void *ctx, uint64_t *rows, xs_error *err)
{
    uint64_t number = 0;
    for (size_t at = 0; at < lines.len;) {
        size_t end = text_find(lines, TEXT("\n"), at);
        Text line = text_trim(text_slice(lines, at, end), TEXT(" \t\r"));
        at = end == SIZE_MAX ? lines.len : end + 1;
        number++;
        if (!line.len)
            continue;
        Arena a;
        arena_init(&a, 0);
        const Const *row = json_parse(&a, line, err);
        bool ok = row && seed_row(p, t, row, err);
        arena_deinit(&a);
        if (!ok) {
            char why[sizeof err->message];
            snprintf(why, sizeof why, "%s", err->message);
            return xs_fail(err, err->code, XS_NO_POS, "table '" TEXT_FMT "', line %llu: %.160s",
                           TEXT_ARG(t->name), (unsigned long long)number, why);
        }
        ++*rows;
        if (progress && *rows % 1000 == 0)
            progress(ctx, *rows);
    }
    return true;
}

bool transfer_query(DbPool *p, xs_db_conn *conn, Text sql, RowSink sink, void *ctx, xs_error *err)
{
    xs_db_stmt *st = p->drv->prepare(conn, sql.ptr, sql.len, XS_DB_UNTRUSTED, err);
    if (!st)
        return false;
    Arena a;
    arena_init(&a, 0);
    OutCol *outs;
    uint32_t n;
    bool ok = (p->drv->readonly(st) ||
               xs_fail(err, XS_E_DATABASE, XS_NO_POS, "only reading statements are allowed")) &&
              (!p->drv->params(st) ||
               xs_fail(err, XS_E_DATABASE, XS_NO_POS, "parameters have no values here")) &&
              raw_outputs(p, &a, st, &outs, &n, err) && each_row(p, st, outs, n, sink, ctx, err);
    p->drv->finish(st);
    arena_deinit(&a);
    return ok;
}
