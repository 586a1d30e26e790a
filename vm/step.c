/* step.c - the longer instructions. Reading, changing and building values, calling, iterating. */
#include "vm/step.h"
#include "vm/stream.h"

#include "core/num.h"
#include "core/text.h"

/* ---- values ---- */

void slot_release(Heap *h, const Value *slot)
{
    val_unref(h, val_load(slot));
}

xs_error *clean_error(Fiber *f)
{
    if (f->raised.err.code != XS_OK)
        raised_clear(f->heap, &f->raised);
    return &f->raised.err;
}

bool step_arith(Fiber *f, Arith op, Value *to, const Value *a, const Value *b)
{
    Value out;
    if (!val_arith(op, *a, *b, &out, clean_error(f)))
        return false;
    slot_set(f->heap, to, out);
    return true;
}

bool step_arith_zero(Fiber *f, Arith op, Value *to, const Value *a, const Value *b)
{
    Value left = val_int(0);
    if (a->kind == V_UNSET)
        return raise_code(f, XS_E_NOT_NUMERIC);
    if (!val_is_null(*a) && !val_number(*a, &left, clean_error(f)))
        return false;
    return step_arith(f, op, to, &left, b);
}

bool step_concat(Fiber *f, Value *to, Value *a, Value *b)
{
    char left[NUM_TEXT_MAX], right[NUM_TEXT_MAX];
    Text x, y;
    xs_error *err = clean_error(f);
    if (!val_scalar_text(*a, left, &x, err) || !val_scalar_text(*b, right, &y, err))
        return false;
    if (to == a && a->kind == V_TEXT)
        return text_append(f->heap, a, y) || raise_memory(f);
    Value made = text_new_raw(f->heap, x.len + y.len);
    if (made.kind == V_UNSET)
        return raise_memory(f);
    if (x.len)
        memcpy(made.text->data, x.ptr, x.len);
    if (y.len)
        memcpy(made.text->data + x.len, y.ptr, y.len);
    slot_set(f->heap, to, made);
    return true;
}

bool step_range(Fiber *f, Value *to, const Value *a, const Value *b)
{
    int64_t from, last;
    xs_error *err = clean_error(f);
    if (!val_integer(*a, &from, err) || !val_integer(*b, &last, err))
        return false;
    uint64_t count = from > last ? 0 : (uint64_t)last - (uint64_t)from + 1;
    if (count > RANGE_MAX_ITEMS || (from <= last && count == 0))
        return raise_code(f, XS_E_LIMIT);
    Value made = list_new(f->heap, (uint32_t)count);
    if (made.kind == V_UNSET)
        return raise_memory(f);
    for (uint64_t i = 0; i < count; i++)
        made.list->items[i] = val_int(from + (int64_t)i);
    made.list->len = (uint32_t)count;
    slot_set(f->heap, to, made);
    return true;
}

/* A step that found nothing: an error of its own (memory), null, or the error about the path. */
static bool missing(Fiber *f, Value *to, const Proc *proc, uint32_t pc, Value key, bool tolerant)
{
    if (f->raised.err.code != XS_OK)
        return false;
    if (!tolerant)
        return raise_missing(f, proc, pc, 0, key);
    slot_set(f->heap, to, val_null());
    return true;
}

bool step_get(Fiber *f, Value *to, Value from, const Proc *proc, uint32_t pc, Value key,
              bool tolerant)
{
    xs_error *err = clean_error(f);
    bool absent = tolerant && from.kind == V_LIST && !from.list->len; /* [] stands for {} too */
    Value found = absent ? val_unset() : val_step(f->heap, from, key, err);
    if (found.kind == V_UNSET)
        return missing(f, to, proc, pc, key, tolerant);
    slot_set(f->heap, to, found);
    return true;
}

bool step_get_two(Fiber *f, Value *to, Value from, const Proc *proc, uint32_t pc, const Value *k1,
                  const Value *k2, bool tolerant)
{
    xs_error *err = clean_error(f);
    bool absent = tolerant && from.kind == V_LIST && !from.list->len;
    Value middle = absent ? val_unset() : val_step(f->heap, from, *k1, err);
    if (middle.kind == V_UNSET) {
        if (err->code != XS_OK)
            return false;
        if (!tolerant)
            return raise_missing(f, proc, pc, 0, *k1);
        slot_set(f->heap, to, val_null()); /* a path through null is null */
        return true;
    }
    absent = tolerant && middle.kind == V_LIST && !middle.list->len;
    Value found = absent ? val_unset() : val_step(f->heap, middle, *k2, err);
    val_unref(f->heap, middle);
    if (found.kind != V_UNSET) {
        slot_set(f->heap, to, found);
        return true;
    }
    if (err->code != XS_OK)
        return false;
    if (!tolerant)
        return raise_missing(f, proc, pc, 1, *k2);
    slot_set(f->heap, to, val_null());
    return true;
}

bool step_set_member(Fiber *f, Value *to, Value key, Value value, const uint32_t *pc)
{
    if (to->kind == V_MAP) {
        Value *slot = val_unique(*to) ? member(f, to->map, key.text, pc) : NULL;
        if (slot) {
            slot_set(f->heap, slot, value);
            return true;
        }
        return map_set(f->heap, to, val_ref(key), value) || raise_memory(f);
    }
    return val_set_path(f->heap, to, &key, 1, value, clean_error(f));
}

bool step_set_two(Fiber *f, Value *root, Value k1, Value k2, Value value)
{
    Value keys[2] = {val_ref(k1), val_ref(k2)}; /* their registers may be the one that changes */
    bool ok = val_set_path(f->heap, root, keys, 2, val_ref(value), clean_error(f));
    val_unref(f->heap, keys[0]);
    val_unref(f->heap, keys[1]);
    return ok;
}

bool step_set_path(Fiber *f, Value *root, Value *keys, uint32_t nkeys)
{
    Value value = val_load(&keys[nkeys]);
    keys[nkeys].kind = V_UNSET;
    return val_set_path(f->heap, root, keys, nkeys, value, clean_error(f));
}

bool step_take_path(Fiber *f, Value *to, Value *root, const Value *keys, uint32_t nkeys)
{
    Value taken = val_take_path(f->heap, root, keys, nkeys, clean_error(f));
    if (taken.kind == V_UNSET)
        return false;
    slot_set(f->heap, to, taken);
    return true;
}

bool step_push(Fiber *f, Value *list, Value item)
{
    if (list->kind != V_LIST) {
        val_unref(f->heap, item);
        return raise_bug(f, "append to something that is no list");
    }
    return list_push(f->heap, list, item) || raise_memory(f);
}

bool step_set_computed(Fiber *f, Value *map, Value key, Value value)
{
    if (map->kind != V_MAP)
        return raise_bug(f, "member set in something that is no object");
    Value name = val_to_text(f->heap, key, clean_error(f));
    if (name.kind == V_UNSET)
        return false;
    return map_set(f->heap, map, name, val_ref(val_or_null(value))) || raise_memory(f);
}

bool step_make_list(Fiber *f, Value *to, Value *window, uint32_t count)
{
    Value made = list_new(f->heap, count);
    if (made.kind == V_UNSET)
        return raise_memory(f);
    for (uint32_t i = 0; i < count; i++) {
        slot_put(&made.list->items[i], val_or_null(val_load(&window[i])));
        window[i].kind = V_UNSET;
    }
    made.list->len = count;
    slot_set(f->heap, to, made);
    return true;
}

bool step_make_map(Fiber *f, Value *to, Value *window, const MapObj *like)
{
    uint32_t count = like->count;
    Value made = like->index ? val_obj(V_MAP, (void *)(uintptr_t)like) : map_new(f->heap, count);
    if (like->index && !val_make_unique(f->heap, &made)) /* with its index */
        made = val_unset();
    if (made.kind == V_UNSET)
        return raise_memory(f);
    MapEntry *entries = made.map->entries;
    for (uint32_t i = 0; i < count; i++) {
        entries[i].key = like->entries[i].key; /* a constant: not counted */
        slot_put(&entries[i].value, val_or_null(val_load(&window[i])));
        window[i].kind = V_UNSET;
    }
    made.map->count = made.map->used = count;
    slot_set(f->heap, to, made);
    return true;
}

static bool spread_map(Fiber *f, Value *to, Value from)
{
    if (val_is_null(from) || (from.kind == V_LIST && !from.list->len))
        return true;
    if (from.kind != V_MAP)
        return raise_code(f, XS_E_NOT_OBJECT);
    val_ref(from); /* from may be the map that changes */
    const MapEntry *e;
    bool ok = true;
    for (uint32_t at = 0; ok && (e = map_walk(from.map, &at));)
        ok = map_set(f->heap, to, val_ref(val_obj(V_TEXT, e->key)), val_ref(e->value)) ||
             raise_memory(f);
    val_unref(f->heap, from);
    return ok;
}

static bool spread_list(Fiber *f, Value *to, Value from)
{
    if (val_is_null(from))
        return true;
    if (from.kind != V_LIST && from.kind != V_MAP)
        return raise_code(f, XS_E_NOT_ARRAY);
    val_ref(from);
    bool ok = true;
    const MapEntry *e;
    if (from.kind == V_LIST)
        for (uint32_t i = 0; ok && i < from.list->len; i++)
            ok = step_push(f, to, val_ref(list_at(from.list, i)));
    else
        for (uint32_t at = 0; ok && (e = map_walk(from.map, &at));)
            ok = step_push(f, to, val_ref(e->value));
    val_unref(f->heap, from);
    return ok;
}

bool step_spread(Fiber *f, Value *to, Value from)
{
    if (to->kind == V_MAP)
        return spread_map(f, to, from);
    return to->kind == V_LIST ? spread_list(f, to, from)
                              : raise_bug(f, "spread into something that is no container");
}

/* The list in a register; null and {} become []. */
static bool want_list(Fiber *f, Value *v)
{
    if (v->kind == V_LIST)
        return true;
    if (!val_is_null(*v) && !(v->kind == V_MAP && !v->map->count))
        return raise_code(f, XS_E_NOT_ARRAY);
    slot_set(f->heap, v, list_empty());
    return true;
}

bool step_remove_end(Fiber *f, Value *to, Value *list, bool first)
{
    if (!want_list(f, list))
        return false;
    Value v = first ? list_shift(f->heap, list) : list_pop(f->heap, list);
    if (v.kind == V_UNSET)
        return raise_memory(f);
    slot_set(f->heap, to, v);
    return true;
}

bool step_get_input(Fiber *f, Value *to, const Proc *proc, const Value *r)
{
    if (!proc->ninputs && (proc->image->kind == PROC_TRIGGER || proc->image->kind == PROC_EXPR)) {
        slot_set(f->heap, to, val_ref(val_or_null(r[0])));
        return true;
    }
    Value map = map_new(f->heap, proc->ninputs);
    for (uint32_t i = 0; i < proc->ninputs; i++) {
        if (map.kind == V_UNSET ||
            !map_set(f->heap, &map, proc->input_names[i], val_ref(val_or_null(r[i])))) {
            val_unref(f->heap, map);
            return raise_memory(f);
        }
    }
    if (map.kind == V_UNSET)
        return raise_memory(f);
    slot_set(f->heap, to, map);
    return true;
}

bool step_bind(Fiber *f, const Proc *proc, Value *r)
{
    const NativeTable *natives = f->program->natives;
    if (!proc->ninputs)
        return true;
    if (!natives || !natives->bind)
        return raise_code(f, XS_E_UNSUPPORTED);
    Value payload = val_unset();
    xs_error *err = clean_error(f);
    bool ok =
        natives->bind(f->heap, f->services, proc->image->inputs, r, proc->ninputs, err, &payload);
    if (ok)
        val_unref(f->heap, payload);
    else
        f->raised.payload = payload;
    return ok;
}

/* ---- calls ---- */

bool step_call(Fiber *f, uint32_t proc, uint8_t a, uint8_t nargs, uint8_t result_reg)
{
    uint32_t from = f->frames[f->nframes - 1].base + a;
    if (!frame_push(f, &f->program->procs[proc], result_reg))
        return false;
    Value *args = f->stack + from, *regs = f->stack + f->frames[f->nframes - 1].base;
    for (uint32_t i = 0; i < nargs; i++) {
        regs[i] = args[i];
        args[i] = val_unset();
    }
    return true;
}

bool step_call_object(Fiber *f, uint32_t proc, uint8_t a, Value input)
{
    val_ref(input); /* its register may move */
    bool ok = frame_push(f, &f->program->procs[proc], a);
    if (ok && !frame_spread(f, input)) {
        frame_pop(f); /* the error is the caller's */
        ok = false;
    }
    val_unref(f->heap, input);
    return ok;
}

/* Take the error payload of a native over. */
static void native_failed(Fiber *f, Call *c)
{
    val_unref(f->heap, c->ret);
    val_unref(f->heap, f->raised.payload);
    f->raised.payload = c->thrown;
    if (f->raised.err.code == XS_OK)
        xs_fail(&f->raised.err, XS_E_BUG, XS_NO_POS, "%s failed without saying why", c->name);
}

bool step_call_filter(Fiber *f, Value *to, Value *in, Value *args, uint32_t x)
{
    const Import *im = &f->program->imports[x & 0xffff];
    Call c = {
        .fiber = f,
        .heap = f->heap,
        .services = f->services,
        .run = f->run,
        .name = im->name,
        .row = im->row,
        .in = val_or_null(*in),
        .own = to == in,
        .in_slot = in,
        .args = args,
        .nargs = XF_COUNT(x),
        .site = &const_null,
        .ret = val_null(),
        .err = clean_error(f),
    };
    bool ok = im->filter(&c);
    if (c.temps.kind != V_UNSET)
        call_end(&c);
    if (!ok) {
        native_failed(f, &c);
        return false;
    }
    val_unref(f->heap, c.thrown);
    slot_set(f->heap, to, val_or_null(c.ret));
    return true;
}

/* ---- filters with an instruction of their own ---- */

static bool plain_name(const TextObj *t)
{
    return !memchr(t->data, '.', t->len) && !memchr(t->data, '[', t->len);
}

bool fast_find(const Value *in, const Value *key, const Value **found)
{
    if (in->kind == V_LIST && key->kind == V_INT) {
        const ListObj *l = in->list;
        int64_t i = key->i < 0 ? key->i + l->len : key->i;
        *found = i >= 0 && i < l->len ? &l->items[l->start + (uint32_t)i] : NULL;
        return true;
    }
    if (in->kind != V_MAP || key->kind != V_TEXT)
        return false;
    const TextObj *t = key->text;
    int64_t at = map_index_of(in->map, (Text){t->data, t->len}, t->hash);
    *found = at == MAP_NOT_FOUND ? NULL : &in->map->entries[at].value;
    return *found || plain_name(t);
}

/* The container that is changed: the operand itself when the result replaces it, else a copy in the
 * making. */
static void fast_target(Fiber *f, Value *to, const Value *in)
{
    if (to != in)
        slot_set(f->heap, to, val_ref(val_load(in)));
}

/* The last argument, moved out when nobody needs it any more. */
static Value last_arg(Value *arg, uint32_t x)
{
    Value v = val_or_null(val_load(arg));
    if (x & XF_MOVE)
        arg->kind = V_UNSET;
    else
        val_ref(v);
    return v;
}

FastResult fast_push(Fiber *f, Value *to, Value *in, Value *arg, uint32_t x)
{
    if (in->kind != V_LIST || arg == in || arg->kind == V_UNSET)
        return FAST_SLOW;
    Value item = last_arg(arg, x);
    fast_target(f, to, in);
    ListObj *l = to->list;
    if (LIKELY(val_unique(*to) && l->start + l->len < l->cap)) {
        slot_put(&l->items[l->start + l->len++], item);
        return FAST_DONE;
    }
    return list_push(f->heap, to, item) || raise_memory(f) ? FAST_DONE : FAST_RAISED;
}

FastResult fast_set(Fiber *f, Value *to, Value *in, Value *args, uint32_t x)
{
    const Value key = val_load(&args[0]);
    if (args[1].kind == V_UNSET || (in >= args && in <= args + 1) || to == &args[0] ||
        to == &args[1])
        return FAST_SLOW;
    if (in->kind == V_LIST && key.kind == V_INT && (uint64_t)key.i <= in->list->len) {
        Value item = last_arg(&args[1], x);
        fast_target(f, to, in);
        ListObj *l = to->list;
        if (LIKELY(val_unique(*to) && key.i < l->len)) {
            slot_set(f->heap, &l->items[l->start + (uint32_t)key.i], item);
            return FAST_DONE;
        }
        return list_set(f->heap, to, (uint32_t)key.i, item) || raise_memory(f) ? FAST_DONE
                                                                               : FAST_RAISED;
    }
    if (in->kind != V_MAP || key.kind != V_TEXT ||
        (!plain_name(key.text) &&
         map_index_of(in->map, val_text_view(key), key.text->hash) == MAP_NOT_FOUND))
        return FAST_SLOW;
    Value item = last_arg(&args[1], x);
    fast_target(f, to, in);
    return map_set(f->heap, to, val_ref(key), item) || raise_memory(f) ? FAST_DONE : FAST_RAISED;
}

FastResult fast_slice(Fiber *f, Value *to, Value *in, const Value *args, uint32_t x)
{
    if (in->kind != V_LIST || args[0].kind != V_INT || args[0].i < 0)
        return FAST_SLOW;
    uint32_t len = in->list->len, from = args[0].i < len ? (uint32_t)args[0].i : len;
    uint32_t count = len - from;
    if (XF_COUNT(x) > 1 && args[1].kind > V_NULL) {
        if (args[1].kind != V_INT || args[1].i < 0)
            return FAST_SLOW;
        count = args[1].i < count ? (uint32_t)args[1].i : count;
    }
    fast_target(f, to, in);
    return list_cut(f->heap, to, from, count) || raise_memory(f) ? FAST_DONE : FAST_RAISED;
}

FastResult fast_substr(Fiber *f, Value *to, const Value *in, const Value *args, uint32_t x)
{
    if (in->kind != V_TEXT || args[0].kind != V_INT || args[0].i < 0)
        return FAST_SLOW;
    Text t = val_text_view(*in);
    int64_t length = INT64_MAX;
    if (XF_COUNT(x) > 1 && args[1].kind > V_NULL) {
        if (args[1].kind != V_INT || args[1].i < 0)
            return FAST_SLOW;
        length = args[1].i;
    }
    size_t from = text_skip(t, 0, (uint64_t)args[0].i);
    size_t end = text_skip(t, from, (uint64_t)length);
    Value made = from == 0 && end == t.len ? val_ref(val_load(in))
                                           : text_new(f->heap, text_slice(t, from, end));
    if (made.kind == V_UNSET)
        return raise_memory(f) ? FAST_DONE : FAST_RAISED;
    slot_set(f->heap, to, made);
    return FAST_DONE;
}

static void clear_window(Heap *h, Value *args, uint32_t nargs)
{
    for (uint32_t i = 0; i < nargs; i++)
        slot_set(h, &args[i], val_unset());
}

NativeResult step_call_statement(Fiber *f, Value *args, uint8_t a, uint8_t nargs, uint32_t x)
{
    const SiteImage *site = &f->program->image.sites[x];
    const Import *im = &f->program->imports[site->import];
    Call c = {
        .fiber = f,
        .heap = f->heap,
        .services = f->services,
        .run = f->run,
        .name = im->name,
        .row = im->row,
        .args = args,
        .nargs = nargs,
        .site = site->desc ? site->desc : &const_null,
        .site_data = &f->program->site_data[x],
        .ret = val_null(),
        .err = clean_error(f),
    };
    if (f->watch)
        f->watch->begin(f->watch->ctx, f, im->name);
    NativeResult result = im->statement(&c);
    if (c.temps.kind != V_UNSET)
        call_end(&c);
    if (f->watch && result != NATIVE_PARK)
        f->watch->end(f->watch->ctx, result == NATIVE_ERROR ? c.err : NULL);
    if (result == NATIVE_ERROR) {
        native_failed(f, &c);
        return result;
    }
    val_unref(f->heap, c.thrown);
    if (result == NATIVE_PARK) {
        val_unref(f->heap, c.ret);
        f->park_reg = a;
        f->park_args = nargs; /* the native may still look at them */
        return result;
    }
    clear_window(f->heap, args, nargs);
    slot_set(f->heap, &args[0], val_or_null(c.ret));
    return result;
}

/* ---- loops ---- */

/* Two registers are an iterator: a reference to the container, which makes it a snapshot, and the
 * position. */
bool step_iterate(Fiber *f, Value *it, Value from, uint8_t kind, bool *empty)
{
    bool is_map = from.kind == V_MAP && from.map->count;
    if (kind <= 1 && val_is_stream(from)) {
        *empty = false;
        slot_set(f->heap, &it[0], val_ref(from));
        slot_set(f->heap, &it[1], val_int(0));
        return stream_begin(from, NULL, clean_error(f));
    }
    if (kind == 0 && from.kind != V_LIST && from.kind != V_MAP)
        return raise_code(f, XS_E_NOT_LIST);
    if (kind == 0 && is_map)
        return raise_code(f, XS_E_NOT_LIST);
    if (from.kind != V_LIST && !val_is_null(from) && (from.kind != V_MAP || (kind == 1 && is_map)))
        return raise_code(f, XS_E_NOT_ARRAY);
    *empty = val_is_null(from) || !val_count(from);
    slot_set(f->heap, &it[0], *empty ? val_unset() : val_ref(from));
    slot_set(f->heap, &it[1], val_int(0));
    return true;
}

/* The instruction is repeated after the wait; one that fails raises there. */
static int wait_for_stream(Fiber *f, Value stream)
{
    void *site = NULL;
    Call c = {.fiber = f,
              .heap = f->heap,
              .services = f->services,
              .run = f->run,
              .name = "foreach",
              .site = &const_null,
              .site_data = &site,
              .ret = val_null(),
              .err = clean_error(f)};
    NativeResult result = stream_wait(stream, &c);
    if (result == NATIVE_ERROR)
        native_failed(f, &c);
    f->park_repeat = result == NATIVE_PARK;
    return result == NATIVE_ERROR ? -1 : result == NATIVE_PARK ? STREAM_LATER : 1;
}

static int next_of_stream(Fiber *f, Value *it, Value *to, bool with_key)
{
    Value v = val_unset();
    int more;
    while ((more = stream_next(it[0], &v, clean_error(f))) == STREAM_LATER)
        if ((more = wait_for_stream(f, it[0])) != 1)
            return more;
    if (more <= 0) {
        slot_set(f->heap, &it[0], val_unset());
        return more;
    }
    slot_set(f->heap, to, v);
    if (with_key)
        slot_set(f->heap, to + 1, val_int(it[1].i));
    it[1].i++;
    return 1;
}

/* Next of a map, or the end of either kind; lists go on in the loop itself. 1 next, 0 end, -1
 * raised, STREAM_LATER parked. */
int step_next(Fiber *f, Value *it, Value *to, bool with_key)
{
    if (val_is_stream(it[0]) && it[1].kind == V_INT)
        return next_of_stream(f, it, to, with_key);
    bool is_map = it[0].kind == V_MAP;
    if ((!is_map && it[0].kind != V_LIST) || it[1].kind != V_INT) {
        raise_bug(f, "next of something that is no iterator");
        return -1;
    }
    uint32_t at = it[1].i >= 0 && it[1].i < UINT32_MAX ? (uint32_t)it[1].i : UINT32_MAX;
    const MapEntry *e = is_map ? map_walk(it[0].map, &at) : NULL;
    if (!e) {
        slot_set(f->heap, &it[0], val_unset()); /* the snapshot is no longer needed */
        return 0;
    }
    it[1].i = at;
    Value key = val_obj(V_TEXT, e->key), value = val_ref(e->value);
    val_ref(key);
    slot_set(f->heap, to, value);
    if (with_key)
        slot_set(f->heap, to + 1, key);
    else
        val_unref(f->heap, key);
    return 1;
}

bool step_for(Fiber *f, Value *it)
{
    int64_t count;
    if (!val_integer(it[0], &count, clean_error(f)))
        return false;
    slot_set(f->heap, &it[0], val_int(count));
    slot_set(f->heap, &it[1], val_int(-1));
    return true;
}

/* A handler that guards itself must not loop for free: past the budget the error becomes that of
 * the budget. */
void step_charge_error(Fiber *f)
{
    f->slice -= NATIVE_STEPS;
    bool in_budget = f->slice >= 0 || fiber_tick(f);
    (void)in_budget;
}
