/* addon.c - addons: for every row of a result another query, its result placed into the row
 * (runtime.md §6.5). An addon is a procedure with one db.query, run on a fiber of its own that only
 * reads and so never parks. Equal inputs run once per result, and where the metadata allows it all
 * different inputs run as one query (AddonBatch). Thread: the fiber's. */
#include "core/json.h"
#include "core/map.h"
#include "core/text.h"
#include "stdlib/db/ops.h"

enum { ADDON_MAX_DEPTH = 8, DESC_MAX_DEPTH = 32 };

typedef struct Addons {
    Fiber *fiber;
    Heap *h;
    Arena arena;
    xs_error *err;
    Value *payload;
} Addons;

/* ---- before the statement: run-time values of the descriptor become constants, which outlive the
 * registers ---- */

static const Const *resolve(Call *c, Arena *a, const Const *d, unsigned depth)
{
    if (depth > DESC_MAX_DEPTH)
        return NULL;
    if (d->kind == C_MAP && d->count == 1 && const_get(d, "p")) {
        Value v = site_value(c, d);
        const Const *k = val_is_null(v) ? &const_null : val_to_const(a, v);
        val_unref(c->heap, v);
        Const *m = const_map(a, 1);
        return m && k && const_set(a, m, TEXT("k"), k) ? m : NULL;
    }
    if (d->kind != C_LIST && d->kind != C_MAP)
        return d;
    Const *out = d->kind == C_LIST ? const_list(a, d->count) : const_map(a, d->count);
    for (uint32_t i = 0; out && i < d->count; i++) {
        const Const *x =
            resolve(c, a, d->kind == C_LIST ? d->items[i] : d->pairs[i].value, depth + 1);
        if (!x ||
            !(d->kind == C_LIST ? const_push(a, out, x) : const_set(a, out, d->pairs[i].key, x)))
            return NULL;
    }
    return out;
}

bool call_addons(Call *c, Arena *a, const Const **out)
{
    const Const *d = const_get(c->site, "addon");
    *out = NULL;
    if (!d || d->kind != C_LIST || d->count == 0)
        return true;
    if (!c->fiber)
        return call_fail(c, XS_E_UNSUPPORTED, "an addon needs a fiber");
    *out = resolve(c, a, d, 0);
    return *out || fail_memory(c);
}

/* ---- running one ---- */

static bool no_memory(Addons *ad)
{
    return heap_error(ad->h) != XS_OK ? heap_fail(ad->h, ad->err) : fail_code(ad->err, XS_E_NOMEM);
}

static bool apply(Addons *ad, const Const *list, Value *rows, unsigned depth);

/* {"k": c} or {"out": ["column", member…]} of the row. */
static const Const *input_value(Addons *ad, const Const *v, Value row)
{
    const Const *path = const_get(v, "out");
    if (!path) {
        const Const *k = const_get(v, "k");
        return k ? k : &const_null;
    }
    Value at = val_ref(row);
    for (uint32_t i = 0; path->kind == C_LIST && i < path->count; i++) {
        Value key = val_from_const(ad->h, path->items[i]);
        Value next = key.kind == V_UNSET ? key : val_step(ad->h, at, key, ad->err);
        val_unref(ad->h, key);
        val_unref(ad->h, at);
        at = next;
    }
    const Const *out = val_is_null(at) ? &const_null : val_to_const(&ad->arena, at);
    val_unref(ad->h, at);
    return out;
}

static const Const *inputs_of(Addons *ad, const Const *entry, Value row)
{
    const Const *pairs = const_get(entry, "input");
    Const *in = const_map(&ad->arena, 4);
    for (uint32_t i = 0; in && pairs && pairs->kind == C_LIST && i < pairs->count; i++) {
        const Const *p = pairs->items[i];
        if (p->kind != C_LIST || p->count < 2)
            continue;
        const Const *v = input_value(ad, p->items[1], row);
        if (v && v->kind == C_NULL) /* as if it was not given: an optional input takes it */
            continue;
        if (!v || !const_set(&ad->arena, in, const_text_of(p->items[0], (Text){"", 0}), v))
            return NULL;
    }
    return in;
}

static bool run_proc(Addons *ad, Fiber *sub, uint32_t proc, const Const *in, Value *out)
{
    Value input = val_from_const(fiber_heap(sub), in);
    if (input.kind == V_UNSET || !fiber_call(sub, proc, input, ad->err))
        return input.kind == V_UNSET ? no_memory(ad) : false;
    fiber_set_source(sub, fiber_source(ad->fiber));
    FiberState st = fiber_run(sub);
    if (st == FIBER_DONE) {
        const Const *c = val_to_const(&ad->arena, fiber_result(sub));
        *out = c ? val_from_const(ad->h, c) : val_unset();
        return out->kind != V_UNSET || no_memory(ad);
    }
    if (st != FIBER_ERROR)
        return xs_fail(ad->err, XS_E_UNSUPPORTED, XS_NO_POS, "an addon holds exactly one db.query");
    Text name;
    Value payload;
    *ad->err = *fiber_error(sub, &name, &payload);
    const Const *c = val_is_null(payload) ? NULL : val_to_const(&ad->arena, payload);
    if (c) {
        val_unref(ad->h, *ad->payload);
        *ad->payload = val_from_const(ad->h, c);
    }
    return false;
}

static bool run_addon(Addons *ad, const Const *entry, const Const *in, const AddonBatch *batch,
                      unsigned depth, Value *out)
{
    Program *p = fiber_program(ad->fiber);
    Text name = const_get_text(entry, "name");
    uint32_t proc = program_find(p, PROC_ADDON, name);
    if (proc == UINT32_MAX)
        return xs_fail(ad->err, XS_E_DATABASE, XS_NO_POS, "there is no addon '" TEXT_FMT "'",
                       TEXT_ARG(name));
    Fiber *sub =
        fiber_new(p, fiber_services(ad->fiber), fiber_run_context(ad->fiber), &limits_default);
    if (!sub)
        return fail_code(ad->err, XS_E_NOMEM);
    FiberDb *mine = fiber_db(ad->fiber);
    FiberDb *fd = fiber_db_make(sub, fiber_services(sub)->db, ad->err);
    bool ok = fd != NULL;
    if (ok) {
        fd->borrowed = true; /* it reads what an open transaction has written */
        fd->depth = mine && mine->depth ? 1 : 0;
        if (mine)
            fd->db = mine->db;
        fd->addons = depth + 1;
        fd->batch = batch;
        ok = run_proc(ad, sub, proc, in, out);
    }
    fiber_free(sub);
    const Const *more = batch ? NULL : const_get(entry, "addon"); /* done on all rows at once */
    if (ok && more && !apply(ad, more, out, depth + 1)) {
        val_unref(ad->h, *out);
        return false;
    }
    return ok;
}

/* ---- placing ---- */

static Text place_of(const Const *entry)
{
    Text as = const_get_text(entry, "as");
    if (!as.len)
        as = const_get_text(entry, "name");
    if (text_starts(as, TEXT("items.")))
        as = text_slice(as, 6, as.len);
    return as;
}

static bool place(Addons *ad, const Const *entry, Value *row, Value result)
{
    Value keys = val_split_path(ad->h, place_of(entry), ad->err);
    if (keys.kind != V_LIST) {
        val_unref(ad->h, result);
        return false;
    }
    bool ok = val_set_path_over(ad->h, row, keys.list->items + keys.list->start, keys.list->len,
                                result, ad->err);
    val_unref(ad->h, keys);
    return ok;
}

/* The names of output and where the entry's own addons have put their results. */
static const Const *with_places(Addons *ad, const Const *names, const Const *more)
{
    Const *all = const_list(&ad->arena, names->count + 4);
    for (uint32_t i = 0; all && i < names->count; i++)
        if (!const_push(&ad->arena, all, names->items[i]))
            return NULL;
    for (uint32_t i = 0; all && more && more->kind == C_LIST && i < more->count; i++) {
        const Const *place = const_text(&ad->arena, place_of(more->items[i]));
        if (!place || !const_push(&ad->arena, all, place))
            return NULL;
    }
    return all;
}

static bool keep_output(Addons *ad, const Const *entry, Value *result)
{
    RowShape shape;
    const Const *names = const_get(entry, "output");
    if (!names || names->kind != C_LIST || names->count == 0)
        return true;
    names = with_places(ad, names, const_get(entry, "addon"));
    if (!names || !shape_of(&ad->arena, names, &shape))
        return no_memory(ad);
    if (result->kind == V_MAP)
        return shape_pick(ad->h, &shape, result, ad->err);
    for (uint32_t i = 0; result->kind == V_LIST && i < result->list->len; i++) {
        Value row = val_ref(list_at(result->list, i));
        if (row.kind == V_MAP && !shape_pick(ad->h, &shape, &row, ad->err))
            return false;
        if (!list_set(ad->h, result, i, row))
            return no_memory(ad);
    }
    return true;
}

typedef struct Memo {
    Map seen;      /* inputs as JSON -> index + 1 */
    Value results; /* list */
} Memo;

static Text input_key(Addons *ad, const Const *in)
{
    Buf b = BUF_INIT;
    json_write_const(&b, in);
    Text key = b.failed ? (Text){0} : arena_text(&ad->arena, buf_view(&b));
    buf_deinit(&b);
    return key;
}

/* The result of an input, for all rows that have the same. Consumes it. */
static bool remember(Addons *ad, const Const *entry, Memo *m, Text key, Value *result)
{
    if (keep_output(ad, entry, result) && list_push(ad->h, &m->results, val_ref(*result)) &&
        map_put(&m->seen, key, (void *)(uintptr_t)m->results.list->len))
        return true;
    val_unref(ad->h, *result);
    *result = val_unset();
    return ad->err->code != XS_OK ? false : no_memory(ad);
}

/* ---- many rows, one query ---- */

/* What the metadata says of the addon: {"input", "column"} when one input comes from the row and
 * the query takes its rows by it. */
static const Const *batch_info(const Addons *ad, const Const *entry)
{
    const Const *addons = const_get(program_meta(fiber_program(ad->fiber)), "addons");
    const Const *batch =
        const_get(addons ? const_find(addons, const_get_text(entry, "name")) : NULL, "batch");
    const Const *pairs = const_get(entry, "input");
    bool fed = false;
    for (uint32_t i = 0; batch && pairs && pairs->kind == C_LIST && i < pairs->count; i++) {
        const Const *p = pairs->items[i];
        if (p->kind != C_LIST || p->count < 2 || !const_get(p->items[1], "out"))
            continue;
        if (!text_eq(const_text_of(p->items[0], (Text){"", 0}), const_get_text(batch, "input")))
            return NULL; /* another input differs from row to row */
        fed = true;
    }
    return fed ? batch : NULL;
}

/* Run the addon once for all different inputs of the rows. What is null stays for one_row. */
static bool run_together(Addons *ad, const Const *entry, Value rows, Memo *m, unsigned depth)
{
    const Const *info = batch_info(ad, entry);
    Const *values = const_list(&ad->arena, 8), *keys = const_list(&ad->arena, 8);
    const Const *first = NULL;
    Map seen = {0};
    if (!info || rows.list->len < 2)
        return true;
    bool ok = values && keys;
    for (uint32_t i = 0; ok && i < rows.list->len; i++) {
        Value row = list_at(rows.list, i);
        const Const *in = row.kind == V_MAP ? inputs_of(ad, entry, row) : NULL;
        const Const *v = in ? const_find(in, const_get_text(info, "input")) : NULL;
        if (row.kind != V_MAP || (in && (!v || v->kind == C_NULL || v->kind >= C_LIST)))
            continue;
        Text key = in ? input_key(ad, in) : (Text){0};
        const Const *k = key.ptr ? const_text(&ad->arena, key) : NULL;
        ok = k != NULL;
        if (!ok || map_get(&seen, key))
            continue;
        first = first ? first : in;
        ok = map_put(&seen, key, values) && const_push(&ad->arena, values, v) &&
             const_push(&ad->arena, keys, k);
    }
    map_deinit(&seen);
    if (!ok)
        return no_memory(ad);
    if (values->count < 2)
        return true;
    AddonBatch batch = {const_get_text(info, "column"), values, const_get(entry, "addon")};
    Value results;
    if (!run_addon(ad, entry, first, &batch, depth, &results))
        return false;
    ok = results.kind == V_LIST && results.list->len == values->count;
    for (uint32_t i = 0; ok && i < values->count; i++) {
        Value one = val_ref(list_at(results.list, i));
        ok = remember(ad, entry, m, keys->items[i]->text, &one);
        val_unref(ad->h, one);
    }
    val_unref(ad->h, results);
    return ok || (ad->err->code != XS_OK ? false : fail_code(ad->err, XS_E_BUG));
}

static bool one_row(Addons *ad, const Const *entry, Value *row, Memo *m, unsigned depth)
{
    const Const *in = row->kind == V_MAP ? inputs_of(ad, entry, *row) : NULL;
    if (!in)
        return row->kind != V_MAP || no_memory(ad);
    Text key = input_key(ad, in);
    if (!key.ptr)
        return no_memory(ad);
    uintptr_t at = (uintptr_t)map_get(&m->seen, key);
    if (at)
        return place(ad, entry, row, val_ref(list_at(m->results.list, (uint32_t)at - 1)));
    Value out;
    if (!run_addon(ad, entry, in, NULL, depth, &out) || !remember(ad, entry, m, key, &out))
        return false;
    return place(ad, entry, row, out);
}

static bool one_entry(Addons *ad, const Const *entry, Value *rows, unsigned depth)
{
    Memo m = {.results = list_new(ad->h, 4)};
    bool ok = m.results.kind != V_UNSET || no_memory(ad);
    if (ok && rows->kind == V_LIST)
        ok = run_together(ad, entry, *rows, &m, depth);
    if (ok && rows->kind == V_MAP)
        ok = one_row(ad, entry, rows, &m, depth);
    for (uint32_t i = 0; ok && rows->kind == V_LIST && i < rows->list->len; i++) {
        Value row = val_ref(list_at(rows->list, i));
        if (!list_set(ad->h, rows, i, val_null())) { /* the row is changed in place, not copied */
            val_unref(ad->h, row);
            ok = no_memory(ad);
            break;
        }
        ok = one_row(ad, entry, &row, &m, depth);
        if (!list_set(ad->h, rows, i, row))
            ok = no_memory(ad);
    }
    map_deinit(&m.seen);
    val_unref(ad->h, m.results);
    return ok;
}

static bool apply(Addons *ad, const Const *list, Value *rows, unsigned depth)
{
    FiberDb *fd = fiber_db(ad->fiber);
    if (depth + (fd ? fd->addons : 0) >= ADDON_MAX_DEPTH)
        return xs_fail(ad->err, XS_E_DEPTH, XS_NO_POS, "addons are nested deeper than %d",
                       ADDON_MAX_DEPTH);
    for (uint32_t i = 0; list->kind == C_LIST && i < list->count; i++)
        if (!one_entry(ad, list->items[i], rows, depth))
            return false;
    return true;
}

bool addons_apply(Fiber *fiber, const Const *list, Value *rows, xs_error *err, Value *payload)
{
    if (!list || !fiber)
        return true;
    Addons ad = {.fiber = fiber, .h = fiber_heap(fiber), .err = err, .payload = payload};
    arena_init(&ad.arena, 256u << 20);
    bool ok = apply(&ad, list, rows, 0);
    arena_deinit(&ad.arena);
    return ok;
}
