/* gzip.h - compressing answers. Pure, any thread. */
#ifndef HOST_GZIP_H
#define HOST_GZIP_H

#include "core/buf.h"

/** Whether an Accept-Encoding value (ptr NULL = none) allows gzip. */
bool gzip_accepted(Text accept_encoding);
/** Whether content of this type is worth it. */
bool gzip_worthwhile(Text content_type);
/** Compress in place. False: body is as it was (memory, or it would not become smaller). */
bool gzip_body(Buf *body, int level);

#endif
