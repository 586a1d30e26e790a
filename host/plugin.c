/* plugin.c - style.md §7. */
#include "host/plugin.h"

#include <dlfcn.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/text.h"

enum { PATH_BYTES = 4096 };

static bool refuse(const char *what, const char *why, xs_error *err)
{
    return xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "transport '%s': %s", what, why);
}

bool plugin_check(const xs_plugin *p, xs_error *err)
{
    if (!p || p->size < sizeof(xs_plugin) || !p->name)
        return refuse("?", "not a plugin description", err);
    if (p->abi_major != XS_ABI_MAJOR || p->abi_minor > XS_ABI_MINOR)
        return xs_fail(err, XS_E_PLUGIN, XS_NO_POS,
                       "transport '%s' was built for interface %u.%u, this server has %d.%d",
                       p->name, p->abi_major, p->abi_minor, XS_ABI_MAJOR, XS_ABI_MINOR);
    if (p->kind != XS_PLUGIN_TRANSPORT)
        return refuse(p->name, "not a transport", err);
    const xs_transport_ops *ops = (const xs_transport_ops *)p->ops;
    if (!ops || !XS_HAS(ops, create) || !XS_HAS(ops, deliver) || !XS_HAS(ops, flush) ||
        !XS_HAS(ops, close) || !XS_HAS(ops, stop) || !XS_HAS(ops, destroy) || !ops->info_name)
        return refuse(p->name, "required functions are missing", err);
    if (!XS_HAS(ops, run) && !XS_HAS(ops, http))
        return refuse(p->name, "neither a thread of its own nor an HTTP handler", err);
    return true;
}

static bool default_dir(Buf *out)
{
    char exe[PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe);
    while (n > 0 && exe[n - 1] != '/')
        n--;
    return n > 0 && buf_append(out, exe, (size_t)n) && buf_cstr(out, "transports");
}

static bool open_shared(Text name, Text dir, Plugin *out, xs_error *err)
{
    Buf path = BUF_INIT;
    if (dir.len)
        buf_text(&path, dir);
    else if (!default_dir(&path))
        buf_cstr(&path, "transports");
    buf_printf(&path, "/" TEXT_FMT ".so", TEXT_ARG(name));
    buf_char(&path, '\0');
    bool ok = false;
    if (path.failed) {
        xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
    } else if (!(out->handle = dlopen(path.ptr, RTLD_NOW | RTLD_LOCAL))) {
        const char *why = dlerror();
        xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "transport '" TEXT_FMT "': %s", TEXT_ARG(name),
                why ? why : "cannot be loaded");
    } else {
        out->desc = (const xs_plugin *)dlsym(out->handle, "xs_plugin_v1");
        ok = out->desc ? plugin_check(out->desc, err)
                       : xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "%s is no plugin", path.ptr);
        if (!ok)
            plugin_close(out);
    }
    buf_deinit(&path);
    return ok;
}

bool plugin_open(Text name, const xs_plugin *const *statics, Text dir, Plugin *out, xs_error *err)
{
    static const char *const known[] = {"ws", "sse", "longpoll", "mem"};
    *out = (Plugin){0};
    if (text_eq(name, TEXT("lp")))
        name = TEXT("longpoll");
    for (size_t i = 0; i < name.len; i++) /* a name, not a path */
        if (name.ptr[i] == '/' || name.ptr[i] == '.')
            return xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "'" TEXT_FMT "' is no transport name",
                           TEXT_ARG(name));
    for (; statics && *statics && !dir.len; statics++)
        if (text_eq(name, text_from((*statics)->name))) {
            out->desc = *statics;
            return plugin_check(*statics, err);
        }
    xs_error why = {0};
    if (open_shared(name, dir, out, &why))
        return true;
    Text names[COUNT_OF(known)];
    bool is_known = false;
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        names[i] = text_from(known[i]);
        is_known = is_known || text_eq(name, names[i]);
    }
    Text near = is_known ? (Text){0} : text_nearest(name, names, COUNT_OF(known));
    if (near.ptr)
        return xs_fail(err, XS_E_PLUGIN, XS_NO_POS,
                       "unknown transport '" TEXT_FMT "'; did you mean '" TEXT_FMT "'?",
                       TEXT_ARG(name), TEXT_ARG(near));
    if (err)
        *err = why;
    return false;
}

void plugin_close(Plugin *p)
{
    if (p->handle)
        dlclose(p->handle);
    *p = (Plugin){0};
}
