/* util.c - util.* statements: the request as it came, reply headers, distances. runtime.md §4.6. */
#include <math.h>

#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/storage/file.h"
#include "stdlib/template/template.h"

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

/* ---- reply ---- */

NativeResult op_util_set_header(Call *c)
{
    Text line, duplicates = TEXT("replace");
    if (!call_text(c, 0, &line) || !call_text_opt(c, 1, &duplicates))
        return NATIVE_ERROR;
    bool append = text_eq(duplicates, TEXT("append")) || text_eq(duplicates, TEXT("add"));
    if (!append && !text_eq(duplicates, TEXT("replace")))
        return result_of(call_bad_arg(c, 1));
    if (!c->services || !c->services->set_header)
        return NATIVE_OK; /* outside HTTP */
    return result_of(c->services->set_header(c->services->ctx, c->fiber, line, append, c->err));
}

/* ---- request ---- */

/* V_UNSET: memory. */
static Value raw_input(Call *c)
{
    const Const *raw = c->run ? c->run->raw_input : NULL;
    Value v = raw ? val_from_const(c->heap, raw) : val_null();
    if (v.kind == V_UNSET || uploads_to_files(c->heap, &v))
        return v;
    val_unref(c->heap, v);
    return val_unset();
}

/* What the client sent is its mistake. */
static bool bad_body(Call *c, Text encoding)
{
    if (c->err->code != XS_E_BAD_JSON && c->err->code != XS_E_BAD_YAML)
        return false;
    return call_fail(c, XS_E_INPUTERROR, "%s: the body is not valid " TEXT_FMT, c->name,
                     TEXT_ARG(encoding));
}

/* The body in the wanted encoding; it was decoded by its content type already. Consumes v. */
static bool return_encoded(Call *c, Value v, Text encoding)
{
    bool text = v.kind == V_TEXT, ok = true;
    Value out = v;
    if (v.kind == V_UNSET)
        return flt_memory(c);
    if (v.kind == V_NULL)
        return call_return(c, v);
    if (encoding.len == 0 && !text) {
        Buf b = flt_buf();
        ok = value_json(v, &b, c->err);
        val_unref(c->heap, v);
        if (ok)
            return flt_return_buf(c, &b);
        buf_deinit(&b);
        return false;
    } else if (encoding.len && text) {
        bool form = false;
        if (text_eq(encoding, TEXT("json")))
            out = val_parse_json(c->heap, val_text_view(v), c->err);
        else if (text_eq(encoding, TEXT("yaml")))
            out = yaml_value(c->heap, val_text_view(v), c->err);
        else {
            form = true;
            out = querystring_value(c->heap, val_text_view(v));
        }
        ok = out.kind != V_UNSET || (form && flt_memory(c)) || bad_body(c, encoding);
        val_unref(c->heap, v);
        return ok && call_return(c, out);
    }
    if (ok)
        return call_return(c, out);
    val_unref(c->heap, v);
    return false;
}

NativeResult op_util_get_raw_input(Call *c)
{
    Text encoding = TEXT("json");
    if (!call_text_opt(c, 0, &encoding))
        return NATIVE_ERROR;
    if (!encoding.len && c->run && c->run->raw_body.len) /* signatures are over these bytes */
        return result_of(call_return_text(c, c->run->raw_body));
    return result_of(return_encoded(c, raw_input(c), encoding));
}

/* Query string and body together, the body first in rank. V_UNSET: memory. */
static Value all_input(Call *c)
{
    Text query = c->run && c->run->querystring.ptr ? c->run->querystring : TEXT("");
    Value all = querystring_value(c->heap, query);
    Value body = raw_input(c);
    bool ok = all.kind != V_UNSET && body.kind != V_UNSET;
    uint32_t at = 0;
    const MapEntry *e = NULL;
    while (ok && body.kind == V_MAP && (e = map_walk(body.map, &at)))
        ok = map_set(c->heap, &all, val_ref(val_obj(V_TEXT, e->key)), val_ref(e->value));
    val_unref(c->heap, body);
    if (ok)
        return all;
    val_unref(c->heap, all);
    return val_unset();
}

NativeResult op_util_get_all_input(Call *c)
{
    Value v = all_input(c);
    return result_of(v.kind == V_UNSET ? flt_memory(c) : call_return(c, v));
}

NativeResult op_util_get_input(Call *c)
{
    Text encoding = TEXT("json");
    if (!call_text_opt(c, 0, &encoding))
        return NATIVE_ERROR;
    return result_of(return_encoded(c, all_input(c), encoding));
}

/* ---- geography ---- */

static bool degrees(Call *c, uint32_t i, double limit, double *out)
{
    Value n;
    if (!call_number(c, i, &n))
        return false;
    *out = val_as_double(n) * (3.14159265358979323846 / 180);
    return (val_as_double(n) >= -limit && val_as_double(n) <= limit) || call_bad_arg(c, i);
}

NativeResult op_util_geo_distance(Call *c)
{
    const double radius_m = 6371008.8; /* filters.md §6, as on columns */
    double lat1, lng1, lat2, lng2;
    if (!degrees(c, 0, 90, &lat1) || !degrees(c, 1, 360, &lng1) || !degrees(c, 2, 90, &lat2) ||
        !degrees(c, 3, 360, &lng2))
        return NATIVE_ERROR;
    double a = sin((lat2 - lat1) / 2), b = sin((lng2 - lng1) / 2);
    double h = a * a + cos(lat1) * cos(lat2) * b * b;
    return result_of(call_return_dec(c, 2 * radius_m * asin(sqrt(h < 1 ? h : 1))));
}

NativeResult op_util_ip_lookup(Call *c)
{
    Text address; /* there is no address database: every place is unknown */
    return result_of(call_text(c, 0, &address) && call_return(c, val_null()));
}

/* ---- templates ---- */

/* Arguments 1 to 3 are the scope: variables, input, the logged-in user. */
NativeResult op_util_template_engine(Call *c)
{
    Text source;
    Arena a;
    TNode *root = NULL;
    Buf out = flt_buf();
    if (!call_text(c, 0, &source))
        return NATIVE_ERROR;
    arena_init(&a, 0);
    bool ok = template_parse(&a, source, &root, c->err) &&
              template_render(c, root, call_arg(c, 1), call_arg(c, 2), call_arg(c, 3), &out);
    if (ok)
        ok = flt_return_buf(c, &out);
    else
        buf_deinit(&out);
    arena_deinit(&a);
    return result_of(ok);
}
