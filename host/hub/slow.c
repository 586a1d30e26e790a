/* slow.c - the list of realtime.slow_policy. */
#include "host/hub/slow.h"

#include "core/mem.h"
#include "host/hub/pattern.h"
#include "include/xs/event.h"

static const struct {
    const char *name;
    uint32_t flag;
} policies[] = {
    {"close", 0},
    {"drop_oldest", XS_FRAME_DROP_OLDEST},
    {"conflate", XS_FRAME_CONFLATE},
    {"pause", XS_FRAME_PAUSE},
};

/* A name may hold '=' itself, so the last one counts. */
static bool read_rule(Text item, SlowRule *out, xs_error *err)
{
    size_t at = item.len;
    while (at && item.ptr[at - 1] != '=')
        at--;
    Text policy = text_trim(text_slice(item, at, item.len), TEXT(" \t"));
    out->pattern = text_trim(text_slice(item, 0, at ? at - 1 : 0), TEXT(" \t"));
    if (!channel_pattern_valid(out->pattern))
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                       "realtime.slow_policy: \"" TEXT_FMT "\" is not CHANNEL=POLICY",
                       TEXT_ARG(item));
    for (size_t i = 0; i < COUNT_OF(policies); i++)
        if (text_eq(policy, text_from(policies[i].name))) {
            out->flag = policies[i].flag;
            return true;
        }
    return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                   "realtime.slow_policy: \"" TEXT_FMT
                   "\" is none of close, drop_oldest, conflate, pause",
                   TEXT_ARG(policy));
}

bool slow_rules_init(SlowRules *r, Text text, xs_error *err)
{
    size_t max = 1;
    for (size_t i = 0; i < text.len; i++)
        max += text.ptr[i] == ',';
    *r = (SlowRules){.items = mem_zalloc(max, sizeof *r->items)};
    if (!r->items)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    while (text.len) {
        Text item = text_next(&text);
        if (item.len && !read_rule(item, &r->items[r->count++], err))
            return false;
    }
    return true;
}

void slow_rules_deinit(SlowRules *r)
{
    mem_free(r->items);
    *r = (SlowRules){0};
}

uint32_t slow_rules_flag(const SlowRules *r, Text channel)
{
    for (size_t i = 0; i < r->count; i++)
        if (text_match_pattern(r->items[i].pattern, channel))
            return r->items[i].flag;
    return 0;
}
