/* bind.c - values from outside become the declared inputs: absent, null and empty tests, coercion,
 * filters. Also columns on write. The first failure ends binding. Specification: runtime.md §1.4,
 * filters.md §5. */
#include "stdlib/bind.h"

#include <math.h>

#include "core/num.h"
#include "core/text.h"
#include "stdlib/bind_i.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/filters/regex.h"
#include "stdlib/storage/file.h"

/* Where a value is, for payload.param; links live on the stack. */
typedef struct Where {
    const struct Where *up;
    Text name;
    int64_t index; /* used when name.ptr is NULL */
} Where;

typedef struct Binder {
    Heap *h;
    const Services *s;
    xs_error *err;
    Value *payload;
} Binder;

static bool bind_value(Binder *b, const Const *field, Value *v, const Where *at, bool input);

/* ---- errors ---- */

static void write_where(const Where *w, Buf *out)
{
    if (w->up) {
        write_where(w->up, out);
        buf_char(out, '.');
    }
    if (w->name.ptr)
        buf_text(out, w->name);
    else
        buf_printf(out, "%lld", (long long)w->index);
}

static void set_payload(Binder *b, const Where *at)
{
    Buf path = BUF_INIT;
    write_where(at, &path);
    Value m = map_new(b->h, 1), t = text_new(b->h, buf_view(&path));
    buf_deinit(&path);
    if (m.kind == V_UNSET || t.kind == V_UNSET) {
        val_unref(b->h, m);
        val_unref(b->h, t);
        return;
    }
    if (!map_set_text(b->h, &m, TEXT("param"), t)) {
        val_unref(b->h, m);
        return;
    }
    *b->payload = m;
}

static bool reject(Binder *b, const Where *at, const char *fmt, ...) XS_PRINTF(3, 4);
static bool reject(Binder *b, const Where *at, const char *fmt, ...)
{
    char message[sizeof b->err->message];
    va_list ap;
    va_start(ap, fmt);
    Buf text = BUF_INIT;
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    size_t n = text.len < sizeof message ? text.len : sizeof message - 1;
    /* never half a character at the cut */
    while (n < text.len && n > 0 && ((unsigned char)text.ptr[n] & 0xC0) == 0x80)
        n--;
    if (n)
        memcpy(message, text.ptr, n);
    message[n] = 0;
    buf_deinit(&text);
    if (b->payload)
        set_payload(b, at);
    return xs_fail(b->err, XS_E_INPUTERROR, XS_NO_POS, "%s", message);
}

static bool invalid(Binder *b, const Where *at)
{
    if (heap_error(b->h) != XS_OK)
        return heap_fail(b->h, b->err);
    return reject(b, at, "Invalid value for param");
}

static bool missing(Binder *b, const Const *field, const Where *at)
{
    Text name = const_get_text(field, "name");
    return reject(b, at, "Missing param: " TEXT_FMT, TEXT_ARG(name));
}

/* Replace *v, both owned. */
static bool put(Binder *b, Value *v, Value made)
{
    if (made.kind == V_UNSET)
        return heap_fail(b->h, b->err);
    val_unref(b->h, *v);
    *v = made;
    return true;
}

static bool put_text(Binder *b, Value *v, Text t)
{
    return put(b, v, text_new(b->h, t));
}

/* ---- coercion ---- */

static bool coerce_int(Binder *b, Value *v, const Where *at)
{
    Value n = *v;
    int64_t i;
    if (n.kind == V_BOOL)
        return put(b, v, val_int(n.b));
    if (n.kind == V_TEXT && !text_number(val_text_view(n), &n))
        return invalid(b, at);
    if (n.kind == V_DEC && n.d != trunc(n.d))
        return invalid(b, at);
    if ((n.kind != V_INT && n.kind != V_DEC) || !val_integer(n, &i, NULL))
        return invalid(b, at);
    return put(b, v, val_int(i));
}

static bool coerce_decimal(Binder *b, Value *v, const Where *at)
{
    Value n = *v;
    if (n.kind == V_TEXT && !text_number(val_text_view(n), &n))
        return invalid(b, at);
    if (n.kind != V_INT && n.kind != V_DEC)
        return invalid(b, at);
    return put(b, v, val_dec(val_as_double(n)));
}

static bool coerce_bool(Binder *b, Value *v, const Where *at)
{
    if (v->kind == V_BOOL)
        return true;
    if ((v->kind == V_INT && (v->i == 0 || v->i == 1)) ||
        (v->kind == V_DEC && (v->d == 0 || v->d == 1)))
        return put(b, v, val_bool(v->kind == V_INT ? v->i : v->d != 0));
    if (v->kind == V_TEXT) {
        Text t = val_text_view(*v);
        bool yes = text_eq(t, TEXT("true")) || text_eq(t, TEXT("1"));
        if (yes || text_eq(t, TEXT("false")) || text_eq(t, TEXT("0")))
            return put(b, v, val_bool(yes));
    }
    return invalid(b, at);
}

static bool coerce_text(Binder *b, Value *v, const Where *at)
{
    if (v->kind == V_BOOL || v->kind == V_INT || v->kind == V_DEC)
        return put(b, v, val_to_text(b->h, *v, b->err));
    if (v->kind != V_TEXT || !utf8_valid(val_text_view(*v)))
        return invalid(b, at);
    return true;
}

static bool host_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c >= 0x80;
}

/* local@label.label: printable local part, at least two non-empty labels. */
static bool email_valid(Text t)
{
    enum { EMAIL_MAX = 254 };
    const char *mark = t.len ? memchr(t.ptr, '@', t.len) : NULL;
    if (!mark || mark == t.ptr || t.len > EMAIL_MAX)
        return false;
    for (const char *p = t.ptr; p < mark; p++)
        if ((unsigned char)*p <= ' ' || *p == 127 || strchr("<>()[],;:\\\"", *p))
            return false;
    size_t label = 0, dots = 0;
    for (const char *p = mark + 1; p < t.ptr + t.len; p++) {
        if (*p == '.') {
            if (label == 0)
                return false;
            label = 0;
            dots++;
        } else if (host_char((unsigned char)*p)) {
            label++;
        } else {
            return false;
        }
    }
    return dots > 0 && label >= 2;
}

static const Text blanks = {" \t\n\r\0\v", 6}; /* filters.md §4.2 */

static bool coerce_email(Binder *b, Value *v, const Where *at)
{
    if (v->kind != V_TEXT || !utf8_valid(val_text_view(*v)))
        return invalid(b, at);
    Text t = val_text_view(*v), trimmed = text_trim(t, blanks);
    if (!email_valid(trimmed))
        return invalid(b, at);
    return trimmed.len == t.len || put_text(b, v, trimmed);
}

static bool coerce_uuid(Binder *b, Value *v, const Where *at)
{
    if (v->kind != V_TEXT || !uuid_valid(val_text_view(*v)))
        return invalid(b, at);
    char low[36];
    for (size_t i = 0; i < sizeof low; i++) {
        char c = v->text->data[i];
        low[i] = c >= 'A' && c <= 'F' ? (char)(c | 0x20) : c;
    }
    return memcmp(low, v->text->data, sizeof low) == 0 || put_text(b, v, (Text){low, sizeof low});
}

static bool coerce_timestamp(Binder *b, Value *v, const Where *at)
{
    int64_t ms;
    if (!timestamp_from(*v, &zone_utc, b->s, &ms, NULL))
        return invalid(b, at);
    return put(b, v, val_int(ms));
}

static int digits(const char *p, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

static bool coerce_date(Binder *b, Value *v, const Where *at)
{
    if (v->kind != V_TEXT)
        return invalid(b, at);
    Text t = text_trim(val_text_view(*v), blanks);
    if (t.len < 10 || t.ptr[4] != '-' || t.ptr[7] != '-' ||
        (t.len > 10 && t.ptr[10] != 'T' && t.ptr[10] != 't' && t.ptr[10] != ' '))
        return invalid(b, at);
    int y = digits(t.ptr, 4), m = digits(t.ptr + 5, 2), d = digits(t.ptr + 8, 2);
    int64_t unused;
    if (y < 0 || m < 1 || m > 12 || d < 1 || d > days_in_month(y, m))
        return invalid(b, at);
    if (t.len > 10 && !date_parse_text(t, &zone_utc, 0, false, &unused))
        return invalid(b, at);
    return v->text->len == 10 || put_text(b, v, (Text){t.ptr, 10});
}

static bool coerce_enum(Binder *b, const Const *field, Value *v, const Where *at)
{
    const Const *values = const_get(field, "values");
    if (v->kind == V_INT || v->kind == V_DEC || v->kind == V_BOOL) {
        if (!put(b, v, val_to_text(b->h, *v, b->err)))
            return false;
    }
    if (v->kind != V_TEXT)
        return invalid(b, at);
    Text t = val_text_view(*v);
    for (uint32_t i = 0; values && values->kind == C_LIST && i < values->count; i++)
        if (text_eq(const_text_of(values->items[i], (Text){0}), t))
            return true;
    return reject(b, at, "Input '" TEXT_FMT "' is not one of the allowable values.",
                  (int)(t.len < 150 ? t.len : 150), t.ptr);
}

/* JSON text, beginning with one of the characters, becomes its value; other text stays. */
static bool parse_json_text(Binder *b, Value *v, const char *first)
{
    if (v->kind != V_TEXT)
        return true;
    Text t = text_trim(val_text_view(*v), blanks);
    xs_error ignored = {0};
    if (t.len == 0 || !t.ptr[0] || !strchr(first, t.ptr[0]))
        return true;
    Value parsed = val_parse_json(b->h, t, &ignored);
    if (parsed.kind == V_UNSET)
        return heap_error(b->h) == XS_OK || heap_fail(b->h, b->err);
    return put(b, v, parsed);
}

static bool coerce_object(Binder *b, const Const *field, Value *v, const Where *at)
{
    const Const *fields = const_get(field, "fields");
    if (!parse_json_text(b, v, "{["))
        return false;
    if (v->kind == V_LIST && val_count(*v) == 0 && !put(b, v, map_new(b->h, 0)))
        return false;
    if (v->kind != V_MAP)
        return invalid(b, at);
    if (!fields || fields->kind != C_LIST || fields->count == 0)
        return true;
    Value out = map_new(b->h, fields->count);
    if (out.kind == V_UNSET)
        return heap_fail(b->h, b->err);
    for (uint32_t i = 0; i < fields->count; i++) {
        Text name = const_get_text(fields->items[i], "name");
        const Value *raw = map_find(v->map, name);
        Value member = raw ? val_ref(*raw) : val_unset();
        Where here = {at, name, 0};
        if (!bind_value(b, fields->items[i], &member, &here, true)) {
            val_unref(b->h, member);
            val_unref(b->h, out);
            return false;
        }
        if (!map_set_text(b->h, &out, name, member)) {
            val_unref(b->h, out);
            return heap_fail(b->h, b->err);
        }
    }
    return put(b, v, out);
}

static bool coerce_vector(Binder *b, Value *v, const Where *at)
{
    if (!parse_json_text(b, v, "["))
        return false;
    if (v->kind != V_LIST)
        return invalid(b, at);
    Value out = list_new(b->h, val_count(*v));
    if (out.kind == V_UNSET)
        return heap_fail(b->h, b->err);
    for (uint32_t i = 0; i < val_count(*v); i++) {
        Value item = list_at(v->list, i);
        Where here = {at, {0}, i};
        if (item.kind != V_INT && item.kind != V_DEC) {
            val_unref(b->h, out);
            return invalid(b, &here);
        }
        if (!list_push(b->h, &out, val_dec(val_as_double(item)))) {
            val_unref(b->h, out);
            return heap_fail(b->h, b->err);
        }
    }
    return put(b, v, out);
}

/* What storage.create_* returns: the path is what makes it usable. */
static bool coerce_resource(Binder *b, Value *v, const Where *at)
{
    if (!parse_json_text(b, v, "{"))
        return false;
    if (v->kind != V_MAP)
        return invalid(b, at);
    Where here = {at, TEXT("path"), 0};
    return map_get_cstr(*v, "path").kind == V_TEXT || invalid(b, &here);
}

static bool coerce(Binder *b, const Const *field, Value *v, const Where *at)
{
    typedef bool (*Coerce)(Binder *, Value *, const Where *);
    static const struct {
        const char *type;
        Coerce fn;
    } simple[] = {
        {"int", coerce_int},         {"text", coerce_text},           {"bool", coerce_bool},
        {"decimal", coerce_decimal}, {"timestamp", coerce_timestamp}, {"email", coerce_email},
        {"password", coerce_text},   {"uuid", coerce_uuid},           {"date", coerce_date},
        {"vector", coerce_vector},   {"image", coerce_resource},      {"video", coerce_resource},
        {"audio", coerce_resource},  {"attachment", coerce_resource},
    };
    Text type = const_get_text(field, "type");
    for (size_t i = 0; i < COUNT_OF(simple); i++)
        if (text_eq(type, text_from(simple[i].type)))
            return simple[i].fn(b, v, at);
    if (text_eq(type, TEXT("json")))
        return true; /* text too: request_inputs reads that of forms */
    if (text_eq(type, TEXT("enum")))
        return coerce_enum(b, field, v, at);
    if (text_eq(type, TEXT("object")))
        return coerce_object(b, field, v, at);
    if (text_eq(type, TEXT("file")))
        return (v->kind == V_MAP && !uploads_to_files(b->h, v) && heap_fail(b->h, b->err)) ||
               v->kind == V_HANDLE || v->kind == V_MAP || invalid(b, at);
    if (text_starts(type, TEXT("geo_")))
        return bind_geo(b->h, type, v) || invalid(b, at);
    return true;
}

/* ---- input filters ---- */

static Text filter_name(const Const *filter)
{
    return filter && filter->kind == C_LIST && filter->count
               ? const_text_of(filter->items[0], (Text){0})
               : const_text_of(filter, (Text){0});
}

static const Const *filter_arg(const Const *filter, uint32_t i)
{
    return filter->kind == C_LIST && i + 1 < filter->count ? filter->items[i + 1] : NULL;
}

/* An argument as text; numbers print into tmp. */
static Text arg_text(const Const *arg, char tmp[NUM_TEXT_MAX])
{
    if (arg && arg->kind == C_INT)
        return (Text){tmp, num_write_int(arg->i, tmp)};
    if (arg && arg->kind == C_DEC)
        return (Text){tmp, num_write_dec(arg->d, tmp)};
    return const_text_of(arg, TEXT(""));
}

static bool fold_case(Binder *b, Value *v, bool upper)
{
    Text t = val_text_view(*v);
    Buf out = BUF_INIT;
    if (upper)
        text_write_upper(&out, t);
    else
        text_write_lower(&out, t);
    bool ok = !out.failed
                  ? put_text(b, v, buf_view(&out))
                  : xs_fail(b->err, XS_E_NOMEM, XS_NO_POS, "%s", xs_code_get(XS_E_NOMEM)->text);
    buf_deinit(&out);
    return ok;
}

static bool check_number(Binder *b, Value v, const Const *arg, bool is_min, const Where *at)
{
    char tmp[NUM_TEXT_MAX];
    bool bad;
    if (v.kind == V_INT && arg && arg->kind == C_INT) {
        bad = is_min ? v.i < arg->i : v.i > arg->i;
    } else {
        double d = val_as_double(v), limit = const_dec_of(arg, 0);
        bad = is_min ? d < limit : d > limit;
    }
    if (!bad)
        return true;
    Text n = arg_text(arg, tmp);
    return is_min
               ? reject(b, at, "Value is less than the minimum value of " TEXT_FMT, TEXT_ARG(n))
               : reject(b, at, "Value is greater than the maximum value of " TEXT_FMT, TEXT_ARG(n));
}

static bool check_length(Binder *b, int64_t have, const Const *arg, bool is_min, const char *unit,
                         const Where *at)
{
    char tmp[NUM_TEXT_MAX];
    double limit = const_dec_of(arg, (double)const_int_of(arg, 0));
    if (is_min ? (double)have >= limit : (double)have <= limit)
        return true;
    Text n = arg_text(arg, tmp);
    return is_min
               ? reject(b, at, "Input does not meet minimum length requirement of " TEXT_FMT " %s",
                        TEXT_ARG(n), unit)
               : reject(b, at, "Input exceeds maximum length requirement of " TEXT_FMT " %s",
                        TEXT_ARG(n), unit);
}

static bool check_min_max(Binder *b, Value v, const Const *filter, bool is_min, const Where *at)
{
    const Const *arg = filter_arg(filter, 0);
    switch (v.kind) {
    case V_INT:
    case V_DEC: return check_number(b, v, arg, is_min, at);
    case V_TEXT:
        return check_length(b, (int64_t)utf8_count(val_text_view(v)), arg, is_min, "characters",
                            at);
    case V_LIST: return check_length(b, val_count(v), arg, is_min, "items", at);
    default: return true;
    }
}

static bool is_alpha(uint32_t cp)
{
    return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
}

static bool is_digit(uint32_t cp)
{
    return cp >= '0' && cp <= '9';
}

static bool is_ok_filter(Text name)
{
    return text_eq(name, TEXT("ok")) || text_eq(name, TEXT("alphaOk")) ||
           text_eq(name, TEXT("digitOk"));
}

static bool char_allowed(const Const *filters, uint32_t cp)
{
    char tmp[NUM_TEXT_MAX];
    for (uint32_t i = 0; i < filters->count; i++) {
        const Const *f = filters->items[i];
        Text name = filter_name(f);
        if (text_eq(name, TEXT("alphaOk")) && is_alpha(cp))
            return true;
        if (text_eq(name, TEXT("digitOk")) && is_digit(cp))
            return true;
        if (text_eq(name, TEXT("ok"))) {
            Text chars = arg_text(filter_arg(f, 0), tmp);
            for (size_t at = 0; at < chars.len;)
                if (utf8_next(chars, &at) == cp)
                    return true;
        }
    }
    return false;
}

/* Every character must be in the union of all ok filters of the field. */
static bool check_allowed(Binder *b, Text t, const Const *filters, const Where *at)
{
    for (size_t i = 0; i < t.len;)
        if (!char_allowed(filters, utf8_next(t, &i)))
            return reject(b, at, "Input contains characters that are not allowed");
    return true;
}

static bool check_prevent(Binder *b, Text t, const Const *filter, const Where *at)
{
    char tmp[NUM_TEXT_MAX];
    for (uint32_t i = 0; filter_arg(filter, i); i++) {
        Text bad = arg_text(filter_arg(filter, i), tmp);
        if (bad.len && text_find(t, bad, 0) != SIZE_MAX)
            return reject(b, at, "Input contains a value that is not allowed");
    }
    return true;
}

static bool check_starts(Binder *b, Text t, const Const *filter, const Where *at)
{
    char tmp[NUM_TEXT_MAX];
    Text prefix = arg_text(filter_arg(filter, 0), tmp);
    return text_starts(t, prefix) ||
           reject(b, at, "Input must start with '" TEXT_FMT "'", TEXT_ARG(prefix));
}

static bool check_pattern(Binder *b, Text t, const Const *filter, const Where *at)
{
    char tmp[NUM_TEXT_MAX];
    Regex *r = regex_get(arg_text(filter_arg(filter, 0), tmp), b->err);
    RegexResult hit = r ? regex_match(r, t, 0, false, NULL, b->err) : REGEX_ERROR;
    if (hit != REGEX_MISS)
        return hit == REGEX_HIT;
    Text message = const_text_of(filter_arg(filter, 1), (Text){0});
    if (!message.len)
        message = TEXT("Input does not match the required pattern");
    return reject(b, at, TEXT_FMT, TEXT_ARG(message));
}

/* minAlpha and its kin. *known is false when the name is none of them. */
static bool check_password(Binder *b, Text t, Text name, const Const *filter, const Where *at,
                           bool *known)
{
    static const struct {
        const char *name, *what;
    } kinds[] = {{"minAlpha", "letters"},
                 {"minLowerAlpha", "lowercase letters"},
                 {"minUpperAlpha", "uppercase letters"},
                 {"minDigit", "digits"},
                 {"minSymbol", "symbols"}};
    size_t kind = 0;
    char tmp[NUM_TEXT_MAX];
    int64_t have = 0;
    while (kind < COUNT_OF(kinds) && !text_eq(name, text_from(kinds[kind].name)))
        kind++;
    *known = kind < COUNT_OF(kinds);
    if (!*known)
        return true;
    for (size_t i = 0; i < t.len;) {
        uint32_t cp = utf8_next(t, &i);
        bool lower = cp >= 'a' && cp <= 'z', upper = cp >= 'A' && cp <= 'Z', digit = is_digit(cp);
        bool blank = cp == ' ' || (cp >= '\t' && cp <= '\r');
        bool hits[] = {lower || upper, lower, upper, digit, !lower && !upper && !digit && !blank};
        have += hits[kind];
    }
    if ((double)have >= const_dec_of(filter_arg(filter, 0), 0))
        return true;
    Text n = arg_text(filter_arg(filter, 0), tmp);
    return reject(b, at, "Weak password detected. Please use at least " TEXT_FMT " %s", TEXT_ARG(n),
                  kinds[kind].what);
}

static bool filter_text(Binder *b, const Const *filters, const Const *filter, Text name, Value *v,
                        const Where *at)
{
    Text t = val_text_view(*v);
    bool known;
    if (text_eq(name, TEXT("trim"))) {
        Text trimmed = text_trim(t, blanks);
        return trimmed.len == t.len || put_text(b, v, trimmed);
    }
    if (text_eq(name, TEXT("lower")) || text_eq(name, TEXT("to_lower")))
        return fold_case(b, v, false);
    if (text_eq(name, TEXT("upper")) || text_eq(name, TEXT("to_upper")))
        return fold_case(b, v, true);
    if (is_ok_filter(name))
        return check_allowed(b, t, filters, at);
    if (text_eq(name, TEXT("prevent")))
        return check_prevent(b, t, filter, at);
    if (text_eq(name, TEXT("startsWith")))
        return check_starts(b, t, filter, at);
    if (text_eq(name, TEXT("pattern")))
        return check_pattern(b, t, filter, at);
    return check_password(b, t, name, filter, at, &known);
}

static bool check_file_size(Binder *b, Value v, const Const *filter, const Where *at)
{
    char tmp[NUM_TEXT_MAX];
    Value size = v.kind == V_MAP ? map_get_cstr(v, "size") : val_int(v.handle->n);
    double max = const_dec_of(filter_arg(filter, 0), 0);
    if ((size.kind != V_INT && size.kind != V_DEC) || val_as_double(size) <= max)
        return true;
    Text n = arg_text(filter_arg(filter, 0), tmp);
    return reject(b, at, "File exceeds the maximum size of " TEXT_FMT " bytes", TEXT_ARG(n));
}

static bool filter_one(Binder *b, const Const *filters, const Const *filter, Value *v,
                       const Where *at)
{
    Text name = filter_name(filter);
    if (text_eq(name, TEXT("min")) || text_eq(name, TEXT("max")))
        return check_min_max(b, *v, filter, text_eq(name, TEXT("min")), at);
    if (text_eq(name, TEXT("minlist")) || text_eq(name, TEXT("maxlist")))
        return v->kind != V_LIST ||
               check_min_max(b, *v, filter, text_eq(name, TEXT("minlist")), at);
    if (text_eq(name, TEXT("max_size")))
        return (v->kind != V_MAP && v->kind != V_HANDLE) || check_file_size(b, *v, filter, at);
    return v->kind != V_TEXT || filter_text(b, filters, filter, name, v, at);
}

static bool counts_elements(Text name)
{
    return text_eq(name, TEXT("min")) || text_eq(name, TEXT("max")) ||
           text_eq(name, TEXT("minlist")) || text_eq(name, TEXT("maxlist"));
}

static bool filter_elements(Binder *b, const Const *filters, const Const *filter, Value *v,
                            const Where *at)
{
    for (uint32_t i = 0; i < val_count(*v); i++) {
        Value item = val_ref(list_at(v->list, i));
        Where here = {at, {0}, i};
        if (item.kind == V_NULL)
            continue;
        if (!filter_one(b, filters, filter, &item, &here)) {
            val_unref(b->h, item);
            return false;
        }
        if (!list_set(b->h, v, i, item))
            return heap_fail(b->h, b->err);
    }
    return true;
}

static bool run_filters(Binder *b, const Const *field, Value *v, const Where *at)
{
    const Const *filters = const_get(field, "filters");
    bool list = const_bool_of(const_get(field, "list"), false);
    for (uint32_t i = 0; filters && filters->kind == C_LIST && i < filters->count; i++) {
        const Const *f = filters->items[i];
        bool each = list && !counts_elements(filter_name(f));
        if (!(each ? filter_elements(b, filters, f, v, at) : filter_one(b, filters, f, v, at)))
            return false;
    }
    return true;
}

/* ---- lists ---- */

static bool coerce_list(Binder *b, const Const *field, Value *v, const Where *at)
{
    if (!parse_json_text(b, v, "["))
        return false;
    if (v->kind == V_MAP && val_count(*v) == 0 && !put(b, v, list_new(b->h, 0)))
        return false;
    if (v->kind == V_TEXT && v->text->len == 0 && !put(b, v, list_new(b->h, 0)))
        return false;
    if (v->kind != V_LIST) {
        Value one = list_new(b->h, 1);
        if (one.kind == V_UNSET || !list_push(b->h, &one, val_ref(*v))) {
            val_unref(b->h, one);
            return heap_fail(b->h, b->err);
        }
        if (!put(b, v, one))
            return false;
    }
    bool json = text_eq(const_get_text(field, "type"), TEXT("json"));
    for (uint32_t i = 0; i < val_count(*v); i++) {
        Value item = val_ref(list_at(v->list, i));
        Where here = {at, {0}, i};
        bool ok = item.kind == V_NULL ? json || invalid(b, &here) : coerce(b, field, &item, &here);
        if (!ok) {
            val_unref(b->h, item);
            return false;
        }
        if (!list_set(b->h, v, i, item))
            return heap_fail(b->h, b->err);
    }
    const Const *min = const_get(field, "min"), *max = const_get(field, "max");
    return (!min || check_length(b, val_count(*v), min, true, "items", at)) &&
           (!max || check_length(b, val_count(*v), max, false, "items", at));
}

/* ---- one field ---- */

static bool may_be_empty(Text type, bool input)
{
    return text_eq(type, TEXT("email")) ||
           (!input && (text_eq(type, TEXT("enum")) || text_eq(type, TEXT("uuid"))));
}

/* The default of an omitted field: a constant, or the clock. Leaves *v null without one. */
static bool put_default(Binder *b, const Const *field, Value *v)
{
    const Const *def = const_get(field, "default");
    int64_t ms;
    if (!def)
        return put(b, v, val_null());
    if (def->kind != C_MAP || !const_bool_of(const_get(def, "now"), false))
        return put(b, v, val_from_const(b->h, def));
    if (!services_now(b->s, &ms, b->err))
        return false;
    if (!text_eq(const_get_text(field, "type"), TEXT("date")))
        return put(b, v, val_int(ms));
    Buf day = BUF_INIT;
    date_format(ms, &zone_utc, TEXT("Y-m-d"), &day);
    bool ok = put_text(b, v, buf_view(&day));
    buf_deinit(&day);
    return ok;
}

/* Absent, null and empty tests. *done: nothing is left to do. */
static bool check_presence(Binder *b, const Const *field, Value *v, const Where *at, bool *done)
{
    bool nullable = const_bool_of(const_get(field, "nullable"), false);
    bool optional =
        const_bool_of(const_get(field, "optional"), false) || const_get(field, "default");
    Text type = const_get_text(field, "type");
    *done = false;
    if (v->kind == V_UNSET) {
        if (!optional)
            return missing(b, field, at);
        if (!put_default(b, field, v))
            return false;
        *done = v->kind == V_NULL;
        return true;
    }
    if (v->kind == V_NULL) {
        *done = true;
        return nullable || text_eq(type, TEXT("json")) || missing(b, field, at);
    }
    if (v->kind == V_TEXT && v->text->len == 0 && !optional)
        return missing(b, field, at);
    return true;
}

static bool bind_value(Binder *b, const Const *field, Value *v, const Where *at, bool input)
{
    bool done = false;
    if (input && !check_presence(b, field, v, at, &done))
        return false;
    if (done || v->kind == V_UNSET)
        return true;
    if (!input && v->kind == V_NULL)
        return const_bool_of(const_get(field, "nullable"), false) ||
               text_eq(const_get_text(field, "type"), TEXT("json")) || missing(b, field, at);
    bool list = const_bool_of(const_get(field, "list"), false);
    bool empty = v->kind == V_TEXT && v->text->len == 0;
    /* an empty text needs no shape: what an unset enum or uuid column holds, and an empty optional
     * email */
    if (empty && !list && may_be_empty(const_get_text(field, "type"), input))
        return true;
    return (list ? coerce_list(b, field, v, at) : coerce(b, field, v, at)) &&
           run_filters(b, field, v, at);
}

bool bind_inputs(Heap *h, const Services *s, const Const *inputs, Value *regs, uint32_t ninputs,
                 xs_error *err, Value *payload)
{
    xs_error unused;
    Binder b = {h, s, err ? err : &unused, payload};
    if (!inputs || inputs->kind != C_LIST)
        return true;
    uint32_t n = ninputs < inputs->count ? ninputs : inputs->count;
    for (uint32_t i = 0; i < n; i++) {
        Where here = {NULL, const_get_text(inputs->items[i], "name"), 0};
        if (!bind_value(&b, inputs->items[i], &regs[i], &here, true))
            return false;
    }
    return true;
}

bool bind_field(Heap *h, const Services *s, const Const *field, Value *v, Text path, xs_error *err,
                Value *payload)
{
    xs_error unused;
    Binder b = {h, s, err ? err : &unused, payload};
    Where here = {NULL, path.ptr ? path : TEXT(""), 0};
    return bind_value(&b, field, v, &here, false);
}

uint32_t bind_passes(const Const *field)
{
    static const struct {
        const char *type;
        uint32_t kinds;
    } plain[] = {{"int", 1u << V_INT},
                 {"decimal", 1u << V_DEC},
                 {"bool", 1u << V_BOOL},
                 {"text", 1u << V_TEXT},
                 {"object", 1u << V_MAP},
                 {"json", 1u << V_NULL | 1u << V_BOOL | 1u << V_INT | 1u << V_DEC | 1u << V_LIST |
                              1u << V_MAP}}; /* not text: an empty one is none */
    const Const *filters = const_get(field, "filters"), *fields = const_get(field, "fields");
    if ((filters && filters->count) || (fields && fields->count) ||
        const_bool_of(const_get(field, "list"), false))
        return 0;
    Text type = const_get_text(field, "type");
    uint32_t null = const_bool_of(const_get(field, "nullable"), false) ? 1u << V_NULL : 0;
    for (size_t i = 0; i < COUNT_OF(plain); i++)
        if (text_eq(type, text_from(plain[i].type)))
            return plain[i].kinds | null;
    return 0;
}
