/* server.h - serve one program: HTTP API, realtime channels, files. */
#ifndef HOST_SERVER_H
#define HOST_SERVER_H

#include "host/config.h"
#include "host/service.h"
#include "include/xs/plugin.h"
#include "vm/vm.h"

/* Where the server can be reached; valid during the call of on_ready. */
typedef struct ServerReady {
    int port;
    Text address;       /* "127.0.0.1:8080" as bound */
    Text admin_address; /* len 0 = off */
    Text canonical;     /* of the realtime space: /rt/<canonical> */
} ServerReady;

typedef struct ServerOptions {
    const Config *config;
    Program *program; /* borrowed */
    /** Load the program anew, for SIGHUP and option `watch`: unload follows when it is replaced.
     * NULL result: err says why; the old one goes on. Called on a thread of its own. NULL = cannot.
     */
    Program *(*load)(void *ctx, xs_error *err);
    void (*unload)(void *ctx, Program *program);
    uint64_t (*stamp)(void *ctx);           /* changes when the program's files do; for `watch` */
    const xs_plugin *const *static_plugins; /* NULL-terminated; NULL = none */
    CompileExprFn compile_expr;             /* NULL = expressions at run time are unsupported */
    char *const *env;                       /* process environment for $env; NULL = none */
    void (*on_ready)(void *ctx, const ServerReady *ready); /* may be NULL */
    void *ctx;                                             /* of on_ready, load, unload, stamp */
} ServerOptions;

/**
 * Serve until SIGTERM or SIGINT: then accept nobody, let running work finish for option drain_ms,
 * tell realtime clients to reconnect, close the database. A second signal ends the process at once.
 * @return true = ended cleanly; false = could not start, err set
 */
XS_MUST_CHECK bool server_run(const ServerOptions *opt, xs_error *err);

/** The canonical name of the program's realtime space: option, metadata, or made from the name. */
Text server_canonical(Arena *a, const Config *c, const Const *meta);

#endif
