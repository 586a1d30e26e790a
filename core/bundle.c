/* bundle.c - encoder and decoder of the .xsb image; docs/bundle.md describes the bytes.
 * Writing uses msgpack-c's packer. Reading is done here: its unpacker stops at 32 levels, allocates
 * what a hostile count asks for outside core/mem, and copies; this reader checks every count
 * against the bytes that are left and lets texts borrow from them. The tests compare both. */
#include "core/bundle.h"

#include <msgpack.h>

#include "core/text.h"

enum { MAX_CONST_DEPTH = 64, TRUSTED_CAP = 64, BODY_PARTS = 5, PROC_PARTS = 12 };
enum { AT_VERSION = 8, AT_FLAGS = 10, AT_RESERVED = 12, AT_LENGTH = 16, AT_CHECKSUM = 24 };

static const unsigned char magic[8] = {0x89, 'X', 'S', 'B', '\r', '\n', 0x1A, '\n'};

/* FNV-1a, 64 bits: finds damage, not malice; vm/verify.c proves what the bytes say. */
static uint64_t checksum(Text body)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < body.len; i++)
        h = (h ^ (unsigned char)body.ptr[i]) * 0x100000001B3u;
    return h;
}

static void put_le(unsigned char *p, uint64_t n, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(n >> (8 * i));
}

static uint64_t get_le(const void *from, size_t bytes)
{
    const unsigned char *p = from;
    uint64_t n = 0;
    for (size_t i = bytes; i-- > 0;)
        n = n << 8 | p[i];
    return n;
}

/* ---- writing: a failed append shows in Buf.failed at the end ---- */

static int pack_write(void *buf, const char *bytes, size_t len)
{
    return buf_append(buf, bytes, len) ? 0 : -1;
}

static void pack_text(msgpack_packer *pk, Text t)
{
    msgpack_pack_str(pk, t.len);
    if (t.len)
        msgpack_pack_str_body(pk, t.ptr, t.len);
}

/* False when nested too deeply for the reader. */
static bool pack_const(msgpack_packer *pk, const Const *c, unsigned depth)
{
    if (!c)
        c = &const_null;
    switch (c->kind) {
    case C_NULL: msgpack_pack_nil(pk); return true;
    case C_BOOL:
        if (c->b)
            msgpack_pack_true(pk);
        else
            msgpack_pack_false(pk);
        return true;
    case C_INT: msgpack_pack_int64(pk, c->i); return true;
    case C_DEC: msgpack_pack_double(pk, c->d); return true;
    case C_TEXT: pack_text(pk, c->text); return true;
    case C_LIST:
    case C_MAP: break;
    }
    if (depth >= MAX_CONST_DEPTH)
        return false;
    if (c->kind == C_LIST)
        msgpack_pack_array(pk, c->count);
    else
        msgpack_pack_map(pk, c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->kind == C_MAP)
            pack_text(pk, c->pairs[i].key);
        if (!pack_const(pk, c->kind == C_MAP ? c->pairs[i].value : c->items[i], depth + 1))
            return false;
    }
    return true;
}

/* Words as a little endian byte string. */
static void pack_word(msgpack_packer *pk, uint32_t word)
{
    unsigned char bytes[4];
    put_le(bytes, word, 4);
    msgpack_pack_bin_body(pk, bytes, 4);
}

static bool pack_proc(msgpack_packer *pk, const ProcImage *p)
{
    msgpack_pack_array(pk, PROC_PARTS);
    msgpack_pack_uint32(pk, (uint32_t)p->kind);
    pack_text(pk, p->name);
    pack_text(pk, p->file);
    msgpack_pack_uint32(pk, p->nregs);
    msgpack_pack_uint32(pk, p->nfar);
    msgpack_pack_uint32(pk, p->ninputs);
    if (!pack_const(pk, p->inputs, 0))
        return false;
    msgpack_pack_bin(pk, (size_t)p->ncode * 4);
    for (uint32_t i = 0; i < p->ncode; i++)
        pack_word(pk, p->code[i]);
    msgpack_pack_bin(pk, (size_t)p->nhandlers * 12);
    for (uint32_t i = 0; i < p->nhandlers; i++) {
        pack_word(pk, p->handlers[i].from);
        pack_word(pk, p->handlers[i].to);
        pack_word(pk, p->handlers[i].target);
    }
    msgpack_pack_bin(pk, (size_t)p->nlines * 12);
    for (uint32_t i = 0; i < p->nlines; i++) {
        pack_word(pk, p->lines[i].pc);
        pack_word(pk, p->lines[i].line);
        pack_word(pk, p->lines[i].col);
    }
    msgpack_pack_bin(pk, (size_t)p->nnames * 8);
    for (uint32_t i = 0; i < p->nnames * 2; i++)
        pack_word(pk, p->names[i]);
    msgpack_pack_bin(pk, (size_t)p->nvars * 8);
    for (uint32_t i = 0; i < p->nvars * 2; i++)
        pack_word(pk, p->vars[i]);
    return true;
}

static bool pack_body(msgpack_packer *pk, const BundleImage *image)
{
    msgpack_pack_array(pk, BODY_PARTS);
    msgpack_pack_array(pk, image->nconsts);
    for (uint32_t i = 0; i < image->nconsts; i++) {
        if (!pack_const(pk, image->consts[i], 0))
            return false;
    }
    msgpack_pack_array(pk, image->nimports);
    for (uint32_t i = 0; i < image->nimports; i++) {
        msgpack_pack_array(pk, 2);
        msgpack_pack_uint32(pk, (uint32_t)image->imports[i].kind);
        pack_text(pk, image->imports[i].name);
    }
    msgpack_pack_array(pk, image->nsites);
    for (uint32_t i = 0; i < image->nsites; i++) {
        msgpack_pack_array(pk, 2);
        msgpack_pack_uint32(pk, image->sites[i].import);
        if (!pack_const(pk, image->sites[i].desc, 0))
            return false;
    }
    msgpack_pack_array(pk, image->nprocs);
    for (uint32_t i = 0; i < image->nprocs; i++) {
        if (!pack_proc(pk, &image->procs[i]))
            return false;
    }
    return pack_const(pk, image->meta, 0);
}

void bundle_seal(char *bytes, size_t len)
{
    if (len < BUNDLE_HEADER_BYTES)
        return;
    Text body = {bytes + BUNDLE_HEADER_BYTES, len - BUNDLE_HEADER_BYTES};
    unsigned char header[BUNDLE_HEADER_BYTES] = {0};
    memcpy(header, magic, sizeof magic);
    put_le(header + AT_VERSION, BUNDLE_FORMAT, 2);
    put_le(header + AT_LENGTH, body.len, 8);
    put_le(header + AT_CHECKSUM, checksum(body), 8);
    memcpy(bytes, header, sizeof header);
}

bool msgpack_write_const(const Const *c, Buf *out)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, pack_write);
    return pack_const(&pk, c, 0) && !out->failed;
}

bool bundle_encode(const BundleImage *image, Buf *out, xs_error *err)
{
    size_t start = out->len;
    unsigned char header[BUNDLE_HEADER_BYTES] = {0};
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, pack_write);
    buf_append(out, header, sizeof header);
    bool flat = pack_body(&pk, image);
    if (out->failed)
        return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "out of memory");
    if (!flat) {
        out->len = start;
        return xs_fail(err, XS_E_LIMIT, XS_NO_POS, "a constant is nested deeper than %d levels",
                       MAX_CONST_DEPTH);
    }
    bundle_seal(out->ptr + start, out->len - start);
    return true;
}

/* ---- reading ---- */

typedef struct Reader {
    const unsigned char *at, *end;
    Arena *arena;
    xs_error *err;
} Reader;

static bool malformed(Reader *r, const char *what)
{
    return xs_fail(r->err, XS_E_BAD_BUNDLE, XS_NO_POS, "bundle is malformed: %s", what);
}

static bool no_memory(Reader *r)
{
    return xs_fail(r->err, XS_E_NOMEM, XS_NO_POS, "out of memory");
}

static size_t left(const Reader *r)
{
    return (size_t)(r->end - r->at);
}

typedef enum PackKind {
    PK_NIL,
    PK_BOOL,
    PK_UINT, /* .n */
    PK_INT,  /* .n as int64, negative */
    PK_FLOAT,
    PK_STR, /* .n bytes follow */
    PK_BIN,
    PK_ARRAY, /* .n elements follow */
    PK_MAP    /* .n pairs follow */
} PackKind;

typedef struct PackHead {
    PackKind kind;
    uint64_t n;
    double d;
} PackHead;

static bool read_be(Reader *r, size_t bytes, uint64_t *out)
{
    if (left(r) < bytes)
        return malformed(r, "a value is cut off");
    uint64_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n = n << 8 | *r->at++;
    *out = n;
    return true;
}

static bool read_float(Reader *r, size_t bytes, PackHead *h)
{
    uint64_t bits;
    h->kind = PK_FLOAT;
    if (!read_be(r, bytes, &bits))
        return false;
    if (bytes == 8) {
        memcpy(&h->d, &bits, sizeof h->d);
    } else {
        uint32_t bits32 = (uint32_t)bits;
        float f;
        memcpy(&f, &bits32, sizeof f);
        h->d = (double)f;
    }
    return true;
}

static bool read_signed(Reader *r, size_t bytes, PackHead *h)
{
    if (!read_be(r, bytes, &h->n))
        return false;
    uint64_t sign = UINT64_C(1) << (bytes * 8 - 1);
    h->kind = h->n & sign ? PK_INT : PK_UINT;
    if (h->n & sign)
        h->n |= ~(sign - 1) & ~sign; /* extend; the sign bit itself is set */
    return true;
}

/* Every element takes a byte, so a count past the bytes left is refused before anything is
 * allocated. */
static bool check_count(Reader *r, const PackHead *h)
{
    uint64_t bytes = h->kind == PK_MAP ? h->n * 2 : h->n; /* n < 2^32 */
    bool counted =
        h->kind == PK_STR || h->kind == PK_BIN || h->kind == PK_ARRAY || h->kind == PK_MAP;
    return !counted || bytes <= left(r) || malformed(r, "a length is larger than the bundle");
}

static bool read_head(Reader *r, PackHead *h)
{
    *h = (PackHead){.kind = PK_NIL};
    if (r->at == r->end)
        return malformed(r, "a value is missing");
    unsigned char c = *r->at++;
    bool ok = true;
    if (c <= 0x7F) {
        *h = (PackHead){.kind = PK_UINT, .n = c};
    } else if (c <= 0x8F) {
        *h = (PackHead){.kind = PK_MAP, .n = c & 0x0Fu};
    } else if (c <= 0x9F) {
        *h = (PackHead){.kind = PK_ARRAY, .n = c & 0x0Fu};
    } else if (c <= 0xBF) {
        *h = (PackHead){.kind = PK_STR, .n = c & 0x1Fu};
    } else if (c >= 0xE0) {
        *h = (PackHead){.kind = PK_INT, .n = (uint64_t)(int64_t)(int8_t)c};
    } else {
        switch (c) {
        case 0xC0: break;
        case 0xC2:
        case 0xC3: *h = (PackHead){.kind = PK_BOOL, .n = c & 1u}; break;
        case 0xC4:
        case 0xC5:
        case 0xC6:
            h->kind = PK_BIN;
            ok = read_be(r, (size_t)1 << (c - 0xC4), &h->n);
            break;
        case 0xCA:
        case 0xCB: return read_float(r, c == 0xCA ? 4 : 8, h);
        case 0xCC:
        case 0xCD:
        case 0xCE:
        case 0xCF:
            h->kind = PK_UINT;
            ok = read_be(r, (size_t)1 << (c - 0xCC), &h->n);
            break;
        case 0xD0:
        case 0xD1:
        case 0xD2:
        case 0xD3: return read_signed(r, (size_t)1 << (c - 0xD0), h);
        case 0xD9:
        case 0xDA:
        case 0xDB:
            h->kind = PK_STR;
            ok = read_be(r, (size_t)1 << (c - 0xD9), &h->n);
            break;
        case 0xDC:
        case 0xDD:
            h->kind = PK_ARRAY;
            ok = read_be(r, c == 0xDC ? 2 : 4, &h->n);
            break;
        case 0xDE:
        case 0xDF:
            h->kind = PK_MAP;
            ok = read_be(r, c == 0xDE ? 2 : 4, &h->n);
            break;
        default: /* extension types and the unused code */
            return malformed(r, "an unknown kind of value");
        }
    }
    return ok && check_count(r, h);
}

static bool expect(Reader *r, PackKind kind, const char *what, PackHead *h)
{
    return read_head(r, h) && (h->kind == kind || malformed(r, what));
}

static Text take_bytes(Reader *r, size_t n)
{
    Text t = {(const char *)r->at, n};
    r->at += n;
    return t;
}

static bool read_text(Reader *r, Text *out)
{
    PackHead h;
    if (!expect(r, PK_STR, "text expected", &h))
        return false;
    Text t = take_bytes(r, (size_t)h.n);
    if (!utf8_valid(t))
        return malformed(r, "text is not UTF-8");
    *out = t;
    return true;
}

static bool read_u32(Reader *r, uint32_t *out)
{
    PackHead h;
    if (!expect(r, PK_UINT, "number expected", &h))
        return false;
    if (h.n > UINT32_MAX)
        return malformed(r, "number out of range");
    *out = (uint32_t)h.n;
    return true;
}

static bool read_array(Reader *r, const char *what, uint32_t *count)
{
    PackHead h;
    if (!expect(r, PK_ARRAY, what, &h))
        return false;
    *count = (uint32_t)h.n;
    return true;
}

static bool read_parts(Reader *r, uint32_t parts, const char *what)
{
    uint32_t count;
    return read_array(r, what, &count) && (count == parts || malformed(r, what));
}

static const Const *read_const(Reader *r, unsigned depth);

/* NULL with the error set, also for a node that could not be allocated. */
static const Const *checked(Reader *r, const Const *c)
{
    if (!c)
        no_memory(r);
    return c;
}

static const Const *read_items(Reader *r, const PackHead *h, unsigned depth)
{
    bool list = h->kind == PK_ARRAY;
    if (depth >= MAX_CONST_DEPTH) {
        malformed(r, "a constant is nested too deeply");
        return NULL;
    }
    /* Grows with what is really there: nested counts may each claim all bytes that are left. */
    size_t cap = h->n < TRUSTED_CAP ? (size_t)h->n : TRUSTED_CAP;
    Const *c = list ? const_list(r->arena, cap) : const_map(r->arena, cap);
    if (!checked(r, c))
        return NULL;
    for (uint64_t i = 0; i < h->n; i++) {
        Text key = {0};
        if (!list && !read_text(r, &key))
            return NULL;
        const Const *value = read_const(r, depth + 1);
        if (!value)
            return NULL;
        if (!(list ? const_push(r->arena, c, value) : const_append(r->arena, c, key, value))) {
            no_memory(r);
            return NULL;
        }
    }
    return c;
}

static const Const *read_const(Reader *r, unsigned depth)
{
    PackHead h;
    if (!read_head(r, &h))
        return NULL;
    switch (h.kind) {
    case PK_NIL: return &const_null;
    case PK_BOOL: return const_bool(h.n);
    case PK_UINT:
        if (h.n > INT64_MAX) {
            malformed(r, "number out of range");
            return NULL;
        }
        return checked(r, const_int(r->arena, (int64_t)h.n));
    case PK_INT: return checked(r, const_int(r->arena, (int64_t)h.n));
    case PK_FLOAT: return checked(r, const_dec(r->arena, h.d));
    case PK_STR: {
        Text t = take_bytes(r, (size_t)h.n);
        if (!utf8_valid(t)) {
            malformed(r, "text is not UTF-8");
            return NULL;
        }
        Const *c = ARENA_NEW(r->arena, Const);
        if (checked(r, c)) {
            c->kind = C_TEXT;
            c->text = t; /* borrowed from the bundle's bytes */
        }
        return c;
    }
    case PK_ARRAY:
    case PK_MAP: return read_items(r, &h, depth);
    case PK_BIN: break;
    }
    malformed(r, "bytes where a constant is expected");
    return NULL;
}

const Const *msgpack_read_const(Arena *a, Text bytes)
{
    xs_error err = {0};
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    Reader r = {at, at + bytes.len, a, &err};
    const Const *c = bytes.len ? read_const(&r, 0) : NULL;
    return c && r.at == r.end ? c : NULL;
}

/* A byte string of records of `per` words, copied because the bytes are not aligned. */
static bool read_words(Reader *r, uint32_t per, const char *what, uint32_t **words,
                       uint32_t *records)
{
    PackHead h;
    if (!expect(r, PK_BIN, what, &h))
        return false;
    if (h.n % (per * sizeof(uint32_t)))
        return malformed(r, what);
    Text bytes = take_bytes(r, (size_t)h.n);
    size_t count = bytes.len / sizeof(uint32_t);
    uint32_t *copy = ARENA_ARRAY(r->arena, uint32_t, count);
    if (!copy)
        return no_memory(r);
    for (size_t i = 0; i < count; i++)
        copy[i] = (uint32_t)get_le(bytes.ptr + i * sizeof(uint32_t), sizeof(uint32_t));
    *words = copy;
    *records = (uint32_t)(count / per);
    return true;
}

_Static_assert(sizeof(HandlerImage) == 12 && sizeof(LineImage) == 12,
               "handlers and lines are read as three words each");

static bool read_proc(Reader *r, ProcImage *p)
{
    uint32_t kind, *code = NULL, *handlers = NULL, *lines = NULL, *names = NULL, *vars = NULL;
    if (!read_parts(r, PROC_PARTS, "procedure expected") || !read_u32(r, &kind) ||
        !read_text(r, &p->name) || !read_text(r, &p->file) || !read_u32(r, &p->nregs) ||
        !read_u32(r, &p->nfar) || !read_u32(r, &p->ninputs) || !(p->inputs = read_const(r, 0)) ||
        !read_words(r, 1, "code expected", &code, &p->ncode) ||
        !read_words(r, 3, "handlers expected", &handlers, &p->nhandlers) ||
        !read_words(r, 3, "lines expected", &lines, &p->nlines) ||
        !read_words(r, 2, "names expected", &names, &p->nnames) ||
        !read_words(r, 2, "variables expected", &vars, &p->nvars))
        return false;
    if (kind >= PROC_KIND_COUNT)
        return malformed(r, "unknown kind of procedure");
    if (p->nregs < 1 || p->nregs > 256 || p->ninputs > p->nregs)
        return malformed(r, "count of registers out of range");
    p->kind = (ProcKind)kind;
    p->code = code;
    p->handlers = (const HandlerImage *)handlers;
    p->lines = (const LineImage *)lines;
    p->names = names;
    p->vars = vars;
    return true;
}

static bool read_consts(Reader *r, BundleImage *out)
{
    if (!read_array(r, "constants expected", &out->nconsts))
        return false;
    if (!(out->consts = ARENA_ARRAY(r->arena, const Const *, out->nconsts)))
        return no_memory(r);
    for (uint32_t i = 0; i < out->nconsts; i++) {
        if (!(out->consts[i] = read_const(r, 0)))
            return false;
    }
    return true;
}

static bool read_imports(Reader *r, BundleImage *out)
{
    if (!read_array(r, "imports expected", &out->nimports))
        return false;
    if (!(out->imports = ARENA_ARRAY(r->arena, ImportImage, out->nimports)))
        return no_memory(r);
    for (uint32_t i = 0; i < out->nimports; i++) {
        uint32_t kind;
        if (!read_parts(r, 2, "import expected") || !read_u32(r, &kind) ||
            !read_text(r, &out->imports[i].name))
            return false;
        if (kind >= IMPORT_KIND_COUNT)
            return malformed(r, "unknown kind of import");
        out->imports[i].kind = (ImportKind)kind;
    }
    return true;
}

static bool read_sites(Reader *r, BundleImage *out)
{
    if (!read_array(r, "sites expected", &out->nsites))
        return false;
    if (!(out->sites = ARENA_ARRAY(r->arena, SiteImage, out->nsites)))
        return no_memory(r);
    for (uint32_t i = 0; i < out->nsites; i++) {
        SiteImage *site = &out->sites[i];
        if (!read_parts(r, 2, "site expected") || !read_u32(r, &site->import) ||
            !(site->desc = read_const(r, 0)))
            return false;
        if (site->import >= out->nimports || out->imports[site->import].kind != IMPORT_STATEMENT)
            return malformed(r, "a site calls what is no statement");
    }
    return true;
}

static bool read_procs(Reader *r, BundleImage *out)
{
    if (!read_array(r, "procedures expected", &out->nprocs))
        return false;
    if (!(out->procs = ARENA_ARRAY(r->arena, ProcImage, out->nprocs)))
        return no_memory(r);
    for (uint32_t i = 0; i < out->nprocs; i++) {
        if (!read_proc(r, &out->procs[i]))
            return false;
    }
    return true;
}

static bool check_header(Text bytes, Text *body, xs_error *err)
{
    size_t seen = bytes.len < sizeof magic ? bytes.len : sizeof magic;
    if (seen == 0 || memcmp(bytes.ptr, magic, seen) != 0)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "not an .xsb bundle");
    if (bytes.len < BUNDLE_HEADER_BYTES)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "bundle is truncated: %zu of %d bytes",
                       bytes.len, BUNDLE_HEADER_BYTES);
    unsigned version = (unsigned)get_le(bytes.ptr + AT_VERSION, 2);
    if (version > BUNDLE_FORMAT)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS,
                       "bundle format %u is newer than this xs (%d)", version, BUNDLE_FORMAT);
    if (version > 0 && version < BUNDLE_FORMAT)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS,
                       "bundle format %u is older than this xs (%d): build it again", version,
                       BUNDLE_FORMAT);
    if (version == 0 || get_le(bytes.ptr + AT_FLAGS, 2) || get_le(bytes.ptr + AT_RESERVED, 4))
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "bundle is damaged (header)");
    uint64_t length = get_le(bytes.ptr + AT_LENGTH, 8);
    size_t have = bytes.len - BUNDLE_HEADER_BYTES;
    if (length > UINT64_MAX - BUNDLE_HEADER_BYTES)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "bundle is damaged (header)");
    if (length > have)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "bundle is truncated: %zu of %llu bytes",
                       bytes.len, (unsigned long long)(length + BUNDLE_HEADER_BYTES));
    if (length < have)
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS,
                       "bundle is damaged (%zu bytes behind its end)", have - (size_t)length);
    *body = text_slice(bytes, BUNDLE_HEADER_BYTES, bytes.len);
    if (checksum(*body) != get_le(bytes.ptr + AT_CHECKSUM, 8))
        return xs_fail(err, XS_E_BAD_BUNDLE, XS_NO_POS, "bundle is damaged (checksum)");
    return true;
}

bool bundle_decode(Arena *a, Text bytes, BundleImage *out, xs_error *err)
{
    Text body = {0};
    if (!check_header(bytes, &body, err))
        return false;
    BundleImage image = {0};
    Reader r = {(const unsigned char *)body.ptr, (const unsigned char *)body.ptr + body.len, a,
                err};
    bool ok = read_parts(&r, BODY_PARTS, "five parts expected") && read_consts(&r, &image) &&
              read_imports(&r, &image) && read_sites(&r, &image) && read_procs(&r, &image) &&
              (image.meta = read_const(&r, 0)) != NULL;
    if (!ok)
        return false;
    if (r.at != r.end)
        return malformed(&r, "bytes behind the last part");
    *out = image;
    return true;
}
