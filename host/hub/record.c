/* record.c - what is in them. */
#include "host/hub/record.h"

/* Parts of an event, in their order. */
enum { EV_FLAGS, EV_DBO, EV_ROW, EV_EXCLUDE, EV_TARGET, EV_SENDER, EV_JSON, EV_TOPIC, EV_PARTS };

/* Parts of a message. type is nil when it has none. */
enum {
    SAID_FLAGS,
    SAID_DBO,
    SAID_ROW,
    SAID_EXCLUDE,
    SAID_TYPE,
    SAID_PAYLOAD,
    SAID_CLIENT,
    SAID_SENDER,
    SAID_TS,
    SAID_PARTS
};

/* The sbuffer keeps what it has when it cannot grow: the last part tells. */
bool record_write_event(msgpack_sbuffer *out, const Event *ev)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    msgpack_pack_array(&pk, EV_PARTS);
    msgpack_pack_uint32(&pk, ev->frame.flags);
    msgpack_pack_int64(&pk, ev->dbo_id);
    pack_text(&pk, ev->row_id);
    pack_text(&pk, text_from(ev->exclude));
    pack_text(&pk, text_from(ev->target));
    pack_text(&pk, text_from(ev->sender));
    return msgpack_pack_bin(&pk, ev->frame.json.len) == 0 &&
           msgpack_pack_bin_body(&pk, ev->frame.json.ptr, ev->frame.json.len) == 0 &&
           msgpack_pack_uint64(&pk, ev->frame.topic) == 0;
}

bool record_write_said(msgpack_sbuffer *out, const L2Said *said, Text exclude)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    msgpack_pack_array(&pk, SAID_PARTS);
    msgpack_pack_uint32(&pk, said->flags);
    msgpack_pack_int64(&pk, said->to_dbo);
    pack_text(&pk, said->to_row);
    pack_text(&pk, exclude);
    if (said->type.ptr)
        pack_text(&pk, said->type);
    else
        msgpack_pack_nil(&pk);
    bool ok = msgpack_pack_bin(&pk, said->payload.len) == 0 &&
              msgpack_pack_bin_body(&pk, said->payload.ptr, said->payload.len) == 0;
    pack_text(&pk, said->client);
    pack_text(&pk, said->sender);
    return ok && msgpack_pack_int64(&pk, said->ts) == 0;
}

/* ---- reading ---- */

/* A list of so many parts that begins with flags; NULL = something else. */
static const msgpack_object *parts_of(const msgpack_unpacked *u, uint32_t count)
{
    const msgpack_object *o = &u->data;
    return o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size == count &&
                   o->via.array.ptr[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER
               ? o->via.array.ptr
               : NULL;
}

static bool unpack(msgpack_unpacked *u, xs_str data)
{
    size_t at = 0;
    msgpack_unpacked_init(u);
    return msgpack_unpack_next(u, data.ptr, data.len, &at) == MSGPACK_UNPACK_SUCCESS;
}

static Event *read_event(const msgpack_object *parts)
{
    Buf b;
    Text json = unpack_text(&parts[EV_JSON]), row_id = unpack_text(&parts[EV_ROW]);
    frame_begin(&b, json.len + row_id.len);
    buf_text(&b, json);
    Event *ev =
        frame_end_for(&b, (uint32_t)parts[EV_FLAGS].via.u64, unpack_int(&parts[EV_DBO]), row_id);
    if (!ev)
        return NULL;
    event_set_socket(ev->exclude, unpack_text(&parts[EV_EXCLUDE]));
    event_set_socket(ev->target, unpack_text(&parts[EV_TARGET]));
    event_set_socket(ev->sender, unpack_text(&parts[EV_SENDER]));
    ev->frame.topic = (uint64_t)unpack_int(&parts[EV_TOPIC]);
    return ev;
}

static Event *read_said(const L2Channel *ch, Text channel, const msgpack_object *parts,
                        const xs_plane_record *r)
{
    uint32_t flags = (uint32_t)parts[SAID_FLAGS].via.u64;
    uint64_t id = l2_recorded(ch) ? r->seq : 0;
    L2Said said = {.action = "message",
                   .channel = channel,
                   .type = unpack_text(&parts[SAID_TYPE]),
                   .payload = unpack_text(&parts[SAID_PAYLOAD]),
                   .client = unpack_text(&parts[SAID_CLIENT]),
                   .direct = flags & XS_FRAME_TARGET_ID,
                   .id = ch->at_least_once ? id : 0,
                   .log_id = id,
                   .ts = r->ts ? r->ts : unpack_int(&parts[SAID_TS]),
                   .flags = flags,
                   .to_dbo = unpack_int(&parts[SAID_DBO]),
                   .to_row = unpack_text(&parts[SAID_ROW]),
                   .sender = unpack_text(&parts[SAID_SENDER])};
    Event *ev = said.payload.len ? l2_said(&said) : NULL;
    if (ev)
        event_set_socket(ev->exclude, unpack_text(&parts[SAID_EXCLUDE]));
    return ev;
}

Event *record_event(const Space *s, Text channel, const xs_plane_record *r)
{
    msgpack_unpacked u;
    const msgpack_object *parts;
    const L2Server *server = s->server;
    const L2Channel *ch = server ? l2_match(server, channel) : NULL;
    Event *ev = NULL;
    if (!unpack(&u, r->data))
        ;
    else if (ch && (parts = parts_of(&u, SAID_PARTS)))
        ev = read_said(ch, channel, parts, r);
    else if (!server && (parts = parts_of(&u, EV_PARTS)))
        ev = read_event(parts);
    msgpack_unpacked_destroy(&u);
    if (ev && !(ev->frame.flags & XS_FRAME_STORED) != !r->off) {
        frame_unref(&ev->frame);
        return NULL;
    }
    if (ev) {
        ev->frame.epoch = r->epoch;
        ev->frame.seq = r->seq;
        ev->frame.off = r->off;
        ev->frame.ts = r->ts;
    }
    return ev;
}

static bool copy(Arena *a, const msgpack_object *from, Text *out)
{
    Text t = unpack_text(from);
    *out = t.ptr ? arena_text(a, t) : (Text){0};
    return !t.ptr || out->ptr;
}

bool record_row(const xs_plane_record *r, Arena *a, StoreRow *out)
{
    msgpack_unpacked u;
    const msgpack_object *parts;
    *out = (StoreRow){.id = r->seq, .ts = r->ts};
    bool ok = unpack(&u, r->data) && (parts = parts_of(&u, SAID_PARTS)) &&
              copy(a, &parts[SAID_TYPE], &out->type) &&
              copy(a, &parts[SAID_PAYLOAD], &out->payload) && out->payload.len &&
              copy(a, &parts[SAID_CLIENT], &out->client) &&
              copy(a, &parts[SAID_SENDER], &out->sender);
    msgpack_unpacked_destroy(&u);
    return ok;
}
