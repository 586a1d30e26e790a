/* json.c - JSON text straight into values and out of them, and the way between values and Const
 * trees. Specification: filters.md §1.8. */
#include "core/json.h"

#include "vm/convert.h"
#include "vm/obj.h"
#include "vm/stream.h"

/* ---- reading ---- */

enum { KEY_CACHE = 64 };

/* Parser state. Rows of a list repeat their keys, so key objects are shared through a small cache.
 */
typedef struct Parse {
    Heap *h;
    JsonReader reader;
    Value stack[JSON_MAX_DEPTH];
    Value keys[JSON_MAX_DEPTH]; /* key waiting for its value, per level */
    uint32_t depth;
    Value cache[KEY_CACHE];
} Parse;

static Value cached_key(Parse *p, Text key)
{
    if (key.len > 32)
        return text_new(p->h, key);
    uint32_t slot = (uint32_t)key.len * 7u;
    if (key.len)
        slot += (uint8_t)key.ptr[0] * 31u + (uint8_t)key.ptr[key.len - 1] * 5u +
                (uint8_t)key.ptr[key.len / 2];
    Value *cached = &p->cache[slot % KEY_CACHE];
    if (cached->kind == V_TEXT && text_eq(val_text_view(*cached), key))
        return val_ref(*cached);
    Value made = text_new(p->h, key);
    val_unref(p->h, *cached);
    *cached = val_ref(made);
    return made;
}

/* Put a finished value into the container under construction, or make it the result. */
static bool place(Parse *p, Value v, Value *result)
{
    if (v.kind == V_UNSET)
        return false;
    if (!p->depth) {
        *result = v;
        return true;
    }
    Value *into = &p->stack[p->depth - 1];
    if (into->kind == V_LIST)
        return list_push(p->h, into, v);
    Value key = p->keys[p->depth - 1];
    p->keys[p->depth - 1] = val_unset();
    return map_set(p->h, into, key, v);
}

static bool open_level(Parse *p, Value container)
{
    if (container.kind == V_UNSET)
        return false;
    if (p->depth == JSON_MAX_DEPTH) { /* the reader limits depth itself */
        val_unref(p->h, container);
        return false;
    }
    p->keys[p->depth] = val_unset();
    p->stack[p->depth++] = container;
    return true;
}

/* false: memory. */
static bool take_token(Parse *p, JsonTok tok, Value *result)
{
    JsonReader *r = &p->reader;
    switch (tok) {
    case JSON_NULL: return place(p, val_null(), result);
    case JSON_TRUE: return place(p, val_bool(true), result);
    case JSON_FALSE: return place(p, val_bool(false), result);
    case JSON_INT: return place(p, val_int(r->i), result);
    case JSON_DEC: return place(p, val_dec(r->d), result);
    case JSON_TEXT: return place(p, text_new(p->h, r->text), result);
    case JSON_LIST_BEGIN: return open_level(p, list_new(p->h, 0));
    case JSON_MAP_BEGIN: return open_level(p, map_new(p->h, 0));
    case JSON_KEY:
        val_unref(p->h, p->keys[p->depth - 1]);
        p->keys[p->depth - 1] = cached_key(p, r->text);
        return p->keys[p->depth - 1].kind == V_TEXT;
    case JSON_LIST_END:
    case JSON_MAP_END: {
        Value done = p->stack[--p->depth];
        return place(p, done, result);
    }
    default: return true;
    }
}

static Value parse(Parse *p, xs_error *err)
{
    Value result = val_unset();
    for (;;) {
        JsonTok tok = json_next(&p->reader);
        if (tok == JSON_END)
            return result;
        if (tok == JSON_ERROR) {
            xs_fail(err, XS_E_BAD_JSON, XS_NO_POS, "%s", xs_code_get(XS_E_BAD_JSON)->text);
            break;
        }
        if (!take_token(p, tok, &result)) {
            heap_fail(p->h, err);
            break;
        }
    }
    while (p->depth) {
        p->depth--;
        val_unref(p->h, p->keys[p->depth]);
        val_unref(p->h, p->stack[p->depth]);
    }
    val_unref(p->h, result);
    return val_unset();
}

Value val_parse_json(Heap *h, Text json, xs_error *err)
{
    Parse p;
    p.h = h;
    p.depth = 0;
    memset(p.cache, 0, sizeof p.cache);
    json_reader_init(&p.reader, json);
    Value v = parse(&p, err);
    json_reader_deinit(&p.reader);
    for (unsigned i = 0; i < KEY_CACHE; i++)
        val_unref(h, p.cache[i]);
    return v;
}

/* ---- writing ---- */

typedef struct Writer {
    Buf *out;
    xs_error *err; /* of a stream; NULL = nobody asks */
    const JsonMore *more;
    bool pretty;
    unsigned indent;
} Writer;

static void new_line(const Writer *w, unsigned depth)
{
    if (!w->pretty)
        return;
    buf_char(w->out, '\n');
    for (unsigned i = 0; i < depth * w->indent; i++)
        buf_char(w->out, ' ');
}

static bool write_value(const Writer *w, Value v, unsigned depth);

static bool write_list(const Writer *w, const ListObj *l, unsigned depth)
{
    buf_char(w->out, '[');
    for (uint32_t i = 0; i < l->len; i++) {
        if (i)
            buf_char(w->out, ',');
        new_line(w, depth + 1);
        if (!write_value(w, list_at(l, i), depth + 1))
            return false;
    }
    if (l->len)
        new_line(w, depth);
    return buf_char(w->out, ']');
}

static bool write_map(const Writer *w, const MapObj *m, unsigned depth)
{
    buf_char(w->out, '{');
    const MapEntry *e;
    bool first = true;
    for (uint32_t at = 0; (e = map_walk(m, &at)); first = false) {
        if (!first)
            buf_char(w->out, ',');
        new_line(w, depth + 1);
        json_write_text(w->out, (Text){e->key->data, e->key->len});
        buf_append(w->out, ": ", w->pretty ? 2 : 1);
        if (!write_value(w, e->value, depth + 1))
            return false;
    }
    if (m->count)
        new_line(w, depth);
    if (w->more)
        w->more->members(w->more->ctx, m, w->out);
    return buf_char(w->out, '}');
}

static bool write_stream(const Writer *w, Value stream, unsigned depth)
{
    xs_error ignored, *err = w->err ? w->err : &ignored;
    Value v;
    size_t from = w->out->len, most = heap_limit(stream_heap(stream));
    bool ok = buf_char(w->out, '[') && stream_begin(stream, NULL, err), first = true;
    int more = 0;
    while (ok && (more = stream_next_here(stream, &v, err)) > 0) {
        ok = (first || buf_char(w->out, ',')) && write_value(w, v, depth + 1);
        val_unref(stream_heap(stream), v);
        first = false;
        if (ok && most && w->out->len - from > most)
            ok = xs_fail(err, XS_E_MEMORY, XS_NO_POS, "%s", xs_code_get(XS_E_MEMORY)->text);
    }
    return ok && more == 0 && buf_char(w->out, ']');
}

static bool write_value(const Writer *w, Value v, unsigned depth)
{
    if (depth > JSON_MAX_DEPTH)
        return false;
    switch (v.kind) {
    case V_UNSET:
    case V_NULL: return buf_append(w->out, "null", 4);
    case V_BOOL: return v.b ? buf_append(w->out, "true", 4) : buf_append(w->out, "false", 5);
    case V_INT: json_write_int(w->out, v.i); break;
    case V_DEC: json_write_dec(w->out, v.d); break;
    case V_TEXT: json_write_text(w->out, val_text_view(v)); break;
    case V_LIST: return write_list(w, v.list, depth);
    case V_MAP: return write_map(w, v.map, depth);
    case V_HANDLE: /* a file prints as its metadata, a stream as what is left of it */
        if (val_is_stream(v))
            return write_stream(w, v, depth);
        if (v.handle->value.kind == V_MAP && strcmp(v.handle->type, "file") == 0)
            return write_map(w, v.handle->value.map, depth);
        return buf_append(w->out, "null", 4);
    }
    return !w->out->failed;
}

bool val_write_json(Value v, Buf *out)
{
    return write_value(&(Writer){.out = out}, v, 0) && !out->failed;
}

bool val_write_json_why(Value v, const JsonMore *more, Buf *out, xs_error *err)
{
    xs_error why = {0};
    if (write_value(&(Writer){.out = out, .err = &why, .more = more}, v, 0) && !out->failed)
        return true;
    if (why.code == XS_OK && out->failed)
        (void)xs_fail(&why, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
    else if (why.code == XS_OK)
        (void)xs_fail(&why, XS_E_LIMIT, XS_NO_POS, "Value is nested too deeply");
    *err = why;
    return false;
}

bool val_write_json_pretty(Value v, Buf *out, unsigned indent)
{
    return write_value(&(Writer){.out = out, .pretty = true, .indent = indent}, v, 0) &&
           !out->failed;
}

/* ---- Const trees ---- */

static Value from_list(Heap *h, const Const *c)
{
    Value list = list_new(h, c->count);
    for (uint32_t i = 0; list.kind == V_LIST && i < c->count; i++) {
        if (!list_push(h, &list, val_from_const(h, c->items[i]))) {
            val_unref(h, list);
            return val_unset();
        }
    }
    return list;
}

static Value from_map(Heap *h, const Const *c)
{
    Value map = map_new(h, c->count);
    for (uint32_t i = 0; map.kind == V_MAP && i < c->count; i++) {
        if (!map_set_text(h, &map, c->pairs[i].key, val_from_const(h, c->pairs[i].value))) {
            val_unref(h, map);
            return val_unset();
        }
    }
    return map;
}

Value val_from_const(Heap *h, const Const *c)
{
    if (!c)
        return val_null();
    switch (c->kind) {
    case C_NULL: return val_null();
    case C_BOOL: return val_bool(c->b);
    case C_INT: return val_int(c->i);
    case C_DEC: return val_dec(c->d);
    case C_TEXT: return text_new(h, c->text);
    case C_LIST: return from_list(h, c);
    case C_MAP: return from_map(h, c);
    }
    return val_null();
}

static const Const *to_const(Arena *a, Value v, unsigned depth);

static const Const *list_to_const(Arena *a, const ListObj *l, unsigned depth)
{
    Const *list = const_list(a, l->len);
    for (uint32_t i = 0; list && i < l->len; i++) {
        const Const *item = to_const(a, list_at(l, i), depth + 1);
        if (!item || !const_push(a, list, item))
            return NULL;
    }
    return list;
}

static const Const *map_to_const(Arena *a, const MapObj *m, unsigned depth)
{
    Const *map = const_map(a, m->count);
    const MapEntry *e;
    for (uint32_t at = 0; map && (e = map_walk(m, &at));) {
        const Const *value = to_const(a, e->value, depth + 1);
        if (!value || !const_set(a, map, (Text){e->key->data, e->key->len}, value))
            return NULL;
    }
    return map;
}

static const Const *to_const(Arena *a, Value v, unsigned depth)
{
    if (depth > JSON_MAX_DEPTH)
        return NULL;
    switch (v.kind) {
    case V_BOOL: return const_bool(v.b);
    case V_INT: return const_int(a, v.i);
    case V_DEC: return const_dec(a, v.d);
    case V_TEXT: return const_text(a, val_text_view(v));
    case V_LIST: return list_to_const(a, v.list, depth);
    case V_MAP: return map_to_const(a, v.map, depth);
    default: return &const_null;
    }
}

const Const *val_to_const(Arena *a, Value v)
{
    return to_const(a, v, 0);
}
