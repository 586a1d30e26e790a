/* request.h - from the bytes of an HTTP request to raw inputs. Pure, any thread. runtime.md
 * §5.3-5.4. */
#ifndef HOST_REQUEST_H
#define HOST_REQUEST_H

#include "core/const.h"
#include "host/router.h"

/** "a=1&b[]=2&c[d][0]=3" → nested map; a repeated plain key keeps the last. NULL = memory or too
 * deep. */
const Const *form_decode(Arena *a, Text form);

/**
 * Decode a body by its Content-Type (empty = none sent).
 * @param out  JSON value, form map, raw text, or NULL when there is no body
 * Errors: XS_E_BADREQUEST (malformed; names the byte), XS_E_UNSUPPORTED (file parts), XS_E_NOMEM.
 */
XS_MUST_CHECK bool request_decode_body(Arena *a, Text content_type, Text body, const Const **out,
                                       xs_error *err);

typedef struct RawInputs {
    Text querystring;
    const Const *body; /* decoded; NULL = none */
    bool typed;        /* it was JSON: a text in it is a text. In forms "[1]" may be a list */
} RawInputs;

/** Whether a body is read as JSON. */
bool request_is_json(Text content_type, Text body);

/**
 * Raw inputs by rising priority: query string, members of the body, path parameters.
 * @param fields  the declared inputs: of those of type json the texts of forms are read
 * @return        NULL = memory
 */
const Const *request_inputs(Arena *a, const RawInputs *raw, const RouteMatch *match,
                            const Const *fields);

#endif
