/* fuzz_frame.c - any bytes as client frames: every answer is one line of JSON that names an action,
 * and the hub forgets everything when the clients are gone. Input lines are frames; they alternate
 * between two clients. */
#include <stdlib.h>

#include "core/json.h"
#include "host/hub/hub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Peer {
    bool closed;
} Peer;

static const xs_host *host_of_run; /* set for one input at a time */

static xs_deliver_result deliver(void *state, void *peer, xs_frame *frame)
{
    (void)state;
    (void)peer;
    const xs_wire *wire = host_of_run->wire(frame, XS_WIRE_LP_ITEM);
    Arena arena;
    arena_init(&arena, 0);
    const Const *json = wire ? json_parse(&arena, (Text){wire->bytes, wire->len}, NULL) : NULL;
    if (wire &&
        (!json || !const_get_text(json, "action").ptr || memchr(wire->bytes, '\n', wire->len)))
        __builtin_trap();
    arena_deinit(&arena);
    return XS_SENT;
}

static void flush(void *state)
{
    (void)state;
}

static void resume(void *state, void *peer)
{
    (void)state;
    (void)peer;
}

static void close_peer(void *state, void *peer, int code, const char *reason)
{
    (void)state;
    (void)code;
    (void)reason;
    ((Peer *)peer)->closed = true;
}

static bool wants(void *ctx, HubAction action, Text channel, Text event)
{
    (void)ctx;
    (void)action;
    (void)channel;
    return event.len > 0;
}

static bool run(void *ctx, HubJob *job)
{
    (void)ctx;
    hub_job_done(job,
                 job->data.len % 3 == 0   ? HUB_REFUSE
                 : job->data.len % 3 == 1 ? HUB_ADMIT
                                          : HUB_CONSUMED,
                 (Text){0});
    return true;
}

/* Realtime servers: a gate, a deliver trigger, a handler of every kind. */
static bool run_l2(void *ctx, L2Job *job)
{
    static const L2Verdict verdicts[] = {L2_PASS, L2_DROP, L2_REJECT, L2_CRASH, L2_DENY};
    (void)ctx;
    bool gate = job->action == L2_CONNECT || job->action == L2_JOIN;
    L2Verdict v = gate                        ? L2_PASS
                  : job->action == L2_DELIVER ? (job->payload.len % 2 ? L2_CHANGE : L2_PASS)
                                              : verdicts[job->payload.len % 5];
    l2_job_done(job, v, v == L2_PASS || v == L2_CHANGE ? TEXT("{\"x\":1}") : (Text){0});
    return true;
}

static const char servers[] =
    "{\"servers\":[{\"name\":\"s\",\"canonical\":\"s\",\"active\":true}],\"server_channels\":[{"
    "\"server\":\"s\",\"path\":\"a/{b}\",\"active\":true,\"access\":{\"anonymous\":true,"
    "\"presence\":true},\"publish\":{\"who\":\"anyone\",\"direct\":true}},{\"server\":\"s\","
    "\"path\":\"each\",\"active\":true,\"access\":{\"anonymous\":true},\"publish\":{\"who\":"
    "\"anyone\"},\"delivery\":{\"per_recipient\":true},\"proc\":1}],\"messages\":[{\"name\":\"m\","
    "\"server\":\"s\",\"channel\":\"a/{b}\",\"proc\":1},{\"name\":\"o\",\"server\":\"s\","
    "\"channel\":\"a/{b}\",\"deliver_to\":\"others\",\"proc\":1},{\"name\":\"s\",\"server\":\"s\","
    "\"channel\":\"a/{b}\",\"deliver_to\":\"sender\",\"proc\":1},{\"name\":\"m\",\"server\":\"s\","
    "\"channel\":\"each\",\"proc\":1}],\"server_triggers\":[{\"name\":\"d\",\"server\":\"s\","
    "\"channel\":\"each\",\"actions\":{\"deliver\":true,\"join\":true,\"leave\":true},\"proc\":1},{"
    "\"name\":\"c\",\"server\":\"s\",\"actions\":{\"connect\":true,\"disconnect\":true},\"proc\":"
    "1}]}";

static void run_frames(xs_host *host, Space *space, const uint8_t *data, size_t size)
{
    Peer peers[2] = {{false}, {false}};
    xs_conn *conns[2];
    for (int i = 0; i < 2; i++) {
        xs_request *req = request_new();
        Const id = {.kind = C_INT, .i = 7};
        req->space = space;
        req->identity = i ? identity_anonymous() : identity_new(TEXT("user"), 1, &id, NULL);
        xs_refusal why;
        conns[i] = host->connect(host->shard, &peers[i], req, &why);
        request_unref(req);
    }
    const char *text = (const char *)data, *end = text + size;
    for (int turn = 0; text < end; turn++) {
        const char *stop = (const char *)memchr(text, '\n', (size_t)(end - text));
        stop = stop ? stop : end;
        if (conns[turn % 2] && !peers[turn % 2].closed)
            host->frame(conns[turn % 2], text, (size_t)(stop - text));
        host->drain(host->shard);
        text = stop + 1;
    }
    for (int i = 0; i < 2; i++)
        if (conns[i])
            host->gone(conns[i], 1000);
    host->drain(host->shard);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const xs_transport_ops ops = {.size = sizeof ops,
                                         .format = XS_WIRE_LP_ITEM,
                                         .info_name = "fuzz",
                                         .deliver = deliver,
                                         .flush = flush,
                                         .resume = resume,
                                         .close = close_peer};
    static const xs_limits limits = {.max_message = 65536,
                                     .queue_soft_bytes = 1 << 16,
                                     .queue_hard_bytes = 1 << 20,
                                     .queue_hard_frames = 1024};
    HubDispatcher dispatcher = {NULL, wants, run};
    HubOptions options = {
        .default_channel = TEXT("anonymous"), .frames_per_s = 1000000, .frames_burst = 1000000};
    xs_error err;
    Arena arena;
    arena_init(&arena, 0);
    options.meta = json_parse(&arena, text_from(servers), NULL);
    options.l2 = (L2Dispatcher){NULL, run_l2};
    Hub *hub = hub_new(&options, &dispatcher, &err);
    arena_deinit(&arena);
    if (!hub)
        return 0;
    xs_host host = {.size = sizeof host};
    xs_shard *shard = hub_shard_new(hub, &ops, &limits, &host, &err);
    if (shard) {
        hub_shard_attach(shard, &host);
        host_of_run = &host;
        run_frames(&host, hub_space(hub, TEXT(""), TEXT("main")), data, size);
        run_frames(&host, hub_server_space(hub, TEXT(""), TEXT("s")), data, size);
        hub_shard_free(shard);
    }
    hub_free(hub);
    return 0;
}
