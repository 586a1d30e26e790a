/* mem.c - transport inside the process: a client is a pair of callbacks. For tests and benchmarks.
 *
 * mem_connect owns one reference of the request. Its result stays valid until mem_close, which
 * every client calls exactly once, also after on_close; on_close comes exactly once, on the shard's
 * thread, as on_frame. Threads: mem_connect, mem_send, mem_close, stop and stats any; everything
 * else the one that calls run. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "transports/common/wire.h"

typedef struct Peer Peer;

typedef enum CommandKind { CMD_CONNECT, CMD_SEND, CMD_CLOSE } CommandKind;

typedef struct Command {
    struct Command *next;
    CommandKind kind;
    Peer *peer;
    size_t len;
    char json[];
} Command;

struct Peer {
    Peer *prev, *next;
    void (*on_frame)(void *ctx, const char *json, size_t len);
    void (*on_close)(void *ctx, int code);
    void *ctx;
    xs_request *req;
    xs_conn *conn;
    int close_code; /* asked for */
    bool listed;    /* in state->peers */
    bool leaving;   /* in state->leaving */
    bool closed;    /* on_close was told */
    bool paused;
    Peer *next_leaving;
    Command *waiting, **waiting_end; /* frames that came while paused */
    Command close;                   /* reserved: closing never fails */
};

typedef struct Mem {
    const xs_host *host;
    int wake;
    pthread_mutex_t lock; /* commands, stopped */
    Command *commands, **commands_end;
    bool stopped;
    Peer *peers, *leaving;
    bool draining;
    Counter connections, opened, closed, frames_in, frames_out, bytes_in, bytes_out, refused;
} Mem;

enum { MEM_RESTART = 1012, MEM_NORMAL = 1000 };

static void signal_wake(Mem *m)
{
    uint64_t one = 1;
    while (write(m->wake, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void post(Mem *m, Command *c)
{
    pthread_mutex_lock(&m->lock);
    bool wake = !m->commands;
    c->next = NULL;
    *m->commands_end = c;
    m->commands_end = &c->next;
    pthread_mutex_unlock(&m->lock);
    if (wake)
        signal_wake(m);
}

static void drop_waiting(Peer *p)
{
    for (Command *c = p->waiting, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    p->waiting = NULL;
    p->waiting_end = &p->waiting;
}

static void peer_leave(Mem *m, Peer *p)
{
    if (p->closed)
        return;
    p->closed = true;
    drop_waiting(p);
    if (p->conn) {
        xs_conn *conn = p->conn;
        p->conn = NULL;
        counter_add(&m->closed, 1);
        counter_add(&m->connections, (uint64_t)-1);
        m->host->gone(conn, p->close_code);
    }
    if (p->on_close)
        p->on_close(p->ctx, p->close_code);
}

static void peer_connect(Mem *m, Peer *p)
{
    p->prev = NULL;
    p->next = m->peers;
    if (m->peers)
        m->peers->prev = p;
    m->peers = p;
    p->listed = true;
    xs_request *req = p->req;
    p->req = NULL;
    xs_refusal why = {.close_code = MEM_RESTART};
    if (!m->draining)
        p->conn = m->host->connect(m->host->shard, p, req, &why);
    m->host->request_unref(req);
    if (p->conn) {
        counter_add(&m->opened, 1);
        counter_add(&m->connections, 1);
        return;
    }
    counter_add(&m->refused, 1);
    p->close_code = why.close_code;
    peer_leave(m, p);
}

static void peer_free(Mem *m, Peer *p)
{
    if (p->listed) {
        *(p->prev ? &p->prev->next : &m->peers) = p->next;
        if (p->next)
            p->next->prev = p->prev;
    }
    if (p->req)
        m->host->request_unref(p->req);
    for (Peer **at = &m->leaving; *at; at = &(*at)->next_leaving)
        if (*at == p) {
            *at = p->next_leaving;
            break;
        }
    drop_waiting(p);
    free(p);
}

/* Hand one client frame to the hub; the command is freed or kept for later. */
static void peer_frame(Mem *m, Command *c)
{
    Peer *p = c->peer;
    if (p->conn && !p->leaving && p->paused) {
        c->next = NULL;
        *p->waiting_end = c;
        p->waiting_end = &c->next;
        return;
    }
    if (p->conn && !p->leaving) {
        counter_add(&m->frames_in, 1);
        counter_add(&m->bytes_in, c->len);
        if (m->host->frame(p->conn, c->json, c->len) == XS_FRAME_STOP)
            p->paused = true;
    }
    free(c);
}

/* Closes asked for by the hub happen outside of its walk. */
static void leave_listed(Mem *m)
{
    while (m->leaving) {
        Peer *p = m->leaving;
        m->leaving = p->next_leaving;
        peer_leave(m, p);
    }
}

static bool run_commands(Mem *m)
{
    uint64_t n;
    if (read(m->wake, &n, sizeof n) < 0)
        n = 0;
    pthread_mutex_lock(&m->lock);
    Command *list = m->commands;
    m->commands = NULL;
    m->commands_end = &m->commands;
    bool stopped = m->stopped;
    pthread_mutex_unlock(&m->lock);
    for (Command *c = list, *next; c; c = next) {
        next = c->next;
        Peer *p = c->peer;
        switch (c->kind) {
        case CMD_CONNECT:
            free(c);
            peer_connect(m, p);
            break;
        case CMD_SEND: peer_frame(m, c); break;
        case CMD_CLOSE: /* c is part of the peer */
            if (!p->leaving)
                p->close_code = MEM_NORMAL;
            peer_leave(m, p);
            peer_free(m, p);
            break;
        }
        leave_listed(m);
    }
    return !stopped;
}

static void *mem_create(const xs_host *host, xs_error *err)
{
    Mem *m = (Mem *)calloc(1, sizeof *m);
    if (!m) {
        plugin_fail(err, XS_E_NOMEM, "out of memory");
        return NULL;
    }
    m->host = host;
    m->commands_end = &m->commands;
    m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake < 0) {
        free(m);
        plugin_fail(err, XS_E_IO, "mem: cannot create an eventfd");
        return NULL;
    }
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

static void mem_run(void *state)
{
    Mem *m = (Mem *)state;
    struct pollfd fds[2] = {{.fd = m->wake, .events = POLLIN},
                            {.fd = m->host->wake_fd(m->host->shard), .events = POLLIN}};
    bool on = true;
    while (on) {
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents)
            m->host->drain(m->host->shard);
        if (fds[0].revents)
            on = run_commands(m);
        leave_listed(m);
    }
    for (Peer *p = m->peers; p; p = p->next) {
        p->close_code = MEM_RESTART;
        peer_leave(m, p);
    }
}

static void mem_destroy(void *state)
{
    Mem *m = (Mem *)state;
    if (!m)
        return;
    for (Command *c = m->commands, *next; c; c = next) {
        next = c->next;
        Peer *p = c->peer;
        if (c->kind == CMD_CLOSE) {
            peer_free(m, p);
        } else {
            if (c->kind == CMD_CONNECT &&
                !p->listed) { /* never ran: found again by its owner's close */
                p->listed = true;
                p->next = m->peers;
                if (m->peers)
                    m->peers->prev = p;
                m->peers = p;
            }
            free(c);
        }
    }
    while (m->peers)
        peer_free(m, m->peers);
    close(m->wake);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void *mem_connect(void *state, xs_request *req,
                         void (*on_frame)(void *ctx, const char *json, size_t len),
                         void (*on_close)(void *ctx, int code), void *ctx)
{
    Mem *m = (Mem *)state;
    Peer *p = (Peer *)calloc(1, sizeof *p);
    Command *c = (Command *)calloc(1, sizeof *c);
    if (!p || !c) {
        free(p);
        free(c);
        m->host->request_unref(req);
        return NULL;
    }
    p->on_frame = on_frame;
    p->on_close = on_close;
    p->ctx = ctx;
    p->req = req;
    p->waiting_end = &p->waiting;
    p->close = (Command){.kind = CMD_CLOSE, .peer = p};
    *c = (Command){.kind = CMD_CONNECT, .peer = p};
    post(m, c);
    return p;
}

static void mem_send(void *state, void *peer, const char *json, size_t len)
{
    Command *c = (Command *)malloc(sizeof *c + len + 1);
    if (!c)
        return;
    *c = (Command){.kind = CMD_SEND, .peer = (Peer *)peer, .len = len};
    memcpy(c->json, json, len);
    c->json[len] = 0;
    post((Mem *)state, c);
}

static void mem_close(void *state, void *peer)
{
    post((Mem *)state, &((Peer *)peer)->close);
}

static xs_deliver_result mem_deliver(void *state, void *peer, xs_frame *frame)
{
    Mem *m = (Mem *)state;
    Peer *p = (Peer *)peer;
    if (p->closed || p->leaving)
        return XS_SENT;
    const xs_wire *wire = m->host->wire(frame, XS_WIRE_LP_ITEM);
    if (!wire)
        return XS_FULL;
    counter_add(&m->frames_out, 1);
    counter_add(&m->bytes_out, wire->len);
    if (p->on_frame)
        p->on_frame(p->ctx, wire->bytes, wire->len);
    return XS_SENT;
}

static void mem_flush(void *state)
{
    (void)state; /* deliver writes at once */
}

static void mem_resume(void *state, void *peer)
{
    Mem *m = (Mem *)state;
    Peer *p = (Peer *)peer;
    if (!p->paused)
        return;
    p->paused = false;
    Command *list = p->waiting;
    p->waiting = NULL;
    p->waiting_end = &p->waiting;
    for (Command *c = list, *next; c; c = next) {
        next = c->next;
        peer_frame(m, c); /* the rest waits again when the hub says stop */
    }
}

static void mem_op_close(void *state, void *peer, int code, const char *reason)
{
    (void)reason;
    Mem *m = (Mem *)state;
    Peer *p = (Peer *)peer;
    if (p->leaving || p->closed)
        return;
    p->leaving = true;
    p->close_code = code;
    p->next_leaving = m->leaving;
    m->leaving = p;
    signal_wake(m);
}

static void mem_drain(void *state, uint32_t deadline_ms)
{
    (void)deadline_ms; /* nobody reconnects over a network: at once */
    Mem *m = (Mem *)state;
    m->draining = true;
    for (Peer *p = m->peers; p; p = p->next)
        mem_op_close(m, p, MEM_RESTART, "restart");
}

static void mem_stop(void *state)
{
    Mem *m = (Mem *)state;
    pthread_mutex_lock(&m->lock);
    m->stopped = true;
    pthread_mutex_unlock(&m->lock);
    signal_wake(m);
}

static void mem_stats(void *state, xs_transport_stats *out)
{
    Mem *m = (Mem *)state;
    *out = (xs_transport_stats){
        .connections = counter_get(&m->connections),
        .opened = counter_get(&m->opened),
        .closed = counter_get(&m->closed),
        .frames_in = counter_get(&m->frames_in),
        .frames_out = counter_get(&m->frames_out),
        .bytes_in = counter_get(&m->bytes_in),
        .bytes_out = counter_get(&m->bytes_out),
        .handshake_failed = counter_get(&m->refused),
    };
}

static const xs_transport_ops ops = {
    .size = sizeof ops,
    .format = XS_WIRE_LP_ITEM,
    .info_name = "mem",
    .create = mem_create,
    .run = mem_run,
    .deliver = mem_deliver,
    .flush = mem_flush,
    .resume = mem_resume,
    .close = mem_op_close,
    .drain = mem_drain,
    .stop = mem_stop,
    .destroy = mem_destroy,
    .stats = mem_stats,
    .mem_connect = mem_connect,
    .mem_send = mem_send,
    .mem_close = mem_close,
};
XS_PLUGIN_DEFINE(mem, XS_PLUGIN_TRANSPORT, "In process", "1.0", &ops);
