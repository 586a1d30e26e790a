/* xs/plugin.h - how a shared object presents itself. One exported symbol; with XS_PLUGIN_STATIC the
 * same file links into the binary under its own name. */
#ifndef XS_PLUGIN_H
#define XS_PLUGIN_H

#include "include/xs/error.h"

enum { XS_ABI_MAJOR = 1, XS_ABI_MINOR = 0 };

typedef enum xs_plugin_kind {
    XS_PLUGIN_TRANSPORT = 1,
    XS_PLUGIN_DBDRIVER,
    XS_PLUGIN_BACKPLANE
} xs_plugin_kind;

typedef struct xs_plugin {
    size_t size;
    uint32_t abi_major, abi_minor; /* another major or a newer minor is refused */
    xs_plugin_kind kind;
    const char *name;    /* "ws" */
    const char *title;   /* "WebSocket" */
    const char *version; /* "1.0" */
    const void *ops;     /* xs_transport_ops for a transport */
} xs_plugin;

/* True when the (older, shorter) struct at ops has the field and it is set. */
#define XS_HAS(ops, field)                                                                         \
    ((ops)->size >= offsetof(__typeof__(*(ops)), field) + sizeof((ops)->field) && (ops)->field)

#ifdef XS_PLUGIN_STATIC
#define XS_PLUGIN_SYMBOL(id) xs_plugin_##id
#else
#define XS_PLUGIN_SYMBOL(id) xs_plugin_v1
#endif
#define XS_PLUGIN_DEFINE(id, kind_, title_, version_, ops_)                                        \
    extern XS_EXPORT const xs_plugin XS_PLUGIN_SYMBOL(id);                                         \
    XS_EXPORT const xs_plugin XS_PLUGIN_SYMBOL(id) = {                                             \
        sizeof(xs_plugin), XS_ABI_MAJOR, XS_ABI_MINOR, kind_, #id, title_, version_, ops_}

#endif
