/* bind_geo.c - geo inputs: the {"type","data"} form and WKT text. Specification: runtime.md §1.4.
 */
#include <strings.h>

#include "core/num.h"
#include "core/text.h"
#include "stdlib/bind_i.h"

typedef struct GeoType {
    const char *name, *form, *wkt;
    int depth;  /* lists around a point */
    bool rings; /* innermost lists are closed */
} GeoType;

static const GeoType geo_types[] = {
    {"geo_point", "point", "POINT", 0, false},
    {"geo_multipoint", "points", "MULTIPOINT", 1, false},
    {"geo_linestring", "path", "LINESTRING", 1, false},
    {"geo_multilinestring", "paths", "MULTILINESTRING", 2, false},
    {"geo_polygon", "poly", "POLYGON", 2, true},
    {"geo_multipolygon", "polys", "MULTIPOLYGON", 3, true},
};

static bool coordinate(Value v, double limit)
{
    Value n;
    if ((v.kind != V_INT && v.kind != V_DEC) || !val_number(v, &n, NULL))
        return false;
    double d = val_as_double(n);
    return d >= -limit && d <= limit;
}

static bool is_point(Value v)
{
    return v.kind == V_MAP && coordinate(map_get_cstr(v, "lng"), 180) &&
           coordinate(map_get_cstr(v, "lat"), 90);
}

static bool close_ring(Heap *h, Value *list)
{
    uint32_t n = val_count(*list);
    Value first = list_at(list->list, 0), last = list_at(list->list, n - 1);
    return val_same(first, last) || list_push(h, list, val_ref(first));
}

/* A list of points, or lists of such, at most depth levels; *v is rebuilt when rings need closing.
 */
static bool check_points(Heap *h, Value *v, int depth, bool rings)
{
    if (depth == 0)
        return is_point(*v);
    if (v->kind != V_LIST || val_count(*v) == 0)
        return false;
    if (rings && is_point(list_at(v->list, 0))) {
        for (uint32_t i = 0; i < val_count(*v); i++)
            if (!is_point(list_at(v->list, i)))
                return false;
        return val_count(*v) >= 3 && close_ring(h, v);
    }
    if (depth == 1 && rings)
        return false;
    for (uint32_t i = 0; i < val_count(*v); i++) {
        Value item = val_ref(list_at(v->list, i));
        bool ok = check_points(h, &item, depth - 1, rings);
        if (!ok) {
            val_unref(h, item);
            return false;
        }
        if (!list_set(h, v, i, item))
            return false;
    }
    return true;
}

/* ---- WKT ---- */

typedef struct Wkt {
    Heap *h;
    const char *at, *end;
} Wkt;

static void wkt_blanks(Wkt *w)
{
    while (w->at < w->end && strchr(" \t\r\n", *w->at) && *w->at)
        w->at++;
}

static bool wkt_char(Wkt *w, char c)
{
    wkt_blanks(w);
    if (w->at == w->end || *w->at != c)
        return false;
    w->at++;
    return true;
}

static bool wkt_number(Wkt *w, Value *out)
{
    wkt_blanks(w);
    const char *from = w->at;
    while (w->at < w->end && strchr("+-.eE0123456789", *w->at) && *w->at)
        w->at++;
    return w->at > from && text_number((Text){from, (size_t)(w->at - from)}, out);
}

/* V_UNSET: malformed or no memory. */
static Value wkt_point(Wkt *w)
{
    Value lng, lat;
    bool wrapped = wkt_char(w, '('); /* MULTIPOINT((1 2), (3 4)) */
    if (!wkt_number(w, &lng) || !wkt_number(w, &lat) || (wrapped && !wkt_char(w, ')')))
        return val_unset();
    Value m = map_new(w->h, 2);
    if (m.kind == V_UNSET || !map_set_text(w->h, &m, TEXT("lng"), lng) ||
        !map_set_text(w->h, &m, TEXT("lat"), lat)) {
        val_unref(w->h, m);
        return val_unset();
    }
    return m;
}

static Value wkt_list(Wkt *w, int depth)
{
    if (depth == 0)
        return wkt_point(w);
    if (!wkt_char(w, '('))
        return val_unset();
    Value list = list_new(w->h, 4);
    bool ok = list.kind != V_UNSET;
    do {
        Value item = ok ? wkt_list(w, depth - 1) : val_unset();
        ok = item.kind != V_UNSET && list_push(w->h, &list, item);
    } while (ok && wkt_char(w, ','));
    if (ok && wkt_char(w, ')'))
        return list;
    val_unref(w->h, list);
    return val_unset();
}

static Value wkt_parse(Heap *h, const GeoType *t, Text text)
{
    Wkt w = {h, text.ptr, text.ptr + text.len};
    size_t n = strlen(t->wkt);
    wkt_blanks(&w);
    if ((size_t)(w.end - w.at) < n || strncasecmp(w.at, t->wkt, n) != 0)
        return val_unset();
    w.at += n;
    Value v = val_unset();
    bool ok = false;
    if (t->depth > 0) {
        v = wkt_list(&w, t->depth);
        ok = v.kind != V_UNSET;
    } else if (wkt_char(&w, '(')) {
        v = wkt_point(&w);
        ok = wkt_char(&w, ')');
    }
    wkt_blanks(&w);
    if (!ok || w.at != w.end) {
        val_unref(h, v);
        return val_unset();
    }
    return v;
}

bool bind_geo(Heap *h, Text type, Value *v)
{
    const GeoType *t = NULL;
    for (size_t i = 0; i < COUNT_OF(geo_types); i++)
        if (text_eq(type, text_from(geo_types[i].name)))
            t = &geo_types[i];
    Value data = val_unset();
    if (!t)
        return false;
    if (v->kind == V_TEXT) {
        data = wkt_parse(h, t, val_text_view(*v));
    } else if (v->kind == V_MAP) {
        Value form = map_get_cstr(*v, "type");
        if (form.kind == V_TEXT && text_eq(val_text_view(form), text_from(t->form)))
            data = val_ref(map_get_cstr(*v, "data"));
    }
    if (data.kind == V_UNSET || !check_points(h, &data, t->depth, t->rings)) {
        val_unref(h, data);
        return false;
    }
    Value m = map_new(h, 2), form = text_new(h, text_from(t->form));
    if (m.kind == V_UNSET || form.kind == V_UNSET) {
        val_unref(h, m);
        val_unref(h, form);
        val_unref(h, data);
        return false;
    }
    if (!map_set_text(h, &m, TEXT("type"), form)) {
        val_unref(h, m);
        val_unref(h, data);
        return false;
    }
    if (!map_set_text(h, &m, TEXT("data"), data)) {
        val_unref(h, m);
        return false;
    }
    val_unref(h, *v);
    *v = m;
    return true;
}
