/* json.c - JSON reader (a state machine that hands out tokens) and writer.
 * Reading and writing texts is the hot path: both look at eight bytes at a time and stop only at
 * bytes that need attention. Specification: RFC 8259; filters.md, "JSON". */
#include "core/json.h"

#include <math.h>

#include "core/map.h"
#include "core/num.h"
#include "core/text.h"

/* What may come next. */
enum {
    AT_VALUE,      /* a value: at the start, behind ':' or behind ',' in a list */
    AT_FIRST_ITEM, /* a value or ']' */
    AT_FIRST_KEY,  /* a key or '}' */
    AT_KEY,        /* a key: behind ',' in a map */
    AT_AFTER,      /* behind a value: ',' or a closing bracket, or the end */
    AT_END,
    AT_ERROR
};

void json_reader_init(JsonReader *r, Text input)
{
    const char *start = input.ptr ? input.ptr : "";
    r->start = r->at = start;
    r->end = start + input.len;
    r->scratch = BUF_INIT;
    r->depth = 0;
    r->state = AT_VALUE;
    r->i = 0;
    r->d = 0;
    r->text = (Text){0};
    r->error = NULL;
}

void json_reader_deinit(JsonReader *r)
{
    buf_deinit(&r->scratch);
}

static JsonTok fail(JsonReader *r, const char *what)
{
    r->state = AT_ERROR;
    r->error = what;
    return JSON_ERROR;
}

#define ONES  0x0101010101010101u
#define HIGHS 0x8080808080808080u

/* Bit 7 set in every byte that is '"', '\\', below 0x20 or above 0x7F (others may be set above the
 * first such byte, never below it on a little endian machine). */
static uint64_t special_bytes(uint64_t w)
{
    uint64_t quote = w ^ (ONES * '"'), slash = w ^ (ONES * '\\');
    return ((w - ONES * 0x20) | (quote - ONES) | (slash - ONES) | w) & HIGHS;
}

static bool is_special(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\' || c >= 0x80;
}

/* The first byte of [p, end) that a JSON text does not hold as it is, or end. */
static const char *skip_plain(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t hit = special_bytes(w);
        if (hit) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return p + (__builtin_ctzll(hit) >> 3);
#else
            break;
#endif
        }
        p += 8;
    }
    while (p < end && !is_special((unsigned char)*p))
        p++;
    return p;
}

static int hex4(const char *p)
{
    int n = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        n = n << 4 | digit;
    }
    return n;
}

/* \uXXXX at r->at (behind the 'u'), a surrogate pair included. */
static bool read_unicode(JsonReader *r)
{
    int unit = r->end - r->at >= 4 ? hex4(r->at) : -1;
    if (unit < 0) {
        fail(r, "four hexadecimal digits expected after \\u");
        return false;
    }
    uint32_t cp = (uint32_t)unit;
    const char *next = r->at + 4;
    if (cp >= 0xD800 && cp <= 0xDBFF) {
        int low = r->end - next >= 6 && next[0] == '\\' && next[1] == 'u' ? hex4(next + 2) : -1;
        if (low >= 0xDC00 && low <= 0xDFFF) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
            next += 6;
        }
    }
    char bytes[4];
    size_t n = utf8_encode(cp, bytes);
    if (n == 0) {
        fail(r, "unpaired surrogate escape");
        return false;
    }
    r->at = next;
    buf_append(&r->scratch, bytes, n);
    return true;
}

static bool read_escape(JsonReader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at + 1 >= r->end) {
        fail(r, "text without closing quote");
        return false;
    }
    char c = r->at[1];
    if (c == 'u') {
        r->at += 2;
        return read_unicode(r);
    }
    const char *hit = c ? strchr(from, c) : NULL;
    if (!hit) {
        fail(r, "unknown escape in text");
        return false;
    }
    r->at += 2;
    buf_char(&r->scratch, to[hit - from]);
    return true;
}

/* A text; r->at is behind the opening quote. */
static bool read_text(JsonReader *r)
{
    const char *from = r->at;
    bool copied = false;
    r->scratch.len = 0;
    for (;;) {
        r->at = skip_plain(r->at, r->end);
        if (r->at == r->end) {
            fail(r, "text without closing quote");
            return false;
        }
        unsigned char c = (unsigned char)*r->at;
        if (c == '"')
            break;
        if (c == '\\') {
            copied = true;
            buf_append(&r->scratch, from, (size_t)(r->at - from));
            if (!read_escape(r))
                return false;
            from = r->at;
        } else if (c >= 0x80) {
            size_t at = 0;
            uint32_t cp = utf8_next((Text){r->at, (size_t)(r->end - r->at)}, &at);
            if (cp == 0xFFFD && at == 1) {
                fail(r, "invalid UTF-8 in text");
                return false;
            }
            r->at += at;
        } else {
            fail(r, "control character in text");
            return false;
        }
    }
    if (copied) {
        buf_append(&r->scratch, from, (size_t)(r->at - from));
        if (r->scratch.failed) {
            fail(r, "out of memory");
            return false;
        }
        r->text = buf_view(&r->scratch);
    } else {
        r->text = (Text){from, (size_t)(r->at - from)};
    }
    r->at++;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static JsonTok read_number(JsonReader *r)
{
    const char *start = r->at, *p = start, *end = r->end;
    bool negative = *p == '-', whole = true;
    p += negative;
    const char *digits = p;
    uint64_t n = 0;
    while (p < end && is_digit(*p))
        n = n * 10 + (uint64_t)(*p++ - '0');
    size_t count = (size_t)(p - digits);
    r->at = p;
    if (count == 0)
        return fail(r, negative ? "digit expected after '-'" : "value expected");
    if (count > 1 && *digits == '0') {
        r->at = digits;
        return fail(r, "number with a leading zero");
    }
    if (p < end && *p == '.') {
        whole = false;
        const char *fraction = ++p;
        while (p < end && is_digit(*p))
            p++;
        if (p == fraction) {
            r->at = p;
            return fail(r, "digit expected after '.'");
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        whole = false;
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        const char *exponent = p;
        while (p < end && is_digit(*p))
            p++;
        if (p == exponent) {
            r->at = p;
            return fail(r, "digit expected in exponent");
        }
    }
    Text t = {start, (size_t)(p - start)};
    r->at = p;
    if (whole && count <= 18) { /* cannot have overflowed */
        r->i = negative ? -(int64_t)n : (int64_t)n;
        return JSON_INT;
    }
    if (whole && num_parse_int(t, &r->i))
        return JSON_INT;
    if (!num_parse_dec(t, &r->d)) {
        r->at = start;
        return fail(r, "number is too large");
    }
    return JSON_DEC;
}

static JsonTok read_word(JsonReader *r, Text word, JsonTok tok)
{
    if ((size_t)(r->end - r->at) < word.len || memcmp(r->at, word.ptr, word.len) != 0)
        return fail(r, "value expected");
    r->at += word.len;
    return tok;
}

static JsonTok open_bracket(JsonReader *r, char kind, uint8_t state, JsonTok tok)
{
    if (r->depth == JSON_MAX_DEPTH)
        return fail(r, "nested too deeply");
    r->stack[r->depth++] = (uint8_t)kind;
    r->state = state;
    r->at++;
    return tok;
}

static JsonTok close_bracket(JsonReader *r)
{
    r->at++;
    r->depth--;
    r->state = AT_AFTER;
    return r->stack[r->depth] == '[' ? JSON_LIST_END : JSON_MAP_END;
}

static JsonTok read_value(JsonReader *r)
{
    JsonTok tok;
    switch (*r->at) {
    case '{': return open_bracket(r, '{', AT_FIRST_KEY, JSON_MAP_BEGIN);
    case '[': return open_bracket(r, '[', AT_FIRST_ITEM, JSON_LIST_BEGIN);
    case '"':
        r->at++;
        tok = read_text(r) ? JSON_TEXT : JSON_ERROR;
        break;
    case 't': tok = read_word(r, TEXT("true"), JSON_TRUE); break;
    case 'f': tok = read_word(r, TEXT("false"), JSON_FALSE); break;
    case 'n': tok = read_word(r, TEXT("null"), JSON_NULL); break;
    default: tok = read_number(r); break;
    }
    if (tok != JSON_ERROR)
        r->state = AT_AFTER;
    return tok;
}

static void skip_blanks(JsonReader *r)
{
    const char *p = r->at, *end = r->end;
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    r->at = p;
}

static JsonTok read_key(JsonReader *r)
{
    if (*r->at != '"')
        return fail(r, "key in quotes expected");
    r->at++;
    if (!read_text(r))
        return JSON_ERROR;
    skip_blanks(r);
    if (r->at == r->end || *r->at != ':')
        return fail(r, "':' expected");
    r->at++;
    r->state = AT_VALUE;
    return JSON_KEY;
}

JsonTok json_next(JsonReader *r)
{
    if (r->state == AT_ERROR)
        return JSON_ERROR;
    if (r->state == AT_END)
        return JSON_END;
    skip_blanks(r);
    if (r->state == AT_AFTER) {
        if (r->depth == 0) {
            if (r->at != r->end)
                return fail(r, "text after the end of the document");
            r->state = AT_END;
            return JSON_END;
        }
        if (r->at == r->end)
            return fail(r, "unexpected end");
        bool list = r->stack[r->depth - 1] == '[';
        if (*r->at == (list ? ']' : '}'))
            return close_bracket(r);
        if (*r->at != ',')
            return fail(r, list ? "',' or ']' expected" : "',' or '}' expected");
        r->at++;
        r->state = list ? AT_VALUE : AT_KEY;
        skip_blanks(r);
    }
    if (r->at == r->end)
        return fail(r, "unexpected end");
    switch (r->state) {
    case AT_FIRST_ITEM: return *r->at == ']' ? close_bracket(r) : read_value(r);
    case AT_FIRST_KEY: return *r->at == '}' ? close_bracket(r) : read_key(r);
    case AT_KEY: return read_key(r);
    default: return read_value(r);
    }
}

static xs_pos position_of(const JsonReader *r)
{
    xs_pos pos = {.line = 1, .col = 1};
    const char *line = r->start;
    for (const char *p = r->start; p < r->at; p++) {
        if (*p == '\n') {
            pos.line++;
            line = p + 1;
        }
    }
    pos.col = (uint32_t)utf8_count((Text){line, (size_t)(r->at - line)}) + 1;
    return pos;
}

/* One open list or map of json_parse. */
typedef struct Level {
    Const *node;
    Text key; /* of the value to come, in a map */
} Level;

/* Maps are filled without looking for equal keys; the last of each wins here, at the place of the
 * first. */
static bool drop_duplicates(Const *map)
{
    enum { SMALL = 8 };
    uint32_t kept = 0;
    Map seen = {0};
    for (uint32_t i = 0; i < map->count; i++) {
        ConstPair *pair = &map->pairs[i], *same = NULL;
        if (map->count <= SMALL) {
            for (uint32_t j = 0; j < kept && !same; j++)
                same = text_eq(map->pairs[j].key, pair->key) ? &map->pairs[j] : NULL;
        } else {
            same = map_get(&seen, pair->key);
        }
        if (same) {
            same->value = pair->value;
            continue;
        }
        map->pairs[kept] = *pair;
        if (map->count > SMALL && !map_put(&seen, map->pairs[kept].key, &map->pairs[kept])) {
            map_deinit(&seen);
            return false;
        }
        kept++;
    }
    map->count = kept;
    map_deinit(&seen);
    return true;
}

/* The node of a scalar or opening token; NULL when out of memory. */
static const Const *node_of(Arena *a, const JsonReader *r, JsonTok tok)
{
    switch (tok) {
    case JSON_TRUE: return &const_true;
    case JSON_FALSE: return &const_false;
    case JSON_INT: return const_int(a, r->i);
    case JSON_DEC: return const_dec(a, r->d);
    case JSON_TEXT: return const_text(a, r->text);
    default: return &const_null;
    }
}

/* Builds the tree; false = out of memory. A reader error ends the loop with r->state AT_ERROR. */
static bool build(Arena *a, JsonReader *r, const Const **out)
{
    Level levels[JSON_MAX_DEPTH];
    uint32_t depth = 0;
    for (;;) {
        JsonTok tok = json_next(r);
        const Const *value;
        if (tok == JSON_ERROR || tok == JSON_END)
            return true;
        if (tok == JSON_KEY) {
            levels[depth - 1].key = arena_text(a, r->text);
            if (!levels[depth - 1].key.ptr)
                return false;
            continue;
        }
        if (tok == JSON_LIST_BEGIN || tok == JSON_MAP_BEGIN) {
            Const *node = tok == JSON_LIST_BEGIN ? const_list(a, 0) : const_map(a, 0);
            if (!node)
                return false;
            levels[depth++] = (Level){.node = node};
            continue;
        }
        if (tok == JSON_LIST_END || tok == JSON_MAP_END) {
            value = levels[--depth].node;
            if (tok == JSON_MAP_END && !drop_duplicates(levels[depth].node))
                return false;
        } else {
            value = node_of(a, r, tok);
        }
        if (!value)
            return false;
        if (depth == 0) {
            *out = value;
        } else {
            Level *top = &levels[depth - 1];
            bool ok = top->node->kind == C_LIST ? const_push(a, top->node, value)
                                                : const_append(a, top->node, top->key, value);
            if (!ok)
                return false;
        }
    }
}

const Const *json_parse(Arena *a, Text input, xs_error *err)
{
    JsonReader r;
    const Const *root = NULL;
    json_reader_init(&r, input);
    bool ok = build(a, &r, &root);
    if (!ok) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
        root = NULL;
    } else if (r.state == AT_ERROR) {
        xs_pos pos = position_of(&r);
        xs_fail(err, r.scratch.failed ? XS_E_NOMEM : XS_E_BAD_JSON, pos,
                "invalid JSON: %s at line %u, column %u", r.error, pos.line, pos.col);
        root = NULL;
    }
    json_reader_deinit(&r);
    return root;
}

static void write_escape(Buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char bytes[6] = {'\\', (char)c};
    if (c < 0x20 && !shorts[c]) {
        memcpy(bytes, "\\u00", 4);
        bytes[4] = hex[c >> 4];
        bytes[5] = hex[c & 15];
        buf_append(out, bytes, 6);
        return;
    }
    if (c < 0x20)
        bytes[1] = shorts[c];
    buf_append(out, bytes, 2);
}

void json_write_text(Buf *out, Text t)
{
    const char *p = t.ptr, *from = p, *end = t.len ? p + t.len : p;
    if (!buf_reserve(out, t.len + 2))
        return;
    buf_char(out, '"');
    while (p < end) {
        p = skip_plain(p, end);
        if (p == end)
            break;
        unsigned char c = (unsigned char)*p;
        size_t step = 1;
        bool bad = false;
        if (c >= 0x80) {
            size_t at = 0;
            bad = utf8_next((Text){p, (size_t)(end - p)}, &at) == 0xFFFD && at == 1;
            step = at;
        }
        if (c < 0x80 || bad) {
            buf_append(out, from, (size_t)(p - from));
            if (bad)
                buf_append(out, "\xEF\xBF\xBD", 3);
            else
                write_escape(out, c);
            from = p + step;
        }
        p += step;
    }
    buf_append(out, from, (size_t)(end - from));
    buf_char(out, '"');
}

void json_write_int(Buf *out, int64_t n)
{
    char text[NUM_TEXT_MAX];
    buf_append(out, text, num_write_int(n, text));
}

void json_write_dec(Buf *out, double d)
{
    char text[NUM_TEXT_MAX];
    buf_append(out, text, num_write_dec(d, text));
}

/* Pretty printing: a line break and indentation; nothing when indent is 0. */
static void new_line(Buf *out, unsigned indent, unsigned depth)
{
    if (!indent)
        return;
    buf_char(out, '\n');
    for (unsigned i = 0; i < indent * depth; i++)
        buf_char(out, ' ');
}

static void write_node(Buf *out, const Const *c, unsigned indent, unsigned depth)
{
    if (!c)
        c = &const_null;
    switch (c->kind) {
    case C_NULL: buf_append(out, "null", 4); return;
    case C_BOOL: buf_cstr(out, c->b ? "true" : "false"); return;
    case C_INT: json_write_int(out, c->i); return;
    case C_DEC: json_write_dec(out, c->d); return;
    case C_TEXT: json_write_text(out, c->text); return;
    case C_LIST:
    case C_MAP: break;
    }
    bool list = c->kind == C_LIST;
    buf_char(out, list ? '[' : '{');
    for (uint32_t i = 0; i < c->count; i++) {
        if (i)
            buf_char(out, ',');
        new_line(out, indent, depth + 1);
        if (!list) {
            json_write_text(out, c->pairs[i].key);
            buf_char(out, ':');
            if (indent)
                buf_char(out, ' ');
        }
        write_node(out, list ? c->items[i] : c->pairs[i].value, indent, depth + 1);
    }
    if (c->count)
        new_line(out, indent, depth);
    buf_char(out, list ? ']' : '}');
}

void json_write_const(Buf *out, const Const *c)
{
    write_node(out, c, 0, 0);
}

void json_write_const_pretty(Buf *out, const Const *c, unsigned indent)
{
    write_node(out, c, indent, 0);
}
