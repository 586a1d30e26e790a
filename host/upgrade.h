/* upgrade.h - the request head of a WebSocket upgrade: checked strictly, and rewritten for the
 * transport. */
#ifndef HOST_UPGRADE_H
#define HOST_UPGRADE_H

#include "core/const.h"

typedef enum UpgradeKind {
    UPGRADE_NO, /* an ordinary HTTP request: the HTTP library reads it */
    UPGRADE_OK,
    UPGRADE_BAD /* an upgrade that is ambiguous, or a head that cannot be read: refuse */
} UpgradeKind;

typedef struct Upgrade {
    Text uri, path, querystring;
    const Const *headers; /* Title-Case */
    Text token;           /* Sec-WebSocket-Protocol as offered, len 0 = none */
    Text rewritten;       /* the head without that line */
} Upgrade;

/**
 * Look at a complete head (with its blank line). Refused, so that no two parsers can disagree: bare
 * LF, folded lines, repeated Host, Upgrade, Connection or Sec-WebSocket-*, and bodies. Memory
 * running out gives UPGRADE_BAD.
 */
UpgradeKind upgrade_parse(Arena *a, Text head, Upgrade *out);

/* "/rt/<canonical>" or "/rt/<canonical>/<action>", canonical with an optional "tenant:" in front.
 */
typedef struct RealtimePath {
    Text base;              /* "/rt/<canonical>" as in the path */
    Text tenant, canonical; /* tenant ptr NULL = none given */
    Text action;            /* "sse", "channels/a/history"; len 0 = the base itself */
} RealtimePath;
/** prefix: "/rt/". False: another path, or names with other than [A-Za-z0-9_-]. */
bool realtime_path(Text path, Text prefix, RealtimePath *out);

/** Is the Origin header of a browser acceptable? allowed: comma-separated, empty = same host and
 * port as host. */
bool origin_allowed(Text allowed, Text origin, Text host);

#endif
