/* linediff.c - the longest common subsequence of the lines between the common head and tail. */
#include "core/linediff.h"

#include "core/mem.h"
#include "core/text.h"
#include "core/vec.h"

enum {
    CELLS_MAX = 4 << 20, /* of the table: beyond it all lines count as different */
    CONTEXT = 2          /* common lines shown around a difference */
};

typedef VEC(Text) Lines;

typedef struct Diff {
    const char *prefix;
    bool colour;
    Buf *out;
    Lines held; /* common lines not shown yet */
    bool begun; /* a difference was shown */
} Diff;

static bool split(Text t, Lines *out)
{
    size_t at = 0;
    while (at <= t.len) {
        size_t end = text_find(t, TEXT("\n"), at);
        end = end == SIZE_MAX ? t.len : end;
        if (!VEC_PUSH(out, text_slice(t, at, end)))
            return false;
        at = end + 1;
    }
    return true;
}

static void put(Diff *d, char mark, Text line)
{
    const char *paint = mark == '-' ? "\x1b[31m" : mark == '+' ? "\x1b[32m" : NULL;
    buf_cstr(d->out, d->prefix);
    if (d->colour && paint)
        buf_cstr(d->out, paint);
    buf_char(d->out, mark);
    buf_char(d->out, ' ');
    buf_text(d->out, line);
    buf_cstr(d->out, d->colour && paint ? "\x1b[0m\n" : "\n");
}

/* Common lines wait until it is known how far the next difference is. */
static void release(Diff *d, bool more)
{
    size_t n = d->held.len, head = d->begun ? CONTEXT : 0, tail = more ? CONTEXT : 0;
    for (size_t i = 0; i < n; i++) {
        if (n > head + tail && i == head) {
            put(d, ' ', TEXT("…"));
            i = n - tail;
            if (i == n)
                break;
        }
        put(d, ' ', d->held.ptr[i]);
    }
    d->held.len = 0;
}

static void same(Diff *d, Text line)
{
    if (!VEC_PUSH(&d->held, line))
        d->out->failed = true;
}

static void differs(Diff *d, char mark, Text line)
{
    release(d, true);
    d->begun = true;
    put(d, mark, line);
}

/* table[i][j]: length of the longest common subsequence of a[i..] and b[j..]. */
static uint32_t *table_of(const Text *a, size_t na, const Text *b, size_t nb)
{
    if (na > CELLS_MAX || nb > CELLS_MAX || (na + 1) * (nb + 1) > CELLS_MAX)
        return NULL;
    uint32_t *t = mem_zalloc((na + 1) * (nb + 1), sizeof *t);
    for (size_t i = na; t && i-- > 0;)
        for (size_t j = nb; j-- > 0;) {
            uint32_t down = t[(i + 1) * (nb + 1) + j], right = t[i * (nb + 1) + j + 1];
            t[i * (nb + 1) + j] = text_eq(a[i], b[j]) ? t[(i + 1) * (nb + 1) + j + 1] + 1
                                  : down > right      ? down
                                                      : right;
        }
    return t;
}

static void middle(Diff *d, const Text *a, size_t na, const Text *b, size_t nb)
{
    uint32_t *t = table_of(a, na, b, nb);
    size_t i = 0, j = 0;
    while (i < na || j < nb) {
        if (t && i < na && j < nb && text_eq(a[i], b[j])) {
            same(d, a[i]);
            i++;
            j++;
        } else if (i < na &&
                   (j == nb || !t || t[(i + 1) * (nb + 1) + j] >= t[i * (nb + 1) + j + 1])) {
            differs(d, '-', a[i++]);
        } else {
            differs(d, '+', b[j++]);
        }
    }
    mem_free(t);
}

void line_diff(Text a, Text b, const char *prefix, bool colour, Buf *out)
{
    Lines x = {0}, y = {0};
    Diff d = {.prefix = prefix, .colour = colour, .out = out};
    if (split(a, &x) && split(b, &y)) {
        size_t head = 0, tail = 0, least = x.len < y.len ? x.len : y.len;
        while (head < least && text_eq(x.ptr[head], y.ptr[head]))
            same(&d, x.ptr[head++]);
        while (tail < least - head && text_eq(x.ptr[x.len - 1 - tail], y.ptr[y.len - 1 - tail]))
            tail++;
        middle(&d, x.ptr + head, x.len - head - tail, y.ptr + head, y.len - head - tail);
        for (size_t i = x.len - tail; i < x.len; i++)
            same(&d, x.ptr[i]);
        release(&d, false);
    } else {
        out->failed = true;
    }
    VEC_DEINIT(&d.held);
    VEC_DEINIT(&x);
    VEC_DEINIT(&y);
}
