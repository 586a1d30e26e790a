/* vault.h - stored files under /vault/. Thread: the loop's. Specification: runtime.md §4.8. */
#ifndef HOST_VAULT_H
#define HOST_VAULT_H

#include "host/http.h"
#include "stdlib/storage/store.h"

/** Answer a GET or HEAD of /vault/…: the file, 403 for a private one without a valid signature,
 * 404. False = another path. */
bool vault_handle(Vault *s, xs_http *x);

#endif
