/* suite.c - RFC 6455 over raw sockets: generated cases in the categories of Autobahn's suite.
 * usage: suite XS APP [PREFIX]. README.md tells how answers are told apart. */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/common/server.h"

enum {
    OP_CONT = 0,
    OP_TEXT = 1,
    OP_BINARY = 2,
    OP_CLOSE = 8,
    OP_PING = 9,
    OP_PONG = 10,
    FIN = 0x80,
    ANSWER_MS = 1000, /* between two answers, and for the close code */
    BIG_MS = 15000,   /* for a message of megabytes */
    MAX_EXPECTED = 1100,
    KIB = 1024,
    MIB = 1024 * 1024
};

/* What must come back, in this order: T text or B binary data that holds the bytes, P pong with the
 * bytes, C close.
 */
typedef struct Expected {
    char kind;
    int code; /* of a close */
    Buf bytes;
} Expected;

typedef struct Case {
    char id[24];
    Buf out;
    Expected expected[MAX_EXPECTED];
    size_t nexpected;
    size_t chop; /* bytes of one send; 0 = all at once */
    bool big;
    bool packed; /* a connection that speaks MessagePack */
} Case;

static struct {
    int port;
    const char *prefix;
    unsigned run, failed;
    uint32_t seed;
} suite = {.seed = 12345};

/* ---- building ---- */

static void begin(Case *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void begin(Case *c, const char *fmt, ...)
{
    va_list ap;
    memset(c, 0, sizeof *c);
    va_start(ap, fmt);
    vsnprintf(c->id, sizeof c->id, fmt, ap);
    va_end(ap);
}

/* A frame whose length takes so many bytes more than two: 0, 2 or 8. */
static void frame_as(Case *c, unsigned first, const void *data, size_t len, unsigned digits,
                     bool masked)
{
    unsigned char mask[4];
    unsigned bit = masked ? 0x80 : 0;
    suite.seed = suite.seed * 1664525u + 1013904223u;
    memcpy(mask, &suite.seed, 4);
    buf_char(&c->out, (char)first);
    buf_char(&c->out, (char)(bit | (digits == 8 ? 127 : digits == 2 ? 126 : (unsigned)len)));
    for (unsigned i = digits; i-- > 0;)
        buf_char(&c->out, (char)((uint64_t)len >> 8 * i));
    if (!masked)
        memset(mask, 0, 4);
    else
        buf_append(&c->out, mask, 4);
    size_t at = c->out.len;
    buf_append(&c->out, data, len);
    for (size_t i = 0; i < len && !c->out.failed; i++)
        c->out.ptr[at + i] ^= (char)mask[i & 3];
}

static void frame(Case *c, unsigned first, const void *data, size_t len)
{
    frame_as(c, first, data, len, len < 126 ? 0 : len < 65536 ? 2 : 8, true);
}

static void text(Case *c, const char *s)
{
    frame(c, FIN | OP_TEXT, s, strlen(s));
}

static void close_frame(Case *c, int code, const void *reason, size_t len)
{
    char bytes[128] = {(char)(code >> 8), (char)code};
    memcpy(bytes + 2, reason, len);
    frame(c, FIN | OP_CLOSE, bytes, len + 2);
}

static void expect(Case *c, char kind, int code, const void *bytes, size_t len)
{
    if (c->nexpected == MAX_EXPECTED)
        return;
    Expected *e = &c->expected[c->nexpected++];
    *e = (Expected){.kind = kind, .code = code};
    buf_append(&e->bytes, bytes, len);
}

static void answered(Case *c, const char *part)
{
    expect(c, 'T', 0, part, strlen(part));
}

static void not_json(Case *c)
{
    answered(c, "\"bad_frame\"");
}

static void ponged(Case *c, const void *bytes, size_t len)
{
    expect(c, 'P', 0, bytes, len);
}

static void closed(Case *c, int code)
{
    expect(c, 'C', code, "", 0);
}

/* Nothing else came before this pong. */
static void still_open(Case *c)
{
    frame(c, FIN | OP_PING, "end", 3);
    ponged(c, "end", 3);
}

/* ---- running ---- */

static int dial(bool packed)
{
    char head[256];
    int head_len = snprintf(
        head, sizeof head,
        "GET /rt/harbor%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        packed ? "?fmt=msgpack" : "");
    char reply[2048];
    size_t n = 0;
    int fd = http_connect(suite.port);
    if (fd < 0 || !send_all(fd, head, (size_t)head_len))
        return -1;
    while (n < sizeof reply - 1) { /* byte by byte, so that no frame is swallowed */
        if (recv(fd, reply + n, 1, 0) != 1)
            break;
        reply[++n] = '\0';
        if (n >= 4 && memcmp(reply + n - 4, "\r\n\r\n", 4) == 0) {
            if (strncmp(reply, "HTTP/1.1 101 ", 13) == 0)
                return fd;
            break;
        }
    }
    close(fd);
    return -1;
}

/* Send a piece when there is room, take what comes meanwhile. */
typedef struct Talk {
    int fd;
    Buf in;
    size_t sent, taken;
    bool ended;
} Talk;

static bool wait_socket(Talk *t, const Case *c, int64_t deadline)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    if (t->sent < c->out.len)
        p.events |= POLLOUT;
    int64_t left = deadline - clock_mono_ms();
    if (left <= 0 || poll(&p, 1, (int)left) <= 0)
        return false;
    if (p.revents & POLLOUT) {
        size_t n = c->out.len - t->sent;
        if (c->chop && n > c->chop)
            n = c->chop;
        ssize_t w = send(t->fd, c->out.ptr + t->sent, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (w > 0)
            t->sent += (size_t)w;
        else if (errno != EAGAIN)
            t->sent = c->out.len; /* the server has closed; what it said is still to be read */
    }
    if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
        char bytes[65536];
        ssize_t r = recv(t->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (r > 0)
            buf_append(&t->in, bytes, (size_t)r);
        else if (r == 0 || errno != EAGAIN)
            t->ended = true;
    }
    return true;
}

/* The next frame of the server; 0 = none in time, -1 = the end. */
static int next_frame(Talk *t, const Case *c, const unsigned char **data, size_t *len)
{
    int64_t deadline = clock_mono_ms() + (c->big ? BIG_MS : ANSWER_MS);
    for (;;) {
        size_t have = t->in.len - t->taken, head = 2;
        const unsigned char *p = have ? (const unsigned char *)t->in.ptr + t->taken : NULL;
        if (have >= 2) {
            uint64_t n = p[1] & 127;
            head += n == 126 ? 2 : n == 127 ? 8 : 0;
            if (have >= head && n >= 126) {
                size_t digits = n == 126 ? 2 : 8;
                n = 0;
                for (size_t i = 0; i < digits; i++)
                    n = n << 8 | p[2 + i];
            }
            if (have >= head && have - head >= n) {
                *data = p + head;
                *len = (size_t)n;
                t->taken += head + (size_t)n;
                return p[0] | 0x100;
            }
        }
        if (t->ended)
            return -1;
        if (!wait_socket(t, c, deadline))
            return 0;
    }
}

static bool holds(const unsigned char *data, size_t len, const Buf *part)
{
    return !part->len || memmem(data, len, part->ptr, part->len) != NULL;
}

static bool matches(const Expected *e, int first, const unsigned char *data, size_t len)
{
    int op = first & 15;
    if (first < 0x100 || (first & 0x70))
        return false;
    if (e->kind == 'T' || e->kind == 'B')
        return op == (e->kind == 'T' ? OP_TEXT : OP_BINARY) && holds(data, len, &e->bytes);
    if (e->kind == 'P')
        return op == OP_PONG && len == e->bytes.len && holds(data, len, &e->bytes);
    int code = len >= 2 ? data[0] << 8 | data[1] : 0;
    return op == OP_CLOSE && (code == e->code || (!code && e->code == 1000));
}

static bool check(Case *c, Talk *t, char *why, size_t size)
{
    for (size_t i = 0; i < c->nexpected; i++) {
        const unsigned char *data = NULL;
        size_t len = 0;
        int first = next_frame(t, c, &data, &len);
        const Expected *e = &c->expected[i];
        if (!matches(e, first, data, len)) {
            int code = (first & 15) == OP_CLOSE && len >= 2 ? data[0] << 8 | data[1] : 0;
            snprintf(why, size, "answer %zu: expected %c %d, got %s (opcode %d, code %d, %.*s)", i,
                     e->kind, e->code,
                     first == 0  ? "nothing"
                     : first < 0 ? "the end"
                                 : "a frame",
                     first & 15, code, (int)(len < 80 && (first & 15) == OP_TEXT ? len : 0),
                     (const char *)data);
            return false;
        }
    }
    return true;
}

/* After a close frame of the server the connection ends, and nothing comes behind it. */
static bool check_end(const Case *c, Talk *t, char *why, size_t size)
{
    if (!c->nexpected || c->expected[c->nexpected - 1].kind != 'C')
        return true;
    const unsigned char *data;
    size_t len;
    Case nothing = {.out = {0}};
    t->sent = 0;
    shutdown(t->fd, SHUT_WR);
    int first = next_frame(t, &nothing, &data, &len);
    if (first < 0)
        return true;
    snprintf(why, size, "%s", first ? "a frame behind the close" : "the connection stays open");
    return false;
}

static void end(Case *c)
{
    char why[256] = "";
    bool wanted = strncmp(c->id, suite.prefix, strlen(suite.prefix)) == 0;
    if (wanted) {
        Talk t = {.fd = dial(c->packed)};
        int on = 1;
        bool ok = t.fd >= 0 && !c->out.failed;
        if (ok)
            setsockopt(t.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
        else
            snprintf(why, sizeof why, "no connection");
        ok = ok && check(c, &t, why, sizeof why) && check_end(c, &t, why, sizeof why);
        suite.run++;
        if (!ok) {
            suite.failed++;
            printf("%s: %s\n", c->id, why);
        }
        if (t.fd >= 0)
            close(t.fd);
        buf_deinit(&t.in);
    }
    buf_deinit(&c->out);
    for (size_t i = 0; i < c->nexpected; i++)
        buf_deinit(&c->expected[i].bytes);
}

static char *filler(size_t n, char fill)
{
    char *p = malloc(n + 1);
    if (!p)
        exit(1);
    memset(p, fill, n);
    p[n] = '\0';
    return p;
}

/* A frame that is JSON of about n bytes and is answered by a pong frame. */
static char *json_ping(size_t n)
{
    static const char head[] = "{\"action\":\"ping\",\"pad\":\"", tail[] = "\"}";
    size_t fixed = sizeof head + sizeof tail - 2;
    n = n < fixed ? fixed : n;
    char *p = filler(n, '*');
    memcpy(p, head, sizeof head - 1);
    memcpy(p + n - (sizeof tail - 1), tail, sizeof tail - 1);
    return p;
}

/* ---- 1: framing ---- */

static void framing(Case *c)
{
    static const size_t sizes[] = {0, 125, 126, 127, 128, 65535, 65536, 65536};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *data = filler(sizes[i], '*');
        for (unsigned op = OP_TEXT; op <= OP_BINARY; op++) {
            begin(c, "1.%u.%zu", op, i + 1);
            c->chop = i == 7 ? 997 : 0;
            frame(c, FIN | op, data, sizes[i]);
            if (op == OP_TEXT)
                not_json(c);
            else
                closed(c, 1003);
            end(c);
        }
        free(data);
    }
}

/* Lengths in a longer form than needed, and frames without a mask (RFC 6455 §5.1, §5.2). */
static void malformed(Case *c)
{
    static const struct {
        unsigned first, digits;
        bool masked;
    } rows[] = {{FIN | OP_TEXT, 2, true},   {FIN | OP_TEXT, 8, true},   {OP_TEXT, 0, false},
                {FIN | OP_TEXT, 0, false},  {FIN | OP_TEXT, 2, false},  {FIN | OP_PING, 0, false},
                {FIN | OP_CLOSE, 0, false}, {FIN | OP_BINARY, 8, false}};
    for (size_t i = 0; i < COUNT_OF(rows) * 2; i++) {
        begin(c, "1.3.%zu", i + 1);
        c->chop = i % 2;
        text(c, "before"), not_json(c);
        frame_as(c, rows[i / 2].first, "\x03\xe8", 2, rows[i / 2].digits, rows[i / 2].masked);
        closed(c, 1002);
        end(c);
    }
}

/* ---- 2: pings ---- */

static void pings(Case *c)
{
    static const unsigned char binary[] = {0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0, 0xff};
    char *big = filler(126, '*');
    const struct {
        const void *data;
        size_t len;
    } rows[] = {{"", 0}, {"Hello, world!", 13}, {binary, sizeof binary}, {big, 125}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        begin(c, "2.%zu", i + 1);
        frame(c, FIN | OP_PING, rows[i].data, rows[i].len);
        ponged(c, rows[i].data, rows[i].len);
        end(c);
    }
    begin(c, "2.5");
    frame(c, FIN | OP_PING, big, 126);
    closed(c, 1002);
    end(c);
    begin(c, "2.6");
    c->chop = 1;
    frame(c, FIN | OP_PING, big, 125);
    ponged(c, big, 125);
    end(c);
    for (int i = 7; i <= 9; i++) {
        begin(c, "2.%d", i);
        frame(c, FIN | OP_PONG, "unsolicited", i == 7 ? 0 : 11);
        if (i == 9)
            frame(c, FIN | OP_PING, "ping", 4), ponged(c, "ping", 4);
        else
            still_open(c);
        end(c);
    }
    for (int i = 10; i <= 11; i++) {
        begin(c, "2.%d", i);
        c->chop = i == 11 ? 1 : 0;
        for (int k = 0; k < 10; k++) {
            char payload[16];
            int n = snprintf(payload, sizeof payload, "payload-%d", k);
            frame(c, FIN | OP_PING, payload, (size_t)n);
            ponged(c, payload, (size_t)n);
        }
        end(c);
    }
    free(big);
}

/* ---- 3, 4: reserved bits and opcodes ---- */

static void reserved(Case *c)
{
    begin(c, "3.1");
    frame(c, FIN | 0x40 | OP_TEXT, "Hello", 5);
    closed(c, 1002);
    end(c);
    for (int i = 2; i <= 4; i++) {
        begin(c, "3.%d", i);
        c->chop = i == 3 ? 11 : i == 4 ? 1 : 0;
        text(c, "Hello");
        frame(c, FIN | (i == 2 ? 0x20u : i == 3 ? 0x30u : 0x40u) | OP_TEXT, "Hello", 5);
        frame(c, FIN | OP_PING, "", 0);
        not_json(c);
        closed(c, 1002);
        end(c);
    }
    static const unsigned firsts[] = {FIN | 0x50 | OP_BINARY, FIN | 0x60 | OP_PING,
                                      FIN | 0x70 | OP_CLOSE, FIN | 0x10 | OP_TEXT};
    for (size_t i = 0; i < COUNT_OF(firsts); i++) {
        begin(c, "3.%zu", i + 5);
        frame(c, firsts[i], "\x03\xe8", 2);
        closed(c, 1002);
        end(c);
    }
    for (unsigned i = 0; i < 10; i++) {
        unsigned op = i < 5 ? 3 + i : 6 + i;
        begin(c, "4.%u.%u", i < 5 ? 1 : 2, i % 5 + 1);
        if (i % 5 >= 2)
            text(c, "Hello"), not_json(c);
        c->chop = i % 5 == 3 ? 1 : 0;
        frame(c, FIN | op, i % 5 == 0 ? "" : "reserved", i % 5 == 0 ? 0 : 8);
        closed(c, 1002);
        end(c);
    }
}

/* ---- 5: fragments ---- */

/* "text ping cont …" as a script: t c = fragments without FIN, T C = with, p = ping, g = pong. */
static void fragments(Case *c)
{
    static const struct {
        const char *id, *script;
        size_t chop;
        const char *answers; /* T, P, or C = 1002 */
    } rows[] = {
        {"5.1", "pC", 0, "C"},         {"5.2", "gC", 0, "C"},         {"5.3", "tC", 0, "T"},
        {"5.4", "tC", 8, "T"},         {"5.5", "tC", 1, "T"},         {"5.6", "tPC", 0, "PT"},
        {"5.7", "tPC", 8, "PT"},       {"5.8", "tPC", 1, "PT"},       {"5.9", "CT", 0, "C"},
        {"5.10", "CT", 8, "C"},        {"5.11", "CT", 1, "C"},        {"5.12", "cT", 0, "C"},
        {"5.13", "cT", 8, "C"},        {"5.14", "cT", 1, "C"},        {"5.15", "tCcT", 0, "TC"},
        {"5.16", "ctC", 0, "C"},       {"5.17", "CtC", 0, "C"},       {"5.18", "tT", 0, "C"},
        {"5.19", "tcPccPC", 0, "PPT"}, {"5.20", "tcPccPC", 1, "PPT"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        begin(c, "%s", rows[i].id);
        c->chop = rows[i].chop;
        for (const char *s = rows[i].script; *s; s++) {
            switch (*s) {
            case 't': frame(c, OP_TEXT, "frag", 4); break;
            case 'T': frame(c, FIN | OP_TEXT, "text", 4); break;
            case 'c': frame(c, OP_CONT, "frag", 4); break;
            case 'C': frame(c, FIN | OP_CONT, "last", 4); break;
            case 'p': frame(c, OP_PING, "frag", 4); break;
            case 'g': frame(c, OP_PONG, "frag", 4); break;
            case 'P': frame(c, FIN | OP_PING, "ping", 4); break;
            }
        }
        for (const char *s = rows[i].answers; *s; s++) {
            if (*s == 'T')
                not_json(c);
            else if (*s == 'P')
                ponged(c, "ping", 4);
            else
                closed(c, 1002);
        }
        end(c);
    }
    /* What the fragments hold comes together as one. */
    begin(c, "5.21");
    static const char whole[] = "{\"action\":\"ping\"}";
    for (size_t i = 0; i < sizeof whole - 1; i++)
        frame(c, (i == sizeof whole - 2 ? FIN : 0u) | (i ? OP_CONT : OP_TEXT), whole + i, 1);
    answered(c, "{\"action\":\"pong\"");
    end(c);
}

/* More than the server keeps for a join that takes a second: it stops reading, and nothing gets out
 * of order when it goes on. */
static void paused(Case *c)
{
    enum { MESSAGES = 190 };
    begin(c, "5.22");
    c->big = true;
    text(c, "{\"action\":\"join\",\"options\":{\"channel\":\"gate:slow\"}}");
    answered(c, "\"action\":\"join\"");
    for (int i = 0; i < MESSAGES; i++) {
        char message[512], echo[32];
        snprintf(
            message, sizeof message,
            "{\"action\":\"message\",\"options\":{\"channel\":\"gate:slow\"},\"pad\":\"%0300d\","
            "\"payload\":%d}",
            0, i);
        snprintf(echo, sizeof echo, "\"was\":%d,", i);
        text(c, message);
        answered(c, echo);
    }
    end(c);
}

/* ---- MessagePack instead of JSON ---- */

static void packed(Case *c)
{
    static const char ping[] = "\x81\xa6"
                               "action\xa4ping",
                      pong[] = "\x82\xa6"
                               "action\xa4pong\xa7payload\xc0",
                      join[] = "\x82\xa6"
                               "action\xa4join\xa7options\x81\xa7"
                               "channel\xa6"
                               "gate:1",
                      say[] = "\x83\xa6"
                              "action\xa7message\xa7options\x81\xa7"
                              "channel\xa6"
                              "gate:1\xa7payload"
                              "\x93\xcd\x01\x00\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xc3",
                      said[] = "\xa3was\x93\xcd\x01\x00\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xc3";
    begin(c, "12.4.1");
    c->packed = true;
    frame(c, FIN | OP_BINARY, ping, sizeof ping - 1);
    expect(c, 'B', 0, pong, sizeof pong - 1);
    frame(c, OP_BINARY, ping, 5); /* in pieces, which are no text either */
    frame(c, FIN | OP_CONT, ping + 5, sizeof ping - 6);
    expect(c, 'B', 0, pong, sizeof pong - 1);
    text(c, "{\"action\":\"ping\"}"); /* JSON still counts */
    expect(c, 'B', 0, pong, sizeof pong - 1);
    end(c);
    begin(c, "12.4.2"); /* numbers and nesting come back as they were */
    c->packed = true;
    frame(c, FIN | OP_BINARY, join, sizeof join - 1);
    expect(c, 'B', 0, "\xa7history\x90", 9);
    frame(c, FIN | OP_BINARY, say, sizeof say - 1);
    expect(c, 'B', 0, said, sizeof said - 1);
    end(c);
    static const char *const wrong[] = {"\xc1",
                                        "\x81\xa6"
                                        "action",
                                        "\xdf\xff\xff\xff\xff",
                                        "\x91\xa4ping",
                                        "\x81\xa6"
                                        "action\xa4pingpong",
                                        "\xc4\x01x"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        begin(c, "12.4.%zu", i + 3);
        c->packed = true;
        frame(c, FIN | OP_BINARY, wrong[i], strlen(wrong[i]));
        expect(c, 'B', 0,
               "\xa9"
               "bad_frame",
               10);
        end(c);
    }
}

/* ---- 6: UTF-8 ---- */

static const char kosme[] = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";

static void utf8_case(Case *c, const char *id, const char *s, size_t len, bool valid)
{
    begin(c, "%s", id);
    frame(c, FIN | OP_TEXT, s, len);
    if (valid)
        not_json(c), still_open(c);
    else
        closed(c, 1007);
    end(c);
}

/* Sequences "valid" (v) or not (i), in the order of Autobahn's 6.5 to 6.23. */
static const struct {
    const char *group;
    const char *list; /* "v" or "i", hex digits; separated by blanks */
} sequences[] = {
    {"6.5", "icebae1bdb9cf83cebcceb5eda080656469746564 vceba iced vcebae1bdb9 icebae1bd"},
    {"6.6",
     "ice vceba icebae1 icebae1bd vcebae1bdb9 icebae1bdb9cf vcebae1bdb9cf83 icebae1bdb9cf83ce "
     "vcebae1bdb9cf83cebc icebae1bdb9cf83cebcce vcebae1bdb9cf83cebcceb5"},
    {"6.7", "v00 vc280 ve0a080 vf0908080"},
    {"6.8", "if888808080 ifc8480808080"},
    {"6.9", "v7f vdfbf vefbfbf vf48fbfbf"},
    {"6.10", "if7bfbfbf ifbbfbfbfbf ifdbfbfbfbfbf"},
    {"6.11", "ved9fbf vee8080 vefbfbd vf48fbfbf if4908080"},
    {"6.12", "i80 ibf i80bf i80bf80 i80bf80bf i80bf80bf80 i80bf80bf80bf i8081828384858687"},
    {"6.13", "ic020c120c220c320 ie020e120 if020f120 if820f920 ifc20"},
    {"6.14", "ic0 ie080 if08080 if8808080 ifc80808080 idf iefbf if7bfbf ifbbfbfbf ifdbfbfbfbf"},
    {"6.15", "ic0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"},
    {"6.16", "ife iff ifefeffff"},
    {"6.17", "ic0af ie080af if08080af if8808080af ifc80808080af"},
    {"6.18", "ic1bf ie09fbf if08fbfbf if887bfbfbf ifc83bfbfbfbf"},
    {"6.19", "ic080 ie08080 if0808080 if880808080 ifc8080808080"},
    {"6.20", "ieda080 iedadbf iedae80 iedafbf iedb080 iedbe80 iedbfbf"},
    {"6.21", "ieda080edb080 ieda080edbfbf iedadbfedb080 iedadbfedbfbf iedae80edb080 iedae80edbfbf "
             "iedafbfedb080 iedafbfedbfbf"},
    {"6.22",
     "vefbfbe vefbfbf vf09fbfbe vf09fbfbf vf0afbfbe vf0afbfbf vf0bfbfbe vf0bfbfbf vf18fbfbe "
     "vf18fbfbf vf19fbfbe vf19fbfbf vf1afbfbe vf1afbfbf vf1bfbfbe vf1bfbfbf vf28fbfbe "
     "vf28fbfbf vf29fbfbe vf29fbfbf vf2afbfbe vf2afbfbf vf2bfbfbe vf2bfbfbf vf38fbfbe "
     "vf38fbfbf vf39fbfbe vf39fbfbf vf3afbfbe vf3afbfbf vf3bfbfbe vf3bfbfbf vf48fbfbe "
     "vf48fbfbf"},
    {"6.23", "vefbfb9 vefbfba vefbfbb vefbfbc vefbfbd vefbfbe vefbfbf"},
};

static void utf8_tables(Case *c)
{
    for (size_t g = 0; g < COUNT_OF(sequences); g++) {
        char list[1024], id[24], *save = NULL;
        int n = 0;
        snprintf(list, sizeof list, "%s", sequences[g].list);
        for (char *word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
            char bytes[64];
            size_t len = 0;
            for (const char *hex = word + 1; hex[0] && hex[1]; hex += 2) {
                char pair[3] = {hex[0], hex[1], '\0'};
                bytes[len++] = (char)strtoul(pair, NULL, 16);
            }
            snprintf(id, sizeof id, "%s.%d", sequences[g].group, ++n);
            utf8_case(c, id, bytes, len, word[0] == 'v');
        }
    }
}

static void utf8(Case *c)
{
    begin(c, "6.1.1");
    text(c, "");
    not_json(c);
    end(c);
    for (int i = 2; i <= 3; i++) {
        begin(c, "6.1.%d", i);
        frame(c, OP_TEXT, "", 0);
        frame(c, OP_CONT, "middle", i == 3 ? 6 : 0);
        frame(c, FIN | OP_CONT, "", 0);
        not_json(c);
        end(c);
    }
    /* The content comes back, however it was cut. */
    static const char
        join[] = "{\"action\":\"join\",\"options\":{\"channel\":\"log:utf8\"}}",
        before[] = "{\"action\":\"message\",\"options\":{\"channel\":\"log:utf8\"},\"payload\":\"",
        inside[] = "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!! "
                   "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5 \xf0\x9f\x9a\xa2";
    char message[256];
    int n = snprintf(message, sizeof message, "%s%s\"}", before, inside);
    for (int i = 1; i <= 4; i++) {
        begin(c, "6.2.%d", i);
        text(c, join);
        size_t cut = i == 2 ? (size_t)n - 12 : i == 3 ? (size_t)n - 5 : (size_t)n;
        if (i < 4) {
            frame(c, (cut == (size_t)n ? FIN : 0u) | OP_TEXT, message, cut);
            if (cut < (size_t)n)
                frame(c, FIN | OP_CONT, message + cut, (size_t)n - cut);
        }
        for (int k = 0; i == 4 && k < n; k++) /* one byte each, through characters */
            frame(c, (k == n - 1 ? FIN : 0u) | (k ? OP_CONT : OP_TEXT), message + k, 1);
        answered(c, "\"action\":\"join\"");
        answered(c, inside);
        end(c);
    }
    char bad[64];
    int len = snprintf(bad, sizeof bad,
                       "%s\xed\xa0\x80"
                       "edited",
                       kosme);
    utf8_case(c, "6.3.1", bad, (size_t)len, false);
    begin(c, "6.3.2");
    for (int k = 0; k < len; k++)
        frame(c, (k == len - 1 ? FIN : 0u) | (k ? OP_CONT : OP_TEXT), bad + k, 1);
    closed(c, 1007);
    end(c);
    /* Bad bytes are noticed when they come, not at the end of the message. */
    begin(c, "6.4.1");
    frame(c, OP_TEXT, kosme, sizeof kosme - 1);
    frame(c, OP_CONT, "\xf4\x90\x80\x80", 4);
    closed(c, 1007);
    end(c);
    begin(c, "6.4.2");
    frame(c, OP_TEXT, "\xce\xba\xe1\xbd\xb9\xf4", 6);
    frame(c, OP_CONT, "\x90", 1);
    closed(c, 1007);
    end(c);
    for (int i = 3; i <= 4; i++) { /* within one frame that is never completed */
        begin(c, "6.4.%d", i);
        frame(c, FIN | OP_TEXT, bad, (size_t)len);
        c->out.len -= i == 3 ? 4 : 6;
        closed(c, 1007);
        end(c);
    }
    utf8_tables(c);
}

/* ---- 7: closing ---- */

static void closing(Case *c)
{
    char *big = filler(256 * KIB, '*');
    static const char *const scripts[] = {"Tx", "xx", "xp", "xT", "tx", "Bxp"};
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        begin(c, "7.1.%zu", i + 1);
        c->big = i == 5;
        for (const char *s = scripts[i]; *s; s++) {
            switch (*s) {
            case 'T': text(c, "Hello"); break;
            case 'B': frame(c, FIN | OP_TEXT, big, 256 * KIB); break;
            case 't': frame(c, OP_TEXT, "frag", 4); break;
            case 'x': close_frame(c, 1000, "", 0); break;
            case 'p': frame(c, FIN | OP_PING, "", 0); break;
            }
        }
        if (scripts[i][0] == 'T' || scripts[i][0] == 'B')
            not_json(c);
        closed(c, 1000);
        end(c);
    }
    begin(c, "7.3.1");
    frame(c, FIN | OP_CLOSE, "", 0);
    closed(c, 1000);
    end(c);
    begin(c, "7.3.2");
    frame(c, FIN | OP_CLOSE, "a", 1);
    closed(c, 1002);
    end(c);
    static const size_t reasons[] = {0, 5, 123};
    for (size_t i = 0; i < COUNT_OF(reasons); i++) {
        begin(c, "7.3.%zu", i + 3);
        close_frame(c, 1000, big, reasons[i]);
        closed(c, 1000);
        end(c);
    }
    begin(c, "7.3.6");
    big[0] = 3;
    big[1] = (char)232;
    frame(c, FIN | OP_CLOSE, big, 126);
    closed(c, 1002);
    end(c);
    begin(c, "7.5.1");
    close_frame(c, 1000,
                "\xce\xba\xed\xa0\x80"
                "edited",
                11);
    closed(c, 1007);
    end(c);
    static const int good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
                               1010, 1011, 3000, 3999, 4000, 4999};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        begin(c, "7.7.%zu", i + 1);
        close_frame(c, good[i], "", 0);
        closed(c, good[i]);
        end(c);
    }
    static const int wrong[] = {0,    999,  1004, 1005, 1006, 1015,
                                1016, 1100, 2000, 2999, 5000, 65535};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        begin(c, wrong[i] < 5000 ? "7.9.%zu" : "7.13.%zu", wrong[i] < 5000 ? i + 1 : i - 9);
        close_frame(c, wrong[i], "", 0);
        closed(c, 1002);
        end(c);
    }
    free(big);
}

/* ---- 9, 10: limits ---- */

static void large_message(Case *c, const char *id, size_t size, size_t part, size_t chop)
{
    char *json = json_ping(size);
    size_t n = strlen(json);
    begin(c, "%s", id);
    c->big = true;
    c->chop = chop;
    part = part ? part : n;
    for (size_t at = 0; at < n; at += part) {
        size_t len = n - at < part ? n - at : part;
        frame(c, (at + len == n ? FIN : 0u) | (at ? OP_CONT : OP_TEXT), json + at, len);
    }
    answered(c, "{\"action\":\"pong\"");
    end(c);
    free(json);
}

static void large_binary(Case *c, const char *id, size_t size, bool fin, size_t chop)
{
    char *data = filler(size, '*');
    begin(c, "%s", id);
    c->big = true;
    c->chop = chop;
    frame(c, (fin ? FIN : 0u) | OP_BINARY, data, size);
    closed(c, 1003);
    end(c);
    free(data);
}

static void limits(Case *c)
{
    static const size_t sizes[] = {64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB};
    static const size_t parts[] = {64,       256,       KIB, 4 * KIB, 16 * KIB,
                                   64 * KIB, 256 * KIB, MIB, 4 * MIB};
    static const size_t chops[] = {64, 128, 256, 512, KIB, 2 * KIB};
    static const size_t lengths[] = {0, 16, 64, 256, KIB, 4 * KIB};
    char id[24];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        snprintf(id, sizeof id, "9.1.%zu", i + 1);
        large_message(c, id, sizes[i], 0, 0);
        snprintf(id, sizeof id, "9.2.%zu", i + 1);
        large_binary(c, id, sizes[i], true, 0);
    }
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        snprintf(id, sizeof id, "9.3.%zu", i + 1);
        large_message(c, id, 4 * MIB, parts[i], 0);
        snprintf(id, sizeof id, "9.4.%zu", i + 1);
        large_binary(c, id, parts[i], false, 0);
    }
    for (size_t i = 0; i < COUNT_OF(chops); i++) {
        snprintf(id, sizeof id, "9.5.%zu", i + 1);
        large_message(c, id, MIB, 0, chops[i]);
        snprintf(id, sizeof id, "9.6.%zu", i + 1);
        large_binary(c, id, MIB, true, chops[i]);
    }
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        begin(c, "9.7.%zu", i + 1);
        c->big = true;
        char *data = filler(lengths[i], '*');
        for (int k = 0; k < 1000; k++)
            text(c, data), not_json(c);
        end(c);
        snprintf(id, sizeof id, "9.8.%zu", i + 1);
        large_binary(c, id, lengths[i], true, 0);
        free(data);
    }
    large_message(c, "10.1.1", 65536, 1300, 0);
    /* Our own limits. */
    char *over = json_ping(17 * MIB);
    begin(c, "10.2.1");
    c->big = true;
    frame(c, FIN | OP_TEXT, over, strlen(over));
    closed(c, 1009);
    end(c);
    free(over);
    begin(c, "10.2.3"); /* twenty pings a second, forty at once */
    for (int i = 0; i < 400; i++) {
        frame(c, FIN | OP_PING, "flood", 5);
        if (i < 40)
            ponged(c, "flood", 5);
    }
    closed(c, 4429);
    end(c);
    begin(c, "10.2.2"); /* a length with its highest bit set, and nothing behind it */
    buf_append(&c->out,
               "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff"
               "mask",
               14);
    closed(c, 1002);
    end(c);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const char *const args[] = {argv[1],       "serve",
                                argv[2],       "--listen",
                                "127.0.0.1:0", "--db",
                                ":memory:",    "--log-level",
                                "error",       "--drain-ms",
                                "100",         "--realtime-max-message",
                                "16777300",    "--realtime-frames-per-s",
                                "1000000",     "--realtime-frames-burst",
                                "1000000",     "--realtime-queue-hard-frames",
                                "5000",        "--realtime-max-fragments",
                                "100000",      NULL};
    Server server;
    Case *c = malloc(sizeof *c);
    suite.prefix = argc > 3 ? argv[3] : "";
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!c || !server_start(&server, (char *const *)(uintptr_t)args))
        return 1;
    suite.port = server.port;
    int64_t begin_ms = clock_mono_ms();
    framing(c);
    malformed(c);
    pings(c);
    reserved(c);
    fragments(c);
    paused(c);
    packed(c);
    utf8(c);
    closing(c);
    limits(c);
    free(c);
    printf("%u cases, %u failed, %lld ms\n", suite.run, suite.failed,
           (long long)(clock_mono_ms() - begin_ms));
    if (server_stop(&server, SIGTERM, 10000) != 0)
        return 1;
    return suite.failed || !suite.run ? 1 : 0;
}
