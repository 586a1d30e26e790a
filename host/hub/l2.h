/* l2.h - realtime servers (layer L2, protocol D2): connections, memberships and messages. What the
 * host sees of them is in hub.h. Thread: the shard's, except where said. Specification: realtime.md
 * §4, §5.4-5.6, §6. */
#ifndef HOST_HUB_L2_H
#define HOST_HUB_L2_H

#include "core/buf.h"
#include "host/hub/hub.h"

struct L2Conn;
struct Event;
struct Sub;
struct Channel;

/** May this request become a connection? false: *why is filled. */
bool l2_may_connect(const xs_request *req, xs_refusal *why);
/** The same of a connection, whose token was good. */
bool l2_admits(const Space *space, const Identity *who, bool bad_token, xs_refusal *why);
struct L2Conn *l2_conn_new(Hub *h);
void l2_conn_free(struct L2Conn *l2);
/** The connection is in every index: ask the connect triggers. false: too busy for that. */
XS_MUST_CHECK bool l2_opened(xs_conn *c);
/** The connection is gone: leave every channel. */
bool l2_gone(xs_conn *c, uint32_t grace_ms); /* may it come back as the same session? */
void l2_recheck(xs_conn *c);                 /* the declarations have changed */
void l2_away(xs_conn *c);                    /* c->away has changed */
void l2_expel(xs_conn *c, Text channel);     /* a joined one */
xs_frame_result l2_frame(xs_conn *c, const char *data, size_t len);
void l2_join_listed(xs_conn *c, xs_request *req);
void l2_queued(xs_conn *c);   /* the client is slow */
void l2_writable(xs_conn *c); /* it has caught up */
/** An event for a subscriber that takes its events itself; false: deliver it as usual. */
bool l2_tap(struct Sub *sub, struct Event *ev);
/** A missed event that needs no replay, or that the subscription takes itself: true. The space's
 * lock is held. */
bool l2_took(struct Sub *sub, struct Event *ev);
void l2_go_on(xs_conn *c); /* what l2_took kept */
/** Are missed events of this channel sent by what the client acknowledged, not by position? */
bool l2_has_cursor(const xs_conn *c, Text channel);
void l2_rates_free(Space *s);
/** hub_publish for a space of a realtime server. p->data is compact JSON. Any thread. */
XS_MUST_CHECK bool l2_publish(Hub *h, Space *s, const HubPublish *p, HubPublished *out,
                              xs_error *err);

#endif
