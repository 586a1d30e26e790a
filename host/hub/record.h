/* record.h - events as the bytes that a backplane carries: MessagePack lists, of one length in each
 * layer. Any thread. */
#ifndef HOST_HUB_RECORD_H
#define HOST_HUB_RECORD_H

#include <msgpack.h>

#include "host/hub/channel.h"
#include "host/hub/l2_frame.h"
#include "host/hub/l2_store.h"
#include "include/xs/backplane.h"

/** A D1 event. false: out of memory; out is the caller's to destroy. */
XS_MUST_CHECK bool record_write_event(msgpack_sbuffer *out, const Event *ev);
/** A D2 message: its parts, since its frame shows the number that it gets. */
XS_MUST_CHECK bool record_write_said(msgpack_sbuffer *out, const L2Said *said, Text exclude);
/** The event of a record, one reference; NULL: none of ours, or out of memory. */
Event *record_event(const Space *s, Text channel, const xs_plane_record *r);
/** The message of a record; its texts are copied. false: none of ours, or out of memory. */
XS_MUST_CHECK bool record_row(const xs_plane_record *r, Arena *a, StoreRow *out);

static inline void pack_text(msgpack_packer *pk, Text t)
{
    msgpack_pack_bin(pk, t.len);
    msgpack_pack_bin_body(pk, t.len ? t.ptr : "", t.len);
}

/* {0} when it is something else. */
static inline Text unpack_text(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_BIN ? (Text){o->via.bin.ptr, o->via.bin.size} : (Text){0};
}

static inline int64_t unpack_int(const msgpack_object *o)
{
    bool number =
        o->type == MSGPACK_OBJECT_POSITIVE_INTEGER || o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    return number ? o->via.i64 : 0;
}

#endif
