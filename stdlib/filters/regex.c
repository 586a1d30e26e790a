/* regex.c - regular expression filters, filters.md §4.3, and the thread's cache of compiled
 * patterns. */
#include "stdlib/filters/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/mem.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/thread_cache.h"

enum {
    CACHE_SIZE = 64,
    MATCH_LIMIT = 1000000, /* filters.md §1.10 */
    DEPTH_LIMIT = 10000,
    JIT_STACK_MIN = 32 * 1024,
    JIT_STACK_MAX = 1024 * 1024,
    PATTERN_MAX = 64 * 1024
};

struct Regex {
    char *key;
    size_t len;
    uint64_t hash, used;
    pcre2_code *code;
    pcre2_match_data *match;
    uint32_t groups;
    struct RegexCache *cache;
};

typedef struct RegexCache {
    pcre2_general_context *general;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    uint64_t clock;
    Regex entries[CACHE_SIZE];
} RegexCache;

static void *pcre_alloc(PCRE2_SIZE n, void *unused)
{
    (void)unused;
    return mem_alloc(n);
}

static void pcre_free(void *p, void *unused)
{
    (void)unused;
    mem_free(p);
}

static void entry_clear(Regex *r)
{
    mem_free(r->key);
    pcre2_match_data_free(r->match);
    pcre2_code_free(r->code);
    *r = (Regex){0};
}

static void cache_free(void *ptr)
{
    RegexCache *c = ptr;
    for (size_t i = 0; i < CACHE_SIZE; i++)
        entry_clear(&c->entries[i]);
    pcre2_jit_stack_free(c->stack);
    pcre2_match_context_free(c->context);
    pcre2_general_context_free(c->general);
    mem_free(c);
}

static RegexCache *cache_get(void)
{
    void **slot = thread_slot(SLOT_REGEX, cache_free);
    if (*slot)
        return *slot;
    RegexCache *c = mem_zalloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    c->context = c->general ? pcre2_match_context_create(c->general) : NULL;
    if (!c->context) {
        cache_free(c);
        return NULL;
    }
    pcre2_set_match_limit(c->context, MATCH_LIMIT);
    pcre2_set_depth_limit(c->context, DEPTH_LIMIT);
    c->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, c->general);
    if (c->stack)
        pcre2_jit_stack_assign(c->context, NULL, c->stack);
    *slot = c;
    return c;
}

static bool flag_of(char c, uint32_t *options)
{
    switch (c) {
    case 'i': *options |= PCRE2_CASELESS; return true;
    case 'm': *options |= PCRE2_MULTILINE; return true;
    case 's': *options |= PCRE2_DOTALL; return true;
    case 'x': *options |= PCRE2_EXTENDED; return true;
    case 'u': *options |= PCRE2_UCP; return true;
    case 'U': *options |= PCRE2_UNGREEDY; return true;
    case 'A': *options |= PCRE2_ANCHORED; return true;
    case 'D': *options |= PCRE2_DOLLAR_ENDONLY; return true;
    case 'X': return true; /* PCRE2 is always strict about escapes */
    default: return false;
    }
}

/* Body and options of a delimited pattern. */
static bool split_pattern(Text t, Text *body, uint32_t *options)
{
    if (t.len < 2 || !t.ptr[0] || !strchr("/#~@%!|", t.ptr[0]))
        return false;
    size_t end = t.len - 1;
    uint32_t flags = 0;
    while (end > 0 && t.ptr[end] != t.ptr[0])
        if (!flag_of(t.ptr[end--], &flags))
            return false;
    if (end == 0)
        return false;
    *body = text_slice(t, 1, end);
    *options |= flags;
    return true;
}

bool regex_delimited(Text t)
{
    Text body;
    uint32_t options = 0;
    return split_pattern(t, &body, &options);
}

static bool bad_regex(Text pattern, xs_error *err)
{
    return xs_fail(err, XS_E_BAD_REGEX, XS_NO_POS, "Invalid regular expression: " TEXT_FMT,
                   (int)(pattern.len < 120 ? pattern.len : 120), pattern.ptr);
}

static bool compile(RegexCache *c, Regex *r, Text pattern, xs_error *err)
{
    Text body = pattern;
    uint32_t options = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
    int code;
    PCRE2_SIZE at;
    (void)split_pattern(pattern, &body, &options);
    if (pattern.len > PATTERN_MAX)
        return bad_regex(pattern, err);
    pcre2_compile_context *cc = pcre2_compile_context_create(c->general);
    r->key = mem_strndup(pattern.ptr ? pattern.ptr : "", pattern.len);
    if (!r->key || !cc) {
        pcre2_compile_context_free(cc);
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
    }
    r->code =
        pcre2_compile((PCRE2_SPTR)(body.ptr ? body.ptr : ""), body.len, options, &code, &at, cc);
    pcre2_compile_context_free(cc);
    if (!r->code)
        return bad_regex(pattern, err);
    (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it the interpreter runs */
    r->match = pcre2_match_data_create_from_pattern(r->code, c->general);
    if (!r->match)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
    pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &r->groups);
    return true;
}

Regex *regex_get(Text pattern, xs_error *err)
{
    RegexCache *c = cache_get();
    if (!c) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
        return NULL;
    }
    uint64_t hash = text_hash(pattern);
    Regex *oldest = &c->entries[0];
    for (size_t i = 0; i < CACHE_SIZE; i++) {
        Regex *r = &c->entries[i];
        if (r->key && r->hash == hash && text_eq((Text){r->key, r->len}, pattern)) {
            r->used = ++c->clock;
            return r;
        }
        if (r->used < oldest->used)
            oldest = r;
    }
    entry_clear(oldest);
    if (!compile(c, oldest, pattern, err)) {
        entry_clear(oldest);
        return NULL;
    }
    oldest->len = pattern.len;
    oldest->hash = hash;
    oldest->used = ++c->clock;
    oldest->cache = c;
    return oldest;
}

uint32_t regex_group_count(const Regex *r)
{
    return r->groups;
}

static size_t next_char(Text t, size_t at)
{
    at++;
    while (at < t.len && ((unsigned char)t.ptr[at] & 0xC0) == 0x80)
        at++;
    return at;
}

RegexResult regex_match(Regex *r, Text subject, size_t from, bool after_empty,
                        const size_t **ovector, xs_error *err)
{
    uint32_t options = after_empty ? PCRE2_NOTEMPTY_ATSTART | PCRE2_ANCHORED : 0;
    PCRE2_SPTR s = (PCRE2_SPTR)(subject.ptr ? subject.ptr : "");
    for (;;) {
        if (from > subject.len)
            return REGEX_MISS;
        int n = pcre2_match(r->code, s, subject.len, from, options, r->match, r->cache->context);
        if (n >= 0) {
            const size_t *v = pcre2_get_ovector_pointer(r->match);
            /* \K in a lookaround can put the start behind the end, or before where we were */
            if (v[0] > v[1] || v[0] < from)
                return bad_regex((Text){r->key, r->len}, err) ? REGEX_HIT : REGEX_ERROR;
            if (ovector)
                *ovector = v;
            return REGEX_HIT;
        }
        if (n != PCRE2_ERROR_NOMATCH)
            return bad_regex((Text){r->key, r->len}, err) ? REGEX_HIT : REGEX_ERROR;
        if (!options)
            return REGEX_MISS;
        from = next_char(subject, from);
        options = 0;
    }
}

/* ---- filters ---- */

/* Pattern and subject; swapped when only the other one is written as a pattern. */
static bool pattern_args(Call *c, Text *pattern, Text *subject)
{
    if (!call_text(c, 0, pattern) || !call_text(c, 1, subject))
        return false;
    if (!regex_delimited(*pattern) && regex_delimited(*subject)) {
        Text t = *pattern;
        *pattern = *subject;
        *subject = t;
    }
    return true;
}

bool flt_regex_matches(Call *c)
{
    Text pattern, subject;
    if (!pattern_args(c, &pattern, &subject))
        return false;
    Regex *r = regex_get(pattern, c->err);
    RegexResult hit = r ? regex_match(r, subject, 0, false, NULL, c->err) : REGEX_ERROR;
    return hit != REGEX_ERROR && call_return_bool(c, hit == REGEX_HIT);
}

static Text group_text(Text subject, const size_t *v, uint32_t group)
{
    size_t from = v[2 * group], to = v[2 * group + 1];
    return from == PCRE2_UNSET || to < from ? TEXT("") : text_slice(subject, from, to);
}

static bool push_group(Heap *h, Value *list, Text subject, const size_t *v, uint32_t group)
{
    Value t = text_new(h, group_text(subject, v, group));
    return t.kind != V_UNSET && list_push(h, list, t);
}

static bool out_of_memory(Call *c, Value v)
{
    val_unref(c->heap, v);
    return call_return(c, val_unset());
}

bool flt_regex_get_first_match(Call *c)
{
    Text pattern, subject;
    const size_t *v;
    if (!pattern_args(c, &pattern, &subject))
        return false;
    Regex *r = regex_get(pattern, c->err);
    RegexResult hit = r ? regex_match(r, subject, 0, false, &v, c->err) : REGEX_ERROR;
    if (hit == REGEX_ERROR)
        return false;
    Value list = list_new(c->heap, hit == REGEX_HIT ? r->groups + 1 : 0);
    if (list.kind == V_UNSET)
        return out_of_memory(c, list);
    for (uint32_t i = 0; hit == REGEX_HIT && i <= r->groups; i++)
        if (!push_group(c->heap, &list, subject, v, i))
            return out_of_memory(c, list);
    return call_return(c, list);
}

bool flt_regex_get_all_matches(Call *c)
{
    Text pattern, subject;
    const size_t *v;
    if (!pattern_args(c, &pattern, &subject))
        return false;
    Regex *r = regex_get(pattern, c->err);
    if (!r)
        return false;
    Value lists = list_new(c->heap, r->groups + 1);
    if (lists.kind == V_UNSET)
        return out_of_memory(c, lists);
    for (uint32_t i = 0; i <= r->groups; i++) {
        Value l = list_new(c->heap, 0);
        if (l.kind == V_UNSET || !list_push(c->heap, &lists, l))
            return out_of_memory(c, lists);
    }
    size_t at = 0;
    bool empty = false;
    RegexResult hit;
    while ((hit = regex_match(r, subject, at, empty, &v, c->err)) == REGEX_HIT) {
        at = v[1];
        empty = v[0] == v[1];
        for (uint32_t i = 0; i <= r->groups; i++)
            if (!push_group(c->heap, &lists.list->items[lists.list->start + i], subject, v, i))
                return out_of_memory(c, lists);
    }
    if (hit == REGEX_MISS)
        return call_return(c, lists);
    val_unref(c->heap, lists);
    return false;
}

/* "$1", "${1}", "\1" at t[at]; the group number, or -1. *len gets the length of the reference. */
static int reference_at(Text t, size_t at, size_t *len)
{
    bool brace = t.ptr[at] == '$' && at + 1 < t.len && t.ptr[at + 1] == '{';
    size_t i = at + 1 + brace, from = i;
    int n = 0;
    while (i < t.len && i < from + 2 && t.ptr[i] >= '0' && t.ptr[i] <= '9')
        n = n * 10 + (t.ptr[i++] - '0');
    if (i == from || (brace && (i == t.len || t.ptr[i] != '}')))
        return -1;
    *len = i + brace - at;
    return n;
}

static void expand(Buf *out, Text with, Text subject, const size_t *v, uint32_t groups)
{
    for (size_t i = 0; i < with.len;) {
        char ch = with.ptr[i];
        size_t len;
        int group = ch == '$' || ch == '\\' ? reference_at(with, i, &len) : -1;
        if (group >= 0) {
            if ((uint32_t)group <= groups)
                buf_text(out, group_text(subject, v, (uint32_t)group));
            i += len;
        } else {
            buf_char(out, ch);
            i += ch == '\\' && i + 1 < with.len && with.ptr[i + 1] == '\\' ? 2 : 1;
        }
    }
}

bool flt_regex_replace(Call *c)
{
    Text pattern, with, subject;
    const size_t *v;
    if (!call_text(c, 0, &pattern) || !call_text(c, 1, &with) || !call_text(c, 2, &subject))
        return false;
    if (!regex_delimited(pattern) &&
        regex_delimited(with)) { /* subject|regex_replace:pattern:with */
        Text t = pattern;
        pattern = with;
        with = subject;
        subject = t;
    }
    Regex *r = regex_get(pattern, c->err);
    if (!r)
        return false;
    Buf out = flt_buf();
    size_t at = 0, copied = 0;
    bool empty = false;
    RegexResult hit = REGEX_MISS;
    while (!out.failed && (hit = regex_match(r, subject, at, empty, &v, c->err)) == REGEX_HIT) {
        buf_text(&out, text_slice(subject, copied, v[0]));
        expand(&out, with, subject, v, r->groups);
        copied = at = v[1];
        empty = v[0] == v[1];
    }
    buf_text(&out, text_slice(subject, copied, subject.len));
    if (hit == REGEX_ERROR) {
        buf_deinit(&out);
        return false;
    }
    return flt_return_buf(c, &out);
}

bool flt_regex_quote(Call *c)
{
    Text in, delimiter = TEXT("");
    if (!call_text(c, 0, &in) || !call_text_opt(c, 1, &delimiter))
        return false;
    Buf out = BUF_INIT;
    for (size_t i = 0; i < in.len; i++) {
        char ch = in.ptr[i];
        if (ch == 0) {
            buf_cstr(&out, "\\000");
            continue;
        }
        if (strchr(".\\+*?[^]$(){}=!<>|:-#", ch) || (delimiter.len && delimiter.ptr[0] == ch))
            buf_char(&out, '\\');
        buf_char(&out, ch);
    }
    return call_return_buf(c, &out);
}
