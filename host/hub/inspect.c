/* inspect.c - texts are gathered under the space's lock, connections are ended on their shards. */
#include "host/hub/inspect.h"

#include <stdlib.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "host/hub/l2.h"
#include "host/hub/protocol.h"

static bool finish(const Buf *out, xs_error *err)
{
    return !out->failed || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

static void next_item(Buf *out, bool *any)
{
    if (*any)
        buf_char(out, ',');
    *any = true;
}

/* Lists and numbers are those of one node. */
void inspect_write_node(const Hub *h, Buf *out)
{
    buf_printf(out, ",\"node\":%u}", (unsigned)h->plane.number);
}

/* ---- channels ---- */

static int by_name(const void *a, const void *b)
{
    return text_cmp((*(Channel *const *)a)->name, (*(Channel *const *)b)->name);
}

static void write_channel(const Channel *ch, Buf *out)
{
    buf_cstr(out, "{\"channel\":");
    json_write_text(out, ch->name);
    buf_printf(out, ",\"subscribers\":%zu,\"present\":%zu,\"stored\":%zu,\"off\":%llu}",
               ch->members.count, ch->roster.present.count, ch->ring.count,
               (unsigned long long)ch->off);
}

bool inspect_channels(Space *s, Text prefix, Text after, size_t limit, Buf *out, xs_error *err)
{
    VEC(Channel *) found = {0};
    size_t at = 0;
    MapSlot *slot;
    bool ok = true, any = false;
    space_lock(s);
    while (ok && (slot = map_next(&s->channels, &at))) {
        Channel *ch = slot->value;
        if (text_starts(ch->name, prefix) && (!after.len || text_cmp(ch->name, after) > 0))
            ok = VEC_PUSH(&found, ch);
    }
    if (found.len)
        qsort(found.ptr, found.len, sizeof *found.ptr, by_name);
    size_t n = found.len < limit ? found.len : limit;
    buf_cstr(out, "{\"channels\":[");
    for (size_t i = 0; i < n; i++) {
        next_item(out, &any);
        write_channel(found.ptr[i], out);
    }
    buf_cstr(out, "],\"next\":");
    if (n && n < found.len)
        json_write_text(out, found.ptr[n - 1]->name);
    else
        buf_cstr(out, "null");
    inspect_write_node(s->hub, out);
    space_unlock(s);
    VEC_DEINIT(&found);
    out->failed = out->failed || !ok;
    return finish(out, err);
}

/* ---- one channel ---- */

/* The lock is taken when it is found. */
static Channel *open_channel(Space *s, Text name, Buf *out, xs_error *err)
{
    space_lock(s);
    Channel *ch = space_find(s, name);
    if (!ch) {
        space_unlock(s);
        xs_fail(err, XS_E_NOTFOUND, XS_NO_POS, "No such channel%s.",
                s->hub->plane.ops ? " at this node" : "");
        return NULL;
    }
    buf_cstr(out, "{\"channel\":");
    json_write_text(out, ch->name);
    return ch;
}

bool inspect_subscribers(Space *s, Text channel, size_t limit, Buf *out, xs_error *err)
{
    Channel *ch = open_channel(s, channel, out, err);
    size_t at = 0, n = 0;
    MapSlot *slot;
    bool any = false;
    if (!ch)
        return false;
    buf_cstr(out, ",\"subscribers\":[");
    while (n < limit && (slot = map_next(&ch->members, &at))) {
        const Member *m = slot->value;
        next_item(out, &any);
        buf_cstr(out, "{\"client\":");
        buf_text(out, m->client);
        buf_printf(out, ",\"authenticated\":%s,\"transport\":\"%s\"}",
                   m->authenticated ? "true" : "false", m->shard->ops->info_name);
        n++;
    }
    buf_printf(out, "],\"truncated\":%s", n < ch->members.count ? "true" : "false");
    inspect_write_node(s->hub, out);
    space_unlock(s);
    return finish(out, err);
}

bool inspect_presence(Space *s, Text channel, Buf *out, xs_error *err)
{
    Channel *ch = open_channel(s, channel, out, err);
    bool truncated = false;
    Buf list = BUF_INIT;
    if (!ch)
        return false;
    roster_write(&ch->roster, (Text){0}, &list, &truncated);
    space_unlock(s);
    buf_cstr(out, ",\"presence\":[");
    buf_text(out, buf_view(&list));
    buf_printf(out, "],\"truncated\":%s", truncated ? "true" : "false");
    inspect_write_node(s->hub, out);
    out->failed = out->failed || list.failed;
    buf_deinit(&list);
    return finish(out, err);
}

static void write_event(const Event *ev, Buf *out)
{
    buf_printf(out, "{\"seq\":\"%llu\",\"off\":\"%llu\",\"ts\":%lld,\"frame\":",
               (unsigned long long)ev->frame.seq, (unsigned long long)ev->frame.off,
               (long long)ev->frame.ts);
    buf_append(out, ev->frame.json.ptr, ev->frame.json.len);
    buf_char(out, '}');
}

bool inspect_history(Space *s, Text channel, Text since, size_t limit, Buf *out, xs_error *err)
{
    Position pos = position_parse(since);
    EventVec events = {0};
    char epoch[17];
    bool any = false;
    if (since.len && !pos.given)
        return xs_fail(err, XS_E_BADREQUEST, XS_NO_POS, "Invalid value for param: since");
    Channel *ch = open_channel(s, channel, out, err);
    if (!ch)
        return false;
    const char *gap = NULL;
    if (pos.given)
        gap = channel_recover(s, ch, pos, &events);
    for (size_t i = ch->ring.count > limit ? ch->ring.count - limit : 0;
         !pos.given && i < ch->ring.count; i++) {
        Event *ev = ring_at(&ch->ring, i);
        if (VEC_PUSH(&events, ev))
            frame_ref(&ev->frame);
        else
            out->failed = true;
    }
    epoch_write(s->epoch, epoch);
    space_unlock(s);
    buf_printf(out, ",\"epoch\":\"%s\",\"gap\":%s%s%s,\"events\":[", epoch, gap ? "\"" : "",
               gap ? gap : "null", gap ? "\"" : "");
    for (size_t i = 0; i < events.len && i < limit; i++) {
        next_item(out, &any);
        write_event(events.ptr[i], out);
    }
    buf_printf(out, "],\"more\":%s", events.len > limit ? "true" : "false");
    inspect_write_node(s->hub, out);
    event_vec_deinit(&events);
    return finish(out, err);
}

/* ---- ending ---- */

typedef struct Ending {
    char sid[SID_LEN + 1];
    bool reconnect;
    size_t channel_len; /* 0 = the whole connection */
    char channel[];
} Ending;

static void end_on_shard(xs_shard *s, void *arg)
{
    Ending *e = arg;
    xs_conn *c = conn_of_sid(s, e->sid);
    if (c && !c->closing && !c->gone) {
        atomic_fetch_add_explicit(&s->hub->kicked, 1, memory_order_relaxed);
        if (e->channel_len)
            protocol_expel(c, (Text){e->channel, e->channel_len});
        else
            conn_close(c, e->reconnect ? 4000 : 4401, e->reconnect ? "reconnect" : "disconnected");
    }
    mem_free(e);
}

static bool is_meant(const xs_conn *c, const HubTarget *who)
{
    if (!who->dbo_id)
        return text_eq(text_from(c->socket_id), who->socket_id);
    return c->identity->authenticated && c->identity->dbo_id == who->dbo_id &&
           text_eq(bare_row_id(c->identity->row_id), who->row_id);
}

size_t hub_end_here(Hub *h, Space *s, const HubTarget *who, Text channel, bool reconnect)
{
    size_t at = 0, told = 0;
    MapSlot *slot;
    pthread_mutex_lock(&h->lock); /* keeps connections and shards alive */
    while ((slot = map_next(&h->sids, &at))) {
        const xs_conn *c = slot->value;
        if (c->space != s || !is_meant(c, who))
            continue;
        Ending *e = mem_zalloc(1, sizeof *e + channel.len);
        if (!e)
            continue;
        memcpy(e->sid, c->sid, sizeof e->sid);
        e->reconnect = reconnect;
        e->channel_len = channel.len;
        if (channel.len)
            memcpy(e->channel, channel.ptr, channel.len);
        if (mailbox_push(&c->shard->box, (Mail){.kind = MAIL_CALL, .call = end_on_shard, .arg = e}))
            told++;
        else
            mem_free(e);
    }
    pthread_mutex_unlock(&h->lock);
    return told;
}

size_t hub_end(Hub *h, Space *s, const HubTarget *who, Text channel, bool reconnect)
{
    plane_end(h, s, who, channel, reconnect);
    return hub_end_here(h, s, who, channel, reconnect);
}
