/* charset.c - character set filters. The sets are the ones below; nothing is loaded. filters.md
 * §4.15. */
#include <strings.h>

#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"

typedef enum Charset {
    CS_NONE,
    CS_UTF8,
    CS_ASCII,
    CS_LATIN1,
    CS_CP1252,
    CS_UTF16BE,
    CS_UTF16LE,
    CS_UTF16,
    CS_UTF32BE,
    CS_UTF32LE
} Charset;

static const struct {
    const char *name;
    Charset set;
    bool listed;
} charsets[] = {
    {"UTF-8", CS_UTF8, true},        {"UTF8", CS_UTF8, false},
    {"ASCII", CS_ASCII, true},       {"US-ASCII", CS_ASCII, false},
    {"ISO-8859-1", CS_LATIN1, true}, {"ISO8859-1", CS_LATIN1, false},
    {"Latin1", CS_LATIN1, false},    {"Windows-1252", CS_CP1252, true},
    {"CP1252", CS_CP1252, false},    {"UTF-16", CS_UTF16, true},
    {"UTF-16BE", CS_UTF16BE, true},  {"UTF-16LE", CS_UTF16LE, true},
    {"UTF-32", CS_UTF32BE, true},    {"UTF-32BE", CS_UTF32BE, true},
    {"UTF-32LE", CS_UTF32LE, true},
};

/* Code points of bytes 0x80-0x9F in Windows-1252; 0 = unassigned. */
static const uint16_t cp1252[32] = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                    0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                    0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

static Charset charset_named(Text name)
{
    for (size_t i = 0; i < COUNT_OF(charsets); i++)
        if (strlen(charsets[i].name) == name.len &&
            strncasecmp(charsets[i].name, name.ptr, name.len) == 0)
            return charsets[i].set;
    return CS_NONE;
}

static uint32_t read_units(Text t, size_t *at, size_t size, bool big)
{
    if (t.len - *at < size) {
        *at = t.len;
        return '?';
    }
    uint32_t v = 0;
    for (size_t i = 0; i < size; i++)
        v = v << 8 | (unsigned char)t.ptr[*at + (big ? i : size - 1 - i)];
    *at += size;
    return v;
}

static uint32_t read_utf16(Text t, size_t *at, bool big)
{
    uint32_t a = read_units(t, at, 2, big);
    if (a < 0xD800 || a > 0xDFFF)
        return a;
    size_t after = *at;
    uint32_t b = a < 0xDC00 && t.len - *at >= 2 ? read_units(t, &after, 2, big) : 0;
    if (b < 0xDC00 || b > 0xDFFF)
        return '?';
    *at = after;
    return 0x10000 + ((a - 0xD800) << 10) + (b - 0xDC00);
}

static uint32_t read_char(Charset set, Text t, size_t *at)
{
    unsigned char b = (unsigned char)t.ptr[*at];
    switch (set) {
    case CS_UTF8: {
        size_t from = *at;
        uint32_t cp = utf8_next(t, at);
        return cp == 0xFFFD && *at == from + 1 ? '?' : cp;
    }
    case CS_UTF16BE:
    case CS_UTF16: return read_utf16(t, at, true);
    case CS_UTF16LE: return read_utf16(t, at, false);
    case CS_UTF32BE: return read_units(t, at, 4, true);
    case CS_UTF32LE: return read_units(t, at, 4, false);
    default: break;
    }
    ++*at;
    if (set == CS_ASCII && b > 127)
        return '?';
    if (set == CS_CP1252 && b >= 0x80 && b < 0xA0)
        return cp1252[b - 0x80] ? cp1252[b - 0x80] : '?';
    return b;
}

static void write_units(Buf *out, uint32_t v, size_t size, bool big)
{
    for (size_t i = 0; i < size; i++)
        buf_char(out, (char)(v >> (8 * (big ? size - 1 - i : i)) & 0xFF));
}

static void write_utf16(Buf *out, uint32_t cp, bool big)
{
    if (cp >= 0x10000) {
        write_units(out, 0xD800 + ((cp - 0x10000) >> 10), 2, big);
        cp = 0xDC00 + ((cp - 0x10000) & 0x3FF);
    }
    write_units(out, cp, 2, big);
}

static char cp1252_byte(uint32_t cp)
{
    for (size_t i = 0; i < COUNT_OF(cp1252); i++)
        if (cp1252[i] == cp)
            return (char)(0x80 + i);
    return '?';
}

static void write_char(Charset set, uint32_t cp, Buf *out)
{
    char enc[4];
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF))
        cp = '?';
    switch (set) {
    case CS_UTF8: buf_append(out, enc, utf8_encode(cp, enc)); return;
    case CS_UTF16BE:
    case CS_UTF16: write_utf16(out, cp, true); return;
    case CS_UTF16LE: write_utf16(out, cp, false); return;
    case CS_UTF32BE: write_units(out, cp, 4, true); return;
    case CS_UTF32LE: write_units(out, cp, 4, false); return;
    case CS_ASCII: buf_char(out, cp < 128 ? (char)cp : '?'); return;
    case CS_CP1252:
        if (cp < 0x80 || (cp >= 0xA0 && cp < 0x100))
            buf_char(out, (char)cp);
        else
            buf_char(out, cp1252_byte(cp));
        return;
    default: buf_char(out, cp < 256 ? (char)cp : '?'); return;
    }
}

static bool convert(Call *c, Charset from, Charset to)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    Buf out = flt_buf();
    for (size_t at = 0; at < in.len && !out.failed;)
        write_char(to, read_char(from, in, &at), &out);
    return flt_return_buf(c, &out);
}

bool flt_to_utf8(Call *c)
{
    return convert(c, CS_LATIN1, CS_UTF8);
}

bool flt_from_utf8(Call *c)
{
    return convert(c, CS_UTF8, CS_LATIN1);
}

bool flt_convert_encoding(Call *c)
{
    Text to, from;
    if (!call_text(c, 1, &to) || !call_text(c, 2, &from))
        return false;
    Charset a = charset_named(from), b = charset_named(to);
    if (b == CS_NONE)
        return call_bad_arg(c, 1);
    if (a == CS_NONE)
        return call_bad_arg(c, 2);
    return convert(c, a, b);
}

bool flt_detect_encoding(Call *c)
{
    Text in;
    bool ascii = true;
    if (!call_text(c, 0, &in))
        return false;
    for (size_t i = 0; i < in.len && ascii; i++)
        ascii = (unsigned char)in.ptr[i] < 128;
    return call_return_text(c, ascii            ? TEXT("ASCII")
                               : utf8_valid(in) ? TEXT("UTF-8")
                                                : TEXT("ISO-8859-1"));
}

bool flt_list_encodings(Call *c)
{
    Value list = list_new(c->heap, COUNT_OF(charsets));
    bool ok = list.kind != V_UNSET;
    for (size_t i = 0; ok && i < COUNT_OF(charsets); i++) {
        if (!charsets[i].listed)
            continue;
        Value name = text_new(c->heap, text_from(charsets[i].name));
        ok = name.kind != V_UNSET && list_push(c->heap, &list, name);
    }
    if (ok)
        return call_return(c, list);
    val_unref(c->heap, list);
    return flt_memory(c);
}
