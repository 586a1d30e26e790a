/* config.c - one parser for every source of settings; options.def is the only list of them. */
#include "host/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/num.h"
#include "core/text.h"

typedef enum OptionType { TYPE_TEXT, TYPE_BOOL, TYPE_INT, TYPE_SIZE } OptionType;

typedef struct OptionInfo {
    const char *key;
    OptionType type;
    size_t offset;
    const char *def, *range, *unit, *doc;
} OptionInfo;

enum { NAME_MAX_LEN = 64, CONFIG_FILE_MAX = 1 << 20 };

static const OptionInfo options[OPTION_COUNT] = {
#define OPTION(key, field, type, def, range, unit, doc)                                            \
    {key, TYPE_##type, offsetof(Config, field), def, range, unit, doc},
#include "host/options.def"
#undef OPTION
};

/* The spelling of a key as a flag ("realtime.max_event" → "realtime-max-event") or variable. */
static Text spell(const char *key, bool variable, char out[NAME_MAX_LEN])
{
    size_t n = 0;
    for (; key[n] && n < NAME_MAX_LEN - 1; n++) {
        char c = key[n];
        if (variable)
            out[n] = c == '.' ? '_' : (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
        else
            out[n] = c == '.' || c == '_' ? '-' : c;
    }
    out[n] = '\0';
    return (Text){out, n};
}

typedef enum Spelling { AS_KEY, AS_FLAG, AS_VARIABLE } Spelling;

static Text option_name(int i, Spelling s, char buf[NAME_MAX_LEN])
{
    return s == AS_KEY ? text_from(options[i].key) : spell(options[i].key, s == AS_VARIABLE, buf);
}

static int find_option(Text name, Spelling s)
{
    char buf[NAME_MAX_LEN];
    for (int i = 0; i < OPTION_COUNT; i++)
        if (text_eq(name, option_name(i, s, buf)))
            return i;
    return -1;
}

/* Index of the option whose name is close to a mistyped one, -1 = none. */
static int near_option(Text name, Spelling s)
{
    char bufs[OPTION_COUNT][NAME_MAX_LEN];
    Text names[OPTION_COUNT];
    for (int i = 0; i < OPTION_COUNT; i++)
        names[i] = option_name(i, s, bufs[i]);
    Text near = text_nearest(name, names, OPTION_COUNT);
    for (int i = 0; near.ptr && i < OPTION_COUNT; i++)
        if (text_eq(near, names[i]))
            return i;
    return -1;
}

static bool unknown(Text name, Spelling s, const char *place, const char *prefix, xs_error *err)
{
    int near = near_option(name, s);
    const char *colon = *place ? ": " : "";
    char buf[NAME_MAX_LEN];
    if (near < 0)
        return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "%s%sunknown option '%s" TEXT_FMT "'", place,
                       colon, prefix, TEXT_ARG(name));
    Text hint = option_name(near, s, buf);
    return xs_fail(err, XS_E_CONFIG, XS_NO_POS,
                   "%s%sunknown option '%s" TEXT_FMT "'; did you mean '%s" TEXT_FMT "'?", place,
                   colon, prefix, TEXT_ARG(name), prefix, TEXT_ARG(hint));
}

/* ---- values ---- */

static bool parse_number(Text t, bool size, int64_t *out)
{
    int64_t factor = 1;
    if (size && t.len > 1) {
        char c = (char)(t.ptr[t.len - 1] | 32);
        factor = c == 'k' ? 1 << 10 : c == 'm' ? 1 << 20 : c == 'g' ? 1 << 30 : 1;
        if (factor > 1)
            t.len--;
    }
    int64_t n;
    if (!num_parse_int(t, &n) || __builtin_mul_overflow(n, factor, &n))
        return false;
    *out = n;
    return true;
}

static bool parse_bool(Text t, bool *out)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true}, {"false", false}, {"1", true},   {"0", false},
                 {"on", true},   {"off", false},   {"yes", true}, {"no", false}};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (text_eq(t, text_from(words[i].word))) {
            *out = words[i].value;
            return true;
        }
    return false;
}

static bool number_in_range(const char *range, bool size, int64_t n)
{
    Text r = text_from(range);
    size_t dots = text_find(r, TEXT(".."), 0);
    int64_t low, high;
    if (dots == SIZE_MAX)
        return true;
    if (parse_number(text_slice(r, 0, dots), size, &low) && n < low)
        return false;
    return !(parse_number(text_slice(r, dots + 2, r.len), size, &high) && n > high);
}

static bool word_in_range(const char *range, Text t)
{
    Text r = text_from(range);
    for (size_t from = 0; r.len;) {
        size_t bar = text_find(r, TEXT("|"), from);
        if (text_eq(t, text_slice(r, from, bar)))
            return true;
        if (bar == SIZE_MAX)
            return false;
        from = bar + 1;
    }
    return true;
}

static bool bad_value(const OptionInfo *o, Text value, const char *place, xs_error *err)
{
    static const char *const expected[] = {"a text", "true or false", "a number",
                                           "a size such as 64k"};
    return xs_fail(err, XS_E_CONFIG, XS_NO_POS, "%s: '" TEXT_FMT "' is no value of %s: %s%s%s",
                   place, TEXT_ARG(value), o->key,
                   o->type == TYPE_TEXT && *o->range ? "one of" : expected[o->type],
                   *o->range ? " " : "", o->range);
}

static bool set_option(Config *c, int i, Text value, ConfigSource source, const char *place,
                       xs_error *err)
{
    const OptionInfo *o = &options[i];
    void *field = (char *)c + o->offset;
    bool flag = false;
    int64_t number = 0;
    switch (o->type) {
    case TYPE_TEXT:
        if (!word_in_range(o->range, value) || memchr(value.ptr, 0, value.len))
            return bad_value(o, value, place, err);
        break;
    case TYPE_BOOL:
        if (!parse_bool(value, &flag))
            return bad_value(o, value, place, err);
        break;
    case TYPE_INT:
    case TYPE_SIZE:
        if (!parse_number(value, o->type == TYPE_SIZE, &number) ||
            !number_in_range(o->range, o->type == TYPE_SIZE, number))
            return bad_value(o, value, place, err);
        break;
    }
    if (source < c->source[i])
        return true;
    c->source[i] = (uint8_t)source;
    if (o->type == TYPE_TEXT) {
        Text copy = arena_text(&c->arena, value);
        if (!copy.ptr)
            return xs_fail(err, XS_E_NOMEM, XS_NO_POS, "Out of memory");
        *(Text *)field = copy;
    } else if (o->type == TYPE_BOOL) {
        *(bool *)field = flag;
    } else {
        *(int64_t *)field = number;
    }
    return true;
}

bool config_init(Config *c, xs_error *err)
{
    *c = (Config){0};
    arena_init(&c->arena, 0);
    for (int i = 0; i < OPTION_COUNT; i++)
        if (!set_option(c, i, text_from(options[i].def), FROM_DEFAULT, "default", err)) {
            config_deinit(c);
            return false;
        }
    return true;
}

void config_deinit(Config *c)
{
    arena_deinit(&c->arena);
    *c = (Config){0};
}

bool config_set(Config *c, Text key, Text value, ConfigSource source, const char *place,
                xs_error *err)
{
    int i = find_option(key, AS_KEY);
    return i < 0 ? unknown(key, AS_KEY, place, "", err)
                 : set_option(c, i, value, source, place, err);
}

/* ---- file ---- */

static Text unquote(Text value)
{
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        return text_slice(value, 1, value.len - 1);
    size_t comment = text_find(value, TEXT(" #"), 0);
    return text_trim(text_slice(value, 0, comment), TEXT(" \t"));
}

bool config_read(Config *c, const char *name, Text content, xs_error *err)
{
    unsigned number = 0;
    for (size_t from = 0; from < content.len;) {
        size_t end = text_find(content, TEXT("\n"), from);
        Text line = text_trim(text_slice(content, from, end), TEXT(" \t\r"));
        from = end == SIZE_MAX ? content.len : end + 1;
        number++;
        if (!line.len || line.ptr[0] == '#')
            continue;
        Buf place = BUF_INIT;
        buf_printf(&place, "%s:%u", name, number);
        buf_char(&place, '\0');
        const char *where = place.failed ? name : place.ptr;
        size_t equals = text_find(line, TEXT("="), 0);
        bool ok;
        if (equals == SIZE_MAX)
            ok = xs_fail(err, XS_E_CONFIG, XS_NO_POS, "%s: expected 'key = value'", where);
        else
            ok = config_set(c, text_trim(text_slice(line, 0, equals), TEXT(" \t")),
                            unquote(text_trim(text_slice(line, equals + 1, line.len), TEXT(" \t"))),
                            FROM_FILE, where, err);
        buf_deinit(&place);
        if (!ok)
            return false;
    }
    return true;
}

static bool read_config_file(Config *c, const char *path, xs_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(errno));
    Buf b = {.max = CONFIG_FILE_MAX};
    ssize_t n = 0;
    while (buf_reserve(&b, 4096) && (n = read(fd, b.ptr + b.len, 4096)) > 0)
        b.len += (size_t)n;
    int problem = errno;
    close(fd);
    bool ok;
    if (n < 0)
        ok = xs_fail(err, XS_E_IO, XS_NO_POS, "%s: %s", path, strerror(problem));
    else if (b.failed)
        ok = xs_fail(err, XS_E_CONFIG, XS_NO_POS, "%s: larger than 1 MiB", path);
    else
        ok = config_read(c, path, buf_view(&b), err);
    buf_deinit(&b);
    return ok;
}

/* ---- environment ---- */

static bool read_environment(Config *c, char *const *env, xs_error *err)
{
    for (; *env; env++) {
        Text e = text_from(*env);
        size_t equals = text_find(e, TEXT("="), 0);
        if (!text_starts(e, TEXT("XS_")) || equals == SIZE_MAX ||
            text_starts(e, TEXT("XS_CONFIG=")))
            continue;
        Text name = text_slice(e, 3, equals);
        int i = find_option(name, AS_VARIABLE);
        char place[NAME_MAX_LEN + 8];
        size_t n = name.len < NAME_MAX_LEN ? name.len : NAME_MAX_LEN;
        memcpy(place, "XS_", 3);
        memcpy(place + 3, name.ptr, n);
        place[n + 3] = '\0';
        if (i >= 0) {
            if (!set_option(c, i, text_slice(e, equals + 1, e.len), FROM_ENV, place, err))
                return false;
        } else if (near_option(name, AS_VARIABLE) >= 0) {
            /* Foreign XS_ names are nobody's business; a near miss is a mistake. */
            return unknown(name, AS_VARIABLE, "environment", "XS_", err);
        }
    }
    return true;
}

/* ---- flags ---- */

typedef struct Flags {
    int argc, at, kept;
    char **argv;
    const char *const *others;
    const char *config;
} Flags;

static bool listed(const char *const *names, const char *arg)
{
    size_t len = strcspn(arg, "=");
    for (; names && *names; names++)
        if (strlen(*names) == len && memcmp(*names, arg, len) == 0)
            return true;
    return false;
}

static bool flag_value(Flags *f, const char *arg, Text *value, xs_error *err)
{
    const char *equals = strchr(arg, '=');
    if (equals)
        *value = text_from(equals + 1);
    else if (f->at < f->argc)
        *value = text_from(f->argv[f->at++]);
    else
        return xs_fail(err, XS_E_USAGE, XS_NO_POS, "%s needs a value", arg);
    return true;
}

static bool take_flag(Config *c, Flags *f, char *arg, xs_error *err)
{
    Text name = {arg + 2, strcspn(arg + 2, "=")};
    Text value;
    if (text_eq(name, TEXT("config"))) {
        if (!flag_value(f, arg, &value, err))
            return false;
        f->config = value.ptr;
        return true;
    }
    int i = find_option(name, AS_FLAG);
    bool has_value = arg[2 + name.len] == '=';
    if (i >= 0 && options[i].type == TYPE_BOOL && !has_value)
        return set_option(c, i, TEXT("true"), FROM_FLAG, arg, err);
    if (i >= 0)
        return flag_value(f, arg, &value, err) && set_option(c, i, value, FROM_FLAG, arg, err);
    if (text_starts(name, TEXT("no-")) && !has_value) {
        i = find_option(text_slice(name, 3, name.len), AS_FLAG);
        if (i >= 0 && options[i].type == TYPE_BOOL)
            return set_option(c, i, TEXT("false"), FROM_FLAG, arg, err);
    }
    return unknown(name, AS_FLAG, "", "--", err);
}

bool config_load(Config *c, int *argc, char **argv, const char *const *others, char *const *env,
                 xs_error *err)
{
    Flags f = {.argc = *argc, .at = 1, .kept = 1, .argv = argv, .others = others};
    bool options_end = false;
    while (f.at < f.argc) {
        char *arg = argv[f.at++];
        if (options_end || arg[0] != '-' || arg[1] != '-' || listed(others, arg)) {
            argv[f.kept++] = arg;
        } else if (!arg[2]) {
            options_end = true;
            argv[f.kept++] = arg;
        } else if (!take_flag(c, &f, arg, err)) {
            return false;
        }
    }
    *argc = f.kept;
    argv[f.kept] = NULL;
    for (char *const *e = env; e && *e && !f.config; e++)
        if (strncmp(*e, "XS_CONFIG=", 10) == 0 && (*e)[10])
            f.config = *e + 10;
    return (!f.config || read_config_file(c, f.config, err)) &&
           (!env || read_environment(c, env, err));
}

void config_help(Buf *out)
{
    buf_cstr(out, "Options, also as lines \"key = value\" of --config FILE and as environment "
                  "variables XS_KEY:\n");
    for (int i = 0; i < OPTION_COUNT; i++) {
        const OptionInfo *o = &options[i];
        char name[NAME_MAX_LEN];
        Text flag = spell(o->key, false, name);
        int used = (int)flag.len + 2 + (int)strlen(o->unit) + 1;
        buf_printf(out, "  --" TEXT_FMT " %s%*s%s", TEXT_ARG(flag), o->unit,
                   used < 38 ? 38 - used : 1, "", o->doc);
        if (*o->def)
            buf_printf(out, " [%s]", o->def);
        if (o->type == TYPE_TEXT && *o->range)
            buf_printf(out, " (%s)", o->range);
        buf_char(out, '\n');
    }
}
