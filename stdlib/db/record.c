/* record.c - the values of one row on their way into the database: what is missing gets its default
 * or the zero of its type, the rest is coerced and filtered by the column's field. Thread: the
 * fiber's. */
#include "stdlib/db/record.h"

#include <sodium.h>
#include <stdio.h>
#include <time.h>

#include "core/clock.h"
#include "stdlib/bind.h"
#include "stdlib/db/seed.h"

bool record_init(Record *r, Arena *a, Heap *h, const Services *s, const Table *t, xs_error *err,
                 Value *payload)
{
    *r = (Record){.heap = h, .services = s, .t = t, .err = err, .payload = payload};
    r->vals = ARENA_ARRAY(a, Value, t->ncols ? t->ncols : 1); /* zeroed: all V_UNSET */
    return r->vals || fail_code(err, XS_E_NOMEM);
}

void record_deinit(Record *r)
{
    for (uint32_t i = 0; r->vals && i < r->t->ncols; i++)
        val_unref(r->heap, r->vals[i]);
    r->vals = NULL;
}

static bool no_memory(Record *r)
{
    return heap_error(r->heap) != XS_OK ? heap_fail(r->heap, r->err)
                                        : fail_code(r->err, XS_E_NOMEM);
}

static bool name_param(Record *r, Text column)
{
    Value p = map_new(r->heap, 1);
    Value name = p.kind == V_UNSET ? p : text_new(r->heap, column);
    if (name.kind == V_UNSET || !map_set_text(r->heap, &p, TEXT("param"), name)) {
        val_unref(r->heap, p);
        return no_memory(r);
    }
    val_unref(r->heap, *r->payload);
    *r->payload = p;
    return false;
}

bool record_set(Record *r, Text column, Value v, bool strict)
{
    const Column *c = table_column(r->t, column);
    if (!c) {
        val_unref(r->heap, v);
        if (!strict)
            return true;
        (void)xs_fail(r->err, XS_E_INPUTERROR, XS_NO_POS,
                      "Unsupported parameter reference - " TEXT_FMT, TEXT_ARG(column));
        return name_param(r, column);
    }
    Value *slot = &r->vals[c - r->t->cols];
    val_unref(r->heap, *slot);
    *slot = v;
    return true;
}

bool record_set_all(Record *r, Value object)
{
    Value parsed = val_unset();
    if (object.kind == V_TEXT) {
        xs_error ignored = {0};
        parsed = val_parse_json(r->heap, val_text_view(object), &ignored);
        object = parsed;
    }
    bool ok = object.kind == V_MAP || val_is_null(object);
    if (!ok || (object.kind == V_UNSET && parsed.kind == V_UNSET)) {
        val_unref(r->heap, parsed);
        (void)xs_fail(r->err, XS_E_INPUTERROR, XS_NO_POS, "Invalid value for param");
        return name_param(r, TEXT("data"));
    }
    uint32_t at = 0;
    const MapEntry *e;
    while (ok && object.kind == V_MAP && (e = map_walk(object.map, &at)))
        ok = record_set(r, (Text){e->key->data, e->key->len}, val_ref(e->value), false);
    val_unref(r->heap, parsed);
    return ok;
}

static int64_t now_ms(const Record *r)
{
    if (r->services && r->services->now_ms)
        return r->services->now_ms(r->services->ctx);
    return clock_wall_ms();
}

static Value now_value(Record *r, const Column *c)
{
    int64_t ms = now_ms(r);
    if (c->type.kind != CK_DATE)
        return val_int(ms);
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char buf[32];
    size_t n = gmtime_r(&s, &tm) ? strftime(buf, sizeof buf, "%Y-%m-%d", &tm) : 0;
    return text_new(r->heap, (Text){buf, n});
}

static Value zero_value(Record *r, const Column *c)
{
    if (c->nullable)
        return val_null();
    switch (c->type.kind) {
    case CK_INT:
    case CK_TIME: return val_int(0);
    case CK_DEC: return val_dec(0);
    case CK_BOOL: return val_bool(false);
    case CK_TEXT:
    case CK_UUID:
    case CK_PASSWORD: return text_new(r->heap, TEXT(""));
    case CK_JSON: return map_new(r->heap, 0);
    case CK_LIST: return list_new(r->heap, 0);
    case CK_DATE:
    case CK_FILE:
    case CK_VECTOR:
    case CK_ANY: break;
    }
    return val_null();
}

static Value new_uuid(Record *r)
{
    unsigned char b[16];
    if (!r->services || !r->services->random || !r->services->random(r->services->ctx, b, sizeof b))
        randombytes_buf(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    char out[37];
    snprintf(out, sizeof out,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    return text_new(r->heap, text_from(out));
}

static bool fill(Record *r, const Column *c, Value *v, bool add)
{
    const Const *def = const_get(c->field, "default");
    if (!add)
        *v = zero_value(r, c);
    else if (def && const_bool_of(const_get(def, "now"), false))
        *v = now_value(r, c);
    else if (def && def->kind != C_NULL)
        *v = val_from_const(r->heap, def);
    else
        *v = zero_value(r, c);
    return v->kind != V_UNSET || no_memory(r);
}

static bool coerce(Record *r, const Column *c, Value *v)
{
    Value payload = val_unset();
    int64_t size = c->type.kind == CK_VECTOR ? const_int_of(const_get(c->field, "size"), 0) : 0;
    if (size > 0 && v->kind == V_LIST && v->list->len != (uint64_t)size) {
        (void)xs_fail(r->err, XS_E_INPUTERROR, XS_NO_POS,
                      "The vector has %u elements, its size is %lld", v->list->len,
                      (long long)size);
        return name_param(r, c->name);
    }
    if (bind_field(r->heap, r->services, c->write, v, c->name, r->err, &payload)) {
        val_unref(r->heap, payload);
        return true;
    }
    if (payload.kind == V_UNSET)
        return r->err->code == XS_E_INPUTERROR ? name_param(r, c->name) : false;
    val_unref(r->heap, *r->payload);
    *r->payload = payload;
    return false;
}

static bool check_key(Record *r, Value *v, bool add)
{
    const Column *c = table_id(r->t);
    if (!add || val_is_null(*v)) {
        val_unref(r->heap, *v);
        *v = val_unset();
    }
    if (!add)
        return true;
    if (v->kind != V_UNSET)
        return coerce(r, c, v);
    if (c->type.kind != CK_INT)
        *v = new_uuid(r);
    return c->type.kind == CK_INT || v->kind != V_UNSET || no_memory(r);
}

bool record_check(Record *r, bool add)
{
    if (!check_key(r, &r->vals[r->t->id], add))
        return false;
    for (uint32_t i = 0; i < r->t->ncols; i++) {
        const Column *c = &r->t->cols[i];
        Value *v = &r->vals[i];
        if (i == r->t->id || (v->kind == V_UNSET && !add))
            continue;
        if (v->kind == V_UNSET || (v->kind == V_NULL && !c->nullable)) {
            if (!fill(r, c, v, add))
                return false;
        } else if (v->kind != V_NULL && !coerce(r, c, v)) {
            return false;
        }
    }
    return true;
}

bool record_has_changes(const Record *r)
{
    for (uint32_t i = 0; i < r->t->ncols; i++)
        if (i != r->t->id && r->vals[i].kind != V_UNSET)
            return true;
    return false;
}

static bool encode(Record *r, Sql *sql, uint32_t i, xs_db_value *out)
{
    const Column *c = &r->t->cols[i];
    Value v = r->vals[i];
    if (row_encode(sql->arena, c->type, v, out, r->err))
        return true;
    return r->err->code == XS_E_INPUTERROR ? name_param(r, c->name) : false;
}

bool record_write_insert(Record *r, Sql *sql)
{
    sql_raw(sql, "INSERT INTO ");
    sql_ident(&sql->text, r->t->name);
    Buf values = BUF_INIT;
    bool ok = true;
    for (uint32_t i = 0; ok && i < r->t->ncols; i++) {
        xs_db_value v;
        if (r->vals[i].kind == V_UNSET)
            continue;
        ok = encode(r, sql, i, &v);
        sql_raw(sql, values.len ? "," : " (");
        sql_ident(&sql->text, r->t->cols[i].name);
        buf_cstr(&values, values.len ? "," : ") VALUES (");
        if (ok)
            buf_printf(&values, "?%u", sql_bind(sql, v));
    }
    if (values.len) {
        buf_text(&sql->text, buf_view(&values));
        sql_raw(sql, ")");
    } else {
        sql_raw(sql, " DEFAULT VALUES");
    }
    sql->failed = sql->failed || values.failed;
    buf_deinit(&values);
    return ok;
}

bool record_write_set(Record *r, Sql *sql)
{
    bool first = true;
    for (uint32_t i = 0; i < r->t->ncols; i++) {
        xs_db_value v;
        if (i == r->t->id || r->vals[i].kind == V_UNSET)
            continue;
        if (!encode(r, sql, i, &v))
            return false;
        if (!first)
            sql_raw(sql, ", ");
        first = false;
        sql_ident(&sql->text, r->t->cols[i].name);
        sql_raw(sql, " = ");
        sql_param(sql, v);
    }
    return true;
}

/* ---- rows and values of the definition itself ---- */

bool seed_encode(Arena *a, const Column *c, const Const *value, xs_db_value *out, xs_error *err)
{
    Heap *h = heap_new(0);
    Value v = h ? val_from_const(h, value) : val_unset();
    bool ok = v.kind != V_UNSET ? row_encode(a, c->type, v, out, err) : fail_code(err, XS_E_NOMEM);
    heap_free(h);
    return ok;
}

static bool add_row(DbPool *p, Arena *a, Heap *h, const Table *t, const Const *item, bool strict,
                    xs_error *err)
{
    Record r;
    Value payload = val_unset(), object = val_from_const(h, item);
    if (!record_init(&r, a, h, NULL, t, err, &payload))
        return false;
    Sql sql;
    sql_init(&sql, a);
    bool ok = object.kind == V_MAP ||
              xs_fail(err, XS_E_DATABASE, XS_NO_POS,
                      "a row of table '" TEXT_FMT "' is not an object", TEXT_ARG(t->name));
    uint32_t at = 0;
    const MapEntry *e;
    while (ok && (e = map_walk(object.map, &at)))
        ok = record_set(&r, (Text){e->key->data, e->key->len}, val_ref(e->value), strict);
    ok = ok && record_check(&r, true) && record_write_insert(&r, &sql) && sql_ok(&sql, err);
    xs_db_stmt *st = ok ? p->drv->prepare(p->conn, sql.text.ptr, sql.text.len, 0, err) : NULL;
    ok = st != NULL;
    for (uint32_t i = 0; ok && i < sql.nvals; i++)
        ok = p->drv->bind(st, i + 1, &sql.vals[i], err);
    ok = ok && p->drv->step(st, err) == XS_DB_DONE;
    p->drv->finish(st);
    sql_deinit(&sql);
    record_deinit(&r);
    val_unref(h, payload);
    val_unref(h, object);
    return ok;
}

bool seed_row(DbPool *p, const Table *t, const Const *item, xs_error *err)
{
    Heap *h = heap_new(0);
    Arena a;
    if (!h)
        return fail_code(err, XS_E_NOMEM);
    arena_init(&a, 0);
    bool ok = add_row(p, &a, h, t, item, true, err);
    arena_deinit(&a);
    heap_free(h);
    return ok;
}

bool seed_table(DbPool *p, const Table *t, xs_error *err)
{
    const Const *items = const_get(t->def, "items");
    if (!items || items->kind != C_LIST || items->count == 0)
        return true;
    Heap *h = heap_new(0);
    if (!h)
        return fail_code(err, XS_E_NOMEM);
    bool ok = true;
    for (uint32_t i = 0; ok && i < items->count; i++) {
        Arena a;
        arena_init(&a, 0);
        ok = add_row(p, &a, h, t, items->items[i], false, err);
        arena_deinit(&a);
    }
    heap_free(h);
    return ok;
}
