/* migrate.c - compares the tables a file was made for, kept in _xs_schema, with those of the
 * program, and changes it in one transaction. The same walk only tells when it must not write. What
 * was changed is kept in _xs_migrations with the definitions before, so that it can be undone.
 * Thread: the one that opens the database; no writer runs yet. */
#include "stdlib/db/migrate.h"

#include <stdio.h>

#include "core/json.h"
#include "core/text.h"
#include "stdlib/db/ddl.h"
#include "stdlib/db/pool.h"
#include "stdlib/db/seed.h"

typedef struct Mig {
    DbPool *p;
    Arena a;
    xs_error *err;
    const MigrateOptions *opt;
    DbPlan *plan;
    bool write;         /* this walk changes the file */
    bool fresh;         /* nothing is recorded yet */
    bool seeds;         /* new tables get their "items" */
    const Schema *want; /* what the file shall be */
    Schema was;         /* what it was made for */
    Const *before;      /* map: table -> recorded definition, null for a new one */
} Mig;

static bool no_memory(Mig *m)
{
    return fail_code(m->err, XS_E_NOMEM);
}

void dbplan_init(DbPlan *p)
{
    *p = (DbPlan){0};
    arena_init(&p->arena, 0);
}

void dbplan_deinit(DbPlan *p)
{
    arena_deinit(&p->arena);
    *p = (DbPlan){0};
}

/* Note a change; the text is the rest of the line behind the table's name. */
static bool change(Mig *m, const char *kind, Text table, Text column, bool destructive,
                   const char *fmt, ...) XS_PRINTF(6, 7);
static bool change(Mig *m, const char *kind, Text table, Text column, bool destructive,
                   const char *fmt, ...)
{
    DbPlan *p = m->plan;
    if (m->write) /* the walk before has filled the plan */
        return true;
    char line[400];
    va_list ap;
    va_start(ap, fmt);
    int at = snprintf(line, sizeof line, "table '" TEXT_FMT "'", TEXT_ARG(table));
    if (at > 0 && (size_t)at < sizeof line)
        vsnprintf(line + at, sizeof line - (size_t)at, fmt, ap);
    va_end(ap);
    if (p->count == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 16;
        DbChange *items = ARENA_ARRAY(&p->arena, DbChange, cap);
        if (!items)
            return no_memory(m);
        if (p->count)
            memcpy(items, p->items, p->count * sizeof *items);
        p->items = items;
        p->cap = cap;
    }
    DbChange *c = &p->items[p->count];
    *c = (DbChange){.kind = kind,
                    .table = arena_text(&p->arena, table),
                    .column = column.ptr ? arena_text(&p->arena, column) : (Text){0},
                    .text = arena_text(&p->arena, text_from(line)),
                    .destructive = destructive};
    if (!c->table.ptr || !c->text.ptr || (column.ptr && !c->column.ptr))
        return no_memory(m);
    p->count++;
    p->destructive += destructive;
    return true;
}

/* Run the text with its parameters; rows, when given, gets a list per row. */
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

/* The same for what changes the file: nothing happens while the walk only tells. */
static bool alter(Mig *m, Sql *sql)
{
    if (m->write)
        return run(m, sql, NULL);
    sql_deinit(sql);
    return true;
}

static bool alter_text(Mig *m, const char *text)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, text);
    return alter(m, &sql);
}

/* verb "name" */
static bool alter_named(Mig *m, const char *verb, Text name)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, verb);
    sql_ident(&sql.text, name);
    return alter(m, &sql);
}

static bool rename_table(Mig *m, Text from, Text to)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "ALTER TABLE ");
    sql_ident(&sql.text, from);
    sql_raw(&sql, " RENAME TO ");
    sql_ident(&sql.text, to);
    return alter(m, &sql);
}

static Text cell(const Const *rows, uint32_t row, uint32_t col)
{
    return const_text_of(rows->items[row]->items[col], (Text){"", 0});
}

/* ---- the record ---- */

static Text guid_of(const Table *t)
{
    return const_get_text(t->def, "guid");
}

/* What the definition says about the file. */
static const Const *definition(Mig *m, const Table *t)
{
    static const char *const keys[] = {"fields", "index"};
    Const *d = const_map(&m->a, 2);
    for (size_t i = 0; d && i < COUNT_OF(keys); i++) {
        const Const *v = const_get(t->def, keys[i]);
        if (v && !const_set(&m->a, d, text_from(keys[i]), v))
            return NULL;
    }
    if (d && guid_of(t).len && !const_set_text(&m->a, d, "guid", guid_of(t)))
        return NULL;
    return d;
}

static Text json_of(Mig *m, const Const *c)
{
    Buf json = BUF_INIT;
    json_write_const(&json, c);
    Text text = json.failed ? (Text){0} : arena_text(&m->a, buf_view(&json));
    buf_deinit(&json);
    return text;
}

static bool forget(Mig *m, Text table)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "DELETE FROM _xs_schema WHERE tbl = ");
    sql_param(&sql, dbv_text(table));
    return alter(m, &sql);
}

static bool record(Mig *m, const Table *t)
{
    const Const *def = definition(m, t);
    Text text = def ? json_of(m, def) : (Text){0};
    if (!text.ptr)
        return no_memory(m);
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)text_hash(text));
    Text h = arena_text(&m->a, text_from(hash));
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "INSERT OR REPLACE INTO _xs_schema(tbl,guid,hash,def,applied_at) VALUES(");
    sql_param(&sql, dbv_text(t->name));
    sql_raw(&sql, ",");
    sql_param(&sql, dbv_text(guid_of(t)));
    sql_raw(&sql, ",");
    sql_param(&sql, dbv_text(h));
    sql_raw(&sql, ",");
    sql_param(&sql, dbv_text(text));
    sql_raw(&sql, ",unixepoch()*1000)");
    return alter(m, &sql);
}

/* The table's definition before this migration: once per table. */
static bool remember(Mig *m, Text name, const Table *was)
{
    const Const *def = was ? definition(m, was) : &const_null;
    if (!def || const_find(m->before, name))
        return def || no_memory(m);
    return const_set(&m->a, m->before, name, def) || no_memory(m);
}

/* ---- a table made anew ---- */

static bool create_table(Mig *m, const Table *t, Text name)
{
    Sql sql;
    sql_init(&sql, &m->a);
    ddl_table(&sql.text, t, name);
    return alter(m, &sql);
}

static bool copy_rows(Mig *m, const Table *t, const Table *was, Text to)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "INSERT INTO ");
    sql_ident(&sql.text, to);
    bool first = true, ok = true;
    for (uint32_t i = 0; i < t->ncols; i++) {
        if (!table_column(was, t->cols[i].name))
            continue;
        sql_raw(&sql, first ? " (" : ",");
        first = false;
        sql_ident(&sql.text, t->cols[i].name);
    }
    sql_raw(&sql, ") SELECT ");
    first = true;
    for (uint32_t i = 0; ok && i < t->ncols; i++) {
        const Column *old = table_column(was, t->cols[i].name);
        if (!old)
            continue;
        if (!first)
            sql_raw(&sql, ",");
        first = false;
        if (i == t->id)
            sql_ident(&sql.text, old->name);
        else
            ok = ddl_conversion(&sql, old, &t->cols[i], m->err);
    }
    sql_raw(&sql, " FROM ");
    sql_ident(&sql.text, t->name);
    if (ok)
        return alter(m, &sql);
    sql_deinit(&sql);
    return false;
}

/* Ids of deleted rows stay used. */
static bool keep_sequence(Mig *m, const Table *t, const Const *seq)
{
    Sql sql;
    if (!seq->count)
        return true;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "UPDATE sqlite_sequence SET seq = max(seq, ");
    sql_param(&sql, dbv_int(const_int_of(seq->items[0]->items[0], 0)));
    sql_raw(&sql, ") WHERE name = ");
    sql_param(&sql, dbv_text(t->name));
    return alter(m, &sql);
}

static bool rebuild(Mig *m, const Table *t, const Table *was)
{
    if (!m->write)
        return true;
    Const *seq = const_list(&m->a, 1);
    Text temp = arena_printf(&m->a, TEXT_FMT "__new", TEXT_ARG(t->name));
    Sql sql;
    if (!seq || !temp.ptr)
        return no_memory(m);
    if (!create_table(m, t, temp) || !copy_rows(m, t, was, temp))
        return false;
    if (table_id(t)->type.kind == CK_INT) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "SELECT seq FROM sqlite_sequence WHERE name = ");
        sql_param(&sql, dbv_text(t->name));
        if (!run(m, &sql, seq))
            return false;
    }
    return alter_named(m, "DROP TABLE ", t->name) && rename_table(m, temp, t->name) &&
           keep_sequence(m, t, seq);
}

/* Existing rows get the column's default, which SQL cannot always express as a constant. */
static bool fill_default(Mig *m, const Table *t, const Column *c)
{
    Sql sql;
    bool some;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "UPDATE ");
    sql_ident(&sql.text, t->name);
    sql_raw(&sql, " SET ");
    sql_ident(&sql.text, c->name);
    sql_raw(&sql, " = ");
    if (ddl_default(&sql, c, &some, m->err) && some)
        return alter(m, &sql);
    sql_deinit(&sql);
    return !some;
}

static bool add_column(Mig *m, const Table *t, const Column *c)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "ALTER TABLE ");
    sql_ident(&sql.text, t->name);
    sql_raw(&sql, " ADD COLUMN ");
    ddl_column(&sql.text, t, c);
    return alter(m, &sql) && fill_default(m, t, c);
}

/* ---- columns ---- */

typedef enum Change { CH_NONE, CH_REBUILD, CH_LOSSY } Change;

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
        return null;
    if (b == CK_DEC && (a == CK_INT || a == CK_TIME))
        return CH_REBUILD;
    if ((b == CK_TEXT || b == CK_JSON) && a != CK_VECTOR && a != CK_PASSWORD)
        return CH_REBUILD;
    return CH_LOSSY;
}

static Text type_name(Mig *m, const Column *c)
{
    return arena_printf(&m->a, TEXT_FMT "%s%s", TEXT_ARG(const_get_text(c->field, "type")),
                        c->type.kind == CK_LIST ? "[]" : "", c->nullable ? "?" : "");
}

static bool change_column(Mig *m, const Table *t, const Column *was, const Column *now, bool *again)
{
    Change ch = compare(was, now);
    if (ch == CH_NONE)
        return true;
    Text from = type_name(m, was), to = type_name(m, now);
    if (!from.ptr || !to.ptr)
        return no_memory(m);
    if (now == table_id(t)) {
        if (ch == CH_REBUILD)
            return true;
        return xs_fail(m->err, XS_E_MIGRATION, XS_NO_POS,
                       "table '" TEXT_FMT "': the type of its id changes from " TEXT_FMT
                       " to " TEXT_FMT ", which no migration can do",
                       TEXT_ARG(t->name), TEXT_ARG(from), TEXT_ARG(to));
    }
    *again = true;
    return change(m, "change column", t->name, now->name, ch == CH_LOSSY,
                  ", column '" TEXT_FMT "': its type changes from " TEXT_FMT " to " TEXT_FMT,
                  TEXT_ARG(now->name), TEXT_ARG(from), TEXT_ARG(to));
}

static bool changed_columns(Mig *m, const Table *t, const Table *was, bool *again)
{
    for (uint32_t i = 0; i < t->ncols; i++) {
        const Column *c = &t->cols[i], *old = table_column(was, c->name);
        if (old && !change_column(m, t, old, c, again))
            return false;
        if (!old && !change(m, "add column", t->name, c->name, false,
                            ": column '" TEXT_FMT "' added", TEXT_ARG(c->name)))
            return false;
    }
    for (uint32_t i = 0; i < was->ncols; i++) {
        Text name = was->cols[i].name;
        if (table_column(t, name))
            continue;
        *again = true;
        if (!change(m, "drop column", t->name, name, true,
                    ", column '" TEXT_FMT "': it is no longer defined and its data is lost",
                    TEXT_ARG(name)))
            return false;
    }
    return true;
}

/* ---- indexes ---- */

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

/* The text a table or index was made with; ptr NULL = there is none. */
static bool existing_sql(Mig *m, const char *type, Text name, Text *out)
{
    Sql sql;
    Const *rows = const_list(&m->a, 1);
    sql_init(&sql, &m->a);
    sql_raw(&sql, "SELECT sql FROM sqlite_master WHERE type=");
    sql_param(&sql, dbv_text(text_from(type)));
    sql_raw(&sql, " AND name=");
    sql_param(&sql, dbv_text(name));
    if (!rows || !run(m, &sql, rows))
        return rows ? false : no_memory(m);
    *out = rows->count ? cell(rows, 0, 0) : (Text){0};
    return true;
}

static bool make_index(Mig *m, const Table *t, const Const *ix, Const *names, bool fresh)
{
    bool unique;
    const Const *fields = const_get(ix, "fields");
    if (!ddl_index_wanted(ix, &unique) || !fields || fields->kind != C_LIST || fields->count == 0)
        return true;
    Buf name = BUF_INIT, ddl = BUF_INIT;
    bool known = ddl_index(t, fields, unique, &name, &ddl);
    Text n = arena_text(&m->a, buf_view(&name)), d = arena_text(&m->a, buf_view(&ddl)), is;
    bool memory = name.failed || ddl.failed || !n.ptr || !d.ptr;
    buf_deinit(&name);
    buf_deinit(&ddl);
    if (memory)
        return no_memory(m);
    if (!known || const_find(names, n)) /* indexes of hidden legacy columns; the same one twice */
        return true;
    if (!const_set(&m->a, names, n, &const_true))
        return no_memory(m);
    if (!existing_sql(m, "index", n, &is) || (is.ptr && text_eq(is, d)))
        return is.ptr != NULL;
    if (!fresh &&
        !change(m, "add index", t->name, n, false, ": index '" TEXT_FMT "' made", TEXT_ARG(n)))
        return false;
    Sql sql;
    sql_init(&sql, &m->a);
    buf_text(&sql.text, d);
    if (!alter_named(m, "DROP INDEX IF EXISTS ", n)) {
        sql_deinit(&sql);
        return false;
    }
    if (alter(m, &sql))
        return true;
    return m->err->code == XS_E_DUPLICATE ? report_duplicates(m, t, fields) : false;
}

/* Indexes of the table but those named. */
static bool drop_indexes(Mig *m, Text table, const Const *keep, bool tell)
{
    Const *rows = const_list(&m->a, 4);
    Sql sql;
    if (!rows)
        return no_memory(m);
    sql_init(&sql, &m->a);
    sql_raw(&sql,
            "SELECT name FROM sqlite_master WHERE type='index' AND sql IS NOT NULL AND tbl_name=");
    sql_param(&sql, dbv_text(table));
    if (!run(m, &sql, rows))
        return false;
    for (uint32_t i = 0; i < rows->count; i++) {
        Text name = cell(rows, i, 0);
        if (keep && const_find(keep, name))
            continue;
        if (tell && !change(m, "drop index", table, name, false, ": index '" TEXT_FMT "' dropped",
                            TEXT_ARG(name)))
            return false;
        if (!alter_named(m, "DROP INDEX ", name))
            return false;
    }
    return true;
}

static bool drop_search(Mig *m, const SearchIndex *s)
{
    for (int i = 0; i < SEARCH_TRIGGERS; i++) {
        Text name = arena_printf(&m->a, TEXT_FMT "_%c", TEXT_ARG(s->table), "idu"[i]);
        if (!name.ptr || !alter_named(m, "DROP TRIGGER IF EXISTS ", name))
            return name.ptr ? false : no_memory(m);
    }
    return alter_named(m, "DROP TABLE IF EXISTS ", s->table);
}

static bool fill_search(Mig *m, const SearchIndex *s)
{
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "INSERT INTO ");
    sql_ident(&sql.text, s->table);
    sql_raw(&sql, "(");
    sql_ident(&sql.text, s->table);
    sql_raw(&sql, ") VALUES('rebuild')");
    return alter(m, &sql);
}

static bool make_search(Mig *m, const Table *t, const SearchIndex *s, bool fresh)
{
    Sql sql;
    Text is;
    sql_init(&sql, &m->a);
    ddl_search(&sql.text, t, s);
    if (!existing_sql(m, "table", s->table, &is)) {
        sql_deinit(&sql);
        return false;
    }
    if (is.ptr && text_eq(is, buf_view(&sql.text))) {
        sql_deinit(&sql);
        return true;
    }
    bool ok = (fresh || change(m, "add index", t->name, s->table, false,
                               ": search index '" TEXT_FMT "' made", TEXT_ARG(s->name))) &&
              drop_search(m, s);
    if (ok)
        ok = alter(m, &sql);
    else
        sql_deinit(&sql);
    for (int i = 0; ok && i < SEARCH_TRIGGERS; i++) {
        sql_init(&sql, &m->a);
        ddl_search_trigger(&sql.text, t, s, i);
        ok = alter(m, &sql);
    }
    return ok && fill_search(m, s);
}

/* Full-text indexes of the old table: all of them, or those the new one has not. */
static bool drop_searches(Mig *m, const Table *was, const Table *now)
{
    for (uint32_t i = 0; i < was->nsearch; i++) {
        const SearchIndex *s = &was->search[i];
        if (now && table_search(now, s->name, NULL))
            continue;
        if (now && !change(m, "drop index", now->name, s->table, false,
                           ": search index '" TEXT_FMT "' dropped", TEXT_ARG(s->name)))
            return false;
        if (!drop_search(m, s))
            return false;
    }
    return true;
}

static bool had_index(const Table *was, const Const *index)
{
    const Const *list = was ? const_get(was->def, "index") : NULL;
    for (uint32_t i = 0; list && list->kind == C_LIST && i < list->count; i++)
        if (const_equal(list->items[i], index))
            return true;
    return false;
}

/* Index types this database has no counterpart for. */
static bool warn_index(Mig *m, const Table *t, const Table *was, const Const *index)
{
    static const struct {
        const char *type, *instead;
    } rows[] = {{"gin", "conditions on it read every row"},
                {"vector", "distances are computed exactly, row by row"},
                {"spatial", "distances are computed row by row"}};
    Text type = const_get_text(index, "type");
    const Const *fields = const_get(index, "fields");
    Text column = fields && fields->kind == C_LIST && fields->count
                      ? const_get_text(fields->items[0], "name")
                      : (Text){0};
    if (!column.len || !table_column(t, column) || had_index(was, index))
        return true;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (text_eq(type, text_from(rows[i].type)))
            return change(m, "warning", t->name, column, false,
                          ": SQLite has no %s index for column '" TEXT_FMT "'; %s", rows[i].type,
                          TEXT_ARG(column), rows[i].instead);
    return true;
}

static bool make_indexes(Mig *m, const Table *t, const Table *was)
{
    const Const *list = const_get(t->def, "index");
    Const *names = const_map(&m->a, 4);
    if (!names)
        return no_memory(m);
    for (uint32_t i = 0; list && list->kind == C_LIST && i < list->count; i++)
        if (!make_index(m, t, list->items[i], names, !was) ||
            !warn_index(m, t, was, list->items[i]))
            return false;
    for (uint32_t i = 0; i < t->nsearch; i++)
        if (!make_search(m, t, &t->search[i], !was))
            return false;
    return drop_indexes(m, t->name, names, was != NULL);
}

/* ---- tables ---- */

static bool change_table(Mig *m, const Table *t, const Table *was)
{
    bool again = false;
    if (!drop_searches(m, was, t) || !changed_columns(m, t, was, &again))
        return false;
    if (again) {
        if (!drop_searches(m, was, NULL) || !drop_indexes(m, t->name, NULL, false) ||
            !rebuild(m, t, was))
            return false;
    }
    for (uint32_t i = 0; i < t->ncols; i++) {
        const Column *c = &t->cols[i];
        if (table_column(was, c->name))
            continue;
        if (!(again ? fill_default(m, t, c) : add_column(m, t, c)))
            return false;
    }
    return true;
}

static bool drop_table(Mig *m, const Table *was)
{
    return change(m, "drop table", was->name, (Text){0}, true,
                  " is no longer defined and its data is lost") &&
           remember(m, was->name, was) && drop_searches(m, was, NULL) &&
           alter_named(m, "DROP TABLE IF EXISTS ", was->name) && forget(m, was->name);
}

static const Table *find_guid(const Schema *s, Text guid)
{
    for (uint32_t i = 0; guid.len && i < s->ntables; i++)
        if (text_eq(guid_of(&s->tables[i]), guid))
            return &s->tables[i];
    return NULL;
}

/* The recorded table that has become t: of the same name, or of the same guid under a free name. */
static const Table *ancestor(Mig *m, const Table *t)
{
    const Table *was = schema_find(&m->was, t->name);
    if (was)
        return was;
    was = find_guid(&m->was, guid_of(t));
    return was && !schema_find(m->want, was->name) ? was : NULL;
}

static bool new_table(Mig *m, const Table *t)
{
    return change(m, "create table", t->name, (Text){0}, false, " created") &&
           remember(m, t->name, NULL) && create_table(m, t, t->name) && make_indexes(m, t, NULL) &&
           (!m->write || !m->seeds || seed_table(m->p, t, m->err)) && record(m, t);
}

static bool migrate_table(Mig *m, const Table *t)
{
    const Table *was = ancestor(m, t);
    if (!was)
        return new_table(m, t);
    bool renamed = !text_eq(was->name, t->name);
    const Const *old = definition(m, was), *now = definition(m, t);
    if (!old || !now)
        return no_memory(m);
    if (renamed && (!change(m, "rename table", t->name, (Text){0}, false, " was '" TEXT_FMT "'",
                            TEXT_ARG(was->name)) ||
                    !remember(m, was->name, was) || !remember(m, t->name, NULL) ||
                    !drop_searches(m, was, NULL) || !drop_indexes(m, was->name, NULL, false) ||
                    !rename_table(m, was->name, t->name) || !forget(m, was->name)))
        return false;
    if (!renamed && const_equal(old, now))
        return make_indexes(m, t, was);
    return (renamed || remember(m, t->name, was)) && change_table(m, t, was) &&
           make_indexes(m, t, was) && record(m, t);
}

static bool walk(Mig *m)
{
    for (uint32_t i = 0; i < m->was.ntables; i++) {
        const Table *was = &m->was.tables[i], *heir = find_guid(m->want, guid_of(was));
        bool renamed = heir && ancestor(m, heir) == was;
        if (!schema_find(m->want, was->name) && !renamed && !drop_table(m, was))
            return false;
    }
    for (uint32_t i = 0; i < m->want->ntables; i++)
        if (!migrate_table(m, &m->want->tables[i]))
            return false;
    return true;
}

/* ---- the whole ---- */

static bool has_table(Mig *m, const char *name, bool *out)
{
    Text is;
    bool ok = existing_sql(m, "table", text_from(name), &is);
    *out = ok && is.ptr;
    return ok;
}

/* A recorded definition as a table of the metadata. */
static const Const *recorded_table(Mig *m, Text name, Text json)
{
    const Const *def = json_parse(&m->a, json, m->err);
    if (def && def->kind == C_LIST) { /* of the first versions: the fields alone */
        Const *d = const_map(&m->a, 1);
        def = d && const_set(&m->a, d, TEXT("fields"), def) ? d : NULL;
    }
    Const *t = const_map(&m->a, 4);
    if (!def || !t || !const_set_text(&m->a, t, "name", name))
        return NULL;
    for (uint32_t i = 0; i < def->count; i++)
        if (!const_set(&m->a, t, def->pairs[i].key, def->pairs[i].value))
            return NULL;
    return t;
}

static bool read_was(Mig *m)
{
    Const *rows = const_list(&m->a, 8), *tables = const_list(&m->a, 8);
    Sql sql;
    bool there;
    if (!rows || !tables)
        return no_memory(m);
    if (!has_table(m, "_xs_schema", &there))
        return false;
    m->fresh = !there;
    if (there) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "SELECT tbl, def FROM _xs_schema ORDER BY tbl");
        if (!run(m, &sql, rows))
            return false;
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        const Const *t = recorded_table(m, cell(rows, i, 0), cell(rows, i, 1));
        if (!t)
            return xs_fail(m->err, XS_E_DATABASE, XS_NO_POS,
                           "the record of table '" TEXT_FMT "' is damaged",
                           TEXT_ARG(cell(rows, i, 0)));
        if (!const_push(&m->a, tables, t))
            return no_memory(m);
    }
    return schema_build(&m->was, tables, m->err);
}

static bool make_records(Mig *m)
{
    return alter_text(m, "CREATE TABLE IF NOT EXISTS _xs_schema(tbl TEXT PRIMARY KEY, guid TEXT, "
                         "hash TEXT, def TEXT, applied_at INTEGER) STRICT") &&
           alter_text(m, "CREATE TABLE IF NOT EXISTS _xs_migrations(id INTEGER PRIMARY KEY "
                         "AUTOINCREMENT, applied_at INTEGER, changes TEXT, before TEXT) STRICT") &&
           alter_text(m, "CREATE TABLE IF NOT EXISTS _xs_leases(name TEXT PRIMARY KEY, at INTEGER "
                         "NOT NULL) STRICT");
}

static bool record_migration(Mig *m)
{
    Const *texts = const_list(&m->a, 4), *rows = const_list(&m->a, 1);
    uint32_t n = 0;
    for (uint32_t i = 0; texts && i < m->plan->count; i++) {
        const DbChange *c = &m->plan->items[i];
        const Const *t = const_text(&m->a, c->text);
        if (strcmp(c->kind, "warning") == 0)
            continue;
        n++;
        if (!t || !const_push(&m->a, texts, t))
            texts = NULL;
    }
    if (!texts || !rows)
        return no_memory(m);
    if (n == 0)
        return true;
    Text changes = json_of(m, texts), before = json_of(m, m->before);
    if (!changes.ptr || !before.ptr)
        return no_memory(m);
    Sql sql;
    sql_init(&sql, &m->a);
    sql_raw(&sql, "INSERT INTO _xs_migrations(applied_at,changes,before) VALUES(unixepoch()*1000,");
    sql_param(&sql, dbv_text(changes));
    sql_raw(&sql, ",");
    sql_param(&sql, dbv_text(before));
    sql_raw(&sql, ") RETURNING id");
    if (!run(m, &sql, rows))
        return false;
    m->plan->id = const_int_of(rows->items[0]->items[0], 0);
    return true;
}

static bool refuse(Mig *m)
{
    const DbPlan *p = m->plan;
    const DbChange *c = p->items;
    while (!c->destructive)
        c++;
    char more[32] = "";
    if (p->destructive > 1)
        snprintf(more, sizeof more, " (and %u more)", p->destructive - 1);
    return xs_fail(m->err, XS_E_MIGRATION, XS_NO_POS,
                   TEXT_FMT "%s; `xs db migrate PROGRAM --db %s --allow-destructive` permits it",
                   TEXT_ARG(c->text), more, m->p->temp_dir ? "FILE" : m->p->path);
}

static bool walk_both(Mig *m)
{
    m->before = const_map(&m->a, 4);
    if (!m->before)
        return no_memory(m);
    if (!walk(m))
        return false;
    if (!m->opt->apply)
        return true;
    if (m->plan->destructive && !m->opt->allow_destructive)
        return refuse(m);
    for (uint32_t i = 0; m->opt->log && i < m->plan->count; i++)
        m->opt->log(m->opt->log_ctx, m->plan->items[i].text.ptr);
    m->write = true;
    return make_records(m) && walk(m);
}

static void mig_deinit(Mig *m)
{
    schema_deinit(&m->was);
    arena_deinit(&m->a);
}

/* Run the steps in one transaction. */
static bool in_transaction(Mig *m, bool (*steps)(Mig *m), xs_error *err)
{
    xs_error local = {0};
    DbPool *p = m->p;
    m->err = &local;
    arena_init(&m->a, 0);
    bool ok =
        p->drv->control(p->conn, m->opt->apply ? XS_DB_BEGIN_WRITE : XS_DB_BEGIN_READ, &local) &&
        read_was(m) && steps(m) &&
        (!m->opt->apply || p->drv->control(p->conn, XS_DB_COMMIT, &local));
    conn_rollback(p, p->conn); /* nothing is open after a commit */
    if (!ok && err)
        *err = local;
    mig_deinit(m);
    return ok;
}

static bool forward(Mig *m)
{
    m->want = &m->p->schema;
    m->seeds = true;
    return walk_both(m) && (!m->opt->apply || record_migration(m));
}

bool migrate(DbPool *p, const MigrateOptions *opt, DbPlan *plan, xs_error *err)
{
    Mig m = {.p = p, .opt = opt, .plan = plan};
    return in_transaction(&m, forward, err);
}

/* ---- back ---- */

/* Tables as they were before the migration: the recorded ones, those of `before` replaced. */
static const Const *tables_before(Mig *m, const Const *before)
{
    Const *out = const_list(&m->a, m->was.ntables + before->count);
    for (uint32_t i = 0; out && i < m->was.ntables; i++)
        if (!const_find(before, m->was.tables[i].name) &&
            !const_push(&m->a, out, m->was.tables[i].def))
            return NULL;
    for (uint32_t i = 0; out && i < before->count; i++) {
        const ConstPair *p = &before->pairs[i];
        if (p->value->kind != C_MAP)
            continue;
        Text json = json_of(m, p->value);
        const Const *t = json.ptr ? recorded_table(m, p->key, json) : NULL;
        if (!t || !const_push(&m->a, out, t))
            return NULL;
    }
    return out;
}

static bool backward(Mig *m)
{
    Const *rows = const_list(&m->a, 1);
    Sql sql;
    bool there;
    if (!rows)
        return no_memory(m);
    if (!has_table(m, "_xs_migrations", &there))
        return false;
    if (there) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "SELECT id, before FROM _xs_migrations ORDER BY id DESC LIMIT 1");
        if (!run(m, &sql, rows))
            return false;
    }
    if (!rows->count)
        return xs_fail(m->err, XS_E_NOTFOUND, XS_NO_POS, "no migration is recorded");
    int64_t id = const_int_of(rows->items[0]->items[0], 0);
    const Const *before = json_parse(&m->a, cell(rows, 0, 1), m->err);
    if (!before || before->kind != C_MAP)
        return xs_fail(m->err, XS_E_DATABASE, XS_NO_POS, "the record of migration %lld is damaged",
                       (long long)id);
    const Const *tables = tables_before(m, before);
    if (!tables)
        return no_memory(m);
    Schema target;
    bool ok = schema_build(&target, tables, m->err);
    m->want = &target;
    ok = ok && walk_both(m);
    if (ok && m->opt->apply) {
        sql_init(&sql, &m->a);
        sql_raw(&sql, "DELETE FROM _xs_migrations WHERE id = ");
        sql_param(&sql, dbv_int(id));
        ok = run(m, &sql, NULL);
        m->plan->id = id;
    }
    schema_deinit(&target);
    return ok;
}

bool migrate_back(DbPool *p, const MigrateOptions *opt, DbPlan *plan, xs_error *err)
{
    Mig m = {.p = p, .opt = opt, .plan = plan};
    return in_transaction(&m, backward, err);
}

static bool take_recorded(Mig *m)
{
    m->p->schema = m->was;
    m->was = (Schema){0};
    m->p->tables = m->a; /* the definitions live there */
    arena_init(&m->a, 0);
    return true;
}

bool migrate_recorded(DbPool *p, xs_error *err)
{
    MigrateOptions opt = {0};
    Mig m = {.p = p, .opt = &opt};
    return in_transaction(&m, take_recorded, err);
}

static bool clear(Mig *m)
{
    Schema none = {0};
    m->want = &none;
    return walk_both(m) && alter_text(m, "DROP TABLE IF EXISTS _xs_schema") &&
           alter_text(m, "DROP TABLE IF EXISTS _xs_migrations");
}

bool migrate_clear(DbPool *p, xs_error *err)
{
    DbPlan plan;
    MigrateOptions opt = {.apply = true, .allow_destructive = true};
    Mig m = {.p = p, .opt = &opt, .plan = &plan};
    dbplan_init(&plan);
    bool ok = in_transaction(&m, clear, err);
    dbplan_deinit(&plan);
    return ok;
}
