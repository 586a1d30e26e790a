/* uploads.c - the shop over HTTP: a picture sent as multipart comes back byte by byte, what is none
 * is refused; and with a limit of requests the one beyond it is told when to come back.
 * usage: uploads XS SHOP */

#include "core/folder.h"
#include "tests/common/server.h"

enum { ANSWER_MAX = 1 << 20, PICTURE_BYTES = 70000, LIMIT = 5, WINDOW_MS = 1500 };

typedef struct Answer {
    int status;
    char *text, *body; /* one block: head with NUL behind it, then the body */
    size_t body_len;
} Answer;

static void answer_free(Answer *a)
{
    free(a->text);
    *a = (Answer){0};
}

/* One request on its own connection, whole. */
static Answer exchange(int port, const char *request, size_t len)
{
    Answer a = {.text = (char *)malloc(ANSWER_MAX + 1)};
    size_t got = 0;
    int fd = http_connect(port);
    bool ok = fd >= 0 && send_all(fd, request, len);
    while (ok && got < ANSWER_MAX) {
        ssize_t n = recv(fd, a.text + got, ANSWER_MAX - got, 0);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    a.text[got] = '\0';
    char *end = strstr(a.text, "\r\n\r\n");
    if (!end || sscanf(a.text, "HTTP/1.%*d %d", &a.status) != 1)
        return a;
    end[2] = '\0';
    a.body = end + 4;
    a.body_len = got - (size_t)(a.body - a.text);
    return a;
}

static Answer get(int port, const char *path)
{
    char request[512];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", path);
    return exchange(port, request, (size_t)n);
}

/* A text member of a JSON answer; malloc'ed, NULL = none. */
static char *member(const char *json, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *at = json ? strstr(json, key) : NULL;
    at = at ? at + strlen(key) : NULL;
    return at ? strndup(at, strcspn(at, "\"")) : NULL;
}

/* Signature and header of a PNG of 3 by 2, then bytes of every value, line ends and dashes. */
static void make_picture(unsigned char *p)
{
    static const unsigned char head[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0,
                                         0,    13,  'I', 'H', 'D',  'R',  0,    0,    0, 3,
                                         0,    0,   0,   2,   8,    2,    0,    0,    0};
    for (size_t i = 0; i < PICTURE_BYTES; i++)
        p[i] = (unsigned char)(i * 7 + i / 256);
    memcpy(p, head, sizeof head);
    memcpy(p + 1000, "\r\n--frontie-\r\n", 14);
}

/* POST of one part. */
static Answer upload(int port, const char *token, const char *type, const void *bytes, size_t len)
{
    static const char tail[] = "\r\n--frontier--\r\n";
    char part[300], *request = (char *)malloc(2048 + len);
    int part_len = snprintf(part, sizeof part,
                            "--frontier\r\nContent-Disposition: form-data; name=\"photo\"; "
                            "filename=\"a saw.png\"\r\nContent-Type: %s\r\n\r\n",
                            type);
    int n = snprintf(request, 2048,
                     "POST /api:catalog/products/1/photo HTTP/1.1\r\nHost: h\r\nConnection: "
                     "close\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; "
                     "boundary=frontier\r\nContent-Length: %zu\r\n\r\n%s",
                     token, (size_t)part_len + len + sizeof tail - 1, part);
    memcpy(request + n, bytes, len);
    memcpy(request + n + len, tail, sizeof tail - 1);
    Answer a = exchange(port, request, (size_t)n + len + sizeof tail - 1);
    free(request);
    return a;
}

static char *signup(int port, const char *body)
{
    char *reply;
    http_request(port, "POST", "/api:auth/signup", NULL, body, &reply);
    char *token = member(reply, "authToken");
    free(reply);
    return token;
}

static bool expect(bool holds, const char *what, const Answer *a)
{
    if (!holds)
        fprintf(stderr, "%s: %d %.*s\n", what, a->status, 300, a->body ? a->body : "");
    return holds;
}

static bool pictures(int port)
{
    static unsigned char picture[PICTURE_BYTES];
    char *reply,
        *ada = signup(port, "{\"name\":\"Ada\",\"email\":\"a@example.com\",\"password\":"
                            "\"long enough\"}"),
        *kim = signup(port, "{\"name\":\"Kim\",\"email\":\"k@example.com\",\"password\":"
                            "\"long enough\"}");
    make_picture(picture);
    if (!ada || !kim ||
        http_request(port, "POST", "/api:catalog/products", ada,
                     "{\"name\":\"Saw\",\"price\":1990,\"stock\":10,\"category_id\":1}",
                     &reply) != 200)
        return false;
    free(reply);
    Answer a = upload(port, kim, "image/png", picture, sizeof picture);
    bool ok = expect(a.status == 403, "upload by a customer", &a);
    answer_free(&a);
    a = upload(port, ada, "image/png", "no picture at all", 17);
    ok = expect(a.status >= 400 && strstr(a.body, "Invalid file extension"), "a text as picture",
                &a) &&
         ok;
    answer_free(&a);
    a = upload(port, ada, "image/png", picture, sizeof picture);
    ok = expect(a.status == 200 && strstr(a.body, "\"size\":70000") &&
                    strstr(a.body, "\"width\":3") && strstr(a.body, "\"mime\":\"image/png\""),
                "upload", &a) &&
         ok;
    char *path = member(a.body, "path"), *url = member(a.body, "url");
    ok = expect(path && url && strncmp(url, "http://h/vault/", 15) == 0 &&
                    strcmp(url + strlen("http://h"), path) == 0,
                "address of the picture", &a) &&
         ok;
    free(url);
    answer_free(&a);
    a = get(port, path ? path : "/");
    ok = expect(a.status == 200 && a.body_len == sizeof picture &&
                    memcmp(a.body, picture, sizeof picture) == 0,
                "download", &a) &&
         expect(strcasestr(a.text, "content-type: image/png\r\n") &&
                    strcasestr(a.text, "x-content-type-options: nosniff\r\n"),
                "headers of the download", &a) &&
         ok;
    answer_free(&a);
    a = get(port, "/api:catalog/products/1");
    ok = expect(path && strstr(a.body, path) != NULL, "the product names its picture", &a) && ok;
    answer_free(&a);
    free(path);
    free(ada);
    free(kim);
    return ok;
}

static bool limited(int port)
{
    int64_t until = clock_mono_ms() + 20 * WINDOW_MS;
    bool ok = true;
    Answer a = {0};
    for (int i = 0; ok && i < LIMIT; i++) {
        a = get(port, "/api:catalog/products");
        ok = expect(a.status == 200, "within the limit", &a);
        answer_free(&a);
    }
    a = get(port, "/api:catalog/products");
    const char *after = strcasestr(a.text, "\r\nretry-after: ");
    long seconds = after ? strtol(after + 15, NULL, 10) : 0;
    ok = ok && expect(a.status == 429 && strstr(a.body, "ERROR_CODE_TOO_MANY_REQUESTS") &&
                          seconds >= 1 && seconds <= (WINDOW_MS + 999) / 1000,
                      "beyond the limit", &a);
    answer_free(&a);
    for (int status = 0; ok && status != 200;) {
        a = get(port, "/api:catalog/products");
        status = a.status;
        ok = expect(status == 200 || status == 429, "after the limit", &a) &&
             expect(clock_mono_ms() < until, "a new window", &a);
        answer_free(&a);
        poll(NULL, 0, status == 200 ? 0 : 50);
    }
    return ok;
}

static bool serve(char **argv, char *const *more, bool (*check)(int port))
{
    char word[] = "serve", listen_flag[] = "--listen", address[] = "127.0.0.1:0",
         db_flag[] = "--db", memory[] = ":memory:";
    char *args[16] = {argv[1], word, argv[2], listen_flag, address, db_flag, memory};
    size_t n = 7;
    for (size_t i = 0; more[i]; i++)
        args[n++] = more[i];
    Server server;
    if (!server_start(&server, args))
        return false;
    bool ok = check(server.port);
    return server_stop(&server, SIGTERM, 20000) == 0 && ok;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: uploads XS SHOP\n", stderr);
        return 2;
    }
    char rate[] = "--rate-requests", five[] = "5", window[] = "--rate-window-ms", ms[] = "1500",
         storage[] = "--storage-dir", dir[] = "/tmp/xs-uploads-XXXXXX";
    if (!mkdtemp(dir))
        return 1;
    char *const limits[] = {rate, five, window, ms, NULL}, *const files[] = {storage, dir, NULL};
    bool ok = serve(argv, files, pictures);
    ok = serve(argv, limits, limited) && ok;
    folder_remove(dir);
    return ok ? 0 : 1;
}
