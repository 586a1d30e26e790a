/* bundle.h - the .xsb image: what the front end writes and the machine loads. Encoder and decoder
 * sit in one file so that they cannot disagree. docs/bundle.md describes the bytes.
 *
 * File: 32-byte header {magic "\x89XSB\r\n\x1a\n", u16 format version, u16 flags, u32 reserved 0,
 * u64 body length, u64 checksum of the body}, little endian, then a MessagePack body. */
#ifndef CORE_BUNDLE_H
#define CORE_BUNDLE_H

#include "core/const.h"

enum { BUNDLE_FORMAT = 3, BUNDLE_HEADER_BYTES = 32 };

typedef enum ProcKind {
    PROC_FUNCTION,
    PROC_QUERY,
    PROC_TRIGGER, /* realtime_trigger */
    PROC_TASK,
    PROC_MIDDLEWARE,
    PROC_ADDON,
    PROC_TEST,
    PROC_EXPR,    /* xs eval, expressions compiled at run time */
    PROC_MESSAGE, /* message, channel: handlers of a realtime_server */
    PROC_KIND_COUNT
} ProcKind;

typedef enum ImportKind { IMPORT_FILTER, IMPORT_STATEMENT, IMPORT_KIND_COUNT } ImportKind;

typedef struct ImportImage {
    ImportKind kind;
    Text name; /* "trim", "db.query" */
} ImportImage;

/* Where a statement native is called: the constant shape of its clauses. */
typedef struct SiteImage {
    uint32_t import;   /* index into imports, an IMPORT_STATEMENT */
    const Const *desc; /* constant descriptor, C_NULL when the statement has none */
} SiteImage;

/* Instructions [from, to) are guarded: an error jumps to target with the error saved for GETERR. */
typedef struct HandlerImage {
    uint32_t from, to, target;
} HandlerImage;

typedef struct LineImage {
    uint32_t pc, line, col; /* from pc on, until the next entry; ascending */
} LineImage;

typedef struct ProcImage {
    ProcKind kind;
    Text name; /* "send_chat_message", "GET chat/rooms" */
    Text file;
    uint32_t nregs;      /* 1..256 */
    uint32_t nfar;       /* far slots */
    uint32_t ninputs;    /* declared inputs: registers 0..ninputs-1 hold the bound values */
    const Const *inputs; /* list of field schemas, see frontend/README.md */
    const uint32_t *code;
    uint32_t ncode;
    const HandlerImage *handlers; /* innermost first */
    uint32_t nhandlers;
    const LineImage *lines;
    uint32_t nlines;
    const uint32_t *names; /* pairs (pc, constant index of a text): the source path read there */
    uint32_t nnames;       /* pairs */
    /* pairs (slot, constant index of a text): variables by name, for expressions compiled while
     * the procedure runs. A slot from nregs on is a far one. Only where such an expression may be
     */
    const uint32_t *vars;
    uint32_t nvars; /* pairs */
} ProcImage;

typedef struct BundleImage {
    const Const **consts;
    uint32_t nconsts;
    ImportImage *imports;
    uint32_t nimports;
    SiteImage *sites;
    uint32_t nsites;
    ProcImage *procs;
    uint32_t nprocs;
    const Const
        *meta; /* map: "tables" "channels" "triggers" "queries" "groups" "tasks" "workspace" … */
} BundleImage;

/** Deterministic bytes of an image, appended to out. Errors: XS_E_NOMEM. */
XS_MUST_CHECK bool bundle_encode(const BundleImage *image, Buf *out, xs_error *err);

/**
 * Decode bytes into an image in the arena; the bytes must outlive it (texts may borrow).
 * Errors: XS_E_BAD_BUNDLE: foreign, truncated, damaged (checksum), newer format, wrong shape.
 * Checks shape and index types only; vm/verify.c proves the code.
 */
XS_MUST_CHECK bool bundle_decode(Arena *a, Text bytes, BundleImage *out, xs_error *err);

/** Write a correct header over the first BUNDLE_HEADER_BYTES of bytes; does nothing when they are
 * fewer. For tests that want to get past the checksum. */
void bundle_seal(char *bytes, size_t len);

/** A constant as MessagePack, appended to out. false: nested too deeply, or out of memory. */
XS_MUST_CHECK bool msgpack_write_const(const Const *c, Buf *out);
/** One constant and nothing behind it, as bundle_decode reads them; texts borrow from bytes. NULL:
 * not such a one, or out of memory. */
const Const *msgpack_read_const(Arena *a, Text bytes);

#endif
