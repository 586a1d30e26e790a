/* row.c - between stored data and program values: decoding by the declared type, encoding for a
 * column, rows as objects whose keys are made once per result. */
#include <math.h>
#include <sodium.h>

#include "core/json.h"
#include "stdlib/db/dbi.h"

static Value decode_any(Heap *h, const xs_db_value *v)
{
    switch (v->type) {
    case XS_DB_INT: return val_int(v->i);
    case XS_DB_REAL: return isfinite(v->d) ? val_dec(v->d) : val_null();
    case XS_DB_TEXT:
    case XS_DB_BLOB: return text_new(h, dbv_bytes(v));
    case XS_DB_NULL: break;
    }
    return val_null();
}

static Value decode_json(Heap *h, const xs_db_value *v)
{
    if (v->type != XS_DB_TEXT)
        return decode_any(h, v);
    xs_error err = {0};
    Value out = val_parse_json(h, dbv_bytes(v), &err);
    if (out.kind == V_UNSET && err.code == XS_E_BAD_JSON) /* written by somebody else */
        return text_new(h, dbv_bytes(v));
    return out;
}

static Value decode_vector(Heap *h, const xs_db_value *v)
{
    if (v->type != XS_DB_BLOB)
        return decode_any(h, v);
    uint32_t n = (uint32_t)(v->bytes.len / 4);
    Value list = list_new(h, n);
    for (uint32_t i = 0; i < n && list.kind != V_UNSET; i++) {
        float f;
        memcpy(&f, v->bytes.ptr + (size_t)i * 4, 4);
        if (!list_push(h, &list, val_dec((double)f))) {
            val_unref(h, list);
            return val_unset();
        }
    }
    return list;
}

Value row_decode(Heap *h, ColType type, const xs_db_value *v)
{
    if (v->type == XS_DB_NULL)
        return val_null();
    switch (type.kind) {
    case CK_BOOL: return v->type == XS_DB_INT ? val_bool(v->i != 0) : decode_any(h, v);
    case CK_DEC: return v->type == XS_DB_INT ? val_dec((double)v->i) : decode_any(h, v);
    case CK_JSON:
    case CK_LIST:
    case CK_FILE: return decode_json(h, v);
    case CK_VECTOR: return decode_vector(h, v);
    case CK_ANY:
    case CK_INT:
    case CK_TEXT:
    case CK_TIME:
    case CK_DATE:
    case CK_UUID:
    case CK_PASSWORD: break;
    }
    return decode_any(h, v);
}

const Const *row_decode_const(Arena *a, ColType type, const xs_db_value *v)
{
    switch (v->type) {
    case XS_DB_NULL: return &const_null;
    case XS_DB_INT:
        if (type.kind == CK_BOOL)
            return const_bool(v->i != 0);
        return type.kind == CK_DEC ? const_dec(a, (double)v->i) : const_int(a, v->i);
    case XS_DB_REAL: return const_dec(a, v->d);
    case XS_DB_TEXT:
    case XS_DB_BLOB: break;
    }
    if (type.kind == CK_JSON || type.kind == CK_LIST || type.kind == CK_FILE) {
        xs_error err = {0};
        Text copy = arena_text(a, dbv_bytes(v)); /* the tree may borrow from its text */
        const Const *c = copy.ptr ? json_parse(a, copy, &err) : NULL;
        if (c)
            return c;
    }
    return const_text(a, dbv_bytes(v));
}

static bool encode_json(Arena *a, Value v, xs_db_value *out, xs_error *err)
{
    Buf b = BUF_INIT;
    bool ok = val_write_json(v, &b);
    Text t = ok ? arena_text(a, buf_view(&b)) : (Text){0};
    bool memory = ok ? !t.ptr : b.failed;
    buf_deinit(&b);
    if (memory)
        return fail_code(err, XS_E_NOMEM);
    if (!ok)
        return xs_fail(err, XS_E_INPUTERROR, XS_NO_POS, "Invalid value for param");
    *out = dbv_text(t);
    return true;
}

static bool encode_text(Arena *a, Value v, xs_db_value *out, xs_error *err)
{
    if (v.kind == V_LIST || v.kind == V_MAP)
        return encode_json(a, v, out, err);
    Buf b = BUF_INIT;
    if (!val_write_text(v, &b, err)) {
        buf_deinit(&b);
        return false;
    }
    Text t = b.failed ? (Text){0} : arena_text(a, buf_view(&b));
    buf_deinit(&b);
    if (!t.ptr)
        return fail_code(err, XS_E_NOMEM);
    *out = dbv_text(t);
    return true;
}

static bool encode_number(Value v, bool whole, xs_db_value *out, xs_error *err)
{
    Value n;
    if (!val_number(v, &n, err))
        return xs_fail(err, XS_E_INPUTERROR, XS_NO_POS, "Invalid value for param");
    if (n.kind == V_DEC && whole) {
        int64_t i;
        if (!val_integer(n, &i, err))
            return false;
        *out = dbv_int(i);
    } else {
        *out = n.kind == V_INT && whole ? dbv_int(n.i) : dbv_real(val_as_double(n));
    }
    return true;
}

static bool encode_vector(Arena *a, Value v, xs_db_value *out, xs_error *err)
{
    if (v.kind != V_LIST)
        return xs_fail(err, XS_E_INPUTERROR, XS_NO_POS, "Invalid value for param");
    uint32_t n = val_count(v);
    char *bytes = arena_alloc(a, (size_t)n * 4 + 1);
    if (!bytes)
        return fail_code(err, XS_E_NOMEM);
    for (uint32_t i = 0; i < n; i++) {
        Value x;
        if (!val_number(list_at(v.list, i), &x, err))
            return xs_fail(err, XS_E_INPUTERROR, XS_NO_POS, "Invalid value for param");
        double d = val_as_double(x);
        float f = d > 3.0e38 ? 3.0e38f : d < -3.0e38 ? -3.0e38f : (float)d;
        memcpy(bytes + (size_t)i * 4, &f, 4);
    }
    *out = dbv_text((Text){bytes, (size_t)n * 4});
    out->type = XS_DB_BLOB;
    return true;
}

static bool encode_password(Arena *a, Value v, xs_db_value *out, xs_error *err)
{
    if (v.kind != V_TEXT)
        return xs_fail(err, XS_E_INPUTERROR, XS_NO_POS, "Invalid value for param");
    Text t = val_text_view(v);
    static const char prefix[] = "$argon2id$";
    if (t.len == 0 || (t.len > sizeof prefix && t.len < crypto_pwhash_STRBYTES &&
                       memcmp(t.ptr, prefix, sizeof prefix - 1) == 0))
        return encode_text(a, v, out, err); /* hashed already */
    char *hash = arena_alloc(a, crypto_pwhash_STRBYTES);
    if (!hash || sodium_init() < 0 ||
        crypto_pwhash_str_alg(hash, t.ptr, t.len, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                              crypto_pwhash_MEMLIMIT_INTERACTIVE,
                              crypto_pwhash_ALG_ARGON2ID13) != 0)
        return fail_code(err, XS_E_NOMEM);
    *out = dbv_text(text_from(hash));
    return true;
}

bool row_encode(Arena *a, ColType type, Value v, xs_db_value *out, xs_error *err)
{
    if (val_is_null(v)) {
        *out = dbv_null();
        return true;
    }
    switch (type.kind) {
    case CK_INT:
    case CK_TIME: return encode_number(v, true, out, err);
    case CK_DEC: return encode_number(v, false, out, err);
    case CK_BOOL: *out = dbv_int(val_truthy(v)); return true;
    case CK_JSON:
    case CK_LIST:
    case CK_FILE: return encode_json(a, v, out, err);
    case CK_VECTOR: return encode_vector(a, v, out, err);
    case CK_PASSWORD: return encode_password(a, v, out, err);
    case CK_ANY:
        switch (v.kind) {
        case V_BOOL: *out = dbv_int(v.b); return true;
        case V_INT: *out = dbv_int(v.i); return true;
        case V_DEC: *out = dbv_real(v.d); return true;
        case V_UNSET:
        case V_NULL:
        case V_TEXT:
        case V_LIST:
        case V_MAP:
        case V_HANDLE: return encode_text(a, v, out, err);
        }
        break;
    case CK_TEXT:
    case CK_DATE:
    case CK_UUID: break;
    }
    return encode_text(a, v, out, err);
}

Value row_keys(Heap *h, const OutCol *outs, uint32_t n)
{
    Value keys = list_new(h, n);
    for (uint32_t i = 0; i < n && keys.kind != V_UNSET; i++) {
        Value k = text_new(h, outs[i].name);
        if (k.kind == V_UNSET || !list_push(h, &keys, k)) {
            val_unref(h, keys);
            return val_unset();
        }
    }
    return keys;
}

Value row_build(Heap *h, Value keys, const OutCol *outs, uint32_t n, const xs_db_value *vals)
{
    Value row = map_new(h, n);
    if (row.kind == V_UNSET)
        return row;
    for (uint32_t i = 0; i < n; i++) {
        Value v = row_decode(h, outs[i].type, &vals[i]);
        if (v.kind == V_UNSET || !map_set(h, &row, val_ref(list_at(keys.list, i)), v)) {
            val_unref(h, row);
            return val_unset();
        }
    }
    return row;
}
