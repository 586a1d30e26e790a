/* encode.c - JSON, base64, hexadecimal, number bases, URLs and query strings. filters.md §4.12. */
#include <ctype.h>

#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"

enum { QUERY_DEPTH_MAX = 16 };

/* ---- JSON ---- */

bool value_json(Value v, Buf *out, xs_error *err)
{
    return val_write_json_why(v, NULL, out, err);
}

bool flt_json_encode(Call *c)
{
    Buf out = flt_buf();
    bool ok = val_write_json(call_arg(c, 0), &out);
    if (!ok && !out.failed) {
        buf_deinit(&out);
        return call_fail(c, XS_E_LIMIT, "Value is nested too deeply");
    }
    return flt_return_buf(c, &out);
}

bool flt_json_decode(Call *c)
{
    Text in;
    if (!call_has(c, 0))
        return call_return(c, val_null());
    if (!call_text(c, 0, &in))
        return false;
    Value v = val_parse_json(c->heap, in, c->err);
    return v.kind != V_UNSET && call_return(c, v);
}

/* ---- base64 ---- */

void base64_write(Text in, bool urlsafe, char pad, Buf *out)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *digits = urlsafe ? url : plain;
    if (!buf_reserve(out, (in.len / 3 + 1) * 4))
        return;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t left = in.len - i;
        uint32_t v = (uint32_t)(unsigned char)in.ptr[i] << 16;
        if (left > 1)
            v |= (uint32_t)(unsigned char)in.ptr[i + 1] << 8;
        if (left > 2)
            v |= (unsigned char)in.ptr[i + 2];
        char q[4] = {digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63]};
        size_t n = left > 2 ? 4 : left + 1;
        buf_append(out, q, n);
        for (; n < 4 && pad; n++)
            buf_char(out, pad);
    }
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

static bool base64_scan(Text in, bool strict, Buf *out)
{
    uint32_t acc = 0;
    int bits = 0;
    size_t digits = 0;
    if (!buf_reserve(out, in.len / 4 * 3 + 3))
        return false;
    for (size_t i = 0; i < in.len; i++) {
        int d = base64_digit(in.ptr[i]);
        if (d < 0 || (strict && (in.ptr[i] == '+' || in.ptr[i] == '/'))) {
            if (strict)
                return false;
            continue;
        }
        digits++;
        acc = (acc << 6 | (uint32_t)d) & 0xFFFFFF;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_char(out, (char)(acc >> bits & 0xFF));
        }
    }
    /* the bits left over of a token must be zero: one text per token */
    return !strict || (digits % 4 != 1 && (acc & ((1u << bits) - 1)) == 0);
}

void base64_read(Text in, Buf *out)
{
    (void)base64_scan(in, false, out);
}

bool base64_read_strict(Text in, Buf *out)
{
    return base64_scan(in, true, out);
}

static bool return_base64(Call *c, bool urlsafe, char pad)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    Buf out = flt_buf();
    base64_write(in, urlsafe, pad, &out);
    return flt_return_buf(c, &out);
}

bool flt_base64_encode(Call *c)
{
    return return_base64(c, false, '=');
}

bool flt_base64_encode_urlsafe(Call *c)
{
    return return_base64(c, true, '.');
}

bool flt_base64_decode(Call *c)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    Buf out = flt_buf();
    base64_read(in, &out);
    return flt_return_buf(c, &out);
}

bool flt_base64_decode_urlsafe(Call *c)
{
    return flt_base64_decode(c);
}

/* ---- hexadecimal and number bases ---- */

void hex_write(Text in, Buf *out)
{
    static const char digits[] = "0123456789abcdef";
    if (!buf_reserve(out, in.len * 2))
        return;
    for (size_t i = 0; i < in.len; i++) {
        unsigned char b = (unsigned char)in.ptr[i];
        char pair[2] = {digits[b >> 4], digits[b & 15]};
        buf_append(out, pair, 2);
    }
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 99;
}

bool flt_bin2hex(Call *c)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    Buf out = flt_buf();
    hex_write(in, &out);
    return flt_return_buf(c, &out);
}

bool flt_hex2bin(Call *c)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    bool bad = in.len % 2 != 0;
    for (size_t i = 0; i < in.len && !bad; i++)
        bad = digit_of(in.ptr[i]) > 15;
    if (bad)
        return call_bad_arg(c, 0);
    Buf out = flt_buf();
    for (size_t i = 0; i < in.len; i += 2)
        buf_char(&out, (char)(digit_of(in.ptr[i]) * 16 + digit_of(in.ptr[i + 1])));
    return flt_return_buf(c, &out);
}

static bool return_digits(Call *c, uint64_t n, unsigned base)
{
    char tmp[64];
    size_t at = sizeof tmp;
    do {
        unsigned d = (unsigned)(n % base);
        tmp[--at] = (char)(d < 10 ? '0' + d : 'a' + d - 10);
        n /= base;
    } while (n);
    return call_return_text(c, (Text){tmp + at, sizeof tmp - at});
}

static bool write_base(Call *c, unsigned base)
{
    int64_t n;
    return call_int(c, 0, &n) && return_digits(c, (uint64_t)n, base);
}

bool flt_dechex(Call *c)
{
    return write_base(c, 16);
}

bool flt_decbin(Call *c)
{
    return write_base(c, 2);
}

bool flt_decoct(Call *c)
{
    return write_base(c, 8);
}

/* Digits of the base, others skipped; false when the value passes max. */
static bool read_digits(Text t, unsigned base, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t.len; i++) {
        unsigned d = (unsigned)digit_of(t.ptr[i]);
        if (d >= base)
            continue;
        if (n > (max - d) / base)
            return false;
        n = n * base + d;
    }
    *out = n;
    return true;
}

static bool read_base(Call *c, unsigned base, char prefix)
{
    Text in;
    uint64_t n;
    char tmp[NUM_TEXT_MAX];
    if (!call_text(c, 0, &in))
        return false;
    in = text_trim(in, TEXT(" \t\r\n"));
    if (in.len > 2 && in.ptr[0] == '0' && tolower((unsigned char)in.ptr[1]) == prefix)
        in = text_slice(in, 2, in.len);
    if (!read_digits(in, base, INT64_MAX, &n))
        return call_bad_arg(c, 0);
    return call_return_text(c, (Text){tmp, num_write_int((int64_t)n, tmp)});
}

bool flt_hexdec(Call *c)
{
    return read_base(c, 16, 'x');
}

bool flt_bindec(Call *c)
{
    return read_base(c, 2, 'b');
}

bool flt_octdec(Call *c)
{
    return read_base(c, 8, 'o');
}

bool flt_base_convert(Call *c)
{
    Text in;
    int64_t from, to;
    uint64_t n;
    if (!call_text(c, 0, &in) || !call_int(c, 1, &from) || !call_int(c, 2, &to))
        return false;
    if (from < 2 || from > 36)
        return call_bad_arg(c, 1);
    if (to < 2 || to > 36)
        return call_bad_arg(c, 2);
    if (!read_digits(in, (unsigned)from, UINT64_MAX, &n))
        return call_bad_arg(c, 0);
    return return_digits(c, n, (unsigned)to);
}

/* ---- percent encoding ---- */

static void url_encode_to(Text in, bool rfc3986, Buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < in.len; i++) {
        unsigned char ch = (unsigned char)in.ptr[i];
        bool plain = (ch < 128 && isalnum(ch)) || ch == '-' || ch == '_' || ch == '.' ||
                     (rfc3986 && ch == '~');
        if (plain) {
            buf_char(out, (char)ch);
        } else if (ch == ' ' && !rfc3986) {
            buf_char(out, '+');
        } else {
            char esc[3] = {'%', hex[ch >> 4], hex[ch & 15]};
            buf_append(out, esc, 3);
        }
    }
}

void url_decode_to(Text in, bool plus, Buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        char ch = in.ptr[i];
        if (ch == '%' && in.len - i > 2 && digit_of(in.ptr[i + 1]) < 16 &&
            digit_of(in.ptr[i + 2]) < 16) {
            ch = (char)(digit_of(in.ptr[i + 1]) * 16 + digit_of(in.ptr[i + 2]));
            i += 2;
        } else if (ch == '+' && plus) {
            ch = ' ';
        }
        buf_char(out, ch);
    }
}

static bool percent(Call *c, void (*fn)(Text, bool, Buf *), bool mode)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    Buf out = flt_buf();
    fn(in, mode, &out);
    return flt_return_buf(c, &out);
}

bool flt_url_encode(Call *c)
{
    return percent(c, url_encode_to, false);
}

bool flt_url_encode_rfc3986(Call *c)
{
    return percent(c, url_encode_to, true);
}

bool flt_url_decode(Call *c)
{
    return percent(c, url_decode_to, true);
}

bool flt_url_decode_rfc3986(Call *c)
{
    return percent(c, url_decode_to, false);
}

/* ---- URLs ---- */

typedef struct Url {
    Text scheme, host, user, pass, path, query, fragment; /* ptr NULL = not there */
    int port;                                             /* -1 = not there */
} Url;

static size_t find_any(Text t, const char *set, size_t from)
{
    while (from < t.len && !(t.ptr[from] && strchr(set, t.ptr[from])))
        from++;
    return from;
}

static bool read_port(Text t, int *out)
{
    int64_t n;
    if (t.len == 0 || t.len > 5 || !num_parse_int(t, &n) || n < 0 || n > 65535)
        return false;
    *out = (int)n;
    return true;
}

static bool read_authority(Text t, Url *u)
{
    size_t at = SIZE_MAX;
    for (size_t i = 0; i < t.len; i++)
        if (t.ptr[i] == '@')
            at = i;
    if (at != SIZE_MAX) {
        size_t colon = find_any(text_slice(t, 0, at), ":", 0);
        u->user = text_slice(t, 0, colon);
        if (colon < at)
            u->pass = text_slice(t, colon + 1, at);
        t = text_slice(t, at + 1, t.len);
    }
    size_t host_end = find_any(t, t.len && t.ptr[0] == '[' ? "]" : ":", 0);
    if (t.len && t.ptr[0] == '[') {
        if (host_end == t.len)
            return false;
        host_end++;
    }
    u->host = text_slice(t, 0, host_end);
    if (host_end == t.len)
        return u->host.len > 0;
    if (t.ptr[host_end] != ':' || u->host.len == 0)
        return false;
    Text port = text_slice(t, host_end + 1, t.len);
    return port.len == 0 || read_port(port, &u->port);
}

static size_t scheme_length(Text t)
{
    size_t i = 0;
    if (!t.len || !isalpha((unsigned char)t.ptr[0]))
        return 0;
    while (i < t.len && (isalnum((unsigned char)t.ptr[i]) || strchr("+-.", t.ptr[i])))
        if (!t.ptr[i++])
            return 0;
    return i < t.len && t.ptr[i] == ':' ? i : 0;
}

static bool url_split(Text t, Url *u)
{
    *u = (Url){.port = -1};
    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.ptr[i] < ' ')
            return false;
    size_t mark = find_any(t, "#", 0);
    if (mark < t.len)
        u->fragment = text_slice(t, mark + 1, t.len);
    t = text_slice(t, 0, mark);
    mark = find_any(t, "?", 0);
    if (mark < t.len)
        u->query = text_slice(t, mark + 1, t.len);
    t = text_slice(t, 0, mark);

    size_t n = scheme_length(t);
    Text rest = text_slice(t, n ? n + 1 : 0, t.len);
    size_t digits = 0;
    while (digits < rest.len && isdigit((unsigned char)rest.ptr[digits]))
        digits++;
    bool host_port = n && digits && (digits == rest.len || rest.ptr[digits] == '/');
    if (n && !host_port)
        u->scheme = text_slice(t, 0, n);
    if (host_port || text_starts(rest, TEXT("//"))) {
        Text from = host_port ? t : text_slice(rest, 2, rest.len);
        size_t end = find_any(from, "/", 0);
        bool file = end == 0 && text_eq(u->scheme, TEXT("file"));
        if (!file && !read_authority(text_slice(from, 0, end), u))
            return false;
        rest = text_slice(from, end, from.len);
    }
    if (rest.len)
        u->path = rest;
    return true;
}

static bool set_part(Call *c, Value *m, const char *key, Text t)
{
    if (!t.ptr)
        return true;
    Value v = text_new(c->heap, t);
    return v.kind != V_UNSET && map_set_text(c->heap, m, text_from(key), v);
}

bool flt_url_parse(Call *c)
{
    Text in;
    Url u;
    if (!call_text(c, 0, &in))
        return false;
    if (!url_split(in, &u))
        return call_bad_arg(c, 0);
    Value m = map_new(c->heap, 8);
    if (m.kind != V_UNSET && set_part(c, &m, "scheme", u.scheme) &&
        set_part(c, &m, "host", u.host) &&
        (u.port < 0 || map_set_text(c->heap, &m, TEXT("port"), val_int(u.port))) &&
        set_part(c, &m, "user", u.user) && set_part(c, &m, "pass", u.pass) &&
        set_part(c, &m, "path", u.path) && set_part(c, &m, "query", u.query) &&
        set_part(c, &m, "fragment", u.fragment))
        return call_return(c, m);
    val_unref(c->heap, m);
    return flt_memory(c);
}

/* A URL around its query string. */
typedef struct UrlCut {
    Text base, query, fragment; /* query without "?", fragment with "#" */
} UrlCut;

static UrlCut url_cut(Text t)
{
    size_t hash = find_any(t, "#", 0), mark = find_any(text_slice(t, 0, hash), "?", 0);
    return (UrlCut){text_slice(t, 0, mark), text_slice(t, mark < hash ? mark + 1 : hash, hash),
                    text_slice(t, hash, t.len)};
}

/* Next "k=v" piece of a query string; false at the end. */
static bool next_piece(Text query, size_t *at, Text *piece)
{
    if (*at >= query.len)
        return false;
    size_t end = find_any(query, "&", *at);
    *piece = text_slice(query, *at, end);
    *at = end + 1;
    return true;
}

/* Whether the piece's decoded key is this; scratch is overwritten. */
static bool piece_has_key(Text piece, Text key, Buf *scratch)
{
    scratch->len = 0;
    url_decode_to(text_slice(piece, 0, find_any(piece, "=", 0)), true, scratch);
    return text_eq(buf_view(scratch), key);
}

static void add_piece(Buf *query, Text piece)
{
    if (query->len)
        buf_char(query, '&');
    buf_text(query, piece);
}

/* The URL with every argument `key` removed; the first replaced by `with`, or with appended. */
static bool return_edited(Call *c, Text url, Text key, Text with)
{
    UrlCut cut = url_cut(url);
    Buf query = flt_buf(), scratch = flt_buf(), out = flt_buf();
    Text piece;
    bool placed = with.len == 0;
    for (size_t at = 0; next_piece(cut.query, &at, &piece);) {
        if (!piece_has_key(piece, key, &scratch)) {
            add_piece(&query, piece);
        } else if (!placed) {
            add_piece(&query, with);
            placed = true;
        }
    }
    if (!placed)
        add_piece(&query, with);
    buf_text(&out, cut.base);
    if (query.len) {
        buf_char(&out, '?');
        buf_text(&out, buf_view(&query));
    }
    buf_text(&out, cut.fragment);
    out.failed = out.failed || query.failed || scratch.failed;
    buf_deinit(&query);
    buf_deinit(&scratch);
    return flt_return_buf(c, &out);
}

bool flt_url_addarg(Call *c)
{
    Text url, key, value;
    if (!call_text(c, 0, &url) || !call_text(c, 1, &key) || !call_text(c, 2, &value))
        return false;
    bool rfc3986 = call_bool(c, 3, false);
    Buf with = flt_buf();
    url_encode_to(key, rfc3986, &with);
    buf_char(&with, '=');
    url_encode_to(value, rfc3986, &with);
    bool ok =
        with.failed ? call_fail(c, XS_E_NOMEM, NULL) : return_edited(c, url, key, buf_view(&with));
    buf_deinit(&with);
    return ok;
}

bool flt_url_delarg(Call *c)
{
    Text url, key;
    return call_text(c, 0, &url) && call_text(c, 1, &key) && return_edited(c, url, key, TEXT(""));
}

/* First argument `key`; *value is what follows "=", ptr NULL when the key is missing. */
static bool find_arg(Call *c, Text *value)
{
    Text url, key, piece;
    Buf scratch = flt_buf();
    if (!call_text(c, 0, &url) || !call_text(c, 1, &key))
        return false;
    *value = (Text){0};
    UrlCut cut = url_cut(url);
    for (size_t at = 0; !value->ptr && next_piece(cut.query, &at, &piece);) {
        size_t eq = find_any(piece, "=", 0);
        if (piece.len && piece_has_key(piece, key, &scratch))
            *value = eq < piece.len ? text_slice(piece, eq + 1, piece.len) : TEXT("");
    }
    bool failed = scratch.failed;
    buf_deinit(&scratch);
    return !failed || call_fail(c, XS_E_NOMEM, NULL);
}

bool flt_url_hasarg(Call *c)
{
    Text value;
    return find_arg(c, &value) && call_return_bool(c, value.ptr != NULL);
}

bool flt_url_getarg(Call *c)
{
    Text value;
    if (!find_arg(c, &value))
        return false;
    if (!value.ptr) {
        Value otherwise = call_arg(c, 2);
        return val_is_null(otherwise) ? call_return_text(c, TEXT(""))
                                      : call_return(c, val_ref(otherwise));
    }
    Buf out = flt_buf();
    url_decode_to(value, true, &out);
    return flt_return_buf(c, &out);
}

/* ---- query strings ---- */

/* "name[a][]" as keys: "name", "a", "" */
static size_t split_key(Text key, Text keys[QUERY_DEPTH_MAX])
{
    size_t open = find_any(key, "[", 0), n = 1;
    keys[0] = text_slice(key, 0, open);
    if (open == 0) { /* "[x]" has no name: the whole is one */
        keys[0] = key;
        return 1;
    }
    while (open < key.len && key.ptr[open] == '[' && n < QUERY_DEPTH_MAX) {
        size_t close = find_any(key, "]", open);
        if (close == key.len) { /* never closed: no nesting at all */
            keys[0] = key;
            return 1;
        }
        keys[n++] = text_slice(key, open + 1, close);
        open = close + 1;
    }
    return n;
}

static bool list_to_map(Heap *h, Value *v)
{
    Value m = map_new(h, val_count(*v) + 1);
    bool ok = m.kind != V_UNSET;
    for (uint32_t i = 0; ok && i < val_count(*v); i++) {
        char tmp[NUM_TEXT_MAX];
        ok = map_set_text(h, &m, (Text){tmp, num_write_int(i, tmp)}, val_ref(list_at(v->list, i)));
    }
    if (!ok) {
        val_unref(h, m);
        return false;
    }
    val_unref(h, *v);
    *v = m;
    return true;
}

/* Put value (consumed) below *node along the keys; *node is V_UNSET where nothing is yet. */
static bool query_put(Heap *h, Value *node, const Text *keys, size_t n, Value value)
{
    if (n == 0) {
        if (node->kind == V_UNSET || node->kind == V_MAP) {
            val_unref(h, *node);
            *node = value;
            return true;
        }
        if (node->kind != V_LIST) { /* repeated: the two become a list */
            Value list = list_new(h, 2);
            if (list.kind == V_UNSET) {
                val_unref(h, value);
                return false;
            }
            Value first = *node;
            *node = list;
            if (!list_push(h, node, first)) {
                val_unref(h, value);
                return false;
            }
        }
        return list_push(h, node, value);
    }
    bool push = keys[0].len == 0;
    char tmp[NUM_TEXT_MAX];
    Text key = keys[0];
    if (node->kind != V_LIST && node->kind != V_MAP) {
        val_unref(h, *node);
        *node = push ? list_new(h, 2) : map_new(h, 2);
    } else if (!push && node->kind == V_LIST && !list_to_map(h, node)) {
        val_unref(h, value);
        return false;
    }
    if (node->kind == V_UNSET) {
        val_unref(h, value);
        return false;
    }
    if (push && node->kind == V_MAP) {
        key = (Text){tmp, num_write_int(val_count(*node), tmp)};
        push = false;
    }
    Value child = val_unset();
    const Value *old = push ? NULL : map_find(node->map, key);
    if (old) {
        child = val_ref(*old);
        if (!map_set_text(h, node, key, val_null())) { /* so that the child has one owner */
            val_unref(h, child);
            val_unref(h, value);
            return false;
        }
    }
    if (!query_put(h, &child, keys + 1, n - 1, value)) {
        val_unref(h, child);
        return false;
    }
    return push ? list_push(h, node, child) : map_set_text(h, node, key, child);
}

static bool query_piece(Heap *h, Value *root, Text piece, Buf *key, Buf *value)
{
    Text keys[QUERY_DEPTH_MAX];
    size_t eq = find_any(piece, "=", 0);
    key->len = value->len = 0;
    url_decode_to(text_slice(piece, 0, eq), true, key);
    url_decode_to(text_slice(piece, eq + 1, piece.len), true, value);
    if (key->failed || value->failed)
        return false;
    size_t n = split_key(buf_view(key), keys);
    Value v = text_new(h, buf_view(value));
    return v.kind != V_UNSET && query_put(h, root, keys, n, v);
}

Value querystring_value(Heap *h, Text query)
{
    Value root = map_new(h, 4);
    Buf key = flt_buf(), value = flt_buf();
    Text piece;
    bool ok = root.kind != V_UNSET;
    if (query.len && query.ptr[0] == '?')
        query = text_slice(query, 1, query.len);
    for (size_t at = 0; ok && next_piece(query, &at, &piece);)
        if (piece.len && piece.ptr[0] != '=')
            ok = query_piece(h, &root, piece, &key, &value);
    buf_deinit(&key);
    buf_deinit(&value);
    if (ok)
        return root;
    val_unref(h, root);
    return val_unset();
}

bool flt_querystring_parse(Call *c)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    Value v = querystring_value(c->heap, in);
    if (v.kind == V_UNSET)
        return heap_error(c->heap) == XS_OK ? call_fail(c, XS_E_NOMEM, NULL) : flt_memory(c);
    return call_return(c, v);
}
