/* httphead.c - one pass over the lines of a head, and the state of a chunked body. */
#include "host/httphead.h"

#include <strings.h>

#include "core/text.h"
#include "host/http.h"

enum {
    CHUNK_LINE_MAX = 512,
    CHUNK_OVERHEAD_MIN = 4096,
    CHUNK_OVERHEAD_FACTOR = 8,
    MAX_LENGTH_DIGITS = 18
};

static bool refuse(HttpProblem *p, int status, const char *message)
{
    *p = (HttpProblem){status, message};
    return false;
}

/* ---- characters ---- */

/* RFC 9110 §5.6.2 */
static bool is_token_char(unsigned char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           (c && strchr(others, c) != NULL);
}

static bool is_token(Text t)
{
    for (size_t i = 0; i < t.len; i++)
        if (!is_token_char((unsigned char)t.ptr[i]))
            return false;
    return t.len > 0;
}

/* Visible characters, blanks, tabs and bytes above ASCII. */
static bool is_value(Text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.ptr[i];
        if ((c < ' ' && c != '\t') || c == 127)
            return false;
    }
    return true;
}

static inline unsigned char is_outside_target(unsigned char c)
{
    return (c <= ' ') | (c == 127) | (c == '#');
}

bool http_is_target(Text t)
{
    enum { BLOCK = 16 }; /* looked at together by vector instructions */
    unsigned char bad = 0;
    size_t i = 0;
    for (; i + BLOCK <= t.len; i += BLOCK)
        for (size_t k = 0; k < BLOCK; k++)
            bad |= is_outside_target((unsigned char)t.ptr[i + k]);
    for (; i < t.len; i++)
        bad |= is_outside_target((unsigned char)t.ptr[i]);
    return !bad;
}

static bool same_word(Text t, const char *lower)
{
    size_t i = 0;
    for (; i < t.len && lower[i]; i++) {
        char c = t.ptr[i];
        if ((c >= 'A' && c <= 'Z' ? (char)(c | 32) : c) != lower[i])
            return false;
    }
    return i == t.len && !lower[i];
}

/* ---- head ---- */

size_t http_head_end(Text in, size_t *scanned, HttpProblem *problem)
{
    size_t at = *scanned, first = 0;
    /* Blank lines: a client may send one before its request. */
    while (first + 1 < in.len && in.ptr[first] == '\r' && in.ptr[first + 1] == '\n')
        first += 2;
    at = at < first ? first : at;
    for (;;) {
        const char *lf = at < in.len ? memchr(in.ptr + at, '\n', in.len - at) : NULL;
        if (!lf) {
            *scanned = in.len;
            return 0;
        }
        size_t end = (size_t)(lf - in.ptr);
        if (end == 0 || in.ptr[end - 1] != '\r') {
            refuse(problem, 400, "A line does not end in CR LF.");
            return SIZE_MAX;
        }
        bool empty = end == 1 || in.ptr[end - 2] == '\n';
        at = end + 1;
        if (empty)
            return at;
    }
}

typedef struct Lines {
    char *at, *end;
} Lines;

/* The next line without its CR LF, with a NUL there. */
static Text next_line(Lines *l)
{
    char *lf = memchr(l->at, '\n', (size_t)(l->end - l->at));
    Text line = {l->at, (size_t)(lf - l->at) - 1};
    lf[-1] = '\0';
    l->at = lf + 1;
    return line;
}

static bool take_version(Text version, HttpHead *out, HttpProblem *problem)
{
    if (text_eq(version, TEXT("HTTP/1.1")))
        return true;
    out->http10 = text_eq(version, TEXT("HTTP/1.0"));
    if (out->http10)
        return true;
    bool other = version.len == 8 && text_starts(version, TEXT("HTTP/")) && version.ptr[6] == '.';
    return other ? refuse(problem, 505, "Only version 1 of HTTP is spoken here.")
                 : refuse(problem, 400, "Malformed request line.");
}

/* "http://host/path" of a proxy's client counts as its path. */
static bool take_target(HttpHead *out, HttpProblem *problem)
{
    Text t = out->target;
    if (t.len > HTTP_MAX_TARGET)
        return refuse(problem, 414, "The request target is too long.");
    if (!t.len || !http_is_target(t))
        return refuse(problem, 400, "Malformed request target.");
    if (t.ptr[0] == '/' || (t.len == 1 && t.ptr[0] == '*' && !strcmp(out->method, "OPTIONS")))
        return true;
    if (t.len > 7 && same_word(text_slice(t, 0, 7), "http://")) {
        size_t end = 7;
        while (end < t.len && t.ptr[end] != '/' && t.ptr[end] != '?')
            end++;
        out->target = end == t.len ? TEXT("/") : text_slice(t, end, t.len);
        if (end > 7 && out->target.ptr[0] == '/')
            return true;
    }
    return refuse(problem, 400, "Malformed request target.");
}

/* out->target is set. */
static bool take_request(Text method, Text version, HttpHead *out, HttpProblem *problem)
{
    static const char *const known[] = {"GET",  "POST",    "PUT",   "PATCH",  "DELETE",
                                        "HEAD", "OPTIONS", "TRACE", "CONNECT"};
    if (!is_token(method))
        return refuse(problem, 400, "Malformed request line.");
    if (!take_version(version, out, problem))
        return false;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (text_eq(method, text_from(known[i])))
            out->method = known[i];
    if (!out->method)
        return refuse(problem, 501, "Unknown method.");
    if (!strcmp(out->method, "TRACE") || !strcmp(out->method, "CONNECT"))
        return refuse(problem, 405, "The method is not allowed.");
    return take_target(out, problem);
}

static bool take_request_line(Text line, HttpHead *out, HttpProblem *problem)
{
    size_t one = text_find(line, TEXT(" "), 0);
    size_t two = one == SIZE_MAX ? SIZE_MAX : text_find(line, TEXT(" "), one + 1);
    if (two == SIZE_MAX)
        return refuse(problem, 400, "Malformed request line.");
    out->target = text_slice(line, one + 1, two);
    return take_request(text_slice(line, 0, one), text_slice(line, two + 1, line.len), out,
                        problem);
}

static bool check_field(const HttpField *f, HttpProblem *problem)
{
    if (!is_token(f->name))
        return refuse(problem, 400, "Malformed header name.");
    return is_value(f->value) || refuse(problem, 400, "Malformed header value.");
}

static bool take_field(Text line, HttpHead *out, HttpProblem *problem)
{
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
        return refuse(problem, 400, "Folded header lines are not accepted.");
    size_t colon = text_find(line, TEXT(":"), 0);
    if (colon == SIZE_MAX)
        return refuse(problem, 400, "Malformed header name.");
    HttpField f = {text_slice(line, 0, colon),
                   text_trim(text_slice(line, colon + 1, line.len), TEXT(" \t"))};
    if (!check_field(&f, problem))
        return false;
    if (out->nfields == HTTP_MAX_FIELDS)
        return refuse(problem, 431, "Too many header lines.");
    out->fields[out->nfields++] = f;
    return true;
}

static bool host_ok(Text host)
{
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.ptr[i] <= ' ' || strchr("/?#@\\,\"<>", host.ptr[i]))
            return false;
    return true;
}

static bool take_length(Text value, HttpHead *out, HttpProblem *problem)
{
    uint64_t n = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return refuse(problem, 400, "Malformed Content-Length.");
        n = n * 10 + (uint64_t)(value.ptr[i] - '0');
        if (i >= MAX_LENGTH_DIGITS)
            return refuse(problem, 413, "The request body is too large.");
    }
    out->length = n;
    return value.len || refuse(problem, 400, "Malformed Content-Length.");
}

bool http_has_word(Text list, const char *lower)
{
    while (list.len)
        if (same_word(text_next(&list), lower))
            return true;
    return false;
}

/* The fields that say where the request ends and what becomes of the connection. */
static bool read_framing(HttpHead *out, HttpProblem *problem)
{
    unsigned hosts = 0, lengths = 0, codings = 0;
    out->keep_alive = !out->http10;
    for (uint32_t i = 0; i < out->nfields; i++) {
        Text name = out->fields[i].name, value = out->fields[i].value;
        switch (name.len) {
        case 4:
            if (same_word(name, "host") && (hosts++ || !host_ok(value)))
                return refuse(problem, 400, "Malformed Host.");
            break;
        case 6:
            if (!same_word(name, "expect"))
                break;
            if (!same_word(value, "100-continue"))
                return refuse(problem, 417, "The expectation cannot be met.");
            out->expect_continue = !out->http10;
            break;
        case 10:
            if (!same_word(name, "connection"))
                break;
            if (http_has_word(value, "close"))
                out->keep_alive = false;
            else if (out->http10 && http_has_word(value, "keep-alive"))
                out->keep_alive = true;
            break;
        case 14:
            if (!same_word(name, "content-length"))
                break;
            if (lengths++)
                return refuse(problem, 400, "More than one Content-Length.");
            if (!take_length(value, out, problem))
                return false;
            break;
        case 17:
            if (!same_word(name, "transfer-encoding"))
                break;
            if (codings++ || out->http10)
                return refuse(problem, 400, "Malformed Transfer-Encoding.");
            if (!same_word(value, "chunked"))
                return refuse(problem, 501, "Only the chunked transfer coding is understood.");
            out->chunked = true;
            break;
        default: break;
        }
    }
    if (!hosts && !out->http10)
        return refuse(problem, 400, "The Host header is missing.");
    if (lengths && codings)
        return refuse(problem, 400, "Content-Length and Transfer-Encoding contradict each other.");
    return true;
}

bool http_head_parse(Arena *a, Text head, HttpHead *out, HttpProblem *problem)
{
    HttpField fields[HTTP_MAX_FIELDS];
    *out = (HttpHead){.fields = fields};
    Text copy = arena_text(a, head);
    if (!copy.ptr)
        return refuse(problem, 500, "Out of memory.");
    Lines l;
    memcpy(&l.at, &copy.ptr, sizeof l.at); /* the copy is this function's to change */
    l.end = l.at + copy.len;
    while (l.at[0] == '\r' && l.at[1] == '\n')
        l.at += 2;
    if (memchr(l.at, 0, (size_t)(l.end - l.at)))
        return refuse(problem, 400, "A NUL byte in the request head.");
    if (!take_request_line(next_line(&l), out, problem))
        return false;
    for (Text line = next_line(&l); line.len; line = next_line(&l))
        if (!take_field(line, out, problem))
            return false;
    if (!read_framing(out, problem))
        return false;
    out->fields = ARENA_ARRAY(a, HttpField, out->nfields + 1);
    if (!out->fields)
        return refuse(problem, 500, "Out of memory.");
    for (uint32_t i = 0; i < out->nfields; i++) {
        /* Behind a name stands its colon, behind a value blanks or its line's NUL. */
        char *name_end, *value_end;
        const char *n = fields[i].name.ptr + fields[i].name.len,
                   *v = fields[i].value.ptr + fields[i].value.len;
        memcpy(&name_end, &n, sizeof name_end);
        memcpy(&value_end, &v, sizeof value_end);
        *name_end = *value_end = '\0';
        out->fields[i] = fields[i];
    }
    return true;
}

bool http_head_check(Text method, Text version, HttpHead *h, HttpProblem *problem)
{
    if (!take_request(method, version, h, problem))
        return false;
    for (uint32_t i = 0; i < h->nfields; i++)
        if (!check_field(&h->fields[i], problem))
            return false;
    return read_framing(h, problem);
}

const char *http_head_find(const HttpHead *h, const char *name)
{
    size_t len = strlen(name);
    for (uint32_t i = 0; i < h->nfields; i++)
        if (h->fields[i].name.len == len && strncasecmp(h->fields[i].name.ptr, name, len) == 0)
            return h->fields[i].value.ptr;
    return NULL;
}

const Const *http_head_map(Arena *a, const HttpHead *h)
{
    Const *map = const_map(a, h->nfields);
    for (uint32_t i = 0; map && i < h->nfields; i++) {
        Text title = http_title_case(a, h->fields[i].name);
        Text text = h->fields[i].value;
        const Const *old = title.ptr ? const_find(map, title) : NULL;
        if (old)
            text = arena_printf(a, TEXT_FMT ", " TEXT_FMT, TEXT_ARG(old->text), TEXT_ARG(text));
        const Const *item = text.ptr ? const_text(a, text) : NULL;
        if (!title.ptr || !item || !const_set(a, map, title, item))
            return NULL;
    }
    return map;
}

/* ---- chunked bodies ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "1a2B" and, behind a semicolon, extensions nobody needs. */
static bool chunk_size(ChunkReader *r, Text line, HttpProblem *problem)
{
    size_t i = 0;
    uint64_t n = 0;
    for (; i < line.len && hex_digit(line.ptr[i]) >= 0; i++) {
        if (i == 15)
            return refuse(problem, 413, "The request body is too large.");
        n = n * 16 + (uint64_t)hex_digit(line.ptr[i]);
    }
    Text rest = text_slice(line, i, line.len);
    if (i == 0 || (rest.len && rest.ptr[0] != ';') || !is_value(rest))
        return refuse(problem, 400, "Malformed chunk size.");
    r->left = n;
    r->state = n ? CHUNK_DATA : CHUNK_TRAILER;
    return true;
}

/* A line of the framing; line ptr NULL = not complete. */
static bool chunk_line(ChunkReader *r, Text in, Text *line, size_t *consumed, HttpProblem *problem)
{
    size_t lf = text_find(in, TEXT("\n"), 0);
    *line = (Text){0};
    if (lf == SIZE_MAX ? in.len > CHUNK_LINE_MAX : lf > CHUNK_LINE_MAX)
        return refuse(problem, 400, "Malformed chunk size.");
    if (lf == SIZE_MAX)
        return true;
    if (lf == 0 || in.ptr[lf - 1] != '\r')
        return refuse(problem, 400, "A line does not end in CR LF.");
    *line = text_slice(in, 0, lf - 1);
    *consumed = lf + 1;
    r->overhead += lf + 1;
    return r->overhead / CHUNK_OVERHEAD_FACTOR <= CHUNK_OVERHEAD_MIN + r->total ||
           refuse(problem, 400, "The chunks are too small.");
}

bool chunk_read(ChunkReader *r, Text in, Text *data, size_t *consumed, HttpProblem *problem)
{
    Text line;
    *data = (Text){"", 0};
    *consumed = 0;
    switch (r->state) {
    case CHUNK_SIZE:
        return chunk_line(r, in, &line, consumed, problem) &&
               (!line.ptr || chunk_size(r, line, problem));
    case CHUNK_DATA:
        *data = text_slice(in, 0, r->left < in.len ? (size_t)r->left : in.len);
        *consumed = data->len;
        r->left -= data->len;
        r->total += data->len;
        if (!r->left)
            r->state = CHUNK_END;
        return true;
    case CHUNK_END:
        if (in.len < 2)
            return true;
        if (in.ptr[0] != '\r' || in.ptr[1] != '\n')
            return refuse(problem, 400, "A chunk does not end where its size says.");
        *consumed = 2;
        r->state = CHUNK_SIZE;
        return true;
    case CHUNK_TRAILER:
        if (!chunk_line(r, in, &line, consumed, problem))
            return false;
        if (line.ptr && !line.len)
            r->state = CHUNK_DONE;
        else if (line.ptr && (!is_value(line) || text_find(line, TEXT(":"), 0) == SIZE_MAX ||
                              !is_token(text_slice(line, 0, text_find(line, TEXT(":"), 0)))))
            return refuse(problem, 400, "Malformed trailer.");
        return true;
    case CHUNK_DONE: break;
    }
    return true;
}
