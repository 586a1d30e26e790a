/* value.h - 16-byte tagged values of one request heap. Value semantics by reference count and copy
 * on write. Thread: the fiber's. Specification: filters.md §1. */
#ifndef VM_VALUE_H
#define VM_VALUE_H

#include "core/base.h"

typedef enum Kind {
    V_UNSET, /* no value: absent argument, unbound variable; never inside a list or map */
    V_NULL,
    V_BOOL,
    V_INT,
    V_DEC,
    V_TEXT, /* from here on counted */
    V_LIST,
    V_MAP,
    V_HANDLE /* iterator, caught error, stream, file: opaque, compared by identity */
} Kind;

typedef struct Obj {
    uint32_t refs; /* REFS_IMMORTAL: constant of the bundle, never counted or freed */
    uint32_t flags;
} Obj;
enum { REFS_IMMORTAL = 0x80000000u };

typedef struct TextObj TextObj;
typedef struct ListObj ListObj;
typedef struct MapObj MapObj;
typedef struct HandleObj HandleObj;

typedef struct Value {
    Kind kind;
    union {
        bool b;
        int64_t i;
        double d;
        Obj *obj;
        TextObj *text;
        ListObj *list;
        MapObj *map;
        HandleObj *handle;
    };
} Value;

struct TextObj {
    Obj head;
    uint64_t hash; /* 0 = not computed */
    size_t len, cap;
    char data[]; /* NUL behind len for C libraries; the text may contain NULs */
};

struct ListObj {
    Obj head;
    uint32_t len, cap;
    uint32_t start; /* items[start..start+len): shift is O(1) */
    Value *items;
};

typedef struct MapEntry {
    TextObj *key; /* NULL = removed */
    Value value;
} MapEntry;

struct MapObj {
    Obj head;
    uint32_t count;     /* live entries */
    uint32_t used, cap; /* entries[0..used), insertion order, with holes */
    MapEntry *entries;
    uint32_t *index; /* hash index over entries, NULL while small (≤ 8) */
    uint32_t index_cap;
    uint32_t seed; /* of the index: slots cannot be guessed from the keys alone */
};

typedef struct Heap Heap;

struct HandleObj {
    Obj head;
    const char *type;                       /* static name: "iterator", "error", "file" */
    void (*free)(Heap *h, HandleObj *self); /* called at count 0; may be NULL */
    void *ptr;
    int64_t n;
    Value value;
};

static inline Value val_null(void)
{
    return (Value){.kind = V_NULL};
}
static inline Value val_unset(void)
{
    return (Value){.kind = V_UNSET};
}
static inline Value val_bool(bool b)
{
    Value v = {.kind = V_BOOL, .i = 0}; /* whole payload, so that copies need not wait for a byte */
    v.b = b;
    return v;
}
static inline Value val_int(int64_t i)
{
    return (Value){.kind = V_INT, .i = i};
}
static inline Value val_dec(double d)
{
    return (Value){.kind = V_DEC, .d = d};
}
static inline Value val_obj(Kind kind, void *obj)
{
    Value v = {.kind = kind};
    v.obj = (Obj *)obj;
    return v;
}
static inline bool val_is_null(Value v) /* null or unset */
{
    return v.kind <= V_NULL;
}
static inline Text val_text_view(Value v) /* of V_TEXT; until the value is released or changed */
{
    return (Text){v.text->data, v.text->len};
}
static inline uint32_t val_count(Value v) /* of V_LIST or V_MAP */
{
    return v.kind == V_LIST ? v.list->len : v.map->count;
}
/* A copy of a slot. Both halves one by one, as instructions write them: a wide read behind two
 * narrow writes makes the processor wait. */
static inline Value val_load(const Value *slot)
{
    Value v = {.kind = slot->kind};
    v.i = slot->i;
    return v;
}
static inline Value list_at(const ListObj *l, uint32_t i) /* borrowed; i < len */
{
    return val_load(&l->items[l->start + i]);
}

void val_free_slow(Heap *h, Value v); /* count reached zero */

static inline Value val_ref(Value v) /* one more owner */
{
    if (v.kind >= V_TEXT && v.obj->refs < REFS_IMMORTAL)
        v.obj->refs++;
    return v;
}
static inline void val_unref(Heap *h, Value v)
{
    if (v.kind >= V_TEXT && v.obj->refs < REFS_IMMORTAL && --v.obj->refs == 0)
        val_free_slow(h, v);
}
static inline bool val_unique(Value v)
{
    return v.obj->refs == 1;
}

/* ---- making: a fresh value with one owner; V_UNSET with the heap's memory error set when it is
 * out ---- */
Value text_new(Heap *h, Text t);
Value text_new_raw(Heap *h, size_t len); /* uninitialised data to be filled by the caller */
Value list_new(Heap *h, uint32_t cap);
Value map_new(Heap *h, uint32_t cap);
Value handle_new(Heap *h, const char *type, void *ptr, void (*free_fn)(Heap *, HandleObj *));

/* ---- changing: *v must be V_LIST / V_MAP / V_TEXT. Copies first when shared. `item`/`value` are
 * consumed, also on failure. false = memory (the heap remembers the error). An item or value that
 * is V_UNSET counts as one that could not be made: false, so that list_push(h, &v, text_new(…))
 * needs one check. ---- */
XS_MUST_CHECK bool list_push(Heap *h, Value *v, Value item);
XS_MUST_CHECK bool list_unshift(Heap *h, Value *v, Value item);
XS_MUST_CHECK bool list_set(Heap *h, Value *v, uint32_t index, Value item); /* index ≤ len */
XS_MUST_CHECK bool list_remove(Heap *h, Value *v, uint32_t index);
Value list_pop(Heap *h, Value *v); /* owned; null when empty; V_UNSET on memory */
Value list_shift(Heap *h, Value *v);
XS_MUST_CHECK bool list_reserve(Heap *h, Value *v, uint32_t cap);
XS_MUST_CHECK bool list_cut(Heap *h, Value *v, uint32_t from, uint32_t count); /* keep that slice */
XS_MUST_CHECK bool map_set(Heap *h, Value *v, Value key_text,
                           Value value); /* key: V_TEXT, consumed */
XS_MUST_CHECK bool map_set_text(Heap *h, Value *v, Text key, Value value);
bool map_remove(Heap *h, Value *v, Text key);                 /* true when it was there */
XS_MUST_CHECK bool text_append(Heap *h, Value *v, Text more); /* amortised, in place when unique */
XS_MUST_CHECK bool val_make_unique(Heap *h, Value *v);

/* ---- reading: borrowed results ---- */
const Value *map_find(const MapObj *m, Text key); /* NULL when absent */
/** Walk: *at from 0; next live entry or NULL. */
const MapEntry *map_walk(const MapObj *m, uint32_t *at);
Value map_get_cstr(Value map, const char *key); /* borrowed; null when absent or not a map */

#endif
