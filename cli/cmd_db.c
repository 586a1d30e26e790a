/* cmd_db.c - xs db: the database file of a program. What changes it is told before (diff,
 * --dry-run) and in one transaction; reading and copying go on while a server runs. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/config.h"
#include "stdlib/db/migrate.h"
#include "stdlib/db/pool.h"
#include "stdlib/db/seed.h"
#include "stdlib/db/transfer.h"

extern char **environ;

typedef struct Args {
    bool json, dry_run, yes, no_backup, force;
    bool look; /* the file is not changed */
    const char *table, *out, *sql;
    Config config;
    char **paths; /* behind the verb */
    int npaths;
    Arena arena;
    Program *program;
    DbPool *pool;
} Args;

/* ---- opening ---- */

static const char *db_path(const Args *a)
{
    return a->config.db.ptr;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool need_file(const Args *a)
{
    if (is_file(db_path(a)))
        return true;
    fprintf(stderr, "xs db: there is no database file '%s'; name it with --db FILE\n", db_path(a));
    return false;
}

static const Const no_tables = {.kind = C_LIST};

/* The program is needed unless what the file says of itself is enough. */
static bool open_database(Args *a, bool recorded)
{
    xs_error err = {0};
    const Const *tables = NULL;
    if (text_eq(a->config.db, TEXT(":memory:"))) {
        fputs("xs db: :memory: is no file; name one with --db FILE\n", stderr);
        return false;
    }
    if (a->npaths) {
        a->program = cli_load_program(&a->arena, a->paths, a->npaths, false);
        if (!a->program)
            return false;
        tables = const_get(program_meta(a->program), "tables");
        tables = tables ? tables : &no_tables;
    } else if (!recorded) {
        fputs("xs db: name the program: a folder or a bundle\n", stderr);
        return false;
    } else if (!need_file(a)) {
        return false;
    }
    /* A file that is not there yet is not made only to look at it: "" is a passing one. */
    const char *path = a->look && !is_file(db_path(a)) ? "" : db_path(a);
    a->pool = dbpool_offline(path, tables, &err);
    return a->pool || cli_error(&err) == EXIT_OK;
}

/* ---- plans ---- */

static void print_plan_json(const DbPlan *p, const char *what)
{
    Buf b = BUF_INIT;
    buf_cstr(&b, "{\"changes\":[");
    for (uint32_t i = 0; i < p->count; i++) {
        const DbChange *c = &p->items[i];
        buf_cstr(&b, i ? ",{\"kind\":" : "{\"kind\":");
        json_write_text(&b, text_from(c->kind));
        buf_cstr(&b, ",\"table\":");
        json_write_text(&b, c->table);
        if (c->column.ptr) {
            buf_cstr(&b, ",\"name\":");
            json_write_text(&b, c->column);
        }
        buf_cstr(&b, ",\"text\":");
        json_write_text(&b, c->text);
        buf_printf(&b, ",\"destructive\":%s}", c->destructive ? "true" : "false");
    }
    buf_printf(&b, "],\"destructive\":%u,\"done\":\"%s\",\"migration\":%lld}\n", p->destructive,
               what, (long long)p->id);
    fwrite(b.ptr, 1, b.len, stdout);
    buf_deinit(&b);
}

static void print_plan(const Args *a, const DbPlan *p, const char *what)
{
    if (a->json) {
        print_plan_json(p, what);
        return;
    }
    uint32_t changes = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const DbChange *c = &p->items[i];
        bool warning = strcmp(c->kind, "warning") == 0;
        changes += !warning;
        printf("%s %s\n", warning ? "note:" : c->destructive ? "!" : "+", c->text.ptr);
    }
    if (!changes)
        printf("%s fits the program\n", db_path(a));
    else
        printf("%u change%s%s\n", changes, changes == 1 ? "" : "s",
               p->destructive && *what == 'n' ? "; those marked ! lose data and need "
                                                "--allow-destructive"
                                              : "");
}

/* A copy of the file beside it before data is lost. */
static bool safety_copy(const Args *a, xs_error *err)
{
    char path[4096];
    for (int i = 1; i < 10000; i++) {
        snprintf(path, sizeof path, "%s.before-%d", db_path(a), i);
        if (access(path, F_OK) != 0)
            break;
    }
    if (!a->pool->drv->backup(a->pool->conn, path, NULL, NULL, err))
        return false;
    fprintf(stderr, "xs db: a copy of the file is in %s\n", path);
    return true;
}

typedef bool (*MigrateFn)(DbPool *p, const MigrateOptions *opt, DbPlan *plan, xs_error *err);

static bool tell_and_do(Args *a, MigrateFn fn, bool apply)
{
    DbPlan plan, done;
    xs_error err = {0};
    MigrateOptions opt = {.allow_destructive = a->config.allow_destructive};
    dbplan_init(&plan);
    dbplan_init(&done);
    bool ok = fn(a->pool, &opt, &plan, &err);
    if (ok && apply) {
        opt.apply = true;
        if (plan.destructive && opt.allow_destructive && !a->no_backup)
            ok = safety_copy(a, &err);
        ok = ok && fn(a->pool, &opt, &done, &err);
    }
    if (ok)
        print_plan(a, apply ? &done : &plan, apply ? "done" : "nothing");
    else
        cli_error(&err);
    dbplan_deinit(&plan);
    dbplan_deinit(&done);
    return ok;
}

static bool run_diff(Args *a)
{
    a->look = true;
    return open_database(a, false) && tell_and_do(a, migrate, false);
}

static bool run_migrate(Args *a)
{
    a->look = a->dry_run;
    return open_database(a, false) && tell_and_do(a, migrate, !a->dry_run);
}

static bool run_rollback(Args *a)
{
    return open_database(a, true) && tell_and_do(a, migrate_back, !a->dry_run);
}

/* ---- rows ---- */

static bool in_transaction(Args *a, bool (*work)(Args *a, xs_error *err), xs_error *err)
{
    DbPool *p = a->pool;
    bool ok = p->drv->control(p->conn, XS_DB_BEGIN_WRITE, err) && work(a, err) &&
              p->drv->control(p->conn, XS_DB_COMMIT, err);
    if (!ok)
        conn_rollback(p, p->conn);
    return ok;
}

static bool count_rows(Args *a, const Table *t, int64_t *out, xs_error *err)
{
    Buf sql = BUF_INIT;
    buf_cstr(&sql, "SELECT count(*) FROM ");
    sql_ident(&sql, t->name);
    const xs_dbdriver_ops *drv = a->pool->drv;
    xs_db_stmt *st = sql.failed ? NULL : drv->prepare(a->pool->conn, sql.ptr, sql.len, 0, err);
    bool ok = st && drv->step(st, err) == XS_DB_ROW;
    xs_db_value v;
    if (ok) {
        drv->column(st, 0, &v);
        *out = v.i;
    }
    drv->finish(st);
    buf_deinit(&sql);
    return ok;
}

static bool seed_empty(Args *a, xs_error *err)
{
    for (uint32_t i = 0; i < a->pool->schema.ntables; i++) {
        const Table *t = &a->pool->schema.tables[i];
        const Const *items = const_get(t->def, "items");
        int64_t rows = 0;
        if (!items || items->kind != C_LIST || !items->count)
            continue;
        if (!count_rows(a, t, &rows, err))
            return false;
        if (rows) {
            printf("table '" TEXT_FMT "' has %lld rows already\n", TEXT_ARG(t->name),
                   (long long)rows);
            continue;
        }
        if (!seed_table(a->pool, t, err))
            return false;
        printf("table '" TEXT_FMT "': %u rows added\n", TEXT_ARG(t->name), items->count);
    }
    return true;
}

static bool run_seed(Args *a)
{
    xs_error err = {0};
    return open_database(a, false) && (in_transaction(a, seed_empty, &err) || !cli_error(&err));
}

static bool run_reset(Args *a)
{
    xs_error err = {0};
    if (!a->yes) {
        fprintf(stderr,
                "xs db reset deletes every row of %s and makes its tables anew; repeat it with "
                "--yes\n",
                db_path(a));
        return false;
    }
    if (!open_database(a, false))
        return false;
    bool ok = a->no_backup || safety_copy(a, &err);
    if (!ok || !migrate_clear(a->pool, &err))
        return !cli_error(&err);
    return tell_and_do(a, migrate, true);
}

/* ---- copies ---- */

static void show_pages(void *ctx, int left, int all)
{
    (void)ctx;
    fprintf(stderr, "\r%d of %d pages", all - left, all);
}

static void show_rows(void *ctx, uint64_t rows)
{
    fprintf(stderr, "\r%s: %llu rows", (const char *)ctx, (unsigned long long)rows);
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        fputc('\n', stderr);
}

static bool run_backup(Args *a)
{
    xs_error err = {0};
    if (!a->npaths && !a->out) {
        fputs("xs db: name the copy: xs db backup FILE\n", stderr);
        return false;
    }
    const char *out = a->out ? a->out : a->paths[a->npaths - 1];
    char part[4096];
    snprintf(part, sizeof part, "%s.part", out);
    a->npaths = 0;
    if (!a->force && access(out, F_OK) == 0) {
        fprintf(stderr, "xs db: %s is there already; --force replaces it\n", out);
        return false;
    }
    if (!open_database(a, true))
        return false;
    (void)unlink(part);
    bool tty = isatty(STDERR_FILENO);
    bool ok = a->pool->drv->backup(a->pool->conn, part, tty ? show_pages : NULL, NULL, &err);
    end_progress();
    ok = ok && (rename(part, out) == 0 ||
                xs_fail(&err, XS_E_IO, XS_NO_POS, "%s: %s", out, strerror(errno)));
    if (!ok) {
        (void)unlink(part);
        return !cli_error(&err);
    }
    struct stat st;
    long long bytes = stat(out, &st) == 0 ? (long long)st.st_size : 0;
    if (a->json)
        printf("{\"file\":\"%s\",\"bytes\":%lld}\n", out, bytes);
    else
        printf("%s: %lld bytes\n", out, bytes);
    return true;
}

static const Table *pick_table(Args *a)
{
    if (!a->table)
        return NULL;
    const Table *t = schema_find(&a->pool->schema, text_from(a->table));
    if (t)
        return t;
    Text names[256];
    size_t n = 0;
    for (uint32_t i = 0; i < a->pool->schema.ntables && n < COUNT_OF(names); i++)
        names[n++] = a->pool->schema.tables[i].name;
    (void)cli_unknown("table", text_from(a->table), names, n);
    return NULL;
}

static bool to_file(void *ctx, Text piece, xs_error *err)
{
    return fwrite(piece.ptr, 1, piece.len, (FILE *)ctx) == piece.len ||
           xs_fail(err, XS_E_IO, XS_NO_POS, "writing: %s", strerror(errno));
}

static bool export_table(Args *a, const Table *t, const char *file, xs_error *err)
{
    bool out = strcmp(file, "-") == 0;
    FILE *f = out ? stdout : fopen(file, "w");
    if (!f)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", file, strerror(errno));
    uint64_t rows = 0;
    bool ok = transfer_out(a->pool, t, to_file, f, &rows, err);
    if (!out && fclose(f) != 0 && ok)
        ok = xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", file, strerror(errno));
    if (ok)
        fprintf(stderr, "%s: %llu rows\n", file, (unsigned long long)rows);
    return ok;
}

/* All tables of one moment, a file each. */
static bool export_all(Args *a, const char *dir, xs_error *err)
{
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", dir, strerror(errno));
    bool ok = true;
    for (uint32_t i = 0; ok && i < a->pool->schema.ntables; i++) {
        const Table *t = &a->pool->schema.tables[i];
        char file[4096];
        snprintf(file, sizeof file, "%s/" TEXT_FMT ".jsonl", dir, TEXT_ARG(t->name));
        ok = export_table(a, t, file, err);
    }
    return ok;
}

static bool run_export(Args *a)
{
    xs_error err = {0};
    if (!open_database(a, true))
        return false;
    const Table *t = pick_table(a);
    if (a->table && !t)
        return false;
    if (!t && !a->out) {
        fputs("xs db: name a folder with -o DIR, or one table with --table NAME\n", stderr);
        return false;
    }
    DbPool *p = a->pool;
    bool ok = p->drv->control(p->conn, XS_DB_BEGIN_READ, &err) &&
              (t ? export_table(a, t, a->out ? a->out : "-", &err) : export_all(a, a->out, &err));
    conn_rollback(p, p->conn);
    return ok || !cli_error(&err);
}

/* The table a file is named after: "dir/user.jsonl". */
static const Table *table_of_file(Args *a, const char *file)
{
    if (a->table)
        return pick_table(a);
    const char *base = strrchr(file, '/');
    Text name = text_from(base ? base + 1 : file);
    if (text_ends(name, TEXT(".jsonl")))
        name.len -= 6;
    Text copy = arena_text(&a->arena, name);
    a->table = copy.ptr;
    const Table *t = copy.ptr ? pick_table(a) : NULL;
    a->table = NULL;
    return t;
}

static bool import_files(Args *a, xs_error *err)
{
    char *const *files = a->paths + 1;
    for (int i = 0; files[i]; i++) {
        const Table *t = table_of_file(a, files[i]);
        Text lines;
        uint64_t rows = 0;
        if (!t)
            return xs_fail(err, XS_E_NOTFOUND, XS_NO_POS, "%s belongs to no table", files[i]);
        bool tty = isatty(STDERR_FILENO);
        bool ok = cli_read_file(&a->arena, files[i], &lines, err) &&
                  transfer_in(a->pool, t, lines, tty ? show_rows : NULL, files[i], &rows, err);
        if (tty && rows >= 1000)
            fputc('\n', stderr);
        if (!ok)
            return false;
        printf("%s: %llu rows\n", files[i], (unsigned long long)rows);
    }
    return true;
}

/* PROGRAM FILE... */
static bool run_import(Args *a)
{
    xs_error err = {0};
    if (a->npaths < 2) {
        fputs("xs db: name the program and the files: xs db import PROGRAM FILE.jsonl...\n",
              stderr);
        return false;
    }
    a->npaths = 1;
    return open_database(a, false) && (in_transaction(a, import_files, &err) || !cli_error(&err));
}

/* ---- shell ---- */

enum { CELL_MAX = 40, SHELL_ROWS = 1000, SHELL_COLUMNS = 64 };

typedef struct Answer {
    bool json;
    uint64_t rows;
    Arena arena;
    const Const *kept[SHELL_ROWS]; /* of a table, to know how wide its columns are */
    size_t nkept;
} Answer;

static Text cell_text(Arena *a, const Const *c)
{
    if (c->kind == C_TEXT)
        return c->text;
    Buf b = BUF_INIT;
    json_write_const(&b, c);
    Text t = arena_text(a, buf_view(&b));
    buf_deinit(&b);
    return t.ptr ? t : TEXT("");
}

static const Const *copy_row(Arena *a, const Const *row)
{
    Const *out = const_map(a, row->count);
    for (uint32_t i = 0; out && i < row->count; i++) {
        Text t = cell_text(a, row->pairs[i].value), key = arena_text(a, row->pairs[i].key);
        const Const *c = const_text(a, arena_text(a, t));
        if (!c || !const_set(a, out, key, c))
            return NULL;
    }
    return out;
}

static bool take_row(void *ctx, const Const *row, xs_error *err)
{
    Answer *w = ctx;
    w->rows++;
    if (w->json) {
        Buf b = BUF_INIT;
        json_write_const(&b, row);
        buf_char(&b, '\n');
        fwrite(b.ptr, 1, b.len, stdout);
        buf_deinit(&b);
        return true;
    }
    if (w->nkept < SHELL_ROWS) {
        const Const *copy = copy_row(&w->arena, row);
        if (!copy)
            return fail_code(err, XS_E_NOMEM);
        w->kept[w->nkept++] = copy;
    }
    return true;
}

static void print_cell(Text t, size_t width)
{
    size_t shown = utf8_count(t) > width ? width - 1 : utf8_count(t);
    Text cut = text_slice(t, 0, utf8_offset(t, shown));
    bool more = cut.len < t.len;
    for (size_t i = 0; i < cut.len; i++) /* no control characters on the terminal */
        fputc((unsigned char)cut.ptr[i] < ' ' || cut.ptr[i] == 127 ? ' ' : cut.ptr[i], stdout);
    if (more)
        fputs("…", stdout);
    for (size_t n = shown + more; n < width; n++)
        fputc(' ', stdout);
    fputs("  ", stdout);
}

static void print_table(const Answer *w)
{
    size_t width[SHELL_COLUMNS] = {0};
    const Const *first = w->nkept ? w->kept[0] : NULL;
    uint32_t n = first ? first->count : 0;
    if (n > SHELL_COLUMNS)
        n = SHELL_COLUMNS;
    for (uint32_t i = 0; i < n; i++)
        width[i] = utf8_count(first->pairs[i].key);
    for (size_t r = 0; r < w->nkept; r++)
        for (uint32_t i = 0; i < n; i++) {
            size_t len = utf8_count(w->kept[r]->pairs[i].value->text);
            if (len > width[i])
                width[i] = len > CELL_MAX ? CELL_MAX : len;
        }
    for (uint32_t i = 0; i < n; i++)
        print_cell(first->pairs[i].key, width[i]);
    if (n)
        fputc('\n', stdout);
    for (size_t r = 0; r < w->nkept; r++) {
        for (uint32_t i = 0; i < n; i++)
            print_cell(w->kept[r]->pairs[i].value->text, width[i]);
        fputc('\n', stdout);
    }
    printf("%llu row%s", (unsigned long long)w->rows, w->rows == 1 ? "" : "s");
    if (w->rows > w->nkept)
        printf(", %zu shown", w->nkept);
    fputc('\n', stdout);
}

static bool answer(Args *a, xs_db_conn *conn, Text sql)
{
    xs_error err = {0};
    Answer *w = arena_alloc(&a->arena, sizeof *w);
    if (!w)
        return false;
    w->json = a->json;
    arena_init(&w->arena, 0);
    bool ok = transfer_query(a->pool, conn, sql, take_row, w, &err);
    if (!ok)
        cli_error(&err);
    else if (!w->json)
        print_table(w);
    arena_deinit(&w->arena);
    return ok;
}

static void list_tables(const Args *a)
{
    for (uint32_t i = 0; i < a->pool->schema.ntables; i++) {
        const Table *t = &a->pool->schema.tables[i];
        printf(TEXT_FMT " (", TEXT_ARG(t->name));
        for (uint32_t k = 0; k < t->ncols; k++)
            printf("%s" TEXT_FMT " " TEXT_FMT "%s%s", k ? ", " : "", TEXT_ARG(t->cols[k].name),
                   TEXT_ARG(const_get_text(t->cols[k].field, "type")),
                   t->cols[k].type.kind == CK_LIST ? "[]" : "", t->cols[k].nullable ? "?" : "");
        fputs(")\n", stdout);
    }
}

/* A line of the shell; false ends it. */
static bool shell_line(Args *a, xs_db_conn *conn, Buf *sql, const char *line)
{
    Text t = text_trim(text_from(line), TEXT(" \t\r\n"));
    if (!sql->len && (text_eq(t, TEXT(".quit")) || text_eq(t, TEXT(".exit"))))
        return false;
    if (!sql->len && text_eq(t, TEXT(".tables"))) {
        list_tables(a);
    } else if (!sql->len && t.len && t.ptr[0] == '.') {
        fputs(".tables lists the tables, .quit leaves; SELECT statements end with ;\n", stdout);
    } else if (t.len) {
        buf_text(sql, t);
        buf_char(sql, '\n');
        if (text_ends(t, TEXT(";"))) {
            (void)answer(a, conn, buf_view(sql));
            sql->len = 0;
        }
    }
    return true;
}

static bool run_shell(Args *a)
{
    xs_error err = {0};
    if (!open_database(a, true))
        return false;
    xs_db_options o = {.path = db_path(a)};
    xs_db_conn *conn = a->pool->drv->open(&o, &err);
    if (!conn)
        return !cli_error(&err);
    bool ok = true;
    if (a->sql) {
        ok = answer(a, conn, text_from(a->sql));
    } else {
        bool tty = isatty(STDIN_FILENO);
        if (tty)
            printf("%s, reading only; .tables .quit\n", db_path(a));
        char *line = NULL;
        size_t cap = 0;
        Buf sql = BUF_INIT;
        for (;;) {
            if (tty)
                fputs(sql.len ? "  ...> " : "xs db> ", stdout);
            fflush(stdout);
            if (getline(&line, &cap, stdin) < 0 || !shell_line(a, conn, &sql, line))
                break;
        }
        if (sql.len)
            ok = answer(a, conn, buf_view(&sql));
        buf_deinit(&sql);
        free(line);
    }
    a->pool->drv->close(conn);
    return ok;
}

/* ---- the command ---- */

static const struct Verb {
    const char *name;
    bool (*run)(Args *a);
    const char *args, *doc;
} verbs[] = {
    {"diff", run_diff, "PROGRAM", "Tell what migrate would change"},
    {"migrate", run_migrate, "PROGRAM", "Bring the file to the tables of the program"},
    {"rollback", run_rollback, "", "Undo the last migration"},
    {"reset", run_reset, "PROGRAM --yes", "Delete all rows and make the tables anew"},
    {"seed", run_seed, "PROGRAM", "Add the items of tables that are empty"},
    {"shell", run_shell, "[-c SQL]", "Read the database with SQL"},
    {"backup", run_backup, "FILE", "Copy the database while it is in use"},
    {"export", run_export, "-o DIR | --table NAME", "Write tables as lines of JSON"},
    {"import", run_import, "PROGRAM FILE.jsonl...", "Add the rows of such files"},
};

static char *help_text(void)
{
    Buf b = BUF_INIT;
    buf_cstr(&b, "Works on the database file of a program (--db, default xs.db).\n\n");
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        buf_printf(&b, "  %-9s %-22s %s\n", verbs[i].name, verbs[i].args, verbs[i].doc);
    buf_cstr(&b, "\nChanges that lose data need --allow-destructive; a copy of the file is made "
                 "before them.\nserve makes the safe changes by itself and refuses the others.");
    return buf_take(&b, NULL);
}

static int run_verb(Args *a, int argc, char **argv)
{
    const struct Verb *verb = NULL;
    Text names[COUNT_OF(verbs)];
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        names[i] = text_from(verbs[i].name);
        if (argc > 1 && strcmp(argv[1], verbs[i].name) == 0)
            verb = &verbs[i];
    }
    if (!verb) {
        Text near = argc > 1 ? text_nearest(text_from(argv[1]), names, COUNT_OF(verbs)) : (Text){0};
        if (near.ptr)
            return cli_usage("db", "unknown verb '%s'; did you mean '" TEXT_FMT "'?", argv[1],
                             TEXT_ARG(near));
        return cli_usage("db", argc > 1 ? "unknown verb '%s'" : "say what to do: diff, migrate …",
                         argv[1]);
    }
    a->paths = argv + 2;
    a->npaths = argc - 2;
    argv[argc] = NULL;
    bool ok = verb->run(a);
    dbpool_close(a->pool);
    program_unref(a->program);
    return ok ? EXIT_OK : EXIT_PROBLEM;
}

int cmd_db(int argc, char **argv)
{
    Args a = {0};
    const char *db = NULL;
    bool destructive = false;
    const CliOption options[] = {
        {"--db", "FILE", "the database file", NULL, &db},
        {"--dry-run", NULL, "migrate, rollback: only tell", &a.dry_run, NULL},
        {"--allow-destructive", NULL, "let changes lose data", &destructive, NULL},
        {"--no-backup", NULL, "make no copy before", &a.no_backup, NULL},
        {"--yes", NULL, "reset: really", &a.yes, NULL},
        {"--table", "NAME", "export, import: one table", NULL, &a.table},
        {"-o", "PATH", "export, backup: where to", NULL, &a.out},
        {"--force", NULL, "backup: replace the file", &a.force, NULL},
        {"-c", "SQL", "shell: one statement", NULL, &a.sql},
        {"--json", NULL, "output for programs", &a.json, NULL},
        {0},
    };
    static const char *const others[] = {"--dry-run", "--no-backup", "--yes", "--table",
                                         "-o",        "--force",     "-c",    "--json",
                                         "--help",    "-h",          NULL};
    xs_error err;
    if (!config_init(&a.config, &err))
        return cli_error(&err);
    arena_init(&a.arena, 0);
    int code;
    if (!config_load(&a.config, &argc, argv, others, environ, &err)) {
        code = cli_usage("db", "%s", err.message);
    } else {
        char *about = help_text();
        code = cli_options(&argc, argv, "db VERB [OPTIONS] [PROGRAM]", about ? about : "", options);
        mem_free(about);
        if (code < 0)
            code = run_verb(&a, argc, argv);
    }
    arena_deinit(&a.arena);
    config_deinit(&a.config);
    return code;
}
