/* schema.c - table definitions of a bundle -> columns with storage kinds (runtime.md §2). Immutable
 * after schema_build; any thread. */
#include "core/text.h"
#include "stdlib/db/dbi.h"

static const struct KindRow {
    const char *type;
    ColKind kind;
} kind_rows[] = {
    {"int", CK_INT},
    {"decimal", CK_DEC},
    {"bool", CK_BOOL},
    {"text", CK_TEXT},
    {"email", CK_TEXT},
    {"enum", CK_TEXT},
    {"password", CK_PASSWORD},
    {"timestamp", CK_TIME},
    {"date", CK_DATE},
    {"uuid", CK_UUID},
    {"json", CK_JSON},
    {"object", CK_JSON},
    {"vector", CK_VECTOR},
    {"file", CK_FILE},
    {"image", CK_FILE},
    {"video", CK_FILE},
    {"audio", CK_FILE},
    {"attachment", CK_FILE},
    {"geo_point", CK_FILE},
    {"geo_multipoint", CK_FILE},
    {"geo_linestring", CK_FILE},
    {"geo_multilinestring", CK_FILE},
    {"geo_polygon", CK_FILE},
    {"geo_multipolygon", CK_FILE},
};

static bool kind_of(Text type, ColKind *out)
{
    for (size_t i = 0; i < COUNT_OF(kind_rows); i++)
        if (text_eq(type, text_from(kind_rows[i].type))) {
            *out = kind_rows[i].kind;
            return true;
        }
    return false;
}

static const Const *plain_field(Arena *a, const Column *c)
{
    Const *f = const_map(a, 6);
    if (!f || !const_set_text(a, f, "name", c->name) ||
        !const_set_text(a, f, "type", const_get_text(c->field, "type")) ||
        !const_set_bool(a, f, "nullable", true) || !const_set_bool(a, f, "optional", true))
        return NULL;
    return f;
}

/* The field as writes see it: null and "" are the table's business (runtime.md §2.1), not the
 * binder's. */
static const Const *write_field(Arena *a, const Const *field)
{
    Const *f = const_map(a, field->count + 2);
    for (uint32_t i = 0; f && i < field->count; i++)
        if (!const_set(a, f, field->pairs[i].key, field->pairs[i].value))
            return NULL;
    if (!f || !const_set_bool(a, f, "nullable", true) || !const_set_bool(a, f, "optional", true))
        return NULL;
    return f;
}

static bool build_column(Schema *s, const Table *t, const Const *field, Column *c, xs_error *err)
{
    c->field = field;
    c->name = const_get_text(field, "name");
    Text type = const_get_text(field, "type");
    ColKind kind;
    if (!c->name.len || memchr(c->name.ptr, 0, c->name.len))
        return xs_fail(err, XS_E_DATABASE, XS_NO_POS,
                       "table '" TEXT_FMT "' has a column without a name", TEXT_ARG(t->name));
    if (!kind_of(type, &kind))
        return xs_fail(err, XS_E_DATABASE, XS_NO_POS,
                       "table '" TEXT_FMT "': column '" TEXT_FMT "' has the unknown type '" TEXT_FMT
                       "'",
                       TEXT_ARG(t->name), TEXT_ARG(c->name), TEXT_ARG(type));
    bool list = const_bool_of(const_get(field, "list"), false);
    c->type = list ? (ColType){CK_LIST, kind} : (ColType){kind, CK_ANY};
    c->nullable = const_bool_of(const_get(field, "nullable"), false);
    c->internal =
        kind == CK_PASSWORD || text_eq(const_get_text(field, "visibility"), TEXT("internal"));
    c->plain = plain_field(&s->arena, c);
    c->write = write_field(&s->arena, field);
    return (c->plain && c->write) || fail_code(err, XS_E_NOMEM);
}

static bool build_table(Schema *s, const Const *def, Table *t, xs_error *err)
{
    t->def = def;
    t->name = const_get_text(def, "name");
    t->auth = const_bool_of(const_get(def, "auth"), false);
    const Const *fields = const_get(def, "fields");
    if (!t->name.len || memchr(t->name.ptr, 0, t->name.len) ||
        text_starts(t->name, TEXT("sqlite_")) || text_starts(t->name, TEXT("_xs_")))
        return xs_fail(err, XS_E_DATABASE, XS_NO_POS,
                       "'" TEXT_FMT "' cannot be the name of a table", TEXT_ARG(t->name));
    t->ncols = fields && fields->kind == C_LIST ? fields->count : 0;
    t->cols = ARENA_ARRAY(&s->arena, Column, t->ncols ? t->ncols : 1);
    if (!t->cols)
        return fail_code(err, XS_E_NOMEM);
    t->id = UINT32_MAX;
    for (uint32_t i = 0; i < t->ncols; i++) {
        if (!build_column(s, t, fields->items[i], &t->cols[i], err))
            return false;
        if (text_eq(t->cols[i].name, TEXT("id")))
            t->id = i;
    }
    if (t->id == UINT32_MAX)
        return xs_fail(err, XS_E_DATABASE, XS_NO_POS, "table '" TEXT_FMT "' has no column 'id'",
                       TEXT_ARG(t->name));
    ColKind id = t->cols[t->id].type.kind;
    if (id != CK_INT && id != CK_UUID && id != CK_TEXT)
        return xs_fail(err, XS_E_DATABASE, XS_NO_POS,
                       "table '" TEXT_FMT "': 'id' must be int or uuid", TEXT_ARG(t->name));
    return true;
}

/* ---- full-text indexes ---- */

static double weight_of(Text op)
{
    static const double weights[] = {1.0, 0.4, 0.2, 0.1};
    return op.len == 1 && op.ptr[0] >= 'A' && op.ptr[0] <= 'D' ? weights[op.ptr[0] - 'A'] : 1.0;
}

/* Columns it cannot index are left out; one without columns does not exist. */
static bool build_search(Schema *s, const Table *t, const Const *index, SearchIndex *out,
                         xs_error *err)
{
    const Const *fields = const_get(index, "fields");
    uint32_t n = fields && fields->kind == C_LIST ? fields->count : 0;
    *out = (SearchIndex){.name = const_get_text(index, "name"),
                         .lang = const_get_text(index, "lang"),
                         .cols = ARENA_ARRAY(&s->arena, const Column *, n + 1),
                         .weights = ARENA_ARRAY(&s->arena, double, n + 1)};
    if (!out->name.len)
        out->name = TEXT("search");
    out->table =
        arena_printf(&s->arena, TEXT_FMT "__" TEXT_FMT, TEXT_ARG(t->name), TEXT_ARG(out->name));
    if (!out->cols || !out->weights || !out->table.ptr)
        return fail_code(err, XS_E_NOMEM);
    for (uint32_t i = 0; i < n; i++) {
        const Column *c = table_column(t, const_get_text(fields->items[i], "name"));
        if (!c || c->type.kind == CK_VECTOR || text_eq(c->name, TEXT("rank")) ||
            text_eq(c->name, TEXT("rowid")))
            continue;
        out->weights[out->ncols] = weight_of(const_get_text(fields->items[i], "op"));
        out->cols[out->ncols++] = c;
    }
    return true;
}

static bool build_searches(Schema *s, Table *t, xs_error *err)
{
    const Const *list = const_get(t->def, "index");
    uint32_t n = list && list->kind == C_LIST ? list->count : 0;
    t->search = ARENA_ARRAY(&s->arena, SearchIndex, n + 1);
    if (!t->search)
        return fail_code(err, XS_E_NOMEM);
    for (uint32_t i = 0; i < n; i++) {
        if (!text_eq(const_get_text(list->items[i], "type"), TEXT("search")))
            continue;
        SearchIndex *x = &t->search[t->nsearch];
        if (!build_search(s, t, list->items[i], x, err))
            return false;
        if (x->ncols && !table_search(t, x->name, NULL))
            t->nsearch++;
    }
    return true;
}

const SearchIndex *table_search(const Table *t, Text name, const Column *col)
{
    for (uint32_t i = 0; i < t->nsearch; i++) {
        const SearchIndex *x = &t->search[i];
        if (!col && text_eq(x->name, name))
            return x;
        for (uint32_t k = 0; col && k < x->ncols; k++)
            if (x->cols[k] == col)
                return x;
    }
    return NULL;
}

/* A full-text index must not take the name of a table. */
static bool check_search_names(const Schema *s, xs_error *err)
{
    for (uint32_t i = 0; i < s->ntables; i++)
        for (uint32_t k = 0; k < s->tables[i].nsearch; k++)
            if (schema_find(s, s->tables[i].search[k].table))
                return xs_fail(err, XS_E_DATABASE, XS_NO_POS,
                               "the search index of table '" TEXT_FMT "' needs the name '" TEXT_FMT
                               "', which is a table",
                               TEXT_ARG(s->tables[i].name), TEXT_ARG(s->tables[i].search[k].table));
    return true;
}

bool schema_build(Schema *s, const Const *tables, xs_error *err)
{
    *s = (Schema){0};
    arena_init(&s->arena, 0);
    uint32_t n = tables && tables->kind == C_LIST ? tables->count : 0;
    s->tables = ARENA_ARRAY(&s->arena, Table, n ? n : 1);
    if (!s->tables)
        return fail_code(err, XS_E_NOMEM);
    for (uint32_t i = 0; i < n; i++) {
        if (!build_table(s, tables->items[i], &s->tables[i], err) ||
            !build_searches(s, &s->tables[i], err))
            return false;
        s->ntables++;
    }
    return check_search_names(s, err);
}

void schema_deinit(Schema *s)
{
    arena_deinit(&s->arena);
    *s = (Schema){0};
}

const Table *schema_find(const Schema *s, Text name)
{
    for (uint32_t i = 0; i < s->ntables; i++)
        if (text_eq(s->tables[i].name, name))
            return &s->tables[i];
    return NULL;
}

const Column *table_column(const Table *t, Text name)
{
    for (uint32_t i = 0; i < t->ncols; i++)
        if (text_eq(t->cols[i].name, name))
            return &t->cols[i];
    return NULL;
}

const char *column_sql_type(const Column *c)
{
    switch (c->type.kind) {
    case CK_INT:
    case CK_BOOL:
    case CK_TIME: return "INTEGER";
    case CK_DEC: return "REAL";
    case CK_VECTOR: return "BLOB";
    case CK_TEXT:
    case CK_DATE:
    case CK_UUID:
    case CK_PASSWORD:
    case CK_JSON:
    case CK_LIST:
    case CK_FILE:
    case CK_ANY: break;
    }
    return "TEXT";
}

const char *column_zero_sql(const Column *c)
{
    if (c->nullable)
        return "NULL";
    switch (c->type.kind) {
    case CK_INT:
    case CK_BOOL:
    case CK_TIME: return "0";
    case CK_DEC: return "0.0";
    case CK_TEXT:
    case CK_UUID:
    case CK_PASSWORD: return "''";
    case CK_JSON: return "'{}'";
    case CK_LIST: return "'[]'";
    case CK_DATE:
    case CK_FILE:
    case CK_VECTOR:
    case CK_ANY: break;
    }
    return "NULL";
}
