/* path.c - reading, setting, taking and deleting along paths, and parsing path text. A name step
 * through a list maps over its elements. Specification: filters.md §1.6. */
#include <math.h>

#include "core/num.h"
#include "core/text.h"
#include "vm/convert.h"
#include "vm/obj.h"

enum { PATH_MAX_STEPS = 512 }; /* bounds the recursion through nested lists */

static bool bad_path(xs_error *err)
{
    return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "%s: path", xs_code_get(XS_E_BAD_ARG)->text);
}

/* ---- keys ---- */

/* The key as a list index: int, truncated decimal, digit text. */
static bool key_index(Value key, int64_t *out)
{
    if (key.kind == V_INT)
        *out = key.i;
    else if (key.kind == V_DEC && fabs(key.d) < 9e15)
        *out = (int64_t)key.d;
    else
        return key.kind == V_TEXT && num_parse_int(val_text_view(key), out);
    return true;
}

/* The key as a member name. */
static bool key_text(Value key, char buf[NUM_TEXT_MAX], Text *out)
{
    if (key.kind == V_DEC && fabs(key.d) < 9e15)
        key = val_int((int64_t)key.d);
    return !val_is_null(key) && val_scalar_text(key, buf, out, NULL);
}

/* Position of an index counted from the end when negative; false when outside. */
static bool list_position(const ListObj *l, int64_t index, uint32_t *out)
{
    if (index < 0)
        index += l->len;
    if (index < 0 || index >= l->len)
        return false;
    *out = (uint32_t)index;
    return true;
}

/* The map whose members v shows: its own, or a file's metadata. */
static const MapObj *members_of(Value v)
{
    if (v.kind == V_HANDLE)
        v = v.handle->value;
    return v.kind == V_MAP ? v.map : NULL;
}

/* ---- reading ---- */

static bool splice(Heap *h, Value *into, Value v)
{
    if (v.kind != V_LIST)
        return list_push(h, into, val_ref(v));
    for (uint32_t i = 0; i < v.list->len; i++)
        if (!list_push(h, into, val_ref(list_at(v.list, i))))
            return false;
    return true;
}

/* The member of every element that has it, lists among them spliced one level. */
static Value flatten(Heap *h, const ListObj *l, Text key, xs_error *err)
{
    Value made = list_new(h, l->len < 1024 ? l->len : 1024);
    bool ok = made.kind == V_LIST;
    for (uint32_t i = 0; ok && i < l->len; i++) {
        const MapObj *m = members_of(list_at(l, i));
        const Value *found = m ? map_find(m, key) : NULL;
        ok = !found || splice(h, &made, *found);
    }
    if (ok)
        return made;
    heap_fail(h, err);
    val_unref(h, made);
    return val_unset();
}

Value val_step(Heap *h, Value v, Value key, xs_error *err)
{
    char buf[NUM_TEXT_MAX];
    Text name;
    if (v.kind == V_LIST) {
        int64_t index;
        uint32_t at;
        if (key_index(key, &index))
            return list_position(v.list, index, &at) ? val_ref(list_at(v.list, at)) : val_unset();
        return key_text(key, buf, &name) ? flatten(h, v.list, name, err) : val_unset();
    }
    const MapObj *m = members_of(v);
    const Value *found = m && key_text(key, buf, &name) ? map_find(m, name) : NULL;
    return found ? val_ref(*found) : val_unset();
}

static Value read_path(Heap *h, Value v, const Value *keys, uint32_t nkeys, xs_error *err)
{
    Value at = val_ref(v);
    for (uint32_t i = 0; i < nkeys && at.kind != V_UNSET; i++) {
        Value next = val_step(h, at, keys[i], err);
        val_unref(h, at);
        at = next;
    }
    return at;
}

/* ---- path text ---- */

typedef struct PathText {
    Heap *h;
    Text rest;
    bool begun;
    Value hold; /* backs the step's text when it had escapes */
} PathText;

typedef enum StepResult { STEP_END, STEP_NAME, STEP_INDEX, STEP_BAD } StepResult;

static StepResult bad_step(xs_error *err)
{
    bad_path(err);
    return STEP_BAD;
}

static Value unescape(Heap *h, Text quoted)
{
    Value made = text_new_raw(h, quoted.len);
    if (made.kind == V_UNSET)
        return made;
    size_t len = 0;
    for (size_t i = 0; i < quoted.len; i++) {
        if (quoted.ptr[i] == '\\' && i + 1 < quoted.len)
            i++;
        made.text->data[len++] = quoted.ptr[i];
    }
    made.text->data[len] = '\0';
    made.text->len = len;
    return made;
}

/* Text between quotes at the start of p->rest; moves behind the closing quote. */
static StepResult quoted_step(PathText *p, Text *name, xs_error *err)
{
    Text t = p->rest;
    bool escapes = false;
    size_t end = 1;
    while (end < t.len && t.ptr[end] != t.ptr[0]) {
        escapes |= t.ptr[end] == '\\';
        end += t.ptr[end] == '\\' ? 2 : 1;
    }
    if (end >= t.len)
        return bad_step(err);
    *name = text_slice(t, 1, end);
    p->rest = text_slice(t, end + 1, t.len);
    if (!escapes)
        return STEP_NAME;
    val_unref(p->h, p->hold);
    p->hold = unescape(p->h, *name);
    if (p->hold.kind == V_UNSET) {
        heap_fail(p->h, err);
        return STEP_BAD;
    }
    *name = val_text_view(p->hold);
    return STEP_NAME;
}

static void skip_blanks(PathText *p)
{
    while (p->rest.len && p->rest.ptr[0] == ' ')
        p->rest = text_slice(p->rest, 1, p->rest.len);
}

static StepResult bracket_step(PathText *p, Text *name, int64_t *index, xs_error *err)
{
    p->rest = text_slice(p->rest, 1, p->rest.len);
    skip_blanks(p);
    StepResult result;
    if (p->rest.len && (p->rest.ptr[0] == '"' || p->rest.ptr[0] == '\'')) {
        result = quoted_step(p, name, err);
        if (result == STEP_BAD)
            return result;
    } else {
        size_t end = text_find(p->rest, TEXT("]"), 0);
        Text inside = text_trim(text_slice(p->rest, 0, end), TEXT(" "));
        p->rest = text_slice(p->rest, end, p->rest.len);
        *name = inside;
        result = num_parse_int(inside, index) ? STEP_INDEX : STEP_NAME;
        if (result == STEP_NAME && end != SIZE_MAX && inside.len && !text_is_ident(inside)) {
            xs_fail(err, XS_E_UNSUPPORTED, XS_NO_POS,
                    "An expression in a path text is not supported by this engine");
            return STEP_BAD;
        }
        if (!inside.len)
            return bad_step(err);
    }
    skip_blanks(p);
    if (!p->rest.len || p->rest.ptr[0] != ']')
        return bad_step(err);
    p->rest = text_slice(p->rest, 1, p->rest.len);
    return result;
}

static StepResult next_step(PathText *p, Text *name, int64_t *index, xs_error *err)
{
    bool first = !p->begun;
    p->begun = true;
    if (!p->rest.len && !first)
        return STEP_END;
    if (p->rest.len && p->rest.ptr[0] == '[')
        return bracket_step(p, name, index, err);
    if (!first) {
        if (p->rest.ptr[0] != '.')
            return bad_step(err);
        p->rest = text_slice(p->rest, 1, p->rest.len);
    }
    size_t end = 0;
    while (end < p->rest.len && p->rest.ptr[end] != '.' && p->rest.ptr[end] != '[')
        end++;
    *name = text_slice(p->rest, 0, end);
    p->rest = text_slice(p->rest, end, p->rest.len);
    return STEP_NAME;
}

/* One step by name or index without a key object. */
static Value step_by(Heap *h, Value v, StepResult kind, Text name, int64_t index, xs_error *err)
{
    if (kind == STEP_INDEX)
        return val_step(h, v, val_int(index), err);
    const MapObj *m = members_of(v);
    if (m) {
        const Value *found = map_find(m, name);
        return found ? val_ref(*found) : val_unset();
    }
    if (v.kind != V_LIST)
        return val_unset();
    if (num_parse_int(name, &index))
        return val_step(h, v, val_int(index), err);
    return flatten(h, v.list, name, err);
}

Value val_path(Heap *h, Value v, Text path, xs_error *err)
{
    const MapObj *m = members_of(v);
    const Value *whole = m ? map_find(m, path) : NULL;
    if (whole)
        return val_ref(*whole);
    PathText p = {.h = h, .rest = path};
    Value at = val_ref(v);
    Text name = {0};
    int64_t index = 0;
    for (bool first = true; at.kind != V_UNSET; first = false) {
        StepResult kind = next_step(&p, &name, &index, err);
        if (kind == STEP_END)
            break;
        Value next = val_unset();
        bool missing = first && kind == STEP_NAME && at.kind == V_LIST && !at.list->len;
        if (kind != STEP_BAD && !missing)
            next = step_by(h, at, kind, name, index, err);
        val_unref(h, at);
        at = next;
    }
    val_unref(h, p.hold);
    return at;
}

Value val_split_path(Heap *h, Text path, xs_error *err)
{
    PathText p = {.h = h, .rest = path};
    Value keys = list_new(h, 4);
    Text name = {0};
    int64_t index = 0;
    StepResult kind = STEP_BAD;
    if (keys.kind == V_UNSET)
        heap_fail(h, err);
    while (keys.kind == V_LIST && (kind = next_step(&p, &name, &index, err)) < STEP_BAD &&
           kind != STEP_END) {
        Value key = kind == STEP_INDEX ? val_int(index) : text_new(h, name);
        bool short_enough = keys.list->len < PATH_MAX_STEPS;
        if (!list_push(h, &keys, key) || !short_enough) {
            kind = STEP_BAD;
            if (short_enough)
                heap_fail(h, err);
            else
                bad_path(err);
            break;
        }
    }
    val_unref(h, p.hold);
    if (kind == STEP_END)
        return keys;
    val_unref(h, keys);
    return val_unset();
}

/* ---- setting ---- */

static bool out_of_memory(Heap *h, xs_error *err)
{
    return heap_fail(h, err);
}

/* A list that gets a key it cannot hold becomes an object with digit keys. */
static bool list_to_map(Heap *h, Value *v, xs_error *err)
{
    Value map = map_new(h, v->list->len + 1);
    if (map.kind == V_UNSET)
        return out_of_memory(h, err);
    char buf[NUM_TEXT_MAX];
    for (uint32_t i = 0; i < v->list->len; i++) {
        Text key = {buf, num_write_int(i, buf)};
        if (!map_set_text(h, &map, key, val_ref(list_at(v->list, i)))) {
            val_unref(h, map);
            return out_of_memory(h, err);
        }
    }
    val_unref(h, *v);
    *v = map;
    return true;
}

/* Slot of the key in the list *v, appended when it is the next one; NULL without an error: *v
 * became a map. */
static Value *list_slot(Heap *h, Value *v, int64_t index, bool *ok, xs_error *err)
{
    uint32_t len = v->list->len;
    if (index < 0)
        index += len;
    *ok = index >= 0 || bad_path(err);
    if (!*ok)
        return NULL;
    if (index > len) {
        *ok = list_to_map(h, v, err);
        return NULL;
    }
    if (index == len)
        *ok = list_push(h, v, val_null()) || out_of_memory(h, err);
    else
        *ok = val_make_unique(h, v) || out_of_memory(h, err);
    return *ok ? &v->list->items[v->list->start + (uint32_t)index] : NULL;
}

static Value *member_slot(Heap *h, Value *v, Value key, xs_error *err)
{
    char buf[NUM_TEXT_MAX];
    Text name;
    if (!key_text(key, buf, &name)) {
        bad_path(err);
        return NULL;
    }
    if (!val_make_unique(h, v)) {
        heap_fail(h, err);
        return NULL;
    }
    Value *slot = map_slot(v->map, name);
    if (slot)
        return slot;
    Value name_value = key.kind == V_TEXT ? val_ref(key) : text_new(h, name);
    if (!map_set(h, v, name_value, val_null())) {
        heap_fail(h, err);
        return NULL;
    }
    return map_slot(v->map, name);
}

/* What stands where a container is needed becomes one. */
static bool become_container(Heap *h, Value *v, Value key, bool replace, xs_error *err)
{
    int64_t index;
    bool is_index = key_index(key, &index);
    bool empty_list = v->kind == V_LIST && !v->list->len && !is_index;
    if (!empty_list && (v->kind == V_LIST || v->kind == V_MAP))
        return true;
    if (!empty_list && !val_is_null(*v) && !replace)
        return xs_fail(err, XS_E_NOT_OBJECT, XS_NO_POS, "%s", xs_code_get(XS_E_NOT_OBJECT)->text);
    bool first_index = key.kind != V_TEXT && is_index && index == 0;
    Value made = first_index ? list_new(h, 4) : map_new(h, 4);
    if (made.kind == V_UNSET)
        return out_of_memory(h, err);
    val_unref(h, *v);
    *v = made;
    return true;
}

typedef struct Setter {
    Heap *h;
    Value value;    /* borrowed */
    bool replace;   /* a scalar in the way becomes a container */
    uint32_t lists; /* lists mapped over on the way here: bounds the recursion */
    xs_error *err;
} Setter;

static bool too_deep(xs_error *err)
{
    return xs_fail(err, XS_E_LIMIT, XS_NO_POS, "The lists are nested too deep.");
}

static bool set_at(Setter *s, Value *at, const Value *keys, uint32_t nkeys);

static bool set_in_elements(Setter *s, Value *list, const Value *keys, uint32_t nkeys)
{
    if (s->lists == PATH_MAX_STEPS)
        return too_deep(s->err);
    if (!val_make_unique(s->h, list))
        return out_of_memory(s->h, s->err);
    s->lists++;
    for (uint32_t i = 0; i < list->list->len; i++)
        if (!set_at(s, &list->list->items[list->list->start + i], keys, nkeys))
            return false;
    s->lists--;
    return true;
}

static bool set_at(Setter *s, Value *at, const Value *keys, uint32_t nkeys)
{
    Heap *h = s->h;
    for (uint32_t i = 0; i < nkeys; i++) {
        if (!become_container(h, at, keys[i], s->replace, s->err))
            return false;
        if (at->kind == V_LIST) {
            int64_t index;
            if (!key_index(keys[i], &index))
                return set_in_elements(s, at, keys + i, nkeys - i);
            bool ok;
            Value *slot = list_slot(h, at, index, &ok, s->err);
            if (!ok)
                return false;
            if (slot) {
                at = slot;
                continue;
            }
        }
        at = member_slot(h, at, keys[i], s->err);
        if (!at)
            return false;
    }
    Value old = *at;
    *at = val_ref(val_or_null(s->value));
    val_unref(h, old);
    return true;
}

static bool set_path(Heap *h, Value *root, const Value *keys, uint32_t nkeys, Value value,
                     bool replace, xs_error *err)
{
    Setter s = {.h = h, .value = value, .replace = replace, .err = err};
    if (root->kind == V_UNSET)
        *root = val_null();
    bool ok = nkeys > PATH_MAX_STEPS ? bad_path(err) : set_at(&s, root, keys, nkeys);
    val_unref(h, value);
    return ok;
}

bool val_set_path(Heap *h, Value *root, const Value *keys, uint32_t nkeys, Value value,
                  xs_error *err)
{
    return set_path(h, root, keys, nkeys, value, false, err);
}

bool val_set_path_over(Heap *h, Value *root, const Value *keys, uint32_t nkeys, Value value,
                       xs_error *err)
{
    return set_path(h, root, keys, nkeys, value, true, err);
}

/* ---- taking and deleting ---- */

/* Borrowed element for one step without flattening; NULL when missing. *maps = the step maps over a
 * list. */
static const Value *peek(const Value *at, Value key, bool *maps)
{
    char buf[NUM_TEXT_MAX];
    Text name;
    *maps = false;
    if (at->kind == V_LIST) {
        int64_t index;
        uint32_t pos;
        *maps = !key_index(key, &index);
        return !*maps && list_position(at->list, index, &pos)
                   ? &at->list->items[at->list->start + pos]
                   : NULL;
    }
    return at->kind == V_MAP && key_text(key, buf, &name) ? map_find(at->map, name) : NULL;
}

/* The slot peek saw, in an unshared container. NULL: memory. */
static Value *own_slot(Heap *h, Value *at, Value key)
{
    bool maps;
    const Value *slot = val_make_unique(h, at) ? peek(at, key, &maps) : NULL;
    return slot ? (Value *)(uintptr_t)slot : NULL;
}

Value val_take_path(Heap *h, Value *root, const Value *keys, uint32_t nkeys, xs_error *err)
{
    const Value *seen = root;
    for (uint32_t i = 0; i < nkeys; i++) {
        bool maps;
        seen = peek(seen, keys[i], &maps);
        if (maps) { /* a mapped result is a fresh list: nothing to move out */
            xs_error inner = {0};
            Value made = read_path(h, *root, keys, nkeys, &inner);
            if (inner.code == XS_OK)
                return val_or_null(made);
            if (err)
                *err = inner;
            return val_unset();
        }
        if (!seen)
            return val_null();
    }
    Value *at = root;
    for (uint32_t i = 0; i < nkeys; i++) {
        at = own_slot(h, at, keys[i]);
        if (!at) {
            out_of_memory(h, err);
            return val_unset();
        }
    }
    Value taken = *at;
    *at = val_null();
    return val_or_null(taken);
}

static bool delete_last(Heap *h, Value *at, Value key, xs_error *err)
{
    char buf[NUM_TEXT_MAX];
    Text name;
    if (at->kind == V_LIST) {
        int64_t index;
        uint32_t pos;
        if (!key_index(key, &index) || !list_position(at->list, index, &pos))
            return true;
        return list_remove(h, at, pos) || out_of_memory(h, err);
    }
    if (!key_text(key, buf, &name) || !map_find(at->map, name))
        return true;
    return map_remove(h, at, name) || out_of_memory(h, err);
}

/* lists: mapped over on the way here. */
static bool delete_at(Heap *h, Value *root, const Value *keys, uint32_t nkeys, uint32_t lists,
                      xs_error *err)
{
    if (lists > PATH_MAX_STEPS)
        return too_deep(err);
    Value *at = root;
    for (uint32_t i = 0; i < nkeys; i++) {
        bool maps;
        const Value *seen = peek(at, keys[i], &maps);
        if (maps) {
            if (!val_make_unique(h, at))
                return out_of_memory(h, err);
            for (uint32_t j = 0; j < at->list->len; j++)
                if (!delete_at(h, &at->list->items[at->list->start + j], keys + i, nkeys - i,
                               lists + 1, err))
                    return false;
            return true;
        }
        if (!seen)
            return true;
        if (i + 1 == nkeys)
            return delete_last(h, at, keys[i], err);
        at = own_slot(h, at, keys[i]);
        if (!at)
            return out_of_memory(h, err);
    }
    return true;
}

bool val_delete_path(Heap *h, Value *root, const Value *keys, uint32_t nkeys, xs_error *err)
{
    return nkeys > PATH_MAX_STEPS ? bad_path(err) : delete_at(h, root, keys, nkeys, 0, err);
}
