/* yaml.c - YAML filters. Reading: libyaml's events, one document of the YAML 1.2 core schema that
 * fits JSON; tags, anchors and aliases are refused, so a document cannot grow beyond its text.
 * Writing: block style. filters.md §4.12. */
#include <math.h>
#include <strings.h>

#include <yaml.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"

enum {
    YAML_MAX_BYTES = 16 << 20,
    YAML_MAX_NODES = 1000 * 1000, /* scalars, keys, sequences and mappings of one document */
    YAML_MAX_DEPTH = JSON_MAX_DEPTH,
    YAML_MAX_WORK = 100 * 1000 * 1000, /* levels, summed over the nodes: libyaml visits each */
    YAML_MAX_TAG_LINES = 16,           /* libyaml compares each %TAG with all before it */
    YAML_PLAIN_KEY_MAX = 160 /* a key with every byte escaped stays below YAML's 1024 characters */
};

/* ---- reading ---- */

typedef struct YamlFrame {
    Value container;
    Value key; /* of the member whose value comes next; V_UNSET = a key comes next */
} YamlFrame;

typedef struct YamlReader {
    Heap *heap;
    xs_error *err;
    yaml_parser_t parser;
    YamlFrame *frames;
    size_t cap;
    uint32_t depth, nodes, documents;
    uint64_t work;
    Value root;
} YamlReader;

static bool fail_at(YamlReader *r, yaml_mark_t at, const char *why)
{
    return xs_fail(r->err, XS_E_BAD_YAML, XS_NO_POS,
                   "Error parsing YAML: %s at line %zu, column %zu", why, at.line + 1,
                   at.column + 1);
}

static bool fail_parser(YamlReader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return xs_fail(r->err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
    const char *why = p->problem ? p->problem : "syntax error";
    if (p->error == YAML_READER_ERROR)
        return xs_fail(r->err, XS_E_BAD_YAML, XS_NO_POS, "Error parsing YAML: %s at byte %zu", why,
                       p->problem_offset);
    return fail_at(r, p->problem_mark, why);
}

static bool is_word(Text t, const char *const words[3])
{
    for (size_t i = 0; i < 3; i++)
        if (text_eq(t, text_from(words[i])))
            return true;
    return false;
}

static size_t skip_digits(Text t, size_t at)
{
    while (at < t.len && t.ptr[at] >= '0' && t.ptr[at] <= '9')
        at++;
    return at;
}

static size_t skip_sign(Text t, size_t at)
{
    return at < t.len && (t.ptr[at] == '-' || t.ptr[at] == '+') ? at + 1 : at;
}

/* Digits of base 8 or 16 behind "0o" or "0x"; past int64 a decimal, as with the other numbers. */
static bool read_based(Text t, Value *out)
{
    if (t.len < 3 || t.ptr[0] != '0' || (t.ptr[1] != 'o' && t.ptr[1] != 'x'))
        return false;
    unsigned base = t.ptr[1] == 'o' ? 8 : 16;
    int64_t n = 0;
    double d = 0;
    bool fits = true;
    for (size_t i = 2; i < t.len; i++) {
        char c = t.ptr[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;
        if (digit >= base)
            return false;
        d = d * base + digit;
        fits = fits && n <= (INT64_MAX - digit) / base;
        if (fits)
            n = n * base + digit;
    }
    *out = fits ? val_int(n) : val_dec(d);
    return true;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool read_number(Text t, Value *out)
{
    size_t from = skip_sign(t, 0), whole = skip_digits(t, from), at = whole, fraction = 0;
    int64_t n;
    double d;
    if (at == t.len && at > from && num_parse_int(t, &n)) {
        *out = val_int(n);
        return true;
    }
    if (at < t.len && t.ptr[at] == '.') {
        size_t end = skip_digits(t, ++at);
        fraction = end - at;
        at = end;
    }
    if (whole == from && !fraction)
        return false;
    if (at < t.len && (t.ptr[at] == 'e' || t.ptr[at] == 'E')) {
        size_t digits = skip_sign(t, at + 1);
        at = skip_digits(t, digits);
        if (at == digits)
            return false;
    }
    if (at != t.len)
        return false;
    *out = val_dec(num_parse_dec(t, &d) ? d : (double)INFINITY);
    return true;
}

static bool read_infinity(Text t, Value *out)
{
    static const char *const infs[3] = {".inf", ".Inf", ".INF"};
    static const char *const nans[3] = {".nan", ".NaN", ".NAN"};
    if (!is_word(text_slice(t, skip_sign(t, 0), t.len), infs) && !is_word(t, nans))
        return false;
    *out = val_dec((double)INFINITY);
    return true;
}

/* V_UNSET: the error is set. */
static Value plain_value(YamlReader *r, Text t, yaml_mark_t at)
{
    static const char *const nulls[3] = {"null", "Null", "NULL"};
    static const char *const trues[3] = {"true", "True", "TRUE"};
    static const char *const falses[3] = {"false", "False", "FALSE"};
    Value v;
    if (t.len == 0 || text_eq(t, TEXT("~")) || is_word(t, nulls))
        return val_null();
    if (is_word(t, trues))
        return val_bool(true);
    if (is_word(t, falses))
        return val_bool(false);
    if (read_based(t, &v) || read_number(t, &v) || read_infinity(t, &v)) {
        if (v.kind == V_INT || isfinite(v.d))
            return v;
        fail_at(r, at, "the number is not finite");
        return val_unset();
    }
    v = text_new(r->heap, t);
    if (v.kind == V_UNSET)
        heap_fail(r->heap, r->err);
    return v;
}

static YamlFrame *top(YamlReader *r)
{
    return r->depth ? &r->frames[r->depth - 1] : NULL;
}

static bool wants_key(const YamlFrame *f)
{
    return f && f->container.kind == V_MAP && f->key.kind == V_UNSET;
}

/* A finished value to where it belongs; v is consumed. */
static bool put(YamlReader *r, Value v)
{
    YamlFrame *f = top(r);
    bool ok = true;
    if (!f) {
        r->root = v;
    } else if (f->container.kind == V_LIST) {
        ok = list_push(r->heap, &f->container, v);
    } else {
        Value key = f->key;
        f->key = val_unset();
        ok = map_set(r->heap, &f->container, key, v);
    }
    return ok || heap_fail(r->heap, r->err);
}

/* Anchors would need aliases, tags would need types: neither has a JSON form. */
static bool check_node(YamlReader *r, const yaml_char_t *anchor, const yaml_char_t *tag,
                       yaml_mark_t at)
{
    if (anchor)
        return fail_at(r, at, "anchors are not supported");
    if (tag)
        return fail_at(r, at, "tags are not supported");
    r->work += r->depth;
    if (++r->nodes > YAML_MAX_NODES || r->work > YAML_MAX_WORK)
        return fail_at(r, at, "too many values");
    return true;
}

static bool on_scalar(YamlReader *r, const yaml_event_t *ev)
{
    YamlFrame *f = top(r);
    Text t = {(const char *)ev->data.scalar.value, ev->data.scalar.length};
    if (!check_node(r, ev->data.scalar.anchor, ev->data.scalar.tag, ev->start_mark))
        return false;
    if (wants_key(f)) {
        f->key = text_new(r->heap, t);
        return f->key.kind != V_UNSET || heap_fail(r->heap, r->err);
    }
    if (ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        Value v = plain_value(r, t, ev->start_mark);
        return v.kind != V_UNSET && put(r, v);
    }
    Value v = text_new(r->heap, t);
    return v.kind == V_UNSET ? heap_fail(r->heap, r->err) : put(r, v);
}

static bool on_begin(YamlReader *r, const yaml_event_t *ev, bool list)
{
    /* The two events have the same members, but in their own structs. */
    const yaml_char_t *anchor =
        list ? ev->data.sequence_start.anchor : ev->data.mapping_start.anchor;
    const yaml_char_t *tag = list ? ev->data.sequence_start.tag : ev->data.mapping_start.tag;
    void *frames = r->frames;
    if (!check_node(r, anchor, tag, ev->start_mark))
        return false;
    if (wants_key(top(r)))
        return fail_at(r, ev->start_mark, "a key must be a scalar");
    if (r->depth == YAML_MAX_DEPTH)
        return fail_at(r, ev->start_mark, "nested too deeply");
    if (!mem_grow(&frames, &r->cap, r->depth + 1, sizeof *r->frames))
        return xs_fail(r->err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
    r->frames = frames;
    Value v = list ? list_new(r->heap, 0) : map_new(r->heap, 0);
    if (v.kind == V_UNSET)
        return heap_fail(r->heap, r->err);
    r->frames[r->depth++] = (YamlFrame){v, val_unset()};
    return true;
}

static bool on_event(YamlReader *r, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        return ++r->documents == 1 || fail_at(r, ev->start_mark, "more than one document");
    case YAML_ALIAS_EVENT: return fail_at(r, ev->start_mark, "aliases are not supported");
    case YAML_SCALAR_EVENT: return on_scalar(r, ev);
    case YAML_SEQUENCE_START_EVENT: return on_begin(r, ev, true);
    case YAML_MAPPING_START_EVENT: return on_begin(r, ev, false);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return put(r, r->frames[--r->depth].container);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT: return true;
    }
    return true;
}

static bool read_events(YamlReader *r)
{
    for (bool more = true; more;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&r->parser, &ev))
            return fail_parser(r);
        more = ev.type != YAML_STREAM_END_EVENT;
        bool ok = on_event(r, &ev);
        yaml_event_delete(&ev);
        if (!ok)
            return false;
    }
    return true;
}

/* The bytes that end a line break of any YAML version, or a byte order mark, stand before a
 * directive. */
static bool starts_line(Text in, size_t at)
{
    return at == 0 || (in.ptr[at - 1] && strchr("\n\r\x85\xA8\xA9\xBF", in.ptr[at - 1]));
}

static bool check_text(Text in, xs_error *err)
{
    unsigned tags = 0;
    if (in.len > YAML_MAX_BYTES)
        return xs_fail(err, XS_E_BAD_YAML, XS_NO_POS, "Error parsing YAML: longer than %d bytes",
                       YAML_MAX_BYTES);
    for (size_t at = 0; (at = text_find(in, TEXT("%TAG"), at)) != SIZE_MAX; at++)
        tags += starts_line(in, at);
    return tags <= YAML_MAX_TAG_LINES ||
           xs_fail(err, XS_E_BAD_YAML, XS_NO_POS, "Error parsing YAML: tags are not supported");
}

Value yaml_value(Heap *h, Text in, xs_error *err)
{
    YamlReader r = {.heap = h, .err = err, .root = val_null()};
    if (!check_text(in, err))
        return val_unset();
    if (!yaml_parser_initialize(&r.parser)) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
        return val_unset();
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)in.ptr, in.len);
    bool ok = read_events(&r);
    yaml_parser_delete(&r.parser);
    while (r.depth) { /* left open by an error */
        r.depth--;
        val_unref(h, r.frames[r.depth].container);
        val_unref(h, r.frames[r.depth].key);
    }
    mem_free(r.frames);
    if (ok)
        return r.root;
    val_unref(h, r.root);
    return val_unset();
}

bool flt_yaml_decode(Call *c)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    Value v = yaml_value(c->heap, in, c->err);
    return v.kind != V_UNSET && call_return(c, v);
}

/* ---- writing ---- */

typedef enum Lead { /* what stands on the line already */
                    LEAD_NOTHING,
                    LEAD_KEY, /* "key:": a container starts on the next line */
                    LEAD_ITEM /* "-": a container starts on this line */
} Lead;

static void write_indent(Buf *out, unsigned indent)
{
    static const char blanks[] = "                                ";
    for (; indent; indent -= indent < 32 ? indent : 32)
        buf_append(out, blanks, indent < 32 ? indent : 32);
}

/* Controls, line breaks of any YAML version, and what must not stand in a file. */
static bool must_escape(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || cp == 0x2028 || cp == 0x2029 || cp == 0xFEFF ||
           cp == 0xFFFE || cp == 0xFFFF;
}

/* Whether the text reads back as itself without quotes, also with parsers of YAML 1.1. */
static bool is_plain(Text t)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off"};
    unsigned char first = t.len ? (unsigned char)t.ptr[0] : 0;
    bool letter = (first | 0x20) >= 'a' && (first | 0x20) <= 'z';
    if (!letter && first < 0x80 && first != '_' && first != '/')
        return false; /* indicators, numbers and dates */
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strlen(words[i]) == t.len && strncasecmp(words[i], t.ptr, t.len) == 0)
            return false;
    for (size_t at = 0; at < t.len;) {
        char c = t.ptr[at];
        uint32_t cp = utf8_next(t, &at);
        bool last = at == t.len;
        if (must_escape(cp) || (c == ' ' && (last || t.ptr[at] == '#')) ||
            (c == ':' && (last || t.ptr[at] == ' ')))
            return false;
    }
    return true;
}

static void write_quoted(Buf *out, Text t)
{
    buf_char(out, '"');
    for (size_t at = 0; at < t.len && !out->failed;) {
        uint32_t cp = utf8_next(t, &at);
        char enc[4];
        if (cp == '"' || cp == '\\')
            buf_char(out, '\\');
        if (cp == '\n')
            buf_cstr(out, "\\n");
        else if (cp == '\r')
            buf_cstr(out, "\\r");
        else if (cp == '\t')
            buf_cstr(out, "\\t");
        else if (must_escape(cp))
            buf_printf(out, cp < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)cp);
        else
            buf_append(out, enc, utf8_encode(cp, enc));
    }
    buf_char(out, '"');
}

static void write_text(Buf *out, Text t)
{
    if (is_plain(t) && utf8_valid(t))
        buf_text(out, t);
    else
        write_quoted(out, t);
}

/* Scalars and empty containers. */
static void write_inline(Buf *out, Value v)
{
    switch (v.kind) {
    case V_BOOL: buf_cstr(out, v.b ? "true" : "false"); break;
    case V_INT: json_write_int(out, v.i); break;
    case V_DEC: json_write_dec(out, v.d); break;
    case V_TEXT: write_text(out, val_text_view(v)); break;
    case V_LIST: buf_cstr(out, "[]"); break;
    case V_MAP: buf_cstr(out, "{}"); break;
    case V_UNSET:
    case V_NULL:
    case V_HANDLE: buf_cstr(out, "null"); break;
    }
}

static void write_key(Buf *out, Text key, unsigned indent)
{
    bool explicit_key = key.len > YAML_PLAIN_KEY_MAX;
    if (explicit_key)
        buf_cstr(out, "? ");
    write_text(out, key);
    if (explicit_key) {
        buf_char(out, '\n');
        write_indent(out, indent);
    }
    buf_char(out, ':');
}

/* false: too deep or out->failed. indent: of the members or items of v. */
static bool write_node(Buf *out, Value v, unsigned indent, Lead lead, unsigned depth)
{
    bool container = (v.kind == V_LIST || v.kind == V_MAP) && val_count(v);
    if (!container) {
        if (lead != LEAD_NOTHING)
            buf_char(out, ' ');
        write_inline(out, v);
        buf_char(out, '\n');
        return !out->failed;
    }
    if (depth == YAML_MAX_DEPTH)
        return false;
    if (lead != LEAD_NOTHING)
        buf_char(out, lead == LEAD_KEY ? '\n' : ' ');
    Walk w = walk_of(v);
    for (bool first = true; walk_next(&w); first = false) {
        if (!first || lead == LEAD_KEY)
            write_indent(out, indent);
        if (w.key)
            write_key(out, (Text){w.key->data, w.key->len}, indent);
        else
            buf_char(out, '-');
        if (!write_node(out, w.value, indent + 2, w.key ? LEAD_KEY : LEAD_ITEM, depth + 1))
            return false;
    }
    return !out->failed;
}

bool flt_yaml_encode(Call *c)
{
    Buf out = flt_buf();
    if (!write_node(&out, call_arg(c, 0), 0, LEAD_NOTHING, 0) && !out.failed) {
        buf_deinit(&out);
        return call_fail(c, XS_E_LIMIT, "Value is nested too deeply");
    }
    return flt_return_buf(c, &out);
}
