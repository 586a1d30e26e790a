/* trigger.c - all matching triggers run one after the other, most specific pattern first, then by
 * name; the first refusal ends the chain, each message result is the next one's payload. */
#include "host/trigger.h"

#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "vm/convert.h"

enum { ID_MAX_DIGITS = 18, CHAIN_MAX = 64 };

typedef struct Trigger {
    Text name, pattern, event;
    bool official; /* official form: join and message; else seed form by event */
    bool join, message;
    int response; /* 1 has a response clause, 0 has none, -1 unknown: a null result means none */
    uint32_t proc;
} Trigger;

struct Triggers {
    Trigger *items;
    size_t count;
    bool declared; /* the bundle declares channels: official-form message triggers have a relay to
                      act on */
    _Atomic(Pool *) pool;
};

/* ---- table ---- */

static bool read_trigger(const Program *program, const Const *row, Trigger *out, xs_error *err)
{
    const Const *actions = const_get(row, "actions"), *response = const_get(row, "response");
    int64_t proc = const_int_of(const_get(row, "proc"), -1);
    *out = (Trigger){.name = const_get_text(row, "name"),
                     .pattern = const_get_text(row, "pattern"),
                     .event = const_get_text(row, "event"),
                     .official = text_eq(const_get_text(row, "form"), TEXT("official")),
                     .join = const_bool_of(const_get(actions, "join"), !actions),
                     .message = const_bool_of(const_get(actions, "message"), !actions),
                     .response = response ? const_bool_of(response, false) : -1,
                     .proc = (uint32_t)proc};
    if (proc < 0 || proc >= program_proc_count(program) || !out->pattern.len)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "trigger '" TEXT_FMT "' is incomplete",
                       TEXT_ARG(out->name));
    return true;
}

/* Literal patterns first, then longer ones, then names. */
static int by_specificity(const void *va, const void *vb)
{
    const Trigger *a = (const Trigger *)va, *b = (const Trigger *)vb;
    bool star_a = text_ends(a->pattern, TEXT("*")), star_b = text_ends(b->pattern, TEXT("*"));
    if (star_a != star_b)
        return star_a ? 1 : -1;
    if (star_a && a->pattern.len != b->pattern.len)
        return a->pattern.len > b->pattern.len ? -1 : 1;
    return text_cmp(a->name, b->name);
}

Triggers *triggers_new(const Program *program, xs_error *err)
{
    const Const *meta = program_meta(program);
    const Const *rows = const_get(meta, "triggers"), *channels = const_get(meta, "channels");
    uint32_t count = rows && rows->kind == C_LIST ? rows->count : 0;
    Triggers *t = mem_zalloc(1, sizeof *t);
    Trigger *items = mem_zalloc(count ? count : 1, sizeof *items);
    if (!t || !items) {
        mem_free(t);
        mem_free(items);
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    t->items = items;
    t->declared = channels && channels->count > 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!const_bool_of(const_get(rows->items[i], "active"), true))
            continue;
        if (!read_trigger(program, rows->items[i], &t->items[t->count], err)) {
            triggers_free(t);
            return NULL;
        }
        t->count++;
    }
    qsort(t->items, t->count, sizeof *t->items, by_specificity);
    return t;
}

void triggers_free(Triggers *t)
{
    if (!t)
        return;
    mem_free(t->items);
    mem_free(t);
}

void triggers_set_pool(Triggers *t, Pool *pool)
{
    atomic_store(&t->pool, pool);
}

static bool fires(const Triggers *all, const Trigger *t, HubAction action, Text channel, Text event)
{
    bool right;
    if (t->official)
        right = (action == HUB_JOIN && t->join) ||
                (action == HUB_MESSAGE && t->message && all->declared);
    else if (action == HUB_JOIN)
        right = text_eq(t->event, TEXT("join"));
    else if (action == HUB_LEAVE)
        right = text_eq(t->event, TEXT("leave"));
    else
        right = text_eq(t->event, event.ptr ? event : TEXT("message"));
    /* Clients cannot play a join: a message that names its event so fires nothing. */
    if (!t->official && action == HUB_MESSAGE && event.ptr &&
        (text_eq(event, TEXT("join")) || text_eq(event, TEXT("leave"))))
        right = false;
    return right && text_match_pattern(t->pattern, channel);
}

static bool wants(const Triggers *all, HubAction action, Text channel, Text event)
{
    for (size_t i = 0; i < all->count; i++)
        if (fires(all, &all->items[i], action, channel, event))
            return true;
    return false;
}

/* ---- inputs ---- */

static bool add_derived_key(Arena *a, Const *input, Text pattern, Text channel)
{
    if (pattern.len < 3 || pattern.ptr[pattern.len - 1] != '*')
        return true;
    char separator = pattern.ptr[pattern.len - 2];
    Text word = text_slice(pattern, 0, pattern.len - 2);
    if ((separator != ':' && separator != '/') || !text_is_ident(word))
        return true;
    Text rest = text_slice(channel, pattern.len - 1, channel.len);
    int64_t n;
    bool digits = rest.len > 0 && rest.len <= ID_MAX_DIGITS;
    for (size_t i = 0; digits && i < rest.len; i++)
        digits = rest.ptr[i] >= '0' && rest.ptr[i] <= '9';
    const Const *value = digits && num_parse_int(rest, &n) ? const_int(a, n) : const_text(a, rest);
    Text key = arena_printf(a, TEXT_FMT "_id", TEXT_ARG(word));
    return value && key.ptr && const_set(a, input, key, value);
}

const Const *trigger_seed_input(Arena *a, HubAction action, Text pattern, Text channel,
                                const Const *data)
{
    Const *input = const_map(a, 4);
    if (!input)
        return NULL;
    for (uint32_t i = 0; data && data->kind == C_MAP && i < data->count; i++) {
        const ConstPair *p = &data->pairs[i];
        bool flag = text_eq(p->key, TEXT("history")) || text_eq(p->key, TEXT("presence"));
        if (!(action == HUB_JOIN && flag) && !const_set(a, input, p->key, p->value))
            return NULL;
    }
    if (action == HUB_MESSAGE && data && data->kind != C_MAP &&
        !const_set(a, input, TEXT("data"), data))
        return NULL;
    return add_derived_key(a, input, pattern, channel) ? input : NULL;
}

static const Const *official_input(Arena *a, const HubJob *hub, const Const *payload)
{
    const Identity *who = hub->identity;
    Const *input = const_map(a, 5), *client = const_map(a, 2), *permissions = const_map(a, 2),
          *options = const_map(a, 2);
    const Const *extras = who->extras.len ? json_parse(a, who->extras, NULL) : const_map(a, 0);
    const Const *row_id = client_row_id(a, who->row_id);
    bool ok = input && client && permissions && options && extras && row_id &&
              const_set_text(a, input, "action",
                             hub->action == HUB_JOIN ? TEXT("join") : TEXT("message")) &&
              const_set_text(a, input, "channel", hub->channel) &&
              const_set_int(a, permissions, "dbo_id", who->dbo_id) &&
              const_set(a, permissions, TEXT("row_id"), row_id) &&
              const_set(a, client, TEXT("extras"), extras) &&
              const_set(a, client, TEXT("permissions"), permissions) &&
              const_set(a, input, TEXT("client"), client) &&
              const_set_bool(a, options, "authenticated", hub->authenticated) &&
              const_set_text(a, options, "channel", hub->channel) &&
              const_set(a, input, TEXT("options"), options) &&
              const_set(a, input, TEXT("payload"), payload ? payload : &const_null);
    return ok ? input : NULL;
}

/* ---- jobs ---- */

typedef struct TriggerJob {
    Job job;
    HubJob *hub;
    const Trigger *chain[CHAIN_MAX];
    size_t count, at;
    const Const *payload; /* current one, parsed */
    Text replaced;        /* its JSON once a trigger replaced it; ptr NULL = as sent */
    bool consumed, parsed;
    uint64_t began_us;
    bool replies; /* results of messages go to the sender alone */
    HubVerdict verdict;
    Text text;
} TriggerJob;

static void refuse(TriggerJob *t, Text text)
{
    t->verdict = HUB_REFUSE;
    t->text = text.ptr ? arena_text(&t->job.arena, text) : (Text){0};
    t->at = t->count;
}

/* The part of the payload a seed-form trigger sees: data beside an event name, else all of it. */
static const Const *seed_data(const TriggerJob *t)
{
    const Const *event = const_get(t->payload, "event");
    if (t->hub->action != HUB_MESSAGE || !event || event->kind != C_TEXT)
        return t->payload;
    const Const *data = const_get(t->payload, "data");
    return data ? data : &const_null;
}

static bool trigger_next(Job *job)
{
    TriggerJob *t = (TriggerJob *)job;
    if (t->at == t->count)
        return false;
    const Trigger *trigger = t->chain[t->at];
    Arena *a = &job->arena;
    xs_error err = {.code = XS_E_NOMEM, .message = "Out of memory."};
    if (!t->parsed) {
        t->parsed = true;
        t->payload = t->hub->payload.len ? json_parse(a, t->hub->payload, &err) : &const_null;
    }
    const Const *input = NULL;
    if (t->payload)
        input = trigger->official ? official_input(a, t->hub, t->payload)
                                  : trigger_seed_input(a, t->hub->action, trigger->pattern,
                                                       t->hub->channel, seed_data(t));
    metric_add(&pool_options(job->pool)->metrics->triggers_run);
    if (!input || !job_begin(job, trigger->proc, input, &err))
        refuse(t, text_from(err.message));
    return true;
}

static void replace_payload(TriggerJob *t, Value v)
{
    Arena *a = &t->job.arena;
    Buf b = BUF_INIT;
    Text copy = val_write_json(v, &b) ? arena_text(a, buf_view(&b)) : (Text){0};
    const Const *parsed = copy.ptr ? json_parse(a, copy, NULL) : NULL;
    buf_deinit(&b);
    if (!parsed) {
        refuse(t, TEXT("The message could not be relayed."));
        return;
    }
    if (!t->replies)
        t->payload = parsed;
    t->replaced = copy;
}

static void take_result(TriggerJob *t, const Trigger *trigger, Value v)
{
    bool null = v.kind <= V_NULL;
    bool answers = trigger->response < 0 ? !null : trigger->response == 1;
    bool refused = answers && v.kind == V_BOOL && !v.b;
    t->at++;
    if (t->hub->action == HUB_LEAVE)
        return;
    if (refused)
        refuse(t, (Text){0});
    else if (t->hub->action == HUB_JOIN)
        return;
    else if (!answers)
        t->consumed = t->consumed || !trigger->official;
    else if (null) {
        t->consumed = true;
        t->at = t->count;
    } else {
        replace_payload(t, v);
    }
}

static void trigger_ended(Job *job)
{
    TriggerJob *t = (TriggerJob *)job;
    const Trigger *trigger = t->chain[t->at];
    if (job->state == FIBER_DONE) {
        take_result(t, trigger, fiber_result(job->fiber));
        return;
    }
    Text name;
    Value payload = val_unset();
    const xs_error *err = fiber_error(job->fiber, &name, &payload);
    if (err->code == XS_E_STOPPED) {
        take_result(t, trigger, payload);
        return;
    }
    Text message = fiber_error_message(job->fiber);
    metric_add(&pool_options(job->pool)->metrics->triggers_failed);
    log_line(pool_options(job->pool)->log, LEVEL_INFO,
             "trigger " TEXT_FMT " ended in an error at %s:%u: " TEXT_FMT, TEXT_ARG(trigger->name),
             err->pos.file ? err->pos.file : "?", err->pos.line, TEXT_ARG(message));
    if (t->hub->action == HUB_LEAVE)
        t->at++; /* nobody is there to hear of it; the next trigger still runs */
    else
        refuse(t, message);
}

static void trigger_done(Job *job)
{
    TriggerJob *t = (TriggerJob *)job;
    buckets_add(&pool_options(job->pool)->metrics->trigger_us, clock_mono_us() - t->began_us, 1);
    if (t->verdict == HUB_ADMIT && t->consumed && t->hub->action == HUB_MESSAGE)
        t->verdict = HUB_CONSUMED;
    if (t->verdict == HUB_ADMIT)
        t->text = t->replaced;
    if (t->verdict == HUB_ADMIT && t->replies && t->hub->action == HUB_MESSAGE)
        t->verdict = HUB_REPLY;
    hub_job_done(t->hub, t->verdict, t->text);
    job_deinit(job);
    mem_free(t);
}

static void trigger_dropped(Job *job)
{
    TriggerJob *t = (TriggerJob *)job;
    hub_job_done(t->hub, HUB_REFUSE, TEXT("The server is restarting."));
    job_deinit(job);
    mem_free(t);
}

static const JobOps trigger_ops = {trigger_next, trigger_ended, trigger_done, trigger_dropped};

static bool run_triggers(Triggers *all, HubJob *hub)
{
    Pool *pool = atomic_load(&all->pool);
    TriggerJob *t = pool ? mem_zalloc(1, sizeof *t) : NULL;
    if (!t)
        return false;
    const Config *c = pool_options(pool)->config;
    job_init(&t->job, pool, &trigger_ops, hub->space, NULL,
             hub->action == HUB_JOIN ? c->rt_gate_timeout_ms : c->rt_trigger_timeout_ms);
    t->replies = text_eq(c->rt_l1_response, TEXT("reply"));
    t->hub = hub;
    t->began_us = clock_mono_us();
    t->verdict = HUB_ADMIT;
    for (size_t i = 0; i < all->count && t->count < CHAIN_MAX; i++)
        if (fires(all, &all->items[i], hub->action, hub->channel, hub->event))
            t->chain[t->count++] = &all->items[i];
    client_context(&t->job.run, hub->identity, hub->channel, hub->space, hub->request);
    if (pool_submit(pool, &t->job))
        return true;
    job_deinit(&t->job);
    mem_free(t);
    return false;
}

/* ---- the switch ---- */

struct TriggerSwitch {
    pthread_rwlock_t lock;
    Triggers *now;
    Handlers *handlers;
};

TriggerSwitch *trigger_switch_new(void)
{
    TriggerSwitch *s = mem_zalloc(1, sizeof *s);
    if (s && pthread_rwlock_init(&s->lock, NULL) == 0)
        return s;
    mem_free(s);
    return NULL;
}

void trigger_switch_free(TriggerSwitch *s)
{
    if (!s)
        return;
    pthread_rwlock_destroy(&s->lock);
    mem_free(s);
}

void trigger_switch_set(TriggerSwitch *s, Triggers *now, Handlers *handlers)
{
    pthread_rwlock_wrlock(&s->lock);
    s->now = now;
    s->handlers = handlers;
    pthread_rwlock_unlock(&s->lock);
}

static bool switch_wants(void *ctx, HubAction action, Text channel, Text event)
{
    TriggerSwitch *s = ctx;
    pthread_rwlock_rdlock(&s->lock);
    bool yes = s->now && wants(s->now, action, channel, event);
    pthread_rwlock_unlock(&s->lock);
    return yes;
}

static bool switch_run(void *ctx, HubJob *job)
{
    TriggerSwitch *s = ctx;
    pthread_rwlock_rdlock(&s->lock);
    bool ok = s->now && run_triggers(s->now, job);
    pthread_rwlock_unlock(&s->lock);
    return ok;
}

HubDispatcher trigger_switch_dispatcher(TriggerSwitch *s)
{
    return (HubDispatcher){s, switch_wants, switch_run};
}

static bool switch_run_l2(void *ctx, L2Job *job)
{
    TriggerSwitch *s = ctx;
    pthread_rwlock_rdlock(&s->lock);
    bool ok = s->handlers && handlers_run(s->handlers, job);
    pthread_rwlock_unlock(&s->lock);
    return ok;
}

L2Dispatcher trigger_switch_l2(TriggerSwitch *s)
{
    return (L2Dispatcher){s, switch_run_l2};
}
