/* alternate.c - one kept-alive connection asks for the API and for realtime in turn, as browsers
 * do: requests, held polls, messages, at last an event stream. Whoever carries the connection
 * carries all of it. usage: alternate XS APP (tests/scenario/harbor) */
#include "tests/common/server.h"

enum { ANSWER_MAX = 64 << 10, WAIT_MS = 10000, HELD_MS = 50, ROUNDS = 3 };

#define HOST   "Host: h\r\n"
#define POLL   "/rt/harbor/lp?channel=harbor"
#define TELL   "/api:harbor/tell"
#define INFO   "GET /rt/harbor/info HTTP/1.1\r\n" HOST "\r\n"
#define HEALTH "GET /_xs/health HTTP/1.1\r\n" HOST "\r\n"

typedef struct Client {
    const char *name;
    int fd;
    char bytes[ANSWER_MAX];
    size_t len;
    char sid[64], cursor[64];
} Client;

static unsigned failures;

static bool fail(const Client *c, const char *what)
{
    failures++;
    fprintf(stderr, "%s: %s\n%.800s\n", c->name, what, c->bytes);
    return false;
}

static bool ask(Client *c, const char *request)
{
    c->len = 0;
    c->bytes[0] = '\0';
    return send_all(c->fd, request, strlen(request)) || fail(c, "cannot send");
}

/* Until the text has come. */
static bool read_until(Client *c, const char *text)
{
    for (int64_t deadline = clock_mono_ms() + WAIT_MS; !strstr(c->bytes, text);) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        int64_t left = deadline - clock_mono_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0 || c->len == sizeof c->bytes - 1)
            return fail(c, text);
        ssize_t n = recv(c->fd, c->bytes + c->len, sizeof c->bytes - 1 - c->len, 0);
        if (n <= 0)
            return fail(c, "closed");
        c->len += (size_t)n;
        c->bytes[c->len] = '\0';
    }
    return true;
}

/* A complete answer of status 200 that holds the text; nothing behind it. */
static bool read_answer(Client *c, const char *text)
{
    if (!read_until(c, "\r\n\r\n"))
        return false;
    const char *length = strcasestr(c->bytes, "\r\ncontent-length: ");
    const char *body = strstr(c->bytes, "\r\n\r\n") + 4;
    size_t want = length && length < body ? (size_t)strtoul(length + 18, NULL, 10) : 0;
    for (int64_t deadline = clock_mono_ms() + WAIT_MS; c->len < (size_t)(body - c->bytes) + want;) {
        ssize_t n = recv(c->fd, c->bytes + c->len, sizeof c->bytes - 1 - c->len, 0);
        if (n <= 0 || clock_mono_ms() > deadline)
            return fail(c, "cut short");
        c->len += (size_t)n;
        c->bytes[c->len] = '\0';
    }
    if (strncmp(c->bytes, "HTTP/1.1 200", 12) != 0 || !strstr(body, text) ||
        c->len != (size_t)(body - c->bytes) + want)
        return fail(c, text);
    return true;
}

static void copy_member(const Client *c, const char *name, char out[64])
{
    const char *at = strstr(c->bytes, name);
    out[0] = '\0';
    if (at)
        sscanf(at + strlen(name), "%63[^\"]", out);
}

static bool post(Client *c, const char *path, const char *body)
{
    char request[512];
    snprintf(request, sizeof request,
             "POST %s HTTP/1.1\r\n" HOST
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             path, strlen(body), body);
    return ask(c, request);
}

static bool poll_now(Client *c)
{
    if (!ask(c, "GET " POLL " HTTP/1.1\r\n" HOST "\r\n") || !read_answer(c, "\"sid\":\""))
        return false;
    copy_member(c, "\"sid\":\"", c->sid);
    copy_member(c, "\"cursor\":\"", c->cursor);
    return (*c->sid && *c->cursor) || fail(c, "no session");
}

static bool poll_more(Client *c)
{
    char request[512];
    snprintf(request, sizeof request,
             "GET " POLL "&sid=%s&cursor=%s&timeout=20 HTTP/1.1\r\n" HOST "\r\n", c->sid,
             c->cursor);
    return ask(c, request);
}

static bool read_poll(Client *c, const char *text)
{
    bool ok = read_answer(c, text);
    copy_member(c, "\"cursor\":\"", c->cursor);
    return ok;
}

/* Held until the speaker says something. */
static bool poll_held(Client *c, Client *speaker, int n)
{
    char said[64], heard[64];
    snprintf(said, sizeof said, "{\"channel\":\"harbor\",\"data\":{\"n\":%d}}", n);
    snprintf(heard, sizeof heard, "\"n\":%d", n);
    if (!poll_more(c))
        return false;
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, HELD_MS) != 0)
        return fail(c, "the poll is not held");
    return post(speaker, TELL, said) && read_answer(speaker, "true") && read_poll(c, heard);
}

static bool say(Client *c)
{
    char path[128];
    snprintf(path, sizeof path, "/rt/harbor/send?sid=%s", c->sid);
    return post(c, path,
                "{\"action\":\"message\",\"options\":{\"channel\":\"harbor\"},\"payload\":1}") &&
           read_answer(c, "\"ok\":true") && poll_more(c) && read_poll(c, "\"payload\":1");
}

static bool stream(Client *c, Client *speaker)
{
    return ask(c, "GET /rt/harbor/sse?channel=harbor HTTP/1.1\r\n" HOST "\r\n") &&
           read_until(c, "event: open") && read_until(c, "\"action\":\"join\"") &&
           post(speaker, TELL, "{\"channel\":\"harbor\",\"data\":{\"last\":1}}") &&
           read_answer(speaker, "true") && read_until(c, "\"last\":1");
}

static bool alternate(Client *c, Client *speaker, const char *first, const char *answer)
{
    bool ok = ask(c, first) && read_answer(c, answer) && poll_now(c);
    for (int i = 0; ok && i < ROUNDS; i++)
        ok = ask(c, HEALTH) && read_answer(c, "ok") && poll_held(c, speaker, i) &&
             post(c, TELL, "{\"channel\":\"quiet\",\"data\":1}") && read_answer(c, "true") &&
             say(c) && ask(c, INFO) && read_answer(c, "\"transports\"") &&
             poll_held(c, speaker, 100 + i);
    return ok && stream(c, speaker);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: alternate XS APP\n");
        return 2;
    }
    const char *args[] = {argv[1],
                          "serve",
                          "--listen=127.0.0.1:0",
                          "--db=:memory:",
                          "--log-level=warning",
                          "--drain-ms=400",
                          argv[2],
                          NULL};
    char *list[sizeof args / sizeof *args]; /* execv's type lacks a const */
    memcpy(list, args, sizeof list);
    static Client first_api, first_realtime, speaker;
    Server s;
    if (!server_start(&s, list)) {
        fprintf(stderr, "the server does not start\n");
        return 1;
    }
    speaker = (Client){.name = "speaker", .fd = http_connect(s.port)};
    first_api = (Client){.name = "API first", .fd = http_connect(s.port)};
    first_realtime = (Client){.name = "realtime first", .fd = http_connect(s.port)};
    alternate(&first_api, &speaker, HEALTH, "ok");
    alternate(&first_realtime, &speaker, INFO, "\"transports\"");
    /* The server ends while both stream: they are told, and closed. */
    kill(s.pid, SIGTERM);
    read_until(&first_api, "event: bye");
    read_until(&first_realtime, "event: bye");
    int code = server_stop(&s, 0, 10000);
    if (code != 0) {
        fprintf(stderr, "the server ended with %d\n", code);
        failures++;
    }
    close(speaker.fd);
    close(first_api.fd);
    close(first_realtime.fd);
    return failures ? 1 : 0;
}
