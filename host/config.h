/* config.h - settings of the server, one row each in options.def. Read once at start, constant
 * after. Later sources win: defaults < file < environment < flags. */
#ifndef HOST_CONFIG_H
#define HOST_CONFIG_H

#include "core/arena.h"
#include "core/buf.h"

typedef Text ConfigTEXT; /* with a NUL behind it */
typedef bool ConfigBOOL;
typedef int64_t ConfigINT;
typedef int64_t ConfigSIZE;

typedef enum ConfigSource { FROM_DEFAULT, FROM_FILE, FROM_ENV, FROM_FLAG } ConfigSource;

enum {
#define OPTION(key, field, type, def, range, unit, doc) OPTION_##field,
#include "host/options.def"
#undef OPTION
    OPTION_COUNT
};

typedef struct Config {
#define OPTION(key, field, type, def, range, unit, doc) Config##type field;
#include "host/options.def"
#undef OPTION
    uint8_t source[OPTION_COUNT]; /* ConfigSource of each value */
    Arena arena;                  /* holds the texts */
} Config;

XS_MUST_CHECK bool config_init(Config *c, xs_error *err); /* defaults */
void config_deinit(Config *c);

/** Set one option by its key. place names the source in errors: "--listen", "xs.conf:3". Errors:
 * XS_E_CONFIG. */
XS_MUST_CHECK bool config_set(Config *c, Text key, Text value, ConfigSource source,
                              const char *place, xs_error *err);
/** Lines `key = value`; # starts a comment. Errors: XS_E_CONFIG with file and line. */
XS_MUST_CHECK bool config_read(Config *c, const char *name, Text content, xs_error *err);

/**
 * Everything at once. Flags are taken out of argv (argv[0] stays): `--key value`, `--key=value`,
 * for a BOOL `--key` and `--no-key`, and `--config FILE`. Arguments that are no flags stay, in
 * order, and so do flags named in `others` (NULL-terminated, may be NULL), which the caller reads
 * itself.
 * @param env  environment, NULL-terminated; NULL = none
 * Errors: XS_E_CONFIG (value, unknown name with a suggestion), XS_E_USAGE (flag without value),
 * XS_E_IO.
 */
XS_MUST_CHECK bool config_load(Config *c, int *argc, char **argv, const char *const *others,
                               char *const *env, xs_error *err);

/** The options as help text: flag, unit, default, explanation; one line each. */
void config_help(Buf *out);

#endif
