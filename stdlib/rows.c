/* rows.c - the rows of a text, one at a time. Of bytes that still come it keeps what is not a whole
 * row yet. */
#include "stdlib/rows.h"

#include "core/mem.h"
#include "core/text.h"
#include "stdlib/filters/helpers.h"

enum { ROW_MAX = 4 << 20 /* bytes of a row that comes by and by */ };

typedef struct Rows {
    RowFormat f;
    bool named; /* f.header holds the names of the columns */
    const ByteOps *ops;
    void *from; /* NULL = all of it is in text */
    Value text;
    Buf bytes;       /* from .from */
    size_t at;       /* of the next row */
    size_t searched; /* bytes behind at without a line end */
    bool begun, whole;
    unsigned line;
} Rows;

bool row_format(Text name, RowFormat *out, xs_error *err)
{
    *out = (RowFormat){.csv = CSV_DIALECT, .header = val_null()};
    if (!name.len || text_eq(name, TEXT("raw")))
        out->kind = ROWS_LINES;
    else if (text_eq(name, TEXT("jsonl")))
        out->kind = ROWS_JSONL;
    else if (text_eq(name, TEXT("csv")))
        out->kind = ROWS_CSV;
    else
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS,
                       "stream.from_request: unknown format '" TEXT_FMT "'", TEXT_ARG(name));
    return true;
}

static Text view(const Rows *r)
{
    return r->from ? buf_view(&r->bytes) : val_text_view(r->text);
}

/* ---- one row; each: 1, 0 at the end of what is there, -1 ---- */

static int next_line(Rows *r, Text *line)
{
    Text t = view(r);
    size_t end = text_find(t, TEXT("\n"), r->at + r->searched);
    if (r->at >= t.len || (end == SIZE_MAX && !r->whole)) {
        r->searched = t.len - r->at;
        return 0;
    }
    *line = text_slice(t, r->at, end);
    if (line->len && line->ptr[line->len - 1] == '\r')
        line->len--;
    r->at = end == SIZE_MAX ? t.len : end + 1;
    r->searched = 0;
    r->line++;
    return 1;
}

static int next_text(Rows *r, Heap *h, Value *out, xs_error *err)
{
    Text line;
    if (!next_line(r, &line))
        return 0;
    *out = text_new(h, line);
    return out->kind != V_UNSET || heap_fail(h, err) ? 1 : -1;
}

static int next_json(Rows *r, Heap *h, Value *out, xs_error *err)
{
    Text line;
    do {
        if (!next_line(r, &line))
            return 0;
        line = text_trim(line, TEXT(" \t\r"));
    } while (!line.len);
    *out = val_parse_json(h, line, err);
    if (out->kind != V_UNSET)
        return 1;
    if (err->code == XS_E_BAD_JSON)
        (void)xs_fail(err, XS_E_BAD_JSON, XS_NO_POS, "Error parsing JSON in line %u", r->line);
    return -1;
}

/* A row that ends with the bytes may go on. */
static int csv_cells(Rows *r, Call *c, Value *out)
{
    CsvReader reader = {.t = view(r), .at = r->at, .d = r->f.csv, .cell = flt_buf()};
    *out = csv_read_row(c, &reader);
    buf_deinit(&reader.cell);
    bool complete = r->whole || (reader.at > r->at && reader.t.ptr[reader.at - 1] == '\n');
    if (out->kind == V_NULL)
        return 0;
    if (out->kind == V_UNSET)
        return !r->whole && c->err->code == XS_E_BAD_CSV ? 0 : -1;
    if (complete) {
        r->at = reader.at;
        return 1;
    }
    val_unref(c->heap, *out);
    return 0;
}

static int next_csv(Rows *r, Heap *h, Value *out, xs_error *err)
{
    Call c = {.heap = h, .name = "stream.from_csv", .ret = val_null(), .err = err};
    int got = 1;
    if (!r->f.lists && !r->named && (got = csv_cells(r, &c, &r->f.header)) > 0)
        r->named = true;
    Value row;
    if (got <= 0 || (got = csv_cells(r, &c, &row)) <= 0)
        return got;
    *out = row;
    if (!r->f.lists) {
        *out = csv_row_object(&c, r->f.header, row);
        val_unref(h, row);
    }
    return out->kind != V_UNSET ? 1 : -1;
}

/* ---- the stream ---- */

/* 1: more bytes are there, or the end is known; -1, STREAM_LATER. */
static int more_bytes(Rows *r, xs_error *err)
{
    size_t left = r->bytes.len - r->at;
    if (left > ROW_MAX) {
        (void)xs_fail(err, XS_E_LIMIT, XS_NO_POS, "A row is larger than %d bytes", ROW_MAX);
        return -1;
    }
    if (r->at)
        memmove(r->bytes.ptr, r->bytes.ptr + r->at, left);
    r->bytes.len = left;
    r->at = 0;
    int got = r->ops->read(r->from, &r->bytes, err);
    if (r->bytes.failed) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
        return -1;
    }
    r->whole = got == 0;
    return got ? got : 1;
}

static void skip_mark(Rows *r)
{
    static const Text mark = {"\xEF\xBB\xBF", 3};
    Text t = view(r);
    if (t.len < mark.len && !r->whole)
        return;
    r->begun = true;
    if (r->f.kind == ROWS_CSV && text_starts(t, mark))
        r->at = mark.len;
}

static int rows_next(void *source, Heap *h, Value *out, xs_error *err)
{
    Rows *r = source;
    for (;;) {
        if (!r->begun)
            skip_mark(r);
        int got = !r->begun                 ? 0
                  : r->f.kind == ROWS_CSV   ? next_csv(r, h, out, err)
                  : r->f.kind == ROWS_JSONL ? next_json(r, h, out, err)
                                            : next_text(r, h, out, err);
        if (got || r->whole)
            return got;
        got = more_bytes(r, err);
        if (got != 1)
            return got;
    }
}

static NativeResult rows_wait(void *source, Call *c)
{
    Rows *r = source;
    return r->ops->wait(r->from, c);
}

static void rows_free(void *source, Heap *h)
{
    Rows *r = source;
    if (r->from)
        r->ops->free(r->from);
    val_unref(h, r->text);
    val_unref(h, r->f.header);
    buf_deinit(&r->bytes);
    mem_free(r);
}

static const StreamOps rows_ops = {rows_next, rows_free, rows_wait};

static Value open_rows(Heap *h, const RowFormat *f, const Rows *init)
{
    Rows *r = mem_zalloc(1, sizeof *r);
    if (r) {
        *r = *init;
        r->f = *f;
        r->named = f->header.kind == V_LIST;
        return stream_new(h, &rows_ops, r);
    }
    if (init->from)
        init->ops->free(init->from);
    val_unref(h, init->text);
    val_unref(h, f->header);
    return val_unset();
}

Value rows_of_text(Heap *h, const RowFormat *f, Value text)
{
    if (text.kind == V_TEXT)
        return open_rows(h, f, &(Rows){.text = text, .whole = true});
    val_unref(h, f->header);
    return val_unset();
}

Value rows_of_bytes(Heap *h, const RowFormat *f, const ByteOps *ops, void *from)
{
    return open_rows(h, f, &(Rows){.text = val_unset(), .ops = ops, .from = from});
}
