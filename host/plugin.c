/* plugin.c - style.md §7. */
#include "host/plugin.h"

#include <dlfcn.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/text.h"

enum { PATH_BYTES = 4096 };

static const char *noun(xs_plugin_kind kind)
{
    return kind == XS_PLUGIN_BACKPLANE ? "backplane" : "transport";
}

static bool refuse(xs_plugin_kind kind, const char *what, const char *why, xs_error *err)
{
    return xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "%s '%s': %s", noun(kind), what, why);
}

static bool check_transport(const xs_plugin *p, xs_error *err)
{
    const xs_transport_ops *ops = (const xs_transport_ops *)p->ops;
    if (!ops || !XS_HAS(ops, create) || !XS_HAS(ops, deliver) || !XS_HAS(ops, flush) ||
        !XS_HAS(ops, close) || !XS_HAS(ops, stop) || !XS_HAS(ops, destroy) || !ops->info_name)
        return refuse(p->kind, p->name, "required functions are missing", err);
    if (!XS_HAS(ops, run) && !XS_HAS(ops, http))
        return refuse(p->kind, p->name, "neither a thread of its own nor an HTTP handler", err);
    return true;
}

static bool check_backplane(const xs_plugin *p, xs_error *err)
{
    const xs_backplane_ops *ops = (const xs_backplane_ops *)p->ops;
    return (ops && XS_HAS(ops, create) && XS_HAS(ops, space) && XS_HAS(ops, watch) &&
            XS_HAS(ops, unwatch) && XS_HAS(ops, publish) && XS_HAS(ops, barrier) &&
            XS_HAS(ops, list) && XS_HAS(ops, spread) && XS_HAS(ops, member) && XS_HAS(ops, ask) &&
            XS_HAS(ops, count) && XS_HAS(ops, number) && XS_HAS(ops, stats) && XS_HAS(ops, stop) &&
            XS_HAS(ops, destroy)) ||
           refuse(p->kind, p->name, "required functions are missing", err);
}

bool plugin_check(xs_plugin_kind kind, const xs_plugin *p, xs_error *err)
{
    if (!p || p->size < sizeof(xs_plugin) || !p->name)
        return refuse(kind, "?", "not a plugin description", err);
    if (p->abi_major != XS_ABI_MAJOR || p->abi_minor > XS_ABI_MINOR)
        return xs_fail(err, XS_E_PLUGIN, XS_NO_POS,
                       "%s '%s' was built for interface %u.%u, this server has %d.%d", noun(kind),
                       p->name, p->abi_major, p->abi_minor, XS_ABI_MAJOR, XS_ABI_MINOR);
    if (p->kind != kind)
        return xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "%s '%s': not a %s", noun(kind), p->name,
                       noun(kind));
    return kind == XS_PLUGIN_BACKPLANE ? check_backplane(p, err) : check_transport(p, err);
}

static bool default_dir(Buf *out)
{
    char exe[PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe);
    while (n > 0 && exe[n - 1] != '/')
        n--;
    return n > 0 && buf_append(out, exe, (size_t)n) && buf_cstr(out, "transports");
}

static bool open_shared(xs_plugin_kind kind, Text name, Text dir, Plugin *out, xs_error *err)
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
        xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "%s '" TEXT_FMT "': %s", noun(kind), TEXT_ARG(name),
                why ? why : "cannot be loaded");
    } else {
        out->desc = (const xs_plugin *)dlsym(out->handle, "xs_plugin_v1");
        ok = out->desc ? plugin_check(kind, out->desc, err)
                       : xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "%s is no plugin", path.ptr);
        if (!ok)
            plugin_close(out);
    }
    buf_deinit(&path);
    return ok;
}

static bool suggest(xs_plugin_kind kind, Text name, xs_error *err)
{
    static const struct {
        xs_plugin_kind kind;
        Text name;
    } known[] = {{XS_PLUGIN_TRANSPORT, TEXT("ws")},
                 {XS_PLUGIN_TRANSPORT, TEXT("sse")},
                 {XS_PLUGIN_TRANSPORT, TEXT("longpoll")},
                 {XS_PLUGIN_TRANSPORT, TEXT("mem")},
                 {XS_PLUGIN_BACKPLANE, TEXT("redis")}};
    Text names[COUNT_OF(known)];
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i].kind == kind) {
            if (text_eq(name, known[i].name))
                return false;
            names[n++] = known[i].name;
        }
    Text near = text_nearest(name, names, n);
    if (near.ptr)
        (void)xs_fail(err, XS_E_PLUGIN, XS_NO_POS,
                      "unknown %s '" TEXT_FMT "'; did you mean '" TEXT_FMT "'?", noun(kind),
                      TEXT_ARG(name), TEXT_ARG(near));
    return near.ptr != NULL;
}

bool plugin_open(xs_plugin_kind kind, Text name, const xs_plugin *const *statics, Text dir,
                 Plugin *out, xs_error *err)
{
    *out = (Plugin){0};
    if (text_eq(name, TEXT("lp")))
        name = TEXT("longpoll");
    for (size_t i = 0; i < name.len; i++) /* a name, not a path */
        if (name.ptr[i] == '/' || name.ptr[i] == '.')
            return xs_fail(err, XS_E_PLUGIN, XS_NO_POS, "'" TEXT_FMT "' is no %s name",
                           TEXT_ARG(name), noun(kind));
    for (; statics && *statics && !dir.len; statics++)
        if (text_eq(name, text_from((*statics)->name))) {
            out->desc = *statics;
            return plugin_check(kind, *statics, err);
        }
    xs_error why = {0};
    if (open_shared(kind, name, dir, out, &why))
        return true;
    if (!suggest(kind, name, err) && err)
        *err = why;
    return false;
}

void plugin_close(Plugin *p)
{
    if (p->handle)
        dlclose(p->handle);
    *p = (Plugin){0};
}
