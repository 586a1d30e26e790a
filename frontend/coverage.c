/* coverage.c - which parts of the language this engine does not support: of a program, and of the
 * tables as a whole. */
#include "frontend/prog.h"

#include "core/json.h"

/* ---- a program ---- */

typedef struct Use {
    const char *kind;
    Text name;
    size_t count;
    LIST(xs_pos) at;
} Use;

typedef struct Coverage {
    Comp *c;
    LIST(Use) uses;
} Coverage;

enum { MAX_COVERAGE_PLACES = 20 };

static void use(Coverage *cv, const char *kind, Text name, Pos pos)
{
    Use *u = NULL;
    for (size_t i = 0; i < cv->uses.len && !u; i++)
        if (strcmp(cv->uses.ptr[i].kind, kind) == 0 && text_eq(cv->uses.ptr[i].name, name))
            u = &cv->uses.ptr[i];
    if (!u) {
        if (!PUSH(cv->c, &cv->uses, ((Use){.kind = kind, .name = name})))
            return;
        u = &cv->uses.ptr[cv->uses.len - 1];
    }
    u->count++;
    if (u->at.len < MAX_COVERAGE_PLACES)
        PUSH(cv->c, &u->at, ((xs_pos){cv->c->file->file, pos.line, pos.col, pos.len}));
}

static bool cover_expr(Expr *e, void *ctx)
{
    const FilterInfo *f = e->kind == EX_FILTER && !e->disabled ? filter_find(e->text) : NULL;
    if (f && f->todo && !(e->a && has_column(e->a)))
        use(ctx, "filter", text_from(f->name), e->pos);
    return true;
}

static void cover_block(Coverage *cv, const Block *b)
{
    for (size_t i = 0; i < b->items.len; i++) {
        const Stmt *s = b->items.ptr[i];
        if (s->disabled)
            continue;
        if (s->info->todo)
            use(cv, "statement", s->keyword, s->pos);
        expr_walk(s->operand, cover_expr, cv);
        expr_walk(s->cond, cover_expr, cv);
        expr_walk(s->as, cover_expr, cv);
        for (size_t k = 0; k < s->attrs.len; k++) {
            expr_walk(s->attrs.ptr[k].value, cover_expr, cv);
            cover_block(cv, &s->attrs.ptr[k].stack);
        }
        for (size_t k = 0; k < s->branches.len; k++) {
            expr_walk(s->branches.ptr[k].cond, cover_expr, cv);
            cover_block(cv, &s->branches.ptr[k].body);
        }
    }
}

static void write_uses(const Coverage *cv, bool json, Buf *out)
{
    if (json)
        buf_char(out, '[');
    for (size_t i = 0; i < cv->uses.len; i++) {
        const Use *u = &cv->uses.ptr[i];
        if (json) {
            buf_printf(out, "%s{\"kind\":\"%s\",\"name\":", i ? "," : "", u->kind);
            json_write_text(out, u->name);
            buf_printf(out, ",\"count\":%zu,\"at\":[", u->count);
        } else {
            buf_printf(out, "%s " TEXT_FMT ": %zu use%s\n", u->kind, TEXT_ARG(u->name), u->count,
                       u->count == 1 ? "" : "s");
        }
        for (size_t k = 0; k < u->at.len; k++) {
            Text place = arena_printf(cv->c->a, "%s:%u:%u", u->at.ptr[k].file, u->at.ptr[k].line,
                                      u->at.ptr[k].col);
            if (json) {
                buf_cstr(out, k ? "," : "");
                json_write_text(out, place.ptr ? place : TEXT(""));
            } else {
                buf_printf(out, "  " TEXT_FMT "\n", TEXT_ARG(place));
            }
        }
        if (json)
            buf_cstr(out, "]}");
    }
    if (json)
        buf_char(out, ']');
    else if (cv->uses.len == 0)
        buf_cstr(out, "everything this program uses is supported\n");
}

void compile_coverage(Arena *a, const SourceFile *files, size_t count, bool json, Buf *out)
{
    DiagList ignored;
    diag_init(&ignored, a);
    Comp c;
    CompileOptions options = {.allow_bare_statements = true};
    if (!comp_init(&c, a, &ignored, &options))
        return;
    Prog pr = {.c = &c};
    prog_parse(&pr, files, count, true);
    Coverage cv = {.c = &c};
    for (size_t i = 0; i < pr.all.len && !c.oom; i++) {
        const Construct *k = pr.all.ptr[i];
        c.file = k->state;
        cover_block(&cv, &k->stack);
        expr_walk(k->response, cover_expr, &cv);
        for (size_t t = 0; t < k->tests.len; t++)
            cover_block(&cv, &k->tests.ptr[t].body);
        if (construct_info[k->kind].flags & CF_TODO)
            use(&cv, "construct", text_from(construct_info[k->kind].keyword), k->pos);
    }
    write_uses(&cv, json, out);
    prog_deinit(&pr);
}

/* ---- the tables ---- */

enum { TIERS = 4 }; /* 0 = without a tier */

typedef struct Group {
    const char *kind; /* "filter" */
    size_t done[TIERS], total[TIERS];
} Group;

typedef struct Row {
    const char *name;
    uint8_t tier;
    bool todo;
} Row;

/* The rows of one table by index; name NULL past the end. */
static Row filter_row(size_t i)
{
    const FilterInfo *f = filter_at(i);
    return f ? (Row){f->name, f->tier, f->todo} : (Row){0};
}

static Row statement_row(size_t i)
{
    const StatementInfo *s = statement_at(i);
    return s ? (Row){s->name, s->tier, s->todo} : (Row){0};
}

static Row construct_row(size_t i)
{
    if (i >= CK_FRAGMENT)
        return (Row){0};
    bool todo = construct_info[i].flags & (CF_TODO | CF_SKIP);
    return (Row){construct_info[i].keyword, 0, todo};
}

static const struct {
    const char *kind;
    Row (*row)(size_t index);
} tables[] = {{"filter", filter_row}, {"statement", statement_row}, {"construct", construct_row}};

static Group count_rows(size_t table)
{
    Group g = {.kind = tables[table].kind};
    for (size_t i = 0; tables[table].row(i).name; i++) {
        Row r = tables[table].row(i);
        size_t tier = r.tier < TIERS ? r.tier : TIERS - 1;
        g.total[tier]++;
        g.done[tier] += !r.todo;
    }
    return g;
}

static void tables_text(Buf *out)
{
    for (size_t t = 0; t < COUNT_OF(tables); t++) {
        Group g = count_rows(t);
        for (size_t tier = 0; tier < TIERS; tier++) {
            if (!g.total[tier])
                continue;
            buf_printf(out, "%ss", g.kind);
            if (tier)
                buf_printf(out, ", tier %zu", tier);
            buf_printf(out, ": %zu of %zu\n", g.done[tier], g.total[tier]);
        }
    }
    buf_cstr(out, "\nparsed and checked, but not supported:\n");
    for (size_t t = 0; t < COUNT_OF(tables); t++)
        for (size_t i = 0; tables[t].row(i).name; i++)
            if (tables[t].row(i).todo)
                buf_printf(out, "  %s %s\n", tables[t].kind, tables[t].row(i).name);
}

static void tables_json(Buf *out)
{
    buf_cstr(out, "{\"supported\":[");
    const char *comma = "";
    for (size_t t = 0; t < COUNT_OF(tables); t++) {
        Group g = count_rows(t);
        for (size_t tier = 0; tier < TIERS; tier++) {
            if (!g.total[tier])
                continue;
            buf_printf(out, "%s{\"kind\":\"%s\",\"tier\":", comma, g.kind);
            buf_cstr(out, tier ? "" : "null");
            if (tier)
                buf_printf(out, "%zu", tier);
            buf_printf(out, ",\"done\":%zu,\"total\":%zu}", g.done[tier], g.total[tier]);
            comma = ",";
        }
    }
    buf_cstr(out, "],\"unsupported\":[");
    comma = "";
    for (size_t t = 0; t < COUNT_OF(tables); t++)
        for (size_t i = 0; tables[t].row(i).name; i++)
            if (tables[t].row(i).todo) {
                buf_printf(out, "%s{\"kind\":\"%s\",\"name\":\"%s\"}", comma, tables[t].kind,
                           tables[t].row(i).name);
                comma = ",";
            }
    buf_cstr(out, "]}\n");
}

void language_coverage(bool json, Buf *out)
{
    tables_init();
    if (json)
        tables_json(out);
    else
        tables_text(out);
}
