/* identity.c - who a connection is, and the request it came with. Counted, immutable once shared.
 */
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/hub.h"

#include <stdatomic.h>

static const Const *copy_const(Arena *a, const Const *c)
{
    if (!c)
        return &const_null;
    switch (c->kind) {
    case C_NULL: return &const_null;
    case C_BOOL: return const_bool(c->b);
    case C_INT: return const_int(a, c->i);
    case C_DEC: return const_dec(a, c->d);
    case C_TEXT: return const_text(a, c->text);
    case C_LIST:
    case C_MAP: break;
    }
    Const *copy = c->kind == C_LIST ? const_list(a, c->count) : const_map(a, c->count);
    for (uint32_t i = 0; copy && i < c->count; i++) {
        bool list = c->kind == C_LIST;
        const Const *value = copy_const(a, list ? c->items[i] : c->pairs[i].value);
        if (!(list ? const_push(a, copy, value) : const_set(a, copy, c->pairs[i].key, value)))
            return NULL;
    }
    return copy;
}

/* JSON of a constant, kept in the arena. */
static Text json_in_arena(Arena *a, const Const *c)
{
    Buf b = BUF_INIT;
    json_write_const(&b, c);
    Text t = b.failed ? (Text){0} : arena_text(a, buf_view(&b));
    buf_deinit(&b);
    return t;
}

static Identity *identity_alloc(void)
{
    Identity *id = mem_zalloc(1, sizeof *id);
    if (!id)
        return NULL;
    atomic_init(&id->refs, 1);
    arena_init(&id->arena, 0);
    return id;
}

static bool fill(Identity *id, Text table, const Const *row_id, const Const *extras)
{
    static const Const no_extras = {.kind = C_MAP};
    Arena *a = &id->arena;
    if (!extras || extras->kind != C_MAP)
        extras = &no_extras;
    id->table = arena_text(a, table);
    id->row_id = json_in_arena(a, row_id);
    id->extras = json_in_arena(a, extras);
    Const *auth = const_map(a, (size_t)extras->count + 1);
    if (!id->table.ptr || !id->row_id.ptr || !id->extras.ptr || !auth)
        return false;
    if (!const_set(a, auth, TEXT("id"), copy_const(a, row_id)))
        return false;
    for (uint32_t i = 0; i < extras->count; i++) {
        if (text_eq(extras->pairs[i].key, TEXT("id"))) /* the real id cannot be overridden */
            continue;
        if (!const_set(a, auth, extras->pairs[i].key, copy_const(a, extras->pairs[i].value)))
            return false;
    }
    id->auth = auth;
    return true;
}

Identity *identity_new(Text table, int64_t dbo_id, const Const *row_id, const Const *extras)
{
    Identity *id = identity_alloc();
    if (!id)
        return NULL;
    id->authenticated = true;
    id->dbo_id = dbo_id;
    if (!fill(id, table, row_id, extras)) {
        identity_unref(id);
        return NULL;
    }
    return id;
}

Identity *identity_anonymous(void)
{
    Identity *id = identity_alloc();
    if (id) {
        id->table = TEXT("");
        id->row_id = TEXT("0");
        id->extras = TEXT("{}");
    }
    return id;
}

Identity *identity_ref(Identity *id)
{
    atomic_fetch_add_explicit(&id->refs, 1, memory_order_relaxed);
    return id;
}

void identity_unref(Identity *id)
{
    if (!id || atomic_fetch_sub_explicit(&id->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_deinit(&id->arena);
    mem_free(id);
}

xs_request *request_new(void)
{
    xs_request *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return NULL;
    atomic_init(&r->refs, 1);
    arena_init(&r->arena, 0);
    return r;
}

xs_request *request_ref(xs_request *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void request_unref(xs_request *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    identity_unref(r->identity);
    arena_deinit(&r->arena);
    mem_free(r);
}

xs_request *request_stub(const xs_request *r)
{
    xs_request *stub = request_new();
    if (!stub)
        return NULL;
    stub->space = r->space;
    stub->identity = identity_ref(r->identity);
    stub->expires_ms = r->expires_ms;
    return stub;
}

/* ---- visits ---- */

/* Method, URI, address, query and headers one behind the other; a length is a byte, or LONG_LENGTH
 * and four. */
struct Visit {
    uint32_t len;
    unsigned char bytes[];
};

enum { LONG_LENGTH = 255 };

static void pack_length(Buf *out, size_t n)
{
    uint32_t full = (uint32_t)n;
    buf_char(out, (char)(n < LONG_LENGTH ? n : LONG_LENGTH));
    if (n >= LONG_LENGTH)
        buf_append(out, &full, sizeof full);
}

static void pack_text(Buf *out, Text t)
{
    pack_length(out, t.len);
    buf_text(out, t);
}

/* Of use to the connection only. */
static bool is_of_connection(Text header)
{
    return text_eq(header, TEXT("Connection")) || text_eq(header, TEXT("Upgrade")) ||
           text_starts(header, TEXT("Sec-Websocket-"));
}

/* Texts and lists and maps of them; anything else becomes null. */
static void pack_const(Buf *out, const Const *c)
{
    ConstKind kind = c ? c->kind : C_NULL;
    uint32_t left = 0;
    buf_char(out, (char)kind);
    if (kind == C_TEXT) {
        pack_text(out, c->text);
    } else if (kind == C_LIST) {
        pack_length(out, c->count);
        for (uint32_t i = 0; i < c->count; i++)
            pack_const(out, c->items[i]);
    } else if (kind == C_MAP) {
        for (uint32_t i = 0; i < c->count; i++)
            left += !is_of_connection(c->pairs[i].key);
        pack_length(out, left);
        for (uint32_t i = 0; i < c->count; i++) {
            if (is_of_connection(c->pairs[i].key))
                continue;
            pack_text(out, c->pairs[i].key);
            pack_const(out, c->pairs[i].value);
        }
    }
}

static size_t unpack_length(const unsigned char **at)
{
    uint32_t full = *(*at)++;
    if (full == LONG_LENGTH) {
        memcpy(&full, *at, sizeof full);
        *at += sizeof full;
    }
    return full;
}

static Text unpack_text(Arena *a, const unsigned char **at)
{
    size_t len = unpack_length(at);
    Text t = {(const char *)*at, len};
    *at += len;
    return arena_text(a, t);
}

static const Const *unpack_const(Arena *a, const unsigned char **at)
{
    ConstKind kind = (ConstKind) * (*at)++;
    if (kind == C_TEXT) {
        Text t = unpack_text(a, at);
        return t.ptr ? const_text(a, t) : NULL;
    }
    if (kind != C_LIST && kind != C_MAP)
        return &const_null;
    size_t n = unpack_length(at);
    Const *out = kind == C_LIST ? const_list(a, n) : const_map(a, n);
    for (size_t i = 0; out && i < n; i++) {
        Text key = kind == C_MAP ? unpack_text(a, at) : TEXT("");
        const Const *value = key.ptr ? unpack_const(a, at) : NULL;
        if (!value ||
            !(kind == C_LIST ? const_push(a, out, value) : const_append(a, out, key, value)))
            return NULL;
    }
    return out;
}

Visit *visit_new(const xs_request *r)
{
    Buf b = BUF_INIT;
    pack_text(&b, r->method);
    pack_text(&b, r->uri);
    pack_text(&b, r->remote_ip);
    pack_const(&b, r->query);
    pack_const(&b, r->headers);
    Visit *v = b.failed ? NULL : (Visit *)mem_alloc(sizeof *v + b.len);
    if (v) {
        v->len = (uint32_t)b.len;
        memcpy(v->bytes, b.ptr, b.len);
    }
    buf_deinit(&b);
    return v;
}

void visit_free(Visit *v)
{
    mem_free(v);
}

xs_request *visit_open(const Visit *v, Space *space, Identity *identity)
{
    xs_request *r = request_new();
    if (!r)
        return NULL;
    const unsigned char *at = v->bytes;
    Arena *a = &r->arena;
    r->space = space;
    r->identity = identity_ref(identity);
    r->method = unpack_text(a, &at);
    r->uri = unpack_text(a, &at);
    r->remote_ip = unpack_text(a, &at);
    r->query = unpack_const(a, &at);
    r->headers = unpack_const(a, &at);
    size_t mark = text_find(r->uri, TEXT("?"), 0);
    r->querystring = mark == SIZE_MAX ? TEXT("") : text_slice(r->uri, mark + 1, r->uri.len);
    if (r->method.ptr && r->uri.ptr && r->remote_ip.ptr && r->query && r->headers)
        return r;
    request_unref(r);
    return NULL;
}

bool identity_same(const Identity *a, const Identity *b)
{
    if (a->authenticated != b->authenticated)
        return false;
    return !a->authenticated || (a->dbo_id == b->dbo_id && text_eq(a->row_id, b->row_id));
}
