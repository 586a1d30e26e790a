/* fd.h - whole writes to descriptors. Any thread. */
#ifndef CORE_FD_H
#define CORE_FD_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

/** All of it, however often the system takes only a part. false: errno says why. */
static inline bool fd_write_all(int fd, const void *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, (const char *)bytes + at, len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

#endif
