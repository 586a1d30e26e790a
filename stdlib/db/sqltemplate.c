/* sqltemplate.c - SQL of db.direct_query written as a template. What the template puts out never
 * becomes SQL: it is a bound parameter, also inside quotes, and where a name has to stand it may
 * only be one (runtime.md §3.9). The template writes marks; this file replaces them. */
#include <stdio.h>

#include "core/text.h"
#include "stdlib/db/ops.h"
#include "stdlib/template/template.h"

enum { MARK = 1, WORD_MAX = 16, NAME_SHOWN = 80 };

/* What the token before says of the next one. */
typedef enum Before { OPERAND_FOLLOWS, NAME_FOLLOWS, OPERAND_ENDED } Before;

typedef struct Fill {
    Call *c;
    Value values; /* list: what the template put out */
    Text in;
    size_t at;
    Sql *sql;
    Value *args; /* list of the parameters, for $N; NULL: bound in sql, for ?N */
    Before before;
    bool names; /* a comma separates names: behind FROM, BY … */
} Fill;

static bool note_value(void *ctx, Value v, Buf *out)
{
    Fill *f = (Fill *)ctx;
    buf_printf(out, "%c%u%c", MARK, f->values.list->len, MARK);
    return list_push(f->c->heap, &f->values, val_ref(v)) || fail_memory(f->c);
}

static bool one_of(Text word, const char *list)
{
    char small[WORD_MAX + 3] = " ";
    if (word.len > WORD_MAX)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        char c = word.ptr[i];
        small[i + 1] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    small[word.len + 1] = ' ';
    return strstr(list, small) != NULL;
}

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* The value of the mark at f->at, which is taken. */
static Value take_mark(Fill *f)
{
    uint32_t n = 0;
    for (f->at++; f->at < f->in.len && f->in.ptr[f->at] != MARK; f->at++)
        n = n * 10 + (uint32_t)(f->in.ptr[f->at] - '0');
    f->at++;
    return list_at(f->values.list, n);
}

static bool write_text(Fill *f, Value v, Buf *out)
{
    if (val_is_null(v))
        return true;
    if (v.kind == V_LIST || v.kind == V_MAP)
        return val_write_json(v, out) || fail_memory(f->c);
    return val_write_text(v, out, f->c->err);
}

static bool write_name(Fill *f, Value v)
{
    Buf b = BUF_INIT;
    bool ok = write_text(f, v, &b), plain = b.len > 0;
    for (size_t i = 0; i < b.len; i++)
        plain = plain && (unsigned char)b.ptr[i] < 0x80 && (word_char(b.ptr[i]) || b.ptr[i] == '.');
    Text shown = text_slice(buf_view(&b), 0, NAME_SHOWN);
    shown.len = utf8_valid_len(shown);
    if (ok && !plain)
        ok = call_fail(f->c, XS_E_BAD_ARG, "%s: '" TEXT_FMT "' cannot stand for a name in SQL",
                       f->c->name, TEXT_ARG(shown));
    if (ok)
        buf_text(&f->sql->text, buf_view(&b));
    buf_deinit(&b);
    f->before = OPERAND_ENDED;
    return ok;
}

static bool write_param(Fill *f, Value v)
{
    xs_db_value bound;
    f->before = OPERAND_ENDED;
    if (f->args) {
        buf_printf(&f->sql->text, "$%u", val_count(*f->args) + 1);
        return list_push(f->c->heap, f->args, val_ref(v)) || fail_memory(f->c);
    }
    if (!row_encode(f->sql->arena, (ColType){CK_ANY, CK_ANY}, v, &bound, f->c->err))
        return false;
    sql_param(f->sql, bound);
    return true;
}

static bool fill_mark(Fill *f)
{
    const Buf *out = &f->sql->text;
    char last = out->len ? out->ptr[out->len - 1] : ' ';
    Value v = take_mark(f);
    char next = f->at < f->in.len ? f->in.ptr[f->at] : ' ';
    bool part = word_char(last) || last == '.' || word_char(next) || next == '.' || next == MARK;
    return part || f->before != OPERAND_FOLLOWS ? write_name(f, v) : write_param(f, v);
}

/* '…': one parameter when something was put out inside, the pieces around it joined. */
static bool fill_literal(Fill *f)
{
    size_t from = f->at;
    bool marks = false, ok = true;
    Buf text = BUF_INIT;
    for (f->at++; ok && f->at < f->in.len; f->at++) {
        char c = f->in.ptr[f->at];
        bool twice = c == '\'' && f->at + 1 < f->in.len && f->in.ptr[f->at + 1] == '\'';
        if (c == '\'' && !twice)
            break;
        if (c == MARK) {
            marks = true;
            ok = write_text(f, take_mark(f), &text);
            f->at--;
            continue;
        }
        buf_char(&text, c);
        f->at += twice;
    }
    f->at += f->at < f->in.len;
    if (ok && marks) {
        Value joined = text.failed ? val_unset() : text_new(f->c->heap, buf_view(&text));
        ok = joined.kind != V_UNSET ? write_param(f, joined) : fail_memory(f->c);
        val_unref(f->c->heap, joined);
    } else if (ok) {
        buf_text(&f->sql->text, text_slice(f->in, from, f->at));
    }
    buf_deinit(&text);
    f->before = OPERAND_ENDED;
    return ok;
}

/* "…", `…` or […]: names only. */
static bool fill_quoted_name(Fill *f)
{
    char end = f->in.ptr[f->at] == '[' ? ']' : f->in.ptr[f->at];
    buf_char(&f->sql->text, f->in.ptr[f->at++]);
    while (f->at < f->in.len && f->in.ptr[f->at] != end) {
        if (f->in.ptr[f->at] != MARK)
            buf_char(&f->sql->text, f->in.ptr[f->at++]);
        else if (!write_name(f, take_mark(f)))
            return false;
    }
    if (f->at < f->in.len)
        buf_char(&f->sql->text, f->in.ptr[f->at++]);
    f->before = OPERAND_ENDED;
    return true;
}

static void skip_comment(Fill *f)
{
    bool line = f->in.ptr[f->at] == '-';
    size_t end = text_find(f->in, line ? TEXT("\n") : TEXT("*/"), f->at + 2);
    f->at = end == SIZE_MAX ? f->in.len : end + (line ? 0 : 2);
    buf_char(&f->sql->text, ' ');
}

static void copy_word(Fill *f)
{
    size_t from = f->at;
    while (f->at < f->in.len && word_char(f->in.ptr[f->at]))
        f->at++;
    Text word = text_slice(f->in, from, f->at);
    buf_text(&f->sql->text, word);
    if (one_of(word, " from join into update by table as ")) {
        f->before = NAME_FOLLOWS;
        f->names = !one_of(word, " as ");
    } else if (one_of(word, " select where and or not in like glob between is limit offset set "
                            "values then else when case on having distinct returning match regexp "
                            "escape ")) {
        f->before = OPERAND_FOLLOWS;
        f->names = false;
    } else {
        f->before = OPERAND_ENDED;
    }
}

static bool fill(Fill *f)
{
    bool ok = true;
    while (ok && f->at < f->in.len) {
        char c = f->in.ptr[f->at], next = f->at + 1 < f->in.len ? f->in.ptr[f->at + 1] : ' ';
        if (c == MARK)
            ok = fill_mark(f);
        else if (c == '\'')
            ok = fill_literal(f);
        else if (c == '"' || c == '`' || c == '[')
            ok = fill_quoted_name(f);
        else if ((c == '-' && next == '-') || (c == '/' && next == '*'))
            skip_comment(f);
        else if (word_char(c))
            copy_word(f);
        else {
            buf_char(&f->sql->text, c);
            f->at++;
            if (c == '(')
                f->names = false;
            if ((unsigned char)c > ' ')
                f->before = c == ')' || c == '.'   ? OPERAND_ENDED
                            : c == ',' && f->names ? NAME_FOLLOWS
                                                   : OPERAND_FOLLOWS;
        }
    }
    return ok;
}

bool sql_template(Call *c, Sql *sql, Text source, Value vars, Value input, Value auth, Value *args)
{
    Arena a;
    TNode *root = NULL;
    Buf marked = BUF_INIT;
    Fill f = {.c = c, .values = list_new(c->heap, 8), .sql = sql, .args = args};
    if (memchr(source.ptr, MARK, source.len)) {
        val_unref(c->heap, f.values);
        return call_fail(c, XS_E_PARSE, "%s: the SQL has a control character", c->name);
    }
    arena_init(&a, 0);
    bool ok = (f.values.kind != V_UNSET || fail_memory(c)) &&
              template_parse(&a, source, &root, c->err) &&
              template_render_out(c, root, vars, input, auth, note_value, &f, &marked) &&
              (!marked.failed || fail_memory(c));
    f.in = buf_view(&marked);
    ok = ok && fill(&f);
    buf_deinit(&marked);
    val_unref(c->heap, f.values);
    arena_deinit(&a);
    return ok;
}
