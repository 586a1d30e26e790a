/* mhd.h - the carrier of HTTP exchanges on libmicrohttpd, behind host/http.h. Only http.c uses it.
 * Thread: the loop's. */
#ifndef HOST_MHD_H
#define HOST_MHD_H

#include "host/http_i.h"

typedef struct Mhd Mhd;

XS_MUST_CHECK Mhd *mhd_new(struct event_base *base, const HttpOptions *opt, HttpHandler handler,
                           void *ctx, HttpStats *stats, xs_error *err);
/** Takes fd, on failure too. */
bool mhd_add(Mhd *h, int fd, const struct sockaddr *addr, socklen_t len);
void mhd_drain(Mhd *h);
size_t mhd_busy(const Mhd *h);
size_t mhd_connections(const Mhd *h);
void mhd_free(Mhd *h);

#endif
