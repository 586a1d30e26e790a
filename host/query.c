/* query.c - a request that hits a route becomes a job. While it waits its exchange is suspended and
 * nobody else touches it, so the job borrows all texts from it. */
#include "host/query.h"

#include <sodium.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/gzip.h"
#include "host/openapi.h"
#include "host/outstream.h"
#include "host/replycache.h"
#include "host/request.h"
#include "host/stmttrace.h"
#include "stdlib/storage/file.h"
#include "vm/convert.h"

enum { REPLY_MAX_HEADERS = OUTSTREAM_MAX_HEADERS, REQUEST_ID_MAX = 128 };

/* A stack of util.post_process. */
typedef struct Post {
    struct Post *next;
    uint32_t proc;
    const Const *packed; /* {"vars", "input"} */
} Post;

typedef struct QueryJob {
    Job job;
    xs_http *x; /* kept until the job ends; its answer is the loop's business */
    RouteMatch match;
    Text authorization, content_type, querystring, body, accept_encoding;
    ReplyHeaders headers;
    bool begun;
    uint32_t step; /* pre-middleware, the query, post-middleware */
    const Const *input;
    const Const *given; /* the body of a call without HTTP, NULL = there is HTTP */
    int status;
    bool raw;    /* body is text of another type than JSON */
    bool failed; /* the reply is an error */
    bool gzipped;
    Buf reply;
    Post *posts, *last_post;
    bool replied;
    const Const *sent; /* with posts: {"body", "headers", "status_code"} */
    Text cache_key;    /* len 0 = the reply is not to be kept */
    History *history;  /* NULL = not recorded */
    int64_t began_us;
    StmtTrace trace; /* with history */
} QueryJob;

static const Text json_type = {"application/json; charset=utf-8", 31};

/* ---- worker ---- */

static void write_error(const xs_error *err, Buf *out)
{
    http_write_error(out, xs_code_get(err->code)->wire, err->message);
}

static void fail_with(QueryJob *q, const xs_error *err)
{
    q->status = xs_code_get(err->code)->status;
    q->raw = false;
    q->failed = true;
    buf_deinit(&q->reply);
    write_error(err, &q->reply);
}

/* A test has its own clock. */
static int64_t now_ms(const QueryJob *q)
{
    const Services *s = &q->job.services;
    return s->test ? s->now_ms(s->ctx) : clock_wall_ms();
}

static bool authenticate(QueryJob *q, xs_error *err)
{
    Job *job = &q->job;
    const Auth *auth = job->service.env->auth;
    Text wanted = q->match.route->auth;
    if (!wanted.len)
        return true;
    Claims claims;
    if (!job->run.auth_token.ptr ||
        !auth_verify(auth, &job->arena, job->run.auth_token, now_ms(q), &claims) ||
        auth_table_id(auth, claims.table) != auth_table_id(auth, wanted)) {
        metric_add(&pool_options(job->pool)->metrics->auth_failed);
        return xs_fail(err, XS_E_UNAUTHORIZED, XS_NO_POS, "Authentication Required");
    }
    job->run.auth = auth_const(&job->arena, &claims);
    job->run.auth_table = claims.table;
    return job->run.auth || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

/* X-Data-Source, or x-data-source of the query string. */
static bool choose_source(QueryJob *q, xs_error *err)
{
    Job *job = &q->job;
    const DbPool *db = pool_options(job->pool)->db;
    Text name = const_get_text(job->run.headers, "X-Data-Source");
    if (!name.len && text_find(q->querystring, TEXT("x-data-source="), 0) != SIZE_MAX)
        name = const_get_text(q->input, "x-data-source");
    if (!name.len)
        return true;
    job->run.datasource = name;
    return (db && dbpool_has_source(db, name)) ||
           xs_fail(err, XS_E_BADREQUEST, XS_NO_POS, "Unknown data source '" TEXT_FMT "'",
                   TEXT_ARG(name));
}

static const Const *declared(const QueryJob *q)
{
    return program_proc(pool_options(q->job.pool)->program, q->match.route->proc)->inputs;
}

/* Everything before the first stack runs. */
static bool prepare(QueryJob *q, xs_error *err)
{
    Job *job = &q->job;
    const Const *body = q->given;
    if (!q->given && clock_wall_ms() >= job->limits.deadline_ms)
        return xs_fail(err, XS_E_DEADLINE, XS_NO_POS, "Execution time exceeded.");
    if (!authenticate(q, err) ||
        (!q->given && !request_decode_body(&job->arena, q->content_type, q->body, &body, err)))
        return false;
    job->run.raw_input = body;
    job->run.raw_body = q->body;
    const RawInputs raw = {q->querystring, body,
                           q->given || request_is_json(q->content_type, q->body)};
    q->input = request_inputs(&job->arena, &raw, &q->match, declared(q));
    return (q->input || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.")) &&
           choose_source(q, err);
}

static uint32_t step_count(const QueryJob *q)
{
    return q->match.route->steps.npre + 1 + q->match.route->steps.npost;
}

/* The middleware of the current step; NULL = the query itself. */
static const RouteStep *middleware(const QueryJob *q)
{
    const Route *r = q->match.route;
    if (q->step < r->steps.npre)
        return &r->steps.pre[q->step];
    return q->step > r->steps.npre ? &r->steps.post[q->step - r->steps.npre - 1] : NULL;
}

static bool is_pre(const QueryJob *q)
{
    return q->step < q->match.route->steps.npre;
}

/* The reply so far as a value. NULL = memory. */
static const Const *reply_value(QueryJob *q)
{
    Arena *a = &q->job.arena;
    return q->raw ? const_text(a, buf_view(&q->reply))
                  : json_parse(a, arena_text(a, buf_view(&q->reply)), NULL);
}

static const Const *middleware_input(QueryJob *q)
{
    Arena *a = &q->job.arena;
    Const *input = const_map(a, 2), *vars = NULL;
    if (!input || !const_set_text(a, input, "type", is_pre(q) ? TEXT("pre") : TEXT("post")))
        return NULL;
    if (is_pre(q))
        return const_set(a, input, TEXT("vars"), q->input) ? input : NULL;
    const Const *result = reply_value(q);
    vars = const_map(a, 3);
    bool ok = result && vars && const_set_int(a, vars, "status", q->status) &&
              const_set(a, vars, TEXT("result"), result);
    const Const *payload = ok && q->status >= 400 ? const_get(result, "payload") : NULL;
    ok = ok && (!payload || const_set(a, vars, TEXT("payload"), payload));
    return ok && const_set(a, input, TEXT("vars"), vars) ? input : NULL;
}

/* An error of the current step: the request's, unless its policy says otherwise. error: the reply
 * to send for it, taken. */
static void step_failed(QueryJob *q, int status, Buf *error)
{
    const RouteStep *m = middleware(q);
    if (m && m->policy == STEP_SILENT) {
        log_line(pool_options(q->job.pool)->log, LEVEL_INFO,
                 "a silent middleware failed: " TEXT_FMT, TEXT_ARG(buf_view(error)));
        buf_deinit(error);
        q->step++;
        return;
    }
    buf_deinit(&q->reply);
    q->reply = *error;
    *error = BUF_INIT;
    q->status = status;
    q->raw = false;
    q->failed = true;
    if (m && m->policy == STEP_CRITICAL)
        q->step = step_count(q);
    else if (is_pre(q))
        q->step = q->match.route->steps.npre + 1;
    else
        q->step++;
}

bool query_merge(Arena *a, const Const *old, const Const *more, const Const **out)
{
    Const *map = const_map(a, old->count + more->count);
    bool ok = map != NULL;
    for (uint32_t i = 0; ok && i < old->count; i++)
        ok = const_set(a, map, old->pairs[i].key, old->pairs[i].value);
    for (uint32_t i = 0; ok && i < more->count; i++)
        ok = const_set(a, map, more->pairs[i].key, more->pairs[i].value);
    *out = map;
    return ok;
}

/* ---- after the reply ---- */

static bool queue_post(ReplyHeaders *r, uint32_t proc, const Const *packed)
{
    QueryJob *q = (QueryJob *)((char *)r - offsetof(QueryJob, headers));
    Post *post = ARENA_NEW(r->arena, Post);
    if (!post)
        return false;
    *post = (Post){NULL, proc, packed};
    *(q->last_post ? &q->last_post->next : &q->posts) = post;
    q->last_post = post;
    return true;
}

/* What the stacks after the reply see of it. */
static void keep_sent(QueryJob *q)
{
    Arena *a = &q->job.arena;
    Const *sent = const_map(a, 3), *headers = const_map(a, 4);
    const Const *body = q->headers.stream ? &const_null : reply_value(q), *set = q->headers.headers;
    bool ok = sent && headers && body;
    for (uint32_t i = 0; ok && set && i < set->count; i++)
        ok = const_set(a, headers, set->pairs[i].key,
                       set->pairs[i].value->items[set->pairs[i].value->count - 1]);
    if (ok && const_set(a, sent, TEXT("body"), body) &&
        const_set(a, sent, TEXT("headers"), headers) &&
        const_set_int(a, sent, "status_code", q->status))
        q->sent = sent;
}

static void log_post(QueryJob *q, const char *what)
{
    log_line(pool_options(q->job.pool)->log, LEVEL_WARNING,
             TEXT_FMT " " TEXT_FMT ": post_process: %s", TEXT_ARG(q->match.route->verb),
             TEXT_ARG(q->match.route->name), what);
}

/* False: none is left. */
static bool begin_post(QueryJob *q)
{
    Post *post = q->posts;
    xs_error err = {.message = "Out of memory."};
    const Const *input = NULL;
    if (!post)
        return false;
    q->posts = post->next;
    if (!q->sent || !query_merge(&q->job.arena, q->sent, post->packed, &input) ||
        !job_begin(&q->job, post->proc, input, &err))
        log_post(q, err.message);
    return true;
}

/* The reply that was kept for such a request, when there is one. */
static void find_cached(QueryJob *q)
{
    Job *job = &q->job;
    CachedReply kept;
    if (!const_get(q->match.route->meta, "cache"))
        return;
    q->cache_key =
        replycache_key(&job->arena, job->service.env, q->match.route, &job->run, q->input);
    if (!q->cache_key.len || !replycache_get(&job->arena, job->service.env, q->cache_key, &kept))
        return;
    q->headers.headers = (Const *)(uintptr_t)kept.headers; /* nobody adds to it any more */
    q->status = kept.status;
    q->raw = kept.raw;
    buf_text(&q->reply, kept.body);
    q->step = step_count(q);
    q->cache_key.len = 0;
}

static void keep_reply(const QueryJob *q)
{
    const CachedReply reply = {q->status, q->headers.headers, buf_view(&q->reply), q->raw};
    if (q->cache_key.len && !q->failed && !q->headers.stream && q->status >= 200 &&
        q->status < 300 && utf8_valid(reply.body))
        replycache_put(q->job.service.env, q->match.route, q->cache_key, &reply);
}

static bool query_next(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    xs_error err = {0};
    if (q->replied)
        return begin_post(q);
    if (!q->begun) {
        q->begun = true;
        if (!prepare(q, &err)) {
            fail_with(q, &err);
            q->step = step_count(q);
        } else {
            find_cached(q);
        }
        return true;
    }
    if (q->step >= step_count(q))
        return false;
    const RouteStep *m = middleware(q);
    const Const *input = m ? middleware_input(q) : q->input;
    if (!input)
        xs_fail(&err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    if (!input || !job_begin(job, m ? m->proc : q->match.route->proc, input, &err)) {
        Buf error = BUF_INIT;
        write_error(&err, &error);
        step_failed(q, xs_code_get(err.code)->status, &error);
    }
    if (job->fiber && q->history)
        fiber_watch_statements(job->fiber, &q->trace.watch);
    return true;
}

static Text set_content_type(const QueryJob *q)
{
    const Const *list = const_get(q->headers.headers, "Content-Type");
    return list && list->count ? list->items[list->count - 1]->text : (Text){0};
}

/* Clients get the address of a stored file that everybody may read. */
static void file_url(void *ctx, const MapObj *m, Buf *out)
{
    QueryJob *q = (QueryJob *)ctx;
    const Value *path = map_find(m, TEXT("path")), *access;
    if (!path || path->kind != V_TEXT || !text_starts(val_text_view(*path), TEXT("/vault/")) ||
        !(access = map_find(m, TEXT("access"))) || access->kind != V_TEXT ||
        !text_eq(val_text_view(*access), TEXT("public")) || map_find(m, TEXT("url")))
        return;
    Text url = arena_printf(&q->job.arena, TEXT_FMT TEXT_FMT, TEXT_ARG(q->job.run.base_url),
                            TEXT_ARG(val_text_view(*path)));
    buf_cstr(out, ",\"url\":");
    json_write_text(out, url);
}

static void write_result(QueryJob *q, Value v)
{
    Text type = set_content_type(q);
    if (q->headers.stream)
        return; /* it is on its way */
    buf_deinit(&q->reply);
    q->status = q->headers.status ? q->headers.status : 200;
    q->raw = v.kind == V_TEXT && type.ptr && text_find(type, TEXT("json"), 0) == SIZE_MAX;
    FileView file;
    if (file_view(v, &file)) { /* its bytes, as what it is */
        xs_error err = {0};
        Text line = arena_printf(&q->job.arena, "Content-Type: " TEXT_FMT, TEXT_ARG(file.mime));
        q->raw = true;
        buf_text(&q->reply, file.data);
        if (!type.ptr && (!line.ptr || !reply_set_header(&q->headers, line, false, &err)))
            fail_with(q, &err);
    } else if (q->raw) {
        buf_text(&q->reply, val_text_view(v));
    } else {
        xs_error err = {0};
        if (!val_write_json_why(v, &(JsonMore){file_url, q}, &q->reply, &err))
            fail_with(q, &err);
    }
}

/* What a middleware returned: into the inputs, or into the reply. False = memory. */
static bool take_middleware(QueryJob *q, const RouteStep *m, Value v)
{
    Arena *a = &q->job.arena;
    if (v.kind <= V_NULL)
        return true;
    const Const *made = val_to_const(a, v), *old = is_pre(q) ? q->input : reply_value(q);
    if (!made || !old)
        return false;
    if (!m->replace && (made->kind != C_MAP || old->kind != C_MAP))
        return true; /* only objects merge */
    if (!m->replace && !query_merge(a, old, made, &made))
        return false;
    if (is_pre(q)) {
        q->input = made;
        return true;
    }
    buf_deinit(&q->reply);
    json_write_const(&q->reply, made);
    q->raw = false;
    return !q->reply.failed;
}

static void take_done(QueryJob *q, Value v)
{
    const RouteStep *m = middleware(q);
    xs_error err = {0};
    if (!m) {
        write_result(q, v);
    } else if (!take_middleware(q, m, v)) {
        xs_fail(&err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
        fail_with(q, &err);
        q->step = step_count(q);
        return;
    }
    q->step++;
}

static void query_ended(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    if (q->replied) {
        if (job->state == FIBER_ERROR && fiber_error(job->fiber, NULL, NULL)->code != XS_E_STOPPED)
            log_post(q, fiber_error(job->fiber, NULL, NULL)->message);
        return;
    }
    if (job->state == FIBER_DONE) {
        take_done(q, fiber_result(job->fiber));
        return;
    }
    Text name;
    Value payload = val_unset();
    const xs_error *err = fiber_error(job->fiber, &name, &payload);
    if (err->code == XS_E_STOPPED) { /* ends the whole request */
        write_result(q, payload);
        q->status = 200;
        q->step = step_count(q);
        return;
    }
    int status = xs_code_get(err->code)->status;
    Buf error = BUF_INIT;
    fiber_write_error(job->fiber, &error);
    if (status >= 500) {
        Text message = fiber_error_message(job->fiber);
        log_line(pool_options(job->pool)->log, LEVEL_INFO,
                 TEXT_FMT " " TEXT_FMT " failed at %s:%u: " TEXT_FMT,
                 TEXT_ARG(q->match.route->verb), TEXT_ARG(q->match.route->name),
                 err->pos.file ? err->pos.file : "?", err->pos.line, TEXT_ARG(message));
    }
    step_failed(q, status, &error);
}

static void count_reply(Metrics *m, int status)
{
    metric_add(status >= 500 ? &m->http_5xx : status >= 400 ? &m->http_4xx : &m->http_2xx);
}

/* Headers the program set, then those every reply has. At most REPLY_MAX_HEADERS. */
static size_t list_headers(const QueryJob *q, xs_header *out)
{
    size_t n = 0;
    const Const *set = q->headers.headers;
    bool typed = false;
    for (uint32_t i = 0; set && i < set->count; i++) {
        const Const *list = set->pairs[i].value;
        bool type = text_eq(set->pairs[i].key, TEXT("Content-Type"));
        if (type && q->failed)
            continue; /* an error body is JSON whatever the program announced */
        typed = typed || type;
        for (uint32_t k = 0; k < list->count && n < REPLY_MAX_HEADERS - 3; k++)
            out[n++] = (xs_header){set->pairs[i].key.ptr, list->items[k]->text.ptr};
    }
    if (!typed && q->status != 204)
        out[n++] = (xs_header){"Content-Type", json_type.ptr};
    if (q->gzipped) {
        out[n++] = (xs_header){"Content-Encoding", "gzip"};
        out[n++] = (xs_header){"Vary", "Accept-Encoding"};
    }
    return n;
}

/* Worker, on the first api.stream. */
static OutStream *open_stream(ReplyHeaders *r)
{
    QueryJob *q = (QueryJob *)((char *)r - offsetof(QueryJob, headers));
    xs_header headers[REPLY_MAX_HEADERS];
    q->status = r->status ? r->status : 200;
    size_t n = list_headers(q, headers);
    return outstream_new(q->job.pool, q->x, q->status, headers, n);
}

static void free_query(QueryJob *q)
{
    http_release(q->x);
    buf_deinit(&q->reply);
    stmttrace_deinit(&q->trace);
    job_deinit(&q->job);
    mem_free(q);
}

/* Loop: send what the worker made. */
static void send_reply(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    xs_header headers[REPLY_MAX_HEADERS];
    count_reply(pool_options(job->pool)->metrics, q->status);
    if (q->headers.stream) {
        outstream_finish(q->headers.stream, !q->failed);
    } else {
        if (q->status == 204)
            buf_deinit(&q->reply);
        http_reply_take(q->x, q->status, headers, list_headers(q, headers), &q->reply);
    }
    q->replied = true;
    if (q->posts) {
        job->limits.deadline_ms =
            clock_wall_ms() + pool_options(job->pool)->config->request_timeout_ms;
        if (pool_submit(job->pool, job))
            return;
        log_post(q, "dropped, the server is busy");
    }
    free_query(q);
}

static void free_on_loop(Job *job)
{
    free_query((QueryJob *)job);
}

static void compress(QueryJob *q)
{
    const Config *c = pool_options(q->job.pool)->config;
    Text type = set_content_type(q);
    if (c->gzip_level && (int64_t)q->reply.len >= c->gzip_min && !q->headers.stream &&
        gzip_accepted(q->accept_encoding) &&
        gzip_worthwhile(type.ptr && !q->failed ? type : json_type) &&
        !const_get(q->headers.headers, "Content-Encoding"))
        q->gzipped = gzip_body(&q->reply, (int)c->gzip_level);
}

/* ---- history ---- */

/* Many programs declare the password of a login as plain text. */
static bool hides(const Const *fields, Text name)
{
    if (text_eq(name, TEXT("password")))
        return true;
    for (uint32_t i = 0; fields && fields->kind == C_LIST && i < fields->count; i++) {
        const Const *f = fields->items[i];
        if (text_eq(const_get_text(f, "name"), name))
            return const_bool_of(const_get(f, "sensitive"), false) ||
                   text_eq(const_get_text(f, "type"), TEXT("password"));
    }
    return false;
}

/* The inputs, without what is nobody's business. */
static void write_inputs(const QueryJob *q, Buf *out)
{
    const Const *fields = declared(q);
    buf_char(out, '{');
    for (uint32_t i = 0; q->input && i < q->input->count; i++) {
        Text name = q->input->pairs[i].key;
        if (i)
            buf_char(out, ',');
        json_write_text(out, name);
        buf_char(out, ':');
        if (hides(fields, name))
            buf_cstr(out, "\"***\"");
        else
            json_write_const(out, q->input->pairs[i].value);
    }
    buf_char(out, '}');
}

static void record(QueryJob *q)
{
    const PoolOptions *opt = pool_options(q->job.pool);
    int64_t now = clock_wall_ms();
    if (!q->history)
        return;
    if (!history_wants(q->history, now)) {
        metric_add(&opt->metrics->history_dropped);
        return;
    }
    Buf request = BUF_INIT;
    write_inputs(q, &request);
    Text uri = q->job.run.uri;
    HistoryRecord r = {.api_id = q->match.route->name,
                       .verb = q->match.route->verb,
                       .path = text_slice(uri, 0, text_find(uri, TEXT("?"), 0)),
                       .branch = q->job.run.branch,
                       .status = q->status,
                       .duration_ms = (double)(clock_mono_us() - q->began_us) / 1000,
                       .request = request.failed ? (Text){0} : buf_view(&request),
                       .trace = stmttrace_end(&q->trace),
                       .created_at_ms = now};
    /* A login's answer is a key to the account for as long as its token lives. */
    bool token = text_find(buf_view(&q->reply), TEXT("\"authToken\":"), 0) != SIZE_MAX;
    if (!q->raw && !q->headers.stream && !token)
        r.response = buf_view(&q->reply);
    history_add(q->history, &r);
    buf_deinit(&request);
}

static void query_done(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    if (q->replied) {
        pool_to_loop(job->pool, job, free_on_loop);
        return;
    }
    if (q->posts)
        keep_sent(q);
    keep_reply(q);
    record(q);
    compress(q);
    pool_to_loop(job->pool, job, send_reply);
}

static void query_dropped(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    xs_error err = {0};
    if (q->replied) {
        log_post(q, "dropped, the server is shutting down");
        pool_to_loop(job->pool, job, free_on_loop);
        return;
    }
    xs_fail(&err, XS_E_OVERLOAD, XS_NO_POS, "The server is shutting down.");
    fail_with(q, &err);
    pool_to_loop(job->pool, job, send_reply);
}

static const JobOps query_ops = {query_next, query_ended, query_done, query_dropped};

/* ---- loop ---- */

static bool list_has(const Const *list, Text value)
{
    for (uint32_t i = 0; list && list->kind == C_LIST && i < list->count; i++)
        if (text_eq(const_text_of(list->items[i], (Text){0}), value))
            return true;
    return false;
}

static Text join_list(Arena *a, const Const *list, Text otherwise)
{
    Text out = {"", 0};
    for (uint32_t i = 0; list && list->kind == C_LIST && i < list->count; i++) {
        Text item = const_text_of(list->items[i], (Text){"", 0});
        out = arena_printf(a, TEXT_FMT "%s" TEXT_FMT, TEXT_ARG(out), i ? ", " : "", TEXT_ARG(item));
        if (!out.ptr)
            return otherwise;
    }
    return out.len ? out : otherwise;
}

/* CORS headers of an answer; preflight adds what OPTIONS asks for. */
static void add_cors(xs_http *x, const GroupCors *cors, bool preflight)
{
    Text origin = text_from(http_api.header(x, "Origin"));
    if (cors->disabled)
        return;
    http_add_header(x, "Vary", TEXT("Origin")); /* also without one: caches keep answers apart */
    if (!origin.len || (cors->custom && !list_has(cors->origins, origin)))
        return;
    Text verbs = TEXT("GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS");
    Text asked = text_from(http_api.header(x, "Access-Control-Request-Headers"));
    Arena *a = http_arena(x);
    http_add_header(x, "Access-Control-Allow-Origin", origin);
    if (!cors->custom || cors->credentials)
        http_add_header(x, "Access-Control-Allow-Credentials", TEXT("true"));
    if (!preflight)
        return;
    http_add_header(x, "Access-Control-Allow-Methods",
                    cors->custom ? join_list(a, cors->methods, verbs) : verbs);
    Text allowed = cors->custom ? join_list(a, cors->headers, (Text){0}) : asked;
    if (allowed.len)
        http_add_header(x, "Access-Control-Allow-Headers", allowed);
    Text age = arena_printf(a, "%lld", (long long)(cors->custom ? cors->max_age : 86400));
    if (age.ptr)
        http_add_header(x, "Access-Control-Max-Age", age);
}

static Text header_text(xs_http *x, const char *name)
{
    const char *value = http_api.header(x, name);
    return value ? text_from(value) : (Text){"", 0};
}

/* As arena_printf("%016llx"), without its cost: every request has one. */
static Text hex_text(Arena *a, uint64_t n)
{
    char hex[16];
    for (size_t i = sizeof hex; i-- > 0; n >>= 4)
        hex[i] = "0123456789abcdef"[n & 15];
    return arena_text(a, (Text){hex, sizeof hex});
}

static Text http_url(Arena *a, Text host)
{
    static const char scheme[] = "http://";
    char *out = arena_alloc(a, sizeof scheme + host.len);
    if (!out)
        return (Text){0};
    memcpy(out, scheme, sizeof scheme - 1);
    memcpy(out + sizeof scheme - 1, host.ptr, host.len);
    return (Text){out, sizeof scheme - 1 + host.len};
}

/* Facts of the request; all texts live as long as the exchange. */
static void fill_run(QueryJob *q, xs_http *x)
{
    RunContext *run = &q->job.run;
    xs_str body = http_api.body(x);
    q->authorization = header_text(x, "Authorization");
    q->content_type = header_text(x, "Content-Type");
    q->accept_encoding = header_text(x, "Accept-Encoding");
    q->querystring = http_querystring(x);
    q->body = (Text){body.ptr, body.len};
    run->method = text_from(http_api.method(x));
    run->uri = http_uri(x);
    run->querystring = q->querystring;
    run->remote_ip = http_remote_ip(x);
    run->remote_port = http_remote_port(x);
    run->auth_token = auth_bearer(q->authorization);
    run->host = header_text(x, "Host");
    run->headers = http_headers(x);
    if (!run->base_url.len)
        run->base_url = http_url(http_arena(x), run->host);
}

/* The request's own id when it is a fit one, else a new one; it goes into the answer. */
static void name_request(QueryService *s, xs_http *x)
{
    Text id = header_text(x, "X-Request-Id");
    for (size_t i = 0; i < id.len; i++)
        if (id.ptr[i] <= ' ' || id.ptr[i] > '~')
            id.len = 0;
    if (!id.len || id.len > REQUEST_ID_MAX) {
        if (!s->request_seed)
            randombytes_buf(&s->request_seed, sizeof s->request_seed);
        id = hex_text(http_arena(x), s->request_seed + ++s->requests);
    }
    if (id.ptr)
        http_add_header(x, "X-Request-Id", id);
}

/* True: too many from that address, answered. */
static bool over_limit(const QueryService *s, xs_http *x)
{
    int64_t wait = s->guard ? guard_take(s->guard, http_remote_ip(x), clock_wall_ms()) : 0;
    if (!wait)
        return false;
    Text seconds = arena_printf(http_arena(x), "%lld", (long long)wait);
    if (seconds.ptr)
        http_add_header(x, "Retry-After", seconds);
    count_reply(pool_options(s->pool)->metrics, 429);
    http_reply_error(x, 429, "ERROR_CODE_TOO_MANY_REQUESTS", "Too many requests.");
    return true;
}

static void submit(const QueryService *s, xs_http *x, const RouteMatch *match)
{
    const PoolOptions *opt = pool_options(s->pool);
    QueryJob *q = mem_zalloc(1, sizeof *q);
    if (!q) {
        http_reply_error(x, 500, "ERROR_FATAL", "Out of memory.");
        return;
    }
    q->headers.open_stream = open_stream;
    q->headers.post_process = queue_post;
    job_init(&q->job, s->pool, &query_ops, s->space, &q->headers, opt->config->request_timeout_ms);
    q->headers.arena = &q->job.arena;
    q->x = x;
    q->history = match->route->history ? s->history : NULL;
    q->began_us = q->history ? clock_mono_us() : 0;
    stmttrace_init(&q->trace, match->route->history);
    http_keep(x);
    q->match = *match;
    fill_run(q, x);
    if (pool_submit(s->pool, &q->job))
        return;
    http_add_header(x, "Retry-After", TEXT("1"));
    count_reply(opt->metrics, 503);
    http_reply_error(x, 503, "ERROR_CODE_OVERLOAD", "The server is busy.");
    free_query(q);
}

/* /apispec:<canonical>, the platform's address of a description. */
static bool spec_handle(const QueryService *s, xs_http *x, Text raw)
{
    const PoolOptions *opt = pool_options(s->pool);
    ApiPath path = {.canonical = text_slice(raw, 9, raw.len), .rest = TEXT("openapi.json")};
    return s->describe && openapi_handle(s->router, opt->program, opt->config->branch, &path, x);
}

bool query_handle(QueryService *s, xs_http *x)
{
    ApiPath path;
    Metrics *m = pool_options(s->pool)->metrics;
    Text raw = http_raw_path(x);
    if (text_starts(raw, TEXT("/apispec:")))
        return spec_handle(s, x, raw);
    if (!text_starts(raw, TEXT("/api:")))
        return false;
    name_request(s, x);
    const GroupCors *cors =
        router_split(s->router, raw, &path) ? router_group(s->router, path.canonical) : NULL;
    Text verb = text_from(http_api.method(x));
    bool preflight = text_eq(verb, TEXT("OPTIONS"));
    if (cors)
        add_cors(x, cors, preflight);
    if (cors && preflight && !cors->disabled) {
        http_api.reply(x, 204, NULL, 0, (xs_str){"", 0});
        return true;
    }
    if (over_limit(s, x))
        return true;
    Text branch = header_text(x, "X-Branch");
    RouteMatch match;
    if (!cors || (branch.len && !text_eq(branch, pool_options(s->pool)->config->branch)) ||
        !router_find(s->router, http_arena(x), verb, &path, &match)) {
        if (cors && s->describe &&
            openapi_handle(s->router, pool_options(s->pool)->program,
                           pool_options(s->pool)->config->branch, &path, x))
            return true;
        count_reply(m, 404);
        http_reply_error(x, 404, "ERROR_CODE_NOT_FOUND", "Unable to locate request.");
        return true;
    }
    Text coding = header_text(x, "Content-Encoding");
    if (coding.len && !text_eq(coding, TEXT("identity"))) {
        count_reply(m, 415);
        http_reply_error(x, 415, "ERROR_CODE_BAD_REQUEST", "Compressed bodies are not accepted.");
        return true;
    }
    submit(s, x, &match);
    return true;
}

/* ---- without HTTP ---- */

/* The query of that very name, its path parameters among the inputs; or the one a path leads to. */
static bool find_route(const Router *r, Arena *a, const QueryCall *call, Route *named,
                       RouteMatch *out)
{
    const Route *at;
    for (size_t i = 0; (at = router_at(r, i)); i++)
        if (text_eq(at->name, call->path) && text_eq(at->verb, call->verb) &&
            text_eq(at->group, call->canonical)) {
            *named = *at;
            named->nparams = 0;
            *out = (RouteMatch){.route = named};
            return true;
        }
    ApiPath path = {call->canonical,
                    text_slice(call->path, 0, text_find(call->path, TEXT("?"), 0))};
    return router_find(r, a, call->verb, &path, out);
}

static void fill_call(QueryJob *q, const QueryCall *call)
{
    RunContext *run = &q->job.run;
    size_t mark = text_find(call->path, TEXT("?"), 0);
    q->querystring =
        mark == SIZE_MAX ? (Text){"", 0} : text_slice(call->path, mark + 1, call->path.len);
    q->given = call->input ? call->input : &const_null;
    q->job.services = *call->services;
    q->job.limits.deadline_ms = 0;
    run->method = call->verb;
    run->uri = call->path;
    run->querystring = q->querystring;
    run->headers = call->headers;
    run->auth_token = call->token;
    run->datasource = call->datasource;
}

int query_call(const Router *r, Pool *pool, const QueryCall *call, Buf *body, bool *raw)
{
    QueryJob q = {0};
    Route named;
    *raw = false;
    job_init(&q.job, pool, &query_ops, NULL, NULL, 0);
    q.headers.arena = &q.job.arena;
    if (find_route(r, &q.job.arena, call, &named, &q.match)) {
        fill_call(&q, call);
        job_run_in_place(&q.job, call->trace, call->trace_ctx);
        *raw = q.raw;
    } else {
        xs_error err;
        xs_fail(&err, XS_E_NOTFOUND, XS_NO_POS, "Unable to locate request.");
        fail_with(&q, &err);
    }
    buf_text(body, buf_view(&q.reply));
    body->failed = body->failed || q.reply.failed;
    buf_deinit(&q.reply);
    job_deinit(&q.job);
    return q.status;
}
