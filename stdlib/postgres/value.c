/* value.c - between values and the text form of PostgreSQL's types: arguments by the type the
 * server wants, results by the type it names. Timestamps are milliseconds, as everywhere. */
#include <stdio.h>

#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/datetime.h"
#include "stdlib/postgres/postgres_i.h"

/* Of the server's catalog: fixed numbers. */
enum {
    T_BOOL = 16,
    T_BYTEA = 17,
    T_INT8 = 20,
    T_INT2 = 21,
    T_INT4 = 23,
    T_OID = 26,
    T_JSON = 114,
    T_FLOAT4 = 700,
    T_FLOAT8 = 701,
    T_DATE = 1082,
    T_TIMESTAMP = 1114,
    T_TIMESTAMPTZ = 1184,
    T_NUMERIC = 1700,
    T_JSONB = 3802
};
enum { TEXT_TYPE = 25, ARRAY_DEPTH = 16 };

static const struct {
    Oid array, element;
} arrays[] = {
    {199, T_JSON},       {1000, T_BOOL},    {1001, T_BYTEA},       {1005, T_INT2},
    {1007, T_INT4},      {1009, TEXT_TYPE}, {1014, TEXT_TYPE},     {1015, TEXT_TYPE},
    {1016, T_INT8},      {1021, T_FLOAT4},  {1022, T_FLOAT8},      {1028, T_OID},
    {1115, T_TIMESTAMP}, {1182, T_DATE},    {1185, T_TIMESTAMPTZ}, {1231, T_NUMERIC},
    {2951, TEXT_TYPE},   {3807, T_JSONB},
};

static Oid element_type(Oid type) /* 0 = no array of a known type */
{
    for (size_t i = 0; i < COUNT_OF(arrays); i++)
        if (arrays[i].array == type)
            return arrays[i].element;
    return 0;
}

/* ---- arguments ---- */

static void quoted(Buf *out, Text t)
{
    buf_char(out, '"');
    for (size_t i = 0; i < t.len; i++) {
        if (t.ptr[i] == '"' || t.ptr[i] == '\\')
            buf_char(out, '\\');
        buf_char(out, t.ptr[i]);
    }
    buf_char(out, '"');
}

static bool write_item(Value v, Buf *out, xs_error *err)
{
    Buf b = BUF_INIT;
    bool ok = true;
    switch (v.kind) {
    case V_UNSET:
    case V_NULL: buf_cstr(out, "NULL"); break;
    case V_BOOL: buf_char(out, v.b ? 't' : 'f'); break;
    case V_INT:
    case V_DEC: ok = val_write_text(v, out, err); break;
    case V_LIST:
        buf_char(out, '{');
        for (uint32_t i = 0; ok && i < v.list->len; i++) {
            if (i)
                buf_char(out, ',');
            ok = write_item(list_at(v.list, i), out, err);
        }
        buf_char(out, '}');
        break;
    case V_MAP:
    case V_TEXT:
    case V_HANDLE:
        ok = v.kind == V_MAP ? val_write_json(v, &b) || xs_fail(err, XS_E_INPUTERROR, XS_NO_POS,
                                                                "Invalid value for param")
                             : val_write_text(v, &b, err);
        quoted(out, buf_view(&b));
        out->failed = out->failed || b.failed;
        break;
    }
    buf_deinit(&b);
    return ok;
}

static bool take_text(Buf *b, bool ok, char **out, size_t *len, xs_error *err)
{
    *out = ok ? buf_take(b, len) : NULL;
    if (ok && !*out)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    buf_deinit(b);
    return ok;
}

bool pg_arg_make(Value v, PgArg *out, xs_error *err)
{
    *out = (PgArg){.kind = PG_OTHER};
    Buf text = BUF_INIT, array = BUF_INIT;
    bool ok = true;
    switch (v.kind) {
    case V_UNSET:
    case V_NULL: out->kind = PG_NULL; return true;
    case V_BOOL:
        out->kind = PG_BOOL;
        out->i = v.b;
        return true;
    case V_INT:
        out->kind = PG_INT;
        out->i = v.i;
        return true;
    case V_LIST:
    case V_MAP:
        if (v.kind == V_LIST) {
            out->kind = PG_LIST;
            ok = take_text(&array, write_item(v, &array, err), &out->array, NULL, err);
        }
        ok = ok && (val_write_json(v, &text) ||
                    xs_fail(err, XS_E_INPUTERROR, XS_NO_POS, "Invalid value for param"));
        break;
    case V_DEC:
    case V_TEXT:
    case V_HANDLE: ok = val_write_text(v, &text, err); break;
    }
    return take_text(&text, ok, &out->text, &out->len, err);
}

void pg_arg_deinit(PgArg *a)
{
    mem_free(a->text);
    mem_free(a->array);
    buf_deinit(&a->made);
}

static void write_hex(Buf *out, const char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    buf_cstr(out, "\\x");
    for (size_t i = 0; i < len; i++) {
        buf_char(out, digits[(unsigned char)bytes[i] >> 4]);
        buf_char(out, digits[bytes[i] & 15]);
    }
}

static void write_time(Buf *out, int64_t ms)
{
    DateParts p;
    date_split(ms, &zone_utc, &p);
    buf_printf(out, "%04lld-%02d-%02d %02d:%02d:%02d.%03d+00%s",
               (long long)(p.year < 1 ? 1 - p.year : p.year), p.month, p.day, p.hour, p.minute,
               p.second, p.ms, p.year < 1 ? " BC" : "");
}

static void write_number(const PgArg *a, Oid type, Buf *into)
{
    bool word = a->kind == PG_BOOL && (type == TEXT_TYPE || type == T_JSON || type == T_JSONB);
    if (type == T_BOOL || word)
        buf_cstr(into, a->i ? "true" : "false");
    else if (type == T_TIMESTAMPTZ || type == T_TIMESTAMP || type == T_DATE)
        write_time(into, a->i);
    else
        buf_printf(into, "%lld", (long long)a->i);
}

const char *pg_arg_text(PgArg *a, Oid type, xs_error *err)
{
    if (a->kind == PG_NULL)
        return NULL;
    if (a->kind == PG_LIST && element_type(type))
        return a->array;
    if (a->kind == PG_BOOL || a->kind == PG_INT) {
        write_number(a, type, &a->made);
    } else if (type == T_BYTEA) {
        write_hex(&a->made, a->text, a->len);
    } else {
        if (strlen(a->text) != a->len)
            (void)xs_fail(err, XS_E_BAD_ARG, XS_NO_POS,
                          "Invalid value for param: a text with a NUL byte");
        return a->text;
    }
    buf_char(&a->made, '\0');
    if (a->made.failed)
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    return a->made.ptr;
}

/* ---- results: off the wire ---- */

static bool begin_rows(PgRows *r, const PGresult *res)
{
    r->ncols = (uint32_t)PQnfields(res);
    r->types = mem_zalloc(r->ncols + 1, sizeof *r->types);
    r->names = mem_zalloc(r->ncols + 1, sizeof *r->names);
    for (uint32_t i = 0; r->names && r->types && i < r->ncols; i++) {
        const char *name = PQfname(res, (int)i);
        r->types[i] = PQftype(res, (int)i);
        r->names[i] = mem_strndup(name, strlen(name));
        if (!r->names[i])
            return false;
    }
    return r->names && r->types;
}

bool pg_rows_add(PgRows *r, const PGresult *res)
{
    if (!r->names && !begin_rows(r, res))
        return false;
    for (int row = 0; row < PQntuples(res); row++, r->nrows++)
        for (uint32_t i = 0; i < r->ncols; i++) {
            bool none = PQgetisnull(res, row, (int)i);
            uint32_t len = none ? PG_NO_VALUE : (uint32_t)PQgetlength(res, row, (int)i);
            buf_append(&r->data, &len, sizeof len);
            if (!none)
                buf_append(&r->data, PQgetvalue(res, row, (int)i), len);
        }
    return !r->data.failed;
}

void pg_rows_deinit(PgRows *r)
{
    for (uint32_t i = 0; r->names && i < r->ncols; i++)
        mem_free(r->names[i]);
    mem_free(r->names);
    mem_free(r->types);
    buf_deinit(&r->data);
}

/* ---- results: into values ---- */

static Value bytes_of(Heap *h, Text t)
{
    if (!text_starts(t, TEXT("\\x")))
        return text_new(h, t);
    Value v = text_new_raw(h, (t.len - 2) / 2);
    for (size_t i = 0; v.kind != V_UNSET && i < v.text->len; i++) {
        unsigned n = 0;
        for (int k = 0; k < 2; k++) {
            char c = t.ptr[2 + 2 * i + (size_t)k];
            n = n * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        v.text->data[i] = (char)n;
    }
    return v;
}

static Value number_of(Heap *h, Text t)
{
    Value v = val_unset();
    double d;
    if (num_parse_dec(t, &d))
        v = val_dec(d);
    return v.kind != V_UNSET ? v : text_new(h, t); /* NaN, Infinity */
}

static Value scalar(Heap *h, Oid type, Text t)
{
    int64_t n;
    xs_error err = {0};
    switch (type) {
    case T_BOOL: return val_bool(text_eq(t, TEXT("t")));
    case T_INT2:
    case T_INT4:
    case T_INT8:
    case T_OID: return num_parse_int(t, &n) ? val_int(n) : text_new(h, t);
    case T_FLOAT4:
    case T_FLOAT8:
    case T_NUMERIC: return number_of(h, t);
    case T_TIMESTAMP:
    case T_TIMESTAMPTZ:
        if (text_ends(t, TEXT(" BC")) || !date_parse_text(t, &zone_utc, 0, false, &n))
            return text_new(h, t);
        return val_int(n);
    case T_BYTEA: return bytes_of(h, t);
    case T_JSON:
    case T_JSONB: {
        Value v = val_parse_json(h, t, &err);
        return v.kind == V_UNSET && err.code == XS_E_BAD_JSON ? text_new(h, t) : v;
    }
    default: return text_new(h, t);
    }
}

typedef struct ArrayText {
    Heap *h;
    Text t;
    size_t at;
    Oid element;
} ArrayText;

static Value array_list(ArrayText *a, int depth);

/* "…" with backslashes, or bare up to a comma or brace. */
static Value array_item(ArrayText *a)
{
    Buf b = BUF_INIT;
    bool quote = a->t.ptr[a->at] == '"';
    for (a->at += quote; a->at < a->t.len; a->at++) {
        char c = a->t.ptr[a->at];
        if (quote ? c == '"' : c == ',' || c == '}')
            break;
        if (c == '\\' && a->at + 1 < a->t.len)
            c = a->t.ptr[++a->at];
        buf_char(&b, c);
    }
    a->at += quote;
    Value v = val_null();
    if (quote || !text_eq(buf_view(&b), TEXT("NULL")))
        v = scalar(a->h, a->element, buf_view(&b));
    buf_deinit(&b);
    return v;
}

static Value array_list(ArrayText *a, int depth)
{
    Value list = list_new(a->h, 4);
    a->at++; /* { */
    while (list.kind != V_UNSET && a->at < a->t.len && a->t.ptr[a->at] != '}') {
        bool inner = a->t.ptr[a->at] == '{' && depth < ARRAY_DEPTH;
        if (!list_push(a->h, &list, inner ? array_list(a, depth + 1) : array_item(a))) {
            val_unref(a->h, list);
            return val_unset();
        }
        a->at += a->at < a->t.len && a->t.ptr[a->at] == ',';
    }
    a->at++; /* } */
    return list;
}

static Value column(Heap *h, Oid type, Text t)
{
    Oid element = element_type(type);
    size_t open = element ? text_find(t, TEXT("{"), 0) : SIZE_MAX; /* behind [2:3]= */
    if (open == SIZE_MAX)
        return scalar(h, type, t);
    ArrayText a = {h, t, open, element};
    return array_list(&a, 0);
}

static Value row_value(Heap *h, const PgRows *r, Value keys, size_t *at)
{
    Value row = map_new(h, r->ncols);
    for (uint32_t i = 0; row.kind != V_UNSET && i < r->ncols; i++) {
        uint32_t len;
        memcpy(&len, r->data.ptr + *at, sizeof len);
        *at += sizeof len;
        Text t = {r->data.ptr + *at, len};
        Value v = len == PG_NO_VALUE ? val_null() : column(h, r->types[i], t);
        *at += len == PG_NO_VALUE ? 0 : len;
        if (!map_set(h, &row, val_ref(list_at(keys.list, i)), v)) {
            val_unref(h, row);
            return val_unset();
        }
    }
    return row;
}

static Value key_list(Heap *h, const PgRows *r)
{
    Value keys = list_new(h, r->ncols);
    for (uint32_t i = 0; keys.kind != V_UNSET && i < r->ncols; i++)
        if (!list_push(h, &keys, text_new(h, text_from(r->names[i])))) {
            val_unref(h, keys);
            return val_unset();
        }
    return keys;
}

Value pg_rows_value(Heap *h, const PgRows *r, bool single)
{
    size_t at = 0;
    if (single && !r->nrows)
        return val_null();
    Value out = single ? val_null() : list_new(h, r->nrows), keys = key_list(h, r);
    bool ok = out.kind != V_UNSET && keys.kind != V_UNSET;
    for (uint32_t i = 0; ok && i < r->nrows; i++) {
        Value row = row_value(h, r, keys, &at);
        if (single) {
            out = row;
            break;
        }
        ok = list_push(h, &out, row);
    }
    val_unref(h, keys);
    if (ok)
        return out;
    val_unref(h, out);
    return val_unset();
}
