/* store.h - stored files on the local disk: <dir>/public|private/<26 random characters>/<name>,
 * named /vault/<random>/<name> to programs and clients. The kernel keeps every lookup beneath the
 * folder. Thread: any. Specification: runtime.md §4.8. */
#ifndef STDLIB_STORAGE_STORE_H
#define STDLIB_STORAGE_STORE_H

#include "core/buf.h"

typedef struct Vault Vault;

/** @param dir  made at the first use; len 0 = a passing one, removed at the end. Errors:
 * XS_E_NOMEM.
 */
XS_MUST_CHECK Vault *vault_new(Text dir, xs_error *err);
void vault_free(Vault *s); /* NULL is fine */

/** Write a new file; its path is appended to path. The name is cleaned. Errors: XS_E_IO. */
XS_MUST_CHECK bool vault_put(Vault *s, bool is_private, Text name, Text data, Buf *path,
                             xs_error *err);
/** Open for reading. -1: XS_E_NOTFOUND (also for what is no path of a stored file), XS_E_IO. */
int vault_open(Vault *s, Text path, bool *is_private, uint64_t *size, xs_error *err);
/** Errors: as vault_open; XS_E_LIMIT (larger than max). */
XS_MUST_CHECK bool vault_read(Vault *s, Text path, size_t max, Buf *out, xs_error *err);
XS_MUST_CHECK bool vault_delete(Vault *s, Text path, xs_error *err);
/** The last part of a path. */
Text vault_name(Text path);

/** Append "?exp=…&sig=…": good until expires_s. The file need not exist. */
XS_MUST_CHECK bool vault_sign(Vault *s, Text path, int64_t expires_s, Buf *out, xs_error *err);
bool vault_check(Vault *s, Text path, Text exp, Text sig, int64_t now_s);

#endif
