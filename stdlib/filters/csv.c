/* csv.c - CSV filters, RFC 4180 with the rules of filters.md §4.12. */
#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/registry.h"
#include "stdlib/storage/file.h"

typedef struct Dialect {
    char sep, quote, escape;
} Dialect;

static bool one_char(Call *c, uint32_t i, char *out)
{
    Text t = {out, 1};
    if (!call_text_opt(c, i, &t))
        return false;
    if (t.len)
        *out = t.ptr[0];
    return true;
}

static bool dialect(Call *c, uint32_t first, Dialect *d)
{
    *d = (Dialect){',', '"', '"'};
    return one_char(c, first, &d->sep) && one_char(c, first + 1, &d->quote) &&
           one_char(c, first + 2, &d->escape);
}

/* ---- reading ---- */

typedef struct CsvReader {
    Text t;
    size_t at;
    Dialect d;
    Buf cell;
} CsvReader;

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

/* The next row as a list of texts; V_NULL at the end, V_UNSET on error. */
static Value read_row(Call *c, CsvReader *r)
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
    while (ok && (row = read_row(c, r)).kind != V_NULL) {
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

static Value row_object(Call *c, Value header, Value row)
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
    Value header = read_row(c, &r);
    if (header.kind == V_UNSET || header.kind == V_NULL) {
        buf_deinit(&r.cell);
        return header.kind == V_NULL && call_return(c, list_new(c->heap, 0));
    }
    bool ok = read_all(c, &r, &header, row_object);
    val_unref(c->heap, header);
    return ok;
}

/* ---- streams: runtime.md §4.8; what is in memory already is read whole ---- */

/* Clause headers: absent or true = the first row names the columns, false = rows are lists, a list
 * = these names. */
NativeResult op_stream_from_csv(Call *c)
{
    CsvReader r;
    Value named = call_arg(c, 4), header = val_null();
    if (!reader_init(c, &r))
        return NATIVE_ERROR;
    bool lists = !val_is_null(named) && named.kind != V_LIST && !val_truthy(named);
    if (named.kind == V_LIST)
        header = val_ref(named);
    else if (!lists)
        header = read_row(c, &r);
    bool ok = true;
    for (uint32_t i = 0; ok && header.kind == V_LIST && i < header.list->len; i++)
        ok = list_at(header.list, i).kind == V_TEXT || call_bad_arg(c, 4);
    if (!ok || header.kind == V_UNSET || (header.kind == V_NULL && !lists)) {
        buf_deinit(&r.cell);
        ok = ok && header.kind == V_NULL && call_return(c, list_new(c->heap, 0));
    } else {
        ok = read_all(c, &r, &header, lists ? NULL : row_object);
    }
    val_unref(c->heap, header);
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

NativeResult op_stream_from_jsonl(Call *c)
{
    Text t;
    FileView file;
    if (file_view(call_arg(c, 0), &file))
        t = file.data;
    else if (!call_text(c, 0, &t))
        return NATIVE_ERROR;
    Value list = list_new(c->heap, 8);
    bool ok = list.kind == V_LIST || flt_memory(c);
    unsigned number = 0;
    for (size_t from = 0; ok && from < t.len;) {
        size_t end = text_find(t, TEXT("\n"), from);
        Text line = text_trim(text_slice(t, from, end), TEXT(" \t\r"));
        from = end == SIZE_MAX ? t.len : end + 1;
        number++;
        if (!line.len)
            continue;
        Value v = val_parse_json(c->heap, line, c->err);
        if (v.kind == V_UNSET)
            ok = c->err->code == XS_E_BAD_JSON
                     ? call_fail(c, XS_E_BAD_JSON, "Error parsing JSON in line %u", number)
                     : false;
        else
            ok = list_push(c->heap, &list, v) || flt_memory(c);
    }
    if (ok)
        return call_return(c, list) ? NATIVE_OK : NATIVE_ERROR;
    val_unref(c->heap, list);
    return NATIVE_ERROR;
}

static bool split_lines(Heap *h, Text t, Value *out, xs_error *err)
{
    *out = list_new(h, 8);
    bool ok = out->kind == V_LIST;
    for (size_t from = 0; ok && from < t.len;) {
        size_t end = text_find(t, TEXT("\n"), from);
        Text line = text_slice(t, from, end);
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        ok = list_push(h, out, text_new(h, line));
        from = end == SIZE_MAX ? t.len : end + 1;
    }
    if (ok)
        return true;
    val_unref(h, *out);
    return heap_fail(h, err);
}

bool rows_of_text(Heap *h, Text t, Text format, Value *out, xs_error *err)
{
    bool csv = text_eq(format, TEXT("csv"));
    if (!format.len || text_eq(format, TEXT("raw")))
        return split_lines(h, t, out, err);
    if (!csv && !text_eq(format, TEXT("jsonl")))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS,
                       "stream.from_request: unknown format '" TEXT_FMT "'", TEXT_ARG(format));
    Value args[5] = {text_new(h, t)}; /* the other clauses have their defaults */
    for (size_t i = 1; i < COUNT_OF(args); i++)
        args[i] = val_unset();
    const void *row = NULL;
    void *slot = NULL;
    const char *name = csv ? "stream.from_csv" : "stream.from_jsonl";
    (void)stdlib_natives.statement(text_from(name), &row);
    Call c = {.heap = h,
              .name = name,
              .row = row,
              .args = args,
              .nargs = COUNT_OF(args),
              .site = &const_null,
              .site_data = &slot,
              .ret = val_null(),
              .err = err};
    bool ok = args[0].kind != V_UNSET || heap_fail(h, err);
    ok = ok && (csv ? op_stream_from_csv(&c) : op_stream_from_jsonl(&c)) == NATIVE_OK;
    call_end(&c);
    val_unref(h, args[0]);
    *out = c.ret;
    return ok;
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

static bool write_cell(Call *c, Value v, const Dialect *d, Buf *scratch, Buf *out)
{
    return csv_write_cell(v, d->sep, d->quote, scratch, out, c->err);
}

static bool write_row(Call *c, Value row, const Dialect *d, Buf *scratch, Buf *out)
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
    Dialect d;
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
static bool write_named_row(Call *c, Value header, Value row, const Dialect *d, Buf *scratch,
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
    Dialect d;
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
