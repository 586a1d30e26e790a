/* floor.c - bare servers. No limits, no checks: their only client is the benchmark. */
#include "bench/floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/mem.h"

enum { BATCH = 100, REQUEST_BYTES = 4096, RING = 4096 /* events a late poll may still ask for */ };

typedef struct Peer {
    int fd;
    uint32_t index;  /* in subs or waiting, plus one; 0 = in none */
    uint64_t cursor; /* long-poll: number of the next event to tell */
    char *late;      /* what the socket did not take */
    size_t late_len;
    uint32_t len;
    char request[REQUEST_BYTES];
} Peer;

typedef struct Floor {
    Carrier carrier;
    bool corked;
    int epoll, listener, publish_listener, publisher;
    Peer **subs; /* subscribed, or waiting for an answer */
    size_t count, cap;
    Buf ring[RING]; /* long-poll: events by number */
    uint64_t events;
    uint32_t threads; /* that write, each to a share of subs; the loop's own is the first */
    pthread_barrier_t start, written;
    struct iovec iov[BATCH]; /* what they write */
    uint32_t n;
} Floor;

typedef struct Writer {
    Floor *f;
    uint32_t index;
} Writer;

static int listen_on(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 4096) != 0) {
        perror("xs bench: floor");
        _exit(1);
    }
    return fd;
}

static void watch(const Floor *f, int fd, void *ptr, uint32_t events, int op)
{
    struct epoll_event ev = {.events = events, .data.ptr = ptr};
    epoll_ctl(f->epoll, op, fd, &ev);
}

static void enlist(Floor *f, Peer *p)
{
    void *subs = f->subs;
    if (!mem_grow(&subs, &f->cap, f->count + 1, sizeof *f->subs))
        _exit(1);
    f->subs = (Peer **)subs;
    f->subs[f->count++] = p;
    p->index = (uint32_t)f->count;
}

static void unlist(Floor *f, Peer *p)
{
    if (!p->index)
        return;
    Peer *last = f->subs[--f->count];
    f->subs[p->index - 1] = last;
    last->index = p->index;
    p->index = 0;
}

static void drop(Floor *f, Peer *p)
{
    unlist(f, p);
    close(p->fd);
    mem_free(p->late);
    mem_free(p);
}

static void keep(Floor *f, Peer *p, const char *bytes, size_t n)
{
    char *late = (char *)mem_realloc(p->late, p->late_len + n);
    if (!late)
        _exit(1);
    memcpy(late + p->late_len, bytes, n);
    p->late = late;
    if (!p->late_len)
        watch(f, p->fd, p, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    p->late_len += n;
}

static void write_out(Floor *f, Peer *p, struct iovec *iov, int n)
{
    ssize_t sent = 0;
    if (!p->late_len) {
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        sent = n == 1 ? send(p->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                      : sendmsg(p->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            return; /* the loop sees its end */
        sent = sent < 0 ? 0 : sent;
    }
    for (int i = 0; i < n; i++) {
        size_t took = (size_t)sent < iov[i].iov_len ? (size_t)sent : iov[i].iov_len;
        sent -= (ssize_t)took;
        if (took < iov[i].iov_len)
            keep(f, p, (char *)iov[i].iov_base + took, iov[i].iov_len - took);
    }
}

static void catch_up(Floor *f, Peer *p)
{
    ssize_t n = send(p->fd, p->late, p->late_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0)
        return;
    p->late_len -= (size_t)n;
    memmove(p->late, p->late + n, p->late_len);
    if (!p->late_len)
        watch(f, p->fd, p, EPOLLIN, EPOLL_CTL_MOD);
}

/* ---- long-poll ---- */

static void answer(Floor *f, Peer *p)
{
    static Buf whole = {0}; /* the last answer: pollers of one turn get the same bytes */
    static uint64_t from = UINT64_MAX, to;
    if (from != p->cursor || to != f->events) {
        Buf body = BUF_INIT;
        buf_printf(&body, "{\"sid\":\"0\",\"cursor\":\"%llu\",\"frames\":[",
                   (unsigned long long)f->events);
        for (uint64_t i = p->cursor; i < f->events; i++) {
            if (i > p->cursor)
                buf_char(&body, ',');
            buf_text(&body, buf_view(&f->ring[i % RING]));
        }
        buf_cstr(&body, "]}");
        whole.len = 0;
        buf_printf(&whole,
                   "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: "
                   "no-store\r\nContent-Length: %zu\r\n\r\n",
                   body.len);
        buf_text(&whole, buf_view(&body));
        buf_deinit(&body);
        from = p->cursor;
        to = f->events;
    }
    struct iovec iov = {whole.ptr, whole.len};
    write_out(f, p, &iov, 1);
}

static void answer_all(Floor *f)
{
    while (f->count) {
        Peer *p = f->subs[f->count - 1];
        unlist(f, p);
        answer(f, p);
    }
}

/* ---- requests ---- */

static void on_request(Floor *f, Peer *p)
{
    static const char UPGRADE[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\n\r\n";
    static const char STREAM[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n";
    if (f->carrier != CARRY_LONGPOLL) {
        bool ws = f->carrier == CARRY_WS;
        struct iovec iov = {(void *)(uintptr_t)(ws ? UPGRADE : STREAM),
                            ws ? sizeof UPGRADE - 1 : sizeof STREAM - 1};
        write_out(f, p, &iov, 1);
        enlist(f, p);
        return;
    }
    const char *cursor = strstr(p->request, "cursor=");
    p->cursor = cursor ? strtoull(cursor + 7, NULL, 10) : f->events;
    if (!cursor || p->cursor < f->events)
        answer(f, p);
    else
        enlist(f, p);
}

static void on_readable(Floor *f, Peer *p)
{
    ssize_t n = recv(p->fd, p->request + p->len, REQUEST_BYTES - 1 - p->len, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        drop(f, p);
        return;
    }
    p->len += (uint32_t)n;
    p->request[p->len] = '\0';
    if (strstr(p->request, "\r\n\r\n")) {
        p->len = 0;
        on_request(f, p);
    } else if (p->len == REQUEST_BYTES - 1 || p->index) {
        p->len = 0; /* a pong, or nonsense */
    }
}

/* ---- events ---- */

static void frame(const Floor *f, Text event, Buf *out)
{
    out->len = 0;
    if (f->carrier == CARRY_WS) {
        buf_char(out, (char)0x81);
        if (event.len < 126) {
            buf_char(out, (char)event.len);
        } else if (event.len < 65536) {
            buf_char(out, 126);
            buf_char(out, (char)(event.len >> 8));
            buf_char(out, (char)event.len);
        } else {
            buf_char(out, 127);
            for (int shift = 56; shift >= 0; shift -= 8)
                buf_char(out, (char)((uint64_t)event.len >> shift));
        }
        buf_text(out, event);
    } else {
        static const char ID[] = "id: 0123456789abcdef.0000000\ndata: "; /* as long as xs's */
        buf_printf(out, "%zx\r\n%s", sizeof ID - 1 + event.len + 2, ID);
        buf_text(out, event);
        buf_cstr(out, "\n\n\r\n");
    }
}

static void write_share(Floor *f, uint32_t index)
{
    size_t from = f->count * index / f->threads, to = f->count * (index + 1) / f->threads;
    uint32_t each = f->corked ? f->n : 1;
    for (uint32_t i = 0; i < f->n; i += each)
        for (size_t s = from; s < to; s++)
            write_out(f, f->subs[s], &f->iov[i], (int)each);
}

static void *writer(void *arg)
{
    const Writer *w = (const Writer *)arg;
    while (w->f->threads) {
        pthread_barrier_wait(&w->f->start);
        write_share(w->f, w->index);
        pthread_barrier_wait(&w->f->written);
    }
    return NULL;
}

static void start_writers(Floor *f)
{
    pthread_t thread;
    if (pthread_barrier_init(&f->start, NULL, f->threads) != 0 ||
        pthread_barrier_init(&f->written, NULL, f->threads) != 0)
        _exit(1);
    for (uint32_t i = 1; i < f->threads; i++) {
        Writer *w = (Writer *)mem_zalloc(1, sizeof *w);
        if (!w)
            _exit(1);
        *w = (Writer){f, i};
        if (pthread_create(&thread, NULL, writer, w) != 0)
            _exit(1);
    }
}

static void deliver(Floor *f, const Text *events, uint32_t n)
{
    static Buf frames[BATCH];
    if (f->carrier == CARRY_LONGPOLL) {
        for (uint32_t i = 0; i < n; i++) {
            Buf *slot = &f->ring[f->events++ % RING];
            slot->len = 0;
            buf_text(slot, events[i]);
        }
        answer_all(f);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        frame(f, events[i], &frames[i]);
        f->iov[i] = (struct iovec){frames[i].ptr, frames[i].len};
    }
    f->n = n;
    if (f->threads > 1)
        pthread_barrier_wait(&f->start);
    write_share(f, 0);
    if (f->threads > 1)
        pthread_barrier_wait(&f->written);
}

static bool read_all(int fd, void *to, size_t n)
{
    return recv(fd, to, n, MSG_WAITALL) == (ssize_t)n;
}

static void on_publish(Floor *f)
{
    static Buf bytes[BATCH];
    Text events[BATCH];
    uint32_t n, len;
    if (!read_all(f->publisher, &n, sizeof n) || n > BATCH)
        _exit(0); /* the benchmark is over */
    for (uint32_t i = 0; i < n; i++) {
        bytes[i].len = 0;
        if (!read_all(f->publisher, &len, sizeof len) || !buf_reserve(&bytes[i], len) ||
            !read_all(f->publisher, bytes[i].ptr, len))
            _exit(0);
        bytes[i].len = len;
        events[i] = buf_view(&bytes[i]);
    }
    deliver(f, events, n);
    ssize_t ok = send(f->publisher, "k", 1, MSG_NOSIGNAL);
    (void)ok;
}

static void accept_subscribers(Floor *f)
{
    int fd, on = 1;
    while ((fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        Peer *p = (Peer *)mem_zalloc(1, sizeof *p);
        if (!p)
            _exit(1);
        p->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(f, fd, p, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void accept_publisher(Floor *f)
{
    int on = 1;
    f->publisher = accept4(f->publish_listener, NULL, NULL, SOCK_CLOEXEC); /* blocking */
    if (f->publisher < 0)
        return;
    setsockopt(f->publisher, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(f, f->publisher, &f->publisher, EPOLLIN, EPOLL_CTL_ADD);
}

void floor_serve(Carrier carrier, bool corked, uint32_t threads, int port, int publish_port)
{
    Floor *f = (Floor *)mem_zalloc(1, sizeof *f);
    if (!f)
        _exit(1);
    f->carrier = carrier;
    f->corked = corked;
    f->threads = threads;
    start_writers(f);
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    f->listener = listen_on(port);
    f->publish_listener = listen_on(publish_port);
    watch(f, f->listener, &f->listener, EPOLLIN, EPOLL_CTL_ADD);
    watch(f, f->publish_listener, &f->publish_listener, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(f->epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            void *at = events[i].data.ptr;
            if (at == &f->listener) {
                accept_subscribers(f);
            } else if (at == &f->publish_listener) {
                accept_publisher(f);
            } else if (at == &f->publisher) {
                on_publish(f);
            } else {
                Peer *p = (Peer *)at;
                if (events[i].events & EPOLLOUT && p->late_len)
                    catch_up(f, p);
                if (events[i].events & ~(unsigned)EPOLLOUT)
                    on_readable(f, p);
            }
        }
    }
}
