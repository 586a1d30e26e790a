/* fuzz_handover.c - any bytes as what an earlier run left: either the hub goes on with it or begins
 * anew, and then serves. */
#include "host/hub/channel.h"
#include "host/hub/handover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const HubOptions opt = {.default_channel = TEXT("anonymous")};
    xs_error err = {0};
    uint64_t events;
    Hub *h = hub_new(&opt, NULL, &err);
    Space *s = h ? hub_space(h, TEXT(""), TEXT("harbor")) : NULL;
    if (!s)
        __builtin_trap();
    uint64_t epoch = s->epoch;
    bool ok = handover_apply(h, (Text){(const char *)data, size}, &events);
    if (!ok && (s->epoch != epoch || s->seq || s->channels.count))
        __builtin_trap();
    uint64_t before = s->seq;
    HubPublished out = {0};
    HubPublish p = {.channel = TEXT("a"), .event = TEXT("e"), .data = TEXT("1")};
    if (!hub_publish(h, s, &p, &out, &err) || out.seq != before + 1)
        __builtin_trap();
    hub_free(h);
    return 0;
}
