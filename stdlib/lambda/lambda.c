/* lambda.c - the children, the queue for them, and what goes through the pipe: 4 bytes of length
 * and JSON each way. All on the I/O thread but making a request and reading its result. */
#include "stdlib/lambda/lambda.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/text.h"
#include "stdlib/lambda/host.js.h" /* made by the build */
#include "vm/convert.h"

enum {
    CHILDREN_MAX = 64,
    REPLY_MAX = 64 << 20,
    HEAD_BYTES = 4,
    READ_BYTES = 65536,
    PATH_BYTES = 512,
    PIPE_FD = 3,
    EXTRA_MS = 10000 /* to start and to wait for a free process */
};

typedef struct LambdaWait LambdaWait;

typedef struct Child {
    Lambda *lambda;
    pid_t pid;
    int fd;
    struct event *readable, *writable;
    LambdaWait *job; /* NULL = idle */
    size_t sent;
    Buf in;
} Child;

struct LambdaWait {
    Wait wait;
    Lambda *lambda;
    LambdaWait *next; /* in the queue */
    Child *child;     /* that runs it */
    Buf request;      /* with its length in front */
    Buf reply;
    xs_error err;
};

struct Lambda {
    Io *io;
    LambdaOptions opt;
    Child *children[CHILDREN_MAX];
    size_t nchildren;
    LambdaWait *first, *last;
};

static void pump(Lambda *l);

/* ---- children ---- */

static void child_end(Child *c)
{
    Lambda *l = c->lambda;
    for (size_t i = 0; i < l->nchildren; i++)
        if (l->children[i] == c)
            l->children[i] = l->children[--l->nchildren];
    if (c->readable)
        event_free(c->readable);
    if (c->writable)
        event_free(c->writable);
    close(c->fd);
    kill(c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    buf_deinit(&c->in);
    mem_free(c);
}

/* The program by its path, or found along PATH. */
static bool find_program(Text name, char out[PATH_BYTES])
{
    const char *path = getenv("PATH");
    if (memchr(name.ptr, '/', name.len)) {
        snprintf(out, PATH_BYTES, TEXT_FMT, TEXT_ARG(name));
        return name.len < PATH_BYTES && access(out, X_OK) == 0;
    }
    Text all = path ? text_from(path) : TEXT("/usr/local/bin:/usr/bin:/bin");
    for (size_t from = 0; from <= all.len;) {
        size_t end = text_find(all, TEXT(":"), from);
        Text dir = text_slice(all, from, end);
        int n = snprintf(out, PATH_BYTES, TEXT_FMT "/" TEXT_FMT, TEXT_ARG(dir), TEXT_ARG(name));
        if (dir.len && n > 0 && n < PATH_BYTES && access(out, X_OK) == 0)
            return true;
        from = end == SIZE_MAX ? all.len + 1 : end + 1;
    }
    return false;
}

/* Between fork and exec: only calls that are safe there. */
static void become_node(int fd, const char *program, char *const *argv)
{
    static char *const no_env[] = {NULL};
    const struct rlimit none = {0, 0};
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    if (fd == PIPE_FD)
        fcntl(fd, F_SETFD, 0);
    else
        dup2(fd, PIPE_FD);
    close_range(PIPE_FD + 1, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &none);              /* writes no file */
    (void)unshare(CLONE_NEWUSER | CLONE_NEWNET); /* no network, where the kernel lets us */
    if (chdir("/") == 0)
        execve(program, argv, no_env);
    _exit(127);
}

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

static Child *child_new(Lambda *l, xs_error *err)
{
    char program[PATH_BYTES], memory[40], quiet[] = "--no-warnings", eval[] = "-e";
    char *argv[] = {program, memory, quiet, eval, (char *)(uintptr_t)lambda_host, NULL};
    int pair[2];
    if (!l->opt.node.len || !find_program(l->opt.node, program)) {
        (void)xs_fail(err, XS_E_UNSUPPORTED, XS_NO_POS,
                      "JavaScript needs Node.js: install the package nodejs or set option "
                      "lambda.node");
        return NULL;
    }
    snprintf(memory, sizeof memory, "--max-old-space-size=%u", l->opt.memory_mb);
    Child *c = mem_zalloc(1, sizeof *c);
    if (!c || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        mem_free(c);
        (void)xs_fail(err, XS_E_IO, XS_NO_POS, "JavaScript: %s", strerror(errno));
        return NULL;
    }
    c->lambda = l;
    c->fd = pair[0];
    c->pid = fork();
    if (c->pid == 0)
        become_node(pair[1], program, argv);
    close(pair[1]);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (c->pid < 0) {
        close(c->fd);
        mem_free(c);
        (void)xs_fail(err, XS_E_IO, XS_NO_POS, "JavaScript: no process: %s", strerror(errno));
        return NULL;
    }
    l->children[l->nchildren++] = c;
    c->readable = event_new(io_base(l->io), c->fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(io_base(l->io), c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
    if (c->readable && c->writable && event_add(c->readable, NULL) == 0)
        return c;
    child_end(c);
    (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    return NULL;
}

/* The child is done for; its request, if any, ends with this message. */
static void child_failed(Child *c, xs_code code, const char *message)
{
    Lambda *l = c->lambda;
    LambdaWait *w = c->job;
    child_end(c);
    if (w) {
        w->child = NULL;
        (void)xs_fail(&w->err, code, XS_NO_POS, "%s", message);
        wait_done(&w->wait);
    }
    pump(l);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    Child *c = arg;
    LambdaWait *w = c->job;
    while (w && c->sent < w->request.len) {
        ssize_t n = send(fd, w->request.ptr + c->sent, w->request.len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            child_failed(c, XS_E_IO, "JavaScript: the process ended");
            return;
        }
        c->sent += (size_t)n;
    }
    event_del(c->writable);
}

static void finish(Child *c, Text reply)
{
    LambdaWait *w = c->job;
    Lambda *l = c->lambda;
    c->job = NULL;
    w->child = NULL;
    buf_text(&w->reply, reply);
    c->in.len = 0;
    wait_done(&w->wait);
    pump(l);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    Child *c = arg;
    if (!buf_reserve(&c->in, READ_BYTES)) {
        child_failed(c, XS_E_NOMEM, "Out of memory.");
        return;
    }
    ssize_t n = recv(fd, c->in.ptr + c->in.len, READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || !c->job) {
        child_failed(c, XS_E_MEMORY, "JavaScript: the process died, perhaps out of memory");
        return;
    }
    c->in.len += (size_t)n;
    if (c->in.len < HEAD_BYTES)
        return;
    const unsigned char *p = (const unsigned char *)c->in.ptr;
    size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (len > REPLY_MAX || c->in.len > HEAD_BYTES + len)
        child_failed(c, XS_E_LIMIT, "JavaScript: the result is too large");
    else if (c->in.len == HEAD_BYTES + len)
        finish(c, (Text){c->in.ptr + HEAD_BYTES, len});
}

/* ---- queue ---- */

static void give(Child *c, LambdaWait *w)
{
    c->job = w;
    c->sent = 0;
    w->child = c;
    if (event_add(c->writable, NULL) != 0)
        child_failed(c, XS_E_NOMEM, "Out of memory.");
}

static void pump(Lambda *l)
{
    while (l->first) {
        Child *idle = NULL;
        for (size_t i = 0; i < l->nchildren && !idle; i++)
            if (!l->children[i]->job)
                idle = l->children[i];
        LambdaWait *w = l->first;
        if (!idle && l->nchildren >= l->opt.processes)
            return;
        l->first = w->next;
        if (!l->first)
            l->last = NULL;
        if (!idle)
            idle = child_new(l, &w->err);
        if (idle)
            give(idle, w);
        else
            wait_done(&w->wait);
    }
}

static void start(Wait *wait)
{
    LambdaWait *w = (LambdaWait *)wait;
    Lambda *l = w->lambda;
    w->next = NULL;
    if (l->last)
        l->last->next = w;
    else
        l->first = w;
    l->last = w;
    pump(l);
}

static void cancel(Wait *wait)
{
    LambdaWait *w = (LambdaWait *)wait;
    Lambda *l = w->lambda;
    (void)xs_fail(&w->err, XS_E_TIMEOUT, XS_NO_POS, "JavaScript: the code took too long");
    LambdaWait *last = NULL;
    for (LambdaWait **at = &l->first; *at; last = *at, at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            if (l->last == w)
                l->last = last;
            return;
        }
    }
    Child *c = w->child;
    if (!c)
        return;
    w->child = NULL;
    c->job = NULL;
    child_end(c);
    pump(l);
}

/* ---- the fiber's side ---- */

static bool result(Wait *wait, Heap *h, Value *out, xs_error *err, Value *thrown)
{
    (void)thrown;
    LambdaWait *w = (LambdaWait *)wait;
    if (w->err.code == XS_OK && (w->reply.failed || !w->reply.len))
        (void)xs_fail(&w->err, XS_E_NOMEM, XS_NO_POS, "Out of memory.");
    if (w->err.code != XS_OK) {
        *err = w->err;
        return false;
    }
    Value reply = val_parse_json(h, buf_view(&w->reply), err);
    if (reply.kind == V_UNSET)
        return false;
    const Value *ok = reply.kind == V_MAP ? map_find(reply.map, TEXT("ok")) : NULL;
    Value message = map_get_cstr(reply, "error");
    if (ok)
        *out = val_ref(*ok);
    else if (message.kind == V_TEXT)
        (void)xs_fail(err, XS_E_STANDARD, XS_NO_POS, TEXT_FMT,
                      TEXT_ARG(text_slice(val_text_view(message), 0, 220)));
    else
        (void)xs_fail(err, XS_E_TIMEOUT, XS_NO_POS, "JavaScript: the code took too long");
    val_unref(h, reply);
    return ok != NULL;
}

static void wait_free(Wait *wait)
{
    LambdaWait *w = (LambdaWait *)wait;
    buf_deinit(&w->request);
    buf_deinit(&w->reply);
    mem_free(w);
}

static const WaitOps ops = {start, cancel, result, wait_free};

NativeResult lambda_run(Call *c, Lambda *l, Buf *request, int64_t timeout_ms)
{
    LambdaWait *w = mem_zalloc(1, sizeof *w);
    size_t n = request->len;
    if (w) {
        const char head[HEAD_BYTES] = {(char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n};
        buf_append(&w->request, head, HEAD_BYTES);
        buf_text(&w->request, buf_view(request));
    }
    bool ok = w && !request->failed && !w->request.failed;
    buf_deinit(request);
    if (!ok) {
        if (w)
            wait_free(&w->wait);
        call_fail(c, XS_E_NOMEM, NULL);
        return NATIVE_ERROR;
    }
    w->wait.ops = &ops;
    w->wait.timeout_ms = timeout_ms + EXTRA_MS;
    w->lambda = l;
    return wait_for(c, l->io, &w->wait);
}

/* ---- life ---- */

static void loop_ends(void *arg)
{
    Lambda *l = arg;
    while (l->nchildren)
        child_end(l->children[0]);
}

Lambda *lambda_new(Io *io, const LambdaOptions *opt, xs_error *err)
{
    Lambda *l = mem_zalloc(1, sizeof *l);
    if (!l) {
        (void)xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    l->io = io;
    l->opt = *opt;
    if (l->opt.processes < 1)
        l->opt.processes = 1;
    if (l->opt.processes > CHILDREN_MAX)
        l->opt.processes = CHILDREN_MAX;
    io_at_end(io, loop_ends, l);
    return l;
}

void lambda_free(Lambda *l)
{
    mem_free(l);
}
