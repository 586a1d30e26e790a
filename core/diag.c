/* diag.c - collecting and printing diagnostics. */
#include "core/diag.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/json.h"
#include "core/text.h"

enum {
    MAX_KEPT = 1000, /* further ones are only counted: hostile input must not print gigabytes; an
                        error takes the place of a warning */
    MAX_SHOWN = 160, /* code points of a source line; a longer one is cut around the caret */
    LEAD_SHOWN = 60  /* code points kept before the caret of a cut line */
};

void diag_init(DiagList *d, Arena *arena)
{
    *d = (DiagList){.arena = arena};
}

static int cmp_files(const char *a, const char *b)
{
    return a == b ? 0 : !a ? -1 : !b ? 1 : strcmp(a, b);
}

static int cmp_pos(const Diag *a, const Diag *b)
{
    int order = cmp_files(a->pos.file, b->pos.file);
    if (order)
        return order;
    if (a->pos.line != b->pos.line)
        return a->pos.line < b->pos.line ? -1 : 1;
    return a->pos.col < b->pos.col ? -1 : a->pos.col > b->pos.col;
}

static bool is_known(const DiagList *d, const Diag *fresh)
{
    for (size_t i = d->count; i-- > 0;) {
        if (strcmp(d->items[i].id, fresh->id) == 0 && cmp_pos(&d->items[i], fresh) == 0)
            return true;
    }
    return false;
}

static bool make_room(DiagList *d)
{
    if (d->count < d->cap)
        return true;
    size_t cap = d->cap ? d->cap * 2 : 16;
    Diag *grown = ARENA_ARRAY(d->arena, Diag, cap);
    if (!grown)
        return false;
    if (d->count)
        memcpy(grown, d->items, d->count * sizeof *grown);
    d->items = grown;
    d->cap = cap;
    return true;
}

/* Where the next one is kept; NULL: nowhere. */
static Diag *next_place(DiagList *d, Severity sev)
{
    if (d->count < MAX_KEPT)
        return make_room(d) ? &d->items[d->count++] : NULL;
    for (size_t i = d->count; sev == SEV_ERROR && i-- > 0;)
        if (d->items[i].severity == SEV_WARNING)
            return &d->items[i];
    return NULL;
}

void diag_add(DiagList *d, Severity sev, const char *id, xs_pos pos, Text hint, const char *fmt,
              ...)
{
    Diag fresh = {.severity = sev, .id = id, .pos = pos};
    if (is_known(d, &fresh))
        return;
    /* Counted even when it cannot be kept: a program with an error must never pass as correct. */
    if (sev == SEV_ERROR)
        d->errors++;
    else
        d->warnings++;
    Diag *place = next_place(d, sev);
    if (!place)
        return;
    char message[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof message ? (size_t)n : sizeof message - 1;
    fresh.message = arena_text(d->arena, (Text){message, len});
    if (hint.ptr)
        fresh.hint = arena_text(d->arena, hint);
    *place = fresh;
}

/* Merge sort: stable, and never worse than n log n. */
static void merge_sort(Diag *items, Diag *spare, size_t count)
{
    if (count < 2)
        return;
    size_t half = count / 2;
    merge_sort(items, spare, half);
    merge_sort(items + half, spare, count - half);
    memcpy(spare, items, half * sizeof *items);
    size_t i = 0, j = half, at = 0;
    while (i < half && j < count)
        items[at++] = cmp_pos(&items[j], &spare[i]) < 0 ? items[j++] : spare[i++];
    while (i < half)
        items[at++] = spare[i++];
}

void diag_sort(DiagList *d)
{
    if (d->count < 2)
        return;
    Diag *spare = ARENA_ARRAY(d->arena, Diag, d->count);
    if (spare) /* out of memory: they stay in the order of discovery */
        merge_sort(d->items, spare, d->count);
}

Text diag_line(Text source, uint32_t number)
{
    size_t at = 0;
    for (uint32_t line = 1; line < number; line++) {
        const char *end = at < source.len ? memchr(source.ptr + at, '\n', source.len - at) : NULL;
        if (!end)
            return (Text){0};
        at = (size_t)(end - source.ptr) + 1;
    }
    Text rest = text_slice(source, at, source.len);
    const char *end = rest.len ? memchr(rest.ptr, '\n', rest.len) : NULL;
    if (end)
        rest.len = (size_t)(end - rest.ptr);
    if (rest.len && rest.ptr[rest.len - 1] == '\r')
        rest.len--;
    return rest;
}

/* Appends one code point as a terminal may show it: no control characters, no broken UTF-8. */
static void put_visible(Buf *out, Text line, size_t *at)
{
    size_t from = *at;
    uint32_t cp = utf8_next(line, at);
    bool hidden = (cp < 0x20 && cp != '\t') || (cp >= 0x7F && cp < 0xA0);
    if (hidden || (cp == 0xFFFD && *at - from == 1))
        buf_cstr(out, "\xEF\xBF\xBD");
    else
        buf_append(out, line.ptr + from, *at - from);
}

static void put_visible_text(Buf *out, Text t)
{
    for (size_t at = 0; at < t.len;) {
        if (t.ptr[at] == '\n') {
            buf_char(out, '\n');
            at++;
        } else {
            put_visible(out, t, &at);
        }
    }
}

static void print_line(Text line, xs_pos pos, bool colour, Buf *out)
{
    uint32_t col = pos.col ? pos.col : 1, first = 1, shown = 0;
    size_t count = utf8_count(line), at = 0;
    bool cut = count > MAX_SHOWN;
    if (cut && col > LEAD_SHOWN) {
        first = col - LEAD_SHOWN;
        at = utf8_offset(line, first - 1);
    }
    Buf caret = BUF_INIT;
    buf_cstr(out, first > 1 ? "  …" : "  ");
    buf_cstr(&caret, first > 1 ? "   " : "  ");
    uint32_t n = first;
    for (; at < line.len && shown < MAX_SHOWN; n++, shown++) {
        if (n < col)
            buf_char(&caret, line.ptr[at] == '\t' ? '\t' : ' ');
        put_visible(out, line, &at);
    }
    for (; n < col && shown < MAX_SHOWN; n++, shown++) /* behind the end of the line */
        buf_char(&caret, ' ');
    buf_cstr(out, at < line.len ? "…\n" : "\n");
    uint32_t marks = pos.len ? pos.len : 1;
    size_t room =
        count >= col ? count - col + 1 : 1; /* a mark that spans lines ends with the first */
    if (marks > room)
        marks = (uint32_t)room;
    if (marks > MAX_SHOWN)
        marks = MAX_SHOWN;
    if (colour)
        buf_cstr(&caret, "\x1b[1;32m");
    buf_char(&caret, '^');
    for (uint32_t i = 1; i < marks; i++)
        buf_char(&caret, '~');
    buf_cstr(&caret, colour ? "\x1b[0m\n" : "\n");
    buf_text(out, buf_view(&caret));
    out->failed |= caret.failed;
    buf_deinit(&caret);
}

void diag_print_place(Text source, xs_pos pos, bool colour, Buf *out)
{
    print_line(diag_line(source, pos.line), pos, colour, out);
}

static void print_one(const Diag *d, DiagSource source, void *ctx, bool colour, Buf *out)
{
    const char *word = d->severity == SEV_ERROR ? "error" : "warning";
    if (colour)
        buf_cstr(out, "\x1b[1m");
    if (d->pos.file) {
        put_visible_text(out, text_from(d->pos.file));
        buf_char(out, ':');
    }
    if (d->pos.line)
        buf_printf(out, "%u:%u:", d->pos.line, d->pos.col ? d->pos.col : 1);
    if (d->pos.file || d->pos.line)
        buf_char(out, ' ');
    if (colour)
        buf_cstr(out, d->severity == SEV_ERROR ? "\x1b[31m" : "\x1b[35m");
    buf_printf(out, "%s[%s]:", word, d->id);
    buf_cstr(out, colour ? "\x1b[0m " : " ");
    put_visible_text(out, d->message);
    buf_char(out, '\n');
    if (d->pos.line && d->pos.file && source) {
        Text text = source(ctx, d->pos.file);
        if (text.ptr)
            diag_print_place(text, d->pos, colour, out);
    }
    if (d->hint.ptr) {
        buf_cstr(out, "  hint: ");
        put_visible_text(out, d->hint);
        buf_char(out, '\n');
    }
}

void diag_print(const DiagList *d, DiagSource source, void *ctx, bool colour, Buf *out)
{
    for (size_t i = 0; i < d->count; i++)
        print_one(&d->items[i], source, ctx, colour, out);
    if (d->errors + d->warnings > d->count)
        buf_printf(out, "and %zu more\n", d->errors + d->warnings - d->count);
}

static void json_member(Buf *out, const char *key, Text value)
{
    buf_printf(out, ",\"%s\":", key);
    if (value.ptr)
        json_write_text(out, value);
    else
        buf_cstr(out, "null");
}

void diag_json(const DiagList *d, Buf *out)
{
    buf_char(out, '[');
    for (size_t i = 0; i < d->count; i++) {
        const Diag *item = &d->items[i];
        buf_cstr(out, i ? ",{\"file\":" : "{\"file\":");
        if (item->pos.file)
            json_write_text(out, text_from(item->pos.file));
        else
            buf_cstr(out, "null");
        buf_printf(out, ",\"line\":%u,\"column\":%u,\"length\":%u", item->pos.line, item->pos.col,
                   item->pos.len);
        json_member(out, "severity", item->severity == SEV_ERROR ? TEXT("error") : TEXT("warning"));
        json_member(out, "id", text_from(item->id));
        json_member(out, "message", item->message);
        json_member(out, "hint", item->hint);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}
