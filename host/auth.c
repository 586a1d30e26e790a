/* auth.c - tokens are opaque to programs and clients. The algorithm of a token is fixed by
 * configuration and only compared with its header, never taken from it. */
#include "host/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <unistd.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/num.h"
#include "core/text.h"

enum { KEY_BYTES = 32, IV_BYTES = 12, TAG_BYTES = 16, TOKEN_MAX = 16384, KEY_FILE_MAX = 16384 };

typedef struct JwtAlg {
    const char *name, *header_name;
    const EVP_MD *(*digest)(void);
    int key_type; /* EVP_PKEY_NONE = HMAC */
} JwtAlg;

static const JwtAlg jwt_algs[] = {
    {"HS256", "HS256", EVP_sha256, EVP_PKEY_NONE}, {"HS384", "HS384", EVP_sha384, EVP_PKEY_NONE},
    {"HS512", "HS512", EVP_sha512, EVP_PKEY_NONE}, {"RS256", "RS256", EVP_sha256, EVP_PKEY_RSA},
    {"ES256", "ES256", EVP_sha256, EVP_PKEY_EC},
};

/* The auth tables of a program; replaced ones stay until the end, as others may be reading them. */
typedef struct AuthTable {
    Text name;
    int64_t id;
} AuthTable;

typedef struct AuthTables {
    struct AuthTables *older;
    Arena arena;
    size_t count;
    AuthTable *items;
} AuthTables;

struct Auth {
    unsigned char key[KEY_BYTES], old_key[KEY_BYTES];
    bool has_old;
    Text tenant;
    _Atomic(AuthTables *) tables;
    const JwtAlg *jwt; /* NULL = off */
    Text jwt_secret;   /* HMAC; in arena */
    EVP_PKEY *jwt_key; /* public key */
    Arena arena;
};

/* ---- base64url ---- */

static bool b64_write(Buf *out, const void *data, size_t n)
{
    size_t cap = sodium_base64_encoded_len(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    if (!buf_reserve(out, cap))
        return false;
    sodium_bin2base64(out->ptr + out->len, cap, data, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    out->len += cap - 1; /* without its NUL */
    return true;
}

/* ptr NULL = malformed or memory. */
static Text b64_read(Arena *a, Text t, int variant)
{
    size_t cap = t.len / 4 * 3 + 3, n = 0;
    char *out = arena_alloc(a, cap);
    const char *end = NULL;
    if (!out ||
        sodium_base642bin((unsigned char *)out, cap, t.ptr, t.len, NULL, &n, &end, variant) != 0 ||
        end != t.ptr + t.len)
        return (Text){0};
    return (Text){out, n};
}

/* ---- keys ---- */

static bool parse_key(Arena *a, Text text, unsigned char key[KEY_BYTES])
{
    static const int variants[] = {
        sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING,
        sodium_base64_VARIANT_URLSAFE, sodium_base64_VARIANT_URLSAFE_NO_PADDING};
    text = text_trim(text, TEXT(" \t\r\n"));
    size_t n = 0;
    const char *end = NULL;
    if (text.len == KEY_BYTES * 2 &&
        sodium_hex2bin(key, KEY_BYTES, text.ptr, text.len, NULL, &n, &end) == 0 && n == KEY_BYTES)
        return true;
    for (size_t i = 0; i < COUNT_OF(variants); i++) {
        Text bin = b64_read(a, text, variants[i]);
        if (bin.ptr && bin.len == KEY_BYTES) {
            memcpy(key, bin.ptr, KEY_BYTES);
            return true;
        }
    }
    return false;
}

static bool read_small_file(Arena *a, const char *path, Text *out, xs_error *err)
{
    char *data = arena_alloc(a, KEY_FILE_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(errno));
    size_t n = 0;
    ssize_t got = 0;
    while (data && n < KEY_FILE_MAX && (got = read(fd, data + n, KEY_FILE_MAX - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (!data || got < 0 || n == KEY_FILE_MAX)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: not a readable key file", path);
    *out = (Text){data, n};
    return true;
}

/* Another process may make the file at the same moment: whoever comes second reads it. */
static bool make_key_file(const char *path, xs_error *err)
{
    unsigned char key[KEY_BYTES];
    char text[KEY_BYTES * 2 + 1];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ||
               xs_fail(err, XS_E_IO, XS_NO_POS, "cannot make the key file of logins %s: %s", path,
                       strerror(errno));
    randombytes_buf(key, sizeof key);
    sodium_bin2hex(text, sizeof text, key, sizeof key);
    text[KEY_BYTES * 2] = '\n';
    bool ok = write(fd, text, sizeof text) == (ssize_t)sizeof text && fsync(fd) == 0;
    int problem = errno;
    close(fd);
    sodium_memzero(key, sizeof key);
    sodium_memzero(text, sizeof text);
    return ok || xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(problem));
}

static bool same_tables(const AuthTables *a, const AuthTables *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = a->items[i].id == b->items[i].id && text_eq(a->items[i].name, b->items[i].name);
    return same;
}

bool auth_set_tables(Auth *a, const Const *tables, xs_error *err)
{
    uint32_t n = tables && tables->kind == C_LIST ? tables->count : 0;
    AuthTables *t = mem_zalloc(1, sizeof *t);
    if (t) {
        arena_init(&t->arena, 0);
        t->items = arena_alloc(&t->arena, (n + 1) * sizeof *t->items);
    }
    for (uint32_t i = 0; t && t->items && i < n; i++) {
        const Const *row = tables->items[i];
        if (!const_bool_of(const_get(row, "auth"), false))
            continue;
        AuthTable *item = &t->items[t->count++];
        item->name = arena_text(&t->arena, const_get_text(row, "name"));
        item->id = const_int_of(const_get(row, "id"), 0);
        if (!item->name.ptr)
            t->items = NULL;
    }
    bool made = t && t->items, known = made && a->tables && same_tables(t, a->tables);
    if (made && !known) {
        t->older = a->tables;
        a->tables = t;
        return true;
    }
    if (t)
        arena_deinit(&t->arena);
    mem_free(t);
    return known || xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
}

static bool load_key(Auth *a, const Config *c, xs_error *err)
{
    if (c->auth_secret.len)
        return parse_key(&a->arena, c->auth_secret, a->key) ||
               xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                       "auth.secret: expected 32 bytes in hex or base64");
    Text path = c->auth_secret_file;
    /* A program without logins leaves no key file behind. */
    bool passing = !c->db.len || text_eq(c->db, TEXT(":memory:")) || a->tables->count == 0;
    if (!path.len && passing) {
        randombytes_buf(a->key, sizeof a->key);
        return true;
    }
    if (!path.len)
        path = arena_printf(&a->arena, TEXT_FMT ".key", TEXT_ARG(c->db));
    if (!path.ptr)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    Text content;
    if (access(path.ptr, F_OK) != 0 && !make_key_file(path.ptr, err))
        return false;
    return read_small_file(&a->arena, path.ptr, &content, err) &&
           (parse_key(&a->arena, content, a->key) ||
            xs_fail(err, XS_E_CONFIG, XS_NO_POS, "%s: expected 32 bytes in hex or base64",
                    path.ptr));
}

static bool load_jwt(Auth *a, const Config *c, xs_error *err)
{
    Text key = c->auth_jwt_key;
    if (!key.len)
        return true;
    if (key.ptr[0] == '@' && !read_small_file(&a->arena, key.ptr + 1, &key, err))
        return false;
    for (size_t i = 0; i < COUNT_OF(jwt_algs); i++)
        if (text_eq(c->auth_jwt_alg, text_from(jwt_algs[i].name)))
            a->jwt = &jwt_algs[i];
    if (!a->jwt)
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "auth.jwt_alg: unknown algorithm");
    if (a->jwt->key_type == EVP_PKEY_NONE) {
        a->jwt_secret = arena_text(&a->arena, text_trim(key, TEXT("\r\n")));
        return a->jwt_secret.len >= 8 ||
               xs_fail(err, XS_E_CONFIG, XS_NO_POS, "auth.jwt_key: shorter than 8 bytes");
    }
    BIO *bio = BIO_new_mem_buf(key.ptr, (int)key.len);
    a->jwt_key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (!a->jwt_key || EVP_PKEY_base_id(a->jwt_key) != a->jwt->key_type)
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "auth.jwt_key: no PEM public key for %s",
                       a->jwt->name);
    return true;
}

Auth *auth_new(const Config *c, const Const *tables, xs_error *err)
{
    Auth *a = mem_zalloc(1, sizeof *a);
    if (!a || sodium_init() < 0) {
        mem_free(a);
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        return NULL;
    }
    arena_init(&a->arena, 0);
    a->tenant = arena_text(&a->arena, c->tenant);
    bool ok = a->tenant.ptr && auth_set_tables(a, tables, err) && load_key(a, c, err) &&
              load_jwt(a, c, err);
    if (ok && c->auth_secret_old.len) {
        a->has_old = parse_key(&a->arena, c->auth_secret_old, a->old_key);
        ok = a->has_old || xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                                   "auth.secret_old: expected 32 bytes in hex or base64");
    }
    if (ok)
        return a;
    auth_free(a);
    return NULL;
}

void auth_free(Auth *a)
{
    if (!a)
        return;
    EVP_PKEY_free(a->jwt_key);
    for (AuthTables *t = a->tables, *older; t; t = older) {
        older = t->older;
        arena_deinit(&t->arena);
        mem_free(t);
    }
    arena_deinit(&a->arena);
    sodium_memzero(a, sizeof *a);
    mem_free(a);
}

/* ---- identities ---- */

Text auth_tenant(const Auth *a)
{
    return a->tenant;
}

int64_t auth_table_id(const Auth *a, Text table)
{
    int64_t number = 0;
    bool by_number = num_parse_int(table, &number);
    const AuthTables *t = a->tables;
    for (size_t i = 0; i < t->count; i++)
        if (text_eq(t->items[i].name, table) || (by_number && t->items[i].id == number))
            return t->items[i].id;
    return 0;
}

Text auth_normal_id(Text json)
{
    Text inner = text_slice(json, 1, json.len ? json.len - 1 : 0);
    int64_t n;
    bool quoted = json.len > 2 && json.ptr[0] == '"' && json.ptr[json.len - 1] == '"';
    bool canonical = inner.len == 1 || (inner.len && inner.ptr[0] != '0' && inner.ptr[0] != '+');
    return quoted && canonical && num_parse_int(inner, &n) ? inner : json;
}

const Const *auth_const(Arena *arena, const Claims *claims)
{
    Const *map = const_map(arena, claims->extras->count + 1);
    if (!map || !const_set(arena, map, TEXT("id"), claims->id))
        return NULL;
    for (uint32_t i = 0; i < claims->extras->count; i++) {
        const ConstPair *p = &claims->extras->pairs[i];
        if (!text_eq(p->key, TEXT("id")) && !const_set(arena, map, p->key, p->value))
            return NULL;
    }
    return map;
}

Identity *auth_identity(const Auth *a, const Claims *claims)
{
    return identity_new(claims->table, auth_table_id(a, claims->table), claims->id, claims->extras);
}

Text auth_bearer(Text header)
{
    static const char scheme[] = "bearer ";
    size_t n = sizeof scheme - 1;
    if (!header.ptr || header.len <= n)
        return (Text){0};
    for (size_t i = 0; i < n; i++)
        if ((header.ptr[i] | 32) != scheme[i])
            return (Text){0};
    Text token = text_trim(text_slice(header, n, header.len), TEXT(" \t"));
    return token.len ? token : (Text){0};
}

/* ---- making ---- */

static void write_claims(const Auth *a, Buf *b, Text table, Text id, Text extras, int64_t now_ms,
                         int64_t ttl_s)
{
    unsigned char jti[12];
    randombytes_buf(jti, sizeof jti);
    buf_cstr(b, "{\"t\":");
    json_write_text(b, table);
    buf_cstr(b, ",\"i\":");
    buf_text(b, auth_normal_id(id));
    buf_cstr(b, ",\"x\":");
    buf_text(b, extras.len && extras.ptr[0] == '{' ? extras : TEXT("{}"));
    buf_printf(b, ",\"iat\":%lld", (long long)(now_ms / 1000));
    if (ttl_s > 0)
        buf_printf(b, ",\"exp\":%lld", (long long)(now_ms / 1000 + ttl_s));
    if (a->tenant.len) {
        buf_cstr(b, ",\"n\":");
        json_write_text(b, a->tenant);
    }
    buf_cstr(b, ",\"jti\":\"");
    b64_write(b, jti, sizeof jti);
    buf_cstr(b, "\"}");
}

/* AES-256-GCM over plain in place of it; tag behind. aad is the encoded header. */
static bool seal(const unsigned char *key, const unsigned char *iv, Text aad, Text plain,
                 unsigned char *out, unsigned char tag[TAG_BYTES])
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n = 0, tail = 0;
    bool ok =
        c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, iv) == 1 &&
        EVP_EncryptUpdate(c, NULL, &n, (const unsigned char *)aad.ptr, (int)aad.len) == 1 &&
        EVP_EncryptUpdate(c, out, &n, (const unsigned char *)plain.ptr, (int)plain.len) == 1 &&
        EVP_EncryptFinal_ex(c, out + n, &tail) == 1 &&
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

bool auth_make_token(const Auth *a, Text table, Text id_json, Text extras_json, int64_t now_ms,
                     int64_t ttl_s, Buf *out, xs_error *err)
{
    if (!auth_table_id(a, table))
        return xs_fail(err, XS_E_NOTFOUND, XS_NO_POS, "Table '" TEXT_FMT "' is no auth table",
                       TEXT_ARG(table));
    if (!id_json.len || id_json.ptr[0] == '{' || id_json.ptr[0] == '[' ||
        text_eq(id_json, TEXT("null")))
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: id");
    if (ttl_s < 0 || ttl_s > INT64_MAX / 2000)
        return xs_fail(err, XS_E_BAD_ARG, XS_NO_POS, "Invalid value for param: expiration");
    Buf claims = BUF_INIT, token = BUF_INIT;
    unsigned char iv[IV_BYTES], tag[TAG_BYTES];
    randombytes_buf(iv, sizeof iv);
    write_claims(a, &claims, table, id_json, extras_json, now_ms, ttl_s);
    static const char header[] = "{\"alg\":\"dir\",\"enc\":\"A256GCM\",\"kid\":\"1\"}";
    b64_write(&token, header, sizeof header - 1);
    Text aad = buf_view(&token);
    unsigned char *sealed = claims.failed ? NULL : mem_alloc(claims.len + TAG_BYTES);
    bool ok = sealed && !token.failed && claims.len < TOKEN_MAX / 2;
    if (ok && seal(a->key, iv, aad, buf_view(&claims), sealed, tag)) {
        buf_cstr(&token, "..");
        b64_write(&token, iv, sizeof iv);
        buf_char(&token, '.');
        b64_write(&token, sealed, claims.len);
        buf_char(&token, '.');
        b64_write(&token, tag, sizeof tag);
        ok = !token.failed && buf_text(out, buf_view(&token));
        if (!ok)
            xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    } else if (sealed && claims.len >= TOKEN_MAX / 2) {
        ok = xs_fail(err, XS_E_TOO_LARGE, XS_NO_POS, "The extras of a token are too large");
    } else {
        ok = xs_fail(err, sealed ? XS_E_CRYPTO : XS_E_NOMEM, XS_NO_POS,
                     "The token could not be made");
    }
    mem_free(sealed);
    buf_deinit(&claims);
    buf_deinit(&token);
    return ok;
}

/* ---- checking ---- */

static bool open_sealed(const unsigned char *key, Text iv, Text aad, Text sealed, Text tag,
                        char *out)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    unsigned char t[TAG_BYTES], *to = (unsigned char *)out;
    int n = 0, tail = 0;
    memcpy(t, tag.ptr, TAG_BYTES);
    bool ok =
        c &&
        EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, (const unsigned char *)iv.ptr) == 1 &&
        EVP_DecryptUpdate(c, NULL, &n, (const unsigned char *)aad.ptr, (int)aad.len) == 1 &&
        EVP_DecryptUpdate(c, to, &n, (const unsigned char *)sealed.ptr, (int)sealed.len) == 1 &&
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, t) == 1 &&
        EVP_DecryptFinal_ex(c, to + n, &tail) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

static bool verify_jws(const Auth *a, Text input, Text sig)
{
    const unsigned char *data = (const unsigned char *)input.ptr,
                        *s = (const unsigned char *)sig.ptr;
    if (a->jwt->key_type == EVP_PKEY_NONE) {
        unsigned char mac[EVP_MAX_MD_SIZE];
        unsigned n = 0;
        return HMAC(a->jwt->digest(), a->jwt_secret.ptr, (int)a->jwt_secret.len, data, input.len,
                    mac, &n) &&
               n == sig.len && sodium_memcmp(mac, s, n) == 0;
    }
    unsigned char *der = NULL;
    size_t len = sig.len;
    if (a->jwt->key_type == EVP_PKEY_EC) { /* JWS: r and s, 32 bytes each; OpenSSL wants DER */
        ECDSA_SIG *pair = sig.len == 64 ? ECDSA_SIG_new() : NULL;
        BIGNUM *r = pair ? BN_bin2bn(s, 32, NULL) : NULL,
               *q = pair ? BN_bin2bn(s + 32, 32, NULL) : NULL;
        int n = -1;
        if (pair && ECDSA_SIG_set0(pair, r, q) == 1)
            n = i2d_ECDSA_SIG(pair, &der);
        ECDSA_SIG_free(pair);
        if (n <= 0)
            return false;
        s = der;
        len = (size_t)n;
    }
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestVerifyInit(c, NULL, a->jwt->digest(), NULL, a->jwt_key) == 1 &&
              EVP_DigestVerify(c, s, len, data, input.len) == 1;
    EVP_MD_CTX_free(c);
    OPENSSL_free(der);
    return ok;
}

/* Split at dots into exactly n parts. */
static bool split_parts(Text token, Text *parts, size_t n)
{
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        size_t dot = text_find(token, TEXT("."), from);
        if ((dot == SIZE_MAX) != (i == n - 1))
            return false;
        parts[i] = text_slice(token, from, dot);
        from = dot + 1;
    }
    return true;
}

static bool open_jwe(const Auth *a, Arena *arena, Text token, Text *claims)
{
    Text part[5];
    if (!split_parts(token, part, 5) || part[1].len)
        return false;
    int v = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
    const Const *head = json_parse(arena, b64_read(arena, part[0], v), NULL);
    Text iv = b64_read(arena, part[2], v), sealed = b64_read(arena, part[3], v),
         tag = b64_read(arena, part[4], v);
    if (!text_eq(const_get_text(head, "alg"), TEXT("dir")) ||
        !text_eq(const_get_text(head, "enc"), TEXT("A256GCM")) || iv.len != IV_BYTES ||
        tag.len != TAG_BYTES || !sealed.len)
        return false;
    char *plain = arena_alloc(arena, sealed.len + TAG_BYTES);
    if (!plain || !(open_sealed(a->key, iv, part[0], sealed, tag, plain) ||
                    (a->has_old && open_sealed(a->old_key, iv, part[0], sealed, tag, plain))))
        return false;
    *claims = (Text){plain, sealed.len};
    return true;
}

static bool open_jws(const Auth *a, Arena *arena, Text token, Text *claims)
{
    Text part[3];
    int v = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
    if (!a->jwt || !split_parts(token, part, 3))
        return false;
    const Const *head = json_parse(arena, b64_read(arena, part[0], v), NULL);
    Text sig = b64_read(arena, part[2], v);
    if (!text_eq(const_get_text(head, "alg"), text_from(a->jwt->header_name)) || !sig.ptr ||
        !verify_jws(a, (Text){token.ptr, part[0].len + 1 + part[1].len}, sig))
        return false;
    *claims = b64_read(arena, part[1], v);
    return claims->ptr != NULL;
}

/* The first of several spellings of a claim. */
static const Const *claim(const Const *claims, const char *a, const char *b, const char *c)
{
    const Const *found = const_get(claims, a);
    if (!found)
        found = const_get(claims, b);
    return found || !c ? found : const_get(claims, c);
}

bool auth_verify(const Auth *a, Arena *arena, Text token, int64_t now_ms, Claims *out)
{
    Text json;
    size_t dots = 0;
    for (size_t i = 0; i < token.len; i++)
        dots += token.ptr[i] == '.';
    if (!token.len || token.len > TOKEN_MAX ||
        !(dots == 4 ? open_jwe(a, arena, token, &json) : open_jws(a, arena, token, &json)))
        return false;
    const Const *c = json_parse(arena, json, NULL);
    const Const *id = claim(c, "i", "id", "sub"), *extras = claim(c, "x", "extras", NULL);
    const Const *exp = const_get(c, "exp"), *tenant = const_get(c, "n");
    Claims found = {.table = const_text_of(claim(c, "t", "table", NULL), (Text){0}), .id = id};
    if (!id || (id->kind != C_INT && id->kind != C_TEXT) || !auth_table_id(a, found.table))
        return false;
    int64_t number;
    if (id->kind == C_TEXT && num_parse_int(id->text, &number)) /* "sub" is text by its standard */
        found.id = const_int(arena, number);
    found.extras = extras && extras->kind == C_MAP ? extras : const_map(arena, 0);
    double exp_s = const_dec_of(exp, 0);
    if (exp && !(exp_s > 0 && exp_s < 9e12))
        return false;
    found.expires_ms = exp ? (int64_t)(exp_s * 1000) : 0;
    if ((found.expires_ms && found.expires_ms <= now_ms) ||
        !text_eq(const_text_of(tenant, (Text){"", 0}), a->tenant) || !found.id || !found.extras)
        return false;
    *out = found;
    return true;
}
