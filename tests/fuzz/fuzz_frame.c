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
    Hub *hub = hub_new(&options, &dispatcher, &err);
    if (!hub)
        return 0;
    xs_host host = {.size = sizeof host};
    xs_shard *shard = hub_shard_new(hub, &ops, &limits, &host, &err);
    if (shard) {
        hub_shard_attach(shard, &host);
        host_of_run = &host;
        run_frames(&host, hub_space(hub, TEXT(""), TEXT("main")), data, size);
        hub_shard_free(shard);
    }
    hub_free(hub);
    return 0;
}
