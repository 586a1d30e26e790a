/* ops.c - storage.* statements. A file comes as a handle, a data: text, what storage.create_*
 * returned, or an http(s) address, which is fetched while the fiber waits. Specification:
 * runtime.md §4.8. */
#include <time.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/http/client.h"
#include "stdlib/outside.h"
#include "stdlib/storage/file.h"
#include "stdlib/storage/store.h"

enum { FETCH_MS = 30000, REDIRECTS_MAX = 5 };

typedef struct Put {
    const char *kind; /* "image" "attachment" "video" "audio" */
    bool is_private;
    Buf name; /* len 0 = that of the file */
    Vault *store;
} Put;

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

/* ---- pictures ---- */

static unsigned be16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static unsigned le16(const unsigned char *p)
{
    return (unsigned)p[1] << 8 | p[0];
}

static unsigned le24(const unsigned char *p)
{
    return (unsigned)p[2] << 16 | le16(p);
}

static bool jpeg_size(const unsigned char *p, size_t len, int64_t *w, int64_t *h)
{
    for (size_t at = 2; at + 9 < len;) {
        if (p[at] != 0xff)
            return false;
        unsigned mark = p[at + 1];
        if (mark == 0xff) {
            at++;
            continue;
        }
        if (mark >= 0xc0 && mark <= 0xcf && mark != 0xc4 && mark != 0xc8 && mark != 0xcc) {
            *h = be16(p + at + 5);
            *w = be16(p + at + 7);
            return true;
        }
        at += 2 + (size_t)be16(p + at + 2);
    }
    return false;
}

static bool webp_size(const unsigned char *p, size_t len, int64_t *w, int64_t *h)
{
    if (len < 30)
        return false;
    if (memcmp(p + 12, "VP8X", 4) == 0) {
        *w = (int64_t)le24(p + 24) + 1;
        *h = (int64_t)le24(p + 27) + 1;
    } else if (memcmp(p + 12, "VP8L", 4) == 0) {
        unsigned bits = le16(p + 21) | le16(p + 23) << 16;
        *w = (bits & 0x3fff) + 1;
        *h = (bits >> 14 & 0x3fff) + 1;
    } else {
        *w = le16(p + 26) & 0x3fff;
        *h = le16(p + 28) & 0x3fff;
    }
    return true;
}

/* False: none of the four kinds, or its head is damaged. */
static bool image_size(Text data, int64_t *w, int64_t *h)
{
    const unsigned char *p = (const unsigned char *)data.ptr;
    Text mime = mime_of(TEXT(""), data);
    if (text_eq(mime, TEXT("image/png")) && data.len >= 24) {
        *w = (int64_t)be16(p + 16) << 16 | be16(p + 18);
        *h = (int64_t)be16(p + 20) << 16 | be16(p + 22);
        return true;
    }
    if (text_eq(mime, TEXT("image/gif")) && data.len >= 10) {
        *w = le16(p + 6);
        *h = le16(p + 8);
        return true;
    }
    if (text_eq(mime, TEXT("image/jpeg")))
        return jpeg_size(p, data.len, w, h);
    return text_eq(mime, TEXT("image/webp")) && webp_size(p, data.len, w, h);
}

/* ---- storing ---- */

/* The metadata object. V_UNSET: memory. */
static Value describe(Heap *h, const Put *p, Text path, Text data, int64_t w, int64_t height)
{
    Text name = vault_name(path);
    Value v = map_new(h, 8), meta = map_new(h, 2);
    bool ok = meta.kind == V_MAP && v.kind == V_MAP;
    if (ok && w)
        ok = map_set_text(h, &meta, TEXT("width"), val_int(w)) &&
             map_set_text(h, &meta, TEXT("height"), val_int(height));
    Text access = p->is_private ? TEXT("private") : TEXT("public");
    ok = ok && map_set_text(h, &v, TEXT("access"), text_new(h, access)) &&
         map_set_text(h, &v, TEXT("path"), text_new(h, path)) &&
         map_set_text(h, &v, TEXT("name"), text_new(h, name)) &&
         map_set_text(h, &v, TEXT("type"), text_new(h, text_from(p->kind))) &&
         map_set_text(h, &v, TEXT("size"), val_int((int64_t)data.len)) &&
         map_set_text(h, &v, TEXT("mime"), text_new(h, mime_of(name, data)));
    if (ok)
        ok = map_set_text(h, &v, TEXT("meta"), meta);
    else
        val_unref(h, meta);
    if (ok)
        return v;
    val_unref(h, v);
    return val_unset();
}

static bool put(Heap *h, const Put *p, Text own_name, Text data, Value *out, xs_error *err)
{
    int64_t w = 0, height = 0;
    if (strcmp(p->kind, "image") == 0 && !image_size(data, &w, &height))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid file extension.");
    Buf path = BUF_INIT;
    Text name = p->name.len ? buf_view(&p->name) : own_name;
    bool ok = vault_put(p->store, p->is_private, name, data, &path, err);
    if (ok) {
        *out = describe(h, p, buf_view(&path), data, w, height);
        ok = out->kind != V_UNSET || heap_fail(h, err);
    }
    buf_deinit(&path);
    return ok;
}

/* ---- fetching ---- */

typedef struct Fetch {
    Transfer t;
    Put put;
    Buf url; /* NUL-terminated */
} Fetch;

static bool fetch_result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)thrown;
    Fetch *f = (Fetch *)w;
    Text problem = transfer_problem(&f->t);
    long status = 0;
    if (problem.ptr)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "The file could not be fetched: " TEXT_FMT,
                       TEXT_ARG(text_slice(problem, 0, 180)));
    curl_easy_getinfo(f->t.easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "The file could not be fetched: status %ld",
                       status);
    return put(h, &f->put, vault_name(text_from(f->url.ptr)), buf_view(&f->t.body), out, err);
}

static void fetch_free(Wait *w)
{
    Fetch *f = (Fetch *)w;
    transfer_deinit(&f->t);
    buf_deinit(&f->put.name);
    buf_deinit(&f->url);
    mem_free(f);
}

static const WaitOps fetch_ops = {transfer_start, transfer_cancel, fetch_result, fetch_free};

/* Takes p->name. */
static NativeResult fetch(Call *c, Outside *o, Put *p, Text url)
{
    Fetch *f = (Fetch *)transfer_new(o->http, sizeof *f);
    if (!f) {
        buf_deinit(&p->name);
        return result_of(call_fail(c, XS_E_NOMEM, NULL));
    }
    f->t.wait.ops = &fetch_ops;
    f->t.wait.timeout_ms = FETCH_MS;
    f->t.http = true;
    f->put = *p;
    buf_text(&f->url, url);
    buf_char(&f->url, '\0');
    CURL *e = f->t.easy;
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    if (!f->url.failed && curl_easy_setopt(e, CURLOPT_URL, f->url.ptr) == CURLE_OK)
        return wait_for(c, o->io, &f->t.wait);
    fetch_free(&f->t.wait);
    return result_of(call_fail(c, XS_E_NOMEM, NULL));
}

/* ---- where a file comes from ---- */

/* "data:image/png;base64,…" */
static bool data_text(Call *c, Text t, Buf *out)
{
    size_t comma = text_find(t, TEXT(","), 0);
    if (comma == SIZE_MAX)
        return call_bad_arg(c, 0);
    if (text_ends(text_slice(t, 0, comma), TEXT(";base64")))
        base64_read(text_slice(t, comma + 1, t.len), out);
    else
        url_decode_to(text_slice(t, comma + 1, t.len), false, out);
    return !out->failed || call_fail(c, XS_E_NOMEM, NULL);
}

/* Bytes and name of argument 0; out keeps the bytes when they had to be made. */
static bool source(Call *c, Outside *o, Buf *out, Text *name, Text *data)
{
    Value v = call_arg(c, 0);
    FileView file;
    *name = TEXT("");
    if (file_view(v, &file)) {
        *name = file.name;
        *data = file.data;
        return true;
    }
    Value path = v.kind == V_MAP ? map_get_cstr(v, "path") : v;
    if (path.kind != V_TEXT)
        return call_bad_arg(c, 0);
    Text t = val_text_view(path);
    bool ok = text_starts(t, TEXT("data:")) ? data_text(c, t, out)
                                            : vault_read(o->store, t, FILTER_TEXT_MAX, out, c->err);
    if (ok && !text_starts(t, TEXT("data:")))
        *name = vault_name(t);
    *data = buf_view(out);
    return ok;
}

static bool is_address(Value v)
{
    return v.kind == V_TEXT && text_find(val_text_view(v), TEXT("/vault/"), 0) == SIZE_MAX &&
           (text_starts(val_text_view(v), TEXT("http://")) ||
            text_starts(val_text_view(v), TEXT("https://")));
}

static NativeResult create(Call *c, const char *kind)
{
    Outside *o = call_outside(c);
    Text access = TEXT("public"), filename = TEXT("");
    if (!o || !call_text_opt(c, 1, &access) || !call_text_opt(c, 2, &filename))
        return NATIVE_ERROR;
    if (!text_eq(access, TEXT("public")) && !text_eq(access, TEXT("private")))
        return result_of(call_bad_arg(c, 1));
    Put p = {.kind = kind, .is_private = text_eq(access, TEXT("private")), .store = o->store};
    buf_text(&p.name, filename);
    if (is_address(call_arg(c, 0)))
        return fetch(c, o, &p, val_text_view(call_arg(c, 0)));
    Buf made = flt_buf();
    Text name, data;
    Value out = val_null();
    bool ok = source(c, o, &made, &name, &data) && put(c->heap, &p, name, data, &out, c->err);
    buf_deinit(&p.name);
    buf_deinit(&made);
    return result_of(ok && call_return(c, out));
}

NativeResult op_storage_create_image(Call *c)
{
    return create(c, "image");
}

NativeResult op_storage_create_attachment(Call *c)
{
    return create(c, "attachment");
}

NativeResult op_storage_create_video(Call *c)
{
    return create(c, "video");
}

NativeResult op_storage_create_audio(Call *c)
{
    return create(c, "audio");
}

NativeResult op_storage_create_file_resource(Call *c)
{
    Text name, data;
    FileView file;
    if (!call_text(c, 0, &name))
        return NATIVE_ERROR;
    if (file_view(call_arg(c, 1), &file))
        data = file.data;
    else if (!call_text(c, 1, &data))
        return NATIVE_ERROR;
    return result_of(call_return(c, file_new(c->heap, name, (Text){0}, text_new(c->heap, data))));
}

NativeResult op_storage_read_file_resource(Call *c)
{
    Outside *o = call_outside(c);
    Buf made = flt_buf();
    Text name, data, mime;
    if (!o)
        return NATIVE_ERROR;
    bool ok = source(c, o, &made, &name, &data);
    if (ok) {
        Heap *h = c->heap;
        FileView file;
        mime = file_view(call_arg(c, 0), &file) ? file.mime : mime_of(name, data);
        Value v = map_new(h, 4);
        ok = v.kind == V_MAP && map_set_text(h, &v, TEXT("name"), text_new(h, name)) &&
             map_set_text(h, &v, TEXT("size"), val_int((int64_t)data.len)) &&
             map_set_text(h, &v, TEXT("mime"), text_new(h, mime)) &&
             map_set_text(h, &v, TEXT("data"), text_new(h, data));
        if (ok)
            ok = call_return(c, v);
        else
            val_unref(h, v);
        ok = ok || flt_memory(c);
    }
    buf_deinit(&made);
    return result_of(ok);
}

/* A path, or what storage.create_* returned. */
static bool path_arg(Call *c, Text *out)
{
    Value v = call_arg(c, 0);
    if (v.kind == V_MAP)
        v = map_get_cstr(v, "path");
    *out = v.kind == V_TEXT ? val_text_view(v) : (Text){0};
    return v.kind == V_TEXT || call_bad_arg(c, 0);
}

NativeResult op_storage_delete_file(Call *c)
{
    Outside *o = call_outside(c);
    Text path;
    return result_of(o && path_arg(c, &path) && vault_delete(o->store, path, c->err));
}

NativeResult op_storage_sign_private_url(Call *c)
{
    Outside *o = call_outside(c);
    Text path;
    int64_t ttl = 30;
    if (!o || !path_arg(c, &path) || !call_int_opt(c, 1, &ttl))
        return NATIVE_ERROR;
    int64_t now = (int64_t)time(NULL);
    ttl = ttl < 0 ? 0 : ttl > INT32_MAX ? INT32_MAX : ttl;
    Buf url = BUF_INIT;
    if (c->run && c->run->base_url.len)
        buf_text(&url, c->run->base_url);
    buf_text(&url, path);
    bool ok = vault_sign(o->store, path, now + ttl, &url, c->err);
    if (ok)
        return result_of(call_return_buf(c, &url));
    buf_deinit(&url);
    return NATIVE_ERROR;
}
