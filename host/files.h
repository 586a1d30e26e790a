/* files.h - the files of a folder under /. Thread: the loop's. */
#ifndef HOST_FILES_H
#define HOST_FILES_H

#include "host/http.h"

typedef struct Files Files;

/** Errors: XS_E_CONFIG (no such folder), XS_E_NOMEM. */
XS_MUST_CHECK Files *files_new(const char *dir, xs_error *err);
void files_free(Files *f);
/** Answer a GET or HEAD of an existing file, or of a folder with index.html; false = not one of
 * these. */
bool files_handle(const Files *f, xs_http *x);

#endif
