/* search.c - full-text conditions: words as people type them -> an FTS5 expression, which is a
 * bound parameter; the operator `search` and the filter search_rank on a table's search index. */
#include "core/text.h"
#include "stdlib/db/query.h"

enum { TERMS_MAX = 64 };

typedef struct Term {
    Text words;
    bool negative, after_or;
} Term;

static bool is_word(Text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.ptr[i];
        if (c >= 0x80 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'))
            return true;
    }
    return false;
}

/* word, "several words", -word, or */
static uint32_t split(Text t, Term *terms)
{
    uint32_t n = 0;
    bool after_or = false;
    for (size_t at = 0; at < t.len && n < TERMS_MAX;) {
        if ((unsigned char)t.ptr[at] <= ' ') {
            at++;
            continue;
        }
        bool negative = t.ptr[at] == '-';
        at += negative;
        bool quoted = at < t.len && t.ptr[at] == '"';
        at += quoted;
        size_t from = at;
        while (at < t.len && (quoted ? t.ptr[at] != '"' : (unsigned char)t.ptr[at] > ' '))
            at++;
        Text words = text_slice(t, from, at);
        at += quoted && at < t.len;
        if (!quoted && !negative && words.len == 2 && (words.ptr[0] | 32) == 'o' &&
            (words.ptr[1] | 32) == 'r') {
            after_or = n > 0;
            continue;
        }
        if (!is_word(words))
            continue;
        terms[n++] = (Term){words, negative, after_or};
        after_or = false;
    }
    return n;
}

static void write_term(Buf *out, Text words)
{
    buf_char(out, '"');
    for (size_t i = 0; i < words.len; i++) {
        char c = words.ptr[i];
        if (c == '"')
            buf_char(out, '"');
        buf_char(out, c ? c : ' ');
    }
    buf_char(out, '"');
}

/* {"column"} : (("a" AND "b") OR ("c")) NOT ("d" OR "e"); nothing and false when no word is asked
 * for. */
static bool write_query(Buf *out, Text words, const Column *col)
{
    Term terms[TERMS_MAX];
    uint32_t n = split(words, terms), wanted = 0, unwanted = 0;
    if (col) {
        buf_char(out, '{');
        write_term(out, col->name);
        buf_cstr(out, "} : (");
    }
    buf_cstr(out, "((");
    for (uint32_t i = 0; i < n; i++) {
        if (terms[i].negative)
            continue;
        if (wanted++)
            buf_cstr(out, terms[i].after_or ? ") OR (" : " AND ");
        write_term(out, terms[i].words);
    }
    buf_cstr(out, "))");
    for (uint32_t i = 0; i < n; i++) {
        if (!terms[i].negative)
            continue;
        buf_cstr(out, unwanted++ ? " OR " : " NOT (");
        write_term(out, terms[i].words);
    }
    if (unwanted)
        buf_char(out, ')');
    if (col)
        buf_char(out, ')');
    return wanted > 0;
}

const SearchIndex *search_index(const Query *q, const Ex *x)
{
    if (x->search)
        return x->search;
    return x->col ? table_search(q->src[x->src].table, TEXT(""), x->col) : NULL;
}

/* "?N" with the expression; *some false: it can match nothing. */
static bool search_param(Query *q, const Ex *x, Value words, Text *out, bool *some)
{
    xs_db_value v;
    if (!row_encode(&q->arena, (ColType){CK_TEXT, CK_ANY}, words, &v, q->c->err))
        return false;
    Buf b = BUF_INIT;
    *some = write_query(&b, dbv_bytes(&v), x->search ? NULL : x->col);
    Text t = b.failed ? (Text){0} : arena_text(&q->arena, buf_view(&b));
    buf_deinit(&b);
    if (!t.ptr)
        return fail_memory(q->c);
    if (*some)
        *out = arena_printf(&q->arena, "?%u", sql_bind(&q->sql, dbv_text(t)));
    return !*some || out->ptr || fail_memory(q->c);
}

bool search_write(Query *q, const Ex *x, Value words, Buf *out)
{
    const SearchIndex *s = search_index(q, x);
    Text param;
    bool some;
    if (!search_param(q, x, words, &param, &some))
        return false;
    if (!some) {
        buf_cstr(out, "0");
        return true;
    }
    buf_printf(out, "(t%u.rowid IN (SELECT rowid FROM ", x->src);
    sql_ident(out, s->table);
    buf_cstr(out, " WHERE ");
    sql_ident(out, s->table);
    buf_printf(out, " MATCH " TEXT_FMT "))", TEXT_ARG(param));
    return true;
}

bool search_rank(Query *q, const Ex *x, const Ex *words, Ex *out)
{
    const SearchIndex *s = search_index(q, x);
    Text param;
    bool some;
    if (!s || words->sql.ptr)
        return call_fail(q->c, XS_E_BAD_ARG,
                         "search_rank needs a column with a search index and a text");
    *out = (Ex){.type = {CK_DEC, CK_ANY}, .has_col = true, .v = val_unset(), .sql = TEXT("0.0")};
    if (val_is_null(words->v))
        return true;
    if (!search_param(q, x, words->v, &param, &some) || !some)
        return !some;
    Buf b = BUF_INIT;
    buf_cstr(&b, "coalesce((SELECT -bm25(");
    sql_ident(&b, s->table);
    for (uint32_t i = 0; i < s->ncols; i++)
        buf_printf(&b, ",%.1f", s->weights[i]);
    buf_cstr(&b, ") FROM ");
    sql_ident(&b, s->table);
    buf_cstr(&b, " WHERE ");
    sql_ident(&b, s->table);
    buf_printf(&b, " MATCH " TEXT_FMT " AND rowid = t%u.rowid),0.0)", TEXT_ARG(param), x->src);
    out->sql = b.failed ? (Text){0} : arena_text(&q->arena, buf_view(&b));
    buf_deinit(&b);
    return out->sql.ptr || fail_memory(q->c);
}
