/* proxies.h - whose word about the address of a client counts. Thread: any, it never changes. */
#ifndef HOST_PROXIES_H
#define HOST_PROXIES_H

#include "core/arena.h"
#include "include/xs/error.h"

typedef struct Proxies Proxies;

/**
 * @param list  "10.0.0.0/8, ::1": addresses and networks of proxies; empty = none
 * @return NULL: err XS_E_CONFIG or XS_E_NOMEM
 */
XS_MUST_CHECK Proxies *proxies_new(Text list, xs_error *err);
void proxies_free(Proxies *p); /* NULL is fine */
/** Is it the address of a proxy? */
bool proxies_has(const Proxies *p, Text address);
/**
 * Who is behind the proxies: of the addresses in X-Forwarded-For the last one that no proxy has.
 * @param forwarded  the header
 * @return in the arena; peer when it is no proxy, or the header does not say
 */
Text proxies_client(const Proxies *p, Arena *a, Text peer, Text forwarded);

#endif
