/* openapi.h - the description of an API group as OpenAPI 3.1, and a page to try it. runtime.md
 * §5.9. Thread: the loop's. */
#ifndef HOST_OPENAPI_H
#define HOST_OPENAPI_H

#include "host/http.h"
#include "host/router.h"

/** The document of a group; branch is its version. */
void openapi_write(const Router *r, const Program *program, Text canonical, Text branch, Buf *out);

/**
 * Answer x when it asks for the document (openapi.json, or /apispec:<canonical>) or the page of a
 * group whose swagger settings allow it.
 * @param path  of router_split; rest "" = the page
 */
bool openapi_handle(const Router *r, const Program *program, Text branch, const ApiPath *path,
                    xs_http *x);

#endif
