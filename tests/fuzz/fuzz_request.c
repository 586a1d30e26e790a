/* fuzz_request.c - what the host reads of an HTTP client: heads of upgrades, query strings, bodies,
 * tokens. The first byte picks the reader. */
#include <stdlib.h>

#include "core/json.h"
#include "core/text.h"
#include "host/auth.h"
#include "host/config.h"
#include "host/http.h"
#include "host/httphead.h"
#include "host/request.h"
#include "host/service.h"
#include "host/upgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_body(Arena *a, const char *type, Text body)
{
    static const Route route = {.nparams = 0};
    const RouteMatch match = {.route = &route};
    const Const *out;
    xs_error err;
    if (request_decode_body(a, text_from(type), body, &out, &err))
        request_inputs(a, &(RawInputs){body, out, !body.len || body.ptr[0] != 'j'}, &match,
                       json_parse(a, TEXT("[{\"name\":\"j\",\"type\":\"json\"}]"), &err));
}

static void read_head(Arena *a, Text head)
{
    Upgrade up;
    RealtimePath path;
    if (upgrade_parse(a, head, &up) == UPGRADE_OK)
        realtime_path(up.path, TEXT("/rt/"), &path);
}

static void read_request(Arena *a, Text head)
{
    HttpProblem problem = {0};
    HttpHead out;
    size_t scanned = 0, end = http_head_end(head, &scanned, &problem);
    if (!end)
        return;
    bool ok = end != SIZE_MAX && http_head_parse(a, text_slice(head, 0, end), &out, &problem);
    if (!ok && problem.status < 400)
        abort();
    if (ok)
        http_head_find(&out, "host");
}

static void read_chunks(Text in)
{
    ChunkReader r = {0};
    HttpProblem problem = {0};
    Text data;
    size_t used = 1;
    while (used && r.state != CHUNK_DONE) {
        if (!chunk_read(&r, in, &data, &used, &problem))
            break;
        if (used > in.len || data.len > used)
            abort();
        in = text_slice(in, used, in.len);
    }
}

static void read_token(Arena *a, Text token)
{
    Config c;
    Claims claims;
    xs_error err;
    const Const *tables = NULL;
    if (!config_init(&c, &err))
        return;
    c.auth_secret = TEXT("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    c.auth_jwt_key = TEXT("a-shared-secret");
    Auth *auth = auth_new(&c, tables, &err);
    if (auth && auth_verify(auth, a, token, 0, &claims))
        abort(); /* there is no auth table: nothing can be valid */
    auth_free(auth);
    config_deinit(&c);
}

static void read_settings(Text content)
{
    Config c;
    xs_error err;
    if (!config_init(&c, &err))
        return;
    if (!config_read(&c, "fuzz", content, &err) && !err.message[0])
        abort();
    config_deinit(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    Arena a;
    arena_init(&a, 64 << 20);
    /* An own block, so that a read past the end is seen. */
    char *bytes = (char *)malloc(size);
    if (!bytes)
        return 0;
    memcpy(bytes, data + 1, size - 1);
    Text t = {bytes, size - 1};
    ReplyHeaders headers = {.arena = &a};
    xs_error err;
    switch (data[0] % 10) {
    case 0: read_head(&a, t); break;
    case 1: read_body(&a, "application/x-www-form-urlencoded", t); break;
    case 2: read_body(&a, "multipart/form-data; boundary=X", t); break;
    case 3: read_body(&a, "application/json", t); break;
    case 4: http_parse_query(&a, t); break;
    case 5: read_token(&a, t); break;
    case 6: read_settings(t); break;
    case 7: read_request(&a, t); break;
    case 8: read_chunks(t); break;
    default:
        if (!reply_set_header(&headers, t, true, &err) && !err.message[0])
            abort();
    }
    free(bytes);
    arena_deinit(&a);
    return 0;
}
