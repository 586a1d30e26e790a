/* plugin.h - finds and checks plugins: linked into the program, or shared objects. */
#ifndef HOST_PLUGIN_H
#define HOST_PLUGIN_H

#include "core/base.h"
#include "include/xs/backplane.h"
#include "include/xs/plugin.h"
#include "include/xs/transport.h"

typedef struct Plugin {
    const xs_plugin *desc;
    void *handle; /* of dlopen; NULL = static */
} Plugin;

/**
 * @param name   "ws", "sse", "longpoll" (or "lp"), "mem"; "redis"
 * @param statics  NULL-terminated, may be NULL; a static one is preferred unless dir is set
 * @param dir    folder of plugins; empty = "transports" beside the program
 * Errors: XS_E_PLUGIN: no such plugin, wrong kind, other ABI major, newer minor, incomplete.
 */
XS_MUST_CHECK bool plugin_open(xs_plugin_kind kind, Text name, const xs_plugin *const *statics,
                               Text dir, Plugin *out, xs_error *err);
void plugin_close(Plugin *p); /* after its last state is destroyed */
/** Version, kind and required ops. Errors: XS_E_PLUGIN. */
XS_MUST_CHECK bool plugin_check(xs_plugin_kind kind, const xs_plugin *p, xs_error *err);

#endif
