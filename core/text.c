/* text.c - UTF-8 and byte strings. */
#include "core/text.h"

#include <sys/auxv.h>

/* Length of the valid sequence at p (n bytes left), 0 when it is none; *cp gets the code point. */
static size_t sequence(const unsigned char *p, size_t n, uint32_t *cp)
{
    unsigned char c = p[0];
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    size_t len = c >= 0xC2 && c <= 0xDF   ? 2
                 : (c & 0xF0) == 0xE0     ? 3
                 : c >= 0xF0 && c <= 0xF4 ? 4
                                          : 0;
    if (len == 0 || len > n)
        return 0;
    uint32_t value = c & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3F);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[len] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *cp = value;
    return len;
}

size_t utf8_valid_len(Text t)
{
    const unsigned char *p = (const unsigned char *)t.ptr;
    size_t i = 0;
    while (i < t.len) {
        while (i + 8 <= t.len) { /* eight ASCII bytes at a time */
            uint64_t word;
            memcpy(&word, p + i, 8);
            if (word & UINT64_C(0x8080808080808080))
                break;
            i += 8;
        }
        if (i == t.len)
            break;
        uint32_t cp;
        size_t n = sequence(p + i, t.len - i, &cp);
        if (n == 0)
            return i;
        i += n;
    }
    return i;
}

/* Whole words of ASCII from offset at, in bytes, at most max. */
static size_t ascii_words(Text t, size_t at, uint64_t max)
{
    size_t from = at;
    while (at + 8 <= t.len && at - from + 8 <= max) {
        uint64_t word;
        memcpy(&word, t.ptr + at, 8);
        if (word & UINT64_C(0x8080808080808080))
            break;
        at += 8;
    }
    return at - from;
}

size_t utf8_count(Text t)
{
    size_t count = 0;
    for (size_t at = 0; at < t.len;) {
        size_t plain = ascii_words(t, at, UINT64_MAX);
        at += plain;
        count += plain;
        if (plain || at >= t.len)
            continue;
        if ((unsigned char)t.ptr[at] < 0x80)
            at++;
        else
            utf8_next(t, &at);
        count++;
    }
    return count;
}

size_t text_skip(Text t, size_t from, uint64_t n)
{
    size_t at = from < t.len ? from : t.len;
    while (n && at < t.len) {
        size_t plain = ascii_words(t, at, n);
        at += plain;
        n -= plain;
        if (!plain) {
            if ((unsigned char)t.ptr[at] < 0x80)
                at++;
            else
                utf8_next(t, &at);
            n--;
        }
    }
    return at;
}

size_t utf8_offset(Text t, size_t index)
{
    size_t at = 0;
    for (size_t i = 0; i < index && at < t.len; i++)
        utf8_next(t, &at);
    return at;
}

uint32_t utf8_next(Text t, size_t *at)
{
    uint32_t cp;
    size_t n = sequence((const unsigned char *)t.ptr + *at, t.len - *at, &cp);
    *at += n ? n : 1;
    return n ? cp : 0xFFFD;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xD800 && cp <= 0xDFFF)
            return 0;
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    if (cp > 0x10FFFF)
        return 0;
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

int text_cmp(Text a, Text b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

bool text_starts(Text t, Text prefix)
{
    return t.len >= prefix.len && (prefix.len == 0 || memcmp(t.ptr, prefix.ptr, prefix.len) == 0);
}

bool text_ends(Text t, Text suffix)
{
    return t.len >= suffix.len &&
           (suffix.len == 0 || memcmp(t.ptr + t.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

size_t text_find(Text t, Text needle, size_t from)
{
    if (from > t.len || needle.len > t.len - from)
        return SIZE_MAX;
    if (needle.len == 0)
        return from;
    const char *hit = (const char *)memmem(t.ptr + from, t.len - from, needle.ptr, needle.len);
    return hit ? (size_t)(hit - t.ptr) : SIZE_MAX;
}

Text text_slice(Text t, size_t from, size_t to)
{
    to = to > t.len ? t.len : to;
    from = from > to ? to : from;
    return (Text){t.ptr ? t.ptr + from : t.ptr, to - from};
}

Text text_trim(Text t, Text chars)
{
    while (t.len && chars.len && memchr(chars.ptr, t.ptr[0], chars.len)) {
        t.ptr++;
        t.len--;
    }
    while (t.len && chars.len && memchr(chars.ptr, t.ptr[t.len - 1], chars.len))
        t.len--;
    return t;
}

Text text_next(Text *rest)
{
    size_t comma = text_find(*rest, TEXT(","), 0);
    Text item = text_trim(text_slice(*rest, 0, comma), TEXT(" \t"));
    *rest = comma == SIZE_MAX ? (Text){0} : text_slice(*rest, comma + 1, rest->len);
    return item;
}

bool text_is_ident(Text t)
{
    for (size_t i = 0; i < t.len; i++) {
        char c = t.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return t.len > 0;
}

bool text_match_pattern(Text pattern, Text name)
{
    if (pattern.len == 0 || pattern.ptr[pattern.len - 1] != '*')
        return text_eq(pattern, name);
    Text prefix = text_slice(pattern, 0, pattern.len - 1);
    return name.len > prefix.len && text_starts(name, prefix);
}

enum { DISTANCE_MAX_LEN = 64 };

/* Optimal string alignment over three rows. */
unsigned text_distance(Text a, Text b, unsigned max)
{
    if (a.len > DISTANCE_MAX_LEN || b.len > DISTANCE_MAX_LEN)
        return text_eq(a, b) ? 0 : max + 1;
    unsigned rows[3][DISTANCE_MAX_LEN + 1];
    for (unsigned j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        now[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned cost = a.ptr[i - 1] != b.ptr[j - 1];
            unsigned best = before[j - 1] + cost;
            best = before[j] + 1 < best ? before[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            bool swapped =
                i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1];
            if (swapped && earlier[j - 2] + 1 < best)
                best = earlier[j - 2] + 1;
            now[j] = best;
        }
    }
    unsigned found = rows[a.len % 3][b.len];
    return found > max ? max + 1 : found;
}

Text text_nearest(Text name, const Text *names, size_t count)
{
    unsigned limit = (unsigned)(name.len / 3);
    limit = limit < 1 ? 1 : limit > 3 ? 3 : limit;
    Text best = {0};
    for (size_t i = 0; i < count; i++) {
        unsigned d = text_distance(name, names[i], limit);
        if (d <= limit && d > 0 && d < name.len) {
            best = names[i];
            limit = d - 1;
        }
    }
    return best;
}

uint64_t text_hash(Text t)
{
    uint64_t h = UINT64_C(0x9E3779B97F4A7C15) ^ t.len;
    const char *p = t.ptr;
    size_t n = t.len;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * UINT64_C(0xFF51AFD7ED558CCD);
        h ^= h >> 32;
    }
    uint64_t tail = 0;
    if (n)
        memcpy(&tail, p, n);
    h = (h ^ tail) * UINT64_C(0xC4CEB9FE1A85EC53);
    h ^= h >> 29;
    return h ? h : 1;
}

/* The kernel's gift to each process. */
static uint64_t hash_key[2];

__attribute__((constructor)) static void take_hash_key(void)
{
    const void *secret = (const void *)(uintptr_t)getauxval(AT_RANDOM);
    if (secret)
        memcpy(hash_key, secret, sizeof hash_key);
    hash_key[1] |= 1;
}

/* Both halves of the product, so that no bit of a word can be flipped with a known effect. */
static uint64_t fold(uint64_t word)
{
    __extension__ typedef unsigned __int128 Wide;
    Wide product = (Wide)word * hash_key[1];
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t text_hash_keyed(Text t)
{
    uint64_t h = fold(hash_key[0] ^ t.len), word = 0;
    const char *p = t.ptr;
    size_t n = t.len;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        h = fold(h ^ word) + hash_key[0];
    }
    word = 0;
    if (n)
        memcpy(&word, p, n);
    h = fold(h ^ word);
    return h ? h : 1;
}
