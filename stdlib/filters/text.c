/* text.c - text filters. Characters are code points; a byte outside valid UTF-8 counts as one and
 * passes through unchanged. Specification: filters.md §4.2. */
#include <ctype.h>
#include <stdio.h>
#include <utf8proc.h>

#include "core/json.h"
#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"

/* ---- characters ---- */

/* Decode one character; false: a byte that is not part of valid UTF-8. */
static bool next_char(Text t, size_t *at, uint32_t *cp)
{
    size_t from = *at;
    *cp = utf8_next(t, at);
    return *cp != 0xFFFD || *at - from > 1;
}

static void write_cp(Buf *out, utf8proc_int32_t cp)
{
    char bytes[4];
    buf_append(out, bytes, utf8_encode((uint32_t)cp, bytes));
}

static void write_mapped(Buf *out, Text t, utf8proc_int32_t (*map)(utf8proc_int32_t),
                         int (*ascii)(int))
{
    buf_reserve(out, t.len);
    for (size_t at = 0; at < t.len;) {
        size_t from = at;
        uint32_t cp;
        if ((uint8_t)t.ptr[at] < 0x80)
            buf_char(out, (char)ascii((uint8_t)t.ptr[at++]));
        else if (next_char(t, &at, &cp))
            write_cp(out, map((utf8proc_int32_t)cp));
        else
            buf_append(out, t.ptr + from, at - from);
    }
}

static int ascii_lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static int ascii_upper(int c)
{
    return c >= 'a' && c <= 'z' ? c - 32 : c;
}

void text_write_lower(Buf *out, Text t)
{
    write_mapped(out, t, utf8proc_tolower, ascii_lower);
}

void text_write_upper(Buf *out, Text t)
{
    write_mapped(out, t, utf8proc_toupper, ascii_upper);
}

/* Letters that have no decomposition. */
static const struct {
    uint32_t cp;
    const char *plain;
} letters[] = {
    {0xDF, "ss"}, {0xC6, "AE"}, {0xE6, "ae"}, {0x152, "OE"}, {0x153, "oe"}, {0xD8, "O"},
    {0xF8, "o"},  {0x110, "D"}, {0x111, "d"}, {0xD0, "D"},   {0xF0, "d"},   {0xDE, "TH"},
    {0xFE, "th"}, {0x141, "L"}, {0x142, "l"}, {0x131, "i"},  {0x126, "H"},  {0x127, "h"},
    {0x166, "T"}, {0x167, "t"}, {0x14A, "N"}, {0x14B, "n"},
};

static const char *plain_letter(uint32_t cp)
{
    for (size_t i = 0; i < COUNT_OF(letters); i++)
        if (letters[i].cp == cp)
            return letters[i].plain;
    return NULL;
}

void text_write_unaccent(Buf *out, Text t)
{
    for (size_t at = 0; at < t.len;) {
        size_t from = at;
        uint32_t cp;
        const char *plain;
        if (!next_char(t, &at, &cp) || cp < 0x80) {
            buf_append(out, t.ptr + from, at - from);
        } else if ((plain = plain_letter(cp))) {
            buf_cstr(out, plain);
        } else {
            utf8proc_int32_t parts[8];
            int last_class = 0;
            utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 8,
                                                         UTF8PROC_DECOMPOSE, &last_class);
            for (utf8proc_ssize_t i = 0; i < n && i < 8; i++)
                if (utf8proc_category(parts[i]) != UTF8PROC_CATEGORY_MN)
                    write_cp(out, parts[i]);
        }
    }
}

static bool return_mapped(Call *c, void (*write)(Buf *, Text))
{
    Text t;
    if (!call_text(c, 0, &t))
        return false;
    Buf b = flt_buf();
    write(&b, t);
    return flt_return_buf(c, &b);
}

bool flt_to_lower(Call *c)
{
    return return_mapped(c, text_write_lower);
}

bool flt_to_upper(Call *c)
{
    return return_mapped(c, text_write_upper);
}

bool flt_unaccent(Call *c)
{
    return return_mapped(c, text_write_unaccent);
}

static bool is_blank(char ch)
{
    return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

static void write_capitalized(Buf *out, Text t)
{
    bool first = true;
    for (size_t at = 0; at < t.len;) {
        size_t from = at;
        uint32_t cp;
        bool valid = next_char(t, &at, &cp);
        if (valid && first)
            write_cp(out, utf8proc_toupper((utf8proc_int32_t)cp));
        else
            buf_append(out, t.ptr + from, at - from);
        first = is_blank(t.ptr[from]);
    }
}

bool flt_capitalize(Call *c)
{
    return return_mapped(c, write_capitalized);
}

/* ---- trim ---- */

enum { TRIM_LEFT = 1, TRIM_RIGHT = 2 };

static Text trimmed(Text t, const bool mask[256], int ends)
{
    size_t from = 0, to = t.len;
    while ((ends & TRIM_LEFT) && from < to && mask[(uint8_t)t.ptr[from]])
        from++;
    while ((ends & TRIM_RIGHT) && to > from && mask[(uint8_t)t.ptr[to - 1]])
        to--;
    return text_slice(t, from, to);
}

static Value trim_value(Call *c, Value v, const bool mask[256], int ends)
{
    if (v.kind != V_TEXT)
        return val_ref(v);
    Text cut = trimmed(val_text_view(v), mask, ends);
    return cut.len == v.text->len ? val_ref(v) : text_new(c->heap, cut);
}

static bool trim_list(Call *c, const bool mask[256], int ends)
{
    Value list;
    if (!flt_take_list(c, &list))
        return false;
    for (uint32_t i = 0; i < list.list->len; i++)
        if (!list_set(c->heap, &list, i, trim_value(c, list_at(list.list, i), mask, ends)))
            return flt_give_back(c, list);
    return call_return(c, list);
}

static bool trim_ends(Call *c, int ends)
{
    Text chars = {0};
    if (!call_text_opt(c, 1, &chars))
        return false;
    if (!chars.len)
        chars = TEXT(" \t\n\r\v\0");
    bool mask[256] = {false};
    for (size_t i = 0; i < chars.len; i++)
        mask[(uint8_t)chars.ptr[i]] = true;
    Value in = call_arg(c, 0);
    if (in.kind == V_LIST)
        return trim_list(c, mask, ends);
    Text t;
    if (!call_text(c, 0, &t))
        return false;
    if (in.kind == V_TEXT)
        return call_return(c, trim_value(c, in, mask, ends));
    return call_return_text(c, trimmed(t, mask, ends));
}

bool flt_trim(Call *c)
{
    return trim_ends(c, TRIM_LEFT | TRIM_RIGHT);
}

bool flt_ltrim(Call *c)
{
    return trim_ends(c, TRIM_LEFT);
}

bool flt_rtrim(Call *c)
{
    return trim_ends(c, TRIM_RIGHT);
}

/* ---- parts ---- */

bool flt_strlen(Call *c)
{
    Text t;
    return call_text(c, 0, &t) && call_return_int(c, (int64_t)utf8_count(t));
}

bool flt_substr(Call *c)
{
    Text t;
    int64_t start, length = INT64_MAX;
    if (!call_text(c, 0, &t) || !call_int(c, 1, &start) || !call_int_opt(c, 2, &length))
        return false;
    if (start < 0 || length < 0) { /* needs the number of characters */
        int64_t n = (int64_t)utf8_count(t);
        if (start < 0)
            start = start < -n ? 0 : n + start;
        if (length < 0)
            length = length < start - n ? 0 : n + length - start;
    }
    size_t from = text_skip(t, 0, (size_t)start);
    size_t to = text_skip(t, from, (size_t)length);
    if (from == 0 && to == t.len && call_arg(c, 0).kind == V_TEXT)
        return call_return(c, val_ref(call_arg(c, 0)));
    return call_return_text(c, text_slice(t, from, to));
}

static bool push_text(Call *c, Value *list, Text t)
{
    return list_push(c->heap, list, text_new(c->heap, t));
}

static bool split_chars(Call *c, Value *list, Text t)
{
    for (size_t at = 0; at < t.len;) {
        size_t next = text_skip(t, at, 1);
        if (!push_text(c, list, text_slice(t, at, next)))
            return false;
        at = next;
    }
    return true;
}

static bool split_at(Call *c, Value *list, Text t, Text separator)
{
    for (size_t from = 0;;) {
        size_t at = text_find(t, separator, from);
        if (!push_text(c, list, text_slice(t, from, at)))
            return false;
        if (at == SIZE_MAX)
            return true;
        from = at + separator.len;
    }
}

bool flt_split(Call *c)
{
    Text t, separator;
    if (!call_text(c, 0, &t) || !call_text(c, 1, &separator))
        return false;
    Value list = list_new(c->heap, 4);
    if (list.kind == V_UNSET)
        return flt_memory(c);
    if (separator.len ? split_at(c, &list, t, separator) : split_chars(c, &list, t))
        return call_return(c, list);
    val_unref(c->heap, list);
    return flt_memory(c);
}

bool flt_join(Call *c)
{
    Value in;
    Text separator = {0};
    if (!call_container(c, 0, &in) || !call_text_opt(c, 1, &separator))
        return false;
    Buf b = flt_buf();
    for (Walk w = walk_of(in); walk_next(&w);) {
        if (w.pos)
            buf_text(&b, separator);
        if (b.failed)
            break;
        if (!val_write_text(w.value, &b, c->err) && !b.failed) {
            buf_deinit(&b);
            return false;
        }
    }
    c->err->code = b.failed ? XS_OK : c->err->code; /* the limit decides the error */
    return flt_return_buf(c, &b);
}

bool flt_concat(Call *c)
{
    Text t, value, separator = {0};
    if (!call_text(c, 0, &t) || !call_text(c, 1, &value) || !call_text_opt(c, 2, &separator))
        return false;
    if (value.len > FILTER_TEXT_MAX || separator.len > FILTER_TEXT_MAX ||
        t.len + value.len + separator.len > FILTER_TEXT_MAX)
        return call_fail(c, XS_E_LIMIT, NULL);
    Value out = call_arg(c, 0).kind == V_TEXT ? call_take_in(c) : text_new(c->heap, t);
    if (out.kind == V_UNSET)
        return flt_memory(c);
    if (!text_append(c->heap, &out, separator) || !text_append(c->heap, &out, value))
        return flt_give_back(c, out);
    return call_return(c, out);
}

bool flt_replace(Call *c)
{
    Text t, search, replacement;
    if (!call_text(c, 0, &t) || !call_text(c, 1, &search) || !call_text(c, 2, &replacement))
        return false;
    size_t at = search.len ? text_find(t, search, 0) : SIZE_MAX;
    if (at == SIZE_MAX) {
        Value in = call_arg(c, 0);
        return in.kind == V_TEXT ? call_return(c, val_ref(in)) : call_return_text(c, t);
    }
    Buf b = flt_buf();
    size_t from = 0;
    for (; at != SIZE_MAX && !b.failed; at = text_find(t, search, from)) {
        buf_text(&b, text_slice(t, from, at));
        buf_text(&b, replacement);
        from = at + search.len;
    }
    buf_text(&b, text_slice(t, from, t.len));
    return flt_return_buf(c, &b);
}

/* ---- searching ---- */

typedef bool (*TextTest)(Text t, Text search);

static bool test_contains(Text t, Text search)
{
    return !search.len || text_find(t, search, 0) != SIZE_MAX;
}

/* A lower-cased copy in *b; false: memory. */
static bool lower_view(Call *c, Text t, Buf *b, Text *out)
{
    *b = (Buf){0};
    text_write_lower(b, t);
    *out = buf_view(b);
    return !b->failed || call_fail(c, XS_E_NOMEM, NULL);
}

static bool test_text(Call *c, TextTest test)
{
    Text t, search;
    return call_text(c, 0, &t) && call_text(c, 1, &search) && call_return_bool(c, test(t, search));
}

static bool lower_both(Call *c, Buf *a, Buf *b, Text *t, Text *search)
{
    *a = *b = (Buf){0};
    return call_text(c, 0, t) && call_text(c, 1, search) && lower_view(c, *t, a, t) &&
           lower_view(c, *search, b, search);
}

static bool test_lower(Call *c, TextTest test)
{
    Text t, search;
    Buf a, b;
    bool ok = lower_both(c, &a, &b, &t, &search) && call_return_bool(c, test(t, search));
    buf_deinit(&a);
    buf_deinit(&b);
    return ok;
}

static bool is_list(Value v) /* {} stands in for [] */
{
    return v.kind == V_LIST || (v.kind == V_MAP && !v.map->count);
}

bool flt_contains(Call *c)
{
    Value in = call_arg(c, 0), search;
    if (!is_list(in))
        return test_text(c, test_contains);
    return flt_value(c, 1, &search) && call_return_bool(c, flt_contains_same(in, search));
}

static bool list_icontains(Call *c, Value list, Value search)
{
    if (search.kind != V_TEXT)
        return call_return_bool(c, flt_contains_same(list, search));
    Buf want_buf, item_buf = {0};
    Text want, item;
    bool found = false, ok = lower_view(c, val_text_view(search), &want_buf, &want);
    for (Walk w = walk_of(list); ok && !found && walk_next(&w);) {
        if (w.value.kind != V_TEXT) {
            found = val_same(w.value, search);
            continue;
        }
        buf_deinit(&item_buf);
        ok = lower_view(c, val_text_view(w.value), &item_buf, &item);
        found = ok && text_eq(item, want);
    }
    buf_deinit(&item_buf);
    buf_deinit(&want_buf);
    return ok && call_return_bool(c, found);
}

bool flt_icontains(Call *c)
{
    Value in = call_arg(c, 0), search;
    if (!is_list(in))
        return test_lower(c, test_contains);
    return flt_value(c, 1, &search) && list_icontains(c, in, search);
}

bool flt_starts_with(Call *c)
{
    return test_text(c, text_starts);
}

bool flt_ends_with(Call *c)
{
    return test_text(c, text_ends);
}

bool flt_istarts_with(Call *c)
{
    return test_lower(c, text_starts);
}

bool flt_iends_with(Call *c)
{
    return test_lower(c, text_ends);
}

static bool return_position(Call *c, Text t, Text search)
{
    size_t at = search.len ? text_find(t, search, 0) : 0;
    if (at == SIZE_MAX)
        return call_return_bool(c, false);
    return call_return_int(c, (int64_t)utf8_count(text_slice(t, 0, at)));
}

bool flt_index(Call *c)
{
    Text t, search;
    return call_text(c, 0, &t) && call_text(c, 1, &search) && return_position(c, t, search);
}

bool flt_iindex(Call *c)
{
    Text t, search;
    Buf a, b;
    bool ok = lower_both(c, &a, &b, &t, &search) && return_position(c, t, search);
    buf_deinit(&a);
    buf_deinit(&b);
    return ok;
}

/* ---- escaping ---- */

/* What a byte becomes; NULL = itself. */
typedef const char *(*Escape)(char ch);

static void write_escaped(Buf *out, Text t, Escape escape)
{
    size_t from = 0;
    for (size_t i = 0; i < t.len; i++) {
        const char *to = escape(t.ptr[i]);
        if (!to)
            continue;
        buf_append(out, t.ptr + from, i - from);
        buf_cstr(out, to);
        from = i + 1;
    }
    buf_append(out, t.ptr + from, t.len - from);
}

static bool return_escaped(Call *c, Escape escape, const char *around)
{
    Text t;
    if (!call_text(c, 0, &t))
        return false;
    Buf b = flt_buf();
    buf_cstr(&b, around);
    write_escaped(&b, t, escape);
    buf_cstr(&b, around);
    return flt_return_buf(c, &b);
}

static const char *slash_of(char ch)
{
    switch (ch) {
    case '\'': return "\\'";
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\0': return "\\0";
    default: return NULL;
    }
}

static const char *html_of(char ch)
{
    switch (ch) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#039;";
    default: return NULL;
    }
}

static const char *double_single(char ch)
{
    return ch == '\'' ? "''" : NULL;
}

static const char *double_double(char ch)
{
    return ch == '"' ? "\"\"" : NULL;
}

bool flt_addslashes(Call *c)
{
    return return_escaped(c, slash_of, "");
}

bool flt_escape(Call *c)
{
    return return_escaped(c, html_of, "");
}

bool flt_sql_esc(Call *c)
{
    return return_escaped(c, double_single, "'");
}

bool flt_sql_alias(Call *c)
{
    return return_escaped(c, double_double, "\"");
}

bool flt_text_escape(Call *c)
{
    Text t;
    if (!call_text(c, 0, &t))
        return false;
    Buf b = flt_buf();
    json_write_text(&b, t);
    if (b.failed || b.len < 2)
        return flt_return_buf(c, &b);
    bool ok = call_return_text(c, (Text){b.ptr + 1, b.len - 2});
    buf_deinit(&b);
    return ok;
}

static bool hex4(Text t, size_t at, uint32_t *out)
{
    if (at + 4 > t.len)
        return false;
    uint32_t n = 0;
    for (size_t i = at; i < at + 4; i++) {
        char ch = (char)ascii_lower((uint8_t)t.ptr[i]);
        if (!isxdigit((uint8_t)ch))
            return false;
        n = n * 16 + (uint32_t)(ch <= '9' ? ch - '0' : ch - 'a' + 10);
    }
    *out = n;
    return true;
}

/* \uXXXX at `at`, a surrogate pair taken together; bytes read, 0 = not one. */
static size_t unescape_unicode(Text t, size_t at, Buf *out)
{
    uint32_t cp, low;
    size_t used = 6;
    if (!hex4(t, at + 2, &cp))
        return 0;
    if (cp >= 0xD800 && cp < 0xDC00 && at + 12 <= t.len && t.ptr[at + 6] == '\\' &&
        t.ptr[at + 7] == 'u' && hex4(t, at + 8, &low) && low >= 0xDC00 && low < 0xE000) {
        cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
        used = 12;
    }
    char bytes[4];
    size_t n = utf8_encode(cp, bytes);
    buf_append(out, bytes, n);
    return n ? used : 0;
}

bool flt_text_unescape(Call *c)
{
    static const char names[] = "nrtbf\\\"'/", values[] = "\n\r\t\b\f\\\"'/";
    Text t;
    if (!call_text(c, 0, &t))
        return false;
    Buf b = flt_buf();
    for (size_t i = 0; i < t.len;) {
        size_t used = 0;
        if (t.ptr[i] == '\\' && i + 1 < t.len) {
            const char *name = t.ptr[i + 1] ? strchr(names, t.ptr[i + 1]) : NULL;
            if (name) {
                buf_char(&b, values[name - names]);
                used = 2;
            } else if (t.ptr[i + 1] == 'u') {
                used = unescape_unicode(t, i, &b);
            }
        }
        if (!used) {
            buf_char(&b, t.ptr[i]);
            used = 1;
        }
        i += used;
    }
    return flt_return_buf(c, &b);
}

/* ---- strip_html ---- */

static Text tag_name(Text t, size_t at)
{
    size_t from = at + 1 + (at + 1 < t.len && t.ptr[at + 1] == '/');
    size_t to = from;
    while (to < t.len && (isalnum((uint8_t)t.ptr[to]) || t.ptr[to] == '-'))
        to++;
    return text_slice(t, from, to);
}

static bool same_letters(Text a, Text b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower((uint8_t)a.ptr[i]) != ascii_lower((uint8_t)b.ptr[i]))
            return false;
    return true;
}

/* "<b><i>" or "b,i". */
static bool keeps(Text keep, Text name)
{
    for (size_t at = 0; at < keep.len;) {
        size_t to = at;
        while (to < keep.len && (isalnum((uint8_t)keep.ptr[to]) || keep.ptr[to] == '-'))
            to++;
        if (to > at && same_letters(text_slice(keep, at, to), name))
            return true;
        at = to + 1;
    }
    return false;
}

/* End of the tag or comment that starts at `at`; t.len when it has none; `at` when it is none. */
static size_t tag_end(Text t, size_t at)
{
    if (at + 1 >= t.len)
        return at;
    char ch = t.ptr[at + 1];
    if (!isalpha((uint8_t)ch) && ch != '/' && ch != '!' && ch != '?')
        return at;
    if (text_starts(text_slice(t, at, t.len), TEXT("<!--"))) {
        size_t end = text_find(t, TEXT("-->"), at + 4);
        return end == SIZE_MAX ? t.len : end + 3;
    }
    char quote = 0;
    for (size_t i = at + 1; i < t.len; i++) {
        ch = t.ptr[i];
        if (quote)
            quote = ch == quote ? 0 : quote;
        else if (ch == '"' || ch == '\'')
            quote = ch;
        else if (ch == '>')
            return i + 1;
    }
    return t.len;
}

bool flt_strip_html(Call *c)
{
    Text t, keep = {0};
    if (!call_text(c, 0, &t) || !call_text_opt(c, 1, &keep))
        return false;
    Buf b = flt_buf();
    for (size_t at = 0; at < t.len;) {
        size_t open = text_find(t, TEXT("<"), at);
        buf_text(&b, text_slice(t, at, open));
        if (open == SIZE_MAX)
            break;
        size_t end = tag_end(t, open);
        Text name = tag_name(t, open);
        if (end == open)
            buf_char(&b, t.ptr[end++]);
        else if (name.len && keeps(keep, name))
            buf_text(&b, text_slice(t, open, end));
        at = end;
    }
    return flt_return_buf(c, &b);
}

bool flt_is_uuid(Call *c)
{
    Value v = call_arg(c, 0);
    bool ok = v.kind == V_TEXT && v.text->len == 36;
    for (size_t i = 0; ok && i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        ok = dash ? v.text->data[i] == '-' : isxdigit((uint8_t)v.text->data[i]) != 0;
    }
    return call_return_bool(c, ok);
}

/* ---- sprintf ---- */

typedef struct Spec {
    uint32_t arg; /* argument number of the call */
    bool left, plus;
    char pad;
    size_t width;
    int precision; /* -1 = none */
    char conv;
} Spec;

enum { PRECISION_MAX = 1100 }; /* a double has no more decimals than that */

/* Digits at *at, at most max. */
static bool read_number(Text f, size_t *at, size_t max, size_t *out)
{
    size_t n = 0, from = *at;
    for (; *at < f.len && isdigit((uint8_t)f.ptr[*at]); ++*at)
        if ((n = n * 10 + (size_t)(f.ptr[*at] - '0')) > max)
            n = max + 1;
    *out = n;
    return *at > from;
}

static bool read_flag(Text f, size_t *at, Spec *s)
{
    if (*at >= f.len)
        return false;
    switch (f.ptr[*at]) {
    case '-': s->left = true; break;
    case '+': s->plus = true; break;
    case '0': s->pad = '0'; break;
    case ' ': s->pad = ' '; break;
    case '\'':
        if (*at + 1 >= f.len)
            return false;
        s->pad = f.ptr[++*at];
        break;
    default: return false;
    }
    ++*at;
    return true;
}

/* The part behind "%"; *next counts the arguments taken in order. false: error raised. */
static bool read_spec(Call *c, Text f, size_t *at, uint32_t *next, Spec *s)
{
    size_t n, start = *at;
    *s = (Spec){.pad = ' ', .precision = -1};
    if (read_number(f, at, UINT32_MAX - 1, &n) && *at < f.len && f.ptr[*at] == '$') {
        if (n == 0)
            return call_bad_arg(c, 0);
        s->arg = (uint32_t)n;
        ++*at;
    } else {
        *at = start;
    }
    while (read_flag(f, at, s))
        ;
    if (read_number(f, at, FILTER_TEXT_MAX, &n)) {
        if (n > FILTER_TEXT_MAX)
            return call_fail(c, XS_E_LIMIT, NULL);
        s->width = n;
    }
    if (*at < f.len && f.ptr[*at] == '.') {
        ++*at;
        read_number(f, at, INT32_MAX - 1, &n);
        s->precision = (int)n;
    }
    if (*at >= f.len || !memchr("sduFfeEgGxXobc", f.ptr[*at], 14))
        return call_bad_arg(c, 0);
    s->conv = f.ptr[(*at)++];
    if (!s->arg)
        s->arg = ++*next;
    return true;
}

static void write_padded(Buf *out, const Spec *s, Text t)
{
    size_t len = utf8_count(t);
    size_t fill = len < s->width ? s->width - len : 0;
    bool number = s->conv != 's' && s->conv != 'c';
    if (!fill) {
        buf_text(out, t);
        return;
    }
    char pad = s->left && s->pad == '0' && number ? ' ' : s->pad;
    if (!s->left && pad == '0' && number && t.len && (t.ptr[0] == '-' || t.ptr[0] == '+')) {
        buf_char(out, t.ptr[0]); /* zeros go behind the sign */
        t = text_slice(t, 1, t.len);
    }
    if (s->left)
        buf_text(out, t);
    if (buf_reserve(out, fill)) {
        memset(out->ptr + out->len, pad, fill);
        out->len += fill;
    }
    if (!s->left)
        buf_text(out, t);
}

/* C pads exponents to two digits, the language does not. */
static size_t shorten_exponent(char *s, size_t len)
{
    char *e = memchr(s, 'e', len);
    if (!e)
        e = memchr(s, 'E', len);
    if (!e || e + 2 >= s + len)
        return len;
    size_t zeros = 0, digits = (size_t)(s + len - (e + 2));
    while (zeros + 1 < digits && e[2 + zeros] == '0')
        zeros++;
    memmove(e + 2, e + 2 + zeros, digits - zeros);
    return len - zeros;
}

static bool write_decimal(Call *c, Buf *out, const Spec *s, Value v)
{
    char text[PRECISION_MAX + 400];
    double d;
    if (!conv_to_dec(v, &d, c->err))
        return false;
    int precision = s->precision < 0               ? 6
                    : s->precision < PRECISION_MAX ? s->precision
                                                   : PRECISION_MAX;
    const char *sign = s->plus && d >= 0 ? "+" : "";
    int n;
    switch (s->conv) {
    case 'e': n = snprintf(text, sizeof text, "%s%.*e", sign, precision, d); break;
    case 'E': n = snprintf(text, sizeof text, "%s%.*E", sign, precision, d); break;
    case 'g': n = snprintf(text, sizeof text, "%s%.*g", sign, precision, d); break;
    case 'G': n = snprintf(text, sizeof text, "%s%.*G", sign, precision, d); break;
    default: n = snprintf(text, sizeof text, "%s%.*f", sign, precision, d); break;
    }
    if (NEVER(n < 0 || (size_t)n >= sizeof text))
        return call_fail(c, XS_E_BUG, NULL);
    size_t len = (size_t)n;
    if (s->conv != 'f' && s->conv != 'F')
        len = shorten_exponent(text, len);
    write_padded(out, s, (Text){text, len});
    return true;
}

static size_t write_radix(uint64_t n, unsigned bits, const char *digits, char *end)
{
    char *p = end;
    do
        *--p = digits[n & ((1u << bits) - 1)];
    while (n >>= bits);
    return (size_t)(end - p);
}

static bool write_int(Call *c, Buf *out, const Spec *s, Value v)
{
    char text[80], *end = text + sizeof text;
    int64_t n;
    if (!conv_to_int(v, &n, c->err))
        return false;
    size_t len;
    switch (s->conv) {
    case 'x': len = write_radix((uint64_t)n, 4, "0123456789abcdef", end); break;
    case 'X': len = write_radix((uint64_t)n, 4, "0123456789ABCDEF", end); break;
    case 'o': len = write_radix((uint64_t)n, 3, "01234567", end); break;
    case 'b': len = write_radix((uint64_t)n, 1, "01", end); break;
    case 'c':
        end[-1] = (char)(uint8_t)n;
        len = 1;
        break;
    case 'u': len = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)n); break;
    default:
        len = (size_t)snprintf(text, sizeof text, s->plus ? "%+lld" : "%lld", (long long)n);
        break;
    }
    bool front = s->conv == 'd' || s->conv == 'u';
    write_padded(out, s, (Text){front ? text : end - len, len});
    return true;
}

static bool write_spec(Call *c, Buf *out, const Spec *s)
{
    Value v = call_arg(c, s->arg);
    if (v.kind == V_UNSET)
        return flt_missing(c, s->arg);
    if (v.kind >= V_LIST)
        return call_fail(c, XS_E_NOT_TEXT, NULL);
    if (s->conv == 's') {
        Text t;
        if (!call_text(c, s->arg, &t))
            return false;
        if (s->precision >= 0)
            t.len = text_skip(t, 0, (size_t)s->precision);
        write_padded(out, s, t);
        return true;
    }
    if (strchr("fFeEgG", s->conv))
        return write_decimal(c, out, s, v);
    return write_int(c, out, s, v);
}

bool flt_sprintf(Call *c)
{
    Text f;
    if (!call_text(c, 0, &f))
        return false;
    Buf b = flt_buf();
    uint32_t next = 0;
    for (size_t at = 0; at < f.len && !b.failed;) {
        size_t percent = text_find(f, TEXT("%"), at);
        buf_text(&b, text_slice(f, at, percent));
        if (percent == SIZE_MAX)
            break;
        at = percent + 1;
        if (at < f.len && f.ptr[at] == '%') {
            buf_char(&b, f.ptr[at++]);
            continue;
        }
        Spec s;
        if (!read_spec(c, f, &at, &next, &s) || !write_spec(c, &b, &s)) {
            buf_deinit(&b);
            return false;
        }
    }
    return flt_return_buf(c, &b);
}
