/* log.h - lines on stderr for the operator: text or JSON, one write per line. Immutable after init,
 * any thread. Never pass tokens, tickets, socket ids or session ids. */
#ifndef HOST_LOG_H
#define HOST_LOG_H

#include "core/base.h"

typedef enum LogLevel { LEVEL_ERROR, LEVEL_WARNING, LEVEL_INFO, LEVEL_DEBUG } LogLevel;

typedef struct Log {
    LogLevel level; /* lines above it are dropped */
    bool json;
} Log;

/** "error" "warning" "info" "debug"; false when name is none of them. */
bool log_parse_level(Text name, LogLevel *out);
void log_line(const Log *log, LogLevel level, const char *fmt, ...) XS_PRINTF(3, 4);
/** A line whose content is JSON already (debug.log, events of `xs run`); kind says what it is. */
void log_json(const Log *log, LogLevel level, const char *kind, Text json);

#endif
