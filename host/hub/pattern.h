/* pattern.h - channel names and the configuration that applies to them. Immutable, any thread.
 * Specification: realtime.md §2. */
#ifndef HOST_HUB_PATTERN_H
#define HOST_HUB_PATTERN_H

#include "core/const.h"
#include "core/map.h"

enum { CHANNEL_NAME_MAX = 200, CHANNEL_HISTORY_MAX = 1000 };

typedef struct ChannelConfig {
    Text pattern;
    bool active;
    bool implicit; /* the program declares no channels at all */
    bool closed;   /* implicit: nobody may join */
    bool anonymous_clients, presence, auth_channel;
    bool public_active, public_auth, private_active, private_auth;
    uint32_t history; /* entries a client may read */
} ChannelConfig;

typedef struct PatternPrefix {
    Text prefix;
    const ChannelConfig *config;
} PatternPrefix;

typedef struct Patterns {
    ChannelConfig *configs; /* NULL: no declarations, implicit holds */
    size_t nconfigs;
    Map literals;
    PatternPrefix *prefixes; /* longest first */
    size_t nprefixes;
    char *texts; /* of the patterns, each with a '/' behind it */
    ChannelConfig implicit;
} Patterns;

/** Errors: XS_E_CONFIG (a pattern no name can match), XS_E_NOMEM. Copies what it needs. */
XS_MUST_CHECK bool patterns_init(Patterns *p, const Const *channels, Text default_channel,
                                 xs_error *err);
void patterns_deinit(Patterns *p);
/** On the heap; NULL: err set. */
Patterns *patterns_new(const Const *channels, Text default_channel, xs_error *err);
void patterns_free(Patterns *p);
/** The active configuration for a valid name; NULL: the channel does not exist. */
const ChannelConfig *patterns_resolve(const Patterns *p, Text name);

bool channel_name_valid(Text name);
/** A name; or one whose last byte is a star, alone or behind a colon or slash. */
bool channel_pattern_valid(Text pattern);
/** "tenant:<t>:…" names exist only in the spaces of tenant <t>. */
bool channel_tenant_ok(Text name, Text tenant);

#endif
