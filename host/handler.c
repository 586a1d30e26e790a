/* handler.c - an L2Job becomes a chain of calls: the check of the path parameters, triggers, or
 * middleware around a handler. The first refusal ends it. */
#include "host/handler.h"

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/query.h"
#include "host/router.h"
#include "vm/convert.h"

enum { DELIVER_MS = 1000 };

/* The middleware of one message; found by its L2Message. */
typedef struct MessageSteps {
    RouteSteps around;
    const Const *declared; /* "middleware" of message, channel or server; the key */
} MessageSteps;

struct Handlers {
    const Program *program;
    L2Defs defs;
    const Const *branch; /* its middleware for messages; NULL = none */
    Arena arena;
    MessageSteps *steps; /* one per different declaration */
    size_t nsteps;
    _Atomic(Pool *) pool;
};

/* ---- set up ---- */

static bool add_steps(Handlers *h, const Const *declared, xs_error *err)
{
    if (!declared || declared->kind != C_MAP)
        return true;
    MessageSteps *s = &h->steps[h->nsteps++];
    s->declared = declared;
    return route_read_steps(&h->arena, h->program, declared, &s->around, err);
}

static bool in_range(const Handlers *h, int64_t proc, xs_error *err)
{
    return proc < program_proc_count(h->program) ||
           xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "a realtime server refers to no procedure");
}

static bool add_triggers(const Handlers *h, const L2Trigger *const *list, size_t n, xs_error *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = in_range(h, list[i]->proc, err);
    return ok;
}

static bool add_server(Handlers *h, const L2Server *s, xs_error *err)
{
    bool ok = add_steps(h, s->middleware, err) && add_triggers(h, s->triggers, s->ntriggers, err);
    for (size_t i = 0; ok && i < s->nchannels; i++) {
        const L2Channel *ch = &s->channels[i];
        ok = in_range(h, ch->proc, err) && add_steps(h, ch->middleware, err) &&
             add_triggers(h, ch->triggers, ch->ntriggers, err);
        for (size_t m = 0; ok && m < ch->nmessages; m++)
            ok = in_range(h, ch->messages[m].proc, err) &&
                 add_steps(h, ch->messages[m].middleware, err);
    }
    return ok;
}

static size_t count_lists(const L2Defs *d)
{
    size_t n = 1; /* the branch's */
    for (size_t i = 0; i < d->count; i++) {
        n += 1 + d->servers[i].nchannels;
        for (size_t k = 0; k < d->servers[i].nchannels; k++)
            n += d->servers[i].channels[k].nmessages;
    }
    return n;
}

static bool fill(Handlers *h, xs_error *err)
{
    if (!l2_defs_init(&h->defs, program_meta(h->program), err))
        return false;
    h->steps = ARENA_ARRAY(&h->arena, MessageSteps, count_lists(&h->defs));
    bool ok = h->steps || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    h->branch = route_branch_middleware(h->program, "message");
    ok = ok && add_steps(h, h->branch, err);
    for (size_t i = 0; ok && i < h->defs.count; i++)
        ok = add_server(h, &h->defs.servers[i], err);
    return ok;
}

Handlers *handlers_new(const Program *program, xs_error *err)
{
    Handlers *h = mem_zalloc(1, sizeof *h);
    if (!h) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    arena_init(&h->arena, 0);
    h->program = program;
    if (fill(h, err))
        return h;
    handlers_free(h);
    return NULL;
}

void handlers_free(Handlers *h)
{
    if (!h)
        return;
    l2_defs_deinit(&h->defs);
    arena_deinit(&h->arena);
    mem_free(h);
}

void handlers_set_pool(Handlers *h, Pool *pool)
{
    atomic_store(&h->pool, pool);
}

/* ---- jobs ---- */

typedef struct HandlerJob {
    Job job;
    L2Job *hub;
    const L2Server *server; /* of this program */
    const L2Channel *channel;
    const L2Message *message;
    const L2Trigger *const *triggers;
    size_t ntriggers, at; /* the call of this step: see step_proc */
    const RouteSteps *mw;
    const Const *params, *client;
    const Const *payload; /* current one, parsed */
    const Const *input;   /* of the handler */
    const Const *result;  /* of the handler */
    bool begun, replaced, answered;
    L2Verdict verdict;
    Text text;
} HandlerJob;

/* A message's own lists, else its channel's, its server's, the branch's; they do not merge. */
static const RouteSteps *around(const Handlers *h, const HandlerJob *t)
{
    static const RouteSteps none = {0};
    const Const *own[] = {t->message->middleware, t->channel->middleware, t->server->middleware,
                          h->branch};
    for (size_t i = 0; i < COUNT_OF(own); i++)
        for (size_t k = 0; own[i] && k < h->nsteps; k++)
            if (h->steps[k].declared == own[i])
                return &h->steps[k].around;
    return &none;
}

/* The middleware of this step; NULL = another one. */
static const RouteStep *middleware(const HandlerJob *t)
{
    if (t->at < t->mw->npre)
        return &t->mw->pre[t->at];
    return t->at > t->mw->npre && t->at - t->mw->npre - 1 < t->mw->npost
               ? &t->mw->post[t->at - t->mw->npre - 1]
               : NULL;
}

static bool is_message(const HandlerJob *t)
{
    return t->hub->action == L2_MESSAGE;
}

static bool is_gate(const HandlerJob *t)
{
    return t->hub->action == L2_CONNECT || t->hub->action == L2_JOIN;
}

/* The check of the parameters comes first in a join. */
static bool checks_params(const HandlerJob *t)
{
    return t->hub->action == L2_JOIN && t->at == 0 && t->channel->proc >= 0;
}

static const L2Trigger *trigger_at(const HandlerJob *t)
{
    size_t first = t->hub->action == L2_JOIN && t->channel->proc >= 0;
    size_t i = t->at - first;
    return t->at >= first && i < t->ntriggers ? t->triggers[i] : NULL;
}

static void finish(HandlerJob *t, L2Verdict verdict, Text text)
{
    t->verdict = verdict;
    t->text = text.ptr ? arena_text(&t->job.arena, text) : (Text){0};
    t->at = SIZE_MAX / 2; /* behind every step */
}

/* ---- inputs ---- */

static const Const *params_of(HandlerJob *t)
{
    Arena *a = &t->job.arena;
    Const *map = const_map(a, 4);
    Text name, value;
    bool ok = map != NULL;
    for (size_t i = 0;
         ok && t->hub->channel && l2_param(t->hub->channel, t->hub->name, i, &name, &value); i++) {
        const Const *v = const_text(a, value);
        ok = v && const_set(a, map, name, v);
    }
    return ok ? map : NULL;
}

const Const *client_row_id(Arena *a, Text json)
{
    const Const *c = json_parse(a, json, NULL);
    return c && c->kind == C_TEXT ? c : const_text(a, json);
}

static const Const *make_client(Arena *a, const Const *extras, int64_t dbo_id, const Const *row_id)
{
    Const *client = const_map(a, 2), *permissions = const_map(a, 2);
    bool ok = client && permissions && extras && row_id &&
              const_set_int(a, permissions, "dbo_id", dbo_id) &&
              const_set(a, permissions, TEXT("row_id"), row_id) &&
              const_set(a, client, TEXT("extras"), extras) &&
              const_set(a, client, TEXT("permissions"), permissions);
    return ok ? client : NULL;
}

/* Who said it: of a delivery its sender (nobody when the program published), else the session. */
static const Const *client_of(HandlerJob *t)
{
    Arena *a = &t->job.arena;
    const Identity *who = t->hub->identity;
    if (t->hub->action == L2_DELIVER && !t->hub->client.len)
        return make_client(a, const_map(a, 0), 0, const_text(a, TEXT("0")));
    if (t->hub->action != L2_DELIVER)
        return make_client(a, who->extras.len ? json_parse(a, who->extras, NULL) : const_map(a, 0),
                           who->dbo_id, client_row_id(a, who->row_id));
    const Const *sender = json_parse(a, t->hub->client, NULL);
    const Const *permissions = const_get(sender, "permissions");
    const Const *row_id = const_get(permissions, "row_id");
    if (row_id && row_id->kind == C_INT) {
        Text digits = arena_printf(a, "%lld", (long long)row_id->i);
        row_id = digits.ptr ? const_text(a, digits) : NULL;
    }
    return make_client(a, const_get(sender, "extras"),
                       const_int_of(const_get(permissions, "dbo_id"), 0), row_id);
}

static const Const *session_of(HandlerJob *t)
{
    Arena *a = &t->job.arena;
    const L2Job *hub = t->hub;
    const Identity *who = hub->identity;
    Const *s = const_map(a, 8);
    const Const *row_id =
        who->authenticated ? client_row_id(a, who->row_id) : const_text(a, TEXT(""));
    const Const *extras = who->extras.len ? json_parse(a, who->extras, NULL) : const_map(a, 0);
    const Const *opened = const_dec(a, (double)hub->opened_ms / 1000.0);
    bool ok = s && row_id && extras && opened && t->params &&
              const_set_bool(a, s, "authenticated", who->authenticated) &&
              const_set(a, s, TEXT("client_id"), row_id) &&
              const_set_int(a, s, "dbo_id", who->dbo_id) &&
              const_set_int(a, s, "socket_id", (int64_t)hub->socket) &&
              const_set_text(a, s, "channel", hub->name.len ? hub->name : TEXT("")) &&
              const_set(a, s, TEXT("params"), t->params) &&
              const_set(a, s, TEXT("extras"), extras) && const_set(a, s, TEXT("opened_at"), opened);
    return ok ? s : NULL;
}

/* The payload with the path parameters over it: the frame cannot replace them. */
static const Const *message_input(HandlerJob *t)
{
    Arena *a = &t->job.arena;
    const Const *p = t->payload;
    Const *map = const_map(a, p->count + t->params->count);
    bool ok = map != NULL;
    for (uint32_t i = 0; ok && p->kind == C_MAP && i < p->count; i++)
        ok = const_set(a, map, p->pairs[i].key, p->pairs[i].value);
    for (uint32_t i = 0; ok && i < t->params->count; i++)
        ok = const_set(a, map, t->params->pairs[i].key, t->params->pairs[i].value);
    return ok ? map : NULL;
}

static const Const *trigger_input(HandlerJob *t)
{
    static const char *const actions[] = {"connect", "disconnect", "join", "leave", "deliver"};
    Arena *a = &t->job.arena;
    const L2Job *hub = t->hub;
    Const *input = const_map(a, 4);
    bool ok =
        input && t->client && const_set_text(a, input, "action", text_from(actions[hub->action]));
    if (!hub->channel)
        ok = ok && const_set_text(a, input, "realtime_server", hub->server->name);
    else
        ok = ok && const_set_text(a, input, "channel", hub->name) &&
             const_set(a, input, TEXT("payload"), t->payload);
    return ok && const_set(a, input, TEXT("client"), t->client) ? input : NULL;
}

/* ---- steps ---- */

static bool prepare(HandlerJob *t)
{
    Arena *a = &t->job.arena;
    t->begun = true;
    t->params = params_of(t);
    t->client = client_of(t);
    t->payload = t->hub->payload.len ? json_parse(a, t->hub->payload, NULL) : &const_null;
    t->job.run.session = session_of(t);
    if (!t->params || !t->client || !t->payload || !t->job.run.session)
        return false;
    if (!is_message(t))
        return true;
    if (t->payload->kind != C_MAP && t->payload->kind != C_NULL) {
        finish(t, L2_REJECT, TEXT("Invalid payload: expected an object"));
        return true;
    }
    t->input = message_input(t);
    return t->input != NULL;
}

static const Const *middleware_input(HandlerJob *t)
{
    Arena *a = &t->job.arena;
    bool pre = t->at < t->mw->npre;
    Const *input = const_map(a, 2), *vars = const_map(a, 1);
    bool ok = input && vars && const_set_text(a, input, "type", pre ? TEXT("pre") : TEXT("post")) &&
              (pre || const_set(a, vars, TEXT("result"), t->result));
    return ok && const_set(a, input, TEXT("vars"), pre ? t->input : vars) ? input : NULL;
}

/* What runs next; false = nothing. */
static bool next_call(HandlerJob *t, uint32_t *proc, const Const **input)
{
    if (is_message(t)) {
        const RouteStep *m = middleware(t);
        if (!m && t->at != t->mw->npre)
            return false;
        *proc = m ? m->proc : t->message->proc;
        *input = m ? middleware_input(t) : t->input;
        return true;
    }
    if (checks_params(t)) {
        *proc = (uint32_t)t->channel->proc;
        *input = t->params;
        return true;
    }
    const L2Trigger *trigger = trigger_at(t);
    while (trigger && !trigger->actions[t->hub->action]) {
        t->at++;
        trigger = trigger_at(t);
    }
    if (!trigger)
        return false;
    *proc = trigger->proc;
    *input = trigger_input(t);
    metric_add(&pool_options(t->job.pool)->metrics->triggers_run);
    return true;
}

static bool handler_next(Job *job)
{
    HandlerJob *t = (HandlerJob *)job;
    uint32_t proc;
    const Const *input;
    xs_error err = {0};
    if (!t->begun && !prepare(t)) {
        finish(t, L2_CRASH, (Text){0});
        return false;
    }
    if (!next_call(t, &proc, &input))
        return false;
    if (!input || !job_begin(job, proc, input, &err))
        finish(t, L2_CRASH, (Text){0});
    return true;
}

/* JSON of a value in the job's arena; ptr NULL = it has none. */
static Text json_of(HandlerJob *t, Value v)
{
    Buf b = BUF_INIT;
    Text copy = val_write_json(v, &b) ? arena_text(&t->job.arena, buf_view(&b)) : (Text){0};
    buf_deinit(&b);
    return copy;
}

/* A gate's answer: {"allowed": …, "reason": …}, or anything true. */
static void take_gate(HandlerJob *t, Value v)
{
    bool allowed;
    Text reason = {0};
    const Const *c = v.kind == V_MAP ? val_to_const(&t->job.arena, v) : NULL;
    const Const *told = const_get(c, "allowed");
    if (told) {
        allowed = told->kind == C_BOOL && told->b;
        reason = const_get_text(c, "reason");
    } else {
        allowed = val_truthy(v) && !(c && !c->count);
    }
    if (allowed)
        t->at++;
    else
        finish(t, L2_DENY, reason);
    t->answered = t->answered || allowed;
}

static void take_delivery(HandlerJob *t, Value v)
{
    if (v.kind <= V_NULL) {
        finish(t, L2_DROP, (Text){0});
        return;
    }
    t->at++;
    if (v.kind != V_MAP)
        return;
    Text json = json_of(t, v);
    const Const *parsed = json.ptr ? json_parse(&t->job.arena, json, NULL) : NULL;
    if (!parsed) {
        finish(t, L2_CRASH, (Text){0});
        return;
    }
    t->payload = parsed;
    t->text = json;
    t->replaced = true;
}

static void take_message(HandlerJob *t, Value v)
{
    Arena *a = &t->job.arena;
    const RouteStep *m = middleware(t);
    const Const *made = v.kind <= V_NULL ? &const_null : val_to_const(a, v);
    bool pre = t->at < t->mw->npre;
    if (!made) {
        finish(t, L2_CRASH, (Text){0});
        return;
    }
    if (!m) {
        t->result = made;
    } else if (made->kind != C_NULL) {
        const Const **into = pre ? &t->input : &t->result;
        bool merges = made->kind == C_MAP && (*into)->kind == C_MAP;
        if (m->replace)
            *into = made;
        else if (merges && !query_merge(a, *into, made, into)) {
            finish(t, L2_CRASH, (Text){0});
            return;
        }
    }
    t->at++;
}

static void take_result(HandlerJob *t, Value v)
{
    if (is_message(t))
        take_message(t, v);
    else if (checks_params(t))
        t->at++;
    else if (is_gate(t))
        take_gate(t, v);
    else if (t->hub->action == L2_DELIVER)
        take_delivery(t, v);
    else
        t->at++;
}

/* Errors that the program raises itself are answers; the rest is a crash. */
static bool is_deliberate(xs_code code)
{
    return code >= XS_E_STANDARD && code <= XS_E_THROWN;
}

static void report(const HandlerJob *t, const xs_error *err, Text message)
{
    const L2Job *hub = t->hub;
    Text what = hub->message ? hub->message->name : hub->server->name;
    metric_add(&pool_options(t->job.pool)->metrics->triggers_failed);
    log_line(pool_options(t->job.pool)->log, LEVEL_INFO,
             "%s " TEXT_FMT " ended in an error at %s:%u: " TEXT_FMT,
             hub->message ? "message" : "trigger of", TEXT_ARG(what),
             err->pos.file ? err->pos.file : "?", err->pos.line, TEXT_ARG(message));
}

static void reject(HandlerJob *t, const char *prefix, Text message)
{
    Text text = arena_printf(&t->job.arena, "%s" TEXT_FMT, prefix, TEXT_ARG(message));
    finish(t, L2_REJECT, text.ptr ? text : TEXT("Invalid payload"));
}

/* With the name of the input, which an HTTP answer has beside its message. */
static Text input_error(HandlerJob *t, Text message, Value payload)
{
    const Value *param = payload.kind == V_MAP ? map_find(payload.map, TEXT("param")) : NULL;
    Text name = param && param->kind == V_TEXT ? val_text_view(*param) : (Text){0};
    if (!name.len || text_find(message, name, 0) != SIZE_MAX)
        return message;
    Text text =
        arena_printf(&t->job.arena, TEXT_FMT ": " TEXT_FMT, TEXT_ARG(message), TEXT_ARG(name));
    return text.ptr ? text : message;
}

static void handler_ended(Job *job)
{
    HandlerJob *t = (HandlerJob *)job;
    if (job->state == FIBER_DONE) {
        take_result(t, fiber_result(job->fiber));
        return;
    }
    Text name;
    Value payload = val_unset();
    const xs_error *err = fiber_error(job->fiber, &name, &payload);
    if (err->code == XS_E_STOPPED) {
        take_result(t, payload);
        return;
    }
    Text message = fiber_error_message(job->fiber);
    const RouteStep *m = is_message(t) ? middleware(t) : NULL;
    report(t, err, message);
    if (err->code == XS_E_INPUTERROR)
        message = input_error(t, message, payload);
    if (m && m->policy == STEP_SILENT)
        t->at++;
    else if (checks_params(t))
        finish(t, L2_DENY, message);
    else if (is_message(t) && err->code == XS_E_INPUTERROR)
        reject(t, "Invalid payload: ", message);
    else if (is_message(t) && is_deliberate(err->code))
        reject(t, "", message);
    else if (is_gate(t))
        finish(t, L2_DENY, (Text){0});
    else if (t->hub->action == L2_LEAVE || t->hub->action == L2_DISCONNECT)
        t->at++; /* nobody is there to hear of it; the next trigger still runs */
    else
        finish(t, L2_CRASH, (Text){0});
}

static void handler_done(Job *job)
{
    HandlerJob *t = (HandlerJob *)job;
    if (t->verdict == L2_PASS && is_message(t)) {
        Buf b = BUF_INIT;
        if (!t->result || t->result->kind == C_NULL)
            t->verdict = L2_DROP;
        else
            json_write_const(&b, t->result);
        t->text = b.failed ? (Text){0} : arena_text(&job->arena, buf_view(&b));
        if (b.failed || !t->text.ptr)
            t->verdict = L2_CRASH;
        buf_deinit(&b);
    } else if (t->verdict == L2_PASS && t->replaced) {
        t->verdict = L2_CHANGE;
    }
    l2_job_done(t->hub, t->verdict, t->text);
    job_deinit(job);
    mem_free(t);
}

static void handler_dropped(Job *job)
{
    HandlerJob *t = (HandlerJob *)job;
    l2_job_done(t->hub, L2_DROPPED, (Text){0});
    job_deinit(job);
    mem_free(t);
}

static const JobOps handler_ops = {handler_next, handler_ended, handler_done, handler_dropped};

static int64_t time_of(const Config *c, L2Action action)
{
    switch (action) {
    case L2_CONNECT: return c->rt_auth_timeout_ms;
    case L2_JOIN: return c->rt_gate_timeout_ms;
    case L2_DELIVER:
        return DELIVER_MS < c->rt_trigger_timeout_ms ? DELIVER_MS : c->rt_trigger_timeout_ms;
    default: return c->rt_trigger_timeout_ms;
    }
}

void client_context(RunContext *run, const Identity *who, Text channel, const Space *space,
                    const xs_request *request)
{
    run->auth = who->auth;
    run->auth_table = who->table;
    run->channel = channel;
    run->tenant = space_tenant(space);
    if (!request)
        return;
    run->method = request->method;
    run->uri = request->uri;
    run->querystring = request->querystring;
    run->remote_ip = request->remote_ip;
    run->headers = request->headers;
    run->host = const_get_text(request->headers, "Host");
}

/* The hub's declarations may be those of a former program: what runs is this one's. */
static bool resolve(const Handlers *h, HandlerJob *t)
{
    const L2Job *hub = t->hub;
    t->server = l2_server_named(&h->defs, hub->server->name);
    for (size_t i = 0; t->server && hub->channel && i < t->server->nchannels; i++)
        if (text_eq(t->server->channels[i].path, hub->channel->path))
            t->channel = &t->server->channels[i];
    if (t->channel && hub->message)
        t->message = l2_message(t->channel, hub->message->name);
    return t->server && (!hub->channel || t->channel) && (!hub->message || t->message);
}

bool handlers_run(Handlers *h, L2Job *hub)
{
    static const RouteSteps none = {0};
    Pool *pool = atomic_load(&h->pool);
    HandlerJob *t = pool ? mem_zalloc(1, sizeof *t) : NULL;
    if (!t)
        return false;
    job_init(&t->job, pool, &handler_ops, hub->space, NULL,
             time_of(pool_options(pool)->config, hub->action));
    t->hub = hub;
    t->verdict = L2_PASS;
    bool known = resolve(h, t);
    t->mw = t->message ? around(h, t) : &none;
    t->triggers = t->channel ? t->channel->triggers : known ? t->server->triggers : NULL;
    t->ntriggers = t->channel ? t->channel->ntriggers : known ? t->server->ntriggers : 0;
    client_context(&t->job.run, hub->identity, hub->name, hub->space, hub->request);
    if (known && pool_submit(pool, &t->job))
        return true;
    job_deinit(&t->job);
    mem_free(t);
    return false;
}
