/* zip.c - zip.* statements over libzip: archives are file handles in memory. Names that lead out of
 * a folder are refused, and so is what unpacks to far more than it is. Specification: runtime.md
 * §4.8. */
#include <stdlib.h>
#include <zip.h>

#include "core/mem.h"
#include "core/text.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/natives.h"
#include "stdlib/storage/file.h"
#include "stdlib/storage/store.h"

enum {
    ENTRIES_MAX = 10000,
    RATIO_MAX = 200, /* of what an archive unpacks to, past SMALL_BYTES */
    SMALL_BYTES = 1 << 20,
    CHUNK_BYTES = 65536
};

static const char empty_archive[22] = "PK\5\6";

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

static bool zip_fail(Call *c, const char *what, const char *why)
{
    return c->err->code != XS_OK ? false : call_fail(c, XS_E_STANDARD, "zip: %s: %s", what, why);
}

/* ---- opening ---- */

typedef struct Archive {
    zip_t *zip;
    zip_source_t *source; /* kept: it holds the bytes after zip_close */
} Archive;

static bool archive_open(Call *c, Archive *a, Text data, const char *password)
{
    zip_error_t error;
    zip_error_init(&error);
    *a = (Archive){0};
    a->source = zip_source_buffer_create(data.ptr, data.len, 0, &error);
    if (a->source) {
        zip_source_keep(a->source);
        a->zip = zip_open_from_source(a->source, ZIP_CHECKCONS, &error);
        if (!a->zip)
            zip_source_free(a->source); /* the archive's own reference */
    }
    bool ok =
        a->zip && (!password || !*password || zip_set_default_password(a->zip, password) == 0);
    if (!ok)
        zip_fail(c, "not an archive", zip_error_strerror(&error));
    zip_error_fini(&error);
    return ok;
}

static void archive_close(Archive *a)
{
    if (a->zip)
        zip_discard(a->zip);
    if (a->source)
        zip_source_free(a->source);
}

/* Whether nothing is left; deleted members count as entries until the archive is closed. */
static bool archive_is_empty(Archive *a)
{
    zip_int64_t count = zip_get_num_entries(a->zip, 0);
    for (zip_int64_t i = 0; i < count; i++)
        if (zip_get_name(a->zip, (zip_uint64_t)i, 0))
            return false;
    return true;
}

/* Write the archive and put its bytes into the handle. */
static bool archive_commit(Call *c, Archive *a, Value handle)
{
    bool emptied = archive_is_empty(a);
    if (zip_close(a->zip) != 0)
        return zip_fail(c, "writing", zip_strerror(a->zip));
    a->zip = NULL;
    if (emptied)
        return file_set_data(c->heap, handle,
                             text_new(c->heap, (Text){empty_archive, sizeof empty_archive})) ||
               flt_memory(c);
    zip_stat_t st;
    if (zip_source_stat(a->source, &st) != 0 || !(st.valid & ZIP_STAT_SIZE) ||
        zip_source_open(a->source) != 0)
        return zip_fail(c, "writing", "no result");
    Value data = text_new_raw(c->heap, (size_t)st.size);
    bool ok = data.kind == V_TEXT || flt_memory(c);
    if (ok && zip_source_read(a->source, data.text->data, st.size) != (zip_int64_t)st.size) {
        ok = zip_fail(c, "writing", "no result");
        val_unref(c->heap, data);
    }
    zip_source_close(a->source);
    return ok && (file_set_data(c->heap, handle, data) || flt_memory(c));
}

/* ---- arguments ---- */

/* NUL-terminated text of an optional clause. */
static bool text_z(Call *c, uint32_t i, Buf *out)
{
    Text t = TEXT("");
    if (!call_text_opt(c, i, &t))
        return false;
    if (t.len && memchr(t.ptr, '\0', t.len))
        return call_bad_arg(c, i);
    buf_text(out, t);
    buf_char(out, '\0');
    return !out->failed || call_fail(c, XS_E_NOMEM, NULL);
}

static bool encryption(Call *c, uint32_t i, bool wanted, zip_uint16_t *method)
{
    static const struct {
        Text name;
        zip_uint16_t method;
    } rows[] = {{TEXT("standard"), ZIP_EM_TRAD_PKWARE},
                {TEXT("AES-128"), ZIP_EM_AES_128},
                {TEXT("AES-192"), ZIP_EM_AES_192},
                {TEXT("AES-256"), ZIP_EM_AES_256}};
    Text t = TEXT("");
    if (!call_text_opt(c, i, &t))
        return false;
    *method = wanted ? ZIP_EM_AES_256 : ZIP_EM_NONE;
    for (size_t k = 0; k < COUNT_OF(rows) && t.len; k++)
        if (text_eq(t, rows[k].name)) {
            *method = wanted ? rows[k].method : ZIP_EM_NONE;
            return true;
        }
    return !t.len || call_bad_arg(c, i);
}

/* "a/b.txt": no root, drive, "." or "..". */
static bool safe_name(Text t)
{
    if (!t.len || t.ptr[0] == '/' || !utf8_valid(t))
        return false;
    for (size_t from = 0; from <= t.len;) {
        size_t end = text_find(t, TEXT("/"), from);
        Text part = text_slice(t, from, end);
        if (text_eq(part, TEXT("..")) || text_eq(part, TEXT(".")))
            return false;
        from = end == SIZE_MAX ? t.len + 1 : end + 1;
    }
    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.ptr[i] < ' ' || t.ptr[i] == '\\' || t.ptr[i] == ':')
            return false;
    return true;
}

static bool zip_handle(Call *c, uint32_t i, Value *v, Text *data)
{
    FileView file;
    *v = call_arg(c, i);
    if (!file_view(*v, &file))
        return call_bad_arg(c, i);
    *data = file.data;
    return true;
}

/* ---- statements ---- */

NativeResult op_zip_create_archive(Call *c)
{
    Text name;
    zip_uint16_t method;
    if (!call_text(c, 0, &name) || !encryption(c, 2, true, &method))
        return NATIVE_ERROR;
    return result_of(
        call_return(c, file_new(c->heap, name, TEXT("application/zip"),
                                text_new(c->heap, (Text){empty_archive, sizeof empty_archive}))));
}

static bool add(Call *c, Archive *a, Text name, Text data, zip_uint16_t method)
{
    Buf z = BUF_INIT;
    buf_text(&z, name);
    buf_char(&z, '\0');
    zip_source_t *s = z.failed ? NULL : zip_source_buffer(a->zip, data.ptr, data.len, 0);
    zip_int64_t at = s ? zip_file_add(a->zip, z.ptr, s, ZIP_FL_OVERWRITE | ZIP_FL_ENC_UTF_8) : -1;
    if (s && at < 0)
        zip_source_free(s);
    bool ok = at >= 0 && (method == ZIP_EM_NONE ||
                          zip_file_set_encryption(a->zip, (zip_uint64_t)at, method, NULL) == 0);
    buf_deinit(&z);
    return ok || zip_fail(c, "adding", zip_strerror(a->zip));
}

NativeResult op_zip_add_to_archive(Call *c)
{
    FileView file;
    Value zip;
    Text data, name = TEXT("");
    zip_uint16_t method;
    Buf password = BUF_INIT;
    Archive a = {0};
    if (!file_view(call_arg(c, 0), &file))
        return result_of(call_bad_arg(c, 0));
    if (!zip_handle(c, 1, &zip, &data) || !call_text_opt(c, 2, &name))
        return NATIVE_ERROR;
    if (!name.len)
        name = file.name;
    bool ok = (safe_name(name) || call_bad_arg(c, 2)) && text_z(c, 3, &password) &&
              encryption(c, 4, password.len > 1, &method) &&
              archive_open(c, &a, data, password.ptr) && add(c, &a, name, file.data, method) &&
              archive_commit(c, &a, zip);
    archive_close(&a);
    buf_deinit(&password);
    return result_of(ok);
}

NativeResult op_zip_delete_from_archive(Call *c)
{
    Value zip;
    Text data;
    Buf name = BUF_INIT, password = BUF_INIT;
    Archive a = {0};
    bool ok = zip_handle(c, 1, &zip, &data) && text_z(c, 0, &name) && text_z(c, 2, &password) &&
              archive_open(c, &a, data, password.ptr);
    if (ok) {
        zip_int64_t at = zip_name_locate(a.zip, name.ptr, ZIP_FL_ENC_GUESS);
        ok = at >= 0 || call_fail(c, XS_E_NOTFOUND, "There is no such file in the archive.");
        ok = ok &&
             (zip_delete(a.zip, (zip_uint64_t)at) == 0 ||
              zip_fail(c, "deleting", zip_strerror(a.zip))) &&
             archive_commit(c, &a, zip);
    }
    archive_close(&a);
    buf_deinit(&name);
    buf_deinit(&password);
    return result_of(ok);
}

/* One file of the archive. budget: bytes that may still come out of it. V_UNSET: error. */
static Value unpack(Call *c, Archive *a, zip_uint64_t i, const zip_stat_t *st, uint64_t *budget)
{
    zip_file_t *f = zip_fopen_index(a->zip, i, 0);
    Buf b = flt_buf();
    zip_int64_t n = 1;
    bool ok = f || zip_fail(c, st->name, zip_strerror(a->zip));
    while (ok && n > 0) {
        ok = buf_reserve(&b, CHUNK_BYTES) || call_fail(c, XS_E_MEMORY, NULL);
        n = ok ? zip_fread(f, b.ptr + b.len, CHUNK_BYTES) : 0;
        if (n < 0)
            ok = zip_fail(c, st->name, zip_file_strerror(f));
        else if ((uint64_t)n > *budget)
            ok = call_fail(c, XS_E_LIMIT, "zip: the archive unpacks to too much");
        if (ok) {
            b.len += (size_t)n;
            *budget -= (uint64_t)n;
        }
    }
    if (f)
        zip_fclose(f);
    Value v =
        ok ? file_new(c->heap, text_from(st->name), (Text){0}, text_new(c->heap, buf_view(&b)))
           : val_unset();
    if (ok && v.kind == V_UNSET)
        flt_memory(c);
    buf_deinit(&b);
    return v;
}

static Value listed(Call *c, const zip_stat_t *st)
{
    Value v = map_new(c->heap, 2);
    bool ok = v.kind == V_MAP &&
              map_set_text(c->heap, &v, TEXT("name"), text_new(c->heap, text_from(st->name))) &&
              map_set_text(c->heap, &v, TEXT("size"), val_int((int64_t)st->size));
    if (ok)
        return v;
    val_unref(c->heap, v);
    flt_memory(c);
    return val_unset();
}

static NativeResult walk(Call *c, bool extract)
{
    Value zip, list = val_unset();
    Text data;
    Buf password = BUF_INIT;
    Archive a = {0};
    bool ok = zip_handle(c, 0, &zip, &data) && text_z(c, 1, &password) &&
              archive_open(c, &a, data, password.ptr);
    zip_int64_t n = ok ? zip_get_num_entries(a.zip, 0) : 0;
    uint64_t budget = (uint64_t)data.len * RATIO_MAX;
    if (ok && budget < SMALL_BYTES)
        budget = SMALL_BYTES;
    if (ok && n > ENTRIES_MAX)
        ok = call_fail(c, XS_E_LIMIT, "zip: more than %d files", ENTRIES_MAX);
    list = ok ? list_new(c->heap, (uint32_t)n) : list;
    ok = ok && (list.kind == V_LIST || flt_memory(c));
    for (zip_uint64_t i = 0; ok && i < (zip_uint64_t)n; i++) {
        zip_stat_t st;
        if (zip_stat_index(a.zip, i, 0, &st) != 0 || !(st.valid & ZIP_STAT_NAME)) {
            ok = zip_fail(c, "reading", zip_strerror(a.zip));
            break;
        }
        if (!safe_name(text_from(st.name))) {
            ok = call_fail(c, XS_E_STANDARD, "zip: a name in the archive is not allowed");
            break;
        }
        if (text_ends(text_from(st.name), TEXT("/")))
            continue; /* a folder */
        Value v = extract ? unpack(c, &a, i, &st, &budget) : listed(c, &st);
        ok = v.kind != V_UNSET && (list_push(c->heap, &list, v) || flt_memory(c));
    }
    archive_close(&a);
    buf_deinit(&password);
    if (ok)
        return result_of(call_return(c, list));
    val_unref(c->heap, list);
    return NATIVE_ERROR;
}

NativeResult op_zip_extract(Call *c)
{
    return walk(c, true);
}

NativeResult op_zip_view_contents(Call *c)
{
    return walk(c, false);
}
