/* testcall.c - the .call statements of tests: other constructs of the program, run in place in the
 * database and at the time of the test. runtime.md §1.7. */
#include "core/json.h"
#include "core/text.h"
#include "host/testrun_i.h"
#include "vm/convert.h"
#include "vm/heap.h"

enum { DEPTH_MAX = 32 }; /* calls of calls: each takes C stack */

static NativeResult result_of(bool ok)
{
    return ok ? NATIVE_OK : NATIVE_ERROR;
}

static bool no_memory(Call *c)
{
    return call_fail(c, XS_E_NOMEM, NULL);
}

/* Argument i as plain data; an empty object when it is absent. NULL: memory. */
static const Const *argument(TestWorker *w, Call *c, uint32_t i)
{
    Value v = call_arg(c, i);
    return val_is_null(v) ? const_map(&w->arena, 0) : val_to_const(&w->arena, v);
}

/* ---- procedures ---- */

/* The error of the callee becomes that of the statement. */
static bool take_error(TestWorker *w, Call *c, Fiber *f)
{
    Value payload = val_unset();
    const xs_error *err = fiber_error(f, NULL, &payload);
    const Const *copy = payload.kind > V_NULL ? val_to_const(&w->arena, payload) : NULL;
    *c->err = *err;
    if (copy)
        c->thrown = val_from_const(c->heap, copy);
    return false;
}

static bool take_value(TestWorker *w, Call *c, Value v)
{
    const Const *copy = val_to_const(&w->arena, v);
    return copy ? call_return(c, val_from_const(c->heap, copy)) : no_memory(c);
}

static bool run_proc(TestWorker *w, Call *c, Fiber *f, uint32_t proc, const Const *input)
{
    Value in = val_from_const(fiber_heap(f), input), payload = val_unset();
    if (in.kind == V_UNSET)
        return no_memory(c);
    if (!fiber_call(f, proc, in, c->err))
        return false;
    FiberState state = fiber_run(f);
    if (state == FIBER_DONE)
        return take_value(w, c, fiber_result(f));
    if (state != FIBER_ERROR)
        return call_fail(c, XS_E_UNSUPPORTED, "'%s' waits for something only a server has",
                         c->name);
    if (fiber_error(f, NULL, &payload)->code == XS_E_STOPPED)
        return take_value(w, c, payload);
    return take_error(w, c, f);
}

static bool call_proc(TestWorker *w, Call *c, ProcKind kind, const Const *input)
{
    Text name = const_get_text(c->site, "name");
    uint32_t proc = program_find(w->run->program, kind, name);
    if (proc == UINT32_MAX)
        return call_fail(c, XS_E_NOTFOUND, "%s: there is no '" TEXT_FMT "'", c->name,
                         TEXT_ARG(name));
    if (!input)
        return no_memory(c);
    RunContext context = *c->run;
    context.raw_input = input;
    Fiber *f = test_fiber(w, &context);
    bool ok = f ? run_proc(w, c, f, proc, input) : no_memory(c);
    fiber_free(f);
    return ok;
}

/* ---- table triggers ---- */

enum { SETTLE_MAX = 100000 }; /* triggers one after the other: each may fire others */

static void log_failure(TestWorker *w, const TableCall *t, Text message)
{
    Buf line = BUF_INIT;
    buf_cstr(&line, "{\"table_trigger\":");
    json_write_text(&line, t->name);
    buf_cstr(&line, ",\"error\":");
    json_write_text(&line, message);
    buf_char(&line, '}');
    if (!line.failed)
        w->services.log(w, NULL, buf_view(&line));
    buf_deinit(&line);
}

static void run_trigger(TestWorker *w, const TableCall *t)
{
    RunContext context = w->context;
    xs_error err = {.message = "Out of memory."};
    context.auth = NULL;
    context.datasource = t->source;
    context.chain = t->chain;
    Fiber *f = t->input ? test_fiber(w, &context) : NULL;
    Value input = f ? val_from_const(fiber_heap(f), t->input) : val_unset();
    if (input.kind == V_UNSET || !fiber_call(f, t->proc, input, &err))
        log_failure(w, t, text_from(err.message));
    else if (fiber_run(f) == FIBER_ERROR && fiber_error(f, NULL, NULL)->code != XS_E_STOPPED)
        log_failure(w, t, fiber_error_message(f));
    fiber_free(f);
}

/* A failure is nobody's but the log's, as on a server. */
void test_settle(void *ctx)
{
    TestWorker *w = (TestWorker *)ctx;
    TableCall t;
    for (int i = 0; i < SETTLE_MAX && tabletriggers_next(w->triggers, &t); i++)
        run_trigger(w, &t);
}

/* ---- api.call ---- */

static Text canonical_of(const TestWorker *w, Text group)
{
    const Const *groups = const_get(program_meta(w->run->program), "groups");
    for (uint32_t i = 0; groups && groups->kind == C_LIST && i < groups->count; i++)
        if (text_eq(const_get_text(groups->items[i], "name"), group))
            return const_get_text(groups->items[i], "canonical");
    return group;
}

/* "Name: value" lines as a Title-Case object. NULL: memory. */
static const Const *read_headers(Arena *a, const Const *lines)
{
    Const *map = const_map(a, 4);
    uint32_t n = lines && lines->kind == C_LIST ? lines->count : 0;
    for (uint32_t i = 0; map && i < n; i++) {
        Text line = const_text_of(lines->items[i], (Text){"", 0});
        size_t colon = text_find(line, TEXT(":"), 0);
        if (colon == SIZE_MAX)
            continue;
        Text name = http_title_case(a, text_slice(line, 0, colon));
        const Const *value =
            const_text(a, text_trim(text_slice(line, colon + 1, line.len), TEXT(" \t")));
        if (!name.ptr || !value || !const_set(a, map, name, value))
            return NULL;
    }
    return map;
}

static bool take_body(Call *c, const Buf *body, bool raw)
{
    if (body->failed)
        return no_memory(c);
    if (raw)
        return call_return_text(c, buf_view(body));
    return body->len ? call_return(c, val_parse_json(c->heap, buf_view(body), c->err)) : true;
}

/* Arguments: api_group, headers, input, auth. An error of the query is a value like another. */
static bool call_query(TestWorker *w, Call *c)
{
    Text group = TEXT("");
    const Const *input = argument(w, c, 2), *auth = argument(w, c, 3);
    const Const *headers = val_is_null(call_arg(c, 1)) ? NULL : argument(w, c, 1);
    if (!call_text_opt(c, 0, &group))
        return false;
    headers = read_headers(&w->arena, headers);
    if (!input || !auth || !headers)
        return no_memory(c);
    Text token = const_get_text(auth, "token"),
         authorization = const_get_text(headers, "Authorization");
    Text verb = const_get_text(c->site, "verb");
    QueryCall call = {.verb = verb.ptr ? verb : TEXT("GET"),
                      .canonical = canonical_of(w, group),
                      .path = const_get_text(c->site, "name"),
                      .input = input,
                      .headers = headers,
                      .token = token.ptr ? token : auth_bearer(authorization),
                      .datasource = w->context.datasource,
                      .services = &w->services,
                      .trace = w->hits ? test_on_step : NULL,
                      .trace_ctx = w};
    Buf body = BUF_INIT;
    bool raw;
    (void)query_call(w->run->router, w->calls, &call, &body, &raw);
    bool ok = take_body(c, &body, raw);
    buf_deinit(&body);
    return ok;
}

/* Its mocks hold while it runs; clock and database stay those of the caller. */
static bool call_test(TestWorker *w, Call *c)
{
    Text caller = w->running;
    w->running = const_get_text(c->site, "name");
    bool ok = call_proc(w, c, PROC_TEST, const_map(&w->arena, 0));
    w->running = caller;
    return ok;
}

int test_call(void *ctx, Call *c)
{
    TestWorker *w = (TestWorker *)ctx;
    Text name = text_from(c->name);
    bool ok = false;
    if (w->depth >= DEPTH_MAX)
        return result_of(call_fail(c, XS_E_DEPTH, NULL));
    w->depth++;
    if (text_eq(name, TEXT("api.call")))
        ok = call_query(w, c);
    else if (text_eq(name, TEXT("task.call")))
        ok = call_proc(w, c, PROC_TASK, const_map(&w->arena, 0));
    else if (text_eq(name, TEXT("trigger.call")))
        ok = call_proc(w, c, PROC_TRIGGER, argument(w, c, 0));
    else if (text_eq(name, TEXT("middleware.call")))
        ok = call_proc(w, c, PROC_MIDDLEWARE, argument(w, c, 0));
    else if (text_eq(name, TEXT("addon.call")))
        ok = call_proc(w, c, PROC_ADDON, argument(w, c, 0));
    else if (text_eq(name, TEXT("workflow_test.call")))
        ok = call_test(w, c);
    else
        call_fail(c, XS_E_UNSUPPORTED, "'%s' is not supported by this engine", c->name);
    w->depth--;
    test_settle(w);
    return result_of(ok);
}
