/* postgres.c - connections to PostgreSQL servers, all on the I/O thread: they are made when a
 * statement needs one, run one statement at a time, and end when nobody has used them for a while.
 * A statement that is given up ends its connection; the server notices and stops. */
#include "stdlib/postgres/postgres.h"

#include <event2/dns.h>
#include <stdlib.h>

#include "core/mem.h"
#include "core/text.h"
#include "stdlib/http/client.h"
#include "stdlib/postgres/postgres_i.h"

enum { IDLE_MS = 30000, LINKS_MAX = 64, TYPES_KEPT = 32, SAID_MAX = 190 };

/* What every connection begins with: the text forms value.c reads, and a server that looks every
 * second whether somebody still waits for its answer. */
static const char set_up[] =
    "SET datestyle = 'ISO'; SET timezone = 'UTC'; SET bytea_output = 'hex'; "
    "SELECT set_config(name, '1000', false) FROM pg_settings "
    "WHERE name = 'client_connection_check_interval'";

typedef struct PgWait {
    Wait wait;
    Postgres *pg;
    PgAddress address;
    char *sql;
    PgArg *args;
    uint32_t nargs;
    bool single;
    /* loop */
    struct Pool *pool;
    struct Link *link;   /* NULL: queued */
    struct PgWait *next; /* of the queue */
    /* result */
    PgRows rows;
    xs_error err;
    char state[6]; /* SQLSTATE */
    bool ended;
} PgWait;

/* Parameter types of a statement, as the server said. */
typedef struct Types {
    char *sql;
    Oid *types;
} Types;

typedef enum LinkState {
    LINK_FINDING,
    LINK_CONNECTING,
    LINK_PREPARING,
    LINK_IDLE,
    LINK_BUSY
} LinkState;
/* What the statement of a busy link is about. */
typedef enum LinkStep { STEP_PARSE, STEP_DESCRIBE, STEP_RUN } LinkStep;

typedef struct Link {
    struct Pool *pool;
    struct Link *next;
    LinkState state;
    LinkStep step;
    struct evdns_getaddrinfo_request *finding;
    PGconn *conn;
    struct event *socket, *timer;
    PgWait *job;
    Types known[TYPES_KEPT];
    size_t nknown; /* ever */
    int64_t used;  /* idle since, in uses of the Postgres */
} Link;

/* Connections by one connection string. */
typedef struct Pool {
    Postgres *pg;
    struct Pool *next;
    PgAddress address;
    Link *links;
    uint32_t nlinks;
    PgWait *first; /* statements without a connection */
} Pool;

struct Postgres {
    Io *io;
    PostgresOptions opt;
    struct evdns_base *dns;
    struct event *serve;
    Pool *pools;
    uint32_t nlinks;
    int64_t uses;
};

/* ---- ends ---- */

/* Behind this callback: hand out connections, drop pools without any. */
static void serve_later(Postgres *pg)
{
    event_active(pg->serve, EV_TIMEOUT, 0);
}

static void job_done(PgWait *w)
{
    w->link = NULL;
    w->pool = NULL;
    w->ended = true;
    wait_done(&w->wait);
}

static void forget_types(Types *t)
{
    mem_free(t->sql);
    mem_free(t->types);
    *t = (Types){0};
}

/* Its job is not told. */
static void link_close(Link *l)
{
    Pool *p = l->pool;
    Link **at = &p->links;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    p->nlinks--;
    p->pg->nlinks--;
    if (l->finding)
        evdns_getaddrinfo_cancel(l->finding);
    if (l->socket)
        event_free(l->socket);
    if (l->timer)
        event_free(l->timer);
    PQfinish(l->conn);
    for (size_t i = 0; i < TYPES_KEPT; i++)
        forget_types(&l->known[i]);
    mem_free(l);
    serve_later(p->pg);
}

/* What the server or libpq says, on one line and without "connection to … failed: ". */
static Text said(const char *message)
{
    Text t = text_from(message ? message : "");
    size_t failed = text_find(t, TEXT(" failed: "), 0);
    if (text_starts(t, TEXT("connection to ")) && failed != SIZE_MAX)
        t = text_slice(t, failed + 9, t.len);
    t = text_trim(text_slice(t, 0, text_find(t, TEXT("\n"), 0)), TEXT(" \r\n"));
    if (text_starts(t, TEXT("FATAL:")))
        t = text_trim(text_slice(t, 6, t.len), TEXT(" "));
    t = text_slice(t, 0, SAID_MAX);
    t.len = utf8_valid_len(t);
    return t;
}

/* The connection is of no more use: its statement fails, the next one gets another. */
static void link_fail(Link *l, xs_code code, const char *what, const char *message)
{
    PgWait *w = l->job;
    Text why = said(message);
    if (w && w->err.code == XS_OK)
        (void)xs_fail(&w->err, code, XS_NO_POS, "PostgreSQL: %s%s" TEXT_FMT, what,
                      why.len ? ": " : "", TEXT_ARG(why));
    link_close(l);
    if (w)
        job_done(w);
}

static void link_lost(Link *l)
{
    link_fail(l, XS_E_IO, "the connection was lost", PQerrorMessage(l->conn));
}

/* ---- a statement ---- */

static void on_ready(evutil_socket_t fd, short what, void *arg);

static bool watch(Link *l, short what)
{
    int fd = PQsocket(l->conn);
    if (l->socket)
        event_free(l->socket);
    l->socket = fd < 0 ? NULL : event_new(io_base(l->pool->pg->io), fd, what, on_ready, l);
    return l->socket && event_add(l->socket, NULL) == 0;
}

static bool set_timer(Link *l, int64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = ms % 1000 * 1000};
    return event_add(l->timer, &tv) == 0;
}

/* Send what is left, then wait for the answer. */
static void flush(Link *l)
{
    int left = PQflush(l->conn);
    if (left < 0)
        link_lost(l);
    else if (!watch(l, (short)(EV_PERSIST | EV_READ | (left ? EV_WRITE : 0))))
        link_fail(l, XS_E_NOMEM, "out of memory", NULL);
}

static Types *known_types(Link *l, const char *sql)
{
    for (size_t i = 0; i < TYPES_KEPT; i++)
        if (l->known[i].sql && strcmp(l->known[i].sql, sql) == 0)
            return &l->known[i];
    return NULL;
}

static bool run(Link *l, const Types *t)
{
    PgWait *w = l->job;
    const char **values = mem_zalloc(w->nargs + 1, sizeof *values);
    if (!values)
        return xs_fail(&w->err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    for (uint32_t i = 0; i < w->nargs; i++)
        values[i] = pg_arg_text(&w->args[i], t->types[i], &w->err);
    l->step = STEP_RUN;
    bool ok = w->err.code == XS_OK &&
              PQsendQueryParams(l->conn, w->sql, (int)w->nargs, t ? t->types : NULL, values, NULL,
                                NULL, 0) == 1 &&
              PQsetSingleRowMode(l->conn) == 1;
    mem_free(values);
    return ok;
}

static void finish(Link *l);

static void send_step(Link *l)
{
    PgWait *w = l->job;
    const Types *t = w->nargs ? known_types(l, w->sql) : NULL;
    bool ok;
    if (!w->nargs || t) {
        ok = run(l, t);
    } else if (l->step == STEP_PARSE) {
        ok = PQsendPrepare(l->conn, "", w->sql, 0, NULL) == 1;
    } else {
        ok = PQsendDescribePrepared(l->conn, "") == 1;
    }
    if (ok)
        flush(l);
    else if (w->err.code != XS_OK)
        finish(l); /* nothing was sent */
    else
        link_lost(l);
}

static void link_idle(Link *l)
{
    l->state = LINK_IDLE;
    l->used = ++l->pool->pg->uses;
    if (!watch(l, EV_PERSIST | EV_READ) || !set_timer(l, IDLE_MS))
        link_close(l);
    else
        serve_later(l->pool->pg);
}

/* The statement is over, the connection as it was before. */
static void finish(Link *l)
{
    PgWait *w = l->job;
    l->job = NULL;
    bool open = PQtransactionStatus(l->conn) != PQTRANS_IDLE;
    if (open && w->err.code == XS_OK)
        (void)xs_fail(&w->err, XS_E_DATABASE, XS_NO_POS,
                      "PostgreSQL: a transaction cannot span statements; it was rolled back");
    if (open)
        link_close(l);
    else
        link_idle(l);
    job_done(w);
}

static void server_error(PgWait *w, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE),
               *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    state = state ? state : "";
    Text why = said(message ? message : PQresultErrorMessage(res));
    bool busy = strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0;
    if (w->err.code != XS_OK)
        return;
    snprintf(w->state, sizeof w->state, "%s", state);
    (void)xs_fail(&w->err, busy ? XS_E_DEADLOCK : XS_E_DATABASE, XS_NO_POS,
                  "PostgreSQL: " TEXT_FMT "%s%s%s", TEXT_ARG(why), *state ? " (SQLSTATE " : "",
                  state, *state ? ")" : "");
}

static bool keep_types(Link *l, const PGresult *res)
{
    PgWait *w = l->job;
    uint32_t n = (uint32_t)PQnparams(res);
    if (n != w->nargs)
        return xs_fail(&w->err, XS_E_DATABASE, XS_NO_POS,
                       "PostgreSQL: the statement has %u parameters, %u were given", n, w->nargs);
    Types *t = &l->known[l->nknown++ % TYPES_KEPT];
    forget_types(t);
    t->types = mem_zalloc(n + 1, sizeof *t->types);
    t->sql = mem_strndup(w->sql, strlen(w->sql));
    if (!t->types || !t->sql) {
        forget_types(t);
        return xs_fail(&w->err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    }
    for (uint32_t i = 0; i < n; i++)
        t->types[i] = PQparamtype(res, (int)i);
    return true;
}

static bool rows(Link *l, const PGresult *res)
{
    PgWait *w = l->job;
    w->rows.data.max = l->pool->pg->opt.max_bytes;
    if ((w->single && w->rows.nrows) || pg_rows_add(&w->rows, res))
        return true;
    if (w->rows.data.len + PQresultMemorySize(res) > w->rows.data.max)
        return xs_fail(&w->err, XS_E_LIMIT, XS_NO_POS, "PostgreSQL: the result is too large");
    return xs_fail(&w->err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
}

/* false: the connection cannot go on. */
static bool take_result(Link *l, const PGresult *res)
{
    PgWait *w = l->job;
    switch (PQresultStatus(res)) {
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE: return l->state == LINK_PREPARING || rows(l, res);
    case PGRES_COMMAND_OK:
        if (l->state == LINK_BUSY && l->step == STEP_DESCRIBE)
            (void)keep_types(l, res);
        return true;
    case PGRES_EMPTY_QUERY:
        (void)xs_fail(&w->err, XS_E_DATABASE, XS_NO_POS, "PostgreSQL: there is no statement");
        return true;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        return xs_fail(&w->err, XS_E_UNSUPPORTED, XS_NO_POS,
                       "PostgreSQL: COPY with the client is not supported");
    case PGRES_FATAL_ERROR: {
        Types *t = known_types(l, w->sql);
        if (t) /* a table may have changed */
            forget_types(t);
        server_error(w, res);
        return true;
    }
    default: return true;
    }
}

static void link_run(Link *l)
{
    l->state = LINK_BUSY;
    l->step = STEP_PARSE;
    send_step(l);
}

/* All results of what was sent have come. */
static void step_over(Link *l)
{
    PgWait *w = l->job;
    if (l->state == LINK_PREPARING && w->err.code != XS_OK)
        link_lost(l);
    else if (l->state == LINK_PREPARING)
        link_run(l);
    else if (l->step == STEP_RUN || w->err.code != XS_OK)
        finish(l);
    else {
        l->step = STEP_DESCRIBE;
        send_step(l);
    }
}

static void receive(Link *l)
{
    if (!PQconsumeInput(l->conn)) {
        link_lost(l);
        return;
    }
    while (!PQisBusy(l->conn)) {
        PGresult *res = PQgetResult(l->conn);
        if (!res) {
            step_over(l);
            return;
        }
        bool ok = take_result(l, res);
        PQclear(res);
        if (!ok || PQstatus(l->conn) == CONNECTION_BAD) {
            link_lost(l);
            return;
        }
    }
    flush(l);
}

/* Nothing is expected on an idle connection but its end. */
static void idle_news(Link *l)
{
    bool alive = PQconsumeInput(l->conn) && PQstatus(l->conn) == CONNECTION_OK;
    PGnotify *n;
    while (alive && (n = PQnotifies(l->conn)))
        PQfreemem(n);
    if (!alive)
        link_close(l);
}

/* ---- connecting ---- */

static void no_notice(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

static void link_connected(Link *l)
{
    l->state = LINK_PREPARING;
    (void)event_del(l->timer);
    PQsetNoticeReceiver(l->conn, no_notice, NULL);
    if (PQsetnonblocking(l->conn, 1) == 0 && PQsendQuery(l->conn, set_up) == 1)
        flush(l);
    else
        link_lost(l);
}

static void connect_on(Link *l)
{
    bool ok = true;
    switch (PQconnectPoll(l->conn)) {
    case PGRES_POLLING_READING: ok = watch(l, EV_READ); break;
    case PGRES_POLLING_WRITING: ok = watch(l, EV_WRITE); break;
    case PGRES_POLLING_OK: link_connected(l); return;
    default: link_fail(l, XS_E_IO, "no connection", PQerrorMessage(l->conn)); return;
    }
    if (!ok)
        link_fail(l, XS_E_NOMEM, "out of memory", NULL);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Link *l = arg;
    switch (l->state) {
    case LINK_FINDING: break;
    case LINK_CONNECTING: connect_on(l); break;
    case LINK_PREPARING:
    case LINK_BUSY: receive(l); break;
    case LINK_IDLE: idle_news(l); break;
    }
}

static void link_connect(Link *l, const struct evutil_addrinfo *found)
{
    char *info = pg_address_conninfo(&l->pool->address, found);
    l->state = LINK_CONNECTING;
    l->conn = info ? PQconnectStart(info) : NULL;
    mem_free(info);
    if (!l->conn)
        link_fail(l, XS_E_NOMEM, "out of memory", NULL);
    else if (PQstatus(l->conn) == CONNECTION_BAD)
        link_fail(l, XS_E_IO, "no connection", PQerrorMessage(l->conn));
    else if (!watch(l, EV_WRITE))
        link_fail(l, XS_E_NOMEM, "out of memory", NULL);
}

static bool all_public(const struct evutil_addrinfo *found)
{
    for (; found; found = found->ai_next)
        if (!address_is_public(found->ai_addr))
            return false;
    return true;
}

static void refuse_private(Link *l)
{
    link_fail(l, XS_E_IO, "the address is private; option http.allow_private permits it", NULL);
}

static void on_found(int error, struct evutil_addrinfo *found, void *arg)
{
    Link *l = arg;
    if (error == EVUTIL_EAI_CANCEL)
        return;
    l->finding = NULL;
    if (error)
        link_fail(l, XS_E_IO, "the host is not known", NULL);
    else if (!l->pool->pg->opt.allow_private && !all_public(found))
        refuse_private(l);
    else
        link_connect(l, found);
    if (found)
        evutil_freeaddrinfo(found);
}

static void find_host(Link *l)
{
    Postgres *pg = l->pool->pg;
    const PgAddress *a = &l->pool->address;
    const struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (pg_address_is_socket(a)) {
        if (pg->opt.allow_private)
            link_connect(l, NULL);
        else
            refuse_private(l);
        return;
    }
    if (!pg->dns)
        pg->dns = evdns_base_new(io_base(pg->io), EVDNS_BASE_INITIALIZE_NAMESERVERS |
                                                      EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!pg->dns) {
        link_fail(l, XS_E_IO, "names cannot be looked up", NULL);
        return;
    }
    struct evdns_getaddrinfo_request *r =
        evdns_getaddrinfo(pg->dns, a->host, a->port, &hints, on_found, l);
    if (r)
        l->finding = r; /* else on_found has run: l may be gone */
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Link *l = arg;
    if (l->job)
        link_fail(l, XS_E_TIMEOUT, "no connection in time", NULL);
    else
        link_close(l);
}

/* ---- pools ---- */

/* One that nobody uses makes room, wherever it leads. */
static bool make_room(Postgres *pg)
{
    Link *oldest = NULL;
    if (pg->nlinks < LINKS_MAX)
        return true;
    for (Pool *p = pg->pools; p; p = p->next)
        for (Link *l = p->links; l; l = l->next)
            if (l->state == LINK_IDLE && (!oldest || l->used < oldest->used))
                oldest = l;
    if (!oldest)
        return false;
    link_close(oldest);
    return true;
}

static void take_job(Pool *p, Link *l)
{
    PgWait *w = p->first;
    p->first = w->next;
    w->link = l;
    l->job = w;
}

static Link *idle_link(const Pool *p)
{
    for (Link *l = p->links; l; l = l->next)
        if (l->state == LINK_IDLE)
            return l;
    return NULL;
}

static void open_link(Pool *p)
{
    Link *l = mem_zalloc(1, sizeof *l);
    if (l)
        l->timer = event_new(io_base(p->pg->io), -1, 0, on_time, l);
    if (!l || !l->timer) {
        PgWait *w = p->first;
        p->first = w->next;
        (void)xs_fail(&w->err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
        mem_free(l);
        job_done(w);
        return;
    }
    l->pool = p;
    l->next = p->links;
    p->links = l;
    p->nlinks++;
    p->pg->nlinks++;
    take_job(p, l);
    if (set_timer(l, p->address.connect_ms))
        find_host(l);
    else
        link_fail(l, XS_E_NOMEM, "out of memory", NULL);
}

static void pool_serve(Pool *p)
{
    while (p->first) {
        Link *l = idle_link(p);
        if (l) {
            (void)event_del(l->timer);
            take_job(p, l);
            link_run(l);
        } else if (p->nlinks < p->pg->opt.connections && make_room(p->pg)) {
            open_link(p);
        } else {
            return;
        }
    }
}

static void on_serve(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Postgres *pg = arg;
    for (Pool **at = &pg->pools; *at;) {
        Pool *p = *at;
        pool_serve(p);
        if (p->first || p->nlinks) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        pg_address_deinit(&p->address);
        mem_free(p);
    }
}

/* Takes the address. NULL: memory. */
static Pool *pool_for(Postgres *pg, PgAddress *a)
{
    Pool *p = pg->pools;
    while (p && !pg_address_eq(&p->address, a))
        p = p->next;
    if (p)
        return p;
    p = mem_zalloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->pg = pg;
    p->address = *a;
    *a = (PgAddress){0};
    p->next = pg->pools;
    pg->pools = p;
    return p;
}

/* ---- waits ---- */

static void start(Wait *wait)
{
    PgWait *w = (PgWait *)wait;
    Postgres *pg = w->pg;
    if (!pg->serve)
        pg->serve = event_new(io_base(pg->io), -1, 0, on_serve, pg);
    w->pool = pg->serve ? pool_for(pg, &w->address) : NULL;
    if (!w->pool) {
        (void)xs_fail(&w->err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
        job_done(w);
        return;
    }
    PgWait **at = &w->pool->first;
    while (*at)
        at = &(*at)->next;
    *at = w;
    serve_later(pg);
}

static void cancel(Wait *wait)
{
    PgWait *w = (PgWait *)wait;
    if (w->link) {
        link_close(w->link);
    } else if (w->pool) {
        PgWait **at = &w->pool->first;
        while (*at != w)
            at = &(*at)->next;
        *at = w->next;
        serve_later(w->pg);
    }
    w->link = NULL;
    w->pool = NULL;
}

static bool result(Wait *wait, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    PgWait *w = (PgWait *)wait;
    if (w->err.code == XS_OK && !w->ended) {
        if (!wait->timed_out)
            return xs_fail(err, XS_E_DEADLINE, XS_NO_POS, "%s", xs_code_get(XS_E_DEADLINE)->text);
        return xs_fail(err, XS_E_TIMEOUT, XS_NO_POS, "PostgreSQL: no answer in time");
    }
    if (w->err.code != XS_OK) {
        *err = w->err;
        Value payload = *w->state ? map_new(h, 1) : val_unset();
        if (payload.kind == V_MAP &&
            map_set_text(h, &payload, TEXT("sqlstate"), text_new(h, text_from(w->state))))
            *thrown = payload;
        else
            val_unref(h, payload);
        return false;
    }
    *out = pg_rows_value(h, &w->rows, w->single);
    return out->kind != V_UNSET || heap_fail(h, err);
}

static void wait_free(Wait *wait)
{
    PgWait *w = (PgWait *)wait;
    pg_address_deinit(&w->address);
    pg_rows_deinit(&w->rows);
    for (uint32_t i = 0; i < w->nargs; i++)
        pg_arg_deinit(&w->args[i]);
    mem_free(w->args);
    mem_free(w->sql);
    mem_free(w);
}

static const WaitOps ops = {start, cancel, result, wait_free};

static bool fill(PgWait *w, Text connection, Text sql, Value args, xs_error *err)
{
    if (memchr(sql.ptr, '\0', sql.len))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: sql");
    w->sql = mem_strndup(sql.ptr, sql.len);
    w->args = mem_zalloc((size_t)val_count(args) + 1, sizeof *w->args);
    if (!w->sql || !w->args)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    for (; w->nargs < val_count(args); w->nargs++)
        if (!pg_arg_make(list_at(args.list, w->nargs), &w->args[w->nargs], err))
            return false;
    return pg_address_parse(connection, &w->address, err);
}

NativeResult postgres_run(Call *c, Postgres *pg, Text connection, Text sql, Value args, bool single)
{
    PgWait *w = mem_zalloc(1, sizeof *w);
    if (!w) {
        call_fail(c, XS_E_NOMEM, NULL);
        return NATIVE_ERROR;
    }
    w->wait.ops = &ops;
    w->wait.timeout_ms = pg->opt.timeout_ms;
    w->pg = pg;
    w->single = single;
    if (fill(w, connection, sql, args, c->err))
        return wait_for(c, pg->io, &w->wait);
    wait_free(&w->wait);
    return NATIVE_ERROR;
}

/* ---- life ---- */

static void end(void *arg)
{
    Postgres *pg = arg;
    for (Pool *p = pg->pools, *next; p; p = next) {
        next = p->next;
        while (p->links)
            link_close(p->links);
        pg_address_deinit(&p->address);
        mem_free(p);
    }
    pg->pools = NULL;
    if (pg->dns)
        evdns_base_free(pg->dns, 0);
    if (pg->serve)
        event_free(pg->serve);
}

Postgres *postgres_new(Io *io, const PostgresOptions *opt, xs_error *err)
{
    Postgres *pg = mem_zalloc(1, sizeof *pg);
    if (!pg) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    pg->io = io;
    pg->opt = *opt;
    io_at_end(io, end, pg);
    return pg;
}

void postgres_free(Postgres *pg)
{
    mem_free(pg);
}
