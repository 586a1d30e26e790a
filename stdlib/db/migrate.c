/* migrate.c - brings the tables of a file to the program's definitions, all in one transaction
 * (runtime.md §2.5). What each table looked like is kept in _xs_schema. A change that loses data is
 * refused with its name unless the options allow it. Runs before the writer thread exists. */
#include <stdio.h>

#include "core/json.h"
#include "core/text.h"
#include "stdlib/db/pool.h"
#include "stdlib/db/seed.h"

typedef struct Mig {
    DbPool *p;
    Arena a;
    xs_error *err;
    const Const *old; /* map: table -> recorded definition */
} Mig;

static void note(const Mig *m, const char *fmt, ...) XS_PRINTF(2, 3);
static void note(const Mig *m, const char *fmt, ...)
{
    char line[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (m->p->opt.log)
        m->p->opt.log(m->p->opt.log_ctx, line);
}

static bool no_memory(Mig *m)
{
    return fail_code(m->err, XS_E_NOMEM);
}

/* Run the text with its parameters; the first column of each row goes to the list when there is
 * one. */
static bool run(Mig *m, Sql *sql, Const *rows)
{
    const xs_dbdriver_ops *drv = m->p->drv;
    bool ok = sql_ok(sql, m->err);
    xs_db_stmt *st = ok ? drv->prepare(m->p->conn, sql->text.ptr, sql->text.len, 0, m->err) : NULL;
    ok = st != NULL;
    for (uint32_t i = 0; ok && i < sql->nvals; i++)
        ok = drv->bind(st, i + 1, &sql->vals[i], m->err);
    while (ok) {
        xs_db_step r = drv->step(st, m->err);
        if (r != XS_DB_ROW) {
            ok = r == XS_DB_DONE;
            break;
        }
        if (!rows)
            continue;
        Const *row = const_list(&m->a, 4);
        for (unsigned c = 0; row && c < drv->columns(st); c++) {
            xs_db_value v;
            drv->column(st, c, &v);
            const Const *item = row_decode_const(&m->a, (ColType){CK_ANY, CK_ANY}, &v);
            if (!item || !const_push(&m->a, row, item))
                row = NULL;
        }
        if (!row || !const_push(&m->a, rows, row))
            ok = no_memory(m);
    }
    drv->finish(st);
    sql_deinit(sql);
    return ok;
}

static bool run_text(Mig *m, const char *text)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, text);
    return run(m, &sql, NULL);
}

static Text cell(const Const *rows, uint32_t row, uint32_t col)
{
    return const_text_of(rows->items[row]->items[col], (Text){"", 0});
}

/* ---- definitions ---- */

static const Const *definition(Mig *m, const Table *t)
{
    Const *cols = const_list(&m->a, t->ncols);
    for (uint32_t i = 0; cols && i < t->ncols; i++) {
        const Column *c = &t->cols[i];
        Const *d = const_map(&m->a, 4);
        if (!d || !const_set_text(&m->a, d, "name", c->name) ||
            !const_set_text(&m->a, d, "type", const_get_text(c->field, "type")) ||
            !const_set_bool(&m->a, d, "list", c->type.kind == CK_LIST) ||
            !const_set_bool(&m->a, d, "nullable", c->nullable) || !const_push(&m->a, cols, d))
            return NULL;
    }
    return cols;
}

static bool record(Mig *m, const Table *t)
{
    const Const *def = definition(m, t);
    if (!def)
        return no_memory(m);
    Buf json = BUF_INIT;
    json_write_const(&json, def);
    Text text = json.failed ? (Text){0} : arena_text(&m->a, buf_view(&json));
    buf_deinit(&json);
    if (!text.ptr)
        return no_memory(m);
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)text_hash(text));
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "INSERT OR REPLACE INTO _xs_schema(tbl,guid,hash,def,applied_at) VALUES(");
    sql_param(&sql, dbv_text(t->name));
    sql_raw(&sql, ",");
    int64_t id = const_int_of(const_get(t->def, "id"), 0);
    Text guid = arena_printf(&m->a, "%lld", (long long)id);
    Text h = arena_text(&m->a, text_from(hash));
    if (!guid.ptr || !h.ptr) {
        sql_deinit(&sql);
        return no_memory(m);
    }
    sql_param(&sql, dbv_text(guid));
    sql_raw(&sql, ",");
    sql_param(&sql, dbv_text(h));
    sql_raw(&sql, ",");
    sql_param(&sql, dbv_text(text));
    sql_raw(&sql, ",unixepoch()*1000)");
    return run(m, &sql, NULL);
}

static void write_column(Buf *out, const Table *t, const Column *c)
{
    sql_ident(out, c->name);
    buf_char(out, ' ');
    buf_cstr(out, column_sql_type(c));
    if (c == table_id(t)) {
        buf_cstr(out,
                 c->type.kind == CK_INT ? " PRIMARY KEY AUTOINCREMENT" : " PRIMARY KEY NOT NULL");
        return;
    }
    const char *zero = column_zero_sql(c);
    if (strcmp(zero, "NULL") != 0) {
        buf_cstr(out, " NOT NULL DEFAULT ");
        buf_cstr(out, zero);
    }
}

static bool create_table(Mig *m, const Table *t, const char *suffix)
{
    Sql sql;
    sql_init(&sql, &m->a);
    Text name = arena_printf(&m->a, TEXT_FMT "%s", TEXT_ARG(t->name), suffix);
    sql_raw(&sql, "CREATE TABLE ");
    sql_ident(&sql.text, name);
    sql_raw(&sql, " (");
    for (uint32_t i = 0; i < t->ncols; i++) {
        if (i)
            sql_raw(&sql, ", ");
        write_column(&sql.text, t, &t->cols[i]);
    }
    sql_raw(&sql, ") STRICT");
    return run(m, &sql, NULL);
}

/* ---- changes of one table ---- */

static const Const *old_column(const Const *old, Text name)
{
    for (uint32_t i = 0; old && old->kind == C_LIST && i < old->count; i++)
        if (text_eq(const_get_text(old->items[i], "name"), name))
            return old->items[i];
    return NULL;
}

static bool refuse(Mig *m, const Table *t, Text column, const char *what)
{
    return xs_fail(m->err, XS_E_MIGRATION, XS_NO_POS,
                   "table '" TEXT_FMT "', column '" TEXT_FMT
                   "': %s; --allow-destructive permits it",
                   TEXT_ARG(t->name), TEXT_ARG(column), what);
}

typedef enum Change { CH_NONE, CH_REBUILD, CH_LOSSY } Change;

/* As the table has it: a Column made from a recorded definition. */
static bool recorded_column(Mig *m, const Const *def, Column *out)
{
    Const *fields = const_list(&m->a, 1), *table = const_map(&m->a, 2);
    Const *id = const_map(&m->a, 2), *both = const_list(&m->a, 1);
    if (!fields || !table || !id || !both || !const_set_text(&m->a, id, "name", TEXT("id")) ||
        !const_set_text(&m->a, id, "type", TEXT("int")) || !const_push(&m->a, fields, id) ||
        !const_push(&m->a, fields, def) || !const_set_text(&m->a, table, "name", TEXT("t")) ||
        !const_set(&m->a, table, TEXT("fields"), fields) || !const_push(&m->a, both, table))
        return no_memory(m);
    Schema s;
    bool ok = schema_build(&s, both, m->err);
    if (ok)
        *out = s.tables[0].cols[1];
    schema_deinit(&s);
    return ok;
}

static bool text_like(ColKind k)
{
    return k == CK_TEXT || k == CK_DATE || k == CK_UUID;
}

static Change compare(const Column *was, const Column *now)
{
    ColKind a = was->type.kind, b = now->type.kind;
    Change null = strcmp(column_zero_sql(was), column_zero_sql(now)) != 0 ? CH_REBUILD : CH_NONE;
    if (a == b)
        return a == CK_LIST && was->type.item != now->type.item ? CH_LOSSY : null;
    if ((a == CK_INT || a == CK_TIME || a == CK_BOOL) && (b == CK_INT || b == CK_TIME))
        return null; /* stored alike */
    if (text_like(a) && b == CK_TEXT)
        return null == CH_NONE ? CH_NONE : CH_REBUILD;
    if (b == CK_DEC && (a == CK_INT || a == CK_TIME))
        return CH_REBUILD;
    if (b == CK_TEXT && a != CK_VECTOR && a != CK_PASSWORD)
        return CH_REBUILD;
    if (b == CK_JSON && a != CK_VECTOR && a != CK_PASSWORD)
        return CH_REBUILD;
    return CH_LOSSY;
}

/* SELECT expression that turns what a column held into what it holds now. */
static void write_conversion(Buf *out, const Column *was, const Column *now)
{
    ColKind a = was->type.kind, b = now->type.kind;
    const char *zero = column_zero_sql(now);
    Buf name = BUF_INIT;
    sql_ident(&name, now->name);
    Text n = buf_view(&name);
    bool to_json = b == CK_JSON || b == CK_LIST || b == CK_FILE;
    bool from_json = a == CK_JSON || a == CK_LIST || a == CK_FILE;
    buf_cstr(out, "ifnull(");
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
    buf_printf(out, ",%s)", zero);
    buf_deinit(&name);
}

static bool rebuild(Mig *m, const Table *t, const Const *old)
{
    Const *seq = const_list(&m->a, 1);
    Sql sql;
    if (!seq || !create_table(m, t, "__new"))
        return seq ? false : no_memory(m);
    Text temp = arena_printf(&m->a, TEXT_FMT "__new", TEXT_ARG(t->name));
    Buf names = BUF_INIT, exprs = BUF_INIT;
    bool ok = true;
    for (uint32_t i = 0; ok && i < t->ncols; i++) {
        const Const *was = old_column(old, t->cols[i].name);
        Column c;
        if (!was)
            continue;
        ok = recorded_column(m, was, &c);
        if (names.len) {
            buf_char(&names, ',');
            buf_char(&exprs, ',');
        }
        sql_ident(&names, t->cols[i].name);
        if (ok && i == t->id)
            sql_ident(&exprs, t->cols[i].name);
        else if (ok)
            write_conversion(&exprs, &c, &t->cols[i]);
    }
    if (ok && names.len) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "INSERT INTO ");
        sql_ident(&sql.text, temp);
        buf_printf(&sql.text, " (" TEXT_FMT ") SELECT " TEXT_FMT " FROM ",
                   TEXT_ARG(buf_view(&names)), TEXT_ARG(buf_view(&exprs)));
        sql_ident(&sql.text, t->name);
        ok = run(m, &sql, NULL);
    }
    ok = ok && ((!names.failed && !exprs.failed) || no_memory(m));
    buf_deinit(&names);
    buf_deinit(&exprs);
    if (ok) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "SELECT seq FROM sqlite_sequence WHERE name = ");
        sql_param(&sql, dbv_text(t->name));
        ok = run(m, &sql, seq);
    }
    if (ok) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "DROP TABLE ");
        sql_ident(&sql.text, t->name);
        ok = run(m, &sql, NULL);
    }
    if (ok) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "ALTER TABLE ");
        sql_ident(&sql.text, temp);
        sql_raw(&sql, " RENAME TO ");
        sql_ident(&sql.text, t->name);
        ok = run(m, &sql, NULL);
    }
    if (ok && seq->count) { /* ids of deleted rows stay used */
        sql_init(&sql, &m->a);
        sql_raw(&sql, "UPDATE sqlite_sequence SET seq = max(seq, ");
        sql_param(&sql, dbv_int(const_int_of(seq->items[0]->items[0], 0)));
        sql_raw(&sql, ") WHERE name = ");
        sql_param(&sql, dbv_text(t->name));
        ok = run(m, &sql, NULL);
    }
    if (ok)
        note(m, "table '" TEXT_FMT "' rebuilt", TEXT_ARG(t->name));
    return ok;
}

/* Existing rows get the column's default, which SQL cannot always express. */
static bool fill_default(Mig *m, const Table *t, const Column *c)
{
    const Const *def = const_get(c->field, "default");
    if (!def || def->kind == C_NULL)
        return true;
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "UPDATE ");
    sql_ident(&sql.text, t->name);
    sql_raw(&sql, " SET ");
    sql_ident(&sql.text, c->name);
    sql_raw(&sql, " = ");
    xs_db_value v;
    if (const_bool_of(const_get(def, "now"), false)) {
        if (c->type.kind == CK_DATE)
            sql_raw(&sql, "date('now')");
        else
            sql_raw(&sql, "unixepoch()*1000");
    } else if (seed_encode(&m->a, c, def, &v, m->err)) {
        sql_param(&sql, v);
    } else {
        sql_deinit(&sql);
        return false;
    }
    return run(m, &sql, NULL);
}

static bool add_column(Mig *m, const Table *t, const Column *c)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "ALTER TABLE ");
    sql_ident(&sql.text, t->name);
    sql_raw(&sql, " ADD COLUMN ");
    write_column(&sql.text, t, c);
    note(m, "table '" TEXT_FMT "': column '" TEXT_FMT "' added", TEXT_ARG(t->name),
         TEXT_ARG(c->name));
    return run(m, &sql, NULL) && fill_default(m, t, c);
}

static bool drop_indexes(Mig *m, Text table)
{
    Const *rows = const_list(&m->a, 4);
    if (!rows)
        return no_memory(m);
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql,
            "SELECT name FROM sqlite_master WHERE type='index' AND sql IS NOT NULL AND tbl_name=");
    sql_param(&sql, dbv_text(table));
    if (!run(m, &sql, rows))
        return false;
    for (uint32_t i = 0; i < rows->count; i++) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "DROP INDEX ");
        sql_ident(&sql.text, cell(rows, i, 0));
        if (!run(m, &sql, NULL))
            return false;
    }
    return true;
}

static bool change_table(Mig *m, const Table *t, const Const *old)
{
    bool again = false, lost = false;
    for (uint32_t i = 0; i < t->ncols; i++) {
        const Const *was = old_column(old, t->cols[i].name);
        Column c;
        if (!was) {
            if (i == t->id)
                return refuse(m, t, t->cols[i].name, "the key cannot be added to a table");
            continue;
        }
        if (!recorded_column(m, was, &c))
            return false;
        Change ch = compare(&c, &t->cols[i]);
        if (ch == CH_LOSSY && (!m->p->opt.allow_destructive || i == t->id)) {
            Text type = const_get_text(was, "type"), now = const_get_text(t->cols[i].field, "type");
            char what[160];
            snprintf(what, sizeof what, "its type changes from %.*s%s to %.*s%s", TEXT_ARG(type),
                     c.type.kind == CK_LIST ? "[]" : "", TEXT_ARG(now),
                     t->cols[i].type.kind == CK_LIST ? "[]" : "");
            return refuse(m, t, t->cols[i].name, what);
        }
        again = again || (i != t->id && ch != CH_NONE);
    }
    for (uint32_t i = 0; old->kind == C_LIST && i < old->count; i++) {
        Text name = const_get_text(old->items[i], "name");
        if (table_column(t, name))
            continue;
        if (!m->p->opt.allow_destructive)
            return refuse(m, t, name, "it is no longer defined and its data would be lost");
        note(m, "table '" TEXT_FMT "': column '" TEXT_FMT "' dropped", TEXT_ARG(t->name),
             TEXT_ARG(name));
        lost = true;
    }
    if ((again || lost) && (!drop_indexes(m, t->name) || !rebuild(m, t, old)))
        return false;
    for (uint32_t i = 0; i < t->ncols; i++) {
        if (old_column(old, t->cols[i].name))
            continue;
        /* a rebuilt table has the column already */
        if (again || lost ? !fill_default(m, t, &t->cols[i]) : !add_column(m, t, &t->cols[i]))
            return false;
    }
    return true;
}

/* ---- indexes ---- */

static bool wanted_index(const Const *ix, bool *unique)
{
    Text type = const_get_text(ix, "type");
    *unique = text_eq(type, TEXT("btree|unique")) || text_eq(type, TEXT("unique"));
    return *unique || text_eq(type, TEXT("btree"));
}

/* Single fields are ascending whatever they say: they are read backwards for desc. Several flip
 * together so that the first is ascending. */
static bool index_sql(const Table *t, const Const *fields, bool unique, Buf *name, Buf *ddl)
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
    buf_cstr(ddl, unique ? "CREATE UNIQUE INDEX " : "CREATE INDEX ");
    sql_ident(ddl, buf_view(name));
    buf_cstr(ddl, " ON ");
    sql_ident(ddl, t->name);
    buf_printf(ddl, " (" TEXT_FMT ")", TEXT_ARG(buf_view(&cols)));
    bool ok = known && !cols.failed;
    buf_deinit(&cols);
    return ok;
}

static bool report_duplicates(Mig *m, const Table *t, const Const *fields)
{
    Sql sql;
    Const *rows = const_list(&m->a, 1);
    sql_init(&sql, &m->a);
    Buf cols = BUF_INIT;
    for (uint32_t i = 0; i < fields->count; i++) {
        if (i)
            buf_char(&cols, ',');
        sql_ident(&cols, const_get_text(fields->items[i], "name"));
    }
    buf_printf(&sql.text, "SELECT count(*), " TEXT_FMT " FROM ", TEXT_ARG(buf_view(&cols)));
    sql_ident(&sql.text, t->name);
    buf_printf(&sql.text, " GROUP BY " TEXT_FMT " HAVING count(*) > 1 LIMIT 1",
               TEXT_ARG(buf_view(&cols)));
    buf_deinit(&cols);
    if (!rows || !run(m, &sql, rows))
        return rows ? false : no_memory(m);
    Buf key = BUF_INIT;
    int64_t n = 0;
    if (rows->count) {
        n = const_int_of(rows->items[0]->items[0], 0);
        for (uint32_t i = 1; i < rows->items[0]->count; i++) {
            if (i > 1)
                buf_char(&key, ',');
            json_write_const(&key, rows->items[0]->items[i]);
        }
    }
    Text k = buf_view(&key);
    if (k.len > 80)
        k.len = utf8_valid_len((Text){k.ptr, 80});
    (void)xs_fail(m->err, XS_E_MIGRATION, XS_NO_POS,
                  "table '" TEXT_FMT "': a unique index cannot be made, %lld rows have " TEXT_FMT,
                  TEXT_ARG(t->name), (long long)n, TEXT_ARG(k));
    buf_deinit(&key);
    return false;
}

static bool same_index(Mig *m, Text name, Text ddl, bool *same)
{
    Sql sql;
    Const *rows = const_list(&m->a, 1);
    sql_init(&sql, &m->a);
    sql_raw(&sql, "SELECT sql FROM sqlite_master WHERE type='index' AND name=");
    sql_param(&sql, dbv_text(name));
    if (!rows || !run(m, &sql, rows))
        return rows ? false : no_memory(m);
    *same = rows->count && text_eq(cell(rows, 0, 0), ddl);
    return true;
}

static bool make_index(Mig *m, const Table *t, const Const *ix, Const *names)
{
    bool unique, same = false;
    const Const *fields = const_get(ix, "fields");
    if (!wanted_index(ix, &unique) || !fields || fields->kind != C_LIST || fields->count == 0)
        return true;
    Buf name = BUF_INIT, ddl = BUF_INIT;
    bool known = index_sql(t, fields, unique, &name, &ddl);
    Text n = arena_text(&m->a, buf_view(&name)), d = arena_text(&m->a, buf_view(&ddl));
    bool memory = name.failed || ddl.failed || !n.ptr || !d.ptr;
    buf_deinit(&name);
    buf_deinit(&ddl);
    if (memory)
        return no_memory(m);
    if (!known || const_find(names, n)) /* indexes of hidden legacy columns; the same one twice */
        return true;
    if (!const_set(&m->a, names, n, &const_true))
        return no_memory(m);
    if (!same_index(m, n, d, &same) || same)
        return same;
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "DROP INDEX IF EXISTS ");
    sql_ident(&sql.text, n);
    if (!run(m, &sql, NULL))
        return false;
    sql_init(&sql, &m->a);
    buf_text(&sql.text, d);
    if (run(m, &sql, NULL))
        return true;
    return m->err->code == XS_E_DUPLICATE ? report_duplicates(m, t, fields) : false;
}

static bool make_indexes(Mig *m, const Table *t)
{
    const Const *list = const_get(t->def, "index");
    Const *names = const_map(&m->a, 4), *rows = const_list(&m->a, 4);
    if (!names || !rows)
        return no_memory(m);
    for (uint32_t i = 0; list && list->kind == C_LIST && i < list->count; i++)
        if (!make_index(m, t, list->items[i], names))
            return false;
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql,
            "SELECT name FROM sqlite_master WHERE type='index' AND sql IS NOT NULL AND tbl_name=");
    sql_param(&sql, dbv_text(t->name));
    if (!run(m, &sql, rows))
        return false;
    for (uint32_t i = 0; i < rows->count; i++) {
        if (const_find(names, cell(rows, i, 0)))
            continue;
        sql_init(&sql, &m->a);
        sql_raw(&sql, "DROP INDEX ");
        sql_ident(&sql.text, cell(rows, i, 0));
        if (!run(m, &sql, NULL))
            return false;
    }
    return true;
}

/* ---- the whole ---- */

static bool read_old(Mig *m)
{
    Const *rows = const_list(&m->a, 8), *old = const_map(&m->a, 8);
    Sql sql;
    if (!rows || !old)
        return no_memory(m);
    sql_init(&sql, &m->a);
    sql_raw(&sql, "SELECT tbl, def FROM _xs_schema");
    if (!run(m, &sql, rows))
        return false;
    for (uint32_t i = 0; i < rows->count; i++) {
        const Const *def = json_parse(&m->a, cell(rows, i, 1), m->err);
        if (!def)
            return xs_fail(m->err, XS_E_DATABASE, XS_NO_POS,
                           "the record of table '" TEXT_FMT "' is damaged",
                           TEXT_ARG(cell(rows, i, 0)));
        if (!const_set(&m->a, old, cell(rows, i, 0), def))
            return no_memory(m);
    }
    m->old = old;
    return true;
}

static bool drop_table(Mig *m, Text name)
{
    if (!m->p->opt.allow_destructive)
        return xs_fail(
            m->err, XS_E_MIGRATION, XS_NO_POS,
            "table '" TEXT_FMT
            "' is no longer defined and its data would be lost; --allow-destructive permits it",
            TEXT_ARG(name));
    note(m, "table '" TEXT_FMT "' dropped", TEXT_ARG(name));
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "DROP TABLE IF EXISTS ");
    sql_ident(&sql.text, name);
    if (!run(m, &sql, NULL))
        return false;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "DELETE FROM _xs_schema WHERE tbl = ");
    sql_param(&sql, dbv_text(name));
    return run(m, &sql, NULL);
}

static bool migrate_table(Mig *m, const Table *t)
{
    const Const *old = const_find(m->old, t->name);
    if (old) {
        const Const *now = definition(m, t);
        if (!now)
            return no_memory(m);
        if (const_equal(old, now))
            return make_indexes(m, t);
        return change_table(m, t, old) && make_indexes(m, t) && record(m, t);
    }
    note(m, "table '" TEXT_FMT "' created", TEXT_ARG(t->name));
    return create_table(m, t, "") && make_indexes(m, t) && seed_table(m->p, t, m->err) &&
           record(m, t);
}

static bool migrate_all(Mig *m)
{
    if (!run_text(m, "CREATE TABLE IF NOT EXISTS _xs_schema(tbl TEXT PRIMARY KEY, guid TEXT, hash "
                     "TEXT, def TEXT, "
                     "applied_at INTEGER) STRICT") ||
        !read_old(m))
        return false;
    for (uint32_t i = 0; i < m->old->count; i++)
        if (!schema_find(&m->p->schema, m->old->pairs[i].key) &&
            !drop_table(m, m->old->pairs[i].key))
            return false;
    for (uint32_t i = 0; i < m->p->schema.ntables; i++)
        if (!migrate_table(m, &m->p->schema.tables[i]))
            return false;
    return true;
}

bool migrate(DbPool *p, xs_error *err)
{
    xs_error local = {0};
    Mig m = {.p = p, .err = &local};
    arena_init(&m.a, 0);
    bool ok = p->drv->control(p->conn, XS_DB_BEGIN_WRITE, &local) && migrate_all(&m) &&
              p->drv->control(p->conn, XS_DB_COMMIT, &local);
    if (!ok)
        conn_rollback(p, p->conn);
    if (!ok && err)
        *err = local;
    arena_deinit(&m.a);
    return ok;
}
