/* params.c - parameters of SQL: what is a literal, a name in quotes or a comment is left alone. */
#include "core/text.h"
#include "stdlib/postgres/postgres_i.h"

enum { PARAMS_MAX = 65535 };

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool digit(Text t, size_t at)
{
    return at < t.len && t.ptr[at] >= '0' && t.ptr[at] <= '9';
}

static size_t find_end(Text t, Text end, size_t from)
{
    size_t at = text_find(t, end, from);
    return at == SIZE_MAX ? t.len : at + end.len;
}

static size_t skip_quoted(Text t, size_t at)
{
    char quote = t.ptr[at];
    bool escapes = quote == '\'' && at && (t.ptr[at - 1] == 'e' || t.ptr[at - 1] == 'E') &&
                   (at == 1 || !word_char(t.ptr[at - 2]));
    for (at++; at < t.len; at++) {
        if (t.ptr[at] == quote && !(at + 1 < t.len && t.ptr[at + 1] == quote))
            return at + 1;
        at += t.ptr[at] == quote || (escapes && t.ptr[at] == '\\');
    }
    return t.len;
}

static size_t skip_comment(Text t, size_t at)
{
    int depth = 0;
    while (at + 1 < t.len) {
        bool open = t.ptr[at] == '/' && t.ptr[at + 1] == '*',
             close = t.ptr[at] == '*' && t.ptr[at + 1] == '/';
        depth += open - close;
        at += open || close ? 2 : 1;
        if (!depth)
            return at;
    }
    return t.len;
}

/* $tag$ … $tag$ */
static size_t skip_dollars(Text t, size_t at)
{
    size_t end = at + 1;
    if ((at && word_char(t.ptr[at - 1])) || digit(t, end))
        return at;
    while (end < t.len && word_char(t.ptr[end]))
        end++;
    if (end >= t.len || t.ptr[end] != '$')
        return at;
    return find_end(t, text_slice(t, at, end + 1), end + 1);
}

/* Behind what begins at `at` and holds no parameters; at itself when nothing does. */
static size_t skip(Text t, size_t at)
{
    char c = t.ptr[at], next = at + 1 < t.len ? t.ptr[at + 1] : ' ';
    if (c == '\'' || c == '"')
        return skip_quoted(t, at);
    if (c == '-' && next == '-')
        return find_end(t, TEXT("\n"), at);
    if (c == '/' && next == '*')
        return skip_comment(t, at);
    return c == '$' ? skip_dollars(t, at) : at;
}

static uint32_t number(Text t, size_t *at)
{
    uint32_t n = 0;
    for (; digit(t, *at); ++*at)
        if (n <= PARAMS_MAX)
            n = n * 10 + (uint32_t)(t.ptr[*at] - '0');
    return n <= PARAMS_MAX ? n : PARAMS_MAX + 1;
}

/* Highest $N; 0 = there is none. */
static uint32_t numbered(Text sql)
{
    uint32_t highest = 0;
    for (size_t at = 0; at < sql.len;) {
        size_t end = skip(sql, at);
        if (end == at && sql.ptr[at] == '$' && digit(sql, at + 1) &&
            !(at && word_char(sql.ptr[at - 1]))) {
            end = at + 1;
            uint32_t n = number(sql, &end);
            highest = n > highest ? n : highest;
        }
        at = end > at ? end : at + 1;
    }
    return highest;
}

void pg_number_params(Text sql, Buf *out, uint32_t *count)
{
    uint32_t last = 0;
    *count = numbered(sql);
    if (*count) {
        buf_text(out, sql);
        return;
    }
    for (size_t at = 0; at < sql.len;) {
        size_t end = skip(sql, at);
        if (sql.ptr[at] != '?') {
            end = end > at ? end : at + 1;
            buf_text(out, text_slice(sql, at, end));
        } else if (at + 1 < sql.len && sql.ptr[at + 1] == '?') {
            buf_char(out, '?');
            end = at + 2;
        } else {
            end = at + 1;
            last = digit(sql, end) ? number(sql, &end) : *count + 1;
            buf_printf(out, "$%u", last);
            *count = last > *count ? last : *count;
        }
        at = end;
    }
}
