/* request.c - api.request: clauses to a transfer, its end to {"request", "response"}. A failure on
 * the way is a response with status 0, not an error. Specification: runtime.md §4.3. */
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"
#include "stdlib/http/feed.h"
#include "stdlib/outside.h"
#include "stdlib/storage/file.h"

enum { REDIRECTS_MAX = 10, NESTING_MAX = 32, METHOD_MAX = 20, TIMEOUT_S = 10 };

/* Clauses of the statement. */
enum {
    A_URL,
    A_METHOD,
    A_PARAMS,
    A_HEADERS,
    A_TIMEOUT,
    A_FOLLOW,
    A_VERIFY_HOST,
    A_VERIFY_PEER,
    A_CA,
    A_CERT,
    A_CERT_PASS,
    A_KEY,
    A_KEY_PASS,
    A_FORMAT /* of stream.from_request */
};

typedef struct Request {
    Transfer t;
    Value echo; /* of the fiber's heap: {"url","method","headers","params"} */
} Request;

/* Of stream.from_request. */
typedef struct RowsRequest {
    Request r;
    Feed feed;
    RowFormat format;
} RowsRequest;

typedef struct Build {
    Call *c;
    Request *r;
    Text method;
    Buf type; /* the Content-Type header that was given */
    Buf url;
} Build;

static bool no_memory(Call *c)
{
    return call_fail(c, XS_E_NOMEM, NULL);
}

/* ---- forms ---- */

static void url_text(Buf *out, Text t)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < t.len; i++) {
        unsigned char b = (unsigned char)t.ptr[i];
        bool plain = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
                     (b && strchr("-_.~", b));
        if (plain) {
            buf_char(out, (char)b);
        } else {
            buf_char(out, '%');
            buf_char(out, hex[b >> 4]);
            buf_char(out, hex[b & 15]);
        }
    }
}

/* Called for every leaf of nested parameters with its name: a[b][0]. */
typedef bool (*LeafFn)(Build *b, Text name, Value v, Buf *out);

static bool each_leaf(Build *b, Buf *name, Value v, unsigned depth, LeafFn fn, Buf *out)
{
    if (v.kind != V_LIST && v.kind != V_MAP)
        return val_is_null(v) || fn(b, buf_view(name), v, out);
    if (depth > NESTING_MAX)
        return call_fail(b->c, XS_E_LIMIT, "params are nested too deeply");
    size_t len = name->len;
    for (Walk w = walk_of(v); walk_next(&w);) {
        if (depth)
            buf_char(name, '[');
        if (w.key)
            buf_text(name, (Text){w.key->data, w.key->len});
        else
            buf_printf(name, "%u", w.pos);
        if (depth)
            buf_char(name, ']');
        if (name->failed)
            return no_memory(b->c);
        if (!each_leaf(b, name, w.value, depth + 1, fn, out))
            return false;
        name->len = len;
    }
    return true;
}

static bool leaf_text(Build *b, Value v, Buf *out)
{
    if (v.kind == V_BOOL)
        return buf_cstr(out, v.b ? "true" : "false");
    if (v.kind == V_HANDLE)
        return call_fail(b->c, XS_E_BAD_ARG, "a file needs Content-Type: multipart/form-data");
    return val_write_text(v, out, b->c->err);
}

static bool form_leaf(Build *b, Text name, Value v, Buf *out)
{
    Buf text = flt_buf();
    bool ok = leaf_text(b, v, &text);
    if (out->len && out->ptr[out->len - 1] != '?')
        buf_char(out, '&');
    url_text(out, name);
    buf_char(out, '=');
    url_text(out, buf_view(&text));
    ok = ok && (!(out->failed || text.failed) || no_memory(b->c));
    buf_deinit(&text);
    return ok;
}

static bool mime_leaf(Build *b, Text name, Value v, Buf *out)
{
    (void)out;
    Buf z = flt_buf(), text = flt_buf();
    curl_mimepart *part = curl_mime_addpart(b->r->t.mime);
    FileView file;
    bool ok = part && memchr(name.ptr, '\0', name.len) == NULL;
    if (v.kind == V_HANDLE && file_view(v, &file)) {
        buf_text(&text, file.name);
        buf_char(&text, '\0');
        buf_text(&z, file.mime);
        buf_char(&z, '\0');
        ok = ok && !text.failed && !z.failed &&
             curl_mime_data(part, file.data.ptr, file.data.len) == CURLE_OK &&
             curl_mime_filename(part, text.ptr) == CURLE_OK &&
             curl_mime_type(part, z.ptr) == CURLE_OK;
    } else if (ok) {
        ok = leaf_text(b, v, &text);
        ok = ok && !text.failed &&
             curl_mime_data(part, text.ptr ? text.ptr : "", text.len) == CURLE_OK;
    }
    z.len = 0;
    buf_text(&z, name);
    buf_char(&z, '\0');
    ok = ok && !z.failed && curl_mime_name(part, z.ptr) == CURLE_OK;
    buf_deinit(&z);
    buf_deinit(&text);
    return ok || b->c->err->code != XS_OK ? ok : no_memory(b->c);
}

static bool write_form(Build *b, Value params, LeafFn fn, Buf *out)
{
    Buf name = flt_buf();
    bool ok = each_leaf(b, &name, params, 0, fn, out);
    buf_deinit(&name);
    return ok;
}

/* ---- address ---- */

static bool has_body(Text method)
{
    return !text_eq(method, TEXT("GET")) && !text_eq(method, TEXT("HEAD")) &&
           !text_eq(method, TEXT("OPTIONS"));
}

static bool read_url(Build *b)
{
    Call *c = b->c;
    Text url;
    if (!call_text(c, A_URL, &url))
        return false;
    url = text_trim(url, TEXT(" \t\r\n"));
    bool ok = url.len > 0;
    for (size_t i = 0; ok && i < url.len; i++)
        ok = (unsigned char)url.ptr[i] > ' ' && url.ptr[i] != 127;
    if (!ok)
        return call_bad_arg(c, A_URL);
    size_t hash = text_find(url, TEXT("#"), 0);
    buf_text(&b->url, text_slice(url, 0, hash));
    Value params = call_arg(c, A_PARAMS);
    bool some = params.kind == V_TEXT
                    ? params.text->len > 0
                    : (params.kind == V_LIST || params.kind == V_MAP) && val_count(params) > 0;
    if (!has_body(b->method) && some) {
        bool query = text_find(url, TEXT("?"), 0) != SIZE_MAX;
        buf_char(&b->url, query ? '&' : '?');
        size_t before = b->url.len;
        if (params.kind == V_TEXT)
            buf_text(&b->url, val_text_view(params));
        else if (!query ? !write_form(b, params, form_leaf, &b->url) : false)
            return false;
        else if (query) {
            Buf form = flt_buf();
            ok = write_form(b, params, form_leaf, &form);
            buf_text(&b->url, buf_view(&form));
            buf_deinit(&form);
            if (!ok)
                return false;
        }
        if (b->url.len == before)
            b->url.len--;
        for (size_t i = before; i < b->url.len; i++)
            if ((unsigned char)b->url.ptr[i] <= ' ')
                return call_bad_arg(c, A_PARAMS);
    }
    buf_char(&b->url, '\0');
    return !b->url.failed || no_memory(c);
}

static bool read_method(Build *b)
{
    Text m = TEXT("GET");
    static _Thread_local char upper[METHOD_MAX + 1];
    if (!call_text_opt(b->c, A_METHOD, &m))
        return false;
    bool ok = m.len > 0 && m.len <= METHOD_MAX;
    for (size_t i = 0; ok && i < m.len; i++) {
        char ch = m.ptr[i];
        upper[i] = ch >= 'a' && ch <= 'z' ? (char)(ch - 32) : ch;
        ok = upper[i] >= 'A' && upper[i] <= 'Z';
    }
    if (!ok)
        return call_bad_arg(b->c, A_METHOD);
    upper[m.len] = '\0';
    b->method = (Text){upper, m.len};
    return true;
}

/* ---- headers ---- */

static bool name_is(Text name, const char *lower)
{
    size_t n = strlen(lower);
    if (name.len != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((name.ptr[i] | 32) != lower[i] && name.ptr[i] != lower[i])
            return false;
    return true;
}

static bool add_header(Build *b, Text name, Text value)
{
    Buf line = BUF_INIT;
    buf_text(&line, name);
    if (value.len) {
        buf_cstr(&line, ": ");
        buf_text(&line, value);
    } else {
        buf_char(&line, ';'); /* curl's way to send an empty one */
    }
    buf_char(&line, '\0');
    struct curl_slist *list = line.failed ? NULL : curl_slist_append(b->r->t.headers, line.ptr);
    buf_deinit(&line);
    if (!list)
        return no_memory(b->c);
    b->r->t.headers = list;
    return true;
}

/* Keep curl from writing a header of its own. */
static bool suppress(Build *b, const char *name)
{
    struct curl_slist *list = curl_slist_append(b->r->t.headers, name);
    if (!list)
        return no_memory(b->c);
    b->r->t.headers = list;
    return true;
}

/* A line that would end early or begin another one is refused. */
static bool header_line(Build *b, Text line)
{
    line = text_trim(line, TEXT(" \t\r\n"));
    if (!line.len)
        return true;
    size_t colon = text_find(line, TEXT(":"), 0);
    Text name = text_slice(line, 0, colon);
    bool ok = colon != SIZE_MAX && name.len > 0;
    for (size_t i = 0; ok && i < name.len; i++) {
        unsigned char ch = (unsigned char)name.ptr[i];
        ok = ch > ' ' && ch < 127 && !strchr("()<>@,;\\\"/[]?={}", ch);
    }
    Text value = text_trim(text_slice(line, colon + 1, line.len), TEXT(" \t"));
    for (size_t i = 0; ok && i < value.len; i++)
        ok = ((unsigned char)value.ptr[i] >= ' ' && value.ptr[i] != 127) || value.ptr[i] == '\t';
    if (!ok)
        return call_bad_arg(b->c, A_HEADERS);
    if (name_is(name, "content-length") || name_is(name, "transfer-encoding"))
        return true; /* they follow from the body */
    if (name_is(name, "content-type")) {
        b->type.len = 0;
        buf_text(&b->type, value);
        Text kind = text_slice(value, 0, text_find(value, TEXT(";"), 0));
        if (name_is(text_trim(kind, TEXT(" ")), "multipart/form-data"))
            return true; /* curl writes it, with the boundary */
    }
    return add_header(b, name, value);
}

static bool read_headers(Build *b)
{
    Value v = call_arg(b->c, A_HEADERS);
    if (val_is_null(v))
        return true;
    if (v.kind == V_TEXT)
        return header_line(b, val_text_view(v));
    if (v.kind != V_LIST && v.kind != V_MAP)
        return call_bad_arg(b->c, A_HEADERS);
    bool ok = true;
    for (Walk w = walk_of(v); ok && walk_next(&w);) {
        Buf line = flt_buf();
        if (w.key) { /* {"Accept": "x"} as well as ["Accept: x"] */
            buf_text(&line, (Text){w.key->data, w.key->len});
            buf_cstr(&line, ": ");
        }
        ok = val_write_text(w.value, &line, b->c->err) && (!line.failed || no_memory(b->c));
        ok = ok && header_line(b, buf_view(&line));
        buf_deinit(&line);
    }
    return ok;
}

/* ---- body ---- */

static bool read_body(Build *b)
{
    Call *c = b->c;
    CURL *e = b->r->t.easy;
    Value params = call_arg(c, A_PARAMS);
    Text type = buf_view(&b->type);
    Text kind = text_trim(text_slice(type, 0, text_find(type, TEXT(";"), 0)), TEXT(" \t"));
    Buf *body = &b->r->t.send;
    body->max = FILTER_TEXT_MAX;
    if (val_is_null(params) || !has_body(b->method)) {
        if (has_body(b->method) && !text_eq(b->method, TEXT("DELETE")))
            curl_easy_setopt(e, CURLOPT_POSTFIELDS, "");
        return kind.len || suppress(b, "Content-Type:");
    }
    if (name_is(kind, "multipart/form-data")) {
        b->r->t.mime = curl_mime_init(e);
        if (!b->r->t.mime)
            return no_memory(c);
        if (!write_form(b, params, mime_leaf, body))
            return false;
        curl_easy_setopt(e, CURLOPT_MIMEPOST, b->r->t.mime);
        return true;
    }
    FileView file;
    bool ok = true;
    if (params.kind == V_TEXT)
        buf_text(body, val_text_view(params));
    else if (file_view(params, &file))
        buf_text(body, file.data);
    else if (name_is(kind, "application/x-www-form-urlencoded"))
        ok = write_form(b, params, form_leaf, body);
    else if (!kind.len || text_find(kind, TEXT("json"), 0) != SIZE_MAX || params.kind == V_LIST ||
             params.kind == V_MAP)
        ok = value_json(params, body, c->err);
    else
        ok = val_write_text(params, body, c->err);
    if (ok && !kind.len)
        ok = add_header(b, TEXT("Content-Type"),
                        file_view(params, &file) ? TEXT("application/octet-stream")
                                                 : TEXT("application/json"));
    if (!ok || body->failed)
        return ok ? no_memory(c) : false;
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, body->ptr ? body->ptr : "");
    return true;
}

/* ---- options ---- */

/* A PEM text of the program; files of this machine are not its business. */
static bool pem_clause(Build *b, uint32_t i, CURLoption option)
{
    Text t = TEXT("");
    if (!call_text_opt(b->c, i, &t))
        return false;
    if (!t.len)
        return true;
    if (text_find(t, TEXT("-----BEGIN"), 0) == SIZE_MAX)
        return call_bad_arg(b->c, i);
    struct curl_blob blob = {(void *)(uintptr_t)t.ptr, t.len, CURL_BLOB_COPY};
    return curl_easy_setopt(b->r->t.easy, option, &blob) == CURLE_OK || no_memory(b->c);
}

static bool pass_clause(Build *b, uint32_t i)
{
    Text t = TEXT("");
    if (!call_text_opt(b->c, i, &t))
        return false;
    Buf z = BUF_INIT;
    buf_text(&z, t);
    buf_char(&z, '\0');
    bool ok = !t.len ||
              (!z.failed && curl_easy_setopt(b->r->t.easy, CURLOPT_KEYPASSWD, z.ptr) == CURLE_OK);
    buf_deinit(&z);
    return ok || no_memory(b->c);
}

static bool read_options(Build *b)
{
    Call *c = b->c;
    CURL *e = b->r->t.easy;
    Value seconds = val_int(TIMEOUT_S);
    if (call_has(c, A_TIMEOUT) && !call_number(c, A_TIMEOUT, &seconds))
        return false;
    double ms = val_as_double(seconds) * 1000;
    b->r->t.wait.timeout_ms = ms > 0 && ms < 1e12 ? (int64_t)ms + (ms < 1) : INT64_MAX;
    bool follow = call_bool(c, A_FOLLOW, true);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, follow ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, call_bool(c, A_VERIFY_HOST, true) ? 2L : 0L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, call_bool(c, A_VERIFY_PEER, true) ? 1L : 0L);
    return pem_clause(b, A_CA, CURLOPT_CAINFO_BLOB) &&
           pem_clause(b, A_CERT, CURLOPT_SSLCERT_BLOB) && pass_clause(b, A_CERT_PASS) &&
           pem_clause(b, A_KEY, CURLOPT_SSLKEY_BLOB) && pass_clause(b, A_KEY_PASS);
}

static bool set_method(Build *b)
{
    CURL *e = b->r->t.easy;
    if (text_eq(b->method, TEXT("HEAD")))
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    else if (!text_eq(b->method, TEXT("POST")) && !text_eq(b->method, TEXT("GET")))
        return curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, b->method.ptr) == CURLE_OK ||
               no_memory(b->c);
    return true;
}

static bool make_echo(Build *b)
{
    Heap *h = b->c->heap;
    Value echo = map_new(h, 4), headers = list_new(h, 4), params = call_arg(b->c, A_PARAMS);
    bool ok = headers.kind == V_LIST && echo.kind == V_MAP;
    for (const struct curl_slist *l = b->r->t.headers; ok && l; l = l->next)
        ok = list_push(h, &headers, text_new(h, text_from(l->data)));
    ok = ok && map_set_text(h, &echo, TEXT("url"), text_new(h, text_from(b->url.ptr))) &&
         map_set_text(h, &echo, TEXT("method"), text_new(h, b->method));
    if (ok)
        ok = map_set_text(h, &echo, TEXT("headers"), headers);
    else
        val_unref(h, headers);
    ok = ok && map_set_text(h, &echo, TEXT("params"),
                            val_is_null(params) ? list_new(h, 0) : val_ref(params));
    b->r->echo = echo;
    return ok || flt_memory(b->c);
}

/* ---- the end ---- */

static bool is_json(Text head, Text body)
{
    bool given = false;
    for (size_t from = 0; from < head.len;) {
        size_t end = text_find(head, TEXT("\n"), from);
        Text line = text_slice(head, from, end);
        size_t colon = text_find(line, TEXT(":"), 0);
        if (colon != SIZE_MAX && name_is(text_slice(line, 0, colon), "content-type")) {
            given = true;
            if (text_find(line, TEXT("json"), colon) != SIZE_MAX)
                return true;
        }
        from = end == SIZE_MAX ? head.len : end + 1;
    }
    body = text_trim(body, TEXT(" \t\r\n"));
    return !given && body.len && (body.ptr[0] == '{' || body.ptr[0] == '[');
}

static Value body_value(Heap *h, Text head, Text body)
{
    if (is_json(head, body)) {
        xs_error ignored = {0};
        Value v = val_parse_json(h, body, &ignored);
        if (v.kind != V_UNSET || ignored.code != XS_E_BAD_JSON)
            return v;
    }
    return text_new(h, body);
}

static Value head_lines(Heap *h, Text head)
{
    Value list = list_new(h, 16);
    for (size_t from = 0; list.kind == V_LIST && from < head.len;) {
        size_t end = text_find(head, TEXT("\n"), from);
        Text line = text_trim(text_slice(head, from, end), TEXT(" \t\r"));
        from = end == SIZE_MAX ? head.len : end + 1;
        if (line.len && !list_push(h, &list, text_new(h, line))) {
            val_unref(h, list);
            return val_unset();
        }
    }
    return list;
}

static Value response_value(Heap *h, const Request *r)
{
    const Transfer *t = &r->t;
    Text problem = transfer_problem(t);
    bool failed = problem.ptr != NULL;
    long status = 0;
    if (!failed)
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    Text head = failed ? TEXT("") : buf_view(&t->head), body = buf_view(&t->body);
    Value v = map_new(h, 4);
    bool ok =
        v.kind == V_MAP && map_set_text(h, &v, TEXT("headers"), head_lines(h, head)) &&
        map_set_text(h, &v, TEXT("result"), failed ? val_null() : body_value(h, head, body)) &&
        map_set_text(h, &v, TEXT("status"), val_int(status)) &&
        (!failed || map_set_text(h, &v, TEXT("error"), text_new(h, problem)));
    if (ok)
        return v;
    val_unref(h, v);
    return val_unset();
}

static bool result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)thrown;
    Request *r = (Request *)w;
    Value v = map_new(h, 2), echo = r->echo;
    r->echo = val_unset();
    bool ok = v.kind == V_MAP;
    if (!ok)
        val_unref(h, echo);
    ok = ok && map_set_text(h, &v, TEXT("request"), echo) &&
         map_set_text(h, &v, TEXT("response"), response_value(h, r));
    if (ok) {
        *out = v;
        return true;
    }
    val_unref(h, v);
    return heap_fail(h, err);
}

/* The fiber's heap may be gone: values are not touched. */
static void request_free(Wait *w)
{
    Request *r = (Request *)w;
    transfer_deinit(&r->t);
    mem_free(r);
}

static bool rows_result(Wait *w, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)thrown;
    RowsRequest *r = (RowsRequest *)w;
    val_unref(h, r->r.echo);
    r->r.echo = val_unset();
    if (!feed_begun(&r->feed))
        return xs_fail(err, XS_E_IO, XS_NO_POS, "stream.from_request: " TEXT_FMT,
                       TEXT_ARG(transfer_problem(&r->r.t)));
    feed_ref(&r->feed);
    *out = rows_of_bytes(h, &r->format, &feed_ops, &r->feed);
    return out->kind != V_UNSET || heap_fail(h, err);
}

static void rows_free(Wait *w)
{
    feed_unref(&((RowsRequest *)w)->feed);
}

static const WaitOps request_ops = {transfer_start, transfer_cancel, result, request_free},
                     rows_ops = {transfer_start, transfer_cancel, rows_result, rows_free};

/* r: zeroed but for its transfer. */
static bool build_request(Call *c, Request *r)
{
    r->t.http = true;
    Build b = {.c = c, .r = r, .url = flt_buf()};
    CURL *e = r->t.easy;
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    bool ok = read_method(&b) && read_url(&b) && read_headers(&b) && make_echo(&b) &&
              read_body(&b) && read_options(&b) && set_method(&b) && suppress(&b, "Expect:");
    if (ok && curl_easy_setopt(e, CURLOPT_URL, b.url.ptr) != CURLE_OK)
        ok = no_memory(c);
    if (ok)
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, r->t.headers);
    buf_deinit(&b.url);
    buf_deinit(&b.type);
    if (!ok)
        val_unref(c->heap, r->echo);
    return ok;
}

/* Storage that begins with a Request. NULL: c has failed. */
static Request *new_request(Call *c, Outside **o, size_t size, const WaitOps *ops)
{
    *o = call_outside(c);
    Request *r = *o ? (Request *)transfer_new((*o)->http, size) : NULL;
    if (*o && !r)
        no_memory(c);
    if (!r)
        return NULL;
    r->t.wait.ops = ops;
    if (build_request(c, r))
        return r;
    request_free(&r->t.wait);
    return NULL;
}

NativeResult op_api_request(Call *c)
{
    Outside *o;
    Request *r = new_request(c, &o, sizeof *r, &request_ops);
    return r ? wait_for(c, o->io, &r->t.wait) : NATIVE_ERROR;
}

static NativeResult open_rows(Call *c, const RowFormat *format)
{
    Outside *o;
    RowsRequest *r = (RowsRequest *)new_request(c, &o, sizeof *r, &rows_ops);
    if (!r)
        return NATIVE_ERROR;
    r->format = *format;
    feed_init(&r->feed, &r->r.t, r->r.t.wait.timeout_ms,
              c->fiber ? fiber_left_ms(c->fiber) : INT64_MAX);
    return wait_for(c, o->io, &r->r.t.wait);
}

/* The body of the request that runs this; when it was decoded already: a list, or one value. */
static bool own_body(Call *c, const RowFormat *format)
{
    const Const *body = c->run ? c->run->raw_input : NULL;
    if (body && body->kind == C_TEXT) {
        Value rows = rows_of_text(c->heap, format, text_new(c->heap, body->text));
        return call_return(c, rows) || flt_memory(c);
    }
    Value v = body ? val_from_const(c->heap, body) : list_new(c->heap, 0);
    if (v.kind == V_UNSET || v.kind == V_LIST)
        return call_return(c, v) || flt_memory(c);
    Value list = list_new(c->heap, 1);
    if (list.kind == V_LIST && list_push(c->heap, &list, v))
        return call_return(c, list);
    val_unref(c->heap, list);
    return flt_memory(c);
}

NativeResult op_stream_from_request(Call *c)
{
    Text name = TEXT("");
    RowFormat format;
    if (!call_text_opt(c, A_FORMAT, &name) || !row_format(name, &format, c->err))
        return NATIVE_ERROR;
    if (call_has(c, A_URL))
        return open_rows(c, &format);
    return own_body(c, &format) ? NATIVE_OK : NATIVE_ERROR;
}
