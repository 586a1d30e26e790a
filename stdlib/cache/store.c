/* store.c - the cache in this process: a map of entries under one lock, chained by last use. An
 * entry holds one JSON text, or a ring of them. Expired entries go when they are met or when room
 * is needed. */
#include <pthread.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/map.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "stdlib/cache/cache.h"

enum { ENTRY_OVERHEAD = 96, ITEM_OVERHEAD = 24 };

typedef struct Entry Entry;
struct Entry {
    Entry *newer, *older;
    Text key;           /* owned, in one block with the entry */
    int64_t expires_ms; /* 0 = never */
    size_t bytes;
    bool is_list;
    Text value;  /* owned */
    Text *items; /* ring: cap a power of two */
    size_t first, count, cap;
};

struct Cache {
    pthread_mutex_t lock;
    Map entries;
    Entry *newest, *oldest;
    size_t bytes, max_bytes;
};

Cache *cache_new(size_t max_bytes, xs_error *err)
{
    Cache *c = mem_zalloc(1, sizeof *c);
    if (!c) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    c->max_bytes = max_bytes;
    return c;
}

/* ---- entries ---- */

static Text *item_at(const Entry *e, size_t i)
{
    return &e->items[(e->first + i) & (e->cap - 1)];
}

static void free_text(Text t)
{
    mem_free((void *)(uintptr_t)t.ptr);
}

static void unlink_entry(Cache *c, Entry *e)
{
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
    e->newer = e->older = NULL;
}

static void link_newest(Cache *c, Entry *e)
{
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static void entry_free(Entry *e)
{
    free_text(e->value);
    for (size_t i = 0; i < e->count; i++)
        free_text(*item_at(e, i));
    mem_free(e->items);
    mem_free(e);
}

static void drop(Cache *c, Entry *e)
{
    map_take(&c->entries, e->key);
    unlink_entry(c, e);
    c->bytes -= e->bytes;
    entry_free(e);
}

void cache_free(Cache *c)
{
    if (!c)
        return;
    for (Entry *e = c->newest, *next; e; e = next) {
        next = e->older;
        entry_free(e);
    }
    map_deinit(&c->entries);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

/* The live entry; it counts as used now. */
static Entry *find(Cache *c, Text key, int64_t now_ms)
{
    Entry *e = map_get(&c->entries, key);
    if (e && e->expires_ms && e->expires_ms <= now_ms) {
        drop(c, e);
        return NULL;
    }
    if (e && e != c->newest) {
        unlink_entry(c, e);
        link_newest(c, e);
    }
    return e;
}

static bool no_memory(xs_error *err)
{
    return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

/* Make room for more bytes of e (NULL: a new one), at the cost of those not used for long. */
static bool reserve(Cache *c, const Entry *e, size_t more, xs_error *err)
{
    if (more > c->max_bytes || (e && e->bytes + more > c->max_bytes))
        return xs_fail(err, XS_E_LIMIT, XS_NO_POS, "The value is larger than the cache.");
    while (c->bytes + more > c->max_bytes) {
        Entry *last = c->oldest == e && e ? c->oldest->newer : c->oldest;
        if (!last)
            return xs_fail(err, XS_E_LIMIT, XS_NO_POS, "The value is larger than the cache.");
        drop(c, last);
    }
    return true;
}

static Entry *entry_new(Cache *c, Text key, xs_error *err)
{
    size_t bytes = ENTRY_OVERHEAD + key.len;
    if (!reserve(c, NULL, bytes, err))
        return NULL;
    Entry *e = mem_alloc(sizeof *e + key.len + 1);
    if (!e) {
        (void)no_memory(err);
        return NULL;
    }
    *e = (Entry){.key = {(char *)(e + 1), key.len}, .bytes = bytes};
    if (key.len)
        memcpy(e + 1, key.ptr, key.len);
    if (!map_put(&c->entries, e->key, e)) {
        mem_free(e);
        (void)no_memory(err);
        return NULL;
    }
    link_newest(c, e);
    c->bytes += bytes;
    return e;
}

static bool set_value(Cache *c, Entry *e, Text value, xs_error *err)
{
    size_t grows = value.len > e->value.len ? value.len - e->value.len : 0;
    if (!reserve(c, e, grows, err))
        return false;
    char *copy = mem_strndup(value.ptr, value.len);
    if (!copy)
        return no_memory(err);
    c->bytes += value.len - e->value.len;
    e->bytes += value.len - e->value.len;
    free_text(e->value);
    e->value = (Text){copy, value.len};
    return true;
}

static bool grow_ring(Entry *e)
{
    if (e->count < e->cap)
        return true;
    size_t cap = e->cap ? e->cap * 2 : 4;
    Text *items = mem_alloc(cap * sizeof *items);
    if (!items)
        return false;
    for (size_t i = 0; i < e->count; i++)
        items[i] = *item_at(e, i);
    mem_free(e->items);
    e->items = items;
    e->cap = cap;
    e->first = 0;
    return true;
}

static bool add_item(Cache *c, Entry *e, Text value, bool front, xs_error *err)
{
    size_t bytes = ITEM_OVERHEAD + value.len;
    if (!reserve(c, e, bytes, err))
        return false;
    char *copy = mem_strndup(value.ptr, value.len);
    if (!copy || !grow_ring(e)) {
        mem_free(copy);
        return no_memory(err);
    }
    if (front)
        e->first = (e->first + e->cap - 1) & (e->cap - 1);
    e->count++;
    *item_at(e, front ? 0 : e->count - 1) = (Text){copy, value.len};
    e->bytes += bytes;
    c->bytes += bytes;
    return true;
}

static void forget_item(Cache *c, Entry *e, Text item)
{
    size_t bytes = ITEM_OVERHEAD + item.len;
    e->bytes -= bytes;
    c->bytes -= bytes;
    free_text(item);
}

/* ---- requests ---- */

typedef struct Run {
    Cache *c;
    const CacheReq *req;
    int64_t now_ms;
    Buf *out;
    xs_error *err;
} Run;

static int64_t until(const Run *r)
{
    int64_t ttl = r->req->ttl_ms;
    return ttl <= 0 ? 0 : ttl > INT64_MAX - r->now_ms ? INT64_MAX : r->now_ms + ttl;
}

static bool wrong_kind(const Run *r)
{
    return xs_fail(r->err, XS_E_STANDARD, XS_NO_POS, "Wrong key type.");
}

static bool run_set(Run *r)
{
    Entry *e = find(r->c, r->req->key, r->now_ms);
    if (e && r->req->flag)
        return buf_cstr(r->out, "false");
    if (e && e->is_list) {
        drop(r->c, e);
        e = NULL;
    }
    bool fresh = !e;
    if (!e && !(e = entry_new(r->c, r->req->key, r->err)))
        return false;
    if (!set_value(r->c, e, r->req->value, r->err)) {
        if (fresh)
            drop(r->c, e);
        return false;
    }
    e->expires_ms = until(r);
    return buf_cstr(r->out, r->req->flag ? "true" : "null");
}

static bool run_add(Run *r, int64_t *now)
{
    Entry *e = find(r->c, r->req->key, r->now_ms);
    int64_t n = 0;
    if (e && e->is_list)
        return wrong_kind(r);
    bool fresh = !e;
    if ((e && !num_parse_int(e->value, &n)) || __builtin_add_overflow(n, r->req->n, &n))
        return xs_fail(r->err, XS_E_NOT_NUMERIC, XS_NO_POS, "Not numeric.");
    if (!e && !(e = entry_new(r->c, r->req->key, r->err)))
        return false;
    char digits[NUM_TEXT_MAX];
    if (!set_value(r->c, e, (Text){digits, num_write_int(n, digits)}, r->err)) {
        if (fresh)
            drop(r->c, e);
        return false;
    }
    if (fresh)
        e->expires_ms = until(r);
    *now = n;
    return true;
}

/* A fixed window of ttl from the first use. */
static bool run_limit(Run *r)
{
    CacheReq one = *r->req;
    Run add = {r->c, &one, r->now_ms, r->out, r->err};
    int64_t n = 0;
    one.n = 1;
    return run_add(&add, &n) && buf_cstr(r->out, n <= r->req->m ? "true" : "false");
}

static bool run_push(Run *r)
{
    Entry *e = find(r->c, r->req->key, r->now_ms);
    if (e && !e->is_list)
        return wrong_kind(r);
    bool fresh = !e;
    if (!e && !(e = entry_new(r->c, r->req->key, r->err)))
        return false;
    e->is_list = true;
    if (!add_item(r->c, e, r->req->value, r->req->op == CACHE_UNSHIFT, r->err)) {
        if (fresh)
            drop(r->c, e);
        return false;
    }
    json_write_int(r->out, (int64_t)e->count);
    return true;
}

static void take_one(Run *r, Entry *e)
{
    bool front = r->req->op == CACHE_SHIFT;
    Text item = *item_at(e, front ? 0 : e->count - 1);
    buf_text(r->out, item);
    if (front)
        e->first = (e->first + 1) & (e->cap - 1);
    e->count--;
    forget_item(r->c, e, item);
}

static bool run_take(Run *r, Entry *e)
{
    int64_t wanted = r->req->flag ? r->req->n : 1;
    if (!r->req->flag && !e)
        return buf_cstr(r->out, "null");
    if (r->req->flag)
        buf_char(r->out, '[');
    for (int64_t i = 0; e && i < wanted && e->count; i++) {
        if (i)
            buf_char(r->out, ',');
        take_one(r, e);
    }
    if (r->req->flag)
        buf_char(r->out, ']');
    if (e && !e->count)
        drop(r->c, e);
    return true;
}

static bool run_range(Run *r, const Entry *e)
{
    int64_t count = e ? (int64_t)e->count : 0, from = r->req->n, to = r->req->m;
    from = from < 0 ? (from + count < 0 ? 0 : from + count) : from;
    to = to < 0 ? to + count : to >= count ? count - 1 : to;
    buf_char(r->out, '[');
    for (int64_t i = from; i <= to; i++) {
        if (i > from)
            buf_char(r->out, ',');
        buf_text(r->out, *item_at(e, (size_t)i));
    }
    return buf_char(r->out, ']');
}

/* Equal elements, from the front or, below 0, from the back; 0 = all. */
static bool run_remove(Run *r, Entry *e)
{
    int64_t limit = r->req->n >= 0 ? r->req->n : r->req->n == INT64_MIN ? INT64_MAX : -r->req->n;
    int64_t removed = 0;
    size_t count = e ? e->count : 0, kept = 0;
    bool back = r->req->n < 0;
    /* Walk from the wanted end; what stays moves together at that end's far side. */
    for (size_t i = 0; i < count; i++) {
        Text *at = item_at(e, back ? count - 1 - i : i);
        if ((!limit || removed < limit) && text_eq(*at, r->req->value)) {
            forget_item(r->c, e, *at);
            removed++;
            continue;
        }
        *item_at(e, back ? count - 1 - kept : kept) = *at;
        kept++;
    }
    if (e) {
        if (back)
            e->first = (e->first + (count - kept)) & (e->cap - 1);
        e->count = kept;
        if (!kept)
            drop(r->c, e);
    }
    json_write_int(r->out, removed);
    return true;
}

static int by_text(const void *a, const void *b)
{
    return text_cmp(*(const Text *)a, *(const Text *)b);
}

static bool run_keys(Run *r)
{
    Text *found = mem_alloc((r->c->entries.count + 1) * sizeof *found);
    size_t n = 0;
    if (!found)
        return no_memory(r->err);
    const MapSlot *s;
    for (size_t i = 0; (s = map_next(&r->c->entries, &i));) {
        const Entry *e = s->value;
        bool live = !e->expires_ms || e->expires_ms > r->now_ms;
        if (!live || !text_starts(e->key, r->req->key))
            continue;
        Text name = text_slice(e->key, r->req->key.len, e->key.len);
        if (glob_match(r->req->value, name))
            found[n++] = name;
    }
    qsort(found, n, sizeof *found, by_text);
    buf_char(r->out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(r->out, ',');
        json_write_text(r->out, found[i]);
    }
    mem_free(found);
    return buf_char(r->out, ']');
}

static bool run(Run *r)
{
    int64_t n = 0;
    switch (r->req->op) {
    case CACHE_SET: return run_set(r);
    case CACHE_LIMIT: return run_limit(r);
    case CACHE_KEYS: return run_keys(r);
    case CACHE_PUSH:
    case CACHE_UNSHIFT: return run_push(r);
    case CACHE_ADD:
        if (!run_add(r, &n))
            return false;
        json_write_int(r->out, n);
        return true;
    default: break;
    }
    Entry *e = find(r->c, r->req->key, r->now_ms);
    if (r->req->op == CACHE_HAS)
        return buf_cstr(r->out, e ? "true" : "false");
    if (r->req->op == CACHE_DEL) {
        if (e)
            drop(r->c, e);
        return buf_cstr(r->out, "null");
    }
    if (e && e->is_list != (r->req->op != CACHE_GET))
        return wrong_kind(r);
    switch (r->req->op) {
    case CACHE_GET: return e ? buf_text(r->out, e->value) : buf_cstr(r->out, "null");
    case CACHE_COUNT: json_write_int(r->out, e ? (int64_t)e->count : 0); return true;
    case CACHE_RANGE: return run_range(r, e);
    case CACHE_REMOVE: return run_remove(r, e);
    default: return run_take(r, e);
    }
}

bool cache_run(Cache *c, const CacheReq *req, int64_t now_ms, Buf *out, xs_error *err)
{
    Run r = {c, req, now_ms, out, err};
    *err = (xs_error){0};
    pthread_mutex_lock(&c->lock);
    bool ok = run(&r);
    pthread_mutex_unlock(&c->lock);
    return (ok && !out->failed) || (err->code == XS_OK && out->failed && no_memory(err));
}

size_t cache_bytes(Cache *c)
{
    pthread_mutex_lock(&c->lock);
    size_t n = c->bytes;
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* ---- patterns ---- */

/* A set like [a-c] at *at, moved behind it. */
static bool set_match(Text p, size_t *at, char c)
{
    size_t i = *at + 1;
    bool invert = i < p.len && p.ptr[i] == '^', hit = false;
    i += invert;
    for (size_t first = i; i < p.len && (p.ptr[i] != ']' || i == first); i++) {
        if (p.ptr[i] == '\\' && i + 1 < p.len)
            i++;
        unsigned char low = (unsigned char)p.ptr[i], high = low;
        if (i + 2 < p.len && p.ptr[i + 1] == '-' && p.ptr[i + 2] != ']') {
            high = (unsigned char)p.ptr[i + 2];
            i += 2;
        }
        hit = hit || ((unsigned char)c >= low && (unsigned char)c <= high);
    }
    *at = i < p.len ? i + 1 : i;
    return hit != invert;
}

bool glob_match(Text p, Text t)
{
    size_t i = 0, j = 0, star = SIZE_MAX, mark = 0; /* the last * and what it has eaten up to */
    while (j < t.len) {
        size_t next = i;
        bool hit = false;
        if (i < p.len && p.ptr[i] == '*') {
            star = i++;
            mark = j;
            continue;
        }
        if (i < p.len && p.ptr[i] == '[') {
            hit = set_match(p, &next, t.ptr[j]);
        } else if (i < p.len) {
            if (p.ptr[i] == '\\' && i + 1 < p.len)
                next++;
            hit = p.ptr[i] == '?' || p.ptr[next] == t.ptr[j];
            next++;
        }
        if (hit) {
            i = next;
            j++;
        } else if (star != SIZE_MAX) {
            i = star + 1;
            j = ++mark;
        } else {
            return false;
        }
    }
    while (i < p.len && p.ptr[i] == '*')
        i++;
    return i == p.len;
}
