/* csv.c - CSV filters, RFC 4180 with the rules of filters.md §4.12. */
#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/rows.h"
#include "stdlib/storage/file.h"

static bool one_char(Call *c, uint32_t i, char *out)
{
    Text t = {out, 1};
    if (!call_text_opt(c, i, &t))
        return false;
    if (t.len)
        *out = t.ptr[0];
    return true;
}

static bool dialect(Call *c, uint32_t first, CsvDialect *d)
{
    *d = CSV_DIALECT;
    return one_char(c, first, &d->sep) && one_char(c, first + 1, &d->quote) &&
           one_char(c, first + 2, &d->escape);
}

/* ---- reading ---- */

static bool at_line_end(const CsvReader *r)
{
    if (r->at >= r->t.len || r->t.ptr[r->at] == '\n')
        return true;
    return r->t.ptr[r->at] == '\r' && r->at + 1 < r->t.len && r->t.ptr[r->at + 1] == '\n';
}

static void skip_line_end(CsvReader *r)
{
    if (r->at < r->t.len && r->t.ptr[r->at] == '\r')
        r->at++;
    if (r->at < r->t.len)
        r->at++;
}

/* Behind the opening quote up to behind the closing one. false: it never closes. */
static bool read_quoted(CsvReader *r)
{
    while (r->at < r->t.len) {
        char ch = r->t.ptr[r->at++];
        bool more = r->at < r->t.len, quote_next = more && r->t.ptr[r->at] == r->d.quote;
        if ((ch == r->d.quote || ch == r->d.escape) && quote_next) {
            buf_char(&r->cell, r->d.quote);
            r->at++;
        } else if (ch == r->d.quote) {
            return true;
        } else {
            buf_char(&r->cell, ch);
        }
    }
    return false;
}

/* One cell into r->cell. false: bad CSV. */
static bool read_cell(CsvReader *r)
{
    r->cell.len = 0;
    if (r->at < r->t.len && r->t.ptr[r->at] == r->d.quote) {
        r->at++;
        if (!read_quoted(r))
            return false;
    }
    size_t from = r->at;
    while (!at_line_end(r) && r->t.ptr[r->at] != r->d.sep)
        r->at++;
    buf_text(&r->cell, text_slice(r->t, from, r->at));
    return true;
}

Value csv_read_row(Call *c, CsvReader *r)
{
    while (r->at < r->t.len && at_line_end(r))
        skip_line_end(r);
    if (r->at >= r->t.len)
        return val_null();
    Value row = list_new(c->heap, 4);
    bool ok = row.kind != V_UNSET || flt_memory(c);
    while (ok) {
        ok = read_cell(r) || call_fail(c, XS_E_BAD_CSV, "Error parsing CSV: unclosed enclosure");
        if (ok && r->cell.failed)
            ok = call_fail(c, XS_E_LIMIT, NULL);
        Value cell = ok ? text_new(c->heap, buf_view(&r->cell)) : val_unset();
        ok = ok && ((cell.kind != V_UNSET && list_push(c->heap, &row, cell)) || flt_memory(c));
        if (!ok || at_line_end(r))
            break;
        r->at++; /* the separator */
    }
    if (ok) {
        skip_line_end(r);
        return row;
    }
    val_unref(c->heap, row);
    return val_unset();
}

static bool reader_init(Call *c, CsvReader *r)
{
    *r = (CsvReader){.cell = flt_buf()};
    FileView file;
    if (file_view(call_arg(c, 0), &file))
        r->t = file.data;
    else if (!call_text(c, 0, &r->t))
        return false;
    if (!dialect(c, 1, &r->d))
        return false;
    if (text_starts(r->t, TEXT("\xEF\xBB\xBF")))
        r->at = 3;
    return true;
}

/* Push each row, through make when given. */
static bool read_all(Call *c, CsvReader *r, const Value *header,
                     Value (*make)(Call *, Value header, Value row))
{
    Value rows = list_new(c->heap, 8), row;
    bool ok = rows.kind != V_UNSET || flt_memory(c);
    while (ok && (row = csv_read_row(c, r)).kind != V_NULL) {
        if (row.kind != V_UNSET && make) {
            Value made = make(c, *header, row);
            val_unref(c->heap, row);
            row = made;
        }
        ok = row.kind != V_UNSET && (list_push(c->heap, &rows, row) || flt_memory(c));
    }
    buf_deinit(&r->cell);
    if (ok)
        return call_return(c, rows);
    val_unref(c->heap, rows);
    return false;
}

bool flt_csv_decode(Call *c)
{
    CsvReader r;
    return reader_init(c, &r) && read_all(c, &r, NULL, NULL);
}

Value csv_row_object(Call *c, Value header, Value row)
{
    Value m = map_new(c->heap, val_count(header));
    bool ok = m.kind != V_UNSET;
    for (uint32_t i = 0; ok && i < val_count(header); i++) {
        Value cell =
            i < val_count(row) ? val_ref(list_at(row.list, i)) : text_new(c->heap, TEXT(""));
        ok = cell.kind != V_UNSET && map_set(c->heap, &m, val_ref(list_at(header.list, i)), cell);
    }
    if (ok)
        return m;
    val_unref(c->heap, m);
    (void)flt_memory(c);
    return val_unset();
}

bool flt_csv_parse(Call *c)
{
    CsvReader r;
    if (!reader_init(c, &r))
        return false;
    Value header = csv_read_row(c, &r);
    if (header.kind == V_UNSET || header.kind == V_NULL) {
        buf_deinit(&r.cell);
        return header.kind == V_NULL && call_return(c, list_new(c->heap, 0));
    }
    bool ok = read_all(c, &r, &header, csv_row_object);
    val_unref(c->heap, header);
    return ok;
}

/* ---- streams: runtime.md §4.8 ---- */

/* The text or the bytes of the file, owned. V_UNSET: err is set. */
static Value stream_text(Call *c)
{
    FileView file;
    Text t;
    Value v = call_arg(c, 0);
    if (v.kind == V_TEXT)
        return val_ref(v);
    if (file_view(v, &file))
        t = file.data;
    else if (!call_text(c, 0, &t))
        return val_unset();
    v = text_new(c->heap, t);
    if (v.kind == V_UNSET)
        (void)flt_memory(c);
    return v;
}

static NativeResult return_rows(Call *c, const RowFormat *f)
{
    Value text = stream_text(c);
    bool ok = text.kind != V_UNSET;
    Value rows = rows_of_text(c->heap, f, text);
    return ok && (call_return(c, rows) || flt_memory(c)) ? NATIVE_OK : NATIVE_ERROR;
}

/* Clause headers: absent or true = the first row names the columns, false = rows are lists, a list
 * = these names. */
NativeResult op_stream_from_csv(Call *c)
{
    RowFormat f = {.kind = ROWS_CSV, .header = val_null()};
    Value named = call_arg(c, 4);
    if (!dialect(c, 1, &f.csv))
        return NATIVE_ERROR;
    f.lists = !val_is_null(named) && named.kind != V_LIST && !val_truthy(named);
    for (uint32_t i = 0; named.kind == V_LIST && i < named.list->len; i++)
        if (list_at(named.list, i).kind != V_TEXT) {
            call_bad_arg(c, 4);
            return NATIVE_ERROR;
        }
    if (named.kind == V_LIST)
        f.header = val_ref(named);
    return return_rows(c, &f);
}

NativeResult op_stream_from_jsonl(Call *c)
{
    return return_rows(c, &(RowFormat){.kind = ROWS_JSONL, .header = val_null()});
}

/* ---- writing ---- */

bool csv_write_cell(Value v, char sep, char quote, Buf *scratch, Buf *out, xs_error *err)
{
    scratch->len = 0;
    if (v.kind == V_LIST || v.kind == V_MAP) {
        if (!value_json(v, scratch, err))
            return false;
    } else if (!(v.kind == V_BOOL && !v.b) && !val_write_text(v, scratch, err)) {
        return false;
    }
    Text t = buf_view(scratch);
    bool quoted = false;
    for (size_t i = 0; i < t.len && !quoted; i++)
        quoted = t.ptr[i] == sep || t.ptr[i] == quote || t.ptr[i] == '\r' || t.ptr[i] == '\n';
    if (quoted)
        buf_char(out, quote);
    for (size_t i = 0; i < t.len; i++) {
        if (quoted && t.ptr[i] == quote)
            buf_char(out, quote);
        buf_char(out, t.ptr[i]);
    }
    if (quoted)
        buf_char(out, quote);
    return true;
}

static bool write_cell(Call *c, Value v, const CsvDialect *d, Buf *scratch, Buf *out)
{
    return csv_write_cell(v, d->sep, d->quote, scratch, out, c->err);
}

static bool write_row(Call *c, Value row, const CsvDialect *d, Buf *scratch, Buf *out)
{
    bool first = true;
    if (row.kind != V_LIST && row.kind != V_MAP) {
        if (!write_cell(c, row, d, scratch, out))
            return false;
    } else {
        for (Walk w = walk_of(row); walk_next(&w); first = false) {
            if (!first)
                buf_char(out, d->sep);
            if (!write_cell(c, w.value, d, scratch, out))
                return false;
        }
    }
    buf_char(out, '\n');
    return true;
}

static bool any_container(Value v)
{
    for (Walk w = walk_of(v); walk_next(&w);)
        if (w.value.kind == V_LIST || w.value.kind == V_MAP)
            return true;
    return false;
}

static bool finish(Call *c, bool ok, Buf *scratch, Buf *out)
{
    if (scratch->failed)
        out->failed = true;
    buf_deinit(scratch);
    if (ok)
        return flt_return_buf(c, out);
    buf_deinit(out);
    return false;
}

bool flt_csv_encode(Call *c)
{
    Value rows;
    CsvDialect d;
    if (!call_container(c, 0, &rows) || !dialect(c, 1, &d))
        return false;
    Buf scratch = flt_buf(), out = flt_buf();
    bool ok = true;
    if (val_count(rows) && !any_container(rows))
        ok = write_row(c, rows, &d, &scratch, &out);
    else
        for (Walk w = walk_of(rows); ok && walk_next(&w);)
            ok = write_row(c, w.value, &d, &scratch, &out);
    return finish(c, ok, &scratch, &out);
}

/* An object row, by header name. */
static bool write_named_row(Call *c, Value header, Value row, const CsvDialect *d, Buf *scratch,
                            Buf *out)
{
    Buf key = flt_buf();
    bool ok = true;
    for (uint32_t i = 0; ok && i < val_count(header); i++) {
        if (i)
            buf_char(out, d->sep);
        key.len = 0;
        ok = val_write_text(list_at(header.list, i), &key, c->err);
        const Value *v = ok ? map_find(row.map, buf_view(&key)) : NULL;
        ok = ok && write_cell(c, v ? *v : val_null(), d, scratch, out);
    }
    buf_char(out, '\n');
    out->failed = out->failed || key.failed;
    buf_deinit(&key);
    return ok;
}

bool flt_csv_create(Call *c)
{
    Value header, rows;
    CsvDialect d;
    if (!call_list(c, 0, &header) || !call_list(c, 1, &rows) || !dialect(c, 2, &d))
        return false;
    Buf scratch = flt_buf(), out = flt_buf();
    bool ok = write_row(c, header, &d, &scratch, &out);
    for (uint32_t i = 0; ok && i < val_count(rows); i++) {
        Value row = list_at(rows.list, i);
        ok = row.kind == V_MAP ? write_named_row(c, header, row, &d, &scratch, &out)
                               : write_row(c, row, &d, &scratch, &out);
    }
    return finish(c, ok, &scratch, &out);
}
