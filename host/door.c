/* door.c - accept, peek, hand over. While a head is incomplete the receive low-water mark is raised
 * to one byte more than seen: a level-triggered loop would spin otherwise. Source: realtime.md
 * §12.3. */
#include "host/door.h"

#include <errno.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"
#include "host/http_i.h"

enum {
    BACKLOG = 1024,
    PAUSE_MS = 50,
    FAIR_MS = 1000, /* what a visitor has when others wait for its place */
    IDLE_MAX_MS = 3600 * 1000,
    ACCEPT_TURN = 64
};

typedef struct Visitor {
    struct Visitor *next, *prev;
    Door *door;
    struct event *readable;
    int fd;
    int64_t until_ms; /* monotonic: the end of its patience, however it drips */
    socklen_t addr_len;
    struct sockaddr_storage addr;
} Visitor;

struct Door {
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *unpause;
    DoorOptions opt;
    DoorVisitor visitor;
    void *ctx;
    Visitor *first, *last; /* last: the one that waits for the longest time */
    size_t pending;
    char *head; /* head_max bytes, shared by all visitors: a peek is used at once */
    int port;
    char address[NI_MAXHOST + 16];
    int64_t tokens, refilled_ms; /* thousandths of a handshake; below 0: accept nobody */
    bool paused;                 /* because of handshakes */
    unsigned turn;               /* accepted since their heads had a chance to be looked at */
    uint64_t accepted, timeouts, pauses;
};

/* Forget a visitor; its fd goes to the caller. */
static int take_fd(Visitor *v)
{
    Door *d = v->door;
    int fd = v->fd;
    if (v->next)
        v->next->prev = v->prev;
    else
        d->last = v->prev;
    if (v->prev)
        v->prev->next = v->next;
    else
        d->first = v->next;
    d->pending--;
    event_free(v->readable);
    mem_free(v);
    return fd;
}

/* Complete, or so wrong that no more of it is needed: a line without its carriage return, or a
 * first byte that begins no method (a TLS handshake). */
static bool head_complete(Text seen)
{
    char c = seen.ptr[0];
    if (c != '\r' && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z'))
        return true;
    for (size_t lf = text_find(seen, TEXT("\n"), 0); lf != SIZE_MAX;
         lf = text_find(seen, TEXT("\n"), lf + 1))
        if (lf == 0 || seen.ptr[lf - 1] != '\r')
            return true;
    return text_find(seen, TEXT("\r\n\r\n"), 0) != SIZE_MAX;
}

/* Some of a head came and then too little of it. */
static void say_too_slow(int fd)
{
    Buf answer = BUF_INIT;
    char seen[4096];
    http_write_refusal(&answer, (HttpProblem){408, "The request took too long to arrive."});
    /* Read what is there: closing with unread bytes would reset the connection. */
    if (recv(fd, seen, sizeof seen, MSG_DONTWAIT) > 0 && !answer.failed &&
        send(fd, answer.ptr, answer.len, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        shutdown(fd, SHUT_WR);
    buf_deinit(&answer);
}

static void set_low_water(int fd, size_t bytes)
{
    int n = (int)bytes;
    setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof n);
}

/* Armed anew for what is left of its time: the loop would begin it again with every byte. */
static bool wait_more(Visitor *v)
{
    int64_t ms = v->until_ms - clock_mono_ms();
    if (ms < 1)
        ms = 1;
    struct timeval left = {.tv_sec = (time_t)(ms / 1000),
                           .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    return event_add(v->readable, &left) == 0;
}

static void hand_over(Visitor *v, size_t seen)
{
    Door *d = v->door;
    struct sockaddr_storage addr = v->addr;
    socklen_t len = v->addr_len;
    int fd = take_fd(v);
    set_low_water(fd, 1);
    d->visitor(d->ctx, fd, (Text){d->head, seen}, (const struct sockaddr *)&addr, len);
}

static void give_up(Visitor *v)
{
    v->door->timeouts++;
    say_too_slow(v->fd);
    close(take_fd(v));
}

/* false: it stays, with too little of a head. */
static bool look(Visitor *v)
{
    Door *d = v->door;
    ssize_t n = recv(v->fd, d->head, d->opt.head_max, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        close(take_fd(v));
        return true;
    }
    size_t seen = (size_t)n;
    if (seen >= d->opt.head_max || head_complete((Text){d->head, seen})) {
        hand_over(v, seen);
        return true;
    }
    /* A peer that closed its side never reaches the mark, but stays "readable". */
    struct pollfd p = {.fd = v->fd, .events = POLLRDHUP};
    bool gone = poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
    set_low_water(v->fd, seen + 1);
    if (!gone && wait_more(v))
        return false;
    close(take_fd(v));
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    if (what & EV_TIMEOUT)
        give_up((Visitor *)arg);
    else
        (void)look((Visitor *)arg);
}

static bool is_full(const Door *d)
{
    return d->pending >= d->opt.max_pending || (d->opt.room && d->pending >= d->opt.room(d->ctx));
}

/* Is there a place for one more, if need be that of the one who is here for the longest time? */
static bool has_room(const Door *d)
{
    int64_t fair = clock_mono_ms() + d->opt.head_timeout_ms - FAIR_MS;
    return !is_full(d) || (d->last && d->last->until_ms <= fair);
}

static void pause_door(Door *d, int64_t ms)
{
    struct timeval pause = {.tv_sec = (time_t)(ms / 1000),
                            .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    if (!d->listener)
        return;
    evconnlistener_disable(d->listener);
    event_add(d->unpause, &pause);
}

/* How long nobody is to be accepted because of handshakes; 0 = not at all. */
static int64_t handshake_wait_ms(Door *d)
{
    int64_t per_s = d->opt.handshakes_per_s, now = clock_mono_ms();
    int64_t elapsed = now - d->refilled_ms;
    if (!per_s)
        return 0;
    if (elapsed > 0) {
        int64_t tokens = d->tokens + (elapsed > IDLE_MAX_MS ? IDLE_MAX_MS : elapsed) * per_s;
        d->tokens = tokens > per_s * 1000 ? per_s * 1000 : tokens;
        d->refilled_ms = now;
    }
    return d->tokens > 0 ? 0 : -d->tokens / per_s + 1;
}

void door_handshake(Door *d)
{
    if (!d || !d->opt.handshakes_per_s)
        return;
    d->tokens -= 1000;
    int64_t wait = handshake_wait_ms(d);
    if (!wait)
        return;
    d->pauses += !d->paused;
    d->paused = true;
    pause_door(d, wait);
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len,
                      void *arg)
{
    (void)l;
    Door *d = (Door *)arg;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Visitor *v = mem_zalloc(1, sizeof *v);
    if (!v || len < 0 || (size_t)len > sizeof v->addr) {
        mem_free(v);
        close(fd);
        return;
    }
    if (is_full(d) && has_room(d) && !look(d->last))
        give_up(d->last);
    v->door = d;
    v->fd = fd;
    v->until_ms = clock_mono_ms() + d->opt.head_timeout_ms;
    v->addr_len = (socklen_t)len;
    memcpy(&v->addr, addr, (size_t)len);
    v->readable = event_new(d->base, fd, EV_READ | EV_PERSIST, on_readable, v);
    if (!v->readable) {
        mem_free(v);
        close(fd);
        return;
    }
    v->next = d->first;
    if (d->first)
        d->first->prev = v;
    else
        d->last = v;
    d->first = v;
    d->pending++;
    d->accepted++;
    if (!wait_more(v)) {
        close(take_fd(v));
        return;
    }
    if (!has_room(d))
        pause_door(d, PAUSE_MS);
    else if (++d->turn >= ACCEPT_TURN)
        pause_door(d, 0);
}

static void on_unpause(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Door *d = (Door *)arg;
    int64_t wait = handshake_wait_ms(d);
    d->turn = 0;
    if (!wait && !has_room(d))
        wait = PAUSE_MS;
    d->paused = d->paused && wait;
    if (wait)
        pause_door(d, wait);
    else if (d->listener)
        evconnlistener_enable(d->listener);
}

/* Out of descriptors: accepting at once again would spin. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
    (void)l;
    pause_door((Door *)arg, PAUSE_MS);
}

static bool split_address(Text listen, char host[NI_MAXHOST], char port[16])
{
    size_t colon = listen.len;
    while (colon > 0 && listen.ptr[colon - 1] != ':')
        colon--;
    int64_t n;
    Text p = text_slice(listen, colon, listen.len);
    if (!colon || !num_parse_int(p, &n) || n < 0 || n > 65535)
        return false;
    Text h = text_slice(listen, 0, colon - 1);
    if (h.len >= 2 && h.ptr[0] == '[' && h.ptr[h.len - 1] == ']')
        h = text_slice(h, 1, h.len - 1);
    if (h.len >= NI_MAXHOST || p.len >= 16)
        return false;
    memcpy(host, h.ptr, h.len);
    host[h.len] = '\0';
    memcpy(port, p.ptr, p.len);
    port[p.len] = '\0';
    return true;
}

static void name_address(Door *d)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    char host[NI_MAXHOST] = "", port[16] = "0";
    Buf b = BUF_INIT;
    if (getsockname(evconnlistener_get_fd(d->listener), (struct sockaddr *)&addr, &len) == 0)
        getnameinfo((struct sockaddr *)&addr, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    int64_t n = 0;
    if (num_parse_int(text_from(port), &n))
        d->port = (int)n;
    buf_printf(&b, addr.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    size_t size = b.len < sizeof d->address - 1 ? b.len : sizeof d->address - 1;
    if (!b.failed)
        memcpy(d->address, b.ptr, size);
    buf_deinit(&b);
}

static bool bind_door(Door *d, xs_error *err)
{
    char host[NI_MAXHOST], port[16];
    if (!split_address(d->opt.listen, host, port))
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                       "'" TEXT_FMT "' is no address: expected ADDR:PORT", TEXT_ARG(d->opt.listen));
    struct addrinfo want = {.ai_family = AF_UNSPEC,
                            .ai_socktype = SOCK_STREAM,
                            .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int problem = getaddrinfo(*host ? host : NULL, port, &want, &found);
    if (problem)
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "%s: %s", host, gai_strerror(problem));
    errno = 0;
    for (struct addrinfo *i = found; i && !d->listener; i = i->ai_next)
        d->listener = evconnlistener_new_bind(d->base, on_accept, d,
                                              LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
                                                  LEV_OPT_REUSEABLE,
                                              BACKLOG, i->ai_addr, (int)i->ai_addrlen);
    problem = errno;
    freeaddrinfo(found);
    if (!d->listener)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "cannot listen on " TEXT_FMT ": %s",
                       TEXT_ARG(d->opt.listen), strerror(problem));
    evconnlistener_set_error_cb(d->listener, on_accept_error);
    name_address(d);
    return true;
}

Door *door_new(struct event_base *base, const DoorOptions *opt, DoorVisitor visitor, void *ctx,
               xs_error *err)
{
    Door *d = mem_zalloc(1, sizeof *d);
    if (d) {
        d->base = base;
        d->opt = *opt;
        d->visitor = visitor;
        d->ctx = ctx;
        d->tokens = (int64_t)opt->handshakes_per_s * 1000;
        d->refilled_ms = clock_mono_ms();
        d->head = mem_alloc(opt->head_max);
        d->unpause = evtimer_new(base, on_unpause, d);
    }
    if (!d || !d->head || !d->unpause)
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    else if (bind_door(d, err))
        return d;
    door_free(d);
    return NULL;
}

int door_port(const Door *d)
{
    return d->port;
}
Text door_address(const Door *d)
{
    return text_from(d->address);
}
uint64_t door_accepted(const Door *d)
{
    return d->accepted;
}
uint64_t door_timeouts(const Door *d)
{
    return d->timeouts;
}
uint64_t door_pauses(const Door *d)
{
    return d->pauses;
}

void door_close(Door *d)
{
    if (!d)
        return;
    if (d->listener)
        evconnlistener_free(d->listener);
    d->listener = NULL;
    if (d->unpause)
        event_del(d->unpause);
    while (d->first)
        close(take_fd(d->first));
}

void door_free(Door *d)
{
    if (!d)
        return;
    door_close(d);
    if (d->unpause)
        event_free(d->unpause);
    mem_free(d->head);
    mem_free(d);
}
