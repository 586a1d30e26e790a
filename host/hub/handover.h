/* handover.h - what an orderly end leaves for the next start: epoch, numbers and rings of all
 * spaces, in a file that is read once. Clients come back to a server that goes on where the former
 * one ended. Not used with a backplane, which keeps all that. Specification: realtime.md §1.5. */
#ifndef HOST_HUB_HANDOVER_H
#define HOST_HUB_HANDOVER_H

#include "host/hub/hub.h"

/**
 * Write the file, whole or not at all. Nobody publishes any more; the record is closed first, since
 * it still does. Spaces beyond 256 MiB are left out: they begin anew.
 * Errors: XS_E_IO, XS_E_NOMEM.
 */
XS_MUST_CHECK bool hub_hand_over(Hub *h, const char *path, int64_t now_ms, xs_error *err);

/**
 * Remove the file and go on with what it holds of this program's spaces; before anybody comes. The
 * file is gone from the disk before anything of it is used: no later start can find it again.
 * @param use  false: only remove it
 * @return false with err: it was there and is of no use; spaces begin anew, as without a file.
 * Errors: XS_E_IO, XS_E_STANDARD (damaged, too old, copied), XS_E_NOMEM.
 */
XS_MUST_CHECK bool hub_take_over(Hub *h, const char *path, bool use, int64_t now_ms,
                                 uint64_t *events, xs_error *err);

/** The file's content behind its head. false: not such a one, or no memory; nothing changed. */
XS_MUST_CHECK bool handover_apply(Hub *h, Text body, uint64_t *events);

#endif
