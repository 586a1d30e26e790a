/* httphead.h - strict reading of HTTP/1 request heads and chunked bodies. What two servers in a row
 * could read differently is refused: bare line feeds, folded lines, blanks before a colon, two
 * framings. Pure, any thread. Specification: RFC 9112. */
#ifndef HOST_HTTPHEAD_H
#define HOST_HTTPHEAD_H

#include "core/const.h"

enum { HTTP_MAX_FIELDS = 100, HTTP_MAX_TARGET = 8192 };

typedef struct HttpField {
    Text name, value; /* a NUL behind both */
} HttpField;

typedef struct HttpHead {
    const char *method; /* upper-case token */
    Text target;        /* origin form: "/path?query"; "*" of OPTIONS */
    HttpField *fields;  /* in order, as sent */
    uint32_t nfields;
    bool http10, keep_alive, chunked, expect_continue;
    uint64_t length; /* of the body; 0 with chunked */
} HttpHead;

/* Why a request is refused. */
typedef struct HttpProblem {
    int status;
    const char *message;
} HttpProblem;

/**
 * Find the end of a head: the empty line after at least one line. Blank lines before it are
 * skipped.
 * @param scanned  bytes looked at before; updated
 * @return bytes of the head; 0 = more are needed; SIZE_MAX = *problem (a line feed without its
 * carriage return)
 */
size_t http_head_end(Text in, size_t *scanned, HttpProblem *problem);

/** Read a complete head. Its texts are in the arena. False: *problem. */
XS_MUST_CHECK bool http_head_parse(Arena *a, Text head, HttpHead *out, HttpProblem *problem);

/** Only characters that may stand in a request target (also true of an empty text). */
bool http_is_target(Text t);
/** The same checks for a head that a library has taken apart: target and fields are set, the rest
 * comes out. False: *problem. */
XS_MUST_CHECK bool http_head_check(Text method, Text version, HttpHead *h, HttpProblem *problem);

/** NULL = absent. The name in any case; the first one of several. */
const char *http_head_find(const HttpHead *h, const char *name);

/** Title-Case name to value; a repeated header is one list, RFC 9110 §5.3. NULL = memory. */
const Const *http_head_map(Arena *a, const HttpHead *h);

/** Does a comma-separated header value contain the word (lower case)? */
bool http_has_word(Text list, const char *lower);

/* A chunked body: the reader is fed what has arrived and says what of it is content. */
typedef struct ChunkReader {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER, CHUNK_DONE } state;
    uint64_t left;     /* bytes of the chunk to come */
    uint64_t total;    /* content so far */
    uint64_t overhead; /* size lines and trailers so far */
} ChunkReader;

/**
 * Read on.
 * @param data     content at the front of what was read; may be empty
 * @param consumed bytes of in that are used up, content included
 * @return false: *problem. Call again while something was consumed and r->state is not CHUNK_DONE.
 */
XS_MUST_CHECK bool chunk_read(ChunkReader *r, Text in, Text *data, size_t *consumed,
                              HttpProblem *problem);

#endif
