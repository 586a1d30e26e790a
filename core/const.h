/* const.h - an immutable tree of plain data, below any language value: constants and schemas of a
 * bundle, configuration, client frames. Nodes and texts live in an arena. */
#ifndef CORE_CONST_H
#define CORE_CONST_H

#include "core/arena.h"
#include "core/buf.h"

typedef enum ConstKind { C_NULL, C_BOOL, C_INT, C_DEC, C_TEXT, C_LIST, C_MAP } ConstKind;

typedef struct Const Const;
typedef struct ConstPair {
    Text key;
    const Const *value;
} ConstPair;

struct Const {
    ConstKind kind;
    uint32_t count; /* C_LIST, C_MAP */
    union {
        bool b;
        int64_t i;
        double d;
        Text text;
        const Const **items; /* C_LIST */
        ConstPair *pairs;    /* C_MAP, insertion order */
    };
};

extern const Const const_null, const_true, const_false;

/* Builders; NULL when the arena is out. Texts are copied into the arena. */
Const *const_int(Arena *a, int64_t n);
Const *const_dec(Arena *a, double d);
Const *const_text(Arena *a, Text t);
const Const *const_bool(bool b);
Const *const_list(Arena *a, size_t cap);
Const *const_map(Arena *a, size_t cap);
/* Append to a list or map under construction (grows in the arena). false when out of memory. */
bool const_push(Arena *a, Const *list, const Const *item);
bool const_set(Arena *a, Const *map, Text key, const Const *value); /* replaces an equal key */
/** Append without looking for an equal key; the key is borrowed and must live as long as the arena.
 */
bool const_append(Arena *a, Const *map, Text key, const Const *value);
bool const_set_text(Arena *a, Const *map, const char *key, Text value);
bool const_set_int(Arena *a, Const *map, const char *key, int64_t value);
bool const_set_bool(Arena *a, Const *map, const char *key, bool value);

/* Readers accept NULL and wrong kinds and then return NULL or the default. */
const Const *const_get(const Const *map, const char *key);
const Const *const_find(const Const *map, Text key);
Text const_text_of(const Const *c, Text otherwise);
int64_t const_int_of(const Const *c, int64_t otherwise); /* C_INT, or C_DEC with a whole value */
double const_dec_of(const Const *c, double otherwise);
bool const_bool_of(const Const *c, bool otherwise);
static inline Text const_get_text(const Const *map, const char *key)
{
    return const_text_of(const_get(map, key), (Text){0});
}

bool const_equal(const Const *a, const Const *b);

#endif
