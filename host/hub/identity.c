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

bool identity_same(const Identity *a, const Identity *b)
{
    if (a->authenticated != b->authenticated)
        return false;
    return !a->authenticated || (a->dbo_id == b->dbo_id && text_eq(a->row_id, b->row_id));
}
