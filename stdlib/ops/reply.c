/* reply.c - api.stream: parts of an HTTP answer, sent while the program runs. A program that is
 * ahead of its client parks until there is room. runtime.md §5.7. */
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/outside.h"
#include "vm/stream.h"

/* ---- formats ---- */

enum { PIECE_BYTES = 64 << 10 }; /* of what comes from a stream */

typedef bool (*WriteRow)(Call *c, Value row, Buf *out);

static bool write_jsonl(Call *c, Value row, Buf *out)
{
    return value_json(row, out, c->err) && (buf_char(out, '\n') || true);
}

static bool write_raw(Call *c, Value row, Buf *out)
{
    if (row.kind == V_LIST || row.kind == V_MAP)
        return value_json(row, out, c->err);
    return val_is_null(row) || val_write_text(row, out, c->err);
}

/* A text may have several lines; each is one data line of the same event. */
static bool write_sse(Call *c, Value row, Buf *out)
{
    Buf text = flt_buf();
    bool ok = write_raw(c, row, &text);
    Text rest = buf_view(&text);
    for (bool more = ok; more;) {
        size_t end = text_find(rest, TEXT("\n"), 0);
        buf_cstr(out, "data: ");
        buf_text(out, text_trim(text_slice(rest, 0, end), TEXT("\r")));
        buf_char(out, '\n');
        more = end != SIZE_MAX;
        rest = more ? text_slice(rest, end + 1, rest.len) : rest;
    }
    buf_char(out, '\n');
    out->failed = out->failed || text.failed;
    buf_deinit(&text);
    return ok;
}

static bool csv_cells(Call *c, Value row, Value columns, Buf *out)
{
    Buf scratch = flt_buf(), key = flt_buf();
    bool ok = true, named = columns.kind == V_LIST && row.kind == V_MAP, first = true;
    if (row.kind != V_LIST && row.kind != V_MAP)
        ok = csv_write_cell(row, ',', '"', &scratch, out, c->err);
    else
        for (Walk w = walk_of(named ? columns : row); ok && walk_next(&w); first = false) {
            Value cell = w.value;
            key.len = 0;
            if (named && (ok = val_write_text(w.value, &key, c->err))) {
                const Value *found = map_find(row.map, buf_view(&key));
                cell = found ? *found : val_null();
            }
            if (!first)
                buf_char(out, ',');
            ok = ok && csv_write_cell(cell, ',', '"', &scratch, out, c->err);
        }
    buf_cstr(out, "\r\n");
    out->failed = out->failed || scratch.failed || key.failed;
    buf_deinit(&scratch);
    buf_deinit(&key);
    return ok;
}

/* The names of the columns: as given, else the members of the row. */
static bool csv_header(Call *c, Value row, Value columns, Buf *out)
{
    Buf scratch = flt_buf();
    bool ok = true, first = true;
    if (columns.kind == V_LIST) {
        ok = csv_cells(c, columns, val_null(), out);
    } else if (row.kind == V_MAP) {
        for (Walk w = walk_of(row); ok && walk_next(&w); first = false) {
            if (!first)
                buf_char(out, ',');
            ok = csv_write_cell(val_obj(V_TEXT, w.key), ',', '"', &scratch, out, c->err);
        }
        buf_cstr(out, "\r\n");
    }
    out->failed = out->failed || scratch.failed;
    buf_deinit(&scratch);
    return ok;
}

static bool write_csv(Call *c, Value rows, bool first, Buf *out)
{
    Value columns = call_arg(c, 2);
    bool ok = true, list = rows.kind == V_LIST;
    if (first)
        ok = csv_header(c, list && val_count(rows) ? list_at(rows.list, 0) : rows, columns, out);
    if (!list)
        return ok && csv_cells(c, rows, columns, out);
    for (Walk w = walk_of(rows); ok && walk_next(&w);)
        ok = csv_cells(c, w.value, columns, out);
    return ok;
}

static const struct {
    const char *name, *type;
    WriteRow row; /* NULL = csv */
} formats[] = {
    {"jsonl", "application/x-ndjson", write_jsonl},
    {"csv", "text/csv; charset=utf-8", NULL},
    {"sse", "text/event-stream; charset=utf-8", write_sse},
    {"raw", "application/octet-stream", write_raw},
};

static bool write_rows(Call *c, size_t format, Value v, bool first, Buf *out);

/* As many values of a stream as make a piece. *more: there may be others; *later: not yet. */
static bool write_some(Call *c, size_t format, Value stream, bool first, Buf *out, bool *more,
                       bool *later)
{
    int got = 0;
    Value v;
    bool ok = stream_begin(stream, c->site_data, c->err);
    while (ok && out->len < PIECE_BYTES && (got = stream_next(stream, &v, c->err)) == 1) {
        ok = write_rows(c, format, v, first, out);
        val_unref(c->heap, v);
        first = false;
    }
    *more = got > 0;
    *later = got == STREAM_LATER;
    return ok && got >= 0;
}

static bool write_rows(Call *c, size_t format, Value v, bool first, Buf *out)
{
    if (!formats[format].row)
        return write_csv(c, v, first, out);
    if (v.kind != V_LIST)
        return formats[format].row(c, v, out);
    for (Walk w = walk_of(v); walk_next(&w);)
        if (!formats[format].row(c, w.value, out))
            return false;
    return true;
}

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

/* ---- waiting for the client ---- */

typedef struct RoomWait {
    Wait wait;
    const Services *services;
    bool more; /* the statement is not done */
} RoomWait;

static void on_room(void *arg)
{
    wait_signal((Wait *)arg);
}

static void room_start(Wait *w)
{
    const Services *s = ((RoomWait *)w)->services;
    if (!s->stream_wait(s->ctx, on_room, w))
        wait_done(w);
}

static void room_cancel(Wait *w)
{
    const Services *s = ((RoomWait *)w)->services;
    s->stream_forget(s->ctx);
    wait_done(w);
}

static bool room_result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)h, (void)err, (void)thrown;
    *out = val_bool(((RoomWait *)w)->more);
    return true;
}

static void room_free(Wait *w)
{
    mem_free(w);
}

static const WaitOps room_ops = {room_start, room_cancel, room_result, room_free};

static NativeResult wait_for_room(Call *c, bool more)
{
    Outside *o = call_outside(c);
    RoomWait *w = o ? mem_zalloc(1, sizeof *w) : NULL;
    if (!w) {
        if (o)
            call_fail(c, XS_E_NOMEM, NULL);
        return NATIVE_ERROR;
    }
    w->wait.ops = &room_ops;
    w->wait.timeout_ms = INT64_MAX;
    w->services = c->services;
    w->more = more;
    return wait_for(c, o->io, &w->wait);
}

/* True: the value is a stream that has more; the statement is repeated then. */
NativeResult op_api_stream(Call *c)
{
    Text name = TEXT("jsonl"), filename = {"", 0};
    const Services *s = c->services;
    size_t format = 0;
    if (!call_text_opt(c, 1, &name) || !call_text_opt(c, 3, &filename))
        return NATIVE_ERROR;
    while (format < COUNT_OF(formats) && !text_eq(name, text_from(formats[format].name)))
        format++;
    if (format == COUNT_OF(formats)) {
        call_bad_arg(c, 1);
        return NATIVE_ERROR;
    }
    if (!s || !s->stream_write)
        return NATIVE_OK;
    Buf out = flt_buf();
    bool begun = s->stream_begun(s->ctx), full = false, more = false, later = false;
    Value v = val_is_null(call_arg(c, 0)) ? val_null() : call_arg(c, 0);
    bool ok = val_is_stream(v) ? write_some(c, format, v, !begun, &out, &more, &later)
                               : write_rows(c, format, v, !begun, &out);
    if (ok && out.failed)
        ok = call_fail(c, XS_E_LIMIT, NULL);
    if (ok && later && !out.len)
        return stream_wait(v, c); /* then again */
    StreamPiece piece = {text_from(formats[format].type), filename, &out};
    ok = ok && s->stream_write(s->ctx, &piece, &full, c->err);
    buf_deinit(&out);
    if (!ok)
        return NATIVE_ERROR;
    return full ? wait_for_room(c, more) : result_of(call_return(c, val_bool(more)));
}
