/* protocol.h - D1, the client protocol: frames in, triggers, answers. Thread: the shard's, except
 * hub_job_done. Specification: realtime.md §2.4, §3, §5.6. */
#ifndef HOST_HUB_PROTOCOL_H
#define HOST_HUB_PROTOCOL_H

#include "host/hub/shard.h"

typedef struct Job Job; /* a HubJob and where its verdict goes */

xs_frame_result protocol_frame(xs_conn *c, const char *data, size_t len);
/** Frames of a POST; consumes the batch. c NULL: the session has gone. */
void protocol_send(xs_conn *c, SendBatch *batch);
/** Split a document of frames; calls each (may be NULL) and counts. false: not frames, or too many.
 */
bool protocol_split(Text doc, uint32_t max, void (*each)(void *ctx, Text frame), void *ctx,
                    uint32_t *n);
/** The same JSON on one line. false: not JSON, or out of memory. */
XS_MUST_CHECK bool protocol_compact(Text json, Buf *out);
/** The position of a request that lists channels; its joins follow, each with listed_pending
 * counted up, and at the end protocol_listed_done once more. */
void protocol_begin_listed(xs_conn *c, const xs_request *req);
/** One listed channel is joined or refused. */
void protocol_listed_done(xs_conn *c);
/** The client is slow and was offered everything up to seq: what follows it gets from the rings, as
 * if it had come back, once it reads again (unpause). */
void protocol_pause(xs_conn *c, uint64_t seq);
void protocol_unpause(xs_conn *c);
/** What tells the client that events of the channel with that number were left out; one reference.
 * NULL = it is not there any more, or is being closed. */
xs_frame *protocol_hole(xs_conn *c, uint64_t channel);
/** Another token of the connection's identity: it ends later. false: not such a one.
 * *expires_in_s -1 = never. */
XS_MUST_CHECK bool protocol_renew(xs_conn *c, Text token, int64_t *expires_in_s);
/** Token buckets; false: too fast, protocol_punish tells the client. */
bool protocol_take_frame(xs_conn *c);
bool protocol_take_join(xs_conn *c);
void protocol_punish(xs_conn *c, Text channel, Text command);
/** A frame with a ref is done once; ref: hash of it, not 0. */
bool protocol_seen_before(xs_conn *c, uint64_t ref);

Sub *sub_find(const xs_conn *c, Text name);
/** The line of frames that wait for the one before them. */
void line_push(Sub *sub, Text data);
Pending *line_pop(Sub *sub);
/** share 2: half full. */
bool line_full(const xs_conn *c, unsigned share);
void line_resume(xs_conn *c); /* read again when there is room */

void protocol_join_listed(xs_conn *c, xs_request *req);
xs_resume_state protocol_resume_state(xs_conn *c, xs_request *req);
/** The connection is gone: leave every channel. true: it is still listed as present somewhere. */
bool protocol_leave_all(xs_conn *c);
/** End one membership against the client's will: error join_denied, then leave. */
void protocol_expel(xs_conn *c, Text channel);
/** The declarations changed: out of channels that do not admit it any more. */
void protocol_recheck(xs_conn *c);
/** c->away changed: off or on the rosters of its channels. */
void protocol_away(xs_conn *c);
/** A verdict from the mailbox; consumes the job. */
void protocol_job_result(MailLink *link);

#endif
