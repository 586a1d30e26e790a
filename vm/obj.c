/* obj.c - text, list, map and handle objects: making, changing in place when unshared, tearing
 * down. Teardown is iterative, since programs can nest lists deeper than a C stack. Specification:
 * filters.md §1. */
#include "vm/obj.h"

#include "core/text.h"

enum { LIST_MAX = 1 << 28, MAP_MAX = 1 << 27 }; /* elements; far above any heap cap */
enum { PROBE_LIMIT = 48 }; /* a longer search makes the index larger, with a new seed */

/* ---- teardown ---- */

typedef enum DeadKind { DEAD_LIST, DEAD_MAP, DEAD_HANDLE, DEAD_MASK = 3 } DeadKind;

static size_t text_size(size_t cap)
{
    return sizeof(TextObj) + cap + 1;
}

static void text_free(Heap *h, TextObj *t)
{
    heap_release(h, t, text_size(t->cap));
}

static inline void key_unref(Heap *h, TextObj *key)
{
    val_unref(h, val_obj(V_TEXT, key));
}

typedef struct HandleBlock {
    HandleLink link;
    HandleObj handle;
} HandleBlock;

static HandleBlock *block_of(HandleObj *handle)
{
    return (HandleBlock *)((char *)handle - offsetof(HandleBlock, handle));
}

static void handle_end(Heap *h, HandleObj *handle)
{
    HandleLink *link = &block_of(handle)->link;
    HeapShared *shared = heap_shared(h);
    if (link->prev)
        link->prev->next = link->next;
    else if (shared->handles == link)
        shared->handles = link->next;
    if (link->next)
        link->next->prev = link->prev;
    link->prev = link->next = NULL;
    void (*free_fn)(Heap *, HandleObj *) = handle->free;
    handle->free = NULL;
    if (free_fn)
        free_fn(h, handle);
}

void obj_free_handles(Heap *h)
{
    HeapShared *shared = heap_shared(h);
    while (shared->handles)
        handle_end(h, &((HandleBlock *)shared->handles)->handle);
}

static void list_free(Heap *h, ListObj *l)
{
    for (uint32_t i = 0; i < l->len; i++)
        val_unref(h, l->items[l->start + i]);
    heap_release(h, l->items, (size_t)l->cap * sizeof(Value));
    heap_release(h, l, sizeof *l);
}

static void map_free(Heap *h, MapObj *m)
{
    for (uint32_t i = 0; i < m->used; i++) {
        if (!m->entries[i].key)
            continue;
        key_unref(h, m->entries[i].key);
        val_unref(h, m->entries[i].value);
    }
    heap_release(h, m->entries, (size_t)m->cap * sizeof(MapEntry));
    heap_release(h, m->index, (size_t)m->index_cap * sizeof(uint32_t));
    heap_release(h, m, sizeof *m);
}

static void handle_free(Heap *h, HandleObj *handle)
{
    handle_end(h, handle);
    val_unref(h, handle->value);
    heap_release(h, block_of(handle), sizeof(HandleBlock));
}

/* A dead object's head is no longer needed: it carries the link to the next one, with the kind of
 * that one in the low bits. */
void val_free_slow(Heap *h, Value v)
{
    if (v.kind == V_TEXT) {
        text_free(h, v.text);
        return;
    }
    static_assert(sizeof(Obj) >= sizeof(uintptr_t), "the link fits the head");
    HeapShared *shared = heap_shared(h);
    DeadKind kind = v.kind == V_LIST ? DEAD_LIST : v.kind == V_MAP ? DEAD_MAP : DEAD_HANDLE;
    memcpy((void *)v.obj, &shared->dead, sizeof shared->dead);
    shared->dead = (uintptr_t)v.obj | kind;
    if (shared->sweeping)
        return;
    shared->sweeping = true;
    while (shared->dead) {
        DeadKind which = (DeadKind)(shared->dead & DEAD_MASK);
        void *obj = (void *)(shared->dead & ~(uintptr_t)DEAD_MASK);
        memcpy(&shared->dead, obj, sizeof shared->dead);
        if (which == DEAD_LIST)
            list_free(h, obj);
        else if (which == DEAD_MAP)
            map_free(h, obj);
        else
            handle_free(h, obj);
    }
    shared->sweeping = false;
}

static void note_copy(Heap *h, size_t bytes)
{
    heap_shared(h)->copied += bytes;
}

/* ---- text ---- */

Value text_new_raw(Heap *h, size_t len)
{
    if (len > SIZE_MAX / 4)
        len = SIZE_MAX / 4; /* past any cap: fails below */
    size_t size = heap_good_size(text_size(len));
    TextObj *t = heap_alloc(h, size);
    if (!t)
        return val_unset();
    t->head = (Obj){.refs = 1};
    t->hash = 0;
    t->len = len;
    t->cap = size - sizeof(TextObj) - 1;
    t->data[len] = '\0';
    return val_obj(V_TEXT, t);
}

Value text_new(Heap *h, Text text)
{
    Value v = text_new_raw(h, text.len);
    if (v.kind == V_TEXT && text.len)
        memcpy(v.text->data, text.ptr, text.len);
    note_copy(h, text.len);
    return v;
}

static bool text_grow(Heap *h, Value *v, size_t need)
{
    TextObj *t = v->text;
    size_t cap = t->cap < SIZE_MAX / 4 ? t->cap + t->cap / 2 + 16 : t->cap;
    if (cap < need)
        cap = need;
    size_t size = heap_good_size(text_size(cap));
    TextObj *bigger = heap_realloc(h, t, text_size(t->cap), size);
    if (!bigger)
        return false;
    bigger->cap = size - sizeof(TextObj) - 1;
    v->text = bigger;
    return true;
}

/* Append to a shared or constant text: a new one with room for the next append. */
static bool text_append_copy(Heap *h, Value *v, Text more)
{
    size_t len = v->text->len;
    Value made = text_new_raw(h, len + more.len + (len + more.len) / 2);
    if (made.kind != V_TEXT)
        return false;
    memcpy(made.text->data, v->text->data, len);
    note_copy(h, len + more.len);
    if (more.len)
        memcpy(made.text->data + len, more.ptr, more.len);
    made.text->len = len + more.len;
    made.text->data[made.text->len] = '\0';
    val_unref(h, *v);
    *v = made;
    return true;
}

bool text_append(Heap *h, Value *v, Text more)
{
    if (!more.len)
        return true;
    if (!val_unique(*v))
        return text_append_copy(h, v, more);
    TextObj *t = v->text;
    if (more.len > t->cap - t->len) {
        bool inside = more.ptr >= t->data && more.ptr < t->data + t->len;
        size_t offset = inside ? (size_t)(more.ptr - t->data) : 0;
        if (more.len > SIZE_MAX / 4 || !text_grow(h, v, t->len + more.len))
            return false;
        t = v->text;
        if (inside)
            more.ptr = t->data + offset;
    }
    memcpy(t->data + t->len, more.ptr, more.len);
    t->len += more.len;
    t->data[t->len] = '\0';
    t->hash = 0;
    return true;
}

/* ---- lists ---- */

Value list_new(Heap *h, uint32_t cap)
{
    ListObj *l = cap <= LIST_MAX ? heap_alloc(h, sizeof *l) : NULL;
    if (!l)
        return val_unset();
    *l = (ListObj){.head = {.refs = 1}};
    if (cap) {
        size_t size = heap_good_size((size_t)cap * sizeof(Value));
        l->items = heap_alloc(h, size);
        if (!l->items) {
            heap_release(h, l, sizeof *l);
            return val_unset();
        }
        l->cap = (uint32_t)(size / sizeof(Value));
    }
    return val_obj(V_LIST, l);
}

static Value list_slice(Heap *h, const ListObj *l, uint32_t from, uint32_t count, uint32_t cap)
{
    Value made = list_new(h, cap);
    if (made.kind != V_LIST)
        return made;
    for (uint32_t i = 0; i < count; i++)
        made.list->items[i] = val_ref(list_at(l, from + i));
    made.list->len = count;
    note_copy(h, count * sizeof(Value));
    return made;
}

static bool list_unshare(Heap *h, Value *v, uint32_t room)
{
    if (val_unique(*v))
        return true;
    uint32_t len = v->list->len;
    Value copy = list_slice(h, v->list, 0, len, len + room);
    if (copy.kind != V_LIST)
        return false;
    val_unref(h, *v);
    *v = copy;
    return true;
}

/* Room for `more` elements behind the last one; *l is unique. */
static bool list_room(Heap *h, ListObj *l, uint32_t more)
{
    if (more <= l->cap - l->start - l->len)
        return true;
    if (more > LIST_MAX - l->len)
        return false;
    if (l->start && l->start >= l->len && more <= l->cap - l->len) { /* shifted mostly empty */
        memmove(l->items, l->items + l->start, l->len * sizeof(Value));
        note_copy(h, l->len * sizeof(Value));
        l->start = 0;
        return true;
    }
    size_t cap = (size_t)l->cap + l->cap / 2;
    if (cap < (size_t)l->start + l->len + more)
        cap = (size_t)l->start + l->len + more;
    size_t size = heap_good_size((cap < 4 ? 4 : cap) * sizeof(Value));
    Value *items = heap_realloc(h, l->items, (size_t)l->cap * sizeof(Value), size);
    if (!items)
        return false;
    l->items = items;
    l->cap = (uint32_t)(size / sizeof(Value));
    return true;
}

static bool dropped(Heap *h, Value item)
{
    val_unref(h, item);
    return false;
}

bool list_reserve(Heap *h, Value *v, uint32_t cap)
{
    uint32_t len = v->list->len;
    uint32_t more = cap > len ? cap - len : 0;
    if (more > LIST_MAX - len)
        return false;
    return list_unshare(h, v, more) && list_room(h, v->list, more);
}

bool list_push(Heap *h, Value *v, Value item)
{
    if (UNLIKELY(item.kind == V_UNSET))
        return false;
    if (UNLIKELY(!list_unshare(h, v, v->list->len / 2 + 1) || !list_room(h, v->list, 1)))
        return dropped(h, item);
    ListObj *l = v->list;
    l->items[l->start + l->len++] = item;
    return true;
}

bool list_unshift(Heap *h, Value *v, Value item)
{
    if (item.kind == V_UNSET)
        return false;
    if (!list_unshare(h, v, 4))
        return dropped(h, item);
    ListObj *l = v->list;
    if (!l->start) {
        uint32_t gap = l->len / 2 + 4; /* paid once for many */
        if (!list_room(h, l, gap))
            return dropped(h, item);
        memmove(l->items + gap, l->items, l->len * sizeof(Value));
        note_copy(h, l->len * sizeof(Value));
        l->start = gap;
    }
    l->items[--l->start] = item;
    l->len++;
    return true;
}

bool list_set(Heap *h, Value *v, uint32_t index, Value item)
{
    if (index >= v->list->len)
        return NEVER(index > v->list->len) ? dropped(h, item) : list_push(h, v, item);
    if (item.kind == V_UNSET)
        return false;
    if (!list_unshare(h, v, 0))
        return dropped(h, item);
    Value *slot = &v->list->items[v->list->start + index];
    Value old = *slot;
    *slot = item;
    val_unref(h, old);
    return true;
}

bool list_remove(Heap *h, Value *v, uint32_t index)
{
    if (index >= v->list->len)
        return true;
    if (!list_unshare(h, v, 0))
        return false;
    ListObj *l = v->list;
    Value *items = l->items + l->start;
    Value old = items[index];
    l->len--;
    if (index == 0)
        l->start++;
    else
        memmove(items + index, items + index + 1, (l->len - index) * sizeof(Value));
    note_copy(h, index ? (l->len - index) * sizeof(Value) : 0);
    val_unref(h, old);
    return true;
}

Value list_pop(Heap *h, Value *v)
{
    if (!v->list->len)
        return val_null();
    if (!list_unshare(h, v, 0))
        return val_unset();
    ListObj *l = v->list;
    return l->items[l->start + --l->len];
}

Value list_shift(Heap *h, Value *v)
{
    if (!v->list->len)
        return val_null();
    if (!list_unshare(h, v, 0))
        return val_unset();
    ListObj *l = v->list;
    l->len--;
    return l->items[l->start++];
}

bool list_cut(Heap *h, Value *v, uint32_t from, uint32_t count)
{
    uint32_t len = v->list->len;
    if (from > len)
        from = len;
    if (count > len - from)
        count = len - from;
    if (count == len)
        return true;
    if (!val_unique(*v)) {
        Value made = list_slice(h, v->list, from, count, count);
        if (made.kind != V_LIST)
            return false;
        val_unref(h, *v);
        *v = made;
        return true;
    }
    ListObj *l = v->list;
    Value *items = l->items + l->start;
    l->len = 0; /* nothing is reachable twice while elements die */
    for (uint32_t i = 0; i < from; i++)
        val_unref(h, items[i]);
    for (uint32_t i = from + count; i < len; i++)
        val_unref(h, items[i]);
    l->start += from;
    l->len = count;
    return true;
}

/* ---- maps ---- */

uint64_t key_hash(Text key)
{
    return text_hash_keyed(key);
}

/* Hash of a key object, remembered unless the object is a shared constant. */
static uint64_t obj_hash(TextObj *t)
{
    if (t->hash)
        return t->hash;
    uint64_t hash = key_hash((Text){t->data, t->len});
    if (t->head.refs < REFS_IMMORTAL)
        t->hash = hash;
    return hash;
}

static uint32_t first_slot(const MapObj *m, uint64_t hash)
{
    uint64_t mixed = (hash ^ m->seed) * 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ (mixed >> 32) ^ ((uint64_t)m->seed << 17)) * 0xD6E8FEB86659FD93u;
    return (uint32_t)(mixed >> 32) & (m->index_cap - 1);
}

static bool key_eq(const TextObj *t, Text key)
{
    return t->len == key.len && (t->data == key.ptr || memcmp(t->data, key.ptr, key.len) == 0);
}

int64_t map_index_of(const MapObj *m, Text key, uint64_t hash)
{
    if (!m->index) {
        for (uint32_t i = 0; i < m->used; i++)
            if (m->entries[i].key && key_eq(m->entries[i].key, key))
                return i;
        return MAP_NOT_FOUND;
    }
    if (!hash)
        hash = key_hash(key);
    for (uint32_t slot = first_slot(m, hash); m->index[slot];
         slot = (slot + 1) & (m->index_cap - 1)) {
        uint32_t i = m->index[slot] - 1;
        const TextObj *k = m->entries[i].key;
        if (k && (!k->hash || k->hash == hash) && key_eq(k, key))
            return i;
    }
    return MAP_NOT_FOUND;
}

/* Enter entry i; returns the number of slots looked at. */
static uint32_t index_put(MapObj *m, uint32_t i)
{
    uint32_t slot = first_slot(m, obj_hash(m->entries[i].key)), looked = 1;
    for (; m->index[slot]; looked++)
        slot = (slot + 1) & (m->index_cap - 1);
    m->index[slot] = i + 1;
    return looked;
}

void map_fill_index(MapObj *m)
{
    for (uint32_t i = 0; i < m->used; i++)
        if (m->entries[i].key)
            index_put(m, i);
}

static bool index_build(Heap *h, MapObj *m, uint32_t cap)
{
    uint32_t *index = heap_alloc(h, (size_t)cap * sizeof *index);
    if (!index)
        return false;
    memset(index, 0, (size_t)cap * sizeof *index);
    heap_release(h, m->index, (size_t)m->index_cap * sizeof *index);
    m->index = index;
    m->index_cap = cap;
    m->seed = m->seed * 0x9E3779B1u + heap_shared(h)->seed;
    note_copy(h, m->used * sizeof *index);
    map_fill_index(m);
    return true;
}

static uint32_t index_size(uint32_t entries)
{
    uint32_t cap = 32;
    while (cap < entries * 2)
        cap *= 2;
    return cap;
}

Value map_new(Heap *h, uint32_t cap)
{
    MapObj *m = cap <= MAP_MAX ? heap_alloc(h, sizeof *m) : NULL;
    if (!m)
        return val_unset();
    *m = (MapObj){.head = {.refs = 1}};
    if (cap) {
        size_t size = heap_good_size((size_t)cap * sizeof(MapEntry));
        m->entries = heap_alloc(h, size);
        if (!m->entries) {
            heap_release(h, m, sizeof *m);
            return val_unset();
        }
        m->cap = (uint32_t)(size / sizeof(MapEntry));
    }
    return val_obj(V_MAP, m);
}

static Value map_copy(Heap *h, const MapObj *m, uint32_t room)
{
    Value made = map_new(h, m->count + room);
    if (made.kind != V_MAP)
        return made;
    MapObj *copy = made.map;
    for (uint32_t i = 0; i < m->used; i++) {
        if (!m->entries[i].key)
            continue;
        val_ref(val_obj(V_TEXT, m->entries[i].key));
        copy->entries[copy->used++] = (MapEntry){m->entries[i].key, val_ref(m->entries[i].value)};
    }
    copy->count = copy->used;
    note_copy(h, m->used * sizeof(MapEntry));
    if (copy->used > MAP_LINEAR_MAX && !index_build(h, copy, index_size(copy->used + room))) {
        val_unref(h, made);
        return val_unset();
    }
    return made;
}

static bool map_unshare(Heap *h, Value *v, uint32_t room)
{
    if (val_unique(*v))
        return true;
    Value copy = map_copy(h, v->map, room);
    if (copy.kind != V_MAP)
        return false;
    val_unref(h, *v);
    *v = copy;
    return true;
}

/* Close the holes that removed entries left. */
static void map_compact(Heap *h, MapObj *m)
{
    note_copy(h, m->used * sizeof(MapEntry));
    uint32_t to = 0;
    for (uint32_t i = 0; i < m->used; i++)
        if (m->entries[i].key)
            m->entries[to++] = m->entries[i];
    m->used = to;
    if (!m->index)
        return;
    memset(m->index, 0, (size_t)m->index_cap * sizeof *m->index);
    map_fill_index(m);
}

static bool map_room(Heap *h, MapObj *m)
{
    if (m->used < m->cap)
        return true;
    if (m->used - m->count > m->used / 4) {
        map_compact(h, m);
        return true;
    }
    if (m->cap >= MAP_MAX)
        return false;
    uint32_t cap = m->cap < 4 ? 4 : m->cap + m->cap / 2 + 1;
    MapEntry *entries = heap_realloc(h, m->entries, (size_t)m->cap * sizeof(MapEntry),
                                     (size_t)cap * sizeof(MapEntry));
    if (!entries)
        return false;
    m->entries = entries;
    m->cap = cap;
    return true;
}

static bool map_add(Heap *h, MapObj *m, TextObj *key, Value value)
{
    if (!map_room(h, m))
        return false;
    m->entries[m->used] = (MapEntry){key, value};
    uint32_t i = m->used++;
    m->count++;
    if (!m->index)
        return m->used <= MAP_LINEAR_MAX || index_build(h, m, index_size(m->used)) ||
               (m->used--, m->count--, false);
    if (m->used > m->index_cap / 2)
        return index_build(h, m, m->index_cap * 2) || (m->used--, m->count--, false);
    /* A bad distribution is answered with a larger table up to a point; keys made to collide in all
     * bits of the hash then cost a linear search each. */
    if (index_put(m, i) > PROBE_LIMIT && m->index_cap < m->used * 16 && m->index_cap < MAP_MAX)
        return index_build(h, m, m->index_cap * 2) || true;
    return true;
}

static bool map_put_obj(Heap *h, Value *v, TextObj *key, Value value)
{
    if (UNLIKELY(value.kind == V_UNSET) || !map_unshare(h, v, v->map->count / 2 + 1))
        return false;
    MapObj *m = v->map;
    uint64_t hash = m->index ? obj_hash(key) : 0;
    int64_t i = map_index_of(m, (Text){key->data, key->len}, hash);
    if (i == MAP_NOT_FOUND)
        return map_add(h, m, key, value);
    Value old = m->entries[i].value;
    m->entries[i].value = value;
    key_unref(h, key);
    val_unref(h, old);
    return true;
}

bool map_set(Heap *h, Value *v, Value key, Value value)
{
    if (key.kind == V_TEXT && map_put_obj(h, v, key.text, value))
        return true;
    val_unref(h, key);
    return dropped(h, value);
}

bool map_set_text(Heap *h, Value *v, Text key, Value value)
{
    if (value.kind != V_UNSET && v->map->count &&
        val_unique(*v)) { /* replacing needs no key object */
        Value *slot = map_slot(v->map, key);
        if (slot) {
            Value old = *slot;
            *slot = value;
            val_unref(h, old);
            return true;
        }
    }
    return map_set(h, v, text_new(h, key), value);
}

bool map_remove(Heap *h, Value *v, Text key)
{
    int64_t i = map_index_of(v->map, key, 0);
    if (i == MAP_NOT_FOUND)
        return false;
    if (!val_unique(*v)) {
        if (!map_unshare(h, v, 0))
            return false;
        i = map_index_of(v->map, key, 0);
    }
    MapObj *m = v->map;
    MapEntry old = m->entries[i];
    m->entries[i] = (MapEntry){0};
    m->count--;
    if (m->count == 0) { /* start over: no holes, small again */
        m->used = 0;
        if (m->index)
            memset(m->index, 0, (size_t)m->index_cap * sizeof *m->index);
    }
    key_unref(h, old.key);
    val_unref(h, old.value);
    return true;
}

Value *map_slot(MapObj *m, Text key)
{
    int64_t i = map_index_of(m, key, 0);
    return i == MAP_NOT_FOUND ? NULL : &m->entries[i].value;
}

const Value *map_find(const MapObj *m, Text key)
{
    int64_t i = map_index_of(m, key, 0);
    return i == MAP_NOT_FOUND ? NULL : &m->entries[i].value;
}

const MapEntry *map_walk(const MapObj *m, uint32_t *at)
{
    while (*at < m->used) {
        const MapEntry *e = &m->entries[(*at)++];
        if (e->key)
            return e;
    }
    return NULL;
}

Value map_get_cstr(Value map, const char *key)
{
    const Value *found = map.kind == V_MAP ? map_find(map.map, text_from(key)) : NULL;
    return found ? *found : val_null();
}

/* ---- the rest ---- */

bool val_make_unique(Heap *h, Value *v)
{
    if (v->kind < V_TEXT || v->kind == V_HANDLE || val_unique(*v))
        return true;
    if (v->kind == V_LIST)
        return list_unshare(h, v, 0);
    if (v->kind == V_MAP)
        return map_unshare(h, v, 0);
    Value copy = text_new(h, val_text_view(*v));
    if (copy.kind != V_TEXT)
        return false;
    val_unref(h, *v);
    *v = copy;
    return true;
}

Value handle_new(Heap *h, const char *type, void *ptr, void (*free_fn)(Heap *, HandleObj *))
{
    HandleBlock *b = heap_alloc(h, sizeof *b);
    if (!b)
        return val_unset();
    HeapShared *shared = heap_shared(h);
    *b = (HandleBlock){
        .link = {NULL, shared->handles},
        .handle =
            {.head = {.refs = 1}, .type = type, .free = free_fn, .ptr = ptr, .value = val_null()},
    };
    if (shared->handles)
        shared->handles->prev = &b->link;
    shared->handles = &b->link;
    return val_obj(V_HANDLE, &b->handle);
}

static const ListObj empty_list = {.head = {.refs = REFS_IMMORTAL}};
static const MapObj empty_map = {.head = {.refs = REFS_IMMORTAL}};

Value list_empty(void)
{
    return val_obj(V_LIST, (void *)(uintptr_t)&empty_list);
}

Value map_empty(void)
{
    return val_obj(V_MAP, (void *)(uintptr_t)&empty_map);
}
