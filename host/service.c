/* service.c - what running programs may ask of this process. */
#include "host/service.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/map.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "host/detached.h"
#include "host/http.h"
#include "host/outstream.h"
#include "vm/convert.h"

/* ---- environment ---- */

enum { ENV_FILE_MAX = 1 << 20, LOGGED_NAME_MAX = 64 };

struct EnvVars {
    Arena arena;
    Map vars; /* name → Text in the arena */
};

static bool env_put(EnvVars *e, Text name, Text value)
{
    Text *slot = ARENA_NEW(&e->arena, Text);
    Text key = arena_text(&e->arena, name);
    if (!slot || !key.ptr)
        return false;
    *slot = arena_text(&e->arena, value);
    return slot->ptr && map_put(&e->vars, key, slot);
}

static Text env_value(Text raw)
{
    Text v = text_trim(raw, TEXT(" \t\r"));
    if (v.len >= 2 && (v.ptr[0] == '"' || v.ptr[0] == '\'') && v.ptr[v.len - 1] == v.ptr[0])
        return text_slice(v, 1, v.len - 1);
    return text_trim(text_slice(v, 0, text_find(v, TEXT(" #"), 0)), TEXT(" \t"));
}

static bool env_parse(EnvVars *e, const char *file, Text content, xs_error *err)
{
    unsigned number = 0;
    for (size_t from = 0; from < content.len;) {
        size_t end = text_find(content, TEXT("\n"), from);
        Text line = text_trim(text_slice(content, from, end), TEXT(" \t\r"));
        from = end == SIZE_MAX ? content.len : end + 1;
        number++;
        if (text_starts(line, TEXT("export ")))
            line = text_trim(text_slice(line, 7, line.len), TEXT(" \t"));
        if (!line.len || line.ptr[0] == '#')
            continue;
        size_t equals = text_find(line, TEXT("="), 0);
        Text name = text_trim(text_slice(line, 0, equals), TEXT(" \t"));
        if (equals == SIZE_MAX || !text_is_ident(name))
            return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "%s:%u: expected NAME=value", file, number);
        if (!env_put(e, name, env_value(text_slice(line, equals + 1, line.len))))
            return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    }
    return true;
}

static bool env_read(EnvVars *e, const char *file, bool required, xs_error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (!required && errno == ENOENT) ||
               xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", file, strerror(errno));
    Buf b = {.max = ENV_FILE_MAX};
    ssize_t n = 0;
    while (buf_reserve(&b, 4096) && (n = read(fd, b.ptr + b.len, 4096)) > 0)
        b.len += (size_t)n;
    int problem = n < 0 ? errno : EFBIG;
    close(fd);
    bool ok = n < 0 || b.failed
                  ? xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", file, strerror(problem))
                  : env_parse(e, file, buf_view(&b), err);
    buf_deinit(&b);
    return ok;
}

EnvVars *env_new(const char *file, bool required, char *const *env, xs_error *err)
{
    EnvVars *e = mem_zalloc(1, sizeof *e);
    if (!e) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    arena_init(&e->arena, 0);
    bool ok = !*file || env_read(e, file, required, err);
    for (; ok && env && *env; env++) {
        Text t = text_from(*env);
        size_t equals = text_find(t, TEXT("="), 0);
        if (equals != SIZE_MAX && equals > 0)
            ok = env_put(e, text_slice(t, 0, equals), text_slice(t, equals + 1, t.len)) ||
                 xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    }
    if (ok)
        return e;
    env_free(e);
    return NULL;
}

void env_free(EnvVars *e)
{
    if (!e)
        return;
    map_deinit(&e->vars);
    arena_deinit(&e->arena);
    mem_free(e);
}

Text env_find(const EnvVars *e, Text name)
{
    const Text *found = e ? map_get(&e->vars, name) : NULL;
    return found ? *found : (Text){0};
}

/* ---- reply headers ---- */

static bool header_name_ok(Text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.ptr[i];
        if (c <= ' ' || c >= 127 || strchr("()<>@,;:\\\"/[]?={}", c))
            return false;
    }
    return t.len > 0;
}

static bool bad_header(xs_error *err)
{
    return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: value");
}

static bool set_status(ReplyHeaders *r, Text line, xs_error *err)
{
    size_t blank = text_find(line, TEXT(" "), 0);
    Text rest = blank == SIZE_MAX ? (Text){"", 0} : text_slice(line, blank + 1, line.len);
    int64_t n;
    if (!num_parse_int(text_slice(rest, 0, 3), &n) || n < 200 || n > 599)
        return bad_header(err);
    r->status = (int)n;
    return true;
}

bool reply_set_header(ReplyHeaders *r, Text line, bool append, xs_error *err)
{
    static const char *const framing[] = {"Content-Length", "Transfer-Encoding", "Connection",
                                          "Keep-Alive",     "Upgrade",           "Date"};
    line = text_trim(line, TEXT(" \t\r\n"));
    if (text_starts(line, TEXT("HTTP/")))
        return set_status(r, line, err);
    size_t colon = text_find(line, TEXT(":"), 0);
    Text name = text_slice(line, 0, colon);
    if (colon == SIZE_MAX || !header_name_ok(name))
        return bad_header(err);
    Text value = text_trim(text_slice(line, colon + 1, line.len), TEXT(" \t"));
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] < ' ' && value.ptr[i] != '\t')
            return bad_header(err);
    name = http_title_case(r->arena, name);
    for (size_t i = 0; i < COUNT_OF(framing); i++)
        if (text_eq(name, text_from(framing[i])))
            return true;
    if (!r->headers)
        r->headers = const_map(r->arena, 4);
    const Const *old = name.ptr && r->headers ? const_find(r->headers, name) : NULL;
    Const *list = const_list(r->arena, 1);
    bool ok = r->headers && list;
    for (uint32_t i = 0; ok && append && old && i < old->count; i++)
        ok = const_push(r->arena, list, old->items[i]);
    const Const *text = ok ? const_text(r->arena, value) : NULL;
    if (!text || !const_push(r->arena, list, text) || !const_set(r->arena, r->headers, name, list))
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    return true;
}

/* ---- services ---- */

static int64_t now_ms(void *ctx)
{
    const ServiceCtx *c = (const ServiceCtx *)ctx;
    /* When the drain is over every deadline counts as passed: the end of the year 9999. */
    if (UNLIKELY(atomic_load_explicit(&c->env->expired, memory_order_relaxed)))
        return 253402300799000;
    return clock_wall_ms();
}

static bool random_bytes(void *ctx, void *out, size_t n)
{
    (void)ctx;
    randombytes_buf(out, n);
    return true;
}

static void log_value(void *ctx, Fiber *fiber, Text json)
{
    (void)fiber;
    const ServiceCtx *c = (const ServiceCtx *)ctx;
    log_json(c->env->log, LEVEL_INFO, "debug", json);
}

static void log_event(const ServiceCtx *c, const PublishReq *req)
{
    Buf b = BUF_INIT;
    buf_cstr(&b, "{\"channel\":");
    json_write_text(&b, req->channel);
    if (req->event.ptr) {
        buf_cstr(&b, ",\"event\":");
        json_write_text(&b, req->event);
    }
    buf_cstr(&b, ",\"data\":");
    buf_text(&b, req->data_json);
    buf_char(&b, '}');
    if (!b.failed)
        log_json(c->env->log, LEVEL_INFO, "event", buf_view(&b));
    buf_deinit(&b);
}

/* What nobody can hear is no error of the program. */
static bool drop_event(const ServiceCtx *c, const PublishReq *req, const char *why)
{
    log_line(c->env->log, LEVEL_WARNING, "event for channel '" TEXT_FMT "' dropped: %s",
             TEXT_ARG(text_slice(req->channel, 0, LOGGED_NAME_MAX)), why);
    return true;
}

static bool publish_in(const ServiceCtx *c, Space *s, const PublishReq *req, const HubPublish *p,
                       xs_error *err)
{
    HubPublished out;
    if (hub_publish(c->env->hub, s, p, &out, err))
        return true;
    return (err->code == XS_E_BAD_ARG || err->code == XS_E_TOO_LARGE) &&
           drop_event(c, req, err->message);
}

static bool publish(void *ctx, const PublishReq *req, xs_error *err)
{
    const ServiceCtx *c = (const ServiceCtx *)ctx;
    HubPublish p = {.channel = req->channel,
                    .event = req->event,
                    .data = req->data_json,
                    .receipt = req->receipt};
    if (req->auth_table.len) {
        p.dbo_id = auth_table_id(c->env->auth, req->auth_table);
        p.row_id = auth_normal_id(req->auth_id_json);
        if (!p.dbo_id && c->env->hub)
            hub_count_dropped(c->env->hub);
        if (!p.dbo_id)
            return drop_event(c, req, "auth_table names no table");
    }
    if (c->env->hub && c->space && req->server.len) {
        Space *s = hub_server_space(c->env->hub, space_tenant(c->space), req->server);
        return !s || publish_in(c, s, req, &p, err); /* an inactive one hears nothing */
    }
    if (c->env->hub && c->space)
        return publish_in(c, c->space, req, &p, err);
    log_event(c, req);
    return true;
}

static Text find_env(void *ctx, Text name)
{
    const ServiceCtx *c = (const ServiceCtx *)ctx;
    return env_find(c->env->env, name);
}

static bool make_token(void *ctx, Text table, Value id, Value extras, int64_t ttl_s, Buf *out,
                       xs_error *err)
{
    const ServiceCtx *c = (const ServiceCtx *)ctx;
    Buf i = BUF_INIT, x = BUF_INIT;
    bool ok = val_write_json(id, &i) && val_write_json(extras, &x)
                  ? auth_make_token(c->env->auth, table, buf_view(&i), buf_view(&x),
                                    clock_wall_ms(), ttl_s, out, err)
                  : xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    buf_deinit(&i);
    buf_deinit(&x);
    return ok;
}

static bool set_header(void *ctx, Fiber *fiber, Text line, bool append, xs_error *err)
{
    (void)fiber;
    const ServiceCtx *c = (const ServiceCtx *)ctx;
    return reply_set_header(c->reply, line, append, err);
}

/* ---- streamed answers ---- */

static bool stream_begun(void *ctx)
{
    return ((const ServiceCtx *)ctx)->reply->stream != NULL;
}

/* Quotes and breaks would end the parameter or the header. */
static bool set_filename(ReplyHeaders *r, Text name, xs_error *err)
{
    Buf b = BUF_INIT;
    buf_cstr(&b, "Content-Disposition: attachment; filename=\"");
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.ptr[i];
        buf_char(&b, (unsigned char)ch < ' ' || strchr("\"\\/\x7f", ch) ? '_' : ch);
    }
    buf_char(&b, '"');
    bool ok = b.failed ? xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory")
                       : reply_set_header(r, buf_view(&b), false, err);
    buf_deinit(&b);
    return ok;
}

static bool open_stream(ReplyHeaders *r, const StreamPiece *piece, xs_error *err)
{
    Text type = arena_printf(r->arena, "Content-Type: " TEXT_FMT, TEXT_ARG(piece->type));
    if ((!const_get(r->headers, "Content-Type") && !reply_set_header(r, type, false, err)) ||
        (piece->filename.len && !set_filename(r, piece->filename, err)))
        return false;
    r->stream = r->open_stream(r);
    return r->stream || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

static bool stream_write(void *ctx, const StreamPiece *piece, bool *full, xs_error *err)
{
    ReplyHeaders *r = ((const ServiceCtx *)ctx)->reply;
    if (!r->stream && !open_stream(r, piece, err))
        return false;
    return outstream_write(r->stream, piece->bytes, full) ||
           xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

static bool stream_wait(void *ctx, void (*ready)(void *arg), void *arg)
{
    return outstream_when_ready(((const ServiceCtx *)ctx)->reply->stream, ready, arg);
}

static void stream_forget(void *ctx)
{
    outstream_forget(((const ServiceCtx *)ctx)->reply->stream);
}

/* ---- detached invocations ---- */

static bool spawn(void *ctx, Fiber *fiber, const SpawnReq *req, char id[37], xs_error *err)
{
    return detached_spawn((ServiceCtx *)ctx, fiber, req, id, err);
}

static bool async_watch(void *ctx, AsyncWatch *w)
{
    return detached_watch(((const ServiceCtx *)ctx)->env->detached, w);
}

static void async_forget(void *ctx, AsyncWatch *w)
{
    detached_forget(((const ServiceCtx *)ctx)->env->detached, w);
}

static bool async_take(void *ctx, Text id, Buf *json)
{
    return detached_take(((const ServiceCtx *)ctx)->env->detached, id, json);
}

static bool post_process(void *ctx, uint32_t proc, Value packed, xs_error *err)
{
    ReplyHeaders *r = ((const ServiceCtx *)ctx)->reply;
    const Const *input = val_to_const(r->arena, packed);
    return (input && r->post_process(r, proc, input)) ||
           xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

static const Const *copy_const(Arena *a, const Const *c)
{
    if (!c)
        return NULL;
    Const *copy = NULL;
    switch (c->kind) {
    case C_TEXT: return const_text(a, c->text);
    case C_LIST:
        copy = const_list(a, c->count);
        for (uint32_t i = 0; copy && i < c->count; i++)
            if (!const_push(a, copy, copy_const(a, c->items[i])))
                return NULL;
        return copy;
    case C_MAP:
        copy = const_map(a, c->count);
        for (uint32_t i = 0; copy && i < c->count; i++)
            if (!const_set(a, copy, c->pairs[i].key, copy_const(a, c->pairs[i].value)))
                return NULL;
        return copy;
    default:
        copy = ARENA_NEW(a, Const);
        if (copy)
            *copy = *c;
        return copy;
    }
}

bool run_context_copy(Arena *a, const RunContext *run, RunContext *out)
{
    *out = *run;
    out->request = NULL;
    Text *texts[] = {&out->auth_table,  &out->channel,   &out->tenant,     &out->branch,
                     &out->datasource,  &out->base_url,  &out->method,     &out->uri,
                     &out->querystring, &out->remote_ip, &out->auth_token, &out->host,
                     &out->raw_body};
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        ok = (!texts[i]->ptr || (*texts[i] = arena_text(a, *texts[i])).ptr) && ok;
    out->auth = copy_const(a, run->auth);
    out->headers = copy_const(a, run->headers);
    out->raw_input = copy_const(a, run->raw_input);
    return ok && (out->auth || !run->auth) && (out->headers || !run->headers) &&
           (out->raw_input || !run->raw_input);
}

bool service_open_outside(ServiceEnv *e, const Config *c, bool passing, xs_error *err)
{
    bool temporary = passing && c->source[OPTION_storage_dir] == FROM_DEFAULT;
    const OutsideOptions opt = {.cache_bytes = (size_t)c->cache_bytes,
                                .redis_url = c->redis_url,
                                .http_allow_private = c->http_allow_private,
                                .http_max_bytes = (size_t)c->http_max_response,
                                .postgres_connections = (uint32_t)c->postgres_connections,
                                .postgres_timeout_ms = c->postgres_timeout_ms,
                                .smtp_url = c->smtp_url,
                                .smtp_from = c->smtp_from,
                                .lambda_node = c->lambda_node,
                                .lambda_processes = (uint32_t)c->lambda_processes,
                                .lambda_memory_mb = (uint32_t)c->lambda_memory_mb,
                                .storage_dir = temporary ? (Text){0} : c->storage_dir};
    e->outside = outside_new(&opt, err);
    e->detached = e->outside ? detached_new(err) : NULL;
    return e->detached != NULL;
}

bool service_needs_db(const Program *p)
{
    const Const *tables = const_get(program_meta(p), "tables");
    return (tables && tables->count) || program_imports(p, TEXT("db.transaction.begin")) ||
           program_imports(p, TEXT("db.direct_query"));
}

int sources_next(const Config *c, size_t *at, Text *name, Text *path)
{
    Text list = c->datasources;
    while (*at < list.len) {
        size_t end = text_find(list, TEXT(","), *at);
        Text one = text_trim(text_slice(list, *at, end), TEXT(" "));
        *at = end == SIZE_MAX ? list.len : end + 1;
        size_t eq = text_find(one, TEXT("="), 0);
        if (!one.len)
            continue;
        *name = text_slice(one, 0, eq);
        *path = eq == SIZE_MAX ? (Text){0} : text_slice(one, eq + 1, one.len);
        return name->len && path->len && path->len < SOURCE_PATH_MAX ? 1 : -1;
    }
    return 0;
}

bool sources_open(const Config *c, DbPool *db, const Const *tables, const DbOptions *opt,
                  xs_error *err)
{
    Text name, file;
    size_t at = 0;
    int found;
    while ((found = sources_next(c, &at, &name, &file)) > 0) {
        char path[SOURCE_PATH_MAX];
        snprintf(path, sizeof path, TEXT_FMT, TEXT_ARG(file));
        if (!dbpool_add_source(db, name, path, tables, opt, err))
            return false;
    }
    return !found ||
           xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                   "datasources: expected NAME=FILE, found '" TEXT_FMT "'", TEXT_ARG(name));
}

void service_fill(Services *s, ServiceCtx *c, Db *db)
{
    *s = (Services){.ctx = c,
                    .now_ms = now_ms,
                    .random = random_bytes,
                    .log = log_value,
                    .publish = publish,
                    .env = find_env,
                    .compile_expr = c->env->compile_expr,
                    .make_token = make_token,
                    .db = db,
                    .outside = c->env->outside,
                    .set_header = c->reply ? set_header : NULL};
    if (c->env->detached) {
        s->spawn = spawn;
        s->async_watch = async_watch;
        s->async_forget = async_forget;
        s->async_take = async_take;
    }
    if (c->reply && c->reply->post_process)
        s->post_process = post_process;
    if (!c->reply || !c->reply->open_stream)
        return;
    s->stream_begun = stream_begun;
    s->stream_write = stream_write;
    s->stream_wait = stream_wait;
    s->stream_forget = stream_forget;
}
