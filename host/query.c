/* query.c - a request that hits a route becomes a job. While it waits its exchange is suspended and
 * nobody else touches it, so the job borrows all texts from it. */
#include "host/query.h"

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/request.h"
#include "vm/convert.h"

enum { REPLY_MAX_HEADERS = 64 };

typedef struct QueryJob {
    Job job;
    xs_http *x; /* for the loop only */
    RouteMatch match;
    Text authorization, content_type, querystring, body;
    ReplyHeaders headers;
    bool begun;
    int status;
    bool raw; /* body is text of another type than JSON */
    Buf reply;
} QueryJob;

static const Text json_type = {"application/json; charset=utf-8", 31};

/* ---- worker ---- */

static void fail_with(QueryJob *q, const xs_error *err)
{
    const xs_code_info *info = xs_code_get(err->code);
    q->status = info->status;
    buf_deinit(&q->reply);
    buf_printf(&q->reply, "{\"code\":\"%s\",\"message\":", info->wire);
    json_write_text(&q->reply, text_from(err->message));
    buf_cstr(&q->reply, ",\"payload\":\"\"}");
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
        !auth_verify(auth, &job->arena, job->run.auth_token, service_now_ms(), &claims) ||
        auth_table_id(auth, claims.table) != auth_table_id(auth, wanted)) {
        metric_add(&pool_options(job->pool)->metrics->auth_failed);
        return xs_fail(err, XS_E_UNAUTHORIZED, XS_NO_POS, "Authentication Required");
    }
    job->run.auth = auth_const(&job->arena, &claims);
    job->run.auth_table = claims.table;
    return job->run.auth || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

static bool begin_query(QueryJob *q, xs_error *err)
{
    Job *job = &q->job;
    const Const *body = NULL;
    if (service_now_ms() >= job->limits.deadline_ms)
        return xs_fail(err, XS_E_DEADLINE, XS_NO_POS, "Execution time exceeded.");
    if (!authenticate(q, err) ||
        !request_decode_body(&job->arena, q->content_type, q->body, &body, err))
        return false;
    job->run.raw_input = body;
    const Const *input = request_inputs(&job->arena, q->querystring, body, &q->match);
    if (!input)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    return job_begin(job, q->match.route->proc, input, err);
}

static bool query_next(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    xs_error err = {0};
    if (q->begun)
        return false;
    q->begun = true;
    if (!begin_query(q, &err))
        fail_with(q, &err);
    return true;
}

static Text set_content_type(const QueryJob *q)
{
    const Const *list = const_get(q->headers.headers, "Content-Type");
    return list && list->count ? list->items[list->count - 1]->text : (Text){0};
}

static void write_result(QueryJob *q, Value v)
{
    Text type = set_content_type(q);
    q->status = q->headers.status ? q->headers.status : 200;
    q->raw = v.kind == V_TEXT && type.ptr && text_find(type, TEXT("json"), 0) == SIZE_MAX;
    if (q->raw) {
        buf_text(&q->reply, val_text_view(v));
    } else if (!val_write_json(v, &q->reply)) {
        xs_error err = {0};
        xs_fail(&err, q->reply.failed ? XS_E_NOMEM : XS_E_LIMIT, XS_NO_POS,
                "The response could not be written as JSON.");
        fail_with(q, &err);
    }
}

static void query_ended(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    if (job->state == FIBER_DONE) {
        write_result(q, fiber_result(job->fiber));
        return;
    }
    Text name;
    Value payload = val_unset();
    const xs_error *err = fiber_error(job->fiber, &name, &payload);
    if (err->code == XS_E_STOPPED) {
        write_result(q, payload);
        q->status = 200;
        return;
    }
    q->status = xs_code_get(err->code)->status;
    fiber_write_error(job->fiber, &q->reply);
    if (q->status >= 500) {
        Text message = fiber_error_message(job->fiber);
        log_line(pool_options(job->pool)->log, LEVEL_INFO,
                 TEXT_FMT " " TEXT_FMT " failed at %s:%u: " TEXT_FMT,
                 TEXT_ARG(q->match.route->verb), TEXT_ARG(q->match.route->name),
                 err->pos.file ? err->pos.file : "?", err->pos.line, TEXT_ARG(message));
    }
}

static void count_reply(Metrics *m, int status)
{
    metric_add(status >= 500 ? &m->http_5xx : status >= 400 ? &m->http_4xx : &m->http_2xx);
}

/* Loop: send what the worker made. */
static void send_reply(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    xs_header headers[REPLY_MAX_HEADERS];
    size_t n = 0;
    const Const *set = q->headers.headers;
    bool typed = false;
    for (uint32_t i = 0; set && i < set->count; i++) {
        const Const *list = set->pairs[i].value;
        bool type = text_eq(set->pairs[i].key, TEXT("Content-Type"));
        if (type && q->status >= 400 && !q->raw)
            continue; /* an error body is JSON whatever the program announced */
        typed = typed || type;
        for (uint32_t k = 0; k < list->count && n < REPLY_MAX_HEADERS - 1; k++)
            headers[n++] = (xs_header){set->pairs[i].key.ptr, list->items[k]->text.ptr};
    }
    if (q->status == 204)
        buf_deinit(&q->reply);
    else if (!typed)
        headers[n++] = (xs_header){"Content-Type", json_type.ptr};
    count_reply(pool_options(job->pool)->metrics, q->status);
    http_reply_take(q->x, q->status, headers, n, &q->reply);
    job_deinit(job);
    mem_free(q);
}

static void query_done(Job *job)
{
    pool_to_loop(job->pool, job, send_reply);
}

static void query_dropped(Job *job)
{
    QueryJob *q = (QueryJob *)job;
    xs_error err = {0};
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
    if (cors->disabled || !origin.len || (cors->custom && !list_has(cors->origins, origin)))
        return;
    Text verbs = TEXT("GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS");
    Text asked = text_from(http_api.header(x, "Access-Control-Request-Headers"));
    Arena *a = http_arena(x);
    http_add_header(x, "Access-Control-Allow-Origin", origin);
    http_add_header(x, "Vary", TEXT("Origin"));
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

/* Facts of the request; all texts live as long as the exchange. */
static void fill_run(QueryJob *q, xs_http *x)
{
    RunContext *run = &q->job.run;
    xs_str body = http_api.body(x);
    q->authorization = header_text(x, "Authorization");
    q->content_type = header_text(x, "Content-Type");
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
        run->base_url = arena_printf(http_arena(x), "http://" TEXT_FMT, TEXT_ARG(run->host));
}

static void submit(const QueryService *s, xs_http *x, const RouteMatch *match)
{
    const PoolOptions *opt = pool_options(s->pool);
    QueryJob *q = mem_zalloc(1, sizeof *q);
    if (!q) {
        http_reply_error(x, 500, "ERROR_FATAL", "Out of memory.");
        return;
    }
    job_init(&q->job, s->pool, &query_ops, s->space, &q->headers, opt->config->request_timeout_ms);
    q->headers.arena = &q->job.arena;
    q->x = x;
    q->match = *match;
    fill_run(q, x);
    if (pool_submit(s->pool, &q->job))
        return;
    http_add_header(x, "Retry-After", TEXT("1"));
    count_reply(opt->metrics, 503);
    http_reply_error(x, 503, "ERROR_CODE_OVERLOAD", "The server is busy.");
    job_deinit(&q->job);
    mem_free(q);
}

bool query_handle(const QueryService *s, xs_http *x)
{
    ApiPath path;
    Metrics *m = pool_options(s->pool)->metrics;
    Text raw = http_raw_path(x);
    if (!text_starts(raw, TEXT("/api:")))
        return false;
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
    Text branch = header_text(x, "X-Branch");
    RouteMatch match;
    if (!cors || (branch.len && !text_eq(branch, pool_options(s->pool)->config->branch)) ||
        !router_find(s->router, http_arena(x), verb, &path, &match)) {
        count_reply(m, 404);
        http_reply_error(x, 404, "ERROR_CODE_NOT_FOUND", "Unable to locate request.");
        return true;
    }
    submit(s, x, &match);
    return true;
}
