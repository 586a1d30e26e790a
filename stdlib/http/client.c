/* client.c - the curl multi handle on the I/O thread: sockets and timer of curl are events of the
 * loop. Everything here but making and ending a transfer runs there. */
#include "stdlib/http/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "core/mem.h"

enum { CONNECTIONS_MAX = 512, CONNECTIONS_KEPT = 64, HEAD_MAX = 256 << 10, CONNECT_MS = 10000 };

struct HttpClient {
    Io *io;
    HttpClientOptions opt;
    CURLM *multi;
    struct event *timer;
};

/* ---- addresses ---- */

typedef struct Range4 {
    uint32_t net;
    unsigned bits;
} Range4;

/* Special-purpose registry of IPv4 (RFC 6890), multicast, reserved. */
static bool public4(uint32_t a)
{
    static const Range4 special[] = {
        {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},  {0xa9fe0000, 16},
        {0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16},
        {0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 4},  {0xf0000000, 4},
    };
    for (size_t i = 0; i < COUNT_OF(special); i++)
        if ((a ^ special[i].net) >> (32 - special[i].bits) == 0)
            return false;
    return true;
}

static uint32_t word_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Only 2000::/3 is public, without what embeds or stands for something else. */
static bool public6(const uint8_t *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
        return public4(word_at(a + 12));
    if ((a[0] & 0xe0) != 0x20)
        return false;
    uint32_t head = word_at(a);
    if (head >> 16 == 0x2002) /* 6to4 */
        return public4(word_at(a + 2));
    return head >> 9 != 0x20010000u >> 9 /* 2001::/23 */ && head != 0x20010db8 &&
           head >> 12 != 0x3fff0000u >> 12;
}

bool address_is_public(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        return public4(ntohl(in.sin_addr.s_addr));
    }
    if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, a, sizeof in);
        return public6(in.sin6_addr.s6_addr);
    }
    return false;
}

/* Called for every connection curl opens, with the address it is about to use. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)purpose;
    Transfer *t = arg;
    if (t->http && !t->client->opt.allow_private && !address_is_public(&a->addr)) {
        t->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- data ---- */

static size_t on_body(char *bytes, size_t one, size_t n, void *arg)
{
    (void)one;
    Transfer *t = arg;
    if (t->body.len + n > t->client->opt.max_bytes) {
        t->too_large = true;
        return 0;
    }
    return buf_append(&t->body, bytes, n) ? n : 0;
}

/* A status line begins a new head: that of a redirect is forgotten. */
static size_t on_head(char *bytes, size_t one, size_t n, void *arg)
{
    (void)one;
    Transfer *t = arg;
    if (n > 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        t->head.len = 0;
        t->body.len = 0;
    }
    if (t->head.len + n > HEAD_MAX) {
        t->too_large = true;
        return 0;
    }
    return buf_append(&t->head, bytes, n) ? n : 0;
}

static void init_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

Transfer *transfer_new(HttpClient *c, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    Transfer *t = mem_zalloc(1, size);
    CURL *e = t ? curl_easy_init() : NULL;
    if (!e) {
        mem_free(t);
        return NULL;
    }
    t->client = c;
    t->easy = e;
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* nor one of the environment */
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->message);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    return t;
}

void transfer_deinit(Transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    curl_mime_free(t->mime);
    buf_deinit(&t->send);
    buf_deinit(&t->head);
    buf_deinit(&t->body);
}

Text transfer_problem(const Transfer *t)
{
    if (t->refused && t->code != CURLE_OK)
        return TEXT("The address is private; option http.allow_private permits it");
    if (t->too_large)
        return TEXT("The response is too large");
    if (!t->ended)
        return t->wait.timed_out ? TEXT("Timed out") : TEXT("The server is shutting down");
    if (t->code == CURLE_OK)
        return (Text){0};
    return text_from(*t->message ? t->message : curl_easy_strerror(t->code));
}

/* ---- the loop ---- */

static void end(Transfer *t, CURLcode code)
{
    t->code = code;
    t->ended = true;
    curl_multi_remove_handle(t->client->multi, t->easy);
    t->begun = false;
    if (t->on_end)
        t->on_end(t);
    wait_done(&t->wait);
}

static void collect(HttpClient *c)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(c->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        char *t = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        end((Transfer *)(void *)t, code);
    }
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    HttpClient *c = arg;
    int running,
        mask = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(c->multi, fd, mask, &running);
    collect(c);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    HttpClient *c = arg;
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(c);
}

static int set_socket(CURL *e, curl_socket_t fd, int what, void *arg, void *known)
{
    (void)e;
    HttpClient *c = arg;
    struct event *ev = known;
    if (ev)
        event_free(ev);
    ev = NULL;
    if (what != CURL_POLL_REMOVE) {
        int mask = EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) |
                   (what & CURL_POLL_OUT ? EV_WRITE : 0);
        ev = event_new(io_base(c->io), fd, (short)mask, on_event, c);
        if (ev && event_add(ev, NULL) != 0) {
            event_free(ev);
            ev = NULL;
        }
    }
    curl_multi_assign(c->multi, fd, ev);
    return what == CURL_POLL_REMOVE || ev ? 0 : -1;
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    HttpClient *c = arg;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (ms < 0)
        return event_del(c->timer);
    return event_add(c->timer, &tv);
}

static void close_multi(void *arg)
{
    HttpClient *c = arg;
    if (c->multi)
        curl_multi_cleanup(c->multi);
    c->multi = NULL;
    if (c->timer)
        event_free(c->timer);
    c->timer = NULL;
}

/* At the first transfer: runs that send nothing pay nothing. */
static bool open_multi(HttpClient *c)
{
    if (c->multi)
        return true;
    c->multi = curl_multi_init();
    c->timer = event_new(io_base(c->io), -1, 0, on_time, c);
    if (!c->multi || !c->timer) {
        close_multi(c);
        return false;
    }
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
    return true;
}

void transfer_start(Wait *w)
{
    Transfer *t = (Transfer *)w;
    HttpClient *c = t->client;
    t->begun = open_multi(c) && curl_multi_add_handle(c->multi, t->easy) == CURLM_OK;
    if (!t->begun) {
        t->code = CURLE_OUT_OF_MEMORY;
        t->ended = true;
        wait_done(w);
    }
}

void transfer_cancel(Wait *w)
{
    Transfer *t = (Transfer *)w;
    if (t->begun)
        curl_multi_remove_handle(t->client->multi, t->easy);
    t->begun = false;
}

void transfer_go_on(Transfer *t)
{
    HttpClient *c = t->client;
    if (t->begun && curl_easy_pause(t->easy, CURLPAUSE_CONT) != CURLE_OK)
        end(t, CURLE_WRITE_ERROR);
    on_time(-1, 0, c); /* what curl kept back comes now */
}

/* ---- life ---- */

HttpClient *http_client_new(Io *io, const HttpClientOptions *opt, xs_error *err)
{
    HttpClient *c = mem_zalloc(1, sizeof *c);
    if (!c) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    c->io = io;
    c->opt = *opt;
    io_at_end(io, close_multi, c);
    return c;
}

void http_client_free(HttpClient *c)
{
    mem_free(c);
}
