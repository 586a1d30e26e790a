/* ddl.c - see ddl.h. Physical types and indexes: runtime.md §2.2, §2.3, §10.1. */
#include "stdlib/db/ddl.h"

#include "core/text.h"
#include "stdlib/db/seed.h"

static bool zero_is_null(const Column *c)
{
    return strcmp(column_zero_sql(c), "NULL") == 0;
}

void ddl_column(Buf *out, const Table *t, const Column *c)
{
    sql_ident(out, c->name);
    buf_char(out, ' ');
    buf_cstr(out, column_sql_type(c));
    if (c == table_id(t)) {
        buf_cstr(out,
                 c->type.kind == CK_INT ? " PRIMARY KEY AUTOINCREMENT" : " PRIMARY KEY NOT NULL");
    } else if (!zero_is_null(c)) {
        buf_cstr(out, " NOT NULL DEFAULT ");
        buf_cstr(out, column_zero_sql(c));
    }
}

void ddl_table(Buf *out, const Table *t, Text name)
{
    buf_cstr(out, "CREATE TABLE ");
    sql_ident(out, name);
    buf_cstr(out, " (");
    for (uint32_t i = 0; i < t->ncols; i++) {
        if (i)
            buf_cstr(out, ", ");
        ddl_column(out, t, &t->cols[i]);
    }
    buf_cstr(out, ") STRICT");
}

bool ddl_default(Sql *out, const Column *c, bool *some, xs_error *err)
{
    const Const *def = const_get(c->field, "default");
    xs_db_value v;
    *some = def && def->kind != C_NULL;
    if (!*some)
        return true;
    if (const_bool_of(const_get(def, "now"), false)) {
        sql_raw(out, c->type.kind == CK_DATE ? "date('now')" : "unixepoch()*1000");
        return true;
    }
    if (!seed_encode(out->arena, c, def, &v, err))
        return false;
    sql_param(out, v);
    return true;
}

static void write_cast(Buf *out, const Column *was, const Column *now)
{
    ColKind a = was->type.kind, b = now->type.kind;
    Buf name = BUF_INIT;
    sql_ident(&name, was->name);
    Text n = buf_view(&name);
    bool to_json = b == CK_JSON || b == CK_LIST || b == CK_FILE;
    bool from_json = a == CK_JSON || a == CK_LIST || a == CK_FILE;
    if (a == b || (to_json && from_json && b == CK_JSON))
        buf_text(out, n);
    else if (b == CK_JSON && a == CK_BOOL)
        buf_printf(out, "CASE " TEXT_FMT " WHEN 0 THEN 'false' WHEN 1 THEN 'true' END",
                   TEXT_ARG(n));
    else if (b == CK_JSON)
        buf_printf(out, "json_quote(" TEXT_FMT ")", TEXT_ARG(n));
    else if (to_json)
        buf_printf(out, "CASE WHEN json_valid(" TEXT_FMT ") THEN " TEXT_FMT " END", TEXT_ARG(n),
                   TEXT_ARG(n));
    else if (b == CK_VECTOR || a == CK_VECTOR)
        buf_cstr(out, "NULL");
    else if (b == CK_BOOL)
        buf_printf(out, "CAST(" TEXT_FMT " AS INTEGER) <> 0", TEXT_ARG(n));
    else
        buf_printf(out, "CAST(" TEXT_FMT " AS %s)", TEXT_ARG(n), column_sql_type(now));
    out->failed = out->failed || name.failed;
    buf_deinit(&name);
}

bool ddl_conversion(Sql *out, const Column *was, const Column *now, xs_error *err)
{
    bool some = false;
    sql_raw(out, "ifnull(");
    write_cast(&out->text, was, now);
    sql_raw(out, ",");
    if (!zero_is_null(now) && !ddl_default(out, now, &some, err))
        return false;
    if (!some)
        sql_raw(out, column_zero_sql(now));
    sql_raw(out, ")");
    return true;
}

bool ddl_index_wanted(const Const *index, bool *unique)
{
    Text type = const_get_text(index, "type");
    *unique = text_eq(type, TEXT("btree|unique")) || text_eq(type, TEXT("unique"));
    return *unique || text_eq(type, TEXT("btree"));
}

/* Single fields are ascending whatever they say: they are read backwards for desc. Several flip
 * together so that the first is ascending. */
bool ddl_index(const Table *t, const Const *fields, bool unique, Buf *name, Buf *out)
{
    buf_text(name, t->name);
    bool flip = text_eq(const_get_text(fields->items[0], "op"), TEXT("desc"));
    Buf cols = BUF_INIT;
    bool known = true;
    for (uint32_t i = 0; i < fields->count; i++) {
        Text col = const_get_text(fields->items[i], "name");
        known = known && table_column(t, col);
        buf_char(name, '.');
        buf_text(name, col);
        if (i)
            buf_char(&cols, ',');
        sql_ident(&cols, col);
        if (text_eq(const_get_text(fields->items[i], "op"), TEXT("desc")) != flip)
            buf_cstr(&cols, " DESC");
    }
    if (unique)
        buf_cstr(name, ".unique");
    buf_cstr(out, unique ? "CREATE UNIQUE INDEX " : "CREATE INDEX ");
    sql_ident(out, buf_view(name));
    buf_cstr(out, " ON ");
    sql_ident(out, t->name);
    buf_printf(out, " (" TEXT_FMT ")", TEXT_ARG(buf_view(&cols)));
    out->failed = out->failed || cols.failed;
    buf_deinit(&cols);
    return known;
}

/* ---- full text: FTS5 over the rows of the table, kept current by triggers ---- */

static const char *row_key(const Table *t)
{
    return table_id(t)->type.kind == CK_INT ? "id" : "rowid";
}

static void search_columns(Buf *out, const SearchIndex *s, const char *prefix)
{
    for (uint32_t i = 0; i < s->ncols; i++) {
        if (i)
            buf_char(out, ',');
        buf_cstr(out, prefix);
        sql_ident(out, s->cols[i]->name);
    }
}

void ddl_search(Buf *out, const Table *t, const SearchIndex *s)
{
    bool english = text_eq(s->lang, TEXT("english")) || text_eq(s->lang, TEXT("en"));
    buf_cstr(out, "CREATE VIRTUAL TABLE ");
    sql_ident(out, s->table);
    buf_cstr(out, " USING fts5(");
    search_columns(out, s, "");
    buf_cstr(out, ", content=");
    sql_ident(out, t->name);
    buf_printf(out, ", content_rowid=%s, tokenize='%sunicode61 remove_diacritics 2')", row_key(t),
               english ? "porter " : "");
}

static void search_change(Buf *out, const SearchIndex *s, bool remove)
{
    buf_cstr(out, " INSERT INTO ");
    sql_ident(out, s->table);
    buf_char(out, '(');
    if (remove) {
        sql_ident(out, s->table);
        buf_char(out, ',');
    }
    buf_cstr(out, "rowid,");
    search_columns(out, s, "");
    buf_cstr(out, remove ? ") VALUES('delete',old.rowid," : ") VALUES(new.rowid,");
    search_columns(out, s, remove ? "old." : "new.");
    buf_cstr(out, ");");
}

void ddl_search_trigger(Buf *out, const Table *t, const SearchIndex *s, int i)
{
    static const char *const when[SEARCH_TRIGGERS] = {"INSERT", "DELETE", "UPDATE OF "};
    Buf name = BUF_INIT;
    buf_printf(&name, TEXT_FMT "_%c", TEXT_ARG(s->table), "idu"[i]);
    buf_cstr(out, "CREATE TRIGGER ");
    sql_ident(out, buf_view(&name));
    buf_printf(out, " AFTER %s", when[i]);
    if (i == 2)
        search_columns(out, s, "");
    buf_cstr(out, " ON ");
    sql_ident(out, t->name);
    buf_cstr(out, " BEGIN");
    if (i != 0)
        search_change(out, s, true);
    if (i != 1)
        search_change(out, s, false);
    buf_cstr(out, " END");
    out->failed = out->failed || name.failed;
    buf_deinit(&name);
}
