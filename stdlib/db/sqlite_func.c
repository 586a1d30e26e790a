/* sqlite_func.c - SQL functions registered on every connection (runtime.md §10.1). SQLite's own
 * LIKE folds ASCII only and it has no REGEXP. All deterministic; NULL in, NULL out. */
#include "stdlib/db/sqlite_func.h"

#include <math.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "core/vec.h"
#include "stdlib/filters/datetime.h"

enum { MATCH_LIMIT = 1000000, DEPTH_LIMIT = 10000, CONST_MAX_BYTES = 64 << 20 };

static Text arg_text(sqlite3_value *v)
{
    const char *p = (const char *)sqlite3_value_text(v);
    return (Text){p ? p : "", p ? (size_t)sqlite3_value_bytes(v) : 0};
}

static bool any_null(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    for (int i = 0; i < argc; i++)
        if (sqlite3_value_type(argv[i]) == SQLITE_NULL) {
            sqlite3_result_null(ctx);
            return true;
        }
    return false;
}

static void result_text(sqlite3_context *ctx, Text t)
{
    sqlite3_result_text64(ctx, t.ptr, t.len, SQLITE_TRANSIENT, SQLITE_UTF8);
}

/* ---- text ---- */

static bool is_ascii(Text t)
{
    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.ptr[i] >= 0x80)
            return false;
    return true;
}

/* A copy in which case does not matter; *own must be freed by free_fold. */
typedef struct Folded {
    Text t;
    char *mine;   /* mem_free */
    void *theirs; /* utf8proc's */
    char small[128];
} Folded;

static bool fold(Text t, Folded *f)
{
    f->mine = NULL;
    f->theirs = NULL;
    if (is_ascii(t)) {
        char *p = t.len <= sizeof f->small ? f->small : (f->mine = mem_alloc(t.len));
        if (!p)
            return false;
        for (size_t i = 0; i < t.len; i++)
            p[i] = t.ptr[i] >= 'A' && t.ptr[i] <= 'Z' ? (char)(t.ptr[i] + 32) : t.ptr[i];
        f->t = (Text){p, t.len};
        return true;
    }
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)t.ptr, (utf8proc_ssize_t)t.len,
                                      &out, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD);
    if (n < 0) {
        f->t = t; /* not UTF-8: compare the bytes */
        return n != UTF8PROC_ERROR_NOMEM;
    }
    f->theirs = out;
    f->t = (Text){(char *)out, (size_t)n};
    return true;
}

static void fold_free(Folded *f)
{
    mem_free(f->mine);
    free(f->theirs); /* allocated by the library */
}

static bool like(Text pat, Text t)
{
    size_t p = 0, s = 0, star_p = SIZE_MAX, star_s = 0;
    while (s < t.len) {
        if (p < pat.len && pat.ptr[p] == '%') {
            star_p = ++p;
            star_s = s;
            continue;
        }
        if (p < pat.len && pat.ptr[p] == '_') {
            p++;
            (void)utf8_next(t, &s);
            continue;
        }
        size_t q = p;
        if (q + 1 < pat.len && pat.ptr[q] == '\\')
            q++;
        if (q < pat.len && pat.ptr[q] == t.ptr[s]) {
            p = q + 1;
            s++;
            continue;
        }
        if (star_p == SIZE_MAX)
            return false;
        p = star_p;
        (void)utf8_next(t, &star_s);
        s = star_s;
    }
    while (p < pat.len && pat.ptr[p] == '%')
        p++;
    return p == pat.len;
}

static void f_like(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (!any_null(ctx, argc, argv))
        sqlite3_result_int(ctx, like(arg_text(argv[0]), arg_text(argv[1])));
}

static void folded_pair(sqlite3_context *ctx, sqlite3_value **argv, bool includes)
{
    Folded a, b;
    if (!fold(arg_text(argv[0]), &a)) {
        sqlite3_result_error_nomem(ctx);
        return;
    }
    if (!fold(arg_text(argv[1]), &b)) {
        fold_free(&a);
        sqlite3_result_error_nomem(ctx);
        return;
    }
    bool hit = includes ? text_find(b.t, a.t, 0) != SIZE_MAX : like(a.t, b.t);
    sqlite3_result_int(ctx, hit);
    fold_free(&a);
    fold_free(&b);
}

static void f_ilike(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (!any_null(ctx, argc, argv))
        folded_pair(ctx, argv, false);
}

static void f_includes(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (!any_null(ctx, argc, argv))
        folded_pair(ctx, argv, true);
}

static void map_text(sqlite3_context *ctx, sqlite3_value *v, int mode)
{
    Text t = arg_text(v);
    VEC(char) out = {0};
    size_t at = 0;
    bool ok = VEC_RESERVE(&out, t.len + 8);
    while (ok && at < t.len) {
        uint32_t cp = utf8_next(t, &at);
        cp = (uint32_t)(mode ? utf8proc_toupper((utf8proc_int32_t)cp)
                             : utf8proc_tolower((utf8proc_int32_t)cp));
        char enc[4];
        size_t n = utf8_encode(cp, enc);
        ok = VEC_RESERVE(&out, out.len + n + 1);
        if (ok) {
            memcpy(out.ptr + out.len, enc, n);
            out.len += n;
        }
    }
    if (ok)
        result_text(ctx, (Text){out.ptr, out.len});
    else
        sqlite3_result_error_nomem(ctx);
    VEC_DEINIT(&out);
}

static void f_lower(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (!any_null(ctx, argc, argv))
        map_text(ctx, argv[0], 0);
}

static void f_upper(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (!any_null(ctx, argc, argv))
        map_text(ctx, argv[0], 1);
}

/* Without marks; NULL when memory is out. The result is the library's. */
static char *unaccent(Text t, utf8proc_option_t more, size_t *len)
{
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t n = utf8proc_map(
        (const utf8proc_uint8_t *)t.ptr, (utf8proc_ssize_t)t.len, &out,
        (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_STRIPMARK | more));
    *len = n < 0 ? 0 : (size_t)n;
    return n < 0 ? NULL : (char *)out;
}

static void f_unaccent(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (any_null(ctx, argc, argv))
        return;
    size_t n;
    char *out = unaccent(arg_text(argv[0]), 0, &n);
    if (out)
        result_text(ctx, (Text){out, n});
    else
        result_text(ctx, arg_text(argv[0]));
    free(out);
}

/* xs_search(words, text): every word occurs, whatever its case and accents. */
static void f_search(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (any_null(ctx, argc, argv))
        return;
    size_t nw, nt;
    char *words = unaccent(arg_text(argv[0]), UTF8PROC_CASEFOLD, &nw);
    char *text = unaccent(arg_text(argv[1]), UTF8PROC_CASEFOLD, &nt);
    bool hit = words && text;
    for (size_t at = 0; hit && at < nw;) {
        while (at < nw && (unsigned char)words[at] <= ' ')
            at++;
        size_t from = at;
        while (at < nw && (unsigned char)words[at] > ' ')
            at++;
        if (at > from)
            hit = text_find((Text){text, nt}, (Text){words + from, at - from}, 0) != SIZE_MAX;
    }
    sqlite3_result_int(ctx, hit);
    free(words);
    free(text);
}

/* ---- regular expressions: REGEXP and regexp(pattern, text); "/…/flags" or the bare pattern ----
 */

static bool split_delimited(Text *pat, uint32_t *options)
{
    if (pat->len < 2 || pat->ptr[0] == 0 || !strchr("/#~@%!|", pat->ptr[0]))
        return true;
    size_t end = pat->len - 1;
    while (end > 0 && pat->ptr[end] != pat->ptr[0])
        end--;
    if (end == 0)
        return true;
    for (size_t i = end + 1; i < pat->len; i++)
        switch (pat->ptr[i]) {
        case 'i': *options |= PCRE2_CASELESS; break;
        case 'm': *options |= PCRE2_MULTILINE; break;
        case 's': *options |= PCRE2_DOTALL; break;
        case 'x': *options |= PCRE2_EXTENDED; break;
        case 'A': *options |= PCRE2_ANCHORED; break;
        case 'D': *options |= PCRE2_DOLLAR_ENDONLY; break;
        case 'U': *options |= PCRE2_UNGREEDY; break;
        case 'u':
        case 'X': break;
        default: return true; /* not flags: the text is the pattern itself */
        }
    *pat = (Text){pat->ptr + 1, end - 1};
    return true;
}

static void regex_free(void *code)
{
    pcre2_code_free(code);
}

static void f_regexp(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (any_null(ctx, argc, argv))
        return;
    pcre2_code *code = sqlite3_get_auxdata(ctx, 0);
    bool fresh = !code;
    if (fresh) {
        Text pat = arg_text(argv[0]);
        uint32_t options = PCRE2_UTF | PCRE2_UCP;
        (void)split_delimited(&pat, &options);
        int rc;
        PCRE2_SIZE at;
        code = pcre2_compile((PCRE2_SPTR)pat.ptr, pat.len, options, &rc, &at, NULL);
        if (!code) {
            sqlite3_result_error(ctx, "Invalid regular expression", -1);
            return;
        }
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    }
    pcre2_match_data *md = pcre2_match_data_create(1, NULL);
    pcre2_match_context *mc = pcre2_match_context_create(NULL);
    if (!md || !mc) {
        sqlite3_result_error_nomem(ctx);
    } else {
        pcre2_set_match_limit(mc, MATCH_LIMIT);
        pcre2_set_depth_limit(mc, DEPTH_LIMIT);
        Text t = arg_text(argv[1]);
        int rc = pcre2_match(code, (PCRE2_SPTR)t.ptr, t.len, 0, 0, md, mc);
        if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT ||
            rc == PCRE2_ERROR_HEAPLIMIT)
            sqlite3_result_error(ctx, "Invalid regular expression", -1);
        else
            sqlite3_result_int(ctx, rc >= 0);
    }
    pcre2_match_data_free(md);
    pcre2_match_context_free(mc);
    if (fresh) /* kept for the next row when the pattern is a parameter, else freed at once */
        sqlite3_set_auxdata(ctx, 0, code, regex_free);
}

/* ---- JSON ---- */

static bool is_scalar(const Const *c)
{
    return c->kind < C_LIST;
}

static bool contains(const Const *doc, const Const *sub);

static bool list_has(const Const *list, const Const *item)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (contains(list->items[i], item))
            return true;
    return false;
}

/* The parser's depth limit bounds the recursion. */
static bool contains(const Const *doc, const Const *sub)
{
    if (doc->kind == C_MAP && sub->kind == C_MAP) {
        for (uint32_t i = 0; i < sub->count; i++) {
            const Const *v = const_find(doc, sub->pairs[i].key);
            if (!v || !contains(v, sub->pairs[i].value))
                return false;
        }
        return true;
    }
    if (doc->kind == C_LIST && sub->kind == C_LIST) {
        for (uint32_t i = 0; i < sub->count; i++)
            if (!list_has(doc, sub->items[i]))
                return false;
        return true;
    }
    if (doc->kind == C_LIST && is_scalar(sub)) {
        for (uint32_t i = 0; i < doc->count; i++)
            if (const_equal(doc->items[i], sub))
                return true;
        return false;
    }
    if ((doc->kind == C_INT || doc->kind == C_DEC) && (sub->kind == C_INT || sub->kind == C_DEC))
        return const_dec_of(doc, 0) == const_dec_of(sub, 0);
    return const_equal(doc, sub);
}

static void f_contains(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (any_null(ctx, argc, argv))
        return;
    Arena a;
    arena_init(&a, CONST_MAX_BYTES);
    xs_error err = {0};
    const Const *doc = json_parse(&a, arg_text(argv[0]), &err);
    const Const *sub = doc ? json_parse(&a, arg_text(argv[1]), &err) : NULL;
    sqlite3_result_int(ctx, doc && sub && contains(doc, sub));
    arena_deinit(&a);
}

/* ---- time: milliseconds since 1970, any zone the timestamp filters know ---- */

static void f_ts_part(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    if (any_null(ctx, argc, argv))
        return;
    Zone zone;
    xs_error err = {0};
    if (!zone_find(arg_text(argv[2]), &zone, &err)) {
        sqlite3_result_error(ctx, err.message, -1);
        return;
    }
    DateParts d;
    date_split(sqlite3_value_int64(argv[0]), &zone, &d);
    Text part = arg_text(argv[1]);
    int64_t r = d.minute;
    if (text_eq(part, TEXT("year")))
        r = d.year;
    else if (text_eq(part, TEXT("month")))
        r = d.month;
    else if (text_eq(part, TEXT("week")))
        r = d.iso_week;
    else if (text_eq(part, TEXT("day_of_month")))
        r = d.day;
    else if (text_eq(part, TEXT("day_of_week")))
        r = d.weekday;
    else if (text_eq(part, TEXT("day_of_year")))
        r = d.yearday + 1;
    else if (text_eq(part, TEXT("hour")))
        r = d.hour;
    sqlite3_result_int64(ctx, r);
}

/* xs_ts_add(ms, months): the day is clamped to the month's end. */
static void f_ts_add(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    int64_t out;
    if (any_null(ctx, argc, argv))
        return;
    if (date_add_months(sqlite3_value_int64(argv[0]), sqlite3_value_int64(argv[1]), &out))
        sqlite3_result_int64(ctx, out);
    else
        sqlite3_result_null(ctx);
}

/* ---- geo: {"type":"point","data":{"lng":…,"lat":…}} ---- */

static bool read_point(const Const *data, double *lng, double *lat)
{
    *lng = const_dec_of(const_get(data, "lng"), 0);
    *lat = const_dec_of(const_get(data, "lat"), 0);
    return const_get(data, "lng") && const_get(data, "lat");
}

static bool point_of(Text t, double *lng, double *lat)
{
    Arena a;
    arena_init(&a, CONST_MAX_BYTES);
    xs_error err = {0};
    bool ok = read_point(const_get(json_parse(&a, t, &err), "data"), lng, lat);
    arena_deinit(&a);
    return ok;
}

typedef enum Side { OUTSIDE, INSIDE, ON_EDGE } Side;

/* Even-odd rule on plain longitude and latitude. */
static Side side_of_ring(const Const *ring, double x, double y)
{
    bool in = false;
    double ax, ay, bx, by;
    if (ring->kind != C_LIST || ring->count == 0 ||
        !read_point(ring->items[ring->count - 1], &ax, &ay))
        return OUTSIDE;
    for (uint32_t i = 0; i < ring->count; i++, ax = bx, ay = by) {
        if (!read_point(ring->items[i], &bx, &by))
            return OUTSIDE;
        double cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax);
        if (fabs(cross) < 1e-12 && x >= fmin(ax, bx) && x <= fmax(ax, bx) && y >= fmin(ay, by) &&
            y <= fmax(ay, by))
            return ON_EDGE;
        if ((ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax)
            in = !in;
    }
    return in ? INSIDE : OUTSIDE;
}

/* The first ring is the border, the others are holes. */
static bool polygon_covers(const Const *rings, double x, double y)
{
    for (uint32_t i = 0; rings->kind == C_LIST && i < rings->count; i++) {
        Side s = side_of_ring(rings->items[i], x, y);
        if (s == ON_EDGE)
            return true;
        if ((s == INSIDE) != (i == 0))
            return false;
    }
    return rings->kind == C_LIST && rings->count > 0;
}

/* xs_geo_covers(polygon or polygons, point) */
static void f_geo_covers(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    double x, y;
    if (any_null(ctx, argc, argv))
        return;
    if (!point_of(arg_text(argv[1]), &x, &y)) {
        sqlite3_result_null(ctx);
        return;
    }
    Arena a;
    arena_init(&a, CONST_MAX_BYTES);
    xs_error err = {0};
    const Const *shape = json_parse(&a, arg_text(argv[0]), &err), *data = const_get(shape, "data");
    bool many = text_eq(const_get_text(shape, "type"), TEXT("polys")), hit = false;
    if (data && data->kind == C_LIST && !many)
        hit = polygon_covers(data, x, y);
    for (uint32_t i = 0; many && data && data->kind == C_LIST && !hit && i < data->count; i++)
        hit = polygon_covers(data->items[i], x, y);
    arena_deinit(&a);
    sqlite3_result_int(ctx, hit);
}

static void f_geo_distance(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    const double earth_m = 6371008.8, deg = 3.14159265358979323846 / 180;
    double lng1, lat1, lng2, lat2;
    if (any_null(ctx, argc, argv))
        return;
    if (!point_of(arg_text(argv[0]), &lng1, &lat1) || !point_of(arg_text(argv[1]), &lng2, &lat2)) {
        sqlite3_result_null(ctx);
        return;
    }
    double dlat = (lat2 - lat1) * deg / 2, dlng = (lng2 - lng1) * deg / 2;
    double h = sin(dlat) * sin(dlat) + cos(lat1 * deg) * cos(lat2 * deg) * sin(dlng) * sin(dlng);
    sqlite3_result_double(ctx, 2 * earth_m * asin(sqrt(fmin(1, h))));
}

/* ---- vectors: float32 blobs ---- */

typedef struct VecSums {
    double dot, aa, bb, l1, l2;
} VecSums;

static bool vec_sums(sqlite3_value *x, sqlite3_value *y, VecSums *s)
{
    const char *a = sqlite3_value_blob(x), *b = sqlite3_value_blob(y);
    int na = sqlite3_value_bytes(x), nb = sqlite3_value_bytes(y);
    *s = (VecSums){0};
    if (!a || !b || na != nb || na % 4)
        return false;
    for (int i = 0; i < na; i += 4) {
        float fa, fb;
        memcpy(&fa, a + i, 4);
        memcpy(&fb, b + i, 4);
        double p = (double)fa, q = (double)fb;
        s->dot += p * q;
        s->aa += p * p;
        s->bb += q * q;
        s->l1 += fabs(p - q);
        s->l2 += (p - q) * (p - q);
    }
    return true;
}

static void f_vec(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    VecSums s;
    if (any_null(ctx, argc, argv))
        return;
    if (!vec_sums(argv[0], argv[1], &s)) {
        sqlite3_result_error(ctx, "vectors of different length", -1);
        return;
    }
    switch (*(const char *)sqlite3_user_data(ctx)) {
    case 'c': {
        double n = sqrt(s.aa) * sqrt(s.bb);
        sqlite3_result_double(ctx, n == 0 ? 0 : s.dot / n);
        break;
    }
    case '1': sqlite3_result_double(ctx, s.l1); break;
    case '2': sqlite3_result_double(ctx, sqrt(s.l2)); break;
    default: sqlite3_result_double(ctx, s.dot); break;
    }
}

/* ---- aggregate xs_median ---- */

typedef struct Median {
    double *ptr;
    size_t len, cap;
    bool failed;
} Median;

static void median_step(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    (void)argc;
    if (sqlite3_value_type(argv[0]) == SQLITE_NULL)
        return;
    Median *m = sqlite3_aggregate_context(ctx, sizeof *m);
    if (!m || m->failed || !VEC_PUSH(m, sqlite3_value_double(argv[0]))) {
        if (m)
            m->failed = true;
        sqlite3_result_error_nomem(ctx);
    }
}

static int cmp_double(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static void median_final(sqlite3_context *ctx)
{
    Median *m = sqlite3_aggregate_context(ctx, 0);
    if (!m || m->len == 0) {
        sqlite3_result_null(ctx);
    } else {
        qsort(m->ptr, m->len, sizeof *m->ptr, cmp_double);
        size_t half = m->len / 2;
        sqlite3_result_double(ctx,
                              m->len % 2 ? m->ptr[half] : (m->ptr[half - 1] + m->ptr[half]) / 2);
    }
    if (m)
        VEC_DEINIT(m);
}

/* ---- registration ---- */

typedef void (*SqlFn)(sqlite3_context *, int, sqlite3_value **);

static const struct FuncRow {
    const char *name;
    int argc;
    SqlFn fn;
    const char *data;
} func_rows[] = {
    {"regexp", 2, f_regexp, NULL},
    {"xs_like", 2, f_like, NULL},
    {"xs_ilike", 2, f_ilike, NULL},
    {"xs_includes", 2, f_includes, NULL},
    {"xs_search", 2, f_search, NULL},
    {"xs_lower", 1, f_lower, NULL},
    {"xs_upper", 1, f_upper, NULL},
    {"xs_unaccent", 1, f_unaccent, NULL},
    {"xs_contains", 2, f_contains, NULL},
    {"xs_ts_part", 3, f_ts_part, NULL},
    {"xs_ts_add", 2, f_ts_add, NULL},
    {"xs_geo_distance", 2, f_geo_distance, NULL},
    {"xs_vec_cos", 2, f_vec, "c"},
    {"xs_vec_l1", 2, f_vec, "1"},
    {"xs_vec_l2", 2, f_vec, "2"},
    {"xs_vec_ip", 2, f_vec, "i"},
    {"xs_geo_covers", 2, f_geo_covers, NULL},
};

bool sqlite_functions(sqlite3 *db, xs_error *err)
{
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    for (size_t i = 0; i < COUNT_OF(func_rows); i++) {
        const struct FuncRow *r = &func_rows[i];
        if (sqlite3_create_function_v2(db, r->name, r->argc, flags, (void *)(uintptr_t)r->data,
                                       r->fn, NULL, NULL, NULL) != SQLITE_OK)
            return xs_fail(err, XS_E_DATABASE, XS_NO_POS, "%s", sqlite3_errmsg(db));
    }
    if (sqlite3_create_function_v2(db, "xs_median", 1, flags, NULL, NULL, median_step, median_final,
                                   NULL) != SQLITE_OK)
        return xs_fail(err, XS_E_DATABASE, XS_NO_POS, "%s", sqlite3_errmsg(db));
    return true;
}
