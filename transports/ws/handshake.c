/* handshake.c - the library gets one end of a pair of sockets and the request, and what it writes
 * is the answer; then it lets go of its end.
 *
 * The client's own socket never comes near it. Kept for the life of a connection, the library's
 * state was more memory than ours (1.2 KB), its lists of connections made each handshake dearer
 * than the one before, and with an event library it closes a descriptor twice at its end. Answering
 * is done when the adopting call returns, so that its loop never runs. */
#include "transports/ws/handshake.h"

#include <libwebsockets.h>
#include <unistd.h>

#include "transports/common/wire.h"

enum {
    HEAD_BYTES = 16384, /* largest request head, also the service buffer */
    RX_BYTES = 16,      /* of the library's frame buffer: it never reads a frame */
    DESCRIPTORS = 8     /* of the library at once: it needs two */
};

struct WsHandshake {
    struct lws_context *context;
    struct lws_vhost *vhost;
    xs_str protocol, extension; /* of the one that is being answered */
    bool done;
    char answer[HEAD_BYTES];
};

static bool add_header(struct lws *wsi, struct lws_process_html_args *args, const char *name,
                       xs_str value)
{
    unsigned char *p = (unsigned char *)args->p;
    if (!value.len)
        return true;
    if (lws_add_http_header_by_name(wsi, (const unsigned char *)name,
                                    (const unsigned char *)value.ptr, (int)value.len, &p,
                                    (unsigned char *)args->p + args->max_len))
        return false;
    args->max_len -= (int)((char *)p - args->p);
    args->p = (char *)p;
    return true;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    (void)user;
    (void)len;
    WsHandshake *h = wsi ? (WsHandshake *)lws_context_user(lws_get_context(wsi)) : NULL;
    struct lws_process_html_args *args = (struct lws_process_html_args *)in;
    switch (reason) {
    case LWS_CALLBACK_ADD_HEADERS:
        return !add_header(wsi, args, "sec-websocket-protocol:", h->protocol) ||
               !add_header(wsi, args, "sec-websocket-extensions:", h->extension);
    case LWS_CALLBACK_HTTP: return -1; /* not an upgrade */
    case LWS_CALLBACK_ESTABLISHED: h->done = true; return 0;
    default: return 0;
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "xs", .callback = on_event, .rx_buffer_size = RX_BYTES, .tx_packet_size = HEAD_BYTES},
    {0},
};

WsHandshake *ws_handshake_new(void)
{
    WsHandshake *h = (WsHandshake *)calloc(1, sizeof *h);
    if (!h)
        return NULL;
    lws_set_log_level(0, NULL);
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .max_http_header_data = HEAD_BYTES,
        .max_http_header_pool = 1,
        .pt_serv_buf_size = HEAD_BYTES,
        .fd_limit_per_thread = DESCRIPTORS,
        .gid = -1,
        .uid = -1,
        .user = h,
    };
    h->context = lws_create_context(&info);
    h->vhost = h->context ? lws_create_vhost(h->context, &info) : NULL;
    if (h->vhost)
        return h;
    ws_handshake_free(h);
    return NULL;
}

void ws_handshake_free(WsHandshake *h)
{
    if (h && h->context)
        lws_context_destroy(h->context);
    free(h);
}

xs_wire *ws_handshake_answer(WsHandshake *h, xs_str head, xs_str protocol, xs_str extension)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return NULL;
    h->protocol = protocol;
    h->extension = extension;
    h->done = false;
    struct lws *wsi = lws_adopt_socket_vhost_readbuf(h->vhost, ends[0], head.ptr, head.len);
    ssize_t n = h->done ? recv(ends[1], h->answer, sizeof h->answer, 0) : 0;
    if (wsi)
        lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
    close(ends[1]);
    return n > 0 ? wire_join((xs_str){h->answer, (size_t)n}, (xs_str){0}, (xs_str){0}) : NULL;
}
